/* SPDX-License-Identifier: Apache-2.0 */
/* The SSH connection under remote jobs: one channel that runs one fixed command. */
#include "internal.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

#define LANES 3 /* in addition to the first stream; OpenSSH's server allows ten */
/* OpenSSH's server accepts 2 MB of a stream and then waits until they are read: 40 MB/s with a round trip of 50 ms.
 * Below 10 ms one stream is as fast as libssh2. */
#define LANES_FROM_NS 10000000
#define END_WAIT_MS 500       /* for the message of a bootstrap that failed to start, and for its status */
#define PROGRAM_NOT_FOUND 127 /* the exit status of a shell: POSIX.1-2017, shell, 2.8.2 */
#define LANE_WINDOW 65536     /* a lane receives little */

/* The only command that a login shell ever gets from us. It reads the far end from its standard input: see the top of
 * far/kolm_remote/opening.py. Single quotes mean the same to sh, bash, dash, zsh, fish, csh and BusyBox. */
static const char bootstrap[] =
    "exec python3 -I -B -c 'import sys;i=sys.stdin.buffer;h=i.readline().split();p=i.read(int(h[1]));"
    "exec(compile(p,\"kolm_remote\",\"exec\"),{\"__name__\":\"kolm_remote\",\"MARKER\":h[0]})'";

const char *kit_ssh_job_bootstrap(void) {
    return bootstrap;
}

typedef struct ssh_wire {
    kit_ssh_job_wire table;
    kit_ssh_job_remote *remote;
    kit_ssh *ssh;
    kit_ssh_channel *channel;
    kit_ssh_channel *lanes[LANES];
    char host_key[96];
    char address[64];
    kit_ssh_list told; /* notes already logged */
} ssh_wire;

static int cancelled(void *user) {
    const kit_ssh_job_remote *remote = ((const ssh_wire *)user)->remote;
    return remote->heed && remote->host->cancelled(remote->host->user) != 0;
}

/* host_key accept-new: kit_ssh notes that the key is new. */
static int trust(void *user, const char *host, const char *type, const char *fingerprint) {
    (void)user, (void)host, (void)type, (void)fingerprint;
    return 1;
}

/* Logs each note once per job, however often the link breaks; notes name keys and files, so a different key is a
 * different note. */
static void tell_note(void *user, const char *text) {
    ssh_wire *w = user;
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (kit_ssh_list_has(&w->told, text)) return;
    w->remote->host->log(w->remote->host->user, KOLM_LOG_WARNING, text);
    if (kit_ssh_list_add(&w->told, text, strlen(text), &ignored) != KOLM_OK) return; /* then it may be logged again */
}

static void close_wire(void *user) {
    ssh_wire *w = user;
    if (w->remote->broken) kit_ssh_abandon(w->ssh);
    kit_ssh_channel_close(w->channel);
    kit_ssh_close(w->ssh);
    w->channel = NULL;
    w->ssh = NULL;
}

static kit_status open_wire(void *user, kolm_error_t *err) {
    ssh_wire *w = user;
    const char *said = w->remote->settings.host_key;
    kit_ssh_options options = w->remote->settings.ssh;
    options.cancelled = cancelled;
    options.note = tell_note;
    options.user = w;
    if (said != NULL && strcmp(said, "accept-new") == 0) options.trust = trust;
    if (said != NULL && strncmp(said, "SHA256:", 7) == 0) options.host_key = said;
    KIT_TRY(kit_ssh_open(&options, &w->ssh, err));
    kit_copy(w->host_key, sizeof w->host_key, kit_ssh_host_key_sha256(w->ssh));
    kit_copy(w->address, sizeof w->address, kit_ssh_peer_address(w->ssh));
    return kit_ssh_exec(w->ssh, bootstrap, &w->channel, err);
}

static kit_status write_wire(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    return kit_ssh_channel_write_all(((ssh_wire *)user)->channel, bytes, length, err);
}

static kit_status read_wire(void *user, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n,
                            kolm_error_t *err) {
    return kit_ssh_channel_read(((ssh_wire *)user)->channel, bytes, capacity, timeout_ms, out_n, err);
}

static void end_of(void *user, kit_ssh_job_end *out_end) {
    const ssh_wire *w = user;
    char text[512];
    size_t n = 0;
    kit_buf shown = {0};
    int exit_status = 0;
    *out_end = (kit_ssh_job_end){.no_python = false};
    if (w->channel == NULL) return;
    if (kit_ssh_channel_read_stderr(w->channel, text, sizeof text, END_WAIT_MS, &n, NULL) != KOLM_OK) n = 0;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    kit_buf_escaped(&shown, text, n);
    kit_copy(out_end->words, sizeof out_end->words, kit_buf_text(&shown));
    kit_buf_free(&shown);
    out_end->no_python = n > 0 && kit_ssh_channel_wait_exit(w->channel, END_WAIT_MS, &exit_status, NULL) == KOLM_OK &&
                         exit_status == PROGRAM_NOT_FOUND;
}

static kit_status lane_start(void *user, size_t lane, bool *out_started, kolm_error_t *err) {
    ssh_wire *w = user;
    return kit_ssh_try_exec(w->ssh, bootstrap, LANE_WINDOW, &w->lanes[lane - 1], out_started, err);
}

static kit_status lane_try_write(void *user, size_t lane, const void *bytes, size_t length, size_t *out_n,
                                 kolm_error_t *err) {
    return kit_ssh_channel_try_write(((ssh_wire *)user)->lanes[lane - 1], bytes, length, out_n, err);
}

static kit_status lane_try_read(void *user, size_t lane, void *bytes, size_t capacity, size_t *out_n, bool *out_ended,
                                kolm_error_t *err) {
    return kit_ssh_channel_try_read(((ssh_wire *)user)->lanes[lane - 1], 0, bytes, capacity, out_n, out_ended, err);
}

static kit_status lane_write_all(void *user, size_t lane, const void *bytes, size_t length, kolm_error_t *err) {
    return kit_ssh_channel_write_all(((ssh_wire *)user)->lanes[lane - 1], bytes, length, err);
}

static void lane_close(void *user, size_t lane) {
    kit_ssh_channel **channel = &((ssh_wire *)user)->lanes[lane - 1];
    kit_ssh_channel_leave(*channel);
    *channel = NULL;
}

kit_status ssh_job_wire_new(kit_ssh_job_remote *remote, const kit_ssh_job_wire **out_wire, kolm_error_t *err) {
    ssh_wire *w = calloc(1, sizeof *w);
    if (w == NULL) return kit_no_memory(err);
    w->remote = remote;
    w->table = (kit_ssh_job_wire){.user = w,
                                  .open = open_wire,
                                  .write_all = write_wire,
                                  .read = read_wire,
                                  .end = end_of,
                                  .close = close_wire,
                                  .lanes = LANES,
                                  .lanes_from_ns = LANES_FROM_NS,
                                  .lane_start = lane_start,
                                  .lane_try_write = lane_try_write,
                                  .lane_try_read = lane_try_read,
                                  .lane_write_all = lane_write_all,
                                  .lane_close = lane_close};
    remote->own_wire = w;
    *out_wire = &w->table;
    return KOLM_OK;
}

void ssh_job_wire_free(void *own_wire) {
    ssh_wire *w = own_wire;
    if (w != NULL) kit_ssh_list_free(&w->told);
    free(w);
}

const char *kit_ssh_job_host_key(const kit_ssh_job_remote *remote) {
    return remote->own_wire != NULL ? ((const ssh_wire *)remote->own_wire)->host_key : "";
}

const char *kit_ssh_job_address(const kit_ssh_job_remote *remote) {
    return remote->own_wire != NULL ? ((const ssh_wire *)remote->own_wire)->address : "";
}
