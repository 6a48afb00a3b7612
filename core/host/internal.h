/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the host room. */
#ifndef KOLM_HOST_INTERNAL_H
#define KOLM_HOST_INTERNAL_H

#include "host/scan.h"
#include "kolm/kit/file.h"

#include <dirent.h>
#include <sys/types.h>

/* ---- trust.c */
void host_identity_of(const struct stat *st, host_file_identity *out);
/* The rule for one file or directory; `above`: it does not hold the plugin itself, so sticky directories owned by root
 * are allowed. */
kit_status host_trust_stat(const struct stat *st, const char *path, bool above, kolm_error_t *err) KIT_MUST_USE;

/* host_trust_file for a part of kolm itself. */
kit_status host_trust_own(const char *path, char **out_real, kolm_error_t *err) KIT_MUST_USE;

/* ---- plugin.c: the bytes of a row's plugin, read on first use. */
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
/* The path of this executable, and the build tree or prefix that it was started from; false if that is unknown or not
 * trusted. out has room for PATH_MAX. */
bool host_own_program(char *out);
bool host_own_tree(char *out);
/* The build tree of this executable, else the installed tree. */
kit_status host_places_own(host_places *places, kolm_error_t *err) KIT_MUST_USE;
void host_places_free(host_places *places);

/* ---- busy.c: detect and cost have only seconds, on a machine that may be busy; their results must not depend on
 * that. */
#define HOST_BUSY_TIMES 6 /* the deadline is extended to at most this multiple */
/* When the deadline of a process passes that was started then and has timeout_ms: time that it spent runnable but not
 * running does not count. 0 extra if the kernel does not report this. */
int64_t host_deadline_of(pid_t pid, int64_t started_ms, int64_t timeout_ms);

/* ---- Names of files without their suffix: "acme", "acme-1.2.0" (versions.c) */
/* "1.2.0" within the stem; NULL when it has none. */
const char *host_stem_version(const char *stem);
/* Length of the backend's name in the stem. */
size_t host_stem_name(const char *stem);
/* For qsort of char *: by name; of equal names the one without a version first, then the newest. */
int host_stems_order(const void *left, const void *right);

/* ---- manifest.c: the fields of a manifest, the version first */
typedef struct host_field {
    const char *key;
    bool optional;
    unsigned override; /* HOST_OVERRIDE_*; 0: cannot be overridden */
    kit_status (*read)(const cJSON *item, host_manifest *m, kolm_error_t *err); /* item is never NULL */
} host_field;
#define HOST_FIELDS 22
extern const host_field host_fields[HOST_FIELDS];

/* ---- names.c */
#define HOST_ROWS_MAX 4096 /* over all directories; of one directory at most four times as many files are examined */
typedef struct host_names {
    char **at; /* stems, each once, sorted by host_stems_order */
    size_t count;
    char **beside; /* whole names of signatures and of directories of libraries, sorted */
    size_t beside_count;
    bool versions, cut; /* there is a version among them; there are more than were examined */
} host_names;
/* Reads all of dir from its current position. The caller must set names to {0} before and free it after, also after an
 * error. */
kit_status host_names_read(DIR *dir, host_names *names, kolm_error_t *err) KIT_MUST_USE;
void host_names_free(host_names *names);
/* Whether stem + suffix (".so.sig", ".libs") existed when the directory was read. */
bool host_names_beside(const host_names *names, const char *stem, const char *suffix);

/* ---- Descriptors and limits of the protocol between kolm and kolm-host; its names are in protocol.h. After the
 * request the pipe stays open: closing it tells kolm-host that the caller has exited, or asks it to stop. */
#define HOST_FD_REQUEST 3
#define HOST_FD_REPLY 4
#define HOST_FD_INPUT 5 /* infer, when the caller gave descriptors */
#define HOST_FD_OUTPUT 6
#define HOST_FD_MODEL 7             /* infer, when the caller gave one: HOST_MODEL_PATH */
#define HOST_FD_PLUGIN 8            /* the plugin's bytes, unless it is to be loaded by its path */
#define HOST_FD_LEASES 9            /* the journal of the call, when it has one */
#define HOST_REQUEST_MAX (8u << 20) /* bytes */
#define HOST_LINE_MAX 65536u        /* bytes of one answer line */
#define HOST_LOG_MAX KOLM_LOG_BYTES_MAX
#define HOST_SECRET_MAX 65536u /* bytes of one secret */

#endif
