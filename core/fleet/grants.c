/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes grants.json, and checks rows against it. */
#include "fleet/grants.h"
#include "kolm/kit/file.h"
#include "kolm/kit/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GRANTS_MAX (1u << 20) /* bytes of the file */
#define LOCK_WAIT_MS 10000

struct fleet_grants {
    cJSON *all;           /* {NAME: grant}; NULL: nothing is granted */
    kolm_error_t fault;   /* why the file is not trusted; code KOLM_OK: it is, or there is none */
    fleet_policy *policy; /* the caller's */
};

/* ---- The file */

static kit_status check_file(int fd, const char *path, off_t *out_size, kolm_error_t *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
    kit_trust_fault fault = kit_trust_stat(KIT_TRUST_OWN, &info);
    if (!S_ISREG(info.st_mode) || info.st_size > (off_t)GRANTS_MAX)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "remove it, and grant again what the backend may use",
                        "%s is not a file that kolm wrote", path);
    if (fault == KIT_TRUST_OWNER)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "remove it, and grant again what the backend may use",
                        "%s belongs to another user", path);
    if (fault == KIT_TRUST_MODE)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "check its contents, then chmod 600 it",
                        "others can change %s (mode %04o)", path, (unsigned)info.st_mode & 07777);
    *out_size = info.st_size;
    return KOLM_OK;
}

/* NOT_FOUND if there is no such file. */
static kit_status read_bytes(const char *path, kit_buf *out, kolm_error_t *err) {
    off_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOTDIR) errno = ENOENT;
    if (fd < 0 && errno == ELOOP)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "put the file itself there", "%s is a symbolic link", path);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = check_file(fd, path, &size, err);
    char *bytes = status == KOLM_OK ? malloc((size_t)size + 1) : NULL;
    if (status == KOLM_OK && !bytes) status = kit_no_memory(err);
    if (status == KOLM_OK) status = kit_read_exact(fd, bytes, (size_t)size, err);
    if (status == KOLM_OK) kit_buf_add(out, bytes, (size_t)size);
    if (status == KOLM_OK) status = kit_buf_ok(out, err);
    free(bytes);
    close(fd);
    return status;
}

static bool good_grant(const cJSON *grant) {
    const cJSON *to = kit_json_get(grant, "to"), *what = kit_json_get(grant, "what"), *one;
    const char *text = NULL;
    if (!cJSON_IsObject(grant) || !cJSON_IsArray(what)) return false;
    cJSON_ArrayForEach(one, what) if (!cJSON_IsString(one)) return false;
    return kit_json_get_string(to, "signer", &text) ||
           (kit_json_get_string(to, "plugin_sha256", &text) && kit_json_get_string(to, "manifest_sha256", &text));
}

/* *out_all NULL: there is no file. */
static kit_status read_all(const char *path, cJSON **out_all, kolm_error_t *err) {
    kit_buf text = {0};
    cJSON *json = NULL;
    uint64_t format = 0;
    *out_all = NULL;
    kit_status status = read_bytes(path, &text, err);
    if (status == KOLM_OK) status = kit_json_parse(kit_buf_text(&text), text.length, &json, err);
    kit_buf_free(&text);
    if (status == KOLM_E_NOT_FOUND) return KOLM_OK;
    cJSON *all = status == KOLM_OK ? cJSON_DetachItemFromObjectCaseSensitive(json, "grants") : NULL;
    bool good = cJSON_IsObject(all) && kit_json_get_u64(json, "format", &format) && format == 1;
    for (const cJSON *one = good ? all->child : NULL; one; one = one->next)
        good = good && good_grant(one);
    cJSON_Delete(json);
    if (good) {
        *out_all = all;
        return KOLM_OK;
    }
    cJSON_Delete(all);
    if (status != KOLM_OK && status != KOLM_E_INVALID_ARGUMENT) return status;
    return kit_fail(err, KOLM_E_DATA_LOSS, "remove it, and grant again what the backend may use",
                    "%s is not in the format that kolm writes", path);
}

static kit_status place(kolm_session *session, char **out_path, kolm_error_t *err) {
    store_home *home = NULL;
    KIT_TRY(session_home(session, &home, err));
    return store_home_place(home, STORE_GRANTS, out_path, err);
}

kit_status fleet_grants_read(kolm_session *session, cJSON **out_grants, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(place(session, &path, err));
    kit_status status = read_all(path, out_grants, err);
    free(path);
    if (status == KOLM_OK && !*out_grants) *out_grants = cJSON_CreateObject();
    return status == KOLM_OK && !*out_grants ? kit_no_memory(err) : status;
}

kit_status fleet_grants_load(kolm_session *session, fleet_policy *policy, fleet_grants **out_grants,
                             kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(place(session, &path, err));
    fleet_grants *grants = calloc(1, sizeof *grants);
    if (grants) {
        grants->policy = policy;
        grants->fault = (kolm_error_t)KIT_ERROR_INIT;
        if (read_all(path, &grants->all, &grants->fault) == KOLM_OK) grants->fault.code = KOLM_OK;
    }
    free(path);
    *out_grants = grants;
    return grants ? KOLM_OK : kit_no_memory(err);
}

void fleet_grants_free(fleet_grants *grants) {
    if (!grants) return;
    cJSON_Delete(grants->all);
    free(grants);
}

/* ---- What is asked for */

bool fleet_grant_needed(const host_backend *row) {
    host_ask asks[HOST_ASKS_MAX];
    bool installed = row->origin == HOST_ORIGIN_INSTALLED || row->origin == HOST_ORIGIN_BUILD;
    return !installed && row->manifest && host_manifest_asks(row->manifest, asks) > 0;
}

const char *fleet_ask_text(const host_ask *ask, char *out, size_t capacity) {
    static const char *const words[] = {[HOST_ASK_SECRET] = "the secret",
                                        [HOST_ASK_VARIABLE] = "the variable",
                                        [HOST_ASK_READ] = "to read",
                                        [HOST_ASK_WRITE] = "to write"};
    kit_format(out, capacity, "%s %s", words[ask->kind], ask->what);
    return out;
}

cJSON *fleet_asks_json(const host_backend *row) {
    host_ask asks[HOST_ASKS_MAX];
    cJSON *array = cJSON_CreateArray();
    size_t count = row->manifest ? host_manifest_asks(row->manifest, asks) : 0;
    for (size_t i = 0; array && i < count; i++) {
        kit_buf text = {0};
        kit_buf_fmt(&text, "%s %s", host_ask_word(asks[i].kind), asks[i].what);
        cJSON *one = kit_buf_ok(&text, NULL) == KOLM_OK ? cJSON_CreateString(kit_buf_text(&text)) : NULL;
        kit_buf_free(&text);
        if (one && cJSON_AddItemToArray(array, one)) continue;
        cJSON_Delete(array);
        return NULL;
    }
    return array;
}

static bool is_in(const cJSON *what, const host_ask *ask) {
    const size_t length = strlen(host_ask_word(ask->kind));
    const cJSON *one;
    cJSON_ArrayForEach(one, what) {
        const char *text = one->valuestring;
        if (strncmp(text, host_ask_word(ask->kind), length) == 0 && text[length] == ' ' &&
            strcmp(text + length + 1, ask->what) == 0)
            return true;
    }
    return false;
}

/* ---- To whom */

static kit_status identify(fleet_policy *policy, const host_backend *row, fleet_grantee *out, kolm_error_t *err) {
    bool believed = false;
    *out = (fleet_grantee){.signer = ""};
    if (!fleet_policy_signer(policy, row, out->signer, &believed) || !believed) out->signer[0] = '\0';
    /* The digests are those of the bytes that were read, even if the files have been replaced since. */
    kit_copy(out->manifest, sizeof out->manifest, row->manifest_sha256);
    KIT_TRY(fleet_plugin_libs_digest(row, out->libs, err));
    return host_plugin_digest(row, out->plugin, err);
}

kit_status fleet_grantee_of(kolm_session *session, const host_backend *row, fleet_grantee *out, kolm_error_t *err) {
    fleet_policy *policy = NULL;
    KIT_TRY(fleet_policy_load(session, &policy, err));
    kit_status status = identify(policy, row, out, err);
    fleet_policy_free(policy);
    return status;
}

static bool put_to(cJSON *object, const fleet_grantee *to) {
    if (to->signer[0]) return kit_json_put_string(object, "signer", to->signer);
    return kit_json_put_string(object, "plugin_sha256", to->plugin) &&
           kit_json_put_string(object, "manifest_sha256", to->manifest) &&
           (!to->libs[0] || kit_json_put_string(object, "libs_sha256", to->libs));
}

cJSON *fleet_grantee_json(const fleet_grantee *to) {
    cJSON *object = cJSON_CreateObject();
    if (object && put_to(object, to)) return object;
    cJSON_Delete(object);
    return NULL;
}

/* ---- Judging */

static bool is_grantee(const cJSON *grant, const fleet_grantee *who) {
    const cJSON *to = kit_json_get(grant, "to");
    const char *signer = NULL, *plugin = "", *manifest = "", *libs = "";
    if (kit_json_get_string(to, "signer", &signer)) return who->signer[0] && strcmp(signer, who->signer) == 0;
    if (kit_json_get(to, "libs_sha256") && !kit_json_get_string(to, "libs_sha256", &libs)) return false;
    return kit_json_get_string(to, "plugin_sha256", &plugin) && kit_json_get_string(to, "manifest_sha256", &manifest) &&
           strcmp(plugin, who->plugin) == 0 && strcmp(manifest, who->manifest) == 0 && strcmp(libs, who->libs) == 0;
}

static kit_status refuse(const host_backend *row, const host_ask *asks, size_t count, const cJSON *granted,
                         const char *because, kolm_error_t *why) {
    char remedy[160], one[512];
    kit_buf list = {0};
    for (size_t i = 0; i < count; i++) {
        if (is_in(granted, &asks[i])) continue;
        kit_buf_fmt(&list, "%s%s", list.length ? ", " : "", fleet_ask_text(&asks[i], one, sizeof one));
    }
    kit_format(remedy, sizeof remedy, "`kolm backend grant %s`, if you want to allow that", row->name);
    kit_status status = kit_buf_ok(&list, why);
    if (status != KOLM_OK) {
        kit_buf_free(&list);
        return kit_fail_context(why, "not granted: %s", row->name);
    }
    status = kit_fail(why, KOLM_E_PERMISSION_DENIED, remedy, "not granted: kolm backend grant %s; it asks for %s%s",
                      row->name, kit_buf_text(&list), because);
    kit_buf_free(&list);
    return status;
}

kit_status fleet_grants_check(void *user, const host_backend *row, kolm_error_t *why) {
    const fleet_grants *grants = user;
    host_ask asks[HOST_ASKS_MAX];
    fleet_grantee who;
    if (!fleet_grant_needed(row)) return KOLM_OK;
    size_t count = host_manifest_asks(row->manifest, asks);
    if (grants->fault.code != KOLM_OK) {
        *why = grants->fault;
        return kit_fail_context(why, "not granted: %s", row->name);
    }
    const cJSON *grant = kit_json_get(grants->all, row->name);
    if (!grant) return refuse(row, asks, count, NULL, "", why);
    KIT_TRY(identify(grants->policy, row, &who, why));
    if (!is_grantee(grant, &who))
        return refuse(row, asks, count, NULL, "; what was granted to this name was for other files or another signer",
                      why);
    const cJSON *what = kit_json_get(grant, "what");
    for (size_t i = 0; i < count; i++)
        if (!is_in(what, &asks[i])) return refuse(row, asks, count, what, ", more than was granted", why);
    return KOLM_OK;
}

/* ---- Changing */

/* Takes ownership of grants and grant; grant NULL: removes that name. */
static kit_status write_all(const char *path, cJSON *grants, const char *name, cJSON *grant, kolm_error_t *err) {
    kit_buf text = {0};
    cJSON *json = cJSON_CreateObject();
    cJSON_DeleteItemFromObjectCaseSensitive(grants, name);
    bool good = json && kit_json_put_u64(json, "format", 1);
    if (good && grant)
        good = kit_json_put(grants, name, grant);
    else
        cJSON_Delete(grant);
    if (good)
        good = kit_json_put(json, "grants", grants);
    else
        cJSON_Delete(grants);
    kit_status status = good ? kit_json_canonical(json, &text, err) : kit_no_memory(err);
    if (status == KOLM_OK) kit_buf_char(&text, '\n');
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    cJSON_Delete(json);
    kit_buf_free(&text);
    return status;
}

/* Takes ownership of grant; NULL removes. */
static kit_status change(kolm_session *session, const char *name, cJSON *grant, bool *out_had, kolm_error_t *err) {
    store_home *home = NULL;
    store_lock *lock = NULL;
    char *path = NULL;
    cJSON *grants = NULL;
    kit_status status = session_home(session, &home, err);
    if (status == KOLM_OK) status = store_lock_take(home, store_place_name(STORE_GRANTS), LOCK_WAIT_MS, &lock, err);
    if (status == KOLM_OK) status = place(session, &path, err);
    if (status == KOLM_OK) status = fleet_grants_read(session, &grants, err);
    *out_had = kit_json_get(grants, name) != NULL;
    if (status == KOLM_OK && (grant || *out_had))
        status = write_all(path, grants, name, grant, err);
    else {
        cJSON_Delete(grants);
        cJSON_Delete(grant);
    }
    store_lock_release(lock);
    free(path);
    return status;
}

kit_status fleet_grant_give(kolm_session *session, const host_backend *row, const fleet_grantee *to,
                            kolm_error_t *err) {
    char at[RECEIPT_TIME_BYTES] = "";
    bool had;
    cJSON *grant = cJSON_CreateObject();
    (void)receipt_time_text((int64_t)time(NULL), at);
    bool good = kit_json_put(grant, "to", fleet_grantee_json(to)) &&
                kit_json_put(grant, "what", fleet_asks_json(row)) && kit_json_put_string(grant, "at", at);
    if (good) return change(session, row->name, grant, &had, err);
    cJSON_Delete(grant);
    return kit_no_memory(err);
}

kit_status fleet_grant_take(kolm_session *session, const char *name, bool *out_had, kolm_error_t *err) {
    return change(session, name, NULL, out_had, err);
}

/* ---- At first use */

static kit_status ask(kolm_session *session, const host_backend *row, bool *out_yes, kolm_error_t *err) {
    fleet_grantee to;
    *out_yes = false;
    if (!session_can_ask(session)) return KOLM_OK;
    KIT_TRY(fleet_grantee_of(session, row, &to, err)); /* before asking, so that exactly what was shown is granted */
    session_tell(session, &(session_event){.kind = SESSION_GRANT, .row = row, .grantee = &to, .yes = out_yes});
    return *out_yes ? fleet_grant_give(session, row, &to, err) : KOLM_OK;
}

kit_status fleet_grant_require(kolm_session *session, fleet_registry *registry, const char *name,
                               session_reason *out_reason, kolm_error_t *err) {
    fleet_backend *backend = fleet_registry_find(registry, name);
    bool yes = false;
    if (!backend || backend->refused || !backend->ungranted) return KOLM_OK;
    kit_status status = ask(session, backend->row, &yes, err);
    *out_reason = status == KOLM_OK ? SESSION_REASON_NOTHING : session_reason_of(status);
    if (status != KOLM_OK) return status;
    if (!yes)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, backend->row->why.remedy, "%s is not called: %s", backend->name,
                        backend->ungranted);
    for (size_t i = 0; i < registry->found->count; i++)
        if (&registry->found->rows[i] == backend->row) registry->found->rows[i].granted = true;
    backend->ungranted = NULL;
    fleet_detection_free(backend->detection);
    backend->detection = NULL;
    *out_reason = 0;
    return KOLM_OK;
}
