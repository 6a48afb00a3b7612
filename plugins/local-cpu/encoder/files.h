/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a sentence encoder, from a directory or handed over in memory, by their names and with distrust. */
#ifndef LOCAL_CPU_ENCODER_FILES_H
#define LOCAL_CPU_ENCODER_FILES_H

#include "kolm/kit/buf.h"
#include "kolm/kit/json.h"

/*
 * An encoder is a few small JSON files and one large file of weights, in Hugging Face layout. Whoever reads them asks
 * for a name relative to the top ("config.json", "1_Pooling/config.json") and gets bytes that stay where they are until
 * the set is closed. Files of a directory are mapped when they are first asked for; pages of them are read when
 * touched.
 *
 * A file directly in the directory may be a link, as the user has laid it there. Names in sub-directories come from the
 * model's own JSON and are distrusted: no "..", nothing absolute, no link on the way, and a link as the file itself
 * only when it stays inside the directory or has the form that the hub's cache gives its snapshots
 * (../../blobs/DIGEST).
 */
typedef struct enc_file {
    const char *name;     /* relative, with slashes; NUL terminated */
    const uint8_t *bytes; /* at least 4-aligned, as a mapping or an artifact's big entry is */
    uint64_t size;
} enc_file;

typedef struct enc_files enc_files;

/* The directory at path. Nothing but the directory itself is opened yet. */
kit_status enc_files_open(const char *path, enc_files **out, kolm_error_t *err) KIT_MUST_USE;
/* From now on only the files with these names are there, whatever else the directory holds: an array of {"name"}, as
 * the base of a job has it ("files"). DATA_LOSS when it is none. */
kit_status enc_files_only(enc_files *files, const cJSON *list, kolm_error_t *err) KIT_MUST_USE;
/* The same for an open directory, whose descriptor stays the caller's; shown: its name in errors. */
kit_status enc_files_open_at(int directory, const char *shown, enc_files **out, kolm_error_t *err) KIT_MUST_USE;
/* Files in memory. The list is copied, names and all; the bytes are the caller's and must outlive the set. */
kit_status enc_files_of(const enc_file *list, size_t count, const char *shown, enc_files **out,
                        kolm_error_t *err) KIT_MUST_USE;
void enc_files_close(enc_files *files);

/* NOT_FOUND when there is no such file; OUT_OF_RANGE when it has more than max bytes; INVALID_ARGUMENT for a name or a
 * link that leads outside. What out gets lives as long as files. Not for several threads at a time. */
kit_status enc_files_get(enc_files *files, const char *name, uint64_t max, enc_file *out,
                         kolm_error_t *err) KIT_MUST_USE;
/* Every file that was got so far, in that order: what the encoder consists of. */
size_t enc_files_count(const enc_files *files);
const enc_file *enc_files_at(const enc_files *files, size_t index);
/* The directory, or what was given as shown: for sentences. */
const char *enc_files_shown(const enc_files *files);

#endif
