/* SPDX-License-Identifier: Apache-2.0 */
/* What a job would take and cost on every backend. */
#ifndef KOLM_FLEET_QUOTE_H
#define KOLM_FLEET_QUOTE_H

#include "fleet/calls.h"

/* The job as far as a person knows it. */
typedef struct fleet_quote_request {
    const char *data;   /* rows and bytes are counted there; "-": standard input; NULL: as given below */
    const char *recipe; /* NULL: lora when parameters is set, else linear */
    session_number rows, bytes, labels, epochs, parameters; /* what is set comes before what is counted */
    session_airgap airgap;
} fleet_quote_request;

typedef struct fleet_quotes {
    fleet_registry *registry;
    fleet_quote *at; /* one for each backend of the registry, in its order */
    kolm_cost_args_t job;
} fleet_quotes;

/* Counts, and asks every backend's cost slot. INVALID_ARGUMENT for data that is no text, or has no rows. Free with
 * fleet_quotes_free in every case. */
kit_status fleet_quotes_get(kolm_session *session, const fleet_quote_request *request, fleet_quotes *out,
                            kolm_error_t *err) KIT_MUST_USE;
void fleet_quotes_free(fleet_quotes *quotes);
/* Seconds since the provider said the price, or it was written into the manifest; -1 when that is not known. */
int64_t fleet_price_age(const fleet_registry *registry, const fleet_backend *backend);

#endif
