/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of kolm-host, the process that loads one plugin and runs one slot of it. */
#ifndef KOLM_HOST_CHILD_CHILD_H
#define KOLM_HOST_CHILD_CHILD_H

/*
 * main.c      the order of events: read the request, fence the process in, load, run, reply
 * fork_server.c   the process that is forked for each call of a batch
 * request.c   the request
 * reply.c     answer lines and their limits
 * limits.c    resource limits, core dumps, what happens when the caller dies
 * namespaces.c  separate processes and mounts, for train, infer, test, status and reclaim
 * landlock.c  the fence around files and other processes
 * filter.c    programs for seccomp(2)
 * unseen.c    a filter of system calls that Landlock does not cover
 * selftest.c  tests from inside that the fence holds
 * sandbox.c   the airgap: seccomp, and its test
 * elf.c       errors in a file that the loader does not report
 * loader.c    loads the plugin with libltdl
 * beside.c    a directory for a plugin that needs libraries next to it but whose file is gone
 * table.c     validates the table
 * services.c  kolm_host_v1_t
 * reports.c   its reports on the work: progress, metrics, devices, steps, holdings
 * leases.c    its record of what costs money
 * slots.c     the seven slots
 * results.c   validates the results
 * breach.c    breaches of kolm/backend.h by the plugin, each reported once
 * audit.c     what a slot leaves behind
 * model.c     copies of model files for plugins that cannot read slices
 */

#include "host/call.h"
#include "host/internal.h"
#include "host/protocol.h"

/* The most bytes by which records are enlarged, as in a later kolm: request->later_bytes. */
#define CHILD_LATER_MAX 256
#define CHILD_WITH_LATER(type)                                                                                         \
    struct {                                                                                                           \
        type now;                                                                                                      \
        uint8_t later[CHILD_LATER_MAX];                                                                                \
    }

/* ---- fork_server.c */
/* Returns at once or, in a fork server, in each copy. shown: the argument that holds the process name. */
void child_fork_server(char *shown);

/* ---- request.c */
typedef struct child_value {
    char *name;
    char *value;   /* NULL: allowed but not set, or withheld */
    bool withheld; /* set, but its value is not passed on */
} child_value;

/* How the plugin is to be loaded. */
typedef struct child_plugin {
    bool held;               /* from HOST_FD_PLUGIN; else by its path */
    bool beside;             /* it has its own libraries next to it */
    bool named;              /* not held: by its full path, as a debugger needs it */
    host_file_identity file; /* not held: the expected file, before and after loading */
} child_plugin;

typedef struct child_request {
    cJSON *json; /* wiped and freed by child_request_free */
    const char *slot, *name, *path, *scratch;
    child_plugin plugin;
    bool audited;
    uint64_t repeats, minor, later_bytes; /* host_audit */
    uint32_t lease_fault;
    bool first_minor, halt_at_progress;
    bool network, airgap;
    bool leases;         /* HOST_FD_LEASES is the journal of this call */
    const cJSON *leased; /* names that are recorded elsewhere; may be NULL */
    int64_t timeout_ms;  /* of detect and cost, which may be extended (busy.c); 0: a fixed deadline */
    int64_t deadline_ms; /* on the clock of kit_now_ms; INT64_MAX: none */
    int64_t grace_ms;
    uint64_t memory_limit_bytes, file_limit_bytes, cpu_limit_seconds; /* 0: none */
    int64_t parent;
    child_value *secrets;
    size_t secret_count;
    const cJSON *settings; /* an object of strings */
    const cJSON *declared; /* the keys that the manifest declares; NULL: it has no "settings" */
    const cJSON *fence;    /* accessible files: allow.c */
    bool unfenced;         /* the user disabled the fence for this backend */
    const cJSON *args;     /* the slot's record: host_read_cost_args, ... */
} child_request;

/* Reads the line from fd. Moves the values of secrets out of the JSON tree, and wipes the text. */
kit_status child_request_read(int fd, child_request *out, kolm_error_t *err) KIT_MUST_USE;

/* ---- reply.c: every function may be called from any thread. */
void child_reply_open(int fd); /* moves fd to a high number */
/* Sends one line; members: from host_write_EVENT (protocol.h). */
void child_reply_send(host_event event, const kit_buf *members);
/* child_reply_log(&line), child_reply_progress(&progress), ...: sends an event that is one record. */
#define X(upper, lower, type)                                                                                          \
    static inline void child_reply_##lower(const type *from) {                                                         \
        kit_buf members = {0};                                                                                         \
        host_write_##lower(&members, from);                                                                            \
        child_reply_send(HOST_EVENT_##upper, &members);                                                                \
        kit_buf_free(&members);                                                                                        \
    }
HOST_EVENTS(X)
#undef X
/* Sends "done" and ends the process without running any code of the plugin. error: NULL for HOST_OK; mute: the plugin's
 * error had no text; result: members of a result, may be NULL. */
_Noreturn void child_done(host_verdict verdict, const kolm_error_t *error, bool mute, const kit_buf *result);

/* ---- breach.c: every function may be called from any thread. */
void child_breach_begin(const char *slot);
/* Reports "SLOT: ABOUT PREDICATE", once for each pair of about and format. remedy: what the author should do. Before
 * child_breach_begin it reports without a slot, as a mild breach. */
void child_breach(host_breach_kind kind, const char *about, const char *remedy, const char *format, ...)
    KIT_PRINTF(4, 5);
/* The same for a breach that concerns only the author. */
void child_breach_mild(host_breach_kind kind, const char *about, const char *remedy, const char *format, ...)
    KIT_PRINTF(4, 5);

#define CHILD_MAY_BE_EMPTY 1u
#define CHILD_MAY_HAVE_LINES 2u /* control characters are shown escaped */
/* Checks a text that the plugin passed by pointer. At most `most` bytes of it are used. */
void child_check_text(const char *about, const char *text, size_t most, unsigned how);
/* Checks a text that the plugin wrote into one of our arrays, and NUL-terminates it. */
void child_check_array(const char *about, char *array, size_t size, unsigned how);
/* Checks a count or an amount; returns "unknown" for an invalid one. */
uint64_t child_check_u64(const char *about, uint64_t value);
void child_check_reserved(const char *about, uint64_t value);

/* ---- audit.c */
void child_audit_begin(const child_request *request); /* call just before the slot */
/* Call after the slot: reports what it left running. */
void child_audit_left(void);
/* Call before each call of the slot. True if this is a repetition before the call that counts. */
bool child_audit_round(const child_request *request);
void child_audit_end(host_done *done); /* adds the findings to "done", if requested */

/* ---- limits.c */
/* Moves fd above the range that a careless plugin closes or reuses; close-on-exec. */
int child_fd_high(int fd);
kit_status child_limit(const child_request *request, int request_fd, kolm_error_t *err) KIT_MUST_USE;
/* Call before exiting. If the caller has died, kills what the backend left in the session, as nobody else will. */
void child_end_if_orphaned(void);
/* True once the call was asked to stop, or the caller is gone. */
bool child_cancelled(void);
/* Waits until child_cancelled is true, or can never become true because the plugin closed its descriptor. */
void child_wait_cancelled(void);
/* Ends the call after the grace period, whatever is still running. Async-signal-safe. */
void child_last_resort(void);
/* This process was forked to load the plugin; its parent kills what it leaves behind. */
void child_is_worker(void);

/* ---- selftest.c: the fence as set up before the plugin was loaded, and the results of testing it. */
typedef struct child_proof {
    kit_buf mechanisms, lacks; /* JSON strings, each followed by a comma */
    int landlock;              /* ABI version of the kernel; 0: unavailable, or disabled */
    bool separate;             /* PID namespace: it sees only processes of its call, of which the first is 1 */
    bool user_namespace;       /* ... without privileges outside of it */
    bool read_only;            /* it cannot change attributes of files that it may not write */
    uint32_t run, reached;
    char first[80]; /* the first channel that opened */
} child_proof;

void child_proof_add(kit_buf *names, const char *name);
void child_probe(child_proof *proof, bool opened, const char *name, long number);
/* Call before the fence is set up: prepares what can only be created outside of it. */
void child_selftest_begin(void);
/* Tries files, other processes and abstract sockets. FAILED_PRECONDITION if one opens. */
kit_status child_selftest(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;
/* The event "sandbox", for every call: profile is "strict", "fence", ... */
void child_proof_report(const child_proof *proof, const char *profile);

/* ---- namespaces.c */
/* Returns in a new process; the calling one waits for it and exits with its status. If namespaces are unavailable, adds
 * that to proof->lacks and returns in the calling process. */
kit_status child_separate(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- landlock.c */
/* Opens a path from the request with O_PATH, without following links; -1 if it does not exist or is inaccessible. */
int child_open_place(const char *path);
/* Restricts this process to the files in the request, and to processes of this call. If the kernel cannot do that,
 * proof->landlock is 0, and proof->lacks has the reason. */
kit_status child_landlock(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- unseen.c */
/* Denies system calls that bypass Landlock. */
kit_status child_unseen(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- sandbox.c */
/* Denies sockets. */
kit_status child_sandbox(child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- loader.c */
/* For a plugin loaded by its path: checks that it is trusted, and the file that kolm read. No-op for one that is held.
 * */
kit_status child_check_file(const child_request *request, kolm_error_t *err) KIT_MUST_USE;
kit_status child_load(const child_request *request, const void **out_symbol, kolm_error_t *err) KIT_MUST_USE;
/* ---- elf.c: errors that the loader does not report, or reports wrongly */
/* Rejects a plugin for another architecture, a truncated one, and a file that is not a shared object. */
kit_status child_check_elf(int fd, const char *path, kolm_error_t *err) KIT_MUST_USE;
/* Rejects a symbol of the right name that is not data, but a function, for example. */
kit_status child_check_symbol(const void *symbol, const char *path, kolm_error_t *err) KIT_MUST_USE;

/* ---- beside.c */
/* Makes a directory in the scratch directory that mirrors the plugin's own, in which the plugin is a link to `held`;
 * *out_path: the plugin in it, for the caller to free. */
kit_status child_beside(const child_request *request, const char *held, char **out_path,
                        kolm_error_t *err) KIT_MUST_USE;

/* ---- table.c */
kit_status child_table_check(const kolm_backend_v1_t *table, const child_request *request,
                             kolm_error_t *err) KIT_MUST_USE;
uint32_t child_table_slots(const kolm_backend_v1_t *table);
/* Reports breaches in a valid table. */
void child_table_report(const kolm_backend_v1_t *table);

/* ---- services.c */
const kolm_host_v1_t *child_services(const child_request *request);

/* ---- reports.c: the services by which a plugin reports on its work */
void child_reports_begin(const child_request *request);
/* Call before each repeated call of the slot; counts: this is the last one. */
void child_reports_again(bool counts);
void child_report_progress(void *user, const kolm_progress_t *progress);
void child_report_metric(void *user, const char *name, double value);
void child_report_device(void *user, const kolm_device_t *device);
void child_report_test_step(void *user, const kolm_test_step_t *step);
void child_report_holding(void *user, const kolm_holding_t *holding);
void child_reports_flush(void); /* sends what was delayed */
/* Checks the steps of a test that has ended. False, with the reason, if it claims to have passed but cannot have. */
bool child_tested_passed(bool says_so, kolm_error_t *why);
void child_services_flush(void); /* sends the last progress, and the number of dropped lines */

/* ---- leases.c */
void child_leases_open(const child_request *request); /* moves HOST_FD_LEASES to a high number */
void child_leases_table(bool reclaims);               /* reclaims: the plugin has the slot reclaim */
int32_t child_lease(void *user, const kolm_lease_t *lease, kolm_error_t *out_error);
/* Number of names recorded without a GONE, and the first of them, if any. */
uint32_t child_leases_left(const char **out_first);

/* ---- results.c: each reports breaches in a result of KOLM_OK, and makes the result safe to use. */
void child_check_detect(kolm_detect_result_t *result);
void child_check_cost(kolm_cost_result_t *result);
void child_check_train(kolm_train_result_t *result);
void child_check_infer(kolm_infer_result_t *result);
void child_check_test(kolm_test_result_t *result);
void child_check_status(kolm_status_result_t *result);
void child_check_reclaim(kolm_reclaim_result_t *result);
/* Reports a record of `size` bytes that was written past its end. Its buffer has room for CHILD_LATER_MAX bytes more
 * than the largest record. */
void child_check_size(const void *record, uint32_t size, size_t room);
void child_check_error(kolm_error_t *error, int32_t code);

/* ---- slots.c */
_Noreturn void child_run(const child_request *request, const kolm_backend_v1_t *table);

/* ---- model.c */
kit_status child_copy_model(const char *job_dir, kolm_error_t *err) KIT_MUST_USE;

#endif
