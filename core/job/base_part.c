/* SPDX-License-Identifier: Apache-2.0 */
/* The digest lines of a base: subsets, differences between two lists, and where a base was seen. */
#include "job/base.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAMED_MAX 3 /* files listed in a difference */

typedef struct line {
    const char *at, *name; /* HEX, two spaces, SIZE, two spaces, NAME */
    size_t length, name_length;
} line;

/* False at the end, and for an invalid line. */
static bool take_line(const char **at, line *out) {
    const char *end = strchr(*at, '\n'), *size = strstr(*at, "  ");
    const char *name = size != NULL ? strstr(size + 2, "  ") : NULL;
    if (end == NULL || name == NULL || name + 2 >= end) return false;
    *out = (line){*at, name + 2, (size_t)(end - *at), (size_t)(end - name - 2)};
    *at = end + 1;
    return true;
}

static bool find_line(const char *lines, const char *name, size_t length, line *out) {
    while (take_line(&lines, out))
        if (out->name_length == length && memcmp(out->name, name, length) == 0) return true;
    return false;
}

static bool same_line(const line *a, const line *b) {
    return a->length == b->length && memcmp(a->at, b->at, a->length) == 0;
}

bool job_base_has(const char *lines, const char *name) {
    line ignored;
    return find_line(lines, name, strlen(name), &ignored);
}

bool job_base_holds(const char *lines, const char *wanted) {
    line w, own;
    while (take_line(&wanted, &w))
        if (!find_line(lines, w.name, w.name_length, &own) || !same_line(&w, &own)) return false;
    return *wanted == '\0';
}

/* ---- What differs */

static void add_difference(kit_buf *text, size_t *count, const line *l, const char *what) {
    if ((*count)++ < NAMED_MAX)
        kit_buf_fmt(text, "%s%.*s %s", *count > 1 ? ", " : "", (int)l->name_length, l->name, what);
}

void job_base_difference(const char *wanted, const char *now, bool whole, char *out, size_t capacity) {
    kit_buf text = {0};
    size_t count = 0;
    line l, other;
    for (const char *at = wanted; take_line(&at, &l);)
        if (!find_line(now, l.name, l.name_length, &other))
            add_difference(&text, &count, &l, "is missing");
        else if (!same_line(&l, &other))
            add_difference(&text, &count, &l, "is not the same");
    for (const char *at = now; whole && take_line(&at, &l);)
        if (!find_line(wanted, l.name, l.name_length, &other)) add_difference(&text, &count, &l, "was added");
    if (count > NAMED_MAX) kit_buf_fmt(&text, " and %zu more", count - NAMED_MAX);
    kit_format(out, capacity, "%s", kit_buf_text(&text));
    kit_buf_free(&text);
}

/* ---- Some of the files */

static kit_status bad_list(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "", "the list of the base's files is not usable");
}

kit_status job_base_lines(const job_base *base, const cJSON *names, kit_buf *out, kolm_error_t *err) {
    line l;
    if (!cJSON_IsArray(names) || names->child == NULL) return bad_list(err);
    for (const cJSON *item = names->child; item != NULL; item = item->next)
        if (!cJSON_IsString(item) || !job_base_has(base->lines, item->valuestring)) return bad_list(err);
    /* In the order of the base's lines, each once. */
    for (const char *at = base->lines; take_line(&at, &l);)
        for (const cJSON *item = names->child; item != NULL; item = item->next) {
            if (strlen(item->valuestring) != l.name_length || memcmp(item->valuestring, l.name, l.name_length) != 0)
                continue;
            kit_buf_add(out, l.at, l.length + 1);
            break;
        }
    return kit_buf_ok(out, err);
}

kit_status job_base_lines_of(const cJSON *files, kit_buf *out, kolm_error_t *err) {
    if (!cJSON_IsArray(files) || files->child == NULL) return bad_list(err);
    for (const cJSON *item = files->child; item != NULL; item = item->next) {
        const char *name, *sha256;
        uint64_t size;
        if (!kit_json_get_string(item, "name", &name) || !kit_json_get_string(item, "sha256", &sha256) ||
            !kit_json_get_u64(item, "bytes", &size) || !kit_path_is_safe(name) || strpbrk(name, "\n") != NULL ||
            strlen(sha256) != KIT_SHA256_HEX - 1)
            return bad_list(err);
        kit_buf_fmt(out, "%s  %" PRIu64 "  %s\n", sha256, size, name);
    }
    return kit_buf_ok(out, err);
}

static bool put_file(cJSON *list, const line *l) {
    cJSON *item = cJSON_CreateObject();
    kit_buf name = {0}, hex = {0};
    kit_buf_add(&name, l->name, l->name_length);
    kit_buf_add(&hex, l->at, KIT_SHA256_HEX - 1);
    bool good = !name.failed && !hex.failed && kit_json_put_string(item, "name", kit_buf_text(&name)) &&
                kit_json_put_u64(item, "bytes", strtoull(l->at + KIT_SHA256_HEX - 1, NULL, 10)) &&
                kit_json_put_string(item, "sha256", kit_buf_text(&hex)) && cJSON_AddItemToArray(list, item) != 0;
    if (!good) cJSON_Delete(item);
    kit_buf_free(&name);
    kit_buf_free(&hex);
    return good;
}

cJSON *job_base_files(const job_base *base) {
    cJSON *list = cJSON_CreateArray();
    line l;
    bool good = list != NULL;
    for (const char *at = base->lines; good && take_line(&at, &l);)
        good = put_file(list, &l);
    if (good) return list;
    cJSON_Delete(list);
    return NULL;
}

/* Keeps the marks of the remaining files: they are in the order of the lines, after that of the directory. */
static kit_status narrow_marks(job_base *base, const char *lines, kolm_error_t *err) {
    kit_buf kept = {0};
    const char *mark = base->marks, *at = base->lines;
    line l;
    for (bool keep = true; mark[0] != '\0';) {
        size_t length = strcspn(mark, "\n");
        length += mark[length] == '\n';
        if (keep) kit_buf_add(&kept, mark, length);
        mark += length;
        line ignored;
        keep = take_line(&at, &l) && find_line(lines, l.name, l.name_length, &ignored);
    }
    kit_status status = kit_buf_ok(&kept, err);
    if (status == KOLM_OK) {
        free(base->marks);
        base->marks = kit_buf_take(&kept);
    }
    kit_buf_free(&kept);
    return status;
}

kit_status job_base_narrow(job_base *base, const char *lines, kolm_error_t *err) {
    char what[512];
    char *copy = NULL;
    if (!job_base_holds(base->lines, lines)) {
        job_base_difference(lines, base->lines, false, what, sizeof what);
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "", "%s", what);
    }
    KIT_TRY(kit_strdup(lines, &copy, err));
    kit_status status = kit_sha256_bytes(copy, strlen(copy), base->digest, err);
    if (status == KOLM_OK) status = narrow_marks(base, copy, err);
    if (status != KOLM_OK) {
        free(copy);
        return status;
    }
    free(base->lines);
    base->lines = copy;
    base->part = true;
    base->weight_bytes = 0;
    line l;
    for (const char *at = copy; take_line(&at, &l);) {
        char name[256];
        kit_format(name, sizeof name, "%.*s", (int)l.name_length, l.name);
        if (job_base_is_weights(name)) base->weight_bytes += strtoull(l.at + KIT_SHA256_HEX - 1, NULL, 10);
    }
    return KOLM_OK;
}

/* ---- Where a base was seen: {PATH: {"files", "digest", "lines", "earlier": [{"digest", "lines"}]}} */

static bool is_it(const cJSON *seen, const char *digest, const char *lines) {
    const char *own = NULL;
    if (kit_json_get_string(seen, "digest", &own) && strcmp(own, digest) == 0) return true;
    return lines[0] != '\0' && kit_json_get_string(seen, "lines", &own) && job_base_holds(own, lines);
}

static const cJSON *was_it(const cJSON *entry, const char *digest, const char *lines) {
    const cJSON *seen = kit_json_get(entry, "earlier");
    for (seen = cJSON_IsArray(seen) ? seen->child : NULL; seen != NULL; seen = seen->next)
        if (is_it(seen, digest, lines)) return seen;
    return NULL;
}

kit_status job_base_seen(const cJSON *memory, const char *digest, const char *lines, bool earlier, cJSON **out,
                         kolm_error_t *err) {
    *out = cJSON_CreateArray();
    bool good = *out != NULL;
    for (const cJSON *e = cJSON_IsObject(memory) ? memory->child : NULL; good && e != NULL; e = e->next) {
        const cJSON *seen = earlier ? was_it(e, digest, lines) : is_it(e, digest, lines) ? e : NULL;
        if (seen == NULL) continue;
        const char *text;
        cJSON *item = cJSON_CreateObject();
        good = kit_json_put_string(item, "path", e->string) &&
               (!kit_json_get_string(seen, "lines", &text) || kit_json_put_string(item, "lines", text)) &&
               cJSON_AddItemToArray(*out, item) != 0;
        if (!good) cJSON_Delete(item);
    }
    if (good) return KOLM_OK;
    cJSON_Delete(*out);
    *out = NULL;
    return kit_no_memory(err);
}
