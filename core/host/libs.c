/* SPDX-License-Identifier: Apache-2.0 */
/* Libraries of a plugin's own: the files of NAME.libs next to NAME.so, with the same trust rules. */
#include "host/scan.h"

#include "kolm/kit/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIBS_MAX 256

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static kit_status add_name(const char *directory, const char *name, host_libs *out, kolm_error_t *err) {
    if (out->count == LIBS_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "keep only the libraries that the plugin loads there",
                        "%s contains more than %d files", directory, LIBS_MAX);
    char **grown = realloc(out->names, (out->count + 1) * sizeof *grown);
    if (!grown) return kit_no_memory(err);
    out->names = grown;
    KIT_TRY(kit_strdup(name, &grown[out->count], err));
    out->count++;
    return KOLM_OK;
}

static kit_status read_names(host_libs *out, kolm_error_t *err) {
    DIR *stream = opendir(out->directory);
    const struct dirent *entry;
    if (!stream) return kit_fail_errno(err, errno, "cannot list %s", out->directory);
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && (entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = add_name(out->directory, entry->d_name, out, err);
    closedir(stream);
    if (out->count > 0) qsort(out->names, out->count, sizeof *out->names, by_text);
    return status;
}

/* Combines identities so that the sum changes if any of them does. */
static void add_identity(host_file_identity *sum, const host_file_identity *one) {
    sum->device = one->device;
    sum->inode = sum->inode * 31 + one->inode;
    sum->size += one->size;
    if (one->modified_ns > sum->modified_ns) sum->modified_ns = one->modified_ns;
    if (one->changed_ns > sum->changed_ns) sum->changed_ns = one->changed_ns;
}

kit_status host_libs_read(const char *plugin, const char *stem, host_libs *out_libs, kolm_error_t *err) {
    const char *slash = strrchr(plugin, '/');
    kit_buf path = {0};
    *out_libs = (host_libs){0};
    kit_buf_fmt(&path, "%.*s/%s.libs", slash ? (int)(slash - plugin) : 1, slash ? plugin : ".", stem);
    kit_status status = kit_buf_ok(&path, err);
    out_libs->directory = kit_buf_take(&path);
    kit_buf_free(&path);
    struct stat st;
    if (status != KOLM_OK || lstat(out_libs->directory, &st) != 0) {
        host_libs_free(out_libs); /* most plugins have none */
        return status;
    }
    status = host_trust_directory(out_libs->directory, NULL, err);
    if (status == KOLM_OK) status = read_names(out_libs, err);
    for (size_t i = 0; status == KOLM_OK && i < out_libs->count; i++) {
        char *file = NULL;
        host_file_identity identity = {0};
        status = kit_path_join(out_libs->directory, out_libs->names[i], &file, err);
        if (status == KOLM_OK) status = host_trust_file(file, NULL, NULL, &identity, err);
        if (status == KOLM_OK) add_identity(&out_libs->identity, &identity);
        free(file);
    }
    if (status != KOLM_OK) host_libs_free(out_libs);
    return status;
}

void host_libs_free(host_libs *libs) {
    for (size_t i = 0; i < libs->count; i++)
        free(libs->names[i]);
    free(libs->names);
    free(libs->directory);
    *libs = (host_libs){0};
}
