/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins of the zoo in a temporary directory, and the collected events of their calls. */
#ifndef KOLM_TESTS_HOST_FIXTURE_H
#define KOLM_TESTS_HOST_FIXTURE_H

#include "../suite.h"
#include "host/host.h"
#include "host/internal.h"
#include "host/run.h"

#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char here[PATH_MAX];    /* the directory of this program and of the plugins */
static char program[PATH_MAX]; /* kolm-host */
static char home[PATH_MAX];    /* the temporary directory of one test */
static char zoo_dir[PATH_MAX];

/* The limit of calls in tests with a plugin that hangs; a call that works is never this slow. */
#define PATIENCE_MS 60000
#define SHORT_MS 400

static inline void setup(void) {
    kit_copy(home, sizeof home, "/tmp/kolm-host-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    kit_format(zoo_dir, sizeof zoo_dir, "%s/zoo", home);
    ck_assert_int_eq(mkdir(zoo_dir, 0755), 0);
}

static inline void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_remove_tree(home, &err) == KOLM_OK, "%s", err.text);
}

static inline void must(kit_status status, const kolm_error_t *err) {
    ck_assert_msg(status == KOLM_OK, "%s", err->text);
}

static inline void write_text(const char *path, const char *text) {
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_write_file(path, 0644, text, strlen(text), &err), &err);
}

static inline void copy(const char *from, const char *to) {
    kit_buf bytes = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    must(kit_read_file(from, 64u << 20, &bytes, &err), &err);
    must(kit_write_file(to, 0755, bytes.data, bytes.length, &err), &err);
    kit_buf_free(&bytes);
}

static inline const char *manifest_of(const char *name, const char *more) {
    static char text[4096];
    kit_format(text, sizeof text,
               "{\"name\":\"%s\",\"kind\":\"local\",\"tier\":2,\"train\":true,\"infer\":true,\"airgap\":\"yes\","
               "\"billing\":\"per-hour\","
               "\"cost_per_hour_usd\":1.25,\"cold_start_seconds\":7,\"vram_cap_gb\":null,\"runtime\":\"zoo\","
               "\"summary\":\"An animal.\"%s}",
               name, more);
    return text;
}
#define PLAIN ",\"auth\":[],\"requires\":[]"

static inline void add_manifest(const char *dir, const char *name, const char *more) {
    char path[PATH_MAX];
    kit_format(path, sizeof path, "%s/%s.json", dir, name);
    write_text(path, manifest_of(name, more));
}

static inline void add_as(const char *dir, const char *name, const char *animal, const char *more) {
    char from[PATH_MAX], to[PATH_MAX];
    kit_format(from, sizeof from, "%s/%s.so", here, animal);
    kit_format(to, sizeof to, "%s/%s.so", dir, name);
    copy(from, to);
    add_manifest(dir, name, more);
}

static inline void add(const char *name) {
    add_as(zoo_dir, name, name, PLAIN);
}

static inline host_registry *scan_dirs(const char *const *dirs, size_t count, const cJSON *config) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    host_scan_options options = {.dirs = dirs, .dir_count = count, .program = program, .config = {.json = config}};
    must(host_scan(&options, &registry, &err), &err);
    return registry;
}

static inline host_registry *scan(void) {
    const char *dirs[] = {zoo_dir};
    return scan_dirs(dirs, 1, NULL);
}

static inline const host_backend *find(const host_registry *registry, const char *name) {
    const host_backend *row = host_find(registry, name);
    ck_assert_msg(row != NULL, "no row %s", name);
    return row;
}

/* ---- Collected events */
static struct {
    kit_buf logs;     /* one line each, "LEVEL text" */
    kit_buf holdings; /* one line each */
    unsigned log_count, progress_count, metric_count, step_count, holding_count;
    kolm_progress_t progress;
    char phase[64], metric[80], steps[400], teller[40];
    double value;
    volatile sig_atomic_t cancel_on_log;
    pid_t left_behind;
} seen;
static volatile sig_atomic_t cancel;

static inline void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    kit_copy(seen.teller, sizeof seen.teller, backend);
    uint64_t pid;
    seen.log_count++;
    kit_buf_fmt(&seen.logs, "%u %s\n", level, text);
    if (kit_parse_u64(text, &pid)) seen.left_behind = (pid_t)pid;
    if (seen.cancel_on_log) cancel = 1;
}

static inline void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    seen.progress_count++;
    seen.progress = *progress;
    kit_copy(seen.phase, sizeof seen.phase, progress->phase);
}

static inline void on_metric(void *user, const char *name, double value) {
    (void)user;
    seen.metric_count++;
    kit_copy(seen.metric, sizeof seen.metric, name);
    seen.value = value;
}

static inline void on_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    char line[200];
    seen.step_count++;
    kit_format(line, sizeof line, "[%u/%u %s %u %llu %s]", step->number, step->total, step->title, step->outcome,
               (unsigned long long)step->duration_us, step->note);
    kit_format(seen.steps + strlen(seen.steps), sizeof seen.steps - strlen(seen.steps), "%s", line);
}

static inline void on_holding(void *user, const kolm_holding_t *h) {
    (void)user;
    seen.holding_count++;
    kit_buf_fmt(&seen.holdings, "%s %s %s %u %llu %llu %llu %s\n", h->place, h->kind, h->name, h->state,
                (unsigned long long)h->bytes, (unsigned long long)h->age_seconds,
                (unsigned long long)h->price_micro_usd_per_hour, h->note);
}

static const host_events events = {
    .log = on_log, .progress = on_progress, .metric = on_metric, .test_step = on_step, .holding = on_holding};

static inline void forget(void) {
    kit_buf_free(&seen.holdings);
    kit_buf_free(&seen.logs);
    memset(&seen, 0, sizeof seen);
    cancel = 0;
}

static inline host_result detect_with(const char *name, host_call_options options) {
    static host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = scan();
    options.events = &events;
    forget();
    must(host_detect(registry, find(registry, name), &options, &result, &err), &err);
    host_registry_free(registry);
    return result;
}

static inline host_result detect(const char *name) {
    return detect_with(name, (host_call_options){.timeout_ms = PATIENCE_MS});
}

static inline void find_here(void) {
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0) abort();
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    kit_format(program, sizeof program, "%s/../../core/host/kolm-host", here);
}

#endif
