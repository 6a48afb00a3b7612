/* SPDX-License-Identifier: Apache-2.0 */
/* Session channels: a program with a fixed command, its streams and its exit status. */
#include "internal.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define STDERR_KEPT (64u << 10)
#define WINDOW (16u << 20) /* bytes in flight: OpenSSH's 2 MB limits a round trip of 50 ms to 40 MB/s */
#define PACKET 32768

struct kit_ssh_channel {
    kit_ssh *ssh;
    LIBSSH2_CHANNEL *channel;
    kit_buf errors; /* standard error that arrived while something else was read */
    size_t errors_head;
};

static kit_status try_open(kit_ssh_channel *c, uint32_t window, kolm_error_t *err) {
    kit_ssh *ssh = c->ssh;
    c->channel = libssh2_channel_open_ex(ssh->session, "session", 7, window, PACKET, NULL, 0);
    int code = c->channel != NULL ? 0 : libssh2_session_last_errno(ssh->session);
    if (code == LIBSSH2_ERROR_CHANNEL_FAILURE)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other connections, or raise MaxSessions of its sshd",
                        "%s does not open another session", ssh->label);
    return code == 0 || code == LIBSSH2_ERROR_EAGAIN ? KOLM_OK : ssh_fail(ssh, code, ssh->stage, err);
}

static kit_status try_request(kit_ssh_channel *c, const char *command, bool *out_done, kolm_error_t *err) {
    kit_ssh *ssh = c->ssh;
    int rc = libssh2_channel_process_startup(c->channel, "exec", 4, command, (unsigned)strlen(command));
    *out_done = rc == 0;
    if (rc == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "allow it in its sshd_config, or for this key in authorized_keys", "%s refuses to run programs",
                        ssh->label);
    return rc == 0 || rc == LIBSSH2_ERROR_EAGAIN ? KOLM_OK : ssh_fail(ssh, rc, ssh->stage, err);
}

kit_status kit_ssh_try_exec(kit_ssh *ssh, const char *command, uint32_t window, kit_ssh_channel **channel,
                            bool *out_done, kolm_error_t *err) {
    *out_done = false;
    if (*channel == NULL) {
        *channel = calloc(1, sizeof **channel);
        if (*channel == NULL) return kit_no_memory(err);
        (*channel)->ssh = ssh;
    }
    if ((*channel)->channel == NULL) KIT_TRY(try_open(*channel, window, err));
    return (*channel)->channel != NULL ? try_request(*channel, command, out_done, err) : KOLM_OK;
}

kit_status kit_ssh_exec(kit_ssh *ssh, const char *fixed_command, kit_ssh_channel **out_channel, kolm_error_t *err) {
    kit_ssh_channel *c = NULL;
    bool done = false;
    *out_channel = NULL;
    ssh->stage = "the start of a session";
    ssh->waiting_since_ms = kit_now_ms();
    kit_status status = kit_ssh_try_exec(ssh, fixed_command, WINDOW, &c, &done, err);
    while (status == KOLM_OK && !done) {
        status = ssh_wait(ssh, INT64_MAX, ssh->waiting_since_ms, err);
        if (status == KOLM_OK) status = kit_ssh_try_exec(ssh, fixed_command, WINDOW, &c, &done, err);
    }
    ssh->stage = "its work";
    if (status == KOLM_OK)
        *out_channel = c;
    else
        kit_ssh_channel_close(c);
    return status;
}

/* ---- Non-blocking streams */

kit_status kit_ssh_channel_try_write(kit_ssh_channel *c, const void *bytes, size_t length, size_t *out_n,
                                     kolm_error_t *err) {
    kit_ssh *ssh = c->ssh;
    *out_n = 0;
    if (ssh_link_queued(ssh) > SSH_OUT_BYTES && !ssh_link_flush(ssh))
        return ssh_fail(ssh, LIBSSH2_ERROR_SOCKET_SEND, ssh->stage, err);
    if (ssh_link_queued(ssh) > SSH_OUT_BYTES) return KOLM_OK;
    ssize_t put = libssh2_channel_write(c->channel, bytes, length);
    if (put > 0) *out_n = (size_t)put;
    if (put >= 0 || put == LIBSSH2_ERROR_EAGAIN) {
        /* 0 if the far side has closed the channel. */
        if (put <= 0 && libssh2_channel_wait_closed(c->channel) == 0)
            return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "", "the program on %s ended before it had read all",
                            ssh->label);
        return KOLM_OK;
    }
    if (put == LIBSSH2_ERROR_CHANNEL_CLOSED || put == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "", "the program on %s no longer reads its input", ssh->label);
    return ssh_fail(ssh, (int)put, ssh->stage, err);
}

/* True if the far side has announced the end of its data. libssh2_channel_eof returns 0 while anything is unread, even
 * on the other stream; wait_closed only checks, because the session is non-blocking, and fails if the end was not
 * announced. */
static bool end_announced(kit_ssh_channel *c) {
    return libssh2_channel_wait_closed(c->channel) != LIBSSH2_ERROR_INVAL;
}

/* Bytes that libssh2 has queued for both streams. (libssh2_poll_channel_read fails if a short packet is queued.) */
unsigned long ssh_channel_queued(LIBSSH2_CHANNEL *channel) {
    unsigned long queued = 0;
    (void)libssh2_channel_window_read_ex(channel, &queued, NULL);
    return queued;
}

kit_status kit_ssh_channel_try_read(kit_ssh_channel *c, int stream, void *bytes, size_t capacity, size_t *out_n,
                                    bool *out_ended, kolm_error_t *err) {
    *out_n = 0;
    *out_ended = false;
    while (true) {
        /* Checked before the read, so that data arriving in between is not lost. */
        bool ended = end_announced(c);
        ssize_t got = libssh2_channel_read_ex(c->channel, stream, bytes, capacity);
        if (got > 0) *out_n = (size_t)got;
        if (got < 0 && got != LIBSSH2_ERROR_EAGAIN) return ssh_fail(c->ssh, (int)got, c->ssh->stage, err);
        if (got <= 0) *out_ended = ended;
        if (got > 0 || ended) return KOLM_OK;
        /* Every check of the link may queue packets, which poll() does not see: read what arrived with the last check,
         * too. */
        unsigned long queued = ssh_channel_queued(c->channel);
        if (!end_announced(c) && ssh_channel_queued(c->channel) <= queued) return KOLM_OK;
    }
}

/* Moves standard error out of the window, so that a chatty program does not block; drops the oldest bytes beyond the
 * limit. */
static kit_status keep_errors(kit_ssh_channel *c, kolm_error_t *err) {
    char chunk[8192];
    size_t n = 0;
    bool ended = false;
    do {
        KIT_TRY(kit_ssh_channel_try_read(c, SSH_EXTENDED_DATA_STDERR, chunk, sizeof chunk, &n, &ended, err));
        kit_buf_add(&c->errors, chunk, n);
        size_t held = c->errors.length - c->errors_head;
        if (held > STDERR_KEPT) c->errors_head += held - STDERR_KEPT;
        if (c->errors_head > 4 * STDERR_KEPT) {
            memmove(c->errors.data, c->errors.data + c->errors_head, c->errors.length - c->errors_head);
            c->errors.length -= c->errors_head;
            c->errors_head = 0;
            c->errors.data[c->errors.length] = '\0';
        }
    } while (n > 0);
    return kit_buf_ok(&c->errors, err);
}

/* ---- Blocking streams */

kit_status kit_ssh_channel_write_all(kit_ssh_channel *c, const void *bytes, size_t length, kolm_error_t *err) {
    const char *p = bytes;
    int64_t since = kit_now_ms();
    while (length > 0) {
        size_t n = 0;
        KIT_TRY(kit_ssh_channel_try_write(c, p, length, &n, err));
        if (n > 0) {
            p += n;
            length -= n;
            since = kit_now_ms();
        } else {
            KIT_TRY(ssh_wait(c->ssh, INT64_MAX, since, err));
        }
    }
    return ssh_link_flush(c->ssh) ? KOLM_OK : ssh_fail(c->ssh, LIBSSH2_ERROR_SOCKET_SEND, c->ssh->stage, err);
}

/* Copies what was kept of standard error. */
static size_t take_kept(kit_ssh_channel *c, void *bytes, size_t capacity) {
    size_t n = c->errors.length - c->errors_head;
    if (n > capacity) n = capacity;
    if (n > 0) memcpy(bytes, c->errors.data + c->errors_head, n);
    c->errors_head += n;
    if (c->errors_head == c->errors.length) {
        kit_buf_clear(&c->errors);
        c->errors_head = 0;
    }
    return n;
}

static kit_status read_stream(kit_ssh_channel *c, int stream, void *bytes, size_t capacity, int64_t timeout_ms,
                              size_t *out_n, kolm_error_t *err) {
    int64_t until = timeout_ms < 0 || timeout_ms > INT64_MAX / 2 ? INT64_MAX : kit_now_ms() + timeout_ms;
    *out_n = 0;
    if (capacity == 0) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "no room to read into");
    while (true) {
        bool ended = false;
        if (stream != 0 && (*out_n = take_kept(c, bytes, capacity)) > 0) return KOLM_OK;
        KIT_TRY(kit_ssh_channel_try_read(c, stream, bytes, capacity, out_n, &ended, err));
        if (*out_n > 0) return KOLM_OK;
        if (stream == 0) KIT_TRY(keep_errors(c, err));
        if (ended) return KOLM_OK;
        if (stream == 0 && (ssh_channel_queued(c->channel) > 0 || end_announced(c))) continue;
        if (kit_now_ms() >= until)
            return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "", "nothing came from %s within %lld ms", c->ssh->label,
                            (long long)timeout_ms);
        KIT_TRY(ssh_wait(c->ssh, until, INT64_MAX, err));
    }
}

kit_status kit_ssh_channel_read(kit_ssh_channel *c, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n,
                                kolm_error_t *err) {
    return read_stream(c, 0, bytes, capacity, timeout_ms, out_n, err);
}

kit_status kit_ssh_channel_read_stderr(kit_ssh_channel *c, void *bytes, size_t capacity, int64_t timeout_ms,
                                       size_t *out_n, kolm_error_t *err) {
    return read_stream(c, SSH_EXTENDED_DATA_STDERR, bytes, capacity, timeout_ms, out_n, err);
}

kit_status kit_ssh_channel_send_eof(kit_ssh_channel *c, kolm_error_t *err) {
    int rc;
    int64_t since = kit_now_ms();
    while ((rc = libssh2_channel_send_eof(c->channel)) == LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(c->ssh, INT64_MAX, since, err));
    if (rc == 0 && ssh_link_flush(c->ssh)) return KOLM_OK;
    return ssh_fail(c->ssh, rc != 0 ? rc : LIBSSH2_ERROR_SOCKET_SEND, c->ssh->stage, err);
}

static kit_status read_exit(kit_ssh_channel *c, int *out_status, kolm_error_t *err) {
    char *name = NULL;
    size_t length = 0;
    libssh2_channel_get_exit_signal(c->channel, &name, &length, NULL, NULL, NULL, NULL);
    if (name == NULL) {
        *out_status = libssh2_channel_get_exit_status(c->channel);
        return KOLM_OK;
    }
    kit_buf shown = {0};
    kit_buf_escaped(&shown, name, length);
    kit_status status =
        kit_fail(err, KOLM_E_ABORTED, "", "the program on %s was ended by SIG%s", c->ssh->label, kit_buf_text(&shown));
    kit_buf_free(&shown);
    libssh2_free(c->ssh->session, name);
    return status;
}

kit_status kit_ssh_channel_wait_exit(kit_ssh_channel *c, int64_t timeout_ms, int *out_status, kolm_error_t *err) {
    int64_t until = timeout_ms < 0 || timeout_ms > INT64_MAX / 2 ? INT64_MAX : kit_now_ms() + timeout_ms;
    *out_status = 255;
    while (true) {
        char drop[16384];
        size_t n = 0;
        bool ended = false;
        KIT_TRY(kit_ssh_channel_try_read(c, 0, drop, sizeof drop, &n, &ended, err));
        KIT_TRY(keep_errors(c, err));
        if (n > 0 || (!ended && (ssh_channel_queued(c->channel) > 0 || end_announced(c)))) continue;
        /* The status arrives between the end of the streams and the close. */
        if (ended) {
            int rc = libssh2_channel_wait_closed(c->channel);
            if (rc == 0) return read_exit(c, out_status, err);
            if (rc != LIBSSH2_ERROR_EAGAIN) return ssh_fail(c->ssh, rc, c->ssh->stage, err);
        }
        if (kit_now_ms() >= until)
            return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "", "the program on %s did not end within %lld ms",
                            c->ssh->label, (long long)timeout_ms);
        KIT_TRY(ssh_wait(c->ssh, until, INT64_MAX, err));
    }
}

void kit_ssh_channel_close(kit_ssh_channel *c) {
    if (c == NULL) return;
    int64_t until = kit_now_ms() + 1000;
    while (c->channel != NULL && libssh2_channel_free(c->channel) == LIBSSH2_ERROR_EAGAIN) {
        struct pollfd ready = {.fd = c->ssh->fd, .events = POLLIN};
        /* If the far side does not answer the close, the connection is unusable, because libssh2 would wait forever. */
        if (!ssh_link_flush(c->ssh) || kit_now_ms() > until)
            c->ssh->spent = true;
        else
            (void)poll(&ready, 1, 50);
    }
    kit_buf_free(&c->errors);
    free(c);
}

void kit_ssh_channel_leave(kit_ssh_channel *c) {
    if (c == NULL) return;
    /* If the far side has not answered yet, libssh2 keeps the channel until the session ends. */
    if (c->channel != NULL) (void)libssh2_channel_free(c->channel);
    kit_buf_free(&c->errors);
    free(c);
}
