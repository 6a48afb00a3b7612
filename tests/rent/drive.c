/* SPDX-License-Identifier: Apache-2.0 */
/* Drives rentals of a provider's table against its contract server, on the test's clock. Each line of the input
 * that begins with "run" is a rental: run API [KEY=VALUE...], separated by tabs. One process drives many, because
 * it takes longer to start than to run one; a run is completely over when it prints "over". Before each step it prints
 * "now MS" and waits for a line; it also prints the records and the result.
 *   budget=MICRO rate=MICRO vram=BYTES    as in the plan
 *   cancel=N      the user stops it in step N
 *   away=N        from step N on, for 40 steps, the provider's name does not resolve
 *   work=N        steps that each part of the work takes (1)
 *   reclaim=NAME handle=HANDLE age=MS     only ends what is recorded
 *   now=MS        initial value of the clock
 *   set.KEY=VALUE of the backend's settings
 *   secret.NAME=VALUE  of the backend's secrets */
#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const kit_vm TABLE;

typedef struct drive {
    const char *api;
    uint64_t budget, rate, vram, cancel, away, work, age, now;
    const char *reclaim, *handle;
    int64_t time;
    uint64_t steps, worked;
    bool cancelled;
} drive;

enum { WORDS_MAX = 32 };

/* A label of 64 letters is invalid, so no resolver sends a query for it. */
#define NOWHERE "https://nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.example"

static char *words[WORDS_MAX + 1];
static drive d;

/* ---- The host */

static void host_log(void *user, uint32_t level, const char *text) {
    (void)user;
    if (level > KOLM_LOG_DEBUG) printf("log %u %s\n", (unsigned)level, text);
}

static int32_t host_cancelled(void *user) {
    (void)user;
    return d.cancelled;
}

static int64_t host_time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static int32_t give(const char *value, char *buffer, uint64_t capacity, uint64_t *out_length) {
    if (out_length != NULL) *out_length = strlen(value);
    if (capacity <= strlen(value)) return KOLM_E_OUT_OF_RANGE;
    memcpy(buffer, value, strlen(value) + 1);
    return KOLM_OK;
}

/* Returns the value of the word "KINDkey=..." of the run. */
static int32_t give_word(const char *kind, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    size_t before = strlen(kind), length = strlen(key);
    for (char **one = words; *one != NULL; one++)
        if (strncmp(*one, kind, before) == 0 && strncmp(*one + before, key, length) == 0 &&
            (*one)[before + length] == '=')
            return give(*one + before + length + 1, buffer, capacity, out_length);
    return KOLM_E_NOT_FOUND;
}

static int32_t host_secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    return give_word("secret.", name, buffer, capacity, out_length);
}

static int32_t host_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    if (strcmp(key, "api") == 0) return give(d.api, buffer, capacity, out_length);
    return give_word("set.", key, buffer, capacity, out_length);
}

static const kolm_host_v1_t host = {.struct_size = KOLM_HOST_SIZE_1_0,
                                    .abi_major = 1,
                                    .features = KOLM_FEATURE_NETWORK,
                                    .log = host_log,
                                    .cancelled = host_cancelled,
                                    .time_left_ms = host_time_left,
                                    .secret = host_secret,
                                    .setting = host_setting,
                                    .scratch_dir = "/nonexistent"};

/* ---- The records and the work */

static kit_status intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    (void)err;
    printf("intent %s %s %llu %s\n", (const char *)user, name, (unsigned long long)offer->micro_usd_per_hour,
           offer->what);
    return KOLM_OK;
}

static kit_status handle(void *user, const char *name, const char *given, kolm_error_t *err) {
    (void)user, (void)err;
    printf("handle %s %s\n", name, given);
    return KOLM_OK;
}

static kit_status gone(void *user, const char *name, uint64_t billed, kolm_error_t *err) {
    (void)user, (void)err;
    printf("gone %s %llu\n", name, (unsigned long long)billed);
    return KOLM_OK;
}

static const kit_rent_journal journal = {.intent = intent, .handle = handle, .gone = gone};

static kit_status work(const char *what, bool *out_done) {
    *out_done = ++d.worked >= d.work;
    if (*out_done) printf("work %s\n", what), d.worked = 0;
    return KOLM_OK;
}

static kit_status arm(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    (void)user, (void)err;
    printf("log 1 arms %s\n", box->address);
    return work("armed", out_done);
}

static kit_status run(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    (void)user, (void)box, (void)err;
    return work("run", out_done);
}

static kit_status collect(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    (void)user, (void)box, (void)err;
    return work("collected", out_done);
}

static const kit_rent_work all_work = {.arm = arm, .run = run, .collect = collect};

/* ---- The test's clock */

static void step_all(kit_rent *rent, kit_rent_account *account) {
    char line[64];
    while (!kit_rent_ended(rent)) {
        if (rent->due_ms > d.time) d.time = rent->due_ms;
        d.time += 100;
        printf("now %lld %s\n", (long long)d.time, kit_rent_state_name(rent->state));
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL) exit(3);
        d.steps++;
        d.cancelled = d.cancel != 0 && d.steps >= d.cancel;
        bool away = d.away != 0 && d.steps >= d.away && d.steps < d.away + 40;
        kit_copy(account->base, sizeof account->base, away ? NOWHERE : d.api);
        if (d.cancelled || rent->state == KIT_RENT_DESTROYING) kit_rent_account_insist(account);
        kit_rent_step(rent, d.time, d.cancelled);
    }
}

static void tell_end(const char *what, const kit_rent *rent) {
    printf("end %s %s %d %llu %s\n", what, kit_rent_state_name(rent->state), (int)rent->error.code,
           (unsigned long long)rent->spent_micro_usd, rent->error.text);
}

static void rent_one(vm_keyed *k, kolm_error_t *err) {
    const kit_rent_plan plan = {.provider = &k->provider,
                                .provider_state = k,
                                .work = &all_work,
                                .journal = &journal,
                                .journal_user = (void *)(uintptr_t) "instance",
                                .prefix = k->name,
                                .budget_micro_usd = d.budget,
                                .rate_micro_usd_per_hour = d.rate,
                                .deadline_ms = 7200000};
    kit_rent_plan key_plan;
    kit_rent rent, key;
    if (kit_rent_begin(&rent, &plan, d.time, err) != KOLM_OK) exit(4);
    step_all(&rent, &k->account);
    tell_end("machine", &rent);
    if (!k->asked) return;
    kit_rent_account_insist(&k->account);
    if (vm_key_end(k, 0, d.time, &key_plan, &key, err) != KOLM_OK) exit(4);
    step_all(&key, &k->account);
    tell_end("key", &key);
}

static void reclaim_one(vm_keyed *k, kolm_error_t *err) {
    const kit_rent_plan plan = {.provider = &k->vm->machine,
                                .provider_state = &k->account,
                                .journal = &journal,
                                .journal_user = (void *)(uintptr_t) "none"};
    kit_rent rent;
    if (kit_rent_reclaim(&rent, &plan, d.reclaim, d.handle, d.age, d.time, err) != KOLM_OK) exit(4);
    step_all(&rent, &k->account);
    tell_end("reclaim", &rent);
}

static bool take(const char *text) {
    const char *value = strchr(text, '=');
    if (value == NULL) return false;
    if (strncmp(text, "set.", 4) == 0 || strncmp(text, "secret.", 7) == 0) return true;
    const struct {
        const char *name;
        uint64_t *number;
        const char **text;
    } all[] = {{"budget", &d.budget, NULL}, {"rate", &d.rate, NULL}, {"vram", &d.vram, NULL},
               {"cancel", &d.cancel, NULL}, {"away", &d.away, NULL}, {"work", &d.work, NULL},
               {"age", &d.age, NULL},       {"now", &d.now, NULL},   {"reclaim", NULL, &d.reclaim},
               {"handle", NULL, &d.handle}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strlen(all[i].name) != (size_t)(value - text) || strncmp(all[i].name, text, (size_t)(value - text)) != 0)
            continue;
        if (all[i].text != NULL) *all[i].text = value + 1;
        return all[i].text != NULL || kit_parse_u64(value + 1, all[i].number);
    }
    return false;
}

/* Returns the exit code of one run. */
static int drive_one(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    vm_keyed k = {.account = {.hurried = true}, .vm = &TABLE};
    d = (drive){.work = 1, .handle = "", .now = 1000000, .api = words[1]};
    if (words[0] == NULL || strcmp(words[0], "run") != 0 || words[1] == NULL) return 2;
    for (int i = 2; words[i] != NULL; i++)
        if (!take(words[i])) return 2;
    d.time = (int64_t)d.now;
    k.account.wish.vram_bytes = d.vram;
    if (kit_rent_account_open(&TABLE.site, &host, &k.account, &err) != KOLM_OK ||
        vm_name_make("0123456789abcdef", k.name, &err) != KOLM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    kit_copy(k.account.public_key, sizeof k.account.public_key, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== test");
    vm_keyed_begin(&k, &TABLE, &journal, (void *)(uintptr_t) "key");
    if (d.reclaim != NULL)
        reclaim_one(&k, &err);
    else
        rent_one(&k, &err);
    kit_rent_account_close(&k.account);
    return 0;
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    int code = 0;
    while (code == 0 && getline(&line, &room, stdin) > 0) {
        size_t count = 0;
        for (char *rest = line, *word; count < WORDS_MAX && (word = strsep(&rest, "\t\n")) != NULL && *word != '\0';)
            words[count++] = word;
        words[count] = NULL;
        code = drive_one();
        if (code == 0) puts("over");
        fflush(stdout);
    }
    free(line);
    return code;
}
