/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the table reader: lines that can be read again, records, the header, rows. */
#ifndef KOLM_JOB_ROWS_TABLE_H
#define KOLM_JOB_ROWS_TABLE_H

#include "job/internal.h"
#include <stdio.h>

#define TABLE_OUTPUTS 4096u  /* slots for known outputs; at most half of them are used */
#define TABLE_INPUT_COLS 16u /* columns that --input-col may join */
#define TABLE_NO_COLUMN SIZE_MAX

/* The state of a walk over a record. A quote opens a field only at its start; elsewhere it is an ordinary character. */
typedef enum table_quoting { AT_FIELD, IN_PLAIN, IN_QUOTED, AFTER_QUOTE } table_quoting;

/* A place in a record. */
typedef struct table_place {
    unsigned long long line; /* of the file; 0: none */
    size_t column;           /* from 1, in bytes */
    size_t line_start;       /* offset of that line in the record */
} table_place;

/* A walk over one record, line by line. */
typedef struct table_walk {
    table_quoting state;
    size_t fields;
    size_t lines;
    bool quotes;        /* some field is in quotes */
    table_place opened; /* the quote that opened last */
    table_place spans;  /* the first quote whose field continues in the next line */
    size_t spans_end;   /* offset after the line in which that field ended; 0: not yet */
    table_place junk;   /* after a closing quote, where a separator should be */
} table_walk;

typedef struct rows_table {
    char separator;
    bool quoted;     /* fields may be in quotes */
    bool decided;    /* quoted is decided; for TSV only once a field begins with a quote */
    bool skip_blank; /* "text, label": blanks after a separator are not part of the field */
    /* The header: NUL-terminated names, one after another; without a header "1", "2", ... */
    kit_buf header;
    size_t columns;
    size_t named; /* columns up to the last one with a name */
    size_t inputs[TABLE_INPUT_COLS], input_count;
    size_t output;                               /* TABLE_NO_COLUMN: none */
    size_t unused[JOB_UNUSED_MAX], unused_count; /* indices into job_reader.unused of the columns that are not read */
    uint64_t more_unused;                        /* columns that did not fit there */
    /* The record: its lines joined by LF; table_split turns it into NUL-terminated fields, one after another. */
    kit_buf record;
    table_walk walk;
    bool quote_fault; /* the last record was bad because of its quotes */
    bool suspect;     /* the last record may have swallowed rows */
    /* Lines to be read again, each with a LF after it. */
    kit_buf held;
    size_t held_at;
    unsigned long long held_line; /* number of the line at held_at */
    unsigned long long long_line; /* a line after them that was too long; 0: none */
    /* All lines from the first quoted field of a TSV on, until it is decided how to read them. */
    FILE *spool;
    bool teeing, from_spool;
    unsigned long long spool_line; /* number of the next line */
    kit_buf spooled;
    uint32_t outputs[TABLE_OUTPUTS]; /* hashes of known outputs; 0: an empty slot */
    size_t output_count;
    uint64_t headers, suspects;
    uint64_t suspect_line; /* the first one */
} rows_table;

/* ---- rows_table_lines.c */
/* The next line: one to reread, one from the spool, or a new one. *out_line NULL at the end; valid until the next call.
 * rows_line() is its number. OUT_OF_RANGE: it is too long. */
kit_status table_line(job_reader *reader, const char **out_line, size_t *out_length, kolm_error_t *err) KIT_MUST_USE;
/* Schedules the lines of the record from offset on for rereading; `number` is that of the first. */
kit_status table_hold(job_reader *reader, size_t offset, unsigned long long number, kolm_error_t *err) KIT_MUST_USE;
/* Starts writing lines to the spool as they are read, beginning with the given one. */
kit_status table_tee(job_reader *reader, const char *line, size_t length, kolm_error_t *err) KIT_MUST_USE;
/* Rereads lines from the spool, from its start. */
kit_status table_rewind(job_reader *reader, kolm_error_t *err) KIT_MUST_USE;

/* ---- rows_record.c */
/* Reads a record, which may span lines, into table->record. INVALID_ARGUMENT or OUT_OF_RANGE for a bad one: the next
 * call continues after it. */
kit_status table_record(job_reader *reader, unsigned long long *out_line, bool *out_found,
                        kolm_error_t *err) KIT_MUST_USE;
/* Splits the record in place; returns the number of its fields. */
size_t table_split(rows_table *table);
/* The field at index of a split record, or of the header. */
const char *table_field(const kit_buf *fields, size_t index);

bool table_is_input(const rows_table *table, size_t column);

/* ---- rows_header.c */
/* Finds the separator, reads the header and finds the columns. */
kit_status table_header(job_reader *reader, kolm_error_t *err) KIT_MUST_USE;
/* True if the split record of `count` fields is a repeated header; its columns apply from now on. */
bool table_header_again(job_reader *reader, size_t count);
/* Adds a row to the counts of columns that are not used. */
void table_count_unused(job_reader *reader);

/* ---- rows_table.c */
uint32_t table_hash(const char *text, size_t length);
bool table_output_known(const rows_table *table, uint32_t hash);

#endif
