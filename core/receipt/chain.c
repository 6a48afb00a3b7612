/* SPDX-License-Identifier: Apache-2.0 */
/* The chain on disk: repair, append, head, and the walk that checks every link. */
#include "receipt/internal.h"
#include "receipt/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_PREV "0000000000000000000000000000000000000000000000000000000000000000"
#define BLOCK 65536

static const char *const BROKEN_REMEDY =
    "put it back from a backup, or move it away: the next compile then begins a new log";

struct receipt_chain {
    int fd;
    char *path;
    uint64_t size; /* bytes of whole lines */
    receipt_place next;
};

/* ---- Lines */
bool receipt_is_log_id(const char *text) {
    return strlen(text) == RECEIPT_LOG_ID_HEX - 1 && strspn(text, "0123456789abcdef") == RECEIPT_LOG_ID_HEX - 1;
}

bool receipt_place_of(const cJSON *statement, receipt_place *out_place) {
    const cJSON *predicate = kit_json_get(statement, "predicate");
    const cJSON *chain = kit_json_get(predicate, "chain");
    if (chain == NULL)
        chain = kit_json_get(kit_json_get(kit_json_get(predicate, "runDetails"), "metadata"), "kolm_chain");
    const char *log_id = NULL, *prev = NULL;
    if (!kit_json_get_string(chain, "log_id", &log_id) || !receipt_is_log_id(log_id)) return false;
    if (!kit_json_get_string(chain, "prev", &prev) || !receipt_is_keyid(prev)) return false;
    if (!kit_json_get_u64(chain, "seq", &out_place->seq)) return false;
    kit_copy(out_place->log_id, sizeof out_place->log_id, log_id);
    kit_copy(out_place->prev, sizeof out_place->prev, prev);
    return true;
}

kit_status receipt_line_parse(const char *text, size_t length, receipt_line *out_line, kolm_error_t *err) {
    *out_line = (receipt_line){0};
    const char *type = NULL, *predicate_type = NULL;
    kit_status status = receipt_envelope_parse(text, length, &out_line->envelope, err);
    if (status == KOLM_OK && strcmp(out_line->envelope.type, RECEIPT_PAYLOAD_TYPE) != 0) {
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "its payload type is not " RECEIPT_PAYLOAD_TYPE);
    }
    if (status == KOLM_OK)
        status = kit_json_parse(kit_buf_text(&out_line->envelope.payload), out_line->envelope.payload.length,
                                &out_line->statement, err);
    if (status == KOLM_OK &&
        !(kit_json_get_string(out_line->statement, "_type", &type) && strcmp(type, RECEIPT_STATEMENT) == 0 &&
          kit_json_get_string(out_line->statement, "predicateType", &predicate_type))) {
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "its payload is not an in-toto statement");
    }
    if (status == KOLM_OK) status = kit_sha256_bytes(text, length, out_line->sha256, err);
    bool spelled = false;
    if (status == KOLM_OK)
        status = receipt_envelope_spelled(&out_line->envelope, text, length, &spelled, out_line->keyid, err);
    if (!spelled) out_line->keyid[0] = '\0';
    if (status == KOLM_OK) out_line->placed = receipt_place_of(out_line->statement, &out_line->place);
    if (status != KOLM_OK) receipt_line_free(out_line);
    return status;
}

void receipt_line_free(receipt_line *line) {
    receipt_envelope_free(&line->envelope);
    cJSON_Delete(line->statement);
    *line = (receipt_line){0};
}

kit_status receipt_place_after(const receipt_place *place, const char *line, size_t length, receipt_place *out_next,
                               kolm_error_t *err) {
    receipt_place next = *place; /* out_next may be place */
    next.seq++;
    KIT_TRY(kit_sha256_bytes(line, length, next.prev, err));
    *out_next = next;
    return KOLM_OK;
}

/* ---- The end of the file */
/* Finds the last LF before offset end; *out_at is the offset behind it, 0 when there is none. */
static kit_status behind_last_lf(int fd, uint64_t end, uint64_t *out_at, kolm_error_t *err) {
    char block[BLOCK];
    while (end > 0) {
        size_t n = end < sizeof block ? (size_t)end : sizeof block;
        ssize_t got = pread(fd, block, n, (off_t)(end - n));
        if (got < 0 && errno == EINTR) continue;
        if (got != (ssize_t)n) return kit_fail_errno(err, got < 0 ? errno : EIO, "cannot read the chain");
        const char *found = memrchr(block, '\n', n);
        if (found != NULL) {
            *out_at = end - n + (uint64_t)(found - block) + 1;
            return KOLM_OK;
        }
        end -= n;
    }
    *out_at = 0;
    return KOLM_OK;
}

static kit_status read_range(int fd, uint64_t from, uint64_t to, kit_buf *out, kolm_error_t *err) {
    if (to - from > RECEIPT_MAX_LINE)
        return kit_fail(err, KOLM_E_DATA_LOSS, BROKEN_REMEDY, "its last line is larger than 16 MiB");
    for (uint64_t at = from; at < to;) {
        char block[BLOCK];
        size_t n = to - at < sizeof block ? (size_t)(to - at) : sizeof block;
        ssize_t got = pread(fd, block, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return kit_fail_errno(err, got < 0 ? errno : EIO, "cannot read the chain");
        kit_buf_add(out, block, (size_t)got);
        at += (uint64_t)got;
    }
    return kit_buf_ok(out, err);
}

/* The place and digest of the last whole line. *out_end: where whole lines end; *out_found false when there is none. */
static kit_status read_last(int fd, receipt_head *out_head, uint64_t *out_end, bool *out_found, kolm_error_t *err) {
    struct stat info;
    uint64_t from = 0;
    kit_buf text = {0};
    receipt_line line = {0};
    *out_found = false;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot look at the chain");
    KIT_TRY(receipt_check_regular(fd, err));
    KIT_TRY(behind_last_lf(fd, (uint64_t)info.st_size, out_end, err));
    if (*out_end == 0) return KOLM_OK;
    KIT_TRY(behind_last_lf(fd, *out_end - 1, &from, err));
    kit_status status = read_range(fd, from, *out_end - 1, &text, err);
    if (status == KOLM_OK) {
        status = receipt_line_parse(kit_buf_text(&text), text.length, &line, err);
        if (status == KOLM_OK && !line.placed)
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "it states no place in a chain");
        if (status == KOLM_E_INVALID_ARGUMENT) {
            char why[512];
            kit_copy(why, sizeof why, err == NULL ? "" : err->text);
            status = kit_fail(err, KOLM_E_DATA_LOSS, BROKEN_REMEDY, "its last line is not a receipt: %s", why);
        }
    }
    if (status == KOLM_OK) {
        *out_found = true;
        out_head->seq = line.place.seq;
        kit_copy(out_head->log_id, sizeof out_head->log_id, line.place.log_id);
        kit_copy(out_head->sha256, sizeof out_head->sha256, line.sha256);
    }
    receipt_line_free(&line);
    kit_buf_free(&text);
    return status;
}

/* ---- Appending */
static kit_status begin_log(receipt_chain *chain, kolm_error_t *err) {
    uint8_t random[(RECEIPT_LOG_ID_HEX - 1) / 2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kit_fail_errno(err, errno, "cannot get random bytes for a log");
    kit_hex(random, sizeof random, chain->next.log_id);
    kit_copy(chain->next.prev, sizeof chain->next.prev, FIRST_PREV);
    chain->next.seq = 0;
    return KOLM_OK;
}

/* A file that was just made must still be there after a power cut. */
static kit_status sync_directory(const char *path, kolm_error_t *err) {
    const char *slash = strrchr(path, '/');
    kit_buf directory = {0};
    kit_buf_add(&directory, slash == NULL ? "." : path, slash == NULL || slash == path ? 1 : (size_t)(slash - path));
    kit_status status = kit_buf_ok(&directory, err);
    if (status == KOLM_OK) {
        int fd = open(directory.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* Some file systems cannot sync a directory (EINVAL); they then have nothing to sync. */
        if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
            status = kit_fail_errno(err, errno, "cannot sync %s", directory.data);
        if (fd >= 0) close(fd);
    }
    kit_buf_free(&directory);
    return status;
}

/* A log that is not there was moved away, or never was: the next one begins. Said before the file exists, so that a crash in
 * between does not make an empty file look like a log that was cut. */
static kit_status forget_current(const char *path, kolm_error_t *err) {
    receipt_heads heads;
    KIT_TRY(receipt_heads_read(path, &heads, err));
    kit_status status = KOLM_OK;
    if (heads.current[0] != '\0') {
        heads.current[0] = '\0';
        status = receipt_heads_write(path, &heads, err);
    }
    receipt_heads_free(&heads);
    return status;
}

/* Why a log that ends in head (NULL: it has no line) cannot be all of what was written; NULL when it can. */
static const char *cut_why(const receipt_heads *heads, const receipt_head *head, char *text, size_t capacity) {
    const receipt_head *last = receipt_heads_find(heads, head != NULL ? head->log_id : heads->current);
    if (last == NULL || (head != NULL && head->seq > last->seq)) return NULL;
    if (head == NULL)
        kit_format(text, capacity, "was emptied: it had %llu lines", (unsigned long long)last->seq + 1);
    else if (head->seq < last->seq)
        kit_format(text, capacity, "was cut: it has %llu lines and had %llu", (unsigned long long)head->seq + 1,
                   (unsigned long long)last->seq + 1);
    else if (strcmp(head->sha256, last->sha256) != 0)
        kit_format(text, capacity, "was changed: line %llu is another one than was written",
                   (unsigned long long)head->seq + 1);
    else
        return NULL;
    return text;
}

static kit_status refuse_cut(const char *path, const receipt_head *head, kolm_error_t *err) {
    receipt_heads heads;
    char why[128];
    KIT_TRY(receipt_heads_read(path, &heads, err));
    bool cut = cut_why(&heads, head, why, sizeof why) != NULL;
    receipt_heads_free(&heads);
    return cut ? kit_fail(err, KOLM_E_DATA_LOSS, BROKEN_REMEDY, "it %s", why) : KOLM_OK;
}

static kit_status open_or_create(const char *path, int *out_fd, kolm_error_t *err) {
    const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    *out_fd = open(path, flags);
    if (*out_fd < 0 && errno == ENOENT) {
        KIT_TRY(forget_current(path, err));
        *out_fd = open(path, flags | O_CREAT, 0600);
    }
    return *out_fd < 0 ? kit_fail_errno(err, errno, "cannot open it") : KOLM_OK;
}

static kit_status open_locked(receipt_chain *chain, const char *path, kolm_error_t *err) {
    receipt_head head = {0};
    bool found = false;
    struct stat info;
    KIT_TRY(open_or_create(path, &chain->fd, err));
    KIT_TRY(receipt_check_owner(chain->fd, path, 0022, err));
    while (flock(chain->fd, LOCK_EX) != 0) {
        if (errno != EINTR) return kit_fail_errno(err, errno, "cannot lock it");
    }
    KIT_TRY(read_last(chain->fd, &head, &chain->size, &found, err));
    KIT_TRY(refuse_cut(path, found ? &head : NULL, err));
    if (fstat(chain->fd, &info) != 0) return kit_fail_errno(err, errno, "cannot look at it");
    if ((uint64_t)info.st_size != chain->size) {
        if (ftruncate(chain->fd, (off_t)chain->size) != 0)
            return kit_fail_errno(err, errno, "cannot cut off its torn last line");
    }
    if (!found) {
        KIT_TRY(sync_directory(path, err));
        return begin_log(chain, err);
    }
    chain->next.seq = head.seq + 1;
    kit_copy(chain->next.log_id, sizeof chain->next.log_id, head.log_id);
    kit_copy(chain->next.prev, sizeof chain->next.prev, head.sha256);
    return KOLM_OK;
}

kit_status receipt_chain_open(const char *path, receipt_chain **out_chain, kolm_error_t *err) {
    *out_chain = NULL;
    receipt_chain *chain = calloc(1, sizeof *chain);
    if (chain == NULL) return receipt_no_memory(err);
    chain->fd = -1;
    kit_status status = kit_strdup(path, &chain->path, err);
    if (status == KOLM_OK) status = open_locked(chain, path, err);
    if (status != KOLM_OK) {
        kit_fail_context(err, "the receipt chain %s", path);
        receipt_chain_close(chain);
        return status;
    }
    *out_chain = chain;
    return KOLM_OK;
}

void receipt_chain_close(receipt_chain *chain) {
    if (chain == NULL) return;
    if (chain->fd >= 0) close(chain->fd);
    free(chain->path);
    free(chain);
}

void receipt_chain_next(const receipt_chain *chain, receipt_place *out_place) {
    *out_place = chain->next;
}

/* What follows the line at place, and its head; the line must state that place. */
static kit_status pass_line(const char *text, size_t length, receipt_place *place, receipt_head *out_head,
                            kolm_error_t *err) {
    receipt_line line;
    KIT_TRY(receipt_line_parse(text, length, &line, err));
    bool good = line.placed && line.place.seq == place->seq && strcmp(line.place.log_id, place->log_id) == 0 &&
                strcmp(line.place.prev, place->prev) == 0;
    kit_status status =
        good ? receipt_place_after(place, text, length, place, err)
             : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report this", "a line does not belong at the end of the chain");
    if (status == KOLM_OK) {
        out_head->seq = line.place.seq;
        kit_copy(out_head->log_id, sizeof out_head->log_id, line.place.log_id);
        kit_copy(out_head->sha256, sizeof out_head->sha256, line.sha256);
    }
    receipt_line_free(&line);
    return status;
}

kit_status receipt_chain_append(receipt_chain *chain, const char *lines, size_t length, receipt_head *out_head,
                                kolm_error_t *err) {
    receipt_place place = chain->next;
    if (length == 0 || lines[length - 1] != '\n')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report this", "only whole lines can be appended to a chain");
    for (size_t at = 0; at < length;) {
        size_t n = (size_t)((const char *)memchr(lines + at, '\n', length - at) - (lines + at));
        KIT_TRY(pass_line(lines + at, n, &place, out_head, err));
        at += n + 1;
    }
    kit_status status = kit_write_all(chain->fd, lines, length, err);
    if (status == KOLM_OK && fsync(chain->fd) != 0) status = kit_fail_errno(err, errno, "cannot sync it");
    if (status != KOLM_OK) {
        /* Half of a line would be repaired by the next writer; whole lines that were not acknowledged would not. */
        int ignored = ftruncate(chain->fd, (off_t)chain->size);
        (void)ignored;
        kit_fail_context(err, "cannot append to the receipt chain %s", chain->path);
        return status;
    }
    chain->size += length;
    chain->next = place;
    /* The lines are on the disk whatever becomes of the note about them; the next append writes it again. */
    kolm_error_t unsaid = KIT_ERROR_INIT;
    kit_status noted = receipt_heads_note(chain->path, out_head, &unsaid);
    (void)noted;
    return KOLM_OK;
}

/* ---- Reading */
kit_status receipt_chain_head(const char *path, receipt_head *out_head, bool *out_found, kolm_error_t *err) {
    uint64_t end = 0;
    *out_found = false;
    *out_head = (receipt_head){0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return KOLM_OK;
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the receipt chain %s", path);
    kit_status status = read_last(fd, out_head, &end, out_found, err);
    if (status != KOLM_OK) kit_fail_context(err, "the receipt chain %s", path);
    close(fd);
    return status;
}

/* Called for each whole line that stands where it should; *out_more false ends the walk. */
typedef kit_status (*line_fn)(void *user, const receipt_line *line, bool *out_more, kolm_error_t *err);

/* Walks whole lines and follows their links, as far as they hold. */
typedef struct walk {
    const char *path;
    receipt_heads heads; /* as they were before the log was read: the log never ends before them */
    receipt_place expect;
    uint64_t lines, broken_at;
    uint64_t bytes; /* of the lines so far, each with its LF */
    bool torn, cut; /* cut: every line that is there holds, and there were more */
    receipt_head head;
    char why[200];
} walk;

/* *out_good false with w->why when the line does not stand where it should. Any other status than KOLM_OK: nobody knows. */
static kit_status follow(walk *w, const char *text, size_t length, receipt_line *line, bool *out_good,
                         kolm_error_t *err) {
    *out_good = false;
    kit_status status = receipt_line_parse(text, length, line, err);
    if (status == KOLM_E_INVALID_ARGUMENT) {
        kit_format(w->why, sizeof w->why, "is not a receipt (%s)", err != NULL ? err->text : "");
        return KOLM_OK;
    }
    KIT_TRY(status);
    const char *wrong = NULL;
    const receipt_head *noted = receipt_heads_find(&w->heads, line->place.log_id);
    if (w->lines == 1) kit_copy(w->expect.log_id, sizeof w->expect.log_id, line->place.log_id);
    if (line->keyid[0] == '\0')
        wrong = "is not spelled as kolm spells it";
    else if (!line->placed)
        wrong = "states no place in the chain";
    else if (strcmp(line->place.log_id, w->expect.log_id) != 0)
        wrong = "belongs to another log";
    else if (line->place.seq != w->expect.seq)
        wrong = "is out of order: one before it was removed or added";
    else if (strcmp(line->place.prev, w->expect.prev) != 0)
        wrong = "does not follow the line before it, which was changed";
    else if (noted != NULL && noted->seq == line->place.seq && strcmp(noted->sha256, line->sha256) != 0)
        wrong = "is another one than was written there";
    if (wrong != NULL) {
        kit_copy(w->why, sizeof w->why, wrong);
        return KOLM_OK;
    }
    w->expect.seq++;
    kit_copy(w->expect.prev, sizeof w->expect.prev, line->sha256);
    w->head.seq = line->place.seq;
    kit_copy(w->head.log_id, sizeof w->head.log_id, line->place.log_id);
    kit_copy(w->head.sha256, sizeof w->head.sha256, line->sha256);
    *out_good = true;
    return KOLM_OK;
}

/* *out_whole: the file ends in LF, or has nothing; otherwise its last line is torn. */
static kit_status ends_whole(int fd, uint64_t *out_size, bool *out_whole, kolm_error_t *err) {
    char last = '\n';
    ssize_t got = 1;
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) return kit_fail_errno(err, errno, "cannot look at its end");
    do
        got = end > 0 ? pread(fd, &last, 1, end - 1) : 1;
    while (got < 0 && errno == EINTR);
    if (got != 1) return kit_fail_errno(err, got < 0 ? errno : EIO, "cannot read its end");
    (void)lseek(fd, 0, SEEK_SET);
    *out_size = (uint64_t)end;
    *out_whole = last == '\n';
    return KOLM_OK;
}

/* Follows the line in w->held's place; *out_more false when the walk ends with it. */
static kit_status take_held(walk *w, const kit_buf *held, line_fn visit, void *user, bool *out_more,
                            kolm_error_t *err) {
    receipt_line line = {0};
    bool good = false;
    w->lines++;
    w->bytes += held->length + 1;
    *out_more = false;
    kit_status status = follow(w, kit_buf_text(held), held->length, &line, &good, err);
    if (status == KOLM_OK && good) status = visit(user, &line, out_more, err);
    if (status == KOLM_OK && !good) w->broken_at = w->lines;
    receipt_line_free(&line);
    return status;
}

/* At the end of the file: what only the whole of it can show. */
static void end_walk(walk *w, uint64_t size) {
    char why[128];
    if (w->bytes < size && !w->torn) {
        /* The line reader passes over CR and byte order marks; a digest of exact bytes may not. */
        w->broken_at = w->lines;
        kit_copy(w->why, sizeof w->why, "has carriage returns or a byte order mark that were not signed");
    } else if (cut_why(&w->heads, w->lines > 0 ? &w->head : NULL, why, sizeof why) != NULL) {
        w->cut = true;
        kit_copy(w->why, sizeof w->why, why);
    }
}

static kit_status walk_file(int fd, walk *w, line_fn visit, void *user, kolm_error_t *err) {
    kit_lines *lines = NULL;
    uint64_t size = 0;
    bool whole = true, more = true;
    /* One line is held back: only the next one, or the end, tells whether it was the torn one. */
    kit_buf held = {0};
    bool holding = false;
    KIT_TRY(ends_whole(fd, &size, &whole, err));
    kit_status status = kit_lines_open(fd, RECEIPT_MAX_LINE, &lines, err);
    while (status == KOLM_OK && more) {
        const char *text = NULL;
        size_t length = 0;
        status = kit_lines_next(lines, &text, &length, err);
        if (status != KOLM_OK) break;
        w->torn = text == NULL && holding && !whole;
        if (holding && !w->torn) status = take_held(w, &held, visit, user, &more, err);
        if (status != KOLM_OK || !more) break;
        if (text == NULL) {
            end_walk(w, size);
            break;
        }
        kit_buf_clear(&held);
        kit_buf_add(&held, text, length);
        holding = true;
        status = kit_buf_ok(&held, err);
    }
    if (status == KOLM_E_OUT_OF_RANGE) {
        w->broken_at = ++w->lines;
        kit_copy(w->why, sizeof w->why, "is larger than 16 MiB");
        status = KOLM_OK;
    }
    kit_buf_free(&held);
    kit_lines_close(lines);
    return status;
}

/* Walks the log at path. *out_found false when there is no such file: then the walk has no lines, and w->cut tells whether
 * there should be some. */
static kit_status walk_log(const char *path, walk *w, line_fn visit, void *user, bool *out_found, kolm_error_t *err) {
    *w = (walk){.path = path, .expect = {.prev = FIRST_PREV}};
    *out_found = false;
    KIT_TRY(receipt_heads_read(path, &w->heads, err));
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    kit_status status = KOLM_OK;
    if (fd >= 0) {
        *out_found = true;
        status = receipt_check_regular(fd, err);
        if (status == KOLM_OK) status = walk_file(fd, w, visit, user, err);
        close(fd);
        if (status != KOLM_OK) kit_fail_context(err, "the receipt chain %s", path);
    } else if (errno != ENOENT && errno != ENOTDIR) {
        status = kit_fail_errno(err, errno, "cannot open the receipt chain %s", path);
    } else {
        end_walk(w, 0);
    }
    return status;
}

static void walk_free(walk *w) {
    receipt_heads_free(&w->heads);
}

typedef struct signature_count {
    const receipt_keyring *ring;
    uint64_t unknown;
} signature_count;

static kit_status check_signature(void *user, const receipt_line *line, bool *out_more, kolm_error_t *err) {
    signature_count *s = user;
    *out_more = true;
    for (size_t i = 0; i < receipt_keyring_count(s->ring); i++) {
        const receipt_trusted *item = receipt_keyring_at(s->ring, i);
        bool signs = false;
        if (!item->trusted || receipt_signed_after_retirement(item, &line->place)) continue;
        KIT_TRY(receipt_envelope_signed_by(&line->envelope, &item->key, &signs, err));
        if (signs) return KOLM_OK;
    }
    s->unknown++;
    return KOLM_OK;
}

kit_status receipt_chain_check(const char *path, const receipt_keyring *ring, receipt_chain_report *out_report,
                               kolm_error_t *err) {
    walk w;
    signature_count signatures = {.ring = ring};
    bool found = false;
    *out_report = (receipt_chain_report){0};
    kit_status status = walk_log(path, &w, check_signature, &signatures, &found, err);
    if (status == KOLM_OK && !found && !w.cut)
        status = kit_fail_errno(err, ENOENT, "cannot open the receipt chain %s", path);
    if (status == KOLM_OK) {
        out_report->lines = w.lines;
        out_report->broken_at = w.cut ? w.lines + 1 : w.broken_at;
        out_report->unknown = signatures.unknown;
        out_report->torn = w.torn;
        out_report->head = w.head;
        if (w.cut)
            kit_format(out_report->text, sizeof out_report->text, "chain broken: the log %s", w.why);
        else if (w.broken_at > 0)
            kit_format(out_report->text, sizeof out_report->text, "chain broken: line %llu %s",
                       (unsigned long long)w.broken_at, w.why);
        else if (w.lines == 0)
            kit_copy(out_report->text, sizeof out_report->text, "no receipts yet");
        else
            kit_format(out_report->text, sizeof out_report->text, "%llu lines, head %llu sha256 %s",
                       (unsigned long long)w.lines, (unsigned long long)w.head.seq, w.head.sha256);
    }
    walk_free(&w);
    return status;
}

static kit_status pass_by(void *user, const receipt_line *line, bool *out_more, kolm_error_t *err) {
    (void)user, (void)line, (void)err;
    *out_more = true;
    return KOLM_OK;
}

/* That the file, if there is one, is one that may be appended to. */
static kit_status check_file(const char *path, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return KOLM_OK;
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the receipt chain %s", path);
    kit_status status = receipt_check_owner(fd, path, 0022, err);
    if (status == KOLM_OK) status = receipt_check_regular(fd, err);
    close(fd);
    return status == KOLM_OK ? KOLM_OK : kit_fail_context(err, "the receipt chain %s", path);
}

kit_status receipt_chain_ready(const char *path, kolm_error_t *err) {
    walk w;
    bool found = false;
    KIT_TRY(check_file(path, err));
    kit_status status = walk_log(path, &w, pass_by, NULL, &found, err);
    if (status == KOLM_OK && w.broken_at > 0)
        status = kit_fail(err, KOLM_E_DATA_LOSS, BROKEN_REMEDY, "chain broken: line %llu of %s %s",
                          (unsigned long long)w.broken_at, path, w.why);
    if (status == KOLM_OK && found && w.cut)
        status = kit_fail(err, KOLM_E_DATA_LOSS, BROKEN_REMEDY, "chain broken: %s %s", path, w.why);
    walk_free(&w);
    return status;
}

typedef struct search {
    const receipt_place *place;
    const char *sha256;
    const receipt_public *signer;
    bool same_log, found, another;
    uint64_t forged_at; /* number of the first line that names the signer and is not by him; 0: none */
} search;

static kit_status look_for(void *user, const receipt_line *line, bool *out_more, kolm_error_t *err) {
    search *s = user;
    bool signs = false;
    s->same_log = strcmp(line->place.log_id, s->place->log_id) == 0;
    *out_more = s->same_log;
    if (!s->same_log) return KOLM_OK;
    if (strcmp(line->keyid, s->signer->keyid) == 0) {
        KIT_TRY(receipt_envelope_signed_by(&line->envelope, s->signer, &signs, err));
        if (!signs && s->forged_at == 0) s->forged_at = line->place.seq + 1;
    }
    if (line->place.seq != s->place->seq) return KOLM_OK;
    s->found = strcmp(line->sha256, s->sha256) == 0;
    s->another = !s->found;
    return KOLM_OK;
}

kit_status receipt_chain_find(const char *path, const receipt_place *place, const char *line_sha256,
                              const receipt_public *signer, bool *out_same_log, bool *out_found, char out_why[256],
                              kolm_error_t *err) {
    walk w;
    search s = {.place = place, .sha256 = line_sha256, .signer = signer};
    bool there = false;
    *out_same_log = *out_found = false;
    out_why[0] = '\0';
    kit_status status = walk_log(path, &w, look_for, &s, &there, err);
    if (status == KOLM_OK) {
        bool was_here = receipt_heads_find(&w.heads, place->log_id) != NULL;
        *out_same_log = s.same_log || was_here;
        *out_found = s.found && w.broken_at == 0 && !w.cut && s.forged_at == 0;
        if (w.broken_at > 0)
            kit_format(out_why, 256, "line %llu of this machine's log %s", (unsigned long long)w.broken_at, w.why);
        else if (s.forged_at > 0)
            kit_format(out_why, 256, "line %llu of this machine's log is not signed by the key that it names",
                       (unsigned long long)s.forged_at);
        else if (s.another)
            kit_format(out_why, 256, "this machine's log has another line %llu", (unsigned long long)place->seq + 1);
        else if (w.cut && (s.same_log || !there))
            kit_format(out_why, 256, "this machine's log %s", w.why);
        else if (!s.same_log && was_here)
            kit_format(out_why, 256, "the log of this machine that held line %llu of it is gone",
                       (unsigned long long)place->seq + 1);
        else if (!s.found)
            kit_format(out_why, 256, "this machine's log ends before line %llu", (unsigned long long)place->seq + 1);
    }
    walk_free(&w);
    return status;
}
