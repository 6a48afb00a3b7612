/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP dates, and Retry-After. */
#include "kolm/http/retry.h"
#include "kolm/kit/text.h"

#include <string.h>
#include <time.h>

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};

/* Each of these reads from *at and advances it. */
static bool literal(const char **at, const char *text) {
    size_t n = strlen(text);
    if (strncmp(*at, text, n) != 0) return false;
    *at += n;
    return true;
}

static bool number(const char **at, int digits, int *out) {
    *out = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool month(const char **at, int *out) {
    for (int i = 0; i < 12; i++)
        if (strncmp(*at, months + i * 3, 3) == 0) {
            *out = i;
            *at += 3;
            return true;
        }
    return false;
}

static bool weekday(const char **at, bool whole) {
    for (size_t i = 0; i < 7; i++) {
        size_t n = whole ? strlen(days[i]) : 3;
        if (strncmp(*at, days[i], n) == 0) {
            *at += n;
            return true;
        }
    }
    return false;
}

static bool clock_time(const char **at, struct tm *tm) {
    return number(at, 2, &tm->tm_hour) && literal(at, ":") && number(at, 2, &tm->tm_min) && literal(at, ":") &&
           number(at, 2, &tm->tm_sec);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool fixed_form(const char *at, struct tm *tm, int *year) {
    return weekday(&at, false) && literal(&at, ", ") && number(&at, 2, &tm->tm_mday) && literal(&at, " ") &&
           month(&at, &tm->tm_mon) && literal(&at, " ") && number(&at, 4, year) && literal(&at, " ") &&
           clock_time(&at, tm) && literal(&at, " GMT") && *at == '\0';
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static bool old_form(const char *at, struct tm *tm, int *year) {
    if (!(weekday(&at, true) && literal(&at, ", ") && number(&at, 2, &tm->tm_mday) && literal(&at, "-") &&
          month(&at, &tm->tm_mon) && literal(&at, "-") && number(&at, 2, year) && literal(&at, " ") &&
          clock_time(&at, tm) && literal(&at, " GMT") && *at == '\0'))
        return false;
    *year += *year <= 76 ? 2000 : 1900;
    return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool asctime_form(const char *at, struct tm *tm, int *year) {
    return weekday(&at, false) && literal(&at, " ") && month(&at, &tm->tm_mon) && literal(&at, " ") &&
           (literal(&at, " ") ? number(&at, 1, &tm->tm_mday) : number(&at, 2, &tm->tm_mday)) && literal(&at, " ") &&
           clock_time(&at, tm) && literal(&at, " ") && number(&at, 4, year) && *at == '\0';
}

bool kit_http_date(const char *text, int64_t *out_seconds) {
    struct tm tm = {0};
    int year = 0;
    *out_seconds = 0;
    if (!fixed_form(text, &tm, &year) && (tm = (struct tm){0}, !old_form(text, &tm, &year)) &&
        (tm = (struct tm){0}, !asctime_form(text, &tm, &year)))
        return false;
    /* Second 60 is a leap second. */
    if (year < 1970 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year = year - 1900;
    struct tm asked = tm;
    time_t seconds = timegm(&tm);
    if (tm.tm_mon != asked.tm_mon && asked.tm_sec < 60) return false; /* the 31st of June */
    *out_seconds = (int64_t)seconds;
    return true;
}

bool kit_http_retry_after(const char *value, const char *date, int64_t now_seconds, int64_t *out_ms) {
    const int64_t most = KIT_HTTP_WAIT_MS_MAX / 1000;
    int64_t seconds = 0, from = now_seconds, at = 0;
    size_t digits = strspn(value, "0123456789");
    *out_ms = 0;
    if (digits > 0 && value[digits] == '\0') {
        uint64_t asked = 0;
        seconds = kit_parse_u64(value, &asked) && asked < (uint64_t)most ? (int64_t)asked : most;
    } else {
        if (!kit_http_date(value, &at)) return false;
        if (date == NULL || !kit_http_date(date, &from)) from = now_seconds;
        seconds = at > from ? at - from : 0;
    }
    *out_ms = (seconds < most ? seconds : most) * 1000;
    return true;
}
