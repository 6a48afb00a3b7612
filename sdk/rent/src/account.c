/* SPDX-License-Identifier: Apache-2.0 */
/* Sends JSON requests to a provider, at the rate that it allows, and explains its refusals. */
#include "kolm/rent/account.h"

#include "ears.h"
#include "pace.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/process.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ASK_MS 20000
#define CREATE_MS 90000
#define BODY_MAX (4u << 20)
#define SLICE_MS 100

/* ---- Open and close */

static kit_status read_base(kit_rent_account *a, kolm_error_t *err) {
    if (!kit_setting(a->host, "api", a->site->base, a->base, sizeof a->base))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "backends.%s.api in config.json is too long",
                        a->site->name);
    size_t length = strlen(a->base);
    while (length > 0 && a->base[length - 1] == '/')
        a->base[--length] = '\0';
    return KOLM_OK;
}

static kit_status split_token(kit_rent_account *a, kolm_error_t *err) {
    const kit_rent_site *site = a->site;
    char remedy[200];
    if (kit_secret_split(a->token, site->token, site->halves, &a->halves[0], &a->halves[1], NULL) == KOLM_OK)
        return KOLM_OK;
    kit_format(remedy, sizeof remedy, "set it to ID%cSECRET, with both from %s", site->halves, site->where);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "%s has one half of a token of %s, and two are needed",
                    site->token, site->title);
}

kit_status kit_rent_account_open(const kit_rent_site *site, const kolm_host_v1_t *host, kit_rent_account *out,
                                 kolm_error_t *err) {
    const kit_rent_wish wish = out->wish;
    const bool hurried = out->hurried;
    *out = (kit_rent_account){.site = site, .host = host, .wish = wish, .hurried = hurried};
    KIT_TRY(read_base(out, err));
    out->ears = calloc(1, sizeof *out->ears);
    if (out->ears == NULL) return kit_no_memory(err);
    rent_ears_begin(out->ears, host, host->scratch_dir);
    kit_status status = kit_secret_read(host, site->token, &out->token, err);
    if (status == KOLM_OK && site->halves != '\0') status = split_token(out, err);
    const kit_http_options options = {.host = &out->ears->table,
                                      /* an address in an answer over TLS must not downgrade to plain text */
                                      .allow_plain_loopback = strncasecmp(out->base, "http://", 7) == 0,
                                      .first_wait_ms = hurried ? 1 : 0,
                                      .wait_most_ms = hurried ? 20 : 0};
    if (status == KOLM_OK) status = kit_http_open(&options, &out->http, err);
    if (status != KOLM_OK) kit_rent_account_close(out);
    return status;
}

void kit_rent_account_close(kit_rent_account *account) {
    kit_http_close(account->http);
    kit_secret_free(account->token);
    kit_secret_free(account->halves[0]);
    kit_secret_free(account->halves[1]);
    free(account->ears);
    account->http = NULL;
    account->token = account->halves[0] = account->halves[1] = NULL;
    account->ears = NULL;
}

void kit_rent_account_insist(kit_rent_account *account) {
    atomic_store(&account->ears->deaf, true);
}

void kit_rent_account_stop(kit_rent_account *account, bool stop) {
    atomic_store(&account->ears->stop, stop);
}

void kit_rent_answer_free(kit_rent_answer *answer) {
    cJSON_Delete(answer->json);
    *answer = (kit_rent_answer){0};
}

/* ---- Pace */

static kit_status wait_until(const kit_rent_account *a, int64_t when, kolm_error_t *err) {
    for (int64_t left = when - kit_now_ms(); left > 0; left = when - kit_now_ms()) {
        if (a->ears->table.cancelled(a->ears) != 0) return kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
        (void)poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS));
    }
    return KOLM_OK;
}

/* A stand-in on this machine has no rate limits. */
static bool at_pace(const kit_rent_account *a) {
    return !a->hurried && strncmp(a->base, "http://", 7) != 0;
}

/* A request to stop must not prevent that a rented machine is ended: it only gives up a creation. */
static kit_status keep_pace(kit_rent_account *a, bool creates, kolm_error_t *err) {
    if (!at_pace(a)) return KOLM_OK;
    const uint32_t gap = a->site->gap_ms, create_gap = a->site->create_gap_ms;
    if (creates) KIT_TRY(wait_until(a, rent_pace_next(gap, create_gap, a->asked_ms, a->created_ms, true), err));
    int64_t next = rent_pace_next(gap, create_gap, a->asked_ms, a->created_ms, false), now;
    while ((now = kit_now_ms()) < next)
        (void)poll(NULL, 0, (int)(next - now));
    a->asked_ms = now;
    if (creates) a->created_ms = a->asked_ms;
    return KOLM_OK;
}

/* ---- Requests */

/* The body of a refusal stays in the answer: it may name what was created nevertheless. */
static void explain(const kit_rent_account *a, const kit_http_answer *http, kit_rent_answer *answer,
                    kolm_error_t *err) {
    cJSON *body = NULL;
    if (http->status < 300) return;
    if (kit_json_parse(kit_buf_text(&http->body), http->body.length, &body, NULL) != KOLM_OK) body = NULL;
    if (cJSON_IsObject(body))
        answer->json = body;
    else
        cJSON_Delete(body);
    (void)kit_rent_explain(a, http->status, answer->json, err);
}

static kit_status read_body(const kit_http_answer *http, kit_rent_answer *answer, kolm_error_t *err) {
    if (http->body.length == 0) return KOLM_OK;
    KIT_TRY(kit_http_json(http, &answer->json, err));
    if (cJSON_IsObject(answer->json)) return KOLM_OK;
    cJSON_Delete(answer->json);
    answer->json = NULL;
    return kit_fail(err, KOLM_E_DATA_LOSS,
                    "try again; if the error persists, a newer kolm may support the provider's new format",
                    "the answer is JSON, but not an object");
}

kit_status kit_rent_ask(kit_rent_account *a, const kit_rent_question *question, kit_rent_answer *answer,
                        kolm_error_t *err) {
    char url[sizeof a->base + KIT_RENT_PATH];
    kit_buf body = {0};
    kit_http_answer http = {0};
    bool creates = question->repeat == KIT_HTTP_CREATE || question->repeat == KIT_HTTP_KEYED;
    const kit_http_header headers[] = {{"Authorization", a->site->scheme, a->token},
                                       {"Accept", "application/json", NULL}};
    kit_rent_answer_free(answer);
    if (!kit_format(url, sizeof url, "%s%s", a->base, question->path))
        return kit_fail(err, KOLM_E_INTERNAL, "report it to the author of this backend", "a path is too long");
    kit_status status = question->body != NULL ? kit_json_line(question->body, &body, err) : KOLM_OK;
    if (status == KOLM_OK) status = keep_pace(a, creates, err);
    if (status == KOLM_OK) {
        const kit_http_request request = {.method = question->method,
                                          .url = url,
                                          .headers = headers,
                                          .header_count = sizeof headers / sizeof *headers,
                                          .repeat = question->repeat,
                                          .key = question->key,
                                          .body = body.data,
                                          .body_length = body.length,
                                          .body_max = BODY_MAX,
                                          .deadline_ms = creates ? CREATE_MS : ASK_MS,
                                          .tries = creates ? 4 : 2};
        if (creates) a->creates++;
        status = kit_http_send(a->http, &request, &http, err);
        answer->status = a->answered = http.status;
        answer->may_exist = creates && http.may_have_happened;
        /* without an answer, it is the host name that was not found, not a resource of the provider */
        if (status == KOLM_E_NOT_FOUND && http.status == 0) err->code = KOLM_E_UNAVAILABLE;
        if (status != KOLM_OK)
            explain(a, &http, answer, err);
        else if ((status = read_body(&http, answer, err)) != KOLM_OK)
            answer->may_exist = creates; /* something was done, but it is unknown what */
        if (status != KOLM_OK) status = err->code;
    }
    kit_http_answer_free(&http);
    kit_buf_free(&body);
    return status;
}

kit_status kit_rent_send(kit_rent_account *a, const char *method, const char *path, cJSON *body, kit_http_repeat repeat,
                         kit_rent_answer *answer, kolm_error_t *err) {
    if (body == NULL) return kit_no_memory(err);
    const kit_rent_question question = {.method = method, .path = path, .body = body, .repeat = repeat};
    kit_status status = kit_rent_ask(a, &question, answer, err);
    cJSON_Delete(body);
    return status;
}
