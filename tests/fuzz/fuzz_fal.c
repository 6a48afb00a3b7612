/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: how fal interprets answers of its queue and about its prices. The first byte selects the request,
 * followed by the answers. */
#include "../../plugins/cloud/fal/api.c"

#include "http_double.h"

static const kit_service_site site = {.name = "fal",
                                      .title = "fal",
                                      .variable = "KOLM_FAL_TOKEN",
                                      .where = "there",
                                      .money = "there",
                                      .base = "https://queue.fal.run",
                                      .scheme = "Key ",
                                      .hosts = {"fal.run", "queue.fal.run", "api.fal.ai"}};

static const kit_queue_backend backend = {.site = &site, .queue = &fal_queue};

/* The key is sent only to fal, whatever an answer contains. */
static void check_urls(const kit_queue_task *task) {
    const fal_request *r = task->own;
    const char *const urls[] = {r->status_url, r->response_url, r->cancel_url};
    for (size_t i = 0; i < 3; i++)
        must(kit_service_is_ours(&task->service, urls[i]));
}

static kit_status ask(kit_queue_task *task, char what, kolm_error_t *err) {
    kit_queue_look seen = {0};
    char text[KIT_RENT_HANDLE_BYTES] = "";
    bool yes = false;
    if (what % 2 == 1) return fal_check(task, text, sizeof text, err);
    kit_status status = submit(task, "kolm-1", text, &yes, err);
    must(status != KOLM_OK || (kit_service_is_id(text) && yes));
    if (status != KOLM_OK) return status;
    check_urls(task);
    status = look(task, text, &seen, err);
    must(memchr(seen.word, '\0', sizeof seen.word) != NULL && memchr(seen.why, '\0', sizeof seen.why) != NULL);
    must(status == KOLM_OK || err->text[0] != '\0');
    yes = false;
    status = fetch(task, text, &yes, err);
    must(yes == (status == KOLM_OK));
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_status told = cancel(task, text, &ignored);
    must(told == KOLM_OK || ignored.text[0] != '\0');
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kit_queue_task task = {.backend = &backend, .host = &http_double_host, .name = "kolm-1", .rows_fd = -1};
    kit_buf answer = {0};
    fal_request request = {
        .input_field = "prompt", .output_field = "output", .question = "which label?", .answer = &answer};
    kolm_error_t err = KIT_ERROR_INIT;
    if (size == 0) return 0;
    fuzz_parts parts = {.at = (const char *)data + 1, .left = size - 1};
    http_double_answers(&parts);
    task.own = &request;
    kit_copy(task.model.model, sizeof task.model.model, size % 2 == 0 ? "me/router" : "me/router/path");
    must(kit_service_open(&site, &http_double_host, &task.service, &err) == KOLM_OK);
    kit_status status = ask(&task, (char)data[0], &err);
    must(status == KOLM_OK || err.text[0] != '\0');
    kit_service_close(&task.service);
    kit_buf_free(&answer);
    return 0;
}
