/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed data: all ways to compress, cut and damage them, and what is rejected by its first bytes. */
#include "../suite.h"
#include "fixture.h"
#include "job/source.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static kolm_error_t err;

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
}

/* ---- Compressing */

static void add_gzip(kit_buf *out, const void *data, size_t length) {
    static unsigned char packed[1u << 20];
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)data,
                  .avail_in = (uInt)length,
                  .next_out = packed,
                  .avail_out = sizeof packed};
    ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    kit_buf_add(out, packed, z.total_out);
    deflateEnd(&z);
}

static void add_zstd(kit_buf *out, const void *data, size_t length) {
    static unsigned char packed[1u << 20];
    size_t size = ZSTD_compress(packed, sizeof packed, data, length, 3);
    ck_assert(!ZSTD_isError(size));
    kit_buf_add(out, packed, size);
}

/* A frame that decoders skip (RFC 8878, 3.1.2). */
static void add_skippable(kit_buf *out) {
    kit_buf_add(out, "\x5A\x2A\x4D\x18\x03\0\0\0abc", 11);
}

/* Lines that compress moderately. */
static void add_lines(kit_buf *out, size_t lines) {
    uint32_t state = 1;
    for (size_t i = 0; i < lines; i++) {
        state = state * 1664525u + 1013904223u;
        kit_buf_fmt(out, "line %zu %08x\n", i, (unsigned)state);
    }
    ck_assert_int_eq(kit_buf_ok(out, NULL), KOLM_OK);
}

/* ---- Reading */

static kit_status read_all(int fd, size_t piece, kit_buf *out) {
    static char room[70000];
    job_bytes *bytes = NULL;
    KIT_TRY(job_bytes_open(fd, "rows", NULL, &bytes, &err));
    kit_status status = KOLM_OK;
    for (size_t got = 1; status == KOLM_OK && got > 0;) {
        status = job_bytes_read(bytes, room, piece, &got, &err);
        if (status == KOLM_OK) kit_buf_add(out, room, got);
    }
    /* After the end it keeps returning the end. */
    size_t more = 1;
    if (status == KOLM_OK) ck_assert(job_bytes_read(bytes, room, piece, &more, &err) == KOLM_OK && more == 0);
    job_bytes_close(bytes);
    return status;
}

static kit_status read_packed(const kit_buf *packed, size_t piece, kit_buf *out) {
    int fd = job_test_fd(packed->data, packed->length);
    kit_status status = read_all(fd, piece, out);
    close(fd);
    return status;
}

static void assert_gives(const kit_buf *packed, const kit_buf *text) {
    static const size_t pieces[] = {70000, 4096, 7};
    for (size_t i = 0; i < COUNT(pieces); i++) {
        kit_buf out = {0};
        ck_assert_msg(read_packed(packed, pieces[i], &out) == KOLM_OK, "%s", err.text);
        ck_assert_uint_eq(out.length, text->length);
        ck_assert(text->length == 0 || memcmp(out.data, text->data, text->length) == 0);
        kit_buf_free(&out);
    }
}

typedef void (*pack_fn)(kit_buf *out, const void *data, size_t length);
static const pack_fn packers[] = {add_gzip, add_zstd};
static const char *const packer_names[] = {"gzip", "zstd"};

START_TEST(packed_data_are_unpacked) {
    const size_t sizes[] = {0, 1, 100, test_draws(20000, 5000)};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        kit_buf text = {0}, packed = {0};
        add_lines(&text, sizes[i]);
        packers[_i](&packed, kit_buf_text(&text), text.length);
        assert_gives(&packed, &text);
        kit_buf_free(&text);
        kit_buf_free(&packed);
    }
}
END_TEST

START_TEST(what_was_packed_in_pieces_is_one) {
    kit_buf text = {0}, packed = {0};
    add_lines(&text, 5000);
    for (size_t at = 0, step = 1; at < text.length; at += step, step = step * 3 % 40000 + 1) {
        size_t piece = text.length - at < step ? text.length - at : step;
        if (packers[_i] == add_zstd && at % 2 == 0) add_skippable(&packed);
        packers[_i](&packed, text.data + at, piece);
        if (at % 3 == 0) packers[_i](&packed, "", 0);
    }
    if (packers[_i] == add_zstd) add_skippable(&packed);
    assert_gives(&packed, &text);
    /* Zeros after gzip data, as on tapes. */
    for (int i = 0; i < 1000 && packers[_i] == add_gzip; i++)
        kit_buf_char(&packed, '\0');
    assert_gives(&packed, &text);
    kit_buf_free(&text);
    kit_buf_free(&packed);
}
END_TEST

START_TEST(plain_data_stay_as_they_are) {
    static const char *const texts[] = {"",    "a",  "(",    "PAR",        "P",   "BZh9 of Bath,label\n",
                                        "BZh", "PK", "\x1F", "\x28\xB5 x", "Obj", "text,label\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        kit_buf text = {0};
        kit_buf_str(&text, texts[i]);
        assert_gives(&text, &text);
        kit_buf_free(&text);
    }
}
END_TEST

START_TEST(truncated_data_are_reported_wherever_they_end) {
    kit_buf text = {0}, packed = {0};
    add_lines(&text, 300);
    packers[_i](&packed, text.data, text.length / 2);
    size_t whole = packed.length;
    packers[_i](&packed, text.data + text.length / 2, text.length - text.length / 2);
    const size_t full = packed.length, step = full / test_draws(full, 200);
    for (size_t length = 4; length < full; length++) {
        kit_buf out = {0};
        if (length % step != 0 && length != whole) continue;
        packed.length = length;
        kit_status status = read_packed(&packed, 500, &out);
        if (length == whole)
            ck_assert_int_eq(status, KOLM_OK);
        else
            ck_assert_msg(status == KOLM_E_DATA_LOSS && strstr(err.text, packer_names[_i]) != NULL &&
                              err.remedy[0] != '\0',
                          "%zu of %zu: %s", length, full, err.text);
        kit_buf_free(&out);
    }
    kit_buf_free(&text);
    kit_buf_free(&packed);
}
END_TEST

START_TEST(damaged_data_are_never_taken_for_others) {
    kit_buf text = {0}, packed = {0};
    add_lines(&text, 300);
    /* With a checksum, as the zstd program writes. */
    if (packers[_i] == add_zstd) {
        static unsigned char room[1u << 16];
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ck_assert(!ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)));
        size_t size = ZSTD_compress2(context, room, sizeof room, text.data, text.length);
        ck_assert(!ZSTD_isError(size));
        kit_buf_add(&packed, room, size);
        ZSTD_freeCCtx(context);
    } else {
        add_gzip(&packed, text.data, text.length);
    }
    size_t refused = 0, tried = 0;
    for (size_t at = 4; at < packed.length; at += packed.length / test_draws(packed.length, 200)) {
        kit_buf out = {0};
        tried++;
        packed.data[at] ^= 0x55;
        kit_status status = read_packed(&packed, 500, &out);
        packed.data[at] ^= 0x55;
        /* Some bytes of a header do not affect the content. */
        if (status == KOLM_OK) ck_assert(out.length == text.length && memcmp(out.data, text.data, out.length) == 0);
        refused += status != KOLM_OK;
        kit_buf_free(&out);
    }
    ck_assert_uint_gt(refused + 16, tried);
    kit_buf_free(&text);
    kit_buf_free(&packed);
}
END_TEST

START_TEST(other_bytes_after_packed_data_are_reported) {
    kit_buf packed = {0}, out = {0};
    packers[_i](&packed, "a\n", 2);
    kit_buf_str(&packed, "text that was appended");
    ck_assert_int_eq(read_packed(&packed, 500, &out), KOLM_E_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "data are damaged"));
    kit_buf_free(&packed);
    kit_buf_free(&out);
}
END_TEST

/* A frame header with a window of 2^41 bytes, and a block after it. */
START_TEST(a_window_above_the_limit_is_refused) {
    kit_buf packed = {0}, out = {0};
    kit_buf_add(&packed,
                "\x28\xB5\x2F\xFD\x00\xF8\x01\x00\x00"
                "a",
                10);
    ck_assert_int_eq(read_packed(&packed, 500, &out), KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(err.text, "128 MiB"));
    ck_assert_ptr_nonnull(strstr(err.remedy, "--long=31"));
    kit_buf_free(&packed);
    kit_buf_free(&out);
}
END_TEST

typedef struct trickle {
    int fd;
    const kit_buf *bytes;
} trickle;

static void *write_slowly(void *user) {
    const trickle *t = user;
    for (size_t i = 0; i < t->bytes->length; i++)
        ck_assert_int_eq(write(t->fd, t->bytes->data + i, 1), 1);
    close(t->fd);
    return NULL;
}

START_TEST(bytes_may_come_one_by_one) {
    kit_buf text = {0}, packed = {0}, out = {0};
    int ends[2];
    pthread_t thread;
    add_lines(&text, 50);
    packers[_i](&packed, text.data, text.length);
    ck_assert_int_eq(pipe(ends), 0);
    trickle t = {.fd = ends[1], .bytes = &packed};
    ck_assert_int_eq(pthread_create(&thread, NULL, write_slowly, &t), 0);
    ck_assert_msg(read_all(ends[0], 4096, &out) == KOLM_OK, "%s", err.text);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_str_eq(kit_buf_text(&out), kit_buf_text(&text));
    close(ends[0]);
    kit_buf_free(&text);
    kit_buf_free(&packed);
    kit_buf_free(&out);
}
END_TEST

/* ---- Rejected */

#define BYTES(text) text, sizeof(text) - 1
static const struct {
    const char *bytes;
    size_t length;
    const char *what, *advice;
} formats[] = {
    {BYTES("BZh91AY&SY\x01\x02"), "rows is bzip2 data, not text", "bzip2 -dc"},
    {BYTES("\xFD"
           "7zXZ\0\0\4"),
     "rows is xz data, not text", "xz -dc"},
    {BYTES("\x04\x22\x4D\x18\x64"), "rows is lz4 data, not text", "lz4 -dc"},
    {BYTES("7z\xBC\xAF\x27\x1C\0"), "rows is a 7z archive", "7z x"},
    {BYTES("PK\3\4\x14\0\0\0\x08\0rows.csv"), "rows is a zip archive", "unzip -p"},
    {BYTES("PK\3\4\x14\0\6\0\x08\0[Content_Types].xml"), "rows is a spreadsheet", "CSV"},
    {BYTES("PK\3\4\x14\0\6\0\x08\0mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "rows is a spreadsheet",
     "CSV"},
    {BYTES("PK\5\6\0\0\0\0"), "rows is an empty zip archive", "rows"},
    {BYTES("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0"), "rows is an Excel workbook", "CSV"},
    {BYTES("PAR1\x15\x04"), "rows is a Parquet file", "read_parquet"},
    {BYTES("ARROW1\0\0"), "rows is an Arrow file", "read_feather"},
    {BYTES("Obj\1\4"), "rows is an Avro file", "tojson"},
    {BYTES("SQLite format 3\0"), "rows is an SQLite database", "sqlite3"},
    {BYTES("\0\0\0"), "rows is binary (it begins with a NUL), not text", "UTF-8"},
    {BYTES("%PDF-1.7\n"), "rows is a PDF document", "JSON lines"},
};

START_TEST(other_formats_are_refused_with_the_way_to_convert_them) {
    job_bytes *bytes = NULL;
    int fd = job_test_fd(formats[_i].bytes, formats[_i].length);
    ck_assert_int_eq(job_bytes_open(fd, "rows", NULL, &bytes, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_null(bytes);
    ck_assert_msg(strstr(err.text, formats[_i].what) != NULL, "%s", err.text);
    ck_assert_msg(strstr(err.remedy, formats[_i].advice) != NULL, "%s", err.remedy);
    close(fd);
}
END_TEST

/* Endless compressed nothing: only the flag ends it. */
START_TEST(an_endless_archive_can_be_left) {
    static volatile sig_atomic_t stop;
    kit_buf packed = {0};
    for (size_t i = 0; i < test_draws(10000, 100); i++)
        packers[_i](&packed, "", 0);
    int fd = job_test_fd(packed.data, packed.length);
    job_bytes *bytes = NULL;
    char room[16];
    size_t got = 0;
    stop = 0;
    ck_assert_int_eq(job_bytes_open(fd, "rows", &stop, &bytes, &err), KOLM_OK);
    stop = 1;
    ck_assert_int_eq(job_bytes_read(bytes, room, sizeof room, &got, &err), KOLM_E_CANCELLED);
    job_bytes_close(bytes);
    close(fd);
    kit_buf_free(&packed);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-source");
    TCase *tests = tcase_create("source");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_loop_test(tests, packed_data_are_unpacked, 0, COUNT(packers));
    tcase_add_loop_test(tests, what_was_packed_in_pieces_is_one, 0, COUNT(packers));
    tcase_add_test(tests, plain_data_stay_as_they_are);
    tcase_add_loop_test(tests, truncated_data_are_reported_wherever_they_end, 0, COUNT(packers));
    tcase_add_loop_test(tests, damaged_data_are_never_taken_for_others, 0, COUNT(packers));
    tcase_add_loop_test(tests, other_bytes_after_packed_data_are_reported, 0, COUNT(packers));
    tcase_add_test(tests, a_window_above_the_limit_is_refused);
    tcase_add_loop_test(tests, bytes_may_come_one_by_one, 0, COUNT(packers));
    tcase_add_loop_test(tests, other_formats_are_refused_with_the_way_to_convert_them, 0, COUNT(formats));
    tcase_add_loop_test(tests, an_endless_archive_can_be_left, 0, COUNT(packers));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
