/* SPDX-License-Identifier: Apache-2.0 */
/* When a request is sent again, and after how long: one table, without clock or network. */
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
    KIT_HTTP_CREATE, /* creates or rents: sending it twice creates two. Also for what sends a message, starts or
                        bills */
} kit_http_repeat;

/* How far one try got. */
typedef enum kit_http_fate {
    KIT_HTTP_NOT_SENT = 0, /* no connection was made: it cannot have had any effect */
    KIT_HTTP_LOST,         /* the request may have arrived, and no status came back */
    KIT_HTTP_CUT,          /* there is a status, and the body broke off or was refused */
    KIT_HTTP_ANSWERED,     /* there is a status, and the whole body */
} kit_http_fate;

typedef enum kit_http_next {
    KIT_HTTP_STOP = 0, /* this is the answer */
    KIT_HTTP_AGAIN,    /* send it again, after a pause */
    KIT_HTTP_UNCLEAR,  /* it may have happened, and must not be sent again: the caller looks for it by name */
} kit_http_next;

/*
 * The table. Rows: the outcome of a try; columns: the kind of request.
 *
 *                                             READ     CHANGE   KEYED    CREATE
 *   no connection (name, refused, TLS cut)    again    again    again    again
 *   certificate refused                       stop     stop     stop     stop     (never reaches this function)
 *   sent, no status                           again    again    again    unclear
 *   status, body broke off: 2xx               again    again    again    unclear
 *   2xx, 3xx                                  stop     stop     stop     stop
 *   408, 425                                  again    again    again    unclear
 *   429                                       again    again    again    again    (refused before it did anything)
 *   other 4xx                                 stop     stop     stop     stop
 *   500, 502, 503, 504, 520 to 529            again    again    again    unclear  (a 500 may come after having created)
 *   other 5xx                                 stop     stop     unclear  unclear
 *
 * A status other than 2xx counts as itself even if its body broke off. status is 0 for NOT_SENT and LOST.
 */
kit_http_next kit_http_decide(kit_http_repeat repeat, kit_http_fate fate, int status);
/* Whether a try with this outcome may have created something: no for NOT_SENT and refusals (3xx, 4xx except 408 and
 * 425), otherwise yes, except for a complete 2xx. */
bool kit_http_may_have_happened(kit_http_fate fate, int status);

/* The code, the words ("Payment Required") and the remedy for a status that is not 2xx. Never NULL. */
typedef struct kit_http_status_fact {
    int32_t code; /* KOLM_E_* */
    const char *words;
    const char *remedy;
} kit_http_status_fact;
kit_http_status_fact kit_http_status(int status);

/* The pause before try number `tried` + 1 (tried >= 1): first_ms doubled for each try after the first, at most
 * most_ms, of which the upper half is random: between d/2 and d. *random is the state of the generator (splitmix64);
 * any seed will do. */
uint64_t kit_http_backoff(unsigned tried, uint64_t first_ms, uint64_t most_ms, uint64_t *random);

/* Seconds since 1970 of a date of RFC 9110 5.6.7: all three forms, years 1970 to 9999. False if it is not one. A year
 * of two digits is the one within 50 years of 2026. */
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
