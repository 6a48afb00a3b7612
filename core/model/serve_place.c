/* SPDX-License-Identifier: Apache-2.0 */
/* The socket of a model's server, and how clients find it. */
#include "model/serve_place.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/trust.h"
#include "model/serve_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static kit_status own_directory(const char *path, kolm_error_t *err) {
    kit_status status = kit_trust_make_directory(path, err);
    return status == KOLM_E_PERMISSION_DENIED
               ? kit_fail(err, status, "remove it", "%s is not a private directory of yours", path)
               : status;
}

kit_status serve_place_find(kolm_session *session, const char *manifest_sha256, bool make, kit_buf *out,
                            kolm_error_t *err) {
    store_home *home = NULL;
    char *directory = NULL;
    struct sockaddr_un address;
    KIT_TRY(session_home(session, &home, err));
    if (make) KIT_TRY(store_home_create(home, err));
    KIT_TRY(store_home_place(home, STORE_RUN, &directory, err));
    kit_buf path = {0};
    kit_buf_str(&path, directory);
    free(directory);
    if (path.length + sizeof "/.sock" + 32 > sizeof address.sun_path) {
        kit_buf_clear(&path);
        kit_buf_fmt(&path, "/tmp/kolm-run-%ld", (long)geteuid());
    }
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK && (make || access(path.data, F_OK) == 0)) status = own_directory(path.data, err);
    kit_buf_fmt(out, "%s/%.32s", kit_buf_text(&path), manifest_sha256);
    kit_buf_free(&path);
    return status == KOLM_OK ? kit_buf_ok(out, err) : status;
}

void serve_place_address(const char *place, struct sockaddr_un *out) {
    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    kit_format(out->sun_path, sizeof out->sun_path, "%s.sock", place);
}

/* ---- The client side */

/* Reads exactly the line: what follows belongs to the answers. */
static bool read_greeting(int fd, model_served *out) {
    char line[512];
    const char *lf = NULL;
    ssize_t seen = 0;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    while (lf == NULL && poll(&wait, 1, 2000) == 1) {
        ssize_t n = recv(fd, line, sizeof line, MSG_PEEK);
        if (n <= seen) return false; /* end of file, or too long for a greeting */
        seen = n;
        lf = memchr(line, '\n', (size_t)n);
    }
    if (lf == NULL) return false;
    size_t length = (size_t)(lf - line);
    if (recv(fd, line, length + 1, 0) != (ssize_t)length + 1) return false;
    return serve_greeting_read(line, length, out);
}

void model_serve_connect(kolm_session *session, const char *manifest_sha256, model_served *out_served) {
    kit_buf place = {0};
    struct sockaddr_un address;
    *out_served = (model_served){.fd = -1};
    if (serve_place_find(session, manifest_sha256, false, &place, NULL) == KOLM_OK) {
        serve_place_address(place.data, &address);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
            read_greeting(fd, out_served))
            out_served->fd = fd;
        else if (fd >= 0)
            close(fd);
    }
    kit_buf_free(&place);
}

/* ---- The serving side */

void serve_place_forget(const char *place) {
    struct sockaddr_un address;
    kit_buf lock = {0};
    serve_place_address(place, &address);
    unlink(address.sun_path);
    kit_buf_fmt(&lock, "%s.lock", place);
    if (!lock.failed) unlink(lock.data);
    kit_buf_free(&lock);
}

kit_status serve_place_listen(const char *place, int *out_lock, int *out_listener, kolm_error_t *err) {
    struct sockaddr_un address;
    kit_buf lock = {0};
    kit_buf_fmt(&lock, "%s.lock", place);
    KIT_TRY(kit_buf_ok(&lock, err));
    kit_status status = kit_lock_open(lock.data, out_lock, err);
    if (status == KOLM_OK) status = kit_lock_try(*out_lock, lock.data, err);
    /* The server that just ended removed its file. */
    for (int again = 0; status == KOLM_OK && !kit_lock_names(*out_lock, lock.data) && again < 16; again++) {
        close(*out_lock);
        *out_lock = -1;
        status = kit_lock_open(lock.data, out_lock, err);
        if (status == KOLM_OK) status = kit_lock_try(*out_lock, lock.data, err);
    }
    if (status == KOLM_E_UNAVAILABLE)
        status = kit_fail(err, KOLM_E_ALREADY_EXISTS, "`kolm run` uses it already; end that one first to start another",
                          "another kolm serves this model");
    kit_buf_free(&lock);
    if (status != KOLM_OK) return status;
    serve_place_address(place, &address);
    unlink(address.sun_path);
    *out_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    bool good = *out_listener >= 0 && bind(*out_listener, (const struct sockaddr *)&address, sizeof address) == 0 &&
                listen(*out_listener, 16) == 0;
    int why = errno;
    umask(before);
    return good ? KOLM_OK : kit_fail_errno(err, why, "cannot listen at %s", address.sun_path);
}
