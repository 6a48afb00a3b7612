/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend check: the report for people, for programs, and as JUnit XML for a vendor's own CI. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "conform/conform.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct tally {
    size_t of[CHECK_UNEXPECTED_PASS + 1];
} tally;

static tally count(const check_report *report) {
    tally t = {{0}};
    for (size_t i = 0; i < report->count; i++)
        t.of[report->items[i].outcome]++;
    return t;
}

static bool good(const tally *t) {
    return t->of[CHECK_FAIL] == 0 && t->of[CHECK_UNEXPECTED_PASS] == 0;
}

/* ---- For people */

static void print_item(void *user, const check_item *item) {
    static const cli_style styles[] = {CLI_GREEN, CLI_RED, CLI_DIM, CLI_YELLOW, CLI_RED};
    cli_context *context = user;
    char outcome[20];
    if (context->json) return;
    kit_format(outcome, sizeof outcome, "%-16s", check_outcome_name(item->outcome));
    cli_print(context, "%s  %-24s  %s\n", cli_styled(context, styles[item->outcome], outcome), item->name,
              cli_safe(item->reason[0] ? item->reason : item->about));
    cli_flush(context); /* a log is read while the next check runs */
}

/* ---- For programs */

static cJSON *to_json(const check_report *report, const tally *t) {
    cJSON *value = cJSON_CreateObject();
    bool built = kit_json_put_string(value, "schema", "kolm.backend.check/1") &&
                 kit_json_put_string(value, "backend", report->name) && kit_json_put_bool(value, "good", good(t));
    cJSON *items = built ? cJSON_AddArrayToObject(value, "checks") : NULL;
    built = items != NULL;
    for (size_t i = 0; built && i < report->count; i++) {
        const check_item *item = &report->items[i];
        cJSON *o = cJSON_CreateObject();
        built = kit_json_put_string(o, "name", item->name) && kit_json_put_string(o, "about", item->about) &&
                kit_json_put_string(o, "outcome", check_outcome_name(item->outcome)) &&
                kit_json_put_string(o, "reason", item->reason[0] ? item->reason : NULL) &&
                kit_json_put_u64(o, "wall_ms", (uint64_t)item->wall_ms);
        if (!built || !cJSON_AddItemToArray(items, o)) {
            cJSON_Delete(o);
            built = false;
        }
    }
    if (built) return value;
    cJSON_Delete(value);
    return NULL;
}

/* ---- JUnit XML, as Jenkins, GitLab and others read it: testsuite, testcase, failure, skipped. */

/* Attribute text. What XML 1.0 cannot hold is shown as in the human form; that leaves U+FFFE and U+FFFF. */
static void put_xml(kit_buf *out, const char *text) {
    static const char *const no_characters[] = {"\xEF\xBF\xBE", "\xEF\xBF\xBF"};
    for (text = cli_safe(text); *text; text++) {
        if (strncmp(text, no_characters[0], 3) == 0 || strncmp(text, no_characters[1], 3) == 0) {
            kit_buf_char(out, '?');
            text += 2;
        } else if (*text == '&')
            kit_buf_str(out, "&amp;");
        else if (*text == '<')
            kit_buf_str(out, "&lt;");
        else if (*text == '>')
            kit_buf_str(out, "&gt;");
        else if (*text == '"')
            kit_buf_str(out, "&quot;");
        else
            kit_buf_char(out, *text);
    }
}

static void put_case(kit_buf *out, const char *backend, const check_item *item) {
    kit_buf_str(out, "  <testcase classname=\"");
    put_xml(out, backend);
    kit_buf_fmt(out, "\" name=\"%s\" time=\"%lld.%03lld\"", item->name, (long long)(item->wall_ms / 1000),
                (long long)(item->wall_ms % 1000));
    if (item->outcome == CHECK_PASS) {
        kit_buf_str(out, "/>\n");
        return;
    }
    bool failed = item->outcome == CHECK_FAIL || item->outcome == CHECK_UNEXPECTED_PASS;
    kit_buf_fmt(out, "><%s message=\"%s", failed ? "failure" : "skipped",
                item->outcome == CHECK_EXPECTED_FAIL ? "expected failure: " : "");
    put_xml(out, item->reason);
    kit_buf_str(out, "\"/></testcase>\n");
}

static kit_status write_junit(kit_atomic_file *file, const check_report *report, const tally *t, kolm_error_t *err) {
    kit_buf out = {0};
    kit_buf_str(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"kolm backend check ");
    put_xml(&out, report->name);
    kit_buf_fmt(&out, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\">\n", report->count,
                t->of[CHECK_FAIL] + t->of[CHECK_UNEXPECTED_PASS], t->of[CHECK_SKIP] + t->of[CHECK_EXPECTED_FAIL]);
    for (size_t i = 0; i < report->count; i++)
        put_case(&out, report->name, &report->items[i]);
    kit_buf_str(&out, "</testsuite>\n");
    kit_status status = kit_buf_ok(&out, err);
    if (status == KOLM_OK) status = kit_write_all(file->fd, out.data, out.length, err);
    if (status == KOLM_OK) status = kit_atomic_commit(file, true, err);
    kit_buf_free(&out);
    return status;
}

/* ---- The verb */

static int finish(cli_context *context, const check_report *report, kit_atomic_file *junit) {
    const tally t = count(report);
    int exit_code = good(&t) ? SESSION_EXIT_OK : SESSION_EXIT_BACKEND;
    kolm_error_t err = KIT_ERROR_INIT;
    if (junit) {
        kit_status status = write_junit(junit, report, &t, &err);
        if (status != KOLM_OK) return cli_error(context, session_exit_of(status), &err);
    }
    if (context->json) return cli_print_json(context, to_json(report, &t), exit_code);
    cli_print(context, "%s  %s: %zu passed, %zu failed, %zu skipped",
              good(&t) ? cli_styled(context, CLI_GREEN, "GOOD") : cli_styled(context, CLI_RED, "BAD "), report->name,
              t.of[CHECK_PASS], t.of[CHECK_FAIL] + t.of[CHECK_UNEXPECTED_PASS], t.of[CHECK_SKIP]);
    if (t.of[CHECK_EXPECTED_FAIL] > 0) cli_print(context, ", %zu failed as expected", t.of[CHECK_EXPECTED_FAIL]);
    cli_print(context, "\n");
    return exit_code;
}

static int check_names(cli_context *context, const session_words *list, const char *option) {
    for (size_t i = 0; i < list->count; i++)
        if (!check_known(list->items[i]))
            return cli_usage_error(context, "kolm backend check", "--%s names '%s', which is not a check", option,
                                   cli_safe(list->items[i]));
    return SESSION_EXIT_OK;
}

/* The real directory and the name as it was given: a plugin may be a link, and is called what the link is called. */
static kit_status find_plugin(const char *path, char out_path[PATH_MAX], kolm_error_t *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char directory[PATH_MAX], real[PATH_MAX];
    if (access(path, F_OK) != 0) return kit_fail_errno(err, errno, "cannot find %s", path);
    if (!kit_format(directory, sizeof directory, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".") ||
        !realpath(directory, real))
        return kit_fail_errno(err, errno, "cannot find %s", path);
    if (!kit_format(out_path, PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, base))
        return kit_fail_errno(err, ENAMETOOLONG, "%s", path);
    return KOLM_OK;
}

int cli_backend_check(cli_context *context, int argc, char **argv) {
    check_options o = {.cancel = cli_interrupt_flag(), .done = print_item, .user = context};
    session_words unsupported = {0}, expected = {0};
    const char *junit = NULL;
    kit_atomic_file xml = {.fd = -1};
    const cli_option options[] = {
        {"network", 0, CLI_FLAG, &o.network, NULL, "let its train, infer and test use the network, and money"},
        {"only", 0, CLI_STRING, &o.only, "NAME", "only checks whose name begins so, like detect"},
        {"unsupported", 0, CLI_LIST, &unsupported, "NAME", "a check that is never to be run"},
        {"expected-failure", 0, CLI_LIST, &expected, "NAME",
         "a check that is known to fail; passing is a failure then"},
        {"junit", 0, CLI_STRING, &junit, "FILE", "write the report as JUnit XML too"},
    };
    const cli_syntax syntax = {
        .command = "kolm backend check",
        .words = "FILE.so",
        .summary = "Does a backend keep the contract of kolm/backend.h? Needs the plugin and its manifest, no source.",
        .notes = "Each check runs in a process of its own, without network. A check is skipped where the device is\n"
                 "absent. Exit code 5 when a check fails.",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .min_words = 1,
        .max_words = 1,
        .words_out = argv};
    kolm_error_t err = KIT_ERROR_INIT;
    char real[PATH_MAX];
    check_report *report = NULL;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) goto out;
    exit_code = check_names(context, &unsupported, "unsupported");
    if (exit_code == SESSION_EXIT_OK) exit_code = check_names(context, &expected, "expected-failure");
    if (exit_code == SESSION_EXIT_OK && o.only && !check_known_prefix(o.only))
        exit_code = cli_usage_error(context, "kolm backend check", "--only names '%s', and no check begins so",
                                    cli_safe(o.only));
    if (exit_code != SESSION_EXIT_OK) goto out;
    o.unsupported = unsupported.items;
    o.unsupported_count = unsupported.count;
    o.expected = expected.items;
    o.expected_count = expected.count;
    o.plugin = real;
    store_home *home = NULL;
    if (session_home(&context->session, &home, NULL) == KOLM_OK) o.home = home;
    report = malloc(sizeof *report);
    kit_status status = KOLM_OK;
    if (!report)
        status = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    else
        status = find_plugin(argv[0], real, &err);
    /* Opened first: nobody should wait for the checks to learn that there is no place for their report. */
    if (status == KOLM_OK && junit) status = kit_atomic_open(junit, 0644, &xml, &err);
    if (status == KOLM_OK) status = check_backend(&o, report, &err);
    exit_code =
        status == KOLM_OK
            ? finish(context, report, junit ? &xml : NULL)
            : cli_error(context, status == KOLM_E_UNKNOWN ? SESSION_EXIT_INTERNAL : session_exit_of(status), &err);
out:
    kit_atomic_abort(&xml);
    free(report);
    cli_list_free(&unsupported);
    cli_list_free(&expected);
    return exit_code;
}
