/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of gRPC that need no network: frames, statuses, messages. */
#include "kolm/http/grpc.h"
#include "kolm/kit/text.h"

#include <string.h>

#define PREFIX 5u /* a flag and four bytes of length */

/* ---- Frames */

static kit_status check_prefix(const kit_grpc_frames *f, const uint8_t *at, size_t *out_length, kolm_error_t *err) {
    uint32_t length = (uint32_t)at[1] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 8 | at[4];
    *out_length = length;
    if (at[0] != 0)
        return kit_fail(err, KOLM_E_DATA_LOSS, "report it to the author of this backend",
                        "a message is compressed, or is not a gRPC message: its flag is %u", at[0]);
    if (length > f->most)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE,
                        "check the address of the service; this is not what it is expected to send",
                        "a message has %lu bytes, and at most %zu are expected", (unsigned long)length, f->most);
    return KOLM_OK;
}

/* Fills held up to `wanted` bytes from the input; true once they are complete. */
static bool fill(kit_grpc_frames *f, const uint8_t **at, size_t *left, size_t wanted) {
    size_t missing = wanted > f->held.length ? wanted - f->held.length : 0;
    size_t n = missing < *left ? missing : *left;
    kit_buf_add(&f->held, *at, n);
    *at += n;
    *left -= n;
    return f->held.length >= wanted;
}

kit_status kit_grpc_frames_take(kit_grpc_frames *f, const void *bytes, size_t length, kolm_error_t *err) {
    const uint8_t *at = bytes;
    size_t left = length, size = 0;
    while (left > 0) {
        /* a complete frame is passed on without copying */
        if (f->held.length == 0 && left >= PREFIX) {
            KIT_TRY(check_prefix(f, at, &size, err));
            if (left - PREFIX >= size) {
                KIT_TRY(f->on_message(f->user, at + PREFIX, size, err));
                at += PREFIX + size;
                left -= PREFIX + size;
                continue;
            }
        }
        if (!fill(f, &at, &left, PREFIX)) break;
        KIT_TRY(check_prefix(f, (const uint8_t *)f->held.data, &size, err));
        if (!fill(f, &at, &left, PREFIX + size)) break;
        KIT_TRY(kit_buf_ok(&f->held, err));
        kit_status status = f->on_message(f->user, f->held.data + PREFIX, size, err);
        kit_buf_clear(&f->held);
        if (status != KOLM_OK) return status;
    }
    return kit_buf_ok(&f->held, err);
}

/* ---- Statuses */

#define LATER "try again later; if it persists, check the provider's status page"
static const kit_grpc_status_fact facts[] = {
    {KOLM_OK, "OK", "", false, false},
    {KOLM_E_UNAVAILABLE, "CANCELLED", LATER, true, true},
    {KOLM_E_UNAVAILABLE, "UNKNOWN", LATER, true, true},
    {KOLM_E_INVALID_ARGUMENT, "INVALID_ARGUMENT", "the provider rejected a value; its message above says which", false,
     false},
    {KOLM_E_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", LATER, true, true},
    {KOLM_E_NOT_FOUND, "NOT_FOUND", "check that it still exists at the provider", false, false},
    {KOLM_E_ABORTED, "ALREADY_EXISTS", "something of that name already exists; check with the provider", false, true},
    {KOLM_E_PERMISSION_DENIED, "PERMISSION_DENIED",
     "the token is not authorized for this; grant it the right at the provider, or use another one", false, false},
    {KOLM_E_RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED",
     "a limit of the account or of the provider is reached; wait, or request a higher one", false, false},
    {KOLM_E_FAILED_PRECONDITION, "FAILED_PRECONDITION", "the provider's message above says what is missing", false,
     false},
    {KOLM_E_ABORTED, "ABORTED", "run the command again", false, false},
    {KOLM_E_OUT_OF_RANGE, "OUT_OF_RANGE", "the provider rejected a value; its message above says which", false, false},
    {KOLM_E_UNIMPLEMENTED, "UNIMPLEMENTED", "the service has changed; a newer version of this backend may know it",
     false, false},
    {KOLM_E_UNAVAILABLE, "INTERNAL", LATER, true, true},
    {KOLM_E_UNAVAILABLE, "UNAVAILABLE", LATER, true, true},
    {KOLM_E_UNAVAILABLE, "DATA_LOSS", LATER, true, true},
    {KOLM_E_UNAUTHENTICATED, "UNAUTHENTICATED",
     "the token is wrong, expired or revoked; make a new one at the provider", false, false},
};
static const kit_grpc_status_fact no_status = {KOLM_E_DATA_LOSS, "no status", LATER, true, true};

kit_grpc_status_fact kit_grpc_status(int status) {
    if (status < 0) return no_status;
    return facts[(size_t)status < sizeof facts / sizeof facts[0] ? status : 2];
}

kit_http_next kit_grpc_decide(kit_http_repeat repeat, int status) {
    kit_grpc_status_fact fact = kit_grpc_status(status);
    bool creates = repeat >= KIT_HTTP_KEYED;
    if (fact.may_pass) return repeat < KIT_HTTP_CREATE ? KIT_HTTP_AGAIN : KIT_HTTP_UNCLEAR;
    return creates && fact.may_be ? KIT_HTTP_UNCLEAR : KIT_HTTP_STOP;
}

int kit_grpc_status_of(const char *text) {
    uint64_t number = 0;
    if (text == NULL || strlen(text) > 2 || !kit_parse_u64(text, &number)) return -1;
    return (int)number;
}

/* ---- Words */

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

void kit_grpc_words(const char *text, char *out, size_t capacity) {
    size_t n = 0;
    for (; *text != '\0' && n + 1 < capacity; text++) {
        int high = text[0] == '%' ? digit(text[1]) : -1, low = high >= 0 ? digit(text[2]) : -1;
        unsigned char c = (unsigned char)*text;
        if (low >= 0) {
            c = (unsigned char)(high * 16 + low);
            text += 2;
        }
        out[n++] = (char)(c == '\n' || c == '\t' || c == '\r' ? ' ' : c);
    }
    out[n] = '\0';
    for (size_t i = 0; !kit_text_is_plain(out, n) && i < n; i++)
        if (out[i] < ' ' || out[i] > '~') out[i] = '?';
}
