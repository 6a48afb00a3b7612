/* SPDX-License-Identifier: Apache-2.0 */
/* Converts token ids to embeddings by the encoder of local-cpu: for tests and benchmarks, which have their own
 * tokenizer. */
#include "encoder/encoder.h"
#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/*
 * usage: encode_tool DIR IDS OUT WIDTH THREADS BATCH REPEATS
 *
 * IDS: one text per line, as decimal token ids separated by blanks. OUT gets the embeddings as little-endian floats.
 * WIDTH is 16, 8 or 4 lanes, 0 for the encoder's choice, "plain" for C alone. BATCH: texts per call, 0 for all.
 * Prints one line: dimensions, vectors, seconds, processor seconds of the fastest repeat, and peak memory in KiB.
 */
typedef struct ids {
    uint32_t *tokens;
    enc_text *texts;
    size_t token_count, text_count;
} ids;

static void die(const kolm_error_t *err) {
    fprintf(stderr, "%s\n%s\n", err->text, err->remedy);
    exit(1);
}

static void add_text(ids *to, const char *line) {
    enc_text text = {0};
    for (char *end; *line != '\0'; line = end) {
        uint32_t id = (uint32_t)strtoul(line, &end, 10);
        if (end == line) break;
        if ((to->token_count & (to->token_count - 1)) == 0)
            to->tokens = realloc(to->tokens, (to->token_count * 2 + 1) * sizeof *to->tokens);
        if (to->tokens == NULL) abort();
        to->tokens[to->token_count++] = id;
        text.count++;
    }
    if ((to->text_count & (to->text_count - 1)) == 0)
        to->texts = realloc(to->texts, (to->text_count * 2 + 1) * sizeof *to->texts);
    if (to->texts == NULL) abort();
    to->texts[to->text_count++] = text;
}

static ids read_ids(const char *path, kolm_error_t *err) {
    ids all = {0};
    kit_lines *lines = NULL;
    const char *line = "";
    size_t length;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || kit_lines_open(fd, 1u << 24, &lines, err) != KOLM_OK) die(err);
    while (kit_lines_next(lines, &line, &length, err) == KOLM_OK && line != NULL)
        add_text(&all, line);
    kit_lines_close(lines);
    close(fd);
    size_t at = 0;
    for (size_t i = 0; i < all.text_count; i++) {
        all.texts[i].tokens = all.tokens + at;
        at += all.texts[i].count;
    }
    return all;
}

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void embed(const encoder *e, const ids *all, size_t batch, uint32_t threads, float *out) {
    kolm_error_t err = KIT_ERROR_INIT;
    const size_t width = enc_dimensions(e);
    if (batch == 0) batch = all->text_count;
    for (size_t i = 0; i < all->text_count; i += batch) {
        size_t n = all->text_count - i < batch ? all->text_count - i : batch;
        if (enc_embed(e, all->texts + i, n, threads, out + i * width, &err) != KOLM_OK) die(&err);
    }
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    encoder *e = NULL;
    uint64_t width = 0, threads, batch, repeats;
    if (argc != 8 || !kit_parse_u64(argv[5], &threads) || !kit_parse_u64(argv[6], &batch) ||
        !kit_parse_u64(argv[7], &repeats)) {
        fprintf(stderr, "use: encode_tool DIR IDS OUT WIDTH THREADS BATCH REPEATS\n");
        return 2;
    }
    const bool plain = strcmp(argv[4], "plain") == 0;
    if (!plain && !kit_parse_u64(argv[4], &width)) return 2;
    const enc_kernels *kernels = plain ? enc_kernels_plain() : enc_kernels_find((uint32_t)width);
    if (kernels == NULL) return 77; /* this processor has no vectors of that width */
    if (enc_open(argv[1], &e, &err) != KOLM_OK) die(&err);
    if (plain || width != 0) enc_use(e, kernels);
    ids all = read_ids(argv[2], &err);
    float *out = malloc(all.text_count * enc_dimensions(e) * sizeof *out + 1);
    double wall = 1e30, cpu = 1e30;
    if (out == NULL) return 1;
    for (uint64_t i = 0; i < repeats; i++) {
        double w = seconds(CLOCK_MONOTONIC), c = seconds(CLOCK_PROCESS_CPUTIME_ID);
        embed(e, &all, batch, (uint32_t)threads, out);
        w = seconds(CLOCK_MONOTONIC) - w;
        c = seconds(CLOCK_PROCESS_CPUTIME_ID) - c;
        if (w < wall) wall = w;
        if (c < cpu) cpu = c;
    }
    FILE *file = fopen(argv[3], "wb");
    size_t count = all.text_count * enc_dimensions(e);
    if (file == NULL || fwrite(out, sizeof *out, count, file) != count || fclose(file) != 0) return 1;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%u %s %.6f %.6f %ld\n", (unsigned)enc_dimensions(e), kernels->name, wall, cpu, usage.ru_maxrss);
    free(out);
    free(all.tokens);
    free(all.texts);
    enc_close(e);
    return 0;
}
