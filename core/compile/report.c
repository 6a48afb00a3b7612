/* SPDX-License-Identifier: Apache-2.0 */
/* kolm report: gathers what is known about a model, and writes the page. */
#include "compile/report.h"

#include "compile/files.h"
#include "kolm/kit/file.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- Where it goes */

/* DIR/NAME.kolm and DIR/NAME.failed/ become DIR/NAME.html. */
static kit_status place(const report_request *r, char **out, kolm_error_t *err) {
    static const char *const endings[] = {".kolm", ".failed"};
    if (r->out != NULL) return kit_strdup(r->out, out, err);
    size_t length = strlen(r->model);
    while (length > 1 && r->model[length - 1] == '/')
        length--;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t ending = strlen(endings[i]);
        if (length > ending && r->model[length - ending - 1] != '/' &&
            strncmp(r->model + length - ending, endings[i], ending) == 0) {
            length -= ending;
            break;
        }
    }
    kit_buf path = {0};
    kit_buf_add(&path, r->model, length);
    kit_buf_str(&path, ".html");
    KIT_TRY(kit_buf_ok(&path, err));
    *out = kit_buf_take(&path);
    return KOLM_OK;
}

static kit_status taken(const char *path, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_ALREADY_EXISTS, "pass --force to replace it, or another name with --out",
                    "%s exists already", path);
}

/* Checked before a model is run, and again by the kernel when the page is written. */
static kit_status check_place(const report_request *r, const char *path, kolm_error_t *err) {
    struct stat info;
    if (strcmp(path, "-") == 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass the name of a file with --out",
                        "--out - : a page goes into a file, not to standard output");
    if (lstat(path, &info) != 0) return KOLM_OK;
    if (S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_ALREADY_EXISTS, "pass the name of a file with --out", "%s is a directory", path);
    return r->force ? KOLM_OK : taken(path, err);
}

/* Rows of the data are private to the user who made the page. */
static kit_status write_page(const report_request *r, const kit_buf *page, const report_made *m, kolm_error_t *err) {
    kit_atomic_file file = {.fd = -1};
    KIT_TRY(kit_atomic_open(m->path, m->asked ? 0600 : 0644, &file, err));
    kit_status status = kit_write_all(file.fd, page->data, page->length, err);
    if (status == KOLM_OK) status = kit_atomic_commit(&file, r->force, err);
    kit_atomic_abort(&file);
    return status == KOLM_E_ALREADY_EXISTS ? taken(m->path, err) : status;
}

/* ---- Its contents */

static kit_status gather_model(kolm_session *session, const report_request *r, report_gathering *g, report_made *m,
                               session_reason *out_reason, kolm_error_t *err) {
    model_handle model;
    kit_status status = model_handle_open(session, r->model, MODEL_TRUST_RECEIPTS, &model, out_reason, err);
    session_reason verdict_reason = SESSION_REASON_NONE;
    /* Then the page says so at the top. */
    if (status != KOLM_OK && model.artifact != NULL && !session_stopped(session) && status != KOLM_E_CANCELLED &&
        model_report_failure(&model, status, err))
        status = KOLM_OK;
    if (status == KOLM_OK) {
        const receipt_verdict verdict = model.report.verdict;
        verdict_reason = model.unjudged                                                 ? SESSION_REASON_UNJUDGED
                         : verdict == RECEIPT_TRUSTED || verdict == RECEIPT_UNKNOWN_KEY ? SESSION_REASON_NONE
                                                                                        : SESSION_REASON_VERIFY;
        *out_reason = SESSION_REASON_INTERNAL;
        const report_judgement judgement = {.judged = !model.unjudged,
                                            .has_receipts = model.has_sidecar,
                                            .report = &model.report,
                                            .file_sha256 = model.file_sha256};
        status = report_gather_artifact(g, model.artifact, &judgement, err);
    }
    if (status == KOLM_OK && r->data.count > 0 && verdict_reason == SESSION_REASON_NONE) {
        status = report_ask_again(session, r, artifact_manifest_sha256(model.artifact), g, out_reason, err);
        m->asked = status == KOLM_OK;
    } else if (status == KOLM_OK && r->data.count > 0) {
        status =
            report_gather_notice(g, REPORT_BAD, "The model was not asked again.",
                                 "A model that is not trusted is never run, so this page has no single answers.", err);
    }
    model_handle_close(&model);
    if (status == KOLM_OK) *out_reason = verdict_reason;
    return status;
}

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static kit_status gather_failed(kolm_session *session, const report_request *r, report_gathering *g, report_made *m,
                                session_reason *out_reason, kolm_error_t *err) {
    *out_reason = SESSION_REASON_DATA;
    m->failed = true;
    KIT_TRY(report_gather_failed(g, r->model, err));
    if (r->data.count > 0) KIT_TRY(report_ask_kept(session, r, g, out_reason, err));
    m->asked = r->data.count > 0;
    *out_reason = SESSION_REASON_NONE;
    return KOLM_OK;
}

static kit_status make(kolm_session *session, const report_request *r, report_gathering *g, report_made *m,
                       session_reason *out_reason, kolm_error_t *err) {
    kit_buf page = {0};
    *out_reason = SESSION_REASON_INTERNAL;
    KIT_TRY(place(r, &m->path, err));
    *out_reason = SESSION_REASON_USAGE;
    KIT_TRY(check_place(r, m->path, err));
    if (is_directory(r->model))
        KIT_TRY(gather_failed(session, r, g, m, out_reason, err));
    else
        KIT_TRY(gather_model(session, r, g, m, out_reason, err));
    const session_reason verdict_reason = *out_reason;
    *out_reason = SESSION_REASON_INTERNAL;
    KIT_TRY(kit_strdup(report_gather_facts(g)->verdict, &m->verdict, err));
    kit_status status = report_page(report_gather_facts(g), &page, err);
    if (status == KOLM_OK) {
        *out_reason = SESSION_REASON_DATA;
        status = write_page(r, &page, m, err);
        if (status == KOLM_E_ALREADY_EXISTS) *out_reason = SESSION_REASON_USAGE;
    }
    m->bytes = page.length;
    kit_buf_free(&page);
    if (status == KOLM_OK) *out_reason = verdict_reason;
    return status;
}

kit_status report_make(kolm_session *session, const char *program, const report_request *r, report_made *out,
                       session_reason *out_reason, kolm_error_t *err) {
    report_gathering *g = NULL;
    *out = (report_made){0};
    *out_reason = SESSION_REASON_INTERNAL;
    kit_status status = report_gather_new(program, r->model, &g, err);
    if (status == KOLM_OK) status = make(session, r, g, out, out_reason, err);
    report_gather_free(g);
    if (status != KOLM_OK && (status == KOLM_E_CANCELLED || session_stopped(session)))
        *out_reason = SESSION_REASON_INTERRUPTED;
    return status;
}

void report_made_free(report_made *made) {
    free(made->path);
    free(made->verdict);
    *made = (report_made){0};
}
