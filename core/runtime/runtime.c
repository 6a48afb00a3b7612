/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the virtual environments below HOME/runtimes. */
#include "runtime/runtime.h"

#include "session/site.h"

#include "host/manifest.h"
#include "kolm/kit/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ABOUT_MAX (1u << 20) /* bytes of a runtime.json */

cJSON *runtime_about(const char *path) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_buf file = {0}, python = {0};
    cJSON *about = NULL;
    kit_buf_fmt(&file, "%s/runtime.json", path);
    kit_buf_fmt(&python, "%s/bin/python", path);
    if (kit_buf_ok(&file, &ignored) == KOLM_OK && kit_buf_ok(&python, &ignored) == KOLM_OK &&
        access(python.data, X_OK) == 0 && kit_json_read(file.data, ABOUT_MAX, &about, &ignored) != KOLM_OK)
        about = NULL;
    kit_buf_free(&file);
    kit_buf_free(&python);
    if (cJSON_IsObject(about)) return about;
    cJSON_Delete(about);
    return NULL;
}

kit_status runtime_of(kolm_session *session, const char *name, cJSON **out_value, kolm_error_t *err) {
    store_home *home = NULL;
    const cJSON *config = NULL;
    const char *python = NULL;
    kit_buf place = {0};
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(session_config(session, &config, err));
    *out_value = NULL;
    const cJSON *runtimes = kit_json_get(config, "runtimes");
    if (!runtimes || !kit_json_get_string(runtimes, name, &python)) {
        *out_value = cJSON_CreateNull();
        return *out_value ? KOLM_OK : kit_no_memory(err);
    }
    kit_buf_fmt(&place, "%s/%s/%s", store_home_path(home), store_place_name(STORE_RUNTIMES), name);
    kit_status status = kit_buf_ok(&place, err);
    bool own = status == KOLM_OK && strncmp(python, place.data, place.length) != 0;
    cJSON *about = status == KOLM_OK && !own ? runtime_about(place.data) : NULL;
    cJSON *value = cJSON_CreateObject();
    bool good = status == KOLM_OK && value && kit_json_put_string(value, "python", python) &&
                kit_json_put_bool(value, "own", own) &&
                kit_json_put_string(value, "site", own ? session_site_said(session, "runtimes", name, NULL) : NULL) &&
                kit_json_put(value, "about", about ? about : cJSON_CreateNull());
    kit_buf_free(&place);
    if (good) {
        *out_value = value;
        return KOLM_OK;
    }
    cJSON_Delete(value);
    return status != KOLM_OK ? status : kit_no_memory(err);
}

void runtime_text(const cJSON *value, kit_buf *out) {
    const char *python = "", *version = "", *site = NULL;
    bool own = false;
    uint64_t bytes = 0;
    char size[32];
    if (!cJSON_IsObject(value)) {
        kit_buf_str(out, "none");
        return;
    }
    const cJSON *about = kit_json_get(value, "about");
    (void)(kit_json_get_string(value, "python", &python) && kit_json_get_bool(value, "own", &own));
    if (kit_json_get_string(value, "site", &site)) {
        kit_buf_fmt(out, "%s, of this machine (%s)", python, site);
        return;
    }
    if (!cJSON_IsObject(about)) {
        kit_buf_fmt(out, "%s%s", python, own ? ", your own (config.json)" : ", which is incomplete");
        return;
    }
    (void)(kit_json_get_string(about, "python", &version) && kit_json_get_u64(about, "bytes", &bytes));
    kit_buf_fmt(out, "Python %s, %d packages, %s: %s", version, cJSON_GetArraySize(kit_json_get(about, "packages")),
                session_bytes(size, sizeof size, bytes), python);
}

void runtime_packages(const cJSON *about, kit_buf *out) {
    static const char *const asked[] = {"torch", "transformers", "peft",        "tokenizers",
                                        "mlx",   "unsloth",      "bitsandbytes"};
    const cJSON *packages = about ? kit_json_get(about, "packages") : NULL;
    bool few = cJSON_GetArraySize(packages) <= 8;
    for (const cJSON *package = packages ? packages->child : NULL; package; package = package->next) {
        bool show = few;
        for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
            show = show || strncmp(package->string, asked[i], strlen(asked[i])) == 0;
        if (show && cJSON_IsString(package))
            kit_buf_fmt(out, "%s%s %s", out->length ? ", " : "", package->string, package->valuestring);
    }
}
