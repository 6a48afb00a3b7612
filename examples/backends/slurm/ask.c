/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the controller and the accounting about a job. */
#include "slurm.h"

#include <stdlib.h>
#include <string.h>

#define ARGUMENTS 12

typedef struct question {
    const char *argv[ARGUMENTS + 1];
    char cluster[80];
    size_t count;
} question;

static void ask(question *q, const char *word) {
    if (q->count < ARGUMENTS) q->argv[q->count++] = word;
}

static void begin(question *q, const char *cluster) {
    *q = (question){.count = 0};
    if (!cluster[0]) return;
    (void)kit_format(q->cluster, sizeof q->cluster, "--clusters=%s", cluster);
    ask(q, q->cluster);
}

kit_status slurm_ask(const slurm_settings *settings, const slurm_id *id, slurm_job *out_job, slurm_view *out_view,
                     char *out_said, size_t capacity, kolm_error_t *err) {
    question q;
    slurm_output output;
    begin(&q, id->cluster);
    ask(&q, "--oneliner");
    ask(&q, "show");
    ask(&q, "job");
    ask(&q, id->number);
    KIT_TRY(slurm_command(settings, "scontrol", q.argv, &output, err));
    slurm_said(kit_buf_text(&output.err), out_said, capacity);
    if (output.exit_code == 0 && slurm_job_read(kit_buf_text(&output.out), id->number, out_job))
        *out_view = SLURM_VIEW_JOB;
    else
        *out_view = slurm_is_forgotten(out_said) ? SLURM_VIEW_FORGOTTEN : SLURM_VIEW_AWAY;
    slurm_output_free(&output);
    return KOLM_OK;
}

/* Output of sacct; none if the cluster keeps no accounting. */
static slurm_view view_of_accounting(const slurm_output *output) {
    char said[300];
    slurm_said(kit_buf_text(&output->err), said, sizeof said);
    if (output->exit_code == 0 || output->exit_code == 127 || slurm_has_no_accounting(said))
        return SLURM_VIEW_FORGOTTEN;
    return SLURM_VIEW_AWAY;
}

kit_status slurm_ask_accounting(const slurm_settings *settings, const slurm_id *id, slurm_job *job,
                                slurm_view *out_view, kolm_error_t *err) {
    char jobs[40];
    question q;
    slurm_output output;
    begin(&q, id->cluster);
    (void)kit_format(jobs, sizeof jobs, "--jobs=%s", id->number);
    ask(&q, "--allocations");
    ask(&q, "--noheader");
    ask(&q, "--parsable2");
    ask(&q, "--format=JobIDRaw,JobName,State,ExitCode");
    ask(&q, jobs);
    kit_status status = slurm_command(settings, "sacct", q.argv, &output, err);
    *out_view = view_of_accounting(&output);
    if (status != KOLM_OK)
        return status == KOLM_E_NOT_FOUND ? KOLM_OK : status; /* without sacct there is no accounting */
    if (output.exit_code == 0 && slurm_accounting_read(kit_buf_text(&output.out), id->number, job))
        *out_view = SLURM_VIEW_JOB;
    slurm_output_free(&output);
    return KOLM_OK;
}

/* Jobs of name, by squeue or sacct. */
static kit_status ask_list(const slurm_settings *settings, const char *program, question *q, const char *name,
                           slurm_id *out_id, slurm_view *out_view, kolm_error_t *err) {
    char option[SLURM_NAME_MAX + 16];
    slurm_output output;
    (void)kit_format(option, sizeof option, "--name=%s", name);
    ask(q, option);
    *out_view = SLURM_VIEW_FORGOTTEN;
    kit_status status = slurm_command(settings, program, q->argv, &output, err);
    if (status != KOLM_OK) return status == KOLM_E_NOT_FOUND ? KOLM_OK : status;
    *out_view = output.exit_code == 0 ? SLURM_VIEW_FORGOTTEN : SLURM_VIEW_AWAY;
    if (slurm_find_name(kit_buf_text(&output.out), name, out_id)) *out_view = SLURM_VIEW_JOB;
    slurm_output_free(&output);
    return KOLM_OK;
}

kit_status slurm_ask_name(const slurm_settings *settings, const char *name, slurm_id *out_id, slurm_view *out_view,
                          kolm_error_t *err) {
    char source[96];
    const char *cluster;
    question q;
    slurm_view accounted;
    /* With several clusters squeue prints a heading for each, unless told to omit headings. */
    slurm_source_of(settings, "cluster", source, sizeof source, &cluster);
    begin(&q, strlen(cluster) < sizeof q.cluster - 16 ? cluster : "");
    ask(&q, "--states=all");
    ask(&q, "--format=%A|%j");
    KIT_TRY(ask_list(settings, "squeue", &q, name, out_id, out_view, err));
    if (*out_view != SLURM_VIEW_FORGOTTEN) return KOLM_OK;
    begin(&q, strlen(cluster) < sizeof q.cluster - 16 ? cluster : "");
    ask(&q, "--allocations");
    ask(&q, "--parsable2");
    ask(&q, "--format=JobIDRaw,JobName");
    ask(&q, "--starttime=now-14days");
    KIT_TRY(ask_list(settings, "sacct", &q, name, out_id, &accounted, err));
    if (accounted == SLURM_VIEW_JOB) *out_view = SLURM_VIEW_JOB;
    return KOLM_OK;
}

kit_status slurm_cancel(const slurm_settings *settings, const slurm_id *id, kolm_error_t *err) {
    question q;
    slurm_output output;
    begin(&q, id->cluster);
    ask(&q, id->number);
    kit_status status = slurm_command(settings, "scancel", q.argv, &output, err);
    slurm_output_free(&output);
    return status;
}
