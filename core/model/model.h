/* SPDX-License-Identifier: Apache-2.0 */
/* A compiled model as the verbs use it: opened, checked against the keyring, and run. */
#ifndef KOLM_MODEL_MODEL_H
#define KOLM_MODEL_MODEL_H

#include "artifact/artifact.h"
#include "fleet/choose.h"
#include "host/host.h"
#include "job/directory.h"
#include "kolm/kit/digest.h"
#include "model/base.h"
#include "receipt/receipt.h"

typedef struct model_handle {
    char *path; /* absolute */
    char *sidecar_path;
    artifact *artifact;
    bool has_sidecar;
    receipt_report report;            /* the result of verification */
    bool unjudged;                    /* no verdict: the error is not about the artifact's bytes */
    char file_sha256[KIT_SHA256_HEX]; /* "" unless the whole file was hashed */
    bool allow_pickle;                /* --allow-pickle: set by the verb, never by the model */
    fleet_registry *registry; /* scanned while the file was hashed; may be NULL. model_answering_begin takes it */
} model_handle;

/* How much of the file is read for verification. */
typedef enum model_trust {
    MODEL_TRUST_CONTENT,  /* entries against the signed manifest, without receipts: sufficient to run it */
    MODEL_TRUST_RECEIPTS, /* the whole file against its receipts; entries when it has none */
    MODEL_TRUST_DEEP,     /* both */
} model_trust;

/* Opens and verifies. *out_reason: meaning of a failure: DATA for a missing or irregular file, VERIFY for one that
 * fails verification, UNJUDGED (and out_model->unjudged) if it could not be verified: out of memory, disk error,
 * keyring or log unreadable. Free with model_handle_close in every case. */
kit_status model_handle_open(kolm_session *session, const char *path, model_trust trust, model_handle *out_model,
                             session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* A server that may already have digested the same file, identified by its mark: then the file is not digested again;
 * everything else is checked as usual. */
typedef struct model_voucher {
    bool (*knows)(void *user, const artifact *a);
    void *user;
} model_voucher;
/* The same; voucher may be NULL. */
kit_status model_open_known(kolm_session *session, const char *path, model_trust trust, const model_voucher *voucher,
                            model_handle *out_model, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* Repeats the verdict with the current keyring, log and receipts, without reading the payload again. OK if the model
 * may still be run: like model_may_run, but without its warning. */
kit_status model_check_again(kolm_session *session, model_handle *model, session_reason *out_reason,
                             kolm_error_t *err) KIT_MUST_USE;
/* The name of the verdict, or "could not be checked"; static. */
const char *model_verdict_name(const model_handle *model);
/* After a failed open: true if model->report has a verdict, or why there is none (unjudged). False:
 * the error is about something else, such as a path. */
bool model_report_failure(model_handle *model, kit_status status, const kolm_error_t *err);
/* True for a status about the content, as opposed to one that says that it could not be read. */
bool model_status_is_verdict(kit_status status);
void model_handle_close(model_handle *model);
/* OK for a trusted model; for an unknown key a warning and OK; else the report as an error, for the reason VERIFY. */
kit_status model_may_run(kolm_session *session, const model_handle *model, kolm_error_t *err) KIT_MUST_USE;

/* Opens a model with MODEL_TRUST_CONTENT, and checks model_may_run. Free with model_handle_close in every case. */
kit_status model_open_to_run(kolm_session *session, const char *path, bool allow_pickle, model_handle *out_model,
                             session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;

/* The backend that made the model, from its receipt; else the first word of its toolchain. */
void model_maker(const model_handle *model, char *out, size_t capacity);
/* The format of its payload: "model_format" of its manifest; in older ones, the first word of its toolchain. */
void model_format(const model_handle *model, char *out, size_t capacity);
/* Writes job.json of an infer job for the model; base: path NULL if it has none. bytes: the path of
 * artifact_descriptor() in the process that runs the job, HOST_MODEL_PATH for a backend: not the name of the file,
 * which may have been replaced. */
kit_status model_describe(const model_handle *model, const job_base *base, const char *bytes, const job_directory *job,
                          job_described *out_described, kolm_error_t *err) KIT_MUST_USE;
/* OK if the model, its base and the description of its job are unchanged. Call it after the last answer, or the last
 * byte written. On an error the results are invalid; *out_reason is VERIFY then. */
kit_status model_unchanged(const model_handle *model, const job_base *base, const job_directory *job,
                           const job_described *described, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* A job directory below the home or, if that is not writable, below /tmp. */
kit_status model_job_make(kolm_session *session, job_directory *out, kolm_error_t *err) KIT_MUST_USE;

/* An infer job: the model, the backend, and the job directory. */
typedef struct model_answering {
    const model_handle *model; /* borrowed */
    fleet_choice *choice;
    job_directory job;
    job_described described;
    job_base base; /* path NULL: the model has none */
    host_result *result;
    uint32_t threads;
    const volatile sig_atomic_t *stop; /* non-zero stops it, in addition to Ctrl-C; NULL: never */
} model_answering;
/* Chooses a backend that infers, finds the model's base, and describes the job; the payload is not copied: the backend
 * gets the descriptor of the artifact. The model must outlive the call. base: the path given by the user; NULL: found
 * by its digest. */
kit_status model_answering_begin(kolm_session *session, model_handle *model, const char *backend, const char *base,
                                 session_airgap airgap, model_answering *out_answering, session_reason *out_reason,
                                 kolm_error_t *err) KIT_MUST_USE;
/* input_fd, output_fd: as in host_infer. Also fails if the model or its base was changed before the last answer. */
kit_status model_answering_run(kolm_session *session, model_answering *answering, session_airgap airgap, int input_fd,
                               int output_fd, session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
/* The same for the rows of the job directory, whose answers go to its predictions.jsonl. DATA_LOSS if the backend
 * writes far more than answers to that many rows. */
kit_status model_answering_rows(kolm_session *session, model_answering *answering, session_airgap airgap, uint64_t rows,
                                session_reason *out_reason, kolm_error_t *err) KIT_MUST_USE;
void model_answering_end(model_answering *answering);

#endif
