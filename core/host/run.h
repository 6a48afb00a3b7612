/* SPDX-License-Identifier: Apache-2.0 */
/* One call from request to verdict, and many in parallel. */
#ifndef KOLM_HOST_RUN_H
#define KOLM_HOST_RUN_H

#include "host/call.h"
#include "host/internal.h"
#include "host/protocol.h"
#include "kolm/kit/child.h"
#include "kolm/kit/digest.h"

#include <sys/types.h>

/* One directory for the scratch of all calls of a batch. Locked while in use, so that the next kolm recognises
 * leftovers of a killed one (scratch.c). */
typedef struct host_scratch {
    char *path;                 /* NULL: not made yet */
    int fd;                     /* holds the lock; -1: none */
    struct host_common *common; /* allow.c: what all calls of the batch may touch; NULL: not looked up yet */
} host_scratch;
#define HOST_SCRATCH_NONE ((host_scratch){.path = NULL, .fd = -1})

/* The progress that kolm-host reports. A plugin shares its process and could forge these lines, so each step counts
 * once and only in this order: the airgap is reported before any code of the plugin runs. */
typedef enum host_stage { HOST_STAGE_BEGUN, HOST_STAGE_FENCED, HOST_STAGE_LOADED, HOST_STAGE_DONE } host_stage;

/* The last lines that a plugin printed. */
#define HOST_TAIL_LINES 4
typedef struct host_tail {
    char lines[HOST_TAIL_LINES][208]; /* a ring */
    size_t next, count;
    char headline[208]; /* of a sanitizer's report; "" if none */
} host_tail;

/* What one call loads. */
typedef struct host_plugin_hold {
    const host_backend *row;     /* NULL: nothing is held */
    int fd;                      /* from which it is loaded; -1: by its path, if that still is the file `identity` */
    bool beside;                 /* it has its own libraries next to it */
    bool named;                  /* by its full path, as a debugger needs it */
    bool from_file;              /* and not from a copy */
    host_file_identity identity; /* of the file, when fd is -1 */
    char sha256[KIT_SHA256_HEX];
} host_plugin_hold;

/* All that belongs to one kolm-host process. */
typedef struct host_run {
    const host_backend *backend;
    const host_call_options *options;
    const char *slot;
    bool several;            /* part of a batch: only log lines are delivered, with the backend's name */
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
    int own_errno; /* kolm's own error in talking to it; 0: none */
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
    int64_t timeout_ms, grace_ms; /* time counts from its start: waiting for a turn does not count */
    uint64_t cpu_limit;           /* seconds of the processor's time; 0: none */
} host_run;

/* ---- ask.c */
/* Makes run->request, secrets included, and the scratch directory. */
kit_status host_run_ask(host_run *run, kolm_error_t *err) KIT_MUST_USE;
/* The environment of the process: at most this many entries and a NULL, each for the caller to free. */
kit_status host_environment(const host_manifest *manifest, const char *scratch, const host_audit *audit,
                            char ***out_env, kolm_error_t *err) KIT_MUST_USE;
void host_environment_free(char **env);
/* True for a variable that is passed because this manifest requires it, and to no other backend's process. */
bool host_environment_own(const host_manifest *manifest, const char *name);

/* Appends what start() knows, how the plugin is to be loaded, and ends the request. */
kit_status host_run_ask_plugin(host_run *run, kolm_error_t *err) KIT_MUST_USE;

/* ---- sweep.c */
/* Finds processes left in the sessions of these runs, including own group leaders; end: kills them. True if there were
 * any. */
bool host_run_sweep(const host_run *runs, size_t count, bool end);

/* ---- plugin.c */
/* Reads the plugin of the row unless it is held already, and holds it until it is released; keep: as long as the
 * registry exists. */
kit_status host_plugin_take(const host_backend *row, bool keep, bool by_path, host_plugin_hold *out,
                            kolm_error_t *err) KIT_MUST_USE;
/* ABORTED if a file that was loaded by its path was overwritten in the meantime. No-op if nothing is held. */
kit_status host_plugin_leave(host_plugin_hold *hold, host_plugin_fate *out_fate, kolm_error_t *err) KIT_MUST_USE;

/* ---- allow.c */
/* Adds what the call may access ("fence") to the request, unless the user disabled the fence for this backend. */
bool host_run_allow(const host_run *run, cJSON *request) KIT_MUST_USE;
void host_common_free(struct host_common *common);

/* ---- scratch.c */
/* light: for detect and cost, in memory unless TMPDIR is set. */
kit_status host_scratch_open(const host_call_options *options, bool light, host_scratch *out_scratch,
                             kolm_error_t *err) KIT_MUST_USE;
/* Makes the scratch directory of one backend; the path is for the caller to free. */
kit_status host_scratch_make(const host_scratch *scratch, const char *name, char **out_path,
                             kolm_error_t *err) KIT_MUST_USE;
/* Removes it with its contents, and what killed kolms left next to it. */
void host_scratch_end(host_scratch *scratch);

/* ---- answer.c */
/* One line of the reply; false if kolm-host would not send it, or if out of memory, see own_errno. */
bool host_run_answer(host_run *run, const char *line, size_t length);
/* One line that the process printed. */
void host_run_printed(host_run *run, const char *text, size_t length);
/* Reports to events->log that the file of the plugin was replaced or removed, and what that means. */
void host_run_report_fate(const host_run *run);
/* Sets the verdict of a process that ended, from its reply and its exit status. */
void host_run_conclude(host_run *run);

/* ---- words.c */
/* Replaces the value of each secret of the backend by [NAME] in a text of the plugin. */
void host_run_hide(const host_run *run, kit_buf *text);
void host_run_hide_array(const host_run *run, char *text, size_t capacity);
/* Replaces the path of the scratch directory by [scratch], because it no longer exists when an error is read. */
void host_run_hide_scratch(const host_run *run, char *text, size_t capacity);
void host_tail_add(host_tail *tail, const char *text);
/* Appends `; its last output: "..." "..."` to error->text, when there are any. */
void host_tail_quote(const host_tail *tail, kolm_error_t *error);

/* ---- run.c */
/* Runs all prepared ones in parallel until each has ended and has a verdict. Fails if a process could not be started;
 * those already started are ended then. */
kit_status host_run_all(const char *program, host_run *runs, size_t count, kolm_error_t *err) KIT_MUST_USE;

#endif
