/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend new: writes the SDK's template under a name of the author's own. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "conform/author.h"
#include "host/host.h"

int cli_backend_new(cli_context *context, int argc, char **argv) {
    const char *dir = NULL;
    const cli_option options[] = {{"dir", 0, CLI_STRING, &dir, "DIR", "where to write it; by default ./NAME"}};
    const cli_syntax syntax = {
        .command = "kolm backend new",
        .words = "NAME",
        .summary = "Writes a working backend in one file, with its manifest and a meson.build that needs only the "
                   "installed SDK.",
        CLI_ROWS(options),
    };
    kolm_error_t err = KIT_ERROR_INIT;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    const char *name = argv[0];
    if (!host_name_ok(name))
        return cli_usage_error(
            context, "kolm backend new",
            "'%s' cannot be a backend's name: lower-case letters, digits and -, at most 32, a letter first",
            cli_safe(name));
    if (!dir) dir = name;
    kit_status status = author_template_write(dir, name, &err);
    if (status != KOLM_OK)
        return cli_fail(context, status == KOLM_E_ALREADY_EXISTS ? SESSION_REASON_USAGE : SESSION_REASON_NONE, &err);
    if (context->json) {
        cJSON *value = cJSON_CreateObject();
        bool good = kit_json_put_string(value, "schema", "kolm.backend.new/1") &&
                    kit_json_put_string(value, "backend", name) && kit_json_put_string(value, "directory", dir);
        return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
    }
    cli_print(context,
              "wrote %s/%s.c, %s.json, %s.map and meson.build\n"
              "  -> cd %s && meson setup build && ninja -C build && kolm backend check build/%s.so\n",
              cli_safe(dir), name, name, name, cli_safe(dir), name);
    return CLI_EXIT_OK;
}
