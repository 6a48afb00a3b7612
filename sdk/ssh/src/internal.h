/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the SSH transport. */
#ifndef KOLM_KIT_SSH_INTERNAL_H
#define KOLM_KIT_SSH_INTERNAL_H

#include "kolm/kit/buf.h"
#include "kolm/kit/ssh.h"

#include <libssh2.h>

/* ---- Targets and patterns (target.c) */
/* Like kit_ssh_target_parse, but also accepts ssh://[user@]host[:port]. */
kit_status ssh_hop_parse(const char *text, kit_ssh_target *out, kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_target_text(const kit_ssh_target *target, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* fold: converts the pattern to lower case. */
bool ssh_match_pattern(const char *text, const char *pattern, size_t length, bool fold);
bool ssh_match_patterns(const char *text, const char *patterns, bool fold); /* a list with commas and ! */

/* ---- Homes (expand.c) */
/* "HOME/name"; OK with *out NULL if there is no home. */
kit_status ssh_home_path(const char *name, char **out, kolm_error_t *err) KIT_MUST_USE;

/* ---- known_hosts (known.c) */
typedef enum ssh_known_answer {
    SSH_KNOWN_GOOD,       /* this key is listed for this host */
    SSH_KNOWN_NEW,        /* no key is listed for this host */
    SSH_KNOWN_CHANGED,    /* another key of this type is listed */
    SSH_KNOWN_OTHER_TYPE, /* only keys of other types are listed */
    SSH_KNOWN_REVOKED,    /* this key is marked @revoked for this host */
} ssh_known_answer;

typedef struct ssh_known_entry {
    char *file;
    unsigned line;
    char type[64]; /* "ssh-ed25519" */
    uint8_t *key;
    size_t key_length;
    enum { SSH_MARK_NONE, SSH_MARK_REVOKED, SSH_MARK_AUTHORITY } mark;
} ssh_known_entry;

/* The entries of known_hosts files for one host, in order. Zero-initialise it. */
typedef struct ssh_known {
    ssh_known_entry *entries;
    size_t count;
} ssh_known;

/* name: the host as in known_hosts, "host" or "[host]:port". Skips invalid lines, like ssh. */
kit_status ssh_known_parse(ssh_known *known, const char *file, const char *text, size_t length, const char *name,
                           kolm_error_t *err) KIT_MUST_USE;
/* An absent file is success. */
kit_status ssh_known_read(ssh_known *known, const char *file, const char *name, kolm_error_t *err) KIT_MUST_USE;
/* *out_entry (may be NULL): the line behind the result, or for SSH_KNOWN_NEW a @cert-authority line, if any. */
ssh_known_answer ssh_known_check(const ssh_known *known, const uint8_t *key, size_t key_length,
                                 const ssh_known_entry **out_entry);
bool ssh_known_has_type(const ssh_known *known, const char *type);
void ssh_known_free(ssh_known *known);
/* Appends "name type base64" in one write, under a lock; the file is created with mode 0600, its directory with 0700.
 * hash: the name is hashed, as with HashKnownHosts. FAILED_PRECONDITION for a file that stores nothing (/dev/null, a
 * pipe). */
kit_status ssh_known_append(const char *file, const char *name, bool hash, const uint8_t *key, size_t key_length,
                            kolm_error_t *err) KIT_MUST_USE;
/* *out_held: text contains key among its public keys, one "type base64" per line. */
kit_status ssh_keys_hold(const char *text, size_t length, const uint8_t *key, size_t key_length, bool *out_held,
                         kolm_error_t *err) KIT_MUST_USE;
uint32_t ssh_rsa_bits(const uint8_t *key, size_t length); /* of an "ssh-rsa" key blob; 0 for any other */
/* The type at the start of a key blob; "" if there is none. */
void ssh_key_type(const uint8_t *key, size_t length, char out_type[64]);
/* "SHA256:" and 43 digits of base64. */
#define SSH_FINGERPRINT_BYTES 64
kit_status ssh_fingerprint(const uint8_t *key, size_t length, char out_text[SSH_FINGERPRINT_BYTES],
                           kolm_error_t *err) KIT_MUST_USE;

/* ---- The connection (link.c). libssh2 writes into `out` and reads from `in`: it never sees a partially sent packet,
 * so reading, writing and keepalives may be mixed freely, and system calls are few and large. */
struct kit_ssh {
    LIBSSH2_SESSION *session;
    int fd;                         /* of the TCP connection; an inner session shares that of its outer one */
    kit_ssh *outer;                 /* the session of the jump that carries this one; owned */
    LIBSSH2_CHANNEL *outer_channel; /* in outer */
    uint8_t *in;                    /* SSH_IN_BYTES */
    size_t in_head, in_length;
    kit_buf out;
    size_t out_head;  /* bytes already sent */
    bool ended;       /* the far side closed */
    int failed_errno; /* why the link broke; 0: it did not */
    bool spent;       /* unusable: nothing is sent or received any more */
    bool ready;       /* authenticated: keepalives may be sent */
    int64_t last_in_ms;
    int64_t last_wait_ms, waiting_since_ms; /* a pause between waits does not count as silence of the far side */
    int64_t deadline_ms;                    /* of kit_ssh_open; 0: none */
    const char *stage;                      /* for the error of a timeout: "the key exchange" */
    uint32_t idle_timeout_ms, keepalive_seconds;
    int (*cancelled)(void *user);
    void (*note)(void *user, const char *text);
    void *user;
    char label[KIT_SSH_HOST_BYTES + 16]; /* "host" or "[host]:port", for errors and known_hosts */
    char login[KIT_SSH_USER_BYTES];
    char fingerprint[SSH_FINGERPRINT_BYTES];
    char peer[64];
    char question[256]; /* unanswered prompts of the server during authentication */
    kit_buf notes;
};

#define SSH_IN_BYTES (256u << 10)
#define SSH_OUT_BYTES (512u << 10) /* bulk senders wait while more than this is queued */

LIBSSH2_SEND_FUNC(ssh_link_send);
LIBSSH2_RECV_FUNC(ssh_link_recv);
/* Sends what is queued in out. False if the link is broken. */
bool ssh_link_flush(kit_ssh *ssh);
size_t ssh_link_queued(const kit_ssh *ssh);
/* Turns a libssh2 result into an error: which host, what was being done, what to do. */
kit_status ssh_fail(kit_ssh *ssh, int libssh2_code, const char *doing, kolm_error_t *err) KIT_MUST_USE;
/* Waits for activity on the link, at most until until_ms (monotonic; INT64_MAX: no limit of its own); OK in both cases.
 * since_ms: the time since which an answer is due, from which the idle timeout counts; INT64_MAX: none is due, so only
 * a dead link ends the wait. */
kit_status ssh_wait(kit_ssh *ssh, int64_t until_ms, int64_t since_ms, kolm_error_t *err) KIT_MUST_USE;

/* ---- Host keys (host_key.c) */
/* Adds a remark to the notes of the connection, and reports it to the caller at once. */
void ssh_say(kit_ssh *ssh, const char *text);
/* What known_hosts contains about one host. */
typedef struct ssh_host_check {
    const kit_ssh_options *options;
    const kit_ssh_config *config;
    char name[KIT_SSH_HOST_BYTES + 16]; /* in known_hosts: HostKeyAlias, else "host" or "[host]:port" */
    kit_ssh_list files;
    size_t own;            /* number of the user's files, which come first; new keys go to the first */
    ssh_known known, bare; /* bare: of the host without its port, used if nothing else is known */
} ssh_host_check;
kit_status ssh_host_check_begin(ssh_host_check *check, const kit_ssh *ssh, const kit_ssh_options *options,
                                const kit_ssh_config *config, const char *host, uint16_t port,
                                kolm_error_t *err) KIT_MUST_USE;
bool ssh_host_check_has_type(const ssh_host_check *check, const char *type);
/* After the handshake; sets the fingerprint. */
kit_status ssh_host_check_key(kit_ssh *ssh, const ssh_host_check *check, bool is_jump, kolm_error_t *err) KIT_MUST_USE;
void ssh_host_check_free(ssh_host_check *check);

/* ---- Algorithms (algorithms.c) */
/* If libssh2 supports none of the configured algorithms, offers the default ones, with a note. */
kit_status ssh_prefer_algorithms(kit_ssh *ssh, const kit_ssh_config *config, const ssh_host_check *check,
                                 kolm_error_t *err) KIT_MUST_USE;
/* said: PubkeyAcceptedAlgorithms, or NULL. */
bool ssh_algorithm_allowed(const char *said, const char *name);

/* ---- Authentication (auth.c) */
kit_status ssh_authenticate(kit_ssh *ssh, const kit_ssh_options *options, const kit_ssh_config *config,
                            kolm_error_t *err) KIT_MUST_USE;

/* ---- The agent (agent.c): draft-miller-ssh-agent, two requests. */
typedef struct ssh_agent ssh_agent;
typedef struct ssh_agent_key {
    uint8_t *blob;
    size_t length;
    char *comment;
} ssh_agent_key;
/* *out_agent is NULL without an error if no agent listens at path. */
kit_status ssh_agent_open(kit_ssh *ssh, const char *path, ssh_agent **out_agent, kolm_error_t *err) KIT_MUST_USE;
const ssh_agent_key *ssh_agent_keys(const ssh_agent *agent, size_t *out_count);
/* Returns the whole signature blob: string algorithm, string signature. */
kit_status ssh_agent_sign(const ssh_agent *agent, const ssh_agent_key *key, const uint8_t *data, size_t length,
                          uint32_t flags, kit_buf *out_signature, kolm_error_t *err) KIT_MUST_USE;
void ssh_agent_close(ssh_agent *agent);

/* ---- RSA key files without a passphrase (rsa.c) */
typedef struct ssh_rsa ssh_rsa;
/* OK with *out_rsa NULL if path does not contain such a key. */
kit_status ssh_rsa_read(const char *path, ssh_rsa **out_rsa, kolm_error_t *err) KIT_MUST_USE;
/* Appends the bare signature of data, PKCS #1 1.5 with SHA-512. */
bool ssh_rsa_sign(const ssh_rsa *rsa, const uint8_t *data, size_t length, kit_buf *out_signature);
void ssh_rsa_free(ssh_rsa *rsa); /* wipes it */

/* ---- Reading SSH's wire format (wire.c): a cursor that never passes the end; an attempt to do so sets failed. */
typedef struct ssh_cursor {
    const uint8_t *at;
    size_t left;
    bool failed;
} ssh_cursor;
uint32_t ssh_get_u32(ssh_cursor *cursor);
uint64_t ssh_get_u64(ssh_cursor *cursor);
uint8_t ssh_get_u8(ssh_cursor *cursor);
const uint8_t *ssh_get_string(ssh_cursor *cursor, size_t *out_length);
void ssh_put_u32(kit_buf *buf, uint32_t value);
void ssh_put_string(kit_buf *buf, const void *bytes, size_t length);

/* ---- Channels (channel.c) */
unsigned long ssh_channel_queued(LIBSSH2_CHANNEL *channel);

#endif
