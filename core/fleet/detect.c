/* SPDX-License-Identifier: Apache-2.0 */
/* Between the verbs and the host: detects backends, asks their cost, runs their test. */
#include "fleet/call.h"
#include "fleet/calls.h"
#include "fleet/detections.h"
#include "host/host.h"
#include "runtime/files.h"

#include <stdlib.h>
#include <string.h>

#define COST_TIMEOUT_MS 5000
#define STATUS_TIMEOUT_MS 300000 /* for all places of one backend, and what is removed there */
#define PATIENT_MS 3600000

/* ---- Detecting */

static const char *give_secret(void *user, const char *name) {
    const fleet_registry *registry = user;
    return store_secret(registry->credentials, name, NULL);
}

static host_call_options call_options(kolm_session *session, fleet_registry *registry) {
    host_call_options options = {.cancel = session->stop,
                                 .config = session->config_kept,
                                 .secret = give_secret,
                                 .secret_user = registry,
                                 .events = session_events(session)};
    store_home *home = NULL;
    if (session_home(session, &home, NULL) == KOLM_OK) {
        options.private_dir = store_home_path(home);
        options.private_names = store_kept_names();
    }
    return options;
}

static kit_status take_detection(fleet_backend *b, const host_result *r, kolm_error_t *err) {
    KIT_TRY(fleet_backend_take(b, fleet_detection_of(r), err));
    /* Not what did not answer in time: that may be the machine's fault, and the next time it does. */
    b->did_not_load = !r->loaded && ((r->verdict == HOST_NOT_LOADED && r->error.code == KOLM_E_FAILED_PRECONDITION) ||
                                     r->verdict == HOST_CRASHED || r->verdict == HOST_NO_REPLY);
    b->from_cache = false;
    return KOLM_OK;
}

static bool wanted(const fleet_registry *registry, const fleet_backend *b, const fleet_detect_options *o) {
    if (o->versions && !host_spare(registry->found, b->row)) return false;
    return !b->refused && (!o->only || strcmp(o->only, b->name) == 0);
}

/* Under airgap a backend of the network is not touched, nor its token looked at. */
static bool outside_airgap(const fleet_backend *b, const fleet_detect_options *o) {
    if (!o->airgap || b->offer->airgap == PICK_AIRGAP_YES) return false;
    return !(b->offer->airgap == PICK_AIRGAP_DEPENDS && o->allow_private_remote && b->private_target);
}

static kit_status read_credentials(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                                   kolm_error_t *err) {
    store_home *home = NULL;
    bool needed = false;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        bool possible = !o->airgap || b->offer->airgap == PICK_AIRGAP_YES ||
                        (b->offer->airgap == PICK_AIRGAP_DEPENDS && o->allow_private_remote);
        if (wanted(registry, b, o) && possible && b->manifest->auth_count + b->manifest->secret_count > 0)
            needed = true;
    }
    if (!needed || registry->credentials) return KOLM_OK;
    KIT_TRY(session_home(session, &home, err));
    return store_credentials_read(home, &registry->credentials, err);
}

/* The first name under auth of a self-hosted backend is where its machine is. */
static void find_private_targets(fleet_registry *registry, const fleet_detect_options *o) {
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        if (b->refused || b->offer->airgap != PICK_AIRGAP_DEPENDS || b->manifest->auth_count == 0) continue;
        if (o->airgap && !o->allow_private_remote) continue;
        const char *target = store_secret(registry->credentials, b->manifest->auth[0], NULL);
        b->private_target = target && fleet_target_is_private(target);
    }
}

static kit_status mark_not_loaded(fleet_backend *b, kolm_error_t *err) {
    return fleet_backend_take(
        b,
        fleet_detection_new(FLEET_NOT_LOADED, "--airgap loads no backend that needs the network", "leave out --airgap"),
        err);
}

static kit_status mark_not_granted(fleet_backend *b, kolm_error_t *err) {
    return fleet_backend_take(b, fleet_detection_new(FLEET_NOT_GRANTED, b->ungranted, b->row->why.remedy), err);
}

static kit_status detect_now(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                             fleet_backend **missing, size_t count, kolm_error_t *err) {
    const host_backend **rows = calloc(count, sizeof *rows);
    host_result *results = calloc(count, sizeof *results);
    kit_status status = rows && results ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        rows[i] = missing[i]->row;
    if (status == KOLM_OK) {
        host_call_options options = call_options(session, registry);
        options.secrets_withheld = !o->refresh || o->withhold;
        options.airgap_strict = o->airgap_strict;
        options.private_only = o->airgap && o->allow_private_remote;
        if (o->timeout_seconds > 0) options.timeout_ms = (int64_t)o->timeout_seconds * 1000;
        if (o->patient) options.timeout_ms = PATIENT_MS;
        options.by_path = o->patient; /* where a debugger looks for its symbols */
        status = host_detect_all(registry->found, rows, count, &options, results, err);
    }
    if (status == KOLM_OK && session_stopped(session))
        status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while detecting backends");
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        status = take_detection(missing[i], &results[i], err);
    /* It says nothing about the backend, and another may be picked for it. */
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        if (results[i].own_fault)
            session_warn(session, "%s could not be asked: %s", missing[i]->name, results[i].error.text);
    free(rows);
    free(results);
    return status;
}

/* What a detection is kept under; keys[i] stays empty where it cannot be kept. */
static void make_keys(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                      const store_home *home, char keys[][STORE_DIGEST_HEX]) {
    uint8_t random_key[STORE_KEY_BYTES];
    if (!store_cache_key(home, random_key)) return;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (!wanted(registry, b, o) || b->ungranted || outside_airgap(b, o)) continue;
        if (!fleet_detection_key(registry, b, session->config_kept, random_key, keys[i])) keys[i][0] = '\0';
    }
    explicit_bzero(random_key, sizeof random_key);
}

static kit_status fill_detections(kolm_session *session, fleet_registry *registry, const fleet_detect_options *o,
                                  const store_home *home, char keys[][STORE_DIGEST_HEX], fleet_backend **missing,
                                  kolm_error_t *err) {
    size_t count = 0;
    make_keys(session, registry, o, home, keys);
    fleet_detections_read(registry, home);
    for (size_t i = 0; i < registry->count; i++) {
        fleet_backend *b = &registry->backends[i];
        if (!wanted(registry, b, o)) continue;
        if (b->ungranted) {
            KIT_TRY(mark_not_granted(b, err));
            continue;
        }
        if (outside_airgap(b, o)) {
            KIT_TRY(mark_not_loaded(b, err));
            continue;
        }
        if (!o->refresh && keys[i][0] && fleet_detection_recall(registry, b, keys[i])) continue;
        missing[count++] = b;
    }
    if (count == 0) return KOLM_OK;
    KIT_TRY(detect_now(session, registry, o, missing, count, err));
    /* What the fence may have broken says nothing about a day without it. */
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
    for (size_t i = 0; i < registry->shadowed_count; i++) /* it trades places with the other */
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
    kit_status status = keys && missing ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
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

/* What the cache knows of an older version says that the newer ones did not load then. */
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
            take_spare(registry, b, "as it was when it was last looked at");
        b->detection = other.detection;
        b->from_cache = other.from_cache;
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
    /* Without a cache there is nothing to recall, and nothing (not even the random key) must be made. */
    if (!registry->cache || !store_cache_key(home, random_key)) return;
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
        if (registry->backends[i].ungranted) KIT_TRY(mark_not_granted(&registry->backends[i], err));
    recall_all(session, registry);
    return KOLM_OK;
}

/* ---- Asking */

static void take_quote(fleet_quote *quote, const fleet_backend *b, const host_result *r) {
    quote->answered = r->verdict == HOST_OK;
    quote->cost = r->cost;
    if (quote->answered) return;
    if (r->verdict == HOST_UNIMPLEMENTED)
        kit_format(quote->why, sizeof quote->why, "%s gives no quotes yet in this version", b->name);
    else
        host_verdict_text(r, quote->why, sizeof quote->why);
}

kit_status fleet_call_costs(kolm_session *session, fleet_registry *registry, const kolm_cost_args_t *job,
                            session_airgap airgap, fleet_quote *quotes, kolm_error_t *err) {
    const host_backend **rows = calloc(registry->count + 1, sizeof *rows);
    size_t *places = calloc(registry->count + 1, sizeof *places);
    host_result *results = calloc(registry->count + 1, sizeof *results);
    host_call_options options = call_options(session, registry);
    size_t count = 0;
    kit_status status =
        rows && places && results ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    options.timeout_ms = COST_TIMEOUT_MS;
    options.secret = NULL; /* a price needs no token */
    options.airgap_strict = airgap == SESSION_AIRGAP_STRICT;
    for (size_t i = 0; status == KOLM_OK && i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        if (b->refused) {
            kit_format(quotes[i].why, sizeof quotes[i].why, "refused: %s", b->refused);
        } else if (b->ungranted) {
            kit_copy(quotes[i].why, sizeof quotes[i].why, b->ungranted);
        } else if (airgap && b->offer->airgap != PICK_AIRGAP_YES) {
            kit_copy(quotes[i].why, sizeof quotes[i].why, "--airgap loads no backend that needs the network");
        } else {
            places[count] = i;
            rows[count++] = b->row;
        }
    }
    if (status == KOLM_OK && count) status = host_cost_all(registry->found, rows, count, job, &options, results, err);
    if (status == KOLM_OK && session_stopped(session))
        status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while asking for quotes");
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        take_quote(&quotes[places[i]], &registry->backends[places[i]], &results[i]);
    free(rows);
    free(places);
    free(results);
    return status;
}

typedef struct step_user {
    kolm_session *session;
    fleet_step_fn step;
    void *user;
    fleet_repro repro;
} step_user;

static void pass_log(void *user, const char *backend, uint32_t level, const char *text) {
    const step_user *s = user;
    session_said(s->session, backend, level, text);
}

static void note_metric(void *user, const char *name, double value) {
    step_user *s = user;
    if (strcmp(name, "test.reproducible") != 0) return;
    if (value < 1)
        s->repro = FLEET_REPRO_DIFFERENT;
    else if (s->repro == FLEET_REPRO_UNKNOWN)
        s->repro = FLEET_REPRO_SAME;
}

static void pass_step(void *user, const kolm_test_step_t *step) {
    const step_user *s = user;
    s->step(s->user, step);
}

kit_status fleet_call_test(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                           session_airgap airgap, fleet_step_fn step, void *user, kolm_test_result_t *out_result,
                           fleet_repro *out_repro, kolm_error_t *err) {
    step_user passed = {.session = session, .step = step, .user = user};
    host_events events = {.user = &passed, .log = pass_log, .metric = note_metric, .test_step = pass_step};
    host_call_options options = call_options(session, registry);
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    options.events = &events;
    options.network = backend->offer->airgap != PICK_AIRGAP_YES && airgap == SESSION_AIRGAP_OFF;
    options.airgap_strict = airgap == SESSION_AIRGAP_STRICT;
    host_result *result = calloc(1, sizeof *result);
    kit_status status = result ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    int ignored = 0;
    if (status == KOLM_OK) status = runtime_check(session, backend->name, NULL, &ignored, err);
    if (status == KOLM_OK) {
        status = host_test(registry->found, backend->row, threads > 0 ? (uint32_t)threads : 1, &options, result, err);
    }
    if (status == KOLM_OK && result->verdict == HOST_OK) {
        *out_result = result->test;
        *out_repro = passed.repro;
    } else if (status == KOLM_OK) {
        char text[320];
        host_verdict_text(result, text, sizeof text);
        status = kit_fail(err, result->error.code ? result->error.code : KOLM_E_UNKNOWN, result->error.remedy,
                          "the test of %s did not end well: %s", backend->name, text);
    }
    free(result);
    return status;
}

typedef struct holding_user {
    kolm_session *session;
    fleet_holding_fn holding;
    void *user;
} holding_user;

static void warn_status(void *user, const char *backend, uint32_t level, const char *text) {
    const holding_user *h = user;
    session_said(h->session, backend, level, text);
}

static void pass_holding(void *user, const kolm_holding_t *holding) {
    const holding_user *h = user;
    h->holding(h->user, holding);
}

kit_status fleet_call_status(kolm_session *session, fleet_registry *registry, const fleet_backend *backend, bool prune,
                             uint64_t older_seconds, fleet_holding_fn holding, void *user, char *out_summary,
                             size_t capacity, kolm_error_t *err) {
    holding_user passed = {.session = session, .holding = holding, .user = user};
    host_events events = {.user = &passed, .log = warn_status, .holding = pass_holding};
    host_call_options options = call_options(session, registry);
    options.events = &events;
    options.network = backend->offer->airgap != PICK_AIRGAP_YES;
    options.timeout_ms = STATUS_TIMEOUT_MS;
    host_result *result = calloc(1, sizeof *result);
    kit_status status = result ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    if (status == KOLM_OK)
        status = host_status(registry->found, backend->row, prune, older_seconds, &options, result, err);
    if (status == KOLM_OK && result->verdict == HOST_OK) {
        kit_copy(out_summary, capacity, result->status.summary);
    } else if (status == KOLM_OK) {
        *err = result->error;
        status = result->verdict == HOST_UNIMPLEMENTED
                     ? kit_fail(err, KOLM_E_UNIMPLEMENTED, "there is nothing to look after",
                                "%s keeps nothing elsewhere", backend->name)
                     : (result->error.code ? result->error.code : KOLM_E_UNKNOWN);
    }
    free(result);
    return status;
}
