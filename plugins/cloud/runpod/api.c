/* SPDX-License-Identifier: Apache-2.0 */
/* Builds requests to RunPod's API, and parses its answers. */
#include "api.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"

#include <string.h>

#define KEYS_PAGE "https://console.runpod.io/user/settings"
#define GIGABYTE 1000000000u
#define DISK_GB 50u                      /* of the container: the image, a base model, the trainer */
#define DISK_MICRO_USD_PER_MONTH 100000u /* per gigabyte of a running container; docs.runpod.io/pods/pricing */
#define MONTH_HOURS 720u
#define PAGES_MOST 200
/* RunPod's own image, from its documentation: Ubuntu with sshd, Python, PyTorch for CUDA 12.8. */
#define IMAGE "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
#define CUDA "12.8"

/* ---- Failures */

/* RunPod has no code for lack of capacity, and the same status for an invalid request, so it is recognised by its
 * message. That selects only the error text: the next offer is tried in either case. */
#define CAPACITY "no capacity"

const kit_rent_refusal runpod_refusals[] = {
    {CAPACITY, 400, KOLM_E_RESOURCE_EXHAUSTED, "RunPod has no such GPU left there",
     "try again later, or allow other GPUs, data centres, or cloud COMMUNITY"},
    {NULL, 400, KOLM_E_INVALID_ARGUMENT, "RunPod refused the request",
     "if it refuses every GPU in the same way, its message says what is wrong: correct backends.runpod in config.json"},
    {NULL, 401, KOLM_E_UNAUTHENTICATED,
     "RunPod does not recognize this key: it was deleted there, has expired, or KOLM_RUNPOD_TOKEN has only a part of "
     "it",
     "make a key on " KEYS_PAGE " and set KOLM_RUNPOD_TOKEN to all of it"},
    {NULL, 402, KOLM_E_FAILED_PRECONDITION, "the balance of this RunPod account is too low for that",
     "add credit on https://console.runpod.io/user/billing"},
    {NULL, 403, KOLM_E_PERMISSION_DENIED, "this RunPod key is not authorized for that",
     "make a key that may read and write on " KEYS_PAGE},
    {NULL, 404, KOLM_E_NOT_FOUND, "RunPod has no such pod", ""},
    {NULL, 409, KOLM_E_ABORTED, "RunPod cannot do that with the pod in its current state",
     "check https://console.runpod.io/pods"},
    {NULL, 422, KOLM_E_INVALID_ARGUMENT, "RunPod does not accept a request of this form",
     "correct backends.runpod in config.json; if it has nothing unusual, a newer kolm may support RunPod's new format"},
    {0},
};

/* True if body is an error of RunPod's own (RFC 9457), not of a proxy. */
static bool is_problem(int http_status, const cJSON *body) {
    const char *text = NULL;
    double status = 0;
    return kit_json_get_string(body, "title", &text) && kit_json_get_string(body, "detail", &text) &&
           kit_json_get_number(body, "status", &status) && status == http_status;
}

static bool is_capacity(const char *detail) {
    return strstr(detail, "instances available") != NULL || strstr(detail, "capacity") != NULL;
}

bool runpod_read_refusal(int http_status, const cJSON *body, kit_rent_said *out) {
    const cJSON *first = cJSON_GetArrayItem(kit_json_get(body, "errors"), 0);
    if (!is_problem(http_status, body)) return false;
    kit_rent_text(body, "detail", out->words, sizeof out->words);
    if (http_status == 400 && is_capacity(out->words)) kit_copy(out->code, sizeof out->code, CAPACITY);
    if (cJSON_IsString(first)) kit_copy(out->words, sizeof out->words, first->valuestring);
    return true;
}

/* ---- The account */

/* GraphQL is on the same host as REST, without "/v2". */
static kit_status ask_graphql(kit_rent_account *a, const char *query, kit_rent_answer *answer, kolm_error_t *err) {
    static const char rest[] = "/v2";
    char base[sizeof a->base];
    cJSON *body = cJSON_CreateObject();
    size_t length = strlen(a->base);
    kit_copy(base, sizeof base, a->base);
    if (length > strlen(rest) && strcmp(base + length - strlen(rest), rest) == 0) a->base[length - strlen(rest)] = '\0';
    (void)kit_json_put_string(body, "query", query);
    kit_status status = kit_rent_send(a, "POST", "/graphql", body, KIT_HTTP_READ, answer, err);
    kit_copy(a->base, sizeof a->base, base);
    return status;
}

/* Logs the setting, because the refusal that follows is from the SDK, which does not know of automatic payment. */
static void name_the_setting(const kolm_host_v1_t *host, uint64_t has) {
    char text[32];
    uint64_t quote = 0;
    if (!kit_setting(host, "job.quote_micro_usd", "", text, sizeof text) || !kit_parse_u64(text, &quote)) return;
    if (has < quote)
        host->log(host->user, KOLM_LOG_WARNING,
                  "the balance does not cover this job; if RunPod charges your card automatically, set "
                  "backends.runpod.automatic_payment in config.json to true");
}

kit_status runpod_balance(kit_rent_account *a, uint64_t *out_micro_usd, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char automatic[8];
    double usd = 0;
    *out_micro_usd = UINT64_MAX;
    if (kit_setting(a->host, "automatic_payment", "", automatic, sizeof automatic) && strcmp(automatic, "true") == 0)
        return KOLM_OK;
    kit_status status = ask_graphql(a, "query { myself { clientBalance } }", &answer, err);
    const cJSON *self = kit_json_get(kit_json_get(answer.json, "data"), "myself");
    const cJSON *errors = kit_json_get(answer.json, "errors"); /* may accompany data, which is then unreliable */
    bool failed = errors != NULL && !cJSON_IsNull(errors);
    if (status == KOLM_OK && (failed || !kit_json_get_number(self, "clientBalance", &usd)))
        status = kit_rent_strange(a, "balance", err);
    *out_micro_usd = usd > 0 ? kit_rent_micro_usd(usd) : 0;
    if (status == KOLM_OK) name_the_setting(a->host, *out_micro_usd);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- The requested machine */

typedef struct wanted {
    char gpu[KIT_RENT_HANDLE_BYTES]; /* from the settings; "": any */
    char cloud[16];                  /* SECURE or COMMUNITY */
    char centres[400];               /* comma-separated ids; "": any */
    char image[300], cuda[16];
    uint64_t disk_gb;
    kit_rent_wish wish;
} wanted;

static kit_status wrong(const char *key, const char *remedy, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "%s of backends.runpod in config.json cannot be used", key);
}

/* Copies the next item of a comma-separated list; false at its end. */
static bool next_text(const char **at, char *out, size_t capacity) {
    size_t length = strcspn(*at, ",");
    if (**at == '\0') return false;
    kit_format(out, capacity, "%.*s", (int)length, *at);
    *at += length + ((*at)[length] == ',');
    return true;
}

static kit_status read_wanted(const kit_rent_account *a, wanted *out, kolm_error_t *err) {
    const kolm_host_v1_t *host = a->host;
    char centre[KIT_RENT_HANDLE_BYTES];
    out->wish = a->wish;
    out->disk_gb = a->wish.disk_bytes > 0 ? (a->wish.disk_bytes + GIGABYTE - 1) / GIGABYTE : DISK_GB;
    if (!kit_setting(host, "gpu", "", out->gpu, sizeof out->gpu)) return wrong("gpu", "write an id of a GPU", err);
    if (!kit_setting(host, "image", IMAGE, out->image, sizeof out->image) || out->image[0] == '\0')
        return wrong("image", "write the name of an image with sshd", err);
    if (!kit_setting(host, "cuda", CUDA, out->cuda, sizeof out->cuda) ||
        out->cuda[strspn(out->cuda, "0123456789.")] != '\0')
        return wrong("cuda", "write a version such as " CUDA, err);
    if (!kit_setting(host, "cloud", "SECURE", out->cloud, sizeof out->cloud) ||
        (strcmp(out->cloud, "SECURE") != 0 && strcmp(out->cloud, "COMMUNITY") != 0))
        return wrong("cloud", "write SECURE or COMMUNITY", err);
    bool fits = kit_setting(host, "data_centers", "", out->centres, sizeof out->centres);
    for (const char *at = out->centres; fits && next_text(&at, centre, sizeof centre);)
        fits = kit_rent_is_id(centre);
    return fits ? KOLM_OK : wrong("data_centers", "write ids joined by commas, such as EU-RO-1,US-KS-2", err);
}

/* ---- Offers */

static bool is_wanted_centre(const wanted *w, const char *id) {
    char centre[KIT_RENT_HANDLE_BYTES];
    for (const char *at = w->centres; next_text(&at, centre, sizeof centre);)
        if (strcmp(centre, id) == 0) return true;
    return false;
}

static bool has_room(const cJSON *place) {
    char level[16];
    kit_rent_text(place, "availability", level, sizeof level);
    return level[0] != '\0' && strcmp(level, "NONE") != 0;
}

static bool is_to_be_had(const wanted *w, const cJSON *gpu) {
    const cJSON *centre;
    char id[KIT_RENT_HANDLE_BYTES];
    if (w->centres[0] == '\0') return has_room(gpu);
    cJSON_ArrayForEach(centre, kit_json_get(gpu, "dataCenters")) {
        kit_rent_text(centre, "id", id, sizeof id);
        if (has_room(centre) && is_wanted_centre(w, id)) return true;
    }
    return false;
}

/* GPUs of other makers are used only if the settings name them, because the image is for NVIDIA's. */
static bool fits(const wanted *w, const cJSON *gpu, const char *id, uint64_t memory_gb) {
    char maker[32];
    kit_rent_text(gpu, "manufacturer", maker, sizeof maker);
    if (id[0] == '\0' || (w->gpu[0] != '\0' ? strcmp(w->gpu, id) != 0 : strcmp(maker, "NVIDIA") != 0)) return false;
    return w->wish.vram_bytes <= memory_gb * GIGABYTE && is_to_be_had(w, gpu);
}

static uint64_t disk_price(uint64_t gigabytes) {
    return (gigabytes * DISK_MICRO_USD_PER_MONTH + MONTH_HOURS - 1) / MONTH_HOURS;
}

static void add_gpu(const wanted *w, const cJSON *gpu, kit_rent_offer *out, size_t capacity, size_t *count) {
    kit_rent_offer offer = {0};
    char name[48];
    double usd = 0;
    uint64_t memory = 0;
    kit_rent_text(gpu, "id", offer.id, sizeof offer.id);
    kit_rent_text(gpu, "name", name, sizeof name);
    (void)kit_json_get_u64(gpu, "memory", &memory);
    if (memory > 100000 || !fits(w, gpu, offer.id, memory)) return;
    const char *tier = strcmp(w->cloud, "SECURE") == 0 ? "secure" : "community";
    if (!kit_json_get_number(kit_json_get(gpu, "price"), tier, &usd) || usd <= 0 || usd >= 100000) return;
    offer.micro_usd_per_hour = kit_rent_micro_usd(usd) + disk_price(w->disk_gb);
    kit_format(offer.what, sizeof offer.what, "1x %s (%u GB), %s", name, (unsigned)memory, w->cloud);
    kit_rent_offer_keep(&offer, out, capacity, count);
}

kit_status runpod_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    wanted w;
    const cJSON *gpu;
    *out_count = 0;
    KIT_TRY(read_wanted(state, &w, err));
    kit_format(path, sizeof path, "/catalog/gpus?include=AVAILABILITY&product=POD&cloud=%s&minCudaVersion=%s", w.cloud,
               w.cuda);
    kit_status status = kit_rent_ask(state, &(kit_rent_question){.path = path}, &answer, err);
    const cJSON *gpus = kit_json_get(answer.json, "gpus");
    if (status == KOLM_OK && !cJSON_IsArray(gpus)) status = kit_rent_strange(state, "list of GPUs", err);
    if (status == KOLM_OK) cJSON_ArrayForEach(gpu, gpus) add_gpu(&w, gpu, out, capacity, out_count);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- Pods */

static bool put_address(const cJSON *place, const char *host_key, const char *port_key, kit_rent_box *out) {
    char host[200];
    uint64_t port = 0;
    kit_rent_text(place, host_key, host, sizeof host);
    return kit_json_get_u64(place, port_key, &port) && kit_rent_put_address(out, host, port);
}

/* The public address of port 22, once the container runs. */
static bool read_address(const cJSON *pod, kit_rent_box *out) {
    const cJSON *port;
    uint64_t number;
    if (put_address(kit_json_get(kit_json_get(pod, "ssh"), "direct"), "host", "port", out)) return true;
    cJSON_ArrayForEach(port, kit_json_get(kit_json_get(pod, "runtime"),
                                          "ports")) if (kit_json_get_u64(port, "private", &number) && number == 22 &&
                                                        put_address(port, "ip", "public", out)) return true;
    return false;
}

static kit_rent_life life_of(const char *status, bool has_address) {
    if (strcmp(status, "TERMINATED") == 0) return KIT_RENT_ENDED;
    if (strcmp(status, "EXITED") == 0 || strcmp(status, "ERROR") == 0) return KIT_RENT_ENDING; /* its disk is billed */
    return strcmp(status, "RUNNING") == 0 && has_address ? KIT_RENT_UP : KIT_RENT_BOOTING;
}

static bool read_pod(const cJSON *pod, kit_rent_box *out) {
    char status[32];
    double usd = 0;
    *out = (kit_rent_box){.micro_usd_per_hour = UINT64_MAX};
    kit_rent_text(pod, "id", out->handle, sizeof out->handle);
    kit_rent_text(pod, "name", out->name, sizeof out->name);
    kit_rent_text(pod, "status", status, sizeof status);
    out->life = life_of(status, read_address(pod, out));
    if (kit_json_get_number(pod, "cost", &usd) && usd > 0) out->micro_usd_per_hour = kit_rent_micro_usd(usd);
    return kit_rent_is_id(out->handle) && status[0] != '\0';
}

/* Adds a comma-separated list as an array of strings. */
static bool put_list(cJSON *body, const char *key, const char *joined) {
    char text[KIT_RENT_HANDLE_BYTES];
    cJSON *list = cJSON_CreateArray();
    while (next_text(&joined, text, sizeof text)) {
        cJSON *item = cJSON_CreateString(text);
        if (item != NULL && !cJSON_AddItemToArray(list, item)) cJSON_Delete(item);
    }
    return kit_json_put(body, key, list);
}

static bool put_gpu(const wanted *w, const char *id, cJSON *body) {
    cJSON *gpu = cJSON_CreateObject();
    bool good = kit_json_put_string(gpu, "id", id) && kit_json_put_number(gpu, "count", 1) &&
                kit_json_put_string(gpu, "minCudaVersion", w->cuda);
    return kit_json_put(body, "gpu", gpu) && good;
}

static cJSON *create_body(const kit_rent_account *a, const wanted *w, const char *gpu, const char *name) {
    cJSON *body = cJSON_CreateObject(), *env = cJSON_CreateObject();
    bool good = kit_json_put_string(env, "PUBLIC_KEY", a->public_key);
    good = kit_json_put(body, "env", env) && good;
    good = good && kit_json_put_string(body, "name", name) && kit_json_put_string(body, "image", w->image) &&
           kit_json_put_string(body, "cloud", w->cloud) && kit_json_put_number(body, "disk", (double)w->disk_gb) &&
           put_gpu(w, gpu, body) && put_list(body, "ports", "22/tcp") &&
           (w->centres[0] == '\0' || put_list(body, "dataCenterIds", w->centres));
    if (good) return body;
    cJSON_Delete(body);
    return NULL;
}

kit_status runpod_create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    kit_rent_box box;
    wanted w;
    out_handle[0] = '\0';
    *out_may_exist = false;
    KIT_TRY(read_wanted(state, &w, err));
    cJSON *body = create_body(state, &w, offer->id, name);
    kit_status status = kit_rent_send(state, "POST", "/pods", body, KIT_HTTP_CREATE, &answer, err);
    *out_may_exist = status == KOLM_OK || answer.may_exist;
    if (status == KOLM_OK && read_pod(answer.json, &box)) kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, box.handle);
    /* 400 may be about this GPU or about the request, 403 about a pool of GPUs that this account may not use: the next
     * offer is tried */
    if (status != KOLM_OK && !answer.may_exist && (answer.status == 400 || answer.status == 403))
        status = err->code = status == KOLM_E_RESOURCE_EXHAUSTED ? status : KOLM_E_ABORTED;
    kit_rent_answer_free(&answer);
    return status;
}

kit_status runpod_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    kit_format(path, sizeof path, "/pods/%s", handle);
    kit_status status = kit_rent_ask(state, &(kit_rent_question){.path = path}, &answer, err);
    if (status == KOLM_OK && (!read_pod(answer.json, out) || strcmp(out->handle, handle) != 0))
        status = kit_rent_strange(state, "such pod", err);
    kit_rent_answer_free(&answer);
    return status;
}

/* Deletes the pod, because one that is only stopped is still billed. */
kit_status runpod_destroy(void *state, const char *handle, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    kit_format(path, sizeof path, "/pods/%s", handle);
    const kit_rent_question question = {.method = "DELETE", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_rent_ask(state, &question, &answer, err);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- Lists */

/* Replaces path with that of the next page, from a cursor that may contain any bytes; "" after the last page. */
static kit_status next_page(const kit_rent_account *a, const cJSON *answer, char path[KIT_RENT_PATH],
                            kolm_error_t *err) {
    char before[KIT_RENT_PATH];
    const char *cursor = "";
    kit_copy(before, sizeof before, path);
    path[0] = '\0';
    if (!kit_json_get_string(answer, "nextCursor", &cursor) || cursor[0] == '\0') return KOLM_OK;
    kit_copy(path, KIT_RENT_PATH, "/pods?cursor=");
    if (!kit_rent_add_escaped(path, cursor)) return kit_rent_strange(a, "usable cursor", err);
    return strcmp(before, path) != 0 ? KOLM_OK : kit_rent_strange(a, "next page", err);
}

static kit_status add_page(kit_rent_account *a, char path[KIT_RENT_PATH], const char *prefix, kit_rent_box *out,
                           size_t capacity, size_t *count, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    const cJSON *pod;
    kit_status status = kit_rent_ask(a, &(kit_rent_question){.path = path}, &answer, err);
    const cJSON *pods = kit_json_get(answer.json, "pods");
    if (status == KOLM_OK && !cJSON_IsArray(pods)) status = kit_rent_strange(a, "list of pods", err);
    if (status == KOLM_OK) cJSON_ArrayForEach(pod, pods) {
            kit_rent_box box;
            if (read_pod(pod, &box)) kit_rent_box_keep(&box, prefix, out, capacity, count);
        }
    if (status == KOLM_OK) status = next_page(a, answer.json, path, err);
    kit_rent_answer_free(&answer);
    return status;
}

kit_status runpod_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) {
    char path[KIT_RENT_PATH] = "/pods";
    *out_count = 0;
    for (int page = 0; page < PAGES_MOST && path[0] != '\0'; page++)
        KIT_TRY(add_page(state, path, prefix, out, capacity, out_count, err));
    return path[0] == '\0' ? KOLM_OK : kit_rent_strange(state, "end of its list", err);
}
