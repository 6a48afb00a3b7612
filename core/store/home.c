/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the home directory and takes the locks in it. */
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct store_home {
    char *path;
};

struct store_lock {
    int fd;
};

kit_status store_home_at(const char *path, store_home **out_home, kolm_error_t *err) {
    store_home *home = calloc(1, sizeof *home);
    if (!home) return kit_no_memory(err);
    kit_status status = kit_strdup(path, &home->path, err);
    if (status != KOLM_OK) {
        free(home);
        return status;
    }
    for (size_t n = strlen(home->path); n > 1 && home->path[n - 1] == '/'; n--)
        home->path[n - 1] = '\0';
    *out_home = home;
    return KOLM_OK;
}

kit_status store_home_find(store_home **out_home, kolm_error_t *err) {
    static const char remedy[] = "set KOLM_HOME to an absolute path, for instance KOLM_HOME=/var/lib/kolm";
    const char *named = secure_getenv("KOLM_HOME");
    const char *user = secure_getenv("HOME");
    if (named && *named) {
        if (named[0] == '/') return store_home_at(named, out_home, err);
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "KOLM_HOME is '%s', which is not an absolute path",
                        named);
    }
    if (!user || !*user) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "there is no home directory: neither KOLM_HOME nor HOME is set");
    }
    if (user[0] != '/') {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "HOME is '%s', which is not an absolute path", user);
    }
    char *path = NULL;
    KIT_TRY(kit_path_join(user, ".kolm", &path, err));
    kit_status status = store_home_at(path, out_home, err);
    free(path);
    return status;
}

void store_home_free(store_home *home) {
    if (!home) return;
    free(home->path);
    free(home);
}

const char *store_home_path(const store_home *home) {
    return home->path;
}

/* Names that no backend may access, and the rest. */
#define KEPT(X)                                                                                                        \
    X(CREDENTIALS, "credentials")                                                                                      \
    X(KEYS, "keys")                                                                                                    \
    X(SIGNING_KEY, "keys/signing.pem")                                                                                 \
    X(CONFIG, "config.json")                                                                                           \
    X(POLICY, "policy.json")                                                                                           \
    X(GRANTS, "grants.json")                                                                                           \
    X(RECEIPTS, "receipts.jsonl")                                                                                      \
    X(LEASES, "leases")                                                                                                \
    X(LEASES_PAST, "leases.jsonl")
#define OTHER(X)                                                                                                       \
    X(OLD_KEYS, "backend-keys")                                                                                        \
    X(BACKENDS, "backends")                                                                                            \
    X(RUNTIMES, "runtimes")                                                                                            \
    X(JOBS, "jobs")                                                                                                    \
    X(RUN, "run")                                                                                                      \
    X(CACHE, "cache")
#define NAME(place, name) [STORE_##place] = name,
#define ONLY(place, name) name,

const char *store_place_name(store_place place) {
    static const char *const names[STORE_PLACES] = {KEPT(NAME) OTHER(NAME)};
    return names[place];
}

const char *const *store_kept_names(void) {
    static const char *const names[] = {KEPT(ONLY) NULL};
    return names;
}

kit_status store_home_place(const store_home *home, store_place place, char **out_path, kolm_error_t *err) {
    return kit_path_join(home->path, store_place_name(place), out_path, err);
}

kit_status store_home_create(const store_home *home, kolm_error_t *err) {
    if (access(home->path, X_OK) == 0) return KOLM_OK;
    kit_status status = kit_mkdirs(home->path, 0700, err);
    return status == KOLM_OK ? status : kit_fail_context(err, "cannot make kolm's home directory %s", home->path);
}

kit_status store_lock_take(const store_home *home, const char *name, int64_t wait_ms, store_lock **out_lock,
                           kolm_error_t *err) {
    kit_buf path = {0};
    store_lock *lock = NULL;
    int fd = -1;
    kit_status status = store_home_create(home, err);
    if (status != KOLM_OK) goto out;
    kit_buf_fmt(&path, "%s/%s.lock", home->path, name);
    status = kit_buf_ok(&path, err);
    if (status != KOLM_OK) goto out;
    status = kit_lock_open(kit_buf_text(&path), &fd, err);
    if (status == KOLM_OK) status = kit_lock_wait(fd, kit_buf_text(&path), wait_ms, NULL, NULL, err);
    if (status != KOLM_OK) goto out;
    lock = calloc(1, sizeof *lock);
    if (!lock) {
        status = kit_no_memory(err);
        goto out;
    }
    lock->fd = fd;
    fd = -1;
    *out_lock = lock;
out:
    if (fd >= 0) close(fd);
    kit_buf_free(&path);
    return status;
}

void store_lock_release(store_lock *lock) {
    if (!lock) return;
    /* The file stays: if it were removed, two processes could lock two different files of the same name. */
    close(lock->fd);
    free(lock);
}
