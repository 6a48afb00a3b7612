/* SPDX-License-Identifier: Apache-2.0 */
/* Creates a sandbox: an app, an image, then the sandbox itself, once. */
#include "api.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/process.h"

#include <string.h>

#define TEXT 256
#define DAY_SECONDS 86400u /* Modal ends every sandbox after a day */
#define BUILD_MS 900000    /* for building a new image */
#define JOIN_SECONDS 55.0f
#define SUCCESS 1
#define BREAKS_MOST 5 /* of the stream that reports the build of an image */
#define IMAGE "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"
#define MADE_IF_MISSING 1
#define OF_WORKSPACE 1
#define OPEN 1

uint32_t modal_lifetime(const kit_rent_account *a) {
    return a->watch_seconds > 0 && a->watch_seconds < DAY_SECONDS ? (uint32_t)a->watch_seconds : DAY_SECONDS;
}

typedef struct plan {
    kit_rent_account *a;
    char environment[TEXT], tag[TEXT], app[TEXT], builder[TEXT], image[TEXT];
    modal_size size;
} plan;

static kit_status take(const char *id, const char *what, char out[TEXT], kolm_error_t *err) {
    if (kit_rent_is_id(id) && kit_copy(out, TEXT, id)) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS,
                    "try again; if the error persists, a newer kolm may support Modal's new format",
                    "Modal's answer has no %s", what);
}

static kit_status get_app(plan *p, kolm_error_t *err) {
    Modal__AppRequest request = MODAL__APP_REQUEST__INIT;
    char name[] = MODAL_APP;
    ProtobufCMessage *answer = NULL;
    request.app_name = name;
    request.environment_name = p->environment;
    request.object_creation_type = MADE_IF_MISSING;
    const modal_call call = {.rpc = "AppGetOrCreate",
                             .request = &request.base,
                             .answer = &modal__app__descriptor,
                             .repeat = KIT_HTTP_CHANGE};
    KIT_TRY(modal_ask(p->a, &call, &answer, NULL, err));
    kit_status status = take(((const Modal__App *)answer)->app_id, "app", p->app, err);
    modal_free(answer);
    return status;
}

static kit_status get_builder(plan *p, kolm_error_t *err) {
    Modal__EnvironmentRequest request = MODAL__ENVIRONMENT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    request.deployment_name = p->environment;
    const modal_call call = {
        .rpc = "EnvironmentGetOrCreate", .request = &request.base, .answer = &modal__environment__descriptor};
    KIT_TRY(modal_ask(p->a, &call, &answer, NULL, err));
    const Modal__EnvironmentMetadata *about = ((const Modal__Environment *)answer)->metadata;
    const char *builder = about != NULL && about->settings != NULL ? about->settings->image_builder_version : "";
    if (!kit_copy(p->builder, sizeof p->builder, builder)) p->builder[0] = '\0';
    modal_free(answer);
    return KOLM_OK;
}

/* ---- The image */

typedef struct build {
    bool ended;
    int32_t status;
    char why[200], entry[128];
} build;

static void take_result(build *b, const Modal__Result *result) {
    if (result == NULL || result->status == 0) return;
    b->ended = true;
    b->status = result->status;
    kit_copy(b->why, sizeof b->why, result->exception);
}

static kit_status on_news(void *user, const ProtobufCMessage *message, kolm_error_t *err) {
    const Modal__ImageNews *news = (const Modal__ImageNews *)message;
    build *b = user;
    (void)err;
    take_result(b, news->result);
    if (news->entry_id[0] != '\0') kit_copy(b->entry, sizeof b->entry, news->entry_id);
    return KOLM_OK;
}

static bool may_pass(kit_status status) {
    return status == KOLM_E_UNAVAILABLE || status == KOLM_E_DEADLINE_EXCEEDED || status == KOLM_E_DATA_LOSS;
}

/* Modal keeps images: each is built once per workspace. */
static kit_status wait_for_image(plan *p, build *b, kolm_error_t *err) {
    Modal__ImageJoin request = MODAL__IMAGE_JOIN__INIT;
    int64_t until = kit_now_ms() + BUILD_MS;
    request.image_id = p->image;
    request.timeout = JOIN_SECONDS;
    request.include_logs_for_finished = true;
    const modal_call call = {.rpc = "ImageJoinStreaming",
                             .request = &request.base,
                             .answer = &modal__image_news__descriptor,
                             .on_message = on_news,
                             .user = b,
                             .deadline_ms = (uint64_t)JOIN_SECONDS * 1000 + 15000};
    for (uint32_t breaks = 0; !b->ended;) {
        request.last_entry_id = b->entry;
        kit_status status = modal_ask(p->a, &call, NULL, NULL, err);
        if (status != KOLM_OK && !b->ended && (!may_pass(status) || ++breaks > BREAKS_MOST)) return status;
        if (!b->ended && kit_now_ms() > until)
            return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED,
                            "run the same command again: Modal continues to build the image",
                            "the image %.100s is not built yet", p->tag);
    }
    return KOLM_OK;
}

static kit_status get_image(plan *p, kolm_error_t *err) {
    Modal__ImageRequest request = MODAL__IMAGE_REQUEST__INIT;
    Modal__Image image = MODAL__IMAGE__INIT;
    ProtobufCMessage *answer = NULL;
    char from[TEXT + 8];
    char *commands[] = {from};
    build b = {0};
    kit_format(from, sizeof from, "FROM %s", p->tag);
    image.dockerfile_commands = commands;
    image.n_dockerfile_commands = 1;
    request.image = &image;
    request.app_id = p->app;
    request.namespace_ = OF_WORKSPACE;
    request.builder_version = p->builder;
    const modal_call call = {.rpc = "ImageGetOrCreate",
                             .request = &request.base,
                             .answer = &modal__image_made__descriptor,
                             .repeat = KIT_HTTP_CHANGE,
                             .deadline_ms = 90000};
    KIT_TRY(modal_ask(p->a, &call, &answer, NULL, err));
    const Modal__ImageMade *made = (const Modal__ImageMade *)answer;
    kit_status status = take(made->image_id, "image", p->image, err);
    take_result(&b, made->result);
    modal_free(answer);
    if (status == KOLM_OK) status = wait_for_image(p, &b, err);
    if (status != KOLM_OK || b.status == SUCCESS) return status;
    (void)kit_fail(err, KOLM_E_FAILED_PRECONDITION, "correct image of backends.modal in config.json",
                   "Modal could not make the image %.100s", p->tag);
    kit_rent_quote(b.why, err);
    return KOLM_E_FAILED_PRECONDITION;
}

static kit_status read_settings(plan *p, kolm_error_t *err) {
    KIT_TRY(modal_setting(p->a, "environment", "", p->environment, sizeof p->environment, err));
    KIT_TRY(modal_setting(p->a, "image", IMAGE, p->tag, sizeof p->tag, err));
    if (p->tag[0] == '\0' || strpbrk(p->tag, " \t\\\"'$") != NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it in config.json",
                        "image of backends.modal in config.json cannot be used");
    return modal_read_size(p->a, &p->size, err);
}

/* Creates what all offers need. Building the image may take a quarter of an hour, which is not billed. */
kit_status modal_prepare(void *state, kolm_error_t *err) {
    plan p = {.a = state};
    KIT_TRY(read_settings(&p, err));
    KIT_TRY(get_app(&p, err));
    KIT_TRY(get_builder(&p, err));
    KIT_TRY(get_image(&p, err));
    if (kit_copy(p.a->app, sizeof p.a->app, p.app) && kit_copy(p.a->image, sizeof p.a->image, p.image)) return KOLM_OK;
    return kit_rent_strange(p.a, "id that is short enough", err);
}

/* ---- The sandbox */

kit_status modal_create(void *state, const kit_rent_offer *offer, const char *name,
                        char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    plan p = {.a = state};
    *out_may_exist = false;
    KIT_TRY(read_settings(&p, err));
    char seconds[16], its_name[KIT_RENT_NAME_BYTES], type[KIT_RENT_HANDLE_BYTES];
    char sleep[] = "sleep", tag_name[] = MODAL_TAG, tag_value[] = MODAL_TAG_VALUE;
    char *words[] = {sleep, seconds};
    Modal__Tag tag = MODAL__TAG__INIT;
    Modal__Tag *tags[] = {&tag};
    Modal__Gpu gpu = MODAL__GPU__INIT;
    Modal__Resources resources = MODAL__RESOURCES__INIT;
    Modal__NetworkAccess network = MODAL__NETWORK_ACCESS__INIT;
    Modal__Sandbox sandbox = MODAL__SANDBOX__INIT;
    Modal__SandboxCreate request = MODAL__SANDBOX_CREATE__INIT;
    ProtobufCMessage *answer = NULL;
    kit_copy(its_name, sizeof its_name, name);
    kit_copy(type, sizeof type, offer->id);
    kit_copy(p.a->offer, sizeof p.a->offer, offer->id);
    tag.tag_name = tag_name;
    tag.tag_value = tag_value;
    gpu.count = 1;
    gpu.gpu_type = type;
    /* the limit equals the request, so that no more can be billed */
    resources.memory_mb = resources.memory_mb_max = p.size.memory_mb;
    resources.milli_cpu = resources.milli_cpu_max = p.size.milli_cpu;
    if (strcmp(type, MODAL_NO_GPU) != 0) resources.gpu_config = &gpu;
    network.network_access_type = OPEN;
    sandbox.timeout_secs = modal_lifetime(p.a);
    kit_format(seconds, sizeof seconds, "%u", (unsigned)sandbox.timeout_secs);
    sandbox.entrypoint_args = words;
    sandbox.n_entrypoint_args = 2;
    sandbox.image_id = p.a->image;
    sandbox.resources = &resources;
    sandbox.network_access = &network;
    sandbox.name = its_name;
    request.app_id = p.a->app;
    request.definition = &sandbox;
    request.environment_name = p.environment;
    request.tags = tags;
    request.n_tags = 1;
    const modal_call call = {.rpc = "SandboxCreate",
                             .request = &request.base,
                             .answer = &modal__sandbox_id__descriptor,
                             .repeat = KIT_HTTP_KEYED,
                             .key = name};
    KIT_TRY(modal_ask(p.a, &call, &answer, out_may_exist, err));
    const char *id = ((const Modal__SandboxId *)answer)->sandbox_id;
    bool good = kit_rent_is_id(id) && kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, id);
    modal_free(answer);
    *out_may_exist = true;
    return good ? KOLM_OK
                : kit_fail(err, KOLM_E_DATA_LOSS,
                           "try again; if the error persists, a newer kolm may support Modal's new format",
                           "Modal's answer has no sandbox");
}
