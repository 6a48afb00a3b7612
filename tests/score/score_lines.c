/* SPDX-License-Identifier: Apache-2.0 */
/* The scorer as a filter, to compare it with a second implementation. */

/*
 * usage: score_lines k          "rows answered correct bytes" per line -> "k accuracy size latency cost coverage", the
 *                               interval of the accuracy and that of k, all in millionths
 *        score_lines report HELDOUT PREDICTIONS BYTES -> the report as JSON
 */
#include "score/score.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int all_k(void) {
    uint64_t rows, answered, correct, bytes;
    while (scanf("%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &rows, &answered, &correct, &bytes) == 4) {
        score_k k;
        score_compute(rows, answered, correct, bytes, &k);
        printf("%" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32
               " %" PRIu32 " %" PRIu32 "\n",
               k.k, k.accuracy, k.size, k.latency, k.cost, k.coverage, k.accuracy_interval.low_micro,
               k.accuracy_interval.high_micro, k.k_interval.low_micro, k.k_interval.high_micro);
    }
    return 0;
}

static int report(const char *heldout, const char *predictions, const char *bytes) {
    kolm_error_t err = KIT_ERROR_INIT;
    score_answers *answers = NULL;
    score_k k;
    kit_buf out = {0};
    int fd = open(heldout, O_RDONLY | O_CLOEXEC);
    const score_question question = {.heldout_fd = fd, .predictions = predictions};
    kit_status read = score_answers_read(&question, &answers, &err);
    if (fd >= 0) close(fd);
    if (read != KOLM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    score_compute(score_rows(answers), score_answered(answers), score_correct(answers), strtoull(bytes, NULL, 10), &k);
    cJSON *object = score_report_object(&k, answers, &(score_gates){.k_micro = 850000, .accuracy_micro = 800000});
    kit_status status = kit_json_line(object, &out, &err);
    if (status == KOLM_OK) puts(kit_buf_text(&out));
    cJSON_Delete(object);
    kit_buf_free(&out);
    score_answers_free(answers);
    return status == KOLM_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "k") == 0) return all_k();
    if (argc == 5 && strcmp(argv[1], "report") == 0) return report(argv[2], argv[3], argv[4]);
    fprintf(stderr, "usage: %s k | %s report HELDOUT PREDICTIONS BYTES\n", argv[0], argv[0]);
    return 2;
}
