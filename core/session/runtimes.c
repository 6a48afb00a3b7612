/* SPDX-License-Identifier: Apache-2.0 */
/* Adds the Python runtimes in the home to the configuration. */
#include "session/internal.h"

#include "host/manifest.h"
#include "kolm/kit/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static kit_status add(const char *root, const char *name, cJSON *runtimes, kolm_error_t *err) {
    kit_buf whole = {0}, python = {0};
    kit_buf_fmt(&whole, "%s/%s/runtime.json", root, name);
    kit_buf_fmt(&python, "%s/%s/bin/python", root, name);
    kit_status status = kit_buf_ok(&whole, err);
    if (status == KOLM_OK) status = kit_buf_ok(&python, err);
    bool there = false;
    if (status == KOLM_OK) status = kit_path_exists(whole.data, &there, err);
    if (status == KOLM_OK && there && !kit_json_put_string(runtimes, name, python.data)) status = kit_no_memory(err);
    kit_buf_free(&whole);
    kit_buf_free(&python);
    return status;
}

kit_status session_runtimes_add(const store_home *home, cJSON *config, kolm_error_t *err) {
    char *root = NULL;
    KIT_TRY(store_home_place(home, STORE_RUNTIMES, &root, err));
    DIR *listing = opendir(root);
    kit_status status = KOLM_OK;
    if (listing == NULL && errno != ENOENT && errno != ENOTDIR)
        status = kit_fail_errno(err, errno, "cannot list %s", root);
    if (listing != NULL) {
        cJSON *runtimes = cJSON_GetObjectItemCaseSensitive(config, "runtimes");
        if (runtimes == NULL) runtimes = cJSON_AddObjectToObject(config, "runtimes");
        const char *name = NULL;
        if (runtimes == NULL) status = kit_no_memory(err);
        if (status == KOLM_OK) status = kit_directory_next(listing, root, &name, err);
        while (status == KOLM_OK && name != NULL) {
            if (host_name_ok(name) && cJSON_IsObject(runtimes) && kit_json_get(runtimes, name) == NULL)
                status = add(root, name, runtimes, err);
            if (status == KOLM_OK) status = kit_directory_next(listing, root, &name, err);
        }
        closedir(listing);
    }
    free(root);
    return status;
}
