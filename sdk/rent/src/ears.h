/* SPDX-License-Identifier: Apache-2.0 */
/* Host services with a stop of their own, for a thread that must end before the call does, and for requests that must
 * be made after the user asked to stop. */
#ifndef KOLM_RENT_EARS_H
#define KOLM_RENT_EARS_H

#include "kolm/backend.h"
#include <stdatomic.h>
#include <stdbool.h>

typedef struct kit_rent_ears kit_rent_ears; /* of kolm/rent/account.h too */
struct kit_rent_ears {
    kolm_host_v1_t table; /* what the thread is given; its user is this record, which must not move */
    const kolm_host_v1_t *real;
    atomic_bool stop; /* cancelled() says yes */
    atomic_bool deaf; /* it says no, whatever the user asked for */
};

void rent_ears_begin(kit_rent_ears *h, const kolm_host_v1_t *host, const char *scratch_dir);

#endif
