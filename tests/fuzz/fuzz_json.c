/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: text that the validator accepts can be parsed, to the same tree by both parsers, and written text does
 * not change when it is read and written again. */
#include "kolm/kit/json.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

typedef kit_status (*writer)(const cJSON *value, kit_buf *out, kolm_error_t *err);

/* write(read(write(x))) == write(x). A writer may reject x, but never its own output. */
static void fixed_point(const cJSON *value, writer write) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf once = {0}, twice = {0};
    cJSON *again = NULL;
    kit_status status = write(value, &once, &err);
    if (status == KOLM_OK) {
        must(kit_json_parse(once.data, once.length, &again, &err) == KOLM_OK);
        must(write(again, &twice, &err) == KOLM_OK);
        must(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0);
    } else {
        must(status == KOLM_E_INVALID_ARGUMENT && err.text[0] != '\0');
    }
    cJSON_Delete(again);
    kit_buf_free(&once);
    kit_buf_free(&twice);
}

static void same_tree(const cJSON *value, const char *bytes, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_json_tree tree;
    kit_buf expected = {0}, found = {0};
    must(kit_json_tree_read(bytes, size, &tree, &err) == KOLM_OK);
    must(kit_json_line(value, &expected, &err) == KOLM_OK && kit_json_line(tree.root, &found, &err) == KOLM_OK);
    must(expected.length == found.length && memcmp(expected.data, found.data, found.length) == 0);
    kit_buf_free(&expected);
    kit_buf_free(&found);
    kit_json_tree_free(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    const char *bytes = (const char *)data;
    kit_status status = kit_json_validate(bytes, size, &err);
    if (status != KOLM_OK) {
        must(status == KOLM_E_INVALID_ARGUMENT && err.code == status);
        must(strncmp(err.text, "line ", 5) == 0);
        must(kit_utf8_valid(err.text, strlen(err.text)) == strlen(err.text));
        return 0;
    }
    must(memchr(bytes, '\0', size) == NULL && kit_utf8_valid(bytes, size) == size);
    cJSON *value = NULL;
    must(kit_json_parse(bytes, size, &value, &err) == KOLM_OK);
    same_tree(value, bytes, size);
    fixed_point(value, kit_json_line);
    fixed_point(value, kit_json_pretty);
    fixed_point(value, kit_json_canonical);
    cJSON_Delete(value);
    return 0;
}
