/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute setup: creates, replaces or removes the Python runtime of a backend, or uses an existing one. */
#include "cli/cli.h"
#include "runtime/setup.h"

#include "cli/options.h"
#include "cli/output.h"
#include "fleet/named.h"
#include "host/host.h"
#include "kolm/kit/file.h"
#include "runtime/files.h"
#include "runtime/runtime.h"

#include <string.h>
#include <sys/stat.h>

#define LABEL "%-14s"

/* ---- Before */

void cli_setup_plan(cli_context *context, const setup *s) {
    char size[32];
    cli_print(context, LABEL "%s for %s\n", "runtime",
              s->lock.summary[0] ? cli_safe(s->lock.summary) : "Python packages", s->name);
    cli_print(context, LABEL "%s (Python %s)\n", "made by", cli_safe(s->interpreter), s->version);
    cli_print(context, LABEL "%s\n", "into", cli_safe(s->place));
    cli_print(context, LABEL "%s, %zu packages, each pinned by its SHA-256\n", "lock", cli_safe(s->lock.path),
              s->lock.pins);
    if (s->wheels) {
        cli_print(context, LABEL "nothing; the wheels come from %s\n", "download", cli_safe(s->wheels));
    } else {
        cli_print(context, LABEL "%s%s from ", "download", s->lock.download_bytes ? "about " : "",
                  s->lock.download_bytes ? session_bytes(size, sizeof size, s->lock.download_bytes) : "files");
        if (s->index_url) {
            char url[256];
            cli_print(context, "%s", cli_safe(setup_shown_url(s->index_url, url, sizeof url)));
        }
        for (size_t i = 0; !s->index_url && i < s->lock.url_count; i++)
            cli_print(context, "%s%s", i ? ", " : "", cli_safe(s->lock.url[i]));
        cli_print(context, "%s\n", !s->index_url && s->lock.url_count == 0 ? "pip's own index" : "");
        uint64_t kept = setup_bytes_below(s->cache);
        if (kept)
            cli_print(context, LABEL "%s are here from an earlier attempt\n", "",
                      session_bytes(size, sizeof size, kept));
    }
    if (s->lock.disk_bytes)
        cli_print(context, LABEL "about %s when done\n", "disk", session_bytes(size, sizeof size, s->lock.disk_bytes));
    for (const char *line = kit_buf_text(&s->lock.notes); *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char note[256];
        kit_format(note, sizeof note, "%.*s", (int)strcspn(line, "\n"), line);
        cli_print(context, LABEL "%s\n", "note", cli_safe(note));
    }
}

/* ---- Afterwards */

static int print_as_json(cli_context *context, const setup *s, const setup_done *done) {
    uint64_t bytes = 0;
    const char *version = s->version[0] ? s->version : NULL;
    const cJSON *packages = s->about ? kit_json_get(s->about, "packages") : NULL;
    (void)(s->about && kit_json_get_u64(s->about, "bytes", &bytes) &&
           kit_json_get_string(s->about, "python", &version));
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.setup/1") &&
                kit_json_put_string(value, "backend", s->name) && kit_json_put_string(value, "state", done->state) &&
                kit_json_put_string(value, "python", done->python) &&
                kit_json_put_string(value, "python_version", version) &&
                kit_json_put_string(value, "lock", s->lock.path) &&
                kit_json_put_string(value, "lock_sha256", s->lock.sha256[0] ? s->lock.sha256 : NULL) &&
                kit_json_put(value, "packages", packages ? cJSON_Duplicate(packages, 1) : cJSON_CreateObject()) &&
                kit_json_put_u64(value, "bytes", bytes);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

static int print_removed(cli_context *context, const setup *s, const setup_removed *removed) {
    char size[32];
    if (removed->there)
        cli_print(context, "removed %s (%s)\n", cli_safe(s->place), session_bytes(size, sizeof size, removed->bytes));
    if (removed->forgotten) cli_print(context, "removed the Python of %s from config.json\n", s->name);
    if (!removed->there && !removed->forgotten)
        cli_print(context, "%s has no runtime: there is nothing to remove\n", s->name);
    return CLI_EXIT_OK;
}

static int print_done(cli_context *context, const setup *s, const setup_done *done) {
    char size[32];
    uint64_t bytes = 0;
    if (context->json) return print_as_json(context, s, done);
    if (s->remove) return print_removed(context, s, &done->removed);
    if (s->use) {
        cli_print(context, "%s uses %s (Python %s) from now on; `kolm compute test %s` tries it\n", s->name,
                  cli_safe(s->use), s->version, s->name);
        return CLI_EXIT_OK;
    }
    (void)kit_json_get_u64(s->about, "bytes", &bytes);
    cli_print(context, done->kept ? "%s already exists (%s)\n" : "%s is ready (%s)\n", cli_safe(s->place),
              session_bytes(size, sizeof size, bytes));
    cli_print(context, "next: kolm compute test %s\n", s->name);
    return CLI_EXIT_OK;
}

static kit_status find_backend(cli_context *context, fleet_registry **out_registry, setup *s, kolm_error_t *err) {
    KIT_TRY(fleet_registry_open(&context->session, out_registry, err));
    fleet_backend *backend = NULL;
    KIT_TRY(fleet_named(*out_registry, s->name, &backend, &s->reason, err));
    s->row = backend->row;
    s->trainer = (*out_registry)->found->trainer;
    return setup_open(s, err);
}

static int run(cli_context *context, setup *s) {
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    setup_done done = {0};
    umask(umask(077) | 022); /* others must not be able to change code that runs as this user */
    kit_status status = find_backend(context, &registry, s, &err);
    if (status == KOLM_OK) status = setup_do(s, &done, &err);
    int exit_code = status == KOLM_OK ? print_done(context, s, &done) : cli_fail(context, s->reason, &err);
    setup_done_free(&done);
    setup_close(s);
    fleet_registry_free(registry);
    return exit_code;
}

int cli_compute_setup(cli_context *context, int argc, char **argv) {
    setup s = {.session = &context->session, .lock_fd = -1};
    const cli_option options[] = {
        {"yes", 'y', CLI_FLAG, &s.yes, NULL, "do not ask for confirmation"},
        {"from", 0, CLI_STRING, &s.from, "DIR", "take the wheels from this directory; nothing is downloaded"},
        {"python", 0, CLI_STRING, &s.python, "PATH", "the Python to make the environment with"},
        {"index-url", 0, CLI_STRING, &s.index_url, "URL", "a mirror to use instead of the lock's indexes"},
        {"use", 0, CLI_STRING, &s.use, "PATH", "make nothing: use this Python, which has the packages"},
        {"remove", 0, CLI_FLAG, &s.remove, NULL, "remove the runtime, and forget --use"},
        {"airgap", 0, CLI_AIRGAP, &s.airgap, NULL, "download nothing (strict and advisory alike)"},
    };
    const cli_syntax syntax = {
        .command = "kolm compute setup",
        .words = "NAME",
        .summary = "Creates the Python runtime of a backend, from a lock with hashes.",
        .notes = "After an interruption run the same command again to continue. See runtimes.md in the documentation.",
        CLI_ROWS(options),
    };
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    if (s.remove && (s.use || s.from || s.python))
        return cli_usage_error(context, syntax.command, "--remove cannot be combined with --use, --from or --python");
    if (s.use && (s.from || s.python || s.index_url))
        return cli_usage_error(
            context, syntax.command,
            "--use makes no environment, so it cannot be combined with --from, --python or --index-url");
    s.name = argv[0];
    return run(context, &s);
}
