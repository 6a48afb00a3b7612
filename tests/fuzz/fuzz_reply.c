/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: for any reply of a process in place of kolm-host, a call ends with a verdict, and no text that is passed
 * on contains terminal controls or a secret. The first byte selects the slot and how the process ended. */
#include "fuzz.h"
#include "host/run.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define SECRET "tok-0123456789"

static const char *secret_of(void *user, const char *name) {
    (void)user;
    return strcmp(name, "ACME_TOKEN") == 0 ? SECRET : NULL;
}

static void check_text(const char *text) {
    must(text != NULL && fuzz_plain(text));
}

/* Checks a text in which secrets are replaced. */
static void check_told(const char *text) {
    check_text(text);
    must(strstr(text, SECRET) == NULL);
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    (void)level;
    must(strcmp(backend, "acme") == 0);
    check_told(text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    (void)user;
    check_told(progress->phase);
}

static void on_metric(void *user, const char *name, double value) {
    (void)user;
    (void)value;
    check_told(name);
}

static void on_step(void *user, const kolm_test_step_t *step) {
    (void)user;
    check_told(step->title);
    check_told(step->note);
}

static void on_holding(void *user, const kolm_holding_t *holding) {
    (void)user;
    check_told(holding->place);
    check_told(holding->kind);
    check_told(holding->name);
    check_told(holding->note);
}

static void on_undeclared(void *user, const char *key) {
    (void)user;
    check_told(key);
}

static void check_result(const host_result *r) {
    const char *const texts[] = {r->version,        r->vendor,          r->licence,       r->homepage,
                                 r->sandbox.kernel, r->sandbox.profile, r->detect.reason, r->detect.remedy,
                                 r->detect.runtime, r->cost.basis,      r->train.device,  r->train.toolchain,
                                 r->infer.device,   r->test.summary,    r->status.summary};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_told(texts[i]);
    must(r->device_count <= HOST_DEVICES_MAX && r->sandbox.mechanism_count <= HOST_MECHANISMS_MAX);
    for (size_t i = 0; i < r->device_count; i++) {
        check_told(r->devices[i].name);
        check_told(r->devices[i].id);
        check_told(r->devices[i].driver);
        check_told(r->devices[i].runtime);
    }
    for (size_t i = 0; i < r->sandbox.mechanism_count; i++)
        check_told(r->sandbox.mechanisms[i]);
    check_told(r->error.text);
    check_told(r->error.remedy);
    must(r->verdict == HOST_OK || r->error.text[0] != '\0');
    must(!r->sandbox.enforced || r->sandbox.probes_reached == 0);
}

/* Handles received bytes as host_run_all does. */
static void receive_lines(host_run *run, const char *text, size_t length) {
    while (length > 0 && !run->garbled) {
        const char *lf = memchr(text, '\n', length);
        size_t line = lf != NULL ? (size_t)(lf - text) : length;
        if (!host_run_answer(run, text, line)) run->garbled = true;
        line += lf != NULL ? 1 : 0;
        text += line;
        length -= line;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const slots[] = {"detect", "cost", "train", "infer", "test", "status"};
    static const host_events events = {NULL, on_log, on_progress, on_metric, on_step, on_holding, on_undeclared, NULL};
    static char name[] = "acme", token[] = "ACME_TOKEN";
    static char *auth[] = {token};
    static host_manifest manifest = {.auth = auth, .auth_count = 1};
    static const host_backend backend = {.name = name, .manifest = &manifest};
    static host_result result;
    if (size == 0) return 0;
    const host_call_options options = {.events = &events, .secret = secret_of, .airgap_strict = (data[0] & 8) != 0};
    host_run run = {.backend = &backend, .options = &options, .slot = slots[(data[0] & 7) % 6], .result = &result};
    result = (host_result){.verdict = HOST_NO_REPLY, .error = KIT_ERROR_INIT};
    run.several = (data[0] & 16) != 0;
    run.life.code = (data[0] & 32) != 0 ? CLD_KILLED : CLD_EXITED;
    run.life.status = run.life.code == CLD_KILLED ? SIGSEGV : 0;
    run.life.stop = (data[0] & 64) != 0 ? KIT_CHILD_CANCELLED : KIT_CHILD_GOES_ON;
    fuzz_parts parts = {(const char *)data + 1, size - 1};
    size_t length, printed_length;
    char *reply = fuzz_part(&parts, &length), *printed = fuzz_part(&parts, &printed_length);
    receive_lines(&run, reply, length);
    host_run_printed(&run, printed, printed_length);
    host_run_conclude(&run);
    check_result(&result);
    kit_buf_free(&run.log);
    free(reply);
    free(printed);
    return 0;
}
