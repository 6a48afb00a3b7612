/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the trainer's output: events, and the end of its standard error. */
#include "slurm.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_TAIL (1u << 16)

void slurm_events_read(slurm_events *events, const char *dir) {
    char *path = NULL;
    if (kit_path_join(dir, SLURM_EVENTS_FILE, &path, NULL) != KOLM_OK) return;
    /* A file written by another machine may be unreadable for a moment: it is read on the next call. */
    kit_status ignored = kit_events_file(&events->job, path, &events->read_to, NULL);
    (void)ignored;
    free(path);
}

/* The end of the job's standard error, NUL terminated; "" if there is none, NULL if out of memory. */
static char *tail_of_errors(const char *dir) {
    char *path = NULL, *text = malloc(WORDS_TAIL + 1);
    ssize_t n = 0;
    int fd = -1;
    if (text && kit_path_join(dir, SLURM_ERRORS_FILE, &path, NULL) == KOLM_OK) fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        n = pread(fd, text, WORDS_TAIL, size > (off_t)WORDS_TAIL ? size - (off_t)WORDS_TAIL : 0);
        close(fd);
    }
    if (text) text[n > 0 ? n : 0] = '\0';
    free(path);
    return text;
}

void slurm_last_words(const char *dir, char *out, size_t capacity, bool *out_oom) {
    static const char slurms[] = "slurmstepd: ";
    char *text = tail_of_errors(dir), *rest = text, *line;
    bool trainers = false;
    out[0] = '\0';
    *out_oom = false;
    while (rest && (line = strsep(&rest, "\r\n")) != NULL) {
        bool slurm = strncmp(line, slurms, sizeof slurms - 1) == 0;
        if (slurm && (strstr(line, "oom_kill") || strstr(line, "oom-kill") || strstr(line, "out-of-memory")))
            *out_oom = true;
        if (line[strspn(line, " \t")] == '\0' || (slurm && trainers)) continue;
        trainers = !slurm;
        (void)kit_copy(out, capacity, line);
    }
    free(text);
}
