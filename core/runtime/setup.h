/* SPDX-License-Identifier: Apache-2.0 */
/* Shared state of `kolm compute setup`: the request, the paths, and the steps that make an environment. */
#ifndef KOLM_RUNTIME_SETUP_H
#define KOLM_RUNTIME_SETUP_H

#include "runtime/lock.h"
#include "session/session.h"

/*
 * HOME/runtimes/NAME              the environment; complete iff it has runtime.json
 * HOME/runtimes/.NAME.partial     one being made: venv/ (recreated by every attempt, because pip trusts packages that
 *                                 it installed only partly), cache/ (pip's downloads, kept for the next attempt), tmp/,
 *                                 setup.log
 * HOME/runtimes/.NAME.old         the previous one, for the instant between two renames
 * HOME/runtimes/.NAME.lock        flock, held by kolm and by its child
 */
typedef struct setup {
    kolm_session *session;
    const struct host_backend *row; /* the backend */
    const char *trainer;            /* directory of the Python trainer, which has locks; NULL: not installed */
    store_home *home;
    /* The request. */
    const char *name, *from, *python, *use, *index_url;
    bool yes, remove;
    session_airgap airgap;
    /* Results. */
    runtime_lock lock;
    char *root, *place, *partial, *venv, *cache, *temporary, *log, *old;
    char *wheels;      /* --from, absolute */
    char *interpreter; /* for making the environment */
    char version[32];  /* of the interpreter */
    int lock_fd;
    session_reason reason; /* meaning of an error; NONE: that of its status */
    cJSON *about;          /* runtime.json of the existing or new environment */
} setup;

/* Finds the home, and computes the paths. */
kit_status setup_open(setup *s, kolm_error_t *err) KIT_MUST_USE;
void setup_close(setup *s);
/* Creates HOME/runtimes and takes the lock; waits briefly for the child of a killed kolm to exit. */
kit_status setup_take_lock(setup *s, kolm_error_t *err) KIT_MUST_USE;
/* Sets s->about if there is a complete environment whose Python can be run. */
void setup_look(setup *s);
/* Chooses the interpreter: s->python, else the first in PATH that the lock allows. */
kit_status setup_find_python(setup *s, kolm_error_t *err) KIT_MUST_USE;
/* Queries the Python at path; out_answer: {"version","major","minor","venv","executable",...}. */
kit_status setup_probe(const kolm_session *session, const char *path, cJSON **out_answer,
                       kolm_error_t *err) KIT_MUST_USE;
/* Reads the lock file into s->lock; the error says what to do if there is none, or it cannot be used here. */
kit_status setup_find_lock(setup *s, kolm_error_t *err) KIT_MUST_USE;
/* --from: finds the directory of wheels; airgap without one is an error. */
kit_status setup_find_wheels(setup *s, kolm_error_t *err) KIT_MUST_USE;
/* *out_whole: the existing environment was made from this lock and is unmodified. Warns if it was modified. */
kit_status setup_look_whole(setup *s, bool *out_whole, kolm_error_t *err) KIT_MUST_USE;
/* RESOURCE_EXHAUSTED if there is not enough disk space for making the environment. */
kit_status setup_check_disk(const setup *s, kolm_error_t *err) KIT_MUST_USE;
/* Warns if config.json names a Python that takes precedence over the environment. */
void setup_warn_of_own(const setup *s);
/* Writes s->use into config.json, if it is a Python. */
kit_status setup_use(setup *s, kolm_error_t *err) KIT_MUST_USE;

typedef struct setup_removed {
    bool there;     /* an environment, complete or not */
    bool forgotten; /* an entry of config.json */
    uint64_t bytes;
} setup_removed;
/* What setup_do did. */
typedef struct setup_done {
    const char *state; /* "made", "replaced", "kept", "removed", "nothing to remove" or "used"; static */
    char *python;      /* the one used from now on; NULL after a removal */
    bool kept;
    setup_removed removed;
} setup_done;
/* Runs the whole request after setup_open: removes, or uses the Python of --use, or makes the environment unless a
 * complete one exists. Before making one, sends the plan to the sink (SESSION_SETUP_PLAN) and, without --yes, asks for
 * confirmation (SESSION_CONFIRM). Call setup_done_free in every case. */
kit_status setup_do(setup *s, setup_done *out, kolm_error_t *err) KIT_MUST_USE;
void setup_done_free(setup_done *done);
/* Removes the environment and the entry of config.json. */
kit_status setup_remove(setup *s, setup_removed *out_removed, kolm_error_t *err) KIT_MUST_USE;
/* Total size of the files below path; 0 if it does not exist. */
uint64_t setup_bytes_below(const char *path);
/* Copies url without user name and password, truncated to capacity; returns out. */
const char *setup_shown_url(const char *url, char *out, size_t capacity);
/* The steps: venv, pip, runtime.json, rename. Needs the lock. Fills s->about. */
kit_status setup_make(setup *s, kolm_error_t *err) KIT_MUST_USE;

#endif
