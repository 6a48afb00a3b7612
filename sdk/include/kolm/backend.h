/* SPDX-License-Identifier: Apache-2.0 */
/* The ABI between kolm and a compute backend: one exported table, kolm_backend_v1, and the records passed across it. */
#ifndef KOLM_BACKEND_H
#define KOLM_BACKEND_H

/*
 * How to use this header
 * ----------------------
 * A backend is one shared object, NAME.so, next to one manifest, NAME.json. The object exports exactly one symbol:
 *
 *     KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
 *         KOLM_BACKEND_HEADER_INIT,
 *         .name = "acme", .version = "1.0.0", .vendor = "ACME", .licence = "Apache-2.0", .homepage = "https://...",
 *         .detect = acme_detect, .cost = acme_cost, .train = NULL, .infer = NULL, .test = NULL,
 *     };
 *
 * Everything else must be hidden (-fvisibility=hidden): `nm -D --defined-only NAME.so` must print one line.
 *
 * Process model. kolm calls every slot in a separate process (kolm-host): one process, one plugin, one call. The
 * process has its own session, a deadline, resource limits and no standard input. Its standard output and standard
 * error are captured and shown as log lines. A crash, a hang or an exit is reported as the result of the call; it does
 * not crash kolm. The object is never dlclosed. Before a slot returns, it must have waited for every process that it
 * started and closed every descriptor that it opened.
 *
 * Limits of a process. detect and cost: 5 seconds (longer on a busy machine; time_left_ms takes that into account), 10
 * seconds of CPU time, 4 GiB of data, 64 MiB per file. The other slots: only the limits of the user, and time_left_ms.
 * All slots: a short list of environment variables, with TMPDIR set to scratch_dir, plus those listed under requires in
 * the manifest; the user's working directory; /dev/null as standard input; default signal dispositions except SIGPIPE,
 * which is ignored, and SIGTERM, SIGALRM and SIGRTMAX, which are reserved for kolm-host; no core dumps; access only to
 * the files listed in backend-author.md under "What a call may touch".
 *
 * Threads. A slot is called once, on the main thread of its process. It may start threads and must join them before it
 * returns. All functions of kolm_host_v1_t are thread-safe.
 *
 * Strings are UTF-8, NUL terminated, and a single line unless the field says otherwise. A string is never NULL; use ""
 * if there is none. A string passed by the host is valid until the slot returns. A string passed to a host function is
 * copied before that function returns. The identity strings of the table must stay valid until the process exits. Text
 * truncated to fit its array may end in the middle of a character, as with snprintf.
 *
 * Numbers. Counts and amounts (bytes, steps, seconds, money) are at most INT64_MAX; UINT64_MAX means unknown where the
 * field says so. A double is finite; NaN means none where the field says so. Reserved fields must be 0.
 *
 * Breaches. Data that breaks this contract is never trusted and never ignored silently. A record that cannot be
 * interpreted fails the call; anything else is truncated, dropped or treated as unknown, and kolm warns the user once
 * per call, naming the backend. `kolm backend check` reports each breach as a failure and says how to fix it. The
 * limits are the KOLM_*_MAX constants.
 *
 * Growth. Every record that crosses the boundary begins with struct_size and only ever grows at its end. A field
 * exists if and only if it ends within struct_size: use KOLM_HAS. Neither side may require struct_size to equal, or
 * to be at least, the size it was compiled with; only the 1.0 size (KOLM_*_SIZE_1_0) is a lower bound. A NULL slot
 * means "not implemented" and is never called. Numbers in a record have fixed widths; records contain no enums, bools,
 * longs, bit-fields, FILE pointers or va_lists.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KOLM_ABI_MAJOR 1 /* the host rejects any other major version */
#define KOLM_ABI_MINOR 2 /* incremented when a field or a slot is appended; 1: status, holding; 2: reclaim, lease */

/* True if the record *p of the given type, as compiled by the side that filled it, contains the field. */
#define KOLM_HAS(type, p, field) ((p)->struct_size >= offsetof(type, field) + sizeof((p)->field))

#if defined(_WIN32)
#define KOLM_BACKEND_EXPORT __declspec(dllexport)
#else
#define KOLM_BACKEND_EXPORT __attribute__((visibility("default")))
#endif

/* ---- Fingerprint: build properties whose mismatch would corrupt memory; the host reports the one that differs. */
#define KOLM_FP_SIZEOF_POINTER ((uint32_t)sizeof(void *)) /* bits 0..7: 4 or 8 */
#if defined(__SIZEOF_POINTER__) && __SIZEOF_POINTER__ == 4 && !(defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64)
#define KOLM_FP_SIZEOF_OFF 4u
#else
#define KOLM_FP_SIZEOF_OFF 8u /* bits 8..15: the width of off_t */
#endif
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define KOLM_FP_ENDIAN 2u /* bits 16..23: 1 little, 2 big */
#else
#define KOLM_FP_ENDIAN 1u
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KOLM_FP_SANITIZER 1u
#elif __has_feature(thread_sanitizer)
#define KOLM_FP_SANITIZER 2u
#elif __has_feature(memory_sanitizer)
#define KOLM_FP_SANITIZER 3u
#endif
#endif
#if !defined(KOLM_FP_SANITIZER)
#if defined(__SANITIZE_ADDRESS__)
#define KOLM_FP_SANITIZER 1u /* bits 24..31: 0 none, 1 address, 2 thread, 3 memory */
#elif defined(__SANITIZE_THREAD__)
#define KOLM_FP_SANITIZER 2u
#else
#define KOLM_FP_SANITIZER 0u
#endif
#endif
#define KOLM_FINGERPRINT                                                                                               \
    (KOLM_FP_SIZEOF_POINTER | (KOLM_FP_SIZEOF_OFF << 8) | (KOLM_FP_ENDIAN << 16) | (KOLM_FP_SANITIZER << 24))

/* ---- Errors: a closed list, numbered like the gRPC/absl codes. 0 is success. */
#define KOLM_OK 0
#define KOLM_E_CANCELLED 1           /* stopped at the request of the host */
#define KOLM_E_UNKNOWN 2             /* no other code applies */
#define KOLM_E_INVALID_ARGUMENT 3    /* the job or a setting is invalid, whatever the state of the system */
#define KOLM_E_DEADLINE_EXCEEDED 4   /* the deadline passed */
#define KOLM_E_NOT_FOUND 5           /* a file, a model or a remote resource is missing */
#define KOLM_E_ALREADY_EXISTS 6      /* what was to be created already exists */
#define KOLM_E_PERMISSION_DENIED 7   /* the caller is authenticated but not authorized */
#define KOLM_E_RESOURCE_EXHAUSTED 8  /* out of memory, disk space, quota or money */
#define KOLM_E_FAILED_PRECONDITION 9 /* the machine or account is not in the required state */
#define KOLM_E_ABORTED 10            /* aborted by a conflict; the whole call may be retried */
#define KOLM_E_OUT_OF_RANGE 11       /* outside the valid range */
#define KOLM_E_UNIMPLEMENTED 12      /* not implemented by this backend */
#define KOLM_E_INTERNAL 13           /* a bug in the backend */
#define KOLM_E_UNAVAILABLE 14        /* a service is temporarily unavailable; may be retried */
#define KOLM_E_DATA_LOSS 15          /* data is corrupt */
#define KOLM_E_UNAUTHENTICATED 16    /* no valid credentials */

/* An error. The caller of a slot passes it zeroed except for struct_size; the slot fills it if it returns anything but
 * KOLM_OK. text: what happened, to what. remedy: what to do next. Both may be truncated but must be NUL terminated. */
typedef struct kolm_error {
    uint32_t struct_size;
    int32_t code; /* the value that the slot returns */
    char text[512];
    char remedy[512];
} kolm_error_t;

/* ---- Limits of reports through kolm_host_v1_t and of the identity strings: bytes without the NUL, or a count */
#define KOLM_LOG_BYTES_MAX 4096u
#define KOLM_PHASE_BYTES_MAX 63u
#define KOLM_METRICS_MAX 1000u /* distinct metric names per call */
#define KOLM_DEVICES_MAX 64u
#define KOLM_DEVICE_ID_BYTES_MAX 63u
#define KOLM_DEVICE_TEXT_BYTES_MAX 127u /* name, driver and runtime */
#define KOLM_TEST_STEPS_MAX 1000u
#define KOLM_STEP_TITLE_BYTES_MAX 127u
#define KOLM_STEP_NOTE_BYTES_MAX 1023u
#define KOLM_HOLDINGS_MAX 10000u
#define KOLM_HOLDING_PLACE_BYTES_MAX 255u
#define KOLM_HOLDING_KIND_BYTES_MAX 31u
#define KOLM_HOLDING_NAME_BYTES_MAX 127u
#define KOLM_HOLDING_NOTE_BYTES_MAX 511u
#define KOLM_LEASES_MAX 1000u /* names per call */
#define KOLM_LEASE_NAME_BYTES_MAX 63u
#define KOLM_LEASE_HANDLE_BYTES_MAX 127u
#define KOLM_LEASE_KIND_BYTES_MAX 31u
#define KOLM_LEASE_PLACE_BYTES_MAX 255u
#define KOLM_LEASE_NOTE_BYTES_MAX 511u
#define KOLM_VERSION_BYTES_MAX 63u
#define KOLM_VENDOR_BYTES_MAX 127u
#define KOLM_LICENCE_BYTES_MAX 127u
#define KOLM_HOMEPAGE_BYTES_MAX 255u

/* ---- Log levels for kolm_host_v1_t.log */
#define KOLM_LOG_DEBUG 0u
#define KOLM_LOG_INFO 1u
#define KOLM_LOG_WARNING 2u
#define KOLM_LOG_ERROR 3u

/* ---- Devices, reported by detect */
#define KOLM_MEMORY_NONE 0u   /* no accelerator memory of its own (a CPU) */
#define KOLM_MEMORY_OWN 1u    /* dedicated device memory */
#define KOLM_MEMORY_SHARED 2u /* unified with, or carved out of, system memory */

#define KOLM_MEMORY_UNKNOWN UINT64_MAX /* a number of bytes that could not be determined */

typedef struct kolm_device {
    uint32_t struct_size;
    uint32_t memory_kind;        /* KOLM_MEMORY_* */
    uint64_t total_memory_bytes; /* KOLM_MEMORY_UNKNOWN if not readable */
    uint64_t free_memory_bytes;  /* KOLM_MEMORY_UNKNOWN if not readable */
    uint32_t index;              /* position among the devices of this backend, from 0, in report order */
    uint32_t units;              /* cores, multiprocessors or compute units; 0 unknown */
    const char *name;            /* as reported by the driver, "NVIDIA H100 80GB HBM3"; never "" */
    const char *id;              /* stable and unique on this machine: PCI address or UUID; "" if none */
    const char *driver;          /* driver name and version; "" if none */
    const char *runtime;         /* the runtime that would train on it, with version; "" if not found */
} kolm_device_t;

/* ---- Progress of train and infer */
#define KOLM_UNKNOWN_COUNT UINT64_MAX
typedef struct kolm_progress {
    uint32_t struct_size;
    uint32_t reserved;        /* 0 */
    uint64_t step;            /* steps done; at most total, never decreases within a phase */
    uint64_t total;           /* total number of steps, KOLM_UNKNOWN_COUNT if not known */
    double loss;              /* NaN if there is none */
    double tokens_per_second; /* NaN if there is none; not negative; rows per second for engines without tokens */
    const char *phase;        /* short present participle: "reading", "training", "answering"; never NULL or "" */
} kolm_progress_t;

/* ---- One step of test, reported in execution order */
#define KOLM_STEP_OK 0u
#define KOLM_STEP_FAILED 1u
#define KOLM_STEP_SKIPPED 2u
typedef struct kolm_test_step {
    uint32_t struct_size;
    uint32_t outcome; /* KOLM_STEP_* */
    uint32_t number;  /* from 1, consecutive */
    uint32_t total;   /* number of steps of this test, the same in every report; the shipped backends have 4 */
    uint64_t duration_us;
    const char *title; /* "auth check"; never "" */
    const char *note;  /* "" or one line: why it failed or was skipped */
} kolm_test_step_t;

/* ---- Since 1.1: one remote resource that a backend holds for the user, reported by status */
#define KOLM_HOLDING_IDLE 0u    /* not in use: removed by prune once it is old enough */
#define KOLM_HOLDING_IN_USE 1u  /* running, or needed by something that is running: never removed by prune */
#define KOLM_HOLDING_REMOVED 2u /* removed by this call */
typedef struct kolm_holding {
    uint32_t struct_size;
    uint32_t state;                    /* KOLM_HOLDING_* */
    uint64_t bytes;                    /* on disk; KOLM_UNKNOWN_COUNT if not known */
    uint64_t age_seconds;              /* since it was last used; KOLM_UNKNOWN_COUNT if not known */
    uint64_t price_micro_usd_per_hour; /* what it costs while it exists; 0 nothing, UINT64_MAX unknown */
    const char *place;                 /* machine, region or account, as named by the user; never "" */
    const char *kind;                  /* one word: "job", "files", "instance" */
    const char *name;                  /* its name at that place; never "" */
    const char *note;                  /* "" or one line: what it is, or its state */
} kolm_holding_t;

/* ---- Since 1.2: one event in the life of a lease, which is a resource that costs money while it exists (a rented
 * machine, a job in a provider's queue). Once the call that recorded a lease has ended, for whatever reason, kolm calls
 * reclaim for it unless GONE was recorded. */
#define KOLM_LEASE_INTENT 0u /* about to be created: from now on a resource of this name may exist */
#define KOLM_LEASE_HANDLE 1u /* it exists, or its handle has changed */
#define KOLM_LEASE_GONE 2u   /* the provider no longer has it, or it was never created */
typedef struct kolm_lease {
    uint32_t struct_size;
    uint32_t event;                    /* KOLM_LEASE_* */
    uint64_t price_micro_usd_per_hour; /* with INTENT and HANDLE: what it costs while it exists; UINT64_MAX unknown */
    uint64_t billed_micro_usd;         /* with GONE: what it cost, 0 if it never existed; UINT64_MAX unknown */
    /* Its name at the provider, by which it can be found there: A-Z, a-z, 0-9, '.', '_', '-', never "". A name must not
     * be reused, so it should contain random digits. */
    const char *name;
    const char *handle; /* with HANDLE: the provider's own id, printable ASCII without spaces; else "" */
    const char *kind;   /* with INTENT: one word of a-z, "instance" or "job"; else "" */
    const char *place;  /* with INTENT: region or account, as named by the user, never ""; else "" */
    const char *note;   /* "" or one line: what it is */
} kolm_lease_t;

/* ---- Host services: passed to every slot, valid until it returns. Each function takes `user` first. */
typedef struct kolm_host_v1 {
    uint32_t struct_size;
    uint16_t abi_major; /* version of the host, to compare with what a plugin requires */
    uint16_t abi_minor;
    uint64_t features; /* KOLM_FEATURE_* that this host offers */
    void *user;

    /* Logs one line. The host escapes control characters and truncates at KOLM_LOG_BYTES_MAX. */
    void (*log)(void *user, uint32_t level, const char *text);
    /* Reports progress. The host drops reports that arrive faster than they can be shown. */
    void (*progress)(void *user, const kolm_progress_t *progress);
    /* Reports a metric, which is recorded in the receipt. name matches [a-z][a-z0-9_.]{0,63}. The last value of a name
     * is recorded; intermediate values that arrive faster than they can be shown are dropped. */
    void (*metric)(void *user, const char *name, double value);
    /* Reports one device. Only for detect, at most KOLM_DEVICES_MAX times. */
    void (*device)(void *user, const kolm_device_t *device);
    /* Reports one finished step. Only for test, at most KOLM_TEST_STEPS_MAX times. */
    void (*test_step)(void *user, const kolm_test_step_t *step);
    /* Returns 1 if the user asked to stop, or if kolm itself has exited (the parent process has changed). The slot must
     * then return KOLM_E_CANCELLED within 10 seconds, after which the process group is killed. */
    int32_t (*cancelled)(void *user);
    /* Returns the milliseconds until the deadline of this call, 0 if it has passed, INT64_MAX if there is none. */
    int64_t (*time_left_ms)(void *user);
    /* Copies the value of one of the environment names that the manifest lists under auth or secrets into buffer, NUL
     * terminated. Returns KOLM_OK; KOLM_E_NOT_FOUND if it is not set; KOLM_E_PERMISSION_DENIED if the manifest does not
     * list it; KOLM_E_OUT_OF_RANGE if capacity is too small. out_length (may be NULL) receives the length without the
     * NUL in the first and last case. Wipe the buffer after use. Secrets are never in the environment of this process.
     * In detect the value is withheld unless the user asked for a refresh: KOLM_E_PERMISSION_DENIED if it is set. Pass
     * capacity 0 to test whether it is set without reading it: KOLM_E_OUT_OF_RANGE, and length 0, if it is. A detect
     * that needs the value returns that code and is treated as available. A name that ends in _HOST or _ADDRESS is an
     * address, not a secret, and is never withheld. */
    int32_t (*secret)(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length);
    /* The same for the value of backends.NAME.KEY in the user's config.json: strings verbatim, other values as JSON. */
    int32_t (*setting)(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length);
    /* Absolute path of an empty, private directory that is removed after the call; never NULL. */
    const char *scratch_dir;
    /* Version 1.0 ends here. Check KOLM_HAS(kolm_host_v1_t, host, FIELD) before using later fields. */

    /* Since 1.1. Reports one remote resource. Only for status, at most KOLM_HOLDINGS_MAX times. */
    void (*holding)(void *user, const kolm_holding_t *holding);

    /* Since 1.2. Records one event. Only for train, infer, test and reclaim, and only if the call may use the network.
     * KOLM_OK means that the record is durable: it is on disk, in kolm's journal, and survives a crash of kolm, of this
     * process or of the machine. On any other result nothing was recorded and out_error is filled: create nothing.
     * KOLM_E_PERMISSION_DENIED in another slot, or without network; KOLM_E_INVALID_ARGUMENT for a record that breaks
     * the rules of kolm_lease_t; KOLM_E_ALREADY_EXISTS for an INTENT whose name was already used in this call or has an
     * open record; KOLM_E_FAILED_PRECONDITION for HANDLE or GONE without an INTENT, for HANDLE after GONE, and if the
     * reclaim slot is NULL; KOLM_E_RESOURCE_EXHAUSTED if the disk is full, or after KOLM_LEASES_MAX names. A second
     * GONE has no effect and returns KOLM_OK. In reclaim only the name in its arguments counts as recorded, and an
     * INTENT returns KOLM_E_PERMISSION_DENIED. */
    int32_t (*lease)(void *user, const kolm_lease_t *lease, kolm_error_t *out_error);
} kolm_host_v1_t;

/* ---- Features */
#define KOLM_FEATURE_NETWORK (1ull << 0)      /* host: this call may use the network (never under --airgap) */
#define KOLM_FEATURE_MODEL_SLICES (1ull << 1) /* both: infer reads model files as (path, offset, size), see job.json */
#define KOLM_FEATURES_KNOWN (KOLM_FEATURE_NETWORK | KOLM_FEATURE_MODEL_SLICES)

/* ---- detect: is this backend usable here and now? Must be cheap: it must not start a training runtime, must not use
 * the network unless args->allow_network is 1, and must respect the deadline (time_left_ms). Reports devices through
 * host->device. */
#define KOLM_DETECT_AVAILABLE 0u /* usable */
#define KOLM_DETECT_ABSENT 1u    /* not present: normal, no warning (no such card, no token) */
#define KOLM_DETECT_BROKEN 2u    /* present but not usable: a warning (driver and library differ) */
#define KOLM_DETECT_REFUSED 3u   /* usable but not allowed (policy, airgap) */

typedef struct kolm_detect_args {
    uint32_t struct_size;
    uint32_t allow_network; /* 0 or 1 */
} kolm_detect_args_t;

typedef struct kolm_detect_result {
    uint32_t struct_size;
    uint32_t state;    /* KOLM_DETECT_* */
    char reason[256];  /* one line: why; for available, what was found; never "" */
    char remedy[256];  /* how to make it available; "" if available; never "" for broken and refused */
    char runtime[128]; /* what would run the job, with version; "" if nothing was found */
} kolm_detect_result_t;

/* Metrics that a backend billed per hour reports from detect if allow_network is 1, about the cheapest offer that
 * satisfies the settings: USD per hour, including everything that is billed per hour (machine, disk, address), and
 * one-time USD per machine (start-up, minimum, expected traffic). They replace the price in the manifest until the
 * detection expires, and --max-price is compared with them. */
#define KOLM_METRIC_OFFER_HOURLY "offer.usd_per_hour"
#define KOLM_METRIC_OFFER_ONCE "offer.usd_once"

/* ---- cost: a pure function of its arguments; it must not use files, the network or the clock. */
#define KOLM_BILLING_FREE 0u
#define KOLM_BILLING_PER_HOUR 1u
#define KOLM_BILLING_PER_TOKEN 2u
#define KOLM_BILLING_PER_CALL 3u

#define KOLM_CONFIDENCE_NONE 0u     /* a guess from a table */
#define KOLM_CONFIDENCE_MODEL 1u    /* from a model of this backend and this job */
#define KOLM_CONFIDENCE_MEASURED 2u /* from measurements of similar jobs */

typedef struct kolm_cost_args {
    uint32_t struct_size;
    uint32_t epochs;                   /* 0: the backend's own default */
    uint64_t rows;                     /* training rows */
    uint64_t input_bytes;              /* bytes of all training inputs */
    uint64_t labels;                   /* distinct outputs; 0 unknown */
    uint64_t base_parameters;          /* parameters of the base model; 0 if there is none */
    uint64_t price_micro_usd_per_hour; /* the price in force (manifest or config override); UINT64_MAX unpriced */
    uint32_t cold_start_seconds;       /* from the manifest */
    uint32_t threads;                  /* CPUs that a local backend may use */
    const char *recipe;                /* "linear" or "lora" */
} kolm_cost_args_t;

typedef struct kolm_cost_result {
    uint32_t struct_size;
    uint32_t billing;        /* KOLM_BILLING_* */
    uint64_t duration_ms;    /* expected wall time, cold start included; UINT64_MAX unknown */
    uint64_t cost_micro_usd; /* expected bill; 0 if billing is FREE; UINT64_MAX unknown */
    uint32_t confidence;     /* KOLM_CONFIDENCE_* */
    uint32_t reserved;       /* 0 */
    char basis[256];         /* one line: what the estimate is based on; never "" */
} kolm_cost_result_t;

/* ---- train and infer work on a job directory; job-protocol.md describes every file in it. */
typedef struct kolm_train_args {
    uint32_t struct_size;
    uint32_t threads;    /* CPUs to use, at least 1 */
    const char *job_dir; /* absolute; contains job.json, train.jsonl and eval.jsonl; the results are written into it */
} kolm_train_args_t;

typedef struct kolm_train_result {
    uint32_t struct_size;
    uint32_t reserved;         /* 0 */
    uint64_t billed_micro_usd; /* what it cost; UINT64_MAX unknown */
    char device[128];          /* the device that was used, one line; never "" */
    char toolchain[256];       /* engine and versions that determine the bytes of the model; never "" */
} kolm_train_result_t;

typedef struct kolm_infer_args {
    uint32_t struct_size;
    uint32_t threads;
    const char *job_dir;     /* absolute; contains job.json, which names the model files */
    const char *input_path;  /* JSON lines of {"id","input"}; may be a pipe: read it once, in order, without seeking */
    const char *output_path; /* JSON lines of {"id","output","confidence"}; may be a pipe. One answer per input, in
                                order, with its id. Flush before blocking on the next input: the caller may wait
                                for the answer before it sends more. By default the caller waits at most 600 s for
                                the next answer, so a slow backend must also flush at least once a minute. */
} kolm_infer_args_t;

typedef struct kolm_infer_result {
    uint32_t struct_size;
    uint32_t reserved;         /* 0 */
    uint64_t answers;          /* answers written; equals the number of inputs */
    uint64_t billed_micro_usd; /* UINT64_MAX unknown */
    char device[128];
} kolm_infer_result_t;

/* ---- test: checks the whole backend before it is needed. Reports its steps through host->test_step. A test may pass
 * only if it reported at least one step and every step that it announced, and none of them failed. */
typedef struct kolm_test_args {
    uint32_t struct_size;
    uint32_t threads;
    uint32_t allow_network; /* 0 or 1 */
    uint32_t reserved;      /* 0 */
} kolm_test_args_t;

typedef struct kolm_test_result {
    uint32_t struct_size;
    uint32_t passed;   /* 0 or 1 */
    char summary[256]; /* "NAME is ready for kolm compile", or what is missing */
} kolm_test_result_t;

/* ---- status, since 1.1: lists the remote resources of this user (jobs and files on a machine, cloud instances), and
 * removes them. Reports through host->holding, which every host that calls this slot provides. Uses the network only if
 * args->allow_network is 1. If a place cannot be reached, the slot still queries the others and returns the error at
 * the end. Returns KOLM_E_NOT_FOUND if the backend is not set up (no token, no machine configured): kolm then mentions
 * it only to a user who asked for this backend by name. */
typedef struct kolm_status_args {
    uint32_t struct_size;
    uint32_t allow_network; /* 0 or 1 */
    uint32_t prune;         /* 1: remove what is idle and has been unused for at least older_seconds */
    uint32_t reserved;      /* 0 */
    uint64_t older_seconds;
} kolm_status_args_t;

typedef struct kolm_status_result {
    uint32_t struct_size;
    uint32_t reserved; /* 0 */
    char summary[256]; /* one line: what was queried, "2 machines"; may be "" */
} kolm_status_result_t;

/* ---- reclaim, since 1.2: ends a lease, and reports whether it still exists. Every command that uses compute calls it
 * for each lease whose call ended without recording GONE, until the outcome is GONE. It must be idempotent and must not
 * wait long (time_left_ms): report RUNNING for a resource that is still shutting down; the next call checks it again.
 * The name is always known, the handle only if the call got far enough to record one: if it is "", look the resource up
 * by name. A backend that calls host->lease must have this slot. Returns KOLM_OK whenever the provider answered; an
 * error counts as UNKNOWN. kolm records GONE itself. */
#define KOLM_RECLAIM_RUNNING 0u /* it still exists, and may be billed */
#define KOLM_RECLAIM_GONE 1u    /* it does not exist at the provider, and cannot appear later */
#define KOLM_RECLAIM_UNKNOWN 2u /* the provider does not tell, or it is too early to conclude that it does not exist */
typedef struct kolm_reclaim_args {
    uint32_t struct_size;
    uint32_t allow_network; /* 0 or 1 */
    uint64_t age_seconds;   /* since the INTENT, or since the latest HANDLE if there is one */
    const char *name;       /* as recorded; so are the fields below */
    const char *handle;     /* the latest; "" if none was recorded */
    const char *kind;
    const char *place;
} kolm_reclaim_args_t;

typedef struct kolm_reclaim_result {
    uint32_t struct_size;
    uint32_t outcome;          /* KOLM_RECLAIM_* */
    uint64_t billed_micro_usd; /* with GONE: what it cost; UINT64_MAX unknown */
    char summary[256];         /* one line: what was done, or what prevented it; may be "" */
} kolm_reclaim_result_t;

/* ---- Slots. Each returns a KOLM_E_* code. All pointers are non-NULL, valid until return, and owned by the caller. */
typedef int32_t (*kolm_detect_fn)(const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                                  kolm_detect_result_t *out_result, kolm_error_t *out_error);
typedef int32_t (*kolm_cost_fn)(const kolm_host_v1_t *host, const kolm_cost_args_t *args,
                                kolm_cost_result_t *out_result, kolm_error_t *out_error);
typedef int32_t (*kolm_train_fn)(const kolm_host_v1_t *host, const kolm_train_args_t *args,
                                 kolm_train_result_t *out_result, kolm_error_t *out_error);
typedef int32_t (*kolm_infer_fn)(const kolm_host_v1_t *host, const kolm_infer_args_t *args,
                                 kolm_infer_result_t *out_result, kolm_error_t *out_error);
typedef int32_t (*kolm_test_fn)(const kolm_host_v1_t *host, const kolm_test_args_t *args,
                                kolm_test_result_t *out_result, kolm_error_t *out_error);
typedef int32_t (*kolm_status_fn)(const kolm_host_v1_t *host, const kolm_status_args_t *args,
                                  kolm_status_result_t *out_result, kolm_error_t *out_error);
typedef int32_t (*kolm_reclaim_fn)(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args,
                                   kolm_reclaim_result_t *out_result, kolm_error_t *out_error);

/* ---- The table */
typedef struct kolm_backend_v1_table {
    /* Frozen: the host validates these before it reads anything else. */
    uint32_t struct_size;
    uint16_t abi_major;
    uint16_t abi_minor;         /* the minor version the plugin was compiled with */
    uint64_t required_features; /* KOLM_FEATURE_* of the host that the plugin requires */
    uint32_t fingerprint;       /* KOLM_FINGERPRINT */
    uint16_t host_minor_needed; /* the lowest host minor version the plugin works with */
    uint16_t reserved;          /* 0 */
    uint64_t features;          /* KOLM_FEATURE_* that the plugin offers */
    /* Identity. None may be NULL; only homepage may be "". */
    const char *name;    /* equals the file name without suffix and the manifest's name; [a-z][a-z0-9-]{0,31} */
    const char *version; /* the plugin's own */
    const char *vendor;
    const char *licence;  /* SPDX expression */
    const char *homepage; /* the page where users report problems, "https://..."; "" if there is none */
    /* Slots. */
    kolm_detect_fn detect;
    kolm_cost_fn cost;
    kolm_train_fn train;
    kolm_infer_fn infer;
    kolm_test_fn test;
    /* Version 1.0 ends here; later fields follow, each with the minor version that added it. */
    kolm_status_fn status;   /* 1.1; NULL: this backend has no remote resources */
    kolm_reclaim_fn reclaim; /* 1.2; NULL: this backend rents nothing */
} kolm_backend_v1_t;

#define KOLM_BACKEND_SYMBOL "kolm_backend_v1"

/* The sizes at 1.0: the minimum that either side may rely on. On 64-bit machines. */
#define KOLM_BACKEND_SIZE_1_0 ((uint32_t)(offsetof(kolm_backend_v1_t, test) + sizeof(kolm_test_fn)))
#define KOLM_HOST_SIZE_1_0 ((uint32_t)(offsetof(kolm_host_v1_t, scratch_dir) + sizeof(const char *)))

#define KOLM_BACKEND_HEADER_INIT                                                                                       \
    .struct_size = (uint32_t)sizeof(kolm_backend_v1_t), .abi_major = KOLM_ABI_MAJOR, .abi_minor = KOLM_ABI_MINOR,      \
    .fingerprint = KOLM_FINGERPRINT

/* A plugin defines this object; the declaration makes the compiler check its type. */
extern KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1;

#ifdef __cplusplus
}
#endif
#endif /* KOLM_BACKEND_H */
