/* SPDX-License-Identifier: Apache-2.0 */
/* Converts a safetensors file from fp32 to fp16. */
#include "halves.h"
#include "kolm/kit/json.h"
#include "safetensors.h"

#include <string.h>

#define WIDEST 8u /* bytes of the widest number */

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs, or raise the memory limit",
                    "out of memory while the encoder is put into the model");
}

/* IEEE 754: a half has 5 bits of exponent and 10 of fraction, fewer below 2^-14. Returns false if x is not finite, or
 * too large for a half. Sets *exact to false if it rounds. */
static bool half_of(uint32_t x, uint16_t *out, bool *exact) {
    const uint32_t sign = x >> 16 & 0x8000u;
    const int exponent = (int)(x >> 23 & 255u) - 127;
    uint32_t whole = (x & 0x7FFFFFu) | 0x800000u;
    unsigned lost = 13u;
    *out = (uint16_t)sign;
    if ((x & 0x7FFFFFFFu) == 0) return true;
    if (exponent > 15) return false;
    if (exponent < -25) {
        *exact = false;
        return true;
    }
    if (exponent < -14) lost += (unsigned)(-14 - exponent);
    const uint32_t rest = whole & ((1u << lost) - 1u), middle = 1u << (lost - 1);
    whole >>= lost;
    if (rest != 0) *exact = false;
    if (rest > middle || (rest == middle && (whole & 1u) != 0)) whole++;
    /* The implicit leading bit increments the exponent, and so does a carry from rounding. */
    const uint32_t half = (exponent < -14 ? 0u : (uint32_t)(exponent + 14) << 10) + whole;
    *out = (uint16_t)(sign | half);
    return half < 0x7C00u;
}

static uint32_t width_of(const enc_tensor *t) {
    return t->dtype == ENC_F32 ? 2 : enc_dtype_bytes(t->dtype);
}

static bool is_worth_it(const enc_tensors *tensors) {
    bool some = false;
    for (size_t i = 0; i < enc_tensors_count(tensors); i++) {
        const enc_tensor *t = enc_tensors_at(tensors, i);
        if (t->dtype == ENC_OTHER) return false; /* the width of its numbers is unknown */
        some = some || (t->dtype == ENC_F32 && t->count > 0);
    }
    return some;
}

/* Appends the bytes of a tensor in the new file; false if a number does not fit. */
static bool put_numbers(const enc_tensor *t, kit_buf *out, bool *exact) {
    uint16_t halves[4096];
    if (t->dtype != ENC_F32) {
        kit_buf_add(out, t->data, t->bytes);
        return true;
    }
    for (uint64_t at = 0; at < t->count;) {
        size_t n = 0;
        for (; n < sizeof halves / sizeof *halves && at < t->count; n++, at++) {
            uint32_t bits;
            memcpy(&bits, t->data + at * 4, 4);
            if (!half_of(bits, &halves[n], exact)) return false;
        }
        kit_buf_add(out, halves, n * sizeof *halves);
    }
    return true;
}

static bool put_entry(cJSON *header, const enc_tensor *t, uint64_t begin, uint64_t end) {
    cJSON *entry = cJSON_CreateObject(), *shape = cJSON_CreateArray(), *place = cJSON_CreateArray();
    bool good = shape != NULL && place != NULL;
    for (uint32_t i = 0; good && i < t->rank; i++)
        good = cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->shape[i])) != 0;
    good = good && cJSON_AddItemToArray(place, cJSON_CreateNumber((double)begin)) != 0 &&
           cJSON_AddItemToArray(place, cJSON_CreateNumber((double)end)) != 0;
    good = kit_json_put(entry, "shape", shape) && good;
    good = kit_json_put(entry, "data_offsets", place) && good;
    good = good && kit_json_put_string(entry, "dtype", t->dtype == ENC_F32 ? "F16" : enc_dtype_name(t->dtype));
    return kit_json_put(header, t->name, entry) && good;
}

/* Tensors of wide numbers first, so that each number is at a multiple of its size. */
static kit_status put_tensors(const enc_tensors *tensors, cJSON *header, kit_buf *data, bool *out_fits, bool *out_exact,
                              kolm_error_t *err) {
    *out_fits = *out_exact = true;
    for (uint32_t width = WIDEST; width > 0 && *out_fits; width /= 2)
        for (size_t i = 0; i < enc_tensors_count(tensors) && *out_fits; i++) {
            const enc_tensor *t = enc_tensors_at(tensors, i);
            const uint64_t begin = data->length;
            if (width_of(t) != width) continue;
            *out_fits = put_numbers(t, data, out_exact);
            if (data->failed || !put_entry(header, t, begin, data->length)) return out_of_memory(err);
        }
    return KOLM_OK;
}

static kit_status join(const cJSON *header, const kit_buf *data, kit_buf *out, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = kit_json_line(header, &text, err);
    while (status == KOLM_OK && text.length % WIDEST != 0 && !text.failed)
        kit_buf_char(&text, ' ');
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    for (unsigned i = 0; status == KOLM_OK && i < 8; i++)
        kit_buf_char(out, (char)(uint8_t)((uint64_t)text.length >> (8 * i)));
    if (status == KOLM_OK) kit_buf_add(out, text.data, text.length);
    if (status == KOLM_OK) kit_buf_add(out, data->data, data->length);
    kit_buf_free(&text);
    return status == KOLM_OK ? kit_buf_ok(out, err) : status;
}

kit_status enc_halve(const enc_file *file, kit_buf *out, bool *out_done, bool *out_exact, kolm_error_t *err) {
    enc_tensors *tensors = NULL;
    kit_buf data = {0};
    cJSON *header = NULL;
    bool fits = false;
    *out_done = *out_exact = false;
    KIT_TRY(enc_tensors_read(file->bytes, file->size, file->name, &tensors, err));
    kit_status status = KOLM_OK;
    if (is_worth_it(tensors)) {
        header = cJSON_CreateObject();
        status = put_tensors(tensors, header, &data, &fits, out_exact, err);
        if (status == KOLM_OK && fits) status = join(header, &data, out, err);
        *out_done = status == KOLM_OK && fits;
    }
    cJSON_Delete(header);
    kit_buf_free(&data);
    enc_tensors_free(tensors);
    return status;
}
