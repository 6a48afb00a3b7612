/* SPDX-License-Identifier: Apache-2.0 */
/* Text output of a compile: the data, the choice, the score and what was shipped, as labelled lines. */
#include "cli/compile_text.h"

#include "cli/output.h"

/* ---- Files of rows */

static void print_notes(cli_context *context, const job_source *source) {
    const job_table_notes *notes = &source->table;
    if (notes->headers > 0)
        cli_print(context,
                  notes->headers == 1 ? "[data]        %s: %llu more header in the middle, left out\n"
                                      : "[data]        %s: %llu more headers in the middle, left out\n",
                  cli_safe(source->path), (unsigned long long)notes->headers);
    if (notes->suspects > 0)
        cli_print(
            context,
            "[data]        %s: %llu quoted fields may hold rows, as in line %llu: is a closing quote missing there?\n",
            cli_safe(source->path), (unsigned long long)notes->suspects, (unsigned long long)notes->suspect_line);
}

static void print_files(cli_context *context, const compile_data_files *files, bool each) {
    for (size_t i = 0; files != NULL && i < files->count; i++) {
        const job_source *source = &files->at[i];
        if (each)
            cli_print(context, "[data]        %s: %llu rows\n", cli_safe(source->path),
                      (unsigned long long)source->rows);
        print_notes(context, source);
    }
}

static void print_bad_rows(cli_context *context, const job_summary *summary) {
    cli_print(context,
              summary->bad_rows == 1 ? "[data]        %llu bad row left out\n"
                                     : "[data]        %llu bad rows left out\n",
              (unsigned long long)summary->bad_rows);
    for (size_t i = 0; i < summary->bad_rows && i < JOB_BAD_EXAMPLES; i++)
        cli_print(context, "[data]          %s\n", cli_safe(summary->bad_examples[i]));
    if (summary->bad_rows <= JOB_BAD_EXAMPLES) return;
    cli_print(context, "[data]        all of them, by kind:\n");
    for (size_t i = 0; i < summary->bad_kind_count; i++)
        cli_print(context, "[data]          %llu: %s\n", (unsigned long long)summary->bad_kinds[i].rows,
                  cli_safe(summary->bad_kinds[i].text));
}

/* Unused keys and columns, in order of appearance. */
static void print_unused(cli_context *context, const job_summary *summary) {
    const job_unused *unused = &summary->unused;
    kit_buf line = {0};
    for (size_t i = 0; i < unused->count; i++)
        kit_buf_fmt(&line, "%s\"%s\" (%llu)", i > 0 ? ", " : "", unused->keys[i].name,
                    (unsigned long long)unused->keys[i].rows);
    if (unused->more > 0) kit_buf_fmt(&line, ", and others (%llu)", (unsigned long long)unused->more);
    if (unused->count > 0) cli_print(context, "[data]        not used: %s\n", cli_safe(kit_buf_text(&line)));
    kit_buf_free(&line);
}

static void print_guess(cli_context *context, const job_guess *guess) {
    if (guess->input == NULL) return;
    cli_print(context,
              "[data]        the input is \"%s\", the output \"%s\", by their names; --input-col and --output-col name "
              "others\n",
              guess->input, guess->output);
}

static void print_rows(cli_context *context, const compile_data_files *data, const compile_data_files *eval,
                       const job_summary *summary) {
    print_files(context, data, data != NULL && data->count > 1);
    print_files(context, eval, eval != NULL && eval->count > 1);
    if (summary->bad_rows > 0) print_bad_rows(context, summary);
    print_guess(context, &summary->guess);
    print_unused(context, summary);
}

/* ---- Data */

/* "[data] N WHAT", if there are any. */
static void say(cli_context *context, uint64_t count, const char *what) {
    if (count > 0) cli_print(context, "[data]        %llu %s\n", (unsigned long long)count, what);
}

/* The same, and two rows as an example. */
static void say_rows(cli_context *context, const compile *c, uint64_t count, const char *what,
                     const job_place places[2]) {
    unsigned long long rows = (unsigned long long)count, line_a = (unsigned long long)places[0].line,
                       line_b = (unsigned long long)places[1].line;
    if (count > 0 && c->data_files.count == 1)
        cli_print(context, "[data]        %llu %s, as in lines %llu and %llu\n", rows, what, line_a, line_b);
    else if (count > 0)
        cli_print(context, "[data]        %llu %s, as in %s, line %llu and %s, line %llu\n", rows, what,
                  cli_safe(c->data_files.at[places[0].source].path), line_a,
                  cli_safe(c->data_files.at[places[1].source].path), line_b);
}

static void print_groups(cli_context *context, const compile *c) {
    const job_summary *s = &c->data;
    if (s->groups > 0)
        cli_print(context,
                  "[data]        %llu rows have nearly the same input as another: %llu groups, each on one side\n",
                  (unsigned long long)s->grouped_rows, (unsigned long long)s->groups);
    say(context, s->templates,
        "groups too large for one side, such as those of a template: only closer inputs are kept together");
}

static void print_labels(cli_context *context, const compile *c) {
    const job_summary *s = &c->data;
    if (!s->closed) return;
    say(context, s->trimmed_labels, "rows have spaces around their label, which are removed");
    if (s->lonely_labels > 0)
        cli_print(context, "[data]        %llu %s a single row: learned, never tested\n",
                  (unsigned long long)s->lonely_labels, s->lonely_labels == 1 ? "label has" : "labels have");
    if (s->untested_labels > 0)
        cli_print(context, "[data]        %llu %s rows of nearly one text only: learned, never tested\n",
                  (unsigned long long)s->untested_labels, s->untested_labels == 1 ? "label has" : "labels have");
}

static void print_data(cli_context *context, const compile *c) {
    const job_summary *s = &c->data;
    char labels[64] = "";
    if (s->labels <= JOB_LABELS_MAX) kit_format(labels, sizeof labels, ", %llu labels", (unsigned long long)s->labels);
    cli_print(context, "[data]        %llu rows%s; %llu to learn from, %llu held out\n",
              (unsigned long long)s->rows_read, labels, (unsigned long long)s->train_rows,
              (unsigned long long)s->eval_rows);
    print_rows(context, &c->data_files, &c->eval_files, s);
    say(context, s->duplicates, "duplicate rows dropped");
    say_rows(context, c, s->outvoted, "outvoted rows dropped: most rows with the same input have another output",
             s->outvoted_places);
    say_rows(context, c, s->contradictions, "contradicting rows dropped: the same input with two outputs",
             s->contradiction_places);
    say_rows(context, c, s->kept_contradictions, "contradicting rows kept: the same input with two outputs",
             s->kept_places);
    print_groups(context, c);
    say(context, s->leaked, "held-out rows dropped: their input is also trained on");
    say(context, s->nearly_leaked, "held-out rows dropped: their input is nearly one that is trained on");
    say(context, s->unseen_labels, "held-out rows have an output that is never trained on");
    print_labels(context, c);
}

/* ---- Training */

static void print_airgap(cli_context *context, const compile *c) {
    const host_sandbox *s = &c->trained.sandbox;
    if (!s->fenced)
        cli_print(context, "[trainer]     no fence around %s (%s): your files and programs were within its reach\n",
                  c->choice->backend->name,
                  c->choice->backend->row->manifest->fence_off ? "off in config.json" : "the kernel has no Landlock");
    if (!c->airgap) return;
    if (s->enforced)
        cli_print(context,
                  "[trainer]     no outbound network calls; airgap mode active (%s, %u channels tried, %u open)\n",
                  s->profile, s->probes_run, s->probes_reached);
    else if (s->requested)
        cli_print(context,
                  "[trainer]     airgap: no outbound network calls, but not enforced for files and other programs\n");
    else if (c->private_remote)
        cli_print(context,
                  "[trainer]     airgap: %s reached only a machine on a private address, according to itself; "
                  "nothing enforces it\n",
                  c->choice->backend->name);
    else
        cli_print(context, "[trainer]     airgap is advisory: only backends that need no network were considered, "
                           "nothing enforces it\n");
}

/* ---- Score */

static double unit(uint32_t micro) {
    return (double)micro / SCORE_MICRO;
}

/* Three digits, or all six if three would contradict the gate: "0.850 (below the 0.85 gate)". */
static const char *beside_gate(char out[16], uint32_t value, uint32_t gate) {
    uint32_t rounded = (value + 500) / 1000 * 1000;
    kit_format(out, 16, (rounded >= gate) == (value >= gate) ? "%.3f" : "%.6f", unit(value));
    return out;
}

/* The baseline of always giving one answer, and the labels that it would miss. */
static void print_baseline(cli_context *context, const compile *c) {
    score_baseline b;
    uint64_t correct = 0, rows = 0;
    score_baseline_of(c->answers, &b);
    if (!b.known || !c->data.closed) return;
    const char *lowest = score_lowest_recall(c->answers, &correct, &rows);
    cli_print(context, "[balanced]    %.3f over %llu label%s; lowest recall %.3f: \"%s\", %llu of %llu rows\n",
              unit(b.balanced), (unsigned long long)b.labels, b.labels == 1 ? "" : "s", (double)correct / (double)rows,
              cli_safe(lowest), (unsigned long long)correct, (unsigned long long)rows);
    static const char *const standings[] = {
        [SCORE_NO_BASELINE] = "",
        [SCORE_BETTER] = "",
        [SCORE_TOO_FEW] = ": too few held-out rows to show that the model is better, but it made no mistake",
        [SCORE_NOT_BETTER] = ": the model is not clearly better than that"};
    score_standing standing = score_stands(c->answers, &b, c->gates.balanced);
    cli_print(context, "[baseline]    %.3f (balanced %.3f) by always answering \"%s\"%s%s\n", unit(b.accuracy),
              1.0 / (double)b.labels, cli_safe(b.label), standings[standing],
              standing != SCORE_NOT_BETTER ? ""
              : b.labels == 1              ? "; all held-out rows have this label"
              : c->gates.balanced          ? " in balanced accuracy"
                                           : "");
}

/* Labels that were learned but are in no held-out row, so they were not measured. */
static void print_unmeasured(cli_context *context, const compile *c) {
    kit_buf text = {0};
    size_t count = 0;
    const cJSON *labels = kit_json_get(kit_json_get(c->result, "report"), "labels"), *item;
    cJSON_ArrayForEach(item, labels) {
        if (!cJSON_IsString(item) || score_label_rows(c->answers, item->valuestring) > 0) continue;
        if (count++ < 5) kit_buf_fmt(&text, "%s\"%s\"", count > 1 ? ", " : "", cli_safe(item->valuestring));
    }
    if (count > 0)
        cli_print(context, "[labels]      learned, but in no held-out row: %s%s\n", kit_buf_text(&text),
                  count > 5 ? ", ..." : "");
    kit_buf_free(&text);
}

static void print_answers(cli_context *context, const compile *c) {
    score_baseline b;
    kit_buf text = {0};
    if (!c->data.closed) return;
    score_baseline_of(c->answers, &b);
    if (b.never_answered > 0 && score_never_answered_text(c->answers, 5, &text, NULL) == KOLM_OK)
        cli_print(context, "[labels]      never answered: %s\n", kit_buf_text(&text));
    kit_buf_free(&text);
    if (!context->quiet) print_unmeasured(context, c);
}

static void print_score(cli_context *context, const compile *c) {
    const score_k *k = &c->k;
    char gate[16], accuracy_gate[16], shown[16];
    kit_format(gate, sizeof gate, "%.6g", unit(c->gates.k_micro));
    kit_format(accuracy_gate, sizeof accuracy_gate, "%.6g", unit(c->gates.accuracy_micro));
    bool k_ok = k->k >= c->gates.k_micro, accuracy_ok = k->accuracy >= c->gates.accuracy_micro;
    cli_print(context, "[K-score]     %s (%s %s gate)\n", beside_gate(shown, k->k, c->gates.k_micro),
              k_ok ? "ships at" : "below the", gate);
    cli_print(context, "[accuracy]    %s (%s %s gate), 95%% interval %.3f to %.3f, n = %llu",
              beside_gate(shown, k->accuracy, c->gates.accuracy_micro), accuracy_ok ? "ships at" : "below the",
              accuracy_gate, unit(k->accuracy_interval.low_micro), unit(k->accuracy_interval.high_micro),
              (unsigned long long)score_answered(c->answers));
    if (score_answered(c->answers) < score_rows(c->answers))
        cli_print(context, "; %llu of %llu withheld",
                  (unsigned long long)(score_rows(c->answers) - score_answered(c->answers)),
                  (unsigned long long)score_rows(c->answers));
    cli_print(context, "\n");
    print_baseline(context, c);
    cli_print(context, "[interval]    K %.3f to %.3f at 95%%\n", unit(k->k_interval.low_micro),
              unit(k->k_interval.high_micro));
}

/* With few held-out rows the out-of-fold answers on the training part are more informative. */
static void print_estimate(cli_context *context, const compile *c) {
    const cJSON *report = kit_json_get(c->result, "report");
    uint64_t correct = 0, answered = 0;
    if (score_rows(c->answers) >= 200 || !kit_json_get_u64(report, "oof_correct", &correct) ||
        !kit_json_get_u64(report, "oof_answered", &answered) || answered == 0 || correct > answered)
        return;
    score_interval interval = score_wilson(correct, answered);
    cli_print(context,
              "[estimate]    %llu held-out rows are few; cross-validation on the training part: accuracy %.3f, 95%% "
              "interval %.3f to %.3f, n = %llu\n",
              (unsigned long long)score_rows(c->answers), (double)correct / (double)answered, unit(interval.low_micro),
              unit(interval.high_micro), (unsigned long long)answered);
}

/* ---- The end */

/* What was rented for the job, its cost, and that it is gone. Free resources, such as keys, are not mentioned. */
void cli_compile_rented(cli_context *context, const compile *c) {
    char cost[32], left[64] = "nothing of it is left";
    const lease_entry *last = NULL;
    size_t count = 0, open = lease_list_open(&c->leases);
    uint64_t sum = 0;
    for (size_t i = 0; i < c->leases.count; i++)
        if (c->leases.at[i].billed_micro_usd != 0) count++, last = &c->leases.at[i];
    if (!last) return;
    bool known = lease_list_billed(&c->leases, &sum);
    if (open > 0) kit_format(left, sizeof left, "%zu may still exist: kolm compute reap", open);
    const char *all = known ? " in all" : sum > 0 ? " at least" : "";
    if (known || sum > 0)
        (void)session_usd(cost, sizeof cost, sum);
    else
        kit_copy(cost, sizeof cost, "its cost is unknown");
    cli_print(context, "[rented]      %zu from %s, the last %s; %s%s; %s\n", count, cli_safe(last->backend),
              cli_safe(last->note[0] ? last->note : last->name), cost, all, left);
}

static void print_shipped(cli_context *context, const compile *c) {
    char size[32];
    cli_compile_rented(context, c);
    if (c->key_created) cli_print(context, "[keys]        made a signing key: %s\n", c->keyid);
    cli_print(context, "[artifact]    %s  %s\n", cli_safe(c->out_path),
              session_bytes(size, sizeof size, c->identity.size));
    cli_print(context, "[receipt]     seq %llu, chain head sha256 %s\n", (unsigned long long)c->head.seq,
              c->head.sha256);
}

static void print_failed(cli_context *context, const compile *c) {
    cli_compile_rented(context, c);
    cli_print(context, "[failed]      %s  nothing was shipped; the report, the answers and the confusions are there\n",
              cli_safe(c->failed_path));
    cli_print(context, "[failed]      what to try: %s\n", compile_advice(c));
}

void cli_compile_event(cli_context *context, const session_event *event) {
    const compile *c = event->compile;
    if (context->json) return; /* compile_record has it all */
    switch (event->kind) {
    case SESSION_DATA_READ:
        if (!context->quiet) print_data(context, c);
        break;
    case SESSION_BACKEND_CHOSEN:
        if (!context->quiet) cli_print(context, "[trainer]     using %s\n", cli_safe(c->choice->said));
        break;
    case SESSION_TRAINED:
        if (!context->quiet) print_airgap(context, c);
        break;
    case SESSION_SCORED:
        print_score(context, c);
        print_answers(context, c);
        if (!context->quiet) print_estimate(context, c);
        break;
    case SESSION_FAILED_GATE:
        print_failed(context, c);
        break;
    case SESSION_SHIPPED:
        print_shipped(context, c);
        break;
    case SESSION_ROWS_READ:
        print_rows(context, NULL, event->files, event->summary);
        break;
    default:
        break;
    }
}
