/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any bytes read as a chain yield a report, and opening them for writing leaves only complete lines. */
#include "fuzz.h"
#include "receipt/chain.h"

#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static receipt_keyring *ring;
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_chain_report report;
    receipt_chain *chain = NULL;
    receipt_head head;
    bool found = false;
    const char *path = fuzz_path("chain.jsonl");
    struct stat info;
    if (ring == NULL) must(receipt_keyring_load("/nonexistent", &ring, &err) == KOLM_OK);
    fuzz_put("chain.jsonl", data, size);
    must(receipt_chain_check(path, ring, &report, &err) == KOLM_OK && report.text[0] != '\0');
    must(report.broken_at <= report.lines && report.torn <= (size > 0 && data[size - 1] != '\n'));
    kit_status status = receipt_chain_head(path, &head, &found, &err);
    must(status == KOLM_OK || status == KOLM_E_DATA_LOSS);
    must(report.broken_at > 0 || (status == KOLM_OK && found == (report.lines > 0)));
    status = receipt_chain_open(path, &chain, &err);
    must(status == KOLM_OK || (status == KOLM_E_DATA_LOSS && chain == NULL));
    if (status == KOLM_OK) {
        receipt_place next;
        receipt_chain_next(chain, &next);
        must(next.seq == (found ? head.seq + 1 : 0));
        must(stat(path, &info) == 0 && (info.st_size == 0 || data[info.st_size - 1] == '\n'));
    }
    receipt_chain_close(chain);
    return 0;
}
