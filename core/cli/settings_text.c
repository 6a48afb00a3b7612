/* SPDX-License-Identifier: Apache-2.0 */
/* Shows the settings that a manifest declares. */
#include "cli/settings_text.h"

#include "cli/output.h"
#include "host/host.h"
#include "session/site.h"

#define LABEL "%-14s"

static const cJSON *section_of(cli_context *context, const fleet_backend *b) {
    const cJSON *config = NULL;
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (session_config(&context->session, &config, &ignored) != KOLM_OK) return NULL;
    return kit_json_get(kit_json_get(config, "backends"), b->name);
}

/* backend NULL: for settings inside a list or map, which are not looked up in config.json. */
static void print_one(cli_context *context, const host_setting *s, const char *indent, const cJSON *section,
                      const char *backend) {
    kit_buf text = {0};
    const char *site = backend ? session_site_said(&context->session, "backends", backend, s->key) : NULL;
    kit_buf_fmt(&text, "%s%s", indent, s->key);
    if (site)
        kit_buf_fmt(&text, " (set in %s)", site);
    else if (kit_json_get(section, s->key))
        kit_buf_str(&text, " (set)");
    kit_buf_str(&text, ": ");
    host_setting_type_text(s, &text);
    if (s->default_text) kit_buf_fmt(&text, "; %s when it is not set", s->default_text);
    kit_buf_fmt(&text, ". %s", s->summary);
    cli_print(context, "%s\n", cli_safe(kit_buf_text(&text)));
    kit_buf_free(&text);
    for (size_t i = 0; i < s->fields.count; i++) {
        cli_print(context, LABEL, "");
        print_one(context, &s->fields.at[i], "    ", NULL, NULL);
    }
}

void cli_settings_print(cli_context *context, const fleet_backend *b) {
    const host_manifest *manifest = b->row->manifest;
    if (!manifest) return;
    if (!manifest->declares_settings) {
        cli_print(context, LABEL "not declared: any key of backends.%s in config.json\n", "settings", b->name);
        return;
    }
    if (manifest->settings.count == 0) cli_print(context, LABEL "none\n", "settings");
    for (size_t i = 0; i < manifest->settings.count; i++) {
        cli_print(context, LABEL, i == 0 ? "settings" : "");
        print_one(context, &manifest->settings.at[i], "", section_of(context, b), b->name);
    }
}

static bool put_one(cli_context *context, cJSON *array, const host_setting *s, const cJSON *section,
                    const char *backend) {
    kit_buf type = {0};
    host_setting_type_text(s, &type);
    cJSON *object = cJSON_CreateObject();
    bool good = kit_buf_ok(&type, NULL) == KOLM_OK && object && kit_json_put_string(object, "key", s->key) &&
                kit_json_put_string(object, "type", kit_buf_text(&type)) &&
                kit_json_put_string(object, "summary", s->summary) &&
                kit_json_put_string(object, "default", s->default_text) &&
                kit_json_put_bool(object, "set", kit_json_get(section, s->key) != NULL) &&
                kit_json_put_string(object, "site", session_site_said(&context->session, "backends", backend, s->key));
    kit_buf_free(&type);
    return cli_append(array, object, good);
}

bool cli_settings_put(cli_context *context, cJSON *value, const fleet_backend *b) {
    const host_manifest *manifest = b->row->manifest;
    if (!manifest || !manifest->declares_settings) return kit_json_put_null(value, "settings");
    cJSON *array = cJSON_AddArrayToObject(value, "settings");
    for (size_t i = 0; array && i < manifest->settings.count; i++)
        if (!put_one(context, array, &manifest->settings.at[i], section_of(context, b), b->name)) return false;
    return array != NULL;
}

static void add_option(const host_setting *option, kit_buf *out) {
    kit_buf_fmt(out, "  --set %s: ", option->key);
    host_setting_type_text(option, out);
    if (option->default_text) kit_buf_fmt(out, "; %s when it is not given", option->default_text);
    kit_buf_fmt(out, ". %s", option->summary);
}

void cli_recipes_print(cli_context *context, const fleet_backend *backend) {
    const host_recipes *makes = &backend->row->manifest->makes;
    for (size_t i = 0; i < makes->count; i++) {
        const host_recipe *r = &makes->at[i];
        const char *options = !r->declares_options    ? " (options not declared: any --set)"
                              : r->options.count == 0 ? " (no options)"
                                                      : "";
        const char *summary = r->summary                      ? cli_safe(r->summary)
                              : r->base == HOST_BASE_REQUIRED ? "from a base model"
                              : r->labels_only                ? "learns labels"
                                                              : "";
        cli_print(context, LABEL "%s%s%s%s\n", i == 0 ? "recipes" : "", r->name, options, *summary ? ": " : "",
                  summary);
        for (size_t j = 0; j < r->options.count; j++) {
            kit_buf text = {0};
            add_option(&r->options.at[j], &text);
            cli_print(context, LABEL "%s\n", "", cli_safe(kit_buf_text(&text)));
            kit_buf_free(&text);
        }
    }
}
