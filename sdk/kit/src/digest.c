/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 through nettle. */
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct kit_sha256 {
    struct sha256_ctx context;
};

kit_status kit_sha256_new(kit_sha256 **out, kolm_error_t *err) {
    *out = malloc(sizeof **out);
    if (*out == NULL) return kit_no_memory(err);
    sha256_init(&(*out)->context);
    return KOLM_OK;
}

kit_status kit_sha256_update(kit_sha256 *state, const void *bytes, size_t length, kolm_error_t *err) {
    (void)err;
    sha256_update(&state->context, length, bytes);
    return KOLM_OK;
}

kit_status kit_sha256_final(kit_sha256 *state, uint8_t out[KIT_SHA256_BYTES], kolm_error_t *err) {
    (void)err;
    sha256_digest(&state->context, KIT_SHA256_BYTES, out); /* resets the context, too */
    return KOLM_OK;
}

void kit_sha256_free(kit_sha256 *state) {
    free(state);
}

static kit_status final_hex(kit_sha256 *state, char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    uint8_t digest[KIT_SHA256_BYTES];
    KIT_TRY(kit_sha256_final(state, digest, err));
    kit_hex(digest, sizeof digest, out_hex);
    return KOLM_OK;
}

kit_status kit_sha256_bytes(const void *bytes, size_t length, char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    kit_sha256 *state = NULL;
    KIT_TRY(kit_sha256_new(&state, err));
    kit_status status = kit_sha256_update(state, bytes, length, err);
    if (status == KOLM_OK) status = final_hex(state, out_hex, err);
    kit_sha256_free(state);
    return status;
}

static kit_status hash_descriptor(int fd, const char *path, kit_sha256 *state, uint64_t *out_size, kolm_error_t *err) {
    const size_t capacity = 1u << 18;
    char *chunk = malloc(capacity);
    if (chunk == NULL) return kit_no_memory(err);
    kit_status status = KOLM_OK;
    for (;;) {
        ssize_t got = read(fd, chunk, capacity);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (got <= 0) break;
        *out_size += (uint64_t)got;
        status = kit_sha256_update(state, chunk, (size_t)got, err);
        if (status != KOLM_OK) break;
    }
    free(chunk);
    return status;
}

kit_status kit_sha256_file(const char *path, char out_hex[KIT_SHA256_HEX], uint64_t *out_size, kolm_error_t *err) {
    /* Non-blocking: must not hang if path is a pipe. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_sha256 *state = NULL;
    uint64_t size = 0;
    struct stat info;
    kit_status status = KOLM_OK;
    if (fstat(fd, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot access %s", path);
    else if (S_ISDIR(info.st_mode))
        status = kit_fail_errno(err, EISDIR, "cannot read %s", path);
    else if (!S_ISREG(info.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a regular file", "%s is not a regular file", path);
    if (status == KOLM_OK) status = kit_sha256_new(&state, err);
    if (status == KOLM_OK) status = hash_descriptor(fd, path, state, &size, err);
    if (status == KOLM_OK) status = final_hex(state, out_hex, err);
    kit_sha256_free(state);
    close(fd);
    if (out_size != NULL) *out_size = size;
    return status;
}
