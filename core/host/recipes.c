/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the recipes of a manifest, and checks options against them. */
#include "host/recipes.h"

#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SCALARS                                                                                                        \
    (1u << HOST_SETTING_STRING | 1u << HOST_SETTING_BOOLEAN | 1u << HOST_SETTING_INTEGER | 1u << HOST_SETTING_NUMBER)
#define NUMBERS (1u << HOST_SETTING_INTEGER | 1u << HOST_SETTING_NUMBER)

static kit_status expected(kolm_error_t *err, const char *what) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "expected %s", what);
}

bool host_recipe_name_ok(const char *name) {
    size_t length = strlen(name);
    return islower((unsigned char)*name) && length <= 32 && strcmp(name, "auto") != 0 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == length;
}

/* ---- Reading */

static kit_status read_base(const cJSON *item, host_recipe *r, kolm_error_t *err) {
    static const char *const words[] = {"optional", "none", "required"}; /* by host_recipe_base */
    for (size_t i = 0; cJSON_IsString(item) && i < 3; i++) {
        if (strcmp(item->valuestring, words[i]) != 0) continue;
        r->base = (host_recipe_base)i;
        return KOLM_OK;
    }
    return expected(err, "\"base\" to be none, optional or required");
}

static kit_status read_base_files(const cJSON *array, const char *key, const host_recipe *r, char **names,
                                  size_t *out_count, kolm_error_t *err) {
    char what[128];
    kit_format(what, sizeof what, "\"%s\" to be an array of 1 to 8 relative names such as \"modules.json\"", key);
    int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    if (count < 1 || count > HOST_BASE_FILES_MAX || r->base == HOST_BASE_NONE) return expected(err, what);
    for (const cJSON *item = array->child; item; item = item->next) {
        if (!cJSON_IsString(item) || !kit_path_is_safe(item->valuestring)) return expected(err, what);
        KIT_TRY(kit_strdup(item->valuestring, &names[*out_count], err));
        ++*out_count;
    }
    return KOLM_OK;
}

static kit_status read_outputs(const cJSON *item, host_recipe *r, kolm_error_t *err) {
    bool labels = cJSON_IsString(item) && strcmp(item->valuestring, "labels") == 0;
    if (!labels && !(cJSON_IsString(item) && strcmp(item->valuestring, "any") == 0))
        return expected(err, "\"outputs\" to be labels or any");
    r->labels_only = labels;
    return KOLM_OK;
}

static kit_status read_summary(const cJSON *item, host_recipe *r, kolm_error_t *err) {
    static const char what[] = "\"summary\" to be a sentence of 1 to 240 bytes without control characters";
    if (!cJSON_IsString(item)) return expected(err, what);
    size_t length = strlen(item->valuestring);
    bool plain = length >= 1 && length <= 240 && kit_text_is_plain(item->valuestring, length);
    return plain ? kit_strdup(item->valuestring, &r->summary, err) : expected(err, what);
}

static kit_status read_options(const cJSON *item, kit_buf *unread, host_recipe *r, kolm_error_t *err) {
    r->declares_options = true;
    kit_status status = host_settings_read(item, unread, &r->options, err);
    for (size_t i = 0; status == KOLM_OK && i < r->options.count; i++)
        if (r->options.at[i].types & ~SCALARS)
            status =
                kit_fail(err, KOLM_E_INVALID_ARGUMENT, "",
                         "\"%s\": expected a type among string, boolean, integer and number", r->options.at[i].key);
    return status == KOLM_E_INVALID_ARGUMENT ? kit_fail_context(err, "\"options\"") : status;
}

static kit_status read_known_keys(const cJSON *object, const char *name, kit_buf *unread, kolm_error_t *err) {
    static const char *const known[] = {"name",        "summary", "base",    "base_files", "base_hints",
                                        "embeds_base", "nearest", "runtime", "outputs",    "options"};
    for (const cJSON *item = object->child; item; item = item->next) {
        bool found = strncmp(item->string, "x-", 2) == 0;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found = found || strcmp(known[i], item->string) == 0;
        if (found) continue;
        kit_buf shown = {0};
        kit_buf_escaped(&shown, item->string, strnlen(item->string, 64));
        if (unread) kit_buf_fmt(unread, ", %s.%s", name, kit_buf_text(&shown));
        kit_status status =
            unread ? KOLM_OK : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "unknown key \"%s\"", kit_buf_text(&shown));
        kit_buf_free(&shown);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

static kit_status read_object(const cJSON *object, kit_buf *unread, host_recipe *r, kolm_error_t *err) {
    const cJSON *summary = kit_json_get(object, "summary"), *base = kit_json_get(object, "base");
    const cJSON *outputs = kit_json_get(object, "outputs"), *options = kit_json_get(object, "options");
    const cJSON *base_files = kit_json_get(object, "base_files"), *embeds = kit_json_get(object, "embeds_base");
    const cJSON *hints = kit_json_get(object, "base_hints");
    const cJSON *runtime = kit_json_get(object, "runtime"), *nearest = kit_json_get(object, "nearest");
    KIT_TRY(read_known_keys(object, r->name, unread, err));
    if (summary) KIT_TRY(read_summary(summary, r, err));
    if (base) KIT_TRY(read_base(base, r, err));
    if (base_files) KIT_TRY(read_base_files(base_files, "base_files", r, r->base_files, &r->base_file_count, err));
    if (hints) KIT_TRY(read_base_files(hints, "base_hints", r, r->base_hints, &r->base_hint_count, err));
    if (hints && !base_files) return expected(err, "\"base_files\" beside \"base_hints\"");
    if (embeds && (!cJSON_IsBool(embeds) || r->base == HOST_BASE_NONE))
        return expected(err, "\"embeds_base\" to be true or false, of a recipe that has a base");
    r->embeds_base = cJSON_IsTrue(embeds);
    if (nearest && !cJSON_IsBool(nearest)) return expected(err, "\"nearest\" to be true or false");
    r->nearest = cJSON_IsTrue(nearest);
    if (runtime && !cJSON_IsBool(runtime)) return expected(err, "\"runtime\" to be true or false");
    if (runtime) r->needs_runtime = cJSON_IsTrue(runtime);
    if (outputs) KIT_TRY(read_outputs(outputs, r, err));
    return options ? read_options(options, unread, r, err) : KOLM_OK;
}

static kit_status read_one(const cJSON *item, kit_buf *unread, host_recipes *out, kolm_error_t *err) {
    const cJSON *name = cJSON_IsObject(item) ? kit_json_get(item, "name") : item;
    if (!cJSON_IsString(name) || !host_recipe_name_ok(name->valuestring) || host_recipes_find(out, name->valuestring))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "",
                        "entry %zu: expected a recipe of its own such as \"lora\", or an object with such a \"name\"",
                        out->count + 1);
    host_recipe *r = &out->at[out->count];
    KIT_TRY(kit_strdup(name->valuestring, &r->name, err));
    out->count++;
    r->labels_only = strcmp(r->name, "linear") == 0;
    r->needs_runtime = !r->labels_only;
    r->base = r->labels_only ? HOST_BASE_NONE : strcmp(r->name, "lora") == 0 ? HOST_BASE_REQUIRED : HOST_BASE_OPTIONAL;
    kit_status status = cJSON_IsObject(item) ? read_object(item, unread, r, err) : KOLM_OK;
    return status == KOLM_E_INVALID_ARGUMENT ? kit_fail_context(err, "\"%s\"", r->name) : status;
}

kit_status host_recipes_read(const cJSON *array, kit_buf *unread, host_recipes *out_recipes, kolm_error_t *err) {
    int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    *out_recipes = (host_recipes){0};
    if (count < 1 || count > HOST_RECIPES_MAX) return expected(err, "an array of 1 to 8 recipes such as \"lora\"");
    out_recipes->at = calloc((size_t)count, sizeof *out_recipes->at);
    kit_status status = out_recipes->at ? KOLM_OK : kit_no_memory(err);
    for (const cJSON *item = array->child; status == KOLM_OK && item; item = item->next)
        status = read_one(item, unread, out_recipes, err);
    if (status != KOLM_OK) host_recipes_free(out_recipes);
    return status;
}

void host_recipes_free(host_recipes *recipes) {
    for (size_t i = 0; i < recipes->count; i++) {
        free(recipes->at[i].name);
        free(recipes->at[i].summary);
        for (size_t j = 0; j < recipes->at[i].base_file_count; j++)
            free(recipes->at[i].base_files[j]);
        for (size_t j = 0; j < recipes->at[i].base_hint_count; j++)
            free(recipes->at[i].base_hints[j]);
        host_settings_free(&recipes->at[i].options);
    }
    free(recipes->at);
    *recipes = (host_recipes){0};
}

const host_recipe *host_recipes_find(const host_recipes *recipes, const char *name) {
    for (size_t i = 0; i < recipes->count; i++)
        if (strcmp(recipes->at[i].name, name) == 0) return &recipes->at[i];
    return NULL;
}

/* ---- Options */

/* Converts the text to a value of a type that the option may have. NULL: out of memory. */
static cJSON *value_of(const host_setting *option, const char *text) {
    if ((option->types & 1u << HOST_SETTING_BOOLEAN) && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        return cJSON_CreateBool(*text == 't');
    if ((option->types & NUMBERS) && *text && strspn(text, "0123456789+-.eE") == strlen(text)) {
        char *end = NULL;
        double number = strtod(text, &end);
        if (*end == '\0') return cJSON_CreateNumber(number);
    }
    return cJSON_CreateString(text);
}

static bool fits(const host_setting *option, const cJSON *value) {
    /* In config.json an empty text is invalid; on a command line it means "none". */
    if (cJSON_IsString(value) && !value->valuestring[0])
        return (option->types & 1u << HOST_SETTING_STRING) && option->value_count == 0 &&
               !(option->has_min && option->min > 0);
    return host_setting_fits(option, value);
}

/* "rank (a whole number from 1 to 1024), ..." if there is room, else only the names. */
static void list_options(const host_recipe *recipe, const char *backend, char *out, size_t capacity) {
    kit_buf all = {0}, names = {0};
    for (size_t i = 0; i < recipe->options.count; i++) {
        const host_setting *one = &recipe->options.at[i];
        kit_buf_fmt(&all, "%s%s (", i ? ", " : "it takes ", one->key);
        host_setting_type_text(one, &all);
        kit_buf_char(&all, ')');
        kit_buf_fmt(&names, "%s%s", i ? ", " : "it takes ", one->key);
    }
    kit_buf_fmt(&names, "; `kolm compute info %s` says what each may be", backend);
    if (recipe->options.count == 0)
        kit_copy(out, capacity, "leave out --set: it takes no options");
    else
        kit_copy(out, capacity, all.length < capacity ? kit_buf_text(&all) : kit_buf_text(&names));
    kit_buf_free(&all);
    kit_buf_free(&names);
}

static kit_status unknown_option(const host_recipe *recipe, const char *backend, const char *name, kolm_error_t *err) {
    const char *names[HOST_SETTINGS_MAX];
    char remedy[sizeof err->remedy];
    size_t count = 0;
    for (; count < recipe->options.count && count < HOST_SETTINGS_MAX; count++)
        names[count] = recipe->options.at[count].key;
    const char *near = kit_nearest(name, names, count);
    list_options(recipe, backend, remedy, sizeof remedy);
    if (near)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy,
                        "--set %s: the recipe %s of %s has no such option; did you mean \"%s\"?", name, recipe->name,
                        backend, near);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "--set %s: the recipe %s of %s has no such option", name,
                    recipe->name, backend);
}

kit_status host_recipe_check(const host_recipe *recipe, const char *backend, const cJSON *given, kolm_error_t *err) {
    if (!recipe->declares_options) return KOLM_OK;
    for (const cJSON *item = given ? given->child : NULL; item; item = item->next) {
        const host_setting *option = host_settings_find(&recipe->options, item->string);
        if (!option) return unknown_option(recipe, backend, item->string, err);
        cJSON *value = value_of(option, item->valuestring);
        if (!value) return kit_no_memory(err);
        bool good = fits(option, value);
        cJSON_Delete(value);
        if (good) continue;
        kit_buf want = {0}, got = {0}, remedy = {0};
        host_setting_type_text(option, &want);
        kit_buf_escaped(&got, item->valuestring, strnlen(item->valuestring, 64));
        kit_buf_fmt(&remedy, "give %s", kit_buf_text(&want));
        if (option->default_text) kit_buf_fmt(&remedy, "; the default is %s", option->default_text);
        kit_buf_fmt(&remedy, " (`kolm compute info %s` has all options)", backend);
        kit_status status =
            kit_fail(err, KOLM_E_INVALID_ARGUMENT, kit_buf_text(&remedy), "--set %s=%s: expected %s (%s)", item->string,
                     kit_buf_text(&got), kit_buf_text(&want), option->summary);
        kit_buf_free(&remedy);
        kit_buf_free(&want);
        kit_buf_free(&got);
        return status;
    }
    for (size_t i = 0; i < recipe->options.count; i++)
        if (recipe->options.at[i].required && !kit_json_get(given, recipe->options.at[i].key))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, recipe->options.at[i].summary,
                            "the recipe %s of %s needs --set %s=VALUE", recipe->name, backend,
                            recipe->options.at[i].key);
    return KOLM_OK;
}
