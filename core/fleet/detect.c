/* SPDX-License-Identifier: Apache-2.0 */
/* Detects backends: from the cache, else by calling each of them. */
#include "fleet/call.h"
#include "fleet/detections.h"

#include <stdlib.h>
#include <string.h>

static kit_status take_detection(const fleet_registry *registry, fleet_backend *b, const host_result *r,
                                 bool offers_asked, kolm_error_t *err) {
    KIT_TRY(fleet_backend_take(b, fleet_detection_of(r), err));
    b->detection->offers_asked = offers_asked;
    b->detection->offer_min_vram_bytes = offers_asked ? registry->min_vram_bytes : 0;
    fleet_backend_price(registry, b, registry->now);
    /* A timeout does not count: the machine may have been busy. */
    b->did_not_load = !r->loaded && ((r->verdict == HOST_NOT_LOADED && r->error.code == KOLM_E_FAILED_PRECONDITION) ||
                                     r->verdict == HOST_CRASHED || r->verdict == HOST_NO_REPLY);
    b->from_cache = false;
    return KOLM_OK;
}

static bool has_token(const fleet_registry *registry, const fleet_backend *b) {
    for (size_t i = 0; i < b->manifest->auth_count; i++)
        if (store_secret(registry->credentials, b->manifest->auth[i], NULL)) return true;
    return false;
}

/* True if the provider sets its price, and may be asked for it. */
static bool sells(const fleet_registry *registry, const fleet_backend *b, const fleet_detect_options *o) {
    uint64_t price = b->offer->price_micro_usd_per_hour;
    return !o->airgap && !b->refused && b->offer->airgap == PICK_AIRGAP_NO && price > 0 && price != PICK_UNPRICED &&
           !fleet_price_overridden(b) && has_token(registry, b);
}

static bool wanted(const fleet_registry *registry, const fleet_backend *b, const fleet_detect_options *o) {
    if (o->versions && !host_spare(registry->found, b->row)) return false;
    if (o->priced && !sells(registry, b, o)) return false;
    return !b->refused && (!o->only || strcmp(o->only, b->name) == 0);
}

static fleet_call call_of(const fleet_detect_options *o) {
    return (fleet_call){.slot = HOST_SLOT_DETECT,
                        .airgap = o->airgap_strict ? SESSION_AIRGAP_STRICT
                                  : o->airgap      ? SESSION_AIRGAP_ADVISORY
                                                   : SESSION_AIRGAP_OFF,
                        .private_remote = o->allow_private_remote,
                        .timeout_seconds = o->timeout_seconds,
                        .with_secrets = o->refresh && !o->withhold,
                        .min_vram_bytes = o->min_vram_bytes,
                        .debugged = o->patient};
}

/* Under an airgap, the tokens of backends that need the network are not read. */
static kit_status read_credentials(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                                   kolm_error_t *err) {
    fleet_detect_options any = *o;
    any.priced = false; /* cannot be determined before the credentials are read */
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        bool possible = !o->airgap || b->offer->airgap == PICK_AIRGAP_YES ||
                        (b->offer->airgap == PICK_AIRGAP_DEPENDS && o->allow_private_remote);
        if (wanted(registry, b, &any) && possible && b->manifest->auth_count + b->manifest->secret_count > 0)
            return fleet_read_credentials(session, registry, err);
    }
    return KOLM_OK;
}

/* For a self-hosted backend, the first name under auth is the address of its machine. */
static void find_private_targets(fleet_registry *registry, const fleet_detect_options *o) {
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        if (b->refused || b->offer->airgap != PICK_AIRGAP_DEPENDS || b->manifest->auth_count == 0) continue;
        if (o->airgap && !o->allow_private_remote) continue;
        const char *target = store_secret(registry->credentials, b->manifest->auth[0], NULL);
        b->private_target = target && fleet_target_is_private(target);
    }
}

/* A backend that is not called gets a detection with the reason. */
static kit_status mark_not_called(fleet_backend *b, const kolm_error_t *why, kolm_error_t *err) {
    fleet_state state = b->ungranted ? FLEET_NOT_GRANTED : FLEET_NOT_LOADED;
    return fleet_backend_take(b, fleet_detection_new(state, why->text, why->remedy), err);
}

static kit_status detect_now(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                             fleet_backend **missing, size_t count, kolm_error_t *err) {
    const host_backend **rows = calloc(count, sizeof *rows);
    host_result *results = calloc(count, sizeof *results);
    kit_status status = rows && results ? KOLM_OK : kit_no_memory(err);
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        rows[i] = missing[i]->row;
    const fleet_call call = call_of(o);
    if (status == KOLM_OK) status = fleet_call_all(session, registry, rows, count, &call, results, err);
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        status = take_detection(registry, missing[i], &results[i], call.with_secrets && !o->airgap, err);
    /* Warn: this reveals nothing about the backend, but the picker may choose another one. */
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        if (results[i].own_fault)
            session_warn(session, "%s could not be queried: %s", missing[i]->name, results[i].error.text);
    free(rows);
    free(results);
    return status;
}

/* Computes the cache keys; keys[i] stays empty if the detection cannot be cached. */
static void make_keys(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                      const store_home *home, char keys[][STORE_DIGEST_HEX]) {
    uint8_t random_key[STORE_KEY_BYTES];
    if (!store_cache_key(home, random_key)) return;
    const fleet_call call = call_of(o);
    kolm_error_t why = KIT_ERROR_INIT;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (!wanted(registry, b, o) || fleet_call_allows(b, &call, &why) != KOLM_OK) continue;
        if (!fleet_detection_key(registry, b, session->config_kept, random_key, keys[i])) keys[i][0] = '\0';
    }
    explicit_bzero(random_key, sizeof random_key);
}

/* Caches a failed query like an answer, so that a provider that hangs costs its timeout only once. */
static void note_silence(const fleet_registry *registry, fleet_backend *b, const host_result *r) {
    fleet_detection *d = b->detection;
    if (!d || r->own_fault || r->verdict == HOST_CANCELLED) return;
    d->offers_asked = true;
    d->offer_micro_usd_per_hour = d->offer_micro_usd_once = 0;
    d->offer_min_vram_bytes = registry->min_vram_bytes;
    kit_copy(d->offer_why, sizeof d->offer_why, r->error.text);
}

/* Queries over the network those whose price must be queried. One that does not answer keeps its detection, without a
 * price. */
static kit_status ask_prices(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                             fleet_backend **asked, size_t count, kolm_error_t *err) {
    const host_backend **rows = calloc(count, sizeof *rows);
    host_result *results = calloc(count, sizeof *results);
    kit_status status = rows && results ? KOLM_OK : kit_no_memory(err);
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        rows[i] = asked[i]->row;
    fleet_call call = call_of(o);
    call.with_secrets = true;
    if (status == KOLM_OK) status = fleet_call_all(session, registry, rows, count, &call, results, err);
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        if (results[i].verdict == HOST_OK)
            status = take_detection(registry, asked[i], &results[i], true, err);
        else
            note_silence(registry, asked[i], &results[i]);
    free(rows);
    free(results);
    return status;
}

/* True if the price was already queried, even without success. */
static bool knows_price(const fleet_registry *registry, const fleet_backend *b) {
    return b->detection->offers_asked && b->detection->offer_min_vram_bytes == registry->min_vram_bytes;
}

static kit_status fill_prices(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                              bool *out_asked, kolm_error_t *err) {
    size_t count = 0;
    const fleet_call call = call_of(o);
    kolm_error_t why = KIT_ERROR_INIT;
    fleet_backend **asked = calloc(registry->count + 1, sizeof *asked);
    if (!asked) return kit_no_memory(err);
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        if (o->prices_of && strcmp(o->prices_of, b->name) != 0) continue;
        if (wanted(registry, b, o) && sells(registry, b, o) && fleet_backend_available(b) &&
            !knows_price(registry, b) && fleet_call_allows(b, &call, &why) == KOLM_OK)
            asked[count++] = b;
    }
    *out_asked = count > 0;
    kit_status status = count > 0 ? ask_prices(session, registry, o, asked, count, err) : KOLM_OK;
    free(asked);
    return status;
}

static kit_status fill_detections(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                                  const store_home *home, char keys[][STORE_DIGEST_HEX], fleet_backend **missing,
                                  kolm_error_t *err) {
    size_t count = 0;
    const fleet_call call = call_of(o);
    kolm_error_t why = KIT_ERROR_INIT;
    make_keys(session, registry, o, home, keys);
    fleet_detections_read(registry, home);
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        if (!wanted(registry, b, o)) continue;
        if (fleet_call_allows(b, &call, &why) != KOLM_OK) {
            KIT_TRY(mark_not_called(b, &why, err));
            continue;
        }
        if (!o->refresh && keys[i][0] && fleet_detection_recall(registry, b, keys[i])) continue;
        missing[count++] = b;
    }
    bool priced = false;
    if (count > 0) KIT_TRY(detect_now(session, registry, o, missing, count, err));
    if (o->prices) KIT_TRY(fill_prices(session, registry, o, &priced, err));
    if (count == 0 && !priced) return KOLM_OK;
    /* A failure may be caused by the airgap, so it must not be cached. */
    for (size_t i = 0; o->airgap_strict && i < registry->count; i++)
        if (!fleet_backend_available(&registry->backends[i])) keys[i][0] = '\0';
    fleet_detections_keep(registry, home, keys);
    return KOLM_OK;
}

/* Takes the next older version of a backend, because this one did not load. */
static void take_spare(fleet_registry *registry, fleet_backend *b, const char *reason) {
    kolm_error_t why = KIT_ERROR_INIT;
    const host_backend *spare = host_spare(registry->found, b->row);
    (void)kit_fail(&why, KOLM_E_FAILED_PRECONDITION,
                   "`kolm backend check FILE` says more; remove it if it is not needed", "it does not load: %s",
                   reason);
    host_registry_pass_over(registry->found, b->row, &why);
    for (size_t i = 0; i < registry->shadowed_count; i++) /* swap the two rows */
        if (registry->shadowed[i].row == spare)
            registry->shadowed[i] = (fleet_shadowed){b->name, b->plugin_path, b->row->why.text, b->row};
    fleet_detection_free(b->detection);
    free(b->device);
    *b = (fleet_backend){0};
    fleet_backend_fill(b, spare);
}

static kit_status try_spares(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                             const store_home *home, char keys[][STORE_DIGEST_HEX], fleet_backend **missing,
                             kolm_error_t *err) {
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        while (b->did_not_load && host_spare(registry->found, b->row)) {
            char reason[sizeof err->text];
            fleet_detect_options one = *o;
            kit_copy(reason, sizeof reason, fleet_backend_detection(b)->reason);
            take_spare(registry, b, reason);
            one.only = b->name;
            one.versions = false;
            KIT_TRY(fill_detections(session, registry, &one, home, keys, missing, err));
        }
    }
    return KOLM_OK;
}

static kit_status describe_devices(fleet_registry *registry, kolm_error_t *err) {
    for (size_t i = 0; i < registry->count; i++)
        KIT_TRY(fleet_backend_describe_device(&registry->backends[i], err));
    return KOLM_OK;
}

kit_status fleet_registry_detect(kolm_session *session, fleet_registry *registry, const fleet_detect_options *options,
                                 kolm_error_t *err) {
    store_home *home = NULL;
    char(*keys)[STORE_DIGEST_HEX] = calloc(registry->count + 1, sizeof *keys);
    fleet_backend **missing = calloc(registry->count + 1, sizeof *missing);
    kit_status status = keys && missing ? KOLM_OK : kit_no_memory(err);
    registry->min_vram_bytes = options->min_vram_bytes;
    if (status == KOLM_OK) status = session_home(session, &home, err);
    if (status == KOLM_OK) status = read_credentials(session, registry, options, err);
    if (status == KOLM_OK) find_private_targets(registry, options);
    if (status == KOLM_OK) status = fill_detections(session, registry, options, home, keys, missing, err);
    if (status == KOLM_OK) status = try_spares(session, registry, options, home, keys, missing, err);
    if (status == KOLM_OK) status = describe_devices(registry, err);
    free(keys);
    free(missing);
    return status;
}

kit_status fleet_registry_settle(kolm_session *session, fleet_registry *registry, kolm_error_t *err) {
    const fleet_detect_options versions = {.versions = true};
    for (size_t i = 0; i < registry->count; i++)
        if (!registry->backends[i].refused && host_spare(registry->found, registry->backends[i].row))
            return fleet_registry_detect(session, registry, &versions, err);
    return KOLM_OK;
}

/* A cached detection of an older version implies that the newer ones did not load then. */
static void recall_spare(kolm_session *session, fleet_registry *registry, fleet_backend *b, const uint8_t *random_key) {
    char key[STORE_DIGEST_HEX];
    const host_backend *spare = host_spare(registry->found, b->row);
    for (; spare; spare = host_spare(registry->found, spare)) {
        fleet_backend other = {0};
        fleet_backend_fill(&other, spare);
        if (other.ungranted || !fleet_detection_key(registry, &other, session->config_kept, random_key, key) ||
            !fleet_detection_recall(registry, &other, key))
            continue;
        while (b->row != spare)
            take_spare(registry, b, "as of its last detection");
        b->detection = other.detection;
        b->from_cache = other.from_cache;
        b->priced_live = other.priced_live;
        b->priced_at = other.priced_at;
        kit_copy(b->priced_on, sizeof b->priced_on, other.priced_on);
        return;
    }
}

static void recall_all(kolm_session *session, fleet_registry *registry) {
    kolm_error_t err = KIT_ERROR_INIT;
    uint8_t random_key[STORE_KEY_BYTES];
    char key[STORE_DIGEST_HEX];
    store_home *home = NULL;
    if (session_home(session, &home, &err) != KOLM_OK) return;
    fleet_detections_read(registry, home);
    /* Without a cache there is nothing to recall, and nothing (not even the random key) may be created. */
    if (!registry->cache.root || !store_cache_key(home, random_key)) return;
    if (!registry->credentials && store_credentials_read(home, &registry->credentials, &err) != KOLM_OK)
        registry->credentials = NULL;
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        if (b->refused || b->ungranted || !fleet_detection_known(registry, b->name)) continue;
        if (!fleet_detection_key(registry, b, session->config_kept, random_key, key)) continue;
        if (!fleet_detection_recall(registry, b, key)) recall_spare(session, registry, b, random_key);
    }
    explicit_bzero(random_key, sizeof random_key);
}

kit_status fleet_registry_recall(kolm_session *session, fleet_registry *registry, kolm_error_t *err) {
    for (size_t i = 0; i < registry->count; i++)
        if (registry->backends[i].ungranted)
            KIT_TRY(mark_not_called(&registry->backends[i], &registry->backends[i].row->why, err));
    recall_all(session, registry);
    return KOLM_OK;
}
