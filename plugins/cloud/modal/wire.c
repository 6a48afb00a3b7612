/* SPDX-License-Identifier: Apache-2.0 */
/* The connection into a sandbox: a program there whose standard input and output are kolm's connection to its far end.
 * Both are accessed by offset, so that an interrupted transfer resumes where it broke off. */
#include "api.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/process.h"
#include "kolm/kit/ssh_job.h"
#include "kolm/kit/text.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define PIECE (1u << 20)    /* bytes per write */
#define HELD_MAX (2u << 20) /* bytes read ahead */
#define WRITE_MS 600000     /* per piece, on a slow connection */
#define WRITE_IDLE_MS 15000 /* without progress */
#define LAST_WORDS_MS 1000
#define CLOSE_MS 2000
#define STREAM_MS 3600000 /* then the stream is opened again */
#define BREAKS_MOST 4     /* of the stream in a row, without a byte in between */
#define PAUSE_MS 200
#define KEPT 1 /* makes an output readable */
#define OUTPUT 0
#define ERRORS 1

typedef struct modal_wire {
    kit_rent_wire table;
    kit_rent_account talk, listen; /* each used by one thread */
    char task[KIT_RENT_HANDLE_BYTES], exec[40], router[512];
    kit_secret *token; /* of the router */
    bool begun;        /* the program runs, and a thread reads its output */
    uint64_t sent;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    kit_buf held; /* protected by the lock, like all members below */
    size_t held_at;
    uint64_t heard;
    bool ended, closing;
    kit_status broke;
    kolm_error_t err;
} modal_wire;

/* ---- Listening */

/* Discards consumed bytes: otherwise a reader that is always slightly behind would keep everything in memory. */
static void make_room(modal_wire *w) {
    size_t left = w->held.length - w->held_at;
    if (w->held_at < left || w->held_at == 0) return;
    memmove(w->held.data, w->held.data + w->held_at, left);
    w->held.data[left] = '\0';
    w->held.length = left;
    w->held_at = 0;
}

static kit_status take_data(void *user, const ProtobufCMessage *message, kolm_error_t *err) {
    modal_wire *w = user;
    const ProtobufCBinaryData *data = &((const Modal__ExecData *)message)->data;
    pthread_mutex_lock(&w->lock);
    while (w->held.length - w->held_at > HELD_MAX && !w->closing)
        pthread_cond_wait(&w->news, &w->lock);
    make_room(w);
    kit_buf_add(&w->held, data->data, data->len);
    w->heard += data->len;
    kit_status status = w->closing ? KOLM_E_CANCELLED : kit_buf_ok(&w->held, err);
    pthread_cond_broadcast(&w->news);
    pthread_mutex_unlock(&w->lock);
    return status;
}

static kit_status read_stream(modal_wire *w, uint64_t from, kolm_error_t *err) {
    Modal__ExecRead request = MODAL__EXEC_READ__INIT;
    request.task_id = w->task;
    request.exec_id = w->exec;
    request.offset = from;
    request.file_descriptor = OUTPUT;
    const modal_call call = {.rpc = "TaskExecStdioRead",
                             .request = &request.base,
                             .answer = &modal__exec_data__descriptor,
                             .on_message = take_data,
                             .user = w,
                             .deadline_ms = STREAM_MS,
                             .router = w->router,
                             .router_token = w->token};
    return modal_ask(&w->listen, &call, NULL, NULL, err);
}

static bool may_pass(kit_status status) {
    return status == KOLM_E_UNAVAILABLE || status == KOLM_E_DEADLINE_EXCEEDED || status == KOLM_E_DATA_LOSS;
}

/* Reads until the program closes its output, or it is no longer readable. */
static void *listen_to_it(void *user) {
    modal_wire *w = user;
    uint64_t before = UINT64_MAX;
    unsigned breaks = 0;
    for (bool over = false; !over;) {
        kolm_error_t err = KIT_ERROR_INIT;
        pthread_mutex_lock(&w->lock);
        uint64_t from = w->heard;
        pthread_mutex_unlock(&w->lock);
        breaks = from == before ? breaks + 1 : 0;
        before = from;
        if (breaks > 0) (void)poll(NULL, 0, PAUSE_MS);
        kit_status status = read_stream(w, from, &err);
        pthread_mutex_lock(&w->lock);
        over = status == KOLM_OK || w->closing || !may_pass(status) || breaks >= BREAKS_MOST;
        if (over && status == KOLM_OK) w->ended = true;
        if (over && status != KOLM_OK) w->broke = status, w->err = err;
        pthread_cond_broadcast(&w->news);
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

/* Reports a failure as a broken connection, because only look() decides whether the sandbox still exists. */
static kit_status as_break(kit_status status, kolm_error_t *err) {
    if (status != KOLM_E_NOT_FOUND && status != KOLM_E_FAILED_PRECONDITION && status != KOLM_E_DATA_LOSS &&
        status != KOLM_E_UNAUTHENTICATED && status != KOLM_E_ABORTED && status != KOLM_E_DEADLINE_EXCEEDED)
        return status;
    if (err != NULL) err->code = KOLM_E_UNAVAILABLE;
    return KOLM_E_UNAVAILABLE;
}

static kit_status read_wire(void *user, void *bytes, size_t capacity, int64_t timeout_ms, size_t *out_n,
                            kolm_error_t *err) {
    modal_wire *w = user;
    struct timespec until;
    kit_status status = KOLM_OK;
    *out_n = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&w->lock);
    while (w->held_at == w->held.length && !w->ended && w->broke == KOLM_OK && status == KOLM_OK)
        if (pthread_cond_timedwait(&w->news, &w->lock, &until) == ETIMEDOUT) status = KOLM_E_DEADLINE_EXCEEDED;
    size_t there = w->held.length - w->held_at;
    if (there > 0) {
        *out_n = there < capacity ? there : capacity;
        memcpy(bytes, w->held.data + w->held_at, *out_n);
        w->held_at += *out_n;
        status = KOLM_OK;
        pthread_cond_broadcast(&w->news);
    } else if (w->ended) {
        status = KOLM_OK;
    } else if (w->broke != KOLM_OK) {
        if (err != NULL) *err = w->err;
        status = as_break(w->broke, err);
    }
    pthread_mutex_unlock(&w->lock);
    return status == KOLM_E_DEADLINE_EXCEEDED ? kit_fail(err, status, "", "nothing came yet") : status;
}

/* ---- Talking */

static kit_status write_piece(modal_wire *w, const void *bytes, size_t length, bool last, uint64_t most_ms,
                              kolm_error_t *err) {
    Modal__ExecWrite request = MODAL__EXEC_WRITE__INIT;
    request.task_id = w->task;
    request.exec_id = w->exec;
    request.offset = w->sent;
    request.data = (ProtobufCBinaryData){.len = length, .data = (uint8_t *)(uintptr_t)bytes};
    request.eof = last;
    const modal_call call = {.rpc = "TaskExecStdinWrite",
                             .request = &request.base,
                             .answer = &modal__empty__descriptor,
                             .repeat = KIT_HTTP_CHANGE,
                             .deadline_ms = most_ms,
                             .idle_ms = WRITE_IDLE_MS,
                             .router = w->router,
                             .router_token = w->token};
    KIT_TRY(as_break(modal_ask(&w->talk, &call, NULL, NULL, err), err));
    w->sent += length;
    return KOLM_OK;
}

static kit_status write_wire(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    const char *at = bytes;
    while (length > 0) {
        size_t n = length < PIECE ? length : PIECE;
        KIT_TRY(write_piece(user, at, n, false, WRITE_MS, err));
        at += n;
        length -= n;
    }
    return KOLM_OK;
}

/* ---- Opening and closing */

static void close_wire(void *user) {
    modal_wire *w = user;
    if (w->begun) {
        pthread_mutex_lock(&w->lock);
        w->closing = true;
        bool talks = !w->ended && w->broke == KOLM_OK;
        pthread_cond_broadcast(&w->news);
        pthread_mutex_unlock(&w->lock);
        kit_rent_account_stop(&w->listen, true);
        kit_status told =
            talks ? write_piece(w, "", 0, true, CLOSE_MS, NULL) : KOLM_OK; /* end of input, which ends the program */
        (void)told;
        pthread_join(w->thread, NULL);
        kit_rent_account_stop(&w->listen, false);
    }
    w->begun = false;
    kit_secret_free(w->token);
    w->token = NULL;
    kit_buf_clear(&w->held);
    w->held_at = 0;
    w->heard = w->sent = 0;
    w->ended = w->closing = false;
    w->broke = KOLM_OK;
}

static kit_status get_router(modal_wire *w, kolm_error_t *err) {
    Modal__TaskId request = MODAL__TASK_ID__INIT;
    ProtobufCMessage *answer = NULL;
    request.task_id = w->task;
    const modal_call call = {
        .rpc = "TaskGetCommandRouterAccess", .request = &request.base, .answer = &modal__router_access__descriptor};
    KIT_TRY(modal_ask(&w->talk, &call, &answer, NULL, err));
    const Modal__RouterAccess *access = (const Modal__RouterAccess *)answer;
    kit_status status = KOLM_OK;
    if (!kit_copy(w->router, sizeof w->router, access->url) || w->router[0] == '\0')
        status = kit_fail(err, KOLM_E_DATA_LOSS,
                          "try again; if the error persists, a newer kolm may support Modal's new format",
                          "Modal's answer has no address of a router");
    for (size_t n = strlen(w->router); n > 0 && w->router[n - 1] == '/'; n--)
        w->router[n - 1] = '\0';
    if (status == KOLM_OK)
        status = kit_secret_new("the router's token", access->jwt, strlen(access->jwt), &w->token, err);
    modal_free(answer);
    return status;
}

static kit_status make_exec_id(modal_wire *w, kolm_error_t *err) {
    uint8_t bytes[16];
    char hex[33];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return kit_fail(err, KOLM_E_INTERNAL, "run the command again", "cannot get random bytes");
    kit_hex(bytes, sizeof bytes, hex);
    kit_format(w->exec, sizeof w->exec, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return KOLM_OK;
}

static kit_status start_program(modal_wire *w, kolm_error_t *err) {
    Modal__ExecStart request = MODAL__EXEC_START__INIT;
    char shell[] = "/bin/sh", option[] = "-c", command[1024];
    char *words[] = {shell, option, command};
    if (!kit_copy(command, sizeof command, kit_ssh_job_bootstrap()))
        return kit_fail(err, KOLM_E_INTERNAL, "report it to the author of this backend", "the bootstrap is too long");
    KIT_TRY(make_exec_id(w, err));
    request.task_id = w->task;
    request.exec_id = w->exec;
    request.command_args = words;
    request.n_command_args = 3;
    request.stdout_config = KEPT;
    request.stderr_config = KEPT;
    const modal_call call = {.rpc = "TaskExecStart",
                             .request = &request.base,
                             .answer = &modal__empty__descriptor,
                             .repeat = KIT_HTTP_CHANGE, /* exec_id prevents a second program */
                             .router = w->router,
                             .router_token = w->token};
    return modal_ask(&w->talk, &call, NULL, NULL, err);
}

static kit_status open_wire(void *user, kolm_error_t *err) {
    modal_wire *w = user;
    KIT_TRY(as_break(get_router(w, err), err));
    KIT_TRY(as_break(start_program(w, err), err));
    int number = kit_thread_start(&w->thread, 0, listen_to_it, w);
    if (number != 0) return kit_fail_errno(err, number, "cannot start a thread");
    w->begun = true;
    return KOLM_OK;
}

static kit_status take_words(void *user, const ProtobufCMessage *message, kolm_error_t *err) {
    const ProtobufCBinaryData *data = &((const Modal__ExecData *)message)->data;
    kit_buf *words = user;
    (void)err;
    if (words->length < 4096) kit_buf_add(words, data->data, data->len < 4096 ? data->len : 4096);
    return KOLM_OK;
}

static void end_of(void *user, kit_ssh_job_end *out_end) {
    modal_wire *w = user;
    Modal__ExecRead request = MODAL__EXEC_READ__INIT;
    kit_buf words = {0}, shown = {0};
    *out_end = (kit_ssh_job_end){.no_python = false};
    if (!w->begun) return;
    request.task_id = w->task;
    request.exec_id = w->exec;
    request.file_descriptor = ERRORS;
    const modal_call call = {.rpc = "TaskExecStdioRead",
                             .request = &request.base,
                             .answer = &modal__exec_data__descriptor,
                             .on_message = take_words,
                             .user = &words,
                             .deadline_ms = LAST_WORDS_MS,
                             .router = w->router,
                             .router_token = w->token};
    if (modal_ask(&w->talk, &call, NULL, NULL, NULL) != KOLM_OK && words.length == 0) return;
    while (words.length > 0 && (words.data[words.length - 1] == '\n' || words.data[words.length - 1] == '\r'))
        words.length--;
    size_t most = words.length < 512 ? words.length : 512;
    kit_buf_escaped(&shown, kit_buf_text(&words) + (words.length - most), most);
    kit_copy(out_end->words, sizeof out_end->words, kit_buf_text(&shown));
    out_end->no_python = strstr(out_end->words, "python3") != NULL; /* its exit status would take another request */
    kit_buf_free(&shown);
    kit_buf_free(&words);
}

static void point(void *user, const kit_rent_box *box) {
    modal_wire *w = user;
    kit_copy(w->task, sizeof w->task, box->address);
}

static void free_wire(void *user) {
    modal_wire *w = user;
    close_wire(w);
    kit_rent_account_close(&w->talk);
    kit_rent_account_close(&w->listen);
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->lock);
    kit_buf_free(&w->held);
    free(w);
}

static kit_status open_accounts(modal_wire *w, const kolm_host_v1_t *host, kolm_error_t *err) {
    KIT_TRY(kit_rent_account_open(&modal_vm.site, host, &w->talk, err));
    KIT_TRY(kit_rent_account_open(&modal_vm.site, host, &w->listen, err));
    /* the far end must be told that the user asked to stop, so the caller decides what is still sent */
    kit_rent_account_insist(&w->talk);
    kit_rent_account_insist(&w->listen);
    return KOLM_OK;
}

kit_status modal_wire_new(const kolm_host_v1_t *host, kit_rent_wire **out, kolm_error_t *err) {
    modal_wire *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    *out = NULL;
    if (w == NULL) return kit_no_memory(err);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->news, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    w->table = (kit_rent_wire){.wire = {.user = w,
                                        .open = open_wire,
                                        .write_all = write_wire,
                                        .read = read_wire,
                                        .end = end_of,
                                        .close = close_wire},
                               .point = point,
                               .free = free_wire};
    kit_status status = open_accounts(w, host, err);
    if (status == KOLM_OK)
        *out = &w->table;
    else
        free_wire(w);
    return status;
}
