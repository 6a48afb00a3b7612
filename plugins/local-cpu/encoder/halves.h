/* SPDX-License-Identifier: Apache-2.0 */
/* Converts weights to fp16. */
#ifndef LOCAL_CPU_ENCODER_HALVES_H
#define LOCAL_CPU_ENCODER_HALVES_H

#include "files.h"

/*
 * A safetensors file with its fp32 numbers as fp16, rounded to the nearest, ties to even, and its other tensors as they
 * are. Many models were trained in 16 bits and saved in 32: then nothing changes (*out_exact), and what is computed is
 * the same, byte for byte, on every text. *out_done false: a number is too large for fp16 or not a number, or there is
 * nothing to gain; out is empty then. Memory: the new file.
 */
kit_status enc_halve(const enc_file *file, kit_buf *out, bool *out_done, bool *out_exact,
                     kolm_error_t *err) KIT_MUST_USE;

#endif
