/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend keys, trust and untrust: whose plugins are trusted here. */
#include "cli/backend_text.h"
#include "cli/cli.h"

#include "cli/options.h"
#include "cli/output.h"
#include "fleet/keys.h"

#include <stdlib.h>

/* ---- keys */

static const char *time_of(int64_t seconds, int64_t none, char out[RECEIPT_TIME_BYTES]) {
    if (seconds == none || !receipt_time_text(seconds, out)) return NULL;
    return out;
}

static bool put_key(cJSON *array, const fleet_publisher *p) {
    char from[RECEIPT_TIME_BYTES], to[RECEIPT_TIME_BYTES];
    const receipt_trusted *key = p->key;
    cJSON *o = cJSON_CreateObject();
    bool good = kit_json_put_string(o, "keyid", key->key.keyid) && kit_json_put_string(o, "label", key->label) &&
                kit_json_put_string(o, "source", p->source) &&
                kit_json_put_bool(o, "artifacts", key->trusted && key->backends) &&
                kit_json_put_bool(o, "revoked", p->revoked != NULL) &&
                kit_json_put_string(o, "reason", p->revoked ? p->revoked->reason : NULL) &&
                kit_json_put_string(o, "valid_from", time_of(key->valid_from, RECEIPT_NO_START, from)) &&
                kit_json_put_string(o, "valid_to", time_of(key->valid_to, RECEIPT_NO_END, to));
    return cli_append(array, o, good);
}

static void print_key(cli_context *context, const fleet_publisher *p) {
    char to[RECEIPT_TIME_BYTES];
    const char *end = time_of(p->key->valid_to, RECEIPT_NO_END, to);
    cli_print(context, "%s  %-7s  %s%s%s  %s", p->key->key.keyid, p->source, p->revoked ? "revoked" : "trusted",
              end ? " until " : "", end ? end : "", cli_safe(p->key->label));
    if (p->revoked && *p->revoked->reason) cli_print(context, "  (%s)", cli_safe(p->revoked->reason));
    cli_print(context, "\n");
}

static cJSON *to_json(const fleet_publisher *all, size_t count) {
    cJSON *value = cJSON_CreateObject();
    cJSON *array =
        kit_json_put_string(value, "schema", "kolm.backend.keys/1") ? cJSON_AddArrayToObject(value, "keys") : NULL;
    bool good = array != NULL;
    for (size_t i = 0; good && i < count; i++)
        good = put_key(array, &all[i]);
    return cli_whole(value, good);
}

int cli_backend_keys(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {.command = "kolm backend keys",
                               .words = "",
                               .summary = "Lists the keys whose plugins are trusted here, your own, your publishers', "
                                          "the machine's, and the revoked ones.",
                               .notes = "`kolm keys list` shows the keys for models, which are in the same keyring."};
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_policy *policy = NULL;
    fleet_publisher *all = NULL;
    size_t count = 0;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = fleet_policy_load(&context->session, &policy, &err);
    if (status == KOLM_OK) status = fleet_policy_publishers(policy, &all, &count, &err);
    exit_code = CLI_EXIT_OK;
    if (status != KOLM_OK) {
        exit_code = cli_fail_own(context, &err);
    } else if (context->json) {
        exit_code = cli_print_json(context, to_json(all, count), CLI_EXIT_OK);
    } else {
        for (size_t i = 0; i < count; i++)
            print_key(context, &all[i]);
        if (count == 0) cli_print(context, "no keys yet; `kolm backend trust KEY.pem` adds one\n");
    }
    free(all);
    fleet_policy_free(policy);
    return exit_code;
}

/* ---- trust */

/* {"schema", "keyid", "backends"}; takes backends, which may be NULL. */
static int print_done(cli_context *context, const char *schema, const char *keyid, cJSON *backends) {
    cJSON *value = cJSON_CreateObject();
    bool good = kit_json_put_string(value, "schema", schema) && kit_json_put_string(value, "keyid", keyid);
    if (good && backends) {
        good = kit_json_put(value, "backends", backends);
        backends = NULL;
    }
    cJSON_Delete(backends);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

int cli_backend_trust(cli_context *context, int argc, char **argv) {
    fleet_key_trust r = {.backends = true};
    const cli_option options[] = {{"label", 0, CLI_STRING, &r.label, "TEXT", "your label for the key"}};
    const cli_syntax syntax = {
        .command = "kolm backend trust",
        .words = "KEY.pem",
        .summary = "Trusts plugins signed by this public key.",
        .notes = "Trust is separate for each purpose: `kolm keys trust` is for models, this for plugins. "
                 "A\npolicy.json in the home directory, {\"plugins\":{\"signatures\":\"required\"}}, refuses every "
                 "plugin that is\nnot signed by such a key.",
        CLI_ROWS(options),
    };
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_public key;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    r.file = argv[0];
    kit_status status = fleet_key_trust_file(&context->session, &r, &key, &err);
    if (status != KOLM_OK) return cli_fail_own(context, &err);
    if (context->json) return print_done(context, "kolm.backend.trust/1", key.keyid, NULL);
    cli_print(context, "trusted for backends  %s\n", key.keyid);
    return CLI_EXIT_OK;
}

/* ---- untrust */

int cli_backend_untrust(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {
        .command = "kolm backend untrust",
        .words = "KEYID",
        .summary = "Stops trusting plugins signed by this key; trust for other purposes is unchanged.",
        .notes = "Its plugins count as not signed from then on: refused where a policy requires signatures, and "
                 "without\nthe grants of that signature. `kolm keys revoke` refuses them everywhere, permanently.",
    };
    kolm_error_t err = KIT_ERROR_INIT;
    char keyid[KIT_SHA256_HEX];
    cJSON *backends = NULL;
    bool revoked = false;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kit_status status = fleet_key_untrust(&context->session, argv[0], keyid, &backends, &revoked, &err);
    if (status != KOLM_OK) {
        cJSON_Delete(backends);
        return cli_fail_own(context, &err);
    }
    if (context->json) return print_done(context, "kolm.backend.untrust/1", keyid, backends);
    cli_print(context, "untrusted for backends  %s\n", keyid);
    cli_signed_print(context, backends,
                     revoked ? "stays refused, since the key is revoked:" : "counts as not signed from now on:", true);
    cJSON_Delete(backends);
    return CLI_EXIT_OK;
}
