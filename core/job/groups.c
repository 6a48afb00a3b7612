/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of similar rows: found by keys and sketches, joined in union-find forests on disk, split if they are
 * templates. */
#include "job/dataset_work.h"

/* A candidate is compared with the first of its band and with this many before it, or fewer if there are many, so that
 * the time is linear in the size of a band. */
#define WINDOW 8u
#define MANY 32u
#define WINDOW_OF_MANY 2u

/* The least likeness, in per cent, for joining rows at each level. */
static const unsigned least_likeness[NEAR_LEVELS] = {
    [NEAR_KEY] = 101, [NEAR_HIGH] = 95, [NEAR_MIDDLE] = 85, [NEAR_LOW] = JOB_NEAR_PERCENT};

static kit_status get_node(work *w, uint64_t number, row_node *out) {
    return job_table_get(w->nodes, number, out, w->err);
}

static kit_status put_node(work *w, uint64_t number, const row_node *node) {
    return job_table_put(w->nodes, number, node, w->err);
}

/* ---- The forests */

/* Path halving. */
static kit_status find_root(work *w, near_level level, uint64_t number, uint64_t *out) {
    row_node node, above;
    KIT_TRY(get_node(w, number, &node));
    while (node.parent_and_1[level] != 0) {
        uint64_t parent = node.parent_and_1[level] - 1;
        KIT_TRY(get_node(w, parent, &above));
        if (above.parent_and_1[level] != 0) {
            node.parent_and_1[level] = above.parent_and_1[level];
            KIT_TRY(put_node(w, number, &node));
        }
        number = parent;
        node = above;
    }
    *out = number;
    return KOLM_OK;
}

static kit_status join(work *w, near_level level, uint64_t a, uint64_t b) {
    row_node node;
    KIT_TRY(find_root(w, level, a, &a));
    KIT_TRY(find_root(w, level, b, &b));
    if (a == b) return KOLM_OK;
    uint64_t low = a < b ? a : b, high = a < b ? b : a;
    KIT_TRY(get_node(w, high, &node));
    node.parent_and_1[level] = low + 1;
    return put_node(w, high, &node);
}

/* Creates the table when the first two similar rows are found. */
static kit_status need_nodes(work *w) {
    if (w->nodes != NULL) return KOLM_OK;
    return job_table_new(w->options->private_dir, sizeof(row_node), &w->nodes, w->err);
}

/* ---- The same normalised text */

typedef struct same_key {
    uint64_t key[2], first;
    bool any;
} same_key;

/* Records are sorted by key, then by number: rows of the data before evaluation rows. */
static kit_status take_key(work *w, same_key *run, const uint64_t *record) {
    uint64_t number = record[2];
    if (row_is_dropped(w, number)) return KOLM_OK;
    if (!run->any || run->key[0] != record[0] || run->key[1] != record[1]) {
        *run = (same_key){.key = {record[0], record[1]}, .first = number, .any = true};
        return KOLM_OK;
    }
    if (number >= w->first_eval && run->first < w->first_eval) {
        row_drop(w, number, true);
        w->summary->leaked++;
        return KOLM_OK;
    }
    KIT_TRY(need_nodes(w));
    return join(w, NEAR_KEY, run->first, number);
}

static kit_status join_keys(work *w) {
    same_key run = {0};
    KIT_TRY(job_sorter_sort(w->keys, w->err));
    for (;;) {
        const uint64_t *record = NULL;
        KIT_TRY(job_sorter_next(w->keys, &record, w->err));
        if (record == NULL) break;
        KIT_TRY(take_key(w, &run, record));
    }
    job_sorter_free(w->keys);
    w->keys = NULL;
    return dataset_cancelled(w);
}

/* ---- Nearly the same text */

typedef struct member {
    uint64_t number;
    uint8_t sketch[JOB_SKETCH_BYTES];
    unsigned with_first; /* bit l: joined with the first of the band at level l */
} member;

/* The first and the last few rows of one band. Most bands have one row, so sketches are read only if there is a second.
 */
typedef struct band {
    uint64_t value, text;
    size_t count;
    member first, last[WINDOW];
} band;

static kit_status get_sketch(work *w, member *m) {
    return job_table_get(w->sketches, m->number, m->sketch, w->err);
}

/* Joins b, the newer one, with a if they are similar and not known to be joined. */
static kit_status compare_members(work *w, const member *a, const member *b, unsigned *out_joined) {
    unsigned likeness = job_sketch_likeness(a->sketch, b->sketch);
    for (int level = NEAR_HIGH; level < NEAR_LEVELS; level++) {
        if (likeness < least_likeness[level]) continue;
        *out_joined |= 1u << level;
        if ((a->with_first & b->with_first & (1u << level)) != 0) continue;
        KIT_TRY(need_nodes(w));
        KIT_TRY(join(w, (near_level)level, a->number, b->number));
    }
    return KOLM_OK;
}

static kit_status add_member(work *w, band *b, uint64_t number) {
    member next = {.number = number};
    if (b->count == 0) {
        b->first = next;
        b->count = 1;
        return KOLM_OK;
    }
    if (b->count == 1) KIT_TRY(get_sketch(w, &b->first));
    KIT_TRY(get_sketch(w, &next));
    unsigned joined = 0;
    KIT_TRY(compare_members(w, &b->first, &next, &next.with_first));
    size_t window = b->count < MANY ? WINDOW : WINDOW_OF_MANY;
    for (size_t back = 1; back <= window && back < b->count; back++)
        KIT_TRY(compare_members(w, &b->last[(b->count - back) % WINDOW], &next, &joined));
    b->last[b->count++ % WINDOW] = next;
    return KOLM_OK;
}

/* Records are band, text, number: sorted by text, so that the order of the rows does not matter. */
static kit_status take_band(work *w, band *b, const uint64_t *record) {
    if (row_is_dropped(w, record[2])) return KOLM_OK;
    if (b->count == 0 || b->value != record[0]) {
        b->count = 0;
        b->value = record[0];
    } else if (b->text == record[1]) {
        return KOLM_OK; /* joined by its key */
    }
    b->text = record[1];
    return add_member(w, b, record[2]);
}

static kit_status join_bands(work *w) {
    band b = {0};
    KIT_TRY(job_sorter_sort(w->bands, w->err));
    for (;;) {
        const uint64_t *record = NULL;
        KIT_TRY(job_sorter_next(w->bands, &record, w->err));
        if (record == NULL) break;
        KIT_TRY(take_band(w, &b, record));
        KIT_TRY(dataset_cancelled(w));
    }
    job_sorter_free(w->bands);
    job_table_free(w->sketches);
    w->bands = NULL;
    w->sketches = NULL;
    return KOLM_OK;
}

/* ---- Templates */

/* Called for each kept row, in the order of their numbers. */
typedef kit_status (*row_fn)(work *w, uint64_t number, row_node *node, void *user);

static kit_status each_row(work *w, row_fn visit, void *user) {
    for (uint64_t number = 0; number < row_end(w); number++) {
        row_node node;
        if (row_is_dropped(w, number)) continue;
        KIT_TRY(get_node(w, number, &node));
        KIT_TRY(visit(w, number, &node, user));
        KIT_TRY(dataset_cancelled(w));
    }
    return KOLM_OK;
}

/* Results of the walks over all rows so far. */
typedef struct survey {
    uint32_t widest[NEAR_LEVELS]; /* texts of the largest tree */
    near_level level;             /* the current one */
    bool counting;                /* votes are for the candidate, and exact */
} survey;

static uint64_t root_of(const row_node *node, near_level level, uint64_t number) {
    return node->parent_and_1[level] != 0 ? node->parent_and_1[level] - 1 : number;
}

/* Points a row to its roots; parents have smaller numbers, so theirs are already set. */
static kit_status flatten(work *w, uint64_t number, row_node *node) {
    row_node above;
    bool has_key = node->parent_and_1[NEAR_KEY] != 0;
    for (int level = NEAR_KEY; level < NEAR_LEVELS; level++) {
        /* Only the first row of a key is in the trees; the others follow it. */
        uint64_t parent = node->parent_and_1[has_key ? NEAR_KEY : level];
        if (parent == 0) continue;
        KIT_TRY(get_node(w, parent - 1, &above));
        node->parent_and_1[level] = root_of(&above, (near_level)level, parent - 1) + 1;
    }
    return put_node(w, number, node);
}

static kit_status survey_row(work *w, uint64_t number, row_node *node, void *user) {
    survey *s = user;
    bool stands_for_key = node->parent_and_1[NEAR_KEY] == 0;
    KIT_TRY(flatten(w, number, node));
    for (int level = NEAR_HIGH; stands_for_key && level < NEAR_LEVELS; level++) {
        row_node top;
        uint64_t root = root_of(node, (near_level)level, number);
        KIT_TRY(get_node(w, root, &top));
        if (++top.texts[level] > s->widest[level]) s->widest[level] = top.texts[level];
        KIT_TRY(put_node(w, root, &top));
    }
    return KOLM_OK;
}

/* Finds the widest tree above a row, down to the level `to`, that is not a template. */
static kit_status settle(work *w, uint64_t number, const row_node *node, near_level to, near_level *out_level,
                         uint64_t *out_root) {
    row_node top;
    for (*out_level = w->only_keys ? NEAR_KEY : NEAR_LOW; *out_level > to; (*out_level)--) {
        *out_root = root_of(node, *out_level, number);
        KIT_TRY(get_node(w, *out_root, &top));
        if ((top.cut & (1u << *out_level)) == 0) return KOLM_OK;
    }
    *out_root = root_of(node, to, number);
    return KOLM_OK;
}

/* R. S. Boyer, J. S. Moore: MJRTY, 1991. If more than half of a label's rows have one root, it is the candidate. */
static void vote(label *l, uint64_t root, bool counting) {
    if (!counting && l->votes == 0) l->candidate = root;
    if (l->candidate == root)
        l->votes++;
    else if (!counting)
        l->votes--;
}

static kit_status vote_row(work *w, uint64_t number, row_node *node, void *user) {
    const survey *s = user;
    near_level level = NEAR_KEY;
    uint64_t root = 0;
    row_card card;
    if (number >= w->first_eval) return KOLM_OK;
    KIT_TRY(settle(w, number, node, s->level, &level, &root));
    KIT_TRY(job_table_get(w->cards, number, &card, w->err));
    if (level != s->level) root = UINT64_MAX - number; /* it already has its group: alone at this level */
    vote(labels_find(w, card.output), root, s->counting);
    return KOLM_OK;
}

static kit_status cut(work *w, near_level level, uint64_t root) {
    row_node top;
    KIT_TRY(get_node(w, root, &top));
    if (top.texts[level] <= JOB_GROUP_FREE || (top.cut & (1u << level)) != 0) return KOLM_OK;
    top.cut |= 1u << level;
    if (level == NEAR_LOW) w->summary->templates++;
    return put_node(w, root, &top);
}

static kit_status cut_if_wide(work *w, uint64_t number, row_node *node, void *user) {
    const survey *s = user;
    return node->texts[s->level] > w->kept / JOB_GROUP_SHARE ? cut(w, s->level, number) : KOLM_OK;
}

static kit_status cut_majorities(work *w, survey *s) {
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < w->label_capacity; i++)
            w->labels[i].votes = 0;
        s->counting = pass == 1;
        KIT_TRY(each_row(w, vote_row, s));
    }
    for (size_t i = 0; i < w->label_capacity; i++) {
        const label *l = &w->labels[i];
        if (l->key != 0 && l->votes * 2 > l->rows && l->candidate < row_end(w)) KIT_TRY(cut(w, s->level, l->candidate));
    }
    return KOLM_OK;
}

static kit_status cut_templates(work *w, survey *s) {
    for (s->level = NEAR_LOW; s->level > NEAR_KEY; s->level--) {
        if (s->widest[s->level] <= JOB_GROUP_FREE) continue;
        if (s->widest[s->level] > w->kept / JOB_GROUP_SHARE) KIT_TRY(each_row(w, cut_if_wide, s));
        if (labels_known(w)) KIT_TRY(cut_majorities(w, s));
    }
    return KOLM_OK;
}

/* ---- Groups */

static kit_status gather(work *w, uint64_t number, row_node *node, void *user) {
    (void)user;
    near_level level = NEAR_KEY;
    uint64_t root = 0;
    row_node group;
    row_card card;
    KIT_TRY(settle(w, number, node, NEAR_KEY, &level, &root));
    node->group_and_1 = root + 1;
    KIT_TRY(put_node(w, number, node));
    KIT_TRY(job_table_get(w->cards, number, &card, w->err));
    KIT_TRY(get_node(w, root, &group));
    if (group.rows++ == 0 || card.tag < group.tag) {
        group.tag = card.tag;
        group.split = card.split;
    }
    if (number < w->first_eval) {
        group.state |= GROUP_HAS_DATA;
        if (group.owner != 0 && group.owner != card.output) group.state |= GROUP_MIXED;
        group.owner = card.output;
    }
    return put_node(w, root, &group);
}

static kit_status count_groups(work *w, uint64_t number, row_node *node, void *user) {
    (void)user;
    row_node group;
    KIT_TRY(get_node(w, node->group_and_1 - 1, &group));
    if (group.rows < 2) return KOLM_OK;
    w->summary->grouped_rows++;
    w->summary->groups += node->group_and_1 - 1 == number;
    return KOLM_OK;
}

/* ---- Evaluation rows that are in a group with a row of the data */

typedef struct leaks {
    uint64_t rows, leaked; /* evaluation rows kept so far, and how many of them are leaked */
    bool drop;
} leaks;

static kit_status find_leak(work *w, uint64_t number, row_node *node, void *user) {
    leaks *l = user;
    row_node group;
    if (number < w->first_eval) return KOLM_OK;
    l->rows++;
    KIT_TRY(get_node(w, node->group_and_1 - 1, &group));
    if ((group.state & GROUP_HAS_DATA) == 0) return KOLM_OK;
    l->leaked++;
    if (l->drop) row_drop(w, number, true);
    return KOLM_OK;
}

/* If nothing would be left to measure on, the data is a template, and similarity is not a leak. */
static kit_status drop_leaks(work *w) {
    leaks l = {0};
    KIT_TRY(each_row(w, find_leak, &l));
    if (l.leaked > 0 && l.leaked == l.rows) {
        w->summary->templates++;
        return KOLM_OK;
    }
    l = (leaks){.drop = true};
    KIT_TRY(each_row(w, find_leak, &l));
    w->summary->nearly_leaked = l.leaked;
    return KOLM_OK;
}

kit_status groups_make(work *w) {
    KIT_TRY(join_keys(w));
    KIT_TRY(join_bands(w));
    if (w->nodes == NULL) return KOLM_OK;
    survey seen = {0};
    KIT_TRY(each_row(w, survey_row, &seen));
    KIT_TRY(cut_templates(w, &seen));
    KIT_TRY(each_row(w, gather, NULL));
    return w->options->eval_count > 0 ? drop_leaks(w) : each_row(w, count_groups, NULL);
}

static kit_status forget_group(work *w, uint64_t number, row_node *node, void *user) {
    (void)user;
    node->rows = node->state = 0;
    node->owner = node->group_and_1 = 0;
    return put_node(w, number, node);
}

kit_status groups_of_keys(work *w) {
    w->only_keys = true;
    w->summary->groups = w->summary->grouped_rows = 0;
    KIT_TRY(each_row(w, forget_group, NULL));
    KIT_TRY(each_row(w, gather, NULL));
    return each_row(w, count_groups, NULL);
}

kit_status groups_of(work *w, uint64_t number, const row_card *card, uint64_t *out_root, row_node *out_node) {
    *out_root = number;
    *out_node = (row_node){.rows = 1, .split = card->split, .owner = card->output};
    if (w->nodes == NULL) return KOLM_OK;
    row_node node;
    KIT_TRY(get_node(w, number, &node));
    *out_root = node.group_and_1 - 1;
    return get_node(w, *out_root, out_node);
}

kit_status groups_mark(work *w, uint64_t root, uint32_t state) {
    row_node group;
    KIT_TRY(get_node(w, root, &group));
    group.state |= state;
    return put_node(w, root, &group);
}
