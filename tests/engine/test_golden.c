/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of small models, and the version that stands for them: they change together, or not at all. */
#include "backend.h"
#include "engine_fixture.h"
#include "kolm/kit/digest.h"

/*
 * A receipt names the engine by LOCAL_CPU_TOOLCHAIN, and a user who repeats a compile with the same version expects the
 * same bytes. If a test below fails, the bytes have changed: increment the version in plugins/local-cpu/backend.h, put
 * the new digest here, and the manifest's into README.md (./dev demo). For the recipe encoder see test_same_bytes.py.
 */
#define WORD "kolm-linear 2"

static const struct golden {
    uint32_t rows, labels, noise;
    choose_effort effort;
    const char *sha256;
} golden[] = {
    {600, 5, 10, EFFORT_QUICK, "7dd0ff5a775a90dacac577b12e1ea119475dbd4df663043249c3112d7bd07ea7"},
    {600, 5, 10, EFFORT_NORMAL, "6e0c049ac8a0aa0a51097c2d1c09b490b100b93ff06e4ddee4368fe657e24cb7"},
    {900, 3, 30, EFFORT_HIGH, "7ec63a0cb15406e618ab8ed9877540707a4c46360213dac55824371605ea5fcc"},
    {9000, 9, 20, EFFORT_NORMAL,
     "276e56e6fc024622850f89eb0252e6cd5d1af865cda7b7dd9694e880a78b68a6"}, /* the first fold decides */
    {20400, 4, 20, EFFORT_QUICK,
     "04e0bc187ef6e1dee23e0869f251f04dd1fafe377127995ec28994d6c9fdbf75"}, /* another cost above 20,000 rows */
};

START_TEST(bytes_are_those_of_the_word) {
    const struct golden *g = &golden[_i];
    char digest[KIT_SHA256_HEX];
    uint64_t size;
    ck_assert_str_eq(LOCAL_CPU_TOOLCHAIN, WORD);
    made_rows(&data, 11, g->rows, g->labels, g->noise);
    write_rows();
    train_request q = request_for(g->rows, 2);
    q.effort = g->effort;
    train_report r = must_train(&q);
    train_report_free(&r);
    ck_assert_int_eq(kit_sha256_file(model_path, digest, &size, &err), KOLM_OK);
    ck_assert_msg(strcmp(digest, g->sha256) == 0,
                  "%s with %u rows gave %s: increment LOCAL_CPU_TOOLCHAIN, and put that here", LOCAL_CPU_TOOLCHAIN,
                  (unsigned)g->rows, digest);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("engine golden");
    TCase *tcase = tcase_create("golden");
    tcase_set_timeout(tcase, 600);
    tcase_add_checked_fixture(tcase, setup, teardown);
    /* Large models use the same code. */
    tcase_add_loop_test(tcase, bytes_are_those_of_the_word, 0, test_slowed() ? 3 : sizeof golden / sizeof *golden);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
