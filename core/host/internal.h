/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the host room share and nobody else sees. */
#ifndef KOLM_HOST_INTERNAL_H
#define KOLM_HOST_INTERNAL_H

#include "host/scan.h"
#include "kolm/kit/file.h"

/* ---- trust.c */
void host_identity_of(const struct stat *st, host_file_identity *out);
/* The rule for one file or directory; `above`: it does not hold the plugin itself, so root's sticky ones will do. */
kit_status host_trust_stat(const struct stat *st, const char *path, bool above, kolm_error_t *err) KIT_MUST_USE;

/* ---- plugin.c: what a row knows of the bytes of its plugin. Nothing is read before it is asked for. */
kit_status host_plugin_new(host_plugin **out, kolm_error_t *err) KIT_MUST_USE;
void host_plugin_free(host_plugin *plugin);

/* ---- places.c */
typedef struct host_place {
    char *path;
    host_origin origin;
} host_place;
typedef struct host_places {
    host_place *at;
    size_t count;
    char *program; /* kolm-host; not checked yet */
    char *trainer; /* the Python trainer of this kolm; may be missing from the disk */
} host_places;
/* True in a set-uid or set-gid process. */
bool host_elevated(void);
kit_status host_places_add(host_places *places, const char *path, host_origin origin, kolm_error_t *err) KIT_MUST_USE;
/* The path of this executable, and the build tree or prefix that it was started from; false when that is not to be known
 * or believed. out has room for PATH_MAX. */
bool host_own_program(char *out);
bool host_own_tree(char *out);
/* The build tree that this executable lies in, else the installed tree. */
kit_status host_places_own(host_places *places, kolm_error_t *err) KIT_MUST_USE;
void host_places_free(host_places *places);

/* ---- Names of files without their suffix: "acme", "acme-1.2.0" (versions.c) */
/* "1.2.0" within the stem; NULL when it has none. */
const char *host_stem_version(const char *stem);
/* Bytes of it that are the backend's name. */
size_t host_stem_name(const char *stem);
/* For qsort of char *: by name; of one name the one without a version first, then the newest. */
int host_stems_order(const void *left, const void *right);

/* ---- Between kolm and kolm-host. One JSON object on one line asks; lines of JSON objects answer, the last one with
 * the event "done". Numbers of 64 bits travel as decimal strings, which JSON cannot bend. After the request the pipe
 * stays open: its end tells kolm-host that the caller has gone, or wants it to stop. */
#define HOST_FD_REQUEST 3
#define HOST_FD_REPLY 4
#define HOST_FD_INPUT 5 /* infer, when the caller gave descriptors */
#define HOST_FD_OUTPUT 6
#define HOST_FD_MODEL 7 /* infer, when the caller gave one: HOST_MODEL_PATH */
#define HOST_FD_PLUGIN 8 /* the plugin's bytes, unless it is to be loaded by its path */
#define HOST_REQUEST_MAX (8u << 20) /* bytes */
#define HOST_LINE_MAX 65536u        /* bytes of one answer line */
#define HOST_LOG_MAX KOLM_LOG_BYTES_MAX
#define HOST_SECRET_MAX 65536u      /* bytes of one secret */

#endif
