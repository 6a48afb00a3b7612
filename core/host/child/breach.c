/* SPDX-License-Identifier: Apache-2.0 */
/* Breaches of kolm/backend.h by the plugin: each is reported once, and never ignored. */
#include "host/child/child.h"

#include "kolm/kit/text.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SAID_MAX 32 /* kinds of breaches; further ones are not listed */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const char *slot;
    uint64_t said[SAID_MAX];
    size_t count;
} state; /* slot: NULL while the table is being checked */

void child_breach_begin(const char *slot) {
    state.slot = slot;
}

/* FNV-1a: hashed, because the texts may belong to the plugin and disappear. */
static uint64_t digest(uint64_t sum, const char *text) {
    for (; *text; text++)
        sum = (sum ^ (unsigned char)*text) * 1099511628211u;
    return (sum ^ 0xffu) * 1099511628211u;
}

/* Under the lock. */
static bool is_new(uint64_t what) {
    for (size_t i = 0; i < state.count; i++)
        if (state.said[i] == what) return false;
    if (state.count == SAID_MAX) return false;
    state.said[state.count++] = what;
    return true;
}

/* Breaches in the table concern only the author: they do not affect a call. */
static void send_breach(host_breach_kind kind, bool mild, const char *about, const char *remedy, const char *text) {
    char whole[512];
    kit_format(whole, sizeof whole, "%s%s%s %s", state.slot ? state.slot : "", state.slot ? ": " : "", about, text);
    child_reply_breach(&(host_breach_line){(uint32_t)kind, mild || !state.slot, whole, remedy});
}

static void breach(host_breach_kind kind, bool mild, const char *about, const char *remedy, const char *format,
                   va_list list) KIT_PRINTF(5, 0);
static void breach(host_breach_kind kind, bool mild, const char *about, const char *remedy, const char *format,
                   va_list list) {
    char text[384];
    pthread_mutex_lock(&lock);
    bool tell = is_new(digest(digest(14695981039346656037u, about), format)), last = tell && state.count == SAID_MAX;
    pthread_mutex_unlock(&lock);
    if (!tell) return;
    (void)vsnprintf(text, sizeof text, format, list);
    send_breach(kind, mild, about, remedy, text);
    if (last) send_breach(kind, mild, "this call", "fix those first", "has more breaches, which are not listed");
}

void child_breach(host_breach_kind kind, const char *about, const char *remedy, const char *format, ...) {
    va_list list;
    va_start(list, format);
    breach(kind, false, about, remedy, format, list);
    va_end(list);
}

void child_breach_mild(host_breach_kind kind, const char *about, const char *remedy, const char *format, ...) {
    va_list list;
    va_start(list, format);
    breach(kind, true, about, remedy, format, list);
    va_end(list);
}

/* ---- Texts */

/* Offset of the first control character of a UTF-8 text; length if there is none. */
static size_t control_of(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) return i;
    return length;
}

static void check_chars(const char *about, const char *text, size_t length, unsigned how) {
    size_t valid = kit_utf8_valid(text, length), control;
    if (valid < length)
        child_breach(HOST_BREACH_TEXT, about, "use UTF-8", "is not UTF-8 (its byte %zu is 0x%02X)", valid + 1,
                     (unsigned)(unsigned char)text[valid]);
    else if (!(how & CHILD_MAY_HAVE_LINES) && (control = control_of(text, length)) < length)
        child_breach(HOST_BREACH_TEXT, about, "use one line, without control characters",
                     "is not one line of text (its byte %zu is 0x%02X)", control + 1,
                     (unsigned)(unsigned char)text[control]);
    else if (!(how & CHILD_MAY_BE_EMPTY) && length == 0)
        child_breach(HOST_BREACH_TEXT, about, "fill it in: it is shown to users", "is empty");
}

void child_check_text(const char *about, const char *text, size_t most, unsigned how) {
    if (!text) {
        child_breach(HOST_BREACH_TEXT, about, how & CHILD_MAY_BE_EMPTY ? "use \"\" if there is none" : "give a text",
                     "is NULL");
        return;
    }
    size_t length = strnlen(text, most + 1);
    if (length > most) {
        child_breach(HOST_BREACH_TEXT, about, "make it shorter", "is longer than %zu bytes, and was cut", most);
        size_t valid = kit_utf8_valid(text, most);
        length = valid + 4 > most ? valid : most; /* it may be cut within a character */
    }
    check_chars(about, text, length, how);
}

void child_check_array(const char *about, char *array, size_t size, unsigned how) {
    size_t length = strnlen(array, size);
    if (length == size)
        child_breach(HOST_BREACH_TEXT, about, "end every text with a NUL, as snprintf does",
                     "has no NUL within its %zu bytes", size);
    array[size - 1] = '\0';
    if (length >= size - 1) { /* cut within a character */
        length = size - 1;
        size_t valid = kit_utf8_valid(array, length);
        if (valid + 4 > length && ((unsigned char)array[valid] & 0xC0) == 0xC0) array[length = valid] = '\0';
    }
    check_chars(about, array, length, how);
}

/* ---- Numbers */

uint64_t child_check_u64(const char *about, uint64_t value) {
    if (value <= INT64_MAX || value == UINT64_MAX) return value;
    child_breach(HOST_BREACH_RECORD, about,
                 "use UINT64_MAX for unknown values, and check for a subtraction that went below 0",
                 "is %llu, which is more than INT64_MAX, and counts as unknown", (unsigned long long)value);
    return UINT64_MAX;
}

void child_check_reserved(const char *about, uint64_t value) {
    if (value == 0) return;
    child_breach(HOST_BREACH_RECORD, about, "leave it 0: a later kolm may give it a meaning", "is %llu and reserved",
                 (unsigned long long)value);
}
