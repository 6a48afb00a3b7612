/* SPDX-License-Identifier: Apache-2.0 */
/* Makes one gRPC call: grpc_tool URL /METHOD read|change|keyed|create one|stream TEXT. Prints "message TEXT" for
 * each message, then "end CODE GRPC HTTP MAY SAID", then the text of the failure. */
#include "kolm/http/grpc.h"

#include <stdio.h>
#include <string.h>

static kit_status on_message(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    (void)user, (void)err;
    printf("message %.*s\n", (int)(length < 100 ? length : 100), (const char *)bytes);
    return KOLM_OK;
}

static int64_t asks(const void *details, size_t length) {
    return length >= 4 && memcmp(details, "wait", 4) == 0 ? 10 : -1;
}

int main(int argc, char **argv) {
    static const char *const repeats[] = {"read", "change", "keyed", "create"};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_http *http = NULL;
    kit_grpc_answer answer = {0};
    if (argc != 6) return 2;
    kit_grpc_call call = {.base = argv[1],
                          .method = argv[2],
                          .message = argv[5],
                          .length = strlen(argv[5]),
                          .message_max = 1000,
                          .key = "the-key",
                          .key_header = "x-idempotency-key",
                          .on_message = strcmp(argv[4], "stream") == 0 ? on_message : NULL,
                          .asks_to_wait = asks,
                          .deadline_ms = 20000};
    while (strcmp(repeats[call.repeat], argv[3]) != 0)
        if (++call.repeat > KIT_HTTP_CREATE) return 2;
    const kit_http_options options = {
        .allow_plain_loopback = true, .first_wait_ms = 1, .wait_most_ms = 1000, .tries = 3};
    if (kit_http_open(&options, &http, &err) != KOLM_OK) return 2;
    kit_status status = kit_grpc_send(http, &call, &answer, &err);
    if (status == KOLM_OK && call.on_message == NULL)
        (void)on_message(NULL, answer.message.data, answer.message.length, &err);
    printf("end %d %d %d %d %s\n%s\n", (int)status, answer.status, answer.http_status, answer.may_have_happened,
           answer.said, err.text);
    kit_grpc_answer_free(&answer);
    kit_http_close(http);
    return 0;
}
