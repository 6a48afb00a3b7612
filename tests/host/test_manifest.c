/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests: the valid values of each field, the errors for invalid ones, and what config.json overrides. */
#include "../suite.h"
#include "host/host.h"
#include "manifest_fixture.h"

#include "kolm/kit/file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    ck_assert_str_eq(m->hint, "ACME_TOKEN"); /* taken from auth, because none was given */
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
    {"recipes", "[{\"name\":\"nb\",\"nearest\":1}]"},
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
        /* If billing does not match the price, the error names the price. */
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

/* Fields from a later minor version are ignored with a warning; a current field of the wrong type is an error. */
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
        const char *name, *value, *says; /* says NULL: accepted */
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
        ck_assert_int_eq(host_recipe_check(linear, "acme", object, &err), KOLM_OK); /* it declares no options */
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
    ck_assert_str_eq(m->offer.kind, "cloud-serverless"); /* not configurable: treated like any setting */
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

int main(void) {
    Suite *suite = suite_create("manifest");
    TCase *tests = tcase_create("manifest");
    tcase_add_test(tests, test_manifest_good);
    tcase_add_test(tests, test_manifest_every_field_is_needed);
    tcase_add_test(tests, test_manifest_bad_fields);
    tcase_add_test(tests, test_manifest_good_fields);
    tcase_add_test(tests, test_manifest_of_a_newer_minor);
    tcase_add_test(tests, test_recipes);
    tcase_add_test(tests, test_manifest_shapes);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_override);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
