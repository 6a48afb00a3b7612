/* SPDX-License-Identifier: Apache-2.0 */
/* What the strict validator, the walk over JSON text and the tree of it share. */
/* Sources: json_validate.c, json_tree.c. */
#ifndef KOLM_KIT_JSON_PARTS_H
#define KOLM_KIT_JSON_PARTS_H

#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"

/* INVALID_ARGUMENT: "line L, column C: expected EXPECTED, found WHAT", of the text from start to end; expected is
 * static. */
kit_status json_fail_at(const char *start, const char *end, const char *where, const char *expected,
                        kit_json_fault *out_fault, kolm_error_t *err) KIT_MUST_USE;

/* The bytes that a string means, one by one: escapes become UTF-8. p to end is what stands between the quotes, and must
 * have been validated. */
typedef struct json_key_reader {
    const char *p, *end;
    char pending[4];
    int pending_count, pending_at;
} json_key_reader;
/* The next byte, or -1 at the end. */
int json_key_next(json_key_reader *reader);

/* Validates, and fills root and the nodes below it. */
kit_status json_tree_scan(const char *bytes, size_t length, kit_json_tree *tree, cJSON *root,
                          kolm_error_t *err) KIT_MUST_USE;
/* A new node, all zero; NULL: memory is out. */
cJSON *json_tree_node(kit_json_tree *tree);
/* What a validated string of length bytes at this offset of the text means. */
char *json_tree_text(kit_json_tree *tree, size_t offset, const char *bytes, size_t length, bool escaped);
/* Makes node the number that these validated characters are; false: memory is out. */
bool json_tree_number(cJSON *node, const char *bytes, size_t length);

#endif
