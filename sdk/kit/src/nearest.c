/* SPDX-License-Identifier: Apache-2.0 */
/* The most likely intended name for a mistyped word. */
#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define NEAREST_MAX 64 /* longer words are not typos */

static size_t min3(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits between a and b, where swapping two neighbours counts as one (optimal string alignment). */
static size_t edit_distance(const char *a, const char *b) {
    size_t rows[3][NEAREST_MAX + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > NEAREST_MAX || lb > NEAREST_MAX) return SIZE_MAX;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t change = up[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = min3(up[j] + 1, now[j - 1] + 1, change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < now[j]) {
                now[j] = up2[j - 2] + 1;
            }
        }
    }
    return rows[la % 3][lb];
}

const char *kit_nearest(const char *word, const char *const *names, size_t count) {
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    size_t length = strlen(word);
    for (size_t i = 0; i < count; i++) {
        if (!names[i]) continue;
        size_t distance = edit_distance(word, names[i]);
        /* A prefix of a name is a good hint, too: "local-cu", but not "cuda". */
        if (length >= 3 && strncmp(word, names[i], length) == 0) distance = 1;
        if (length >= 3 && strlen(names[i]) > length && strcmp(names[i] + strlen(names[i]) - length, word) == 0) {
            distance = 1;
        }
        if (strcasecmp(word, names[i]) == 0) distance = 1;
        if (distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    size_t allowed = length < 3 ? 1 : 1 + length / 4;
    return best_distance <= allowed ? best : NULL;
}
