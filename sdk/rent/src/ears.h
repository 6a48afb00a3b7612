/* SPDX-License-Identifier: Apache-2.0 */
/* Host services with their own stop flag, for a thread that must end before the call does, and for requests that must
 * be sent after the user asked to stop. */
#ifndef KOLM_RENT_EARS_H
#define KOLM_RENT_EARS_H

#include "kolm/backend.h"
#include <stdatomic.h>
#include <stdbool.h>

typedef struct kit_rent_ears kit_rent_ears; /* as in kolm/rent/account.h */
struct kit_rent_ears {
    kolm_host_v1_t table; /* passed to the thread; its user is this record, which must not move */
    const kolm_host_v1_t *real;
    atomic_bool stop; /* cancelled() returns 1 */
    atomic_bool deaf; /* it returns 0 even if the user asked to stop */
};

void rent_ears_begin(kit_rent_ears *h, const kolm_host_v1_t *host, const char *scratch_dir);

#endif
