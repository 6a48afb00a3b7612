/* SPDX-License-Identifier: Apache-2.0 */
/* From a name to an authenticated session: resolving, TCP, jumps, the handshake, the host key. */
#include "internal.h"

#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_JUMPS 8
#define DEFAULT_CONNECT_MS 15000
#define MOST_CONNECT_S 86400
#define DEFAULT_IDLE_MS 60000
#define DEFAULT_KEEPALIVE_S 15

/* ---- Names. getaddrinfo cannot be interrupted, so a thread calls it; on a timeout the thread is abandoned.
 */

typedef struct lookup {
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    char host[KIT_SSH_HOST_BYTES];
    char port[8];
    int family;
    int references, done, result;
    struct addrinfo *found;
} lookup;

static void release(lookup *l) {
    pthread_mutex_lock(&l->mutex);
    int left = --l->references;
    pthread_mutex_unlock(&l->mutex);
    if (left > 0) return;
    if (l->found != NULL) freeaddrinfo(l->found);
    pthread_cond_destroy(&l->done_changed);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

static void *look_up(void *argument) {
    lookup *l = argument;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = l->family, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int result = getaddrinfo(l->host, l->port, &hints, &found);
    pthread_mutex_lock(&l->mutex);
    l->found = result == 0 ? found : NULL;
    l->result = result;
    l->done = 1;
    pthread_cond_signal(&l->done_changed);
    pthread_mutex_unlock(&l->mutex);
    release(l);
    return NULL;
}

static kit_status limits(const kit_ssh *ssh, kolm_error_t *err) {
    if (ssh->cancelled != NULL && ssh->cancelled(ssh->user) != 0)
        return kit_fail(err, KOLM_E_CANCELLED, "", "cancelled during %s to %s", ssh->stage, ssh->label);
    if (kit_now_ms() >= ssh->deadline_ms)
        return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "check the host and the port, or raise the connect timeout",
                        "%s did not finish %s in time", ssh->label, ssh->stage);
    return KOLM_OK;
}

static kit_status wait_lookup(const kit_ssh *ssh, lookup *l, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    pthread_mutex_lock(&l->mutex);
    while (!l->done && status == KOLM_OK) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 200000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&l->done_changed, &l->mutex, &until);
        if (!l->done) status = limits(ssh, err);
    }
    pthread_mutex_unlock(&l->mutex);
    return status;
}

static lookup *new_lookup(const char *host, const char *port, int family) {
    lookup *l = calloc(1, sizeof *l);
    if (l == NULL) return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->done_changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&l->mutex, NULL);
    kit_copy(l->host, sizeof l->host, host);
    kit_copy(l->port, sizeof l->port, port);
    l->family = family;
    l->references = 1;
    return l;
}

/* Resolves host; numeric addresses need no thread. *out_lookup, if not NULL, owns *out_found. */
static kit_status resolve(const kit_ssh *ssh, const char *host, const char *port, int family, bool numeric,
                          lookup **out_lookup, struct addrinfo **out_found, kolm_error_t *err) {
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_family = family, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    *out_lookup = NULL;
    *out_found = NULL;
    if (getaddrinfo(host, port, &hints, out_found) == 0) return KOLM_OK;
    if (numeric)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give a numeric address",
                        "\"%s\" is not a numeric address to pin %s to", host, ssh->label);
    lookup *l = new_lookup(host, port, family);
    if (l == NULL) return kit_no_memory(err);
    pthread_t thread;
    l->references = 2;
    int rc = kit_thread_start(&thread, 0, look_up, l);
    if (rc != 0) {
        l->references = 1;
        release(l);
        return kit_fail_errno(err, rc, "cannot start a thread to look up %s", host);
    }
    pthread_detach(thread);
    kit_status status = wait_lookup(ssh, l, err);
    if (status == KOLM_OK && l->result != 0) {
        bool later = l->result == EAI_AGAIN;
        status = kit_fail(err, later ? KOLM_E_UNAVAILABLE : KOLM_E_NOT_FOUND,
                          later ? "check the network, then try again" : "check the spelling of the host",
                          "the name %s was not resolved: %s", host, gai_strerror(l->result));
    }
    if (status != KOLM_OK) {
        release(l);
        return status;
    }
    *out_lookup = l;
    *out_found = l->found;
    return KOLM_OK;
}

/* ---- TCP */

/* Connects to one address; on failure *out_fd is -1 and *out_errno is set. */
static kit_status connect_one(kit_ssh *ssh, const struct addrinfo *address, int64_t until, int *out_fd, int *out_errno,
                              kolm_error_t *err) {
    *out_fd = -1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0) {
        *out_errno = errno;
        return KOLM_OK;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    kit_status status = KOLM_OK;
    int rc = connect(fd, address->ai_addr, address->ai_addrlen);
    *out_errno = rc == 0 ? 0 : errno;
    while (status == KOLM_OK && (*out_errno == EINPROGRESS || *out_errno == EINTR)) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        int count = poll(&ready, 1, 200);
        socklen_t size = sizeof *out_errno;
        if (count > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, out_errno, &size) != 0) *out_errno = errno;
        if (count > 0) break;
        status = limits(ssh, err);
        if (status == KOLM_OK && kit_now_ms() > until) {
            *out_errno = ETIMEDOUT;
            break;
        }
    }
    if (status == KOLM_OK && *out_errno == 0)
        *out_fd = fd;
    else
        close(fd);
    return status;
}

static kit_status connect_tcp(kit_ssh *ssh, const char *host, uint16_t port, int family, const char *pinned,
                              kolm_error_t *err) {
    char service[8], room[64];
    lookup *l = NULL;
    struct addrinfo *found = NULL;
    int why = 0;
    kit_format(service, sizeof service, "%u", port);
    ssh->stage = "the look-up of the name";
    KIT_TRY(resolve(ssh, pinned != NULL ? pinned : host, service, family, pinned != NULL, &l, &found, err));
    ssh->stage = "the TCP connection";
    kit_status status = KOLM_OK;
    int64_t left = 0;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next)
        left++;
    for (const struct addrinfo *a = found; a != NULL && ssh->fd < 0 && status == KOLM_OK; a = a->ai_next) {
        int64_t now = kit_now_ms();
        /* Each address gets its share of the remaining time. */
        status = connect_one(ssh, a, now + (ssh->deadline_ms - now) / left--, &ssh->fd, &why, err);
        if (ssh->fd >= 0 || a->ai_next == NULL)
            getnameinfo(a->ai_addr, a->ai_addrlen, ssh->peer, sizeof ssh->peer, NULL, 0, NI_NUMERICHOST);
    }
    if (l != NULL)
        release(l);
    else if (found != NULL)
        freeaddrinfo(found);
    if (status == KOLM_OK && ssh->fd < 0)
        status = kit_fail(err, why == ETIMEDOUT ? KOLM_E_DEADLINE_EXCEEDED : KOLM_E_UNAVAILABLE,
                          "check that the machine is up, that sshd listens there, and the firewall",
                          "cannot connect to %s port %u (%s): %s", host, port, ssh->peer,
                          strerror_r(why, room, sizeof room));
    return status;
}

/* Opens a channel of the jump host to host:port. */
static kit_status connect_through(kit_ssh *ssh, const char *host, uint16_t port, kolm_error_t *err) {
    kit_ssh *outer = ssh->outer;
    ssh->fd = outer->fd;
    kit_copy(ssh->peer, sizeof ssh->peer, outer->peer);
    outer->stage = "the connection to the next host";
    outer->deadline_ms = ssh->deadline_ms;
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && ssh->outer_channel == NULL) {
        ssh->outer_channel = libssh2_channel_direct_tcpip_ex(outer->session, host, port, "127.0.0.1", 22);
        if (ssh->outer_channel != NULL) break;
        int code = libssh2_session_last_errno(outer->session);
        if (code == LIBSSH2_ERROR_EAGAIN)
            status = ssh_wait(outer, ssh->deadline_ms, kit_now_ms(), err);
        else if (code == LIBSSH2_ERROR_CHANNEL_FAILURE)
            status =
                kit_fail(err, KOLM_E_UNAVAILABLE,
                         "check the target's name as the jump host sees it, and that its sshd allows TCP forwarding",
                         "the jump host %s does not connect to %s port %u", outer->label, host, port);
        else
            status = ssh_fail(outer, code, outer->stage, err);
    }
    outer->deadline_ms = 0;
    outer->stage = "its work as a jump host";
    return status;
}

/* ---- The handshake */

static kit_status handshake(kit_ssh *ssh, const kit_ssh_config *config, const ssh_host_check *check,
                            kolm_error_t *err) {
    static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&first);
    int rc = libssh2_init(0); /* reference-counted; never undone, because others in this process may use libssh2 */
    pthread_mutex_unlock(&first);
    if (rc == 0) ssh->session = libssh2_session_init_ex(NULL, NULL, NULL, ssh);
    if (ssh->session == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs", "libssh2 cannot be started");
    union {
        LIBSSH2_SEND_FUNC((*send));
        LIBSSH2_RECV_FUNC((*recv));
        void *pointer;
    } callback;
    callback.send = ssh_link_send;
    libssh2_session_callback_set(ssh->session, LIBSSH2_CALLBACK_SEND, callback.pointer);
    callback.recv = ssh_link_recv;
    libssh2_session_callback_set(ssh->session, LIBSSH2_CALLBACK_RECV, callback.pointer);
    libssh2_session_set_blocking(ssh->session, 0);
    libssh2_keepalive_config(ssh->session, 1, ssh->keepalive_seconds);
    KIT_TRY(ssh_prefer_algorithms(ssh, config, check, err));
    ssh->stage = "the handshake";
    while ((rc = libssh2_session_handshake(ssh->session, ssh->fd)) == LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    return rc == 0 ? KOLM_OK : ssh_fail(ssh, rc, ssh->stage, err);
}

/* ---- One hop */

static void set_names(kit_ssh *ssh, const kit_ssh_config *config, uint16_t port) {
    if (port == 22)
        kit_copy(ssh->label, sizeof ssh->label, config->host_name);
    else
        kit_format(ssh->label, sizeof ssh->label, "[%s]:%u", config->host_name, port);
    if (config->user != NULL)
        kit_copy(ssh->login, sizeof ssh->login, config->user);
    else {
        struct passwd entry, *found = NULL;
        char room[16384];
        if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found != NULL)
            kit_copy(ssh->login, sizeof ssh->login, found->pw_name);
    }
}

static kit_ssh *new_link(const kit_ssh_options *options, kit_ssh *outer) {
    kit_ssh *ssh = calloc(1, sizeof *ssh);
    if (ssh != NULL && (ssh->in = malloc(SSH_IN_BYTES)) == NULL) {
        free(ssh);
        ssh = NULL;
    }
    if (ssh == NULL) return NULL;
    ssh->fd = -1;
    ssh->outer = outer;
    ssh->cancelled = options->cancelled;
    ssh->note = options->note;
    ssh->user = options->user;
    ssh->idle_timeout_ms = options->idle_timeout_ms != 0 ? options->idle_timeout_ms : DEFAULT_IDLE_MS;
    ssh->keepalive_seconds = options->keepalive_seconds != 0 ? options->keepalive_seconds : DEFAULT_KEEPALIVE_S;
    ssh->last_in_ms = kit_now_ms();
    return ssh;
}

/* Connects, performs the handshake, checks the host key and authenticates. */
static kit_status enter(kit_ssh *ssh, const kit_ssh_options *options, const kit_ssh_config *config, uint16_t port,
                        const char *pinned, bool is_jump, kolm_error_t *err) {
    ssh_host_check check;
    kit_status status = ssh_host_check_begin(&check, ssh, options, config, config->host_name, port, err);
    if (status == KOLM_OK)
        status = ssh->outer != NULL ? connect_through(ssh, config->host_name, port, err)
                                    : connect_tcp(ssh, config->host_name, port, config->address_family, pinned, err);
    if (status == KOLM_OK) status = handshake(ssh, config, &check, err);
    if (status == KOLM_OK) status = ssh_host_check_key(ssh, &check, is_jump, err);
    if (status == KOLM_OK) status = ssh_authenticate(ssh, options, config, err);
    ssh_host_check_free(&check);
    return status;
}

static uint32_t connect_limit_ms(const kit_ssh_options *options, const kit_ssh_config *config) {
    if (options->connect_timeout_ms != 0) return options->connect_timeout_ms;
    if (config->connect_timeout_s == 0) return DEFAULT_CONNECT_MS;
    return config->connect_timeout_s < MOST_CONNECT_S ? config->connect_timeout_s * 1000 : MOST_CONNECT_S * 1000;
}

/* Takes ownership of outer, even on failure. */
static kit_status reach(const kit_ssh_options *options, const kit_ssh_config *config, const char *pinned, bool is_jump,
                        kit_ssh *outer, kit_ssh **out_ssh, kolm_error_t *err) {
    *out_ssh = NULL;
    kit_ssh *ssh = new_link(options, outer);
    if (ssh == NULL) {
        kit_ssh_close(outer);
        return kit_no_memory(err);
    }
    uint16_t port = config->port != 0 ? config->port : 22;
    set_names(ssh, config, port);
    if (outer != NULL) kit_buf_str(&ssh->notes, kit_buf_text(&outer->notes));
    for (size_t i = 0; i < config->notes.count; i++)
        ssh_say(ssh, config->notes.items[i]);
    ssh->deadline_ms = kit_now_ms() + connect_limit_ms(options, config);
    kit_status status = enter(ssh, options, config, port, pinned, is_jump, err);
    if (status == KOLM_OK) status = kit_buf_ok(&ssh->notes, err);
    if (status != KOLM_OK) {
        kit_ssh_close(ssh);
        return status;
    }
    ssh->deadline_ms = 0;
    ssh->ready = true;
    ssh->stage = "its work";
    *out_ssh = ssh;
    return KOLM_OK;
}

static kit_status open_host(const kit_ssh_options *options, const kit_ssh_target *target, unsigned depth,
                            kit_ssh **out_ssh, kolm_error_t *err);

/* Opens a hop after the first; its own ProxyJump is ignored. */
static kit_status go_on(const kit_ssh_options *options, const kit_ssh_target *hop, kit_ssh **outer, kolm_error_t *err) {
    kit_ssh_config own = {0};
    KIT_TRY(kit_ssh_config_resolve(options->config_path, hop, &own, err));
    kit_status status = reach(options, &own, NULL, true, *outer, outer, err);
    kit_ssh_config_free(&own);
    return status;
}

/* Opens the jumps of config. Only the ProxyJump of the first one is used; the others are reached through it. */
static kit_status open_jumps(const kit_ssh_options *options, const kit_ssh_config *config, unsigned depth,
                             kit_ssh **out_outer, kolm_error_t *err) {
    for (size_t i = 0; i < config->proxy_jump.count; i++) {
        kit_ssh_target jump;
        if (kit_ssh_target_parse(config->proxy_jump.items[i], &jump, err) != KOLM_OK)
            return kit_fail_context(err, "ProxyJump");
        KIT_TRY(i == 0 ? open_host(options, &jump, depth + 1, out_outer, err) : go_on(options, &jump, out_outer, err));
    }
    return KOLM_OK;
}

static kit_status open_host(const kit_ssh_options *options, const kit_ssh_target *target, unsigned depth,
                            kit_ssh **out_ssh, kolm_error_t *err) {
    kit_ssh_config config = {0};
    kit_ssh *outer = NULL;
    const char *pinned = depth == 0 ? options->pinned_addr : NULL;
    *out_ssh = NULL;
    kit_status status = kit_ssh_config_resolve(options->config_path, target, &config, err);
    if (status == KOLM_OK && (depth > MOST_JUMPS || config.proxy_jump.count > MOST_JUMPS))
        status =
            kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct ProxyJump",
                     "%s is behind more than %d jumps: does a host jump through itself?", target->host, MOST_JUMPS);
    if (status == KOLM_OK && pinned != NULL && config.proxy_jump.count > 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a host without ProxyJump",
                          "%s has a ProxyJump, which cannot be pinned to an address", target->host);
    if (status == KOLM_OK) status = open_jumps(options, &config, depth, &outer, err);
    if (status == KOLM_OK)
        status = reach(options, &config, pinned, depth > 0, outer, out_ssh, err);
    else
        kit_ssh_close(outer);
    kit_ssh_config_free(&config);
    return status;
}

kit_status kit_ssh_open(const kit_ssh_options *options, kit_ssh **out_ssh, kolm_error_t *err) {
    *out_ssh = NULL;
    if (options->target.host[0] == '\0')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a host", "the SSH target has no host");
    return open_host(options, &options->target, 0, out_ssh, err);
}

/* ---- Closing */

/* Sends queued data, and libssh2's disconnect, for up to a second; then frees the session. */
static void free_session(kit_ssh *ssh) {
    int64_t until = kit_now_ms() + 1000;
    if (ssh->ready && !ssh->spent) (void)libssh2_session_disconnect(ssh->session, "done");
    while (ssh_link_flush(ssh) &&
           (ssh_link_queued(ssh) > 0 || (ssh->outer != NULL && ssh_link_queued(ssh->outer) > 0)) &&
           kit_now_ms() < until) {
        struct pollfd ready = {.fd = ssh->fd, .events = POLLOUT};
        (void)poll(&ready, 1, 50);
    }
    ssh->spent = true;
    for (int i = 0; i < 100 && libssh2_session_free(ssh->session) == LIBSSH2_ERROR_EAGAIN; i++)
        continue;
}

void kit_ssh_abandon(kit_ssh *ssh) {
    const struct linger at_once = {.l_onoff = 1};
    for (; ssh != NULL; ssh = ssh->outer) {
        ssh->spent = true;
        if (ssh->outer == NULL && ssh->fd >= 0)
            (void)setsockopt(ssh->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
}

void kit_ssh_close(kit_ssh *ssh) {
    if (ssh == NULL) return;
    kit_ssh *outer = ssh->outer;
    if (ssh->session != NULL) free_session(ssh);
    if (ssh->outer_channel != NULL) {
        if (outer->spent)
            (void)libssh2_channel_free(ssh->outer_channel);
        else
            for (int i = 0; i < 10 && libssh2_channel_free(ssh->outer_channel) == LIBSSH2_ERROR_EAGAIN; i++) {
                struct pollfd ready = {.fd = outer->fd, .events = POLLIN};
                if (!ssh_link_flush(outer)) continue;
                (void)poll(&ready, 1, 50);
            }
    }
    if (outer != NULL)
        kit_ssh_close(outer);
    else if (ssh->fd >= 0)
        close(ssh->fd);
    kit_buf_free(&ssh->out);
    kit_buf_free(&ssh->notes);
    free(ssh->in);
    free(ssh);
}

const char *kit_ssh_host_key_sha256(const kit_ssh *ssh) {
    return ssh->fingerprint;
}

const char *kit_ssh_peer_address(const kit_ssh *ssh) {
    return ssh->peer;
}

const char *kit_ssh_notes(const kit_ssh *ssh) {
    return kit_buf_text(&ssh->notes);
}
