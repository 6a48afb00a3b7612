/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the policy, checks signatures of plugins, and makes them. */
#include "fleet/policy.h"

#include "host/host.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "receipt/dsse.h"
#include "session/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POLICY_MAX 65536u
#define SIGNATURE_MAX 65536u

/* HOME/keys; HOME/backend-keys, where kolm stored publishers before keys had roles; the machine's. */
typedef enum ring { RING_HOME, RING_OLD, RING_MACHINE, RINGS } ring;

typedef struct policy_file {
    char *path;
    cJSON *json; /* NULL: no such file */
    bool required;
} policy_file;

struct fleet_policy {
    policy_file machine, user;
    char *key_dirs[RINGS];
    receipt_keyring *rings[RINGS]; /* read when the first signature is checked */
    bool rings_read;
};

/* ---- The files */

static kit_status fault(const char *path, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                    "write it as {\"plugins\":{\"signatures\":\"required\",\"except\":[]}}, or remove the file",
                    "the policy %s %s", path, what);
}

static kit_status check_plugins(policy_file *file, const cJSON *plugins, kolm_error_t *err) {
    const char *word;
    if (!cJSON_IsObject(plugins)) return fault(file->path, "has a \"plugins\" that is not an object", err);
    for (const cJSON *item = plugins->child; item; item = item->next) {
        if (strcmp(item->string, "signatures") == 0) {
            if (!kit_json_get_string(plugins, "signatures", &word) ||
                (strcmp(word, "required") != 0 && strcmp(word, "optional") != 0))
                return fault(file->path, "has a \"signatures\" that is neither \"required\" nor \"optional\"", err);
            file->required = strcmp(word, "required") == 0;
        } else if (strcmp(item->string, "except") == 0) {
            const cJSON *name;
            if (!cJSON_IsArray(item)) return fault(file->path, "has an \"except\" that is not an array of names", err);
            cJSON_ArrayForEach(name, item) if (!cJSON_IsString(name)) return fault(
                file->path, "has an \"except\" that is not an array of names", err);
        } else {
            return fault(file->path, "has a key in \"plugins\" that this kolm does not know", err);
        }
    }
    return KOLM_OK;
}

static kit_status read_file(policy_file *file, kolm_error_t *err) {
    struct stat info;
    /* lstat: a dangling link is an unreadable policy, not a missing one. */
    if (lstat(file->path, &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return KOLM_OK;
        return kit_fail_errno(err, errno, "cannot determine whether the policy %s exists", file->path);
    }
    kit_status trusted =
        host_trust_kept(file->path, "check what is in it, then replace it with one that only you can change", err);
    if (trusted != KOLM_OK) return kit_fail_context(err, "the policy is not used");
    kit_status status = kit_json_read(file->path, POLICY_MAX, &file->json, err);
    if (status != KOLM_OK) return kit_fail_context(err, "the policy");
    if (!cJSON_IsObject(file->json)) return fault(file->path, "is not a JSON object", err);
    for (const cJSON *item = file->json->child; item; item = item->next)
        if (strcmp(item->string, "plugins") != 0)
            return fault(file->path, "has a key that this kolm does not know", err);
    return file->json->child ? check_plugins(file, file->json->child, err) : KOLM_OK;
}

static kit_status find_places(kolm_session *session, fleet_policy *policy, kolm_error_t *err) {
    store_home *home = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(kit_path_join(session_machine_dir, store_place_name(STORE_POLICY), &policy->machine.path, err));
    KIT_TRY(kit_path_join(session_machine_dir, store_place_name(STORE_OLD_KEYS), &policy->key_dirs[RING_MACHINE], err));
    KIT_TRY(store_home_place(home, STORE_POLICY, &policy->user.path, err));
    KIT_TRY(store_home_place(home, STORE_OLD_KEYS, &policy->key_dirs[RING_OLD], err));
    return store_home_place(home, STORE_KEYS, &policy->key_dirs[RING_HOME], err);
}

kit_status fleet_policy_load(kolm_session *session, fleet_policy **out_policy, kolm_error_t *err) {
    fleet_policy *policy = calloc(1, sizeof *policy);
    kit_status status = policy ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = find_places(session, policy, err);
    if (status == KOLM_OK) status = read_file(&policy->machine, err);
    if (status == KOLM_OK) status = read_file(&policy->user, err);
    if (status == KOLM_OK)
        *out_policy = policy;
    else
        fleet_policy_free(policy);
    return status;
}

void fleet_policy_free(fleet_policy *policy) {
    if (!policy) return;
    for (int i = 0; i < RINGS; i++) {
        receipt_keyring_free(policy->rings[i]);
        free(policy->key_dirs[i]);
    }
    cJSON_Delete(policy->machine.json);
    cJSON_Delete(policy->user.json);
    free(policy->machine.path);
    free(policy->user.path);
    free(policy);
}

static bool file_demands(const policy_file *file, const char *name) {
    const cJSON *one;
    if (!file->required) return false;
    cJSON_ArrayForEach(one, kit_json_get(kit_json_get(file->json, "plugins"),
                                         "except")) if (strcmp(one->valuestring, name) == 0) return false;
    return true;
}

bool fleet_policy_demands(const fleet_policy *policy, const char *name, const char **out_path) {
    const policy_file *file = file_demands(&policy->machine, name) ? &policy->machine
                              : file_demands(&policy->user, name)  ? &policy->user
                                                                   : NULL;
    if (out_path) *out_path = file ? file->path : "";
    return file != NULL;
}

/* ---- What is signed */

/* "/a/x.so" -> "/a/x.so.sig" */
static kit_status signature_path(const char *plugin, char **out_path, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s.sig", plugin);
    KIT_TRY(kit_buf_ok(&path, err));
    *out_path = kit_buf_take(&path);
    return KOLM_OK;
}

/* {"libfoo.so.1": HEX, ...}: omitted if there are none, as in older signatures. */
static kit_status put_libs(cJSON *statement, const host_libs *libs, kolm_error_t *err) {
    if (libs->count == 0) return KOLM_OK;
    cJSON *object = cJSON_AddObjectToObject(statement, "libs_sha256");
    if (!object) return kit_no_memory(err);
    for (size_t i = 0; i < libs->count; i++) {
        char *path = NULL, sha[KIT_SHA256_HEX];
        kit_status status = kit_path_join(libs->directory, libs->names[i], &path, err);
        if (status == KOLM_OK) status = kit_sha256_file(path, sha, NULL, err);
        free(path);
        if (status == KOLM_OK && !kit_json_put_string(object, libs->names[i], sha)) status = kit_no_memory(err);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

kit_status fleet_plugin_libs_digest(const host_backend *row, char out[KIT_SHA256_HEX], kolm_error_t *err) {
    kit_buf text = {0};
    out[0] = '\0';
    if (row->libs.count == 0) return KOLM_OK;
    cJSON *json = cJSON_CreateObject();
    kit_status status = json ? put_libs(json, &row->libs, err) : kit_no_memory(err);
    if (status == KOLM_OK) status = kit_json_canonical(json, &text, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(kit_buf_text(&text), text.length, out, err);
    kit_buf_free(&text);
    cJSON_Delete(json);
    return status;
}

static kit_status statement_of(const char *name, const char *plugin_sha, const char *manifest_sha,
                               const host_libs *libs, kit_buf *out, kolm_error_t *err) {
    cJSON *json = cJSON_CreateObject();
    bool good = kit_json_put_string(json, "manifest_sha256", manifest_sha) && kit_json_put_string(json, "name", name) &&
                kit_json_put_string(json, "plugin_sha256", plugin_sha);
    kit_status status = good ? put_libs(json, libs, err) : kit_no_memory(err);
    if (status == KOLM_OK) status = kit_json_canonical(json, out, err);
    cJSON_Delete(json);
    return status;
}

kit_status fleet_plugin_sign(kolm_session *session, const char *plugin, char **out_path, char out_keyid[65],
                             kolm_error_t *err) {
    const char *slash = strrchr(plugin, '/'), *base = slash ? slash + 1 : plugin, *dot = strrchr(base, '.');
    char name[64], plugin_sha[KIT_SHA256_HEX], manifest_sha[KIT_SHA256_HEX];
    store_home *home = NULL;
    char *keys = NULL, *manifest = NULL;
    receipt_key *key = NULL;
    bool created = false;
    host_libs libs = {0};
    kit_buf statement = {0}, envelope = {0}, path = {0}, stem = {0};
    if (!host_plugin_name(base, name, sizeof name))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the plugin, NAME.so next to NAME.json",
                        "%s does not look like a plugin", plugin);
    kit_buf_fmt(&path, "%.*s.json", (int)(dot - plugin), plugin);
    kit_status status = kit_buf_ok(&path, err);
    manifest = kit_buf_take(&path);
    kit_buf_add(&stem, base, (size_t)(dot - base));
    if (status == KOLM_OK) status = kit_buf_ok(&stem, err);
    char *real = realpath(plugin, NULL); /* the libraries are next to the file that a link points to */
    if (status == KOLM_OK && real) status = host_libs_read(real, kit_buf_text(&stem), &libs, err);
    free(real);
    if (status == KOLM_OK) status = session_home(session, &home, err);
    if (status == KOLM_OK) status = kit_sha256_file(plugin, plugin_sha, NULL, err);
    if (status == KOLM_OK) status = kit_sha256_file(manifest, manifest_sha, NULL, err);
    if (status == KOLM_OK) status = statement_of(name, plugin_sha, manifest_sha, &libs, &statement, err);
    if (status == KOLM_OK) status = store_home_create(home, err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_KEYS, &keys, err);
    if (status == KOLM_OK) status = receipt_key_open(keys, &key, &created, err);
    if (status == KOLM_OK)
        status = receipt_envelope_sign(key, FLEET_PLUGIN_TYPE, statement.data, statement.length, &envelope, err);
    if (status == KOLM_OK) kit_buf_char(&envelope, '\n');
    if (status == KOLM_OK) status = signature_path(plugin, out_path, err);
    if (status == KOLM_OK) status = kit_write_file(*out_path, 0644, envelope.data, envelope.length, err);
    if (status == KOLM_OK) kit_copy(out_keyid, 65, receipt_key_public(key)->keyid);
    receipt_key_free(key);
    host_libs_free(&libs);
    kit_buf_free(&stem);
    kit_buf_free(&statement);
    kit_buf_free(&envelope);
    free(keys);
    free(manifest);
    return status;
}

/* ---- Judging */

static kit_status read_rings(fleet_policy *policy, kolm_error_t *err) {
    if (policy->rings_read) return KOLM_OK;
    for (int i = 0; i < RINGS; i++)
        KIT_TRY(receipt_keyring_load(policy->key_dirs[i], &policy->rings[i], err));
    policy->rings_read = true;
    return KOLM_OK;
}

/* The other two rings are only for plugins, whatever roles they contain. */
static bool vouched(ring which, const receipt_trusted *one) {
    return one->backends || (which != RING_HOME && one->trusted);
}

/* A key revoked in any ring is revoked, even if another ring trusts it. NULL: not revoked. */
static const receipt_trusted *revoked_as(const fleet_policy *policy, const char *keyid) {
    for (int i = 0; i < RINGS; i++) {
        const receipt_trusted *one = receipt_keyring_find(policy->rings[i], keyid);
        if (one && one->revoked) return one;
    }
    return NULL;
}

/* Returns the revoked key that a signature names, or NULL. It cannot be verified if only the id of the revoked key is
 * known, but naming a revoked key gains an attacker nothing. */
static const receipt_trusted *names_revoked(const fleet_policy *policy, const kit_buf *text) {
    cJSON *json = NULL;
    const receipt_trusted *found = NULL;
    const cJSON *one;
    if (kit_json_parse(kit_buf_text(text), text->length, &json, NULL) != KOLM_OK) return NULL;
    cJSON_ArrayForEach(one, kit_json_get(json, "signatures")) {
        const char *keyid = NULL;
        if (!found && kit_json_get_string(one, "keyid", &keyid)) found = revoked_as(policy, keyid);
    }
    cJSON_Delete(json);
    return found;
}

typedef struct finding {
    bool there;                    /* a signature file */
    const receipt_trusted *signer; /* NULL: no ring has the key */
    bool revoked;                  /* signer is revoked; it may be in no ring as trusted */
    bool dated_out;                /* signer is not valid at this date */
    bool agrees;                   /* the statement matches the files */
} finding;

/* Of several signatures the first of these counts: one whose key is trusted now, one whose key is revoked, one whose
 * key is outside its dates. */
static kit_status find_signer(const fleet_policy *policy, const receipt_envelope *envelope, const kit_buf *text,
                              finding *out, kolm_error_t *err) {
    const int64_t now = (int64_t)time(NULL);
    const receipt_trusted *late = NULL, *revoked = NULL;
    for (int i = 0; i < RINGS; i++)
        for (size_t k = 0; k < receipt_keyring_count(policy->rings[i]); k++) {
            const receipt_trusted *one = receipt_keyring_at(policy->rings[i], k);
            bool signs = false;
            if (!vouched((ring)i, one) && !one->trusted) continue;
            KIT_TRY(receipt_envelope_signed_by(envelope, &one->key, &signs, err));
            if (!signs) continue;
            if (revoked_as(policy, one->key.keyid)) {
                revoked = one;
            } else if (vouched((ring)i, one)) {
                late = one;
                if (now < one->valid_from || now > one->valid_to) continue;
                out->signer = one;
                return KOLM_OK;
            }
        }
    if (!revoked) revoked = names_revoked(policy, text);
    out->signer = revoked ? revoked : late;
    out->revoked = revoked != NULL;
    out->dated_out = !revoked && late;
    return KOLM_OK;
}

/* Reads the signature next to the plugin, or if it is a link, else next to the file it points to. */
static kit_status read_signature(const host_backend *row, char **out_path, kit_buf *text, kolm_error_t *err) {
    kit_buf named = {0};
    kit_buf_fmt(&named, "%s/%s%s", row->directory, row->stem, HOST_SUFFIX);
    kit_status status = kit_buf_ok(&named, err);
    if (status == KOLM_OK) status = signature_path(kit_buf_text(&named), out_path, err);
    if (status == KOLM_OK) status = kit_read_file(*out_path, SIGNATURE_MAX, text, err);
    kit_buf_free(&named);
    if (status != KOLM_E_NOT_FOUND) return status;
    free(*out_path);
    *out_path = NULL;
    KIT_TRY(signature_path(row->plugin_path, out_path, err));
    return kit_read_file(*out_path, SIGNATURE_MAX, text, err);
}

/* Covers the bytes that this registry would load, and the manifest that it has read: opens no path again. */
static kit_status statement_of_row(const host_backend *row, kit_buf *out, kolm_error_t *err) {
    char plugin_sha[KIT_SHA256_HEX];
    KIT_TRY(host_plugin_digest(row, plugin_sha, err));
    return statement_of(row->name, plugin_sha, row->manifest_sha256, &row->libs, out, err);
}

static kit_status look(fleet_policy *policy, const host_backend *row, finding *out, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0}, expected = {0};
    receipt_envelope envelope = {0};
    *out = (finding){0};
    if (row->no_signature) return KOLM_OK;
    kit_status status = read_signature(row, &path, &text, err);
    if (status == KOLM_E_NOT_FOUND) {
        free(path);
        return KOLM_OK;
    }
    out->there = true;
    if (status == KOLM_OK) status = receipt_envelope_parse(kit_buf_text(&text), text.length, &envelope, err);
    bool is_one = status == KOLM_OK;
    if (status == KOLM_OK) status = read_rings(policy, err);
    if (status == KOLM_OK) status = statement_of_row(row, &expected, err);
    if (status == KOLM_OK) status = find_signer(policy, &envelope, &text, out, err);
    if (status == KOLM_OK) {
        out->agrees = strcmp(envelope.type, FLEET_PLUGIN_TYPE) == 0 && envelope.payload.length == expected.length &&
                      memcmp(envelope.payload.data, expected.data, expected.length) == 0;
    } else if (!is_one &&
               (status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_DATA_LOSS || status == KOLM_E_OUT_OF_RANGE)) {
        kit_copy(err->remedy, sizeof err->remedy,
                 "download the signature from its publisher again; without that file the plugin counts as not signed");
        (void)kit_fail_context(err, "%s is not a signature", path);
    } else {
        (void)kit_fail_context(err, "the signature %s", path);
    }
    receipt_envelope_free(&envelope);
    kit_buf_free(&text);
    kit_buf_free(&expected);
    free(path);
    return status;
}

kit_status fleet_policy_admit(void *user, const host_backend *row, kolm_error_t *why) {
    static const char remedy[] = "download plugin, manifest and signature from their publisher again";
    fleet_policy *policy = user;
    const char *demanded;
    bool required = fleet_policy_demands(policy, row->name, &demanded);
    finding found;
    kit_status status = look(policy, row, &found, why);
    if (status != KOLM_OK) return status;
    if (found.revoked)
        return kit_fail(why, KOLM_E_PERMISSION_DENIED, remedy, "it is signed by %.16s..., a key that was revoked",
                        found.signer->key.keyid);
    if (found.dated_out)
        return kit_fail(why, KOLM_E_PERMISSION_DENIED, remedy,
                        "it is signed by %.16s..., a key that is not trusted at this date", found.signer->key.keyid);
    if (found.signer && !found.agrees)
        return kit_fail(why, KOLM_E_DATA_LOSS, remedy,
                        "its signature by %.16s... is for other files: the plugin or the manifest was changed",
                        found.signer->key.keyid);
    if (!required || found.signer) return KOLM_OK;
    if (!found.there)
        return kit_fail(why, KOLM_E_PERMISSION_DENIED,
                        "get a signed one from its publisher, or sign it yourself: `kolm backend sign`",
                        "it is not signed, and %s requires a signature", demanded);
    return kit_fail(why, KOLM_E_PERMISSION_DENIED, "`kolm backend trust KEY.pem` trusts the key of its publisher",
                    "it is signed by a key that is not trusted here, and %s requires a trusted one", demanded);
}

void fleet_policy_describe(fleet_policy *policy, const host_backend *row, char *out, size_t capacity) {
    kolm_error_t err = KIT_ERROR_INIT;
    finding found;
    if (!row->plugin_path || !row->manifest_path)
        kit_copy(out, capacity, "");
    else if (look(policy, row, &found, &err) != KOLM_OK)
        kit_copy(out, capacity, err.text);
    else if (!found.there)
        kit_copy(out, capacity, "not signed");
    else if (!found.signer)
        kit_copy(out, capacity, "signed by a key that is not trusted here");
    else if (found.revoked)
        kit_format(out, capacity, "signed by %.16s..., a key that was revoked", found.signer->key.keyid);
    else
        kit_format(out, capacity, "signed by %.16s... (%s)", found.signer->key.keyid,
                   found.signer->own      ? "your own key"
                   : *found.signer->label ? found.signer->label
                                          : "no label");
}

bool fleet_policy_signer(fleet_policy *policy, const host_backend *row, char out_keyid[KIT_SHA256_HEX],
                         bool *out_believed) {
    kolm_error_t err = KIT_ERROR_INIT;
    finding found;
    *out_believed = false;
    if (!row->plugin_path || !row->manifest_path || look(policy, row, &found, &err) != KOLM_OK || !found.signer)
        return false;
    kit_copy(out_keyid, KIT_SHA256_HEX, found.signer->key.keyid);
    *out_believed = !found.revoked && !found.dated_out && found.agrees;
    return true;
}

/* ---- The publishers */

/* True if a revoked key is listed from ring `which`: no ring trusts it any more, but plugins that it signed are
 * refused. */
static bool revoked_there(const fleet_policy *policy, ring which, const receipt_trusted *one) {
    if (!one->revoked) return false;
    for (int i = 0; i < RINGS; i++) {
        const receipt_trusted *other = receipt_keyring_find(policy->rings[i], one->key.keyid);
        if (other && (vouched((ring)i, other) || (i < (int)which && other->revoked))) return false;
    }
    return true;
}

kit_status fleet_policy_publishers(fleet_policy *policy, fleet_publisher **out, size_t *out_count, kolm_error_t *err) {
    static const char *const sources[] = {[RING_HOME] = "home", [RING_OLD] = "home", [RING_MACHINE] = "machine"};
    size_t most = 1, count = 0;
    KIT_TRY(read_rings(policy, err));
    for (int i = 0; i < RINGS; i++)
        most += receipt_keyring_count(policy->rings[i]);
    *out = calloc(most, sizeof **out);
    if (!*out) return kit_no_memory(err);
    for (int i = 0; i < RINGS; i++)
        for (size_t k = 0; k < receipt_keyring_count(policy->rings[i]); k++) {
            const receipt_trusted *one = receipt_keyring_at(policy->rings[i], k);
            if (!vouched((ring)i, one) && !revoked_there(policy, (ring)i, one)) continue;
            (*out)[count++] = (fleet_publisher){
                .key = one, .source = one->own ? "own" : sources[i], .revoked = revoked_as(policy, one->key.keyid)};
        }
    *out_count = count;
    return KOLM_OK;
}

kit_status fleet_policy_whole_keyid(fleet_policy *policy, const char *given, char out_keyid[KIT_SHA256_HEX],
                                    kolm_error_t *err) {
    size_t matches = 0;
    kit_copy(out_keyid, KIT_SHA256_HEX, "");
    KIT_TRY(read_rings(policy, err));
    for (int i = 0; i < RINGS; i++)
        for (size_t k = 0; k < receipt_keyring_count(policy->rings[i]); k++) {
            const char *keyid = receipt_keyring_at(policy->rings[i], k)->key.keyid;
            if (strlen(given) < 8 || strncmp(keyid, given, strlen(given)) != 0 || strcmp(keyid, out_keyid) == 0)
                continue;
            kit_copy(out_keyid, KIT_SHA256_HEX, keyid);
            matches++;
        }
    if (matches == 1) return KOLM_OK;
    if (strlen(given) < KIT_SHA256_HEX - 1 && matches > 1)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use more digits", "%zu keys begin with %s", matches, given);
    kit_copy(out_keyid, KIT_SHA256_HEX, given);
    return KOLM_OK;
}
