/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of sdk/http that need no network, for failmalloc.py: a recorded conversation, events, secrets, JSON. */
#include "kolm/http/http.h"
#include "kolm/http/sse.h"

#include <stdio.h>
#include <string.h>

static kit_buf out;

static kit_status on_event(void *user, const kit_sse_event *event, kolm_error_t *err) {
    (void)user;
    kit_buf_fmt(&out, "%s %s\n", event->type, event->data);
    return kit_buf_ok(&out, err);
}

static kit_status events(kolm_error_t *err) {
    static const char text[] = "event: tick\ndata: one\n\nid: 2\ndata: two\n\n";
    kit_sse *sse = NULL;
    KIT_TRY(kit_sse_new(256, on_event, NULL, &sse, err));
    kit_status status = kit_sse_feed(sse, text, sizeof text - 1, err);
    kit_sse_free(sse);
    return status;
}

static kit_status ask(kit_http *http, const kit_secret *token, const kit_http_request *request, kolm_error_t *err) {
    const kit_http_header headers[] = {{"Authorization", "Bearer ", token}};
    kit_http_request whole = *request;
    kit_http_answer answer = {0};
    cJSON *json = NULL;
    whole.headers = headers;
    whole.header_count = 1;
    kit_status status = kit_http_send(http, &whole, &answer, err);
    if (status != KOLM_E_RESOURCE_EXHAUSTED)
        kit_buf_fmt(&out, "%s, status %d, %s\n", kit_status_name(status), answer.status,
                    answer.may_have_happened ? "may have happened" : "is clear");
    if (status == KOLM_OK) status = kit_http_json(&answer, &json, err);
    if (status == KOLM_OK) kit_buf_fmt(&out, "%d %s\n", answer.status, kit_buf_text(&answer.body));
    cJSON_Delete(json);
    kit_http_answer_free(&answer);
    return status;
}

/* Must not be "" if memory is short: a record would then match any token. */
static kit_status mark(const kit_secret *token, kolm_error_t *err) {
    char text[KIT_SECRET_MARK_BYTES];
    if (kit_secret_mark(token, text) != KOLM_OK) return kit_no_memory(err);
    if (text[0] == '\0') return kit_fail(err, KOLM_E_INTERNAL, "", "a token has no mark");
    kit_buf_fmt(&out, "%s\n", text);
    return kit_buf_ok(&out, err);
}

/* The last request is refused in the recording: the refusal is printed, and this program still succeeds. */
static kit_status talk(const char *path, kolm_error_t *err) {
    kit_http_tape *tape = NULL;
    kit_http *http = NULL;
    kit_secret *token = NULL;
    KIT_TRY(kit_http_tape_replay(path, &tape, err));
    kit_status status = kit_secret_new("KOLM_TEST_TOKEN", "r8_0123456789abcdef", 19, &token, err);
    if (status == KOLM_OK) status = mark(token, err);
    if (status == KOLM_OK)
        status = kit_http_open(&(kit_http_options){.tape = tape, .proxy = "", .no_proxy = "", .seed = 1}, &http, err);
    if (status == KOLM_OK)
        status = ask(http, token, &(kit_http_request){.url = "https://api.example/offers?page=1"}, err);
    if (status == KOLM_OK)
        status = ask(http, token,
                     &(kit_http_request){.url = "https://api.example/rent",
                                         .body = "{\"name\":\"kolm-1\"}",
                                         .body_length = 17,
                                         .repeat = KIT_HTTP_CREATE},
                     err);
    if (status == KOLM_E_UNKNOWN) {
        status = kit_buf_ok(&out, err);
    }
    kit_http_close(http);
    kit_secret_free(token);
    kolm_error_t unread = KIT_ERROR_INIT;
    kit_status closed = kit_http_tape_close(tape, &unread);
    if (status == KOLM_OK && closed != KOLM_OK) status = kit_fail(err, closed, unread.remedy, "%s", unread.text);
    return status;
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status =
        argc == 2 ? talk(argv[1], &err) : kit_fail(&err, KOLM_E_INVALID_ARGUMENT, "", "usage: errand TAPE");
    if (status == KOLM_OK) status = events(&err);
    if (status == KOLM_OK) fputs(kit_buf_text(&out), stdout);
    kit_buf_free(&out);
    if (status == KOLM_OK) return 0;
    fprintf(stderr, "%s\n", err.text);
    return status == KOLM_E_RESOURCE_EXHAUSTED ? 5 : 6;
}
