/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_get of kolm: loads kolm-lazy.so. */
#include "host/scan.h"
#include "lazy/table.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static kit_status load(const char *path, const lazy_table **out, kolm_error_t *err) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* until the process ends */
    if (library == NULL)
        return kit_fail(
            err, KOLM_E_FAILED_PRECONDITION,
            "install kolm again, with the libraries that it needs; if memory is short, close other programs",
            "cannot load a part of kolm: %s", dlerror());
    const lazy_table *table = dlsym(library, LAZY_SYMBOL);
    if (table == NULL || strcmp(table->version, KOLM_VERSION) != 0 || table->size != sizeof *table)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "start kolm again; if that does not help, install it again",
                        "%s is not of the kolm " KOLM_VERSION " that is running", path);
    *out = table;
    return KOLM_OK;
}

kit_status lazy_get(const lazy_table **out, kolm_error_t *err) {
    static _Atomic(const lazy_table *) loaded;
    *out = atomic_load(&loaded);
    if (*out != NULL) return KOLM_OK;
    char *path = NULL;
    kit_status status = host_own_file("lazy", "kolm-lazy" HOST_SUFFIX, &path, err);
    if (status == KOLM_E_NOT_FOUND && err != NULL) {
        err->code = KOLM_E_FAILED_PRECONDITION;
        kit_copy(err->remedy, sizeof err->remedy, "install kolm again: this file is part of it");
    }
    if (status == KOLM_E_NOT_FOUND) status = KOLM_E_FAILED_PRECONDITION;
    if (status == KOLM_OK) status = load(path, out, err);
    if (status == KOLM_OK) atomic_store(&loaded, *out);
    free(path);
    return status;
}
