/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a backend: what its manifest declares, and the check of a section of config.json against it. */
#ifndef KOLM_HOST_SETTINGS_H
#define KOLM_HOST_SETTINGS_H

/*
 * "settings" of a manifest is an array of objects, one for each key that a user may write under backends.NAME of
 * config.json and that the plugin may read with host->setting:
 *
 *   key       [a-z][a-z0-9_]{0,63}, each once; not one of the four fields that config.json may override
 *   type      one of the words below, or an array of different ones if several are allowed
 *               string   a non-empty text
 *               path     a text that begins with /, ~ or ${VARIABLE} and names a file on this machine. The plugin gets
 *               it
 *                        with ~, ~user and variables expanded; what cannot be expanded, and paths inside a list or
 *                        map, are passed unchanged
 *               boolean  true or false
 *               integer  a whole number of at most 2^53 - 1
 *               number   any number
 *               list     an array of `items`, or of objects of `fields`
 *               map      an object whose keys the user chooses (names of machines, say) and whose values are objects
 *                        of `fields`
 *   summary   one sentence, 1..240 bytes
 *   default   optional: the value used if the key is absent, of that type; only shown to the user
 *   required  optional bool: the key must be in each object of a map or list, and in the section if there is one
 *   values    optional array of 1..32 texts: a string must be one of them (a path may be one of them instead of a
 *             path); one that ends in * matches every text with that prefix ("SHA256:*")
 *   min, max  optional: range of an integer or number, bytes of a string or path, entries of a list or map
 *   items     of a list: the type of its items, default string; not list or map
 *   fields    of a list or map: settings in this same format, which may be lists but have no further fields
 *   inherits  optional bool, of a list or map with fields: an object may also contain every other setting of the outer
 *             list that is not a map, and overrides it there
 *
 * At most 64 settings. Without "settings" in the manifest, any key and value is allowed in the section; with an empty
 * array, none. In a section, keys that begin with x- are always allowed and ignored.
 */

#include "kolm/kit/json.h"
#include <stdbool.h>

#define HOST_SETTINGS_MAX 64

typedef enum host_setting_type {
    HOST_SETTING_STRING,
    HOST_SETTING_PATH,
    HOST_SETTING_BOOLEAN,
    HOST_SETTING_INTEGER,
    HOST_SETTING_NUMBER,
    HOST_SETTING_LIST,
    HOST_SETTING_MAP,
    HOST_SETTING_TYPES
} host_setting_type;

struct host_setting;
typedef struct host_settings {
    struct host_setting *at;
    size_t count;
} host_settings;

/* Texts are those of the array that was read. */
typedef struct host_setting {
    const char *key;
    unsigned types; /* 1u << host_setting_type, at least one */
    const char *summary;
    const char *default_text; /* the default as text; NULL: none */
    char *default_made;       /* owns that text if it is not in the array */
    bool required;
    const char **values; /* NULL: any */
    size_t value_count;
    bool has_min, has_max;
    double min, max;
    unsigned items; /* one type, for HOST_SETTING_LIST without fields */
    bool inherits;
    host_settings fields; /* count 0: none */
} host_setting;

/* Appends the type as text: "integer from 0 to 3600", "\"accept-new\" or \"SHA256:...\"", "map of {host, ...}". */
void host_setting_type_text(const host_setting *setting, kit_buf *out);

/* Reads the array of a manifest, whose texts must outlive the settings. INVALID_ARGUMENT says which entry and what was
 * expected; out is then empty. unread: receives unknown keys, ", KEY.colour"; NULL: an unknown key is an error. */
kit_status host_settings_read(const cJSON *array, kit_buf *unread, host_settings *out_settings,
                              kolm_error_t *err) KIT_MUST_USE;
void host_settings_free(host_settings *settings);
const host_setting *host_settings_find(const host_settings *settings, const char *key);
/* True if item, a text, number or bool, is a valid value of the setting. */
bool host_setting_fits(const host_setting *setting, const cJSON *item);

/* Checks that a section (an object) holds what is declared and nothing else; where: its name in messages, "config.json:
 * backends.NAME". overrides: further allowed keys (NULL-terminated), whose values are not checked. INVALID_ARGUMENT
 * names the key, what was expected or the nearest key, and never a value. */
kit_status host_settings_check_key(const host_settings *settings, const char *const *overrides, const cJSON *item,
                                   const char *where, kolm_error_t *err) KIT_MUST_USE; /* of one key of it */
kit_status host_settings_check(const host_settings *settings, const char *const *overrides, const cJSON *section,
                               const char *where, kolm_error_t *err) KIT_MUST_USE;

#endif
