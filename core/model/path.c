/* SPDX-License-Identifier: Apache-2.0 */
/* Recognises models, rows, receipts and directories by name and first bytes. */
#include "model/path.h"

#include "receipt/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool ends_with(const char *text, size_t length, const char *end) {
    size_t more = strlen(end);
    return length > more && memcmp(text + length - more, end, more) == 0;
}

bool model_is_there(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The first bytes of a regular file; 0 if it is not one, or cannot be read. */
static size_t first_bytes(const char *path, char *out, size_t capacity) {
    struct stat info;
    /* Open only regular files: the writer of a FIFO would take us for its reader, and lose data. */
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t got = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? read(fd, out, capacity) : 0;
    if (fd >= 0) close(fd);
    return got > 0 ? (size_t)got : 0;
}

bool model_looks_like_model(const char *path) {
    char bytes[4];
    return first_bytes(path, bytes, sizeof bytes) == 4 && memcmp(bytes, "PK\3\4", 4) == 0;
}

bool model_named_like_rows(const char *word) {
    static const char *const packed[] = {".gz", ".zst", ".bz2", ".xz"};
    static const char *const rows[] = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"};
    size_t length = strlen(word);
    if (strpbrk(word, " \t\n") != NULL) return false;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (ends_with(word, length, packed[i])) length -= strlen(packed[i]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ends_with(word, length, rows[i])) return true;
    return false;
}

bool model_looks_like_rows(const char *path) {
    char bytes[64];
    size_t length = first_bytes(path, bytes, sizeof bytes), at = 0;
    if (length == 0 || model_looks_like_model(path) || ends_with(path, strlen(path), ".kolm")) return false;
    while (at < length && strchr(" \t\r\n", bytes[at]) != NULL)
        at++;
    return model_named_like_rows(path) || (at < length && (bytes[at] == '{' || bytes[at] == '['));
}

/* Recognises a directory by its contents, as far as possible. */
static kit_status name_directory(const char *path, kolm_error_t *err) {
    static const char *const marks[] = {"config.json", "adapter_config.json"};
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (ends_with(path, length, ".failed"))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "read report.txt in it, which says what to try",
                        "%s is the report of a model that did not ship, not a compiled model", path);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        char *inside = NULL;
        KIT_TRY(kit_path_join(path, marks[i], &inside, err));
        bool found = model_is_there(inside);
        free(inside);
        if (found)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                            "use a file that ends in .kolm; `kolm compile --base DIR` makes one from such a directory",
                            "%s is a directory with a model for transformers, not a compiled model", path);
    }
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a file that ends in .kolm",
                    "%s is a directory, not a compiled model", path);
}

kit_status model_check_model_path(const char *path, kolm_error_t *err) {
    size_t length = strlen(path);
    if (is_directory(path)) return name_directory(path, err);
    if (!model_is_there(path)) {
        kit_buf whole = {0};
        kit_buf_fmt(&whole, "%s.kolm", path);
        bool meant = !whole.failed && model_looks_like_model(whole.data);
        kit_buf_free(&whole);
        if (meant)
            return kit_fail(err, KOLM_E_NOT_FOUND, "use the full name, with .kolm at the end",
                            "there is no %s, but there is %s.kolm", path, path);
        return KOLM_OK; /* opening it reports the error */
    }
    if (ends_with(path, length, RECEIPT_SIDECAR_SUFFIX) && !model_looks_like_model(path))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "use the .kolm file next to it; its receipts are found by its name",
                        "%s contains the receipts of a model, not the model", path);
    if (model_looks_like_rows(path))
        return kit_fail(
            err, KOLM_E_INVALID_ARGUMENT,
            "put the .kolm file first; rows go to `kolm run M.kolm --input FILE` or `kolm score M.kolm --eval FILE`",
            "%s looks like rows of data, not like a compiled model", path);
    return KOLM_OK;
}

kit_status model_check_rows_path(const char *path, const char *option, kolm_error_t *err) {
    if (strcmp(path, "-") == 0 || !model_looks_like_model(path)) return KOLM_OK;
    if (!ends_with(path, strlen(path), ".kolm")) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a file of rows: JSON lines, CSV or TSV",
                    "%s %s is a compiled model, not rows", option, path);
}
