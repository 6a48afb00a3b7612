/* SPDX-License-Identifier: Apache-2.0 */
/* Rows to their file of embeddings, stopped on the way where asked: embed_rows DIR ROWS OUT COUNT KEY BATCHES. Prints how many
 * rows an earlier run had done, the tokens, and the texts that were cut; exits 3 when it was stopped. BATCHES 0: to the end. */
#include "encoder/embeddings.h"
#include "kolm/kit/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static bool countdown(void *user) {
    uint64_t *left = user;
    return *left > 0 && --*left == 0;
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    enc_files *files = NULL;
    embeddings made;
    uint64_t count, key, batches;
    embed_job job = {.threads = 2};
    if (argc != 7 || !kit_parse_u64(argv[4], &count) || !kit_parse_u64(argv[5], &key) ||
        !kit_parse_u64(argv[6], &batches))
        return 2;
    kit_status status = enc_files_open(argv[1], &files, &err);
    if (status == KOLM_OK) status = sentences_open(files, NULL, false, &job.sentences, &err);
    job.rows_path = argv[2];
    job.directory = argv[3];
    job.key = key;
    job.rows = (uint32_t)count;
    job.watch = (choose_watch){.stop = countdown, .user = &batches};
    if (status == KOLM_OK) status = embeddings_make(&job, &made, &err);
    sentences_close(job.sentences);
    if (status != KOLM_OK) {
        fprintf(stderr, "%s\n", err.text);
        return status == KOLM_E_CANCELLED ? 3 : 1;
    }
    printf("%u %" PRIu64 " %" PRIu64 "\n", (unsigned)made.resumed, made.tokens, made.cut);
    embeddings_close(&made);
    return 0;
}
