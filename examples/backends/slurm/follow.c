/* SPDX-License-Identifier: Apache-2.0 */
/* Follows a job from submission to results, and cancels it on request. */
#include "slurm.h"

#include "kolm/kit/process.h"

#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 1000       /* between two queries of the controller, which sends no notifications; */
#define LOOK_MOST_MS 15000 /* the interval grows while nothing changes */
#define EVENTS_MS 250
#define DYING_MS 300
#define CANCEL_MS 8000 /* the host waits for ten seconds */
#define WORDS_MS 5000
#define LATE_MS 15000
#define SEEN_TWICE 2

typedef enum use { GOOD, BAD_END, NO_RESULT } use; /* what can be done with a job that has ended */

typedef struct following {
    const kolm_host_v1_t *host;
    pid_t caller; /* kolm itself */
    const slurm_settings *settings;
    slurm_place *place;
    slurm_home *home;
    slurm_events events;
    slurm_view view; /* of the last query */
    slurm_job job;
    char said[300];     /* why it does not respond */
    char told[400];     /* the last thing that was logged about the queue */
    int64_t away_since; /* 0: it answers */
    unsigned ends_seen; /* in succession */
    int look_ms;
    bool before;   /* submitted before this start */
    bool verified; /* the number is that of our job */
    bool alive;    /* it was seen pending or running */
    use use;
} following;

/* ---- Queries */

static bool is_ours(const following *f) {
    const slurm_place *place = f->place;
    return !place->name[0] || strcmp(f->job.name, place->name) == 0 || strcmp(f->job.dir, place->dir) == 0;
}

static kit_status ask_once(following *f, kolm_error_t *err) {
    slurm_job job;
    KIT_TRY(slurm_ask(f->settings, &f->place->id, &job, &f->view, f->said, sizeof f->said, err));
    if (f->view != SLURM_VIEW_JOB) return KOLM_OK;
    if (job.restarts > f->job.restarts) f->events.job.error.code = KOLM_OK; /* the previous message */
    f->job = job;
    f->verified = is_ours(f);
    return KOLM_OK;
}

/* An id that was misread from sbatch's output, or that Slurm has reused, is another job's: then ours is looked up by
 * name. */
static kit_status ask(following *f, kolm_error_t *err) {
    slurm_id id;
    KIT_TRY(ask_once(f, err));
    if (f->view != SLURM_VIEW_JOB || f->verified) return KOLM_OK;
    f->job = (slurm_job){.exit_code = 0};
    KIT_TRY(slurm_ask_name(f->settings, f->place->name, &id, &f->view, err));
    if (f->view == SLURM_VIEW_AWAY) (void)kit_copy(f->said, sizeof f->said, "squeue does not respond");
    if (f->view != SLURM_VIEW_JOB) return KOLM_OK;
    KIT_TRY(slurm_place_submitted(f->place, &id, err));
    return ask_once(f, err);
}

static bool has_ended(const following *f) {
    static const char *const again[] = {"NODE_FAIL", "PREEMPTED", "BOOT_FAIL"};
    if (f->view == SLURM_VIEW_FORGOTTEN) return f->events.job.result != NULL || f->ends_seen >= SEEN_TWICE;
    if (f->view != SLURM_VIEW_JOB || f->job.state.phase != SLURM_ENDED) return false;
    /* Slurm may take a moment to requeue the job after such an end. */
    for (size_t i = 0; i < sizeof again / sizeof *again; i++)
        if (f->job.requeue && strcmp(f->job.state.name, again[i]) == 0) return f->ends_seen >= SEEN_TWICE;
    return true;
}

static kit_status look(following *f, kolm_error_t *err) {
    KIT_TRY(ask(f, err));
    bool job = f->view == SLURM_VIEW_JOB, end = job && f->job.state.phase == SLURM_ENDED;
    if (job && !end) f->alive = true;
    f->ends_seen = end || f->view == SLURM_VIEW_FORGOTTEN ? f->ends_seen + 1 : 0;
    return KOLM_OK;
}

/* ---- Reports */

static void tell(following *f, uint32_t level, const char *text) {
    if (strcmp(text, f->told) == 0) return;
    (void)kit_copy(f->told, sizeof f->told, text);
    f->host->log(f->host->user, level, text);
    f->look_ms = LOOK_MS;
}

static void tell_waiting(following *f) {
    const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                      .step = 0,
                                      .total = KOLM_UNKNOWN_COUNT,
                                      .loss = NAN,
                                      .tokens_per_second = NAN,
                                      .phase = "queueing"};
    const char *number = f->place->id.number, *reason = f->job.reason[0] ? f->job.reason : f->job.state.name;
    char text[400], remedy[200];
    f->host->progress(f->host->user, &progress);
    if (slurm_is_stuck(reason, number, remedy, sizeof remedy)) {
        (void)kit_format(text, sizeof text, "Slurm job %s does not start by itself (%s): %s", number, reason, remedy);
        tell(f, KOLM_LOG_WARNING, text);
        return;
    }
    (void)kit_format(text, sizeof text, "Slurm job %s waits in the queue (%s)", number, reason);
    tell(f, KOLM_LOG_INFO, text);
}

/* Logs the state of the queue, once per change. */
static void tell_queue(following *f) {
    const char *number = f->place->id.number, *state = f->job.state.name, *node = f->job.node;
    char text[400];
    if (f->view != SLURM_VIEW_JOB || f->job.state.phase == SLURM_ENDED) return;
    if (f->job.state.phase == SLURM_WAITS) {
        tell_waiting(f);
    } else if (f->job.state.phase == SLURM_STRANGE) {
        (void)kit_format(
            text, sizeof text,
            "Slurm reports job %s as %s, a state that this backend does not know: the job is not taken as ended",
            number, state[0] ? state : "nothing");
        tell(f, KOLM_LOG_WARNING, text);
    } else {
        (void)kit_format(text, sizeof text, "Slurm job %s %s%s%s%s", number,
                         strcmp(state, "RUNNING") == 0 ? "runs" : "is ", strcmp(state, "RUNNING") == 0 ? "" : state,
                         node[0] ? " on " : "", node);
        tell(f, KOLM_LOG_INFO, text);
    }
}

static kit_status wait_for_controller(following *f, kolm_error_t *err) {
    int64_t now = kit_now_ms();
    char text[400];
    if (f->away_since == 0) {
        f->away_since = now;
        (void)kit_format(text, sizeof text,
                         "Slurm's controller does not respond; the job continues, waiting for it%s%.200s%s",
                         f->said[0] ? " (" : "", f->said, f->said[0] ? ")" : "");
        f->host->log(f->host->user, KOLM_LOG_WARNING, text);
    }
    f->look_ms = LOOK_MS;
    if (now - f->away_since <= (int64_t)f->settings->patience_seconds * 1000) return KOLM_OK;
    return kit_fail(err, KOLM_E_UNAVAILABLE, "run the same command again when it is back, to find the submitted job",
                    "Slurm's controller did not respond for %llu seconds%s%.200s",
                    (unsigned long long)f->settings->patience_seconds, f->said[0] ? ": " : "", f->said);
}

/* ---- Stopping */

static bool is_over(const following *f) {
    return f->view == SLURM_VIEW_FORGOTTEN || (f->view == SLURM_VIEW_JOB && f->job.state.phase == SLURM_ENDED);
}

/* Repeated every second: scancel may not have reached the controller. Never for an id that may be another job's. */
static kit_status cancel(following *f, kolm_error_t *err) {
    const char *number = f->place->id.number;
    bool ended = false;
    for (int64_t end = kit_now_ms() + CANCEL_MS; !ended && kit_now_ms() < end;) {
        if (!f->verified) KIT_TRY(look(f, err));
        if (f->verified) KIT_TRY(slurm_cancel(f->settings, &f->place->id, err));
        for (int i = 0; i < 5 && !ended && kit_now_ms() < end; i++) {
            KIT_TRY(look(f, err));
            ended = is_over(f);
            if (!ended) (void)poll(NULL, 0, 200);
        }
    }
    if (!ended)
        return kit_fail(err, KOLM_E_CANCELLED, "squeue --me shows its state; scancel cancels it",
                        "stopped; Slurm has not reported yet that job %s has ended%s%.200s", number,
                        f->said[0] ? ": " : "", f->view == SLURM_VIEW_AWAY ? f->said : f->job.state.name);
    (void)kit_fail(err, KOLM_E_CANCELLED,
                   slurm_place_has(f->place, "checkpoint") ? "the same command continues from its checkpoint" : "",
                   "Slurm job %s was cancelled", number);
    slurm_place_end(f->place, f->settings->keep);
    return KOLM_E_CANCELLED;
}

/* The host also reports "cancelled" when kolm itself has died. A job that may have run for days is not cancelled for
 * that: it is left running, and the same command finds it again. */
static kit_status stop(following *f, kolm_error_t *err) {
    for (int waited = 0; waited < DYING_MS && getppid() == f->caller; waited += 50)
        (void)poll(NULL, 0, 50); /* the pipe of a killed process closes a moment before its children are reparented */
    if (getppid() == f->caller) return cancel(f, err);
    return kit_fail(err, KOLM_E_CANCELLED, "run the same command again to follow it",
                    "Slurm job %s continues without kolm", f->place->id.number);
}

/* ---- The end */

static kit_status bring(following *f, kolm_error_t *err) {
    return f->place->trains ? slurm_bring_model(f->place, err)
                            : slurm_bring_answers(f->place, f->home->output_path, &f->home->answers, err);
}

/* The results of a job that succeeded or whose end is unknown. Files written on another machine become visible here
 * later than the controller reports the end, and not all at once. */
static kit_status settle(following *f, kolm_error_t *err) {
    int64_t most = (int64_t)f->settings->settle_seconds * 1000;
    bool late = f->before && !f->alive; /* it ended before this start, so its files are visible */
    int64_t end = kit_now_ms() + (late && most > LATE_MS ? LATE_MS : most);
    kolm_error_t why = KIT_ERROR_INIT;
    for (bool told = false;; told = true) {
        slurm_events_read(&f->events, f->place->dir);
        kit_status status = slurm_results_ready(f->place, &why);
        if (status == KOLM_OK && f->events.job.result != NULL) return bring(f, err);
        if (status == KOLM_OK)
            (void)kit_fail(&why, KOLM_E_NOT_FOUND, "", "the trainer did not report that it has finished");
        if (f->events.job.error.code != KOLM_OK || kit_now_ms() >= end) break;
        if (!told)
            f->host->log(f->host->user, KOLM_LOG_INFO, "the job has ended; waiting for its files to be seen here");
        if (!slurm_pause(f->host, EVENTS_MS))
            return kit_fail(err, KOLM_E_CANCELLED, "run the same command again to copy its results back",
                            "stopped; Slurm job %s has ended", f->place->id.number);
    }
    f->use = NO_RESULT;
    return kit_fail(err, KOLM_E_ABORTED, "", "%s", why.text);
}

/* The trainer's last output, which may also become visible late. */
static void wait_for_words(following *f, char *words, size_t capacity, bool *out_oom) {
    int64_t most = (int64_t)f->settings->settle_seconds * 1000;
    int64_t end = kit_now_ms() + (most < WORDS_MS ? most : WORDS_MS);
    do {
        slurm_events_read(&f->events, f->place->dir);
        slurm_last_words(f->place->dir, words, capacity, out_oom);
    } while (!words[0] && f->events.job.error.code == KOLM_OK && kit_now_ms() < end && slurm_pause(f->host, EVENTS_MS));
}

static kit_status no_result(const following *f, const char *why, kolm_error_t *err) {
    const char *number = f->place->id.number;
    char words[200];
    bool oom;
    slurm_last_words(f->place->dir, words, sizeof words, &oom);
    if (f->view == SLURM_VIEW_FORGOTTEN)
        return kit_fail(err, KOLM_E_ABORTED, "run the same command again: the job is then submitted again",
                        "Slurm no longer knows job %s, which left no result (%.160s)%s%s", number, why,
                        words[0] ? ": " : "", words);
    return kit_fail(
        err, KOLM_E_ABORTED,
        "make sure that the nodes and this machine see the same directory (backends.slurm.shared_dir in config.json); "
        "run the same command again to check once more, and to submit the job again if there is still no result",
        "Slurm job %s is COMPLETED, but no result was seen here within %llu seconds (%.160s)%s%s", number,
        (unsigned long long)f->settings->settle_seconds, why, words[0] ? ": " : "", words);
}

static kit_status bad_end(following *f, kolm_error_t *err) {
    char words[200];
    bool oom = false;
    slurm_view view;
    f->use = BAD_END;
    wait_for_words(f, words, sizeof words, &oom);
    if (strcmp(f->job.state.name, "CANCELLED") == 0 && !f->job.state.has_by) {
        slurm_job accounted = f->job; /* it may not know the end yet: only the user is taken from it */
        KIT_TRY(slurm_ask_accounting(f->settings, &f->place->id, &accounted, &view, err));
        f->job.state.has_by = accounted.state.has_by;
        f->job.state.by = accounted.state.by;
    }
    return slurm_ended(f->settings, &f->place->id, &f->job, &f->events.job.error, words, oom,
                       slurm_place_has(f->place, "checkpoint"), err);
}

/* The accounting record of a job that the controller has purged; the job stays unknown if there is none. */
static kit_status ask_for_end(following *f, kolm_error_t *err) {
    slurm_view view = SLURM_VIEW_AWAY;
    slurm_job job = f->job;
    int64_t end = kit_now_ms() + (int64_t)f->settings->settle_seconds * 1000;
    while (view == SLURM_VIEW_AWAY) {
        KIT_TRY(slurm_ask_accounting(f->settings, &f->place->id, &job, &view, err));
        if (view != SLURM_VIEW_AWAY || kit_now_ms() >= end || !slurm_pause(f->host, LOOK_MS)) break;
    }
    if (view != SLURM_VIEW_JOB || job.state.phase != SLURM_ENDED) return KOLM_OK;
    if (f->place->name[0] && strcmp(job.name, f->place->name) != 0) return KOLM_OK; /* the id was reused */
    f->job = job;
    f->view = SLURM_VIEW_JOB;
    return KOLM_OK;
}

static kit_status finish(following *f, kolm_error_t *err) {
    kolm_error_t why = KIT_ERROR_INIT;
    slurm_events_read(&f->events, f->place->dir);
    if (f->view == SLURM_VIEW_FORGOTTEN &&
        !(f->events.job.result != NULL && slurm_results_ready(f->place, &why) == KOLM_OK))
        KIT_TRY(ask_for_end(f, err));
    if (f->view == SLURM_VIEW_JOB && strcmp(f->job.state.name, "COMPLETED") != 0) return bad_end(f, err);
    kit_status status = settle(f, &why);
    if (status == KOLM_OK) return KOLM_OK;
    if (f->use == NO_RESULT && f->events.job.error.code != KOLM_OK) {
        if (f->view == SLURM_VIEW_FORGOTTEN) slurm_state_read("FAILED", &f->job.state);
        return bad_end(f, err);
    }
    if (f->use == NO_RESULT) return no_result(f, why.text, err);
    *err = why;
    return status;
}

static void rest(following *f) {
    bool said = f->events.job.result != NULL || f->events.job.error.code != KOLM_OK;
    int ms = f->ends_seen > 0 || said ? LOOK_MS : f->look_ms;
    for (int waited = 0; waited < ms; waited += EVENTS_MS) {
        if (!slurm_pause(f->host, EVENTS_MS)) return;
        slurm_events_read(&f->events, f->place->dir);
        if (!said && (f->events.job.result != NULL || f->events.job.error.code != KOLM_OK)) return;
    }
    f->look_ms = f->look_ms + f->look_ms / 4 < LOOK_MOST_MS ? f->look_ms + f->look_ms / 4 : LOOK_MOST_MS;
}

static kit_status follow(following *f, kolm_error_t *err) {
    f->look_ms = LOOK_MS;
    for (;; rest(f)) {
        if (f->host->cancelled(f->host->user)) return stop(f, err);
        KIT_TRY(look(f, err));
        slurm_events_read(&f->events, f->place->dir);
        if (f->view == SLURM_VIEW_AWAY)
            KIT_TRY(wait_for_controller(f, err));
        else
            f->away_since = 0;
        tell_queue(f);
        if (has_ended(f)) return finish(f, err);
    }
}

/* ---- Submission */

/* Finds the job of a kolm that died after submitting it, before storing its number; waits for the controller. */
static kit_status find_again(following *f, kolm_error_t *err) {
    slurm_id id;
    for (;; (void)slurm_pause(f->host, LOOK_MS)) {
        if (f->host->cancelled(f->host->user))
            return kit_fail(err, KOLM_E_CANCELLED, "", "stopped before the job was found in Slurm's queue");
        KIT_TRY(slurm_ask_name(f->settings, f->place->name, &id, &f->view, err));
        if (f->view != SLURM_VIEW_AWAY) break;
        KIT_TRY(wait_for_controller(f, err));
    }
    f->away_since = 0;
    return f->view == SLURM_VIEW_JOB ? slurm_place_submitted(f->place, &id, err) : slurm_place_renew(f->place, err);
}

static kit_status begin(following *f, const char *task, uint32_t threads, kolm_error_t *err) {
    slurm_place *place = f->place;
    char text[200];
    if (!place->id.number[0] && place->name[0]) KIT_TRY(find_again(f, err));
    f->before = place->id.number[0] != '\0';
    if (!f->before) {
        KIT_TRY(slurm_place_name(place, task, err));
        kit_status status = slurm_submit(f->host, f->settings, place, threads, err);
        if (status == KOLM_E_FAILED_PRECONDITION) slurm_place_end(place, f->settings->keep); /* Slurm has no such job */
        KIT_TRY(status);
    }
    (void)kit_format(text, sizeof text, "Slurm job %s %s", place->id.number,
                     f->before ? "was submitted before: following it" : "is submitted");
    f->host->log(f->host->user, KOLM_LOG_INFO, text);
    return KOLM_OK;
}

static kit_status begin_anew(following *f, const kolm_error_t *ended, kolm_error_t *err) {
    char text[700];
    (void)kit_format(text, sizeof text, "%.500s; that was before this start: submitting it again", ended->text);
    f->host->log(f->host->user, KOLM_LOG_WARNING, text);
    return slurm_place_renew(f->place, err);
}

/* Keeps or removes the files of a failed job, as configured, and says where they are. */
static void clear(const following *f, kolm_error_t *err) {
    char remedy[sizeof err->remedy];
    if (f->settings->keep) {
        (void)kit_format(remedy, sizeof remedy, "%s%sits directory is kept: %s", err->remedy,
                         err->remedy[0] ? "; " : "", f->place->dir);
        (void)kit_copy(err->remedy, sizeof err->remedy, remedy);
    }
    if (f->use == BAD_END) slurm_place_end(f->place, f->settings->keep);
}

static following following_of(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place,
                              slurm_home *home) {
    following f = {.host = host, .caller = getppid(), .settings = settings, .place = place, .home = home};
    kit_events_begin(&f.events.job, host, "the job");
    f.events.job.restarts = true;
    return f;
}

static kit_status go_through(following *f, const char *task, uint32_t threads, kolm_error_t *err) {
    KIT_TRY(begin(f, task, threads, err));
    kit_status status = follow(f, err);
    if (f->use != GOOD && f->before && !f->alive) {
        /* It ended before this start, so this start must not fail because of it. */
        KIT_TRY(begin_anew(f, err, err));
        kit_events_end(&f->events.job);
        *f = following_of(f->host, f->settings, f->place, f->home);
        KIT_TRY(begin(f, task, threads, err));
        status = follow(f, err);
    }
    if (f->use != GOOD) clear(f, err);
    return status;
}

kit_status slurm_do(const kolm_host_v1_t *host, const slurm_settings *settings, slurm_place *place, const char *task,
                    uint32_t threads, slurm_home *home, kolm_error_t *err) {
    following f = following_of(host, settings, place, home);
    kit_status status = go_through(&f, task, threads, err);
    if (status == KOLM_OK) {
        (void)kit_format(home->device, sizeof home->device, "%.70s on %.40s (Slurm)",
                         kit_events_result_text(&f.events.job, "device"), f.job.node[0] ? f.job.node : "a node");
        (void)kit_copy(home->toolchain, sizeof home->toolchain, kit_events_result_text(&f.events.job, "toolchain"));
    }
    kit_events_end(&f.events.job);
    return status;
}
