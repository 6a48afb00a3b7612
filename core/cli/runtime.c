/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the virtual environments below HOME/runtimes. */
#include "cli/runtime.h"

#include "host/manifest.h"

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
    if (status == KOLM_OK && access(whole.data, F_OK) == 0 && !kit_json_put_string(runtimes, name, python.data))
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
    kit_buf_free(&whole);
    kit_buf_free(&python);
    return status;
}

kit_status cli_runtimes_add(const store_home *home, cJSON *config, kolm_error_t *err) {
    char *root = NULL;
    KIT_TRY(store_home_file(home, "runtimes", &root, err));
    DIR *listing = opendir(root);
    kit_status status = KOLM_OK;
    if (listing != NULL) {
        cJSON *runtimes = cJSON_GetObjectItemCaseSensitive(config, "runtimes");
        if (runtimes == NULL) runtimes = cJSON_AddObjectToObject(config, "runtimes");
        const struct dirent *entry;
        while (status == KOLM_OK && (entry = readdir(listing)) != NULL)
            if (host_name_ok(entry->d_name) && cJSON_IsObject(runtimes) &&
                kit_json_get(runtimes, entry->d_name) == NULL)
                status = add(root, entry->d_name, runtimes, err);
        closedir(listing);
    }
    free(root);
    return status;
}
