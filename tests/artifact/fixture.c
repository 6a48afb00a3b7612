/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers shared by the tests of artifacts and receipts. */
#include "fixture.h"

#include "../suite.h"

#include "kolm/kit/digest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOME_DIGEST "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static char base[64];

const char *fixture_path(const char *name) {
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    kit_format(path, sizeof paths[0], "%s/%s", base, name);
    return path;
}

void fixture_begin(void) {
    kit_copy(base, sizeof base, "/tmp/kolm-trust-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
}

void fixture_end(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_remove_tree(base, &err) == KOLM_OK, "%s", err.text);
}

void fixture_file(const char *name, const void *bytes, size_t length) {
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_msg(kit_write_file(fixture_path(name), 0644, bytes, length, &err) == KOLM_OK, "%s", err.text);
}

void fixture_text(const char *name, kit_buf *out) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf_clear(out);
    ck_assert_msg(kit_read_file(fixture_path(name), 64u << 20, out, &err) == KOLM_OK, "%s", err.text);
}

cJSON *fixture_manifest(void) {
    static const char text[] =
        "{\"name\":\"support_ticket_router\",\"version\":\"1.0.0\",\"task\":\"support_ticket_router\",\"recipe\":"
        "\"linear\","
        "\"base\":null,\"toolchain\":\"engine 1\",\"options\":{\"seed\":7},\"report\":{\"labels\":[\"a\",\"b\"]},"
        "\"data\":{\"train\":{\"rows\":80,\"sha256\":\"" SOME_DIGEST
        "\"},\"eval\":{\"rows\":20,\"sha256\":\"" SOME_DIGEST "\"}},"
        "\"evaluation\":{\"sha256\":\"" SOME_DIGEST "\"},"
        "\"kscore\":{\"k\":0.917,\"accuracy\":0.95,\"size\":0.999999,\"latency\":1,\"cost\":1,\"coverage\":1,\"n\":20,"
        "\"correct\":19,"
        "\"answered\":20,\"reference\":{\"bytes\":80000000000}}}";
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *manifest = NULL;
    ck_assert_msg(kit_json_parse(text, strlen(text), &manifest, &err) == KOLM_OK, "%s", err.text);
    return manifest;
}

artifact_signer fixture_signer(receipt_key *key) {
    return (artifact_signer){key, receipt_key_pem(key), receipt_envelope_length, receipt_sign_envelope};
}

void fixture_artifact(const char *name, receipt_key *key, artifact_identity *out_identity) {
    kolm_error_t err = KIT_ERROR_INIT;
    char first[256], second[256];
    fixture_file("weights", "some weights, and then some more", 32);
    fixture_file("labels", "[\"a\",\"b\"]", 9);
    kit_copy(first, sizeof first, fixture_path("weights"));
    kit_copy(second, sizeof second, fixture_path("labels"));
    const artifact_file files[] = {{"model/linear.bin", first}, {"model/labels.json", second}};
    cJSON *manifest = fixture_manifest();
    const artifact_spec spec = {.files = files, .file_count = 2, .manifest = manifest, .signer = fixture_signer(key)};
    int fd = open(fixture_path(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(artifact_write(&spec, fd, out_identity, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(close(fd), 0);
    cJSON_Delete(manifest);
}

receipt_compile fixture_compile(const char *file_sha256, const char *manifest_sha256, uint64_t size,
                                const cJSON *manifest) {
    static const receipt_input inputs[] = {{"train.jsonl", SOME_DIGEST}};
    static const char *const mechanisms[] = {"seccomp"};
    return (receipt_compile){.file_name = "small.kolm",
                             .file_sha256 = file_sha256,
                             .manifest_sha256 = manifest_sha256,
                             .file_size = size,
                             .name = "support_ticket_router",
                             .version = "1.0.0",
                             .task = "support_ticket_router",
                             .recipe = "linear",
                             .seed = 7,
                             .toolchain = "engine 1",
                             .inputs = inputs,
                             .input_count = 1,
                             .backend = "acme",
                             .device = "a \"device\"",
                             .plugin_version = "1.2",
                             .plugin_sha256 = SOME_DIGEST,
                             .cost_micro_usd = 1250000,
                             .quoted_micro_usd = 1300000,
                             .billed_micro_usd = RECEIPT_UNKNOWN,
                             .wall_duration_ms = 61234,
                             .started_at = FIXTURE_NOW - 61,
                             .finished_at = FIXTURE_NOW,
                             .picker_version = "1",
                             .chosen_by = "picker",
                             .score_micro = 940000,
                             .reason = "available",
                             .kscore = kit_json_get(manifest, "kscore"),
                             .airgap_requested = true,
                             .airgap_enforced = true,
                             .airgap_profile = "strict",
                             .airgap_mechanisms = mechanisms,
                             .airgap_mechanism_count = 1};
}

void fixture_signed(const char *name, receipt_key *key, receipt_head *out_head) {
    kolm_error_t err = KIT_ERROR_INIT;
    artifact_identity id;
    artifact *a = NULL;
    char sha256[KIT_SHA256_HEX], sidecar[300], chain[300];
    fixture_artifact(name, key, &id);
    ck_assert_msg(artifact_open(fixture_path(name), &a, &err) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_FILE | ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err), KOLM_OK);
    receipt_compile compile = fixture_compile(sha256, id.manifest_sha256, id.size, artifact_manifest(a));
    kit_format(sidecar, sizeof sidecar, "%s%s", fixture_path(name), RECEIPT_SIDECAR_SUFFIX);
    kit_copy(chain, sizeof chain, fixture_path("receipts.jsonl"));
    ck_assert_msg(receipt_write(&compile, key, chain, sidecar, out_head, &err) == KOLM_OK, "%s", err.text);
    artifact_close(a);
}

int fixture_verify(const char *name, const receipt_keyring *ring, const char *chain, int64_t now, char *out_text) {
    kolm_error_t err = KIT_ERROR_INIT;
    artifact *a = NULL;
    kit_buf sidecar = {0};
    bool found = false;
    char path[300], sha256[KIT_SHA256_HEX];
    receipt_report report = {0};
    int verdict = -1;
    kit_format(path, sizeof path, "%s%s", fixture_path(name), RECEIPT_SIDECAR_SUFFIX);
    kit_status status = artifact_open(fixture_path(name), &a, &err);
    if (status == KOLM_OK) status = receipt_sidecar_read(path, &sidecar, &found, &err);
    if (status == KOLM_OK)
        status = artifact_hash(a, found ? ARTIFACT_HASH_FILE : ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err);
    if (status == KOLM_OK) {
        receipt_question q = {.ring = ring,
                              .now = now,
                              .envelope_type = ARTIFACT_MANIFEST_TYPE,
                              .file_sha256 = sha256,
                              .chain_path = chain};
        q.manifest = artifact_manifest_text(a, &q.manifest_length);
        q.envelope = artifact_envelope(a, &q.envelope_length);
        q.signer_pem = artifact_signer_pem(a, &q.signer_pem_length);
        if (found) {
            q.sidecar = kit_buf_text(&sidecar);
            q.sidecar_length = sidecar.length;
        }
        status = receipt_check(&q, &report, &err);
        ck_assert_msg(status == KOLM_OK, "%s", err.text);
        verdict = (int)report.verdict;
        kit_copy(out_text, 512, report.text);
        ck_assert(report.verdict == RECEIPT_TRUSTED || report.remedy[0] != '\0');
        ck_assert_int_eq(
            strncmp(report.text, receipt_verdict_name(report.verdict), strlen(receipt_verdict_name(report.verdict))),
            0);
    } else {
        ck_assert(status == KOLM_E_DATA_LOSS || status == ARTIFACT_E_CHANGED);
        ck_assert(err.text[0] != '\0' && err.remedy[0] != '\0');
        kit_copy(out_text, 512, err.text);
    }
    receipt_report_free(&report);
    kit_buf_free(&sidecar);
    artifact_close(a);
    return verdict;
}
