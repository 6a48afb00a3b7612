/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend sign: who stands behind a plugin. */
#include "cli/cli.h"

#include "cli/options.h"
#include "cli/output.h"
#include "fleet/policy.h"
#include "kolm/kit/digest.h"
#include "receipt/keys.h"

#include <stdlib.h>
#include <string.h>

static int failed(cli_context *context, kit_status status, const kolm_error_t *err) {
    bool of_user = status == KOLM_E_PERMISSION_DENIED || status == KOLM_E_FAILED_PRECONDITION;
    return cli_error(context, of_user ? SESSION_EXIT_USAGE : session_exit_of(status), err);
}

static int print_json(cli_context *context, const char *path, const char *keyid) {
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", "kolm.backend.sign/1") &&
                kit_json_put_string(value, "signature", path) && kit_json_put_string(value, "keyid", keyid);
    return cli_print_json(context, cli_whole(value, good), SESSION_EXIT_OK);
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
    kit_status status = fleet_plugin_sign(&context->session, argv[0], &path, keyid, &err);
    if (status != KOLM_OK) {
        exit_code = failed(context, status, &err);
    } else if (context->json) {
        exit_code = print_json(context, path, keyid);
    } else {
        cli_print(context, "signed  %s\nkey     %s\n", cli_safe(path), keyid);
        exit_code = SESSION_EXIT_OK;
    }
    free(path);
    return exit_code;
}
