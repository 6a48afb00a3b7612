/* SPDX-License-Identifier: Apache-2.0 */
/* Which recipes there are: what the manifests that were found offer, what a recipe needs, and the options that it
 * takes. */
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

/* Whether a backend that was found, or the one that is named (NULL: none), offers the recipe and takes these options
 * ({NAME: TEXT}, or NULL). INVALID_ARGUMENT says which recipes or options there are. "linear" and "lora" are what they
 * are also where nobody has them: then the choice of a backend says so. */
kit_status fleet_recipe_find(kolm_session *session, const char *backend, const char *recipe, const cJSON *options,
                             fleet_recipe *out_recipe, kolm_error_t *err) KIT_MUST_USE;
/* The same options against what the chosen backend declares. */
kit_status fleet_recipe_check(const fleet_backend *backend, const char *recipe, const cJSON *options,
                              kolm_error_t *err) KIT_MUST_USE;

/* Whether the backend's manifest lets the recipe be worked on without the Python runtime that was set up for it. */
bool fleet_recipe_runs_alone(const fleet_backend *backend, const char *recipe);
/* Whether models of the recipe say there which rows are nearest to a question, and the rows stay on this machine. */
bool fleet_recipe_nearest(const fleet_backend *backend, const char *recipe);

/* The recipe that a base is made for: of the backends that may be chosen (the named one, or the default) the first
 * whose manifest names files that the directory at path has, all of them; by is one of these. A recipe with "" as its
 * name: none says so. NOT_FOUND for a base that is of such a kind by its other files, and lacks one of these. */
typedef struct fleet_recipe_known {
    char recipe[FLEET_RECIPE_BYTES];
    char by[128];
} fleet_recipe_known;
kit_status fleet_recipe_of_base(kolm_session *session, const char *backend, const char *path,
                                fleet_recipe_known *out_known, kolm_error_t *err) KIT_MUST_USE;

/* For help: a line for each recipe that was found, with its options and who makes it; "" when that cannot be known. */
void fleet_recipes_text(kolm_session *session, kit_buf *out);
/* As JSON: "recipe_options", [{name, summary, base, outputs, options: [{key, type, summary, default}], or null}]. */
bool fleet_recipes_put(cJSON *value, const fleet_backend *backend);

#endif
