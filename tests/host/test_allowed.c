/* SPDX-License-Identifier: Apache-2.0 */
/* What the fence allows: what is declared and granted, what config.json adds, what the job names. */
#include "fence_fixture.h"

/* ---- What is declared, and what config.json adds */
START_TEST(test_declared) {
    add_plugin(",\"files\":{\"read\":[\"~/.ssh\",\"~/.kolm/credentials\",\"${KOLM_FENCE_DATA}/beside\"],"
               "\"write\":[\"~/.ssh/known_hosts\",\"~/.cache/reaches/\"]}");
    if (landlock() < 6) return;
    ck_assert_int_eq(setenv("KOLM_FENCE_DATA", at("data"), 1), 0);
    want("read", at("home/.ssh/id"));
    want("append", at("home/.ssh/known_hosts"));
    want("write", at("home/.cache/reaches/x"));
    want("read", at("data/beside"));
    configure("");
    (void)call("train", false);
    ck_assert_msg(count_of("GOT") == 4, "%s", kit_buf_text(&logs));
    want("append", at("home/.ssh/id"));
    want("write", at("home/.ssh/authorized_keys"));
    want("write", at("home/.cache/x"));
    want("read", at("data/model.kolm"));
    want("read", at("home/.kolm/credentials"));
    configure("");
    (void)call("train", false);
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
    ck_assert_uint_eq(count_of("is kept from the backend"), 1); /* ~/.kolm/credentials */
}
END_TEST

static kit_status no_grant(void *user, const host_backend *row, kolm_error_t *why) {
    (void)user;
    (void)row;
    return kit_fail(why, KOLM_E_PERMISSION_DENIED, "", "not granted");
}

START_TEST(test_not_granted) {
    add_plugin(",\"files\":{\"read\":[\"~/.ssh\"]}");
    if (landlock() < 6) return;
    kolm_error_t err = KIT_ERROR_INIT;
    want("read", at("home/.ssh/id"));
    configure("");
    const char *dirs[] = {at("plugins")};
    host_scan_options options = {
        .dirs = dirs, .dir_count = 1, .program = program, .config = {.json = config}, .grant = no_grant};
    host_registry_free(registry);
    must(host_scan(&options, &registry, &err), &err);
    static host_result result;
    static const host_events events = {.log = on_log};
    const host_call_options call_options = {.timeout_ms = PATIENCE_MS, .config = config, .events = &events};
    must(host_train(registry, host_find(registry, "reaches"), at("home/.kolm/jobs/one/job"), 1, &call_options, &result,
                    &err),
         &err);
    ck_assert_int_eq(result.verdict, HOST_NOT_LOADED); /* it is not called at all */
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
}
END_TEST

START_TEST(test_more_from_config) {
    char fence[PATH_MAX + 64];
    if (landlock() < 6) return;
    kit_format(fence, sizeof fence, "{\"read\":[\"%s\"],\"write\":[\"~/.profile\"]}", at("data"));
    want("read", at("data/beside"));
    want("append", at("home/.profile"));
    configure(fence);
    (void)call("detect", false);
    ck_assert_msg(count_of("GOT") == 2, "%s", kit_buf_text(&logs));
}
END_TEST

/* PATH contains directories in the home, above it, and in KOLM_HOME: programs can be run, secrets stay inaccessible. */
START_TEST(test_variables_that_lead_home) {
    char path[PATH_MAX];
    if (landlock() < 6) return;
    kit_format(path, sizeof path, "/usr/bin:/bin:%s:%s:%s:%s", at("home/bin"), at("home"), at("home/.kolm/keys"), root);
    ck_assert_int_eq(setenv("PATH", path, 1), 0);
    want("run", at("home/bin/tool"));
    want("read", at("data/beside")); /* root is accessible except for the home */
    configure("");
    (void)call("detect", false);
    ck_assert_msg(count_of("GOT") == 2, "%s", kit_buf_text(&logs));
    want("read", at("home/.kolm/keys/signing.pem"));
    want("read", at("home/.kolm/credentials"));
    want("read", at("home/.profile"));
    configure("");
    (void)call("detect", false);
    ck_assert_msg(count_of("GOT") == 0, "%s", kit_buf_text(&logs));
}
END_TEST

/* ---- What job.json names, and descriptors */
START_TEST(test_files_of_the_job) {
    char job[PATH_MAX * 5];
    static host_result result;
    static const host_events events = {.log = on_log};
    static const char *const names[] = {"keys", NULL};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_format(job, sizeof job,
               "{\"model_files\":[{\"path\":\"%s\"},{\"path\":\"%s\"},{\"path\":\"%s\"},{\"path\":\"%s\"}],"
               "\"options\":{\"base\":{\"path\":\"%s\"}}}",
               at("data/model.kolm"), at("home/.kolm/keys/signing.pem"), at("home/.kolm/jobs/one/job/linked"),
               at("home/.kolm/jobs/one/job/away/id"), at("base/snapshots/x"));
    /* An earlier call may have made these links: they do not extend what the job grants. */
    ck_assert_int_eq(symlink(at("data/beside"), at("home/.kolm/jobs/one/job/linked")), 0);
    ck_assert_int_eq(symlink(at("home/.ssh"), at("home/.kolm/jobs/one/job/away")), 0);
    put("base/blobs/1", "weights\n");
    put("base/snapshots/x/config.json", "{}\n");
    ck_assert_int_eq(symlink("../../blobs/1", at("base/snapshots/x/model.safetensors")), 0);
    put("home/.kolm/jobs/one/job/job.json", job);
    put("data/in", "a line\n");
    put("data/out", "");
    int in = open(at("data/in"), O_RDONLY | O_CLOEXEC), out = open(at("data/out"), O_WRONLY | O_CLOEXEC);
    ck_assert(in >= 0 && out >= 0);
    for (int airgap = 0; airgap < 2; airgap++) {
        want("read", at("data/model.kolm"));
        want("read", at("base/snapshots/x/config.json"));
        want("read", at("base/snapshots/x/model.safetensors"));
        want("read", at("home/.kolm/keys/signing.pem"));
        want("append", at("data/model.kolm"));
        want("read", at("data/beside"));
        want("read", at("home/.ssh/id"));
        configure("");
        const host_call_options options = {.timeout_ms = PATIENCE_MS,
                                           .airgap_strict = airgap != 0,
                                           .config = config,
                                           .events = &events,
                                           .private_dir = at("home/.kolm"),
                                           .private_names = names};
        kit_buf_clear(&logs);
        must(host_infer(registry, host_find(registry, "reaches"), at("home/.kolm/jobs/one/job"), 1, in, out, &options,
                        &result, &err),
             &err);
        ck_assert_msg(result.verdict == HOST_OK && result.infer.answers == 1, "%s\n%s", result.error.text,
                      kit_buf_text(&logs));
        if (landlock() >= 3) ck_assert_msg(count_of("GOT") == 3, "%s", kit_buf_text(&logs));
    }
    close(in);
    close(out);
}
END_TEST

/* ---- Invalid configurations */
#define FOUR "\"/a\",\"/a\",\"/a\",\"/a\","
#define SEVENTEEN "[" FOUR FOUR FOUR FOUR "\"/a\"]"

START_TEST(test_manifests) {
    static const char *const bad[] = {"\"/srv\"",
                                      "[]",
                                      "{\"read\":\"/srv\"}",
                                      "{\"exec\":[]}",
                                      "{\"read\":[\"srv\"]}",
                                      "{\"read\":[\"/\"]}",
                                      "{\"read\":[\"~/\"]}",
                                      "{\"read\":[\"~\"]}",
                                      "{\"read\":[\"/srv/../etc\"]}",
                                      "{\"read\":[\"${1A}/x\"]}",
                                      "{\"read\":[\"${HOME\"]}",
                                      "{\"write\":[\"${A}/..\"]}",
                                      "{\"write\":[7]}",
                                      "{\"write\":[\"@nothing\"]}",
                                      "{\"read\":" SEVENTEEN "}"};
    char text[2048];
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kit_format(text, sizeof text, ",\"files\":%s", bad[i]);
        add_plugin(text);
        const char *dirs[] = {at("plugins")};
        host_scan_options options = {.dirs = dirs, .dir_count = 1, .program = program};
        must(host_scan(&options, &registry, &err), &err);
        const host_backend *row = host_find(registry, "reaches");
        ck_assert_msg(row->state == HOST_ROW_REFUSED && row->rule == HOST_RULE_MANIFEST, "%s", bad[i]);
        ck_assert_ptr_nonnull(strstr(row->why.text, "\"files\""));
        host_registry_free(registry);
        registry = NULL;
    }
}
END_TEST

int main(void) {
    find_here();
    Suite *suite = suite_create("host-allowed");
    TCase *fence = tcase_create("fence");
    tcase_add_checked_fixture(fence, setup, teardown);
    tcase_set_timeout(fence, 300);
    tcase_add_test(fence, test_declared);
    tcase_add_test(fence, test_not_granted);
    tcase_add_test(fence, test_more_from_config);
    tcase_add_test(fence, test_variables_that_lead_home);
    tcase_add_test(fence, test_files_of_the_job);
    tcase_add_test(fence, test_manifests);
    suite_add_tcase(suite, fence);
    return run_suite(suite);
}
