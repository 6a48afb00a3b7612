/* SPDX-License-Identifier: Apache-2.0 */
/* Finding backends: the search path, the trust rules, and the row that each one found becomes. */
#ifndef KOLM_HOST_SCAN_H
#define KOLM_HOST_SCAN_H

/*
 * Order: the directories of KOLM_BACKEND_PATH, the user's (KOLM_HOME/backends), then the installed one. Directories are
 * flat and read in the order of their sorted names; a name that was already found becomes a shadowed row. The first
 * name wins even if it is refused: kolm never falls back to a shadowed backend.
 *
 * In one directory there may be several versions of a backend: NAME-1.10.0.so beside NAME-1.2.0.so, each with a
 * manifest of its own that says "name": "NAME". The newest is used; one that is refused by rules 1 to 5, or that fails
 * to load (host_registry_pass_over), is replaced by the next older one and stays in the table, refused. A file without
 * a version was installed by hand and takes precedence over all versions.
 *
 * Running from a build tree (the executable is BUILD/core/cli/kolm or any BUILD/x/y/z with BUILD/core/host/kolm-host
 * beside BUILD/plugins): the directories BUILD/plugins/NAME and BUILD/plugins/GROUP/NAME replace the installed one.
 * Otherwise everything is found relative to the executable, so that an installed tree may be moved:
 * BINDIR/../LIBEXEC/kolm/kolm-host and BINDIR/../BACKENDDIR. A set-uid or set-gid process ignores the environment and
 * its own location, and searches only the configured installation directory.
 *
 * Trust: a plugin and its manifest are followed through symbolic links to the real file. The file, its directory and
 * every directory above it must be owned by root or the user and writable by no one else (a root-owned sticky directory
 * such as /tmp may be a parent, but must not hold plugins itself). That makes the path safe to load from: only root and
 * the user can put another file there. The same applies to kolm-host and kolm-lazy.so. A failure becomes a refused row
 * with the path and a remedy.
 *
 * In a user namespace (`unshare -Ur`, a rootless container) the kernel shows all users that the namespace does not map
 * as one number, the overflow uid: files of the real root look like those of any other user outside. They cannot be
 * distinguished, so such an owner is trusted by location only, and only if group and others cannot write:
 *
 *   - directories that are owned by root on any system (/, /home, /usr and all below it, ...; trust.c has the list):
 *     another owner of these would control the C library and the loader too. /tmp, /var/tmp and /dev/shm may be parents
 *     if sticky;
 *   - directories above the running program: a user who can change them can replace the program itself;
 *   - the tree that the program was installed or built with, if the program's own file is not mapped either: likewise;
 *   - a mount that is read-only and local. It cannot be changed through this mount, and mounting needed privilege in
 *     this namespace. That says nothing about who wrote it: this is the one case where a namespace is trusted further
 *     than the system outside of it would be.
 *
 * Everywhere else an unmapped owner is another user. The overflow uid counts as unmapped in every namespace but one
 * that maps all users, as the initial one does.
 */

#include "host/manifest.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include <sys/stat.h>

/* Suffix of a plugin's file. */
#if defined(__APPLE__)
#define HOST_SUFFIX ".dylib"
#else
#define HOST_SUFFIX ".so"
#endif

typedef enum host_origin { HOST_ORIGIN_PATH, HOST_ORIGIN_USER, HOST_ORIGIN_INSTALLED, HOST_ORIGIN_BUILD } host_origin;

/* The rules, in the order of evaluation; a row that is not used names the rule that decided. */
typedef enum host_rule {
    HOST_RULE_NONE,      /* no rule objected */
    HOST_RULE_NAME,      /* the file name is one that a backend may have */
    HOST_RULE_DIRECTORY, /* only root and the user can change the directory and its parents */
    HOST_RULE_FILES,     /* only they can change plugin and manifest, and both exist, as regular files */
    HOST_RULE_MANIFEST,  /* the manifest is strictly valid and describes this backend */
    HOST_RULE_SIGNATURE, /* the policy file, if it demands signatures, is satisfied (host_scan_options.admit) */
    HOST_RULE_ORDER,     /* the first of a name is used */
    HOST_RULE_SETTINGS,  /* its section of config.json conforms to its manifest */
    HOST_RULE_LOADS,     /* it loads; checked only if there is another version next to it, by host_registry_pass_over */
    HOST_RULES
} host_rule;
/* The rule in words, "no other user can change the directory"; NULL for HOST_RULE_NONE. Static. */
const char *host_rule_text(host_rule rule);

typedef enum host_row_state {
    HOST_ROW_OK,       /* has a manifest and a plugin, may be called */
    HOST_ROW_REFUSED,  /* never loaded; see why */
    HOST_ROW_SHADOWED, /* another one of this name was found first; see why */
} host_row_state;

/* Identifies the state of a file; part of the key of the detection cache. */
typedef struct host_file_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t modified_ns;
    int64_t changed_ns;
} host_file_identity;

/* The bytes of a plugin, once they have been read (plugin.c). */
typedef struct host_plugin host_plugin;

/* Libraries of a plugin's own, in NAME.libs beside NAME.so: files, or links to files, and nothing else. The plugin is
 * linked with the run path $ORIGIN/NAME.libs; kolm only applies the same trust rules to them as to the plugin. */
typedef struct host_libs {
    char *directory; /* NULL: there is none */
    char **names;    /* sorted */
    size_t count;
    host_file_identity identity; /* of all together */
} host_libs;

typedef struct host_backend {
    char *name;            /* from the file name; escaped for a terminal */
    char *stem;            /* the file name without its suffix: the name, or NAME-VERSION */
    const char *version;   /* within stem; NULL: the file name has none */
    bool passed_over;      /* REFUSED, and another version next to it is used */
    bool spare;            /* SHADOWED by another version next to it, and would be OK otherwise */
    kolm_error_t *instead; /* for a spare: replaces why if it is used */
    char *directory;       /* where it was found, absolute */
    char *plugin_path;     /* the real file, absolute; NULL if there is none */
    char *manifest_path;   /* NULL if there is none */
    host_origin origin;
    host_row_state state;
    host_rule rule;          /* that decided, for a row that is not OK */
    bool granted;            /* for a row that is OK: it may use the secrets and files that its manifest requests */
    kolm_error_t why;        /* for a row that is not OK, and for one that is not granted */
    host_manifest *manifest; /* NULL if it could not be read; overrides are applied */
    host_file_identity plugin;
    host_file_identity manifest_file;
    bool no_signature;                    /* none existed when the directory, that of the real file, was read */
    char manifest_sha256[KIT_SHA256_HEX]; /* of the bytes that were parsed; "" if none were, or if nothing is signed and
                                           * nothing has to be granted */
    host_plugin *bytes;
    host_libs libs;
} host_backend;

/* A directory that could not be searched, or was only partly searched: shown by `detect` and `info`. */
typedef struct host_note {
    char *text;
} host_note;

/* A directory, in search order. */
typedef struct host_searched {
    char *path;      /* as it was named */
    char *directory; /* its real path, used by its rows; NULL if it cannot be found */
    host_origin origin;
    bool searched; /* false: could not be read, see why */
    kolm_error_t why;
} host_searched;

typedef struct host_registry {
    char *program; /* kolm-host, absolute; NULL if it was not found or not trusted: program_error says why */
    kolm_error_t program_error;
    char *trainer;      /* directory of the Python trainer, absolute; NULL if it is not installed, or not trusted */
    host_backend *rows; /* by name; a shadowed row follows the one in front of it */
    size_t count;
    host_note *notes;
    size_t note_count;
    host_searched *searched;
    size_t searched_count;
} host_registry;

/* Zero-initialise for the usual places. */
typedef struct host_scan_options {
    const char *user_dir; /* KOLM_HOME/backends, absolute; NULL: none. Need not exist */
    host_config config;   /* for overrides and settings */
    /* Called for every row that passes all rules but ORDER; any result but KOLM_OK refuses the row by RULE_SIGNATURE,
     * with why filled. NULL: all are admitted. */
    kit_status (*admit)(void *user, const host_backend *row, kolm_error_t *why);
    void *admit_user;
    /* Called for every row that is OK: any result but KOLM_OK leaves it OK but not granted, with why filled. NULL: all
     * rows that are OK are granted. */
    kit_status (*grant)(void *user, const host_backend *row, kolm_error_t *why);
    void *grant_user;
    const char *only; /* NULL, or the stem of the only files to examine */
    /* For tests: if dirs is not NULL, only these absolute directories are searched (not even user_dir), and program is
     * kolm-host. Trust is still checked. */
    const char *const *dirs;
    size_t dir_count;
    const char *program;
} host_scan_options;

/* Reads names, manifests and permissions; loads nothing. Fails only if out of memory or on disk errors: any other
 * problem with a directory or a file becomes a row or a note. The caller frees the registry, which owns the rows. */
kit_status host_scan(const host_scan_options *options, host_registry **out_registry, kolm_error_t *err) KIT_MUST_USE;
void host_registry_free(host_registry *registry);
/* STEM.libs in the directory of the plugin, trusted with all its contents; empty if there is none. */
kit_status host_libs_read(const char *plugin, const char *stem, host_libs *out_libs, kolm_error_t *err) KIT_MUST_USE;
void host_libs_free(host_libs *libs);
/* The backend name in the file name of a plugin, "acme" of "acme.so" or "acme-1.2.0.so"; false: none. */
bool host_plugin_name(const char *file, char *out, size_t capacity);
/* The row used for this name (never a shadowed or superseded one), or NULL. */
const host_backend *host_find(const host_registry *registry, const char *name);
/* The version that would be used instead of the row, which is OK; NULL: there is none. */
const host_backend *host_spare(const host_registry *registry, const host_backend *row);
/* Replaces the manifest's price by the provider's current one. Not while another thread reads the row. */
void host_registry_price(host_registry *registry, const host_backend *row, uint64_t micro_usd_per_hour);
/* Refuses the row, which failed to load, with why, and uses its spare, which must exist. */
void host_registry_pass_over(host_registry *registry, const host_backend *row, const kolm_error_t *why);

/* Starts a thread that reads the row's plugin in advance. The next call waits for it and reports any error. */
void host_plugin_read_ahead(const host_backend *row);

/* The SHA-256 of the row's plugin, which has a plugin_path. Read at most once: what is loaded later through this
 * registry has the same digest, or is not loaded (ABORTED, "was replaced"). */
kit_status host_plugin_digest(const host_backend *row, char out_sha256[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

/* The trust rule alone: path (absolute) is resolved, opened, and checked with all its parents. PERMISSION_DENIED names
 * the first path that fails and who can change it. out_real (may be NULL) gets the real path, for the caller to free;
 * out_fd (may be NULL) the open descriptor (close-on-exec); out_identity may be NULL. */
kit_status host_trust_file(const char *path, char **out_real, int *out_fd, host_file_identity *out_identity,
                           kolm_error_t *err) KIT_MUST_USE;
/* The real path of a file that was installed with kolm in its own directory, LIBEXEC/kolm/NAME; in a build tree
 * BUILD/core/ROOM/NAME. The rule above applies. For the caller to free. */
kit_status host_own_file(const char *room, const char *name, char **out_path, kolm_error_t *err) KIT_MUST_USE;
kit_status host_trust_directory(const char *path, char **out_real, kolm_error_t *err) KIT_MUST_USE;
/* The same rule for other files than backends. otherwise ends the remedy: "chmod go-w '/x', or set KOLM_HOME to another
 * directory". */
kit_status host_trust_kept(const char *path, const char *otherwise, kolm_error_t *err) KIT_MUST_USE; /* a file */
/* A directory or, if it does not exist (the caller must handle a file of that name), the directory in which it would be
 * created (sticky and owned by root is allowed); *out_real is unchanged then. */
kit_status host_trust_home(const char *path, const char *otherwise, char **out_real, kolm_error_t *err) KIT_MUST_USE;
/* A Python interpreter with every link to it and, where it is one of a virtual environment, pyvenv.cfg, the Python that
 * this names and the directories of its packages. OK if there is no such file: the caller that needs it reports
 * that. */
kit_status host_trust_python(const char *path, const char *otherwise, kolm_error_t *err) KIT_MUST_USE;

#endif
