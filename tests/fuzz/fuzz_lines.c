/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the line reader gives what a plain walk over the same bytes gives, whatever the limit and the chunks. */
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

/* Compares one answer of the reader with the line that begins at *at. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    kolm_error_t err = KIT_ERROR_INIT;
    /* The first byte chooses the limit; the text is repeated until it is longer than the reader's first buffer. */
    size_t limit = data[0] < 128 ? data[0] : (size_t)data[0] << 9;
    kit_buf text = {0};
    size_t copies = data[0] % 3 == 0 && size > 8 ? 1 + (70000 / size) : 1;
    for (size_t i = 0; i < copies; i++) kit_buf_add(&text, data + 1, size - 1);
    int fd = memfd_create("lines", MFD_CLOEXEC);
    must(fd >= 0 && kit_write_all(fd, kit_buf_text(&text), text.length, &err) == KOLM_OK && lseek(fd, 0, SEEK_SET) == 0);
    kit_lines *lines = NULL;
    must(kit_lines_open(fd, limit, &lines, &err) == KOLM_OK);
    uint64_t number = 0;
    for (size_t at = 0; at < text.length;) {
        compare(lines, text.data, text.length, limit, &at);
        must(kit_lines_number(lines) == ++number);
    }
    const char *line = "";
    size_t length = 1;
    must(kit_lines_next(lines, &line, &length, &err) == KOLM_OK && line == NULL && length == 0 && kit_lines_ready(lines));
    kit_lines_close(lines);
    close(fd);
    kit_buf_free(&text);
    return 0;
}
