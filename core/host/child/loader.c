/* SPDX-License-Identifier: Apache-2.0 */
/* Loads one shared object through libltdl: by absolute path, all symbols bound at once, the loader's own words kept. */
#include "host/child/child.h"

#include <dlfcn.h>
#include <ltdl.h>
/* The loader table's types; Debian keeps them in a directory of their own. */
#include <libltdl/lt_dlloader.h>

/* libltdl's stock loader binds lazily (a missing symbol would end a training run in the middle) and libltdl forgets why
 * a file did not load ("file not found" for everything). So the stock loader is taken out, and this one does the work.
 * lt_dlopenext, search paths and .la files are not used at all: libltdl honours LTDL_LIBRARY_PATH even when set-uid. */
static char why_not[512];

static lt_module open_now(lt_user_data data, const char *path, lt_dladvise advise) {
    (void)data;
    (void)advise;
    void *module = path && path[0] == '/' ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!module) {
        const char *words = dlerror();
        kit_copy(why_not, sizeof why_not, words ? words : "the path is not absolute");
    }
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

kit_status child_load(const char *path, const void **out_symbol, kolm_error_t *err) {
    static const char remedy[] = "install it again, or what it needs; ldd PATH shows the libraries that it wants";
    if (lt_dlinit() != 0) return kit_fail(err, KOLM_E_INTERNAL, "", "libltdl does not start: %s", lt_dlerror());
    if (!lt_dlloader_remove("lt_dlopen") || lt_dlloader_add(&loader) != 0)
        return kit_fail(err, KOLM_E_INTERNAL, "", "libltdl keeps its own loader: %s", lt_dlerror());
    lt_dlhandle handle = lt_dlopen(path);
    if (!handle) return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s", why_not[0] ? why_not : lt_dlerror());
    *out_symbol = lt_dlsym(handle, KOLM_BACKEND_SYMBOL);
    if (!*out_symbol) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "only kolm backends belong into this directory",
                        "%s does not export %s: it is no kolm backend", path, KOLM_BACKEND_SYMBOL);
    }
    return KOLM_OK;
}
