/* SPDX-License-Identifier: Apache-2.0 */
/* Parses an SSH target, [user@]host[:port], and reads the configuration of that host, as described in ssh_config(5). */
#ifndef KOLM_KIT_SSH_CONFIG_H
#define KOLM_KIT_SSH_CONFIG_H

#include "kolm/kit/status.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_SSH_USER_BYTES 128 /* with the NUL */
#define KIT_SSH_HOST_BYTES 256

typedef struct kit_ssh_target {
    char user[KIT_SSH_USER_BYTES]; /* "" if not given */
    char host[KIT_SSH_HOST_BYTES]; /* without brackets */
    uint16_t port;                 /* 0 if not given */
} kit_ssh_target;

/* "[user@]host[:port]" or "[user@][IPv6][:port]". An address with several colons and no brackets is IPv6 without a
 * port. INVALID_ARGUMENT for an empty part, a control character, a blank, a port outside 1..65535, or a user or host
 * that begins with '-' or contains a character not allowed in it (of printable ASCII, a host may have letters, digits
 * and ._-:%). */
kit_status kit_ssh_target_parse(const char *text, kit_ssh_target *out_target, kolm_error_t *err) KIT_MUST_USE;

typedef struct kit_ssh_list {
    char **items;
    size_t count;
} kit_ssh_list;
/* Appends a copy. */
kit_status kit_ssh_list_add(kit_ssh_list *list, const char *text, size_t length, kolm_error_t *err) KIT_MUST_USE;
bool kit_ssh_list_has(const kit_ssh_list *list, const char *text);
void kit_ssh_list_free(kit_ssh_list *list);

/* StrictHostKeyChecking. There is no prompt here: ASK, the default, refuses like YES. */
typedef enum kit_ssh_checking {
    KIT_SSH_CHECK_ASK,
    KIT_SSH_CHECK_YES,
    KIT_SSH_CHECK_ACCEPT_NEW,
    KIT_SSH_CHECK_OFF, /* "no", "off" */
} kit_ssh_checking;

/* The configuration of one host. Free with kit_ssh_config_free; it may be zeroed. NULL, 0 and false mean not set unless
 * stated otherwise. */
typedef struct kit_ssh_config {
    char *host_name;             /* HostName with %h replaced, in lower case; the host itself if not set */
    char *user;                  /* the target's, else User */
    uint16_t port;               /* the target's, else Port */
    kit_ssh_list identity_files; /* in order, expanded; "none" is dropped */
    bool identity_files_set;     /* IdentityFile was given: the default names do not apply, even if the list is empty */
    kit_ssh_list certificate_files;
    bool certificate_files_set; /* then FILE-cert.pub next to a key is not used */
    bool identities_only;
    char *identity_agent;    /* IdentityAgent, expanded: a socket, or "none"; NULL if not set or SSH_AUTH_SOCK */
    kit_ssh_list proxy_jump; /* hops in the order of travel, each as [user@]host[:port]; empty: direct */
    kit_ssh_list known_hosts;
    bool known_hosts_set; /* UserKnownHostsFile was given; with an empty list: "none" */
    kit_ssh_list global_known_hosts;
    bool global_known_hosts_set; /* likewise; not given: /etc/ssh/ssh_known_hosts and ssh_known_hosts2 */
    char *host_key_alias;        /* in lower case */
    kit_ssh_checking host_key_checking;
    bool hash_known_hosts;
    char *revoked_host_keys; /* RevokedHostKeys, expanded */
    uint32_t connect_timeout_s;
    int address_family; /* AF_UNSPEC, AF_INET, AF_INET6 */
    /* Lists of algorithms as written, with their leading +, - or ^. */
    char *ciphers;
    char *macs;
    char *kex_algorithms;
    char *host_key_algorithms;
    char *pubkey_algorithms;
    uint32_t least_rsa_bits; /* RequiredRSASize */
    kit_ssh_list notes;      /* skipped parts that may matter, one sentence each: "FILE line 4: BindAddress ..." */
} kit_ssh_config;

/* Reads the configuration for a target, as documented in ssh_config(5) of OpenSSH 9, with the same results as `ssh -G`:
 * the first value wins (IdentityFile and CertificateFile add up); Host with *, ? and !; Match with all, host,
 * originalhost, user, localuser, final and canonical, each also negated, and the second pass that final requires;
 * Include with ~, patterns and at most 16 levels, relative names being in ~/.ssh (in /etc/ssh for the system's file);
 * "Key value", "Key=value", quotes, comments. Lines of other hosts are checked too: a file that ssh refuses is refused
 * here.
 *
 * Supported: AddressFamily, CertificateFile, Ciphers, ConnectTimeout, GlobalKnownHostsFile, HashKnownHosts,
 * HostKeyAlgorithms, HostKeyAlias, HostName, IdentitiesOnly, IdentityAgent, IdentityFile, IgnoreUnknown, KexAlgorithms,
 * MACs, Port, ProxyJump, PubkeyAcceptedAlgorithms, RefuseConnection, RequiredRSASize, RevokedHostKeys,
 * StrictHostKeyChecking, User, UserKnownHostsFile. Not supported, with a note: BindAddress, BindInterface,
 * CanonicalizeHostname, CheckHostIP, KnownHostsCommand, NoHostAuthenticationForLocalhost, PKCS11Provider, ProxyCommand,
 * PubkeyAuthentication no, VerifyHostKeyDNS, and Match with exec (no command of a configuration is ever run),
 * localnetwork, tagged, version, sessiontype and command, whose blocks are skipped. Keywords that are irrelevant to a
 * connection that runs one program are ignored; an unknown keyword is an error, unless IgnoreUnknown lists it.
 *
 * ~, ~user and ${VARIABLE} are replaced where ssh does so: in IdentityFile, CertificateFile, UserKnownHostsFile and
 * IdentityAgent, with the tokens %% %C %d %h %i %k %L %l %n %p %r %u; ~ alone in GlobalKnownHostsFile and
 * RevokedHostKeys; %% %h in HostName; %% %h %n %p %r in ProxyJump. ~ and %d are HOME unless the process is set-uid,
 * else the home of the passwd entry (which ssh always uses). A variable that is not set, and a user who does not exist,
 * are errors.
 *
 * path NULL: ~/.ssh/config, then /etc/ssh/ssh_config, either of which may be absent; "none": no file; else that file,
 * which must exist. Like ssh, rejects a file that is owned by neither root nor this user, or is writable by others.
 * Errors name file and line. */
kit_status kit_ssh_config_resolve(const char *path, const kit_ssh_target *target, kit_ssh_config *out_config,
                                  kolm_error_t *err) KIT_MUST_USE;
/* The same for a host without user and port. */
kit_status kit_ssh_config_read(const char *path, const char *host, kit_ssh_config *out_config,
                               kolm_error_t *err) KIT_MUST_USE;
/* The same over the text of one file, without Include (each produces a note): no file is read. For tests and fuzzing.
 */
kit_status kit_ssh_config_parse(const char *text, size_t length, const char *host, kit_ssh_config *out_config,
                                kolm_error_t *err) KIT_MUST_USE;
void kit_ssh_config_free(kit_ssh_config *config); /* leaves it zeroed; no-op if NULL */

/* Expands a path from the settings: ~, ~user and ${VARIABLE} as above. INVALID_ARGUMENT if the result is not absolute.
 * The caller frees *out_path. */
kit_status kit_ssh_path(const char *text, char **out_path, kolm_error_t *err) KIT_MUST_USE;

/* True if host matches a comma-separated list of patterns with *, ? and a leading !, ignoring case. A negated pattern
 * that matches makes the whole list fail; a list of only negated patterns matches nothing. */
bool kit_ssh_match_list(const char *host, const char *patterns);

#ifdef __cplusplus
}
#endif
#endif
