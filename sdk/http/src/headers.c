/* SPDX-License-Identifier: Apache-2.0 */
/* Header lines: of a request for libcurl, and of an answer as pairs of strings. */
#include "internal.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* RFC 9110 5.6.2 */
static bool is_token(const char *text, size_t length) {
    if (length == 0) return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL)) return false;
    }
    return true;
}

/* Stored as "name\0value\0name\0value\0", names in lower case. */
void http_headers_take(kit_buf *headers, const char *line, size_t length) {
    const char *colon = memchr(line, ':', length);
    if (colon == NULL || !is_token(line, (size_t)(colon - line)) || memchr(line, '\0', length) != NULL) return;
    for (const char *p = line; p < colon; p++)
        kit_buf_char(headers, *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p);
    kit_buf_char(headers, '\0');
    const char *from = colon + 1, *end = line + length;
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n'))
        end--;
    kit_buf_add(headers, from, (size_t)(end - from));
    kit_buf_char(headers, '\0');
}

const char *http_headers_find(const kit_buf *headers, const char *name) {
    const char *at = kit_buf_text(headers), *end = at + headers->length, *found = NULL;
    if (headers->failed) return NULL;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcasecmp(at, name) == 0) found = value;
        at = value + strlen(value) + 1;
    }
    return found;
}

const char *kit_http_header_of(const kit_http_answer *answer, const char *name) {
    return http_headers_find(&answer->headers, name);
}

static bool digits(const char **at, uint64_t *out) {
    char text[24];
    size_t n = strspn(*at, "0123456789");
    if (n == 0 || n >= sizeof text) return false;
    memcpy(text, *at, n);
    text[n] = '\0';
    *at += n;
    return kit_parse_u64(text, out);
}

bool http_content_range(const char *text, uint64_t *out_first, uint64_t *out_total) {
    uint64_t last = 0;
    *out_first = *out_total = UINT64_MAX;
    if (strncasecmp(text, "bytes ", 6) != 0) return false;
    text += 6;
    if (*text == '*')
        text++;
    else if (!digits(&text, out_first) || *text++ != '-' || !digits(&text, &last) || last < *out_first)
        return false;
    if (*text++ != '/') return false;
    if (strcmp(text, "*") == 0) return *out_first != UINT64_MAX;
    return digits(&text, out_total) && *text == '\0' && (*out_first == UINT64_MAX || last < *out_total);
}

/* Appends "name: value" followed by the secret, and wipes the buffers used. */
static kit_status append(http_flight *f, const char *name, const char *value, const kit_secret *secret,
                         kolm_error_t *err) {
    kit_buf line = {0};
    /* "Name:" would make libcurl drop the header; with ";" it sends an empty one. */
    bool empty = value[0] == '\0' && secret == NULL;
    kit_buf_fmt(&line, empty ? "%s;%s" : "%s: %s", name, value);
    if (secret != NULL) {
        /* Allocated at full size, so that growing leaves no copy behind. */
        kit_buf whole = {0};
        const char *text = http_secret_text(secret);
        char *room = malloc(line.length + strlen(text) + 1);
        if (room != NULL && !line.failed) {
            memcpy(room, kit_buf_text(&line), line.length);
            memcpy(room + line.length, text, strlen(text) + 1);
            whole = (kit_buf){
                .data = room, .length = line.length + strlen(text), .capacity = line.length + strlen(text) + 1};
            kit_buf_free(&line);
            line = whole;
        } else {
            free(room);
            line.failed = true;
        }
    }
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(f->list, kit_buf_text(&line));
    if (line.data != NULL) http_wipe(line.data, line.length);
    kit_buf_free(&line);
    if (longer == NULL) return kit_no_memory(err);
    f->list = longer;
    return KOLM_OK;
}

/* Headers that libcurl sets, or that would bypass the limits of this library. */
static bool is_managed(const char *name) {
    static const char *const managed[] = {"Host",   "Content-Length", "Transfer-Encoding", "Connection",
                                          "Range",  "If-Range",       "Accept-Encoding",   "Expect",
                                          "Upgrade"};
    for (size_t i = 0; i < sizeof managed / sizeof managed[0]; i++)
        if (strcasecmp(name, managed[i]) == 0) return true;
    return false;
}

static bool is_value(const char *value) {
    for (; *value != '\0'; value++)
        if ((unsigned char)*value < ' ' || *value == 0x7F) return false;
    return true;
}

static kit_status given_headers(http_flight *f, bool *out_typed, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    for (size_t i = 0; i < r->header_count; i++) {
        const kit_http_header *h = &r->headers[i];
        const char *value = h->value != NULL ? h->value : "";
        if (!is_token(h->name, strlen(h->name)) || is_managed(h->name) || !is_value(value))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                            "the header %.60s cannot be sent as it is", h->name);
        if (strcasecmp(h->name, "Content-Type") == 0) *out_typed = true;
        KIT_TRY(append(f, h->name, value, h->secret, err));
    }
    return KOLM_OK;
}

static kit_status body_type(http_flight *f, bool typed, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    if (typed || r->part_count > 0) return KOLM_OK;
    if (!http_has_body(r)) { /* libcurl would send an empty POST as a form */
        struct curl_slist *longer = curl_slist_append(f->list, "Content-Type:");
        if (longer == NULL) return kit_no_memory(err);
        f->list = longer;
        return KOLM_OK;
    }
    const char *type = r->content_type != NULL ? r->content_type
                       : r->has_body_file      ? "application/octet-stream"
                                               : "application/json";
    return append(f, "Content-Type", type, NULL, err);
}

kit_status http_headers_build(http_flight *f, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    bool typed = false;
    if (r->content_type != NULL && !is_value(r->content_type))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                        "the content type cannot be sent as it is");
    KIT_TRY(given_headers(f, &typed, err));
    KIT_TRY(body_type(f, typed, err));
    if (r->repeat == KIT_HTTP_KEYED) {
        const char *name = r->key_header != NULL ? r->key_header : "Idempotency-Key";
        if (r->key == NULL || r->key[0] == '\0' || !is_value(r->key) || !is_token(name, strlen(name)))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                            "a request with a key has none that can be sent");
        KIT_TRY(append(f, name, r->key, NULL, err));
    }
    if (f->range_from > 0 && f->etag[0] != '\0') KIT_TRY(append(f, "If-Range", f->etag, NULL, err));
    struct curl_slist *longer = curl_slist_append(f->list, "Expect:"); /* send the body without waiting for 100 */
    if (longer == NULL) return kit_no_memory(err);
    f->list = longer;
    return KOLM_OK;
}

void http_headers_free(http_flight *f) {
    for (struct curl_slist *at = f->list; at != NULL; at = at->next)
        http_wipe(at->data, strlen(at->data));
    curl_slist_free_all(f->list);
    f->list = NULL;
}
