/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: headers of a server (lines, dates, Retry-After, Content-Range), and secrets in texts. */
#include "fuzz.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char canary[] = "r8_ThisIsTheCanary0123456789";

static void read_value(const char *text) {
    int64_t ms = -1, again = -2, seconds = 0;
    uint64_t first = 0, total = 0;
    if (kit_http_retry_after(text, NULL, 1700000000, &ms)) {
        must(ms >= 0 && ms <= KIT_HTTP_WAIT_MS_MAX && ms % 1000 == 0);
        must(kit_http_retry_after(text, "", 1700000000, &again) && again == ms);
    }
    if (kit_http_date(text, &seconds)) must(seconds >= 0 && seconds < 253402300801);
    if (http_content_range(text, &first, &total)) must((first == UINT64_MAX && total != UINT64_MAX) || first < total);
}

/* A redacted text contains no eight consecutive bytes of the secret, whatever is around them. */
static void redact(const kit_secret *secret, const char *text, size_t length) {
    kit_buf dirty = {0}, clean = {0};
    for (size_t cut = 8; cut < sizeof canary - 1; cut += 7) {
        kit_buf_clear(&dirty);
        kit_buf_clear(&clean);
        kit_buf_add(&dirty, text, length / 2);
        kit_buf_add(&dirty, canary + sizeof canary - 1 - cut, cut);
        kit_buf_add(&dirty, text + length / 2, length - length / 2);
        kit_secret_redact(&secret, 1, kit_buf_text(&dirty), dirty.length, &clean);
        for (size_t at = 0; at + 8 < sizeof canary; at++)
            must(memmem(clean.data, clean.length, canary + at, 8) == NULL);
    }
    kit_buf_free(&dirty);
    kit_buf_free(&clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf headers = {0};
    kit_secret *secret = NULL;
    char *text = malloc(size + 1);
    must(text != NULL && kit_secret_new("TOKEN", canary, sizeof canary - 1, &secret, &err) == KOLM_OK);
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = text; line < text + size;) {
        char *end = memchr(line, '\n', (size_t)(text + size - line));
        size_t length = (size_t)((end != NULL ? end : text + size) - line);
        http_headers_take(&headers, line, length);
        line += length + 1;
    }
    for (const char *at = kit_buf_text(&headers), *end = at + headers.length; at < end;) {
        const char *value = at + strlen(at) + 1;
        must(at[0] != '\0' && value < end && http_headers_find(&headers, at) != NULL);
        read_value(value);
        at = value + strlen(value) + 1;
    }
    read_value(text);
    if (size < 512) redact(secret, text, size);
    kit_buf_free(&headers);
    kit_secret_free(secret);
    free(text);
    return 0;
}
