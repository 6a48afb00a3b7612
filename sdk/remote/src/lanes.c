/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads over several streams of one connection: OpenSSH's server takes 2 MB of a stream and then waits until they are
 * read, which is 40 MB/s where an answer takes 50 ms. */
#include "internal.h"
#include "../../ssh/src/internal.h"

#include <stdlib.h>
#include <string.h>

#define MORE 3          /* streams beside the first; OpenSSH's server allows ten */
#define FAR_NS 10000000 /* nearer than that one stream is as quick as libssh2 */
#define WINDOW 65536    /* they say little */
#define SAID_MAX (1u << 20)

typedef struct further {
    kit_ssh_channel *channel;
    kit_buf opening; /* what its program is sent: itself, and what it is to do */
    size_t opened;
    char word[SSH_JOB_WORD]; /* it says that when the first program has it */
    kit_buf said;
    bool started, ready;
} further;

struct ssh_job_wide {
    further streams[MORE];
    size_t turn;
    bool given_up; /* no more of them than there are */
};

static kit_status write_opening(kit_ssh_job_remote *remote, const char *socket, size_t number, further *s,
                                kolm_error_t *err) {
    char marker[SSH_JOB_WORD];
    KIT_TRY(ssh_job_word(marker, err));
    KIT_TRY(ssh_job_word(s->word, err));
    KIT_TRY(ssh_job_opening(remote, marker, &s->opening, err));
    cJSON *lend = ssh_job_request("lend");
    (void)(kit_json_put_string(lend, "socket", socket) && kit_json_put_u64(lend, "stream", number) &&
           kit_json_put_string(lend, "word", s->word));
    return ssh_job_frame_put(&s->opening, lend, 2, 0, err);
}

kit_status ssh_job_wide_begin(kit_ssh_job_remote *remote, const cJSON *answer, int64_t took_ns, kolm_error_t *err) {
    const char *socket = "";
    if (remote->wide != NULL || took_ns < FAR_NS || !kit_json_get_string(answer, "socket", &socket)) return KOLM_OK;
    remote->wide = calloc(1, sizeof *remote->wide);
    if (remote->wide == NULL) return ssh_job_out_of_memory(err);
    for (size_t i = 0; i < MORE; i++)
        KIT_TRY(write_opening(remote, socket, i + 1, &remote->wide->streams[i], err));
    return KOLM_OK;
}

void ssh_job_wide_end(kit_ssh_job_remote *remote) {
    for (size_t i = 0; remote->wide != NULL && i < MORE; i++) {
        further *s = &remote->wide->streams[i];
        ssh_channel_leave(s->channel);
        kit_buf_free(&s->opening);
        kit_buf_free(&s->said);
    }
    free(remote->wide);
    remote->wide = NULL;
}

/* Whatever it says before its word is of no interest: what a login shell prints, an answer. */
static kit_status listen_for_word(further *s, kolm_error_t *err) {
    char chunk[4096];
    size_t n = 0;
    bool ended = false;
    do {
        KIT_TRY(ssh_channel_try_read(s->channel, 0, chunk, sizeof chunk, &n, &ended, err));
        kit_buf_add(&s->said, chunk, n);
        KIT_TRY(kit_buf_ok(&s->said, err));
        s->ready = memmem(kit_buf_text(&s->said), s->said.length, s->word, SSH_JOB_WORD - 1) != NULL;
        if (!s->ready && (ended || s->said.length > SAID_MAX))
            return kit_fail(err, KOLM_E_UNAVAILABLE, "", "a further stream was not lent");
    } while (n > 0 && !s->ready);
    return KOLM_OK;
}

/* As far as it goes without waiting. */
static kit_status open_further(kit_ssh *ssh, further *s, kolm_error_t *err) {
    if (!s->started)
        KIT_TRY(ssh_channel_try_exec(ssh, ssh_job_bootstrap, WINDOW, &s->channel, &s->started, err));
    for (size_t n = 1; s->started && n > 0 && s->opened < s->opening.length; s->opened += n)
        KIT_TRY(ssh_channel_try_write(s->channel, s->opening.data + s->opened, s->opening.length - s->opened, &n, err));
    return s->opened == s->opening.length ? listen_for_word(s, err) : KOLM_OK;
}

/* One after the other, as libssh2 opens one channel at a time. */
static void open_more(kit_ssh_job_remote *remote) {
    ssh_job_wide *wide = remote->wide;
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; !wide->given_up && i < MORE; i++) {
        further *s = &wide->streams[i];
        if (s->ready) continue;
        if (open_further(ssh_job_wire_ssh(remote->own_wire), s, &err) != KOLM_OK) {
            wide->given_up = true;
            remote->host->log(remote->host->user, KOLM_LOG_DEBUG, err.text);
        } else if (s->ready && i + 1 == MORE) {
            remote->host->log(remote->host->user, KOLM_LOG_DEBUG, "sends over all streams");
        }
        if (!s->started) return;
    }
}

size_t ssh_job_wide_turn(kit_ssh_job_remote *remote) {
    ssh_job_wide *wide = remote->wide;
    if (wide == NULL) return 0;
    open_more(remote);
    do
        wide->turn = (wide->turn + 1) % (MORE + 1);
    while (wide->turn > 0 && !wide->streams[wide->turn - 1].ready);
    return wide->turn;
}

kit_status ssh_job_wide_write(kit_ssh_job_remote *remote, size_t stream, const void *bytes, size_t length,
                              kolm_error_t *err) {
    return kit_ssh_channel_write_all(remote->wide->streams[stream - 1].channel, bytes, length, err);
}
