/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a signed artifact with one large entry, and its receipts: make-big-artifact OUT.kolm BYTES, with KOLM_HOME. */
#include "artifact/artifact.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"
#include "receipt/receipt.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static kit_status fill(const char *path, uint64_t bytes, kolm_error_t *err) {
    kit_atomic_file file;
    static uint64_t block[1 << 15];
    uint64_t state = 1;
    KIT_TRY(kit_atomic_open(path, 0600, &file, err));
    for (size_t i = 0; i < sizeof block / sizeof *block; i++)
        block[i] = state = state * 6364136223846793005ull + 1442695040888963407ull;
    kit_status status = KOLM_OK;
    for (uint64_t done = 0; status == KOLM_OK && done < bytes; done += sizeof block) {
        block[0] = done;
        status =
            kit_write_all(file.fd, block, bytes - done < sizeof block ? (size_t)(bytes - done) : sizeof block, err);
    }
    if (status == KOLM_OK) return kit_atomic_commit(&file, true, err);
    kit_atomic_abort(&file);
    return status;
}

static const char manifest_text[] = "{\"name\":\"big\",\"version\":\"1.0.0\",\"task\":\"big\",\"recipe\":\"linear\","
                                    "\"base\":null,\"toolchain\":\"bench\",\"options\":{},\"report\":{},"
                                    "\"data\":{\"train\":{\"rows\":1,\"sha256\":\"%064d\"},\"eval\":{\"rows\":1,"
                                    "\"sha256\":\"%064d\"}},\"evaluation\":{\"sha256\":\"%064d\"},"
                                    "\"kscore\":{\"k\":1,\"accuracy\":1,\"size\":1,\"latency\":1,\"cost\":1,"
                                    "\"coverage\":1,\"n\":1,\"correct\":1,\"answered\":1,\"reference\":{}}}";

static kit_status make(const char *out, uint64_t bytes, kolm_error_t *err) {
    char text[2048], payload[4096], sidecar[4096], sha256[KIT_SHA256_HEX], *keys = NULL, *chain = NULL;
    store_home *home = NULL;
    receipt_key *key = NULL;
    bool created = false;
    cJSON *manifest = NULL;
    kit_atomic_file file = {.fd = -1};
    artifact_identity identity;
    artifact *written = NULL;
    receipt_head head;
    kit_format(text, sizeof text, manifest_text, 0, 0, 0);
    kit_format(payload, sizeof payload, "%s.payload", out);
    kit_format(sidecar, sizeof sidecar, "%s%s", out, RECEIPT_SIDECAR_SUFFIX);
    KIT_TRY(kit_json_parse(text, strlen(text), &manifest, err));
    KIT_TRY(fill(payload, bytes, err));
    KIT_TRY(store_home_find(&home, err));
    KIT_TRY(store_home_create(home, err));
    KIT_TRY(store_home_place(home, STORE_KEYS, &keys, err));
    KIT_TRY(store_home_place(home, STORE_RECEIPTS, &chain, err));
    KIT_TRY(receipt_key_open(keys, &key, &created, err));
    const artifact_file entry = {"model/weights.bin", payload};
    const artifact_spec spec = {.files = &entry,
                                .file_count = 1,
                                .manifest = manifest,
                                .signer = {.user = key,
                                           .public_key_pem = receipt_key_pem(key),
                                           .length = receipt_envelope_length,
                                           .envelope = receipt_sign_envelope}};
    KIT_TRY(kit_atomic_open(out, 0644, &file, err));
    KIT_TRY(artifact_write(&spec, file.fd, &identity, err));
    KIT_TRY(artifact_open_fd(file.fd, out, &written, err));
    KIT_TRY(artifact_hash(written, ARTIFACT_HASH_FILE, NULL, NULL, sha256, err));
    const cJSON *kscore = kit_json_get(manifest, "kscore");
    const receipt_compile compile = {.file_name = "big.kolm",
                                     .file_sha256 = sha256,
                                     .manifest_sha256 = identity.manifest_sha256,
                                     .file_size = identity.size,
                                     .name = "big",
                                     .version = "1.0.0",
                                     .task = "big",
                                     .recipe = "linear",
                                     .backend = "bench",
                                     .started_at = (int64_t)time(NULL),
                                     .finished_at = (int64_t)time(NULL),
                                     .kscore = kscore,
                                     .score_micro = RECEIPT_UNKNOWN,
                                     .cost_micro_usd = 0,
                                     .quoted_micro_usd = 0,
                                     .billed_micro_usd = 0};
    KIT_TRY(receipt_write(&compile, key, chain, sidecar, &head, err));
    KIT_TRY(kit_atomic_commit(&file, true, err));
    unlink(payload);
    artifact_close(written);
    receipt_key_free(key);
    cJSON_Delete(manifest);
    store_home_free(home);
    free(keys);
    free(chain);
    return KOLM_OK;
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    uint64_t bytes = 0;
    if (argc != 3 || !kit_parse_u64(argv[2], &bytes)) {
        fprintf(stderr, "usage: make-big-artifact OUT.kolm BYTES\n");
        return 2;
    }
    if (make(argv[1], bytes, &err) == KOLM_OK) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}
