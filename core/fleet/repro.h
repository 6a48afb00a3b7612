/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a backend's trainings are reproducible bit for bit, as measured by its own test. */
#ifndef KOLM_FLEET_REPRO_H
#define KOLM_FLEET_REPRO_H

#include "fleet/registry.h"
#include "session/session.h"

/*
 * A test that trains the same job twice reports the metric test.reproducible.RECIPE, with each - in the recipe's name
 * replaced by _: 1 if the bytes were equal, else 0 (of several values the least counts). It applies to that recipe
 * only. Older backends report just test.reproducible: it counts if the backend's manifest offers only one recipe, or
 * lists none.
 *
 * The result is stored in HOME/cache/reproducible.json per backend and recipe, and expires when the version of the
 * backend, or of the runtime that detect reports, changes.
 */
typedef enum fleet_repro { FLEET_REPRO_UNKNOWN, FLEET_REPRO_SAME, FLEET_REPRO_DIFFERENT } fleet_repro;

#define FLEET_REPROS_MAX 8u

/* What a test measured. Zero-initialise. */
typedef struct fleet_repros {
    struct {
        char recipe[64]; /* as in the metric; "": none was named */
        fleet_repro found;
    } at[FLEET_REPROS_MAX];
    size_t count;
} fleet_repros;

/* Records a metric of a test; other metrics are ignored. */
void fleet_repro_note(fleet_repros *all, const char *metric, double value);
/* The worst result of all tested recipes. */
fleet_repro fleet_repro_least(const fleet_repros *all);

/* Writes the result to the cache; errors are ignored. */
void fleet_repro_keep(kolm_session *session, const fleet_backend *backend, const fleet_repros *measured);
fleet_repro fleet_repro_known(kolm_session *session, const fleet_backend *backend, const char *recipe);
/* "measured: the same bytes twice", "measured: different bytes" or "not measured": for people and for receipts. Static.
 */
const char *fleet_repro_text(fleet_repro repro);
/* The same for each recipe that the manifest offers: "linear measured: the same bytes twice; lora not measured". */
void fleet_repro_put(kolm_session *session, const fleet_backend *backend, kit_buf *out);

#endif
