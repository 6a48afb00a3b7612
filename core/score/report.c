/* SPDX-License-Identifier: Apache-2.0 */
/* Reports: the manifest's object, the full JSON, the readable text, and the directory of a missed gate. */
#include "score/answers.h"

#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_CONFUSIONS 200

static bool put_micro(cJSON *object, const char *key, uint64_t micro) {
    return kit_json_put(object, key, kit_json_micro(micro));
}

static bool put_reference(cJSON *object) {
    cJSON *reference = cJSON_CreateObject();
    bool good = kit_json_put_u64(reference, "bytes", 80000000000ull) &&
                kit_json_put_u64(reference, "latency_ms", 1240) && put_micro(reference, "usd_per_call", 18000) &&
                kit_json_put_u64(reference, "bytes_per_second", 50000000000ull) &&
                put_micro(reference, "usd_per_hour", 2500000);
    if (good) return kit_json_put(object, "reference", reference);
    cJSON_Delete(reference);
    return false;
}

static bool put_terms(cJSON *object, const score_k *k) {
    return put_micro(object, "k", k->k) && put_micro(object, "accuracy", k->accuracy) &&
           put_micro(object, "size", k->size) && put_micro(object, "latency", k->latency) &&
           put_micro(object, "cost", k->cost) && put_micro(object, "coverage", k->coverage);
}

/* Null if there is none. */
static bool put_baseline(cJSON *object, const score_baseline *b, bool with_label) {
    if (!b->known) return kit_json_put_null(object, "baseline") && kit_json_put_null(object, "balanced_accuracy");
    cJSON *baseline = cJSON_CreateObject();
    if (kit_json_put_u64(baseline, "correct", b->correct) && put_micro(baseline, "accuracy", b->accuracy) &&
        (!with_label || kit_json_put_string(baseline, "label", b->label)))
        return kit_json_put(object, "baseline", baseline) && put_micro(object, "balanced_accuracy", b->balanced);
    cJSON_Delete(baseline);
    return false;
}

/* {label, rows, answers, correct}, with shares also precision and recall; sorted by label. */
static bool put_labels(cJSON *object, const score_answers *a, bool shares);

static cJSON *score_object(const score_k *k, const score_answers *a, const score_baseline *b, bool with_label) {
    cJSON *object = cJSON_CreateObject();
    if (put_terms(object, k) && kit_json_put_u64(object, "n", a->rows) &&
        kit_json_put_u64(object, "correct", a->correct) && kit_json_put_u64(object, "answered", a->answered) &&
        put_baseline(object, b, with_label) && put_reference(object))
        return object;
    cJSON_Delete(object);
    return NULL;
}

cJSON *score_manifest_object(const score_k *k, const score_answers *a, bool with_labels) {
    score_baseline baseline;
    score_baseline_of(a, &baseline);
    bool some = with_labels && a->label_count <= SCORE_MANIFEST_LABELS;
    cJSON *object = score_object(k, a, &baseline, some);
    if (object == NULL || !some || put_labels(object, a, false)) return object;
    cJSON_Delete(object);
    return NULL;
}

static bool put_interval(cJSON *object, const char *key, score_interval interval) {
    cJSON *array = cJSON_CreateArray();
    cJSON *low = kit_json_micro(interval.low_micro), *high = kit_json_micro(interval.high_micro);
    bool good = low != NULL && high != NULL && cJSON_AddItemToArray(array, low);
    if (!good) cJSON_Delete(low);
    if (good && cJSON_AddItemToArray(array, high)) return kit_json_put(object, key, array);
    cJSON_Delete(high);
    cJSON_Delete(array);
    return false;
}

static uint64_t share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : (part * SCORE_MICRO + whole / 2) / whole;
}

/* Adds item to array, or frees it. */
static bool append(cJSON *array, cJSON *item, bool good) {
    if (good && cJSON_AddItemToArray(array, item)) return true;
    cJSON_Delete(item);
    return false;
}

static bool put_labels(cJSON *object, const score_answers *a, bool shares) {
    uint32_t *order = score_sorted_labels(a);
    cJSON *array = cJSON_CreateArray();
    bool good = order != NULL && array != NULL;
    for (size_t i = 0; good && i < a->label_count; i++) {
        const score_label *l = &a->labels[order[i]];
        cJSON *item = cJSON_CreateObject();
        good =
            append(array, item,
                   kit_json_put_string(item, "label", l->text) && kit_json_put_u64(item, "rows", l->rows) &&
                       kit_json_put_u64(item, "answers", l->given) && kit_json_put_u64(item, "correct", l->correct) &&
                       (!shares || (put_micro(item, "precision", share(l->correct, l->given)) &&
                                    put_micro(item, "recall", share(l->correct, l->rows)))));
    }
    free(order);
    if (good) return kit_json_put(object, "labels", array);
    cJSON_Delete(array);
    return false;
}

static bool put_confusions(cJSON *object, const score_answers *a) {
    uint32_t *order = score_sorted_pairs(a);
    cJSON *array = cJSON_CreateArray();
    bool good = order != NULL && array != NULL;
    for (size_t i = 0; good && i < a->pair_count && i < MOST_CONFUSIONS; i++) {
        const score_pair *p = &a->pairs[order[i]];
        cJSON *item = cJSON_CreateObject();
        good = append(array, item,
                      kit_json_put_string(item, "expected", a->labels[p->truth].text) &&
                          kit_json_put_string(item, "answered", a->labels[p->given].text) &&
                          kit_json_put_u64(item, "rows", p->count));
    }
    free(order);
    if (good) return kit_json_put(object, "confusions", array);
    cJSON_Delete(array);
    return false;
}

static const int shown_thresholds[] = {0, 50, 60, 70, 80, 90, 95, 99};
#define THRESHOLD_COUNT (sizeof shown_thresholds / sizeof *shown_thresholds)

/* Counts answers with a confidence of at least percent. */
static score_bin above(const score_answers *a, int percent) {
    score_bin sum = {0};
    for (int i = percent; i <= SCORE_THRESHOLDS; i++) {
        sum.rows += a->thresholds[i].rows;
        sum.correct += a->thresholds[i].correct;
    }
    return sum;
}

static bool put_thresholds(cJSON *object, const score_answers *a) {
    cJSON *array = cJSON_CreateArray();
    bool good = array != NULL;
    for (size_t i = 0; good && i < THRESHOLD_COUNT; i++) {
        score_bin sum = above(a, shown_thresholds[i]);
        cJSON *item = cJSON_CreateObject();
        good = append(array, item,
                      put_micro(item, "confidence", (uint64_t)shown_thresholds[i] * 10000) &&
                          kit_json_put_u64(item, "answers", sum.rows) &&
                          put_micro(item, "coverage", share(sum.rows, a->rows)) &&
                          put_micro(item, "accuracy", share(sum.correct, sum.rows)));
    }
    if (good) return kit_json_put(object, "by_confidence", array);
    cJSON_Delete(array);
    return false;
}

/* Null if unknown: no baseline, or too few rows. */
static bool put_better(cJSON *object, const score_answers *a, const score_baseline *b, bool balanced) {
    score_standing standing = score_stands(a, b, balanced);
    if (standing == SCORE_BETTER || standing == SCORE_NOT_BETTER)
        return kit_json_put_bool(object, "better_than_baseline", standing == SCORE_BETTER);
    return kit_json_put_null(object, "better_than_baseline");
}

cJSON *score_report_object(const score_k *k, const score_answers *a, const score_gates *gates) {
    score_baseline baseline;
    score_baseline_of(a, &baseline);
    cJSON *object = score_object(k, a, &baseline, true);
    if (object != NULL && baseline.known &&
        !put_interval(object, "balanced_accuracy_interval", baseline.balanced_interval)) {
        cJSON_Delete(object);
        return NULL;
    }
    bool good = object != NULL && put_interval(object, "accuracy_interval", k->accuracy_interval) &&
                put_interval(object, "k_interval", k->k_interval) && put_micro(object, "ece", score_ece_micro(a)) &&
                put_micro(object, "gate", gates->k_micro) && put_micro(object, "min_accuracy", gates->accuracy_micro) &&
                kit_json_put_string(object, "baseline_by", gates->balanced ? "balanced_accuracy" : "accuracy") &&
                put_better(object, a, &baseline, gates->balanced) &&
                kit_json_put_bool(object, "allow_baseline", gates->allow_baseline) &&
                kit_json_put_bool(object, "ships", score_ships(k, a, gates)) && put_thresholds(object, a) &&
                put_labels(object, a, true) && put_confusions(object, a);
    if (good) return object;
    cJSON_Delete(object);
    return NULL;
}

/* ---- Text */

static double percent(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static double unit(uint32_t micro) {
    return (double)micro / SCORE_MICRO;
}

static void add_escaped(kit_buf *out, const char *text, int width) {
    size_t before = out->length;
    kit_buf_escaped(out, text, strlen(text));
    for (size_t n = out->length - before; n < (size_t)width; n++)
        kit_buf_char(out, ' ');
}

static kit_status add_tables(const score_answers *a, size_t most, kit_buf *out, kolm_error_t *err) {
    uint32_t *labels = score_sorted_labels(a), *pairs = score_sorted_pairs(a);
    kit_status status = KOLM_OK;
    if (labels == NULL || pairs == NULL)
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                          "out of memory while scoring");
    if (status == KOLM_OK) kit_buf_str(out, "\nlabel                             rows  answers  precision  recall\n");
    for (size_t i = 0; status == KOLM_OK && i < a->label_count; i++) {
        const score_label *l = &a->labels[labels[i]];
        add_escaped(out, l->text, 32);
        kit_buf_fmt(out, "%6llu %8llu %9.1f%% %6.1f%%\n", (unsigned long long)l->rows, (unsigned long long)l->given,
                    percent(l->correct, l->given), percent(l->correct, l->rows));
    }
    if (status == KOLM_OK && a->pair_count > 0)
        kit_buf_str(out, "\nrows  expected                          answered\n");
    for (size_t i = 0; status == KOLM_OK && i < a->pair_count && i < most; i++) {
        const score_pair *p = &a->pairs[pairs[i]];
        kit_buf_fmt(out, "%4llu  ", (unsigned long long)p->count);
        add_escaped(out, a->labels[p->truth].text, 32);
        kit_buf_str(out, "  ");
        add_escaped(out, a->labels[p->given].text, 0);
        kit_buf_char(out, '\n');
    }
    if (status == KOLM_OK && a->pair_count > most)
        kit_buf_fmt(out, "and %zu more pairs, which are rarer\n", (size_t)a->pair_count - most);
    free(labels);
    free(pairs);
    return status;
}

static const score_label *never_after(const score_answers *a, const score_label *last) {
    const score_label *best = NULL;
    for (size_t i = 0; i < a->label_count; i++) {
        const score_label *l = &a->labels[i];
        if (l->rows == 0 || l->given > 0) continue;
        bool after = last == NULL || l->rows < last->rows || (l->rows == last->rows && strcmp(l->text, last->text) > 0);
        bool first = best == NULL || l->rows > best->rows || (l->rows == best->rows && strcmp(l->text, best->text) < 0);
        if (after && first) best = l;
    }
    return best;
}

kit_status score_never_answered_text(const score_answers *a, size_t most, kit_buf *out, kolm_error_t *err) {
    const score_label *l = never_after(a, NULL);
    for (size_t n = 0; l != NULL; l = never_after(a, l), n++) {
        if (n == most) {
            kit_buf_str(out, ", ...");
            break;
        }
        kit_buf_str(out, n == 0 ? "\"" : ", \"");
        add_escaped(out, l->text, 0);
        kit_buf_fmt(out, "\" (%llu %s)", (unsigned long long)l->rows, l->rows == 1 ? "row" : "rows");
    }
    return kit_buf_ok(out, err);
}

const char *score_lowest_recall(const score_answers *a, uint64_t *out_correct, uint64_t *out_rows) {
    const score_label *lowest = NULL;
    for (size_t i = 0; i < a->label_count; i++) {
        const score_label *l = &a->labels[i];
        if (l->rows == 0) continue;
        /* Compares correct / rows without dividing; rows are far below 2^32. */
        uint64_t mine = lowest != NULL ? l->correct * lowest->rows : 0,
                 its = lowest != NULL ? lowest->correct * l->rows : 0;
        bool lower = lowest == NULL || mine < its || (mine == its && l->rows > lowest->rows) ||
                     (mine == its && l->rows == lowest->rows && strcmp(l->text, lowest->text) < 0);
        if (lower) lowest = l;
    }
    *out_correct = lowest != NULL ? lowest->correct : 0;
    *out_rows = lowest != NULL ? lowest->rows : 0;
    return lowest != NULL ? lowest->text : NULL;
}

static void add_baseline(kit_buf *out, const score_answers *a, const score_baseline *b, const score_gates *gates) {
    static const char *const standings[] = {[SCORE_NO_BASELINE] = "",
                                            [SCORE_BETTER] = "better than that",
                                            [SCORE_TOO_FEW] = "better than that, as far as so few rows can show",
                                            [SCORE_NOT_BETTER] = "not clearly better than that"};
    if (!b->known) return;
    kit_buf_fmt(out, "balanced  %.4f  (mean recall of %llu labels)  95%% interval %.4f to %.4f\n", unit(b->balanced),
                (unsigned long long)b->labels, unit(b->balanced_interval.low_micro),
                unit(b->balanced_interval.high_micro));
    kit_buf_fmt(out, "baseline  %.4f  by always answering \"", unit(b->accuracy));
    add_escaped(out, b->label, 0);
    kit_buf_fmt(out, "\": %s%s\n", standings[score_stands(a, b, gates->balanced)],
                gates->balanced ? " in balanced accuracy" : "");
}

kit_status score_report_text(const score_k *k, const score_answers *a, const score_gates *gates, const char *advice,
                             size_t confusions, kit_buf *out, kolm_error_t *err) {
    kit_buf_fmt(out, "K-score   %.4f  (gate %.4f)\n", unit(k->k), unit(gates->k_micro));
    kit_buf_fmt(out, "accuracy  %.4f  (gate %.4f)  95%% interval %.4f to %.4f, n = %llu\n", unit(k->accuracy),
                unit(gates->accuracy_micro), unit(k->accuracy_interval.low_micro),
                unit(k->accuracy_interval.high_micro), (unsigned long long)a->answered);
    score_baseline baseline;
    score_baseline_of(a, &baseline);
    add_baseline(out, a, &baseline, gates);
    kit_buf_fmt(out, "coverage  %.4f   size %.4f   latency %.4f   cost %.4f\n", unit(k->coverage), unit(k->size),
                unit(k->latency), unit(k->cost));
    kit_buf_fmt(out, "calibration error (ECE, 15 bins)  %.4f\n", unit(score_ece_micro(a)));
    if (baseline.never_answered > 0) {
        kit_buf_str(out, "never answered: ");
        KIT_TRY(score_never_answered_text(a, 10, out, err));
        kit_buf_char(out, '\n');
    }
    kit_buf_fmt(out, "%s\n", score_ships(k, a, gates) ? "It ships." : "It does not ship.");
    if (advice != NULL && *advice != '\0') kit_buf_fmt(out, "\nWhat to try: %s\n", advice);
    kit_buf_str(out, "\nconfidence at least  answers  coverage  accuracy\n");
    for (size_t i = 0; i < THRESHOLD_COUNT; i++) {
        score_bin sum = above(a, shown_thresholds[i]);
        kit_buf_fmt(out, "%19.2f %8llu %8.1f%% %8.1f%%\n", shown_thresholds[i] / 100.0, (unsigned long long)sum.rows,
                    percent(sum.rows, a->rows), percent(sum.correct, sum.rows));
    }
    KIT_TRY(add_tables(a, confusions, out, err));
    return kit_buf_ok(out, err);
}

/* ---- The directory of a missed gate */

/* The full-width forms of the four signs count too. */
static bool is_formula(const char *text) {
    static const char *const begins[] = {"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (strncmp(text, begins[i], strlen(begins[i])) == 0) return true;
    return false;
}

/* Labels come from untrusted data, and spreadsheets evaluate fields that begin like a formula: such a field is prefixed
 * with an apostrophe, as OWASP advises ("CSV Injection"). Control characters are escaped; predictions.jsonl has every
 * label unchanged. */
static void csv_field(kit_buf *out, const char *text) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    kit_buf_str(out, is_formula(text) ? "\"'" : "\"");
    for (const char *p = kit_buf_text(&shown); *p != '\0'; p++) {
        if (*p == '"') kit_buf_char(out, '"');
        kit_buf_char(out, *p);
    }
    kit_buf_char(out, '"');
    out->failed = out->failed || shown.failed;
    kit_buf_free(&shown);
}

static kit_status confusions_csv(const score_answers *a, kit_buf *out, kolm_error_t *err) {
    uint32_t *order = score_sorted_pairs(a);
    if (order == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "out of memory while scoring");
    kit_buf_str(out, "rows,expected,answered\n");
    for (size_t i = 0; i < a->pair_count; i++) {
        kit_buf_fmt(out, "%llu,", (unsigned long long)a->pairs[order[i]].count);
        csv_field(out, a->labels[a->pairs[order[i]].truth].text);
        kit_buf_char(out, ',');
        csv_field(out, a->labels[a->pairs[order[i]].given].text);
        kit_buf_char(out, '\n');
    }
    free(order);
    return kit_buf_ok(out, err);
}

static kit_status put_file(const char *directory, const char *name, const kit_buf *text, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, name, &path, err));
    kit_status status = kit_write_file(path, 0644, kit_buf_text(text), text->length, err);
    free(path);
    return status;
}

static kit_status copy_bytes(int from, int to, kolm_error_t *err) {
    char chunk[65536];
    for (;;) {
        ssize_t got = read(from, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "cannot read the answers");
        if (got == 0) return KOLM_OK;
        KIT_TRY(kit_write_all(to, chunk, (size_t)got, err));
    }
}

static kit_status copy_file(const char *from_path, const char *directory, const char *name, kolm_error_t *err) {
    char *path = NULL;
    kit_atomic_file file;
    int from = open(from_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0) return kit_fail_errno(err, errno, "cannot open %s", from_path);
    kit_status status = kit_path_join(directory, name, &path, err);
    if (status == KOLM_OK) status = kit_atomic_open(path, 0644, &file, err);
    if (status == KOLM_OK) {
        status = copy_bytes(from, file.fd, err);
        if (status == KOLM_OK)
            status = kit_atomic_commit(&file, true, err);
        else
            kit_atomic_abort(&file);
    }
    close(from);
    free(path);
    return status;
}

kit_status score_write_failed(const char *directory, const score_k *k, const score_answers *a, const score_gates *gates,
                              const char *advice, const char *predictions_path, kolm_error_t *err) {
    kit_buf json = {0}, text = {0}, csv = {0};
    cJSON *report = score_report_object(k, a, gates);
    kit_status status = kit_json_pretty(report, &json, err);
    if (status == KOLM_OK) kit_buf_char(&json, '\n');
    if (status == KOLM_OK) status = score_report_text(k, a, gates, advice, MOST_CONFUSIONS, &text, err);
    if (status == KOLM_OK) status = confusions_csv(a, &csv, err);
    if (status == KOLM_OK) status = put_file(directory, "report.json", &json, err);
    if (status == KOLM_OK) status = put_file(directory, "report.txt", &text, err);
    if (status == KOLM_OK) status = put_file(directory, "confusions.csv", &csv, err);
    if (status == KOLM_OK) status = copy_file(predictions_path, directory, "predictions.jsonl", err);
    cJSON_Delete(report);
    kit_buf_free(&json);
    kit_buf_free(&text);
    kit_buf_free(&csv);
    return status;
}
