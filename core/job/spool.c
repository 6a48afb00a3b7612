/* SPDX-License-Identifier: Apache-2.0 */
/* The spool: stores each row as a line of a scratch file, with a card of metadata, and iterates over the kept ones. */
#include "job/dataset_work.h"

#include "kolm/kit/digest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kit_status dataset_no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while preparing data");
}

kit_status dataset_cancelled(const work *w) {
    if (w->options->cancel == NULL || *w->options->cancel == 0) return KOLM_OK;
    return kit_fail(w->err, KOLM_E_CANCELLED, "", "interrupted while preparing data");
}

kit_status dataset_write_failed(const work *w, const char *directory, const char *what) {
    return kit_fail_errno(w->err, errno != 0 ? errno : EIO, "cannot write %s in %s", what, directory);
}

static void name_sources(const job_source *sources, size_t count, char *out, size_t capacity) {
    if (count > 0) kit_copy(out, capacity, sources[0].path);
    if (count == 2) kit_format(out, capacity, "%s and %s", sources[0].path, sources[1].path);
    if (count > 2) kit_format(out, capacity, "%s and %zu other files", sources[0].path, count - 1);
}

kit_status dataset_open(work *w) {
    const char *directory = w->options->private_dir;
    name_sources(w->options->data, w->options->data_count, w->data_name, sizeof w->data_name);
    name_sources(w->options->eval, w->options->eval_count, w->eval_name, sizeof w->eval_name);
    KIT_TRY(kit_sha256_new(&w->sha, w->err));
    KIT_TRY(job_scratch_stream(directory, "spool-data", &w->parts[PART_DATA].file, w->err));
    KIT_TRY(job_scratch_stream(directory, "spool-eval", &w->parts[PART_EVAL].file, w->err));
    KIT_TRY(job_table_new(directory, sizeof(row_card), &w->cards, w->err));
    KIT_TRY(job_table_new(directory, JOB_SKETCH_BYTES, &w->sketches, w->err));
    KIT_TRY(job_sorter_new(directory, 6, &w->index, w->err));
    KIT_TRY(job_sorter_new(directory, 3, &w->keys, w->err));
    return job_sorter_new(directory, 3, &w->bands, w->err);
}

void dataset_close(work *w) {
    for (int p = 0; p < 2; p++) {
        if (w->parts[p].file != NULL) fclose(w->parts[p].file);
        free(w->parts[p].dropped);
    }
    job_sorter_free(w->index);
    job_sorter_free(w->keys);
    job_sorter_free(w->bands);
    job_table_free(w->cards);
    job_table_free(w->sketches);
    job_table_free(w->nodes);
    labels_free(w);
    kit_sha256_free(w->sha);
    kit_buf_free(&w->seen);
    kit_buf_free(&w->context);
}

const job_common *dataset_common(const work *w) {
    return w->options->common != NULL ? w->options->common : &w->summary->common;
}

/* ---- Rows in */

uint64_t row_end(const work *w) {
    return w->first_eval + w->parts[PART_EVAL].rows;
}

static kit_status digest(work *w, const void *a, size_t a_length, const void *b, size_t b_length, uint64_t out[2]) {
    uint8_t hash[KIT_SHA256_BYTES];
    KIT_TRY(kit_sha256_update(w->sha, a, a_length, w->err));
    if (b_length > 0) KIT_TRY(kit_sha256_update(w->sha, b, b_length, w->err));
    KIT_TRY(kit_sha256_final(w->sha, hash, w->err));
    out[0] = out[1] = 0;
    for (int i = 0; i < 16; i++)
        out[i / 8] = (out[i / 8] << 8) | hash[i];
    return KOLM_OK;
}

static kit_status write_line(work *w, part which, const job_row *row, kit_buf *line) {
    spool *target = &w->parts[which];
    kit_buf_clear(line);
    job_row_put_spool(row, line);
    kit_buf_char(line, '\n');
    KIT_TRY(kit_buf_ok(line, w->err));
    if (fwrite(line->data, 1, line->length, target->file) != line->length)
        return dataset_write_failed(w, w->options->private_dir, "the spool");
    target->bytes += line->length;
    return KOLM_OK;
}

/* Surrounding spaces do not count in a label; an output of only spaces keeps them. */
static kit_status describe_output(work *w, const job_row *row, row_card *card) {
    const char *text = row->output;
    size_t length = row->output_length;
    uint64_t hash[2];
    job_label_trim(&text, &length);
    if (length == 0) {
        text = row->output;
        length = row->output_length;
    }
    KIT_TRY(digest(w, text, length, NULL, 0, hash));
    card->output = hash[0] | 1;
    card->output_length = (uint32_t)row->output_length;
    card->output_trimmed = (uint32_t)(row->output_length - length);
    card->alike = hash[0];
    if (length > JOB_LABEL_BYTES) return KOLM_OK;
    return job_label_key(w->sha, text, length, hash, &card->alike, w->err);
}

static kit_status add_bands(work *w, const job_fingerprint *print, uint64_t context, uint64_t number) {
    for (size_t i = 0; i < JOB_BANDS; i++)
        KIT_TRY(job_sorter_add(w->bands, (const uint64_t[]){print->bands[i] ^ context, print->key[0], number}, w->err));
    return job_table_put(w->sketches, number, print->sketch, w->err);
}

/* Computes the identity of the row's input, and the keys for finding similar ones. */
static kit_status describe_input(work *w, part which, const job_row *row, uint64_t number, row_card *card) {
    uint8_t seed[8];
    uint64_t seen[2], input[2], split[2], context[2] = {0, 0};
    for (int i = 0; i < 8; i++)
        seed[i] = (uint8_t)(w->options->seed >> (8 * i));
    KIT_TRY(digest(w, row->seen, row->seen_length, NULL, 0, seen));
    bool plain = row->seen_length == row->input_length && memcmp(row->seen, row->input, row->input_length) == 0;
    if (plain)
        memcpy(input, seen, sizeof input);
    else
        KIT_TRY(digest(w, row->input, row->input_length, NULL, 0, input));
    KIT_TRY(digest(w, seed, sizeof seed, row->input, row->input_length, split));
    card->tag = seen[0];
    card->split = split[0];
    KIT_TRY(job_sorter_add(
        w->index, (const uint64_t[]){seen[0], seen[1], (uint64_t)which, card->output, number, card->place}, w->err));
    job_fingerprint print;
    KIT_TRY(job_fingerprint_text(w->sha, row->input, row->input_length, input, &print, w->err));
    /* The same question in another context is a different one, although both are grouped together if possible; an
     * evaluation file may repeat it. */
    if (row->context_length > 0) KIT_TRY(digest(w, row->context, row->context_length, NULL, 0, context));
    print.key[0] ^= context[0];
    print.key[1] ^= context[1];
    KIT_TRY(job_sorter_add(w->keys, (const uint64_t[]){print.key[0], print.key[1], number}, w->err));
    if (print.bytes < JOB_NEAR_MIN_BYTES) return KOLM_OK;
    return add_bands(w, &print, w->options->eval_count > 0 ? context[0] : 0, number);
}

#define SOURCE_SHIFT 48u

job_place row_place(uint64_t place) {
    return (job_place){.source = (size_t)(place >> SOURCE_SHIFT), .line = place & ((1ull << SOURCE_SHIFT) - 1)};
}

static kit_status add_row(work *w, part which, size_t source, const job_row *row, kit_buf *line) {
    uint64_t number = w->parts[which].rows + (which == PART_EVAL ? w->first_eval : 0);
    row_card card = {.place = (uint64_t)source << SOURCE_SHIFT | row->line, .offset = w->parts[which].bytes};
    KIT_TRY(write_line(w, which, row, line));
    KIT_TRY(describe_output(w, row, &card));
    KIT_TRY(describe_input(w, which, row, number, &card));
    w->parts[which].rows++;
    return job_table_put(w->cards, number, &card, w->err);
}

/* What all rows of the data have in common is known once they are read. It is added to rows of an evaluation file that
 * lack it, just as it is to questions for the model. */
static kit_status take_common(work *w, part which, job_row *row) {
    if (which == PART_DATA) return job_common_see(&w->summary->common, row, w->err);
    job_common_fill(dataset_common(w), row, &w->seen, &w->context);
    KIT_TRY(kit_buf_ok(&w->seen, w->err));
    return kit_buf_ok(&w->context, w->err);
}

static bool may_skip(const work *w, kit_status status) {
    return w->options->skip_bad && (status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE);
}

static kit_status read_rows(work *w, part which, size_t number, job_source *source, job_reader *reader) {
    kit_buf line = {0};
    kit_status status = KOLM_OK;
    for (bool found = true; status == KOLM_OK && found;) {
        job_row row;
        status = job_reader_next(reader, &row, &found, w->err);
        if (may_skip(w, status)) {
            job_count_bad(w->summary, job_reader_fault(reader), w->err->text);
            source->bad_rows++;
            status = KOLM_OK;
            found = true;
        } else if (status == KOLM_OK && found) {
            source->rows++;
            status = take_common(w, which, &row);
            if (status == KOLM_OK) status = add_row(w, which, number, &row, &line);
        }
        if (status == KOLM_OK) status = dataset_cancelled(w);
    }
    kit_buf_free(&line);
    return status;
}

static kit_status read_source(work *w, part which, size_t number, job_source *source) {
    job_reader *reader = NULL;
    job_reader_options options = w->options->reader;
    options.path = source->path;
    options.cancel = w->options->cancel;
    options.scratch = w->options->private_dir;
    source->rows = source->bad_rows = 0;
    KIT_TRY(job_reader_open(source->fd, &options, &reader, w->err));
    kit_status status = read_rows(w, which, number, source, reader);
    source->table = job_reader_notes(reader);
    job_add_unused(w->summary, reader);
    job_reader_close(reader);
    if (status == KOLM_OK && source->rows == 0)
        status = kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                          "use a file with rows such as {\"input\": \"...\", \"output\": \"...\"}",
                          "%s contains no valid row", source->path);
    return status;
}

kit_status spool_read(work *w, part which, job_source *sources, size_t count) {
    spool *target = &w->parts[which];
    if (which == PART_EVAL) w->first_eval = w->parts[PART_DATA].rows;
    if (count > JOB_SOURCES_MAX)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT, "put the rows into fewer files",
                        "%zu files of rows are more than the %u that can be read at once", count, JOB_SOURCES_MAX);
    for (size_t i = 0; i < count; i++)
        KIT_TRY(read_source(w, which, i, &sources[i]));
    if (fflush(target->file) != 0) return dataset_write_failed(w, w->options->private_dir, "the spool");
    if (which == PART_DATA) w->first_eval = target->rows;
    target->dropped = calloc(target->rows / 8 + 1, 1);
    return target->dropped != NULL ? KOLM_OK : dataset_no_memory(w->err);
}

/* ---- Kept or dropped */

/* Returns the byte and the bit of a row. */
static uint8_t *dropped_byte(const work *w, uint64_t number, uint8_t *out_bit) {
    part which = number >= w->first_eval ? PART_EVAL : PART_DATA;
    if (which == PART_EVAL) number -= w->first_eval;
    *out_bit = (uint8_t)(1u << (number % 8));
    return &w->parts[which].dropped[number / 8];
}

bool row_is_dropped(const work *w, uint64_t number) {
    uint8_t bit = 0;
    const uint8_t *byte = dropped_byte(w, number, &bit);
    return (*byte & bit) != 0;
}

void row_drop(work *w, uint64_t number, bool dropped) {
    uint8_t bit = 0;
    uint8_t *byte = dropped_byte(w, number, &bit);
    *byte = (uint8_t)(dropped ? *byte | bit : *byte & ~bit);
}

/* ---- Rows out */

static kit_status changed(const work *w) {
    return kit_fail(w->err, KOLM_E_DATA_LOSS, "run the command again", "the spool in %s was changed while it was read",
                    w->options->private_dir);
}

static kit_status parse_line(work *w, const char *line, size_t length, kit_buf *whole, cJSON **out) {
    kit_buf_clear(whole);
    kit_buf_char(whole, '{');
    kit_buf_add(whole, line, length);
    kit_buf_char(whole, '}');
    KIT_TRY(kit_buf_ok(whole, w->err));
    *out = cJSON_ParseWithLength(whole->data, whole->length);
    return *out != NULL ? KOLM_OK : dataset_no_memory(w->err);
}

static kit_status visit_line(work *w, const char *line, size_t length, spooled *item, kit_buf *whole,
                             spool_visit_fn visit, void *user) {
    KIT_TRY(parse_line(w, line, length, whole, &item->json));
    kit_status status = job_table_get(w->cards, item->number, &item->card, w->err);
    if (status == KOLM_OK && !job_row_get_spool(item->json, &item->parts)) status = changed(w);
    if (status == KOLM_OK) status = visit(w, item, user);
    cJSON_Delete(item->json);
    return status;
}

static kit_status take_line(const work *w, FILE *file, char **line, size_t *capacity, size_t *out_length) {
    ssize_t length = getline(line, capacity, file);
    if (length <= 0)
        return kit_fail_errno(w->err, errno != 0 ? errno : EIO, "cannot read the spool in %s", w->options->private_dir);
    (*line)[length - 1] = '\0'; /* the LF that write_line wrote */
    *out_length = (size_t)length - 1;
    return KOLM_OK;
}

kit_status spool_visit(work *w, part which, spool_visit_fn visit, void *user) {
    spool *s = &w->parts[which];
    rewind(s->file);
    kit_buf whole = {0};
    char *line = NULL;
    size_t capacity = 0, length = 0;
    kit_status status = KOLM_OK;
    for (uint64_t row = 0; row < s->rows && status == KOLM_OK; row++) {
        spooled item = {.row = row, .number = row + (which == PART_EVAL ? w->first_eval : 0)};
        status = take_line(w, s->file, &line, &capacity, &length);
        if (status == KOLM_OK && !row_is_dropped(w, item.number))
            status = visit_line(w, line, length, &item, &whole, visit, user);
        if (status == KOLM_OK) status = dataset_cancelled(w);
    }
    free(line);
    kit_buf_free(&whole);
    return status;
}

kit_status spool_visit_at(work *w, part which, uint64_t number, uint64_t offset, spool_visit_fn visit, void *user) {
    FILE *file = w->parts[which].file;
    spooled item = {.row = number - (which == PART_EVAL ? w->first_eval : 0), .number = number};
    kit_buf whole = {0};
    char *line = NULL;
    size_t capacity = 0, length = 0;
    kit_status status = fseeko(file, (off_t)offset, SEEK_SET) == 0 ? KOLM_OK : changed(w);
    if (status == KOLM_OK) status = take_line(w, file, &line, &capacity, &length);
    if (status == KOLM_OK) status = visit_line(w, line, length, &item, &whole, visit, user);
    free(line);
    kit_buf_free(&whole);
    return status;
}

kit_status spool_output_at(work *w, uint64_t offset, kit_buf *out) {
    FILE *file = w->parts[PART_DATA].file;
    kit_buf whole = {0};
    char *line = NULL;
    cJSON *json = NULL;
    job_row row;
    size_t capacity = 0, length = 0;
    kit_status status = fseeko(file, (off_t)offset, SEEK_SET) == 0 ? KOLM_OK : changed(w);
    if (status == KOLM_OK) status = take_line(w, file, &line, &capacity, &length);
    if (status == KOLM_OK) status = parse_line(w, line, length, &whole, &json);
    if (status == KOLM_OK && !job_row_get_spool(json, &row)) status = changed(w);
    if (status == KOLM_OK) kit_buf_str(out, row.output);
    if (status == KOLM_OK) status = kit_buf_ok(out, w->err);
    cJSON_Delete(json);
    free(line);
    kit_buf_free(&whole);
    return status;
}
