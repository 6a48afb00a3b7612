/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs on a machine reached by SSH: files are sent by digest, the job runs detached and is followed over any number of
 * connections. */
#ifndef KOLM_KIT_SSH_JOB_H
#define KOLM_KIT_SSH_JOB_H

#include "kolm/kit/json.h"
#include "kolm/kit/ssh.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-remote. The far end is one Python program (kolm_remote, whose opening.py describes the protocol)
 * that is sent over the connection and never installed; the far machine needs Python 3.6, an account, and nothing else.
 *
 * A job's id is the digest of the request: the same request again, after a lost connection, a suspend or a crash of
 * kolm, finds the running job or its result, and follows it. After a lost connection it reconnects for up to
 * patience_seconds. When the user stops the job, its whole process tree is ended (a checkpoint stays for the next run);
 * when kolm itself is killed, the job continues.
 *
 * Programs there. Recipe linear: the engine, a program of kolm with its libraries and loader, sent once to a machine of
 * the same architecture; on another architecture, or if settings name it, an installed kolm of the same version. Recipe
 * lora: kolm's trainer, sent once, run by an interpreter that has torch, transformers and peft: the one named by
 * settings, python3, or, if settings allow it, an environment that kolm creates there from the matching lock of
 * `kolm compute setup` (TRAINER/locks) and keeps for later jobs.
 *
 * Threads: a remote belongs to the thread of the slot. Errors: those of kit_ssh_open, and those that the far end
 * reports.
 */

/* How a bootstrap that failed to start ended. */
typedef struct kit_ssh_job_end {
    char words[300]; /* the end of its standard error, escaped; "" if it was empty */
    bool no_python;  /* the shell found no python3; over SSH, from its exit status */
} kit_ssh_job_end;

/* An alternative transport to the far end, for tests and for services that have one. Each member behaves like the
 * function of kit_ssh_channel of that name; close may be called several times, also after a failed open. */
typedef struct kit_ssh_job_wire {
    void *user;
    kit_status (*open)(void *user, kolm_error_t *err); /* starts the bootstrap; may be called again after close */
    kit_status (*write_all)(void *user, const void *bytes, size_t length, kolm_error_t *err);
    kit_status (*read)(void *user, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n, kolm_error_t *err);
    void (*end)(void *user, kit_ssh_job_end *out_end); /* may be NULL; waits at most a second */
    void (*close)(void *user);

    /* Lanes: additional streams, numbered 1 to lanes, over which uploads are spread if the window of one stream limits
     * them. 0: none; the functions below are not called. Each lane starts the bootstrap too. start, try_write and
     * try_read must not block; close must ignore a lane that was never started. */
    size_t lanes;
    int64_t lanes_from_ns; /* used if a round trip takes at least this long */
    kit_status (*lane_start)(void *user, size_t lane, bool *out_started, kolm_error_t *err);
    kit_status (*lane_try_write)(void *user, size_t lane, const void *bytes, size_t length, size_t *out_n,
                                 kolm_error_t *err);
    kit_status (*lane_try_read)(void *user, size_t lane, void *bytes, size_t capacity, size_t *out_n, bool *out_ended,
                                kolm_error_t *err);
    kit_status (*lane_write_all)(void *user, size_t lane, const void *bytes, size_t length, kolm_error_t *err);
    void (*lane_close)(void *user, size_t lane);
} kit_ssh_job_wire;

/* The command that `open` of a wire must run there in a shell. */
const char *kit_ssh_job_bootstrap(void);

/* Texts are "" or NULL if not set; everything must stay valid as long as the remote. */
typedef struct kit_ssh_job_settings {
    kit_ssh_options ssh;          /* its callbacks and user are set by the remote */
    const kit_ssh_job_wire *wire; /* NULL: ssh */
    const char *name;             /* the user's name for the machine */
    const char *backend;          /* the backend that uses it; remedies name its settings */
    const char *host_key;         /* "": according to known_hosts; "SHA256:...": this one; "accept-new": any unknown
                                     one */
    const char *dir;              /* directory there, absolute or beginning with ~/; default ~/.cache/kolm */
    const char *python;           /* interpreter there for the trainer; default python3 */
    const char *kolm;             /* path of a kolm there that runs the recipe linear, instead of the engine */
    const char *engine;           /* local path of the program to send for the recipe linear: kolm-linear */
    const char *trainer;          /* local directory of the trainer, with the locks below it */
    const char *wheels;           /* local directory of wheels to send; then nothing is downloaded there */
    const char *wheels_there;     /* directory of wheels there; likewise */
    const char *index_url;        /* replaces the indexes of the lock; may contain a password */
    bool setup;                   /* a Python environment may be created there */
    bool no_fetch;                /* the machine must not download anything */
    uint64_t patience_seconds;    /* how long to wait for a machine that is unreachable; 0: 900 */
    bool keep;                    /* jobs stay there after their results have been fetched */
} kit_ssh_job_settings;

typedef struct kit_ssh_job_remote kit_ssh_job_remote;
/* Connects and starts the far end. *out_remote is NULL on failure. */
kit_status kit_ssh_job_open(const kolm_host_v1_t *host, const kit_ssh_job_settings *settings,
                            kit_ssh_job_remote **out_remote, kolm_error_t *err) KIT_MUST_USE;
void kit_ssh_job_close(kit_ssh_job_remote *remote); /* no-op if NULL */

/* The facts of the machine: system, release, machine, libc, host, processor, cores, memory_total, memory_free (bytes or
 * null), disk_free, gpus [{kind, id, name, total, free, driver}], python {path, version, packages {}}, kolm {path,
 * version} or null, time. cards false: gpus are not queried. The caller deletes *out_facts. */
kit_status kit_ssh_job_facts(kit_ssh_job_remote *remote, bool cards, cJSON **out_facts, kolm_error_t *err) KIT_MUST_USE;
/* Ensures an interpreter for the recipe lora; creates the environment if it is missing and settings.setup allows it. It
 * becomes facts.python. FAILED_PRECONDITION if there is none; the text says why. */
kit_status kit_ssh_job_python(kit_ssh_job_remote *remote, cJSON *facts, kolm_error_t *err) KIT_MUST_USE;
/* "SHA256:..." of the machine's host key and the address that was connected to; "" on another wire. */
const char *kit_ssh_job_host_key(const kit_ssh_job_remote *remote);
const char *kit_ssh_job_address(const kit_ssh_job_remote *remote);

/* A watchdog on a rented machine: a process that outlives the connection and kolm. After the given time it stops all
 * jobs of this remote's directory, kills what is left of them 20 s later and, with power_off, shuts the machine down
 * (as root, or with sudo if that needs no password). It is armed, then read back by a second request, which returns the
 * seconds left in *out_left. It replaces one that is already armed. It has no access to the provider: if the provider
 * bills a machine that is off, the watchdog ends only the work, and the bill ends through the record of the rental
 * (kolm/rent/rent.h). It does not survive a reboot. */
kit_status kit_ssh_job_guard(kit_ssh_job_remote *remote, uint64_t seconds, bool power_off, uint64_t *out_left,
                             kolm_error_t *err) KIT_MUST_USE;

/* The local program that runs the recipe linear on a machine of the same architecture: kolm-linear next to the running
 * program, or in the plugins of its build tree. False, and "", if there is none. */
bool kit_ssh_job_engine(char *out_path, size_t capacity);

/* The slots. Both do the complete job, including reconnections. */
kit_status kit_ssh_job_train(kit_ssh_job_remote *remote, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                             kolm_error_t *err) KIT_MUST_USE;
/* Reads all inputs before sending anything; writes the answers once all have arrived. Model files may be slices. */
kit_status kit_ssh_job_infer(kit_ssh_job_remote *remote, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                             kolm_error_t *err) KIT_MUST_USE;
/* Trains a small job of the recipe linear there and fetches its model: out_note names the program used, out_digest is
 * the digest of the model. */
#define KIT_SSH_JOB_DIGEST 65
kit_status kit_ssh_job_rehearse(kit_ssh_job_remote *remote, char out_digest[KIT_SSH_JOB_DIGEST], char *out_note,
                                size_t capacity, kolm_error_t *err) KIT_MUST_USE;
/* The status slot for this machine: if prune is set, removes what has been unused for the given number of seconds
 * (except running jobs, and what another connection may be about to use), then reports what remains to host->holding.
 * *out_bytes: the bytes freed. */
kit_status kit_ssh_job_status(kit_ssh_job_remote *remote, const kolm_status_args_t *args, uint64_t *out_bytes,
                              kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
