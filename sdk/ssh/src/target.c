/* SPDX-License-Identifier: Apache-2.0 */
/* [user@]host[:port], ssh:// URIs, and patterns for hosts. */
#include "internal.h"

#include "kolm/kit/address.h"
#include "kolm/kit/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Lists */

#define MOST_ITEMS 256

kit_status kit_ssh_list_add(kit_ssh_list *list, const char *text, size_t length, kolm_error_t *err) {
    if (list->count >= MOST_ITEMS)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten the list", "more than %d values", MOST_ITEMS);
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items != NULL) list->items = items;
    char *copy = items != NULL ? strndup(text, length) : NULL;
    if (copy == NULL) return kit_no_memory(err);
    list->items[list->count++] = copy;
    return KOLM_OK;
}

bool kit_ssh_list_has(const kit_ssh_list *list, const char *text) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text) == 0) return true;
    return false;
}

void kit_ssh_list_free(kit_ssh_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (kit_ssh_list){0};
}

/* ---- Targets */

static bool good_host_byte(unsigned char c) {
    return c >= 0x80 || isalnum(c) || c == '.' || c == '_' || c == '-' || c == ':' || c == '%';
}

static bool good_user_byte(unsigned char c) {
    return c > 0x20 && c != 0x7F && strchr("'`\";&<>|(){}\\", c) == NULL;
}

static kit_status bad_target(kolm_error_t *err, const char *text, const char *why) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    kit_status status =
        kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it as [user@]host[:port], with IPv6 addresses in brackets",
                 "the target \"%s\" %s", kit_buf_text(&shown), why);
    kit_buf_free(&shown);
    return status;
}

static const char *wrong_user(const kit_endpoint *e, kit_ssh_target *out) {
    if (e->user_length >= sizeof out->user) return "has a user that is too long";
    memcpy(out->user, e->user, e->user_length);
    if (out->user[0] == '-') return "has a user that begins with a dash";
    for (const char *p = out->user; *p != '\0'; p++)
        if (!good_user_byte((unsigned char)*p)) return "has a user with an invalid character";
    return NULL;
}

static const char *wrong_host(const kit_endpoint *e, kit_ssh_target *out) {
    if (e->host_length >= sizeof out->host) return "has a host that is too long";
    memcpy(out->host, e->host, e->host_length);
    if (out->host[0] == '-') return "has a host that begins with a dash";
    for (const char *p = out->host; *p != '\0'; p++)
        if (!good_host_byte((unsigned char)*p)) return "has a host with an invalid character";
    return NULL;
}

kit_status kit_ssh_target_parse(const char *text, kit_ssh_target *out, kolm_error_t *err) {
    static const char *const faults[] = {[KIT_ENDPOINT_USER] = "has an empty user",
                                         [KIT_ENDPOINT_HOST] = "has an empty host",
                                         [KIT_ENDPOINT_BRACKET] =
                                             "has a bracket that is not closed before the port or the end",
                                         [KIT_ENDPOINT_PORT] = "has a port that is not a number from 1 to 65535"};
    kit_endpoint e;
    size_t length = strlen(text);
    *out = (kit_ssh_target){0};
    if (length == 0) return bad_target(err, text, "is empty");
    if (kit_utf8_valid(text, length) != length) return bad_target(err, text, "is not UTF-8");
    kit_endpoint_fault fault = kit_endpoint_split(text, &e);
    const char *wrong = e.user != NULL ? wrong_user(&e, out) : NULL;
    if (wrong == NULL && fault != KIT_ENDPOINT_GOOD && fault != KIT_ENDPOINT_PORT) wrong = faults[fault];
    if (wrong == NULL) wrong = wrong_host(&e, out);
    if (wrong == NULL && fault == KIT_ENDPOINT_PORT) wrong = faults[fault];
    out->port = e.port;
    return wrong == NULL ? KOLM_OK : bad_target(err, text, wrong);
}

/* ---- ssh:// */

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* Decodes the user of a URI: %XX is a byte, and parameters follow a semicolon. */
static bool decode_user(const char *from, size_t length, char *out, size_t capacity) {
    size_t n = 0;
    for (size_t i = 0; i < length && from[i] != ';'; i++) {
        int byte = (unsigned char)from[i];
        if (byte == '%') {
            bool whole = i + 2 < length;
            int high = whole ? hex_digit(from[i + 1]) : -1, low = whole ? hex_digit(from[i + 2]) : -1;
            if (high < 0 || low < 0 || (high | low) == 0) return false;
            byte = high << 4 | low;
            i += 2;
        }
        if (n + 1 >= capacity) return false;
        out[n++] = (char)byte;
    }
    out[n] = '\0';
    return n > 0;
}

kit_status ssh_hop_parse(const char *text, kit_ssh_target *out, kolm_error_t *err) {
    static const char scheme[] = "ssh://";
    if (strncasecmp(text, scheme, sizeof scheme - 1) != 0) return kit_ssh_target_parse(text, out, err);
    const char *rest = text + sizeof scheme - 1, *at = strrchr(rest, '@');
    char user[KIT_SSH_USER_BYTES] = "";
    *out = (kit_ssh_target){0};
    if (at != NULL && !decode_user(rest, (size_t)(at - rest), user, sizeof user))
        return bad_target(err, text, "has an invalid user");
    kit_buf plain = {0};
    const char *host = at != NULL ? at + 1 : rest;
    size_t length = strlen(host);
    if (length > 0 && host[length - 1] == '/') length--;
    if (memchr(host, '/', length) != NULL) return bad_target(err, text, "has a path after the host");
    kit_buf_fmt(&plain, "%s%s%.*s", user, at != NULL ? "@" : "", (int)length, host);
    kit_status status = kit_buf_ok(&plain, err);
    if (status == KOLM_OK) status = kit_ssh_target_parse(kit_buf_text(&plain), out, err);
    kit_buf_free(&plain);
    return status;
}

kit_status ssh_target_text(const kit_ssh_target *target, kit_buf *out, kolm_error_t *err) {
    bool v6 = strchr(target->host, ':') != NULL;
    kit_buf_fmt(out, "%s%s%s%s%s", target->user, target->user[0] != '\0' ? "@" : "", v6 ? "[" : "", target->host,
                v6 ? "]" : "");
    if (target->port != 0) kit_buf_fmt(out, ":%u", target->port);
    return kit_buf_ok(out, err);
}

/* ---- Patterns */

/* fold: converts the pattern to lower case, as ssh does; the text is in lower case already. */
bool ssh_match_pattern(const char *text, const char *pattern, size_t length, bool fold) {
    /* Backtracks to the last star only, so that the work is at most text times pattern. */
    const char *end = pattern + length, *star = NULL, *kept = NULL;
    while (*text != '\0') {
        unsigned char wanted = pattern < end ? (unsigned char)*pattern : '\0';
        if (fold) wanted = (unsigned char)tolower(wanted);
        if (pattern < end && wanted == '*') {
            star = ++pattern;
            kept = text;
        } else if (pattern < end && (wanted == '?' || wanted == (unsigned char)*text)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star;
            text = ++kept;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*')
        pattern++;
    return pattern == end;
}

bool ssh_match_patterns(const char *text, const char *patterns, bool fold) {
    bool found = false;
    for (const char *p = patterns;; p++) {
        size_t length = strcspn(p, ",");
        bool negated = length > 0 && *p == '!';
        if (length > 0 && ssh_match_pattern(text, p + negated, length - negated, fold)) {
            if (negated) return false;
            found = true;
        }
        p += length;
        if (*p == '\0') return found;
    }
}

bool kit_ssh_match_list(const char *host, const char *patterns) {
    char small[KIT_SSH_HOST_BYTES + 16];
    if (!kit_copy(small, sizeof small, host)) return false;
    for (char *p = small; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return ssh_match_patterns(small, patterns, true);
}
