/* SPDX-License-Identifier: Apache-2.0 */
/* The work on a rented machine, over SSH: a connection, a watchdog, a job, its results; as steps that do not wait. */
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
 *   arm      connects with the key of this rental, until sshd is there and takes it; pins the host key; arms the watchdog and reads
 *            it back (kit_ssh_job_guard); for a job that needs a GPU, waits until one is visible
 *   run      does the job (kit_ssh_job_train, kit_ssh_job_infer), cuts of the connection included; what it made comes home, checked
 *            against the digests of the far end
 *   collect  checks that it is here
 *
 * A step never waits: what may take long is done by a thread, which the next call asks whether it is done. So the clock of the
 * deadline, the budget and the looks at the provider go on while a job runs. kit_rent_ssh_stop tells that thread to end, which
 * cancels the job there, within seconds; call it as soon as the machine of states goes to destroying. Log, progress and metrics
 * reach the host from that thread, which its functions allow; the calls themselves are of one thread at a time.
 *
 * The host key. Where the provider tells it (kit_rent_box.host_key) no other is believed. Otherwise the first one that is shown is
 * believed, which the log says, and no other for the rest of the rental: an attacker would have to be there in the first
 * minute. Nothing is written to the user's known_hosts, whose files and configuration are not read.
 *
 * The watchdog is an end of the work without us: in watchdog_seconds, whatever became of kolm, it stops the job, and turns the
 * machine off where it may. It does not end the bill unless the provider stops billing a machine that is off. Most do not; there
 * the record of the rental, and kolm's next start, end it.
 */

typedef struct kit_rent_ssh kit_rent_ssh;

/* Zero-initialise it. What it points to must stay as long as the kit_rent_ssh; texts are "" or NULL where nothing is said. */
typedef struct kit_rent_ssh_options {
    const kolm_host_v1_t *host;
    const char *name;     /* how a person calls the machine: "lambda" */
    const char *user;     /* the account there */
    uint16_t port;        /* where the address has none; 0: 22 */
    const char *key_path; /* private key: kit_ssh_key_make */
    const char *engine;   /* as in kit_ssh_job_settings */
    const char *trainer;
    bool needs_gpu;            /* for recipe lora the machine has a GPU: it is waited for */
    bool power_off;            /* the watchdog may turn the machine off */
    uint64_t watchdog_seconds; /* 0: a day */
    /* What is done: one of the two; neither: the small training of kit_ssh_job_rehearse, twice (its digests must be the same). */
    const kolm_train_args_t *train;
    kolm_train_result_t *train_result;
    const kolm_infer_args_t *infer;
    kolm_infer_result_t *infer_result;
} kit_rent_ssh_options;

extern const kit_rent_work kit_rent_ssh_work;

kit_status kit_rent_ssh_open(const kit_rent_ssh_options *options, kit_rent_ssh **out, kolm_error_t *err) KIT_MUST_USE;
/* Replaces watchdog_seconds, before the machine is armed: what the budget allows is known once there is a price. */
void kit_rent_ssh_watch(kit_rent_ssh *ssh, uint64_t seconds);
/* Tells what runs to end; returns at once. What is started afterwards ends at once. */
void kit_rent_ssh_stop(kit_rent_ssh *ssh);
/* Waits until what runs has ended, at most so long. Returns true if something has ended that no call has asked about yet. */
bool kit_rent_ssh_wait(kit_rent_ssh *ssh, int64_t most_ms);
/* What was seen of the machine when it was armed: "NVIDIA H100, 80.0 GB free, ..."; "" before. */
const char *kit_rent_ssh_about(const kit_rent_ssh *ssh);
/* Stops what runs, waits for its end, closes the connection. No-op if NULL. */
void kit_rent_ssh_close(kit_rent_ssh *ssh);

#ifdef __cplusplus
}
#endif
#endif
