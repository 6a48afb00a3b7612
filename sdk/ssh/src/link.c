/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers bytes between libssh2 and the far side, over TCP or a channel of a jump host; timeouts, keepalives. */
#include "internal.h"

#include "kolm/kit/process.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLICE_MS 200 /* polling interval of cancelled() */

size_t ssh_link_queued(const kit_ssh *ssh) {
    return ssh->out.length - ssh->out_head;
}

/* Sends as many bytes as possible. Returns their number, 0 if it would block, or -errno. */
static ssize_t push(kit_ssh *ssh, const char *bytes, size_t length) {
    if (ssh->outer == NULL) {
        ssize_t put;
        do
            put = send(ssh->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (put < 0 && errno == EINTR);
        if (put >= 0) return put;
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    }
    if (ssh_link_queued(ssh->outer) > SSH_OUT_BYTES && ssh_link_flush(ssh->outer) &&
        ssh_link_queued(ssh->outer) > SSH_OUT_BYTES)
        return 0;
    ssize_t put = libssh2_channel_write(ssh->outer_channel, bytes, length);
    if (put >= 0) return put;
    return put == LIBSSH2_ERROR_EAGAIN ? 0 : -ECONNRESET;
}

bool ssh_link_flush(kit_ssh *ssh) {
    while (!ssh->spent && ssh->out_head < ssh->out.length) {
        ssize_t put = push(ssh, ssh->out.data + ssh->out_head, ssh->out.length - ssh->out_head);
        if (put < 0) {
            ssh->failed_errno = (int)-put;
            ssh->spent = true;
        }
        if (put <= 0) break;
        ssh->out_head += (size_t)put;
    }
    if (ssh->out_head == ssh->out.length) {
        kit_buf_clear(&ssh->out);
        ssh->out_head = 0;
    } else if (ssh->out_head > SSH_OUT_BYTES) {
        memmove(ssh->out.data, ssh->out.data + ssh->out_head, ssh->out.length - ssh->out_head);
        ssh->out.length -= ssh->out_head;
        ssh->out_head = 0;
    }
    if (ssh->outer != NULL && !ssh_link_flush(ssh->outer)) {
        ssh->failed_errno = ssh->outer->failed_errno;
        ssh->spent = true;
    }
    return !ssh->spent;
}

ssize_t ssh_link_send(libssh2_socket_t fd, const void *buffer, size_t length, int flags, void **abstract) {
    kit_ssh *ssh = *abstract;
    (void)fd;
    (void)flags;
    if (ssh->spent) return -ECONNRESET;
    kit_buf_add(&ssh->out, buffer, length);
    if (ssh->out.failed) {
        ssh->spent = true;
        ssh->failed_errno = ENOMEM;
        return -ENOMEM;
    }
    /* Send small packets at once, a stream of large ones in large pieces. */
    if (length < 4096 || ssh_link_queued(ssh) >= SSH_OUT_BYTES / 4) ssh_link_flush(ssh);
    return ssh->spent ? -ECONNRESET : (ssize_t)length;
}

/* Fills the empty `in`. Returns the number of bytes, 0 at the end, or -errno. */
static ssize_t pull(kit_ssh *ssh) {
    ssize_t got;
    if (ssh->outer != NULL) {
        got = libssh2_channel_read(ssh->outer_channel, (char *)ssh->in, SSH_IN_BYTES);
        if (got == LIBSSH2_ERROR_EAGAIN) return -EAGAIN;
        if (got < 0) return -ECONNRESET;
        /* 0 may also mean that another kind of packet arrived. */
        return got == 0 && libssh2_channel_eof(ssh->outer_channel) == 0 ? -EAGAIN : got;
    }
    do
        got = recv(ssh->fd, ssh->in, SSH_IN_BYTES, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
#ifdef TCP_QUICKACK
    /* With Nagle, sshd's second small packet waits until the first is acknowledged, which the kernel by default delays
     * by 40 ms. */
    int one = 1;
    if (got > 0 && got < 4096) (void)setsockopt(ssh->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
#endif
    if (got >= 0) return got;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

ssize_t ssh_link_recv(libssh2_socket_t fd, void *buffer, size_t length, int flags, void **abstract) {
    kit_ssh *ssh = *abstract;
    (void)fd;
    (void)flags;
    if (ssh->spent) return -ECONNRESET;
    if (ssh->in_head == ssh->in_length) {
        /* libssh2 does not return while it receives banner lines. */
        if (ssh->deadline_ms != 0 && kit_now_ms() > ssh->deadline_ms) return -ETIMEDOUT;
        ssize_t got = pull(ssh);
        if (got == -EAGAIN) return -EAGAIN;
        if (got <= 0) {
            ssh->spent = true;
            ssh->ended = got == 0;
            ssh->failed_errno = (int)-got;
            return got;
        }
        ssh->in_head = 0;
        ssh->in_length = (size_t)got;
        ssh->last_in_ms = kit_now_ms();
    }
    size_t n = ssh->in_length - ssh->in_head;
    if (n > length) n = length;
    memcpy(buffer, ssh->in + ssh->in_head, n);
    ssh->in_head += n;
    return (ssize_t)n;
}

/* ---- Errors */

static kit_status broken(kit_ssh *ssh, const char *doing, kolm_error_t *err) {
    char why[64] = "the other side closed it", room[64];
    if (ssh->outer != NULL && ssh->outer->spent)
        kit_format(why, sizeof why, "the jump host %.40s closed it", ssh->outer->label);
    if (ssh->failed_errno != 0) kit_copy(why, sizeof why, strerror_r(ssh->failed_errno, room, sizeof room));
    const char *remedy = ssh->ready ? "check the network, then run the command again"
                                    : "check that an SSH server responds there: ssh -v shows where it stops";
    return kit_fail(err, KOLM_E_UNAVAILABLE, remedy, "the connection to %s broke during %s: %s", ssh->label, doing,
                    why);
}

kit_status ssh_fail(kit_ssh *ssh, int code, const char *doing, kolm_error_t *err) {
    char *words = NULL;
    libssh2_session_last_error(ssh->session, &words, NULL, 0);
    if (ssh->deadline_ms != 0 && kit_now_ms() > ssh->deadline_ms)
        return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "raise the connect timeout, or check the host",
                        "%s did not finish %s in time", ssh->label, doing);
    if (code == LIBSSH2_ERROR_ALLOC)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs", "out of memory during %s", doing);
    if (ssh->spent || code == LIBSSH2_ERROR_SOCKET_DISCONNECT || code == LIBSSH2_ERROR_SOCKET_SEND ||
        code == LIBSSH2_ERROR_SOCKET_RECV || code == LIBSSH2_ERROR_CHANNEL_CLOSED)
        return broken(ssh, doing, err);
    if (code == LIBSSH2_ERROR_KEX_FAILURE || code == LIBSSH2_ERROR_METHOD_NONE ||
        code == LIBSSH2_ERROR_METHOD_NOT_SUPPORTED)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "ssh -v shows what the server offers; this side has curve25519, ecdh and group14 to 18, "
                        "aes-ctr, hmac-sha2, ed25519 and ecdsa",
                        "%s and libssh2 %s have no algorithms in common for %s (%s)", ssh->label, libssh2_version(0),
                        doing, words != NULL ? words : "no reason given");
    return kit_fail(err, KOLM_E_DATA_LOSS, "check that an SSH server answers there",
                    "%s does not speak the SSH protocol during %s (%s)", ssh->label, doing,
                    words != NULL ? words : "no reason given");
}

/* ---- Waiting */

static bool has_input(const kit_ssh *ssh) {
    for (; ssh != NULL; ssh = ssh->outer) {
        if (ssh->in_head < ssh->in_length) return true;
        if (ssh->outer != NULL &&
            (ssh_channel_queued(ssh->outer_channel) > 0 || libssh2_channel_eof(ssh->outer_channel) == 1))
            return true;
    }
    return false;
}

static const kit_ssh *base_of(const kit_ssh *ssh) {
    while (ssh->outer != NULL)
        ssh = ssh->outer;
    return ssh;
}

static kit_status check_limits(kit_ssh *ssh, int64_t now, int64_t since, kolm_error_t *err) {
    if (ssh->cancelled != NULL && ssh->cancelled(ssh->user) != 0) {
        ssh->spent = true;
        return kit_fail(err, KOLM_E_CANCELLED, "", "cancelled during %s with %s", ssh->stage, ssh->label);
    }
    if (ssh->deadline_ms != 0 && now >= ssh->deadline_ms)
        return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "check the host and the port, or raise the connect timeout",
                        "%s did not finish %s in time", ssh->label, ssh->stage);
    int64_t from = since != INT64_MAX ? since : ssh->last_in_ms;
    if (from < ssh->waiting_since_ms) from = ssh->waiting_since_ms;
    /* If only answers to keepalives are due, three of them may be late. */
    int64_t limit = ssh->idle_timeout_ms, alive = (int64_t)ssh->keepalive_seconds * 3000;
    if (since == INT64_MAX && limit < alive) limit = alive;
    if (ssh->deadline_ms == 0 && now - from > limit) {
        ssh->spent = true;
        ssh->failed_errno = ETIMEDOUT; /* for later calls */
        return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "check the network and the host, then run the command again",
                        "%s did not respond for %lld s during %s", ssh->label, (long long)(now - from) / 1000,
                        ssh->stage);
    }
    return KOLM_OK;
}

static void keep_alive(kit_ssh *ssh) {
    for (; ssh != NULL; ssh = ssh->outer) {
        int next = 0;
        /* The next read reports a failure. */
        if (ssh->ready && !ssh->spent) (void)libssh2_keepalive_send(ssh->session, &next);
    }
}

kit_status ssh_wait(kit_ssh *ssh, int64_t until, int64_t since, kolm_error_t *err) {
    int64_t now = kit_now_ms();
    if (now - ssh->last_wait_ms > 1000) ssh->waiting_since_ms = now;
    while (true) {
        KIT_TRY(check_limits(ssh, now, since, err));
        keep_alive(ssh);
        if (!ssh_link_flush(ssh)) return broken(ssh, ssh->stage, err);
        bool input = has_input(ssh);
        int64_t slice = until - now < SLICE_MS ? until - now : SLICE_MS;
        if (ssh->deadline_ms != 0 && ssh->deadline_ms - now < slice) slice = ssh->deadline_ms - now;
        const kit_ssh *base = base_of(ssh);
        struct pollfd ready = {.fd = base->fd, .events = POLLIN};
        if (ssh_link_queued(base) > 0) ready.events |= POLLOUT;
        int count = poll(&ready, 1, input || slice < 0 ? 0 : (int)slice);
        if (count < 0 && errno != EINTR) return kit_fail_errno(err, errno, "waiting for %s failed", ssh->label);
        ssh->last_wait_ms = now = kit_now_ms();
        if (input || count > 0 || now >= until) {
            if (count > 0 && (ready.revents & POLLOUT) != 0) ssh_link_flush(ssh);
            return KOLM_OK;
        }
    }
}
