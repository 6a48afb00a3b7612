/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the directory of a missed gate becomes a page in which every tag was written by the room, or it is
 * rejected. */
#include "../report/markup.h"
#include "fuzz.h"
#include "report/gather.h"

#include <fcntl.h>
#include <unistd.h>

/* Held-out rows, with their line numbers in the user's file. */
static const char rows[] = "{\"id\":\"1\",\"input\":\"x\",\"row\":\"7\",\"output\":\"a\"}\n"
                           "{\"id\":\"2\",\"input\":\"y\",\"row\":\"3\",\"output\":\"<b>\"}\n";
static int heldout = -1;

/* Kept answers are joined with the rows and counted, or rejected. */
static void check_kept(report_gathering *g) {
    kolm_error_t err = KIT_ERROR_INIT;
    if (heldout < 0) {
        fuzz_put("heldout.jsonl", rows, sizeof rows - 1);
        heldout = open(fuzz_path("heldout.jsonl"), O_RDONLY | O_CLOEXEC);
    }
    const char *path = fuzz_path("again.jsonl");
    (void)unlink(path);
    kit_status status = report_kept_answers(fuzz_directory(), heldout, path, &err);
    if (status == KOLM_OK) {
        const report_answers answers = {
            .question = {.heldout_fd = heldout, .predictions = path}, .kept = "x", .place = "data", .labels = true};
        status = report_gather_answers(g, &answers, &err);
    }
    if (status != KOLM_OK) fuzz_refused(status, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"report.json", "predictions.jsonl", "report.txt"};
    fuzz_parts parts = {(const char *)data, size};
    kolm_error_t err = KIT_ERROR_INIT;
    report_gathering *g = NULL;
    kit_buf page = {0};
    size_t tags = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t length = 0;
        char *part = fuzz_part(&parts, &length);
        fuzz_put_any(names[i], part, length);
        free(part);
    }
    must(report_gather_new("kolm", "x", &g, &err) == KOLM_OK);
    kit_status status = report_gather_failed(g, fuzz_directory(), &err);
    if (status == KOLM_OK) {
        check_kept(g);
        must(report_page(report_gather_facts(g), &page, &err) == KOLM_OK);
        must(markup_fault(kit_buf_text(&page), page.length, &tags) == NULL);
        must(strstr(page.data, "=\"nan") == NULL && strstr(page.data, "=\"inf") == NULL &&
             strstr(page.data, ">nan") == NULL);
    } else {
        fuzz_refused(status, &err);
    }
    kit_buf_free(&page);
    report_gather_free(g);
    return 0;
}
