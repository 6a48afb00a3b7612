/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: answers of a backend are counted or rejected with a reason, and what was counted can be reported. */
#include "fuzz.h"

#include "kolm/kit/text.h"
#include "score/score.h"

#include <fcntl.h>
#include <string.h>

static int heldout = -1;

static void set_up(void) {
    static const char rows[] = "{\"id\":\"1\",\"input\":\"x\",\"output\":\"a\"}\n"
                               "{\"id\":\"2\",\"input\":\"y\",\"output\":\"b\"}\n"
                               "{\"id\":\"3\",\"input\":\"z\",\"output\":\"a\"}\n";
    fuzz_put("heldout.jsonl", rows, sizeof rows - 1);
    heldout = open(fuzz_path("heldout.jsonl"), O_RDONLY | O_CLOEXEC);
    must(heldout >= 0);
}

static void report(const score_answers *answers) {
    kolm_error_t err = KIT_ERROR_INIT;
    const score_gates gates = {850000, 800000};
    kit_buf text = {0}, line = {0};
    cJSON *again = NULL;
    score_k k;
    score_compute(score_rows(answers), score_answered(answers), score_correct(answers), 1000, &k);
    must(k.k <= SCORE_MICRO && k.k_interval.low_micro <= k.k && k.k <= k.k_interval.high_micro);
    cJSON *object = score_report_object(&k, answers, &gates);
    must(kit_json_line(object, &line, &err) == KOLM_OK);
    must(kit_json_parse(line.data, line.length, &again, &err) == KOLM_OK);
    must(score_report_text(&k, answers, &gates, NULL, 5, &text, &err) == KOLM_OK);
    for (size_t i = 0; i < text.length; i++)
        must(text.data[i] == '\n' || (unsigned char)text.data[i] >= 0x20);
    cJSON_Delete(object);
    cJSON_Delete(again);
    kit_buf_free(&text);
    kit_buf_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    score_answers *answers = NULL;
    if (heldout < 0) set_up();
    fuzz_put("predictions.jsonl", data, size);
    kit_status status = score_answers_read(
        &(score_question){.heldout_fd = heldout, .predictions = fuzz_path("predictions.jsonl")}, &answers, &err);
    if (status == KOLM_OK) {
        must(score_rows(answers) == 3 && score_answered(answers) <= 3 &&
             score_correct(answers) <= score_answered(answers));
        must(score_ece_micro(answers) <= SCORE_MICRO);
        report(answers);
    } else {
        must(status == KOLM_E_DATA_LOSS && answers == NULL && err.remedy[0] != '\0');
        must(strncmp(err.text, "answer ", 7) == 0 && kit_utf8_valid(err.text, strlen(err.text)) == strlen(err.text));
    }
    score_answers_free(answers);
    return 0;
}
