/* SPDX-License-Identifier: Apache-2.0 */
/* kit_grpc_send with answers from a fuzz input instead of a network: a part has the status of gRPC, whether the stream
 * continues, and a message. Linked before libkolm-kit-http, with http_double.c. */
#include "http_double.h"

#include "kolm/http/grpc.h"
#include "kolm/kit/text.h"

#include <pthread.h>
#include <string.h>

#define MORE '+' /* the next part belongs to the same stream */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static fuzz_parts answers;

void grpc_double_answers(const fuzz_parts *parts) {
    answers = *parts;
}

static char *next_part(size_t *out_length) {
    pthread_mutex_lock(&lock);
    char *part = fuzz_part(&answers, out_length);
    pthread_mutex_unlock(&lock);
    return part;
}

/* The error text and details that the service sends with a status. */
static kit_status refuse(const kit_grpc_call *call, kit_grpc_answer *answer, const char *bytes, size_t length,
                         kolm_error_t *err) {
    kit_grpc_status_fact fact = kit_grpc_status(answer->status);
    int64_t wait = call->asks_to_wait != NULL ? call->asks_to_wait(bytes, length) : -1;
    must(wait >= -1 && wait < 86400000);
    kit_grpc_words(bytes, answer->said, sizeof answer->said);
    answer->may_have_happened = call->repeat >= KIT_HTTP_KEYED && fact.may_be;
    /* a stream that may be reopened waits before that */
    bool again = call->on_message != NULL && fact.may_pass;
    return kit_fail(err, again ? KOLM_E_FAILED_PRECONDITION : fact.code, "", "%s", fact.words);
}

static kit_status stream(const kit_grpc_call *call, const char *part, size_t length, bool more, kolm_error_t *err) {
    kit_status status = call->on_message(call->user, part, length, err);
    while (more && status == KOLM_OK) {
        char *next = next_part(&length);
        more = length > 0 && next[0] == MORE;
        status = call->on_message(call->user, next + (length > 0), length > 0 ? length - 1 : 0, err);
        free(next);
    }
    return status;
}

kit_status kit_grpc_send(kit_http *http, const kit_grpc_call *call, kit_grpc_answer *answer, kolm_error_t *err) {
    size_t length = 0;
    char *part = next_part(&length);
    kit_status status = KOLM_OK;
    (void)http;
    must(strncmp(call->method, "/modal.", 7) == 0 && (call->length == 0 || call->message != NULL));
    kit_grpc_answer_free(answer);
    *answer = (kit_grpc_answer){.status = -1};
    if (length < 2) {
        answer->may_have_happened = call->repeat >= KIT_HTTP_KEYED;
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "", "nobody answers");
    } else {
        answer->http_status = 200;
        answer->status = (unsigned char)part[0] % 17;
        if (answer->status != 0)
            status = refuse(call, answer, part + 2, length - 2, err);
        else if (call->on_message != NULL)
            status = stream(call, part + 2, length - 2, part[1] == MORE, err);
        else
            kit_buf_add(&answer->message, part + 2, length - 2);
        must(!answer->message.failed);
    }
    free(part);
    return status;
}

void kit_grpc_answer_free(kit_grpc_answer *answer) {
    kit_buf_free(&answer->message);
}
