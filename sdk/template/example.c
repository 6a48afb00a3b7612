/* SPDX-License-Identifier: Apache-2.0 */
/* A complete, working backend: it learns which words occur with which label (naive Bayes over hashed words) and answers
 * from that. Keep the slots and their structure, and replace the counting with your own engine. <kolm/backend.h> is the
 * manual. */
#include <kolm/backend.h>
#include <kolm/kit/file.h>
#include <kolm/kit/job.h>
#include <kolm/kit/lines.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE "this machine's processor"
#define TOOLCHAIN "example 0.1.0" /* determines the bytes of a model */
#define MODEL_FILE "counts.json"
#define BUCKETS 4096u /* of hashed words */
#define LABELS_MAX 256u
#define LINE_BYTES_MAX (17u << 20)

/* ---- The engine: yours goes here */

typedef struct engine {
    char *labels[LABELS_MAX];
    uint32_t label_count;
    uint32_t rows[LABELS_MAX];            /* rows with this label */
    uint32_t words[LABELS_MAX];           /* words in them */
    uint32_t counts[LABELS_MAX][BUCKETS]; /* how often each word occurs in them */
} engine;

static void engine_free(engine *e) {
    for (uint32_t i = 0; e != NULL && i < e->label_count; i++)
        free(e->labels[i]);
    free(e);
}

static kit_status engine_new(engine **out, kolm_error_t *err) {
    *out = calloc(1, sizeof **out);
    return *out != NULL ? KOLM_OK : kit_no_memory(err);
}

/* Returns the next word's bucket (FNV-1a); false at the end. Words consist of ASCII letters and digits, and anything
 * beyond ASCII. */
static bool next_word(const char **text, uint32_t *out_bucket) {
    const unsigned char *p = (const unsigned char *)*text;
    uint32_t hash = 2166136261u;
#define IS_WORD(c) ((c) >= 0x80 || ((c) >= '0' && (c) <= '9') || (((c) | 32) >= 'a' && ((c) | 32) <= 'z'))
    while (*p != '\0' && !IS_WORD(*p))
        p++;
    if (*p == '\0') return false;
    for (; IS_WORD(*p); p++)
        hash = (hash ^ (*p < 0x80 ? *p | 32u : *p)) * 16777619u;
    *text = (const char *)p;
    *out_bucket = hash % BUCKETS;
    return true;
}

static kit_status engine_label(engine *e, const char *label, uint32_t *out, kolm_error_t *err) {
    for (*out = 0; *out < e->label_count; (*out)++)
        if (strcmp(e->labels[*out], label) == 0) return KOLM_OK;
    if (e->label_count == LABELS_MAX)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "use data with fewer labels", "example supports at most %u labels",
                        LABELS_MAX);
    KIT_TRY(kit_strdup(label, &e->labels[e->label_count], err));
    e->label_count++;
    return KOLM_OK;
}

static kit_status engine_learn(engine *e, const char *input, const char *output, kolm_error_t *err) {
    uint32_t label, bucket;
    KIT_TRY(engine_label(e, output, &label, err));
    e->rows[label]++;
    while (next_word(&input, &bucket)) {
        e->counts[label][bucket]++;
        e->words[label]++;
    }
    return KOLM_OK;
}

/* Finds the most probable label and its probability: P(label) times the product of P(word | label), with one added to
 * each count. */
static uint32_t engine_answer(const engine *e, const char *input, double *out_confidence) {
    double score[LABELS_MAX], sum = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; i < e->label_count; i++) {
        const char *text = input;
        uint32_t bucket;
        score[i] = log(e->rows[i] + 1.0);
        while (next_word(&text, &bucket))
            score[i] += log((e->counts[i][bucket] + 1.0) / ((double)e->words[i] + BUCKETS));
        if (score[i] > score[best]) best = i;
    }
    for (uint32_t i = 0; i < e->label_count; i++)
        sum += exp(score[i] - score[best]);
    *out_confidence = 1 / sum;
    return best;
}

/* Writes one object: {"labels": [{"label", "rows", "counts": [bucket, count, ...]}]}. The same rows produce the same
 * bytes. */
static void engine_write(const engine *e, kit_buf *out) {
    kit_buf_str(out, "{\"labels\":[");
    for (uint32_t i = 0; i < e->label_count; i++) {
        bool first = true;
        kit_buf_str(out, i > 0 ? ",{\"label\":" : "{\"label\":");
        kit_json_string(out, e->labels[i], strlen(e->labels[i]));
        kit_buf_fmt(out, ",\"rows\":%u,\"counts\":[", e->rows[i]);
        for (uint32_t b = 0; b < BUCKETS; b++) {
            if (e->counts[i][b] == 0) continue;
            kit_buf_fmt(out, first ? "%u,%u" : ",%u,%u", b, e->counts[i][b]);
            first = false;
        }
        kit_buf_str(out, "]}");
    }
    kit_buf_str(out, "]}\n");
}

/* A model file comes from an artifact of unknown origin: trust nothing in it. */
static bool engine_read_label(engine *e, const cJSON *item, kolm_error_t *err) {
    const char *label;
    uint64_t rows;
    uint32_t at;
    if (!kit_json_get_string(item, "label", &label) || !kit_json_get_u64(item, "rows", &rows) || rows > UINT32_MAX ||
        engine_label(e, label, &at, err) != KOLM_OK)
        return false;
    e->rows[at] = (uint32_t)rows;
    for (const cJSON *n = cJSON_GetArrayItem(kit_json_get(item, "counts"), 0); n != NULL; n = n->next->next) {
        if (n->next == NULL || !cJSON_IsNumber(n) || !cJSON_IsNumber(n->next) || n->valuedouble < 0 ||
            n->valuedouble >= BUCKETS || n->next->valuedouble < 0 || n->next->valuedouble > 1e9)
            return false;
        e->counts[at][(uint32_t)n->valuedouble] = (uint32_t)n->next->valuedouble;
        e->words[at] += (uint32_t)n->next->valuedouble;
    }
    return true;
}

static kit_status engine_read(engine *e, const char *text, size_t length, kolm_error_t *err) {
    cJSON *model = NULL;
    const cJSON *item;
    bool good = true;
    KIT_TRY(kit_json_parse(text, length, &model, err));
    cJSON_ArrayForEach(item, kit_json_get(model, "labels")) good = good && engine_read_label(e, item, err);
    cJSON_Delete(model);
    if (good && e->label_count > 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "compile the model again", MODEL_FILE " is not a model of example");
}

/* ---- Shared by train and infer */

static void report(const kolm_host_v1_t *host, const char *phase, uint64_t step, uint64_t total) {
    const kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                      .step = step,
                                      .total = total,
                                      .loss = NAN,
                                      .tokens_per_second = NAN,
                                      .phase = phase};
    host->progress(host->user, &progress);
}

/* Called for each line of a file of JSON lines. */
typedef kit_status (*row_fn)(void *user, const cJSON *row, kolm_error_t *err);

/* before_wait, if not NULL, is called if no further line is available yet. */
static kit_status each_row(const kolm_host_v1_t *host, const char *path, row_fn row,
                           kit_status (*before_wait)(void *user, kolm_error_t *err), void *user, kolm_error_t *err) {
    kit_lines *lines = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = kit_lines_open(fd, LINE_BYTES_MAX, &lines, err);
    while (status == KOLM_OK) {
        const char *line = NULL;
        size_t length = 0;
        cJSON *value = NULL;
        if (before_wait != NULL && !kit_lines_ready(lines)) status = before_wait(user, err);
        if (status == KOLM_OK) status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        status = kit_json_parse(line, length, &value, err);
        if (status == KOLM_OK) status = row(user, value, err);
        cJSON_Delete(value);
        if (status == KOLM_OK && host->cancelled(host->user))
            status = kit_fail(err, KOLM_E_CANCELLED, "", "stopped on request");
    }
    kit_lines_close(lines);
    close(fd);
    return status;
}

static kit_status write_file(const char *directory, const char *name, const kit_buf *text, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_buf_ok(text, err));
    KIT_TRY(kit_path_join(directory, name, &path, err));
    kit_status status = kit_write_file(path, 0600, text->data, text->length, err);
    free(path);
    return status;
}

/* ---- detect: is it usable here and now? Must be cheap, and quiet if absent; see backend.h for the four states. */
static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    (void)out_error;
    const kolm_device_t device = {.struct_size = (uint32_t)sizeof device,
                                  .memory_kind = KOLM_MEMORY_NONE,
                                  .total_memory_bytes = KOLM_MEMORY_UNKNOWN,
                                  .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
                                  .name = DEVICE,
                                  .id = "",
                                  .driver = "",
                                  .runtime = TOOLCHAIN};
    host->device(host->user, &device);
    out_result->state = KOLM_DETECT_AVAILABLE; /* look for your device here: a node below /dev, a library, an address */
    kit_copy(out_result->reason, sizeof out_result->reason, "needs only a processor");
    kit_copy(out_result->runtime, sizeof out_result->runtime, TOOLCHAIN);
    return KOLM_OK;
}

/* ---- cost: a pure function of args. */
static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host;
    (void)out_error;
    out_result->billing = KOLM_BILLING_FREE;
    out_result->duration_ms = args->rows < UINT64_MAX / 2 ? 100 + args->rows / 100 : UINT64_MAX; /* unknown */
    out_result->cost_micro_usd = 0;
    out_result->confidence = KOLM_CONFIDENCE_MODEL;
    kit_copy(out_result->basis, sizeof out_result->basis, "100,000 rows a second");
    return KOLM_OK;
}

/* ---- train: reads job_dir/train.jsonl, writes job_dir/model and job_dir/result.json; job-protocol.md, installed next
 * to the author's guide, describes the files. */
typedef struct training {
    const kolm_host_v1_t *host;
    engine *engine;
    uint64_t done, total;
} training;

static kit_status train_row(void *user, const cJSON *row, kolm_error_t *err) {
    training *t = user;
    const char *input, *output;
    if (!kit_json_get_string(row, "input", &input) || !kit_json_get_string(row, "output", &output))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a row lacks input or output");
    if (++t->done % 1024 == 0) report(t->host, "training", t->done, t->total);
    return engine_learn(t->engine, input, output, err);
}

static kit_status write_results(const char *job_dir, const engine *e, kolm_error_t *err) {
    kit_buf model = {0}, result = {0};
    char *directory = NULL;
    engine_write(e, &model);
    /* `kolm inspect` shows report: no times and no machine names, so that the same job produces the same artifact. */
    kit_buf_fmt(&result, "{\"format\":1,\"toolchain\":\"" TOOLCHAIN "\",\"report\":{\"labels\":%u}}\n", e->label_count);
    kit_status status = kit_path_join(job_dir, "model", &directory, err);
    if (status == KOLM_OK) status = kit_mkdirs(directory, 0700, err);
    if (status == KOLM_OK) status = write_file(directory, MODEL_FILE, &model, err);
    if (status == KOLM_OK) status = write_file(job_dir, "result.json", &result, err);
    free(directory);
    kit_buf_free(&model);
    kit_buf_free(&result);
    return status;
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    kit_job *job = NULL;
    char *rows = NULL;
    training t = {.host = host};
    kit_status status = kit_job_read(args->job_dir, &job, out_error);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "train.jsonl", &rows, out_error);
    if (status == KOLM_OK) status = engine_new(&t.engine, out_error);
    if (status == KOLM_OK) {
        t.total = job->rows;
        status = each_row(host, rows, train_row, NULL, &t, out_error);
    }
    if (status == KOLM_OK && t.done == 0)
        status = kit_fail(out_error, KOLM_E_INVALID_ARGUMENT, "add rows", "there is nothing to learn from");
    if (status == KOLM_OK) status = write_results(args->job_dir, t.engine, out_error);
    if (status == KOLM_OK) {
        report(host, "training", t.done, t.total);
        out_result->billed_micro_usd = 0;
        kit_copy(out_result->device, sizeof out_result->device, DEVICE);
        kit_copy(out_result->toolchain, sizeof out_result->toolchain, TOOLCHAIN);
    }
    engine_free(t.engine);
    kit_job_free(job);
    free(rows);
    return status;
}

/* ---- infer: one answer per input, in order, flushed whenever the next input is not available yet. */
typedef struct answering {
    engine *engine;
    int output_fd;
    kit_buf text;
    uint64_t answers;
} answering;

static kit_status flush_answers(void *user, kolm_error_t *err) {
    answering *a = user;
    KIT_TRY(kit_buf_ok(&a->text, err));
    kit_status status = kit_write_all(a->output_fd, kit_buf_text(&a->text), a->text.length, err);
    kit_buf_clear(&a->text);
    return status;
}

static kit_status infer_row(void *user, const cJSON *row, kolm_error_t *err) {
    answering *a = user;
    const char *id, *input;
    double confidence;
    if (!kit_json_get_string(row, "id", &id) || !kit_json_get_string(row, "input", &input))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a question lacks id or input");
    const char *label = a->engine->labels[engine_answer(a->engine, input, &confidence)];
    kit_buf_str(&a->text, "{\"id\":");
    kit_json_string(&a->text, id, strlen(id));
    kit_buf_str(&a->text, ",\"output\":");
    kit_json_string(&a->text, label, strlen(label));
    kit_buf_fmt(&a->text, ",\"confidence\":%.6f}\n", confidence);
    a->answers++;
    return a->text.length > 32768 ? flush_answers(a, err) : KOLM_OK;
}

/* The model is inside the artifact: `size` bytes at `offset` of `path`. */
static kit_status read_model(const kit_job *job, engine *e, kolm_error_t *err) {
    const kit_job_model_file *file = NULL;
    KIT_TRY(kit_job_model(job, MODEL_FILE, &file, err));
    char *bytes = file->size < SIZE_MAX ? malloc((size_t)file->size + 1) : NULL;
    if (bytes == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs", "not enough memory for the model");
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    kit_status status = fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", file->path);
    if (status == KOLM_OK && lseek(fd, (off_t)file->offset, SEEK_SET) < 0)
        status = kit_fail_errno(err, errno, "cannot read %s", file->path);
    if (status == KOLM_OK) status = kit_read_exact(fd, bytes, (size_t)file->size, err);
    if (status == KOLM_OK) status = engine_read(e, bytes, (size_t)file->size, err);
    if (fd >= 0) close(fd);
    free(bytes);
    return status;
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    kit_job *job = NULL;
    answering a = {.output_fd = -1};
    kit_status status = kit_job_read(args->job_dir, &job, out_error);
    if (status == KOLM_OK) status = engine_new(&a.engine, out_error);
    if (status == KOLM_OK) status = read_model(job, a.engine, out_error);
    if (status == KOLM_OK) {
        a.output_fd = open(args->output_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (a.output_fd < 0) status = kit_fail_errno(out_error, errno, "cannot open %s", args->output_path);
    }
    if (status == KOLM_OK) status = each_row(host, args->input_path, infer_row, flush_answers, &a, out_error);
    if (status == KOLM_OK) status = flush_answers(&a, out_error);
    out_result->answers = a.answers;
    out_result->billed_micro_usd = 0;
    kit_copy(out_result->device, sizeof out_result->device, DEVICE);
    if (a.output_fd >= 0) close(a.output_fd);
    kit_buf_free(&a.text);
    engine_free(a.engine);
    kit_job_free(job);
    return status;
}

/* ---- test: proves the backend before it is needed, in the four steps that every backend has. */
static void step(const kolm_host_v1_t *host, uint32_t number, const char *title, uint32_t outcome, const char *note) {
    const kolm_test_step_t done = {.struct_size = (uint32_t)sizeof done,
                                   .outcome = outcome,
                                   .number = number,
                                   .total = 4,
                                   .title = title,
                                   .note = note};
    host->test_step(host->user, &done);
}

static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)args;
    engine *e = NULL;
    double confidence;
    step(host, 1, "auth check", KOLM_STEP_SKIPPED, "needs no account");
    step(host, 2, "container provision (cold)", KOLM_STEP_SKIPPED, "runs on this machine");
    KIT_TRY(engine_new(&e, out_error));
    kit_status status = engine_learn(e, "my parcel is late", "shipping", out_error);
    if (status == KOLM_OK) status = engine_learn(e, "I was charged twice", "billing", out_error);
    if (status == KOLM_OK) {
        step(host, 3, "trainer dry run (no weights)", KOLM_STEP_OK, "");
        bool right = strcmp(e->labels[engine_answer(e, "charged again", &confidence)], "billing") == 0;
        step(host, 4, "receipt round-trip", right ? KOLM_STEP_OK : KOLM_STEP_FAILED, right ? "" : "a wrong answer");
        out_result->passed = right;
        kit_copy(out_result->summary, sizeof out_result->summary,
                 right ? "example is ready for kolm compile" : "example gives wrong answers");
    }
    engine_free(e);
    return status;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .features = KOLM_FEATURE_MODEL_SLICES, /* infer reads (path, offset, size), see read_model */
    .name = "example",
    .version = "0.1.0",
    .vendor = "you",
    .licence = "Apache-2.0",
    .homepage = "", /* where users report problems, "https://..." */
    .detect = detect,
    .cost = cost,
    .train = train, /* a NULL slot is not implemented, and never called */
    .infer = infer,
    .test = test,
};
