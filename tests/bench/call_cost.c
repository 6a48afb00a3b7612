/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of isolation: the same detect of the same plugin, called in this process and in a separate one. */
#include "host/host.h"
#include "kolm/kit/file.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* ---- A host for calls in this process: ignores all reports, provides nothing */
static void ignore_log(void *user, uint32_t level, const char *text) {
    (void)user, (void)level, (void)text;
}
static void ignore_device(void *user, const kolm_device_t *device) {
    (void)user, (void)device;
}
static int64_t no_deadline(void *user) {
    (void)user;
    return INT64_MAX;
}
static int32_t not_set(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user, (void)name, (void)buffer, (void)capacity, (void)out_length;
    return KOLM_E_NOT_FOUND;
}

static double in_process(const kolm_backend_v1_t *table) {
    const kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                                 .abi_major = KOLM_ABI_MAJOR,
                                 .abi_minor = KOLM_ABI_MINOR,
                                 .log = ignore_log,
                                 .device = ignore_device,
                                 .time_left_ms = no_deadline,
                                 .secret = not_set,
                                 .setting = not_set,
                                 .scratch_dir = "/tmp"};
    const kolm_detect_args_t args = {.struct_size = (uint32_t)sizeof args};
    kolm_detect_result_t result = {.struct_size = (uint32_t)sizeof result};
    kolm_error_t err = KIT_ERROR_INIT;
    double start = now_us();
    (void)table->detect(&host, &args, &result, &err);
    return now_us() - start;
}

static double isolated(const host_registry *registry, const host_backend *row) {
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    double start = now_us();
    if (host_detect(registry, row, NULL, &result, &err) != KOLM_OK || result.verdict != HOST_OK) {
        fprintf(stderr, "call-cost: %s%s\n", err.text, result.error.text);
        exit(1);
    }
    return now_us() - start;
}

int main(int argc, char **argv) {
    enum { ROUNDS = 200 };
    static double apart[ROUNDS], inside[ROUNDS];
    host_registry *registry = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    if (argc != 4) {
        fprintf(stderr, "usage: call-cost KOLM_HOST DIRECTORY NAME\n");
        return 2;
    }
    const char *dirs[] = {argv[2]};
    const host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = argv[1]};
    const host_backend *row = host_scan(&options, &registry, &err) == KOLM_OK ? host_find(registry, argv[3]) : NULL;
    void *library = row && row->plugin_path ? dlopen(row->plugin_path, RTLD_NOW | RTLD_LOCAL) : NULL;
    const kolm_backend_v1_t *table = library ? dlsym(library, KOLM_BACKEND_SYMBOL) : NULL;
    if (!table) {
        fprintf(stderr, "call-cost: %s cannot be loaded from %s\n", argv[3], argv[2]);
        return 1;
    }
    for (int i = 0; i < ROUNDS; i++) { /* in turns, so that both run under the same conditions */
        apart[i] = isolated(registry, row);
        inside[i] = in_process(table);
    }
    qsort(apart, ROUNDS, sizeof *apart, by_value);
    qsort(inside, ROUNDS, sizeof *inside, by_value);
    printf("%.1f %.1f\n", apart[ROUNDS / 2], inside[ROUNDS / 2]);
    host_registry_free(registry);
    return 0;
}
