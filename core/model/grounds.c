/* SPDX-License-Identifier: Apache-2.0 */
/* Watches the files that verdicts depend on. */
#include "model/grounds.h"

#include "kolm/kit/file.h"
#include "kolm/kit/mark.h"
#include "session/machine.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEYRING_DEPTH 2 /* keys/trusted/KEYID.pem */

static bool is_setting(const char *name) {
    size_t length = strlen(name);
    return length > 5 && strcmp(name + length - 5, ".json") == 0;
}

/* settings: only what is named .json, and no directories. */
static void look(const char *path, int depth, bool settings, kit_buf *out) {
    kit_file_mark mark;
    kit_buf inner = {0};
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (settings && !is_setting(entry->d_name)) continue;
        kit_buf_clear(&inner);
        kit_buf_fmt(&inner, "%s/%s", path, entry->d_name);
        kit_buf_fmt(out, "%s ", kit_buf_text(&inner));
        /* Distinguishes an inaccessible file from a missing one. */
        if (!inner.failed && kit_file_mark_path(inner.data, &mark, NULL) == KOLM_OK) kit_file_mark_put(&mark, out);
        kit_buf_char(out, '\n');
        if (!settings && depth > 0 && entry->d_type != DT_REG) look(kit_buf_text(&inner), depth - 1, false, out);
    }
    if (dir != NULL) closedir(dir);
    kit_buf_free(&inner);
}

kit_status model_grounds(kolm_session *session, kit_buf *out, kolm_error_t *err) {
    static const store_place rings[] = {STORE_KEYS, STORE_OLD_KEYS};
    store_home *home = NULL;
    KIT_TRY(session_home(session, &home, err));
    look(store_home_path(home), 0, true, out);
    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++) {
        char *path = NULL;
        KIT_TRY(store_home_place(home, rings[i], &path, err));
        look(path, KEYRING_DEPTH, false, out);
        free(path);
    }
    look(session_machine_dir, KEYRING_DEPTH, false, out);
    return kit_buf_ok(out, err);
}
