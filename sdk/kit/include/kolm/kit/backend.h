/* SPDX-License-Identifier: Apache-2.0 */
/* Common parts of backend slots: token detection without network, visible-device lists, cost estimates. */
#ifndef KOLM_KIT_BACKEND_H
#define KOLM_KIT_BACKEND_H

#include "kolm/kit/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Results: fills the arrays of a detect result; NULL leaves a field unchanged. Returns KOLM_OK. */
int32_t kit_detected(kolm_detect_result_t *out_result, uint32_t state, const char *reason, const char *remedy,
                     const char *runtime);

/* ---- Tokens */
/* Implements detect for a service that only needs a token: AVAILABLE if the secret `variable` is set and plausible (8
 * to 4096 printable ASCII characters without spaces) or its value is withheld, BROKEN if it is set but cannot be a
 * token, ABSENT otherwise. Does not use the network. The result never contains more of the token than its last four
 * characters (of at least twelve). where: the page where users get a token. */
int32_t kit_detect_token(const kolm_host_v1_t *host, const char *variable, const char *where, const char *runtime,
                         kolm_detect_result_t *out_result, kolm_error_t *out_error);

/* Copies a setting of the backend as text, or fallback if it is not set. Returns false if it does not fit. */
bool kit_setting(const kolm_host_v1_t *host, const char *key, const char *fallback, char *out_text, size_t capacity);

/* ---- CUDA_VISIBLE_DEVICES and similar variables: a comma-separated list of indices, or of UUID prefixes that begin
 * with "GPU-" or "MIG-", in any case. NULL: everything is visible, and the position is the index; as documented for
 * CUDA, the list ends at the first entry that is neither. uuid may be NULL, or index UINT32_MAX, if not known. Returns
 * the position in the list, or -1 if the device is not visible. */
int kit_visible_position(const char *list, uint32_t index, const char *uuid);

/* ---- Estimates for LoRA training
 * tokens = epochs * (input bytes / 4 + 16 per row): a token is about four bytes of English, and each row is wrapped in
 * a template; rate = tokens per second of a 3B model on this hardware, times 1.6 up to 1.5B parameters, 1 up to 3B,
 * 0.55 up to 7B, 0.30 up to 14B, 0.15 up to 30B and 0.07 above; duration = cold start + tokens / rate. A guess from a
 * table: KOLM_CONFIDENCE_NONE. Fills the whole result; a cost from a price per hour is rounded down to a micro-dollar.
 * epochs 0 means 3, base_parameters 0 means 3B, a rate of 0 means unknown. On overflow the result is UINT64_MAX - 1. */
int32_t kit_estimate_lora(const kolm_cost_args_t *args, uint32_t tokens_per_second_3b, kolm_cost_result_t *out_result);
/* The same for services that do not bill by time: the duration is estimated, the cost is unknown, and basis states what
 * it depends on. billing is KOLM_BILLING_PER_TOKEN or _PER_CALL. */
int32_t kit_estimate_unpriced(const kolm_cost_args_t *args, uint32_t tokens_per_second_3b, uint32_t billing,
                              const char *basis, kolm_cost_result_t *out_result);

#ifdef __cplusplus
}
#endif
#endif
