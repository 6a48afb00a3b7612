/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the strict validator, the walk over JSON text, and the JSON tree. */
/* Sources: json_validate.c, json_tree.c. */
#ifndef KOLM_KIT_JSON_PARTS_H
#define KOLM_KIT_JSON_PARTS_H

#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"

#include <stdint.h>
#include <string.h>

/* INVALID_ARGUMENT: "line L, column C: expected EXPECTED, found WHAT", for the text from start to end; expected must be
 * static. */
kit_status json_fail_at(const char *start, const char *end, const char *where, const char *expected,
                        kit_json_fault *out_fault, kolm_error_t *err) KIT_MUST_USE;

#define JSON_EACH_BYTE 0x0101010101010101ull
#define JSON_HIGH_BITS 0x8080808080808080ull

/* Returns the first byte from p that is a quote, a backslash or a control character, or has its high bit set and high
 * is JSON_HIGH_BITS (0: such bytes are skipped); end if there is none. */
static inline const char *json_find_special(const char *p, const char *end, uint64_t high) {
    for (; end - p >= 8; p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        const uint64_t quote = word ^ (JSON_EACH_BYTE * '"'), backslash = word ^ (JSON_EACH_BYTE * '\\');
        /* Sets the high bit of each byte that is less than the subtrahend and has no high bit of its own. A borrow
         * affects only bytes above such a byte: zero is a proof, and the lowest bit is exact. */
        const uint64_t less = ((quote - JSON_EACH_BYTE) & ~quote) | ((backslash - JSON_EACH_BYTE) & ~backslash) |
                              ((word - JSON_EACH_BYTE * 0x20) & ~word);
        const uint64_t found = (less & JSON_HIGH_BITS) | (word & high);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (found != 0) return p + __builtin_ctzll(found) / 8;
#else
        if (found != 0) break;
#endif
    }
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20 && ((unsigned char)*p & high & 0x80) == 0)
        p++;
    return p;
}

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
