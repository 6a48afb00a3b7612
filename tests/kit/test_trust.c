/* SPDX-License-Identifier: Apache-2.0 */
/* The policies of file trust, each with every owner that one process can test and every permission. */
#include "../suite.h"
#include "kolm/kit/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ALL_PERMISSIONS 0777u

typedef struct expectation {
    const char *name;
    kit_trust policy;
    bool root;        /* root is accepted, too */
    unsigned refused; /* permissions that are refused */
} expectation;

static const expectation expected[] = {
    {"private", KIT_TRUST_PRIVATE, false, 0077}, {"made", KIT_TRUST_MADE, false, 0077},
    {"secret", KIT_TRUST_SECRET, true, 0077},    {"own", KIT_TRUST_OWN, true, 0022},
    {"setting", KIT_TRUST_SETTING, true, 0022},  {"shared", KIT_TRUST_SHARED, true, 0002},
};

/* Returns what is wrong, or NULL. */
static const char *judge(const expectation *e, uid_t owner, bool accepted) {
    for (unsigned mode = 0; mode <= ALL_PERMISSIONS; mode++) {
        const struct stat info = {.st_uid = owner, .st_mode = (mode_t)(S_IFREG | mode)};
        kit_trust_fault wanted = !accepted                  ? KIT_TRUST_OWNER
                                 : (mode & e->refused) != 0 ? KIT_TRUST_MODE
                                                            : KIT_TRUST_GOOD;
        if (kit_trust_stat(e->policy, &info) != wanted) {
            static char text[200];
            snprintf(text, sizeof text, "%s: owner %lu, mode %04o", e->name, (unsigned long)owner, mode);
            return text;
        }
    }
    return NULL;
}

static void is(const expectation *e, uid_t owner, bool accepted) {
    const char *wrong = judge(e, owner, accepted);
    ck_assert_msg(wrong == NULL, "%s", wrong);
}

/* A user without a name, whom an incomplete user namespace would show with another id. */
static uid_t somebody(uid_t self) {
    return self == 4711 ? 4712 : 4711;
}

START_TEST(each_policy) {
    const expectation *e = &expected[_i];
    is(e, geteuid(), true);
    if (geteuid() != 0) is(e, 0, e->root);
    is(e, somebody(geteuid()), false);
}
END_TEST

/* Not as root, for whom "self" and "root" are the same. The next test may run in the same process. */
START_TEST(each_policy_as_a_user) {
    if (geteuid() != 0 || seteuid(somebody(0)) != 0) return;
    const expectation *e = &expected[_i];
    is(e, geteuid(), true);
    is(e, 0, e->root);
    is(e, somebody(geteuid()), false);
    ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(sticky) {
    const struct {
        uid_t owner;
        mode_t mode;
        bool sticky;
    } cases[] = {{0, S_IFDIR | 01777, true},
                 {0, S_IFDIR | 0777, false},
                 {0, S_IFREG | 01777, false},
                 {somebody(0), S_IFDIR | 01777, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct stat info = {.st_uid = cases[i].owner, .st_mode = cases[i].mode};
        ck_assert_msg(kit_trust_is_sticky(&info) == cases[i].sticky, "case %zu", i);
        ck_assert_uint_eq(kit_trust_owner_number(&info), cases[i].owner);
    }
}
END_TEST

START_TEST(a_directory_in_a_place_of_many) {
    char dir[] = "kit-trust-XXXXXX", path[64], other[64];
    struct stat info;
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/ours", dir);
    snprintf(other, sizeof other, "%s/link", dir);
    ck_assert_int_eq(kit_trust_make_directory(path, &err), KOLM_OK);
    ck_assert_int_eq(kit_trust_make_directory(path, &err), KOLM_OK); /* it already exists */
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0700);
    ck_assert_int_eq(symlink("ours", other), 0);
    ck_assert_int_eq(kit_trust_make_directory(other, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(chmod(path, 0710), 0);
    ck_assert_int_eq(kit_trust_make_directory(path, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_str_eq(err.remedy, "");
    ck_assert_int_eq(unlink(other) + rmdir(path), 0);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
    ck_assert_int_eq(chmod(path, 0700), 0);
    ck_assert_int_eq(kit_trust_make_directory(path, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(unlink(path) + rmdir(dir), 0);
    ck_assert_int_eq(kit_trust_make_directory(path, &err), KOLM_E_NOT_FOUND);
}
END_TEST

START_TEST(owners) {
    const struct stat mine = {.st_uid = geteuid()}, other = {.st_uid = somebody(geteuid())};
    ck_assert_int_eq(kit_trust_owner(&mine), KIT_OWNER_SELF);
    ck_assert_int_eq(kit_trust_owner(&other), KIT_OWNER_OTHER);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit trust");
    TCase *c = tcase_create("trust");
    tcase_add_loop_test(c, each_policy, 0, sizeof expected / sizeof *expected);
    tcase_add_loop_test(c, each_policy_as_a_user, 0, sizeof expected / sizeof *expected);
    tcase_add_test(c, sticky);
    tcase_add_test(c, a_directory_in_a_place_of_many);
    tcase_add_test(c, owners);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
