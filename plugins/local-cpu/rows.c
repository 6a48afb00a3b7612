/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes and spills rows, selects and weighs features, shuffles. rows_read.c reads rows. */
#include "rows.h"
#include "kolm/kit/buf.h"
#include "numeric.h"
#include "rows_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BITSET_WORDS (TEXT_BUCKETS / 64)
#define KEEP_ALL_BELOW 32768u /* with fewer features than this, those seen once are kept too */

float rows_tf[256];
static void fill_tf(void) {
    for (int i = 1; i < 256; i++)
        rows_tf[i] = (float)(1.0 + num_log(i));
}

float features_tf(uint32_t count) {
    return (float)(1.0 + num_log(count < 255 ? count : 255));
}

kit_status rows_out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "close other programs, raise the memory limit, or train on fewer rows",
                    "out of memory while holding the training rows");
}

void features_free(features *f) {
    if (f == NULL) return;
    for (unsigned i = 0; i < TEXT_FAMILIES; i++) {
        free(f->used[i]);
        free(f->rank[i]);
    }
    free(f->idf);
    memset(f, 0, sizeof *f);
}

static rows *empty_rows(const char *scratch_dir, unsigned families) {
    rows *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->fd = -1;
    r->families = families;
    r->features = &r->own;
    if (scratch_dir != NULL && (r->scratch_dir = strdup(scratch_dir)) == NULL) {
        free(r);
        return NULL;
    }
    return r;
}

kit_status rows_new(const char *scratch_dir, unsigned families, rows **out, kolm_error_t *err) {
    *out = NULL;
    if (rows_tf[1] == 0.0f) fill_tf();
    rows *r = empty_rows(scratch_dir, families);
    if (r == NULL) return rows_out_of_memory(err);
    r->counts = text_counts_new();
    for (unsigned f = 0; f < TEXT_FAMILIES; f++)
        r->frequency[f] = calloc(TEXT_BUCKETS, sizeof *r->frequency[f]);
    if (r->counts == NULL || r->frequency[0] == NULL || r->frequency[1] == NULL) {
        rows_free(r);
        return rows_out_of_memory(err);
    }
    *out = r;
    return KOLM_OK;
}

void rows_free(rows *r) {
    if (r == NULL) return;
    for (uint32_t i = 0; i < r->block_count; i++) {
        free(r->blocks[i].bytes);
        free(r->blocks[i].row_offset);
    }
    free(r->blocks);
    free(r->decoded.start);
    free(r->decoded.index);
    free(r->decoded.value);
    free(r->decoded.head);
    free(r->open);
    for (unsigned f = 0; f < TEXT_FAMILIES; f++)
        free(r->frequency[f]);
    text_counts_free(r->counts);
    features_free(&r->own);
    free(r->number);
    if (r->fd >= 0) close(r->fd);
    free(r->scratch_dir);
    free(r);
}

/* ---- Blocks */

static kit_status open_scratch(rows *r, kolm_error_t *err) {
    char *path = NULL;
    if (r->fd >= 0) return KOLM_OK;
    size_t need = strlen(r->scratch_dir) + sizeof "/rows-XXXXXX";
    if ((path = malloc(need)) == NULL) return rows_out_of_memory(err);
    (void)kit_format(path, need, "%s/rows-XXXXXX", r->scratch_dir);
    r->fd = mkostemp(path, O_CLOEXEC);
    if (r->fd < 0) {
        kit_status status = kit_fail_errno(err, errno, "cannot make a scratch file in %s", r->scratch_dir);
        free(path);
        return status;
    }
    unlink(path);
    free(path);
    return KOLM_OK;
}

static kit_status write_at(const rows *r, const uint8_t *bytes, size_t length, uint64_t offset, kolm_error_t *err) {
    while (length > 0) {
        ssize_t done = pwrite(r->fd, bytes, length, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0)
            return kit_fail_errno(err, errno, "cannot write the scratch file of the training rows in %s",
                                  r->scratch_dir);
        bytes += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return KOLM_OK;
}

kit_status rows_read_at(const rows *r, uint8_t *bytes, size_t length, uint64_t offset, kolm_error_t *err) {
    while (length > 0) {
        ssize_t done = pread(r->fd, bytes, length, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0)
            return kit_fail_errno(err, errno, "cannot read the scratch file of the training rows in %s",
                                  r->scratch_dir);
        if (done == 0)
            return kit_fail(err, KOLM_E_DATA_LOSS, "run the command again",
                            "the scratch file of the training rows was cut short");
        bytes += done;
        offset += (uint64_t)done;
        length -= (size_t)done;
    }
    return KOLM_OK;
}

static kit_status close_block(rows *r, kolm_error_t *err) {
    if (r->open_rows == 0) return KOLM_OK;
    if (r->block_count == r->block_capacity) {
        uint32_t capacity = r->block_capacity * 2 + 16;
        block *grown = realloc(r->blocks, capacity * sizeof *grown);
        if (grown == NULL) return rows_out_of_memory(err);
        r->blocks = grown;
        r->block_capacity = capacity;
    }
    block b = {.length = r->open_length, .first = r->count - r->open_rows, .count = r->open_rows};
    if (r->scratch_dir == NULL || r->in_memory + b.length <= ROWS_MEMORY_BYTES) {
        if ((b.bytes = malloc(b.length)) == NULL) return rows_out_of_memory(err);
        memcpy(b.bytes, r->open, b.length);
        r->in_memory += b.length;
    } else {
        KIT_TRY(open_scratch(r, err));
        b.offset = r->file_end;
        KIT_TRY(write_at(r, r->open, b.length, b.offset, err));
        r->file_end += b.length;
    }
    r->blocks[r->block_count++] = b;
    if (r->open_rows > r->block_max) r->block_max = r->open_rows;
    if (r->open_length > r->most_bytes) r->most_bytes = r->open_length;
    r->open_length = r->open_rows = 0;
    return KOLM_OK;
}

/* Makes room for another row of at most size bytes. */
static kit_status reserve(rows *r, uint32_t size, kolm_error_t *err) {
    if (r->open_rows == ROWS_BLOCK_ROWS || (r->open_rows > 0 && r->open_length >= ROWS_BLOCK_BYTES))
        KIT_TRY(close_block(r, err));
    uint64_t need = (uint64_t)r->open_length + size;
    if (need <= r->open_capacity) return KOLM_OK;
    uint64_t capacity = need + need / 4 + 65536;
    if (capacity > UINT32_MAX) return rows_out_of_memory(err);
    uint8_t *grown = realloc(r->open, capacity);
    if (grown == NULL) return rows_out_of_memory(err);
    r->open = grown;
    r->open_capacity = (uint32_t)capacity;
    return KOLM_OK;
}

/* ---- Codes */

static uint8_t *put_code(uint8_t *p, uint32_t difference, uint32_t count) {
    uint32_t code = difference << 1 | (count > 1);
    while (code >= 128) {
        *p++ = (uint8_t)(code | 128);
        code >>= 7;
    }
    *p++ = (uint8_t)code;
    if (count > 1) *p++ = (uint8_t)(count < 255 ? count : 255);
    return p;
}

_Static_assert(TEXT_BITS + 1 <= 21, "a difference and its flag fit three groups of seven bits");

/* Maximum bytes of one text: every bucket at most once, 4 bytes each. */
static uint32_t text_bytes_bound(size_t length) {
    uint64_t chars = length < TEXT_MAX_CHARS ? length : TEXT_MAX_CHARS;
    uint64_t words = chars + 2, runs = 6 * chars + 8;
    if (words > TEXT_BUCKETS) words = TEXT_BUCKETS;
    if (runs > TEXT_BUCKETS) runs = TEXT_BUCKETS;
    return (uint32_t)(sizeof(row_head) + 4 * (words + runs));
}

kit_status rows_add(rows *r, const char *text, size_t length, uint32_t label, uint32_t fold, kolm_error_t *err) {
    KIT_TRY(reserve(r, text_bytes_bound(length), err));
    if (r->count == UINT32_MAX - 1)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "train on a part of them", "more than four billion rows");
    if (text_count(r->counts, text, length, r->families) != 0) return rows_out_of_memory(err);
    uint8_t *start = r->open + r->open_length, *p = start + sizeof(row_head);
    row_head head = {.label = label, .fold = fold};
    uint32_t length_codes = 0;
    for (unsigned f = 0; f < TEXT_FAMILIES; f++) {
        uint32_t position = 0, last = 0, bucket, count;
        if (f == 1) head.middle = (uint32_t)(p - start);
        while (text_next(r->counts, f, &position, &bucket, &count)) {
            p = put_code(p, bucket - last, count);
            last = bucket;
            r->frequency[f][bucket]++;
            length_codes++;
        }
    }
    head.size = (uint32_t)(p - start);
    memcpy(start, &head, sizeof head);
    r->open_length += head.size;
    r->open_rows++;
    r->count++;
    if (length_codes > r->longest) r->longest = length_codes;
    return KOLM_OK;
}

/* ---- Features */

static uint32_t count_frequent(const rows *r, unsigned family, uint32_t least) {
    uint32_t n = 0;
    for (uint32_t b = 0; b < TEXT_BUCKETS; b++)
        n += r->frequency[family][b] >= least;
    return n;
}

static uint32_t least_frequency(const rows *r, uint32_t max_features, uint32_t labels) {
    uint32_t least = 1,
             most = KEEP_ALL_BELOW < max_features && r->count / labels >= ROWS_FEW ? KEEP_ALL_BELOW : max_features;
    while (count_frequent(r, 0, least) + count_frequent(r, 1, least) > most) {
        least = least < 8 ? least + 1 : least + least / 8;
        most = max_features;
    }
    return least;
}

static kit_status choose_features(rows *r, uint32_t max_features, uint32_t labels, kolm_error_t *err) {
    uint32_t least = r->least = least_frequency(r, max_features, labels);
    features *f = &r->own;
    for (unsigned family = 0; family < TEXT_FAMILIES; family++) {
        f->used[family] = calloc(BITSET_WORDS, sizeof *f->used[family]);
        f->rank[family] = calloc(BITSET_WORDS, sizeof *f->rank[family]);
        if (f->used[family] == NULL || f->rank[family] == NULL) return rows_out_of_memory(err);
        for (uint32_t b = 0; b < TEXT_BUCKETS; b++) {
            if (b % 64 == 0) f->rank[family][b / 64] = f->count[family];
            if (r->frequency[family][b] < least) continue;
            f->used[family][b / 64] |= 1ull << (b % 64);
            f->count[family]++;
        }
    }
    f->idf = malloc((features_all(f) + 1) * sizeof *f->idf);
    if (f->idf == NULL) return rows_out_of_memory(err);
    uint32_t at = 0;
    for (unsigned family = 0; family < TEXT_FAMILIES; family++)
        for (uint32_t b = 0; b < TEXT_BUCKETS; b++)
            if (r->frequency[family][b] >= least)
                f->idf[at++] = (float)(num_log((1.0 + r->count) / (1.0 + r->frequency[family][b])) + 1.0);
    return KOLM_OK;
}

/* Rewrites one row from buckets to features, in place (it only gets shorter). Returns the new size. */
static uint32_t rewrite_row(rows *r, const uint8_t *from, uint8_t *to) {
    row_head head;
    memcpy(&head, from, sizeof head);
    const uint8_t *p = from + sizeof head, *end[TEXT_FAMILIES] = {from + head.middle, from + head.size};
    uint8_t *out = to + sizeof head;
    uint32_t base = 0, codes = 0;
    for (unsigned family = 0; family < TEXT_FAMILIES; family++) {
        uint32_t bucket = 0, last = 0, difference, count, feature;
        double square = 0.0;
        if (family == 1) head.middle = (uint32_t)(out - to);
        while (p < end[family]) {
            p = get_code(p, &difference, &count);
            bucket += difference;
            if (!features_find(&r->own, family, bucket, &feature)) continue;
            double value = (double)rows_tf[count] * r->own.idf[base + feature];
            square += value * value;
            out = put_code(out, feature - last, count);
            last = feature;
            codes++;
            r->codes[family]++;
        }
        head.inverse_norm[family] = square > 0.0 ? (float)(1.0 / num_sqrt(square)) : 0.0f;
        base += r->own.count[family];
    }
    head.size = (uint32_t)(out - to);
    head.codes = codes;
    r->all_codes += codes;
    if (r->label_map != NULL) head.label = r->label_map[head.label];
    memcpy(to, &head, sizeof head);
    return head.size;
}

/* ---- Shuffling: data sorted by label would make the solvers slow */

/* A group of blocks loaded together, with the offset of each of its rows. */
typedef struct group {
    uint8_t *bytes;
    uint64_t *offset;
    uint32_t *number; /* original number of each row */
    uint64_t length;
    uint32_t count;
} group;

static kit_status load_group(const rows *from, const uint32_t *order, uint32_t blocks, group *g, kolm_error_t *err) {
    g->length = 0;
    g->count = 0;
    for (uint32_t i = 0; i < blocks; i++) {
        g->length += from->blocks[order[i]].length;
        g->count += from->blocks[order[i]].count;
    }
    g->bytes = malloc(g->length + 1);
    g->offset = malloc((g->count + 1) * sizeof *g->offset);
    g->number = malloc((g->count + 1) * sizeof *g->number);
    if (g->bytes == NULL || g->offset == NULL || g->number == NULL) return rows_out_of_memory(err);
    uint64_t at = 0;
    for (uint32_t i = 0, n = 0; i < blocks; i++) {
        block *b = &from->blocks[order[i]];
        if (b->bytes != NULL)
            memcpy(g->bytes + at, b->bytes, b->length);
        else
            KIT_TRY(rows_read_at(from, g->bytes + at, b->length, b->offset, err));
        free(b->bytes);
        b->bytes = NULL;
        for (uint32_t k = 0; k < b->count; k++) {
            uint32_t size;
            memcpy(&size, g->bytes + at + offsetof(row_head, size), sizeof size);
            g->number[n] = b->first + k;
            g->offset[n++] = at;
            at += size;
        }
    }
    return KOLM_OK;
}

static void shuffle_group(group *g, uint64_t seed) {
    for (uint32_t i = g->count; i > 1; i--) {
        uint32_t j = num_below(&seed, i), number = g->number[i - 1];
        uint64_t t = g->offset[i - 1];
        g->offset[i - 1] = g->offset[j];
        g->offset[j] = t;
        g->number[i - 1] = g->number[j];
        g->number[j] = number;
    }
}

/* Appends a group's rows, re-encoded and in random order, to those of r. */
static kit_status move_group(rows *r, const rows *from, const uint32_t *order, uint32_t blocks, uint64_t seed,
                             kolm_error_t *err) {
    group g = {0};
    kit_status status = load_group(from, order, blocks, &g, err);
    if (status == KOLM_OK) shuffle_group(&g, seed);
    for (uint32_t i = 0; i < g.count && status == KOLM_OK; i++) {
        row_head head;
        memcpy(&head, g.bytes + g.offset[i], sizeof head);
        if ((status = reserve(r, head.size, err)) != KOLM_OK) break;
        r->open_length += rewrite_row(r, g.bytes + g.offset[i], r->open + r->open_length);
        if (r->number != NULL) r->number[r->count] = g.number[i];
        r->open_rows++;
        r->count++;
    }
    free(g.bytes);
    free(g.offset);
    free(g.number);
    return status;
}

/* Moves the blocks of r to the returned rows; r spills to a new file from now on. NULL if out of memory. */
static rows *detach_blocks(rows *r) {
    rows *old = empty_rows(NULL, r->families);
    if (old == NULL) return NULL;
    old->blocks = r->blocks;
    old->block_count = r->block_count;
    old->fd = r->fd;
    r->blocks = NULL;
    r->block_count = r->block_capacity = r->block_max = r->most_bytes = r->count = 0;
    r->in_memory = r->file_end = 0;
    r->fd = -1;
    return old;
}

static kit_status mix(rows *r, kolm_error_t *err) {
    if (r->numbered && (r->number = malloc(((size_t)r->count + 1) * sizeof *r->number)) == NULL)
        return rows_out_of_memory(err);
    rows *old = detach_blocks(r);
    if (old == NULL) return rows_out_of_memory(err);
    uint32_t n = old->block_count, *order = malloc((n + 1) * sizeof *order);
    if (order == NULL) {
        rows_free(old);
        return rows_out_of_memory(err);
    }
    kit_status status = KOLM_OK;
    uint64_t seed = 0x6D6978ull;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = num_below(&seed, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < n && status == KOLM_OK; i += ROWS_MIX_BLOCKS)
        status = move_group(r, old, order + i, n - i < ROWS_MIX_BLOCKS ? n - i : ROWS_MIX_BLOCKS, num_mix(i), err);
    if (status == KOLM_OK) status = close_block(r, err);
    free(order);
    rows_free(old);
    return status;
}

kit_status rows_finish(rows *r, uint32_t max_features, uint32_t labels, const uint32_t *label_map, kolm_error_t *err) {
    r->label_map = label_map;
    KIT_TRY(close_block(r, err));
    free(r->open);
    r->open = NULL;
    r->open_capacity = 0;
    text_counts_free(r->counts);
    r->counts = NULL;
    KIT_TRY(choose_features(r, max_features, labels, err));
    for (unsigned f = 0; f < TEXT_FAMILIES; f++) {
        free(r->frequency[f]);
        r->frequency[f] = NULL;
    }
    kit_status status = mix(r, err);
    if (status == KOLM_OK) status = rows_settle(r, err);
    free(r->open);
    r->open = NULL;
    r->open_capacity = 0;
    r->label_map = NULL;
    return status;
}

kit_status rows_sample(const rows *r, uint32_t wanted, uint64_t seed, const char *scratch_dir, rows **out,
                       kolm_error_t *err) {
    *out = NULL;
    rows_reader reader;
    KIT_TRY(rows_reader_open(r, 0, &reader, err));
    kit_status status = KOLM_OK;
    rows *part = empty_rows(scratch_dir, r->families);
    if (part == NULL) status = rows_out_of_memory(err);
    if (part != NULL && r->number != NULL &&
        (part->number = malloc(((size_t)r->count + 1) * sizeof *part->number)) == NULL)
        status = rows_out_of_memory(err);
    for (uint32_t b = 0; b < r->block_count && status == KOLM_OK; b++) {
        if ((status = rows_reader_load(&reader, b, err)) != KOLM_OK) break;
        for (uint32_t i = 0; i < reader.count && status == KOLM_OK; i++) {
            if ((uint64_t)(num_mix(seed + reader.first + i) >> 32) * r->count >> 32 >= wanted) continue;
            row_head head;
            (void)rows_reader_head(&reader, i, &head);
            if ((status = reserve(part, head.size, err)) != KOLM_OK) break;
            memcpy(part->open + part->open_length, reader.bytes + reader.offset[i], head.size);
            part->open_length += head.size;
            if (part->number != NULL) part->number[part->count] = r->number[reader.first + i];
            part->open_rows++;
            part->count++;
            part->all_codes += head.codes;
        }
    }
    if (status == KOLM_OK) status = close_block(part, err);
    if (status == KOLM_OK) {
        part->features = r->features;
        part->longest = r->longest;
        status = rows_settle(part, err);
    }
    rows_reader_close(&reader);
    if (status != KOLM_OK) {
        rows_free(part);
        return status;
    }
    free(part->open);
    part->open = NULL;
    *out = part;
    return KOLM_OK;
}

const features *rows_features(const rows *r) {
    return r->features;
}
uint32_t rows_least_frequency(const rows *r) {
    return r->least;
}
uint32_t rows_count(const rows *r) {
    return r->count;
}
uint32_t rows_blocks(const rows *r) {
    return r->block_count;
}
void rows_keep_numbers(rows *r) {
    r->numbered = true;
}
const uint32_t *rows_numbers(const rows *r) {
    return r->number;
}
uint32_t rows_block_max(const rows *r) {
    return r->block_max;
}
uint64_t rows_codes(const rows *r, unsigned family) {
    return r->codes[family];
}

uint32_t features_weigh(const features *f, text_counts *counts, unsigned families, uint32_t *index, float *value) {
    uint32_t n = 0, base = 0;
    for (unsigned family = 0; family < TEXT_FAMILIES; family++) {
        uint32_t position = 0, bucket, count, feature, begin = n;
        double square = 0.0;
        while (text_next(counts, family, &position, &bucket, &count)) {
            if (!(families >> family & 1u) || !features_find(f, family, bucket, &feature)) continue;
            float tf = features_tf(count);
            double raw = (double)tf * f->idf[base + feature];
            square += raw * raw;
            index[n] = base + feature;
            value[n++] = tf * f->idf[base + feature];
        }
        float scale = square > 0.0 ? (float)(1.0 / num_sqrt(square)) : 0.0f;
        for (uint32_t i = begin; i < n; i++)
            value[i] *= scale;
        base += f->count[family];
    }
    return n;
}
