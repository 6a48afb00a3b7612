/* SPDX-License-Identifier: Apache-2.0 */
/* Walks a log from its first line to its last: checks links and signatures, finds a line, detects truncation. */
#include "receipt/internal.h"

#include "kolm/kit/lines.h"
#include "receipt/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Called for each whole line in its proper position; *out_more false ends the walk. */
typedef kit_status (*line_fn)(void *user, const receipt_line *line, bool *out_more, kolm_error_t *err);

/* Walks whole lines and follows their links, up to the first broken one. */
typedef struct walk {
    const char *path;
    receipt_heads heads; /* read before the log, which therefore cannot end before them */
    receipt_place expect;
    uint64_t lines, broken_at;
    uint64_t bytes; /* of the lines so far, each with its LF */
    bool torn, cut; /* cut: all present lines are valid, but there were more */
    receipt_head head;
    char why[200];
} walk;

/* *out_good false with w->why if the line is out of place. Any status but KOLM_OK: unknown. */
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
        wrong = "is not in canonical form";
    else if (!line->placed)
        wrong = "states no place in the chain";
    else if (strcmp(line->place.log_id, w->expect.log_id) != 0)
        wrong = "belongs to another log";
    else if (line->place.seq != w->expect.seq)
        wrong = "is out of order: a line before it was removed or added";
    else if (strcmp(line->place.prev, w->expect.prev) != 0)
        wrong = "does not follow the line before it, which was changed";
    else if (noted != NULL && noted->seq == line->place.seq && strcmp(noted->sha256, line->sha256) != 0)
        wrong = "differs from what was written there";
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

/* *out_whole: the file ends in LF, or is empty; otherwise its last line is incomplete. */
static kit_status ends_whole(int fd, uint64_t *out_size, bool *out_whole, kolm_error_t *err) {
    char last = '\n';
    ssize_t got = 1;
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) return kit_fail_errno(err, errno, "cannot seek to its end");
    do
        got = end > 0 ? pread(fd, &last, 1, end - 1) : 1;
    while (got < 0 && errno == EINTR);
    if (got != 1) return kit_fail_errno(err, got < 0 ? errno : EIO, "cannot read its end");
    (void)lseek(fd, 0, SEEK_SET);
    *out_size = (uint64_t)end;
    *out_whole = last == '\n';
    return KOLM_OK;
}

/* Follows the held-back line; *out_more is false if the walk ends with it. */
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

/* Checks at the end of the file that need all of it. */
static void end_walk(walk *w, uint64_t size) {
    char why[128];
    if (w->bytes < size && !w->torn) {
        /* The line reader ignores CR and byte order marks; a digest of the exact bytes must not. */
        w->broken_at = w->lines;
        kit_copy(w->why, sizeof w->why, "has carriage returns or a byte order mark that were not signed");
    } else if (receipt_heads_cut(&w->heads, w->lines > 0 ? &w->head : NULL, why, sizeof why) != NULL) {
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

/* Walks the log at path. *out_found is false if there is no such file: then the walk has no lines, and w->cut is true
 * if there should be some. */
static kit_status walk_log(const char *path, walk *w, line_fn visit, void *user, bool *out_found, kolm_error_t *err) {
    *w = (walk){.path = path, .expect = {.prev = RECEIPT_FIRST_PREV}};
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

/* Checks that the file, if it exists, may be appended to. */
static kit_status check_file(const char *path, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return KOLM_OK;
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open the receipt chain %s", path);
    kit_status status = receipt_check_owner(fd, path, KIT_TRUST_OWN, err);
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
        status = kit_fail(err, KOLM_E_DATA_LOSS, RECEIPT_BROKEN_REMEDY, "chain broken: line %llu of %s %s",
                          (unsigned long long)w.broken_at, path, w.why);
    if (status == KOLM_OK && found && w.cut)
        status = kit_fail(err, KOLM_E_DATA_LOSS, RECEIPT_BROKEN_REMEDY, "chain broken: %s %s", path, w.why);
    walk_free(&w);
    return status;
}

typedef struct search {
    const receipt_place *place;
    const char *sha256;
    const receipt_public *signer;
    bool same_log, found, another;
    uint64_t forged_at; /* number of the first line that names the signer but is not signed by it; 0: none */
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
            kit_format(out_why, 256, "line %llu of this machine's log differs", (unsigned long long)place->seq + 1);
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
