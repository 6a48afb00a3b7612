/* SPDX-License-Identifier: Apache-2.0 */
/* Builds requests to Vast.ai's API, and parses its answers. */
#include "api.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_PAGE "https://cloud.vast.ai/manage-keys/"
#define GIGABYTE 1000000000u
#define MEBIBYTE 1048576u
#define DISK_GB 50u      /* the image, a base model, the trainer */
#define TRAFFIC_GB "10"  /* to the machine: a base model and the trainer's packages */
#define TRAFFIC_BACK 0.1 /* traffic from the machine, as a share of that */
#define SEARCH_MOST 64
#define PAGES_MOST 200
/* PyTorch's image for CUDA 12.8; Vast.ai adds its sshd to any image. */
#define IMAGE "pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime"
#define CUDA "12.8"
/* Otherwise a login starts tmux. */
#define ON_START "touch ~/.no_auto_tmux"

/* ---- Failures */

const kit_rent_refusal vast_refusals[] = {
    {"auth_error", 0, KOLM_E_UNAUTHENTICATED,
     "Vast.ai does not recognize this key: it was deleted there, or KOLM_VAST_TOKEN has only a part of it",
     "make a key on " KEYS_PAGE " and set KOLM_VAST_TOKEN to all of it"},
    {"no_such_ask", 0, KOLM_E_RESOURCE_EXHAUSTED, "Vast.ai no longer has this offer",
     "try again later, or allow others"},
    {"no_such_instance", 0, KOLM_E_NOT_FOUND, "Vast.ai has no such instance", ""},
    {"insufficient_credit", 0, KOLM_E_FAILED_PRECONDITION, "the credit of this Vast.ai account is too low for that",
     "add credit on https://cloud.vast.ai/billing/"},
    {"search_quota_exceeded", 0, KOLM_E_RESOURCE_EXHAUSTED, "this account has searched Vast.ai too often today",
     "wait until midnight UTC"},
    {NULL, 401, KOLM_E_UNAUTHENTICATED,
     "Vast.ai does not recognize this key: it was deleted there, or KOLM_VAST_TOKEN has only a part of it",
     "make a key on " KEYS_PAGE " and set KOLM_VAST_TOKEN to all of it"},
    {NULL, 402, KOLM_E_FAILED_PRECONDITION, "the credit of this Vast.ai account is too low for that",
     "add credit on https://cloud.vast.ai/billing/"},
    {NULL, 403, KOLM_E_PERMISSION_DENIED, "this Vast.ai key is not authorized for that",
     "make a key that may read and write instances on " KEYS_PAGE},
    {NULL, 400, KOLM_E_INVALID_ARGUMENT, "Vast.ai refused the request",
     "correct backends.vast in config.json; if it has nothing unusual, a newer kolm may support Vast.ai's new format"},
    {NULL, 409, KOLM_E_ABORTED, "Vast.ai cannot do that with the instance in its current state",
     "check https://cloud.vast.ai/instances/"},
    {NULL, 422, KOLM_E_INVALID_ARGUMENT, "Vast.ai does not accept a request of this form",
     "correct backends.vast in config.json; if it has nothing unusual, a newer kolm may support Vast.ai's new format"},
    {NULL, 200, KOLM_E_ABORTED, "Vast.ai reports that it did not do it", "try again later"},
    {0},
};

/* True for a refusal of Vast.ai's own; a proxy's answer has no `success`. */
static bool is_refusal(const cJSON *body) {
    bool success = true;
    return kit_json_get_bool(body, "success", &success) && !success;
}

bool vast_read_refusal(int http_status, const cJSON *body, kit_rent_said *out) {
    (void)http_status;
    kit_rent_text(body, "error", out->code, sizeof out->code);
    kit_rent_text(body, "msg", out->words, sizeof out->words);
    return is_refusal(body);
}

/* Like kit_rent_ask, but a refusal with status 200 is a failure, too. */
static kit_status ask(kit_rent_account *a, const kit_rent_question *question, kit_rent_answer *answer,
                      kolm_error_t *err) {
    KIT_TRY(kit_rent_ask(a, question, answer, err));
    return is_refusal(answer->json) && kit_rent_explain(a, 200, answer->json, err) ? err->code : KOLM_OK;
}

/* Takes ownership of body. */
static kit_status ask_with(kit_rent_account *a, const char *method, const char *path, cJSON *body,
                           kit_http_repeat repeat, kit_rent_answer *answer, kolm_error_t *err) {
    if (body == NULL) return kit_no_memory(err);
    const kit_rent_question question = {.method = method, .path = path, .body = body, .repeat = repeat};
    kit_status status = ask(a, &question, answer, err);
    cJSON_Delete(body);
    return status;
}

typedef struct owner {
    uint64_t id; /* 0: missing */
    bool has_credit;
    double credit;
} owner;

static kit_status get_owner(kit_rent_account *a, owner *out, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    *out = (owner){0};
    kit_status status = ask(a, &(kit_rent_question){.path = "/api/v0/users/current/"}, &answer, err);
    out->has_credit = kit_json_get_number(answer.json, "credit", &out->credit);
    (void)kit_json_get_u64(answer.json, "id", &out->id);
    kit_rent_answer_free(&answer);
    return status;
}

static kit_status get_credit(kit_rent_account *a, owner *out, kolm_error_t *err) {
    KIT_TRY(get_owner(a, out, err));
    return out->has_credit ? KOLM_OK : kit_rent_strange(a, "credit", err);
}

kit_status vast_check(kit_rent_account *a, char *out_note, size_t capacity, kolm_error_t *err) {
    owner user;
    KIT_TRY(get_credit(a, &user, err));
    kit_format(out_note, capacity, "%.2f USD of credit", user.credit);
    return KOLM_OK;
}

/* The answer may include the credit, which is kept in account->app for vast_balance, because requests must be seconds
 * apart. A key that may not query the account may still be allowed to rent. */
kit_status vast_scope(kit_rent_account *a, kit_vm_scope *out, kolm_error_t *err) {
    owner user;
    kit_status status = get_owner(a, &user, err);
    *out = (kit_vm_scope){.id = ""};
    if (status == KOLM_E_PERMISSION_DENIED) return KOLM_OK;
    if (status == KOLM_OK && user.id > 0)
        kit_format(out->id, sizeof out->id, "account %llu", (unsigned long long)user.id);
    if (status == KOLM_OK && user.has_credit) kit_format(a->app, sizeof a->app, "%.6f", user.credit);
    return status;
}

/* The credit is negative if money is owed. */
kit_status vast_balance(kit_rent_account *a, uint64_t *out_micro_usd, kolm_error_t *err) {
    owner user = {.credit = strtod(a->app, NULL)};
    if (a->app[0] == '\0') KIT_TRY(get_credit(a, &user, err));
    *out_micro_usd = user.credit > 0 ? kit_rent_micro_usd(user.credit) : 0;
    return KOLM_OK;
}

/* ---- The requested machine */

typedef struct wanted {
    char gpu[64]; /* from the settings; "": any */
    char image[300];
    double cuda, traffic_gb;
    uint64_t disk_gb;
    kit_rent_wish wish;
} wanted;

static kit_status wrong(const char *key, const char *remedy, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "%s of backends.vast in config.json cannot be used", key);
}

static bool read_number(const kolm_host_v1_t *host, const char *key, const char *otherwise, double *out) {
    char text[32], *end = text;
    if (!kit_setting(host, key, otherwise, text, sizeof text) || text[0] == '\0' ||
        text[strspn(text, "0123456789.")] != '\0')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && *out < 1e6;
}

static kit_status read_wanted(const kit_rent_account *a, wanted *out, kolm_error_t *err) {
    out->wish = a->wish;
    out->disk_gb = a->wish.disk_bytes > 0 ? (a->wish.disk_bytes + GIGABYTE - 1) / GIGABYTE : DISK_GB;
    if (!kit_setting(a->host, "gpu", "", out->gpu, sizeof out->gpu))
        return wrong("gpu", "write the name of a GPU, such as RTX 4090", err);
    if (!kit_setting(a->host, "image", IMAGE, out->image, sizeof out->image) || out->image[0] == '\0')
        return wrong("image", "write the name of an image with Python", err);
    if (!read_number(a->host, "cuda", CUDA, &out->cuda)) return wrong("cuda", "write a version such as " CUDA, err);
    if (!read_number(a->host, "traffic_gb", TRAFFIC_GB, &out->traffic_gb))
        return wrong("traffic_gb", "write gigabytes, such as " TRAFFIC_GB, err);
    return KOLM_OK;
}

/* ---- Offers */

static bool put_rule(cJSON *body, const char *key, const char *is, cJSON *value) {
    cJSON *rule = cJSON_CreateObject();
    bool good = kit_json_put(rule, is, value);
    return kit_json_put(body, key, rule) && good;
}

static bool put_order(cJSON *body) {
    static const char *const words[] = {"dph_total", "asc"};
    cJSON *list = cJSON_CreateArray(), *pair = cJSON_CreateStringArray(words, 2);
    if (pair != NULL && !cJSON_AddItemToArray(list, pair)) cJSON_Delete(pair);
    return kit_json_put(body, "order", list);
}

/* One unshared GPU in a machine that Vast.ai has verified, with a port of its own and enough disk space. */
static cJSON *search_body(const wanted *w) {
    cJSON *body = cJSON_CreateObject();
    uint64_t mebibytes = (w->wish.vram_bytes + MEBIBYTE - 1) / MEBIBYTE;
    bool good =
        put_rule(body, "verified", "eq", cJSON_CreateTrue()) && put_rule(body, "external", "eq", cJSON_CreateFalse()) &&
        put_rule(body, "rentable", "eq", cJSON_CreateTrue()) && put_rule(body, "rented", "eq", cJSON_CreateFalse()) &&
        put_rule(body, "num_gpus", "eq", cJSON_CreateNumber(1)) &&
        put_rule(body, "gpu_ram", "gte", cJSON_CreateNumber((double)mebibytes)) &&
        put_rule(body, "cuda_max_good", "gte", cJSON_CreateNumber(w->cuda)) &&
        put_rule(body, "disk_space", "gte", cJSON_CreateNumber((double)w->disk_gb)) &&
        put_rule(body, "direct_port_count", "gte", cJSON_CreateNumber(1)) &&
        (w->gpu[0] == '\0' || put_rule(body, "gpu_name", "eq", cJSON_CreateString(w->gpu))) && put_order(body) &&
        kit_json_put_string(body, "type", "on-demand") &&
        kit_json_put_number(body, "allocated_storage", (double)w->disk_gb) &&
        kit_json_put_number(body, "limit", SEARCH_MOST);
    if (good) return body;
    cJSON_Delete(body);
    return NULL;
}

/* A number; 0 if it is missing or negative. */
static double number_of(const cJSON *object, const char *key) {
    double value = 0;
    return kit_json_get_number(object, key, &value) && value >= 0 ? value : 0;
}

/* Important filters are checked again here: a newer API might ignore one, which must not cost money. */
static void add_offer(const wanted *w, const cJSON *ask, kit_rent_offer *out, size_t capacity, size_t *count) {
    kit_rent_offer offer = {0};
    char gpu[40], place[40];
    double usd = 0, memory = number_of(ask, "gpu_ram"), gpus = number_of(ask, "num_gpus");
    uint64_t id = 0;
    kit_rent_text(ask, "gpu_name", gpu, sizeof gpu);
    if (!kit_json_get_u64(ask, "id", &id) || !kit_json_get_number(ask, "dph_total", &usd) || usd <= 0) return;
    if (gpus != 1 || memory > 1e8 || memory * MEBIBYTE < (double)w->wish.vram_bytes) return;
    double once = w->traffic_gb * (number_of(ask, "inet_down_cost") + TRAFFIC_BACK * number_of(ask, "inet_up_cost"));
    offer.micro_usd_per_hour = kit_rent_micro_usd(usd);
    offer.micro_usd_once = kit_rent_micro_usd(once);
    if (offer.micro_usd_per_hour == UINT64_MAX || offer.micro_usd_once == UINT64_MAX) return;
    kit_rent_text(ask, "geolocation", place, sizeof place);
    kit_format(offer.id, sizeof offer.id, "%llu", (unsigned long long)id);
    kit_format(offer.what, sizeof offer.what, place[0] != '\0' ? "1x %s (%.0f GB), %s" : "1x %s (%.0f GB)", gpu,
               floor(memory / 1024 + 0.5), place);
    kit_rent_offer_keep(&offer, out, capacity, count);
}

kit_status vast_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    wanted w;
    const cJSON *one;
    *out_count = 0;
    KIT_TRY(read_wanted(state, &w, err));
    kit_status status = ask_with(state, "POST", "/api/v0/bundles/", search_body(&w), KIT_HTTP_READ, &answer, err);
    const cJSON *offers = kit_json_get(answer.json, "offers");
    if (status == KOLM_OK && !cJSON_IsArray(offers)) status = kit_rent_strange(state, "list of offers", err);
    if (status == KOLM_OK) cJSON_ArrayForEach(one, offers) add_offer(&w, one, out, capacity, out_count);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- Instances */

/* A port, from a number or from digits in a string; 0 if there is none. */
static uint64_t port_of(const cJSON *object, const char *key) {
    char text[8];
    uint64_t port = 0;
    if (kit_json_get_u64(object, key, &port)) return port;
    kit_rent_text(object, key, text, sizeof text);
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0' ? strtoull(text, NULL, 10) : 0;
}

/* Copies a text without surrounding blanks, which Vast.ai sometimes sends. */
static void bare_text(const cJSON *object, const char *key, char *out, size_t capacity) {
    char text[200];
    kit_rent_text(object, key, text, sizeof text);
    const char *at = text + strspn(text, " \t\r\n");
    kit_format(out, capacity, "%.*s", (int)strcspn(at, " \t\r\n"), at);
}

/* The machine's own port for 22, otherwise Vast.ai's proxy, which uses ssh_port + 1 for images with Jupyter. */
static bool read_address(const cJSON *instance, kit_rent_box *out) {
    char host[200], runtype[64];
    const cJSON *open = kit_json_get(kit_json_get(instance, "ports"), "22/tcp");
    bare_text(instance, "public_ipaddr", host, sizeof host);
    if (kit_rent_put_address(out, host, port_of(cJSON_GetArrayItem(open, 0), "HostPort"))) return true;
    bare_text(instance, "ssh_host", host, sizeof host);
    kit_rent_text(instance, "image_runtype", runtype, sizeof runtype);
    uint64_t port = port_of(instance, "ssh_port");
    return kit_rent_put_address(out, host, port > 0 && strstr(runtype, "jupyter") != NULL ? port + 1 : port);
}

/* An exited or stopped instance must still be destroyed, because its disk is billed until then. The states unknown and
 * offline, and undocumented ones, may be temporary. */
static kit_rent_life life_of(const char *status, bool has_address) {
    if (strcmp(status, "exited") == 0 || strcmp(status, "stopped") == 0) return KIT_RENT_ENDING;
    return strcmp(status, "running") == 0 && has_address ? KIT_RENT_UP : KIT_RENT_BOOTING;
}

static bool read_instance(const cJSON *instance, kit_rent_box *out) {
    char status[32];
    double usd = 0;
    uint64_t id = 0;
    *out = (kit_rent_box){.micro_usd_per_hour = UINT64_MAX};
    if (!kit_json_get_u64(instance, "id", &id)) return false;
    kit_format(out->handle, sizeof out->handle, "%llu", (unsigned long long)id);
    kit_rent_text(instance, "label", out->name, sizeof out->name);
    kit_rent_text(instance, "actual_status", status, sizeof status); /* null at first */
    out->life = life_of(status, read_address(instance, out));
    if (kit_json_get_number(instance, "dph_total", &usd)) out->micro_usd_per_hour = kit_rent_micro_usd(usd);
    return true;
}

static void put_path(char path[KIT_RENT_PATH], const char *handle, const char *rest) {
    kit_format(path, KIT_RENT_PATH, "/api/v0/instances/%s/%s", handle, rest);
}

/* kit_rent_account.noted is the handle of an instance that has our key, or this prefix and the handle of an instance
 * that Vast.ai knew and has confirmed to be destroyed. */
#define ENDED "ended:"

static bool is_noted(const kit_rent_account *a, const char *prefix, const char *handle) {
    size_t length = strlen(prefix);
    return strncmp(a->noted, prefix, length) == 0 && strcmp(a->noted + length, handle) == 0;
}

/* Deletes the instance and its disk, because a stopped one is still billed. */
kit_status vast_destroy(void *state, const char *handle, kolm_error_t *err) {
    kit_rent_account *a = state;
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    bool success = false;
    put_path(path, handle, "");
    if (!is_noted(a, ENDED, handle)) kit_copy(a->noted, sizeof a->noted, handle); /* so that no key is added to it */
    kit_status status = ask_with(a, "DELETE", path, cJSON_CreateObject(), KIT_HTTP_CHANGE, &answer, err);
    if (status == KOLM_OK && kit_json_get_bool(answer.json, "success", &success) && success)
        kit_format(a->noted, sizeof a->noted, ENDED "%s", handle);
    kit_rent_answer_free(&answer);
    return status;
}

static cJSON *create_body(const wanted *w, const char *name) {
    cJSON *body = cJSON_CreateObject();
    bool good = kit_json_put_string(body, "client_id", "me") && kit_json_put_string(body, "image", w->image) &&
                kit_json_put_string(body, "label", name) && kit_json_put_number(body, "disk", (double)w->disk_gb) &&
                kit_json_put_string(body, "runtype", "ssh_direc ssh_proxy") &&
                kit_json_put_string(body, "onstart", ON_START) && kit_json_put_bool(body, "cancel_unavail", true);
    if (good) return body;
    cJSON_Delete(body);
    return NULL;
}

kit_status vast_create(void *state, const kit_rent_offer *offer, const char *name,
                       char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    kolm_error_t ignored = KIT_ERROR_INIT;
    char path[KIT_RENT_PATH], handle[KIT_RENT_HANDLE_BYTES] = "";
    uint64_t id = 0;
    wanted w;
    out_handle[0] = '\0';
    *out_may_exist = false;
    KIT_TRY(read_wanted(state, &w, err));
    kit_format(path, sizeof path, "/api/v0/asks/%s/", offer->id);
    kit_status status = ask_with(state, "PUT", path, create_body(&w, name), KIT_HTTP_CREATE, &answer, err);
    if (kit_json_get_u64(answer.json, "new_contract", &id))
        kit_format(handle, sizeof handle, "%llu", (unsigned long long)id);
    *out_may_exist = status == KOLM_OK || answer.may_exist || id > 0;
    if (status == KOLM_OK)
        kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, handle);
    else if (id > 0 && vast_destroy(state, handle, &ignored) != KOLM_OK) /* refused, but it exists */
        kit_rent_quote("and left an instance, which kolm is looking for", err);
    kit_rent_answer_free(&answer);
    return status;
}

/* Adds the key of this rental to the instance, once; repeating that is harmless. */
static kit_status let_in(kit_rent_account *a, const char *handle, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    cJSON *body = cJSON_CreateObject();
    if (a->public_key[0] == '\0' || is_noted(a, "", handle) || is_noted(a, ENDED, handle)) {
        cJSON_Delete(body);
        return KOLM_OK;
    }
    put_path(path, handle, "ssh/");
    (void)kit_json_put_string(body, "ssh_key", a->public_key);
    kit_status status = ask_with(a, "POST", path, body, KIT_HTTP_CHANGE, &answer, err);
    if (status == KOLM_OK) kit_copy(a->noted, sizeof a->noted, handle);
    kit_rent_answer_free(&answer);
    return status;
}

kit_status vast_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    kolm_error_t why = KIT_ERROR_INIT;
    char path[KIT_RENT_PATH];
    put_path(path, handle, "?owner=me");
    kit_status status = ask(state, &(kit_rent_question){.path = path}, &answer, err);
    const cJSON *instance = kit_json_get(answer.json, "instances");
    if (status == KOLM_OK && cJSON_IsNull(instance))
        status = kit_fail(err, KOLM_E_NOT_FOUND, "", "Vast.ai has no such instance");
    else if (status == KOLM_OK && (!read_instance(instance, out) || strcmp(out->handle, handle) != 0))
        status = kit_rent_strange(state, "such instance", err);
    kit_rent_answer_free(&answer);
    /* Vast.ai knew it when it was destroyed, so it is gone, and not merely missing because of a delay */
    if (status == KOLM_E_NOT_FOUND && is_noted(state, ENDED, handle)) {
        *out = (kit_rent_box){.life = KIT_RENT_ENDED, .micro_usd_per_hour = UINT64_MAX};
        kit_copy(out->handle, sizeof out->handle, handle);
        status = KOLM_OK;
    }
    /* it is not ready until it has our key: the next look tries again, until booting has taken too long */
    kit_status let = status == KOLM_OK && out->life == KIT_RENT_UP ? let_in(state, handle, &why) : KOLM_OK;
    if (let != KOLM_OK) out->life = KIT_RENT_BOOTING;
    if (let == KOLM_E_PERMISSION_DENIED || let == KOLM_E_UNAUTHENTICATED)
        kit_format(out->why, sizeof out->why, "it does not accept SSH keys: %.100s", why.text);
    return status;
}

/* ---- Lists */

/* Replaces path with that of the next page, from a token that may contain any bytes; "" after the last page. */
static kit_status next_page(const kit_rent_account *a, const cJSON *answer, char path[KIT_RENT_PATH],
                            kolm_error_t *err) {
    char before[KIT_RENT_PATH], number[24];
    const char *token = "";
    uint64_t id = 0;
    kit_copy(before, sizeof before, path);
    path[0] = '\0';
    if (kit_json_get_u64(answer, "next_token", &id)) {
        kit_format(number, sizeof number, "%llu", (unsigned long long)id);
        token = number;
    } else if (!kit_json_get_string(answer, "next_token", &token) || token[0] == '\0')
        return KOLM_OK;
    kit_copy(path, KIT_RENT_PATH, "/api/v1/instances/?limit=25&after_token=");
    if (!kit_rent_add_escaped(path, token)) return kit_rent_strange(a, "usable next_token", err);
    return strcmp(before, path) != 0 ? KOLM_OK : kit_rent_strange(a, "next page", err);
}

static kit_status add_page(kit_rent_account *a, char path[KIT_RENT_PATH], const char *prefix, kit_rent_box *out,
                           size_t capacity, size_t *count, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    const cJSON *instance;
    kit_status status = ask(a, &(kit_rent_question){.path = path}, &answer, err);
    const cJSON *instances = kit_json_get(answer.json, "instances");
    if (status == KOLM_OK && !cJSON_IsArray(instances)) status = kit_rent_strange(a, "list of instances", err);
    if (status == KOLM_OK) cJSON_ArrayForEach(instance, instances) {
            kit_rent_box box;
            if (read_instance(instance, &box)) kit_rent_box_keep(&box, prefix, out, capacity, count);
        }
    if (status == KOLM_OK) status = next_page(a, answer.json, path, err);
    kit_rent_answer_free(&answer);
    return status;
}

kit_status vast_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                     kolm_error_t *err) {
    char path[KIT_RENT_PATH] = "/api/v1/instances/?limit=25";
    *out_count = 0;
    for (int page = 0; page < PAGES_MOST && path[0] != '\0'; page++)
        KIT_TRY(add_page(state, path, prefix, out, capacity, out_count, err));
    return path[0] == '\0' ? KOLM_OK : kit_rent_strange(state, "end of its list", err);
}
