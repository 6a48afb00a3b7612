/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the answers to the held-out rows in the order of the user's files, with row positions as ids. */
#include "compile/compile.h"

#include "job/scratch.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 20)
#define RECORD_WORDS 3 /* the row's position, and offset and length of its answer in the spool */

typedef struct listing {
    const char *predictions;
    int heldout_fd, answers_fd;
    uint64_t heldout_at, bytes;
    kit_lines *rows, *answers;
    kit_json_walk walk;
    kit_buf place, line;
    FILE *spool;
    job_sorter *order;
} listing;

/* Others read the same descriptor: do not use its offset. */
static kit_status read_heldout(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    listing *l = user;
    for (;;) {
        ssize_t got = pread(l->heldout_fd, out, capacity, (off_t)l->heldout_at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "cannot read the held-out rows");
        *out_got = (size_t)got;
        l->heldout_at += *out_got;
        return KOLM_OK;
    }
}

static kit_status open_listing(listing *l, const char *scratch, kolm_error_t *err) {
    l->answers_fd = open(l->predictions, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (l->answers_fd < 0) return kit_fail_errno(err, errno, "cannot open %s", l->predictions);
    KIT_TRY(kit_lines_open(l->heldout_fd, LINE_MAX_BYTES, &l->rows, err));
    kit_lines_read_with(l->rows, read_heldout, l);
    KIT_TRY(kit_lines_open(l->answers_fd, LINE_MAX_BYTES, &l->answers, err));
    KIT_TRY(job_scratch_stream(scratch, "answers", &l->spool, err));
    return job_sorter_new(scratch, RECORD_WORDS, &l->order, err);
}

static void close_listing(listing *l) {
    kit_lines_close(l->rows);
    kit_lines_close(l->answers);
    kit_json_walk_free(&l->walk);
    kit_buf_free(&l->place);
    kit_buf_free(&l->line);
    job_sorter_free(l->order);
    if (l->spool != NULL) fclose(l->spool);
    if (l->answers_fd >= 0) close(l->answers_fd);
}

/* They have already been validated. */
static kit_status changed(const listing *l, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_ABORTED, "run the command again", "%s was changed while it was read", l->predictions);
}

/* The unchanged answer, with the position of the row as its id. */
static kit_status put_answer(listing *l, const char *line, size_t length, kolm_error_t *err) {
    kit_json_part key, value;
    kit_buf_clear(&l->line);
    bool found = kit_json_walk_begin(&l->walk, line, length, NULL) == KOLM_OK && l->walk.object;
    while (found && kit_json_walk_next(&l->walk, &key, &value, &found, NULL) == KOLM_OK) {
        if (!found || !kit_json_part_is(&key, "id")) continue;
        kit_buf_add(&l->line, line, (size_t)(value.bytes - line));
        kit_json_string(&l->line, kit_buf_text(&l->place), l->place.length);
        const char *rest = value.bytes + value.length;
        kit_buf_add(&l->line, rest, (size_t)(line + length - rest));
        kit_buf_char(&l->line, '\n');
        return kit_buf_ok(&l->line, err);
    }
    return changed(l, err);
}

static kit_status take_answer(listing *l, const char *row, size_t length, kolm_error_t *err) {
    static const char *const keys[] = {"row"};
    const char *answer = NULL;
    uint64_t place = 0;
    KIT_TRY(kit_json_row_texts(&l->walk, row, length, keys, 1, &l->place, err));
    KIT_TRY(kit_lines_next(l->answers, &answer, &length, err));
    if (answer == NULL || !kit_parse_u64(kit_buf_text(&l->place), &place)) return changed(l, err);
    KIT_TRY(put_answer(l, answer, length, err));
    if (fwrite(l->line.data, 1, l->line.length, l->spool) != l->line.length)
        return kit_fail_errno(err, errno, "cannot write the answers");
    KIT_TRY(job_sorter_add(l->order, (const uint64_t[]){place, l->bytes, l->line.length}, err));
    l->bytes += l->line.length;
    return KOLM_OK;
}

static kit_status take_answers(listing *l, kolm_error_t *err) {
    for (;;) {
        const char *row = NULL;
        size_t length = 0;
        KIT_TRY(kit_lines_next(l->rows, &row, &length, err));
        if (row == NULL) break;
        KIT_TRY(take_answer(l, row, length, err));
    }
    if (fflush(l->spool) != 0) return kit_fail_errno(err, errno, "cannot write the answers");
    return job_sorter_sort(l->order, err);
}

static kit_status put_in_order(listing *l, int out, kolm_error_t *err) {
    for (;;) {
        const uint64_t *record = NULL;
        KIT_TRY(job_sorter_next(l->order, &record, err));
        if (record == NULL) return KOLM_OK;
        kit_buf_clear(&l->line);
        if (fseeko(l->spool, (off_t)record[1], SEEK_SET) != 0)
            return kit_fail_errno(err, errno, "cannot read the answers");
        for (uint64_t i = 0; i < record[2]; i++)
            kit_buf_char(&l->line, (char)getc_unlocked(l->spool));
        KIT_TRY(kit_buf_ok(&l->line, err));
        if (ferror(l->spool) || feof(l->spool))
            return kit_fail_errno(err, ferror(l->spool) ? errno : EIO, "cannot read the answers");
        KIT_TRY(kit_write_all(out, l->line.data, l->line.length, err));
    }
}

kit_status compile_list_answers(const compile *c, const char *predictions, char **out_path, kolm_error_t *err) {
    listing l = {.predictions = predictions, .heldout_fd = c->data.heldout_fd, .answers_fd = -1};
    char *path = NULL;
    KIT_TRY(kit_path_join(c->job.private, "predictions.jsonl", &path, err));
    int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    kit_status status = out >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot create %s", path);
    if (status == KOLM_OK) status = open_listing(&l, c->job.private, err);
    if (status == KOLM_OK) status = take_answers(&l, err);
    if (status == KOLM_OK) status = put_in_order(&l, out, err);
    if (out >= 0 && close(out) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", path);
    close_listing(&l);
    if (status == KOLM_OK)
        *out_path = path;
    else
        free(path);
    return status;
}
