/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: JSON lines, chat, CSV and TSV over one bounded line buffer. */
#include "job/rows.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef enum row_format { ROWS_JSON, ROWS_TABLE } row_format;

struct job_reader {
    job_reader_options options;
    kit_lines *lines;
    row_format format;
    char separator;
    /* A first line that was read to tell the format and is still to be parsed. */
    bool have_line;
    const char *line;
    size_t line_length;
    cJSON *json;
    kit_buf input, output, record;
    size_t columns, input_index, output_index;
    bool has_output_column;
};

static const char *const input_names[] = {"input", "prompt", "text", "question", "query"};
static const char *const output_names[] = {"output", "completion", "label", "answer", "category", "target"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while reading data");
}

static unsigned long long line_of(const job_reader *reader) {
    return (unsigned long long)kit_lines_number(reader->lines);
}

/* "FILE, line N, column C: expected X, found Y" */
static kit_status bad(const job_reader *reader, kolm_error_t *err, unsigned long long line, size_t column,
                      const char *remedy, const char *text) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "%s, line %llu, column %zu: %s", reader->options.path, line,
                    column, text);
}

static kit_status check_text(const job_reader *reader, const char *bytes, size_t length, kolm_error_t *err) {
    const char *nul = memchr(bytes, '\0', length);
    if (nul != NULL)
        return bad(reader, err, line_of(reader), (size_t)(nul - bytes) + 1,
                   "save the data as plain UTF-8 text, or pass --skip-bad to leave such rows out",
                   "expected text, found a NUL byte");
    size_t at = kit_utf8_valid(bytes, length);
    if (at == length) return KOLM_OK;
    char text[96];
    kit_format(text, sizeof text, "expected UTF-8, found the byte \\x%02X", (unsigned char)bytes[at]);
    return bad(reader, err, line_of(reader), at + 1,
               "save the file as UTF-8, or pass --skip-bad to leave such rows out", text);
}

/* ---- Lines */

static kit_status too_long(const job_reader *reader, unsigned long long line, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_OUT_OF_RANGE, "split it into rows, or pass --skip-bad to leave it out",
                    "%s, line %llu: the row is longer than %u bytes", reader->options.path, line, JOB_ROW_MAX);
}

/* The line that was looked at already, or the next one; *out_line NULL at the end. */
static kit_status take_line(job_reader *reader, const char **out_line, size_t *out_length, kolm_error_t *err) {
    *out_line = reader->line;
    *out_length = reader->line_length;
    kit_status status = KOLM_OK;
    if (!reader->have_line) status = kit_lines_next(reader->lines, out_line, out_length, err);
    reader->have_line = false;
    if (status == KOLM_E_OUT_OF_RANGE) return too_long(reader, line_of(reader), err);
    if (status == KOLM_OK || status == KOLM_E_CANCELLED) return status;
    return kit_fail_context(err, "%s", reader->options.path);
}

/* ---- JSON lines */

static void add_printable(kit_buf *out, const char *text) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text) > 40 ? 40 : strlen(text));
    kit_buf_str(out, kit_buf_text(&shown));
    kit_buf_free(&shown);
}

static kit_status missing_key(const job_reader *reader, const cJSON *object, const char *wanted, kolm_error_t *err) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "expected the key %s, found ", wanted);
    if (object->child == NULL) kit_buf_str(&text, "no keys");
    int shown = 0;
    for (const cJSON *item = object->child; item != NULL && shown < 8; item = item->next, shown++) {
        kit_buf_str(&text, shown > 0 ? ", \"" : "\"");
        add_printable(&text, item->string);
        kit_buf_char(&text, '"');
    }
    kit_status status =
        bad(reader, err, line_of(reader), 1,
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
    return bad(reader, err, line_of(reader), 1, "correct the row, or pass --skip-bad to leave such rows out", text);
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
        return bad(reader, err, line_of(reader), 1,
                   "the last message must be the assistant's: it is what the model learns to say",
                   "expected a last message of the role \"assistant\"");
    if (users == 0)
        return bad(reader, err, line_of(reader), 1, "each chat needs a message of the role \"user\"",
                   "expected a message of the role \"user\"");
    bool single = users == 1 && others == (answered ? 1u : 0u);
    for (const cJSON *item = messages->child; item != NULL; item = item->next) {
        KIT_TRY(take_message(reader, item, &role, &text, err));
        if (answered && item == last) {
            kit_buf_str(&reader->output, text);
        } else if (single) {
            if (strcmp(role, "user") == 0) kit_buf_str(&reader->input, text);
        } else {
            if (reader->input.length > 0) kit_buf_char(&reader->input, '\n');
            kit_buf_fmt(&reader->input, "%s: %s", role, text);
        }
    }
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
                        "%s, line %llu, %s", reader->options.path, line_of(reader),
                        column != NULL ? column : inner.text);
    }
    cJSON_Delete(reader->json);
    reader->json = cJSON_ParseWithLength(line, length);
    if (reader->json == NULL) return no_memory(err);
    if (!cJSON_IsObject(reader->json))
        return bad(reader, err, line_of(reader), 1, "each line must be one JSON object",
                   "expected an object in braces");
    const cJSON *messages = kit_json_get(reader->json, "messages");
    return messages != NULL && reader->options.input_col == NULL ? take_chat(reader, messages, err)
                                                                 : take_pair(reader, reader->json, err);
}

/* ---- Tables */

/* Where a walk over a record is: a quote opens a field only at its start, elsewhere it is a character like any other.
 */
typedef enum quoting { AT_FIELD, IN_PLAIN, IN_QUOTED, AFTER_QUOTE } quoting;

/* Walks on over one line; IN_QUOTED at its end: the record goes on in the next one. */
static quoting follow_quotes(const job_reader *reader, quoting state, const char *line, size_t length) {
    for (size_t i = 0; i < length; i++) {
        char c = line[i];
        if (state == IN_QUOTED)
            state = c == '"' ? AFTER_QUOTE : IN_QUOTED;
        else if (c == reader->separator)
            state = AT_FIELD;
        else if (c == '"' && state != IN_PLAIN)
            state = IN_QUOTED;
        else
            state = IN_PLAIN;
    }
    return state;
}

/* Final, also with --skip-bad: everything behind an open quote would count as one bad row. */
static kit_status open_quote(const job_reader *reader, unsigned long long line, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "close the quote, or double it if it belongs to the text",
                    "%s, line %llu: expected a closing quote, found %s", reader->options.path, line, what);
}

/* Reads one record, which may span lines, into reader->record. A record with bad bytes is read to its end, too: what
 * comes behind it must not begin in its middle. */
static kit_status read_record(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    kit_buf_clear(&reader->record);
    *out_found = false;
    kit_status text_status = KOLM_OK;
    for (quoting state = AT_FIELD;;) {
        const char *line = NULL;
        size_t length = 0;
        kit_status status = take_line(reader, &line, &length, err);
        if (*out_found && (status == KOLM_E_OUT_OF_RANGE || reader->record.length > JOB_ROW_MAX))
            return open_quote(reader, *out_line, "none in 16 MiB", err);
        KIT_TRY(status);
        if (line == NULL) return *out_found ? open_quote(reader, *out_line, "the end of the file", err) : KOLM_OK;
        if (!*out_found && length == 0) continue;
        if (*out_found)
            kit_buf_char(&reader->record, '\n');
        else
            *out_line = line_of(reader);
        *out_found = true;
        if (text_status == KOLM_OK) text_status = check_text(reader, line, length, err);
        kit_buf_add(&reader->record, line, length);
        KIT_TRY(kit_buf_ok(&reader->record, err));
        state = follow_quotes(reader, state, line, length);
        if (state == IN_QUOTED) continue;
        if (text_status == KOLM_OK && reader->record.length > JOB_ROW_MAX) return too_long(reader, *out_line, err);
        return text_status;
    }
}

/* Splits the record in place into NUL ended fields; *out_count of them, the starts in turn. */
static kit_status split_record(job_reader *reader, unsigned long long line, size_t *out_count, kolm_error_t *err) {
    char *from = reader->record.data, *to = from, *end = from + reader->record.length, *line_start = from;
    *out_count = 0;
    for (;;) {
        if (from < end && *from == '"') {
            from++;
            while (from < end && (*from != '"' || (from + 1 < end && from[1] == '"'))) {
                if (*from == '"') from++;
                if (*from == '\n') {
                    line++;
                    line_start = from + 1;
                }
                *to++ = *from++;
            }
            if (from < end) from++;
            if (from < end && *from != reader->separator)
                return bad(reader, err, line, (size_t)(from - line_start) + 1,
                           "double a quote that belongs to the text, or pass --skip-bad to leave such rows out",
                           "expected a separator behind a closing quote");
        } else {
            while (from < end && *from != reader->separator)
                *to++ = *from++;
        }
        bool more = from < end;
        if (more) from++;
        *to++ = '\0';
        (*out_count)++;
        if (!more) return KOLM_OK;
    }
}

static const char *field(const job_reader *reader, size_t index) {
    const char *p = reader->record.data;
    while (index-- > 0)
        p += strlen(p) + 1;
    return p;
}

#define NO_COLUMN SIZE_MAX

/* The column called by the first name that any column has, `taken` set aside; NO_COLUMN when there is none. */
static size_t find_column(const job_reader *reader, const char *const *names, size_t name_count, size_t taken) {
    for (size_t n = 0; n < name_count; n++) {
        const char *name = reader->record.data;
        for (size_t i = 0; i < reader->columns; i++, name += strlen(name) + 1)
            if (i != taken && strcasecmp(name, names[n]) == 0) return i;
    }
    return NO_COLUMN;
}

static kit_status no_column(const job_reader *reader, unsigned long long line, const char *which, const char *option,
                            kolm_error_t *err) {
    kit_buf text = {0};
    kit_buf_fmt(&text, "expected a header with %s, found ", which);
    for (size_t i = 0; i < reader->columns && i < 8; i++) {
        kit_buf_str(&text, i > 0 ? ", '" : "'");
        add_printable(&text, field(reader, i));
        kit_buf_char(&text, '\'');
    }
    char remedy[200];
    kit_format(remedy, sizeof remedy,
               "name the column with %s, or give JSON lines with {\"input\": ..., \"output\": ...}", option);
    kit_status status = bad(reader, err, line, 1, remedy, kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

static void choose_separator(job_reader *reader) {
    bool tabs = memchr(reader->line, '\t', reader->line_length) != NULL;
    bool commas = memchr(reader->line, ',', reader->line_length) != NULL;
    size_t length = strlen(reader->options.path);
    bool named = length > 4 && strcasecmp(reader->options.path + length - 4, ".tsv") == 0;
    reader->separator = named || (tabs && !commas) ? '\t' : ',';
}

static kit_status find_columns(job_reader *reader, unsigned long long line, kolm_error_t *err) {
    const char *input_col = reader->options.input_col, *output_col = reader->options.output_col;
    reader->input_index = input_col != NULL ? find_column(reader, &input_col, 1, NO_COLUMN)
                                            : find_column(reader, input_names, COUNT(input_names), NO_COLUMN);
    if (reader->input_index == NO_COLUMN)
        return no_column(reader, line, input_col != NULL ? input_col : "'input' and 'output'", "--input-col", err);
    /* A guess never takes the input's own column: the model would learn to repeat it. */
    reader->output_index = output_col != NULL
                               ? find_column(reader, &output_col, 1, NO_COLUMN)
                               : find_column(reader, output_names, COUNT(output_names), reader->input_index);
    reader->has_output_column = reader->output_index != NO_COLUMN;
    if (!reader->has_output_column && !reader->options.inputs_only)
        return no_column(reader, line, output_col != NULL ? output_col : "'output'", "--output-col", err);
    return KOLM_OK;
}

static kit_status read_header(job_reader *reader, kolm_error_t *err) {
    unsigned long long line = 1;
    bool found = false;
    choose_separator(reader);
    KIT_TRY(read_record(reader, &line, &found, err));
    KIT_TRY(split_record(reader, line, &reader->columns, err));
    return find_columns(reader, line, err);
}

/* --input-col and --output-col that name the same thing. */
static kit_status check_names(const job_reader *reader, kolm_error_t *err) {
    const char *input = reader->options.input_col, *output = reader->options.output_col;
    bool table = reader->format == ROWS_TABLE;
    if (!table && input != NULL && output == NULL) output = "output";
    if (!table && output != NULL && input == NULL) input = "input";
    if (input == NULL || output == NULL || reader->options.inputs_only) return KOLM_OK;
    if (table ? strcasecmp(input, output) != 0 : strcmp(input, output) != 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name two different ones with --input-col and --output-col",
                    "%s: the input and the output are both '%s'", reader->options.path, input);
}

static kit_status parse_table(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    KIT_TRY(read_record(reader, out_line, out_found, err));
    if (!*out_found) return KOLM_OK;
    size_t count = 0;
    KIT_TRY(split_record(reader, *out_line, &count, err));
    if (count != reader->columns) {
        char text[96];
        kit_format(text, sizeof text, "expected %zu fields as in the header, found %zu", reader->columns, count);
        return bad(reader, err, *out_line, 1,
                   "quote fields that hold the separator, or pass --skip-bad to leave such rows out", text);
    }
    kit_buf_str(&reader->input, field(reader, reader->input_index));
    if (reader->has_output_column) kit_buf_str(&reader->output, field(reader, reader->output_index));
    return KOLM_OK;
}

/* ---- Both */

static kit_status not_text(const job_reader *reader, kolm_error_t *err) {
    const unsigned char *s = (const unsigned char *)reader->line;
    size_t n = reader->line_length;
    if (n >= 2 && ((s[0] == 0xFF && s[1] == 0xFE) || (s[0] == 0xFE && s[1] == 0xFF)))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "convert it: iconv -f UTF-16 -t UTF-8",
                        "%s is UTF-16 text, not UTF-8", reader->options.path);
    if (memchr(s, '\0', n) != NULL || kit_utf8_valid(reader->line, n) != n)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give JSON lines, CSV or TSV as UTF-8 text",
                        "%s is not UTF-8 text: it begins with other bytes", reader->options.path);
    return KOLM_OK;
}

/* Finds the first line with something on it, and what kind of file that makes it. */
static kit_status look_at_start(job_reader *reader, kolm_error_t *err) {
    size_t blanks = 0;
    do {
        kit_status status = take_line(reader, &reader->line, &reader->line_length, err);
        if (status == KOLM_E_OUT_OF_RANGE && err != NULL)
            kit_copy(err->remedy, sizeof err->remedy,
                     "one row a line: is this a JSON array? then write one object a line");
        KIT_TRY(status);
        if (reader->line == NULL)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                            "give a file with rows such as {\"input\": \"...\", \"output\": \"...\"}", "%s is empty",
                            reader->options.path);
        blanks = strspn(reader->line, " \t");
    } while (blanks == reader->line_length);
    reader->format = reader->line[blanks] == '{' ? ROWS_JSON : ROWS_TABLE;
    if (reader->format == ROWS_TABLE) KIT_TRY(not_text(reader, err));
    if (reader->line[blanks] == '[')
        return bad(reader, err, line_of(reader), blanks + 1, "write one object a line (jq -c '.[]' does that)",
                   "expected one JSON object a line, found an array");
    reader->have_line = true;
    return KOLM_OK;
}

kit_status job_reader_open(int fd, const job_reader_options *options, job_reader **out_reader, kolm_error_t *err) {
    *out_reader = NULL;
    job_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return no_memory(err);
    reader->options = *options;
    kit_status status = kit_lines_open(fd, JOB_ROW_MAX, &reader->lines, err);
    if (status == KOLM_OK) kit_lines_stop_on(reader->lines, options->cancel);
    if (status == KOLM_OK) status = look_at_start(reader, err);
    if (status == KOLM_OK) status = check_names(reader, err);
    if (status == KOLM_OK && reader->format == ROWS_TABLE) status = read_header(reader, err);
    if (status != KOLM_OK) {
        job_reader_close(reader);
        return status;
    }
    *out_reader = reader;
    return KOLM_OK;
}

static kit_status next_json(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    for (;;) {
        const char *line = NULL;
        size_t length = 0;
        KIT_TRY(take_line(reader, &line, &length, err));
        *out_line = line_of(reader);
        if (line == NULL) return KOLM_OK;
        if (strspn(line, " \t") == length) continue;
        *out_found = true;
        KIT_TRY(check_text(reader, line, length, err));
        return parse_json(reader, line, length, err);
    }
}

static bool is_blank(const kit_buf *text) {
    for (size_t i = 0; i < text->length; i++)
        if (!isspace((unsigned char)text->data[i])) return false;
    return true;
}

kit_status job_reader_next(job_reader *reader, job_row *out_row, bool *out_found, kolm_error_t *err) {
    *out_row = (job_row){0};
    *out_found = false;
    kit_buf_clear(&reader->input);
    kit_buf_clear(&reader->output);
    unsigned long long line = 0;
    kit_status status = reader->format == ROWS_JSON ? next_json(reader, &line, out_found, err)
                                                    : parse_table(reader, &line, out_found, err);
    if (status != KOLM_OK || !*out_found) return status;
    KIT_TRY(kit_buf_ok(&reader->input, err));
    KIT_TRY(kit_buf_ok(&reader->output, err));
    if (is_blank(&reader->input))
        return bad(reader, err, line, 1, "give the row an input, or pass --skip-bad to leave such rows out",
                   "expected an input with text, found a blank one");
    if (!reader->options.inputs_only && is_blank(&reader->output))
        return bad(reader, err, line, 1, "give the row an output, or pass --skip-bad to leave such rows out",
                   "expected an output with text, found a blank one");
    out_row->line = line;
    out_row->input = kit_buf_text(&reader->input);
    out_row->output = kit_buf_text(&reader->output);
    out_row->input_length = reader->input.length;
    out_row->output_length = reader->output.length;
    out_row->messages = reader->format == ROWS_JSON && reader->options.input_col == NULL
                            ? kit_json_get(reader->json, "messages")
                            : NULL;
    return KOLM_OK;
}

void job_reader_close(job_reader *reader) {
    if (reader == NULL) return;
    kit_lines_close(reader->lines);
    cJSON_Delete(reader->json);
    kit_buf_free(&reader->input);
    kit_buf_free(&reader->output);
    kit_buf_free(&reader->record);
    free(reader);
}
