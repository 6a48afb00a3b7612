/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader, parts for all formats: opening, detecting the format, lines, errors, rows. */
#include "job/internal.h"

#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include "job/common.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

kit_status rows_no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while reading data");
}

unsigned long long rows_line(const job_reader *reader) {
    return reader->number;
}

/* "FILE, line N, column C: expected X, found Y". Lack of memory is not the row's fault, and not a reason to skip it. */
kit_status rows_bad(job_reader *reader, kolm_error_t *err, unsigned long long line, size_t column, rows_remedy remedy,
                    const char *kind, const char *text) {
    bool cut = reader->input.failed || reader->output.failed || reader->context.failed || reader->seen.failed;
    if (cut || (reader->json != NULL && rows_cut_json(reader->json))) return rows_no_memory(err);
    reader->fault.names_skip = remedy.names_skip;
    kit_copy(reader->fault.kind, sizeof reader->fault.kind, kind != NULL ? kind : text);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy.text, "%s, line %llu, column %zu: %s", reader->options.path,
                    line, column, text);
}

kit_status rows_check_text(job_reader *reader, const char *bytes, size_t length, kolm_error_t *err) {
    const char *nul = memchr(bytes, '\0', length);
    if (nul != NULL)
        return rows_bad(reader, err, rows_line(reader), (size_t)(nul - bytes) + 1,
                        ROWS_FIX_OR_SKIP("save the data as plain UTF-8 text"), NULL, "expected text, found a NUL byte");
    size_t at = kit_utf8_valid(bytes, length);
    if (at == length) return KOLM_OK;
    char text[96];
    kit_format(text, sizeof text, "expected UTF-8, found the byte \\x%02X", (unsigned char)bytes[at]);
    return rows_bad(reader, err, rows_line(reader), at + 1, ROWS_FIX_OR_SKIP("save the file as UTF-8"),
                    "expected UTF-8, found the byte \\x..", text);
}

/* ---- Lines */

kit_status rows_too_long(job_reader *reader, unsigned long long line, kolm_error_t *err) {
    reader->fault = (job_fault){.kind = "the row is longer than N bytes", .names_skip = true};
    return kit_fail(err, KOLM_E_OUT_OF_RANGE, "split it into rows, or pass --skip-bad to leave it out",
                    "%s, line %llu: the row is longer than %u bytes", reader->options.path, line, JOB_ROW_MAX);
}

/* The line that was read ahead, or the next one; *out_line NULL at the end. */
kit_status rows_take_line(job_reader *reader, const char **out_line, size_t *out_length, kolm_error_t *err) {
    *out_line = reader->line;
    *out_length = reader->line_length;
    kit_status status = KOLM_OK;
    if (!reader->have_line) status = kit_lines_next(reader->lines, out_line, out_length, err);
    reader->have_line = false;
    reader->number = (unsigned long long)kit_lines_number(reader->lines);
    if (status == KOLM_E_OUT_OF_RANGE) return rows_too_long(reader, rows_line(reader), err);
    if (status == KOLM_OK || status == KOLM_E_CANCELLED) return status;
    return kit_fail_context(err, "%s", reader->options.path);
}

void rows_skip_mark(const char **line, size_t *length) {
    if (*length < 3 || memcmp(*line, "\xEF\xBB\xBF", 3) != 0) return;
    *line += 3;
    *length -= 3;
}

void rows_add_printable(kit_buf *out, const char *text) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text) > 40 ? 40 : strlen(text));
    kit_buf_str(out, kit_buf_text(&shown));
    kit_buf_free(&shown);
}

/* ---- Rows */

static kit_status not_text(job_reader *reader, kolm_error_t *err) {
    const unsigned char *s = (const unsigned char *)reader->line;
    size_t n = reader->line_length;
    if (n >= 2 && ((s[0] == 0xFF && s[1] == 0xFE) || (s[0] == 0xFE && s[1] == 0xFF)))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "convert it: iconv -f UTF-16 -t UTF-8",
                        "%s is UTF-16 text, not UTF-8", reader->options.path);
    /* The first header of a tar archive holds no line end; what is in the archive may. */
    if (n >= 262 && memcmp(s + 257, "ustar", 5) == 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use the file in it: tar -xOf FILE | kolm ... with - as the file",
                        "%s is a tar archive, not text", reader->options.path);
    const char *cr = memchr(s, '\r', n);
    if (cr != NULL && memchr(s, '"', (size_t)(cr - reader->line)) == NULL)
        return rows_bad(reader, err, rows_line(reader), (size_t)(cr - reader->line) + 1,
                        ROWS_FIX("convert them: tr '\\r' '\\n' < FILE > rows.csv"), NULL,
                        "expected lines that end in LF or CR LF, found CR alone");
    if (memchr(s, '\0', n) != NULL || kit_utf8_valid(reader->line, n) != n)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use JSON lines, CSV or TSV as UTF-8 text",
                        "%s is not UTF-8 text: it begins with other bytes", reader->options.path);
    return KOLM_OK;
}

/* True for the start of a pretty-printed object: the line ends after an opening bracket, a comma or a colon. */
static bool goes_on(const char *line, size_t length) {
    size_t depth = 0;
    bool quoted = false;
    while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\t'))
        length--;
    for (size_t i = 0; i < length; i++) {
        if (line[i] == '"') quoted = !quoted;
        if (quoted && line[i] == '\\') i++;
        if (!quoted && (line[i] == '{' || line[i] == '[')) depth++;
        if (!quoted && (line[i] == '}' || line[i] == ']') && depth > 0) depth--;
    }
    return depth > 0 && !quoted && length > 0 && strchr("{[,:", line[length - 1]) != NULL;
}

/* Finds the first non-blank line, and the format of the file by it. */
static kit_status look_at_start(job_reader *reader, kolm_error_t *err) {
    size_t blanks = 0;
    do {
        kit_status status = rows_take_line(reader, &reader->line, &reader->line_length, err);
        if (status == KOLM_E_OUT_OF_RANGE && err != NULL)
            kit_copy(err->remedy, sizeof err->remedy,
                     "one row a line: is this a JSON array? then write one object a line");
        KIT_TRY(status);
        if (reader->line == NULL)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                            "use a file with rows such as {\"input\": \"...\", \"output\": \"...\"}", "%s is empty",
                            reader->options.path);
        blanks = strspn(reader->line, " \t");
    } while (blanks == reader->line_length);
    reader->format = reader->line[blanks] == '{' ? ROWS_JSON : ROWS_TABLE;
    if (reader->format == ROWS_TABLE) KIT_TRY(not_text(reader, err));
    if (reader->line[blanks] == '[')
        return rows_bad(reader, err, rows_line(reader), blanks + 1,
                        ROWS_FIX("write one object a line: jq -c '.[]' FILE > rows.jsonl"), NULL,
                        "expected one JSON object a line, found an array");
    if (reader->format == ROWS_JSON && goes_on(reader->line, reader->line_length))
        return rows_bad(
            reader, err, rows_line(reader), blanks + 1,
            ROWS_FIX("write one object a line: jq -c . FILE > rows.jsonl (or jq -c '.data[]' for a list inside)"), NULL,
            "expected one JSON object a line, found one that continues in the next line");
    reader->have_line = true;
    return KOLM_OK;
}

/* Rejects --input-col and --output-col with the same name. */
static kit_status check_names(const job_reader *reader, kolm_error_t *err) {
    const char *input = reader->options.input_col, *output = reader->options.output_col;
    if (reader->format == ROWS_TABLE) return KOLM_OK; /* the header check is more precise */
    if (input != NULL && output == NULL) output = "output";
    if (output != NULL && input == NULL) input = "input";
    if (input == NULL || output == NULL || reader->options.inputs_only) return KOLM_OK;
    if (strcmp(input, output) != 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name two different ones with --input-col and --output-col",
                    "%s: the input and the output are both '%s'", reader->options.path, input);
}

static kit_status open_lines(job_reader *reader, int fd, kolm_error_t *err) {
    KIT_TRY(job_bytes_open(fd, reader->options.path, reader->options.cancel, &reader->bytes, err));
    KIT_TRY(kit_lines_open(-1, JOB_ROW_MAX, &reader->lines, err));
    kit_lines_read_with(reader->lines, job_bytes_read, reader->bytes);
    kit_lines_stop_on(reader->lines, reader->options.cancel);
    return KOLM_OK;
}

kit_status job_reader_open(int fd, const job_reader_options *options, job_reader **out_reader, kolm_error_t *err) {
    *out_reader = NULL;
    job_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return rows_no_memory(err);
    reader->options = *options;
    kit_status status = open_lines(reader, fd, err);
    if (status == KOLM_OK) status = look_at_start(reader, err);
    if (status == KOLM_OK) status = check_names(reader, err);
    if (status == KOLM_OK)
        status = reader->format == ROWS_TABLE ? rows_open_table(reader, err) : rows_open_json(reader, err);
    if (status != KOLM_OK) {
        job_reader_close(reader);
        return status;
    }
    *out_reader = reader;
    return KOLM_OK;
}

static bool is_blank(const kit_buf *text) {
    for (size_t i = 0; i < text->length; i++)
        if (!isspace((unsigned char)text->data[i])) return false;
    return true;
}

/* Fills out_row from the parsed row. */
static kit_status give_row(job_reader *reader, unsigned long long line, job_row *out_row, kolm_error_t *err) {
    *out_row = job_row_of_text(kit_buf_text(&reader->input), reader->input.length);
    out_row->line = line;
    out_row->output = kit_buf_text(&reader->output);
    out_row->output_length = reader->output.length;
    if (reader->json != NULL) rows_fill_json(reader, out_row);
    job_row_put_seen(out_row, &reader->seen);
    job_row_put_context(out_row, &reader->context);
    out_row->context = kit_buf_text(&reader->context);
    out_row->context_length = reader->context.length;
    out_row->seen = kit_buf_text(&reader->seen);
    out_row->seen_length = reader->seen.length;
    KIT_TRY(kit_buf_ok(&reader->input, err));
    KIT_TRY(kit_buf_ok(&reader->output, err));
    KIT_TRY(kit_buf_ok(&reader->context, err));
    return kit_buf_ok(&reader->seen, err);
}

static void forget_row(job_reader *reader, job_row *out_row) {
    *out_row = (job_row){0};
    reader->fault = (job_fault){0};
    kit_buf_clear(&reader->input);
    kit_buf_clear(&reader->output);
    kit_buf_clear(&reader->context);
    kit_buf_clear(&reader->seen);
}

kit_status job_reader_next(job_reader *reader, job_row *out_row, bool *out_found, kolm_error_t *err) {
    *out_found = false;
    forget_row(reader, out_row);
    unsigned long long line = 0;
    kit_status status = reader->format == ROWS_JSON ? rows_next_json(reader, &line, out_found, err)
                                                    : rows_next_table(reader, &line, out_found, err);
    if (status != KOLM_OK || !*out_found) return status;
    if (is_blank(&reader->input))
        return rows_bad(reader, err, line, 1, ROWS_FIX_OR_SKIP("add an input to the row"), NULL,
                        "expected an input with text, found a blank one");
    if (!reader->options.inputs_only && is_blank(&reader->output))
        return rows_bad(reader, err, line, 1, ROWS_FIX_OR_SKIP("add an output to the row"), NULL,
                        "expected an output with text, found a blank one");
    return give_row(reader, line, out_row, err);
}

kit_status job_reader_open_rows(const job_reader_options *options, job_reader **out_reader, kolm_error_t *err) {
    *out_reader = NULL;
    job_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) return rows_no_memory(err);
    reader->options = *options;
    kit_status status = rows_open_json(reader, err);
    if (status == KOLM_OK)
        *out_reader = reader;
    else
        free(reader);
    return status;
}

kit_status job_reader_parse(job_reader *reader, const char *line, size_t length, uint64_t number, job_row *out_row,
                            kolm_error_t *err) {
    forget_row(reader, out_row);
    reader->number = (unsigned long long)number;
    KIT_TRY(rows_check_text(reader, line, length, err));
    KIT_TRY(rows_parse_json(reader, line, length, err));
    return give_row(reader, reader->number, out_row, err);
}

const job_fault *job_reader_fault(const job_reader *reader) {
    return &reader->fault;
}

const job_unused *job_reader_unused(const job_reader *reader) {
    return &reader->unused;
}

job_guess job_reader_guess(const job_reader *reader) {
    return reader->guess;
}

job_table_notes job_reader_notes(const job_reader *reader) {
    job_table_notes notes = {0};
    rows_note_table(reader, &notes);
    return notes;
}

void job_reader_close(job_reader *reader) {
    if (reader == NULL) return;
    kit_lines_close(reader->lines);
    job_bytes_close(reader->bytes);
    rows_close_table(reader);
    rows_close_json(reader);
    kit_buf_free(&reader->input);
    kit_buf_free(&reader->output);
    kit_buf_free(&reader->context);
    kit_buf_free(&reader->seen);
    free(reader);
}
