/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers the facts of a page from what kolm stores: artifact, receipts, answers, the directory of a missed gate. */
#ifndef KOLM_REPORT_GATHER_H
#define KOLM_REPORT_GATHER_H

/*
 * An artifact has counts: K and its terms, and how often each label was right. It does not have the answer to each
 * held-out row, only the digest of all answers. To show single answers, they are made again: with the data, the split
 * is repeated and its digests are compared with those in the manifest, and the model is run on the same questions. If
 * the digest of the answers differs from the signed one, the page says so. The directory of a missed gate has its
 * answers, and up to 200 confusions.
 *
 * Input is untrusted: numbers out of range become "not known", and texts are escaped (report.h). Memory: a few
 * megabytes, the labels, and the confusions; it does not grow with the rows. One thread for each gathering.
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
/* Adds a notice at the top; texts are copied. */
kit_status report_gather_notice(report_gathering *g, report_tone tone, const char *title, const char *text,
                                kolm_error_t *err) KIT_MUST_USE;

/* The result of checking an artifact. */
typedef struct report_judgement {
    bool judged;       /* false: unknown, the text of report says why */
    bool has_receipts; /* there are receipts next to it */
    const receipt_report *report;
    const char *file_sha256; /* "" if the whole file was not digested */
} report_judgement;
/* Gathers the contents of the artifact's manifest, and its receipts. */
kit_status report_gather_artifact(report_gathering *g, const artifact *a, const report_judgement *judgement,
                                  kolm_error_t *err) KIT_MUST_USE;

/* Gathers NAME-VERSION.failed, with its report.json, report.txt and predictions.jsonl. NOT_FOUND, DATA_LOSS or
 * INVALID_ARGUMENT if it is not such a directory. */
kit_status report_gather_failed(report_gathering *g, const char *directory, kolm_error_t *err) KIT_MUST_USE;

/* The answers to the held-out rows, made again. */
typedef struct report_answers {
    score_question question;   /* each and user are set here */
    const char *scored_sha256; /* of the scored answers, from the manifest */
    const char *train;         /* path of train.jsonl, for the nearest rows; NULL: none */
    const char *place;         /* where rows are counted: "data" or "evaluation data" */
    const char *kept;          /* the directory of a missed gate that has the answers; NULL: made again */
    bool labels;               /* the outputs are labels: confusions make sense */
    /* Finds the rows of train that the model itself considers nearest to each text; *out_known false: it cannot. If
     * NULL or not known, rows with similar text are used. */
    kit_status (*near)(void *user, const char *train, const char *const *texts, size_t count,
                       near_found (*found)[REPORT_NEAR_MAX], bool *out_known, kolm_error_t *err);
    void *near_user;
} report_answers;
/* Call after report_gather_artifact or report_gather_failed. Errors as score_answers_read; INVALID_ARGUMENT if the
 * counts of kept answers do not match their report. */
kit_status report_gather_answers(report_gathering *g, const report_answers *answers, kolm_error_t *err) KIT_MUST_USE;

/* Gathers findings in the data from repeating the split, for the directory of a missed gate, which does not have them.
 */
kit_status report_gather_rows(report_gathering *g, const job_summary *rows, kolm_error_t *err) KIT_MUST_USE;

/* Writes the answers in the directory of a missed gate, whose ids are row positions, to a new file in the form of a
 * backend: in the order of the held-out rows, with their ids. INVALID_ARGUMENT if they are for other rows. Memory: 24
 * bytes per answer. */
kit_status report_kept_answers(const char *directory, int heldout_fd, const char *out_path,
                               kolm_error_t *err) KIT_MUST_USE;

/* The files of rows that compile read, for finding questions with several answers. Each fd is read from its start. */
typedef struct report_rows {
    const job_source *at;
    size_t count;
    job_reader_options reader; /* path and scratch are set here */
    bool skip_bad, labels;     /* labels: spaces around an output are ignored */
    const char *scratch;       /* a directory for scratch files, which are removed */
} report_rows;
/* Reads the rows twice, in constant memory. OK without any pairs if a file cannot be read twice. */
kit_status report_gather_pairs(report_gathering *g, const report_rows *rows, kolm_error_t *err) KIT_MUST_USE;

/* ---- Private */

#define GATHER_BINS 10
#define GATHER_THRESHOLDS 101

typedef struct gather_list {
    report_item at[REPORT_ITEMS_MAX];
    size_t count; /* including those that did not fit */
} gather_list;

struct report_gathering {
    report_facts facts;
    char **texts; /* all texts that facts point to */
    size_t text_count, text_capacity;
    bool failed; /* out of memory */
    report_notice notices[REPORT_ITEMS_MAX];
    report_label *labels;
    report_confusion *confusions;
    report_bin bins[GATHER_BINS];
    report_threshold thresholds[GATHER_THRESHOLDS];
    report_mistake mistakes[REPORT_MISTAKES_MAX];
    report_pair pairs[REPORT_PAIRS_MAX];
    gather_list data, candidates, origin, receipts, contents;
};

/* Copy a text; NULL for NULL, and if out of memory (g->failed). */
const char *gather_text(report_gathering *g, const char *text);
const char *gather_format(report_gathering *g, const char *format, ...) KIT_PRINTF(2, 3);
/* name and note: literals, or owned by the gathering; value is copied; no item is added if it is NULL. */
void gather_item(report_gathering *g, gather_list *list, const char *name, const char *value, const char *note);
void gather_digest(report_gathering *g, gather_list *list, const char *name, const char *value);
/* "12,345" */
const char *gather_count_text(report_gathering *g, uint64_t count);
/* The number of key; NAN if there is none. */
double gather_number(const cJSON *object, const char *key);
uint64_t gather_count(const cJSON *object, const char *key);
report_interval gather_wilson(uint64_t hits, uint64_t n);
kit_status gather_ok(const report_gathering *g, kolm_error_t *err) KIT_MUST_USE;
/* Gathers K and its terms, counts, baseline and labels from a manifest's kscore, or a report.json. */
void gather_score(report_gathering *g, const cJSON *k);

#endif
