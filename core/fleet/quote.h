/* SPDX-License-Identifier: Apache-2.0 */
/* Time and cost estimates for a job on every backend. */
#ifndef KOLM_FLEET_QUOTE_H
#define KOLM_FLEET_QUOTE_H

#include "fleet/calls.h"

/* The job as far as the user describes it. */
typedef struct fleet_quote_request {
    const char *data;   /* file whose rows and bytes are counted; "-": standard input; NULL: as given below */
    const char *recipe; /* NULL: lora if parameters is set, else linear */
    session_number rows, bytes, labels, epochs, parameters; /* override what is counted */
    session_airgap airgap;
} fleet_quote_request;

typedef struct fleet_quotes {
    fleet_registry *registry;
    fleet_quote *at; /* one for each backend of the registry, in its order */
    kolm_cost_args_t job;
} fleet_quotes;

/* Counts, and calls every backend's cost slot. INVALID_ARGUMENT if the data is not text, or has no rows. Free with
 * fleet_quotes_free in every case. */
kit_status fleet_quotes_get(kolm_session *session, const fleet_quote_request *request, fleet_quotes *out,
                            kolm_error_t *err) KIT_MUST_USE;
void fleet_quotes_free(fleet_quotes *quotes);
/* Seconds since the provider reported the price, or since it was written into the manifest; -1 if unknown. */
int64_t fleet_price_age(const fleet_registry *registry, const fleet_backend *backend);

#endif
