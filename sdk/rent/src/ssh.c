/* SPDX-License-Identifier: Apache-2.0 */
/* The work on a rented machine: a thread does what may take long, and each step polls it. */
#include "kolm/rent/ssh.h"

#include "ears.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY_SECONDS 86400u
#define CONNECT_MS 15000u
#define RESULT_MAX (16u << 20)

typedef struct kit_rent_ssh rent_ssh;
typedef kit_status (*task)(rent_ssh *s, kolm_error_t *err);

struct kit_rent_ssh {
    kit_rent_ssh_options options;
    kit_rent_ears ears;
    char *scratch, *known_hosts;
    const char *identities[1], *known[1];
    kit_rent_box box;
    kit_ssh_job_settings settings;
    kit_rent_wire *wire; /* NULL: SSH */
    kit_ssh_job_remote *remote;
    char host_key[64]; /* pinned; "": none yet */
    char host_key_from[80];
    char about[256];
    char digests[2][KIT_SSH_JOB_DIGEST];

    task doing; /* NULL: nothing was begun. The thread is joined by the call that finds it has ended */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended_or_not;
    bool ended; /* protected by the lock, as are the two below */
    kit_status status;
    kolm_error_t err;
};

/* ---- The thread */

static void *body(void *user) {
    rent_ssh *s = user;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = s->doing(s, &err);
    pthread_mutex_lock(&s->lock);
    s->status = status;
    s->err = err;
    s->ended = true;
    pthread_cond_broadcast(&s->ended_or_not);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static bool has_ended(rent_ssh *s) {
    pthread_mutex_lock(&s->lock);
    bool ended = s->ended;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

/* Starts the task, or takes its result once it has one. */
static kit_status drive(rent_ssh *s, task what, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    *out_done = false;
    if (s->doing == NULL) {
        s->box = *box;
        s->ended = false;
        s->doing = what;
        int number = kit_thread_start(&s->thread, 0, body, s);
        if (number == 0) return KOLM_OK;
        s->doing = NULL;
        return kit_fail_errno(err, number, "cannot start a thread");
    }
    if (!has_ended(s)) return KOLM_OK;
    pthread_join(s->thread, NULL);
    s->doing = NULL;
    if (s->status != KOLM_OK) *err = s->err;
    *out_done = s->status == KOLM_OK;
    return s->status;
}

bool kit_rent_ssh_wait(kit_rent_ssh *s, int64_t most_ms) {
    struct timespec until;
    if (s->doing == NULL) return false;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += most_ms / 1000;
    until.tv_nsec += (long)(most_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&s->lock);
    while (!s->ended)
        if (pthread_cond_timedwait(&s->ended_or_not, &s->lock, &until) == ETIMEDOUT) break;
    bool ended = s->ended;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

void kit_rent_ssh_watch(kit_rent_ssh *ssh, uint64_t seconds) {
    ssh->options.watchdog_seconds = seconds;
}

void kit_rent_ssh_stop(kit_rent_ssh *ssh) {
    atomic_store(&ssh->ears.stop, true);
}

/* ---- arm */

static void say(const rent_ssh *s, uint32_t level, const char *text) {
    s->options.host->log(s->options.host->user, level, text);
}

static kit_status fill_settings(rent_ssh *s, kolm_error_t *err) {
    char target[KIT_SSH_USER_BYTES + sizeof s->box.address];
    const kit_rent_ssh_options *o = &s->options;
    s->identities[0] = o->key_path;
    s->known[0] = s->known_hosts;
    s->settings = (kit_ssh_job_settings){
        .name = o->name,
        .backend = o->name,
        .host_key = s->box.host_key[0] != '\0' ? s->box.host_key
                    : s->host_key[0] != '\0'   ? s->host_key
                                               : "accept-new",
        .engine = o->engine,
        .trainer = o->trainer,
        .setup = true, /* the machine is ours alone */
        .patience_seconds = 600,
    };
    if (s->wire != NULL) {
        s->wire->point(s->wire->wire.user, &s->box);
        s->settings.wire = &s->wire->wire;
        return KOLM_OK;
    }
    s->settings.ssh = (kit_ssh_options){.config_path = "none",
                                        .known_hosts = s->known,
                                        .known_hosts_count = 1,
                                        .identity_files = s->identities,
                                        .identity_file_count = 1,
                                        .agent_socket = "none",
                                        .host_key_from = s->host_key_from,
                                        .connect_timeout_ms = CONNECT_MS};
    if (s->box.host_key[0] != '\0')
        kit_format(s->host_key_from, sizeof s->host_key_from, "%s reports", o->name);
    else
        kit_copy(s->host_key_from, sizeof s->host_key_from, "before it was");
    if (!kit_format(target, sizeof target, "%s@%s", o->user, s->box.address))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report it to the author of this backend",
                        "the address of the machine is too long");
    KIT_TRY(kit_ssh_target_parse(target, &s->settings.ssh.target, err));
    if (s->settings.ssh.target.port == 0) s->settings.ssh.target.port = o->port;
    return KOLM_OK;
}

/* A booting machine refuses logins for a while: first sshd is missing, then the key. */
static kit_status not_yet(const rent_ssh *s, kit_status status, kolm_error_t *err) {
    if (status != KOLM_E_UNAUTHENTICATED || s->wire != NULL) return status;
    err->code = KOLM_E_UNAVAILABLE;
    return KOLM_E_UNAVAILABLE;
}

static void pin(rent_ssh *s) {
    char line[300];
    if (s->wire != NULL || s->host_key[0] != '\0') return;
    kit_copy(s->host_key, sizeof s->host_key, kit_ssh_job_host_key(s->remote));
    if (s->box.host_key[0] != '\0') return;
    kit_format(line, sizeof line,
               "%s does not report the host keys of its machines: the first one, %s of %s, is trusted, and no other "
               "until the machine is gone",
               s->options.name, s->host_key, s->box.address);
    say(s, KOLM_LOG_INFO, line); /* the connection itself warns that it trusts a new key */
}

/* Describes the machine for the user, and checks whether its GPU is visible. */
static kit_status look_at_it(rent_ssh *s, kolm_error_t *err) {
    cJSON *facts = NULL;
    const char *name = "no GPU", *processor = "";
    uint64_t cores = 0;
    KIT_TRY(kit_ssh_job_facts(s->remote, true, &facts, err));
    const cJSON *card = cJSON_GetArrayItem(kit_json_get(facts, "gpus"), 0);
    bool has = card != NULL && kit_json_get_string(card, "name", &name);
    (void)kit_json_get_string(facts, "processor", &processor);
    (void)kit_json_get_u64(facts, "cores", &cores);
    kit_format(s->about, sizeof s->about, "%.80s, %.80s, %u cores", name, processor, (unsigned)cores);
    cJSON_Delete(facts);
    if (has || !s->options.needs_gpu) return KOLM_OK;
    return kit_fail(err, KOLM_E_UNAVAILABLE, "run it again; another machine may do better",
                    "the machine shows no GPU (nvidia-smi finds none)");
}

static kit_status do_arm(rent_ssh *s, kolm_error_t *err) {
    char line[400];
    uint64_t left = 0, seconds = s->options.watchdog_seconds > 0 ? s->options.watchdog_seconds : DAY_SECONDS;
    if (s->remote == NULL) {
        KIT_TRY(fill_settings(s, err));
        KIT_TRY(not_yet(s, kit_ssh_job_open(&s->ears.table, &s->settings, &s->remote, err), err));
        pin(s);
    }
    kit_status status = kit_ssh_job_guard(s->remote, seconds, s->options.power_off, &left, err);
    if (status == KOLM_OK) status = look_at_it(s, err);
    if (status == KOLM_OK) {
        kit_format(line, sizeof line, "%s; its watchdog ends the work in %llu min", s->about,
                   (unsigned long long)(left + 59) / 60);
        say(s, KOLM_LOG_INFO, line);
        return KOLM_OK;
    }
    kit_ssh_job_close(s->remote); /* the next attempt connects again */
    s->remote = NULL;
    return status;
}

static kit_status arm(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    return drive(user, do_arm, box, out_done, err);
}

/* ---- run and collect */

static kit_status rehearse(rent_ssh *s, kolm_error_t *err) {
    char note[256];
    for (size_t i = 0; i < 2; i++)
        KIT_TRY(kit_ssh_job_rehearse(s->remote, s->digests[i], note, sizeof note, err));
    if (strcmp(s->digests[0], s->digests[1]) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "run it again; another machine may do better",
                    "two identical trainings on %s produced different bytes", s->options.name);
}

static kit_status do_run(rent_ssh *s, kolm_error_t *err) {
    const kit_rent_ssh_options *o = &s->options;
    if (o->train != NULL) return kit_ssh_job_train(s->remote, o->train, o->train_result, err);
    if (o->infer != NULL) return kit_ssh_job_infer(s->remote, o->infer, o->infer_result, err);
    return rehearse(s, err);
}

/* A job that failed there would fail again, and the connection was already retried as far as possible. */
static kit_status run(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    kit_status status = drive(user, do_run, box, out_done, err);
    if (status != KOLM_E_UNAVAILABLE && status != KOLM_E_DEADLINE_EXCEEDED) return status;
    err->code = KOLM_E_ABORTED;
    return KOLM_E_ABORTED;
}

/* All files were checked against their digests during the transfer; this checks that they are a training's results. */
static kit_status collect(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    const rent_ssh *s = user;
    cJSON *result = NULL;
    char *path = NULL;
    (void)box;
    *out_done = true;
    if (s->options.train == NULL) return KOLM_OK;
    KIT_TRY(kit_path_join(s->options.train->job_dir, "result.json", &path, err));
    kit_status status = kit_json_read(path, RESULT_MAX, &result, err);
    free(path);
    cJSON_Delete(result);
    *out_done = status == KOLM_OK;
    if (status == KOLM_E_UNAVAILABLE || status == KOLM_E_DEADLINE_EXCEEDED) status = KOLM_E_ABORTED;
    return status;
}

const kit_rent_work kit_rent_ssh_work = {.arm = arm, .run = run, .collect = collect};

/* ---- Open and close */

static kit_status prepare(rent_ssh *s, kolm_error_t *err) {
    pthread_condattr_t monotonic;
    KIT_TRY(kit_path_join(s->options.host->scratch_dir, "machine", &s->scratch, err));
    KIT_TRY(kit_mkdirs(s->scratch, 0700, err));
    KIT_TRY(kit_path_join(s->options.host->scratch_dir, "known_hosts", &s->known_hosts, err));
    rent_ears_begin(&s->ears, s->options.host, s->scratch);
    if (s->options.wire_new != NULL) KIT_TRY(s->options.wire_new(&s->ears.table, &s->wire, err));
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int number = pthread_mutex_init(&s->lock, NULL);
    if (number == 0) number = pthread_cond_init(&s->ended_or_not, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return number == 0 ? KOLM_OK : kit_fail_errno(err, number, "cannot make a lock");
}

kit_status kit_rent_ssh_open(const kit_rent_ssh_options *options, kit_rent_ssh **out, kolm_error_t *err) {
    rent_ssh *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL) return kit_no_memory(err);
    s->options = *options;
    kit_status status = prepare(s, err);
    if (status == KOLM_OK)
        *out = s;
    else
        kit_rent_ssh_close(s);
    return status;
}

const char *kit_rent_ssh_about(const kit_rent_ssh *ssh) {
    return ssh->about;
}

void kit_rent_ssh_close(kit_rent_ssh *s) {
    if (s == NULL) return;
    kit_rent_ssh_stop(s);
    if (s->doing != NULL) pthread_join(s->thread, NULL);
    kit_ssh_job_close(s->remote);
    if (s->wire != NULL) s->wire->free(s->wire->wire.user);
    free(s->scratch);
    free(s->known_hosts);
    free(s);
}
