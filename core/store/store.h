/* SPDX-License-Identifier: Apache-2.0 */
/* The home directory of kolm: where state is stored, and how it is read and changed without losing any. */
/* Sources: home.c, config.c, credentials.c and cache.c. */
#ifndef KOLM_STORE_STORE_H
#define KOLM_STORE_STORE_H

/*
 * The home directory is KOLM_HOME, else ~/.kolm. Everything is created on first use, 0700; reading creates nothing. The
 * names in it are defined only in home.c. Threads: every function may be called from any thread; a store_home never
 * changes after it was made. Errors carry the file's name and what to do next.
 */

#include "kolm/kit/json.h"
#include <stdbool.h>

#define STORE_CONFIG_MAX (1u << 20)      /* bytes; a larger config.json is a mistake */
#define STORE_CREDENTIALS_MAX (1u << 18) /* bytes */
#define STORE_CACHE_MAX (8u << 20)       /* bytes of one cache entry */

/* ---- The home directory */
typedef struct store_home store_home;

/* KOLM_HOME when set (must be absolute), else $HOME/.kolm; read with secure_getenv. FAILED_PRECONDITION if neither is
 * set, or the one used is not absolute. Reads no file. */
kit_status store_home_find(store_home **out_home, kolm_error_t *err) KIT_MUST_USE;
/* A home at a given absolute path. */
kit_status store_home_at(const char *path, store_home **out_home, kolm_error_t *err) KIT_MUST_USE;
void store_home_free(store_home *home);
const char *store_home_path(const store_home *home); /* belongs to home */
typedef enum store_place {
    STORE_CONFIG,      /* config.json: default backend, overridden prices, settings of backends */
    STORE_CREDENTIALS, /* credentials: NAME=value lines, 0600: the tokens that are not in the environment */
    STORE_GRANTS,      /* grants.json: what the user granted to which backend (fleet) */
    STORE_POLICY,      /* policy.json: which plugins are trusted (fleet); the machine may have one, too */
    STORE_KEYS,        /* keys/: signing keys and the keyring (receipt) */
    STORE_SIGNING_KEY, /* keys/signing.pem: the private key */
    STORE_OLD_KEYS,    /* backend-keys/: where an older kolm kept the keys of publishers (fleet) */
    STORE_RECEIPTS,    /* receipts.jsonl: the receipt chain; receipts.jsonl.heads records its last line */
    STORE_LEASES,      /* leases/: journals of what is rented; exists only while something is (lease) */
    STORE_LEASES_PAST, /* leases.jsonl: what was rented and is gone (lease) */
    STORE_BACKENDS,    /* backends/: the user's own plugins */
    STORE_RUNTIMES,    /* runtimes/: Python runtimes (runtime) */
    STORE_JOBS,        /* jobs/: active job directories (job) */
    STORE_RUN,         /* run/: sockets of warm models (model) */
    STORE_CACHE,       /* cache/: may be deleted at any time */
    STORE_PLACES
} store_place;
/* Its name below the home; static. */
const char *store_place_name(store_place place);
/* Its path; the caller frees it. */
kit_status store_home_place(const store_home *home, store_place place, char **out_path, kolm_error_t *err) KIT_MUST_USE;
/* The names that no backend ever gets access to, NULL-terminated; static. */
const char *const *store_kept_names(void);
/* Creates the home directory (0700) if it does not exist. */
kit_status store_home_create(const store_home *home, kolm_error_t *err) KIT_MUST_USE;

/* ---- Locks: flock on HOME/NAME.lock, released when the process dies. Waits at most wait_ms (0: does not wait);
 * UNAVAILABLE when another process holds it for longer. */
typedef struct store_lock store_lock;
kit_status store_lock_take(const store_home *home, const char *name, int64_t wait_ms, store_lock **out_lock,
                           kolm_error_t *err) KIT_MUST_USE;
void store_lock_release(store_lock *lock);

/* ---- config.json */
/* The configuration, an empty object if there is no file. DATA_LOSS, with file, line and column, if the file is not
 * strict JSON or not an object. The caller frees *out_config with cJSON_Delete. */
kit_status store_config_read(const store_home *home, cJSON **out_config, kolm_error_t *err) KIT_MUST_USE;
/* The same for any file (absolute path). */
kit_status store_config_read_file(const char *path, cJSON **out_config, kolm_error_t *err) KIT_MUST_USE;
/* Checks that an object read from the file path holds only known keys (x-... is ignored) with values of the right
 * types: DATA_LOSS names file, key and the nearest known one. Sections of backends are not checked: their manifests
 * declare what they accept, and a mistake there must not affect others. Not checked on writing. */
kit_status store_config_check(const char *path, const cJSON *config, kolm_error_t *err) KIT_MUST_USE;
/* Changes the object in place; on failure the file is unchanged. */
typedef kit_status (*store_config_edit)(cJSON *config, void *user, kolm_error_t *err);
/* Reads, edits and atomically writes config.json under the lock "config.json". Everything else is preserved, including
 * unknown keys. A file that cannot be parsed is never overwritten: DATA_LOSS as above. */
kit_status store_config_update(const store_home *home, store_config_edit edit, void *user,
                               kolm_error_t *err) KIT_MUST_USE;

/* ---- Secrets: the environment first, then HOME/credentials */
typedef enum store_secret_source { STORE_SECRET_NONE, STORE_SECRET_ENVIRONMENT, STORE_SECRET_FILE } store_secret_source;

typedef struct store_credentials store_credentials;
/* Reads HOME/credentials; a missing file gives an empty set. It must be a regular file, owned by the user, without
 * permissions for others: otherwise PERMISSION_DENIED, with the chmod to run. Lines: NAME=value, spaces around both are
 * dropped, # starts a comment line; DATA_LOSS with the line for anything else. */
kit_status store_credentials_read(const store_home *home, store_credentials **out_credentials,
                                  kolm_error_t *err) KIT_MUST_USE;
/* Wipes the values and frees. No-op if NULL. */
void store_credentials_free(store_credentials *credentials);
/* The value of NAME from the environment (secure_getenv; an empty value counts as not set), else from the file, else
 * NULL. The pointer lives as long as credentials and the environment do. credentials may be NULL: environment only. */
const char *store_secret(const store_credentials *credentials, const char *name, store_secret_source *out_source);
/* "environment", "credentials file" or "" for a source. */
const char *store_secret_source_name(store_secret_source source);
/* At most the last four characters of a secret that has at least twelve, else "": enough to tell two tokens apart. */
const char *store_secret_tail(const char *secret);

/* ---- Cache: HOME/cache/NAME.json. A cache never fails a command: unreadable entries are misses, write errors are
 * ignored. */
/* The path of an entry; the caller frees it. */
kit_status store_cache_path(const store_home *home, const char *name, char **out_path, kolm_error_t *err) KIT_MUST_USE;
/* The parsed entry; NULL if there is none, or if it is unreadable, too large or not a JSON object. */
cJSON *store_cache_read(const store_home *home, const char *name);
/* The same as a tree that is read only; with a root of NULL instead. The caller must free it with
 * kit_json_tree_free. */
kit_json_tree store_cache_tree(const store_home *home, const char *name);
/* Replaces the entry atomically, unless it is the same already; false on failure. */
bool store_cache_write(const store_home *home, const char *name, const cJSON *value);
bool store_cache_remove(const store_home *home, const char *name);
/* Detects changes of a secret without storing a guessable fingerprint: a digest keyed with 32 random bytes that are
 * generated on first use and stored in HOME/cache/key (0600). */
#define STORE_KEY_BYTES 32
#define STORE_DIGEST_HEX 65
/* False if the key cannot be stored: then nothing may be cached. */
bool store_cache_key(const store_home *home, uint8_t out_key[STORE_KEY_BYTES]);
/* BLAKE2b, 32 bytes, as 64 hex digits. Needs no initialisation of any library. */
void store_digest(const uint8_t key[STORE_KEY_BYTES], const void *bytes, size_t length, char out_hex[STORE_DIGEST_HEX]);

#endif
