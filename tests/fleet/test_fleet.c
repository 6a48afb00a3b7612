/* SPDX-License-Identifier: Apache-2.0 */
/* Which targets are of the user's own. */
#include "fleet/registry.h"

#include "../suite.h"

#include <string.h>

START_TEST(private_targets) {
    static const char *const yes[] = {"localhost",  "127.0.0.1",      "root@10.1.2.3", "me@192.168.1.9:2222",
                                      "172.31.0.1", "169.254.1.1",    "::1",           "me@[fd00::1]:22",
                                      "fe80::1",    "::ffff:10.0.0.1"};
    static const char *const no[] = {"",
                                     "me@",
                                     "8.8.8.8",
                                     "172.32.0.1",
                                     "11.0.0.1",
                                     "gpu.example.org",
                                     "localhost.example.org",
                                     "10.0.0.1.example.org",
                                     "2001:db8::1",
                                     "::ffff:8.8.8.8",
                                     "127.0.0.1/8",
                                     "0x7f000001"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        ck_assert_msg(fleet_target_is_private(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        ck_assert_msg(!fleet_target_is_private(no[i]), "%s", no[i]);
    ck_assert(!fleet_target_is_private("[::1")); /* the SSH client refuses it */
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fleet");
    TCase *tests = tcase_create("fleet");
    tcase_add_test(tests, private_targets);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
