/* SPDX-License-Identifier: Apache-2.0 */
/* The model file linear.bin: writing it, mapping it with distrust, answering with it. */
#ifndef LOCAL_CPU_MODEL_H
#define LOCAL_CPU_MODEL_H

#include "rows.h"
#include "text.h"

/*
 * linear.bin, version 1, little endian. A head of 128 bytes, then sections without gaps but for padding to 16:
 *   labels   for each label: u32 length, then its bytes (UTF-8)
 *   buckets  for each family: the buckets that are features, ascending, as differences (the first from -1) in 7-bit
 * groups idf      f32 for each feature scale    f32 for each label bias     f32 for each label weights  dense:  i8
 * [features][labels padded to 4] sparse: u32 [features + 1] first entry; u16 label [entries], padded; i8 weight
 * [entries] score(label) = bias + scale * sum of value * weight; confidence = (1 - noise) * softmax(score /
 * temperature) + noise / labels, where noise is the share of training rows that no score explains (wrong labels): it
 * keeps one temperature honest. The head holds a check sum over itself and every section but the weights (whatever
 * their bytes, they are weights: damage there is the artifact's digest's to find). Reading believes nothing: every
 * length, number and offset is checked before it is used.
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

/* A model being made. The caller fills it and owns what it points to. */
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

/* Writes DIRECTORY/linear.bin, whole or not at all. */
kit_status model_write(const model_draft *draft, const char *path, kolm_error_t *err) KIT_MUST_USE;

/* A model in use; one thread at a time. */
typedef struct model model;
/* Maps size bytes at offset of path. DATA_LOSS with a sentence when they are not a model. */
kit_status model_open(const char *path, uint64_t offset, uint64_t size, model **out, kolm_error_t *err) KIT_MUST_USE;
/* The same from memory that the caller keeps. */
kit_status model_from_bytes(const void *bytes, uint64_t size, model **out, kolm_error_t *err) KIT_MUST_USE;
void model_close(model *m);

uint32_t model_label_count(const model *m);
/* Not NUL terminated; belongs to m. */
const char *model_label(const model *m, uint32_t label, uint32_t *out_length);
uint64_t model_threshold_micro(const model *m);

typedef struct model_answer {
    uint32_t label;            /* the best one */
    uint32_t confidence_micro; /* its probability, millionths, rounded */
    bool abstains;             /* the probability is below the threshold */
} model_answer;
/* The scores that an answer is made of, a number a label; m's own, until it is next asked. */
kit_status model_score_text(model *m, const char *utf8, size_t length, const float **out,
                            kolm_error_t *err) KIT_MUST_USE;
kit_status model_answer_text(model *m, const char *utf8, size_t length, model_answer *out,
                             kolm_error_t *err) KIT_MUST_USE;

/* The probability of the best of n scores, in millionths; *out_best gets the first of the highest. */
uint32_t model_confidence(const float *scores, uint32_t n, calibration with, uint32_t *out_best);

#endif
