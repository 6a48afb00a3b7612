/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a check as JUnit XML, for a vendor's own CI. */
#include "conform/junit.h"

#include "kolm/kit/text.h"

#include <string.h>

/* ---- JUnit XML, as Jenkins, GitLab and others read it: testsuite, testcase, failure, skipped. */

/* Attribute text. What XML 1.0 cannot hold is shown as in the human form; that leaves U+FFFE and U+FFFF. */
static void put_xml(kit_buf *out, const char *text) {
    static const char *const no_characters[] = {"\xEF\xBF\xBE", "\xEF\xBF\xBF"};
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    out->failed = out->failed || shown.failed;
    for (text = kit_buf_text(&shown); *text; text++) {
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
    kit_buf_free(&shown);
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

kit_status check_junit_write(kit_atomic_file *file, const check_report *report, kolm_error_t *err) {
    const check_tally t = check_count(report);
    kit_buf out = {0};
    kit_buf_str(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"kolm backend check ");
    put_xml(&out, report->name);
    kit_buf_fmt(&out, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\">\n", report->count,
                t.of[CHECK_FAIL] + t.of[CHECK_UNEXPECTED_PASS], t.of[CHECK_SKIP] + t.of[CHECK_EXPECTED_FAIL]);
    for (size_t i = 0; i < report->count; i++)
        put_case(&out, report->name, &report->items[i]);
    kit_buf_str(&out, "</testsuite>\n");
    kit_status status = kit_buf_ok(&out, err);
    if (status == KOLM_OK) status = kit_write_all(file->fd, out.data, out.length, err);
    if (status == KOLM_OK) status = kit_atomic_commit(file, true, err);
    kit_buf_free(&out);
    return status;
}
