/* SPDX-License-Identifier: Apache-2.0 */
/* From a file of rows to linear.bin, and for recipe encoder to head.bin beside it: reading, choosing, fitting. */
#ifndef LOCAL_CPU_TRAIN_H
#define LOCAL_CPU_TRAIN_H

#include "encoder/train_head.h"

/*
 * Memory, whatever the number of rows N: the encoded rows take at most 24 MiB (the others go to the scratch directory,
 * about 2 bytes a feature), reading 13 MiB, the cross-validation at most 4 x 10 MiB of scores, each thread its strip of
 * weights (at most 2^18 features x 64 bytes) and 8 MiB of dual numbers; beside these 1 byte a row. L1 is only tried
 * below 6 million word features. Recipe encoder keeps 16 bytes a row more, and maps the file of their embeddings.
 */
#define TRAIN_LINE_MAX (256u << 20) /* bytes of one line of train.jsonl */

/* What recipe encoder needs beside. */
typedef struct train_encoder {
    const char *base;           /* directory of the encoder */
    const char *base_name;      /* what tells this base from others: its digest; may be "" */
    const char *engine;         /* what tells this engine's embeddings from another version's: its toolchain */
    uint64_t base_bytes;        /* of its weights */
    const char *heldout_path;   /* eval.jsonl, or NULL: what decides whether the encoder goes into the model as fp16 */
    const char *model_dir;      /* where head.bin, encoder.json and the tokenizer go */
    const char *checkpoint_dir; /* where the embeddings go, for a run that was interrupted */
    bool read_end;              /* of texts that are too long */
    bool embed_base;            /* the encoder's files go into the model too */
    const enc_kernels *kernels; /* for tests; NULL: the widest */
} train_encoder;

typedef struct train_request {
    const char *rows_path;   /* train.jsonl */
    const char *model_path;  /* where linear.bin goes */
    const char *scratch_dir; /* empty and private */
    uint64_t rows;           /* as job.json says; only sets the number of folds */
    choose_effort effort;
    uint64_t seed;
    uint32_t threads;
    uint64_t abstain_micro, target_accuracy_micro;
    bool balanced; /* each label counts as much as any other: rows / (labels x rows of the label) */
    choose_watch watch;
    const train_encoder *encoder; /* NULL: the linear recipe */
} train_request;

typedef struct train_report {
    choose_result result;
    char **labels; /* sorted bytewise: the model's order */
    uint32_t label_count;
    uint64_t rows;
    bool balanced; /* as asked */
    /* Of recipe encoder; result is then the linear engine's own. */
    bool has_head, embedded;
    head_trained head;
    uint64_t tokens, texts_cut, read_bytes_micro; /* of an answer, in millionths of payload and base */
    uint32_t dimensions, max_tokens, resumed;
    char **base_files; /* of the encoder that were read, as their names in its directory */
    size_t base_file_count;
} train_report;

kit_status train_run(const train_request *request, train_report *out, kolm_error_t *err) KIT_MUST_USE;
void train_report_free(train_report *report);

#endif
