/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what the administrator set, and lays the user's file over it. */
#include "session/site.h"

#include "session/machine.h"
#include "host/scan.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
}

static kit_status read_site(const char *path, cJSON **out_site, kolm_error_t *err) {
    struct stat info;
    *out_site = NULL;
    /* lstat: a link into nowhere is a file that cannot be read, not none. */
    if (lstat(path, &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return KOLM_OK;
        return kit_fail_errno(err, errno, "cannot tell whether there is a configuration of the machine, %s", path);
    }
    kit_status status = host_trust_file(path, NULL, NULL, NULL, err);
    if (status != KOLM_OK) return kit_fail_context(err, "the configuration of the machine");
    status = store_config_read_file(path, out_site, err);
    if (status == KOLM_OK) status = store_config_check(path, *out_site, err);
    if (status == KOLM_E_DATA_LOSS)
        kit_copy(err->remedy, sizeof err->remedy, "ask the administrator of this machine to correct it");
    return status;
}

/* Copies the members of from that into lacks; one level deeper where both have an object. */
static bool add_missing(const cJSON *from, cJSON *into, int depth) {
    for (const cJSON *item = from ? from->child : NULL; item; item = item->next) {
        cJSON *there = cJSON_GetObjectItemCaseSensitive(into, item->string);
        if (there && depth > 0 && cJSON_IsObject(there) && cJSON_IsObject(item)) {
            if (!add_missing(item, there, depth - 1)) return false;
        } else if (!there) {
            cJSON *copy = cJSON_Duplicate(item, 1);
            if (!copy || !cJSON_AddItemToObject(into, item->string, copy)) {
                cJSON_Delete(copy);
                return false;
            }
        }
    }
    return true;
}

kit_status cli_site_merge(cli_context *context, kolm_error_t *err) {
    free(context->config_site_path);
    context->config_site_path = NULL;
    KIT_TRY(kit_path_join(cli_machine_dir, "config.json", &context->config_site_path, err));
    KIT_TRY(read_site(context->config_site_path, &context->config_site, err));
    return context->config_site == NULL || add_missing(context->config_site, context->config_kept, 2) ? KOLM_OK
                                                                                                       : no_memory(err);
}

static const cJSON *member(const cJSON *config, const char *section, const char *name, const char *key) {
    const cJSON *at = kit_json_get(config, section);
    if (at && name) at = kit_json_get(at, name);
    return at && key ? kit_json_get(at, key) : at;
}

const char *cli_site_said(const cli_context *context, const char *section, const char *name, const char *key) {
    if (!context->config_site || !member(context->config_site, section, name, key)) return NULL;
    return member(context->config_own, section, name, key) ? NULL : context->config_site_path;
}

kit_status cli_site_config(cli_context *context, host_config *out_config, kolm_error_t *err) {
    const cJSON *config = NULL;
    KIT_TRY(cli_config(context, &config, err));
    *out_config = (host_config){.json = config,
                                .file = context->config_path,
                                .own = context->config_site ? context->config_own : NULL,
                                .site_file = context->config_site ? context->config_site_path : NULL};
    return KOLM_OK;
}
