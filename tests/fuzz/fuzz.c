/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers shared by the fuzz targets. */
#include "fuzz.h"

#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool fuzz_plain(const char *text) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    bool plain = strcmp(kit_buf_text(&shown), text) == 0;
    kit_buf_free(&shown);
    return plain;
}

void fuzz_refused(kit_status status, const kolm_error_t *err) {
    must(status != KOLM_OK && status != KOLM_E_RESOURCE_EXHAUSTED && err->code == status && err->text[0] != '\0');
    must(fuzz_plain(err->text) && fuzz_plain(err->remedy));
}

char *fuzz_part(fuzz_parts *parts, size_t *out_length) {
    static const char mark[] = "\n%%\n";
    const size_t bytes = sizeof mark - 1;
    const char *end = parts->left >= bytes ? memmem(parts->at, parts->left, mark, bytes) : NULL;
    size_t length = end != NULL ? (size_t)(end - parts->at) : parts->left;
    char *part = malloc(length + 1);
    must(part != NULL);
    if (length > 0) memcpy(part, parts->at, length);
    part[length] = '\0';
    parts->at += length + (end != NULL ? bytes : 0);
    parts->left -= length + (end != NULL ? bytes : 0);
    *out_length = length;
    return part;
}

static char directory[64];
static pid_t maker;

static void remove_directory(void) {
    if (getpid() == maker && kit_remove_tree(directory, NULL) != KOLM_OK) _exit(1);
}

const char *fuzz_directory(void) {
    static const char *const places[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; directory[0] == '\0' && i < 2; i++) {
        kit_format(directory, sizeof directory, "%s/kolm-fuzz-XXXXXX", places[i]);
        if (mkdtemp(directory) == NULL) directory[0] = '\0';
    }
    must(directory[0] != '\0');
    if (maker == 0) {
        maker = getpid();
        must(atexit(remove_directory) == 0);
    }
    return directory;
}

const char *fuzz_path(const char *name) {
    static char paths[8][256];
    static size_t next;
    char *path = paths[next++ % 8];
    must(kit_format(path, sizeof paths[0], "%s/%s", fuzz_directory(), name));
    return path;
}

void fuzz_put(const char *name, const void *bytes, size_t length) {
    int fd = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && (length == 0 || kit_write_all(fd, bytes, length, NULL) == KOLM_OK) && close(fd) == 0);
}

void fuzz_put_any(const char *name, const void *bytes, size_t length) {
    if (length > 0)
        fuzz_put(name, bytes, length);
    else
        must(unlink(fuzz_path(name)) == 0 || errno == ENOENT);
}
