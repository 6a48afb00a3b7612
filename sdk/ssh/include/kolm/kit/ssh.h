/* SPDX-License-Identifier: Apache-2.0 */
/* SSH to one box: a checked host key, authentication, and programs with fixed commands. */
#ifndef KOLM_KIT_SSH_H
#define KOLM_KIT_SSH_H

#include "kolm/kit/ssh_config.h"
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * In libkolm-kit-ssh, over libssh2 (1.10 is enough). One kit_ssh, with its channels, belongs to one thread
 * at a time; different ones are independent. Nothing blocks for ever: every call waits in poll(), asks cancelled() at
 * least every 200 ms, sends keepalives and gives up after the idle timeout. After UNAVAILABLE, DEADLINE_EXCEEDED of the
 * idle timeout, DATA_LOSS or CANCELLED the connection is spent: close it. SIGPIPE is never raised. Keepalives go out
 * only while some call waits.
 *
 * Codes: INVALID_ARGUMENT a target or a configuration that makes no sense; NOT_FOUND the name does not resolve; UNAVAILABLE no answer, the link broke; DEADLINE_EXCEEDED a timeout; CANCELLED; UNAUTHENTICATED no
 * key was accepted; FAILED_PRECONDITION the host key is unknown, changed or revoked; DATA_LOSS the far side does not
 * speak the protocol; RESOURCE_EXHAUSTED the server takes no further session.
 *
 * What libssh2 1.10 (Debian 12) cannot: it signs with RSA keys by SHA-1 only, which OpenSSH 8.8 and later refuse. RSA
 * keys of ssh-agent and RSA files without a passphrase work nevertheless (by rsa-sha2-512, with servers of OpenSSH);
 * encrypted RSA files do not: the error says to use ssh-agent. It uses user certificates of ECDSA keys only (another is
 * skipped, and its plain key tried), and no RSA host keys. No version checks certificates of hosts: a host that has one
 * shows its plain key, too, and a @cert-authority line alone does not make that known, which the error says.
 *
 * A server that takes a key and wants more: further keys are tried; a keyboard-interactive that asks nothing is waited
 * for, a minute at most; anything else is UNAUTHENTICATED, with what the server asks in the text.
 */

typedef struct kit_ssh kit_ssh;
typedef struct kit_ssh_channel kit_ssh_channel;

/* Zero-initialise it; 0 and NULL are the defaults named. Everything is only read, and only during kit_ssh_open; but the
 * callbacks cancelled and user serve for the life of the connection. */
typedef struct kit_ssh_options {
    kit_ssh_target target;          /* host may be an alias of the configuration; given user and port win over it */
    const char *config_path;        /* as in kit_ssh_config_read */
    const char *const *known_hosts; /* files; the first is appended to. None: UserKnownHostsFile of the configuration,
                                       else ~/.ssh/known_hosts and known_hosts2. GlobalKnownHostsFile, else
                                       /etc/ssh/ssh_known_hosts and ssh_known_hosts2, are read after those */
    size_t known_hosts_count;
    const char *const *identity_files; /* tried before those of the configuration, like ssh -i */
    size_t identity_file_count;
    const char *
        agent_socket; /* NULL: IdentityAgent, else SSH_AUTH_SOCK (not where the process is set-uid); "none": no agent */
    uint32_t connect_timeout_ms; /* for name, TCP, handshake and authentication of each hop together; 0: ConnectTimeout,
                                    else 15000 */
    uint32_t idle_timeout_ms;    /* nothing came from the far side for so long though something is due; 0: 60000 */
    uint32_t keepalive_seconds;  /* 0: 15 */
    const char *pinned_addr;     /* numeric address to connect to; nothing is resolved, and ProxyJump is refused
                                    (INVALID_ARGUMENT). known_hosts is still asked for the host's name */
    /* First use of a host: return 1 to trust this key from now on (it is appended to the first known_hosts file, mode
     * 0600), 0 to refuse. When it cannot be written there, the host is refused (FAILED_PRECONDITION): what is not
     * remembered would let the next key pass as well. host: "name" or "[name]:port" as in known_hosts, or HostKeyAlias;
     * type: "ssh-ed25519"; fingerprint: "SHA256:..." as ssh-keygen -l prints. Never called for a changed or revoked
     * key: those are a hard stop. NULL: StrictHostKeyChecking of the configuration decides: yes and ask refuse,
     * accept-new is as if 1 were returned, no takes any key, a changed one too (but not of a jump host), and notes it
     * each time. */
    int (*trust)(void *user, const char *host, const char *type, const char *sha256_fingerprint);
    const char *host_key; /* "SHA256:...": the target's key must be this one; then known_hosts need not have it, but one
                             that is revoked there, or another key there, is refused still. Nothing is written */
    /* Each remark of kit_ssh_notes when it is made, also on the way to a failure. NULL: they are only kept. */
    void (*note)(void *user, const char *text);
    /* The passphrase of an encrypted key file: put it, NUL terminated, into out_text and return 1; return 0 for none.
     * The array is wiped. NULL: encrypted key files are skipped, and the error says to use ssh-agent. */
    int (*passphrase)(void *user, const char *key_path, char *out_text, size_t capacity);
    int (*cancelled)(void *user); /* 1: give up soon with CANCELLED. NULL: never */
    void *user;                   /* given to the callbacks; may be NULL */
} kit_ssh_options;

/* Connects (through the jumps of ProxyJump: a direct-tcpip channel of each session carries the next), checks each host
 * key, and authenticates as ssh does: "none", then agent keys that are also named as files (IdentityFile may name a
 * public key for that), other agent keys (unless IdentitiesOnly), key files, each with its certificate
 * (CertificateFile, else FILE-cert.pub) first. The error says what was tried. *out_ssh is NULL on failure. */
kit_status kit_ssh_open(const kit_ssh_options *options, kit_ssh **out_ssh, kolm_error_t *err) KIT_MUST_USE;
/* Disconnects and frees, within a second, the jumps too. Close channels first. NULL is fine. */
void kit_ssh_close(kit_ssh *ssh);
/* "SHA256:..." of the target's host key: the key for caches of facts about a box. Valid until close. */
const char *kit_ssh_host_key_sha256(const kit_ssh *ssh);
/* Numeric address of the machine that the TCP connection goes to: the first jump where there is one. Valid until close.
 */
const char *kit_ssh_peer_address(const kit_ssh *ssh);
/* Remarks on the way, a line each, "" when there are none: parts of the configuration that are not followed, a new key
 * that is trusted, a key that was not checked, what the server said. All are worth a warning. Valid until close. */
const char *kit_ssh_notes(const kit_ssh *ssh);

/* ---- Programs. The command must be a literal of the program: the far login shell interprets it, so nothing that came
 * from outside may ever be in it. Arguments and secrets travel on standard input. */
kit_status kit_ssh_exec(kit_ssh *ssh, const char *fixed_command, kit_ssh_channel **out_channel,
                        kolm_error_t *err) KIT_MUST_USE;
/* Writes all. What the far side writes meanwhile is kept up to the window (16 MiB); beyond that both would wait for each
 * other until the idle timeout, so read in between when more may come. FAILED_PRECONDITION when the far side closed. */
kit_status kit_ssh_channel_write_all(kit_ssh_channel *channel, const void *bytes, size_t length,
                                     kolm_error_t *err) KIT_MUST_USE;
/* Waits for standard output: OK with *out_n > 0, OK with *out_n == 0 at its end, DEADLINE_EXCEEDED with *out_n == 0
 * when nothing came within timeout_ms (the connection stays good: call again; 0 only looks). timeout_ms < 0: as long as
 * the link is alive, which keepalives find out. The last 64 KiB of standard error are kept for
 * kit_ssh_channel_read_stderr while this is called. */
kit_status kit_ssh_channel_read(kit_ssh_channel *channel, void *bytes, size_t capacity, int64_t timeout_ms,
                                size_t *out_n, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_ssh_channel_read_stderr(kit_ssh_channel *channel, void *bytes, size_t capacity, int64_t timeout_ms,
                                       size_t *out_n, kolm_error_t *err) KIT_MUST_USE;
kit_status kit_ssh_channel_send_eof(kit_ssh_channel *channel, kolm_error_t *err) KIT_MUST_USE;
/* Waits for the end of the program; what it still writes is dropped (standard error is kept as above). *out_status: its
 * exit status; 255 when a signal ended it (ABORTED, and the text names the signal). A server that gives no status looks
 * like 0 (libssh2 does not tell): let the program say itself that it succeeded. Timeouts as in kit_ssh_channel_read. */
kit_status kit_ssh_channel_wait_exit(kit_ssh_channel *channel, int64_t timeout_ms, int *out_status,
                                     kolm_error_t *err) KIT_MUST_USE;
void kit_ssh_channel_close(kit_ssh_channel *channel); /* does not wait for the program; NULL is fine */

/* ---- The same without waiting, for several programs side by side. */
/* kit_ssh_exec; call again until *out_done, *channel being NULL at first. window: bytes that may come before they are
 * read. Open one after the other. The caller closes *channel, after a failure too. */
kit_status kit_ssh_try_exec(kit_ssh *ssh, const char *fixed_command, uint32_t window, kit_ssh_channel **channel,
                            bool *out_done, kolm_error_t *err) KIT_MUST_USE;
/* Bytes taken or given now, 0 when none can be. stream: 0 output, 1 errors. *out_ended: the far side will send no more. */
kit_status kit_ssh_channel_try_write(kit_ssh_channel *channel, const void *bytes, size_t length, size_t *out_n,
                                     kolm_error_t *err) KIT_MUST_USE;
kit_status kit_ssh_channel_try_read(kit_ssh_channel *channel, int stream, void *bytes, size_t capacity, size_t *out_n,
                                    bool *out_ended, kolm_error_t *err) KIT_MUST_USE;
/* As kit_ssh_channel_close, without waiting until the far side has closed it too. */
void kit_ssh_channel_leave(kit_ssh_channel *channel);
/* Before kit_ssh_close of a broken link: drops what was not sent, so that it cannot arrive late, after a new connection
 * has sent it again. */
void kit_ssh_abandon(kit_ssh *ssh);

#ifdef __cplusplus
}
#endif
#endif
