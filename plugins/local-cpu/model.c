/* SPDX-License-Identifier: Apache-2.0 */
/* linear.bin, see model.h for its layout. */
#include "model.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "numeric.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES 128u
#define ALIGNMENT 16u
#define VERSION 1u
#define LAYOUT_DENSE 0u
#define LAYOUT_SPARSE 1u
static const char magic[8] = {'k', 'o', 'l', 'm', 'l', 'i', 'n', '1'};

typedef struct head {
    char magic[8];
    uint32_t version, layout, families, labels;
    uint32_t features[TEXT_FAMILIES];
    uint64_t label_bytes, bucket_bytes[TEXT_FAMILIES], entries;
    uint64_t temperature_micro, noise_micro, threshold_micro;
    uint64_t file_bytes;
    uint64_t zero[3];
    uint64_t check; /* over the header with this field 0, then the sections before the weights */
} head;
_Static_assert(sizeof(head) == HEAD_BYTES, "the head has no hidden padding");

/* The offset of each section; all are multiples of ALIGNMENT. */
typedef struct sections {
    uint64_t labels, buckets[TEXT_FAMILIES], idf, scale, bias, first, entry_label, weights, end;
} sections;

struct model {
    head head;
    sections at;
    void *mapping; /* NULL if the bytes are not mapped here */
    size_t mapping_bytes;
    uint8_t *copy; /* if the slice is not aligned */
    const uint8_t *bytes;
    features features;
    uint32_t *label_at; /* offset of each label's bytes in the file */
    uint32_t stride;
    text_counts *counts;
    uint32_t *index;
    float *value, *scores;
    calibration calibration;
};

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the memory limit",
                    "out of memory while using the model");
}

static uint64_t padded(uint64_t n) {
    return (n + (ALIGNMENT - 1)) & ~(uint64_t)(ALIGNMENT - 1);
}

/* All terms are below 2^40 if the header's numbers are within their limits, so nothing overflows. */
static sections layout_of(const head *h) {
    sections s;
    uint64_t all = (uint64_t)h->features[0] + h->features[1], stride = (h->labels + 3u) & ~3u;
    s.labels = HEAD_BYTES;
    s.buckets[0] = s.labels + padded(h->label_bytes);
    s.buckets[1] = s.buckets[0] + padded(h->bucket_bytes[0]);
    s.idf = s.buckets[1] + padded(h->bucket_bytes[1]);
    s.scale = s.idf + padded(all * 4);
    s.bias = s.scale + padded((uint64_t)h->labels * 4);
    s.first = s.bias + padded((uint64_t)h->labels * 4);
    s.entry_label = s.first + (h->layout == LAYOUT_SPARSE ? padded((all + 1) * 4) : 0);
    s.weights = s.entry_label + (h->layout == LAYOUT_SPARSE ? padded(h->entries * 2) : 0);
    s.end = s.weights + padded(h->layout == LAYOUT_SPARSE ? h->entries : all * stride);
    return s;
}

static bool little_endian(void) {
    const uint16_t one = 1;
    uint8_t low;
    memcpy(&low, &one, 1);
    return low == 1;
}

static uint64_t check_more(uint64_t sum, const uint8_t *bytes, uint64_t length) {
    uint64_t word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        sum = (sum ^ word) * 0x9E3779B97F4A7C15ull;
        sum ^= sum >> 29;
    }
    word = 0;
    memcpy(&word, bytes, length);
    return num_mix((sum ^ word) * 0x9E3779B97F4A7C15ull + length);
}

/* ---- Writing */

static void pad(kit_buf *out) {
    while (out->length % ALIGNMENT != 0 && !out->failed)
        kit_buf_char(out, '\0');
}

static void put_buckets(kit_buf *out, const features *f, unsigned family) {
    int64_t last = -1;
    for (uint32_t b = 0; b < TEXT_BUCKETS; b++) {
        if ((f->used[family][b / 64] >> (b % 64) & 1u) == 0) continue;
        uint32_t difference = (uint32_t)(b - last);
        while (difference >= 128) {
            kit_buf_char(out, (char)(difference | 128));
            difference >>= 7;
        }
        kit_buf_char(out, (char)difference);
        last = b;
    }
}

static void put_tables(const model_draft *d, head *h, kit_buf *out) {
    for (uint32_t i = 0; i < d->label_count; i++) {
        uint32_t length = (uint32_t)strlen(d->labels[i]);
        kit_buf_add(out, &length, 4);
        kit_buf_add(out, d->labels[i], length);
    }
    h->label_bytes = out->length;
    pad(out);
    for (unsigned f = 0; f < TEXT_FAMILIES; f++) {
        size_t begin = out->length;
        if (d->families >> f & 1u) put_buckets(out, d->features, f);
        h->bucket_bytes[f] = out->length - begin;
        pad(out);
    }
    uint64_t skip = d->families & 1u ? 0 : d->features->count[0], all = (uint64_t)h->features[0] + h->features[1];
    kit_buf_add(out, d->features->idf + skip, all * 4);
    pad(out);
    kit_buf_add(out, d->scale, d->label_count * 4u);
    pad(out);
    kit_buf_add(out, d->bias, d->label_count * 4u);
    pad(out);
}

static kit_status write_padded(int fd, const void *bytes, uint64_t length, kolm_error_t *err) {
    static const char zeros[ALIGNMENT] = {0};
    KIT_TRY(kit_write_all(fd, bytes, length, err));
    return kit_write_all(fd, zeros, padded(length) - length, err);
}

static kit_status write_all(const model_draft *d, head *h, const kit_buf *tables, int fd, kolm_error_t *err) {
    uint64_t all = (uint64_t)h->features[0] + h->features[1];
    sections at = layout_of(h);
    h->file_bytes = at.end;
    h->check = 0;
    h->check = check_more(check_more(0, (const uint8_t *)h, sizeof *h), (const uint8_t *)tables->data, tables->length);
    KIT_TRY(kit_write_all(fd, h, sizeof *h, err));
    KIT_TRY(kit_write_all(fd, tables->data, tables->length, err));
    if (!d->sparse) return write_padded(fd, d->dense, all * d->stride, err);
    KIT_TRY(write_padded(fd, d->first, (all + 1) * 4, err));
    KIT_TRY(write_padded(fd, d->entry_label, h->entries * 2, err));
    return write_padded(fd, d->entry_weight, h->entries, err);
}

kit_status model_write(const model_draft *d, const char *path, kolm_error_t *err) {
    kit_atomic_file file = {.fd = -1};
    kit_buf tables = {0};
    head h = {.version = VERSION,
              .layout = d->sparse ? LAYOUT_SPARSE : LAYOUT_DENSE,
              .families = d->families,
              .labels = d->label_count,
              .temperature_micro = d->calibration.temperature_micro,
              .noise_micro = d->calibration.noise_micro,
              .threshold_micro = d->threshold_micro};
    if (!little_endian())
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a little-endian machine",
                        "the linear engine does not support this byte order");
    memcpy(h.magic, magic, sizeof magic);
    for (unsigned f = 0; f < TEXT_FAMILIES; f++)
        h.features[f] = d->families >> f & 1u ? d->features->count[f] : 0;
    if (d->sparse) h.entries = d->first[h.features[0] + h.features[1]];
    put_tables(d, &h, &tables);
    kit_status status = kit_buf_ok(&tables, err);
    if (status == KOLM_OK) status = kit_atomic_open(path, 0600, &file, err);
    if (status == KOLM_OK) status = write_all(d, &h, &tables, file.fd, err);
    if (status == KOLM_OK)
        status = kit_atomic_commit(&file, true, err);
    else
        kit_atomic_abort(&file);
    kit_buf_free(&tables);
    return status;
}

/* ---- Reading */

static kit_status corrupt(kolm_error_t *err, const char *why) {
    return kit_fail(err, KOLM_E_DATA_LOSS,
                    "download the artifact again, or compile it again; `kolm verify` shows whether it was changed",
                    "the model file is not usable: %s", why);
}

static kit_status check_head(const head *h, uint64_t size, kolm_error_t *err) {
    if (memcmp(h->magic, magic, sizeof magic) != 0) return corrupt(err, "it does not begin like a linear model");
    if (h->version != VERSION)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a newer kolm",
                        "the model file has version %u, this engine reads %u", (unsigned)h->version, VERSION);
    if (h->layout > LAYOUT_SPARSE) return corrupt(err, "its layout of weights is unknown");
    if (h->families == 0 || h->families > 3) return corrupt(err, "its feature families are unknown");
    if (h->labels == 0 || h->labels > MODEL_LABELS_MAX) return corrupt(err, "its number of labels is invalid");
    if (h->features[0] > TEXT_BUCKETS || h->features[1] > TEXT_BUCKETS)
        return corrupt(err, "its number of features is invalid");
    if (h->label_bytes > size || h->bucket_bytes[0] > size || h->bucket_bytes[1] > size || h->entries > size)
        return corrupt(err, "a section is longer than the file");
    if (h->entries > UINT32_MAX || (h->layout == LAYOUT_DENSE && h->entries != 0))
        return corrupt(err, "its number of entries is invalid");
    if (h->temperature_micro == 0 || h->temperature_micro > 1000ull * MODEL_MICRO)
        return corrupt(err, "its temperature is invalid");
    if (h->noise_micro > MODEL_MICRO / 2) return corrupt(err, "its share of noise is out of range");
    if (h->threshold_micro > MODEL_MICRO + 1) return corrupt(err, "its threshold is invalid");
    if (h->zero[0] != 0 || h->zero[1] != 0 || h->zero[2] != 0) return corrupt(err, "reserved bytes are not zero");
    if (h->file_bytes != size || layout_of(h).end != size) return corrupt(err, "its length does not match its header");
    return KOLM_OK;
}

static kit_status read_labels(model *m, kolm_error_t *err) {
    uint64_t at = m->at.labels, end = at + m->head.label_bytes;
    m->label_at = malloc(m->head.labels * sizeof *m->label_at);
    if (m->label_at == NULL) return out_of_memory(err);
    for (uint32_t i = 0; i < m->head.labels; i++) {
        uint32_t length;
        if (end - at < 4) return corrupt(err, "its labels are cut short");
        memcpy(&length, m->bytes + at, 4);
        if (length > MODEL_LABEL_BYTES_MAX || length > end - at - 4)
            return corrupt(err, "a label is longer than its section");
        if (at > UINT32_MAX) return corrupt(err, "its labels are too long");
        if (kit_utf8_valid((const char *)m->bytes + at + 4, length) != length)
            return corrupt(err, "a label is not UTF-8");
        m->label_at[i] = (uint32_t)at;
        at += 4 + (uint64_t)length;
    }
    return at == end ? KOLM_OK : corrupt(err, "there are bytes after its labels");
}

static kit_status read_family(model *m, unsigned family, kolm_error_t *err) {
    features *f = &m->features;
    const uint8_t *p = m->bytes + m->at.buckets[family], *end = p + m->head.bucket_bytes[family];
    f->used[family] = calloc(TEXT_BUCKETS / 64, sizeof *f->used[family]);
    f->rank[family] = malloc(TEXT_BUCKETS / 64 * sizeof *f->rank[family]);
    f->count[family] = m->head.features[family];
    if (f->used[family] == NULL || f->rank[family] == NULL) return out_of_memory(err);
    int64_t bucket = -1;
    for (uint32_t i = 0; i < f->count[family]; i++) {
        uint32_t difference = 0;
        for (unsigned shift = 0;; shift += 7) {
            if (p == end || shift > 21) return corrupt(err, "its table of features is cut short");
            difference |= (uint32_t)(*p & 127) << shift;
            if ((*p++ & 128) == 0) break;
        }
        bucket += difference;
        if (difference == 0 || bucket >= TEXT_BUCKETS) return corrupt(err, "its table of features is out of order");
        f->used[family][bucket / 64] |= 1ull << (bucket % 64);
    }
    if (p != end) return corrupt(err, "there are bytes after its table of features");
    uint32_t rank = 0;
    for (uint32_t i = 0; i < TEXT_BUCKETS / 64; i++) {
        f->rank[family][i] = rank;
        rank += (uint32_t)__builtin_popcountll(f->used[family][i]);
    }
    return KOLM_OK;
}

/* True for a finite number of plausible size: IEEE exponent below that of 2^64. */
static bool sane(const uint8_t *bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, bytes + i * 4, 4);
        if ((bits >> 23 & 255) >= 127 + 64) return false;
    }
    return true;
}

static kit_status read_sparse(const model *m, kolm_error_t *err) {
    uint64_t all = features_all(&m->features);
    uint32_t last = 0, next;
    for (uint64_t i = 0; i <= all; i++) {
        memcpy(&next, m->bytes + m->at.first + i * 4, 4);
        if (next < last || next > m->head.entries || (i == 0 && next != 0))
            return corrupt(err, "its table of entries is out of order");
        last = next;
    }
    return last == m->head.entries ? KOLM_OK : corrupt(err, "its table of entries does not cover them");
}

static kit_status read_tables(model *m, kolm_error_t *err) {
    head plain = m->head;
    plain.check = 0;
    uint64_t sum = check_more(check_more(0, (const uint8_t *)&plain, sizeof plain), m->bytes + HEAD_BYTES,
                              m->at.first - HEAD_BYTES);
    if (sum != m->head.check) return corrupt(err, "its checksum is wrong");
    KIT_TRY(read_labels(m, err));
    for (unsigned f = 0; f < TEXT_FAMILIES; f++)
        KIT_TRY(read_family(m, f, err));
    uint32_t all = features_all(&m->features);
    if (!sane(m->bytes + m->at.idf, all) || !sane(m->bytes + m->at.scale, m->head.labels) ||
        !sane(m->bytes + m->at.bias, m->head.labels))
        return corrupt(err, "a number in it is not finite");
    m->features.idf = malloc((all + 1) * sizeof *m->features.idf);
    if (m->features.idf == NULL) return out_of_memory(err);
    memcpy(m->features.idf, m->bytes + m->at.idf, all * sizeof(float));
    return m->head.layout == LAYOUT_SPARSE ? read_sparse(m, err) : KOLM_OK;
}

static kit_status load(model *m, const uint8_t *bytes, uint64_t size, kolm_error_t *err) {
    if (!little_endian())
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use a little-endian machine",
                        "the linear engine does not support this byte order");
    if (size < HEAD_BYTES) return corrupt(err, "it is too short");
    if (size > (1ull << 40)) return corrupt(err, "it is too long");
    memcpy(&m->head, bytes, sizeof m->head);
    KIT_TRY(check_head(&m->head, size, err));
    if ((uintptr_t)bytes % ALIGNMENT != 0) {
        if ((m->copy = aligned_alloc(ALIGNMENT, padded(size))) == NULL) return out_of_memory(err);
        memcpy(m->copy, bytes, size);
        bytes = m->copy;
    }
    m->bytes = bytes;
    m->at = layout_of(&m->head);
    KIT_TRY(read_tables(m, err));
    m->stride = (m->head.labels + 3u) & ~3u;
    m->calibration = (calibration){m->head.temperature_micro, m->head.noise_micro};
    m->counts = text_counts_new();
    uint32_t all = features_all(&m->features);
    m->index = malloc((all + 1) * sizeof *m->index);
    m->value = malloc((all + 1) * sizeof *m->value);
    m->scores = aligned_alloc(ALIGNMENT, m->stride * sizeof *m->scores);
    return m->counts && m->index && m->value && m->scores ? KOLM_OK : out_of_memory(err);
}

static kit_status finish_open(model *m, kit_status status, model **out) {
    if (status != KOLM_OK) model_close(m);
    *out = status == KOLM_OK ? m : NULL;
    return status;
}

kit_status model_from_bytes(const void *bytes, uint64_t size, model **out, kolm_error_t *err) {
    *out = NULL;
    model *m = calloc(1, sizeof *m);
    if (m == NULL) return out_of_memory(err);
    return finish_open(m, load(m, bytes, size, err), out);
}

static kit_status map_slice(model *m, int fd, const char *path, uint64_t offset, uint64_t size, kolm_error_t *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access the model file %s", path);
    if (!S_ISREG(info.st_mode) || offset > (uint64_t)info.st_size || size > (uint64_t)info.st_size - offset ||
        size == 0)
        return kit_fail(err, KOLM_E_DATA_LOSS, "download the artifact again, or compile it again",
                        "the model file %s does not contain %llu bytes at %llu", path, (unsigned long long)size,
                        (unsigned long long)offset);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), begin = offset / page * page;
    m->mapping_bytes = size + (offset - begin);
    m->mapping = mmap(NULL, m->mapping_bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)begin);
    if (m->mapping == MAP_FAILED) {
        m->mapping = NULL;
        return kit_fail_errno(err, errno, "cannot map the model file %s", path);
    }
    return load(m, (const uint8_t *)m->mapping + (offset - begin), size, err);
}

kit_status model_open(const char *path, uint64_t offset, uint64_t size, model **out, kolm_error_t *err) {
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the model file %s", path);
    model *m = calloc(1, sizeof *m);
    kit_status status = m != NULL ? map_slice(m, fd, path, offset, size, err) : out_of_memory(err);
    close(fd);
    return finish_open(m, status, out);
}

void model_close(model *m) {
    if (m == NULL) return;
    if (m->mapping != NULL) munmap(m->mapping, m->mapping_bytes);
    free(m->copy);
    features_free(&m->features);
    free(m->label_at);
    text_counts_free(m->counts);
    free(m->index);
    free(m->value);
    free(m->scores);
    free(m);
}

uint32_t model_label_count(const model *m) {
    return m->head.labels;
}

const char *model_label(const model *m, uint32_t label, uint32_t *out_length) {
    memcpy(out_length, m->bytes + m->label_at[label], 4);
    return (const char *)m->bytes + m->label_at[label] + 4;
}

uint64_t model_threshold_micro(const model *m) {
    return m->head.threshold_micro;
}

/* ---- Answering */

typedef int8_t byte4 __attribute__((vector_size(4)));

static void add_dense(model *m, uint32_t n) {
    const uint32_t vectors = m->stride / 4;
    num_v4 *sum = (num_v4 *)(void *)m->scores;
    for (uint32_t k = 0; k < n; k++) {
        const uint8_t *line = m->bytes + m->at.weights + (uint64_t)m->index[k] * m->stride;
        num_v4 x = num_splat(m->value[k]);
        for (uint32_t v = 0; v < vectors; v++) {
            byte4 w;
            memcpy(&w, line + 4 * (size_t)v, sizeof w);
            sum[v] += x * __builtin_convertvector(w, num_v4);
        }
    }
}

static void add_sparse(model *m, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) {
        uint32_t range[2];
        memcpy(range, m->bytes + m->at.first + (uint64_t)m->index[k] * 4, sizeof range);
        for (uint64_t e = range[0]; e < range[1]; e++) {
            uint16_t label;
            memcpy(&label, m->bytes + m->at.entry_label + e * 2, 2);
            if (label >= m->head.labels) continue; /* the entries are not checked when the file is opened */
            m->scores[label] += m->value[k] * (float)(int8_t)m->bytes[m->at.weights + e];
        }
    }
}

uint32_t model_confidence(const float *scores, uint32_t n, calibration with, uint32_t *out_best) {
    const double temperature = (double)with.temperature_micro / MODEL_MICRO,
                 noise = (double)with.noise_micro / MODEL_MICRO;
    uint32_t best = 0;
    double sum = 0.0;
    for (uint32_t i = 1; i < n; i++)
        if (scores[i] > scores[best]) best = i;
    for (uint32_t i = 0; i < n; i++) {
        double x = ((double)scores[i] - scores[best]) / temperature;
        if (x > -40.0) sum += num_exp(x);
    }
    *out_best = best;
    return (uint32_t)(MODEL_MICRO * ((1.0 - noise) / sum + noise / n) + 0.5);
}

kit_status model_score_text(model *m, const char *utf8, size_t length, const float **out, kolm_error_t *err) {
    if (text_count(m->counts, utf8, length, m->head.families) != 0) return out_of_memory(err);
    uint32_t n = features_weigh(&m->features, m->counts, m->head.families, m->index, m->value);
    memset(m->scores, 0, m->stride * sizeof *m->scores);
    if (m->head.layout == LAYOUT_SPARSE)
        add_sparse(m, n);
    else
        add_dense(m, n);
    for (uint32_t i = 0; i < m->head.labels; i++) {
        float number[2];
        memcpy(&number[0], m->bytes + m->at.scale + i * 4u, 4);
        memcpy(&number[1], m->bytes + m->at.bias + i * 4u, 4);
        m->scores[i] = m->scores[i] * number[0] + number[1];
    }
    *out = m->scores;
    return KOLM_OK;
}

kit_status model_answer_text(model *m, const char *utf8, size_t length, model_answer *out, kolm_error_t *err) {
    const float *scores;
    KIT_TRY(model_score_text(m, utf8, length, &scores, err));
    out->confidence_micro = model_confidence(scores, m->head.labels, m->calibration, &out->label);
    out->abstains = out->confidence_micro < m->head.threshold_micro;
    return KOLM_OK;
}
