/* SPDX-License-Identifier: Apache-2.0 */
/* kolm/http with answers from a fuzz input instead of a network. */
#include "http_double.h"

#include "kolm/http/http.h"
#include "kolm/kit/text.h"

#include <string.h>
#include <strings.h>

static fuzz_parts answers;

void http_double_answers(const fuzz_parts *parts) {
    answers = *parts;
}

kit_status kit_http_open(const kit_http_options *options, kit_http **out, kolm_error_t *err) {
    (void)options, (void)err;
    *out = NULL;
    return KOLM_OK;
}

void kit_http_close(kit_http *http) {
    (void)http;
}

/* The same codes as the real implementation. */
static kit_status code_of(int status) {
    switch (status) {
    case 401:
        return KOLM_E_UNAUTHENTICATED;
    case 403:
        return KOLM_E_PERMISSION_DENIED;
    case 404:
    case 410:
        return KOLM_E_NOT_FOUND;
    case 429:
        return KOLM_E_RESOURCE_EXHAUSTED;
    default:
        return status >= 500 ? KOLM_E_UNAVAILABLE : KOLM_E_INVALID_ARGUMENT;
    }
}

kit_status kit_http_send(kit_http *http, const kit_http_request *request, kit_http_answer *answer, kolm_error_t *err) {
    size_t length = 0;
    char *part = fuzz_part(&answers, &length);
    bool creates = request->repeat == KIT_HTTP_CREATE || request->repeat == KIT_HTTP_KEYED;
    kit_status status = KOLM_OK;
    (void)http;
    must(strncasecmp(request->url, "https://", 8) == 0 && strpbrk(request->url, " \r\n") == NULL);
    kit_http_answer_free(answer);
    if (length < 4) {
        answer->may_have_happened = creates;
        status = kit_fail(err, KOLM_E_UNAVAILABLE, "", "nobody answers");
    } else {
        answer->status = (part[0] - '0') * 100 + (part[1] - '0') * 10 + (part[2] - '0');
        kit_buf_add(&answer->body, part + 4, length - 4);
        must(!answer->body.failed);
        if (answer->status < 200 || answer->status > 299) status = kit_fail(err, code_of(answer->status), "", "HTTP");
        answer->may_have_happened = creates && answer->status >= 500;
    }
    free(part);
    return status;
}

void kit_http_send_all(kit_http *http, kit_http_call *calls, size_t count) {
    for (size_t i = 0; i < count; i++)
        calls[i].status = kit_http_send(http, calls[i].request, calls[i].answer, &calls[i].error);
}

/* ---- The host of a backend that requires a token and has no settings */

static void host_log(void *user, uint32_t level, const char *text) {
    (void)user, (void)level, (void)text;
}

static void host_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    must(progress->phase[0] != '\0');
}

static void host_metric(void *user, const char *name, double value) {
    (void)user, (void)value;
    must(name[0] != '\0');
}

static int32_t host_no(void *user) {
    (void)user;
    return 0;
}

static int64_t host_time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    static const char token[] = "token-0123456789:token-0123456789";
    (void)user, (void)name;
    if (out_length != NULL) *out_length = sizeof token - 1;
    if (capacity < sizeof token) return KOLM_E_OUT_OF_RANGE;
    memcpy(buffer, token, sizeof token);
    return KOLM_OK;
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)key, (void)buffer, (void)capacity, (void)out_length;
    return KOLM_E_NOT_FOUND;
}

const kolm_host_v1_t http_double_host = {.struct_size = KOLM_HOST_SIZE_1_0,
                                         .abi_major = 1,
                                         .features = KOLM_FEATURE_NETWORK,
                                         .log = host_log,
                                         .progress = host_progress,
                                         .metric = host_metric,
                                         .cancelled = host_no,
                                         .time_left_ms = host_time_left,
                                         .secret = host_secret,
                                         .setting = host_setting,
                                         .scratch_dir = "/nonexistent"};
