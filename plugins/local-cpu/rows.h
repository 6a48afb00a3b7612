/* SPDX-License-Identifier: Apache-2.0 */
/* Training rows as compact byte codes in blocks, in memory up to a limit and in a scratch file beyond it. */
#ifndef LOCAL_CPU_ROWS_H
#define LOCAL_CPU_ROWS_H

#include "kolm/kit/status.h"
#include "text.h"

#include <stdbool.h>

/*
 * A row is a small header and, family by family, ascending feature numbers as differences in 7-bit groups; the lowest
 * bit of a difference means that a count byte follows: about two bytes per feature. Rows are collected in blocks of
 * about ROWS_BLOCK_BYTES. The first ROWS_MEMORY_BYTES stay in memory, the others go to an unlinked file in the scratch
 * directory and are read with pread, so the memory of training does not grow with the data. Results do not depend on
 * where a block is.
 */
#define ROWS_BLOCK_BYTES (1u << 18)
#define ROWS_MIX_BLOCKS 32u /* number of random blocks that are shuffled together */
#define ROWS_BLOCK_ROWS 8192u
#define ROWS_MEMORY_BYTES (24u << 20)
#define ROWS_FOLDS_MAX 16u
#define ROWS_FEW 20u /* rows per label: with fewer, features that occur once are kept, as there may be no others */
#define ROWS_DECODED_BYTES (20u << 20) /* rows that fit in this when decoded are also kept decoded */

/* Which buckets are features, in which order, and how rare each is. Read-only once built; may be shared. */
typedef struct features {
    uint64_t *used[TEXT_FAMILIES]; /* bit set of buckets */
    uint32_t *rank[TEXT_FAMILIES]; /* features before each 64 buckets, within the family */
    uint32_t count[TEXT_FAMILIES]; /* features of each family; those of family 1 are numbered after family 0's */
    float *idf;                    /* ln((1 + n) / (1 + df)) + 1 of each feature */
} features;
void features_free(features *f); /* frees what it points to, not f */
static inline uint32_t features_all(const features *f) {
    return f->count[TEXT_WORDS] + f->count[TEXT_CHARS];
}
/* Returns true, and the feature's number within its family, if the bucket is a feature. */
static inline bool features_find(const features *f, unsigned family, uint32_t bucket, uint32_t *out) {
    uint64_t word = f->used[family][bucket / 64], bit = 1ull << (bucket % 64);
    if ((word & bit) == 0) return false;
    *out = f->rank[family][bucket / 64] + (uint32_t)__builtin_popcountll(word & (bit - 1));
    return true;
}

typedef struct row_head {
    uint32_t size; /* of header and codes */
    uint32_t label;
    uint32_t fold;
    uint32_t middle;                   /* where the codes of family 1 begin */
    uint32_t codes;                    /* of both families */
    float inverse_norm[TEXT_FAMILIES]; /* 0 for a family without features */
} row_head;

typedef struct rows rows;

/* A decoded row: its features with their weighted values. The arrays are owned by the reader or the rows; read-only. */
typedef struct row_view {
    uint32_t label, fold;
    uint32_t length;
    float square; /* the sum of the squared values: 1 for each family that is not empty */
    const uint32_t *index;
    const float *value;
} row_view;

/* One thread's view of rows: one block at a time. */
typedef struct rows_reader {
    const rows *rows;
    unsigned families; /* what row_read decodes: bit 0 words, bit 1 characters */
    uint8_t *buffer;
    const uint8_t *bytes;
    const uint32_t *offset; /* of each row of the block */
    uint32_t *offset_buffer;
    uint32_t count; /* rows of the block */
    uint32_t first; /* number of the first one within all rows */
    row_view view;
    uint32_t *index; /* room for the view's arrays */
    float *value;
} rows_reader;

/* families: those to count. scratch_dir may be NULL (everything stays in memory). */
kit_status rows_new(const char *scratch_dir, unsigned families, rows **out, kolm_error_t *err) KIT_MUST_USE;
void rows_free(rows *r);
kit_status rows_add(rows *r, const char *text, size_t length, uint32_t label, uint32_t fold,
                    kolm_error_t *err) KIT_MUST_USE;
/* Call after adding all rows: selects the features (at most max_features, the most frequent; those seen once only if
 * there are few features or few rows per label), weighs and re-encodes every row. The features are owned by r.
 * label_map (may be NULL) has the final number of each label that was added. */
kit_status rows_finish(rows *r, uint32_t max_features, uint32_t labels, const uint32_t *label_map,
                       kolm_error_t *err) KIT_MUST_USE;
/* Call before rows_finish, which shuffles the rows: keeps the original number of each, 4 bytes per row. */
void rows_keep_numbers(rows *r);
const uint32_t *rows_numbers(const rows *r); /* of each row, in reading order; NULL if not kept */
/* A deterministic subset of about `wanted` rows, sharing r's features (r must outlive it). */
kit_status rows_sample(const rows *r, uint32_t wanted, uint64_t seed, const char *scratch_dir, rows **out,
                       kolm_error_t *err) KIT_MUST_USE;

const features *rows_features(const rows *r);
/* Minimum number of rows in which a bucket had to occur to become a feature. */
uint32_t rows_least_frequency(const rows *r);
uint32_t rows_count(const rows *r);
uint32_t rows_blocks(const rows *r);
uint32_t rows_block_max(const rows *r); /* maximum number of rows in a block */
/* Number of codes of the word family and of all families, a measure of the length of the texts. */
uint64_t rows_codes(const rows *r, unsigned family);

kit_status rows_reader_open(const rows *r, unsigned families, rows_reader *out, kolm_error_t *err) KIT_MUST_USE;
void rows_reader_close(rows_reader *reader);
kit_status rows_reader_load(rows_reader *reader, uint32_t block, kolm_error_t *err) KIT_MUST_USE;
const row_head *rows_reader_head(const rows_reader *reader, uint32_t i, row_head *out);
/* Decodes row i of the loaded block into reader->view. */
void rows_reader_read(rows_reader *reader, uint32_t i);

/* Weighs one counted text the same way as rows are; index and value must have room for features_all. Drains counts. */
uint32_t features_weigh(const features *f, text_counts *counts, unsigned families, uint32_t *index, float *value);
/* 1 + ln(count), with count capped at 255. */
float features_tf(uint32_t count);

#endif
