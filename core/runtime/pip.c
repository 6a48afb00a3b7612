/* SPDX-License-Identifier: Apache-2.0 */
/* Parses pip's output on failure. Every text of pip that kolm depends on is in this file. */
#include "runtime/pip.h"

#include "kolm/kit/text.h"

#include <string.h>

/* Copies the rest of the line, or the next line, after the first `start`; false if it does not occur. */
static bool after(const char *text, const char *start, char *out, size_t capacity) {
    const char *found = strstr(text, start);
    if (!found) return false;
    found += strlen(start);
    found += strspn(found, " \n");
    size_t n = strcspn(found, "\n");
    kit_format(out, capacity, "%.*s", (int)(n < 400 ? n : 400), found);
    return true;
}

static bool word_after(const char *text, const char *start, char *out, size_t capacity) {
    if (!after(text, start, out, capacity)) return false;
    out[strcspn(out, " ")] = '\0';
    return true;
}

static bool network_failed(const char *text) {
    static const char *const words[] = {"Max retries exceeded", "Retrying (Retry(",  "NewConnectionError",
                                        "ProxyError",           "SSLError",          "ReadTimeoutError",
                                        "Read timed out",       "IncompleteRead",    "ConnectionResetError",
                                        "NameResolutionError",  "Connection broken", "ConnectTimeoutError"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(text, words[i])) return true;
    return false;
}

/* Finds the last host named in the text. */
static void find_host(const char *text, char *out, size_t capacity) {
    static const char *const starts[] = {"host='", "Connection to "};
    static const char *const ends[] = {"'", " "};
    const char *last = NULL;
    size_t length = 0;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        for (const char *at = strstr(text, starts[i]); at; at = strstr(at + 1, starts[i])) {
            if (last && at < last) continue;
            last = at + strlen(starts[i]);
            length = strcspn(last, ends[i]);
        }
    if (last && length > 0 && length < 200) kit_format(out, capacity, "%.*s", (int)length, last);
}

void runtime_pip_read(const char *said, bool online, runtime_pip_end *out_end) {
    char *about = out_end->about;
    const size_t capacity = sizeof out_end->about;
    *out_end = (runtime_pip_end){.failure = RUNTIME_PIP_OTHER};
    if (word_after(said, "examine the package contents carefully; someone may have tampered with them.", about,
                   capacity)) {
        out_end->failure = RUNTIME_PIP_OTHER_FILE;
    } else if (online && network_failed(said)) {
        out_end->failure = RUNTIME_PIP_NETWORK;
        find_host(said, about, capacity);
    } else if (word_after(said, "No matching distribution found for ", about, capacity)) {
        out_end->failure = RUNTIME_PIP_MISSING;
    } else if (strstr(said, "No space left on device") || strstr(said, "Disk quota exceeded")) {
        out_end->failure = RUNTIME_PIP_DISK_FULL;
    } else if (!after(said, "ERROR: ", about, capacity)) {
        kit_copy(about, capacity, "it did not report why");
    }
}
