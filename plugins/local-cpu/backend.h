/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of the local-cpu backend. */
#ifndef LOCAL_CPU_BACKEND_H
#define LOCAL_CPU_BACKEND_H

#include "kolm/kit/trainer.h"

#define LOCAL_CPU_RUNTIME "embedded linear 1"
/* Determines, with the data, the bytes of a model: increment it whenever the same job produces different bytes. */
#define LOCAL_CPU_TOOLCHAIN "kolm-linear 2"
#define LOCAL_CPU_ENCODER_TOOLCHAIN "kolm-encoder 3"

/* For the recipe lora: the Python trainer, if the user has set it up. */
extern const kit_trainer local_cpu_trainer;

typedef struct local_cpu_facts {
    char model[128]; /* "AMD EPYC 7763 64-Core Processor" */
    uint32_t cores;
    uint64_t total_bytes, free_bytes; /* KOLM_MEMORY_UNKNOWN if not readable */
} local_cpu_facts;
void local_cpu_look(local_cpu_facts *out);
/* "AMD EPYC 7763 64-Core Processor (8 cores, 31 GB)" */
void local_cpu_device_line(char *out, uint32_t capacity);

int32_t local_cpu_detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                         kolm_error_t *err);
int32_t local_cpu_cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out,
                       kolm_error_t *err);
int32_t local_cpu_train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                        kolm_error_t *err);
int32_t local_cpu_infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out,
                        kolm_error_t *err);
int32_t local_cpu_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out,
                       kolm_error_t *err);

#endif
