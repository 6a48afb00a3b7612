/* SPDX-License-Identifier: Apache-2.0 */
/* The train and infer slots: read a job directory, write model, result.json and answers. The trainer handles the recipe
 * lora. */
#include "backend.h"
#include "encoder/answer.h"
#include "encoder/head.h"
#include "encoder/nearest.h"
#include "infer.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRAINER_MODEL_FILE "kolm_trainer.json" /* written by the trainer next to its model */

/* ---- Between the engine and the host */

typedef struct tie {
    const kolm_host_v1_t *host;
    pthread_mutex_t lock;
    const char *phase; /* last reported, and how far it was */
    uint64_t done;
} tie;

static bool stop(void *user) {
    const kolm_host_v1_t *host = ((const tie *)user)->host;
    return host->cancelled(host->user) != 0 || host->time_left_ms(host->user) <= 0;
}

/* Threads may report out of order: late reports are dropped. */
static void progress(void *user, const char *phase, uint64_t done, uint64_t total) {
    tie *t = user;
    const kolm_progress_t p = {.struct_size = (uint32_t)sizeof p,
                               .step = done,
                               .total = total,
                               .loss = (double)NAN,
                               .tokens_per_second = (double)NAN,
                               .phase = phase};
    pthread_mutex_lock(&t->lock);
    if (t->phase == NULL || strcmp(t->phase, phase) != 0 || done >= t->done) {
        t->phase = phase;
        t->done = done;
        t->host->progress(t->host->user, &p);
    }
    pthread_mutex_unlock(&t->lock);
}

static void compared(void *user, uint64_t count) {
    progress(user, "comparing", count, KOLM_UNKNOWN_COUNT);
}

static void answered(void *user, uint64_t answers) {
    progress(user, "answering", answers, KOLM_UNKNOWN_COUNT);
}

/* The engine returns CANCELLED for both reasons to stop; the host needs to know which. */
static kit_status why_stopped(const kolm_host_v1_t *host, kit_status status, kolm_error_t *err) {
    if (status != KOLM_E_CANCELLED || host->cancelled(host->user) != 0) return status;
    return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED, "allow more time, or use --effort quick",
                    "the deadline passed before the job was done");
}

static kit_status read_job(const char *dir, const char *kind, kit_job **out, kolm_error_t *err) {
    KIT_TRY(kit_job_read(dir, out, err));
    if (strcmp((*out)->kind, kind) != 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report this", "%s/job.json is a job of kind %s, not %s", dir,
                        (*out)->kind, kind);
    return KOLM_OK;
}

static bool is_encoder(const kit_job *job) {
    return strcmp(job->recipe, "encoder") == 0;
}

static kit_status check_recipe(const kit_job *job, kolm_error_t *err) {
    if (strcmp(job->recipe, "linear") == 0 || is_encoder(job)) return KOLM_OK;
    return kit_fail(err, KOLM_E_UNIMPLEMENTED,
                    "use --recipe linear, encoder or lora, or a backend that supports this recipe: `kolm compute list`",
                    "local-cpu supports the recipes linear, encoder and lora, not %s", job->recipe);
}

/* ---- train */

static uint64_t micro_option(const kit_job *job, const char *key) {
    uint64_t value = 0;
    if (!kit_json_get_u64(job->options, key, &value)) return 0;
    return value;
}

/* *out_balanced: whether job.json asks for balanced class weights. An unknown value is an error. */
static kit_status read_class_weight(const kit_job *job, bool *out_balanced, kolm_error_t *err) {
    const cJSON *item = kit_json_get(job->options, "class_weight");
    *out_balanced = cJSON_IsString(item) && strcmp(item->valuestring, "balanced") == 0;
    if (item == NULL || *out_balanced || (cJSON_IsString(item) && strcmp(item->valuestring, "none") == 0))
        return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use none or balanced",
                    "the option class_weight is neither none nor "
                    "balanced");
}

static const char *toolchain_of(bool encoder) {
    return encoder ? LOCAL_CPU_ENCODER_TOOLCHAIN : LOCAL_CPU_TOOLCHAIN;
}

static uint64_t micro_of(float x) {
    return x > 0.0f ? (uint64_t)((double)x * 1e6 + 0.5) : 0;
}

static bool put_candidates(cJSON *report, const choose_result *r, bool weighted) {
    cJSON *list = cJSON_CreateArray();
    bool good = list != NULL;
    for (uint32_t i = 0; i < r->candidates && good; i++) {
        const choose_candidate *c = &r->candidate[i];
        if (c->rows == 0) continue;
        cJSON *item = cJSON_CreateObject();
        good = item != NULL && kit_json_put_string(item, "name", c->name) &&
               kit_json_put_u64(item, "accuracy_micro", (c->correct * MODEL_MICRO + c->rows / 2) / c->rows) &&
               (!weighted || kit_json_put_u64(item, "balanced_accuracy_micro", c->merit));
        if (good)
            good = cJSON_AddItemToArray(list, item) != 0;
        else
            cJSON_Delete(item);
    }
    return kit_json_put(report, "candidates", list) && good;
}

static bool put_texts(cJSON *object, const char *key, char *const *texts, size_t count) {
    cJSON *list = cJSON_CreateArray();
    bool good = list != NULL;
    for (size_t i = 0; i < count && good; i++) {
        cJSON *item = cJSON_CreateString(texts[i]);
        good = item != NULL && cJSON_AddItemToArray(list, item) != 0;
    }
    return kit_json_put(object, key, list) && good;
}

static bool put_head_candidates(cJSON *head, const head_trained *h) {
    cJSON *list = cJSON_CreateArray();
    bool good = list != NULL;
    for (uint32_t i = 0; i < h->candidates && good; i++) {
        const head_candidate *c = &h->candidate[i];
        cJSON *item = cJSON_CreateObject();
        good = item != NULL && kit_json_put_u64(item, "lambda_micro", micro_of(c->lambda)) &&
               kit_json_put_u64(item, "cost_micro", micro_of(c->cost)) &&
               kit_json_put_u64(item, "merit_micro", c->merit) &&
               kit_json_put_u64(item, "behind_micro", c->behind_micro > 0 ? (uint64_t)c->behind_micro : 0) &&
               kit_json_put_u64(item, "error_micro", c->error_micro > 0 ? (uint64_t)c->error_micro : 0);
        if (good)
            good = cJSON_AddItemToArray(list, item) != 0;
        else
            cJSON_Delete(item);
    }
    return kit_json_put(head, "candidates", list) && good;
}

/* Adds recipe encoder's part to the report of the linear engine. */
static bool put_head(cJSON *report, const train_report *t) {
    const head_trained *h = &t->head;
    cJSON *head = cJSON_CreateObject();
    bool good = head != NULL && put_head_candidates(head, h) &&
                kit_json_put_u64(head, "lambda_micro", micro_of(h->lambda)) &&
                kit_json_put_u64(head, "cost_micro", micro_of(h->cost)) &&
                kit_json_put_u64(head, "usual_similarity_micro", micro_of(h->distance.knee)) &&
                kit_json_put_u64(head, "similarity_width_micro", micro_of(h->distance.width));
    return kit_json_put(report, "head", head) && good && kit_json_put_u64(report, "dimensions", t->dimensions) &&
           kit_json_put_u64(report, "max_tokens", t->max_tokens) && kit_json_put_u64(report, "tokens", t->tokens) &&
           kit_json_put_u64(report, "texts_cut", t->texts_cut) &&
           kit_json_put_u64(report, "passes_per_answer_micro", t->read_bytes_micro);
}

/* The calibration of the answers, for the model as a whole. */
typedef struct sureness {
    calibration calibration;
    uint64_t threshold_micro, ece_micro, oof_correct, oof_answered, oof_rows;
    bool target_missed;
} sureness;

static sureness sureness_of(const train_report *t) {
    const choose_result *r = &t->result;
    const head_trained *h = &t->head;
    if (t->has_head)
        return (sureness){h->calibration,  h->threshold_micro, h->ece_micro,    h->oof_correct,
                          h->oof_answered, h->oof_rows,        h->target_missed};
    return (sureness){r->calibration,  r->threshold_micro, r->ece_micro,    r->oof_correct,
                      r->oof_answered, r->oof_rows,        r->target_missed};
}

static bool put_report(cJSON *result, const train_report *t) {
    const choose_result *r = &t->result;
    const sureness s = sureness_of(t);
    cJSON *report = cJSON_CreateObject();
    bool good = report != NULL && put_texts(report, "labels", t->labels, t->label_count) &&
                put_candidates(report, r, t->balanced) &&
                (!t->balanced || kit_json_put_string(report, "class_weight", "balanced")) &&
                kit_json_put_string(report, "chosen", r->candidate[r->chosen].name) &&
                kit_json_put_u64(report, "temperature_micro", s.calibration.temperature_micro) &&
                kit_json_put_u64(report, "noise_micro", s.calibration.noise_micro) &&
                kit_json_put_u64(report, "threshold_micro", s.threshold_micro) &&
                kit_json_put_u64(report, "ece_micro", s.ece_micro) &&
                kit_json_put_u64(report, "oof_correct", s.oof_correct) &&
                kit_json_put_u64(report, "oof_answered", s.oof_answered) &&
                kit_json_put_u64(report, "oof_rows", s.oof_rows) && (!t->has_head || put_head(report, t));
    return kit_json_put_u64(result, "format", KIT_JOB_FORMAT) &&
           kit_json_put_string(result, "toolchain", toolchain_of(t->has_head)) &&
           (!t->embedded || kit_json_put_bool(result, "base_embedded", true)) &&
           (!t->has_head || put_texts(result, "base_files", t->base_files, t->base_file_count)) &&
           kit_json_put(result, "report", report) && good;
}

static kit_status write_result(const char *dir, const train_report *t, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    cJSON *result = cJSON_CreateObject();
    kit_status status = result != NULL && put_report(result, t)
                            ? KOLM_OK
                            : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs",
                                       "out of memory while writing result.json");
    if (status == KOLM_OK) status = kit_json_line(result, &text, err);
    if (status == KOLM_OK) kit_buf_char(&text, '\n');
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "result.json", &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    free(path);
    kit_buf_free(&text);
    cJSON_Delete(result);
    return status;
}

static void tell_cut(const kolm_host_v1_t *host, uint64_t cut, uint64_t of, uint32_t most) {
    char line[256];
    if (cut == 0) return;
    (void)kit_format(line, sizeof line,
                     "%llu of %llu texts have more than the %u tokens that the encoder reads: the rest was ignored "
                     "(compile with --set read=end to read their end)",
                     (unsigned long long)cut, (unsigned long long)of, (unsigned)most);
    host->log(host->user, KOLM_LOG_WARNING, line);
}

static choose_effort effort_of(const char *word) {
    return strcmp(word, "quick") == 0 ? EFFORT_QUICK : strcmp(word, "high") == 0 ? EFFORT_HIGH : EFFORT_NORMAL;
}

static void tell_head(const kolm_host_v1_t *host, const train_report *t) {
    const head_trained *h = &t->head;
    char line[512];
    if (t->resumed > 0) {
        (void)kit_format(line, sizeof line, "%u rows had been embedded by an earlier run", (unsigned)t->resumed);
        host->log(host->user, KOLM_LOG_INFO, line);
    }
    if (h->oof_rows > 0) {
        (void)kit_format(line, sizeof line, "with the encoder: %.2f%% right out of fold (%llu rows)",
                         (double)h->candidate[h->chosen].correct * 100.0 / (double)h->oof_rows,
                         (unsigned long long)h->oof_rows);
        host->log(host->user, KOLM_LOG_INFO, line);
        host->metric(host->user, "oof.accuracy", (double)h->candidate[h->chosen].correct / (double)h->oof_rows);
        host->metric(host->user, "oof.ece", (double)h->ece_micro / MODEL_MICRO);
    }
    tell_cut(host, t->texts_cut, t->rows, t->max_tokens);
}

static void tell(const kolm_host_v1_t *host, const train_report *t) {
    const choose_result *r = &t->result;
    const choose_candidate *c = &r->candidate[r->chosen];
    char line[512];
    if (r->oof_rows > 0) {
        (void)kit_format(line, sizeof line, "%schose %s: %.2f%% right out of fold (%llu rows)",
                         t->has_head ? "for the linear part: " : "", c->name,
                         100.0 * (double)c->correct / (double)c->rows, (unsigned long long)c->rows);
        host->log(host->user, KOLM_LOG_INFO, line);
        if (!t->has_head) { /* else those of the head are reported */
            host->metric(host->user, "oof.accuracy", (double)c->correct / (double)c->rows);
            host->metric(host->user, "oof.ece", (double)r->ece_micro / MODEL_MICRO);
        }
    } else {
        host->log(host->user, KOLM_LOG_WARNING,
                  "too few rows with the same output to check by cross-validation: confidences are not calibrated");
    }
    if (t->has_head) tell_head(host, t);
    if (sureness_of(t).target_missed)
        host->log(host->user, KOLM_LOG_WARNING,
                  "no threshold reaches the target accuracy on the training rows, so the model always abstains; "
                  "provide more rows or a lower target");
}

/* From the job's options; *out is owned by job. */
static kit_status read_encoder(const kit_job *job, train_encoder *out, kolm_error_t *err) {
    const cJSON *base = kit_json_get(job->options, "base");
    const char *read = "front";
    if (!is_encoder(job)) return KOLM_OK;
    if (!kit_json_get_string(base, "path", &out->base))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass --base DIR with a sentence encoder",
                        "recipe encoder needs a base, but the job has none");
    if (!kit_json_get_string(base, "digest", &out->base_name)) out->base_name = "";
    out->engine = LOCAL_CPU_ENCODER_TOOLCHAIN;
    if (!kit_json_get_u64(base, "bytes", &out->base_bytes)) out->base_bytes = 0;
    if (!kit_json_get_bool(job->options, "embed_base", &out->embed_base)) out->embed_base = false;
    (void)kit_json_get_string(kit_json_get(job->options, "trainer"), "read", &read);
    out->read_end = strcmp(read, "end") == 0;
    if (out->read_end || strcmp(read, "front") == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use front or end", "the option read is neither front nor end");
}

static kit_status train_embedded(const kolm_host_v1_t *host, const kolm_train_args_t *args, const kit_job *job,
                                 kolm_train_result_t *out, kolm_error_t *err) {
    char *rows_path = NULL, *heldout_path = NULL, *model_dir = NULL, *model_path = NULL, *checkpoint = NULL;
    tie t = {.host = host, .lock = PTHREAD_MUTEX_INITIALIZER};
    train_report report = {0};
    train_encoder encoder = {0};
    kit_status status = check_recipe(job, err);
    if (status == KOLM_OK) status = read_encoder(job, &encoder, err);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "checkpoint", &checkpoint, err);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "train.jsonl", &rows_path, err);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "eval.jsonl", &heldout_path, err);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "model", &model_dir, err);
    if (status == KOLM_OK) status = kit_path_join(model_dir, MODEL_FILE, &model_path, err);
    bool balanced = false;
    if (status == KOLM_OK) status = read_class_weight(job, &balanced, err);
    if (status == KOLM_OK) status = kit_mkdirs(model_dir, 0700, err);
    if (status != KOLM_OK) goto out;
    encoder.heldout_path = heldout_path;
    encoder.model_dir = model_dir;
    encoder.checkpoint_dir = checkpoint;
    const train_request request = {.rows_path = rows_path,
                                   .model_path = model_path,
                                   .scratch_dir = host->scratch_dir,
                                   .rows = job->rows,
                                   .effort = effort_of(job->effort),
                                   .seed = job->seed,
                                   .threads = args->threads,
                                   .abstain_micro = micro_option(job, "abstain_micro"),
                                   .target_accuracy_micro = micro_option(job, "target_accuracy_micro"),
                                   .balanced = balanced,
                                   .encoder = is_encoder(job) ? &encoder : NULL,
                                   .watch = {.stop = stop, .step = progress, .user = &t}};
    if (request.abstain_micro > MODEL_MICRO || request.target_accuracy_micro > MODEL_MICRO) {
        status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "use a number from 0 to 1",
                          "the abstain threshold or the target accuracy is above 1");
        goto out;
    }
    status = why_stopped(host, train_run(&request, &report, err), err);
    if (status == KOLM_OK) status = write_result(args->job_dir, &report, err);
    if (status == KOLM_OK) status = kit_remove_tree(checkpoint, err);
    if (status != KOLM_OK) goto out;
    tell(host, &report);
    out->billed_micro_usd = 0;
    local_cpu_device_line(out->device, sizeof out->device);
    (void)kit_copy(out->toolchain, sizeof out->toolchain, toolchain_of(is_encoder(job)));
out:
    train_report_free(&report);
    free(rows_path);
    free(heldout_path);
    free(model_dir);
    free(model_path);
    free(checkpoint);
    return status;
}

int32_t local_cpu_train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                        kolm_error_t *err) {
    kit_job *job = NULL;
    kit_status status = read_job(args->job_dir, "train", &job, err);
    if (status == KOLM_OK)
        status = strcmp(job->recipe, "lora") == 0 ? kit_trainer_train(host, &local_cpu_trainer, args, out, err)
                                                  : train_embedded(host, args, job, out, err);
    kit_job_free(job);
    return status;
}

/* ---- infer */

/* The rows next to the questions, if kolm added any. */
static kit_status find_nearest(tie *t, const kolm_infer_args_t *args, encoder_model *e, int input, nearest **out,
                               kolm_error_t *err) {
    const infer_watch watch = {.stop = stop, .step = compared, .user = t};
    char *path = NULL;
    KIT_TRY(kit_path_join(args->job_dir, NEAREST_FILE, &path, err));
    kit_status status = KOLM_OK;
    if (access(path, F_OK) == 0)
        status = nearest_make(encoder_model_sentences(e), args->threads, input, path, &watch, out, err);
    free(path);
    return status;
}

static kit_status infer_with_encoder(tie *t, const kolm_infer_args_t *args, encoder_model *e, int input, int output,
                                     kolm_infer_result_t *out, kolm_error_t *err) {
    const infer_watch watch = {.stop = stop, .step = answered, .user = t};
    infer_engine engine = encoder_model_engine(e);
    nearest *near = NULL;
    uint32_t most;
    kit_status status = find_nearest(t, args, e, input, &near, err);
    const uint64_t cut = encoder_model_cut(e, &most); /* of earlier texts */
    engine.more = near != NULL ? nearest_text : NULL;
    engine.more_self = near;
    if (status == KOLM_OK) status = infer_run_engine(&engine, input, output, &watch, &out->answers, err);
    if (status == KOLM_OK) tell_cut(t->host, encoder_model_cut(e, &most) - cut, out->answers, most);
    nearest_free(near);
    return status;
}

/* Exactly one of m and e is set. */
static kit_status infer_files(const kolm_host_v1_t *host, const kolm_infer_args_t *args, model *m, encoder_model *e,
                              kolm_infer_result_t *out, kolm_error_t *err) {
    tie t = {.host = host, .lock = PTHREAD_MUTEX_INITIALIZER};
    const infer_watch watch = {.stop = stop, .step = answered, .user = &t};
    int input = open(args->input_path, O_RDONLY | O_CLOEXEC);
    if (input < 0) return kit_fail_errno(err, errno, "cannot open the input %s", args->input_path);
    int output = open(args->output_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (output < 0) {
        kit_status status = kit_fail_errno(err, errno, "cannot open the output %s", args->output_path);
        close(input);
        return status;
    }
    kit_status status = e != NULL ? infer_with_encoder(&t, args, e, input, output, out, err)
                                  : infer_run(m, input, output, &watch, &out->answers, err);
    status = why_stopped(host, status, err);
    close(input);
    if (close(output) != 0 && status == KOLM_OK)
        status = kit_fail_errno(err, errno, "cannot finish the output %s", args->output_path);
    return status;
}

static kit_status infer_linear(const kolm_host_v1_t *host, const kolm_infer_args_t *args, const kit_job *job,
                               kolm_infer_result_t *out, kolm_error_t *err) {
    model *m = NULL;
    const kit_job_model_file *file;
    kit_status status = check_recipe(job, err);
    if (status == KOLM_OK) status = kit_job_model(job, MODEL_FILE, &file, err);
    if (status == KOLM_OK) status = model_open(file->path, file->offset, file->size, &m, err);
    if (status == KOLM_OK) status = infer_files(host, args, m, NULL, out, err);
    if (status == KOLM_OK) {
        out->billed_micro_usd = 0;
        local_cpu_device_line(out->device, sizeof out->device);
    }
    model_close(m);
    return status;
}

static kit_status infer_encoder(const kolm_host_v1_t *host, const kolm_infer_args_t *args, const kit_job *job,
                                kolm_infer_result_t *out, kolm_error_t *err) {
    encoder_model *m = NULL;
    KIT_TRY(encoder_model_open(job, args->threads, &m, err));
    kit_status status = infer_files(host, args, NULL, m, out, err);
    if (status == KOLM_OK) {
        out->billed_micro_usd = 0;
        local_cpu_device_line(out->device, sizeof out->device);
    }
    encoder_model_close(m);
    return status;
}

int32_t local_cpu_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out,
                        kolm_error_t *err) {
    kit_job *job = NULL;
    const kit_job_model_file *file;
    kit_status status = read_job(args->job_dir, "infer", &job, err);
    if (status == KOLM_OK &&
        (strcmp(job->recipe, "lora") == 0 || kit_job_model(job, TRAINER_MODEL_FILE, &file, NULL) == KOLM_OK))
        status = kit_trainer_infer(host, &local_cpu_trainer, args, out, err);
    else if (status == KOLM_OK && kit_job_model(job, HEAD_FILE, &file, NULL) == KOLM_OK)
        status = infer_encoder(host, args, job, out, err);
    else if (status == KOLM_OK)
        status = infer_linear(host, args, job, out, err);
    kit_job_free(job);
    return status;
}
