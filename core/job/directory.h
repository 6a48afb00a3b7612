/* SPDX-License-Identifier: Apache-2.0 */
/* Job directories: private, described by job.json, removed after their owner has exited. */
#ifndef KOLM_JOB_DIRECTORY_H
#define KOLM_JOB_DIRECTORY_H

/*
 * ROOT/ID/job       what the backend sees: job.json, train.jsonl, eval.jsonl; it writes model/, predictions.jsonl and
 *                   result.json
 * ROOT/ID/private   what it never sees: scratch of the preparation, the descriptions of both steps
 * ROOT/.ID          locked (flock) by the kolm that owns the job; the kernel releases it when that kolm exits
 *
 * ROOT/checkpoint-KEY   what a backend left in job/checkpoint of a failed job: the next job with the same KEY starts
 *                   from it (job_directory_go_on). Removed after fourteen days
 *
 * ID is random. Directories are 0700. job_directory_make removes the leftovers of dead owners under the same root.
 */

#include "job/base.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/job.h"
#include "kolm/kit/mark.h"

typedef struct job_directory {
    char *path;    /* ROOT/ID */
    char *job;     /* ROOT/ID/job */
    char *private; /* ROOT/ID/private */
    char id[17];
    char *lock_path;
    int lock_fd; /* -1: none */
} job_directory;

/* root (made if missing) is absolute. */
kit_status job_directory_make(const char *root, job_directory *out_directory, kolm_error_t *err) KIT_MUST_USE;
/* Removes everything unless keep (see job_directory_keep), and frees. No-op on {.lock_fd = -1}. */
void job_directory_close(job_directory *directory, bool keep);
/* Sets the identity of the work: key is 64 hex digits, the same for the same work. A checkpoint of an earlier job with
 * that key is moved to job/checkpoint, and *out_found is true. From now on, a checkpoint that exists when the job is
 * removed, by its owner or by a later kolm, is kept for the next one. */
kit_status job_directory_go_on(job_directory *directory, const char key[KIT_SHA256_HEX], bool *out_found,
                               kolm_error_t *err) KIT_MUST_USE;
/* Removes job/job.json after its step, to make room for the description of the next one. */
kit_status job_directory_next(job_directory *directory, kolm_error_t *err) KIT_MUST_USE;
/* Renames the directory to ROOT/kept-ID, which is never cleaned up; updates directory->path. Then close with keep. Both
 * steps can be repeated there: job/ is the train job, with its results, and answers/, if there were any, the infer job,
 * whose model files are those of job/model. */
kit_status job_directory_keep(job_directory *directory, kolm_error_t *err) KIT_MUST_USE;

/* Removes the directory's paths from an error that is shown after it is gone: files in it are named by their path
 * inside job/ or private/. kept: it is about to be kept, and the paths become those of the kept directory. */
void job_directory_mend_error(const job_directory *directory, bool kept, kolm_error_t *err);

typedef struct job_description {
    const char *kind; /* "train" or "infer" */
    const char *task, *recipe, *effort;
    uint64_t seed, rows, labels;
    const char *class_weight; /* "balanced"; NULL: none */
    bool has_abstain, has_target;
    uint64_t abstain_micro, target_accuracy_micro;
    const kit_job_model_file *model_files; /* infer; name, path, offset, size */
    size_t model_file_count;
    const job_base *base; /* NULL: none */
    bool embed_base;      /* train: include in the model what inference needs of the base */
    const cJSON *trainer; /* options of the trainer, an object of strings; NULL: none */
} job_description;

/* Appends the text of job.json. */
kit_status job_description_text(const job_description *description, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;

/* Identifies a description at the end of the job. text NULL: none. */
typedef struct job_described {
    char *text;
    kit_file_mark file, place; /* job.json; the parent directory of DIR */
} job_described;

/* Like job_describe, for job/ of the directory. Free with job_described_free in every case. */
kit_status job_describe_marked(const job_directory *directory, const job_description *description, job_described *out,
                               kolm_error_t *err) KIT_MUST_USE;
/* OK if the description is, and always was, as written, so that no other one can have been read. *out_copied: it names
 * copies of the model's files below DIR/model, as made by kolm-host for backends that cannot read slices; the caller
 * must check by digest that the copies are correct. */
kit_status job_described_unchanged(const job_directory *directory, const job_described *described, bool *out_copied,
                                   kolm_error_t *err) KIT_MUST_USE;
void job_described_free(job_described *described);

/* Writes job/job.json, and for job_directory_keep a copy in private/: a backend may change the former. */
kit_status job_directory_describe(const job_directory *directory, const job_description *description,
                                  kolm_error_t *err) KIT_MUST_USE;
/* Writes DIR/job.json. */
kit_status job_describe(const char *dir, const job_description *description, kolm_error_t *err) KIT_MUST_USE;

#endif
