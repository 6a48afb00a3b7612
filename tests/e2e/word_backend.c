/* SPDX-License-Identifier: Apache-2.0 */
/* A backend for tests of compile and run: learns which label belongs to the first word of an input, or fails as
 * configured. */
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACES 16384 /* maximum of (word, label) pairs: the data of tests has few */
#define LINE_MAX_BYTES (17u << 20)

typedef struct pair {
    char *word, *label;
    uint64_t count, of; /* rows with this word and label; rows with this word */
} pair;

typedef struct model {
    pair *pairs;
    size_t count;
    uint64_t abstain_micro;
    bool of_places; /* words are labels, in the order of the rows: the text of a question is ignored */
} model;

/* Tells whether the setting backends.NAME.fault of config.json requests this misbehaviour. */
static bool told(const kolm_host_v1_t *host, const char *fault) {
    char value[64];
    return host->setting(host->user, "fault", value, sizeof value, NULL) == KOLM_OK && strcmp(value, fault) == 0;
}

static void report(const kolm_host_v1_t *host, const char *phase, uint64_t step, uint64_t total) {
    kolm_progress_t p = {.struct_size = (uint32_t)sizeof p,
                         .step = step,
                         .total = total,
                         .loss = 0.5,
                         .tokens_per_second = 10,
                         .phase = phase};
    host->progress(host->user, &p);
}

static int32_t wait_for_cancel(const kolm_host_v1_t *host, kolm_error_t *err) {
    while (!host->cancelled(host->user))
        sched_yield();
    return kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
}

/* Starts a child process that never ends, logs its id, and hangs. */
static void leave_child_and_hang(const kolm_host_v1_t *host) {
    char text[64];
    pid_t pid = fork();
    if (pid == 0) {
        while (1)
            pause();
    }
    snprintf(text, sizeof text, "left process %ld", (long)pid);
    host->log(host->user, KOLM_LOG_WARNING, text);
    while (1)
        pause();
}

#define OWN_FORMAT "{\"format\":1,\"toolchain\":\"" WORD_NAME " 1.0.0\",\"model_format\":\"words-2\",\"report\":{}}\n"

static char *first_word(const char *text) {
    return strndup(text, strcspn(text, " \t\r\n"));
}

static pair *pair_of(model *m, const char *word, const char *label) {
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->pairs[i].word, word) == 0 && (!label || strcmp(m->pairs[i].label, label) == 0))
            return &m->pairs[i];
    }
    return NULL;
}

static kit_status add_row(model *m, const char *input, const char *output, kolm_error_t *err) {
    char *word = first_word(input);
    pair *p = word ? pair_of(m, word, output) : NULL;
    if (p) {
        p->count++;
        free(word);
        return KOLM_OK;
    }
    if (!word || m->count == PLACES) {
        free(word);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "give it less", "too many words for a test backend");
    }
    m->pairs[m->count++] = (pair){.word = word, .label = strdup(output), .count = 1};
    return KOLM_OK;
}

static kit_status learn(const char *path, model *m, kolm_error_t *err) {
    kit_lines *lines = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = kit_lines_open(fd, LINE_MAX_BYTES, &lines, err);
    while (status == KOLM_OK) {
        const char *line = NULL, *input = NULL, *output = NULL;
        size_t length = 0;
        cJSON *row = NULL;
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || !line) break;
        status = kit_json_parse(line, length, &row, err);
        if (status == KOLM_OK && kit_json_get_string(row, "input", &input) &&
            kit_json_get_string(row, "output", &output))
            status = add_row(m, m->of_places ? output : input, output, err);
        cJSON_Delete(row);
    }
    kit_lines_close(lines);
    close(fd);
    return status;
}

static int by_word(const void *a, const void *b) {
    const pair *x = a, *y = b;
    int order = strcmp(x->word, y->word);
    if (order) return order;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return strcmp(x->label, y->label);
}

/* Keeps the best label of each word. */
static void settle(model *m) {
    size_t kept = 0;
    for (size_t i = 0; m->of_places && i < m->count; i++)
        m->pairs[i].of = m->pairs[i].count;
    if (m->of_places) return;
    qsort(m->pairs, m->count, sizeof *m->pairs, by_word);
    for (size_t i = 0; i < m->count; i++) {
        if (kept && strcmp(m->pairs[kept - 1].word, m->pairs[i].word) == 0) {
            m->pairs[kept - 1].of += m->pairs[i].count;
            free(m->pairs[i].word);
            free(m->pairs[i].label);
        } else {
            m->pairs[kept] = m->pairs[i];
            m->pairs[kept++].of = m->pairs[i].count;
        }
    }
    m->count = kept;
}

static void free_model(model *m) {
    for (size_t i = 0; i < m->count; i++) {
        free(m->pairs[i].word);
        free(m->pairs[i].label);
    }
    free(m->pairs);
}

static kit_status write_text(const char *dir, const char *name, const kit_buf *text, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_buf_ok(text, err));
    kit_status status = kit_path_join(dir, name, &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(text), text->length, err);
    free(path);
    return status;
}

/* Writes a model so large that kolm leaves it where it is: nearly all of it is a hole. */
static kit_status write_pad(const kit_job *job, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(job->dir, "model/pad.bin", &path, err));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    kit_status status =
        fd >= 0 && ftruncate(fd, 65 << 20) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot make %s", path);
    if (fd >= 0) close(fd);
    free(path);
    return status;
}

static kit_status write_results(const kit_job *job, const model *m, kolm_error_t *err) {
    kit_buf words = {0}, result = {0};
    uint64_t abstain = 0;
    (void)kit_json_get_u64(job->options, "abstain_micro", &abstain);
    kit_buf_fmt(&words, "{\"abstain\":%llu}\n", (unsigned long long)abstain);
    for (size_t i = 0; i < m->count; i++) {
        kit_buf_str(&words, "{\"word\":");
        kit_json_string(&words, m->pairs[i].word, strlen(m->pairs[i].word));
        kit_buf_str(&words, ",\"label\":");
        kit_json_string(&words, m->pairs[i].label, strlen(m->pairs[i].label));
        kit_buf_fmt(&words, ",\"count\":%llu,\"of\":%llu}\n", (unsigned long long)m->pairs[i].count,
                    (unsigned long long)m->pairs[i].of);
    }
    kit_buf_fmt(&result, "{\"format\":1,\"toolchain\":\"" WORD_NAME " 1.0.0\",\"report\":{\"words\":%zu}}\n", m->count);
    kit_status status = write_text(job->dir, "model/words.jsonl", &words, err);
    if (status == KOLM_OK) status = write_text(job->dir, "result.json", &result, err);
    kit_buf_free(&words);
    kit_buf_free(&result);
    return status;
}

/* Waits until the file that the setting "until" names exists, so that a test can act in the middle of a training. */
static void wait_for_file(const kolm_host_v1_t *host) {
    char path[4096];
    if (host->setting(host->user, "until", path, sizeof path, NULL) != KOLM_OK) return;
    host->log(host->user, KOLM_LOG_WARNING, "waiting");
    while (access(path, F_OK) != 0 && !host->cancelled(host->user))
        sched_yield();
}

static kit_status misbehave(const kolm_host_v1_t *host, const char *model_dir, kolm_error_t *err) {
    char link_path[4096];
    wait_for_file(host);
    if (told(host, "hang")) return wait_for_cancel(host, err);
    if (told(host, "hang hard")) leave_child_and_hang(host);
    if (told(host, "crash")) abort();
    if (told(host, "wait")) { /* until a process opens the pipe in the model's directory and closes it again */
        char byte;
        snprintf(link_path, sizeof link_path, "%s/wait", model_dir);
        int fd = mkfifo(link_path, 0600) == 0 ? open(link_path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0) return kit_fail_errno(err, errno, "cannot wait");
        while (read(fd, &byte, 1) > 0)
            continue;
        close(fd);
        unlink(link_path);
    }
    if (told(host, "exit")) _exit(0);
    if (told(host, "fail")) return kit_fail(err, KOLM_E_UNAVAILABLE, "wait for better weather", "the cloud rained out");
    if (told(host, "noise")) printf("\033[31mnoise\033[0m\n");
    if (told(host, "socket")) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (fd >= 0) {
            close(fd);
            return kit_fail(err, KOLM_E_INTERNAL, "", "a socket could be opened");
        }
    }
    if (told(host, "link")) {
        snprintf(link_path, sizeof link_path, "%s/link", model_dir);
        if (symlink("/etc/passwd", link_path) != 0) return kit_fail_errno(err, errno, "cannot link");
    }
    return KOLM_OK;
}

/* Replaces DIR/NAME, which is kept as NAME-kept, by a link to backends.NAME.elsewhere of config.json. */
static kit_status link_to_elsewhere(const kolm_host_v1_t *host, const char *dir, const char *name, kolm_error_t *err) {
    char target[4096], path[4096], kept[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(kept, sizeof kept, "%s-kept", path);
    if (host->setting(host->user, "elsewhere", target, sizeof target, NULL) == KOLM_OK && rename(path, kept) == 0 &&
        symlink(target + 1, path) == 0) /* the setting does not begin with a slash: the fence would allow that path */
        return KOLM_OK;
    return kit_fail_errno(err, errno, "cannot link %s", path);
}

/* Called after good answers were written. */
static kit_status change_model(const kolm_host_v1_t *host, const char *dir, kolm_error_t *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/model/words.jsonl", dir);
    if (told(host, "linked model")) return link_to_elsewhere(host, dir, "model", err);
    if (told(host, "linked file")) return link_to_elsewhere(host, dir, "model/words.jsonl", err);
    if (told(host, "another model")) {
        if (unlink(path) != 0) return kit_fail_errno(err, errno, "cannot remove %s", path);
        return kit_write_file(path, 0600, "{\"abstain\":0}\n", 14, err);
    }
    if (told(host, "describes")) { /* requests files that it may not read from a kolm that runs the job again */
        snprintf(path, sizeof path, "%s/job.json", dir);
        return kit_write_file(path, 0600, "{\"elsewhere\":1}\n", 16, err);
    }
    if (!told(host, "changed model")) return KOLM_OK;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    kit_status status = fd >= 0 ? kit_write_all(fd, "{", 1, err) : kit_fail_errno(err, errno, "cannot open %s", path);
    if (fd >= 0) close(fd);
    return status;
}

static int32_t word_train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                          kolm_error_t *err) {
    host->metric(host->user, "words.loss", 0.5);
    host->metric(host->user, "words.loss", -0.125);
    host->metric(host->user, "words.tiny", 1e-9);
    kit_job *job = NULL;
    char *rows = NULL, *model_dir = NULL, *result = NULL;
    model m = {.pairs = calloc(PLACES, sizeof(pair)),
               .of_places = told(host, "answers by place") || told(host, "answers by id")};
    kit_status status = m.pairs ? kit_job_read(args->job_dir, &job, err)
                                : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
#ifdef WORD_RECIPE
    if (status == KOLM_OK && strcmp(job->recipe, WORD_RECIPE) != 0)
        status =
            kit_fail(err, KOLM_E_UNIMPLEMENTED, "use --recipe " WORD_RECIPE, WORD_NAME " makes " WORD_RECIPE " only");
#endif
    report(host, "training", 0, 2);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "train.jsonl", &rows, err);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "model", &model_dir, err);
    if (status == KOLM_OK) status = kit_path_join(args->job_dir, "result.json", &result, err);
    if (status == KOLM_OK) status = kit_mkdirs(model_dir, 0700, err);
    if (status == KOLM_OK) status = misbehave(host, model_dir, err);
    if (status == KOLM_OK) status = learn(rows, &m, err);
    report(host, "training", 1, 2);
    if (status == KOLM_OK) {
        settle(&m);
        status = write_results(job, &m, err);
    }
    if (status == KOLM_OK && told(host, "big")) status = write_pad(job, err);
    if (status == KOLM_OK && told(host, "own format"))
        status = kit_write_file(result, 0600, OWN_FORMAT, strlen(OWN_FORMAT), err);
    if (status == KOLM_OK && told(host, "no result")) unlink(result);
    if (status == KOLM_OK && told(host, "linked result"))
        status = link_to_elsewhere(host, job->dir, "result.json", err);
    if (status == KOLM_OK && told(host, "no model")) status = kit_remove_tree(model_dir, err);
    report(host, "training", 2, 2);
    out->billed_micro_usd = told(host, "bills") ? 1500000 : 0;
    kit_copy(out->device, sizeof out->device, "a processor for tests");
    kit_copy(out->toolchain, sizeof out->toolchain, WORD_NAME " 1.0.0");
    free_model(&m);
    kit_job_free(job);
    free(rows);
    free(model_dir);
    free(result);
    return status;
}

/* ---- Answering */

static kit_status read_model(const kit_job *job, model *m, kolm_error_t *err) {
    const kit_job_model_file *file = NULL;
    kit_buf text = {0};
    KIT_TRY(kit_job_model(job, "words.jsonl", &file, err));
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", file->path);
    char *bytes = calloc(1, (size_t)file->size + 1);
    kit_status status = bytes ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    if (status == KOLM_OK && pread(fd, bytes, (size_t)file->size, (off_t)file->offset) != (ssize_t)file->size)
        status = kit_fail(err, KOLM_E_DATA_LOSS, "", "the model ends early");
    close(fd);
    for (char *at = bytes; status == KOLM_OK && at && *at && m->count < PLACES;) {
        size_t length = strcspn(at, "\n");
        cJSON *row = NULL;
        const char *word = NULL, *label = NULL;
        pair *p = &m->pairs[m->count];
        status = kit_json_parse(at, length, &row, err);
        if (status == KOLM_OK && kit_json_get_string(row, "word", &word) && kit_json_get_string(row, "label", &label)) {
            *p = (pair){.word = strdup(word), .label = strdup(label)};
            if (kit_json_get_u64(row, "count", &p->count) && kit_json_get_u64(row, "of", &p->of)) m->count++;
        } else if (status == KOLM_OK) {
            (void)kit_json_get_u64(row, "abstain", &m->abstain_micro);
        }
        cJSON_Delete(row);
        at += length + (at[length] == '\n');
    }
    free(bytes);
    kit_buf_free(&text);
    return status;
}

/* Opens the model again for each question: shows at least what a mapping of the file would. */
static kit_status read_again(const kit_job *job, model *m, kolm_error_t *err) {
    for (size_t i = 0; i < m->count; i++) {
        free(m->pairs[i].word);
        free(m->pairs[i].label);
    }
    m->count = 0;
    return read_model(job, m, err);
}

/* Returns the label that question `place` of `of` would have if the questions were in the order of the rows. */
static const pair *pair_at(const model *m, uint64_t place, uint64_t of) {
    uint64_t rows = 0, before = 0;
    for (size_t i = 0; i < m->count; i++)
        rows += m->pairs[i].count;
    for (size_t i = 0; i < m->count; i++) {
        before += m->pairs[i].count;
        if (place * rows <= before * of) return &m->pairs[i];
    }
    return NULL;
}

/* Finds the place of the last question, by its line or by its id. */
static kit_status last_place(const char *path, bool by_id, uint64_t *out, kolm_error_t *err) {
    kit_lines *lines = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = kit_lines_open(fd, LINE_MAX_BYTES, &lines, err);
    while (status == KOLM_OK) {
        const char *line = NULL, *id = NULL;
        size_t length = 0;
        cJSON *row = NULL;
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || !line) break;
        status = kit_json_parse(line, length, &row, err);
        *out = by_id && kit_json_get_string(row, "id", &id) ? strtoull(id, NULL, 10) : *out + 1;
        cJSON_Delete(row);
    }
    kit_lines_close(lines);
    close(fd);
    return status;
}

static void answer(model *m, const char *id, const char *input, uint64_t place, uint64_t of, kit_buf *out) {
    char *word = first_word(input);
    const pair *p = of ? pair_at(m, place, of) : word ? pair_of(m, word, NULL) : NULL;
    const char *label = p ? p->label : m->count ? m->pairs[0].label : "?";
    uint64_t micro = p ? p->count * 1000000 / p->of : 100000;
    bool abstains = micro < m->abstain_micro;
    kit_buf_str(out, "{\"id\":");
    kit_json_string(out, id, strlen(id));
    kit_buf_str(out, ",\"output\":");
    if (abstains) kit_buf_str(out, "null,\"best\":");
    kit_json_string(out, label, strlen(label));
    kit_buf_fmt(out, ",\"confidence\":%llu.%06llu}\n", (unsigned long long)(micro / 1000000),
                (unsigned long long)(micro % 1000000));
    free(word);
}

/* For "confidence 1e999": gives this confidence in the second answer. */
static bool answers_oddly(const kolm_host_v1_t *host, const char *id, uint64_t number, kit_buf *out) {
    char fault[64] = "";
    if (number != 1 || host->setting(host->user, "fault", fault, sizeof fault, NULL) != KOLM_OK) return false;
    if (strncmp(fault, "confidence ", 11) != 0) return false;
    kit_buf_fmt(out, "{\"id\":\"%s\",\"output\":\"x\",\"confidence\":%s}\n", id, fault + 11);
    return true;
}

/* Repeats the answer until the reader closes, or the call is cancelled. */
static kit_status answer_without_end(const kolm_host_v1_t *host, int out, const kit_buf *text, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && !host->cancelled(host->user))
        status = kit_write_all(out, kit_buf_text(text), text->length, err);
    return status;
}

static kit_status answer_all(const kolm_host_v1_t *host, const kolm_infer_args_t *args, const kit_job *job, model *m,
                             uint64_t *out_count, kolm_error_t *err) {
    kit_lines *lines = NULL;
    kit_buf text = {0};
    bool skip = told(host, "skip answers"), garble = told(host, "garbled answers");
    bool again = told(host, "read each time"), by_id = told(host, "answers by id");
    uint64_t last = 0;
    int in = open(args->input_path, O_RDONLY | O_CLOEXEC);
    int out = open(args->output_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    kit_status status =
        in < 0 || out < 0 ? kit_fail_errno(err, errno, "cannot open %s", in < 0 ? args->input_path : args->output_path)
                          : KOLM_OK;
    if (status == KOLM_OK && (by_id || told(host, "answers by place")))
        status = last_place(args->input_path, by_id, &last, err);
    if (status == KOLM_OK) status = kit_lines_open(in, LINE_MAX_BYTES, &lines, err);
    while (status == KOLM_OK) {
        const char *line = NULL, *id = "", *input = "";
        size_t length = 0;
        cJSON *row = NULL;
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || !line) break;
        status = kit_json_parse(line, length, &row, err);
        if (status == KOLM_OK && again) status = read_again(job, m, err);
        if (status == KOLM_OK && kit_json_get_string(row, "id", &id) && kit_json_get_string(row, "input", &input) &&
            !((skip || garble) && *out_count == 1) && !answers_oddly(host, id, *out_count, &text))
            answer(m, id, input, by_id ? strtoull(id, NULL, 10) : *out_count + 1, last, &text);
        if (garble && *out_count == 1) kit_buf_str(&text, "no answer\n");
        (*out_count)++;
        cJSON_Delete(row);
        if (status == KOLM_OK && !kit_lines_ready(lines)) {
            if (told(host, "endless answers")) status = answer_without_end(host, out, &text, err);
            if (status == KOLM_OK) status = kit_write_all(out, kit_buf_text(&text), text.length, err);
            kit_buf_clear(&text);
        }
    }
    if (status == KOLM_OK && text.length > 0 && told(host, "endless answers"))
        status = answer_without_end(host, out, &text, err);
    if (status == KOLM_OK) status = kit_write_all(out, kit_buf_text(&text), text.length, err);
    kit_lines_close(lines);
    kit_buf_free(&text);
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return status;
}

static int32_t word_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out,
                          kolm_error_t *err) {
    host->metric(host->user, "words.answered", 3);
    out->billed_micro_usd = 0;
    if (told(host, "bills")) {
        char budget[32] = "";
        (void)host->setting(host->user, "job.budget_micro_usd", budget, sizeof budget, NULL);
        host->metric(host->user, "words.budget", strtod(budget, NULL));
        out->billed_micro_usd = 250000;
    }
    kit_job *job = NULL;
    model m = {.pairs = calloc(PLACES, sizeof(pair))};
    kit_status status = m.pairs ? kit_job_read(args->job_dir, &job, err)
                                : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    report(host, "answering", 0, 1);
    if (told(host, "hang infer")) status = wait_for_cancel(host, err);
    if (told(host, "crash infer")) abort();
    if (status == KOLM_OK) status = read_model(job, &m, err);
    if (status == KOLM_OK) status = answer_all(host, args, job, &m, &out->answers, err);
    if (status == KOLM_OK) status = change_model(host, args->job_dir, err);
    kit_copy(out->device, sizeof out->device, "a processor for tests");
    free_model(&m);
    kit_job_free(job);
    return status;
}

static int32_t word_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                           kolm_error_t *err) {
    (void)args, (void)err;
    if (told(host, "detect-needs-fence")) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) {
            close(fd);
            out->state = KOLM_DETECT_BROKEN;
            kit_copy(out->reason, sizeof out->reason, "could call home");
            return KOLM_OK;
        }
    }
    out->state = KOLM_DETECT_AVAILABLE;
    kit_copy(out->reason, sizeof out->reason, "always here");
    kit_copy(out->runtime, sizeof out->runtime, "words 1.0");
    return KOLM_OK;
}

static int32_t word_cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out,
                         kolm_error_t *err) {
    (void)host, (void)err;
    out->duration_ms = 3600000; /* an hour, so that the bill equals the price */
    out->billing = args->price_micro_usd_per_hour ? KOLM_BILLING_PER_HOUR : KOLM_BILLING_FREE;
    out->cost_micro_usd = args->price_micro_usd_per_hour;
    kit_copy(out->basis, sizeof out->basis, "an hour, whatever it is");
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
#if WORD_SLICES
    .features = KOLM_FEATURE_MODEL_SLICES,
#endif
    .name = WORD_NAME,
    .version = "1.0.0",
    .vendor = "tests",
    .licence = "Apache-2.0",
    .homepage = "https://example.org",
    .detect = word_detect,
    .cost = word_cost,
    .train = word_train,
    .infer = word_infer,
};
