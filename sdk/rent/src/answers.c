/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the API files of providers: the meaning of refusals, and reading answers. */
#include "kolm/rent/account.h"

#include "kolm/kit/buf.h"

#include <math.h>
#include <string.h>

/* ---- Refusals */

void kit_rent_quote(const char *said, kolm_error_t *err) {
    char sentence[sizeof err->text];
    if (said[0] == '\0') return;
    kit_copy(sentence, sizeof sentence, err->text);
    kit_format(err->text, sizeof err->text, "%.250s (it says: %.200s)", sentence, said);
}

static const kit_rent_refusal *find_row(const kit_rent_refusal *row, int http_status, const char *code) {
    for (; row != NULL && row->means != KOLM_OK; row++)
        if ((row->code == NULL || strcmp(row->code, code) == 0) && (row->status == 0 || row->status == http_status))
            return row;
    return NULL;
}

bool kit_rent_explain(const kit_rent_account *account, int http_status, const cJSON *body, kolm_error_t *err) {
    const kit_rent_site *site = account->site;
    kit_rent_said said = {0};
    char remedy[200];
    bool own = site->read_refusal != NULL && site->read_refusal(http_status, body, &said);
    const kit_rent_refusal *row = own ? find_row(site->refusals, http_status, said.code) : NULL;
    if (row != NULL) {
        (void)kit_fail(err, row->means, row->remedy, "%s", row->text);
        kit_rent_quote(said.words[0] != '\0' ? said.words : said.code, err);
        return true;
    }
    if (http_status != 404 && http_status != 410) return false;
    kit_format(remedy, sizeof remedy, "check the setting api of backends.%s; a newer version may know a newer address",
               site->name);
    (void)kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "the server at this address is not %s's API (HTTP %d)",
                   site->title, http_status);
    kit_rent_quote(said.words, err);
    return true;
}

kit_status kit_rent_strange(const kit_rent_account *account, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS,
                    "try again; if it persists, a newer version may know the provider's new format",
                    "%s's answer has no %s", account->site->title, what);
}

/* ---- Reading */

bool kit_rent_is_id(const char *text) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t length = strlen(text);
    return length > 0 && length <= 120 && strspn(text, letters) == length;
}

void kit_rent_text(const cJSON *object, const char *key, char *out, size_t capacity) {
    const char *text = "";
    (void)kit_json_get_string(object, key, &text);
    (void)kit_copy(out, capacity, text);
}

void kit_rent_offer_keep(const kit_rent_offer *offer, kit_rent_offer *out, size_t capacity, size_t *count) {
    size_t dearest = 0;
    if (*count < capacity) {
        out[(*count)++] = *offer;
        return;
    }
    for (size_t i = 1; i < capacity; i++)
        if (out[i].micro_usd_per_hour > out[dearest].micro_usd_per_hour) dearest = i;
    if (capacity > 0 && out[dearest].micro_usd_per_hour > offer->micro_usd_per_hour) out[dearest] = *offer;
}

void kit_rent_box_keep(const kit_rent_box *box, const char *prefix, kit_rent_box *out, size_t capacity, size_t *count) {
    if (strncmp(box->name, prefix, strlen(prefix)) != 0) return;
    if (*count < capacity) out[*count] = *box;
    (*count)++;
}

uint64_t kit_rent_micro_usd(double usd) {
    return usd >= 0 && usd < 100000 ? (uint64_t)ceil(usd * 1e6 - 1e-3) : UINT64_MAX;
}

bool kit_rent_put_address(kit_rent_box *box, const char *host, uint64_t port) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:";
    if (host[0] == '\0' || host[0] == '-' || host[strspn(host, letters)] != '\0') return false;
    if (port == 0 || port > UINT16_MAX) return false;
    return kit_format(box->address, sizeof box->address, strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host,
                      (unsigned)port);
}

bool kit_rent_add_escaped(char path[KIT_RENT_PATH], const char *text) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
    size_t at = strlen(path);
    if (strlen(text) * 3 + at >= KIT_RENT_PATH) return false;
    for (; *text != '\0'; text++, at += strlen(path + at))
        kit_format(path + at, KIT_RENT_PATH - at, strchr(plain, *text) != NULL ? "%c" : "%%%02X", (unsigned char)*text);
    return true;
}
