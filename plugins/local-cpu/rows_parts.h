/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by rows.c and rows_read.c: the layout of rows in memory and in the file. */
#ifndef LOCAL_CPU_ROWS_PARTS_H
#define LOCAL_CPU_ROWS_PARTS_H

#include "rows.h"

typedef struct block {
    uint8_t *bytes; /* NULL if in the file */
    uint64_t offset;
    uint32_t length;
    uint32_t first, count;
    uint32_t *row_offset; /* of each row; NULL if in the file */
} block;

struct rows {
    unsigned families;
    text_counts *counts;
    uint32_t *frequency[TEXT_FAMILIES]; /* while adding */
    features own;
    const features *features; /* own, or those of the rows that this is a subset of */
    block *blocks;
    uint32_t block_count, block_capacity;
    uint8_t *open; /* the block being filled */
    uint32_t open_length, open_capacity, open_rows;
    uint32_t count, block_max, longest, least;
    uint32_t most_bytes; /* maximum of a block */
    uint64_t in_memory, file_end;
    uint64_t codes[TEXT_FAMILIES], all_codes;
    const uint32_t *label_map; /* while finishing */
    uint32_t *number;          /* original number of each row; NULL unless requested */
    bool numbered;
    struct {             /* all rows decoded, if they are few; else NULL */
        uint32_t *start; /* 2 per row: where its words and its characters begin; then the end */
        uint32_t *index;
        float *value;
        row_head *head;
    } decoded;
    char *scratch_dir;
    int fd;
};

extern float rows_tf[256]; /* features_tf of each count; filled by rows_new */

kit_status rows_out_of_memory(kolm_error_t *err);
/* Reads from the scratch file. */
kit_status rows_read_at(const rows *r, uint8_t *bytes, size_t length, uint64_t offset, kolm_error_t *err);
/* Makes reading fast once all blocks are complete: locates the rows of those in memory, and decodes all rows if they
 * are few. */
kit_status rows_settle(rows *r, kolm_error_t *err);

/* Reads one code: the difference to the previous feature, and how often it occurs. Returns the position after it. */
static inline const uint8_t *get_code(const uint8_t *p, uint32_t *difference, uint32_t *count) {
    uint32_t code = *p++;
    if (code >= 128) {
        code = (code & 127) | (uint32_t)*p++ << 7;
        if (code >= 1u << 14) code = (code & 16383) | (uint32_t)*p++ << 14;
    }
    *difference = code >> 1;
    *count = code & 1 ? *p++ : 1;
    return p;
}

#endif
