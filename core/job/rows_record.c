/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a table: their ends, and stray quotes. */
#include "job/rows_table.h"

#include <string.h>

#define ASTRAY_REMEDY ROWS_FIX_OR_SKIP("double a quote that belongs to the text")
#define BACKSLASH_REMEDY                                                                                               \
    ROWS_FIX("write a quote in a text as two quotes, not with a backslash: sed 's/\\\\\"/\"\"/g' FILE > rows.csv "     \
             "does that")
#define SWALLOWED_REMEDY                                                                                               \
    ROWS_SKIP("remove the quote, or double it and quote the field; --skip-bad leaves this row out; write texts that "  \
              "do contain such lines as JSON lines")

/* ---- Walking */

static void begin_field(table_walk *walk, char c, size_t column, unsigned long long line, size_t line_start) {
    walk->state = IN_PLAIN;
    if (c != '"') return;
    walk->state = IN_QUOTED;
    walk->quotes = true;
    walk->opened = (table_place){.line = line, .column = column, .line_start = line_start};
}

static void behind_quote(table_walk *walk, char c, char separator, size_t column, unsigned long long line,
                         size_t line_start) {
    if (c == separator) {
        walk->state = AT_FIELD;
        walk->fields++;
    } else if (c == '"') {
        walk->state = IN_QUOTED;
    } else {
        walk->junk = (table_place){.line = line, .column = column, .line_start = line_start};
    }
}

/* Walks over the next line of the record, which begins at line_start; stops after a closing quote that is not followed
 * by a separator. IN_QUOTED at its end: the record continues in the next line. */
static void walk_line(const rows_table *table, table_walk *walk, const char *line, size_t length,
                      unsigned long long number, size_t line_start) {
    walk->lines++;
    if (walk->state != IN_QUOTED) walk->state = AT_FIELD;
    for (size_t i = 0; i < length && walk->junk.line == 0; i++) {
        const char *found = NULL;
        switch (walk->state) {
        case IN_QUOTED:
            found = memchr(line + i, '"', length - i);
            i = found != NULL ? (size_t)(found - line) : length;
            if (found != NULL) walk->state = AFTER_QUOTE;
            break;
        case AFTER_QUOTE:
            behind_quote(walk, line[i], table->separator, i + 1, number, line_start);
            break;
        case IN_PLAIN:
            found = memchr(line + i, table->separator, length - i);
            i = found != NULL ? (size_t)(found - line) : length;
            if (found == NULL) break;
            walk->state = AT_FIELD;
            walk->fields++;
            break;
        case AT_FIELD:
            if (line[i] == table->separator)
                walk->fields++;
            else if (line[i] != ' ' || !table->skip_blank)
                begin_field(walk, line[i], i + 1, number, line_start);
        }
    }
    if (walk->state == IN_QUOTED && walk->spans.line == 0) walk->spans = walk->opened;
    if (walk->state != IN_QUOTED && walk->spans.line != 0 && walk->spans_end == 0)
        walk->spans_end = line_start + length;
}

/* ---- Rows that were swallowed */

/* One line read as a row of its own; a quote at `literal` (from 0; SIZE_MAX: none) is a character. */
typedef struct lone_row {
    bool whole;      /* it has as many fields as the header, and non-blank input and output */
    uint32_t output; /* hash of its output; 0: none */
} lone_row;

static bool has_text(const char *from, const char *to) {
    for (; from < to; from++)
        if (*from != ' ' && *from != '"') return true;
    return false;
}

bool table_is_input(const rows_table *table, size_t index) {
    for (size_t i = 0; i < table->input_count; i++)
        if (table->inputs[i] == index) return true;
    return false;
}

static lone_row read_alone(const rows_table *table, const char *line, size_t length) {
    lone_row row = {.whole = length > 0};
    const char *from = line, *end = line + length;
    size_t field = 0;
    for (;; field++) {
        const char *to = memchr(from, table->separator, (size_t)(end - from));
        if (to == NULL) to = end;
        /* A blank after a separator is rare in rows, and usual in prose. */
        if (field > 0 && from < to && *from == ' ' && !table->skip_blank) row.whole = false;
        if ((field == table->output || table_is_input(table, field)) && !has_text(from, to)) row.whole = false;
        if (field == table->output) {
            const char *text = from < to && *from == '"' ? from + 1 : from; /* the stray quote */
            row.output = table_hash(text, (size_t)(to - text));
        }
        if (to == end) break;
        from = to + 1;
    }
    if (field + 1 < table->named || field + 1 > table->columns) row.whole = false;
    return row;
}

typedef struct swallowed {
    size_t lines, whole, known; /* known: with an output that other rows have */
    bool first, last;           /* the first and the last line are whole */
    uint32_t outputs[64];       /* hashes for the first lines */
} swallowed;

static bool output_is_known(const rows_table *table, const swallowed *s, uint32_t output) {
    if (table_output_known(table, output)) return true;
    for (size_t i = 0; i < s->lines && i < sizeof s->outputs / sizeof *s->outputs; i++)
        if (s->outputs[i] == output) return true;
    return false;
}

static swallowed look_into(const rows_table *table, const char *text, size_t length) {
    swallowed s = {0};
    for (const char *line = text, *end = text + length; line <= end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line)), *stop = lf != NULL ? lf : end;
        lone_row row = read_alone(table, line, (size_t)(stop - line));
        s.last = row.whole;
        if (s.lines == 0) s.first = row.whole;
        s.whole += row.whole;
        /* The last line contains the end of the record, so its output proves nothing. */
        if (row.output != 0 && lf != NULL) {
            s.known += output_is_known(table, &s, row.output);
            if (s.lines < sizeof s.outputs / sizeof *s.outputs) s.outputs[s.lines] = row.output;
        }
        s.lines++;
        line = stop + 1;
    }
    return s;
}

/*
 * True if the lines of a quoted field are rows that a stray quote swallowed. The sign: nine in ten, including the first
 * and the last, are whole rows by themselves. That is proof if half of those before the last have an output that also
 * occurs in other rows, or if they are many or have many columns. Otherwise it is only a suspicion.
 */
static bool is_swallowed(rows_table *table, const table_walk *walk) {
    if (table->columns < 2 || walk->spans.line == 0 || walk->spans_end == 0) return false;
    swallowed s =
        look_into(table, table->record.data + walk->spans.line_start, walk->spans_end - walk->spans.line_start);
    if (!s.first || !s.last || s.whole * 10 < s.lines * 9) return false;
    size_t before = s.lines - 1;
    table->suspect = s.known * 2 < before && before * (table->columns - 1) < 5;
    return !table->suspect;
}

/* For a record that is already bad: true if the lines after its quote are mostly rows. */
static bool mostly_rows(const rows_table *table, size_t offset, size_t end) {
    if (table->columns < 2 || offset >= end) return false;
    swallowed s = look_into(table, table->record.data + offset, end - offset);
    return s.whole * 2 >= s.lines;
}

/* The offset after the line of a place. */
static size_t next_line(const rows_table *table, const table_place *place) {
    const char *line = table->record.data + place->line_start;
    const char *lf = memchr(line, '\n', table->record.length - place->line_start);
    return lf != NULL ? (size_t)(lf - table->record.data) + 1 : table->record.length;
}

/* ---- Faults */

static kit_status at_quote(job_reader *reader, const table_place *place, rows_remedy remedy, const char *kind,
                           const char *text, kolm_error_t *err) {
    reader->table->quote_fault = true;
    return rows_bad(reader, err, place->line, place->column, remedy, kind, text);
}

/* The row with the quote is lost; reading continues in the next line. */
static kit_status go_on_behind(job_reader *reader, const table_place *place, kolm_error_t *err) {
    return table_hold(reader, next_line(reader->table, place), place->line + 1, err);
}

static kit_status never_closed(job_reader *reader, const char *what, kolm_error_t *err) {
    const table_place opened = reader->table->walk.opened;
    char text[80];
    KIT_TRY(go_on_behind(reader, &opened, err));
    kit_format(text, sizeof text, "expected a closing quote, found %s", what);
    return at_quote(reader, &opened, ROWS_FIX("close the quote, or double it if it belongs to the text"), NULL, text,
                    err);
}

/* True if the opening quote of a field of several lines is the stray one: the closing quote is at the start of another
 * field, or there are rows between the two. Otherwise the closing one is stray, in the middle of a text. */
static bool opening_is_astray(const rows_table *table) {
    const table_walk *walk = &table->walk;
    const char *line = table->record.data + walk->junk.line_start, *quote = line + walk->junk.column - 2;
    while (quote > line && quote[-1] == '"') /* doubled at the start of a text that begins with a quote */
        quote--;
    if (quote == line || quote[-1] == table->separator) return true;
    size_t from = next_line(table, &walk->opened);
    return mostly_rows(table, from, walk->junk.line_start > 0 ? walk->junk.line_start - 1 : 0);
}

/* True if the closing quote follows a backslash, as some programs escape quotes. */
static bool has_backslash(const rows_table *table) {
    const table_place *junk = &table->walk.junk;
    return junk->column > 2 && table->record.data[junk->line_start + junk->column - 3] == '\\';
}

static kit_status behind_closing_quote(job_reader *reader, kolm_error_t *err) {
    const table_walk *walk = &reader->table->walk;
    char text[96];
    if (walk->opened.line == walk->junk.line)
        return at_quote(reader, &walk->junk, has_backslash(reader->table) ? BACKSLASH_REMEDY : ASTRAY_REMEDY, NULL,
                        "expected a separator after a closing quote", err);
    if (opening_is_astray(reader->table)) KIT_TRY(go_on_behind(reader, &walk->opened, err));
    kit_format(text, sizeof text, "expected a separator after the quote that closes this field in line %llu",
               walk->junk.line);
    return at_quote(reader, &walk->opened, SWALLOWED_REMEDY,
                    "expected a separator after the quote that closes this field in line N", text, err);
}

static kit_status swallowed_rows(job_reader *reader, kolm_error_t *err) {
    const rows_table *table = reader->table;
    const table_place place = table->walk.spans;
    size_t end = table->walk.spans_end != 0 ? table->walk.spans_end : table->record.length;
    unsigned long long last = place.line;
    for (size_t i = place.line_start; i < end; i++)
        last += table->record.data[i] == '\n';
    char text[112];
    KIT_TRY(go_on_behind(reader, &place, err));
    kit_format(text, sizeof text, "expected one field in quotes, found whole rows up to the next quote in line %llu",
               last);
    return at_quote(reader, &place, SWALLOWED_REMEDY,
                    "expected one field in quotes, found whole rows up to the next quote in line N", text, err);
}

/* A record of several lines with bad bytes is bad as a whole: its tail must not be mistaken for a row. */
static kit_status check_lines(job_reader *reader, unsigned long long line, kolm_error_t *err) {
    const rows_table *table = reader->table;
    unsigned long long last = reader->number;
    kit_status status = KOLM_OK;
    for (const char *at = table->record.data, *end = at + table->record.length; at <= end && status == KOLM_OK;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at)), *stop = lf != NULL ? lf : end;
        reader->number = line++;
        status = rows_check_text(reader, at, (size_t)(stop - at), err);
        at = stop + 1;
    }
    reader->number = last;
    return status;
}

/* ---- Reading */

static kit_status add_line(rows_table *table, const char *line, size_t length, kolm_error_t *err) {
    if (table->walk.lines > 0) kit_buf_char(&table->record, '\n');
    kit_buf_add(&table->record, line, length);
    return kit_buf_ok(&table->record, err);
}

/* Reads the remaining lines of the record. */
static kit_status finish_record(job_reader *reader, kolm_error_t *err) {
    rows_table *table = reader->table;
    table_walk *walk = &table->walk;
    while (walk->state == IN_QUOTED && walk->junk.line == 0) {
        const char *line = NULL;
        size_t length = 0;
        kit_status status = table_line(reader, &line, &length, err);
        if (status == KOLM_E_OUT_OF_RANGE) table->long_line = rows_line(reader);
        if (status == KOLM_E_OUT_OF_RANGE) return never_closed(reader, "none in 16 MiB", err);
        KIT_TRY(status);
        if (line == NULL) return never_closed(reader, "the end of the file", err);
        KIT_TRY(add_line(table, line, length, err));
        walk_line(table, walk, line, length, rows_line(reader), table->record.length - length);
        if (walk->state == IN_QUOTED && table->record.length > JOB_ROW_MAX)
            return never_closed(reader, "none in 16 MiB", err);
    }
    return walk->junk.line != 0 ? behind_closing_quote(reader, err) : KOLM_OK;
}

static kit_status judge_record(job_reader *reader, unsigned long long line, kolm_error_t *err) {
    rows_table *table = reader->table;
    const table_walk *walk = &table->walk;
    if (walk->lines > 1 && is_swallowed(table, walk)) return swallowed_rows(reader, err);
    bool misfit = walk->fields + 1 < table->named || walk->fields + 1 > table->columns;
    if (walk->lines > 1 && misfit && mostly_rows(table, next_line(table, &walk->spans), table->record.length))
        return swallowed_rows(reader, err);
    if (table->record.length > JOB_ROW_MAX) return rows_too_long(reader, line, err);
    return check_lines(reader, line, err);
}

static bool begins_with_quote(const rows_table *table, const char *line, size_t length) {
    const char *end = line + length;
    for (const char *at = line; (at = memchr(at, '"', (size_t)(end - at))) != NULL; at++)
        if (at == line || at[-1] == table->separator || at[-1] == ' ') return true;
    return false;
}

/* Reads ahead, assuming quoted fields, to the end of the file or the first contradiction, and rewinds. */
static kit_status decide_quoting(job_reader *reader, const char *line, size_t length, kolm_error_t *err) {
    rows_table *table = reader->table;
    size_t least = table->named, most = table->columns;
    table->decided = table->quoted = true;
    KIT_TRY(table_tee(reader, line, length, err));
    kit_buf_clear(&table->record);
    kit_buf_add(&table->record, line, length);
    KIT_TRY(kit_buf_ok(&table->record, err));
    KIT_TRY(table_hold(reader, 0, rows_line(reader), err));
    for (bool found = true; found && table->quoted;) {
        unsigned long long number = 0;
        kit_status status = table_record(reader, &number, &found, err);
        bool bad = status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE;
        if (status != KOLM_OK && !bad) return status;
        if (bad) found = true;
        if (bad ? table->quote_fault : table->suspect) table->quoted = false;
        if (bad || !found) continue;
        size_t fields = table->walk.fields + 1;
        if (most == 0) least = most = fields; /* this is the header */
        if (table->walk.quotes && (fields < least || fields > most)) table->quoted = false;
    }
    return table_rewind(reader, err);
}

/* Reads the first non-blank line of a record. */
static kit_status first_line(job_reader *reader, const char **out_line, size_t *out_length, kolm_error_t *err) {
    do {
        KIT_TRY(table_line(reader, out_line, out_length, err));
        if (*out_line != NULL) rows_skip_mark(out_line, out_length);
    } while (*out_line != NULL && *out_length == 0);
    return KOLM_OK;
}

kit_status table_record(job_reader *reader, unsigned long long *out_line, bool *out_found, kolm_error_t *err) {
    rows_table *table = reader->table;
    const char *line = NULL;
    size_t length = 0;
    *out_found = false;
    table->quote_fault = table->suspect = false;
    KIT_TRY(first_line(reader, &line, &length, err));
    if (line != NULL && !table->decided && begins_with_quote(table, line, length)) {
        KIT_TRY(decide_quoting(reader, line, length, err));
        table->quote_fault = table->suspect = false;
        KIT_TRY(first_line(reader, &line, &length, err));
    }
    kit_buf_clear(&table->record);
    table->walk = (table_walk){0};
    if (line == NULL) return KOLM_OK;
    *out_found = true;
    *out_line = rows_line(reader);
    KIT_TRY(add_line(table, line, length, err));
    if (!table->quoted || memchr(line, '"', length) == NULL) return rows_check_text(reader, line, length, err);
    walk_line(table, &table->walk, line, length, *out_line, 0);
    KIT_TRY(finish_record(reader, err));
    return judge_record(reader, *out_line, err);
}

/* ---- Splitting */

/* Copies a quoted field without its quotes to *to; returns its end in the record. */
static char *unquote(const char *from, const char *end, char **to) {
    while (from < end) {
        const char *quote = memchr(from, '"', (size_t)(end - from));
        size_t length = (size_t)((quote != NULL ? quote : end) - from);
        memmove(*to, from, length);
        *to += length;
        from += length;
        if (from == end || from + 1 == end || from[1] != '"') break;
        *(*to)++ = '"';
        from += 2;
    }
    return (char *)(uintptr_t)(from < end ? from + 1 : end);
}

size_t table_split(rows_table *table) {
    char *from = table->record.data, *to = from, *end = from + table->record.length;
    for (size_t count = 1;; count++) {
        while (table->skip_blank && from < end && *from == ' ')
            from++;
        /* The record was checked: nothing follows a closing quote. */
        if (table->quoted && from < end && *from == '"') from = unquote(from + 1, end, &to);
        char *stop = memchr(from, table->separator, (size_t)(end - from));
        if (stop == NULL) stop = end;
        if (to != from) memmove(to, from, (size_t)(stop - from));
        to += stop - from;
        *to++ = '\0';
        if (stop == end) return count;
        from = stop + 1;
    }
}

const char *table_field(const kit_buf *fields, size_t index) {
    const char *p = fields->data;
    while (index-- > 0)
        p += strlen(p) + 1;
    return p;
}
