/* SPDX-License-Identifier: Apache-2.0 */
/* Builds requests to ACME's API and parses the responses. */
#include "api.h"

#include <kolm/kit/buf.h>

#include <string.h>

#define GIGABYTE 1e9
#define KEYS_PAGE "https://acme.example/keys"

/* ---- Refusals, recognised by code, because texts change */

const kit_rent_refusal acme_refusals[] = {
    {"bad_token", 0, KOLM_E_UNAUTHENTICATED, "ACME does not recognize this key", "make a key on " KEYS_PAGE},
    {"not_allowed", 0, KOLM_E_PERMISSION_DENIED, "this ACME key is not authorized for that",
     "make a key that may rent on " KEYS_PAGE},
    {"no_credit", 0, KOLM_E_FAILED_PRECONDITION, "the credit of this ACME account is used up",
     "add credit on https://acme.example/billing"},
    {"no_capacity", 0, KOLM_E_RESOURCE_EXHAUSTED, "ACME has no such machine left", "try again later"},
    {"no_such_machine", 0, KOLM_E_NOT_FOUND, "ACME has no such machine", ""},
    {0},
};

bool acme_read_refusal(int http_status, const cJSON *body, kit_rent_said *out) {
    (void)http_status;
    kit_rent_text(body, "code", out->code, sizeof out->code);
    kit_rent_text(body, "message", out->words, sizeof out->words);
    return out->code[0] != '\0';
}

/* ---- Offers */

static void add_offer(const kit_rent_wish *wish, const cJSON *one, kit_rent_offer *out, size_t capacity,
                      size_t *count) {
    kit_rent_offer offer = {0};
    char gpu[40], region[40];
    double usd = -1, memory = 0, disk = 0;
    bool is_free = false;
    kit_rent_text(one, "id", offer.id, sizeof offer.id);
    kit_rent_text(one, "gpu", gpu, sizeof gpu);
    kit_rent_text(one, "region", region, sizeof region);
    (void)(kit_json_get_bool(one, "free", &is_free) && kit_json_get_number(one, "usd_per_hour", &usd) &&
           kit_json_get_number(one, "memory_gb", &memory) && kit_json_get_number(one, "disk_gb", &disk));
    offer.micro_usd_per_hour = kit_rent_micro_usd(usd);
    if (!is_free || offer.id[0] == '\0' || offer.micro_usd_per_hour == UINT64_MAX) return;
    if (memory * GIGABYTE < (double)wish->vram_bytes || disk * GIGABYTE < (double)wish->disk_bytes) return;
    kit_format(offer.what, sizeof offer.what, "1x %s (%.0f GB), %s", gpu, memory, region);
    kit_rent_offer_keep(&offer, out, capacity, count);
}

kit_status acme_offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    const kit_rent_account *account = state;
    kit_rent_answer answer = {0};
    const cJSON *one;
    *out_count = 0;
    kit_status status = kit_rent_ask(state, &(kit_rent_question){.path = "/offers"}, &answer, err);
    const cJSON *offers = kit_json_get(answer.json, "offers");
    if (status == KOLM_OK && !cJSON_IsArray(offers)) status = kit_rent_strange(account, "list of offers", err);
    if (status == KOLM_OK) cJSON_ArrayForEach(one, offers) add_offer(&account->wish, one, out, capacity, out_count);
    kit_rent_answer_free(&answer);
    return status;
}

/* ---- Machines */

/* An unknown state is BOOTING, because it is not final. */
static kit_rent_life life_of(const char *state) {
    if (strcmp(state, "ended") == 0) return KIT_RENT_ENDED;
    if (strcmp(state, "ending") == 0) return KIT_RENT_ENDING;
    return strcmp(state, "running") == 0 ? KIT_RENT_UP : KIT_RENT_BOOTING;
}

static bool read_machine(const cJSON *machine, kit_rent_box *out) {
    char state[32], host[200];
    uint64_t port = 0;
    double usd = -1;
    *out = (kit_rent_box){0};
    kit_rent_text(machine, "id", out->handle, sizeof out->handle);
    kit_rent_text(machine, "name", out->name, sizeof out->name);
    kit_rent_text(machine, "state", state, sizeof state);
    kit_rent_text(machine, "host", host, sizeof host);
    kit_rent_text(machine, "host_key", out->host_key, sizeof out->host_key);
    (void)kit_json_get_number(machine, "usd_per_hour", &usd);
    out->micro_usd_per_hour = kit_rent_micro_usd(usd);
    out->life = life_of(state);
    if (out->life == KIT_RENT_UP &&
        !(kit_json_get_u64(machine, "port", &port) && kit_rent_put_address(out, host, port)))
        out->life = KIT_RENT_BOOTING;
    return kit_rent_is_id(out->handle) && state[0] != '\0';
}

kit_status acme_create(void *state, const kit_rent_offer *offer, const char *name,
                       char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    const kit_rent_account *account = state;
    kit_rent_answer answer = {0};
    kit_rent_box box;
    cJSON *body = cJSON_CreateObject();
    if (!(kit_json_put_string(body, "offer", offer->id) && kit_json_put_string(body, "name", name) &&
          kit_json_put_string(body, "public_key", account->public_key))) {
        cJSON_Delete(body);
        body = NULL;
    }
    kit_status status = kit_rent_send(state, "POST", "/machines", body, KIT_HTTP_CREATE, &answer, err);
    *out_may_exist = status == KOLM_OK || answer.may_exist;
    out_handle[0] = '\0';
    if (status == KOLM_OK && read_machine(answer.json, &box)) kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, box.handle);
    kit_rent_answer_free(&answer);
    return status;
}

kit_status acme_look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    kit_format(path, sizeof path, "/machines/%s", handle);
    kit_status status = kit_rent_ask(state, &(kit_rent_question){.path = path}, &answer, err);
    if (status == KOLM_OK && (!read_machine(answer.json, out) || strcmp(out->handle, handle) != 0))
        status = kit_rent_strange(state, "such machine", err);
    kit_rent_answer_free(&answer);
    return status;
}

kit_status acme_list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                     kolm_error_t *err) {
    kit_rent_answer answer = {0};
    kit_rent_box box;
    const cJSON *one;
    *out_count = 0;
    kit_status status = kit_rent_ask(state, &(kit_rent_question){.path = "/machines"}, &answer, err);
    const cJSON *machines = kit_json_get(answer.json, "machines");
    if (status == KOLM_OK && !cJSON_IsArray(machines)) status = kit_rent_strange(state, "list of machines", err);
    if (status == KOLM_OK) cJSON_ArrayForEach(one, machines) {
            if (read_machine(one, &box)) kit_rent_box_keep(&box, prefix, out, capacity, out_count);
        }
    kit_rent_answer_free(&answer);
    return status;
}

kit_status acme_destroy(void *state, const char *handle, kolm_error_t *err) {
    kit_rent_answer answer = {0};
    char path[KIT_RENT_PATH];
    kit_format(path, sizeof path, "/machines/%s", handle);
    kit_status status = kit_rent_ask(
        state, &(kit_rent_question){.method = "DELETE", .path = path, .repeat = KIT_HTTP_CHANGE}, &answer, err);
    kit_rent_answer_free(&answer);
    return status;
}
