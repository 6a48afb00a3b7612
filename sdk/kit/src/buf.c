/* SPDX-License-Identifier: Apache-2.0 */
/* Growing buffers and bounded copies. */
#include "kolm/kit/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kit_buf_free(kit_buf *buf) {
    if (buf == NULL) return;
    free(buf->data);
    *buf = (kit_buf){0};
}

void kit_buf_clear(kit_buf *buf) {
    buf->length = 0;
    if (buf->data != NULL) buf->data[0] = '\0';
}

/* Makes room for more bytes and the NUL; false, permanently, if out of memory. */
static bool reserve(kit_buf *buf, size_t more) {
    if (buf->failed) return false;
    if (more >= SIZE_MAX / 2 - buf->length) {
        buf->failed = true;
        return false;
    }
    size_t need = buf->length + more + 1;
    if (need <= buf->capacity) return true;
    size_t capacity = buf->capacity == 0 ? 64 : buf->capacity;
    while (capacity < need)
        capacity *= 2;
    char *data = realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void kit_buf_add(kit_buf *buf, const void *bytes, size_t length) {
    if (!reserve(buf, length)) return;
    if (length > 0) memcpy(buf->data + buf->length, bytes, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void kit_buf_str(kit_buf *buf, const char *text) {
    kit_buf_add(buf, text, strlen(text));
}

void kit_buf_char(kit_buf *buf, char c) {
    kit_buf_add(buf, &c, 1);
}

void kit_buf_fmt(kit_buf *buf, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    size_t room = buf->failed || buf->data == NULL ? 0 : buf->capacity - buf->length;
    int length = vsnprintf(room > 0 ? buf->data + buf->length : NULL, room, format, args);
    va_end(args);
    if (length >= 0 && (size_t)length < room) { /* it usually fits */
        buf->length += (size_t)length;
        va_end(again);
        return;
    }
    if (room > 0) buf->data[buf->length] = '\0';
    if (length < 0) {
        buf->failed = true;
    } else if (reserve(buf, (size_t)length)) {
        vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    }
    va_end(again);
}

kit_status kit_buf_ok(const kit_buf *buf, kolm_error_t *err) {
    if (!buf->failed) return KOLM_OK;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory after %zu bytes of text", buf->length);
}

const char *kit_buf_text(const kit_buf *buf) {
    return buf->data == NULL ? "" : buf->data;
}

char *kit_buf_take(kit_buf *buf) {
    if (!buf->failed && buf->data == NULL) kit_buf_add(buf, "", 0);
    char *data = buf->data;
    if (buf->failed) {
        free(data);
        data = NULL;
    }
    *buf = (kit_buf){0};
    return data;
}

bool kit_copy(char *out, size_t capacity, const char *text) {
    if (capacity == 0) return false;
    size_t length = strlen(text);
    if (length < capacity) {
        memmove(out, text, length + 1);
        return true;
    }
    size_t end = capacity - 1;
    /* A code point has at most three continuation bytes; a longer run is not UTF-8 and may be cut anywhere. */
    for (int back = 0; back < 3 && end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80; back++)
        end--;
    memmove(out, text, end);
    out[end] = '\0';
    return false;
}

bool kit_format(char *out, size_t capacity, const char *format, ...) {
    kit_buf buf = {0};
    va_list args;
    va_start(args, format);
    char small[1024];
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    bool whole = false;
    if (length >= 0 && (size_t)length < sizeof small) {
        whole = kit_copy(out, capacity, small);
    } else if (length >= 0 && reserve(&buf, (size_t)length)) {
        vsnprintf(buf.data, (size_t)length + 1, format, again);
        whole = kit_copy(out, capacity, buf.data);
    } else if (capacity > 0) {
        out[0] = '\0';
    }
    va_end(again);
    kit_buf_free(&buf);
    return whole;
}

kit_status kit_strdup(const char *text, char **out, kolm_error_t *err) {
    *out = NULL;
    if (text == NULL) return KOLM_OK;
    *out = strdup(text);
    if (*out == NULL) return kit_no_memory(err);
    return KOLM_OK;
}
