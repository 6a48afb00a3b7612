/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: values of JSON rows, and what is said of those that cannot be read. */
#include "job/rows_json.h"

#include "kolm/kit/json_walk.h"

#include <stdlib.h>
#include <string.h>

static const char REMEDY[] = "correct the row, or pass --skip-bad to leave such rows out";

/* ---- Errors */

kit_status json_bad(const job_reader *reader, const char *at, const char *remedy, const char *text, kolm_error_t *err) {
    return rows_bad(reader, err, rows_line(reader), (size_t)(at - reader->json->line) + 1, remedy, text);
}

kit_status json_bad_inside(const job_reader *reader, const kit_json_part *part, const kolm_error_t *inner,
                           kolm_error_t *err) {
    /* The kit counts lines and columns of what it was given; a row is one line. */
    const char *column = strstr(inner->text, "column "), *rest = column != NULL ? strchr(column, ':') : NULL;
    unsigned long long at = column != NULL ? strtoull(column + strlen("column "), NULL, 10) : 1;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                    "each line must be one JSON object; correct it, or pass --skip-bad to leave such rows out",
                    "%s, line %llu, column %llu%s", reader->options.path, rows_line(reader),
                    at + (unsigned long long)(part->bytes - reader->json->line), rest != NULL ? rest : "");
}

static const char *kind_name(kit_json_kind kind) {
    return kind == KIT_JSON_NULL     ? "null"
           : kind == KIT_JSON_NUMBER ? "a number"
           : kind == KIT_JSON_BOOL   ? "true or false"
           : kind == KIT_JSON_ARRAY  ? "an array"
           : kind == KIT_JSON_OBJECT ? "an object"
                                     : "text";
}

kit_status json_wrong_type(const job_reader *reader, const char *key, const char *expected, const kit_json_part *found,
                           kolm_error_t *err) {
    char text[160];
    kit_format(text, sizeof text, "expected %s in \"%s\", found %s", expected, key, kind_name(found->kind));
    return json_bad(reader, found->bytes, REMEDY, text, err);
}

/* A key as text, as far as it is one. */
void json_put_key(const kit_json_part *key, kit_buf *out) {
    kit_buf text = {0};
    if (kit_json_part_text(key, &text, NULL) != KOLM_OK) {
        kit_buf_clear(&text);
        kit_buf_add(&text, key->bytes + 1, key->length - 2);
    }
    rows_add_printable(out, kit_buf_text(&text));
    kit_buf_free(&text);
}

kit_status json_missing_key(job_reader *reader, const kit_json_part *object, const char *wanted, kolm_error_t *err) {
    kit_json_walk walk = {0};
    kit_json_part key, value;
    kit_buf text = {0};
    kit_buf_fmt(&text, "expected the key %s, found ", wanted);
    int shown = 0;
    bool found = kit_json_walk_begin(&walk, object->bytes, object->length, NULL) == KOLM_OK;
    while (found && shown < 8) {
        found = kit_json_walk_next(&walk, &key, &value, &found, NULL) == KOLM_OK && found;
        if (!found) break;
        kit_buf_str(&text, shown++ > 0 ? ", \"" : "\"");
        json_put_key(&key, &text);
        kit_buf_str(&text, value.kind == KIT_JSON_NULL ? "\" (null)" : "\"");
    }
    if (shown == 0) kit_buf_str(&text, "no keys");
    const char *remedy =
        reader->options.inputs_only
            ? "each question needs \"input\" (or \"prompt\", or \"messages\"; docs/data.md has all forms)"
            : "each row needs \"input\" and \"output\" (or \"prompt\" and \"completion\", or "
              "\"messages\"; docs/data.md has all forms)";
    kit_status status = json_bad(reader, object->bytes, remedy, kit_buf_text(&text), err);
    kit_json_walk_free(&walk);
    kit_buf_free(&text);
    return status;
}

kit_status json_doubled(const job_reader *reader, const char *again, kolm_error_t *err) {
    return json_bad(reader, again,
                    "each line must be one JSON object; correct it, or pass --skip-bad to leave such rows out",
                    "expected a key that this object does not have yet", err);
}

/* ---- Values */

kit_status json_text(const job_reader *reader, const kit_json_part *part, kit_buf *out, kolm_error_t *err) {
    kolm_error_t inner = KIT_ERROR_INIT;
    if (kit_json_part_text(part, out, &inner) != KOLM_OK) return json_bad_inside(reader, part, &inner, err);
    return out->failed ? rows_no_memory(err) : KOLM_OK;
}

static bool is_empty_array(const kit_json_part *part) {
    for (size_t i = 1; i + 1 < part->length; i++)
        if (strchr(" \t\r\n", part->bytes[i]) == NULL) return false;
    return true;
}

kit_status json_array(job_reader *reader, const char *key, const kit_json_part *part, kit_buf *out, kolm_error_t *err) {
    kolm_error_t inner = KIT_ERROR_INIT;
    kit_buf text = {0};
    kit_json_part array = *part;
    kit_status status = KOLM_OK;
    if (part->kind == KIT_JSON_STRING) { /* many tables and tools keep JSON in a text */
        status = json_text(reader, part, &text, err);
        if (status != KOLM_OK) goto out;
        array = (kit_json_part){.bytes = kit_buf_text(&text), .length = text.length, .kind = KIT_JSON_ARRAY};
        if (strspn(array.bytes, " \t\r\n") == text.length) goto out;
        if (array.bytes[strspn(array.bytes, " \t\r\n")] != '[') array.kind = KIT_JSON_STRING;
    }
    if (array.kind != KIT_JSON_ARRAY)
        status = json_wrong_type(reader, key, "an array", part, err);
    else if (kit_json_part_check(&array, &inner) != KOLM_OK && part->kind != KIT_JSON_STRING)
        status = json_bad_inside(reader, part, &inner, err);
    else if (inner.text[0] != '\0')
        status = json_wrong_type(reader, key, "an array", part, err);
    else if (!is_empty_array(&array))
        kit_json_part_compact(&array, out);
out:
    kit_buf_free(&text);
    return status;
}

/* An integer as its JSON text: 7, also where it was written 7.0, and 1389432487213912064 with all its digits. */
bool json_put_integer(const kit_json_part *part, kit_buf *out) {
    char text[40];
    size_t digits = part->bytes[0] == '-' ? 1 : 0;
    while (digits < part->length && part->bytes[digits] >= '0' && part->bytes[digits] <= '9')
        digits++;
    if (digits == part->length && part->length > 15) {
        kit_buf_add(out, part->bytes, part->length);
        return true;
    }
    if (part->length >= sizeof text) return false;
    memcpy(text, part->bytes, part->length);
    text[part->length] = '\0';
    double value = strtod(text, NULL);
    bool whole = value >= -KIT_JSON_MAX_INTEGER && value <= KIT_JSON_MAX_INTEGER && value == (double)(long long)value;
    if (whole) kit_buf_fmt(out, "%lld", (long long)value);
    return whole;
}

kit_status json_output(job_reader *reader, const char *key, const kit_json_part *part, kolm_error_t *err) {
    /* Of a question nobody reads the answer. */
    if (reader->options.inputs_only) return KOLM_OK;
    if (part->kind == KIT_JSON_STRING) return json_text(reader, part, &reader->output, err);
    if (part->kind == KIT_JSON_BOOL) {
        kit_buf_add(&reader->output, part->bytes, part->length);
        return KOLM_OK;
    }
    if (part->kind == KIT_JSON_NUMBER && json_put_integer(part, &reader->output)) return KOLM_OK;
    return json_wrong_type(reader, key, "text, an integer, true or false", part, err);
}
