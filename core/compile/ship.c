/* SPDX-License-Identifier: Apache-2.0 */
/* compile, last part: the artifact and its receipts, verified before they are moved into place.
 */
#include "artifact/manifest.h"
#include "compile/compile.h"
#include "fleet/repro.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- The manifest */

static cJSON *rows_digest(uint64_t rows, const char *sha256) {
    cJSON *object = cJSON_CreateObject();
    if (kit_json_put_u64(object, "rows", rows) && kit_json_put_string(object, "sha256", sha256)) return object;
    cJSON_Delete(object);
    return NULL;
}

static bool put_data(cJSON *manifest, const compile *c) {
    cJSON *data = cJSON_CreateObject();
    if (kit_json_put(data, "train", rows_digest(c->data.train_rows, c->data.train_sha256)) &&
        kit_json_put(data, "eval", rows_digest(c->data.eval_rows, c->data.eval_sha256)) &&
        compile_put_cleaning(data, c))
        return kit_json_put(manifest, "data", data);
    cJSON_Delete(data);
    return false;
}

/* The options that the bytes of the payload depend on. */
static cJSON *payload_options(const compile *c) {
    const compile_request *r = &c->request;
    cJSON *options = cJSON_CreateObject();
    bool good = kit_json_put_u64(options, "seed", r->seed.value) && kit_json_put_string(options, "effort", r->effort) &&
                kit_json_put_string(options, "split", r->eval.count > 0 ? "file" : "hash");
    /* The linear recipe has only labels as outputs. */
    if (good && c->data.closed && strcmp(c->recipe, "linear") != 0)
        good = kit_json_put_string(options, "outputs", "labels");
    if (good && c->contradictions != JOB_CONTRADICTIONS_MAJORITY)
        good = kit_json_put_string(options, "contradictions", r->contradictions);
    if (good && r->abstain.set) good = kit_json_put(options, "abstain", kit_json_micro(r->abstain.value));
    if (good && r->target_accuracy.set)
        good = kit_json_put(options, "target_accuracy", kit_json_micro(r->target_accuracy.value));
    if (good && compile_is_weighted(c)) good = kit_json_put_string(options, "class_weight", r->class_weight);
    if (good && c->trainer != NULL) good = kit_json_put(options, "trainer", cJSON_Duplicate(c->trainer, 1));
    if (good) good = job_common_put(&c->data.common, options);
    if (good) return options;
    cJSON_Delete(options);
    return NULL;
}

static bool put_base(cJSON *manifest, const compile *c) {
    if (c->base.path == NULL) return kit_json_put_null(manifest, "base");
    cJSON *base = cJSON_CreateObject();
    if (kit_json_put_string(base, "name", c->base.name) && kit_json_put_string(base, "digest", c->base.digest) &&
        kit_json_put_u64(base, "bytes", c->base.weight_bytes) &&
        (!c->base.part || kit_json_put(base, "files", job_base_files(&c->base))) &&
        (!c->request.embed_base || kit_json_put_bool(base, "embedded", true)))
        return kit_json_put(manifest, "base", base);
    cJSON_Delete(base);
    return false;
}

static cJSON *make_manifest(const compile *c) {
    const compile_request *r = &c->request;
    const char *toolchain = NULL, *format = NULL;
    cJSON *manifest = cJSON_CreateObject(), *evaluation = cJSON_CreateObject();
    bool good =
        kit_json_get_string(c->result, "toolchain", &toolchain) && kit_json_put_string(manifest, "name", r->task) &&
        kit_json_put_string(manifest, "version", r->version) && kit_json_put_string(manifest, "task", r->task) &&
        kit_json_put_string(manifest, "recipe", c->recipe) && put_base(manifest, c) && put_data(manifest, c) &&
        kit_json_put_string(evaluation, "sha256", score_predictions_sha256(c->answers)) &&
        kit_json_put_string(manifest, "toolchain", toolchain) &&
        kit_json_put(manifest, "kscore", score_manifest_object(&c->k, c->answers, c->data.closed)) &&
        kit_json_put(manifest, "options", payload_options(c)) &&
        kit_json_put(manifest, "report", cJSON_Duplicate(kit_json_get(c->result, "report"), 1));
    if (good && kit_json_get_string(c->result, "model_format", &format))
        good = kit_json_put_string(manifest, "model_format", format);
    if (good)
        good = kit_json_put(manifest, "evaluation", evaluation);
    else
        cJSON_Delete(evaluation);
    if (good) return manifest;
    cJSON_Delete(manifest);
    return NULL;
}

/* ---- Writing and verifying the artifact */

static bool stop(void *user, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return session_stopped(user);
}

static kit_status write_artifact(compile *c, const receipt_key *key, int fd, kolm_error_t *err) {
    artifact_file *files = calloc(c->payload_count + 1, sizeof *files);
    cJSON *manifest = make_manifest(c);
    kit_status status = files != NULL && manifest != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) {
        size_t count = 0;
        for (; count < c->payload_count; count++)
            files[count] = (artifact_file){
                .name = c->payload[count].name, .path = c->payload[count].path, .mark = &c->payload[count].mark};
        if (c->request.embed_eval)
            files[count++] = (artifact_file){.name = "eval/heldout.jsonl", .fd = c->data.heldout_fd};
        /* The signer only reads the key behind its user pointer. */
        artifact_spec spec = {
            .files = files,
            .file_count = count,
            .manifest = manifest,
            .signer = {.user = (void *)(uintptr_t)key,
                       .public_key_pem = receipt_key_pem(key),
                       .length = receipt_envelope_length,
                       .envelope = receipt_sign_envelope},
            .stop = stop,
            .stop_user = c->session,
        };
        status = artifact_write(&spec, fd, &c->identity, err);
    }
    cJSON_Delete(manifest);
    free(files);
    return status;
}

/* Reads back what was just written, with the normal verifier. sidecar NULL: only the content. */
static kit_status verify_written(compile *c, int fd, const char *sidecar_path, kolm_error_t *err) {
    artifact *written = NULL;
    receipt_keyring *ring = NULL;
    kit_buf lines = {0};
    bool found = false;
    kit_status status = artifact_open_fd(fd, c->out_path, &written, err);
    if (status == KOLM_OK && sidecar_path == NULL)
        status =
            artifact_hash(written, ARTIFACT_HASH_FILE | ARTIFACT_HASH_ENTRIES, stop, c->session, c->file_sha256, err);
    if (status == KOLM_OK && sidecar_path != NULL) status = receipt_sidecar_read(sidecar_path, &lines, &found, err);
    if (status == KOLM_OK) status = receipt_keyring_load(c->keys_dir, &ring, err);
    if (status == KOLM_OK) {
        receipt_question question = {.ring = ring,
                                     .now = (int64_t)time(NULL),
                                     .envelope_type = ARTIFACT_MANIFEST_TYPE,
                                     .file_sha256 = c->file_sha256,
                                     .sidecar = sidecar_path != NULL ? kit_buf_text(&lines) : NULL,
                                     .sidecar_length = lines.length,
                                     .chain_path = c->chain_path};
        question.manifest = artifact_manifest_text(written, &question.manifest_length);
        question.envelope = artifact_envelope(written, &question.envelope_length);
        question.signer_pem = artifact_signer_pem(written, &question.signer_pem_length);
        receipt_report report;
        status = receipt_check(&question, &report, err);
        if (status == KOLM_OK && report.verdict != RECEIPT_TRUSTED)
            status = kit_fail(err, KOLM_E_DATA_LOSS,
                              report.remedy[0] != '\0'
                                  ? report.remedy
                                  : "check the disk and the memory of this machine, then run the command again",
                              "the artifact did not verify after it was written, and was discarded: %s", report.text);
        if (status == KOLM_OK) kit_copy(c->keyid, sizeof c->keyid, report.keyid);
        receipt_report_free(&report);
    }
    receipt_keyring_free(ring);
    kit_buf_free(&lines);
    artifact_close(written);
    return status;
}

/* ---- Receipts */

static cJSON *make_parameters(const compile *c) {
    const compile_request *r = &c->request;
    cJSON *object = payload_options(c);
    bool good = object != NULL && kit_json_put_string(object, "task", r->task) &&
                kit_json_put_string(object, "recipe", r->recipe) &&
                kit_json_put(object, "gate", kit_json_micro(c->gates.k_micro)) &&
                kit_json_put(object, "min_accuracy", kit_json_micro(c->gates.accuracy_micro)) &&
                kit_json_put_bool(object, "allow_baseline", r->allow_baseline) &&
                kit_json_put_bool(object, "skip_bad", r->skip_bad) &&
                kit_json_put_string(object, "backend", r->backend);
    if (good) return object;
    cJSON_Delete(object);
    return NULL;
}

static cJSON *make_measured(const compile *c) {
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_u64(object, "train_ms", (uint64_t)c->trained.wall_ms) &&
                kit_json_put_u64(object, "answer_ms", (uint64_t)c->answered.wall_ms) &&
                kit_json_put_u64(object, "answers", score_rows(c->answers)) &&
                kit_json_put_u64(object, "peak_memory_bytes", c->trained.peak_memory_bytes) &&
                kit_json_put_u64(object, "threads", c->threads) &&
                kit_json_put_string(object, "reproducibility",
                                    fleet_repro_text(fleet_repro_known(c->session, c->choice->backend, c->recipe)));
    if (good) return object;
    cJSON_Delete(object);
    return NULL;
}

static bool put_names(cJSON *object, const char *key, const char (*names)[40], size_t count) {
    cJSON *array = cJSON_AddArrayToObject(object, key);
    bool good = array != NULL;
    for (size_t i = 0; i < count && good; i++) {
        cJSON *item = cJSON_CreateString(names[i]);
        good = item != NULL && cJSON_AddItemToArray(array, item);
    }
    return good;
}

/* The state during training; the answers were fenced in the same way, or enforced is false. */
static cJSON *make_fence(const compile *c) {
    const host_sandbox *s = &c->trained.sandbox, *a = &c->answered.sandbox;
    cJSON *object = cJSON_CreateObject();
    bool good = kit_json_put_bool(object, "enforced", s->fenced && a->fenced) &&
                kit_json_put_string(object, "kernel", s->kernel) &&
                put_names(object, "mechanisms", s->mechanisms, s->mechanism_count) &&
                put_names(object, "lacks", s->lacks, s->lack_count) &&
                kit_json_put_u64(object, "channels_tried", s->probes_run + a->probes_run) &&
                kit_json_put_u64(object, "channels_open", s->probes_reached + a->probes_reached);
    if (good) return object;
    cJSON_Delete(object);
    return NULL;
}

static void fill_airgap(const compile *c, receipt_compile *r, const char **mechanisms) {
    const host_sandbox *s = &c->trained.sandbox;
    r->airgap_requested = c->airgap;
    r->airgap_enforced = s->enforced && c->answered.sandbox.enforced;
    r->airgap_profile = !c->airgap          ? NULL
                        : s->requested      ? s->profile
                        : c->private_remote ? "private-remote"
                                            : "advisory";
    for (size_t i = 0; i < s->mechanism_count; i++)
        mechanisms[i] = s->mechanisms[i];
    r->airgap_mechanisms = mechanisms;
    r->airgap_mechanism_count = s->mechanism_count;
}

/* The bill: the sum of the leases if something was rented, so that receipt and journal agree; else the backend's. */
static uint64_t billed_of(const compile *c) {
    uint64_t sum = 0;
    const uint64_t training = c->trained.train.billed_micro_usd, answering = c->answered.infer.billed_micro_usd;
    if (c->leases.count == 0)
        return training > INT64_MAX || answering > INT64_MAX - training ? RECEIPT_UNKNOWN : training + answering;
    return lease_list_billed(&c->leases, &sum) ? sum : RECEIPT_UNKNOWN;
}

/* The cost: the bill, else price multiplied by time, else 0 for a free backend. */
static uint64_t cost_of(const compile *c, uint64_t wall_ms) {
    uint64_t price = c->choice->backend->offer->price_micro_usd_per_hour, billed = billed_of(c);
    if (billed != RECEIPT_UNKNOWN) return billed;
    if (price == PICK_UNPRICED) return RECEIPT_UNKNOWN;
    return price * wall_ms / 3600000;
}

static kit_status write_receipts(compile *c, const receipt_key *key, const char *sidecar, kolm_error_t *err) {
    const fleet_backend *backend = c->choice->backend;
    const char *toolchain = NULL, *mechanisms[HOST_MECHANISMS_MAX], *slash = strrchr(c->out_path, '/');
    if (!kit_json_get_string(c->result, "toolchain", &toolchain)) toolchain = NULL;
    char base_name[128];
    kit_format(base_name, sizeof base_name, "base:%s", c->base.name != NULL ? c->base.name : "");
    const receipt_input inputs[] = {{"train.jsonl", c->data.train_sha256},
                                    {"eval.jsonl", c->data.eval_sha256},
                                    {"plugin", c->trained.plugin_sha256},
                                    {base_name, c->base.digest}};
    cJSON *parameters = make_parameters(c), *measured = make_measured(c), *fence = make_fence(c),
          *kscore = score_manifest_object(&c->k, c->answers, false);
    uint64_t wall_ms = (uint64_t)(kit_now_ms() - c->started_ms);
    receipt_compile r = {
        .file_name = slash != NULL ? slash + 1 : c->out_path,
        .file_sha256 = c->file_sha256,
        .manifest_sha256 = c->identity.manifest_sha256,
        .file_size = c->identity.size,
        .name = c->request.task,
        .version = c->request.version,
        .task = c->request.task,
        .recipe = c->recipe,
        .seed = c->request.seed.value,
        .toolchain = toolchain,
        .parameters = parameters,
        .inputs = inputs,
        .input_count = sizeof inputs / sizeof *inputs - (c->base.path == NULL),
        .backend = backend->name,
        .device = c->trained.train.device[0] != '\0' ? c->trained.train.device : backend->device,
        .plugin_version = c->trained.version,
        .plugin_sha256 = c->trained.plugin_sha256,
        .cost_micro_usd = cost_of(c, wall_ms),
        .quoted_micro_usd = c->quoted_micro,
        .billed_micro_usd = billed_of(c),
        .wall_duration_ms = wall_ms,
        .started_at = c->started_at,
        .finished_at = (int64_t)time(NULL),
        .picker_version = PICK_VERSION,
        .chosen_by = c->choice->by_name,
        .score_micro = (uint64_t)c->choice->score * 10,
        .reason = c->choice->said,
        .runners_up = kit_json_get(c->choice->record, "runners_up"),
        .constraints = kit_json_get(c->choice->record, "constraints"),
        .kscore = kscore,
        .measured = measured,
        .reported = c->reported,
        .fence = fence,
    };
    fill_airgap(c, &r, mechanisms);
    kit_status status =
        parameters != NULL && measured != NULL && fence != NULL && kscore != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = receipt_write(&r, key, c->chain_path, sidecar, &c->head, err);
    cJSON_Delete(parameters);
    cJSON_Delete(measured);
    cJSON_Delete(fence);
    cJSON_Delete(kscore);
    return status;
}

/* ---- In place */

/* The directory of the output, locked: two compiles of the same name must not interleave their last steps. */
static kit_status lock_directory(const compile *c, int *out_fd, kolm_error_t *err) {
    char *directory = NULL;
    KIT_TRY(kit_strdup(c->out_path, &directory, err));
    char *slash = strrchr(directory, '/');
    if (slash == NULL)
        kit_copy(directory, strlen(directory) + 1, ".");
    else
        slash[slash == directory ? 1 : 0] = '\0';
    *out_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kit_status status = KOLM_OK;
    if (*out_fd < 0) status = kit_fail_errno(err, errno, "cannot open %s", directory);
    /* Without flock (some network file systems) there is no protection against concurrent compiles. */
    else
        while (kit_lock_hold(*out_fd, directory, NULL) == KOLM_E_CANCELLED && !session_stopped(c->session))
            continue;
    free(directory);
    return status;
}

/* At every instant the visible state is consistent: the old pair, the old artifact alone, the new one alone, the new
 * pair. The receipts are written to disk before the artifact is moved, so a full disk stops both. */
static kit_status move_into_place(compile *c, kit_atomic_file *file, const char *receipts, kolm_error_t *err) {
    kit_atomic_file beside = {.fd = -1};
    kit_buf lines = {0};
    bool found = false;
    kit_status status = receipt_sidecar_read(receipts, &lines, &found, err);
    if (status == KOLM_OK) status = kit_atomic_open(c->sidecar_path, 0644, &beside, err);
    if (status == KOLM_OK) status = kit_write_all(beside.fd, kit_buf_text(&lines), lines.length, err);
    if (status == KOLM_OK && unlink(c->sidecar_path) != 0 && errno != ENOENT)
        status = kit_fail_errno(err, errno, "cannot replace %s", c->sidecar_path);
    if (status == KOLM_OK) status = kit_atomic_commit(file, c->request.force, err);
    if (status == KOLM_OK) status = kit_atomic_commit(&beside, true, err);
    kit_atomic_abort(&beside);
    kit_buf_free(&lines);
    return status;
}

/* Another process may have written an artifact of this name since the start. */
static kit_status still_free(compile *c, kolm_error_t *err) {
    if (session_stopped(c->session))
        return kit_fail(err, KOLM_E_CANCELLED, "nothing was written; run the command again to retry",
                        "interrupted before the artifact was signed");
    bool there = false;
    if (!c->request.force) KIT_TRY(kit_path_exists(c->out_path, &there, err));
    if (!there) return KOLM_OK;
    c->reason = SESSION_REASON_USAGE;
    return kit_fail(err, KOLM_E_ALREADY_EXISTS, "pass --force to replace it, or another --version or --out",
                    "%s was written by another process in the meantime", c->out_path);
}

/* With the directory locked: the rest takes milliseconds, and is not interrupted. */
static kit_status sign_and_move(compile *c, const receipt_key *key, kit_atomic_file *file, kolm_error_t *err) {
    char *receipts = NULL;
    int lock = -1;
    KIT_TRY(kit_path_join(c->job.private, "receipts.jsonl", &receipts, err));
    kit_status status = lock_directory(c, &lock, err);
    if (status == KOLM_OK) status = still_free(c, err);
    if (status == KOLM_OK) status = write_receipts(c, key, receipts, err);
    if (status == KOLM_OK) status = verify_written(c, file->fd, receipts, err);
    if (status == KOLM_OK) status = move_into_place(c, file, receipts, err);
    if (lock >= 0) close(lock);
    free(receipts);
    return status;
}

kit_status compile_ship(compile *c, kolm_error_t *err) {
    receipt_key *key = NULL;
    kit_atomic_file file = {.fd = -1};
    c->reason = SESSION_REASON_INTERNAL;
    kit_status status = receipt_key_open(c->keys_dir, &key, &c->key_created, err);
    if (status == KOLM_OK) status = kit_atomic_open(c->out_path, 0644, &file, err);
    if (status == KOLM_OK) status = write_artifact(c, key, file.fd, err);
    if (status == KOLM_OK) status = verify_written(c, file.fd, NULL, err);
    if (status == KOLM_OK) status = sign_and_move(c, key, &file, err);
    kit_atomic_abort(&file);
    receipt_key_free(key);
    return status;
}

/* ---- --json */

static bool put_artifact(cJSON *record, const compile *c) {
    cJSON *a = cJSON_CreateObject(), *r = cJSON_CreateObject();
    bool good = kit_json_put_string(a, "path", c->out_path) && kit_json_put_u64(a, "size", c->identity.size) &&
                kit_json_put_string(a, "sha256", c->file_sha256) &&
                kit_json_put_string(a, "manifest_sha256", c->identity.manifest_sha256) &&
                kit_json_put_string(a, "keyid", c->keyid) && kit_json_put_string(r, "log_id", c->head.log_id) &&
                kit_json_put_u64(r, "seq", c->head.seq) && kit_json_put_string(r, "sha256", c->head.sha256) &&
                kit_json_put_string(r, "path", c->sidecar_path);
    if (good)
        return kit_json_put(record, "artifact", a) ? kit_json_put(record, "receipt", r) : (cJSON_Delete(r), false);
    cJSON_Delete(a);
    cJSON_Delete(r);
    return false;
}

cJSON *compile_record(const compile *c, bool ships) {
    cJSON *record = cJSON_CreateObject();
    bool good = kit_json_put_string(record, "schema", "kolm.compile/1") &&
                kit_json_put_string(record, "task", c->request.task) &&
                kit_json_put_string(record, "version", c->request.version) &&
                kit_json_put_string(record, "recipe", c->recipe) &&
                kit_json_put_string(record, "backend", c->choice->backend->name) &&
                kit_json_put_string(record, "chosen_by", c->choice->by_name) &&
                kit_json_put_string(record, "device", c->trained.train.device) &&
                kit_json_put_bool(record, "ships", ships) && compile_put_data(record, c) &&
                kit_json_put(record, "score", score_report_object(&c->k, c->answers, &c->gates)) &&
                kit_json_put(record, "report", cJSON_Duplicate(kit_json_get(c->result, "report"), 1)) &&
                kit_json_put_u64(record, "wall_ms", (uint64_t)(kit_now_ms() - c->started_ms));
    if (good) good = ships ? put_artifact(record, c) : kit_json_put_string(record, "failed", c->failed_path);
    if (good) return record;
    cJSON_Delete(record);
    return NULL;
}
