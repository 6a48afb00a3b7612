/* SPDX-License-Identifier: Apache-2.0 */
/* Checks the files of one backend: present, trusted, and with a valid manifest. */
#include "host/row.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *host_rule_text(host_rule rule) {
    static const char *const texts[HOST_RULES] = {
        [HOST_RULE_NAME] = "the name is one that a backend may have",
        [HOST_RULE_DIRECTORY] = "no other user can change the directory",
        [HOST_RULE_FILES] = "plugin and manifest exist, and no other user can change them",
        [HOST_RULE_MANIFEST] = "the manifest is valid",
        [HOST_RULE_SIGNATURE] = "signed, if the policy requires it",
        [HOST_RULE_ORDER] = "the first of its name",
        [HOST_RULE_SETTINGS] = "its section of config.json has only what the manifest declares",
        [HOST_RULE_LOADS] = "it loads (checked only if another version is next to it)",
    };
    return rule < HOST_RULES ? texts[rule] : NULL;
}

/* Avoids printf, which is slow: called twice for each backend. */
static bool file_of(char out[NAME_MAX + 1], const char *stem, const char *suffix) {
    size_t n = strlen(stem), m = strlen(suffix);
    if (n + m > NAME_MAX) return false;
    memcpy(out, stem, n);
    memcpy(out + n, suffix, m + 1);
    return true;
}

/* Finds NAME+suffix in a trusted directory. NOT_FOUND if there is none, PERMISSION_DENIED if it is not trusted. */
static kit_status find_file(const host_directory *dir, const char *stem, const char *suffix, char **out_path,
                            host_file_identity *out_identity, kolm_error_t *err) {
    char file[NAME_MAX + 1];
    char *path = NULL;
    struct stat st;
    if (!file_of(file, stem, suffix)) return kit_fail(err, KOLM_E_NOT_FOUND, "", "the name is too long");
    if (fstatat(dir->fd, file, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return kit_fail_errno(err, errno, "cannot access %s", file);
    KIT_TRY(kit_path_join(dir->path, file, &path, err));
    kit_status status = KOLM_OK;
    if (S_ISLNK(st.st_mode)) {
        status = host_trust_file(path, out_path, NULL, out_identity, err);
        /* A dangling link is an error, not a missing file. */
        if (status == KOLM_E_NOT_FOUND) status = err->code = KOLM_E_FAILED_PRECONDITION;
        free(path);
        return status;
    }
    if (!S_ISREG(st.st_mode))
        status =
            kit_fail(err, KOLM_E_PERMISSION_DENIED, "replace it by the file itself", "%s is not a regular file", path);
    if (status == KOLM_OK) status = host_trust_stat(&st, path, false, err);
    if (status == KOLM_OK) {
        host_identity_of(&st, out_identity);
        *out_path = path;
    } else {
        free(path);
    }
    return status;
}

/* The usual case, not a link: one descriptor is opened, checked and read. */
static kit_status open_manifest(const host_directory *dir, const char *stem, host_backend *row, int *out_fd,
                                kolm_error_t *err) {
    char file[NAME_MAX + 1];
    struct stat st;
    if (!file_of(file, stem, ".json")) return kit_fail(err, KOLM_E_NOT_FOUND, "", "the name is too long");
    int fd = openat(dir->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno == ENOENT) return kit_fail(err, KOLM_E_NOT_FOUND, "", "cannot access %s", file);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) { /* checked more closely there */
        if (fd >= 0) close(fd);
        return find_file(dir, stem, ".json", &row->manifest_path, &row->manifest_file, err);
    }
    kit_status status = kit_path_join(dir->path, file, &row->manifest_path, err);
    if (status == KOLM_OK) status = host_trust_stat(&st, row->manifest_path, false, err);
    if (status != KOLM_OK) {
        close(fd);
        free(row->manifest_path);
        row->manifest_path = NULL;
        return status;
    }
    host_identity_of(&st, &row->manifest_file);
    *out_fd = fd;
    return KOLM_OK;
}

/* Reads a file that is known to have `size` bytes. */
static kit_status read_open(int fd, const char *path, uint64_t size, kit_buf *out, kolm_error_t *err) {
    char piece[8192];
    for (;;) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kit_fail_errno(err, errno, "cannot read %s", path);
        kit_buf_add(out, piece, (size_t)n);
        if (out->length > HOST_MANIFEST_MAX_BYTES)
            return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "%s is larger than %u bytes", path, HOST_MANIFEST_MAX_BYTES);
        if (n == 0 || ((size_t)n < sizeof piece && out->length == size)) return kit_buf_ok(out, err);
    }
}

static bool asks_for_something(const host_manifest *m) {
    return m->auth_count + m->secret_count + m->require_count + m->files.read_count + m->files.write_count > 0;
}

static kit_status read_manifest(const char *name, int fd, host_backend *row, kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = fd >= 0 ? read_open(fd, row->manifest_path, row->manifest_file.size, &text, err)
                                : kit_read_file(row->manifest_path, HOST_MANIFEST_MAX_BYTES, &text, err);
    if (fd >= 0) close(fd);
    if (status == KOLM_OK) {
        status = host_manifest_parse(name, kit_buf_text(&text), text.length, &row->manifest, err);
        if (status == KOLM_E_INVALID_ARGUMENT) (void)kit_fail_context(err, "%s", row->manifest_path);
    }
    /* Needed for a signature, and for a grant to unsigned files; what is installed with kolm needs no grant. */
    bool installed = row->origin == HOST_ORIGIN_INSTALLED || row->origin == HOST_ORIGIN_BUILD;
    if (status == KOLM_OK && (!row->no_signature || (!installed && asks_for_something(row->manifest))))
        status = kit_sha256_bytes(text.data, text.length, row->manifest_sha256, err);
    kit_buf_free(&text);
    return status;
}

static bool is_in(const char *place, const char *path) {
    size_t length = strlen(place);
    return strncmp(path, place, length) == 0 && path[length] == '/' && strchr(path + length + 1, '/') == NULL;
}

kit_status host_row_fill(const host_directory *dir, const char *stem, host_backend *row) {
    kolm_error_t *why = &row->why;
    row->rule = HOST_RULE_NAME;
    if (!host_name_ok(row->name)) {
        return kit_fail(why, KOLM_E_INVALID_ARGUMENT,
                        "rename it: lower-case letters, digits and -, at most 32, a letter first",
                        "%s/%s%s: a backend cannot have this name", dir->path, row->stem, HOST_SUFFIX);
    }
    row->rule = HOST_RULE_DIRECTORY;
    if (dir->distrust) {
        *why = *dir->distrust;
        return why->code;
    }
    row->rule = HOST_RULE_FILES;
    kit_status plugin = find_file(dir, stem, HOST_SUFFIX, &row->plugin_path, &row->plugin, why);
    if (plugin != KOLM_OK && plugin != KOLM_E_NOT_FOUND) return plugin;
    int fd = -1;
    kit_status manifest = open_manifest(dir, stem, row, &fd, why);
    if (manifest == KOLM_E_NOT_FOUND) {
        return kit_fail(why, KOLM_E_NOT_FOUND, "install the manifest that belongs to the backend",
                        "%s/%s.json, its manifest, is missing", dir->path, stem);
    }
    if (manifest != KOLM_OK) return manifest;
    /* Names that are not in the listing need no lookup; a link leads to another directory, which may have them. */
    bool here = plugin == KOLM_OK && is_in(dir->path, row->plugin_path);
    row->no_signature = here && !host_names_beside(dir->names, stem, HOST_SUFFIX ".sig");
    row->rule = HOST_RULE_MANIFEST;
    KIT_TRY(read_manifest(row->name, fd, row, why));
    row->rule = HOST_RULE_FILES;
    if (plugin == KOLM_E_NOT_FOUND) {
        return kit_fail(why, KOLM_E_NOT_FOUND, "install the package that holds it, or remove the manifest",
                        "%s/%s%s, the plugin itself, is missing", dir->path, stem, HOST_SUFFIX);
    }
    if (!here || host_names_beside(dir->names, stem, ".libs"))
        KIT_TRY(host_libs_read(row->plugin_path, stem, &row->libs, why));
    row->rule = HOST_RULE_SIGNATURE;
    return KOLM_OK;
}
