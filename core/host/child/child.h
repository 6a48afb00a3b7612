/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of kolm-host, the process that loads one plugin and runs one slot of it. */
#ifndef KOLM_HOST_CHILD_CHILD_H
#define KOLM_HOST_CHILD_CHILD_H

/*
 * main.c      the order of events: read the request, fence the process in, load, run, reply
 * request.c   the request
 * reply.c     answer lines and their limits
 * fence.c     resource limits, core dumps, what happens when the caller dies
 * namespaces.c  processes and mounts of its own, for a call that works
 * landlock.c  the fence around files and other processes
 * filter.c    programs of seccomp(2)
 * unseen.c    a filter of system calls for what Landlock does not see
 * selftest.c  the proof from inside that it holds
 * sandbox.c   the airgap: seccomp, and the proof of that
 * loader.c    libltdl, and nothing else of it than one dlopen
 * beside.c    a place for a plugin that looks for libraries beside itself and is not there any more
 * table.c     is this a table that we can believe?
 * services.c  kolm_host_v1_t
 * slots.c     the six slots
 * audit.c     what a slot leaves behind, when that is asked
 * model.c     copies of model files for plugins that cannot read slices
 */

#include "host/call.h"
#include "host/internal.h"

/* A record as a later kolm will give it: larger by request->later_bytes. */
#define CHILD_LATER_MAX 256
#define CHILD_WITH_LATER(type)                                                                                         \
    struct {                                                                                                           \
        type now;                                                                                                      \
        uint8_t later[CHILD_LATER_MAX];                                                                                \
    }

/* ---- request.c */
typedef struct child_value {
    char *name;
    char *value; /* NULL: allowed but not set, or withheld */
    bool withheld; /* set, and not told */
} child_value;

/* How the plugin is to be loaded. */
typedef struct child_plugin {
    bool held;               /* from HOST_FD_PLUGIN; else by its path */
    bool beside;             /* it has libraries of its own beside it */
    host_file_identity file; /* not held: what must be there, before and after it is loaded */
} child_plugin;

typedef struct child_request {
    cJSON *json; /* wiped and freed by child_request_free */
    const char *slot, *name, *path, *scratch;
    child_plugin plugin;
    bool audited;
    uint64_t repeats, minor, later_bytes; /* host_audit */
    bool first_minor;
    bool network, airgap;
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
    const cJSON *args;
} child_request;

/* Reads the line from fd. The values of secrets are taken out of the JSON tree, the text is wiped. */
kit_status child_request_read(int fd, child_request *out, kolm_error_t *err) KIT_MUST_USE;
uint64_t child_arg_u64(const child_request *request, const char *key);     /* 0 when absent */
const char *child_arg_text(const child_request *request, const char *key); /* "" when absent */

/* ---- reply.c: every function may be called from any thread. */
void child_reply_open(int fd); /* keeps a copy of fd out of the way of small numbers, and closes fd */
/* Sends {"event":EVENT,...}: members are appended by the caller as `,"key":value`. */
void child_reply_send(const char *event, const kit_buf *members);
void child_put_text(kit_buf *members, const char *key, const char *text); /* escaped for terminals, then for JSON */
void child_put_u64(kit_buf *members, const char *key, uint64_t value);    /* as a string */
void child_put_int(kit_buf *members, const char *key, int64_t value);
void child_put_double(kit_buf *members, const char *key, double value); /* null when not finite */
void child_put_bool(kit_buf *members, const char *key, bool value);
/* The last word: sends "done" and ends the process without running anything of the plugin's. result may be NULL. */
_Noreturn void child_done(host_verdict verdict, const kolm_error_t *error, const kit_buf *result);

/* ---- audit.c: nothing happens unless the request asks for it. */
void child_audit_begin(const child_request *request); /* just before the slot */
/* True as long as the slot is to be called once more before the call that counts; asked before every call. */
bool child_audit_round(const child_request *request);
void child_audit_end(kit_buf *members); /* appends what was found to the last word */

/* ---- fence.c */
/* Moves fd up, out of the range that a careless plugin closes or reuses, close-on-exec. */
int child_fd_high(int fd);
kit_status child_fence(const child_request *request, int request_fd, kolm_error_t *err) KIT_MUST_USE;
/* Before the end: when the caller has died nobody else will kill what the backend left in the session. */
void child_end_if_orphaned(void);
/* True once the user wants the call to stop, or the caller is gone. */
bool child_cancelled(void);
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
/* Returns in another process than it was called in: the one that was goes on to wait for it, and ends as it ends. Where the
 * kernel cannot, or the user may not, proof->lacks says so, and it returns in the same one. */
kit_status child_separate(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- landlock.c */
/* A descriptor of a place that the request names (O_PATH), no link followed; -1: it is not there, or cannot be reached. */
int child_open_place(const char *path);
/* No file but those that the request names, from here on, and no process but those of this call. Where the kernel cannot
 * do that, proof->landlock is 0 and proof->lacks says so. */
kit_status child_landlock(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- unseen.c */
/* No call from here on that Landlock does not see and that reaches past it. */
kit_status child_unseen(const child_request *request, child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- sandbox.c */
/* No sockets from here on. */
kit_status child_sandbox(child_proof *proof, kolm_error_t *err) KIT_MUST_USE;

/* ---- loader.c */
/* A plugin that is loaded by its path: changeable by nobody else, and the file that kolm read. Nothing for one that is held. */
kit_status child_check_file(const child_request *request, kolm_error_t *err) KIT_MUST_USE;
kit_status child_load(const child_request *request, const void **out_symbol, kolm_error_t *err) KIT_MUST_USE;

/* ---- beside.c */
/* A directory in the scratch directory that looks like the plugin's own, where the plugin is what `held` names; *out_path: the
 * plugin in there, for the caller to free. */
kit_status child_beside(const child_request *request, const char *held, char **out_path, kolm_error_t *err) KIT_MUST_USE;

/* ---- table.c */
kit_status child_table_check(const kolm_backend_v1_t *table, const child_request *request,
                             kolm_error_t *err) KIT_MUST_USE;
uint32_t child_table_slots(const kolm_backend_v1_t *table);

/* ---- services.c */
const kolm_host_v1_t *child_services(const child_request *request);
void child_services_flush(void); /* the last progress, and how much was dropped */

/* ---- slots.c */
_Noreturn void child_run(const child_request *request, const kolm_backend_v1_t *table);

/* ---- model.c */
kit_status child_copy_model(const char *job_dir, kolm_error_t *err) KIT_MUST_USE;

#endif
