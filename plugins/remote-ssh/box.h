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
 * Each setting is looked for in the box first, then beside "boxes". These are all that there are; another key (but
 * for x-...), or a value of another type, in any box is INVALID_ARGUMENT. Texts but where noted:
 *     host               [user@]host[:port]; of a box only, and every box has it
 *     host_key           "" as known_hosts says; SHA256:... that key; accept-new any key of a host that is not known
 *     identity_file      a private key here, tried before those of ~/.ssh/config
 *     known_hosts        a file here, instead of UserKnownHostsFile
 *     ssh_config         a file here, instead of the usual ones; "none"
 *     dir, python, kolm, engine, trainer, keep (true, false), patience_seconds (number)   see kit/ssh_job.h
 *     setup (true, false), wheels (a directory here), wheels_there, index_url             see kit/ssh_job.h
 *     connect_timeout_seconds, idle_timeout_seconds (numbers)
 * Files and directories here are whole paths, in which ~, ~user and ${VARIABLE} are replaced.
 */

#include "kolm/kit/ssh_job.h"

#define BOX_VARIABLE "KOLM_REMOTE_HOST"
#define BOX_TEXT 1024

typedef struct box {
    char target[512]; /* as the variable has it */
    char host[512], host_key[128], identity_file[BOX_TEXT], known_hosts[BOX_TEXT], ssh_config[BOX_TEXT];
    char dir[BOX_TEXT], python[BOX_TEXT], kolm[BOX_TEXT], engine[BOX_TEXT], trainer[BOX_TEXT];
    char wheels[BOX_TEXT], wheels_there[BOX_TEXT], index_url[BOX_TEXT];
    char pinned[64]; /* the address that was found to be private; "": none was looked for */
    const char *identities[1], *known[1];
    kit_ssh_job_settings settings; /* points into the box */
} box;

/* What is wrong with [user@]host[:port] or [user@][IPv6][:port], or NULL. */
const char *box_fault(const char *target);

/* NOT_FOUND: the variable is not set. INVALID_ARGUMENT: it, or a setting, makes no sense. */
kit_status box_read(const kolm_host_v1_t *host, box *out_box, kolm_error_t *err) KIT_MUST_USE;
/* The same for a target that is known already: what the variable would say. */
kit_status box_read_target(const kolm_host_v1_t *host, const char *target, box *out_box,
                           kolm_error_t *err) KIT_MUST_USE;
/* All targets that are known: the variable's, if it is set, and the names of boxes. An array of strings, to be
 * deleted. */
kit_status box_targets(const kolm_host_v1_t *host, cJSON **out_targets, kolm_error_t *err) KIT_MUST_USE;
/* When this call may use only loopback and private addresses: resolves the host once and pins the address. */
kit_status box_pin(const kolm_host_v1_t *host, box *b, kolm_error_t *err) KIT_MUST_USE;

/* Facts of the machine, kept in ~/.cache/kolm/boxes under the target; NULL when there are none, or they are older than
 * a week. The caller deletes them. They are shown by kolm compute detect, which does not use the network. */
cJSON *box_remembered(const box *b);
/* Failing to keep them is nothing. facts gets the host key. */
void box_remember(const box *b, const char *host_key, cJSON *facts);
/* Their devices go to host->device; a line about the machine to out_text. */
void box_tell(const kolm_host_v1_t *host, const cJSON *facts, char *out_text, size_t capacity);

#endif
