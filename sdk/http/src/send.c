/* SPDX-License-Identifier: Apache-2.0 */
/* Sends requests: tries, pauses, redirects, deadlines, and results. */
#include "internal.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEADLINE_MS 60000u
#define IDLE_MS 60000u
#define CONNECT_MS 15000u
#define CONNECT_MS_MAX 600000u

static bool creates(const http_flight *f) {
    return f->request->repeat == KIT_HTTP_KEYED || f->request->repeat == KIT_HTTP_CREATE;
}

static void log_try(const http_flight *f, const char *what) {
    const kolm_host_v1_t *host = f->http->host;
    char text[512];
    if (host == NULL) return;
    kit_format(text, sizeof text, "%s %s: %s, %lld ms, try %u", f->method, f->place.shown, what,
               (long long)(kit_now_ms() - f->try_ms), f->tries);
    http_redact(f, text, sizeof text);
    host->log(host->user, KOLM_LOG_DEBUG, text);
}

/* ---- Begin and end of a flight */

static kit_status check_request(const kit_http_request *r, kolm_error_t *err) {
    int bodies = (r->body != NULL) + r->has_body_file + (r->part_count > 0);
    const char *m = r->method != NULL ? r->method : "";
    bool upper = strspn(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(m) && strlen(m) < 16;
    if (r->url == NULL || r->header_count > HTTP_HEADERS_MAX || bodies > 1 ||
        (r->has_out_file && r->on_bytes != NULL) || !upper || r->body_length > INT64_MAX || r->body_size > INT64_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                        "the request is invalid: no URL, two bodies, two targets for the answer, or an unknown method");
    return KOLM_OK;
}

static int64_t later(int64_t now, uint64_t ms) {
    return ms < (uint64_t)(INT64_MAX - now) ? now + (int64_t)ms : INT64_MAX;
}

static void set_times(http_flight *f) {
    const kit_http_request *r = f->request;
    const kolm_host_v1_t *host = f->http->host;
    int64_t now = kit_now_ms();
    bool long_one = r->has_out_file || r->has_body_file || r->on_bytes != NULL;
    uint64_t given = r->deadline_ms > 0 ? r->deadline_ms : long_one ? UINT64_MAX : DEADLINE_MS;
    f->deadline_ms = later(now, given);
    if (host != NULL) {
        int64_t left = host->time_left_ms(host->user);
        if (left < INT64_MAX && later(now, (uint64_t)(left > 0 ? left : 0)) < f->deadline_ms)
            f->deadline_ms = later(now, (uint64_t)(left > 0 ? left : 0));
    }
    f->idle_ms = r->idle_ms > 0 ? r->idle_ms : IDLE_MS;
    f->connect_ms = r->connect_ms == 0 ? CONNECT_MS : r->connect_ms < CONNECT_MS_MAX ? r->connect_ms : CONNECT_MS_MAX;
    f->due_ms = f->try_ms = now;
}

static kit_status prepare(http_flight *f) {
    const kit_http_request *r = f->request;
    kit_http_answer_free(f->answer);
    f->answer->retry_after_ms = -1;
    KIT_TRY(check_request(r, f->err));
    f->method = r->method != NULL ? r->method : http_has_body(r) ? "POST" : "GET";
    for (size_t i = 0; i < r->header_count; i++)
        if (r->headers[i].secret != NULL) f->secrets[f->secret_count++] = r->headers[i].secret;
    KIT_TRY(http_place_parse(f->http, r->url, &f->place, f->err));
    set_times(f);
    return http_sink_open(f, f->err);
}

static void land(http_flight *f, kit_status status) {
    f->status = status;
    f->state = FLIGHT_DONE;
    if (status == KOLM_OK) (void)kit_fail(f->err, KOLM_OK, "", "%s", ""); /* clears errors of earlier tries */
    http_redact(f, f->err->text, sizeof f->err->text);
    http_redact(f, f->err->remedy, sizeof f->err->remedy);
    f->answer->tries = f->tries;
}

static void cleanup(http_flight *f) {
    if (f->easy != NULL) {
        curl_easy_setopt(f->easy, CURLOPT_ERRORBUFFER, NULL);
        curl_easy_cleanup(f->easy);
    }
    http_place_free(&f->place);
    kit_sha256_free(f->digest);
    free(f->readers);
    kit_buf_free(&f->heard);
}

/* ---- The outcome of a try */

/* The error of a request that failed but may have taken effect. */
static kit_status unclear(http_flight *f, kit_status status) {
    kit_http_answer *a = f->answer;
    bool now = kit_http_may_have_happened(a->fate, a->status);
    if (!creates(f) || status == KOLM_OK || !(now || f->unclear)) return status;
    a->may_have_happened = true;
    if (!now || status == KOLM_E_CANCELLED) return status;
    bool said_yes = a->status >= 200 && a->status < 300;
    return kit_fail(f->err, KOLM_E_UNKNOWN,
                    "check with the provider whether it exists, and end it there if it is not needed, before running "
                    "the command again",
                    said_yes ? "%s; it succeeded, but the result is unknown"
                             : "%s; it may have taken effect nevertheless",
                    f->err->text);
}

static void note_answer(http_flight *f) {
    static const char *const ids[] = {"x-request-id", "request-id", "x-amzn-requestid", "x-fal-request-id", "cf-ray"};
    kit_http_answer *a = f->answer;
    const char *wait = http_headers_find(&a->headers, "retry-after");
    int64_t ms = 0;
    a->retry_after_ms = -1;
    if (wait != NULL && kit_http_retry_after(wait, http_headers_find(&a->headers, "date"), (int64_t)time(NULL), &ms))
        a->retry_after_ms = ms;
    a->request_id[0] = '\0';
    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && a->request_id[0] == '\0'; i++) {
        const char *id = http_headers_find(&a->headers, ids[i]);
        if (id != NULL && kit_text_is_plain(id, strlen(id))) kit_copy(a->request_id, sizeof a->request_id, id);
    }
}

/* Returns true if the answer is a redirect that may be followed, and directs the flight there. */
static bool follow(http_flight *f) {
    kit_http_answer *a = f->answer;
    const char *location = http_headers_find(&a->headers, "location");
    bool redirect = a->status == 301 || a->status == 302 || a->status == 303 || a->status == 307 || a->status == 308;
    if (!redirect || location == NULL || f->request->repeat != KIT_HTTP_READ || http_has_body(f->request) ||
        f->redirects >= HTTP_REDIRECTS_MAX)
        return false;
    char *url = NULL;
    http_place to = {0};
    bool same = http_place_follow(&f->place, location, &url, NULL) == KOLM_OK &&
                http_place_parse(f->http, url, &to, NULL) == KOLM_OK && strcmp(to.origin, f->place.origin) == 0;
    free(url);
    if (!same) {
        http_place_free(&to);
        return false;
    }
    http_place_free(&f->place);
    f->place = to;
    f->redirects++;
    f->tries--; /* a redirect does not count as a try */
    f->state = FLIGHT_PAUSED;
    f->due_ms = kit_now_ms();
    return true;
}

/* Starts another try if the table and the time allow it. */
static bool try_again(http_flight *f) {
    const kit_http *http = f->http;
    kit_http_answer *a = f->answer;
    uint32_t tries = f->request->tries > 0 ? f->request->tries : http->tries;
    if (kit_http_decide(f->request->repeat, a->fate, a->status) != KIT_HTTP_AGAIN || f->tries >= tries || f->delivered)
        return false;
    uint64_t pause = kit_http_backoff(f->tries, http->first_wait_ms, http->wait_most_ms, &f->http->random);
    if (a->retry_after_ms > 0 && (uint64_t)a->retry_after_ms > pause) pause = (uint64_t)a->retry_after_ms;
    if (http_tape_replays(http)) pause = 0;
    if (pause > http->wait_most_ms || later(kit_now_ms(), pause) >= f->deadline_ms) return false;
    if (kit_http_may_have_happened(a->fate, a->status)) f->unclear = true;
    f->state = FLIGHT_PAUSED;
    f->due_ms = later(kit_now_ms(), pause);
    return true;
}

static void add_wait(http_flight *f) {
    const kit_http_answer *a = f->answer;
    char text[sizeof f->err->text];
    if (a->retry_after_ms <= 0 || f->err == NULL) return;
    kit_copy(text, sizeof text, f->err->text);
    kit_format(f->err->text, sizeof f->err->text, "%s (the server requests a wait of %lld s)", text,
               (long long)((a->retry_after_ms + 999) / 1000));
}

/* Handles a try that ended by itself. */
static void finish(http_flight *f, CURLcode code) {
    kit_http_answer *a = f->answer;
    bool may_pass = http_may_pass(f, code);
    if (f->enough && code == CURLE_WRITE_ERROR) code = CURLE_OK;
    a->fate = code == CURLE_OK  ? KIT_HTTP_ANSWERED
              : f->headers_done ? KIT_HTTP_CUT
              : f->going_out    ? KIT_HTTP_LOST
                                : KIT_HTTP_NOT_SENT;
    if (a->fate == KIT_HTTP_NOT_SENT || a->fate == KIT_HTTP_LOST) a->status = 0;
    note_answer(f);
    kit_status status = f->refused;
    bool success = a->status >= 200 && a->status < 300, good = code == CURLE_OK && (success || f->whole_already);
    if (status == KOLM_OK && a->status != 0 && !success && !good)
        status = http_fail_status(f);
    else if (status == KOLM_OK && !good)
        status = http_fail_transfer(f, code);
    if (http_tape_records(f->http)) http_tape_note(f, code);
    http_exchange_end(f);
    if (good && f->refused == KOLM_OK) {
        if (f->whole_already) a->status = 206;
        log_try(f, "done");
        land(f, http_sink_close(f, f->err));
        return;
    }
    log_try(f, f->err->text);
    if (f->refused == KOLM_OK && code == CURLE_OK && follow(f)) return;
    if (f->refused == KOLM_OK && may_pass && try_again(f)) return;
    add_wait(f);
    land(f, unclear(f, status));
}

/* Ends a try: timeout, or stopped by the user. */
static void abandon(http_flight *f, kit_status status) {
    kit_http_answer *a = f->answer;
    a->fate = f->headers_done ? KIT_HTTP_CUT : f->going_out ? KIT_HTTP_LOST : KIT_HTTP_NOT_SENT;
    if (f->headers_done)
        note_answer(f);
    else
        a->status = 0;
    log_try(f, f->err->text);
    if (http_tape_records(f->http))
        http_tape_note(f, status == KOLM_E_CANCELLED ? CURLE_ABORTED_BY_CALLBACK : CURLE_OPERATION_TIMEDOUT);
    http_exchange_end(f);
    if (status == KOLM_E_DEADLINE_EXCEEDED && kit_now_ms() < f->deadline_ms && try_again(f)) return;
    land(f, unclear(f, status));
}

/* ---- The loop */

static bool stopped(const kit_http *http) {
    if (http->host != NULL && http->host->cancelled(http->host->user) != 0) return true;
    return http->cancelled != NULL && http->cancelled(http->user) != 0;
}

static void start(http_flight *f) {
    f->tries++;
    f->try_ms = kit_now_ms();
    if (http_tape_replays(f->http)) {
        f->state = FLIGHT_RUNNING;
        http_exchange_reset(f);
        finish(f, http_tape_play(f));
        return;
    }
    kit_status status = http_exchange_begin(f, f->err);
    if (status == KOLM_OK) {
        f->state = FLIGHT_RUNNING;
        return;
    }
    http_exchange_end(f);
    f->answer->fate = KIT_HTTP_NOT_SENT;
    land(f, unclear(f, status));
}

/* Checks the time limits of one flight. */
static void look(http_flight *f, bool stop) {
    int64_t now = kit_now_ms();
    char what[64];
    if (f->state == FLIGHT_DONE) return;
    if (f->state == FLIGHT_RUNNING && f->going_out) http_exchange_watch(f);
    if (stop) {
        kit_status status =
            kit_fail(f->err, KOLM_E_CANCELLED, "", "%s %s: stopped on request", f->method, f->place.shown);
        if (f->state == FLIGHT_RUNNING)
            abandon(f, status);
        else
            land(f, unclear(f, status));
    } else if (f->state == FLIGHT_RUNNING && now >= f->deadline_ms) {
        abandon(f, http_fail_time(f, "the time for it has"));
    } else if (f->state == FLIGHT_RUNNING && now - f->active_ms >= (int64_t)f->idle_ms && f->going_out) {
        kit_format(what, sizeof what, "%llu ms without a byte have", (unsigned long long)f->idle_ms);
        abandon(f, http_fail_time(f, what));
    } else if (f->state == FLIGHT_RUNNING && now - f->try_ms >= (int64_t)f->connect_ms && !f->going_out) {
        kit_format(what, sizeof what, "%llu ms for the connection have", (unsigned long long)f->connect_ms);
        abandon(f, http_fail_time(f, what));
    } else if (f->state == FLIGHT_PAUSED && now >= f->due_ms) {
        start(f);
    }
}

/* Waits for the network, for the next flight that is due, or for a slice. */
static void wait_for(kit_http *http, const http_flight *flights, size_t count) {
    int64_t now = kit_now_ms(), until = now + HTTP_SLICE_MS;
    bool running = false;
    for (size_t i = 0; i < count; i++) {
        if (flights[i].state == FLIGHT_RUNNING) running = true;
        if (flights[i].state == FLIGHT_PAUSED && flights[i].due_ms < until) until = flights[i].due_ms;
        if (flights[i].state == FLIGHT_RUNNING && flights[i].deadline_ms < until) until = flights[i].deadline_ms;
    }
    int ms = until > now ? (int)(until - now) : 0;
    if (running)
        (void)curl_multi_poll(http->multi, NULL, 0, ms, NULL);
    else
        (void)poll(NULL, 0, ms);
}

static void collect(kit_http *http) {
    int left = 0;
    for (const CURLMsg *message; (message = curl_multi_info_read(http->multi, &left)) != NULL;) {
        char *private = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private) != CURLE_OK)
            continue;
        finish((http_flight *)(void *)private, code);
    }
}

static bool all_done(const http_flight *flights, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (flights[i].state != FLIGHT_DONE) return false;
    return true;
}

static void fly(kit_http *http, http_flight *flights, size_t count) {
    for (;;) {
        bool stop = stopped(http);
        int running = 0;
        for (size_t i = 0; i < count; i++)
            look(&flights[i], stop);
        if (http->multi != NULL) (void)curl_multi_perform(http->multi, &running);
        if (http->multi != NULL) collect(http);
        if (all_done(flights, count)) return; /* nothing left to wait for */
        wait_for(http, flights, count);
    }
}

void kit_http_send_all(kit_http *http, kit_http_call *calls, size_t count) {
    if (count == 0) return;
    http_flight *flights = calloc(count, sizeof *flights);
    for (size_t i = 0; flights == NULL && i < count; i++)
        calls[i].status = kit_no_memory(&calls[i].error);
    if (flights == NULL) return;
    for (size_t i = 0; i < count; i++) {
        flights[i] =
            (http_flight){.http = http, .request = calls[i].request, .answer = calls[i].answer, .err = &calls[i].error};
        kit_status status = prepare(&flights[i]);
        if (status != KOLM_OK) land(&flights[i], status);
    }
    fly(http, flights, count);
    for (size_t i = 0; i < count; i++) {
        calls[i].status = flights[i].status;
        cleanup(&flights[i]);
    }
    free(flights);
}

kit_status kit_http_send(kit_http *http, const kit_http_request *request, kit_http_answer *answer, kolm_error_t *err) {
    kit_http_call call = {.request = request, .answer = answer, .error = KIT_ERROR_INIT};
    kit_http_send_all(http, &call, 1);
    if (call.status != KOLM_OK) return kit_fail(err, call.status, call.error.remedy, "%s", call.error.text);
    return KOLM_OK;
}
