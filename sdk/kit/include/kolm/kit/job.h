/* SPDX-License-Identifier: Apache-2.0 */
/* The job protocol from the backend's side: reading job.json, writing predictions and result.json. job-protocol.md */
#ifndef KOLM_KIT_JOB_H
#define KOLM_KIT_JOB_H

#include "kolm/kit/json.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_JOB_FORMAT 1

typedef struct kit_job_model_file {
    char *name;      /* "linear.bin", a safe relative path below model/ */
    char *path;      /* absolute path of the file that holds its bytes */
    uint64_t offset; /* of its first byte in that file */
    uint64_t size;
} kit_job_model_file;

typedef struct kit_job {
    char *dir;    /* absolute */
    char *kind;   /* "train" or "infer" */
    char *task;   /* "support_ticket_router" */
    char *recipe; /* "linear" or "lora" */
    uint64_t seed;
    char *effort;                    /* "quick", "normal" or "high" */
    uint64_t rows;                   /* rows of train.jsonl */
    uint64_t labels;                 /* number of distinct outputs if they form a closed set, else 0 */
    cJSON *options;                  /* recipe options, an object; never NULL */
    kit_job_model_file *model_files; /* infer only */
    size_t model_file_count;
} kit_job;

/* Reads and checks DIR/job.json. Unknown keys are ignored; a missing or mistyped one is INVALID_ARGUMENT. */
kit_status kit_job_read(const char *dir, kit_job **out, kolm_error_t *err) KIT_MUST_USE;
void kit_job_free(kit_job *job);
/* The model file called name, or NOT_FOUND. Owned by job. */
kit_status kit_job_model(const kit_job *job, const char *name, const kit_job_model_file **out,
                         kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
