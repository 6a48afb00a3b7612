/* SPDX-License-Identifier: Apache-2.0 */
/* Plugins with one defect each: compiled once for every ZOO_ name, which selects the defect. */
#include "zoo_ends.h"
#include "zoo_lies.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Each `#if defined` of a defect is one plugin; everything else is the same good backend in all of them. */

#if defined(ZOO_beside)
const char *zoo_private_word(void);
#endif
#if defined(ZOO_undefined)
void no_function_is_called_like_this(void);
#endif

__attribute__((constructor)) static void constructor(void) {
#if defined(ZOO_crash_constructor)
    crash();
#elif defined(ZOO_hang_constructor)
    hang();
#elif defined(ZOO_exits_constructor)
    leave();
#elif defined(ZOO_claims_sandbox)
    say_for_host(LIE_SANDBOX);
#elif defined(ZOO_claims_loaded)
    say_for_host(LIE_LOADED);
#elif defined(ZOO_claims_device)
    say_for_host(LIE_DEVICE);
#endif
}

#if defined(ZOO_floods)
static void flood(const kolm_host_v1_t *host) {
    kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                .total = 20000,
                                .loss = 1,
                                .tokens_per_second = 2,
                                .phase = "flooding"};
    char line[9000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    for (unsigned i = 1; i <= 20000; i++) {
        host->log(host->user, KOLM_LOG_INFO, i == 1 ? line : "another line");
        progress.step = i;
        host->progress(host->user, &progress);
        host->metric(host->user, "flood", i);
        if (i <= 100) {
            kolm_device_t device = {.struct_size = (uint32_t)sizeof device,
                                    .name = "one of too many",
                                    .id = "",
                                    .driver = "",
                                    .runtime = ""};
            host->device(host->user, &device);
        }
        if (i <= 10100) {
            kolm_holding_t holding = {
                .struct_size = (uint32_t)sizeof holding, .place = "", .kind = "", .name = "", .note = ""};
            host->holding(host->user, &holding);
        }
    }
    host->metric(host->user, "Not A Name", 1);
}
#endif

#if defined(ZOO_forks) || defined(ZOO_forks_away)
/* Leaves a process running and logs its id. */
static void leave_behind(const kolm_host_v1_t *host) {
    char text[32];
    int ready[2];
    char byte;
    if (pipe(ready) != 0) return;
    pid_t child = fork();
    if (child == 0) {
#if defined(ZOO_forks_away)
        setpgid(0, 0); /* leaves the process group, like children of the kit */
#endif
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        (void)!write(ready[1], "r", 1);
        for (;;)
            pause();
    }
    (void)!read(ready[0], &byte, 1);
    snprintf(text, sizeof text, "%ld", (long)child);
    host->log(host->user, KOLM_LOG_INFO, text);
}
#endif

#if defined(ZOO_secrets)
static void say_code(const kolm_host_v1_t *host, const char *what, int32_t code, const char *value) {
    char text[200];
    snprintf(text, sizeof text, "%s %d %s", what, code, value);
    host->log(host->user, KOLM_LOG_INFO, text);
}

static void ask_secrets(const kolm_host_v1_t *host) {
    extern char **environ;
    char value[64] = "";
    uint64_t length = 0;
    say_code(host, "granted", host->secret(host->user, "ZOO_TOKEN", value, sizeof value, &length), value);
    value[0] = '\0';
    say_code(host, "short", host->secret(host->user, "ZOO_TOKEN", value, 3, &length), length == 13 ? "13" : "?");
    say_code(host, "unset", host->secret(host->user, "ZOO_UNSET", value, sizeof value, NULL), "");
    say_code(host, "foreign", host->secret(host->user, "ZOO_FOREIGN_TOKEN", value, sizeof value, NULL), "");
    value[0] = '\0';
    say_code(host, "probed", host->secret(host->user, "ZOO_TOKEN", NULL, 0, NULL), "");
    value[0] = '\0';
    say_code(host, "address", host->secret(host->user, "ZOO_HOST", value, sizeof value, NULL), value);
    value[0] = '\0';
    say_code(host, "setting", host->setting(host->user, "region", value, sizeof value, NULL), value);
    value[0] = '\0';
    say_code(host, "number", host->setting(host->user, "count", value, sizeof value, NULL), value);
    say_code(host, "no-setting", host->setting(host->user, "nothing", value, sizeof value, NULL), "");
    for (char **at = environ; *at; at++)
        host->log(host->user, KOLM_LOG_DEBUG, *at);
}
#endif

#if defined(ZOO_probe)
/* Logs one line for each kind of socket that could be opened or not. */
static void probe(const kolm_host_v1_t *host) {
    static const struct {
        const char *name;
        int family, type;
    } doors[] = {{"unix", AF_UNIX, SOCK_STREAM},
                 {"inet", AF_INET, SOCK_STREAM},
                 {"inet-dgram", AF_INET, SOCK_DGRAM},
                 {"inet6", AF_INET6, SOCK_STREAM},
                 {"netlink", AF_NETLINK, SOCK_RAW}};
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++) {
        int fd = socket(doors[i].family, doors[i].type, 0);
        char text[64];
        snprintf(text, sizeof text, "%s %s", doors[i].name, fd >= 0 ? "open" : "closed");
        host->log(host->user, KOLM_LOG_INFO, text);
        if (fd >= 0) close(fd);
    }
    int pair[2];
    host->log(host->user, KOLM_LOG_INFO,
              socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 ? "socketpair open" : "socketpair closed");
    pid_t child = fork(); /* a child must not have more access than its parent */
    if (child == 0) _exit(socket(AF_INET, SOCK_DGRAM, 0) >= 0 ? 1 : 0);
    int status = 0;
    waitpid(child, &status, 0);
    host->log(host->user, KOLM_LOG_INFO, status != 0 ? "child open" : "child closed");
}
#endif

#if defined(ZOO_threads) || defined(ZOO_probe)
static void *work(void *at) {
    *(int *)at += 1;
    return NULL;
}

/* What an engine needs must be available under the airgap: threads, memory, files. */
static int engine_works(const kolm_host_v1_t *host) {
    int counts[4] = {0};
    pthread_t threads[4];
    char path[4200];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, work, &counts[i]) != 0) return 0;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    snprintf(path, sizeof path, "%s/file", host->scratch_dir);
    FILE *file = fopen(path, "w+");
    if (!file) return 0;
    int good = fputs("text", file) >= 0 && fflush(file) == 0;
    fclose(file);
    return good && counts[0] + counts[1] + counts[2] + counts[3] == 4;
}
#endif

#if defined(ZOO_self)
static void *nothing(void *unused) {
    return unused;
}

/* Describes this process, except for its ids. */
static void describe(const kolm_host_v1_t *host) {
    char text[512], line[128] = "", open_ones[256] = "";
    pthread_t thread;
    FILE *file = fopen("/proc/self/cmdline", "re");
    size_t length = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file) fclose(file);
    int threads = pthread_create(&thread, NULL, nothing, host->user) == 0 && pthread_join(thread, NULL) == 0;
    int signals = pthread_kill(pthread_self(), 0) == 0 && raise(0) == 0;
    for (int fd = 0; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            snprintf(open_ones + strlen(open_ones), sizeof open_ones - strlen(open_ones), " %d", fd);
    const char *place = getenv("TMPDIR"), *own = getenv("KOLM_ZOO_OWN");
    snprintf(text, sizeof text, "session %d, group %d, threads %d, signals %d, name %s, scratch %d, own %s, open%s",
             getsid(0) == getpid(), getpgrp() == getpid(), threads, signals,
             length > 10 ? line + strlen(line) + 1 : "none", place && strcmp(place, host->scratch_dir) == 0,
             own ? own : "none", open_ones);
    host->log(host->user, KOLM_LOG_INFO, text);
}
#endif

#if defined(ZOO_beside)
/* Logs which file the code was mapped from, whatever path the loader was given. */
static void say_mapping(const kolm_host_v1_t *host) {
    char line[4400], text[64];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from = 0, to = 0, inode = 0, at = (unsigned long)(uintptr_t)&say_mapping;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode) != 3 || at < from || at >= to) continue;
        if (strstr(line, " /memfd:")) inode = 0;
        snprintf(text, sizeof text, inode > 0 ? "mapped from %lu." : "mapped from memory", inode);
        host->log(host->user, KOLM_LOG_INFO, text);
    }
    if (maps) fclose(maps);
}
#endif

/* Plugins that print what they should not, too much, or their environment. */
static void talk(const kolm_host_v1_t *host) {
#if defined(ZOO_tells)
    char token[64] = "";
    (void)host->secret(host->user, "ZOO_TOKEN", token, sizeof token, NULL);
    host->log(host->user, KOLM_LOG_WARNING, token);
    printf("the token %s is no good\n", token);
    fflush(stdout);
    leave();
#elif defined(ZOO_babbles)
    for (int i = 0; i < 3000; i++)
        printf("%d %0200d\n", i, i);
    leave();
#elif defined(ZOO_levels)
    host->log(host->user, KOLM_LOG_DEBUG, "seen by few");
    host->log(host->user, KOLM_LOG_INFO, "seen by some");
    host->log(host->user, KOLM_LOG_WARNING, "seen by all");
    host->log(host->user, KOLM_LOG_WARNING, "seen by all");
    host->log(host->user, KOLM_LOG_ERROR, "a \033[2Jlens is broken");
    printf("printed\n");
#elif defined(ZOO_where) || defined(ZOO_beside)
    Dl_info info = {0};
    host->log(host->user, KOLM_LOG_INFO, dladdr(&kolm_backend_v1, &info) ? info.dli_fname : "nowhere");
#if defined(ZOO_beside)
    host->log(host->user, KOLM_LOG_INFO, zoo_private_word());
    say_mapping(host);
#endif
#elif defined(ZOO_self)
    describe(host);
#elif defined(ZOO_floods)
    flood(host);
#elif defined(ZOO_prints)
    printf("on standard output\nwith \033[31mcolour\n");
    fflush(stdout);
    fprintf(stderr, "on standard error");
#elif defined(ZOO_secrets)
    ask_secrets(host);
#elif defined(ZOO_probe)
    probe(host);
#endif
    (void)host;
}

/* Plugins that access what is not theirs. */
static void meddle(const kolm_host_v1_t *host) {
#if defined(ZOO_closes_fds)
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
#elif defined(ZOO_writes_fds)
    for (int fd = 3; fd < 1024; fd++)
        (void)!write(fd, "garbage\n", 8);
#elif defined(ZOO_forges)
    say_for_host(LIE_SANDBOX);
#elif defined(ZOO_loads_twice)
    say_for_host(LIE_LOADED);
#elif defined(ZOO_answers_itself)
    say_for_host(LIE_DONE);
#elif defined(ZOO_forks) || defined(ZOO_forks_away)
    leave_behind(host);
#elif defined(ZOO_undefined)
    no_function_is_called_like_this();
#elif defined(ZOO_trusts_host)
    host->holding(
        host->user,
        &(kolm_holding_t){
            .struct_size = (uint32_t)sizeof(kolm_holding_t), .place = "", .kind = "", .name = "", .note = ""});
#endif
    (void)host;
}

static void misbehave(const kolm_host_v1_t *host) {
    end_badly(host);
    talk(host);
    meddle(host);
}

UNUSED static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args,
                             kolm_detect_result_t *out_result, kolm_error_t *out_error) {
    (void)args;
    misbehave(host);
    out_result->state = KOLM_DETECT_AVAILABLE;
    snprintf(out_result->reason, sizeof out_result->reason, "a zoo animal");
    snprintf(out_result->runtime, sizeof out_result->runtime, "zoo 1");
#if defined(ZOO_bad_utf8)
    host->log(host->user, KOLM_LOG_WARNING, "log \xff\xfe \033[2J end");
    memset(out_result->reason, 0xff, sizeof out_result->reason); /* and without a NUL */
    snprintf(out_result->runtime, sizeof out_result->runtime, "a\xc3(b\n");
    kolm_device_t device = {
        .struct_size = (uint32_t)sizeof device, .name = "dev\xff", .id = NULL, .driver = "\xed\xa0\x80", .runtime = ""};
    host->device(host->user, &device);
#elif defined(ZOO_fails)
    out_error->code = KOLM_E_RESOURCE_EXHAUSTED;
    snprintf(out_error->text, sizeof out_error->text, "the quota of the zoo is used up");
    snprintf(out_error->remedy, sizeof out_error->remedy, "buy more peanuts");
    return KOLM_E_RESOURCE_EXHAUSTED;
#elif defined(ZOO_names_scratch)
    snprintf(out_error->text, sizeof out_error->text, "cannot read %s/weights", host->scratch_dir);
    snprintf(out_error->remedy, sizeof out_error->remedy, "look into %s", host->scratch_dir);
    return KOLM_E_NOT_FOUND;
#elif defined(ZOO_odd_code)
    return 4711;
#elif defined(ZOO_mute)
    fprintf(stderr, "the quota is used up\n");
    return KOLM_E_RESOURCE_EXHAUSTED;
#elif defined(ZOO_odd_state)
    out_result->state = 99;
#elif defined(ZOO_hog)
    size_t got = 0;
    for (int i = 0; i < 1000; i++) {
        char *piece = malloc(64u << 20);
        if (!piece) {
            snprintf(out_error->text, sizeof out_error->text, "no memory after %zu pieces", got);
            return KOLM_E_RESOURCE_EXHAUSTED;
        }
        piece[0] = 1; /* only one page: the limit is on mapped memory, so the machine need not run out */
        got++;
    }
#elif defined(ZOO_threads) || defined(ZOO_probe)
    if (!engine_works(host)) return KOLM_E_INTERNAL;
#endif
    (void)out_error;
    return KOLM_OK;
}

UNUSED static int32_t cost(const kolm_host_v1_t *host, const kolm_cost_args_t *args, kolm_cost_result_t *out_result,
                           kolm_error_t *out_error) {
    (void)host;
    (void)out_error;
    out_result->billing = KOLM_BILLING_PER_HOUR;
    out_result->duration_ms = args->rows * 1000;
    out_result->cost_micro_usd = args->price_micro_usd_per_hour;
    out_result->confidence = KOLM_CONFIDENCE_MODEL;
    snprintf(out_result->basis, sizeof out_result->basis, "%s on %u threads, %u s cold", args->recipe, args->threads,
             args->cold_start_seconds);
    return KOLM_OK;
}

UNUSED static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                            kolm_error_t *out_error) {
    (void)out_error;
    kolm_progress_t progress = {.struct_size = (uint32_t)sizeof progress,
                                .step = 3,
                                .total = 3,
                                .loss = 0.5,
                                .tokens_per_second = 10,
                                .phase = "training"};
    host->progress(host->user, &progress);
    host->metric(host->user, "accuracy", 0.75);
#if defined(ZOO_cancels)
    host->log(host->user, KOLM_LOG_INFO, "waiting");
    while (!host->cancelled(host->user))
        (void)poll(NULL, 0, 1);
    return KOLM_E_CANCELLED;
#elif defined(ZOO_hang_slot) || defined(ZOO_forks) || defined(ZOO_where) || defined(ZOO_beside)
    misbehave(host);
#elif defined(ZOO_forks_away)
    misbehave(host);
    for (;;)
        pause(); /* even after a request to stop */
#endif
    out_result->billed_micro_usd = 1234567;
    snprintf(out_result->device, sizeof out_result->device, "zoo device");
    snprintf(out_result->toolchain, sizeof out_result->toolchain, "zoo of %s", strrchr(args->job_dir, '/'));
    return KOLM_OK;
}

/* Copies bytes from input to output; no-slices first copies the model file to the output. */
UNUSED static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                            kolm_error_t *out_error) {
    char bytes[4096];
#if defined(ZOO_where) || defined(ZOO_beside)
    misbehave(host);
#endif
    (void)host;
    (void)out_error;
    FILE *in = fopen(args->input_path, "r"), *out = fopen(args->output_path, "w");
    if (!in || !out) {
        snprintf(out_error->text, sizeof out_error->text, "cannot open %s: %s",
                 in ? args->output_path : args->input_path, strerror(errno));
        return KOLM_E_NOT_FOUND;
    }
#if defined(ZOO_no_slices)
    snprintf(bytes, sizeof bytes, "%s/model/part/a.bin", args->job_dir);
    FILE *model = fopen(bytes, "r");
    if (!model) return KOLM_E_NOT_FOUND;
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, model)) > 0;)
        fwrite(bytes, 1, n, out);
    fclose(model);
#endif
    while (fgets(bytes, sizeof bytes, in)) {
        out_result->answers++;
        fputs(bytes, out);
    }
    fclose(in);
    fclose(out);
    return KOLM_OK;
}

UNUSED static int32_t test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out_result,
                           kolm_error_t *out_error) {
    (void)out_error;
    static const char *const titles[] = {"auth check", "provision", "dry run", "receipt"};
    for (uint32_t i = 0; i < 4; i++) {
        kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                                 .outcome = i == 1 ? KOLM_STEP_SKIPPED : KOLM_STEP_OK,
                                 .number = i + 1,
                                 .total = 4,
                                 .duration_us = 1500,
                                 .title = titles[i],
                                 .note = i == 1 ? "not needed" : ""};
        host->test_step(host->user, &step);
    }
    out_result->passed = args->allow_network == 0;
    snprintf(out_result->summary, sizeof out_result->summary, ZOO_NAME " is ready for kolm compile");
    return KOLM_OK;
}

/* Reports two holdings, the second of which prune removes. */
UNUSED static int32_t status(const kolm_host_v1_t *host, const kolm_status_args_t *args,
                             kolm_status_result_t *out_result, kolm_error_t *out_error) {
    (void)out_error;
    kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding,
                              .state = KOLM_HOLDING_IN_USE,
                              .bytes = 1000,
                              .age_seconds = 60,
                              .price_micro_usd_per_hour = 2500000,
                              .place = "the zoo",
                              .kind = "instance",
                              .name = "lion",
                              .note = "asleep"};
    misbehave(host);
    host->holding(host->user, &holding);
    holding = (kolm_holding_t){.struct_size = (uint32_t)sizeof holding,
                               .bytes = KOLM_UNKNOWN_COUNT,
                               .age_seconds = KOLM_UNKNOWN_COUNT,
                               .price_micro_usd_per_hour = UINT64_MAX,
                               .place = "the zoo",
                               .kind = "files",
                               .name = "straw",
                               .note = ""};
    if (args->prune == 1 && args->older_seconds <= 3600) holding.state = KOLM_HOLDING_REMOVED;
#if defined(ZOO_removes)
    holding.state = KOLM_HOLDING_REMOVED;
#elif defined(ZOO_odd_state)
    holding.state = 99;
#elif defined(ZOO_bad_utf8)
    holding.place = "zoo\xff";
    holding.name = NULL;
    holding.note = "\033[2J";
#endif
    host->holding(host->user, &holding);
    holding.struct_size = 8; /* of a kolm version that never existed */
    host->holding(host->user, &holding);
    host->holding(host->user, NULL);
    snprintf(out_result->summary, sizeof out_result->summary, "one zoo%s", args->allow_network == 1 ? ", called" : "");
    return KOLM_OK;
}

#if defined(ZOO_no_symbol)
KOLM_BACKEND_EXPORT extern const int kolm_something_else;
const int kolm_something_else = 1;
#elif defined(ZOO_function)
/* The symbol as a function instead of the object that the header declares. */
KOLM_BACKEND_EXPORT const void *give_table(void) __asm__("kolm_backend_v1");
const void *give_table(void) {
    return NULL;
}
#else

#if defined(ZOO_long_struct)
/* A later ABI: two fields that no current host knows. */
typedef struct table {
    kolm_backend_v1_t first;
    void (*later)(void);
    uint64_t even_later;
} table;
#endif

#if defined(ZOO_long_struct)
/* The header declares the symbol with the current type. */
extern KOLM_BACKEND_EXPORT const table later_table __asm__("kolm_backend_v1");
const table later_table = {.first =
                               {
#elif defined(ZOO_thread_local)
extern KOLM_BACKEND_EXPORT __thread const kolm_backend_v1_t of_each_thread __asm__("kolm_backend_v1");
__thread const kolm_backend_v1_t of_each_thread = {
#elif defined(ZOO_indirect)
static const kolm_backend_v1_t chosen = {
#else
KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
#endif
#if defined(ZOO_short_struct)
                                   .struct_size = KOLM_BACKEND_SIZE_1_0 - 8,
#elif defined(ZOO_tiny_struct)
    .struct_size = 8,
#elif defined(ZOO_long_struct)
    .struct_size = (uint32_t)sizeof(table),
#else
    .struct_size = (uint32_t)sizeof(kolm_backend_v1_t),
#endif
#if defined(ZOO_wrong_major)
                                   .abi_major = 2,
                                   .abi_minor = 3,
#elif defined(ZOO_newer_minor)
    .abi_major = 1,
    .abi_minor = 7,
#else
    .abi_major = KOLM_ABI_MAJOR,
    .abi_minor = KOLM_ABI_MINOR,
#endif
#if defined(ZOO_needs_newer_host)
                                   .host_minor_needed = 3,
#endif
#if defined(ZOO_missing_feature)
                                   .required_features = 1ull << 40,
#elif defined(ZOO_network)
    .required_features = KOLM_FEATURE_NETWORK,
#endif
#if defined(ZOO_wrong_fingerprint)
                                   .fingerprint = KOLM_FINGERPRINT ^ (8u ^ 4u),
#else
    .fingerprint = KOLM_FINGERPRINT,
#endif
#if !defined(ZOO_no_slices)
                                   .features = KOLM_FEATURE_MODEL_SLICES,
#endif
#if defined(ZOO_name_mismatch)
                                   .name = "somebody-else",
#else
    .name = ZOO_NAME,
#endif
#if defined(ZOO_VERSION)
                                   .version = ZOO_VERSION,
#else
    .version = "1.2.3",
#endif
#if !defined(ZOO_no_vendor)
                                   .vendor = "the zoo",
#endif
                                   .licence = "Apache-2.0",
                                   .homepage = "https://example.com/zoo",
#if !defined(ZOO_null_slots)
                                   .detect = detect,
                                   .cost = cost,
                                   .train = train,
                                   .infer = infer,
                                   .test = test,
                                   .status = status,
#endif
#if defined(ZOO_long_struct)
                               }
#endif
};
#if defined(ZOO_indirect)
/* The table is an IFUNC: the loader calls choose to get its address. */
__attribute__((used)) static void (*choose(void))(void) {
    return (void (*)(void))(uintptr_t)&chosen;
}
extern KOLM_BACKEND_EXPORT void which(void) __asm__("kolm_backend_v1") __attribute__((ifunc("choose")));
#endif
#endif
