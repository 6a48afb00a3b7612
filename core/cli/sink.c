/* SPDX-License-Identifier: Apache-2.0 */
/* Shows the events of a session, and asks the user at the terminal. */
#include "cli/sink.h"

#include "cli/cli.h"
#include "cli/compile_text.h"
#include "cli/grant_text.h"
#include "cli/log.h"
#include "cli/output.h"

#include <stdio.h>
#include <unistd.h>

static bool can_ask(const cli_context *context) {
    return !context->json && context->err_tty && isatty(STDIN_FILENO) == 1;
}

static bool confirm(cli_context *context, const char *before, const char *question) {
    char answer[16] = "";
    if (!can_ask(context)) return false;
    cli_flush(context);
    fprintf(stderr, "%s%s [y/N] ", cli_safe(before), question);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static void show_progress(cli_context *context, const session_event *event) {
    if (context->quiet) return;
    context->progress.label = event->label;
    cli_progress_update(context, &context->progress, event->progress);
}

void cli_sink(void *user, const session_event *event) {
    cli_context *context = user;
    switch (event->kind) {
    case SESSION_SAID:
        cli_log(context, event->backend, event->level, event->text);
        break;
    case SESSION_WARNING:
        cli_warn(context, "%s", cli_safe(event->text));
        break;
    case SESSION_NOTE:
        if (!context->json && !context->quiet) cli_print(context, "%-13s %s\n", event->label, cli_safe(event->text));
        break;
    case SESSION_SERVING:
        cli_print(context, "[serve]       %s\n", cli_safe(event->text));
        cli_flush(context);
        break;
    case SESSION_PROGRESS:
        show_progress(context, event);
        break;
    case SESSION_PROGRESS_END:
        cli_progress_end(context, &context->progress);
        break;
    case SESSION_CAN_ASK:
        *event->yes = can_ask(context);
        break;
    case SESSION_REPLACE:
        *event->yes = confirm(context, event->text, " exists. Replace it?"); /* as --force */
        break;
    case SESSION_CONFIRM:
        *event->yes = confirm(context, "", event->text);
        break;
    case SESSION_SETUP_PLAN:
        if (!context->json) cli_setup_plan(context, event->setup);
        break;
    case SESSION_GRANT:
        *event->yes = can_ask(context) && cli_grant_ask(context, event->row, event->grantee);
        break;
    default:
        cli_compile_event(context, event);
        break;
    }
}
