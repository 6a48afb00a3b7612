/* SPDX-License-Identifier: Apache-2.0 */
/* Submits a place, and does not lose the job if sbatch prints more than the id or the controller is unreachable. */
#include "slurm.h"

#include "kolm/kit/process.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SCRIPT "batch.sh"
#define IDS 8
#define AGAIN_MS 2000
#define OWN_OPTIONS 12

/* The batch script of every job: it is constant, and the work is passed as arguments. With several nodes the trainer
 * runs under torchrun on each of them, and they meet on the first. */
static const char script[] =
    "#!/bin/sh\n"
    "if [ \"${SLURM_JOB_NUM_NODES:-1}\" -gt 1 ]; then\n"
    "  head=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1) || exit 1\n"
    "  exec srun --ntasks-per-node=1 torchrun --nnodes=\"$SLURM_JOB_NUM_NODES\" --rdzv-backend=c10d \\\n"
    "    --rdzv-endpoint=\"$head:29400\" --rdzv-id=\"$SLURM_JOB_ID\" \"$@\"\n"
    "fi\n"
    "exec \"$@\"\n";

bool slurm_pause(const kolm_host_v1_t *host, int ms) {
    for (int64_t end = kit_now_ms() + ms; kit_now_ms() < end;) {
        if (host->cancelled(host->user)) return false;
        (void)poll(NULL, 0, ms < 100 ? ms : 100);
    }
    return !host->cancelled(host->user);
}

/* ---- One sbatch */

static kit_status no_id(const slurm_output *output, const char *name, kolm_error_t *err) {
    char said[200];
    slurm_said(kit_buf_text(&output->out), said, sizeof said);
    return kit_fail(err, KOLM_E_UNKNOWN,
                    "check what sbatch is here (a wrapper? backends.slurm.bin in config.json names the directory of "
                    "Slurm's commands); run the same command again to look for the job once more",
                    "sbatch reported no job id, and no job is called %s: it printed '%s'", name, said);
}

static kit_status refused(const slurm_settings *settings, const char *said, uint32_t threads, kolm_error_t *err) {
    char remedy[500];
    if (slurm_is_away(said))
        return kit_fail(err, KOLM_E_UNAVAILABLE, "run the same command again when Slurm's controller is back",
                        "Slurm's controller did not accept the job: %.300s", said);
    slurm_remedy(settings, said, threads, remedy, sizeof remedy);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "Slurm did not accept the job: %.300s",
                    said[0] ? said : "sbatch did not report why");
}

/* A single printed id is the job's, unless slurm_ask finds otherwise; with several or none, the job is looked up by
 * name. A refusal is accepted only if no job has the name: a controller that timed out may still have queued it. */
kit_status slurm_sbatch(const slurm_settings *settings, const char *const *argv, const char *name, uint32_t threads,
                        slurm_id *out_id, kolm_error_t *err) {
    static const char timed_out[] = "Socket timed out";
    slurm_output output;
    slurm_id ids[IDS];
    slurm_view view = SLURM_VIEW_FORGOTTEN;
    char said[400];
    KIT_TRY(slurm_command(settings, "sbatch", argv, &output, err));
    slurm_said(kit_buf_text(&output.err), said, sizeof said);
    if (output.exit_code > 128) (void)kit_copy(said, sizeof said, timed_out); /* ours ran out */
    size_t count = slurm_ids(kit_buf_text(&output.out), ids, IDS);
    bool taken = output.exit_code == 0 && count == 1;
    kit_status status = KOLM_OK;
    if (taken) {
        *out_id = ids[0];
    } else if (output.exit_code == 0 || count > 0 || slurm_is_away(said)) {
        status = slurm_ask_name(settings, name, out_id, &view, err);
        taken = view == SLURM_VIEW_JOB;
    }
    if (status == KOLM_OK && !taken)
        status = output.exit_code != 0     ? refused(settings, said, threads, err)
                 : view == SLURM_VIEW_AWAY ? refused(settings, timed_out, threads, err)
                                           : no_id(&output, name, err);
    slurm_output_free(&output);
    return status;
}

/* ---- A place */

static kit_status write_script(const slurm_place *place, char **out_path, kolm_error_t *err) {
    KIT_TRY(kit_path_join(place->dir, SCRIPT, out_path, err));
    return kit_write_file(*out_path, 0700, script, sizeof script - 1, err);
}

typedef struct command_line {
    const char *argv[OWN_OPTIONS + SLURM_OPTIONS_MAX + SLURM_TRAINER_WORDS + 4];
    char room[OWN_OPTIONS][700];
    size_t count, used;
    bool good;
} command_line;

static void add(command_line *c, const char *word) {
    c->argv[c->count++] = word;
}

static void add_own(command_line *c, const char *option, const char *value) {
    if (!kit_format(c->room[c->used], sizeof c->room[0], "--%s=%s", option, value)) c->good = false;
    add(c, c->room[c->used++]);
}

static void add_file(command_line *c, const char *option, const char *dir, const char *name) {
    if (!kit_format(c->room[c->used], sizeof c->room[0], "--%s=%s/%s", option, dir, name)) c->good = false;
    add(c, c->room[c->used++]);
}

static kit_status submit_once(const slurm_settings *s, const slurm_place *place, const char *path, uint32_t threads,
                              slurm_id *out_id, kolm_error_t *err) {
    command_line c = {.good = true};
    slurm_options options;
    char cpus[16];
    KIT_TRY(slurm_options_all(s, &options, err));
    (void)kit_format(cpus, sizeof cpus, "%u", threads);
    add(&c, "--parsable");
    add(&c, "--open-mode=append");
    add(&c, "--export=PATH,HOME,LANG,KOLM_HOME,KOLM_BACKEND_PATH");
    add(&c, "--ntasks-per-node=1");
    add_own(&c, "job-name", place->name);
    add_own(&c, "chdir", place->dir);
    add_own(&c, "cpus-per-task", cpus);
    add_file(&c, "output", place->dir, SLURM_EVENTS_FILE);
    add_file(&c, "error", place->dir, SLURM_ERRORS_FILE);
    for (size_t i = 0; i < options.count; i++)
        add(&c, options.argv[i]);
    add(&c, path);
    for (size_t i = 0; i < s->trainer_words; i++)
        add(&c, s->trainer[i]);
    add(&c, place->dir);
    if (!c.good)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a shorter backends.slurm.shared_dir in config.json",
                        "the path of the shared directory is too long");
    return slurm_sbatch(s, c.argv, place->name, threads, out_id, err);
}

/* After an attempt with an unknown outcome, waits until the controller says that there is no such job. *out_found:
 * there is one. */
static kit_status wait_to_submit(const kolm_host_v1_t *host, const slurm_settings *settings, const slurm_place *place,
                                 int64_t deadline, slurm_id *out_id, bool *out_found, kolm_error_t *err) {
    slurm_view view = SLURM_VIEW_AWAY;
    kolm_error_t why = *err;
    while (view == SLURM_VIEW_AWAY) {
        if (kit_now_ms() >= deadline) {
            *err = why;
            return KOLM_E_UNAVAILABLE;
        }
        if (!slurm_pause(host, AGAIN_MS))
            return kit_fail(err, KOLM_E_CANCELLED, "", "stopped before Slurm accepted the job");
        KIT_TRY(slurm_ask_name(settings, place->name, out_id, &view, err));
    }
    *out_found = view == SLURM_VIEW_JOB;
    return KOLM_OK;
}

kit_status slurm_submit(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place,
                        uint32_t threads, kolm_error_t *err) {
    int64_t deadline = kit_now_ms() + (int64_t)settings->patience_seconds * 1000;
    bool told = false, found = false;
    char *path = NULL;
    slurm_id id = {.number = ""};
    kit_status status = write_script(place, &path, err);
    while (status == KOLM_OK && !found) {
        status = submit_once(settings, place, path, threads, &id, err);
        if (status != KOLM_E_UNAVAILABLE) break;
        if (!told) host->log(host->user, KOLM_LOG_WARNING, err->text);
        told = true;
        status = wait_to_submit(host, settings, place, deadline, &id, &found, err);
    }
    if (status == KOLM_OK) status = slurm_place_submitted(place, &id, err);
    free(path);
    return status;
}
