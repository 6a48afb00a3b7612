/* SPDX-License-Identifier: Apache-2.0 */
/* kolm run, the thread that feeds: texts and lines become questions, in constant memory. */
#include "model/stream.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Formats a question like the training rows. */
static kit_status put_question(run_stream *s, const char *id, job_row *row, kit_buf *out, kolm_error_t *err) {
    job_common_fill(&s->common, row, &s->seen, &s->before);
    kit_buf_str(out, "{\"id\":");
    kit_json_string(out, id, strlen(id));
    kit_buf_str(out, ",\"input\":");
    if (row->context_length == 0) {
        kit_json_string(out, row->input, row->input_length);
    } else {
        kit_buf_clear(&s->input);
        job_row_put_input(row, &s->common, &s->input);
        kit_json_string(out, kit_buf_text(&s->input), s->input.length);
    }
    job_row_put_messages(row, false, out);
    kit_buf_str(out, "}\n");
    KIT_TRY(kit_buf_ok(&s->input, err));
    KIT_TRY(kit_buf_ok(out, err));
    return run_ids_put(&s->ids, id, err);
}

/* The id of a row comes back with its answer. Without one: the line number. */
static kit_status json_question(run_stream *s, const char *line, size_t length, unsigned long long number, kit_buf *out,
                                kolm_error_t *err) {
    job_row row;
    char own_id[32];
    kit_status status = job_reader_parse(s->reader, line, length, number, &row, err);
    s->skip_named = status != KOLM_OK && job_reader_fault(s->reader)->names_skip;
    KIT_TRY(status);
    kit_format(own_id, sizeof own_id, "%llu", number);
    return put_question(s, row.id != NULL ? row.id : own_id, &row, out, err);
}

/* where: "standard input, line" or "TEXT", which the number follows. */
static kit_status plain_question(run_stream *s, const char *where, const char *line, size_t length,
                                 unsigned long long number, kit_buf *out, kolm_error_t *err) {
    char id[32];
    size_t valid = kit_utf8_valid(line, length);
    const char *nul = memchr(line, '\0', length);
    if (nul != NULL && (size_t)(nul - line) < valid)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use text: is it UTF-16, or a file of another kind?",
                        "%s %llu, column %zu: expected text, found a NUL byte", where, number,
                        (size_t)(nul - line) + 1);
    if (valid != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use UTF-8 text", "%s %llu, column %zu: expected UTF-8 text",
                        where, number, valid + 1);
    kit_format(id, sizeof id, "%llu", number);
    job_row row = job_row_of_text(line, length);
    return put_question(s, id, &row, out, err);
}

/* The backend may stop reading before the end (it failed, or the user stopped it): its verdict reports that. */
static kit_status send_questions(run_stream *s, kit_buf *out, bool *out_gone) {
    size_t lines = 0;
    for (const char *at = kit_buf_text(out), *end = at + out->length;
         at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
        lines++;
    s->asked += lines; /* updated before sending: the reader thread polls it */
    *out_gone = kit_write_all(s->to_backend, kit_buf_text(out), out->length, NULL) != KOLM_OK;
    int reason = errno;
    kit_buf_clear(out);
    if (!*out_gone || reason == EPIPE || reason == ECONNRESET) return KOLM_OK;
    return kit_fail_errno(&s->feed_error, reason, "cannot send the questions to the backend");
}

/* Lines before a bad one are still answered, and the bad one is reported. */
static kit_status send_last(run_stream *s, kit_status status, kit_buf *out, bool *out_gone) {
    kolm_error_t before = s->feed_error;
    kit_status sent = send_questions(s, out, out_gone);
    if (status == KOLM_OK) return sent;
    s->feed_error = before;
    return status;
}

/* True if the text is an object with a key that rows have. */
static bool has_row_key(const char *text, size_t length) {
    static const char *const names[] = {"input", "prompt", "messages", "conversations", "instruction", "text"};
    kit_json_walk walk = {0};
    kit_json_part key, value;
    bool row = false, found = kit_json_walk_begin(&walk, text, length, NULL) == KOLM_OK;
    while (found) {
        if (kit_json_walk_next(&walk, &key, &value, &found, NULL) != KOLM_OK) row = found = false;
        for (size_t i = 0; found && i < sizeof names / sizeof *names; i++)
            row = row || kit_json_part_is(&key, names[i]);
    }
    kit_json_walk_free(&walk);
    return row;
}

/* The first line of plain text is JSON, a row or the start of a document: --jsonl was probably forgotten, and the
 * braces would be answered. */
static bool looks_like_a_row(const char *line, size_t length) {
    size_t blank = strspn(line, " \t"), rest = blank + 1 + strspn(line + blank + (blank < length), " \t");
    if (blank < length && strchr("{[", line[blank]) != NULL && rest >= length) return true;
    kit_json_walk walk = {0};
    kit_json_part key, first;
    bool row = line[blank] == '{' && has_row_key(line, length), found = false;
    if (line[blank] == '[' && kit_json_walk_begin(&walk, line, length, NULL) == KOLM_OK &&
        kit_json_walk_next(&walk, &key, &first, &found, NULL) == KOLM_OK && found)
        row = first.kind == KIT_JSON_OBJECT && has_row_key(first.bytes, first.length);
    kit_json_walk_free(&walk);
    return row;
}

static kit_status one_question(run_stream *s, const char *line, size_t length, unsigned long long number, kit_buf *out,
                               kolm_error_t *err) {
    char where[300];
    if (s->jsonl) return strspn(line, " \t") == length ? KOLM_OK : json_question(s, line, length, number, out, err);
    if (number == 1 && looks_like_a_row(line, length))
        return kit_fail(
            err, KOLM_E_FAILED_PRECONDITION,
            "for rows {\"input\": ...}, one a line, pass --jsonl; texts that are JSON themselves go into such rows",
            "%s, line 1 is JSON, and lines are answered as they are", s->from);
    kit_format(where, sizeof where, "%s, line", s->from);
    return plain_question(s, where, line, length, number, out, err);
}

/* OK if the bad line may be skipped. */
static kit_status leave_out(run_stream *s, kit_status status, kolm_error_t *err) {
    bool bad = status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE;
    if (!s->skip_bad || !bad) return status;
    if (s->bad < RUN_BAD_EXAMPLES) kit_copy(s->bad_examples[s->bad], sizeof *s->bad_examples, err->text);
    s->bad++;
    *err = (kolm_error_t)KIT_ERROR_INIT;
    return KOLM_OK;
}

/* Feeds one line, if there is one. */
static kit_status feed_line(run_stream *s, kit_lines *lines, kit_buf *out, bool *out_end, kolm_error_t *err) {
    const char *line = NULL;
    size_t length = 0;
    kit_status status = kit_lines_next(lines, &line, &length, err);
    *out_end = status == KOLM_OK && line == NULL;
    if (*out_end) return KOLM_OK;
    s->lines = kit_lines_number(lines);
    if (status == KOLM_OK) {
        status = one_question(s, line, length, (unsigned long long)s->lines, out, err);
    } else {
        if (err->remedy[0] == '\0')
            kit_copy(err->remedy, sizeof err->remedy,
                     status == KOLM_E_OUT_OF_RANGE
                         ? "a question is one line; make it shorter, or one JSON line with --jsonl"
                         : "check the source of the questions; --input reads a file");
        kit_fail_context(err, "%s", s->from);
    }
    return leave_out(s, status, err);
}

static kit_status feed_lines(run_stream *s, kit_buf *out) {
    kit_lines *lines = NULL;
    bool gone = false, end = false;
    KIT_TRY(kit_lines_open(s->input_fd, RUN_LINE_MAX, &lines, &s->feed_error));
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && !gone && *s->stop == 0) {
        status = feed_line(s, lines, out, &end, &s->feed_error);
        if (status != KOLM_OK || end) break;
        /* Sends whole batches while more can be read at once; sends what it has before it waits for the next line. */
        if (out->length > 32768 || !kit_lines_ready(lines)) status = send_questions(s, out, &gone);
    }
    if (!gone) status = send_last(s, status, out, &gone);
    kit_lines_close(lines);
    return status;
}

void run_stream_drop(run_stream *s) {
    if (atomic_fetch_sub(&s->holders, 1) != 1) return;
    if (s->input_fd > 2) close(s->input_fd); /* not a standard one */
    job_common_free(&s->common);
    job_reader_close(s->reader);
    kit_buf_free(&s->seen);
    kit_buf_free(&s->before);
    kit_buf_free(&s->input);
    run_ids_free(&s->ids);
    free(s);
}

static void *feed(void *user) {
    run_stream *s = user;
    kit_buf out = {0};
    bool gone = false;
    if (s->text_count > 0) {
        for (size_t i = 0; i < s->text_count && s->feed_status == KOLM_OK; i++) {
            s->lines = i + 1;
            s->feed_status = plain_question(s, "TEXT", s->texts[i], strlen(s->texts[i]), i + 1, &out, &s->feed_error);
            s->feed_status = leave_out(s, s->feed_status, &s->feed_error);
        }
        s->feed_status = send_last(s, s->feed_status, &out, &gone);
    } else {
        s->feed_status = feed_lines(s, &out);
    }
    kit_buf_free(&out);
    if (s->served) shutdown(s->to_backend, SHUT_WR);
    close(s->to_backend);
    run_stream_drop(s);
    return NULL;
}

int run_start_feeding(run_stream *s, pthread_t *out_thread) {
    atomic_fetch_add(&s->holders, 1);
    int failed = kit_thread_start(out_thread, 0, feed, s);
    if (failed != 0) atomic_fetch_sub(&s->holders, 1);
    return failed;
}
