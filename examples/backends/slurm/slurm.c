/* SPDX-License-Identifier: Apache-2.0 */
/* The Slurm backend: its settings, its five slots, its table. */
#include "slurm.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_SECONDS 900

/* ---- Settings */

static kit_status too_long(const char *key, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "backends.slurm.%s in config.json is too long", key);
}

/* "kolm", or ["kolm","job","run"]. */
static kit_status read_trainer(const kolm_host_v1_t *host, slurm_settings *s, kolm_error_t *err) {
    static const char fallback[] = "[\"kolm\",\"job\",\"run\"]";
    char text[2048];
    cJSON *words = NULL, *word;
    if (!kit_setting(host, "trainer", fallback, text, sizeof text)) return too_long("trainer", err);
    if (text[0] != '[') {
        s->trainer_words = 1;
        return kit_strdup(text, &s->trainer[0], err);
    }
    KIT_TRY(kit_json_parse(text, strlen(text), &words, err));
    kit_status status = KOLM_OK;
    cJSON_ArrayForEach(word, words) {
        if (status != KOLM_OK) break;
        if (!cJSON_IsString(word) || s->trainer_words == SLURM_TRAINER_WORDS)
            status =
                kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it like [\"kolm\",\"job\",\"run\"]",
                         "backends.slurm.trainer in config.json is no list of at most %d words", SLURM_TRAINER_WORDS);
        else
            status = kit_strdup(word->valuestring, &s->trainer[s->trainer_words++], err);
    }
    if (status == KOLM_OK && s->trainer_words == 0)
        status =
            kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a program", "backends.slurm.trainer in config.json is empty");
    cJSON_Delete(words);
    return status;
}

void slurm_settings_free(slurm_settings *settings) {
    for (size_t i = 0; i < settings->trainer_words; i++)
        free(settings->trainer[i]);
    settings->trainer_words = 0;
}

kit_status slurm_settings_read(const kolm_host_v1_t *host, slurm_settings *out, kolm_error_t *err) {
    char patience[24], home_default[512];
    const char *home = secure_getenv("HOME");
    memset(out, 0, sizeof *out);
    out->patience_seconds = PATIENCE_SECONDS;
    kit_format(home_default, sizeof home_default, "%s/.cache/kolm-slurm", home && home[0] == '/' ? home : "/tmp");
    const struct {
        const char *key, *fallback;
        char *to;
        size_t capacity;
    } texts[] = {
        {"bin", "", out->bin, sizeof out->bin},
        {"shared_dir", home_default, out->shared_dir, sizeof out->shared_dir},
        {"partition", "", out->partition, sizeof out->partition},
        {"account", "", out->account, sizeof out->account},
        {"qos", "", out->qos, sizeof out->qos},
        {"constraint", "", out->constraint, sizeof out->constraint},
        {"time", "", out->time, sizeof out->time},
        {"memory", "", out->memory, sizeof out->memory},
        {"gpus", "", out->gpus, sizeof out->gpus},
        {"nodes", "1", out->nodes, sizeof out->nodes},
        {"keep", "false", out->keep, sizeof out->keep},
        {"patience", "", patience, sizeof patience},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!kit_setting(host, texts[i].key, texts[i].fallback, texts[i].to, texts[i].capacity))
            return too_long(texts[i].key, err);
    if (patience[0] && !kit_parse_u64(patience, &out->patience_seconds))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give it in seconds", "backends.slurm.patience '%s' is no number",
                        patience);
    if (out->shared_dir[0] != '/')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give an absolute path that every node sees",
                        "backends.slurm.shared_dir '%s' is not absolute", out->shared_dir);
    kit_status status = read_trainer(host, out, err);
    if (status != KOLM_OK) slurm_settings_free(out);
    return status;
}

/* ---- detect */

/* ClusterName of slurm.conf; "" when that is not to be read (a cluster without configuration files here). */
static void cluster_name(char *out, size_t capacity) {
    const char *conf = secure_getenv("SLURM_CONF");
    kit_buf text = {0};
    out[0] = '\0';
    if (kit_read_file(conf && *conf ? conf : "/etc/slurm/slurm.conf", 1u << 20, &text, NULL) == KOLM_OK) {
        const char *at = strstr(kit_buf_text(&text), "ClusterName");
        if (at) {
            at += strlen("ClusterName");
            at += strspn(at, " =");
            kit_format(out, capacity, "%.*s", (int)strcspn(at, " \t\r\n#"), at);
        }
    }
    kit_buf_free(&text);
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    slurm_settings s;
    char cluster[64], text[200];
    (void)args;
    KIT_TRY(slurm_settings_read(host, &s, out_error));
    cluster_name(cluster, sizeof cluster);
    const char *bin = slurm_bin(&s);
    if (!bin && s.bin[0]) {
        kit_format(text, sizeof text, "backends.slurm.bin in config.json names %.100s, which holds no sbatch", s.bin);
        (void)kit_detected(out_result, KOLM_DETECT_BROKEN, text, "name the directory of Slurm's commands", "");
    } else if (!bin) {
        (void)kit_detected(out_result, KOLM_DETECT_ABSENT, "Slurm's commands are not installed",
                           "run kolm on a login node of the cluster", "");
    } else if (!cluster[0] && access("/run/slurm/conf", F_OK) != 0 && !secure_getenv("SLURM_CONF")) {
        (void)kit_detected(out_result, KOLM_DETECT_ABSENT,
                           "Slurm's commands are installed, but no cluster is configured",
                           "set SLURM_CONF, or run kolm on a login node of the cluster", "");
    } else {
        const kolm_device_t device = {.struct_size = (uint32_t)sizeof device,
                                      .memory_kind = KOLM_MEMORY_NONE,
                                      .name = s.partition[0] ? s.partition : "default partition",
                                      .id = cluster,
                                      .driver = "Slurm",
                                      .runtime = s.trainer[0]};
        host->device(host->user, &device);
        kit_format(text, sizeof text, "cluster %s, %s%s", cluster[0] ? cluster : "(configured elsewhere)",
                   s.partition[0] ? "partition " : "default partition", s.partition);
        (void)kit_detected(out_result, KOLM_DETECT_AVAILABLE, text, "", s.trainer[0]);
    }
    slurm_settings_free(&s);
    return KOLM_OK;
}

/* ---- cost */

static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                    kolm_error_t *out_error) {
    (void)host;
    (void)out_error;
    /* Nobody knows how long the queue is: only the work is estimated, by the speed of one processor with the linear
     * recipe. */
    uint64_t work = args->rows / 2;
    out_result->billing = KOLM_BILLING_FREE;
    out_result->cost_micro_usd = 0;
    out_result->duration_ms = 1000ull * args->cold_start_seconds + work;
    out_result->confidence = KOLM_CONFIDENCE_NONE;
    (void)kit_copy(out_result->basis, sizeof out_result->basis,
                   "half a millisecond a row; the time in the queue is not known");
    return KOLM_OK;
}

/* ---- train and infer */

static kit_status do_job(const kolm_host_v1_t *host, const slurm_settings *s, const char *job_dir,
                         const char *input_path, uint32_t threads, slurm_place *place, slurm_outcome *outcome,
                         kolm_error_t *err) {
    kit_job *job = NULL;
    KIT_TRY(kit_job_read(job_dir, &job, err));
    kit_status status = slurm_place_make(host, s, job_dir, input_path, place, err);
    if (status == KOLM_OK) status = slurm_do(host, s, place, job->task, threads, outcome, err);
    kit_job_free(job);
    return status;
}

static void leave(const slurm_settings *s, slurm_place *place, kit_status status) {
    if (status == KOLM_OK && strcmp(s->keep, "true") != 0) slurm_place_remove(place);
    slurm_place_free(place);
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    slurm_settings s;
    slurm_place place = SLURM_NO_PLACE;
    slurm_outcome outcome = {{0}, {0}};
    KIT_TRY(slurm_settings_read(host, &s, out_error));
    kit_status status = do_job(host, &s, args->job_dir, NULL, args->threads, &place, &outcome, out_error);
    if (status == KOLM_OK) status = slurm_bring_model(&place, args->job_dir, out_error);
    leave(&s, &place, status);
    slurm_settings_free(&s);
    if (status != KOLM_OK) return status;
    out_result->billed_micro_usd = 0;
    (void)kit_copy(out_result->device, sizeof out_result->device, outcome.device);
    (void)kit_copy(out_result->toolchain, sizeof out_result->toolchain, outcome.toolchain);
    return KOLM_OK;
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    slurm_settings s;
    slurm_place place = SLURM_NO_PLACE;
    slurm_outcome outcome = {{0}, {0}};
    KIT_TRY(slurm_settings_read(host, &s, out_error));
    kit_status status = do_job(host, &s, args->job_dir, args->input_path, args->threads, &place, &outcome, out_error);
    if (status == KOLM_OK) status = slurm_bring_answers(&place, args->output_path, &out_result->answers, out_error);
    leave(&s, &place, status);
    slurm_settings_free(&s);
    if (status != KOLM_OK) return status;
    out_result->billed_micro_usd = 0;
    (void)kit_copy(out_result->device, sizeof out_result->device, outcome.device);
    return KOLM_OK;
}

/* ---- test */

typedef struct steps {
    const kolm_host_v1_t *host;
    uint32_t done;
    bool good;
} steps;

static void step(steps *t, const char *title, const slurm_settings *s, const char *program, const char *const *argv,
                 const char *expected) {
    slurm_output output = {.exit_code = 0};
    kolm_error_t err = KIT_ERROR_INIT;
    char note[200] = "";
    bool good = t->good && slurm_command(s, program, argv, &output, &err) == KOLM_OK && output.exit_code == 0 &&
                (!expected || strstr(kit_buf_text(&output.out), expected) != NULL);
    if (t->good && !good)
        kit_format(note, sizeof note, "%.190s", output.err.length > 0 ? kit_buf_text(&output.err) : err.text);
    const kolm_test_step_t report = {.struct_size = (uint32_t)sizeof report,
                                     .outcome = good      ? KOLM_STEP_OK
                                                : t->good ? KOLM_STEP_FAILED
                                                          : KOLM_STEP_SKIPPED,
                                     .number = ++t->done,
                                     .total = 4,
                                     .title = title,
                                     .note = note};
    t->host->test_step(t->host->user, &report);
    t->good = good;
    slurm_output_free(&output);
}

static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                    kolm_error_t *out_error) {
    slurm_settings s;
    char partition[80];
    steps t = {.host = host, .good = true};
    (void)args;
    KIT_TRY(slurm_settings_read(host, &s, out_error));
    kit_format(partition, sizeof partition, "--partition=%s", s.partition);
    const char *version[] = {"--version", NULL}, *ping[] = {"ping", NULL}, *nodes[] = {"--noheader", NULL};
    const char *hello[] = {"--ntasks=1", "--time=1", "--immediate=60", "/bin/echo", "ready", NULL};
    const char *there[] = {partition, "--ntasks=1", "--time=1", "--immediate=60", "/bin/echo", "ready", NULL};
    step(&t, "commands", &s, "sbatch", version, "slurm");
    step(&t, "controller answers", &s, "scontrol", ping, "UP");
    step(&t, "nodes", &s, "sinfo", nodes, NULL);
    step(&t, "a job runs", &s, "srun", s.partition[0] ? there : hello, "ready");
    out_result->passed = t.good ? 1 : 0;
    (void)kit_copy(out_result->summary, sizeof out_result->summary,
                   t.good ? "slurm is ready for kolm compile"
                          : "slurm is not ready: the first step that failed says why");
    slurm_settings_free(&s);
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT,
    .name = "slurm",
    .version = "1.0.0",
    .vendor = "the kolm authors",
    .licence = "Apache-2.0",
    .homepage = "https://kolm.example/backends/slurm",
    .detect = detect,
    .cost = cost,
    .train = train,
    .infer = infer,
    .test = test,
};
