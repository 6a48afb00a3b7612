/* SPDX-License-Identifier: Apache-2.0 */
/* Questions, answers, refusals and the greeting of the server, each a line of JSON. */
#include "model/serve_lines.h"

#include "host/host.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/text.h"

#include <string.h>

/* ---- Questions */

/* Other members of a question are passed on unchanged. */
static kit_status read_rest(serve_question *q, const char *line, size_t length, kolm_error_t *err) {
    static const char *const names[] = {"messages", "tools"};
    kit_json_part key, value, found[2] = {{0}, {0}};
    bool more = true;
    KIT_TRY(kit_json_walk_begin(&q->walk, line, length, err));
    while (more) {
        KIT_TRY(kit_json_walk_next(&q->walk, &key, &value, &more, err));
        for (size_t i = 0; more && i < 2; i++)
            if (kit_json_part_is(&key, names[i])) found[i] = value;
    }
    kit_buf_clear(&q->rest);
    for (size_t i = 0; i < 2; i++) {
        if (found[i].bytes == NULL) continue;
        if (found[i].kind != KIT_JSON_ARRAY)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "\"%s\" of a question is an array", names[i]);
        KIT_TRY(kit_json_part_check(&found[i], err));
        kit_buf_fmt(&q->rest, ",\"%s\":", names[i]);
        kit_json_part_compact(&found[i], &q->rest);
    }
    return kit_buf_ok(&q->rest, err);
}

kit_status serve_question_read(serve_question *q, const char *line, size_t length, uint64_t number, kit_buf *out,
                               kolm_error_t *err) {
    static const char *const keys[] = {"id", "input"};
    KIT_TRY(kit_json_row_texts(&q->walk, line, length, keys, 2, q->texts, err));
    KIT_TRY(read_rest(q, line, length, err));
    kit_buf_fmt(out, "{\"id\":\"%llu\",\"input\":", (unsigned long long)number);
    kit_json_string(out, kit_buf_text(&q->texts[1]), q->texts[1].length);
    kit_buf_fmt(out, "%s}\n", kit_buf_text(&q->rest));
    return kit_buf_ok(out, err);
}

void serve_question_free(serve_question *q) {
    kit_json_walk_free(&q->walk);
    kit_buf_free(&q->texts[0]);
    kit_buf_free(&q->texts[1]);
    kit_buf_free(&q->rest);
}

/* ---- Answers */

/* Checks that it is a valid answer to question `number`. */
static kit_status check_answer(const cJSON *row, uint64_t number, kolm_error_t *err) {
    static const char remedy[] =
        "report it to the author of the backend: one answer per question, in order, with its id";
    const cJSON *output = kit_json_get(row, "output"), *sure = kit_json_get(row, "confidence");
    const char *id = NULL;
    uint64_t of = 0;
    if (!kit_json_get_string(row, "id", &id)) return kit_fail(err, KOLM_E_INTERNAL, "", "it has no id");
    if (!cJSON_IsString(output) && !cJSON_IsNull(output))
        return kit_fail(err, KOLM_E_INTERNAL, "", "its output is neither text nor null");
    if (!cJSON_IsNumber(sure) || !(sure->valuedouble >= 0 && sure->valuedouble <= 1))
        return kit_fail(err, KOLM_E_INTERNAL, "", "its confidence is not from 0 to 1");
    if (kit_parse_u64(id, &of) && of == number) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, remedy, "answer %llu has the id \"%.64s\"", (unsigned long long)number, id);
}

kit_status serve_answer_pass(const char *line, size_t length, uint64_t number, const char *id, kit_buf *out,
                             kolm_error_t *err) {
    cJSON *row = NULL;
    kit_buf text = {0};
    kit_status status = kit_json_parse(line, length, &row, err);
    if (status == KOLM_OK) status = check_answer(row, number, err);
    if (status == KOLM_OK) {
        cJSON *own = cJSON_CreateString(id);
        if (own == NULL || !cJSON_ReplaceItemInObjectCaseSensitive(row, "id", own)) {
            cJSON_Delete(own);
            status = kit_no_memory(err);
        } else if (own->string == NULL) { /* cJSON 1.7.15 returns success, but without a key, if out of memory */
            status = kit_no_memory(err);
        }
    }
    if (status == KOLM_OK) status = kit_json_line(row, &text, err);
    if (status == KOLM_OK) kit_buf_fmt(out, "%s\n", kit_buf_text(&text));
    kit_buf_free(&text);
    cJSON_Delete(row);
    if (status == KOLM_OK) return kit_buf_ok(out, err);
    if (status == KOLM_E_DATA_LOSS) return status;
    kit_fail_context(err, "this is not an answer of the backend");
    return KOLM_E_INTERNAL;
}

void serve_refusal_put(const char *text, kit_buf *out) {
    kit_buf_str(out, "{\"error\":");
    kit_json_string(out, text, strlen(text));
    kit_buf_str(out, "}\n");
}

void serve_verdict_put(const kolm_error_t *error, session_reason reason, kit_buf *out) {
    kit_buf_str(out, "{\"error\":");
    kit_json_string(out, error->text, strlen(error->text));
    kit_buf_str(out, ",\"remedy\":");
    kit_json_string(out, error->remedy, strlen(error->remedy));
    kit_buf_fmt(out, ",\"exit\":%d}\n", (int)reason);
}

bool serve_error_read(const cJSON *line, session_reason *out_reason, kolm_error_t *out_error) {
    const char *text = NULL, *remedy = "ask again; without a server kolm answers by itself";
    uint64_t number = 0;
    if (!kit_json_get_string(line, "error", &text)) return false;
    (void)kit_json_get_string(line, "remedy", &remedy);
    if (kit_json_get_u64(line, "exit", &number) && number > 0 && number <= SESSION_REASON_INTERRUPTED)
        *out_reason = (session_reason)number;
    out_error->code = kit_fail(out_error, KOLM_E_UNAVAILABLE, remedy, "%s", text);
    return true;
}

/* ---- The greeting */

void serve_greeting_put(const char *backend, bool airgap, const char *manifest_sha256, const kit_file_mark *mark,
                        kit_buf *out) {
    kit_buf_fmt(out, "{\"kolm\":1,\"backend\":\"%s\",\"airgap\":%s,\"model\":\"%s\",\"file\":\"", backend,
                airgap ? "true" : "false", manifest_sha256);
    kit_file_mark_put(mark, out);
    kit_buf_str(out, "\"}\n");
}

bool serve_greeting_read(const char *line, size_t length, model_served *out_served) {
    cJSON *greeting = NULL;
    const char *backend = NULL, *model = "", *file = "";
    uint64_t version = 0;
    bool good = kit_json_parse(line, length, &greeting, NULL) == KOLM_OK &&
                kit_json_get_u64(greeting, "kolm", &version) && version == 1 &&
                kit_json_get_string(greeting, "backend", &backend) && host_name_ok(backend) &&
                kit_json_get_bool(greeting, "airgap", &out_served->airgap);
    (void)kit_json_get_string(greeting, "model", &model); /* older servers do not send them */
    (void)kit_json_get_string(greeting, "file", &file);
    good = good && kit_copy(out_served->backend, sizeof out_served->backend, backend) &&
           kit_copy(out_served->model, sizeof out_served->model, model) &&
           kit_copy(out_served->file, sizeof out_served->file, file);
    cJSON_Delete(greeting);
    return good;
}
