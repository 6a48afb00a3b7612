/* SPDX-License-Identifier: Apache-2.0 */
/* Machines as users write them, and the edges of the private ranges. */
#include "../suite.h"
#include "kolm/kit/address.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

START_TEST(parts) {
    static const struct {
        const char *text, *user, *host;
        uint16_t port;
        bool bracketed;
    } cases[] = {
        {"box", NULL, "box", 0, false},
        {"box:22", NULL, "box", 22, false},
        {"me@box:65535", "me", "box", 65535, false},
        {"a@b@box", "a@b", "box", 0, false},
        {"::1", NULL, "::1", 0, false},
        {"me@fe80::1:22", "me", "fe80::1:22", 0, false},
        {"[::1]", NULL, "::1", 0, true},
        {"me@[::1]:2222", "me", "::1", 2222, true},
        {"[fe80::1%eth0]:1", NULL, "fe80::1%eth0", 1, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit_endpoint e;
        ck_assert_msg(kit_endpoint_split(cases[i].text, &e) == KIT_ENDPOINT_GOOD, "%s", cases[i].text);
        ck_assert_uint_eq(e.host_length, strlen(cases[i].host));
        ck_assert_int_eq(strncmp(e.host, cases[i].host, e.host_length), 0);
        ck_assert_uint_eq(e.port, cases[i].port);
        ck_assert_int_eq(e.bracketed, cases[i].bracketed);
        ck_assert_int_eq(e.user == NULL, cases[i].user == NULL);
        ck_assert_uint_eq(e.user_length, cases[i].user == NULL ? 0 : strlen(cases[i].user));
        ck_assert(e.user == NULL || strncmp(e.user, cases[i].user, e.user_length) == 0);
    }
}
END_TEST

START_TEST(faults) {
    static const struct {
        const char *text;
        kit_endpoint_fault fault;
    } cases[] = {
        {"", KIT_ENDPOINT_HOST},        {"me@", KIT_ENDPOINT_HOST},     {":22", KIT_ENDPOINT_HOST},
        {"[]", KIT_ENDPOINT_HOST},      {"[]:22", KIT_ENDPOINT_HOST},   {"@box", KIT_ENDPOINT_USER},
        {"@", KIT_ENDPOINT_USER},       {"[::1", KIT_ENDPOINT_BRACKET}, {"[::1]22", KIT_ENDPOINT_BRACKET},
        {"box:", KIT_ENDPOINT_PORT},    {"box:0", KIT_ENDPOINT_PORT},   {"box:65536", KIT_ENDPOINT_PORT},
        {"box: 22", KIT_ENDPOINT_PORT}, {"box:+22", KIT_ENDPOINT_PORT}, {"box:22x", KIT_ENDPOINT_PORT},
        {"[::1]:", KIT_ENDPOINT_PORT},  {"[::1]:a", KIT_ENDPOINT_PORT}, {"box:18446744073709551638", KIT_ENDPOINT_PORT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit_endpoint e;
        ck_assert_msg(kit_endpoint_split(cases[i].text, &e) == cases[i].fault, "\"%s\"", cases[i].text);
    }
}
END_TEST

/* Both sides of each edge. */
START_TEST(private_texts) {
    static const char *const private[] = {
        "localhost",      "127.0.0.1",   "127.255.255.255", "10.0.0.0",    "10.255.255.255",  "172.16.0.0",
        "172.31.255.255", "192.168.0.0", "192.168.255.255", "169.254.0.0", "169.254.255.255", "::1",
        "fc00::",         "fdff::1",     "fe80::1",         "febf:ffff::", "::ffff:10.1.2.3", "::ffff:127.0.0.1",
    };
    static const char *const open[] = {
        "",
        "126.255.255.255",
        "128.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "0.0.0.0",
        "8.8.8.8",
        "::",
        "::2",
        "fbff::",
        "fe00::",
        "fe7f::",
        "fec0::",
        "2001:db8::1",
        "::ffff:8.8.8.8",
        "::10.1.2.3",
        "10.1",
        "010.1.2.3.4",
        "10.1.2.3 ",
        "box",
        "localhost.evil.example",
        "localhost4",
        "fe80::1%eth0",
        "[::1]",
        "::ffff:0:10.1.2.3",
    };
    for (size_t i = 0; i < sizeof private / sizeof *private; i++)
        ck_assert_msg(kit_host_is_private(private[i], strlen(private[i])), "%s", private[i]);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        ck_assert_msg(!kit_host_is_private(open[i], strlen(open[i])), "%s", open[i]);
    ck_assert(kit_host_is_private("10.1.2.34", 8)); /* only the given length is read */
    ck_assert(!kit_host_is_private("10.1.2.3", 4));
}
END_TEST

START_TEST(private_bytes) {
    static const uint8_t bytes[16] = {10, 1, 2, 3};
    ck_assert(kit_address_is_private(AF_INET, bytes));
    ck_assert(!kit_address_is_private(AF_INET6, bytes));
    ck_assert(!kit_address_is_private(AF_UNIX, bytes));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit address");
    TCase *c = tcase_create("address");
    tcase_add_test(c, parts);
    tcase_add_test(c, faults);
    tcase_add_test(c, private_texts);
    tcase_add_test(c, private_bytes);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
