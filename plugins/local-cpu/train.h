/* SPDX-License-Identifier: Apache-2.0 */
/* Trains linear.bin from a file of rows, and for recipe encoder head.bin, too: reads, chooses, fits. */
#ifndef LOCAL_CPU_TRAIN_H
#define LOCAL_CPU_TRAIN_H

#include "encoder/train_head.h"

/*
 * Memory, whatever the number of rows N: the encoded rows take at most 24 MiB (the others go to the scratch directory,
 * about 2 bytes per feature), reading 13 MiB, the cross-validation at most 4 x 10 MiB of scores, each thread its strip
 * of weights (at most 2^18 features x 64 bytes) and 8 MiB of dual variables; in addition 1 byte per row. L1 is only
 * tried below 6 million word features. Recipe encoder needs 16 more bytes per row, and maps the file of embeddings.
 */
#define TRAIN_LINE_MAX (256u << 20) /* bytes of one line of train.jsonl */

/* Additional input of recipe encoder. */
typedef struct train_encoder {
    const char *base;           /* directory of the encoder */
    const char *base_name;      /* identifies the base: its digest; may be "" */
    const char *engine;         /* identifies the version that computes embeddings: its toolchain */
    uint64_t base_bytes;        /* of its weights */
    const char *heldout_path;   /* eval.jsonl, for deciding whether the model stores the encoder as fp16; or NULL */
    const char *model_dir;      /* for head.bin, encoder.json and the tokenizer */
    const char *checkpoint_dir; /* for the embeddings, in case the run is interrupted */
    bool read_end;              /* of texts that are too long; false: the front */
    bool embed_base;            /* the model includes the encoder's files */
    const enc_kernels *kernels; /* for tests; NULL: the widest */
} train_encoder;

typedef struct train_request {
    const char *rows_path;   /* train.jsonl */
    const char *model_path;  /* of linear.bin */
    const char *scratch_dir; /* empty and private */
    uint64_t rows;           /* from job.json; only determines the number of folds */
    choose_effort effort;
    uint64_t seed;
    uint32_t threads;
    uint64_t abstain_micro, target_accuracy_micro;
    bool balanced; /* all labels have equal weight: rows / (labels x rows of the label) */
    choose_watch watch;
    const train_encoder *encoder; /* NULL: the linear recipe */
} train_request;

typedef struct train_report {
    choose_result result;
    char **labels; /* sorted bytewise: the model's order */
    uint32_t label_count;
    uint64_t rows;
    bool balanced; /* as requested */
    /* Of recipe encoder; result is then the linear engine's own. */
    bool has_head, embedded;
    head_trained head;
    uint64_t tokens, texts_cut, read_bytes_micro; /* of an answer, in millionths of payload and base */
    uint32_t dimensions, max_tokens, resumed;
    char **base_files; /* the encoder's files that were read, by their names in its directory */
    size_t base_file_count;
} train_report;

kit_status train_run(const train_request *request, train_report *out, kolm_error_t *err) KIT_MUST_USE;
void train_report_free(train_report *report);

#endif
