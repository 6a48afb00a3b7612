/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the strict validator, the walk over JSON text, and the JSON tree. */
/* Sources: json_validate.c, json_tree.c. */
#ifndef KOLM_KIT_JSON_PARTS_H
#define KOLM_KIT_JSON_PARTS_H

#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"

/* INVALID_ARGUMENT: "line L, column C: expected EXPECTED, found WHAT", for the text from start to end; expected must be
 * static. */
kit_status json_fail_at(const char *start, const char *end, const char *where, const char *expected,
                        kit_json_fault *out_fault, kolm_error_t *err) KIT_MUST_USE;

/* Decodes a string byte by byte: escapes become UTF-8. p to end is the text between the quotes, which must be valid. */
typedef struct json_key_reader {
    const char *p, *end;
    char pending[4];
    int pending_count, pending_at;
} json_key_reader;
/* The next byte, or -1 at the end. */
int json_key_next(json_key_reader *reader);

/* Validates the text, and fills root and the nodes below it. */
kit_status json_tree_scan(const char *bytes, size_t length, kit_json_tree *tree, cJSON *root,
                          kolm_error_t *err) KIT_MUST_USE;
/* Returns a new, zeroed node; NULL if out of memory. */
cJSON *json_tree_node(kit_json_tree *tree);
/* Decodes a validated string of length bytes at this offset of the text. */
char *json_tree_text(kit_json_tree *tree, size_t offset, const char *bytes, size_t length, bool escaped);
/* Stores the number with these validated characters in node; false if out of memory. */
bool json_tree_number(cJSON *node, const char *bytes, size_t length);

#endif
