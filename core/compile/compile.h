/* SPDX-License-Identifier: Apache-2.0 */
/* Data in, a signed model out: the state of one compile, and its steps in the order in which they run. */
#ifndef KOLM_COMPILE_COMPILE_H
#define KOLM_COMPILE_COMPILE_H

#include "artifact/artifact.h"
#include "compile/files.h"
#include "fleet/choose.h"
#include "fleet/recipe.h"
#include "host/host.h"
#include "job/dataset.h"
#include "job/directory.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "lease/lease.h"
#include "model/base.h"
#include "receipt/receipt.h"
#include "score/score.h"

/* The user's request; the members are the options of `kolm compile` of the same names. Borrowed: it must outlive the
 * compile. A text is NULL, and a number is not set, if it was not given; compile_new sets the texts that have a
 * default. */
typedef struct compile_request {
    const char *task;                   /* required: the name of the model */
    const char *out;                    /* a directory, or the artifact's path; NULL: the current directory */
    const char *version;                /* "1.0.0" */
    const char *backend, *recipe;       /* NULL: chosen as fleet/choose.h says; "auto" */
    const char *base;                   /* a directory or a name in the local cache */
    const char *effort, *class_weight;  /* quick, "normal", high; "none", balanced */
    const char *contradictions;         /* "majority", drop, keep, error */
    const char *input_col, *output_col; /* NULL: recognised */
    session_words data, eval;           /* paths; "-" is standard input. Without eval a fifth of data is held out */
    session_words set;                  /* NAME=VALUE, for the recipe */
    session_words exclude;              /* backends never to be chosen */
    session_number gate, min_accuracy, abstain, target_accuracy; /* millionths; gate 850000, min_accuracy 800000 */
    session_number seed, threads;                                /* 0; as many as there are processors */
    session_number budget, max_price;                            /* micro dollars, and micro dollars an hour */
    session_number min_vram;                                     /* kilobytes: 1000 bytes each */
    session_number max_tier;                                     /* 1 to 9 */
    session_airgap airgap;
    bool allow_private_remote; /* under airgap: allow a machine of the user's own on a private address */
    bool allow_baseline;       /* ship although always giving one answer may be as good */
    bool force;                /* replace an artifact without confirmation by the sink */
    bool skip_bad, no_header;  /* count bad rows and continue; tables begin with a row */
    bool embed_base, embed_eval;
    bool keep_job; /* compile_free leaves the job directory */
} compile_request;

/* One file of the payload, as the backend left it. */
typedef struct compile_payload {
    char *name; /* in the artifact: "model/linear.bin" */
    char *path;
    uint64_t size;
    kit_file_mark mark; /* when it was listed: the file that is packed later must be the same, and unmodified */
} compile_payload;

typedef struct compile {
    kolm_session *session;
    compile_request request;
    session_reason reason; /* what a failure of the current step means */
    char *out_path;        /* DIR/NAME-VERSION.kolm */
    char *sidecar_path;
    char *failed_path; /* DIR/NAME-VERSION.failed */
    char *chain_path, *keys_dir;
    job_directory job;
    compile_data_files data_files, eval_files;
    job_contradictions contradictions;
    job_summary data;
    const char *recipe;            /* decided */
    fleet_recipe_known recognised; /* the recipe that the base is made for; "": none, or another was requested */
    fleet_recipe needs;            /* of a recipe that was named, or belongs to the base */
    job_base base;                 /* path NULL: none */
    cJSON *trainer;                /* options of --set; NULL: none */
    uint32_t threads;
    bool airgap;
    bool private_remote; /* under airgap: the chosen backend is a machine of the user's own, on a private address */
    fleet_choice *choice;
    bool budget_capped;    /* the budget is that of the environment (fleet/budget.h), not the request's own */
    lease_list leases;     /* what the job rented */
    uint64_t quoted_micro; /* RECEIPT_UNKNOWN if not known */
    host_result trained, answered;
    cJSON *reported; /* what the backend measured: {"train": {NAME: TEXT}, "infer": {NAME: TEXT}} */
    cJSON *result;   /* result.json of the backend */
    compile_payload *payload;
    size_t payload_count;
    uint64_t payload_bytes;
    score_answers *answers;
    score_k k;
    score_gates gates;
    int64_t started_at; /* seconds since 1970 */
    int64_t started_ms; /* monotonic */
    artifact_identity identity;
    char file_sha256[KIT_SHA256_HEX];
    receipt_head head;
    bool key_created;
    char keyid[KIT_SHA256_HEX];
} compile;

/* Creates a compile: fill its request, whose defaults are set, then run it once. */
kit_status compile_new(kolm_session *session, compile **out_compile, kolm_error_t *err) KIT_MUST_USE;
/* Runs all steps. Events go to the session's sink: SESSION_DATA_READ, _BACKEND_CHOSEN, _QUOTED, _TRAINED, _SCORED, then
 * _SHIPPED, or _FAILED_GATE if *out_ships is false. reason is set on success and failure. Call it once, from one
 * thread. A missed gate is KOLM_OK; if the stop flag ended it, reason is INTERRUPTED. */
kit_status compile_run(compile *c, bool *out_ships, kolm_error_t *err) KIT_MUST_USE;
/* No-op if NULL. Removes the job directory unless request.keep_job is set. */
void compile_free(compile *c);

/* ---- The steps. Each sets reason for its own failure before anything can fail. */
kit_status compile_check_request(compile *c, kolm_error_t *err) KIT_MUST_USE;
kit_status compile_prepare_data(compile *c, kolm_error_t *err) KIT_MUST_USE;
/* Findings in the data: warnings about what the user should check, and the counts as JSON. */
void compile_warn_data(compile *c);
bool compile_put_data(cJSON *record, const compile *c);
/* The non-zero counts of rows that were dropped or kept together, for the manifest. */
bool compile_put_cleaning(cJSON *data, const compile *c);
kit_status compile_choose(compile *c, kolm_error_t *err) KIT_MUST_USE;
kit_status compile_train(compile *c, kolm_error_t *err) KIT_MUST_USE;
kit_status compile_answer(compile *c, kolm_error_t *err) KIT_MUST_USE;
kit_status compile_score(compile *c, kolm_error_t *err) KIT_MUST_USE;
/* The answers to the held-out rows, as the backend gave them, into a new file of the job's private directory: in the
 * order of the user's files, with the position of the row there (`row` in job_summary.heldout_fd) as its id. The caller
 * frees *out_path. */
kit_status compile_list_answers(const compile *c, const char *predictions, char **out_path,
                                kolm_error_t *err) KIT_MUST_USE;
/* If a gate is missed: the .failed directory. */
/* Replaces an older report; ALREADY_EXISTS if something else is in its place, or in it. */
kit_status compile_check_failed(const compile *c, kolm_error_t *err) KIT_MUST_USE;
kit_status compile_write_failed(compile *c, kolm_error_t *err) KIT_MUST_USE;
/* If both gates are met: artifact and receipts, verified and then moved into place. */
kit_status compile_ship(compile *c, kolm_error_t *err) KIT_MUST_USE;
/* The result as one JSON document. */
cJSON *compile_record(const compile *c, bool ships);
/* Identifies the work, so that its checkpoint is found again: the same rows, base, options and threads, and the same
 * backend in the same version. */
kit_status compile_work_key(const compile *c, char out_key[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;
/* --class-weight balanced */
bool compile_is_weighted(const compile *c);
/* What to try after a missed gate; static. */
const char *compile_advice(const compile *c);

#endif
