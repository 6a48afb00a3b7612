/* SPDX-License-Identifier: Apache-2.0 */
/* For tests in Python: writes artifacts, opens them, verifies them. */

/*
 * usage: artifact_tool write DIR OUT NAME=PATH...   writes OUT and its receipts; key in DIR/keys, chain in
 *                                                   DIR/receipts.jsonl
 *        artifact_tool open FILE                    checks the structure and the digests of the entries
 *        artifact_tool verify DIR FILE              prints the verdict, by DIR's keyring and chain
 *
 * Exit 0, or 1 with "CODE: sentence" on standard error.
 */
#include "artifact/artifact.h"

#include "kolm/kit/digest.h"
#include "receipt/receipt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW 1767225600
#define SOME_DIGEST "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define MOST_FILES 64

static const char manifest_text[] = "{\"name\":\"tool\",\"version\":\"1.0.0\",\"task\":\"tool\",\"recipe\":\"linear\","
                                    "\"base\":null,\"toolchain\":\"t\",\"options\":{},"
                                    "\"report\":{},\"data\":{\"train\":{\"rows\":8,\"sha256\":\"" SOME_DIGEST
                                    "\"},\"eval\":{\"rows\":2,\"sha256\":\"" SOME_DIGEST "\"}},"
                                    "\"evaluation\":{\"sha256\":\"" SOME_DIGEST
                                    "\"},\"kscore\":{\"k\":0.9,\"accuracy\":0.95,\"size\":1,\"latency\":1,\"cost\":1,"
                                    "\"coverage\":1,\"n\":2,\"correct\":2,\"answered\":2,\"reference\":{}}}";

static kolm_error_t err = KIT_ERROR_INIT;

static kit_status sign(const char *dir, const char *out, receipt_key *key) {
    artifact *a = NULL;
    receipt_head head;
    char sha256[KIT_SHA256_HEX], chain[512], sidecar[512];
    KIT_TRY(artifact_open(out, &a, &err));
    kit_format(chain, sizeof chain, "%s/receipts.jsonl", dir);
    kit_format(sidecar, sizeof sidecar, "%s%s", out, RECEIPT_SIDECAR_SUFFIX);
    kit_status status = artifact_hash(a, ARTIFACT_HASH_FILE | ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err);
    const char *slash = strrchr(out, '/');
    receipt_compile compile = {.file_name = slash == NULL ? out : slash + 1,
                               .file_sha256 = sha256,
                               .manifest_sha256 = artifact_manifest_sha256(a),
                               .file_size = artifact_size(a),
                               .name = "tool",
                               .version = "1.0.0",
                               .backend = "acme",
                               .cost_micro_usd = 0,
                               .quoted_micro_usd = RECEIPT_UNKNOWN,
                               .billed_micro_usd = RECEIPT_UNKNOWN,
                               .wall_duration_ms = 12,
                               .score_micro = 895000,
                               .started_at = NOW,
                               .finished_at = NOW,
                               .kscore = kit_json_get(artifact_manifest(a), "kscore")};
    if (status == KOLM_OK) status = receipt_write(&compile, key, chain, sidecar, &head, &err);
    artifact_close(a);
    return status;
}

static kit_status write_artifact(const char *dir, const char *out, int count, char **pairs) {
    artifact_file files[MOST_FILES];
    char names[MOST_FILES][300], keys[512];
    receipt_key *key = NULL;
    cJSON *manifest = NULL;
    artifact_identity id;
    bool created = false;
    for (int i = 0; i < count && i < MOST_FILES; i++) {
        const char *equals = strchr(pairs[i], '=');
        if (equals == NULL) return kit_fail(&err, KOLM_E_INVALID_ARGUMENT, "", "NAME=PATH is missing");
        kit_format(names[i], sizeof names[i], "%.*s", (int)(equals - pairs[i]), pairs[i]);
        files[i] = (artifact_file){names[i], equals + 1};
    }
    kit_format(keys, sizeof keys, "%s/keys", dir);
    KIT_TRY(receipt_key_open(keys, &key, &created, &err));
    kit_status status = kit_json_parse(manifest_text, strlen(manifest_text), &manifest, &err);
    artifact_spec spec = {.files = files, .file_count = (size_t)count, .manifest = manifest};
    spec.signer = (artifact_signer){key, receipt_key_pem(key), receipt_envelope_length, receipt_sign_envelope};
    int fd = open(out, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (status == KOLM_OK) status = artifact_write(&spec, fd, &id, &err);
    if (fd >= 0) close(fd);
    if (status == KOLM_OK) status = sign(dir, out, key);
    cJSON_Delete(manifest);
    receipt_key_free(key);
    return status;
}

static kit_status open_artifact(const char *path) {
    artifact *a = NULL;
    char sha256[KIT_SHA256_HEX];
    KIT_TRY(artifact_open(path, &a, &err));
    kit_status status = artifact_hash(a, ARTIFACT_HASH_FILE | ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err);
    if (status == KOLM_OK) printf("%s\n", sha256);
    artifact_close(a);
    return status;
}

static kit_status verify(const char *dir, const char *path) {
    artifact *a = NULL;
    receipt_keyring *ring = NULL;
    receipt_report report = {0};
    kit_buf sidecar = {0};
    bool found = false;
    char sha256[KIT_SHA256_HEX], keys[512], chain[512], beside[512];
    kit_format(keys, sizeof keys, "%s/keys", dir);
    kit_format(chain, sizeof chain, "%s/receipts.jsonl", dir);
    kit_format(beside, sizeof beside, "%s%s", path, RECEIPT_SIDECAR_SUFFIX);
    kit_status status = artifact_open(path, &a, &err);
    if (status == KOLM_OK) status = receipt_sidecar_read(beside, &sidecar, &found, &err);
    if (status == KOLM_OK)
        status = artifact_hash(a, found ? ARTIFACT_HASH_FILE : ARTIFACT_HASH_ENTRIES, NULL, NULL, sha256, &err);
    if (status == KOLM_OK) status = receipt_keyring_load(keys, &ring, &err);
    if (status == KOLM_OK) {
        receipt_question q = {.ring = ring,
                              .now = NOW,
                              .envelope_type = ARTIFACT_MANIFEST_TYPE,
                              .file_sha256 = sha256,
                              .chain_path = chain};
        q.manifest = artifact_manifest_text(a, &q.manifest_length);
        q.envelope = artifact_envelope(a, &q.envelope_length);
        q.signer_pem = artifact_signer_pem(a, &q.signer_pem_length);
        q.sidecar = found ? kit_buf_text(&sidecar) : NULL;
        q.sidecar_length = sidecar.length;
        status = receipt_check(&q, &report, &err);
    }
    if (status == KOLM_OK) {
        printf("%s\n", report.text);
        if (report.verdict != RECEIPT_TRUSTED) status = kit_fail(&err, KOLM_E_DATA_LOSS, "", "%s", report.text);
    }
    receipt_report_free(&report);
    receipt_keyring_free(ring);
    kit_buf_free(&sidecar);
    artifact_close(a);
    return status;
}

int main(int argc, char **argv) {
    kit_status status = KOLM_E_INVALID_ARGUMENT;
    kit_copy(err.text, sizeof err.text, "usage: see the top of artifact_tool.c");
    if (argc >= 5 && argc <= 4 + MOST_FILES && strcmp(argv[1], "write") == 0)
        status = write_artifact(argv[2], argv[3], argc - 4, argv + 4);
    else if (argc == 3 && strcmp(argv[1], "open") == 0)
        status = open_artifact(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "verify") == 0)
        status = verify(argv[2], argv[3]);
    if (status == KOLM_OK) return 0;
    fprintf(stderr, "%s: %s\n", kit_status_name(status), err.text);
    return 1;
}
