/* SPDX-License-Identifier: Apache-2.0 */
/* The base model of a job: found by path or by name in the local cache, and known by the digest of its files. */
#ifndef KOLM_JOB_BASE_H
#define KOLM_JOB_BASE_H

/*
 * A base is a directory in Hugging Face layout. Its files are the regular files (or links to such, as in the cache) at
 * its top with a suffix that models are loaded from: .safetensors .json .jinja .txt .model .tiktoken, and .bin .pt .pth
 * if there are no .safetensors; the files of a PEFT adapter (adapter_config.json, adapter_model.*) next to a base are
 * not part of it. For a sentence encoder, such files in the directories listed in its modules.json ("1_Pooling") are
 * included, as 1_Pooling/config.json, for at most 16 modules; other directories are ignored. Its digest is the SHA-256
 * of one line for each file, sorted by name:
 *
 *     HEX-SHA-256 of the file, two spaces, SIZE, two spaces, NAME, LF
 *
 * so that `sha256sum` can check it. Weights are the files that end in .safetensors, .bin, .pt or .pth.
 *
 * A name (ORG/MODEL) is looked up as the hub's own client does: HF_HUB_CACHE, else HF_HOME/hub, else
 * XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; there models--ORG--MODEL/refs/main names the snapshot
 * (huggingface_hub, "Understand caching"). Nothing is ever downloaded.
 *
 * Hashing many gigabytes takes seconds, so the caller may pass a cache of digests (memory): an object that is stored
 * between runs, with an entry for each path, valid while name, inode, size and both times of every file are the same
 * (kit_file_mark: ctime is set by the kernel and cannot be set back).
 *
 * Recipes that read only some of these files list them (docs/job-protocol.md, base_files). Then the base of the model
 * is only these: its digest covers their lines, its manifest lists them, and other files do not matter.
 *
 * A backend opens the files by name, after they were digested. Call job_base_unchanged afterwards: nothing made from a
 * base that changed in the meantime may be trusted or written.
 */

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/mark.h"

#include <signal.h>

typedef struct job_base {
    char *path; /* absolute, links resolved */
    char *name; /* as requested; for a directory, its last component */
    char digest[KIT_SHA256_HEX];
    uint64_t weight_bytes;
    char *lines; /* the lines that the digest covers */
    char *marks; /* name and mark of each file that was digested, and of the directory: for job_base_unchanged */
    bool part;   /* only its files in lines count: job_base_narrow */
} job_base;

/* Finds the directory of a base that the user named: an existing directory, else a name in the cache. NOT_FOUND lists
 * the places searched. The caller frees *out_path. */
kit_status job_base_find(const char *asked, char **out_path, kolm_error_t *err) KIT_MUST_USE;
/* Digests the base at path, or takes the digest from memory, which is updated and may be NULL. INVALID_ARGUMENT if
 * there is no config.json or modules.json, or no weights. CANCELLED if *stop becomes non-zero; stop may be NULL. Free
 * with job_base_free in every case. */
kit_status job_base_open(const char *asked, const char *path, cJSON *memory, const volatile sig_atomic_t *stop,
                         job_base *out_base, kolm_error_t *err) KIT_MUST_USE;
/* OK if the base is still what job_base_open digested; DATA_LOSS names the first file that was changed, added, or
 * removed. */
kit_status job_base_unchanged(const job_base *base, kolm_error_t *err) KIT_MUST_USE;
void job_base_free(job_base *base);
/* True if a file of this name has weights. */
bool job_base_is_weights(const char *name);

/* Functions on lines as above, of a base or of some of its files. */
bool job_base_has(const char *lines, const char *name);
bool job_base_holds(const char *lines, const char *wanted); /* every line of wanted is among lines */
/* Describes how now differs from wanted: "config.json is not the same, vocab.txt is missing"; "" if it does not. whole:
 * extra files count, too. */
void job_base_difference(const char *wanted, const char *now, bool whole, char *out, size_t capacity);
/* The lines of the named files, an array of strings; DATA_LOSS if it is not an array of strings, or names a file that
 * base does not have. */
kit_status job_base_lines(const job_base *base, const cJSON *names, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* The same for the list in a manifest: [{"name", "bytes", "sha256"}]. */
kit_status job_base_lines_of(const cJSON *files, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* Makes that list for base; NULL if out of memory. */
cJSON *job_base_files(const job_base *base);
/* Narrows base to the files of these lines. FAILED_PRECONDITION, with the difference as its text, if it does not have
 * them all. */
kit_status job_base_narrow(job_base *base, const char *lines, kolm_error_t *err) KIT_MUST_USE;

/* Lists the paths in memory of a base with this digest, or with all of these lines ("" for none): an array of
 * {"path", "lines"} for the caller to delete; lines may be absent. earlier: paths where it was before another base.
 * They may no longer exist, or may have changed. */
kit_status job_base_seen(const cJSON *memory, const char *digest, const char *lines, bool earlier, cJSON **out,
                         kolm_error_t *err) KIT_MUST_USE;

#endif
