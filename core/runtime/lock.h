/* SPDX-License-Identifier: Apache-2.0 */
/* The lock file of a backend's Python runtime: where it is, and its metadata. */
#ifndef KOLM_RUNTIME_LOCK_H
#define KOLM_RUNTIME_LOCK_H

#include "host/host.h"

/*
 * A lock is a requirements file of pip with a hash for every file that may be installed. Only its name associates it
 * with a backend: DIRECTORY/NAME.lock.txt next to the backend's manifest, else TRAINER/locks/NAME.txt. Only root and
 * the user may be able to change it (host_trust_file), because it determines what is installed.
 *
 * Comment lines "# kolm: KEY VALUE" are read by kolm, the rest only by pip:
 *
 *     summary TEXT           what it contains, for the user
 *     python >=3.11 <3.15    supported versions of Python
 *     system linux darwin    values of Python's platform.system(), in lower case; absent: any
 *     machine x86_64 arm64   the same for platform.machine()
 *     index-url URL          repeatable; the first is pip's index, the others are extra ones
 *     download-bytes N       approximate size of the downloads of one machine
 *     disk-bytes N           approximate size of the finished environment
 *     note TEXT              shown before anything is done; repeatable
 *     unavailable TEXT       there is nothing to install, with the reason
 *
 * Other keys are ignored here: nvidia-driver is for machines reached over SSH.
 */
#define RUNTIME_LOCK_URLS 4

typedef struct runtime_lock {
    char *path;
    kit_buf text;
    char sha256[65];
    char summary[200], python[64], system[64], machine[64], unavailable[320];
    char url[RUNTIME_LOCK_URLS][200];
    size_t url_count;
    uint64_t download_bytes, disk_bytes; /* 0: unknown */
    size_t pins;                         /* number of packages */
    kit_buf notes;                       /* lines */
} runtime_lock;

/* trainer: of the host registry, may be NULL. NOT_FOUND, without a remedy, if the backend has none. The caller must
 * free *out_lock, also on failure. */
kit_status runtime_lock_read(const char *trainer, const host_backend *row, runtime_lock *out_lock,
                             kolm_error_t *err) KIT_MUST_USE;
void runtime_lock_free(runtime_lock *lock);

/* True if word is among the words of list, or list is "". */
bool runtime_lock_allows(const char *list, const char *word);
/* True if MAJOR.MINOR is within ">=3.11 <3.15" (the comparisons are >=, <, ==; a comma counts as a blank). */
bool runtime_lock_python_ok(const char *range, uint64_t major, uint64_t minor);

#endif
