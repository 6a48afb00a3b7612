/* SPDX-License-Identifier: Apache-2.0 */
/* Base models as the verbs use them: opened for a compile, and found again by digest for a run. */
#ifndef KOLM_MODEL_BASE_H
#define KOLM_MODEL_BASE_H

#include "job/base.h"
#include "session/session.h"

/* Finds and digests the base that the user named (--base). Digests are remembered in HOME/cache/bases.json. */
kit_status model_base_open(kolm_session *session, const char *asked, job_base *out_base,
                           kolm_error_t *err) KIT_MUST_USE;

/* Finds the base of a model by the digest in its manifest, which covers the files listed there, or else all: at asked
 * (--base; may be NULL), else in a directory where it was seen before, else by the manifest's name in the local cache.
 * *out_needed is false if the model has no base. One with another digest is never used: NOT_FOUND says what happened to
 * the previous one. */
kit_status model_base_of(kolm_session *session, const cJSON *manifest, const char *asked, job_base *out_base,
                         bool *out_needed, kolm_error_t *err) KIT_MUST_USE;

/* Bytes that are read per answer, for the K-score: the payload, the base, and weights stored at a provider
 * (report.weights_elsewhere_bytes), multiplied by the passes per answer (report.passes_per_answer_micro; 1 if absent).
 */
uint64_t model_read_bytes(uint64_t payload_bytes, uint64_t base_bytes, const cJSON *report);

/* The trainer options for running a model: from its untrusted manifest only the few that define the model and its
 * prompts; options that weaken security come only from the user of this machine. The caller deletes *out_options. */
kit_status model_options(const cJSON *manifest, bool allow_pickle, cJSON **out_options, kolm_error_t *err) KIT_MUST_USE;

/* The items KEY=VALUE of --set as an object of strings; NULL if there are none. INVALID_ARGUMENT quotes the item. */
kit_status model_trainer_options(const session_words *set, cJSON **out_options, kolm_error_t *err) KIT_MUST_USE;

#endif
