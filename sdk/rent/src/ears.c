/* SPDX-License-Identifier: Apache-2.0 */
/* The host services for a part of a rental: with a stop flag of their own, or ignoring the user's. */
#include "ears.h"

static const kolm_host_v1_t *real(void *user) {
    return ((const kit_rent_ears *)user)->real;
}

static void host_log(void *user, uint32_t level, const char *text) {
    real(user)->log(real(user)->user, level, text);
}

static void host_progress(void *user, const kolm_progress_t *progress) {
    real(user)->progress(real(user)->user, progress);
}

static void host_metric(void *user, const char *name, double value) {
    real(user)->metric(real(user)->user, name, value);
}

static void host_device(void *user, const kolm_device_t *device) {
    real(user)->device(real(user)->user, device);
}

static void host_step(void *user, const kolm_test_step_t *step) {
    real(user)->test_step(real(user)->user, step);
}

static int32_t host_cancelled(void *user) {
    const kit_rent_ears *h = user;
    if (atomic_load(&h->stop)) return 1;
    return !atomic_load(&h->deaf) && h->real->cancelled(h->real->user) != 0 ? 1 : 0;
}

static int64_t host_time_left(void *user) {
    return real(user)->time_left_ms(real(user)->user);
}

static int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    return real(user)->secret(real(user)->user, name, buffer, capacity, out_length);
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    return real(user)->setting(real(user)->user, key, buffer, capacity, out_length);
}

void rent_ears_begin(kit_rent_ears *h, const kolm_host_v1_t *host, const char *scratch_dir) {
    h->real = host;
    atomic_init(&h->stop, false);
    atomic_init(&h->deaf, false);
    /* of minor version 0: its users call none of the later functions */
    h->table = (kolm_host_v1_t){.struct_size = KOLM_HOST_SIZE_1_0,
                                .abi_major = host->abi_major,
                                .abi_minor = host->abi_minor,
                                .features = host->features,
                                .user = h,
                                .log = host_log,
                                .progress = host_progress,
                                .metric = host_metric,
                                .device = host_device,
                                .test_step = host_step,
                                .cancelled = host_cancelled,
                                .time_left_ms = host_time_left,
                                .secret = host_secret,
                                .setting = host_setting,
                                .scratch_dir = scratch_dir};
}
