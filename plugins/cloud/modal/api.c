/* SPDX-License-Identifier: Apache-2.0 */
/* The token, and existing sandboxes: querying, listing, ending. */
#include "api.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"

#include <string.h>

#define PAGES_MOST 100
#define SUCCESS 1

/* ---- The token */

kit_status modal_check(kit_rent_account *a, char *out_note, size_t capacity, kolm_error_t *err) {
    Modal__Empty request = MODAL__EMPTY__INIT;
    ProtobufCMessage *answer = NULL;
    int64_t now = 0; /* by Modal's clock, because this machine's may be wrong */
    const modal_call call = {
        .rpc = "TokenInfoGet", .request = &request.base, .answer = &modal__token_info__descriptor, .out_now = &now};
    KIT_TRY(modal_ask(a, &call, &answer, NULL, err));
    const Modal__TokenInfo *token = (const Modal__TokenInfo *)answer;
    const char *name = token->workspace_name;
    bool plain = kit_text_is_plain(name, strlen(name));
    int64_t left =
        token->expires_at != NULL && token->expires_at->seconds > 0 ? token->expires_at->seconds - now : INT64_MAX;
    kit_format(out_note, capacity, "workspace %.60s", plain ? name : "?");
    modal_free(answer);
    if (left <= 0)
        return kit_fail(err, KOLM_E_UNAUTHENTICATED,
                        "make a token on https://modal.com/settings/tokens and set KOLM_MODAL_TOKEN to both halves of "
                        "it, ak-...:as-...",
                        "this Modal token has expired");
    size_t length = strlen(out_note);
    if (left < 7 * 86400)
        kit_format(out_note + length, capacity - length, "; the token expires in %lld h", (long long)left / 3600);
    return KOLM_OK;
}

/* ---- How a sandbox ended */

/* Only status 1 with exit code 0 is success. But the command of a sandbox only sleeps, so any end is a failure. */
static const char *ending(const Modal__Result *result) {
    static const char *const names[] = {"?",
                                        "its command ended",
                                        "FAILURE",
                                        "TERMINATED",
                                        "TIMEOUT: it reached its time limit",
                                        "INIT_FAILURE",
                                        "INTERNAL_FAILURE",
                                        "IDLE_TIMEOUT",
                                        "MEMORY_MANAGER_EVICTION: Modal reclaimed its memory",
                                        "MEMORY_THRASHING_EVICTION: Modal reclaimed its memory",
                                        "KERNEL_OOM_KILL: it used more memory than it has (memory_gb)"};
    size_t status = result->status > 0 ? (size_t)result->status : 0;
    return status < sizeof names / sizeof *names ? names[status] : "a status that kolm does not know";
}

static void take_ending(const Modal__Result *result, kit_rent_box *out) {
    const char *said = result->exception;
    bool plain = said[0] != '\0' && kit_text_is_plain(said, strlen(said));
    out->life = KIT_RENT_ENDED;
    kit_format(out->why, sizeof out->why, "%s%s%.80s", ending(result), plain ? ": " : "", plain ? said : "");
}

static bool has_ended(const Modal__Result *result) {
    return result != NULL && result->status != 0;
}

/* ---- The environment */

kit_status modal_scope(kit_rent_account *a, kit_vm_scope *out, kolm_error_t *err) {
    Modal__EnvironmentRequest request = MODAL__ENVIRONMENT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    char wanted[256];
    KIT_TRY(modal_setting(a, "environment", "", wanted, sizeof wanted, err));
    request.deployment_name = wanted; /* "": the workspace's default */
    const modal_call call = {
        .rpc = "EnvironmentGetOrCreate", .request = &request.base, .answer = &modal__environment__descriptor};
    kit_status status = modal_ask(a, &call, &answer, NULL, err);
    if (status == KOLM_E_NOT_FOUND)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "correct environment of backends.modal in config.json, or use the token of the other workspace",
                        "the workspace of this token has no environment %.60s at Modal",
                        wanted[0] != '\0' ? wanted : "by default");
    if (status != KOLM_OK) return status;
    const Modal__Environment *found = (const Modal__Environment *)answer;
    const char *name = found->metadata != NULL ? found->metadata->name : "";
    bool good = kit_rent_is_id(found->environment_id) && kit_copy(out->id, sizeof out->id, found->environment_id);
    bool plain = name[0] != '\0' && kit_text_is_plain(name, strlen(name));
    kit_format(out->name, sizeof out->name, "%.63s", plain ? name : "environment");
    modal_free(answer);
    return good ? KOLM_OK
                : kit_fail(err, KOLM_E_DATA_LOSS,
                           "try again; if the error persists, a newer kolm may support Modal's new format",
                           "Modal's answer has no environment");
}

/* ---- Lists */

static kit_status get_app(kit_rent_account *a, char *environment, char *out, size_t capacity, kolm_error_t *err) {
    kit_vm_scope scope;
    Modal__AppRequest request = MODAL__APP_REQUEST__INIT;
    char name[] = MODAL_APP;
    ProtobufCMessage *answer = NULL;
    request.app_name = name;
    request.environment_name = environment;
    const modal_call call = {.rpc = "AppGetOrCreate", .request = &request.base, .answer = &modal__app__descriptor};
    out[0] = '\0';
    kit_status status = modal_ask(a, &call, &answer, NULL, err);
    /* kolm was never used in this environment, or the environment does not exist: Modal's answer is the same. */
    if (status == KOLM_E_NOT_FOUND) return modal_scope(a, &scope, err);
    if (status != KOLM_OK) return status;
    const char *id = ((const Modal__App *)answer)->app_id;
    bool good = kit_rent_is_id(id) && kit_copy(out, capacity, id);
    modal_free(answer);
    return good ? KOLM_OK
                : kit_fail(err, KOLM_E_DATA_LOSS,
                           "try again; if the error persists, a newer kolm may support Modal's new format",
                           "Modal's answer has no app");
}

typedef kit_status (*visit)(void *user, const Modal__SandboxInfo *info, kolm_error_t *err);

static kit_status one_page(kit_rent_account *a, Modal__SandboxList *request, visit each, void *user, bool *out_last,
                           kolm_error_t *err) {
    ProtobufCMessage *answer = NULL;
    const modal_call call = {.rpc = "SandboxList", .request = &request->base, .answer = &modal__sandboxes__descriptor};
    KIT_TRY(modal_ask(a, &call, &answer, NULL, err));
    const Modal__Sandboxes *page = (const Modal__Sandboxes *)answer;
    kit_status status = KOLM_OK;
    double before = request->before_timestamp;
    *out_last = page->n_sandboxes == 0;
    for (size_t i = 0; status == KOLM_OK && i < page->n_sandboxes; i++) {
        status = each(user, page->sandboxes[i], err);
        request->before_timestamp = page->sandboxes[i]->created_at;
    }
    if (status == KOLM_OK && !*out_last && before > 0 && !(request->before_timestamp < before))
        status = kit_fail(err, KOLM_E_DATA_LOSS,
                          "try again; if the error persists, a newer kolm may support Modal's new format",
                          "Modal's list of sandboxes does not continue");
    modal_free(answer);
    return status;
}

/* kolm's sandboxes that have not ended, newest first. */
static kit_status each_sandbox(kit_rent_account *a, visit each, void *user, kolm_error_t *err) {
    Modal__SandboxList request = MODAL__SANDBOX_LIST__INIT;
    Modal__Tag tag = MODAL__TAG__INIT;
    Modal__Tag *tags[] = {&tag};
    char environment[256], app[KIT_RENT_HANDLE_BYTES], name[] = MODAL_TAG, value[] = MODAL_TAG_VALUE;
    bool last = false;
    KIT_TRY(modal_setting(a, "environment", "", environment, sizeof environment, err));
    KIT_TRY(get_app(a, environment, app, sizeof app, err));
    if (app[0] == '\0') return KOLM_OK;
    tag.tag_name = name;
    tag.tag_value = value;
    request.app_id = app;
    request.environment_name = environment;
    request.tags = tags;
    request.n_tags = 1;
    for (int page = 0; page < PAGES_MOST && !last; page++)
        KIT_TRY(one_page(a, &request, each, user, &last, err));
    return last ? KOLM_OK
                : kit_fail(err, KOLM_E_DATA_LOSS,
                           "try again; if the error persists, a newer kolm may support Modal's new format",
                           "Modal's list of sandboxes does not end");
}

typedef struct listing {
    const char *prefix;
    kit_rent_box *out;
    size_t capacity, count;
} listing;

static kit_status add(void *user, const Modal__SandboxInfo *info, kolm_error_t *err) {
    listing *l = user;
    kit_rent_box box = {.micro_usd_per_hour = UINT64_MAX, .life = KIT_RENT_UP};
    (void)err;
    if (strncmp(info->name, l->prefix, strlen(l->prefix)) != 0 || !kit_copy(box.name, sizeof box.name, info->name) ||
        !kit_rent_is_id(info->id) || !kit_copy(box.handle, sizeof box.handle, info->id))
        return KOLM_OK;
    if (info->task_info == NULL || info->task_info->id[0] == '\0') box.life = KIT_RENT_BOOTING;
    if (info->task_info != NULL && has_ended(info->task_info->result)) take_ending(info->task_info->result, &box);
    if (l->count < l->capacity) l->out[l->count] = box;
    l->count++;
    return KOLM_OK;
}

kit_status modal_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                      kolm_error_t *err) {
    listing l = {.prefix = prefix, .out = out, .capacity = capacity};
    *out_count = 0;
    KIT_TRY(each_sandbox(state, add, &l, err));
    *out_count = l.count;
    return KOLM_OK;
}

/* ---- A single sandbox */

typedef struct timer {
    const char *handle;
    bool found;
    uint32_t seconds;
} timer;

static kit_status find_timer(void *user, const Modal__SandboxInfo *info, kolm_error_t *err) {
    timer *t = user;
    (void)err;
    if (strcmp(info->id, t->handle) != 0) return KOLM_OK;
    t->found = true;
    t->seconds = info->timeout_secs;
    return KOLM_OK;
}

/* Checks a sandbox before it is first used: reads back that Modal will end it within the requested time, and its
 * current price, which may be above that of the offer. */
static kit_status read_back(kit_rent_account *a, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    timer t = {.handle = handle};
    if (a->creates == 0 || a->offer[0] == '\0' || strcmp(a->noted, handle) == 0) return KOLM_OK;
    KIT_TRY(each_sandbox(a, find_timer, &t, err));
    if (!t.found) {
        out->life = KIT_RENT_BOOTING; /* lists may lag behind */
        return KOLM_OK;
    }
    if (t.seconds == 0 || t.seconds > modal_lifetime(a)) {
        out->life = KIT_RENT_ENDING;
        kit_format(out->why, sizeof out->why, "Modal would end it after %lu s instead of the requested %lu s",
                   (unsigned long)t.seconds, (unsigned long)modal_lifetime(a));
        return KOLM_OK;
    }
    KIT_TRY(modal_price(a, a->offer, &out->micro_usd_per_hour, err));
    kit_copy(a->noted, sizeof a->noted, handle);
    return KOLM_OK;
}

static kit_status look_for_task(kit_rent_account *a, char *handle, kit_rent_box *out, kolm_error_t *err) {
    Modal__SandboxId request = MODAL__SANDBOX_ID__INIT;
    ProtobufCMessage *answer = NULL;
    request.sandbox_id = handle;
    const modal_call call = {
        .rpc = "SandboxGetTaskId", .request = &request.base, .answer = &modal__sandbox_task__descriptor};
    KIT_TRY(modal_ask(a, &call, &answer, NULL, err));
    const Modal__SandboxTask *task = (const Modal__SandboxTask *)answer;
    out->life = KIT_RENT_BOOTING;
    if (has_ended(task->task_result))
        take_ending(task->task_result, out);
    else if (kit_rent_is_id(task->task_id) && task->task_id[0] != '-' &&
             kit_copy(out->address, sizeof out->address, task->task_id))
        out->life = KIT_RENT_UP;
    modal_free(answer);
    return out->life == KIT_RENT_UP ? read_back(a, handle, out, err) : KOLM_OK;
}

kit_status modal_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    Modal__SandboxId request = MODAL__SANDBOX_ID__INIT;
    ProtobufCMessage *answer = NULL;
    char id[KIT_RENT_HANDLE_BYTES];
    kit_copy(id, sizeof id, handle);
    request.sandbox_id = id;
    const modal_call call = {
        .rpc = "SandboxWait", .request = &request.base, .answer = &modal__sandbox_result__descriptor};
    *out = (kit_rent_box){.micro_usd_per_hour = UINT64_MAX};
    kit_copy(out->handle, sizeof out->handle, handle);
    KIT_TRY(modal_ask(state, &call, &answer, NULL, err));
    const Modal__Result *result = ((const Modal__SandboxResult *)answer)->result;
    bool ended = has_ended(result);
    if (ended) take_ending(result, out);
    modal_free(answer);
    return ended ? KOLM_OK : look_for_task(state, id, out, err);
}

kit_status modal_destroy(void *state, const char *handle, kolm_error_t *err) {
    Modal__SandboxId request = MODAL__SANDBOX_ID__INIT;
    char id[KIT_RENT_HANDLE_BYTES];
    kit_copy(id, sizeof id, handle);
    request.sandbox_id = id;
    const modal_call call = {.rpc = "SandboxTerminate",
                             .request = &request.base,
                             .answer = &modal__empty__descriptor,
                             .repeat = KIT_HTTP_CHANGE};
    return modal_ask(state, &call, NULL, NULL, err);
}
