/* SPDX-License-Identifier: Apache-2.0 */
/* A job small enough for any backend, and the evaluation of its results. */
#include "conform/leases.h"
#include "host/host.h"
#include "job/directory.h"
#include "job/result.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/thread.h"
#include "score/score.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LABELS 3
#define WORDS 8
#define TRAIN_MS 600000
#define SMALL 90    /* rows */
#define LARGE 20000 /* rows of the job that is stopped */
#define HELD 30     /* inputs */
#define FIRST_HELD 1000000u
#define MODEL_FILES_MAX 64

/* Every label has words of its own, so counting words in the training rows is always right: that is the oracle.
 */
static const char *const labels[LABELS] = {"billing", "login", "delivery"};
static const char *const words[LABELS][WORDS] = {
    {"invoice", "refund", "charge", "payment", "receipt", "price", "card", "bill"},
    {"password", "account", "sign", "locked", "code", "username", "reset", "access"},
    {"parcel", "courier", "shipping", "package", "tracking", "delivered", "address", "late"}};

static void add_text(kit_buf *out, uint32_t row) {
    const char *const *own = words[row % LABELS];
    kit_buf_fmt(out, "please help with my %s and %s number %u", own[row / LABELS % WORDS],
                own[(row / LABELS + 1 + row / 31) % WORDS], row);
}

/* ---- The job directory */

static kit_status write_in(const char *dir, const char *name, const kit_buf *text, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(dir, name, &path, err));
    kit_status status = kit_write_file(path, 0600, kit_buf_text(text), text->length, err);
    free(path);
    return status;
}

static kit_status write_rows(const char *dir, uint32_t rows, kolm_error_t *err) {
    kit_buf train = {0}, held = {0};
    for (uint32_t i = 0; i < rows; i++) {
        kit_buf_fmt(&train, "{\"id\":\"%u\",\"input\":\"", i);
        add_text(&train, i);
        kit_buf_fmt(&train, "\",\"output\":\"%s\"}\n", labels[i % LABELS]);
    }
    for (uint32_t i = 0; i < HELD; i++) {
        kit_buf_fmt(&held, "{\"id\":\"%u\",\"input\":\"", FIRST_HELD + i);
        add_text(&held, FIRST_HELD + i);
        kit_buf_str(&held, "\"}\n");
    }
    kit_status status = write_in(dir, "train.jsonl", &train, err);
    if (status == KOLM_OK) status = write_in(dir, "eval.jsonl", &held, err);
    kit_buf_free(&train);
    kit_buf_free(&held);
    return status;
}

static kit_status write_held(const char *path, kolm_error_t *err) {
    kit_buf held = {0};
    for (uint32_t i = 0; i < HELD; i++) {
        kit_buf_fmt(&held, "{\"id\":\"%u\",\"input\":\"", FIRST_HELD + i);
        add_text(&held, FIRST_HELD + i);
        kit_buf_fmt(&held, "\",\"output\":\"%s\"}\n", labels[(FIRST_HELD + i) % LABELS]);
    }
    kit_status status = kit_write_file(path, 0600, kit_buf_text(&held), held.length, err);
    kit_buf_free(&held);
    return status;
}

const char *check_recipe(const check *c) {
    const host_recipes *makes = &c->row->manifest->makes;
    const char *first = NULL;
    for (size_t i = 0; i < makes->count; i++) {
        if (strcmp(makes->at[i].name, "linear") == 0) return "linear";
        if (!first && makes->at[i].base != HOST_BASE_REQUIRED) first = makes->at[i].name;
    }
    return first ? first : "linear";
}

static kit_status describe(const check *c, const char *dir, const char *kind, uint32_t rows,
                           const kit_job_model_file *files, size_t count, kolm_error_t *err) {
    const job_description job = {.kind = kind,
                                 .task = "check",
                                 .recipe = check_recipe(c),
                                 .effort = "quick",
                                 .seed = 1,
                                 .rows = rows,
                                 .labels = LABELS,
                                 .model_files = files,
                                 .model_file_count = count};
    return job_describe(dir, &job, err);
}

static kit_status make_job(const check *c, const char *name, uint32_t rows, char **out_dir, kolm_error_t *err) {
    KIT_TRY(kit_path_join(c->work, name, out_dir, err));
    KIT_TRY(kit_mkdirs(*out_dir, 0700, err));
    KIT_TRY(write_rows(*out_dir, rows, err));
    return describe(c, *out_dir, "train", rows, NULL, 0, err);
}

/* ---- Calls */

bool check_may_train(check *c) {
    if (!(c->slots & HOST_SLOT_TRAIN))
        check_skip(c, "it has no train");
    else if (c->state != KOLM_DETECT_AVAILABLE)
        check_skip(c, "not available here: %s", c->here);
    else if (c->row->manifest->offer.airgap != PICK_AIRGAP_YES && !c->options->network)
        check_skip(c, "it may use the network, and money, only with --network");
    else
        return true;
    return false;
}

/* The small job runs with a host of the next minor, whose records are larger than today's. */
static const host_audit later = {.minor = KOLM_ABI_MINOR + 1, .later_bytes = 64};

static kit_status train(check *c, const char *dir, host_result *out_result, kolm_error_t *err) {
    host_call_options options;
    check_call_options(c, &options);
    options.timeout_ms = TRAIN_MS;
    options.network = c->options->network;
    options.cancel_too = &c->stop;
    options.audit = c->under ? c->under : &later;
    lease_journal *journal = NULL;
    kit_status status = check_rent_begin(c, &options, &journal, err);
    if (status == KOLM_OK) status = host_train(c->registry, c->row, dir, 2, &options, out_result, err);
    if (status == KOLM_OK) check_rent_end(c, "train", journal, out_result);
    if (!check_called(c, status, err)) return status;
    check_hear(c, out_result);
    return KOLM_OK;
}

/* input and output: -1 for the files of the job directory. */
static kit_status infer_from(check *c, const char *dir, int input, int output, host_result *out_result,
                             kolm_error_t *err) {
    host_call_options options;
    check_call_options(c, &options);
    options.timeout_ms = TRAIN_MS;
    options.network = c->options->network;
    options.audit = c->under ? c->under : &later;
    lease_journal *journal = NULL;
    kit_status status = check_rent_begin(c, &options, &journal, err);
    if (status == KOLM_OK) status = host_infer(c->registry, c->row, dir, 2, input, output, &options, out_result, err);
    if (status == KOLM_OK) check_rent_end(c, "infer", journal, out_result);
    if (!check_called(c, status, err)) return status;
    check_hear(c, out_result);
    return KOLM_OK;
}

static kit_status infer(check *c, const char *dir, host_result *out_result, kolm_error_t *err) {
    return infer_from(c, dir, -1, -1, out_result, err);
}

/* ---- The model that came back */

typedef struct model_list {
    kit_job_model_file files[MODEL_FILES_MAX];
    size_t count;
} model_list;

static void model_free(model_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->files[i].name);
        free(list->files[i].path);
    }
    list->count = 0;
}

/* Adds every file below the directory; prefix: how its names begin ("" or "adapter/"). */
static kit_status model_add(model_list *list, const char *path, const char *prefix, int depth, kolm_error_t *err) {
    DIR *dir = opendir(path);
    kit_status status = dir ? KOLM_OK : kit_fail_errno(err, errno, "cannot read %s", path);
    for (const char *entry = NULL; status == KOLM_OK;) {
        struct stat info;
        kit_buf name = {0};
        char *inner = NULL;
        status = kit_directory_next(dir, path, &entry, err);
        if (status != KOLM_OK || entry == NULL) break;
        kit_buf_fmt(&name, "%s%s", prefix, entry);
        status = kit_path_join(path, entry, &inner, err);
        if (status == KOLM_OK && lstat(inner, &info) != 0)
            status = kit_fail_errno(err, errno, "cannot access %s", inner);
        if (status == KOLM_OK && S_ISDIR(info.st_mode) && depth > 0) {
            kit_buf_char(&name, '/');
            status = model_add(list, inner, kit_buf_text(&name), depth - 1, err);
        } else if (status == KOLM_OK && S_ISREG(info.st_mode) && list->count < MODEL_FILES_MAX) {
            list->files[list->count++] = (kit_job_model_file){kit_buf_take(&name), inner, 0, (uint64_t)info.st_size};
            inner = NULL;
        } else if (status == KOLM_OK) {
            status = kit_fail(err, KOLM_E_DATA_LOSS, "", "model/%s is not a regular file, or there are too many files",
                              kit_buf_text(&name));
        }
        kit_buf_free(&name);
        free(inner);
    }
    if (dir) closedir(dir);
    return status;
}

static kit_status model_read(const char *dir, model_list *out_list, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(dir, "model", &path, err));
    kit_status status = model_add(out_list, path, "", 8, err);
    free(path);
    if (status == KOLM_OK && out_list->count == 0) status = kit_fail(err, KOLM_E_DATA_LOSS, "", "model/ is empty");
    return status;
}

/* result.json is signed, the record is shown by remote jobs: they must agree. A text that is too long for the record is
 * truncated there. */
static kit_status read_result(const char *dir, const kolm_train_result_t *said, kolm_error_t *err) {
    cJSON *json = NULL;
    const char *toolchain = NULL;
    kit_status status = job_result_read(dir, &json, err);
    if (status == KOLM_OK && kit_json_get_string(json, "toolchain", &toolchain) &&
        strcmp(toolchain, said->toolchain) != 0 &&
        (strlen(toolchain) < sizeof said->toolchain ||
         strncmp(toolchain, said->toolchain, strlen(said->toolchain)) != 0))
        status = kit_fail(
            err, KOLM_E_DATA_LOSS, "give the same in both",
            "train: result.json names the toolchain \"%.100s\", and its result \"%.100s\": report the same in both",
            toolchain, said->toolchain);
    cJSON_Delete(json);
    return status;
}

/* Compares the answers in DIR/predictions.jsonl with the oracle's. said: the number that it reported. */
static kit_status judge(check *c, const char *dir, uint64_t said, kolm_error_t *err) {
    char *held = NULL, *answers_path = NULL;
    score_answers *answers = NULL;
    kit_status status = kit_path_join(c->work, "held.jsonl", &held, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "predictions.jsonl", &answers_path, err);
    if (status == KOLM_OK) status = write_held(held, err);
    int fd = status == KOLM_OK ? open(held, O_RDONLY | O_CLOEXEC) : -1;
    if (status == KOLM_OK && fd < 0) status = kit_fail_errno(err, errno, "cannot open %s", held);
    const score_question question = {.heldout_fd = fd, .predictions = answers_path, .backend = c->row->name};
    if (status == KOLM_OK) status = score_answers_read(&question, &answers, err);
    if (fd >= 0) close(fd);
    if (status == KOLM_OK && said != score_rows(answers))
        check_fail(c, "infer: it reports %llu answers, but gave %llu: count those that are written",
                   (unsigned long long)said, (unsigned long long)score_rows(answers));
    else if (status == KOLM_OK && score_correct(answers) * 10 < score_rows(answers) * 8)
        check_fail(c, "%llu of %llu answers are right, counting words gets all of them",
                   (unsigned long long)score_correct(answers), (unsigned long long)score_rows(answers));
    else if (status == KOLM_OK)
        check_note(c, "%llu of %llu answers are right", (unsigned long long)score_correct(answers),
                   (unsigned long long)score_rows(answers));
    score_answers_free(answers);
    free(held);
    free(answers_path);
    return status;
}

/* train rejected this job, which is not a fault if the manifest does not offer it. */
static void not_made(check *c, const host_result *result) {
    if (host_recipes_find(&c->row->manifest->makes, check_recipe(c)))
        check_fail(c, "its manifest offers the recipe %s, but train does not support it: %s", check_recipe(c),
                   result->error.text);
    else
        check_skip(c, "it does not make closed-label models: %s", result->error.text);
}

/* Trains the small job; true on success. A backend with another recipe is skipped. */
static bool train_small(check *c, const char *name, char **out_dir, host_result *out_result, kolm_error_t *err) {
    kit_status status = make_job(c, name, SMALL, out_dir, err);
    if (status == KOLM_OK) status = train(c, *out_dir, out_result, err);
    if (status != KOLM_OK)
        check_fail(c, "%s", err->text);
    else if (out_result->verdict == HOST_FAILED && out_result->error.code == KOLM_E_UNIMPLEMENTED)
        not_made(c, out_result);
    else if (out_result->verdict != HOST_OK)
        check_fail(c, "%s", out_result->error.text);
    else
        return true;
    return false;
}

static void train_and_infer(check *c, const char *name) {
    char *dir = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    model_list model = {.count = 0};
    host_result result;
    if (train_small(c, name, &dir, &result, &err)) {
        kit_status status = read_result(dir, &result.train, &err);
        if (status == KOLM_OK) status = model_read(dir, &model, &err);
        if (status == KOLM_OK) status = describe(c, dir, "infer", 0, model.files, model.count, &err);
        if (status == KOLM_OK) status = infer(c, dir, &result, &err);
        if (status == KOLM_OK && result.verdict != HOST_OK)
            check_fail(c, "it cannot answer with the model that it made: %s", result.error.text);
        else if (status == KOLM_OK)
            status = judge(c, dir, result.infer.answers, &err);
        if (status != KOLM_OK) check_fail(c, "%s", err.text);
        model_free(&model);
    }
    free(dir);
}

bool check_train_under(check *c, const host_audit *audit, const char *name, host_result *out_result) {
    char *dir = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    c->under = audit;
    kit_status status = make_job(c, name, SMALL, &dir, &err);
    if (status == KOLM_OK) status = train(c, dir, out_result, &err);
    c->under = NULL;
    free(dir);
    if (status != KOLM_OK) check_fail(c, "%s", err.text);
    return status == KOLM_OK && !c->not_called;
}

void check_train_and_infer(check *c) {
    if (check_may_train(c)) train_and_infer(c, "tiny");
}

void check_job_under(check *c, const host_audit *audit, const char *name) {
    bool network = c->row->manifest->offer.airgap == PICK_AIRGAP_YES || c->options->network;
    if (!(c->slots & HOST_SLOT_TRAIN) || c->state != KOLM_DETECT_AVAILABLE || !network) return;
    c->under = audit;
    train_and_infer(c, name);
    c->under = NULL;
}

/* The progress report waits for the stop, because a small job could finish before it. */
static const host_audit halted = {.minor = KOLM_ABI_MINOR + 1, .later_bytes = 64, .halt_at_progress = true};

void check_train_cancel(check *c) {
    char *dir = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    host_result result;
    if (!check_may_train(c)) return;
    kit_status status = make_job(c, "cancel", LARGE, &dir, &err);
    c->stop_at_progress = true;
    c->under = &halted;
    int64_t start = kit_now_ms();
    if (status == KOLM_OK) status = train(c, dir, &result, &err);
    c->under = NULL;
    long long took = (long long)(kit_now_ms() - start);
    if (status != KOLM_OK)
        check_fail(c, "%s", err.text);
    else if (result.verdict == HOST_FAILED && result.error.code == KOLM_E_UNIMPLEMENTED)
        not_made(c, &result);
    else if (result.verdict == HOST_OK && c->progress_reports == 0)
        check_fail(c, "%d rows were trained without any report of progress", LARGE);
    else if (result.verdict == HOST_OK)
        check_fail(c, "asked to stop at its first report of progress, it trained to the end");
    else if (result.verdict != HOST_CANCELLED)
        check_fail(c, "%s", result.error.text);
    else if (result.error.code != KOLM_E_CANCELLED || !result.stopped)
        check_note(c, "stopped after %lld ms", took);
    free(dir);
}

/* ---- Broken input must be refused, with a reason */

typedef struct broken_job {
    const char *what;
    const char *file;
    const char *text; /* NULL: the file is removed */
} broken_job;

static bool refused(check *c, const char *what, kit_status status, const host_result *result, const kolm_error_t *err) {
    if (status != KOLM_OK)
        check_fail(c, "%s", err->text);
    else if (result->verdict == HOST_OK)
        check_fail(c, "%s: it reports success", what);
    else if (result->verdict != HOST_FAILED)
        check_fail(c, "%s: %s", what, result->error.text);
    else if (result->no_reason)
        check_fail(c, "%s: it fails without a reason", what);
    else
        return true;
    return false;
}

void check_bad_jobs(check *c) {
    static const broken_job broken[] = {
        {"no job.json", "job.json", NULL},
        {"a job.json that is not JSON", "job.json", "{\"format\":1,"},
        {"no train.jsonl", "train.jsonl", NULL},
        {"a row that is not JSON", "train.jsonl", "{\"id\":\"1\",\"input\":\"a\",\"output\":\"b\"}\nnot json\n"},
        {"an empty train.jsonl", "train.jsonl", ""},
    };
    if (!check_may_train(c)) return;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        char name[16], *dir = NULL, *path = NULL;
        kolm_error_t err = KIT_ERROR_INIT;
        host_result result;
        kit_format(name, sizeof name, "bad%zu", i);
        kit_status status = make_job(c, name, SMALL, &dir, &err);
        if (status == KOLM_OK) status = kit_path_join(dir, broken[i].file, &path, &err);
        if (status == KOLM_OK && broken[i].text)
            status = kit_write_file(path, 0600, broken[i].text, strlen(broken[i].text), &err);
        else if (status == KOLM_OK && unlink(path) != 0)
            status = kit_fail_errno(&err, errno, "cannot remove %s", path);
        if (status == KOLM_OK) status = train(c, dir, &result, &err);
        bool good = refused(c, broken[i].what, status, &result, &err);
        free(dir);
        free(path);
        if (!good) return;
    }
}

void check_infer_bad_model(check *c) {
    static const char nonsense[] = "this is not a model";
    char *dir = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    model_list model = {.count = 0};
    host_result result;
    if (!(c->slots & HOST_SLOT_INFER)) {
        check_skip(c, "it has no infer");
        return;
    }
    if (!check_may_train(c)) return;
    if (train_small(c, "nonsense", &dir, &result, &err)) {
        kit_status status = model_read(dir, &model, &err);
        for (size_t i = 0; status == KOLM_OK && i < model.count; i++) {
            status = kit_write_file(model.files[i].path, 0600, nonsense, sizeof nonsense - 1, &err);
            model.files[i].size = sizeof nonsense - 1;
        }
        if (status == KOLM_OK) status = describe(c, dir, "infer", 0, model.files, model.count, &err);
        if (status == KOLM_OK) status = infer(c, dir, &result, &err);
        (void)refused(c, "every file of the model is nonsense", status, &result, &err);
    }
    model_free(&model);
    free(dir);
}

/* ---- One question, and no other until it is answered, as in an interactive `kolm run` and in --serve */

#define FLUSH_LEAST_MS 3000
#define FLUSH_TIMES 5 /* times the duration of answering a whole file, including loading the model */

typedef struct dialogue {
    int ask, hear;
    int64_t patience_ms;
    bool answered; /* before the end of the questions */
    bool late;     /* only after the end */
    kit_status status;
} dialogue;

static void *hold_dialogue(void *user) {
    dialogue *d = user;
    kit_buf question = {0};
    struct pollfd from = {.fd = d->hear, .events = POLLIN};
    kit_buf_fmt(&question, "{\"id\":\"1\",\"input\":\"");
    add_text(&question, FIRST_HELD);
    kit_buf_str(&question, "\"}\n");
    d->status = kit_buf_ok(&question, NULL);
    if (d->status == KOLM_OK) d->status = kit_write_all(d->ask, question.data, question.length, NULL);
    if (d->status == KOLM_OK) d->answered = poll(&from, 1, (int)d->patience_ms) > 0 && (from.revents & POLLIN);
    close(d->ask);
    if (!d->answered) d->late = poll(&from, 1, (int)d->patience_ms) > 0 && (from.revents & POLLIN);
    kit_buf_free(&question);
    return NULL;
}

static kit_status infer_in_dialogue(check *c, const char *dir, dialogue *d, host_result *out_result,
                                    kolm_error_t *err) {
    int question = -1, answer = -1;
    pthread_t asker;
    KIT_TRY(kit_pipe(&question, &d->ask, err));
    kit_status status = kit_pipe(&d->hear, &answer, err);
    bool asks = status == KOLM_OK && kit_thread_start(&asker, 0, hold_dialogue, d) == 0;
    if (asks) {
        status = infer_from(c, dir, question, answer, out_result, err);
        pthread_join(asker, NULL);
    } else {
        if (status == KOLM_OK) status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "cannot start a thread");
        close(d->ask);
    }
    const int rest[] = {question, answer, d->hear};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (rest[i] >= 0) close(rest[i]);
    return status;
}

static void judge_dialogue(check *c, const dialogue *d, const host_result *result) {
    if (d->answered && result->verdict == HOST_OK) return;
    if (result->verdict != HOST_OK)
        check_fail(c, "%s", result->error.text);
    else if (d->late)
        check_fail(
            c, "infer: it withheld an answer until its input ended: flush whenever the next input has not arrived yet");
    else
        check_fail(c, "infer: it gave no answer to the one input that it got: answer each");
}

void check_infer_flushes(check *c) {
    char *dir = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    model_list model = {.count = 0};
    host_result result;
    dialogue d = {.ask = -1, .hear = -1};
    if (!(c->slots & HOST_SLOT_INFER)) {
        check_skip(c, "it has no infer");
        return;
    }
    if (!check_may_train(c)) return;
    if (train_small(c, "flushes", &dir, &result, &err)) {
        kit_status status = model_read(dir, &model, &err);
        if (status == KOLM_OK) status = describe(c, dir, "infer", 0, model.files, model.count, &err);
        if (status == KOLM_OK) status = infer(c, dir, &result, &err);
        bool good = status == KOLM_OK && result.verdict == HOST_OK;
        d.patience_ms =
            good && result.wall_ms * FLUSH_TIMES > FLUSH_LEAST_MS ? result.wall_ms * FLUSH_TIMES : FLUSH_LEAST_MS;
        if (good) status = infer_in_dialogue(c, dir, &d, &result, &err);
        if (status != KOLM_OK)
            check_fail(c, "%s", err.text);
        else
            judge_dialogue(c, &d, &result);
    }
    model_free(&model);
    free(dir);
}
