/* SPDX-License-Identifier: Apache-2.0 */
/* A backend that rents: the SDK's template on a machine of a provider that is a directory. Each file in it is a
 * running, billed machine with that name. Tests stop it, kill it, and make it break rules through files next to the
 * directory. */
#define kolm_backend_v1 template_v1
#include "../../sdk/template/example.c"
#undef kolm_backend_v1

#include <kolm/kit/backend.h>
#include <kolm/kit/process.h>
#include <kolm/rent/journal.h>

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#ifndef RENTER_NAME
#define RENTER_NAME "renter"
#endif

typedef struct renter {
    const kolm_host_v1_t *host;
    char ledger[4000], control[4096];
    const kolm_train_args_t *train;
    kolm_train_result_t *trained;
    kit_rent_host journal;
} renter;

/* ---- Control by the tests: CONTROL/stop and CONTROL/die name a point, CONTROL/how a breach; CONTROL/slow: it waits
 * at each point */

static bool control_has(const renter *r, const char *name, const char *word) {
    char path[4200], text[64] = "";
    snprintf(path, sizeof path, "%s/%s", r->control, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) close(fd);
    if (n < 0) return false;
    text[n] = '\0';
    return word == NULL || strcmp(text, word) == 0;
}

/* Appends the name of each point that is reached to CONTROL/points. */
static void point(const renter *r, const char *name) {
    char path[4200];
    snprintf(path, sizeof path, "%s/points", r->control);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, name, strlen(name)) < 0 || write(fd, "\n", 1) < 0) abort();
    close(fd);
    if (control_has(r, "die", name)) { /* once */
        snprintf(path, sizeof path, "%s/die", r->control);
        (void)unlink(path);
        raise(SIGKILL);
    }
    while (control_has(r, "stop", name) && r->host->cancelled(r->host->user) == 0)
        (void)poll(NULL, 0, 2);
    if (control_has(r, "slow", NULL)) (void)poll(NULL, 0, 15);
}

/* ---- The provider */

static void path_of(const renter *r, const char *name, char out[4200]) {
    snprintf(out, 4200, "%s/%s", r->ledger, name);
}

static kit_status offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    (void)state;
    (void)capacity;
    (void)err;
    out[0] = (kit_rent_offer){.id = "small", .what = "a small one", .micro_usd_per_hour = 3600000};
    *out_count = 1;
    return KOLM_OK;
}

static kit_status create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    renter *r = state;
    char path[4200];
    (void)offer;
    point(r, "before-create");
    *out_may_exist = false;
    if (control_has(r, "how", "create-fails")) return kit_fail(err, KOLM_E_PERMISSION_DENIED, "pay", "no credit");
    path_of(r, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot create %s", path);
    close(fd);
    point(r, "after-create");
    *out_may_exist = true;
    if (control_has(r, "how", "no-answer")) return kit_fail(err, KOLM_E_UNAVAILABLE, "wait", "no answer");
    snprintf(out_handle, KIT_RENT_HANDLE_BYTES, "h:%s", name);
    return KOLM_OK;
}

static kit_status look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    renter *r = state;
    char path[4200];
    struct stat st;
    path_of(r, handle + 2, path);
    if (stat(path, &st) != 0) return kit_fail(err, KOLM_E_NOT_FOUND, "", "there is no %s", handle);
    *out = (kit_rent_box){.life = KIT_RENT_UP, .micro_usd_per_hour = 3600000, .address = "127.0.0.1"};
    kit_copy(out->handle, sizeof out->handle, handle);
    kit_copy(out->name, sizeof out->name, handle + 2);
    return KOLM_OK;
}

static kit_status list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) {
    renter *r = state;
    DIR *dir = opendir(r->ledger);
    *out_count = 0;
    if (dir == NULL) return kit_fail_errno(err, errno, "cannot list %s", r->ledger);
    for (const struct dirent *e; (e = readdir(dir)) != NULL && *out_count < capacity;) {
        char handle[KIT_RENT_HANDLE_BYTES];
        if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        kit_format(handle, sizeof handle, "h:%s", e->d_name);
        if (look(state, handle, &out[*out_count], err) == KOLM_OK) ++*out_count;
    }
    closedir(dir);
    return KOLM_OK;
}

static kit_status destroy(void *state, const char *handle, kolm_error_t *err) {
    renter *r = state;
    char path[4200];
    (void)err;
    point(r, "before-destroy");
    path_of(r, handle + 2, path);
    (void)unlink(path);
    point(r, "after-destroy");
    return KOLM_OK;
}

static const kit_rent_provider provider = {.name = RENTER_NAME,
                                           .can = KIT_RENT_CAN_NAME,
                                           .settle_ms = 30,
                                           .create_ms = 1,
                                           .offers = offers,
                                           .create = create,
                                           .look = look,
                                           .list = list,
                                           .destroy = destroy};

/* A provider whose lists may be a minute late. */
static const kit_rent_provider late = {.name = RENTER_NAME,
                                       .can = KIT_RENT_CAN_NAME,
                                       .settle_ms = 60000,
                                       .create_ms = 1,
                                       .offers = offers,
                                       .create = create,
                                       .look = look,
                                       .list = list,
                                       .destroy = destroy};

/* ---- The journal, with points around it */

static kit_status on_intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    renter *r = user;
    point(r, "before-intent");
    KIT_TRY(kit_rent_host_journal.intent(&r->journal, name, offer, err));
    point(r, "after-intent");
    return KOLM_OK;
}

static kit_status on_handle(void *user, const char *name, const char *handle, kolm_error_t *err) {
    renter *r = user;
    point(r, "before-handle");
    KIT_TRY(kit_rent_host_journal.handle(&r->journal, name, handle, err));
    point(r, "after-handle");
    return KOLM_OK;
}

static kit_status on_gone(void *user, const char *name, uint64_t billed, kolm_error_t *err) {
    renter *r = user;
    point(r, "before-gone");
    if (control_has(r, "bill", "dear")) billed = 1500000;
    KIT_TRY(kit_rent_host_journal.gone(&r->journal, name, billed, err));
    point(r, "after-gone");
    return KOLM_OK;
}

static const kit_rent_journal journal = {.intent = on_intent, .handle = on_handle, .gone = on_gone};

/* ---- The work */

static kit_status arm(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    (void)box;
    (void)err;
    point(user, "armed");
    *out_done = true;
    return KOLM_OK;
}

static kit_status run(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    renter *r = user;
    (void)box;
    point(r, "before-work");
    *out_done = true;
    return train(r->host, r->train, r->trained, err);
}

static kit_status collect(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    (void)box;
    (void)err;
    point(user, "after-work");
    *out_done = true;
    return KOLM_OK;
}

static const kit_rent_work work = {.arm = arm, .run = run, .collect = collect};

/* ---- The slots */

static kit_status begin(renter *r, const kolm_host_v1_t *host, kolm_error_t *err) {
    char base[3000];
    const char *named = getenv("RENTER_DIRECTORY"); /* for `backend check`, which has no configuration */
    if (!kit_setting(host, "ledger", named != NULL ? named : "", base, sizeof base) || base[0] == '\0')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "set it", "backends." RENTER_NAME ".ledger is not set");
    *r = (renter){.host = host, .journal = {.host = host, .kind = "instance", .place = "the directory"}};
    snprintf(r->ledger, sizeof r->ledger, "%s/machines", base);
    snprintf(r->control, sizeof r->control, "%s", base);
    return KOLM_OK;
}

static void drive(const renter *r, kit_rent *rent, int64_t until_ms) {
    for (int64_t now = kit_now_ms(); !kit_rent_ended(rent) && now < until_ms; now = kit_now_ms()) {
        if (rent->due_ms > now) (void)poll(NULL, 0, (int)(rent->due_ms - now));
        kit_rent_step(rent, kit_now_ms(), r->host->cancelled(r->host->user) != 0);
    }
}

static kit_rent_plan plan_of(renter *r, const char *prefix) {
    return (kit_rent_plan){.provider = control_has(r, "lists", "late") ? &late : &provider,
                           .provider_state = r,
                           .work = &work,
                           .work_user = r,
                           .journal = &journal,
                           .journal_user = r,
                           .prefix = prefix,
                           .give_up_ms = 20000,
                           .poll_ms = 10};
}

/* Breaches by a backend that does not use kolm/rent. */
static kit_status misbehave(renter *r, kolm_error_t *err) {
    char handle[KIT_RENT_HANDLE_BYTES] = "";
    bool may_exist = false;
    const kit_rent_offer offer = {.micro_usd_per_hour = 3600000};
    if (control_has(r, "how", "handle-first")) {
        KIT_TRY(create(r, &offer, RENTER_NAME "-1", handle, &may_exist, err));
        kit_status status = kit_rent_host_journal.handle(&r->journal, RENTER_NAME "-1", handle, err);
        kolm_error_t ignored = KIT_ERROR_INIT;
        (void)destroy(r, handle, &ignored);
        return status;
    }
    if (control_has(r, "how", "leaves")) {
        char name[KIT_RENT_PREFIX_BYTES];
        KIT_TRY(kit_rent_make_prefix(RENTER_NAME, name, err));
        KIT_TRY(kit_rent_host_journal.intent(&r->journal, name, &offer, err));
        KIT_TRY(create(r, &offer, name, handle, &may_exist, err));
        KIT_TRY(kit_rent_host_journal.handle(&r->journal, name, handle, err));
    }
    return KOLM_OK;
}

/* Appends the budget of each call to CONTROL/budgets. */
static void note_budget(const renter *r, const char *slot) {
    char path[4200], text[64] = "";
    snprintf(path, sizeof path, "%s/budgets", r->control);
    FILE *file = fopen(path, "a");
    if (file == NULL) abort();
    (void)kit_setting(r->host, "job.budget_micro_usd", "none", text, sizeof text);
    fprintf(file, "%s %s\n", slot, text);
    fclose(file);
}

static int32_t rent_and_train(const kolm_host_v1_t *host, const kolm_train_args_t *args,
                              kolm_train_result_t *out_result, kolm_error_t *out_error) {
    renter r;
    kit_rent rent;
    char prefix[KIT_RENT_PREFIX_BYTES];
    KIT_TRY(begin(&r, host, out_error));
    r.train = args;
    r.trained = out_result;
    note_budget(&r, "train");
    KIT_TRY(misbehave(&r, out_error));
    KIT_TRY(kit_rent_make_prefix(RENTER_NAME, prefix, out_error));
    const kit_rent_plan plan = plan_of(&r, prefix);
    KIT_TRY(kit_rent_begin(&rent, &plan, kit_now_ms(), out_error));
    drive(&r, &rent, INT64_MAX);
    out_result->billed_micro_usd = rent.spent_micro_usd;
    if (rent.error.code != KOLM_OK) *out_error = rent.error;
    return rent.error.code;
}

static int32_t answer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                      kolm_error_t *out_error) {
    renter r;
    KIT_TRY(begin(&r, host, out_error));
    note_budget(&r, "infer");
    return infer(host, args, out_result, out_error);
}

static int32_t end_it(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args, kolm_reclaim_result_t *out_result,
                      kolm_error_t *out_error) {
    renter r;
    kit_rent rent;
    KIT_TRY(begin(&r, host, out_error));
    if (control_has(&r, "reclaim", "fails"))
        return kit_fail(out_error, KOLM_E_UNAVAILABLE, "wait", "the provider is away");
    while (control_has(&r, "reclaim", "hangs"))
        (void)poll(NULL, 0, 10);
    if (control_has(&r, "reclaim", "does-not-know")) {
        out_result->outcome = KOLM_RECLAIM_UNKNOWN;
        return KOLM_OK;
    }
    if (control_has(&r, "reclaim", "lies")) {
        out_result->outcome = KOLM_RECLAIM_GONE;
        return KOLM_OK;
    }
    if (control_has(&r, "reclaim", "once")) { /* not idempotent: an error if the machine is gone */
        char path[4200];
        struct stat st;
        path_of(&r, args->name, path);
        if (stat(path, &st) != 0) return kit_fail(out_error, KOLM_E_NOT_FOUND, "", "there is no %s", args->name);
    }
    if (control_has(&r, "reclaim", "by-handle") && args->handle[0] == '\0') {
        out_result->outcome = KOLM_RECLAIM_GONE; /* wrong: without a handle it reports GONE */
        return KOLM_OK;
    }
    const kit_rent_plan plan = plan_of(&r, RENTER_NAME);
    KIT_TRY(
        kit_rent_reclaim(&rent, &plan, args->name, args->handle, args->age_seconds * 1000, kit_now_ms(), out_error));
    int64_t left = host->time_left_ms(host->user);
    drive(&r, &rent, kit_now_ms() + (left < 4000 ? left / 2 : 2000));
    kit_rent_reclaimed(&rent, out_result);
    return KOLM_OK;
}

/* Reports the running machines as in use, because it cannot know. */
static int32_t report_machines(const kolm_host_v1_t *host, const kolm_status_args_t *args,
                               kolm_status_result_t *out_result, kolm_error_t *out_error) {
    renter r;
    size_t count = 0;
    static kit_rent_box boxes[KIT_RENT_BOXES_MAX];
    (void)args;
    KIT_TRY(begin(&r, host, out_error));
    KIT_TRY(list(&r, "", boxes, KIT_RENT_BOXES_MAX, &count, out_error));
    for (size_t i = 0; i < count; i++) {
        const kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding,
                                        .state = KOLM_HOLDING_IN_USE,
                                        .bytes = KOLM_UNKNOWN_COUNT,
                                        .age_seconds = KOLM_UNKNOWN_COUNT,
                                        .price_micro_usd_per_hour = boxes[i].micro_usd_per_hour,
                                        .place = "the directory",
                                        .kind = "instance",
                                        .name = boxes[i].name,
                                        .note = ""};
        host->holding(host->user, &holding);
    }
    snprintf(out_result->summary, sizeof out_result->summary, "the directory");
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .features = KOLM_FEATURE_MODEL_SLICES,
    .name = RENTER_NAME,
    .version = "1.0.0",
    .vendor = "kolm tests",
    .licence = "Apache-2.0",
    .homepage = "https://example.com/",
    .detect = detect,
    .cost = cost,
    .train = rent_and_train,
    .infer = answer,
    .test = test,
    .status = report_machines,
    .reclaim = end_it,
};
