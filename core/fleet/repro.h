/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a backend repeats bit for bit: measured by its own test, kept with the versions that it holds for. */
#ifndef KOLM_FLEET_REPRO_H
#define KOLM_FLEET_REPRO_H

#include "fleet/registry.h"
#include "session/session.h"

/*
 * A test that trains the same twice sends the metric test.reproducible.RECIPE, with _ for the - of a recipe's name: 1
 * when the bytes were the same, 0 when not (of several the least counts). It holds for that recipe and no other.
 * test.reproducible alone, as older backends send it, names none: it counts where the backend's manifest offers one
 * recipe, or does not say.
 *
 * HOME/cache/reproducible.json keeps it per backend and recipe, and forgets it when the backend, or the runtime that
 * detect reports, is of another version: it was measured with those.
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

/* Takes a metric of a test; others than these are ignored. */
void fleet_repro_note(fleet_repros *all, const char *metric, double value);
/* Of all recipes that were tested: the least. */
fleet_repro fleet_repro_least(const fleet_repros *all);

/* Only HOME is written; a failure is forgotten, as with every cache. */
void fleet_repro_keep(kolm_session *session, const fleet_backend *backend, const fleet_repros *measured);
fleet_repro fleet_repro_known(kolm_session *session, const fleet_backend *backend, const char *recipe);
/* "measured: the same bytes twice", "measured: different bytes" or "not measured": for people and for receipts. Static.
 */
const char *fleet_repro_text(fleet_repro repro);
/* The same for each recipe that the manifest offers: "linear measured: the same bytes twice; lora not measured". */
void fleet_repro_put(kolm_session *session, const fleet_backend *backend, kit_buf *out);

#endif
