/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that the checks make, and the output of the plugin during them. */
#include "conform/conform.h"
#include "host/host.h"
#include "store/store.h"

#include <string.h>
#include <strings.h>

static void hear_line(check *c, const char *text) {
    kit_buf_str(&c->said, text);
    kit_buf_char(&c->said, '\n');
}

static void on_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)backend, (void)level;
    hear_line(user, text);
}

static void on_printed(void *user, const char *text) {
    check *c = user;
    hear_line(c, text);
    if (c->printed.length < 4096) kit_buf_fmt(&c->printed, "%s\n", text);
}

static void on_progress(void *user, const kolm_progress_t *progress) {
    check *c = user;
    c->progress_reports++;
    hear_line(c, progress->phase);
    if (c->stop_at_progress) c->stop = 1;
}

static void on_metric(void *user, const char *name, double value) {
    (void)value;
    hear_line(user, name);
}

static void on_step(void *user, const kolm_test_step_t *step) {
    hear_line(user, step->title);
    hear_line(user, step->note);
}

static void on_holding(void *user, const kolm_holding_t *holding) {
    check *c = user;
    const char *const texts[] = {holding->place, holding->kind, holding->name, holding->note};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hear_line(c, texts[i]);
    c->holdings++;
    if (holding->state > KOLM_HOLDING_REMOVED || !*holding->place || !*holding->kind || !*holding->name)
        c->odd_holdings++;
    if (holding->state == KOLM_HOLDING_REMOVED) c->removed++;
}

/* An address that a manifest lists under auth is not a secret; everything else there is. */
static const char *give_secret(void *user, const char *name) {
    static const char *const endings[] = {"TOKEN", "KEY", "SECRET", "PASSWORD"};
    size_t n = strlen(name);
    (void)user;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t m = strlen(endings[i]);
        if (n >= m && strcasecmp(name + n - m, endings[i]) == 0) return CHECK_SECRET;
    }
    return "kolm-check";
}

void check_call_options(check *c, host_call_options *out_options) {
    static host_events events;
    events = (host_events){.user = c,
                           .log = on_log,
                           .progress = on_progress,
                           .metric = on_metric,
                           .test_step = on_step,
                           .holding = on_holding,
                           .undeclared = check_undeclared,
                           .breach = check_breach_heard,
                           .printed = on_printed};
    *out_options = (host_call_options){.cancel = c->options->cancel,
                                       .config = c->config,
                                       .secret = give_secret,
                                       .events = &events,
                                       .show_secrets = true};
    if (c->options->home) {
        out_options->private_dir = store_home_path(c->options->home);
        out_options->private_names = store_kept_names();
    }
}

bool check_called(check *c, kit_status status, const kolm_error_t *err) {
    if (status == KOLM_OK) return true;
    c->not_called = true;
    c->broken = *err;
    return false;
}

void check_hear(check *c, const host_result *result) {
    const char *const texts[] = {result->error.text,    result->error.remedy,  result->version,
                                 result->vendor,        result->licence,       result->homepage,
                                 result->detect.reason, result->detect.remedy, result->detect.runtime,
                                 result->cost.basis,    result->train.device,  result->train.toolchain,
                                 result->infer.device,  result->test.summary,  result->status.summary};
    if (result->own_fault && !c->not_called) {
        c->not_called = true;
        c->broken = result->error;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        hear_line(c, texts[i]);
    for (size_t i = 0; i < result->device_count; i++) {
        const host_device *d = &result->devices[i];
        const char *const of_device[] = {d->name, d->id, d->driver, d->runtime};
        for (size_t k = 0; k < 4; k++)
            hear_line(c, of_device[k]);
    }
}

bool check_detect(check *c, const host_audit *audit, bool airgap, host_result *out_result) {
    host_call_options options;
    kolm_error_t err = KIT_ERROR_INIT;
    check_call_options(c, &options);
    options.timeout_ms = CHECK_DETECT_MS;
    options.audit = audit;
    options.airgap_strict = airgap;
    kit_status status = host_detect(c->registry, c->row, &options, out_result, &err);
    if (!check_called(c, status, &err)) return false;
    check_hear(c, out_result);
    if (out_result->verdict == HOST_OK) return true;
    if (out_result->verdict == HOST_SANDBOX)
        check_skip(c, "this machine cannot shut the network: %s", out_result->error.text);
    else
        check_fail(c, "%s", out_result->error.text);
    return false;
}
