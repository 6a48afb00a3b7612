/* SPDX-License-Identifier: Apache-2.0 */
/* Recognises a path that was given for something else, for a helpful error. */
#ifndef KOLM_MODEL_PATH_H
#define KOLM_MODEL_PATH_H

#include "kolm/kit/file.h"

/* All of these examine the name and the first bytes; they follow links and never wait for a pipe. */
bool model_looks_like_model(const char *path); /* a regular file that begins as an artifact does */
bool model_looks_like_rows(const char *path);  /* a regular file with the name or the first byte of rows, no model */
/* One word that ends as files of rows do (".jsonl", ".txt", ".csv.gz"), whether it is there or not. */
bool model_named_like_rows(const char *word);
bool model_is_there(const char *path); /* a file, a directory, a pipe: anything that has this name */

/* OK unless the path is clearly something else than a compiled model: a directory, receipts, rows. Then
 * INVALID_ARGUMENT says what it is and what to give instead. A file that only claims to be a model passes:
 * artifact_open judges it. */
kit_status model_check_model_path(const char *path, kolm_error_t *err) KIT_MUST_USE;
/* The counterpart for a file of rows: INVALID_ARGUMENT for a compiled model. option: "--eval". */
kit_status model_check_rows_path(const char *path, const char *option, kolm_error_t *err) KIT_MUST_USE;

#endif
