/* SPDX-License-Identifier: Apache-2.0 */
/* A machine of the user's own over SSH: checks how it is named, without network; the job runner comes with its own
 * version. */
#include "kolm/kit/backend.h"

#include <arpa/inet.h>
#include <string.h>

#define VARIABLE "KOLM_REMOTE_HOST"

static const char name_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

/* The length of "[IPv6]" or "[IPv6%zone]" at text, 0 if it is not one. */
static size_t bracketed(const char *text) {
    char address[64];
    struct in6_addr ignored;
    size_t length = strcspn(text, "]");
    if (text[length] != ']' || length - 1 >= sizeof address) return 0;
    memcpy(address, text + 1, length - 1);
    address[length - 1] = '\0';
    char *zone = strchr(address, '%');
    if (zone != NULL) {
        *zone++ = '\0';
        if (*zone == '\0' || zone[strspn(zone, name_letters)] != '\0') return 0;
    }
    return inet_pton(AF_INET6, address, &ignored) == 1 ? length + 1 : 0;
}

/* What is wrong with [user@]host[:port] or [user@][IPv6][:port], or NULL. A leading '-' could be taken for an option.
 */
static const char *fault(const char *target) {
    const char *at = strrchr(target, '@');
    const char *host = at != NULL ? at + 1 : target;
    size_t user_length = at != NULL ? (size_t)(at - target) : 0;
    if (at != NULL && (user_length == 0 || strspn(target, name_letters) != user_length || target[0] == '-'))
        return "the user before '@'";
    size_t length;
    if (*host == '[') {
        length = bracketed(host);
        if (length == 0) return "the IPv6 address in brackets";
    } else {
        length = strcspn(host, ":");
        if (length == 0 || length > 253 || strspn(host, name_letters) < length || host[0] == '-')
            return "the host name";
    }
    uint64_t port = 0;
    if (host[length] == '\0') return NULL;
    if (host[length] != ':' || !kit_parse_u64(host + length + 1, &port) || port == 0 || port > 65535)
        return "the port after ':'";
    return NULL;
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    char target[512], text[256];
    int32_t code = host->secret(host->user, VARIABLE, target, sizeof target, NULL);
    if (code == KOLM_E_NOT_FOUND)
        return kit_detected(out_result, KOLM_DETECT_ABSENT, VARIABLE " is not set",
                            "set " VARIABLE " to [user@]host[:port] of a machine that you can reach with ssh", "");
    if (code != KOLM_OK && code != KOLM_E_OUT_OF_RANGE)
        return kit_fail(out_error, code, "list the variable under auth in the manifest", "the host does not give %s",
                        VARIABLE);
    const char *wrong = code == KOLM_E_OUT_OF_RANGE ? "its length" : fault(target);
    if (wrong != NULL) {
        kit_format(text, sizeof text, "%s is not of the form [user@]host[:port]: look at %s", VARIABLE, wrong);
        return kit_detected(out_result, KOLM_DETECT_BROKEN, text,
                            "write it like ana@gpu.example.org:22 or [2001:db8::1]:22", "");
    }
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_NONE, /* nobody has looked */
        .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .name = target,
        .id = "",
        .driver = "",
        .runtime = "",
    };
    host->device(host->user, &record);
    kit_format(text, sizeof text, "%.180s is named; not tried: that needs the network", target);
    return kit_detected(out_result, KOLM_DETECT_AVAILABLE, text, "", "your own GPU");
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 4000, out_result);
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "remote-ssh",
    .version = KOLM_VERSION,  .vendor = "kolm",
    .licence = "Apache-2.0",  .homepage = "https://kolm.example",
    .detect = detect,         .cost = cost,
};
