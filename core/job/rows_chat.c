/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: conversations, in the common formats: OpenAI's, ShareGPT's, their tools and parts. */
#include "job/rows_json.h"

#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <string.h>

#define REMEDY ROWS_FIX_OR_SKIP("correct the row")

/* ---- One message */

typedef enum message_key {
    MESSAGE_ROLE,
    MESSAGE_FROM,
    MESSAGE_CONTENT,
    MESSAGE_VALUE,
    MESSAGE_NAME,
    MESSAGE_CALLS,
    MESSAGE_FUNCTION,
    MESSAGE_CALL_ID,
    MESSAGE_WEIGHT,
    MESSAGE_KEYS,
} message_key;

static const char *const message_names[MESSAGE_KEYS] = {
    "role", "from", "content", "value", "name", "tool_calls", "function_call", "tool_call_id", "weight",
};

/* Other names for the roles of OpenAI's chats. */
static const char *canonical_role(const char *role) {
    static const char *const known[][2] = {
        {"human", "user"},       {"gpt", "assistant"},  {"chatgpt", "assistant"},       {"bot", "assistant"},
        {"model", "assistant"},  {"bing", "assistant"}, {"function_call", "assistant"}, {"function", "tool"},
        {"observation", "tool"}, {"ipython", "tool"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(role, known[i][0]) == 0) return known[i][1];
    return role;
}

static kit_status find_keys(job_reader *reader, const kit_json_part *message, kit_json_part *out, kolm_error_t *err) {
    rows_json *r = reader->json;
    kit_json_part key, value;
    KIT_TRY(kit_json_walk_begin(&r->inner, message->bytes, message->length, err));
    for (;;) {
        bool found = false;
        KIT_TRY(kit_json_walk_next(&r->inner, &key, &value, &found, err));
        if (!found) return KOLM_OK;
        size_t i = 0;
        while (i < MESSAGE_KEYS && !kit_json_part_is(&key, message_names[i]))
            i++;
        if (i < MESSAGE_KEYS && out[i].bytes != NULL) return json_doubled(reader, key.bytes, err);
        if (i < MESSAGE_KEYS)
            out[i] = value;
        else if (value.kind != KIT_JSON_NULL)
            json_unused(reader, "messages", &key);
    }
}

static bool is_given(const kit_json_part *part) {
    return part->bytes != NULL && part->kind != KIT_JSON_NULL;
}

/* A part of a content: {"type":"text","text":"..."}, or a text by itself. */
static kit_status take_piece(job_reader *reader, const kit_json_part *piece, kit_buf *out, kolm_error_t *err) {
    kit_json_walk walk = {0};
    kit_json_part key, value, type = {0}, text = {0};
    if (piece->kind == KIT_JSON_STRING) return json_text(reader, piece, out, err);
    if (piece->kind != KIT_JSON_OBJECT)
        return json_wrong_type(reader, "content", "text, or parts of text,", piece, err);
    bool found = true;
    kit_status status = kit_json_walk_begin(&walk, piece->bytes, piece->length, err);
    while (status == KOLM_OK && found) {
        status = kit_json_walk_next(&walk, &key, &value, &found, err);
        if (status == KOLM_OK && found && kit_json_part_is(&key, "type")) type = value;
        if (status == KOLM_OK && found && kit_json_part_is(&key, "text")) text = value;
    }
    kit_json_walk_free(&walk);
    KIT_TRY(status);
    bool texts = type.bytes == NULL || kit_json_part_is(&type, "text") || kit_json_part_is(&type, "input_text") ||
                 kit_json_part_is(&type, "output_text");
    if (texts && text.kind == KIT_JSON_STRING) return json_text(reader, &text, out, err);
    kit_buf said = {0};
    kit_buf_str(&said, "expected parts of the type \"text\" in \"content\", found ");
    bool typed = !texts && type.kind == KIT_JSON_STRING;
    if (!typed)
        kit_buf_str(&said, "one without text");
    else
        kit_buf_escaped(&said, type.bytes, type.length > 40 ? 40 : type.length);
    status = json_bad(reader, piece->bytes,
                      ROWS_SKIP("kolm learns from text only: leave out rows with pictures or sound (--skip-bad does)"),
                      typed ? "expected parts of the type \"text\" in \"content\", found \"...\"" : NULL,
                      kit_buf_text(&said), err);
    kit_buf_free(&said);
    return status;
}

/* The text of a content; parts are joined by line ends. */
static kit_status take_content(job_reader *reader, const kit_json_part *content, kolm_error_t *err) {
    rows_json *r = reader->json;
    if (content->kind == KIT_JSON_STRING) return json_text(reader, content, &r->text, err);
    if (content->kind != KIT_JSON_ARRAY) return json_wrong_type(reader, "content", "text", content, err);
    kit_json_part key, value;
    KIT_TRY(kit_json_walk_begin(&r->inner, content->bytes, content->length, err));
    for (bool first = true;; first = false) {
        bool found = false;
        KIT_TRY(kit_json_walk_next(&r->inner, &key, &value, &found, err));
        if (!found) return KOLM_OK;
        if (!first) kit_buf_char(&r->text, '\n');
        KIT_TRY(take_piece(reader, &value, &r->text, err));
    }
}

/* The tool calls of an assistant's message as an array; also the older form with one function. */
static kit_status take_calls(job_reader *reader, const kit_json_part *keys, kolm_error_t *err) {
    rows_json *r = reader->json;
    const kit_json_part *function = &keys[MESSAGE_FUNCTION];
    if (is_given(&keys[MESSAGE_CALLS])) return json_array(reader, "tool_calls", &keys[MESSAGE_CALLS], &r->calls, err);
    if (!is_given(function)) return KOLM_OK;
    if (function->kind != KIT_JSON_OBJECT) return json_wrong_type(reader, "function_call", "an object", function, err);
    if (kit_json_part_check(function, NULL) != KOLM_OK) return json_bad_part(reader, function, err);
    kit_buf_str(&r->calls, "[{\"type\":\"function\",\"function\":");
    kit_json_part_compact(function, &r->calls);
    kit_buf_str(&r->calls, "}]");
    return KOLM_OK;
}

static void put_extra(rows_json *r, const char *key, const kit_json_part *part) {
    if (part->bytes == NULL || part->kind != KIT_JSON_STRING) return;
    kit_buf_fmt(&r->message, ",\"%s\":", key);
    kit_buf_add(&r->message, part->bytes, part->length);
    r->pending_extras = true;
}

/* Name and id of a call are passed on unchanged. */
static kit_status check_extra(job_reader *reader, const char *key, const kit_json_part *part, kolm_error_t *err) {
    if (!is_given(part)) return KOLM_OK;
    if (part->kind != KIT_JSON_STRING) return json_wrong_type(reader, key, "text", part, err);
    return kit_json_part_check(part, NULL) == KOLM_OK ? KOLM_OK : json_bad_part(reader, part, err);
}

/* Writes the message in the form for backends. */
static void write_message(rows_json *r, const kit_json_part *keys) {
    kit_buf_clear(&r->message);
    kit_buf_str(&r->message, "{\"role\":");
    kit_json_string(&r->message, kit_buf_text(&r->role), r->role.length);
    kit_buf_str(&r->message, ",\"content\":");
    kit_json_string(&r->message, kit_buf_text(&r->text), r->text.length);
    r->pending_extras = r->calls.length > 0;
    if (keys != NULL) put_extra(r, "name", &keys[MESSAGE_NAME]);
    if (r->calls.length > 0) kit_buf_fmt(&r->message, ",\"tool_calls\":%s", r->calls.data);
    if (keys != NULL) put_extra(r, "tool_call_id", &keys[MESSAGE_CALL_ID]);
    kit_buf_char(&r->message, '}');
}

static bool is_zero(const kit_json_part *part) {
    return part->bytes != NULL && part->kind == KIT_JSON_NUMBER && strspn(part->bytes, "0.") >= part->length;
}

/* ---- The conversation */

static void add_after(kit_buf *out, char separator, const kit_buf *text) {
    if (out->length > 0) kit_buf_char(out, separator);
    kit_buf_add(out, kit_buf_text(text), text->length);
}

/* The pending message was not the last one: it precedes the answer. */
static void settle(rows_json *r) {
    if (!r->pending) return;
    r->pending = false;
    const char *role = kit_buf_text(&r->role);
    bool user = strcmp(role, "user") == 0;
    if (r->turn_count == 0 && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0)) {
        add_after(&r->system, ',', &r->message);
        add_after(&r->system_text, '\n', &r->text);
        return;
    }
    add_after(&r->turns, ',', &r->message);
    if (r->lines.length > 0) kit_buf_char(&r->lines, '\n');
    kit_buf_fmt(&r->lines, "%s: %s", role, kit_buf_text(&r->text));
    if (r->calls.length > 0) kit_buf_fmt(&r->lines, "%s%s", r->text.length > 0 ? "\n" : "", r->calls.data);
    r->single = r->turn_count == 0 && user && !r->pending_extras;
    if (r->single) kit_buf_add(&r->question, kit_buf_text(&r->text), r->text.length);
    r->turn_count++;
    r->user_count += user;
}

void chat_begin(rows_json *r) {
    kit_buf *const all[] = {&r->system, &r->system_text, &r->turns,    &r->role,
                            &r->text,   &r->calls,       &r->question, &r->lines};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        kit_buf_clear(all[i]);
    r->turn_count = r->user_count = 0;
    r->pending = r->single = r->pending_weightless = false;
}

void chat_add_text(rows_json *r, const char *role, const kit_buf *text) {
    settle(r);
    kit_buf_clear(&r->role);
    kit_buf_clear(&r->text);
    kit_buf_clear(&r->calls);
    kit_buf_str(&r->role, role);
    kit_buf_add(&r->text, kit_buf_text(text), text->length);
    write_message(r, NULL);
    r->pending = true;
    r->pending_weightless = r->pending_weighted = false;
}

static kit_status take_role(job_reader *reader, const kit_json_part *message, const kit_json_part *keys,
                            kolm_error_t *err) {
    rows_json *r = reader->json;
    const kit_json_part *role = is_given(&keys[MESSAGE_ROLE]) ? &keys[MESSAGE_ROLE] : &keys[MESSAGE_FROM];
    if (!is_given(role) || role->kind != KIT_JSON_STRING)
        return json_missing_key(reader, message, "\"role\" with text in each message", err);
    kit_buf_clear(&r->role);
    KIT_TRY(json_text(reader, role, &r->role, err));
    const char *known = canonical_role(kit_buf_text(&r->role));
    if (known == kit_buf_text(&r->role)) return KOLM_OK;
    kit_buf_clear(&r->role);
    kit_buf_str(&r->role, known);
    return KOLM_OK;
}

static kit_status add_message(job_reader *reader, const kit_json_part *message, kolm_error_t *err) {
    static const kit_json_part weight = {.bytes = "\"weight\"", .length = 8, .kind = KIT_JSON_STRING};
    rows_json *r = reader->json;
    kit_json_part keys[MESSAGE_KEYS] = {{0}};
    if (message->kind != KIT_JSON_OBJECT) return json_wrong_type(reader, "messages", "objects", message, err);
    settle(r);
    /* OpenAI's weight 0 means: do not train on it. Only the last message is trained on, so 1 on another one is unused.
     * */
    if (r->pending_weighted) json_unused(reader, "messages", &weight);
    KIT_TRY(find_keys(reader, message, keys, err));
    KIT_TRY(take_role(reader, message, keys, err));
    kit_buf_clear(&r->calls);
    KIT_TRY(take_calls(reader, keys, err));
    const kit_json_part *content = is_given(&keys[MESSAGE_CONTENT]) ? &keys[MESSAGE_CONTENT] : &keys[MESSAGE_VALUE];
    kit_buf_clear(&r->text);
    if (is_given(content))
        KIT_TRY(take_content(reader, content, err));
    else if (r->calls.length == 0)
        return json_missing_key(reader, message, "\"content\" with text in each message", err);
    KIT_TRY(check_extra(reader, "name", &keys[MESSAGE_NAME], err));
    KIT_TRY(check_extra(reader, "tool_call_id", &keys[MESSAGE_CALL_ID], err));
    write_message(r, keys);
    r->pending = true;
    r->pending_weightless = is_zero(&keys[MESSAGE_WEIGHT]);
    r->pending_weighted = is_given(&keys[MESSAGE_WEIGHT]) && !r->pending_weightless;
    return KOLM_OK;
}

kit_status chat_add_list(job_reader *reader, const char *key, const kit_json_part *list, kolm_error_t *err) {
    rows_json *r = reader->json;
    kit_json_part none, message;
    if (list->kind != KIT_JSON_ARRAY) return json_wrong_type(reader, key, "an array", list, err);
    KIT_TRY(kit_json_walk_begin(&r->list, list->bytes, list->length, err));
    for (;;) {
        bool found = false;
        KIT_TRY(kit_json_walk_next(&r->list, &none, &message, &found, err));
        if (!found) return KOLM_OK;
        KIT_TRY(add_message(reader, &message, err));
    }
}

/* ---- The answer */

/* The value of key in the object, or a part without bytes. */
static kit_status member(kit_json_walk *walk, const kit_json_part *object, const char *key, kit_json_part *out,
                         kolm_error_t *err) {
    kit_json_part name, value;
    bool found = true;
    *out = (kit_json_part){0};
    if (object->kind != KIT_JSON_OBJECT) return KOLM_OK;
    KIT_TRY(kit_json_walk_begin(walk, object->bytes, object->length, err));
    while (found) {
        KIT_TRY(kit_json_walk_next(walk, &name, &value, &found, err));
        if (found && kit_json_part_is(&name, key)) *out = value;
    }
    return KOLM_OK;
}

/* Appends a call as {"name":...,"arguments":{...}}; arguments given as the text of an object become that object. */
static kit_status put_call(job_reader *reader, const kit_json_part *call, kolm_error_t *err) {
    rows_json *r = reader->json;
    kit_json_part function, name, arguments;
    KIT_TRY(member(&r->deep, call, "function", &function, err));
    if (function.bytes == NULL) function = *call;
    KIT_TRY(member(&r->deep, &function, "name", &name, err));
    KIT_TRY(member(&r->deep, &function, "arguments", &arguments, err));
    if (name.bytes == NULL || name.kind != KIT_JSON_STRING)
        return rows_bad(reader, err, rows_line(reader), 1, REMEDY, NULL,
                        "expected the name of a function in \"tool_calls\"");
    kit_buf_str(&reader->output, "{\"name\":");
    kit_buf_add(&reader->output, name.bytes, name.length);
    kit_buf_str(&reader->output, ",\"arguments\":");
    kit_buf_clear(&r->scratch);
    if (arguments.bytes != NULL && arguments.kind == KIT_JSON_STRING)
        KIT_TRY(json_text(reader, &arguments, &r->scratch, err));
    kit_json_part inside = {.bytes = kit_buf_text(&r->scratch), .length = r->scratch.length, .kind = KIT_JSON_OBJECT};
    if (inside.bytes[0] == '{' && kit_json_part_check(&inside, NULL) == KOLM_OK)
        kit_json_part_compact(&inside, &reader->output);
    else if (arguments.bytes != NULL)
        kit_json_part_compact(&arguments, &reader->output);
    else
        kit_buf_str(&reader->output, "{}");
    kit_buf_char(&reader->output, '}');
    return KOLM_OK;
}

/* An answer with tool calls becomes their JSON text: a single call as an object, several as an array. */
static kit_status put_calls(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    kit_json_part none, call;
    bool found = false;
    size_t count = 0, begin = reader->output.length;
    KIT_TRY(kit_json_walk_begin(&r->inner, r->calls.data, r->calls.length, err));
    do {
        KIT_TRY(kit_json_walk_next(&r->inner, &none, &call, &found, err));
        if (found) kit_buf_char(&reader->output, count++ == 0 ? '[' : ',');
        if (found) KIT_TRY(put_call(reader, &call, err));
    } while (found);
    KIT_TRY(kit_buf_ok(&reader->output, err));
    if (count == 1) {
        memmove(reader->output.data + begin, reader->output.data + begin + 1, reader->output.length - begin);
        reader->output.length--;
    } else {
        kit_buf_char(&reader->output, ']');
    }
    return KOLM_OK;
}

static kit_status take_answer(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    r->pending = false;
    if (r->pending_weightless && !reader->options.inputs_only)
        return rows_bad(reader, err, rows_line(reader), 1,
                        ROWS_SKIP("leave the row out (--skip-bad does), or set a weight for the message"), NULL,
                        "expected a last message to learn, found one of the weight 0");
    kit_buf_add(&reader->output, kit_buf_text(&r->text), r->text.length);
    if (r->calls.length == 0) return KOLM_OK;
    if (r->text.length > 0) kit_buf_char(&reader->output, '\n');
    KIT_TRY(kit_buf_ok(&r->calls, err));
    return put_calls(reader, err);
}

void chat_close(job_reader *reader) {
    rows_json *r = reader->json;
    settle(r);
    bool single = r->single && r->turn_count == 1;
    const kit_buf *text = single ? &r->question : &r->lines;
    kit_buf_add(&reader->input, kit_buf_text(text), text->length);
    if (single) kit_buf_clear(&r->turns);
}

kit_status chat_end(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    bool answered = r->pending && strcmp(kit_buf_text(&r->role), "assistant") == 0;
    if (!answered && !reader->options.inputs_only)
        return rows_bad(reader, err, rows_line(reader), 1,
                        ROWS_FIX("the last message must be the assistant's: it is what the model learns to say"), NULL,
                        "expected a last message of the role \"assistant\"");
    if (answered) KIT_TRY(take_answer(reader, err));
    chat_close(reader);
    if (r->user_count == 0)
        return rows_bad(reader, err, rows_line(reader), 1, ROWS_FIX("each chat needs a message of the role \"user\""),
                        NULL, "expected a message of the role \"user\"");
    return KOLM_OK;
}
