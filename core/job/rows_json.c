/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: JSON lines, pairs and chats. */
#include "job/internal.h"

#include <string.h>

static kit_status missing_key(const job_reader *reader, const cJSON *object, const char *wanted, kolm_error_t *err) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "expected the key %s, found ", wanted);
    if (object->child == NULL) kit_buf_str(&text, "no keys");
    int shown = 0;
    for (const cJSON *item = object->child; item != NULL && shown < 8; item = item->next, shown++) {
        kit_buf_str(&text, shown > 0 ? ", \"" : "\"");
        rows_add_printable(&text, item->string);
        kit_buf_char(&text, '"');
    }
    kit_status status =
        rows_bad(reader, err, rows_line(reader), 1,
                 "each row needs \"input\" and \"output\" (or \"prompt\" and \"completion\", or \"messages\")",
                 kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

static const char *type_name(const cJSON *item) {
    return cJSON_IsNull(item)     ? "null"
           : cJSON_IsNumber(item) ? "a number"
           : cJSON_IsBool(item)   ? "true or false"
           : cJSON_IsArray(item)  ? "an array"
           : cJSON_IsObject(item) ? "an object"
                                  : "text";
}

static kit_status wrong_type(const job_reader *reader, const char *key, const char *expected, const cJSON *item,
                             kolm_error_t *err) {
    char text[160];
    kit_format(text, sizeof text, "expected %s in \"%s\", found %s", expected, key, type_name(item));
    return rows_bad(reader, err, rows_line(reader), 1, "correct the row, or pass --skip-bad to leave such rows out",
                    text);
}

static kit_status take_output(job_reader *reader, const char *key, const cJSON *item, kolm_error_t *err) {
    double value = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (cJSON_IsString(item))
        kit_buf_str(&reader->output, item->valuestring);
    else if (cJSON_IsBool(item))
        kit_buf_str(&reader->output, cJSON_IsTrue(item) ? "true" : "false");
    else if (cJSON_IsNumber(item) && value >= -KIT_JSON_MAX_INTEGER && value <= KIT_JSON_MAX_INTEGER &&
             value == (double)(long long)value)
        kit_buf_fmt(&reader->output, "%lld", (long long)value);
    else
        return wrong_type(reader, key, "text, an integer, true or false", item, err);
    return KOLM_OK;
}

static kit_status take_message(job_reader *reader, const cJSON *message, const char **out_role, const char **out_text,
                               kolm_error_t *err) {
    if (!cJSON_IsObject(message)) return wrong_type(reader, "messages", "objects", message, err);
    if (!kit_json_get_string(message, "role", out_role))
        return missing_key(reader, message, "\"role\" with text in each message", err);
    if (!kit_json_get_string(message, "content", out_text))
        return missing_key(reader, message, "\"content\" with text in each message", err);
    return KOLM_OK;
}

static kit_status take_chat(job_reader *reader, const cJSON *messages, kolm_error_t *err) {
    if (!cJSON_IsArray(messages)) return wrong_type(reader, "messages", "an array", messages, err);
    size_t users = 0, others = 0;
    const cJSON *last = NULL;
    const char *role = NULL, *text = NULL;
    for (const cJSON *item = messages->child; item != NULL; item = item->next) {
        KIT_TRY(take_message(reader, item, &role, &text, err));
        if (strcmp(role, "user") == 0)
            users++;
        else if (strcmp(role, "system") != 0)
            others++;
        last = item;
    }
    bool answered = last != NULL && strcmp(role, "assistant") == 0;
    if (!answered && !reader->options.inputs_only)
        return rows_bad(reader, err, rows_line(reader), 1,
                        "the last message must be the assistant's: it is what the model learns to say",
                        "expected a last message of the role \"assistant\"");
    if (users == 0)
        return rows_bad(reader, err, rows_line(reader), 1, "each chat needs a message of the role \"user\"",
                        "expected a message of the role \"user\"");
    bool single = users == 1 && others == (answered ? 1u : 0u);
    for (const cJSON *item = messages->child; item != NULL; item = item->next) {
        KIT_TRY(take_message(reader, item, &role, &text, err));
        if (answered && item == last) {
            kit_buf_str(&reader->output, text);
        } else if (single) {
            kit_buf_str(strcmp(role, "user") == 0 ? &reader->input : &reader->context, text);
        } else {
            if (reader->input.length > 0) kit_buf_char(&reader->input, '\n');
            kit_buf_fmt(&reader->input, "%s: %s", role, text);
        }
    }
    if (reader->context.length > 0)
        kit_buf_fmt(&reader->seen, "\xFF%s\xFF%s", kit_buf_text(&reader->context), kit_buf_text(&reader->input));
    return KOLM_OK;
}

static kit_status take_pair(job_reader *reader, const cJSON *object, kolm_error_t *err) {
    const char *input_key = "input", *output_key = "output";
    if (reader->options.input_col != NULL || reader->options.output_col != NULL) {
        input_key = reader->options.input_col != NULL ? reader->options.input_col : "input";
        output_key = reader->options.output_col != NULL ? reader->options.output_col : "output";
    } else if (kit_json_get(object, "input") == NULL && kit_json_get(object, "prompt") != NULL) {
        input_key = "prompt";
        output_key = "completion";
    }
    const cJSON *input = kit_json_get(object, input_key), *output = kit_json_get(object, output_key);
    char wanted[160];
    kit_format(wanted, sizeof wanted, "\"%s\"", input == NULL ? input_key : output_key);
    if (input == NULL || (output == NULL && !reader->options.inputs_only))
        return missing_key(reader, object, wanted, err);
    if (!cJSON_IsString(input)) return wrong_type(reader, input_key, "text", input, err);
    kit_buf_str(&reader->input, input->valuestring);
    return output != NULL ? take_output(reader, output_key, output, err) : KOLM_OK;
}

static kit_status parse_json(job_reader *reader, const char *line, size_t length, kolm_error_t *err) {
    kolm_error_t inner = KIT_ERROR_INIT;
    kit_status status = kit_json_validate(line, length, &inner);
    if (status != KOLM_OK) {
        /* The validator speaks of its own first line; the file has more. */
        const char *column = strstr(inner.text, "column ");
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "each line must be one JSON object; correct it, or pass --skip-bad to leave such rows out",
                        "%s, line %llu, %s", reader->options.path, rows_line(reader),
                        column != NULL ? column : inner.text);
    }
    cJSON_Delete(reader->json);
    reader->json = cJSON_ParseWithLength(line, length);
    if (reader->json == NULL) return rows_no_memory(err);
    if (!cJSON_IsObject(reader->json))
        return rows_bad(reader, err, rows_line(reader), 1, "each line must be one JSON object",
                        "expected an object in braces");
    const cJSON *messages = kit_json_get(reader->json, "messages");
    return messages != NULL && reader->options.input_col == NULL ? take_chat(reader, messages, err)
                                                                 : take_pair(reader, reader->json, err);
}

kit_status rows_next_json(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    for (;;) {
        const char *line = NULL;
        size_t length = 0;
        KIT_TRY(rows_take_line(reader, &line, &length, err));
        *out_line = rows_line(reader);
        if (line == NULL) return KOLM_OK;
        if (strspn(line, " \t") == length) continue;
        *out_found = true;
        KIT_TRY(rows_check_text(reader, line, length, err));
        return parse_json(reader, line, length, err);
    }
}
