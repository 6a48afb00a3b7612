/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: all values of an accepted manifest of a backend are in their ranges, and it is read back the same after
 * it is written from the parsed values. The second part is a config.json that is checked against it. */
#include "fuzz.h"
#include "host/manifest.h"

#include <string.h>

#define NAME "acme"

static bool text_ok(const char *text, size_t most) {
    return text != NULL && text[0] != '\0' && strlen(text) <= most && fuzz_plain(text);
}

static void check_requires(const host_manifest *m) {
    must(m->require_count <= 32 && m->auth_count <= 16 && m->secret_count <= 16);
    for (size_t i = 0; i < m->auth_count; i++)
        must(text_ok(m->auth[i], 64) && host_manifest_may_read(m, m->auth[i]));
    for (size_t i = 0; i < m->secret_count; i++)
        must(text_ok(m->secrets[i], 64) && host_manifest_may_read(m, m->secrets[i]));
    for (size_t i = 0; i < m->require_count; i++) {
        const host_require *require = &m->requires[i];
        must(text_ok(require->value, 1024));
        must(require->kind != HOST_REQUIRE_PATH || require->value[0] == '/');
        must(require->kind != HOST_REQUIRE_CONFIG || !m->declares_settings ||
             host_settings_find(&m->settings, require->value) != NULL);
    }
}

static void check_settings(const host_settings *settings, unsigned depth) {
    must(settings->count <= HOST_SETTINGS_MAX && depth < 4);
    for (size_t i = 0; i < settings->count; i++) {
        const host_setting *setting = &settings->at[i];
        kit_buf type = {0};
        must(text_ok(setting->key, 64) && text_ok(setting->summary, 1024) && setting->types != 0 &&
             setting->types < 1u << HOST_SETTING_TYPES);
        must(host_settings_find(settings, setting->key) == setting); /* no duplicate keys */
        must(!setting->has_min || !setting->has_max || setting->min <= setting->max);
        host_setting_type_text(setting, &type);
        must(kit_buf_ok(&type, NULL) == KOLM_OK && text_ok(kit_buf_text(&type), SIZE_MAX));
        kit_buf_free(&type);
        check_settings(&setting->fields, depth + 1);
    }
}

static void check_recipes(const host_recipes *recipes) {
    must(recipes->count <= HOST_RECIPES_MAX);
    for (size_t i = 0; i < recipes->count; i++) {
        const host_recipe *recipe = &recipes->at[i];
        must(host_recipe_name_ok(recipe->name) && host_recipes_find(recipes, recipe->name) == recipe);
        must(recipe->summary == NULL || text_ok(recipe->summary, 240));
        check_settings(&recipe->options, 0);
    }
}

static void check_ranges(const host_manifest *m) {
    must(strcmp(m->name, NAME) == 0 && host_name_ok(m->name) && text_ok(m->offer.kind, 32));
    must(m->offer.tier >= 1 && m->offer.tier <= 9 && m->offer.cold_start_seconds <= 86400 &&
         m->offer.perf_units <= PICK_UNIT);
    must(m->offer.vram != PICK_VRAM_CAP ||
         (m->offer.vram_cap_bytes >= 1000000000u && m->offer.vram_cap_bytes <= 1000000ull * 1000000000u));
    must(m->offer.airgap <= PICK_AIRGAP_DEPENDS && m->billing <= KOLM_BILLING_PER_CALL);
    bool hourly = m->billing == KOLM_BILLING_FREE || m->billing == KOLM_BILLING_PER_HOUR;
    must(hourly ? m->offer.price_micro_usd_per_hour <= 100000000000ull
                : m->offer.price_micro_usd_per_hour == PICK_UNPRICED);
    must(m->billing != KOLM_BILLING_FREE || m->offer.price_micro_usd_per_hour == 0);
    must(text_ok(m->runtime, 120) && text_ok(m->summary, 240));
    must(m->hint != NULL && fuzz_plain(m->hint) && (m->recipes == NULL) == (m->makes.count == 0) &&
         m->offer.recipes == m->recipes);
    must(m->recipes == NULL || text_ok(m->recipes, 8 * 34));
    must(m->formats == NULL || text_ok(m->formats, 16 * 66));
    must(host_manifest_unread(m) == NULL || (m->newer && fuzz_plain(host_manifest_unread(m))));
    check_recipes(&m->makes);
    check_requires(m);
    check_settings(&m->settings, 0);
}

static void put_names(cJSON *json, const char *key, char *const *names, size_t count) {
    cJSON *list = cJSON_AddArrayToObject(json, key);
    for (size_t i = 0; i < count; i++)
        must(cJSON_AddItemToArray(list, cJSON_CreateString(names[i])));
}

static void put_requires(cJSON *json, const host_manifest *m) {
    static const char *const kinds[] = {"env", "path", "config"};
    cJSON *list = cJSON_AddArrayToObject(json, "requires");
    for (size_t i = 0; i < m->require_count; i++) {
        cJSON *one = cJSON_CreateObject();
        must(kit_json_put_string(one, kinds[m->requires[i].kind], m->requires[i].value) &&
             cJSON_AddItemToArray(list, one));
    }
}

static void put_vram(cJSON *json, const host_manifest *m) {
    if (m->offer.vram == PICK_VRAM_NONE)
        must(kit_json_put_null(json, "vram_cap_gb"));
    else if (m->offer.vram == PICK_VRAM_CAP)
        must(kit_json_put_u64(json, "vram_cap_gb", m->offer.vram_cap_bytes / 1000000000u));
    else
        must(kit_json_put_string(json, "vram_cap_gb", m->offer.vram == PICK_VRAM_OWN ? "own" : "shared"));
}

/* Writes an equivalent manifest from the parsed one; settings and recipes, which have no writer, verbatim. */
static void write_again(const host_manifest *m, const cJSON *was, kit_buf *out) {
    cJSON *json = cJSON_CreateObject();
    static const char *const kept[] = {"manifest_version", "recipes", "formats", "settings"};
    must(kit_json_put_string(json, "name", m->name) && kit_json_put_string(json, "kind", m->offer.kind) &&
         kit_json_put_u64(json, "tier", m->offer.tier) && kit_json_put_bool(json, "train", m->offer.train) &&
         kit_json_put_bool(json, "infer", m->offer.infer) &&
         kit_json_put_string(json, "airgap", pick_airgap_names[m->offer.airgap]) &&
         kit_json_put_string(json, "billing", host_billing_name(m->billing)) &&
         kit_json_put_u64(json, "cold_start_seconds", m->offer.cold_start_seconds) &&
         kit_json_put_string(json, "runtime", m->runtime) && kit_json_put_string(json, "summary", m->summary));
    if (m->offer.price_micro_usd_per_hour == PICK_UNPRICED)
        must(kit_json_put_null(json, "cost_per_hour_usd"));
    else
        must(cJSON_AddNumberToObject(json, "cost_per_hour_usd", (double)m->offer.price_micro_usd_per_hour / 1e6) !=
             NULL);
    must(cJSON_AddNumberToObject(json, "perf", (double)m->offer.perf_units / PICK_UNIT) != NULL);
    put_vram(json, m);
    put_names(json, "auth", m->auth, m->auth_count);
    put_names(json, "secrets", m->secrets, m->secret_count);
    put_requires(json, m);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const cJSON *item = kit_json_get(was, kept[i]);
        if (item != NULL) must(kit_json_put(json, kept[i], cJSON_Duplicate(item, true)));
    }
    if (strlen(m->hint) >= 1 && strlen(m->hint) <= 40) must(kit_json_put_string(json, "hint", m->hint));
    must(kit_json_line(json, out, NULL) == KOLM_OK);
    cJSON_Delete(json);
}

static void same_again(const host_manifest *m, const char *text, size_t length) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *was = NULL;
    kit_buf once = {0}, twice = {0};
    host_manifest *again = NULL;
    must(kit_json_parse(text, length, &was, NULL) == KOLM_OK);
    write_again(m, was, &once);
    must(host_manifest_parse(NAME, once.data, once.length, &again, &err) == KOLM_OK);
    write_again(again, was, &twice);
    must(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0);
    must(again->offer.price_micro_usd_per_hour == m->offer.price_micro_usd_per_hour &&
         again->offer.perf_units == m->offer.perf_units);
    host_manifest_free(again);
    cJSON_Delete(was);
    kit_buf_free(&once);
    kit_buf_free(&twice);
}

static void hold_against(host_manifest *m, const char *text, size_t length) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *config = NULL;
    if (kit_json_parse(text, length, &config, NULL) != KOLM_OK) return;
    const host_manifest before = *m;
    const host_config said = {.json = config};
    kit_status status = host_manifest_override(m, &said, &err);
    if (status == KOLM_OK)
        check_ranges(m);
    else
        must(memcmp(&before, m, sizeof before) == 0);
    if (status != KOLM_OK) fuzz_refused(status, &err);
    status = host_manifest_check_settings(m, &said, &err);
    if (status != KOLM_OK) fuzz_refused(status, &err);
    cJSON_Delete(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    fuzz_parts parts = {(const char *)data, size};
    size_t length, config_length;
    char *text = fuzz_part(&parts, &length), *config = fuzz_part(&parts, &config_length);
    host_manifest *m = NULL;
    kit_status status = host_manifest_parse(NAME, text, length, &m, &err);
    if (status == KOLM_OK) {
        check_ranges(m);
        same_again(m, text, length);
        hold_against(m, config, config_length);
    } else {
        fuzz_refused(status, &err);
    }
    host_manifest_free(m);
    free(text);
    free(config);
    return 0;
}
