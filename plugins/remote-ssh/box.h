/* SPDX-License-Identifier: Apache-2.0 */
/* The machine that the remote-ssh backend uses: its name, its settings, and cached facts. */
#ifndef REMOTE_SSH_BOX_H
#define REMOTE_SSH_BOX_H

/*
 * KOLM_REMOTE_HOST is [user@]host[:port], or the name of an entry of backends.remote-ssh.boxes in config.json:
 *
 *     {"backends": {"remote-ssh": {
 *         "host_key": "accept-new",
 *         "boxes": {"lab": {"host": "ana@gpu.example.org:2222", "python": "/opt/torch/bin/python"}}}}}
 *
 * Each setting is searched in the box first, then next to "boxes". Any other key (except x-...), or a value of another
 * type, in any box is INVALID_ARGUMENT. Strings unless noted otherwise:
 *     host               [user@]host[:port]; only in a box, where it is required
 *     host_key           "": according to known_hosts; SHA256:...: that key; accept-new: any key of an unknown host
 *     identity_file      a local private key, tried before those of ~/.ssh/config
 *     known_hosts        a local file, instead of UserKnownHostsFile
 *     ssh_config         a local file, instead of the default ones; or "none"
 *     dir, python, kolm, engine, trainer, keep (true, false), patience_seconds (number)   see kit/ssh_job.h
 *     setup (true, false), wheels (a local directory), wheels_there, index_url            see kit/ssh_job.h
 *     connect_timeout_seconds, idle_timeout_seconds (numbers)
 * Local files and directories are absolute paths, in which ~, ~user and ${VARIABLE} are replaced.
 */

#include "kolm/kit/ssh_job.h"

#define BOX_VARIABLE "KOLM_REMOTE_HOST"
#define BOX_TEXT 1024

typedef struct box {
    char target[512]; /* the value of the variable */
    char host[512], host_key[128], identity_file[BOX_TEXT], known_hosts[BOX_TEXT], ssh_config[BOX_TEXT];
    char dir[BOX_TEXT], python[BOX_TEXT], kolm[BOX_TEXT], engine[BOX_TEXT], trainer[BOX_TEXT];
    char wheels[BOX_TEXT], wheels_there[BOX_TEXT], index_url[BOX_TEXT];
    char pinned[64]; /* the address that was checked to be private; "": not checked */
    const char *identities[1], *known[1];
    kit_ssh_job_settings settings; /* points into the box */
} box;

/* Returns what is wrong with [user@]host[:port] or [user@][IPv6][:port], or NULL. */
const char *box_fault(const char *target);

/* NOT_FOUND: the variable is not set. INVALID_ARGUMENT: it, or a setting, is invalid. */
kit_status box_read(const kolm_host_v1_t *host, box *out_box, kolm_error_t *err) KIT_MUST_USE;
/* The same for a given target, instead of the value of the variable. */
kit_status box_read_target(const kolm_host_v1_t *host, const char *target, box *out_box,
                           kolm_error_t *err) KIT_MUST_USE;
/* All known targets: that of the variable, if it is set, and the names of boxes. An array of strings, which the caller
 * must delete. */
kit_status box_targets(const kolm_host_v1_t *host, cJSON **out_targets, kolm_error_t *err) KIT_MUST_USE;
/* If this call may use only loopback and private addresses, resolves the host once and pins the address. */
kit_status box_pin(const kolm_host_v1_t *host, box *b, kolm_error_t *err) KIT_MUST_USE;

/* Facts of the machine, cached in ~/.cache/kolm/boxes by target; NULL if there are none, or they are older than a week.
 * The caller deletes them. kolm compute detect shows them, because it does not use the network. */
cJSON *box_remembered(const box *b);
/* Caches facts, with the host key added to them. Failures are ignored. */
void box_remember(const box *b, const char *host_key, cJSON *facts);
/* Reports the devices in facts to host->device, and stores a line about the machine in out_text. */
void box_tell(const kolm_host_v1_t *host, const cJSON *facts, char *out_text, size_t capacity);

#endif
