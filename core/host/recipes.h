/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes in a manifest: what each needs, and its options for `kolm compile --set`. */
#ifndef KOLM_HOST_RECIPES_H
#define KOLM_HOST_RECIPES_H

/*
 * "recipes" of a manifest is an array of 1 to 8 entries, each the name of a recipe or an object:
 *
 *   name     [a-z][a-z0-9_-]{0,31}, each once; "auto" is not allowed
 *   summary  optional: one sentence, 1..240 bytes
 *   base     optional: "none", "optional" or "required": whether it starts from a base model (`kolm compile --base`)
 *   base_files  optional array of 1 to 8 relative names such as "modules.json": the recipe is made for bases that have
 *            all of these files, and `kolm compile --base` without --recipe selects it for them
 *   base_hints  optional array of the same form, with base_files: files that only bases of this kind have. A base with
 *            any of them but not all base_files is incomplete, which is reported if no --recipe is given
 *   embeds_base  optional bool, default false: whether its models can contain their base, so that they run where the
 *            base is not available (`kolm compile --embed-base`)
 *   nearest  optional bool, default false: whether its models report which rows are nearest to a question (near.jsonl
 *            in docs/job-protocol.md)
 *   runtime  optional bool, default true except for "linear": whether it runs in the Python runtime of
 *            `kolm compute setup`, whose files are then checked first
 *   outputs  optional: "labels" if it learns only a closed set of labels, else "any"
 *   options  optional array of settings (settings.h) of the types string, boolean, integer and number, at most 64: the
 *            options that --set accepts. Absent: any NAME=TEXT. An empty array: none
 *
 * If base and outputs are absent, "linear" has no base and learns labels, "lora" requires a base, and for any other a
 * base is optional; outputs are "any". Keys that begin with x- are ignored.
 */

#include "host/settings.h"

#define HOST_RECIPES_MAX 8
#define HOST_BASE_FILES_MAX 8

typedef enum host_recipe_base { HOST_BASE_OPTIONAL, HOST_BASE_NONE, HOST_BASE_REQUIRED } host_recipe_base;

typedef struct host_recipe {
    char *name;
    char *summary; /* NULL: none */
    host_recipe_base base;
    char *base_files[HOST_BASE_FILES_MAX]; /* identify a base */
    size_t base_file_count;                /* 0: none */
    char *base_hints[HOST_BASE_FILES_MAX]; /* identify an incomplete base */
    size_t base_hint_count;
    bool embeds_base;
    bool nearest;
    bool needs_runtime;
    bool labels_only;
    bool declares_options; /* has "options", which may be empty: only these are accepted; else any */
    host_settings options;
} host_recipe;

typedef struct host_recipes {
    host_recipe *at;
    size_t count; /* 0: not in the manifest */
} host_recipes;

/* True for a valid recipe name. */
bool host_recipe_name_ok(const char *name);
/* Reads the array of a manifest. INVALID_ARGUMENT says which entry and what was expected; out is then empty. The
 * texts of options are those of the array, which must outlive them; all others are copies. unread: as
 * host_settings_read. */
kit_status host_recipes_read(const cJSON *array, kit_buf *unread, host_recipes *out_recipes,
                             kolm_error_t *err) KIT_MUST_USE;
void host_recipes_free(host_recipes *recipes);
const host_recipe *host_recipes_find(const host_recipes *recipes, const char *name);

/* Checks given, an object of NAME: TEXT, against the options of the recipe. INVALID_ARGUMENT names the option and what
 * was expected, or lists the options; backend: its name, for the message. */
kit_status host_recipe_check(const host_recipe *recipe, const char *backend, const cJSON *given,
                             kolm_error_t *err) KIT_MUST_USE;

#endif
