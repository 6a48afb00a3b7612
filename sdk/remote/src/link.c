/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to the far end of remote jobs: the bootstrap, frames, and reconnecting. */
#include "internal.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"
#include "kolm_remote.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define PROTOCOL 1
#define HEADER_MAX (16u << 20)
#define RAW_MAX (4u << 20)
#define NOISE_MAX (1u << 20) /* bytes that a login shell may print before the far end's first frame */
#define READ_BYTES (256u << 10)
#define SILENCE_MS 600000   /* longest wait for a due answer; keepalives detect a dead link sooner */
#define BROKEN_OFF_MS 60000 /* the same in the middle of a frame */
#define CONNECT_MS 15000    /* if no connection timeout is set */
#define STARTS 4            /* a login shell and Python may take this many times as long */
#define SLICE_MS 200
#define PATIENCE_SECONDS 900
#define FIRST_MS 5000
#define SHORT_MS 5000 /* a connection that lasted less is short */
#define BACKOFF_MS 200
#define BACKOFF_MAX_MS 15000

void ssh_job_frame_free(ssh_job_frame *frame) {
    cJSON_Delete(frame->header);
    *frame = (ssh_job_frame){0};
}

cJSON *ssh_job_request(const char *verb) {
    cJSON *request = cJSON_CreateObject();
    if (kit_json_put_string(request, "verb", verb)) return request;
    cJSON_Delete(request);
    return NULL;
}

/* CANCELLED if the user asked to stop, DEADLINE_EXCEEDED if no time is left. */
static kit_status told_to_stop(const kit_ssh_job_remote *remote, kolm_error_t *err) {
    const kolm_host_v1_t *host = remote->host;
    if (!remote->heed) return KOLM_OK;
    if (host->cancelled(host->user) != 0) return kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
    if (host->time_left_ms(host->user) > 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "allow more time", "the time for this call has run out");
}

static kit_status broke(kit_ssh_job_remote *remote, kit_status status) {
    if (remote->lanes != NULL && !remote->broken) remote->lane_cuts++;
    remote->broken = true;
    remote->connected = false;
    return status;
}

static kit_status garbage(kit_ssh_job_remote *remote, const char *what, kolm_error_t *err) {
    remote->connected = false;
    return kit_fail(err, KOLM_E_DATA_LOSS, "check what the login shell of that machine starts",
                    "%s does not speak kolm's protocol: %s", remote->settings.name, what);
}

/* ---- Bytes */

/* Reads until at least `wanted` bytes are available after in_at; *out_there is false if not in time. */
static kit_status gather(kit_ssh_job_remote *remote, size_t wanted, int64_t until_ms, bool *out_there,
                         kolm_error_t *err) {
    int64_t silent_since = kit_now_ms();
    *out_there = true;
    if (remote->in_at > 0 && remote->in_at == remote->in.length) {
        kit_buf_clear(&remote->in);
        remote->in_at = 0;
    }
    while (remote->in.length - remote->in_at < wanted) {
        int64_t now = kit_now_ms(), left = until_ms - now;
        size_t n = 0;
        if (now - silent_since > (remote->in.length > remote->in_at ? BROKEN_OFF_MS : SILENCE_MS))
            return broke(remote, kit_fail(err, KOLM_E_UNAVAILABLE, "", "%s fell silent", remote->settings.name));
        KIT_TRY(told_to_stop(remote, err));
        char *chunk = malloc(READ_BYTES);
        if (chunk == NULL) return kit_no_memory(err);
        kit_status status = remote->wire->read(remote->wire->user, chunk, READ_BYTES,
                                               left < 0          ? 0
                                               : left < SLICE_MS ? left
                                                                 : SLICE_MS,
                                               &n, err);
        if (status == KOLM_OK && n > 0) kit_buf_add(&remote->in, chunk, n);
        free(chunk);
        if (status == KOLM_OK && n == 0)
            return broke(remote,
                         kit_fail(err, KOLM_E_UNAVAILABLE, "", "%s closed the connection", remote->settings.name));
        if (status != KOLM_OK && status != KOLM_E_DEADLINE_EXCEEDED)
            return status == KOLM_E_CANCELLED ? status : broke(remote, status);
        if (remote->in.failed) return kit_no_memory(err);
        if (n > 0) silent_since = kit_now_ms();
        if (n == 0 && left <= 0) {
            *out_there = false;
            return KOLM_OK;
        }
    }
    return KOLM_OK;
}

static uint32_t word_at(const kit_ssh_job_remote *remote) {
    const uint8_t *b = (const uint8_t *)remote->in.data + remote->in_at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Discards consumed bytes once there are many. */
static void compact(kit_ssh_job_remote *remote) {
    if (remote->in_at < (4u << 20)) return;
    memmove(remote->in.data, remote->in.data + remote->in_at, remote->in.length - remote->in_at);
    remote->in.length -= remote->in_at;
    remote->in.data[remote->in.length] = '\0';
    remote->in_at = 0;
}

/* ---- Frames */

kit_status ssh_job_frame_put(kit_buf *out, cJSON *request, uint64_t number, size_t raw_length, kolm_error_t *err) {
    kit_buf text = {0};
    bool good =
        kit_json_put_u64(request, "id", number) && (raw_length == 0 || kit_json_put_u64(request, "bytes", raw_length));
    kit_status status = good ? kit_json_line(request, &text, err) : kit_no_memory(err);
    if (status == KOLM_OK && text.length > HEADER_MAX)
        status =
            kit_fail(err, KOLM_E_INVALID_ARGUMENT, "combine them into fewer", "there are too many files for one job");
    if (status == KOLM_OK) {
        size_t n = text.length;
        const uint8_t word[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
        kit_buf_add(out, word, sizeof word);
        kit_buf_add(out, text.data, text.length);
        status = kit_buf_ok(out, err);
    }
    kit_buf_free(&text);
    cJSON_Delete(request);
    return status;
}

static kit_status write_out(kit_ssh_job_remote *remote, size_t stream, const void *bytes, size_t length,
                            kolm_error_t *err) {
    KIT_TRY(told_to_stop(remote, err));
    kit_status status = stream > 0 ? ssh_job_lanes_write(remote, stream, bytes, length, err)
                                   : remote->wire->write_all(remote->wire->user, bytes, length, err);
    return status != KOLM_OK && status != KOLM_E_CANCELLED ? broke(remote, status) : status;
}

kit_status ssh_job_send_on(kit_ssh_job_remote *remote, size_t stream, cJSON *request, const void *raw,
                           size_t raw_length, kolm_error_t *err) {
    kit_buf out = {0};
    kit_status status = ssh_job_frame_put(&out, request, ++remote->number, raw_length, err);
    if (status == KOLM_OK && stream == 0 && raw_length > 0) kit_buf_add(&out, raw, raw_length);
    if (status == KOLM_OK) status = kit_buf_ok(&out, err);
    if (status == KOLM_OK) status = write_out(remote, 0, out.data, out.length, err);
    if (status == KOLM_OK && stream > 0) status = write_out(remote, stream, raw, raw_length, err);
    kit_buf_free(&out);
    return status;
}

kit_status ssh_job_send(kit_ssh_job_remote *remote, cJSON *request, const void *raw, size_t raw_length,
                        kolm_error_t *err) {
    return ssh_job_send_on(remote, 0, request, raw, raw_length, err);
}

/* Turns a refusal of the far end into an error. */
static kit_status refusal(const kit_ssh_job_remote *remote, const cJSON *header, kolm_error_t *err) {
    uint64_t code = KOLM_E_UNKNOWN;
    const char *text = "no reason was given", *remedy = "";
    (void)kit_json_get_u64(header, "code", &code);
    (void)kit_json_get_string(header, "text", &text);
    (void)kit_json_get_string(header, "remedy", &remedy);
    if (code < 1 || code > KOLM_E_UNAUTHENTICATED) code = KOLM_E_UNKNOWN;
    return kit_fail(err, (int32_t)code, remedy, "%s: %s", remote->settings.name, text);
}

kit_status ssh_job_receive(kit_ssh_job_remote *remote, int64_t timeout_ms, ssh_job_frame *out_frame,
                           kolm_error_t *err) {
    int64_t until = kit_now_ms() + timeout_ms;
    uint64_t raw = 0;
    bool there = false, good = false;
    *out_frame = (ssh_job_frame){0};
    remote->refused = false;
    compact(remote);
    KIT_TRY(gather(remote, 4, until, &there, err));
    if (!there) return KOLM_OK;
    size_t length = word_at(remote);
    if (length == 0 || length > HEADER_MAX) return garbage(remote, "a frame has an impossible size", err);
    KIT_TRY(gather(remote, 4 + length, INT64_MAX / 2, &there, err));
    if (kit_json_parse(remote->in.data + remote->in_at + 4, length, &out_frame->header, NULL) != KOLM_OK ||
        !cJSON_IsObject(out_frame->header) || !kit_json_get_bool(out_frame->header, "ok", &good) ||
        (kit_json_get(out_frame->header, "bytes") != NULL &&
         (!kit_json_get_u64(out_frame->header, "bytes", &raw) || raw > RAW_MAX))) {
        ssh_job_frame_free(out_frame);
        return garbage(remote, "a frame is malformed", err);
    }
    kit_status status = gather(remote, 4 + length + raw, INT64_MAX / 2, &there, err);
    if (status == KOLM_OK) {
        out_frame->raw = remote->in.data + remote->in_at + 4 + length;
        out_frame->raw_length = raw;
        remote->in_at += 4 + length + raw;
        remote->refused = !good;
        if (!kit_json_get_u64(out_frame->header, "id", &remote->answered)) remote->answered = 0;
        if (!good) status = refusal(remote, out_frame->header, err);
    }
    if (status != KOLM_OK) ssh_job_frame_free(out_frame);
    return status;
}

kit_status ssh_job_check(kit_ssh_job_remote *remote, kit_status received, uint64_t number, ssh_job_frame *answer,
                         kolm_error_t *err) {
    /* The refusal of an invalid request has no number. */
    if (remote->refused && (remote->answered == number || remote->answered == 0)) return received;
    if (!remote->refused && (received != KOLM_OK || remote->answered == number)) return received;
    ssh_job_frame_free(answer);
    remote->refused = false;
    return garbage(remote, "an answer has no request", err);
}

kit_status ssh_job_answer(kit_ssh_job_remote *remote, uint64_t number, ssh_job_frame *out_answer, kolm_error_t *err) {
    kit_status received = ssh_job_receive(remote, INT64_MAX / 4, out_answer, err);
    return ssh_job_check(remote, received, number, out_answer, err);
}

kit_status ssh_job_ask(kit_ssh_job_remote *remote, cJSON *request, ssh_job_frame *out_answer, kolm_error_t *err) {
    *out_answer = (ssh_job_frame){0};
    KIT_TRY(ssh_job_send(remote, request, NULL, 0, err));
    return ssh_job_answer(remote, remote->number, out_answer, err);
}

/* ---- Connecting */

kit_status ssh_job_word(char out[SSH_JOB_WORD], kolm_error_t *err) {
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return kit_fail(err, KOLM_E_INTERNAL, "run the command again", "cannot get random bytes");
    kit_hex(bytes, sizeof bytes, out);
    return KOLM_OK;
}

/* Explains the failure by how the login shell or Python ended, if nothing better is known. */
static kit_status explain(kit_ssh_job_remote *remote, kit_status status, kolm_error_t *err) {
    kit_ssh_job_end end = {.no_python = false};
    if (remote->wire->end != NULL) remote->wire->end(remote->wire->user, &end);
    if (end.words[0] == '\0' || !remote->broken) return status;
    remote->broken = false; /* a retry would end the same way */
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    end.no_python ? "install Python 3.6 or later there (python3)"
                                  : "try `ssh` with a command manually: it must work without a terminal",
                    "%s could not start kolm's far end: %s", remote->settings.name, end.words);
}

/* Skips the output of a login shell, up to the marker line. */
static kit_status find_marker(kit_ssh_job_remote *remote, const char *marker, kolm_error_t *err) {
    char line[36];
    uint32_t connect = remote->settings.ssh.connect_timeout_ms;
    int64_t limit = (int64_t)(connect > 0 ? connect : CONNECT_MS) * STARTS, until = kit_now_ms() + limit;
    kit_format(line, sizeof line, "\n%s\n", marker);
    for (size_t wanted = 34;; wanted = remote->in.length + 1) {
        bool there;
        KIT_TRY(gather(remote, wanted, until, &there, err));
        if (!there)
            return broke(remote,
                         kit_fail(err, KOLM_E_DEADLINE_EXCEEDED,
                                  "check what the login shell of that machine starts, or raise connect_timeout_seconds",
                                  "%s accepted the login, but its login shell started nothing within %lld s",
                                  remote->settings.name, (long long)(limit / 1000)));
        const char *found = memmem(remote->in.data, remote->in.length, line, 34);
        if (found != NULL) {
            remote->in_at = (size_t)(found - remote->in.data) + 34;
            return KOLM_OK;
        }
        if (remote->in.length > NOISE_MAX) return garbage(remote, "it does not stop printing", err);
    }
}

kit_status ssh_job_opening(const kit_ssh_job_remote *remote, const char *marker, kit_buf *out, kolm_error_t *err) {
    cJSON *request = ssh_job_request("hello");
    (void)(kit_json_put_u64(request, "protocol", PROTOCOL) &&
           kit_json_put_string(request, "backend", remote->settings.backend));
    if (remote->settings.dir != NULL && remote->settings.dir[0] != '\0')
        (void)kit_json_put_string(request, "dir", remote->settings.dir);
    kit_buf_fmt(out, "%s %zu\n", marker, sizeof kolm_remote_program);
    kit_buf_add(out, kolm_remote_program, sizeof kolm_remote_program);
    return ssh_job_frame_put(out, request, 1, 0, err);
}

static kit_status take_hello(kit_ssh_job_remote *remote, kolm_error_t *err) {
    ssh_job_frame answer;
    KIT_TRY(ssh_job_answer(remote, remote->number, &answer, err));
    if (!kit_json_get_bool(answer.header, "packs", &remote->packs)) remote->packs = false;
    ssh_job_frame_free(&answer);
    remote->connected = true;
    remote->connected_ms = kit_now_ms();
    return KOLM_OK;
}

static kit_status connect_once(kit_ssh_job_remote *remote, kolm_error_t *err) {
    char marker[SSH_JOB_WORD];
    kit_buf opening = {0};
    ssh_job_lanes_end(remote);
    remote->wire->close(remote->wire->user);
    remote->broken = remote->connected = remote->refused = false;
    kit_buf_clear(&remote->in);
    remote->in_at = 0;
    KIT_TRY(ssh_job_word(marker, err));
    kit_status status = remote->wire->open(remote->wire->user, err);
    if (status != KOLM_OK) {
        remote->broken = status == KOLM_E_UNAVAILABLE || status == KOLM_E_DEADLINE_EXCEEDED;
        return status;
    }
    status = ssh_job_opening(remote, marker, &opening, err);
    if (status == KOLM_OK) status = write_out(remote, 0, opening.data, opening.length, err);
    kit_buf_free(&opening);
    remote->number = 1;
    kolm_error_t closed = KIT_ERROR_INIT; /* if a shell found no Python and closed, its message is more useful */
    if (status == KOLM_OK || remote->broken) {
        kit_status found = find_marker(remote, marker, status == KOLM_OK ? err : &closed);
        status = status == KOLM_OK ? found : status;
    }
    if (status != KOLM_OK) return explain(remote, status, err);
    return take_hello(remote, err);
}

static kit_status rest(const kit_ssh_job_remote *remote, int64_t ms, kolm_error_t *err) {
    for (int64_t waited = 0; waited < ms; waited += 100) {
        KIT_TRY(told_to_stop(remote, err));
        (void)poll(NULL, 0, 100);
    }
    return KOLM_OK;
}

/* Pauses longer with each short connection in a row: the cause may persist. */
static kit_status rest_between(kit_ssh_job_remote *remote, kolm_error_t *err) {
    int64_t ms = kit_now_ms() - remote->connected_ms < SHORT_MS ? remote->pause_ms : 0;
    remote->pause_ms = ms == 0 ? BACKOFF_MS : ms * 2 < BACKOFF_MAX_MS ? ms * 2 : BACKOFF_MAX_MS;
    return rest(remote, ms, err);
}

kit_status ssh_job_connect(kit_ssh_job_remote *remote, bool patient, kolm_error_t *err) {
    uint64_t patience = remote->settings.patience_seconds > 0 ? remote->settings.patience_seconds : PATIENCE_SECONDS;
    int64_t until = kit_now_ms() + (int64_t)patience * 1000, pause = BACKOFF_MS;
    if (patient) KIT_TRY(rest_between(remote, err));
    for (;;) {
        kit_status status = connect_once(remote, err);
        if (status == KOLM_OK || !patient || !remote->broken) return status;
        if (kit_now_ms() + pause > until) return status;
        KIT_TRY(rest(remote, pause, err));
        pause = pause * 2 < BACKOFF_MAX_MS ? pause * 2 : BACKOFF_MAX_MS;
    }
}

/* Reports an unreachable machine soon, but retries a link that only broke. */
static kit_status first_connection(kit_ssh_job_remote *remote, kolm_error_t *err) {
    for (int64_t begun = kit_now_ms();;) {
        kit_status status = ssh_job_connect(remote, false, err);
        if (status == KOLM_OK || !remote->broken || kit_now_ms() - begun > FIRST_MS) return status;
        (void)poll(NULL, 0, BACKOFF_MS);
        KIT_TRY(told_to_stop(remote, err));
        *err = (kolm_error_t)KIT_ERROR_INIT;
    }
}

kit_status kit_ssh_job_open(const kolm_host_v1_t *host, const kit_ssh_job_settings *settings,
                            kit_ssh_job_remote **out_remote, kolm_error_t *err) {
    kit_ssh_job_remote *remote = calloc(1, sizeof *remote);
    *out_remote = NULL;
    if (remote == NULL) return kit_no_memory(err);
    *remote = (kit_ssh_job_remote){.host = host, .settings = *settings, .caller = getppid(), .heed = true};
    remote->wire = settings->wire;
    kit_status status = ssh_job_packer_new(&remote->packer, err);
    if (status == KOLM_OK && remote->wire == NULL) status = ssh_job_wire_new(remote, &remote->wire, err);
    if (status == KOLM_OK) status = first_connection(remote, err);
    if (status == KOLM_OK)
        *out_remote = remote;
    else
        kit_ssh_job_close(remote);
    return status;
}

void kit_ssh_job_close(kit_ssh_job_remote *remote) {
    if (remote == NULL) return;
    ssh_job_lanes_end(remote);
    if (remote->wire != NULL) remote->wire->close(remote->wire->user);
    ssh_job_wire_free(remote->own_wire);
    ssh_job_packer_free(remote->packer);
    kit_buf_free(&remote->in);
    free(remote);
}

kit_status ssh_job_ask_facts(kit_ssh_job_remote *remote, bool cards, kolm_error_t *err) {
    cJSON *request = ssh_job_request("probe");
    const char *python = remote->settings.python, *kolm = remote->settings.kolm;
    (void)(kit_json_put_string(request, "python", python != NULL ? python : "") &&
           kit_json_put_string(request, "kolm", kolm != NULL ? kolm : "") &&
           kit_json_put_bool(request, "cards", cards));
    return ssh_job_send(remote, request, NULL, 0, err);
}

static kit_status take_facts(kit_ssh_job_remote *remote, cJSON **out_facts, kolm_error_t *err) {
    ssh_job_frame answer;
    KIT_TRY(ssh_job_answer(remote, remote->number, &answer, err));
    *out_facts = answer.header;
    answer.header = NULL;
    ssh_job_frame_free(&answer);
    return KOLM_OK;
}

kit_status ssh_job_take_facts(kit_ssh_job_remote *remote, bool cards, kit_status asked, kit_status status,
                              cJSON **out_facts, kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    *out_facts = NULL;
    if (asked == KOLM_OK) asked = take_facts(remote, out_facts, status == KOLM_OK ? err : &ignored);
    if (status != KOLM_OK) return status;
    while (asked != KOLM_OK && asked != KOLM_E_CANCELLED && remote->broken) {
        *err = (kolm_error_t)KIT_ERROR_INIT;
        KIT_TRY(ssh_job_connect(remote, true, err));
        asked = ssh_job_ask_facts(remote, cards, err);
        if (asked == KOLM_OK) asked = take_facts(remote, out_facts, err);
    }
    return asked;
}

kit_status kit_ssh_job_facts(kit_ssh_job_remote *remote, bool cards, cJSON **out_facts, kolm_error_t *err) {
    return ssh_job_take_facts(remote, cards, ssh_job_ask_facts(remote, cards, err), KOLM_OK, out_facts, err);
}
