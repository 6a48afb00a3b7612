/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of single answers: confusions, curves, the worst mistakes and their nearest rows. */
#include "report/gather.h"

#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "report/near.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 20)

/* A wrong answer that may be among the worst. */
typedef struct wrong {
    uint64_t number;
    double confidence;
    char *truth, *given;
} wrong;

typedef struct tally {
    report_bin bins[GATHER_BINS];
    report_threshold at[GATHER_THRESHOLDS]; /* first of exactly this per cent, later cumulative */
    wrong worst[REPORT_MISTAKES_MAX];
    size_t worst_count;
    uint64_t wrong_count;
} tally;

/* ---- While answers are read */

static kit_status take_wrong(tally *t, const wrong *found, kolm_error_t *err) {
    size_t at = t->worst_count;
    while (at > 0 && found->confidence > t->worst[at - 1].confidence)
        at--;
    t->wrong_count++;
    if (at == REPORT_MISTAKES_MAX) return KOLM_OK;
    wrong kept = *found;
    KIT_TRY(kit_strdup(found->truth, &kept.truth, err));
    kit_status status = kit_strdup(found->given, &kept.given, err);
    if (status != KOLM_OK) {
        free(kept.truth);
        return status;
    }
    if (t->worst_count == REPORT_MISTAKES_MAX) {
        free(t->worst[--t->worst_count].truth);
        free(t->worst[t->worst_count].given);
    }
    memmove(&t->worst[at + 1], &t->worst[at], (t->worst_count - at) * sizeof *t->worst);
    t->worst[at] = kept;
    t->worst_count++;
    return KOLM_OK;
}

static kit_status take_answer(void *user, uint64_t number, const char *truth, const char *given, double confidence,
                              kolm_error_t *err) {
    tally *t = user;
    if (given == NULL) return KOLM_OK;
    const bool right = strcmp(truth, given) == 0;
    const int bin = (int)(confidence * GATHER_BINS), step = (int)(confidence * (GATHER_THRESHOLDS - 1));
    report_bin *b = &t->bins[bin < GATHER_BINS ? bin : GATHER_BINS - 1];
    b->rows++;
    b->correct += right;
    b->confidence += confidence;
    t->at[step].answers++;
    t->at[step].correct += right;
    if (right) return KOLM_OK;
    /* take_wrong copies what it keeps. */
    return take_wrong(t, &(wrong){number, confidence, (char *)(uintptr_t)truth, (char *)(uintptr_t)given}, err);
}

/* ---- Afterwards */

static void put_curves(report_gathering *g, const tally *t) {
    report_threshold sum = {0};
    for (size_t i = 0; i < GATHER_BINS; i++) {
        report_bin *b = &g->bins[i];
        *b = t->bins[i];
        b->from = (double)i / GATHER_BINS;
        b->to = (double)(i + 1) / GATHER_BINS;
        if (b->rows > 0) b->confidence /= (double)b->rows;
        b->accuracy = gather_wilson(b->correct, b->rows);
    }
    for (size_t i = GATHER_THRESHOLDS; i-- > 0;) {
        sum.answers += t->at[i].answers;
        sum.correct += t->at[i].correct;
        g->thresholds[i] = (report_threshold){(double)i / (GATHER_THRESHOLDS - 1), sum.answers, sum.correct};
    }
    g->facts.bin_count = GATHER_BINS;
    g->facts.threshold_count = GATHER_THRESHOLDS;
}

static void put_labels(report_gathering *g, const score_answers *a) {
    size_t labels = 0, pairs = 0, truth, given;
    uint64_t rows = 0;
    while (score_label_at(a, labels, &rows) != NULL)
        labels++;
    while (score_confusion_at(a, pairs, &truth, &given, &rows))
        pairs++;
    free(g->labels);
    free(g->confusions);
    g->facts.label_count = g->facts.confusion_count = 0;
    g->labels = calloc(labels + 1, sizeof *g->labels);
    g->confusions = calloc(pairs + 1, sizeof *g->confusions);
    if (g->labels == NULL || g->confusions == NULL) {
        g->failed = true;
        return;
    }
    for (size_t i = 0; i < labels; i++) {
        report_label *l = &g->labels[i];
        l->label = gather_text(g, score_label_at(a, i, &l->rows));
        score_label_answers(a, i, &l->answers, &l->correct);
        l->recall = gather_wilson(l->correct, l->rows);
    }
    for (size_t i = 0; i < pairs; i++) {
        report_confusion *c = &g->confusions[i];
        (void)score_confusion_at(a, i, &c->truth, &c->given, &c->rows);
    }
    g->facts.label_count = labels;
    g->facts.confusion_count = pairs;
}

/* Compares the new measurement with the signed one. */
static kit_status compare(report_gathering *g, const report_answers *asked, const score_answers *a, kolm_error_t *err) {
    const report_score *s = &g->facts.score;
    const char *sha256 = score_predictions_sha256(a);
    g->facts.answers_known = true;
    if (asked->scored_sha256 != NULL && strcmp(asked->scored_sha256, sha256) == 0) {
        g->facts.answers_how = "The model was run on the held-out questions again. Its answers are, byte for byte, "
                               "those that were scored: their digest is the one in the manifest.";
        return KOLM_OK;
    }
    const bool counts = s->rows == score_rows(a) && s->answered == score_answered(a) && s->correct == score_correct(a);
    if (asked->kept != NULL && counts) {
        g->facts.answers_how = "The answers are those that the directory keeps; the split was made again, and they add "
                               "up to the same figures.";
        return KOLM_OK;
    }
    if (asked->kept != NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass the same files and options as to compile",
                        "with these rows the answers of %s do not match its report", asked->kept);
    g->facts.answers_how =
        counts
            ? "The model was run on the held-out questions again. Its answers add up to the same figures, but their "
              "bytes differ from those that were scored: another machine or version may round confidences differently."
            : "The model was run on the held-out questions again, and answered differently than when it was scored.";
    if (counts) return KOLM_OK;
    const char *text = gather_format(g,
                                     "Run again, the model got %llu of %llu answers right; the manifest says %llu of "
                                     "%llu. The tables of single answers below are of the new ones.",
                                     (unsigned long long)score_correct(a), (unsigned long long)score_answered(a),
                                     (unsigned long long)s->correct, (unsigned long long)s->answered);
    return report_gather_notice(g, REPORT_DOUBT, "The answers differ from those that were scored.", text, err);
}

typedef struct reader {
    int fd;
    uint64_t at;
} reader;

static kit_status read_rows(void *user, char *out, size_t capacity, size_t *out_got, kolm_error_t *err) {
    reader *r = user;
    for (;;) {
        const ssize_t got = pread(r->fd, out, capacity, (off_t)r->at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return kit_fail_errno(err, errno, "cannot read the held-out rows");
        *out_got = (size_t)got;
        r->at += *out_got;
        return KOLM_OK;
    }
}

static void put_row(report_gathering *g, const tally *t, uint64_t number, const kit_buf row[2], const char *place) {
    for (size_t i = 0; i < t->worst_count; i++) {
        if (t->worst[i].number != number) continue;
        g->mistakes[i].text = gather_text(g, kit_buf_text(&row[0]));
        g->mistakes[i].place = gather_format(g, "row %s of the %s", kit_buf_text(&row[1]), place);
    }
}

static bool is_wanted(const tally *t, uint64_t number) {
    for (size_t i = 0; i < t->worst_count; i++)
        if (t->worst[i].number == number) return true;
    return false;
}

/* Fills in the questions of the worst mistakes from the held-out rows. */
static kit_status put_texts(report_gathering *g, const tally *t, const report_answers *asked, kolm_error_t *err) {
    static const char *const keys[] = {"input", "row"};
    reader r = {.fd = asked->question.heldout_fd};
    kit_lines *lines = NULL;
    kit_json_walk walk = {0};
    kit_buf row[2] = {{0}, {0}};
    const char *line = NULL;
    size_t length = 0;
    kit_status status = kit_lines_open(r.fd, LINE_MAX_BYTES, &lines, err);
    if (status == KOLM_OK) kit_lines_read_with(lines, read_rows, &r);
    for (uint64_t number = 1; status == KOLM_OK; number++) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        if (!is_wanted(t, number)) continue;
        status = kit_json_row_texts(&walk, line, length, keys, 2, row, err);
        if (status == KOLM_OK) put_row(g, t, number, row, asked->place);
    }
    kit_lines_close(lines);
    kit_json_walk_free(&walk);
    kit_buf_free(&row[0]);
    kit_buf_free(&row[1]);
    return status;
}

static kit_status put_near(report_gathering *g, const report_answers *asked, kolm_error_t *err) {
    near_found found[REPORT_MISTAKES_MAX][REPORT_NEAR_MAX] = {0};
    const char *texts[REPORT_MISTAKES_MAX];
    const size_t count = g->facts.mistake_count;
    if (asked->train == NULL || count == 0) return KOLM_OK;
    for (size_t i = 0; i < count; i++)
        texts[i] = g->mistakes[i].text != NULL ? g->mistakes[i].text : "";
    bool known = false;
    kit_status status =
        asked->near != NULL ? asked->near(asked->near_user, asked->train, texts, count, found, &known, err) : KOLM_OK;
    if (status == KOLM_OK && !known) status = near_find(asked->train, texts, count, asked->question.cancel, found, err);
    for (size_t i = 0; status == KOLM_OK && i < count; i++)
        for (size_t k = 0; k < REPORT_NEAR_MAX && found[i][k].text != NULL; k++)
            g->mistakes[i].near[g->mistakes[i].near_count++] = (report_near){.text = gather_text(g, found[i][k].text),
                                                                             .label = gather_text(g, found[i][k].label),
                                                                             .likeness = found[i][k].likeness};
    near_free(found, count);
    g->facts.near_by_model = known;
    g->facts.near_how =
        known ? "Likeness is the cosine of the embeddings on which the model's answers are based. Where near "
                "rows have another label, check the data."
              : "Likeness is the cosine of TF-IDF weights: words and letter trigrams in common, rare ones counting "
                "more. It compares texts only; the model weighs them in its own way.";
    return status;
}

static void put_mistakes(report_gathering *g, const tally *t) {
    for (size_t i = 0; i < t->worst_count; i++)
        g->mistakes[i] = (report_mistake){.truth = gather_text(g, t->worst[i].truth),
                                          .given = gather_text(g, t->worst[i].given),
                                          .confidence = t->worst[i].confidence};
    g->facts.mistake_count = t->worst_count;
    g->facts.mistakes_in_all = t->wrong_count;
}

kit_status report_gather_answers(report_gathering *g, const report_answers *asked, kolm_error_t *err) {
    tally *t = calloc(1, sizeof *t);
    score_answers *a = NULL;
    score_question question = asked->question;
    if (t == NULL) return kit_no_memory(err);
    question.each = take_answer;
    question.user = t;
    kit_status status = score_answers_read(&question, &a, err);
    if (status == KOLM_OK) {
        status = compare(g, asked, a, err);
        g->facts.confusions_how = NULL;
        g->facts.score.ece = (double)score_ece_micro(a) / SCORE_MICRO;
        put_curves(g, t);
        put_mistakes(g, t);
        if (asked->labels) put_labels(g, a);
    }
    if (status == KOLM_OK) status = put_texts(g, t, asked, err);
    if (status == KOLM_OK) status = put_near(g, asked, err);
    for (size_t i = 0; i < t->worst_count; i++) {
        free(t->worst[i].truth);
        free(t->worst[i].given);
    }
    free(t);
    score_answers_free(a);
    return status == KOLM_OK ? gather_ok(g, err) : status;
}
