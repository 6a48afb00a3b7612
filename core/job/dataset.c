/* SPDX-License-Identifier: Apache-2.0 */
/* Cleaning and splitting over a spool file and a partitioned index of digests. */
#include "job/internal.h"

#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS 64u
#define HELD_OUT_PERCENT 20u
#define HELD_OUT_MOST 50000u

typedef enum part { PART_DATA, PART_EVAL } part;

/* One row in the index. */
typedef struct index_record {
    uint8_t input[16]; /* of SHA-256(seen) */
    uint64_t output;   /* of SHA-256(output) */
    uint64_t row;      /* position in its part's spool, from 0 */
    uint64_t place;    /* line in its source, source, part: see place_of */
} index_record;

typedef struct label {
    uint64_t key; /* index_record.output, 0 for an empty place */
    uint64_t rows;
    uint32_t held; /* how many of them are held out, for an exact label */
    uint32_t gathered;
    uint64_t *hashes;  /* split hashes of an exact label, sorted; NULL otherwise */
    uint64_t smallest; /* split hash of any other label */
} label;

typedef struct spool {
    FILE *file;
    char *path;
    uint64_t rows;
    uint8_t *dropped; /* a bit a row */
} spool;

typedef struct work {
    const job_prepare_options *options;
    job_summary *summary;
    kolm_error_t *err;
    kit_sha256 *sha;
    char data_name[400], eval_name[400]; /* for messages about all of it */
    spool parts[2];
    FILE *partitions[PARTITIONS];
    label *labels; /* open addressing by key */
    size_t label_capacity, label_count;
    bool too_many_labels;
    uint64_t kept;
    uint64_t threshold; /* of the split hash, for labels that are not exact */
    kit_buf seen, context; /* of an evaluation row that was filled up */
} work;

/* What rows have in common: found in the data, or given, where there is no data. */
static const job_common *common_of(const work *w) {
    return w->options->common != NULL ? w->options->common : &w->summary->common;
}

/* Part in bit 0, source in the 12 above, line in the rest; sorts nothing. */
static uint64_t place_of(uint64_t line, size_t source, part which) {
    return line << 13 | (uint64_t)source << 1 | (uint64_t)which;
}

static part part_of(const index_record *record) {
    return (part)(record->place & 1);
}

static job_place data_place(const index_record *record) {
    return (job_place){.source = (size_t)(record->place >> 1 & 4095), .line = record->place >> 13};
}

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while preparing data");
}

static kit_status cancelled(const work *w) {
    if (w->options->cancel == NULL || *w->options->cancel == 0) return KOLM_OK;
    return kit_fail(w->err, KOLM_E_CANCELLED, "", "interrupted while preparing data");
}

static kit_status write_failed(const work *w, const char *directory, const char *what) {
    return kit_fail_errno(w->err, errno != 0 ? errno : EIO, "cannot write %s in %s", what, directory);
}

static kit_status digest(work *w, const void *a, size_t a_length, const void *b, size_t b_length,
                         uint8_t out[KIT_SHA256_BYTES]) {
    KIT_TRY(kit_sha256_update(w->sha, a, a_length, w->err));
    if (b_length > 0) KIT_TRY(kit_sha256_update(w->sha, b, b_length, w->err));
    return kit_sha256_final(w->sha, out, w->err);
}

static uint64_t first8(const uint8_t *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = (value << 8) | bytes[i];
    return value;
}

/* An anonymous file for scratch: nothing is left of it, whatever happens. */
static kit_status scratch_file(const work *w, const char *what, FILE **out, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(w->options->private_dir, what, &path, err));
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    kit_status status = KOLM_OK;
    if (fd < 0)
        status = kit_fail_errno(err, errno, "cannot create %s", path);
    else
        unlink(path);
    free(path);
    if (status == KOLM_OK && (*out = fdopen(fd, "w+b")) == NULL) {
        close(fd);
        status = no_memory(err);
    }
    return status;
}

/* ---- Reading a file into its spool and the index */

static kit_status spool_row(work *w, part which, size_t source, const job_row *row, kit_buf *line) {
    spool *target = &w->parts[which];
    kit_buf_clear(line);
    job_row_put_spool(row, line);
    kit_buf_char(line, '\n');
    KIT_TRY(kit_buf_ok(line, w->err));
    if (fwrite(line->data, 1, line->length, target->file) != line->length)
        return write_failed(w, w->options->private_dir, "the spool");
    index_record record = {.row = target->rows++, .place = place_of(row->line, source, which)};
    uint8_t hash[KIT_SHA256_BYTES];
    KIT_TRY(digest(w, row->seen, row->seen_length, NULL, 0, hash));
    memcpy(record.input, hash, sizeof record.input);
    KIT_TRY(digest(w, row->output, row->output_length, NULL, 0, hash));
    record.output = first8(hash) | 1; /* never the empty key */
    FILE *partition = w->partitions[record.input[0] % PARTITIONS];
    if (fwrite(&record, sizeof record, 1, partition) != 1) return write_failed(w, w->options->private_dir, "the index");
    return KOLM_OK;
}

/* What all rows of the data have in common is known when they were read, and belongs to the rows of an evaluation file
 * that lack it, too: they are put to the model as questions are. */
static kit_status take_common(work *w, part which, job_row *row) {
    if (which == PART_DATA) return job_common_see(&w->summary->common, row, w->err);
    job_common_fill(common_of(w), row, &w->seen, &w->context);
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
            job_count_bad(w->summary, w->err->text);
            source->bad_rows++;
            status = KOLM_OK;
            found = true;
        } else if (status == KOLM_OK && found) {
            source->rows++;
            status = take_common(w, which, &row);
            if (status == KOLM_OK) status = spool_row(w, which, number, &row, &line);
        }
        if (status == KOLM_OK) status = cancelled(w);
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
                          "give a file with rows such as {\"input\": \"...\", \"output\": \"...\"}",
                          "%s holds no good row", source->path);
    return status;
}

static kit_status read_part(work *w, part which, job_source *sources, size_t count) {
    if (count > JOB_SOURCES_MAX)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT, "put the rows into fewer files",
                        "%zu files of rows are more than the %u that can be read at once", count, JOB_SOURCES_MAX);
    for (size_t i = 0; i < count; i++)
        KIT_TRY(read_source(w, which, i, &sources[i]));
    if (fflush(w->parts[which].file) != 0) return write_failed(w, w->options->private_dir, "the spool");
    return KOLM_OK;
}

/* ---- Duplicates, contradictions, leaks */

static bool is_dropped(const spool *s, uint64_t row) {
    return (s->dropped[row / 8] >> (row % 8)) & 1;
}

static void drop(spool *s, uint64_t row) {
    s->dropped[row / 8] |= (uint8_t)(1u << (row % 8));
}

static int compare_records(const void *a, const void *b) {
    const index_record *x = a, *y = b;
    int order = memcmp(x->input, y->input, sizeof x->input);
    if (order != 0) return order;
    if (part_of(x) != part_of(y)) return part_of(x) < part_of(y) ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Decides on the rows that share one input: data rows first, then evaluation rows. */
static void decide(work *w, const index_record *records, size_t count) {
    size_t data_rows = 0;
    while (data_rows < count && part_of(&records[data_rows]) == PART_DATA)
        data_rows++;
    bool contradiction = false;
    for (size_t i = 1; i < data_rows; i++) {
        if (records[i].output == records[0].output) continue;
        contradiction = true;
        if (w->summary->contradiction_places[0].line == 0) {
            w->summary->contradiction_places[0] = data_place(&records[0]);
            w->summary->contradiction_places[1] = data_place(&records[i]);
        }
    }
    for (size_t i = contradiction ? 0 : 1; i < data_rows; i++) {
        drop(&w->parts[PART_DATA], records[i].row);
        if (contradiction)
            w->summary->contradictions++;
        else
            w->summary->duplicates++;
    }
    for (size_t i = data_rows; i < count && data_rows > 0 && !contradiction; i++) {
        drop(&w->parts[PART_EVAL], records[i].row);
        w->summary->leaked++;
    }
}

static kit_status clean_partition(work *w, FILE *file) {
    if (fflush(file) != 0) return write_failed(w, w->options->private_dir, "the index");
    off_t bytes = ftello(file);
    if (bytes <= 0) return KOLM_OK;
    size_t count = (size_t)bytes / sizeof(index_record);
    index_record *records = malloc(count * sizeof *records);
    if (records == NULL) return no_memory(w->err);
    rewind(file);
    kit_status status = KOLM_OK;
    if (fread(records, sizeof *records, count, file) != count)
        status = kit_fail_errno(w->err, EIO, "cannot read the index in %s", w->options->private_dir);
    if (status == KOLM_OK) qsort(records, count, sizeof *records, compare_records);
    for (size_t from = 0, to; status == KOLM_OK && from < count; from = to) {
        for (to = from + 1; to < count && memcmp(records[from].input, records[to].input, sizeof records[0].input) == 0;)
            to++;
        decide(w, records + from, to - from);
    }
    free(records);
    return status;
}

static kit_status clean(work *w) {
    for (int p = 0; p < 2; p++) {
        w->parts[p].dropped = calloc(w->parts[p].rows / 8 + 1, 1);
        if (w->parts[p].dropped == NULL) return no_memory(w->err);
    }
    for (unsigned i = 0; i < PARTITIONS; i++) {
        KIT_TRY(clean_partition(w, w->partitions[i]));
        KIT_TRY(cancelled(w));
    }
    return KOLM_OK;
}

/* ---- Walking the kept rows of a spool */

typedef struct spooled {
    cJSON *json; /* of the spool's line */
    job_row parts;
    const char *input, *output;
    uint64_t row;
} spooled;

typedef kit_status (*visit_fn)(work *w, const spooled *row, void *user);

static kit_status visit_line(work *w, const char *line, size_t length, uint64_t row, visit_fn visit, void *user,
                             kit_buf *whole) {
    kit_buf_clear(whole);
    kit_buf_char(whole, '{');
    kit_buf_add(whole, line, length);
    kit_buf_char(whole, '}');
    KIT_TRY(kit_buf_ok(whole, w->err));
    spooled item = {.row = row, .json = cJSON_ParseWithLength(whole->data, whole->length)};
    if (item.json == NULL) return no_memory(w->err);
    kit_status status = KOLM_OK;
    if (!job_row_get_spool(item.json, &item.parts))
        status = kit_fail(w->err, KOLM_E_DATA_LOSS, "run the command again",
                          "the spool in %s was changed while it was read", w->options->private_dir);
    item.input = item.parts.input;
    item.output = item.parts.output;
    if (status == KOLM_OK) status = visit(w, &item, user);
    cJSON_Delete(item.json);
    return status;
}

static kit_status visit_kept(work *w, part which, visit_fn visit, void *user) {
    spool *s = &w->parts[which];
    rewind(s->file);
    kit_buf whole = {0};
    char *line = NULL;
    size_t capacity = 0;
    kit_status status = KOLM_OK;
    for (uint64_t row = 0; row < s->rows && status == KOLM_OK; row++) {
        ssize_t length = getline(&line, &capacity, s->file);
        if (length > 0) line[length - 1] = '\0'; /* the LF that spool_row wrote */
        if (length <= 0)
            status = kit_fail_errno(w->err, errno != 0 ? errno : EIO, "cannot read the spool in %s",
                                    w->options->private_dir);
        else if (!is_dropped(s, row))
            status = visit_line(w, line, (size_t)length - 1, row, visit, user, &whole);
        if (status == KOLM_OK) status = cancelled(w);
    }
    free(line);
    kit_buf_free(&whole);
    return status;
}

/* ---- Labels */

static label *find_label(const work *w, uint64_t key) {
    size_t i = (size_t)(key >> 1) & (w->label_capacity - 1);
    while (w->labels[i].key != 0 && w->labels[i].key != key)
        i = (i + 1) & (w->label_capacity - 1);
    return &w->labels[i];
}

static kit_status grow_labels(work *w) {
    size_t old_capacity = w->label_capacity;
    label *old = w->labels;
    w->label_capacity = old_capacity == 0 ? 256 : old_capacity * 2;
    w->labels = calloc(w->label_capacity, sizeof *w->labels);
    if (w->labels == NULL) {
        w->labels = old;
        w->label_capacity = old_capacity;
        return no_memory(w->err);
    }
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].key != 0) *find_label(w, old[i].key) = old[i];
    free(old);
    return KOLM_OK;
}

static kit_status output_key(work *w, const char *output, uint64_t *out_key) {
    uint8_t hash[KIT_SHA256_BYTES];
    KIT_TRY(digest(w, output, strlen(output), NULL, 0, hash));
    *out_key = first8(hash) | 1;
    return KOLM_OK;
}

static kit_status count_label(work *w, const spooled *row, void *user) {
    uint64_t *longest = user;
    size_t length = strlen(row->output);
    if (length > *longest) *longest = length;
    w->kept++;
    if (w->too_many_labels) return KOLM_OK;
    if (w->label_count * 2 >= w->label_capacity) KIT_TRY(grow_labels(w));
    uint64_t key = 0;
    KIT_TRY(output_key(w, row->output, &key));
    label *found = find_label(w, key);
    if (found->key == 0) {
        found->key = key;
        w->label_count++;
        w->too_many_labels = w->label_count > JOB_LABELS_MAX;
    }
    found->rows++;
    return KOLM_OK;
}

static void judge_closed(work *w, uint64_t longest) {
    job_summary *s = w->summary;
    s->labels = w->label_count;
    unsigned long long labels = w->label_count, rows = w->kept;
    for (size_t i = 0; i < w->label_capacity; i++)
        s->lonely_labels += w->labels[i].key != 0 && w->labels[i].rows == 1;
    s->closed = !w->too_many_labels && labels * 2 <= rows && longest <= 1000;
    if (w->too_many_labels)
        kit_format(s->closed_why, sizeof s->closed_why, "there are more than %u distinct outputs", JOB_LABELS_MAX);
    else if (longest > 1000)
        kit_format(s->closed_why, sizeof s->closed_why, "outputs are up to %llu bytes long: texts, not labels",
                   (unsigned long long)longest);
    else if (!s->closed)
        kit_format(s->closed_why, sizeof s->closed_why,
                   "%llu distinct outputs in %llu rows: fewer than two rows for each", labels, rows);
    else
        kit_format(s->closed_why, sizeof s->closed_why, "%llu distinct outputs in %llu rows", labels, rows);
}

static kit_status count_labels(work *w) {
    uint64_t longest = 0;
    KIT_TRY(grow_labels(w));
    KIT_TRY(visit_kept(w, PART_DATA, count_label, &longest));
    judge_closed(w, longest);
    if (w->kept == 0)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                        "correct the rows: the same input must always have the same output",
                        "every row of %s contradicts another one", w->data_name);
    if (w->label_count == 1)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT, "add rows with at least one other output",
                        "every row of %s has the same output: there is nothing to learn", w->data_name);
    return KOLM_OK;
}

/* ---- The split */

static kit_status split_hash(work *w, const char *input, uint64_t *out_hash) {
    uint8_t seed[8], hash[KIT_SHA256_BYTES];
    for (int i = 0; i < 8; i++)
        seed[i] = (uint8_t)(w->options->seed >> (8 * i));
    KIT_TRY(digest(w, seed, sizeof seed, input, strlen(input), hash));
    *out_hash = first8(hash);
    return KOLM_OK;
}

static kit_status gather_hash(work *w, const spooled *row, void *user) {
    (void)user;
    uint64_t key = 0;
    KIT_TRY(output_key(w, row->output, &key));
    label *found = find_label(w, key);
    uint64_t hash = 0;
    KIT_TRY(split_hash(w, row->input, &hash));
    if (found->hashes != NULL)
        found->hashes[found->gathered++] = hash;
    else if (found->gathered++ == 0 || hash < found->smallest)
        found->smallest = hash;
    return KOLM_OK;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static kit_status plan_split(work *w) {
    /* A fifth, or less when that is more than it takes to measure well: share_of / share_in of the rows. */
    bool few = w->kept <= (uint64_t)HELD_OUT_MOST * 100 / HELD_OUT_PERCENT;
    uint64_t share_of = few ? HELD_OUT_PERCENT : HELD_OUT_MOST, share_in = few ? 100 : w->kept;
    w->threshold = UINT64_MAX / share_in * share_of;
    if (w->too_many_labels) return KOLM_OK;
    for (size_t i = 0; i < w->label_capacity; i++) {
        label *l = &w->labels[i];
        if (l->key == 0 || l->rows < 2 || l->rows > JOB_EXACT_LABEL) continue;
        l->hashes = calloc(l->rows, sizeof *l->hashes);
        if (l->hashes == NULL) return no_memory(w->err);
        l->held = (uint32_t)((l->rows * share_of + share_in / 2) / share_in);
        if (l->held == 0) l->held = 1;
    }
    KIT_TRY(visit_kept(w, PART_DATA, gather_hash, NULL));
    for (size_t i = 0; i < w->label_capacity; i++)
        if (w->labels[i].hashes != NULL)
            qsort(w->labels[i].hashes, w->labels[i].gathered, sizeof(uint64_t), compare_hashes);
    return KOLM_OK;
}

static kit_status is_held_out(work *w, const spooled *row, bool *out_held) {
    uint64_t hash = 0, key = 0;
    KIT_TRY(split_hash(w, row->input, &hash));
    *out_held = hash < w->threshold;
    if (w->too_many_labels) return KOLM_OK;
    KIT_TRY(output_key(w, row->output, &key));
    const label *found = find_label(w, key);
    if (found->rows == 1)
        *out_held = false;
    else if (found->hashes != NULL)
        *out_held = hash <= found->hashes[found->held - 1];
    else
        *out_held = hash < w->threshold || hash == found->smallest;
    return KOLM_OK;
}

/* ---- Writing */

typedef struct sinks {
    FILE *train, *eval, *heldout;
    kit_sha256 *train_sha, *eval_sha;
    bool split; /* data rows may be held out */
    kit_buf line, input;
} sinks;

static kit_status put_line(work *w, FILE *file, kit_sha256 *sha, const kit_buf *line, const char *directory,
                           const char *name) {
    KIT_TRY(kit_buf_ok(line, w->err));
    if (fwrite(line->data, 1, line->length, file) != line->length) return write_failed(w, directory, name);
    return sha != NULL ? kit_sha256_update(sha, line->data, line->length, w->err) : KOLM_OK;
}

/* {"id":"17","input":"...": where each of the three kinds of lines begins. */
static kit_status begin_line(work *w, sinks *out, const spooled *row, const job_common *common) {
    kit_buf_clear(&out->line);
    kit_buf_clear(&out->input);
    job_row_put_input(&row->parts, common, &out->input);
    kit_buf_fmt(&out->line, "{\"id\":\"%llu\",\"input\":", (unsigned long long)row->row + 1);
    kit_json_string(&out->line, kit_buf_text(&out->input), out->input.length);
    return kit_buf_ok(&out->input, w->err);
}

static void put_output(sinks *out, const spooled *row) {
    kit_buf_str(&out->line, ",\"output\":");
    kit_json_string(&out->line, row->output, strlen(row->output));
    job_row_put_messages(&row->parts, true, &out->line);
    kit_buf_str(&out->line, "}\n");
}

static kit_status put_train(work *w, sinks *out, const spooled *row) {
    KIT_TRY(begin_line(w, out, row, common_of(w)));
    put_output(out, row);
    w->summary->train_rows++;
    w->summary->train_input_bytes += out->input.length;
    return put_line(w, out->train, out->train_sha, &out->line, w->options->job_dir, "train.jsonl");
}

static kit_status put_eval(work *w, sinks *out, const spooled *row) {
    KIT_TRY(begin_line(w, out, row, common_of(w)));
    size_t end = out->line.length;
    job_row_put_messages(&row->parts, false, &out->line);
    kit_buf_str(&out->line, "}\n");
    KIT_TRY(put_line(w, out->eval, NULL, &out->line, w->options->job_dir, "eval.jsonl"));
    out->line.length = end;
    put_output(out, row);
    w->summary->eval_rows++;
    return put_line(w, out->heldout, out->eval_sha, &out->line, w->options->private_dir, "heldout.jsonl");
}

static kit_status write_data_row(work *w, const spooled *row, void *user) {
    sinks *out = user;
    bool held = false;
    if (out->split) KIT_TRY(is_held_out(w, row, &held));
    return held ? put_eval(w, out, row) : put_train(w, out, row);
}

static kit_status write_eval_row(work *w, const spooled *row, void *user) {
    uint64_t key = 0;
    if (w->labels != NULL && !w->too_many_labels) {
        KIT_TRY(output_key(w, row->output, &key));
        w->summary->unseen_labels += find_label(w, key)->key == 0;
    }
    return put_eval(w, user, row);
}

static kit_status open_sink(const char *directory, const char *name, FILE **out, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, name, &path, err));
    *out = fopen(path, "wxbe");
    kit_status status = *out != NULL ? KOLM_OK : kit_fail_errno(err, errno, "cannot create %s", path);
    free(path);
    return status;
}

/* Closes what is open; a failure to write shows here at the latest. */
static kit_status close_sink(work *w, FILE **file, kit_status status, const char *directory, const char *name) {
    if (*file == NULL) return status;
    errno = 0;
    bool good = ferror(*file) == 0;
    good = fclose(*file) == 0 && good;
    *file = NULL;
    return status == KOLM_OK && !good ? write_failed(w, directory, name) : status;
}

static kit_status finish_digest(work *w, kit_sha256 *sha, char out_hex[KIT_SHA256_HEX]) {
    uint8_t bytes[KIT_SHA256_BYTES];
    KIT_TRY(kit_sha256_final(sha, bytes, w->err));
    kit_hex(bytes, sizeof bytes, out_hex);
    return KOLM_OK;
}

static kit_status write_all(work *w, bool train) {
    sinks out = {.split = train && w->options->eval_count == 0};
    kit_status status = kit_sha256_new(&out.train_sha, w->err);
    if (status == KOLM_OK) status = kit_sha256_new(&out.eval_sha, w->err);
    if (status == KOLM_OK && train) status = open_sink(w->options->job_dir, "train.jsonl", &out.train, w->err);
    if (status == KOLM_OK) status = open_sink(w->options->job_dir, "eval.jsonl", &out.eval, w->err);
    if (status == KOLM_OK) status = open_sink(w->options->private_dir, "heldout.jsonl", &out.heldout, w->err);
    if (status == KOLM_OK && train) status = visit_kept(w, PART_DATA, write_data_row, &out);
    if (status == KOLM_OK && w->options->eval_count > 0) status = visit_kept(w, PART_EVAL, write_eval_row, &out);
    if (status == KOLM_OK) status = finish_digest(w, out.train_sha, w->summary->train_sha256);
    if (status == KOLM_OK) status = finish_digest(w, out.eval_sha, w->summary->eval_sha256);
    status = close_sink(w, &out.train, status, w->options->job_dir, "train.jsonl");
    status = close_sink(w, &out.eval, status, w->options->job_dir, "eval.jsonl");
    status = close_sink(w, &out.heldout, status, w->options->private_dir, "heldout.jsonl");
    kit_sha256_free(out.train_sha);
    kit_sha256_free(out.eval_sha);
    kit_buf_free(&out.line);
    kit_buf_free(&out.input);
    return status;
}

/* ---- The whole */

static void name_sources(const job_source *sources, size_t count, char *out, size_t capacity) {
    if (count > 0) kit_copy(out, capacity, sources[0].path);
    if (count == 2) kit_format(out, capacity, "%s and %s", sources[0].path, sources[1].path);
    if (count > 2) kit_format(out, capacity, "%s and %zu other files", sources[0].path, count - 1);
}

static kit_status open_work(work *w) {
    name_sources(w->options->data, w->options->data_count, w->data_name, sizeof w->data_name);
    name_sources(w->options->eval, w->options->eval_count, w->eval_name, sizeof w->eval_name);
    KIT_TRY(kit_sha256_new(&w->sha, w->err));
    for (unsigned i = 0; i < PARTITIONS; i++) {
        char name[32];
        kit_format(name, sizeof name, "index-%02u", i);
        KIT_TRY(scratch_file(w, name, &w->partitions[i], w->err));
    }
    KIT_TRY(scratch_file(w, "spool-data", &w->parts[PART_DATA].file, w->err));
    return scratch_file(w, "spool-eval", &w->parts[PART_EVAL].file, w->err);
}

static void close_work(work *w) {
    for (unsigned i = 0; i < PARTITIONS; i++)
        if (w->partitions[i] != NULL) fclose(w->partitions[i]);
    for (int p = 0; p < 2; p++) {
        if (w->parts[p].file != NULL) fclose(w->parts[p].file);
        free(w->parts[p].dropped);
    }
    for (size_t i = 0; i < w->label_capacity; i++)
        free(w->labels[i].hashes);
    free(w->labels);
    kit_sha256_free(w->sha);
    kit_buf_free(&w->seen);
    kit_buf_free(&w->context);
}

static kit_status check_sides(work *w) {
    const job_summary *s = w->summary;
    if (s->eval_rows == 0 && w->options->eval_count > 0)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                        "give other rows: an input that was trained on measures memory, not skill",
                        "every row of %s has an input that is also in %s", w->eval_name, w->data_name);
    if (s->eval_rows == 0)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT, "add rows, or pass rows to measure on with --eval FILE",
                        "no output of %s has two rows: nothing can be held out to measure the model", w->data_name);
    return KOLM_OK;
}

static kit_status prepare(work *w) {
    KIT_TRY(open_work(w));
    KIT_TRY(read_part(w, PART_DATA, w->options->data, w->options->data_count));
    w->summary->rows_read = w->parts[PART_DATA].rows;
    if (w->options->eval_count > 0) KIT_TRY(read_part(w, PART_EVAL, w->options->eval, w->options->eval_count));
    KIT_TRY(clean(w));
    KIT_TRY(count_labels(w));
    if (w->options->eval_count == 0) KIT_TRY(plan_split(w));
    KIT_TRY(write_all(w, true));
    return check_sides(w);
}

kit_status job_prepare(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) {
    *out_summary = (job_summary){0};
    work w = {.options = options, .summary = out_summary, .err = err};
    kit_status status = prepare(&w);
    close_work(&w);
    return status;
}

static kit_status prepare_eval(work *w) {
    KIT_TRY(open_work(w));
    KIT_TRY(read_part(w, PART_EVAL, w->options->eval, w->options->eval_count));
    w->parts[PART_EVAL].dropped = calloc(w->parts[PART_EVAL].rows / 8 + 1, 1);
    if (w->parts[PART_EVAL].dropped == NULL) return no_memory(w->err);
    return write_all(w, false);
}

kit_status job_prepare_eval(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) {
    *out_summary = (job_summary){0};
    work w = {.options = options, .summary = out_summary, .err = err};
    kit_status status = prepare_eval(&w);
    close_work(&w);
    return status;
}
