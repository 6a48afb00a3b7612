/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch directories: created, locked while in use, and removed even if the kolm that created them was killed.
 */
#include "host/run.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/vfs.h>
#endif

#define PREFIX "kolm-scratch-"
#define SAME_NAME_MOST 4096 /* calls of one backend at once */
#define DRAWN "XXXXXX"
#define NAMES_MAX 8192 /* entries of the root that are examined: a crowded /tmp must not slow down every command */

/* Opens and locks a directory of ours; -1 if it is another user's, in use, gone, or not created by kolm. */
static int lock_own(const char *path) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    bool own = fstat(fd, &info) == 0 && kit_trust_stat(KIT_TRUST_MADE, &info) == KIT_TRUST_GOOD &&
               (info.st_mode & 07777) == 0700;
    if (own && kit_lock_try(fd, path, NULL) == KOLM_OK && kit_lock_is_linked(fd)) return fd;
    close(fd);
    return -1;
}

/* Removes leftovers of a killed kolm, whose lock ended with it. */
static void sweep(const char *root) {
    DIR *listing = opendir(root);
    const struct dirent *entry;
    for (int i = 0; listing && i < NAMES_MAX && (entry = readdir(listing)) != NULL; i++) {
        char *path = NULL;
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 || strlen(entry->d_name) != strlen(PREFIX DRAWN))
            continue;
        if (kit_path_join(root, entry->d_name, &path, NULL) != KOLM_OK) break;
        int fd = lock_own(path);
        if (fd >= 0) {
            kit_status ignored = kit_remove_tree(path, NULL); /* the next one tries again */
            (void)ignored;
            close(fd);
        }
        free(path);
    }
    if (listing) closedir(listing);
}

static kit_status make(host_scratch *scratch, const char *root, kolm_error_t *err) {
    /* Another kolm may remove a new directory before it is locked: then try another name. */
    for (int attempt = 0; attempt < 16; attempt++) {
        KIT_TRY(kit_path_join(root, PREFIX DRAWN, &scratch->path, err));
        if (!mkdtemp(scratch->path)) {
            int why = errno;
            free(scratch->path);
            scratch->path = NULL;
            return kit_fail_errno(err, why, "cannot make a scratch directory in %s", root);
        }
        scratch->fd = lock_own(scratch->path);
        struct stat info;
        if (scratch->fd >= 0) return KOLM_OK;
        /* A file system without locks: others cannot lock it for removal either. */
        if (stat(scratch->path, &info) == 0) return KOLM_OK;
        free(scratch->path);
        scratch->path = NULL;
    }
    return kit_fail(err, KOLM_E_ABORTED, "run the command again", "cannot keep a scratch directory in %s", root);
}

/* In memory, for calls that write little: hundreds of directories at once are slow on a disk. */
static bool in_memory(const char *place) {
#if defined(__linux__)
    struct statfs kind;
    struct stat info;
    return statfs(place, &kind) == 0 && (uint32_t)kind.f_type == 0x01021994u /* tmpfs: magic.h */ &&
           lstat(place, &info) == 0 && kit_trust_is_sticky(&info);
#else
    (void)place;
    return false;
#endif
}

kit_status host_scratch_open(const host_call_options *options, bool light, host_scratch *out_scratch,
                             kolm_error_t *err) {
    const char *wanted = secure_getenv("TMPDIR");
    *out_scratch = HOST_SCRATCH_NONE;
    if (options->scratch_root) return make(out_scratch, options->scratch_root, err);
    /* A full or missing TMPDIR must not fail the call. */
    if (wanted && wanted[0] == '/' && make(out_scratch, wanted, NULL) == KOLM_OK) return KOLM_OK;
    if (light && in_memory("/dev/shm") && make(out_scratch, "/dev/shm", NULL) == KOLM_OK) return KOLM_OK;
    return make(out_scratch, "/tmp", err);
}

kit_status host_scratch_make(const host_scratch *scratch, const char *name, char **out_path, kolm_error_t *err) {
    char numbered[80];
    for (unsigned number = 1;; number++) {
        kit_format(numbered, sizeof numbered, "%.64s.%u", name, number);
        KIT_TRY(kit_path_join(scratch->path, number > 1 ? numbered : name, out_path, err));
        if (mkdir(*out_path, 0700) == 0) return KOLM_OK;
        int why = errno;
        kit_status status = kit_fail_errno(err, why, "cannot make the scratch directory %s", *out_path);
        free(*out_path);
        *out_path = NULL;
        if (why != EEXIST || number >= SAME_NAME_MOST) return status;
    }
}

void host_scratch_end(host_scratch *scratch) {
    host_common_free(scratch->common);
    scratch->common = NULL;
    if (!scratch->path) return;
    kit_status ignored = kit_remove_tree(scratch->path, NULL); /* a failed removal does not fail a successful call */
    (void)ignored;
    if (scratch->fd >= 0) close(scratch->fd);
    *strrchr(scratch->path, '/') = '\0';
    sweep(scratch->path[0] != '\0' ? scratch->path : "/");
    free(scratch->path);
    *scratch = HOST_SCRATCH_NONE;
}
