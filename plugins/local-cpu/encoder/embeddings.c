/* SPDX-License-Identifier: Apache-2.0 */
/* Embeds train.jsonl batch by batch into a file, and resumes an earlier run. */
#include "encoder/embeddings.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "numeric.h"
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BATCH_TOKENS 8192u /* about a second of work, which bounds the delay of a stop */
#define BATCH_TEXTS 1024u
#define SYNC_EVERY 16u /* batches between two fsyncs */
#define NOTE_LINE 87u  /* bytes of a line */
#define NOTE_BYTES (2 * NOTE_LINE)

typedef struct making {
    const embed_job *job;
    uint32_t dimensions;
    int fd, note_fd;             /* -1: not created yet */
    char on_disk[NOTE_LINE + 1]; /* the line of the last fsync */
    float *batch;
    uint32_t done, seen; /* rows embedded; rows read */
    uint32_t batches;
    uint64_t sum;
    uint64_t tokens, cut;           /* of the finished rows */
    uint64_t tokens_then, cut_then; /* of those that an earlier run finished */
    uint64_t bytes, total_bytes;
    kit_json_walk walk;
    kit_buf text;
} making;

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs, or raise the memory limit",
                    "out of memory while the rows are embedded");
}

static uint64_t sum_more(uint64_t sum, const float *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        sum = (sum ^ bits) * 0x9E3779B97F4A7C15ull;
        sum ^= sum >> 29;
    }
    return sum;
}

/* ---- Resuming an earlier run */

static kit_status read_floats(const making *m, uint32_t row, uint32_t count, kolm_error_t *err) {
    const size_t line = m->dimensions * sizeof(float);
    size_t left = count * line;
    uint8_t *to = (uint8_t *)m->batch;
    for (off_t at = (off_t)(row * line); left > 0;) {
        ssize_t got = pread(m->fd, to, left, at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return kit_fail(err, KOLM_E_DATA_LOSS, "", "the embeddings are cut short");
        to += got;
        at += got;
        left -= (size_t)got;
    }
    return KOLM_OK;
}

/* Returns true if the rows of the line exist unchanged; then m continues from them. */
static bool believe(making *m, const char *line) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    uint64_t key = 0, sum = 0, own = 0, tokens = 0, cut = 0;
    uint32_t rows_ = 0;
    bool good = sscanf(line, "%" SCNx64 " %" SCNu32 " %" SCNx64 " %" SCNu64 " %" SCNu64, &key, &rows_, &sum, &tokens,
                       &cut) == 5 &&
                key == m->job->key && rows_ <= m->job->rows;
    for (uint32_t at = 0, n; good && at < rows_; at += n) {
        n = rows_ - at < BATCH_TEXTS ? rows_ - at : BATCH_TEXTS;
        good = read_floats(m, at, n, &ignored) == KOLM_OK;
        if (good) own = sum_more(own, m->batch, (size_t)n * m->dimensions);
    }
    if (!good || own != sum) return false;
    m->done = rows_;
    m->sum = own;
    m->tokens = m->tokens_then = tokens;
    m->cut = m->cut_then = cut;
    return true;
}

/* Starts over if nothing is valid. */
static void take_up(making *m) {
    char note[NOTE_BYTES + 1];
    const ssize_t length = m->fd >= 0 && m->note_fd >= 0 ? pread(m->note_fd, note, NOTE_BYTES, 0) : 0;
    if (length <= 0) return;
    note[length] = '\0';
    const char *second = strchr(note, '\n');
    if (!believe(m, note) && second != NULL) (void)believe(m, second + 1);
}

/* Writes the note after every batch, so that a killed process loses only one batch; it is synced every few batches, so
 * that a power failure loses only what came after. */
static kit_status keep(making *m, bool to_disk, kolm_error_t *err) {
    char note[NOTE_BYTES + 1];
    (void)kit_format(note, sizeof note, "%016" PRIx64 " %010" PRIu32 " %016" PRIx64 " %020" PRIu64 " %020" PRIu64 "\n",
                     m->job->key, m->done, m->sum, m->tokens, m->cut);
    if (to_disk && fdatasync(m->fd) != 0)
        return kit_fail_errno(err, errno, "cannot keep the embeddings in %s", m->job->directory);
    if (to_disk) (void)kit_copy(m->on_disk, sizeof m->on_disk, note);
    const size_t line = strlen(note);
    (void)kit_copy(note + line, sizeof note - line, m->on_disk);
    const size_t length = strlen(note);
    if (pwrite(m->note_fd, note, length, 0) != (ssize_t)length || (to_disk && fdatasync(m->note_fd) != 0))
        return kit_fail_errno(err, errno, "cannot keep the embeddings in %s", m->job->directory);
    return KOLM_OK;
}

/* ---- The files: created after the first batch, so that a run stopped before that leaves none */

static kit_status open_one(const making *m, const char *name, bool create, int *out_fd, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(m->job->directory, name, &path, err));
    *out_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0600);
    kit_status status =
        *out_fd >= 0 || (!create && errno == ENOENT) ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", path);
    free(path);
    return status;
}

static kit_status open_files(making *m, bool create, kolm_error_t *err) {
    if (create) KIT_TRY(kit_mkdirs(m->job->directory, 0700, err));
    if (m->fd < 0) KIT_TRY(open_one(m, "embeddings", create, &m->fd, err));
    if (m->note_fd < 0) KIT_TRY(open_one(m, "embedded", create, &m->note_fd, err));
    return KOLM_OK;
}

/* ---- Embedding */

static kit_status write_floats(const making *m, uint32_t count, kolm_error_t *err) {
    const size_t line = m->dimensions * sizeof(float);
    const uint8_t *from = (const uint8_t *)m->batch;
    size_t left = count * line;
    for (off_t at = (off_t)(m->done * line); left > 0;) {
        ssize_t put = pwrite(m->fd, from, left, at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return kit_fail_errno(err, errno, "cannot write the embeddings to %s", m->job->directory);
        from += put;
        at += put;
        left -= (size_t)put;
    }
    return KOLM_OK;
}

static kit_status embed_batch(making *m, kolm_error_t *err) {
    const choose_watch *watch = &m->job->watch;
    const uint32_t count = sentences_waiting(m->job->sentences);
    if (count == 0) return KOLM_OK;
    if (watch->stop != NULL && watch->stop(watch->user)) {
        kolm_error_t ignored = KIT_ERROR_INIT;
        if (m->fd >= 0 && keep(m, true, &ignored) != KOLM_OK) m->batches = 0; /* it is only useful for the next run */
        return kit_fail(err, KOLM_E_CANCELLED, "", "training was stopped");
    }
    KIT_TRY(sentences_embed(m->job->sentences, m->job->threads, m->batch, err));
    KIT_TRY(open_files(m, true, err));
    KIT_TRY(write_floats(m, count, err));
    m->sum = sum_more(m->sum, m->batch, (size_t)count * m->dimensions);
    m->done += count;
    m->tokens = m->tokens_then + sentences_tokens(m->job->sentences);
    m->cut = m->cut_then + sentences_cut(m->job->sentences);
    if (watch->step != NULL) watch->step(watch->user, "embedding", m->bytes, m->total_bytes);
    return keep(m, ++m->batches % SYNC_EVERY == 0, err);
}

static kit_status add_row(making *m, const char *line, size_t length, kolm_error_t *err) {
    static const char *const keys[] = {"input"};
    m->bytes += length + 1;
    if (m->seen++ < m->done) return KOLM_OK;
    KIT_TRY(kit_json_row_texts(&m->walk, line, length, keys, 1, &m->text, err));
    KIT_TRY(sentences_add(m->job->sentences, kit_buf_text(&m->text), m->text.length, err));
    return KOLM_OK;
}

static kit_status embed_lines(making *m, kit_lines *lines, kolm_error_t *err) {
    const sentences *s = m->job->sentences;
    for (;;) {
        const char *line;
        size_t length;
        kit_status status = kit_lines_next(lines, &line, &length, err);
        if (status == KOLM_OK && line != NULL) status = add_row(m, line, length, err);
        if (status != KOLM_OK)
            return kit_fail_context(err, "%s, line %llu", m->job->rows_path,
                                    (unsigned long long)kit_lines_number(lines));
        if (line == NULL) break;
        if (sentences_waiting(s) == BATCH_TEXTS || sentences_waiting_tokens(s) >= BATCH_TOKENS)
            KIT_TRY(embed_batch(m, err));
    }
    KIT_TRY(embed_batch(m, err));
    if (m->done == m->job->rows) {
        KIT_TRY(open_files(m, true, err));
        return keep(m, true, err);
    }
    return kit_fail(err, KOLM_E_DATA_LOSS, "run the command again",
                    "%s has %u rows now and had %u: it was changed while it was read", m->job->rows_path,
                    (unsigned)m->seen, (unsigned)m->job->rows);
}

static kit_status embed_file(making *m, kolm_error_t *err) {
    kit_lines *lines = NULL;
    int fd = open(m->job->rows_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the training rows %s", m->job->rows_path);
    off_t end = lseek(fd, 0, SEEK_END);
    m->total_bytes = end > 0 ? (uint64_t)end : 0;
    (void)lseek(fd, 0, SEEK_SET);
    kit_status status = kit_lines_open(fd, TRAIN_LINE_MAX, &lines, err);
    if (status == KOLM_OK) status = embed_lines(m, lines, err);
    kit_lines_close(lines);
    close(fd);
    return status;
}

/* ---- Entry point */

static kit_status map(const making *m, embeddings *out, kolm_error_t *err) {
    const size_t bytes = (size_t)m->done * m->dimensions * sizeof(float);
    void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, m->fd, 0);
    if (at == MAP_FAILED) return kit_fail_errno(err, errno, "cannot map the embeddings in %s", m->job->directory);
    out->at = at;
    out->bytes = bytes;
    return KOLM_OK;
}

kit_status embeddings_make(const embed_job *job, embeddings *out, kolm_error_t *err) {
    making m = {.job = job, .dimensions = enc_dimensions(sentences_encoder(job->sentences)), .fd = -1, .note_fd = -1};
    *out = (embeddings){0};
    m.batch = malloc((size_t)BATCH_TEXTS * m.dimensions * sizeof *m.batch);
    kit_status status = m.batch != NULL ? open_files(&m, false, err) : out_of_memory(err);
    if (status == KOLM_OK) {
        take_up(&m);
        out->resumed = m.done;
        status = embed_file(&m, err);
    }
    out->tokens = m.tokens;
    out->cut = m.cut;
    if (status == KOLM_OK) status = map(&m, out, err);
    if (m.fd >= 0) close(m.fd);
    if (m.note_fd >= 0) close(m.note_fd);
    kit_json_walk_free(&m.walk);
    kit_buf_free(&m.text);
    free(m.batch);
    return status;
}

void embeddings_close(embeddings *e) {
    if (e->at != NULL) munmap((void *)(uintptr_t)e->at, e->bytes);
    *e = (embeddings){0};
}
