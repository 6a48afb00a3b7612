/* SPDX-License-Identifier: Apache-2.0 */
/* The ABI header as it was at 1.0, frozen: what an old backend was compiled with. Never edited. */
#ifndef KOLM_BACKEND_H
#define KOLM_BACKEND_H

/*
 * How to use this header
 * ----------------------
 * A backend is one shared object, NAME.so, beside one manifest, NAME.json. The object exports exactly one symbol:
 *
 *     KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
 *         KOLM_BACKEND_HEADER_INIT,
 *         .name = "acme", .version = "1.0.0", .vendor = "ACME", .licence = "Apache-2.0", .homepage = "https://...",
 *         .detect = acme_detect, .cost = acme_cost, .train = NULL, .infer = NULL, .test = NULL,
 *     };
 *
 * Everything else must be hidden (-fvisibility=hidden); `nm -D --defined-only NAME.so` shows one line.
 *
 * Process model. kolm calls every slot in a process of its own (kolm-host): one process, one plugin, one call. The
 * process has its own process group, a deadline, resource limits and no standard input; what it writes to standard
 * output or standard error is captured and shown as log lines. A crash, a hang or an exit is a row in a table, not a
 * crash of kolm. The object is never dlclosed.
 *
 * Threads. A slot is called once, on the main thread of its process. It may start threads; they must be joined
 * before the slot returns. Every function of kolm_host_v1_t may be called from any thread.
 *
 * Strings are UTF-8, NUL terminated. A string given by the host lives until the slot returns. A string given by the
 * plugin to a host function is copied before that function returns. The identity strings of the table live for ever.
 *
 * Growth. Every record that crosses the boundary begins with struct_size and only ever grows at its end. A field
 * exists if and only if it ends within struct_size: use KOLM_HAS. Neither side may require struct_size to equal, or
 * to be at least, the size it was compiled with; only the 1.0 size (KOLM_*_SIZE_1_0) is a lower bound. A NULL slot
 * means "not implemented" and is never called. Numbers in a record have fixed widths; there are no enums, bools,
 * longs, bit-fields, FILE pointers or va_lists.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KOLM_ABI_MAJOR 1 /* a different major is refused by the host */
#define KOLM_ABI_MINOR 0 /* grows when a field or a slot is appended */

/* True when the record *p of the given type, as its maker compiled it, contains the field. */
#define KOLM_HAS(type, p, field) ((p)->struct_size >= offsetof(type, field) + sizeof((p)->field))

#if defined(_WIN32)
#define KOLM_BACKEND_EXPORT __declspec(dllexport)
#else
#define KOLM_BACKEND_EXPORT __attribute__((visibility("default")))
#endif

/* ---- Fingerprint: the few build facts whose mismatch would corrupt memory; the host names the one that differs. */
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

/* ---- Errors: one closed list, the numbers of the gRPC/absl codes. 0 is success. */
#define KOLM_OK 0
#define KOLM_E_CANCELLED 1           /* the host asked to stop, and it did */
#define KOLM_E_UNKNOWN 2             /* no better code fits */
#define KOLM_E_INVALID_ARGUMENT 3    /* the job or a setting is wrong whatever the state of the world */
#define KOLM_E_DEADLINE_EXCEEDED 4   /* the time given was not enough */
#define KOLM_E_NOT_FOUND 5           /* a file, a model or a remote thing is missing */
#define KOLM_E_ALREADY_EXISTS 6      /* what should be created is there */
#define KOLM_E_PERMISSION_DENIED 7   /* the identity is known and may not */
#define KOLM_E_RESOURCE_EXHAUSTED 8  /* memory, disk, quota or money is used up */
#define KOLM_E_FAILED_PRECONDITION 9 /* the machine or account is not in the needed state */
#define KOLM_E_ABORTED 10            /* lost to a conflict; the whole call may be tried again */
#define KOLM_E_OUT_OF_RANGE 11       /* past the valid range */
#define KOLM_E_UNIMPLEMENTED 12      /* this backend does not do this */
#define KOLM_E_INTERNAL 13           /* a bug in the backend */
#define KOLM_E_UNAVAILABLE 14        /* a service is away for the moment; may be tried again */
#define KOLM_E_DATA_LOSS 15          /* data is corrupt */
#define KOLM_E_UNAUTHENTICATED 16    /* no valid credentials */

/* The record of an error, provided zeroed (but for struct_size) by the caller of a slot, filled by the slot when it
 * returns anything but KOLM_OK. text: what happened, to what. remedy: what to do next. Truncation at the end of the
 * array is allowed; both stay NUL terminated. */
typedef struct kolm_error {
    uint32_t struct_size;
    int32_t code; /* the same number that the slot returns */
    char text[512];
    char remedy[512];
} kolm_error_t;

/* ---- Log levels for kolm_host_v1_t.log */
#define KOLM_LOG_DEBUG 0u
#define KOLM_LOG_INFO 1u
#define KOLM_LOG_WARNING 2u
#define KOLM_LOG_ERROR 3u

/* ---- Devices, as detect sees them */
#define KOLM_MEMORY_NONE 0u   /* no accelerator memory of its own (a CPU) */
#define KOLM_MEMORY_OWN 1u    /* dedicated device memory */
#define KOLM_MEMORY_SHARED 2u /* unified with, or carved out of, system memory */

#define KOLM_MEMORY_UNKNOWN UINT64_MAX /* a number of bytes that could not be read */

typedef struct kolm_device {
    uint32_t struct_size;
    uint32_t memory_kind;        /* KOLM_MEMORY_* */
    uint64_t total_memory_bytes; /* KOLM_MEMORY_UNKNOWN when not readable */
    uint64_t free_memory_bytes;  /* KOLM_MEMORY_UNKNOWN when not readable */
    uint32_t index;              /* position among the devices of this backend, from 0 */
    uint32_t units;              /* cores, multiprocessors or compute units; 0 unknown */
    const char *name;            /* as the driver spells it, "NVIDIA H100 80GB HBM3" */
    const char *id;              /* stable on this machine: PCI address or UUID; "" if none */
    const char *driver;          /* driver name and version; "" if none */
    const char *runtime;         /* the runtime that would train on it, with version; "" if not found */
} kolm_device_t;

/* ---- Progress of train and infer */
#define KOLM_UNKNOWN_COUNT UINT64_MAX
typedef struct kolm_progress {
    uint32_t struct_size;
    uint32_t reserved;        /* 0 */
    uint64_t step;            /* steps done */
    uint64_t total;           /* steps in all, KOLM_UNKNOWN_COUNT if not known */
    double loss;              /* NaN if there is none */
    double tokens_per_second; /* NaN if there is none; rows per second for engines without tokens */
    const char *phase;        /* short present participle: "reading", "training", "answering"; never NULL */
} kolm_progress_t;

/* ---- One step of test(), in the order it ran */
#define KOLM_STEP_OK 0u
#define KOLM_STEP_FAILED 1u
#define KOLM_STEP_SKIPPED 2u
typedef struct kolm_test_step {
    uint32_t struct_size;
    uint32_t outcome; /* KOLM_STEP_* */
    uint32_t number;  /* from 1 */
    uint32_t total;   /* the seed's tests have 4 */
    uint64_t duration_us;
    const char *title; /* "auth check" */
    const char *note;  /* "" or one line: why it failed or was skipped */
} kolm_test_step_t;

/* ---- Host services. Given to every slot; valid until the slot returns. Every function takes `user` first. */
typedef struct kolm_host_v1 {
    uint32_t struct_size;
    uint16_t abi_major; /* the host's own, to compare with what a plugin needs */
    uint16_t abi_minor;
    uint64_t features; /* KOLM_FEATURE_* that this host offers */
    void *user;

    /* One line for people; control characters are escaped by the host, long lines cut at 4096 bytes. */
    void (*log)(void *user, uint32_t level, const char *text);
    /* Reports progress; the host drops reports that come more often than it can show. */
    void (*progress)(void *user, const kolm_progress_t *progress);
    /* A named number of a run, kept in the receipt: name matches [a-z][a-z0-9_.]{0,63}. */
    void (*metric)(void *user, const char *name, double value);
    /* Reports one device; only detect may call it. */
    void (*device)(void *user, const kolm_device_t *device);
    /* Reports one finished step; only test may call it. */
    void (*test_step)(void *user, const kolm_test_step_t *step);
    /* 1 when the user asked to stop: return KOLM_E_CANCELLED soon (10 seconds, then the process group is killed). */
    int32_t (*cancelled)(void *user);
    /* Milliseconds until the deadline of this call, 0 when it has passed, INT64_MAX when there is none. */
    int64_t (*time_left_ms)(void *user);
    /* Copies the value of one of the environment names that this backend's manifest lists under auth or secrets into
     * buffer, NUL terminated. Returns KOLM_OK; KOLM_E_NOT_FOUND when it is not set; KOLM_E_PERMISSION_DENIED when the
     * manifest does not name it; KOLM_E_OUT_OF_RANGE when capacity is too small. out_length (may be NULL) receives
     * the length without the NUL in the first and last case. Wipe the buffer after use. Secrets are in no
     * environment of this process. */
    int32_t (*secret)(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length);
    /* The same for a value of backends.NAME.KEY in the user's config.json: strings as they are, other values as
     * JSON. */
    int32_t (*setting)(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length);
    /* A directory, absolute, empty and private, removed after the call; never NULL. */
    const char *scratch_dir;
} kolm_host_v1_t;

/* ---- Features */
#define KOLM_FEATURE_NETWORK (1ull << 0)      /* host: this call may use the network (never under --airgap) */
#define KOLM_FEATURE_MODEL_SLICES (1ull << 1) /* both: infer reads model files as (path, offset, size), see job.json */
#define KOLM_FEATURES_KNOWN (KOLM_FEATURE_NETWORK | KOLM_FEATURE_MODEL_SLICES)

/* ---- detect: is this backend usable here and now? Cheap: no training runtime is started, no network is touched
 * unless args->allow_network, and the deadline (time_left_ms) is respected. Devices go to host->device. */
#define KOLM_DETECT_AVAILABLE 0u /* usable */
#define KOLM_DETECT_ABSENT 1u    /* not here: normal and quiet (no such card, no token) */
#define KOLM_DETECT_BROKEN 2u    /* here but not usable: loud (driver and library differ, no permission on the node) */
#define KOLM_DETECT_REFUSED 3u   /* usable but not allowed (policy, airgap) */

typedef struct kolm_detect_args {
    uint32_t struct_size;
    uint32_t allow_network; /* 0 or 1 */
} kolm_detect_args_t;

typedef struct kolm_detect_result {
    uint32_t struct_size;
    uint32_t state;    /* KOLM_DETECT_* */
    char reason[256];  /* one line: why; for available, what was found. Always filled. */
    char remedy[256];  /* what to do to make it available; "" when available */
    char runtime[128]; /* what would run the job, with version; "" if nothing was found */
} kolm_detect_result_t;

/* ---- cost: pure. The same question gets the same answer; no file, network or clock is looked at. */
#define KOLM_BILLING_FREE 0u
#define KOLM_BILLING_PER_HOUR 1u
#define KOLM_BILLING_PER_TOKEN 2u
#define KOLM_BILLING_PER_CALL 3u

#define KOLM_CONFIDENCE_NONE 0u     /* a guess from a table */
#define KOLM_CONFIDENCE_MODEL 1u    /* from a model of this backend and this job */
#define KOLM_CONFIDENCE_MEASURED 2u /* from measurements of such jobs */

typedef struct kolm_cost_args {
    uint32_t struct_size;
    uint32_t epochs;                   /* 0: the backend's own default */
    uint64_t rows;                     /* training rows */
    uint64_t input_bytes;              /* bytes of all training inputs */
    uint64_t labels;                   /* distinct outputs; 0 unknown */
    uint64_t base_parameters;          /* parameters of the base model; 0 when there is none */
    uint64_t price_micro_usd_per_hour; /* the price in force (manifest or config override); UINT64_MAX unpriced */
    uint32_t cold_start_seconds;       /* from the manifest */
    uint32_t threads;                  /* processors that a local backend may use */
    const char *recipe;                /* "linear" or "lora" */
} kolm_cost_args_t;

typedef struct kolm_cost_result {
    uint32_t struct_size;
    uint32_t billing;        /* KOLM_BILLING_* */
    uint64_t duration_ms;    /* expected wall time, cold start included; UINT64_MAX unknown */
    uint64_t cost_micro_usd; /* expected bill; UINT64_MAX unknown */
    uint32_t confidence;     /* KOLM_CONFIDENCE_* */
    uint32_t reserved;       /* 0 */
    char basis[256];         /* what it was computed from, one line */
} kolm_cost_result_t;

/* ---- train and infer work on a job directory; docs/job-protocol.md in the SDK describes every file in it. */
typedef struct kolm_train_args {
    uint32_t struct_size;
    uint32_t threads;    /* processors to use, at least 1 */
    const char *job_dir; /* absolute; holds job.json, train.jsonl and eval.jsonl; the results are written into it */
} kolm_train_args_t;

typedef struct kolm_train_result {
    uint32_t struct_size;
    uint32_t reserved;         /* 0 */
    uint64_t billed_micro_usd; /* what it cost; UINT64_MAX unknown */
    char device[128];          /* the device that did it, one line */
    char toolchain[256];       /* engine and versions that the bytes of the model depend on */
} kolm_train_result_t;

typedef struct kolm_infer_args {
    uint32_t struct_size;
    uint32_t threads;
    const char *job_dir;     /* absolute; holds job.json, which names the model files */
    const char *input_path;  /* JSON lines of {"id","input"}; may be a pipe: read once, in order, never sought */
    const char *output_path; /* JSON lines of {"id","output","confidence"}; may be a pipe. One answer per input, in
                                order, flushed whenever the next input is not there yet. */
} kolm_infer_args_t;

typedef struct kolm_infer_result {
    uint32_t struct_size;
    uint32_t reserved;         /* 0 */
    uint64_t answers;          /* answers written */
    uint64_t billed_micro_usd; /* UINT64_MAX unknown */
    char device[128];
} kolm_infer_result_t;

/* ---- test: proves the backend before it is needed. Reports its steps through host->test_step. */
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

/* ---- The table */
typedef struct kolm_backend_v1_table {
    /* Frozen for ever: the host reads these before it believes anything else. */
    uint32_t struct_size;
    uint16_t abi_major;
    uint16_t abi_minor;         /* the minor the plugin was compiled with */
    uint64_t required_features; /* KOLM_FEATURE_* of the host without which the plugin cannot work */
    uint32_t fingerprint;       /* KOLM_FINGERPRINT */
    uint16_t host_minor_needed; /* the lowest host minor the plugin works with */
    uint16_t reserved;          /* 0 */
    uint64_t features;          /* KOLM_FEATURE_* that the plugin offers */
    /* Identity, all mandatory. */
    const char *name;    /* equals the file name without suffix and the manifest's name; [a-z][a-z0-9-]{0,31} */
    const char *version; /* the plugin's own */
    const char *vendor;
    const char *licence; /* SPDX expression */
    const char *homepage;
    /* Slots. */
    kolm_detect_fn detect;
    kolm_cost_fn cost;
    kolm_train_fn train;
    kolm_infer_fn infer;
    kolm_test_fn test;
    /* Version 1.0 ends here; later fields are appended below with the minor that brought them. */
} kolm_backend_v1_t;

#define KOLM_BACKEND_SYMBOL "kolm_backend_v1"

/* The sizes at 1.0: what a host or a plugin may count on, whatever it was compiled with. On 64-bit machines. */
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
