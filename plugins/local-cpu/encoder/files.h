/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a sentence encoder, from a directory or from memory, by name; names and links are not trusted. */
#ifndef LOCAL_CPU_ENCODER_FILES_H
#define LOCAL_CPU_ENCODER_FILES_H

#include "kolm/kit/buf.h"
#include "kolm/kit/json.h"

/*
 * An encoder is a few small JSON files and one large file of weights, in Hugging Face layout. They are read by names
 * relative to the top ("config.json", "1_Pooling/config.json"); the bytes stay valid until the set is closed. Files of
 * a directory are mapped on first use, and their pages read when touched.
 *
 * A file directly in the directory may be a link, because the user put it there. Names in subdirectories come from the
 * model's own JSON and are not trusted: no "..", no absolute path, no link in the path, and the file itself may be a
 * link only if it stays inside the directory or has the form of the hub's cached snapshots (../../blobs/DIGEST).
 */
typedef struct enc_file {
    const char *name;     /* relative, with slashes; NUL terminated */
    const uint8_t *bytes; /* at least 4-aligned, like a mapping or a large entry of an artifact */
    uint64_t size;
} enc_file;

typedef struct enc_files enc_files;

/* Opens the directory at path, and no file yet. */
kit_status enc_files_open(const char *path, enc_files **out, kolm_error_t *err) KIT_MUST_USE;
/* From now on only the files with these names exist, whatever the directory contains: an array of {"name"}, as in the
 * base of a job ("files"). DATA_LOSS if it is not such an array. */
kit_status enc_files_only(enc_files *files, const cJSON *list, kolm_error_t *err) KIT_MUST_USE;
/* Like enc_files_open, for an open directory, which the caller must close; shown: its name in errors. */
kit_status enc_files_open_at(int directory, const char *shown, enc_files **out, kolm_error_t *err) KIT_MUST_USE;
/* Files in memory. Copies the list and its names; the bytes are owned by the caller and must outlive the set. */
kit_status enc_files_of(const enc_file *list, size_t count, const char *shown, enc_files **out,
                        kolm_error_t *err) KIT_MUST_USE;
void enc_files_close(enc_files *files);

/* NOT_FOUND if there is no such file; OUT_OF_RANGE if it has more than max bytes; INVALID_ARGUMENT for a name or a link
 * that leads outside. *out is valid as long as files. Not thread-safe. */
kit_status enc_files_get(enc_files *files, const char *name, uint64_t max, enc_file *out,
                         kolm_error_t *err) KIT_MUST_USE;
/* The files read so far, in that order: those that the encoder consists of. */
size_t enc_files_count(const enc_files *files);
const enc_file *enc_files_at(const enc_files *files, size_t index);
/* The directory, or the argument shown: for messages. */
const char *enc_files_shown(const enc_files *files);

#endif
