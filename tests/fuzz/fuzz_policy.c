/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the user's policy.json (first part) and the signature next to a plugin (second part, "" for none). A
 * policy is parsed or an error, never skipped; a plugin is admitted only with a signature of exactly these files by a
 * trusted key, or if no signature is required. */
#include "fleet/policy.h"

#include "fuzz.h"
#include "host/host.h"
#include "kolm/kit/digest.h"
#include "receipt/dsse.h"
#include "receipt/internal.h"

#include <string.h>
#include <sys/stat.h>

#define NAME "acme"
#define PLUGIN                                                                                                         \
    "\x7F"                                                                                                             \
    "ELF is not read here"
#define MANIFEST                                                                                                       \
    "{\"name\":\"acme\",\"kind\":\"local\",\"tier\":1,\"train\":true,\"infer\":tr"                                     \
    "ue,\"airgap\":\"yes\",\"billing\":\"free\",\"cost_per_hour_usd\":0,\"cold"                                        \
    "_start_seconds\":0,\"vram_cap_gb\":null,\"auth\":[],\"requires\":[],\""                                           \
    "runtime\":\"r\",\"summary\":\"s\"}"

/* The signers: a trusted publisher, a revoked one, and the user. Seeds {1}, {2}, {3}. */
enum { PUBLISHER, REVOKED, OWN, KEYS };

static kolm_session session;
static const host_backend *row;
static receipt_public keys[KEYS];
static kit_buf statement;

static void make_statement(void) {
    char sha256[KIT_SHA256_HEX];
    cJSON *json = cJSON_CreateObject();
    must(kit_sha256_bytes(MANIFEST, strlen(MANIFEST), sha256, NULL) == KOLM_OK);
    must(kit_json_put_string(json, "manifest_sha256", sha256) && kit_json_put_string(json, "name", NAME));
    must(kit_sha256_bytes(PLUGIN, strlen(PLUGIN), sha256, NULL) == KOLM_OK);
    must(kit_json_put_string(json, "plugin_sha256", sha256));
    must(kit_json_canonical(json, &statement, NULL) == KOLM_OK);
    cJSON_Delete(json);
}

static void make_keys(void) {
    char keyid[KIT_SHA256_HEX];
    for (int i = 0; i < KEYS; i++) {
        const uint8_t seed[32] = {(uint8_t)(i + 1)};
        receipt_key *key = NULL;
        must(receipt_key_from_seed(seed, &key, NULL) == KOLM_OK);
        keys[i] = *receipt_key_public(key);
        const char *directory = fuzz_path("keys");
        must(kit_mkdirs(directory, 0700, NULL) == KOLM_OK);
        if (i == OWN)
            must(receipt_key_store(directory, key, true, NULL) == KOLM_OK);
        else
            must(receipt_keys_trust_backends(directory, &keys[i], "", RECEIPT_NO_START, RECEIPT_NO_END, 0, NULL) ==
                 KOLM_OK);
        if (i == REVOKED) must(receipt_keys_revoke(directory, keys[i].keyid, "", 0, keyid, NULL) == KOLM_OK);
        receipt_key_free(key);
    }
}

static void set_up(void) {
    static host_registry *registry;
    static char directory[256];
    const char *const directories[] = {directory};
    const host_scan_options where = {.dirs = directories, .dir_count = 1};
    session_init(&session, NULL, (session_sink){0});
    must(store_home_at(fuzz_directory(), &session.home_kept, NULL) == KOLM_OK);
    make_keys();
    make_statement();
    kit_copy(directory, sizeof directory, fuzz_path("plugins"));
    must(kit_mkdirs(directory, 0700, NULL) == KOLM_OK);
    fuzz_put("plugins/" NAME HOST_SUFFIX, PLUGIN, strlen(PLUGIN));
    fuzz_put("plugins/" NAME ".json", MANIFEST, strlen(MANIFEST));
    /* A signature is only looked for if the scan found one; each input replaces it. */
    fuzz_put("plugins/" NAME HOST_SUFFIX ".sig", "{}", 2);
    must(host_scan(&where, &registry, NULL) == KOLM_OK);
    row = host_find(registry, NAME);
    must(row != NULL && row->manifest != NULL);
}

/* A simple second implementation: true if signatures are required and this plugin is not an exception. */
static bool demanded(const char *text, size_t length) {
    cJSON *json = NULL;
    const char *word = "";
    if (kit_json_parse(text, length, &json, NULL) != KOLM_OK) return false;
    const cJSON *plugins = kit_json_get(json, "plugins"), *one;
    bool required = kit_json_get_string(plugins, "signatures", &word) && strcmp(word, "required") == 0;
    cJSON_ArrayForEach(one, kit_json_get(plugins, "except")) required =
        required && !(cJSON_IsString(one) && strcmp(one->valuestring, NAME) == 0);
    cJSON_Delete(json);
    return required;
}

/* True if the text is a signature of these files by a trusted key; out_signs: which keys signed it, whatever its
 * content. */
static bool vouched(const char *text, size_t length, bool out_signs[KEYS]) {
    receipt_envelope envelope = {0};
    memset(out_signs, 0, KEYS * sizeof *out_signs);
    if (receipt_envelope_parse(text, length, &envelope, NULL) != KOLM_OK) return false;
    for (int i = 0; i < KEYS; i++)
        must(receipt_envelope_signed_by(&envelope, &keys[i], &out_signs[i], NULL) == KOLM_OK);
    bool agrees = strcmp(envelope.type, FLEET_PLUGIN_TYPE) == 0 && envelope.payload.length == statement.length &&
                  memcmp(envelope.payload.data, statement.data, statement.length) == 0;
    receipt_envelope_free(&envelope);
    return agrees && (out_signs[PUBLISHER] || out_signs[OWN]);
}

static void judge(fleet_policy *policy, const char *text, size_t length) {
    kolm_error_t why = KIT_ERROR_INIT;
    bool signs[KEYS];
    char described[512];
    char keyid[KIT_SHA256_HEX];
    bool good = vouched(text, length, signs), needed = fleet_policy_demands(policy, NAME, NULL), believed = false;
    kit_status status = fleet_policy_admit(policy, row, &why);
    if (status != KOLM_OK) fuzz_refused(status, &why);
    if (status == KOLM_OK && needed) must(good);
    /* A signature by a known key of other files, or by a revoked key, is rejected even if none is required. */
    if (status == KOLM_OK && (signs[PUBLISHER] || signs[OWN])) must(good);
    if (signs[REVOKED] && !signs[PUBLISHER] && !signs[OWN]) must(status == KOLM_E_PERMISSION_DENIED);
    if (good && !signs[REVOKED]) must(status == KOLM_OK);
    if (length == 0) must((status == KOLM_OK) == !needed);
    bool known = fleet_policy_signer(policy, row, keyid, &believed);
    must(believed == good && (!believed || known));
    fleet_policy_describe(policy, row, described, sizeof described);
    must(fuzz_plain(described));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    fuzz_parts parts = {(const char *)data, size};
    size_t length, signature_length;
    char *text = fuzz_part(&parts, &length), *signature = fuzz_part(&parts, &signature_length);
    fleet_policy *policy = NULL;
    if (row == NULL) set_up();
    fuzz_put_any("policy.json", text, length);
    fuzz_put_any("plugins/" NAME HOST_SUFFIX ".sig", signature, signature_length);
    kit_status status = fleet_policy_load(&session, &policy, &err);
    if (status == KOLM_OK) {
        if (demanded(text, length)) must(fleet_policy_demands(policy, NAME, NULL));
        judge(policy, signature, signature_length);
    } else {
        must(policy == NULL);
        fuzz_refused(status, &err);
    }
    fleet_policy_free(policy);
    free(text);
    free(signature);
    return 0;
}
