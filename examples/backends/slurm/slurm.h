/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the Slurm backend: settings, commands, Slurm's words, job directories, submitting and following. */
#ifndef KOLM_SLURM_H
#define KOLM_SLURM_H

/*
 * A job directory is copied to a place that every node sees, submitted with sbatch, followed through the queue, and
 * what came back is copied home. Nothing is ever put into a command line or a script as text: values are arguments of
 * sbatch, and the batch script is the same for every job.
 *
 * The place is SHARED/DIGEST, where DIGEST is of what was asked: whoever asks the same again, after kolm or the
 * machine that it ran on died, finds the job that was submitted and follows it instead of submitting another one.
 *
 *   SHARED/DIGEST/slurm.name   the name of the Slurm job, drawn for each submission and written before it: a job whose
 *                              number got lost is found by it
 *   SHARED/DIGEST/slurm.id     NUMBER, or NUMBER;CLUSTER. Gone once the job is known to have ended badly
 *   SHARED/DIGEST/checkpoint   the trainer's; what the next submission of the same work goes on from
 *
 * The rules that the parts keep:
 *   - Only a state that is known to be an end ends a job. A state that this backend has never heard of does not.
 *   - The exit code of sbatch says whether a job was taken, never how it ended: that is the state's to say.
 *   - Nothing is removed before the job is known to have ended, or before its results are home.
 *   - A start does not fail because of a job that had ended before it: it says how that one ended, and submits again.
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

/* ---- settings.c: backends.slurm.KEY of config.json. "" where nothing was said. */
typedef struct slurm_settings {
    char bin[256];        /* directory of Slurm's commands; found in the usual places otherwise */
    char shared_dir[512]; /* seen by this machine and by every node; default $HOME/.cache/kolm-slurm */
    char cluster[64];     /* of several, the one to submit to */
    char partition[64], account[64], qos[64], constraint[64], reservation[64], wckey[64];
    char time[32];                          /* as sbatch takes it: minutes, or D-HH:MM:SS */
    char memory[32];                        /* "16G" */
    char gpus[32];                          /* a node: "2", "a100:2" */
    char nodes[16];                         /* default 1 */
    bool keep;                              /* the shared directory stays, however the job ended */
    uint64_t patience_seconds;              /* how long the controller may be away; default 900 */
    uint64_t settle_seconds;                /* how long files may take to be seen here; default 90 */
    char *trainer[SLURM_TRAINER_WORDS + 1]; /* the program that does a job directory; default kolm job run */
    size_t trainer_words;
} slurm_settings;

kit_status slurm_settings_read(const kolm_host_v1_t *host, slurm_settings *out, kolm_error_t *err) KIT_MUST_USE;
void slurm_settings_free(slurm_settings *settings);

/* What sbatch is told of the settings, as its arguments. */
#define SLURM_OPTIONS_MAX 16
typedef struct slurm_options {
    const char *argv[SLURM_OPTIONS_MAX + 1]; /* into room; NULL at the end */
    char room[SLURM_OPTIONS_MAX][80];
    size_t count;
} slurm_options;
/* What says who may run where: cluster, partition, account, qos, constraint, reservation, wckey. */
kit_status slurm_options_who(const slurm_settings *settings, slurm_options *out, kolm_error_t *err) KIT_MUST_USE;
/* The same, and how much of it: time, memory, gpus, nodes. */
kit_status slurm_options_all(const slurm_settings *settings, slurm_options *out, kolm_error_t *err) KIT_MUST_USE;
/* Where the value of a setting came from, for a remedy: "backends.slurm.time in config.json", or "SBATCH_TIMELIMIT in
 * the environment" where only that says something. out_value: the value, "" for none. */
void slurm_source_of(const slurm_settings *settings, const char *key, char *out, size_t capacity,
                     const char **out_value);
/* True for a variable (NAME=value) that would contradict a setting: what the configuration says comes first. */
bool slurm_overrides(const slurm_settings *settings, const char *entry);

/* ---- command.c: Slurm's own programs, started without a shell. */
typedef struct slurm_output {
    kit_buf out, err; /* at most 1 MiB of each is kept */
    int exit_code;    /* 128 + signal when it was killed, as by its deadline of 60 s */
} slurm_output;
void slurm_output_free(slurm_output *output);
/* program: "sbatch". argv: after the program's name, NULL at its end. OK when it ran, however it ended. */
kit_status slurm_command(const slurm_settings *settings, const char *program, const char *const *argv,
                         slurm_output *out_output, kolm_error_t *err) KIT_MUST_USE;
/* The directory of Slurm's programs, or NULL. Belongs to settings or is static. */
const char *slurm_bin(const slurm_settings *settings);

/* ---- words.c: what Slurm's programs print. Nothing here starts a program or looks at a file. */
typedef struct slurm_id {
    char number[24];  /* "4711"; "" before the job is submitted */
    char cluster[64]; /* "" where sbatch named none */
} slurm_id;
/* The ids in what sbatch printed on its standard output, whatever else is there (greetings of the site, warnings of a
 * plugin): lines that are "4711", "4711;cluster", or "Submitted batch job 4711[ on cluster NAME]", as wrappers print it
 * that drop --parsable. Each different one once, in order; returns how many there are, capacity or fewer of them in
 * out. */
size_t slurm_ids(const char *text, slurm_id *out, size_t capacity);
/* "4711", "4711;cluster": one line, with or without its end. */
bool slurm_id_read(const char *text, slurm_id *out);

typedef enum slurm_phase { SLURM_WAITS, SLURM_RUNS, SLURM_ENDED, SLURM_STRANGE } slurm_phase;
typedef struct slurm_state {
    slurm_phase phase; /* STRANGE: a state that is not known here, which is no end */
    char name[32];     /* "CANCELLED", without what follows it */
    bool has_by;       /* "CANCELLED by 1000" */
    uint32_t by;
} slurm_state;
/* A state as scontrol, squeue or sacct print it: "RUNNING", "CANCELLED by 1000", "OUT_OF_ME+" (sacct cut it),
 * "COMPLETED+COMPLETING" (a state and its flags). A flag of a job that goes on outweighs an end. */
void slurm_state_read(const char *text, slurm_state *out);

typedef struct slurm_job {
    slurm_state state;
    char name[SLURM_NAME_MAX], reason[128], node[96];
    char time[32], memory[32]; /* the limits, as Slurm prints them; "" for none */
    char dir[512];             /* the working directory */
    uint64_t restarts, exit_code, signal;
    bool requeue; /* Slurm may start it again by itself */
} slurm_job;
/* The record of job number in what `scontrol --oneliner show job` printed: a job array and a heterogeneous job have
 * several. False when it is not there. */
bool slurm_job_read(const char *text, const char *number, slurm_job *out);
/* The same from `sacct --parsable2 --noheader --format=JobIDRaw,JobName,State,ExitCode`; of steps and of several
 * records of one number the last counts. Leaves what it does not say as it is. */
bool slurm_accounting_read(const char *text, const char *number, slurm_job *job);
/* Jobs called name in lines of NUMBER|NAME, with "CLUSTER: x" headings between them where several clusters were asked:
 * the last one that was submitted (the highest number). */
bool slurm_find_name(const char *text, const char *name, slurm_id *out);

/* What Slurm's programs said on their standard error, on one line, without "sbatch: error: " and repetitions. */
void slurm_said(const char *text, char *out, size_t capacity);
/* True when that means that the controller cannot be reached now, and may be later. */
bool slurm_is_away(const char *said);
/* ... that it does not know the job, or not any more; the exit status is that of any failure. */
bool slurm_is_forgotten(const char *said);
/* ... that the cluster keeps no accounting. */
bool slurm_has_no_accounting(const char *said);
/* What is to be done about a refused submission, by what Slurm said of it. threads: the processors that were asked. */
void slurm_remedy(const slurm_settings *settings, const char *said, uint32_t threads, char *out, size_t capacity);

/* ---- place.c: directories. */
typedef struct slurm_place {
    char *dir;     /* SHARED/DIGEST */
    char *job_dir; /* what it was made from */
    char name[SLURM_NAME_MAX];
    slurm_id id;
    bool trains; /* a train job: model/ is what comes out */
    int lock;    /* held as long as the place is: SHARED/DIGEST.lock; -1: none */
} slurm_place;
#define SLURM_NO_PLACE                                                                                                 \
    { .lock = -1 }
void slurm_place_free(slurm_place *place);
/* Copies what job_dir holds (and input_path to eval.jsonl, when it is not NULL) to a place, or finds the place where
 * that was done before: name and id are filled then. Waits while another kolm has the same place. */
kit_status slurm_place_make(const kolm_host_v1_t *host, const slurm_settings *settings, const char *job_dir,
                            const char *input_path, slurm_place *out_place, kolm_error_t *err) KIT_MUST_USE;
/* Draws a name for the next submission, for a job of the task, and remembers it. */
kit_status slurm_place_name(slurm_place *place, const char *task, kolm_error_t *err) KIT_MUST_USE;
/* Remembers the id. Both are on disk when they return. */
kit_status slurm_place_submitted(slurm_place *place, const slurm_id *id, kolm_error_t *err) KIT_MUST_USE;
/* As if it had never been submitted, but for the checkpoint. */
kit_status slurm_place_renew(slurm_place *place, kolm_error_t *err) KIT_MUST_USE;
/* The job has ended badly: the next one that asks the same submits again. What is left is the checkpoint, if there is
 * one, and with keep everything. */
void slurm_place_end(slurm_place *place, bool keep);
/* Its results are home: it is removed, or, with keep, only not found again. */
void slurm_place_done(slurm_place *place, bool keep);
bool slurm_place_has(const slurm_place *place, const char *name);
/* Takes the place of place->dir, whatever is in it, without waiting, and fills name and id. False: a kolm has it. */
bool slurm_place_try(slurm_place *place);

/* ---- results.c: bringing them home. Each is asked again until it succeeds or time is up: files of another machine
 * may be seen late, and a part of them before the rest. */
/* OK when the results are there and whole, so far as can be seen from here. */
kit_status slurm_results_ready(const slurm_place *place, kolm_error_t *err) KIT_MUST_USE;
/* model/ and result.json of the place into its job_dir. */
kit_status slurm_bring_model(const slurm_place *place, kolm_error_t *err) KIT_MUST_USE;
/* predictions.jsonl of the place to output_path; counts its lines. */
kit_status slurm_bring_answers(const slurm_place *place, const char *output_path, uint64_t *out_answers,
                               kolm_error_t *err) KIT_MUST_USE;

/* ---- events.c: what the trainer prints. */
typedef struct slurm_events {
    kit_events job; /* .result: the trainer said that it is done; .error: what it said of its failure */
    uint64_t read_to;
} slurm_events;
/* Reads what is new in DIR/events.jsonl and tells it to the host. */
void slurm_events_read(slurm_events *events, const char *dir);
/* The last line on the standard error of the job, rather the trainer's than Slurm's own, for an error that nothing else
 * explains. *out_oom: Slurm said there that the kernel killed something of it for its memory. */
void slurm_last_words(const char *dir, char *out, size_t capacity, bool *out_oom);
#define SLURM_EVENTS_FILE "events.jsonl"
#define SLURM_ERRORS_FILE "errors.txt"

/* ---- ask.c: what the controller and the accounting know. */
typedef enum slurm_view {
    SLURM_VIEW_JOB,       /* *out_job is filled */
    SLURM_VIEW_FORGOTTEN, /* it is not known (any more) */
    SLURM_VIEW_AWAY,      /* nothing can be known now: said says why */
} slurm_view;
kit_status slurm_ask(const slurm_settings *settings, const slurm_id *id, slurm_job *out_job, slurm_view *out_view,
                     char *out_said, size_t capacity, kolm_error_t *err) KIT_MUST_USE;
/* The same of the accounting (sacct): for jobs that the controller forgot, and for who cancelled one. FORGOTTEN also
 * where a cluster keeps no accounting. */
kit_status slurm_ask_accounting(const slurm_settings *settings, const slurm_id *id, slurm_job *job,
                                slurm_view *out_view, kolm_error_t *err) KIT_MUST_USE;
/* The job called name, in the queue or in the accounting. VIEW_JOB: *out_id is filled. */
kit_status slurm_ask_name(const slurm_settings *settings, const char *name, slurm_id *out_id, slurm_view *out_view,
                          kolm_error_t *err) KIT_MUST_USE;
kit_status slurm_cancel(const slurm_settings *settings, const slurm_id *id, kolm_error_t *err) KIT_MUST_USE;

/* ---- submit.c */
/* Submits the place with its name, and fills its id. A controller that is away is waited for as long as it may be. */
kit_status slurm_submit(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place,
                        uint32_t threads, kolm_error_t *err) KIT_MUST_USE;
/* sbatch with argv; the id that it gave, or, where it gave none, of the job called name. */
kit_status slurm_sbatch(const slurm_settings *settings, const char *const *argv, const char *name, uint32_t threads,
                        slurm_id *out_id, kolm_error_t *err) KIT_MUST_USE;
/* Waits for a moment, in steps that end soon after the host says "cancelled"; false then. */
bool slurm_pause(const kolm_host_v1_t *host, int ms);

/* ---- end.c: how a job ended, for a person. */
/* Fills err for a job that ended in a state that is no success. told: what the trainer said of its failure, code 0 for
 * nothing. words: its last ones, or "". oom: the kernel killed something of it for its memory. checkpoint: there is one
 * to go on from. */
kit_status slurm_ended(const slurm_settings *settings, const slurm_id *id, const slurm_job *job,
                       const kolm_error_t *told, const char *words, bool oom, bool checkpoint,
                       kolm_error_t *err) KIT_MUST_USE;
/* True for a pending reason that does not pass by itself; out_remedy: what to do. */
bool slurm_is_stuck(const char *reason, const char *number, char *out_remedy, size_t capacity);

/* ---- follow.c: a job from its submission to its results. */
typedef struct slurm_home {
    const char *output_path; /* where the answers go; NULL: a train job, into job_dir */
    uint64_t answers;
    char device[128], toolchain[256];
} slurm_home;
/* Submits the place unless that was done before, follows the job to its end, and brings its results home. */
kit_status slurm_do(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place, const char *task,
                    uint32_t threads, slurm_home *home, kolm_error_t *err) KIT_MUST_USE;

/* ---- test.c: the slot. */
int32_t slurm_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                   kolm_error_t *out_error);

/* ---- status.c: the slot. */
int32_t slurm_status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out_result,
                     kolm_error_t *out_error);

#endif
