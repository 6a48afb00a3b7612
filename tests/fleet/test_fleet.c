/* SPDX-License-Identifier: Apache-2.0 */
/* Which targets are private addresses. */
#include "fleet/registry.h"
#include "fleet/repro.h"

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
    ck_assert(!fleet_target_is_private("[::1")); /* the SSH client rejects it */
}
END_TEST

START_TEST(reproducibility_is_of_a_recipe) {
    fleet_repros all = {0};
    ck_assert_int_eq(fleet_repro_least(&all), FLEET_REPRO_UNKNOWN);
    fleet_repro_note(&all, "test.reproducibles", 0);
    fleet_repro_note(&all, "test.speed", 0);
    ck_assert_uint_eq(all.count, 0);
    fleet_repro_note(&all, "test.reproducible.linear", 1);
    fleet_repro_note(&all, "test.reproducible.acme_nb", 1);
    fleet_repro_note(&all, "test.reproducible", 1);
    ck_assert_uint_eq(all.count, 3);
    ck_assert_str_eq(all.at[2].recipe, "");
    ck_assert_int_eq(fleet_repro_least(&all), FLEET_REPRO_SAME);
    fleet_repro_note(&all, "test.reproducible.acme_nb", 0);
    fleet_repro_note(&all, "test.reproducible.acme_nb", 1); /* the lowest of several values counts */
    ck_assert_int_eq(all.at[0].found, FLEET_REPRO_SAME);
    ck_assert_int_eq(all.at[1].found, FLEET_REPRO_DIFFERENT);
    ck_assert_int_eq(fleet_repro_least(&all), FLEET_REPRO_DIFFERENT);
    for (int i = 0; i < 20; i++) {
        char name[40];
        kit_format(name, sizeof name, "test.reproducible.r%d", i);
        fleet_repro_note(&all, name, 1);
    }
    ck_assert_uint_eq(all.count, FLEET_REPROS_MAX);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fleet");
    TCase *tests = tcase_create("fleet");
    tcase_add_test(tests, private_targets);
    tcase_add_test(tests, reproducibility_is_of_a_recipe);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
