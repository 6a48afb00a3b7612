/* SPDX-License-Identifier: Apache-2.0 */
/* head.bin, see head.h for its layout; and answers from it, in integers. */
#include "encoder/head.h"
#include "numeric.h"

#include <stdlib.h>
#include <string.h>

#define FRONT_BYTES 96u
#define CHECK_AT 88u
#define ALIGNMENT 16u
#define VERSION 1u
#define ONE 32767.0 /* an embedding's number 1 as an integer */
#define FLOAT_MAX 1e6f
static const char magic[8] = {'k', 'o', 'l', 'm', 'h', 'e', 'a', 'd'};

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory while using the head");
}

/* ---- Little-endian numbers */

static void put(kit_buf *out, uint64_t number, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++)
        kit_buf_char(out, (char)(uint8_t)(number >> (8 * i)));
}

static void put_float(kit_buf *out, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put(out, bits, 4);
}

static uint64_t get(const uint8_t *from, unsigned bytes) {
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)from[i] << (8 * i);
    return number;
}

static float get_float(const uint8_t *from) {
    const uint32_t bits = (uint32_t)get(from, 4);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t padded(uint64_t n) {
    return (n + (ALIGNMENT - 1)) & ~(uint64_t)(ALIGNMENT - 1);
}

static void pad(kit_buf *out) {
    while (out->length % ALIGNMENT != 0 && !out->failed)
        kit_buf_char(out, '\0');
}

/* Numbers are within their limits by now: below 2^31 in all. */
static uint64_t file_bytes(uint32_t labels, uint32_t dimensions) {
    return FRONT_BYTES + 3 * padded((uint64_t)labels * 4) + 2 * padded((uint64_t)labels * dimensions);
}

static uint64_t check_sum(const uint8_t *bytes, size_t size) {
    uint64_t sum = 0;
    for (size_t at = 0; at < size; at += 8) {
        const unsigned n = size - at < 8 ? (unsigned)(size - at) : 8;
        sum = (sum ^ (at == CHECK_AT ? 0 : get(bytes + at, n))) * 0x9E3779B97F4A7C15ull;
        sum ^= sum >> 29;
    }
    return num_mix(sum + size);
}

/* ---- Building a head */

static kit_status room(head_model *m, kolm_error_t *err) {
    const size_t all = (size_t)m->labels * m->dimensions;
    m->scale = malloc(m->labels * sizeof *m->scale);
    m->bias = malloc(m->labels * sizeof *m->bias);
    m->mean_scale = malloc(m->labels * sizeof *m->mean_scale);
    m->weight = malloc(all);
    m->mean = malloc(all);
    if (m->scale != NULL && m->bias != NULL && m->mean_scale != NULL && m->weight != NULL && m->mean != NULL)
        return KOLM_OK;
    head_model_free(m);
    return out_of_memory(err);
}

void head_model_free(head_model *m) {
    free(m->scale);
    free(m->bias);
    free(m->mean_scale);
    free(m->weight);
    free(m->mean);
    m->scale = m->bias = m->mean_scale = NULL;
    m->weight = m->mean = NULL;
}

static float reduce_line(const float *from, uint32_t count, int8_t *to) {
    float most = 0.0f;
    for (uint32_t k = 0; k < count; k++) {
        const float size = from[k] < 0.0f ? -from[k] : from[k];
        if (size > most) most = size;
    }
    const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    for (uint32_t k = 0; k < count; k++) {
        const float x = from[k] * inverse;
        to[k] = (int8_t)(x < 0.0f ? x - 0.5f : x + 0.5f);
    }
    return most > 1e-30f ? most / 127.0f : 0.0f;
}

static bool in_range(uint64_t labels, uint64_t dimensions) {
    return labels >= 1 && labels <= MODEL_LABELS_MAX && dimensions >= 1 && dimensions <= HEAD_DIMENSIONS_MAX &&
           labels * dimensions <= 1u << 29;
}

kit_status head_reduce(uint32_t labels, uint32_t dimensions, const float *weights, const float *means, head_model *out,
                       kolm_error_t *err) {
    memset(out, 0, sizeof *out);
    if (!in_range(labels, dimensions))
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "use an encoder with shorter embeddings, or fewer labels",
                        "a head for %u labels and embeddings of %u numbers is too large", (unsigned)labels,
                        (unsigned)dimensions);
    out->labels = labels;
    out->dimensions = dimensions;
    KIT_TRY(room(out, err));
    for (uint32_t m = 0; m < labels; m++) {
        const size_t at = (size_t)m * dimensions;
        out->scale[m] = reduce_line(weights + at, dimensions, out->weight + at);
        out->mean_scale[m] = reduce_line(means + at, dimensions, out->mean + at);
        out->bias[m] = weights[(size_t)labels * dimensions + m];
    }
    return KOLM_OK;
}

/* ---- Validity of a head; returns what is wrong, NULL: nothing */

static bool within(float x, float low, float high) {
    return x >= low && x <= high; /* false for a NaN */
}

static const char *fault_of(const head_model *m) {
    if (!within(m->lambda, 0.0f, 1000.0f) || !within(m->cost, 0.0f, FLOAT_MAX)) return "its lambda or cost is invalid";
    if (!within(m->distance.knee, -2.0f, 2.0f) || !within(m->distance.width, 0.001f, 4.0f))
        return "its usual similarity is invalid";
    if (m->calibration.temperature_micro == 0 || m->calibration.temperature_micro > 1000ull * MODEL_MICRO)
        return "its temperature is invalid";
    if (m->calibration.noise_micro > MODEL_MICRO / 2) return "its share of noise is out of range";
    if (m->threshold_micro > MODEL_MICRO + 1) return "its threshold is invalid";
    for (uint32_t i = 0; i < m->labels; i++)
        if (!within(m->scale[i], 0.0f, FLOAT_MAX) || !within(m->bias[i], -FLOAT_MAX, FLOAT_MAX) ||
            !within(m->mean_scale[i], 0.0f, 1.0f))
            return "its weights are not finite";
    return NULL;
}

static void put_floats(kit_buf *out, const float *from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        put_float(out, from[i]);
    pad(out);
}

kit_status head_write(const head_model *m, kit_buf *out, kolm_error_t *err) {
    const char *fault = fault_of(m);
    const uint64_t length = file_bytes(m->labels, m->dimensions);
    kit_buf made = {0};
    if (fault != NULL)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "train again", "the head cannot be written: %s", fault);
    kit_buf_add(&made, magic, sizeof magic);
    const uint32_t numbers[] = {VERSION, m->labels, m->dimensions, 0};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(&made, numbers[i], 4);
    const float floats[] = {m->lambda, m->cost, m->distance.knee, m->distance.width};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        put_float(&made, floats[i]);
    const uint64_t more[] = {
        m->calibration.temperature_micro, m->calibration.noise_micro, m->threshold_micro, length, 0, 0, 0};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        put(&made, more[i], 8);
    put_floats(&made, m->scale, m->labels);
    put_floats(&made, m->bias, m->labels);
    put_floats(&made, m->mean_scale, m->labels);
    kit_buf_add(&made, m->weight, (size_t)m->labels * m->dimensions);
    pad(&made);
    kit_buf_add(&made, m->mean, (size_t)m->labels * m->dimensions);
    pad(&made);
    kit_status status = kit_buf_ok(&made, err);
    if (status == KOLM_OK) {
        const uint64_t sum = check_sum((const uint8_t *)made.data, made.length);
        for (unsigned i = 0; i < 8; i++)
            made.data[CHECK_AT + i] = (char)(uint8_t)(sum >> (8 * i));
        kit_buf_add(out, made.data, made.length);
        status = kit_buf_ok(out, err);
    }
    kit_buf_free(&made);
    return status;
}

/* ---- Reading untrusted files */

static kit_status corrupt(kolm_error_t *err, const char *why) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "download the artifact again, or compile it again",
                    "the head is damaged: %s", why);
}

static const uint8_t *get_floats(const uint8_t *from, uint32_t count, float *to) {
    for (uint32_t i = 0; i < count; i++)
        to[i] = get_float(from + (size_t)i * 4);
    return from + padded((uint64_t)count * 4);
}

/* The padding after a section of `bytes` must be 0, so that a head has only one form. */
static bool padding_is_zero(const uint8_t *section, uint64_t bytes) {
    for (uint64_t i = bytes; i < padded(bytes); i++)
        if (section[i] != 0) return false;
    return true;
}

static void read_numbers(const uint8_t *b, head_model *out) {
    out->lambda = get_float(b + 24);
    out->cost = get_float(b + 28);
    out->distance = (head_distance){get_float(b + 32), get_float(b + 36)};
    out->calibration = (calibration){get(b + 40, 8), get(b + 48, 8)};
    out->threshold_micro = get(b + 56, 8);
}

kit_status head_read(const void *bytes, size_t size, head_model *out, kolm_error_t *err) {
    const uint8_t *b = bytes;
    memset(out, 0, sizeof *out);
    if (size < FRONT_BYTES) return corrupt(err, "it is too short");
    if (memcmp(b, magic, sizeof magic) != 0) return corrupt(err, "it does not begin like a head");
    if (get(b + 8, 4) != VERSION)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a newer kolm",
                        "the head is of version %u, which this kolm does not know", (unsigned)get(b + 8, 4));
    const uint64_t labels = get(b + 12, 4), dimensions = get(b + 16, 4);
    if (!in_range(labels, dimensions)) return corrupt(err, "its labels or dimensions are invalid");
    if (get(b + 64, 8) != size || file_bytes((uint32_t)labels, (uint32_t)dimensions) != size)
        return corrupt(err, "its length does not match its header");
    if (get(b + CHECK_AT, 8) != check_sum(b, size)) return corrupt(err, "its checksum is wrong");
    if (get(b + 20, 4) != 0 || get(b + 72, 8) != 0 || get(b + 80, 8) != 0)
        return corrupt(err, "its reserved bytes are not 0");
    out->labels = (uint32_t)labels;
    out->dimensions = (uint32_t)dimensions;
    KIT_TRY(room(out, err));
    read_numbers(b, out);
    const size_t all = (size_t)labels * dimensions;
    const uint8_t *at = b + FRONT_BYTES;
    float *const each[] = {out->scale, out->bias, out->mean_scale};
    bool clean = true;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        clean = clean && padding_is_zero(at, labels * 4);
        at = get_floats(at, out->labels, each[i]);
    }
    clean = clean && padding_is_zero(at, all) && padding_is_zero(at + padded(all), all);
    memcpy(out->weight, at, all);
    memcpy(out->mean, at + padded(all), all);
    const char *fault = clean ? fault_of(out) : "its padding is not 0";
    if (fault == NULL) return KOLM_OK;
    head_model_free(out);
    return corrupt(err, fault);
}

/* ---- Answers */

static void to_integers(const float *embedding, uint32_t count, int16_t *to) {
    double square = 0.0;
    for (uint32_t k = 0; k < count; k++)
        square += (double)embedding[k] * (double)embedding[k];
    const double by = square > 0.0 && square < 1e300 ? ONE / num_sqrt(square) : 0.0;
    for (uint32_t k = 0; k < count; k++) {
        const double x = by > 0.0 ? (double)embedding[k] * by : 0.0;
        to[k] = (int16_t)(x < 0.0 ? x - 0.5 : x + 0.5);
    }
}

/* Does not overflow: the sum is at most 32767 times the norm of a line of weights, which is below
 * 128 * sqrt(HEAD_DIMENSIONS_MAX), plus rounding. */
static int32_t product(const int16_t *x, const int8_t *w, uint32_t count) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < count; k++)
        sum += (int32_t)x[k] * w[k];
    return sum;
}

void head_answer_embedding(const head_model *m, const float *embedding, const float *margins, float *scores,
                           head_answer *out) {
    int16_t x[HEAD_DIMENSIONS_MAX];
    double most = -1e300, sum = 0.0, similarity = -1.0;
    to_integers(embedding, m->dimensions, x);
    for (uint32_t i = 0; i < m->labels; i++) {
        const size_t at = (size_t)i * m->dimensions;
        const double score = (double)m->bias[i] + (double)m->scale[i] * product(x, m->weight + at, m->dimensions) / ONE;
        const double near = (double)m->mean_scale[i] * product(x, m->mean + at, m->dimensions) / ONE;
        scores[i] = (float)score;
        if (score > most) most = score;
        if (near > similarity) similarity = near;
    }
    for (uint32_t i = 0; i < m->labels; i++)
        sum += num_exp((double)scores[i] - most);
    const double all = most + num_log(sum);
    for (uint32_t i = 0; i < m->labels; i++)
        scores[i] = (float)((double)scores[i] - all) + m->lambda * margins[i];
    const uint32_t sure = model_confidence(scores, m->labels, m->calibration, &out->label);
    out->similarity = (float)similarity;
    out->factor_micro = head_distance_factor(m->distance, out->similarity);
    out->confidence_micro = (uint32_t)((uint64_t)sure * out->factor_micro / MODEL_MICRO);
    out->abstains = out->confidence_micro < m->threshold_micro;
}
