/* SPDX-License-Identifier: Apache-2.0 */
/* Finds processes that calls left behind, by session. */
#include "host/run.h"

#include "kolm/kit/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct proc_stat {
    char state;
    long session;
} proc_stat;

static bool read_stat(const char *number, proc_stat *out) {
    char path[64], text[512];
    kit_format(path, sizeof path, "/proc/%s/stat", number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return false;
    text[n] = '\0';
    char *at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || at[1] != ' ' || at[2] == '\0') return false;
    out->state = at[2];
    char *field = at + 3;
    for (int i = 0; i < 2; i++)
        strtol(field, &field, 10); /* parent, group */
    out->session = strtol(field, NULL, 10);
    return true;
}

bool host_run_sweep(const host_run *runs, size_t count, bool end) {
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    bool any = false;
    while (dir && (entry = readdir(dir)) != NULL) {
        proc_stat found;
        uint64_t pid;
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !kit_parse_u64(entry->d_name, &pid) ||
            !read_stat(entry->d_name, &found))
            continue;
        for (size_t i = 0; i < count; i++) {
            if (!runs[i].started || found.session != (long)runs[i].life.pid || pid == (uint64_t)runs[i].life.pid)
                continue;
            if (found.state == 'Z' || found.state == 'X') {
                (void)waitpid((pid_t)pid, NULL, WNOHANG); /* our child since adopt() */
                continue;
            }
            any = true;
            if (end) kill((pid_t)pid, SIGKILL);
        }
    }
    if (dir) closedir(dir);
    return any;
}
