/* SPDX-License-Identifier: Apache-2.0 */
/* Answers from the user's serverless endpoint at RunPod: its job API, and the functions for the slots. */
#ifndef RUNPOD_SERVERLESS_H
#define RUNPOD_SERVERLESS_H

#include "kolm/backend.h"
#include "kolm/rent/journal.h"
#include "kolm/rent/queue_slots.h"

/*
 * The job API of queue endpoints, https://docs.runpod.io/serverless/endpoints, on another host than REST v2, as used by
 * its Python client 1.12.0.
 *   POST /{endpoint}/run           {"input", "policy": {"executionTimeout", "ttl"}}, in milliseconds, at least 5 s and
 *                                  10 s: 200 {"id", "status": "IN_QUEUE"}. At most 10 MB. No idempotency key, no names,
 *                                  no list
 *   GET  /{endpoint}/status/{id}   {"id", "status", "delayTime", "executionTime", "output", "error"}
 *   POST /{endpoint}/cancel/{id}   {"id", "status": "CANCELLED"}
 *   GET  /{endpoint}/health        {"jobs": {...}, "workers": {"idle", "running", ...}}
 * IN_QUEUE; IN_PROGRESS (or RUNNING); COMPLETED, FAILED, CANCELLED, TIMED_OUT are final. The ttl counts from the
 * submission: after it RunPod has neither the job nor its output, in any state. An output is kept for half an hour.
 * `error` is the worker's message: a text, or the JSON of an exception as a text, with error_message.
 *
 * The worker is kolm_worker.py. The input is {"format": 1, "model": DIGEST, "rows": [...]}; DIGEST "" without rows
 * queries which model it has. Rows are as in eval.jsonl, with ids that are numbers from 0. The output is {"model":
 * DIGEST, "answers": [{"id", "output", "confidence"}, ...]}, as in predictions.jsonl. DIGEST is the SHA-256 of the
 * output of sha256sum for the files of the model, sorted bytewise by name.
 */

#define RUNPOD_ENDPOINT_BYTES 65u /* of an id, with its NUL */

extern const kit_service_site runpod_serverless_site;
kit_queue_life runpod_serverless_life(const char *word);
/* True if the reply is a 404 of RunPod's own: {"error"}, or an RFC 9457 problem with that status. A 404 from a proxy or
 * a gateway is not about a job. */
bool runpod_serverless_has_none(const kit_service_reply *reply);
/* True if the user has set an endpoint, even an invalid one. */
bool runpod_serverless_is_set(const kolm_host_v1_t *host);
/* Sends one request without questions, to which the worker answers which model it has. It starts a worker, whose time
 * is billed. */
kit_status runpod_serverless_test(const kolm_host_v1_t *host, char *out_note, size_t capacity,
                                  kolm_error_t *err) KIT_MUST_USE;
/* For a recorded job; only jobs that may run for long are recorded. recall.c */
int32_t runpod_serverless_reclaim(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                                  kolm_reclaim_result_t *out_result, kolm_error_t *err);
/* Returns whether the answers of this job come from an endpoint: one is set, and the model was not made by this job, in
 * which case the endpoint cannot have it. */
bool runpod_serverless_answers(const kolm_host_v1_t *host, const char *job_dir);
int32_t runpod_serverless_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                                kolm_infer_result_t *out_result, kolm_error_t *err);
/* Adds the endpoint to the result of detect, and with network whether it responds. */
void runpod_serverless_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *result);

#endif
