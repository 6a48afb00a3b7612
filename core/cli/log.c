/* SPDX-License-Identifier: Apache-2.0 */
/* Prints log lines of backends, and keeps them for documents. */
#include "cli/log.h"

#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_MAX 200

kit_status cli_log_setup(cli_context *context, kolm_error_t *err) {
    return session_log_read(&context->log, secure_getenv("KOLM_LOG"), err);
}

bool cli_log_option(cli_context *context, const char *word) {
    uint32_t times = strcmp(word, "-v") == 0 || strcmp(word, "--verbose") == 0 ? 1 : strcmp(word, "-vv") == 0 ? 2 : 0;
    context->log.verbose += times;
    return times > 0;
}

static void keep(cli_context *context, const char *backend, const char *level, const char *text) {
    if (!context->log_kept) context->log_kept = cJSON_CreateArray();
    if (!context->log_kept || cJSON_GetArraySize(context->log_kept) >= KEPT_MAX) return;
    cJSON *line = cJSON_CreateObject();
    bool good = kit_json_put_string(line, "backend", backend) && kit_json_put_string(line, "level", level) &&
                kit_json_put_string(line, "text", text);
    (void)cli_append(context->log_kept, line, good);
}

void cli_log(cli_context *context, const char *backend, uint32_t level, const char *text) {
    if (!session_log_shows(&context->log, backend, level, text)) return;
    cli_note(context, session_log_level(level), "%s: %s", cli_safe(backend), cli_safe(text));
    if (context->json) keep(context, backend, session_log_level(level), text);
}

cJSON *cli_log_take(cli_context *context) {
    cJSON *kept = context->log_kept;
    context->log_kept = NULL;
    return kept;
}

void cli_log_free(cli_context *context) {
    session_log_free(&context->log);
    cJSON_Delete(context->log_kept);
    context->log_kept = NULL;
}
