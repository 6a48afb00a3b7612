/* SPDX-License-Identifier: Apache-2.0 */
/* kolm verify: checks a compiled model, and prints one verdict. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "model/model.h"

/* --receipts: trust in the content alone is not sufficient. */
static void demand_receipts(model_handle *model) {
    receipt_report *r = &model->report;
    if (r->verdict != RECEIPT_TRUSTED || model->has_sidecar) return;
    r->verdict = RECEIPT_CHAIN_BROKEN;
    kit_format(r->text, sizeof r->text, "%s: there are no receipts next to it (%s)", receipt_verdict_name(r->verdict),
               model->sidecar_path);
    kit_copy(r->remedy, sizeof r->remedy, "put the .intoto.jsonl that was made with it next to it");
}

static int print_json(cli_context *context, const model_handle *model, const char *path, int exit_code) {
    const receipt_report *r = &model->report;
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_string(object, "schema", "kolm.verify/1") && kit_json_put_string(object, "file", path) &&
                kit_json_put_string(object, "verdict", model_verdict_name(model)) &&
                kit_json_put_bool(object, "trusted", r->verdict == RECEIPT_TRUSTED) &&
                kit_json_put_string(object, "text", r->text) && kit_json_put_string(object, "remedy", r->remedy) &&
                kit_json_put_string(object, "keyid", r->keyid) && kit_json_put_string(object, "label", r->label) &&
                kit_json_put_u64(object, "receipts", r->receipts) &&
                kit_json_put_bool(object, "in_local_chain", r->in_local_chain) &&
                kit_json_put_string(object, "sha256", model->file_sha256[0] != '\0' ? model->file_sha256 : NULL) &&
                kit_json_put_string(object, "manifest_sha256",
                                    model->artifact != NULL ? artifact_manifest_sha256(model->artifact) : NULL);
    if (good && r->receipt != NULL) good = kit_json_put(object, "receipt", cJSON_Duplicate(r->receipt, 1));
    return cli_print_json(context, cli_whole(object, good), exit_code);
}

static void print_human(cli_context *context, const model_handle *model) {
    const receipt_report *r = &model->report;
    bool trusted = r->verdict == RECEIPT_TRUSTED;
    if (model->artifact != NULL) {
        cli_print(context, "structure    canonical, %zu entries\n", artifact_entry_count(model->artifact));
        cli_print(context, "manifest     sha256 %s\n", artifact_manifest_sha256(model->artifact));
    }
    if (model->file_sha256[0] != '\0') cli_print(context, "file         sha256 %s\n", model->file_sha256);
    if (r->keyid[0] != '\0')
        cli_print(context, "key          %s%s%s\n", r->keyid, r->label[0] != '\0' ? "  " : "", cli_safe(r->label));
    if (model->artifact != NULL)
        cli_print(context, "receipts     %zu%s\n", r->receipts,
                  r->in_local_chain ? ", in the chain of this machine" : "");
    const cJSON *compute = kit_json_get(kit_json_get(r->receipt, "metrics"), "compute");
    const char *backend = NULL, *device = NULL;
    bool named = kit_json_get_string(compute, "device", &device);
    if (kit_json_get_string(compute, "backend", &backend))
        cli_print(context, "made by      %s on %s%s\n", cli_safe(backend),
                  named ? cli_safe(device) : "an unnamed device", named ? " (as reported by the backend)" : "");
    cli_print(context, "%s\n", cli_styled(context, trusted ? CLI_GREEN : CLI_RED, cli_safe(r->text)));
    if (r->remedy[0] != '\0') cli_print(context, "  -> %s\n", cli_safe(r->remedy));
}

int cli_cmd_verify(cli_context *context, int argc, char **argv) {
    bool deep = false, receipts = false;
    const cli_option options[] = {
        {"receipts", 0, CLI_FLAG, &receipts, NULL, "trust no model without the receipts that say how it was made"},
        {"deep", 0, CLI_FLAG, &deep, NULL, "hash the file and every entry in it, even if a receipt covers the file"}};
    const cli_syntax syntax = {
        .command = "kolm verify",
        .words = "FILE.kolm",
        .summary = "Checks whether a compiled model is what its signer signed, and whether the signer is trusted here.",
        .notes = "The verdict is one of: trusted, valid but unknown key, revoked, expired, tampered, malformed, chain "
                 "broken, could not\nbe checked. The exit code is 0 for trusted, 8 if it could not be checked (memory, "
                 "disk, keyring or log), and 7 for the\nothers. verify-without-kolm.sh of the documentation follows "
                 "the rule of --receipts with openssl alone.",
        CLI_ROWS(options),
    };
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    model_handle model;
    session_reason reason = SESSION_REASON_NONE;
    kit_status status = model_handle_open(&context->session, argv[0], deep ? MODEL_TRUST_DEEP : MODEL_TRUST_RECEIPTS,
                                          &model, &reason, &err);
    bool told = status != KOLM_OK && model_report_failure(&model, status, &err);
    if (status == KOLM_OK && receipts) demand_receipts(&model);
    if (told && model.report.remedy[0] == '\0')
        kit_copy(model.report.remedy, sizeof model.report.remedy,
                 model.unjudged ? "this says nothing about the model; fix that and run the command again"
                                : "download the file again");
    if (status != KOLM_OK && (!told || cli_interrupted())) {
        exit_code = cli_fail(context, cli_interrupted() ? SESSION_REASON_INTERRUPTED : reason, &err);
    } else {
        exit_code = model.unjudged                            ? CLI_EXIT_UNJUDGED
                    : model.report.verdict == RECEIPT_TRUSTED ? CLI_EXIT_OK
                                                              : CLI_EXIT_VERIFY;
        if (context->json)
            exit_code = print_json(context, &model, argv[0], exit_code);
        else
            print_human(context, &model);
    }
    model_handle_close(&model);
    return exit_code;
}
