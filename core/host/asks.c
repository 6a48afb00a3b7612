/* SPDX-License-Identifier: Apache-2.0 */
/* Lists what a manifest requests. */
#include "host/asks.h"
#include "host/run.h"

#include <string.h>

typedef struct list {
    host_ask *at;
    size_t count;
} list;

static void add(list *l, host_ask_kind kind, const char *what) {
    if (l->count == HOST_ASKS_MAX) return;
    for (size_t i = 0; i < l->count; i++)
        if (l->at[i].kind == kind && strcmp(l->at[i].what, what) == 0) return;
    l->at[l->count++] = (host_ask){.kind = kind, .what = what};
}

size_t host_manifest_asks(const host_manifest *m, host_ask out[HOST_ASKS_MAX]) {
    list l = {.at = out};
    for (size_t i = 0; i < m->auth_count; i++)
        add(&l, HOST_ASK_SECRET, m->auth[i]);
    for (size_t i = 0; i < m->secret_count; i++)
        add(&l, HOST_ASK_SECRET, m->secrets[i]);
    for (size_t i = 0; i < m->require_count; i++)
        if (m->requires[i].kind == HOST_REQUIRE_ENV && host_environment_own(m, m->requires[i].value))
            add(&l, HOST_ASK_VARIABLE, m->requires[i].value);
    for (size_t i = 0; i < m->require_count; i++)
        if (m->requires[i].kind == HOST_REQUIRE_PATH) add(&l, HOST_ASK_READ, m->requires[i].value);
    for (size_t i = 0; i < m->files.read_count; i++)
        add(&l, HOST_ASK_READ, m->files.read[i]);
    for (size_t i = 0; i < m->files.write_count; i++)
        add(&l, HOST_ASK_WRITE, m->files.write[i]);
    return l.count;
}

const char *host_ask_word(host_ask_kind kind) {
    static const char *const words[] = {[HOST_ASK_SECRET] = "secret",
                                        [HOST_ASK_VARIABLE] = "variable",
                                        [HOST_ASK_READ] = "read",
                                        [HOST_ASK_WRITE] = "write"};
    return words[kind];
}
