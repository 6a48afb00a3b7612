/* SPDX-License-Identifier: Apache-2.0 */
/* The work on a rented machine over SSH, as non-blocking steps: the connection, the watchdog, the job, its results. */
#ifndef KOLM_RENT_SSH_H
#define KOLM_RENT_SSH_H

#include "kolm/kit/ssh_job.h"
#include "kolm/rent/rent.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-vm. kit_rent_ssh_work is a kit_rent_work whose user is a kit_rent_ssh:
 *
 *   arm      connects with the key of this rental, retrying until sshd accepts it; pins the host key; arms the watchdog
 *            and reads it back (kit_ssh_job_guard); for a job that needs a GPU, waits until one is visible
 *   run      runs the job (kit_ssh_job_train, kit_ssh_job_infer), with reconnections; fetches the results and checks
 *            them against the digests of the far end
 *   collect  checks that the results are here
 *
 * A step never blocks: a thread does long work, which the next call polls. So deadline, budget and polling of the
 * provider continue while a job runs. kit_rent_ssh_stop ends that thread, which cancels the job there within seconds;
 * call it as soon as the state machine enters destroying. That thread calls log, progress and metric of the host (which
 * are thread-safe); the functions below are for one thread at a time.
 *
 * The host key. If the provider reports it (kit_rent_box.host_key), no other is accepted. Otherwise the first one
 * presented is accepted and logged, and no other for the rest of the rental: an attacker would have to intercept the
 * first minute. The user's known_hosts and SSH configuration are neither read nor written.
 *
 * The watchdog ends the work without kolm: after watchdog_seconds it stops the job, and turns the machine off if
 * allowed. That ends the bill only if the provider does not bill a machine that is off. Most do; then kolm's next start
 * ends it, from the record of the rental.
 */

typedef struct kit_rent_ssh kit_rent_ssh;

/* A connection to the far end that is not SSH. Its functions are called by one thread at a time. */
typedef struct kit_rent_wire {
    kit_ssh_job_wire wire;
    void (*point)(void *user, const kit_rent_box *box); /* selects the machine, before open */
    void (*free)(void *user);                           /* also closes it */
} kit_rent_wire;

/* Zero-initialise it. What it points to must stay valid as long as the kit_rent_ssh; texts are "" or NULL if not
 * set. */
typedef struct kit_rent_ssh_options {
    const kolm_host_v1_t *host;
    const char *name; /* the user's name for the machine: "lambda" */
    /* Instead of SSH: called by kit_rent_ssh_open to create the connection, with these host services. NULL: SSH, with
     * the next three */
    kit_status (*wire_new)(const kolm_host_v1_t *host, kit_rent_wire **out, kolm_error_t *err);
    const char *user;     /* the account there */
    uint16_t port;        /* if the address has none; 0: 22 */
    const char *key_path; /* private key: kit_ssh_key_make */
    const char *engine;   /* as in kit_ssh_job_settings */
    const char *trainer;
    bool needs_gpu;            /* the machine has a GPU, which recipe lora waits for */
    bool power_off;            /* the watchdog may turn the machine off */
    uint64_t watchdog_seconds; /* 0: a day */
    /* The job: one of the two. Neither: the small training of kit_ssh_job_rehearse, twice (with equal digests). */
    const kolm_train_args_t *train;
    kolm_train_result_t *train_result;
    const kolm_infer_args_t *infer;
    kolm_infer_result_t *infer_result;
} kit_rent_ssh_options;

extern const kit_rent_work kit_rent_ssh_work;

kit_status kit_rent_ssh_open(const kit_rent_ssh_options *options, kit_rent_ssh **out, kolm_error_t *err) KIT_MUST_USE;
/* Replaces watchdog_seconds before the watchdog is armed: the time that the budget allows is known only once there is a
 * price. */
void kit_rent_ssh_watch(kit_rent_ssh *ssh, uint64_t seconds);
/* Stops the running work without waiting. Work started afterwards ends at once. */
void kit_rent_ssh_stop(kit_rent_ssh *ssh);
/* Waits at most most_ms for the running work to end. Returns true if work has ended whose result was not polled yet. */
bool kit_rent_ssh_wait(kit_rent_ssh *ssh, int64_t most_ms);
/* A description of the machine: "NVIDIA H100, 80.0 GB free, ..."; "" until it is armed. */
const char *kit_rent_ssh_about(const kit_rent_ssh *ssh);
/* Stops the running work, waits for its end, closes the connection. No-op if NULL. */
void kit_rent_ssh_close(kit_rent_ssh *ssh);

#ifdef __cplusplus
}
#endif
#endif
