/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: CSV and TSV. */
#include "job/internal.h"

#include <string.h>
#include <strings.h>

static const char *const input_names[] = {"input", "prompt", "text", "question", "query"};
static const char *const output_names[] = {"output", "completion", "label", "answer", "category", "target"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

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
        kit_status status = rows_take_line(reader, &line, &length, err);
        if (*out_found && (status == KOLM_E_OUT_OF_RANGE || reader->record.length > JOB_ROW_MAX))
            return open_quote(reader, *out_line, "none in 16 MiB", err);
        KIT_TRY(status);
        if (line == NULL) return *out_found ? open_quote(reader, *out_line, "the end of the file", err) : KOLM_OK;
        if (!*out_found && length == 0) continue;
        if (*out_found)
            kit_buf_char(&reader->record, '\n');
        else
            *out_line = rows_line(reader);
        *out_found = true;
        if (text_status == KOLM_OK) text_status = rows_check_text(reader, line, length, err);
        kit_buf_add(&reader->record, line, length);
        KIT_TRY(kit_buf_ok(&reader->record, err));
        state = follow_quotes(reader, state, line, length);
        if (state == IN_QUOTED) continue;
        if (text_status == KOLM_OK && reader->record.length > JOB_ROW_MAX) return rows_too_long(reader, *out_line, err);
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
                return rows_bad(reader, err, line, (size_t)(from - line_start) + 1,
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
        rows_add_printable(&text, field(reader, i));
        kit_buf_char(&text, '\'');
    }
    char remedy[200];
    kit_format(remedy, sizeof remedy,
               "name the column with %s, or give JSON lines with {\"input\": ..., \"output\": ...}", option);
    kit_status status = rows_bad(reader, err, line, 1, remedy, kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

static bool ends_with(const char *path, size_t length, const char *end) {
    size_t more = strlen(end);
    return length > more && strncasecmp(path + length - more, end, more) == 0;
}

static void choose_separator(job_reader *reader) {
    const char *path = reader->options.path;
    size_t length = strlen(path);
    if (ends_with(path, length, ".gz")) length -= 3;
    if (ends_with(path, length, ".zst")) length -= 4;
    bool tabs = memchr(reader->line, '\t', reader->line_length) != NULL;
    bool commas = memchr(reader->line, ',', reader->line_length) != NULL;
    bool named = ends_with(path, length, ".tsv");
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

kit_status rows_open_table(job_reader *reader, kolm_error_t *err) {
    unsigned long long line = 1;
    bool found = false;
    choose_separator(reader);
    KIT_TRY(read_record(reader, &line, &found, err));
    KIT_TRY(split_record(reader, line, &reader->columns, err));
    return find_columns(reader, line, err);
}

kit_status rows_next_table(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    KIT_TRY(read_record(reader, out_line, out_found, err));
    if (!*out_found) return KOLM_OK;
    size_t count = 0;
    KIT_TRY(split_record(reader, *out_line, &count, err));
    if (count != reader->columns) {
        char text[96];
        kit_format(text, sizeof text, "expected %zu fields as in the header, found %zu", reader->columns, count);
        return rows_bad(reader, err, *out_line, 1,
                        "quote fields that hold the separator, or pass --skip-bad to leave such rows out", text);
    }
    kit_buf_str(&reader->input, field(reader, reader->input_index));
    if (reader->has_output_column) kit_buf_str(&reader->output, field(reader, reader->output_index));
    return KOLM_OK;
}
