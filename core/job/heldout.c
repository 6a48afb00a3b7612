/* SPDX-License-Identifier: Apache-2.0 */
/* Held-out rows in a sealed memfd, or in an unnamed file if there are many. */
#include "job/heldout.h"

#include "job/scratch.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PENDING_BYTES (64u << 10)

static kit_status write_failed(const job_heldout *h, int why, kolm_error_t *err) {
    return kit_fail_errno(err, why, "cannot write the held-out rows in %s", h->directory);
}

static int open_memory(void) {
#ifdef MFD_ALLOW_SEALING
    return memfd_create("kolm-heldout", MFD_CLOEXEC | MFD_ALLOW_SEALING);
#else
    return -1;
#endif
}

kit_status job_heldout_open(const char *directory, job_heldout *out_heldout, kolm_error_t *err) {
    *out_heldout = (job_heldout){.fd = open_memory(), .directory = directory};
    out_heldout->in_memory = out_heldout->fd >= 0;
    /* No memfd: an old kernel, or forbidden by a sandbox. */
    return out_heldout->in_memory ? KOLM_OK : job_scratch_open(directory, "heldout", &out_heldout->fd, err);
}

static kit_status write_all(const job_heldout *h, int fd, const char *bytes, size_t length, kolm_error_t *err) {
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(fd, bytes + done, length - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return write_failed(h, wrote < 0 ? errno : EIO, err);
        done += (size_t)wrote;
    }
    return KOLM_OK;
}

static kit_status copy_into(const job_heldout *h, int to, kolm_error_t *err) {
    char *chunk = malloc(PENDING_BYTES);
    if (chunk == NULL) return write_failed(h, ENOMEM, err);
    kit_status status = KOLM_OK;
    for (uint64_t at = 0; at < h->bytes && status == KOLM_OK;) {
        ssize_t got = pread(h->fd, chunk, PENDING_BYTES, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        status = got > 0 ? write_all(h, to, chunk, (size_t)got, err) : write_failed(h, got < 0 ? errno : EIO, err);
        at += got > 0 ? (uint64_t)got : 0;
    }
    free(chunk);
    return status;
}

/* Too many for memory: switch to a file. */
static kit_status move_to_file(job_heldout *h, kolm_error_t *err) {
    int file = -1;
    KIT_TRY(job_scratch_open(h->directory, "heldout", &file, err));
    kit_status status = copy_into(h, file, err);
    close(status == KOLM_OK ? h->fd : file);
    if (status != KOLM_OK) return status;
    h->fd = file;
    h->in_memory = false;
    return KOLM_OK;
}

static kit_status flush(job_heldout *h, kolm_error_t *err) {
    KIT_TRY(kit_buf_ok(&h->pending, err));
    if (h->in_memory && h->bytes + h->pending.length > JOB_HELDOUT_MEMORY) KIT_TRY(move_to_file(h, err));
    KIT_TRY(write_all(h, h->fd, kit_buf_text(&h->pending), h->pending.length, err));
    h->bytes += h->pending.length;
    kit_buf_clear(&h->pending);
    return KOLM_OK;
}

kit_status job_heldout_add(job_heldout *heldout, const void *bytes, size_t length, kolm_error_t *err) {
    kit_buf_add(&heldout->pending, bytes, length);
    return heldout->pending.length < PENDING_BYTES ? KOLM_OK : flush(heldout, err);
}

static kit_status seal(const job_heldout *h, kolm_error_t *err) {
#ifdef F_ADD_SEALS
    if (h->in_memory && fcntl(h->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        return kit_fail_errno(err, errno, "cannot seal the held-out rows");
#endif
    (void)h, (void)err;
    return KOLM_OK;
}

kit_status job_heldout_seal(job_heldout *heldout, int *out_fd, kolm_error_t *err) {
    KIT_TRY(flush(heldout, err));
    KIT_TRY(seal(heldout, err));
    *out_fd = heldout->fd;
    heldout->fd = -1;
    return KOLM_OK;
}

void job_heldout_close(job_heldout *heldout) {
    if (heldout->fd >= 0) close(heldout->fd);
    kit_buf_free(&heldout->pending);
    *heldout = (job_heldout){.fd = -1};
}
