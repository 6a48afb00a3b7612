/* SPDX-License-Identifier: Apache-2.0 */
/* Converts rows to their file of embeddings, and may be stopped before the end.
 * embed_rows DIR ROWS OUT COUNT KEY BATCHES prints how many rows an earlier run had done, the tokens, and the
 * truncated texts; exits 3 if it was stopped. BATCHES 0: to the end; -N: killed where N would stop it.
 * embed_rows DIR ROWS OUT ENGINE trains on the rows with the embeddings, as that version of the engine; prints how many
 * an earlier run had done. */
#include "encoder/embeddings.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "train.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct countdown {
    uint64_t left;
    bool kills;
} countdown;

static bool count_down(void *user) {
    countdown *c = user;
    const bool stop = c->left > 0 && --c->left == 0;
    if (stop && c->kills) raise(SIGKILL);
    return stop;
}

static int train(char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    char *linear = NULL, *checkpoint = NULL;
    train_report report = {0};
    kit_status status = kit_mkdirs(argv[3], 0700, &err);
    if (status == KOLM_OK) status = kit_path_join(argv[3], "linear.bin", &linear, &err);
    if (status == KOLM_OK) status = kit_path_join(argv[3], "checkpoint", &checkpoint, &err);
    if (status == KOLM_OK) {
        const train_encoder with = {.base = argv[1],
                                    .base_name = "the base",
                                    .engine = argv[4],
                                    .model_dir = argv[3],
                                    .checkpoint_dir = checkpoint};
        const train_request request = {.rows_path = argv[2],
                                       .model_path = linear,
                                       .scratch_dir = argv[3],
                                       .effort = EFFORT_QUICK,
                                       .seed = 1,
                                       .threads = 1,
                                       .encoder = &with};
        status = train_run(&request, &report, &err);
    }
    if (status == KOLM_OK)
        printf("%u\n", (unsigned)report.resumed);
    else
        fprintf(stderr, "%s\n", err.text);
    train_report_free(&report);
    free(linear);
    free(checkpoint);
    return status == KOLM_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    enc_files *files = NULL;
    embeddings made;
    uint64_t count, key;
    countdown batches = {0};
    embed_job job = {.threads = 2};
    if (argc == 5) return train(argv);
    if (argc != 7 || !kit_parse_u64(argv[4], &count) || !kit_parse_u64(argv[5], &key) ||
        !kit_parse_u64(argv[6] + (argv[6][0] == '-'), &batches.left))
        return 2;
    batches.kills = argv[6][0] == '-';
    kit_status status = enc_files_open(argv[1], &files, &err);
    if (status == KOLM_OK) status = sentences_open(files, NULL, false, &job.sentences, &err);
    job.rows_path = argv[2];
    job.directory = argv[3];
    job.key = key;
    job.rows = (uint32_t)count;
    job.watch = (choose_watch){.stop = count_down, .user = &batches};
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
