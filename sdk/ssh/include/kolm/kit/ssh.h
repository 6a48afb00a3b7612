/* SPDX-License-Identifier: Apache-2.0 */
/* SSH to one box: host key verification, authentication, and programs with fixed commands. */
/* Sources: channel.c and connect.c. */
#ifndef KOLM_KIT_SSH_H
#define KOLM_KIT_SSH_H

#include "kolm/kit/ssh_config.h"
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-ssh, over libssh2 (1.10 is enough). One kit_ssh, with its channels, belongs to one thread
 * at a time; different ones are independent. Nothing blocks forever: every call waits in poll(), calls cancelled() at
 * least every 200 ms, sends keepalives and gives up after the idle timeout. After UNAVAILABLE, DEADLINE_EXCEEDED from
 * the idle timeout, DATA_LOSS or CANCELLED the connection is unusable: close it. SIGPIPE is never raised. Keepalives
 * are sent only while a call waits.
 *
 * Codes: INVALID_ARGUMENT an invalid target or configuration; NOT_FOUND the name does not resolve; UNAVAILABLE no
 * answer, the link broke; DEADLINE_EXCEEDED a timeout; CANCELLED; UNAUTHENTICATED no key was accepted;
 * FAILED_PRECONDITION the host key is unknown, changed or revoked; DATA_LOSS the far side does not speak the protocol;
 * RESOURCE_EXHAUSTED the server takes no further session.
 *
 * Limits of libssh2 1.10 (Debian 12): RSA signatures use SHA-1 only, which OpenSSH 8.8 and later reject. RSA keys in
 * ssh-agent and RSA files without a passphrase work nevertheless (with rsa-sha2-512 and OpenSSH servers); encrypted RSA
 * files do not: the error says to use ssh-agent. User certificates work for ECDSA keys only (others are skipped, and
 * the plain key tried), and RSA host keys are not supported. No version verifies host certificates: a host that has one
 * presents its plain key, too, and a @cert-authority line alone does not make that key known, which the error says.
 *
 * If a server accepts a key and requires more: further keys are tried; a keyboard-interactive step without prompts is
 * waited for, a minute at most; anything else is UNAUTHENTICATED, with what the server requires in the text.
 */

typedef struct kit_ssh kit_ssh;
typedef struct kit_ssh_channel kit_ssh_channel;

/* Zero-initialise it; 0 and NULL mean the defaults given. Everything is used only during kit_ssh_open, except cancelled
 * and user, which are used as long as the connection exists. */
typedef struct kit_ssh_options {
    kit_ssh_target target;          /* host may be an alias of the configuration, which user and port override */
    const char *config_path;        /* as in kit_ssh_config_read */
    const char *const *known_hosts; /* files; new keys go to the first. None: UserKnownHostsFile of the configuration,
                                       else ~/.ssh/known_hosts and known_hosts2. GlobalKnownHostsFile, else
                                       /etc/ssh/ssh_known_hosts and ssh_known_hosts2, are read after those */
    size_t known_hosts_count;
    const char *const *identity_files; /* tried before those of the configuration, like ssh -i */
    size_t identity_file_count;
    /* NULL: IdentityAgent, else SSH_AUTH_SOCK (not if the process is set-uid); "none": no agent. */
    const char *agent_socket;
    uint32_t connect_timeout_ms; /* for name, TCP, handshake and authentication of each hop together; 0: ConnectTimeout,
                                    else 15000 */
    uint32_t idle_timeout_ms;    /* longest time without expected data from the server; 0: 60000 */
    uint32_t keepalive_seconds;  /* 0: 15 */
    const char *pinned_addr;     /* numeric address to connect to; nothing is resolved, and ProxyJump is refused
                                    (INVALID_ARGUMENT). known_hosts is still searched for the host's name */
    /* First use of a host: return 1 to trust this key from now on (it is appended to the first known_hosts file, mode
     * 0600), 0 to refuse. If it cannot be written, the host is refused (FAILED_PRECONDITION): otherwise the next key
     * would be accepted as well. host: "name" or "[name]:port" as in known_hosts, or HostKeyAlias; type: "ssh-ed25519";
     * fingerprint: "SHA256:..." as ssh-keygen -l prints. Never called for a changed or revoked key: those are always
     * refused. NULL: StrictHostKeyChecking of the configuration decides: yes and ask refuse, accept-new acts as if 1
     * were returned, no accepts any key, even a changed one (but not of a jump host), and notes it each time. */
    int (*trust)(void *user, const char *host, const char *type, const char *sha256_fingerprint);
    const char *host_key; /* "SHA256:...": the target's key must be this one. It need not be in known_hosts then, but a
                             key that is revoked there, or differs from the one there, is still refused. Nothing is
                             written */
    const char *host_key_from; /* the source of that key, for the error: "acme reports"; NULL: the user's settings */
    /* Called with each remark of kit_ssh_notes at once, even if opening fails later. NULL: they are only kept. */
    void (*note)(void *user, const char *text);
    /* The passphrase of an encrypted key file: store it, NUL terminated, in out_text and return 1; return 0 if there is
     * none. The array is wiped. NULL: encrypted key files are skipped, and the error says to use ssh-agent. */
    int (*passphrase)(void *user, const char *key_path, char *out_text, size_t capacity);
    int (*cancelled)(void *user); /* 1: give up soon with CANCELLED. NULL: never */
    void *user;                   /* passed to the callbacks; may be NULL */
} kit_ssh_options;

/* Connects (through the jumps of ProxyJump: a direct-tcpip channel of each session carries the next), checks each host
 * key, and authenticates as ssh does: "none", then agent keys that are also named as files (IdentityFile may name a
 * public key for that), other agent keys (unless IdentitiesOnly), key files, each with its certificate
 * (CertificateFile, else FILE-cert.pub) first. The error says what was tried. *out_ssh is NULL on failure. */
kit_status kit_ssh_open(const kit_ssh_options *options, kit_ssh **out_ssh, kolm_error_t *err) KIT_MUST_USE;
/* Disconnects and frees, jumps included, within a second. Close channels first. No-op if NULL. */
void kit_ssh_close(kit_ssh *ssh);
/* "SHA256:..." of the target's host key: use it as the key of caches about a machine. Valid until close. */
const char *kit_ssh_host_key_sha256(const kit_ssh *ssh);
/* Numeric address of the machine that the TCP connection goes to: the first jump, if there is one. Valid until close.
 */
const char *kit_ssh_peer_address(const kit_ssh *ssh);
/* Remarks, one per line, "" if there are none: parts of the configuration that are not supported, a new key that is
 * trusted, a key that was not checked, messages of the server. Show all of them as warnings. Valid until close. */
const char *kit_ssh_notes(const kit_ssh *ssh);

/* ---- Programs. The command must be a string literal: the remote login shell interprets it, so it must not contain any
 * external input. Pass arguments and secrets on standard input. */
kit_status kit_ssh_exec(kit_ssh *ssh, const char *fixed_command, kit_ssh_channel **out_channel,
                        kolm_error_t *err) KIT_MUST_USE;
/* Writes all bytes. What the far side writes in the meantime is buffered up to the window (16 MiB); beyond that both
 * sides would wait for each other until the idle timeout, so read in between if more may arrive. FAILED_PRECONDITION if
 * the far side has closed. */
kit_status kit_ssh_channel_write_all(kit_ssh_channel *channel, const void *bytes, size_t length,
                                     kolm_error_t *err) KIT_MUST_USE;
/* Waits for standard output: OK with *out_n > 0, OK with *out_n == 0 at its end, DEADLINE_EXCEEDED with *out_n == 0 if
 * nothing arrived within timeout_ms (the connection stays usable: call again; 0 polls). timeout_ms < 0: as long as
 * keepalives show that the link is alive. The last 64 KiB of standard error are kept for
 * kit_ssh_channel_read_stderr. */
kit_status kit_ssh_channel_read(kit_ssh_channel *channel, void *bytes, size_t capacity, int64_t timeout_ms,
                                size_t *out_n, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_ssh_channel_read_stderr(kit_ssh_channel *channel, void *bytes, size_t capacity, int64_t timeout_ms,
                                       size_t *out_n, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_ssh_channel_send_eof(kit_ssh_channel *channel, kolm_error_t *err) KIT_MUST_USE;
/* Waits for the end of the program; further output is dropped (standard error is kept as above). *out_status: its exit
 * status; 255 if it was killed by a signal (ABORTED, and the text names the signal). A server that sends no status
 * looks like 0 (libssh2 does not distinguish them): let the program itself report success. Timeouts as in
 * kit_ssh_channel_read. */
kit_status kit_ssh_channel_wait_exit(kit_ssh_channel *channel, int64_t timeout_ms, int *out_status,
                                     kolm_error_t *err) KIT_MUST_USE;
void kit_ssh_channel_close(kit_ssh_channel *channel); /* does not wait for the program; no-op if NULL */

/* ---- The same without blocking, for several programs at a time. */
/* kit_ssh_exec; *channel must be NULL at first. Call again until *out_done. window: bytes that may arrive before they
 * are read. Open one after the other. The caller must close *channel, also on failure. */
kit_status kit_ssh_try_exec(kit_ssh *ssh, const char *fixed_command, uint32_t window, kit_ssh_channel **channel,
                            bool *out_done, kolm_error_t *err) KIT_MUST_USE;
/* *out_n: number of bytes transferred, 0 if it would block. stream: 0 stdout, 1 stderr. *out_ended: the far side will
 * send no more. */
kit_status kit_ssh_channel_try_write(kit_ssh_channel *channel, const void *bytes, size_t length, size_t *out_n,
                                     kolm_error_t *err) KIT_MUST_USE;
kit_status kit_ssh_channel_try_read(kit_ssh_channel *channel, int stream, void *bytes, size_t capacity, size_t *out_n,
                                    bool *out_ended, kolm_error_t *err) KIT_MUST_USE;
/* Like kit_ssh_channel_close, but does not wait until the far side has closed it, too. */
void kit_ssh_channel_leave(kit_ssh_channel *channel);
/* Call before kit_ssh_close of a broken link: drops unsent data, which could otherwise arrive after a new connection
 * has sent it again. */
void kit_ssh_abandon(kit_ssh *ssh);

#ifdef __cplusplus
}
#endif
#endif
