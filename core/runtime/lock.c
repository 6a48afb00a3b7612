/* SPDX-License-Identifier: Apache-2.0 */
/* Finds and reads the lock file of a backend's Python runtime. */
#include "runtime/lock.h"

#include "host/host.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK_MAX (4u << 20) /* bytes; a larger file is a mistake */
#define MARK "# kolm: "

static kit_status find(const char *trainer, const host_backend *row, char **out_path, kolm_error_t *err) {
    kit_buf path = {0};
    const char *slash = row->manifest_path ? strrchr(row->manifest_path, '/') : NULL;
    bool there = false;
    if (slash) kit_buf_fmt(&path, "%.*s/%s.lock.txt", (int)(slash - row->manifest_path), row->manifest_path, row->name);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK && slash) status = kit_path_exists(path.data, &there, err);
    if (status == KOLM_OK && !there && trainer) {
        kit_buf_clear(&path);
        kit_buf_fmt(&path, "%s/locks/%s.txt", trainer, row->name);
        status = kit_buf_ok(&path, err);
        if (status == KOLM_OK) status = kit_path_exists(path.data, &there, err);
    }
    if (status == KOLM_OK && !there)
        status = kit_fail(err, KOLM_E_NOT_FOUND, "", "%s has no lock file of a Python runtime", row->name);
    if (status == KOLM_OK) status = host_trust_file(path.data, out_path, NULL, NULL, err);
    kit_buf_free(&path);
    return status;
}

/* ---- Its keywords */

static void add_url(runtime_lock *lock, const char *value) {
    if (lock->url_count < RUNTIME_LOCK_URLS) kit_copy(lock->url[lock->url_count++], sizeof lock->url[0], value);
}

/* False for an invalid number, or a URL that is not https. */
static bool take(runtime_lock *lock, const char *key, const char *value) {
    const struct {
        const char *key;
        char *out;
        size_t capacity;
    } texts[] = {{"summary", lock->summary, sizeof lock->summary},
                 {"python", lock->python, sizeof lock->python},
                 {"system", lock->system, sizeof lock->system},
                 {"machine", lock->machine, sizeof lock->machine},
                 {"unavailable", lock->unavailable, sizeof lock->unavailable}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(key, texts[i].key) == 0) return kit_copy(texts[i].out, texts[i].capacity, value);
    if (strcmp(key, "download-bytes") == 0) return kit_parse_u64(value, &lock->download_bytes);
    if (strcmp(key, "disk-bytes") == 0) return kit_parse_u64(value, &lock->disk_bytes);
    if (strcmp(key, "note") == 0) kit_buf_fmt(&lock->notes, "%s\n", value);
    if (strcmp(key, "index-url") == 0) {
        if (strncmp(value, "https://", 8) != 0) return false;
        add_url(lock, value);
    }
    return true; /* a keyword of a later kolm */
}

static kit_status read_line(runtime_lock *lock, char *line, kolm_error_t *err) {
    if (isalnum((unsigned char)*line)) lock->pins++;
    if (strncmp(line, MARK, strlen(MARK)) != 0) return KOLM_OK;
    char *key = line + strlen(MARK);
    char *value = key + strcspn(key, " ");
    if (*value) *value++ = '\0';
    if (take(lock, key, value)) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "install the backend again", "%s: the line `" MARK "%s %s` is not valid",
                    lock->path, key, value);
}

static kit_status read_lines(runtime_lock *lock, kolm_error_t *err) {
    char *copy = NULL;
    KIT_TRY(kit_strdup(kit_buf_text(&lock->text), &copy, err));
    kit_status status = KOLM_OK;
    for (char *line = copy, *next = NULL; line && status == KOLM_OK; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        status = read_line(lock, line, err);
    }
    free(copy);
    if (status == KOLM_OK) status = kit_buf_ok(&lock->notes, err);
    return status;
}

kit_status runtime_lock_read(const char *trainer, const host_backend *row, runtime_lock *out_lock, kolm_error_t *err) {
    memset(out_lock, 0, sizeof *out_lock);
    KIT_TRY(find(trainer, row, &out_lock->path, err));
    KIT_TRY(kit_read_file(out_lock->path, LOCK_MAX, &out_lock->text, err));
    const char *text = kit_buf_text(&out_lock->text);
    if (strlen(text) != out_lock->text.length || kit_utf8_valid(text, out_lock->text.length) != out_lock->text.length)
        return kit_fail(err, KOLM_E_DATA_LOSS, "install the backend again", "%s is not UTF-8 text", out_lock->path);
    KIT_TRY(kit_sha256_bytes(text, out_lock->text.length, out_lock->sha256, err));
    KIT_TRY(read_lines(out_lock, err));
    if (out_lock->pins == 0 && !out_lock->unavailable[0])
        return kit_fail(err, KOLM_E_DATA_LOSS, "install the backend again", "%s lists no package", out_lock->path);
    return KOLM_OK;
}

void runtime_lock_free(runtime_lock *lock) {
    if (!lock) return;
    free(lock->path);
    kit_buf_free(&lock->text);
    kit_buf_free(&lock->notes);
    memset(lock, 0, sizeof *lock);
}

/* ---- What it is for */

bool runtime_lock_allows(const char *list, const char *word) {
    size_t length = strlen(word);
    const char *at = list;
    at += strspn(at, " ,");
    if (!*at) return true;
    while (*at) {
        size_t n = strcspn(at, " ,");
        if (n == length && memcmp(at, word, n) == 0) return true;
        at += n;
        at += strspn(at, " ,");
    }
    return false;
}

/* "3.11" at text, as 3011; 0 if invalid. */
static uint64_t version_at(const char *text, size_t length) {
    char major[8], minor[8];
    size_t dot = strcspn(text, ".");
    uint64_t high = 0, low = 0;
    if (dot >= length) return 0;
    bool good = kit_format(major, sizeof major, "%.*s", (int)dot, text) &&
                kit_format(minor, sizeof minor, "%.*s", (int)(length - dot - 1), text + dot + 1) &&
                kit_parse_u64(major, &high) && kit_parse_u64(minor, &low) && high < 1000 && low < 1000;
    return good ? high * 1000 + low : 0;
}

bool runtime_lock_python_ok(const char *range, uint64_t major, uint64_t minor) {
    uint64_t have = major * 1000 + minor;
    const char *at = range;
    for (at += strspn(at, " ,"); *at; at += strspn(at, " ,")) {
        size_t n = strcspn(at, " ,"), sign = strspn(at, "<>=");
        uint64_t wanted = n > sign ? version_at(at + sign, n - sign) : 0;
        bool good = sign == 2 && memcmp(at, ">=", 2) == 0   ? have >= wanted
                    : sign == 2 && memcmp(at, "==", 2) == 0 ? have == wanted
                    : sign == 1 && *at == '<'               ? have < wanted
                                                            : false;
        if (wanted == 0 || !good) return false;
        at += n;
    }
    return true;
}
