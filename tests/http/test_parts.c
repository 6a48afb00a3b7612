/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of sdk/http that need no network: table of tries, dates, pauses, redaction, events, addresses, header
 * lines. */
#include "../suite.h"
#include "hide.h"
#include "internal.h"
#include "kolm/http/grpc.h"
#include "kolm/http/sse.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The table */

typedef struct decision {
    kit_http_fate fate;
    int status;
    const char *wanted; /* READ, CHANGE, KEYED, CREATE: a again, s stop, u unclear */
    bool may;
} decision;

START_TEST(test_table) {
    static const decision rows[] = {
        {KIT_HTTP_NOT_SENT, 0, "aaaa", false},   {KIT_HTTP_LOST, 0, "aaau", true},
        {KIT_HTTP_CUT, 200, "aaau", true},       {KIT_HTTP_CUT, 201, "aaau", true},
        {KIT_HTTP_CUT, 401, "ssss", false},      {KIT_HTTP_CUT, 503, "aaau", true},
        {KIT_HTTP_ANSWERED, 200, "ssss", false}, {KIT_HTTP_ANSWERED, 201, "ssss", false},
        {KIT_HTTP_ANSWERED, 302, "ssss", false}, {KIT_HTTP_ANSWERED, 400, "ssss", false},
        {KIT_HTTP_ANSWERED, 401, "ssss", false}, {KIT_HTTP_ANSWERED, 402, "ssss", false},
        {KIT_HTTP_ANSWERED, 403, "ssss", false}, {KIT_HTTP_ANSWERED, 404, "ssss", false},
        {KIT_HTTP_ANSWERED, 408, "aaau", true},  {KIT_HTTP_ANSWERED, 409, "ssss", false},
        {KIT_HTTP_ANSWERED, 410, "ssss", false}, {KIT_HTTP_ANSWERED, 422, "ssss", false},
        {KIT_HTTP_ANSWERED, 425, "aaau", true},  {KIT_HTTP_ANSWERED, 429, "aaaa", false},
        {KIT_HTTP_ANSWERED, 500, "aaau", true},  {KIT_HTTP_ANSWERED, 501, "ssuu", true},
        {KIT_HTTP_ANSWERED, 502, "aaau", true},  {KIT_HTTP_ANSWERED, 503, "aaau", true},
        {KIT_HTTP_ANSWERED, 504, "aaau", true},  {KIT_HTTP_ANSWERED, 507, "ssuu", true},
        {KIT_HTTP_ANSWERED, 520, "aaau", true},  {KIT_HTTP_ANSWERED, 529, "aaau", true},
        {KIT_HTTP_ANSWERED, 599, "ssuu", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int repeat = 0; repeat < 4; repeat++) {
            kit_http_next next = kit_http_decide((kit_http_repeat)repeat, rows[i].fate, rows[i].status);
            char got = "sau"[next];
            ck_assert_msg(got == rows[i].wanted[repeat], "fate %d, status %d, repeat %d: %c", rows[i].fate,
                          rows[i].status, repeat, got);
        }
        ck_assert_msg(kit_http_may_have_happened(rows[i].fate, rows[i].status) == rows[i].may, "fate %d, status %d",
                      rows[i].fate, rows[i].status);
    }
}
END_TEST

/* Whatever a server answers, a request that creates is not sent again once something may exist. */
START_TEST(test_creates_never_twice) {
    for (int fate = KIT_HTTP_LOST; fate <= KIT_HTTP_ANSWERED; fate++)
        for (int status = 0; status < 1100; status++)
            if (kit_http_may_have_happened((kit_http_fate)fate, status))
                ck_assert_int_ne(kit_http_decide(KIT_HTTP_CREATE, (kit_http_fate)fate, status), KIT_HTTP_AGAIN);
}
END_TEST

START_TEST(test_statuses) {
    static const int codes[][2] = {
        {400, KOLM_E_INVALID_ARGUMENT},  {401, KOLM_E_UNAUTHENTICATED},  {402, KOLM_E_RESOURCE_EXHAUSTED},
        {403, KOLM_E_PERMISSION_DENIED}, {404, KOLM_E_NOT_FOUND},        {409, KOLM_E_ABORTED},
        {410, KOLM_E_NOT_FOUND},         {422, KOLM_E_INVALID_ARGUMENT}, {429, KOLM_E_RESOURCE_EXHAUSTED},
        {500, KOLM_E_UNAVAILABLE},       {503, KOLM_E_UNAVAILABLE},      {302, KOLM_E_FAILED_PRECONDITION},
        {777, KOLM_E_DATA_LOSS},         {451, KOLM_E_PERMISSION_DENIED}};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        ck_assert_int_eq(kit_http_status(codes[i][0]).code, codes[i][1]);
    for (int status = 0; status < 1100; status++) {
        kit_http_status_fact fact = kit_http_status(status);
        ck_assert(fact.code != KOLM_OK && fact.words != NULL && fact.words[0] != '\0' && fact.remedy != NULL &&
                  fact.remedy[0] != '\0');
    }
}
END_TEST

/* ---- Pauses and dates */

START_TEST(test_backoff) {
    uint64_t random = 1, again = 1;
    for (unsigned tried = 1; tried < 80; tried++) {
        uint64_t whole = tried < 20 ? 500ull << (tried - 1) : UINT64_MAX;
        if (whole > 20000) whole = 20000;
        uint64_t pause = kit_http_backoff(tried, 500, 20000, &random);
        ck_assert_msg(pause >= whole / 2 && pause <= whole, "try %u: %llu", tried, (unsigned long long)pause);
        ck_assert_uint_eq(kit_http_backoff(tried, 500, 20000, &again), pause); /* the same seed gives the same pauses */
    }
    uint64_t other = 2, first = 1;
    ck_assert_uint_ne(kit_http_backoff(10, 500, 20000, &other), kit_http_backoff(10, 500, 20000, &first));
    ck_assert_uint_le(kit_http_backoff(3, UINT64_MAX, UINT64_MAX - 1, &random), UINT64_MAX - 1);
    ck_assert_uint_eq(kit_http_backoff(1, 0, 0, &random), 0);
}
END_TEST

START_TEST(test_dates) {
    static const char *const good[] = {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                       "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Nov 1994 08:49:37 GMT ",
                                      "Sun, 6 Nov 1994 08:49:37 GMT",
                                      "Sun, 06 Nox 1994 08:49:37 GMT",
                                      "Sun, 31 Jun 2026 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 24:49:37 GMT",
                                      "Sun, 06 Nov 1969 08:49:37 GMT",
                                      "Sun, 00 Nov 1994 08:49:37 GMT",
                                      "1994-11-06T08:49:37Z",
                                      "Sun, 06 Nov 1994 08:61:37 GMT"};
    int64_t seconds = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(kit_http_date(good[i], &seconds), "%s", good[i]);
        ck_assert_int_eq(seconds, 784111777);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!kit_http_date(bad[i], &seconds), "%s", bad[i]);
    ck_assert(kit_http_date("Thu, 01 Jan 1970 00:00:00 GMT", &seconds) && seconds == 0);
    ck_assert(kit_http_date("Thu, 29 Feb 2024 23:59:60 GMT", &seconds) && seconds == 1709251200);
}
END_TEST

START_TEST(test_retry_after) {
    const char *date = "Sun, 06 Nov 1994 08:49:37 GMT", *later = "Sun, 06 Nov 1994 08:50:07 GMT";
    int64_t ms = -1;
    ck_assert(kit_http_retry_after("0", NULL, 0, &ms) && ms == 0);
    ck_assert(kit_http_retry_after("120", NULL, 0, &ms) && ms == 120000);
    ck_assert(kit_http_retry_after("99999999999999999999999999", NULL, 0, &ms) && ms == KIT_HTTP_WAIT_MS_MAX);
    ck_assert(kit_http_retry_after("86401", NULL, 0, &ms) && ms == KIT_HTTP_WAIT_MS_MAX);
    /* The date is relative to the server's clock, whatever ours is. */
    ck_assert(kit_http_retry_after(later, date, 5000000000, &ms) && ms == 30000);
    ck_assert(kit_http_retry_after(later, NULL, 784111777, &ms) && ms == 30000);
    ck_assert(kit_http_retry_after(later, "nonsense", 784111777, &ms) && ms == 30000);
    ck_assert(kit_http_retry_after(date, later, 0, &ms) && ms == 0);
    ck_assert(kit_http_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", NULL, 0, &ms) && ms == KIT_HTTP_WAIT_MS_MAX);
    static const char *const bad[] = {"", "-1", "1.5", "1 ", " 1", "soon", "0x10", "+3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!kit_http_retry_after(bad[i], NULL, 0, &ms), "%s", bad[i]);
}
END_TEST

/* ---- Secrets */

static kit_secret *secret(const char *text) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_secret *s = NULL;
    ck_assert_int_eq(kit_secret_new("KOLM_X_TOKEN", text, strlen(text), &s, &err), KOLM_OK);
    return s;
}

static void check_redacted(const kit_secret *const *secrets, size_t count, const char *text, const char *wanted) {
    kit_buf out = {0};
    kit_secret_redact(secrets, count, text, strlen(text), &out);
    ck_assert_str_eq(kit_buf_text(&out), wanted);
    kit_buf_free(&out);
}

START_TEST(test_marks) {
    kit_secret *one = secret("r8_abcdefghijklmnop"), *same = secret("r8_abcdefghijklmnop"),
               *other = secret("r8_abcdefghijklmnoq");
    char mark[KIT_SECRET_MARK_BYTES], again[KIT_SECRET_MARK_BYTES];
    ck_assert_int_eq(kit_secret_mark(one, mark), KOLM_OK);
    ck_assert_uint_eq(strlen(mark), 14);
    ck_assert(strncmp(mark, "token ", 6) == 0 && strspn(mark + 6, "0123456789abcdef") == 8);
    ck_assert_int_eq(kit_secret_mark(same, again), KOLM_OK);
    ck_assert_str_eq(mark, again);
    ck_assert_int_eq(kit_secret_mark(other, again), KOLM_OK);
    ck_assert_str_ne(mark, again);
    kit_secret_free(one);
    kit_secret_free(same);
    kit_secret_free(other);
}
END_TEST

START_TEST(test_redact) {
    kit_secret *token = secret("r8_abcdefghijklmnop"), *pin = secret("1234");
    const kit_secret *both[] = {token, NULL, pin};
    check_redacted(both, 3, "bad key r8_abcdefghijklmnop!", "bad key [secret]!");
    check_redacted(both, 3, "r8_abcdefghijklmnopr8_abcdefghijklmnop", "[secret][secret]");
    check_redacted(both, 3, "key ...ijklmnop", "key ...[secret]");         /* eight of its characters */
    check_redacted(both, 3, "key r8_abcdef", "key [secret]");              /* truncated */
    check_redacted(both, 3, "key ...jklmnop", "key ...jklmnop");           /* seven are too few to redact */
    check_redacted(both, 3, "q=r8%5Fabcdefghijklmnop", "q=r8%5F[secret]"); /* percent-encoded */
    check_redacted(both, 3, "pin 1234, 123", "pin [secret], 123");
    check_redacted(both, 3, "", "");
    check_redacted(NULL, 0, "plain", "plain");
    kit_secret_free(token);
    kit_secret_free(pin);
}
END_TEST

START_TEST(test_secrets) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_secret *s = NULL, *left = NULL, *right = NULL;
    static const char *const bad[] = {"", "with blank", "line\r\nX-Evil: 1", "tab\t", "caf\xC3\xA9", "\x7F"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(kit_secret_new("KOLM_X_TOKEN", bad[i], strlen(bad[i]), &s, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert_ptr_null(s);
        ck_assert_ptr_nonnull(strstr(err.text, "KOLM_X_TOKEN"));
        if (bad[i][0] != '\0') ck_assert_ptr_null(strstr(err.text, bad[i]));
    }
    s = secret("ak-1:as-2:3");
    ck_assert_int_eq(kit_secret_split(s, "KOLM_X_TOKEN", ':', &left, &right, &err), KOLM_OK);
    ck_assert_str_eq(http_secret_text(left), "ak-1");
    ck_assert_str_eq(http_secret_text(right), "as-2:3");
    kit_secret_free(left);
    kit_secret_free(right);
    ck_assert_int_eq(kit_secret_split(s, "KOLM_X_TOKEN", '/', &left, &right, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_null(strstr(err.text, "ak-1"));
    kit_secret_free(s);
    s = secret(":half");
    ck_assert_int_eq(kit_secret_split(s, "KOLM_X_TOKEN", ':', &left, &right, &err), KOLM_E_INVALID_ARGUMENT);
    kit_secret_free(s);
}
END_TEST

/* ---- Events */

static kit_status collect(void *user, const kit_sse_event *event, kolm_error_t *err) {
    (void)err;
    ck_assert_uint_eq(strlen(event->data), event->length);
    kit_buf_fmt(user, "[%s|%s|%s|%lld]", event->type, event->data, event->last_id, (long long)event->retry_ms);
    return strcmp(event->type, "stop") == 0 ? kit_fail(err, KOLM_E_ABORTED, "", "enough") : KOLM_OK;
}

static kit_status read_events(const char *text, size_t step, size_t most, kit_buf *out, kolm_error_t *err) {
    kit_sse *sse = NULL;
    ck_assert_int_eq(kit_sse_new(most, collect, out, &sse, err), KOLM_OK);
    kit_status status = KOLM_OK;
    for (size_t at = 0, length = strlen(text); at < length && status == KOLM_OK; at += step)
        status = kit_sse_feed(sse, text + at, length - at < step ? length - at : step, err);
    kit_sse_free(sse);
    return status;
}

START_TEST(test_events) {
    static const char *const cases[][2] = {
        {"data: a\n\n", "[message|a||-1]"},
        {"\xEF\xBB\xBF"
         "data: a\r\n\r\n",
         "[message|a||-1]"},
        {"data:a\rdata: b\r\r", "[message|a\nb||-1]"},
        {": comment\nid: 7\nevent: tick\ndata: {\"n\": 1}\nretry: 250\n\n", "[tick|{\"n\": 1}|7|250]"},
        {"id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "[message|a|7|-1][message|b|7|-1][message|c||-1]"},
        {"event: lonely\n\ndata: a\n\n", "[message|a||-1]"},
        {"data\n\n", "[message|||-1]"},
        {"data\ndata\n\n", "[message|\n||-1]"},
        {"data:  two\n\n", "[message| two||-1]"},
        {"unknown: x\nretry: 12x\nretry: -3\ndata: a\n\n", "[message|a||-1]"},
        {"data: unfinished\n", ""},
        {"data: a\n\ndata: b", "[message|a||-1]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t step = 1; step < 40; step++) {
            kolm_error_t err = KIT_ERROR_INIT;
            kit_buf out = {0};
            ck_assert_int_eq(read_events(cases[i][0], step, 4096, &out, &err), KOLM_OK);
            ck_assert_msg(strcmp(kit_buf_text(&out), cases[i][1]) == 0, "case %zu in steps of %zu: %s", i, step,
                          kit_buf_text(&out));
            kit_buf_free(&out);
        }
}
END_TEST

START_TEST(test_events_bounded) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf out = {0};
    for (size_t step = 1; step < 30; step++) {
        ck_assert_int_eq(read_events("data: 012345678901234567890\n\n", step, 16, &out, &err), KOLM_E_OUT_OF_RANGE);
        ck_assert_int_eq(read_events("data: 0123456\ndata: 0123456\ndata: 0\n\n", step, 16, &out, &err),
                         KOLM_E_OUT_OF_RANGE);
        /* 7, LF and 8 */
        ck_assert_int_eq(read_events("data: 0123456\ndata: 01234567\n\n", step, 16, &out, &err), KOLM_OK);
        ck_assert_int_eq(read_events("event: stop\ndata: a\n\ndata: b\n\n", step, 16, &out, &err), KOLM_E_ABORTED);
    }
    kit_buf_free(&out);
}
END_TEST

/* ---- Addresses and header lines */

static void check_place(const char *url, const char *origin, const char *shown) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_http strict = {0}, testing = {.plain_loopback = true};
    http_place place;
    kit_status status = http_place_parse(&testing, url, &place, &err);
    if (origin == NULL) {
        ck_assert_msg(status == KOLM_E_INVALID_ARGUMENT && err.remedy[0] != '\0', "%s", url);
        ck_assert_ptr_null(strstr(err.text, "hidden"));
        return;
    }
    ck_assert_msg(status == KOLM_OK, "%s: %s", url, err.text);
    ck_assert_str_eq(place.origin, origin);
    ck_assert_str_eq(place.shown, shown);
    http_place_free(&place);
    ck_assert_int_eq(http_place_parse(&strict, url, &place, &err),
                     strncmp(url, "http:", 5) == 0 ? KOLM_E_INVALID_ARGUMENT : KOLM_OK);
    http_place_free(&place);
}

START_TEST(test_places) {
    check_place("https://api.example/v1/x?signature=hidden#y", "https://api.example:443", "https://api.example/v1/x");
    check_place("https://API.Example:8443", "https://api.example:8443", "https://API.Example:8443/");
    check_place("http://127.0.0.1:99/a", "http://127.0.0.1:99", "http://127.0.0.1:99/a");
    check_place("http://[::1]:99/a", "http://[::1]:99", "http://[::1]:99/a");
    check_place("http://localhost/a", "http://localhost:80", "http://localhost/a");
    static const char *const bad[] = {"http://api.example/",
                                      "http://127.0.0.1.evil.example/",
                                      "http://localhost.evil.example/",
                                      "ftp://127.0.0.1/",
                                      "file:///etc/passwd",
                                      "https://user:hidden@api.example/",
                                      "https://hidden@api.example/",
                                      "api.example/v1",
                                      "",
                                      "https://",
                                      "gopher://127.0.0.1/",
                                      "https://a b/"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_place(bad[i], NULL, NULL);
}
END_TEST

START_TEST(test_addresses) {
    static const char *const v4[][2] = {{"127.0.0.1", "lp"},   {"127.9.9.9", "lp"},  {"10.1.2.3", "-p"},
                                        {"172.16.0.1", "-p"},  {"172.32.0.1", "--"}, {"192.168.4.5", "-p"},
                                        {"169.254.1.1", "-p"}, {"8.8.8.8", "--"},    {"0.0.0.0", "--"}};
    static const char *const v6[][2] = {{"::1", "lp"},         {"fd00::1", "-p"},          {"fe80::1", "-p"},
                                        {"2001:db8::1", "--"}, {"::ffff:127.0.0.1", "lp"}, {"::ffff:8.8.8.8", "--"},
                                        {"::", "--"},          {"fec0::1", "--"}};
    for (size_t i = 0; i < sizeof v4 / sizeof v4[0]; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET};
        ck_assert_int_eq(inet_pton(AF_INET, v4[i][0], &a.sin_addr), 1);
        const struct sockaddr *any = (const struct sockaddr *)(const void *)&a;
        ck_assert_msg(http_address_is_loopback(any) == (v4[i][1][0] == 'l') &&
                          http_address_is_private(any) == (v4[i][1][1] == 'p'),
                      "%s", v4[i][0]);
    }
    for (size_t i = 0; i < sizeof v6 / sizeof v6[0]; i++) {
        struct sockaddr_in6 a = {.sin6_family = AF_INET6};
        ck_assert_int_eq(inet_pton(AF_INET6, v6[i][0], &a.sin6_addr), 1);
        const struct sockaddr *any = (const struct sockaddr *)(const void *)&a;
        ck_assert_msg(http_address_is_loopback(any) == (v6[i][1][0] == 'l') &&
                          http_address_is_private(any) == (v6[i][1][1] == 'p'),
                      "%s", v6[i][0]);
    }
    struct sockaddr none = {.sa_family = AF_UNIX};
    ck_assert(!http_address_is_private(&none) && !http_address_is_loopback(&none));
}
END_TEST

/* ---- What a recording leaves out */

START_TEST(test_hidden_names) {
    static const char *const hidden[] = {"privateKey",
                                         "accessKey",
                                         "secretKey",
                                         "secretAccessKey",
                                         "apiKey",
                                         "APIKey",
                                         "api_key",
                                         "X-Api-Key",
                                         "private-key",
                                         "secret_key",
                                         "AWS_SECRET_ACCESS_KEY",
                                         "clientSecret",
                                         "accessToken",
                                         "jwt",
                                         "sshPrivateKey",
                                         "refresh_token",
                                         "Signature",
                                         "userPassword",
                                         "credentials",
                                         "Set-Cookie",
                                         "Authorization"};
    static const char *const shown[] = {"publicKey",   "public_key", "keys",      "keyName",
                                        "tokens_used", "tokenizer",  "secretary", "name",
                                        "passwords",   "-_-",        ""};
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0] + sizeof shown / sizeof shown[0]; i++) {
        bool hide = i < sizeof hidden / sizeof hidden[0];
        const char *name = hide ? hidden[i] : shown[i - sizeof hidden / sizeof hidden[0]];
        kit_buf url = {0}, text = {0}, wanted = {0};
        kit_buf_fmt(&text, "https://a.example/b?n=1&%s=canary&m=2", name);
        kit_buf_fmt(&wanted, "https://a.example/b?n=1&%s=%s&m=2", name, hide ? "[hidden]" : "canary");
        http_hide_url(kit_buf_text(&text), text.length, &url);
        ck_assert_str_eq(kit_buf_text(&url), kit_buf_text(&wanted));
        cJSON *json = cJSON_CreateObject(), *inner = cJSON_AddObjectToObject(json, "inner");
        cJSON_AddStringToObject(inner, name, "canary");
        ck_assert(http_hide_json(json));
        ck_assert_str_eq(cJSON_GetObjectItemCaseSensitive(inner, name)->valuestring, hide ? "[hidden]" : "canary");
        ck_assert_msg(http_is_private_header(name) == hide, "%s", name);
        cJSON_Delete(json);
        kit_buf_free(&url), kit_buf_free(&text), kit_buf_free(&wanted);
    }
}
END_TEST

START_TEST(test_hidden_parameters) {
    static const char *const urls[][2] = {
        {"https://a/?X-Amz-Date=1&x_goog_date=2&KeyPairId=3&Key-Pair-Id=4",
         "https://a/?X-Amz-Date=[hidden]&x_goog_date=[hidden]&KeyPairId=[hidden]&Key-Pair-Id=[hidden]"},
        {"https://a/?sig=1&SE=2&design=3&x=4&xa=5&code=6&part=7",
         "https://a/?sig=[hidden]&SE=[hidden]&design=3&x=4&xa=5&code=[hidden]&part=7"},
        {"https://a/b", "https://a/b"},
        {"?", "?"},
        {"?=&&token&token=", "?=&&token&token=[hidden]"}};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        kit_buf out = {0};
        http_hide_url(urls[i][0], strlen(urls[i][0]), &out);
        ck_assert_str_eq(kit_buf_text(&out), urls[i][1]);
        kit_buf_free(&out);
    }
    char name[1000]; /* only the end of a long name is examined */
    memset(name, 'n', sizeof name);
    memcpy(name + sizeof name - sizeof "privateKey", "privateKey", sizeof "privateKey");
    ck_assert(http_is_private_header(name));
    name[sizeof name - 2] = 'n';
    ck_assert(!http_is_private_header(name));
}
END_TEST

START_TEST(test_header_lines) {
    kit_buf headers = {0};
    static const char *const lines[] = {
        "Content-Type: text/plain", "X-Two:1", "x-two:  2  ", "Empty:", "no colon", "bad name: x", ": x", " folded: x",
        "Location:\thttps://a/b:c "};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        http_headers_take(&headers, lines[i], strlen(lines[i]));
    http_headers_take(&headers, "Nul: a\0b", 8);
    ck_assert_str_eq(http_headers_find(&headers, "CONTENT-type"), "text/plain");
    ck_assert_str_eq(http_headers_find(&headers, "x-two"), "2");
    ck_assert_str_eq(http_headers_find(&headers, "empty"), "");
    ck_assert_str_eq(http_headers_find(&headers, "location"), "https://a/b:c");
    static const char *const none[] = {"no colon", "bad name", "", "folded", "nul", "1"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        ck_assert_ptr_null(http_headers_find(&headers, none[i]));
    kit_buf_free(&headers);
    ck_assert_ptr_null(http_headers_find(&headers, "a"));
}
END_TEST

START_TEST(test_content_range) {
    uint64_t first = 0, total = 0;
    ck_assert(http_content_range("bytes 5-9/10", &first, &total) && first == 5 && total == 10);
    ck_assert(http_content_range("bytes 5-9/*", &first, &total) && first == 5 && total == UINT64_MAX);
    ck_assert(http_content_range("bytes */10", &first, &total) && first == UINT64_MAX && total == 10);
    static const char *const bad[] = {"",
                                      "bytes",
                                      "bytes 5/10",
                                      "bytes 5-/10",
                                      "bytes -9/10",
                                      "bytes 9-5/10",
                                      "bytes 5-10/10",
                                      "bytes */*",
                                      "lines 5-9/10",
                                      "bytes 5-9/10x",
                                      "bytes 99999999999999999999999-9/10",
                                      "bytes 5-9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!http_content_range(bad[i], &first, &total), "%s", bad[i]);
}
END_TEST

/* ---- gRPC */

START_TEST(test_grpc_statuses) {
    static const char *const wanted[] = {"ssss", "aaau", "aaau", "ssss", "aaau", "ssss", "ssuu", "ssss", "ssss",
                                         "ssss", "ssss", "ssss", "ssss", "aaau", "aaau", "aaau", "ssss"};
    for (int status = -1; status < 120; status++) {
        kit_grpc_status_fact fact = kit_grpc_status(status);
        const char *row = status >= 0 && status < 17 ? wanted[status] : "aaau";
        ck_assert_msg((fact.code == KOLM_OK) == (status == 0) && fact.words != NULL && fact.remedy != NULL, "%d",
                      status);
        for (int repeat = 0; repeat < 4; repeat++)
            ck_assert_msg("sau"[kit_grpc_decide((kit_http_repeat)repeat, status)] == row[repeat], "%d %d", status,
                          repeat);
        if (fact.may_be) ck_assert_int_ne(kit_grpc_decide(KIT_HTTP_CREATE, status), KIT_HTTP_AGAIN);
    }
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "100", "x", "0x1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_int_eq(kit_grpc_status_of(bad[i]), -1);
    ck_assert_int_eq(kit_grpc_status_of(NULL), -1);
    ck_assert_int_eq(kit_grpc_status_of("0"), 0);
    ck_assert_int_eq(kit_grpc_status_of("16"), 16);
}
END_TEST

START_TEST(test_grpc_words) {
    char text[32];
    kit_grpc_words("no%20such%0athing %C3%A9 100% %4", text, sizeof text);
    ck_assert_str_eq(text, "no such thing \xC3\xA9 100% %4");
    kit_grpc_words("a%1b[31m%ff%00b", text, sizeof text);
    ck_assert_str_eq(text, "a?[31m??b");
    kit_grpc_words("0123456789012345678901234567890123456789", text, 8);
    ck_assert_str_eq(text, "0123456");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("http");
    TCase *parts = tcase_create("parts");
    tcase_add_test(parts, test_table);
    tcase_add_test(parts, test_creates_never_twice);
    tcase_add_test(parts, test_statuses);
    tcase_add_test(parts, test_backoff);
    tcase_add_test(parts, test_dates);
    tcase_add_test(parts, test_retry_after);
    tcase_add_test(parts, test_marks);
    tcase_add_test(parts, test_redact);
    tcase_add_test(parts, test_secrets);
    tcase_add_test(parts, test_events);
    tcase_add_test(parts, test_events_bounded);
    tcase_add_test(parts, test_places);
    tcase_add_test(parts, test_addresses);
    tcase_add_test(parts, test_hidden_names);
    tcase_add_test(parts, test_hidden_parameters);
    tcase_add_test(parts, test_header_lines);
    tcase_add_test(parts, test_content_range);
    tcase_add_test(parts, test_grpc_statuses);
    tcase_add_test(parts, test_grpc_words);
    suite_add_tcase(suite, parts);
    return run_suite(suite);
}
