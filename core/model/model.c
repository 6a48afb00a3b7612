/* SPDX-License-Identifier: Apache-2.0 */
/* Opens, verifies and runs compiled models. */
#include "model/model.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/process.h"
#include "kolm/kit/thread.h"
#include "kolm/kit/trust.h"
#include "runtime/files.h"

#include "fleet/call.h"
#include "fleet/recipe.h"
#include "model/answers_limit.h"
#include "model/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool stop(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return session_stopped(user);
}

/* True if the signer's key was replaced: then the log must show that it signed before that. */
static bool is_retired(const receipt_keyring *ring, const artifact *a) {
    receipt_public signer;
    kolm_error_t err = KIT_ERROR_INIT;
    size_t length = 0;
    const char *pem = artifact_signer_pem(a, &length);
    if (receipt_public_parse(pem, length, &signer, &err) != KOLM_OK) return false;
    const receipt_trusted *item = receipt_keyring_find(ring, signer.keyid);
    return item != NULL && item->retired && !item->own;
}

/* Checks keyring, log and receipts, after the bytes have been verified: an error here is never about the artifact. */
static kit_status judge(model_handle *m, const receipt_keyring *ring, const kit_buf *lines, const char *chain,
                        kolm_error_t *err) {
    receipt_question question = {.ring = ring,
                                 .now = (int64_t)time(NULL),
                                 .envelope_type = ARTIFACT_MANIFEST_TYPE,
                                 .file_sha256 = m->file_sha256,
                                 .sidecar = m->has_sidecar ? kit_buf_text(lines) : NULL,
                                 .sidecar_length = lines->length,
                                 .chain_path = chain};
    question.manifest = artifact_manifest_text(m->artifact, &question.manifest_length);
    question.envelope = artifact_envelope(m->artifact, &question.envelope_length);
    question.signer_pem = artifact_signer_pem(m->artifact, &question.signer_pem_length);
    return receipt_check(&question, &m->report, err);
}

static kit_status load_ring(kolm_session *session, receipt_keyring **out_ring, char **out_chain, kolm_error_t *err) {
    store_home *home = NULL;
    char *keys = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(store_home_place(home, STORE_RECEIPTS, out_chain, err));
    KIT_TRY(store_home_place(home, STORE_KEYS, &keys, err));
    kit_status status = receipt_keyring_load(keys, out_ring, err);
    free(keys);
    return status;
}

/* ---- Hashing, which takes longer than all else that a short answer needs beside it */

#define HASHED_ASIDE 262144u /* bytes from which a thread is worthwhile */
#define SCAN_MS 1000         /* an older scan is not used: grants and plugins may have changed */

typedef struct hashing {
    model_handle *model;
    kolm_session *session;
    unsigned what;
    kit_status status;
    kolm_error_t *err;
} hashing;

static void *hash(void *user) {
    hashing *h = user;
    h->status = artifact_hash(h->model->artifact, h->what, stop, h->session, h->model->file_sha256, h->err);
    return NULL;
}

static void drop_registry(model_handle *model) {
    fleet_registry_free(model->registry);
    model->registry = NULL;
}

/* Scans the backends while another thread hashes the file. Nothing is chosen or started before the model is verified,
 * and an error of the scan is reported only when the backends are needed. */
static kit_status hash_aside(hashing *h) {
    pthread_t thread;
    kolm_error_t ignored = KIT_ERROR_INIT;
    fleet_registry **registry = &h->model->registry;
    bool aside =
        (h->what & ARTIFACT_KEEP) != 0 && *registry == NULL && artifact_size(h->model->artifact) >= HASHED_ASIDE;
    if (!aside || kit_thread_start(&thread, 0, hash, h) != 0) {
        hash(h);
        return h->status;
    }
    const int64_t start = kit_now_ms();
    if (fleet_registry_open(h->session, registry, &ignored) != KOLM_OK) *registry = NULL;
    pthread_join(thread, NULL);
    if (kit_now_ms() - start > SCAN_MS) drop_registry(h->model);
    return h->status;
}

static kit_status look_and_judge(kolm_session *session, model_handle *m, model_trust trust, bool hashed,
                                 kolm_error_t *err) {
    char *chain = NULL;
    receipt_keyring *ring = NULL;
    kit_buf lines = {0};
    kit_status status = load_ring(session, &ring, &chain, err);
    bool with_receipts = trust != MODEL_TRUST_CONTENT || (status == KOLM_OK && is_retired(ring, m->artifact));
    if (status == KOLM_OK && with_receipts)
        status = receipt_sidecar_read(m->sidecar_path, &lines, &m->has_sidecar, err);
    m->unjudged = status != KOLM_OK;
    unsigned what = trust == MODEL_TRUST_DEEP ? ARTIFACT_HASH_FILE | ARTIFACT_HASH_ENTRIES
                    : m->has_sidecar          ? ARTIFACT_HASH_FILE
                                              : ARTIFACT_HASH_ENTRIES;
    if (trust == MODEL_TRUST_CONTENT) what |= ARTIFACT_KEEP; /* the model will be used */
    hashed = hashed && !m->has_sidecar;                      /* receipts are about the whole file */
    hashing h = {.model = m, .session = session, .what = what, .err = err};
    if (status == KOLM_OK && !hashed) status = hash_aside(&h);
    if (status == KOLM_OK) {
        status = judge(m, ring, &lines, with_receipts ? chain : NULL, err);
        m->unjudged = status != KOLM_OK;
    }
    receipt_keyring_free(ring);
    kit_buf_free(&lines);
    free(chain);
    return status;
}

bool model_status_is_verdict(kit_status status) {
    return status == KOLM_E_DATA_LOSS || status == ARTIFACT_E_CHANGED || status == KOLM_E_INVALID_ARGUMENT ||
           status == KOLM_E_OUT_OF_RANGE || status == KOLM_E_FAILED_PRECONDITION;
}

/* The reason of a failure to open a model. */
static int exit_of(const model_handle *model, kit_status status) {
    if (status == KOLM_E_CANCELLED) return SESSION_REASON_INTERRUPTED;
    if (model->unjudged) return SESSION_REASON_UNJUDGED;
    return status == KOLM_E_DATA_LOSS || status == ARTIFACT_E_CHANGED ? SESSION_REASON_VERIFY : SESSION_REASON_DATA;
}

kit_status model_handle_open(kolm_session *session, const char *path, model_trust trust, model_handle *out_model,
                             session_reason *out_reason, kolm_error_t *err) {
    return model_open_known(session, path, trust, NULL, out_model, out_reason, err);
}

kit_status model_open_known(kolm_session *session, const char *path, model_trust trust, const model_voucher *voucher,
                            model_handle *out_model, session_reason *out_reason, kolm_error_t *err) {
    *out_model = (model_handle){0};
    *out_reason = SESSION_REASON_DATA;
    KIT_TRY(model_check_model_path(path, err));
    out_model->path = realpath(path, NULL);
    if (out_model->path == NULL) {
        out_model->unjudged = errno == ENOMEM || errno == EIO;
        if (out_model->unjudged) *out_reason = SESSION_REASON_UNJUDGED;
        return kit_fail_errno(err, errno, "cannot open %s", path);
    }
    kit_buf sidecar = {0};
    kit_buf_fmt(&sidecar, "%s%s", out_model->path, RECEIPT_SIDECAR_SUFFIX);
    kit_status status = kit_buf_ok(&sidecar, err);
    out_model->sidecar_path = kit_buf_take(&sidecar);
    out_model->unjudged = status != KOLM_OK;
    if (status == KOLM_OK) {
        status = artifact_open(out_model->path, &out_model->artifact, err);
        out_model->unjudged = status != KOLM_OK && !model_status_is_verdict(status);
    }
    if (status == KOLM_OK) {
        bool hashed = voucher != NULL && voucher->knows(voucher->user, out_model->artifact);
        status = look_and_judge(session, out_model, trust, hashed, err);
        out_model->unjudged = out_model->unjudged || (status != KOLM_OK && !model_status_is_verdict(status));
    }
    *out_reason = exit_of(out_model, status);
    return status;
}

void model_handle_close(model_handle *model) {
    receipt_report_free(&model->report);
    artifact_close(model->artifact);
    fleet_registry_free(model->registry);
    free(model->path);
    free(model->sidecar_path);
    *model = (model_handle){0};
}

static kit_status refuse(const model_handle *model, kolm_error_t *err) {
    const receipt_report *r = &model->report;
    if (r->verdict == RECEIPT_TRUSTED || r->verdict == RECEIPT_UNKNOWN_KEY) return KOLM_OK;
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, r->remedy, "%s is not used: %s", model->path, r->text);
}

kit_status model_check_again(kolm_session *session, model_handle *model, session_reason *out_reason,
                             kolm_error_t *err) {
    receipt_report_free(&model->report);
    model->report = (receipt_report){0};
    model->has_sidecar = model->unjudged = false;
    kit_status status = look_and_judge(session, model, MODEL_TRUST_CONTENT, true, err);
    drop_registry(model); /* a backend was chosen long ago */
    model->unjudged = model->unjudged || (status != KOLM_OK && !model_status_is_verdict(status));
    *out_reason = status == KOLM_OK ? SESSION_REASON_VERIFY : exit_of(model, status);
    return status == KOLM_OK ? refuse(model, err) : status;
}

const char *model_verdict_name(const model_handle *model) {
    return model->unjudged ? "could not be checked" : receipt_verdict_name(model->report.verdict);
}

bool model_report_failure(model_handle *model, kit_status status, const kolm_error_t *err) {
    receipt_report *r = &model->report;
    if (!model->unjudged && status != KOLM_E_DATA_LOSS && status != ARTIFACT_E_CHANGED) return false;
    r->verdict = status == ARTIFACT_E_CHANGED ? RECEIPT_TAMPERED : RECEIPT_MALFORMED;
    kit_format(r->text, sizeof r->text, "%s: %s", model_verdict_name(model), err->text);
    kit_copy(r->remedy, sizeof r->remedy, err->remedy);
    return true;
}

kit_status model_may_run(kolm_session *session, const model_handle *model, kolm_error_t *err) {
    const receipt_report *r = &model->report;
    KIT_TRY(refuse(model, err));
    if (r->verdict == RECEIPT_TRUSTED) return KOLM_OK;
    session_warn(session, "%s is signed by a key that is not trusted here (%.16s...); `kolm verify` says more",
                 model->path, r->keyid);
    return KOLM_OK;
}

kit_status model_open_to_run(kolm_session *session, const char *path, bool allow_pickle, model_handle *out_model,
                             session_reason *out_reason, kolm_error_t *err) {
    KIT_TRY(model_handle_open(session, path, MODEL_TRUST_CONTENT, out_model, out_reason, err));
    out_model->allow_pickle = allow_pickle;
    *out_reason = SESSION_REASON_VERIFY;
    return model_may_run(session, out_model, err);
}

/* ---- Running */

/* Another user may have created this name before, and could then choose what a backend reads. */
static kit_status make_own(const char *path, kolm_error_t *err) {
    kit_status status = kit_trust_make_directory(path, err);
    if (status != KOLM_E_PERMISSION_DENIED) return status;
    return kit_fail(err, status, "remove it, or set KOLM_HOME to a directory that can be written",
                    "%s is not a private directory of yours, so it is not used for jobs", path);
}

kit_status model_job_make(kolm_session *session, job_directory *out, kolm_error_t *err) {
    store_home *home = NULL;
    char *root = NULL;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(store_home_place(home, STORE_JOBS, &root, err));
    kit_status status = job_directory_make(root, out, err);
    free(root);
    if (status == KOLM_OK) return KOLM_OK;
    /* A read-only home does not prevent a model from answering. */
    kit_buf shared = {0};
    kit_buf_fmt(&shared, "/tmp/kolm-jobs-%ld", (long)geteuid());
    status = kit_buf_ok(&shared, err);
    if (status == KOLM_OK) status = make_own(shared.data, err);
    if (status == KOLM_OK) status = job_directory_make(shared.data, out, err);
    kit_buf_free(&shared);
    return status;
}

/* Checks the copies of the model's files that a backend was given. */
static kit_status check_copies(const model_handle *model, const job_directory *job, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < artifact_entry_count(model->artifact) && status == KOLM_OK; i++) {
        const artifact_entry *entry = artifact_entry_at(model->artifact, i);
        char *path = NULL, sha256[KIT_SHA256_HEX];
        if (strncmp(entry->name, "model/", 6) != 0) continue;
        status = kit_path_join(job->job, entry->name, &path, err);
        if (status == KOLM_OK) status = kit_sha256_file(path, sha256, NULL, err);
        if (status == KOLM_OK && strcmp(sha256, entry->sha256) != 0)
            status = kit_fail(err, KOLM_E_DATA_LOSS,
                              "leave kolm's job directories alone while they are used, and run the command again",
                              "the copy of the model, %s, was changed while it was used", path);
        free(path);
    }
    return status;
}

kit_status model_unchanged(const model_handle *model, const job_base *base, const job_directory *job,
                           const job_described *described, session_reason *out_reason, kolm_error_t *err) {
    bool copied = false;
    kit_status status = artifact_unchanged(model->artifact, err);
    if (status != KOLM_OK) status = kit_fail_context(err, "%s", model->path);
    if (status == KOLM_OK && base->path != NULL) status = job_base_unchanged(base, err);
    if (status == KOLM_OK) status = job_described_unchanged(job, described, &copied, err);
    if (status == KOLM_OK && copied) status = check_copies(model, job, err);
    bool unjudged = status == KOLM_E_RESOURCE_EXHAUSTED || status == KOLM_E_UNKNOWN;
    if (status != KOLM_OK) *out_reason = unjudged ? SESSION_REASON_UNJUDGED : SESSION_REASON_VERIFY;
    return status;
}

kit_status model_describe(const model_handle *model, const job_base *base, const char *bytes,
                          const job_directory *directory, job_described *out_described, kolm_error_t *err) {
    const cJSON *manifest = artifact_manifest(model->artifact);
    size_t count = artifact_entry_count(model->artifact), used = 0;
    kit_job_model_file *files = calloc(count, sizeof *files);
    if (files == NULL) return kit_no_memory(err);
    /* job.json only reads these; the names end with the artifact. */
    for (size_t i = 0; i < count; i++) {
        const artifact_entry *entry = artifact_entry_at(model->artifact, i);
        if (strncmp(entry->name, "model/", 6) != 0) continue;
        files[used++] = (kit_job_model_file){.name = (char *)(uintptr_t)(entry->name + 6),
                                             .path = (char *)(uintptr_t)bytes,
                                             .offset = entry->offset,
                                             .size = entry->size};
    }
    job_description job = {.kind = "infer",
                           .effort = "normal",
                           .model_files = files,
                           .model_file_count = used,
                           .base = base->path != NULL ? base : NULL};
    cJSON *options = NULL;
    kit_status status = KOLM_OK;
    if (base->path != NULL) status = model_options(manifest, model->allow_pickle, &options, err);
    job.trainer = options;
    if (status != KOLM_OK) {
        free(files);
        return status;
    }
    if (!kit_json_get_string(manifest, "name", &job.task) || !kit_json_get_string(manifest, "recipe", &job.recipe))
        status = kit_fail(err, KOLM_E_DATA_LOSS, "", "the manifest of %s lacks name or recipe", model->path);
    if (status == KOLM_OK) status = job_describe_marked(directory, &job, out_described, err);
    cJSON_Delete(options);
    free(files);
    return status;
}

/* The backend in a receipt of this signer. A line without a valid signature is ignored, because it could determine who
 * gets the questions. */
static bool backend_of_line(const receipt_public *signer, const char *line, size_t length, char *out, size_t capacity) {
    receipt_envelope envelope;
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *statement = NULL;
    const char *type = NULL, *backend = NULL;
    if (receipt_envelope_parse(line, length, &envelope, &err) != KOLM_OK) return false;
    bool signs = false;
    bool good = strcmp(envelope.type, RECEIPT_PAYLOAD_TYPE) == 0 &&
                receipt_envelope_signed_by(&envelope, signer, &signs, &err) == KOLM_OK && signs &&
                kit_json_parse(kit_buf_text(&envelope.payload), envelope.payload.length, &statement, &err) == KOLM_OK &&
                kit_json_get_string(statement, "predicateType", &type) && strcmp(type, RECEIPT_PREDICATE) == 0;
    const cJSON *metrics = good ? kit_json_get(kit_json_get(statement, "predicate"), "metrics") : NULL;
    good = good && kit_json_get_string(kit_json_get(metrics, "compute"), "backend", &backend);
    if (good) kit_copy(out, capacity, backend);
    cJSON_Delete(statement);
    receipt_envelope_free(&envelope);
    return good;
}

void model_maker(const model_handle *model, char *out, size_t capacity) {
    receipt_public signer;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf lines = {0};
    const char *toolchain = NULL;
    size_t pem_length = 0;
    bool found = false, named = false;
    const char *pem = artifact_signer_pem(model->artifact, &pem_length);
    if (receipt_public_parse(pem, pem_length, &signer, &err) == KOLM_OK &&
        receipt_sidecar_read(model->sidecar_path, &lines, &found, &err) == KOLM_OK && found) {
        const char *at = kit_buf_text(&lines), *lf;
        for (; !named && (lf = strchr(at, '\n')) != NULL; at = lf + 1)
            named = backend_of_line(&signer, at, (size_t)(lf - at), out, capacity);
    }
    kit_buf_free(&lines);
    if (named) return;
    if (!kit_json_get_string(artifact_manifest(model->artifact), "toolchain", &toolchain)) toolchain = "";
    kit_format(out, capacity, "%.*s", (int)strcspn(toolchain, " ;/"), toolchain);
}

void model_format(const model_handle *model, char *out, size_t capacity) {
    const cJSON *manifest = artifact_manifest(model->artifact);
    const char *text = NULL;
    if (!kit_json_get_string(manifest, "model_format", &text) && !kit_json_get_string(manifest, "toolchain", &text))
        text = "";
    kit_format(out, capacity, "%.*s", (int)strcspn(text, " ,;/"), text);
}

kit_status model_answering_begin(kolm_session *session, model_handle *model, const char *backend, const char *base,
                                 session_airgap airgap, model_answering *out_answering, session_reason *out_reason,
                                 kolm_error_t *err) {
    *out_answering = (model_answering){.model = model, .job = {.lock_fd = -1}};
    *out_reason = SESSION_REASON_DATA;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    out_answering->threads = processors > 0 ? (uint32_t)processors : 1;
    char maker[64], format[80];
    model_maker(model, maker, sizeof maker);
    model_format(model, format, sizeof format);
    fleet_choose_options options = {.backend = backend,
                                    .maker = maker,
                                    .format = format,
                                    .registry = &model->registry,
                                    .airgap_strict = airgap == SESSION_AIRGAP_STRICT,
                                    .constraints = {.infer = true, .airgap = airgap != SESSION_AIRGAP_OFF}};
    if (!kit_json_get_string(artifact_manifest(model->artifact), "recipe", &options.constraints.recipe))
        options.constraints.recipe = NULL;
    *out_reason = SESSION_REASON_DATA;
    bool needed;
    KIT_TRY(model_base_of(session, artifact_manifest(model->artifact), base, &out_answering->base, &needed, err));
    if (base != NULL && !needed)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave out --base",
                        "%s carries all it needs and has no base model", model->path);
    *out_reason = SESSION_REASON_NOTHING;
    KIT_TRY(fleet_choose(session, &options, &out_answering->choice, out_reason, err));
    *out_reason = SESSION_REASON_INTERNAL;
    if (!fleet_recipe_runs_alone(out_answering->choice->backend, options.constraints.recipe))
        KIT_TRY(
            runtime_check(session, out_answering->choice->backend->name, options.constraints.recipe, out_reason, err));
    host_plugin_read_ahead(out_answering->choice->backend->row);
    out_answering->result = calloc(1, sizeof *out_answering->result);
    if (out_answering->result == NULL) return kit_no_memory(err);
    KIT_TRY(model_job_make(session, &out_answering->job, err));
    return model_describe(model, &out_answering->base, HOST_MODEL_PATH, &out_answering->job, &out_answering->described,
                          err);
}

kit_status model_answering_run(kolm_session *session, model_answering *answering, session_airgap airgap, int input_fd,
                               int output_fd, session_reason *out_reason, kolm_error_t *err) {
    const fleet_backend *backend = answering->choice->backend;
    char what[128];
    *out_reason = SESSION_REASON_BACKEND;
    const fleet_call call = {.slot = HOST_SLOT_INFER,
                             .airgap = airgap,
                             .threads = answering->threads,
                             .job_dir = answering->job.job,
                             .input_fd = input_fd,
                             .output_fd = output_fd,
                             .model_fd = artifact_descriptor(answering->model->artifact),
                             .stop = answering->stop};
    kit_status status = fleet_call_one(session, answering->choice->registry, backend, &call, answering->result, err);
    kit_format(what, sizeof what, "answering on %s", backend->name);
    if (status == KOLM_OK) status = fleet_verdict(answering->result, what, out_reason, err);
    /* If its model changes, a backend may fail in any way: report the change as the reason. */
    kolm_error_t changed = KIT_ERROR_INIT;
    if (status != KOLM_E_CANCELLED && model_unchanged(answering->model, &answering->base, &answering->job,
                                                      &answering->described, out_reason, &changed) != KOLM_OK) {
        *err = changed;
        return kit_fail_context(err, "the answers do not count");
    }
    if (status != KOLM_OK) job_directory_mend_error(&answering->job, false, err);
    return status;
}

kit_status model_answering_rows(kolm_session *session, model_answering *answering, session_airgap airgap, uint64_t rows,
                                session_reason *out_reason, kolm_error_t *err) {
    model_answers_limit limit;
    KIT_TRY(model_answers_limit_begin(answering->job.job, rows, &limit, err));
    answering->stop = &limit.reached;
    kit_status status = model_answering_run(session, answering, airgap, -1, -1, out_reason, err);
    answering->stop = NULL;
    status = model_answers_limit_end(&limit, answering->choice->backend->name, status, err);
    if (status == KOLM_E_DATA_LOSS) *out_reason = SESSION_REASON_BACKEND;
    return status;
}

void model_answering_end(model_answering *answering) {
    job_directory_close(&answering->job, false);
    job_described_free(&answering->described);
    fleet_choice_free(answering->choice);
    job_base_free(&answering->base);
    free(answering->result);
    *answering = (model_answering){.job = {.lock_fd = -1}};
}
