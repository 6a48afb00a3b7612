/* SPDX-License-Identifier: Apache-2.0 */
/* A plain main for fuzz targets: replays a corpus, then seeded mutations of it, so that every compiler can run them. */

/*
 * usage: fuzz_NAME [-runs=N] [-seed=N] CORPUS...      (files or directories)
 *
 * The options are libFuzzer's, except that N runs are N mutations after the corpus, a tenth of that under valgrind. The
 * same seed and corpus give the same inputs. On a crash the input is printed in hexadecimal, for xxd -r -p.
 */
#include "../draws.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_INPUTS 1024
#define MOST_BYTES (1u << 16)

static kit_buf corpus[MOST_INPUTS];
static size_t corpus_count;
static const uint8_t *current;
static size_t current_size;
static uint64_t state;

/* splitmix64 (Steele, Lea, Flood 2014): any seed is suitable. */
static uint64_t next_random(void) {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static size_t below(size_t limit) {
    return limit == 0 ? 0 : (size_t)(next_random() % limit);
}

static void say(const char *text, size_t length) {
    ssize_t ignored = write(STDERR_FILENO, text, length);
    (void)ignored;
}

/* Async-signal-safe: only write and raise. */
static void on_crash(int number) {
    static const char digits[] = "0123456789abcdef";
    say("\ncrashed on input: ", 19);
    for (size_t i = 0; i < current_size; i++) {
        char pair[2] = {digits[current[i] >> 4], digits[current[i] & 15]};
        say(pair, 2);
    }
    say("\n", 1);
    signal(number, SIG_DFL);
    raise(number);
}

static void run_one(const void *bytes, size_t size) {
    /* A copy of exactly this size, so that a read past the end is a read past the end of the allocation. */
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) abort();
    if (size > 0) memcpy(copy, bytes, size);
    current = copy;
    current_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    current_size = 0;
    free(copy);
}

static void load(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0) {
        fprintf(stderr, "no corpus at %s\n", path);
        exit(2);
    }
    if (S_ISREG(info.st_mode)) {
        kolm_error_t err = KIT_ERROR_INIT;
        if (corpus_count == MOST_INPUTS) return;
        if (kit_read_file(path, MOST_BYTES, &corpus[corpus_count++], &err) != KOLM_OK) {
            fprintf(stderr, "%s\n", err.text);
            exit(2);
        }
        return;
    }
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        kolm_error_t err = KIT_ERROR_INIT;
        char *inner = NULL;
        if (entries[i]->d_name[0] != '.' && kit_path_join(path, entries[i]->d_name, &inner, &err) == KOLM_OK)
            load(inner);
        free(inner);
        free(entries[i]);
    }
    free(entries);
}

/* Replaces `over` bytes of buf at `at` with length bytes. */
static void splice(kit_buf *buf, size_t at, size_t over, const void *bytes, size_t length) {
    kit_buf out = {0};
    kit_buf_add(&out, buf->data, at);
    kit_buf_add(&out, bytes, length);
    kit_buf_add(&out, buf->data + at + over, buf->length - at - over);
    kit_buf_free(buf);
    *buf = out;
}

static void mutate(kit_buf *buf) {
    static const char marks[] = "\0\x01\t\n\r \"\\/{}[]:,-+.eE0129utfn\x7F\x80\xBF\xC0\xC2\xE0\xED\xEF\xF4\xFF";
    char byte = marks[below(sizeof marks - 1)];
    size_t at = below(buf->length + 1), left = buf->length - at;
    const kit_buf *other = &corpus[below(corpus_count)];
    switch (below(7)) {
    case 0:
        if (left > 0) buf->data[at] = (char)(buf->data[at] ^ (char)(1 << below(8)));
        break;
    case 1:
        if (left > 0) buf->data[at] = byte;
        break;
    case 2:
        splice(buf, at, 0, &byte, 1);
        break;
    case 3:
        splice(buf, at, below(left < 16 ? left + 1 : 16), "", 0);
        break;
    case 4: {
        kit_buf twice = {0};
        size_t length = below(left < 64 ? left + 1 : 64);
        kit_buf_add(&twice, buf->data + at, length);
        splice(buf, at, 0, twice.data, length);
        kit_buf_free(&twice);
        break;
    }
    case 5: {
        size_t from = below(other->length + 1), most = other->length - from;
        splice(buf, at, 0, kit_buf_text(other) + from, below(most < 64 ? most + 1 : 64));
        break;
    }
    default:
        if (left > 0) buf->data[at] = (char)below(256);
        break;
    }
}

static uint64_t option(const char *text, const char *name) {
    uint64_t value = 0;
    if (strncmp(text, name, strlen(name)) == 0 && kit_parse_u64(text + strlen(name), &value)) return value;
    fprintf(stderr, "%s: expected -runs=N or -seed=N\n", text);
    exit(2);
}

static void run_mutations(uint64_t runs) {
    for (uint64_t done = 0; done < runs; done++) {
        const kit_buf *seed = &corpus[below(corpus_count)];
        kit_buf input = {0};
        kit_buf_add(&input, kit_buf_text(seed), seed->length);
        for (size_t n = 1 + below(8); n > 0; n--)
            mutate(&input);
        alarm(20); /* an input that hangs is a failure, too */
        run_one(input.data, input.length);
        kit_buf_free(&input);
    }
    alarm(0);
}

int main(int argc, char **argv) {
    uint64_t runs = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-runs", 5) == 0)
            runs = option(argv[i], "-runs=");
        else if (argv[i][0] == '-')
            state = option(argv[i], "-seed=");
        else
            load(argv[i]);
    }
    if (corpus_count == 0) {
        fprintf(stderr, "usage: %s [-runs=N] [-seed=N] CORPUS...\n", argv[0]);
        return 2;
    }
    static const int fatal[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], on_crash);
    int64_t from = kit_now_ms();
    run_one("", 0);
    for (size_t i = 0; i < corpus_count; i++)
        run_one(kit_buf_text(&corpus[i]), corpus[i].length);
    /* Sanitized builds, which detect more of the reads past the end of the input, run all of them. */
    if (test_under_valgrind()) runs /= 10;
    run_mutations(runs);
    printf("%zu inputs and %llu mutations in %lld ms\n", corpus_count, (unsigned long long)runs,
           (long long)(kit_now_ms() - from));
    for (size_t i = 0; i < corpus_count; i++)
        kit_buf_free(&corpus[i]);
    return 0;
}
