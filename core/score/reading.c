/* SPDX-License-Identifier: Apache-2.0 */
/* Reads held-out rows and answers side by side, and verifies their bytes. */
#include "score/answers.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 20)

/* ---- Bytes, hashed as they are read: what is counted is what the digest is of */

typedef struct source {
    int fd;
    uint64_t at;
    kit_sha256 *sha;
    kit_lines *lines;
} source;

static kit_status read_hashed(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    source *s = user;
    for (;;) {
        ssize_t got = pread(s->fd, out, capacity, (off_t)s->at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "reading failed");
        *out_got = (size_t)got;
        s->at += *out_got;
        return kit_sha256_update(s->sha, out, *out_got, err);
    }
}

static kit_status open_source(source *s, const score_question *q, kolm_error_t *err) {
    KIT_TRY(kit_sha256_new(&s->sha, err));
    KIT_TRY(kit_lines_open(s->fd, LINE_MAX_BYTES, &s->lines, err));
    kit_lines_read_with(s->lines, read_hashed, s);
    kit_lines_stop_on(s->lines, q->cancel);
    return KOLM_OK;
}

static kit_status finish_source(source *s, char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    uint8_t digest[KIT_SHA256_BYTES];
    KIT_TRY(kit_sha256_final(s->sha, digest, err));
    kit_hex(digest, sizeof digest, out_hex);
    return KOLM_OK;
}

static void close_source(source *s) {
    kit_lines_close(s->lines);
    kit_sha256_free(s->sha);
}

/* A backend can leave anything there: do not wait for a FIFO, or follow a link. */
static kit_status open_answers(const char *path, int *out_fd, kolm_error_t *err) {
    struct stat info;
    *out_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*out_fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(*out_fd, &info) != 0) return kit_fail_errno(err, errno, "cannot read %s", path);
    if (S_ISREG(info.st_mode)) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                    "%s is not a regular file", path);
}

/* ---- One row and one answer */

typedef struct reading {
    const score_question *question;
    source rows, answers;
    uint64_t line;
    kit_json_walk walk;
    kit_buf row[2];     /* id and output */
    kit_buf id, output; /* of the answer */
    bool withheld;
    double confidence;
} reading;

static kit_status bad_answer(const reading *r, const char *text, kolm_error_t *err) {
    const char *backend = r->question->backend;
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                    "answer %llu of %s: %s", (unsigned long long)r->line, backend != NULL ? backend : "the backend",
                    text);
}

/* An invalid line is an error of the answer; lack of memory or a read error here is not. */
static kit_status blame(const reading *r, kit_status status, kolm_error_t *err) {
    char text[400];
    if (status != KOLM_E_INVALID_ARGUMENT && status != KOLM_E_OUT_OF_RANGE) return status;
    kit_copy(text, sizeof text, err->text);
    return bad_answer(r, text, err);
}

/* Reads id and output of a held-out row. Other members may contain numbers that a tree cannot hold. */
static kit_status next_row(reading *r, bool *out_found, kolm_error_t *err) {
    static const char *const keys[] = {"id", "output"};
    const char *line = NULL;
    size_t length = 0;
    KIT_TRY(kit_lines_next(r->rows.lines, &line, &length, err));
    *out_found = line != NULL;
    if (line == NULL) return KOLM_OK;
    kit_status status = kit_json_row_texts(&r->walk, line, length, keys, 2, r->row, err);
    if (status != KOLM_E_INVALID_ARGUMENT) return status;
    return kit_fail(err, KOLM_E_ABORTED, "run the command again", "held-out row %llu was changed",
                    (unsigned long long)r->line);
}

static bool get_confidence(const kit_json_part *value, double *out) {
    char text[64];
    if (value->kind != KIT_JSON_NUMBER || value->length >= sizeof text) return false;
    kit_copy(text, value->length + 1, value->bytes);
    *out = strtod(text, NULL);
    return *out >= 0 && *out <= 1; /* rejects NaN */
}

/* The three values of an answer; *what names what was expected if one is missing. */
static kit_status take_values(reading *r, const kit_json_part values[3], const char **what, kolm_error_t *err) {
    kit_buf_clear(&r->id);
    kit_buf_clear(&r->output);
    r->withheld = values[1].bytes != NULL && values[1].kind == KIT_JSON_NULL;
    if (values[0].kind != KIT_JSON_STRING)
        *what = "expected an object with the text \"id\"";
    else if (values[1].kind != KIT_JSON_STRING && !r->withheld)
        *what = "expected text or null in \"output\"";
    else if (!get_confidence(&values[2], &r->confidence))
        *what = "expected a \"confidence\" from 0 to 1";
    if (*what != NULL) return KOLM_OK;
    KIT_TRY(kit_json_part_text(&values[0], &r->id, err));
    if (!r->withheld) KIT_TRY(kit_json_part_text(&values[1], &r->output, err));
    KIT_TRY(kit_buf_ok(&r->id, err));
    return kit_buf_ok(&r->output, err);
}

/* Parses without a tree: other members may have any size. */
static kit_status parse_answer(reading *r, const char *line, size_t length, const char **what, kolm_error_t *err) {
    static const char *const keys[] = {"id", "output", "confidence"};
    kit_json_part key, value, values[3] = {{0}, {0}, {0}};
    if (kit_utf8_valid(line, length) != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "the line is not UTF-8");
    bool found = kit_json_walk_begin(&r->walk, line, length, NULL) == KOLM_OK;
    while (found) {
        KIT_TRY(kit_json_walk_next(&r->walk, &key, &value, &found, err));
        for (size_t i = 0; found && r->walk.object && i < 3; i++) {
            if (!kit_json_part_is(&key, keys[i])) continue;
            if (values[i].bytes != NULL)
                return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "it has the key \"%s\" twice", keys[i]);
            values[i] = value;
        }
    }
    return take_values(r, values, what, err);
}

static kit_status next_answer(reading *r, bool *out_found, kolm_error_t *err) {
    const char *line = NULL, *what = NULL;
    size_t length = 0;
    kit_status status = kit_lines_next(r->answers.lines, &line, &length, err);
    *out_found = line != NULL;
    if (status == KOLM_OK && line != NULL) status = parse_answer(r, line, length, &what, err);
    if (status == KOLM_OK && what != NULL) return bad_answer(r, what, err);
    return blame(r, status, err);
}

static kit_status take_pair(reading *r, score_answers *a, kolm_error_t *err) {
    const char *id = kit_buf_text(&r->row[0]), *answer_id = kit_buf_text(&r->id);
    char text[200];
    if (strcmp(id, answer_id) == 0) {
        const score_question *q = r->question;
        const char *truth = kit_buf_text(&r->row[1]), *given = r->withheld ? NULL : kit_buf_text(&r->output);
        KIT_TRY(score_tally(a, truth, given, r->confidence, err));
        return q->each == NULL ? KOLM_OK : q->each(q->user, r->line, truth, given, r->confidence, err);
    }
    kit_format(text, sizeof text, "expected the id %.64s, found %.64s: one answer per input, in order", id, answer_id);
    return bad_answer(r, text, err);
}

static kit_status read_side_by_side(reading *r, score_answers *a, kolm_error_t *err) {
    for (r->line = 1;; r->line++) {
        bool row = false, answer = false;
        KIT_TRY(next_row(r, &row, err));
        KIT_TRY(next_answer(r, &answer, err));
        if (!row && !answer) return KOLM_OK;
        if (!row) return bad_answer(r, "there are more answers than inputs", err);
        if (!answer) return bad_answer(r, "it is missing: the backend stopped answering", err);
        KIT_TRY(take_pair(r, a, err));
    }
}

/* A process that can change the rows can choose the score. */
static kit_status check_rows(reading *r, kolm_error_t *err) {
    char found[KIT_SHA256_HEX];
    KIT_TRY(finish_source(&r->rows, found, err));
    if (r->question->heldout_sha256 == NULL || strcmp(found, r->question->heldout_sha256) == 0) return KOLM_OK;
    return kit_fail(
        err, KOLM_E_ABORTED,
        "run the command again; if it happens again, another program on this machine is changing kolm's files",
        "the answers could not be checked: the held-out rows were changed");
}

static kit_status read_all(reading *r, score_answers *a, kolm_error_t *err) {
    KIT_TRY(open_source(&r->rows, r->question, err));
    KIT_TRY(open_answers(r->question->predictions, &r->answers.fd, err));
    KIT_TRY(open_source(&r->answers, r->question, err));
    KIT_TRY(read_side_by_side(r, a, err));
    KIT_TRY(check_rows(r, err));
    return finish_source(&r->answers, a->predictions_sha256, err);
}

kit_status score_answers_read(const score_question *question, score_answers **out_answers, kolm_error_t *err) {
    reading r = {.question = question, .rows.fd = question->heldout_fd, .answers.fd = -1};
    score_answers *a = NULL;
    *out_answers = NULL;
    KIT_TRY(score_answers_new(&a, err));
    kit_status status = read_all(&r, a, err);
    close_source(&r.rows);
    close_source(&r.answers);
    if (r.answers.fd >= 0) close(r.answers.fd);
    kit_json_walk_free(&r.walk);
    kit_buf *const buffers[] = {&r.row[0], &r.row[1], &r.id, &r.output};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        kit_buf_free(buffers[i]);
    if (status == KOLM_OK)
        *out_answers = a;
    else
        score_answers_free(a);
    return status;
}
