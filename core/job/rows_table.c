/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: tables, row by row. */
#include "job/rows_table.h"

#include <stdlib.h>
#include <string.h>

/* ---- Outputs that were read */

/* FNV-1a; never 0. */
uint32_t table_hash(const char *text, size_t length) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash != 0 ? hash : 1;
}

static uint32_t find_output(const rows_table *table, uint32_t hash) {
    uint32_t i = hash % TABLE_OUTPUTS;
    while (table->outputs[i] != 0 && table->outputs[i] != hash)
        i = (i + 1) % TABLE_OUTPUTS;
    return i;
}

bool table_output_known(const rows_table *table, uint32_t hash) {
    return table->outputs[find_output(table, hash)] != 0;
}

static void note_output(rows_table *table, const char *text, size_t length) {
    if (length > 256 || table->output_count >= TABLE_OUTPUTS / 2) return;
    uint32_t hash = table_hash(text, length), i = find_output(table, hash);
    table->output_count += table->outputs[i] == 0;
    table->outputs[i] = hash;
}

/* ---- Rows */

kit_status rows_open_table(job_reader *reader, kolm_error_t *err) {
    reader->table = calloc(1, sizeof *reader->table);
    return reader->table != NULL ? table_header(reader, err) : rows_no_memory(err);
}

void rows_close_table(job_reader *reader) {
    rows_table *table = reader->table;
    if (table == NULL) return;
    if (table->spool != NULL) fclose(table->spool);
    kit_buf_free(&table->header);
    kit_buf_free(&table->record);
    kit_buf_free(&table->held);
    kit_buf_free(&table->spooled);
    free(table);
    reader->table = NULL;
}

void rows_note_table(const job_reader *reader, job_table_notes *out) {
    const rows_table *table = reader->table;
    if (table == NULL) return;
    *out =
        (job_table_notes){.headers = table->headers, .suspects = table->suspects, .suspect_line = table->suspect_line};
}

static bool is_blank_from(const rows_table *table, size_t from, size_t count) {
    const char *at = from < count ? table_field(&table->record, from) : NULL;
    for (size_t i = from; i < count; i++, at += strlen(at) + 1)
        if (at[strspn(at, " ")] != '\0') return false;
    return true;
}

/* "sep=;" of a file that was appended to another one. */
static bool is_separator_line(const rows_table *table, size_t count) {
    const char *first = table->record.data;
    return count == 2 && strncmp(first, "sep=", 5) == 0 && *table_field(&table->record, 1) == '\0';
}

static bool is_no_row(job_reader *reader, size_t count) {
    const rows_table *table = reader->table;
    if (count > 1 && is_blank_from(table, 0, count)) return true;
    return is_separator_line(table, count) || table_header_again(reader, count);
}

static kit_status check_count(job_reader *reader, unsigned long long line, size_t count, kolm_error_t *err) {
    const rows_table *table = reader->table;
    if (count >= table->named && is_blank_from(table, table->columns, count)) return KOLM_OK;
    char text[96], kind[96];
    if (reader->options.no_header) {
        kit_format(text, sizeof text, "expected %zu fields as in the first row, found %zu", table->named, count);
        kit_format(kind, sizeof kind, "expected %s fields as in the first row, found %s", "N", "N");
    } else {
        kit_format(text, sizeof text, "expected %zu fields as in the header, found %zu", table->named, count);
        kit_format(kind, sizeof kind, "expected %s fields as in the header, found %s", "N", "N");
    }
    return rows_bad(reader, err, line, 1, ROWS_FIX_OR_SKIP("quote fields that hold the separator"), kind, text);
}

/* Joins the columns by line ends, without blank ones. */
static void take_input(job_reader *reader) {
    const rows_table *table = reader->table;
    for (size_t i = 0; i < table->input_count; i++) {
        const char *text = table_field(&table->record, table->inputs[i]);
        bool blank = text[strspn(text, " \t\n")] == '\0';
        if (blank && table->input_count > 1) continue;
        if (reader->input.length > 0) kit_buf_char(&reader->input, '\n');
        kit_buf_str(&reader->input, text);
    }
}

static void note_suspicion(rows_table *table, unsigned long long line) {
    if (!table->suspect) return;
    if (table->suspects++ == 0) table->suspect_line = line;
}

kit_status rows_next_table(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    rows_table *table = reader->table;
    size_t count = 0;
    do {
        KIT_TRY(table_record(reader, out_line, out_found, err));
        if (!*out_found) return KOLM_OK;
        count = table_split(table);
    } while (is_no_row(reader, count));
    KIT_TRY(check_count(reader, *out_line, count, err));
    note_suspicion(table, table->walk.spans.line);
    table_count_unused(reader);
    take_input(reader);
    if (table->output == TABLE_NO_COLUMN) return KOLM_OK;
    const char *output = table_field(&table->record, table->output);
    size_t length = strlen(output);
    kit_buf_add(&reader->output, output, length);
    note_output(table, output, length);
    return KOLM_OK;
}
