/* SPDX-License-Identifier: Apache-2.0 */
/* The score of always giving one answer, and whether a model is better. */
#include "score/answers.h"

#include <math.h>
#include <string.h>

static uint32_t share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : (uint32_t)((part * SCORE_MICRO + whole / 2) / whole);
}

static uint32_t clamp(double micro) {
    return micro <= 0 ? 0 : micro >= SCORE_MICRO ? SCORE_MICRO : (uint32_t)(micro + 0.5);
}

/* Sums over labels, in millionths, so that they do not depend on the order of labels. */
typedef struct recall_sum {
    uint64_t labels, recall, low_squares, high_squares, perfect_squares;
} recall_sum;

static uint64_t square(uint32_t a, uint32_t b) {
    uint64_t difference = a > b ? a - b : b - a;
    return difference * difference;
}

static void add_recall(recall_sum *sum, const score_label *l) {
    uint32_t recall = share(l->correct, l->rows);
    score_interval interval = score_wilson(l->correct, l->rows);
    sum->labels++;
    sum->recall += recall;
    sum->low_squares += square(recall, interval.low_micro);
    sum->high_squares += square(recall, interval.high_micro);
    sum->perfect_squares += square(SCORE_MICRO, score_wilson(l->rows, l->rows).low_micro);
}

static void finish_balanced(const recall_sum *sum, score_baseline *out) {
    double labels = (double)sum->labels, mean = (double)sum->recall / labels;
    out->labels = sum->labels;
    out->balanced = (uint32_t)((sum->recall + sum->labels / 2) / sum->labels);
    out->balanced_interval = (score_interval){clamp(mean - sqrt((double)sum->low_squares) / labels),
                                              clamp(mean + sqrt((double)sum->high_squares) / labels)};
    out->balanced_perfect_low = clamp(SCORE_MICRO - sqrt((double)sum->perfect_squares) / labels);
}

void score_baseline_of(const score_answers *a, score_baseline *out) {
    const score_label *best = NULL;
    recall_sum sum = {0};
    *out = (score_baseline){0};
    for (size_t i = 0; i < a->label_count; i++) {
        const score_label *l = &a->labels[i];
        if (l->rows == 0) continue;
        add_recall(&sum, l);
        out->never_answered += l->given == 0;
        bool better = best == NULL || l->answered > best->answered ||
                      (l->answered == best->answered && strcmp(l->text, best->text) < 0);
        if (better) best = l;
    }
    if (sum.labels > 0) finish_balanced(&sum, out);
    if (best == NULL || best->answered < 2) return;
    out->known = true;
    out->label = best->text;
    out->correct = best->answered;
    out->accuracy = share(best->answered, a->answered);
}

score_standing score_stands(const score_answers *a, const score_baseline *b, bool balanced) {
    score_interval interval = balanced ? b->balanced_interval : score_wilson(a->correct, a->answered);
    uint32_t constant = balanced ? share(1, b->labels) : b->accuracy;
    uint32_t at_best = balanced ? b->balanced_perfect_low : score_wilson(a->answered, a->answered).low_micro;
    bool faultless = a->correct == (balanced ? a->rows : a->answered);
    if (!b->known) return SCORE_NO_BASELINE;
    if (b->correct == a->answered) return SCORE_NOT_BETTER; /* one label: always answering it is faultless as well */
    if (interval.low_micro > constant) return SCORE_BETTER;
    return faultless && at_best <= constant ? SCORE_TOO_FEW : SCORE_NOT_BETTER;
}
