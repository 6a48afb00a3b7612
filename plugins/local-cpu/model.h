/* SPDX-License-Identifier: Apache-2.0 */
/* The model file linear.bin: writes it, maps it without trusting it, answers with it. */
#ifndef LOCAL_CPU_MODEL_H
#define LOCAL_CPU_MODEL_H

#include "rows.h"
#include "text.h"

/*
 * linear.bin, version 1, little endian. A header of 128 bytes, then sections without gaps except padding to 16:
 *   labels   for each label: u32 length, then its bytes (UTF-8)
 *   buckets  for each family: the buckets that are features, ascending, as differences (the first from -1) in 7-bit
 *            groups
 *   idf      f32 for each feature
 *   scale    f32 for each label
 *   bias     f32 for each label
 *   weights  dense: i8 [features][labels padded to 4]
 *            sparse: u32 [features + 1] first entry; u16 label [entries], padded; i8 weight [entries]
 * score(label) = bias + scale * sum of value * weight
 * confidence = (1 - noise) * softmax(score / temperature) + noise / labels, where noise is the share of training rows
 * that no score explains (wrong labels), so that they do not distort the temperature.
 * The header has a checksum over itself and every section except the weights (any bytes are valid weights; the digest
 * of the artifact detects damage there). Every length, number and offset is checked before use.
 */
#define MODEL_FILE "linear.bin"
#define MODEL_LABELS_MAX 65535u
#define MODEL_LABEL_BYTES_MAX (1u << 20)
#define MODEL_FEATURES_MAX (2u * TEXT_BUCKETS)
#define MODEL_MICRO 1000000u

/* How scores become confidences. */
typedef struct calibration {
    uint64_t temperature_micro, noise_micro;
} calibration;

/* A model to be written. The caller fills it and owns what it points to. */
typedef struct model_draft {
    const features *features;
    unsigned families; /* bit 0 words, bit 1 characters */
    uint32_t label_count;
    char *const *labels; /* NUL terminated */
    bool sparse;
    uint32_t stride;       /* labels padded to 4 */
    int8_t *dense;         /* [features][stride] */
    uint32_t *first;       /* sparse: features + 1 */
    uint16_t *entry_label; /* sparse */
    int8_t *entry_weight;  /* sparse */
    float *scale, *bias;   /* of each label */
    calibration calibration;
    uint64_t threshold_micro;
} model_draft;

/* Writes path, whole or not at all. */
kit_status model_write(const model_draft *draft, const char *path, kolm_error_t *err) KIT_MUST_USE;

/* An open model; one thread at a time. */
typedef struct model model;
/* Maps size bytes at offset of path. DATA_LOSS, with the reason, if they are not a valid model. */
kit_status model_open(const char *path, uint64_t offset, uint64_t size, model **out, kolm_error_t *err) KIT_MUST_USE;
/* The same from memory, which must outlive the model. */
kit_status model_from_bytes(const void *bytes, uint64_t size, model **out, kolm_error_t *err) KIT_MUST_USE;
void model_close(model *m);

uint32_t model_label_count(const model *m);
/* Not NUL terminated; owned by m. */
const char *model_label(const model *m, uint32_t label, uint32_t *out_length);
uint64_t model_threshold_micro(const model *m);

typedef struct model_answer {
    uint32_t label;            /* the best one */
    uint32_t confidence_micro; /* its probability, millionths, rounded */
    bool abstains;             /* the probability is below the threshold */
} model_answer;
/* Returns the scores of an answer, one per label; owned by m and valid until its next call. */
kit_status model_score_text(model *m, const char *utf8, size_t length, const float **out,
                            kolm_error_t *err) KIT_MUST_USE;
kit_status model_answer_text(model *m, const char *utf8, size_t length, model_answer *out,
                             kolm_error_t *err) KIT_MUST_USE;

/* Returns the probability of the best of n scores, in millionths; *out_best is the first of the highest. */
uint32_t model_confidence(const float *scores, uint32_t n, calibration with, uint32_t *out_best);

#endif
