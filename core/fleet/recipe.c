/* SPDX-License-Identifier: Apache-2.0 */
/* Looks up recipes in the manifests. */
#include "fleet/recipe.h"

#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include "fleet/choose.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES_MAX 64 /* recipes listed in a message */
#define LABEL "%-14s"

static const host_recipes *made_by(const fleet_backend *b) {
    static const host_recipes none = {0};
    return b->offer->train ? &b->manifest->makes : &none;
}

static fleet_recipe usual(const char *name) {
    bool linear = strcmp(name, "linear") == 0;
    return (fleet_recipe){.base = linear                      ? HOST_BASE_NONE
                                  : strcmp(name, "lora") == 0 ? HOST_BASE_REQUIRED
                                                              : HOST_BASE_OPTIONAL,
                          .labels_only = linear};
}

/* ---- All recipes that there are */

typedef struct recipe_names {
    const char *at[NAMES_MAX];
    size_t count;
} recipe_names;

static void names_of(const fleet_registry *registry, recipe_names *out) {
    out->count = 0;
    for (size_t i = 0; i < registry->count; i++) {
        const host_recipes *makes = made_by(&registry->backends[i]);
        for (size_t j = 0; j < makes->count; j++) {
            bool known = out->count == NAMES_MAX;
            for (size_t k = 0; k < out->count; k++)
                known = known || strcmp(out->at[k], makes->at[j].name) == 0;
            if (!known) out->at[out->count++] = makes->at[j].name;
        }
    }
}

/* "local-cpu, acme" */
static void add_makers(const fleet_registry *registry, const char *recipe, kit_buf *out) {
    bool first = true;
    for (size_t i = 0; i < registry->count; i++) {
        if (!host_recipes_find(made_by(&registry->backends[i]), recipe)) continue;
        kit_buf_fmt(out, "%s%s", first ? "" : ", ", registry->backends[i].name);
        first = false;
    }
}

static kit_status unknown_recipe(const fleet_registry *registry, const char *recipe, kolm_error_t *err) {
    recipe_names names;
    kit_buf remedy = {0};
    names_of(registry, &names);
    const char *near = kit_nearest(recipe, names.at, names.count);
    kit_buf_str(&remedy, "recipes here: auto");
    for (size_t i = 0; i < names.count; i++) {
        kit_buf_fmt(&remedy, ", %s (", names.at[i]);
        add_makers(registry, names.at[i], &remedy);
        kit_buf_char(&remedy, ')');
    }
    kit_buf_str(&remedy, "; other recipes come with backends: `kolm backend list` shows where kolm looks for them");
    kit_status status =
        near
            ? kit_fail(err, KOLM_E_INVALID_ARGUMENT, kit_buf_text(&remedy),
                       "--recipe '%s' is unknown: no backend that was found makes it; did you mean '%s'?", recipe, near)
            : kit_fail(err, KOLM_E_INVALID_ARGUMENT, kit_buf_text(&remedy),
                       "--recipe '%s' is unknown: no backend that was found makes it", recipe);
    kit_buf_free(&remedy);
    return status;
}

/* ---- One of them */

kit_status fleet_recipe_check(const fleet_backend *backend, const char *recipe, const cJSON *options,
                              kolm_error_t *err) {
    const host_recipe *found = host_recipes_find(made_by(backend), recipe);
    return found ? host_recipe_check(found, backend->name, options, err) : KOLM_OK;
}

/* Searches the backends that may be chosen: the named one, else all. It is enough if one of them accepts the options; a
 * backend that declares none accepts any, but only if no other declares them. */
static kit_status search(const fleet_registry *registry, const fleet_backend *named, const char *recipe,
                         const cJSON *options, fleet_recipe *out, bool *out_found, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    bool declared = false;
    *out_found = false;
    for (size_t i = 0; i < registry->count; i++) {
        const fleet_backend *b = &registry->backends[i];
        const host_recipe *found = host_recipes_find(made_by(b), recipe);
        if (!found || (named && b != named)) continue;
        if (!*out_found || (found->declares_options && !declared))
            *out = (fleet_recipe){found->base, found->labels_only, found->embeds_base};
        *out_found = true;
        if (!found->declares_options || (declared && status == KOLM_OK)) continue;
        kolm_error_t why = KIT_ERROR_INIT;
        kit_status takes = host_recipe_check(found, b->name, options, &why);
        if (!declared && err && takes != KOLM_OK) *err = why;
        if (!declared || takes == KOLM_OK) status = takes;
        declared = true;
    }
    return status;
}

static kit_status find_in(kolm_session *session, fleet_registry *registry, const char *backend, const char *recipe,
                          const cJSON *options, fleet_recipe *out_recipe, kolm_error_t *err) {
    const char *name = backend;
    fleet_chosen_by by;
    bool found = false, elsewhere = false;
    if (!name) KIT_TRY(fleet_default_backend(session, &name, &by, err));
    const fleet_backend *named = name ? fleet_registry_find(registry, name) : NULL;
    *out_recipe = usual(recipe);
    KIT_TRY(search(registry, named, recipe, options, out_recipe, &found, err));
    if (found || (named && !named->offer->recipes) || (name && !named))
        return KOLM_OK; /* choosing the backend will report the error */
    if (named) KIT_TRY(search(registry, NULL, recipe, NULL, out_recipe, &elsewhere, err));
    if (elsewhere || strcmp(recipe, "linear") == 0 || strcmp(recipe, "lora") == 0) return KOLM_OK;
    return unknown_recipe(registry, recipe, err);
}

kit_status fleet_recipe_find(kolm_session *session, const char *backend, const char *recipe, const cJSON *options,
                             fleet_recipe *out_recipe, kolm_error_t *err) {
    fleet_registry *registry = NULL;
    *out_recipe = usual(recipe);
    if (!options && (strcmp(recipe, "linear") == 0 || strcmp(recipe, "lora") == 0)) return KOLM_OK;
    KIT_TRY(fleet_registry_open(session, &registry, err));
    kit_status status = find_in(session, registry, backend, recipe, options, out_recipe, err);
    fleet_registry_free(registry);
    return status;
}

bool fleet_recipe_runs_alone(const fleet_backend *backend, const char *recipe) {
    const host_recipe *found = recipe ? host_recipes_find(made_by(backend), recipe) : NULL;
    return found && !found->needs_runtime;
}

bool fleet_recipe_nearest(const fleet_backend *backend, const char *recipe) {
    const host_recipe *found = recipe ? host_recipes_find(made_by(backend), recipe) : NULL;
    return found && found->nearest && strcmp(backend->offer->kind, "local") == 0;
}

/* ---- By a base */

static bool has_file(const char *directory, const char *name) {
    struct stat info;
    char *path = NULL;
    bool found =
        kit_path_join(directory, name, &path, NULL) == KOLM_OK && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    return found;
}

/* The first of the names that does not exist; NULL: all exist. */
static const char *first_missing(char *const *names, size_t count, const char *directory) {
    for (size_t i = 0; i < count; i++)
        if (!has_file(directory, names[i])) return names[i];
    return NULL;
}

/* The first of the recipe's base_hints that exists; NULL: none. */
static const char *first_hint(const host_recipe *recipe, const char *directory) {
    for (size_t i = 0; i < recipe->base_hint_count; i++)
        if (has_file(directory, recipe->base_hints[i])) return recipe->base_hints[i];
    return NULL;
}

static kit_status recognise(const host_recipes *makes, const char *directory, fleet_recipe_known *out,
                            kolm_error_t *err) {
    for (size_t i = 0; i < makes->count && out->recipe[0] == '\0'; i++) {
        const host_recipe *r = &makes->at[i];
        if (r->base_file_count == 0) continue;
        const char *missing = first_missing(r->base_files, r->base_file_count, directory);
        const char *hint = missing != NULL ? first_hint(r, directory) : NULL;
        if (hint != NULL)
            return kit_fail(err, KOLM_E_NOT_FOUND,
                            "download the model again, all its files together (`hf download NAME`); or choose with "
                            "--recipe what to make of it",
                            "%s has %s, as bases for the %s recipe have, but no %s", directory, hint, r->name, missing);
        if (missing != NULL) continue;
        kit_copy(out->recipe, sizeof out->recipe, r->name);
        kit_copy(out->by, sizeof out->by, r->base_files[0]);
    }
    return KOLM_OK;
}

kit_status fleet_recipe_of_base(kolm_session *session, const char *backend, const char *path,
                                fleet_recipe_known *out_known, kolm_error_t *err) {
    fleet_registry *registry = NULL;
    fleet_chosen_by by;
    *out_known = (fleet_recipe_known){0};
    KIT_TRY(fleet_registry_open(session, &registry, err));
    kit_status status = backend ? KOLM_OK : fleet_default_backend(session, &backend, &by, err);
    const fleet_backend *named = backend && status == KOLM_OK ? fleet_registry_find(registry, backend) : NULL;
    for (size_t i = 0; status == KOLM_OK && out_known->recipe[0] == '\0' && i < registry->count; i++)
        if (!backend || named == &registry->backends[i])
            status = recognise(made_by(&registry->backends[i]), path, out_known, err);
    fleet_registry_free(registry);
    return status;
}

/* ---- For people */

static const host_recipe *first_of(const fleet_registry *registry, const char *recipe) {
    const host_recipe *first = NULL;
    for (size_t i = 0; !first && i < registry->count; i++)
        first = host_recipes_find(made_by(&registry->backends[i]), recipe);
    return first;
}

void fleet_recipes_text(kolm_session *session, kit_buf *out) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    recipe_names names;
    if (fleet_registry_open(session, &registry, &ignored) != KOLM_OK) return;
    names_of(registry, &names);
    for (size_t i = 0; i < names.count; i++) {
        const host_recipe *recipe = first_of(registry, names.at[i]);
        kit_buf_fmt(out, "%s\n  %-12s  made by ", i == 0 ? "\n\nrecipes that were found here:" : "", names.at[i]);
        add_makers(registry, names.at[i], out);
        if (recipe->summary) kit_buf_fmt(out, "\n                %s", recipe->summary);
        for (size_t j = 0; j < recipe->options.count; j++)
            kit_buf_fmt(out, "%s%s",
                        j == 0       ? "\n                --set: "
                        : j % 8 == 0 ? ",\n                       "
                                     : ", ",
                        recipe->options.at[j].key);
    }
    if (names.count > 0) kit_buf_str(out, "\n`kolm compute info NAME` says what each option may be.");
    fleet_registry_free(registry);
}

static bool put_option(cJSON *array, const host_setting *option) {
    kit_buf type = {0};
    host_setting_type_text(option, &type);
    cJSON *object = cJSON_CreateObject();
    bool good = kit_buf_ok(&type, NULL) == KOLM_OK && kit_json_put_string(object, "key", option->key) &&
                kit_json_put_string(object, "type", kit_buf_text(&type)) &&
                kit_json_put_string(object, "summary", option->summary) &&
                kit_json_put_string(object, "default", option->default_text);
    kit_buf_free(&type);
    if (good && cJSON_AddItemToArray(array, object)) return true;
    cJSON_Delete(object);
    return false;
}

static bool put_recipe(cJSON *array, const host_recipe *r) {
    static const char *const bases[] = {"optional", "none", "required"};
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_string(object, "name", r->name) && kit_json_put_string(object, "summary", r->summary) &&
                kit_json_put_string(object, "base", bases[r->base]) &&
                kit_json_put_string(object, "outputs", r->labels_only ? "labels" : "any") &&
                (!r->embeds_base || kit_json_put_bool(object, "embeds_base", true));
    cJSON *options = good && r->declares_options ? cJSON_AddArrayToObject(object, "options") : NULL;
    good = good && (options || (!r->declares_options && kit_json_put_null(object, "options")));
    for (size_t i = 0; good && i < r->options.count; i++)
        good = put_option(options, &r->options.at[i]);
    if (good && cJSON_AddItemToArray(array, object)) return true;
    cJSON_Delete(object);
    return false;
}

bool fleet_recipes_put(cJSON *value, const fleet_backend *backend) {
    const host_recipes *makes = &backend->manifest->makes;
    if (makes->count == 0) return kit_json_put_null(value, "recipe_options");
    cJSON *array = cJSON_AddArrayToObject(value, "recipe_options");
    for (size_t i = 0; array && i < makes->count; i++)
        if (!put_recipe(array, &makes->at[i])) return false;
    return array != NULL;
}
