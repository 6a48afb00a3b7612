/* SPDX-License-Identifier: Apache-2.0 */
/* Lists a directory of plugins. */
#include "host/internal.h"

#include <stdlib.h>
#include <string.h>

void host_names_free(host_names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->at[i]);
    for (size_t i = 0; i < names->beside_count; i++)
        free(names->beside[i]);
    free(names->at);
    free(names->beside);
    *names = (host_names){0};
}

static bool stem_of(const char *file, size_t n, const char *suffix, size_t m, size_t *out_length) {
    if (file[0] == '.' || n <= m || memcmp(file + n - m, suffix, m) != 0) return false;
    *out_length = n - m;
    return true;
}
#define STEM_OF(file, n, suffix, out_length) stem_of(file, n, suffix, sizeof(suffix) - 1, out_length)

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes ownership of name, also on failure. */
static kit_status append(char ***list, size_t *count, char *name, kolm_error_t *err) {
    if (name && (*count & (*count - 1)) == 0) { /* 0 and every power of two: the room is doubled */
        char **grown = realloc(*list, (*count > 0 ? 2 * *count : 16) * sizeof *grown);
        if (!grown) {
            free(name);
            return kit_no_memory(err);
        }
        *list = grown;
    }
    if (!name) return kit_no_memory(err);
    (*list)[(*count)++] = name;
    return KOLM_OK;
}

/* A plugin without a manifest counts under any name; a lone JSON file only if its name is a valid backend name. */
static kit_status add(host_names *names, const char *file, kolm_error_t *err) {
    size_t n = strlen(file), length;
    if (STEM_OF(file, n, HOST_SUFFIX ".sig", &length) || STEM_OF(file, n, ".libs", &length))
        return append(&names->beside, &names->beside_count, strdup(file), err);
    bool plugin = STEM_OF(file, n, HOST_SUFFIX, &length);
    if (!plugin && !STEM_OF(file, n, ".json", &length)) return KOLM_OK;
    char *stem = strndup(file, length);
    if (!stem) return kit_no_memory(err);
    char *version = (char *)(uintptr_t)host_stem_version(stem);
    if (version) version[-1] = '\0';
    bool named = host_name_ok(stem);
    if (version) version[-1] = '-';
    if (!plugin && !named) {
        free(stem);
        return KOLM_OK;
    }
    names->versions = names->versions || version;
    return append(&names->at, &names->count, stem, err);
}

static void settle(host_names *names) {
    size_t kept = 0;
    if (names->beside_count > 0) qsort(names->beside, names->beside_count, sizeof *names->beside, by_text);
    if (names->count > 0) qsort(names->at, names->count, sizeof *names->at, by_text);
    for (size_t i = 0; i < names->count; i++) {
        if (kept > 0 && strcmp(names->at[kept - 1], names->at[i]) == 0)
            free(names->at[i]);
        else
            names->at[kept++] = names->at[i];
    }
    names->count = kept;
    if (names->versions) qsort(names->at, kept, sizeof *names->at, host_stems_order);
}

kit_status host_names_read(DIR *dir, host_names *names, kolm_error_t *err) {
    const char *name = NULL;
    for (;;) {
        KIT_TRY(kit_directory_next(dir, "it", &name, err));
        if (name == NULL) break;
        if (names->count + names->beside_count >= 4 * HOST_ROWS_MAX) {
            names->cut = true;
            break;
        }
        KIT_TRY(add(names, name, err));
    }
    settle(names);
    return KOLM_OK;
}

bool host_names_beside(const host_names *names, const char *stem, const char *suffix) {
    char file[512];
    const char *key = file;
    if (names->cut || !kit_format(file, sizeof file, "%s%s", stem, suffix)) return true; /* it may be there */
    return names->beside_count > 0 &&
           bsearch(&key, names->beside, names->beside_count, sizeof *names->beside, by_text) != NULL;
}
