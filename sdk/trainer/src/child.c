/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the trainer: starts it, reads its output, stops it in time, and explains why there is no result. */
#include "internal.h"

#include "kolm/kit/child.h"
#include "kolm/kit/events.h"
#include "kolm/kit/text.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define STOP_MS 8000    /* from SIGTERM to SIGKILL: the host gives a slot ten seconds */
#define LINGER_MS 15000 /* from the result, or the end of the events, until the process exits */
#define TAIL_KEPT 4096  /* bytes of standard error */
#define TAIL_SHOWN 400  /* of those, shown in an error, escaped */

typedef struct watch {
    const kolm_host_v1_t *host;
    const kit_trainer *trainer;
    kit_buf tail;
    int64_t linger_ms;
    kit_child_end end;
    kit_events heard;
} watch;

/* ---- Environment */

static const char *const always[] = {
    "PATH=/usr/local/bin:/usr/bin:/bin",
    "LANG=C.UTF-8",
    "LD_LIBRARY_PATH",
    /* No telemetry and no downloads: core has resolved the base model to a directory. */
    "HF_HUB_DISABLE_TELEMETRY=1",
    "HF_HUB_OFFLINE=1",
    "TRANSFORMERS_OFFLINE=1",
    "HF_DATASETS_OFFLINE=1",
    "DO_NOT_TRACK=1",
    "WANDB_DISABLED=true",
    "WANDB_MODE=disabled",
    "UNSLOTH_DISABLE_STATISTICS=1",
    "PYTHONHASHSEED=0",
    "PYTHONUNBUFFERED=1",
    "PYTHONSAFEPATH=1",
    "TOKENIZERS_PARALLELISM=false",
};

#define ENV_MAX 96

typedef struct environment {
    char *entries[ENV_MAX + 1];
    size_t count;
    bool failed;
} environment;

static void put_env(environment *env, char *entry) {
    size_t at = 0, name = entry != NULL ? strcspn(entry, "=") + 1 : 0;
    if (entry == NULL || env->count == ENV_MAX) {
        free(entry);
        env->failed = true;
        return;
    }
    while (at < env->count && strncmp(env->entries[at], entry, name) != 0)
        at++;
    if (at == env->count) env->count++;
    free(env->entries[at]);
    env->entries[at] = entry;
}

static void put_env_fmt(environment *env, const char *name, const char *value) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s=%s", name, value);
    put_env(env, kit_buf_take(&text));
}

/* "NAME=VALUE", or "NAME" for the value in this process. */
static void pass_env(environment *env, const char *entry) {
    if (strchr(entry, '=') != NULL) {
        put_env(env, strdup(entry));
        return;
    }
    const char *value = secure_getenv(entry);
    if (value != NULL) put_env_fmt(env, entry, value);
}

static bool make_environment(const trainer_call *call, environment *out) {
    static const char *const homes[] = {"HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "MPLCONFIGDIR"};
    static const char *const threads[] = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"};
    char number[16];
    uint32_t each = call->processes > 1 ? call->threads / call->processes : call->threads;
    kit_format(number, sizeof number, "%u", each > 0 ? each : 1);
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        pass_env(out, always[i]);
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++)
        put_env_fmt(out, homes[i], call->host->scratch_dir);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        put_env_fmt(out, threads[i], number);
    for (size_t i = 0; call->trainer->env != NULL && call->trainer->env[i] != NULL; i++)
        pass_env(out, call->trainer->env[i]);
    return !out->failed;
}

static void say(const watch *w, uint32_t level, const char *text) {
    w->host->log(w->host->user, level, text);
}

/* ---- While it runs */

static kit_child_stop may_go_on(void *user, bool out_ended) {
    watch *w = user;
    if (w->host->cancelled(w->host->user) != 0) return KIT_CHILD_CANCELLED;
    if (w->host->time_left_ms(w->host->user) <= 0) return KIT_CHILD_DEADLINE;
    if ((out_ended || w->heard.result != NULL) && w->linger_ms == INT64_MAX) w->linger_ms = kit_now_ms() + LINGER_MS;
    return kit_now_ms() >= w->linger_ms ? KIT_CHILD_LINGERS : KIT_CHILD_GOES_ON;
}

static void hear_events(void *user, const char *bytes, size_t length) {
    watch *w = user;
    kit_events_bytes(&w->heard, bytes, length);
}

static void hear_words(void *user, const char *bytes, size_t length) {
    watch *w = user;
    kit_buf_add(&w->tail, bytes, length);
    if (w->tail.failed || w->tail.length <= TAIL_KEPT) return;
    size_t past = w->tail.length - TAIL_KEPT;
    memmove(w->tail.data, w->tail.data + past, TAIL_KEPT);
    w->tail.length = TAIL_KEPT;
    w->tail.data[TAIL_KEPT] = '\0';
}

/* ---- Why it has no result */

/* The last lines of its standard error, as one line of at most TAIL_SHOWN bytes. */
static void put_tail(const watch *w, char out[TAIL_SHOWN + 1]) {
    const char *text = kit_buf_text(&w->tail);
    size_t end = w->tail.length;
    kit_buf shown = {0};
    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r' || text[end - 1] == ' '))
        end--;
    size_t from = end;
    while (from > 0) {
        kit_buf one = {0};
        size_t line = from;
        while (line > 0 && text[line - 1] != '\n')
            line--;
        kit_buf_escaped(&one, text + line, from - line);
        if (shown.length > 0) kit_buf_fmt(&one, " | %s", kit_buf_text(&shown));
        bool fits = one.length <= TAIL_SHOWN;
        if (fits || shown.length == 0) {
            kit_buf_free(&shown);
            shown = one;
        } else {
            kit_buf_free(&one);
        }
        if (!fits) break;
        from = line > 0 ? line - 1 : 0;
    }
    kit_copy(out, TAIL_SHOWN + 1, kit_buf_text(&shown));
    kit_buf_free(&shown);
}

/* The trainer reports its own failures as events with a code. Its standard error is only shown. */
static kit_status no_result(const watch *w, kolm_error_t *err) {
    char tail[TAIL_SHOWN + 1], how[64], remedy[300], name[64];
    bool killed = w->end.signal_number != 0;
    put_tail(w, tail);
    trainer_backend(w->trainer, name, sizeof name);
    if (killed)
        kit_format(how, sizeof how, "was ended by signal %d", w->end.signal_number);
    else
        kit_format(how, sizeof how, "exited with status %d and without a result", w->end.exit_code);
    int32_t code = KOLM_E_INTERNAL;
    kit_format(remedy, sizeof remedy,
               "run `kolm compute test %s`, and `kolm compute setup %s` if that fails too; the same job continues from "
               "its last checkpoint",
               name, name);
    if (w->end.signal_number == SIGKILL) {
        code = KOLM_E_RESOURCE_EXHAUSTED;
        kit_copy(remedy, sizeof remedy,
                 "probably out of memory: close other programs, or use a smaller base; see the kernel log (dmesg)");
    }
    return kit_fail(err, code, remedy, "the trainer %s%s%s", how, tail[0] != '\0' ? ": " : "", tail);
}

/* For an unexpected failure: logs the end of standard error, for investigation. */
static void show_words(const watch *w) {
    const char *from = kit_buf_text(&w->tail);
    if (w->tail.length == TAIL_KEPT && strchr(from, '\n') != NULL) from = strchr(from, '\n') + 1;
    while (*from != '\0') {
        kit_buf line = {0};
        size_t length = strcspn(from, "\n");
        kit_buf_escaped(&line, from, length);
        if (length > 0) say(w, KOLM_LOG_ERROR, kit_buf_text(&line));
        kit_buf_free(&line);
        from += from[length] == '\n' ? length + 1 : length;
    }
}

static kit_status conclude(watch *w, cJSON **out_result, kolm_error_t *err) {
    static const char *const go_on = "run the same command again: it continues from its last checkpoint";
    bool clean = w->end.exit_code == 0;
    /* Accelerator runtimes tend to crash or hang during shutdown. The work is done nevertheless. */
    bool after = w->end.signal_number != 0 || w->end.stop == KIT_CHILD_LINGERS;
    if (w->heard.result != NULL && w->heard.error.code == KOLM_OK && (clean || after)) {
        if (!clean && w->end.stop != KIT_CHILD_CANCELLED)
            say(w, KOLM_LOG_WARNING, "the trainer failed after it had reported its result, which is kept");
        *out_result = w->heard.result;
        w->heard.result = NULL;
        return KOLM_OK;
    }
    bool told = w->heard.error.code != KOLM_OK;
    if (w->end.stop == KIT_CHILD_CANCELLED)
        return kit_fail(err, KOLM_E_CANCELLED, told ? w->heard.error.remedy : go_on, "%s",
                        told ? w->heard.error.text : "the trainer was stopped");
    if (w->end.stop == KIT_CHILD_DEADLINE)
        return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, go_on, "the deadline passed before the trainer had finished");
    if (w->heard.error.code == KOLM_E_INTERNAL || w->heard.error.code == KOLM_E_UNKNOWN) show_words(w);
    if (told) return kit_fail(err, w->heard.error.code, w->heard.error.remedy, "%s", w->heard.error.text);
    return no_result(w, err);
}

/* ---- Start */

#define ARGV_MAX 48

typedef struct arguments {
    const char *words[ARGV_MAX + 1];
    size_t count;
} arguments;

static void put_words(arguments *out, const char *const *words) {
    for (size_t i = 0; words[i] != NULL && out->count < ARGV_MAX; i++)
        out->words[out->count++] = words[i];
}

/* The processes of a group are started by a Python that does not train, so it may be fully isolated (-I). */
static void put_command(const trainer_call *call, const char *python, const char *directory, const char *processes,
                        const char *threads, arguments *out) {
    const char *const group[] = {python,         "-I",         "-B",      "-m",          "torch.distributed.run",
                                 "--standalone", "--nnodes=1", processes, "--no-python", NULL};
    const char *const one[] = {python,      "-s",    "-B", directory, call->verb, "--device", call->trainer->device,
                               "--threads", threads, NULL};
    if (call->processes > 1) put_words(out, group);
    put_words(out, one);
    put_words(out, call->words);
}

static kit_status run(const trainer_call *call, watch *w, kolm_error_t *err) {
    char python[TRAINER_PATH_MAX] = "", directory[TRAINER_PATH_MAX] = "", processes[40], threads[16];
    environment env = {0};
    arguments argv = {0};
    kit_spawn_fd fds[2 + TRAINER_SAME];
    size_t count = 0;
    uint32_t group = call->processes > 1 ? call->processes : 1, each = call->threads / group;
    KIT_TRY(trainer_python(call->host, call->trainer, python, err));
    KIT_TRY(trainer_directory(call->host, directory, err));
    kit_format(processes, sizeof processes, "--nproc-per-node=%u", call->processes);
    kit_format(threads, sizeof threads, "%u", each > 0 ? each : 1);
    put_command(call, python, directory, processes, threads, &argv);
    for (int i = 0; i < 2; i++)
        if (call->pass[i] >= 0) fds[count++] = (kit_spawn_fd){call->pass[i], 3 + i};
    for (int i = 0; i < TRAINER_SAME; i++)
        if (call->same[i] > 0) fds[count++] = (kit_spawn_fd){call->same[i], call->same[i]};
    kit_status status = make_environment(call, &env) ? KOLM_OK : kit_no_memory(err);
    const kit_child child = {.path = python,
                             .argv = argv.words,
                             .envp = (const char *const *)env.entries,
                             .fds = fds,
                             .fd_count = count,
                             .user = w,
                             .out = hear_events,
                             .err = hear_words,
                             .stop = may_go_on,
                             .grace_ms = STOP_MS};
    if (status == KOLM_OK) status = kit_child_run(&child, &w->end, err);
    if (status == KOLM_OK) kit_events_last(&w->heard);
    for (size_t i = 0; i < env.count; i++)
        free(env.entries[i]);
    return status;
}

kit_status trainer_run(const trainer_call *call, cJSON **out_result, kolm_error_t *err) {
    watch w = {.host = call->host, .trainer = call->trainer, .linger_ms = INT64_MAX};
    *out_result = NULL;
    if (call->host->cancelled(call->host->user) != 0)
        return kit_fail(err, KOLM_E_CANCELLED, "", "stopped before the trainer was started");
    kit_events_begin(&w.heard, call->host, "the trainer");
    kit_status status = run(call, &w, err);
    if (status == KOLM_OK) status = conclude(&w, out_result, err);
    kit_buf_free(&w.tail);
    kit_events_end(&w.heard);
    return status;
}
