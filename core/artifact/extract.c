/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the payload out: opens each path component itself, so that no symbolic link is followed. */
#include "artifact/internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens the parent directory of name, below root, creating missing ones. */
static kit_status open_parent(int root, const char *name, int *out_fd, const char **out_leaf, kolm_error_t *err) {
    char part[ARTIFACT_MAX_NAME + 1];
    int at = fcntl(root, F_DUPFD_CLOEXEC, 3);
    if (at < 0) return kit_fail_errno(err, errno, "cannot extract");
    for (const char *slash = strchr(name, '/'); slash != NULL; slash = strchr(name, '/')) {
        memcpy(part, name, (size_t)(slash - name));
        part[slash - name] = '\0';
        name = slash + 1;
        int inner = -1, saved = 0;
        if (mkdirat(at, part, 0755) != 0 && errno != EEXIST) saved = errno;
        if (saved == 0) {
            inner = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            saved = inner < 0 ? errno : 0;
        }
        close(at);
        if (inner < 0) return kit_fail_errno(err, saved, "cannot make the directory \"%s\"", part);
        at = inner;
    }
    *out_fd = at;
    *out_leaf = name;
    return KOLM_OK;
}

typedef struct stopper {
    artifact_stop_fn stop;
    void *user;
} stopper;

static kit_status copy_entry(artifact *a, const artifact_entry *entry, int to, uint8_t *chunk, const stopper *stopped,
                             kolm_error_t *err) {
    kit_sha256 *sha = NULL;
    uint8_t digest[KIT_SHA256_BYTES];
    char hex[KIT_SHA256_HEX] = "";
    kit_status status = kit_sha256_new(&sha, err);
    for (uint64_t done = 0; done < entry->size && status == KOLM_OK;) {
        if (stopped->stop != NULL && stopped->stop(stopped->user, done, entry->size)) {
            status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while it was copied");
            break;
        }
        uint64_t left = entry->size - done;
        size_t n = left < ARTIFACT_CHUNK ? (size_t)left : ARTIFACT_CHUNK;
        status = artifact_read_at(a->fd, entry->offset + done, chunk, n, err);
        if (status == KOLM_OK) status = kit_sha256_update(sha, chunk, n, err);
        if (status == KOLM_OK) status = kit_write_all(to, chunk, n, err);
        done += n;
    }
    if (status == KOLM_OK) status = kit_sha256_final(sha, digest, err);
    kit_sha256_free(sha);
    if (status != KOLM_OK) return status;
    kit_hex(digest, sizeof digest, hex);
    if (strcmp(hex, entry->sha256) == 0) return KOLM_OK;
    return kit_fail(err, ARTIFACT_E_CHANGED, "download the file again", "it does not match its digest in the manifest");
}

static kit_status extract_entry(artifact *a, const artifact_entry *entry, int root, uint8_t *chunk,
                                const stopper *stopped, kolm_error_t *err) {
    int parent = -1, to = -1;
    const char *leaf = NULL;
    KIT_TRY(open_parent(root, entry->name, &parent, &leaf, err));
    kit_status status = KOLM_OK;
    to = openat(parent, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (to < 0) {
        status = kit_fail_errno(err, errno, "cannot create it");
    } else {
        status = copy_entry(a, entry, to, chunk, stopped, err);
        if (close(to) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write it");
        if (status != KOLM_OK) unlinkat(parent, leaf, 0);
    }
    close(parent);
    return status;
}

kit_status artifact_extract(artifact *a, const char *directory, artifact_stop_fn stop, void *stop_user,
                            kolm_error_t *err) {
    const stopper stopped = {stop, stop_user};
    uint8_t *chunk = malloc(ARTIFACT_CHUNK);
    if (chunk == NULL) return kit_no_memory(err);
    int root = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kit_status status = root >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open the directory %s", directory);
    for (size_t i = 0; i < a->zip.count && status == KOLM_OK; i++) {
        const artifact_entry *entry = &a->entries[i];
        if (entry->sha256[0] == '\0') continue; /* manifest.json and META/ are not payload */
        status = extract_entry(a, entry, root, chunk, &stopped, err);
        if (status != KOLM_OK) kit_fail_context(err, "cannot extract \"%s\" into %s", entry->name, directory);
    }
    if (root >= 0) close(root);
    free(chunk);
    return status;
}
