/* SPDX-License-Identifier: Apache-2.0 */
/* The section of a backend in config.json: overridden manifest fields, and declared settings. */
#include "host/internal.h"

#include <string.h>

const char *host_config_file(const host_config *config, const char *section, const char *name, const char *key) {
    const cJSON *own = config->own ? kit_json_get(kit_json_get(config->own, section), name) : NULL;
    if (own && key) own = kit_json_get(own, key);
    if (config->own && config->site_file && !own) return config->site_file;
    return config->file ? config->file : "config.json";
}

/* Finds backends.NAME in config; NULL: none. */
static kit_status find_section(const host_manifest *manifest, const host_config *config, const cJSON **out_section,
                               kolm_error_t *err) {
    const cJSON *backends = kit_json_get(config->json, "backends");
    const char *file = host_config_file(config, "backends", manifest->name, NULL);
    *out_section = NULL;
    if (backends && !cJSON_IsObject(backends))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it", "%s: backends: expected an object", file);
    const cJSON *own = kit_json_get(backends, manifest->name);
    if (own && !cJSON_IsObject(own))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it", "%s: backends.%s: expected an object", file,
                        manifest->name);
    *out_section = own;
    return KOLM_OK;
}

static kit_status read_fence(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    if (!item) return KOLM_OK;
    m->fence_off = cJSON_IsString(item) && strcmp(item->valuestring, "off") == 0;
    if (m->fence_off) return KOLM_OK;
    if (cJSON_IsString(item))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "expected \"off\", or an object of \"read\" and \"write\"");
    return host_files_read(item, NULL, &m->more_files, err);
}

kit_status host_manifest_override(host_manifest *manifest, const host_config *config, kolm_error_t *err) {
    kolm_error_t local = KIT_ERROR_INIT;
    if (!err) err = &local;
    const cJSON *own = NULL;
    KIT_TRY(find_section(manifest, config, &own, err));
    host_manifest changed = *manifest;
    for (size_t i = 0; own && i < HOST_FIELDS; i++) {
        const cJSON *item = host_fields[i].override ? kit_json_get(own, host_fields[i].key) : NULL;
        if (!item) continue;
        if (host_fields[i].read(item, &changed, err) != KOLM_OK) {
            kit_copy(err->remedy, sizeof err->remedy, "correct or remove that key");
            return kit_fail_context(err, "%s: backends.%s.%s",
                                    host_config_file(config, "backends", manifest->name, host_fields[i].key),
                                    manifest->name, host_fields[i].key);
        }
        changed.overridden |= host_fields[i].override;
    }
    if (read_fence(kit_json_get(own, HOST_FENCE_KEY), &changed, err) != KOLM_OK) {
        kit_copy(err->remedy, sizeof err->remedy, "correct or remove that key");
        return kit_fail_context(err, "%s: backends.%s." HOST_FENCE_KEY,
                                host_config_file(config, "backends", manifest->name, HOST_FENCE_KEY), manifest->name);
    }
    *manifest = changed;
    return KOLM_OK;
}

/* Whoever can change the interpreter can run anything as this user. */
static kit_status check_python(const char *name, const char *python, const char *file, kolm_error_t *err) {
    char otherwise[160];
    kit_format(otherwise, sizeof otherwise, "name another Python: kolm compute setup %s --use PATH", name);
    kit_status status = host_trust_python(python, otherwise, err);
    return status == KOLM_OK ? status : kit_fail_context(err, "%s: runtimes.%s", file, name);
}

/* Checks key by key, because each may come from a different file. */
static kit_status check_section(const host_manifest *manifest, const host_config *config, const cJSON *section,
                                const char *const *overrides, kolm_error_t *err) {
    char where[256];
    for (const cJSON *item = section->child; item; item = item->next) {
        kit_format(where, sizeof where, "%s: backends.%s",
                   host_config_file(config, "backends", manifest->name, item->string), manifest->name);
        KIT_TRY(host_settings_check_key(&manifest->settings, overrides, item, where, err));
    }
    kit_format(where, sizeof where, "%s: backends.%s", host_config_file(config, "backends", manifest->name, NULL),
               manifest->name);
    return host_settings_check(&manifest->settings, overrides, section, where, err);
}

kit_status host_manifest_check_settings(const host_manifest *manifest, const host_config *config, kolm_error_t *err) {
    const cJSON *own = NULL;
    const char *names[HOST_FIELDS + 2] = {HOST_FENCE_KEY};
    size_t count = 1;
    const cJSON *python = kit_json_get(kit_json_get(config->json, "runtimes"), manifest->name);
    if (python && (!cJSON_IsString(python) || !python->valuestring[0]))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct or remove it",
                        "%s: runtimes.%s: expected the path of a Python interpreter",
                        host_config_file(config, "runtimes", manifest->name, NULL), manifest->name);
    if (python)
        KIT_TRY(check_python(manifest->name, python->valuestring,
                             host_config_file(config, "runtimes", manifest->name, NULL), err));
    KIT_TRY(find_section(manifest, config, &own, err));
    if (!own || !manifest->declares_settings) return KOLM_OK;
    for (size_t i = 0; i < HOST_FIELDS; i++)
        if (host_fields[i].override) names[count++] = host_fields[i].key;
    names[count] = NULL;
    kit_status status = check_section(manifest, config, own, names, err);
    if (status == KOLM_E_INVALID_ARGUMENT && err)
        kit_format(err->remedy, sizeof err->remedy, "correct or remove it; `kolm compute info %s` lists the settings",
                   manifest->name);
    return status;
}
