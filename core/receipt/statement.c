/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the two statements of a compile, signs them, appends them to the chain, and writes the sidecar. */
#include "receipt/internal.h"
#include "receipt/receipt.h"

#include <stdlib.h>
#include <string.h>

kit_status receipt_sign_envelope(void *key, const char *payload_type, const void *payload, size_t payload_length,
                                 kit_buf *out_envelope, kolm_error_t *err) {
    return receipt_envelope_sign(key, payload_type, payload, payload_length, out_envelope, err);
}

static cJSON *digest_of(const char *sha256) {
    cJSON *digest = cJSON_CreateObject();
    if (digest != NULL && kit_json_put_string(digest, "sha256", sha256)) return digest;
    cJSON_Delete(digest);
    return NULL;
}

/* A ResourceDescriptor. */
static cJSON *resource(const char *name, const char *sha256) {
    cJSON *item = cJSON_CreateObject();
    if (item != NULL && kit_json_put_string(item, "name", name) && kit_json_put(item, "digest", digest_of(sha256)))
        return item;
    cJSON_Delete(item);
    return NULL;
}

static bool add_item(cJSON *array, cJSON *item) {
    if (item == NULL) return false;
    if (array != NULL && cJSON_AddItemToArray(array, item)) return true;
    cJSON_Delete(item);
    return false;
}

kit_status receipt_statement(const char *subject, const char *sha256, const char *predicate_type, cJSON *predicate,
                             kit_buf *out, kolm_error_t *err) {
    cJSON *statement = cJSON_CreateObject();
    cJSON *subjects = cJSON_CreateArray();
    bool good = add_item(subjects, resource(subject, sha256));
    good = kit_json_put(statement, "subject", subjects) && good;
    good = kit_json_put(statement, "predicate", predicate) && good;
    good = good && kit_json_put_string(statement, "_type", RECEIPT_STATEMENT) &&
           kit_json_put_string(statement, "predicateType", predicate_type);
    kit_status status = good ? kit_json_exact(statement, err) : kit_no_memory(err);
    if (status == KOLM_OK) status = kit_json_canonical(statement, out, err);
    cJSON_Delete(statement);
    return status;
}

/* A copy of the caller's value, or an empty one. */
static cJSON *copy_or(const cJSON *value, bool array) {
    if (value != NULL) return cJSON_Duplicate(value, true);
    return array ? cJSON_CreateArray() : cJSON_CreateObject();
}

static bool put_micro(cJSON *object, const char *key, uint64_t micro) {
    return micro == RECEIPT_UNKNOWN ? kit_json_put_null(object, key) : kit_json_put(object, key, kit_json_micro(micro));
}

static bool put_count(cJSON *object, const char *key, uint64_t value) {
    return value == RECEIPT_UNKNOWN ? kit_json_put_null(object, key) : kit_json_put_u64(object, key, value);
}

static bool put_time(cJSON *object, const char *key, int64_t seconds) {
    char text[RECEIPT_TIME_BYTES];
    return receipt_time_text(seconds, text) && kit_json_put_string(object, key, text);
}

static cJSON *finish(cJSON *object, bool good) {
    if (good) return object;
    cJSON_Delete(object);
    return NULL;
}

static cJSON *place_json(const receipt_place *place) {
    cJSON *chain = cJSON_CreateObject();
    return finish(chain, chain != NULL && kit_json_put_string(chain, "log_id", place->log_id) &&
                             kit_json_put_u64(chain, "seq", place->seq) &&
                             kit_json_put_string(chain, "prev", place->prev));
}

bool receipt_place_put(cJSON *predicate, const receipt_place *place) {
    return kit_json_put(predicate, "chain", place_json(place));
}

/* ---- SLSA provenance v1, https://slsa.dev/spec/v1.0/provenance */
static cJSON *build_definition(const receipt_compile *c) {
    cJSON *definition = cJSON_CreateObject(), *external = cJSON_CreateObject(), *inputs = cJSON_CreateArray();
    bool good = kit_json_put_string(external, "task", c->task) && kit_json_put_string(external, "recipe", c->recipe) &&
                kit_json_put_string(external, "version", c->version) && kit_json_put_u64(external, "seed", c->seed) &&
                kit_json_put(external, "options", copy_or(c->parameters, false));
    for (size_t i = 0; i < c->input_count && good; i++)
        good = add_item(inputs, resource(c->inputs[i].name, c->inputs[i].sha256));
    good = kit_json_put(definition, "externalParameters", external) && good;
    good = kit_json_put(definition, "resolvedDependencies", inputs) && good;
    good = good && kit_json_put_string(definition, "buildType", RECEIPT_BUILD_TYPE) &&
           kit_json_put(definition, "internalParameters", cJSON_CreateObject());
    return finish(definition, good);
}

static cJSON *builder(const receipt_compile *c) {
    char id[160];
    cJSON *object = cJSON_CreateObject(), *version = cJSON_CreateObject();
    bool good = kit_format(id, sizeof id, RECEIPT_BUILDER_PREFIX "%s", c->backend) &&
                kit_json_put_string(version, "kolm", KOLM_VERSION);
    if (good && c->plugin_version != NULL) good = kit_json_put_string(version, "plugin", c->plugin_version);
    good = kit_json_put(object, "version", version) && good;
    return finish(object, good && kit_json_put_string(object, "id", id));
}

static cJSON *run_details(const receipt_compile *c, const receipt_place *place) {
    char invocation[80];
    cJSON *details = cJSON_CreateObject(), *metadata = cJSON_CreateObject(), *byproducts = cJSON_CreateArray();
    kit_format(invocation, sizeof invocation, "%s/%llu", place->log_id, (unsigned long long)place->seq);
    bool good = kit_json_put_string(metadata, "invocationId", invocation) &&
                put_time(metadata, "startedOn", c->started_at) && put_time(metadata, "finishedOn", c->finished_at) &&
                kit_json_put(metadata, "kolm_chain", place_json(place)) &&
                (c->plugin_version == NULL ||
                 kit_json_put_string(metadata, "kolm_stated_by_plugin", "builder.version.plugin")) &&
                add_item(byproducts, resource("manifest.json", c->manifest_sha256));
    good = kit_json_put(details, "metadata", metadata) && good;
    good = kit_json_put(details, "byproducts", byproducts) && good;
    return finish(details, good && kit_json_put(details, "builder", builder(c)));
}

static cJSON *slsa_predicate(const receipt_compile *c, const receipt_place *place) {
    cJSON *predicate = cJSON_CreateObject();
    return finish(predicate, predicate != NULL && kit_json_put(predicate, "buildDefinition", build_definition(c)) &&
                                 kit_json_put(predicate, "runDetails", run_details(c, place)));
}

/* ---- kolm's receipt */

static bool cost_is_bill(const receipt_compile *c) {
    return c->billed_micro_usd != RECEIPT_UNKNOWN && c->cost_micro_usd == c->billed_micro_usd;
}

static bool was_measured(const receipt_compile *c) {
    const char *text = NULL;
    return kit_json_get_string(c->measured, "reproducibility", &text) && strcmp(text, "not measured") != 0;
}

/* The paths of metrics from the plugin that kolm cannot check, unless null. */
static cJSON *stated_by_plugin(const receipt_compile *c) {
    const struct {
        const char *path;
        bool there;
    } members[] = {
        {"compute.cost_usd", cost_is_bill(c)},
        {"compute.device", c->device != NULL},
        {"compute.provenance.billed_cost_usd", c->billed_micro_usd != RECEIPT_UNKNOWN},
        {"compute.provenance.plugin_version", c->plugin_version != NULL},
        {"compute.provenance.quoted_cost_usd", c->quoted_micro_usd != RECEIPT_UNKNOWN},
        {"compute.provenance.toolchain", c->toolchain != NULL},
        {"measured.peak_memory_bytes", kit_json_get(c->measured, "peak_memory_bytes") != NULL},
        {"measured.reproducibility", was_measured(c)},
        {"reported", c->reported != NULL},
    };
    cJSON *array = cJSON_CreateArray();
    bool good = array != NULL;
    for (size_t i = 0; i < sizeof members / sizeof *members && good; i++)
        good = !members[i].there || add_item(array, cJSON_CreateString(members[i].path));
    return finish(array, good);
}

static cJSON *provenance(const receipt_compile *c) {
    cJSON *object = cJSON_CreateObject();
    return finish(object, object != NULL && kit_json_put_string(object, "picker_version", c->picker_version) &&
                              kit_json_put_string(object, "chosen_by", c->chosen_by) &&
                              put_micro(object, "score", c->score_micro) &&
                              kit_json_put_string(object, "reason", c->reason) &&
                              kit_json_put(object, "runners_up", copy_or(c->runners_up, true)) &&
                              kit_json_put(object, "constraints", copy_or(c->constraints, false)) &&
                              kit_json_put_string(object, "plugin_sha256", c->plugin_sha256) &&
                              kit_json_put_string(object, "plugin_version", c->plugin_version) &&
                              put_micro(object, "quoted_cost_usd", c->quoted_micro_usd) &&
                              put_micro(object, "billed_cost_usd", c->billed_micro_usd) &&
                              kit_json_put_u64(object, "seed", c->seed) &&
                              kit_json_put(object, "stated_by_plugin", stated_by_plugin(c)) &&
                              kit_json_put_string(object, "toolchain", c->toolchain));
}

static cJSON *metrics(const receipt_compile *c) {
    cJSON *object = cJSON_CreateObject(), *compute = cJSON_CreateObject();
    bool good = kit_json_put_string(compute, "backend", c->backend) &&
                kit_json_put_string(compute, "device", c->device) &&
                put_micro(compute, "cost_usd", c->cost_micro_usd) &&
                put_count(compute, "wall_duration_ms", c->wall_duration_ms) &&
                kit_json_put(compute, "provenance", provenance(c));
    good = kit_json_put(object, "compute", compute) && good;
    good = good && kit_json_put(object, "kscore", cJSON_Duplicate(c->kscore, true));
    if (good && c->measured != NULL) good = kit_json_put(object, "measured", cJSON_Duplicate(c->measured, true));
    if (good && c->reported != NULL) good = kit_json_put(object, "reported", cJSON_Duplicate(c->reported, true));
    return finish(object, good);
}

static cJSON *airgap(const receipt_compile *c) {
    cJSON *object = cJSON_CreateObject(), *mechanisms = cJSON_CreateArray();
    bool good = true;
    for (size_t i = 0; i < c->airgap_mechanism_count && good; i++)
        good = add_item(mechanisms, cJSON_CreateString(c->airgap_mechanisms[i]));
    good = kit_json_put(object, "mechanisms", mechanisms) && good;
    return finish(object, good && kit_json_put_bool(object, "requested", c->airgap_requested) &&
                              kit_json_put_bool(object, "enforced", c->airgap_enforced) &&
                              kit_json_put_string(object, "profile", c->airgap_profile));
}

static cJSON *receipt_predicate(const receipt_compile *c, const receipt_place *place) {
    cJSON *predicate = cJSON_CreateObject(), *artifact = cJSON_CreateObject();
    bool good = kit_json_put_string(artifact, "name", c->name) &&
                kit_json_put_string(artifact, "version", c->version) &&
                kit_json_put_string(artifact, "manifest_sha256", c->manifest_sha256) &&
                kit_json_put_u64(artifact, "size", c->file_size);
    good = kit_json_put(predicate, "artifact", artifact) && good;
    if (good && c->fence != NULL) good = kit_json_put(predicate, "fence", cJSON_Duplicate(c->fence, true));
    return finish(predicate, good && kit_json_put(predicate, "metrics", metrics(c)) &&
                                 kit_json_put(predicate, "airgap", airgap(c)) && receipt_place_put(predicate, place) &&
                                 put_time(predicate, "started_at", c->started_at) &&
                                 put_time(predicate, "finished_at", c->finished_at));
}

/* ---- Signing and writing */
typedef cJSON *(*predicate_fn)(const receipt_compile *compile, const receipt_place *place);

/* Appends one signed line with its LF, and moves place after it. */
static kit_status add_line(const receipt_compile *c, const receipt_key *key, const char *type, predicate_fn make,
                           receipt_place *place, kit_buf *lines, kolm_error_t *err) {
    kit_buf statement = {0};
    size_t before = lines->length;
    cJSON *predicate = make(c, place);
    if (predicate == NULL) return kit_no_memory(err);
    kit_status status = receipt_statement(c->file_name, c->file_sha256, type, predicate, &statement, err);
    if (status == KOLM_OK)
        status = receipt_envelope_sign(key, RECEIPT_PAYLOAD_TYPE, statement.data, statement.length, lines, err);
    if (status == KOLM_OK)
        status = receipt_place_after(place, lines->data + before, lines->length - before, place, err);
    kit_buf_char(lines, '\n');
    kit_buf_free(&statement);
    return status == KOLM_OK ? kit_buf_ok(lines, err) : status;
}

static kit_status check_compile(const receipt_compile *c, kolm_error_t *err) {
    char text[RECEIPT_TIME_BYTES];
    const char *wrong = NULL;
    if (c->file_name == NULL || c->name == NULL || c->version == NULL || c->backend == NULL)
        wrong = "a name";
    else if (c->file_sha256 == NULL || !receipt_is_keyid(c->file_sha256))
        wrong = "the digest of the artifact";
    else if (c->manifest_sha256 == NULL || !receipt_is_keyid(c->manifest_sha256))
        wrong = "the digest of the manifest";
    else if (!cJSON_IsObject(c->kscore))
        wrong = "the K-score";
    else if (!receipt_time_text(c->started_at, text) || !receipt_time_text(c->finished_at, text))
        wrong = "a time from 1970 to 9999";
    for (size_t i = 0; i < c->input_count && wrong == NULL; i++) {
        if (c->inputs[i].name == NULL || c->inputs[i].sha256 == NULL || !receipt_is_keyid(c->inputs[i].sha256))
            wrong = "the digest of an input";
    }
    if (wrong == NULL && c->plugin_sha256 != NULL && !receipt_is_keyid(c->plugin_sha256))
        wrong = "the digest of the plugin";
    if (wrong == NULL) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "report this", "cannot write a receipt without %s", wrong);
}

kit_status receipt_write(const receipt_compile *compile, const receipt_key *key, const char *chain_path,
                         const char *sidecar_path, receipt_head *out_head, kolm_error_t *err) {
    receipt_chain *chain = NULL;
    receipt_place place;
    kit_buf lines = {0};
    *out_head = (receipt_head){0};
    KIT_TRY(check_compile(compile, err));
    KIT_TRY(receipt_chain_open(chain_path, &chain, err));
    receipt_chain_next(chain, &place);
    kit_status status = add_line(compile, key, RECEIPT_SLSA_PREDICATE, slsa_predicate, &place, &lines, err);
    if (status == KOLM_OK) status = add_line(compile, key, RECEIPT_PREDICATE, receipt_predicate, &place, &lines, err);
    if (status == KOLM_OK) status = receipt_chain_append(chain, lines.data, lines.length, out_head, err);
    receipt_chain_close(chain);
    if (status == KOLM_OK && sidecar_path != NULL)
        status = kit_write_file(sidecar_path, 0644, lines.data, lines.length, err);
    kit_buf_free(&lines);
    return status;
}
