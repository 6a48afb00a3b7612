/* SPDX-License-Identifier: Apache-2.0 */
/* Remote jobs from request to results: sends the files, finds a job again, survives lost connections. */
#include "internal.h"

#include "kolm/kit/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (64u << 10)
#define GONE_MAX 3
#define UNASKED (128u << 10) /* bytes sent without checking whether they are there */
#define PUT_BYTES 200        /* overhead per file */
#define ANSWER_MS 600000     /* files of a job may have to be copied there */

typedef struct asking {
    const kit_job *job;  /* NULL: an errand */
    const char *about;   /* for people */
    ssh_job_files files; /* of the job directory there */
    ssh_job_files base;  /* of the base model */
    char base_id[JOB_ID_DIGITS + 1];
    ssh_job_program program;
    char id[JOB_ID_DIGITS + 1];
    const char *const *results; /* NULL terminated */
    const char *home;           /* local directory for them */
    ssh_job_outcome outcome;
    bool before;  /* an earlier connection of this call already had the job */
    bool started; /* start was confirmed */
} asking;

static void asking_free(asking *a) {
    ssh_job_files_free(&a->files);
    ssh_job_files_free(&a->base);
    ssh_job_program_free(&a->program);
    ssh_job_outcome_end(&a->outcome);
}

void ssh_job_say(const kit_ssh_job_remote *remote, uint32_t level, const char *text, const char *word) {
    const kit_ssh_job_settings *s = &remote->settings;
    char line[512];
    bool named = strcmp(s->name, s->backend) != 0;
    kit_format(line, sizeof line, "%.100s%s%s%s", named ? s->name : "", named ? ": " : "", text, word);
    remote->host->log(remote->host->user, level, line);
}

/* ---- The request */

static kit_status add_named(asking *a, const char *dir, const char *name, bool needed, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(dir, name, &path, err));
    kit_status status = KOLM_OK;
    if (needed || access(path, F_OK) == 0) status = ssh_job_files_add(&a->files, name, path, 0, UINT64_MAX, false, err);
    free(path);
    return status;
}

/* The base model that options.base names is a separate tree there, sent once. */
static kit_status add_base(asking *a, kolm_error_t *err) {
    const char *path = "";
    if (!kit_json_get_string(kit_json_get(a->job->options, "base"), "path", &path)) return KOLM_OK;
    KIT_TRY(ssh_job_files_add_tree(&a->base, "", path, 0, err));
    return ssh_job_files_digest(&a->base, "base", a->base_id, err);
}

static kit_status add_models(asking *a, kolm_error_t *err) {
    for (size_t i = 0; i < a->job->model_file_count; i++) {
        const kit_job_model_file *file = &a->job->model_files[i];
        kit_buf name = {0};
        kit_buf_fmt(&name, "model/%s", file->name);
        kit_status status = kit_buf_ok(&name, err);
        if (status == KOLM_OK)
            status = ssh_job_files_add(&a->files, name.data, file->path, file->offset, file->size, false, err);
        kit_buf_free(&name);
        if (status != KOLM_OK) return status;
    }
    return KOLM_OK;
}

/* The local job.json contains paths of this machine and run, which must not affect the id of a job. */
static kit_status plain_job(const kit_ssh_job_remote *remote, const char *dir, char **out_path, kolm_error_t *err) {
    char *path = NULL;
    cJSON *json = NULL, *item;
    kit_buf text = {0};
    kit_status status = kit_path_join(dir, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_json_read(path, 16u << 20, &json, err);
    free(path);
    cJSON *options = cJSON_GetObjectItemCaseSensitive(json, "options");
    cJSON *base = cJSON_GetObjectItemCaseSensitive(options, "base");
    if (cJSON_IsObject(base)) cJSON_DeleteItemFromObjectCaseSensitive(base, "path");
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "model_files")) {
        cJSON_DeleteItemFromObjectCaseSensitive(item, "path");
        cJSON_DeleteItemFromObjectCaseSensitive(item, "offset");
        if (status == KOLM_OK && !kit_json_put_u64(item, "offset", 0)) status = kit_no_memory(err);
    }
    if (status == KOLM_OK) status = kit_json_line(json, &text, err);
    if (status == KOLM_OK) status = kit_path_join(remote->host->scratch_dir, "job.json", out_path, err);
    if (status == KOLM_OK) status = kit_write_file(*out_path, 0600, kit_buf_text(&text), text.length, err);
    kit_buf_free(&text);
    cJSON_Delete(json);
    return status;
}

static kit_status describe(kit_ssh_job_remote *remote, const char *dir, const char *input, asking *a,
                           kolm_error_t *err) {
    char *job_json = NULL;
    cJSON *facts = NULL;
    bool cards = strcmp(a->job->recipe, "lora") == 0;
    kolm_error_t unasked = KIT_ERROR_INIT;
    kit_status asked = ssh_job_ask_facts(remote, cards, &unasked), status = plain_job(remote, dir, &job_json, err);
    /* Digest files while that machine collects its facts. */
    if (status == KOLM_OK) status = ssh_job_files_add(&a->files, "job.json", job_json, 0, UINT64_MAX, false, err);
    if (status == KOLM_OK && input == NULL) status = add_named(a, dir, "train.jsonl", true, err);
    if (status == KOLM_OK && input == NULL) status = add_named(a, dir, "eval.jsonl", false, err);
    if (status == KOLM_OK && input != NULL)
        status = ssh_job_files_add(&a->files, "eval.jsonl", input, 0, UINT64_MAX, false, err);
    if (status == KOLM_OK) status = add_models(a, err);
    if (status == KOLM_OK) status = add_base(a, err);
    if (status == KOLM_OK && asked != KOLM_OK) *err = unasked;
    status = ssh_job_take_facts(remote, cards, asked, status, &facts, err);
    if (status == KOLM_OK) status = ssh_job_program_choose(remote, a->job, facts, &a->program, err);
    kit_buf salt = {0};
    kit_buf_fmt(&salt, "job %s %s %s", a->job->kind, a->base_id, a->program.identity);
    if (status == KOLM_OK) status = kit_buf_ok(&salt, err);
    if (status == KOLM_OK) status = ssh_job_files_digest(&a->files, salt.data, a->id, err);
    kit_buf_free(&salt);
    cJSON_Delete(facts);
    free(job_json);
    return status;
}

/* ---- One connection */

/* Handles the answer to create. */
static void attach(const kit_ssh_job_remote *remote, asking *a, const cJSON *answer) {
    const char *state = "";
    uint64_t exit_code = 1;
    bool attached = false;
    (void)kit_json_get_bool(answer, "attached", &attached);
    (void)kit_json_get_string(answer, "state", &state);
    (void)kit_json_get_u64(answer, "exit", &exit_code);
    bool ended = strcmp(state, "done") == 0;
    if (!attached) {
        ssh_job_outcome_end(&a->outcome);
        ssh_job_outcome_begin(remote, &a->outcome);
    }
    if (attached && !a->before)
        ssh_job_say(remote, KOLM_LOG_INFO,
                    ended && exit_code == 0 ? "already done there"
                    : ended                 ? "already started there: continuing"
                                            : "already running there: following it",
                    "");
    else if (!attached)
        ssh_job_say(remote, KOLM_LOG_INFO, "runs it with ", a->program.name);
    a->before = true;
}

static cJSON *create_request(const asking *a) {
    cJSON *request = ssh_job_request("create");
    if (kit_json_put_string(request, "job", a->id) && kit_json_put_string(request, "about", a->about) &&
        kit_json_put_u64(request, "room", a->program.room) &&
        kit_json_put(request, "files", ssh_job_files_json(&a->files)) &&
        (a->base_id[0] == '\0' || kit_json_put_string(request, "base", a->base_id)))
        return request;
    cJSON_Delete(request);
    return NULL;
}

static cJSON *start_request(const asking *a) {
    cJSON *request = ssh_job_request("start");
    /* If an earlier try failed or was stopped, a new one continues from what that left. */
    if (kit_json_put_string(request, "job", a->id) && kit_json_put_bool(request, "again", !a->started) &&
        kit_json_put(request, "command", cJSON_Duplicate(a->program.command, 1)) &&
        (a->program.environment == NULL ||
         kit_json_put(request, "environment", cJSON_Duplicate(a->program.environment, 1))))
        return request;
    cJSON_Delete(request);
    return NULL;
}

static kit_status drop(kit_ssh_job_remote *remote, const asking *a, kolm_error_t *err) {
    ssh_job_frame answer;
    cJSON *request = ssh_job_request("drop");
    (void)kit_json_put_string(request, "job", a->id);
    KIT_TRY(ssh_job_ask(remote, request, &answer, err));
    ssh_job_frame_free(&answer);
    return KOLM_OK;
}

/* Sends files without asking if that is cheaper than asking, and deducts their size from *limit. */
static kit_status send_unasked(kit_ssh_job_remote *remote, const ssh_job_files *files, uint64_t *limit, bool *out_sent,
                               kolm_error_t *err) {
    uint64_t size = ssh_job_files_size(files) + files->count * PUT_BYTES;
    *out_sent = size <= *limit;
    if (!*out_sent) return KOLM_OK;
    *limit -= size;
    return ssh_job_send_all(remote, files, err);
}

/* hopeful: assume that the program and the base model are there already. */
static kit_status send_files(kit_ssh_job_remote *remote, const asking *a, bool hopeful, kolm_error_t *err) {
    uint64_t limit = hopeful ? UNASKED : 0;
    bool sent = false;
    KIT_TRY(send_unasked(remote, &a->files, &limit, &sent, err));
    if (!sent) KIT_TRY(ssh_job_upload(remote, &a->files, err));
    if (!hopeful) {
        KIT_TRY(ssh_job_upload(remote, &a->program.files, err));
        return ssh_job_upload(remote, &a->base, err);
    }
    KIT_TRY(send_unasked(remote, &a->base, &limit, &sent, err));
    return send_unasked(remote, &a->program.files, &limit, &sent, err);
}

/* Sends a request that is executed only if the previous one succeeded. */
static kit_status send_then(kit_ssh_job_remote *remote, cJSON *request, kolm_error_t *err) {
    if (kit_json_put_bool(request, "then", true)) return ssh_job_send(remote, request, NULL, 0, err);
    cJSON_Delete(request);
    return kit_no_memory(err);
}

typedef struct flight {
    uint64_t first, create, last; /* numbers of requests */
    bool follows;                 /* followed by a follow request; if all succeed, ssh_job_follow reads its answer */
} flight;

/* From now on stopping means telling the far end to stop: see heed in begin. */
static kit_status send_start(kit_ssh_job_remote *remote, const asking *a, flight *f, kolm_error_t *err) {
    KIT_TRY(send_then(remote, create_request(a), err));
    f->create = remote->number;
    KIT_TRY(send_then(remote, start_request(a), err));
    f->last = remote->number;
    f->follows = !a->before;
    return f->follows ? send_then(remote, ssh_job_follow_request(a->id, 0), err) : KOLM_OK;
}

/* The first refusal is the error; the requests after it are refused as well. */
static kit_status collect(kit_ssh_job_remote *remote, asking *a, const flight *f, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (uint64_t number = f->first; number <= f->last + (f->follows && status != KOLM_OK); number++) {
        ssh_job_frame answer = {0};
        kolm_error_t ignored = KIT_ERROR_INIT;
        kolm_error_t *said = status == KOLM_OK ? err : &ignored;
        kit_status given = ssh_job_await(remote, a->id, ANSWER_MS, &answer, said);
        bool stopped = !remote->refused && (given == KOLM_E_CANCELLED || given == KOLM_E_DEADLINE_EXCEEDED);
        if (!stopped) given = ssh_job_check(remote, given, number, &answer, said);
        if (given == KOLM_OK && number == f->create) attach(remote, a, answer.header);
        if (given == KOLM_OK && number == f->last) a->started = true;
        ssh_job_frame_free(&answer);
        if (given != KOLM_OK && (stopped || !remote->refused)) {
            if (status == KOLM_OK || status == KOLM_E_NOT_FOUND) { /* which would have been retried */
                *err = *said;
                return given;
            }
            remote->broken = false; /* it would be refused again */
            return status;
        }
        /* A job that was created but cannot be started is useless. */
        if (status == KOLM_OK && given != KOLM_OK && number == f->last) a->outcome.failed = given != KOLM_E_NOT_FOUND;
        if (status == KOLM_OK) status = given;
    }
    return status;
}

/* Creates the job there and starts it, in a single round trip. NOT_FOUND: something was missing despite hopeful. */
static kit_status begin(kit_ssh_job_remote *remote, asking *a, bool hopeful, bool *out_following, kolm_error_t *err) {
    KIT_TRY(send_files(remote, a, hopeful, err));
    flight f = {.first = remote->number + 1};
    KIT_TRY(ssh_job_send(remote, ssh_job_request("sync"), NULL, 0, err));
    if (a->program.tree[0] != '\0')
        KIT_TRY(send_then(remote, ssh_job_tree_request(&a->program.files, a->program.tree), err));
    if (a->base_id[0] != '\0') KIT_TRY(send_then(remote, ssh_job_tree_request(&a->base, a->base_id), err));
    remote->heed = false;
    kit_status status = send_start(remote, a, &f, err);
    if (status == KOLM_OK) status = collect(remote, a, &f, err);
    remote->heed = true;
    *out_following = f.follows;
    return status;
}

static kit_status go_through(kit_ssh_job_remote *remote, asking *a, kolm_error_t *err) {
    bool following = false;
    kit_status status = begin(remote, a, true, &following, err);
    if (status == KOLM_E_NOT_FOUND && remote->refused) {
        *err = (kolm_error_t)KIT_ERROR_INIT;
        status = begin(remote, a, false, &following, err);
    }
    KIT_TRY(status);
    KIT_TRY(ssh_job_follow(remote, a->id, following, &a->outcome, err));
    status = ssh_job_fetch(remote, a->id, a->results, a->home, err);
    /* Results that the far end refuses to send would be refused the next time, too. */
    if (status == KOLM_E_DATA_LOSS && remote->refused) a->outcome.failed = true;
    return status;
}

/* A finished job stays until its results have been fetched, a stopped one until it continues. An error here must not
 * hide how the job ended. */
static void leave(kit_ssh_job_remote *remote, const asking *a, kit_status status) {
    bool over = status == KOLM_OK ? !remote->settings.keep : a->outcome.failed;
    if (!over || !remote->connected) return;
    kolm_error_t err = KIT_ERROR_INIT;
    if (drop(remote, a, &err) != KOLM_OK) remote->host->log(remote->host->user, KOLM_LOG_DEBUG, err.text);
}

static kit_status connect_again(kit_ssh_job_remote *remote, const asking *a, kolm_error_t *err) {
    ssh_job_say(remote, KOLM_LOG_WARNING, "the connection was lost, connecting again: ", err->text);
    *err = (kolm_error_t)KIT_ERROR_INIT;
    kit_status status = ssh_job_connect(remote, true, err);
    if (status != KOLM_OK && a->before)
        (void)kit_fail_context(err, "the job may still be running, and the same command finds it again");
    return status;
}

/* Runs the job over as many connections as it takes. Another kolm with the same request may meanwhile have fetched the
 * results and dropped the job: then it is run again. */
static kit_status carry_out(kit_ssh_job_remote *remote, asking *a, kolm_error_t *err) {
    kit_status status = go_through(remote, a, err);
    for (int gone = 0; status != KOLM_OK && status != KOLM_E_CANCELLED;) {
        bool cut = remote->broken;
        bool taken = status == KOLM_E_NOT_FOUND && remote->refused && a->before;
        if (!cut && (!taken || a->outcome.events.error.code != KOLM_OK || ++gone > GONE_MAX)) break;
        if (cut) status = connect_again(remote, a, err);
        if (cut && status != KOLM_OK) break;
        *err = (kolm_error_t)KIT_ERROR_INIT;
        status = go_through(remote, a, err);
    }
    leave(remote, a, status);
    return status;
}

kit_status ssh_job_errand(kit_ssh_job_remote *remote, const char *about, const ssh_job_program *program,
                          kolm_error_t *err) {
    static const char *const none[] = {NULL};
    kit_buf salt = {0};
    /* The program is still owned by the caller. */
    asking a = {.about = about, .results = none, .home = remote->host->scratch_dir, .program = *program};
    ssh_job_outcome_begin(remote, &a.outcome);
    kit_buf_fmt(&salt, "errand %s", program->identity);
    kit_status status = kit_buf_ok(&salt, err);
    if (status == KOLM_OK) status = ssh_job_files_digest(&a.files, salt.data, a.id, err);
    if (status == KOLM_OK) status = carry_out(remote, &a, err);
    ssh_job_outcome_end(&a.outcome);
    kit_buf_free(&salt);
    return status;
}

/* ---- train */

/* Receipts are shared: the host key identifies the machine without revealing its name. */
static void put_device(const kit_ssh_job_remote *remote, const asking *a, char *out, size_t capacity) {
    const char *named = kit_events_result_text(&a->outcome.events, "device");
    const char *device = named[0] != '\0' ? named : a->program.name;
    const char *key = kit_ssh_job_host_key(remote);
    kit_format(out, capacity, "%.64s over SSH, %s", device, key[0] != '\0' ? key : remote->settings.name);
}

kit_status kit_ssh_job_train(kit_ssh_job_remote *remote, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                             kolm_error_t *err) {
    static const char *const results[] = {"model", "result.json", NULL};
    kit_job *job = NULL;
    asking a = {.results = results, .home = args->job_dir};
    ssh_job_outcome_begin(remote, &a.outcome);
    kit_status status = kit_job_read(args->job_dir, &job, err);
    a.job = job;
    a.about = job != NULL ? job->task : "";
    if (status == KOLM_OK && strcmp(job->kind, "train") != 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report this", "not a training job");
    if (status == KOLM_OK) status = describe(remote, args->job_dir, NULL, &a, err);
    if (status == KOLM_OK) status = carry_out(remote, &a, err);
    if (status == KOLM_OK) {
        out_result->billed_micro_usd = 0;
        put_device(remote, &a, out_result->device, sizeof out_result->device);
        kit_copy(out_result->toolchain, sizeof out_result->toolchain,
                 kit_events_result_text(&a.outcome.events, "toolchain"));
    }
    asking_free(&a);
    kit_job_free(job);
    return status;
}

/* ---- infer */

static kit_status copy_all(const char *from, const char *to, uint64_t *out_lines, kolm_error_t *err) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return kit_fail_errno(err, errno, "cannot open %s", from);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    kit_status status = out >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot write %s", to);
    char *chunk = malloc(CHUNK);
    if (chunk == NULL && status == KOLM_OK) status = kit_no_memory(err);
    while (status == KOLM_OK) {
        ssize_t n = read(in, chunk, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", from);
        if (n <= 0) break;
        for (ssize_t i = 0; i < n; i++)
            *out_lines += chunk[i] == '\n';
        status = kit_write_all(out, chunk, (size_t)n, err);
    }
    free(chunk);
    if (out >= 0 && close(out) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", to);
    close(in);
    return status;
}

kit_status kit_ssh_job_infer(kit_ssh_job_remote *remote, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                             kolm_error_t *err) {
    static const char *const results[] = {"predictions.jsonl", NULL};
    const char *scratch = remote->host->scratch_dir;
    char *input = NULL, *output = NULL;
    uint64_t asked = 0;
    kit_job *job = NULL;
    asking a = {.results = results, .home = scratch};
    ssh_job_outcome_begin(remote, &a.outcome);
    kit_status status = kit_job_read(args->job_dir, &job, err);
    a.job = job;
    a.about = job != NULL ? job->task : "";
    if (status == KOLM_OK) status = kit_path_join(scratch, "eval.jsonl", &input, err);
    if (status == KOLM_OK) status = kit_path_join(scratch, "predictions.jsonl", &output, err);
    if (status == KOLM_OK) status = copy_all(args->input_path, input, &asked, err);
    if (status == KOLM_OK) status = describe(remote, args->job_dir, input, &a, err);
    if (status == KOLM_OK) status = carry_out(remote, &a, err);
    out_result->answers = 0;
    if (status == KOLM_OK) status = copy_all(output, args->output_path, &out_result->answers, err);
    if (status == KOLM_OK && out_result->answers < asked)
        status = kit_fail(err, KOLM_E_DATA_LOSS, "run the same command again", "%s gave %llu answers to %llu inputs",
                          remote->settings.name, (unsigned long long)out_result->answers, (unsigned long long)asked);
    if (status == KOLM_OK) {
        out_result->billed_micro_usd = 0;
        put_device(remote, &a, out_result->device, sizeof out_result->device);
    }
    asking_free(&a);
    kit_job_free(job);
    free(input);
    free(output);
    return status;
}

/* ---- A rehearsal: trains on 240 short rows with two labels */

static kit_status write_rehearsal(const char *dir, kolm_error_t *err) {
    kit_buf rows = {0};
    char *path = NULL;
    for (unsigned i = 0; i < 240; i++)
        kit_buf_fmt(&rows, "{\"id\":\"%u\",\"input\":\"%s %u\",\"output\":\"%s\"}\n", i,
                    i % 2 ? "the refund for invoice number" : "the screen of device number", i,
                    i % 2 ? "billing" : "hardware");
    kit_status status = kit_buf_ok(&rows, err);
    if (status == KOLM_OK) status = kit_mkdirs(dir, 0700, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "train.jsonl", &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, rows.data, rows.length, err);
    free(path);
    path = NULL;
    kit_buf_free(&rows);
    static const char job[] =
        "{\"format\":1,\"kind\":\"train\",\"task\":\"rehearsal\",\"recipe\":\"linear\",\"seed\":1,"
        "\"effort\":\"quick\",\"rows\":240,\"labels\":2,\"options\":{}}";
    if (status == KOLM_OK) status = kit_path_join(dir, "job.json", &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, job, sizeof job - 1, err);
    free(path);
    return status;
}

kit_status kit_ssh_job_rehearse(kit_ssh_job_remote *remote, char out_digest[KIT_SSH_JOB_DIGEST], char *out_note,
                                size_t capacity, kolm_error_t *err) {
    char *dir = NULL, *model = NULL;
    kolm_train_result_t result = {.struct_size = (uint32_t)sizeof result};
    KIT_TRY(kit_path_join(remote->host->scratch_dir, "rehearsal", &dir, err));
    kit_status status = write_rehearsal(dir, err);
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 1, .job_dir = dir};
    if (status == KOLM_OK) status = kit_ssh_job_train(remote, &args, &result, err);
    if (status == KOLM_OK) status = kit_path_join(dir, "model/linear.bin", &model, err);
    if (status == KOLM_OK) status = kit_sha256_file(model, out_digest, NULL, err);
    if (status == KOLM_OK) kit_format(out_note, capacity, "%s, %s", result.toolchain, result.device);
    free(dir);
    free(model);
    return status;
}
