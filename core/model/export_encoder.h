/* SPDX-License-Identifier: Apache-2.0 */
/* A model on a frozen sentence encoder, as a directory that other programs read. */
#ifndef KOLM_MODEL_EXPORT_ENCODER_H
#define KOLM_MODEL_EXPORT_ENCODER_H

#include "model/model.h"

/*
 * DIRECTORY is the encoder itself (sentence-transformers loads it), and beside its files:
 *
 *   kolm/head.bin, linear.bin, encoder.json   the model's own parts, as the artifact has them
 *   kolm/labels.json                          its labels, in their order
 *   predict.py                                the same answers by Python, without kolm; export_predict.py here
 *   README.md                                 what it is, and the digest of the manifest that it was made of
 */
bool export_is_encoder(const model_handle *model);
/* scratch: an empty directory; base: path NULL when the model carries it. */
kit_status export_encoder(kolm_session *session, model_handle *model, const job_base *base, const char *scratch,
                          const char *directory, kolm_error_t *err) KIT_MUST_USE;

#endif
