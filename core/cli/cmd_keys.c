/* SPDX-License-Identifier: Apache-2.0 */
/* kolm keys: the signing key of this home, and the trusted keys. */
#include "cli/backend_text.h"
#include "cli/cli.h"

#include "cli/options.h"
#include "cli/output.h"
#include "fleet/keys.h"
#include "fleet/publishers.h"

/* ---- list */

static void time_text(int64_t seconds, char out[RECEIPT_TIME_BYTES]) {
    if (!receipt_time_text(seconds, out)) out[0] = '\0';
}

static bool put_roles(cJSON *object, const receipt_trusted *t) {
    cJSON *array = cJSON_AddArrayToObject(object, "roles");
    return array && (!t->trusted || cJSON_AddItemToArray(array, cJSON_CreateString("artifacts"))) &&
           (!t->backends || cJSON_AddItemToArray(array, cJSON_CreateString("backends")));
}

static bool put_key(cJSON *array, const receipt_trusted *t) {
    char from[RECEIPT_TIME_BYTES] = "", to[RECEIPT_TIME_BYTES] = "";
    if (t->valid_from != RECEIPT_NO_START) time_text(t->valid_from, from);
    if (t->valid_to != RECEIPT_NO_END) time_text(t->valid_to, to);
    cJSON *item = cJSON_CreateObject();
    bool good = kit_json_put_string(item, "keyid", t->key.keyid) && kit_json_put_string(item, "label", t->label) &&
                kit_json_put_bool(item, "own", t->own) &&
                kit_json_put_bool(item, "trusted", t->trusted && !t->revoked) && put_roles(item, t) &&
                kit_json_put_bool(item, "revoked", t->revoked) &&
                kit_json_put_string(item, "reason", t->revoked ? t->reason : NULL) &&
                kit_json_put_string(item, "valid_from", from[0] != '\0' ? from : NULL) &&
                kit_json_put_string(item, "valid_to", to[0] != '\0' ? to : NULL);
    return cli_append(array, item, good);
}

static void print_key(cli_context *context, const receipt_trusted *t) {
    char to[RECEIPT_TIME_BYTES] = "";
    if (t->valid_to != RECEIPT_NO_END) time_text(t->valid_to, to);
    cli_print(context, "%s  %s%s%s  %s", t->key.keyid,
              t->revoked    ? "revoked"
              : t->own      ? "own"
              : !t->trusted ? (t->backends ? "trusted for backends" : "not trusted")
              : t->backends ? "trusted, also for backends"
                            : "trusted",
              to[0] != '\0' ? " until " : "", to, cli_safe(t->label));
    if (t->revoked) cli_print(context, "  (%s)", cli_safe(t->reason));
    cli_print(context, "\n");
}

static int keys_list(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {.command = "kolm keys list",
                               .words = "",
                               .summary = "Lists the keys that are trusted here, and those that are revoked."};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_keyring *ring = NULL;
    kit_status status = fleet_keyring_open(&context->session, &ring, &err);
    exit_code = CLI_EXIT_OK;
    if (status != KOLM_OK) {
        exit_code = cli_fail_own(context, &err);
    } else if (context->json) {
        cJSON *object = cJSON_CreateObject();
        bool good = kit_json_put_string(object, "schema", "kolm.keys/1");
        cJSON *array = good ? cJSON_AddArrayToObject(object, "keys") : NULL;
        good = array != NULL;
        for (size_t i = 0; good && i < receipt_keyring_count(ring); i++)
            good = put_key(array, receipt_keyring_at(ring, i));
        exit_code = cli_print_json(context, cli_whole(object, good), CLI_EXIT_OK);
    } else {
        for (size_t i = 0; i < receipt_keyring_count(ring); i++)
            print_key(context, receipt_keyring_at(ring, i));
        if (receipt_keyring_count(ring) == 0) cli_print(context, "no keys yet; the first `kolm compile` makes one\n");
    }
    receipt_keyring_free(ring);
    return exit_code;
}

/* Prints what a verb did to a key; more: a second field, or NULL. */
static int print_done(cli_context *context, const char *schema, const char *keyid, const char *more,
                      const char *value) {
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_string(object, "schema", schema) && kit_json_put_string(object, "keyid", keyid) &&
                (more == NULL || kit_json_put_string(object, more, value));
    return cli_print_json(context, cli_whole(object, good), CLI_EXIT_OK);
}

/* ---- export */

static int keys_export(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {
        .command = "kolm keys export",
        .words = "",
        .summary = "Prints the public half of the signing key, for others to trust; makes the key on first use."};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_key *key = NULL;
    kit_status status = fleet_key_own(&context->session, &key, &err);
    exit_code = CLI_EXIT_OK;
    if (status != KOLM_OK)
        exit_code = cli_fail_own(context, &err);
    else if (context->json)
        exit_code = print_done(context, "kolm.keys.export/1", receipt_key_public(key)->keyid, "public_key",
                               receipt_key_pem(key));
    else
        cli_print(context, "%s", receipt_key_pem(key));
    receipt_key_free(key);
    return exit_code;
}

/* ---- trust */

static int keys_trust(cli_context *context, int argc, char **argv) {
    fleet_key_trust r = {0};
    const cli_option options[] = {
        {"label", 0, CLI_STRING, &r.label, "TEXT", "your label for the key"},
        {"from", 0, CLI_STRING, &r.from, "DATE", "trust nothing signed before"},
        {"to", 0, CLI_STRING, &r.to, "DATE", "trust nothing signed after"},
    };
    const cli_syntax syntax = {.command = "kolm keys trust",
                               .words = "FILE.pem",
                               .summary = "Trusts signatures of this public key from now on.",
                               CLI_ROWS(options)};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_public key;
    r.file = argv[0];
    kit_status status = fleet_key_trust_file(&context->session, &r, &key, &err);
    if (status != KOLM_OK) return cli_fail_own(context, &err);
    if (context->json) return print_done(context, "kolm.keys.trust/1", key.keyid, NULL, NULL);
    cli_print(context, "trusted %s\n", key.keyid);
    return CLI_EXIT_OK;
}

/* ---- revoke, rotate */

/* Lists the plugins that this stops. The key is already revoked; a failure here does not undo that. */
static int print_revoked(cli_context *context, const char *keyid) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *backends = NULL;
    if (fleet_signed_by(&context->session, keyid, &backends, &err) != KOLM_OK)
        cli_warn(context, "which backends it signed is not known: %s", cli_safe(err.text));
    if (!context->json) {
        cli_print(context, "revoked %s\n", keyid);
        cli_signed_print(context, backends, "refused from now on:", false);
        cJSON_Delete(backends);
        return CLI_EXIT_OK;
    }
    cJSON *object = cJSON_CreateObject();
    bool good =
        kit_json_put_string(object, "schema", "kolm.keys.revoke/1") && kit_json_put_string(object, "keyid", keyid);
    if (good)
        good = backends ? kit_json_put(object, "backends", backends) : kit_json_put_null(object, "backends");
    else
        cJSON_Delete(backends);
    return cli_print_json(context, cli_whole(object, good), CLI_EXIT_OK);
}

static int keys_revoke(cli_context *context, int argc, char **argv) {
    const char *reason = NULL;
    const cli_option options[] = {{"reason", 0, CLI_STRING, &reason, "TEXT", "the reason; stored with the key"}};
    const cli_syntax syntax = {.command = "kolm keys revoke",
                               .words = "KEYID",
                               .summary =
                                   "Revokes this key permanently, for models and for plugins. This cannot be undone.",
                               CLI_ROWS(options)};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    char keyid[KIT_SHA256_HEX];
    kit_status status = fleet_key_revoke(&context->session, argv[0], reason != NULL ? reason : "", keyid, &err);
    return status == KOLM_OK ? print_revoked(context, keyid) : cli_fail_own(context, &err);
}

static int keys_rotate(cli_context *context, int argc, char **argv) {
    const cli_syntax syntax = {
        .command = "kolm keys rotate",
        .words = "",
        .summary =
            "Replaces the signing key; the old one signs for the new one, and what it signed before stays trusted."};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_public old_key, new_key;
    kit_status status = fleet_key_rotate(&context->session, &old_key, &new_key, &err);
    if (status != KOLM_OK) return cli_fail_own(context, &err);
    if (context->json) return print_done(context, "kolm.keys.rotate/1", new_key.keyid, "replaces", old_key.keyid);
    cli_print(context, "old  %s\nnew  %s\n", old_key.keyid, new_key.keyid);
    return CLI_EXIT_OK;
}

static const cli_command verbs[] = {
    {"list", "the keys that are trusted here", keys_list},
    {"export", "print the public half of the signing key", keys_export},
    {"trust", "trust a public key", keys_trust},
    {"revoke", "never trust a key again", keys_revoke},
    {"rotate", "replace the signing key", keys_rotate},
};

int cli_cmd_keys(cli_context *context, int argc, char **argv) {
    return cli_group_of(context, "kolm keys", "which key signs here, and whose signatures count.", verbs,
                        sizeof verbs / sizeof *verbs, argc, argv);
}
