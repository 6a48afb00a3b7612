/* SPDX-License-Identifier: Apache-2.0 */
/* Builds requests to Lambda's API, and parses its answers. */
#include "api.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_PAGE "https://cloud.lambda.ai/api-keys"
#define MICRO_USD_PER_CENT 10000u
#define GIGABYTE 1000000000u

static const cJSON *data_of(const kit_rent_answer *answer) {
    return kit_json_get(answer->json, "data");
}

static kit_status get(kit_rent_account *a, const char *path, kit_rent_answer *answer, kolm_error_t *err) {
    return kit_rent_ask(a, &(kit_rent_question){.path = path}, answer, err);
}

/* ---- Failures, identified by code because texts change */

const kit_rent_refusal lambda_refusals[] = {
    {"global/invalid-api-key", 0, KOLM_E_UNAUTHENTICATED,
     "Lambda does not recognize this key: it was deleted there, or KOLM_LAMBDA_TOKEN has only a part of it",
     "make a key on " KEYS_PAGE " and set KOLM_LAMBDA_TOKEN to all of it"},
    {"global/account-inactive", 0, KOLM_E_FAILED_PRECONDITION, "the Lambda account of this key is not active",
     "sign in to https://cloud.lambda.ai and complete its billing"},
    {"global/invalid-address", 0, KOLM_E_FAILED_PRECONDITION, "Lambda has no valid billing address for this account",
     "sign in to https://cloud.lambda.ai and complete its billing"},
    {"global/quota-exceeded", 0, KOLM_E_FAILED_PRECONDITION, "the quota of this Lambda account is used up",
     "end machines on https://cloud.lambda.ai/instances, or ask Lambda for a higher quota"},
    {"global/object-does-not-exist", 0, KOLM_E_NOT_FOUND, "Lambda has no such object", ""},
    {"global/duplicate", 0, KOLM_E_ALREADY_EXISTS, "Lambda has one of that name", "run it again"},
    {"instance-operations/launch/insufficient-capacity", 0, KOLM_E_RESOURCE_EXHAUSTED,
     "Lambda has no machine of that type left in that region", "try again later, or allow other types and regions"},
    {"instance-operations/launch/file-system-in-wrong-region", 0, KOLM_E_FAILED_PRECONDITION,
     "the file system is in another region than the machine", "choose the region of the file system"},
    {NULL, 403, KOLM_E_PERMISSION_DENIED, "this Lambda key is not authorized for that",
     "make a key with all rights on " KEYS_PAGE},
    {0},
};

bool lambda_read_refusal(int http_status, const cJSON *body, kit_rent_said *out) {
    const cJSON *error = kit_json_get(body, "error");
    (void)http_status;
    kit_rent_text(error, "code", out->code, sizeof out->code);
    kit_rent_text(error, "message", out->words, sizeof out->words);
    return out->code[0] != '\0';
}

/* ---- Types */

/* Memory per GPU, for types whose description does not state it. */
static const struct {
    const char *part;
    uint64_t gb;
} by_name[] = {{"h100", 80}, {"h200", 141}, {"b200", 180}, {"gh200", 96}, {"a100_80gb", 80},
               {"a100", 40}, {"a10", 24},   {"a6000", 48}, {"v100", 16},  {"rtx6000", 24}};

uint64_t lambda_vram_gb(const char *type, const char *gpu_description) {
    const char *open = strchr(gpu_description, '(');
    if (open != NULL) {
        char *end = NULL;
        unsigned long long gb = strtoull(open + 1, &end, 10);
        if (end != open + 1 && strncmp(end, " GB", 3) == 0 && gb < 100000) return gb;
    }
    uint64_t best = 0;
    size_t longest = 0; /* "gh200" contains "h200" */
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++)
        if (strlen(by_name[i].part) > longest && strstr(type, by_name[i].part) != NULL) {
            longest = strlen(by_name[i].part);
            best = by_name[i].gb;
        }
    return best;
}

typedef struct wanted {
    char type[64], region[64]; /* from the settings; "": any */
    kit_rent_wish wish;
} wanted;

static kit_status read_wanted(const kit_rent_account *a, wanted *out, kolm_error_t *err) {
    out->wish = a->wish;
    if (kit_setting(a->host, "instance_type", "", out->type, sizeof out->type) &&
        kit_setting(a->host, "region", "", out->region, sizeof out->region))
        return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it in config.json",
                    "instance_type or region of backends.lambda is too long");
}

/* Machines without a GPU, or with an ARM processor (GH200), which most programs are not built for, are used only if
 * instance_type names them. */
static bool fits(const wanted *w, const cJSON *type, const char *name, uint64_t *out_gpus) {
    char description[128];
    uint64_t storage = 0;
    const cJSON *specs = kit_json_get(type, "specs");
    kit_rent_text(type, "gpu_description", description, sizeof description);
    *out_gpus = 0;
    (void)kit_json_get_u64(specs, "gpus", out_gpus);
    (void)kit_json_get_u64(specs, "storage_gib", &storage);
    if (w->type[0] != '\0' && strcmp(w->type, name) != 0) return false;
    if (w->type[0] == '\0' && (*out_gpus == 0 || strstr(name, "gh200") != NULL)) return false;
    if (w->wish.vram_bytes > lambda_vram_gb(name, description) * GIGABYTE) return false;
    return w->wish.disk_bytes <= storage * 1073741824u;
}

static void add_regions(const wanted *w, const cJSON *entry, kit_rent_offer *out, size_t capacity, size_t *count) {
    const cJSON *type = kit_json_get(entry, "instance_type"), *region;
    char name[64], gpu[64], where[64];
    uint64_t cents = 0, gpus = 0;
    kit_rent_text(type, "name", name, sizeof name);
    kit_rent_text(type, "gpu_description", gpu, sizeof gpu);
    if (!kit_rent_is_id(name) || !kit_json_get_u64(type, "price_cents_per_hour", &cents) || cents > 10000000) return;
    if (!fits(w, type, name, &gpus)) return;
    cJSON_ArrayForEach(region, kit_json_get(entry, "regions_with_capacity_available")) {
        kit_rent_offer offer = {.micro_usd_per_hour = cents * MICRO_USD_PER_CENT};
        kit_rent_text(region, "name", where, sizeof where);
        if (!kit_rent_is_id(where) || (w->region[0] != '\0' && strcmp(w->region, where) != 0)) continue;
        if (!kit_format(offer.id, sizeof offer.id, "%s/%s", name, where)) continue;
        kit_format(offer.what, sizeof offer.what, "%ux %.50s, %.30s", (unsigned)gpus, gpu[0] != '\0' ? gpu : name,
                   where);
        kit_rent_offer_keep(&offer, out, capacity, count);
    }
}

static kit_status read_types(const kit_rent_account *a, const cJSON *types, kit_rent_offer *out, size_t capacity,
                             size_t *out_count, kolm_error_t *err) {
    const cJSON *entry;
    wanted w;
    *out_count = 0;
    KIT_TRY(read_wanted(a, &w, err));
    if (!cJSON_IsObject(types)) return kit_rent_strange(a, "list of types", err);
    cJSON_ArrayForEach(entry, types) add_regions(&w, entry, out, capacity, out_count);
    return KOLM_OK;
}

kit_status lambda_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    kit_status status = get(state, "/instance-types", &answer, err);
    if (status == KOLM_OK) status = read_types(state, data_of(&answer), out, capacity, out_count, err);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- Instances */

static kit_rent_life life_of(const char *status) {
    static const struct {
        const char *word;
        kit_rent_life life;
    } words[] = {{"active", KIT_RENT_UP},
                 {"terminated", KIT_RENT_ENDED},
                 {"terminating", KIT_RENT_ENDING},
                 {"preempted", KIT_RENT_ENDING},  /* may still be billed, so it must be ended */
                 {"unhealthy", KIT_RENT_ENDING}}; /* billed, but no longer usable */
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i].word, status) == 0) return words[i].life;
    return KIT_RENT_BOOTING;
}

static bool read_instance(const cJSON *instance, kit_rent_box *out) {
    char status[32];
    uint64_t cents = 0;
    *out = (kit_rent_box){.micro_usd_per_hour = UINT64_MAX};
    kit_rent_text(instance, "id", out->handle, sizeof out->handle);
    kit_rent_text(instance, "name", out->name, sizeof out->name);
    kit_rent_text(instance, "ip", out->address, sizeof out->address);
    kit_rent_text(instance, "status", status, sizeof status);
    out->life = life_of(status);
    if (kit_json_get_u64(kit_json_get(instance, "instance_type"), "price_cents_per_hour", &cents) && cents <= 10000000)
        out->micro_usd_per_hour = cents * MICRO_USD_PER_CENT;
    return kit_rent_is_id(out->handle) && status[0] != '\0';
}

static cJSON *launch_body(const kit_rent_account *a, const kit_rent_offer *offer, const char *name) {
    char type[sizeof offer->id], image[64];
    kit_copy(type, sizeof type, offer->id);
    char *region = strchr(type, '/');
    if (region == NULL) return NULL;
    *region++ = '\0';
    cJSON *body = cJSON_CreateObject(), *keys = cJSON_CreateArray(), *key = cJSON_CreateString(a->key_name);
    if (key != NULL && !cJSON_AddItemToArray(keys, key)) cJSON_Delete(key);
    bool good = kit_json_put(body, "ssh_key_names", keys) && kit_json_put_string(body, "region_name", region) &&
                kit_json_put_string(body, "instance_type_name", type) && kit_json_put_string(body, "name", name);
    if (good && kit_setting(a->host, "image", "", image, sizeof image) && image[0] != '\0') {
        cJSON *family = cJSON_CreateObject();
        good = kit_json_put_string(family, "family", image);
        good = kit_json_put(body, "image", family) && good;
    }
    if (good) return body;
    cJSON_Delete(body);
    return NULL;
}

kit_status lambda_create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    cJSON *body = launch_body(state, offer, name);
    out_handle[0] = '\0';
    *out_may_exist = false;
    kit_status status =
        kit_rent_send(state, "POST", "/instance-operations/launch", body, KIT_HTTP_CREATE, &answer, err);
    *out_may_exist = status == KOLM_OK || answer.may_exist;
    const cJSON *id = cJSON_GetArrayItem(kit_json_get(data_of(&answer), "instance_ids"), 0);
    if (status == KOLM_OK && cJSON_IsString(id) && kit_rent_is_id(id->valuestring))
        kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, id->valuestring);
    kit_rent_answer_free(&answer);
    return status;
}

static kit_status look_at_instance(kit_rent_account *a, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    kit_format(path, sizeof path, "/instances/%s", handle);
    kit_status status = get(a, path, &answer, err);
    if (status == KOLM_OK && (!read_instance(data_of(&answer), out) || strcmp(out->handle, handle) != 0))
        status = kit_rent_strange(a, "such instance", err);
    kit_rent_answer_free(&answer);
    return status;
}

static kit_status terminate(kit_rent_account *a, const char *handle, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    cJSON *body = cJSON_CreateObject(), *ids = cJSON_CreateArray(), *id = cJSON_CreateString(handle);
    const cJSON *one;
    bool ended = false;
    if (id != NULL && !cJSON_AddItemToArray(ids, id)) cJSON_Delete(id);
    if (!kit_json_put(body, "instance_ids", ids)) {
        cJSON_Delete(body);
        return kit_no_memory(err);
    }
    kit_status status = kit_rent_send(a, "POST", "/instance-operations/terminate", body, KIT_HTTP_CHANGE, &answer, err);
    cJSON_ArrayForEach(one, kit_json_get(data_of(&answer), "terminated_instances")) {
        char found[KIT_RENT_HANDLE_BYTES];
        kit_rent_text(one, "id", found, sizeof found);
        ended = ended || strcmp(found, handle) == 0;
    }
    kit_rent_answer_free(&answer);
    if (status != KOLM_OK || ended) return status;
    return kit_fail(err, KOLM_E_UNAVAILABLE, "", "Lambda did not end %s, and reported no reason", handle);
}

/* ---- SSH keys: one per rental, with its name */

static bool read_key(const cJSON *key, kit_rent_box *out) {
    char id[KIT_RENT_HANDLE_BYTES - sizeof KIT_VM_KEY];
    *out = (kit_rent_box){.life = KIT_RENT_UP};
    kit_rent_text(key, "id", id, sizeof id);
    kit_rent_text(key, "name", out->name, sizeof out->name);
    kit_format(out->handle, sizeof out->handle, KIT_VM_KEY "%s", id);
    return kit_rent_is_id(id);
}

/* Finds a key by its handle, or by name if handle is ""; NOT_FOUND if it is not in Lambda's list. */
static kit_status find_key(kit_rent_account *a, const char *handle, const char *name, kit_rent_box *out,
                           kolm_error_t *err) {
    kit_rent_answer answer = {0};
    const cJSON *key;
    kit_status status = get(a, "/ssh-keys", &answer, err);
    if (status == KOLM_OK && !cJSON_IsArray(data_of(&answer))) status = kit_rent_strange(a, "list of keys", err);
    if (status == KOLM_OK) status = kit_fail(err, KOLM_E_NOT_FOUND, "", "Lambda has no such key");
    if (status == KOLM_E_NOT_FOUND) cJSON_ArrayForEach(key, data_of(&answer)) {
            kit_rent_box box;
            if (!read_key(key, &box) ||
                strcmp(handle[0] != '\0' ? box.handle : box.name, handle[0] != '\0' ? handle : name) != 0)
                continue;
            *out = box;
            status = KOLM_OK;
        }
    kit_rent_answer_free(&answer);
    return status;
}

kit_status lambda_key_add(kit_rent_account *a, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                          kolm_error_t *err) {
    kit_rent_answer answer = {0};
    kit_rent_box box = {0};
    cJSON *body = cJSON_CreateObject();
    (void)(kit_json_put_string(body, "name", a->key_name) && kit_json_put_string(body, "public_key", a->public_key));
    kit_status status = kit_rent_send(a, "POST", "/ssh-keys", body, KIT_HTTP_CREATE, &answer, err);
    bool clear = status == KOLM_OK && read_key(data_of(&answer), &box);
    *out_may_exist = status == KOLM_OK || answer.may_exist;
    kit_rent_answer_free(&answer);
    if (!clear && *out_may_exist) { /* a second request would add a second key: look for the first */
        kolm_error_t ignored = KIT_ERROR_INIT;
        kit_status found = find_key(a, "", a->key_name, &box, &ignored);
        if (status == KOLM_OK && found != KOLM_OK) *err = ignored;
        status = found == KOLM_OK ? KOLM_OK : status == KOLM_OK ? found : status;
    }
    if (status == KOLM_OK) kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, box.handle);
    return status;
}

static bool is_key(const char *handle) {
    return strncmp(handle, KIT_VM_KEY, strlen(KIT_VM_KEY)) == 0;
}

static kit_status delete_key(kit_rent_account *a, const char *handle, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    kit_format(path, sizeof path, "/ssh-keys/%s", handle + strlen(KIT_VM_KEY));
    const kit_rent_question question = {.method = "DELETE", .path = path, .repeat = KIT_HTTP_CHANGE};
    kit_status status = kit_rent_ask(a, &question, &answer, err);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- Instances and keys */

kit_status lambda_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    return is_key(handle) ? find_key(state, handle, "", out, err) : look_at_instance(state, handle, out, err);
}

kit_status lambda_destroy(void *state, const char *handle, kolm_error_t *err) {
    return is_key(handle) ? delete_key(state, handle, err) : terminate(state, handle, err);
}

/* Lists keys first, because the state of a machine must be newer than that of its key. */
kit_status lambda_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) {
    static const char *const paths[] = {"/ssh-keys", "/instances"};
    *out_count = 0;
    for (size_t i = 0; i < 2; i++) {
        kit_rent_answer answer = {0};
        kit_rent_box box;
        const cJSON *one;
        kit_status status = get(state, paths[i], &answer, err);
        if (status == KOLM_OK && !cJSON_IsArray(data_of(&answer))) status = kit_rent_strange(state, "list", err);
        if (status == KOLM_OK) cJSON_ArrayForEach(one, data_of(&answer)) {
                bool good = i == 0 ? read_key(one, &box) : read_instance(one, &box);
                if (good) kit_rent_box_keep(&box, prefix, out, capacity, out_count);
            }
        kit_rent_answer_free(&answer);
        KIT_TRY(status);
    }
    return KOLM_OK;
}
