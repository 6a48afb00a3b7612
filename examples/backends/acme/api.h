/* SPDX-License-Identifier: Apache-2.0 */
/* The requests to ACME's API and the meaning of its answers, without any policy for time, money or order. */
#ifndef ACME_API_H
#define ACME_API_H

#include <kolm/rent/vm.h>

/*
 * ACME does not exist. Its API is what many providers of machines have in common:
 *   GET    /offers          {"offers": [{"id", "gpu", "memory_gb", "disk_gb", "region", "usd_per_hour", "free"}]}
 *   POST   /machines        {"offer", "name", "public_key"}: 201 and the machine
 *   GET    /machines        {"machines": [...]}, all of them
 *   GET    /machines/{id}   {"id", "name", "state", "usd_per_hour", "host", "port", "host_key"}
 *   DELETE /machines/{id}   204: it is ending
 * The states are starting, running, ending and ended. A refusal is {"code", "message"}. There is no idempotency key:
 * machines are looked up by name.
 */

extern const kit_rent_refusal acme_refusals[];
bool acme_read_refusal(int http_status, const cJSON *body, kit_rent_said *out);
kit_status acme_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err);
kit_status acme_create(void *state, const kit_rent_offer *offer, const char *name,
                       char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err);
kit_status acme_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err);
kit_status acme_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                     kolm_error_t *err);
kit_status acme_destroy(void *state, const char *handle, kolm_error_t *err);

#endif
