/* SPDX-License-Identifier: Apache-2.0 */
/* The whole preparation of data: the order of the steps, and data that cannot be prepared. */
#include "job/dataset.h"

#include "job/dataset_work.h"

#include <unistd.h>

static kit_status nothing_held_out(const work *w) {
    const job_summary *s = w->summary;
    if (w->options->eval_count > 0)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                        "use other rows: an input that was trained on measures memory, not skill",
                        "every row of %s has an input that is also in %s", w->eval_name, w->data_name);
    if (s->untested_labels > 0)
        return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT,
                        "add rows that say it in other words, or pass rows to measure on with --eval FILE",
                        "the rows of each output of %s are nearly the same text: nothing can be held out to measure "
                        "the model",
                        w->data_name);
    return kit_fail(w->err, KOLM_E_INVALID_ARGUMENT, "add rows, or pass rows to measure on with --eval FILE",
                    "no output of %s has two rows: nothing can be held out to measure the model", w->data_name);
}

static kit_status prepare(work *w) {
    KIT_TRY(dataset_open(w));
    KIT_TRY(spool_read(w, PART_DATA, w->options->data, w->options->data_count));
    w->summary->rows_read = w->parts[PART_DATA].rows;
    if (w->options->eval_count > 0) KIT_TRY(spool_read(w, PART_EVAL, w->options->eval, w->options->eval_count));
    KIT_TRY(cleaning_run(w));
    KIT_TRY(labels_count(w));
    KIT_TRY(groups_make(w));
    if (w->options->eval_count == 0) KIT_TRY(split_plan(w));
    KIT_TRY(writing_run(w, true));
    return w->summary->eval_rows > 0 ? KOLM_OK : nothing_held_out(w);
}

static kit_status finish(work *w, kit_status status) {
    dataset_close(w);
    if (status != KOLM_OK && w->summary->heldout_fd >= 0) {
        close(w->summary->heldout_fd);
        w->summary->heldout_fd = -1;
    }
    return status;
}

kit_status job_prepare(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) {
    *out_summary = (job_summary){.heldout_fd = -1};
    work w = {.options = options, .summary = out_summary, .err = err};
    kit_status status = prepare(&w);
    return finish(&w, status);
}

static kit_status prepare_eval(work *w) {
    KIT_TRY(dataset_open(w));
    KIT_TRY(spool_read(w, PART_EVAL, w->options->eval, w->options->eval_count));
    return writing_run(w, false);
}

kit_status job_prepare_eval(const job_prepare_options *options, job_summary *out_summary, kolm_error_t *err) {
    *out_summary = (job_summary){.heldout_fd = -1};
    work w = {.options = options, .summary = out_summary, .err = err};
    kit_status status = prepare_eval(&w);
    return finish(&w, status);
}
