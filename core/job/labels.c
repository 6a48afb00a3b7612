/* SPDX-License-Identifier: Apache-2.0 */
/* The table of distinct outputs: whether they are labels, and which of them are variants of each other. */
#include "job/dataset_work.h"

#include <stdlib.h>
#include <string.h>

/* ---- The table */

label *labels_find(const work *w, uint64_t key) {
    size_t i = (size_t)kit_hash(&w->label_secret, &key, sizeof key) & (w->label_capacity - 1);
    while (w->labels[i].key != 0 && w->labels[i].key != key)
        i = (i + 1) & (w->label_capacity - 1);
    return &w->labels[i];
}

bool labels_known(const work *w) {
    return w->labels != NULL && !w->too_many_labels;
}

static kit_status grow(work *w) {
    size_t old_capacity = w->label_capacity;
    label *old = w->labels;
    w->label_capacity = old_capacity == 0 ? 256 : old_capacity * 2;
    w->labels = calloc(w->label_capacity, sizeof *w->labels);
    if (w->labels == NULL) {
        w->labels = old;
        w->label_capacity = old_capacity;
        return dataset_no_memory(w->err);
    }
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].key != 0) *labels_find(w, old[i].key) = old[i];
    free(old);
    return KOLM_OK;
}

void labels_free(work *w) {
    for (size_t i = 0; i < w->label_capacity; i++)
        free(w->labels[i].hashes);
    free(w->labels);
}

/* ---- Counting */

static kit_status count_row(work *w, const row_card *card) {
    w->kept++;
    if (w->too_many_labels) return KOLM_OK;
    if (w->label_count * 2 >= w->label_capacity) KIT_TRY(grow(w));
    label *found = labels_find(w, card->output);
    if (found->key == 0) {
        *found = (label){.key = card->output, .alike = card->alike, .offset = card->offset};
        w->label_count++;
        w->too_many_labels = w->label_count > JOB_LABELS_MAX;
    }
    found->rows++;
    return KOLM_OK;
}

typedef struct lengths {
    uint64_t longest, trimmed;
} lengths;

static void judge_closed(work *w, const lengths *seen) {
    job_summary *s = w->summary;
    s->labels = w->label_count;
    unsigned long long labels = w->label_count, rows = w->kept;
    for (size_t i = 0; i < w->label_capacity; i++)
        s->lonely_labels += w->labels[i].key != 0 && w->labels[i].rows == 1;
    s->closed = !w->too_many_labels && labels * 2 <= rows && seen->longest <= JOB_LABEL_BYTES;
    s->closed_fix = "for texts as outputs pass --base MODEL with a language model and --recipe lora; for labels pass "
                    "--recipe linear, or give each label more rows";
    if (w->too_many_labels || seen->longest > JOB_LABEL_BYTES)
        s->closed_fix =
            "for texts as outputs pass --base MODEL with a language model and --recipe lora; for labels use "
            "fewer and shorter ones, of at most 1000 bytes";
    if (w->too_many_labels)
        kit_format(s->closed_why, sizeof s->closed_why, "there are more than %u distinct outputs", JOB_LABELS_MAX);
    else if (seen->longest > JOB_LABEL_BYTES)
        kit_format(s->closed_why, sizeof s->closed_why, "outputs are up to %llu bytes long: texts, not labels",
                   (unsigned long long)seen->longest);
    else if (!s->closed)
        kit_format(s->closed_why, sizeof s->closed_why,
                   "%llu distinct outputs in %llu rows: fewer than two rows for each", labels, rows);
    else
        kit_format(s->closed_why, sizeof s->closed_why, "%llu distinct outputs in %llu rows", labels, rows);
    if (s->closed) s->trimmed_labels = seen->trimmed;
}

/* ---- Labels that differ in spelling only */

static int by_alike(const void *a, const void *b) {
    const label *x = a, *y = b;
    if (x->alike != y->alike) return x->alike < y->alike ? -1 : 1;
    if (x->rows != y->rows) return x->rows > y->rows ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* "Billing" (40 rows) and "billing" (3 rows) */
static kit_status name_two(work *w, const label *two, char *out, size_t capacity) {
    kit_buf text = {0}, name = {0};
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < 2 && status == KOLM_OK; i++) {
        kit_buf_clear(&name);
        status = spool_output_at(w, two[i].offset, &name);
        if (status != KOLM_OK) break;
        const char *label_text = kit_buf_text(&name);
        size_t length = name.length;
        job_label_trim(&label_text, &length);
        char shown[80] = "";
        kit_copy(shown, length < sizeof shown ? length + 1 : sizeof shown, label_text);
        kit_buf_str(&text, i > 0 ? " and " : "");
        kit_buf_fmt(&text, "\"%s\" (%llu %s)", shown, (unsigned long long)two[i].rows,
                    two[i].rows == 1 ? "row" : "rows");
    }
    if (status == KOLM_OK) status = kit_buf_ok(&text, w->err);
    if (status == KOLM_OK) kit_copy(out, capacity, kit_buf_text(&text));
    kit_buf_free(&text);
    kit_buf_free(&name);
    return status;
}

static kit_status name_alike(work *w, const label *labels, size_t count) {
    job_summary *s = w->summary;
    uint64_t first[JOB_ALIKE_EXAMPLES] = {0};
    size_t examples = 0;
    for (size_t from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && labels[to].alike == labels[from].alike;)
            to++;
        if (to - from < 2) continue;
        s->alike_labels += to - from;
        /* Report those that come first in the file. */
        size_t at = examples < JOB_ALIKE_EXAMPLES ? examples++ : JOB_ALIKE_EXAMPLES;
        for (size_t i = 0; at == JOB_ALIKE_EXAMPLES && i < examples; i++)
            if (first[i] > labels[from].offset) at = i;
        if (at == JOB_ALIKE_EXAMPLES) continue;
        first[at] = labels[from].offset;
        KIT_TRY(name_two(w, labels + from, s->alike_examples[at], sizeof s->alike_examples[at]));
    }
    return KOLM_OK;
}

static kit_status find_alike(work *w) {
    label *sorted = calloc(w->label_count, sizeof *sorted);
    if (sorted == NULL) return dataset_no_memory(w->err);
    size_t count = 0;
    for (size_t i = 0; i < w->label_capacity; i++)
        if (w->labels[i].key != 0) sorted[count++] = w->labels[i];
    qsort(sorted, count, sizeof *sorted, by_alike);
    kit_status status = name_alike(w, sorted, count);
    free(sorted);
    return status;
}

static kit_status nothing_to_learn(const work *w) {
    if (w->kept == 0)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                        "correct the rows: the same input must always have the same output",
                        "every row of %s contradicts another one", w->data_name);
    if (w->label_count == 1)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT, "add rows with at least one other output",
                        "every row of %s has the same output: there is nothing to learn", w->data_name);
    return KOLM_OK;
}

kit_status labels_count(work *w) {
    lengths seen = {0};
    KIT_TRY(kit_hash_secret_draw(&w->label_secret, w->err));
    KIT_TRY(grow(w));
    for (uint64_t number = 0; number < w->first_eval; number++) {
        row_card card;
        if (row_is_dropped(w, number)) continue;
        KIT_TRY(job_table_get(w->cards, number, &card, w->err));
        if (card.output_length > seen.longest) seen.longest = card.output_length;
        seen.trimmed += card.output_trimmed > 0;
        KIT_TRY(count_row(w, &card));
        KIT_TRY(dataset_cancelled(w));
    }
    judge_closed(w, &seen);
    KIT_TRY(nothing_to_learn(w));
    return w->summary->closed ? find_alike(w) : KOLM_OK;
}
