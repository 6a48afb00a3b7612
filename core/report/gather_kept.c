/* SPDX-License-Identifier: Apache-2.0 */
/* The answers of a missed gate, identified by row positions, matched with the held-out rows again. */
#include "report/gather.h"

#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 20)

/* The location of the answer to the row at a position. */
typedef struct answer_at {
    uint64_t place, from, length;
} answer_at;

typedef struct keeping {
    const char *directory;
    int fd; /* of predictions.jsonl */
    answer_at *at;
    size_t count, capacity;
    kit_json_walk walk;
    kit_buf texts[2], line;
} keeping;

static kit_status not_these(const keeping *k, kolm_error_t *err) {
    return kit_fail(
        err, KOLM_E_INVALID_ARGUMENT,
        "pass the same files and options as to compile: --eval, --seed, --contradictions, and those for reading rows",
        "these are not the rows that %s was measured on", k->directory);
}

static int by_place(const void *a, const void *b) {
    const answer_at *x = a, *y = b;
    return x->place < y->place ? -1 : x->place > y->place;
}

static kit_status add(keeping *k, answer_at found, kolm_error_t *err) {
    if (k->count == k->capacity) {
        const size_t capacity = k->capacity == 0 ? 1024 : 2 * k->capacity;
        answer_at *grown = realloc(k->at, capacity * sizeof *grown);
        if (grown == NULL) return kit_no_memory(err);
        k->at = grown;
        k->capacity = capacity;
    }
    k->at[k->count++] = found;
    return KOLM_OK;
}

typedef struct reader {
    int fd;
    uint64_t at;
} reader;

static kit_status read_at(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    reader *r = user;
    for (;;) {
        const ssize_t got = pread(r->fd, out, capacity, (off_t)r->at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "cannot read rows or answers");
        *out_got = (size_t)got;
        r->at += *out_got;
        return KOLM_OK;
    }
}

/* kolm wrote each line with one LF, so their offsets follow from their lengths. */
static kit_status list_answers(keeping *k, kolm_error_t *err) {
    static const char *const keys[] = {"id"};
    reader r = {.fd = k->fd};
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    uint64_t from = 0;
    kit_status status = kit_lines_open(k->fd, LINE_MAX_BYTES, &lines, err);
    if (status == KOLM_OK) kit_lines_read_with(lines, read_at, &r);
    while (status == KOLM_OK) {
        answer_at found = {.from = from};
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        found.length = length;
        from += length + 1;
        status = kit_json_row_texts(&k->walk, line, length, keys, 1, k->texts, err);
        if (status == KOLM_OK && !kit_parse_u64(kit_buf_text(&k->texts[0]), &found.place)) status = not_these(k, err);
        if (status == KOLM_OK) status = add(k, found, err);
    }
    kit_lines_close(lines);
    if (k->count > 1) qsort(k->at, k->count, sizeof *k->at, by_place);
    return status;
}

static kit_status read_line(keeping *k, const answer_at *at, kolm_error_t *err) {
    char *bytes = malloc(at->length + 1);
    if (bytes == NULL) return kit_no_memory(err);
    reader r = {.fd = k->fd, .at = at->from};
    size_t got = 0, more = 1;
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && got < at->length && more > 0) {
        status = read_at(&r, bytes + got, at->length - got, &more, err);
        got += more;
    }
    kit_buf_clear(&k->line);
    if (status == KOLM_OK) kit_buf_add(&k->line, bytes, got);
    free(bytes);
    return status == KOLM_OK ? kit_buf_ok(&k->line, err) : status;
}

/* Writes the answer with the id of its held-out row, in the form of a backend. */
static kit_status put_answer(keeping *k, FILE *out, kolm_error_t *err) {
    const char *line = kit_buf_text(&k->line), *id = kit_buf_text(&k->texts[0]);
    kit_json_part key, value;
    bool found = kit_utf8_valid(line, k->line.length) == k->line.length &&
                 kit_json_walk_begin(&k->walk, line, k->line.length, NULL) == KOLM_OK && k->walk.object;
    while (found && kit_json_walk_next(&k->walk, &key, &value, &found, NULL) == KOLM_OK && found) {
        if (!kit_json_part_is(&key, "id")) continue;
        const char *rest = value.bytes + value.length;
        kit_buf shown = {0};
        kit_buf_add(&shown, line, (size_t)(value.bytes - line));
        kit_json_string(&shown, id, strlen(id));
        kit_buf_add(&shown, rest, (size_t)(line + k->line.length - rest));
        kit_buf_char(&shown, '\n');
        kit_status status = kit_buf_ok(&shown, err);
        if (status == KOLM_OK && fwrite(shown.data, 1, shown.length, out) != shown.length)
            status = kit_fail_errno(err, errno, "cannot write the answers");
        kit_buf_free(&shown);
        return status;
    }
    return not_these(k, err);
}

static kit_status put_answers(keeping *k, int heldout_fd, FILE *out, kolm_error_t *err) {
    static const char *const keys[] = {"id", "row"};
    reader r = {.fd = heldout_fd};
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0, rows = 0;
    kit_status status = kit_lines_open(heldout_fd, LINE_MAX_BYTES, &lines, err);
    if (status == KOLM_OK) kit_lines_read_with(lines, read_at, &r);
    for (; status == KOLM_OK; rows++) {
        answer_at wanted = {0};
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        status = kit_json_row_texts(&k->walk, line, length, keys, 2, k->texts, err);
        if (status == KOLM_OK && !kit_parse_u64(kit_buf_text(&k->texts[1]), &wanted.place)) status = not_these(k, err);
        const answer_at *found = k->count > 0 ? bsearch(&wanted, k->at, k->count, sizeof *k->at, by_place) : NULL;
        if (status == KOLM_OK) status = found != NULL ? read_line(k, found, err) : not_these(k, err);
        if (status == KOLM_OK) status = put_answer(k, out, err);
    }
    kit_lines_close(lines);
    if (status == KOLM_OK && rows != k->count) status = not_these(k, err);
    return status;
}

kit_status report_kept_answers(const char *directory, int heldout_fd, const char *out_path, kolm_error_t *err) {
    keeping k = {.directory = directory, .fd = -1};
    char *path = NULL;
    FILE *out = NULL;
    KIT_TRY(kit_path_join(directory, "predictions.jsonl", &path, err));
    k.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    kit_status status = k.fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", path);
    if (status == KOLM_OK) status = list_answers(&k, err);
    if (status == KOLM_OK && (out = fopen(out_path, "wxe")) == NULL)
        status = kit_fail_errno(err, errno, "cannot create %s", out_path);
    if (status == KOLM_OK) status = put_answers(&k, heldout_fd, out, err);
    if (out != NULL && fclose(out) != 0 && status == KOLM_OK)
        status = kit_fail_errno(err, errno, "cannot write the answers");
    if (k.fd >= 0) close(k.fd);
    kit_json_walk_free(&k.walk);
    kit_buf_free(&k.texts[0]);
    kit_buf_free(&k.texts[1]);
    kit_buf_free(&k.line);
    free(k.at);
    free(path);
    return status;
}
