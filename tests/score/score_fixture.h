/* SPDX-License-Identifier: Apache-2.0 */
/* Held-out rows and their answers, as files in a temporary directory. */
#ifndef KOLM_TESTS_SCORE_FIXTURE_H
#define KOLM_TESTS_SCORE_FIXTURE_H

#include "../suite.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "score/score.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define BYTES(text) text, sizeof(text) - 1

static kolm_error_t err;
static char base[64], heldout[80], predictions[80];

static inline void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-score-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    kit_format(heldout, sizeof heldout, "%s/heldout.jsonl", base);
    kit_format(predictions, sizeof predictions, "%s/predictions.jsonl", base);
}

static inline void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, NULL), KOLM_OK);
}

static inline void put(const char *path, const void *bytes, size_t length) {
    ck_assert_int_eq(kit_write_file(path, 0600, bytes, length, &err), KOLM_OK);
}

/* Reads the rows in heldout and the answers in predictions. */
static inline kit_status read_as(const score_question *asked, score_answers **out) {
    int fd = open(heldout, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    score_question question = *asked;
    question.heldout_fd = fd;
    question.predictions = predictions;
    kit_status status = score_answers_read(&question, out, &err);
    close(fd);
    return status;
}

static inline kit_status read_answers(score_answers **out) {
    return read_as(&(score_question){0}, out);
}

static inline void assert_says(const char *text, const char *piece) {
    ck_assert_msg(strstr(text, piece) != NULL, "expected \"%s\" in \"%s\"", piece, text);
}

static inline score_answers *read_texts(const char *rows, const char *answers) {
    score_answers *out = NULL;
    put(heldout, rows, strlen(rows));
    put(predictions, answers, strlen(answers));
    ck_assert_msg(read_answers(&out) == KOLM_OK, "%s", err.text);
    return out;
}

/* ---- Reading answers */

#define TRUTH(id, output) "{\"id\":\"" id "\",\"input\":\"x\",\"output\":\"" output "\"}\n"
#define SAID(id, output, confidence) "{\"id\":\"" id "\",\"output\":\"" output "\",\"confidence\":" confidence "}\n"
#define WITHHELD(id, best) "{\"id\":\"" id "\",\"output\":null,\"confidence\":0.3,\"best\":\"" best "\"}\n"

static const char three_rows[] = TRUTH("1", "a") TRUTH("2", "b") TRUTH("7", "a");

/* Labels that a terminal, a table or a spreadsheet would misinterpret. */
static const char odd_rows[] =
    TRUTH("1", "b") TRUTH("2", "b") TRUTH("3", "a\\n\\u001b[1m") TRUTH("4", "q\\\"u, ote") TRUTH("5", "b");
static const char odd_answers[] = SAID("1", "b", "0.95") SAID("2", "a\\n\\u001b[1m", "0.5")
    SAID("3", "q\\\"u, ote", "0.5") SAID("4", "q\\\"u, ote", "1") WITHHELD("5", "b");

#endif
