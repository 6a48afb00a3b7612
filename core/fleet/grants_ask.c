/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the person at the terminal whether a backend may have what it asks for. */
#include "cli/cli.h"
#include "fleet/grants.h"
#include "cli/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cli_grant_show(cli_context *context, const host_backend *row, const cli_grantee *to, FILE *stream) {
    host_ask asks[HOST_ASKS_MAX];
    char one[512];
    size_t count = host_manifest_asks(row->manifest, asks);
    (void)context;
    fprintf(stream, "%s (%s)\n", cli_safe(row->name), cli_safe(row->plugin_path));
    if (to->signer[0])
        fprintf(stream, "  who       signed by %s\n", to->signer);
    else
        fprintf(stream, "  who       not signed; SHA-256 %s\n", to->plugin);
    for (size_t i = 0; i < count; i++)
        fprintf(stream, "  %s  %s\n", i == 0 ? "asks for" : "        ", cli_safe(cli_ask_text(&asks[i], one, sizeof one)));
}

/* One line of standard input and no byte more: what follows may be for the verb itself. */
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

static kit_status ask(cli_context *context, const host_backend *row, bool *out_yes, kolm_error_t *err) {
    cli_grantee to;
    *out_yes = false;
    if (context->json || !context->err_tty || isatty(STDIN_FILENO) != 1) return KOLM_OK;
    KIT_TRY(cli_grantee_of(context, row, &to, err)); /* before it is shown: what is granted is what was looked at */
    cli_flush(context);
    cli_grant_show(context, row, &to, stderr);
    fprintf(stderr, "Grant it that? [y/N] ");
    fflush(stderr);
    if (!read_yes()) return KOLM_OK;
    KIT_TRY(cli_grant_give(context, row, &to, err));
    *out_yes = true;
    return KOLM_OK;
}

kit_status cli_grant_require(cli_context *context, cli_registry *registry, const char *name, int *out_exit,
                             kolm_error_t *err) {
    cli_backend *backend = cli_registry_find(registry, name);
    bool yes = false;
    if (!backend || backend->refused || !backend->ungranted) return KOLM_OK;
    kit_status status = ask(context, backend->row, &yes, err);
    *out_exit = status == KOLM_OK ? CLI_EXIT_NOTHING : cli_exit_of(status);
    if (status != KOLM_OK) return status;
    if (!yes)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, backend->row->why.remedy, "%s is not called: %s", backend->name,
                        backend->ungranted);
    for (size_t i = 0; i < registry->found->count; i++)
        if (&registry->found->rows[i] == backend->row) registry->found->rows[i].granted = true;
    backend->ungranted = NULL;
    cJSON_Delete(backend->detection);
    backend->detection = NULL;
    *out_exit = 0;
    return KOLM_OK;
}
