/* SPDX-License-Identifier: Apache-2.0 */
/* The base model of a job: found by path or by name in the local cache, and known by the digest of its files. */
#ifndef KOLM_JOB_BASE_H
#define KOLM_JOB_BASE_H

/*
 * A base is a directory in Hugging Face layout. Its files are the regular ones (or links to such, as in the cache) at
 * its top with a suffix that a model is loaded from: .safetensors .json .jinja .txt .model .tiktoken, and .bin .pt .pth
 * where there are no .safetensors; the files of a PEFT adapter (adapter_config.json, adapter_model.*) that lie beside a
 * base are no part of it. Of a sentence encoder the same kinds of files count in the directories that its modules.json
 * names ("1_Pooling"), as 1_Pooling/config.json, for at most 16 modules; other directories are ignored.
 * Its digest is the SHA-256 of one line for each, in the order of their names:
 *
 *     HEX-SHA-256 of the file, two spaces, SIZE, two spaces, NAME, LF
 *
 * so that `sha256sum` can check it. Weights are what ends in .safetensors, .bin, .pt or .pth.
 *
 * A name (ORG/MODEL) is looked up as the hub's own client does: HF_HUB_CACHE, else HF_HOME/hub, else
 * XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; there models--ORG--MODEL/refs/main names the snapshot
 * (huggingface_hub, "Understand caching"). Nothing is ever fetched.
 *
 * Hashing many gigabytes takes seconds, so a memory of digests may be given: an object that is kept between runs, with
 * an entry for each path, believed while name, inode, size and both times of every file are the same (kit_file_mark:
 * the later one is the kernel's and cannot be set back).
 *
 * Recipes that read only some of these files say which (docs/job-protocol.md, base_files). Then the base of a model is
 * those alone: its digest is of their lines, its manifest has the list, and what lies beside them does not count.
 *
 * A backend reads the files by their names, after they were digested. job_base_unchanged, asked when it is done, says
 * whether they are still those: nothing made from a base that changed meanwhile may be trusted or written.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/mark.h"

#include <signal.h>

typedef struct job_base {
    char *path; /* absolute, links resolved */
    char *name; /* as asked for; of a directory its last component */
    char digest[KIT_SHA256_HEX];
    uint64_t weight_bytes;
    char *lines; /* what the digest is of */
    char *marks; /* name and mark of each file that was digested, and of the directory: for job_base_unchanged */
    bool part;   /* of its files only those in lines count: job_base_narrow */
} job_base;

/* The directory of a base that a user named: an existing directory, else a name in the cache. NOT_FOUND lists where it
 * looked. The caller frees *out_path. */
kit_status job_base_find(const char *asked, char **out_path, kolm_error_t *err) KIT_MUST_USE;
/* Digests the base at path. memory may be NULL; otherwise an object that gets, or had, the entry. INVALID_ARGUMENT when
 * there is no config.json or modules.json, or no weights. *stop, if stop is not NULL and it is not 0, ends it with
 * CANCELLED. Free with job_base_free in every case. */
kit_status job_base_open(const char *asked, const char *path, cJSON *memory, const volatile sig_atomic_t *stop,
                         job_base *out_base, kolm_error_t *err) KIT_MUST_USE;
/* OK when the base is what job_base_open digested; DATA_LOSS names the first file that was changed, added, or
 * removed. */
kit_status job_base_unchanged(const job_base *base, kolm_error_t *err) KIT_MUST_USE;
void job_base_free(job_base *base);
/* What is stored as weights, by its name. */
bool job_base_is_weights(const char *name);

/* Lines as above, of a base or of some of its files. */
bool job_base_has(const char *lines, const char *name);
bool job_base_holds(const char *lines, const char *wanted); /* every line of wanted is among lines */
/* "config.json is not the same, vocab.txt is missing": how now differs from wanted; with whole, extra files count too.
 * "" for nothing. */
void job_base_difference(const char *wanted, const char *now, bool whole, char *out, size_t capacity);
/* The lines of the named files, an array of strings; DATA_LOSS if it is not an array of strings, or names a file that
 * base does not have. */
kit_status job_base_lines(const job_base *base, const cJSON *names, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* The same of a manifest's list: [{"name", "bytes", "sha256"}]. */
kit_status job_base_lines_of(const cJSON *files, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* That list, of base; NULL when memory is out. */
cJSON *job_base_files(const job_base *base);
/* From now on base is the files of these lines alone. FAILED_PRECONDITION, with the difference as its text, when it
 * does not hold them all. */
kit_status job_base_narrow(job_base *base, const char *lines, kolm_error_t *err) KIT_MUST_USE;

/* Where memory has seen a base with this digest, or which holds these lines ("" for none): an array of
 * {"path", "lines"} for the caller to delete; lines may be absent. earlier: where it was once, and another is now. None
 * need be there, or be the same, any more. */
kit_status job_base_seen(const cJSON *memory, const char *digest, const char *lines, bool earlier, cJSON **out,
                         kolm_error_t *err) KIT_MUST_USE;

#endif
