/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that maps the layers of an open encoder: it maps them all, ends with the encoder, and takes little
 * memory. */
#include "../suite.h"
#include "encoder/encoder.h"
#include "kolm/kit/file.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* One layer of half a gigabyte, stored as a hole. */
#define HIDDEN 1024
#define INNER 65536

static kolm_error_t err;
static char base[64], weights[96];

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-opening-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    kit_format(weights, sizeof weights, "%s/model.safetensors", base);
}

static void teardown(void) {
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

static void put(const char *name, const char *text) {
    char path[128];
    kit_format(path, sizeof path, "%s/%s", base, name);
    ck_assert_int_eq(kit_write_file(path, 0600, text, strlen(text), &err), KOLM_OK);
}

static void add(kit_buf *header, uint64_t *at, const char *name, unsigned rows, unsigned columns) {
    const uint64_t end = *at + (uint64_t)(rows == 0 ? 1 : rows) * columns * 4;
    kit_buf_fmt(header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[", *at == 0 ? "{" : ",", name);
    if (rows > 0) kit_buf_fmt(header, "%u,", rows);
    kit_buf_fmt(header, "%u],\"data_offsets\":[%llu,%llu]}", columns, (unsigned long long)*at, (unsigned long long)end);
    *at = end;
}

static void add_linear(kit_buf *header, uint64_t *at, const char *name, unsigned rows, unsigned columns) {
    char full[96];
    kit_format(full, sizeof full, "encoder.layer.0.%s.weight", name);
    add(header, at, full, rows, columns);
    kit_format(full, sizeof full, "encoder.layer.0.%s.bias", name);
    add(header, at, full, 0, rows == 0 ? columns : rows);
}

/* Writes a new file each time, so that nothing of it is in the page cache. */
static void write_model(void) {
    static const char *const square[] = {"attention.self.query", "attention.self.key", "attention.self.value",
                                         "attention.output.dense"};
    kit_buf header = {0};
    uint64_t at = 0;
    put("config.json",
        "{\"model_type\":\"bert\",\"type_vocab_size\":2,\"hidden_size\":1024,\"intermediate_size\":65536,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":16,\"vocab_size\":4,"
        "\"max_position_embeddings\":8}");
    put("modules.json", "[{\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
                        "{\"path\":\"pooling\",\"type\":\"sentence_transformers.models.Pooling\"}]");
    kit_buf_fmt(&header, "%s/pooling", base);
    ck_assert_int_eq(kit_mkdirs(kit_buf_text(&header), 0700, &err), KOLM_OK);
    put("pooling/config.json", "{\"word_embedding_dimension\":1024,\"pooling_mode\":\"mean\"}");
    kit_buf_clear(&header);
    add(&header, &at, "embeddings.word_embeddings.weight", 4, HIDDEN);
    add(&header, &at, "embeddings.position_embeddings.weight", 8, HIDDEN);
    add(&header, &at, "embeddings.token_type_embeddings.weight", 2, HIDDEN);
    add(&header, &at, "embeddings.LayerNorm.weight", 0, HIDDEN);
    add(&header, &at, "embeddings.LayerNorm.bias", 0, HIDDEN);
    for (int i = 0; i < 4; i++)
        add_linear(&header, &at, square[i], HIDDEN, HIDDEN);
    add_linear(&header, &at, "attention.output.LayerNorm", 0, HIDDEN);
    add_linear(&header, &at, "intermediate.dense", INNER, HIDDEN);
    add_linear(&header, &at, "output.LayerNorm", 0, HIDDEN);
    add_linear(&header, &at, "output.dense", HIDDEN, INNER);
    kit_buf_char(&header, '}');
    while (header.length % 8 != 0)
        kit_buf_char(&header, ' ');
    const uint64_t length = header.length;
    (void)unlink(weights);
    int fd = open(weights, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kit_write_all(fd, &length, sizeof length, &err), KOLM_OK);
    ck_assert_int_eq(kit_write_all(fd, header.data, header.length, &err), KOLM_OK);
    ck_assert_int_eq(ftruncate(fd, (off_t)(sizeof length + header.length + at)), 0);
    close(fd);
    kit_buf_free(&header);
}

static encoder *opened(void) {
    encoder *e = NULL;
    ck_assert_msg(enc_open(base, &e, &err) == KOLM_OK, "%s", err.text);
    return e;
}

/* Tells whether the end of the layer's weights is in the page cache; that page is too far from the biases to be read
 * ahead with them. */
static bool end_is_read(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char read = 0;
    int fd = open(weights, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    const off_t last = (lseek(fd, 0, SEEK_END) - (16 << 20)) / (off_t)page * (off_t)page;
    void *at = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, last);
    ck_assert(at != MAP_FAILED);
    ck_assert_int_eq(mincore(at, page, (void *)&read), 0);
    munmap(at, page);
    close(fd);
    return (read & 1) != 0;
}

START_TEST(all_is_mapped_while_the_encoder_is_open) {
    write_model();
    ck_assert(!end_is_read());
    encoder *e = opened();
    while (!end_is_read())
        sched_yield();
    enc_close(e);
}
END_TEST

/* A base may be large and its disk slow. One success in 20 is enough, because the system may run the other thread
 * first. */
START_TEST(closing_does_not_wait_for_the_rest) {
    bool waited = true;
    for (int round = 0; waited && round < 20; round++) {
        write_model();
        enc_close(opened());
        waited = end_is_read();
    }
    ck_assert(!waited);
}
END_TEST

#if defined(__linux__)
static long data_kib(void) {
    char line[256];
    long found = -1;
    FILE *status = fopen("/proc/self/status", "re");
    ck_assert_ptr_nonnull(status);
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmData:", 7) == 0) found = strtol(line + 7, NULL, 10);
    fclose(status);
    ck_assert_int_ge(found, 0);
    return found;
}

/* Measures what RLIMIT_DATA limits, whatever the default stack size of threads is. */
START_TEST(the_thread_takes_little_memory) {
    write_model();
    const long before = data_kib();
    encoder *e = opened();
    const long after = data_kib();
    enc_close(e);
    ck_assert_msg(after - before < 4096, "%ld KiB", after - before);
}
END_TEST
#endif

int main(void) {
    Suite *suite = suite_create("opening");
    TCase *tcase = tcase_create("opening");
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, all_is_mapped_while_the_encoder_is_open);
    if (!test_under_valgrind())
        tcase_add_test(tcase, closing_does_not_wait_for_the_rest); /* valgrind runs one thread at a time */
#if defined(__linux__)
    if (!test_slowed()) tcase_add_test(tcase, the_thread_takes_little_memory);
#endif
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
