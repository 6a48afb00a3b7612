/* SPDX-License-Identifier: Apache-2.0 */
/* Extracts the fields of a manifest without a full tree: there may be a thousand manifests, and most values are short
 * texts. */
#include "host/internal.h"

#include "kolm/kit/json_walk.h"

#include <stdlib.h>
#include <string.h>

size_t host_field_of(const char *key, size_t length) {
    size_t i = 0;
    while (i < HOST_FIELDS && (host_fields[i].key[0] != key[0] || strncmp(host_fields[i].key, key, length) != 0 ||
                               host_fields[i].key[length] != '\0'))
        i++;
    return i;
}

/* A number of few digits, "24" or "0.25"; anything else is left to the full parser. Numerator and denominator are
 * exact, so the quotient is the nearest double. */
static bool small_number(const kit_json_part *part, double *out) {
    double digits = 0, unit = 1;
    bool fraction = false;
    if (part->length > 9) return false;
    for (size_t i = 0; i < part->length; i++) {
        if (part->bytes[i] == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (part->bytes[i] < '0' || part->bytes[i] > '9') return false;
        digits = digits * 10 + (part->bytes[i] - '0');
        if (fraction) unit *= 10;
    }
    *out = digits / unit;
    return true;
}

/* Where a part of the text stands in the copy of it. */
static char *in_copy(const host_items *items, const char *text, const char *at) {
    return items->text + (at - text);
}

static bool take(host_items *items, const char *text, size_t i, const kit_json_part *part) {
    cJSON *item = &items->own[i];
    items->found[i] = item;
    if (part->kind == KIT_JSON_STRING && !part->escaped) {
        item->type = cJSON_String;
        item->valuestring = in_copy(items, text, part->bytes + 1);
        *in_copy(items, text, part->bytes + part->length - 1) = '\0'; /* in the place of the closing quote */
        return true;
    }
    if (part->kind == KIT_JSON_NULL || part->kind == KIT_JSON_BOOL) {
        item->type = part->kind == KIT_JSON_NULL ? cJSON_NULL : part->bytes[0] == 't' ? cJSON_True : cJSON_False;
        return true;
    }
    if (part->kind == KIT_JSON_ARRAY && part->length == 2) { /* [] */
        item->type = cJSON_Array;
        return true;
    }
    if (part->kind == KIT_JSON_NUMBER && small_number(part, &item->valuedouble)) {
        item->type = cJSON_Number;
        item->valueint = (int)item->valuedouble;
        return true;
    }
    items->trees[i] = cJSON_ParseWithLength(part->bytes, part->length); /* the caller has validated it */
    items->found[i] = items->trees[i];
    return items->trees[i] != NULL;
}

bool host_items_read(const char *text, size_t length, host_items *items) {
    kit_json_walk walk = {0};
    kit_json_part key, value;
    bool found = false;
    items->text = malloc(length + 1);
    bool good = items->text != NULL && kit_json_walk_begin(&walk, text, length, NULL) == KOLM_OK && walk.object;
    if (good) memcpy(items->text, text, length);
    while (good && (good = kit_json_walk_next(&walk, &key, &value, &found, NULL) == KOLM_OK) && found) {
        size_t i = key.escaped ? HOST_FIELDS : host_field_of(key.bytes + 1, key.length - 2);
        if (i < HOST_FIELDS)
            good = take(items, text, i, &value);
        else
            good = !key.escaped && strncmp(key.bytes + 1, "x-", 2) == 0;
    }
    kit_json_walk_free(&walk);
    return good;
}

void host_items_free(host_items *items) {
    for (size_t i = 0; i < HOST_FIELDS; i++)
        cJSON_Delete(items->trees[i]);
    free(items->text);
}
