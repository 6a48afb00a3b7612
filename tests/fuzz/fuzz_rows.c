/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: for any bytes the row reader returns clean rows or reports what is wrong where; rows written as JSON
 * lines and as a table are read back unchanged. */
#include "job/common.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

static int as_fd(const void *bytes, size_t length) {
    int fd = memfd_create("rows", MFD_CLOEXEC);
    must(fd >= 0 && kit_write_all(fd, bytes, length, NULL) == KOLM_OK && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static bool is_clean(const char *text, size_t length) {
    return strlen(text) == length && kit_utf8_valid(text, length) == length;
}

static bool is_blank(const char *text) {
    while (isspace((unsigned char)*text))
        text++;
    return *text == '\0';
}

/* The error names the data and the remedy. */
static void check_error(const kolm_error_t *err) {
    must(strncmp(err->text, "data", 4) == 0 && err->remedy[0] != '\0');
    must(kit_utf8_valid(err->text, strlen(err->text)) == strlen(err->text));
}

static void add_field(kit_buf *out, const char *text) {
    kit_buf_char(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"') kit_buf_char(out, '"');
        kit_buf_char(out, *text);
    }
    kit_buf_char(out, '"');
}

typedef struct rewritten {
    kit_buf json, table;
    size_t rows;
    bool tabled; /* a table can contain all of them */
} rewritten;

/* In a table CR LF inside a field becomes LF, lines that look like rows may be read as rows, and a row of only sep= is
 * a directive of Excel. */
static bool can_be_tabled(const char *text) {
    return strstr(text, "\r\n") == NULL && (strchr(text, '\n') == NULL || strchr(text, ',') == NULL) &&
           strcmp(text, "sep=") != 0;
}

/* A row that looks like column names is skipped as a header. */
static bool is_header(const job_row *row) {
    static const char *const names[] = {"output", "completion", "label", "answer", "category", "target"};
    const char *fields[] = {row->input, row->output};
    for (size_t i = 0; i < 12; i++) {
        const char *text = fields[i / 6] + strspn(fields[i / 6], " ");
        size_t length = strlen(names[i % 6]);
        if (strncasecmp(text, names[i % 6], length) == 0 && text[length + strspn(text + length, " ")] == '\0')
            return true;
    }
    return false;
}

/* A backend gets the row as strict JSON on one line, and the spool returns the same row. */
static void check_written(const job_row *row) {
    const job_common nothing = {.begun = true};
    kit_buf line = {0}, spool = {0}, seen = {0};
    kit_buf_str(&line, "{\"input\":");
    job_row_put_input(row, &nothing, &spool);
    kit_json_string(&line, kit_buf_text(&spool), spool.length);
    job_row_put_messages(row, true, &line);
    kit_buf_char(&line, '}');
    const kit_json_part whole = {.bytes = kit_buf_text(&line), .length = line.length, .kind = KIT_JSON_OBJECT};
    must(kit_json_part_check(&whole, NULL) == KOLM_OK && memchr(line.data, '\n', line.length) == NULL);
    kit_buf_clear(&spool);
    kit_buf_char(&spool, '{');
    job_row_put_spool(row, &spool);
    kit_buf_char(&spool, '}');
    cJSON *object = NULL;
    job_row again;
    must(kit_json_parse(spool.data, spool.length, &object, NULL) == KOLM_OK && job_row_get_spool(object, &again));
    job_row_put_seen(&again, &seen);
    must(seen.length == row->seen_length && memcmp(kit_buf_text(&seen), row->seen, seen.length) == 0);
    cJSON_Delete(object);
    kit_buf_free(&line);
    kit_buf_free(&spool);
    kit_buf_free(&seen);
}

/* With inputs_only the output of a JSON row is not read, and is therefore lost. */
static void write_again(rewritten *out, const job_row *row, bool inputs_only) {
    const char *output = inputs_only ? "" : row->output;
    kit_buf_str(&out->json, "{\"input\":");
    kit_json_string(&out->json, row->input, row->input_length);
    kit_buf_str(&out->json, ",\"output\":");
    kit_json_string(&out->json, output, strlen(output));
    kit_buf_str(&out->json, "}\n");
    add_field(&out->table, row->input);
    kit_buf_char(&out->table, ',');
    add_field(&out->table, output);
    kit_buf_char(&out->table, '\n');
    if (!can_be_tabled(row->input) || !can_be_tabled(output) || is_header(row)) out->tabled = false;
    out->rows++;
}

static void read_all(const uint8_t *data, size_t size, const job_reader_options *options, rewritten *out) {
    kolm_error_t err = KIT_ERROR_INIT;
    job_reader *reader = NULL;
    int fd = as_fd(data, size);
    uint64_t last = 0;
    if (job_reader_open(fd, options, &reader, &err) != KOLM_OK) {
        must(reader == NULL);
        check_error(&err);
    }
    for (bool more = reader != NULL; more;) {
        job_row row;
        bool found = false;
        kit_status status = job_reader_next(reader, &row, &found, &err);
        if (status != KOLM_OK) check_error(&err);
        more = status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE || (status == KOLM_OK && found);
        if (status != KOLM_OK || !found) continue;
        must(row.line > last && is_clean(row.input, row.input_length) && is_clean(row.output, row.output_length));
        must(!is_blank(row.input) && (options->inputs_only || !is_blank(row.output)));
        last = row.line;
        check_written(&row);
        write_again(out, &row, options->inputs_only);
    }
    job_reader_close(reader);
    close(fd);
}

static void compare(const kit_buf *text, bool inputs_only, const rewritten *expected) {
    const job_reader_options options = {.path = "data", .inputs_only = inputs_only};
    rewritten again = {0};
    read_all((const uint8_t *)text->data, text->length, &options, &again);
    must(again.rows == expected->rows && strcmp(kit_buf_text(&again.json), kit_buf_text(&expected->json)) == 0);
    kit_buf_free(&again.json);
    kit_buf_free(&again.table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    /* The bits of the first byte select the options. */
    const job_reader_options options = {.path = data[0] & 1 ? "data.tsv" : "data",
                                        .input_col = data[0] & 2 ? "body" : NULL,
                                        .output_col = data[0] & 4 ? "queue" : NULL,
                                        .inputs_only = (data[0] & 8) != 0,
                                        .no_header = (data[0] & 16) != 0};
    rewritten first = {.tabled = true};
    kit_buf_str(&first.table, "input,output\n");
    read_all(data + 1, size - 1, &options, &first);
    if (first.rows > 0) {
        must(kit_buf_ok(&first.json, NULL) == KOLM_OK && kit_buf_ok(&first.table, NULL) == KOLM_OK);
        compare(&first.json, options.inputs_only, &first);
        if (first.tabled) compare(&first.table, options.inputs_only, &first);
    }
    kit_buf_free(&first.json);
    kit_buf_free(&first.table);
    return 0;
}
