/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of a backend in one directory: NAME-1.2.0.so and NAME-1.10.0.so. */
#include "host/internal.h"

#include <ctype.h>
#include <string.h>

/* Digits and at least one dot between them: "acme-2" is a name, "acme-2.0" version 2.0 of acme. */
static bool is_version(const char *text) {
    size_t dots = 0;
    if (!isdigit((unsigned char)*text) || strlen(text) > 32) return false;
    for (const char *at = text; *at; at++) {
        bool dot = *at == '.' && isdigit((unsigned char)at[1]);
        if (!dot && !isdigit((unsigned char)*at)) return false;
        dots += dot;
    }
    return dots >= 1 && dots <= 3;
}

const char *host_stem_version(const char *stem) {
    const char *dash = strrchr(stem, '-');
    return dash && dash != stem && is_version(dash + 1) ? dash + 1 : NULL;
}

size_t host_stem_name(const char *stem) {
    const char *version = host_stem_version(stem);
    return version ? (size_t)(version - stem) - 1 : strlen(stem);
}

/* Compares number by number, of any length; missing ones count as 0. */
static int compare_versions(const char *a, const char *b) {
    while (*a || *b) {
        a += strspn(a, "0"), b += strspn(b, "0");
        size_t n = strspn(a, "0123456789"), m = strspn(b, "0123456789");
        if (n != m) return n < m ? -1 : 1;
        int order = memcmp(a, b, n);
        if (order != 0) return order;
        a += n, b += m;
        a += *a == '.', b += *b == '.';
    }
    return 0;
}

int host_stems_order(const void *left, const void *right) {
    const char *a = *(char *const *)left, *b = *(char *const *)right;
    size_t n = host_stem_name(a), m = host_stem_name(b);
    int order = memcmp(a, b, n < m ? n : m);
    if (order != 0 || n != m) return order != 0 ? order : n < m ? -1 : 1;
    const char *va = host_stem_version(a), *vb = host_stem_version(b);
    if (!va || !vb) return va ? 1 : vb ? -1 : 0; /* without a version: installed by hand, before all others */
    order = compare_versions(vb, va);
    return order != 0 ? order : strcmp(a, b);
}

bool host_plugin_name(const char *file, char *out, size_t capacity) {
    char stem[256];
    size_t n = strlen(file), m = strlen(HOST_SUFFIX);
    if (n <= m || strcmp(file + n - m, HOST_SUFFIX) != 0 || !kit_format(stem, sizeof stem, "%.*s", (int)(n - m), file))
        return false;
    return kit_format(out, capacity, "%.*s", (int)host_stem_name(stem), stem) && host_name_ok(out);
}
