/* SPDX-License-Identifier: Apache-2.0 */
/* Answers by a serverless endpoint of the user at RunPod: facts of its job API, and what the slots ask of it. */
#ifndef RUNPOD_SERVERLESS_H
#define RUNPOD_SERVERLESS_H

#include "kolm/backend.h"
#include "kolm/rent/journal.h"
#include "kolm/rent/queue_slots.h"

/*
 * The job API of queue endpoints, https://docs.runpod.io/serverless/endpoints, at another host than REST v2. As its
 * Python client
 * 1.12.0 speaks to it.
 *   POST /{endpoint}/run           {"input", "policy": {"executionTimeout", "ttl"}}, milliseconds, at least 5 s and 10 s: 200 {"id",
 *                                  "status": "IN_QUEUE"}. At most 10 MB. No key against creating twice, no names, no list
 *   GET  /{endpoint}/status/{id}   {"id", "status", "delayTime", "executionTime", "output", "error"}
 *   POST /{endpoint}/cancel/{id}   {"id", "status": "CANCELLED"}
 *   GET  /{endpoint}/health        {"jobs": {...}, "workers": {"idle", "running", ...}}
 * IN_QUEUE; IN_PROGRESS (or RUNNING); COMPLETED, FAILED, CANCELLED, TIMED_OUT are final. The ttl counts from the
 * submission: after it RunPod has neither the job nor its output, whatever the state. An output is kept for half an
 * hour. `error` is what the worker said: a text, or the JSON of an exception as a text, with error_message.
 *
 * The worker is kolm_worker.py. The input is {"format": 1, "model": DIGEST, "rows": [...]}, DIGEST "" without rows, to
 * ask which it has; rows are as in eval.jsonl, and their ids numbers from 0 here; the output {"model": DIGEST, "answers": [{"id", "output", "confidence"}, ...]} as
 * predictions.jsonl has them. DIGEST is the SHA-256 of what sha256sum prints for the files of the model, in the order
 * of their names' bytes.
 */

#define RUNPOD_ENDPOINT_BYTES 65u /* of an id */

extern const kit_service_site runpod_serverless_site;
kit_queue_life runpod_serverless_life(const char *word);
/* Whether an answer is a 404 of RunPod's own: {"error"}, or a problem of RFC 9457 with that status. Another one, of a
 * proxy or a gateway, says nothing about a job. */
bool runpod_serverless_has_none(const kit_service_reply *reply);
/* Whether the user has set an endpoint, be it a wrong one. */
bool runpod_serverless_is_set(const kolm_host_v1_t *host);
/* One request with no question, which starts a worker, whose time is billed: it says which model it has. */
kit_status runpod_serverless_test(const kolm_host_v1_t *host, char *out_note, size_t capacity,
                                  kolm_error_t *err) KIT_MUST_USE;
/* Of a job that was recorded, as those are that may run for long. recall.c */
int32_t runpod_serverless_reclaim(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                                  kolm_reclaim_result_t *out_result, kolm_error_t *err);
/* Whether the answers of this job come from an endpoint: one is set, and the model was not made in this very job, in
 * which case the endpoint cannot have it. */
bool runpod_serverless_answers(const kolm_host_v1_t *host, const char *job_dir);
int32_t runpod_serverless_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                                kolm_infer_result_t *out_result, kolm_error_t *err);
/* Adds to what was detected which endpoint answers, and with network whether it does. */
void runpod_serverless_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *result);

#endif
