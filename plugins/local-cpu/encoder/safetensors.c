/* SPDX-License-Identifier: Apache-2.0 */
/* Parses and validates the header of a safetensors file. */
#include "safetensors.h"
#include "kolm/kit/json.h"
#include "kolm/kit/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX (64u << 20) /* of a header; those of supported models have tens of kilobytes */
#define TENSORS_MAX (1u << 20)
#define SHOWN_MAX 96 /* bytes of a name in a message */

struct enc_tensors {
    cJSON *header; /* owns the names */
    enc_tensor *by_place;
    const enc_tensor **by_name;
    size_t count;
};

typedef struct number_type {
    const char *name;
    uint32_t bytes;
    enc_dtype dtype;
} number_type;

static const number_type types[] = {
    {"F32", 4, ENC_F32},       {"F16", 2, ENC_F16},   {"BF16", 2, ENC_BF16},     {"F64", 8, ENC_F64},
    {"I8", 1, ENC_I8},         {"I32", 4, ENC_I32},   {"I64", 8, ENC_I64},       {"BOOL", 1, ENC_OTHER},
    {"U8", 1, ENC_OTHER},      {"U16", 2, ENC_OTHER}, {"I16", 2, ENC_OTHER},     {"U32", 4, ENC_OTHER},
    {"U64", 8, ENC_OTHER},     {"C64", 8, ENC_OTHER}, {"F8_E4M3", 1, ENC_OTHER}, {"F8_E5M2", 1, ENC_OTHER},
    {"F8_E8M0", 1, ENC_OTHER},
};

uint32_t enc_dtype_bytes(enc_dtype dtype) {
    for (size_t i = 0; i < sizeof types / sizeof *types && dtype != ENC_OTHER; i++)
        if (types[i].dtype == dtype) return types[i].bytes;
    return 0;
}

const char *enc_dtype_name(enc_dtype dtype) {
    for (size_t i = 0; i < sizeof types / sizeof *types && dtype != ENC_OTHER; i++)
        if (types[i].dtype == dtype) return types[i].name;
    return "another type";
}

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory while reading a model's weights");
}

/* The file being read, for messages. */
typedef struct source {
    const char *shown;
    const uint8_t *bytes; /* the data, after the header */
    uint64_t size;
    uint64_t before; /* bytes of the file before the data */
} source;

static kit_status KIT_PRINTF(3, 4) damaged(const source *s, kolm_error_t *err, const char *format, ...) {
    kit_buf text = {0};
    char line[400];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    kit_buf_escaped(&text, line, strlen(line));
    kit_status status =
        kit_fail(err, KOLM_E_DATA_LOSS, "download the model again (`hf download NAME`), or save it again",
                 "%s is not usable: %s", s->shown, kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

/* ---- One tensor */

static kit_status read_type(const source *s, const cJSON *value, const number_type **out, kolm_error_t *err) {
    const char *name = NULL;
    if (!kit_json_get_string(value, "dtype", &name))
        return damaged(s, err, "the tensor %.*s has no type", SHOWN_MAX, value->string);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, name) != 0) continue;
        *out = &types[i];
        return KOLM_OK;
    }
    return damaged(s, err, "the tensor %.*s has the unknown type %.*s", SHOWN_MAX, value->string, 24, name);
}

static bool is_count(const cJSON *item) {
    return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= KIT_JSON_MAX_INTEGER &&
           item->valuedouble == (double)(uint64_t)item->valuedouble;
}

static kit_status read_shape(const source *s, const cJSON *value, enc_tensor *t, kolm_error_t *err) {
    const cJSON *shape = kit_json_get(value, "shape"), *item;
    bool empty = false;
    if (!cJSON_IsArray(shape)) return damaged(s, err, "the tensor %.*s has no shape", SHOWN_MAX, value->string);
    t->count = 1;
    cJSON_ArrayForEach(item, shape) {
        if (t->rank == ENC_RANK_MAX)
            return damaged(s, err, "the tensor %.*s has more than %d dimensions", SHOWN_MAX, value->string,
                           ENC_RANK_MAX);
        if (!is_count(item))
            return damaged(s, err, "the shape of the tensor %.*s is not made up of integers", SHOWN_MAX, value->string);
        uint64_t n = (uint64_t)item->valuedouble;
        t->shape[t->rank++] = n;
        empty = empty || n == 0;
        /* A zero dimension does not make an absurd one valid. */
        if (n != 0 && __builtin_mul_overflow(t->count, n, &t->count))
            return damaged(s, err, "the tensor %.*s has more numbers than can be counted", SHOWN_MAX, value->string);
    }
    if (empty) t->count = 0;
    return KOLM_OK;
}

static kit_status read_place(const source *s, const cJSON *value, const number_type *type, enc_tensor *t,
                             kolm_error_t *err) {
    const cJSON *offsets = kit_json_get(value, "data_offsets");
    const cJSON *first = cJSON_IsArray(offsets) ? offsets->child : NULL, *second = first != NULL ? first->next : NULL;
    uint64_t wanted;
    if (second == NULL || second->next != NULL || !is_count(first) || !is_count(second))
        return damaged(s, err, "the tensor %.*s does not say where it begins and ends", SHOWN_MAX, value->string);
    uint64_t begin = (uint64_t)first->valuedouble, end = (uint64_t)second->valuedouble;
    if (end < begin) return damaged(s, err, "the tensor %.*s ends before it begins", SHOWN_MAX, value->string);
    if (end > s->size)
        return damaged(
            s, err, "the tensor %.*s ends at byte %llu of the data, of which there are %llu; was the file cut short?",
            SHOWN_MAX, value->string, (unsigned long long)end, (unsigned long long)s->size);
    if (__builtin_mul_overflow(t->count, (uint64_t)type->bytes, &wanted) || wanted != end - begin)
        return damaged(s, err, "the tensor %.*s has %llu bytes, and its shape is one of %llu numbers of %u bytes",
                       SHOWN_MAX, value->string, (unsigned long long)(end - begin), (unsigned long long)t->count,
                       (unsigned)type->bytes);
    if (t->count > 0 && (uintptr_t)(s->bytes + begin) % (type->bytes < 4 ? type->bytes : 4) != 0)
        return damaged(
            s, err,
            "the tensor %.*s begins at byte %llu of the file, which is not a multiple of the size of its numbers",
            SHOWN_MAX, value->string, (unsigned long long)(s->before + begin));
    t->dtype = type->dtype;
    t->data = s->bytes + begin;
    t->bytes = end - begin;
    return KOLM_OK;
}

static kit_status read_tensor(const source *s, const cJSON *value, enc_tensor *t, kolm_error_t *err) {
    const number_type *type = NULL;
    if (!cJSON_IsObject(value))
        return damaged(s, err, "its header does not describe the tensor %.*s", SHOWN_MAX, value->string);
    t->name = value->string;
    KIT_TRY(read_type(s, value, &type, err));
    KIT_TRY(read_shape(s, value, t, err));
    return read_place(s, value, type, t, err);
}

/* ---- All tensors */

static int by_place(const void *a, const void *b) {
    const enc_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const enc_tensor *const *)a)->name, (*(const enc_tensor *const *)b)->name);
}

static kit_status check_cover(const source *s, const enc_tensors *tensors, kolm_error_t *err) {
    const uint8_t *at = s->bytes;
    for (size_t i = 0; i < tensors->count; i++) {
        const enc_tensor *t = &tensors->by_place[i];
        if (t->data < at && t->bytes > 0)
            return damaged(s, err, "the tensors %.*s and %.*s overlap", SHOWN_MAX, tensors->by_place[i - 1].name,
                           SHOWN_MAX, t->name);
        if (t->data > at)
            return damaged(s, err, "%llu bytes before the tensor %.*s belong to none",
                           (unsigned long long)(t->data - at), SHOWN_MAX, t->name);
        at = t->data + t->bytes;
    }
    uint64_t rest = s->size - (uint64_t)(at - s->bytes);
    return rest == 0 ? KOLM_OK : damaged(s, err, "%llu bytes at its end belong to no tensor", (unsigned long long)rest);
}

static kit_status read_tensors(const source *s, enc_tensors *tensors, kolm_error_t *err) {
    const cJSON *value;
    int entries = cJSON_GetArraySize(tensors->header);
    if (entries > (int)TENSORS_MAX) return damaged(s, err, "it has more than %u tensors", TENSORS_MAX);
    tensors->by_place = calloc((size_t)entries + 1, sizeof *tensors->by_place);
    tensors->by_name = calloc((size_t)entries + 1, sizeof *tensors->by_name);
    if (tensors->by_place == NULL || tensors->by_name == NULL) return out_of_memory(err);
    cJSON_ArrayForEach(value, tensors->header) {
        if (strcmp(value->string, "__metadata__") == 0) continue;
        KIT_TRY(read_tensor(s, value, &tensors->by_place[tensors->count++], err));
    }
    if (tensors->count == 0) return damaged(s, err, "it contains no tensors");
    qsort(tensors->by_place, tensors->count, sizeof *tensors->by_place, by_place);
    for (size_t i = 0; i < tensors->count; i++)
        tensors->by_name[i] = &tensors->by_place[i];
    qsort(tensors->by_name, tensors->count, sizeof *tensors->by_name, by_name);
    return check_cover(s, tensors, err);
}

static kit_status read_header(source *s, const uint8_t *bytes, uint64_t size, cJSON **out, kolm_error_t *err) {
    static const char lfs[] = "version https://git-lfs";
    uint64_t length = 0;
    if (size >= sizeof lfs - 1 && memcmp(bytes, lfs, sizeof lfs - 1) == 0)
        return damaged(s, err, "it is only the Git LFS pointer to the weights; download them with `git lfs pull`");
    if (size < 8)
        return damaged(s, err, "it has %llu bytes, and its header alone needs more", (unsigned long long)size);
    memcpy(&length, bytes, 8);
    if (length > HEADER_MAX) return damaged(s, err, "it does not begin like a safetensors file");
    if (length > size - 8)
        return damaged(s, err, "its header should have %llu bytes, but only %llu follow; was the file cut short?",
                       (unsigned long long)length, (unsigned long long)(size - 8));
    s->bytes = bytes + 8 + length;
    s->size = size - 8 - length;
    s->before = 8 + length;
    kolm_error_t inner = KIT_ERROR_INIT;
    kit_status status = kit_json_parse((const char *)bytes + 8, length, out, &inner);
    if (status == KOLM_E_RESOURCE_EXHAUSTED) return out_of_memory(err);
    if (status != KOLM_OK) return damaged(s, err, "its header is not JSON: %s", inner.text);
    if (!cJSON_IsObject(*out)) return damaged(s, err, "its header is not a JSON object");
    return KOLM_OK;
}

kit_status enc_tensors_read(const void *bytes, uint64_t size, const char *shown, enc_tensors **out, kolm_error_t *err) {
    const uint16_t one = 1;
    source s = {.shown = shown};
    *out = NULL;
    if (*(const uint8_t *)&one != 1)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a little-endian machine",
                        "the encoder does not support this byte order");
    enc_tensors *tensors = calloc(1, sizeof *tensors);
    if (tensors == NULL) return out_of_memory(err);
    kit_status status = read_header(&s, bytes, size, &tensors->header, err);
    if (status == KOLM_OK) status = read_tensors(&s, tensors, err);
    if (status != KOLM_OK) {
        enc_tensors_free(tensors);
        return status;
    }
    *out = tensors;
    return KOLM_OK;
}

void enc_tensors_free(enc_tensors *tensors) {
    if (tensors == NULL) return;
    cJSON_Delete(tensors->header);
    free(tensors->by_place);
    free(tensors->by_name);
    free(tensors);
}

size_t enc_tensors_count(const enc_tensors *tensors) {
    return tensors->count;
}

const enc_tensor *enc_tensors_at(const enc_tensors *tensors, size_t index) {
    return &tensors->by_place[index];
}

const enc_tensor *enc_tensors_find(const enc_tensors *tensors, const char *name) {
    size_t low = 0, high = tensors->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(tensors->by_name[middle]->name, name);
        if (order == 0) return tensors->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
