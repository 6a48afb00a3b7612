/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: how runpod interprets the answers of a serverless endpoint to a request, a status query and a
 * cancellation. */
#include "../../plugins/cloud/runpod/serverless.c"

#include "http_double.h"

#define MODEL "232dda28e7342441ee671fd6da40504157a03db111e5aa6c231d43f5ba9ee8ac"

/* The two answer lines have the order and the ids of the questions. */
static void check_lines(const kit_buf *out) {
    static const char *const ids[] = {"a", "a"};
    const char *at = kit_buf_text(out), *id = NULL;
    for (size_t i = 0; i < 2; i++) {
        cJSON *line = NULL;
        double confidence = -1;
        size_t length = strcspn(at, "\n");
        must(at[length] == '\n' && kit_json_parse(at, length, &line, NULL) == KOLM_OK);
        must(kit_json_get_string(line, "id", &id) && strcmp(id, ids[i]) == 0);
        must(kit_json_get_number(line, "confidence", &confidence) && confidence >= 0 && confidence <= 1);
        must(cJSON_IsString(kit_json_get(line, "output")) || cJSON_IsNull(kit_json_get(line, "output")));
        cJSON_Delete(line);
        at += length + 1;
    }
    must(*at == '\0');
}

static kit_status ask(kit_queue_task *task, kolm_error_t *err) {
    kit_queue_look seen = {0};
    char id[KIT_RENT_HANDLE_BYTES] = "";
    bool yes = false;
    endpoint *e = task->own;
    kit_status status = submit(task, "kolm-1", id, &yes, err);
    must(status != KOLM_OK || (kit_service_is_id(id) && yes));
    if (status != KOLM_OK) return status;
    status = look(task, id, &seen, err);
    must(memchr(seen.word, '\0', sizeof seen.word) != NULL && memchr(seen.why, '\0', sizeof seen.why) != NULL);
    must(status == KOLM_OK || err->text[0] != '\0');
    if (status == KOLM_OK && seen.life == KIT_QUEUE_SUCCEEDED) {
        yes = false;
        status = fetch(task, id, &yes, err);
        must(yes == (status == KOLM_OK));
        if (yes) check_lines(e->out);
    }
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_status told = cancel(task, id, &ignored);
    must(told == KOLM_OK || ignored.text[0] != '\0');
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char questions[] = "[{\"id\":\"a\",\"input\":\"x\"},{\"id\":\"a\",\"input\":\"y\"}]";
    kit_queue_task task = {.backend = &backend, .host = &http_double_host, .name = "kolm-1", .rows_fd = -1};
    kit_buf out = {0};
    cJSON *asked = NULL;
    endpoint e = {.id = "abc123", .model = MODEL, .seconds = 60, .out = &out};
    kolm_error_t err = KIT_ERROR_INIT;
    fuzz_parts parts = {.at = (const char *)data, .left = size};
    http_double_answers(&parts);
    task.own = &e;
    must(kit_json_parse(questions, strlen(questions), &asked, &err) == KOLM_OK);
    e.questions = asked;
    must(kit_service_open(&runpod_serverless_site, &http_double_host, &task.service, &err) == KOLM_OK);
    kit_status status = ask(&task, &err);
    must(status == KOLM_OK || err.text[0] != '\0');
    kit_service_close(&task.service);
    cJSON_Delete(e.output);
    cJSON_Delete(asked);
    kit_buf_free(&out);
    return 0;
}
