/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the administrator's configuration, overridden by the user's. */
#include "session/site.h"

#include "session/internal.h"

#include "host/scan.h"
#include "kolm/kit/file.h"
#include "session/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static kit_status read_site(const char *path, cJSON **out_site, kolm_error_t *err) {
    struct stat info;
    *out_site = NULL;
    /* lstat: a dangling link is an unreadable file, not a missing one. */
    if (lstat(path, &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return KOLM_OK;
        return kit_fail_errno(err, errno, "cannot determine whether the machine's configuration %s exists", path);
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

kit_status session_site_merge(kolm_session *session, kolm_error_t *err) {
    free(session->config_site_path);
    session->config_site_path = NULL;
    KIT_TRY(kit_path_join(session_machine_dir, "config.json", &session->config_site_path, err));
    KIT_TRY(read_site(session->config_site_path, &session->config_site, err));
    return session->config_site == NULL || add_missing(session->config_site, session->config_kept, 2)
               ? KOLM_OK
               : kit_no_memory(err);
}

static const cJSON *member(const cJSON *config, const char *section, const char *name, const char *key) {
    const cJSON *at = kit_json_get(config, section);
    if (at && name) at = kit_json_get(at, name);
    return at && key ? kit_json_get(at, key) : at;
}

const char *session_site_said(const kolm_session *session, const char *section, const char *name, const char *key) {
    if (!session->config_site || !member(session->config_site, section, name, key)) return NULL;
    return member(session->config_own, section, name, key) ? NULL : session->config_site_path;
}

kit_status session_site_config(kolm_session *session, host_config *out_config, kolm_error_t *err) {
    const cJSON *config = NULL;
    KIT_TRY(session_config(session, &config, err));
    *out_config = (host_config){.json = config,
                                .file = session->config_path,
                                .own = session->config_site ? session->config_own : NULL,
                                .site_file = session->config_site ? session->config_site_path : NULL};
    return KOLM_OK;
}
