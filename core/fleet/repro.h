/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a backend repeats bit for bit: measured by its own test, kept with the versions that it holds for. */
#ifndef KOLM_FLEET_REPRO_H
#define KOLM_FLEET_REPRO_H

#include "fleet/registry.h"
#include "session/session.h"

/*
 * A test that trains the same twice sends the metric test.reproducible: 1 when the bytes were the same, 0 when not (of
 * several the least counts). HOME/cache/reproducible.json keeps it per backend, and forgets it when the backend, or
 * the runtime that detect reports, is of another version: it was measured with those.
 */
typedef enum fleet_repro { FLEET_REPRO_UNKNOWN, FLEET_REPRO_SAME, FLEET_REPRO_DIFFERENT } fleet_repro;

/* Only HOME is written; a failure is forgotten, as with every cache. */
void fleet_repro_keep(kolm_session *session, const fleet_backend *backend, fleet_repro measured);
fleet_repro fleet_repro_known(kolm_session *session, const fleet_backend *backend);
/* "measured: the same bytes twice", "measured: different bytes" or "not measured": for people and for receipts. Static.
 */
const char *fleet_repro_text(fleet_repro repro);

#endif
