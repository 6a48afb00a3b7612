/* SPDX-License-Identifier: Apache-2.0 */
/* Locates the helper program and the backends, relative to the executable. */
#include "host/internal.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__APPLE__)
#define SELF "" /* the configured places are used */
#else
#define SELF "/proc/self/exe"
#endif

bool host_elevated(void) {
#if defined(__linux__)
    return getauxval(AT_SECURE) != 0;
#else
    return issetugid() != 0;
#endif
}

bool host_own_program(char *out) {
    ssize_t n = *SELF && !host_elevated() ? readlink(SELF, out, PATH_MAX - 1) : -1;
    if (n <= 0 || n >= PATH_MAX - 1) n = 0;
    out[n] = '\0';
    return out[0] == '/';
}

/* The directory of this executable, "" if unknown. */
static void own_directory(char out[PATH_MAX]) {
    char *slash = host_own_program(out) ? strrchr(out, '/') : NULL;
    if (slash)
        *slash = '\0';
    else
        out[0] = '\0';
}

/* Cuts "/suffix" off; false if path does not end with it. */
static bool cut_suffix(char *path, const char *suffix) {
    size_t n = strlen(path), m = strlen(suffix);
    if (n <= m || path[n - m - 1] != '/' || strcmp(path + n - m, suffix) != 0) return false;
    path[n - m - 1] = '\0';
    return true;
}

/* Goes two directories up; true if that is the root of a build tree. */
static bool cut_build(char *path) {
    char program[PATH_MAX];
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path) return false;
        *slash = '\0';
    }
    return kit_format(program, sizeof program, "%s/core/host/kolm-host", path) && access(program, F_OK) == 0;
}

bool host_own_tree(char *out) {
    own_directory(out);
    return out[0] != '\0' && (cut_suffix(out, HOST_BINDIR) || cut_suffix(out, HOST_LIBEXECDIR) || cut_build(out));
}

static kit_status under(const char *prefix, const char *relative, char **out, kolm_error_t *err) {
    return relative[0] == '/' ? kit_strdup(relative, out, err) : kit_path_join(prefix, relative, out, err);
}

static bool is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Adds every directory up to two levels below `path` that contains a manifest. */
static kit_status add_build_dirs(host_places *places, const char *path, int depth, kolm_error_t *err) {
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);
    kit_status status = KOLM_OK;
    bool manifest = false;
    for (int i = 0; i < count; i++) {
        const char *dot = strrchr(names[i]->d_name, '.');
        manifest = manifest || (dot && strcmp(dot, ".json") == 0);
    }
    if (manifest) status = host_places_add(places, path, HOST_ORIGIN_BUILD, err);
    for (int i = 0; i < count; i++) {
        char *inner = NULL;
        if (status == KOLM_OK && depth > 0 && !strchr(names[i]->d_name, '.')) {
            status = kit_path_join(path, names[i]->d_name, &inner, err);
            if (status == KOLM_OK && is_directory(inner)) status = add_build_dirs(places, inner, depth - 1, err);
            free(inner);
        }
        free(names[i]);
    }
    free(names);
    return status;
}

/* BUILD/x/y/program with BUILD/core/host/kolm-host: places->program stays NULL if this is not a build tree. */
static kit_status find_build(host_places *places, const char *self, kolm_error_t *err) {
    char root[PATH_MAX];
    char *program = NULL, *plugins = NULL;
    kit_copy(root, sizeof root, self);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(root, '/');
        if (!slash || slash == root) return KOLM_OK;
        *slash = '\0';
    }
    kit_status status = kit_path_join(root, "core/host/kolm-host", &program, err);
    if (status == KOLM_OK) status = kit_path_join(root, "plugins", &plugins, err);
    if (status == KOLM_OK && access(program, F_OK) == 0 && is_directory(plugins)) {
        status = add_build_dirs(places, plugins, 2, err);
        if (status == KOLM_OK) status = kit_path_join(root, "sdk/trainer", &places->trainer, err);
        places->program = program;
        program = NULL;
    }
    free(program);
    free(plugins);
    return status;
}

/* self: the directory of this executable, "" if unknown. */
static void prefix_of(const char *self, char prefix[PATH_MAX]) {
    kit_copy(prefix, PATH_MAX, self);
    if (!cut_suffix(prefix, HOST_BINDIR)) kit_copy(prefix, PATH_MAX, HOST_PREFIX);
}

static kit_status find_installed(host_places *places, const char *self, kolm_error_t *err) {
    char prefix[PATH_MAX];
    char *backends = NULL;
    prefix_of(self, prefix);
    KIT_TRY(under(prefix, HOST_LIBEXECDIR "/kolm-host", &places->program, err));
    KIT_TRY(under(prefix, HOST_TRAINERDIR, &places->trainer, err));
    KIT_TRY(under(prefix, HOST_BACKENDDIR, &backends, err));
    kit_status status = host_places_add(places, backends, HOST_ORIGIN_INSTALLED, err);
    free(backends);
    return status;
}

kit_status host_places_add(host_places *places, const char *path, host_origin origin, kolm_error_t *err) {
    host_place *grown = realloc(places->at, (places->count + 1) * sizeof *grown);
    if (!grown) return kit_no_memory(err);
    places->at = grown;
    KIT_TRY(kit_strdup(path, &grown[places->count].path, err));
    grown[places->count++].origin = origin;
    return KOLM_OK;
}

kit_status host_places_own(host_places *places, kolm_error_t *err) {
    char self[PATH_MAX] = "";
    own_directory(self);
    if (self[0]) KIT_TRY(find_build(places, self, err));
    return places->program ? KOLM_OK : find_installed(places, self, err);
}

kit_status host_own_file(const char *room, const char *name, char **out_path, kolm_error_t *err) {
    char self[PATH_MAX], root[PATH_MAX], build[80];
    char *directory = NULL, *path = NULL;
    kit_status status;
    own_directory(self);
    kit_copy(root, sizeof root, self);
    if (cut_build(root)) {
        kit_format(build, sizeof build, "core/%s", room);
        status = kit_path_join(root, build, &directory, err);
    } else {
        prefix_of(self, root);
        status = under(root, HOST_LIBEXECDIR, &directory, err);
    }
    if (status == KOLM_OK) status = kit_path_join(directory, name, &path, err);
    if (status == KOLM_OK) status = host_trust_own(path, out_path, err);
    free(directory);
    free(path);
    return status;
}

void host_places_free(host_places *places) {
    for (size_t i = 0; i < places->count; i++)
        free(places->at[i].path);
    free(places->at);
    free(places->program);
    free(places->trainer);
    *places = (host_places){0};
}
