/* SPDX-License-Identifier: Apache-2.0 */
/* The recipes that the manifests offer, what each one needs, and its options. */
#ifndef KOLM_FLEET_RECIPE_H
#define KOLM_FLEET_RECIPE_H

#include "fleet/registry.h"
#include "host/host.h"

#define FLEET_RECIPE_BYTES 33 /* a name and its NUL */

/* What is known of a recipe before a backend is chosen. */
typedef struct fleet_recipe {
    host_recipe_base base;
    bool labels_only, embeds_base;
} fleet_recipe;

/* Checks that some backend, or the named one (NULL: any), offers the recipe and takes these options ({NAME: TEXT}, or
 * NULL). INVALID_ARGUMENT lists the known recipes or options. "linear" and "lora" are known even if no backend offers
 * them: choosing a backend then reports that. */
kit_status fleet_recipe_find(kolm_session *session, const char *backend, const char *recipe, const cJSON *options,
                             fleet_recipe *out_recipe, kolm_error_t *err) KIT_MUST_USE;
/* Checks the same options against those that the chosen backend declares. */
kit_status fleet_recipe_check(const fleet_backend *backend, const char *recipe, const cJSON *options,
                              kolm_error_t *err) KIT_MUST_USE;

/* True if, by its manifest, the backend can run the recipe without the Python runtime that was set up for it. */
bool fleet_recipe_runs_alone(const fleet_backend *backend, const char *recipe);
/* Whether models of the recipe say there which rows are nearest to a question, and the rows stay on this machine. */
bool fleet_recipe_nearest(const fleet_backend *backend, const char *recipe);

/* Finds the recipe that a base is made for: among the backends that may be chosen (the named one or the default, else
 * all), the first recipe whose base_files are all in the directory at path; by is one of these files. recipe is "" if
 * there is none. NOT_FOUND if the base has one of a recipe's base_hints but lacks one of its base_files. */
typedef struct fleet_recipe_known {
    char recipe[FLEET_RECIPE_BYTES];
    char by[128];
} fleet_recipe_known;
kit_status fleet_recipe_of_base(kolm_session *session, const char *backend, const char *path,
                                fleet_recipe_known *out_known, kolm_error_t *err) KIT_MUST_USE;

/* For help: a line for each recipe, with its options and the backends that offer it; "" if unknown. */
void fleet_recipes_text(kolm_session *session, kit_buf *out);
/* As JSON: "recipe_options", [{name, summary, base, outputs, options: [{key, type, summary, default}], or null}]. */
bool fleet_recipes_put(cJSON *value, const fleet_backend *backend);

#endif
