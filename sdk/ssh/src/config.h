/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the parser of ssh_config. */
#ifndef KOLM_KIT_SSH_CONFIG_PARTS_H
#define KOLM_KIT_SSH_CONFIG_PARTS_H

#include "internal.h"
#include "kolm/kit/file.h"

/* ---- expand.c */

/* The values of tokens. */
typedef struct ssh_names {
    const char *given; /* %n: the host as given */
    const char *host;  /* %h: after HostName */
    const char *user;  /* %r; NULL: the user of this process */
    const char *alias; /* HostKeyAlias, or NULL */
    uint16_t port;     /* %p */
} ssh_names;

enum { SSH_EXPAND_TILDE = 1, SSH_EXPAND_VARIABLES = 2 };
#define SSH_FILE_TOKENS "CdhikLlnpru"
#define SSH_JUMP_TOKENS "hnpr"
/* Replaces a leading ~, then tokens (those listed; NULL: % is an ordinary character) and ${VARIABLES} in value, each
 * once. An unknown user, token or variable is INVALID_ARGUMENT, as for ssh. */
kit_status ssh_expand(const ssh_names *names, const char *value, const char *tokens, unsigned how, char **out,
                      kolm_error_t *err) KIT_MUST_USE;
void ssh_login_name(char out[KIT_SSH_USER_BYTES]); /* of this process; "" if unknown */

/* ---- The state of the parser (config.c) */

typedef struct ssh_reader {
    const char *given; /* the host as given by the user */
    const char *host;  /* matched with Host: given, or in the final pass the result of HostName */
    kit_ssh_config *config;
    bool no_files;   /* Include is not followed */
    bool of_user;    /* relative Includes are in ~/.ssh, not in /etc/ssh */
    bool active;     /* the current block applies to this host */
    bool never;      /* the file was included by a block that does not */
    bool final;      /* the second pass */
    bool want_final; /* some Match requires a second pass */
    unsigned files;
    /* The first value wins: these are already set. */
    bool connect_timeout_set, checking_set, hash_set, identities_only_set, family_set, rsa_bits_set;
    bool jump_said, command_said; /* ProxyJump, ProxyCommand: whichever comes first wins */
    char *ignored;                /* IgnoreUnknown */
    /* Raw values, expanded at the end, once user and port are known. */
    kit_ssh_list identity_files, certificate_files, known_hosts, global_known_hosts, jumps;
    char *host_name, *identity_agent, *revoked_host_keys;
} ssh_reader;

typedef struct ssh_place {
    const char *file;
    unsigned line;
} ssh_place;

kit_status ssh_bad_line(kolm_error_t *err, const ssh_place *at, const char *format, ...) KIT_MUST_USE
    __attribute__((format(printf, 3, 4)));
/* Adds a note to the configuration, unless it is already there. */
kit_status ssh_note(ssh_reader *r, const ssh_place *at, const char *what, kolm_error_t *err) KIT_MUST_USE;

/* ---- match.c */
/* rest: what follows "Match". *out_matches: the block applies. May set want_final. */
kit_status ssh_match(ssh_reader *r, const char *rest, const ssh_place *at, bool *out_matches,
                     kolm_error_t *err) KIT_MUST_USE;
/* Extracts the next word from *p as ssh does for keywords and criteria: up to blanks or one '=', or in quotes. NULL at
 * the end, or if a quote is not closed. */
char *ssh_next_word(char **p);

/* ---- keywords.c */
/* Handles a line that is neither Host, Match nor Include: checks it in any block, and applies it in an active one.
 * rest: the text after the keyword, for keywords that use the line unparsed. */
kit_status ssh_apply(ssh_reader *r, const char *keyword, const kit_ssh_list *values, const char *rest,
                     const ssh_place *at, kolm_error_t *err) KIT_MUST_USE;

#endif
