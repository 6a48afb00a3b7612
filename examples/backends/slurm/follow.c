/* SPDX-License-Identifier: Apache-2.0 */
/* Submits a job, follows it through the queue, tells its events, and ends it when that is asked. */
#include "slurm.h"

#include "kolm/kit/process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 1000 /* between two questions to the controller: it cannot tell us by itself */
#define DYING_MS 300
#define LINE_MAX_BYTES 65536u
#define SCRIPT "batch.sh"
#define EVENTS "events.jsonl"
#define ERRORS "errors.txt"

/* The batch script of every job: what is to be done are its arguments, nothing is filled in. With several nodes the
 * trainer runs under torchrun on each of them, and they meet on the first. */
static const char script[] =
    "#!/bin/sh\n"
    "if [ \"${SLURM_JOB_NUM_NODES:-1}\" -gt 1 ]; then\n"
    "  head=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1) || exit 1\n"
    "  exec srun --ntasks-per-node=1 torchrun --nnodes=\"$SLURM_JOB_NUM_NODES\" --rdzv-backend=c10d \\\n"
    "    --rdzv-endpoint=\"$head:29400\" --rdzv-id=\"$SLURM_JOB_ID\" \"$@\"\n"
    "fi\n"
    "exec \"$@\"\n";

typedef struct following {
    const kolm_host_v1_t *host;
    pid_t caller; /* kolm itself */
    const slurm_settings *settings;
    slurm_place *place;
    slurm_outcome *outcome;
    off_t read_to;                         /* of the events */
    bool result;                           /* the trainer said that it is done */
    kolm_error_t error;                    /* what the trainer said of its failure; code 0: nothing */
    char state[32], reason[128], node[96]; /* as the controller last said */
    char told[160];                        /* the last thing that was logged about the queue */
    int64_t away_since;                    /* the controller did not answer; 0: it does */
} following;

/* ---- The trainer's events */

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

static void tell_event(following *f, const cJSON *event) {
    const kolm_host_v1_t *host = f->host;
    const char *kind = text_of(event, "event");
    double value;
    if (strcmp(kind, "progress") == 0) {
        const char *phase = text_of(event, "phase");
        const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                          .step = count_of(event, "step"),
                                          .total = count_of(event, "total"),
                                          .loss = real_of(event, "loss"),
                                          .tokens_per_second = real_of(event, "tokens_per_second"),
                                          .phase = *phase ? phase : "training"};
        host->progress(host->user, &progress);
    } else if (strcmp(kind, "log") == 0) {
        const char *level = text_of(event, "level");
        host->log(host->user,
                  strcmp(level, "error") == 0     ? KOLM_LOG_ERROR
                  : strcmp(level, "warning") == 0 ? KOLM_LOG_WARNING
                                                  : KOLM_LOG_INFO,
                  text_of(event, "text"));
    } else if (strcmp(kind, "metric") == 0 && kit_json_get_number(event, "value", &value)) {
        host->metric(host->user, text_of(event, "name"), value);
    } else if (strcmp(kind, "result") == 0) {
        f->result = true;
        kit_format(f->outcome->device, sizeof f->outcome->device, "%s", text_of(event, "device"));
        kit_copy(f->outcome->toolchain, sizeof f->outcome->toolchain, text_of(event, "toolchain"));
    } else if (strcmp(kind, "error") == 0) {
        uint64_t code = KOLM_E_UNKNOWN;
        (void)kit_json_get_u64(event, "code", &code);
        (void)kit_fail(&f->error, code > 0 && code <= KOLM_E_UNAUTHENTICATED ? (int32_t)code : KOLM_E_UNKNOWN,
                       text_of(event, "remedy"), "%s", text_of(event, "text"));
    }
}

/* Reads what is new in events.jsonl; a line that is no event is a word of the trainer's. */
static void read_events(following *f) {
    char *path = NULL;
    kit_buf line = {0};
    char chunk[8192];
    if (kit_path_join(f->place->dir, EVENTS, &path, NULL) != KOLM_OK) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = f->read_to;
    for (ssize_t n; fd >= 0 && (n = pread(fd, chunk, sizeof chunk, at)) > 0; at += n) {
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] != '\n') {
                if (line.length < LINE_MAX_BYTES) kit_buf_char(&line, chunk[i]);
                continue;
            }
            cJSON *event = NULL;
            if (kit_json_parse(kit_buf_text(&line), line.length, &event, NULL) == KOLM_OK)
                tell_event(f, event);
            else if (line.length > 0)
                f->host->log(f->host->user, KOLM_LOG_INFO, kit_buf_text(&line));
            cJSON_Delete(event);
            kit_buf_clear(&line);
            f->read_to = at + i + 1; /* only whole lines count as read */
        }
    }
    if (fd >= 0) close(fd);
    kit_buf_free(&line);
    free(path);
}

/* The last words on the standard error of the job, for an error that nothing else explains. */
static void last_words(const following *f, char *out, size_t capacity) {
    char *path = NULL;
    kit_buf text = {0};
    out[0] = '\0';
    if (kit_path_join(f->place->dir, ERRORS, &path, NULL) == KOLM_OK &&
        kit_read_file(path, 1u << 20, &text, NULL) == KOLM_OK && text.length > 0) {
        while (text.length > 0 && isspace((unsigned char)text.data[text.length - 1]))
            text.data[--text.length] = '\0';
        const char *last = strrchr(text.data, '\n');
        kit_copy(out, capacity, last ? last + 1 : text.data);
    }
    kit_buf_free(&text);
    free(path);
}

/* ---- Submitting */

static bool add_option(const char **argv, size_t *count, char *room, size_t capacity, const char *option,
                       const char *value) {
    if (!value[0]) return true;
    argv[(*count)++] = room;
    return kit_format(room, capacity, "--%s=%s", option, value);
}

static kit_status write_script(const slurm_place *place, char **out_path, kolm_error_t *err) {
    KIT_TRY(kit_path_join(place->dir, SCRIPT, out_path, err));
    return kit_write_file(*out_path, 0700, script, sizeof script - 1, err);
}

static kit_status submit(following *f, const char *task, uint32_t threads, kolm_error_t *err) {
    const slurm_settings *s = f->settings;
    const char *dir = f->place->dir;
    char room[16][700], name[96], cpus[16];
    const char *argv[24 + SLURM_TRAINER_WORDS] = {"--parsable", "--open-mode=append",
                                                  "--export=PATH,HOME,LANG,KOLM_HOME,KOLM_BACKEND_PATH",
                                                  "--ntasks-per-node=1"};
    size_t n = 4, r = 0;
    char *path = NULL;
    slurm_output output = {.exit_code = 0};
    kit_format(name, sizeof name, "kolm-%s", task);
    kit_format(cpus, sizeof cpus, "%u", threads);
    bool fits = add_option(argv, &n, room[r++], sizeof *room, "job-name", name) &&
                add_option(argv, &n, room[r++], sizeof *room, "chdir", dir) &&
                add_option(argv, &n, room[r++], sizeof *room, "cpus-per-task", cpus) &&
                add_option(argv, &n, room[r++], sizeof *room, "partition", s->partition) &&
                add_option(argv, &n, room[r++], sizeof *room, "account", s->account) &&
                add_option(argv, &n, room[r++], sizeof *room, "qos", s->qos) &&
                add_option(argv, &n, room[r++], sizeof *room, "constraint", s->constraint) &&
                add_option(argv, &n, room[r++], sizeof *room, "time", s->time) &&
                add_option(argv, &n, room[r++], sizeof *room, "mem", s->memory) &&
                add_option(argv, &n, room[r++], sizeof *room, "gpus-per-node", s->gpus) &&
                add_option(argv, &n, room[r++], sizeof *room, "nodes", s->nodes) &&
                kit_format(room[r], sizeof *room, "--output=%s/" EVENTS, dir) &&
                kit_format(room[r + 1], sizeof *room, "--error=%s/" ERRORS, dir);
    if (!fits)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten backends.slurm in config.json", "a setting is too long");
    argv[n++] = room[r];
    argv[n++] = room[r + 1];
    KIT_TRY(write_script(f->place, &path, err));
    argv[n++] = path;
    for (size_t i = 0; i < s->trainer_words; i++)
        argv[n++] = s->trainer[i];
    argv[n++] = dir;
    argv[n] = NULL;
    kit_status status = slurm_command(s, "sbatch", argv, &output, err);
    char id[32];
    kit_format(id, sizeof id, "%.*s", (int)strcspn(kit_buf_text(&output.out), ";\n"), kit_buf_text(&output.out));
    uint64_t number;
    if (status == KOLM_OK && (output.exit_code != 0 || !kit_parse_u64(id, &number)))
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                          "correct backends.slurm in config.json (partition, account, qos, time, memory, gpus, nodes)",
                          "Slurm did not take the job: %.300s", kit_buf_text(&output.err));
    if (status == KOLM_OK) status = slurm_place_submitted(f->place, id, err);
    slurm_output_free(&output);
    free(path);
    return status;
}

/* ---- The controller's view */

/* The value of KEY=value in a line of `scontrol --oneliner`. */
static void field_of(const char *line, const char *key, char *out, size_t capacity) {
    size_t n = strlen(key);
    out[0] = '\0';
    for (const char *at = line; (at = strstr(at, key)) != NULL; at += n) {
        if ((at != line && at[-1] != ' ') || at[n] != '=') continue;
        kit_format(out, capacity, "%.*s", (int)strcspn(at + n + 1, " \n"), at + n + 1);
        return;
    }
}

typedef enum view { VIEW_WAITS, VIEW_RUNS, VIEW_DONE, VIEW_FORGOTTEN, VIEW_AWAY } view;

static kit_status look(following *f, view *out_view, kolm_error_t *err) {
    const char *argv[] = {"--oneliner", "show", "job", f->place->id, NULL};
    slurm_output output;
    kit_status status = slurm_command(f->settings, "scontrol", argv, &output, err);
    if (status == KOLM_OK && output.exit_code == 0) {
        const char *line = kit_buf_text(&output.out);
        field_of(line, "JobState", f->state, sizeof f->state);
        field_of(line, "Reason", f->reason, sizeof f->reason);
        field_of(line, "BatchHost", f->node, sizeof f->node);
        bool waits = strcmp(f->state, "PENDING") == 0 || strcmp(f->state, "REQUEUED") == 0 ||
                     strcmp(f->state, "REQUEUE_HOLD") == 0;
        bool runs = strcmp(f->state, "RUNNING") == 0 || strcmp(f->state, "CONFIGURING") == 0 ||
                    strcmp(f->state, "COMPLETING") == 0 || strcmp(f->state, "SUSPENDED") == 0 ||
                    strcmp(f->state, "STAGE_OUT") == 0 || strcmp(f->state, "RESIZING") == 0;
        *out_view = waits ? VIEW_WAITS : runs ? VIEW_RUNS : VIEW_DONE;
    } else if (status == KOLM_OK) {
        *out_view = strstr(kit_buf_text(&output.err), "Invalid job id") ? VIEW_FORGOTTEN : VIEW_AWAY;
    }
    slurm_output_free(&output);
    return status;
}

/* Says once what the queue says now. */
static void tell_queue(following *f, view seen) {
    char text[160] = "";
    if (seen == VIEW_WAITS) {
        const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                          .step = 0,
                                          .total = KOLM_UNKNOWN_COUNT,
                                          .loss = NAN,
                                          .tokens_per_second = NAN,
                                          .phase = "queueing"};
        f->host->progress(f->host->user, &progress);
        kit_format(text, sizeof text, "Slurm job %s waits in the queue (%s)", f->place->id, f->reason);
    } else if (seen == VIEW_RUNS) {
        kit_format(text, sizeof text, "Slurm job %s runs on %s", f->place->id, f->node);
    }
    if (!text[0] || strcmp(text, f->told) == 0) return;
    kit_copy(f->told, sizeof f->told, text);
    f->host->log(f->host->user, KOLM_LOG_INFO, text);
}

static kit_status wait_for_controller(following *f, kolm_error_t *err) {
    int64_t now = kit_now_ms();
    if (f->away_since == 0) {
        f->away_since = now;
        f->host->log(f->host->user, KOLM_LOG_WARNING,
                     "Slurm's controller does not answer; the job goes on, waiting for it");
    }
    if (now - f->away_since <= (int64_t)f->settings->patience_seconds * 1000) return KOLM_OK;
    return kit_fail(
        err, KOLM_E_UNAVAILABLE, "run the same command again when it is back: the job that was submitted is found then",
        "Slurm's controller did not answer for %llu seconds", (unsigned long long)f->settings->patience_seconds);
}

/* ---- The end */

static kit_status cancel(following *f, kolm_error_t *err) {
    const char *argv[] = {f->place->id, NULL};
    slurm_output output;
    view seen = VIEW_RUNS;
    kit_status status = slurm_command(f->settings, "scancel", argv, &output, err);
    slurm_output_free(&output);
    while (status == KOLM_OK && (seen == VIEW_RUNS || seen == VIEW_WAITS)) {
        status = look(f, &seen, err);
        if (status == KOLM_OK && seen <= VIEW_RUNS) (void)poll(NULL, 0, 100);
    }
    if (status == KOLM_OK && seen != VIEW_AWAY) slurm_place_remove(f->place);
    if (status != KOLM_OK) return status;
    if (seen == VIEW_AWAY)
        return kit_fail(err, KOLM_E_CANCELLED, "scancel it when the controller is back",
                        "stopped; Slurm's controller did not say whether job %s ended", f->place->id);
    return kit_fail(err, KOLM_E_CANCELLED, "", "Slurm job %s was cancelled", f->place->id);
}

/* The host also says "cancelled" when kolm itself is gone. That nobody listens any more is no reason to end a job that
 * may have run for days: it is left, and found by whoever asks the same again. */
static kit_status stop(following *f, kolm_error_t *err) {
    for (int waited = 0; waited < DYING_MS && getppid() == f->caller; waited += 50)
        (void)poll(NULL, 0,
                   50); /* the pipe of a process that is killed ends a moment before its children have a new parent */
    if (getppid() == f->caller) return cancel(f, err);
    return kit_fail(err, KOLM_E_CANCELLED, "run the same command again to follow it",
                    "Slurm job %s goes on without kolm", f->place->id);
}

static kit_status judge(following *f, view seen, kolm_error_t *err) {
    static const struct {
        const char *state, *remedy;
    } remedies[] = {
        {"TIMEOUT", "give it more: backends.slurm.time in config.json"},
        {"OUT_OF_MEMORY", "give it more: backends.slurm.memory in config.json"},
        {"NODE_FAIL", "run the same command again"},
        {"PREEMPTED", "run the same command again, or use a qos that is not preempted"},
        {"CANCELLED", "somebody cancelled it; run the same command again when it suits"},
    };
    char words[300];
    const char *remedy = "look at what the trainer printed";
    if (seen == VIEW_DONE && strcmp(f->state, "COMPLETED") == 0 && f->result) return KOLM_OK;
    if (seen == VIEW_FORGOTTEN && f->result) return KOLM_OK;
    if (f->error.code != KOLM_OK) {
        *err = f->error;
        return kit_fail_context(err, "Slurm job %s", f->place->id);
    }
    for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
        if (strcmp(f->state, remedies[i].state) == 0) remedy = remedies[i].remedy;
    last_words(f, words, sizeof words);
    if (seen == VIEW_FORGOTTEN) kit_copy(f->state, sizeof f->state, "unknown to Slurm");
    return kit_fail(err, KOLM_E_ABORTED, remedy, "Slurm job %s ended without a result: %s%s%s", f->place->id, f->state,
                    words[0] ? ": " : "", words);
}

static kit_status follow(following *f, kolm_error_t *err) {
    for (;;) {
        view seen;
        if (f->host->cancelled(f->host->user)) return stop(f, err);
        KIT_TRY(look(f, &seen, err));
        read_events(f);
        if (seen == VIEW_AWAY)
            KIT_TRY(wait_for_controller(f, err));
        else
            f->away_since = 0;
        tell_queue(f, seen);
        if (seen == VIEW_DONE || seen == VIEW_FORGOTTEN) {
            read_events(f);
            return judge(f, seen, err);
        }
        for (int waited = 0; waited < LOOK_MS && !f->host->cancelled(f->host->user); waited += 100) {
            (void)poll(NULL, 0, 100);
            read_events(f);
        }
    }
}

kit_status slurm_do(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place, const char *task,
                    uint32_t threads, slurm_outcome *out_outcome, kolm_error_t *err) {
    following f = {.host = host,
                   .caller = getppid(),
                   .settings = settings,
                   .place = place,
                   .outcome = out_outcome,
                   .error = KIT_ERROR_INIT};
    char text[160];
    if (!place->attached) KIT_TRY(submit(&f, task, threads, err));
    kit_format(text, sizeof text, "Slurm job %s %s", place->id,
               place->attached ? "was submitted before: following it" : "is submitted");
    host->log(host->user, KOLM_LOG_INFO, text);
    kit_status status = follow(&f, err);
    /* A job that ended badly is not to be found again: asking once more means trying once more. */
    if (status != KOLM_OK && status != KOLM_E_UNAVAILABLE && status != KOLM_E_CANCELLED) slurm_place_remove(place);
    if (status == KOLM_OK) {
        char device[128];
        kit_format(device, sizeof device, "%.70s on %.40s (Slurm)", out_outcome->device, f.node[0] ? f.node : "a node");
        kit_copy(out_outcome->device, sizeof out_outcome->device, device);
    }
    return status;
}
