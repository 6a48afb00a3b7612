/* SPDX-License-Identifier: Apache-2.0 */
/* Who may be called, what a call of each slot gets, and how verdicts become errors for the user. */
#include "fleet/call.h"

#include "fleet/budget.h"
#include "fleet/reap.h"

#include <stdlib.h>
#include <string.h>

#define DEBUGGED_MS 3600000
#define RECLAIM_GRACE_MS 2000 /* the user is waiting for something else */
#define LEFT_MS 20000         /* to reclaim what a call left behind */

typedef enum may { NEVER, IF_NEEDED, UNLESS_AIRGAP, ALWAYS } may;

static const struct rule {
    uint32_t slot;
    int64_t timeout_ms; /* 0: the host's default */
    may network, secrets;
    bool rents;
} rules[] = {
    {HOST_SLOT_DETECT, 0, NEVER, ALWAYS, false}, /* unless refreshed: no network, secrets withheld */
    {HOST_SLOT_COST, 5000, NEVER, NEVER, false}, /* a price needs neither network nor token */
    {HOST_SLOT_TRAIN, 0, UNLESS_AIRGAP, UNLESS_AIRGAP, true},
    {HOST_SLOT_INFER, 0, UNLESS_AIRGAP, UNLESS_AIRGAP, true},
    {HOST_SLOT_TEST, 0, IF_NEEDED, UNLESS_AIRGAP, true},
    {HOST_SLOT_RECLAIM, 8000, UNLESS_AIRGAP, UNLESS_AIRGAP, false},
    /* lists, and perhaps prunes, everything a backend keeps */
    {HOST_SLOT_STATUS, 300000, IF_NEEDED, UNLESS_AIRGAP, false},
};

static const struct rule *rule_of(uint32_t slot) {
    size_t i = 0;
    while (i + 1 < sizeof rules / sizeof *rules && rules[i].slot != slot)
        i++;
    return &rules[i];
}

kit_status fleet_call_allows(const fleet_backend *backend, const fleet_call *call, kolm_error_t *err) {
    if (backend->refused || backend->ungranted) {
        *err = backend->row->why;
        return err->code != KOLM_OK ? err->code : KOLM_E_PERMISSION_DENIED;
    }
    pick_airgap needs = backend->offer->airgap;
    if (call->airgap == SESSION_AIRGAP_OFF || needs == PICK_AIRGAP_YES) return KOLM_OK;
    if (needs == PICK_AIRGAP_DEPENDS && call->private_remote && backend->private_target) return KOLM_OK;
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, "leave out --airgap",
                    "--airgap loads no backend that needs the network");
}

/* ---- Secrets */

kit_status fleet_read_credentials(kolm_session *session, fleet_registry *registry, kolm_error_t *err) {
    store_home *home = NULL;
    if (registry->credentials) return KOLM_OK;
    KIT_TRY(session_home(session, &home, err));
    return store_credentials_read(home, &registry->credentials, err);
}

static const char *secret_value(void *user, const char *name) {
    const fleet_registry *registry = user;
    return store_secret(registry->credentials, name, NULL);
}

/* ---- What is heard */

typedef struct hearing {
    kolm_session *session;
    const fleet_call *call;
    host_events events; /* of this call; user is this struct */
} hearing;

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    const hearing *h = user;
    const host_events *more = h->call->events;
    if (more && more->log)
        more->log(more->user, backend, level, text);
    else
        session_said(h->session, backend, level, text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    const hearing *h = user;
    const host_events *more = h->call->events;
    if (h->call->label) session_progress(h->session, h->call->label, progress);
    if (more && more->progress) more->progress(more->user, progress);
}

/* Stored as text, because signed documents such as receipts contain no floating-point numbers. The last value wins. */
static void keep_metric(cJSON *metrics, const char *name, double value) {
    cJSON *number = cJSON_CreateNumber(value);
    kit_buf text = {0};
    if (number && kit_json_line(number, &text, NULL) == KOLM_OK) {
        cJSON_DeleteItemFromObjectCaseSensitive(metrics, name);
        (void)kit_json_put_string(metrics, name, kit_buf_text(&text));
    }
    kit_buf_free(&text);
    cJSON_Delete(number);
}

static void on_metric(void *user, const char *name, double value) {
    const hearing *h = user;
    const host_events *more = h->call->events;
    if (h->call->metrics) keep_metric(h->call->metrics, name, value);
    if (more && more->metric) more->metric(more->user, name, value);
}

static void on_test_step(void *user, const kolm_test_step_t *step) {
    const hearing *h = user;
    const host_events *more = h->call->events;
    if (more && more->test_step) more->test_step(more->user, step);
}

static void on_holding(void *user, const kolm_holding_t *holding) {
    const hearing *h = user;
    const host_events *more = h->call->events;
    if (more && more->holding) more->holding(more->user, holding);
}

/* ---- The call */

/* needs: the backend's "airgap"; for many, that of a backend that needs no network. */
static bool may_have(may what, const fleet_call *call, pick_airgap needs, bool own) {
    if (what == NEVER || what == ALWAYS) return what == ALWAYS;
    if (call->airgap != SESSION_AIRGAP_OFF) return own;
    return what == UNLESS_AIRGAP || needs != PICK_AIRGAP_YES;
}

static kit_status make_options(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                               const fleet_call *call, hearing *h, host_call_options *out, kolm_error_t *err) {
    const struct rule *rule = rule_of(call->slot);
    const cJSON *config = NULL;
    store_home *home = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(session_config(session, &config, err));
    *h = (hearing){.session = session, .call = call};
    h->events = (host_events){.user = h,
                              .log = on_log,
                              .progress = on_progress,
                              .metric = on_metric,
                              .test_step = on_test_step,
                              .holding = on_holding};
    bool own = call->airgap != SESSION_AIRGAP_OFF && call->private_remote;
    pick_airgap needs = backend ? backend->offer->airgap : PICK_AIRGAP_YES;
    bool network = may_have(rule->network, call, needs, own), secrets = may_have(rule->secrets, call, needs, own);
    bool takes = backend && backend->manifest->auth_count + backend->manifest->secret_count > 0;
    if (secrets && takes) KIT_TRY(fleet_read_credentials(session, registry, err));
    *out = (host_call_options){
        .timeout_ms = call->debugged              ? DEBUGGED_MS
                      : call->timeout_seconds > 0 ? (int64_t)call->timeout_seconds * 1000
                      : call->timeout_ms > 0      ? call->timeout_ms
                                                  : rule->timeout_ms,
        .cancel = session->stop,
        .cancel_too = call->stop,
        .network = network,
        .network_if_needed = call->slot == HOST_SLOT_DETECT && call->with_secrets && call->airgap == SESSION_AIRGAP_OFF,
        .airgap_strict = call->airgap == SESSION_AIRGAP_STRICT && !network,
        .private_only = own,
        .config = config,
        .job_min_vram_bytes = call->min_vram_bytes,
        .job_quote_micro_usd = call->quote_micro_usd,
        .secret = secrets ? secret_value : NULL,
        .secret_user = registry,
        .secrets_withheld = call->slot == HOST_SLOT_DETECT && !call->with_secrets,
        .events = &h->events,
        .by_path = call->debugged, /* so that a debugger finds its symbols */
        .model_fd = call->model_fd,
        .private_dir = store_home_path(home),
        .private_names = store_kept_names(),
    };
    return KOLM_OK;
}

static kit_status call_slot(const host_registry *found, const host_backend *row, const fleet_call *call,
                            const host_call_options *options, host_result *out_result, kolm_error_t *err) {
    switch (call->slot) {
    case HOST_SLOT_COST:
        return host_cost(found, row, call->cost, options, out_result, err);
    case HOST_SLOT_TRAIN:
        return host_train(found, row, call->job_dir, call->threads, options, out_result, err);
    case HOST_SLOT_INFER:
        return host_infer(found, row, call->job_dir, call->threads, call->input_fd, call->output_fd, options,
                          out_result, err);
    case HOST_SLOT_TEST:
        return host_test(found, row, call->threads, options, out_result, err);
    case HOST_SLOT_STATUS:
        return host_status(found, row, call->prune, call->older_seconds, options, out_result, err);
    default:
        return host_detect(found, row, options, out_result, err);
    }
}

/* ---- What it rents */

/* Applies the cap from the environment to the budget of the call. If the cap permits no cost at all, sets *out_allowed
 * to false and fills the result. */
static kit_status cap_budget(const fleet_backend *backend, const fleet_call *call, host_call_options *options,
                             host_result *result, bool *out_allowed, kolm_error_t *err) {
    bool capped = false;
    uint64_t cap = 0;
    *out_allowed = true;
    options->job_budget_micro_usd = call->budget_micro_usd;
    options->job_max_price_micro_usd = call->max_price_micro_usd;
    if (!rule_of(call->slot)->rents) return KOLM_OK;
    KIT_TRY(fleet_budget_cap(&capped, &cap, err));
    if (capped && (cap < call->budget_micro_usd || call->budget_micro_usd == 0)) options->job_budget_micro_usd = cap;
    *out_allowed = !capped || cap > 0 || backend->offer->price_micro_usd_per_hour == 0;
    if (*out_allowed) return KOLM_OK;
    result->verdict = HOST_FAILED;
    (void)kit_fail(&result->error, KOLM_E_PERMISSION_DENIED, "choose a free backend, or raise it",
                   FLEET_BUDGET_VARIABLE " is 0, which allows no cost, and %s may have one", backend->name);
    return KOLM_OK;
}

typedef struct renting {
    lease_journal *journal;
    lease_list known; /* leases already on record */
    const char **names;
} renting;

static void renting_free(renting *r) {
    free(r->names);
    lease_list_free(&r->known);
}

/* Without a journal the backend cannot rent anything: host->lease is refused. */
static void begin_renting(kolm_session *session, const fleet_backend *backend, const fleet_call *call,
                          host_call_options *options, renting *out) {
    store_home *home = NULL;
    kolm_error_t why = KIT_ERROR_INIT;
    *out = (renting){0};
    if (!rule_of(call->slot)->rents || !options->network || backend->offer->airgap == PICK_AIRGAP_YES) return;
    kit_status status = session_home(session, &home, &why);
    if (status == KOLM_OK) status = lease_list_read(home, &out->known, &why);
    out->names = status == KOLM_OK ? calloc(out->known.count + 1, sizeof *out->names) : NULL;
    if (out->names) {
        for (size_t i = 0; i < out->known.count; i++)
            out->names[i] = out->known.at[i].name;
        status = lease_journal_begin(home, backend->name, call->job_id ? call->job_id : "", &out->journal, &why);
    }
    if (out->journal) {
        options->lease_fd = lease_journal_fd(out->journal);
        options->leased = out->names;
    } else if (fleet_backend_slot(backend, HOST_SLOT_RECLAIM) == PICK_SLOT_PRESENT) {
        session_warn(session, "%s cannot rent anything: %s", backend->name, why.text);
    }
}

/* Reclaims leases that are still open: they cost money and no longer serve a purpose. */
static kit_status end_renting(kolm_session *session, fleet_registry *registry, const fleet_call *call, renting *r,
                              kolm_error_t *err) {
    lease_list list = {0};
    fleet_reap reap = {0};
    char id[LEASE_ID_BYTES] = "";
    const fleet_reap_options options = {.airgap = call->airgap, .timeout_ms = LEFT_MS, .finish = true, .journal = id};
    if (r->journal) kit_copy(id, sizeof id, lease_journal_id(r->journal));
    kolm_error_t why = KIT_ERROR_INIT;
    kit_status status = KOLM_OK;
    /* Not fatal: the journal stays, and the next kolm tries again. */
    if (lease_journal_end(r->journal, &list, &why) != KOLM_OK)
        session_warn(session,
                     "the journal of what was rented cannot be written, and the next start of kolm tries again: %s",
                     why.text);
    if (lease_list_open(&list) > 0) {
        session_note(session, "[lease]", "what this call rented may still exist: ending it");
        status = fleet_reap_run(session, registry, &options, &reap, err);
        if (status == KOLM_OK) fleet_reap_tell(session, &reap);
        for (size_t i = 0; i < reap.count; i++)
            for (size_t k = 0; k < list.count; k++)
                if (reap.at[i].fate == FLEET_REAP_ENDED && strcmp(reap.at[i].lease.name, list.at[k].name) == 0)
                    list.at[k] = reap.at[i].lease;
    }
    fleet_reap_free(&reap);
    renting_free(r);
    if (call->leases)
        *call->leases = list;
    else
        lease_list_free(&list);
    return status;
}

kit_status fleet_call_one(kolm_session *session, fleet_registry *registry, const fleet_backend *backend,
                          const fleet_call *call, host_result *out_result, kolm_error_t *err) {
    host_call_options options;
    hearing h;
    renting rents;
    bool allowed;
    if (call->leases) *call->leases = (lease_list){0};
    *out_result = (host_result){.verdict = HOST_NOT_LOADED, .error = KIT_ERROR_INIT};
    if (fleet_call_allows(backend, call, &out_result->error) != KOLM_OK) return KOLM_OK;
    KIT_TRY(make_options(session, registry, backend, call, &h, &options, err));
    KIT_TRY(cap_budget(backend, call, &options, out_result, &allowed, err));
    if (!allowed) return KOLM_OK;
    begin_renting(session, backend, call, &options, &rents);
    kit_status status = call_slot(registry->found, backend->row, call, &options, out_result, err);
    if (call->label) session_progress_end(session);
    kit_status ended = end_renting(session, registry, call, &rents, status == KOLM_OK ? err : NULL);
    return status != KOLM_OK ? status : ended;
}

kit_status fleet_call_reclaims(kolm_session *session, fleet_registry *registry, host_reclaim_item *items, size_t count,
                               const fleet_call *call, kolm_error_t *err) {
    host_call_options options;
    hearing h;
    KIT_TRY(make_options(session, registry, NULL, call, &h, &options, err));
    if (options.secret) KIT_TRY(fleet_read_credentials(session, registry, err));
    if (call->finish) options.cancel = NULL;
    options.grace_ms = RECLAIM_GRACE_MS;
    return host_reclaim_all(registry->found, items, count, &options, err);
}

kit_status fleet_call_all(kolm_session *session, fleet_registry *registry, const host_backend *const *rows,
                          size_t count, const fleet_call *call, host_result *out_results, kolm_error_t *err) {
    bool detects = call->slot == HOST_SLOT_DETECT;
    host_call_options options;
    hearing h;
    if (count == 0) return KOLM_OK;
    KIT_TRY(make_options(session, registry, NULL, call, &h, &options, err));
    kit_status status = detects ? host_detect_all(registry->found, rows, count, &options, out_results, err)
                                : host_cost_all(registry->found, rows, count, call->cost, &options, out_results, err);
    if (status == KOLM_OK && session_stopped(session))
        return kit_fail(err, KOLM_E_CANCELLED, "",
                        detects ? "interrupted while detecting backends" : "interrupted while asking for quotes");
    return status;
}

/* ---- Verdicts */

kit_status fleet_verdict(const host_result *result, const char *what, session_reason *out_reason, kolm_error_t *err) {
    if (result->verdict == HOST_OK) return KOLM_OK;
    *out_reason = result->verdict == HOST_CANCELLED ? SESSION_REASON_INTERRUPTED : SESSION_REASON_BACKEND;
    if (result->verdict == HOST_CANCELLED)
        return kit_fail(err, KOLM_E_CANCELLED,
                        result->error.remedy[0] != '\0' ? result->error.remedy
                                                        : "nothing was written; run the command again to retry",
                        "interrupted during %s", what);
    char text[600];
    host_verdict_text(result, text, sizeof text);
    int32_t code =
        result->error.code != KOLM_OK && result->error.code != KOLM_E_CANCELLED ? result->error.code : KOLM_E_INTERNAL;
    const char *remedy = result->error.remedy[0] != '\0'
                             ? result->error.remedy
                             : "try another backend with --backend; `kolm compute list` names them";
    return kit_fail(err, code, remedy, "%s: %s", what, text);
}

void fleet_count_answers(kolm_session *session, const char *backend, const host_result *result, uint64_t read) {
    if (result->verdict != HOST_OK || result->infer.answers == read) return;
    session_warn(session, "%s: infer: it reports %llu answers, but gave %llu; report it to %s%s%s", backend,
                 (unsigned long long)result->infer.answers, (unsigned long long)read,
                 result->vendor[0] ? result->vendor : "its maker", result->homepage[0] ? ", " : "", result->homepage);
}
