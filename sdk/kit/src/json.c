/* SPDX-License-Identifier: Apache-2.0 */
/* JSON trees: parsing after validation, canonical and readable output, typed access. */
#include "kolm/kit/json.h"
#include "kolm/kit/text.h"

#include "kolm/kit/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static kit_status out_of_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory in JSON");
}

kit_status kit_json_parse(const char *bytes, size_t length, cJSON **out, kolm_error_t *err) {
    *out = NULL;
    KIT_TRY(kit_json_validate(bytes, length, err));
    *out = cJSON_ParseWithLength(bytes, length);
    return *out == NULL ? out_of_memory(err) : KOLM_OK;
}

kit_status kit_json_read(const char *path, size_t max_bytes, cJSON **out, kolm_error_t *err) {
    *out = NULL;
    kit_buf text = {0};
    kit_status status = kit_read_file(path, max_bytes, &text, err);
    if (status == KOLM_OK) {
        status = kit_json_parse(kit_buf_text(&text), text.length, out, err);
        if (status != KOLM_OK) kit_fail_context(err, "%s", path);
    }
    kit_buf_free(&text);
    return status;
}

void kit_json_string(kit_buf *out, const char *bytes, size_t length) {
    static const char *const short_escapes[32] = {[8] = "\\b", [9] = "\\t", [10] = "\\n", [12] = "\\f", [13] = "\\r"};
    kit_buf_char(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        kit_buf_add(out, bytes + from, i - from);
        from = i + 1;
        if (c >= 0x20) {
            kit_buf_char(out, '\\');
            kit_buf_char(out, (char)c);
        } else if (short_escapes[c] != NULL) {
            kit_buf_str(out, short_escapes[c]);
        } else {
            kit_buf_fmt(out, "\\u%04x", c);
        }
    }
    kit_buf_add(out, bytes + from, length - from);
    kit_buf_char(out, '"');
}

/* How a tree is written: canonical sorts and refuses fractions; indent below 0 means one line. */
typedef struct style {
    bool canonical;
    int indent;
} style;

/* Faster than printf: reports and receipts are full of whole numbers. */
static void write_integer(long long value, kit_buf *out) {
    char digits[24];
    size_t at = sizeof digits;
    unsigned long long left = value < 0 ? 0 - (unsigned long long)value : (unsigned long long)value;
    do
        digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0) digits[--at] = '-';
    kit_buf_add(out, digits + at, sizeof digits - at);
}

static kit_status write_number(double value, style how, kit_buf *out, kolm_error_t *err) {
    if (value == floor(value) && fabs(value) <= KIT_JSON_MAX_INTEGER) {
        write_integer((long long)value, out);
        return KOLM_OK;
    }
    if (how.canonical)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "canonical JSON contains only integers, not %.17g", value);
    if (!isfinite(value)) {
        kit_buf_str(out, "null");
        return KOLM_OK;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        kit_format(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    kit_buf_str(out, text);
    /* Beyond 2^53 the text of a whole number claims digits that a double does not have; strict readers reject it. */
    if (strpbrk(text, ".e") == NULL) kit_buf_str(out, ".0");
    return KOLM_OK;
}

/* RFC 8785 orders keys by UTF-16 code units: like code points, except that those beyond U+FFFF sort as their surrogates
 * (D800..DFFF), below U+E000..U+FFFF. */
static uint32_t utf16_rank(uint32_t point) {
    if (point >= 0x10000) return 0xD800 + ((point - 0x10000) >> 10);
    return point;
}

static int compare_keys(const char *a, const char *b) {
    size_t la = strlen(a), lb = strlen(b);
    while (la > 0 && lb > 0) {
        size_t sa, sb;
        uint32_t x = kit_utf8_next(a, la, &sa), y = kit_utf8_next(b, lb, &sb);
        if (x != y) {
            uint32_t rx = utf16_rank(x), ry = utf16_rank(y);
            if (rx != ry) return rx < ry ? -1 : 1;
            return x < y ? -1 : 1;
        }
        a += sa;
        la -= sa;
        b += sb;
        lb -= sb;
    }
    return la > 0 ? 1 : lb > 0 ? -1 : 0;
}

static int compare_items(const void *a, const void *b) {
    return compare_keys((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

static kit_status write_value(const cJSON *value, style how, int depth, kit_buf *out, kolm_error_t *err);

static kit_status write_text(const char *text, kit_buf *out, kolm_error_t *err) {
    size_t length = strlen(text);
    if (kit_utf8_valid(text, length) != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "text for JSON is not valid UTF-8");
    kit_json_string(out, text, length);
    return KOLM_OK;
}

static void new_line(style how, int depth, kit_buf *out) {
    if (how.indent < 0) return;
    kit_buf_char(out, '\n');
    for (int i = 0; i < how.indent * depth; i++)
        kit_buf_char(out, ' ');
}

static kit_status write_item(const cJSON *item, bool object, bool first, style how, int depth, kit_buf *out,
                             kolm_error_t *err) {
    if (!first) kit_buf_char(out, ',');
    new_line(how, depth + 1, out);
    if (object) {
        KIT_TRY(write_text(item->string, out, err));
        kit_buf_str(out, how.indent < 0 ? ":" : ": ");
    }
    return write_value(item, how, depth + 1, out, err);
}

static kit_status write_sorted(const cJSON *object, size_t count, style how, int depth, kit_buf *out,
                               kolm_error_t *err) {
    const cJSON **items = malloc(count * sizeof *items);
    if (items == NULL) return out_of_memory(err);
    size_t n = 0;
    for (const cJSON *item = object->child; item != NULL; item = item->next)
        items[n++] = item;
    qsort(items, count, sizeof *items, compare_items);
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < count && status == KOLM_OK; i++) {
        if (i > 0 && strcmp(items[i - 1]->string, items[i]->string) == 0)
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "",
                              "canonical JSON contains each key once, not \"%s\" twice", items[i]->string);
        else
            status = write_item(items[i], true, i == 0, how, depth, out, err);
    }
    free(items);
    return status;
}

static kit_status write_container(const cJSON *value, style how, int depth, kit_buf *out, kolm_error_t *err) {
    bool object = cJSON_IsObject(value);
    size_t count = 0;
    for (const cJSON *item = value->child; item != NULL; item = item->next)
        count++;
    if (count == 0) {
        kit_buf_str(out, object ? "{}" : "[]");
        return KOLM_OK;
    }
    if (depth >= KIT_JSON_MAX_DEPTH)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "JSON nested deeper than %d levels", KIT_JSON_MAX_DEPTH);
    kit_buf_char(out, object ? '{' : '[');
    if (object && how.canonical) {
        KIT_TRY(write_sorted(value, count, how, depth, out, err));
    } else {
        for (const cJSON *item = value->child; item != NULL; item = item->next)
            KIT_TRY(write_item(item, object, item == value->child, how, depth, out, err));
    }
    new_line(how, depth, out);
    kit_buf_char(out, object ? '}' : ']');
    return KOLM_OK;
}

static kit_status write_value(const cJSON *value, style how, int depth, kit_buf *out, kolm_error_t *err) {
    if (cJSON_IsString(value)) return write_text(value->valuestring, out, err);
    if (cJSON_IsNumber(value)) return write_number(value->valuedouble, how, out, err);
    if (cJSON_IsRaw(value))
        kit_buf_str(out, value->valuestring);
    else if (cJSON_IsTrue(value))
        kit_buf_str(out, "true");
    else if (cJSON_IsFalse(value))
        kit_buf_str(out, "false");
    else if (cJSON_IsNull(value))
        kit_buf_str(out, "null");
    else if (cJSON_IsObject(value) || cJSON_IsArray(value))
        return write_container(value, how, depth, out, err);
    else
        return kit_fail(err, KOLM_E_INTERNAL, "", "a JSON item of no type");
    return KOLM_OK;
}

static kit_status write_tree(const cJSON *value, style how, kit_buf *out, kolm_error_t *err) {
    if (value == NULL) return out_of_memory(err); /* a builder failed before */
    KIT_TRY(write_value(value, how, 0, out, err));
    return kit_buf_ok(out, err);
}

kit_status kit_json_canonical(const cJSON *value, kit_buf *out, kolm_error_t *err) {
    return write_tree(value, (style){true, -1}, out, err);
}

kit_status kit_json_line(const cJSON *value, kit_buf *out, kolm_error_t *err) {
    return write_tree(value, (style){false, -1}, out, err);
}

kit_status kit_json_pretty(const cJSON *value, kit_buf *out, kolm_error_t *err) {
    return write_tree(value, (style){false, 2}, out, err);
}

cJSON *kit_json_micro(uint64_t micro) {
    if (micro >= KIT_JSON_MICRO_LIMIT) return NULL;
    char text[40], *p = text + sizeof text - 1; /* from the end, without trailing zeros */
    uint64_t whole = micro / 1000000, fraction = micro % 1000000;
    *p = '\0';
    for (int i = 0; i < 6; i++, fraction /= 10)
        if (*p != '\0' || fraction % 10 != 0) *--p = (char)('0' + fraction % 10);
    if (*p != '\0') *--p = '.';
    do
        *--p = (char)('0' + whole % 10);
    while ((whole /= 10) > 0);
    return cJSON_CreateRaw(p);
}

static kit_status exact_number(cJSON *item, kolm_error_t *err) {
    double micro = floor(item->valuedouble * 1e6 + 0.5);
    if (!(micro >= 0 && micro < (double)KIT_JSON_MICRO_LIMIT)) {
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "the number %g is not one of at most six decimals",
                        item->valuedouble);
    }
    cJSON *decimal = kit_json_micro((uint64_t)micro);
    if (decimal == NULL) return out_of_memory(err);
    /* Only the text is replaced: the item keeps its key and its position. */
    item->type = (item->type & ~0xFF) | cJSON_Raw;
    item->valuestring = decimal->valuestring;
    decimal->valuestring = NULL;
    cJSON_Delete(decimal);
    return KOLM_OK;
}

kit_status kit_json_exact(cJSON *value, kolm_error_t *err) {
    if (cJSON_IsNumber(value) && value->valuedouble != floor(value->valuedouble)) return exact_number(value, err);
    if (!cJSON_IsObject(value) && !cJSON_IsArray(value)) return KOLM_OK;
    for (cJSON *item = value->child; item != NULL; item = item->next)
        KIT_TRY(kit_json_exact(item, err));
    return KOLM_OK;
}

const cJSON *kit_json_get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

bool kit_json_get_string(const cJSON *object, const char *key, const char **out) {
    const cJSON *item = kit_json_get(object, key);
    if (!cJSON_IsString(item)) return false;
    *out = item->valuestring;
    return true;
}

bool kit_json_get_number(const cJSON *object, const char *key, double *out) {
    const cJSON *item = kit_json_get(object, key);
    if (!cJSON_IsNumber(item)) return false;
    *out = item->valuedouble;
    return true;
}

bool kit_json_get_u64(const cJSON *object, const char *key, uint64_t *out) {
    double value = 0;
    if (!kit_json_get_number(object, key, &value)) return false;
    if (value < 0 || value > KIT_JSON_MAX_INTEGER || value != floor(value)) return false;
    *out = (uint64_t)value;
    return true;
}

bool kit_json_get_bool(const cJSON *object, const char *key, bool *out) {
    const cJSON *item = kit_json_get(object, key);
    if (!cJSON_IsBool(item)) return false;
    *out = cJSON_IsTrue(item);
    return true;
}

bool kit_json_put(cJSON *object, const char *key, cJSON *item) {
    if (item == NULL) return false;
    if (object != NULL && cJSON_AddItemToObject(object, key, item)) return true;
    cJSON_Delete(item);
    return false;
}

bool kit_json_put_string(cJSON *object, const char *key, const char *text) {
    return kit_json_put(object, key, text == NULL ? cJSON_CreateNull() : cJSON_CreateString(text));
}

bool kit_json_put_number(cJSON *object, const char *key, double value) {
    return kit_json_put(object, key, isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
}

bool kit_json_put_u64(cJSON *object, const char *key, uint64_t value) {
    if (value > (uint64_t)KIT_JSON_MAX_INTEGER) return false;
    return kit_json_put(object, key, cJSON_CreateNumber((double)value));
}

bool kit_json_put_bool(cJSON *object, const char *key, bool value) {
    return kit_json_put(object, key, cJSON_CreateBool(value));
}

bool kit_json_put_null(cJSON *object, const char *key) {
    return kit_json_put(object, key, cJSON_CreateNull());
}
