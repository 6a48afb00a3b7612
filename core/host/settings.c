/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the declared settings of a manifest, and checks a section of config.json against them. */
#include "host/settings.h"

#include "kolm/kit/text.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUES_MAX 32
#define WHERE_MAX 256
#define WHOLE_MAX 9007199254740991.0 /* 2^53 - 1 */

#define BIT(type) (1u << (type))
#define TEXTS (BIT(HOST_SETTING_STRING) | BIT(HOST_SETTING_PATH))
#define NUMBERS (BIT(HOST_SETTING_INTEGER) | BIT(HOST_SETTING_NUMBER))
#define HOLDERS (BIT(HOST_SETTING_LIST) | BIT(HOST_SETTING_MAP))

static const char *const type_names[HOST_SETTING_TYPES] = {"string", "path", "boolean", "integer",
                                                           "number", "list", "map"};

static kit_status expected(kolm_error_t *err, const char *key, const char *what) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "\"%s\": expected %s", key, what);
}

/* ---- The text of a type */

static bool ends_in_star(const char *value) {
    size_t length = strlen(value);
    return length > 0 && value[length - 1] == '*';
}

static void add_values(const host_setting *setting, kit_buf *out) {
    for (size_t i = 0; i < setting->value_count; i++) {
        const char *value = setting->values[i];
        bool star = ends_in_star(value);
        kit_buf_fmt(out, "%s\"%.*s%s\"",
                    i == 0                         ? ""
                    : i + 1 < setting->value_count ? ", "
                                                   : " or ",
                    (int)(strlen(value) - star), value, star ? "..." : "");
    }
}

static void add_range(const host_setting *setting, const char *unit, kit_buf *out) {
    if (setting->has_min && setting->has_max)
        kit_buf_fmt(out, " %s %.15g to %.15g%s", *unit ? "of" : "from", setting->min, setting->max, unit);
    else if (setting->has_min)
        kit_buf_fmt(out, " of at least %.15g%s", setting->min, unit);
    else if (setting->has_max)
        kit_buf_fmt(out, " of at most %.15g%s", setting->max, unit);
}

static void add_holder(const host_setting *setting, bool map, kit_buf *out) {
    kit_buf_str(out, map ? "an object of NAME: " : "an array of ");
    if (setting->fields.count == 0) {
        host_setting_type item = 0;
        while (item + 1 < HOST_SETTING_TYPES && !(setting->items & BIT(item)))
            item++;
        kit_buf_fmt(out, "%ss", type_names[item]);
        return;
    }
    for (size_t i = 0; i < setting->fields.count; i++)
        kit_buf_fmt(out, "%s\"%s\": ...", i ? ", " : "{", setting->fields.at[i].key);
    kit_buf_str(out, setting->inherits ? ", and any other setting}" : "}");
}

static void add_type(const host_setting *setting, host_setting_type type, kit_buf *out) {
    static const char *const words[] = {"a string", "a path from / or ~ on", "true or false", "a whole number",
                                        "a number"};
    bool listed = setting->value_count > 0;
    if (BIT(type) & HOLDERS) {
        add_holder(setting, type == HOST_SETTING_MAP, out);
        if (!(setting->types & (TEXTS | NUMBERS))) add_range(setting, " entries", out);
        return;
    }
    if (type != HOST_SETTING_STRING || !listed) kit_buf_str(out, words[type]);
    if (BIT(type) & NUMBERS) add_range(setting, "", out);
    if ((BIT(type) & TEXTS) && !(setting->types & NUMBERS) && !listed) add_range(setting, " bytes", out);
    bool last = type == HOST_SETTING_STRING || !(setting->types & BIT(HOST_SETTING_STRING));
    if (!listed || !(BIT(type) & TEXTS) || !last) return;
    if (type == HOST_SETTING_PATH) kit_buf_str(out, ", or ");
    add_values(setting, out);
}

void host_setting_type_text(const host_setting *setting, kit_buf *out) {
    bool first = true;
    for (host_setting_type type = 0; type < HOST_SETTING_TYPES; type++) {
        if (!(setting->types & BIT(type))) continue;
        if (!first) kit_buf_str(out, ", or ");
        add_type(setting, type, out);
        first = false;
    }
}

/* ---- Checking values against a declaration */

static bool among_values(const host_setting *setting, const char *text) {
    for (size_t i = 0; i < setting->value_count; i++) {
        const char *value = setting->values[i];
        size_t length = strlen(value) - ends_in_star(value);
        if (strncmp(text, value, length) == 0 && (ends_in_star(value) || text[length] == '\0')) return true;
    }
    return false;
}

static bool in_range(const host_setting *setting, double number) {
    return (!setting->has_min || number >= setting->min) && (!setting->has_max || number <= setting->max);
}

static bool is_path(const char *text) {
    return text[0] == '/' || text[0] == '~' || (text[0] == '$' && text[1] == '{');
}

/* True if a text or a number conforms to its declaration; lists and maps are checked elsewhere. */
static bool scalar_fits(const host_setting *setting, unsigned types, const cJSON *item) {
    if (cJSON_IsBool(item)) return (types & BIT(HOST_SETTING_BOOLEAN)) != 0;
    if (cJSON_IsNumber(item)) {
        bool whole = item->valuedouble == floor(item->valuedouble) && fabs(item->valuedouble) <= WHOLE_MAX;
        bool allowed = (types & BIT(HOST_SETTING_NUMBER)) || (whole && (types & BIT(HOST_SETTING_INTEGER)));
        return allowed && in_range(setting, item->valuedouble);
    }
    if (!cJSON_IsString(item) || item->valuestring[0] == '\0') return false;
    const char *text = item->valuestring;
    if (among_values(setting, text)) return (types & TEXTS) != 0;
    bool fits = ((types & BIT(HOST_SETTING_PATH)) && is_path(text)) ||
                ((types & BIT(HOST_SETTING_STRING)) && setting->value_count == 0);
    return fits &&
           ((types & NUMBERS) || in_range(setting, (double)strlen(text))); /* a range applies to one type only */
}

bool host_setting_fits(const host_setting *setting, const cJSON *item) {
    return scalar_fits(setting, setting->types, item);
}

static const char *kind_of(const cJSON *item) {
    if (cJSON_IsString(item)) return item->valuestring[0] ? "a string" : "an empty string";
    if (cJSON_IsNumber(item)) return "a number";
    if (cJSON_IsBool(item)) return "true or false";
    if (cJSON_IsNull(item)) return "null";
    return cJSON_IsArray(item) ? "an array" : "an object";
}

static kit_status wrong_value(const host_setting *setting, const cJSON *item, const char *where, kolm_error_t *err) {
    kit_buf want = {0};
    host_setting_type_text(setting, &want);
    bool number = cJSON_IsNumber(item) && (setting->types & NUMBERS);
    bool text = cJSON_IsString(item) && item->valuestring[0] && (setting->types & TEXTS);
    kit_status status = number || text
                            ? kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s: expected %s", where, kit_buf_text(&want))
                            : kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s: expected %s, not %s", where,
                                       kit_buf_text(&want), kind_of(item));
    kit_buf_free(&want);
    return status;
}

/* Formats "WHERE.KEY", with a key from a file escaped and truncated. */
static void place(const char *where, const char *key, char out[WHERE_MAX]) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, key, strnlen(key, 80));
    kit_format(out, WHERE_MAX, "%s.%s", where, kit_buf_text(&shown));
    kit_buf_free(&shown);
}

static kit_status check_object(const host_settings *own, const host_settings *outer, const char *const *overrides,
                               const cJSON *object, const char *where, kolm_error_t *err);

static kit_status check_holder(const host_setting *setting, const host_settings *outer, const cJSON *item,
                               const char *where, kolm_error_t *err) {
    size_t at = 0;
    if (!in_range(setting, (double)cJSON_GetArraySize(item))) return wrong_value(setting, item, where, err);
    for (const cJSON *one = item->child; one; one = one->next, at++) {
        char inner[WHERE_MAX], number[24];
        kit_format(number, sizeof number, "%zu", at);
        place(where, one->string ? one->string : number, inner);
        if (setting->fields.count == 0) {
            const host_setting plain = {.types = setting->items};
            if (!scalar_fits(&plain, setting->items, one)) return wrong_value(&plain, one, inner, err);
            continue;
        }
        if (!cJSON_IsObject(one))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s: expected an object, not %s", inner, kind_of(one));
        KIT_TRY(check_object(&setting->fields, setting->inherits ? outer : NULL, NULL, one, inner, err));
    }
    return KOLM_OK;
}

static kit_status check_value(const host_setting *setting, const host_settings *outer, const cJSON *item,
                              const char *where, kolm_error_t *err) {
    bool list = cJSON_IsArray(item) && (setting->types & BIT(HOST_SETTING_LIST));
    bool map = cJSON_IsObject(item) && (setting->types & BIT(HOST_SETTING_MAP));
    if (list || map) return check_holder(setting, outer, item, where, err);
    if (scalar_fits(setting, setting->types, item)) return KOLM_OK;
    return wrong_value(setting, item, where, err);
}

static kit_status unknown_key(const host_settings *own, const host_settings *outer, const char *const *overrides,
                              const char *key, const char *where, kolm_error_t *err) {
    const char *names[2 * HOST_SETTINGS_MAX + 8];
    size_t count = 0;
    char at[WHERE_MAX];
    for (size_t i = 0; i < own->count; i++)
        names[count++] = own->at[i].key;
    for (size_t i = 0; outer && i < outer->count; i++)
        if (!(outer->at[i].types & BIT(HOST_SETTING_MAP))) names[count++] = outer->at[i].key;
    for (size_t i = 0; overrides && overrides[i] && i < 8; i++)
        names[count++] = overrides[i];
    const char *near = kit_nearest(key, names, count);
    place(where, key, at);
    if (near)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s: there is no such setting; did you mean \"%s\"?", at,
                        near);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s: there is no such setting", at);
}

static bool is_override(const char *const *overrides, const char *key) {
    for (size_t i = 0; overrides && overrides[i]; i++)
        if (strcmp(overrides[i], key) == 0) return true;
    return false;
}

static kit_status check_key(const host_settings *own, const host_settings *outer, const char *const *overrides,
                            const cJSON *item, const char *where, kolm_error_t *err) {
    char at[WHERE_MAX];
    if (strncmp(item->string, "x-", 2) == 0 || is_override(overrides, item->string)) return KOLM_OK;
    const host_setting *setting = host_settings_find(own, item->string);
    if (!setting && outer) {
        setting = host_settings_find(outer, item->string);
        if (setting && (setting->types & BIT(HOST_SETTING_MAP))) setting = NULL;
    }
    if (!setting) return unknown_key(own, outer, overrides, item->string, where, err);
    place(where, item->string, at);
    return check_value(setting, own, item, at, err);
}

static kit_status check_object(const host_settings *own, const host_settings *outer, const char *const *overrides,
                               const cJSON *object, const char *where, kolm_error_t *err) {
    for (const cJSON *item = object->child; item; item = item->next)
        KIT_TRY(check_key(own, outer, overrides, item, where, err));
    for (size_t i = 0; i < own->count; i++)
        if (own->at[i].required && !kit_json_get(object, own->at[i].key))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s: the setting \"%s\" is missing", where,
                            own->at[i].key);
    return KOLM_OK;
}

kit_status host_settings_check_key(const host_settings *settings, const char *const *overrides, const cJSON *item,
                                   const char *where, kolm_error_t *err) {
    return check_key(settings, NULL, overrides, item, where, err);
}

kit_status host_settings_check(const host_settings *settings, const char *const *overrides, const cJSON *section,
                               const char *where, kolm_error_t *err) {
    return check_object(settings, NULL, overrides, section, where, err);
}

/* ---- Reading the declaration */

static bool plain_text(const cJSON *item, size_t most) {
    if (!cJSON_IsString(item)) return false;
    size_t length = strlen(item->valuestring);
    return length >= 1 && length <= most && kit_text_is_plain(item->valuestring, length);
}

/* The keys of one setting, each looked up once: manifests are read at every start. */
enum { KEY, TYPE, SUMMARY, DEFAULT, REQUIRED, VALUES, MIN, MAX, ITEMS, FIELDS, INHERITS, KEYS };
static const char *const key_names[KEYS] = {"key", "type", "summary", "default", "required", "values",
                                            "min", "max",  "items",   "fields",  "inherits"};

static bool key_ok(const cJSON *item) {
    if (!cJSON_IsString(item) || !islower((unsigned char)item->valuestring[0])) return false;
    size_t length = 0;
    for (const char *c = item->valuestring; *c; c++, length++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9') && *c != '_') return false;
    return length <= 64;
}

static unsigned type_of(const cJSON *item) {
    for (host_setting_type type = 0; cJSON_IsString(item) && type < HOST_SETTING_TYPES; type++)
        if (strcmp(item->valuestring, type_names[type]) == 0) return BIT(type);
    return 0;
}

static kit_status read_type(const cJSON *item, host_setting *s, kolm_error_t *err) {
    static const char what[] = "string, path, boolean, integer, number, list or map, or an array of different ones";
    s->types = type_of(item);
    for (const cJSON *one = cJSON_IsArray(item) ? item->child : NULL; one; one = one->next) {
        unsigned type = type_of(one);
        if (!type || (s->types & type)) return expected(err, "type", what);
        s->types |= type;
    }
    return s->types ? KOLM_OK : expected(err, "type", what);
}

static kit_status read_values(const cJSON *item, host_setting *s, kolm_error_t *err) {
    static const char what[] = "an array of 1 to 32 texts, for a string or a path";
    int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 0;
    if (count < 1 || count > VALUES_MAX || !(s->types & TEXTS)) return expected(err, "values", what);
    s->values = calloc((size_t)count, sizeof *s->values);
    if (!s->values) return kit_no_memory(err);
    for (const cJSON *one = item->child; one; one = one->next) {
        if (!plain_text(one, 120)) return expected(err, "values", what);
        s->values[s->value_count++] = one->valuestring;
    }
    return KOLM_OK;
}

static kit_status read_range(const cJSON *const found[KEYS], host_setting *s, kolm_error_t *err) {
    const cJSON *least = found[MIN], *most = found[MAX];
    if ((least && !cJSON_IsNumber(least)) || (most && !cJSON_IsNumber(most)))
        return expected(err, least && !cJSON_IsNumber(least) ? "min" : "max", "a number");
    s->has_min = least != NULL;
    s->has_max = most != NULL;
    if (least) s->min = least->valuedouble;
    if (most) s->max = most->valuedouble;
    if (least && most && s->min > s->max) return expected(err, "max", "a number that is not below \"min\"");
    return KOLM_OK;
}

static kit_status read_flag(const cJSON *const found[KEYS], int key, bool *out, kolm_error_t *err) {
    const cJSON *item = found[key];
    if (!item) return KOLM_OK;
    *out = cJSON_IsTrue(item) != 0;
    return cJSON_IsBool(item) ? KOLM_OK : expected(err, key_names[key], "true or false");
}

static kit_status read_settings(const cJSON *array, bool inner, kit_buf *unread, host_settings *out, kolm_error_t *err);

static kit_status read_holder(const cJSON *const found[KEYS], bool inner, kit_buf *unread, host_setting *s,
                              kolm_error_t *err) {
    const cJSON *items = found[ITEMS], *fields = found[FIELDS];
    s->items = items ? type_of(items) : BIT(HOST_SETTING_STRING);
    if (items && (!(s->types & BIT(HOST_SETTING_LIST)) || !s->items || (s->items & HOLDERS) || fields))
        return expected(err, "items", "the type of a list's items: string, path, boolean, integer or number");
    if (fields && (inner || !(s->types & HOLDERS)))
        return expected(err, "fields", "to be in a list or map of the outer settings");
    if ((s->types & BIT(HOST_SETTING_MAP)) && !fields)
        return expected(err, "fields", "the settings of a map's objects");
    KIT_TRY(read_flag(found, INHERITS, &s->inherits, err));
    if (s->inherits && !fields) return expected(err, "inherits", "to be used with \"fields\"");
    if (!fields) return KOLM_OK;
    kit_status status = read_settings(fields, true, unread, &s->fields, err);
    if (status == KOLM_OK && s->fields.count == 0) return expected(err, "fields", "at least one setting");
    return status == KOLM_E_INVALID_ARGUMENT ? kit_fail_context(err, "\"fields\"") : status;
}

static kit_status read_default(const cJSON *item, host_setting *s, kolm_error_t *err) {
    kit_buf text = {0};
    if (!item) return KOLM_OK;
    if (!scalar_fits(s, s->types, item) && !(cJSON_IsArray(item) && (s->types & BIT(HOST_SETTING_LIST))))
        return expected(err, "default", "a value of the type");
    if (cJSON_IsString(item)) {
        s->default_text = item->valuestring;
        return KOLM_OK;
    }
    if (kit_json_line(item, &text, err) != KOLM_OK) return kit_no_memory(err);
    while (text.length > 0 && text.data[text.length - 1] == '\n')
        text.data[--text.length] = '\0';
    s->default_text = s->default_made = kit_buf_take(&text);
    return s->default_text ? KOLM_OK : kit_no_memory(err);
}

static kit_status unknown(const cJSON *object, const cJSON *item, kit_buf *unread, kolm_error_t *err) {
    char shown[WHERE_MAX];
    if (unread) {
        place(kit_json_get(object, "key")->valuestring, item->string, shown);
        kit_buf_fmt(unread, ", %s", shown);
        return KOLM_OK;
    }
    place("unknown key", item->string, shown);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "%s", shown);
}

static kit_status find_keys(const cJSON *object, kit_buf *unread, const cJSON *found[KEYS], kolm_error_t *err) {
    for (const cJSON *item = object->child; item; item = item->next) {
        int i = 0;
        while (i < KEYS && (key_names[i][0] != item->string[0] || strcmp(key_names[i], item->string) != 0))
            i++;
        if (i < KEYS)
            found[i] = item;
        else if (strncmp(item->string, "x-", 2) != 0)
            KIT_TRY(unknown(object, item, unread, err));
    }
    return KOLM_OK;
}

static kit_status read_one(const cJSON *object, bool inner, kit_buf *unread, host_setting *s, kolm_error_t *err) {
    const cJSON *found[KEYS] = {0};
    KIT_TRY(find_keys(object, unread, found, err));
    KIT_TRY(read_type(found[TYPE], s, err));
    if (!plain_text(found[SUMMARY], 240)) return expected(err, "summary", "a sentence of 1 to 240 bytes");
    s->summary = found[SUMMARY]->valuestring;
    if (found[VALUES]) KIT_TRY(read_values(found[VALUES], s, err));
    KIT_TRY(read_range(found, s, err));
    KIT_TRY(read_flag(found, REQUIRED, &s->required, err));
    KIT_TRY(read_holder(found, inner, unread, s, err));
    return read_default(found[DEFAULT], s, err);
}

static kit_status read_settings(const cJSON *array, bool inner, kit_buf *unread, host_settings *out,
                                kolm_error_t *err) {
    int count = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : -1;
    if (count < 0 || count > HOST_SETTINGS_MAX)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "expected an array of at most %d objects", HOST_SETTINGS_MAX);
    out->at = calloc((size_t)count + 1, sizeof *out->at);
    if (!out->at) return kit_no_memory(err);
    for (const cJSON *one = array->child; one; one = one->next) {
        const cJSON *key = kit_json_get(one, "key");
        if (!cJSON_IsObject(one) || !key_ok(key) || host_settings_find(out, key->valuestring))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "",
                            "entry %zu: expected an object with a \"key\" of its own, [a-z][a-z0-9_]{0,63}",
                            out->count + 1);
        host_setting *setting = &out->at[out->count];
        setting->key = key->valuestring;
        out->count++;
        kit_status status = read_one(one, inner, unread, setting, err);
        if (status == KOLM_E_INVALID_ARGUMENT) return kit_fail_context(err, "\"%s\"", key->valuestring);
        if (status != KOLM_OK) return status;
    }
    return KOLM_OK;
}

kit_status host_settings_read(const cJSON *array, kit_buf *unread, host_settings *out_settings, kolm_error_t *err) {
    *out_settings = (host_settings){0};
    kit_status status = read_settings(array, false, unread, out_settings, err);
    if (status != KOLM_OK) host_settings_free(out_settings);
    return status;
}

void host_settings_free(host_settings *settings) {
    for (size_t i = 0; i < settings->count; i++) {
        host_setting *s = &settings->at[i];
        free(s->values);
        free(s->default_made);
        host_settings_free(&s->fields);
    }
    free(settings->at);
    *settings = (host_settings){0};
}

const host_setting *host_settings_find(const host_settings *settings, const char *key) {
    for (size_t i = 0; i < settings->count; i++)
        if (settings->at[i].key[0] == key[0] && strcmp(settings->at[i].key, key) == 0) return &settings->at[i];
    return NULL;
}
