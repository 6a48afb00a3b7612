/* SPDX-License-Identifier: Apache-2.0 */
/* kolm job run: runs a job directory with a local backend. */
#include "fleet/job_here.h"

#include "fleet/call.h"
#include "fleet/choose.h"
#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "runtime/files.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job_here {
    const fleet_job_request *request;
    const host_events *events;
    fleet_job_done *out;
    char dir[PATH_MAX];
} job_here;

#define JOB_TEXT_MAX (64u << 20)

/* Only local backends: a job that was sent here is never sent to another machine. */
static kit_status choose(kolm_session *session, const job_here *h, bool trains, fleet_choice **out_choice,
                         session_reason *out_reason, kolm_error_t *err) {
    const fleet_choose_options options = {
        .backend = h->request->backend, .picker_only = true, .constraints = {.airgap = true, .infer = !trains}};
    return fleet_choose(session, &options, out_choice, out_reason, err);
}

static kit_status work(kolm_session *session, job_here *h, const fleet_choice *choice, bool trains,
                       session_reason *out_reason, kolm_error_t *err) {
    long here = sysconf(_SC_NPROCESSORS_ONLN);
    KIT_TRY(runtime_check(session, choice->backend->name, NULL, out_reason, err));
    const fleet_call call = {.slot = trains ? HOST_SLOT_TRAIN : HOST_SLOT_INFER,
                             .airgap = SESSION_AIRGAP_ADVISORY,
                             .threads = h->request->threads > 0 ? h->request->threads
                                        : here > 0              ? (uint32_t)here
                                                                : 1,
                             .job_dir = h->dir,
                             .input_fd = -1,
                             .output_fd = -1,
                             .events = h->events};
    kit_status status = fleet_call_one(session, choice->registry, choice->backend, &call, &h->out->result, err);
    if (status == KOLM_OK) return fleet_verdict(&h->out->result, trains ? "training" : "answering", out_reason, err);
    *out_reason = session_reason_of(status); /* no call was made, so there is no verdict */
    return status;
}

/* The backend opens these files: it would block on a FIFO of that name. */
static kit_status check_rows(const char *dir, bool trains, kolm_error_t *err) {
    const char *name = trains ? "train.jsonl" : "eval.jsonl";
    char *path = NULL;
    struct stat info;
    KIT_TRY(kit_path_join(dir, name, &path, err));
    kit_status status = KOLM_OK;
    if (stat(path, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot find %s", path);
    else if (!S_ISREG(info.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "put the rows there as a regular file",
                          "%s is not a regular file", path);
    free(path);
    return status;
}

/* job.json determines what a backend may read, so one backend must not change it for the next. */
static kit_status put_back(const char *path, const kit_buf *text, kolm_error_t *err) {
    kit_buf now = {0};
    struct stat info;
    bool same = lstat(path, &info) == 0 && S_ISREG(info.st_mode) &&
                kit_read_file(path, text->length, &now, NULL) == KOLM_OK && now.length == text->length &&
                (now.length == 0 || memcmp(now.data, text->data, now.length) == 0);
    kit_buf_free(&now);
    if (same) return KOLM_OK;
    KIT_TRY(kit_remove_tree(path, err));
    return kit_write_file(path, 0600, kit_buf_text(text), text->length, err);
}

static kit_status work_in_place(kolm_session *session, job_here *h, const fleet_choice *choice, bool trains,
                                session_reason *out_reason, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    KIT_TRY(kit_path_join(h->dir, "job.json", &path, err));
    kit_status status = kit_read_file(path, JOB_TEXT_MAX, &text, err);
    if (status == KOLM_OK) {
        kolm_error_t why = KIT_ERROR_INIT;
        status = work(session, h, choice, trains, out_reason, err);
        if (put_back(path, &text, &why) != KOLM_OK && status == KOLM_OK) {
            *err = why;
            status = (kit_status)why.code;
            *out_reason = SESSION_REASON_DATA;
        }
    }
    kit_buf_free(&text);
    free(path);
    return status;
}

kit_status fleet_job_here(kolm_session *session, const fleet_job_request *request, const host_events *events,
                          fleet_job_done *out, session_reason *out_reason, kolm_error_t *err) {
    job_here h = {.request = request, .events = events, .out = out};
    kit_job *job = NULL;
    fleet_choice *choice = NULL;
    *out_reason = SESSION_REASON_DATA;
    if (!realpath(request->directory, h.dir)) return kit_fail_errno(err, errno, "cannot find %s", request->directory);
    kit_status status = kit_job_read(h.dir, &job, err);
    bool trains = status == KOLM_OK && strcmp(job->kind, "train") == 0;
    if (status == KOLM_OK) status = check_rows(h.dir, trains, err);
    if (status == KOLM_OK) status = choose(session, &h, trains, &choice, out_reason, err);
    if (status == KOLM_OK) status = work_in_place(session, &h, choice, trains, out_reason, err);
    if (status == KOLM_OK) kit_copy(out->backend, sizeof out->backend, choice->backend->name);
    if (status != KOLM_OK && *out_reason == SESSION_REASON_NONE) *out_reason = session_reason_of(status);
    fleet_choice_free(choice);
    kit_job_free(job);
    return status;
}
