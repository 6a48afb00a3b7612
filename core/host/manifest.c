/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a manifest field by field from one table, so that no field is missed and no unknown one is accepted. */
#include "host/internal.h"

#include "kolm/kit/text.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 16
#define REQUIRES_MAX 32
#define FORMATS_MAX 16
#define PRICE_MAX_USD 100000.0

static const char *const kinds[] = {"local", "cloud-serverless", "cloud-marketplace", "cloud-managed", "self-hosted"};
static const char *const billings[] = {"free", "per-hour", "per-token", "per-call"}; /* by KOLM_BILLING_* */
#define COUNT(array) (sizeof(array) / sizeof *(array))

bool host_name_ok(const char *name) {
    if (!islower((unsigned char)*name)) return false;
    size_t n = 1;
    for (; name[n]; n++) {
        if (n > 31 || !(islower((unsigned char)name[n]) || isdigit((unsigned char)name[n]) || name[n] == '-'))
            return false;
    }
    return n <= 32;
}

const char *host_billing_name(uint32_t billing) {
    return billing < COUNT(billings) ? billings[billing] : "unknown";
}

bool host_manifest_may_read(const host_manifest *manifest, const char *secret) {
    for (size_t i = 0; i < manifest->auth_count; i++)
        if (strcmp(manifest->auth[i], secret) == 0) return true;
    for (size_t i = 0; i < manifest->secret_count; i++)
        if (strcmp(manifest->secrets[i], secret) == 0) return true;
    return false;
}

/* ---- Readers: each gets the item (never NULL), and reports what was expected if it is something else. */

static kit_status expected(kolm_error_t *err, const char *what) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "expected %s", what);
}

static bool plain_text(const cJSON *item, size_t most) {
    if (!cJSON_IsString(item)) return false;
    size_t length = strlen(item->valuestring);
    return length >= 1 && length <= most && kit_text_is_plain(item->valuestring, length);
}

static bool integer(const cJSON *item, double least, double most, uint32_t *out) {
    if (!cJSON_IsNumber(item) || item->valuedouble < least || item->valuedouble > most) return false;
    if (item->valuedouble != floor(item->valuedouble)) return false;
    *out = (uint32_t)item->valuedouble;
    return true;
}

/* Reads a decimal in units of 1/units; false if it has more digits. Below 10^11 units a double is within 10^-5 units of
 * the decimal it was parsed from, so that a further non-zero digit is detected. */
static bool decimal(const cJSON *item, double most, double units, uint64_t *out) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0) || item->valuedouble > most) return false;
    double scaled = item->valuedouble * units;
    double whole = floor(scaled + 0.5);
    if (fabs(scaled - whole) > 1e-3) return false;
    *out = (uint64_t)whole;
    return true;
}

static bool word(const cJSON *item, const char *const *words, size_t count, size_t *out) {
    for (size_t i = 0; cJSON_IsString(item) && i < count; i++) {
        if (strcmp(item->valuestring, words[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static kit_status read_name(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    if (!cJSON_IsString(item) || strcmp(item->valuestring, m->name) != 0) {
        char want[80];
        kit_format(want, sizeof want, "\"%s\", the name of the file", m->name);
        return expected(err, want);
    }
    return KOLM_OK;
}

static kit_status read_kind(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    size_t i;
    if (!word(item, kinds, COUNT(kinds), &i))
        return expected(err, "local, cloud-serverless, cloud-marketplace, cloud-managed or self-hosted");
    m->offer.kind = kinds[i];
    return KOLM_OK;
}

static kit_status read_tier(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return integer(item, 1, 9, &m->offer.tier) ? KOLM_OK : expected(err, "an integer from 1 to 9");
}

static kit_status read_bool(const cJSON *item, bool *out, kolm_error_t *err) {
    if (!cJSON_IsBool(item)) return expected(err, "true or false");
    *out = cJSON_IsTrue(item) != 0;
    return KOLM_OK;
}

static kit_status read_train(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_bool(item, &m->offer.train, err);
}

static kit_status read_infer(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_bool(item, &m->offer.infer, err);
}

static kit_status read_airgap(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    size_t i;
    if (!word(item, pick_airgap_names, COUNT(pick_airgap_names), &i))
        return expected(err, "\"yes\", \"no\" or \"depends\"");
    m->offer.airgap = (pick_airgap)i;
    return KOLM_OK;
}

static kit_status read_billing(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    size_t i;
    if (!word(item, billings, COUNT(billings), &i)) return expected(err, "free, per-hour, per-token or per-call");
    m->billing = (uint32_t)i;
    m->offer.billing = i == KOLM_BILLING_FREE ? billings[KOLM_BILLING_PER_HOUR] : billings[i];
    return KOLM_OK;
}

/* Read after billing, which decides what is valid. */
static kit_status read_cost(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    bool hourly = m->billing == KOLM_BILLING_FREE || m->billing == KOLM_BILLING_PER_HOUR;
    if (!hourly) {
        if (!cJSON_IsNull(item)) return expected(err, "null, because billing is not per-hour");
        m->offer.price_micro_usd_per_hour = PICK_UNPRICED;
        return KOLM_OK;
    }
    uint64_t micro;
    if (!decimal(item, PRICE_MAX_USD, 1e6, &micro))
        return expected(err, "dollars per hour: a number from 0 to 100000 with at most 6 decimals");
    if (m->billing == KOLM_BILLING_FREE && micro != 0) return expected(err, "0, because billing is free");
    m->offer.price_micro_usd_per_hour = micro;
    return KOLM_OK;
}

static kit_status read_cold_start(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return integer(item, 0, 86400, &m->offer.cold_start_seconds) ? KOLM_OK
                                                                 : expected(err, "whole seconds from 0 to 86400");
}

static kit_status read_vram(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    uint32_t gigabytes = 0;
    if (cJSON_IsNull(item))
        m->offer.vram = PICK_VRAM_NONE;
    else if (cJSON_IsString(item) && strcmp(item->valuestring, "own") == 0)
        m->offer.vram = PICK_VRAM_OWN;
    else if (cJSON_IsString(item) && strcmp(item->valuestring, "shared") == 0)
        m->offer.vram = PICK_VRAM_SHARED;
    else if (integer(item, 1, 1000000, &gigabytes))
        m->offer.vram = PICK_VRAM_CAP;
    else
        return expected(err, "gigabytes (an integer from 1), \"own\", \"shared\" or null");
    m->offer.vram_cap_bytes = (uint64_t)gigabytes * 1000000000u;
    return KOLM_OK;
}

static kit_status read_perf(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    uint64_t hundredths;
    if (!decimal(item, 1, 100, &hundredths)) return expected(err, "a number from 0 to 1 with at most 2 decimals");
    m->offer.perf_units = (uint32_t)hundredths * (PICK_UNIT / 100);
    return KOLM_OK;
}

/* Lower case is allowed, too: some programs read only http_proxy. */
static bool environment_name(const cJSON *item) {
    if (!cJSON_IsString(item) || isdigit((unsigned char)item->valuestring[0])) return false;
    const char *s = item->valuestring;
    size_t n = 0;
    for (; s[n]; n++) {
        if (n >= 64 || !(isalnum((unsigned char)s[n]) || s[n] == '_')) return false;
    }
    return n > 0;
}

static kit_status read_names(const cJSON *item, char ***out, size_t *out_count, kolm_error_t *err) {
    static const char what[] = "an array of at most 16 different environment names such as \"ACME_TOKEN\"";
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) > NAMES_MAX) return expected(err, what);
    if (cJSON_GetArraySize(item) == 0) return KOLM_OK;
    *out = calloc(NAMES_MAX, sizeof **out);
    if (!*out) return kit_no_memory(err);
    const cJSON *one;
    cJSON_ArrayForEach(one, item) {
        if (!environment_name(one)) return expected(err, what);
        for (size_t i = 0; i < *out_count; i++)
            if (strcmp((*out)[i], one->valuestring) == 0) return expected(err, what);
        KIT_TRY(kit_strdup(one->valuestring, &(*out)[*out_count], err));
        ++*out_count;
    }
    return KOLM_OK;
}

/* Appends to "A, B", the form that is compared and shown. */
static kit_status add_word(kit_buf *text, const char *word, char **out, bool last, kolm_error_t *err) {
    kit_buf_fmt(text, "%s%s", text->length > 0 ? ", " : "", word);
    if (!last) return KOLM_OK;
    KIT_TRY(kit_buf_ok(text, err));
    *out = kit_buf_take(text);
    return KOLM_OK;
}

static kit_status read_recipes(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    kit_buf text = {0};
    KIT_TRY(host_recipes_read(item, m->newer ? &m->unread : NULL, &m->makes, err));
    kit_status status = KOLM_OK;
    for (size_t i = 0; status == KOLM_OK && i < m->makes.count; i++)
        status = add_word(&text, m->makes.at[i].name, &m->recipes, i + 1 == m->makes.count, err);
    kit_buf_free(&text);
    m->offer.recipes = m->recipes;
    return status;
}

bool host_format_ok(const char *word) {
    size_t length = strlen(word);
    return isalnum((unsigned char)*word) && length <= 64 &&
           strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-") == length;
}

static kit_status read_formats(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    static const char what[] = "an array of 1 to 16 formats of models such as \"kolm-linear\"";
    int count = cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 0;
    kit_buf text = {0};
    if (count < 1 || count > FORMATS_MAX) return expected(err, what);
    kit_status status = KOLM_OK;
    const cJSON *one;
    cJSON_ArrayForEach(one, item) {
        if (status != KOLM_OK) break;
        status = cJSON_IsString(one) && host_format_ok(one->valuestring)
                     ? add_word(&text, one->valuestring, &m->formats, one->next == NULL, err)
                     : expected(err, what);
    }
    kit_buf_free(&text);
    return status;
}

static kit_status read_auth(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_names(item, &m->auth, &m->auth_count, err);
}

static kit_status read_secrets(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_names(item, &m->secrets, &m->secret_count, err);
}

static kit_status read_requires(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    static const char what[] = "an array of at most 32 objects {\"env\":NAME}, {\"path\":ABSOLUTE} or {\"config\":KEY}";
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) > REQUIRES_MAX) return expected(err, what);
    if (cJSON_GetArraySize(item) == 0) return KOLM_OK;
    m->requires = calloc(REQUIRES_MAX, sizeof *m->requires);
    if (!m->requires) return kit_no_memory(err);
    const cJSON *one;
    cJSON_ArrayForEach(one, item) {
        if (!cJSON_IsObject(one) || cJSON_GetArraySize(one) != 1) return expected(err, what);
        host_require *require = &m->requires[m->require_count];
        const cJSON *value = one->child;
        if (strcmp(value->string, "env") == 0 && environment_name(value))
            require->kind = HOST_REQUIRE_ENV;
        else if (strcmp(value->string, "path") == 0 && plain_text(value, 1024) && value->valuestring[0] == '/')
            require->kind = HOST_REQUIRE_PATH;
        else if (strcmp(value->string, "config") == 0 && plain_text(value, 64))
            require->kind = HOST_REQUIRE_CONFIG;
        else
            return expected(err, what);
        KIT_TRY(kit_strdup(value->valuestring, &require->value, err));
        m->require_count++;
    }
    return KOLM_OK;
}

static kit_status read_text(const cJSON *item, size_t most, char **out, kolm_error_t *err) {
    if (!plain_text(item, most)) {
        char what[80];
        kit_format(what, sizeof what, "a text of 1 to %zu bytes without control characters", most);
        return expected(err, what);
    }
    return kit_strdup(item->valuestring, out, err);
}

static kit_status read_runtime(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_text(item, 120, &m->runtime, err);
}

static kit_status read_summary(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_text(item, 240, &m->summary, err);
}

static kit_status read_hint(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return read_text(item, 40, &m->hint, err);
}

static kit_status read_settings(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    m->declares_settings = true;
    return host_settings_read(item, m->newer ? &m->unread : NULL, &m->settings, err);
}

static kit_status read_version(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    static const char what[] = "a version such as \"1.1\"";
    char major[8];
    uint64_t numbers[2];
    const char *dot = cJSON_IsString(item) ? strchr(item->valuestring, '.') : NULL;
    if (!dot || !kit_format(major, sizeof major, "%.*s", (int)(dot - item->valuestring), item->valuestring) ||
        !kit_parse_u64(major, &numbers[0]) || !kit_parse_u64(dot + 1, &numbers[1]) || numbers[1] > 9999)
        return expected(err, what);
    if (numbers[0] != KOLM_ABI_MAJOR)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "",
                        "it is written for manifests of version %s, and this kolm reads %d.x", major, KOLM_ABI_MAJOR);
    m->newer = numbers[1] > KOLM_ABI_MINOR;
    return KOLM_OK;
}

static kit_status read_files(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    return host_files_read(item, m->newer ? &m->unread : NULL, &m->files, err);
}

const host_field host_fields[HOST_FIELDS] = {
    {"manifest_version", true, 0, read_version}, /* first: it decides how strictly the others are read */
    {"name", false, 0, read_name},
    {"kind", false, 0, read_kind},
    {"tier", false, HOST_OVERRIDE_TIER, read_tier},
    {"train", false, 0, read_train},
    {"infer", false, 0, read_infer},
    {"recipes", true, 0, read_recipes},
    {"formats", true, 0, read_formats},
    {"airgap", false, 0, read_airgap},
    {"billing", false, 0, read_billing},
    {"cost_per_hour_usd", false, HOST_OVERRIDE_COST, read_cost},
    {"cold_start_seconds", false, HOST_OVERRIDE_COLD_START, read_cold_start},
    {"vram_cap_gb", false, 0, read_vram},
    {"perf", true, HOST_OVERRIDE_PERF, read_perf},
    {"auth", false, 0, read_auth},
    {"secrets", true, 0, read_secrets},
    {"requires", false, 0, read_requires},
    {"runtime", false, 0, read_runtime},
    {"summary", false, 0, read_summary},
    {"settings", true, 0, read_settings},
    {"files", true, 0, read_files},
    {"hint", true, 0, read_hint},
};

/* An unknown key of a later version is optional; of the current version it is a typo. */
static kit_status unknown_field(const cJSON *item, host_manifest *m, kolm_error_t *err) {
    char key[64];
    kit_buf shown = {0};
    kit_buf_escaped(&shown, item->string, strlen(item->string));
    kit_copy(key, sizeof key, kit_buf_text(&shown));
    kit_buf_free(&shown);
    if (!m->newer)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "remove it, begin it with x-, or use a kolm that knows it (\"manifest_version\" says which)",
                        "unknown field \"%s\"", key);
    kit_buf_fmt(&m->unread, ", %s", key);
    return KOLM_OK;
}

/* Returns the index of the field; HOST_FIELDS: none. */
static size_t field_of(const char *key) {
    size_t i = 0;
    while (i < HOST_FIELDS && (host_fields[i].key[0] != key[0] || strcmp(host_fields[i].key, key) != 0))
        i++;
    return i;
}

/* The default for the second column of `list`. */
static kit_status default_hint(host_manifest *m, kolm_error_t *err) {
    kit_buf text = {0};
    for (size_t i = 0; i < m->auth_count; i++) {
        if (i > 0) kit_buf_str(&text, ", ");
        kit_buf_str(&text, m->auth[i]);
    }
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_strdup(kit_buf_text(&text), &m->hint, err);
    kit_buf_free(&text);
    return status;
}

/* Detection can depend only on declared keys; fields that config.json overrides are not settings. */
static kit_status check_settings(const host_manifest *m, kolm_error_t *err) {
    for (size_t i = 0; m->declares_settings && i < m->require_count; i++) {
        const host_require *require = &m->requires[i];
        if (require->kind == HOST_REQUIRE_CONFIG && !host_settings_find(&m->settings, require->value))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "declare it under \"settings\"",
                            "the field \"requires\" names the setting \"%s\", which \"settings\" does not declare",
                            require->value);
    }
    if (host_settings_find(&m->settings, HOST_FENCE_KEY))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give it another key",
                        "the field \"settings\" declares \"" HOST_FENCE_KEY
                        "\", which is the user's word on the fence");
    for (size_t i = 0; i < HOST_FIELDS; i++)
        if (host_fields[i].override && host_settings_find(&m->settings, host_fields[i].key))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give it another key",
                            "the field \"settings\" declares \"%s\", which is a field of the manifest",
                            host_fields[i].key);
    return KOLM_OK;
}

/* Each "@KEY" must name a declared setting. */
static kit_status check_places(const host_manifest *m, char *const *places, size_t count, kolm_error_t *err) {
    for (size_t i = 0; i < count; i++) {
        char key[80];
        if (places[i][0] != '@') continue;
        kit_format(key, sizeof key, "%.*s", (int)strcspn(places[i] + 1, "/"), places[i] + 1);
        const host_setting *setting = host_settings_find(&m->settings, key);
        if (!setting || !(setting->types & (1u << HOST_SETTING_PATH)))
            return kit_fail(
                err, KOLM_E_INVALID_ARGUMENT, "declare it under \"settings\" with the type path",
                "the field \"files\" names the setting \"%s\", which \"settings\" does not declare as a path", key);
    }
    return KOLM_OK;
}

/* item NULL: the manifest has none. */
static kit_status read_field(const cJSON *item, const host_field *field, host_manifest *m, kolm_error_t *err) {
    static const char remedy[] = "correct the manifest; the backend author guide lists every field";
    if (!item && field->optional) return KOLM_OK;
    if (!item) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "the field \"%s\" is missing", field->key);
    kit_status status = field->read(item, m, err);
    if (status != KOLM_E_INVALID_ARGUMENT) return status;
    kit_copy(err->remedy, sizeof err->remedy, m->newer ? "use a kolm that reads manifests of its version" : remedy);
    return kit_fail_context(err, "the field \"%s\"", field->key);
}

static kit_status read_fields(const cJSON *object, host_manifest *m, kolm_error_t *err) {
    const cJSON *found[HOST_FIELDS] = {0};
    const cJSON *unknown = NULL; /* the first of them */
    for (const cJSON *item = object->child; item; item = item->next) {
        size_t i = field_of(item->string);
        if (i < HOST_FIELDS)
            found[i] = item;
        else if (!unknown)
            unknown = item;
    }
    KIT_TRY(read_field(found[0], &host_fields[0], m, err)); /* the version decides how strictly the others are read */
    for (const cJSON *item = unknown; item; item = item->next)
        if (field_of(item->string) == HOST_FIELDS && strncmp(item->string, "x-", 2) != 0)
            KIT_TRY(unknown_field(item, m, err));
    for (size_t i = 1; i < HOST_FIELDS; i++)
        KIT_TRY(read_field(found[i], &host_fields[i], m, err));
    KIT_TRY(check_settings(m, err));
    KIT_TRY(kit_buf_ok(&m->unread, err));
    KIT_TRY(check_places(m, m->files.read, m->files.read_count, err));
    KIT_TRY(check_places(m, m->files.write, m->files.write_count, err));
    return m->hint ? KOLM_OK : default_hint(m, err);
}

static kit_status read_text_of(const char *text, size_t length, host_manifest *m, kolm_error_t *err) {
    kit_json_tree tree;
    KIT_TRY(kit_json_tree_read(text, length, &tree, err));
    kit_status status = cJSON_IsObject(tree.root) ? read_fields(tree.root, m, err) : expected(err, "one JSON object");
    m->texts = tree.text; /* settings and recipes point into them */
    tree.text = NULL;
    kit_json_tree_free(&tree);
    return status;
}

const char *host_manifest_unread(const host_manifest *manifest) {
    return manifest->unread.length > 2 ? manifest->unread.data + 2 : NULL;
}

kit_status host_manifest_parse(const char *name, const char *text, size_t length, host_manifest **out_manifest,
                               kolm_error_t *err) {
    kolm_error_t local = KIT_ERROR_INIT;
    if (!err) err = &local; /* the context of an error is built on its text */
    host_manifest *m = calloc(1, sizeof *m);
    kit_status status = m ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = kit_strdup(name, &m->name, err);
    if (status == KOLM_OK && length > HOST_MANIFEST_MAX_BYTES)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "it is larger than %u bytes", HOST_MANIFEST_MAX_BYTES);
    if (status == KOLM_OK) {
        m->offer.perf_units = PICK_UNIT / 2;
        status = read_text_of(text, length, m, err);
    }
    if (status == KOLM_OK)
        *out_manifest = m;
    else
        host_manifest_free(m);
    return status;
}

void host_manifest_free(host_manifest *manifest) {
    if (!manifest) return;
    for (size_t i = 0; i < manifest->auth_count; i++)
        free(manifest->auth[i]);
    for (size_t i = 0; i < manifest->secret_count; i++)
        free(manifest->secrets[i]);
    for (size_t i = 0; i < manifest->require_count; i++)
        free(manifest->requires[i].value);
    free(manifest->auth);
    free(manifest->secrets);
    free(manifest->requires);
    host_settings_free(&manifest->settings);
    host_recipes_free(&manifest->makes);
    kit_buf_free(&manifest->unread);
    host_files_free(&manifest->files);
    host_files_free(&manifest->more_files);
    free(manifest->recipes);
    free(manifest->formats);
    free(manifest->name);
    free(manifest->runtime);
    free(manifest->summary);
    free(manifest->hint);
    free(manifest->texts);
    free(manifest);
}
