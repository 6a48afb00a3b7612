/* SPDX-License-Identifier: Apache-2.0 */
/* Checks URLs, and the addresses to connect to. */
#include "internal.h"
#include "kolm/kit/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void http_place_free(http_place *place) {
    free(place->url);
    free(place->origin);
    free(place->shown);
    free(place->host);
    *place = (http_place){0};
}

static const uint8_t *v4_within(const struct sockaddr *address) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    if (address->sa_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (address->sa_family != AF_INET6) return NULL;
    const uint8_t *b = (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return memcmp(b, mapped, sizeof mapped) == 0 ? b + 12 : NULL;
}

bool http_address_is_loopback(const struct sockaddr *address) {
    const uint8_t *v4 = v4_within(address);
    if (v4 != NULL) return v4[0] == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

bool http_address_is_private(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return kit_address_is_private(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr);
    return address->sa_family == AF_INET6 &&
           kit_address_is_private(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static bool loopback_name(const char *host) {
    struct in_addr v4;
    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

static kit_status refuse_url(const char *why, const char *remedy, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "the address %s", why);
}

/* A copy of a part, "" if missing. */
static bool part_of(CURLU *parsed, CURLUPart part, unsigned flags, char **out) {
    char *text = NULL;
    CURLUcode code = curl_url_get(parsed, part, &text, flags);
    if (code == CURLUE_OUT_OF_MEMORY) return false;
    *out = strdup(code == CURLUE_OK ? text : "");
    curl_free(text);
    return *out != NULL;
}

static kit_status take_parts(CURLU *parsed, http_place *out, kolm_error_t *err) {
    char *scheme = NULL, *user = NULL, *password = NULL, *port = NULL, *path = NULL;
    kit_buf origin = {0}, shown = {0};
    kit_status status = KOLM_OK;
    if (!part_of(parsed, CURLUPART_SCHEME, 0, &scheme) || !part_of(parsed, CURLUPART_USER, 0, &user) ||
        !part_of(parsed, CURLUPART_PASSWORD, 0, &password) ||
        !part_of(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port) || !part_of(parsed, CURLUPART_PATH, 0, &path) ||
        !part_of(parsed, CURLUPART_HOST, 0, &out->host))
        status = kit_no_memory(err);
    else if (user[0] != '\0' || password[0] != '\0')
        status = refuse_url("has a user name or a password in it",
                            "put the token where the settings expect it, not into a URL", err);
    else if (out->host[0] == '\0')
        status = refuse_url("has no host", "write https://HOST/PATH", err);
    if (status == KOLM_OK) {
        out->plain = strcmp(scheme, "https") != 0;
        out->loopback = loopback_name(out->host);
        kit_buf_fmt(&origin, "%s://%s:%s", scheme, out->host, port);
        kit_buf_fmt(&shown, "%s://%s", scheme, out->host);
        if (strcmp(port, out->plain ? "80" : "443") != 0) kit_buf_fmt(&shown, ":%s", port);
        kit_buf_str(&shown, path);
        for (char *c = origin.data; c != NULL && *c != '\0'; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
        out->origin = kit_buf_take(&origin);
        out->shown = kit_buf_take(&shown);
        if (out->origin == NULL || out->shown == NULL) status = kit_no_memory(err);
    }
    free(scheme), free(user), free(password), free(port), free(path);
    return status;
}

kit_status http_place_parse(const kit_http *http, const char *url, http_place *out, kolm_error_t *err) {
    *out = (http_place){0};
    CURLU *parsed = curl_url();
    if (parsed == NULL) return kit_no_memory(err);
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, 0);
    kit_status status = KOLM_OK;
    if (code == CURLUE_OUT_OF_MEMORY)
        status = kit_no_memory(err);
    else if (code == CURLUE_UNSUPPORTED_SCHEME)
        status = refuse_url("is not one of https", "write https://HOST/PATH", err);
    else if (code != CURLUE_OK)
        status = refuse_url("is not a URL", "write https://HOST/PATH", err);
    else
        status = take_parts(parsed, out, err);
    curl_url_cleanup(parsed);
    if (status == KOLM_OK && (out->url = strdup(url)) == NULL) status = kit_no_memory(err);
    bool http_scheme =
        status == KOLM_OK && (strncmp(out->origin, "https:", 6) == 0 || strncmp(out->origin, "http:", 5) == 0);
    if (status == KOLM_OK && (!http_scheme || (out->plain && !(out->loopback && http->plain_loopback))))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                          "write https://HOST/PATH; http is for loopback addresses in tests only",
                          "%s is not https: a token sent there could be read on the way", out->shown);
    if (status != KOLM_OK) http_place_free(out);
    return status;
}

kit_status http_place_follow(const http_place *place, const char *location, char **out, kolm_error_t *err) {
    *out = NULL;
    CURLU *parsed = curl_url();
    if (parsed == NULL) return kit_no_memory(err);
    char *url = NULL;
    kit_status status = KOLM_OK;
    if (curl_url_set(parsed, CURLUPART_URL, place->url, 0) != CURLUE_OK ||
        curl_url_set(parsed, CURLUPART_URL, location, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_URL, &url, 0) != CURLUE_OK)
        status = kit_fail(err, KOLM_E_DATA_LOSS, "check the address of the service in the settings of this backend",
                          "%s redirects to something that is not a URL", place->shown);
    else
        status = kit_strdup(url, out, err);
    curl_free(url);
    curl_url_cleanup(parsed);
    return status;
}
