/* SPDX-License-Identifier: Apache-2.0 */
/* Weights in half as many bytes, where that changes no number. */
#ifndef LOCAL_CPU_ENCODER_HALVES_H
#define LOCAL_CPU_ENCODER_HALVES_H

#include "files.h"

/*
 * Many models were trained in 16 bits and saved in 32. A safetensors file whose fp32 numbers are all fp16 numbers is
 * written anew with these as fp16, its other tensors as they are; what is computed from it is the same, byte for byte,
 * on every text. *out_done false: there is a number that would change, or nothing to gain; out is empty then. Memory:
 * the new file.
 */
kit_status enc_halve(const enc_file *file, kit_buf *out, bool *out_done, kolm_error_t *err) KIT_MUST_USE;

#endif
