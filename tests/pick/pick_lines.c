/* SPDX-License-Identifier: Apache-2.0 */
/* Picks once for every question (a pick record, one per line) on standard input and prints one record per line: for
 * oracle.py. */
#include "pick/pick.h"

#include "kolm/kit/lines.h"

#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_BYTES (1u << 20)

static kit_status answer(const char *line, size_t length, kit_buf *out, kolm_error_t *err) {
    cJSON *asked = NULL, *record = NULL;
    pick_question *question = NULL;
    pick_result *result = NULL;
    kit_status status = kit_json_parse(line, length, &asked, err);
    if (status == KOLM_OK) status = pick_question_read(asked, &question, err);
    if (status == KOLM_OK) {
        status = pick_run(question->candidates, question->count, &question->constraints, &result, err);
    }
    if (status == KOLM_OK) status = pick_record(result, &question->constraints, &record, err);
    if (status == KOLM_OK) status = kit_json_line(record, out, err);
    pick_result_free(result);
    pick_question_free(question);
    cJSON_Delete(record);
    cJSON_Delete(asked);
    return status;
}

int main(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_lines *lines = NULL;
    kit_buf out = {0};
    const char *line = NULL;
    size_t length = 0;
    kit_status status = kit_lines_open(STDIN_FILENO, LINE_MAX_BYTES, &lines, &err);
    while (status == KOLM_OK) {
        status = kit_lines_next(lines, &line, &length, &err);
        if (status != KOLM_OK || !line) break;
        kit_buf_clear(&out);
        status = answer(line, length, &out, &err);
        if (status == KOLM_OK) puts(kit_buf_text(&out));
    }
    if (status != KOLM_OK) fprintf(stderr, "pick_lines: %s\n", err.text);
    kit_buf_free(&out);
    kit_lines_close(lines);
    return status == KOLM_OK ? 0 : 1;
}
