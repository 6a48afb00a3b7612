/* SPDX-License-Identifier: Apache-2.0 */
/* Loads one shared object through libltdl: all symbols bound at once, the loader's error kept. */
#include "host/child/child.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <ltdl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <link.h>
#endif
/* The loader table's types; Debian keeps them in a directory of their own. */
#include <libltdl/lt_dlloader.h>

/* libltdl's stock loader binds lazily (a missing symbol would abort a training run halfway), and libltdl loses the
 * reason why a file did not load ("file not found" for everything). So this loader replaces the stock one.
 * lt_dlopenext, search paths and .la files are not used at all: libltdl honours LTDL_LIBRARY_PATH even when set-uid. */
static char why_not[512];
static const char
    *load_from; /* the file to load: libltdl gets the plugin's path, the loader may use a held descriptor */

/* Stores the loader's error, with the name of the plugin. */
static void keep_error(const char *words, const char *path) {
    size_t length = strlen(load_from);
    bool about = words && strncmp(words, load_from, length) == 0;
    kit_format(why_not, sizeof why_not, "%s%s", about ? path : "",
               words ? words + (about ? length : 0) : "no reason was given");
}

/* Debuggers, sanitizers and dladdr() get the path from the loader; the one that was loaded no longer exists then. */
static void name_it(void *module, const char *path) {
#if defined(__GLIBC__)
    struct link_map *map = NULL;
    char *name = strdup(path);
    if (!name || dlinfo(module, RTLD_DI_LINKMAP, &map) != 0 || !map)
        free(name);
    else
        map->l_name = name;
#else
    (void)module;
    (void)path;
#endif
}

static lt_module open_now(lt_user_data data, const char *path, lt_dladvise advise) {
    (void)data;
    (void)advise;
    void *module = dlopen(load_from, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        keep_error(dlerror(), path);
    else if (strcmp(path, load_from) != 0)
        name_it(module, path);
    return module;
}

static int never_close(lt_user_data data, lt_module module) {
    (void)data;
    (void)module;
    return 0;
}

static void *find_symbol(lt_user_data data, lt_module module, const char *name) {
    (void)data;
    return dlsym(module, name);
}

static const lt_dlvtable loader = {
    .name = "kolm",
    .module_open = open_now,
    .module_close = never_close,
    .find_sym = find_symbol,
    .priority = LT_DLLOADER_PREPEND,
};

/* Checks that this is the file that kolm read. */
static kit_status check_same(const child_request *request, const host_file_identity *now, kolm_error_t *err) {
    const host_file_identity *wanted = &request->plugin.file;
    if (now->device == wanted->device && now->inode == wanted->inode && now->size == wanted->size &&
        now->modified_ns == wanted->modified_ns && now->changed_ns == wanted->changed_ns)
        return KOLM_OK;
    return kit_fail(err, KOLM_E_ABORTED, "try again", "%s was replaced while kolm examined it", request->path);
}

static kit_status check_again(const child_request *request, const char *path, kolm_error_t *err) {
    struct stat st;
    host_file_identity now;
    if (stat(path, &st) != 0) return kit_fail_errno(err, errno, "cannot access %s", request->path);
    host_identity_of(&st, &now);
    return check_same(request, &now, err);
}

kit_status child_check_file(const child_request *request, kolm_error_t *err) {
    host_file_identity now;
    if (request->plugin.held) return KOLM_OK;
    KIT_TRY(host_trust_file(request->path, NULL, NULL, &now, err));
    return check_same(request, &now, err);
}

static kit_status load(const char *path, const void **out_symbol, kolm_error_t *err) {
    static const char remedy[] = "install it again, or what it needs; ldd PATH shows the libraries that it requires";
    if (lt_dlinit() != 0) return kit_fail(err, KOLM_E_INTERNAL, "", "libltdl does not start: %s", lt_dlerror());
    if (!lt_dlloader_remove("lt_dlopen") || lt_dlloader_add(&loader) != 0)
        return kit_fail(err, KOLM_E_INTERNAL, "", "libltdl keeps its own loader: %s", lt_dlerror());
    lt_dlhandle handle = lt_dlopen(path);
    if (!handle) return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s", why_not[0] ? why_not : lt_dlerror());
    *out_symbol = lt_dlsym(handle, KOLM_BACKEND_SYMBOL);
    if (!*out_symbol) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "only kolm backends belong in this directory",
                        "%s does not export %s: not a kolm backend", path, KOLM_BACKEND_SYMBOL);
    }
    return child_check_symbol(*out_symbol, path, err);
}

/* Done before loading, which would run its constructors. */
static kit_status check_path(const char *path, const char *shown, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", shown);
    kit_status status = child_check_elf(fd, shown, err);
    close(fd);
    return status;
}

static kit_status load_checked(const child_request *request, const char *path, const void **out_symbol,
                               kolm_error_t *err) {
    load_from = path;
    KIT_TRY(check_again(request, path, err));
    KIT_TRY(check_path(path, request->path, err));
    KIT_TRY(load(request->path, out_symbol, err));
    return check_again(request, path, err);
}

#if defined(__linux__)
#define LOOK_ONLY O_PATH
#else
#define LOOK_ONLY O_RDONLY
#endif

/* Loads from inside the plugin's directory. Renaming the file would change its ctime, but replacing the whole directory
 * during loading would not. The loader derives $ORIGIN from the current directory. */
static kit_status load_inside(const child_request *request, const void **out_symbol, kolm_error_t *err) {
    const char *slash = strrchr(request->path, '/');
    char above[PATH_MAX], name[NAME_MAX + 3];
    if (!slash || !kit_format(above, sizeof above, "%.*s", (int)(slash - request->path) + 1, request->path) ||
        !kit_format(name, sizeof name, "./%s", slash + 1))
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "%s: the path is too long", request->path);
    int back = open(".", LOOK_ONLY | O_DIRECTORY | O_CLOEXEC);
    kit_status status = chdir(above) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot enter %s", above);
    if (status == KOLM_OK) status = load_checked(request, name, out_symbol, err);
    if (back >= 0 && fchdir(back) != 0 && status == KOLM_OK)
        status = kit_fail_errno(err, errno, "cannot leave %s", above);
    if (back >= 0) close(back);
    return status;
}

#if defined(__linux__)
#define HELD "/proc/self/fd/%d"
#else
#define HELD "/dev/fd/%d"
#endif

kit_status child_load(const child_request *request, const void **out_symbol, kolm_error_t *err) {
    char held[32];
    char *beside = NULL;
    if (!request->plugin.held)
        return request->plugin.named ? load_checked(request, request->path, out_symbol, err)
                                     : load_inside(request, out_symbol, err);
    int fd = child_fd_high(HOST_FD_PLUGIN);
    kit_format(held, sizeof held, HELD, fd);
    if (request->plugin.beside) KIT_TRY(child_beside(request, held, &beside, err));
    load_from = beside ? beside : held;
    kit_status status = child_check_elf(fd, request->path, err);
    if (status == KOLM_OK) status = load(request->path, out_symbol, err);
    close(fd); /* the mapping stays */
    free(beside);
    return status;
}
