/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend check: the report as text, as JSON, and as JUnit XML for a vendor's own CI. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "conform/junit.h"

#include <limits.h>
#include <stdlib.h>

/* ---- For people */

static void print_item(void *user, const check_item *item) {
    static const cli_style styles[] = {CLI_GREEN, CLI_RED, CLI_DIM, CLI_YELLOW, CLI_RED};
    cli_context *context = user;
    char outcome[20];
    if (context->json) return;
    kit_format(outcome, sizeof outcome, "%-16s", check_outcome_name(item->outcome));
    cli_print(context, "%s  %-24s  %s\n", cli_styled(context, styles[item->outcome], outcome), item->name,
              cli_safe(item->reason[0] ? item->reason : item->about));
    cli_flush(context); /* so that a log can be read while the next check runs */
}

/* ---- For programs */

static cJSON *to_json(const check_report *report, const check_tally *t) {
    cJSON *value = cJSON_CreateObject();
    bool built = kit_json_put_string(value, "schema", "kolm.backend.check/1") &&
                 kit_json_put_string(value, "backend", report->name) && kit_json_put_bool(value, "good", check_good(t));
    cJSON *items = built ? cJSON_AddArrayToObject(value, "checks") : NULL;
    built = items != NULL;
    for (size_t i = 0; built && i < report->count; i++) {
        const check_item *item = &report->items[i];
        cJSON *o = cJSON_CreateObject();
        built = kit_json_put_string(o, "name", item->name) && kit_json_put_string(o, "about", item->about) &&
                kit_json_put_string(o, "outcome", check_outcome_name(item->outcome)) &&
                kit_json_put_string(o, "reason", item->reason[0] ? item->reason : NULL) &&
                kit_json_put_u64(o, "wall_ms", (uint64_t)item->wall_ms);
        built = cli_append(items, o, built);
    }
    return cli_whole(value, built);
}

/* ---- The verb */

static int finish(cli_context *context, const check_report *report, kit_atomic_file *junit) {
    const check_tally t = check_count(report);
    int exit_code = check_good(&t) ? CLI_EXIT_OK : CLI_EXIT_BACKEND;
    kolm_error_t err = KIT_ERROR_INIT;
    if (junit) {
        kit_status status = check_junit_write(junit, report, &err);
        if (status != KOLM_OK) return cli_fail(context, SESSION_REASON_NONE, &err);
    }
    if (context->json) return cli_print_json(context, to_json(report, &t), exit_code);
    cli_print(context, "%s  %s: %zu passed, %zu failed, %zu skipped",
              check_good(&t) ? cli_styled(context, CLI_GREEN, "GOOD") : cli_styled(context, CLI_RED, "BAD "),
              report->name, t.of[CHECK_PASS], t.of[CHECK_FAIL] + t.of[CHECK_UNEXPECTED_PASS], t.of[CHECK_SKIP]);
    if (t.of[CHECK_EXPECTED_FAIL] > 0) cli_print(context, ", %zu failed as expected", t.of[CHECK_EXPECTED_FAIL]);
    cli_print(context, "\n");
    return exit_code;
}

static int check_names(cli_context *context, const session_words *list, const char *option) {
    for (size_t i = 0; i < list->count; i++)
        if (!check_known(list->items[i]))
            return cli_usage_error(context, "kolm backend check", "--%s names '%s', which is not a check", option,
                                   cli_safe(list->items[i]));
    return CLI_EXIT_OK;
}

static session_reason reason_of(kit_status status, const session_words *set) {
    if (status == KOLM_E_INVALID_ARGUMENT && set->count > 0) return SESSION_REASON_USAGE;
    return status == KOLM_E_UNKNOWN ? SESSION_REASON_INTERNAL : SESSION_REASON_NONE;
}

static void take_lists(check_options *o, const session_words *set, const session_words *unsupported,
                       const session_words *expected) {
    o->set = set->items;
    o->set_count = set->count;
    o->unsupported = unsupported->items;
    o->unsupported_count = unsupported->count;
    o->expected = expected->items;
    o->expected_count = expected->count;
}

int cli_backend_check(cli_context *context, int argc, char **argv) {
    check_options o = {.cancel = cli_interrupt_flag(), .done = print_item, .user = context};
    session_words unsupported = {0}, expected = {0}, set = {0};
    const char *junit = NULL;
    kit_atomic_file xml = {.fd = -1};
    const cli_option options[] = {
        {"network", 0, CLI_FLAG, &o.network, NULL, "let train, infer and test use the network, and spend money"},
        {"set", 0, CLI_WORDS, &set, "NAME=VALUE", "a setting of the backend, as in config.json; may be given again"},
        {"only", 0, CLI_STRING, &o.only, "NAME", "only checks whose name begins with this, such as detect"},
        {"unsupported", 0, CLI_LIST, &unsupported, "NAME", "a check not to run"},
        {"expected-failure", 0, CLI_LIST, &expected, "NAME",
         "a check that is expected to fail; if it passes, that is a failure"},
        {"junit", 0, CLI_STRING, &junit, "FILE", "write the report as JUnit XML too"},
    };
    const cli_syntax syntax = {
        .command = "kolm backend check",
        .words = "FILE.so",
        .summary =
            "Checks that a backend keeps the contract of kolm/backend.h. Needs the plugin and its manifest, no source.",
        .notes = "Each check runs in a process of its own, without network. A check is skipped if the device "
                 "is\nabsent. Exit code 5 if a check fails.",
        CLI_ROWS(options),
    };
    kolm_error_t err = KIT_ERROR_INIT;
    char real[PATH_MAX];
    check_report *report = NULL;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) goto out;
    exit_code = check_names(context, &unsupported, "unsupported");
    if (exit_code == CLI_EXIT_OK) exit_code = check_names(context, &expected, "expected-failure");
    if (exit_code == CLI_EXIT_OK && o.only && !check_known_prefix(o.only))
        exit_code = cli_usage_error(context, "kolm backend check",
                                    "--only '%s': no check has a name that begins with it", cli_safe(o.only));
    if (exit_code != CLI_EXIT_OK) goto out;
    take_lists(&o, &set, &unsupported, &expected);
    o.plugin = real;
    store_home *home = NULL;
    if (session_home(&context->session, &home, NULL) == KOLM_OK) o.home = home;
    report = malloc(sizeof *report);
    kit_status status = KOLM_OK;
    if (!report)
        status = kit_no_memory(&err);
    else
        status = check_find_plugin(argv[0], real, &err);
    /* Opened first, to fail before the checks run if the report cannot be written. */
    if (status == KOLM_OK && junit) status = kit_atomic_open(junit, 0644, &xml, &err);
    if (status == KOLM_OK) status = check_backend(&o, report, &err);
    exit_code = status == KOLM_OK ? finish(context, report, junit ? &xml : NULL)
                                  : cli_fail(context, reason_of(status, &set), &err);
out:
    kit_atomic_abort(&xml);
    free(report);
    cli_list_free(&unsupported);
    cli_list_free(&expected);
    cli_list_free(&set);
    return exit_code;
}
