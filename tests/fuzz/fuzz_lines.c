/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the line reader returns the same lines as a plain loop over the bytes, for any limit and chunk size. */
#include "fuzz.h"
#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FIRST_BUFFER 65536u /* the size of the reader's first buffer */

/* Compares one result of the reader with the line that begins at *at. */
static void compare(kit_lines *lines, const char *text, size_t size, size_t limit, size_t *at) {
    kolm_error_t err = KIT_ERROR_INIT;
    const char *line = NULL, *lf = memchr(text + *at, '\n', size - *at);
    size_t length = 0, want = (lf != NULL ? (size_t)(lf - text) : size) - *at;
    kit_status status = kit_lines_next(lines, &line, &length, &err);
    const char *from = text + *at;
    bool first = *at == 0;
    *at += want + (lf != NULL ? 1 : 0);
    if (want > limit) {
        must(status == KOLM_E_OUT_OF_RANGE && line == NULL);
        return;
    }
    if (want > 0 && from[want - 1] == '\r') want--;
    if (first && want >= 3 && memcmp(from, "\xEF\xBB\xBF", 3) == 0) {
        from += 3;
        want -= 3;
    }
    must(status == KOLM_OK && line != NULL && length == want && memcmp(line, from, want) == 0 && line[want] == '\0');
}

/* A source in memory that returns at most `most` bytes at a time. */
typedef struct memory {
    const char *at;
    size_t left, most;
} memory;

static kit_status read_memory(void *user, char *out, size_t capacity, size_t *out_length, kolm_error_t *err) {
    memory *m = user;
    size_t n = m->left < m->most ? m->left : m->most;
    (void)err;
    must(capacity > 0);
    if (n > capacity) n = capacity;
    if (n > 0) memcpy(out, m->at, n);
    m->at += n;
    m->left -= n;
    *out_length = n;
    return KOLM_OK;
}

static void read_all(kit_lines *lines, const kit_buf *text, size_t limit) {
    kolm_error_t err = KIT_ERROR_INIT;
    uint64_t number = 0;
    for (size_t at = 0; at < text->length;) {
        compare(lines, text->data, text->length, limit, &at);
        must(kit_lines_number(lines) == ++number);
    }
    const char *line = "";
    size_t length = 1;
    must(kit_lines_next(lines, &line, &length, &err) == KOLM_OK && line == NULL && length == 0 &&
         kit_lines_ready(lines));
}

/* The first byte selects the limit; the second the size of the pieces (0: read from a file), and whether a long line,
 * which ends near the end of the reader's first buffer, precedes the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char filler[FIRST_BUFFER + 64];
    static int fd = -1;
    if (size < 2) return 0;
    const size_t limit = data[0] < 128 ? data[0] : (size_t)data[0] << 9, most = data[1] & 63;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf text = {0};
    kit_lines *lines = NULL;
    if (data[1] & 64) {
        size_t length = FIRST_BUFFER - 64 + (data[0] & 127u);
        memset(filler, 'x', length);
        kit_buf_add(&text, filler, length);
        kit_buf_char(&text, '\n');
    }
    kit_buf_add(&text, data + 2, size - 2);
    if (fd < 0) fd = memfd_create("lines", MFD_CLOEXEC);
    memory source = {kit_buf_text(&text), text.length, most > 0 ? (data[1] & 64 ? most << 10 : most) : SIZE_MAX};
    if (most == 0)
        must(fd >= 0 && ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0 &&
             kit_write_all(fd, kit_buf_text(&text), text.length, &err) == KOLM_OK && lseek(fd, 0, SEEK_SET) == 0);
    must(kit_lines_open(fd, limit, &lines, &err) == KOLM_OK);
    if (most > 0) kit_lines_read_with(lines, read_memory, &source);
    read_all(lines, &text, limit);
    kit_lines_close(lines);
    kit_buf_free(&text);
    return 0;
}
