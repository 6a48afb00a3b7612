/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of the directory that a missed gate leaves: its report, its confusions, its answers. */
#include "report/gather.h"

#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPORT_MAX_BYTES (64u << 20)
#define LINE_MAX_BYTES (64u << 20)

static kit_status read_named(const char *directory, const char *name, kit_buf *out, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(directory, name, &path, err));
    kit_status status = kit_read_file(path, REPORT_MAX_BYTES, out, err);
    free(path);
    return status;
}

/* "support_ticket_router-1.0.0.failed": the version follows the last '-' before a digit. */
static void put_name(report_gathering *g, const char *directory) {
    size_t length = strlen(directory);
    while (length > 1 && directory[length - 1] == '/')
        length--;
    size_t from = length;
    while (from > 0 && directory[from - 1] != '/')
        from--;
    size_t end = length;
    if (length - from > 7 && strncmp(directory + length - 7, ".failed", 7) == 0) end -= 7;
    size_t dash = 0;
    for (size_t i = from; i + 1 < end; i++)
        if (directory[i] == '-' && directory[i + 1] >= '0' && directory[i + 1] <= '9') dash = i;
    g->facts.name = gather_format(g, "%.*s", (int)((dash > from ? dash : end) - from), directory + from);
    if (dash > from) g->facts.version = gather_format(g, "%.*s", (int)(end - dash - 1), directory + dash + 1);
}

/* ---- Why it was not shipped */

static void put_why(report_gathering *g, const cJSON *report, const char *advice, kolm_error_t *err) {
    const report_score *s = &g->facts.score;
    bool better = true;
    kit_buf why = {0};
    if (s->k < s->k_gate) kit_buf_fmt(&why, "K is %.3f, below the gate of %.3f. ", s->k, s->k_gate);
    if (s->accuracy < s->accuracy_gate)
        kit_buf_fmt(&why, "The accuracy is %.1f %%, below the gate of %.1f %%. ", 100 * s->accuracy,
                    100 * s->accuracy_gate);
    if (kit_json_get_bool(report, "better_than_baseline", &better) && !better)
        kit_buf_str(&why, "It is not clearly better than always giving one answer. ");
    if (advice != NULL) kit_buf_fmt(&why, "What to try: %s", advice);
    g->failed = g->failed || why.failed;
    if (report_gather_notice(g, REPORT_BAD, "This model was not shipped.", kit_buf_text(&why), err) != KOLM_OK ||
        report_gather_notice(
            g, REPORT_DOUBT, "Nothing here is signed.",
            "A model that missed its gate has no signature and no receipt: this page shows what its files say.",
            err) != KOLM_OK)
        g->failed = true;
    kit_buf_free(&why);
}

/* The line of report.txt with the advice; NULL: none. */
static const char *advice_of(report_gathering *g, const kit_buf *text) {
    static const char head[] = "\nWhat to try: ";
    const char *at = strstr(kit_buf_text(text), head);
    if (at == NULL) return NULL;
    at += sizeof head - 1;
    return gather_format(g, "%.*s", (int)strcspn(at, "\n"), at);
}

/* ---- Confusions and thresholds of report.json */

static int by_label(const void *a, const void *b) {
    const report_label *const *x = a, *const *y = b;
    return strcmp((*x)->label, (*y)->label);
}

static bool find_label(report_label *const *sorted, size_t count, const char *label, const report_label *first,
                       size_t *out) {
    const report_label wanted = {.label = label}, *key = &wanted;
    report_label *const *found = bsearch(&key, sorted, count, sizeof *sorted, by_label);
    if (found != NULL) *out = (size_t)(*found - first);
    return found != NULL;
}

static void put_confusions(report_gathering *g, const cJSON *array) {
    const int most = cJSON_GetArraySize(array);
    const size_t labels = g->facts.label_count;
    if (most <= 0 || labels == 0 || g->failed) return;
    report_label **sorted = calloc(labels, sizeof *sorted);
    g->confusions = calloc((size_t)most, sizeof *g->confusions);
    if (sorted == NULL || g->confusions == NULL) {
        g->failed = true;
        free(sorted);
        return;
    }
    for (size_t i = 0; i < labels; i++)
        sorted[i] = &g->labels[i];
    qsort(sorted, labels, sizeof *sorted, by_label);
    for (const cJSON *item = array->child; item != NULL; item = item->next) {
        const char *truth = NULL, *given = NULL;
        report_confusion *c = &g->confusions[g->facts.confusion_count];
        if (!kit_json_get_string(item, "expected", &truth) || !kit_json_get_string(item, "answered", &given)) continue;
        if (!find_label(sorted, labels, truth, g->labels, &c->truth) ||
            !find_label(sorted, labels, given, g->labels, &c->given))
            continue;
        c->rows = gather_count(item, "rows");
        g->facts.confusion_count++;
    }
    free(sorted);
    uint64_t missed = g->facts.score.answered - g->facts.score.correct;
    for (size_t i = 0; i < g->facts.confusion_count && missed > 0; i++)
        missed -= g->confusions[i].rows < missed ? g->confusions[i].rows : missed;
    if (missed > 0 && g->facts.score.answered >= g->facts.score.correct)
        g->facts.confusions_how =
            gather_format(g, "report.json keeps the commonest confusions only: %llu mistakes are not in this table.",
                          (unsigned long long)missed);
}

static void put_thresholds(report_gathering *g, const cJSON *array) {
    const cJSON *item;
    if (!cJSON_IsArray(array)) return;
    cJSON_ArrayForEach(item, array) {
        report_threshold *t = &g->thresholds[g->facts.threshold_count];
        const double accuracy = gather_number(item, "accuracy");
        if (g->facts.threshold_count == GATHER_THRESHOLDS) break;
        *t = (report_threshold){.confidence = gather_number(item, "confidence"),
                                .answers = gather_count(item, "answers")};
        if (!(accuracy >= 0 && accuracy <= 1) || !(t->confidence >= 0 && t->confidence <= 1)) continue;
        t->correct =
            (uint64_t)(accuracy * (double)t->answers + 0.5); /* to six decimals: exact below a million answers */
        if (g->facts.threshold_count > 0 && t->confidence <= t[-1].confidence) continue;
        g->facts.threshold_count++;
    }
}

/* ---- Calibration: the thresholds have their accuracy, the answers their confidence */

/* One bin between each threshold and the next one. */
static void begin_bins(report_gathering *g) {
    const size_t count = g->facts.threshold_count < GATHER_BINS ? g->facts.threshold_count : GATHER_BINS;
    for (size_t i = 0; i < count; i++) {
        const report_threshold *t = &g->thresholds[i],
                               next = i + 1 < count ? t[1] : (report_threshold){.confidence = 1};
        if (t->answers < next.answers || t->correct < next.correct) return;
        g->bins[i] = (report_bin){.from = t->confidence,
                                  .to = next.confidence,
                                  .rows = t->answers - next.answers,
                                  .correct = t->correct - next.correct};
        g->bins[i].accuracy = gather_wilson(g->bins[i].correct, g->bins[i].rows);
    }
    g->facts.bin_count = count;
}

static bool get_confidence(kit_json_walk *walk, const char *line, size_t length, double *out) {
    kit_json_part key, value;
    bool found = kit_utf8_valid(line, length) == length && kit_json_walk_begin(walk, line, length, NULL) == KOLM_OK &&
                 walk->object;
    bool given = false, known = false;
    while (found && kit_json_walk_next(walk, &key, &value, &found, NULL) == KOLM_OK && found) {
        char text[64];
        if (kit_json_part_is(&key, "output")) given = value.kind == KIT_JSON_STRING;
        if (!kit_json_part_is(&key, "confidence") || value.kind != KIT_JSON_NUMBER || value.length >= sizeof text)
            continue;
        kit_copy(text, value.length + 1, value.bytes);
        *out = strtod(text, NULL);
        known = *out >= 0 && *out <= 1;
    }
    return given && known;
}

/* False if the answers are not those that were counted. */
static bool finish_bins(report_gathering *g, const uint64_t *rows) {
    for (size_t i = 0; i < g->facts.bin_count; i++) {
        if (rows[i] != g->bins[i].rows) return false;
        if (rows[i] > 0) g->bins[i].confidence /= (double)rows[i];
    }
    return true;
}

static kit_status read_answers(report_gathering *g, int fd, kolm_error_t *err) {
    uint64_t rows[GATHER_BINS] = {0};
    kit_lines *lines = NULL;
    kit_json_walk walk = {0};
    const char *line = NULL;
    size_t length = 0;
    double confidence = 0;
    kit_status status = kit_lines_open(fd, LINE_MAX_BYTES, &lines, err);
    while (status == KOLM_OK) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        if (!get_confidence(&walk, line, length, &confidence)) continue;
        size_t i = g->facts.bin_count;
        /* Thresholds were counted by whole per cent. */
        while (i > 0 && floor(confidence * 100) < floor(g->bins[i - 1].from * 100 + 0.5))
            i--;
        if (i == 0) continue;
        g->bins[i - 1].confidence += confidence;
        rows[i - 1]++;
    }
    kit_lines_close(lines);
    kit_json_walk_free(&walk);
    if (status == KOLM_OK && !finish_bins(g, rows)) {
        g->facts.bin_count = 0;
        g->facts.answers_how =
            "predictions.jsonl has other answers than report.json counted: there is no calibration curve.";
    }
    return status;
}

static kit_status put_calibration(report_gathering *g, const char *directory, kolm_error_t *err) {
    char *path = NULL;
    struct stat info;
    begin_bins(g);
    if (g->facts.bin_count == 0) return KOLM_OK;
    KIT_TRY(kit_path_join(directory, "predictions.jsonl", &path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    free(path);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        g->facts.bin_count = 0;
        g->facts.answers_how = "predictions.jsonl cannot be read: there is no calibration curve.";
        if (fd >= 0) close(fd);
        return KOLM_OK;
    }
    kit_status status = read_answers(g, fd, err);
    close(fd);
    return status;
}

/* ---- All of it */

static bool is_report(const cJSON *report) {
    double k = 0;
    uint64_t n = 0;
    return cJSON_IsObject(report) && kit_json_get_number(report, "k", &k) && kit_json_get_u64(report, "n", &n);
}

static void put_report(report_gathering *g, const cJSON *report) {
    report_score *s = &g->facts.score;
    gather_score(g, report);
    s->k_gate = gather_number(report, "gate");
    s->accuracy_gate = gather_number(report, "min_accuracy");
    s->ece = gather_number(report, "ece");
    put_thresholds(g, kit_json_get(report, "by_confidence"));
    put_confusions(g, kit_json_get(report, "confusions"));
}

kit_status report_gather_failed(report_gathering *g, const char *directory, kolm_error_t *err) {
    kit_buf json = {0}, text = {0};
    cJSON *report = NULL;
    kolm_error_t ignored = KIT_ERROR_INIT;
    KIT_TRY(read_named(directory, "report.json", &json, err));
    kit_status status = kit_json_parse(kit_buf_text(&json), json.length, &report, err);
    if (status == KOLM_OK && !is_report(report)) status = kit_fail(err, KOLM_E_DATA_LOSS, "", "it has no score");
    if (status != KOLM_OK && status != KOLM_E_RESOURCE_EXHAUSTED) {
        char what[256];
        kit_copy(what, sizeof what, err->text);
        status = kit_fail(err, KOLM_E_DATA_LOSS, "use the directory as kolm compile left it",
                          "%s/report.json is not a report: %s", directory, what);
    }
    if (status == KOLM_OK) {
        if (read_named(directory, "report.txt", &text, &ignored) != KOLM_OK) kit_buf_clear(&text);
        put_name(g, directory);
        g->facts.verdict = "not shipped";
        g->facts.tone = REPORT_BAD;
        put_report(g, report);
        put_why(g, report, advice_of(g, &text), err);
        status = put_calibration(g, directory, err);
    }
    cJSON_Delete(report);
    kit_buf_free(&json);
    kit_buf_free(&text);
    return status == KOLM_OK ? gather_ok(g, err) : status;
}

kit_status report_gather_rows(report_gathering *g, const job_summary *s, kolm_error_t *err) {
    const struct {
        const char *name, *note;
        uint64_t count;
    } counts[] = {
        {"Rows to learn from", NULL, s->train_rows},
        {"Rows held out", NULL, s->eval_rows},
        {"Duplicates dropped", "rows that repeat another one: same question, same output", s->duplicates},
        {"Contradicting rows dropped", "the same question with several outputs, none of them clear", s->contradictions},
        {"Outvoted rows dropped", "most rows with the same question have another output", s->outvoted},
        {"Contradicting rows kept", NULL, s->kept_contradictions},
        {"Rows that are nearly the same as another", "each group was kept on one side of the split", s->grouped_rows},
        {"Labels that no held-out row has", "learned, never tested", s->lonely_labels + s->untested_labels}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].count > 0)
            gather_item(g, &g->data, counts[i].name, gather_count_text(g, counts[i].count), counts[i].note);
    return gather_ok(g, err);
}
