/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of kolm-host, the process that loads one plugin and runs one slot of it. */
#ifndef KOLM_HOST_CHILD_CHILD_H
#define KOLM_HOST_CHILD_CHILD_H

/*
 * main.c      the order of events: read the request, fence the process in, load, run, reply
 * fork_server.c   the process that is copied for each call of a batch
 * request.c   the request
 * reply.c     answer lines and their limits
 * limits.c    resource limits, core dumps, what happens when the caller dies
 * namespaces.c  processes and mounts of its own, for a call that works
 * landlock.c  the fence around files and other processes
 * filter.c    programs of seccomp(2)
 * unseen.c    a filter of system calls for what Landlock does not see
 * selftest.c  the proof from inside that it holds
 * sandbox.c   the airgap: seccomp, and the proof of that
 * elf.c       what is wrong with a file that the loader would not say
 * loader.c    libltdl, and nothing else of it than one dlopen
 * beside.c    a place for a plugin that looks for libraries beside itself and is not there any more
 * table.c     is this a table that we can believe?
 * services.c  kolm_host_v1_t
 * reports.c   of that, what tells of the work: progress, metrics, devices, steps, holdings
 * leases.c    of that, the record of what costs money
 * slots.c     the seven slots
 * results.c   is this a result that we can believe?
 * breach.c    what the plugin did against kolm/backend.h, said once
 * audit.c     what a slot leaves behind
 * model.c     copies of model files for plugins that cannot read slices
 */

#include "host/call.h"
#include "host/internal.h"
#include "host/protocol.h"

/* A record as a later kolm will give it: larger by request->later_bytes. */
#define CHILD_LATER_MAX 256
#define CHILD_WITH_LATER(type)                                                                                         \
    struct {                                                                                                           \
        type now;                                                                                                      \
        uint8_t later[CHILD_LATER_MAX];                                                                                \
    }

/* ---- fork_server.c */
/* Returns at once, or, when this process is to be copied, in each copy; `shown` is the argument that holds its name. */
void child_fork_server(char *shown);

/* ---- request.c */
typedef struct child_value {
    char *name;
    char *value;   /* NULL: allowed but not set, or withheld */
    bool withheld; /* set, and not told */
} child_value;

/* How the plugin is to be loaded. */
typedef struct child_plugin {
    bool held;               /* from HOST_FD_PLUGIN; else by its path */
    bool beside;             /* it has libraries of its own beside it */
    bool named;              /* not held: under its whole path, as a debugger needs it */
    host_file_identity file; /* not held: what must be there, before and after it is loaded */
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
    const cJSON *leased; /* names that are on record elsewhere; may be NULL */
    int64_t timeout_ms;  /* of detect and cost, which may be prolonged (busy.c); 0: the deadline stands */
    int64_t deadline_ms; /* on the clock of kit_now_ms; INT64_MAX: none */
    int64_t grace_ms;
    uint64_t memory_limit_bytes, file_limit_bytes, cpu_limit_seconds; /* 0: none */
    int64_t parent;
    child_value *secrets;
    size_t secret_count;
    const cJSON *settings; /* an object of strings */
    const cJSON *declared; /* the keys that the manifest declares; NULL: it does not say */
    const cJSON *fence;    /* what may be touched: allow.c */
    bool unfenced;         /* the user wants none around this backend */
    const cJSON *args;     /* a record of the slot's: host_read_cost_args, ... */
} child_request;

/* Reads the line from fd. The values of secrets are taken out of the JSON tree, the text is wiped. */
kit_status child_request_read(int fd, child_request *out, kolm_error_t *err) KIT_MUST_USE;

/* ---- reply.c: every function may be called from any thread. */
void child_reply_open(int fd); /* keeps a copy of fd out of the way of small numbers, and closes fd */
/* Sends one line; members: what host_write_EVENT wrote (protocol.h). */
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
/* The last word: sends "done" and ends the process without running anything of the plugin's. error: NULL for HOST_OK;
 * mute: the plugin gave it no text; result: members of a result, may be NULL. */
_Noreturn void child_done(host_verdict verdict, const kolm_error_t *error, bool mute, const kit_buf *result);

/* ---- breach.c: every function may be called from any thread. */
void child_breach_begin(const char *slot);
/* Says "SLOT: ABOUT PREDICATE", once for an ABOUT and a format. remedy: what the author is to do. Before the begin:
 * without a slot, and mildly. */
void child_breach(host_breach_kind kind, const char *about, const char *remedy, const char *format, ...)
    KIT_PRINTF(4, 5);
/* The same for what nobody but the author needs to know. */
void child_breach_mild(host_breach_kind kind, const char *about, const char *remedy, const char *format, ...)
    KIT_PRINTF(4, 5);

#define CHILD_MAY_BE_EMPTY 1u
#define CHILD_MAY_HAVE_LINES 2u /* control characters are shown escaped */
/* A text that the plugin gave by a pointer: what goes on with it is at most `most` bytes of it. */
void child_check_text(const char *about, const char *text, size_t most, unsigned how);
/* One that it put into an array of ours, ended for certain afterwards. */
void child_check_array(const char *about, char *array, size_t size, unsigned how);
/* A count or an amount; what is none counts as unknown. */
uint64_t child_check_u64(const char *about, uint64_t value);
void child_check_reserved(const char *about, uint64_t value);

/* ---- audit.c */
void child_audit_begin(const child_request *request); /* just before the slot */
/* After the slot: says what it left running. */
void child_audit_left(void);
/* True as long as the slot is to be called once more before the call that counts; asked before every call. */
bool child_audit_round(const child_request *request);
void child_audit_end(host_done *done); /* puts what was found into the last word, when that was asked for */

/* ---- limits.c */
/* Moves fd up, out of the range that a careless plugin closes or reuses, close-on-exec. */
int child_fd_high(int fd);
kit_status child_limit(const child_request *request, int request_fd, kolm_error_t *err) KIT_MUST_USE;
/* Before the end: when the caller has died nobody else will kill what the backend left in the session. */
void child_end_if_orphaned(void);
/* True once the user wants the call to stop, or the caller is gone. */
bool child_cancelled(void);
/* Returns when child_cancelled is true, or never can be: the plugin has closed the descriptor that tells it. */
void child_wait_cancelled(void);
/* The call is over after the grace, whoever is still there (fit for a signal handler). */
void child_last_resort(void);
/* This process was forked to load the plugin: what it was forked by ends what it leaves. */
void child_is_worker(void);

/* ---- selftest.c: what was done before the plugin was loaded, and what came of trying it. */
typedef struct child_proof {
    kit_buf mechanisms, lacks; /* JSON strings, each with a comma behind it */
    int landlock;              /* version of the kernel's interface; 0: none, or not wanted */
    bool separate;             /* this process sees no other but those of its call: 1 is the first of them */
    bool user_namespace;       /* ... and has no privilege outside of it */
    bool read_only;            /* attributes of files that it may not write cannot be changed */
    uint32_t run, reached;
    char first[80]; /* the first that opened */
} child_proof;

void child_proof_add(kit_buf *names, const char *name);
void child_probe(child_proof *proof, bool opened, const char *name, long number);
/* Before the fence is there: what can only be prepared outside of it. */
void child_selftest_begin(void);
/* Tries files, other processes and abstract sockets. FAILED_PRECONDITION when one opened. */
kit_status child_selftest(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;
/* The event "sandbox", for every call: profile is "strict", "fence", ... */
void child_proof_report(const child_proof *proof, const char *profile);

/* ---- namespaces.c */
/* Returns in another process than it was called in: the one that was goes on to wait for it, and ends as it ends. Where
 * the kernel cannot, or the user may not, proof->lacks says so, and it returns in the same one. */
kit_status child_separate(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- landlock.c */
/* A descriptor of a place that the request names (O_PATH), no link followed; -1: it is not there, or cannot be
 * reached. */
int child_open_place(const char *path);
/* No file but those that the request names, from here on, and no process but those of this call. Where the kernel
 * cannot do that, proof->landlock is 0 and proof->lacks says so. */
kit_status child_landlock(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- unseen.c */
/* No call from here on that Landlock does not see and that reaches past it. */
kit_status child_unseen(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- sandbox.c */
/* No sockets from here on. */
kit_status child_sandbox(child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- loader.c */
/* A plugin that is loaded by its path: changeable by nobody else, and the file that kolm read. Nothing for one that is
 * held. */
kit_status child_check_file(const child_request *request, kolm_error_t *err) KIT_MUST_USE;
kit_status child_load(const child_request *request, const void **out_symbol, kolm_error_t *err) KIT_MUST_USE;
/* ---- elf.c: what the loader would not say, or wrongly */
/* A plugin of another machine, one that is cut off, and what is no shared object. */
kit_status child_check_elf(int fd, const char *path, kolm_error_t *err) KIT_MUST_USE;
/* A symbol of the right name that is a function. */
kit_status child_check_symbol(const void *symbol, const char *path, kolm_error_t *err) KIT_MUST_USE;

/* ---- beside.c */
/* A directory in the scratch directory that looks like the plugin's own, where the plugin is what `held` names;
 * *out_path: the plugin in there, for the caller to free. */
kit_status child_beside(const child_request *request, const char *held, char **out_path,
                        kolm_error_t *err) KIT_MUST_USE;

/* ---- table.c */
kit_status child_table_check(const kolm_backend_v1_t *table, const child_request *request,
                             kolm_error_t *err) KIT_MUST_USE;
uint32_t child_table_slots(const kolm_backend_v1_t *table);
/* Says what is wrong with a table that can be believed. */
void child_table_report(const kolm_backend_v1_t *table);

/* ---- services.c */
const kolm_host_v1_t *child_services(const child_request *request);

/* ---- reports.c: the services by which a plugin tells of its work */
void child_reports_begin(const child_request *request);
/* The slot is called again; counts: for the last time. */
void child_reports_again(bool counts);
void child_report_progress(void *user, const kolm_progress_t *progress);
void child_report_metric(void *user, const char *name, double value);
void child_report_device(void *user, const kolm_device_t *device);
void child_report_test_step(void *user, const kolm_test_step_t *step);
void child_report_holding(void *user, const kolm_holding_t *holding);
void child_reports_flush(void); /* what was held back */
/* Looks at the steps of a test that has ended. False, with the reason, when it says that it passed and cannot have. */
bool child_tested_passed(bool says_so, kolm_error_t *why);
void child_services_flush(void); /* the last progress, and how much was dropped */

/* ---- leases.c */
void child_leases_open(const child_request *request); /* takes HOST_FD_LEASES out of the way of small numbers */
void child_leases_table(bool reclaims);               /* whether the plugin has the slot reclaim */
int32_t child_lease(void *user, const kolm_lease_t *lease, kolm_error_t *out_error);
/* How many names are on record without a GONE; the first of them, when there is one. */
uint32_t child_leases_left(const char **out_first);

/* ---- results.c: each says what is wrong with a result of KOLM_OK, and makes it fit to be used. */
void child_check_detect(kolm_detect_result_t *result);
void child_check_cost(kolm_cost_result_t *result);
void child_check_train(kolm_train_result_t *result);
void child_check_infer(kolm_infer_result_t *result);
void child_check_test(kolm_test_result_t *result);
void child_check_status(kolm_status_result_t *result);
void child_check_reclaim(kolm_reclaim_result_t *result);
/* A record of `size` bytes at `record`, with room for CHILD_LATER_MAX bytes behind the largest of today: was it written
 * past its end? */
void child_check_size(const void *record, uint32_t size, size_t room);
void child_check_error(kolm_error_t *error, int32_t code);

/* ---- slots.c */
_Noreturn void child_run(const child_request *request, const kolm_backend_v1_t *table);

/* ---- model.c */
kit_status child_copy_model(const char *job_dir, kolm_error_t *err) KIT_MUST_USE;

#endif
