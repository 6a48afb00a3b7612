/* SPDX-License-Identifier: Apache-2.0 */
/* One call from the asking to the verdict, and many of them at once. */
#ifndef KOLM_HOST_RUN_H
#define KOLM_HOST_RUN_H

#include "host/call.h"
#include "host/internal.h"
#include "host/protocol.h"
#include "kolm/kit/child.h"
#include "kolm/kit/digest.h"

#include <sys/types.h>

/* One directory for the scratch of all calls of a batch. Locked while in use, so that the
 * next kolm can tell what a killed one left (scratch.c). */
typedef struct host_scratch {
    char *path;                 /* NULL: not made yet */
    int fd;                     /* holds the lock; -1: none */
    struct host_common *common; /* allow.c: what all calls of the batch may touch; NULL: not looked up yet */
} host_scratch;
#define HOST_SCRATCH_NONE ((host_scratch){.path = NULL, .fd = -1})

/* How far kolm-host has come, by its own word. A plugin shares its process and can write what it writes, so each step counts
 * once and in this order: what is said of the airgap is said before anything of the plugin's runs. */
typedef enum host_stage { HOST_STAGE_BEGUN, HOST_STAGE_FENCED, HOST_STAGE_LOADED, HOST_STAGE_DONE } host_stage;

/* The last lines that a plugin printed. */
#define HOST_TAIL_LINES 4
typedef struct host_tail {
    char lines[HOST_TAIL_LINES][208]; /* a ring */
    size_t next, count;
    char headline[208]; /* of a sanitizer's report; "" when there is none */
} host_tail;

/* What one call loads. */
typedef struct host_plugin_hold {
    const host_backend *row;     /* NULL: nothing is held */
    int fd;                      /* from which it is loaded; -1: by its path, if that is still the file `identity` */
    bool beside;                 /* it has libraries of its own beside it */
    bool named;                  /* under its whole path, as a debugger needs it */
    bool from_file;              /* and not from a copy */
    host_file_identity identity; /* of the file, when fd is -1 */
    char sha256[KIT_SHA256_HEX];
} host_plugin_hold;

/* All that belongs to one kolm-host process. */
typedef struct host_run {
    const host_backend *backend;
    const host_call_options *options;
    const char *slot;
    bool several;            /* one of a batch: only log lines are delivered, which say whose they are */
    int input_fd, output_fd; /* -1: none */
    int model_fd, lease_fd;  /* 0: none */
    cJSON *args;             /* owned */
    const char *job_dir;     /* NULL: the call has none */
    host_result *result;
    /* Filled while it runs. */
    bool prepared; /* has a request: may be started */
    bool started;
    bool ended; /* or never started, and has its verdict */
    bool garbled;
    host_stage stage;
    host_plugin_hold plugin;
    int own_errno; /* what kept kolm itself from talking with it; 0: nothing */
    kit_child_life life;
    int request_fd, reply_fd, log_fd, exit_fd; /* -1 when closed */
    kit_buf request;
    size_t request_sent;
    kit_buf reply, log;
    size_t log_bytes; /* printed so far */
    host_tail tail;
    bool mute;           /* the slot returned an error without a text */
    host_scratch *place; /* where scratch is made; shared by the batch */
    const host_registry *registry;
    const char *trainer; /* directory of the Python trainer; NULL: none */
    char *scratch;
    int64_t started_ms;
    int64_t timeout_ms, grace_ms; /* the time counts from the start: what waits for its turn loses none */
    uint64_t cpu_limit;           /* seconds of the processor's time; 0: none */
} host_run;

/* ---- ask.c */
/* Makes run->request, secrets included, and the scratch directory. */
kit_status host_run_ask(host_run *run, kolm_error_t *err) KIT_MUST_USE;
/* The environment of the process: at most this many entries and a NULL, each for the caller to free. */
kit_status host_environment(const host_manifest *manifest, const char *scratch, const host_audit *audit,
                            char ***out_env, kolm_error_t *err) KIT_MUST_USE;
void host_environment_free(char **env);
/* True for a variable that passes because this manifest requires it, and into no other backend's process. */
bool host_environment_own(const host_manifest *manifest, const char *name);

/* Appends what start() knows, how the plugin is to be loaded, and ends the request. */
kit_status host_run_ask_plugin(host_run *run, kolm_error_t *err) KIT_MUST_USE;

/* ---- sweep.c */
/* Looks for what is left in the sessions of these runs, group leaders of their own included; end: kills it. True when
 * there was any. */
bool host_run_sweep(const host_run *runs, size_t count, bool end);

/* ---- plugin.c */
/* Reads the plugin of the row unless it is held already, and holds it until it is left; keep: for as long as the registry
 * lives. */
kit_status host_plugin_take(const host_backend *row, bool keep, bool by_path, host_plugin_hold *out,
                            kolm_error_t *err) KIT_MUST_USE;
/* ABORTED when a file that was loaded by its path was written over meanwhile. Nothing when nothing is held. */
kit_status host_plugin_leave(host_plugin_hold *hold, host_plugin_fate *out_fate, kolm_error_t *err) KIT_MUST_USE;

/* ---- allow.c */
/* Puts into the request what the call may touch ("fence"), unless the user wants no fence around this backend. */
bool host_run_allow(const host_run *run, cJSON *request) KIT_MUST_USE;
void host_common_free(struct host_common *common);

/* ---- scratch.c */
/* light: for detect and cost, in memory where TMPDIR does not say otherwise. */
kit_status host_scratch_open(const host_call_options *options, bool light, host_scratch *out_scratch,
                             kolm_error_t *err) KIT_MUST_USE;
/* Makes the scratch directory of one backend; the path is for the caller to free. */
kit_status host_scratch_make(const host_scratch *scratch, const char *name, char **out_path,
                             kolm_error_t *err) KIT_MUST_USE;
/* Removes it with all that is in it, and what kolms that were killed left beside it. */
void host_scratch_end(host_scratch *scratch);

/* ---- answer.c */
/* One line of the reply; false when it is none that kolm-host would send, or when memory is out: own_errno tells. */
bool host_run_answer(host_run *run, const char *line, size_t length);
/* One line that the process printed. */
void host_run_printed(host_run *run, const char *text, size_t length);
/* Tells events->log that the file of the plugin is another one now, or gone, and what that means. */
void host_run_report_fate(const host_run *run);
/* Sets the verdict of a process that ended, from what it said and how it went. */
void host_run_conclude(host_run *run);

/* ---- words.c */
/* Puts [NAME] in the place of the value of each secret of the backend's, wherever it stands in a text of the plugin's. */
void host_run_hide(const host_run *run, kit_buf *text);
void host_run_hide_array(const host_run *run, char *text, size_t capacity);
/* Puts [scratch] in the place of the scratch directory, which is gone when an error is read. */
void host_run_hide_scratch(const host_run *run, char *text, size_t capacity);
void host_tail_add(host_tail *tail, const char *text);
/* Appends `; its last output: "..." "..."` to error->text, when there are any. */
void host_tail_quote(const host_tail *tail, kolm_error_t *error);

/* ---- run.c */
/* Runs those that are prepared at once until each has ended; their results have verdicts. Fails when this side could
 * not start a process; what was started is ended then. */
kit_status host_run_all(const char *program, host_run *runs, size_t count, kolm_error_t *err) KIT_MUST_USE;

#endif
