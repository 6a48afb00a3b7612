/* SPDX-License-Identifier: Apache-2.0 */
/* compile, middle: training, checking the results, the held-out answers, and their score. */
#include "model/answers_limit.h"

#include "compile/compile.h"
#include "fleet/budget.h"
#include "fleet/call.h"
#include "job/result.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "runtime/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAYLOAD_DEPTH 8

/* ---- Train */

bool compile_is_weighted(const compile *c) {
    return strcmp(c->request.class_weight, "balanced") == 0;
}

kit_status compile_work_key(const compile *c, char out_key[KIT_SHA256_HEX], kolm_error_t *err) {
    const compile_request *r = &c->request;
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s %s\n%s\n%s\n%s\n%s\n%llu\n%u\n", c->choice->backend->name,
                fleet_backend_detection(c->choice->backend)->version, c->recipe, r->effort, c->data.train_sha256,
                c->base.digest, (unsigned long long)r->seed.value, c->threads);
    if (compile_is_weighted(c)) kit_buf_fmt(&text, "class weight %s\n", r->class_weight);
    kit_status status = c->trainer != NULL ? kit_json_canonical(c->trainer, &text, err) : KOLM_OK;
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(text.data, text.length, out_key, err);
    kit_buf_free(&text);
    return status;
}

static kit_status go_on(compile *c, kolm_error_t *err) {
    char key[KIT_SHA256_HEX];
    bool found = false;
    if (strcmp(c->recipe, "linear") == 0) return KOLM_OK; /* a matter of seconds */
    KIT_TRY(compile_work_key(c, key, err));
    kit_status status = job_directory_go_on(&c->job, key, &found, err);
    if (status == KOLM_OK && found)
        session_note(c->session, "[trainer]",
                     "an earlier run of this job was not finished: continuing from its checkpoint");
    return status;
}

/* Where the metrics of a step go; NULL if out of memory: then they are not kept. */
static cJSON *metrics_of(compile *c, const char *step) {
    if (c->reported == NULL) c->reported = cJSON_CreateObject();
    return c->reported != NULL ? cJSON_AddObjectToObject(c->reported, step) : NULL;
}

/* The backend read the base by name, after it was digested: the result of another one is invalid. A backend whose base
 * changes may fail in any way (one that has mapped a file that is cut short is ended by SIGBUS): then this is the
 * reason. status: of what it did. */
static kit_status check_base(compile *c, kit_status status, kolm_error_t *err) {
    kolm_error_t changed = KIT_ERROR_INIT;
    if (c->base.path == NULL || status == KOLM_E_CANCELLED) return status;
    const kit_status found = job_base_unchanged(&c->base, &changed);
    if (found == KOLM_OK) return status;
    if (err != NULL) *err = changed;
    c->reason = SESSION_REASON_DATA;
    return found;
}

kit_status compile_train(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    const fleet_backend *backend = c->choice->backend;
    const job_description job = {
        .kind = "train",
        .task = r->task,
        .recipe = c->recipe,
        .effort = r->effort,
        .seed = r->seed.value,
        .rows = c->data.train_rows,
        .labels = c->data.closed ? c->data.labels : 0,
        .class_weight = compile_is_weighted(c) ? r->class_weight : NULL,
        .has_abstain = r->abstain.set,
        .abstain_micro = r->abstain.value,
        .has_target = r->target_accuracy.set,
        .target_accuracy_micro = r->target_accuracy.value,
        .base = c->base.path != NULL ? &c->base : NULL,
        .embed_base = r->embed_base,
        .trainer = c->trainer,
    };
    c->reason = SESSION_REASON_INTERNAL;
    if (!fleet_recipe_runs_alone(backend, c->recipe))
        KIT_TRY(runtime_check(c->session, backend->name, c->recipe, &c->reason, err));
    KIT_TRY(job_directory_describe(&c->job, &job, err));
    KIT_TRY(go_on(c, err));
    c->reason = SESSION_REASON_BACKEND;
    const fleet_call call = {.slot = HOST_SLOT_TRAIN,
                             .airgap = c->request.airgap,
                             .private_remote = c->private_remote,
                             .threads = c->threads,
                             .job_dir = c->job.job,
                             .budget_micro_usd = r->budget.set ? r->budget.value : 0,
                             .max_price_micro_usd = r->max_price.set ? r->max_price.value : 0,
                             .min_vram_bytes = r->min_vram.set ? r->min_vram.value * 1000 : 0,
                             .quote_micro_usd = c->quoted_micro != RECEIPT_UNKNOWN ? c->quoted_micro : 0,
                             .job_id = c->job.id,
                             .leases = &c->leases,
                             .label = "[trainer]",
                             .metrics = metrics_of(c, "train")};
    kit_status status = fleet_call_one(c->session, c->choice->registry, backend, &call, &c->trained, err);
    char what[128];
    kit_format(what, sizeof what, "training on %s", backend->name);
    if (status == KOLM_OK) status = fleet_verdict(&c->trained, what, &c->reason, err);
    status = check_base(c, status, err);
    if (status == KOLM_OK) session_tell(c->session, &(session_event){.kind = SESSION_TRAINED, .compile = c});
    return status;
}

/* ---- The results of the backend */

static kit_status bad_payload(compile *c, kolm_error_t *err, const char *name, const char *why) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                    "%s left %s in its model: %s", c->choice->backend->name, name, why);
}

static kit_status add_payload(compile *c, const char *name, const char *path, const struct stat *info,
                              kolm_error_t *err) {
    compile_payload *grown = realloc(c->payload, (c->payload_count + 1) * sizeof *grown);
    if (grown == NULL) return kit_no_memory(err);
    c->payload = grown;
    compile_payload *item = &grown[c->payload_count];
    *item = (compile_payload){.size = (uint64_t)info->st_size};
    kit_file_mark_of(info, &item->mark);
    c->payload_count++;
    KIT_TRY(kit_strdup(name, &item->name, err));
    c->payload_bytes += item->size;
    return kit_strdup(path, &item->path, err);
}

/* Everything below the open directory fd, as NAME/... ; only regular files and directories may be there. */
static kit_status list_payload(compile *c, int fd, const char *name, const char *path, int depth, kolm_error_t *err) {
    DIR *listing = fdopendir(fd);
    if (listing == NULL) {
        close(fd);
        return kit_fail_errno(err, errno, "cannot list %s", path);
    }
    const char *entry = NULL;
    kit_status status = kit_directory_next(listing, path, &entry, err);
    while (status == KOLM_OK && entry != NULL) {
        struct stat info;
        kit_buf inner_name = {0}, inner_path = {0};
        kit_buf_fmt(&inner_name, "%s/%s", name, entry);
        kit_buf_fmt(&inner_path, "%s/%s", path, entry);
        if (inner_name.failed || inner_path.failed)
            status = kit_no_memory(err);
        else if (!kit_path_is_safe(inner_name.data))
            status = bad_payload(c, err, inner_name.data, "a name that is not allowed in an artifact");
        else if (fstatat(fd, entry, &info, AT_SYMLINK_NOFOLLOW) != 0)
            status = kit_fail_errno(err, errno, "cannot access %s", inner_path.data);
        else if (S_ISREG(info.st_mode))
            status = add_payload(c, inner_name.data, inner_path.data, &info, err);
        else if (!S_ISDIR(info.st_mode))
            status = bad_payload(c, err, inner_name.data, "neither a file nor a directory");
        else if (depth == 0)
            status = bad_payload(c, err, inner_name.data, "nested too deeply");
        else {
            int inner = openat(fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            status = inner < 0 ? kit_fail_errno(err, errno, "cannot open %s", inner_path.data)
                               : list_payload(c, inner, inner_name.data, inner_path.data, depth - 1, err);
        }
        kit_buf_free(&inner_name);
        kit_buf_free(&inner_path);
        if (status == KOLM_OK) status = kit_directory_next(listing, path, &entry, err);
    }
    closedir(listing);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const compile_payload *)a)->name, ((const compile_payload *)b)->name);
}

static kit_status collect_payload(compile *c, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(c->job.job, "model", &path, err));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    kit_status status = fd < 0 ? bad_payload(c, err, "nothing", strerror(errno))
                               : list_payload(c, fd, "model", path, PAYLOAD_DEPTH, err);
    free(path);
    if (status == KOLM_OK && c->payload_count == 0) status = bad_payload(c, err, "nothing", "the directory is empty");
    if (status == KOLM_OK) qsort(c->payload, c->payload_count, sizeof *c->payload, by_name);
    for (size_t i = 0; i < c->payload_count && status == KOLM_OK; i++)
        kit_file_mark_settle(&c->payload[i].mark);
    return status;
}

/* The backend that answers can write to the model's directory. The files packed must be those that answered, not files
 * that a link leads to. */
static kit_status check_payload(compile *c, kolm_error_t *err) {
    for (size_t i = 0; i < c->payload_count; i++) {
        kit_file_mark now;
        const compile_payload *item = &c->payload[i];
        if (kit_file_mark_path(item->path, &now, NULL) == KOLM_OK && kit_file_mark_same(&now, &item->mark)) continue;
        c->reason = SESSION_REASON_BACKEND;
        return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                        "%s changed %s while it answered with it", c->choice->backend->name, item->name);
    }
    return KOLM_OK;
}

/* A backend that read only some of the base's files lists them: only these are the model's base. */
static kit_status narrow_base(compile *c, kolm_error_t *err) {
    const cJSON *names = kit_json_get(c->result, "base_files");
    kit_buf lines = {0};
    if (names == NULL || c->base.path == NULL) return KOLM_OK;
    kit_status status = job_base_lines(&c->base, names, &lines, err);
    if (status == KOLM_E_DATA_LOSS)
        status = kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                          "the \"base_files\" in the result.json of %s are not names of files of the base",
                          c->choice->backend->name);
    if (status == KOLM_OK) status = job_base_narrow(&c->base, kit_buf_text(&lines), err);
    kit_buf_free(&lines);
    return status;
}

static kit_status read_result(compile *c, kolm_error_t *err) {
    kit_status status = job_result_read(c->job.job, &c->result, err);
    if (status != KOLM_OK) {
        kit_fail_context(err, "%s left no usable result.json", c->choice->backend->name);
        return status;
    }
    const cJSON *format = kit_json_get(c->result, "model_format");
    if (format != NULL && !(cJSON_IsString(format) && host_format_ok(format->valuestring)))
        return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                        "the result.json of %s has a \"model_format\" that is not a word", c->choice->backend->name);
    bool embedded = false;
    if (c->request.embed_base && !(kit_json_get_bool(c->result, "base_embedded", &embedded) && embedded))
        return kit_fail(err, KOLM_E_DATA_LOSS, "leave out --embed-base, and report this to the author of the backend",
                        "%s did not report that it put the base into the model", c->choice->backend->name);
    const char *word = NULL;
    if (compile_is_weighted(c) && (!kit_json_get_string(kit_json_get(c->result, "report"), "class_weight", &word) ||
                                   strcmp(word, "balanced") != 0))
        session_warn(c->session, "%s did not report that it weighted the labels; --class-weight may have had no effect",
                     c->choice->backend->name);
    return KOLM_OK;
}

/* ---- Answers */

/* The rest of the budget, which training and answering share; 0: no budget. */
static kit_status budget_left(const compile *c, uint64_t *out_left, kolm_error_t *err) {
    const session_number *budget = &c->request.budget;
    uint64_t spent = c->trained.train.billed_micro_usd;
    char cost[32], all[32];
    if (c->leases.count > 0) (void)lease_list_billed(&c->leases, &spent);
    if (spent > INT64_MAX) spent = 0; /* not known */
    *out_left = budget->set && budget->value > spent ? budget->value - spent : 0;
    if (!budget->set || budget->value == 0 || *out_left > 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "raise --budget or " FLEET_BUDGET_VARIABLE ", and run it again",
                    "the training cost %s, which leaves nothing of the budget of %s for the answers",
                    session_usd(cost, sizeof cost, spent), session_usd(all, sizeof all, budget->value));
}

/* Sends the questions of the job directory; *stop ends it too. */
static kit_status ask(compile *c, const volatile sig_atomic_t *stop, kolm_error_t *err) {
    const fleet_backend *backend = c->choice->backend;
    char what[128];
    if (!fleet_recipe_runs_alone(backend, c->recipe))
        KIT_TRY(runtime_check(c->session, backend->name, c->recipe, &c->reason, err));
    lease_list answering = {0};
    uint64_t left = 0;
    KIT_TRY(budget_left(c, &left, err));
    const fleet_call call = {.slot = HOST_SLOT_INFER,
                             .airgap = c->request.airgap,
                             .private_remote = c->private_remote,
                             .threads = c->threads,
                             .job_dir = c->job.job,
                             .input_fd = -1,
                             .output_fd = -1,
                             .budget_micro_usd = left,
                             .max_price_micro_usd = c->request.max_price.set ? c->request.max_price.value : 0,
                             .min_vram_bytes = c->request.min_vram.set ? c->request.min_vram.value * 1000 : 0,
                             .job_id = c->job.id,
                             .leases = &answering,
                             .label = "[trainer]",
                             .metrics = metrics_of(c, "infer"),
                             .stop = stop};
    kit_status status = fleet_call_one(c->session, c->choice->registry, backend, &call, &c->answered, err);
    kit_status joined = lease_list_join(&c->leases, &answering, status == KOLM_OK ? err : NULL);
    if (status == KOLM_OK) status = joined;
    kit_format(what, sizeof what, "answering on %s", backend->name);
    if (status == KOLM_OK) status = fleet_verdict(&c->answered, what, &c->reason, err);
    return status;
}

kit_status compile_answer(compile *c, kolm_error_t *err) {
    const compile_request *r = &c->request;
    const fleet_backend *backend = c->choice->backend;
    c->reason = SESSION_REASON_BACKEND;
    KIT_TRY(read_result(c, err));
    KIT_TRY(narrow_base(c, err));
    KIT_TRY(collect_payload(c, err));
    kit_job_model_file *files = calloc(c->payload_count, sizeof *files);
    if (files == NULL) return kit_no_memory(err);
    for (size_t i = 0; i < c->payload_count; i++)
        files[i] = (kit_job_model_file){
            .name = c->payload[i].name + strlen("model/"), .path = c->payload[i].path, .size = c->payload[i].size};
    const job_description job = {.kind = "infer",
                                 .task = r->task,
                                 .recipe = c->recipe,
                                 .effort = r->effort,
                                 .seed = r->seed.value,
                                 .labels = c->data.closed ? c->data.labels : 0,
                                 .model_files = files,
                                 .model_file_count = c->payload_count,
                                 .base = c->base.path != NULL && !r->embed_base ? &c->base : NULL,
                                 .trainer = c->trainer};
    kit_status status = job_directory_next(&c->job, err);
    if (status == KOLM_OK) status = job_directory_describe(&c->job, &job, err);
    free(files);
    KIT_TRY(status);
    model_answers_limit limit;
    KIT_TRY(model_answers_limit_begin(c->job.job, c->data.eval_rows, &limit, err));
    status = model_answers_limit_end(&limit, backend->name, ask(c, &limit.reached, err), err);
    if (status == KOLM_E_DATA_LOSS) c->reason = SESSION_REASON_BACKEND;
    if (status == KOLM_OK) status = check_payload(c, err);
    return check_base(c, status, err);
}

/* ---- Score */

/* A faultless model on two rows proves nothing: the gates compare measured values, and this says how uncertain they
 * are. */
#define FEW_ROWS 50u

static void warn_few_rows(const compile *c) {
    const uint64_t answered = score_answered(c->answers);
    const score_interval *interval = &c->k.accuracy_interval;
    if (answered >= FEW_ROWS || !score_reaches(&c->k, &c->gates) || interval->low_micro >= c->gates.accuracy_micro)
        return;
    session_warn(
        c->session,
        "%llu held-out row%s say%s little: the accuracy may be anything from %.3f to %.3f (95%% interval), and the "
        "gate is %.6g; give more rows, or more to measure on with --eval FILE",
        (unsigned long long)answered, answered == 1 ? "" : "s", answered == 1 ? "s" : "",
        (double)interval->low_micro / 1e6, (double)interval->high_micro / 1e6, (double)c->gates.accuracy_micro / 1e6);
}

kit_status compile_score(compile *c, kolm_error_t *err) {
    char *predictions = NULL;
    c->reason = SESSION_REASON_BACKEND;
    KIT_TRY(kit_path_join(c->job.job, "predictions.jsonl", &predictions, err));
    const score_question question = {.heldout_fd = c->data.heldout_fd,
                                     .heldout_sha256 = c->data.eval_sha256,
                                     .predictions = predictions,
                                     .backend = c->choice->backend->name,
                                     .cancel = c->session->stop};
    kit_status status = score_answers_read(&question, &c->answers, err);
    free(predictions);
    if (status == KOLM_E_ABORTED) c->reason = SESSION_REASON_UNJUDGED;
    KIT_TRY(status);
    fleet_count_answers(c->session, c->choice->backend->name, &c->answered, score_rows(c->answers));
    score_compute_read(score_rows(c->answers), score_answered(c->answers), score_correct(c->answers), c->payload_bytes,
                       model_read_bytes(c->payload_bytes, c->request.embed_base ? 0 : c->base.weight_bytes,
                                        kit_json_get(c->result, "report")),
                       &c->k);
    session_tell(c->session, &(session_event){.kind = SESSION_SCORED, .compile = c});
    warn_few_rows(c);
    return KOLM_OK;
}

/* ---- A missed gate */

static uint64_t held_out_labels(const compile *c) {
    score_baseline b;
    score_baseline_of(c->answers, &b);
    return b.labels;
}

const char *compile_advice(const compile *c) {
    if (score_reaches(&c->k, &c->gates) && held_out_labels(c) == 1)
        return "held-out rows of other labels: where all have one label, always giving it is never wrong; "
               "--allow-baseline ships the model nevertheless";
    if (score_reaches(&c->k, &c->gates) && compile_is_weighted(c))
        return "more rows of the labels with the lowest recall, and texts that tell them apart; --allow-baseline ships "
               "a model that is not better than always giving the same answer";
    if (score_reaches(&c->k, &c->gates))
        return "more rows of the rare labels; --class-weight balanced has each label count as much as any other; "
               "--allow-baseline ships a model that is not better than always giving the same answer";
    if (c->k.coverage == 0) return "a lower --abstain or --target-accuracy: the model withheld every answer";
    const bool few = c->data.train_rows / (c->data.labels > 0 ? c->data.labels : 1) < 40;
    if (c->k.accuracy < c->gates.accuracy_micro && c->data.closed && c->base.path == NULL)
        return few ? "--base DIR with a sentence encoder, which learns more from few rows (encoder.md of the "
                     "documentation); more rows: below about 40 per label every doubling helps; and read the "
                     "confusions: labels that are mixed up may be one label, or be filed inconsistently"
                   : "read the confusions: labels that are mixed up may be one label, or be filed inconsistently; "
                     "--base DIR "
                     "with a sentence encoder (encoder.md of the documentation); --target-accuracy lets the model "
                     "abstain "
                     "where it is unsure";
    if (c->k.accuracy < c->gates.accuracy_micro && c->data.closed && few)
        return "more rows: below about 40 per label every doubling helps; and read the confusions: labels that are "
               "mixed up may be one label, or be filed inconsistently";
    if (c->k.accuracy < c->gates.accuracy_micro)
        return "read the confusions: labels that are mixed up may be one label, or be filed inconsistently; "
               "--target-accuracy lets the model abstain where it is unsure";
    if (c->k.coverage < 700000)
        return "a lower --abstain or --target-accuracy: withheld answers count against the score";
    return "a smaller model, or --gate if this is good enough for the purpose";
}

kit_status compile_check_failed(const compile *c, kolm_error_t *err) {
    static const char *const ours[] = {"report.json", "report.txt", "confusions.csv", "predictions.jsonl"};
    static const char remedy[] = "move it away, or choose another place with --out or --version";
    struct stat info;
    if (lstat(c->failed_path, &info) != 0) return KOLM_OK;
    if (!S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_ALREADY_EXISTS, remedy, "%s, where a report would go, is not a directory",
                        c->failed_path);
    DIR *listing = opendir(c->failed_path);
    if (listing == NULL) return kit_fail_errno(err, errno, "cannot list %s", c->failed_path);
    const char *entry = NULL;
    kit_status status = kit_directory_next(listing, c->failed_path, &entry, err);
    while (status == KOLM_OK && entry != NULL) {
        bool known = false;
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            known = known || strcmp(entry, ours[i]) == 0;
        if (!known)
            status =
                kit_fail(err, KOLM_E_ALREADY_EXISTS, remedy,
                         "%s, where a report would go, holds %s, which is not part of a report", c->failed_path, entry);
        else
            status = kit_directory_next(listing, c->failed_path, &entry, err);
    }
    closedir(listing);
    return status;
}

kit_status compile_write_failed(compile *c, kolm_error_t *err) {
    char *predictions = NULL, *listed = NULL;
    kit_buf building = {0};
    c->reason = SESSION_REASON_INTERNAL;
    kit_buf_fmt(&building, "%s.tmp-%s", c->failed_path, c->job.id);
    kit_status status = kit_buf_ok(&building, err);
    if (status == KOLM_OK && mkdir(building.data, 0755) != 0)
        status = kit_fail_errno(err, errno, "cannot create the directory %s", building.data);
    if (status == KOLM_OK) status = kit_path_join(c->job.job, "predictions.jsonl", &predictions, err);
    if (status == KOLM_OK) status = compile_list_answers(c, predictions, &listed, err);
    if (status == KOLM_OK)
        status = score_write_failed(building.data, &c->k, c->answers, &c->gates, compile_advice(c), listed, err);
    /* Replaces an older report of the same version. */
    if (status == KOLM_OK) status = compile_check_failed(c, err);
    if (status == KOLM_OK) status = kit_remove_tree(c->failed_path, err);
    if (status == KOLM_OK && rename(building.data, c->failed_path) != 0)
        status = kit_fail_errno(err, errno, "cannot put %s in place", c->failed_path);
    if (status != KOLM_OK && building.data != NULL) {
        kit_status ignored = kit_remove_tree(building.data, NULL);
        (void)ignored;
    }
    if (listed != NULL) unlink(listed);
    free(predictions);
    free(listed);
    kit_buf_free(&building);
    return status;
}
