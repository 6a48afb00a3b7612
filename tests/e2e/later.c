/* SPDX-License-Identifier: Apache-2.0 */
/* For LD_PRELOAD: each byte in the file $LATER advances the clock, as the process reads it, by 15 minutes. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *out) {
    struct stat file;
    const char *path = getenv("LATER");
    long failed = syscall(SYS_clock_gettime, clock, out);
    if (failed == 0 && path != NULL && stat(path, &file) == 0) out->tv_sec += 900 * file.st_size;
    return (int)failed;
}
