/* SPDX-License-Identifier: Apache-2.0 */
/* Money, sizes and times as text. */
#include "session/session.h"

#include "kolm/kit/text.h"

#include <inttypes.h>
#include <string.h>

const char *session_usd(char *out, size_t capacity, uint64_t micro_usd) {
    uint64_t dollars = micro_usd / 1000000, rest = micro_usd % 1000000;
    if (micro_usd == UINT64_MAX) {
        kit_copy(out, capacity, "unpriced");
    } else if (rest % 10000 == 0) {
        kit_format(out, capacity, "$%" PRIu64 ".%02" PRIu64, dollars, rest / 10000);
    } else if (rest % 100 == 0) {
        kit_format(out, capacity, "$%" PRIu64 ".%04" PRIu64, dollars, rest / 100);
    } else {
        kit_format(out, capacity, "$%" PRIu64 ".%06" PRIu64, dollars, rest);
    }
    return out;
}

const char *session_bytes(char *out, size_t capacity, uint64_t bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;
    uint64_t scale = 1;
    while (unit + 1 < sizeof units / sizeof *units && bytes / scale >= 1000) {
        scale *= 1000;
        unit++;
    }
    if (unit == 0)
        kit_format(out, capacity, "%" PRIu64 " B", bytes);
    else
        kit_format(out, capacity, "%.1f %s", (double)bytes / (double)scale, units[unit]);
    return out;
}

const char *session_duration(char *out, size_t capacity, uint64_t milliseconds) {
    uint64_t seconds = milliseconds / 1000;
    if (milliseconds == UINT64_MAX) {
        kit_copy(out, capacity, "unknown");
    } else if (milliseconds < 1000) {
        kit_format(out, capacity, "%" PRIu64 "ms", milliseconds);
    } else if (seconds < 60) {
        kit_format(out, capacity, "%" PRIu64 ".%" PRIu64 "s", seconds, milliseconds % 1000 / 100);
    } else if (seconds < 3600) {
        kit_format(out, capacity, "%" PRIu64 "m %02" PRIu64 "s", seconds / 60, seconds % 60);
    } else {
        kit_format(out, capacity, "%" PRIu64 "h %02" PRIu64 "m", seconds / 3600, seconds % 3600 / 60);
    }
    return out;
}

bool session_span_parse(const char *text, int64_t *out_seconds) {
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    char digits[16];
    uint64_t number = 0;
    size_t length = strlen(text);
    if (length < 2 || length > sizeof digits) return false;
    memcpy(digits, text, length - 1);
    digits[length - 1] = '\0';
    if (!kit_parse_u64(digits, &number) || number > 1000000) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (text[length - 1] != units[i].unit) continue;
        *out_seconds = (int64_t)(number * units[i].seconds);
        return true;
    }
    return false;
}
