/* SPDX-License-Identifier: Apache-2.0 */
/* A preloaded library that makes one call fail: the FAIL_NTH-th (from 1) allocation, or the FAIL_NTH-th reading of a file. With
 * FAIL_COUNT=FILE it fails nothing and writes how many such calls there were. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum what { NOTHING, MEMORY, INPUT };

static enum what failing;
static unsigned long nth;
static atomic_ulong calls;

__attribute__((constructor)) static void begin(void) {
    const char *what = getenv("FAIL_WHAT"), *number = getenv("FAIL_NTH");
    nth = number != NULL ? strtoul(number, NULL, 10) : 0;
    if (what == NULL) return;
    failing = strcmp(what, "memory") == 0 ? MEMORY : INPUT;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAIL_COUNT");
    failing = NOTHING;
    FILE *file = path != NULL ? fopen(path, "we") : NULL;
    if (file == NULL) return;
    fprintf(file, "%lu\n", (unsigned long)calls);
    fclose(file);
}

static bool fails(enum what what) {
    if (failing != what) return false;
    return atomic_fetch_add(&calls, 1) + 1 == nth;
}

/* glibc's own names for what is wrapped here: no dlsym, which allocates. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size) {
    if (!fails(MEMORY)) return __libc_malloc(size);
    errno = ENOMEM;
    return NULL;
}

void *calloc(size_t count, size_t size) {
    if (!fails(MEMORY)) return __libc_calloc(count, size);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *old, size_t size) {
    if (!fails(MEMORY)) return __libc_realloc(old, size);
    errno = ENOMEM;
    return NULL;
}

/* Built with the same width of off_t as kolm, so that pread and fstat are the names that kolm calls. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t read(int fd, void *bytes, size_t length) {
    if (!fails(INPUT)) return NEXT(read)(fd, bytes, length);
    errno = EIO;
    return -1;
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset) {
    if (!fails(INPUT)) return NEXT(pread)(fd, bytes, length, offset);
    errno = EIO;
    return -1;
}

int fstat(int fd, struct stat *info) {
    if (!fails(INPUT)) return NEXT(fstat)(fd, info);
    errno = EIO;
    return -1;
}
