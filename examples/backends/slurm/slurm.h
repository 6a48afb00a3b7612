/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the Slurm backend: what it is told, commands, job directories, and following a job. */
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
 * Sources: sbatch(1), scontrol(1), scancel(1) of Slurm 22.05; JOB STATE CODES of squeue(1).
 */

#include "kolm/kit/backend.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/json.h"

#define SLURM_TRAINER_WORDS 32

/* Settings: backends.slurm.KEY of config.json. "" where nothing was said. */
typedef struct slurm_settings {
    char bin[256];        /* directory of Slurm's commands; found in the usual places otherwise */
    char shared_dir[512]; /* seen by this machine and by every node; default $HOME/.cache/kolm-slurm */
    char partition[64], account[64], qos[64], constraint[64];
    char time[32];                          /* as sbatch takes it: minutes, or D-HH:MM:SS */
    char memory[32];                        /* "16G" */
    char gpus[32];                          /* a node: "2", "a100:2" */
    char nodes[16];                         /* default 1 */
    char keep[8];                           /* "true": the shared directory stays */
    uint64_t patience_seconds;              /* how long the controller may be away; default 900 */
    char *trainer[SLURM_TRAINER_WORDS + 1]; /* the program that does a job directory; default kolm job run */
    size_t trainer_words;
} slurm_settings;

kit_status slurm_settings_read(const kolm_host_v1_t *host, slurm_settings *out, kolm_error_t *err) KIT_MUST_USE;
void slurm_settings_free(slurm_settings *settings);

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

/* ---- job.c: directories. */
typedef struct slurm_place {
    char *dir;     /* SHARED/DIGEST */
    char id[32];   /* of the Slurm job; "" before it is submitted */
    bool attached; /* it had been submitted before */
    int lock;      /* held as long as the place is: SHARED/DIGEST.lock; -1: none */
} slurm_place;
#define SLURM_NO_PLACE                                                                                                 \
    { .lock = -1 }
void slurm_place_free(slurm_place *place);
/* Copies what job_dir holds (and input_path to eval.jsonl, when it is not NULL) to a place, or finds the place where
 * that was done before. Waits while another kolm has the same place. */
kit_status slurm_place_make(const kolm_host_v1_t *host, const slurm_settings *settings, const char *job_dir,
                            const char *input_path, slurm_place *out_place, kolm_error_t *err) KIT_MUST_USE;
/* Remembers the id, on disk when it returns. */
kit_status slurm_place_submitted(slurm_place *place, const char *id, kolm_error_t *err) KIT_MUST_USE;
/* Forgets everything about it, so that the next one begins anew. */
void slurm_place_remove(slurm_place *place);
/* model/ and result.json of the place into job_dir. */
kit_status slurm_bring_model(const slurm_place *place, const char *job_dir, kolm_error_t *err) KIT_MUST_USE;
/* predictions.jsonl of the place to output_path; counts its lines. */
kit_status slurm_bring_answers(const slurm_place *place, const char *output_path, uint64_t *out_answers,
                               kolm_error_t *err) KIT_MUST_USE;

/* ---- follow.c: submitting and following. */
typedef struct slurm_outcome {
    char device[128];
    char toolchain[256];
} slurm_outcome;
/* Submits the place unless it is attached, and follows the job to its end. CANCELLED ends the job too. */
kit_status slurm_do(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place, const char *task,
                    uint32_t threads, slurm_outcome *out_outcome, kolm_error_t *err) KIT_MUST_USE;

#endif
