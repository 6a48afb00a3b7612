/* SPDX-License-Identifier: Apache-2.0 */
/* The private protocol between kolm and kolm-host: every name in it, defined once for both sides.
 *
 * kolm writes the request, one JSON object on one line. kolm-host answers with lines, each a JSON object with an event;
 * the last one is "done", and also has the members of the slot's result. Both are always from the same build, so the
 * protocol has no version.
 *
 * A record is a C struct and the list of its members (protocol.c). Both sides read and write it through that list and
 * the same struct: a member cannot be renamed, or change its type, on one side only. Names that belong to no record are
 * HOST_KEY_* below. No other file of this room contains these names as literals (tests/abi/lint.py). */
#ifndef KOLM_HOST_PROTOCOL_H
#define KOLM_HOST_PROTOCOL_H

#include "kolm/backend.h"
#include "kolm/kit/buf.h"
#include "kolm/kit/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Slots, by name in the request */
#define HOST_CALL_DETECT "detect"
#define HOST_CALL_COST "cost"
#define HOST_CALL_TRAIN "train"
#define HOST_CALL_INFER "infer"
#define HOST_CALL_TEST "test"
#define HOST_CALL_STATUS "status"
#define HOST_CALL_RECLAIM "reclaim"
/* detect and cost: short deadlines, few resources. */
bool host_call_is_light(const char *slot);

/* ---- Request: the members of host_request, and these. */
#define HOST_KEY_SETTINGS "settings" /* object of strings: those that the plugin may request */
#define HOST_KEY_DECLARED "declared" /* array: the settings that the manifest declares; absent: it declares none */
#define HOST_KEY_SECRETS "secrets"   /* object: a string; true: set but withheld; null: not set */
#define HOST_KEY_ARGS "args"         /* object: the arguments of the slot, a record */
#define HOST_KEY_LEASED                                                                                                \
    "leased"                     /* array of names that no lease may use, because they are recorded already; may be
                                    absent */
#define HOST_KEY_AUDIT "audit"   /* object: host_audit_request; absent: not examined */
#define HOST_KEY_PLUGIN "plugin" /* object: host_plugin_source */
#define HOST_KEY_FENCE "fence"   /* object of arrays of paths; absent: no fence */
#define HOST_KEY_LOOK "look"
#define HOST_KEY_READ "read"
#define HOST_KEY_WRITE "write"
#define HOST_KEY_DEVICE "device"
#define HOST_KEY_NO_READ "no_read" /* what the self-test must find inaccessible */
#define HOST_KEY_NO_WRITE "no_write"

typedef struct host_request {
    const char *slot, *name, *path, *scratch;
    bool network, airgap, leases;                                     /* leases: there is HOST_FD_LEASES */
    uint64_t timeout_ms, grace_ms;                                    /* timeout_ms 0: none */
    uint64_t memory_limit_bytes, file_limit_bytes, cpu_limit_seconds; /* 0: none */
    uint64_t parent;                                                  /* the calling process */
} host_request;

typedef struct host_audit_request {
    uint64_t repeats, minor, later_bytes; /* as in host_audit */
    uint32_t lease_fault;
    bool first_minor, halt_at_progress;
} host_audit_request;

/* As in host_plugin_hold. */
typedef struct host_plugin_source {
    bool held, beside, named;
    uint64_t device, inode, size, modified_ns, changed_ns;
} host_plugin_source;

/* ---- Reply: X(upper, lower, struct), one for each event. Texts are borrowed, on both sides. */
#define HOST_KEY_EVENT "event"
#define HOST_EVENTS(X)                                                                                                 \
    X(SANDBOX, sandbox, host_sandbox_line)                                                                             \
    X(LOADED, loaded, host_loaded)                                                                                     \
    X(LOG, log, host_log)                                                                                              \
    X(PROGRESS, progress, kolm_progress_t)                                                                             \
    X(METRIC, metric, host_metric)                                                                                     \
    X(DEVICE, device, kolm_device_t)                                                                                   \
    X(STEP, step, kolm_test_step_t)                                                                                    \
    X(HOLDING, holding, kolm_holding_t)                                                                                \
    X(BREACH, breach, host_breach_line)                                                                                \
    X(UNDECLARED, undeclared, host_undeclared)                                                                         \
    X(WITHHELD, withheld, host_withheld)                                                                               \
    X(DONE, done, host_done)

#define HOST_KEY_MECHANISMS "mechanisms" /* arrays of strings of the event "sandbox" */
#define HOST_KEY_LACKS "lacks"
typedef struct host_sandbox_line {
    const char *profile, *kernel;
    uint32_t probes_run, probes_reached;
} host_sandbox_line;

typedef struct host_loaded {
    uint32_t slots, abi_minor;
    uint64_t features;
    const char *version, *vendor, *licence, *homepage;
} host_loaded;

typedef struct host_log {
    uint32_t level;
    const char *text;
} host_log;

typedef struct host_metric {
    const char *name;
    double value;
} host_metric;

typedef struct host_breach_line {
    uint32_t kind; /* host_breach_kind */
    bool mild;
    const char *text, *remedy;
} host_breach_line;

typedef struct host_undeclared {
    const char *key;
} host_undeclared;

typedef struct host_withheld {
    const char *name;
} host_withheld;

typedef struct host_done {
    uint32_t verdict; /* host_verdict */
    uint32_t code;    /* of the error */
    const char *text, *remedy;
    bool mute; /* the slot returned an error without a text */
    uint64_t peak_memory_bytes;
    uint32_t left_descriptors, left_threads; /* audit */
    uint64_t bytes_per_round;
} host_done;

typedef enum host_event {
#define X(upper, lower, type) HOST_EVENT_##upper,
    HOST_EVENTS(X)
#undef X
        HOST_EVENT_COUNT,
} host_event;
const char *host_event_name(host_event event);
host_event host_event_of(const char *name); /* HOST_EVENT_COUNT: there is no such event */

/* ---- Arguments and results of the slots, as in kolm/backend.h. */
#define HOST_CALL_RECORDS(X)                                                                                           \
    X(COST_ARGS, cost_args, kolm_cost_args_t)                                                                          \
    X(TRAIN_ARGS, train_args, kolm_train_args_t)                                                                       \
    X(INFER_ARGS, infer_args, kolm_infer_args_t)                                                                       \
    X(TEST_ARGS, test_args, kolm_test_args_t)                                                                          \
    X(STATUS_ARGS, status_args, kolm_status_args_t)                                                                    \
    X(RECLAIM_ARGS, reclaim_args, kolm_reclaim_args_t)                                                                 \
    X(DETECT_RESULT, detect_result, kolm_detect_result_t)                                                              \
    X(COST_RESULT, cost_result, kolm_cost_result_t)                                                                    \
    X(TRAIN_RESULT, train_result, kolm_train_result_t)                                                                 \
    X(INFER_RESULT, infer_result, kolm_infer_result_t)                                                                 \
    X(TEST_RESULT, test_result, kolm_test_result_t)                                                                    \
    X(STATUS_RESULT, status_result, kolm_status_result_t)                                                              \
    X(RECLAIM_RESULT, reclaim_result, kolm_reclaim_result_t)

/* ---- One line of a lease journal (lease/lease.h), a JSON object: kolm-host does not send it to kolm, but writes it to
 * the journal. */
typedef struct host_lease_line {
    uint64_t at_ms;                    /* since 1970 */
    const char *event;                 /* "intent", "handle", "gone" */
    uint64_t price_micro_usd_per_hour; /* UINT64_MAX: unknown, or a "gone" */
    uint64_t billed_micro_usd;         /* UINT64_MAX: unknown, or no "gone" */
    const char *name, *handle, *kind, *place, *note;
} host_lease_line;
/* An additional member: milliseconds since boot, a decimal string. Missing in lines of older kolms. */
#define HOST_LEASE_UP "up"

#define HOST_REQUEST_RECORDS(X)                                                                                        \
    X(LEASE_LINE, lease_line, host_lease_line)                                                                         \
    X(REQUEST, request, host_request)                                                                                  \
    X(AUDIT_REQUEST, audit_request, host_audit_request)                                                                \
    X(PLUGIN_SOURCE, plugin_source, host_plugin_source)

/* ---- Reading and writing */
typedef enum host_kind {
    HOST_KIND_U32,    /* a number */
    HOST_KIND_U64,    /* a decimal string, so that no JSON parser rounds it */
    HOST_KIND_DOUBLE, /* null when not finite */
    HOST_KIND_BOOL,
    HOST_KIND_TEXT,  /* const char *; NULL is written as "" */
    HOST_KIND_ARRAY, /* char[n] */
} host_kind;

typedef struct host_member {
    const char *name;
    host_kind kind;
    size_t offset, size;
    size_t most; /* HOST_KIND_TEXT: truncated to this many bytes; 0: not truncated */
} host_member;

typedef struct host_record {
    const host_member *members;
    size_t count;
} host_record;

/* Appends `,"name":value` for each member; texts are escaped for terminals first. No comma after an opening brace. */
void host_record_write(kit_buf *out, const host_record *record, const void *from);
/* Puts each member into the object, texts as they are. False: out of memory. */
bool host_record_add(cJSON *object, const host_record *record, const void *from);
/* Reads each member; one that is missing or has another type becomes 0, NaN, false or "". Texts are borrowed from the
 * object, or copied to their array and truncated to its size. True if nothing was missing. */
bool host_record_read(const cJSON *object, const host_record *record, void *to);

/* host_write_progress(out, &progress), host_add_request(object, &request), host_read_progress(object, &progress),
 * ... */
#define X(upper, lower, type)                                                                                          \
    extern const host_record host_record_##lower;                                                                      \
    static inline void host_write_##lower(kit_buf *out, const type *from) {                                            \
        host_record_write(out, &host_record_##lower, from);                                                            \
    }                                                                                                                  \
    static inline bool host_add_##lower(cJSON *object, const type *from) {                                             \
        return host_record_add(object, &host_record_##lower, from);                                                    \
    }                                                                                                                  \
    static inline bool host_read_##lower(const cJSON *object, type *to) {                                              \
        return host_record_read(object, &host_record_##lower, to);                                                     \
    }
HOST_EVENTS(X)
HOST_CALL_RECORDS(X)
HOST_REQUEST_RECORDS(X)
#undef X

#endif
