/* SPDX-License-Identifier: Apache-2.0 */
/* A client of ssh-agent: lists keys and requests signatures, for RSA with SHA-512, which libssh2 1.10 does not request.
 */
#include "internal.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_BYTES (256u << 10) /* the longest answer of OpenSSH's own agent */
#define MOST_KEYS 512
#define REQUEST_IDENTITIES 11
#define IDENTITIES_ANSWER 12
#define SIGN_REQUEST 13
#define SIGN_RESPONSE 14

struct ssh_agent {
    kit_ssh *ssh; /* for its deadline and cancelled() */
    int fd;
    ssh_agent_key *keys;
    size_t count;
};

static kit_status wait_for(const ssh_agent *agent, short events, kolm_error_t *err) {
    while (true) {
        struct pollfd ready = {.fd = agent->fd, .events = events};
        const kit_ssh *ssh = agent->ssh;
        if (ssh->cancelled != NULL && ssh->cancelled(ssh->user) != 0)
            return kit_fail(err, KOLM_E_CANCELLED, "", "cancelled while querying ssh-agent");
        if (ssh->deadline_ms != 0 && kit_now_ms() > ssh->deadline_ms)
            return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "answer its prompt, or raise the connect timeout",
                            "ssh-agent did not answer in time");
        int count = poll(&ready, 1, 200);
        if (count < 0 && errno != EINTR) return kit_fail_errno(err, errno, "waiting for ssh-agent failed");
        if (count > 0) return KOLM_OK;
    }
}

static kit_status transfer(const ssh_agent *agent, bool out, uint8_t *bytes, size_t length, kolm_error_t *err) {
    while (length > 0) {
        ssize_t n = out ? send(agent->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT)
                        : recv(agent->fd, bytes, length, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            KIT_TRY(wait_for(agent, out ? POLLOUT : POLLIN, err));
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kit_fail_errno(err, errno, "talking to ssh-agent failed");
        if (n == 0) return kit_fail(err, KOLM_E_UNAVAILABLE, "restart ssh-agent", "ssh-agent closed the connection");
        bytes += n;
        length -= (size_t)n;
    }
    return KOLM_OK;
}

/* Sends one request and receives its answer, which must be of the wanted type. */
static kit_status ask(const ssh_agent *agent, const kit_buf *request, uint8_t wanted, kit_buf *answer,
                      kolm_error_t *err) {
    kit_buf framed = {0};
    ssh_put_string(&framed, request->data, request->length);
    kit_status status = kit_buf_ok(&framed, err);
    if (status == KOLM_OK) status = transfer(agent, true, (uint8_t *)framed.data, framed.length, err);
    kit_buf_free(&framed);
    uint8_t head[4];
    if (status == KOLM_OK) status = transfer(agent, false, head, sizeof head, err);
    if (status != KOLM_OK) return status;
    ssh_cursor cursor = {.at = head, .left = sizeof head};
    uint32_t length = ssh_get_u32(&cursor);
    if (length == 0 || length > MOST_BYTES)
        return kit_fail(err, KOLM_E_DATA_LOSS, "check SSH_AUTH_SOCK", "ssh-agent answered %u bytes", length);
    uint8_t *body = malloc(length);
    if (body == NULL) return kit_no_memory(err);
    status = transfer(agent, false, body, length, err);
    if (status == KOLM_OK && body[0] != wanted)
        status = kit_fail(err, KOLM_E_PERMISSION_DENIED, "ssh-add -l shows its keys", "ssh-agent refused");
    if (status == KOLM_OK) {
        kit_buf_add(answer, body + 1, length - 1);
        status = kit_buf_ok(answer, err);
    }
    free(body);
    return status;
}

static kit_status read_keys(ssh_agent *agent, const kit_buf *answer, kolm_error_t *err) {
    ssh_cursor cursor = {.at = (const uint8_t *)kit_buf_text(answer), .left = answer->length};
    uint32_t count = ssh_get_u32(&cursor);
    if (cursor.failed || count > MOST_KEYS)
        return kit_fail(err, KOLM_E_DATA_LOSS, "check SSH_AUTH_SOCK", "ssh-agent gave no list of keys");
    agent->keys = calloc(count + 1, sizeof *agent->keys);
    if (agent->keys == NULL) return kit_no_memory(err);
    for (uint32_t i = 0; i < count; i++) {
        size_t length = 0, comment_length = 0;
        const uint8_t *blob = ssh_get_string(&cursor, &length), *comment = ssh_get_string(&cursor, &comment_length);
        if (cursor.failed || length == 0)
            return kit_fail(err, KOLM_E_DATA_LOSS, "check SSH_AUTH_SOCK", "ssh-agent gave a damaged list of keys");
        ssh_agent_key *key = &agent->keys[agent->count++];
        kit_buf shown = {0};
        kit_buf_escaped(&shown, (const char *)comment, comment_length);
        key->blob = malloc(length);
        key->comment = kit_buf_ok(&shown, err) == KOLM_OK ? kit_buf_take(&shown) : NULL;
        if (key->blob == NULL) return kit_no_memory(err);
        memcpy(key->blob, blob, length);
        key->length = length;
    }
    return KOLM_OK;
}

kit_status ssh_agent_open(kit_ssh *ssh, const char *path, ssh_agent **out_agent, kolm_error_t *err) {
    *out_agent = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten SSH_AUTH_SOCK",
                        "the name of the agent's socket is too long");
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot make a socket for ssh-agent");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return KOLM_OK;
    }
    ssh_agent *agent = calloc(1, sizeof *agent);
    if (agent == NULL) {
        close(fd);
        return kit_no_memory(err);
    }
    agent->ssh = ssh;
    agent->fd = fd;
    kit_buf request = {0}, answer = {0};
    kit_buf_char(&request, REQUEST_IDENTITIES);
    kit_status status = kit_buf_ok(&request, err);
    if (status == KOLM_OK) status = ask(agent, &request, IDENTITIES_ANSWER, &answer, err);
    if (status == KOLM_OK) status = read_keys(agent, &answer, err);
    kit_buf_free(&request);
    kit_buf_free(&answer);
    if (status == KOLM_OK)
        *out_agent = agent;
    else
        ssh_agent_close(agent);
    return status;
}

const ssh_agent_key *ssh_agent_keys(const ssh_agent *agent, size_t *out_count) {
    *out_count = agent->count;
    return agent->keys;
}

kit_status ssh_agent_sign(const ssh_agent *agent, const ssh_agent_key *key, const uint8_t *data, size_t length,
                          uint32_t flags, kit_buf *out_signature, kolm_error_t *err) {
    kit_buf request = {0}, answer = {0};
    kit_buf_char(&request, SIGN_REQUEST);
    ssh_put_string(&request, key->blob, key->length);
    ssh_put_string(&request, data, length);
    ssh_put_u32(&request, flags);
    kit_status status = kit_buf_ok(&request, err);
    if (status == KOLM_OK) status = ask(agent, &request, SIGN_RESPONSE, &answer, err);
    if (status == KOLM_OK) {
        ssh_cursor cursor = {.at = (const uint8_t *)kit_buf_text(&answer), .left = answer.length};
        size_t n = 0;
        const uint8_t *signature = ssh_get_string(&cursor, &n);
        if (cursor.failed)
            status = kit_fail(err, KOLM_E_DATA_LOSS, "check SSH_AUTH_SOCK", "ssh-agent gave a damaged signature");
        else
            kit_buf_add(out_signature, signature, n);
    }
    if (status == KOLM_OK) status = kit_buf_ok(out_signature, err);
    kit_buf_free(&request);
    kit_buf_free(&answer);
    return status;
}

void ssh_agent_close(ssh_agent *agent) {
    if (agent == NULL) return;
    for (size_t i = 0; i < agent->count; i++) {
        free(agent->keys[i].blob);
        free(agent->keys[i].comment);
    }
    free(agent->keys);
    close(agent->fd);
    free(agent);
}
