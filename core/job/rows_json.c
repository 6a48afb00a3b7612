/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: JSON lines. The form of a row, and the keys used. */
#include "job/rows_json.h"

#include "kolm/kit/json_walk.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const key_names[KEY_ID + 1] = {
    [KEY_INPUT] = "input",
    [KEY_PROMPT] = "prompt",
    [KEY_TEXT] = "text",
    [KEY_QUESTION] = "question",
    [KEY_QUERY] = "query",
    [KEY_OUTPUT] = "output",
    [KEY_COMPLETION] = "completion",
    [KEY_LABEL] = "label",
    [KEY_ANSWER] = "answer",
    [KEY_CATEGORY] = "category",
    [KEY_TARGET] = "target",
    [KEY_MESSAGES] = "messages",
    [KEY_CONVERSATIONS] = "conversations",
    [KEY_INSTRUCTION] = "instruction",
    [KEY_CONTEXT] = "context",
    [KEY_RESPONSE] = "response",
    [KEY_SYSTEM] = "system",
    [KEY_HISTORY] = "history",
    [KEY_TOOLS] = "tools",
    [KEY_FUNCTIONS] = "functions",
    [KEY_ID] = "id",
};

/* ---- Keys that are not used */

static void count_unused(job_unused *unused, const char *name) {
    for (size_t i = 0; i < unused->count; i++) {
        if (strcmp(unused->keys[i].name, name) != 0) continue;
        unused->keys[i].rows++;
        return;
    }
    if (unused->count == JOB_UNUSED_MAX) {
        unused->more++;
        return;
    }
    kit_copy(unused->keys[unused->count].name, sizeof unused->keys[0].name, name);
    unused->keys[unused->count++].rows = 1;
}

/* Fast path: the same key as in previous rows. False: compare it as text. */
static bool count_again(job_unused *unused, const kit_json_part *key) {
    size_t length = key->length - 2;
    for (size_t i = 0; !key->escaped && i < unused->count; i++) {
        const char *name = unused->keys[i].name;
        if (strncmp(name, key->bytes + 1, length) != 0 || name[length] != '\0') continue;
        unused->keys[i].rows++;
        return true;
    }
    return false;
}

void json_unused(job_reader *reader, const char *where, const kit_json_part *key) {
    if (where[0] == '\0' && key->length < JOB_UNUSED_NAME && count_again(&reader->unused, key)) return;
    char name[JOB_UNUSED_NAME];
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s%s", where, where[0] != '\0' ? "." : "");
    json_put_key(key, &text);
    kit_copy(name, sizeof name, kit_buf_text(&text));
    count_unused(&reader->unused, name);
    kit_buf_free(&text);
}

static void count_all_unused(job_reader *reader) {
    rows_json *r = reader->json;
    for (size_t i = 0; i < r->other_count; i++)
        json_unused(reader, "", &r->others[i]);
    for (size_t i = 0; i <= KEY_ID; i++)
        if (r->slots[i].there && !r->slots[i].used) count_unused(&reader->unused, key_names[i]);
}

/* ---- The keys of a row */

static bool same_name(const rows_json *r, const kit_json_part *key, const char *name) {
    if (!r->any_case && !key->escaped && key->bytes[1] != name[0]) return false; /* rejects most of them quickly */
    if (!r->any_case || key->escaped) return kit_json_part_is(key, name);
    return key->length == strlen(name) + 2 && strncasecmp(key->bytes + 1, name, key->length - 2) == 0;
}

static json_key find_key(const job_reader *reader, const kit_json_part *key) {
    const char *input_col = reader->options.input_col, *output_col = reader->options.output_col;
    if (input_col != NULL && kit_json_part_is(key, input_col)) return KEY_INPUT_COL;
    if (output_col != NULL && kit_json_part_is(key, output_col)) return KEY_OUTPUT_COL;
    for (size_t i = 0; i <= KEY_ID; i++)
        if (same_name(reader->json, key, key_names[i])) return (json_key)i;
    return KEY_COUNT;
}

static void note_key(job_reader *reader, const kit_json_part *key, const kit_json_part *value) {
    rows_json *r = reader->json;
    if (json_join_note(r, key, value)) return;
    json_key found = find_key(reader, key);
    if (found == KEY_COUNT) {
        if (value->kind != KIT_JSON_NULL && r->other_count < JSON_OTHERS_MAX) r->others[r->other_count++] = *key;
        return;
    }
    json_slot *slot = &r->slots[found];
    if (slot->value.bytes != NULL) {
        if (slot->again == NULL) slot->again = key->bytes;
        return;
    }
    slot->value = *value;
    slot->there = value->kind != KIT_JSON_NULL; /* null is the same as no key */
}

static kit_status find_keys(job_reader *reader, const char *line, size_t length, kolm_error_t *err) {
    rows_json *r = reader->json;
    kit_json_part key, value;
    memset(r->slots, 0, sizeof r->slots);
    json_join_forget(r);
    r->other_count = 0;
    r->line = line;
    if (kit_json_walk_begin(&r->walk, line, length, NULL) != KOLM_OK || !r->walk.object)
        return rows_bad(reader, err, rows_line(reader), 1, ROWS_FIX("each line must be one JSON object"), NULL,
                        "expected an object in braces");
    for (;;) {
        bool found = false;
        kit_status status = kit_json_walk_next(&r->walk, &key, &value, &found, NULL);
        if (status == KOLM_E_RESOURCE_EXHAUSTED) return rows_no_memory(err);
        if (status != KOLM_OK) return json_bad_inside(reader, line, &r->walk.fault, err);
        if (!found) return KOLM_OK;
        note_key(reader, &key, &value);
    }
}

/* Returns the value of key, and marks it as used; a duplicate key is an error only if it is used. */
static kit_status use(job_reader *reader, json_key key, const kit_json_part **out, kolm_error_t *err) {
    json_slot *slot = &reader->json->slots[key];
    *out = NULL;
    if (slot->again != NULL) return json_doubled(reader, slot->again, err);
    slot->used = true;
    if (slot->there) *out = &slot->value;
    return KOLM_OK;
}

static bool has(const job_reader *reader, json_key key) {
    return reader->json->slots[key].there;
}

/* ---- Keys allowed with every form */

static kit_status use_text(job_reader *reader, json_key key, kit_buf *out, kolm_error_t *err) {
    const kit_json_part *part = NULL;
    kit_buf_clear(out);
    KIT_TRY(use(reader, key, &part, err));
    if (part == NULL) return KOLM_OK;
    if (part->kind != KIT_JSON_STRING) return json_wrong_type(reader, key_names[key], "text", part, err);
    return json_text(reader, part, out, err);
}

/* A system message with a key of its own becomes the first message of the conversation. */
static kit_status begin_chat(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    chat_begin(r);
    if (!has(reader, KEY_SYSTEM)) return KOLM_OK;
    KIT_TRY(use_text(reader, KEY_SYSTEM, &r->scratch, err));
    if (r->scratch.length > 0) chat_add_text(r, "system", &r->scratch);
    return KOLM_OK;
}

/* OpenAI's older "functions" are today's tools without their wrapping. */
static kit_status wrap_functions(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    const kit_json_part *part = NULL;
    kit_json_part none, function;
    bool found = true;
    KIT_TRY(use(reader, KEY_FUNCTIONS, &part, err));
    kit_buf_clear(&r->scratch);
    KIT_TRY(json_array(reader, "functions", part, &r->scratch, err));
    if (r->scratch.length == 0) return KOLM_OK;
    KIT_TRY(kit_buf_ok(&r->scratch, err));
    KIT_TRY(kit_json_walk_begin(&r->inner, r->scratch.data, r->scratch.length, err));
    while (found) {
        KIT_TRY(kit_json_walk_next(&r->inner, &none, &function, &found, err));
        if (!found) break;
        kit_buf_str(&r->tools, r->tools.length == 0 ? "[" : ",");
        kit_buf_str(&r->tools, "{\"type\":\"function\",\"function\":");
        kit_buf_add(&r->tools, function.bytes, function.length);
        kit_buf_char(&r->tools, '}');
    }
    kit_buf_char(&r->tools, ']');
    return KOLM_OK;
}

static kit_status take_tools(job_reader *reader, kolm_error_t *err) {
    const kit_json_part *part = NULL;
    kit_buf_clear(&reader->json->tools);
    if (!has(reader, KEY_TOOLS)) return has(reader, KEY_FUNCTIONS) ? wrap_functions(reader, err) : KOLM_OK;
    KIT_TRY(use(reader, KEY_TOOLS, &part, err));
    return json_array(reader, "tools", part, &reader->json->tools, err);
}

/* ---- The forms */

static kit_status missing(job_reader *reader, const char *name, kolm_error_t *err) {
    const rows_json *r = reader->json;
    const kit_json_part whole = {.bytes = r->line, .length = (size_t)(r->walk.end - r->line), .kind = KIT_JSON_OBJECT};
    char wanted[160];
    kit_format(wanted, sizeof wanted, "\"%s\"", name);
    return json_missing_key(reader, &whole, wanted, err);
}

static kit_status take_chat(job_reader *reader, json_key key, kolm_error_t *err) {
    const kit_json_part *list = NULL;
    KIT_TRY(begin_chat(reader, err));
    KIT_TRY(use(reader, key, &list, err));
    KIT_TRY(chat_add_list(reader, key_names[key], list, err));
    return chat_end(reader, err);
}

/* {"prompt":[messages],"completion":[messages] or text} */
static kit_status take_prompt_chat(job_reader *reader, kolm_error_t *err) {
    const kit_json_part *prompt = NULL, *completion = NULL;
    rows_json *r = reader->json;
    KIT_TRY(begin_chat(reader, err));
    KIT_TRY(use(reader, KEY_PROMPT, &prompt, err));
    KIT_TRY(use(reader, KEY_COMPLETION, &completion, err));
    if (completion == NULL && !reader->options.inputs_only) return missing(reader, "completion", err);
    KIT_TRY(chat_add_list(reader, "prompt", prompt, err));
    if (completion != NULL && completion->kind == KIT_JSON_ARRAY) {
        KIT_TRY(chat_add_list(reader, "completion", completion, err));
    } else if (completion != NULL) {
        KIT_TRY(json_output(reader, "completion", completion, err));
        kit_buf_clear(&r->scratch);
        kit_buf_add(&r->scratch, kit_buf_text(&reader->output), reader->output.length);
        kit_buf_clear(&reader->output);
        chat_add_text(r, "assistant", &r->scratch);
    }
    return chat_end(reader, err);
}

/* Alpaca's history: [[question, answer], ...] */
static kit_status take_history(job_reader *reader, size_t *out_count, kolm_error_t *err) {
    rows_json *r = reader->json;
    const kit_json_part *history = NULL;
    kit_json_part none, pair, text;
    bool found = true;
    *out_count = 0;
    KIT_TRY(use(reader, KEY_HISTORY, &history, err));
    if (history == NULL) return KOLM_OK;
    if (history->kind != KIT_JSON_ARRAY) return json_wrong_type(reader, "history", "an array", history, err);
    KIT_TRY(kit_json_walk_begin(&r->list, history->bytes, history->length, err));
    for (;; (*out_count)++) {
        KIT_TRY(kit_json_walk_next(&r->list, &none, &pair, &found, err));
        if (!found) return KOLM_OK;
        if (pair.kind != KIT_JSON_ARRAY) return json_wrong_type(reader, "history", "pairs of texts", &pair, err);
        KIT_TRY(kit_json_walk_begin(&r->inner, pair.bytes, pair.length, err));
        for (int i = 0; i < 3; i++) {
            KIT_TRY(kit_json_walk_next(&r->inner, &none, &text, &found, err));
            if (found != (i < 2) || (found && text.kind != KIT_JSON_STRING))
                return json_wrong_type(reader, "history", "pairs of texts", found ? &text : &pair, err);
            kit_buf_clear(&r->scratch);
            if (found) KIT_TRY(json_text(reader, &text, &r->scratch, err));
            if (found) chat_add_text(r, i == 0 ? "user" : "assistant", &r->scratch);
        }
    }
}

/* The first of keys that the row has; KEY_COUNT if none. */
static json_key first_of(const job_reader *reader, const json_key *keys, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (has(reader, keys[i])) return keys[i];
    return KEY_COUNT;
}

#define FIRST_OF(reader, keys) first_of(reader, keys, sizeof(keys) / sizeof *(keys))

/* As the columns of a table are guessed. */
static const json_key input_keys[] = {KEY_INPUT, KEY_PROMPT, KEY_TEXT, KEY_QUESTION, KEY_QUERY};
static const json_key output_keys[] = {KEY_OUTPUT, KEY_COMPLETION, KEY_LABEL, KEY_ANSWER, KEY_CATEGORY, KEY_TARGET};

/* {"instruction","input","output"[,"system","history"]}, and {"instruction","context","response"}. The user's message
 * is the instruction, and the input on the next line. */
static kit_status take_alpaca(job_reader *reader, kolm_error_t *err) {
    static const json_key inputs[] = {KEY_INPUT, KEY_CONTEXT, KEY_PROMPT, KEY_TEXT, KEY_QUESTION, KEY_QUERY};
    static const json_key outputs[] = {KEY_OUTPUT, KEY_RESPONSE, KEY_COMPLETION, KEY_LABEL,
                                       KEY_ANSWER, KEY_CATEGORY, KEY_TARGET};
    rows_json *r = reader->json;
    json_key input = FIRST_OF(reader, inputs), output = FIRST_OF(reader, outputs);
    const kit_json_part *part = NULL;
    size_t history = 0;
    KIT_TRY(begin_chat(reader, err));
    KIT_TRY(take_history(reader, &history, err));
    KIT_TRY(use_text(reader, KEY_INSTRUCTION, &r->instruction, err));
    kit_buf_clear(&r->scratch);
    if (input != KEY_COUNT) KIT_TRY(use_text(reader, input, &r->scratch, err));
    if (output == KEY_COUNT && !reader->options.inputs_only) return missing(reader, "output", err);
    if (output != KEY_COUNT) {
        KIT_TRY(use(reader, output, &part, err));
        KIT_TRY(json_output(reader, key_names[output], part, err));
    }
    /* Without an input the instruction is the question; in a conversation both are. */
    if (strspn(kit_buf_text(&r->scratch), " \t\r\n") == r->scratch.length) kit_buf_clear(&r->scratch);
    if (r->scratch.length == 0 || history > 0) {
        if (r->scratch.length > 0) kit_buf_char(&r->instruction, '\n');
        kit_buf_add(&r->instruction, kit_buf_text(&r->scratch), r->scratch.length);
        chat_add_text(r, "user", &r->instruction);
        kit_buf_clear(&r->instruction);
    } else {
        chat_add_text(r, "user", &r->scratch);
    }
    chat_close(reader);
    return KOLM_OK;
}

/* The keys of input and output; KEY_COUNT if there is none. A guess is kept for the whole file. */
static void find_pair(job_reader *reader, json_key *in, json_key *out) {
    const rows_json *r = reader->json;
    if (has(reader, KEY_INPUT) && has(reader, KEY_OUTPUT)) {
        *in = KEY_INPUT;
        *out = KEY_OUTPUT;
    } else if (!has(reader, KEY_INPUT) && has(reader, KEY_PROMPT) && has(reader, KEY_COMPLETION)) {
        *in = KEY_PROMPT;
        *out = KEY_COMPLETION;
    } else {
        *in = r->guessed ? r->guess_input : FIRST_OF(reader, input_keys);
        *out = r->guessed ? r->guess_output : FIRST_OF(reader, output_keys);
    }
    if (reader->options.input_col != NULL) *in = KEY_INPUT_COL;
    if (reader->options.output_col != NULL) *out = KEY_OUTPUT_COL;
}

static const char *name_of(const job_reader *reader, json_key key, const char *otherwise) {
    return key == KEY_INPUT_COL    ? reader->options.input_col
           : key == KEY_OUTPUT_COL ? reader->options.output_col
           : key == KEY_COUNT      ? otherwise
                                   : key_names[key];
}

static void keep_guess(job_reader *reader, json_key in, json_key out) {
    rows_json *r = reader->json;
    bool usual = (in == KEY_INPUT && out == KEY_OUTPUT) || (in == KEY_PROMPT && out == KEY_COMPLETION);
    if (r->guessed || usual || in == KEY_INPUT_COL || out == KEY_OUTPUT_COL || out == KEY_COUNT) return;
    r->guessed = true;
    r->guess_input = in;
    r->guess_output = out;
    reader->guess = (job_guess){key_names[in], key_names[out]};
}

static kit_status take_pair(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    json_key in = KEY_COUNT, out = KEY_COUNT;
    const kit_json_part *input = NULL, *output = NULL;
    find_pair(reader, &in, &out);
    const char *input_name = name_of(reader, in, "input");
    const char *output_name = name_of(reader, out, in == KEY_PROMPT ? "completion" : "output");
    bool joined = in == KEY_INPUT_COL && r->join_count > 0 && !has(reader, in);
    if (in != KEY_COUNT) KIT_TRY(use(reader, in, &input, err));
    if (input == NULL && !joined) return missing(reader, input_name, err);
    bool answered = out != KEY_COUNT && has(reader, out);
    if (!answered && !reader->options.inputs_only) return missing(reader, output_name, err);
    if (reader->options.input_col != NULL || reader->options.output_col != NULL)
        chat_begin(r);
    else
        KIT_TRY(begin_chat(reader, err));
    if (!joined && input->kind != KIT_JSON_STRING) return json_wrong_type(reader, input_name, "text", input, err);
    kit_buf_clear(&r->scratch);
    KIT_TRY(joined ? json_join_take(reader, &r->scratch, err) : json_text(reader, input, &r->scratch, err));
    chat_add_text(r, "user", &r->scratch);
    chat_close(reader);
    if (!answered) return KOLM_OK;
    KIT_TRY(use(reader, out, &output, err));
    KIT_TRY(json_output(reader, output_name, output, err));
    keep_guess(reader, in, out);
    return KOLM_OK;
}

/* True if the row has all keys of some form. */
static bool is_whole(const job_reader *reader) {
    static const json_key whole[] = {KEY_MESSAGES, KEY_CONVERSATIONS};
    static const json_key halves[] = {KEY_INSTRUCTION, KEY_RESPONSE};
    if (FIRST_OF(reader, whole) != KEY_COUNT) return true;
    bool input = FIRST_OF(reader, input_keys) != KEY_COUNT || has(reader, KEY_INSTRUCTION);
    bool output = FIRST_OF(reader, output_keys) != KEY_COUNT || FIRST_OF(reader, halves) == KEY_RESPONSE;
    return input && (output || reader->options.inputs_only);
}

static kit_status take_form(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    KIT_TRY(take_tools(reader, err));
    if (has(reader, KEY_MESSAGES)) return take_chat(reader, KEY_MESSAGES, err);
    if (has(reader, KEY_CONVERSATIONS)) return take_chat(reader, KEY_CONVERSATIONS, err);
    if (has(reader, KEY_INSTRUCTION)) return take_alpaca(reader, err);
    if (!has(reader, KEY_INPUT) && has(reader, KEY_PROMPT) && r->slots[KEY_PROMPT].value.kind == KIT_JSON_ARRAY)
        return take_prompt_chat(reader, err);
    return take_pair(reader, err);
}

static kit_status take_id(job_reader *reader, kolm_error_t *err) {
    const kit_json_part *part = NULL;
    KIT_TRY(use(reader, KEY_ID, &part, err));
    if (part == NULL) return KOLM_OK;
    reader->json->has_id = true;
    if (part->kind == KIT_JSON_STRING) return json_text(reader, part, &reader->json->id, err);
    if (part->kind == KIT_JSON_NUMBER && json_put_integer(part, &reader->json->id)) return KOLM_OK;
    return json_wrong_type(reader, "id", "text or a whole number", part, err);
}

bool rows_cut_json(const rows_json *r) {
    const kit_buf *const all[] = {&r->id,       &r->system, &r->system_text, &r->instruction, &r->tools,
                                  &r->turns,    &r->role,   &r->text,        &r->calls,       &r->message,
                                  &r->question, &r->lines,  &r->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]->failed) return true;
    return false;
}

kit_status rows_parse_json(job_reader *reader, const char *line, size_t length, kolm_error_t *err) {
    rows_json *r = reader->json;
    bool named = reader->options.input_col != NULL || reader->options.output_col != NULL;
    kit_buf *const parts[] = {&r->id, &r->system, &r->system_text, &r->instruction, &r->tools, &r->turns};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        kit_buf_clear(parts[i]);
    r->has_id = false;
    KIT_TRY(find_keys(reader, line, length, err));
    if (!named && !r->any_case && !is_whole(reader)) {
        r->any_case = true;
        KIT_TRY(find_keys(reader, line, length, err));
        r->any_case = is_whole(reader);
        if (!r->any_case) KIT_TRY(find_keys(reader, line, length, err));
    }
    if (reader->options.with_id) KIT_TRY(take_id(reader, err));
    KIT_TRY(named ? take_pair(reader, err) : take_form(reader, err));
    if (rows_cut_json(r)) return rows_no_memory(err); /* the text would be empty otherwise */
    count_all_unused(reader);
    return KOLM_OK;
}

kit_status rows_open_json(job_reader *reader, kolm_error_t *err) {
    reader->json = calloc(1, sizeof *reader->json);
    return reader->json != NULL ? json_join_open(reader, err) : rows_no_memory(err);
}

void rows_close_json(job_reader *reader) {
    rows_json *r = reader->json;
    if (r == NULL) return;
    kit_buf *const bufs[] = {&r->id,   &r->system, &r->system_text, &r->instruction, &r->tools, &r->turns,  &r->role,
                             &r->text, &r->calls,  &r->message,     &r->question,    &r->lines, &r->scratch};
    kit_json_walk *const walks[] = {&r->walk, &r->list, &r->inner, &r->deep};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        kit_buf_free(bufs[i]);
    for (size_t i = 0; i < sizeof walks / sizeof *walks; i++)
        kit_json_walk_free(walks[i]);
    free(r);
    reader->json = NULL;
}

void rows_fill_json(const job_reader *reader, job_row *row) {
    const rows_json *r = reader->json;
    row->id = r->has_id ? kit_buf_text(&r->id) : NULL;
    row->system = kit_buf_text(&r->system);
    row->system_text = kit_buf_text(&r->system_text);
    row->instruction = kit_buf_text(&r->instruction);
    row->tools = kit_buf_text(&r->tools);
    row->turns = kit_buf_text(&r->turns);
}

kit_status rows_next_json(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    for (;;) {
        const char *line = NULL;
        size_t length = 0;
        KIT_TRY(rows_take_line(reader, &line, &length, err));
        *out_line = rows_line(reader);
        if (line == NULL) return KOLM_OK;
        rows_skip_mark(&line, &length);
        if (strspn(line, " \t") == length) continue;
        *out_found = true;
        KIT_TRY(rows_check_text(reader, line, length, err));
        return rows_parse_json(reader, line, length, err);
    }
}
