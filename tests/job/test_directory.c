/* SPDX-License-Identifier: Apache-2.0 */
/* Job directories: private, owned by a running process, cleaned up after a dead one, described as the protocol
 * requires. */
#include "../suite.h"
#include "fixture.h"

#include "job/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static kolm_error_t err;
static char base[64], root[80];

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-job-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    kit_format(root, sizeof root, "%s/deep/jobs", base);
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

static const char *in_root(const char *name) {
    static char paths[4][160];
    static size_t next;
    char *path = paths[next++ % 4];
    kit_format(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static bool exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

static unsigned mode_of(const char *path) {
    struct stat info;
    ck_assert_msg(lstat(path, &info) == 0, "%s is there", path);
    return info.st_mode & 07777;
}

/* The number of entries of root, without "." and "..". */
static size_t entries(void) {
    size_t count = 0;
    DIR *listing = opendir(root);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(listing);
    return count;
}

static void make(job_directory *out) {
    ck_assert_msg(job_directory_make(root, out, &err) == KOLM_OK, "%s", err.text);
}

static void touch(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    close(fd);
}

START_TEST(a_job_is_private_and_gone_afterwards) {
    job_directory d;
    mode_t before = umask(0);
    make(&d);
    umask(before);
    ck_assert_uint_eq(mode_of(root), 0700);
    ck_assert_uint_eq(mode_of(d.path), 0700);
    ck_assert_uint_eq(mode_of(d.job), 0700);
    ck_assert_uint_eq(mode_of(d.private), 0700);
    ck_assert_uint_eq(mode_of(d.lock_path), 0600);
    ck_assert_uint_eq(strlen(d.id), 16);
    ck_assert_uint_eq(strspn(d.id, "0123456789abcdef"), 16);
    ck_assert_str_eq(d.path, in_root(d.id));
    ck_assert(fcntl(d.lock_fd, F_GETFD) & FD_CLOEXEC);
    /* The backend's directory does not contain the private one. */
    ck_assert_ptr_null(strstr(d.private, d.job));
    char *file = NULL;
    ck_assert_int_eq(kit_path_join(d.job, "model", &file, &err), KOLM_OK);
    touch(file);
    free(file);
    job_directory_close(&d, false);
    ck_assert_uint_eq(entries(), 0);
    job_directory_close(&d, false); /* no-op if closed */
    job_directory_close(&(job_directory){.lock_fd = -1}, false);
}
END_TEST

START_TEST(two_jobs_do_not_meet) {
    job_directory a, b;
    make(&a);
    make(&b);
    ck_assert_str_ne(a.path, b.path);
    ck_assert(exists(a.job) && exists(b.job));
    job_directory_close(&a, false);
    ck_assert(exists(b.job));
    ck_assert_uint_eq(entries(), 2); /* b and its lock */
    job_directory_close(&b, false);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(a_kept_job_stays) {
    job_directory d, next;
    make(&d);
    char kept[96];
    kit_format(kept, sizeof kept, "kept-%s", d.id);
    char *file = NULL;
    ck_assert_int_eq(kit_path_join(d.job, "note", &file, &err), KOLM_OK);
    touch(file);
    free(file);
    ck_assert_int_eq(job_directory_keep(&d, &err), KOLM_OK);
    ck_assert_str_eq(d.path, in_root(kept));
    job_directory_close(&d, true);
    make(&next);
    job_directory_close(&next, false);
    ck_assert_uint_eq(entries(), 1);
    ck_assert(exists(in_root(kept)));
    char *note = NULL;
    ck_assert_int_eq(kit_path_join(in_root(kept), "job/note", &note, &err), KOLM_OK);
    ck_assert(exists(note));
    free(note);
}
END_TEST

/* Forks a child that owns a job until it is killed, and sends its id through the pipe. */
static pid_t owner(char id[17]) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        job_directory d;
        if (job_directory_make(root, &d, &err) != KOLM_OK || kit_write_all(ends[1], d.id, 16, &err) != KOLM_OK)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    ck_assert_int_eq(kit_read_exact(ends[0], id, 16, &err), KOLM_OK);
    id[16] = '\0';
    close(ends[0]);
    return child;
}

static cJSON *description_in(const char *name) {
    cJSON *json = NULL;
    char *path = NULL;
    ck_assert_int_eq(kit_path_join(in_root(name), "job.json", &path, &err), KOLM_OK);
    ck_assert_msg(kit_json_read(path, 1u << 20, &json, &err) == KOLM_OK, "%s", err.text);
    free(path);
    return json;
}

START_TEST(both_steps_of_a_kept_job_can_be_done_again) {
    job_directory d;
    char name[96], *model = NULL, *rows = NULL;
    const char *text = NULL;
    make(&d);
    const job_description train = {.kind = "train", .task = "t", .recipe = "linear", .effort = "quick", .rows = 4};
    ck_assert_int_eq(job_directory_describe(&d, &train, &err), KOLM_OK);
    ck_assert_int_eq(job_directory_next(&d, &err), KOLM_OK);
    ck_assert_int_eq(kit_path_join(d.job, "model/a", &model, &err), KOLM_OK);
    ck_assert_int_eq(kit_path_join(d.job, "eval.jsonl", &rows, &err), KOLM_OK);
    touch(rows);
    char a[] = "a", b[] = "b", elsewhere[] = "/elsewhere/b";
    const kit_job_model_file files[] = {{a, model, 0, 3}, {b, elsewhere, 0, 3}};
    const job_description infer = {.kind = "infer",
                                   .task = "t",
                                   .recipe = "linear",
                                   .effort = "quick",
                                   .model_files = files,
                                   .model_file_count = 2};
    ck_assert_int_eq(job_directory_describe(&d, &infer, &err), KOLM_OK);
    /* A backend's changes to it are discarded, because it determines which files the next backend may read. */
    char *description = NULL;
    ck_assert_int_eq(kit_path_join(d.job, "job.json", &description, &err), KOLM_OK);
    ck_assert_int_eq(unlink(description), 0);
    ck_assert_int_eq(symlink("/etc/passwd", description), 0);
    free(description);
    ck_assert_msg(job_directory_keep(&d, &err) == KOLM_OK, "%s", err.text);
    kit_format(name, sizeof name, "kept-%s/job", d.id);
    cJSON *json = description_in(name);
    ck_assert(kit_json_get_string(json, "kind", &text));
    ck_assert_str_eq(text, "train");
    cJSON_Delete(json);
    kit_format(name, sizeof name, "kept-%s/answers", d.id);
    json = description_in(name);
    ck_assert(kit_json_get_string(json, "kind", &text));
    ck_assert_str_eq(text, "infer");
    const cJSON *named = kit_json_get(json, "model_files");
    ck_assert_int_eq(cJSON_GetArraySize(named), 2);
    kit_format(name, sizeof name, "kept-%s/job/model/a", d.id);
    ck_assert(kit_json_get_string(cJSON_GetArrayItem(named, 0), "path", &text));
    ck_assert_str_eq(text, in_root(name));
    ck_assert(kit_json_get_string(cJSON_GetArrayItem(named, 1), "path", &text));
    ck_assert_str_eq(text, "/elsewhere/b");
    cJSON_Delete(json);
    kit_format(name, sizeof name, "kept-%s/answers/eval.jsonl", d.id);
    ck_assert(exists(in_root(name)));
    job_directory_close(&d, true);
    free(model);
    free(rows);
}
END_TEST

START_TEST(an_error_names_no_path_that_will_be_gone) {
    job_directory d;
    kolm_error_t told = KIT_ERROR_INIT;
    char expected[512];
    make(&d);
    kit_fail(&told, KOLM_E_DATA_LOSS, "", "cannot read %s/model/a, and %s/model/b", d.job, d.job);
    kit_format(told.remedy, sizeof told.remedy, "look at %s", d.path);
    kolm_error_t kept = told;
    job_directory_mend_error(&d, false, &told);
    ck_assert_str_eq(told.text, "cannot read model/a, and model/b");
    ck_assert_str_eq(told.remedy, "look at the job directory");
    job_directory_mend_error(&d, true, &kept);
    kit_format(expected, sizeof expected, "cannot read %s/kept-%s/job/model/a, and %s/kept-%s/job/model/b", root, d.id,
               root, d.id);
    ck_assert_str_eq(kept.text, expected);
    job_directory_close(&d, false);
    job_directory_mend_error(&d, false, &told); /* no-op if closed */
}
END_TEST

START_TEST(the_job_of_a_dead_owner_is_removed_and_that_of_a_living_one_is_not) {
    char dead[17], living[17];
    pid_t first = owner(dead), second = owner(living);
    job_directory d;
    make(&d);
    ck_assert(exists(in_root(dead)) && exists(in_root(living)));
    job_directory_close(&d, false);
    ck_assert_int_eq(kill(first, SIGKILL), 0);
    ck_assert_int_eq(waitpid(first, NULL, 0), first);
    make(&d);
    ck_assert(!exists(in_root(dead)));
    ck_assert(exists(in_root(living)));
    char lock[18];
    kit_format(lock, sizeof lock, ".%s", dead);
    ck_assert(!exists(in_root(lock)));
    job_directory_close(&d, false);
    ck_assert_int_eq(kill(second, SIGKILL), 0);
    ck_assert_int_eq(waitpid(second, NULL, 0), second);
    make(&d);
    job_directory_close(&d, false);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER_KEY "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Makes a job of work KEY whose backend left a checkpoint with this text. */
static void make_interrupted(job_directory *d, const char *text) {
    bool found = true;
    char path[256];
    make(d);
    ck_assert_int_eq(job_directory_go_on(d, KEY, &found, &err), KOLM_OK);
    ck_assert(!found);
    kit_format(path, sizeof path, "%s/checkpoint", d->job);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    kit_format(path, sizeof path, "%s/checkpoint/state", d->job);
    ck_assert_int_eq(kit_write_file(path, 0600, text, strlen(text), &err), KOLM_OK);
}

START_TEST(the_next_job_of_the_same_work_begins_with_the_checkpoint) {
    job_directory d;
    bool found = false;
    kit_buf text = {0};
    char path[256];
    make_interrupted(&d, "step 7");
    job_directory_close(&d, false);
    make(&d);
    ck_assert_int_eq(job_directory_go_on(&d, KEY, &found, &err), KOLM_OK);
    ck_assert(found);
    kit_format(path, sizeof path, "%s/checkpoint/state", d.job);
    ck_assert_int_eq(kit_read_file(path, 100, &text, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&text), "step 7");
    kit_buf_free(&text);
    /* The work is finished this time: the backend removed the checkpoint, so none is kept. */
    kit_format(path, sizeof path, "%s/checkpoint", d.job);
    ck_assert_int_eq(kit_remove_tree(path, &err), KOLM_OK);
    job_directory_close(&d, false);
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(the_checkpoint_of_a_dead_owner_is_found_and_that_of_other_work_is_not) {
    char lock[200];
    job_directory dead, d;
    bool found = true;
    make_interrupted(&dead, "step 9");
    /* As if its owner had been killed: the lock is free, and all files still exist. */
    kit_copy(lock, sizeof lock, dead.lock_path);
    close(dead.lock_fd);
    dead.lock_fd = -1;
    job_directory_close(&dead, true);
    make(&d);
    ck_assert_int_eq(job_directory_go_on(&d, OTHER_KEY, &found, &err), KOLM_OK);
    ck_assert(!found);
    job_directory_close(&d, false);
    make(&d);
    ck_assert_int_eq(job_directory_go_on(&d, KEY, &found, &err), KOLM_OK);
    ck_assert(found && !exists(lock));
    job_directory_close(&d, false);
}
END_TEST

START_TEST(whatever_a_kill_left_is_removed_and_nothing_else) {
    ck_assert_int_eq(kit_mkdirs(root, 0700, &err), KOLM_OK);
    /* Killed between the lock and the directory; between the directory and its parts; a directory without a lock. */
    touch(in_root(".0000000000000001"));
    touch(in_root(".0000000000000002"));
    ck_assert_int_eq(kit_mkdirs(in_root("0000000000000002"), 0700, &err), KOLM_OK);
    ck_assert_int_eq(kit_mkdirs(in_root("0000000000000003/job/model"), 0700, &err), KOLM_OK);
    /* A link in place of a directory is removed, but not its target. */
    char outside[96];
    kit_format(outside, sizeof outside, "%s/outside", base);
    ck_assert_int_eq(mkdir(outside, 0700), 0);
    ck_assert_int_eq(symlink(outside, in_root("0000000000000004")), 0);
    /* Not made by kolm. */
    static const char *const others[] = {"kept-0000000000000005", "notes.txt",         ".hidden",
                                         "000000000000000G",      "00000000000000006", ".0000000000000007.json",
                                         "ABCDEFABCDEFABCD"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        touch(in_root(others[i]));
    /* A lock that is a link was not made by kolm. */
    ck_assert_int_eq(symlink(outside, in_root(".0000000000000008")), 0);
    ck_assert_int_eq(kit_mkdirs(in_root("0000000000000008"), 0700, &err), KOLM_OK);
    job_directory d;
    make(&d);
    job_directory_close(&d, false);
    ck_assert(exists(outside));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        ck_assert_msg(exists(in_root(others[i])), "%s stays", others[i]);
    ck_assert(exists(in_root("0000000000000008")));
    ck_assert_uint_eq(entries(), sizeof others / sizeof *others + 2);
}
END_TEST

/* Makes and closes jobs; fails if a job disappears while this process owns it. */
static int churn(int rounds) {
    for (int i = 0; i < rounds; i++) {
        job_directory d;
        if (job_directory_make(root, &d, &err) != KOLM_OK) return 1;
        char *file = NULL;
        if (kit_path_join(d.private, "scratch", &file, &err) != KOLM_OK) return 2;
        int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        sched_yield();
        bool good = fd >= 0 && exists(file) && exists(d.job) && exists(d.lock_path);
        close(fd);
        free(file);
        job_directory_close(&d, false);
        if (!good) return 3;
    }
    return 0;
}

START_TEST(many_at_once_take_nothing_from_each_other) {
    pid_t children[8];
    int rounds = (int)test_draws(50, 2);
    for (size_t i = 0; i < 8; i++) {
        children[i] = fork();
        ck_assert_int_ge(children[i], 0);
        if (children[i] == 0) _exit(churn(rounds));
    }
    for (size_t i = 0; i < 8; i++) {
        int status = 0;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    }
    ck_assert_uint_eq(entries(), 0);
}
END_TEST

START_TEST(a_place_that_cannot_be_had_is_named) {
    job_directory d;
    char file[80], below[96];
    kit_format(file, sizeof file, "%s/file", base);
    kit_format(below, sizeof below, "%s/jobs", file);
    touch(file);
    ck_assert_int_ne(job_directory_make(below, &d, &err), KOLM_OK);
    ck_assert_msg(strstr(err.text, file) != NULL, "%s", err.text);
    ck_assert_int_eq(d.lock_fd, -1);
    ck_assert_ptr_null(d.path);
    job_directory_close(&d, false);
    if (geteuid() == 0) return; /* root can write everywhere */
    ck_assert_int_eq(kit_mkdirs(root, 0700, &err), KOLM_OK);
    ck_assert_int_eq(chmod(root, 0500), 0);
    ck_assert_int_eq(job_directory_make(root, &d, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_msg(strstr(err.text, root) != NULL, "%s", err.text);
    ck_assert_int_eq(chmod(root, 0700), 0);
}
END_TEST

/* ---- job.json */

START_TEST(a_training_is_described_as_the_protocol_says) {
    job_directory d;
    kit_buf text = {0};
    char *path = NULL;
    make(&d);
    const job_description description = {.kind = "train",
                                         .task = "router",
                                         .recipe = "linear",
                                         .effort = "quick",
                                         .seed = 9007199254740991ull,
                                         .rows = 800,
                                         .labels = 7,
                                         .has_target = true,
                                         .abstain_micro = 1,
                                         .target_accuracy_micro = 950000};
    ck_assert_int_eq(job_describe(d.job, &description, &err), KOLM_OK);
    ck_assert_int_eq(kit_path_join(d.job, "job.json", &path, &err), KOLM_OK);
    ck_assert_int_eq(kit_read_file(path, 10000, &text, &err), KOLM_OK);
    ck_assert_str_eq(
        text.data,
        "{\"format\":1,\"kind\":\"train\",\"task\":\"router\",\"recipe\":\"linear\",\"seed\":9007199254740991,"
        "\"effort\":\"quick\",\"rows\":800,\"labels\":7,\"options\":{\"target_accuracy_micro\":950000}}\n");
    ck_assert_uint_eq(mode_of(path), 0600);
    kit_buf_free(&text);
    free(path);
    job_directory_close(&d, false);
}
END_TEST

START_TEST(the_backends_side_reads_what_was_described) {
    job_directory d;
    make(&d);
    char name[] = "linear.bin", place[] = "/elsewhere/a.kolm";
    const kit_job_model_file files[] = {{.name = name, .path = place, .offset = 4096, .size = 123}};
    job_description description = {.kind = "train",
                                   .task = "router",
                                   .recipe = "linear",
                                   .effort = "normal",
                                   .rows = 3,
                                   .has_abstain = true,
                                   .abstain_micro = 500000};
    ck_assert_int_eq(job_describe(d.job, &description, &err), KOLM_OK);
    kit_job *job = NULL;
    uint64_t value = 0;
    ck_assert_msg(kit_job_read(d.job, &job, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(job->kind, "train");
    ck_assert_uint_eq(job->rows, 3);
    ck_assert_uint_eq(job->model_file_count, 0);
    ck_assert(kit_json_get_u64(job->options, "abstain_micro", &value) && value == 500000);
    ck_assert_ptr_null(kit_json_get(job->options, "target_accuracy_micro"));
    kit_job_free(job);
    /* The second description replaces the first. */
    description = (job_description){.kind = "infer",
                                    .task = "router",
                                    .recipe = "linear",
                                    .effort = "normal",
                                    .labels = 2,
                                    .model_files = files,
                                    .model_file_count = 1};
    ck_assert_int_eq(job_describe(d.job, &description, &err), KOLM_OK);
    ck_assert_msg(kit_job_read(d.job, &job, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(job->kind, "infer");
    ck_assert_uint_eq(job->rows, 0);
    ck_assert_uint_eq(job->labels, 2);
    ck_assert_uint_eq(job->model_file_count, 1);
    ck_assert_str_eq(job->model_files[0].name, "linear.bin");
    ck_assert_str_eq(job->model_files[0].path, "/elsewhere/a.kolm");
    ck_assert_uint_eq(job->model_files[0].offset, 4096);
    ck_assert_uint_eq(job->model_files[0].size, 123);
    kit_job_free(job);
    job_directory_close(&d, false);
}
END_TEST

/* A backend may leave any file in its directory before the second description is written there. */
START_TEST(a_link_in_the_place_of_the_description_is_not_followed) {
    job_directory d;
    char victim[80], *path = NULL;
    kit_buf content = {0};
    make(&d);
    kit_format(victim, sizeof victim, "%s/victim", base);
    ck_assert_int_eq(kit_write_file(victim, 0600, "mine", 4, &err), KOLM_OK);
    ck_assert_int_eq(kit_path_join(d.job, "job.json", &path, &err), KOLM_OK);
    ck_assert_int_eq(symlink(victim, path), 0);
    const job_description description = {.kind = "infer", .task = "t", .recipe = "linear", .effort = "quick"};
    ck_assert_int_ne(job_describe(d.job, &description, &err), KOLM_OK);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_int_eq(kit_read_file(victim, 100, &content, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&content), "mine");
    kit_buf_free(&content);
    free(path);
    job_directory_close(&d, false);
    ck_assert(exists(victim));
    ck_assert_int_ne(job_describe(d.path != NULL ? d.path : in_root("nowhere"), &description, &err), KOLM_OK);
    ck_assert_ptr_nonnull(strstr(err.text, "nowhere/job.json"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-directory");
    TCase *tests = tcase_create("directory");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_job_is_private_and_gone_afterwards);
    tcase_add_test(tests, two_jobs_do_not_meet);
    tcase_add_test(tests, a_kept_job_stays);
    tcase_add_test(tests, both_steps_of_a_kept_job_can_be_done_again);
    tcase_add_test(tests, an_error_names_no_path_that_will_be_gone);
    tcase_add_test(tests, the_job_of_a_dead_owner_is_removed_and_that_of_a_living_one_is_not);
    tcase_add_test(tests, the_next_job_of_the_same_work_begins_with_the_checkpoint);
    tcase_add_test(tests, the_checkpoint_of_a_dead_owner_is_found_and_that_of_other_work_is_not);
    tcase_add_test(tests, whatever_a_kill_left_is_removed_and_nothing_else);
    tcase_add_test(tests, many_at_once_take_nothing_from_each_other);
    tcase_add_test(tests, a_place_that_cannot_be_had_is_named);
    tcase_add_test(tests, a_training_is_described_as_the_protocol_says);
    tcase_add_test(tests, the_backends_side_reads_what_was_described);
    tcase_add_test(tests, a_link_in_the_place_of_the_description_is_not_followed);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
