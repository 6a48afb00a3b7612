/* SPDX-License-Identifier: Apache-2.0 */
/* Where an SSH target is and how to reach it: [user@]host[:port], and what ssh_config(5) says about that host. */
#ifndef KOLM_KIT_SSH_CONFIG_H
#define KOLM_KIT_SSH_CONFIG_H

#include "kolm/kit/status.h"
#include <stdbool.h>
#include <stddef.h>

#define KIT_SSH_USER_BYTES 128 /* with the NUL */
#define KIT_SSH_HOST_BYTES 256

typedef struct kit_ssh_target {
    char user[KIT_SSH_USER_BYTES]; /* "" when not given */
    char host[KIT_SSH_HOST_BYTES]; /* without brackets */
    uint16_t port;                 /* 0 when not given */
} kit_ssh_target;

/* "[user@]host[:port]" or "[user@][IPv6][:port]". An address with several colons and no brackets is IPv6 without a
 * port. INVALID_ARGUMENT for an empty part, a control character, a blank, a port outside 1..65535, a user or a host
 * that begins with '-' or holds a character that neither may have (of printable ASCII a host has letters, digits and
 * ._-:%). */
kit_status kit_ssh_target_parse(const char *text, kit_ssh_target *out_target, kolm_error_t *err) KIT_MUST_USE;

typedef struct kit_ssh_list {
    char **items;
    size_t count;
} kit_ssh_list;

/* What the configuration says about one host. Free with kit_ssh_config_free; zeroed is fine. */
typedef struct kit_ssh_config {
    char *host_name; /* HostName with %h replaced; the host itself when not set */
    char *user;      /* NULL when not set */
    uint16_t port;   /* 0 when not set */
    kit_ssh_list
        identity_files; /* in order, ~ and tokens expanded; "none" is dropped. Empty: the default names apply */
    kit_ssh_list certificate_files; /* likewise */
    bool identities_only;
    char *identity_agent;       /* IdentityAgent, expanded: a socket, or "none"; NULL when not set or SSH_AUTH_SOCK */
    kit_ssh_list proxy_jump;    /* hops in the order of travel, as written; empty: direct */
    kit_ssh_list known_hosts;   /* UserKnownHostsFile; empty when not set */
    uint32_t connect_timeout_s; /* 0 when not set */
    kit_ssh_list notes; /* what was skipped and may matter, one sentence each: "FILE line 4: Match is skipped" */
} kit_ssh_config;

/* Reads what the configuration says about host, as ssh_config(5) of OpenSSH 9 has it: the first value wins
 * (IdentityFile and CertificateFile add up), Host patterns with *, ? and !, Include with ~, patterns and at most 16
 * levels (a relative name is beside the first file), "Key value", "Key=value", quotes, comments. Honoured keys:
 * HostName, User, Port, IdentityFile, CertificateFile, IdentitiesOnly, IdentityAgent, ProxyJump, UserKnownHostsFile,
 * ConnectTimeout. Tokens: %h in HostName; %% %d %h %n %p %r %u in the file names. Match blocks are skipped whole, and
 * so are ProxyCommand and HostKeyAlias, each with a note; other keys are ignored. path NULL: ~/.ssh/config, then
 * /etc/ssh/ssh_config, either of which may be absent; "none": no file; else that file, which must exist. ~ is HOME
 * where the process is not set-uid, else the home of the passwd entry. A file that belongs to neither root nor this
 * user, or that others may write, is refused, as ssh does. Errors name file and line. */
kit_status kit_ssh_config_read(const char *path, const char *host, kit_ssh_config *out_config,
                               kolm_error_t *err) KIT_MUST_USE;
/* The same over the text of one file, without Include (each gives a note): no file is touched. For tests and fuzzing.
 */
kit_status kit_ssh_config_parse(const char *text, size_t length, const char *host, kit_ssh_config *out_config,
                                kolm_error_t *err) KIT_MUST_USE;
void kit_ssh_config_free(kit_ssh_config *config); /* leaves it zeroed; NULL is fine */

/* True when host matches a comma-separated list of patterns with *, ? and a leading !, letters in any case. A negated
 * pattern that matches makes the whole list fail; a list of negated ones alone matches nothing. */
bool kit_ssh_match_list(const char *host, const char *patterns);

#endif
