/* SPDX-License-Identifier: Apache-2.0 */
/* Calls a slot of a backend in a process of its own, and determines the outcome. */
#ifndef KOLM_HOST_CALL_H
#define KOLM_HOST_CALL_H

/*
 * Each call starts kolm-host: one process, one plugin, one slot, in a session of its own. Its standard input is
 * /dev/null; its output becomes log events. It has a short environment (HOME, PATH, LANG, LC_*, TZ, device selection,
 * and what the manifest requires), the resource limits of the slot, and no secrets: those that the manifest lists are
 * requested by name and passed through a pipe. Its exit code is ignored; only its reply record counts.
 *
 * When a call ends, for whatever reason, everything that the backend left running is killed, whatever session it moved
 * to. (A caller that already has children at its first call, or is the init of a container, kills only what is in the
 * session of the call, because it could not tell an orphan of the backend from other processes. The caller must have no
 * other children at the end of a call: they would be treated as orphans.)
 *
 * A plugin is read once, before the first call: what is loaded is a sealed copy of it in memory, whose digest is known
 * beforehand. All further calls through the same registry load that copy, whatever happens to the file; an upgrade
 * takes effect with the next registry, and is reported to events->log. host_detect_all and host_cost_all keep no
 * copies: if a plugin is replaced between them and a later call, the latter is ABORTED. Plugins of more than 64 MiB,
 * those that use $ORIGIN (with their own libraries next to them), those loaded for a debugger (by_path), and all
 * plugins on systems without memfd are not copied but loaded from their directory and checked again afterwards.
 *
 * The functions return KOLM_OK whenever there is a verdict. They fail only if kolm itself cannot work: no memory, no
 * kolm-host, no process.
 *
 * Threads: calls may run in several threads at once. Callbacks come on the calling thread.
 */

#include "host/scan.h"
#include "kolm/kit/digest.h"
#include <signal.h>

typedef enum host_verdict {
    HOST_OK,            /* the slot returned KOLM_OK; its result is filled */
    HOST_FAILED,        /* the slot returned an error: error is the backend's own record */
    HOST_UNIMPLEMENTED, /* the plugin has no such slot */
    HOST_NOT_LOADED,    /* refused or could not be loaded: error says what and why */
    HOST_CRASHED,       /* died by a signal: signal_number */
    HOST_TIMED_OUT,     /* was killed at its deadline */
    HOST_NO_REPLY,      /* ended without a reply; see exit_code */
    HOST_CANCELLED,     /* stopped because *cancel became non-zero */
    HOST_SANDBOX,       /* the fence or the airgap is unavailable on this machine: nothing was loaded */
} host_verdict;
/* "ok", "failed", "not implemented", "could not load", "crashed", "timed out", "exited without a reply", "interrupted",
 * "no sandbox". Static. */
const char *host_verdict_name(host_verdict verdict);

#define HOST_SLOT_DETECT (1u << 0)
#define HOST_SLOT_COST (1u << 1)
#define HOST_SLOT_TRAIN (1u << 2)
#define HOST_SLOT_INFER (1u << 3)
#define HOST_SLOT_TEST (1u << 4)
#define HOST_SLOT_STATUS (1u << 5)
#define HOST_SLOT_RECLAIM (1u << 6)

#define HOST_DEVICES_MAX KOLM_DEVICES_MAX
#define HOST_HOLDINGS_MAX KOLM_HOLDINGS_MAX

typedef struct host_device {
    uint32_t memory_kind;        /* KOLM_MEMORY_* */
    uint64_t total_memory_bytes; /* KOLM_MEMORY_UNKNOWN when unknown */
    uint64_t free_memory_bytes;
    uint32_t index;
    uint32_t units;
    char name[128];
    char id[64];
    char driver[128];
    char runtime[128];
} host_device;

/* The fence around a call and, if requested, the airgap, as enforced: for the receipt. */
#define HOST_MECHANISMS_MAX 16
#define HOST_LACKS_MAX 8
typedef struct host_sandbox {
    bool requested;   /* the airgap */
    bool enforced;    /* ... with the fence around files and processes, without which it would leak */
    bool fenced;      /* files and processes are fenced off, airgap or not */
    char profile[16]; /* airgap: "strict", or "sockets" without a fence; else "fence" or "none"; "": unknown */
    char kernel[96];  /* sysname release of the machine */
    char mechanisms[HOST_MECHANISMS_MAX][40];
    size_t mechanism_count;
    char lacks[HOST_LACKS_MAX][40]; /* what this kernel lacks, or the user disabled: child/landlock.c */
    size_t lack_count;
    uint32_t probes_run;     /* channels tried from inside before the plugin was loaded */
    uint32_t probes_reached; /* how many of them opened: 0, or the call is refused */
} host_sandbox;

/* What a call left behind in its own process, for conformance checks: filled if options->audit is set. */
typedef struct host_left {
    uint32_t descriptors;     /* open now that were not open before the slot was called */
    uint32_t threads;         /* running in addition to the one that called */
    bool processes;           /* that it had started were still there, and were killed */
    uint64_t bytes_per_round; /* heap growth from one repeated call to the next */
} host_left;

/* What happened to the file of a plugin during a call; the call continues with the copy that was read before. */
typedef enum host_plugin_fate {
    HOST_PLUGIN_THERE,    /* unchanged, or not checked */
    HOST_PLUGIN_REPLACED, /* another file is in its place, or it was written to */
    HOST_PLUGIN_REMOVED,
} host_plugin_fate;

typedef struct host_result {
    host_verdict verdict;
    kolm_error_t error; /* a sentence and a remedy for every verdict but HOST_OK; if the plugin gave none, it quotes its
                           last output */
    bool no_reason;     /* HOST_FAILED, or detect: the plugin gave no reason, and the text is kolm's */
    bool stopped;       /* HOST_CANCELLED: it was killed instead of ending by itself, so the text is kolm's */
    bool own_fault;     /* HOST_FAILED or HOST_NOT_LOADED, but kolm itself failed (memory, reading), which says nothing
                         * about the plugin */
    int signal_number;  /* HOST_CRASHED */
    int exit_code;      /* HOST_NO_REPLY */
    int64_t wall_ms;
    uint64_t peak_memory_bytes; /* of the process and the children that it waited for; 0 unknown */
    /* The digest of the bytes that were loaded, taken before the process was started; "" when none was. All calls by
     * one registry load the same bytes. */
    char plugin_sha256[KIT_SHA256_HEX];
    host_plugin_fate plugin_fate;
    /* Contents of the plugin's table, once loaded: stated by the plugin, like peak_memory_bytes and the results
     * below. */
    bool loaded;
    uint32_t slots; /* HOST_SLOT_*: those that are not NULL */
    uint32_t abi_minor;
    uint64_t features;
    char version[64];
    char vendor[128];
    char licence[128];
    char homepage[256];
    host_sandbox sandbox;
    char withheld[65]; /* the first secret whose value it requested and, by secrets_withheld, did not get; "" none */
    host_left left;
    host_device devices[HOST_DEVICES_MAX]; /* detect */
    size_t device_count;
    /* The metrics KOLM_METRIC_OFFER_HOURLY and KOLM_METRIC_OFFER_ONCE, of detect with the network; 0: not reported */
    uint64_t offer_micro_usd_per_hour, offer_micro_usd_once;
    /* The result of the slot that was called, for HOST_OK; zero otherwise. Texts are valid UTF-8 without controls. */
    kolm_detect_result_t detect;
    kolm_cost_result_t cost;
    kolm_train_result_t train;
    kolm_infer_result_t infer;
    kolm_test_result_t test;
    kolm_status_result_t status;
    kolm_reclaim_result_t reclaim;
} host_result;

/* Breaches of kolm/backend.h by a backend. */
typedef enum host_breach_kind {
    HOST_BREACH_RECORD, /* numbers, sizes, reserved fields, combinations, counts */
    HOST_BREACH_TEXT,   /* UTF-8, ends, lengths, lines */
    HOST_BREACH_REPORT, /* progress, metrics and steps of a test */
    HOST_BREACH_LEFT,   /* threads, processes and descriptors that outlive the slot */
    HOST_BREACH_KINDS,
} host_breach_kind;

/* A breach that did not fail the call; one that did is its error. */
typedef struct host_breach {
    const char *slot;
    host_breach_kind kind;
    bool mild;          /* of interest to the author only */
    const char *text;   /* "detect: the reason is not UTF-8 (its byte 1 is 0xFF)" */
    const char *remedy; /* for the author: "give texts in UTF-8" */
} host_breach;

/* Each may be NULL. Strings live until the callback returns; they are valid UTF-8, escaped, fit for a terminal. */
typedef struct host_events {
    void *user;
    /* level: KOLM_LOG_*; printed output comes as KOLM_LOG_INFO. backend: its name. Secrets of the backend are replaced
     * by [NAME] here, in every error and in every text of a result. */
    void (*log)(void *user, const char *backend, uint32_t level, const char *text);
    void (*progress)(void *user, const kolm_progress_t *progress);
    void (*metric)(void *user, const char *name, double value);
    void (*test_step)(void *user, const kolm_test_step_t *step);
    void (*holding)(void *user, const kolm_holding_t *holding);
    /* A setting that the plugin requested but its manifest does not declare; NULL: reported as a log line. */
    void (*undeclared)(void *user, const char *key);
    /* Each breach once per call; NULL: reported as a log line, a warning unless it is mild. */
    void (*breach)(void *user, const host_breach *breach);
    /* What the plugin wrote to its standard output or error; NULL: reported as a log line. */
    void (*printed)(void *user, const char *text);
} host_events;

#define HOST_LEASE_DIES                                                                                                \
    1u /* the process is killed before it records its first handle: as far as kolm knows, nothing exists yet */
#define HOST_LEASE_REFUSED 2u /* every intent is refused */

/* Conditions for conformance checks; zero-initialise what is not needed. Not for normal calls. */
typedef struct host_audit {
    uint32_t repeats;      /* detect and cost: number of calls before the one that counts */
    uint16_t minor;        /* the ABI minor that the host claims; 0: its own */
    bool first_minor;      /* the host is one of ABI 1.0: its minor is 0, and it ends where that ended */
    uint32_t later_bytes;  /* number of bytes by which all records of the host are larger, as in a later kolm; <= 256 */
    bool bare;             /* no environment at all */
    const char *home;      /* with bare: HOME is this; NULL: not set */
    uint32_t lease_fault;  /* HOST_LEASE_* */
    bool halt_at_progress; /* the first report of progress returns when the call has been told to stop; the caller must
                              do that when it hears of it */
    bool any_airgap;       /* airgap_strict also for a backend that is a network service */
} host_audit;

#if defined(__linux__)
#define HOST_MODEL_PATH "/proc/self/fd/7"
#else
#define HOST_MODEL_PATH "/dev/fd/7"
#endif

/* Zero-initialise for a call without limits, network, events and secrets. */
typedef struct host_call_options {
    int64_t timeout_ms; /* 0: detect, cost 5 s; the others none */
    int64_t grace_ms;   /* time between the request to stop and killing; 0: none for detect and cost, 10 s for the
                           others */
    const volatile sig_atomic_t *cancel;     /* 1 asks the backend to stop, more kills it at once; NULL: never */
    const volatile sig_atomic_t *cancel_too; /* a second flag, for the caller's own use; NULL: none */
    bool network;                            /* the call may use the network */
    bool network_if_needed; /* the same, but only for backends whose manifest does not say airgap "yes", in calls of
                               many */
    bool airgap_strict; /* no sockets at all, enforced by the kernel before the plugin is loaded; network must be false.
                           A backend whose manifest does not say airgap "yes" is not loaded */
    /* A backend whose airgap is "depends" may be called: detect stays without sockets, and for a call with network it
     * gets the setting network.private_only, and must itself use only loopback and private addresses; this is not
     * enforced. */
    bool private_only;
    uint64_t memory_limit_bytes; /* 0: 4 GiB for detect and cost, none for the others */
    /* The user's limits for the job, for the settings job.budget_micro_usd, job.max_price_micro_usd (per hour) and
     * job.min_vram_bytes; 0: none. */
    uint64_t job_budget_micro_usd, job_max_price_micro_usd, job_min_vram_bytes;
    uint64_t job_quote_micro_usd; /* job.quote_micro_usd: what the job is quoted at; 0: not known */
    const cJSON *config;          /* the whole config.json; the backend may read its own section, and runtime.python:
                            runtimes.NAME */
    /* The value of a secret that the manifest names, or NULL; called on this thread before the process starts. The
     * value is copied into the pipe and wiped here. NULL: the backend gets none. */
    const char *(*secret)(void *user, const char *name);
    void *secret_user;
    /* The backend learns which secrets are set, and the value of none but an address (a name that ends in _HOST or
     * _ADDRESS): for detect. */
    bool secrets_withheld;
    const host_events *events;
    const host_audit *audit; /* NULL: an ordinary call */
    bool by_path;            /* load the plugin by its path, as a debugger needs it */
    bool show_secrets;       /* do not redact secrets in the plugin's output: for checks that search for them */
    int model_fd; /* infer: open for reading, owned by the caller; the backend's process inherits it, and the model
                     files of job.json that have the path HOST_MODEL_PATH are slices of it. So it reads what the caller
                     has checked, even if the file was replaced. 0: none */
    /* train, infer, test and reclaim with network: the journal of this call (lease/lease.h), a file that is open for
     * writing with O_APPEND; owned by the caller. The backend's process inherits it, so a lock on it (flock) is held
     * until both processes have ended. 0: none, and host->lease is refused. */
    int lease_fd;
    const char *const *leased; /* names that are recorded elsewhere and must not be reused; NULL-terminated; NULL:
                                  none */
    /* The directory of kolm's own state, absolute (KOLM_HOME); NULL: none. A call has access to nothing in it except
     * its own job directory, plugin, runtime and model files. private_names: what no call may access in any case, and
     * what the self-test tries; relative, NULL-terminated. */
    const char *private_dir;
    const char *const *private_names;
    const char *scratch_root; /* where the scratch directory is made; NULL: TMPDIR if trusted, else /tmp */
} host_call_options;

/* A row that is not OK, or not granted, gives HOST_NOT_LOADED with its reason. out_result is filled in every case and
 * needs no freeing.
 */
kit_status host_detect(const host_registry *registry, const host_backend *backend, const host_call_options *options,
                       host_result *out_result, kolm_error_t *err) KIT_MUST_USE;
/* Detects all rows, as many in parallel as suits the machine, each with its own deadline that begins with its process
 * (options->timeout_ms, default 5 s), so that results do not depend on the number of rows. out_results has `count`
 * entries. A row that hangs does not delay the others. Progress and test events are not delivered; log events are. */
kit_status host_detect_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                           const host_call_options *options, host_result *out_results, kolm_error_t *err) KIT_MUST_USE;
/* struct_size, price_micro_usd_per_hour and cold_start_seconds of args are filled in from the row's manifest. */
kit_status host_cost(const host_registry *registry, const host_backend *backend, const kolm_cost_args_t *args,
                     const host_call_options *options, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;
/* The same for all rows in parallel, as host_detect_all. */
kit_status host_cost_all(const host_registry *registry, const host_backend *const *rows, size_t count,
                         const kolm_cost_args_t *args, const host_call_options *options, host_result *out_results,
                         kolm_error_t *err) KIT_MUST_USE;
/* job_dir is absolute and holds the job (docs/job-protocol.md). */
kit_status host_train(const host_registry *registry, const host_backend *backend, const char *job_dir, uint32_t threads,
                      const host_call_options *options, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;
/* input_fd and output_fd are pipes or regular files (a file is read, or written, from its start); -1 stands for
 * JOB_DIR/eval.jsonl and JOB_DIR/predictions.jsonl. The backend opens them by path; they are owned by the caller. If
 * they are pipes, the caller must feed them from another thread or process: the call blocks until the end. Model files
 * are copied into JOB_DIR/model first when the plugin cannot read slices. */
kit_status host_infer(const host_registry *registry, const host_backend *backend, const char *job_dir, uint32_t threads,
                      int input_fd, int output_fd, const host_call_options *options, host_result *out_result,
                      kolm_error_t *err) KIT_MUST_USE;
kit_status host_test(const host_registry *registry, const host_backend *backend, uint32_t threads,
                     const host_call_options *options, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;

/* Reports what the backend keeps elsewhere to events->holding; with prune, removes what is idle and at least that
 * old. */
kit_status host_status(const host_registry *registry, const host_backend *backend, bool prune, uint64_t older_seconds,
                       const host_call_options *options, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;

/* Ends the resource of a lease. struct_size and allow_network of args are filled in. */
kit_status host_reclaim(const host_registry *registry, const host_backend *backend, const kolm_reclaim_args_t *args,
                        const host_call_options *options, host_result *out_result, kolm_error_t *err) KIT_MUST_USE;

/* Several in parallel, each in a process of its own; all results are filled in any case. */
typedef struct host_reclaim_item {
    const host_backend *row;
    kolm_reclaim_args_t args;
    int lease_fd; /* as in host_call_options; 0: none */
    host_result result;
} host_reclaim_item;
kit_status host_reclaim_all(const host_registry *registry, host_reclaim_item *items, size_t count,
                            const host_call_options *options, kolm_error_t *err) KIT_MUST_USE;

/* Describes the outcome of a call in one line: "crashed: signal 11 (Segmentation fault)". */
void host_verdict_text(const host_result *result, char *out, size_t capacity);

#endif
