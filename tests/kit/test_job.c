/* SPDX-License-Identifier: Apache-2.0 */
/* Reading job.json: a valid one, and every way in which it can be invalid. */
#include "../suite.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static char base[64];
static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-kitjob-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

static void put(const char *text) {
    char path[96];
    kit_format(path, sizeof path, "%s/job.json", base);
    ck_assert_int_eq(kit_write_file(path, 0600, text, strlen(text), &err), KOLM_OK);
}

START_TEST(train) {
    put("{\"format\":1,\"kind\":\"train\",\"task\":\"router\",\"recipe\":\"linear\",\"seed\":9007199254740991,"
        "\"effort\":\"quick\",\"rows\":120,\"labels\":3,"
        "\"options\":{\"abstain_micro\":500000},\"later\":[1]}");
    kit_job *job = NULL;
    ck_assert_msg(kit_job_read(base, &job, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(job->dir, base);
    ck_assert_str_eq(job->kind, "train");
    ck_assert_str_eq(job->task, "router");
    ck_assert_str_eq(job->recipe, "linear");
    ck_assert_str_eq(job->effort, "quick");
    ck_assert(job->seed == 9007199254740991 && job->rows == 120 && job->labels == 3 && job->model_file_count == 0);
    uint64_t micro = 0;
    ck_assert(kit_json_get_u64(job->options, "abstain_micro", &micro) && micro == 500000);
    const kit_job_model_file *file = NULL;
    ck_assert_int_eq(kit_job_model(job, "x", &file, &err), KOLM_E_NOT_FOUND);
    kit_job_free(job);
    kit_job_free(NULL);
}
END_TEST

#define INFER(files)                                                                                                   \
    "{\"format\":1,\"kind\":\"infer\",\"task\":\"t\",\"recipe\":\"linear\",\"seed\":0,\"effort\":\"normal\",\"rows\":" \
    "0,\"labels\":0,\"options\":{},"                                                                                   \
    "\"model_files\":" files "}"

START_TEST(infer) {
    put(INFER("[{\"name\":\"a/b.bin\",\"path\":\"/"
              "x.kolm\",\"offset\":4096,\"size\":10},{\"name\":\"c\",\"path\":\"model/c\",\"offset\":0,\"size\":0}]"));
    kit_job *job = NULL;
    const kit_job_model_file *file = NULL;
    ck_assert_msg(kit_job_read(base, &job, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(kit_job_model(job, "a/b.bin", &file, &err), KOLM_OK);
    ck_assert(strcmp(file->path, "/x.kolm") == 0 && file->offset == 4096 && file->size == 10);
    ck_assert_int_eq(kit_job_model(job, "c", &file, &err), KOLM_OK);
    ck_assert(strncmp(file->path, base, strlen(base)) == 0 && strcmp(file->path + strlen(base), "/model/c") == 0);
    kit_job_free(job);
}
END_TEST

START_TEST(wrong) {
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"format\":2}",
        INFER("{}"),
        INFER("[1]"),
        INFER("[{}]"),
        INFER("[{\"name\":\"../x\",\"path\":\"/x\",\"offset\":0,\"size\":0}]"),
        INFER("[{\"name\":\"x\",\"path\":\"\",\"offset\":0,\"size\":0}]"),
        INFER("[{\"name\":\"x\",\"path\":\"/x\",\"offset\":-1,\"size\":0}]"),
        INFER("[{\"name\":\"x\",\"path\":\"/x\",\"offset\":0,\"size\":\"0\"}]"),
        INFER("[{\"name\":\"x\",\"path\":\"/x\",\"offset\":0,\"size\":0},null]"),
    };
    kit_job *job = NULL;
    ck_assert_int_eq(kit_job_read(base, &job, &err), KOLM_E_NOT_FOUND);
    for (size_t i = 0; i < COUNT(bad); i++) {
        put(bad[i]);
        ck_assert_msg(kit_job_read(base, &job, &err) == KOLM_E_INVALID_ARGUMENT, "%s", bad[i]);
        ck_assert_ptr_null(job);
        ck_assert_msg(strstr(err.text, "job.json") != NULL && err.remedy[0] != '\0', "%s", err.text);
    }
}
END_TEST

/* Each mandatory key, missing and of the wrong type. */
START_TEST(each_key_counts) {
    static const char *const keys[] = {"format", "kind", "task",   "recipe", "seed",
                                       "effort", "rows", "labels", "options"};
    kit_job *job = NULL;
    for (size_t i = 0; i < COUNT(keys); i++) {
        for (int wrong_type = 0; wrong_type < 2; wrong_type++) {
            cJSON *object = cJSON_Parse(INFER("[]"));
            cJSON_DeleteItemFromObjectCaseSensitive(object, keys[i]);
            if (wrong_type != 0) ck_assert(kit_json_put_bool(object, keys[i], true));
            kit_buf text = {0};
            ck_assert_int_eq(kit_json_line(object, &text, &err), KOLM_OK);
            put(text.data);
            ck_assert_int_eq(kit_job_read(base, &job, &err), KOLM_E_INVALID_ARGUMENT);
            ck_assert_msg(strstr(err.text, keys[i]) != NULL, "%s: %s", keys[i], err.text);
            kit_buf_free(&text);
            cJSON_Delete(object);
        }
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job file");
    TCase *cases = tcase_create("all");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, train);
    tcase_add_test(cases, infer);
    tcase_add_test(cases, wrong);
    tcase_add_test(cases, each_key_counts);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
