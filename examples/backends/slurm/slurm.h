/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the Slurm backend: settings, commands, parsing output, job directories, submitting and following. */
#ifndef KOLM_SLURM_H
#define KOLM_SLURM_H

/*
 * A job directory is copied to a place that every node can access, submitted with sbatch, followed through the queue,
 * and its results are copied back. No value is ever inserted into a command line or a script: values are arguments of
 * sbatch, and the batch script is the same for every job.
 *
 * The place is SHARED/DIGEST, where DIGEST is of the request: the same request again, after a crash of kolm or of its
 * machine, finds the submitted job and follows it instead of submitting another one.
 *
 *   SHARED/DIGEST/slurm.name   the name of the Slurm job, random for each submission and written before it: if the
 *                              number is lost, the job is found by name
 *   SHARED/DIGEST/slurm.id     NUMBER, or NUMBER;CLUSTER. Removed once the job is known to have failed
 *   SHARED/DIGEST/checkpoint   the trainer's, from which the next submission of the same work continues
 *
 * Rules for all parts:
 *   - Only a state that is known to be final ends a job. An unknown state does not.
 *   - The exit code of sbatch tells whether a job was accepted, never how it ended: only the state does.
 *   - Nothing is removed before the job is known to have ended, or before its results are copied back.
 *   - A start does not fail because of a job that ended before it: it reports how that one ended, and submits again.
 *
 * Sources: sbatch(1), squeue(1), sacct(1), scontrol(1) and scancel(1) of Slurm 22.05; JOB STATE CODES and JOB STATE
 * FLAGS of squeue(1) up to 25.05.
 */

#include "kolm/kit/backend.h"
#include "kolm/kit/events.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/json.h"

#define SLURM_TRAINER_WORDS 32
#define SLURM_NAME_MAX 96 /* of a job: "kolm-" TASK "-" eight hex digits */

/* ---- settings.c: backends.slurm.KEY of config.json. "" if not set. */
typedef struct slurm_settings {
    char bin[256];        /* directory of Slurm's commands; default: searched in the usual places */
    char shared_dir[512]; /* visible on this machine and every node; default $HOME/.cache/kolm-slurm */
    char cluster[64];     /* the one of several to submit to */
    char partition[64], account[64], qos[64], constraint[64], reservation[64], wckey[64];
    char time[32];                          /* in sbatch's format: minutes, or D-HH:MM:SS */
    char memory[32];                        /* "16G" */
    char gpus[32];                          /* per node: "2", "a100:2" */
    char nodes[16];                         /* default 1 */
    bool keep;                              /* keep the shared directory, however the job ended */
    uint64_t patience_seconds;              /* how long the controller may be unreachable; default 900 */
    uint64_t settle_seconds;                /* how long files may take to become visible here; default 90 */
    char *trainer[SLURM_TRAINER_WORDS + 1]; /* the program that runs a job directory; default kolm job run */
    size_t trainer_words;
} slurm_settings;

kit_status slurm_settings_read(const kolm_host_v1_t *host, slurm_settings *out, kolm_error_t *err) KIT_MUST_USE;
void slurm_settings_free(slurm_settings *settings);

/* The settings as arguments for sbatch. */
#define SLURM_OPTIONS_MAX 16
typedef struct slurm_options {
    const char *argv[SLURM_OPTIONS_MAX + 1]; /* into room; NULL terminated */
    char room[SLURM_OPTIONS_MAX][80];
    size_t count;
} slurm_options;
/* Options for who may run where: cluster, partition, account, qos, constraint, reservation, wckey. */
kit_status slurm_options_who(const slurm_settings *settings, slurm_options *out, kolm_error_t *err) KIT_MUST_USE;
/* The same, plus resources: time, memory, gpus, nodes. */
kit_status slurm_options_all(const slurm_settings *settings, slurm_options *out, kolm_error_t *err) KIT_MUST_USE;
/* Tells where the value of a setting is from, for a remedy: "backends.slurm.time in config.json", or "SBATCH_TIMELIMIT
 * in the environment" if it is set only there. out_value: the value, "" if there is none. */
void slurm_source_of(const slurm_settings *settings, const char *key, char *out, size_t capacity,
                     const char **out_value);
/* True for a variable (NAME=value) that would contradict a setting: the configuration has precedence. */
bool slurm_overrides(const slurm_settings *settings, const char *entry);

/* ---- command.c: Slurm's own programs, started without a shell. */
typedef struct slurm_output {
    kit_buf out, err; /* at most 1 MiB of each is kept */
    int exit_code;    /* 128 + signal if it was killed, for example by its deadline of 60 s */
} slurm_output;
void slurm_output_free(slurm_output *output);
/* program: "sbatch". argv: after the program's name, NULL terminated. OK if it ran, whatever its exit code. */
kit_status slurm_command(const slurm_settings *settings, const char *program, const char *const *argv,
                         slurm_output *out_output, kolm_error_t *err) KIT_MUST_USE;
/* The directory of Slurm's programs, or NULL. Owned by settings or static. */
const char *slurm_bin(const slurm_settings *settings);

/* ---- words.c: parses the output of Slurm's programs, without starting programs or accessing files. */
typedef struct slurm_id {
    char number[24];  /* "4711"; "" before the job is submitted */
    char cluster[64]; /* "" if sbatch named none */
} slurm_id;
/* Finds the ids in the standard output of sbatch among other text (greetings of the site, warnings of a plugin): lines
 * "4711", "4711;cluster", or "Submitted batch job 4711[ on cluster NAME]", which wrappers print that drop --parsable.
 * Stores each different one once, in order, at most capacity in out. Returns their number. */
size_t slurm_ids(const char *text, slurm_id *out, size_t capacity);
/* Parses "4711" or "4711;cluster": one line, with or without its line end. */
bool slurm_id_read(const char *text, slurm_id *out);

typedef enum slurm_phase { SLURM_WAITS, SLURM_RUNS, SLURM_ENDED, SLURM_STRANGE } slurm_phase;
typedef struct slurm_state {
    slurm_phase phase; /* STRANGE: an unknown state, which is not final */
    char name[32];     /* "CANCELLED", without any suffix */
    bool has_by;       /* "CANCELLED by 1000" */
    uint32_t by;
} slurm_state;
/* Parses a state as printed by scontrol, squeue or sacct: "RUNNING", "CANCELLED by 1000", "OUT_OF_ME+" (truncated by
 * sacct), "COMPLETED+COMPLETING" (a state and its flags). A flag that means that the job continues overrides a final
 * state. */
void slurm_state_read(const char *text, slurm_state *out);

typedef struct slurm_job {
    slurm_state state;
    char name[SLURM_NAME_MAX], reason[128], node[96];
    char time[32], memory[32]; /* the limits in Slurm's format; "" if there are none */
    char dir[512];             /* the working directory */
    uint64_t restarts, exit_code, signal;
    bool requeue; /* Slurm may start it again by itself */
} slurm_job;
/* Finds the record of job number in the output of `scontrol --oneliner show job`, which has several for a job array or
 * a heterogeneous job. False if there is none. */
bool slurm_job_read(const char *text, const char *number, slurm_job *out);
/* The same from `sacct --parsable2 --noheader --format=JobIDRaw,JobName,State,ExitCode`; of steps and of several
 * records of one number the last counts. Other fields of *job are unchanged. */
bool slurm_accounting_read(const char *text, const char *number, slurm_job *job);
/* Finds the last submitted job (the highest number) called name in lines of NUMBER|NAME, with "CLUSTER: x" headings
 * between them if several clusters were queried. */
bool slurm_find_name(const char *text, const char *name, slurm_id *out);

/* Condenses the standard error of Slurm's programs to one line, without "sbatch: error: " and repetitions. */
void slurm_said(const char *text, char *out, size_t capacity);
/* True if that means that the controller is temporarily unreachable. */
bool slurm_is_away(const char *said);
/* ... that it does not know the job (any more); the exit status is the same for all failures. */
bool slurm_is_forgotten(const char *said);
/* ... that the cluster keeps no accounting. */
bool slurm_has_no_accounting(const char *said);
/* The remedy for a refused submission, from Slurm's message. threads: the number of CPUs requested. */
void slurm_remedy(const slurm_settings *settings, const char *said, uint32_t threads, char *out, size_t capacity);

/* ---- place.c: directories. */
typedef struct slurm_place {
    char *dir;     /* SHARED/DIGEST */
    char *job_dir; /* the original */
    char name[SLURM_NAME_MAX];
    slurm_id id;
    bool trains; /* a train job, whose result is model/ */
    int lock;    /* SHARED/DIGEST.lock, held as long as the record exists; -1: none */
} slurm_place;
#define SLURM_NO_PLACE                                                                                                 \
    { .lock = -1 }
void slurm_place_free(slurm_place *place);
/* Copies the contents of job_dir (and input_path to eval.jsonl, if it is not NULL) to a place, or finds an existing
 * place of the same request, and then fills name and id. Waits while another kolm uses the place. */
kit_status slurm_place_make(const kolm_host_v1_t *host, const slurm_settings *settings, const char *job_dir,
                            const char *input_path, slurm_place *out_place, kolm_error_t *err) KIT_MUST_USE;
/* Generates a name for the next submission, for a job of the task, and stores it. */
kit_status slurm_place_name(slurm_place *place, const char *task, kolm_error_t *err) KIT_MUST_USE;
/* Stores the id. Both functions return once it is on disk. */
kit_status slurm_place_submitted(slurm_place *place, const slurm_id *id, kolm_error_t *err) KIT_MUST_USE;
/* Resets the place as if it had never been submitted, except for the checkpoint. */
kit_status slurm_place_renew(slurm_place *place, kolm_error_t *err) KIT_MUST_USE;
/* Call after the job failed: the next identical request submits again. Keeps only the checkpoint, if there is one; with
 * keep, everything. */
void slurm_place_end(slurm_place *place, bool keep);
/* Call after the results were copied back: removes the place, or, with keep, makes sure that it is not found again. */
void slurm_place_done(slurm_place *place, bool keep);
bool slurm_place_has(const slurm_place *place, const char *name);
/* Locks the place of place->dir, whatever is in it, without waiting, and fills name and id. False if a kolm uses it. */
bool slurm_place_try(slurm_place *place);

/* ---- results.c: copies results back. Retry each function until it succeeds or the time is up: files of another
 * machine may become visible late, and not all at once. */
/* OK if the results exist and are complete, as far as visible from here. */
kit_status slurm_results_ready(const slurm_place *place, kolm_error_t *err) KIT_MUST_USE;
/* Copies model/ and result.json of the place to its job_dir. */
kit_status slurm_bring_model(const slurm_place *place, kolm_error_t *err) KIT_MUST_USE;
/* Copies predictions.jsonl of the place to output_path, and counts its lines. */
kit_status slurm_bring_answers(const slurm_place *place, const char *output_path, uint64_t *out_answers,
                               kolm_error_t *err) KIT_MUST_USE;

/* ---- events.c: the trainer's output. */
typedef struct slurm_events {
    kit_events job; /* .result: set if the trainer has finished; .error: its own error */
    uint64_t read_to;
} slurm_events;
/* Reads new events from DIR/events.jsonl and reports them to the host. */
void slurm_events_read(slurm_events *events, const char *dir);
/* The last line of the job's standard error, preferably the trainer's, not Slurm's, for an otherwise unexplained error.
 * *out_oom: Slurm reported there that the kernel's OOM killer ended one of its processes. */
void slurm_last_words(const char *dir, char *out, size_t capacity, bool *out_oom);
#define SLURM_EVENTS_FILE "events.jsonl"
#define SLURM_ERRORS_FILE "errors.txt"

/* ---- ask.c: queries the controller and the accounting. */
typedef enum slurm_view {
    SLURM_VIEW_JOB,       /* *out_job is filled */
    SLURM_VIEW_FORGOTTEN, /* the job is not known (any more) */
    SLURM_VIEW_AWAY,      /* not reachable now; out_said has the reason */
} slurm_view;
kit_status slurm_ask(const slurm_settings *settings, const slurm_id *id, slurm_job *out_job, slurm_view *out_view,
                     char *out_said, size_t capacity, kolm_error_t *err) KIT_MUST_USE;
/* The same from the accounting (sacct), for jobs that the controller has purged, and for who cancelled a job. FORGOTTEN
 * also if the cluster has no accounting. */
kit_status slurm_ask_accounting(const slurm_settings *settings, const slurm_id *id, slurm_job *job,
                                slurm_view *out_view, kolm_error_t *err) KIT_MUST_USE;
/* Finds the job called name, in the queue or in the accounting. VIEW_JOB: *out_id is filled. */
kit_status slurm_ask_name(const slurm_settings *settings, const char *name, slurm_id *out_id, slurm_view *out_view,
                          kolm_error_t *err) KIT_MUST_USE;
kit_status slurm_cancel(const slurm_settings *settings, const slurm_id *id, kolm_error_t *err) KIT_MUST_USE;

/* ---- submit.c */
/* Submits the place under its name, and fills its id. Waits for an unreachable controller, up to patience_seconds. */
kit_status slurm_submit(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place,
                        uint32_t threads, kolm_error_t *err) KIT_MUST_USE;
/* Runs sbatch with argv. *out_id is the id that it printed, or, if none, that of the job called name. */
kit_status slurm_sbatch(const slurm_settings *settings, const char *const *argv, const char *name, uint32_t threads,
                        slurm_id *out_id, kolm_error_t *err) KIT_MUST_USE;
/* Waits for ms, but returns false soon after the user asked to stop. */
bool slurm_pause(const kolm_host_v1_t *host, int ms);

/* ---- end.c: explains how a job ended. */
/* Fills err for a job that ended without success. told: the trainer's own error, code 0 if there is none. words: its
 * last line of standard error, or "". oom: the OOM killer ended one of its processes. checkpoint: a checkpoint
 * exists. */
kit_status slurm_ended(const slurm_settings *settings, const slurm_id *id, const slurm_job *job,
                       const kolm_error_t *told, const char *words, bool oom, bool checkpoint,
                       kolm_error_t *err) KIT_MUST_USE;
/* True for a pending reason that will not resolve itself; out_remedy: what to do. */
bool slurm_is_stuck(const char *reason, const char *number, char *out_remedy, size_t capacity);

/* ---- follow.c: a job from its submission to its results. */
typedef struct slurm_home {
    const char *output_path; /* for the answers; NULL: a train job, whose results go to job_dir */
    uint64_t answers;
    char device[128], toolchain[256];
} slurm_home;
/* Submits the place unless it was submitted before, follows the job until it ends, and copies its results back. */
kit_status slurm_do(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place, const char *task,
                    uint32_t threads, slurm_home *home, kolm_error_t *err) KIT_MUST_USE;

/* ---- test.c: the slot. */
int32_t slurm_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                   kolm_error_t *out_error);

/* ---- status.c: the slot. */
int32_t slurm_status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out_result,
                     kolm_error_t *out_error);

#endif
