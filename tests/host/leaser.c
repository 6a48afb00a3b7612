/* SPDX-License-Identifier: Apache-2.0 */
/* A backend that records the leases in a script, and writes down the results. */
#include "kolm/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One word per field: "-" for an empty one, "NULL" for NULL. */
static const char *field(char *word) {
    return strcmp(word, "-") == 0 ? "" : strcmp(word, "NULL") == 0 ? NULL : word;
}

static void play(const kolm_host_v1_t *host, char *line, FILE *out) {
    char *words[8] = {NULL};
    kolm_error_t err = {.struct_size = (uint32_t)sizeof err};
    size_t n = 0;
    for (char *word = strtok_r(line, " \n", &line); word && n < 8; word = strtok_r(NULL, " \n", &line))
        words[n++] = word;
    if (n != 8) abort();
    const kolm_lease_t lease = {.struct_size = (uint32_t)sizeof lease,
                                .event = (uint32_t)strtoul(words[0], NULL, 10),
                                .name = field(words[1]),
                                .handle = field(words[2]),
                                .kind = field(words[3]),
                                .place = field(words[4]),
                                .note = field(words[5]),
                                .price_micro_usd_per_hour = strtoull(words[6], NULL, 10),
                                .billed_micro_usd = strtoull(words[7], NULL, 10)};
    int32_t code = host->lease(host->user, &lease, &err);
    fprintf(out, "%d %s\n", code, err.text);
}

/* Runs DIR/script, if it exists: each line is a lease; "die" ends the process like a crash. */
static int32_t perform(const kolm_host_v1_t *host, const char *dir) {
    char path[4096], line[2048];
    snprintf(path, sizeof path, "%s/script", dir);
    FILE *in = fopen(path, "r");
    snprintf(path, sizeof path, "%s/said", dir);
    FILE *out = fopen(path, "w");
    if (!out) return KOLM_E_UNKNOWN;
    while (in && fgets(line, sizeof line, in)) {
        if (strcmp(line, "die\n") == 0) _exit(9);
        play(host, line, out);
    }
    if (in) fclose(in);
    fclose(out);
    return KOLM_OK;
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out,
                     kolm_error_t *err) {
    (void)err;
    out->billed_micro_usd = 0;
    snprintf(out->device, sizeof out->device, "none");
    snprintf(out->toolchain, sizeof out->toolchain, "none");
    return perform(host, args->job_dir);
}

static int32_t lease_anyway(const kolm_host_v1_t *host, kolm_error_t *err) {
    const kolm_lease_t lease = {.struct_size = (uint32_t)sizeof lease,
                                .name = "lion",
                                .handle = "",
                                .kind = "instance",
                                .place = "the zoo",
                                .note = "",
                                .price_micro_usd_per_hour = 1};
    return host->lease(host->user, &lease, err);
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out,
                      kolm_error_t *err) {
    (void)args;
    snprintf(out->reason, sizeof out->reason, "here");
    return lease_anyway(host, err);
}

static int32_t status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out,
                      kolm_error_t *err) {
    (void)args;
    (void)out;
    return lease_anyway(host, err);
}

/* The lease name selects the outcome: gone, running, unknown, forgets (records GONE and returns another outcome), odd,
 * fails. */
static int32_t reclaim(const kolm_host_v1_t *host, const kolm_reclaim_args_t *args, kolm_reclaim_result_t *out,
                       kolm_error_t *err) {
    const kolm_lease_t gone = {.struct_size = (uint32_t)sizeof gone,
                               .event = KOLM_LEASE_GONE,
                               .name = args->name,
                               .handle = "",
                               .kind = "",
                               .place = "",
                               .note = "",
                               .billed_micro_usd = 70};
    if (strncmp(args->name, "fails", 5) == 0) {
        snprintf(err->text, sizeof err->text, "the zoo is closed");
        return KOLM_E_UNAVAILABLE;
    }
    snprintf(out->summary, sizeof out->summary, "%s %s %s %s %llu %u", args->name, args->handle, args->kind,
             args->place, (unsigned long long)args->age_seconds, args->allow_network);
    if (strncmp(args->name, "forgets", 7) == 0) return host->lease(host->user, &gone, err);
    if (strncmp(args->name, "strange", 7) == 0) return lease_anyway(host, err);
    out->outcome = strncmp(args->name, "gone", 4) == 0  ? KOLM_RECLAIM_GONE
                   : strncmp(args->name, "run", 3) == 0 ? KOLM_RECLAIM_RUNNING
                   : strncmp(args->name, "odd", 3) == 0 ? 9
                                                        : KOLM_RECLAIM_UNKNOWN;
    if (out->outcome == KOLM_RECLAIM_GONE) out->billed_micro_usd = 50;
    return KOLM_OK;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    KOLM_BACKEND_HEADER_INIT, .name = "leaser",        .version = "1.0.0",
    .vendor = "the zoo",      .licence = "Apache-2.0", .homepage = "https://example.com/zoo",
    .detect = detect,         .train = train,          .status = status,
    .reclaim = reclaim,
};
