/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute test: runs a backend's own test and prints its steps. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/calls.h"
#include "fleet/named.h"
#include "fleet/reap.h"

#include <inttypes.h>
#include <string.h>

typedef struct report {
    cli_context *context;
    fleet_repros repros;
    cJSON *steps; /* with --json */
    bool lost;    /* a step could not be stored: out of memory */
} report;

static void outcome_text(const kolm_test_step_t *step, char *out, size_t capacity) {
    char duration[32];
    switch (step->outcome) {
    case KOLM_STEP_OK:
        /* Shows the time of slow steps only. */
        if (step->duration_us >= 1000000)
            kit_copy(out, capacity, session_duration(duration, sizeof duration, step->duration_us / 1000));
        else
            kit_copy(out, capacity, "ok");
        break;
    case KOLM_STEP_SKIPPED:
        kit_format(out, capacity, "skipped%s%s", *step->note ? ": " : "", step->note);
        break;
    default:
        kit_format(out, capacity, "failed%s%s", *step->note ? ": " : "", step->note);
        break;
    }
}

static void on_step(void *user, const kolm_test_step_t *step) {
    static const char *const outcomes[] = {"ok", "failed", "skipped"};
    report *r = user;
    char number[24], text[512];
    if (r->steps) {
        cJSON *object = cJSON_CreateObject();
        bool good = object && kit_json_put_u64(object, "number", step->number) &&
                    kit_json_put_u64(object, "total", step->total) &&
                    kit_json_put_string(object, "title", step->title) &&
                    kit_json_put_string(object, "outcome", outcomes[step->outcome < 3 ? step->outcome : 1]) &&
                    kit_json_put_u64(object, "duration_us", step->duration_us) &&
                    kit_json_put_string(object, "note", step->note);
        r->lost = !cli_append(r->steps, object, good) || r->lost;
        return;
    }
    kit_format(number, sizeof number, "[%" PRIu32 "/%" PRIu32 "]", step->number, step->total);
    outcome_text(step, text, sizeof text);
    cli_print(r->context, "%-9s %-33s %s\n", number, cli_safe(step->title), cli_safe(text));
}

static bool put_recipes(cJSON *value, const fleet_repros *repros) {
    cJSON *recipes = cJSON_AddObjectToObject(value, "reproducible_recipes");
    bool good = recipes != NULL;
    for (size_t i = 0; i < repros->count && good; i++)
        good = kit_json_put_bool(recipes, repros->at[i].recipe, repros->at[i].found == FLEET_REPRO_SAME);
    return good;
}

static int finish(cli_context *context, const fleet_backend *backend, const kolm_test_result_t *result, cJSON *steps,
                  const fleet_repros *repros) {
    const fleet_repro repro = fleet_repro_least(repros);
    int exit_code = result->passed ? CLI_EXIT_OK : CLI_EXIT_BACKEND;
    if (!steps) {
        for (size_t i = 0; i < repros->count; i++)
            cli_print(context, "%-9s %s%s%s\n", "[repro]", cli_safe(repros->at[i].recipe),
                      repros->at[i].recipe[0] != '\0' ? " " : "", fleet_repro_text(repros->at[i].found));
        const char *verdict =
            result->passed ? cli_styled(context, CLI_GREEN, "PASS") : cli_styled(context, CLI_RED, "FAIL");
        cli_print(context, "%s     %s\n", verdict, cli_safe(result->summary));
        return exit_code;
    }
    cJSON *value = cJSON_CreateObject();
    bool good = value && kit_json_put_string(value, "schema", "kolm.compute.test/1") &&
                kit_json_put_string(value, "backend", backend->name) &&
                kit_json_put_bool(value, "passed", result->passed != 0) &&
                kit_json_put_string(value, "summary", result->summary) &&
                (repro == FLEET_REPRO_UNKNOWN ? kit_json_put_null(value, "reproducible")
                                              : kit_json_put_bool(value, "reproducible", repro == FLEET_REPRO_SAME)) &&
                put_recipes(value, repros) && kit_json_put(value, "steps", steps);
    return cli_print_json(context, cli_whole(value, good), exit_code);
}

int cli_compute_test(cli_context *context, int argc, char **argv) {
    bool repro = false;
    session_airgap airgap = SESSION_AIRGAP_OFF;
    const cli_option options[] = {
        {"repro", 0, CLI_FLAG, &repro, NULL, "fail unless two trainings give the same bytes"},
        {"airgap", 0, CLI_AIRGAP, &airgap, NULL, "without a network, enforced (strict) or only requested"}};
    const cli_syntax syntax = {
        .command = "kolm compute test",
        .words = "NAME",
        .summary = "Tests a backend before it is needed.",
        .notes = "Exit code 5 if the test does not pass. Whether two trainings gave the same bytes is recorded for "
                 "`kolm compute info` and for receipts.",
        CLI_ROWS(options),
    };
    kolm_error_t err = KIT_ERROR_INIT;
    fleet_registry *registry = NULL;
    fleet_backend *backend = NULL;
    session_reason reason = SESSION_REASON_NONE;
    kolm_test_result_t result = {.struct_size = (uint32_t)sizeof result};
    report r = {.context = context};
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    fleet_reap_start(&context->session, airgap);
    kit_status status = fleet_registry_open(&context->session, &registry, &err);
    if (status == KOLM_OK)
        status = fleet_named_for_test(&context->session, registry, argv[0], airgap, &backend, &reason, &err);
    if (status == KOLM_OK) {
        if (context->json && (r.steps = cJSON_CreateArray()) == NULL) status = kit_no_memory(&err);
        if (status == KOLM_OK)
            status =
                fleet_call_test(&context->session, registry, backend, airgap, on_step, &r, &result, &r.repros, &err);
        if (status == KOLM_OK && r.lost)
            status = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                              "out of memory for the steps of the test");
        reason = cli_interrupted() ? SESSION_REASON_INTERRUPTED : SESSION_REASON_BACKEND;
    }
    if (status == KOLM_OK) {
        if (result.passed) fleet_repro_keep(&context->session, backend, &r.repros);
        exit_code = finish(context, backend, &result, r.steps, &r.repros);
        if (exit_code == CLI_EXIT_OK && repro && fleet_repro_least(&r.repros) != FLEET_REPRO_SAME)
            exit_code = CLI_EXIT_BACKEND;
    } else {
        if (backend && !context->json)
            cli_print(context, "%s     %s\n", cli_styled(context, CLI_RED, "FAIL"), backend->name);
        exit_code = cli_fail(context, reason, &err);
        cJSON_Delete(r.steps);
    }
    fleet_registry_free(registry);
    return exit_code;
}
