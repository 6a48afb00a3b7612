/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of an artifact's manifest and of its receipts. */
#include "report/gather.h"
#include "report/html.h"

#include "kolm/kit/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Texts and items */

static const char *keep(report_gathering *g, char *text) {
    if (text == NULL) {
        g->failed = true;
        return NULL;
    }
    if (g->text_count == g->text_capacity) {
        const size_t capacity = g->text_capacity == 0 ? 64 : 2 * g->text_capacity;
        char **grown = realloc(g->texts, capacity * sizeof *grown);
        if (grown == NULL) {
            free(text);
            g->failed = true;
            return NULL;
        }
        g->texts = grown;
        g->text_capacity = capacity;
    }
    return g->texts[g->text_count++] = text;
}

const char *gather_text(report_gathering *g, const char *text) {
    return text == NULL ? NULL : keep(g, strdup(text));
}

const char *gather_format(report_gathering *g, const char *format, ...) {
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0) text = NULL;
    va_end(arguments);
    return keep(g, text);
}

static void add(report_gathering *g, gather_list *list, const report_item *item) {
    if (item->value == NULL) return;
    if (list->count < REPORT_ITEMS_MAX) {
        report_item *kept = &list->at[list->count];
        *kept = *item;
        kept->value = gather_text(g, item->value);
    }
    list->count++;
}

void gather_item(report_gathering *g, gather_list *list, const char *name, const char *value, const char *note) {
    add(g, list, &(report_item){.name = name, .value = value, .note = note});
}

void gather_digest(report_gathering *g, gather_list *list, const char *name, const char *value) {
    if (value != NULL && *value != '\0') add(g, list, &(report_item){.name = name, .value = value, .mono = true});
}

kit_status gather_ok(const report_gathering *g, kolm_error_t *err) {
    if (!g->failed) return KOLM_OK;
    return kit_no_memory(err);
}

kit_status report_gather_new(const char *maker, const char *file, report_gathering **out, kolm_error_t *err) {
    report_gathering *g = calloc(1, sizeof *g);
    *out = g;
    if (g == NULL) return kit_no_memory(err);
    g->facts.maker = gather_text(g, maker);
    g->facts.file = gather_text(g, file);
    g->facts.score = (report_score){.k = (double)NAN,
                                    .accuracy = (double)NAN,
                                    .size = (double)NAN,
                                    .latency = (double)NAN,
                                    .cost = (double)NAN,
                                    .coverage = (double)NAN,
                                    .balanced = (double)NAN,
                                    .baseline = (double)NAN,
                                    .ece = (double)NAN,
                                    .k_interval = {(double)NAN, (double)NAN},
                                    .accuracy_interval = {(double)NAN, (double)NAN},
                                    .balanced_interval = {(double)NAN, (double)NAN},
                                    .k_gate = (double)NAN,
                                    .accuracy_gate = (double)NAN};
    return gather_ok(g, err);
}

void report_gather_free(report_gathering *g) {
    if (g == NULL) return;
    for (size_t i = 0; i < g->text_count; i++)
        free(g->texts[i]);
    free(g->texts);
    free(g->labels);
    free(g->confusions);
    free(g);
}

static report_items items_of(const gather_list *list) {
    return (report_items){.at = list->at, .count = list->count};
}

const report_facts *report_gather_facts(report_gathering *g) {
    report_facts *f = &g->facts;
    f->notices = g->notices;
    f->labels = g->labels;
    f->confusions = g->confusions;
    f->bins = g->bins;
    f->thresholds = g->thresholds;
    f->mistakes = g->mistakes;
    f->pairs = g->pairs;
    f->data = items_of(&g->data);
    f->candidates = items_of(&g->candidates);
    f->origin = items_of(&g->origin);
    f->receipts = items_of(&g->receipts);
    f->contents = items_of(&g->contents);
    return f;
}

kit_status report_gather_notice(report_gathering *g, report_tone tone, const char *title, const char *text,
                                kolm_error_t *err) {
    if (g->facts.notice_count < REPORT_ITEMS_MAX)
        g->notices[g->facts.notice_count++] =
            (report_notice){.tone = tone, .title = gather_text(g, title), .text = gather_text(g, text)};
    return gather_ok(g, err);
}

/* ---- Numbers */

const char *gather_count_text(report_gathering *g, uint64_t count) {
    kit_buf text = {0};
    html_count(&text, count);
    return keep(g, kit_buf_take(&text));
}

double gather_number(const cJSON *object, const char *key) {
    double value = 0;
    return kit_json_get_number(object, key, &value) ? value : (double)NAN;
}

uint64_t gather_count(const cJSON *object, const char *key) {
    uint64_t value = 0;
    return kit_json_get_u64(object, key, &value) ? value : 0;
}

report_interval gather_wilson(uint64_t hits, uint64_t n) {
    if (n == 0 || hits > n) return (report_interval){(double)NAN, (double)NAN};
    const score_interval w = score_wilson(hits, n);
    return (report_interval){(double)w.low_micro / SCORE_MICRO, (double)w.high_micro / SCORE_MICRO};
}

static double within(double value) {
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

/* ---- K and the labels */

/* As in core/score: the mean of the recalls, with their intervals combined by the method of Zou and Donner. */
static void balance(report_gathering *g) {
    report_score *s = &g->facts.score;
    double low = 0, high = 0, sum = 0, labels = 0;
    for (size_t i = 0; i < g->facts.label_count; i++) {
        const report_label *l = &g->labels[i];
        if (l->rows == 0 || l->correct > l->rows) continue;
        const double recall = (double)l->correct / (double)l->rows;
        labels++;
        sum += recall;
        low += (recall - l->recall.low) * (recall - l->recall.low);
        high += (l->recall.high - recall) * (l->recall.high - recall);
    }
    if (labels == 0) return;
    s->balanced_interval =
        (report_interval){within(sum / labels - sqrt(low) / labels), within(sum / labels + sqrt(high) / labels)};
}

static void take_labels(report_gathering *g, const cJSON *array) {
    const int found = cJSON_GetArraySize(array);
    size_t count = 0;
    if (found <= 0) return;
    free(g->labels);
    g->labels = calloc((size_t)found, sizeof *g->labels);
    if (g->labels == NULL) {
        g->failed = true;
        return;
    }
    for (const cJSON *item = array->child; item != NULL && count < (size_t)found; item = item->next) {
        const char *label = NULL;
        report_label *l = &g->labels[count];
        if (!kit_json_get_string(item, "label", &label)) continue;
        *l = (report_label){.label = gather_text(g, label),
                            .rows = gather_count(item, "rows"),
                            .answers = gather_count(item, "answers"),
                            .correct = gather_count(item, "correct")};
        l->recall = gather_wilson(l->correct, l->rows);
        count++;
    }
    g->facts.label_count = count;
}

void gather_score(report_gathering *g, const cJSON *k) {
    report_score *s = &g->facts.score;
    const cJSON *baseline = kit_json_get(k, "baseline");
    const char *label = NULL;
    s->k = gather_number(k, "k");
    s->accuracy = gather_number(k, "accuracy");
    s->size = gather_number(k, "size");
    s->latency = gather_number(k, "latency");
    s->cost = gather_number(k, "cost");
    s->coverage = gather_number(k, "coverage");
    s->balanced = gather_number(k, "balanced_accuracy");
    s->baseline = gather_number(baseline, "accuracy");
    if (kit_json_get_string(baseline, "label", &label)) s->baseline_label = gather_text(g, label);
    s->rows = gather_count(k, "n");
    s->answered = gather_count(k, "answered");
    s->correct = gather_count(k, "correct");
    s->accuracy_interval = gather_wilson(s->correct, s->answered);
    /* The interval of the accuracy, transformed by the formula. */
    s->k_interval = (report_interval){s->k + 0.40 * (s->accuracy_interval.low - s->accuracy),
                                      s->k + 0.40 * (s->accuracy_interval.high - s->accuracy)};
    take_labels(g, kit_json_get(k, "labels"));
    balance(g);
}

/* ---- The rest of the manifest */

typedef struct named {
    const char *key, *name, *note;
} named;

static void put_counts(report_gathering *g, gather_list *list, const cJSON *object, const named *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        if (!kit_json_get_u64(object, names[i].key, &value)) continue;
        gather_item(g, list, names[i].name, gather_count_text(g, value), names[i].note);
    }
}

static void put_data(report_gathering *g, const cJSON *data) {
    static const named rows[] = {{"rows", "Rows", NULL}};
    static const named cleaning[] = {
        {"duplicates", "Duplicates dropped", "rows that repeat another one: same question, same output"},
        {"contradictions", "Contradicting rows dropped", "the same question with several outputs, none of them clear"},
        {"contradicting_inputs", "Questions that contradict", NULL},
        {"outvoted", "Outvoted rows dropped", "most rows with the same question have another output"},
        {"outvoted_inputs", "Questions with an outvoted output", NULL},
        {"kept_contradictions", "Contradicting rows kept", NULL},
        {"grouped_rows", "Rows that are nearly the same as another", "each group was kept on one side of the split"},
        {"groups", "Groups of such rows", NULL},
        {"templates", "Groups too large for one side",
         "such as those of a template: only closer questions are kept together"},
        {"leaked", "Held-out rows dropped", "their question is also trained on"},
        {"nearly_leaked", "Held-out rows dropped as nearly trained on", NULL},
        {"untested_labels", "Labels that no held-out row has", "learned, never tested"},
        {"trimmed_labels", "Rows with spaces around their label", NULL}};
    const cJSON *train = kit_json_get(data, "train"), *eval = kit_json_get(data, "eval");
    const char *sha256 = NULL;
    put_counts(g, &g->data, train, rows, 1);
    if (g->data.count > 0) g->data.at[0].name = "Rows to learn from";
    if (kit_json_get_string(train, "sha256", &sha256)) gather_digest(g, &g->data, "Their digest (SHA-256)", sha256);
    const size_t at = g->data.count;
    put_counts(g, &g->data, eval, rows, 1);
    if (g->data.count > at && at < REPORT_ITEMS_MAX) g->data.at[at].name = "Rows held out";
    if (kit_json_get_string(eval, "sha256", &sha256)) gather_digest(g, &g->data, "Their digest (SHA-256)", sha256);
    const cJSON *counts = kit_json_get(data, "cleaning");
    put_counts(g, &g->data, counts, cleaning, sizeof cleaning / sizeof *cleaning);
    if (cJSON_GetArraySize(counts) == 0) gather_item(g, &g->data, "Duplicates and contradictions", "none found", NULL);
}

static void put_string(report_gathering *g, gather_list *list, const cJSON *object, const char *key, const char *name,
                       const char *note) {
    const char *text = NULL;
    if (kit_json_get_string(object, key, &text)) gather_item(g, list, name, text, note);
}

/* A model of two parts: the comparison is for the linear one, the numbers are for the head on both, which is used. */
static void put_head(report_gathering *g, const cJSON *report, const cJSON *head) {
    const double right = gather_number(report, "oof_correct"), answered = gather_number(report, "oof_answered"),
                 lambda = gather_number(head, "lambda_micro");
    if (lambda >= 0)
        gather_item(g, &g->candidates, "Chosen", gather_format(g, "a head with lambda %.3f", lambda / SCORE_MICRO),
                    "as reported by the backend");
    if (answered >= 1 && right >= 0 && right <= answered)
        gather_item(g, &g->candidates, "With the head",
                    gather_format(g, "%.1f %% in cross-validation", 100 * right / answered),
                    gather_format(g, "of the %.0f rows that it answered", answered));
}

/* The candidates that a backend compared, as it reported them: {"name", "accuracy_micro"} each. */
static void put_candidates(report_gathering *g, const cJSON *report) {
    const cJSON *all = kit_json_get(report, "candidates"), *head = kit_json_get(report, "head"), *item;
    const bool two = cJSON_IsObject(head);
    if (two) put_head(g, report, head);
    put_string(g, &g->candidates, report, "chosen", two ? "Chosen for the linear part" : "Chosen",
               "as reported by the backend");
    if (!cJSON_IsArray(all)) return;
    cJSON_ArrayForEach(item, all) {
        const char *name = NULL;
        uint64_t micro = 0;
        if (!kit_json_get_string(item, "name", &name)) continue;
        const char *value = !kit_json_get_u64(item, "accuracy_micro", &micro) || micro > SCORE_MICRO
                                ? "no accuracy is given"
                                : gather_format(g, "%.1f %% in cross-validation", (double)micro / 10000);
        gather_item(g, &g->candidates, g->candidates.count < REPORT_ITEMS_MAX ? gather_text(g, name) : "", value,
                    two ? "the linear part" : NULL);
    }
}

static const char *bytes_text(report_gathering *g, uint64_t bytes) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    return unit == 0 ? gather_format(g, "%llu bytes", (unsigned long long)bytes)
                     : gather_format(g, "%.1f %s", value, units[unit]);
}

static void put_contents(report_gathering *g, const artifact *a) {
    const cJSON *m = artifact_manifest(a), *base = kit_json_get(m, "base");
    const char *digest = NULL;
    gather_item(g, &g->contents, "Size", bytes_text(g, artifact_size(a)), NULL);
    put_string(g, &g->contents, m, "recipe", "Recipe", NULL);
    put_string(g, &g->contents, m, "toolchain", "Toolchain", "as reported by the backend");
    put_string(g, &g->contents, base, "name", "Base model",
               cJSON_IsTrue(kit_json_get(base, "embedded")) ? "carried in this file" : "referenced, not carried");
    if (kit_json_get_string(base, "digest", &digest)) gather_digest(g, &g->contents, "Its digest", digest);
    for (size_t i = 0; i < artifact_entry_count(a); i++) {
        const artifact_entry *entry = artifact_entry_at(a, i);
        if (g->contents.count >= REPORT_ITEMS_MAX) {
            g->contents.count++;
            continue;
        }
        gather_item(g, &g->contents, gather_text(g, entry->name), bytes_text(g, entry->size),
                    entry->sha256[0] != '\0' ? gather_format(g, "sha256 %s", entry->sha256) : NULL);
    }
}

/* ---- The receipt: who chose, where, at what price */

static void put_money(report_gathering *g, const cJSON *object, const char *key, const char *name, const char *note) {
    const double usd = gather_number(object, key);
    if (kit_json_get(object, key) == NULL) return;
    const char *value = !(usd >= 0 && usd < 1e9) ? "not known" : usd == 0 ? "nothing" : gather_format(g, "$%.6f", usd);
    gather_item(g, &g->origin, name, value, note);
}

static void put_runners(report_gathering *g, const cJSON *runners) {
    kit_buf text = {0};
    int shown = 0;
    if (!cJSON_IsArray(runners)) return;
    for (const cJSON *item = runners->child; item != NULL; item = item->next) {
        const char *name = cJSON_IsString(item) ? item->valuestring : NULL;
        if (name == NULL && !kit_json_get_string(item, "name", &name)) continue;
        if (shown++ == 20) {
            kit_buf_str(&text, ", ...");
            break;
        }
        kit_buf_fmt(&text, "%s%.100s", text.length > 0 ? ", " : "", name);
    }
    g->failed = g->failed || text.failed;
    gather_item(g, &g->origin, "Runners-up", shown == 0 ? "none" : kit_buf_text(&text), NULL);
    kit_buf_free(&text);
}

static const char *chooser(const char *by) {
    static const char *const names[][2] = {{"flag", "the user, by --backend"},
                                           {"env", "the user, by KOLM_BACKEND"},
                                           {"config", "the configuration"},
                                           {"picker", "the picker"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(by, names[i][0]) == 0) return names[i][1];
    return by;
}

static const char *duration_text(report_gathering *g, uint64_t ms) {
    if (ms < 60000) return gather_format(g, "%.1f s", (double)ms / 1000);
    if (ms < 3600000)
        return gather_format(g, "%llu min %02llu s", (unsigned long long)(ms / 60000),
                             (unsigned long long)(ms / 1000 % 60));
    return gather_format(g, "%llu h %02llu min", (unsigned long long)(ms / 3600000),
                         (unsigned long long)(ms / 60000 % 60));
}

static void put_origin(report_gathering *g, const cJSON *receipt) {
    const cJSON *metrics = kit_json_get(receipt, "metrics"), *compute = kit_json_get(metrics, "compute"),
                *from = kit_json_get(compute, "provenance"), *fence = kit_json_get(receipt, "fence"),
                *airgap = kit_json_get(receipt, "airgap");
    static const char told[] = "as reported by the backend";
    const char *by = NULL;
    uint64_t ms = 0;
    bool enforced = false, requested = false;
    put_string(g, &g->origin, compute, "backend", "Backend", NULL);
    put_string(g, &g->origin, compute, "device", "Device", told);
    if (kit_json_get_string(from, "chosen_by", &by)) gather_item(g, &g->origin, "Chosen by", chooser(by), NULL);
    put_string(g, &g->origin, from, "reason", "Reason", NULL);
    put_runners(g, kit_json_get(from, "runners_up"));
    put_money(g, from, "quoted_cost_usd", "Price before", told);
    put_money(g, compute, "cost_usd", "What it cost", told);
    if (kit_json_get_u64(compute, "wall_duration_ms", &ms))
        gather_item(g, &g->origin, "Took", duration_text(g, ms), NULL);
    if (kit_json_get_u64(kit_json_get(metrics, "measured"), "peak_memory_bytes", &ms))
        gather_item(g, &g->origin, "Peak memory", bytes_text(g, ms), told);
    put_string(g, &g->origin, receipt, "started_at", "Started", NULL);
    put_string(g, &g->origin, receipt, "finished_at", "Finished", NULL);
    if (kit_json_get_bool(airgap, "requested", &requested) && kit_json_get_bool(airgap, "enforced", &enforced))
        gather_item(g, &g->origin, "Airgap",
                    !requested ? "not requested"
                    : enforced ? "enforced by the kernel"
                               : "requested, not enforced",
                    NULL);
    if (kit_json_get_bool(fence, "enforced", &enforced))
        gather_item(g, &g->origin, "Fence around the backend", enforced ? "enforced by the kernel" : "not enforced",
                    NULL);
}

static void put_receipts(report_gathering *g, const artifact *a, const report_judgement *j) {
    const receipt_report *r = j->report;
    gather_item(g, &g->receipts, "Verdict", r->text, r->remedy[0] != '\0' ? gather_text(g, r->remedy) : NULL);
    gather_digest(g, &g->receipts, "Signed by key", r->keyid);
    if (r->label[0] != '\0') gather_item(g, &g->receipts, "Known here as", r->label, NULL);
    gather_item(g, &g->receipts, "Receipts",
                !j->has_receipts ? "none next to the artifact"
                                 : gather_format(g, "%zu, signed by the same key", r->receipts),
                j->has_receipts && r->in_local_chain ? "found in the log of this machine, at their place" : NULL);
    if (r->receipt != NULL) {
        gather_digest(g, &g->receipts, "Log", r->place.log_id);
        gather_item(g, &g->receipts, "Place in it", gather_format(g, "%llu", (unsigned long long)r->place.seq),
                    "counted from 0");
        gather_digest(g, &g->receipts, "This line (SHA-256)", r->line_sha256);
        gather_digest(g, &g->receipts, "The line before it", r->place.prev);
    }
    gather_digest(g, &g->receipts, "Manifest (SHA-256)", artifact_manifest_sha256(a));
    gather_digest(g, &g->receipts, "File (SHA-256)", j->file_sha256);
}

static void put_verdict(report_gathering *g, const report_judgement *j, kolm_error_t *err) {
    const receipt_report *r = j->report;
    const bool trusted = j->judged && r->verdict == RECEIPT_TRUSTED,
               doubt = j->judged && r->verdict == RECEIPT_UNKNOWN_KEY;
    g->facts.verdict = gather_text(g, j->judged ? receipt_verdict_name(r->verdict) : "could not be checked");
    g->facts.tone = trusted ? REPORT_GOOD : doubt ? REPORT_DOUBT : REPORT_BAD;
    if (trusted) return;
    const char *text = gather_format(g, "%s%s%s. What follows is what the file says about itself.", r->text,
                                     r->remedy[0] != '\0' ? "; what to do: " : "", r->remedy);
    if (report_gather_notice(g, g->facts.tone, "This artifact is not verified.", text, err) != KOLM_OK)
        g->failed = true;
}

kit_status report_gather_artifact(report_gathering *g, const artifact *a, const report_judgement *j,
                                  kolm_error_t *err) {
    const cJSON *m = artifact_manifest(a);
    const char *text = NULL;
    g->facts.name = kit_json_get_string(m, "name", &text) ? gather_text(g, text) : NULL;
    g->facts.version = kit_json_get_string(m, "version", &text) ? gather_text(g, text) : NULL;
    put_verdict(g, j, err);
    gather_score(g, kit_json_get(m, "kscore"));
    put_data(g, kit_json_get(m, "data"));
    put_candidates(g, kit_json_get(m, "report"));
    const double ece = gather_number(kit_json_get(m, "report"), "ece_micro");
    if (ece >= 0 && ece <= SCORE_MICRO)
        gather_item(g, &g->candidates, "Calibration error",
                    gather_format(g, "%.4f in cross-validation", ece / SCORE_MICRO), NULL);
    if (j->report->receipt != NULL)
        put_origin(g, j->report->receipt);
    else
        gather_item(
            g, &g->origin, "Not known",
            "there is no receipt of the signer next to the artifact: only a receipt says where, by whom and at what "
            "price it was made",
            NULL);
    put_receipts(g, a, j);
    put_contents(g, a);
    g->facts.answers_how = "The artifact keeps counts, not single answers. With the data (kolm report MODEL -d DATA) "
                           "the same split is made again, "
                           "the model is run on the same questions, and the page has the confusion table, the curves "
                           "and the worst mistakes.";
    return gather_ok(g, err);
}
