/* SPDX-License-Identifier: Apache-2.0 */
/* A user's home, and a plugin that tries to access the paths given to it. */
#ifndef KOLM_TESTS_FENCE_FIXTURE_H
#define KOLM_TESTS_FENCE_FIXTURE_H

#include "../suite.h"
#include "host/host.h"
#include "kolm/kit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static char here[PATH_MAX], program[PATH_MAX];
static char root[PATH_MAX]; /* the temporary directory of one test: home/ is HOME, home/.kolm is KOLM_HOME */
static pid_t victim;        /* another process of the user */
static int listener = -1;   /* an abstract socket of the user */
static char listener_name[64];
static kit_buf logs;
static host_registry *registry;
static cJSON *config;

static inline void must(kit_status status, const kolm_error_t *err) {
    ck_assert_msg(status == KOLM_OK, "%s", err->text);
}

static inline const char *at(const char *relative) {
    static char paths[16][PATH_MAX];
    static size_t next;
    char *path = paths[next++ % 16];
    kit_format(path, PATH_MAX, "%s/%s", root, relative);
    return path;
}

static inline void put(const char *relative, const char *text) {
    char parent[PATH_MAX];
    kolm_error_t err = KIT_ERROR_INIT;
    kit_copy(parent, sizeof parent, at(relative));
    *strrchr(parent, '/') = '\0';
    must(kit_mkdirs(parent, 0755, &err), &err);
    must(kit_write_file(at(relative), 0755, text, strlen(text), &err), &err);
}

static inline void start_victim(void) {
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    victim = fork();
    if (victim == 0) {
        (void)!write(ready[1], "r", 1);
        for (;;)
            pause();
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    kit_format(listener_name, sizeof listener_name, "kolm-fence-%ld", (long)getpid());
    memcpy(address.sun_path + 1, listener_name, strlen(listener_name));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(listener_name))),
                     0);
    ck_assert_int_eq(listen(listener, 16), 0);
}

static inline void add_plugin(const char *more) {
    char from[PATH_MAX], text[2048];
    kit_buf bytes = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_format(from, sizeof from, "%s/reaches.so", here);
    must(kit_mkdirs(at("plugins"), 0755, &err), &err);
    must(kit_read_file(from, 64u << 20, &bytes, &err), &err);
    must(kit_write_file(at("plugins/reaches.so"), 0755, bytes.data, bytes.length, &err), &err);
    kit_buf_free(&bytes);
    kit_format(text, sizeof text,
               "{\"name\":\"reaches\",\"kind\":\"local\",\"tier\":2,\"train\":true,\"infer\":true,\"airgap\":\"yes\","
               "\"billing\":\"free\",\"cost_per_hour_usd\":0,\"cold_start_seconds\":0,\"vram_cap_gb\":null,"
               "\"auth\":[],\"requires\":[],\"runtime\":\"zoo\",\"summary\":\"Reaches for things.\"%s}",
               more);
    put("plugins/reaches.json", text);
}

static inline void setup(void) {
    kit_copy(root, sizeof root, "/tmp/kolm-fence-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    put("home/.profile", "a profile\n");
    put("home/.ssh/id", "a key\n");
    put("home/.ssh/known_hosts", "a host\n");
    put("home/.kolm/credentials", "TOKEN=1\n");
    put("home/.kolm/config.json", "{}\n");
    put("home/.kolm/keys/signing.pem", "a secret\n");
    put("home/.kolm/runtimes/own/bin/python", "#!/bin/sh\nexit 0\n");
    put("home/.kolm/jobs/one/job/train.jsonl", "{}\n");
    put("home/.kolm/jobs/one/private/heldout.jsonl", "{}\n");
    put("home/.kolm/jobs/other/job/train.jsonl", "{}\n");
    put("home/bin/tool", "#!/bin/sh\nexit 0\n");
    put("data/model.kolm", "model\n");
    put("data/beside", "not requested\n");
    ck_assert_int_eq(chmod(root, 0755), 0);
    ck_assert_int_eq(setenv("HOME", at("home"), 1), 0);
    start_victim();
    add_plugin("");
}

static inline void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    close(listener);
    host_registry_free(registry);
    registry = NULL;
    cJSON_Delete(config);
    config = NULL;
    kit_buf_free(&logs);
    ck_assert_msg(kit_remove_tree(root, &err) == KOLM_OK, "%s", err.text);
}

static inline void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    (void)backend;
    (void)level;
    kit_buf_fmt(&logs, "%s\n", text);
}

/* The requests to the plugin: WHAT ARG;WHAT ARG; ... */
static kit_buf targets;

static inline void want(const char *what, const char *arg) {
    kit_buf_fmt(&targets, "%s %s;", what, arg);
}

static inline void want_number(const char *what, long number) {
    kit_buf_fmt(&targets, "%s %ld;", what, number);
}

static inline void configure(const char *fence) {
    kit_buf text = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry_free(registry);
    cJSON_Delete(config);
    config = NULL;
    registry = NULL;
    kit_buf_fmt(&text, "{\"runtimes\":{\"reaches\":\"%s\"},\"backends\":{\"reaches\":{\"targets\":\"%s\"%s%s}}}",
                at("home/.kolm/runtimes/own/bin/python"), kit_buf_text(&targets), *fence ? ",\"fence\":" : "", fence);
    must(kit_json_parse(kit_buf_text(&text), text.length, &config, &err), &err);
    kit_buf_free(&text);
    kit_buf_free(&targets);
    const char *dirs[] = {at("plugins")};
    host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = program, .config = {.json = config}};
    must(host_scan(&options, &registry, &err), &err);
    const host_backend *row = host_find(registry, "reaches");
    ck_assert_msg(row && row->state == HOST_ROW_OK, "%s", row ? row->why.text : "no row");
}

static inline host_result call(const char *slot, bool airgap) {
    static host_result result;
    static const char *const names[] = {"credentials", "keys", "keys/signing.pem", "config.json", NULL};
    static const host_events events = {.log = on_log};
    kolm_error_t err = KIT_ERROR_INIT;
    const host_backend *row = host_find(registry, "reaches");
    const host_call_options options = {.timeout_ms = PATIENCE_MS,
                                       .airgap_strict = airgap,
                                       .config = config,
                                       .events = &events,
                                       .private_dir = at("home/.kolm"),
                                       .private_names = names};
    kit_buf_clear(&logs);
    const char *job = at("home/.kolm/jobs/one/job");
    if (strcmp(slot, "detect") == 0)
        must(host_detect(registry, row, &options, &result, &err), &err);
    else
        must(host_train(registry, row, job, 1, &options, &result, &err), &err);
    ck_assert_msg(result.verdict == HOST_OK, "%s: %s", slot, result.error.text);
    return result;
}

static inline size_t count_of(const char *word) {
    size_t n = 0;
    for (const char *text = kit_buf_text(&logs); (text = strstr(text, word)) != NULL; text++)
        n++;
    return n;
}

static inline long landlock(void) {
    return syscall(444, NULL, 0, 1);
}

static inline void find_here(void) {
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    if (n <= 0) abort();
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    kit_format(program, sizeof program, "%s/../../core/host/kolm-host", here);
}

#endif
