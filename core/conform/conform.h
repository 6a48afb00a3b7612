/* SPDX-License-Identifier: Apache-2.0 */
/* Checks that a plugin conforms to kolm/backend.h, by running it in the same host that kolm uses. */
/* Sources: check.c and calls.c, and one for each group of checks. */
#ifndef KOLM_CONFORM_CONFORM_H
#define KOLM_CONFORM_CONFORM_H

/*
 * Every check runs the plugin in its own process, as kolm does, so that even a crash becomes a line of the report. A
 * check passes, fails, or is skipped with a reason: the device is absent, the slot is not implemented, the network was
 * not allowed. A vendor can list known exceptions by the names of checks:
 *
 *     unsupported         permanent: not run, reported as skipped
 *     expected failures   temporary: run; a failure does not fail the whole run, but a pass does, so that the check is
 *                         removed from the list
 *
 * Secrets have made-up values, which must not appear in any output. The network is not used unless allowed. Checks of
 * ELF files are skipped for other formats.
 */

#include "kolm/kit/buf.h"
#include "kolm/kit/json.h"

#include <limits.h>
#include <signal.h>

typedef enum check_outcome {
    CHECK_PASS,
    CHECK_FAIL,
    CHECK_SKIP,
    CHECK_EXPECTED_FAIL,
    CHECK_UNEXPECTED_PASS,
} check_outcome;
const char *
check_outcome_name(check_outcome outcome); /* "pass", "fail", "skip", "expected-failure", "unexpected-pass" */

typedef struct check_item {
    const char *name;  /* "detect.deadline"; stable */
    const char *about; /* what is checked, one line */
    check_outcome outcome;
    char reason[600]; /* why it did not pass; for a pass "" or a remark */
    int64_t wall_ms;
} check_item;

#define CHECK_ITEMS_MAX 64

typedef struct check_report {
    check_item items[CHECK_ITEMS_MAX];
    size_t count;
    char name[64];
    char version[64];
    char vendor[128];
} check_report;

typedef struct check_options {
    const char *plugin;            /* absolute path of NAME.so, next to NAME.json */
    bool network;                  /* the backend's own test may use the network */
    const struct store_home *home; /* inaccessible to the plugin; NULL: none */
    char *const *set;              /* KEY=VALUE, as in backends.NAME of config.json */
    size_t set_count;
    const char *only; /* only checks whose name begins with this; NULL: all */
    char *const *unsupported;
    size_t unsupported_count;
    char *const *expected;
    size_t expected_count;
    const volatile sig_atomic_t *cancel; /* stops the run, also during a check */
    /* Called after each check; may be NULL. */
    void (*done)(void *user, const check_item *item);
    void *user;
} check_options;

/* Fails only if kolm itself cannot work (no memory, no kolm-host), or with CANCELLED; everything that the plugin does
 * is in the report. */
kit_status check_backend(const check_options *options, check_report *out_report, kolm_error_t *err) KIT_MUST_USE;
/* The absolute path of a plugin: the real directory, and the given file name, because a plugin may be a link, whose
 * name is then the plugin's. NOT_FOUND if there is no such file. */
kit_status check_find_plugin(const char *path, char out_path[PATH_MAX], kolm_error_t *err) KIT_MUST_USE;
/* Number of checks per outcome. Good: no unexpected failure, and no unexpected pass. */
typedef struct check_tally {
    size_t of[CHECK_UNEXPECTED_PASS + 1];
} check_tally;
check_tally check_count(const check_report *report);
bool check_good(const check_tally *tally);
/* True if there is a check of this name. A typo in a list of exceptions would silently have no effect. */
bool check_known(const char *name);
/* The same for a prefix of a name. */
bool check_known_prefix(const char *prefix);

/* ---- Private to the checker */
struct host_audit;
struct host_breach;
struct host_result;
struct host_registry;
struct host_backend;

/* A breach of kolm/backend.h in one or more calls. */
#define CHECK_BREACHES_MAX 64
typedef struct check_breach {
    uint32_t kind; /* HOST_BREACH_* */
    char slot[8], text[512], remedy[160];
} check_breach;

typedef struct check {
    const check_options *options;
    check_item *item; /* the running check */
    const struct host_registry *registry;
    const struct host_backend *row;
    cJSON *config;              /* from options->set; NULL: none */
    char *work;                 /* a directory for jobs and homes, removed at the end */
    kit_buf said;               /* all output of the plugin, of any kind */
    kit_buf printed;            /* its standard output and error during the running check */
    kit_buf undeclared;         /* "a", "b": settings that it requested but does not declare */
    bool loaded;                /* detect succeeded once */
    uint32_t slots;             /* HOST_SLOT_* */
    uint32_t state;             /* KOLM_DETECT_* of the first detect */
    char here[300];             /* its reason */
    volatile sig_atomic_t stop; /* the cancel flag of calls */
    bool stop_at_progress;
    uint64_t progress_reports;
    const struct host_audit *under;           /* conditions of the jobs; NULL: those of a later kolm */
    uint32_t holdings, odd_holdings, removed; /* from status */
    struct store_home *rented;                /* home of the journals, if options->home is NULL */
    uint32_t leases, lease_seen;              /* number in all calls, in the last one */
    bool lease_kill;                          /* the call is killed, so it cannot end leases itself */
    char lease_fault[600];                    /* the first fault of a lease; "": none */
    check_breach breaches[CHECK_BREACHES_MAX];
    size_t breach_count;
    bool not_called; /* a call could not be made, or kolm failed itself, which says nothing about the plugin: the run
                       ends */
    kolm_error_t broken; /* why */
} check;

#define CHECK_SECRET "kolm-check-canary-5d1f07c2ab"

/* settings.c: reads options->set into check.config. INVALID_ARGUMENT if an item is not KEY=VALUE, or not declared. */
kit_status check_settings_take(check *c, kolm_error_t *err) KIT_MUST_USE;
void check_fail(check *c, const char *format, ...) KIT_PRINTF(2, 3);
/* The recipe used by the checks: one from the manifest that needs no base model, preferably "linear". */
const char *check_recipe(const check *c);
void check_skip(check *c, const char *format, ...) KIT_PRINTF(2, 3);
/* A pass with a remark. */
void check_note(check *c, const char *format, ...) KIT_PRINTF(2, 3);

struct host_call_options;
/* Options for a call that records all output, passes CHECK_SECRET as every secret, and can be stopped. */
void check_call_options(check *c, struct host_call_options *out_options);
/* Call with the status of a host_* function: anything but OK ends the whole run with this error. */
bool check_called(check *c, kit_status status, const kolm_error_t *err);
/* Adds the texts of a result to c->said. */
void check_hear(check *c, const struct host_result *result);

#define CHECK_DETECT_MS 5000 /* kolm's deadline */
#define CHECK_REPEATS 200
#define CHECK_LEAK_BYTES 64 /* per call; less is noise of the allocator */

/* Runs detect under these conditions; false if the check is decided (a failure was recorded). */
bool check_detect(check *c, const struct host_audit *audit, bool airgap, struct host_result *out_result);

/* detect.c */
void check_files(check *c);
void check_loads(check *c);
void check_identity(check *c);
void check_slots(check *c);
void check_detect_answers(check *c);
void check_detect_soon(check *c);
void check_detect_steady(check *c);
void check_detect_network(check *c);
void check_detect_bare(check *c);
void check_detect_home(check *c);
void check_detect_left(check *c);
void check_later_host(check *c);
void check_first_host(check *c);
/* slots.c */
void check_cost_pure(check *c);
void check_cost_edges(check *c);
void check_cost_left(check *c);
void check_own_test(check *c);
void check_status(check *c);
/* leases.c */
void check_leases_end(check *c);
void check_lease_killed(check *c);
void check_lease_refused(check *c);
void check_reclaim_unknown(check *c);
/* manners.c: evaluates what the earlier calls have recorded. */
void check_breach_heard(void *user, const struct host_breach *breach);
void check_records(check *c);
void check_texts(check *c);
void check_reports(check *c);
void check_leaves_nothing(check *c);
void check_prints_nothing(check *c);
void check_keeps_secrets(check *c);
/* file.c */
void check_exports(check *c);
/* settings.c: the earlier calls have recorded which settings the plugin requests. */
void check_undeclared(void *user, const char *key);
void check_settings(check *c);
/* job.c: a small job, made and evaluated here. */
void check_train_and_infer(check *c);
/* The same under other conditions; no-op if nothing can be trained. */
void check_job_under(check *c, const struct host_audit *audit, const char *name);
void check_train_cancel(check *c);
void check_bad_jobs(check *c);
void check_infer_bad_model(check *c);
void check_infer_flushes(check *c);

#endif
