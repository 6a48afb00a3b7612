/* SPDX-License-Identifier: Apache-2.0 */
/* Converts weights to fp16. */
#ifndef LOCAL_CPU_ENCODER_HALVES_H
#define LOCAL_CPU_ENCODER_HALVES_H

#include "files.h"

/*
 * Converts the fp32 numbers of a safetensors file to fp16, rounded to the nearest, ties to even; other tensors are
 * unchanged. Many models were trained in 16 bits and saved in 32: then no number changes (*out_exact), and every
 * embedding is the same, byte for byte. *out_done is false, and out empty, if a number is not finite or too large for
 * fp16, if no tensor is fp32, or if one has a type that is not supported. Memory: the new file.
 */
kit_status enc_halve(const enc_file *file, kit_buf *out, bool *out_done, bool *out_exact,
                     kolm_error_t *err) KIT_MUST_USE;

#endif
