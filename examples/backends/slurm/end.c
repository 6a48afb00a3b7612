/* SPDX-License-Identifier: Apache-2.0 */
/* How a job ended, or why it does not start, and what to do about it. */
#include "slurm.h"

#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Ends */

/* " by alice", " by you": who cancelled it, if known. */
static void by_whom(const slurm_state *state, char *out, size_t capacity) {
    char room[4096];
    struct passwd entry, *found = NULL;
    out[0] = '\0';
    if (!state->has_by) return;
    if (state->by == getuid()) {
        (void)kit_copy(out, capacity, " by you");
    } else if (getpwuid_r(state->by, &entry, room, sizeof room, &found) == 0 && found) {
        (void)kit_format(out, capacity, " by %.60s", found->pw_name);
    } else {
        (void)kit_format(out, capacity, " by the user with the number %u", state->by);
    }
}

/* The details of FAILED: ", killed by signal 9 (Killed)", " with exit code 3" or " (Slurm's reason)". */
static void how_failed(const slurm_job *job, char *out, size_t capacity) {
    const char *name = job->signal < 65 ? strsignal((int)job->signal) : NULL;
    if (job->signal) /* Slurm reports a failed launch as the reason, although the script was running. */
        (void)kit_format(out, capacity, ", killed by signal %llu (%.40s)", (unsigned long long)job->signal,
                         name ? name : "unknown");
    else if (job->exit_code)
        (void)kit_format(out, capacity, " with exit code %llu", (unsigned long long)job->exit_code);
    else if (job->reason[0] && strcmp(job->reason, "None") != 0)
        (void)kit_format(out, capacity, " (%.100s)", job->reason);
}

static bool is(const slurm_job *job, const char *state) {
    return strcmp(job->state.name, state) == 0;
}

static void remedy_of_failure(const slurm_settings *s, const slurm_job *job, char *out, size_t capacity) {
    if (job->exit_code == 126 || job->exit_code == 127)
        (void)kit_format(out, capacity,
                         "on the nodes, '%.100s' must be in PATH and executable: install it there, or name another "
                         "program as backends.slurm.trainer in config.json",
                         s->trainer[0]);
    else if (job->signal == SIGKILL)
        (void)kit_copy(
            out, capacity,
            "most often the kernel does that if memory runs out: raise backends.slurm.memory in config.json");
    else if (job->signal)
        (void)kit_copy(out, capacity,
                       "read what the trainer printed; \"keep\": true in backends.slurm of config.json keeps it");
    else
        (void)kit_copy(out, capacity,
                       "read what the trainer printed; \"keep\": true in backends.slurm of config.json keeps it all");
}

typedef enum detail { NO_DETAIL, THE_NODE, WHO } detail;
typedef enum limit { NO_LIMIT, THE_TIME, THE_MEMORY } limit;

/* What happened, after "Slurm job 4711 ", and what to do: before " (it was 7:00)", and after "run the same command
 * again". */
static const struct ending {
    const char *state, *what;
    detail detail;
    const char *first;
    limit limit;
    const char *last;
} endings[] = {
    {"TIMEOUT", "reached its time limit", NO_DETAIL, "raise backends.slurm.time in config.json", THE_TIME, ""},
    {"OUT_OF_MEMORY", "ran out of memory", NO_DETAIL, "give it more by backends.slurm.memory in config.json",
     THE_MEMORY, ""},
    {"CANCELLED", "was cancelled", WHO, "", NO_LIMIT, " when it suits"},
    {"NODE_FAIL", "lost its node", THE_NODE, "", NO_LIMIT, ": Slurm uses another node"},
    {"PREEMPTED", "was preempted by another job", NO_DETAIL, "", NO_LIMIT,
     ", or use what is not preempted: backends.slurm.qos or partition in config.json"},
    {"BOOT_FAIL", "was assigned a node that did not start", THE_NODE, "", NO_LIMIT,
     "; if that happens again, tell the administrator of the cluster, and choose other nodes with "
     "backends.slurm.constraint or partition in config.json"},
    {"DEADLINE", "could not end before its deadline", NO_DETAIL,
     "request less time, so that it starts earlier: backends.slurm.time in config.json", THE_TIME, ""},
};

static void tell_ending(const struct ending *e, const slurm_job *job, bool checkpoint, char *what, char *remedy,
                        size_t capacity) {
    char more[160] = "", was[64] = "";
    if (e->detail == WHO) by_whom(&job->state, more, sizeof more);
    if (e->detail == THE_NODE && job->node[0]) (void)kit_format(more, sizeof more, " %s", job->node);
    const char *value = e->limit == THE_TIME ? job->time : e->limit == THE_MEMORY ? job->memory : "";
    if (value[0]) (void)kit_format(was, sizeof was, " (it was %.40s)", value);
    (void)kit_format(what, capacity, "%s%s (%s)", e->what, more, e->state);
    (void)kit_format(remedy, capacity, "%s%s%srun the same command again%s%s%s", e->first, was,
                     e->first[0] ? ", and " : "", e->last, checkpoint ? "; it continues from its checkpoint" : "",
                     e->detail == WHO && !more[0] ? "; Slurm does not record here who did it" : "");
}

static void explain(const slurm_settings *s, const slurm_job *job, bool oom, bool checkpoint, char *what, char *remedy,
                    size_t capacity) {
    const char *state = oom ? "OUT_OF_MEMORY" : job->state.name;
    char how[200] = "";
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        if (strcmp(state, endings[i].state) != 0) continue;
        tell_ending(&endings[i], job, checkpoint, what, remedy, capacity);
        return;
    }
    how_failed(job, how, sizeof how);
    (void)kit_format(what, capacity, "failed%s (%s)", how, job->state.name);
    remedy_of_failure(s, job, remedy, capacity);
}

/* The trainer's own error is more specific, unless Slurm ended the job: then the trainer only reports "interrupted". */
static bool trainers_fault(const slurm_job *job, bool oom) {
    return !oom && (is(job, "FAILED") || is(job, "COMPLETED"));
}

kit_status slurm_ended(const slurm_settings *settings, const slurm_id *id, const slurm_job *job,
                       const kolm_error_t *told, const char *words, bool oom, bool checkpoint, kolm_error_t *err) {
    char what[500], remedy[500];
    if (told->code != KOLM_OK && trainers_fault(job, oom)) {
        *err = *told;
        if (err->code == KOLM_E_CANCELLED || err->code == KOLM_E_UNAVAILABLE)
            err->code = KOLM_E_ABORTED; /* it was not stopped by this kolm */
        return kit_fail_context(err, "Slurm job %s", id->number);
    }
    if (!words[0] && told->code != KOLM_OK) words = told->text;
    explain(settings, job, oom, checkpoint, what, remedy, sizeof what);
    return kit_fail(err, KOLM_E_ABORTED, remedy, "Slurm job %s %s%s%.200s", id->number, what, words[0] ? ": " : "",
                    words);
}

/* ---- Jobs that will not start by themselves */

static const struct {
    const char *reason, *remedy;
    bool release; /* the remedy is a scontrol command */
} stuck[] = {
    {"JobHeldUser", "release it", true},
    {"JobHeldAdmin", "an administrator holds it: ask them, or scancel it", false},
    {"held_state", "Slurm holds it after it was requeued: find out why, and release it", true},
    {"launch_failed", "it could not be started on its nodes: tell the administrator, or release it", true},
    {"ReservationDeleted", "its reservation is gone: correct backends.slurm.reservation in config.json", false},
    {"BadConstraints", "no node can satisfy the request: correct backends.slurm in config.json", false},
    {"PartitionTimeLimit", "the partition allows less time: correct backends.slurm.time in config.json", false},
    {"PartitionNodeLimit", "the partition allows fewer nodes: correct backends.slurm.nodes in config.json", false},
    {"PartitionConfig", "the partition has no nodes for the request: correct backends.slurm in config.json", false},
    {"InvalidQOS", "correct backends.slurm.qos in config.json", false},
    {"InvalidAccount", "correct backends.slurm.account in config.json", false},
    {"QOSNotAllowed", "correct backends.slurm.qos in config.json", false},
    {"AccountNotAllowed", "correct backends.slurm.account in config.json", false},
    {"WallDuration", "the account or qos allows less time: correct backends.slurm.time in config.json", false},
    {"PerJobLimit", "the account or qos allows less for a job: correct backends.slurm in config.json", false},
    {"MinutesLimit", "the account or qos has used up its share of time", false},
    {"DependencyNeverSatisfied", "scancel it", false},
};

bool slurm_is_stuck(const char *reason, const char *number, char *out_remedy, size_t capacity) {
    for (size_t i = 0; i < sizeof stuck / sizeof *stuck; i++) {
        if (!strstr(reason, stuck[i].reason)) continue;
        bool release = stuck[i].release;
        (void)kit_format(out_remedy, capacity, "%s%s%s", stuck[i].remedy, release ? ": scontrol release " : "",
                         release ? number : "");
        return true;
    }
    return false;
}
