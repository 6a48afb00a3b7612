/* SPDX-License-Identifier: Apache-2.0 */
/* Questions with several answers in the data, with both answers and their positions. */
#include "report/gather.h"

#include "job/fingerprint.h"
#include "job/scratch.h"
#include "kolm/kit/hash.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_WORDS 4 /* 128 bits of the question, the row's number, 64 bits of its output */

/* Two rows with the same question and different answers: the first one, and the first that differs from it. */
typedef struct pair {
    uint64_t rows[2];
} pair;

typedef struct pairs {
    const report_rows *rows;
    kit_hash_secret asked[2], output;
    job_sorter *sorter;
    pair first[REPORT_PAIRS_MAX]; /* the pairs whose first rows come first */
    size_t count;
    uint64_t found;
} pairs;

typedef kit_status (*row_fn)(void *user, uint64_t number, size_t source, const job_row *row, kolm_error_t *err);

/* A bad row is skipped again, and gets no number, as before. */
static bool is_bad_row(kit_status status) {
    return status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE;
}

static kit_status each_of(const report_rows *rows, size_t source, uint64_t *number, row_fn take, void *user,
                          kolm_error_t *err) {
    job_reader_options options = rows->reader;
    job_reader *reader = NULL;
    job_row row;
    bool found = true;
    options.path = rows->at[source].path;
    options.scratch = rows->scratch;
    if (lseek(rows->at[source].fd, 0, SEEK_SET) != 0)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "", "%s cannot be read twice", options.path);
    KIT_TRY(job_reader_open(rows->at[source].fd, &options, &reader, err));
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && found) {
        status = job_reader_next(reader, &row, &found, err);
        if (is_bad_row(status) && rows->skip_bad) {
            status = KOLM_OK;
            found = true;
            continue;
        }
        if (options.cancel != NULL && *options.cancel != 0) status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
        if (status == KOLM_OK && found) status = take(user, ++*number, source, &row, err);
    }
    job_reader_close(reader);
    return status;
}

static kit_status each_row(const report_rows *rows, row_fn take, void *user, kolm_error_t *err) {
    uint64_t number = 0;
    for (size_t i = 0; i < rows->count; i++)
        KIT_TRY(each_of(rows, i, &number, take, user, err));
    return KOLM_OK;
}

static kit_status sort_row(void *user, uint64_t number, size_t source, const job_row *row, kolm_error_t *err) {
    pairs *p = user;
    const char *output = row->output;
    size_t length = row->output_length;
    (void)source;
    if (p->rows->labels) job_label_trim(&output, &length);
    return job_sorter_add(p->sorter,
                          (const uint64_t[]){kit_hash(&p->asked[0], row->seen, row->seen_length),
                                             kit_hash(&p->asked[1], row->seen, row->seen_length), number,
                                             kit_hash(&p->output, output, length)},
                          err);
}

static void keep_pair(pairs *p, uint64_t one, uint64_t other) {
    size_t at = p->count;
    p->found++;
    while (at > 0 && p->first[at - 1].rows[0] > one)
        at--;
    if (at == REPORT_PAIRS_MAX) return;
    if (p->count == REPORT_PAIRS_MAX) p->count--;
    memmove(&p->first[at + 1], &p->first[at], (p->count - at) * sizeof *p->first);
    p->first[at] = (pair){{one, other}};
    p->count++;
}

static kit_status find_pairs(pairs *p, kolm_error_t *err) {
    uint64_t first[RECORD_WORDS] = {0};
    bool begun = false, kept = false;
    KIT_TRY(job_sorter_sort(p->sorter, err));
    for (;;) {
        const uint64_t *record = NULL;
        KIT_TRY(job_sorter_next(p->sorter, &record, err));
        if (record == NULL) return KOLM_OK;
        if (!begun || record[0] != first[0] || record[1] != first[1]) {
            memcpy(first, record, sizeof first);
            begun = true;
            kept = false;
        } else if (!kept && record[3] != first[3]) {
            keep_pair(p, first[2], record[2]);
            kept = true;
        }
    }
}

typedef struct filling {
    report_gathering *g;
    const pairs *p;
} filling;

static kit_status fill_row(void *user, uint64_t number, size_t source, const job_row *row, kolm_error_t *err) {
    const filling *f = user;
    report_gathering *g = f->g;
    const report_rows *rows = f->p->rows;
    for (size_t i = 0; i < f->p->count; i++)
        for (size_t k = 0; k < 2; k++) {
            report_pair *shown = &g->pairs[i];
            if (f->p->first[i].rows[k] != number) continue;
            if (k == 0) shown->text = gather_text(g, row->input);
            shown->labels[k] = gather_text(g, row->output);
            shown->places[k] = rows->count == 1 ? gather_format(g, "line %llu", (unsigned long long)row->line)
                                                : gather_format(g, "%s, line %llu", rows->at[source].path,
                                                                (unsigned long long)row->line);
        }
    return gather_ok(g, err);
}

kit_status report_gather_pairs(report_gathering *g, const report_rows *rows, kolm_error_t *err) {
    pairs p = {.rows = rows};
    KIT_TRY(kit_hash_secret_draw(&p.asked[0], err));
    KIT_TRY(kit_hash_secret_draw(&p.asked[1], err));
    KIT_TRY(kit_hash_secret_draw(&p.output, err));
    KIT_TRY(job_sorter_new(rows->scratch, RECORD_WORDS, &p.sorter, err));
    kit_status status = each_row(rows, sort_row, &p, err);
    if (status == KOLM_OK) status = find_pairs(&p, err);
    job_sorter_free(p.sorter);
    if (status == KOLM_OK && p.count > 0) status = each_row(rows, fill_row, &(filling){g, &p}, err);
    /* A pipe can be read only once: then only counts are available. */
    if (status == KOLM_E_UNIMPLEMENTED) return KOLM_OK;
    if (status != KOLM_OK) return status;
    g->facts.pair_count = p.count;
    g->facts.pairs_in_all = p.found;
    return gather_ok(g, err);
}
