/* SPDX-License-Identifier: Apache-2.0 */
/* Reads rows: blocks from memory or from the file, and converts their codes to features with values. */
#include "rows_parts.h"

#include <stdlib.h>
#include <string.h>

kit_status rows_reader_open(const rows *r, unsigned families, rows_reader *out, kolm_error_t *err) {
    memset(out, 0, sizeof *out);
    out->rows = r;
    out->families = families;
    if (r->fd >= 0 && (out->buffer = malloc(r->most_bytes + 1)) == NULL) return rows_out_of_memory(err);
    out->offset_buffer = malloc((r->block_max + 1) * sizeof *out->offset_buffer);
    out->index = malloc((r->longest + 1) * sizeof *out->index);
    out->value = malloc((r->longest + 1) * sizeof *out->value);
    if (out->offset_buffer != NULL && out->index != NULL && out->value != NULL) return KOLM_OK;
    rows_reader_close(out);
    return rows_out_of_memory(err);
}

void rows_reader_close(rows_reader *reader) {
    free(reader->buffer);
    free(reader->offset_buffer);
    free(reader->index);
    free(reader->value);
    memset(reader, 0, sizeof *reader);
}

static void find_rows(const uint8_t *bytes, uint32_t count, uint32_t *offset) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size;
        memcpy(&size, bytes + at + offsetof(row_head, size), sizeof size);
        offset[i] = at;
        at += size;
    }
}

kit_status rows_reader_load(rows_reader *reader, uint32_t number, kolm_error_t *err) {
    const block *b = &reader->rows->blocks[number];
    reader->bytes = b->bytes;
    if (b->bytes == NULL) {
        KIT_TRY(rows_read_at(reader->rows, reader->buffer, b->length, b->offset, err));
        reader->bytes = reader->buffer;
    }
    reader->count = b->count;
    reader->first = b->first;
    reader->offset = b->row_offset;
    if (b->row_offset == NULL) {
        find_rows(reader->bytes, b->count, reader->offset_buffer);
        reader->offset = reader->offset_buffer;
    }
    return KOLM_OK;
}

const row_head *rows_reader_head(const rows_reader *reader, uint32_t i, row_head *out) {
    if (reader->rows->decoded.head != NULL)
        *out = reader->rows->decoded.head[reader->first + i];
    else
        memcpy(out, reader->bytes + reader->offset[i], sizeof *out);
    return out;
}

/* Decodes the requested families of a row; returns the number of features. */
static uint32_t decode_row(const features *f, const uint8_t *start, const row_head *head, unsigned families,
                           uint32_t *index, float *value) {
    const uint8_t *part[TEXT_FAMILIES + 1] = {start + sizeof *head, start + head->middle, start + head->size};
    uint32_t n = 0, base = 0;
    for (unsigned family = 0; family < TEXT_FAMILIES; family++) {
        if (families >> family & 1u) {
            const float scale = head->inverse_norm[family], *idf = f->idf + base;
            uint32_t feature = 0, difference, count;
            for (const uint8_t *p = part[family]; p < part[family + 1]; n++) {
                p = get_code(p, &difference, &count);
                feature += difference;
                index[n] = base + feature;
                value[n] = rows_tf[count] * idf[feature] * scale;
            }
        }
        base += f->count[family];
    }
    return n;
}

static float square_of(const row_head *head, unsigned families) {
    float square = 0.0f;
    for (unsigned family = 0; family < TEXT_FAMILIES; family++)
        if ((families >> family & 1u) && head->inverse_norm[family] > 0.0f) square += 1.0f;
    return square;
}

void rows_reader_read(rows_reader *reader, uint32_t i) {
    const rows *r = reader->rows;
    row_head copy;
    const row_head *head = rows_reader_head(reader, i, &copy);
    row_view *view = &reader->view;
    view->label = head->label;
    view->fold = head->fold;
    view->square = square_of(head, reader->families);
    if (r->decoded.start != NULL) {
        const uint32_t *start = r->decoded.start + 2 * (size_t)(reader->first + i);
        uint32_t begin = reader->families & 1u ? start[0] : start[1];
        view->length = (reader->families & 2u ? start[2] : start[1]) - begin;
        view->index = r->decoded.index + begin;
        view->value = r->decoded.value + begin;
        return;
    }
    view->length = decode_row(r->features, reader->bytes + reader->offset[i], head, reader->families, reader->index,
                              reader->value);
    view->index = reader->index;
    view->value = reader->value;
}

/* ---- Fast reading */

static kit_status decode_all(rows *r, kolm_error_t *err) {
    rows_reader reader;
    uint32_t *start = malloc((2 * (size_t)r->count + 1) * sizeof *start),
             *index = malloc((r->all_codes + 1) * sizeof *index);
    float *value = malloc((r->all_codes + 1) * sizeof *value);
    row_head *head = malloc((r->count + 1) * sizeof *head);
    kit_status status = rows_reader_open(r, 3, &reader, err);
    if (status == KOLM_OK && (start == NULL || index == NULL || value == NULL || head == NULL))
        status = rows_out_of_memory(err);
    uint32_t at = 0, row = 0;
    for (uint32_t b = 0; b < r->block_count && status == KOLM_OK; b++) {
        if ((status = rows_reader_load(&reader, b, err)) != KOLM_OK) break;
        for (uint32_t i = 0; i < reader.count; i++, row++) {
            const uint8_t *bytes = reader.bytes + reader.offset[i];
            (void)rows_reader_head(&reader, i, &head[row]);
            start[2 * (size_t)row] = at;
            at += decode_row(r->features, bytes, &head[row], 1, index + at, value + at);
            start[2 * (size_t)row + 1] = at;
            at += decode_row(r->features, bytes, &head[row], 2, index + at, value + at);
        }
    }
    rows_reader_close(&reader);
    if (status != KOLM_OK) {
        free(start);
        free(index);
        free(value);
        free(head);
        return status;
    }
    start[2 * (size_t)r->count] = at;
    r->decoded.start = start;
    r->decoded.index = index;
    r->decoded.value = value;
    r->decoded.head = head;
    return KOLM_OK;
}

kit_status rows_settle(rows *r, kolm_error_t *err) {
    for (uint32_t b = 0; b < r->block_count; b++) {
        block *k = &r->blocks[b];
        if (k->bytes == NULL) continue;
        if ((k->row_offset = malloc((k->count + 1) * sizeof *k->row_offset)) == NULL) return rows_out_of_memory(err);
        find_rows(k->bytes, k->count, k->row_offset);
    }
    return r->all_codes * (sizeof(uint32_t) + sizeof(float)) <= ROWS_DECODED_BYTES ? decode_all(r, err) : KOLM_OK;
}
