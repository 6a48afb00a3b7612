/* SPDX-License-Identifier: Apache-2.0 */
/* The SSH connection under remote jobs: one channel that runs one fixed command. */
#include "ssh_job_parts.h"
#include "ssh_parts.h"

#include <stdlib.h>
#include <string.h>

/* The only thing that a login shell ever sees of us. It reads the far end from its standard input: see the head of
 * kolm_remote.py. Single quotes mean the same to sh, bash, dash, zsh, fish, csh and BusyBox. */
const char ssh_job_bootstrap[] =
    "exec python3 -I -B -c 'import sys;i=sys.stdin.buffer;h=i.readline().split();p=i.read(int(h[1]));"
    "exec(compile(p,\"kolm_remote\",\"exec\"),{\"__name__\":\"kolm_remote\",\"MARKER\":h[0]})'";

typedef struct ssh_wire {
    kit_ssh_job_wire table;
    kit_ssh_job_remote *remote;
    kit_ssh *ssh;
    kit_ssh_channel *channel;
    char host_key[96];
    char address[64];
    bool told; /* the notes of the first connection */
} ssh_wire;

static int cancelled(void *user) {
    const kit_ssh_job_remote *remote = ((const ssh_wire *)user)->remote;
    return remote->heed && remote->host->cancelled(remote->host->user) != 0;
}

static int trust(void *user, const char *host, const char *type, const char *fingerprint) {
    const ssh_wire *w = user;
    const char *said = w->remote->settings.host_key;
    char text[256];
    bool good = said != NULL && (strcmp(said, "accept-new") == 0 || strcmp(said, fingerprint) == 0);
    if (good) {
        kit_format(text, sizeof text, "the key of %s is known from now on: %s %s", host, type, fingerprint);
        w->remote->host->log(w->remote->host->user, KOLM_LOG_WARNING, text);
    }
    return good;
}

static void close_wire(void *user) {
    ssh_wire *w = user;
    if (w->remote->broken) ssh_abandon(w->ssh);
    kit_ssh_channel_close(w->channel);
    kit_ssh_close(w->ssh);
    w->channel = NULL;
    w->ssh = NULL;
}

static void tell_notes(ssh_wire *w) {
    const char *notes = kit_ssh_notes(w->ssh);
    if (!w->told && notes[0] != '\0') w->remote->host->log(w->remote->host->user, KOLM_LOG_INFO, notes);
    w->told = true;
}

static kit_status open_wire(void *user, kolm_error_t *err) {
    ssh_wire *w = user;
    const char *pinned = w->remote->settings.host_key;
    kit_ssh_options options = w->remote->settings.ssh;
    options.trust = trust;
    options.cancelled = cancelled;
    options.user = w;
    KIT_TRY(kit_ssh_open(&options, &w->ssh, err));
    kit_copy(w->host_key, sizeof w->host_key, kit_ssh_host_key_sha256(w->ssh));
    kit_copy(w->address, sizeof w->address, kit_ssh_peer_address(w->ssh));
    tell_notes(w);
    if (pinned != NULL && strncmp(pinned, "SHA256:", 7) == 0 && strcmp(pinned, w->host_key) != 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "if that is right, correct host_key in config.json; if not, somebody is in between",
                        "the key of %s is %s, and config.json says %s", w->remote->settings.name, w->host_key, pinned);
    return kit_ssh_exec(w->ssh, ssh_job_bootstrap, &w->channel, err);
}

static kit_status write_wire(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    return kit_ssh_channel_write_all(((ssh_wire *)user)->channel, bytes, length, err);
}

static kit_status read_wire(void *user, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n,
                            kolm_error_t *err) {
    return kit_ssh_channel_read(((ssh_wire *)user)->channel, bytes, capacity, timeout_ms, out_n, err);
}

static void last_words(void *user, char *out_text, size_t capacity) {
    char text[512];
    size_t n = 0;
    kit_buf shown = {0};
    out_text[0] = '\0';
    if (((ssh_wire *)user)->channel == NULL) return;
    kit_status status = kit_ssh_channel_read_stderr(((ssh_wire *)user)->channel, text, sizeof text, 500, &n, NULL);
    if (status != KOLM_OK) n = 0;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    kit_buf_escaped(&shown, text, n);
    kit_copy(out_text, capacity, kit_buf_text(&shown));
    kit_buf_free(&shown);
}

kit_status ssh_job_wire_new(kit_ssh_job_remote *remote, const kit_ssh_job_wire **out_wire, kolm_error_t *err) {
    ssh_wire *w = calloc(1, sizeof *w);
    if (w == NULL) return ssh_job_out_of_memory(err);
    w->remote = remote;
    w->table = (kit_ssh_job_wire){.user = w,
                                  .open = open_wire,
                                  .write_all = write_wire,
                                  .read = read_wire,
                                  .last_words = last_words,
                                  .close = close_wire};
    remote->own_wire = w;
    *out_wire = &w->table;
    return KOLM_OK;
}

void ssh_job_wire_free(void *own_wire) {
    free(own_wire);
}

kit_ssh *ssh_job_wire_ssh(const void *own_wire) {
    return ((const ssh_wire *)own_wire)->ssh;
}

const char *kit_ssh_job_host_key(const kit_ssh_job_remote *remote) {
    return remote->own_wire != NULL ? ((const ssh_wire *)remote->own_wire)->host_key : "";
}

const char *kit_ssh_job_address(const kit_ssh_job_remote *remote) {
    return remote->own_wire != NULL ? ((const ssh_wire *)remote->own_wire)->address : "";
}
