/* SPDX-License-Identifier: Apache-2.0 */
/* From what kolm keeps (artifact, receipts, answers, the directory of a missed gate) to the facts of a page. */
#ifndef KOLM_REPORT_GATHER_H
#define KOLM_REPORT_GATHER_H

/*
 * An artifact has counts: K and its terms, and how often each label was right. Which answer each held-out row got is
 * not in it, only the digest of all answers. So single answers are had by doing it again: with the data, the split is
 * made again and its digests compared with those of the manifest, the model is run on the same questions, and the
 * answers have the digest that was signed, or the page says that they have not. The directory of a missed gate has its
 * answers, and its confusions up to 200.
 *
 * Nothing that is read is believed: numbers outside of their range become "not known", and texts are texts (report.h).
 * Memory: a few megabytes, the labels, and the confusions; it does not grow with the rows. One thread for each
 * gathering.
 */

#include "artifact/artifact.h"
#include "job/dataset.h"
#include "receipt/receipt.h"
#include "report/near.h"
#include "report/report.h"
#include "score/score.h"

typedef struct report_gathering report_gathering;

kit_status report_gather_new(const char *maker, const char *file, report_gathering **out,
                             kolm_error_t *err) KIT_MUST_USE;
/* No-op if NULL. */
void report_gather_free(report_gathering *g);
/* Owned by the gathering, and valid until the next call with it. */
const report_facts *report_gather_facts(report_gathering *g);
/* A notice at the top; texts are copied. */
kit_status report_gather_notice(report_gathering *g, report_tone tone, const char *title, const char *text,
                                kolm_error_t *err) KIT_MUST_USE;

/* The result of checking an artifact. */
typedef struct report_judgement {
    bool judged;       /* false: nobody knows, report's text says why */
    bool has_receipts; /* they lie beside it */
    const receipt_report *report;
    const char *file_sha256; /* "" when the whole file was not digested */
} report_judgement;
/* The contents of the artifact's manifest, and its receipts. */
kit_status report_gather_artifact(report_gathering *g, const artifact *a, const report_judgement *judgement,
                                  kolm_error_t *err) KIT_MUST_USE;

/* NAME-VERSION.failed, with its report.json, report.txt and predictions.jsonl. NOT_FOUND, DATA_LOSS or INVALID_ARGUMENT
 * when it is no such directory. */
kit_status report_gather_failed(report_gathering *g, const char *directory, kolm_error_t *err) KIT_MUST_USE;

/* The answers to the held-out rows, asked again. */
typedef struct report_answers {
    score_question question;   /* each and user are set here */
    const char *scored_sha256; /* of the answers that were scored, as the manifest says */
    const char *train;         /* path of train.jsonl, for the nearest rows; NULL: none */
    const char *place;         /* what the rows were counted in: "data" or "evaluation data" */
    const char *kept;          /* not asked again, but kept in this directory of a missed gate; NULL: asked again */
    bool labels;               /* the outputs are labels: confusions make sense */
    /* The rows of train that the model itself finds nearest to each text; *out_known false: it does not say. NULL, or
     * not known: those that read alike. */
    kit_status (*near)(void *user, const char *train, const char *const *texts, size_t count,
                       near_found (*found)[REPORT_NEAR_MAX], bool *out_known, kolm_error_t *err);
    void *near_user;
} report_answers;
/* After report_gather_artifact or report_gather_failed. Errors as score_answers_read; INVALID_ARGUMENT when kept
 * answers do not count up to what their report says. */
kit_status report_gather_answers(report_gathering *g, const report_answers *answers, kolm_error_t *err) KIT_MUST_USE;

/* What was found in the data when the split was made again, for the directory of a missed gate, which says nothing of
 * it. */
kit_status report_gather_rows(report_gathering *g, const job_summary *rows, kolm_error_t *err) KIT_MUST_USE;

/* Writes the answers of a missed gate's directory, which are named by the places of their rows, into a new file as a
 * backend would have given them: in the order of the held-out rows, with their ids. INVALID_ARGUMENT when they are not
 * about these rows. Memory: 24 bytes for each answer. */
kit_status report_kept_answers(const char *directory, int heldout_fd, const char *out_path,
                               kolm_error_t *err) KIT_MUST_USE;

/* The files of rows that compile read, for the questions that they answer in several ways. Each fd is read from its
 * start. */
typedef struct report_rows {
    const job_source *at;
    size_t count;
    job_reader_options reader; /* path and scratch are set here */
    bool skip_bad, labels;     /* labels: spaces around an output are ignored */
    const char *scratch;       /* a directory, nothing is left in it */
} report_rows;
/* Reads the rows twice, on disk and in constant memory. OK without any when a file cannot be read twice. */
kit_status report_gather_pairs(report_gathering *g, const report_rows *rows, kolm_error_t *err) KIT_MUST_USE;

/* ---- Private */

#define GATHER_BINS 10
#define GATHER_THRESHOLDS 101

typedef struct gather_list {
    report_item at[REPORT_ITEMS_MAX];
    size_t count; /* also those that found no room */
} gather_list;

struct report_gathering {
    report_facts facts;
    char **texts; /* all that facts point to */
    size_t text_count, text_capacity;
    bool failed; /* memory was out */
    report_notice notices[REPORT_ITEMS_MAX];
    report_label *labels;
    report_confusion *confusions;
    report_bin bins[GATHER_BINS];
    report_threshold thresholds[GATHER_THRESHOLDS];
    report_mistake mistakes[REPORT_MISTAKES_MAX];
    report_pair pairs[REPORT_PAIRS_MAX];
    gather_list data, candidates, origin, receipts, contents;
};

/* Copies of text; NULL for NULL, and when memory is out (g->failed). */
const char *gather_text(report_gathering *g, const char *text);
const char *gather_format(report_gathering *g, const char *format, ...) KIT_PRINTF(2, 3);
/* name and note: literals, or of the gathering; value is copied, and no item added for NULL. */
void gather_item(report_gathering *g, gather_list *list, const char *name, const char *value, const char *note);
void gather_digest(report_gathering *g, gather_list *list, const char *name, const char *value);
/* "12,345" */
const char *gather_count_text(report_gathering *g, uint64_t count);
/* The number under key, NAN without one. */
double gather_number(const cJSON *object, const char *key);
uint64_t gather_count(const cJSON *object, const char *key);
report_interval gather_wilson(uint64_t hits, uint64_t n);
kit_status gather_ok(const report_gathering *g, kolm_error_t *err) KIT_MUST_USE;
/* K and its terms, counts, baseline and labels: of a manifest's kscore, or of a report.json. */
void gather_score(report_gathering *g, const cJSON *k);

#endif
