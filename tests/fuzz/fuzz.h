/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers shared by the fuzz targets: checks, inputs that consist of parts, and a directory of files in memory. */
#ifndef KOLM_TESTS_FUZZ_H
#define KOLM_TESTS_FUZZ_H

#include "kolm/kit/file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(bool holds) {
    if (!holds) abort();
}

/* True if text is UTF-8 without control characters and bidirectional controls, so that it can be shown on a
 * terminal. */
bool fuzz_plain(const char *text);
/* Checks the error of a rejected input: its code, its sentence, and that a terminal can show it safely. */
void fuzz_refused(kit_status status, const kolm_error_t *err);

/* An input that contains several files: lines of "%%" separate its parts. */
typedef struct fuzz_parts {
    const char *at;
    size_t left;
} fuzz_parts;
/* Returns the next part, NUL terminated, which the caller must free; an empty one after the last. */
char *fuzz_part(fuzz_parts *parts, size_t *out_length);

/* A directory of this process, 0700, in memory if the system has such a file system (so that writes and syncs do not
 * wait for a disk). Created by the first call, removed at exit. */
const char *fuzz_directory(void);
/* Returns a path in it; the last few results are valid. */
const char *fuzz_path(const char *name);
/* Writes these bytes to its file NAME, 0600; bytes may be NULL if length is 0. */
void fuzz_put(const char *name, const void *bytes, size_t length);
/* The same, but removes the file if length is 0. */
void fuzz_put_any(const char *name, const void *bytes, size_t length);

#endif
