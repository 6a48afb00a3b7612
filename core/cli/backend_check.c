/* SPDX-License-Identifier: Apache-2.0 */
/* The list of checks, and those about loading, detect, cost, test and manners. */
#include "cli/backend_check.h"
#include "cli/call_options.h"
#include "host/host.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT_MS 20000   /* for detect and cost, which kolm itself gives 5 s */
#define DETECT_MS 5000  /* that deadline */
#define DETECT_SOON 500 /* what a person should wait */
#define REPEATS 200
#define LEAK_BYTES 64 /* a call; less is noise of the allocator */

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

/* ---- Calls */

static void hear_line(check *c, const char *text) {
    kit_buf_str(&c->said, text);
    kit_buf_char(&c->said, '\n');
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)backend, (void)level;
    hear_line(user, text);
}

static void on_printed(void *user, const char *text) {
    check *c = user;
    hear_line(c, text);
    if (c->printed.length < 4096) kit_buf_fmt(&c->printed, "%s\n", text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    check *c = user;
    c->progress_reports++;
    hear_line(c, progress->phase);
    if (c->stop_at_progress) c->stop = 1;
}

static void on_metric(void *user, const char *name, double value) {
    (void)value;
    hear_line(user, name);
}

static void on_step(void *user, const kolm_test_step_t *step) {
    hear_line(user, step->title);
    hear_line(user, step->note);
}

static void on_holding(void *user, const kolm_holding_t *holding) {
    check *c = user;
    const char *const texts[] = {holding->place, holding->kind, holding->name, holding->note};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hear_line(c, texts[i]);
    c->holdings++;
    if (holding->state > KOLM_HOLDING_REMOVED || !*holding->place || !*holding->kind || !*holding->name) c->odd_holdings++;
    if (holding->state == KOLM_HOLDING_REMOVED) c->removed++;
}

/* An address that a manifest lists under auth is no secret; what is called so is. */
static const char *give_secret(void *user, const char *name) {
    static const char *const endings[] = {"TOKEN", "KEY", "SECRET", "PASSWORD"};
    size_t n = strlen(name);
    (void)user;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t m = strlen(endings[i]);
        if (n >= m && strcasecmp(name + n - m, endings[i]) == 0) return CHECK_SECRET;
    }
    return "kolm-check";
}

void check_call_options(check *c, host_call_options *out_options) {
    static host_events events;
    events = (host_events){.user = c,
                           .log = on_log,
                           .progress = on_progress,
                           .metric = on_metric,
                           .test_step = on_step,
                           .holding = on_holding,
                           .undeclared = check_undeclared,
                           .printed = on_printed};
    *out_options = (host_call_options){
        .cancel = c->options->cancel, .secret = give_secret, .events = &events, .show_secrets = true};
    if (c->options->home) cli_keep_private(c->options->home, out_options);
}

bool check_called(check *c, kit_status status, const kolm_error_t *err) {
    if (status == KOLM_OK) return true;
    c->not_called = true;
    c->broken = *err;
    return false;
}

void check_hear(check *c, const host_result *result) {
    const char *const texts[] = {result->error.text,    result->error.remedy,  result->version,
                                 result->vendor,        result->licence,       result->homepage,
                                 result->detect.reason, result->detect.remedy, result->detect.runtime,
                                 result->cost.basis,    result->train.device,  result->train.toolchain,
                                 result->infer.device,  result->test.summary,  result->status.summary};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hear_line(c, texts[i]);
    for (size_t i = 0; i < result->device_count; i++) {
        const host_device *d = &result->devices[i];
        const char *const of_device[] = {d->name, d->id, d->driver, d->runtime};
        for (size_t k = 0; k < 4; k++)
            hear_line(c, of_device[k]);
    }
}

/* One detect under the conditions; false when the check is decided (a failure was recorded). */
static bool detect(check *c, const host_audit *audit, bool airgap, host_result *out_result) {
    host_call_options options;
    kolm_error_t err = KIT_ERROR_INIT;
    check_call_options(c, &options);
    options.timeout_ms = DETECT_MS;
    options.audit = audit;
    options.airgap_strict = airgap;
    kit_status status = host_detect(c->registry, c->row, &options, out_result, &err);
    if (!check_called(c, status, &err)) return false;
    check_hear(c, out_result);
    if (out_result->verdict == HOST_OK) return true;
    if (out_result->verdict == HOST_SANDBOX)
        check_skip(c, "this machine cannot shut the network: %s", out_result->error.text);
    else
        check_fail(c, "%s", out_result->error.text);
    return false;
}

static bool cost(check *c, const kolm_cost_args_t *args, const host_audit *audit, host_result *out_result) {
    host_call_options options;
    kolm_error_t err = KIT_ERROR_INIT;
    check_call_options(c, &options);
    options.timeout_ms = SLOT_MS;
    options.audit = audit;
    kit_status status = host_cost(c->registry, c->row, args, &options, out_result, &err);
    if (!check_called(c, status, &err)) return false;
    check_hear(c, out_result);
    if (out_result->verdict == HOST_OK) return true;
    check_fail(c, "%s", out_result->error.text);
    return false;
}

/* ---- Loading */

static void check_files(check *c) {
    if (c->row->state != HOST_ROW_OK)
        check_fail(c, "rule %d (%s): %s%s%s", (int)c->row->rule, host_rule_text(c->row->rule), c->row->why.text,
                   c->row->why.remedy[0] ? "; " : "", c->row->why.remedy);
}

static void check_loads(check *c) {
    host_result result;
    bool answered = detect(c, NULL, false, &result);
    c->loaded = result.loaded;
    c->slots = result.slots;
    if (result.loaded && result.verdict != HOST_NOT_LOADED) {
        c->item->outcome = CHECK_PASS; /* how detect went is asked below */
        c->item->reason[0] = '\0';
        if (result.abi_minor > KOLM_ABI_MINOR)
            check_note(c, "built with ABI 1.%u, works with 1.%u", result.abi_minor, KOLM_ABI_MINOR);
    }
    c->state = KOLM_DETECT_BROKEN;
    if (!answered) return;
    c->state = result.detect.state;
    kit_copy(c->here, sizeof c->here, result.detect.reason);
}

static void check_identity(check *c) {
    host_result result;
    if (!detect(c, NULL, false, &result) && !result.loaded) return;
    c->item->outcome = CHECK_PASS;
    c->item->reason[0] = '\0';
    if (!result.version[0]) check_fail(c, "its table has an empty version");
    if (!result.vendor[0]) check_fail(c, "its table has an empty vendor");
    if (!result.licence[0]) check_fail(c, "its table has an empty licence (an SPDX expression)");
    if (strncmp(result.homepage, "https://", 8) != 0)
        check_fail(c, "its homepage '%s' is no https address: where are users to report a crash?", result.homepage);
}

static void check_slots(check *c) {
    const host_manifest *m = c->row->manifest;
    const bool trains = c->slots & HOST_SLOT_TRAIN, answers = c->slots & HOST_SLOT_INFER;
    if (!(c->slots & HOST_SLOT_DETECT))
        check_fail(c, "it has no detect: kolm can never know that it is there");
    else if (!m->train && trains)
        check_fail(c, "its table has a train, its manifest says that it does not: it would never be chosen");
    else if (!m->infer && answers)
        check_fail(c, "its table has an infer, its manifest says that it does not: it would never be chosen");
    else if (trains && !answers)
        check_fail(c, "it trains and cannot answer: a model is only shipped after it answered the held-out inputs");
    else if (m->train && !trains)
        check_skip(c, "detect only: its manifest says that it trains, its table has no train yet");
    else if (m->infer && !answers)
        check_skip(c, "detect only: its manifest says that it answers, its table has no infer yet");
}

/* ---- detect */

static const char *device_fault(const host_result *result, const host_manifest *m) {
    for (size_t i = 0; i < result->device_count; i++) {
        const host_device *d = &result->devices[i];
        if (!d->name[0]) return "a device has no name";
        if (d->index != i) return "devices are not numbered from 0 in the order in which they are reported";
        if (d->memory_kind > KOLM_MEMORY_SHARED) return "a device has an unknown kind of memory";
        if (d->total_memory_bytes != KOLM_MEMORY_UNKNOWN && d->free_memory_bytes != KOLM_MEMORY_UNKNOWN &&
            d->free_memory_bytes > d->total_memory_bytes)
            return "a device has more free memory than memory";
    }
    if (result->device_count == 0 && result->detect.state == KOLM_DETECT_AVAILABLE &&
        (m->vram == HOST_VRAM_OWN || m->vram == HOST_VRAM_SHARED))
        return "it is available and has memory of its own by its manifest, and reports no device";
    return NULL;
}

static void check_detect_answers(check *c) {
    host_result result;
    if (!detect(c, NULL, false, &result)) return;
    const char *fault = device_fault(&result, c->row->manifest);
    if (strcmp(result.detect.reason, "the backend gave no reason") == 0 || !result.detect.reason[0])
        check_fail(c, "it gives no reason for its answer");
    else if ((result.detect.state == KOLM_DETECT_BROKEN || result.detect.state == KOLM_DETECT_REFUSED) &&
             !result.detect.remedy[0])
        check_fail(c, "it is here, not usable, and does not say what to do about it");
    else if (fault)
        check_fail(c, "%s", fault);
    else
        check_note(c, "%s", result.detect.reason);
}

static void check_detect_soon(check *c) {
    host_result result;
    int64_t best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        if (!detect(c, NULL, false, &result)) return;
        if (result.wall_ms < best) best = result.wall_ms;
    }
    if (best > DETECT_SOON)
        check_fail(c, "it takes %lld ms; every `kolm compute detect` waits for it (at most %d ms)", (long long)best,
                   DETECT_SOON);
    else
        check_note(c, "%lld ms", (long long)best);
}

static void check_detect_steady(check *c) {
    host_result result;
    for (int i = 0; i < 5; i++) {
        if (!detect(c, NULL, false, &result)) return;
        if (result.detect.state != c->state) {
            check_fail(c, "asked again at once it gives another answer");
            return;
        }
    }
}

static void check_detect_network(check *c) {
    const host_audit audit = {.any_airgap = true};
    host_result result;
    if (!detect(c, &audit, true, &result)) return;
    if (result.detect.state != c->state)
        check_fail(c, "without sockets it gives another answer (%s): detect must not need the network",
                   result.detect.reason);
}

static void check_detect_bare(check *c) {
    const host_audit audit = {.bare = true};
    host_result result;
    (void)detect(c, &audit, false, &result);
}

/* Entries in the directory, hidden ones too. */
static size_t entries(const char *path) {
    size_t n = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir) closedir(dir);
    return n;
}

static void check_detect_home(check *c) {
    char *home = NULL;
    host_result result;
    if (kit_path_join(c->work, "home", &home, NULL) != KOLM_OK || mkdir(home, 0700) != 0 || chmod(home, 0500) != 0) {
        check_skip(c, "no home could be made for it");
        free(home);
        return;
    }
    const host_audit audit = {.bare = true, .home = home};
    if (detect(c, &audit, false, &result) && entries(home) > 0) check_fail(c, "detect writes into the home directory");
    (void)chmod(home, 0700);
    free(home);
}

static void check_detect_left(check *c) {
    const host_audit audit = {.repeats = REPEATS};
    host_result result;
    if (!detect(c, &audit, false, &result)) return;
    const host_left *left = &result.left;
    if (left->descriptors > 0)
        check_fail(c, "after %d calls %u descriptors are still open", REPEATS + 1, left->descriptors);
    else if (left->threads > 0)
        check_fail(c, "%u of its threads still run when detect has returned", left->threads);
    else if (left->processes)
        check_fail(c, "a process that it started still runs when detect has returned");
    else if (left->bytes_per_round > LEAK_BYTES)
        check_fail(c, "each call keeps %llu bytes of memory", (unsigned long long)left->bytes_per_round);
}

static void check_later_host(check *c) {
    const host_audit audit = {.minor = KOLM_ABI_MINOR + 1, .later_bytes = 64};
    host_result result;
    if (detect(c, &audit, false, &result) && result.detect.state != c->state)
        check_fail(c, "it answers otherwise when records are larger than today's: use KOLM_HAS, never == sizeof");
}

/* Under a kolm of ABI 1.0, whose table ends where that ended. */
static void check_first_host(check *c) {
    static const host_audit audit = {.first_minor = true};
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    check_call_options(c, &options);
    options.timeout_ms = DETECT_MS;
    options.audit = &audit;
    kit_status status = host_detect(c->registry, c->row, &options, &result, &err);
    if (!check_called(c, status, &err)) return;
    check_hear(c, &result);
    if (result.verdict == HOST_NOT_LOADED)
        check_skip(c, "it %s", result.error.text);
    else if (result.verdict != HOST_OK)
        check_fail(c, "%s", result.error.text);
    else if (result.detect.state != c->state)
        check_fail(c, "it answers otherwise under ABI 1.0: use KOLM_HAS before what came later");
    else
        check_job_under(c, &audit, "first-host");
}

/* ---- cost */

static kolm_cost_args_t question(const check *c, uint64_t rows) {
    return (kolm_cost_args_t){.struct_size = (uint32_t)sizeof(kolm_cost_args_t),
                              .rows = rows,
                              .input_bytes = rows > UINT64_MAX / 200 ? UINT64_MAX : rows * 120,
                              .labels = 10,
                              .threads = 2,
                              .recipe = check_recipe(c)};
}

static bool same_cost(const kolm_cost_result_t *a, const kolm_cost_result_t *b) {
    return a->billing == b->billing && a->duration_ms == b->duration_ms && a->cost_micro_usd == b->cost_micro_usd &&
           a->confidence == b->confidence && strcmp(a->basis, b->basis) == 0;
}

static void check_cost_pure(check *c) {
    const kolm_cost_args_t args = question(c, 5000);
    const host_audit audits[] = {{.repeats = 0}, {.repeats = 3}, {.bare = true}, {.later_bytes = 64}};
    host_result first, again;
    if (!(c->slots & HOST_SLOT_COST)) {
        check_skip(c, "it has no cost: `kolm compute quote` cannot say anything about it");
        return;
    }
    if (!cost(c, &args, NULL, &first)) return;
    for (size_t i = 0; i < sizeof audits / sizeof *audits; i++) {
        if (!cost(c, &args, &audits[i], &again)) return;
        if (!same_cost(&first.cost, &again.cost)) {
            check_fail(c, "the same question got two answers: only the arguments may decide");
            return;
        }
    }
    if (!first.cost.basis[0]) check_fail(c, "it does not say what its answer was computed from");
}

static void check_cost_edges(check *c) {
    static const uint64_t rows[] = {0, 1, 1000000000, UINT64_MAX};
    if (!(c->slots & HOST_SLOT_COST)) {
        check_skip(c, "it has no cost");
        return;
    }
    uint64_t last = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const kolm_cost_args_t args = question(c, rows[i]);
        host_result result;
        if (!cost(c, &args, NULL, &result)) return;
        if (result.cost.duration_ms < last) {
            check_fail(c, "%llu rows take less time than fewer rows do: a number ran over",
                       (unsigned long long)rows[i]);
            return;
        }
        last = result.cost.duration_ms;
    }
}

static void check_cost_left(check *c) {
    const host_audit audit = {.repeats = REPEATS};
    const kolm_cost_args_t args = question(c, 5000);
    host_result result;
    if (!(c->slots & HOST_SLOT_COST)) {
        check_skip(c, "it has no cost");
        return;
    }
    if (!cost(c, &args, &audit, &result)) return;
    const host_left *left = &result.left;
    if (left->descriptors > 0 || left->threads > 0 || left->processes)
        check_fail(c, "cost leaves something open or running: it must only compute");
    else if (left->bytes_per_round > LEAK_BYTES)
        check_fail(c, "each call keeps %llu bytes of memory", (unsigned long long)left->bytes_per_round);
}

/* ---- test */

static void check_own_test(check *c) {
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!(c->slots & HOST_SLOT_TEST)) {
        check_skip(c, "it has no test: `kolm compute test` cannot prove it");
        return;
    }
    if (c->state != KOLM_DETECT_AVAILABLE) {
        check_skip(c, "not available here: %s", c->here);
        return;
    }
    if (c->row->manifest->airgap != HOST_AIRGAP_YES && !c->options->network) {
        check_skip(c, "it may use the network only with --network");
        return;
    }
    check_call_options(c, &options);
    options.network = c->options->network;
    options.timeout_ms = 600000;
    kit_status status = host_test(c->registry, c->row, 2, &options, &result, &err);
    if (!check_called(c, status, &err)) return;
    check_hear(c, &result);
    if (result.verdict != HOST_OK)
        check_fail(c, "%s", result.error.text);
    else if (!result.test.passed)
        check_fail(c, "it says of itself: %s", result.test.summary);
}

/* ---- status */

static void check_status(check *c) {
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    if (!(c->slots & HOST_SLOT_STATUS)) {
        check_note(c, "it has none: it keeps nothing elsewhere");
        return;
    }
    if (c->state != KOLM_DETECT_AVAILABLE) {
        check_skip(c, "not available here: %s", c->here);
        return;
    }
    if (c->row->manifest->airgap != HOST_AIRGAP_YES && !c->options->network) {
        check_skip(c, "it may use the network only with --network");
        return;
    }
    check_call_options(c, &options);
    options.network = c->options->network;
    options.timeout_ms = 60000;
    c->holdings = c->odd_holdings = c->removed = 0;
    kit_status status = host_status(c->registry, c->row, false, 0, &options, &result, &err);
    if (!check_called(c, status, &err)) return;
    check_hear(c, &result);
    if (result.verdict != HOST_OK)
        check_fail(c, "%s", result.error.text);
    else if (c->removed > 0)
        check_fail(c, "it removed something that it was not asked to remove");
    else if (c->odd_holdings > 0)
        check_fail(c, "%u of %u things have an unknown state, or no place, kind or name", c->odd_holdings, c->holdings);
    else
        check_note(c, "%u things are kept elsewhere", c->holdings);
}

/* ---- Manners */

static void check_prints_nothing(check *c) {
    if (c->printed.length == 0) return;
    char first[200];
    kit_format(first, sizeof first, "%.*s", (int)strcspn(kit_buf_text(&c->printed), "\n"), kit_buf_text(&c->printed));
    check_fail(c, "it writes to its standard output or error (\"%s\"): use host->log", first);
}

static void check_keeps_secrets(check *c) {
    if (c->row->manifest->auth_count + c->row->manifest->secret_count == 0)
        check_note(c, "it asks for none");
    else if (c->said.failed)
        check_skip(c, "too much was said to be looked through");
    else if (c->said.length > 0 && strstr(kit_buf_text(&c->said), CHECK_SECRET))
        check_fail(c, "the value of a secret came out in what it says");
}

/* ---- The list, in the order in which it runs. needs: what must have passed for the check to make sense. */
typedef enum need { ALWAYS, NEEDS_FILES, NEEDS_LOADED } need;

static const struct {
    const char *name;
    need need;
    void (*run)(check *c);
    const char *about;
} checks[] = {
    {"files", ALWAYS, check_files, "kolm would take plugin and manifest as they lie there"},
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
    {"train.cancel", NEEDS_LOADED, check_train_cancel, "stops soon when it is asked to"},
    {"train.bad-job", NEEDS_LOADED, check_bad_jobs, "refuses broken job directories with a reason"},
    {"infer.bad-model", NEEDS_LOADED, check_infer_bad_model, "refuses a model that is none"},
    {"test", NEEDS_LOADED, check_own_test, "its own test passes"},
    {"status", NEEDS_LOADED, check_status, "tells what it keeps elsewhere, and removes nothing unasked"},
    {"manners.prints-nothing", NEEDS_LOADED, check_prints_nothing, "nothing on standard output or error"},
    {"manners.declares-settings", NEEDS_LOADED, check_settings, "no setting is read that its manifest does not declare"},
    {"manners.keeps-secrets", NEEDS_LOADED, check_keeps_secrets, "no secret in anything that it says"},
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
        check_skip(c, "kolm would not take the files");
    else if (checks[i].need >= NEEDS_LOADED && !c->loaded)
        check_skip(c, "it could not be loaded");
    else
        checks[i].run(c);
    c->item->wall_ms = kit_now_ms() - start;
    if (expected && c->item->outcome == CHECK_FAIL) c->item->outcome = CHECK_EXPECTED_FAIL;
    if (expected && c->item->outcome == CHECK_PASS) {
        c->item->outcome = CHECK_UNEXPECTED_PASS;
        kit_copy(c->item->reason, sizeof c->item->reason, "it passes now: take it off the list of expected failures");
    }
}

/* The first ones are part of every report: what follows means nothing without them. */
static bool wanted(const check_options *options, size_t i) {
    return checks[i].need < NEEDS_LOADED || !options->only ||
           strncmp(checks[i].name, options->only, strlen(options->only)) == 0;
}

static kit_status run_all(check *c, check_report *report, kolm_error_t *err) {
    for (size_t i = 0; i < CHECKS; i++) {
        if (!wanted(c->options, i)) continue;
        c->item = &report->items[report->count];
        *c->item = (check_item){.name = checks[i].name, .about = checks[i].about};
        run_one(c, i);
        if (c->options->cancel && *c->options->cancel)
            return kit_fail(err, KOLM_E_CANCELLED, "", "the check was stopped");
        if (c->not_called) {
            *err = c->broken;
            return err->code;
        }
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
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the plugin, NAME.so beside NAME.json",
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
        status = kit_fail(err, KOLM_E_NOT_FOUND, "name the plugin, NAME.so beside NAME.json",
                          "%s is not a file that kolm looks at", options->plugin);
    if (status == KOLM_OK && mkdtemp(work) == NULL)
        status = kit_fail(err, KOLM_E_UNAVAILABLE, "free some space in /tmp", "no directory for jobs can be made");
    if (status == KOLM_OK) {
        c.registry = registry;
        c.work = work;
        kit_copy(out_report->name, sizeof out_report->name, c.row->name);
        status = run_all(&c, out_report, err);
        kit_status ignored = kit_remove_tree(work, NULL);
        (void)ignored;
    }
    kit_buf_free(&c.said);
    kit_buf_free(&c.printed);
    kit_buf_free(&c.undeclared);
    host_registry_free(registry);
    free(stem);
    return status;
}
