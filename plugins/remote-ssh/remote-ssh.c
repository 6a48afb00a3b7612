/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of the remote-ssh backend: jobs on a machine of the user's own, which needs an account and Python 3. */
#include "box.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/process.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- detect: no network, so it reports the cached facts. */

static void tell_unseen(const kolm_host_v1_t *host, const char *target) {
    const kolm_device_t record = {
        .struct_size = (uint32_t)sizeof record,
        .memory_kind = KOLM_MEMORY_NONE, /* not checked */
        .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
        .name = target,
        .id = "",
        .driver = "",
        .runtime = "",
    };
    host->device(host->user, &record);
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    box b;
    char text[256], about[200];
    kit_status status = box_read(host, &b, out_error);
    if (status == KOLM_E_NOT_FOUND)
        return kit_detected(out_result, KOLM_DETECT_ABSENT, out_error->text, out_error->remedy, "");
    if (status == KOLM_E_INVALID_ARGUMENT)
        return kit_detected(out_result, KOLM_DETECT_BROKEN, out_error->text, out_error->remedy, "");
    if (status != KOLM_OK) return status;
    cJSON *facts = box_remembered(&b);
    if (facts == NULL) {
        tell_unseen(host, b.target);
        kit_format(text, sizeof text, "%.180s is named; not checked: that needs the network", b.target);
        return kit_detected(out_result, KOLM_DETECT_AVAILABLE, text, "", "your own GPU");
    }
    uint64_t seen = 0;
    char day[16] = "";
    (void)kit_json_get_u64(facts, "seen", &seen);
    const time_t when = (time_t)seen;
    struct tm parts;
    if (gmtime_r(&when, &parts) != NULL) (void)strftime(day, sizeof day, "%Y-%m-%d", &parts);
    box_tell(host, facts, about, sizeof about);
    kit_format(text, sizeof text, "%.60s as seen on %s: %s", b.target, day, about);
    cJSON_Delete(facts);
    return kit_detected(out_result, KOLM_DETECT_AVAILABLE, text, "", "your own GPU");
}

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host, (void)out_error;
    return kit_estimate_lora(args, 4000, out_result);
}

/* ---- train and infer */

static kit_status open_box(const kolm_host_v1_t *host, box *b, kit_ssh_job_remote **out_remote, kolm_error_t *err) {
    *out_remote = NULL;
    KIT_TRY(box_read(host, b, err));
    KIT_TRY(box_pin(host, b, err));
    return kit_ssh_job_open(host, &b->settings, out_remote, err);
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    box b;
    kit_ssh_job_remote *remote;
    kit_status status = open_box(host, &b, &remote, out_error);
    if (status == KOLM_OK) status = kit_ssh_job_train(remote, args, out_result, out_error);
    kit_ssh_job_close(remote);
    return status;
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    box b;
    kit_ssh_job_remote *remote;
    kit_status status = open_box(host, &b, &remote, out_error);
    if (status == KOLM_OK) status = kit_ssh_job_infer(remote, args, out_result, out_error);
    kit_ssh_job_close(remote);
    return status;
}

/* ---- test */

typedef struct bench {
    const kolm_host_v1_t *host;
    box box;
    kit_ssh_job_remote *remote;
    cJSON *facts;
    char digests[2][KIT_SSH_JOB_DIGEST];
    char note[256];
} bench;

static kit_status check_account(bench *t, kolm_error_t *err) {
    KIT_TRY(open_box(t->host, &t->box, &t->remote, err));
    kit_format(t->note, sizeof t->note, "%.60s at %.60s, %.60s", t->box.host, kit_ssh_job_address(t->remote),
               kit_ssh_job_host_key(t->remote));
    return KOLM_OK;
}

static kit_status check_machine(bench *t, kolm_error_t *err) {
    KIT_TRY(kit_ssh_job_facts(t->remote, true, &t->facts, err));
    box_tell(NULL, t->facts, t->note, sizeof t->note);
    box_remember(&t->box, kit_ssh_job_host_key(t->remote), t->facts);
    return KOLM_OK;
}

static kit_status check_training(bench *t, kolm_error_t *err) {
    return kit_ssh_job_rehearse(t->remote, t->digests[0], t->note, sizeof t->note, err);
}

/* Repeats the training, which must produce the same bytes: otherwise a model could not be verified. */
static kit_status check_again(bench *t, kolm_error_t *err) {
    KIT_TRY(kit_ssh_job_rehearse(t->remote, t->digests[1], t->note, sizeof t->note, err));
    bool same = strcmp(t->digests[0], t->digests[1]) == 0;
    t->host->metric(t->host->user, "test.reproducible.linear", same ? 1 : 0);
    if (!same)
        return kit_fail(err, KOLM_E_DATA_LOSS, "check the memory of that machine",
                        "two identical trainings produced different bytes");
    kit_format(t->note, sizeof t->note, "the same bytes twice: %.16s...", t->digests[0]);
    return KOLM_OK;
}

/* If the user allows kolm to create a Python environment, creates it here, before it is needed. */
static kit_status check_environment(bench *t, kolm_error_t *err) {
    KIT_TRY(kit_ssh_job_python(t->remote, t->facts, err));
    box_tell(NULL, t->facts, t->note, sizeof t->note);
    box_remember(&t->box, kit_ssh_job_host_key(t->remote), t->facts);
    return KOLM_OK;
}

static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                    kolm_error_t *out_error) {
    static const struct {
        const char *title;
        kit_status (*run)(bench *t, kolm_error_t *err);
    } steps[] = {{"auth check", check_account},
                 {"machine (probe)", check_machine},
                 {"trainer dry run (linear)", check_training},
                 {"result round-trip", check_again},
                 {"Python environment (lora)", check_environment}};
    bench t = {.host = host};
    bool good = true;
    uint32_t total = 4;
    (void)args, (void)out_error;
    for (uint32_t i = 0; i < total; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        int64_t begun = kit_now_ms();
        t.note[0] = '\0';
        bool ran = good;
        if (ran) good = steps[i].run(&t, &err) == KOLM_OK;
        if (i == 0 && good && t.box.settings.setup) total = 5;
        if (ran && !good) kit_format(t.note, sizeof t.note, "%s; %s", err.text, err.remedy);
        const kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                                       .outcome = !ran   ? KOLM_STEP_SKIPPED
                                                  : good ? KOLM_STEP_OK
                                                         : KOLM_STEP_FAILED,
                                       .number = i + 1,
                                       .total = total,
                                       .duration_us = (uint64_t)(kit_now_ms() - begun) * 1000,
                                       .title = steps[i].title,
                                       .note = t.note};
        host->test_step(host->user, &step);
    }
    kit_ssh_job_close(t.remote);
    cJSON_Delete(t.facts);
    out_result->passed = good ? 1 : 0;
    (void)kit_copy(out_result->summary, sizeof out_result->summary,
                   good ? "remote-ssh is ready for kolm compile"
                        : "remote-ssh is not ready: the first step that failed says why");
    return KOLM_OK;
}

/* ---- status: of every known machine, from the variable or config.json. */

typedef struct round {
    const kolm_host_v1_t *host;
    const kolm_status_args_t *args;
    box *seen; /* earlier boxes whose settings could be read */
    size_t seen_count, reached;
    uint64_t freed;
    kolm_error_t first; /* of the first box that failed; code 0 if none did */
} round;

/* True for the same host and directory: the variable may name the host of a box. */
static bool seen_before(const round *r, const box *b) {
    for (size_t i = 0; i < r->seen_count; i++)
        if (strcmp(r->seen[i].host, b->host) == 0 && strcmp(r->seen[i].dir, b->dir) == 0) return true;
    return false;
}

static kit_status ask_box(round *r, const char *target, kolm_error_t *err) {
    kit_ssh_job_remote *remote = NULL;
    uint64_t freed = 0;
    box *b = &r->seen[r->seen_count];
    KIT_TRY(box_read_target(r->host, target, b, err));
    if (seen_before(r, b)) return KOLM_OK;
    r->seen_count++;
    kit_status status = box_pin(r->host, b, err);
    if (status == KOLM_OK) status = kit_ssh_job_open(r->host, &b->settings, &remote, err);
    if (status == KOLM_OK) status = kit_ssh_job_status(remote, r->args, &freed, err);
    kit_ssh_job_close(remote);
    if (status == KOLM_OK) r->reached++;
    r->freed += freed;
    return status;
}

/* An unreachable box must not hide the others. The call returns the first error; further ones are logged here. */
static void tell_away(round *r, const char *target, const kolm_error_t *err) {
    char line[700];
    if (r->first.code == KOLM_OK) {
        r->first = *err;
        return;
    }
    kit_format(line, sizeof line, "%.100s: %s", target, err->text);
    r->host->log(r->host->user, KOLM_LOG_WARNING, line);
}

static int32_t status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out_result,
                      kolm_error_t *out_error) {
    cJSON *targets = NULL;
    const cJSON *target;
    round r = {.host = host, .args = args, .first = KIT_ERROR_INIT};
    if (args->allow_network != 1)
        return kit_fail(out_error, KOLM_E_PERMISSION_DENIED, "allow the network",
                        "machines are queried over the network");
    KIT_TRY(box_targets(host, &targets, out_error));
    size_t count = (size_t)cJSON_GetArraySize(targets);
    kit_status code = KOLM_OK;
    r.seen = calloc(count + 1, sizeof *r.seen);
    if (r.seen == NULL)
        code = kit_no_memory(out_error);
    else if (count == 0)
        code = kit_fail(out_error, KOLM_E_NOT_FOUND, "set " BOX_VARIABLE ", or give machines names in config.json",
                        "no machine is known");
    cJSON_ArrayForEach(target, targets) {
        kolm_error_t err = KIT_ERROR_INIT;
        if (code != KOLM_OK) break;
        kit_status one = ask_box(&r, target->valuestring, &err);
        if (one == KOLM_E_CANCELLED) code = kit_fail(out_error, one, "", "stopped");
        if (one != KOLM_OK && one != KOLM_E_CANCELLED) tell_away(&r, target->valuestring, &err);
    }
    if (code == KOLM_OK && r.first.code != KOLM_OK) {
        *out_error = r.first;
        code = r.first.code;
    }
    if (code == KOLM_OK)
        kit_format(out_result->summary, sizeof out_result->summary, "%zu machine%s", r.reached,
                   r.reached == 1 ? "" : "s");
    free(r.seen);
    cJSON_Delete(targets);
    return code;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "remote-ssh",
    .version = KOLM_VERSION,
    .vendor = "kolm",
    .licence = "Apache-2.0",
    .homepage = "",
    .detect = detect,
    .cost = cost,
    .train = train,
    .infer = infer,
    .test = test,
    .status = status,
};
