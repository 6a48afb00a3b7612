/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: values of JSON rows, and errors in them. */
#include "job/rows_json.h"

#include "kolm/kit/json_walk.h"

#include <stdlib.h>
#include <string.h>

#define REMEDY ROWS_FIX_OR_SKIP("correct the row")
#define OBJECT_REMEDY ROWS_FIX_OR_SKIP("each line must be one JSON object; correct it")

/* ---- Errors */

kit_status json_bad(job_reader *reader, const char *at, rows_remedy remedy, const char *kind, const char *text,
                    kolm_error_t *err) {
    return rows_bad(reader, err, rows_line(reader), (size_t)(at - reader->json->line) + 1, remedy, kind, text);
}

kit_status json_bad_inside(job_reader *reader, const char *from, const kit_json_fault *fault, kolm_error_t *err) {
    char text[160], kind[160];
    bool quoted = fault->found[0] == '\'';
    kit_format(text, sizeof text, "expected %s, found %s", fault->expected, fault->found);
    kit_format(kind, sizeof kind, "expected %s, found %s", fault->expected, quoted ? "'...'" : fault->found);
    return json_bad(reader, from + fault->offset, OBJECT_REMEDY, kind, text, err);
}

kit_status json_bad_part(job_reader *reader, const kit_json_part *part, kolm_error_t *err) {
    kit_json_fault fault;
    if (!kit_json_part_fault(part, &fault)) return rows_no_memory(err); /* no fault: rejected for lack of memory */
    return json_bad_inside(reader, part->bytes, &fault, err);
}

static const char *kind_name(kit_json_kind kind) {
    return kind == KIT_JSON_NULL     ? "null"
           : kind == KIT_JSON_NUMBER ? "a number"
           : kind == KIT_JSON_BOOL   ? "true or false"
           : kind == KIT_JSON_ARRAY  ? "an array"
           : kind == KIT_JSON_OBJECT ? "an object"
                                     : "text";
}

kit_status json_wrong_type(job_reader *reader, const char *key, const char *expected, const kit_json_part *found,
                           kolm_error_t *err) {
    char text[160];
    kit_format(text, sizeof text, "expected %s in \"%s\", found %s", expected, key, kind_name(found->kind));
    return json_bad(reader, found->bytes, REMEDY, NULL, text, err);
}

/* Appends a key as printable text, as far as it is valid. */
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
    kit_buf text = {0}, kind = {0};
    kit_buf_fmt(&text, "expected the key %s, found ", wanted);
    kit_buf_str(&kind, kit_buf_text(&text));
    int shown = 0;
    bool apart = true; /* a list of names counts as one in the kind */
    bool found = kit_json_walk_begin(&walk, object->bytes, object->length, NULL) == KOLM_OK;
    while (found && shown < 8) {
        found = kit_json_walk_next(&walk, &key, &value, &found, NULL) == KOLM_OK && found;
        if (!found) break;
        bool null = value.kind == KIT_JSON_NULL;
        if (apart) kit_buf_str(&kind, shown > 0 ? ", \"...\"" : "\"...\"");
        if (null) kit_buf_str(&kind, " (null)");
        apart = null;
        kit_buf_str(&text, shown++ > 0 ? ", \"" : "\"");
        json_put_key(&key, &text);
        kit_buf_str(&text, null ? "\" (null)" : "\"");
    }
    if (shown == 0) kit_buf_str(&text, "no keys");
    if (shown == 0) kit_buf_str(&kind, "no keys");
    const rows_remedy remedy =
        reader->options.inputs_only
            ? ROWS_FIX("each question needs \"input\" (or \"prompt\", or \"messages\"; docs/data.md has all forms)")
            : ROWS_FIX("each row needs \"input\" and \"output\" (or \"prompt\" and \"completion\", or "
                       "\"messages\"; docs/data.md has all forms)");
    kit_status status = json_bad(reader, object->bytes, remedy, kit_buf_text(&kind), kit_buf_text(&text), err);
    kit_json_walk_free(&walk);
    kit_buf_free(&text);
    kit_buf_free(&kind);
    return status;
}

kit_status json_doubled(job_reader *reader, const char *again, kolm_error_t *err) {
    return json_bad(reader, again, OBJECT_REMEDY, NULL, "expected a key that this object does not have yet", err);
}

/* ---- Values */

kit_status json_text(job_reader *reader, const kit_json_part *part, kit_buf *out, kolm_error_t *err) {
    if (kit_json_part_text(part, out, NULL) != KOLM_OK) return json_bad_part(reader, part, err);
    return out->failed ? rows_no_memory(err) : KOLM_OK;
}

static bool is_empty_array(const kit_json_part *part) {
    for (size_t i = 1; i + 1 < part->length; i++)
        if (strchr(" \t\r\n", part->bytes[i]) == NULL) return false;
    return true;
}

kit_status json_array(job_reader *reader, const char *key, const kit_json_part *part, kit_buf *out, kolm_error_t *err) {
    kit_buf text = {0};
    kit_json_part array = *part;
    kit_status status = KOLM_OK;
    if (part->kind == KIT_JSON_STRING) { /* many tables and tools store JSON as a text */
        status = json_text(reader, part, &text, err);
        if (status != KOLM_OK) goto out;
        array = (kit_json_part){.bytes = kit_buf_text(&text), .length = text.length, .kind = KIT_JSON_ARRAY};
        if (strspn(array.bytes, " \t\r\n") == text.length) goto out;
        if (array.bytes[strspn(array.bytes, " \t\r\n")] != '[') array.kind = KIT_JSON_STRING;
    }
    if (array.kind != KIT_JSON_ARRAY)
        status = json_wrong_type(reader, key, "an array", part, err);
    else if (kit_json_part_check(&array, NULL) != KOLM_OK)
        status = part->kind == KIT_JSON_STRING ? json_wrong_type(reader, key, "an array", part, err)
                                               : json_bad_part(reader, part, err);
    else if (!is_empty_array(&array))
        kit_json_part_compact(&array, out);
out:
    kit_buf_free(&text);
    return status;
}

/* Appends an integer as its JSON text: 7 also for 7.0, and 1389432487213912064 with all its digits. */
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
    /* The answer of a question is not used. */
    if (reader->options.inputs_only) return KOLM_OK;
    if (part->kind == KIT_JSON_STRING) return json_text(reader, part, &reader->output, err);
    if (part->kind == KIT_JSON_BOOL) {
        kit_buf_add(&reader->output, part->bytes, part->length);
        return KOLM_OK;
    }
    if (part->kind == KIT_JSON_NUMBER && json_put_integer(part, &reader->output)) return KOLM_OK;
    return json_wrong_type(reader, key, "text, an integer, true or false", part, err);
}
