/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the walk can skip any text that the strict validator accepts; its members are those of the parser; and
 * for any bytes, each part is inside the text and can be walked by itself. */
#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

static void check_error(const kolm_error_t *err) {
    must(strncmp(err->text, "line ", 5) == 0 && kit_utf8_valid(err->text, strlen(err->text)) == strlen(err->text));
}

/* The part has the same value as the parser's string. */
static void check_text(const kit_json_part *part, const char *expected) {
    kit_buf text = {0};
    must(kit_json_part_text(part, &text, NULL) == KOLM_OK && strcmp(kit_buf_text(&text), expected) == 0);
    must(kit_json_part_is(part, expected));
    kit_buf_free(&text);
}

static void check_part(const kit_json_part *part, const char *start, const char *end) {
    must(part->length > 0 && part->bytes >= start && part->bytes + part->length <= end);
    kit_json_walk walk = {0};
    kit_json_part key, value;
    bool found = true;
    if (part->kind == KIT_JSON_ARRAY || part->kind == KIT_JSON_OBJECT) {
        must(kit_json_walk_begin(&walk, part->bytes, part->length, NULL) == KOLM_OK);
        while (found)
            must(kit_json_walk_next(&walk, &key, &value, &found, NULL) == KOLM_OK);
        kit_json_walk_free(&walk);
    }
    kit_buf compact = {0};
    kit_json_part_compact(part, &compact);
    must(compact.length > 0 && compact.length <= part->length);
    kit_buf_free(&compact);
}

/* tree: NULL, or the parser's result for the same bytes. */
static void walk_all(const char *bytes, size_t size, const cJSON *tree) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_json_walk walk = {0};
    kit_json_part key, value;
    bool found = true;
    const cJSON *item = tree != NULL ? tree->child : NULL;
    kit_status status = kit_json_walk_begin(&walk, bytes, size, &err);
    while (status == KOLM_OK && found) {
        status = kit_json_walk_next(&walk, &key, &value, &found, &err);
        if (status != KOLM_OK || !found) continue;
        check_part(&value, bytes, bytes + size);
        if (tree == NULL) continue;
        must(item != NULL);
        if (walk.object) check_text(&key, item->string);
        if (cJSON_IsString(item)) check_text(&value, item->valuestring);
        must(cJSON_IsObject(item) == (value.kind == KIT_JSON_OBJECT) &&
             cJSON_IsNull(item) == (value.kind == KIT_JSON_NULL));
        item = item->next;
    }
    must(tree == NULL || (status == KOLM_OK && item == NULL));
    if (status != KOLM_OK) check_error(&err);
    kit_json_walk_free(&walk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *tree = NULL;
    const char *bytes = (const char *)data;
    bool strict = kit_json_parse(bytes, size, &tree, NULL) == KOLM_OK && (cJSON_IsObject(tree) || cJSON_IsArray(tree));
    walk_all(bytes, size, strict ? tree : NULL);
    cJSON_Delete(tree);
    return 0;
}
