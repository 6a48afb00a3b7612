/* SPDX-License-Identifier: Apache-2.0 */
/* The Slurm backend: detection, cost, jobs and the exported table. */
#include "slurm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- detect */

/* ClusterName of slurm.conf; "" if it cannot be read (a cluster without configuration files here). */
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
        kit_format(text, sizeof text, "backends.slurm.bin in config.json names %.100s, which contains no sbatch",
                   s.bin);
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
    /* The time in the queue is unknown: only the work is estimated, from the speed of one processor with the linear
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

/* output_path NULL: a train job. */
static kit_status do_job(const kolm_host_v1_t *host, const char *job_dir, const char *input_path,
                         const char *output_path, uint32_t threads, slurm_home *home, kolm_error_t *err) {
    slurm_settings s;
    slurm_place place = SLURM_NO_PLACE;
    kit_job *job = NULL;
    *home = (slurm_home){.output_path = output_path};
    KIT_TRY(slurm_settings_read(host, &s, err));
    kit_status status = kit_job_read(job_dir, &job, err);
    if (status == KOLM_OK) status = slurm_place_make(host, &s, job_dir, input_path, &place, err);
    if (status == KOLM_OK) status = slurm_do(host, &s, &place, job->task, threads, home, err);
    if (status == KOLM_OK) slurm_place_done(&place, s.keep);
    slurm_place_free(&place);
    kit_job_free(job);
    slurm_settings_free(&s);
    return status;
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    slurm_home home;
    KIT_TRY(do_job(host, args->job_dir, NULL, NULL, args->threads, &home, out_error));
    out_result->billed_micro_usd = 0;
    (void)kit_copy(out_result->device, sizeof out_result->device, home.device);
    (void)kit_copy(out_result->toolchain, sizeof out_result->toolchain, home.toolchain);
    return KOLM_OK;
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    slurm_home home;
    KIT_TRY(do_job(host, args->job_dir, args->input_path, args->output_path, args->threads, &home, out_error));
    out_result->answers = home.answers;
    out_result->billed_micro_usd = 0;
    (void)kit_copy(out_result->device, sizeof out_result->device, home.device);
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "slurm", .version = "1.0.0", .vendor = "the kolm authors",
    .licence = "Apache-2.0",  .homepage = "",  .detect = detect,   .cost = cost,
    .train = train,           .infer = infer,  .test = slurm_test, .status = slurm_status,
};
