/* SPDX-License-Identifier: Apache-2.0 */
/* A preloaded library that makes one call fail: number FAIL_NTH (from 1) of the kind FAIL_WHAT: memory (an allocation),
 * input (a status query or a read of a file) or output (a change of a file). With FAIL_COUNT=FILE it writes the number
 * of such calls there. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum what { NOTHING, MEMORY, INPUT, OUTPUT };

static enum what failing;
static unsigned long nth;
static atomic_ulong calls;

__attribute__((constructor)) static void begin(void) {
    const char *what = getenv("FAIL_WHAT"), *number = getenv("FAIL_NTH");
    nth = number != NULL ? strtoul(number, NULL, 10) : 0;
    if (what == NULL) return;
    failing = strcmp(what, "memory") == 0 ? MEMORY : strcmp(what, "input") == 0 ? INPUT : OUTPUT;
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

/* glibc's internal names for the functions wrapped here: no dlsym, which allocates. */
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

/* Built with the same width of off_t as kolm, so that kolm calls pread, open and fstat by these names. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(what, result, bad, name, arguments, values)                                                               \
    result name arguments {                                                                                            \
        if (!fails(what)) return NEXT(name) values;                                                                    \
        errno = EIO;                                                                                                   \
        return bad;                                                                                                    \
    }

WRAP(INPUT, ssize_t, -1, read, (int fd, void *bytes, size_t length), (fd, bytes, length))
WRAP(INPUT, ssize_t, -1, pread, (int fd, void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
WRAP(INPUT, int, -1, fstat, (int fd, struct stat *info), (fd, info))
WRAP(INPUT, int, -1, stat, (const char *path, struct stat *info), (path, info))
WRAP(INPUT, int, -1, lstat, (const char *path, struct stat *info), (path, info))
WRAP(INPUT, int, -1, fstatat, (int fd, const char *path, struct stat *info, int flags), (fd, path, info, flags))
WRAP(INPUT, int, -1, access, (const char *path, int mode), (path, mode))
WRAP(INPUT, char *, NULL, realpath, (const char *path, char *out), (path, out))
WRAP(INPUT, DIR *, NULL, opendir, (const char *path), (path))
WRAP(INPUT, DIR *, NULL, fdopendir, (int fd), (fd))
WRAP(INPUT, struct dirent *, NULL, readdir, (DIR * listing), (listing))
WRAP(INPUT, int, -1, scandir,
     (const char *path, struct dirent ***out, int (*filter)(const struct dirent *),
      int (*order)(const struct dirent **, const struct dirent **)),
     (path, out, filter, order))
WRAP(OUTPUT, ssize_t, -1, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
WRAP(OUTPUT, ssize_t, -1, pwrite, (int fd, const void *bytes, size_t length, off_t offset), (fd, bytes, length, offset))
WRAP(OUTPUT, int, -1, fsync, (int fd), (fd))
WRAP(OUTPUT, int, -1, fdatasync, (int fd), (fd))
WRAP(OUTPUT, int, -1, ftruncate, (int fd, off_t length), (fd, length))
WRAP(OUTPUT, int, -1, rename, (const char *from, const char *to), (from, to))
WRAP(OUTPUT, int, -1, link, (const char *from, const char *to), (from, to))
WRAP(OUTPUT, int, -1, mkdir, (const char *path, mode_t mode), (path, mode))

static mode_t mode_of(int flags, va_list more) {
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    if (!fails((flags & O_CREAT) != 0 ? OUTPUT : INPUT)) return NEXT(open)(path, flags, mode);
    errno = EIO;
    return -1;
}

int openat(int fd, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    if (!fails((flags & O_CREAT) != 0 ? OUTPUT : INPUT)) return NEXT(openat)(fd, path, flags, mode);
    errno = EIO;
    return -1;
}

/* Fortified headers replace open and realpath by these. */
int __open64_2(const char *path, int flags);
int __open64_2(const char *path, int flags) {
    return open(path, flags);
}

char *__realpath_chk(const char *path, char *out, size_t size);
char *__realpath_chk(const char *path, char *out, size_t size) {
    (void)size;
    return realpath(path, out);
}
