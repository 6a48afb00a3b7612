/* SPDX-License-Identifier: Apache-2.0 */
/* Home and configuration: found and checked on first use, then cached. */
#include "session/session.h"

#include "host/scan.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "session/internal.h"
#include "session/site.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void session_forget_config(kolm_session *session) {
    cJSON_Delete(session->config_kept);
    cJSON_Delete(session->config_own);
    cJSON_Delete(session->config_site);
    free(session->config_path);
    free(session->config_site_path);
    session->config_kept = session->config_own = session->config_site = NULL;
    session->config_path = session->config_site_path = NULL;
}

/* The owner of the ~/.kolm that root would use. */
static const char *home_remedy(void) {
    static const char plain[] = "set KOLM_HOME to a directory that only you can change";
    const char *named = secure_getenv("KOLM_HOME");
    if (geteuid() != 0 || (named && *named)) return plain;
    return "use `sudo -H`, or set KOLM_HOME to a directory that only root can change";
}

/* Keys, settings and detections are trusted, so others must not be able to write there, or to replace the directory:
 * the rule for plugins. */
static kit_status check_home(store_home **home, kolm_error_t *err) {
    const char *path = store_home_path(*home);
    char *real = NULL;
    if (kit_utf8_valid(path, strlen(path)) != strlen(path))
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "set KOLM_HOME to another path",
                        "the path of kolm's home, %s, is not UTF-8 text", path);
    kit_status status = host_trust_home(path, home_remedy(), &real, err);
    if (status == KOLM_E_PERMISSION_DENIED) err->code = KOLM_E_FAILED_PRECONDITION; /* the environment is wrong */
    if (status != KOLM_OK) return kit_fail_context(err, "kolm's home %s is not used", path);
    if (real == NULL || strcmp(real, path) == 0) {
        free(real);
        return KOLM_OK;
    }
    /* Links on the path must be trusted too, not only the directory itself. */
    store_home *resolved = NULL;
    status = store_home_at(real, &resolved, err);
    free(real);
    if (status != KOLM_OK) return status;
    store_home_free(*home);
    *home = resolved;
    return KOLM_OK;
}

kit_status session_home(kolm_session *session, store_home **out_home, kolm_error_t *err) {
    if (!session->home_kept) {
        store_home *home = NULL;
        KIT_TRY(store_home_find(&home, err));
        kit_status status = check_home(&home, err);
        if (status != KOLM_OK) {
            store_home_free(home);
            return status;
        }
        session->home_kept = home;
    }
    *out_home = session->home_kept;
    return KOLM_OK;
}

/* A dangling link is an unreadable file, not a missing one. */
static kit_status check_config(const char *path, kolm_error_t *err) {
    struct stat info;
    if (lstat(path, &info) != 0)
        return errno == ENOENT || errno == ENOTDIR ? KOLM_OK : kit_fail_errno(err, errno, "cannot access %s", path);
    kit_status status =
        host_trust_kept(path, "check what is in it, then replace it with one that only you can change", err);
    return status == KOLM_E_PERMISSION_DENIED ? kit_fail_context(err, "%s is not used", path) : status;
}

static kit_status read_config(kolm_session *session, kolm_error_t *err) {
    store_home *home = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(store_home_place(home, STORE_CONFIG, &session->config_path, err));
    KIT_TRY(check_config(session->config_path, err));
    KIT_TRY(store_config_read(home, &session->config_own, err));
    KIT_TRY(store_config_check(session->config_path, session->config_own, err));
    session->config_kept = cJSON_Duplicate(session->config_own, 1);
    if (!session->config_kept) return kit_no_memory(err);
    KIT_TRY(session_runtimes_add(home, session->config_kept, err));
    return session_site_merge(session, err);
}

kit_status session_config(kolm_session *session, const cJSON **out_config, kolm_error_t *err) {
    if (!session->config_kept) {
        kit_status status = read_config(session, err);
        if (status != KOLM_OK) {
            session_forget_config(session);
            return status;
        }
    }
    *out_config = session->config_kept;
    return KOLM_OK;
}
