/* SPDX-License-Identifier: Apache-2.0 */
/* Private, sealed copies of what was hashed; and whether a file without one was changed. */
#include "artifact/internal.h"

#include "kolm/kit/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(MFD_ALLOW_SEALING) && !defined(MFD_NOEXEC_SEAL)
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3 */
#endif

int artifact_keep_begin(const artifact *a) {
#ifdef MFD_ALLOW_SEALING
    if (a->kept || a->size > ARTIFACT_KEEP_MAX) return -1;
    int copy = memfd_create("kolm-model", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (copy < 0 && errno == EINVAL) copy = memfd_create("kolm-model", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return copy;
#else
    (void)a;
    return -1;
#endif
}

void artifact_keep_end(artifact *a, int copy) {
#ifdef MFD_ALLOW_SEALING
    if (fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0) {
        close(a->fd);
        a->fd = copy;
        a->kept = true;
        return;
    }
#endif
    close(copy);
}

const kit_file_mark *artifact_mark(const artifact *a) {
    return &a->mark;
}

kit_status artifact_unchanged(const artifact *a, kolm_error_t *err) {
    kit_file_mark now;
    if (a->kept) return KOLM_OK;
    KIT_TRY(kit_file_mark_fd(a->fd, &now, err));
    if (kit_file_is_written(a->fd))
        return kit_fail(err, ARTIFACT_E_CHANGED, "wait until no process writes to the file, and run the command again",
                        "another program has the file open for writing");
    if (kit_file_mark_same(&now, &a->mark)) return KOLM_OK;
    return kit_fail(err, ARTIFACT_E_CHANGED, "leave the file alone while it is used, and run the command again",
                    "the file was changed or replaced while it was used");
}
