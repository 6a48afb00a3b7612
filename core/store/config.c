/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and changes config.json, and never overwrites what it could not read. */
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "kolm/kit/trust.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOCK_WAIT_MS 5000

static kit_status check_owner(const char *path, const struct stat *info, kolm_error_t *err) {
    kit_trust_fault fault = kit_trust_stat(KIT_TRUST_SETTING, info);
    if (fault == KIT_TRUST_MODE)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "check its contents, then chmod go-w it",
                        "%s is not used: others can change it (mode %04o)", path, (unsigned)info->st_mode & 07777);
    if (fault == KIT_TRUST_OWNER)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "check its contents, then make it yours: chown",
                        "%s is not used: it belongs to another user", path);
    return KOLM_OK;
}

static kit_status parse(const char *path, cJSON **out_config, kolm_error_t *err) {
    kit_buf text = {0};
    cJSON *config = NULL;
    struct stat info;
    bool there = lstat(path, &info) == 0;
    /* A user who can write here decides where rows and tokens go. */
    if (there && stat(path, &info) == 0) KIT_TRY(check_owner(path, &info, err));
    kit_status status = kit_read_file(path, STORE_CONFIG_MAX, &text, err);
    if (status == KOLM_E_NOT_FOUND && there)
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "restore its target, or remove the link",
                          "%s is a dangling symbolic link", path);
    if (status == KOLM_E_NOT_FOUND) {
        config = cJSON_CreateObject();
        status = config ? KOLM_OK : kit_no_memory(err);
        goto out;
    }
    if (status != KOLM_OK) goto out;
    kolm_error_t why = KIT_ERROR_INIT;
    status = kit_json_parse(kit_buf_text(&text), text.length, &config, &why);
    if (status == KOLM_OK && !cJSON_IsObject(config)) {
        status = kit_fail(&why, KOLM_E_INVALID_ARGUMENT, "", "line 1, column 1: expected an object, {...}");
    }
    if (status == KOLM_E_RESOURCE_EXHAUSTED) {
        kit_fail(err, why.code, why.remedy, "cannot read %s: %s", path, why.text);
    } else if (status != KOLM_OK) {
        status =
            kit_fail(err, KOLM_E_DATA_LOSS, "repair the file, or move it away to start with an empty configuration",
                     "%s is not valid: %s (the file was left as it is)", path, why.text);
    }
out:
    kit_buf_free(&text);
    if (status == KOLM_OK)
        *out_config = config;
    else
        cJSON_Delete(config);
    return status;
}

kit_status store_config_read_file(const char *path, cJSON **out_config, kolm_error_t *err) {
    return parse(path, out_config, err);
}

kit_status store_config_read(const store_home *home, cJSON **out_config, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(store_home_place(home, STORE_CONFIG, &path, err));
    kit_status status = parse(path, out_config, err);
    free(path);
    return status;
}

/* The keys of the file itself; a backend's section is checked against its manifest. */
static const char *const known[] = {"backends", "backend", "runtimes"};
#define KNOWN (sizeof known / sizeof *known)

static bool is_known(const char *key) {
    for (size_t i = 0; i < KNOWN; i++)
        if (strcmp(key, known[i]) == 0) return true;
    return false;
}

static kit_status wrong(kolm_error_t *err, const char *path, const char *key, const char *what) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "correct or remove it", "%s: %s: expected %s", path, key, what);
}

static kit_status unknown(kolm_error_t *err, const char *path, const char *key) {
    static const char remedy[] = "correct or remove it; a key that begins with x- is left alone";
    const char *near = kit_nearest(key, known, KNOWN);
    kit_buf shown = {0};
    kit_buf_escaped(&shown, key, strnlen(key, 64));
    kit_status status =
        near ? kit_fail(err, KOLM_E_DATA_LOSS, remedy, "%s: there is no key \"%s\"; did you mean \"%s\"?", path,
                        kit_buf_text(&shown), near)
             : kit_fail(err, KOLM_E_DATA_LOSS, remedy, "%s: there is no key \"%s\"", path, kit_buf_text(&shown));
    kit_buf_free(&shown);
    return status;
}

kit_status store_config_check(const char *path, const cJSON *config, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (const cJSON *item = config->child; status == KOLM_OK && item; item = item->next) {
        bool text = cJSON_IsString(item) && item->valuestring[0];
        if (strcmp(item->string, "backend") == 0 && !text && !cJSON_IsNull(item))
            status = wrong(err, path, "backend", "the name of a backend");
        else if (strcmp(item->string, "backends") == 0 && !cJSON_IsObject(item))
            status = wrong(err, path, "backends", "an object of NAME: {...}");
        else if (strcmp(item->string, "runtimes") == 0 && !cJSON_IsObject(item))
            status = wrong(err, path, "runtimes", "an object of NAME: \"/path/to/python\"");
        else if (strncmp(item->string, "x-", 2) != 0 && !is_known(item->string))
            status = unknown(err, path, item->string);
    }
    return status;
}

static kit_status write_config(const char *path, const cJSON *config, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = kit_json_pretty(config, &text, err);
    kit_buf_char(&text, '\n');
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    kit_buf_free(&text);
    return status;
}

kit_status store_config_update(const store_home *home, store_config_edit edit, void *user, kolm_error_t *err) {
    store_lock *lock = NULL;
    char *path = NULL;
    cJSON *config = NULL;
    kit_status status = store_lock_take(home, store_place_name(STORE_CONFIG), LOCK_WAIT_MS, &lock, err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_CONFIG, &path, err);
    if (status == KOLM_OK) status = parse(path, &config, err);
    if (status == KOLM_OK) status = edit(config, user, err);
    if (status == KOLM_OK) status = write_config(path, config, err);
    cJSON_Delete(config);
    free(path);
    store_lock_release(lock);
    return status;
}
