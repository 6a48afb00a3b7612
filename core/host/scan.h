/* SPDX-License-Identifier: Apache-2.0 */
/* Finding backends: where is looked, who is believed, and the row that each one found becomes. */
#ifndef KOLM_HOST_SCAN_H
#define KOLM_HOST_SCAN_H

/*
 * Order: the directories of KOLM_BACKEND_PATH, the user's (KOLM_HOME/backends), then the installed one. Directories are
 * flat and read in the order of their sorted names; a name that was found already is a shadowed row. The first name
 * wins even when it is refused: nobody gets another backend than the one he put in front.
 *
 * In one directory there may be several versions of a backend: NAME-1.10.0.so beside NAME-1.2.0.so, each with a manifest
 * of its own that says "name": "NAME". The newest counts; one that is refused by rules 1 to 5, or that turns out not to
 * load (host_registry_pass_over), gives way to the next older one and stays in the table, refused. A file without a version
 * was put there by hand and counts before all versions.
 *
 * Running from a build tree (the executable is BUILD/core/cli/kolm or any BUILD/x/y/z with BUILD/core/host/kolm-host
 * beside BUILD/plugins): the directories BUILD/plugins/NAME and BUILD/plugins/GROUP/NAME take the place of the
 * installed one. Otherwise everything is found from the executable's own place, so that an installed tree may be moved:
 * BINDIR/../LIBEXEC/kolm/kolm-host and BINDIR/../BACKENDDIR. A set-uid or set-gid process ignores the environment and
 * its own place, and looks where it was configured to be installed and nowhere else.
 *
 * Trust: a plugin and its manifest are followed through symbolic links to the real file. The file, its directory and
 * every directory above it must belong to root or the user and be writable by nobody else (a root-owned directory with
 * the sticky bit, such as /tmp, may stand above, but not hold plugins itself). That is what makes the path safe to
 * load from: nobody but root and the user can put another file there. The same is asked of kolm-host. What fails is a
 * refused row that says which path and what to do.
 *
 * In a user namespace (`unshare -Ur`, a rootless container) the kernel shows the files of all users that the namespace does
 * not map under one number, the overflow uid: the real root's look like those of any other user outside. No mode bit tells
 * them apart, so such an owner is believed by the place alone, and only where group and others cannot write:
 *
 *   - directories that are root's on any system (/, /home, /usr and all below it, ...; trust.c has the list): whoever else
 *     owned them would own the C library and the loader too. /tmp, /var/tmp and /dev/shm may stand above when sticky;
 *   - directories above the running program: who can change one can put another program in its place;
 *   - the tree that the program was installed or built with, when the program's own file is not mapped either: the same;
 *   - a mount that is read-only and local. Nobody can change it through there, and who mounted it had the privilege to in
 *     this namespace. That says nothing about who wrote it: the one place where a namespace is believed further than the
 *     system outside of it would be.
 *
 * Everywhere else an unmapped owner is another user. The overflow uid counts as unmapped in every namespace but one that
 * maps all users, as the initial one does.
 */

#include "host/manifest.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include <sys/stat.h>

/* What the file of a plugin ends in. */
#if defined(__APPLE__)
#define HOST_SUFFIX ".dylib"
#else
#define HOST_SUFFIX ".so"
#endif

typedef enum host_origin { HOST_ORIGIN_PATH, HOST_ORIGIN_USER, HOST_ORIGIN_INSTALLED, HOST_ORIGIN_BUILD } host_origin;

/* The policy, in the order in which it is asked; a row that is not taken names the rule that decided. */
typedef enum host_rule {
    HOST_RULE_NONE,      /* no rule was against it */
    HOST_RULE_NAME,      /* the file name is one that a backend may have */
    HOST_RULE_DIRECTORY, /* nobody but root and the user can change the directory or those above it */
    HOST_RULE_FILES,     /* nor the plugin and its manifest, and both are there, as regular files */
    HOST_RULE_MANIFEST,  /* the manifest is strictly valid and describes this backend */
    HOST_RULE_SIGNATURE, /* the policy file, if it demands signatures, is satisfied (host_scan_options.admit) */
    HOST_RULE_ORDER,     /* the first of a name is taken */
    HOST_RULE_SETTINGS,  /* what config.json says of that one is what its manifest declares */
    HOST_RULE_LOADS,     /* it loads; asked only where another version is beside it, by host_registry_pass_over */
    HOST_RULES
} host_rule;
/* The rule in words, "no other user can change the directory"; NULL for HOST_RULE_NONE. Static. */
const char *host_rule_text(host_rule rule);

typedef enum host_row_state {
    HOST_ROW_OK,       /* has a manifest and a plugin, may be called */
    HOST_ROW_REFUSED,  /* why says what is wrong; is never loaded */
    HOST_ROW_SHADOWED, /* another one of this name was found first; why names it */
} host_row_state;

/* What tells one state of a file from another; part of the key of the detection cache. */
typedef struct host_file_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    int64_t modified_ns;
    int64_t changed_ns;
} host_file_identity;

/* The bytes of a plugin, once they were read (plugin.c). */
typedef struct host_plugin host_plugin;

/* Libraries of a plugin's own, in NAME.libs beside NAME.so: files, or links to files, and nothing else. The plugin is linked
 * with the run path $ORIGIN/NAME.libs; kolm only makes sure of them as of the plugin itself. */
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
    bool passed_over;      /* REFUSED, and another version beside it is taken */
    bool spare;            /* SHADOWED by another version beside it, and would be OK otherwise */
    kolm_error_t *instead; /* of a spare: what why becomes when it is taken */
    char *directory;       /* where it was found, absolute */
    char *plugin_path;     /* the real file, absolute; NULL when there is none */
    char *manifest_path;   /* NULL when there is none */
    host_origin origin;
    host_row_state state;
    host_rule rule;          /* that decided, for a row that is not OK */
    bool granted;            /* of a row that is OK: it may have the secrets and files that its manifest asks for */
    kolm_error_t why;        /* for a row that is not OK, and for one that is not granted */
    host_manifest *manifest; /* NULL when it could not be read; overrides are applied */
    host_file_identity plugin;
    host_file_identity manifest_file;
    bool no_signature; /* there was none when the directory was looked at, and it is the plugin's own */
    char manifest_sha256[KIT_SHA256_HEX]; /* of the bytes that were parsed; "" when none were, or when
                                           * nothing is signed and nothing asked for */
    host_plugin *bytes;
    host_libs libs;
} host_backend;

/* A place that was looked at in vain, or part of one that was skipped: for `detect` and `info` to show. */
typedef struct host_note {
    char *text;
} host_note;

/* A directory, in the order of the search. */
typedef struct host_searched {
    char *path;      /* as it was named */
    char *directory; /* the real one, which its rows name; NULL when it cannot be found */
    host_origin origin;
    bool searched; /* false: why says what kept us from looking into it */
    kolm_error_t why;
} host_searched;

typedef struct host_registry {
    char *program; /* kolm-host, absolute; NULL when it was not found or not trusted: program_error says why */
    kolm_error_t program_error;
    char *trainer;      /* directory of the Python trainer, absolute; NULL when it is not installed, or not trusted */
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
    /* Asked of every row that all rules but ORDER let pass; anything but KOLM_OK refuses the row by RULE_SIGNATURE, and
     * fills why. NULL: all are admitted. */
    kit_status (*admit)(void *user, const host_backend *row, kolm_error_t *why);
    void *admit_user;
    /* Asked of every row that is OK: anything but KOLM_OK leaves it OK but not granted, and fills why. NULL: all rows that
     * are OK are granted. */
    kit_status (*grant)(void *user, const host_backend *row, kolm_error_t *why);
    void *grant_user;
    /* For tests: when dirs is not NULL these absolute directories are searched and nothing else (user_dir neither), and
     * program is kolm-host. Trust is checked all the same. */
    const char *only; /* NULL, or the stem of the files that are looked at alone */
    const char *const *dirs;
    size_t dir_count;
    const char *program;
} host_scan_options;

/* Looks at names, manifests and permissions; loads nothing. Fails only when memory is out, or a disk fails under a
 * directory: whatever else is wrong with a directory or a file is a row or a note. The caller frees the registry; rows belong to it. */
kit_status host_scan(const host_scan_options *options, host_registry **out_registry, kolm_error_t *err) KIT_MUST_USE;
void host_registry_free(host_registry *registry);
/* STEM.libs in the directory of the plugin, trusted with all that is in it; empty where there is none. */
kit_status host_libs_read(const char *plugin, const char *stem, host_libs *out_libs, kolm_error_t *err) KIT_MUST_USE;
void host_libs_free(host_libs *libs);
/* The backend that the file of a plugin is called after, "acme" of "acme.so" or "acme-1.2.0.so"; false: none. */
bool host_plugin_name(const char *file, char *out, size_t capacity);
/* The row in front of this name (never a shadowed one, nor one that another version was taken for), or NULL. */
const host_backend *host_find(const host_registry *registry, const char *name);
/* The version that would be taken if the row, which is OK, were not; NULL: there is none. */
const host_backend *host_spare(const host_registry *registry, const host_backend *row);
/* Puts what the provider asks for now in place of the manifest's price. Not while another thread reads the row. */
void host_registry_price(host_registry *registry, const host_backend *row, uint64_t micro_usd_per_hour);
/* Refuses the row, which did not load, with why, and takes its spare, which there is. */
void host_registry_pass_over(host_registry *registry, const host_backend *row, const kolm_error_t *why);

/* The SHA-256 of the row's plugin, which has a plugin_path. Read at most once: what is loaded later from this registry has the
 * same digest, or is not loaded (ABORTED, "was replaced"). */
kit_status host_plugin_digest(const host_backend *row, char out_sha256[KIT_SHA256_HEX], kolm_error_t *err) KIT_MUST_USE;

/* The trust rule by itself: path (absolute) is resolved, opened, checked with all its parents. PERMISSION_DENIED names
 * the first path that fails and who could change it. out_real (may be NULL) gets the real path, for the caller to free;
 * out_fd (may be NULL) the open descriptor (close-on-exec); out_identity may be NULL. */
kit_status host_trust_file(const char *path, char **out_real, int *out_fd, host_file_identity *out_identity,
                           kolm_error_t *err) KIT_MUST_USE;
kit_status host_trust_directory(const char *path, char **out_real, kolm_error_t *err) KIT_MUST_USE;
/* The same rule for what is no backend. otherwise ends the remedy: "chmod go-w '/x', or set KOLM_HOME to another directory". */
kit_status host_trust_kept(const char *path, const char *otherwise, kolm_error_t *err) KIT_MUST_USE; /* a file */
/* A directory, or, while there is none (a file of that name is for the caller to stumble over), the place where it would be made (root's sticky /tmp will do); *out_real is left alone
 * then. */
kit_status host_trust_home(const char *path, const char *otherwise, char **out_real, kolm_error_t *err) KIT_MUST_USE;
/* A Python interpreter with every link to it and, where it is one of a virtual environment, pyvenv.cfg, the Python that this
 * names and the directories of its packages. OK when there is no such file: who needs it says so. */
kit_status host_trust_python(const char *path, const char *otherwise, kolm_error_t *err) KIT_MUST_USE;

#endif
