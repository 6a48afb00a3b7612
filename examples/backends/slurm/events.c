/* SPDX-License-Identifier: Apache-2.0 */
/* What the trainer prints: its events, and its last words. */
#include "slurm.h"

#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 65536u
#define WORDS_TAIL (1u << 16)

static double real_of(const cJSON *event, const char *key) {
    double value;
    return kit_json_get_number(event, key, &value) ? value : NAN;
}

static uint64_t count_of(const cJSON *event, const char *key) {
    uint64_t value;
    return kit_json_get_u64(event, key, &value) ? value : KOLM_UNKNOWN_COUNT;
}

static const char *text_of(const cJSON *event, const char *key) {
    const char *text = "";
    return kit_json_get_string(event, key, &text) ? text : "";
}

static void tell_progress(const kolm_host_v1_t *host, const cJSON *event) {
    const char *phase = text_of(event, "phase");
    const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                      .step = count_of(event, "step"),
                                      .total = count_of(event, "total"),
                                      .loss = real_of(event, "loss"),
                                      .tokens_per_second = real_of(event, "tokens_per_second"),
                                      .phase = *phase ? phase : "training"};
    host->progress(host->user, &progress);
}

static void tell_log(const kolm_host_v1_t *host, const cJSON *event) {
    const char *level = text_of(event, "level");
    host->log(host->user,
              strcmp(level, "error") == 0     ? KOLM_LOG_ERROR
              : strcmp(level, "warning") == 0 ? KOLM_LOG_WARNING
                                              : KOLM_LOG_INFO,
              text_of(event, "text"));
}

static void take_error(slurm_events *events, const cJSON *event) {
    uint64_t code = KOLM_E_UNKNOWN;
    (void)kit_json_get_u64(event, "code", &code);
    (void)kit_fail(&events->error, code > 0 && code <= KOLM_E_UNAUTHENTICATED ? (int32_t)code : KOLM_E_UNKNOWN,
                   text_of(event, "remedy"), "%s", text_of(event, "text"));
}

static void take_event(slurm_events *events, const cJSON *event) {
    const char *kind = text_of(event, "event");
    double value;
    /* An error is the last event of a trainer. Whatever follows comes from the next one: Slurm started the job again.
     */
    if (strcmp(kind, "error") != 0) events->error.code = KOLM_OK;
    if (strcmp(kind, "progress") == 0) {
        tell_progress(events->host, event);
    } else if (strcmp(kind, "log") == 0) {
        tell_log(events->host, event);
    } else if (strcmp(kind, "metric") == 0 && kit_json_get_number(event, "value", &value)) {
        events->host->metric(events->host->user, text_of(event, "name"), value);
    } else if (strcmp(kind, "result") == 0) {
        events->result = true;
        (void)kit_copy(events->device, sizeof events->device, text_of(event, "device"));
        (void)kit_copy(events->toolchain, sizeof events->toolchain, text_of(event, "toolchain"));
    } else if (strcmp(kind, "error") == 0) {
        take_error(events, event);
    }
}

/* A line that is no event is a word of the trainer's. */
static void take_line(slurm_events *events, const kit_buf *line) {
    cJSON *event = NULL;
    if (kit_json_parse(kit_buf_text(line), line->length, &event, NULL) == KOLM_OK)
        take_event(events, event);
    else if (line->length > 0)
        events->host->log(events->host->user, KOLM_LOG_INFO, kit_buf_text(line));
    cJSON_Delete(event);
}

void slurm_events_read(slurm_events *events, const char *dir) {
    char *path = NULL;
    kit_buf line = {0};
    char chunk[8192];
    if (kit_path_join(dir, SLURM_EVENTS_FILE, &path, NULL) != KOLM_OK) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = events->read_to;
    for (ssize_t n; fd >= 0 && (n = pread(fd, chunk, sizeof chunk, at)) > 0; at += n) {
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] != '\n') {
                if (line.length < LINE_MAX_BYTES) kit_buf_char(&line, chunk[i]);
                continue;
            }
            take_line(events, &line);
            kit_buf_clear(&line);
            events->read_to = at + i + 1; /* only whole lines count as read */
        }
    }
    if (fd >= 0) close(fd);
    kit_buf_free(&line);
    free(path);
}

/* The end of the job's standard error, NUL terminated; NULL when there is none. */
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
