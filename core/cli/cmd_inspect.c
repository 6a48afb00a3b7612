/* SPDX-License-Identifier: Apache-2.0 */
/* kolm inspect: the contents of a compiled model, from its manifest. */
#include "artifact/artifact.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "model/model.h"
#include "model/path.h"

#include <string.h>

static void print_text(cli_context *context, const cJSON *object, const char *key, const char *shown) {
    const char *text = NULL;
    if (kit_json_get_string(object, key, &text)) cli_print(context, "%-12s %s\n", shown, cli_safe(text));
}

/* A statement of the backend in the manifest. */
static void print_stated(cli_context *context, const cJSON *object, const char *key) {
    const char *text = NULL;
    if (kit_json_get_string(object, key, &text))
        cli_print(context, "%-12s %s (as reported by the backend)\n", key, cli_safe(text));
}

static double number(const cJSON *object, const char *key) {
    double value = 0;
    return kit_json_get_number(object, key, &value) ? value : 0;
}

static void print_rows(cli_context *context, const cJSON *data, const char *part, const char *shown) {
    const char *sha256 = NULL;
    const cJSON *object = kit_json_get(data, part);
    if (kit_json_get_string(object, "sha256", &sha256))
        cli_print(context, "%-12s %.0f rows, sha256 %s\n", shown, number(object, "rows"), cli_safe(sha256));
}

static void print_score(cli_context *context, const cJSON *k) {
    cli_print(context, "%-12s %.4f  (accuracy %.4f, coverage %.4f, size %.4f, latency %.4f, cost %.4f)\n", "K-score",
              number(k, "k"), number(k, "accuracy"), number(k, "coverage"), number(k, "size"), number(k, "latency"),
              number(k, "cost"));
    const cJSON *baseline = kit_json_get(k, "baseline"); /* older artifacts have none */
    const char *label = NULL;
    if (cJSON_IsObject(baseline)) {
        bool named = kit_json_get_string(baseline, "label", &label);
        cli_print(context, "%-12s %.4f  (always giving one answer%s%s%s: accuracy %.4f)\n", "balanced",
                  number(k, "balanced_accuracy"), named ? ", \"" : "", named ? cli_safe(label) : "", named ? "\"" : "",
                  number(baseline, "accuracy"));
    }
    cli_print(context, "%-12s %.0f correct of %.0f answered, n = %.0f\n", "measured", number(k, "correct"),
              number(k, "answered"), number(k, "n"));
}

static void print_labels(cli_context *context, const cJSON *report) {
    const cJSON *labels = kit_json_get(report, "labels");
    int count = cJSON_GetArraySize(labels), shown = 0;
    if (count == 0) return;
    cli_print(context, "%-12s %d:", "labels", count);
    for (const cJSON *item = labels->child; item != NULL && shown < 12; item = item->next, shown++)
        if (cJSON_IsString(item)) cli_print(context, " %s", cli_safe(item->valuestring));
    cli_print(context, "%s\n", shown < count ? " ..." : "");
}

/* Which base it is, and whether it is in the file. */
static void print_base(cli_context *context, const cJSON *base) {
    const char *name = NULL, *digest = NULL;
    char size[32];
    bool embedded = false;
    int files = cJSON_GetArraySize(kit_json_get(base, "files"));
    if (!kit_json_get_string(base, "name", &name)) return;
    embedded = kit_json_get_bool(base, "embedded", &embedded) && embedded;
    cli_print(context, "%-12s %s, %s of weights, %s\n", "base", cli_safe(name),
              session_bytes(size, sizeof size, (uint64_t)number(base, "bytes")),
              embedded ? "carried in this file" : "not in this file: found by its digest, or with --base DIR");
    if (!kit_json_get_string(base, "digest", &digest)) return;
    cli_print(context, "%-12s sha256 %s", "base digest", cli_safe(digest));
    if (files > 0) cli_print(context, ", of the %d file%s that were read", files, files == 1 ? "" : "s");
    cli_print(context, "\n");
}

/* In a model with a head the choice of the linear engine is only a part; the head answers. */
static void print_chosen(cli_context *context, const cJSON *report) {
    const cJSON *head = kit_json_get(report, "head");
    const char *chosen = NULL;
    double right = number(report, "oof_correct"), answered = number(report, "oof_answered");
    if (!cJSON_IsObject(head)) {
        print_stated(context, report, "chosen");
        return;
    }
    cli_print(context, "%-12s a head with lambda %.3f", "chosen", number(head, "lambda_micro") / 1e6);
    if (answered >= 1 && right >= 0 && right <= answered)
        cli_print(context, ", %.1f%% right in cross-validation", 100 * right / answered);
    cli_print(context, " (as reported by the backend)\n");
    if (kit_json_get_string(report, "chosen", &chosen))
        cli_print(context, "%-12s %s (as reported by the backend)\n", "linear part", cli_safe(chosen));
}

static void print_human(cli_context *context, artifact *a) {
    const cJSON *m = artifact_manifest(a);
    char size[32];
    print_text(context, m, "name", "name");
    print_text(context, m, "version", "version");
    print_text(context, m, "recipe", "recipe");
    print_base(context, kit_json_get(m, "base"));
    print_stated(context, m, "toolchain");
    print_score(context, kit_json_get(m, "kscore"));
    print_rows(context, kit_json_get(m, "data"), "train", "learned from");
    print_rows(context, kit_json_get(m, "data"), "eval", "measured on");
    print_labels(context, kit_json_get(m, "report"));
    print_chosen(context, kit_json_get(m, "report"));
    cli_print(context, "%-12s sha256 %s\n", "manifest", artifact_manifest_sha256(a));
    cli_print(context, "%-12s %s\n", "size", session_bytes(size, sizeof size, artifact_size(a)));
    for (size_t i = 0; i < artifact_entry_count(a); i++) {
        const artifact_entry *entry = artifact_entry_at(a, i);
        cli_print(context, "  %-32s %10s%s%s\n", entry->name, session_bytes(size, sizeof size, entry->size),
                  entry->sha256[0] != '\0' ? "  " : "", entry->sha256);
    }
    cli_print(context, "This is what the file says about itself; `kolm verify` says whether to trust it.\n");
}

static bool put_entries(cJSON *object, const artifact *a) {
    cJSON *array = cJSON_AddArrayToObject(object, "entries");
    bool good = array != NULL;
    for (size_t i = 0; good && i < artifact_entry_count(a); i++) {
        const artifact_entry *entry = artifact_entry_at(a, i);
        cJSON *item = cJSON_CreateObject();
        good = kit_json_put_string(item, "name", entry->name) && kit_json_put_u64(item, "offset", entry->offset) &&
               kit_json_put_u64(item, "size", entry->size);
        good = cli_append(array, item, good);
    }
    return good;
}

static int print_json(cli_context *context, const artifact *a) {
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_string(object, "schema", "kolm.inspect/1") &&
                kit_json_put_string(object, "manifest_sha256", artifact_manifest_sha256(a)) &&
                kit_json_put_u64(object, "size", artifact_size(a)) && put_entries(object, a) &&
                kit_json_put(object, "manifest", cJSON_Duplicate(artifact_manifest(a), 1));
    return cli_print_json(context, cli_whole(object, good), CLI_EXIT_OK);
}

/* Distinguishes a missing file, a damaged one and an unreadable one. */
static session_reason reason_of(kit_status status) {
    if (status == KOLM_E_DATA_LOSS || status == ARTIFACT_E_CHANGED) return SESSION_REASON_VERIFY;
    bool named = status == KOLM_E_NOT_FOUND || status == KOLM_E_PERMISSION_DENIED;
    return named || model_status_is_verdict(status) ? session_reason_of(status) : SESSION_REASON_UNJUDGED;
}

int cli_cmd_inspect(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {
        .command = "kolm inspect",
        .words = "FILE.kolm",
        .summary = "Shows what a compiled model contains: its manifest and its entries. Checks no signature.",
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    artifact *a = NULL;
    kit_status status = model_check_model_path(argv[0], &err);
    if (status == KOLM_OK) status = artifact_open(argv[0], &a, &err);
    if (status != KOLM_OK) return cli_fail(context, reason_of(status), &err);
    exit_code = CLI_EXIT_OK;
    if (context->json)
        exit_code = print_json(context, a);
    else
        print_human(context, a);
    artifact_close(a);
    return exit_code;
}
