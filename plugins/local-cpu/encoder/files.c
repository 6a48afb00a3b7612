/* SPDX-License-Identifier: Apache-2.0 */
/* Maps the files of an encoder by name, and refuses names and links that lead elsewhere. */
#include "files.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 64u /* a model has few modules */

typedef struct held {
    enc_file file;
    char *name;
    bool mapped;
    bool used; /* has been read: true for all files of a directory, for some of a list */
} held;

struct enc_files {
    int directory; /* -1: files of a list */
    char *shown;
    held at[FILES_MAX];
    size_t count;
    size_t used[FILES_MAX], used_count;
    cJSON *only; /* names that exist; NULL: all */
};

static kit_status files_new(const char *shown, enc_files **out, kolm_error_t *err) {
    *out = NULL;
    enc_files *files = calloc(1, sizeof *files);
    if (files == NULL) return kit_no_memory(err);
    files->directory = -1;
    kit_status status = kit_strdup(shown, &files->shown, err);
    if (status != KOLM_OK) {
        free(files);
        return status;
    }
    *out = files;
    return KOLM_OK;
}

kit_status enc_files_open(const char *path, enc_files **out, kolm_error_t *err) {
    *out = NULL;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the directory %s", path);
    kit_status status = files_new(path, out, err);
    if (status == KOLM_OK)
        (*out)->directory = fd;
    else
        close(fd);
    return status;
}

kit_status enc_files_open_at(int directory, const char *shown, enc_files **out, kolm_error_t *err) {
    *out = NULL;
    int fd = fcntl(directory, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot use the directory %s", shown);
    kit_status status = files_new(shown, out, err);
    if (status == KOLM_OK)
        (*out)->directory = fd;
    else
        close(fd);
    return status;
}

kit_status enc_files_only(enc_files *files, const cJSON *list, kolm_error_t *err) {
    const char *name;
    bool good = cJSON_IsArray(list);
    cJSON *only = cJSON_CreateObject();
    for (const cJSON *item = good ? list->child : NULL; good && item != NULL; item = item->next)
        good = kit_json_get_string(item, "name", &name) && kit_json_put_bool(only, name, true);
    if (good) {
        files->only = only;
        return KOLM_OK;
    }
    cJSON_Delete(only);
    return kit_fail(err, KOLM_E_DATA_LOSS, "report this", "the job's list of the files of %s is not usable",
                    files->shown);
}

static kit_status add(enc_files *files, const char *name, const enc_file *what, bool mapped, kolm_error_t *err) {
    if (files->count == FILES_MAX)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "use a sentence encoder of the usual layout",
                        "%s consists of more than %u files", files->shown, FILES_MAX);
    held *h = &files->at[files->count];
    KIT_TRY(kit_strdup(name, &h->name, err));
    h->file = *what;
    h->file.name = h->name;
    h->mapped = mapped;
    files->count++;
    return KOLM_OK;
}

kit_status enc_files_of(const enc_file *list, size_t count, const char *shown, enc_files **out, kolm_error_t *err) {
    KIT_TRY(files_new(shown, out, err));
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < count && status == KOLM_OK; i++)
        status = add(*out, list[i].name, &list[i], false, err);
    if (status == KOLM_OK) return KOLM_OK;
    enc_files_close(*out);
    *out = NULL;
    return status;
}

void enc_files_close(enc_files *files) {
    if (files == NULL) return;
    for (size_t i = 0; i < files->count; i++) {
        held *h = &files->at[i];
        if (h->mapped && h->file.size > 0) munmap((void *)(uintptr_t)h->file.bytes, h->file.size);
        free(h->name);
    }
    if (files->directory >= 0) close(files->directory);
    cJSON_Delete(files->only);
    free(files->shown);
    free(files);
}

/* ---- Links */

/* "../../blobs/6c1f...": where the hub's client stores the files of its snapshots. */
static bool is_blob(const char *target) {
    size_t ups = 0;
    while (strncmp(target, "../", 3) == 0) {
        target += 3;
        ups++;
    }
    if (ups < 2 || strncmp(target, "blobs/", 6) != 0) return false;
    target += 6;
    size_t digits = strspn(target, "0123456789abcdef");
    return digits >= 40 && digits <= 64 && target[digits] == '\0';
}

static kit_status refuse_link(const enc_files *files, const char *name, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "replace the link with the file itself",
                    "%s in %s is a link to a place outside of it", name, files->shown);
}

/* Opens the last component of name in dir. Only a file may be a link, and only to a safe target. */
static kit_status open_distrusted(const enc_files *files, int dir, const char *leaf, const char *name, int *out_fd,
                                  kolm_error_t *err) {
    char target[PATH_MAX];
    *out_fd = openat(dir, leaf, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (*out_fd >= 0) return KOLM_OK;
    if (errno != ELOOP && errno != EMLINK)
        return kit_fail_errno(err, errno, "cannot open %s in %s", name, files->shown);
    ssize_t length = readlinkat(dir, leaf, target, sizeof target - 1);
    if (length <= 0) return kit_fail_errno(err, errno, "cannot read the link %s in %s", name, files->shown);
    target[length] = '\0';
    if (is_blob(target))
        *out_fd = openat(dir, leaf, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    else if (kit_path_is_safe(target) && strchr(target, '/') == NULL)
        *out_fd = openat(dir, target, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    else
        return refuse_link(files, name, err);
    if (*out_fd < 0 && (errno == ELOOP || errno == EMLINK)) return refuse_link(files, name, err);
    return *out_fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s in %s", name, files->shown);
}

static kit_status open_inside(const enc_files *files, const char *name, int *out_fd, kolm_error_t *err) {
    char part[256];
    int dir = files->directory;
    kit_status status = KOLM_OK;
    for (const char *slash; status == KOLM_OK && (slash = strchr(name, '/')) != NULL; name = slash + 1) {
        kit_format(part, sizeof part, "%.*s", (int)(slash - name), name);
        int next = openat(dir, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && (errno == ELOOP || errno == ENOTDIR)) {
            struct stat info;
            bool link = fstatat(dir, part, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
            status = link ? refuse_link(files, part, err)
                          : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "download the model again",
                                     "%s in %s is not a directory", part, files->shown);
        } else if (next < 0) {
            status = kit_fail_errno(err, errno, "cannot open %s in %s", part, files->shown);
        }
        if (dir != files->directory) close(dir);
        dir = next;
    }
    if (status != KOLM_OK) return status;
    if (dir != files->directory) {
        status = open_distrusted(files, dir, name, name, out_fd, err);
        close(dir);
        return status;
    }
    *out_fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *out_fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s in %s", name, files->shown);
}

/* ---- Reading */

static kit_status map(enc_files *files, const char *name, int fd, kolm_error_t *err) {
    struct stat info;
    enc_file file = {.bytes = (const uint8_t *)""};
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s in %s", name, files->shown);
    if (!S_ISREG(info.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "download the model again", "%s in %s is not a regular file",
                        name, files->shown);
    file.size = (uint64_t)info.st_size;
    if (file.size > 0) {
        void *bytes = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (bytes == MAP_FAILED) return kit_fail_errno(err, errno, "cannot map %s in %s", name, files->shown);
        file.bytes = bytes;
    }
    kit_status status = add(files, name, &file, true, err);
    if (status != KOLM_OK && file.size > 0) munmap((void *)(uintptr_t)file.bytes, file.size);
    return status;
}

/* The position of name among the files, added if missing. */
static kit_status place_of(enc_files *files, const char *name, size_t *out, kolm_error_t *err) {
    for (*out = 0; *out < files->count; ++*out)
        if (strcmp(files->at[*out].name, name) == 0) return KOLM_OK;
    if (files->directory < 0)
        return kit_fail(err, KOLM_E_NOT_FOUND, "download the model again", "%s is not among the files of %s", name,
                        files->shown);
    if (files->only != NULL && kit_json_get(files->only, name) == NULL)
        return kit_fail(err, KOLM_E_NOT_FOUND, "download the model again",
                        "%s is not among the files of %s that the job lists", name, files->shown);
    int fd = -1;
    KIT_TRY(open_inside(files, name, &fd, err));
    kit_status status = map(files, name, fd, err);
    close(fd);
    return status;
}

kit_status enc_files_get(enc_files *files, const char *name, uint64_t max, enc_file *out, kolm_error_t *err) {
    *out = (enc_file){0};
    if (!kit_path_is_safe(name))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "download the model again from a source that you trust",
                        "%s refers to a file outside of it", files->shown);
    size_t place = 0;
    KIT_TRY(place_of(files, name, &place, err));
    held *h = &files->at[place];
    if (h->file.size > max)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "download the model again",
                        "%s in %s has %llu bytes; at most %llu are read", name, files->shown,
                        (unsigned long long)h->file.size, (unsigned long long)max);
    if (!h->used) {
        h->used = true;
        files->used[files->used_count++] = place;
    }
    *out = h->file;
    return KOLM_OK;
}

size_t enc_files_count(const enc_files *files) {
    return files->used_count;
}

const enc_file *enc_files_at(const enc_files *files, size_t index) {
    return &files->at[files->used[index]].file;
}

const char *enc_files_shown(const enc_files *files) {
    return files->shown;
}
