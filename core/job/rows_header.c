/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a table: its separator, its columns, and finding it again in the middle of a file. */
#include "job/rows_table.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *const input_names[] = {"input", "prompt", "text", "question", "query"};
static const char *const output_names[] = {"output", "completion", "label", "answer", "category", "target"};
static const char separators[] = {'\t', ',', ';', '|'};

/* ---- Names */

/* The text without surrounding spaces. */
static const char *trimmed(const char *text, size_t *out_length) {
    text += strspn(text, " ");
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    *out_length = length;
    return text;
}

/* Compares names, ignoring case and surrounding spaces; `name` is already trimmed. */
static bool is_name(const char *field, const char *name, size_t length) {
    if (*field != ' ' && tolower((unsigned char)*field) != tolower((unsigned char)*name)) return false;
    size_t own = 0;
    field = trimmed(field, &own);
    return own == length && strncasecmp(field, name, length) == 0;
}

/* Returns the first column of that name, from `from` on. */
static size_t find_from(const kit_buf *fields, size_t columns, size_t from, const char *name, size_t length) {
    const char *at = from < columns ? table_field(fields, from) : NULL;
    for (size_t i = from; i < columns; i++, at += strlen(at) + 1)
        if (is_name(at, name, length)) return i;
    return TABLE_NO_COLUMN;
}

static size_t find_name(const kit_buf *fields, size_t columns, const char *name) {
    size_t length = 0;
    name = trimmed(name, &length);
    return find_from(fields, columns, 0, name, length);
}

/* Returns the column, other than `taken`, with the first of the names that occurs. */
static size_t guess(const kit_buf *fields, size_t columns, const char *const *names, size_t count, size_t taken,
                    const char **out_name) {
    for (size_t n = 0; n < count; n++) {
        *out_name = names[n];
        size_t found = find_name(fields, columns, names[n]);
        if (found != TABLE_NO_COLUMN && found == taken)
            found = find_from(fields, columns, found + 1, names[n], strlen(names[n]));
        if (found != TABLE_NO_COLUMN) return found;
    }
    return TABLE_NO_COLUMN;
}

/* ---- Columns */

/* The columns that are read; input_count 0: the named column `missing` does not exist. */
typedef struct choice {
    size_t inputs[TABLE_INPUT_COLS], input_count, output;
    const char *missing;
    size_t missing_length;
    const char *input_name, *output_name; /* if guessed */
} choice;

/* A column of that name, which may contain a comma; else the columns of its comma-separated parts. */
static void choose_inputs(const kit_buf *fields, size_t columns, const char *names, choice *out) {
    size_t found = find_name(fields, columns, names);
    const char *from = names;
    if (found != TABLE_NO_COLUMN) out->inputs[out->input_count++] = found;
    while (found == TABLE_NO_COLUMN || out->input_count == 0) {
        from += strspn(from, " ");
        size_t length = strcspn(from, ","), name = length;
        while (name > 0 && from[name - 1] == ' ')
            name--;
        size_t part = find_from(fields, columns, 0, from, name);
        if (part == TABLE_NO_COLUMN || out->input_count == TABLE_INPUT_COLS) {
            out->missing = from;
            out->missing_length = name;
            out->input_count = 0;
            return;
        }
        out->inputs[out->input_count++] = part;
        found = TABLE_NO_COLUMN;
        if (from[length] == '\0') return;
        from += length + 1;
    }
}

static choice choose(const job_reader_options *options, const kit_buf *fields, size_t columns) {
    choice c = {.output = TABLE_NO_COLUMN};
    const char *inputs = options->input_col, *output = options->output_col;
    if (options->no_header && inputs == NULL) inputs = "1";
    if (options->no_header && output == NULL && columns == 2) output = "2";
    if (inputs != NULL) {
        choose_inputs(fields, columns, inputs, &c);
    } else if ((c.inputs[0] = guess(fields, columns, input_names, COUNT(input_names), TABLE_NO_COLUMN,
                                    &c.input_name)) != TABLE_NO_COLUMN) {
        c.input_count = 1;
    }
    if (output != NULL)
        c.output = find_name(fields, columns, output);
    else if (!options->no_header)
        /* Never the input's own column: the model would learn to repeat it. */
        c.output = guess(fields, columns, output_names, COUNT(output_names), c.input_count > 0 ? c.inputs[0] : SIZE_MAX,
                         &c.output_name);
    return c;
}

static bool is_complete(const job_reader_options *options, const choice *c) {
    return c->input_count > 0 && (c->output != TABLE_NO_COLUMN || options->inputs_only);
}

static void note_guess(job_reader *reader, const choice *c) {
    const job_reader_options *o = &reader->options;
    if (o->input_col != NULL || o->output_col != NULL || o->no_header || c->output == TABLE_NO_COLUMN) return;
    bool usual = (strcmp(c->input_name, "input") == 0 && strcmp(c->output_name, "output") == 0) ||
                 (strcmp(c->input_name, "prompt") == 0 && strcmp(c->output_name, "completion") == 0);
    if (!usual && reader->guess.input == NULL) reader->guess = (job_guess){c->input_name, c->output_name};
}

static void note_unused(job_reader *reader, const char *name) {
    rows_table *table = reader->table;
    job_unused *unused = &reader->unused;
    char shown[JOB_UNUSED_NAME];
    kit_buf text = {0};
    size_t at = 0;
    rows_add_printable(&text, name);
    kit_copy(shown, sizeof shown, kit_buf_text(&text));
    kit_buf_free(&text);
    while (at < unused->count && strcmp(unused->keys[at].name, shown) != 0)
        at++;
    if (at == JOB_UNUSED_MAX || table->unused_count == JOB_UNUSED_MAX) {
        table->more_unused++;
        return;
    }
    if (at == unused->count) kit_copy(unused->keys[unused->count++].name, sizeof shown, shown);
    table->unused[table->unused_count++] = at;
}

void table_count_unused(job_reader *reader) {
    const rows_table *table = reader->table;
    for (size_t i = 0; i < table->unused_count; i++)
        reader->unused.keys[table->unused[i]].rows++;
    reader->unused.more += table->more_unused;
}

static void take_columns(job_reader *reader, const kit_buf *fields, size_t columns, const choice *c) {
    rows_table *table = reader->table;
    memcpy(table->inputs, c->inputs, sizeof table->inputs);
    table->input_count = c->input_count;
    table->output = c->output;
    table->columns = table->named = columns;
    /* Blank names at the end come from stray separators. */
    size_t named = 0;
    table->unused_count = 0;
    table->more_unused = 0;
    const char *at = fields->data;
    for (size_t i = 0; i < columns; i++, at += strlen(at) + 1) {
        if (at[strspn(at, " ")] == '\0') continue;
        named = i + 1;
        if (i != table->output && !table_is_input(table, i)) note_unused(reader, at);
    }
    if (named > 0) table->named = named;
    note_guess(reader, c);
}

/* ---- What is wrong with a header */

static void add_names(kit_buf *text, const kit_buf *fields, size_t columns) {
    const char *at = fields->data;
    for (size_t i = 0; i < columns && i < 8; i++, at += strlen(at) + 1) {
        kit_buf_str(text, i > 0 ? ", '" : "'");
        rows_add_printable(text, at);
        kit_buf_char(text, '\'');
    }
}

/* True if the fields cannot be names, which are short, different, and not numbers. */
static bool looks_like_row(const kit_buf *fields, size_t columns) {
    const char *at = fields->data;
    for (size_t i = 0; i < columns && i < 64; i++, at += strlen(at) + 1) {
        size_t words = 0;
        for (const char *p = at; *p != '\0'; p++)
            words += *p == ' ' && p[1] != ' ' && p[1] != '\0';
        bool number = *at != '\0' && at[strspn(at, "0123456789.,-+")] == '\0';
        if (words > 2 || number || strlen(at) > 60 || (*at != '\0' && strchr(".?!", at[strlen(at) - 1]) != NULL))
            return true;
    }
    return false;
}

static kit_status no_header(job_reader *reader, unsigned long long line, size_t columns, kolm_error_t *err) {
    kit_buf text = {0};
    kit_buf_str(&text, "expected a first line with the names of the columns, found what looks like a row: ");
    add_names(&text, &reader->table->record, columns);
    kit_status status = rows_bad(reader, err, line, 1,
                                 ROWS_FIX("add a first line such as text,label, or pass --no-header and, if there are "
                                          "more than two columns, --input-col 1 --output-col 2"),
                                 NULL, kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

/* fastText's rows begin with their labels and have no separator. */
static kit_status is_fasttext(job_reader *reader, unsigned long long line, kolm_error_t *err) {
    return rows_bad(reader, err, line, 1,
                    ROWS_FIX("convert it, if each row has one label: (printf 'label\\ttext\\n'; "
                             "sed 's/^__label__//; s/ /\\t/' FILE) > rows.tsv"),
                    NULL,
                    "expected a first line with the names of the columns, found a row of fastText's: '__label__'");
}

static kit_status no_column(job_reader *reader, unsigned long long line, const char *which, const char *option,
                            size_t columns, kolm_error_t *err) {
    kit_buf text = {0};
    char remedy[200];
    bool numbered = reader->options.no_header;
    kit_buf_fmt(&text, numbered ? "expected a row with column %s, found " : "expected a header with %s, found ", which);
    if (numbered)
        kit_buf_fmt(&text, "%zu", columns);
    else
        add_names(&text, &reader->table->record, columns);
    if (numbered)
        kit_format(remedy, sizeof remedy, "pass the column's number with %s: the first one is 1", option);
    else
        kit_format(remedy, sizeof remedy,
                   "name the column with %s; if the first line is a row, pass --no-header; or use JSON lines with "
                   "{\"input\": ..., \"output\": ...}",
                   option);
    kit_status status = rows_bad(reader, err, line, 1, ROWS_FIX(remedy), NULL, kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

static kit_status which_columns(job_reader *reader, unsigned long long line, size_t columns, kolm_error_t *err) {
    char text[80];
    kit_format(text, sizeof text, "expected two columns, found %zu", columns);
    return rows_bad(reader, err, line, 1, ROWS_FIX("say which ones: --input-col 1 --output-col 2, or other numbers"),
                    NULL, text);
}

static kit_status incomplete(job_reader *reader, unsigned long long line, const choice *c, size_t columns,
                             kolm_error_t *err) {
    const job_reader_options *o = &reader->options;
    bool numbered = o->no_header;
    char missing[80];
    kit_format(missing, sizeof missing, numbered ? "%.*s" : "'%.*s'",
               c->missing_length > 70 ? 70 : (int)c->missing_length, c->missing != NULL ? c->missing : "");
    bool guessed = o->input_col == NULL && o->output_col == NULL;
    if (strncmp(reader->table->record.data, "__label__", 9) == 0) return is_fasttext(reader, line, err);
    if (guessed && !o->no_header && looks_like_row(&reader->table->record, columns))
        return no_header(reader, line, columns, err);
    if (o->no_header && c->input_count > 0 && o->output_col == NULL) return which_columns(reader, line, columns, err);
    if (c->input_count == 0)
        return no_column(reader, line, c->missing != NULL ? missing : "'input' and 'output'", "--input-col", columns,
                         err);
    if (o->output_col != NULL) kit_format(missing, sizeof missing, numbered ? "%s" : "'%s'", o->output_col);
    return no_column(reader, line, o->output_col != NULL ? missing : "'output'", "--output-col", columns, err);
}

/* Two columns of the same name are ambiguous. */
static kit_status check_once(job_reader *reader, unsigned long long line, size_t column, size_t columns,
                             kolm_error_t *err) {
    const kit_buf *fields = &reader->table->record;
    const char *name = column != TABLE_NO_COLUMN ? table_field(fields, column) : NULL;
    if (name == NULL) return KOLM_OK;
    size_t length = 0;
    name = trimmed(name, &length);
    size_t first = find_from(fields, columns, 0, name, length);
    if (find_from(fields, columns, first + 1, name, length) == TABLE_NO_COLUMN) return KOLM_OK;
    kit_buf text = {0};
    kit_buf_str(&text, "expected one column with this name, found two: '");
    rows_add_printable(&text, name);
    kit_buf_char(&text, '\'');
    kit_status status =
        rows_bad(reader, err, line, 1, ROWS_FIX("rename one of them in the header"), NULL, kit_buf_text(&text));
    kit_buf_free(&text);
    return status;
}

/* Rejects a column that would be read twice. */
static kit_status check_different(const job_reader *reader, const choice *c, kolm_error_t *err) {
    for (size_t i = 0; i < c->input_count; i++) {
        size_t same = c->output == c->inputs[i] ? c->input_count : i + 1;
        while (same < c->input_count && c->inputs[same] != c->inputs[i])
            same++;
        if (same >= c->input_count && c->output != c->inputs[i]) continue;
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name two different ones with --input-col and --output-col",
                        c->output == c->inputs[i] ? "%s: the input and the output are both '%s'"
                                                  : "%s: the input has '%s' twice",
                        reader->options.path, table_field(&reader->table->record, c->inputs[i]));
    }
    return KOLM_OK;
}

/* ---- The separator */

static bool ends_with(const char *path, size_t length, const char *end) {
    size_t more = strlen(end);
    return length > more && strncasecmp(path + length - more, end, more) == 0;
}

static bool named_tsv(const char *path) {
    size_t length = strlen(path);
    if (ends_with(path, length, ".gz")) length -= 3;
    if (ends_with(path, length, ".zst")) length -= 4;
    return ends_with(path, length, ".tsv") || ends_with(path, length, ".tab");
}

/* Excel's first line: sep=; */
static char excel_separator(const char *line, size_t length) {
    if (length > 2 && line[0] == '"' && line[length - 1] == '"') {
        line++;
        length -= 2;
    }
    bool named = length == 5 && strncasecmp(line, "sep=", 4) == 0;
    return named && line[4] != '"' && line[4] != ' ' && !isalnum((unsigned char)line[4]) ? line[4] : '\0';
}

/* True if every separator is followed by a blank. */
static bool blank_behind_each(const char *line, size_t length, char separator) {
    const char *end = line + length;
    size_t found = 0;
    for (const char *at = line; (at = memchr(at, separator, (size_t)(end - at))) != NULL; at++, found++)
        if (at + 1 == end || at[1] != ' ') return false;
    return found > 0 && separator != '\t' && *line != ' ';
}

/* Prose has a blank after its commas and semicolons, tables seldom. */
static bool no_blank_in_front(const kit_buf *fields, size_t columns) {
    const char *at = fields->data;
    for (size_t i = 0; i < columns; i++, at += strlen(at) + 1)
        if (*at == ' ') return false;
    return true;
}

/* Splits the line tentatively; returns whether that gives the required columns. */
static bool suits(job_reader *reader, char separator, const char *line, size_t length) {
    rows_table *table = reader->table;
    table->separator = separator;
    table->skip_blank = !reader->options.no_header && blank_behind_each(line, length, separator);
    kit_buf_clear(&table->record);
    kit_buf_add(&table->record, line, length);
    if (table->record.failed) return false;
    size_t columns = table_split(table);
    if (reader->options.no_header) {
        bool enough = reader->options.output_col == NULL ? columns == 2 : columns >= 2;
        return enough && no_blank_in_front(&table->record, columns);
    }
    choice c = choose(&reader->options, &table->record, columns);
    return columns > 1 && is_complete(&reader->options, &c);
}

static void choose_separator(job_reader *reader, const char *line, size_t length) {
    rows_table *table = reader->table;
    char fallback = '\0';
    if (named_tsv(reader->options.path)) fallback = '\t';
    for (size_t i = 0; fallback == '\0' && i < sizeof separators; i++)
        if (suits(reader, separators[i], line, length)) fallback = separators[i];
    bool tabs = memchr(line, '\t', length) != NULL, commas = memchr(line, ',', length) != NULL;
    if (fallback == '\0' && tabs && !commas) fallback = '\t';
    for (size_t i = 0; fallback == '\0' && i < sizeof separators; i++)
        if (memchr(line, separators[i], length) != NULL) fallback = separators[i];
    table->separator = fallback != '\0' ? fallback : ',';
    table->skip_blank = !reader->options.no_header && blank_behind_each(line, length, table->separator);
    kit_buf_clear(&table->record);
}

/* ---- Reading it */

static kit_status find_separator(job_reader *reader, kolm_error_t *err) {
    rows_table *table = reader->table;
    char excel = excel_separator(reader->line, reader->line_length);
    table->quoted = true;
    if (excel != '\0') {
        table->separator = excel;
        reader->have_line = false;
    } else {
        choose_separator(reader, reader->line, reader->line_length);
    }
    table->decided = table->separator != '\t';
    return kit_buf_ok(&table->record, err);
}

/* Names columns without a header by their numbers; the first line is read again as a row. */
static kit_status number_columns(job_reader *reader, unsigned long long line, size_t *out_columns, kolm_error_t *err) {
    rows_table *table = reader->table;
    KIT_TRY(table_hold(reader, 0, line, err));
    *out_columns = table_split(table);
    kit_buf_clear(&table->record);
    for (size_t i = 1; i <= *out_columns; i++) {
        kit_buf_fmt(&table->record, "%zu", i);
        kit_buf_char(&table->record, '\0');
    }
    return kit_buf_ok(&table->record, err);
}

kit_status table_header(job_reader *reader, kolm_error_t *err) {
    rows_table *table = reader->table;
    unsigned long long line = 1;
    size_t columns = 0;
    bool found = false;
    KIT_TRY(find_separator(reader, err));
    KIT_TRY(table_record(reader, &line, &found, err));
    if (!found)
        return rows_bad(reader, err, rows_line(reader) + 1, 1, ROWS_FIX("add the header and rows after it"), NULL,
                        "expected a header after the line with the separator, found the end of the file");
    if (reader->options.no_header)
        KIT_TRY(number_columns(reader, line, &columns, err));
    else
        columns = table_split(table);
    choice c = choose(&reader->options, &table->record, columns);
    if (!is_complete(&reader->options, &c)) return incomplete(reader, line, &c, columns, err);
    for (size_t i = 0; i < c.input_count; i++)
        KIT_TRY(check_once(reader, line, c.inputs[i], columns, err));
    KIT_TRY(check_once(reader, line, c.output, columns, err));
    KIT_TRY(check_different(reader, &c, err));
    take_columns(reader, &table->record, columns, &c);
    kit_buf_clear(&table->header);
    kit_buf_add(&table->header, table->record.data, table->record.length + 1);
    return kit_buf_ok(&table->header, err);
}

/* ---- Finding it again */

/* True if the fields include the names of all columns that are read. */
static bool has_our_names(const rows_table *table, size_t count) {
    for (size_t i = 0; i <= table->input_count; i++) {
        size_t column = i < table->input_count ? table->inputs[i] : table->output;
        if (column != TABLE_NO_COLUMN &&
            find_name(&table->record, count, table_field(&table->header, column)) == TABLE_NO_COLUMN)
            return false;
    }
    return true;
}

/* A cheap test for every row: is some field the name of an output? */
static bool may_be_header(const rows_table *table, size_t count, bool guessed) {
    size_t length = 0;
    const char *name = trimmed(table_field(&table->header, table->output), &length), *at = table->record.data;
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1) {
        if (is_name(at, name, length)) return true;
        for (size_t n = 0; guessed && n < COUNT(output_names); n++)
            if (is_name(at, output_names[n], strlen(output_names[n]))) return true;
    }
    return false;
}

static bool same_fields(const rows_table *table, size_t count) {
    const char *a = table->header.data, *b = table->record.data;
    if (count != table->columns) return false;
    for (size_t i = 0; i < count; i++, a += strlen(a) + 1, b += strlen(b) + 1)
        if (strcmp(a, b) != 0) return false;
    return true;
}

bool table_header_again(job_reader *reader, size_t count) {
    rows_table *table = reader->table;
    const job_reader_options *o = &reader->options;
    if (o->no_header || table->columns < 2 || table->walk.lines > 1) return false;
    if (same_fields(table, count)) {
        table->headers++;
        return true;
    }
    /* A repeated header: the columns that are read have their old names, or names that would be guessed. A row whose
     * output occurs in other rows is not a header. */
    bool guessed = o->input_col == NULL && o->output_col == NULL;
    if (table->output == TABLE_NO_COLUMN || count < 2 || !may_be_header(table, count, guessed)) return false;
    choice c = choose(o, &table->record, count);
    if (!is_complete(o, &c) || c.output == TABLE_NO_COLUMN) return false;
    const char *output = table_field(&table->record, c.output);
    bool ours = has_our_names(table, count);
    if (!ours && (!guessed || table_output_known(table, table_hash(output, strlen(output))))) return false;
    take_columns(reader, &table->record, count, &c);
    kit_buf_clear(&table->header);
    kit_buf_add(&table->header, table->record.data, table->record.length + 1);
    table->headers++;
    return !table->header.failed;
}
