/* SPDX-License-Identifier: Apache-2.0 */
/* Uses a bit of everything in the kit, in a given directory; exits with 5 and a sentence if something fails. */
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/process.h"
#include "kolm/kit/trainer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char job_text[] =
    "{\"format\":1,\"kind\":\"infer\",\"task\":\"t\",\"recipe\":\"linear\",\"seed\":1,\"effort\":\"quick\",\"rows\":0,"
    "\"labels\":0,"
    "\"options\":{\"b\":[1,2],\"a\":\"x\"},\"model_files\":[{\"name\":\"m\",\"path\":\"m\",\"offset\":0,\"size\":1}]}";

static kit_status many_keys(kit_buf *out, kolm_error_t *err) {
    kit_buf text = {0};
    cJSON *value = NULL;
    kit_buf_char(&text, '{');
    for (int i = 0; i < 40; i++)
        kit_buf_fmt(&text, "%s\"k%d\":\"\\u00e9%d\"", i > 0 ? "," : "", (i * 7) % 40, i);
    kit_buf_char(&text, '}');
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_json_parse(text.data, text.length, &value, err);
    if (status == KOLM_OK) status = kit_json_canonical(value, out, err);
    if (status == KOLM_OK) kit_buf_char(out, '\n');
    if (status == KOLM_OK) status = kit_json_pretty(value, out, err);
    cJSON_Delete(value);
    kit_buf_free(&text);
    return status;
}

static kit_status built(kit_buf *out, kolm_error_t *err) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && kit_json_put_string(object, "s", "text") && kit_json_put_u64(object, "u", 7) &&
                kit_json_put_bool(object, "b", true) && kit_json_put_null(object, "n") &&
                kit_json_put_number(object, "d", 0.5) && kit_json_put(object, "m", kit_json_micro(1250000));
    kit_status status = good ? kit_json_line(object, out, err)
                             : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory in the errand");
    cJSON_Delete(object);
    return status;
}

static kit_status read_lines(const char *path, kit_buf *out, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail(err, KOLM_E_NOT_FOUND, "", "no %s", path);
    kit_lines *lines = NULL;
    const char *line = "";
    size_t length = 0;
    kit_status status = kit_lines_open(fd, 1 << 20, &lines, err);
    while (status == KOLM_OK) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        kit_buf_fmt(out, "%zu ", length);
    }
    kit_lines_close(lines);
    close(fd);
    return status;
}

static kit_status spawn(kolm_error_t *err) {
    char name[] = "child";
    char *argv[] = {name, NULL}, *envp[] = {NULL};
    int ends[2] = {-1, -1}, wait_status = 0;
    KIT_TRY(kit_pipe(&ends[0], &ends[1], err));
    kit_spawn_fd fds[] = {{ends[1], 1}, {ends[0], 7}};
    kit_spawn_options options = {.path = CHILD, .argv = argv, .envp = envp, .fds = fds, .fd_count = 2};
    pid_t pid = 0;
    kit_status status = kit_spawn(&options, &pid, err);
    if (status == KOLM_OK && waitpid(pid, &wait_status, 0) != pid)
        status = kit_fail(err, KOLM_E_INTERNAL, "", "no child");
    close(ends[0]);
    close(ends[1]);
    return status;
}

/* ---- The trainer */

static void host_log(void *user, uint32_t level, const char *text) {
    (void)user, (void)level, (void)text;
}

static void host_progress(void *user, const kolm_progress_t *progress) {
    (void)user, (void)progress;
}

static int32_t host_cancelled(void *user) {
    (void)user;
    return 0;
}

static int64_t host_time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)out_length;
    if (strcmp(key, "runtime.python") != 0 && strcmp(key, "runtime.trainer") != 0) return KOLM_E_NOT_FOUND;
    return kit_copy(buffer, capacity, CHILD) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static kit_status train(const char *tree, kolm_error_t *err) {
    static const char job[] = "{\"format\":1,\"kind\":\"train\",\"task\":\"t\",\"recipe\":\"lora\",\"seed\":1,"
                              "\"effort\":\"quick\",\"rows\":0,"
                              "\"labels\":0,\"options\":{}}";
    static const kit_trainer trainer = {.device = "cpu"};
    const kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                                 .log = host_log,
                                 .progress = host_progress,
                                 .cancelled = host_cancelled,
                                 .time_left_ms = host_time_left,
                                 .setting = host_setting,
                                 .scratch_dir = tree};
    const kolm_train_args_t args = {.struct_size = (uint32_t)sizeof args, .threads = 1, .job_dir = tree};
    kolm_train_result_t result = {.struct_size = (uint32_t)sizeof result};
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING], path[512];
    (void)kit_trainer_runtime(&host, &trainer, runtime, missing, remedy);
    kit_format(path, sizeof path, "%s/job.json", tree);
    KIT_TRY(kit_write_file(path, 0600, job, sizeof job - 1, err));
    return kit_trainer_train(&host, &trainer, &args, &result, err);
}

static kit_status files(const char *tree, kit_buf *out, kolm_error_t *err) {
    char path[512], long_line[512], hex[KIT_SHA256_HEX];
    uint64_t size = 0;
    kit_job *job = NULL;
    const kit_job_model_file *model = NULL;
    kit_buf rows = {0};
    KIT_TRY(kit_mkdirs(tree, 0700, err));
    kit_format(path, sizeof path, "%s/rows.jsonl", tree);
    memset(long_line, 'x', sizeof long_line - 1);
    long_line[sizeof long_line - 1] = '\0';
    for (int i = 0; i < 200; i++)
        kit_buf_fmt(&rows, "%s%s\n", long_line, i % 50 == 0 ? long_line : "");
    for (int i = 0; i < 200; i++)
        kit_buf_str(&rows, long_line); /* one line longer than the reader's first buffer */
    kit_status status = kit_buf_ok(&rows, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, rows.data, rows.length, err);
    kit_buf_free(&rows);
    if (status == KOLM_OK) status = read_lines(path, out, err);
    if (status == KOLM_OK) status = kit_sha256_file(path, hex, &size, err);
    if (status == KOLM_OK) kit_buf_str(out, hex);
    kit_format(path, sizeof path, "%s/job.json", tree);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, job_text, sizeof job_text - 1, err);
    if (status == KOLM_OK) status = kit_job_read(tree, &job, err);
    if (status == KOLM_OK) status = kit_job_model(job, "m", &model, err);
    kit_job_free(job);
    if (status == KOLM_OK) status = train(tree, err);
    if (status == KOLM_OK) status = kit_remove_tree(tree, err);
    return status;
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf out = {0};
    if (argc < 2) return 2;
    kit_status status = files(argv[1], &out, &err);
    if (status == KOLM_OK) status = many_keys(&out, &err);
    if (status == KOLM_OK) status = built(&out, &err);
    if (status == KOLM_OK) status = spawn(&err);
    if (status == KOLM_OK) status = kit_buf_ok(&out, &err);
    /* Without stdio, which would allocate a buffer. */
    if (status == KOLM_OK) status = kit_write_all(STDOUT_FILENO, out.data, out.length, &err);
    kit_buf_free(&out);
    if (status == KOLM_OK) return 0;
    char line[1100];
    kit_format(line, sizeof line, "%s (%s)\n", err.text, kit_status_name(err.code));
    if (kit_write_all(STDERR_FILENO, line, strlen(line), &err) != KOLM_OK) return 1;
    return 5;
}
