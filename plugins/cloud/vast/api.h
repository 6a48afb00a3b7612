/* SPDX-License-Identifier: Apache-2.0 */
/* The requests to Vast.ai's API and the meaning of its answers, without any policy for time, money or order. */
#ifndef VAST_API_H
#define VAST_API_H

#include "kolm/rent/vm.h"

/*
 * https://docs.vast.ai/api-reference, and the requests of its command line vastai 1.9.1. Paths end with a slash.
 *   GET    /api/v0/users/current/        the account: its id, and its credit in USD
 *   POST   /api/v0/bundles/              a search: {"offers": [...]}; gpu_ram: MiB per GPU; dph_total: USD per hour,
 *                                        including storage of allocated_storage GB; inet_down_cost and inet_up_cost:
 *                                        USD per GB, in addition
 *   PUT    /api/v0/asks/{offer}/         {"success": true, "new_contract": id}. With cancel_unavail an unavailable
 *                                        offer is refused; otherwise a stopped instance would remain, whose storage
 *                                        is billed. A refusal with new_contract left one, which kolm destroys
 *   POST   /api/v0/instances/{id}/ssh/   adds a key to this instance; the account's keys are not changed
 *   GET    /api/v0/instances/{id}/       {"instances": {...}}, or null if there is none
 *   GET    /api/v1/instances/            pages; next_token is the after_token of the next page
 *   DELETE /api/v0/instances/{id}/       deletes it and its disk; one that is only stopped is still billed
 * Failures are {"success": false, "error": code, "msg": text}, with any status, even 200; some lack the code. Decisions
 * use the code, then the status. A 404 that is not such an object is from a proxy. There are no idempotency keys and no
 * unique labels: instances are looked up by label. Minimum pauses: creations 4.5 s (12 more after one), deletions 3 s,
 * queries 2 s, keys 1 s; ten searches per minute.
 */

extern const kit_vm vast_vm; /* the table: vast.c */

extern const kit_rent_refusal vast_refusals[];
bool vast_read_refusal(int http_status, const cJSON *body, kit_rent_said *out);
kit_status vast_balance(kit_rent_account *account, uint64_t *out_micro_usd, kolm_error_t *err) KIT_MUST_USE;
kit_status vast_scope(kit_rent_account *account, kit_vm_scope *out, kolm_error_t *err) KIT_MUST_USE;
kit_status vast_check(kit_rent_account *account, char *out_note, size_t capacity, kolm_error_t *err) KIT_MUST_USE;
kit_status vast_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) KIT_MUST_USE;
kit_status vast_create(void *state, const kit_rent_offer *offer, const char *name,
                       char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) KIT_MUST_USE;
kit_status vast_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) KIT_MUST_USE;
kit_status vast_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                     kolm_error_t *err) KIT_MUST_USE;
kit_status vast_destroy(void *state, const char *handle, kolm_error_t *err) KIT_MUST_USE;

#endif
