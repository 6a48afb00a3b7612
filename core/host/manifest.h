/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of a backend, NAME.json beside NAME.so: what each field means, and how strictly it is parsed. */
#ifndef KOLM_HOST_MANIFEST_H
#define KOLM_HOST_MANIFEST_H

/*
 * A manifest is one JSON object (RFC 8259, at most 64 KiB). Everything that `list` and `pick` report about a backend
 * comes from it: neither loads a plugin. Parsing is strict: a missing mandatory field, an unknown field, a wrong type
 * or a value out of range makes the row `refused`, with the field's name and what was expected. Fields that begin with
 * x- are ignored.
 *
 *   field               type                    meaning and range
 *   manifest_version    string, optional        "1.1": the ABI version whose rules for manifests it follows. If its
 *                                               minor version is later than this kolm's, unknown fields are ignored
 *                                               and reported, in settings and recipes too; another major version is
 *                                               refused. Absent: this kolm's
 *   name                string                  [a-z][a-z0-9-]{0,31}; must equal the file name and the plugin's name
 *   kind                string                  local | cloud-serverless | cloud-marketplace | cloud-managed | self-hosted
 *   tier                integer                 1..9; lower is preferred at equal score
 *   train               bool                    can train models (the intent; a NULL slot is `detect only`)
 *   infer               bool                    can run models
 *   recipes             array, optional         what it offers: names, or objects with options (recipes.h), at most 8.
 *                                               Absent: any
 *   formats             array, optional         formats of other backends' models that it can run: the format that a
 *                                               model names, else the first word of its toolchain ("kolm-linear",
 *                                               "kolm_trainer"), [A-Za-z0-9][A-Za-z0-9_.+-]{0,63}, at most 16
 *   airgap              string                  "yes": never needs the network; "no": is a network service; "depends":
 *                                               on the location of its target
 *   billing             string                  free | per-hour | per-token | per-call
 *   cost_per_hour_usd   number or null          0..100000, at most 6 decimals. null if and only if billing is per-token or
 *                                               per-call; 0 if and only if billing is free
 *   cold_start_seconds  integer                 0..86400
 *   vram_cap_gb         integer, string, null   1..1000000: available gigabytes of 10^9 bytes; "own": the device that
 *                                               detect finds; "shared": the system's memory; null: none
 *   perf                number, optional        0..1, at most 2 decimals; 0.5 if absent
 *   auth                array of strings        environment names that must be set for the backend to be usable,
 *                                               [A-Za-z_][A-Za-z0-9_]{0,63}, at most 16; may be empty. They are the secrets
 *                                               that its process may request
 *   secrets             array, optional         optional secrets that it may request, too
 *   requires            array of objects        what detection depends on besides auth: {"env":"NAME"},
 *                                               {"path":"/dev/kfd"} (absolute) or {"config":"KEY"} (a key of backends.NAME
 *                                               in config.json); at most 32. Part of the key of the detection cache.
 *                                               A variable named here is passed to the plugin's process unless it is
 *                                               listed under auth or secrets, or ends in TOKEN, KEY, SECRET or
 *                                               PASSWORD, in upper or lower case
 *   runtime             string                  last column of `list`: "torch-cu12 + unsloth + peft"; 1..120
 *   summary             string                  one sentence for `info`; 1..240
 *   settings            array, optional         the keys of backends.NAME that a user may write: settings.h. Absent: any
 *   files               object, optional        places that it reads or writes in addition to those of every call:
 *                                               {"read": ["~/.ssh"], "write": ["@shared_dir/"]}, files.h. They take
 *                                               effect once the user has granted the backend what it requests
 *   hint                string, optional        second column of `list`: "always available", "NVIDIA",
 *                                               "KOLM_MODAL_TOKEN"; at most 40. Absent: the auth names
 *
 * Lengths of strings are in bytes; control characters are not allowed. Example:
 *
 *   {
 *     "name": "acme", "kind": "cloud-serverless", "tier": 2, "train": true, "infer": false, "airgap": "no",
 *     "billing": "per-hour", "cost_per_hour_usd": 1.25, "cold_start_seconds": 30, "vram_cap_gb": 80, "perf": 0.9,
 *     "auth": ["ACME_TOKEN"], "requires": [{"config": "region"}],
 *     "runtime": "serverless GPU", "summary": "GPUs of ACME by the second.", "hint": "ACME_TOKEN"
 *   }
 */

#include "host/files.h"
#include "host/recipes.h"

#include "kolm/kit/json.h"
#include "pick/offer.h"
#include <stdbool.h>

#define HOST_MANIFEST_MAX_BYTES 65536u
typedef enum host_require_kind { HOST_REQUIRE_ENV, HOST_REQUIRE_PATH, HOST_REQUIRE_CONFIG } host_require_kind;

typedef struct host_require {
    host_require_kind kind;
    char *value; /* name, absolute path or key */
} host_require;

/* Fields that a user may replace in config.json under backends.NAME; all other keys there are the backend's settings.
 */
#define HOST_OVERRIDE_COST (1u << 0)       /* cost_per_hour_usd */
#define HOST_OVERRIDE_COLD_START (1u << 1) /* cold_start_seconds */
#define HOST_OVERRIDE_PERF (1u << 2)       /* perf */
#define HOST_OVERRIDE_TIER (1u << 3)       /* tier */

/* Strings and arrays belong to the manifest. Immutable once read and overridden, except for the price
 * (host_registry_price); any thread may read it. */
typedef struct host_manifest {
    char *name;
    pick_offer offer;   /* kind, train, infer, recipes, airgap, price, ...: what the picker weighs */
    uint32_t billing;   /* KOLM_BILLING_* */
    bool newer;         /* manifest_version has a later minor version than this kolm */
    kit_buf unread;     /* see host_manifest_unread */
    char *recipes;      /* "linear, lora": offer.recipes points to it; NULL: not in the manifest */
    host_recipes makes; /* the same, with what each needs, and its options */
    char *formats;      /* "kolm-linear, kolm_trainer"; NULL: not in the manifest */
    char **auth;
    size_t auth_count;
    char **secrets;
    size_t secret_count;
    host_require *requires;
    size_t require_count;
    char *runtime;
    char *summary;
    char *hint;
    bool declares_settings; /* has "settings", which may be empty: only these keys are valid; else all are */
    host_settings settings;
    uint32_t overridden; /* HOST_OVERRIDE_*: replaced by config.json */
    host_files files;
    host_files more_files; /* backends.NAME.fence of config.json: set by the user, so it needs no grant */
    bool fence_off;        /* ... is "off": the user disabled its fence */
    char *texts;           /* of the file: settings, and options of makes, point into it */
} host_manifest;

/* The key of backends.NAME in config.json that disables the fence ("off"), or adds places to it (an object like
 * "files"). */
#define HOST_FENCE_KEY "fence"

/* True for a valid backend name. */
bool host_name_ok(const char *name);
/* "free", "per-hour", "per-token" or "per-call" for KOLM_BILLING_*. Static. */
const char *host_billing_name(uint32_t billing);
/* Whether the plugin may request this secret: its manifest lists it under auth or secrets. */
bool host_manifest_may_read(const host_manifest *manifest, const char *secret);

/* True for a valid name of a model format. */
bool host_format_ok(const char *word);
/* Unknown fields of a newer manifest: "colour, lora.shade, region.unit"; NULL: none. */
const char *host_manifest_unread(const host_manifest *manifest);

/* Parses a manifest, whose name must be `name`. INVALID_ARGUMENT names the field and what was expected. */
kit_status host_manifest_parse(const char *name, const char *text, size_t length, host_manifest **out_manifest,
                               kolm_error_t *err) KIT_MUST_USE;
/* The configuration: the user's file over the machine's. */
typedef struct host_config {
    const cJSON *json;     /* the effective configuration; NULL: none */
    const char *file;      /* name of the user's file in messages; NULL: "config.json" */
    const cJSON *own;      /* the user's file alone, if json also has the machine's values; NULL: json is the user's */
    const char *site_file; /* name of the machine's file, which values missing from own come from; NULL: none */
} host_config;
/* The file that backends.NAME.KEY comes from; key NULL: the section as a whole. */
const char *host_config_file(const host_config *config, const char *section, const char *name, const char *key);

/* Applies backends.NAME of the configuration to the four fields that may be replaced; values must be valid for the
 * field. INVALID_ARGUMENT names file and key; the manifest is then unchanged. */
kit_status host_manifest_override(host_manifest *manifest, const host_config *config, kolm_error_t *err) KIT_MUST_USE;
/* Checks that backends.NAME of the configuration holds only what the manifest declares, and that runtimes.NAME is a
 * text. Does not check the fields that may be replaced. INVALID_ARGUMENT names file, key, and what was expected or the
 * nearest key; never a value. */
kit_status host_manifest_check_settings(const host_manifest *manifest, const host_config *config,
                                        kolm_error_t *err) KIT_MUST_USE;
void host_manifest_free(host_manifest *manifest);

#endif
