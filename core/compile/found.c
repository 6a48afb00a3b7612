/* SPDX-License-Identifier: Apache-2.0 */
/* compile: findings in the data, as warnings and as JSON. */
#include "compile/compile.h"

/* Similarity is an estimate: some rows similar to a training row may go undetected. */
static void warn_leaks(compile *c) {
    const uint64_t dropped = c->data.leaked + c->data.nearly_leaked, read = dropped + c->data.eval_rows;
    if (dropped <= read / 2) return;
    session_warn(c->session,
                 "%llu of %llu rows of --eval were dropped because they are also trained on: the others may be "
                 "similar, and say little about unseen inputs",
                 (unsigned long long)dropped, (unsigned long long)read);
}

void compile_warn_data(compile *c) {
    const job_summary *s = &c->data;
    warn_leaks(c);
    for (size_t i = 0; i < JOB_ALIKE_EXAMPLES && s->alike_examples[i][0] != '\0'; i++)
        session_warn(c->session,
                     "the labels %s differ only in case, spaces or Unicode form, and are learned separately",
                     s->alike_examples[i]);
    if (s->alike_labels > 0)
        session_warn(
            c->session,
            "%llu labels differ from another one in spelling only: write them the same way if they are the same",
            (unsigned long long)s->alike_labels);
}

/* ---- As JSON */

typedef struct counted {
    const char *key;
    uint64_t value;
} counted;

#define CLEANING_COUNTS 13

static void count_cleaning(const job_summary *s, counted out[CLEANING_COUNTS]) {
    const counted all[CLEANING_COUNTS] = {
        {"duplicates", s->duplicates},
        {"outvoted", s->outvoted},
        {"outvoted_inputs", s->outvoted_inputs},
        {"contradictions", s->contradictions},
        {"contradicting_inputs", s->contradicting_inputs},
        {"kept_contradictions", s->kept_contradictions},
        {"groups", s->groups},
        {"grouped_rows", s->grouped_rows},
        {"templates", s->templates},
        {"leaked", s->leaked},
        {"nearly_leaked", s->nearly_leaked},
        {"untested_labels", s->untested_labels},
        {"trimmed_labels", s->trimmed_labels},
    };
    for (size_t i = 0; i < CLEANING_COUNTS; i++)
        out[i] = all[i];
}

bool compile_put_data(cJSON *record, const compile *c) {
    const job_summary *s = &c->data;
    counted counts[CLEANING_COUNTS];
    cJSON *data = cJSON_CreateObject();
    bool good = kit_json_put_u64(data, "rows", s->rows_read) && kit_json_put_u64(data, "labels", s->labels) &&
                kit_json_put_u64(data, "train_rows", s->train_rows) &&
                kit_json_put_u64(data, "eval_rows", s->eval_rows) && kit_json_put_u64(data, "bad_rows", s->bad_rows) &&
                kit_json_put_u64(data, "unseen_labels", s->unseen_labels) &&
                kit_json_put_u64(data, "alike_labels", s->alike_labels) &&
                compile_data_put(data, &c->data_files, &c->eval_files, s);
    count_cleaning(s, counts);
    for (size_t i = 0; good && i < CLEANING_COUNTS; i++)
        good = kit_json_put_u64(data, counts[i].key, counts[i].value);
    if (good) return kit_json_put(record, "data", data);
    cJSON_Delete(data);
    return false;
}

bool compile_put_cleaning(cJSON *data, const compile *c) {
    counted counts[CLEANING_COUNTS];
    bool good = true, any = false;
    cJSON *cleaning = cJSON_CreateObject();
    count_cleaning(&c->data, counts);
    for (size_t i = 0; good && i < CLEANING_COUNTS; i++) {
        if (counts[i].value == 0) continue;
        any = true;
        good = kit_json_put_u64(cleaning, counts[i].key, counts[i].value);
    }
    if (good && any) return kit_json_put(data, "cleaning", cleaning);
    cJSON_Delete(cleaning);
    return good;
}
