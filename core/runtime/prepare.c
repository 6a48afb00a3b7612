/* SPDX-License-Identifier: Apache-2.0 */
/* Steps before and after making an environment: its lock, its wheels, disk space; and a Python of the user's own. */
#include "runtime/setup.h"

#include "host/host.h"
#include "kolm/kit/file.h"
#include "runtime/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- --use and --remove */

typedef struct entry {
    const char *name, *python; /* python NULL: remove the entry */
    bool changed;
} entry;

static kit_status set_runtime(cJSON *config, void *user, kolm_error_t *err) {
    entry *e = user;
    cJSON *runtimes = cJSON_GetObjectItemCaseSensitive(config, "runtimes");
    if (runtimes && !cJSON_IsObject(runtimes))
        return kit_fail(err, KOLM_E_DATA_LOSS, "make it an object, {\"NAME\": \"/absolute/python\"}",
                        "\"runtimes\" in config.json is not an object");
    if (!runtimes && e->python) runtimes = cJSON_AddObjectToObject(config, "runtimes");
    e->changed = runtimes && cJSON_HasObjectItem(runtimes, e->name);
    if (runtimes) cJSON_DeleteItemFromObjectCaseSensitive(runtimes, e->name);
    if (!e->python || (runtimes && kit_json_put_string(runtimes, e->name, e->python))) return KOLM_OK;
    return kit_no_memory(err);
}

kit_status setup_use(setup *s, kolm_error_t *err) {
    cJSON *probed = NULL;
    const char *version = "";
    entry e = {.name = s->name, .python = s->use};
    if (s->use[0] != '/') {
        s->reason = SESSION_REASON_USAGE;
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write --use /opt/train/bin/python, for instance",
                        "--use: '%s' is not an absolute path", s->use);
    }
    KIT_TRY(setup_probe(s->session, s->use, &probed, err));
    if (kit_json_get_string(probed, "version", &version)) kit_copy(s->version, sizeof s->version, version);
    cJSON_Delete(probed);
    return store_config_update(s->home, set_runtime, &e, err);
}

/* A file that cannot be examined is not a missing file. */
static kit_status look(const char *path, bool *found, kolm_error_t *err) {
    struct stat info;
    if (lstat(path, &info) == 0)
        *found = true;
    else if (errno != ENOENT && errno != ENOTDIR)
        return kit_fail_errno(err, errno, "cannot access %s", path);
    return KOLM_OK;
}

kit_status setup_remove(setup *s, setup_removed *out_removed, kolm_error_t *err) {
    entry e = {.name = s->name};
    char *config = NULL;
    bool there = false, configured = false;
    KIT_TRY(look(s->place, &there, err));
    KIT_TRY(look(s->partial, &there, err));
    KIT_TRY(look(s->old, &there, err));
    KIT_TRY(store_home_place(s->home, STORE_CONFIG, &config, err));
    kit_status status = look(config, &configured, err);
    if (status == KOLM_OK && there) status = setup_take_lock(s, err);
    if (status == KOLM_OK && configured) status = store_config_update(s->home, set_runtime, &e, err);
    free(config);
    uint64_t bytes = setup_bytes_below(s->place) + setup_bytes_below(s->partial);
    /* Remove runtime.json first: a partly removed tree must not count as complete. */
    kit_buf mark = {0};
    kit_buf_fmt(&mark, "%s/runtime.json", s->place);
    if (status == KOLM_OK) status = kit_buf_ok(&mark, err);
    if (status == KOLM_OK && unlink(kit_buf_text(&mark)) != 0 && errno != ENOENT && errno != ENOTDIR)
        status = kit_fail_errno(err, errno, "cannot remove %s", kit_buf_text(&mark));
    kit_buf_free(&mark);
    if (status == KOLM_OK) status = kit_remove_tree(s->place, err);
    if (status == KOLM_OK) status = runtime_files_forget(s->root, s->name, err);
    if (status == KOLM_OK) status = kit_remove_tree(s->partial, err);
    if (status == KOLM_OK) status = kit_remove_tree(s->old, err);
    *out_removed = (setup_removed){.there = there, .forgotten = e.changed, .bytes = bytes};
    return status;
}

/* ---- Making one */

kit_status setup_find_lock(setup *s, kolm_error_t *err) {
    kit_status status = runtime_lock_read(s->trainer, s->row, &s->lock, err);
    if (status == KOLM_E_NOT_FOUND) {
        s->reason = SESSION_REASON_USAGE;
        return kit_fail(
            err, KOLM_E_NOT_FOUND,
            s->trainer
                ? "a backend that needs none is ready as it is, and one that works elsewhere makes its own there: its "
                  "page and `kolm compute test` say how; --use PATH names a Python of yours"
                : "install kolm's trainer (the package kolm-trainer): it has the locks of kolm's own backends",
            "there is no Python runtime to set up for %s: no lock file comes with it", s->name);
    }
    if (status == KOLM_OK && s->lock.unavailable[0]) {
        s->reason = SESSION_REASON_NOTHING;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "make an environment yourself, then `kolm compute setup NAME --use /path/bin/python`",
                        "cannot create the runtime of %s from a lock file: %s", s->name, s->lock.unavailable);
    }
    return status;
}

kit_status setup_find_wheels(setup *s, kolm_error_t *err) {
    struct stat info;
    if (!s->from && s->airgap) {
        s->reason = SESSION_REASON_USAGE;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "add --from DIR, a directory with the wheels",
                        "--airgap: the packages of %s would have to be downloaded", s->name);
    }
    if (!s->from) return KOLM_OK;
    s->wheels = realpath(s->from, NULL);
    if (!s->wheels) return kit_fail_errno(err, errno, "cannot find the directory %s", s->from);
    if (stat(s->wheels, &info) != 0 || !S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the directory that holds the wheels",
                        "%s is not a directory", s->from);
    return KOLM_OK;
}

static bool is_current(const setup *s) {
    const char *sha256 = "";
    return s->about && kit_json_get_string(s->about, "lock_sha256", &sha256) && strcmp(sha256, s->lock.sha256) == 0;
}

/* An environment that was modified is made again. */
kit_status setup_look_whole(setup *s, bool *out_whole, kolm_error_t *err) {
    setup_look(s);
    *out_whole = is_current(s);
    if (!*out_whole) return KOLM_OK;
    kit_status status = runtime_files_same(s->session, s->root, s->name, err);
    if (status != KOLM_E_DATA_LOSS) return status;
    session_warn(s->session, "%s", err->text);
    *out_whole = false;
    return KOLM_OK;
}

static uint64_t disk_needed(const setup *s) {
    uint64_t done = s->lock.disk_bytes ? s->lock.disk_bytes : s->lock.download_bytes * 4;
    uint64_t download = s->wheels ? 0 : s->lock.download_bytes, have = setup_bytes_below(s->cache);
    return done + (download > have ? download - have : 0);
}

/* Checks the file system of the nearest existing directory. */
kit_status setup_check_disk(const setup *s, kolm_error_t *err) {
    char *path = NULL, need[32], have[32];
    struct statvfs info;
    KIT_TRY(kit_strdup(s->root, &path, err));
    while (statvfs(path, &info) != 0 && strchr(path + 1, '/'))
        *strrchr(path, '/') = '\0';
    bool known = statvfs(path, &info) == 0;
    free(path);
    uint64_t space = known ? (uint64_t)info.f_bavail * info.f_frsize : UINT64_MAX, needed = disk_needed(s);
    if (space >= needed) return KOLM_OK;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "free some space, or let KOLM_HOME name a directory on another disk",
                    "the runtime of %s temporarily needs about %s of disk space, but only %s are free for %s", s->name,
                    session_bytes(need, sizeof need, needed), session_bytes(have, sizeof have, space), s->root);
}

/* A Python of the user's own takes precedence, even after an environment was made. */
void setup_warn_of_own(const setup *s) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    cJSON *config = NULL;
    const char *own = NULL;
    if (store_config_read(s->home, &config, &ignored) == KOLM_OK) {
        const cJSON *runtimes = kit_json_get(config, "runtimes");
        if (runtimes && kit_json_get_string(runtimes, s->name, &own) && strncmp(own, s->place, strlen(s->place)) != 0)
            session_warn(s->session,
                         "config.json names %s for %s, which overrides this environment; remove that line to use it",
                         own, s->name);
    }
    cJSON_Delete(config);
}
