/* SPDX-License-Identifier: Apache-2.0 */
/* Shows what a backend requests, and asks the user at the terminal. */
#include "cli/grant_text.h"

#include "cli/output.h"

#include <errno.h>
#include <unistd.h>

void cli_grant_show(const host_backend *row, const fleet_grantee *to, FILE *stream) {
    host_ask asks[HOST_ASKS_MAX];
    char one[512];
    size_t count = host_manifest_asks(row->manifest, asks);
    fprintf(stream, "%s (%s)\n", cli_safe(row->name), cli_safe(row->plugin_path));
    if (to->signer[0])
        fprintf(stream, "  who       signed by %s\n", to->signer);
    else
        fprintf(stream, "  who       not signed; SHA-256 %s\n", to->plugin);
    for (size_t i = 0; i < count; i++)
        fprintf(stream, "  %s  %s\n", i == 0 ? "asks for" : "        ",
                cli_safe(fleet_ask_text(&asks[i], one, sizeof one)));
}

/* Reads one line of standard input and not a byte more: the rest may be input of the verb. */
static bool read_yes(void) {
    char first = '\0', c = '\0';
    for (size_t at = 0;; at++) {
        ssize_t n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR && !cli_interrupted()) continue;
        if (n != 1) return false;
        if (at == 0) first = c;
        if (c == '\n') return first == 'y' || first == 'Y';
    }
}

bool cli_grant_ask(cli_context *context, const host_backend *row, const fleet_grantee *to) {
    cli_flush(context);
    cli_grant_show(row, to, stderr);
    fprintf(stderr, "Grant this? [y/N] ");
    fflush(stderr);
    return read_yes();
}
