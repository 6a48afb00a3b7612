/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors of a safetensors file in memory: their names, types, shapes and bytes, all validated. */
#ifndef LOCAL_CPU_ENCODER_SAFETENSORS_H
#define LOCAL_CPU_ENCODER_SAFETENSORS_H

#include "kolm/kit/status.h"

/*
 * The format (github.com/huggingface/safetensors, "Format"): u64 little endian, the length of the header; the header, a
 * JSON object {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [BEGIN, END]}, ..., "__metadata__": {...}},
 * with offsets that count from the end of the header; then the tensors' bytes, little endian, in C order, without gaps.
 *
 * The file is not trusted: a tensor must be inside the file, match its type and shape in length, begin at a multiple of
 * its type's size, and not overlap another; there must be no gaps. Only the header is read, so a file of gigabytes
 * costs no more than a small one. The numbers themselves are not checked.
 */
#define ENC_RANK_MAX 8

typedef enum enc_dtype {
    ENC_F32,
    ENC_F16,
    ENC_BF16,
    ENC_F64,
    ENC_I8,
    ENC_I32,
    ENC_I64,
    ENC_OTHER, /* a type of the format that is not supported here */
} enc_dtype;

typedef struct enc_tensor {
    const char *name; /* NUL terminated; owned by the set */
    enc_dtype dtype;
    uint32_t rank;
    uint64_t shape[ENC_RANK_MAX];
    uint64_t count;      /* product of the shape; 1 for rank 0 */
    const uint8_t *data; /* in the caller's bytes */
    uint64_t bytes;
} enc_tensor;

typedef struct enc_tensors enc_tensors;

/* bytes are owned by the caller, must outlive the set, and must be at least 4-aligned (mappings are). shown: the file's
 * name in errors. DATA_LOSS, with the reason, if it is not a valid safetensors file; UNIMPLEMENTED on a big-endian
 * machine. */
kit_status enc_tensors_read(const void *bytes, uint64_t size, const char *shown, enc_tensors **out,
                            kolm_error_t *err) KIT_MUST_USE;
void enc_tensors_free(enc_tensors *tensors);
size_t enc_tensors_count(const enc_tensors *tensors);
const enc_tensor *enc_tensors_at(const enc_tensors *tensors, size_t index); /* by ascending offset in the file */
/* NULL if there is none of that name. */
const enc_tensor *enc_tensors_find(const enc_tensors *tensors, const char *name);
/* Bytes of one number, 0 for ENC_OTHER. */
uint32_t enc_dtype_bytes(enc_dtype dtype);
/* "F32"; "another type" for ENC_OTHER. */
const char *enc_dtype_name(enc_dtype dtype);

#endif
