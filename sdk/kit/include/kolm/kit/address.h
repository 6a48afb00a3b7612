/* SPDX-License-Identifier: Apache-2.0 */
/* Splits addresses as users write them, [user@]host[:port], and detects private ones. Nothing here uses the network. */
#ifndef KOLM_KIT_ADDRESS_H
#define KOLM_KIT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The parts of a text; they point into it. The caller must check the characters of user and host. */
typedef struct kit_endpoint {
    const char *user; /* NULL if there is none */
    size_t user_length;
    const char *host; /* without brackets */
    size_t host_length;
    bool bracketed; /* the host was in brackets, as IPv6 addresses with a port are */
    uint16_t port;  /* 0 if there is none */
} kit_endpoint;

typedef enum kit_endpoint_fault {
    KIT_ENDPOINT_GOOD,
    KIT_ENDPOINT_USER,    /* '@' without anything before it */
    KIT_ENDPOINT_HOST,    /* empty */
    KIT_ENDPOINT_BRACKET, /* not closed, or followed by something that is not a port */
    KIT_ENDPOINT_PORT,    /* not a number from 1 to 65535 */
} kit_endpoint_fault;

/* The user ends at the last '@', because a user may contain one and a host may not. Outside of brackets, a single colon
 * precedes a port; several colons mean an IPv6 address. After a fault *out is incomplete. */
kit_endpoint_fault kit_endpoint_split(const char *text, kit_endpoint *out);

/* Parses a port: the whole text must be a number from 1 to 65535. */
bool kit_parse_port(const char *text, uint16_t *out);

/* Returns true for an address of the local machine or network: loopback (127/8, ::1), private (10/8, 172.16/12,
 * 192.168/16, RFC 1918; fc00::/7, RFC 4193), link-local (169.254/16, RFC 3927; fe80::/10, RFC 4291), or one of these
 * IPv4 addresses mapped into IPv6. bytes: in network order, 4 for AF_INET, 16 for AF_INET6; false for any other
 * family. */
bool kit_address_is_private(int family, const void *bytes);
/* The same for a text: an address without brackets or zone, or "localhost". False for any other name, which would need
 * a lookup. */
bool kit_host_is_private(const char *host, size_t length);

#ifdef __cplusplus
}
#endif
#endif
