/* SPDX-License-Identifier: Apache-2.0 */
/* The list of checks, and how it is run. */
#include "conform/conform.h"
#include "host/host.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "store/store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *check_outcome_name(check_outcome outcome) {
    static const char *const names[] = {"pass", "fail", "skip", "expected-failure", "unexpected-pass"};
    return names[outcome];
}

static void remark(check *c, check_outcome outcome, const char *format, va_list list) KIT_PRINTF(3, 0);
static void remark(check *c, check_outcome outcome, const char *format, va_list list) {
    c->item->outcome = outcome;
    (void)vsnprintf(c->item->reason, sizeof c->item->reason, format, list);
}

#define REMARK(outcome)                                                                                                \
    va_list list;                                                                                                      \
    va_start(list, format);                                                                                            \
    remark(c, outcome, format, list);                                                                                  \
    va_end(list)

void check_fail(check *c, const char *format, ...) {
    REMARK(CHECK_FAIL);
}

void check_skip(check *c, const char *format, ...) {
    REMARK(CHECK_SKIP);
}

void check_note(check *c, const char *format, ...) {
    REMARK(CHECK_PASS);
}

/* ---- The list, in the order in which it runs. needs: prerequisites; a check that needs all evaluates what the others
 * have shown. */
typedef enum need { ALWAYS, NEEDS_FILES, NEEDS_LOADED, NEEDS_ALL } need;

static const struct {
    const char *name;
    need need;
    void (*run)(check *c);
    const char *about;
} checks[] = {
    {"files", ALWAYS, check_files, "kolm would accept plugin and manifest as installed"},
    {"exports", ALWAYS, check_exports, "exactly one symbol, kolm_backend_v1, a data object"},
    {"loads", NEEDS_FILES, check_loads, "ABI, build and name fit this kolm"},
    {"identity", NEEDS_LOADED, check_identity, "version, vendor, licence and homepage"},
    {"slots", NEEDS_LOADED, check_slots, "the table has what the manifest promises"},
    {"detect.answers", NEEDS_LOADED, check_detect_answers, "a state, a reason, a remedy, sensible devices"},
    {"detect.soon", NEEDS_LOADED, check_detect_soon, "cheap"},
    {"detect.steady", NEEDS_LOADED, check_detect_steady, "the same answer again"},
    {"detect.no-network", NEEDS_LOADED, check_detect_network, "works where no socket can be opened"},
    {"detect.bare", NEEDS_LOADED, check_detect_bare, "works with an empty environment"},
    {"detect.read-only-home", NEEDS_LOADED, check_detect_home,
     "works with a home that cannot be written, and leaves it alone"},
    {"detect.leaves-nothing", NEEDS_LOADED, check_detect_left, "no descriptors, threads, processes or memory"},
    {"abi.later-host", NEEDS_LOADED, check_later_host, "works with a later minor and larger records"},
    {"abi.first-host", NEEDS_LOADED, check_first_host, "works with minor 0 and the records of that time"},
    {"cost.pure", NEEDS_LOADED, check_cost_pure, "the same question, the same answer"},
    {"cost.edges", NEEDS_LOADED, check_cost_edges, "no row, very many rows"},
    {"cost.leaves-nothing", NEEDS_LOADED, check_cost_left, "computes, and nothing else"},
    {"train.tiny", NEEDS_LOADED, check_train_and_infer,
     "learns ninety rows, and answers as well as counting words does"},
    {"infer.flushes", NEEDS_LOADED, check_infer_flushes, "answers a question before the next one is there"},
    {"train.cancel", NEEDS_LOADED, check_train_cancel, "stops soon when it is cancelled"},
    {"train.bad-job", NEEDS_LOADED, check_bad_jobs, "refuses broken job directories with a reason"},
    {"infer.bad-model", NEEDS_LOADED, check_infer_bad_model, "refuses a corrupt model"},
    {"test", NEEDS_LOADED, check_own_test, "its own test passes"},
    {"status", NEEDS_LOADED, check_status, "lists its remote resources, and removes nothing unless asked to prune"},
    {"lease.refused", NEEDS_LOADED, check_lease_refused, "creates nothing when its intent cannot be recorded"},
    {"lease.killed", NEEDS_LOADED, check_lease_killed,
     "killed between intent and handle, what it rented is found by its name and ended, and again"},
    {"lease.unknown", NEEDS_LOADED, check_reclaim_unknown, "reclaim of a name that never existed is GONE"},
    {"lease.ends", NEEDS_ALL, check_leases_end, "what it rents is gone when its call has ended, or reclaimed"},
    {"contract.records", NEEDS_ALL, check_records, "numbers, sizes and reserved fields are what backend.h says"},
    {"contract.texts", NEEDS_ALL, check_texts, "texts are UTF-8, NUL terminated, complete and not empty"},
    {"contract.reports", NEEDS_ALL, check_reports, "progress, metrics and steps that make sense"},
    {"manners.leaves-nothing", NEEDS_ALL, check_leaves_nothing,
     "no thread, process or descriptor of train, infer, test or status"},
    {"manners.prints-nothing", NEEDS_ALL, check_prints_nothing, "nothing on standard output or error"},
    {"manners.declares-settings", NEEDS_ALL, check_settings, "no setting is read that its manifest does not declare"},
    {"manners.keeps-secrets", NEEDS_ALL, check_keeps_secrets, "no secret in its output"},
};
#define CHECKS (sizeof checks / sizeof *checks)
_Static_assert(CHECKS <= CHECK_ITEMS_MAX, "the report has room for every check");

bool check_known(const char *name) {
    for (size_t i = 0; i < CHECKS; i++)
        if (strcmp(checks[i].name, name) == 0) return true;
    return false;
}

bool check_known_prefix(const char *prefix) {
    for (size_t i = 0; i < CHECKS; i++)
        if (strncmp(checks[i].name, prefix, strlen(prefix)) == 0) return true;
    return false;
}

static bool listed(char *const *names, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static void run_one(check *c, size_t i) {
    bool unsupported = listed(c->options->unsupported, c->options->unsupported_count, checks[i].name);
    bool expected = listed(c->options->expected, c->options->expected_count, checks[i].name);
    int64_t start = kit_now_ms();
    c->stop = 0;
    c->stop_at_progress = false;
    c->progress_reports = 0;
    if (unsupported)
        check_skip(c, "declared as unsupported");
    else if (checks[i].need >= NEEDS_FILES && c->row->state != HOST_ROW_OK)
        check_skip(c, "kolm would not accept the files");
    else if (checks[i].need >= NEEDS_LOADED && !c->loaded)
        check_skip(c, "it could not be loaded");
    else
        checks[i].run(c);
    c->item->wall_ms = kit_now_ms() - start;
    if (expected && c->item->outcome == CHECK_FAIL) c->item->outcome = CHECK_EXPECTED_FAIL;
    if (expected && c->item->outcome == CHECK_PASS) {
        c->item->outcome = CHECK_UNEXPECTED_PASS;
        kit_copy(c->item->reason, sizeof c->item->reason,
                 "it passes now: remove it from the list of expected failures");
    }
}

static bool is_named(const check_options *options, size_t i) {
    return !options->only || strncmp(checks[i].name, options->only, strlen(options->only)) == 0;
}

/* The first ones are part of every report: the rest is meaningless without them. */
static bool is_told(const check_options *options, size_t i) {
    return checks[i].need < NEEDS_LOADED || is_named(options, i);
}

/* A check that evaluates all others is meaningless without them. */
static bool is_run(const check_options *options, size_t i) {
    for (size_t k = 0; k < CHECKS; k++)
        if (checks[k].need == NEEDS_ALL && is_named(options, k)) return true;
    return is_told(options, i);
}

static kit_status run_all(check *c, check_report *report, kolm_error_t *err) {
    for (size_t i = 0; i < CHECKS; i++) {
        if (!is_run(c->options, i)) continue;
        c->item = &report->items[report->count];
        *c->item = (check_item){.name = checks[i].name, .about = checks[i].about};
        run_one(c, i);
        if (c->options->cancel && *c->options->cancel)
            return kit_fail(err, KOLM_E_CANCELLED, "", "the check was stopped");
        if (c->not_called) {
            *err = c->broken;
            return err->code;
        }
        if (!is_told(c->options, i)) continue;
        report->count++;
        if (c->options->done) c->options->done(c->options->user, c->item);
    }
    return KOLM_OK;
}

static kit_status open_registry(const char *plugin, host_registry **out_registry, char **out_stem, kolm_error_t *err) {
    const char *slash = strrchr(plugin, '/'), *dot = strrchr(plugin, '.');
    char directory[4096];
    if (!slash || !dot || dot < slash + 2 || strcmp(dot, HOST_SUFFIX) != 0 ||
        !kit_format(directory, sizeof directory, "%.*s", (int)(slash - plugin), plugin))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the plugin, NAME.so next to NAME.json",
                        "%s does not look like a plugin", plugin);
    kit_buf stem = {0};
    kit_buf_add(&stem, slash + 1, (size_t)(dot - slash - 1));
    KIT_TRY(kit_buf_ok(&stem, err));
    *out_stem = kit_buf_take(&stem);
    host_registry *own = NULL;
    const char *dirs[] = {directory[0] ? directory : "/"};
    KIT_TRY(host_scan(NULL, &own, err)); /* to know where kolm-host is */
    char *program = own->program;
    kit_status status = program ? KOLM_OK : own->program_error.code;
    if (status != KOLM_OK) *err = own->program_error;
    host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = program, .only = *out_stem};
    if (status == KOLM_OK) status = host_scan(&options, out_registry, err);
    if (status == KOLM_OK && !(*out_registry)->program) { /* it was there a moment ago */
        *err = (*out_registry)->program_error;
        status = err->code;
    }
    host_registry_free(own);
    return status;
}

kit_status check_backend(const check_options *options, check_report *out_report, kolm_error_t *err) {
    check c = {.options = options};
    host_registry *registry = NULL;
    char *stem = NULL;
    char work[] = "/tmp/kolm-check-XXXXXX";
    memset(out_report, 0, sizeof *out_report);
    if (access(options->plugin, R_OK) != 0) return kit_fail_errno(err, errno, "cannot read %s", options->plugin);
    kit_status status = open_registry(options->plugin, &registry, &stem, err);
    if (status == KOLM_OK && !registry->searched[0].searched) {
        *err = registry->searched[0].why;
        status = kit_fail_context(err, "the directory of %s", options->plugin);
    }
    if (status == KOLM_OK && (c.row = registry->count == 1 ? &registry->rows[0] : NULL) == NULL)
        status = kit_fail(err, KOLM_E_NOT_FOUND, "name the plugin, NAME.so next to NAME.json",
                          "%s is not a file that kolm examines", options->plugin);
    if (status == KOLM_OK && mkdtemp(work) == NULL)
        status = kit_fail(err, KOLM_E_UNAVAILABLE, "free some space in /tmp", "cannot create the job directory");
    if (status == KOLM_OK) {
        c.registry = registry;
        c.work = work;
        kit_copy(out_report->name, sizeof out_report->name, c.row->name);
        status = check_settings_take(&c, err);
        if (status == KOLM_OK) status = run_all(&c, out_report, err);
        kit_status ignored = kit_remove_tree(work, NULL);
        (void)ignored;
    }
    cJSON_Delete(c.config);
    kit_buf_free(&c.said);
    kit_buf_free(&c.printed);
    kit_buf_free(&c.undeclared);
    store_home_free(c.rented);
    host_registry_free(registry);
    free(stem);
    return status;
}

/* ---- Results */

kit_status check_find_plugin(const char *path, char out_path[PATH_MAX], kolm_error_t *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char directory[PATH_MAX], real[PATH_MAX];
    if (access(path, F_OK) != 0) return kit_fail_errno(err, errno, "cannot find %s", path);
    if (!kit_format(directory, sizeof directory, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".") ||
        !realpath(directory, real))
        return kit_fail_errno(err, errno, "cannot find %s", path);
    if (!kit_format(out_path, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, base))
        return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
    return KOLM_OK;
}

check_tally check_count(const check_report *report) {
    check_tally t = {{0}};
    for (size_t i = 0; i < report->count; i++)
        t.of[report->items[i].outcome]++;
    return t;
}

bool check_good(const check_tally *t) {
    return t->of[CHECK_FAIL] == 0 && t->of[CHECK_UNEXPECTED_PASS] == 0;
}
