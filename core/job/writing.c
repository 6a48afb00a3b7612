/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the kept rows: training rows in the order of the user's files, held-out rows in an order that reveals nothing
 * about it. */
#include "job/dataset_work.h"

#include "job/heldout.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct sinks {
    FILE *train, *eval;
    job_heldout heldout;
    job_sorter *held; /* the held-out rows, until all of them are known */
    kit_sha256 *train_sha, *eval_sha;
    bool split;  /* data rows may be held out */
    bool labels; /* outputs are written without surrounding spaces */
    kit_buf line, input, output;
} sinks;

static kit_status put_line(work *w, FILE *file, kit_sha256 *sha, const kit_buf *line, const char *directory,
                           const char *name) {
    KIT_TRY(kit_buf_ok(line, w->err));
    if (fwrite(line->data, 1, line->length, file) != line->length) return dataset_write_failed(w, directory, name);
    return sha != NULL ? kit_sha256_update(sha, line->data, line->length, w->err) : KOLM_OK;
}

/* Removes spaces around a label, also in the answer of the chat, which a trainer learns from. */
static kit_status trim_output(work *w, sinks *out, spooled *row) {
    const char *text = row->parts.output;
    size_t length = strlen(text);
    if (!out->labels || row->card.output_trimmed == 0) return KOLM_OK;
    job_label_trim(&text, &length);
    kit_buf_clear(&out->output);
    kit_buf_add(&out->output, text, length);
    row->parts.output = kit_buf_text(&out->output);
    row->parts.output_length = length;
    return kit_buf_ok(&out->output, w->err);
}

/* Writes {"id":"17","input":"...", the start of all three kinds of lines. The id is the line number: the position in
 * the user's files would reveal which rows are missing there, and where. */
static kit_status begin_line(work *w, sinks *out, const spooled *row, uint64_t lines_before) {
    kit_buf_clear(&out->line);
    kit_buf_clear(&out->input);
    job_row_put_input(&row->parts, dataset_common(w), &out->input);
    kit_buf_fmt(&out->line, "{\"id\":\"%llu\",\"input\":", (unsigned long long)lines_before + 1);
    kit_json_string(&out->line, kit_buf_text(&out->input), out->input.length);
    return kit_buf_ok(&out->input, w->err);
}

static void put_output(sinks *out, const spooled *row) {
    kit_buf_str(&out->line, ",\"output\":");
    kit_json_string(&out->line, row->parts.output, strlen(row->parts.output));
    job_row_put_messages(&row->parts, true, &out->line);
    kit_buf_str(&out->line, "}\n");
}

static kit_status put_train(work *w, sinks *out, const spooled *row) {
    KIT_TRY(begin_line(w, out, row, w->summary->train_rows));
    put_output(out, row);
    w->summary->train_rows++;
    w->summary->train_input_bytes += out->input.length;
    return put_line(w, out->train, out->train_sha, &out->line, w->options->job_dir, "train.jsonl");
}

static kit_status put_eval(work *w, spooled *row, void *user) {
    sinks *out = user;
    KIT_TRY(trim_output(w, out, row));
    KIT_TRY(begin_line(w, out, row, w->summary->eval_rows));
    size_t end = out->line.length;
    job_row_put_messages(&row->parts, false, &out->line);
    kit_buf_str(&out->line, "}\n");
    KIT_TRY(put_line(w, out->eval, NULL, &out->line, w->options->job_dir, "eval.jsonl"));
    out->line.length = end;
    kit_buf_fmt(&out->line, ",\"row\":\"%llu\"", (unsigned long long)row->row + 1);
    put_output(out, row);
    w->summary->eval_rows++;
    KIT_TRY(kit_buf_ok(&out->line, w->err));
    KIT_TRY(kit_sha256_update(out->eval_sha, out->line.data, out->line.length, w->err));
    return job_heldout_add(&out->heldout, out->line.data, out->line.length, w->err);
}

/* ---- The order of the held-out rows
 *
 * In a file that is sorted by its labels the neighbours of a row tell its label, and a backend need not learn anything
 * to answer well. So held-out rows come in the order of SHA-256(seen), which whoever sees the questions knows anyway.
 * The split goes by another digest, so that a place in this order says nothing about its labels either. Rows that ask
 * the same come in the order of the user's files. */

static kit_status hold(work *w, sinks *out, uint64_t number, const row_card *card) {
    return job_sorter_add(out->held, (const uint64_t[]){card->tag, card->split, number, card->offset}, w->err);
}

static kit_status write_held(work *w, sinks *out) {
    part which = w->options->eval_count > 0 ? PART_EVAL : PART_DATA;
    KIT_TRY(job_sorter_sort(out->held, w->err));
    for (;;) {
        const uint64_t *record = NULL;
        KIT_TRY(job_sorter_next(out->held, &record, w->err));
        if (record == NULL) return KOLM_OK;
        KIT_TRY(spool_visit_at(w, which, record[2], record[3], put_eval, out));
        KIT_TRY(dataset_cancelled(w));
    }
}

static kit_status write_data_row(work *w, spooled *row, void *user) {
    sinks *out = user;
    bool held = false;
    if (out->split) KIT_TRY(split_is_held_out(w, row->number, &row->card, &held));
    if (held) return hold(w, out, row->number, &row->card);
    KIT_TRY(trim_output(w, out, row));
    return put_train(w, out, row);
}

static kit_status hold_eval_rows(work *w, sinks *out) {
    for (uint64_t number = w->first_eval; number < row_end(w); number++) {
        row_card card;
        if (row_is_dropped(w, number)) continue;
        KIT_TRY(job_table_get(w->cards, number, &card, w->err));
        if (labels_known(w)) w->summary->unseen_labels += labels_find(w, card.output)->key == 0;
        KIT_TRY(hold(w, out, number, &card));
        KIT_TRY(dataset_cancelled(w));
    }
    return KOLM_OK;
}

static kit_status open_sink(const char *directory, const char *name, FILE **out, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, name, &path, err));
    *out = fopen(path, "wxbe");
    kit_status status = *out != NULL ? KOLM_OK : kit_fail_errno(err, errno, "cannot create %s", path);
    free(path);
    return status;
}

/* Closes the file; a write error is detected here at the latest. */
static kit_status close_sink(work *w, FILE **file, kit_status status, const char *directory, const char *name) {
    if (*file == NULL) return status;
    errno = 0;
    bool good = ferror(*file) == 0;
    good = fclose(*file) == 0 && good;
    *file = NULL;
    return status == KOLM_OK && !good ? dataset_write_failed(w, directory, name) : status;
}

static kit_status finish_digest(work *w, kit_sha256 *sha, char out_hex[KIT_SHA256_HEX]) {
    uint8_t bytes[KIT_SHA256_BYTES];
    KIT_TRY(kit_sha256_final(sha, bytes, w->err));
    kit_hex(bytes, sizeof bytes, out_hex);
    return KOLM_OK;
}

kit_status writing_run(work *w, bool train) {
    const char *job = w->options->job_dir;
    sinks out = {.heldout.fd = -1,
                 .split = train && w->options->eval_count == 0,
                 .labels = w->summary->closed || w->options->labels};
    kit_status status = kit_sha256_new(&out.train_sha, w->err);
    if (status == KOLM_OK) status = job_sorter_new(w->options->private_dir, 4, &out.held, w->err);
    if (status == KOLM_OK) status = kit_sha256_new(&out.eval_sha, w->err);
    if (status == KOLM_OK && train) status = open_sink(job, "train.jsonl", &out.train, w->err);
    if (status == KOLM_OK) status = open_sink(job, "eval.jsonl", &out.eval, w->err);
    if (status == KOLM_OK) status = job_heldout_open(w->options->private_dir, &out.heldout, w->err);
    if (status == KOLM_OK && train) status = spool_visit(w, PART_DATA, write_data_row, &out);
    if (status == KOLM_OK && w->options->eval_count > 0) status = hold_eval_rows(w, &out);
    if (status == KOLM_OK) status = write_held(w, &out);
    if (status == KOLM_OK) status = finish_digest(w, out.train_sha, w->summary->train_sha256);
    if (status == KOLM_OK) status = finish_digest(w, out.eval_sha, w->summary->eval_sha256);
    status = close_sink(w, &out.train, status, job, "train.jsonl");
    status = close_sink(w, &out.eval, status, job, "eval.jsonl");
    if (status == KOLM_OK) status = job_heldout_seal(&out.heldout, &w->summary->heldout_fd, w->err);
    job_heldout_close(&out.heldout);
    job_sorter_free(out.held);
    kit_sha256_free(out.train_sha);
    kit_sha256_free(out.eval_sha);
    kit_buf_free(&out.line);
    kit_buf_free(&out.input);
    kit_buf_free(&out.output);
    return status;
}
