/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the home directory and takes the locks in it. */
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_RETRY_MS 20

struct store_home {
    char *path;
};

struct store_lock {
    int fd;
};

kit_status store_home_at(const char *path, store_home **out_home, kolm_error_t *err) {
    store_home *home = calloc(1, sizeof *home);
    if (!home) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
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

kit_status store_home_file(const store_home *home, const char *relative, char **out_path, kolm_error_t *err) {
    return kit_path_join(home->path, relative, out_path, err);
}

kit_status store_home_create(const store_home *home, kolm_error_t *err) {
    if (access(home->path, X_OK) == 0) return KOLM_OK;
    kit_status status = kit_mkdirs(home->path, 0700, err);
    return status == KOLM_OK ? status : kit_fail_context(err, "cannot make kolm's home directory %s", home->path);
}

static kit_status wait_for_lock(int fd, const char *path, int64_t wait_ms, kolm_error_t *err) {
    int64_t end = kit_now_ms() + wait_ms;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return kit_fail_errno(err, errno, "cannot lock %s", path);
        if (kit_now_ms() >= end) {
            return kit_fail(err, KOLM_E_UNAVAILABLE, "wait for the other kolm process to end, then try again",
                            "%s is locked by another process", path);
        }
        /* flock has no timeout of its own; asking again is simpler than a timer and a signal. */
        if (poll(NULL, 0, LOCK_RETRY_MS) < 0 && errno == EINTR) return kit_fail_errno(err, errno, "did not get %s", path);
    }
    return KOLM_OK;
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
    fd = open(kit_buf_text(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        status = kit_fail_errno(err, errno, "cannot open the lock file %s", kit_buf_text(&path));
        goto out;
    }
    status = wait_for_lock(fd, kit_buf_text(&path), wait_ms, err);
    if (status != KOLM_OK) goto out;
    lock = calloc(1, sizeof *lock);
    if (!lock) {
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
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
    /* The file stays: removing it would let two processes hold locks on two files of one name. */
    close(lock->fd);
    free(lock);
}
