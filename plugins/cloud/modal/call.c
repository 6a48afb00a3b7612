/* SPDX-License-Identifier: Apache-2.0 */
/* One gRPC call to Modal: packs, sends and unpacks it, and explains its refusals. */
#include "api.h"

#include "kolm/kit/buf.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SERVICE "/modal.client.ModalClient/"
#define ROUTER "/modal.task_command_router.TaskCommandRouter/"
#define ASK_MS 20000u
#define CREATE_MS 90000u
#define RPC_BYTES 128
#define PAGE "https://modal.com/settings/tokens"

void modal_free(void *message) {
    if (message != NULL) protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- Refusals */

typedef struct refusal {
    int32_t code;
    const char *text, *remedy;
} refusal;

static const refusal refusals[] = {
    {KOLM_E_UNAUTHENTICATED, "Modal does not recognize this token: it is wrong, has expired, or was revoked",
     "make a token on " PAGE " and set KOLM_MODAL_TOKEN to both halves of it, ak-...:as-..."},
    {KOLM_E_PERMISSION_DENIED, "this Modal token is not authorized for that",
     "grant its user the right in the workspace, or use the token of another user, from " PAGE},
    {KOLM_E_RESOURCE_EXHAUSTED, "Modal has no such GPU left, or a limit of the workspace is reached",
     "try again later, allow other GPUs, or check https://modal.com/settings/usage"},
    /* for calls that rent nothing */
    {KOLM_E_UNAVAILABLE, "Modal accepts no more requests at the moment, or a limit of the workspace is reached",
     "try again in a minute; if it persists, check https://modal.com/settings/usage"},
};

#define EXHAUSTED 8 /* the gRPC status for lack of capacity, limits, and too many requests */

/* Explains why a call failed, in Modal's terms. */
static kit_status explain(const kit_grpc_answer *answer, bool creates, kit_status status, kolm_error_t *err) {
    const char *said = answer->said;
    if (answer->status == EXHAUSTED && !creates) err->code = status = KOLM_E_UNAVAILABLE;
    if (status == KOLM_E_UNAVAILABLE && answer->status != EXHAUSTED) return status;
    if (answer->status < 0 && status == KOLM_E_FAILED_PRECONDITION && answer->http_status != 0)
        return kit_fail(err, status, "correct backends.modal.api in config.json, or look for a proxy in between",
                        "the server at this address is not Modal's API (HTTP %d)", answer->http_status);
    for (size_t i = 0; answer->status > 0 && i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].code == status) {
            (void)kit_fail(err, status, refusals[i].remedy, "%s", refusals[i].text);
            kit_rent_quote(said, err);
        }
    return status;
}

/* ---- The delay that Modal requests when it is busy */

static int64_t retry_policy(const Modal__Any *detail) {
    int64_t ms = -1;
    if (strcmp(detail->type_url, "type.modal.com/modal.client.RPCRetryPolicy") != 0) return -1;
    Modal__RetryPolicy *policy = modal__retry_policy__unpack(NULL, detail->value.len, detail->value.data);
    if (policy != NULL && policy->retry_after_secs >= 0 && policy->retry_after_secs < 86400)
        ms = (int64_t)((double)policy->retry_after_secs * 1000);
    modal_free(policy);
    return ms;
}

static int64_t asks_to_wait(const void *details, size_t length) {
    Modal__Status *status = modal__status__unpack(NULL, length, details);
    int64_t ms = -1;
    for (size_t i = 0; status != NULL && ms < 0 && i < status->n_details; i++)
        ms = retry_policy(status->details[i]);
    modal_free(status);
    return ms;
}

/* ---- The call */

static kit_status unreadable(const char *rpc, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS,
                    "try again; if the error persists, a newer kolm may support Modal's new format",
                    "Modal's answer to %s cannot be read", rpc);
}

static kit_status on_message(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    const modal_call *call = user;
    ProtobufCMessage *message = protobuf_c_message_unpack(call->answer, NULL, length, bytes);
    if (message == NULL) return unreadable(call->rpc, err);
    kit_status status = call->on_message(call->user, message, err);
    modal_free(message);
    return status;
}

static kit_status pack(const ProtobufCMessage *request, kit_buf *out, kolm_error_t *err) {
    size_t size = protobuf_c_message_get_packed_size(request);
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL) return kit_no_memory(err);
    (void)protobuf_c_message_pack(request, bytes);
    *out = (kit_buf){.data = (char *)bytes, .length = size, .capacity = size + 1};
    bytes[size] = '\0';
    return KOLM_OK;
}

static kit_status send(kit_rent_account *a, const modal_call *call, const kit_buf *message, kit_grpc_answer *answer,
                       kolm_error_t *err) {
    char method[RPC_BYTES];
    const kit_http_header ours[] = {{"x-modal-client-type", "9", NULL},
                                    {"x-modal-client-version", "1.0.0", NULL},
                                    {"x-modal-libmodal-version", "kolm/" KOLM_VERSION, NULL},
                                    {"x-modal-token-id", "", a->halves[0]},
                                    {"x-modal-token-secret", "", a->halves[1]}};
    const kit_http_header routers[] = {{"authorization", "Bearer ", call->router_token}};
    bool creates = call->repeat >= KIT_HTTP_KEYED, routed = call->router != NULL;
    kit_format(method, sizeof method, "%s%s", routed ? ROUTER : SERVICE, call->rpc);
    const kit_grpc_call one = {.base = routed ? call->router : a->base,
                               .method = method,
                               .headers = routed ? routers : ours,
                               .header_count = routed ? 1 : sizeof ours / sizeof *ours,
                               .repeat = call->repeat,
                               .key = call->key,
                               .key_header = "x-idempotency-key",
                               .message = message->data,
                               .length = message->length,
                               .on_message = call->on_message != NULL ? on_message : NULL,
                               .user = (void *)(uintptr_t)call,
                               .asks_to_wait = asks_to_wait,
                               .deadline_ms = call->deadline_ms > 0 ? call->deadline_ms
                                              : creates             ? CREATE_MS
                                                                    : ASK_MS,
                               .idle_ms = call->idle_ms > 0          ? call->idle_ms
                                          : call->on_message != NULL ? call->deadline_ms
                                                                     : 0,
                               .tries = creates ? 4 : 2};
    if (creates) a->creates++;
    return kit_grpc_send(a->http, &one, answer, err);
}

kit_status modal_ask(kit_rent_account *a, const modal_call *call, ProtobufCMessage **out, bool *out_may_exist,
                     kolm_error_t *err) {
    kit_grpc_answer answer = {0};
    kolm_error_t unheard = KIT_ERROR_INIT;
    ProtobufCMessage *message = NULL;
    kit_buf packed = {0};
    if (err == NULL) err = &unheard;
    if (out != NULL) *out = NULL;
    if (out_may_exist != NULL) *out_may_exist = false;
    kit_status status = pack(call->request, &packed, err);
    if (status == KOLM_OK) {
        status = send(a, call, &packed, &answer, err);
        if (status != KOLM_OK) status = explain(&answer, call->repeat >= KIT_HTTP_KEYED, status, err);
        if (out_may_exist != NULL) *out_may_exist = answer.may_have_happened;
        if (call->out_now != NULL) *call->out_now = answer.date > 0 ? answer.date : (int64_t)time(NULL);
    }
    if (status == KOLM_OK && call->on_message == NULL) {
        const uint8_t *bytes = (const uint8_t *)kit_buf_text(&answer.message);
        message = protobuf_c_message_unpack(call->answer, NULL, answer.message.length, bytes);
        if (message == NULL) status = unreadable(call->rpc, err);
        if (message == NULL && out_may_exist != NULL) *out_may_exist = call->repeat >= KIT_HTTP_KEYED;
    }
    if (out != NULL)
        *out = message;
    else
        modal_free(message);
    kit_grpc_answer_free(&answer);
    kit_buf_free(&packed);
    return status;
}
