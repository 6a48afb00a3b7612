/* SPDX-License-Identifier: Apache-2.0 */
/* Checks in one pass whether bytes are exactly one strict JSON value, and builds its tree on request. */
#include "json_parts.h"

#include "kolm/kit/json_walk.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct scanner {
    const char *start, *p, *end;
    int depth;
    bool any_number;     /* of whatever size */
    kit_json_tree *tree; /* to build; NULL: none */
    kit_json_fault fault;
    kolm_error_t *err;
} scanner;

/* A key as written between its quotes. */
typedef struct key_slice {
    const char *bytes;
    size_t length;
    bool escaped;
} key_slice;

#define FEW_KEYS 24

/* The keys of one object. While there are few, each new one is compared with all; many are collected and sorted at the
 * closing brace: O(n log n) for any keys, which no hash table can guarantee for hostile ones. */
typedef struct key_set {
    key_slice few[FEW_KEYS];
    key_slice *many; /* NULL while there are few */
    size_t capacity;
    size_t count;
} key_set;

kit_status json_fail_at(const char *start, const char *end, const char *where, const char *expected,
                        kit_json_fault *out_fault, kolm_error_t *err) {
    size_t line = 1;
    const char *line_start = start;
    for (const char *p = start; p < where; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    }
    kit_buf found = {0};
    if (where >= end) {
        kit_buf_str(&found, "the end");
    } else {
        size_t n = (size_t)(end - where);
        size_t step = 1;
        if (kit_utf8_valid(where, n < 4 ? n : 4) > 0) kit_utf8_next(where, n, &step);
        kit_buf_char(&found, '\'');
        kit_buf_escaped(&found, where, step);
        kit_buf_char(&found, '\'');
    }
    *out_fault = (kit_json_fault){.offset = (size_t)(where - start), .expected = expected};
    kit_copy(out_fault->found, sizeof out_fault->found, kit_buf_text(&found));
    kit_status status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct the JSON at that place",
                                 "line %zu, column %zu: expected %s, found %s", line, (size_t)(where - line_start) + 1,
                                 expected, kit_buf_text(&found));
    kit_buf_free(&found);
    return status;
}

static kit_status fail_at(scanner *s, const char *where, const char *expected) {
    return json_fail_at(s->start, s->end, where, expected, &s->fault, s->err);
}

static void skip_blanks(scanner *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four digits at p as a number, or -1. */
static int32_t hex4(const char *p, const char *end) {
    if (end - p < 4) return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* p is after "\u"; checks one code point, including surrogate pairs. */
static kit_status scan_unicode_escape(scanner *s) {
    int32_t unit = hex4(s->p, s->end);
    if (unit < 0) return fail_at(s, s->p, "four hexadecimal digits");
    if (unit == 0) return fail_at(s, s->p - 2, "text without NUL characters");
    if (unit >= 0xDC00 && unit <= 0xDFFF) return fail_at(s, s->p - 2, "a high surrogate before a low one");
    s->p += 4;
    if (unit < 0xD800 || unit > 0xDBFF) return KOLM_OK;
    int32_t low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2, s->end) : -1;
    if (low < 0xDC00 || low > 0xDFFF) return fail_at(s, s->p, "the low half of a surrogate pair");
    s->p += 6;
    return KOLM_OK;
}

/* Length of the two-byte or three-byte sequence at p if it is obviously valid, else 0: the common ones, inline. */
static size_t common_sequence(const char *p, size_t n) {
    const unsigned char *u = (const unsigned char *)p;
    if (n >= 2 && u[0] >= 0xC2 && u[0] <= 0xDF) return (u[1] & 0xC0) == 0x80 ? 2 : 0;
    if (n >= 3 && u[0] > 0xE0 && u[0] < 0xED) return (u[1] & 0xC0) == 0x80 && (u[2] & 0xC0) == 0x80 ? 3 : 0;
    return 0;
}

/* p is at the opening quote, and after the closing one on return. */
static kit_status scan_string(scanner *s, key_slice *out_slice) {
    const char *open = s->p++;
    bool escaped = false;
    for (;;) {
        s->p = json_find_special(s->p, s->end, JSON_HIGH_BITS);
        if (s->p >= s->end) return fail_at(s, s->end, "a closing quote");
        unsigned char c = (unsigned char)*s->p;
        if (c == '"') break;
        if (c == '\\') {
            escaped = true;
            s->p++;
            if (s->p >= s->end || *s->p == '\0' || strchr("\"\\/bfnrtu", *s->p) == NULL)
                return fail_at(s, s->p, "an escape: one of \" \\ / b f n r t u");
            bool unicode = *s->p++ == 'u';
            if (unicode) KIT_TRY(scan_unicode_escape(s));
        } else if (c < 0x20) {
            return fail_at(s, s->p, "no raw control character in text");
        } else {
            size_t n = (size_t)(s->end - s->p);
            size_t step = common_sequence(s->p, n);
            if (step == 0) {
                if (kit_utf8_valid(s->p, n < 4 ? n : 4) == 0) return fail_at(s, s->p, "valid UTF-8");
                kit_utf8_next(s->p, n, &step);
            }
            s->p += step;
        }
    }
    if (out_slice != NULL) *out_slice = (key_slice){open + 1, (size_t)(s->p - open) - 1, escaped};
    s->p++;
    return KOLM_OK;
}

/* cJSON silently truncates longer numbers. */
#define LONGEST_NUMBER 63

static size_t skip_digits(scanner *s) {
    const char *from = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - from);
}

/* p is after "e"; magnitude is the number's decimal exponent without it. Rejects what a double cannot hold, because a
 * parser would turn it into infinity. */
static kit_status scan_exponent(scanner *s, const char *start, int magnitude) {
    bool negative = s->p < s->end && *s->p == '-';
    if (s->p < s->end && (*s->p == '+' || *s->p == '-')) s->p++;
    const char *digits = s->p;
    if (skip_digits(s) == 0) return fail_at(s, s->p, "a digit in the exponent");
    int exponent = 0;
    for (const char *p = digits; p < s->p; p++)
        if (exponent < 10000) exponent = exponent * 10 + (*p - '0');
    if (!negative && !s->any_number && exponent + magnitude > 307) return fail_at(s, start, "a number below 1e308");
    return KOLM_OK;
}

static kit_status scan_number(scanner *s) {
    const char *start = s->p;
    bool integer = true;
    if (*s->p == '-') s->p++;
    const char *digits = s->p;
    size_t digit_count = skip_digits(s);
    if (digit_count == 0) return fail_at(s, s->p, "a digit");
    if (*digits == '0' && digit_count > 1) return fail_at(s, digits, "a number without leading zeros");
    if (s->p < s->end && *s->p == '.') {
        integer = false;
        s->p++;
        if (skip_digits(s) == 0) return fail_at(s, s->p, "a digit after the decimal point");
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        integer = false;
        s->p++;
        KIT_TRY(scan_exponent(s, start, (int)(digit_count > 400 ? 400 : digit_count) - 1));
    }
    if (s->any_number) return KOLM_OK;
    if (integer && digit_count >= 16 && (digit_count > 16 || memcmp(digits, "9007199254740991", 16) > 0))
        return fail_at(s, start, "an integer of at most 9007199254740991");
    if (s->p - start > LONGEST_NUMBER) return fail_at(s, start, "a number of at most 63 characters");
    return KOLM_OK;
}

/* Walks the decoded bytes of a key; escapes become UTF-8. Only for keys that were already scanned. */
typedef json_key_reader key_reader;

static void push_utf8(key_reader *r, uint32_t point) {
    r->pending_at = 0;
    if (point < 0x80) {
        r->pending[0] = (char)point;
        r->pending_count = 1;
    } else if (point < 0x800) {
        r->pending[0] = (char)(0xC0 | (point >> 6));
        r->pending[1] = (char)(0x80 | (point & 63));
        r->pending_count = 2;
    } else if (point < 0x10000) {
        r->pending[0] = (char)(0xE0 | (point >> 12));
        r->pending[1] = (char)(0x80 | ((point >> 6) & 63));
        r->pending[2] = (char)(0x80 | (point & 63));
        r->pending_count = 3;
    } else {
        r->pending[0] = (char)(0xF0 | (point >> 18));
        r->pending[1] = (char)(0x80 | ((point >> 12) & 63));
        r->pending[2] = (char)(0x80 | ((point >> 6) & 63));
        r->pending[3] = (char)(0x80 | (point & 63));
        r->pending_count = 4;
    }
}

/* The next byte, or -1 at the end. */
int json_key_next(key_reader *r) {
    if (r->pending_at < r->pending_count) return (unsigned char)r->pending[r->pending_at++];
    if (r->p >= r->end) return -1;
    char c = *r->p++;
    if (c != '\\') return (unsigned char)c;
    c = *r->p++;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c != 'u') return (unsigned char)to[strchr(from, c) - from];
    uint32_t point = (uint32_t)hex4(r->p, r->end);
    r->p += 4;
    if (point >= 0xD800 && point <= 0xDBFF) {
        point = 0x10000 + ((point - 0xD800) << 10) + ((uint32_t)hex4(r->p + 2, r->end) - 0xDC00);
        r->p += 6;
    }
    push_utf8(r, point);
    return (unsigned char)r->pending[r->pending_at++];
}

/* Compares the decoded keys bytewise. */
static int compare_keys(const key_slice *a, const key_slice *b) {
    if (!a->escaped && !b->escaped) {
        size_t n = a->length < b->length ? a->length : b->length;
        int order = memcmp(a->bytes, b->bytes, n);
        return order != 0 ? order : a->length < b->length ? -1 : a->length > b->length;
    }
    key_reader left = {.p = a->bytes, .end = a->bytes + a->length},
               right = {.p = b->bytes, .end = b->bytes + b->length};
    for (;;) {
        int x = json_key_next(&left), y = json_key_next(&right);
        if (x != y) return x < y ? -1 : 1;
        if (x < 0) return 0;
    }
}

/* Equal keys in the order of the text, so that the later one is reported. */
static int compare_slices(const void *a, const void *b) {
    const key_slice *x = a, *y = b;
    int order = compare_keys(x, y);
    return order != 0 ? order : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static bool same_key(const key_slice *a, const key_slice *b) {
    if (!a->escaped && !b->escaped) return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
    return compare_keys(a, b) == 0;
}

static kit_status fail_duplicate(scanner *s, const key_slice *key) {
    return fail_at(s, key->bytes - 1, "a key that this object does not have yet");
}

static kit_status grow_keys(scanner *s, key_set *set) {
    size_t capacity = set->many == NULL ? 8 * FEW_KEYS : set->capacity * 2;
    key_slice *many = realloc(set->many, capacity * sizeof *many);
    if (many == NULL)
        return kit_fail(s->err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "out of memory in JSON keys");
    if (set->many == NULL) memcpy(many, set->few, sizeof set->few);
    set->many = many;
    set->capacity = capacity;
    return KOLM_OK;
}

static kit_status add_key(scanner *s, key_set *set, const key_slice *key) {
    if (set->many == NULL && set->count < FEW_KEYS) {
        for (size_t i = 0; i < set->count; i++)
            if (same_key(&set->few[i], key)) return fail_duplicate(s, key);
        set->few[set->count++] = *key;
        return KOLM_OK;
    }
    if (set->many == NULL || set->count == set->capacity) KIT_TRY(grow_keys(s, set));
    set->many[set->count++] = *key;
    return KOLM_OK;
}

static kit_status check_many(scanner *s, key_set *set) {
    if (set->many == NULL) return KOLM_OK;
    qsort(set->many, set->count, sizeof *set->many, compare_slices);
    const key_slice *first = NULL;
    for (size_t i = 1; i < set->count; i++)
        if (same_key(&set->many[i - 1], &set->many[i]) && (first == NULL || set->many[i].bytes < first->bytes))
            first = &set->many[i];
    return first == NULL ? KOLM_OK : fail_duplicate(s, first);
}

/* Appends a node after the last one of its parent. No-op if no tree is built: *last stays NULL. */
static kit_status add_node(scanner *s, cJSON *parent, cJSON **last) {
    if (s->tree == NULL) return KOLM_OK;
    cJSON *node = json_tree_node(s->tree);
    if (node == NULL)
        return kit_fail(s->err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "out of memory in JSON");
    if (*last != NULL)
        (*last)->next = node;
    else
        parent->child = node;
    *last = node;
    return KOLM_OK;
}

static char *text_of(scanner *s, const key_slice *slice) {
    return json_tree_text(s->tree, (size_t)(slice->bytes - s->start), slice->bytes, slice->length, slice->escaped);
}

/* node: to be filled; NULL if no tree is built. */
static kit_status scan_value(scanner *s, cJSON *node);

static kit_status scan_members(scanner *s, key_set *keys, cJSON *object) {
    cJSON *member = NULL;
    for (;;) {
        skip_blanks(s);
        if (s->p >= s->end || *s->p != '"') return fail_at(s, s->p, "a key in double quotes");
        key_slice key;
        KIT_TRY(scan_string(s, &key));
        KIT_TRY(add_key(s, keys, &key));
        KIT_TRY(add_node(s, object, &member));
        if (member != NULL) member->string = text_of(s, &key);
        skip_blanks(s);
        if (s->p >= s->end || *s->p != ':') return fail_at(s, s->p, "':'");
        s->p++;
        KIT_TRY(scan_value(s, member));
        skip_blanks(s);
        if (s->p < s->end && *s->p == ',') {
            s->p++;
            continue;
        }
        if (s->p < s->end && *s->p == '}') {
            s->p++;
            return KOLM_OK;
        }
        return fail_at(s, s->p, "',' or '}'");
    }
}

static kit_status scan_object(scanner *s, cJSON *node) {
    if (node != NULL) node->type = cJSON_Object;
    s->p++;
    skip_blanks(s);
    if (s->p < s->end && *s->p == '}') {
        s->p++;
        return KOLM_OK;
    }
    key_set keys;
    keys.many = NULL;
    keys.capacity = keys.count = 0;
    kit_status status = scan_members(s, &keys, node);
    if (status == KOLM_OK) status = check_many(s, &keys);
    free(keys.many);
    return status;
}

static kit_status scan_array(scanner *s, cJSON *node) {
    cJSON *element = NULL;
    if (node != NULL) node->type = cJSON_Array;
    s->p++;
    skip_blanks(s);
    if (s->p < s->end && *s->p == ']') {
        s->p++;
        return KOLM_OK;
    }
    for (;;) {
        KIT_TRY(add_node(s, node, &element));
        KIT_TRY(scan_value(s, element));
        skip_blanks(s);
        if (s->p < s->end && *s->p == ',') {
            s->p++;
            continue;
        }
        if (s->p < s->end && *s->p == ']') {
            s->p++;
            return KOLM_OK;
        }
        return fail_at(s, s->p, "',' or ']'");
    }
}

static kit_status scan_word(scanner *s, cJSON *node) {
    static const char *const words[] = {"true", "false", "null"};
    static const int types[] = {cJSON_True, cJSON_False, cJSON_NULL};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
            if (node != NULL) node->type = types[i];
            s->p += n;
            return KOLM_OK;
        }
    }
    return fail_at(s, s->p, "a JSON value");
}

static kit_status scan_text(scanner *s, cJSON *node) {
    key_slice slice;
    KIT_TRY(scan_string(s, &slice));
    if (node == NULL) return KOLM_OK;
    node->type = cJSON_String;
    node->valuestring = text_of(s, &slice);
    return KOLM_OK;
}

static kit_status scan_figure(scanner *s, cJSON *node) {
    const char *start = s->p;
    KIT_TRY(scan_number(s));
    if (node == NULL || json_tree_number(node, start, (size_t)(s->p - start))) return KOLM_OK;
    return kit_fail(s->err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory in JSON");
}

static kit_status scan_value(scanner *s, cJSON *node) {
    skip_blanks(s);
    if (s->p >= s->end) return fail_at(s, s->end, "a JSON value");
    char c = *s->p;
    if (c == '"') return scan_text(s, node);
    if (c == '-' || (c >= '0' && c <= '9')) return scan_figure(s, node);
    if (c != '{' && c != '[') return scan_word(s, node);
    if (s->depth == KIT_JSON_MAX_DEPTH) return fail_at(s, s->p, "nesting of at most 64 levels");
    s->depth++;
    kit_status status = c == '{' ? scan_object(s, node) : scan_array(s, node);
    s->depth--;
    return status;
}

static kit_status validate(scanner *s, cJSON *root) {
    size_t length = (size_t)(s->end - s->start);
    if (length >= 3 && memcmp(s->start, "\xEF\xBB\xBF", 3) == 0) return fail_at(s, s->start, "no byte order mark");
    KIT_TRY(scan_value(s, root));
    skip_blanks(s);
    return s->p < s->end ? fail_at(s, s->p, "nothing after the value") : KOLM_OK;
}

kit_status kit_json_validate(const char *bytes, size_t length, kolm_error_t *err) {
    scanner s = {.start = bytes, .p = bytes, .end = bytes + length, .err = err};
    return validate(&s, NULL);
}

kit_status json_tree_scan(const char *bytes, size_t length, kit_json_tree *tree, cJSON *root, kolm_error_t *err) {
    scanner s = {.start = bytes, .p = bytes, .end = bytes + length, .tree = tree, .err = err};
    return validate(&s, root);
}

static scanner scan_part(const kit_json_part *part, kolm_error_t *err) {
    return (scanner){
        .start = part->bytes, .p = part->bytes, .end = part->bytes + part->length, .any_number = true, .err = err};
}

kit_status kit_json_part_check(const kit_json_part *part, kolm_error_t *err) {
    scanner s = scan_part(part, err);
    return validate(&s, NULL);
}

bool kit_json_part_fault(const kit_json_part *part, kit_json_fault *out) {
    scanner s = scan_part(part, NULL);
    bool rejected = validate(&s, NULL) == KOLM_E_INVALID_ARGUMENT;
    *out = s.fault;
    return rejected;
}
