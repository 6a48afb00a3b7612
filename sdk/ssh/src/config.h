/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the reader of ssh_config. */
#ifndef KOLM_KIT_SSH_CONFIG_PARTS_H
#define KOLM_KIT_SSH_CONFIG_PARTS_H

#include "internal.h"
#include "kolm/kit/file.h"

/* ---- expand.c */

/* What tokens stand for. */
typedef struct ssh_names {
    const char *given; /* %n: the host as it was asked for */
    const char *host;  /* %h: after HostName */
    const char *user;  /* %r; NULL: the name of the one who runs this */
    const char *alias; /* HostKeyAlias, or NULL */
    uint16_t port;     /* %p */
} ssh_names;

enum { SSH_EXPAND_TILDE = 1, SSH_EXPAND_VARIABLES = 2 };
#define SSH_FILE_TOKENS "CdhikLlnpru"
#define SSH_JUMP_TOKENS "hnpr"
/* value with ~ at its head, then tokens (those listed; NULL: a % means itself) and ${VARIABLES} replaced, each once. An
 * unknown user, token or variable is INVALID_ARGUMENT, as it is for ssh. */
kit_status ssh_expand(const ssh_names *names, const char *value, const char *tokens, unsigned how, char **out,
                      kolm_error_t *err) KIT_MUST_USE;
void ssh_login_name(char out[KIT_SSH_USER_BYTES]); /* of this process; "" when nobody knows */

/* ---- The state of reading (config.c) */

typedef struct ssh_reader {
    const char *given; /* the host as the person named it */
    const char *host;  /* what Host is matched with: given, and in the final pass the name that HostName made of it */
    kit_ssh_config *config;
    bool no_files;   /* Include is not followed */
    bool of_user;    /* relative Includes are in ~/.ssh, not in /etc/ssh */
    bool active;     /* the current block is about this host */
    bool never;      /* the file was included by a block that is not */
    bool final;      /* the second pass */
    bool want_final; /* some Match asks for one */
    unsigned files;
    /* First values win: what was said already. */
    bool connect_timeout_set, checking_set, hash_set, identities_only_set, family_set, rsa_bits_set;
    bool jump_said, command_said; /* ProxyJump, ProxyCommand: the first of both wins */
    char *ignored;                /* IgnoreUnknown */
    /* Raw values, expanded at the end, when user and port are known. */
    kit_ssh_list identity_files, certificate_files, known_hosts, global_known_hosts, jumps;
    char *host_name, *identity_agent, *revoked_host_keys;
} ssh_reader;

typedef struct ssh_place {
    const char *file;
    unsigned line;
} ssh_place;

kit_status ssh_bad_line(kolm_error_t *err, const ssh_place *at, const char *format, ...) KIT_MUST_USE
    __attribute__((format(printf, 3, 4)));
/* Adds to the notes of the configuration: once, however often it is found. */
kit_status ssh_note(ssh_reader *r, const ssh_place *at, const char *what, kolm_error_t *err) KIT_MUST_USE;

/* ---- match.c */
/* rest: what follows "Match". *out_matches: the block counts. May set want_final. */
kit_status ssh_match(ssh_reader *r, const char *rest, const ssh_place *at, bool *out_matches,
                     kolm_error_t *err) KIT_MUST_USE;
/* Cuts the next word off *p as ssh does for keywords and criteria: ends at blanks or at one '=', or is in quotes. NULL
 * at the end, or where a quote is not closed. */
char *ssh_next_word(char **p);

/* ---- keywords.c */
/* One line that is neither Host, Match nor Include: checked whatever block it is in, and followed in an active one.
 * rest: after the keyword, for those that take the line as it is. */
kit_status ssh_apply(ssh_reader *r, const char *keyword, const kit_ssh_list *values, const char *rest,
                     const ssh_place *at, kolm_error_t *err) KIT_MUST_USE;

#endif
