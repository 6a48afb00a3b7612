/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads over several streams of one connection (the lanes of a wire), so that one stream's window does not limit
 * them. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

#define LANES_MAX 8
#define SAID_MAX (1u << 20)

typedef struct further {
    size_t number;   /* from 1 on */
    kit_buf opening; /* sent to its bootstrap: the program and its requests */
    size_t opened;
    char word[SSH_JOB_WORD]; /* printed once the first program has the stream */
    kit_buf said;
    bool started, ready;
} further;

struct ssh_job_lanes {
    further streams[LANES_MAX];
    size_t count;
    size_t turn;
    bool given_up; /* no more streams are opened */
};

static kit_status write_opening(kit_ssh_job_remote *remote, const char *socket, further *s, kolm_error_t *err) {
    char marker[SSH_JOB_WORD];
    KIT_TRY(ssh_job_word(marker, err));
    KIT_TRY(ssh_job_word(s->word, err));
    KIT_TRY(ssh_job_opening(remote, marker, &s->opening, err));
    cJSON *lend = ssh_job_request("lend");
    (void)(kit_json_put_string(lend, "socket", socket) && kit_json_put_u64(lend, "stream", s->number) &&
           kit_json_put_string(lend, "word", s->word));
    return ssh_job_frame_put(&s->opening, lend, 2, 0, err);
}

kit_status ssh_job_lanes_begin(kit_ssh_job_remote *remote, const cJSON *answer, int64_t took_ns, kolm_error_t *err) {
    const char *socket = "";
    if (remote->lanes != NULL || took_ns < remote->wire->lanes_from_ns ||
        !kit_json_get_string(answer, "socket", &socket))
        return KOLM_OK;
    remote->lanes = calloc(1, sizeof *remote->lanes);
    if (remote->lanes == NULL) return kit_no_memory(err);
    remote->lanes->count = remote->wire->lanes < LANES_MAX ? remote->wire->lanes : LANES_MAX;
    for (size_t i = 0; i < remote->lanes->count; i++) {
        remote->lanes->streams[i].number = i + 1;
        KIT_TRY(write_opening(remote, socket, &remote->lanes->streams[i], err));
    }
    return KOLM_OK;
}

void ssh_job_lanes_end(kit_ssh_job_remote *remote) {
    for (size_t i = 0; remote->lanes != NULL && i < remote->lanes->count; i++) {
        further *s = &remote->lanes->streams[i];
        remote->wire->lane_close(remote->wire->user, i + 1);
        kit_buf_free(&s->opening);
        kit_buf_free(&s->said);
    }
    free(remote->lanes);
    remote->lanes = NULL;
}

/* Ignores anything before the word: output of a login shell, an answer. */
static kit_status listen_for_word(const kit_ssh_job_wire *wire, further *s, kolm_error_t *err) {
    char chunk[4096];
    size_t n = 0;
    bool ended = false;
    do {
        KIT_TRY(wire->lane_try_read(wire->user, s->number, chunk, sizeof chunk, &n, &ended, err));
        kit_buf_add(&s->said, chunk, n);
        KIT_TRY(kit_buf_ok(&s->said, err));
        s->ready = memmem(kit_buf_text(&s->said), s->said.length, s->word, SSH_JOB_WORD - 1) != NULL;
        if (!s->ready && (ended || s->said.length > SAID_MAX))
            return kit_fail(err, KOLM_E_UNAVAILABLE, "", "a further stream was not lent");
    } while (n > 0 && !s->ready);
    return KOLM_OK;
}

/* Proceeds as far as possible without blocking. */
static kit_status open_further(const kit_ssh_job_wire *wire, further *s, kolm_error_t *err) {
    if (!s->started) KIT_TRY(wire->lane_start(wire->user, s->number, &s->started, err));
    for (size_t n = 1; s->started && n > 0 && s->opened < s->opening.length; s->opened += n)
        KIT_TRY(wire->lane_try_write(wire->user, s->number, s->opening.data + s->opened, s->opening.length - s->opened,
                                     &n, err));
    return s->opened == s->opening.length ? listen_for_word(wire, s, err) : KOLM_OK;
}

/* Opens them one after the other, because libssh2 opens one channel at a time. */
static void open_more(kit_ssh_job_remote *remote) {
    ssh_job_lanes *lanes = remote->lanes;
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; !lanes->given_up && i < lanes->count; i++) {
        further *s = &lanes->streams[i];
        if (s->ready) continue;
        if (open_further(remote->wire, s, &err) != KOLM_OK) {
            lanes->given_up = true;
            remote->host->log(remote->host->user, KOLM_LOG_DEBUG, err.text);
        } else if (s->ready && s->number == lanes->count) {
            remote->host->log(remote->host->user, KOLM_LOG_DEBUG, "sends over all streams");
        }
        if (!s->started) return;
    }
}

size_t ssh_job_lanes_turn(kit_ssh_job_remote *remote) {
    ssh_job_lanes *lanes = remote->lanes;
    if (lanes == NULL) return 0;
    open_more(remote);
    do
        lanes->turn = (lanes->turn + 1) % (lanes->count + 1);
    while (lanes->turn > 0 && !lanes->streams[lanes->turn - 1].ready);
    return lanes->turn;
}

kit_status ssh_job_lanes_write(kit_ssh_job_remote *remote, size_t stream, const void *bytes, size_t length,
                               kolm_error_t *err) {
    return remote->wire->lane_write_all(remote->wire->user, stream, bytes, length, err);
}
