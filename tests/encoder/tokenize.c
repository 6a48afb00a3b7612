/* SPDX-License-Identifier: Apache-2.0 */
/* Converts texts to ids, for comparison with the tokenizers library: tokenize json|vocab FILE CONFIG|- MAX FLAGS
 * [ROUNDS]. Reads texts from standard input, each preceded by its length, and writes for each the number of ids
 * (highest bit: truncated) and the ids; all numbers have 32 bits in native byte order. With ROUNDS it reads the texts
 * once, repeats the conversion, and prints seconds of processor time: to open, and of the fastest round. */
#include "encoder/tokenizer.h"
#include "kolm/kit/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die(const char *what, const kolm_error_t *err) {
    fprintf(stderr, "tokenize: %s: %s%s%s\n", what, err != NULL ? err->text : "", err != NULL ? "; " : "",
            err != NULL ? err->remedy : "");
    exit(1);
}

static char *read_all(FILE *file, size_t *out_length) {
    size_t capacity = 1u << 20, length = 0, got;
    char *bytes = malloc(capacity);
    while (bytes != NULL && (got = fread(bytes + length, 1, capacity - length, file)) > 0) {
        length += got;
        if (length == capacity) bytes = realloc(bytes, capacity *= 2);
    }
    if (bytes == NULL) die("no memory", NULL);
    *out_length = length;
    return bytes;
}

static char *read_file(const char *path, size_t *out_length) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) die(path, NULL);
    char *bytes = read_all(file, out_length);
    fclose(file);
    return bytes;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

typedef struct session {
    tokenizer *tokenizer;
    tokenizer_work *work;
    uint32_t most;
    unsigned how;
} session;

static void one_pass(const session *s, const char *texts, size_t length, bool quiet) {
    kolm_error_t err = KIT_ERROR_INIT;
    tokenizer_ids ids;
    for (size_t at = 0; at + 4 <= length;) {
        uint32_t bytes, head;
        memcpy(&bytes, texts + at, 4);
        if (tokenizer_encode(s->tokenizer, s->work, texts + at + 4, bytes, s->most, s->how, &ids, &err) != KOLM_OK)
            die("encode", &err);
        at += 4 + (size_t)bytes;
        head = (uint32_t)ids.count | (ids.truncated ? 1u << 31 : 0);
        if (quiet) continue;
        fwrite(&head, 4, 1, stdout);
        if (ids.count > 0) fwrite(ids.ids, 4, ids.count, stdout);
    }
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    tokenizer_files files = {0};
    session s = {0};
    size_t length = 0, text_length;
    if (argc < 6) die("usage: tokenize json|vocab FILE CONFIG|- MAX FLAGS [ROUNDS]", NULL);
    char *bytes = read_file(argv[2], &length), *config = NULL;
    if (strcmp(argv[1], "json") == 0)
        files.json = bytes, files.json_length = length;
    else
        files.vocab = bytes, files.vocab_length = length;
    if (strcmp(argv[3], "-") != 0) files.config = config = read_file(argv[3], &files.config_length);
    double start = seconds();
    if (tokenizer_open(&files, &s.tokenizer, &err) != KOLM_OK || tokenizer_work_new(&s.work, &err) != KOLM_OK)
        die("open", &err);
    double opened = seconds() - start, best = 1e9;
    free(bytes);
    free(config);
    s.most = (uint32_t)strtoul(argv[4], NULL, 10);
    s.how = (unsigned)strtoul(argv[5], NULL, 10);
    char *texts = read_all(stdin, &text_length);
    int rounds = argc > 6 ? (int)strtol(argv[6], NULL, 10) : 0;
    for (int i = 0; i < rounds; i++) {
        start = seconds();
        one_pass(&s, texts, text_length, true);
        if (seconds() - start < best) best = seconds() - start;
    }
    const tokenizer_facts *f = tokenizer_about(s.tokenizer);
    if (rounds > 0)
        printf("open %.6f encode %.6f\n", opened, best);
    else
        one_pass(&s, texts, text_length, false);
    fprintf(stderr, "%s %u %u %u %u %u %u\n", f->model, f->vocabulary, f->id_end, f->unknown, f->median_characters,
            f->before_count, f->after_count);
    free(texts);
    tokenizer_work_free(s.work);
    tokenizer_close(s.tokenizer);
    return fflush(stdout) == 0 ? 0 : 1;
}
