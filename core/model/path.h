/* SPDX-License-Identifier: Apache-2.0 */
/* Recognises a path of the wrong kind, for a helpful error. */
#ifndef KOLM_MODEL_PATH_H
#define KOLM_MODEL_PATH_H

#include "kolm/kit/file.h"

/* All of these examine the name and the first bytes; they follow links and never wait for a pipe. */
bool model_looks_like_model(const char *path); /* a regular file that begins like an artifact */
bool model_looks_like_rows(const char *path);  /* a regular file with the name or the first byte of rows, not a model */
/* One word that ends like a file of rows (".jsonl", ".txt", ".csv.gz"), whether it exists or not. */
bool model_named_like_rows(const char *word);
bool model_is_there(const char *path); /* a file, a directory, a pipe: anything that has this name */

/* OK unless the path is clearly not a compiled model, but a directory, receipts or rows. INVALID_ARGUMENT then says
 * what it is and what to pass instead. A file that only looks like a model passes: artifact_open checks it. */
kit_status model_check_model_path(const char *path, kolm_error_t *err) KIT_MUST_USE;
/* The counterpart for a file of rows: INVALID_ARGUMENT for a compiled model. option: "--eval". */
kit_status model_check_rows_path(const char *path, const char *option, kolm_error_t *err) KIT_MUST_USE;

#endif
