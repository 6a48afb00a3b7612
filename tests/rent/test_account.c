/* SPDX-License-Identifier: Apache-2.0 */
/* An account at a provider, and where its requests may be sent. */
#include "../suite.h"
#include "kolm/kit/text.h"
#include "kolm/rent/account.h"

#include <string.h>

static const char *api;

static int32_t setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    if (strcmp(key, "api") != 0 || api == NULL) return KOLM_E_NOT_FOUND;
    if (out_length != NULL) *out_length = strlen(api);
    return kit_copy(buffer, capacity, api) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static int32_t secret(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    static const char value[] = "secret_0123456789";
    (void)user, (void)name;
    if (out_length != NULL) *out_length = strlen(value);
    return kit_copy(buffer, capacity, value) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static void say(void *user, uint32_t level, const char *text) {
    (void)user, (void)level, (void)text;
}

static int32_t never(void *user) {
    (void)user;
    return 0;
}

static int64_t time_left(void *user) {
    (void)user;
    return INT64_MAX;
}

static const kolm_host_v1_t host = {.struct_size = KOLM_HOST_SIZE_1_0,
                                    .abi_major = 1,
                                    .features = KOLM_FEATURE_NETWORK,
                                    .log = say,
                                    .cancelled = never,
                                    .time_left_ms = time_left,
                                    .secret = secret,
                                    .setting = setting,
                                    .scratch_dir = "/nonexistent"};
static const kit_rent_site site = {
    .name = "acme", .title = "ACME", .token = "ACME_TOKEN", .where = "there", .base = "https://acme.example"};

/* Returns the status of a request to an unencrypted address on this machine where no process listens. */
static kit_status send_plain(const char *to) {
    kit_rent_account account = {.hurried = true};
    kit_http_answer answer = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    const kit_http_request request = {.url = "http://127.0.0.1:1/", .tries = 1};
    api = to;
    ck_assert_int_eq(kit_rent_account_open(&site, &host, &account, &err), KOLM_OK);
    kit_status status = kit_http_send(account.http, &request, &answer, &err);
    kit_http_answer_free(&answer);
    kit_rent_account_close(&account);
    return status;
}

/* The API of a test server on this machine may refer to other addresses there; an API over TLS must not cause a
 * token to be sent unencrypted. */
START_TEST(test_plain_addresses) {
    ck_assert_int_eq(send_plain("http://127.0.0.1:2/api"), KOLM_E_UNAVAILABLE);
    ck_assert_int_eq(send_plain(NULL), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(send_plain("https://127.0.0.1:2/api"), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("account");
    TCase *places = tcase_create("places");
    tcase_add_test(places, test_plain_addresses);
    suite_add_tcase(suite, places);
    return run_suite(suite);
}
