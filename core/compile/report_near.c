/* SPDX-License-Identifier: Apache-2.0 */
/* Asks a model for the rows nearest to its mistakes: a second infer job, with the rows in addition to the questions. */
#include "compile/report_near.h"

#include "fleet/recipe.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (1u << 20)

/* Writes the texts in place of the held-out rows, whose answers are already counted. */
static kit_status write_questions(const char *path, const char *const *texts, size_t count, kolm_error_t *err) {
    kit_buf lines = {0};
    for (size_t i = 0; i < count; i++) {
        kit_buf_fmt(&lines, "{\"id\":\"%zu\",\"input\":", i + 1);
        kit_json_string(&lines, texts[i], strlen(texts[i]));
        kit_buf_str(&lines, "}\n");
    }
    kit_status status = kit_buf_ok(&lines, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(&lines), lines.length, err);
    kit_buf_free(&lines);
    return status;
}

static kit_status hand_over(const report_near_asking *a, const char *train, const char *const *texts, size_t count,
                            kolm_error_t *err) {
    char *rows = NULL, *questions = NULL, *answers = NULL;
    kit_status status = kit_path_join(a->answering->job.job, "near.jsonl", &rows, err);
    if (status == KOLM_OK) status = kit_path_join(a->answering->job.job, "eval.jsonl", &questions, err);
    if (status == KOLM_OK) status = kit_path_join(a->answering->job.job, "predictions.jsonl", &answers, err);
    if (status == KOLM_OK) status = near_candidates(train, texts, count, REPORT_NEAR_ROWS, a->session->stop, rows, err);
    if (status == KOLM_OK && unlink(answers) != 0) status = kit_fail_errno(err, errno, "cannot remove %s", answers);
    if (status == KOLM_OK) status = write_questions(questions, texts, count, err);
    free(rows);
    free(questions);
    free(answers);
    return status;
}

/* Parses the answer to question `number`; false if it is another's, or has none. Invalid entries are skipped. */
static bool take_answer(const char *line, size_t length, uint64_t number, near_found places[REPORT_NEAR_MAX]) {
    cJSON *answer = NULL;
    size_t count = 0;
    const char *question = NULL;
    uint64_t answered = 0;
    if (kit_json_parse(line, length, &answer, NULL) != KOLM_OK) return false;
    const cJSON *list = kit_json_get(answer, "near");
    const bool known = cJSON_IsArray(list) && kit_json_get_string(answer, "id", &question) &&
                       kit_parse_u64(question, &answered) && answered == number;
    for (const cJSON *one = known ? list->child : NULL; one != NULL && count < REPORT_NEAR_MAX; one = one->next) {
        const char *id = NULL;
        near_found found = {0};
        if (kit_json_get_string(one, "id", &id) && kit_parse_u64(id, &found.row) && found.row > 0 &&
            kit_json_get_number(one, "likeness", &found.likeness) && found.likeness > 0 && found.likeness <= 1)
            places[count++] = found;
    }
    cJSON_Delete(answer);
    return known;
}

static kit_status read_answers(const report_near_asking *a, size_t count, near_found (*found)[REPORT_NEAR_MAX],
                               bool *out_known, kolm_error_t *err) {
    char *path = NULL;
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    KIT_TRY(kit_path_join(a->answering->job.job, "predictions.jsonl", &path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    kit_status status = fd >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot open %s", path);
    if (status == KOLM_OK) status = kit_lines_open(fd, ANSWER_BYTES_MAX, &lines, err);
    *out_known = true;
    for (size_t i = 0; status == KOLM_OK && *out_known && i < count; i++) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status == KOLM_OK) *out_known = line != NULL && take_answer(line, length, i + 1, found[i]);
    }
    kit_lines_close(lines);
    if (fd >= 0) close(fd);
    free(path);
    return status;
}

/* Moves entries without a text behind those that have one. */
static void close_gaps(near_found places[REPORT_NEAR_MAX]) {
    size_t kept = 0;
    for (size_t i = 0; i < REPORT_NEAR_MAX; i++) {
        const near_found one = places[i];
        places[i] = (near_found){0};
        if (one.text != NULL) places[kept++] = one;
    }
}

static kit_status ask(report_near_asking *a, const char *train, const char *const *texts, size_t count,
                      near_found (*found)[REPORT_NEAR_MAX], bool *out_known, kolm_error_t *err) {
    a->reason = SESSION_REASON_BACKEND;
    KIT_TRY(hand_over(a, train, texts, count, err));
    KIT_TRY(model_answering_rows(a->session, a->answering, a->airgap, count, &a->reason, err));
    KIT_TRY(read_answers(a, count, found, out_known, err));
    return *out_known ? near_texts(train, count, a->session->stop, found, err) : KOLM_OK;
}

/* The page needs no neighbours. But a model that was changed makes its answers invalid, too. */
static bool is_fatal(const report_near_asking *a, kit_status status) {
    return status == KOLM_E_CANCELLED || status == KOLM_E_RESOURCE_EXHAUSTED || a->reason == SESSION_REASON_VERIFY ||
           a->reason == SESSION_REASON_INTERRUPTED;
}

kit_status report_near_by_model(void *user, const char *train, const char *const *texts, size_t count,
                                near_found (*found)[REPORT_NEAR_MAX], bool *out_known, kolm_error_t *err) {
    report_near_asking *a = user;
    kolm_error_t why = KIT_ERROR_INIT;
    const char *recipe = NULL;
    *out_known = false;
    if (!kit_json_get_string(artifact_manifest(a->answering->model->artifact), "recipe", &recipe) ||
        !fleet_recipe_nearest(a->answering->choice->backend, recipe))
        return KOLM_OK;
    kit_status status = ask(a, train, texts, count, found, out_known, &why);
    if (status != KOLM_OK && is_fatal(a, status)) {
        *err = why;
        return status;
    }
    a->reason = SESSION_REASON_NONE;
    if (status != KOLM_OK)
        session_warn(a->session,
                     "rows near mistakes are compared by their texts, because the model cannot be used for it: %s",
                     why.text);
    *out_known = *out_known && status == KOLM_OK;
    for (size_t i = 0; i < count && *out_known; i++)
        close_gaps(found[i]);
    if (*out_known) return KOLM_OK;
    near_free(found, count);
    memset(found, 0, count * sizeof *found);
    return KOLM_OK;
}
