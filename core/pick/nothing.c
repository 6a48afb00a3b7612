/* SPDX-License-Identifier: Apache-2.0 */
/* Why nothing was picked, as an error. */
#include "pick/pick.h"

#include <string.h>

#define REASONS_SHOWN 3 /* candidates */

/* No candidate passed; the first one's reasons usually apply to all. */
static kit_status nobody_passes(const pick_result *result, kolm_error_t *err) {
    char text[400] = "";
    size_t at = 0;
    for (size_t i = 0; i < result->count && i < REASONS_SHOWN; i++) {
        const pick_entry *entry = &result->entries[i];
        kit_format(text + at, sizeof text - at, "%s%s (%s)", i ? ", " : ": ", result->candidates[entry->candidate].name,
                   entry->reason_count ? entry->reasons[0].text : "filtered out");
        at = strlen(text);
    }
    if (result->count > REASONS_SHOWN) kit_format(text + at, sizeof text - at, ", ...");
    if (result->count == 0)
        return kit_fail(err, KOLM_E_NOT_FOUND, "install one, or name its directory in KOLM_BACKEND_PATH",
                        "no backend was found");
    return kit_fail(err, KOLM_E_NOT_FOUND, "relax the filters; `kolm compute list` shows every backend",
                    "no backend passes the filters%s", text);
}

kit_status pick_nothing(const pick_result *result, kolm_error_t *err) {
    if (!result->best) return nobody_passes(result, err);
    const pick_candidate *best = &result->candidates[result->best->candidate];
    char state[64];
    pick_state_text(best, state, sizeof state);
    const char *remedy =
        best->remedy && *best->remedy ? best->remedy : "`kolm compute detect` shows what each backend lacks";
    return kit_fail(err, KOLM_E_NOT_FOUND, remedy, "no backend that passes is available; the best match is %s (%s): %s",
                    best->name, state, best->reason && *best->reason ? best->reason : "no further details");
}
