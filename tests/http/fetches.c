/* SPDX-License-Identifier: Apache-2.0 */
/* A backend for the tests of sdk/http inside the fence: detect and test fetch FETCHES_URL repeatedly. */
#include "kolm/http/http.h"
#include "kolm/kit/backend.h"

#include <stdlib.h>

static int32_t fetch(const kolm_host_v1_t *host, char *out_text, size_t capacity, kolm_error_t *err) {
    const char *url = secure_getenv("FETCHES_URL");
    kit_http *http = NULL;
    kit_http_answer answer = {0};
    if (url == NULL) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "set it", "FETCHES_URL is not set");
    KIT_TRY(kit_http_open(&(kit_http_options){.host = host, .allow_plain_loopback = true, .tries = 1}, &http, err));
    kit_status status = kit_http_send(http, &(kit_http_request){.url = url}, &answer, err);
    if (status == KOLM_OK) kit_format(out_text, capacity, "fetched %s", kit_buf_text(&answer.body));
    kit_http_answer_free(&answer);
    kit_http_close(http);
    return status;
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                      kolm_error_t *err) {
    char text[128];
    if (!args->allow_network) return kit_detected(out, KOLM_DETECT_AVAILABLE, "not looked at", "", "fetches 1.0");
    int32_t code = fetch(host, text, sizeof text, err);
    return code != KOLM_OK ? code : kit_detected(out, KOLM_DETECT_AVAILABLE, text, "", "fetches 1.0");
}

/* One step per fetch, until one fails. The network is tried even if it is not allowed. */
static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out,
                    kolm_error_t *err) {
    (void)args;
    for (uint32_t i = 1; i <= 3; i++) {
        char text[128] = "";
        kolm_test_step_t step = {
            .struct_size = (uint32_t)sizeof step, .number = i, .total = 3, .title = "fetch", .note = text};
        int32_t code = fetch(host, text, sizeof text, err);
        if (code != KOLM_OK) {
            step.outcome = KOLM_STEP_FAILED;
            step.note = err->text;
        }
        host->test_step(host->user, &step);
        if (code != KOLM_OK) return code;
    }
    out->passed = 1;
    kit_copy(out->summary, sizeof out->summary, "fetches is ready");
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "fetches",
    .version = "1.0.0",       .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "https://kolm.example",
    .detect = detect,         .test = test,
};
