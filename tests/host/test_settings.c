/* SPDX-License-Identifier: Apache-2.0 */
/* The settings that a manifest may declare, and the values that a section of config.json may then have. */
#include "../suite.h"
#include "host/host.h"

#include <stdlib.h>
#include <string.h>

static const char declared[] =
    "[{\"key\":\"pin\",\"type\":\"string\",\"values\":[\"accept-new\",\"SHA256:*\"],\"summary\":\"s\"},"
    "{\"key\":\"file\",\"type\":\"path\",\"values\":[\"none\"],\"summary\":\"s\"},"
    "{\"key\":\"name\",\"type\":\"string\",\"max\":8,\"summary\":\"s\"},"
    "{\"key\":\"wait\",\"type\":\"integer\",\"min\":0,\"max\":3600,\"default\":15,\"summary\":\"s\"},"
    "{\"key\":\"rate\",\"type\":\"number\",\"min\":0.5,\"summary\":\"s\"},"
    "{\"key\":\"keep\",\"type\":[\"boolean\",\"string\"],\"values\":[\"true\",\"false\"],\"summary\":\"s\"},"
    "{\"key\":\"words\",\"type\":[\"string\",\"list\"],\"default\":[\"a\",\"b\"],\"summary\":\"s\"},"
    "{\"key\":\"ports\",\"type\":\"list\",\"items\":\"integer\",\"max\":2,\"summary\":\"s\"},"
    "{\"key\":\"boxes\",\"type\":\"map\",\"inherits\":true,\"summary\":\"s\",\"fields\":"
    "[{\"key\":\"host\",\"type\":\"string\",\"required\":true,\"summary\":\"s\"}]},"
    "{\"key\":\"routes\",\"type\":\"list\",\"summary\":\"s\",\"fields\":"
    "[{\"key\":\"to\",\"type\":\"string\",\"summary\":\"s\"},{\"key\":\"via\",\"type\":\"list\",\"summary\":\"s\"}]}]";

static cJSON *parse(const char *text) {
    cJSON *value = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_json_parse(text, strlen(text), &value, &err) == KOLM_OK, "%s: %s", text, err.text);
    return value;
}

static const struct {
    const char *section, *says; /* says: NULL if it is valid */
} sections[] = {
    {"{}", NULL},
    {"{\"pin\":\"accept-new\",\"file\":\"/etc/x\",\"name\":\"12345678\",\"wait\":3600,\"rate\":0.5,\"keep\":true}",
     NULL},
    {"{\"pin\":\"SHA256:abc\",\"file\":\"~/x\",\"wait\":0,\"keep\":\"false\",\"words\":\"one\",\"ports\":[1,2]}", NULL},
    {"{\"file\":\"none\",\"words\":[\"a\",\"b\"],\"ports\":[],\"boxes\":{}}", NULL},
    {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"pin\":\"accept-new\",\"words\":[\"x\"]},\"x y\":{\"host\":\"b\"}}}", NULL},
    {"{\"routes\":[{\"to\":\"a\",\"via\":[\"b\"]},{}]}", NULL},
    {"{\"x-note\":[{}],\"tier\":3}", NULL},
    {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"x-why\":1}}}", NULL},
    {"{\"pinn\":\"accept-new\"}", "F: backends.acme.pinn: there is no such setting; did you mean \"pin\"?"},
    {"{\"pni\":\"accept-new\"}", "did you mean \"pin\"?"},
    {"{\"Pin\":\"accept-new\"}", "did you mean \"pin\"?"},
    {"{\"teir\":3}", "did you mean \"tier\"?"},
    {"{\"\":1}", "there is no such setting"},
    {"{\"host\":\"a\"}", "backends.acme.host: there is no such setting"},
    {"{\"runtime.python\":\"/bin/python\"}", "there is no such setting"},
    {"{\"\\u001b[31m\":1}", "backends.acme.\\x1B[31m: there is no such setting"},
    {"{\"pin\":\"yes\"}", "backends.acme.pin: expected \"accept-new\" or \"SHA256:...\""},
    {"{\"pin\":\"accept-newer\"}", "expected \"accept-new\""},
    {"{\"pin\":\"\"}", "not an empty string"},
    {"{\"pin\":null}", "not null"},
    {"{\"pin\":[\"accept-new\"]}", "not an array"},
    {"{\"pin\":{\"a\":1}}", "not an object"},
    {"{\"pin\":true}", "not true or false"},
    {"{\"file\":\"x\"}", "expected a path from / or ~ on, or \"none\""},
    {"{\"file\":\"~ana/x\"}", NULL},
    {"{\"file\":\"${HOME}/x\"}", NULL},
    {"{\"file\":\"$HOME/x\"}", "expected a path"},
    {"{\"file\":7}", "not a number"},
    {"{\"name\":\"123456789\"}", "a string of at most 8 bytes"},
    {"{\"wait\":\"15\"}", "expected a whole number from 0 to 3600, not a string"},
    {"{\"wait\":1.5}", "expected a whole number from 0 to 3600"},
    {"{\"wait\":-1}", "expected a whole number from 0 to 3600"},
    {"{\"wait\":3601}", "expected a whole number from 0 to 3600"},
    {"{\"wait\":1e300}", "expected a whole number from 0 to 3600"},
    {"{\"rate\":0.4}", "a number of at least 0.5"},
    {"{\"keep\":\"yes\"}", "expected \"true\" or \"false\", or true or false"},
    {"{\"keep\":1}", "not a number"},
    {"{\"words\":[\"a\",7]}", "backends.acme.words.1: expected a string, not a number"},
    {"{\"ports\":[1,2,3]}", "an array of integers of at most 2 entries"},
    {"{\"ports\":[\"1\"]}", "backends.acme.ports.0: expected a whole number, not a string"},
    {"{\"boxes\":[{\"host\":\"gpubox\"}]}",
     "backends.acme.boxes: expected an object of NAME: {\"host\": ..., and any other setting}, not an array"},
    {"{\"boxes\":\"x\"}", "backends.acme.boxes: expected an object of NAME"},
    {"{\"boxes\":{\"lab\":{}}}", "backends.acme.boxes.lab: the setting \"host\" is missing"},
    {"{\"boxes\":{\"lab\":\"host\"}}", "backends.acme.boxes.lab: expected an object, not a string"},
    {"{\"boxes\":{\"lab\":{\"host\":7}}}", "backends.acme.boxes.lab.host: expected a string, not a number"},
    {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"wait\":\"soon\"}}}",
     "backends.acme.boxes.lab.wait: expected a whole number"},
    {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"pnis\":\"x\"}}}",
     "backends.acme.boxes.lab.pnis: there is no such setting; did you mean \"pin\"?"},
    {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"boxes\":{}}}}", "backends.acme.boxes.lab.boxes: there is no such setting"},
    {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"tier\":3}}}", "backends.acme.boxes.lab.tier: there is no such setting"},
    {"{\"routes\":[{\"to\":\"a\"},{\"pin\":\"accept-new\"}]}", "backends.acme.routes.1.pin: there is no such setting"},
    {"{\"routes\":{\"to\":\"a\"}}", "not an object"},
};

START_TEST(test_section) {
    static const char *const overrides[] = {"tier", NULL};
    kolm_error_t err = KIT_ERROR_INIT;
    host_settings settings;
    cJSON *array = parse(declared), *section = parse(sections[_i].section);
    ck_assert_msg(host_settings_read(array, NULL, &settings, &err) == KOLM_OK, "%s", err.text);
    kit_status status = host_settings_check(&settings, overrides, section, "F: backends.acme", &err);
    if (sections[_i].says) {
        ck_assert_msg(status == KOLM_E_INVALID_ARGUMENT, "%s is taken", sections[_i].section);
        ck_assert_msg(strstr(err.text, sections[_i].says) != NULL, "%s: %s", sections[_i].section, err.text);
        ck_assert_int_eq(host_settings_check(&settings, overrides, section, "F", NULL), KOLM_E_INVALID_ARGUMENT);
    } else {
        ck_assert_msg(status == KOLM_OK, "%s: %s", sections[_i].section, err.text);
    }
    host_settings_free(&settings);
    cJSON_Delete(array);
    cJSON_Delete(section);
}
END_TEST

/* The error for an invalid section must not quote it: it may be a password. */
START_TEST(test_values_stay_secret) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_settings settings;
    cJSON *array = parse(declared), *section = parse("{\"file\":\"hunter2\"}");
    ck_assert_int_eq(host_settings_read(array, NULL, &settings, &err), KOLM_OK);
    ck_assert_int_eq(host_settings_check(&settings, NULL, section, "F", &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_null(strstr(err.text, "hunter2"));
    ck_assert_ptr_null(strstr(err.remedy, "hunter2"));
    host_settings_free(&settings);
    cJSON_Delete(array);
    cJSON_Delete(section);
}
END_TEST

#define ONE(rest) "[{\"key\":\"a\",\"summary\":\"s\"," rest "}]"
static const struct {
    const char *text, *says;
} bad[] = {
    {"{}", "expected an array of at most 64 objects"},
    {"[7]", "entry 1"},
    {"[{}]", "entry 1"},
    {"[{\"key\":\"A\",\"type\":\"string\",\"summary\":\"s\"}]", "entry 1"},
    {"[{\"key\":\"a.b\",\"type\":\"string\",\"summary\":\"s\"}]", "entry 1"},
    {"[{\"key\":\"a\",\"type\":\"string\",\"summary\":\"s\"},{\"key\":\"a\",\"type\":\"string\",\"summary\":\"s\"}]",
     "entry 2"},
    {"[{\"key\":\"a\",\"type\":\"string\"}]", "\"a\": \"summary\""},
    {"[{\"key\":\"a\",\"type\":\"string\",\"summary\":\"\"}]", "\"summary\""},
    {"[{\"key\":\"a\",\"type\":\"string\",\"summary\":\"a\\tb\"}]", "\"summary\""},
    {"[{\"key\":\"a\",\"summary\":\"s\"}]", "\"type\": expected"},
    {ONE("\"type\":\"text\""), "\"type\": expected"},
    {ONE("\"type\":[]"), "\"type\": expected"},
    {ONE("\"type\":[\"string\",\"string\"]"), "\"type\": expected"},
    {ONE("\"type\":[\"string\",7]"), "\"type\": expected"},
    {ONE("\"type\":\"string\",\"optional\":true"), "unknown key.optional"},
    {ONE("\"type\":\"integer\",\"values\":[\"1\"]"), "\"values\""},
    {ONE("\"type\":\"string\",\"values\":[]"), "\"values\""},
    {ONE("\"type\":\"string\",\"values\":[7]"), "\"values\""},
    {ONE("\"type\":\"integer\",\"min\":\"1\""), "\"min\""},
    {ONE("\"type\":\"integer\",\"min\":2,\"max\":1"), "\"max\""},
    {ONE("\"type\":\"integer\",\"min\":2,\"default\":1"), "\"default\""},
    {ONE("\"type\":\"integer\",\"default\":\"1\""), "\"default\""},
    {ONE("\"type\":\"string\",\"required\":1"), "\"required\""},
    {ONE("\"type\":\"map\""), "\"fields\""},
    {ONE("\"type\":\"map\",\"fields\":[]"), "\"fields\""},
    {ONE("\"type\":\"string\",\"fields\":[]"), "\"fields\""},
    {ONE("\"type\":\"string\",\"inherits\":true"), "\"inherits\""},
    {ONE("\"type\":\"list\",\"items\":\"list\""), "\"items\""},
    {ONE("\"type\":\"string\",\"items\":\"string\""), "\"items\""},
    {ONE("\"type\":\"map\",\"fields\":[{\"key\":\"b\",\"type\":\"map\",\"summary\":\"s\",\"fields\":[]}]"),
     "\"a\": \"fields\": \"b\""},
};

START_TEST(test_bad_declaration) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_settings settings;
    cJSON *array = parse(bad[_i].text);
    ck_assert_msg(host_settings_read(array, NULL, &settings, &err) == KOLM_E_INVALID_ARGUMENT, "%s is taken",
                  bad[_i].text);
    ck_assert_msg(strstr(err.text, bad[_i].says) != NULL, "%s: %s", bad[_i].text, err.text);
    ck_assert_uint_eq(settings.count, 0);
    cJSON_Delete(array);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("settings");
    TCase *tests = tcase_create("settings");
    tcase_add_loop_test(tests, test_section, 0, sizeof sections / sizeof *sections);
    tcase_add_test(tests, test_values_stay_secret);
    tcase_add_loop_test(tests, test_bad_declaration, 0, sizeof bad / sizeof *bad);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
