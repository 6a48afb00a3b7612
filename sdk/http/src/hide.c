/* SPDX-License-Identifier: Apache-2.0 */
/* Hides what a recording must not contain although it is not a secret of the request: newly created keys, cookies,
 * signatures in URLs. */
#include "hide.h"

#include <string.h>
#include <strings.h>

#define HIDDEN "[hidden]"

#define NAME_MAX_BYTES 256u /* compared, from the end */

/* Copies the end of name in lower case without '-' and '_', so that api_key and apiKey are equal; drops the beginning
 * if it is too long. Returns the length. */
static size_t fold(const char *name, size_t length, char out[NAME_MAX_BYTES]) {
    size_t n = 0;
    for (size_t i = length > NAME_MAX_BYTES ? length - NAME_MAX_BYTES : 0; i < length; i++) {
        char c = name[i];
        if (c != '-' && c != '_') out[n++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    return n;
}

static bool ends_in(const char *name, size_t length, const char *const *endings) {
    for (; *endings != NULL; endings++) {
        size_t n = strlen(*endings);
        if (length >= n && memcmp(name + length - n, *endings, n) == 0) return true;
    }
    return false;
}

static bool is_private_folded(const char *name, size_t length) {
    static const char *const endings[] = {
        "token",  "secret",        "password", "signature", "credential", "credentials", "jwt",
        "cookie", "authorization", "apikey",   "accesskey", "privatekey", "secretkey",   NULL};
    return ends_in(name, length, endings);
}

static bool is_private_member(const char *name, size_t length) {
    char folded[NAME_MAX_BYTES];
    return is_private_folded(folded, fold(name, length, folded));
}

bool http_is_private_header(const char *name) {
    return is_private_member(name, strlen(name)) || strcasecmp(name, "set-cookie2") == 0;
}

static bool is_private_parameter(const char *name, size_t length) {
    static const char *const whole[] = {"policy", "expires", "sig",       "se",   "sp", "sv",
                                        "sr",     "key",     "keypairid", "code", NULL};
    char folded[NAME_MAX_BYTES];
    size_t n = fold(name, length, folded);
    if (n > 4 && (memcmp(folded, "xamz", 4) == 0 || memcmp(folded, "xgoo", 4) == 0)) return true;
    for (size_t i = 0; whole[i] != NULL; i++)
        if (strlen(whole[i]) == n && memcmp(folded, whole[i], n) == 0) return true;
    return is_private_folded(folded, n);
}

void http_hide_url(const char *url, size_t length, kit_buf *out) {
    const char *query = memchr(url, '?', length), *end = url + length;
    kit_buf_add(out, url, (size_t)((query != NULL ? query + 1 : end) - url));
    for (const char *at = query != NULL ? query + 1 : end; at < end;) {
        const char *stop = memchr(at, '&', (size_t)(end - at)), *equals;
        if (stop == NULL) stop = end;
        equals = memchr(at, '=', (size_t)(stop - at));
        if (equals != NULL && is_private_parameter(at, (size_t)(equals - at))) {
            kit_buf_add(out, at, (size_t)(equals + 1 - at));
            kit_buf_str(out, HIDDEN);
        } else {
            kit_buf_add(out, at, (size_t)(stop - at));
        }
        if (stop < end) kit_buf_char(out, '&');
        at = stop < end ? stop + 1 : end;
    }
}

static bool hide_string(cJSON *item) {
    const char *text = item->valuestring;
    bool whole = item->string != NULL && is_private_member(item->string, strlen(item->string));
    bool url =
        (strncasecmp(text, "https://", 8) == 0 || strncasecmp(text, "http://", 7) == 0) && strchr(text, '?') != NULL;
    kit_buf hidden = {0};
    if (!whole && !url) return true;
    if (whole)
        kit_buf_str(&hidden, text[0] != '\0' ? HIDDEN : "");
    else
        http_hide_url(text, strlen(text), &hidden);
    bool good = !hidden.failed && cJSON_SetValuestring(item, kit_buf_text(&hidden)) != NULL;
    kit_buf_free(&hidden);
    return good;
}

/* Recurses at most as deep as the JSON parser allows. */
bool http_hide_json(cJSON *json) {
    cJSON *item = NULL;
    if (cJSON_IsString(json)) return hide_string(json);
    if (!cJSON_IsArray(json) && !cJSON_IsObject(json)) return true;
    bool private = json->string != NULL && is_private_member(json->string, strlen(json->string));
    cJSON_ArrayForEach(item, json) {
        if (private && cJSON_IsString(item)) { /* elements of a list have no name of their own */
            if (cJSON_SetValuestring(item, HIDDEN) == NULL) return false;
        } else if (!http_hide_json(item)) {
            return false;
        }
    }
    return true;
}
