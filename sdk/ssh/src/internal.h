/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the SSH transport. */
#ifndef KOLM_KIT_SSH_INTERNAL_H
#define KOLM_KIT_SSH_INTERNAL_H

#include "kolm/kit/buf.h"
#include "kolm/kit/ssh.h"

#include <libssh2.h>

/* ---- Targets and patterns (target.c) */
/* As kit_ssh_target_parse; ssh://[user@]host[:port] too. */
kit_status ssh_hop_parse(const char *text, kit_ssh_target *out, kolm_error_t *err) KIT_MUST_USE;
kit_status ssh_target_text(const kit_ssh_target *target, kit_buf *out, kolm_error_t *err) KIT_MUST_USE;
/* fold: letters of the pattern count as small ones. */
bool ssh_match_pattern(const char *text, const char *pattern, size_t length, bool fold);
bool ssh_match_patterns(const char *text, const char *patterns, bool fold); /* a list with commas and ! */

/* ---- Homes (expand.c) */
/* "HOME/name"; *out is NULL without an error when there is no home. */
kit_status ssh_home_path(const char *name, char **out, kolm_error_t *err) KIT_MUST_USE;

/* ---- known_hosts (known.c) */
typedef enum ssh_known_answer {
    SSH_KNOWN_GOOD,       /* this key is there for this host */
    SSH_KNOWN_NEW,        /* nothing is known of this host */
    SSH_KNOWN_CHANGED,    /* another key of this type is there */
    SSH_KNOWN_OTHER_TYPE, /* only keys of other types are there */
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

/* The entries of known_hosts files that are about one host, in order. Zero-initialise it. */
typedef struct ssh_known {
    ssh_known_entry *entries;
    size_t count;
} ssh_known;

/* name: what known_hosts calls the host, "host" or "[host]:port". Lines that cannot be read are skipped, as ssh does.
 */
kit_status ssh_known_parse(ssh_known *known, const char *file, const char *text, size_t length, const char *name,
                           kolm_error_t *err) KIT_MUST_USE;
/* An absent file is success. */
kit_status ssh_known_read(ssh_known *known, const char *file, const char *name, kolm_error_t *err) KIT_MUST_USE;
/* *out_entry (may be NULL): the line that decided, or for SSH_KNOWN_NEW a @cert-authority line, if any. */
ssh_known_answer ssh_known_check(const ssh_known *known, const uint8_t *key, size_t key_length,
                                 const ssh_known_entry **out_entry);
bool ssh_known_has_type(const ssh_known *known, const char *type);
void ssh_known_free(ssh_known *known);
/* Appends "name type base64" in one write, under a lock; the file is created with mode 0600, its directory with 0700.
 * hash: the name is written as HashKnownHosts wants it. What keeps nothing (/dev/null, a pipe) is
 * FAILED_PRECONDITION. */
kit_status ssh_known_append(const char *file, const char *name, bool hash, const uint8_t *key, size_t key_length,
                            kolm_error_t *err) KIT_MUST_USE;
/* *out_held: one of the public keys in text, "type base64" a line, is key. */
kit_status ssh_keys_hold(const char *text, size_t length, const uint8_t *key, size_t key_length, bool *out_held,
                         kolm_error_t *err) KIT_MUST_USE;
uint32_t ssh_rsa_bits(const uint8_t *key, size_t length); /* of an "ssh-rsa" key blob; 0 when it is none */
/* The type at the head of a key blob; "" when there is none. */
void ssh_key_type(const uint8_t *key, size_t length, char out_type[64]);
/* "SHA256:" and 43 digits of base64. */
#define SSH_FINGERPRINT_BYTES 64
kit_status ssh_fingerprint(const uint8_t *key, size_t length, char out_text[SSH_FINGERPRINT_BYTES],
                           kolm_error_t *err) KIT_MUST_USE;

/* ---- The connection (link.c). libssh2 writes into `out` and reads from `in`: a packet of its is never half sent,
 * so that reading, writing and keepalives may follow each other freely, and system calls are few and large. */
struct kit_ssh {
    LIBSSH2_SESSION *session;
    int fd;                         /* of the TCP connection; a jump's inner session has its outer one's */
    kit_ssh *outer;                 /* the session of the jump that carries this one; owned */
    LIBSSH2_CHANNEL *outer_channel; /* in outer */
    uint8_t *in;                    /* SSH_IN_BYTES */
    size_t in_head, in_length;
    kit_buf out;
    size_t out_head;  /* what is sent already */
    bool ended;       /* the far side closed */
    int failed_errno; /* the link broke */
    bool spent;       /* no byte goes in or out any more */
    bool ready;       /* authenticated: keepalives may be sent */
    int64_t last_in_ms;
    int64_t last_wait_ms, waiting_since_ms; /* a pause between waits does not count as silence of the far side */
    int64_t deadline_ms;                    /* of kit_ssh_open; 0: none */
    const char *stage;                      /* what a timeout interrupts: "the key exchange" */
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
#define SSH_OUT_BYTES (512u << 10) /* callers that send much wait while more than this is queued */

LIBSSH2_SEND_FUNC(ssh_link_send);
LIBSSH2_RECV_FUNC(ssh_link_recv);
/* Sends what is queued in out. False if the link is broken. */
bool ssh_link_flush(kit_ssh *ssh);
size_t ssh_link_queued(const kit_ssh *ssh);
/* The libssh2 result as our error: which host, what was being done, what to do. */
kit_status ssh_fail(kit_ssh *ssh, int libssh2_code, const char *doing, kolm_error_t *err) KIT_MUST_USE;
/* Waits until something moved, at most until until_ms (monotonic; INT64_MAX: no limit of its own): OK when something
 * did or until_ms came. since_ms: the moment since which an answer is due, which the idle timeout counts from;
 * INT64_MAX: none is due, then only a dead link ends it. */
kit_status ssh_wait(kit_ssh *ssh, int64_t until_ms, int64_t since_ms, kolm_error_t *err) KIT_MUST_USE;

/* ---- Host keys (host_key.c) */
/* A remark: to the notes of the connection, and to the caller at once. */
void ssh_say(kit_ssh *ssh, const char *text);
/* What is known of one host. */
typedef struct ssh_host_check {
    const kit_ssh_options *options;
    const kit_ssh_config *config;
    char name[KIT_SSH_HOST_BYTES + 16]; /* in known_hosts: HostKeyAlias, else "host" or "[host]:port" */
    kit_ssh_list files;
    size_t own;            /* the first so many are the user's; the first of all is appended to */
    ssh_known known, bare; /* bare: of the host without its port, which counts where nothing else is known */
} ssh_host_check;
kit_status ssh_host_check_begin(ssh_host_check *check, const kit_ssh *ssh, const kit_ssh_options *options,
                                const kit_ssh_config *config, const char *host, uint16_t port,
                                kolm_error_t *err) KIT_MUST_USE;
bool ssh_host_check_has_type(const ssh_host_check *check, const char *type);
/* After the handshake; sets the fingerprint. */
kit_status ssh_host_check_key(kit_ssh *ssh, const ssh_host_check *check, bool is_jump, kolm_error_t *err) KIT_MUST_USE;
void ssh_host_check_free(ssh_host_check *check);

/* ---- Algorithms (algorithms.c) */
/* If the configuration leaves nothing that libssh2 has, ours are offered, with a note. */
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
/* The whole signature blob: string algorithm, string signature. */
kit_status ssh_agent_sign(const ssh_agent *agent, const ssh_agent_key *key, const uint8_t *data, size_t length,
                          uint32_t flags, kit_buf *out_signature, kolm_error_t *err) KIT_MUST_USE;
void ssh_agent_close(ssh_agent *agent);

/* ---- RSA key files without a passphrase (rsa.c) */
typedef struct ssh_rsa ssh_rsa;
/* *out_rsa is NULL without an error when path holds no such key. */
kit_status ssh_rsa_read(const char *path, ssh_rsa **out_rsa, kolm_error_t *err) KIT_MUST_USE;
/* Appends the bare signature of data, PKCS #1 1.5 with SHA-512. */
bool ssh_rsa_sign(const ssh_rsa *rsa, const uint8_t *data, size_t length, kit_buf *out_signature);
void ssh_rsa_free(ssh_rsa *rsa); /* wipes it */

/* ---- Reading SSH's wire format (wire.c): a cursor that never passes the end, and remembers that it would have. */
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
