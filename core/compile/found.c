/* SPDX-License-Identifier: Apache-2.0 */
/* compile: what was found in the data, in words and as JSON. */
#include "cli/cli.h"
#include "compile/compile.h"
#include "cli/output.h"

/* "[data]  N WHAT", when there are any. */
static void say(compile *c, uint64_t count, const char *what) {
    if (count > 0) cli_print(c->context, "[data]        %llu %s\n", (unsigned long long)count, what);
}

/* The same, and two rows as an example. */
static void say_rows(compile *c, uint64_t count, const char *what, const job_place places[2]) {
    unsigned long long rows = (unsigned long long)count, line_a = (unsigned long long)places[0].line,
                       line_b = (unsigned long long)places[1].line;
    if (count > 0 && c->data_files.count == 1)
        cli_print(c->context, "[data]        %llu %s, as in lines %llu and %llu\n", rows, what, line_a, line_b);
    else if (count > 0)
        cli_print(c->context, "[data]        %llu %s, as in %s, line %llu and %s, line %llu\n", rows, what,
                  cli_safe(c->data_files.at[places[0].source].path), line_a,
                  cli_safe(c->data_files.at[places[1].source].path), line_b);
}

static void print_groups(compile *c) {
    const job_summary *s = &c->data;
    if (s->groups > 0)
        cli_print(c->context,
                  "[data]        %llu rows have nearly the same input as another: %llu groups, each on one side\n",
                  (unsigned long long)s->grouped_rows, (unsigned long long)s->groups);
    say(c, s->templates, "groups too large for one side, as of a template: only closer inputs are kept together");
}

static void print_labels(compile *c) {
    const job_summary *s = &c->data;
    if (!s->closed) return;
    say(c, s->trimmed_labels, "rows have blanks around their label: they are no part of it");
    if (s->lonely_labels > 0)
        cli_print(c->context, "[data]        %llu %s a single row: learned, never tested\n",
                  (unsigned long long)s->lonely_labels, s->lonely_labels == 1 ? "label has" : "labels have");
    if (s->untested_labels > 0)
        cli_print(c->context, "[data]        %llu %s rows of nearly one text only: learned, never tested\n",
                  (unsigned long long)s->untested_labels, s->untested_labels == 1 ? "label has" : "labels have");
}

void compile_print_data(compile *c) {
    const job_summary *s = &c->data;
    char labels[64] = "";
    if (s->labels <= JOB_LABELS_MAX) kit_format(labels, sizeof labels, ", %llu labels", (unsigned long long)s->labels);
    cli_print(c->context, "[data]        %llu rows%s; %llu to learn from, %llu held out\n",
              (unsigned long long)s->rows_read, labels, (unsigned long long)s->train_rows,
              (unsigned long long)s->eval_rows);
    cli_data_print(c->context, &c->data_files, &c->eval_files, s);
    say(c, s->duplicates, "duplicate rows dropped");
    say_rows(c, s->outvoted, "outvoted rows dropped: most rows with the same input have another output",
             s->outvoted_places);
    say_rows(c, s->contradictions, "contradicting rows dropped: the same input with two outputs",
             s->contradiction_places);
    say_rows(c, s->kept_contradictions, "contradicting rows kept: the same input with two outputs", s->kept_places);
    print_groups(c);
    say(c, s->leaked, "held-out rows dropped: their input is also trained on");
    say(c, s->nearly_leaked, "held-out rows dropped: their input is nearly one that is trained on");
    say(c, s->unseen_labels, "held-out rows have an output that is never trained on");
    print_labels(c);
}

/* The likeness of texts is an estimate: of many that are like a text of the data it lets some pass. */
static void warn_leaks(compile *c) {
    const uint64_t dropped = c->data.leaked + c->data.nearly_leaked, read = dropped + c->data.eval_rows;
    if (dropped <= read / 2) return;
    cli_warn(c->context,
             "%llu of %llu rows of --eval were dropped as trained on: those that are left may be like them, and say "
             "little about unseen questions",
             (unsigned long long)dropped, (unsigned long long)read);
}

void compile_warn_data(compile *c) {
    const job_summary *s = &c->data;
    warn_leaks(c);
    for (size_t i = 0; i < JOB_ALIKE_EXAMPLES && s->alike_examples[i][0] != '\0'; i++)
        cli_warn(c->context,
                 "the labels %s differ in capitals, blanks or the form of characters only and are learned as two",
                 cli_safe(s->alike_examples[i]));
    if (s->alike_labels > 0)
        cli_warn(c->context,
                 "%llu labels differ from another one in spelling only: write them alike if they are the same",
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
                cli_data_put(data, &c->data_files, &c->eval_files, s);
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
