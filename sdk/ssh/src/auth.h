/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the authentication. */
#ifndef KOLM_KIT_SSH_AUTH_PARTS_H
#define KOLM_KIT_SSH_AUTH_PARTS_H

#include "internal.h"

#define SSH_CERTIFICATE_SUFFIX "-cert-v01@openssh.com"
#define SSH_LIBSSH2_1_11 0x010b00 /* supports rsa-sha2 and more certificates */

/* Public halves: a plain key, or a certificate. */
typedef struct ssh_public_key {
    uint8_t *blob;
    size_t length;
    char type[64];
} ssh_public_key;

typedef struct ssh_identity {
    char *path;
    ssh_public_key plain;      /* length 0 if there is no readable public half */
    kit_ssh_list certificates; /* files */
    bool public_only;          /* path is a public key: the private one can only be in the agent */
    bool exists, encrypted, exposed;
} ssh_identity;

typedef struct ssh_attempt {
    kit_ssh *ssh;
    const kit_ssh_options *options;
    const kit_ssh_config *config;
    ssh_identity *identities;
    size_t identity_count;
    ssh_agent *agent;
    kit_buf tried; /* "FILE (refused), ..." */
    unsigned offers;
    bool authenticated;
    bool old_rsa;       /* an RSA key was refused for which this libssh2 supports only SHA-1 signatures */
    char *methods;      /* "publickey,password": what the server accepts now */
    char *first_factor; /* the key that it accepted before it required more; NULL: none */
} ssh_attempt;

void ssh_say_tried(ssh_attempt *a, const char *name, const char *outcome);
/* Returns why a key is not used: not supported by libssh2 or excluded by the configuration. NULL: try it. */
const char *ssh_unusable(const ssh_attempt *a, const uint8_t *blob, size_t length, const char *type);

/* ---- Reading keys (identity.c) */
kit_status ssh_public_read(const char *path, ssh_public_key *out, kolm_error_t *err) KIT_MUST_USE;
/* *out_before: when the certificate expires, in seconds since 1970. */
bool ssh_certifies(const ssh_public_key *certificate, const ssh_public_key *plain, uint64_t *out_before);
kit_status ssh_identities_find(ssh_attempt *a, kolm_error_t *err) KIT_MUST_USE;

/* ---- After a key was accepted (factor.c) */
/* Call after a refused signature: the server may have accepted the key and require more. Then sets first_factor and
 * methods. */
kit_status ssh_factor_look(ssh_attempt *a, const char *name, kolm_error_t *err) KIT_MUST_USE;
/* Handles a second factor without interaction: authenticated, or an error that names it. */
kit_status ssh_factor_second(ssh_attempt *a, kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_ask_methods(ssh_attempt *a, char **out_methods, kolm_error_t *err) KIT_MUST_USE;

#endif
