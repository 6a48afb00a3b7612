/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: if a file is accepted as an artifact, writing its entries again produces the same bytes. */
#include "artifact/artifact.h"

#include "artifact/zip.h"
#include "kolm/kit/digest.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

/* Every byte that is not data, when generated again, equals that of the file. */
static void same_bytes(const artifact_zip *zip, const uint8_t *data, size_t size) {
    kit_buf again = {0};
    for (size_t i = 0; i < zip->count; i++) {
        const artifact_zip_entry *entry = &zip->entries[i];
        must(entry->header == again.length);
        artifact_zip_local(entry, &again);
        must(entry->data == again.length && entry->size <= size - again.length);
        kit_buf_add(&again, data + entry->data, (size_t)entry->size);
    }
    must(zip->central == again.length);
    artifact_zip_tail(zip, &again);
    must(!again.failed && again.length == size && memcmp(again.data, data, size) == 0);
    kit_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    artifact_zip zip = {0};
    artifact *a = NULL;
    char sha256[KIT_SHA256_HEX];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    must(fd >= 0 && kit_write_all(fd, data, size, &err) == KOLM_OK);
    kit_status status = artifact_zip_read(fd, size, &zip, &err);
    if (status == KOLM_OK)
        same_bytes(&zip, data, size);
    else
        must(status == KOLM_E_DATA_LOSS && err.text[0] != '\0' && err.remedy[0] != '\0');
    artifact_zip_free(&zip);
    status = artifact_open_fd(fd, "fuzz", &a, &err);
    must(status == KOLM_OK ? a != NULL : a == NULL && err.text[0] != '\0' && err.remedy[0] != '\0');
    if (a != NULL && artifact_hash(a, ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err) != KOLM_OK)
        must(err.code == ARTIFACT_E_CHANGED);
    artifact_close(a);
    close(fd);
    return 0;
}
