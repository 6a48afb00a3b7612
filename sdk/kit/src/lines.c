/* SPDX-License-Identifier: Apache-2.0 */
/* Reading lines from a descriptor with a bounded buffer. */
#include "kolm/kit/lines.h"
#include "kolm/kit/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAPACITY (64u * 1024)

struct kit_lines {
    int fd;
    size_t max_line;
    char *data;
    size_t capacity;
    size_t begin, end; /* unread bytes */
    size_t scanned;    /* of those, the number known to contain no LF */
    bool at_end;
    bool skipping; /* the rest of a line that was reported as too long is still to be dropped */
    uint64_t number;
    const volatile sig_atomic_t *stop;
    kit_lines_read_fn read;
    void *read_user;
    kit_lines_wait_fn wait;
    void *wait_user;
};

kit_status kit_lines_open(int fd, size_t max_line, kit_lines **out, kolm_error_t *err) {
    *out = NULL;
    kit_lines *lines = calloc(1, sizeof *lines);
    if (lines != NULL) lines->data = malloc(FIRST_CAPACITY);
    if (lines == NULL || lines->data == NULL) {
        free(lines);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "out of memory for reading lines");
    }
    lines->fd = fd;
    lines->max_line = max_line;
    lines->capacity = FIRST_CAPACITY;
    *out = lines;
    return KOLM_OK;
}

void kit_lines_stop_on(kit_lines *lines, const volatile sig_atomic_t *flag) {
    lines->stop = flag;
}

void kit_lines_wait_with(kit_lines *lines, kit_lines_wait_fn wait, void *user) {
    lines->wait = wait;
    lines->wait_user = user;
}

void kit_lines_read_with(kit_lines *lines, kit_lines_read_fn read, void *user) {
    lines->read = read;
    lines->read_user = user;
}

void kit_lines_close(kit_lines *lines) {
    if (lines == NULL) return;
    free(lines->data);
    free(lines);
}

uint64_t kit_lines_number(const kit_lines *lines) {
    return lines->number;
}

bool kit_lines_ready(const kit_lines *lines) {
    return lines->at_end ||
           (!lines->skipping && memchr(lines->data + lines->begin, '\n', lines->end - lines->begin) != NULL);
}

static bool stopped(const kit_lines *lines) {
    return lines->stop != NULL && *lines->stop != 0;
}

static kit_status interrupted(const kit_lines *lines, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while waiting for line %llu",
                    (unsigned long long)lines->number + 1);
}

/* Appends more bytes to the buffer, which must have room for at least one byte and the NUL. */
static kit_status fill(kit_lines *lines, kolm_error_t *err) {
    if (lines->wait != NULL) KIT_TRY(lines->wait(lines->wait_user, err));
    for (;;) {
        /* Before each read, too: a source that always has data never waits. */
        if (stopped(lines)) return interrupted(lines, err);
        size_t got_bytes = 0, room = lines->capacity - lines->end - 1;
        if (lines->read != NULL) {
            KIT_TRY(lines->read(lines->read_user, lines->data + lines->end, room, &got_bytes, err));
        } else {
            ssize_t got = read(lines->fd, lines->data + lines->end, room);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0)
                return kit_fail_errno(err, errno, "reading failed after line %llu", (unsigned long long)lines->number);
            got_bytes = (size_t)got;
        }
        if (got_bytes == 0) lines->at_end = true;
        lines->end += got_bytes;
        return KOLM_OK;
    }
}

static kit_status make_room(kit_lines *lines, kolm_error_t *err) {
    if (lines->begin > 0) {
        memmove(lines->data, lines->data + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->capacity - lines->end > 1) return KOLM_OK;
    size_t capacity = lines->capacity * 2;
    char *data = realloc(lines->data, capacity);
    if (data == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "out of memory for a line of %zu bytes", lines->end);
    lines->data = data;
    lines->capacity = capacity;
    return KOLM_OK;
}

/* Drops the rest of a line that was too long. */
static kit_status finish_skipping(kit_lines *lines, kolm_error_t *err) {
    while (lines->skipping) {
        char *lf = memchr(lines->data + lines->begin, '\n', lines->end - lines->begin);
        if (lf != NULL) lines->begin = (size_t)(lf - lines->data) + 1;
        if (lf == NULL) lines->begin = lines->end = 0;
        lines->skipping = lf == NULL && !lines->at_end;
        if (lines->skipping) KIT_TRY(fill(lines, err));
    }
    return KOLM_OK;
}

/* Reported at once: the line may never end. */
static kit_status too_long(kit_lines *lines, kolm_error_t *err) {
    lines->scanned = 0;
    lines->skipping = true;
    lines->number++;
    return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "line %llu is longer than %zu bytes",
                    (unsigned long long)lines->number, lines->max_line);
}

static void give(kit_lines *lines, size_t length, size_t consumed, const char **out_line, size_t *out_length) {
    char *line = lines->data + lines->begin;
    if (length > 0 && line[length - 1] == '\r') length--;
    lines->begin += consumed;
    lines->scanned = 0;
    lines->number++;
    line[length] = '\0';
    if (lines->number == 1 && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        length -= 3;
    }
    *out_line = line;
    *out_length = length;
}

kit_status kit_lines_next(kit_lines *lines, const char **out_line, size_t *out_length, kolm_error_t *err) {
    *out_line = NULL;
    *out_length = 0;
    if (lines->skipping) KIT_TRY(finish_skipping(lines, err));
    for (;;) {
        size_t unread = lines->end - lines->begin;
        char *from = lines->data + lines->begin + lines->scanned;
        char *lf = memchr(from, '\n', unread - lines->scanned);
        size_t length = lf != NULL ? (size_t)(lf - lines->data) - lines->begin : unread;
        if (length > lines->max_line) return too_long(lines, err);
        if (lf != NULL) {
            give(lines, length, length + 1, out_line, out_length);
            return KOLM_OK;
        }
        if (lines->at_end) {
            if (unread > 0) give(lines, unread, unread, out_line, out_length);
            return KOLM_OK;
        }
        lines->scanned = unread;
        KIT_TRY(make_room(lines, err));
        KIT_TRY(fill(lines, err));
    }
}
