/* SPDX-License-Identifier: Apache-2.0 */
/* Ends a recorded job of a serverless endpoint, using only its record, because the settings may have changed. */
#include "serverless.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define MOST_MS 6000
#define PAUSE_MS 500
#define SETTLE_MS 5000u         /* like kit_queue_provider.settle_ms: a younger job may not be visible yet */
#define SUBMITTING_SECONDS 300u /* at most, from the recorded intent to the submission */
#define LATE_SECONDS 60u

typedef struct recorded {
    char endpoint[RUNPOD_ENDPOINT_BYTES];
    unsigned long long ttl;
} recorded;

static bool read_place(const char *place, recorded *out) {
    return sscanf(place, "RunPod, ttl %6llu s, endpoint %64[A-Za-z0-9_.-]", &out->ttl, out->endpoint) == 2 &&
           kit_service_is_id(out->endpoint);
}

/* *out_life: SUCCEEDED and above are final. If RunPod does not know the job (yet, or any more), *out_known is false and
 * *out_life UNKNOWN. */
static kit_status look(kit_service *service, const recorded *r, const char *handle, kit_queue_life *out_life,
                       bool *out_known, kolm_error_t *err) {
    char path[400], word[32] = "";
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/%s/status/%s", r->endpoint, handle);
    kit_status status = kit_service_ask(service, &(kit_service_call){.path = path}, &reply, err);
    *out_known = status == KOLM_OK;
    *out_life = KIT_QUEUE_UNKNOWN;
    if (status == KOLM_OK && kit_service_text(reply.json, "status", word, sizeof word))
        *out_life = runpod_serverless_life(word);
    if (status == KOLM_E_NOT_FOUND) {
        bool own = runpod_serverless_has_none(&reply);
        err->code = status = own ? KOLM_OK : KOLM_E_UNAVAILABLE;
    }
    kit_service_reply_free(&reply);
    return status;
}

static void cancel(kit_service *service, const recorded *r, const char *handle) {
    char path[400];
    kolm_error_t ignored = KIT_ERROR_INIT; /* the next look decides */
    kit_service_reply reply = {0};
    kit_format(path, sizeof path, "/%s/cancel/%s", r->endpoint, handle);
    const kit_service_call call = {.method = "POST", .path = path, .repeat = KIT_HTTP_CHANGE, .deadline_ms = 3000};
    (void)!kit_service_ask(service, &call, &reply, &ignored);
    kit_service_reply_free(&reply);
}

/* True if an existing job would be visible by now, after_ms after its age was determined. */
static bool is_settled(uint64_t age_seconds, int64_t after_ms) {
    return age_seconds >= SETTLE_MS / 1000 || age_seconds * 1000 + (uint64_t)after_ms >= SETTLE_MS;
}

static kit_status end_it(kit_service *service, const recorded *r, const kolm_reclaim_args_t *args,
                         kolm_reclaim_result_t *out_result, kolm_error_t *err) {
    char which[KIT_SECRET_MARK_BYTES], here[KIT_RENT_PLACE_BYTES];
    kit_queue_life life = KIT_QUEUE_UNKNOWN;
    bool known = false, ever = false, gone = false;
    const int64_t begun = kit_now_ms();
    /* Cancel before looking: a young job may not be visible yet, and there may be no later attempt. */
    for (int64_t now = begun; !gone && now < begun + MOST_MS; now = kit_now_ms()) {
        if (now > begun) (void)poll(NULL, 0, PAUSE_MS);
        cancel(service, r, args->handle);
        KIT_TRY(look(service, r, args->handle, &life, &known, err));
        ever = ever || known;
        gone = known ? life >= KIT_QUEUE_SUCCEEDED : is_settled(args->age_seconds, now - begun);
    }
    out_result->outcome = gone ? KOLM_RECLAIM_GONE : known ? KOLM_RECLAIM_RUNNING : KOLM_RECLAIM_UNKNOWN;
    if (!gone)
        kit_format(out_result->summary, sizeof out_result->summary,
                   "%s; RunPod will end it at the latest %llu s after submission (its ttl)",
                   known ? "it is not cancelled yet" : "RunPod does not know it yet", r->ttl);
    if (kit_secret_mark(service->token, which) != KOLM_OK) return kit_no_memory(err);
    kit_rent_place("RunPod", which, here);
    if (out_result->outcome == KOLM_RECLAIM_GONE && !ever && !kit_rent_place_is(args->place, which))
        kit_rent_doubt(args->name, here, args->place, out_result);
    return KOLM_OK;
}

static kit_status no_endpoint(const kolm_reclaim_args_t *args, kolm_error_t *err) {
    char remedy[256];
    kit_format(remedy, sizeof remedy,
               "check at https://console.runpod.io/serverless whether it is still running; if it has ended, run "
               "`kolm compute reap --forget %.63s`",
               args->name);
    return kit_fail(err, KOLM_E_DATA_LOSS, remedy, "its record does not say which endpoint it belongs to");
}

int32_t runpod_serverless_reclaim(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                                  kolm_reclaim_result_t *out_result, kolm_error_t *err) {
    recorded r;
    kit_service service = {0};
    out_result->outcome = KOLM_RECLAIM_UNKNOWN;
    out_result->billed_micro_usd = UINT64_MAX;
    if (!read_place(args->place, &r)) return no_endpoint(args, err);
    uint64_t late = args->handle[0] != '\0' ? LATE_SECONDS : SUBMITTING_SECONDS;
    if (args->age_seconds > r.ttl + late) {
        out_result->outcome = KOLM_RECLAIM_GONE;
        kit_format(out_result->summary, sizeof out_result->summary, "its ttl of %llu s has expired", r.ttl);
        return KOLM_OK;
    }
    if (args->handle[0] == '\0') {
        kit_format(out_result->summary, sizeof out_result->summary,
                   "no answer to its submission was recorded, so kolm cannot find it; if it exists, RunPod will end it "
                   "at the latest %llu s after submission (its ttl)",
                   r.ttl);
        return KOLM_OK;
    }
    if (args->allow_network != 1)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "allow the network", "RunPod is reached over the network");
    kit_status status = kit_service_open(&runpod_serverless_site, host, &service, err);
    if (status == KOLM_OK) status = end_it(&service, &r, args, out_result, err);
    kit_service_close(&service);
    return status;
}
