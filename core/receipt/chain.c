/* SPDX-License-Identifier: Apache-2.0 */
/* The chain on disk: its lines, repair, append, head. chain_walk.c checks every link. */
#include "receipt/internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/text.h"
#include "receipt/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 65536

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
/* Finds the last LF before offset end; *out_at is the offset after it, 0 if there is none. */
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
        return kit_fail(err, KOLM_E_DATA_LOSS, RECEIPT_BROKEN_REMEDY, "its last line is larger than 16 MiB");
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

/* The place and digest of the last complete line. *out_end: its end; *out_found is false if there is none. */
static kit_status read_last(int fd, receipt_head *out_head, uint64_t *out_end, bool *out_found, kolm_error_t *err) {
    struct stat info;
    uint64_t from = 0;
    kit_buf text = {0};
    receipt_line line = {0};
    *out_found = false;
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access the chain");
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
            status = kit_fail(err, KOLM_E_DATA_LOSS, RECEIPT_BROKEN_REMEDY, "its last line is not a receipt: %s", why);
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
    kit_copy(chain->next.prev, sizeof chain->next.prev, RECEIPT_FIRST_PREV);
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

/* A missing log was moved away, or never existed: start a new one. Recorded before the file exists, so that after a
 * crash in between an empty file is not mistaken for a truncated log. */
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

static kit_status refuse_cut(const char *path, const receipt_head *head, kolm_error_t *err) {
    receipt_heads heads;
    char why[128];
    KIT_TRY(receipt_heads_read(path, &heads, err));
    bool cut = receipt_heads_cut(&heads, head, why, sizeof why) != NULL;
    receipt_heads_free(&heads);
    return cut ? kit_fail(err, KOLM_E_DATA_LOSS, RECEIPT_BROKEN_REMEDY, "it %s", why) : KOLM_OK;
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
    KIT_TRY(receipt_check_owner(chain->fd, path, KIT_TRUST_OWN, err));
    KIT_TRY(kit_lock_hold(chain->fd, "it", err));
    KIT_TRY(read_last(chain->fd, &head, &chain->size, &found, err));
    KIT_TRY(refuse_cut(path, found ? &head : NULL, err));
    if (fstat(chain->fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access it");
    if ((uint64_t)info.st_size != chain->size) {
        if (ftruncate(chain->fd, (off_t)chain->size) != 0)
            return kit_fail_errno(err, errno, "cannot truncate its incomplete last line");
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
    if (chain == NULL) return kit_no_memory(err);
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
        /* The next writer would repair half a line, but not whole lines that were not acknowledged. */
        int ignored = ftruncate(chain->fd, (off_t)chain->size);
        (void)ignored;
        kit_fail_context(err, "cannot append to the receipt chain %s", chain->path);
        return status;
    }
    chain->size += length;
    chain->next = place;
    /* The lines are on disk even if the heads file cannot be written; the next append writes it again. */
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
