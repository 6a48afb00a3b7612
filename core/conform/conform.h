/* SPDX-License-Identifier: Apache-2.0 */
/* Does a plugin keep the contract of kolm/backend.h? Asked of the file alone, through the same host that kolm uses. */
/* Sources: check.c and calls.c, and one for each group of checks. */
#ifndef KOLM_CONFORM_CONFORM_H
#define KOLM_CONFORM_CONFORM_H

/*
 * Every check runs the plugin in a process of its own, as kolm does, so whatever it does becomes a line of the report.
 * A check passes, fails, or is skipped; a skipped one states why: the device is absent, the slot is not implemented,
 * the network was not allowed. A vendor can list known exceptions by name of check:
 *
 *     unsupported         permanent: is not run, and stays skipped
 *     expected failures   to shrink: runs; failing is no failure of the whole, and passing is one, so that the list is
 *                         made shorter
 *
 * Secrets have made-up values, which must not appear anywhere in the output. No network is used unless that is allowed.
 * Checks that look at ELF are skipped for other files.
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
    const char *plugin;            /* absolute path of NAME.so; NAME.json lies beside it */
    bool network;                  /* the backend's own test may use the network */
    const struct store_home *home; /* what is in it the plugin does not get; NULL: none */
    char *const *set;              /* NAME=VALUE, of backends.NAME of config.json */
    size_t set_count;
    const char *only; /* only checks whose name begins with this; NULL: all */
    char *const *unsupported;
    size_t unsupported_count;
    char *const *expected;
    size_t expected_count;
    const volatile sig_atomic_t *cancel; /* ends the run between and during checks */
    /* Called after each check; may be NULL. */
    void (*done)(void *user, const check_item *item);
    void *user;
} check_options;

/* Fails only if kolm itself cannot work (no memory, no kolm-host, CANCELLED); whatever the plugin does is in the
 * report. */
kit_status check_backend(const check_options *options, check_report *out_report, kolm_error_t *err) KIT_MUST_USE;
/* The absolute path of a plugin: the real directory and the name as it was given, since a plugin may be a link, and is
 * called what the link is called. NOT_FOUND when there is no such file. */
kit_status check_find_plugin(const char *path, char out_path[PATH_MAX], kolm_error_t *err) KIT_MUST_USE;
/* Number of checks per outcome. Good: no unexpected failure, and no unexpected pass. */
typedef struct check_tally {
    size_t of[CHECK_UNEXPECTED_PASS + 1];
} check_tally;
check_tally check_count(const check_report *report);
bool check_good(const check_tally *tally);
/* True if a name in the lists is not a check: a list with a typo would silently protect nothing. */
bool check_known(const char *name);
/* The same for the beginning of a name. */
bool check_known_prefix(const char *prefix);

/* ---- What the files of the checker share */
struct host_audit;
struct host_breach;
struct host_result;
struct host_registry;
struct host_backend;

/* One breach of kolm/backend.h, in whichever calls it occurred. */
#define CHECK_BREACHES_MAX 64
typedef struct check_breach {
    uint32_t kind; /* HOST_BREACH_* */
    char slot[8], text[512], remedy[160];
} check_breach;

typedef struct check {
    const check_options *options;
    check_item *item; /* the one that runs */
    const struct host_registry *registry;
    const struct host_backend *row;
    cJSON *config;              /* of options->set; NULL: none */
    char *work;                 /* a directory for jobs and homes, removed at the end */
    kit_buf said;               /* all that the plugin said, in any way */
    kit_buf printed;            /* what it wrote to its standard output or error during the running check */
    kit_buf undeclared;         /* "a", "b": settings that it asked for and does not declare */
    bool loaded;                /* detect was answered once */
    uint32_t slots;             /* HOST_SLOT_* */
    uint32_t state;             /* KOLM_DETECT_* of the first detect */
    char here[300];             /* its reason */
    volatile sig_atomic_t stop; /* given to calls as their cancel flag */
    bool stop_at_progress;
    uint64_t progress_reports;
    const struct host_audit *under;           /* conditions of the jobs; NULL: those of a later kolm */
    uint32_t holdings, odd_holdings, removed; /* what status told */
    struct store_home *rented;                /* where the journals of the calls are, if options->home is NULL */
    uint32_t leases, lease_seen;              /* in all calls, in the last one */
    bool lease_kill;                          /* the call is killed: it can end nothing itself */
    char lease_fault[600];                    /* the first thing that was wrong with a lease; "" none */
    check_breach breaches[CHECK_BREACHES_MAX];
    size_t breach_count;
    bool not_called; /* a call could not be made, or kolm failed itself, which says nothing about the plugin: the run
                       ends */
    kolm_error_t broken; /* why */
} check;

#define CHECK_SECRET "kolm-check-canary-5d1f07c2ab"

/* settings.c: options->set into check.config. INVALID_ARGUMENT for what is not NAME=VALUE, or not declared. */
kit_status check_settings_take(check *c, kolm_error_t *err) KIT_MUST_USE;
void check_fail(check *c, const char *format, ...) KIT_PRINTF(2, 3);
/* The recipe that the checks use: one of its manifest that needs no base model, preferably "linear". */
const char *check_recipe(const check *c);
void check_skip(check *c, const char *format, ...) KIT_PRINTF(2, 3);
/* A pass with a remark. */
void check_note(check *c, const char *format, ...) KIT_PRINTF(2, 3);

struct host_call_options;
/* Options of a call that records all output, answers secrets with CHECK_SECRET, and can be stopped. */
void check_call_options(check *c, struct host_call_options *out_options);
/* What a host_* function returned; anything but OK ends the whole run with this error. */
bool check_called(check *c, kit_status status, const kolm_error_t *err);
/* Adds the texts of a result to c->said. */
void check_hear(check *c, const struct host_result *result);

#define CHECK_DETECT_MS 5000 /* the deadline of kolm's own */
#define CHECK_REPEATS 200
#define CHECK_LEAK_BYTES 64 /* a call; less is noise of the allocator */

/* One detect under the conditions; false when the check is decided (a failure was recorded). */
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
/* manners.c: all calls before have shown what is judged. */
void check_breach_heard(void *user, const struct host_breach *breach);
void check_records(check *c);
void check_texts(check *c);
void check_reports(check *c);
void check_leaves_nothing(check *c);
void check_prints_nothing(check *c);
void check_keeps_secrets(check *c);
/* file.c */
void check_exports(check *c);
/* settings.c: all calls before have told what settings the plugin asks for. */
void check_undeclared(void *user, const char *key);
void check_settings(check *c);
/* job.c: a small job, made and judged here. */
void check_train_and_infer(check *c);
/* The same under other conditions; no-op if nothing can be trained. */
void check_job_under(check *c, const struct host_audit *audit, const char *name);
void check_train_cancel(check *c);
void check_bad_jobs(check *c);
void check_infer_bad_model(check *c);
void check_infer_flushes(check *c);

#endif
