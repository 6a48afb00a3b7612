/* SPDX-License-Identifier: Apache-2.0 */
/* A model on a frozen sentence encoder, as a directory that other programs read. */
#ifndef KOLM_MODEL_EXPORT_ENCODER_H
#define KOLM_MODEL_EXPORT_ENCODER_H

#include "model/model.h"

/*
 * DIRECTORY is the encoder itself (sentence-transformers loads it), with these additional files:
 *
 *   kolm/head.bin, linear.bin, encoder.json   the model's own parts, as in the artifact
 *   kolm/labels.json                          its labels, in order
 *   predict.py                                gives the same answers in Python, without kolm; here export_predict.py
 *   README.md                                 a description, with the digest of the artifact's manifest
 */
bool export_is_encoder(const model_handle *model);
/* scratch: an empty directory; base: path NULL if the model includes it. */
kit_status export_encoder(kolm_session *session, model_handle *model, const job_base *base, const char *scratch,
                          const char *directory, kolm_error_t *err) KIT_MUST_USE;

#endif
