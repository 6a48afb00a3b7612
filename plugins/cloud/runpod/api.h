/* SPDX-License-Identifier: Apache-2.0 */
/* The requests to RunPod's REST API and the meaning of its answers, without any policy for time, money or order. */
#ifndef RUNPOD_API_H
#define RUNPOD_API_H

#include "kolm/rent/vm.h"

/*
 * REST v2, https://docs.runpod.io/api-reference-v2, OpenAPI specification of 2026-08-20. (v1 is retired and
 * answers 410.)
 *   GET    /catalog/gpus?include=AVAILABILITY&product=POD&cloud=...   types, USD per hour and GPU, availability
 *   POST   /pods           201 and the pod; 400: an invalid request or no capacity, and only its text says which;
 *                          402: no balance; 422: an unknown field, or a wrong value
 *   GET    /pods, /pods/{id}   PROVISIONING, STARTING, RUNNING; EXITED (stopped, its disk still billed), ERROR;
 *                          TERMINATED
 *   DELETE /pods/{id}      204; then 404, or TERMINATED for a while. kolm never stops a pod instead
 *   POST   https://api.runpod.io/graphql   {"query": "query { myself { clientBalance } }"}: {"data": ...} with USD, or
 *                          {"errors": [...]}
 * Failures are application/problem+json {"title", "status", "detail", "errors"}: any other 404 is from a proxy. There
 * are no idempotency keys and no unique names: pods are looked up by name. The specification mentions no pages, but a
 * `nextCursor` is followed. The public key is passed as the variable PUBLIC_KEY, which RunPod's images add to
 * authorized_keys; the account's own keys, which can only be replaced as a whole, are not touched. The direct address
 * of port 22 is used, because the proxy does not support exec.
 */

extern const kit_vm runpod_vm; /* the table: runpod.c */

extern const kit_rent_refusal runpod_refusals[];
bool runpod_read_refusal(int http_status, const cJSON *body, kit_rent_said *out);
/* Uses GraphQL, which RunPod will end early in 2027, because REST v2 has no such request. If the setting
 * automatic_payment is true: UINT64_MAX, without a request. */
kit_status runpod_balance(kit_rent_account *account, uint64_t *out_micro_usd, kolm_error_t *err) KIT_MUST_USE;
kit_status runpod_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count,
                         kolm_error_t *err) KIT_MUST_USE;
kit_status runpod_create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) KIT_MUST_USE;
kit_status runpod_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) KIT_MUST_USE;
kit_status runpod_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) KIT_MUST_USE;
kit_status runpod_destroy(void *state, const char *handle, kolm_error_t *err) KIT_MUST_USE;

#endif
