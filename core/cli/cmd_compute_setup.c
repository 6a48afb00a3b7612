/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute setup: makes, replaces or removes the Python runtime of a backend, or takes one that is there. */
#include "runtime/setup.h"

#include "cli/options.h"
#include "cli/output.h"
#include "runtime/runtime.h"
#include "runtime/files.h"
#include "host/host.h"
#include "kolm/kit/file.h"

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
static int answer(setup *s, const char *state, const char *python) {
    if (!s->context->json) return CLI_EXIT_OK;
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
    if (!good) {
        cJSON_Delete(value);
        value = NULL;
    }
    return cli_print_json(s->context, value, CLI_EXIT_OK);
}

static int answer_environment(setup *s, const char *state) {
    kit_buf python = {0};
    kit_buf_fmt(&python, "%s/bin/python", s->place);
    int exit_code = answer(s, state, kit_buf_text(&python));
    kit_buf_free(&python);
    return exit_code;
}

/* ---- --use and --remove */

typedef struct entry {
    const char *name, *python; /* python NULL: forget it */
    bool changed;
} entry;

static kit_status set_runtime(cJSON *config, void *user, kolm_error_t *err) {
    entry *e = user;
    cJSON *runtimes = cJSON_GetObjectItemCaseSensitive(config, "runtimes");
    if (runtimes && !cJSON_IsObject(runtimes))
        return kit_fail(err, KOLM_E_DATA_LOSS, "make it an object, {\"NAME\": \"/absolute/python\"}",
                        "\"runtimes\" in config.json is no object");
    if (!runtimes && e->python) runtimes = cJSON_AddObjectToObject(config, "runtimes");
    e->changed = runtimes && cJSON_HasObjectItem(runtimes, e->name);
    if (runtimes) cJSON_DeleteItemFromObjectCaseSensitive(runtimes, e->name);
    if (!e->python || (runtimes && kit_json_put_string(runtimes, e->name, e->python))) return KOLM_OK;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
}

static kit_status use(setup *s, int *out_exit, kolm_error_t *err) {
    cJSON *probed = NULL;
    const char *version = "";
    entry e = {.name = s->name, .python = s->use};
    if (s->use[0] != '/') {
        s->exit_code = CLI_EXIT_USAGE;
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write --use /opt/train/bin/python, for instance",
                        "--use: '%s' is not an absolute path", s->use);
    }
    KIT_TRY(setup_probe(s->use, &probed, err));
    if (kit_json_get_string(probed, "version", &version)) kit_copy(s->version, sizeof s->version, version);
    cJSON_Delete(probed);
    KIT_TRY(store_config_update(s->home, set_runtime, &e, err));
    *out_exit = answer(s, "used", s->use);
    if (!s->context->json)
        cli_print(s->context, "%s uses %s (Python %s) from now on; `kolm compute test %s` tries it\n", s->name,
                  cli_safe(s->use), s->version, s->name);
    return KOLM_OK;
}

static kit_status remove_all(setup *s, int *out_exit, kolm_error_t *err) {
    struct stat info;
    entry e = {.name = s->name};
    char *config = NULL;
    KIT_TRY(store_home_place(s->home, STORE_CONFIG, &config, err));
    bool there = lstat(s->place, &info) == 0 || lstat(s->partial, &info) == 0 || lstat(s->old, &info) == 0;
    kit_status status = there ? setup_take_lock(s, err) : KOLM_OK;
    if (status == KOLM_OK && access(config, F_OK) == 0) status = store_config_update(s->home, set_runtime, &e, err);
    free(config);
    uint64_t bytes = setup_bytes_below(s->place) + setup_bytes_below(s->partial);
    /* A tree that is removed by half must not be taken for whole. */
    kit_buf mark = {0};
    kit_buf_fmt(&mark, "%s/runtime.json", s->place);
    if (status == KOLM_OK && unlink(kit_buf_text(&mark)) != 0 && errno != ENOENT && errno != ENOTDIR)
        status = kit_fail_errno(err, errno, "cannot remove %s", kit_buf_text(&mark));
    kit_buf_free(&mark);
    if (status == KOLM_OK) status = kit_remove_tree(s->place, err);
    if (status == KOLM_OK) status = cli_runtime_files_forget(s->root, s->name, err);
    if (status == KOLM_OK) status = kit_remove_tree(s->partial, err);
    if (status == KOLM_OK) status = kit_remove_tree(s->old, err);
    if (status != KOLM_OK) return status;
    char size[32];
    *out_exit = answer(s, there || e.changed ? "removed" : "nothing to remove", NULL);
    if (s->context->json) return KOLM_OK;
    if (there) cli_print(s->context, "removed %s (%s)\n", cli_safe(s->place), cli_bytes(size, sizeof size, bytes));
    if (e.changed) cli_print(s->context, "forgot the Python of %s in config.json\n", s->name);
    if (!there && !e.changed) cli_print(s->context, "%s has no runtime: there is nothing to remove\n", s->name);
    return KOLM_OK;
}

/* ---- Making one */

static kit_status find_lock(setup *s, kolm_error_t *err) {
    kit_status status = cli_lock_read(s->registry, s->backend, &s->lock, err);
    if (status == KOLM_E_NOT_FOUND) {
        s->exit_code = CLI_EXIT_USAGE;
        return kit_fail(
            err, KOLM_E_NOT_FOUND,
            s->registry->found->trainer
                ? "a backend that needs none is ready as it is, and one that works elsewhere makes its own there: its "
                  "page and `kolm compute test` say how; --use PATH names a Python of yours"
                : "install kolm's trainer (the package kolm-trainer): it has the locks of kolm's own backends",
            "there is no Python runtime to set up for %s: no lock file comes with it", s->name);
    }
    if (status == KOLM_OK && s->lock.unavailable[0]) {
        s->exit_code = CLI_EXIT_NOTHING;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "make an environment yourself, then `kolm compute setup NAME --use /path/bin/python`",
                        "the runtime of %s cannot be made from a lock: %s", s->name, s->lock.unavailable);
    }
    return status;
}

static kit_status find_wheels(setup *s, kolm_error_t *err) {
    struct stat info;
    if (!s->from && s->airgap) {
        s->exit_code = CLI_EXIT_USAGE;
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "add --from DIR, a directory with the wheels",
                        "--airgap: the packages of %s would have to be downloaded", s->name);
    }
    if (!s->from) return KOLM_OK;
    s->wheels = realpath(s->from, NULL);
    if (!s->wheels) return kit_fail_errno(err, errno, "cannot find the directory %s", s->from);
    if (stat(s->wheels, &info) != 0 || !S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the directory that holds the wheels",
                        "%s is not a directory", s->from);
    return KOLM_OK;
}

static bool is_current(const setup *s) {
    const char *sha256 = "";
    return s->about && kit_json_get_string(s->about, "lock_sha256", &sha256) && strcmp(sha256, s->lock.sha256) == 0;
}

/* One that is current and was changed by anybody since is made anew. */
static kit_status look_whole(setup *s, bool *out_whole, kolm_error_t *err) {
    setup_look(s);
    *out_whole = is_current(s);
    if (!*out_whole) return KOLM_OK;
    kit_status status = cli_runtime_files_same(s->root, s->name, err);
    if (status != KOLM_E_DATA_LOSS) return status;
    cli_warn(s->context, "%s", cli_safe(err->text));
    *out_whole = false;
    return KOLM_OK;
}

static uint64_t disk_needed(const setup *s) {
    uint64_t done = s->lock.disk_bytes ? s->lock.disk_bytes : s->lock.download_bytes * 4;
    uint64_t download = s->wheels ? 0 : s->lock.download_bytes, have = setup_bytes_below(s->cache);
    return done + (download > have ? download - have : 0);
}

/* The disk of the nearest directory that is there. */
static kit_status check_disk(const setup *s, kolm_error_t *err) {
    char *path = NULL, need[32], have[32];
    struct statvfs info;
    KIT_TRY(kit_strdup(s->root, &path, err));
    while (statvfs(path, &info) != 0 && strchr(path + 1, '/'))
        *strrchr(path, '/') = '\0';
    bool known = statvfs(path, &info) == 0;
    free(path);
    uint64_t space = known ? (uint64_t)info.f_bavail * info.f_frsize : UINT64_MAX, needed = disk_needed(s);
    if (space >= needed) return KOLM_OK;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                    "free some space, or let KOLM_HOME name a directory on another disk",
                    "the runtime of %s needs about %s of disk for a while, and there are %s where %s lies", s->name,
                    cli_bytes(need, sizeof need, needed), cli_bytes(have, sizeof have, space), s->root);
}

static void print_plan(setup *s) {
    char size[32];
    cli_context *context = s->context;
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
                  s->lock.download_bytes ? cli_bytes(size, sizeof size, s->lock.download_bytes) : "files");
        if (s->index_url) {
            char url[256];
            cli_print(context, "%s", cli_safe(setup_shown_url(s->index_url, url, sizeof url)));
        }
        for (size_t i = 0; !s->index_url && i < s->lock.url_count; i++)
            cli_print(context, "%s%s", i ? ", " : "", cli_safe(s->lock.url[i]));
        cli_print(context, "%s\n", !s->index_url && s->lock.url_count == 0 ? "pip's own index" : "");
        uint64_t kept = setup_bytes_below(s->cache);
        if (kept)
            cli_print(context, LABEL "%s are here from an earlier attempt\n", "", cli_bytes(size, sizeof size, kept));
    }
    if (s->lock.disk_bytes)
        cli_print(context, LABEL "about %s when done\n", "disk", cli_bytes(size, sizeof size, s->lock.disk_bytes));
    for (const char *line = kit_buf_text(&s->lock.notes); *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char note[256];
        kit_format(note, sizeof note, "%.*s", (int)strcspn(line, "\n"), line);
        cli_print(context, LABEL "%s\n", "note", cli_safe(note));
    }
}

static kit_status confirm(setup *s, kolm_error_t *err) {
    if (s->yes) return KOLM_OK;
    s->exit_code = CLI_EXIT_USAGE;
    if (s->context->json || !s->context->err_tty || isatty(STDIN_FILENO) != 1)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "add --yes", "nobody can be asked here, so nothing was done");
    char reply[16] = "";
    cli_flush(s->context);
    fprintf(stderr, "Go on? [y/N] ");
    bool yes = fgets(reply, sizeof reply, stdin) != NULL && (reply[0] == 'y' || reply[0] == 'Y');
    s->exit_code = yes ? 0 : CLI_EXIT_INTERRUPTED;
    return yes ? KOLM_OK : kit_fail(err, KOLM_E_CANCELLED, "", "nothing was done");
}

/* A Python of the user's own comes first, also after an environment was made. */
static void warn_of_own(const setup *s) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    cJSON *config = NULL;
    const char *own = NULL;
    if (store_config_read(s->home, &config, &ignored) == KOLM_OK) {
        const cJSON *runtimes = kit_json_get(config, "runtimes");
        if (runtimes && kit_json_get_string(runtimes, s->name, &own) && strncmp(own, s->place, strlen(s->place)) != 0)
            cli_warn(s->context,
                     "config.json names %s for %s, which comes before this environment; take that line out to use it",
                     cli_safe(own), s->name);
    }
    cJSON_Delete(config);
}

static kit_status make(setup *s, int *out_exit, kolm_error_t *err) {
    char size[32];
    uint64_t bytes = 0;
    KIT_TRY(find_lock(s, err));
    KIT_TRY(find_wheels(s, err));
    bool kept = false;
    KIT_TRY(look_whole(s, &kept, err));
    if (!kept) {
        KIT_TRY(setup_find_python(s, err));
        KIT_TRY(check_disk(s, err));
        if (!s->context->json) print_plan(s);
        KIT_TRY(confirm(s, err));
        KIT_TRY(setup_take_lock(s, err));
        KIT_TRY(look_whole(s, &kept, err)); /* another kolm may have made it while this one asked or waited */
    }
    bool before = s->about != NULL;
    if (!kept) KIT_TRY(setup_make(s, err));
    warn_of_own(s);
    *out_exit = answer_environment(s, kept ? "kept" : before ? "replaced" : "made");
    if (s->context->json) return KOLM_OK;
    (void)kit_json_get_u64(s->about, "bytes", &bytes);
    cli_print(s->context, kept ? "%s is there already (%s)\n" : "%s is ready (%s)\n", cli_safe(s->place),
              cli_bytes(size, sizeof size, bytes));
    cli_print(s->context, "next: kolm compute test %s\n", s->name);
    return KOLM_OK;
}

static int run(setup *s) {
    kolm_error_t err = KIT_ERROR_INIT;
    int exit_code = CLI_EXIT_OK;
    umask(umask(077) | 022); /* others must not be able to change what runs as this user */
    kit_status status = setup_open(s, &err);
    if (status == KOLM_OK && s->remove)
        status = remove_all(s, &exit_code, &err);
    else if (status == KOLM_OK && s->use)
        status = use(s, &exit_code, &err);
    else if (status == KOLM_OK)
        status = make(s, &exit_code, &err);
    if (status != KOLM_OK) exit_code = cli_error(s->context, s->exit_code ? s->exit_code : cli_exit_of(status), &err);
    setup_close(s);
    return exit_code;
}

int cli_compute_setup(cli_context *context, int argc, char **argv) {
    setup s = {.context = context, .lock_fd = -1};
    const cli_option options[] = {
        {"yes", 'y', CLI_FLAG, &s.yes, NULL, "do not ask"},
        {"from", 0, CLI_STRING, &s.from, "DIR", "take the wheels from this directory; nothing is downloaded"},
        {"python", 0, CLI_STRING, &s.python, "PATH", "the Python that makes the environment"},
        {"index-url", 0, CLI_STRING, &s.index_url, "URL", "a mirror, in place of the indexes of the lock"},
        {"use", 0, CLI_STRING, &s.use, "PATH", "make nothing: use this Python, which has the packages"},
        {"remove", 0, CLI_FLAG, &s.remove, NULL, "remove the runtime, and forget --use"},
        {"airgap", 0, CLI_AIRGAP, &s.airgap, NULL, "download nothing (strict and advisory alike)"},
    };
    const cli_syntax syntax = {.command = "kolm compute setup",
                               .words = "NAME",
                               .summary = "Makes the Python runtime of a backend, from a lock with hashes.",
                               .notes =
                                   "What is interrupted goes on with the same command. runtimes.md of the documentation says more.",
                               .options = options,
                               .option_count = sizeof options / sizeof *options,
                               .min_words = 1,
                               .max_words = 1,
                               .words_out = argv};
    int result = cli_options_parse(context, &syntax, argc, argv);
    if (result >= 0) return result;
    if (s.remove && (s.use || s.from || s.python))
        return cli_usage_error(context, syntax.command, "--remove goes with none of --use, --from and --python");
    if (s.use && (s.from || s.python || s.index_url))
        return cli_usage_error(context, syntax.command,
                               "--use makes nothing, so that it takes no --from, --python or --index-url");
    s.name = argv[0];
    return run(&s);
}
