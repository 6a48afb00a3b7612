/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests, taken apart field by field, and the scan: order, shadows, and every way in which a path is not trusted. */
#include "../suite.h"
#include "host/host.h"

#include "kolm/kit/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Manifests */
static const struct field {
    const char *key, *good;
} good_fields[] = {
    {"name", "\"acme\""},
    {"kind", "\"cloud-serverless\""},
    {"tier", "2"},
    {"train", "true"},
    {"infer", "false"},
    {"airgap", "\"no\""},
    {"billing", "\"per-hour\""},
    {"cost_per_hour_usd", "1.25"},
    {"cold_start_seconds", "30"},
    {"vram_cap_gb", "80"},
    {"perf", "0.95"},
    {"auth", "[\"ACME_TOKEN\"]"},
    {"requires", "[{\"env\":\"ACME_REGION\"},{\"path\":\"/dev/acme\"},{\"config\":\"region\"}]"},
    {"runtime", "\"serverless GPU\""},
    {"summary", "\"GPUs of ACME by the second.\""},
};
#define FIELDS (sizeof good_fields / sizeof *good_fields)

/* The good manifest with one field replaced ("" leaves it out) or added. */
static void build(kit_buf *out, const char *key, const char *value) {
    bool replaced = false, first = true;
    kit_buf_clear(out);
    kit_buf_char(out, '{');
    for (size_t i = 0; i < FIELDS; i++) {
        const char *text = good_fields[i].good;
        if (key && strcmp(key, good_fields[i].key) == 0) {
            text = value;
            replaced = true;
        }
        if (*text == '\0') continue;
        kit_buf_fmt(out, "%s\"%s\":%s", first ? "" : ",", good_fields[i].key, text);
        first = false;
    }
    if (key && !replaced) kit_buf_fmt(out, ",\"%s\":%s", key, value);
    kit_buf_char(out, '}');
}

static kit_status parse_with(const char *key, const char *value, host_manifest **out, kolm_error_t *err) {
    kit_buf text = {0};
    build(&text, key, value);
    kit_status status = host_manifest_parse("acme", kit_buf_text(&text), text.length, out, err);
    kit_buf_free(&text);
    return status;
}

START_TEST(test_manifest_good) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_manifest *m = NULL;
    ck_assert_msg(parse_with(NULL, NULL, &m, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(m->name, "acme");
    ck_assert_str_eq(m->offer.kind, "cloud-serverless");
    ck_assert(m->offer.train && !m->offer.infer);
    ck_assert_int_eq(m->offer.airgap, PICK_AIRGAP_NO);
    ck_assert_uint_eq(m->billing, KOLM_BILLING_PER_HOUR);
    ck_assert_uint_eq(m->offer.price_micro_usd_per_hour, 1250000);
    ck_assert_uint_eq(m->offer.cold_start_seconds, 30);
    ck_assert_uint_eq(m->offer.tier, 2);
    ck_assert_int_eq(m->offer.vram, PICK_VRAM_CAP);
    ck_assert_uint_eq(m->offer.vram_cap_bytes, 80000000000ull);
    ck_assert_uint_eq(m->offer.perf_units, 95000);
    ck_assert_uint_eq(m->auth_count, 1);
    ck_assert_str_eq(m->auth[0], "ACME_TOKEN");
    ck_assert_uint_eq(m->require_count, 3);
    ck_assert_int_eq(m->requires[1].kind, HOST_REQUIRE_PATH);
    ck_assert_str_eq(m->requires[1].value, "/dev/acme");
    ck_assert_str_eq(m->hint, "ACME_TOKEN"); /* made of auth, as none was given */
    ck_assert_uint_eq(m->overridden, 0);
    ck_assert(host_manifest_may_read(m, "ACME_TOKEN"));
    ck_assert(!host_manifest_may_read(m, "ACME_REGION"));
    host_manifest_free(m);
    host_manifest_free(NULL);
}
END_TEST

START_TEST(test_manifest_every_field_is_needed) {
    for (size_t i = 0; i < FIELDS; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        host_manifest *m = NULL;
        char want[80];
        kit_format(want, sizeof want, "the field \"%s\" is missing", good_fields[i].key);
        kit_status status = parse_with(good_fields[i].key, "", &m, &err);
        if (strcmp(good_fields[i].key, "perf") == 0) {
            ck_assert_int_eq(status, KOLM_OK);
            ck_assert_uint_eq(m->offer.perf_units, 50000);
            host_manifest_free(m);
            continue;
        }
        ck_assert_int_eq(status, KOLM_E_INVALID_ARGUMENT);
        ck_assert_str_eq(err.text, want);
        ck_assert_str_ne(err.remedy, "");
    }
}
END_TEST

static const struct field bad_fields[] = {
    {"name", "\"other\""},
    {"name", "7"},
    {"kind", "\"cloud\""},
    {"kind", "\"Local\""},
    {"kind", "null"},
    {"tier", "0"},
    {"tier", "10"},
    {"tier", "1.5"},
    {"tier", "\"1\""},
    {"train", "1"},
    {"train", "\"yes\""},
    {"infer", "null"},
    {"airgap", "true"},
    {"airgap", "\"maybe\""},
    {"billing", "\"monthly\""},
    {"billing", "\"free\""},
    {"billing", "\"per-token\""},
    {"cost_per_hour_usd", "null"},
    {"cost_per_hour_usd", "-0.5"},
    {"cost_per_hour_usd", "100001"},
    {"cost_per_hour_usd", "1.2345678"},
    {"cost_per_hour_usd", "0.0000005"},
    {"cost_per_hour_usd", "\"2.50\""},
    {"cold_start_seconds", "-1"},
    {"cold_start_seconds", "86401"},
    {"cold_start_seconds", "0.5"},
    {"cold_start_seconds", "null"},
    {"vram_cap_gb", "0"},
    {"vram_cap_gb", "1000001"},
    {"vram_cap_gb", "\"mine\""},
    {"vram_cap_gb", "80.5"},
    {"vram_cap_gb", "true"},
    {"perf", "1.01"},
    {"perf", "-0.1"},
    {"perf", "0.955"},
    {"perf", "null"},
    {"auth", "null"},
    {"auth", "\"ACME_TOKEN\""},
    {"auth", "[\"A\",\"A\"]"},
    {"auth", "[1]"},
    {"auth", "[\"A=B\"]"},
    {"auth", "[\"\"]"},
    {"auth", "[\"1A\"]"},
    {"auth", "[\"A1\",\"A2\",\"A3\",\"A4\",\"A5\",\"A6\",\"A7\",\"A8\",\"A9\",\"B1\",\"B2\",\"B3\",\"B4\",\"B5\","
             "\"B6\",\"B7\",\"B8\"]"},
    {"auth", "[\"acme token\"]"},
    {"secrets", "[\"l\u00f6w\"]"},
    {"requires", "{}"},
    {"requires", "[\"ACME\"]"},
    {"requires", "[{}]"},
    {"requires", "[{\"env\":\"A\",\"path\":\"/b\"}]"},
    {"requires", "[{\"path\":\"relative\"}]"},
    {"requires", "[{\"env\":\"low-er\"}]"},
    {"requires", "[{\"program\":\"A\"}]"},
    {"requires", "[{\"config\":\"\"}]"},
    {"requires", "[{\"config\":3}]"},
    {"runtime", "\"\""},
    {"runtime", "\"a\\nb\""},
    {"runtime", "\"a\\u009bb\""},
    {"runtime", "\"a\\u007fb\""},
    {"runtime", "5"},
    {"summary", "null"},
    {"hint", "\"\""},
    {"recipes", "[]"},
    {"recipes", "\"lora\""},
    {"recipes", "[\"lora\",\"lora\"]"},
    {"recipes", "[\"Lora\"]"},
    {"recipes", "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]"},
    {"recipes", "[3]"},
    {"recipes", "[\"a, b\"]"},
    {"recipes", "[\"auto\"]"},
    {"recipes", "[{\"summary\":\"No name.\"}]"},
    {"recipes", "[{\"name\":\"nb\",\"base\":true}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_files\":[]}]"},
    {"recipes", "[{\"name\":\"nb\",\"embeds_base\":1}]"},
    {"recipes", "[{\"name\":\"nb\",\"runtime\":\"python\"}]"},
    {"recipes", "[{\"name\":\"nb\",\"base\":\"none\",\"embeds_base\":true}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_files\":\"modules.json\"}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_files\":[\"modules.json\"],\"base_hints\":[\"../x\"]}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_hints\":[\"modules.json\"]}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_files\":[\"../modules.json\"]}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_files\":[\"/modules.json\"]}]"},
    {"recipes", "[{\"name\":\"nb\",\"base\":\"none\",\"base_files\":[\"modules.json\"]}]"},
    {"recipes", "[{\"name\":\"nb\",\"base_files\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\"]}]"},
    {"recipes", "[{\"name\":\"nb\",\"outputs\":\"numbers\"}]"},
    {"recipes", "[{\"name\":\"nb\",\"shade\":1}]"},
    {"recipes", "[{\"name\":\"nb\",\"summary\":\"a\\nb\"}]"},
    {"recipes", "[{\"name\":\"nb\",\"options\":[{\"key\":\"x\",\"type\":\"list\",\"summary\":\"X.\"}]}]"},
    {"recipes", "[{\"name\":\"nb\",\"options\":[{\"key\":\"x\",\"type\":\"integer\"}]}]"},
    {"recipes", "[\"nb\",{\"name\":\"nb\"}]"},
    {"formats", "[]"},
    {"formats", "[\"a b\"]"},
    {"formats", "[\"\"]"},
    {"formats", "\"kolm-linear\""},
    {"manifest_version", "1"},
    {"manifest_version", "\"1\""},
    {"manifest_version", "\"1.\""},
    {"manifest_version", "\"1.1.1\""},
    {"manifest_version", "\".1\""},
    {"manifest_version", "\"2.0\""},
    {"hint", "\"this hint is longer than the second column of list can be\""},
    {"colour", "\"red\""},
    {"Name", "\"acme\""},
};

START_TEST(test_manifest_bad_fields) {
    for (size_t i = 0; i < sizeof bad_fields / sizeof *bad_fields; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        host_manifest *m = NULL;
        char key[80];
        kit_status status = parse_with(bad_fields[i].key, bad_fields[i].good, &m, &err);
        ck_assert_msg(status == KOLM_E_INVALID_ARGUMENT, "%s: %s was taken", bad_fields[i].key, bad_fields[i].good);
        /* A billing that does not fit its price is said of the price. */
        kit_format(key, sizeof key, "\"%s\"",
                   strcmp(bad_fields[i].key, "billing") == 0 && i > 14 ? "cost_per_hour_usd" : bad_fields[i].key);
        ck_assert_msg(strstr(err.text, key) != NULL, "%s is not named in '%s'", key, err.text);
    }
}
END_TEST

static const struct field other_good_fields[] = {
    {"kind", "\"self-hosted\""},
    {"airgap", "\"depends\""},
    {"vram_cap_gb", "\"own\""},
    {"vram_cap_gb", "\"shared\""},
    {"vram_cap_gb", "null"},
    {"cost_per_hour_usd", "0"},
    {"cost_per_hour_usd", "0.000001"},
    {"cost_per_hour_usd", "99999.999999"},
    {"cost_per_hour_usd", "5e-1"},
    {"perf", "0"},
    {"perf", "1"},
    {"perf", "0.07"},
    {"auth", "[]"},
    {"requires", "[]"},
    {"hint", "\"\xc3\xa9\""},
    {"secrets", "[\"ACME_MORE\"]"},
    {"secrets", "[\"acme_token\",\"_A\"]"},
    {"requires", "[{\"env\":\"http_proxy\"}]"},
    {"formats", "[\"kolm-linear\",\"PEFT_2.0\"]"},
    {"recipes", "[\"lora\",{\"name\":\"nb\",\"x-shade\":1,\"options\":[]}]"},
    {"manifest_version", "\"1.0\""},
    {"manifest_version", "\"1.1\""},
    {"manifest_version", "\"1.99\""},
    {"x-packager", "{\"built\":\"today\"}"},
    {"cold_start_seconds", "86400"},
};

START_TEST(test_manifest_good_fields) {
    for (size_t i = 0; i < sizeof other_good_fields / sizeof *other_good_fields; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        host_manifest *m = NULL;
        ck_assert_msg(parse_with(other_good_fields[i].key, other_good_fields[i].good, &m, &err) == KOLM_OK, "%s",
                      err.text);
        host_manifest_free(m);
    }
}
END_TEST

/* What a later minor brought is left out and told; what is mistyped in one of today's is an error. */
START_TEST(test_manifest_of_a_newer_minor) {
    static const char more[] = "\"1.99\",\"colour\":\"red\",\"recipes\":[{\"name\":\"nb\",\"shade\":1,\"options\":[{"
                               "\"key\":\"alpha\",\"type\":"
                               "\"number\",\"summary\":\"A.\",\"step\":2}]}],\"settings\":[{\"key\":\"region\","
                               "\"type\":\"string\",\"summary\":\"R.\","
                               "\"unit\":\"m\"}]";
    kolm_error_t err = KIT_ERROR_INIT;
    host_manifest *m = NULL;
    ck_assert_msg(parse_with("manifest_version", more, &m, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(host_manifest_unread(m), "colour, nb.shade, alpha.step, region.unit");
    ck_assert_uint_eq(m->makes.at[0].options.count, 1);
    host_manifest_free(m);
    ck_assert_int_eq(parse_with(NULL, NULL, &m, &err), KOLM_OK);
    ck_assert_ptr_null(host_manifest_unread(m));
    host_manifest_free(m);
    kit_buf today = {0};
    kit_buf_fmt(&today, "\"1.1\"%s", more + strlen("\"1.99\""));
    ck_assert_int_eq(parse_with("manifest_version", kit_buf_text(&today), &m, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_str_eq(err.text, "unknown field \"colour\"");
    ck_assert_ptr_nonnull(strstr(err.remedy, "manifest_version"));
    kit_buf_free(&today);
    ck_assert_int_eq(parse_with("manifest_version", "\"2.0\"", &m, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "written for manifests of version 2, and this kolm reads 1.x"));
}
END_TEST

START_TEST(test_recipes) {
    static const char text[] =
        "[\"linear\",{\"name\":\"acme-nb\",\"summary\":\"Naive Bayes.\",\"base\":\"none\",\"outputs\":\"labels\","
        "\"options\":["
        "{\"key\":\"alpha\",\"type\":\"number\",\"min\":0,\"max\":10,\"default\":1,\"summary\":\"Smoothing.\"},"
        "{\"key\":\"rank\",\"type\":[\"string\",\"integer\"],\"values\":[\"auto\"],\"min\":1,\"summary\":\"R.\"},"
        "{\"key\":\"fast\",\"type\":\"boolean\",\"summary\":\"F.\"},"
        "{\"key\":\"system\",\"type\":\"string\",\"summary\":\"S.\"}]},{\"name\":\"lora\",\"options\":[]}]";
    static const struct {
        const char *name, *value, *says; /* says NULL: taken */
    } given[] = {
        {"alpha", "0.5", NULL},
        {"alpha", "1e0", NULL},
        {"alpha", "11", "--set alpha=11: expected a number from 0 to 10"},
        {"alpha", "0x1", "expected a number"},
        {"alpha", "nan", "expected a number"},
        {"alpha", "", "expected a number"},
        {"alpha", "1 ", "expected a number"},
        {"rank", "auto", NULL},
        {"rank", "8", NULL},
        {"rank", "8.5", "expected \"auto\", or a whole number"},
        {"rank", "all", "whole number of at least 1"},
        {"fast", "true", NULL},
        {"fast", "yes", "expected true or false"},
        {"system", "", NULL},
        {"system", "12", NULL},
        {"alfa", "1", "--set alfa: the recipe acme-nb of acme has no such option; did you mean \"alpha\"?"},
        {"colour", "red", "has no such option"},
    };
    kolm_error_t err = KIT_ERROR_INIT;
    host_manifest *m = NULL;
    ck_assert_msg(parse_with("recipes", text, &m, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(m->offer.recipes, "linear, acme-nb, lora");
    const host_recipe *linear = host_recipes_find(&m->makes, "linear"), *lora = host_recipes_find(&m->makes, "lora");
    const host_recipe *nb = host_recipes_find(&m->makes, "acme-nb");
    ck_assert(linear->base == HOST_BASE_NONE && linear->labels_only && !linear->declares_options);
    ck_assert(lora->base == HOST_BASE_REQUIRED && !lora->labels_only && lora->declares_options);
    ck_assert(nb->base == HOST_BASE_NONE && nb->labels_only && nb->options.count == 4);
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        cJSON *object = cJSON_CreateObject();
        ck_assert(kit_json_put_string(object, given[i].name, given[i].value));
        kit_status status = host_recipe_check(nb, "acme", object, &err);
        ck_assert_msg((status == KOLM_OK) == (given[i].says == NULL), "%s=%s: %s", given[i].name, given[i].value,
                      err.text);
        if (given[i].says) ck_assert_msg(strstr(err.text, given[i].says) != NULL, "%s", err.text);
        if (given[i].says) ck_assert_str_ne(err.remedy, "");
        ck_assert_int_eq(host_recipe_check(linear, "acme", object, &err), KOLM_OK); /* does not say what it takes */
        ck_assert_int_eq(host_recipe_check(lora, "acme", object, &err), KOLM_E_INVALID_ARGUMENT);
        cJSON_Delete(object);
    }
    ck_assert_str_eq(err.remedy, "leave out --set: it takes no options");
    ck_assert_int_eq(host_recipe_check(nb, "acme", NULL, &err), KOLM_OK);
    host_manifest_free(m);
}
END_TEST

START_TEST(test_manifest_shapes) {
    static const char *const texts[] = {
        "", "[]", "null", "{", "{\"name\":\"acme\",\"name\":\"acme\"}", "\xef\xbb\xbf{}", "{} {}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        host_manifest *m = NULL;
        ck_assert_int_eq(host_manifest_parse("acme", texts[i], strlen(texts[i]), &m, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert_int_eq(host_manifest_parse("acme", texts[i], strlen(texts[i]), &m, NULL), KOLM_E_INVALID_ARGUMENT);
    }
}
END_TEST

START_TEST(test_names) {
    ck_assert(host_name_ok("a"));
    ck_assert(host_name_ok("acme-2"));
    ck_assert(host_name_ok("a2345678901234567890123456789012"));
    ck_assert(!host_name_ok("a23456789012345678901234567890123"));
    ck_assert(!host_name_ok(""));
    ck_assert(!host_name_ok("2acme"));
    ck_assert(!host_name_ok("-acme"));
    ck_assert(!host_name_ok("Acme"));
    ck_assert(!host_name_ok("ac_me"));
    ck_assert(!host_name_ok("../acme"));
}
END_TEST

static kit_status override(const char *config_text, host_manifest **out, kolm_error_t *err) {
    cJSON *config = NULL;
    ck_assert_int_eq(kit_json_parse(config_text, strlen(config_text), &config, err), KOLM_OK);
    ck_assert_int_eq(parse_with(NULL, NULL, out, err), KOLM_OK);
    kit_status status = host_manifest_override(*out, &(host_config){.json = config}, err);
    cJSON_Delete(config);
    return status;
}

START_TEST(test_override) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_manifest *m = NULL;
    ck_assert_int_eq(override("{\"backends\":{\"acme\":{\"cost_per_hour_usd\":0.41,\"perf\":0.5,\"tier\":3,\"cold_"
                              "start_seconds\":0,\"region\":\"eu\",\"kind\":\"local\"}}}",
                              &m, &err),
                     KOLM_OK);
    ck_assert_uint_eq(m->offer.price_micro_usd_per_hour, 410000);
    ck_assert_uint_eq(m->offer.perf_units, 50000);
    ck_assert_uint_eq(m->offer.tier, 3);
    ck_assert_uint_eq(m->offer.cold_start_seconds, 0);
    ck_assert_str_eq(m->offer.kind, "cloud-serverless"); /* not the user's to change: a setting like any other */
    ck_assert_uint_eq(m->overridden,
                      HOST_OVERRIDE_COST | HOST_OVERRIDE_PERF | HOST_OVERRIDE_TIER | HOST_OVERRIDE_COLD_START);
    host_manifest_free(m);
    ck_assert_int_eq(override("{\"backends\":{\"other\":{\"tier\":3}}}", &m, &err), KOLM_OK);
    ck_assert_uint_eq(m->overridden, 0);
    ck_assert_int_eq(host_manifest_override(m, &(host_config){0}, &err), KOLM_OK);
    host_manifest_free(m);
    ck_assert_int_eq(override("{\"backends\":{\"acme\":{\"tier\":3,\"cost_per_hour_usd\":\"cheap\"}}}", &m, &err),
                     KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "config.json: backends.acme.cost_per_hour_usd: expected dollars per hour"));
    ck_assert_uint_eq(m->offer.tier, 2);
    host_manifest_free(m);
    ck_assert_int_eq(override("{\"backends\":{\"acme\":7}}", &m, &err), KOLM_E_INVALID_ARGUMENT);
    host_manifest_free(m);
    ck_assert_int_eq(override("{\"backends\":[]}", &m, &err), KOLM_E_INVALID_ARGUMENT);
    host_manifest_free(m);
}
END_TEST

/* ---- The scan */
static char home[PATH_MAX], first[PATH_MAX], second[PATH_MAX];

static void setup(void) {
    kit_copy(home, sizeof home, "/tmp/kolm-scan-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    kit_format(first, sizeof first, "%s/first", home);
    kit_format(second, sizeof second, "%s/second", home);
    ck_assert_int_eq(mkdir(first, 0755), 0);
    ck_assert_int_eq(mkdir(second, 0755), 0);
}

static void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_remove_tree(home, &err) == KOLM_OK, "%s", err.text);
}

static const char *in(const char *dir, const char *file) {
    static char paths[4][PATH_MAX + 256];
    static unsigned next;
    char *path = paths[next++ % 4];
    kit_format(path, sizeof *paths, "%s/%s", dir, file);
    return path;
}

static void put(const char *dir, const char *file, const char *text) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_write_file(in(dir, file), 0644, text, strlen(text), &err), KOLM_OK);
}

/* A plugin that is never loaded need not be one. */
static void put_backend(const char *dir, const char *name) {
    kit_buf text = {0};
    char quoted[80], file[80];
    kit_format(quoted, sizeof quoted, "\"%s\"", name);
    build(&text, "name", quoted);
    kit_format(file, sizeof file, "%s.json", name);
    put(dir, file, kit_buf_text(&text));
    kit_format(file, sizeof file, "%s.so", name);
    put(dir, file, "no object");
    kit_buf_free(&text);
}

static host_registry *scan_both(void) {
    const char *dirs[] = {first, second};
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    host_scan_options options = {.dirs = dirs, .dir_count = 2, .program = "/bin/true"};
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    return registry;
}

static void expect(const char *name, host_row_state state, const char *words) {
    host_registry *registry = scan_both();
    bool found = false;
    for (size_t i = 0; i < registry->count; i++) {
        const host_backend *row = &registry->rows[i];
        if (strcmp(row->name, name) != 0 || row->state != state) continue;
        found = true;
        if (state == HOST_ROW_OK) continue;
        ck_assert_msg(strstr(row->why.text, words) != NULL, "'%s' is not in '%s'", words, row->why.text);
        ck_assert_str_ne(row->why.remedy, "");
        ck_assert_int_ne(row->why.code, KOLM_OK);
    }
    ck_assert_msg(found, "no row %s in state %d", name, (int)state);
    host_registry_free(registry);
}

START_TEST(test_scan_order_and_shadow) {
    put_backend(first, "zebra");
    put_backend(first, "acme");
    put_backend(second, "acme");
    put_backend(second, "lion");
    host_registry *registry = scan_both();
    ck_assert_uint_eq(registry->count, 4);
    ck_assert_str_eq(registry->rows[0].name, "acme");
    ck_assert_int_eq(registry->rows[0].state, HOST_ROW_OK);
    ck_assert_str_eq(registry->rows[1].name, "acme");
    ck_assert_int_eq(registry->rows[1].state, HOST_ROW_SHADOWED);
    ck_assert_ptr_nonnull(strstr(registry->rows[1].why.text, "/first, which is searched first"));
    ck_assert_str_eq(registry->rows[2].name, "lion");
    ck_assert_str_eq(registry->rows[3].name, "zebra");
    ck_assert_ptr_eq(host_find(registry, "acme"), &registry->rows[0]);
    ck_assert_ptr_null(host_find(registry, "nobody"));
    ck_assert_uint_gt(registry->rows[0].plugin.inode, 0);
    ck_assert_uint_eq(registry->rows[0].plugin.size, 9);
    ck_assert_ptr_nonnull(registry->program);
    host_registry_free(registry);
    host_registry_free(NULL);
}
END_TEST

/* The one in front counts even when it is bad: nobody gets another backend than the one he put there. */
START_TEST(test_scan_bad_one_in_front) {
    put_backend(first, "acme");
    put(first, "acme.json", "{}");
    put_backend(second, "acme");
    expect("acme", HOST_ROW_REFUSED, "the field \"name\" is missing");
    expect("acme", HOST_ROW_SHADOWED, "hidden by acme");
}
END_TEST

START_TEST(test_scan_halves) {
    put(first, "alone.so", "no object");
    put(first, "Strange Name.so", "no object");
    put(first, "notes.txt", "text");
    put(first, "compile_commands.json", "[]");
    put(first, ".hidden.so", "no object");
    put_backend(first, "acme");
    ck_assert_int_eq(unlink(in(first, "acme.so")), 0);
    put_backend(first, "wrong");
    put(first, "wrong.json", "{\"name\":\n \"wrong\",,}");
    expect("alone", HOST_ROW_REFUSED, "alone.json, its manifest, is missing");
    expect("Strange Name", HOST_ROW_REFUSED, "cannot have this name");
    expect("acme", HOST_ROW_REFUSED, "acme.so, the plugin itself, is missing");
    expect("wrong", HOST_ROW_REFUSED, "wrong.json: line 2, column");
    host_registry *registry = scan_both();
    ck_assert_uint_eq(registry->count, 4);
    host_registry_free(registry);
}
END_TEST

START_TEST(test_scan_other_file_kinds) {
    put_backend(first, "pipe");
    put_backend(first, "folder");
    put_backend(first, "large");
    ck_assert_int_eq(unlink(in(first, "pipe.json")), 0);
    ck_assert_int_eq(mkfifo(in(first, "pipe.json"), 0600), 0);
    ck_assert_int_eq(unlink(in(first, "folder.so")), 0);
    ck_assert_int_eq(mkdir(in(first, "folder.so"), 0700), 0);
    ck_assert_int_eq(truncate(in(first, "large.json"), 1 << 20), 0);
    expect("pipe", HOST_ROW_REFUSED, "is not a regular file"); /* and nobody waits for its writer */
    expect("folder", HOST_ROW_REFUSED, "is not a regular file");
    expect("large", HOST_ROW_REFUSED, "larger");
}
END_TEST

START_TEST(test_scan_permissions) {
    put_backend(first, "acme");
    put_backend(first, "other");
    ck_assert_int_eq(chmod(in(first, "acme.so"), 0666), 0);
    expect("acme", HOST_ROW_REFUSED, "acme.so can be changed by every user");
    expect("other", HOST_ROW_OK, NULL);
    ck_assert_int_eq(chmod(in(first, "acme.so"), 0664), 0);
    expect("acme", HOST_ROW_REFUSED, "can be changed by its group");
    ck_assert_int_eq(chmod(in(first, "acme.so"), 0644), 0);
    ck_assert_int_eq(chmod(in(first, "acme.json"), 0646), 0);
    expect("acme", HOST_ROW_REFUSED, "acme.json can be changed by every user");
    ck_assert_int_eq(chmod(in(first, "acme.json"), 0600), 0);
    expect("acme", HOST_ROW_OK, NULL);
    ck_assert_int_eq(chmod(first, 0777), 0);
    expect("acme", HOST_ROW_REFUSED, "/first can be changed by every user");
    ck_assert_int_eq(chmod(first, 01777), 0); /* sticky or not: plugins do not live there */
    expect("acme", HOST_ROW_REFUSED, "/first can be changed by every user");
    ck_assert_int_eq(chmod(first, 0755), 0);
    ck_assert_int_eq(chmod(home, 0775), 0);
    expect("acme", HOST_ROW_REFUSED, "can be changed by its group");
    ck_assert_int_eq(chmod(home, 0700), 0);
    expect("acme", HOST_ROW_OK, NULL);
}
END_TEST

START_TEST(test_scan_owner) {
    if (geteuid() != 0) return; /* only root can give files away */
    put_backend(first, "acme");
    ck_assert_int_eq(chown(in(first, "acme.so"), 12345, 12345), 0);
    expect("acme", HOST_ROW_REFUSED, "acme.so belongs to another user");
    ck_assert_int_eq(chown(in(first, "acme.so"), 0, 0), 0);
    ck_assert_int_eq(chown(home, 12345, 12345), 0);
    expect("acme", HOST_ROW_REFUSED, "belongs to another user");
    ck_assert_int_eq(chown(home, 0, 0), 0);
    expect("acme", HOST_ROW_OK, NULL);
}
END_TEST

START_TEST(test_scan_links) {
    put_backend(second, "acme");
    put_backend(first, "own");
    /* A link to a trusted place is followed, the name is the link's. */
    ck_assert_int_eq(symlink("../second/acme.so", in(first, "acme.so")), 0);
    ck_assert_int_eq(symlink(in(second, "acme.json"), in(first, "acme.json")), 0);
    host_registry *registry = scan_both();
    const host_backend *row = host_find(registry, "acme");
    ck_assert_int_eq(row->state, HOST_ROW_OK);
    ck_assert_str_eq(row->plugin_path, in(second, "acme.so"));
    ck_assert_ptr_nonnull(strstr(row->directory, "/first"));
    host_registry_free(registry);
    /* A link to a place that is not trusted is not. */
    ck_assert_int_eq(chmod(second, 0777), 0);
    expect("acme", HOST_ROW_REFUSED, "/second can be changed by every user");
    ck_assert_int_eq(chmod(second, 0755), 0);
    ck_assert_int_eq(unlink(in(first, "own.so")), 0);
    ck_assert_int_eq(symlink("nowhere", in(first, "own.so")), 0);
    expect("own", HOST_ROW_REFUSED, "cannot find");
    ck_assert_int_eq(unlink(in(first, "own.so")), 0);
    ck_assert_int_eq(symlink("own.so", in(first, "own.so")), 0);
    expect("own", HOST_ROW_REFUSED, "cannot find");
}
END_TEST

START_TEST(test_scan_places) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    char path[4 * PATH_MAX];
    put_backend(first, "acme");
    put_backend(second, "acme");
    put_backend(second, "user");
    put(home, "file", "text");
    kit_format(path, sizeof path, "relative::%s/nowhere:%s/file:%s:%s", home, home, first, first);
    setenv("KOLM_BACKEND_PATH", path, 1);
    host_scan_options options = {.user_dir = second};
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    const host_backend *row = host_find(registry, "acme");
    ck_assert_int_eq(row->origin, HOST_ORIGIN_PATH);
    ck_assert_int_eq(host_find(registry, "user")->origin, HOST_ORIGIN_USER);
    unsigned shadows = 0, relative = 0, nowhere = 0, file = 0;
    for (size_t i = 0; i < registry->count; i++)
        shadows += registry->rows[i].state == HOST_ROW_SHADOWED;
    ck_assert_uint_eq(shadows, 1); /* the user's; the same directory twice hides nothing */
    for (size_t i = 0; i < registry->note_count; i++) {
        relative += strstr(registry->notes[i].text, "relative is in KOLM_BACKEND_PATH and not absolute") != NULL;
        nowhere += strstr(registry->notes[i].text, "/nowhere is not searched") != NULL;
        file += strstr(registry->notes[i].text, "/file is not searched") != NULL;
    }
    ck_assert_uint_eq(relative, 1);
    ck_assert_uint_eq(nowhere, 1);
    ck_assert_uint_eq(file, 1);
    /* This program lies in the build tree, so kolm-host was found there. */
    ck_assert_ptr_nonnull(registry->program);
    ck_assert_ptr_nonnull(strstr(registry->program, "/core/host/kolm-host"));
    host_registry_free(registry);
    unsetenv("KOLM_BACKEND_PATH");
    kit_format(path, sizeof path, "%s/none", home);
    options.user_dir = path; /* not having any is normal: no note */
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    for (size_t i = 0; i < registry->note_count; i++)
        ck_assert_ptr_null(strstr(registry->notes[i].text, "/none"));
    host_registry_free(registry);
}
END_TEST

START_TEST(test_scan_many) {
    char name[40];
    for (int i = 0; i < 4500; i++) {
        kit_format(name, sizeof name, "p%03d.so", i);
        int fd = open(in(first, name), O_WRONLY | O_CREAT | O_EXCL, 0644); /* put() would wait for the disk each time */
        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    host_registry *registry = scan_both();
    ck_assert_uint_eq(registry->count, 4096);
    ck_assert_uint_ge(registry->note_count, 1);
    ck_assert_ptr_nonnull(strstr(registry->notes[0].text, "holds more files than are looked at"));
    host_registry_free(registry);
}
END_TEST

static kit_status grant_all_but(void *user, const host_backend *row, kolm_error_t *why) {
    ck_assert_int_eq(row->state, HOST_ROW_OK);
    if (strcmp(row->name, user) != 0) return KOLM_OK;
    return kit_fail(why, KOLM_E_PERMISSION_DENIED, "ask", "%s is not granted", row->name);
}

START_TEST(test_scan_grants) {
    char path[PATH_MAX];
    kolm_error_t err = KIT_ERROR_INIT;
    const char *dirs[] = {first, second};
    host_scan_options options = {.dirs = dirs, .dir_count = 2, .program = "/bin/true", .grant = grant_all_but};
    host_registry *registry = NULL;
    kit_copy(path, sizeof path, "acme");
    options.grant_user = path;
    put_backend(first, "acme");
    put_backend(first, "bolt");
    put_backend(second, "bolt");
    put(first, "half.so", "");
    ck_assert_int_eq(host_scan(&options, &registry, &err), KOLM_OK);
    ck_assert_uint_eq(registry->count, 4);
    ck_assert_int_eq(registry->rows[0].state, HOST_ROW_OK); /* found and taken all the same */
    ck_assert(!registry->rows[0].granted);
    ck_assert_str_eq(registry->rows[0].why.text, "acme is not granted");
    ck_assert(registry->rows[1].granted);
    ck_assert(!registry->rows[2].granted); /* shadowed */
    ck_assert(!registry->rows[3].granted); /* refused */
    host_registry_free(registry);
    registry = scan_both();
    ck_assert(registry->rows[0].granted && registry->rows[1].granted); /* who asks for no grants gives them all */
    host_registry_free(registry);
}
END_TEST

START_TEST(test_trust) {
    kolm_error_t err = KIT_ERROR_INIT;
    char *real = NULL;
    int fd = -1;
    host_file_identity identity;
    put(first, "file", "text");
    ck_assert_int_eq(host_trust_file(in(first, "../first/./file"), &real, &fd, &identity, &err), KOLM_OK);
    ck_assert_str_eq(real, in(first, "file"));
    ck_assert_uint_eq(identity.size, 4);
    close(fd);
    free(real);
    ck_assert_int_eq(host_trust_file("file", NULL, NULL, NULL, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(host_trust_file(in(first, "none"), NULL, NULL, NULL, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(host_trust_file(first, NULL, NULL, NULL, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(host_trust_directory(first, NULL, &err), KOLM_OK);
    ck_assert_int_eq(host_trust_directory(in(first, "file"), NULL, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(host_trust_directory("/", NULL, &err), KOLM_OK);
    ck_assert_int_eq(host_trust_directory("/tmp", NULL, &err), KOLM_E_PERMISSION_DENIED);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("scan");
    TCase *manifest = tcase_create("manifest");
    tcase_add_test(manifest, test_manifest_good);
    tcase_add_test(manifest, test_manifest_every_field_is_needed);
    tcase_add_test(manifest, test_manifest_bad_fields);
    tcase_add_test(manifest, test_manifest_good_fields);
    tcase_add_test(manifest, test_manifest_shapes);
    tcase_add_test(manifest, test_manifest_of_a_newer_minor);
    tcase_add_test(manifest, test_recipes);
    tcase_add_test(manifest, test_names);
    tcase_add_test(manifest, test_override);
    suite_add_tcase(suite, manifest);
    TCase *scan = tcase_create("scan");
    tcase_add_checked_fixture(scan, setup, teardown);
    tcase_set_timeout(scan, 60);
    tcase_add_test(scan, test_scan_order_and_shadow);
    tcase_add_test(scan, test_scan_bad_one_in_front);
    tcase_add_test(scan, test_scan_halves);
    tcase_add_test(scan, test_scan_other_file_kinds);
    tcase_add_test(scan, test_scan_permissions);
    tcase_add_test(scan, test_scan_owner);
    tcase_add_test(scan, test_scan_links);
    tcase_add_test(scan, test_scan_places);
    tcase_add_test(scan, test_scan_many);
    tcase_add_test(scan, test_scan_grants);
    tcase_add_test(scan, test_trust);
    suite_add_tcase(suite, scan);
    return run_suite(suite);
}
