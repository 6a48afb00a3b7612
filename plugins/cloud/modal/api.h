/* SPDX-License-Identifier: Apache-2.0 */
/* The calls to Modal and the meaning of its answers, without any policy for time, money or order. */
#ifndef MODAL_API_H
#define MODAL_API_H

#include "kolm/http/grpc.h"
#include "kolm/rent/vm.h"
#include "modal.pb-c.h"

/*
 * gRPC, with the protocol of the client modal 1.6.4 (modal.proto); Modal has no other interface, and guarantees nothing
 * for other clients.
 *   modal.client.ModalClient
 *     TokenInfoGet                  the workspace of the token, and when it expires
 *     WorkspaceBillingRates         prices, with undocumented keys: matched by the words of a GPU's name
 *     AppGetOrCreate, EnvironmentGetOrCreate, ImageGetOrCreate, ImageJoinStreaming     needed to create a sandbox
 *     SandboxCreate                 recognises a repetition by x-idempotency-key; ALREADY_EXISTS if one of that name
 *                                   is running
 *     SandboxGetTaskId              a task once the sandbox runs; none while there is no capacity
 *     SandboxWait                   a result once it has ended: only 1 with exit code 0 is success
 *     SandboxTerminate, SandboxList
 *     TaskGetCommandRouterAccess    the address of a command router, and a token that is valid only there
 *   modal.task_command_router.TaskCommandRouter
 *     TaskExecStart, TaskExecStdinWrite, TaskExecStdioRead     a program in a task, its input and output by offset
 * Metadata: a client's type and version (9 and 1.0.0, like its Go client), x-modal-token-id and x-modal-token-secret.
 */

extern const kit_vm modal_vm; /* the table: modal.c */

/* ---- call.c */
typedef struct modal_call {
    const char *rpc; /* "SandboxCreate" */
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *answer;
    kit_http_repeat repeat;
    const char *key; /* the idempotency key, if repeat is KIT_HTTP_KEYED */
    /* called for each message of a stream; any result but OK ends it. NULL: a single answer, returned in *out */
    kit_status (*on_message)(void *user, const ProtobufCMessage *message, kolm_error_t *err);
    void *user;
    int64_t *out_now;     /* seconds since 1970, by Modal's clock if its answer has a date; NULL: not needed */
    uint64_t deadline_ms; /* 0: 20 s, or 90 s for a call that creates */
    uint64_t idle_ms;     /* as in kit_http_request; 0: 60 s, or the deadline of a stream */
    /* The address of a command router, which never gets the account's token; NULL: the account's own API */
    const char *router;
    const kit_secret *router_token;
} modal_call;
/* Free *out with modal_free; it is NULL after a failure. out and out_may_exist may be NULL. Errors include Modal's
 * message. */
kit_status modal_ask(kit_rent_account *a, const modal_call *call, ProtobufCMessage **out, bool *out_may_exist,
                     kolm_error_t *err) KIT_MUST_USE;
void modal_free(void *message); /* no-op if NULL */

/* ---- offers.c */
kit_status modal_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count,
                        kolm_error_t *err) KIT_MUST_USE;
/* The current price per hour of a sandbox of this offer. */
kit_status modal_price(kit_rent_account *a, const char *offer, uint64_t *out_micro_usd, kolm_error_t *err) KIT_MUST_USE;
/* Processor and memory of a sandbox, from the settings. */
typedef struct modal_size {
    uint32_t milli_cpu, memory_mb;
} modal_size;
kit_status modal_read_size(const kit_rent_account *a, modal_size *out, kolm_error_t *err) KIT_MUST_USE;
kit_status modal_setting(const kit_rent_account *a, const char *key, const char *fallback, char *out, size_t capacity,
                         kolm_error_t *err) KIT_MUST_USE;
#define MODAL_NO_GPU "none"

/* ---- create.c */
kit_status modal_prepare(void *state, kolm_error_t *err) KIT_MUST_USE;
kit_status modal_create(void *state, const kit_rent_offer *offer, const char *name,
                        char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) KIT_MUST_USE;
/* Lifetime of a sandbox of this account, in seconds. */
uint32_t modal_lifetime(const kit_rent_account *a);
#define MODAL_APP "kolm"
#define MODAL_TAG "kolm"
#define MODAL_TAG_VALUE "job"

/* ---- api.c */
kit_status modal_check(kit_rent_account *a, char *out_note, size_t capacity, kolm_error_t *err) KIT_MUST_USE;
/* The environment, within the workspace of the token. */
kit_status modal_scope(kit_rent_account *a, kit_vm_scope *out, kolm_error_t *err) KIT_MUST_USE;
kit_status modal_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) KIT_MUST_USE;
kit_status modal_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                      kolm_error_t *err) KIT_MUST_USE;
kit_status modal_destroy(void *state, const char *handle, kolm_error_t *err) KIT_MUST_USE;

/* ---- wire.c */
kit_status modal_wire_new(const kolm_host_v1_t *host, kit_rent_wire **out, kolm_error_t *err) KIT_MUST_USE;

#endif
