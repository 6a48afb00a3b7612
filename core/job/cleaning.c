/* SPDX-License-Identifier: Apache-2.0 */
/* Rows with the same question: duplicates, contradictions, and evaluation rows that are trained on. */
#include "job/dataset_work.h"

/* The data's rows of one question, sorted by output. */
typedef struct question {
    uint64_t seen[2];
    uint64_t rows, outputs;
    /* The output whose rows are being counted. */
    uint64_t output, count, first;
    uint64_t best, best_first; /* the most frequent output so far */
    uint64_t places[2];        /* the first places of two outputs; 0: none */
    bool kept;                 /* a row of it is trained on; set when settled */
    bool settled;
} question;

/* A single error must not decide: two thirds of the rows, and two rows more than all others together. */
static bool is_clear(const question *q) {
    uint64_t others = q->rows - q->best;
    return q->best >= 2 * others && q->best >= others + 2;
}

static bool is_before(const job_place *a, const job_place *b) {
    return a->source != b->source ? a->source < b->source : a->line < b->line;
}

/* The first one is shown as the example. */
static void note_example(job_place example[2], const question *q) {
    job_place first = row_place(q->places[0]);
    if (example[0].line != 0 && !is_before(&first, &example[0])) return;
    example[0] = first;
    example[1] = row_place(q->places[1]);
}

static void note_place(question *q, uint64_t place) {
    if (q->places[0] == 0 || place < q->places[0]) {
        q->places[1] = q->places[0];
        q->places[0] = place;
    } else if (q->places[1] == 0 || place < q->places[1]) {
        q->places[1] = place;
    }
}

static void end_output(question *q) {
    if (q->count > q->best) {
        q->best = q->count;
        q->best_first = q->first;
    }
}

/* Until now, all rows of the question except the first of each output are dropped. */
static void settle_contradiction(work *w, question *q) {
    job_summary *s = w->summary;
    if (w->options->contradictions == JOB_CONTRADICTIONS_KEEP) {
        s->duplicates += q->rows - q->outputs;
        s->kept_contradictions += q->outputs;
        note_example(s->kept_places, q);
        q->kept = true;
    } else if (w->options->contradictions == JOB_CONTRADICTIONS_MAJORITY && is_clear(q)) {
        s->duplicates += q->best - 1;
        s->outvoted += q->rows - q->best;
        s->outvoted_inputs++;
        note_example(s->outvoted_places, q);
        row_drop(w, q->best_first, false);
        q->kept = true;
    } else {
        s->contradictions += q->rows;
        s->contradicting_inputs++;
        note_example(s->contradiction_places, q);
    }
}

static void settle(work *w, question *q) {
    if (q->settled || q->rows == 0) return;
    q->settled = true;
    end_output(q);
    if (q->outputs > 1) {
        settle_contradiction(w, q);
        return;
    }
    w->summary->duplicates += q->rows - 1;
    row_drop(w, q->first, false);
    q->kept = true;
}

/* A row of the data: words are seen, seen, part, output, number, place. */
static void take_data(work *w, question *q, const uint64_t *record) {
    bool new_output = q->rows++ == 0 || record[3] != q->output;
    if (new_output) {
        end_output(q);
        q->outputs++;
        q->output = record[3];
        q->first = record[4];
        q->count = 0;
        note_place(q, record[5]);
    }
    q->count++;
    if (!new_output || w->options->contradictions != JOB_CONTRADICTIONS_KEEP) row_drop(w, record[4], true);
}

static void take_eval(work *w, question *q, const uint64_t *record) {
    settle(w, q);
    if (!q->kept) return;
    row_drop(w, record[4], true);
    w->summary->leaked++;
}

static kit_status refuse(const work *w) {
    const job_place *a = &w->summary->contradiction_places[0], *b = a + 1;
    char second[400] = "";
    if (w->options->contradictions != JOB_CONTRADICTIONS_ERROR || a->line == 0) return KOLM_OK;
    if (a->source != b->source) kit_format(second, sizeof second, "%s, ", w->options->data[b->source].path);
    return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                    "correct the rows, or let kolm choose: --contradictions majority, drop or keep",
                    "%s, line %llu and %sline %llu: the same input with two outputs (%llu such inputs in all)",
                    w->options->data[a->source].path, (unsigned long long)a->line, second, (unsigned long long)b->line,
                    (unsigned long long)w->summary->contradicting_inputs);
}

kit_status cleaning_run(work *w) {
    question q = {0};
    KIT_TRY(job_sorter_sort(w->index, w->err));
    for (;;) {
        const uint64_t *record = NULL;
        KIT_TRY(job_sorter_next(w->index, &record, w->err));
        if (record == NULL || q.seen[0] != record[0] || q.seen[1] != record[1]) {
            settle(w, &q);
            if (record == NULL) break;
            q = (question){.seen = {record[0], record[1]}};
            KIT_TRY(dataset_cancelled(w));
        }
        if (record[2] == PART_DATA)
            take_data(w, &q, record);
        else
            take_eval(w, &q, record);
    }
    job_sorter_free(w->index);
    w->index = NULL;
    return refuse(w);
}
