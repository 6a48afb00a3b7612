/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs on a machine reached by SSH: placed there by digest, run detached, followed over any number of connections. */
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
 * A job's number is the digest of what is asked: who asks the same again, after a cut, a sleep or the death of kolm,
 * finds the job that runs there, or its result, and follows it. A cut is mended by connecting again for
 * patience_seconds. When the user stops it, the whole process tree there is ended (and a checkpoint stays for the next
 * time); when kolm itself is killed the job goes on.
 *
 * What does the work there. Recipe linear: the engine, a program of ours with the libraries and the loader that it is
 * made of, sent once to a machine of the same architecture; on another one, or where settings name it, a kolm of the
 * same version there. Recipe lora: kolm's trainer, sent once, under an interpreter there that has torch, transformers
 * and peft: the one that settings name, python3, or an environment that kolm makes there when settings allow it, from
 * the lock of `kolm compute setup` that fits (TRAINER/locks), and keeps for later jobs.
 *
 * Threads: a remote belongs to the thread of the slot. Errors: those of kit_ssh_open, and what the far end says.
 */

/* Another way to the far end than SSH, for tests and for services that have one. Each behaves as the function of
 * kit_ssh_channel that it is named after; close is called after an open that failed, too, and several times. */
typedef struct kit_ssh_job_wire {
    void *user;
    kit_status (*open)(void *user, kolm_error_t *err); /* starts the bootstrap; again after close */
    kit_status (*write_all)(void *user, const void *bytes, size_t length, kolm_error_t *err);
    kit_status (*read)(void *user, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n, kolm_error_t *err);
    void (*last_words)(void *user, char *out_text, size_t capacity); /* the end of its standard error */
    void (*close)(void *user);

    /* Lanes: further streams beside the first, numbered 1 to lanes, over which uploads are spread where one stream's window
     * holds them back. 0: none, and the rest is not called. A lane starts the bootstrap again. None of start, try_write and
     * try_read waits; close leaves a lane that was never started alone. */
    size_t lanes;
    int64_t lanes_from_ns; /* worth it where an answer takes at least so long */
    kit_status (*lane_start)(void *user, size_t lane, bool *out_started, kolm_error_t *err);
    kit_status (*lane_try_write)(void *user, size_t lane, const void *bytes, size_t length, size_t *out_n,
                                 kolm_error_t *err);
    kit_status (*lane_try_read)(void *user, size_t lane, void *bytes, size_t capacity, size_t *out_n, bool *out_ended,
                                kolm_error_t *err);
    kit_status (*lane_write_all)(void *user, size_t lane, const void *bytes, size_t length, kolm_error_t *err);
    void (*lane_close)(void *user, size_t lane);
} kit_ssh_job_wire;

/* Texts are "" or NULL where nothing is said; all of it lives as long as the remote. */
typedef struct kit_ssh_job_settings {
    kit_ssh_options ssh;          /* its callbacks and user are set by the remote */
    const kit_ssh_job_wire *wire; /* NULL: ssh */
    const char *name;             /* how a person calls the machine */
    const char *backend;          /* "remote-ssh", for remedies */
    const char *host_key;         /* "": as known_hosts says; "SHA256:...": this one; "accept-new": any unknown one */
    const char *dir;              /* directory there, absolute or from ~/ on; default ~/.cache/kolm */
    const char *python;           /* interpreter there for the trainer; default python3 */
    const char *kolm;             /* kolm there that does the recipe linear, instead of the engine */
    const char *engine;           /* program here that is sent for the recipe linear: kolm-linear */
    const char *trainer;          /* directory here of the trainer, and of locks below it */
    const char *wheels;           /* directory here of wheels that are sent; then nothing is downloaded there */
    const char *wheels_there;     /* directory there of wheels; the same */
    const char *index_url;        /* in place of the indexes of the lock; may hold a password */
    bool setup;                   /* a Python environment may be made there */
    bool no_fetch;                /* the machine must not download anything */
    uint64_t patience_seconds;    /* for a machine that is away; 0: 900 */
    bool keep;                    /* jobs there stay when their results are home */
} kit_ssh_job_settings;

typedef struct kit_ssh_job_remote kit_ssh_job_remote;
/* Connects and starts the far end. *out_remote is NULL on failure. */
kit_status kit_ssh_job_open(const kolm_host_v1_t *host, const kit_ssh_job_settings *settings,
                            kit_ssh_job_remote **out_remote, kolm_error_t *err) KIT_MUST_USE;
void kit_ssh_job_close(kit_ssh_job_remote *remote); /* NULL is fine */

/* The facts of the machine: system, release, machine, libc, host, processor, cores, memory_total, memory_free (bytes or
 * null), disk_free, gpus [{kind, id, name, total, free, driver}], python {path, version, packages {}}, kolm {path,
 * version} or null, time. cards false: gpus are not asked for. The caller deletes *out_facts. */
kit_status kit_ssh_job_facts(kit_ssh_job_remote *remote, bool cards, cJSON **out_facts, kolm_error_t *err) KIT_MUST_USE;
/* Makes sure of an interpreter for the recipe lora, and makes the environment now when it is missing and settings.setup
 * says so. It becomes facts.python. FAILED_PRECONDITION: there is none; the text says why. */
kit_status kit_ssh_job_python(kit_ssh_job_remote *remote, cJSON *facts, kolm_error_t *err) KIT_MUST_USE;
/* "SHA256:..." of the machine's host key and the address that was connected to; "" on another wire. */
const char *kit_ssh_job_host_key(const kit_ssh_job_remote *remote);
const char *kit_ssh_job_address(const kit_ssh_job_remote *remote);

/* A watchdog there, for a machine that is rented: a process that outlives the connection and kolm. In so many seconds it stops all
 * jobs of this remote's directory, kills what is left of them after 20 s and, with power_off, shuts the machine down (as root, or by
 * sudo where that asks for no password). It is armed and then read back by a second request, and *out_left is what that one said:
 * seconds until then. One that is armed already is replaced.
 * It knows nothing of the provider and has no key of it. Where a machine that is off is still billed it only ends the work: what ends
 * the bill is the record of the rental and who reads it (kolm/rent/rent.h). It does not survive a restart of the machine. */
kit_status kit_ssh_job_guard(kit_ssh_job_remote *remote, uint64_t seconds, bool power_off, uint64_t *out_left,
                             kolm_error_t *err) KIT_MUST_USE;

/* The program here that does the recipe linear on a machine of the same architecture: kolm-linear beside the running program, or in
 * its room of a build tree. False, and "", if there is none. */
bool kit_ssh_job_engine(char *out_path, size_t capacity);

/* The slots. Both do the whole of it, cuts included. */
kit_status kit_ssh_job_train(kit_ssh_job_remote *remote, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                             kolm_error_t *err) KIT_MUST_USE;
/* Inputs are read to their end before anything is sent; answers come when all are there. Model files may be slices. */
kit_status kit_ssh_job_infer(kit_ssh_job_remote *remote, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                             kolm_error_t *err) KIT_MUST_USE;
/* Trains a small job of the recipe linear there and brings its model home: note says by what, digest is the model's. */
#define KIT_SSH_JOB_DIGEST 65
kit_status kit_ssh_job_rehearse(kit_ssh_job_remote *remote, char out_digest[KIT_SSH_JOB_DIGEST], char *out_note,
                                size_t capacity, kolm_error_t *err) KIT_MUST_USE;
/* The slot status for this machine: removes what has been unused for so many seconds if prune is set (running jobs stay, and what
 * another connection may be about to use), then reports what is there to host->holding. *out_bytes: what was freed. */
kit_status kit_ssh_job_status(kit_ssh_job_remote *remote, const kolm_status_args_t *args, uint64_t *out_bytes,
                              kolm_error_t *err) KIT_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
