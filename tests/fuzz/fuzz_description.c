/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the six files that describe the sentence encoder in a directory. Accepted values are in their ranges, so
 * that nothing computed from them overflows; all other inputs are rejected with a message. */
#include "encoder/describe.h"

#include "fuzz.h"
#include "kolm/kit/text.h"

#include <string.h>

static void check(const enc_description *d) {
    must(d->prefix != NULL && d->directory != NULL && strlen(d->prefix) <= 1024);
    must(kit_utf8_valid(d->prefix, strlen(d->prefix)) == strlen(d->prefix) && strstr(d->directory, "..") == NULL);
    must(d->directory[0] != '/' && d->max_tokens >= 1 && d->max_tokens <= ENC_TOKENS_MAX);
    must(d->family <= ENC_STATIC && d->pooling <= ENC_MAX && d->activation <= ENC_RELU);
    if (d->family == ENC_STATIC) return;
    must(d->hidden >= 1 && d->hidden <= 16384 && d->inner >= 1 && d->inner <= 65536 && d->layers >= 1 &&
         d->layers <= 256);
    must(d->heads >= 1 && d->hidden % d->heads == 0 && d->vocabulary >= 1 && d->positions <= ENC_TOKENS_MAX);
    must(d->max_tokens <= d->positions && d->epsilon > 0.0f && d->epsilon < 1.0f);
    if (d->family != ENC_BERT) must(d->max_tokens + d->pad + 1 <= d->positions);
    must((d->types > 0) == (d->family != ENC_MPNET));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"config.json",
                                        "modules.json",
                                        "1_Pooling/config.json",
                                        "sentence_bert_config.json",
                                        "config_sentence_transformers.json",
                                        "tokenizer_config.json"};
    kolm_error_t err = KIT_ERROR_INIT;
    fuzz_parts parts = {(const char *)data, size};
    char *texts[6];
    enc_file list[6];
    size_t count = 0;
    enc_files *files = NULL;
    enc_description d;
    for (size_t i = 0; i < 6; i++) {
        size_t length = 0;
        texts[i] = fuzz_part(&parts, &length);
        if (length > 0) list[count++] = (enc_file){names[i], (const uint8_t *)texts[i], length};
    }
    must(enc_files_of(list, count, "model", &files, &err) == KOLM_OK);
    kit_status status = enc_describe(files, &d, &err);
    if (status == KOLM_OK)
        check(&d);
    else
        fuzz_refused(status, &err);
    enc_description_free(&d);
    enc_files_close(files);
    for (size_t i = 0; i < 6; i++)
        free(texts[i]);
    return 0;
}
