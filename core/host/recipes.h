/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes that a manifest offers: what each needs, and the options that `kolm compile --set` may give it. */
#ifndef KOLM_HOST_RECIPES_H
#define KOLM_HOST_RECIPES_H

/*
 * "recipes" of a manifest is an array of 1 to 8 entries, each the name of a recipe or an object:
 *
 *   name     [a-z][a-z0-9_-]{0,31}, each once; "auto" is not allowed
 *   summary  optional: one sentence, 1..240 bytes
 *   base     optional: "none", "optional" or "required": whether it starts from a base model (`kolm compile --base`)
 *   base_files  optional array of 1 to 8 relative names such as "modules.json": a base that has all of these files is one
 *            that the recipe is made for, so that `kolm compile --base` without --recipe takes it
 *   base_hints  optional array of the same form, with base_files: files that only bases of this kind have. One that has any of
 *            them and not all base_files is incomplete, which is reported if no --recipe is given
 *   embeds_base  optional, true or false (when absent): whether its models can carry their base, so that they answer where
 *            it is not (`kolm compile --embed-base`)
 *   nearest  optional, true or false (when absent): whether its models say which rows are nearest to a question
 *            (near.jsonl in docs/job-protocol.md)
 *   runtime  optional, true (when absent, but for "linear") or false: whether it works in the Python runtime of
 *            `kolm compute setup`, whose files are then looked at before
 *   outputs  optional: "labels" when it learns a closed set of labels only, "any" otherwise
 *   options  optional array of settings (settings.h) of the types string, boolean, integer and number, at most 64: what
 *            --set may say. Absent: any NAME=TEXT. An empty array: nothing
 *
 * Where base and outputs are absent, "linear" has no base and learns labels, "lora" requires a base, and any other may
 * have one; outputs are any. Keys that begin with x- are ignored.
 */

#include "host/settings.h"

#define HOST_RECIPES_MAX 8
#define HOST_BASE_FILES_MAX 8

typedef enum host_recipe_base { HOST_BASE_OPTIONAL, HOST_BASE_NONE, HOST_BASE_REQUIRED } host_recipe_base;

typedef struct host_recipe {
    char *name;
    char *summary; /* NULL: none */
    host_recipe_base base;
    char *base_files[HOST_BASE_FILES_MAX]; /* by which a base is recognised */
    size_t base_file_count;                /* 0: by none */
    char *base_hints[HOST_BASE_FILES_MAX]; /* by which an incomplete one is */
    size_t base_hint_count;
    bool embeds_base;
    bool nearest;
    bool needs_runtime;
    bool labels_only;
    bool declares_options; /* has "options", which may be empty: only these then, any otherwise */
    host_settings options;
} host_recipe;

typedef struct host_recipes {
    host_recipe *at;
    size_t count; /* 0: the manifest does not say */
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
