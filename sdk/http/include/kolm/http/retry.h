/* SPDX-License-Identifier: Apache-2.0 */
/* When a request is retried, and after which pause: one table, without clock or network. */
#ifndef KOLM_HTTP_RETRY_H
#define KOLM_HTTP_RETRY_H

#include "kolm/kit/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The effect of sending a request twice. */
typedef enum kit_http_repeat {
    KIT_HTTP_READ = 0, /* changes nothing */
    /* idempotent: DELETE or PUT of a named resource */
    KIT_HTTP_CHANGE,
    KIT_HTTP_KEYED,  /* creates or rents, and the provider recognises the idempotency key of the request */
    KIT_HTTP_CREATE, /* creates or rents: sending it twice creates two. Also for requests that send a message, start
                        something or bill */
} kit_http_repeat;

/* How far one try got. */
typedef enum kit_http_fate {
    KIT_HTTP_NOT_SENT = 0, /* no connection was made: it cannot have had any effect */
    KIT_HTTP_LOST,         /* the request may have arrived, but no status was received */
    KIT_HTTP_CUT,          /* a status was received, but the body broke off or was refused */
    KIT_HTTP_ANSWERED,     /* a status and the whole body were received */
} kit_http_fate;

typedef enum kit_http_next {
    KIT_HTTP_STOP = 0, /* this is the answer */
    KIT_HTTP_AGAIN,    /* send it again, after a pause */
    KIT_HTTP_UNCLEAR,  /* it may have taken effect, and must not be sent again: the caller must look it up by name */
} kit_http_next;

/*
 * The table. Rows: the outcome of a try; columns: the kind of request.
 *
 *                                             READ     CHANGE   KEYED    CREATE
 *   no connection (DNS, refused, TLS broken)  again    again    again    again
 *   certificate refused                       stop     stop     stop     stop     (never reaches this function)
 *   sent, no status                           again    again    again    unclear
 *   status, body broke off: 2xx               again    again    again    unclear
 *   2xx, 3xx                                  stop     stop     stop     stop
 *   408, 425                                  again    again    again    unclear
 *   429                                       again    again    again    again    (refused without any effect)
 *   other 4xx                                 stop     stop     stop     stop
 *   500, 502, 503, 504, 520 to 529            again    again    again    unclear  (a 500 may follow a creation)
 *   other 5xx                                 stop     stop     unclear  unclear
 *
 * A status other than 2xx counts even if its body broke off. status is 0 for NOT_SENT and LOST.
 */
kit_http_next kit_http_decide(kit_http_repeat repeat, kit_http_fate fate, int status);
/* Returns whether a try with this outcome may have created something: false for NOT_SENT, refusals (3xx, 4xx except 408
 * and 425) and a complete 2xx, otherwise true. */
bool kit_http_may_have_happened(kit_http_fate fate, int status);

/* The code, the reason phrase ("Payment Required") and the remedy for a status other than 2xx. Never NULL. */
typedef struct kit_http_status_fact {
    int32_t code; /* KOLM_E_* */
    const char *words;
    const char *remedy;
} kit_http_status_fact;
kit_http_status_fact kit_http_status(int status);

/* Returns the pause before try number `tried` + 1 (tried >= 1): random between d/2 and d, where d is first_ms, doubled
 * for each try after the first, at most most_ms. *random is the state of the generator (splitmix64); any seed will
 * do. */
uint64_t kit_http_backoff(unsigned tried, uint64_t first_ms, uint64_t most_ms, uint64_t *random);

/* Parses a date of RFC 9110 5.6.7 into seconds since 1970: all three forms, years 1970 to 9999. False if it is not one.
 * A year of two digits is the one within 50 years of 2026. */
bool kit_http_date(const char *text, int64_t *out_seconds);
/* Retry-After: a count of seconds or a date. A date counts from `date`, the Date header of the same answer, so a wrong
 * clock on either side does not matter, or from now_seconds if that is NULL or not a date. 0 for a date in the past; at
 * most KIT_HTTP_WAIT_MS_MAX. False if it is neither. */
#define KIT_HTTP_WAIT_MS_MAX 86400000
bool kit_http_retry_after(const char *value, const char *date, int64_t now_seconds, int64_t *out_ms);

#ifdef __cplusplus
}
#endif
#endif
