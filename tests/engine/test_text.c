/* SPDX-License-Identifier: Apache-2.0 */
/* Text to features: case and classes of many scripts, what is counted, and hostile bytes; and the arithmetic below
 * it. */
#include "../suite.h"
#include "numeric.h"
#include "text.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct bag {
    uint32_t bucket[4096], count[4096], length;
} bag;

static bag count_text(const char *text, size_t length, unsigned family) {
    text_counts *counts = text_counts_new();
    ck_assert_ptr_nonnull(counts);
    ck_assert_int_eq(text_count(counts, text, length, 1u << family), 0);
    bag b = {.length = 0};
    uint32_t position = 0;
    while (b.length < 4096 && text_next(counts, family, &position, &b.bucket[b.length], &b.count[b.length]))
        b.length++;
    /* Drained: nothing is left over for the next text. */
    position = 0;
    uint32_t bucket, count;
    ck_assert_int_eq(text_next(counts, family, &position, &bucket, &count), 0);
    text_counts_free(counts);
    return b;
}

static bag words_of(const char *text) {
    return count_text(text, strlen(text), TEXT_WORDS);
}

static bag chars_of(const char *text) {
    return count_text(text, strlen(text), TEXT_CHARS);
}

static bool same(const bag *a, const bag *b) {
    return a->length == b->length && memcmp(a->bucket, b->bucket, a->length * 4) == 0 &&
           memcmp(a->count, b->count, a->length * 4) == 0;
}

static void assert_same(const char *a, const char *b) {
    bag x = words_of(a), y = words_of(b);
    ck_assert_msg(same(&x, &y), "words of \"%s\" and \"%s\" differ", a, b);
    x = chars_of(a);
    y = chars_of(b);
    ck_assert_msg(same(&x, &y), "characters of \"%s\" and \"%s\" differ", a, b);
}

START_TEST(lower_case_of_many_scripts) {
    static const uint32_t pairs[][2] = {
        {'A', 'a'},       {'Z', 'z'},           {'a', 'a'},       {'0', '0'},         {0xC4, 0xE4},
        {0xDE, 0xFE},     {0xD7, 0xD7},         {0xDF, 0xDF},     {0x100, 0x101},     {0x101, 0x101},
        {0x178, 0xFF},    {0x17D, 0x17E},       {0x1C4, 0x1C6},   {0x1C5, 0x1C6},     {0x391, 0x3B1},
        {0x3A9, 0x3C9},   {0x38C, 0x3CC},       {0x410, 0x430},   {0x42F, 0x44F},     {0x401, 0x451},
        {0x4C0, 0x4CF},   {0x531, 0x561},       {0x556, 0x586},   {0x10A0, 0x2D00},   {0x1C90, 0x10D0},
        {0x1E9E, 0xDF},   {0x1F08, 0x1F00},     {0x2126, 0x3C9},  {0x2160, 0x2170},   {0x24B6, 0x24D0},
        {0x2C00, 0x2C30}, {0xA640, 0xA641},     {0xFF21, 0xFF41}, {0x10400, 0x10428}, {0x1E900, 0x1E922},
        {0x4E00, 0x4E00}, {0x10FFFF, 0x10FFFF},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        ck_assert_uint_eq(text_lower(pairs[i][0]), pairs[i][1]);
}
END_TEST

START_TEST(classes) {
    static const struct {
        uint32_t code_point;
        int kind;
    } cases[] = {
        {'a', 1},    {'9', 1},     {'_', 0},    {'-', 0},    {' ', 3},     {'\t', 3},     {'\n', 3},
        {0xA0, 3},   {0x3000, 3},  {0xE9, 1},   {0x301, 1},  {0x3B1, 1},   {0x434, 1},    {0x5D0, 1},
        {0x627, 1},  {0x93F, 1},   {0xE01, 1},  {0xAC00, 1}, {0x4E2D, 2},  {0x3042, 2},   {0x30AB, 2},
        {0x30FC, 2}, {0x20000, 2}, {0x3002, 0}, {0x20AC, 0}, {0x1F600, 0}, {0x110000, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(text_class(cases[i].code_point) == cases[i].kind, "U+%04X", (unsigned)cases[i].code_point);
}
END_TEST

START_TEST(case_does_not_matter) {
    assert_same("Reset MY Password", "reset my password");
    assert_same("ÄÖÜ Straße", "äöü straße");
    assert_same("ΑΘΗΝΑ", "αθηνα");
    assert_same("МОСКВА ЁЛКА", "москва ёлка");
    assert_same("ԵՐԵՎԱՆ", "երեվան");
    assert_same("ᲗᲑᲘᲚᲘᲡᲘ", "თბილისი");
    assert_same("a\tb\r\nc", "a b c");
}
END_TEST

START_TEST(words_and_pairs) {
    ck_assert_uint_eq(words_of("").length, 0);
    ck_assert_uint_eq(words_of(" ?! ").length, 0);
    ck_assert_uint_eq(words_of("card").length, 1);
    ck_assert_uint_eq(words_of("my card").length, 3);        /* my, card, my card */
    ck_assert_uint_eq(words_of("my-card").length, 3);        /* punctuation separates words but not the pair */
    ck_assert_uint_eq(words_of("card card card").length, 2); /* card x 3, card card x 2 */
    bag b = words_of("card card card");
    ck_assert_uint_eq(b.count[0] + b.count[1], 5);
    bag one = words_of("a b"), other = words_of("b a");
    ck_assert(!same(&one, &other)); /* order matters */
}
END_TEST

START_TEST(han_characters_are_words) {
    bag joined = words_of("密码"), apart = words_of("密 码");
    ck_assert_uint_eq(joined.length, 3);
    ck_assert(same(&joined, &apart));
    ck_assert_uint_eq(words_of("reset密码").length, 5);
    ck_assert_uint_eq(words_of("비밀번호 변경").length, 3); /* Korean has blanks between words */
}
END_TEST

START_TEST(character_grams) {
    /* " ab " gives 2-grams " a" "ab" "b ", 3-grams " ab" "ab ", the 4-gram " ab ". */
    ck_assert_uint_eq(chars_of("ab").length, 6);
    bag inside = chars_of("ab cd"), reversed = chars_of("cd ab");
    ck_assert(same(&inside, &reversed)); /* no n-gram crosses the blank */
    bag end = chars_of("xab"), start = chars_of("abx");
    ck_assert(!same(&end, &start));
    ck_assert_uint_eq(chars_of("ab ab").count[0], 2);
}
END_TEST

START_TEST(hostile_bytes) {
    static const char *const bad[] = {"\xff\xfe",     "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",    "\xe2\x82",
                                      "\xf0\x9f\x98", "abc\x80",  "\xc3",         "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)words_of(bad[i]);
        ck_assert_uint_gt(chars_of(bad[i]).length, 0);
    }
    bag a = count_text("a\0b", 3, TEXT_CHARS), b = count_text("a", 1, TEXT_CHARS);
    ck_assert(!same(&a, &b));
}
END_TEST

START_TEST(long_text_is_cut) {
    size_t length = 3 * (size_t)TEXT_MAX_CHARS;
    char *text = malloc(length);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < length; i++)
        text[i] = i % 7 == 6 ? ' ' : (char)('a' + i * i % 26);
    bag all = count_text(text, length, TEXT_WORDS), part = count_text(text, TEXT_MAX_CHARS, TEXT_WORDS);
    ck_assert(same(&all, &part));
    for (size_t i = 0; i < length; i++)
        text[i] = 'x'; /* one very long word: counts saturate, nothing overflows */
    bag endless = count_text(text, length, TEXT_CHARS);
    ck_assert_uint_gt(endless.length, 3);
    free(text);
}
END_TEST

START_TEST(own_exp_and_log) {
    for (double x = -30.0; x <= 30.0; x += 0.37)
        ck_assert_double_le(fabs(num_exp(x) / exp(x) - 1.0), 1e-14);
    ck_assert_double_eq(num_exp(0.0), 1.0);
    ck_assert_double_eq(num_exp(-1000.0), 0.0);
    ck_assert(num_exp(1e9) > 1e300);
    for (double x = 1e-6; x < 1e9; x *= 1.7)
        ck_assert_double_le(fabs(num_log(x) - log(x)), 1e-13 * (1.0 + fabs(log(x))));
    for (float x = -60.0f; x < 60.0f; x += 0.73f) {
        num_v4 e = num_exp4(num_splat(x));
        ck_assert_double_le(fabs((double)e[2] / exp((double)x) - 1.0), 1e-6);
    }
    for (float x = 1.0f; x <= 2.0f; x += 0.01f)
        ck_assert_double_le(fabs((double)num_log4_near_one(num_splat(x))[0] - log((double)x)), 2e-6);
}
END_TEST

START_TEST(generator_is_fair) {
    uint32_t seen[7] = {0};
    uint64_t state = 5;
    for (int i = 0; i < 70000; i++)
        seen[num_below(&state, 7)]++;
    for (int i = 0; i < 7; i++)
        ck_assert_uint_gt(seen[i], 9500);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("text");
    TCase *text = tcase_create("text");
    tcase_set_timeout(text, 120);
    tcase_add_test(text, lower_case_of_many_scripts);
    tcase_add_test(text, classes);
    tcase_add_test(text, case_does_not_matter);
    tcase_add_test(text, words_and_pairs);
    tcase_add_test(text, han_characters_are_words);
    tcase_add_test(text, character_grams);
    tcase_add_test(text, hostile_bytes);
    tcase_add_test(text, long_text_is_cut);
    tcase_add_test(text, own_exp_and_log);
    tcase_add_test(text, generator_is_fair);
    suite_add_tcase(suite, text);
    return run_suite(suite);
}
