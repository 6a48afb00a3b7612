/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest requests of the user: it must be granted before the backend is called. */
#ifndef KOLM_HOST_ASKS_H
#define KOLM_HOST_ASKS_H

/*
 * secret    a name under auth or secrets
 * variable  a variable under requires that would be passed to its process, other than those that every backend gets
 * read      a path under requires, and a place under files.read
 * write     a place under files.write
 *
 * A backend is never called unless all of these are granted (host_scan_options.grant).
 */

#include "host/manifest.h"

typedef enum host_ask_kind { HOST_ASK_SECRET, HOST_ASK_VARIABLE, HOST_ASK_READ, HOST_ASK_WRITE } host_ask_kind;

typedef struct host_ask {
    host_ask_kind kind;
    const char *what; /* the name, or the place as written in the manifest, which owns it */
} host_ask;

#define HOST_ASKS_MAX 128 /* more than the limits of a manifest add up to */

/* Lists them, each once, in the order above; returns their number. */
size_t host_manifest_asks(const host_manifest *manifest, host_ask out[HOST_ASKS_MAX]);
/* "secret", "variable", "read", "write". Static. */
const char *host_ask_word(host_ask_kind kind);

#endif
