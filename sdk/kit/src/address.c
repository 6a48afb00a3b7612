/* SPDX-License-Identifier: Apache-2.0 */
/* Splits [user@]host[:port], and detects private addresses. */
#include "kolm/kit/address.h"
#include "kolm/kit/text.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

bool kit_parse_port(const char *text, uint16_t *out) {
    uint64_t number;
    if (!kit_parse_u64(text, &number) || number < 1 || number > UINT16_MAX) return false;
    *out = (uint16_t)number;
    return true;
}

/* *out_port: after the colon; NULL if there is none. */
static bool split_host(const char *from, kit_endpoint *out, const char **out_port) {
    *out_port = NULL;
    out->bracketed = *from == '[';
    if (out->bracketed) {
        const char *end = strchr(from, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) return false;
        out->host = from + 1;
        out->host_length = (size_t)(end - out->host);
        if (end[1] == ':') *out_port = end + 2;
        return true;
    }
    const char *colon = strchr(from, ':');
    bool port = colon != NULL && strchr(colon + 1, ':') == NULL;
    out->host = from;
    out->host_length = port ? (size_t)(colon - from) : strlen(from);
    if (port) *out_port = colon + 1;
    return true;
}

kit_endpoint_fault kit_endpoint_split(const char *text, kit_endpoint *out) {
    const char *at = strrchr(text, '@'), *port;
    *out = (kit_endpoint){.port = 0};
    if (at == text) return KIT_ENDPOINT_USER;
    if (at != NULL) {
        out->user = text;
        out->user_length = (size_t)(at - text);
    }
    if (!split_host(at != NULL ? at + 1 : text, out, &port)) return KIT_ENDPOINT_BRACKET;
    if (out->host_length == 0) return KIT_ENDPOINT_HOST;
    return port == NULL || kit_parse_port(port, &out->port) ? KIT_ENDPOINT_GOOD : KIT_ENDPOINT_PORT;
}

static bool is_private_v4(const uint8_t *b) {
    return b[0] == 127 || b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
           (b[0] == 169 && b[1] == 254);
}

static bool is_private_v6(const uint8_t *b) {
    static const uint8_t loopback[16] = {[15] = 1}, mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(b, mapped, sizeof mapped) == 0) return is_private_v4(b + sizeof mapped);
    return memcmp(b, loopback, sizeof loopback) == 0 || (b[0] & 0xfe) == 0xfc ||
           (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

bool kit_address_is_private(int family, const void *bytes) {
    if (family == AF_INET) return is_private_v4(bytes);
    return family == AF_INET6 && is_private_v6(bytes);
}

bool kit_host_is_private(const char *host, size_t length) {
    char text[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    if (length == 0 || length >= sizeof text) return false;
    memcpy(text, host, length);
    text[length] = '\0';
    if (strcmp(text, "localhost") == 0) return true;
    if (inet_pton(AF_INET, text, bytes) == 1) return kit_address_is_private(AF_INET, bytes);
    return inet_pton(AF_INET6, text, bytes) == 1 && kit_address_is_private(AF_INET6, bytes);
}
