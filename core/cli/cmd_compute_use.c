/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute use: sets or clears the default backend. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/named.h"
#include "session/site.h"

#include <stdlib.h>
#include <string.h>

/* The default if the user has set none. */
static const char *without_own(cli_context *context, char *out, size_t capacity) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    const cJSON *config = NULL;
    const char *name = NULL;
    kit_copy(out, capacity, "the picker chooses");
    if (session_config(&context->session, &config, &ignored) == KOLM_OK && context->session.config_site &&
        kit_json_get_string(context->session.config_site, "backend", &name))
        kit_format(out, capacity, "%s is the default of this machine, by %s", name, context->session.config_site_path);
    return out;
}

static int done(cli_context *context, const char *name, const char *path, const fleet_backend *backend) {
    char next[256];
    const char *overriding = secure_getenv("KOLM_BACKEND");
    if (backend && !fleet_backend_available(backend)) {
        cli_warn(context, "%s is not available now (%s): %s", name, cli_safe(fleet_backend_state(backend)),
                 cli_safe(fleet_backend_detection(backend)->reason));
    }
    if (overriding && *overriding && (!name || strcmp(overriding, name) != 0)) {
        cli_warn(context, "KOLM_BACKEND=%s is set and overrides the configuration", cli_safe(overriding));
    }
    if (context->json) {
        cJSON *value = cJSON_CreateObject();
        bool good = value && kit_json_put_string(value, "schema", "kolm.compute.use/1") &&
                    kit_json_put_string(value, "backend", name) && kit_json_put_string(value, "config", path) &&
                    kit_json_put_string(value, "state", backend ? fleet_backend_state(backend) : NULL);
        return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
    }
    if (name)
        cli_print(context, "default backend %s written to %s\n", name, cli_safe(path));
    else
        cli_print(context, "default backend removed from %s: %s\n", cli_safe(path),
                  cli_safe(without_own(context, next, sizeof next)));
    return CLI_EXIT_OK;
}

static int change(cli_context *context, const char *name) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_default set;
    session_reason reason = SESSION_REASON_NONE;
    int exit_code;
    kit_status status = fleet_default_set(&context->session, name, &set, &reason, &err);
    if (status == KOLM_OK)
        exit_code = done(context, name, set.config, set.backend);
    else
        exit_code = cli_fail(context, reason, &err);
    fleet_default_free(&set);
    return exit_code;
}

int cli_compute_use(cli_context *context, int argc, char **argv) {
    bool clear = false;
    size_t words = 0;
    const cli_option options[] = {
        {"clear", 0, CLI_FLAG, &clear, NULL, "forget the default: let the picker choose"},
    };
    const cli_syntax syntax = {
        .command = "kolm compute use",
        .words = "NAME",
        .summary = "Makes a backend the default of kolm compile and kolm run.",
        .notes = "--backend and KOLM_BACKEND override this default.",
        CLI_ROWS(options),
        .min_words = 0,
        .max_words = 1,
        .word_count_out = &words,
    };
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    if (clear && words)
        return cli_usage_error(context, syntax.command, "--clear takes no NAME, but got '%s'", cli_safe(argv[0]));
    if (!clear && !words) return cli_usage_error(context, syntax.command, "missing NAME");
    return change(context, clear ? NULL : argv[0]);
}
