/* SPDX-License-Identifier: Apache-2.0 */
/* A preloaded library that makes allocation number KOLM_FAIL_AT fail, once, and writes to KOLM_FAIL_REPORT whether it
 * happened. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* glibc's internal names of the functions replaced here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static uint64_t fail_at; /* 0: never */
static uint64_t count;
static const char *report;

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("KOLM_FAIL_AT");
    report = getenv("KOLM_FAIL_REPORT");
    if (at != NULL) fail_at = strtoull(at, NULL, 10);
    __atomic_store_n(&count, 0, __ATOMIC_RELAXED);
}

/* True for the one allocation that must fail. Nothing here allocates. */
static int unlucky(void) {
    if (fail_at == 0 || __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED) != fail_at) return 0;
    int fd = report != NULL ? open(report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) close(fd);
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) {
    return unlucky() ? NULL : __libc_malloc(size);
}

void *calloc(size_t members, size_t size) {
    return unlucky() ? NULL : __libc_calloc(members, size);
}

void *realloc(void *old, size_t size) {
    return unlucky() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return unlucky() ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    void *block = unlucky() ? NULL : __libc_memalign(alignment, size);
    if (block == NULL) return ENOMEM;
    *out = block;
    return 0;
}
