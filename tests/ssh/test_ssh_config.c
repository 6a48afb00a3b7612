/* SPDX-License-Identifier: Apache-2.0 */
/* Targets, patterns, ssh_config with Include, and known_hosts, each as a table. */
#include "../../sdk/ssh/src/internal.h"
#include "../suite.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(test_targets) {
    static const struct {
        const char *text, *user, *host;
        unsigned port;
    } good[] = {
        {"box", "", "box", 0},
        {"me@box", "me", "box", 0},
        {"me@box:2222", "me", "box", 2222},
        {"box:65535", "", "box", 65535},
        {"[::1]", "", "::1", 0},
        {"[fe80::1%eth0]:22", "", "fe80::1%eth0", 22},
        {"me@[::1]:1", "me", "::1", 1},
        {"::1", "", "::1", 0},
        {"a@b.example@box", "a@b.example", "box", 0},
        {"b\xC3\xBCro", "", "b\xC3\xBCro", 0},
    };
    static const char *const bad[] = {"",
                                      "@box",
                                      "me@",
                                      "box:",
                                      "box:0",
                                      "box:65536",
                                      "box:22x",
                                      "[::1",
                                      "[::1]x",
                                      "[]:22",
                                      "-oProxyCommand=x",
                                      "-l@box",
                                      "me@-box",
                                      "bo x",
                                      "box\n",
                                      "box;ls",
                                      "$(x)@box",
                                      "a`b`@box",
                                      "bo/x",
                                      "\xFF",
                                      ":22"};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_ssh_target target;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(kit_ssh_target_parse(good[i].text, &target, &err) == KOLM_OK, "%s: %s", good[i].text, err.text);
        ck_assert_str_eq(target.user, good[i].user);
        ck_assert_str_eq(target.host, good[i].host);
        ck_assert_uint_eq(target.port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(kit_ssh_target_parse(bad[i], &target, &err) == KOLM_E_INVALID_ARGUMENT, "%s was taken", bad[i]);
        ck_assert(err.remedy[0] != '\0' && strpbrk(err.text, "\n") == NULL);
    }
    char long_name[400];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    ck_assert_int_eq(kit_ssh_target_parse(long_name, &target, &err), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

START_TEST(test_patterns) {
    static const struct {
        const char *host, *patterns;
        bool matches;
    } rows[] = {
        {"box", "box", true},
        {"box", "Box", true},
        {"box", "b?x", true},
        {"box", "b*", true},
        {"box", "*", true},
        {"box", "bo", false},
        {"box", "boxx", false},
        {"box", "!box", false},
        {"box", "*,!box", false},
        {"box", "!other,*", true},
        {"box", "!other", false},
        {"box", "", false},
        {"box", ",,box", true},
        {"a.b.c", "*.b.*", true},
        {"a.b.c", "*.c.*", false},
        {"[h]:22", "[h]:*", true},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*a*a*a*a*c", false},
        {"", "*", true},
        {"", "?", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(kit_ssh_match_list(rows[i].host, rows[i].patterns) == rows[i].matches, "%s and %s", rows[i].host,
                      rows[i].patterns);
}
END_TEST

static kit_ssh_config parse(const char *text, const char *host) {
    kit_ssh_config config;
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_ssh_config_parse(text, strlen(text), host, &config, &err) == KOLM_OK, "%s", err.text);
    return config;
}

START_TEST(test_config_values) {
    kit_ssh_config c = parse("# a remark\n"
                             "User first\n"
                             "Host other !box *.example\n  User never\n"
                             "host=box b?x\n"
                             "\tHostName = %h.example\n"
                             "  port 2222   # said once\n"
                             "  Port 3333\n"
                             "  IdentityFile \"/keys/with blank/%h-%n-%p-%r-%%\"\n"
                             "  IdentityFile none\n"
                             "  identityfile /keys/second\n"
                             "  CertificateFile /keys/second-cert.pub\n"
                             "  IdentitiesOnly yes\n"
                             "  ProxyJump me@one:22,two\n"
                             "  ProxyJump three\n"
                             "  UserKnownHostsFile /a \"/b c\"\n"
                             "  ConnectTimeout 1m30s\n"
                             "  Compression yes\n"
                             "Match user x\n  User matched\n"
                             "Match exec true\n  Port 4444\n"
                             "Host *\n  User last\n  ProxyCommand nc %h %p\n  HostKeyAlias Y\r\n  BindAddress ::1\n",
                             "box");
    ck_assert_str_eq(c.host_name, "box.example");
    ck_assert_str_eq(c.user, "first");
    ck_assert_uint_eq(c.port, 2222);
    ck_assert_uint_eq(c.identity_files.count, 2);
    ck_assert_str_eq(c.identity_files.items[0], "/keys/with blank/box.example-box-2222-first-%");
    ck_assert_str_eq(c.identity_files.items[1], "/keys/second");
    ck_assert_uint_eq(c.certificate_files.count, 1);
    ck_assert(c.identities_only);
    ck_assert_uint_eq(c.proxy_jump.count, 2);
    ck_assert_str_eq(c.proxy_jump.items[0], "me@one:22");
    ck_assert_str_eq(c.proxy_jump.items[1], "two");
    ck_assert_uint_eq(c.known_hosts.count, 2);
    ck_assert_str_eq(c.known_hosts.items[1], "/b c");
    ck_assert_uint_eq(c.connect_timeout_s, 90);
    ck_assert_str_eq(c.host_key_alias, "y");
    ck_assert(c.identity_files_set && c.certificate_files_set && c.known_hosts_set && !c.global_known_hosts_set);
    ck_assert_uint_eq(c.notes.count, 2);
    ck_assert(strstr(c.notes.items[0], "line 21: Match exec is skipped") != NULL);
    ck_assert(strstr(c.notes.items[1], "BindAddress") != NULL);
    kit_ssh_config_free(&c);
    c = parse("Host box\n ProxyJump none\nHost *\n ProxyJump hop\n IdentitiesOnly no\n", "box");
    ck_assert(c.proxy_jump.count == 0 && !c.identities_only && c.user == NULL && c.port == 0);
    kit_ssh_config_free(&c);
    c = parse("IdentityAgent \"/a gent/%h\"\nIdentityAgent none\n", "box");
    ck_assert_str_eq(c.identity_agent, "/a gent/box");
    kit_ssh_config_free(&c);
    c = parse("IdentityAgent SSH_AUTH_SOCK\n", "box");
    ck_assert_ptr_null(c.identity_agent);
    kit_ssh_config_free(&c);
    c = parse("IdentityAgent $NO_SUCH_VARIABLE_HERE\n", "box");
    ck_assert_str_eq(c.identity_agent, "none");
    kit_ssh_config_free(&c);
    c = parse("Host * !box\n Port 1\nHost !box\n Port 2\n", "box");
    ck_assert_uint_eq(c.port, 0);
    kit_ssh_config_free(&c);
    kit_ssh_config_free(&c);
}
END_TEST

START_TEST(test_config_errors) {
    static const struct {
        const char *text, *wants;
    } rows[] = {
        {"Port x\n", "line 1"},
        {"\n\nPort 0\n", "line 3"},
        {"Port 70000\n", "65535"},
        {"User\n", "without a value"},
        {"Host\n", "without a value"},
        {"User \"open\n", "unclosed quote"},
        {"IdentitiesOnly maybe\n", "yes or no"},
        {"ConnectTimeout soon\n", "number of seconds"},
        {"ProxyJump a,,b\n", "hop"},
        {"IdentityFile %Z\n", "%Z"},
        {"HostName %p\n", "%p"},
        {"HostNam x\n", "HostNam"},
        {"\xEF\xBB\xBFUser x\n", "byte order mark"},
        {"UserKnownHostsFile ${KOLM_NO_SUCH}/k\n", "KOLM_NO_SUCH"},
        {"IdentityFile ~no-such-user-here/k\n", "does not exist"},
        {"Match nonsense x\n", "nonsense"},
        {"RefuseConnection moved\n", "moved"},
        {"User a b\n", "more than one"},
    };
    kolm_error_t err = KIT_ERROR_INIT;
    kit_ssh_config c;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(kit_ssh_config_parse(rows[i].text, strlen(rows[i].text), "box", &c, &err) ==
                          KOLM_E_INVALID_ARGUMENT,
                      "%s was taken", rows[i].text);
        ck_assert_msg(strstr(err.text, rows[i].wants) != NULL, "%s", err.text);
    }
    static const char *const names[] = {"HostName", "User", "HostKeyAlias"};
    char line[400], name[300];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        kit_format(line, sizeof line, "%s %s\n", names[i], name);
        ck_assert_int_eq(kit_ssh_config_parse(line, strlen(line), "box", &c, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert(strstr(err.text, "too long") != NULL);
    }
    ck_assert_int_eq(kit_ssh_config_parse("User a\0b\n", 9, "box", &c, &err), KOLM_E_INVALID_ARGUMENT);
    /* Lines for other hosts are checked, as in ssh, but expansions only for this one. */
    ck_assert_int_eq(kit_ssh_config_parse("Host other\n Port x\n", 20, "box", &c, &err), KOLM_E_INVALID_ARGUMENT);
    c = parse("Host other\n IdentityFile %Z\n UserKnownHostsFile ${KOLM_NO_SUCH}/k\n", "box");
    kit_ssh_config_free(&c);
}
END_TEST

static char *root;

static void write_file(const char *name, const char *text, unsigned mode) {
    char *path = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_path_join(root, name, &path, &err), KOLM_OK);
    ck_assert_msg(kit_write_file(path, 0600, text, strlen(text), &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(chmod(path, (mode_t)mode), 0);
    free(path);
}

static kit_status read_config(const char *name, const char *host, kit_ssh_config *out, kolm_error_t *err) {
    char *path = NULL;
    ck_assert_int_eq(kit_path_join(root, name, &path, err), KOLM_OK);
    kit_status status = kit_ssh_config_read(path, host, out, err);
    free(path);
    return status;
}

START_TEST(test_config_include) {
    char template[] = "/tmp/kolm-ssh-config.XXXXXX";
    kolm_error_t err = KIT_ERROR_INIT;
    kit_ssh_config c;
    root = mkdtemp(template);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(setenv("HOME", root, 1), 0);
    char link_name[200];
    kit_format(link_name, sizeof link_name, "%s/.ssh", root);
    ck_assert_int_eq(symlink(".", link_name), 0);
    write_file("config",
               "Include part.*\nHost box\n Include ~/inside\n User late\nHost far\n Include inside\nHost *\n Port 7\n",
               0644);
    write_file("part.a", "Host box\n IdentityFile ~/a\n", 0600);
    write_file("part.b", "IdentityFile ~/b\nHost nobody\n", 0600);
    write_file("inside", "User early\nHost nobody\n Port 1\n", 0600);
    ck_assert_msg(read_config("config", "box", &c, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(c.user, "early");
    ck_assert_uint_eq(c.port, 7);
    ck_assert_uint_eq(c.identity_files.count, 2);
    char wanted[200];
    kit_format(wanted, sizeof wanted, "%s/a", root);
    ck_assert_str_eq(c.identity_files.items[0], wanted);
    kit_ssh_config_free(&c);
    ck_assert_int_eq(read_config("config", "third", &c, &err), KOLM_OK);
    ck_assert_ptr_null(c.user);
    kit_ssh_config_free(&c);
    /* Missing includes are ignored; loops, missing files and files that others can write are errors. */
    write_file("config", "Include nothing*\nUser x\n", 0600);
    ck_assert_int_eq(read_config("config", "box", &c, &err), KOLM_OK);
    kit_ssh_config_free(&c);
    write_file("config", "Include config\n", 0600);
    ck_assert_int_eq(read_config("config", "box", &c, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert(strstr(err.text, "too deep") != NULL);
    ck_assert_int_eq(read_config("absent", "box", &c, &err), KOLM_E_NOT_FOUND);
    write_file("config", "User x\n", 0666);
    ck_assert_int_eq(read_config("config", "box", &c, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(kit_ssh_config_read("none", "box", &c, &err), KOLM_OK);
    ck_assert_str_eq(c.host_name, "box");
    kit_ssh_config_free(&c);
    /* ~/.ssh/config is the default one. */
    write_file("config", "User x\n", 0600);
    ck_assert_int_eq(kit_ssh_config_read(NULL, "box", &c, &err), KOLM_OK);
    ck_assert_str_eq(c.user, "x");
    kit_ssh_config_free(&c);
    ck_assert_int_eq(kit_remove_tree(root, &err), KOLM_OK);
}
END_TEST

/* "ssh-ed25519" and 32 equal bytes: A, B and C. */
#define KEY_A "AAAAC3NzaC1lZDI1NTE5AAAAIEFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"
#define KEY_B "AAAAC3NzaC1lZDI1NTE5AAAAIEJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC"
/* "ssh-rsa" and nothing else. */
#define KEY_RSA "AAAAB3NzaC1yc2E="

START_TEST(test_paths) {
    static const struct {
        const char *text, *path; /* NULL: refused */
    } rows[] = {
        {"/a/b", "/a/b"},
        {"~/a", "/home/me/a"},
        {"~", "/home/me"},
        {"${KOLM_T}/a", "/set/a"},
        {"~/${KOLM_T}", "/home/me//set"},
        {"%h/a", NULL},
        {"/%h", "/%h"},
        {"a", NULL},
        {"", NULL},
        {"$KOLM_T/a", NULL},
        {"${KOLM_NO_SUCH}", NULL},
        {"${KOLM_T", NULL},
        {"/${}", NULL},
        {"~no-such-user-here/a", NULL},
        {"/a~b", "/a~b"},
    };
    ck_assert_int_eq(setenv("HOME", "/home/me", 1), 0);
    ck_assert_int_eq(setenv("KOLM_T", "/set", 1), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        char *path = NULL;
        kit_status status = kit_ssh_path(rows[i].text, &path, &err);
        ck_assert_msg((status == KOLM_OK) == (rows[i].path != NULL), "%s: %s", rows[i].text, err.text);
        if (rows[i].path != NULL) ck_assert_str_eq(path, rows[i].path);
        ck_assert(status == KOLM_OK || (path == NULL && err.remedy[0] != '\0'));
        free(path);
    }
}
END_TEST

START_TEST(test_known_hosts) {
    static const struct {
        const char *text;
        ssh_known_answer answer;
        unsigned line;
    } rows[] = {
        {"", SSH_KNOWN_NEW, 0},
        {"box ssh-ed25519 " KEY_A " a remark\n", SSH_KNOWN_GOOD, 1},
        {"# x\n\nother,box ssh-ed25519 " KEY_A "\r\n", SSH_KNOWN_GOOD, 3},
        {"box ssh-ed25519 " KEY_B "\n", SSH_KNOWN_CHANGED, 1},
        {"box ssh-ed25519 " KEY_B "\nbox ssh-ed25519 " KEY_A "\n", SSH_KNOWN_GOOD, 2},
        {"box ssh-rsa " KEY_RSA "\n", SSH_KNOWN_OTHER_TYPE, 1},
        {"box ssh-rsa " KEY_RSA "\nb* ssh-ed25519 " KEY_B "\n", SSH_KNOWN_CHANGED, 2},
        {"box ssh-ed25519 " KEY_A "\n@revoked * ssh-ed25519 " KEY_A "\n", SSH_KNOWN_REVOKED, 2},
        {"@revoked * ssh-ed25519 " KEY_B "\n", SSH_KNOWN_NEW, 0},
        {"@cert-authority * ssh-ed25519 " KEY_A "\n", SSH_KNOWN_NEW, 1},
        {"@unknown * ssh-ed25519 " KEY_A "\n", SSH_KNOWN_NEW, 0},
        {"box ssh-rsa " KEY_A "\n", SSH_KNOWN_NEW, 0}, /* names another type than its key's */
        {"box ssh-ed25519 not-base64!\n", SSH_KNOWN_NEW, 0},
        {"box ssh-ed25519\nbox\n", SSH_KNOWN_NEW, 0},
        {"*,!box ssh-ed25519 " KEY_A "\n", SSH_KNOWN_NEW, 0},
        {"[box]:22 ssh-ed25519 " KEY_A "\n", SSH_KNOWN_NEW, 0},
        {"BOX ssh-ed25519 " KEY_A, SSH_KNOWN_GOOD, 1},
        {"|1|AAAA|AAAA ssh-ed25519 " KEY_A "\n", SSH_KNOWN_NEW, 0},
        {"|1|c2FsdA== ssh-ed25519 " KEY_A "\n", SSH_KNOWN_NEW, 0},
        /* printf box | openssl dgst -sha1 -mac HMAC -macopt hexkey:$(printf 'salt for the box' | xxd -p) */
        {"|1|c2FsdCBmb3IgdGhlIGJveA==|ZQFirvLMZi9l0pNMKdvU/4NQyK8= ssh-ed25519 " KEY_A "\n", SSH_KNOWN_GOOD, 1},
    };
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf key = {0};
    ck_assert_int_eq(kit_base64_decode(&key, KEY_A, strlen(KEY_A), &err), KOLM_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ssh_known known = {0};
        const ssh_known_entry *entry = NULL;
        ck_assert_int_eq(ssh_known_parse(&known, "file", rows[i].text, strlen(rows[i].text), "box", &err), KOLM_OK);
        ck_assert_msg(ssh_known_check(&known, (const uint8_t *)key.data, key.length, &entry) == rows[i].answer,
                      "row %zu: %s", i, rows[i].text);
        ck_assert_msg((entry != NULL ? entry->line : 0) == rows[i].line, "row %zu", i);
        ssh_known_free(&known);
    }
    char fingerprint[SSH_FINGERPRINT_BYTES];
    ck_assert_int_eq(ssh_fingerprint((const uint8_t *)key.data, key.length, fingerprint, &err), KOLM_OK);
    ck_assert_uint_eq(strlen(fingerprint), 50);
    kit_buf_free(&key);
}
END_TEST

START_TEST(test_wire) {
    static const uint8_t bytes[] = {0, 0, 0, 2, 'h', 'i', 1, 0xFF, 0xFF, 0xFF, 0xFF};
    ssh_cursor cursor = {.at = bytes, .left = sizeof bytes};
    size_t length = 0;
    const uint8_t *text = ssh_get_string(&cursor, &length);
    ck_assert(length == 2 && memcmp(text, "hi", 2) == 0);
    ck_assert_uint_eq(ssh_get_u8(&cursor), 1);
    ck_assert_ptr_null(ssh_get_string(&cursor, &length));
    ck_assert(cursor.failed && length == 0);
    ck_assert_uint_eq(ssh_get_u64(&cursor), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ssh");
    TCase *cases = tcase_create("config");
    suite_add_tcase(suite, cases);
    tcase_add_test(cases, test_targets);
    tcase_add_test(cases, test_patterns);
    tcase_add_test(cases, test_config_values);
    tcase_add_test(cases, test_config_errors);
    tcase_add_test(cases, test_config_include);
    tcase_add_test(cases, test_paths);
    tcase_add_test(cases, test_known_hosts);
    tcase_add_test(cases, test_wire);
    return run_suite(suite);
}
