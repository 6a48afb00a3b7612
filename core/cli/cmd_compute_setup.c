/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute setup: makes, replaces or removes the Python runtime of a backend, or takes one that is there. */
#include "cli/cli.h"
#include "runtime/setup.h"

#include "cli/options.h"
#include "cli/output.h"
#include "fleet/named.h"
#include "host/host.h"
#include "kolm/kit/file.h"
#include "runtime/files.h"
#include "runtime/runtime.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LABEL "%-14s"

/* ---- The answer */

/* state: "made", "replaced", "kept", "removed", "nothing to remove" or "used". */
static int answer(cli_context *context, setup *s, const char *state, const char *python) {
    if (!context->json) return CLI_EXIT_OK;
    uint64_t bytes = 0;
    const char *version = s->version[0] ? s->version : NULL;
    const cJSON *packages = s->about ? kit_json_get(s->about, "packages") : NULL;
    (void)(s->about && kit_json_get_u64(s->about, "bytes", &bytes) &&
           kit_json_get_string(s->about, "python", &version));
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.setup/1") &&
                kit_json_put_string(value, "backend", s->name) && kit_json_put_string(value, "state", state) &&
                kit_json_put_string(value, "python", python) && kit_json_put_string(value, "python_version", version) &&
                kit_json_put_string(value, "lock", s->lock.path) &&
                kit_json_put_string(value, "lock_sha256", s->lock.sha256[0] ? s->lock.sha256 : NULL) &&
                kit_json_put(value, "packages", packages ? cJSON_Duplicate(packages, 1) : cJSON_CreateObject()) &&
                kit_json_put_u64(value, "bytes", bytes);
    return cli_print_json(context, cli_whole(value, good), CLI_EXIT_OK);
}

static int answer_environment(cli_context *context, setup *s, const char *state) {
    kit_buf python = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf_fmt(&python, "%s/bin/python", s->place);
    int exit_code = kit_buf_ok(&python, &err) == KOLM_OK ? answer(context, s, state, kit_buf_text(&python))
                                                         : cli_error(context, CLI_EXIT_INTERNAL, &err);
    kit_buf_free(&python);
    return exit_code;
}

static void print_plan(cli_context *context, setup *s) {
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

static kit_status confirm(cli_context *context, setup *s, kolm_error_t *err) {
    if (s->yes) return KOLM_OK;
    s->reason = SESSION_REASON_USAGE;
    if (context->json || !context->err_tty || isatty(STDIN_FILENO) != 1)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "add --yes",
                        "there is no terminal to confirm on; nothing was done");
    char reply[16] = "";
    cli_flush(context);
    fprintf(stderr, "Go on? [y/N] ");
    bool yes = fgets(reply, sizeof reply, stdin) != NULL && (reply[0] == 'y' || reply[0] == 'Y');
    s->reason = yes ? SESSION_REASON_NONE : SESSION_REASON_INTERRUPTED;
    return yes ? KOLM_OK : kit_fail(err, KOLM_E_CANCELLED, "", "nothing was done");
}

static kit_status make(cli_context *context, setup *s, int *out_exit, kolm_error_t *err) {
    char size[32];
    uint64_t bytes = 0;
    KIT_TRY(setup_find_lock(s, err));
    KIT_TRY(setup_find_wheels(s, err));
    bool kept = false;
    KIT_TRY(setup_look_whole(s, &kept, err));
    if (!kept) {
        KIT_TRY(setup_find_python(s, err));
        KIT_TRY(setup_check_disk(s, err));
        if (!context->json) print_plan(context, s);
        KIT_TRY(confirm(context, s, err));
        KIT_TRY(setup_take_lock(s, err));
        KIT_TRY(setup_look_whole(s, &kept, err)); /* another kolm may have made it while this one asked or waited */
    }
    bool before = s->about != NULL;
    if (!kept) KIT_TRY(setup_make(s, err));
    setup_warn_of_own(s);
    *out_exit = answer_environment(context, s, kept ? "kept" : before ? "replaced" : "made");
    if (context->json) return KOLM_OK;
    (void)kit_json_get_u64(s->about, "bytes", &bytes);
    cli_print(context, kept ? "%s is there already (%s)\n" : "%s is ready (%s)\n", cli_safe(s->place),
              session_bytes(size, sizeof size, bytes));
    cli_print(context, "next: kolm compute test %s\n", s->name);
    return KOLM_OK;
}

/* ---- --use and --remove */

static kit_status use(cli_context *context, setup *s, int *out_exit, kolm_error_t *err) {
    KIT_TRY(setup_use(s, err));
    *out_exit = answer(context, s, "used", s->use);
    if (!context->json)
        cli_print(context, "%s uses %s (Python %s) from now on; `kolm compute test %s` tries it\n", s->name,
                  cli_safe(s->use), s->version, s->name);
    return KOLM_OK;
}

static kit_status remove_all(cli_context *context, setup *s, int *out_exit, kolm_error_t *err) {
    setup_removed removed;
    char size[32];
    KIT_TRY(setup_remove(s, &removed, err));
    bool any = removed.there || removed.forgotten;
    *out_exit = answer(context, s, any ? "removed" : "nothing to remove", NULL);
    if (context->json) return KOLM_OK;
    if (removed.there)
        cli_print(context, "removed %s (%s)\n", cli_safe(s->place), session_bytes(size, sizeof size, removed.bytes));
    if (removed.forgotten) cli_print(context, "forgot the Python of %s in config.json\n", s->name);
    if (!any) cli_print(context, "%s has no runtime: there is nothing to remove\n", s->name);
    return KOLM_OK;
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
    int exit_code = CLI_EXIT_OK;
    fleet_registry *registry = NULL;
    umask(umask(077) | 022); /* others must not be able to change what runs as this user */
    kit_status status = find_backend(context, &registry, s, &err);
    if (status == KOLM_OK && s->remove)
        status = remove_all(context, s, &exit_code, &err);
    else if (status == KOLM_OK && s->use)
        status = use(context, s, &exit_code, &err);
    else if (status == KOLM_OK)
        status = make(context, s, &exit_code, &err);
    if (status != KOLM_OK) exit_code = cli_fail(context, s->reason, &err);
    setup_close(s);
    fleet_registry_free(registry);
    return exit_code;
}

int cli_compute_setup(cli_context *context, int argc, char **argv) {
    setup s = {.session = &context->session, .lock_fd = -1};
    const cli_option options[] = {
        {"yes", 'y', CLI_FLAG, &s.yes, NULL, "do not ask"},
        {"from", 0, CLI_STRING, &s.from, "DIR", "take the wheels from this directory; nothing is downloaded"},
        {"python", 0, CLI_STRING, &s.python, "PATH", "the Python that makes the environment"},
        {"index-url", 0, CLI_STRING, &s.index_url, "URL", "a mirror, in place of the indexes of the lock"},
        {"use", 0, CLI_STRING, &s.use, "PATH", "make nothing: use this Python, which has the packages"},
        {"remove", 0, CLI_FLAG, &s.remove, NULL, "remove the runtime, and forget --use"},
        {"airgap", 0, CLI_AIRGAP, &s.airgap, NULL, "download nothing (strict and advisory alike)"},
    };
    const cli_syntax syntax = {
        .command = "kolm compute setup",
        .words = "NAME",
        .summary = "Makes the Python runtime of a backend, from a lock with hashes.",
        .notes = "What is interrupted goes on with the same command. runtimes.md of the documentation says more.",
        CLI_ROWS(options),
    };
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    if (s.remove && (s.use || s.from || s.python))
        return cli_usage_error(context, syntax.command, "--remove goes with none of --use, --from and --python");
    if (s.use && (s.from || s.python || s.index_url))
        return cli_usage_error(context, syntax.command,
                               "--use makes nothing, so that it takes no --from, --python or --index-url");
    s.name = argv[0];
    return run(context, &s);
}
