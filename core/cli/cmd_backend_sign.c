/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend sign and trust: who stands behind a plugin, and whose word counts here. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/plugin_policy.h"
#include "receipt/keys.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int failed(cli_context *context, kit_status status, const kolm_error_t *err) {
    bool of_user = status == KOLM_E_PERMISSION_DENIED || status == KOLM_E_FAILED_PRECONDITION;
    return cli_error(context, of_user ? CLI_EXIT_USAGE : cli_exit_of(status), err);
}

/* {"schema", FIELD: text unless FIELD is NULL, "keyid"} */
static int print_json(cli_context *context, const char *schema, const char *field, const char *text,
                      const char *keyid) {
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", schema) && (!field || kit_json_put_string(value, field, text)) &&
                kit_json_put_string(value, "keyid", keyid);
    if (!good) {
        cJSON_Delete(value);
        value = NULL;
    }
    return cli_print_json(context, value, CLI_EXIT_OK);
}

int cli_backend_sign(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {
        .command = "kolm backend sign",
        .words = "FILE.so",
        .summary = "Signs a plugin and the manifest beside it with the key of this home; writes FILE.so.sig.",
        .notes = "`kolm keys export` prints the public key that others give to `kolm backend trust`.",
        .min_words = 1,
        .max_words = 1,
        .words_out = argv};
    kolm_error_t err = KIT_ERROR_INIT;
    char *path = NULL, keyid[KIT_SHA256_HEX];
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = cli_plugin_sign(context, argv[0], &path, keyid, &err);
    if (status != KOLM_OK) {
        exit_code = failed(context, status, &err);
    } else if (context->json) {
        exit_code = print_json(context, "kolm.backend.sign/1", "signature", path, keyid);
    } else {
        cli_print(context, "signed  %s\nkey     %s\n", cli_safe(path), keyid);
        exit_code = CLI_EXIT_OK;
    }
    free(path);
    return exit_code;
}

static kit_status trust(cli_context *context, const char *file, const char *label, receipt_public *out_key,
                        kolm_error_t *err) {
    store_home *home = NULL;
    char *dir = NULL;
    KIT_TRY(receipt_public_read(file, out_key, err));
    KIT_TRY(cli_home(context, &home, err));
    KIT_TRY(store_home_create(home, err));
    KIT_TRY(store_home_file(home, "backend-keys", &dir, err));
    kit_status status = kit_mkdirs(dir, 0700, err);
    if (status == KOLM_OK)
        status = receipt_keys_trust(dir, out_key, label ? label : "", RECEIPT_NO_START, RECEIPT_NO_END,
                                    (int64_t)time(NULL), err);
    free(dir);
    return status;
}

int cli_backend_trust(cli_context *context, int argc, char **argv) {
    const char *label = NULL;
    const cli_option options[] = {{"label", 0, CLI_STRING, &label, "TEXT", "whose key it is, in your words"}};
    const cli_syntax syntax = {
        .command = "kolm backend trust",
        .words = "KEY.pem",
        .summary = "Believes plugins that this public key signed.",
        .notes = "It is kept apart from the keys of `kolm keys trust`, which are about models. A policy.json in the\n"
                 "home directory, {\"plugins\":{\"signatures\":\"required\"}}, refuses every plugin that no such key "
                 "signed.",
        .options = options,
        .option_count = 1,
        .min_words = 1,
        .max_words = 1,
        .words_out = argv};
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_public key;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = trust(context, argv[0], label, &key, &err);
    if (status != KOLM_OK) return failed(context, status, &err);
    if (context->json) return print_json(context, "kolm.backend.trust/1", NULL, NULL, key.keyid);
    cli_print(context, "trusted for backends  %s\n", key.keyid);
    return CLI_EXIT_OK;
}
