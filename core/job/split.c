/* SPDX-License-Identifier: Apache-2.0 */
/* Decides which groups of rows are held out. */
#include "job/dataset_work.h"

#include <stdlib.h>

#define HELD_OUT_PERCENT 20u
#define HELD_OUT_MOST 50000u

/* The share that is held out, of / in: a fifth, or less if fewer rows suffice. */
typedef struct share {
    uint64_t of, in;
} share;

static share share_of(const work *w) {
    bool few = w->kept <= (uint64_t)HELD_OUT_MOST * 100 / HELD_OUT_PERCENT;
    return few ? (share){HELD_OUT_PERCENT, 100} : (share){HELD_OUT_MOST, w->kept};
}

static kit_status begin_label(label *l, const share *s, kolm_error_t *err) {
    free(l->hashes);
    l->hashes = NULL;
    l->gathered = 0;
    l->mixed_held = 0;
    if (l->key == 0 || l->rows < 2) return KOLM_OK;
    uint64_t held = (l->rows * s->of + s->in / 2) / s->in;
    l->held = held == 0 ? 1 : held > UINT32_MAX ? UINT32_MAX : (uint32_t)held;
    l->smallest = l->least = UINT64_MAX;
    l->most = 0;
    if (l->rows > JOB_EXACT_LABEL) return KOLM_OK;
    l->hashes = calloc(l->rows, sizeof *l->hashes);
    return l->hashes != NULL ? KOLM_OK : dataset_no_memory(err);
}

static void gather(const work *w, label *l, const row_node *group) {
    if (group->split < l->least) l->least = group->split;
    if (group->split > l->most) l->most = group->split;
    if ((group->state & GROUP_MIXED) != 0)
        l->mixed_held += group->split < w->threshold;
    else if (l->hashes != NULL)
        l->hashes[l->gathered++] = group->split;
    else if (group->rows <= l->held && group->split < l->smallest)
        l->smallest = group->split;
}

typedef kit_status (*kept_fn)(work *w, uint64_t number, const row_card *card);

static kit_status each_kept(work *w, kept_fn visit) {
    for (uint64_t number = 0; number < w->first_eval; number++) {
        row_card card;
        if (row_is_dropped(w, number)) continue;
        KIT_TRY(job_table_get(w->cards, number, &card, w->err));
        KIT_TRY(visit(w, number, &card));
        KIT_TRY(dataset_cancelled(w));
    }
    return KOLM_OK;
}

static kit_status gather_row(work *w, uint64_t number, const row_card *card) {
    uint64_t root = 0;
    row_node group;
    KIT_TRY(groups_of(w, number, card, &root, &group));
    gather(w, labels_find(w, card->output), &group);
    return KOLM_OK;
}

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint32_t group_end(const label *l, uint32_t from) {
    uint32_t to = from + 1;
    while (to < l->gathered && l->hashes[to] == l->hashes[from])
        to++;
    return to;
}

/* Keeps only the hashes of groups that are held out: in order, each that still fits into what mixed groups leave of the
 * share; if none fits, the smallest one, unless it is all there is. */
static void choose_exact(label *l) {
    uint64_t held = l->mixed_held;
    uint32_t chosen = 0, best = 0, best_rows = UINT32_MAX;
    qsort(l->hashes, l->gathered, sizeof *l->hashes, compare_hashes);
    for (uint32_t from = 0, to; from < l->gathered; from = to) {
        to = group_end(l, from);
        if (to - from < best_rows) {
            best = from;
            best_rows = to - from;
        }
        if (held + (to - from) > l->held) continue;
        held += to - from;
        l->hashes[chosen++] = l->hashes[from];
    }
    if (held == 0 && best_rows < l->gathered) l->hashes[chosen++] = l->hashes[best];
    l->gathered = chosen;
}

static bool exact_has(const label *l, uint64_t hash) {
    return bsearch(&hash, l->hashes, l->gathered, sizeof hash, compare_hashes) != NULL;
}

static bool is_held(const work *w, const row_node *group) {
    bool mixed = (group->state & GROUP_MIXED) != 0;
    if ((group->state & GROUP_STAYS) != 0) return false;
    if ((group->state & GROUP_HELD) != 0) return true;
    if (mixed || !labels_known(w)) return group->split < w->threshold;
    const label *l = labels_find(w, group->owner);
    if (l->rows < 2) return false;
    if (l->hashes != NULL) return exact_has(l, group->split);
    return group->split == l->smallest || (group->rows <= l->held && group->split < w->threshold);
}

kit_status split_is_held_out(work *w, uint64_t number, const row_card *card, bool *out_held) {
    uint64_t root = 0;
    row_node group;
    KIT_TRY(groups_of(w, number, card, &root, &group));
    *out_held = is_held(w, &group);
    return KOLM_OK;
}

/* ---- Corrections after mixed groups: a label that is not learned, or not measured */

static kit_status count_sides(work *w, uint64_t number, const row_card *card) {
    bool held = false;
    KIT_TRY(split_is_held_out(w, number, card, &held));
    if (!held) labels_find(w, card->output)->train_rows++;
    return KOLM_OK;
}

static kit_status count_all_sides(work *w) {
    for (size_t i = 0; i < w->label_capacity; i++)
        w->labels[i].train_rows = 0;
    return each_kept(w, count_sides);
}

static kit_status hold_unmeasured(work *w, uint64_t number, const row_card *card) {
    const label *l = labels_find(w, card->output);
    uint64_t root = 0;
    row_node group;
    if (l->train_rows < l->rows || l->least == l->most) return KOLM_OK;
    KIT_TRY(groups_of(w, number, card, &root, &group));
    return group.split == l->least ? groups_mark(w, root, GROUP_HELD) : KOLM_OK;
}

static kit_status keep_unlearned(work *w, uint64_t number, const row_card *card) {
    uint64_t root = 0;
    row_node group;
    if (labels_find(w, card->output)->train_rows > 0) return KOLM_OK;
    KIT_TRY(groups_of(w, number, card, &root, &group));
    return groups_mark(w, root, GROUP_STAYS);
}

static kit_status check_labels(work *w) {
    KIT_TRY(count_all_sides(w));
    KIT_TRY(each_kept(w, hold_unmeasured));
    KIT_TRY(count_all_sides(w));
    KIT_TRY(each_kept(w, keep_unlearned));
    KIT_TRY(count_all_sides(w));
    w->summary->untested_labels = 0;
    for (size_t i = 0; i < w->label_capacity; i++) {
        const label *l = &w->labels[i];
        w->summary->untested_labels += l->key != 0 && l->rows > 1 && l->train_rows == l->rows;
    }
    return KOLM_OK;
}

static kit_status plan(work *w, const share *s) {
    for (size_t i = 0; i < w->label_capacity; i++)
        KIT_TRY(begin_label(&w->labels[i], s, w->err));
    KIT_TRY(each_kept(w, gather_row));
    for (size_t i = 0; i < w->label_capacity; i++)
        if (w->labels[i].hashes != NULL) choose_exact(&w->labels[i]);
    return w->nodes != NULL ? check_labels(w) : KOLM_OK;
}

kit_status split_plan(work *w) {
    job_summary *summary = w->summary;
    share s = share_of(w);
    w->threshold = UINT64_MAX / s.in * s.of;
    if (!labels_known(w)) return KOLM_OK;
    KIT_TRY(plan(w, &s));
    /* Measuring on a single label is meaningless. */
    uint64_t untested = summary->untested_labels;
    if (untested == 0 || summary->labels - summary->lonely_labels - untested >= 2) return KOLM_OK;
    KIT_TRY(groups_of_keys(w));
    KIT_TRY(plan(w, &s));
    summary->templates += untested - summary->untested_labels;
    return KOLM_OK;
}
