/* SPDX-License-Identifier: Apache-2.0 */
/* Detects this machine's processor, and estimates how long a job will take on it. */
#include "backend.h"
#include "kolm/kit/backend.h"
#include "kolm/kit/buf.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The value after "key : " in /proc text, without surrounding blanks. */
static bool value_of(const char *line, const char *key, char *out, size_t capacity) {
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0) return false;
    const char *p = line + length;
    while (*p == ' ' || *p == '\t')
        p++;
    if (*p++ != ':') return false;
    while (*p == ' ' || *p == '\t')
        p++;
    char text[256];
    (void)kit_copy(text, sizeof text, p);
    size_t end = strcspn(text, "\r\n");
    while (end > 0 && text[end - 1] == ' ')
        end--;
    text[end] = '\0';
    (void)kit_copy(out, capacity, text);
    return text[0] != '\0';
}

static void look_at_model(local_cpu_facts *out) {
    static const char *const keys[] = {"model name", "Model", "cpu model", "cpu", "Processor"};
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "re");
    for (size_t k = 0; f != NULL && out->model[0] == '\0' && k < sizeof keys / sizeof keys[0]; k++) {
        rewind(f);
        while (out->model[0] == '\0' && fgets(line, sizeof line, f) != NULL)
            (void)value_of(line, keys[k], out->model, sizeof out->model);
    }
    if (f != NULL) fclose(f);
    struct utsname name;
    if (out->model[0] == '\0')
        (void)kit_format(out->model, sizeof out->model, "%s processor", uname(&name) == 0 ? name.machine : "unknown");
}

static void look_at_memory(local_cpu_facts *out) {
    char line[256], text[64];
    unsigned long long kib;
    FILE *f = fopen("/proc/meminfo", "re");
    out->total_bytes = out->free_bytes = KOLM_MEMORY_UNKNOWN;
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (value_of(line, "MemTotal", text, sizeof text) && sscanf(text, "%llu", &kib) == 1)
            out->total_bytes = kib * 1024;
        if (value_of(line, "MemAvailable", text, sizeof text) && sscanf(text, "%llu", &kib) == 1)
            out->free_bytes = kib * 1024;
    }
    if (f != NULL) fclose(f);
}

void local_cpu_look(local_cpu_facts *out) {
    memset(out, 0, sizeof *out);
    look_at_model(out);
    look_at_memory(out);
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) out->cores = (uint32_t)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (out->cores == 0) out->cores = online > 0 ? (uint32_t)online : 1;
}

void local_cpu_device_line(char *out, uint32_t capacity) {
    local_cpu_facts facts;
    local_cpu_look(&facts);
    if (facts.total_bytes == KOLM_MEMORY_UNKNOWN)
        (void)kit_format(out, capacity, "%s (%u core%s)", facts.model, (unsigned)facts.cores,
                         facts.cores == 1 ? "" : "s");
    else
        (void)kit_format(out, capacity, "%s (%u core%s, %llu GB)", facts.model, (unsigned)facts.cores,
                         facts.cores == 1 ? "" : "s",
                         (unsigned long long)((facts.total_bytes + 500000000ull) / 1000000000ull));
}

/* "embedded linear 1; torch 2.13.0, transformers 5.23.0, peft 0.21.2", or what is missing for the second part. */
static void runtime_line(const kolm_host_v1_t *host, char out[KIT_TRAINER_RUNTIME]) {
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING];
    bool whole = kit_trainer_runtime(host, &local_cpu_trainer, runtime, missing, remedy);
    (void)kit_format(out, KIT_TRAINER_RUNTIME, LOCAL_CPU_RUNTIME "; %s",
                     whole                ? runtime
                     : runtime[0] != '\0' ? "lora: a package is missing, run `kolm compute setup local-cpu`"
                                          : "lora: needs `kolm compute setup local-cpu`");
}

int32_t local_cpu_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                         kolm_error_t *err) {
    (void)args;
    (void)err;
    local_cpu_facts facts;
    char runtime[KIT_TRAINER_RUNTIME];
    local_cpu_look(&facts);
    runtime_line(host, runtime);
    const kolm_device_t device = {
        .struct_size = (uint32_t)sizeof device,
        .memory_kind = KOLM_MEMORY_NONE,
        .total_memory_bytes = facts.total_bytes,
        .free_memory_bytes = facts.free_bytes,
        .units = facts.cores,
        .name = facts.model,
        .id = "",
        .driver = "",
        .runtime = runtime,
    };
    host->device(host->user, &device);
    out->state = KOLM_DETECT_AVAILABLE;
    local_cpu_device_line(out->reason, sizeof out->reason);
    (void)kit_copy(out->runtime, sizeof out->runtime, runtime);
    return KOLM_OK;
}

/* Two floating-point operations per parameter and token for the forward pass, two for the backward pass through the
 * base, and a few for LoRA; a core does about 20 billion per second in fp32. */
static int32_t lora_cost(const kolm_cost_args_t *args, kolm_cost_result_t *out) {
    double parameters = args->base_parameters != 0 ? (double)args->base_parameters : 3e9;
    double threads = args->threads > 0 ? args->threads : 1, epochs = args->epochs != 0 ? args->epochs : 3;
    double tokens = epochs * ((double)args->input_bytes / 4 + 16.0 * (double)args->rows);
    double ms = 5000.0 + tokens * 4.0 * parameters / (threads * 20e6);
    out->duration_ms = ms < 1e15 ? (uint64_t)ms : (uint64_t)1e15;
    out->confidence = KOLM_CONFIDENCE_NONE;
    (void)kit_format(out->basis, sizeof out->basis,
                     "about %.0f tokens through %.2f billion parameters on %u threads at 20 GFLOP/s each", tokens,
                     parameters / 1e9, (unsigned)args->threads);
    return KOLM_OK;
}

/* Every token passes once through the layers, about half of the parameters of a small encoder, with two operations
 * per parameter; a core does about 60 billion per second in vectors of 8. base_parameters counts two bytes per
 * parameter. */
static double embedding_ms(const kolm_cost_args_t *args) {
    const double parameters = args->base_parameters != 0 ? (double)args->base_parameters / 2 : 11e6;
    const double threads = args->threads > 0 ? args->threads : 1;
    return ((double)args->input_bytes / 4 + 2.0 * (double)args->rows) * parameters / (threads * 60e6);
}

/* Measured on two cores of a 2023 server: about 2.5 features per byte of text, 12 ns of CPU time per feature and label
 * for all fits of cross-validation and the final model, and 0.3 us per byte for reading. */
int32_t local_cpu_cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out,
                       kolm_error_t *err) {
    (void)host;
    out->billing = KOLM_BILLING_FREE;
    out->cost_micro_usd = 0;
    if (args->recipe != NULL && strcmp(args->recipe, "lora") == 0) return lora_cost(args, out);
    const bool encoder = args->recipe != NULL && strcmp(args->recipe, "encoder") == 0;
    if (args->recipe == NULL || (!encoder && strcmp(args->recipe, "linear") != 0)) {
        out->duration_ms = UINT64_MAX;
        out->confidence = KOLM_CONFIDENCE_NONE;
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use --recipe linear, encoder or lora",
                        "local-cpu supports the recipes linear, encoder and lora");
    }
    double bytes = (double)args->input_bytes, labels = (double)(args->labels > 0 ? args->labels : 10);
    double lanes = labels < 4 ? 4 : labels, threads = args->threads > 0 ? args->threads : 1;
    double cv_share = args->rows > 40000 ? 40000.0 / (double)args->rows : 1.0;
    double ms = 20.0 + bytes * 0.0003 + bytes * 2.5 * lanes * 12e-6 * (cv_share + 0.2) * 2.5 / threads;
    if (encoder) ms += embedding_ms(args);
    out->duration_ms = ms < 1e15 ? (uint64_t)ms : (uint64_t)1e15;
    out->confidence = encoder ? KOLM_CONFIDENCE_NONE : KOLM_CONFIDENCE_MODEL;
    (void)kit_format(out->basis, sizeof out->basis,
                     "%llu rows, %llu bytes of text, %llu labels on %u threads; calibrated on a 2-core server",
                     (unsigned long long)args->rows, (unsigned long long)args->input_bytes,
                     (unsigned long long)args->labels, (unsigned)args->threads);
    return KOLM_OK;
}
