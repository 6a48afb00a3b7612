/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of remote-ssh: any JSON is either read as intended or refused, naming the setting. */
#include "../../plugins/remote-ssh/box.h"
#include "../suite.h"
#include "kolm/kit/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct fake {
    const cJSON *settings; /* backends.remote-ssh */
    const char *variable;  /* NULL: not set */
} fake;

static int32_t give(const char *text, char *buffer, uint64_t capacity) {
    if (text == NULL) return KOLM_E_NOT_FOUND;
    return kit_copy(buffer, capacity, text) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static int32_t secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)name, (void)out_length;
    return give(((const fake *)user)->variable, buffer, capacity);
}

/* As the host passes settings: strings unchanged, other values as JSON. */
static int32_t setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)out_length;
    const cJSON *value = kit_json_get(((const fake *)user)->settings, key);
    if (value == NULL) return KOLM_E_NOT_FOUND;
    if (cJSON_IsString(value)) return give(value->valuestring, buffer, capacity);
    char *text = cJSON_PrintUnformatted(value);
    ck_assert_ptr_nonnull(text);
    int32_t code = give(text, buffer, capacity);
    free(text);
    return code;
}

/* Reads all settings; returns the first status that is not OK, with its text. */
static kit_status read_all(const char *json, const char *variable, box *out, kolm_error_t *err) {
    cJSON *settings = NULL, *targets = NULL;
    const cJSON *target;
    ck_assert_msg(kit_json_parse(json, strlen(json), &settings, err) == KOLM_OK, "%s: %s", json, err->text);
    fake f = {.settings = settings, .variable = variable};
    const kolm_host_v1_t host = {.user = &f, .secret = secret, .setting = setting};
    kit_status status = box_targets(&host, &targets, err);
    ck_assert((status == KOLM_OK) == (targets != NULL));
    box *each = calloc(1, sizeof *each);
    ck_assert_ptr_nonnull(each);
    cJSON_ArrayForEach(target, targets) {
        kolm_error_t one = KIT_ERROR_INIT;
        kit_status read = box_read_target(&host, target->valuestring, each, &one);
        ck_assert(read == KOLM_OK || one.text[0] != '\0');
        if (status == KOLM_OK && read != KOLM_OK) {
            status = read;
            *err = one;
        }
    }
    free(each);
    if (variable != NULL && status == KOLM_OK) status = box_read(&host, out, err);
    cJSON_Delete(targets);
    cJSON_Delete(settings);
    return status;
}

START_TEST(test_refused) {
    static const struct {
        const char *json, *wants;
    } rows[] = {
        {"{\"boxes\":[{\"host\":\"gpubox\"}]}", "boxes"},
        {"{\"boxes\":[]}", "boxes"},
        {"{\"boxes\":null}", "boxes"},
        {"{\"boxes\":7}", "boxes"},
        {"{\"boxes\":true}", "boxes"},
        {"{\"boxes\":\"lab\"}", "boxes"},
        {"{\"boxes\":\"[1]\"}", "boxes"},
        {"{\"boxes\":{\"lab\":\"gpubox\"}}", "lab"},
        {"{\"boxes\":{\"lab\":null}}", "lab"},
        {"{\"boxes\":{\"lab\":[\"gpubox\"]}}", "lab"},
        {"{\"boxes\":{\"lab\":{}}}", "no host"},
        {"{\"boxes\":{\"lab\":{\"host\":\"\"}}}", "no host"},
        {"{\"boxes\":{\"lab\":{\"host\":7}}}", "lab.host"},
        {"{\"boxes\":{\"lab\":{\"host\":[\"a\"]}}}", "lab.host"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"hostkey\":\"SHA256:x\"}}}", "hostkey"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"host_key\":7}}}", "host_key"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"host_key\":null}}}", "host_key"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"host_key\":\"yes\"}}}", "host_key"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"keep\":\"true\"}}}", "keep"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"setup\":1}}}", "setup"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"patience_seconds\":\"9\"}}}", "patience_seconds"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"patience_seconds\":-1}}}", "patience_seconds"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"patience_seconds\":1.5}}}", "patience_seconds"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"idle_timeout_seconds\":99999}}}", "idle_timeout_seconds"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"\":1}}}", "unknown"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a b\"}}}", "host"},
        {"{\"boxes\":{\"lab\":{\"host\":\"-oProxyCommand=x\"}}}", "host"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"known_hosts\":\"known_hosts\"}}}", "known_hosts"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"known_hosts\":\"$HOME/k\"}}}", "known_hosts"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"known_hosts\":\"${KOLM_NO_SUCH}/k\"}}}", "KOLM_NO_SUCH"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"identity_file\":\"~no-such-user-here/k\"}}}", "identity_file"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\",\"ssh_config\":\"config\"}}}", "ssh_config"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\"}},\"known_hosts\":\"None\"}", "known_hosts"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\"}},\"keep\":\"yes\"}", "keep"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\"}},\"setup\":[]}", "setup"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\"}},\"host_key\":{}}", "host_key"},
        {"{\"boxes\":{\"lab\":{\"host\":\"a\"}},\"connect_timeout_seconds\":true}", "connect_timeout_seconds"},
    };
    box *b = calloc(1, sizeof *b);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int k = 0; k < 2; k++) {
            kolm_error_t err = KIT_ERROR_INIT;
            kit_status status = read_all(rows[i].json, k == 0 ? NULL : "other", b, &err);
            ck_assert_msg(status == KOLM_E_INVALID_ARGUMENT, "%s: %d", rows[i].json, (int)status);
            ck_assert_msg(strstr(err.text, rows[i].wants) != NULL && err.remedy[0] != '\0', "%s: %s", rows[i].json,
                          err.text);
        }
    free(b);
}
END_TEST

START_TEST(test_taken) {
    static const char json[] =
        "{\"known_hosts\":\"${KOLM_T}/known\",\"idle_timeout_seconds\":8,\"boxes\":{\"lab\":{\"host\":\"ana@gpu:2222\","
        "\"host_key\":\"accept-new\",\"identity_file\":\"~/k\",\"ssh_config\":\"none\",\"keep\":true,\"setup\":false,"
        "\"patience_seconds\":60},\"home\":{\"host\":\"[::1]:22\",\"x-note\":[1],\"dir\":\"~/there\"}}}";
    kolm_error_t err = KIT_ERROR_INIT;
    box *b = calloc(1, sizeof *b);
    ck_assert_int_eq(setenv("HOME", "/home/me", 1) + setenv("KOLM_T", "/set", 1), 0);
    ck_assert_msg(read_all(json, "lab", b, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(b->host, "ana@gpu:2222");
    ck_assert_str_eq(b->host_key, "accept-new");
    ck_assert_str_eq(b->identity_file, "/home/me/k");
    ck_assert_str_eq(b->known_hosts, "/set/known");
    ck_assert_str_eq(b->ssh_config, "none");
    ck_assert(b->settings.keep && !b->settings.setup && b->settings.patience_seconds == 60);
    ck_assert_uint_eq(b->settings.ssh.idle_timeout_ms, 8000);
    ck_assert_str_eq(b->settings.ssh.target.user, "ana");
    ck_assert_msg(read_all("{}", "me@box", b, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(b->settings.ssh.target.host, "box");
    ck_assert_msg(read_all("{\"boxes\":{}}", NULL, b, &err) == KOLM_OK, "%s", err.text);
    free(b);
}
END_TEST

/* Every key with every kind of value, in a box and outside: accepted or refused, without reading out of bounds. */
START_TEST(test_any_json) {
    static const char *const keys[] = {"boxes",
                                       "host",
                                       "host_key",
                                       "identity_file",
                                       "known_hosts",
                                       "ssh_config",
                                       "dir",
                                       "python",
                                       "kolm",
                                       "engine",
                                       "trainer",
                                       "wheels",
                                       "wheels_there",
                                       "index_url",
                                       "setup",
                                       "keep",
                                       "patience_seconds",
                                       "connect_timeout_seconds",
                                       "idle_timeout_seconds",
                                       "nonsense"};
    static const char *const values[] = {"null",
                                         "true",
                                         "false",
                                         "0",
                                         "-1",
                                         "1e300",
                                         "1.5",
                                         "\"\"",
                                         "\"x\"",
                                         "\"/x\"",
                                         "\"none\"",
                                         "\"~\"",
                                         "\"~x/y\"",
                                         "\"${\"",
                                         "\"true\"",
                                         "\"7\"",
                                         "[]",
                                         "[[]]",
                                         "[{\"host\":\"a\"}]",
                                         "{}",
                                         "{\"a\":{}}",
                                         "{\"\":{\"host\":\"a\"}}",
                                         "{\"a\":{\"host\":{\"host\":\"a\"}}}",
                                         "\"\\u0001\""};
    box *b = calloc(1, sizeof *b);
    char json[512];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t k = 0; k < sizeof values / sizeof *values; k++)
            for (int own = 0; own < 2; own++) {
                kolm_error_t err = KIT_ERROR_INIT;
                kit_format(json, sizeof json, own ? "{\"boxes\":{\"lab\":{\"host\":\"a\",\"%s\":%s}}}" : "{\"%s\":%s}",
                           own && i == 1 ? "dir" : keys[i], values[k]);
                kit_status status = read_all(json, "lab", b, &err);
                ck_assert_msg(status == KOLM_OK || (status == KOLM_E_INVALID_ARGUMENT && err.text[0] != '\0'), "%s: %s",
                              json, err.text);
            }
    free(b);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("box");
    TCase *cases = tcase_create("settings");
    suite_add_tcase(suite, cases);
    tcase_add_test(cases, test_refused);
    tcase_add_test(cases, test_taken);
    tcase_add_test(cases, test_any_json);
    return run_suite(suite);
}
