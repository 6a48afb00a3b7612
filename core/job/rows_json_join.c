/* SPDX-License-Identifier: Apache-2.0 */
/* The row reader: several keys of a JSON row joined to one input (--input-col title,body). */
#include "job/rows_json.h"

#include "kolm/kit/json_walk.h"

#include <string.h>

/* Splits the option; one name alone is not a list. */
kit_status json_join_open(job_reader *reader, kolm_error_t *err) {
    rows_json *r = reader->json;
    const char *names = reader->options.input_col, *output = reader->options.output_col;
    if (names == NULL || strchr(names, ',') == NULL) return KOLM_OK;
    if (output == NULL) output = "output";
    kit_copy(r->join_names, sizeof r->join_names, names);
    for (char *name = r->join_names, *end = name; end != NULL; name = end != NULL ? end + 1 : NULL) {
        end = strchr(name, ',');
        if (end != NULL) *end = '\0';
        name += strspn(name, " ");
        size_t length = strlen(name);
        while (length > 0 && name[length - 1] == ' ')
            name[--length] = '\0';
        if (strcmp(name, output) == 0 && !reader->options.inputs_only)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name two different ones with --input-col and --output-col",
                            "%s: the input and the output are both '%s'", reader->options.path, name);
        if (length == 0 || r->join_count == JSON_JOIN_MAX)
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "separate the names with commas",
                            "%s: '%s' names no list of 2 to %d keys", reader->options.path, names, JSON_JOIN_MAX);
        for (size_t i = 0; i < r->join_count; i++)
            if (strcmp(r->join[i].name, name) == 0)
                return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                                "name two different ones with --input-col and --output-col",
                                "%s: the input has '%s' twice", reader->options.path, name);
        r->join[r->join_count++].name = name;
    }
    return KOLM_OK;
}

void json_join_forget(rows_json *r) {
    for (size_t i = 0; i < r->join_count; i++)
        r->join[i].slot = (json_slot){0};
}

bool json_join_note(rows_json *r, const kit_json_part *key, const kit_json_part *value) {
    for (size_t i = 0; i < r->join_count; i++) {
        json_slot *slot = &r->join[i].slot;
        if (!kit_json_part_is(key, r->join[i].name)) continue;
        if (slot->value.bytes != NULL)
            slot->again = slot->again != NULL ? slot->again : key->bytes;
        else
            *slot = (json_slot){.value = *value, .there = value->kind != KIT_JSON_NULL};
        return true;
    }
    return false;
}

static bool has_text(const kit_buf *text, size_t from) {
    const char *at = kit_buf_text(text) + from;
    return at[strspn(at, " \t\n")] != '\0';
}

kit_status json_join_take(job_reader *reader, kit_buf *out, kolm_error_t *err) {
    rows_json *r = reader->json;
    kit_buf_clear(out);
    for (size_t i = 0; i < r->join_count; i++) {
        const json_slot *slot = &r->join[i].slot;
        const kit_json_part whole = {
            .bytes = r->line, .length = (size_t)(r->walk.end - r->line), .kind = KIT_JSON_OBJECT};
        char wanted[160];
        kit_format(wanted, sizeof wanted, "\"%s\"", r->join[i].name);
        if (slot->again != NULL) return json_doubled(reader, slot->again, err);
        if (slot->value.bytes == NULL) return json_missing_key(reader, &whole, wanted, err);
        if (!slot->there) continue; /* null: no text */
        if (slot->value.kind != KIT_JSON_STRING)
            return json_wrong_type(reader, r->join[i].name, "text", &slot->value, err);
        size_t before = out->length;
        if (before > 0) kit_buf_char(out, '\n');
        size_t from = out->length;
        KIT_TRY(json_text(reader, &slot->value, out, err));
        KIT_TRY(kit_buf_ok(out, err));
        if (!has_text(out, from)) out->length = before;
    }
    return KOLM_OK;
}
