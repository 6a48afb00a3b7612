/* SPDX-License-Identifier: Apache-2.0 */
/* Replaces the directory of a plugin whose file was replaced or removed: $ORIGIN must still lead to its libraries. */
#include "host/child/child.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 4096

static kit_status make(const char *path, kolm_error_t *err) {
    return mkdir(path, 0700) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot make %s", path);
}

static kit_status link_to(const char *target, const char *dir, const char *name, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(dir, name, &path, err));
    kit_status status =
        symlink(target, path) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot make the link %s", path);
    free(path);
    return status;
}

/* Creates a link in `to` for every entry of the directory `from` except `except`. */
static kit_status link_all(const char *from, const char *except, const char *to, kolm_error_t *err) {
    DIR *dir = opendir(from);
    const struct dirent *entry;
    kit_status status = dir ? KOLM_OK : kit_fail_errno(err, errno, "cannot list %s", from);
    for (int i = 0; status == KOLM_OK && i < LINKS_MAX && (entry = readdir(dir)) != NULL; i++) {
        char *target = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, except) == 0)
            continue;
        status = kit_path_join(from, entry->d_name, &target, err);
        if (status == KOLM_OK) status = link_to(target, to, entry->d_name, err);
        free(target);
    }
    if (dir) closedir(dir);
    return status;
}

/* Cuts the last component off path, and returns it. */
static const char *cut(char *path) {
    char *slash = strrchr(path, '/');
    *slash = '\0';
    return slash + 1;
}

kit_status child_beside(const child_request *request, const char *held, char **out_path, kolm_error_t *err) {
    char *own = NULL, *above = NULL, *top = NULL, *dir = NULL;
    kit_status status = kit_strdup(request->path, &own, err);
    const char *file = status == KOLM_OK ? cut(own) : NULL;
    if (status == KOLM_OK) status = kit_strdup(own, &above, err);
    const char *name = status == KOLM_OK && *above ? cut(above) : "root";
    if (status == KOLM_OK) status = kit_path_join(request->scratch, ".beside", &top, err);
    if (status == KOLM_OK) status = make(top, err);
    if (status == KOLM_OK) status = kit_path_join(top, name, &dir, err);
    if (status == KOLM_OK) status = make(dir, err);
    if (status == KOLM_OK) { /* for $ORIGIN/.., if that can be listed */
        kit_status ignored = link_all(*above ? above : "/", name, top, NULL);
        (void)ignored;
    }
    if (status == KOLM_OK) status = link_all(*own ? own : "/", file, dir, err);
    if (status == KOLM_OK) status = link_to(held, dir, file, err);
    if (status == KOLM_OK) status = kit_path_join(dir, file, out_path, err);
    free(own);
    free(above);
    free(top);
    free(dir);
    return status;
}
