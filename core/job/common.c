/* SPDX-License-Identifier: Apache-2.0 */
/* Parts that all rows share, and rows written for a backend. */
#include "job/internal.h"

#include "kolm/kit/json_walk.h"

#include <stdlib.h>
#include <string.h>

/* ---- What is the same everywhere */

static kit_status see_part(char **common, bool begun, const char *part, kolm_error_t *err) {
    if (!begun && part[0] != '\0' && strlen(part) <= JOB_COMMON_MAX) return kit_strdup(part, common, err);
    if (*common != NULL && strcmp(*common, part) != 0) {
        free(*common);
        *common = NULL;
    }
    return KOLM_OK;
}

kit_status job_common_see(job_common *common, const job_row *row, kolm_error_t *err) {
    KIT_TRY(see_part(&common->system, common->begun, row->system, err));
    KIT_TRY(see_part(&common->system_text, common->begun, row->system_text, err));
    KIT_TRY(see_part(&common->instruction, common->begun, row->instruction, err));
    KIT_TRY(see_part(&common->tools, common->begun, row->tools, err));
    common->begun = true;
    /* The texts may be equal although the messages differ. */
    if (common->system == NULL && common->system_text != NULL) {
        free(common->system_text);
        common->system_text = NULL;
    }
    return KOLM_OK;
}

void job_common_free(job_common *common) {
    free(common->system);
    free(common->system_text);
    free(common->instruction);
    free(common->tools);
    *common = (job_common){0};
}

/* Splits a message "INSTRUCTION, line end, question" into question and instruction. */
static void take_apart(const char *instruction, job_row *row) {
    size_t length = strlen(instruction);
    if (strncmp(row->input, instruction, length) != 0 || row->input[length] != '\n') return;
    row->input += length + 1;
    row->input_length -= length + 1;
}

void job_common_fill(const job_common *common, job_row *row, kit_buf *seen, kit_buf *context) {
    if (common->system == NULL && common->tools == NULL && common->instruction == NULL) return;
    if (common->system != NULL && row->system[0] == '\0') {
        row->system = common->system;
        row->system_text = common->system_text != NULL ? common->system_text : "";
    }
    if (common->tools != NULL && row->tools[0] == '\0') row->tools = common->tools;
    if (common->instruction != NULL && row->instruction[0] == '\0' && row->turns[0] == '\0') {
        row->instruction = common->instruction;
        take_apart(common->instruction, row);
    }
    kit_buf_clear(seen);
    kit_buf_clear(context);
    job_row_put_seen(row, seen);
    job_row_put_context(row, context);
    row->seen = kit_buf_text(seen);
    row->seen_length = seen->length;
    row->context = kit_buf_text(context);
    row->context_length = context->length;
}

bool job_common_put(const job_common *common, cJSON *object) {
    if (common->system == NULL && common->instruction == NULL && common->tools == NULL) return true;
    cJSON *inner = cJSON_CreateObject();
    bool good = inner != NULL;
    if (good && common->system != NULL)
        good = kit_json_put_string(inner, "system", common->system) &&
               kit_json_put_string(inner, "system_text", common->system_text != NULL ? common->system_text : "");
    if (good && common->instruction != NULL) good = kit_json_put_string(inner, "instruction", common->instruction);
    if (good && common->tools != NULL) good = kit_json_put_string(inner, "tools", common->tools);
    if (good) return kit_json_put(object, "common", inner);
    cJSON_Delete(inner);
    return false;
}

static kit_status get_part(const cJSON *object, const char *key, char **out, kolm_error_t *err) {
    const char *text = NULL;
    return kit_json_get_string(object, key, &text) && text[0] != '\0' ? kit_strdup(text, out, err) : KOLM_OK;
}

/* JSON text from a signed model will be put between brackets: it must be balanced. */
static bool is_array(const char *inner, const char *open, const char *close) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s%s%s", open, inner, close);
    kit_json_part part = {.bytes = kit_buf_text(&text), .length = text.length, .kind = KIT_JSON_ARRAY};
    bool good = !text.failed && part.bytes[0] == '[' && kit_json_part_check(&part, NULL) == KOLM_OK;
    kit_buf_free(&text);
    return good;
}

kit_status job_common_get(const cJSON *object, job_common *out_common, kolm_error_t *err) {
    *out_common = (job_common){.begun = true};
    const cJSON *inner = kit_json_get(object, "common");
    if (inner == NULL) return KOLM_OK;
    kit_status status = get_part(inner, "system", &out_common->system, err);
    if (status == KOLM_OK) status = get_part(inner, "system_text", &out_common->system_text, err);
    if (status == KOLM_OK) status = get_part(inner, "instruction", &out_common->instruction, err);
    if (status == KOLM_OK) status = get_part(inner, "tools", &out_common->tools, err);
    bool good = (out_common->system == NULL || is_array(out_common->system, "[", "]")) &&
                (out_common->tools == NULL || is_array(out_common->tools, "", ""));
    if (status == KOLM_OK && !good)
        status = kit_fail(err, KOLM_E_DATA_LOSS, "download the model again, or compile it again",
                          "the manifest's options.common is not what kolm writes");
    if (status != KOLM_OK) job_common_free(out_common);
    return status;
}

/* ---- Rows as text */

job_row job_row_of_text(const char *text, size_t length) {
    return (job_row){.input = text,
                     .input_length = length,
                     .output = "",
                     .system = "",
                     .system_text = "",
                     .instruction = "",
                     .tools = "",
                     .turns = "",
                     .context = "",
                     .seen = text,
                     .seen_length = length,
                     .id = NULL};
}

static void put_different(const char *part, const char *common, const char *text, kit_buf *out) {
    if (text[0] == '\0' || (common != NULL && strcmp(part, common) == 0)) return;
    kit_buf_str(out, text);
    kit_buf_char(out, '\n');
}

void job_row_put_input(const job_row *row, const job_common *common, kit_buf *out) {
    put_different(row->system, common->system, row->system_text, out);
    put_different(row->tools, common->tools, row->tools, out);
    put_different(row->instruction, common->instruction, row->instruction, out);
    kit_buf_add(out, row->input, row->input_length);
}

static bool is_plain(const job_row *row) {
    return row->system[0] == '\0' && row->instruction[0] == '\0' && row->tools[0] == '\0' && row->turns[0] == '\0';
}

/* Appends the user's message of a row that has only one. */
static void put_question(const job_row *row, kit_buf *out) {
    kit_buf text = {0};
    if (row->instruction[0] != '\0') kit_buf_fmt(&text, "%s\n", row->instruction);
    kit_buf_add(&text, row->input, row->input_length);
    kit_buf_str(out, "{\"role\":\"user\",\"content\":");
    kit_json_string(out, kit_buf_text(&text), text.length);
    kit_buf_char(out, '}');
    out->failed = out->failed || text.failed;
    kit_buf_free(&text);
}

static void put_prompt(const job_row *row, kit_buf *out) {
    kit_buf_str(out, row->system);
    if (row->system[0] != '\0') kit_buf_char(out, ',');
    if (row->turns[0] != '\0')
        kit_buf_str(out, row->turns);
    else
        put_question(row, out);
}

void job_row_put_messages(const job_row *row, bool with_output, kit_buf *out) {
    if (is_plain(row)) return;
    kit_buf_str(out, ",\"messages\":[");
    put_prompt(row, out);
    if (with_output) {
        kit_buf_str(out, ",{\"role\":\"assistant\",\"content\":");
        kit_json_string(out, row->output, row->output_length);
        kit_buf_char(out, '}');
    }
    kit_buf_char(out, ']');
    if (row->tools[0] != '\0') kit_buf_fmt(out, ",\"tools\":%s", row->tools);
}

void job_row_put_seen(const job_row *row, kit_buf *out) {
    if (is_plain(row)) {
        kit_buf_add(out, row->input, row->input_length);
        return;
    }
    kit_buf_char(out, '\xFF'); /* not a valid start of UTF-8 text */
    put_prompt(row, out);
    kit_buf_str(out, row->tools);
}

void job_row_put_context(const job_row *row, kit_buf *out) {
    const char *const parts[] = {row->system_text, row->tools, row->instruction};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i][0] == '\0') continue;
        if (out->length > 0) kit_buf_char(out, '\n');
        kit_buf_str(out, parts[i]);
    }
}

/* ---- The spool */

static void put_member(const char *key, const char *text, kit_buf *out) {
    if (text[0] == '\0') return;
    kit_buf_fmt(out, ",\"%s\":", key);
    kit_json_string(out, text, strlen(text));
}

void job_row_put_spool(const job_row *row, kit_buf *out) {
    kit_buf_str(out, "\"input\":");
    kit_json_string(out, row->input, row->input_length);
    kit_buf_str(out, ",\"output\":");
    kit_json_string(out, row->output, row->output_length);
    put_member("system", row->system, out);
    put_member("system_text", row->system_text, out);
    put_member("instruction", row->instruction, out);
    put_member("tools", row->tools, out);
    put_member("turns", row->turns, out);
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = "";
    return kit_json_get_string(object, key, &text) ? text : "";
}

bool job_row_get_spool(const cJSON *object, job_row *out_row) {
    *out_row = (job_row){.system = text_of(object, "system"),
                         .system_text = text_of(object, "system_text"),
                         .instruction = text_of(object, "instruction"),
                         .tools = text_of(object, "tools"),
                         .turns = text_of(object, "turns")};
    if (!kit_json_get_string(object, "input", &out_row->input) ||
        !kit_json_get_string(object, "output", &out_row->output))
        return false;
    out_row->input_length = strlen(out_row->input);
    out_row->output_length = strlen(out_row->output);
    return true;
}

/* ---- What was left out */

void job_add_unused(job_summary *summary, const job_reader *reader) {
    const job_unused *from = &reader->unused;
    for (size_t i = 0; i < from->count; i++) {
        size_t at = 0;
        while (at < summary->unused.count && strcmp(summary->unused.keys[at].name, from->keys[i].name) != 0)
            at++;
        if (at == JOB_UNUSED_MAX) {
            summary->unused.more += from->keys[i].rows;
            continue;
        }
        if (at == summary->unused.count)
            summary->unused.keys[summary->unused.count++] = from->keys[i];
        else
            summary->unused.keys[at].rows += from->keys[i].rows;
    }
    summary->unused.more += from->more;
    if (summary->guess.input == NULL) summary->guess = reader->guess;
}
