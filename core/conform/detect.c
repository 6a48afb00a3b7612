/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of loading and of detect. */
#include "conform/conform.h"
#include "host/host.h"
#include "kolm/kit/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DETECT_SOON 500 /* the longest acceptable wait for a user */

/* ---- Loading */

void check_files(check *c) {
    if (c->row->state != HOST_ROW_OK && c->row->why.code == KOLM_E_UNKNOWN) { /* such as a disk error */
        c->not_called = true;
        c->broken = c->row->why;
    } else if (c->row->state != HOST_ROW_OK)
        check_fail(c, "rule %d (%s): %s%s%s", (int)c->row->rule, host_rule_text(c->row->rule), c->row->why.text,
                   c->row->why.remedy[0] ? "; " : "", c->row->why.remedy);
}

void check_loads(check *c) {
    host_result result;
    bool answered = check_detect(c, NULL, false, &result);
    c->loaded = result.loaded;
    c->slots = result.slots;
    if (result.loaded && result.verdict != HOST_NOT_LOADED) {
        c->item->outcome = CHECK_PASS; /* the result of detect is checked below */
        c->item->reason[0] = '\0';
        if (result.abi_minor > KOLM_ABI_MINOR)
            check_note(c, "built with ABI 1.%u, works with 1.%u", result.abi_minor, KOLM_ABI_MINOR);
    }
    c->state = KOLM_DETECT_BROKEN;
    kit_copy(c->here, sizeof c->here, result.error.text);
    if (!answered) return;
    c->state = result.detect.state;
    kit_copy(c->here, sizeof c->here, result.detect.reason);
}

void check_identity(check *c) {
    host_result result;
    if (!check_detect(c, NULL, false, &result) && !result.loaded) return;
    c->item->outcome = CHECK_PASS;
    c->item->reason[0] = '\0';
    if (!result.version[0]) check_fail(c, "its table has an empty version");
    if (!result.vendor[0]) check_fail(c, "its table has an empty vendor");
    if (!result.licence[0]) check_fail(c, "its table has an empty licence (an SPDX expression)");
    if (result.homepage[0] && strncmp(result.homepage, "https://", 8) != 0)
        check_fail(c, "its homepage '%s' is not an https address; leave it empty if there is none", result.homepage);
}

void check_slots(check *c) {
    const host_manifest *m = c->row->manifest;
    const bool trains = c->slots & HOST_SLOT_TRAIN, answers = c->slots & HOST_SLOT_INFER;
    if (!(c->slots & HOST_SLOT_DETECT))
        check_fail(c, "it has no detect: kolm can never find it available");
    else if (!m->offer.train && trains)
        check_fail(c, "its table has a train, its manifest says that it does not: it would never be chosen");
    else if (!m->offer.infer && answers)
        check_fail(c, "its table has an infer, its manifest says that it does not: it would never be chosen");
    else if (trains && !answers)
        check_fail(c, "it trains and cannot answer: a model is only shipped after it answered the held-out inputs");
    else if (m->offer.train && !trains)
        check_skip(c, "detect only: its manifest says that it trains, its table has no train yet");
    else if (m->offer.infer && !answers)
        check_skip(c, "detect only: its manifest says that it answers, its table has no infer yet");
}

/* ---- detect */

static const char *device_fault(const host_result *result, const host_manifest *m) {
    for (size_t i = 0; i < result->device_count; i++) {
        const host_device *d = &result->devices[i];
        if (!d->name[0]) return "a device has no name";
        if (d->index != i) return "devices are not numbered from 0 in the order in which they are reported";
        if (d->memory_kind > KOLM_MEMORY_SHARED) return "a device has an unknown kind of memory";
        if (d->total_memory_bytes != KOLM_MEMORY_UNKNOWN && d->free_memory_bytes != KOLM_MEMORY_UNKNOWN &&
            d->free_memory_bytes > d->total_memory_bytes)
            return "a device has more free memory than memory";
    }
    if (result->device_count == 0 && result->detect.state == KOLM_DETECT_AVAILABLE &&
        (m->offer.vram == PICK_VRAM_OWN || m->offer.vram == PICK_VRAM_SHARED))
        return "it is available, and has its own memory according to its manifest, but reports no device";
    return NULL;
}

void check_detect_answers(check *c) {
    host_result result;
    if (!check_detect(c, NULL, false, &result)) return;
    const char *fault = device_fault(&result, c->row->manifest);
    if (result.no_reason || !result.detect.reason[0])
        check_fail(c, "it gives no reason for its answer");
    else if ((result.detect.state == KOLM_DETECT_BROKEN || result.detect.state == KOLM_DETECT_REFUSED) &&
             !result.detect.remedy[0])
        check_fail(c, "it is present but not usable, and gives no remedy");
    else if (fault)
        check_fail(c, "%s", fault);
    else
        check_note(c, "%s", result.detect.reason);
}

void check_detect_soon(check *c) {
    host_result result;
    int64_t best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        if (!check_detect(c, NULL, false, &result)) return;
        if (result.wall_ms < best) best = result.wall_ms;
    }
    if (best > DETECT_SOON)
        check_fail(c, "it takes %lld ms; every `kolm compute detect` waits for it (at most %d ms)", (long long)best,
                   DETECT_SOON);
    else
        check_note(c, "%lld ms", (long long)best);
}

void check_detect_steady(check *c) {
    host_result result;
    for (int i = 0; i < 5; i++) {
        if (!check_detect(c, NULL, false, &result)) return;
        if (result.detect.state != c->state) {
            check_fail(c, "a second call gives a different answer");
            return;
        }
    }
}

void check_detect_network(check *c) {
    const host_audit audit = {.any_airgap = true};
    host_result result;
    if (!check_detect(c, &audit, true, &result)) return;
    if (result.detect.state != c->state)
        check_fail(c, "without sockets it gives a different answer (%s): detect must not need the network",
                   result.detect.reason);
}

void check_detect_bare(check *c) {
    const host_audit audit = {.bare = true};
    host_result result;
    (void)check_detect(c, &audit, false, &result);
}

/* Number of entries in the directory, including hidden ones. */
static size_t entries(const char *path) {
    size_t n = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir) closedir(dir);
    return n;
}

void check_detect_home(check *c) {
    char *home = NULL;
    host_result result;
    if (kit_path_join(c->work, "home", &home, NULL) != KOLM_OK || mkdir(home, 0700) != 0 || chmod(home, 0500) != 0) {
        check_skip(c, "no home directory could be created for it");
        free(home);
        return;
    }
    const host_audit audit = {.bare = true, .home = home};
    if (check_detect(c, &audit, false, &result) && entries(home) > 0)
        check_fail(c, "detect writes into the home directory");
    (void)chmod(home, 0700);
    free(home);
}

void check_detect_left(check *c) {
    const host_audit audit = {.repeats = CHECK_REPEATS};
    host_result result;
    if (!check_detect(c, &audit, false, &result)) return;
    const host_left *left = &result.left;
    if (left->descriptors > 0)
        check_fail(c, "after %d calls %u descriptors are still open", CHECK_REPEATS + 1, left->descriptors);
    else if (left->threads > 0)
        check_fail(c, "%u of its threads still run when detect has returned", left->threads);
    else if (left->processes)
        check_fail(c, "a process that it started still runs when detect has returned");
    else if (left->bytes_per_round > CHECK_LEAK_BYTES)
        check_fail(c, "each call keeps %llu bytes of memory", (unsigned long long)left->bytes_per_round);
}

void check_later_host(check *c) {
    const host_audit audit = {.minor = KOLM_ABI_MINOR + 1, .later_bytes = 64};
    host_result result;
    if (check_detect(c, &audit, false, &result) && result.detect.state != c->state)
        check_fail(c, "it answers differently if records are larger than today's: use KOLM_HAS, never == sizeof");
}

/* Runs detect with a host of ABI 1.0, whose table is shorter. */
void check_first_host(check *c) {
    static const host_audit audit = {.first_minor = true};
    host_call_options options;
    host_result result;
    kolm_error_t err = KIT_ERROR_INIT;
    check_call_options(c, &options);
    options.timeout_ms = CHECK_DETECT_MS;
    options.audit = &audit;
    kit_status status = host_detect(c->registry, c->row, &options, &result, &err);
    if (!check_called(c, status, &err)) return;
    check_hear(c, &result);
    if (result.verdict == HOST_NOT_LOADED)
        check_skip(c, "it %s", result.error.text);
    else if (result.verdict != HOST_OK)
        check_fail(c, "%s", result.error.text);
    else if (result.detect.state != c->state)
        check_fail(c, "it answers differently under ABI 1.0: use KOLM_HAS before what came later");
    else
        check_job_under(c, &audit, "first-host");
}
