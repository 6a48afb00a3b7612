/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend sign: signs a plugin with the key of this home. */
#include "cli/cli.h"

#include "cli/options.h"
#include "cli/output.h"
#include "fleet/policy.h"
#include "kolm/kit/digest.h"
#include "receipt/keys.h"

#include <stdlib.h>
#include <string.h>

static int print_json(cli_context *context, const char *path, const char *keyid) {
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", "kolm.backend.sign/1") &&
                kit_json_put_string(value, "signature", path) && kit_json_put_string(value, "keyid", keyid);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

int cli_backend_sign(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {
        .command = "kolm backend sign",
        .words = "FILE.so",
        .summary = "Signs a plugin and the manifest next to it with the key of this home; writes FILE.so.sig.",
        .notes = "`kolm keys export` prints the public key that others give to `kolm backend trust`.",
    };
    kolm_error_t err = KIT_ERROR_INIT;
    char *path = NULL, keyid[KIT_SHA256_HEX];
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = fleet_plugin_sign(&context->session, argv[0], &path, keyid, &err);
    if (status != KOLM_OK) {
        exit_code = cli_fail_own(context, &err);
    } else if (context->json) {
        exit_code = print_json(context, path, keyid);
    } else {
        cli_print(context, "signed  %s\nkey     %s\n", cli_safe(path), keyid);
        exit_code = CLI_EXIT_OK;
    }
    free(path);
    return exit_code;
}
