/* SPDX-License-Identifier: Apache-2.0 */
/* What a manifest requests of the user: it must be granted before the backend is called. */
#ifndef KOLM_HOST_ASKS_H
#define KOLM_HOST_ASKS_H

/*
 * secret    a name under auth or secrets
 * variable  a variable under requires that would pass into its process, and is none of those that every backend sees
 * read      a path under requires, and a place under files.read
 * write     a place under files.write
 *
 * A backend that is not granted all of it is never called (host_scan_options.grant).
 */

#include "host/manifest.h"

typedef enum host_ask_kind { HOST_ASK_SECRET, HOST_ASK_VARIABLE, HOST_ASK_READ, HOST_ASK_WRITE } host_ask_kind;

typedef struct host_ask {
    host_ask_kind kind;
    const char *what; /* the name, or the place as the manifest has it; belongs to the manifest */
} host_ask;

#define HOST_ASKS_MAX 128 /* more than the limits of a manifest add up to */

/* Each once, in the order above; returns how many. */
size_t host_manifest_asks(const host_manifest *manifest, host_ask out[HOST_ASKS_MAX]);
/* "secret", "variable", "read", "write". Static. */
const char *host_ask_word(host_ask_kind kind);

#endif
