/* SPDX-License-Identifier: Apache-2.0 */
/* The base model of a job: found by path or by name in the local cache, and known by the digest of its files. */
#ifndef KOLM_JOB_BASE_H
#define KOLM_JOB_BASE_H

/*
 * A base is a directory in Hugging Face layout. Its files are the regular ones (or links to such, as in the cache) at
 * its top with a suffix that a model is loaded from: .safetensors .json .jinja .txt .model .tiktoken, and .bin .pt .pth
 * where there are no .safetensors; the files of a PEFT adapter (adapter_config.json, adapter_model.*) that lie beside a
 * base are no part of it. Of a sentence encoder the same kinds of files count in the directories that its modules.json
 * names ("1_Pooling"), as 1_Pooling/config.json, for at most 16 modules; other directories are nobody's business.
 * Its digest is the SHA-256 of one line for each, in the order of their names:
 *
 *     HEX-SHA-256 of the file, two blanks, SIZE, two blanks, NAME, LF
 *
 * so that `sha256sum` can check it. Weights are what ends in .safetensors, .bin, .pt or .pth.
 *
 * A name (ORG/MODEL) is looked up as the hub's own client does: HF_HUB_CACHE, else HF_HOME/hub, else
 * XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; there models--ORG--MODEL/refs/main names the snapshot
 * (huggingface_hub, "Understand caching"). Nothing is ever fetched.
 *
 * Hashing many gigabytes takes seconds, so a memory of digests may be given: an object that is kept between runs, with
 * an entry for each path, believed while name, inode, size and both times of every file are the same (kit_file_mark: the
 * later one is the kernel's and cannot be set back).
 *
 * A backend reads the files by their names, after they were digested. job_base_unchanged, asked when it is done, says
 * whether they are still those: nothing may be believed, or written, that was made of a base that was changed meanwhile.
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
    char *marks; /* name and mark of each file that was digested, and of the directory: for job_base_unchanged */
} job_base;

/* The directory of a base that a user named: an existing directory, else a name in the cache. NOT_FOUND says where was
 * looked. The caller frees *out_path. */
kit_status job_base_find(const char *asked, char **out_path, kolm_error_t *err) KIT_MUST_USE;
/* Digests the base at path. memory may be NULL; otherwise an object that gets, or had, the entry. INVALID_ARGUMENT when
 * there is no config.json or no weights. *stop, when stop is not NULL and it is not 0, ends it with CANCELLED. Free with job_base_free
 * in every case. */
kit_status job_base_open(const char *asked, const char *path, cJSON *memory, const volatile sig_atomic_t *stop,
                         job_base *out_base, kolm_error_t *err) KIT_MUST_USE;
/* OK when the base is what job_base_open digested; DATA_LOSS names the first file that was changed, added, or removed. */
kit_status job_base_unchanged(const job_base *base, kolm_error_t *err) KIT_MUST_USE;
void job_base_free(job_base *base);
/* The path in memory of a base with this digest, or NULL; it need not be there, or be the same, any more. */
const char *job_base_remembered(const cJSON *memory, const char *digest);

#endif
