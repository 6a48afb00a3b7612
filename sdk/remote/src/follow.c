/* SPDX-License-Identifier: Apache-2.0 */
/* Follows a remote job: reports its events, stops it on request, and explains why it ended without a result. */
#include "internal.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASK_MS 2000   /* the far end answers at least this often */
#define LOOK_MS 100   /* polling interval of the stop flag */
#define LATE_MS 30000 /* then the far end or the link is considered dead */
#define DYING_MS 300
#define STOP_MS 9000 /* the host gives a slot ten seconds */

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = "";
    return kit_json_get_string(object, key, &text) ? text : "";
}

void ssh_job_outcome_begin(const kit_ssh_job_remote *remote, ssh_job_outcome *outcome) {
    *outcome = (ssh_job_outcome){.since = 0};
    kit_events_begin(&outcome->events, remote->host, "the program there");
}

void ssh_job_outcome_end(ssh_job_outcome *outcome) {
    kit_events_end(&outcome->events);
}

/* ---- Stopping */

static kit_status cancel(kit_ssh_job_remote *remote, const char *job, kolm_error_t *err) {
    ssh_job_frame answer = {0};
    cJSON *request = ssh_job_request("cancel");
    int64_t until = kit_now_ms() + STOP_MS;
    uint64_t id = 0;
    (void)kit_json_put_string(request, "job", job);
    kit_status status = ssh_job_send(remote, request, NULL, 0, err);
    /* Answers to pending requests come first. */
    while (status == KOLM_OK && id != remote->number && kit_now_ms() < until) {
        status = ssh_job_receive(remote, LOOK_MS, &answer, err);
        if (answer.header != NULL || remote->refused) id = remote->answered;
        if (remote->refused && id != remote->number) status = KOLM_OK;
        ssh_job_frame_free(&answer);
    }
    bool sure = status == KOLM_OK && id == remote->number;
    remote->refused = remote->broken = false; /* do not retry */
    int32_t code = remote->host->cancelled(remote->host->user) != 0 ? KOLM_E_CANCELLED : KOLM_E_DEADLINE_EXCEEDED;
    return kit_fail(err, code, "run the same command again to continue",
                    sure ? "the job on %s was stopped" : "%s was asked to stop the job, and has not confirmed it",
                    remote->settings.name);
}

/* cancelled() is also true if kolm itself has exited: that is no reason to end a job that may have run for days. The
 * same command finds it again. */
static kit_status stop(kit_ssh_job_remote *remote, const char *job, kolm_error_t *err) {
    for (int waited = 0; waited < DYING_MS && getppid() == remote->caller; waited += 50)
        (void)poll(NULL, 0, 50);
    if (getppid() == remote->caller) return cancel(remote, job, err);
    return kit_fail(err, KOLM_E_CANCELLED, "run the same command again to follow it",
                    "the job on %s continues without kolm", remote->settings.name);
}

static bool to_be_stopped(const kit_ssh_job_remote *remote) {
    const kolm_host_v1_t *host = remote->host;
    return host->cancelled(host->user) != 0 || host->time_left_ms(host->user) <= 0;
}

/* ---- The end */

static kit_status judge(const kit_ssh_job_remote *remote, const ssh_job_outcome *outcome, const cJSON *last,
                        kolm_error_t *err) {
    uint64_t exit_code = UINT64_MAX, signal_number = 0, code = 0;
    (void)kit_json_get_u64(last, "exit", &exit_code);
    (void)kit_json_get_u64(last, "signal", &signal_number);
    if (exit_code == 0 && outcome->events.result != NULL) return KOLM_OK;
    if (outcome->events.error.code != KOLM_OK) {
        *err = outcome->events.error;
        return kit_fail_context(err, "%s", remote->settings.name);
    }
    if (kit_json_get_u64(last, "code", &code) && code >= 1 && code <= KOLM_E_UNAUTHENTICATED)
        return kit_fail(err, (int32_t)code, text_of(last, "remedy"), "%s: %s", remote->settings.name,
                        text_of(last, "text"));
    if (strcmp(text_of(last, "why"), "cancelled") == 0)
        return kit_fail(err, KOLM_E_ABORTED, "run the same command again", "another client stopped the job on %s",
                        remote->settings.name);
    kit_buf words = {0};
    const char *tail = text_of(last, "errors_tail");
    size_t length = strlen(tail);
    kit_buf_escaped(&words, tail + (length > 300 ? length - 300 : 0), length > 300 ? 300 : length);
    char how[64];
    if (signal_number != 0)
        kit_format(how, sizeof how, "signal %d", (int)signal_number);
    else
        kit_format(how, sizeof how, "exit code %d", exit_code == UINT64_MAX ? -1 : (int)exit_code);
    kit_status status = kit_fail(err, KOLM_E_ABORTED,
                                 signal_number == 9 ? "check whether that machine ran out of memory"
                                                    : "read what the program there printed",
                                 "the job on %s ended without a result (%s)%s%s", remote->settings.name, how,
                                 words.length > 0 ? ": " : "", kit_buf_text(&words));
    kit_buf_free(&words);
    return status;
}

cJSON *ssh_job_follow_request(const char *job, uint64_t since) {
    cJSON *request = ssh_job_request("follow");
    (void)(kit_json_put_string(request, "job", job) && kit_json_put_u64(request, "since", since) &&
           kit_json_put_u64(request, "wait_ms", ASK_MS));
    return request;
}

kit_status ssh_job_await(kit_ssh_job_remote *remote, const char *job, int64_t limit_ms, ssh_job_frame *out,
                         kolm_error_t *err) {
    int64_t until = kit_now_ms() + limit_ms;
    *out = (ssh_job_frame){0};
    while (out->header == NULL) {
        if (to_be_stopped(remote)) return stop(remote, job, err);
        if (kit_now_ms() > until) {
            remote->broken = true;
            return kit_fail(err, KOLM_E_UNAVAILABLE, "", "%s fell silent", remote->settings.name);
        }
        KIT_TRY(ssh_job_receive(remote, LOOK_MS, out, err));
    }
    return KOLM_OK;
}

kit_status ssh_job_follow(kit_ssh_job_remote *remote, const char *job, bool asked, ssh_job_outcome *outcome,
                          kolm_error_t *err) {
    kit_status status = KOLM_OK;
    bool over = false;
    int64_t idle = remote->settings.ssh.idle_timeout_ms;
    int64_t limit = idle == 0 ? LATE_MS : idle > 2 * ASK_MS ? idle : 2 * ASK_MS;
    remote->heed = false;
    while (status == KOLM_OK && !over) {
        ssh_job_frame answer = {0};
        if (!asked) status = ssh_job_send(remote, ssh_job_follow_request(job, outcome->since), NULL, 0, err);
        asked = false;
        if (status == KOLM_OK) status = ssh_job_await(remote, job, limit, &answer, err);
        if (status == KOLM_OK) {
            kit_events_lines(&outcome->events, answer.raw, answer.raw_length);
            outcome->since += answer.raw_length;
            const char *state = text_of(answer.header, "state");
            if (!kit_json_get_bool(answer.header, "last", &over)) over = false;
            over = over || (answer.raw_length == 0 && strcmp(state, "running") != 0);
            if (over && strcmp(state, "done") == 0) {
                status = judge(remote, outcome, answer.header, err);
                outcome->failed = status != KOLM_OK && strcmp(text_of(answer.header, "why"), "cancelled") != 0;
            } else if (over) {
                remote->refused = true;
                status = kit_fail(err, KOLM_E_NOT_FOUND, "run the same command again", "%s lost the job (%s)",
                                  remote->settings.name, state);
            }
        }
        ssh_job_frame_free(&answer);
    }
    remote->heed = true;
    return status;
}
