/* SPDX-License-Identifier: Apache-2.0 */
/* What fuzz targets share: what must hold, inputs in parts, and a directory of files in memory. */
#ifndef KOLM_TESTS_FUZZ_H
#define KOLM_TESTS_FUZZ_H

#include "kolm/kit/file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void must(bool holds) {
    if (!holds) abort();
}

/* UTF-8 without control characters and without what turns the direction of a text: fit for a terminal. */
bool fuzz_plain(const char *text);
/* The error of a refusal: its code, a sentence, and nothing in it that a terminal would obey. */
void fuzz_refused(kit_status status, const kolm_error_t *err);

/* An input that stands for several files: its parts are separated by lines of "%%". */
typedef struct fuzz_parts {
    const char *at;
    size_t left;
} fuzz_parts;
/* The next part, NUL terminated and the caller's to free; an empty one when there is no more. */
char *fuzz_part(fuzz_parts *parts, size_t *out_length);

/* A directory of this process alone, 0700, in memory where the system has such a place (writing and syncing there waits
 * for no disk); made at the first call, removed at exit. */
const char *fuzz_directory(void);
/* A path in it; a few of them stay valid at a time. */
const char *fuzz_path(const char *name);
/* Makes its file NAME hold these bytes, 0600; bytes may be NULL when there are none. */
void fuzz_put(const char *name, const void *bytes, size_t length);
/* The same, but no bytes are no file. */
void fuzz_put_any(const char *name, const void *bytes, size_t length);

#endif
