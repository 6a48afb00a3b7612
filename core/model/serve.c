/* SPDX-License-Identifier: Apache-2.0 */
/* The server of one model: many clients, one backend process, answers in the order of the questions. */
#include "model/serve_lines.h"
#include "model/serve_place.h"

#include "kolm/kit/process.h"
#include "kolm/kit/thread.h"
#include "model/grounds.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define LINE_MAX (16u << 20)
#define WAITING_MAX 256        /* questions of one client that are not answered yet: then its next ones wait */
#define PENDING_MAX (1u << 20) /* bytes on their way to the backend, above which no client is read */
#define FRESH_MS 20            /* how long a verdict is valid for questions that arrive before an answer does */
#define TELL_MS 2000           /* how long to wait for clients that must be notified of the end */
#define LOOK_MS 500            /* polling interval of the interrupt flag */
#define LATE_MS 3000           /* how long a late backend may flush its answers after the questions have ended */
#define END_MS 10000           /* how long it may take to exit by itself */

/* ---- The server */

typedef struct client {
    int fd; /* -1: this slot is free */
    uint64_t number;
    kit_buf in, out;
    uint64_t waiting; /* questions without an answer yet */
    bool no_more;     /* has shut down its side: no more input */
    bool refused;     /* sent an invalid request, or is gone: its remaining input is ignored */
} client;

typedef struct question {
    uint64_t number; /* its id for the backend */
    uint64_t client; /* the client's number; it has disconnected if none has that number */
    char *id;
    struct question *next;
} question;

typedef struct server {
    kolm_session *session;
    model_handle *model;
    model_answering *answering;
    session_airgap airgap;
    /* Its verdict: the files that it depends on, and the reason if it is no longer valid. */
    kit_buf grounds;
    kit_status verdict;
    session_reason verdict_reason;
    int64_t looked_at; /* monotonic ms */
    int64_t ended_at;  /* monotonic ms of the end of its verdict */
    kolm_error_t verdict_error;
    int listener;
    client clients[CLIENTS_MAX];
    uint64_t last_number;
    question *first, *last; /* in the order of the backend's answers */
    uint64_t last_question;
    int64_t answer_ms;          /* timeout of the next answer; 0: none */
    int64_t waiting_at;         /* monotonic ms at which the wait began */
    volatile sig_atomic_t stop; /* ends the backend */
    int to_backend, from_backend;
    kit_buf pending, answers;
    serve_question asked; /* the question that is being read */
    int64_t asked_at;     /* monotonic ms of the last life sign of a client */
    /* of the thread that waits for the backend */
    int question_read, answer_write;
    session_reason reason;
    kit_status status;
    kolm_error_t error;
} server;

static void *wait_for_backend(void *user) {
    server *s = user;
    s->status = model_answering_run(s->session, s->answering, s->airgap, s->question_read, s->answer_write, &s->reason,
                                    &s->error);
    close(s->question_read);
    close(s->answer_write);
    return NULL;
}

static void drop(client *c) {
    close(c->fd);
    kit_buf_free(&c->in);
    kit_buf_free(&c->out);
    *c = (client){.fd = -1};
}

static client *by_number(server *s, uint64_t number) {
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i].fd >= 0 && s->clients[i].number == number) return &s->clients[i];
    return NULL;
}

static void cut_front(kit_buf *buf, size_t bytes) {
    memmove(buf->data, buf->data + bytes, buf->length - bytes);
    buf->length -= bytes;
    buf->data[buf->length] = '\0';
}

static void refuse(client *c, const char *text) {
    serve_refusal_put(text, &c->out);
    c->no_more = c->refused = true;
}

/* Renumbers a client's question: the backend sees numbers, the client gets its own id back. */
static void take_question(server *s, client *c, const char *line, size_t length) {
    kolm_error_t why = KIT_ERROR_INIT;
    question *q = calloc(1, sizeof *q);
    if (q == NULL)
        refuse(c, "the server is out of memory");
    else if (serve_question_read(&s->asked, line, length, s->last_question + 1, &s->pending, &why) != KOLM_OK)
        refuse(c, why.text);
    else if ((q->id = strdup(kit_buf_text(&s->asked.texts[0]))) == NULL)
        refuse(c, "the server is out of memory");
    else {
        q->client = c->number;
        q->number = ++s->last_question;
        if (s->last != NULL)
            s->last->next = q;
        else
            s->first = q;
        if (s->first == q) s->waiting_at = kit_now_ms();
        s->last = q;
        c->waiting++;
        q = NULL;
    }
    free(q);
}

static void take_questions(server *s, client *c) {
    char *lf;
    while (!c->refused && c->waiting < WAITING_MAX && s->pending.length < PENDING_MAX && c->in.length > 0 &&
           (lf = memchr(c->in.data, '\n', c->in.length)) != NULL) {
        size_t length = (size_t)(lf - c->in.data);
        take_question(s, c, c->in.data, length);
        cut_front(&c->in, length + 1);
    }
    if (!c->refused && c->in.length > LINE_MAX) refuse(c, "a question is longer than 16 MiB");
}

static void read_client(server *s, client *c) {
    char piece[65536];
    ssize_t n = read(c->fd, piece, sizeof piece);
    if (n > 0) {
        kit_buf_add(&c->in, piece, (size_t)n);
        s->asked_at = kit_now_ms();
        if (c->in.failed) refuse(c, "the server is out of memory");
    } else if (n == 0 || errno == ECONNRESET) {
        c->no_more = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        char why[160];
        kit_format(why, sizeof why, "the server cannot read the question: %s", strerror(errno));
        refuse(c, why);
    }
}

static void write_client(client *c) {
    ssize_t n = send(c->fd, c->out.data, c->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        cut_front(&c->out, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        /* Its answers are discarded from now on. */
        kit_buf_clear(&c->out);
        c->no_more = c->refused = true;
        c->waiting = 0;
    }
}

static void greet(server *s) {
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        client *c = &s->clients[i];
        if (c->fd >= 0) continue;
        *c = (client){.fd = fd, .number = ++s->last_number};
        serve_greeting_put(s->answering->choice->backend->name, s->airgap == SESSION_AIRGAP_STRICT,
                           artifact_manifest_sha256(s->model->artifact), artifact_mark(s->model->artifact), &c->out);
        s->asked_at = kit_now_ms();
        return;
    }
    close(fd); /* full: a rejected client answers by itself */
}

/* Notifies all clients of the reason, and stops reading and accepting: new clients answer by themselves. */
static void end_verdict(server *s) {
    s->ended_at = kit_now_ms();
    close(s->listener);
    s->listener = -1;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        client *c = &s->clients[i];
        if (c->fd < 0 || c->refused) continue;
        serve_verdict_put(&s->verdict_error, s->verdict_reason, &c->out);
        c->no_more = c->refused = true;
        c->waiting = 0;
    }
}

/* The backend is unusable: notifies all clients, and ends it. */
static void give_up_with(server *s, kit_status status, session_reason reason) {
    s->verdict = status;
    s->verdict_reason = reason;
    s->stop = 1;
    end_verdict(s);
}

static void give_up(server *s, kit_status status) {
    give_up_with(s, status, SESSION_REASON_BACKEND);
}

/* The server itself failed, not the backend. */
static void give_up_here(server *s, int reason, const char *what) {
    if (s->verdict == KOLM_OK)
        give_up_with(s, kit_fail_errno(&s->verdict_error, reason, "the server cannot %s", what),
                     SESSION_REASON_INTERNAL);
}

static void pass_answer(server *s, const char *line, size_t length) {
    static const char remedy[] =
        "report it to the author of the backend: one answer per question, in order, with its id";
    const char *name = s->answering->choice->backend->name;
    question *q = s->first;
    kolm_error_t why = KIT_ERROR_INIT;
    if (s->verdict != KOLM_OK) return;
    if (q == NULL) {
        give_up(s, kit_fail(&s->verdict_error, KOLM_E_DATA_LOSS, remedy, "%s gave an answer without a request", name));
        return;
    }
    s->first = q->next;
    if (s->first == NULL) s->last = NULL;
    s->waiting_at = kit_now_ms();
    client *c = by_number(s, q->client);
    bool wanted = c != NULL && c->waiting > 0;
    kit_buf nowhere = {0};
    kit_status status = serve_answer_pass(line, length, q->number, q->id, wanted ? &c->out : &nowhere, &why);
    kit_buf_free(&nowhere);
    if (wanted) c->waiting--;
    if (status == KOLM_E_DATA_LOSS) {
        s->verdict_error = why;
        kit_fail_context(&s->verdict_error, "%s", name);
        give_up(s, status);
    } else if (status != KOLM_OK && wanted && !c->refused) {
        kit_fail_context(&why, "%s to question %.64s", name, q->id);
        refuse(c, why.text);
    }
    free(q->id);
    free(q);
}

/* A partial answer cannot be stored: the next bytes would be mistaken for the start of one. */
static void drop_answers(server *s) {
    const char *name = s->answering->choice->backend->name;
    if (s->answers.failed)
        give_up_here(s, ENOMEM, "read the answers");
    else if (s->verdict == KOLM_OK) /* an endless line would fill the memory */
        give_up(s, kit_fail(&s->verdict_error, KOLM_E_DATA_LOSS, "report it to the author of the backend",
                            "%s wrote an answer of more than 16 MiB", name));
    kit_buf_free(&s->answers);
}

/* False if the backend has ended, or cannot be read. */
static bool read_answers(server *s) {
    char piece[65536];
    ssize_t n = read(s->from_backend, piece, sizeof piece);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n < 0) give_up_here(s, errno, "read the answers");
    if (n <= 0) return false;
    kit_buf_add(&s->answers, piece, (size_t)n);
    char *lf;
    while (s->answers.length > 0 && (lf = memchr(s->answers.data, '\n', s->answers.length)) != NULL) {
        size_t length = (size_t)(lf - s->answers.data);
        pass_answer(s, s->answers.data, length);
        cut_front(&s->answers, length + 1);
    }
    if (s->answers.failed || s->answers.length > LINE_MAX) drop_answers(s);
    return true;
}

static void write_backend(server *s) {
    ssize_t n = write(s->to_backend, s->pending.data, s->pending.length);
    if (n > 0)
        cut_front(&s->pending, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR && errno != EPIPE) /* EPIPE: it has ended, and reports why */
        give_up_here(s, errno, "send the questions to the backend");
}

static bool idle(const server *s, uint64_t idle_seconds) {
    if (idle_seconds == 0 || s->first != NULL) return false;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i].fd >= 0) return false;
    return kit_now_ms() - s->asked_at > (int64_t)idle_seconds * 1000;
}

/* ---- The verdict */

/* Checks that the backend may still be called: policies and grants may have changed. */
static kit_status admit_again(server *s, kolm_error_t *err) {
    const char *name = s->answering->choice->backend->name;
    fleet_registry *registry = NULL;
    s->verdict_reason = SESSION_REASON_DATA;
    KIT_TRY(fleet_registry_open(s->session, &registry, err));
    const fleet_backend *backend = fleet_registry_find(registry, name);
    kit_status status = KOLM_OK;
    s->verdict_reason = SESSION_REASON_NOTHING;
    if (backend == NULL)
        status = fleet_registry_unknown(registry, name, err);
    else if (backend->refused != NULL)
        status = fleet_backend_refuse(backend, &s->verdict_reason, err);
    fleet_registry_free(registry);
    return status;
}

static kit_status look_again(server *s, kolm_error_t *err) {
    kit_buf now = {0};
    s->verdict_reason = SESSION_REASON_INTERNAL;
    kit_status status = model_unchanged(s->model, &s->answering->base, &s->answering->job, &s->answering->described,
                                        &s->verdict_reason, err);
    if (status == KOLM_OK) status = model_grounds(s->session, &now, err);
    if (status == KOLM_OK && strcmp(kit_buf_text(&now), kit_buf_text(&s->grounds)) != 0) {
        status = model_check_again(s->session, s->model, &s->verdict_reason, err);
        if (status == KOLM_OK) status = admit_again(s, err);
        if (status == KOLM_OK) {
            kit_buf_clear(&s->grounds);
            kit_buf_str(&s->grounds, kit_buf_text(&now));
            status = kit_buf_ok(&s->grounds, err);
        }
    }
    kit_buf_free(&now);
    return status;
}

/* True if the verdict must be renewed before the next question: after an answer, and in a stream every few
 * milliseconds. */
static bool is_asked(const server *s, int64_t now) {
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        const client *c = &s->clients[i];
        if (c->fd < 0 || c->refused || c->in.length == 0 || (c->waiting > 0 && now - s->looked_at < FRESH_MS)) continue;
        if (memchr(c->in.data, '\n', c->in.length) != NULL) return true;
    }
    return false;
}

/* It may be holding its answers back until the questions end, which is a different fault. */
static void end_late(server *s) {
    const char *name = s->answering->choice->backend->name;
    unsigned long long seconds = (unsigned long long)(s->answer_ms / 1000);
    const uint64_t next = s->first->number;
    int64_t until = kit_now_ms() + LATE_MS, left;
    close(s->to_backend);
    s->to_backend = -1;
    kit_buf_clear(&s->pending);
    struct pollfd from = {.fd = s->from_backend, .events = POLLIN};
    while (s->verdict == KOLM_OK && s->first != NULL && !session_stopped(s->session) &&
           (left = until - kit_now_ms()) > 0)
        if (poll(&from, 1, (int)left) > 0 && !read_answers(s)) break;
    if (s->verdict != KOLM_OK) return;
    if (s->first == NULL || s->first->number != next)
        give_up(s, kit_fail(&s->verdict_error, KOLM_E_DEADLINE_EXCEEDED,
                            "report it to the author of the backend: answers must be flushed whenever the next "
                            "question has not arrived yet",
                            "%s withheld its answers for %llu s, until its questions ended", name, seconds));
    else
        give_up(s, kit_fail(&s->verdict_error, KOLM_E_DEADLINE_EXCEEDED,
                            "ask again; --answer-timeout SECONDS of kolm run --serve gives it more time, 0 any",
                            "%s did not answer within %llu s", name, seconds));
}

static bool is_late(const server *s) {
    return s->verdict == KOLM_OK && s->answer_ms > 0 && s->first != NULL && kit_now_ms() - s->waiting_at > s->answer_ms;
}

/* False if the verdict is no longer valid and all clients were notified or have left. */
static bool may_go_on(const server *s) {
    bool anybody = false;
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        anybody = anybody || s->clients[i].fd >= 0;
    return s->verdict == KOLM_OK || (anybody && kit_now_ms() - s->ended_at < TELL_MS);
}

/* Closes clients without further questions and pending answers. */
static void settle(server *s) {
    int64_t now = kit_now_ms();
    if (s->verdict == KOLM_OK && is_asked(s, now)) {
        s->looked_at = now;
        s->verdict = look_again(s, &s->verdict_error);
        if (s->verdict != KOLM_OK) end_verdict(s);
    }
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        client *c = &s->clients[i];
        if (c->fd < 0) continue;
        take_questions(s, c);
        if (c->out.failed) { /* if the message cannot be built, a shorter one is sent */
            kit_buf_free(&c->out);
            c->waiting = 0;
            refuse(c, "the server is out of memory");
        }
        bool more = !c->refused && c->in.length > 0 && memchr(c->in.data, '\n', c->in.length) != NULL && !c->out.failed;
        if (c->out.failed || (c->no_more && c->waiting == 0 && c->out.length == 0 && !more)) drop(c);
    }
}

static bool turn(server *s) {
    struct pollfd at[3 + CLIENTS_MAX] = {
        {.fd = s->listener, .events = POLLIN},
        {.fd = s->verdict == KOLM_OK ? s->from_backend : -1, .events = POLLIN}, /* its end no longer matters */
        {.fd = s->pending.length > 0 ? s->to_backend : -1, .events = POLLOUT},
    };
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        client *c = &s->clients[i];
        bool hear =
            !c->no_more && c->waiting < WAITING_MAX && s->pending.length < PENDING_MAX && c->in.length < LINE_MAX;
        at[3 + i] =
            (struct pollfd){.fd = c->fd, .events = (short)((hear ? POLLIN : 0) | (c->out.length > 0 ? POLLOUT : 0))};
    }
    if (poll(at, 3 + CLIENTS_MAX, LOOK_MS) < 0 && errno != EINTR) {
        give_up_here(s, errno, "wait for questions and answers");
        return false;
    }
    if (is_late(s)) {
        end_late(s);
        return true; /* the file has changed in the meantime */
    }
    if (at[0].revents & POLLIN) greet(s);
    if (at[2].revents & POLLOUT) write_backend(s);
    /* Returning true notifies the clients. */
    if ((at[1].revents & (POLLIN | POLLHUP)) && !read_answers(s)) return s->verdict != KOLM_OK;
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        client *c = &s->clients[i];
        if (c->fd < 0 || c->fd != at[3 + i].fd) continue;
        if (at[3 + i].revents & (POLLIN | POLLHUP | POLLERR) && !c->no_more) read_client(s, c);
        if (c->out.length > 0) write_client(c);
        /* A client that has disconnected keeps polling as readable. */
        if ((at[3 + i].revents & (POLLHUP | POLLERR)) && c->no_more) {
            c->refused = true;
            c->waiting = 0;
            kit_buf_clear(&c->out);
        }
    }
    settle(s);
    return true;
}

static bool not_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* Drains its output, so that it does not block; kills it if it does not exit by itself. */
static void wait_for_end(server *s) {
    int64_t until = kit_now_ms() + END_MS;
    struct pollfd rest = {.fd = s->from_backend, .events = POLLIN};
    while (poll(&rest, 1, LOOK_MS) >= 0 || errno == EINTR) {
        if ((rest.revents & (POLLIN | POLLHUP)) && !read_answers(s)) break;
        if (kit_now_ms() > until) s->stop = 1;
    }
}

static kit_status run_server(server *s, uint64_t idle_seconds, kolm_error_t *err) {
    pthread_t backend;
    KIT_TRY(kit_pipe(&s->question_read, &s->to_backend, err));
    KIT_TRY(kit_pipe(&s->from_backend, &s->answer_write, err));
    if (!not_blocking(s->to_backend) || !not_blocking(s->from_backend))
        return kit_fail_errno(err, errno, "cannot prepare the pipes to the backend");
    if (kit_thread_start(&backend, 0, wait_for_backend, s) != 0)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    s->asked_at = kit_now_ms();
    bool on = true; /* the backend has not exited by itself */
    while (!session_stopped(s->session) && !idle(s, idle_seconds) && may_go_on(s) && on)
        on = turn(s);
    if (s->to_backend >= 0) close(s->to_backend); /* the end of all questions: the backend ends too */
    s->to_backend = -1;
    wait_for_end(s);
    pthread_join(backend, NULL);
    if (s->verdict != KOLM_OK) {
        *err = s->verdict_error;
        s->reason = s->verdict_reason;
        return s->verdict;
    }
    if (session_stopped(s->session)) return KOLM_OK;
    if (!on && s->status == KOLM_OK) {
        s->reason = SESSION_REASON_BACKEND;
        return kit_fail(err, KOLM_E_DATA_LOSS,
                        "report it to the author of the backend: infer continues until its questions end",
                        "%s ended before its questions did, and reported success", s->answering->choice->backend->name);
    }
    if (s->status != KOLM_OK) *err = s->error;
    return s->status;
}

kit_status model_serve(kolm_session *session, model_handle *model, model_answering *answering, session_airgap airgap,
                       const model_serve_limits *limits, session_reason *out_reason, kolm_error_t *err) {
    kit_buf place = {0};
    int lock = -1;
    struct sockaddr_un address;
    server *s = calloc(1, sizeof *s);
    *out_reason = SESSION_REASON_INTERNAL;
    if (s == NULL) return kit_no_memory(err);
    *s = (server){.session = session,
                  .model = model,
                  .answering = answering,
                  .airgap = airgap,
                  .listener = -1,
                  .to_backend = -1,
                  .from_backend = -1,
                  .reason = SESSION_REASON_BACKEND,
                  .error = KIT_ERROR_INIT,
                  .verdict_error = KIT_ERROR_INIT};
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        s->clients[i].fd = -1;
    kit_status status = serve_place_find(session, artifact_manifest_sha256(model->artifact), true, &place, err);
    if (status == KOLM_OK) status = serve_place_listen(place.data, &lock, &s->listener, err);
    if (status == KOLM_E_ALREADY_EXISTS) *out_reason = SESSION_REASON_USAGE;
    bool listening = status == KOLM_OK;
    /* Empty: the first question renews the verdict, in case something has changed. */
    if (listening) {
        serve_place_address(place.data, &address);
        session_tell(session, &(session_event){.kind = SESSION_SERVING, .text = address.sun_path});
        answering->stop = &s->stop;
        s->answer_ms = (int64_t)limits->answer_seconds * 1000;
        status = run_server(s, limits->idle_seconds, err);
        answering->stop = NULL;
        *out_reason = s->reason;
        serve_place_forget(place.data);
    }
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (s->clients[i].fd >= 0) drop(&s->clients[i]);
    while (s->first != NULL) {
        question *q = s->first;
        s->first = q->next;
        free(q->id);
        free(q);
    }
    int all[] = {s->listener, s->from_backend, s->to_backend, lock};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] >= 0) close(all[i]);
    kit_buf_free(&s->grounds);
    kit_buf_free(&s->pending);
    kit_buf_free(&s->answers);
    serve_question_free(&s->asked);
    kit_buf_free(&place);
    free(s);
    return status;
}
