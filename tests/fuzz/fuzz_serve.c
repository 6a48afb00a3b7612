/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the lines of the server. The first part is a client's request, the second the backend's answer, the
 * third a greeting. An accepted request becomes one line of strict JSON with the same text; an answer is returned with
 * the client's id and otherwise unchanged; a refusal is one line of strict JSON. */
#include "model/serve_lines.h"

#include "fuzz.h"
#include "kolm/kit/mark.h"

#include <string.h>

static cJSON *one_line(const kit_buf *text) {
    cJSON *json = NULL;
    must(text->length > 1 && memchr(text->data, '\n', text->length) == text->data + text->length - 1);
    must(kit_json_parse(text->data, text->length - 1, &json, NULL) == KOLM_OK && cJSON_IsObject(json));
    return json;
}

static void check_refusal(kit_status status, const kolm_error_t *err) {
    kit_buf text = {0};
    const char *error = NULL;
    must(status != KOLM_E_RESOURCE_EXHAUSTED && err->text[0] != '\0' && fuzz_plain(err->text));
    serve_refusal_put(err->text, &text);
    cJSON *json = one_line(&text);
    must(kit_json_get_string(json, "error", &error) && strcmp(error, err->text) == 0);
    cJSON_Delete(json);
    kit_buf_free(&text);
}

static void check_question(const serve_question *q, const kit_buf *line) {
    const char *input = NULL, *id = NULL;
    cJSON *json = one_line(line);
    must(kit_json_get_string(json, "input", &input) && strcmp(input, kit_buf_text(&q->texts[1])) == 0);
    must(kit_json_get_string(json, "id", &id) && strcmp(id, "7") == 0);
    must(strlen(kit_buf_text(&q->texts[0])) == q->texts[0].length); /* ids are stored as C strings */
    must(kit_json_get(json, "messages") == NULL || cJSON_IsArray(kit_json_get(json, "messages")));
    must(kit_json_get(json, "tools") == NULL || cJSON_IsArray(kit_json_get(json, "tools")));
    cJSON_Delete(json);
}

static void check_answer(const char *was, size_t length, const char *id, const kit_buf *line) {
    const char *told = NULL;
    cJSON *before = NULL, *after = one_line(line);
    must(kit_json_get_string(after, "id", &told) && strcmp(told, id) == 0);
    must(kit_json_parse(was, length, &before, NULL) == KOLM_OK);
    cJSON *own = cJSON_CreateString(id);
    must(own != NULL && cJSON_ReplaceItemInObjectCaseSensitive(before, "id", own));
    must(cJSON_Compare(before, after, true));
    cJSON_Delete(before);
    cJSON_Delete(after);
}

static void check_greeting(const char *text, size_t length) {
    static const char model[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    static const kit_file_mark mark;
    model_served served = {.fd = -1}, again = {.fd = -1};
    kit_buf line = {0};
    if (!serve_greeting_read(text, length, &served)) return;
    must(fuzz_plain(served.backend));
    serve_greeting_put(served.backend, served.airgap, model, &mark, &line);
    must(serve_greeting_read(line.data, line.length - 1, &again));
    must(again.airgap == served.airgap && strcmp(again.backend, served.backend) == 0 &&
         strcmp(again.model, model) == 0);
    kit_buf_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static serve_question question; /* as in the server: one for all requests */
    fuzz_parts parts = {(const char *)data, size};
    size_t asked_length, length, greeting_length;
    char *asked = fuzz_part(&parts, &asked_length), *answer = fuzz_part(&parts, &length);
    char *greeting = fuzz_part(&parts, &greeting_length);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf line = {0};
    kit_status status = serve_question_read(&question, asked, asked_length, 7, &line, &err);
    must(status == KOLM_OK || line.length == 0);
    if (status == KOLM_OK)
        check_question(&question, &line);
    else
        check_refusal(status, &err);
    const char *id = status == KOLM_OK ? kit_buf_text(&question.texts[0]) : "1";
    kit_buf_clear(&line);
    status = serve_answer_pass(answer, length, 7, id, &line, &err);
    must(status == KOLM_OK || line.length == 0);
    if (status == KOLM_OK)
        check_answer(answer, length, id, &line);
    else
        check_refusal(status, &err);
    check_greeting(greeting, greeting_length);
    serve_question_free(&question);
    question = (serve_question){0};
    kit_buf_free(&line);
    free(asked);
    free(answer);
    free(greeting);
    return 0;
}
