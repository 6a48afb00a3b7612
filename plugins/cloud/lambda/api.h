/* SPDX-License-Identifier: Apache-2.0 */
/* The requests to Lambda's API and the meaning of its answers, without any policy for time, money or order. */
#ifndef LAMBDA_API_H
#define LAMBDA_API_H

#include "kolm/rent/vm.h"

/*
 * Version 1.10.0 of Lambda's OpenAPI specification; https://docs.lambda.ai/public-cloud/cloud-api/.
 *   GET  /instance-types                    types, prices per machine in US cents an hour, regions with capacity
 *   POST /instance-operations/launch        one instance; 400 instance-operations/launch/insufficient-capacity if
 *                                           none is left
 *   GET  /instances, /instances/{id}        booting, active, unhealthy, terminating, terminated, preempted
 *   POST /instance-operations/terminate     {"terminated_instances": [...]}; an id that is not listed was not ended
 *   GET, POST /ssh-keys, DELETE /ssh-keys/{id}
 * Answers are {"data": ...}, failures {"error": {"code", "message", "suggestion"}}; decisions use only the code. One
 * request per second, one launch per 12 seconds. There is no idempotency key: instances are looked up by name.
 */

extern const kit_vm lambda_vm; /* the table: lambda.c */

extern const kit_rent_refusal lambda_refusals[];
bool lambda_read_refusal(int http_status, const cJSON *body, kit_rent_said *out);
kit_status lambda_key_add(kit_rent_account *account, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                          kolm_error_t *err) KIT_MUST_USE;
kit_status lambda_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count,
                         kolm_error_t *err) KIT_MUST_USE;
kit_status lambda_create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) KIT_MUST_USE;
kit_status lambda_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) KIT_MUST_USE;
kit_status lambda_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) KIT_MUST_USE;
kit_status lambda_destroy(void *state, const char *handle, kolm_error_t *err) KIT_MUST_USE;

/* Memory per GPU of a type, in gigabytes: from its description ("H100 (80 GB SXM5)"), otherwise from its name; 0 if
 * unknown. */
uint64_t lambda_vram_gb(const char *type, const char *gpu_description);

#endif
