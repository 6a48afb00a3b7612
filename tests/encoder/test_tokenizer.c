/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer without its library: ids by definition, what is refused with which messages, limits, and threads. */
#include "../suite.h"
#include "encoder/sentences.h"
#include "encoder/tokenizer.h"
#include "kolm/kit/buf.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORDS                                                                                                          \
    "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_"      \
    "word\":9,"                                                                                                        \
    "\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"re\":3,\"##fund\":4,\"##s\":5,\".\":6,\"e\":7,\"\xE4\xBD\xA0\":" \
    "8}}"
#define BERT                                                                                                           \
    "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,"           \
    "\"lowercase\":true}"
#define AROUND "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\",1]}"
#define FILE_OF(model, normalizer, pre, post)                                                                          \
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":" normalizer         \
    ",\"pre_tokenizer\":" pre ",\"post_processor\":" post ",\"decoder\":null,\"model\":" model "}"
#define PLAIN FILE_OF(WORDS, BERT, "{\"type\":\"BertPreTokenizer\"}", AROUND)

static kolm_error_t err;
static tokenizer *t;
static tokenizer_work *work;

static kit_status open_json(const char *text) {
    tokenizer_files files = {.json = text, .json_length = strlen(text)};
    tokenizer_close(t);
    return tokenizer_open(&files, &t, &err);
}

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    ck_assert_int_eq(tokenizer_work_new(&work, &err), KOLM_OK);
    ck_assert_msg(open_json(PLAIN) == KOLM_OK, "%s", err.text);
}

static void teardown(void) {
    tokenizer_work_free(work);
    tokenizer_close(t);
    work = NULL;
    t = NULL;
}

/* Formats the ids, followed by "..." if the text was truncated. */
static const char *ids_of(const char *text, uint32_t most, unsigned how) {
    static kit_buf shown;
    tokenizer_ids ids;
    kit_buf_clear(&shown);
    ck_assert_msg(tokenizer_encode(t, work, text, strlen(text), most, how, &ids, &err) == KOLM_OK, "%s", err.text);
    for (size_t i = 0; i < ids.count; i++)
        kit_buf_fmt(&shown, "%s%u", i > 0 ? " " : "", ids.ids[i]);
    if (ids.truncated) kit_buf_str(&shown, "...");
    return kit_buf_text(&shown);
}

START_TEST(ids_are_given) {
    ck_assert_str_eq(ids_of("Ref\xC3\xBAnds. ", 0, 0), "3 4 5 6");
    ck_assert_str_eq(ids_of("Ref\xC3\xBAnds. ", 0, TOKENIZER_SPECIAL), "1 3 4 5 6 2");
    ck_assert_str_eq(ids_of("", 0, TOKENIZER_SPECIAL), "1 2");
    ck_assert_str_eq(ids_of("", 0, 0), "");
    /* Ideographs are separate words, a decomposed letter equals the composed one, and a word of ten letters is too
     * long. */
    ck_assert_str_eq(ids_of("e\xE4\xBD\xA0"
                            "e re refund\tnot e\xCC\x81 rerererere",
                            0, 0),
                     "7 8 7 3 3 4 0 7 0");
    const tokenizer_facts *f = tokenizer_about(t);
    ck_assert_str_eq(f->model, "WordPiece");
    ck_assert_uint_eq(f->vocabulary, 9);
    ck_assert_uint_eq(f->id_end, 9);
    ck_assert_uint_eq(f->unknown, 0);
    ck_assert_uint_eq(f->median_characters, 3);
    ck_assert_uint_eq(f->before_count + f->after_count, 2);
    uint32_t id;
    ck_assert(tokenizer_token(t, "##fund", 6, &id) && id == 4);
    ck_assert(!tokenizer_token(t, "fund", 4, &id));
}
END_TEST

START_TEST(limits_count_special_tokens) {
    tokenizer_ids ids;
    ck_assert_str_eq(ids_of("refunds.", 6, TOKENIZER_SPECIAL), "1 3 4 5 6 2");
    ck_assert_str_eq(ids_of("refunds.", 5, TOKENIZER_SPECIAL), "1 3 4 5 2...");
    ck_assert_str_eq(ids_of("refunds.", 3, TOKENIZER_SPECIAL | TOKENIZER_END), "1 6 2...");
    ck_assert_str_eq(ids_of("refunds.", 1, 0), "3...");
    /* A word that becomes unknown only after the limit is unknown. */
    ck_assert_str_eq(ids_of("re refundx", 2, 0), "3 0");
    ck_assert_str_eq(ids_of("re refundx re", 2, 0), "3 0...");
    /* Two tokens of six characters: "ref uns" without its unknown ones. */
    ck_assert_str_eq(ids_of("re xy re", 2, TOKENIZER_MODEL2VEC), "3...");
    ck_assert_int_eq(tokenizer_encode(t, work, "re", 2, 2, TOKENIZER_SPECIAL, &ids, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(tokenizer_encode(t, work, "re", 2, 2, TOKENIZER_MODEL2VEC | TOKENIZER_END, &ids, &err),
                     KOLM_E_INVALID_ARGUMENT);
}
END_TEST

START_TEST(other_bytes_are_refused) {
    tokenizer_ids ids;
    ck_assert_int_eq(tokenizer_encode(t, work, "re \xFFx", 5, 0, 0, &ids, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "byte 4 of 5"));
    ck_assert_int_eq(tokenizer_encode(t, work, "re", (size_t)TOKENIZER_TEXT_MAX + 1, 0, 0, &ids, &err),
                     KOLM_E_OUT_OF_RANGE);
    /* NUL is an ordinary control character. */
    ck_assert_int_eq(tokenizer_encode(t, work, "r\0e", 3, 0, 0, &ids, &err), KOLM_OK);
    ck_assert(ids.count == 1 && ids.ids[0] == 3);
}
END_TEST

static const struct refusal {
    const char *text;
    int32_t code;
    const char *says;
} refusals[] = {
    {FILE_OF("{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}", "null", "null", "null"), KOLM_E_UNIMPLEMENTED,
     "model is of a type"},
    {FILE_OF("{\"vocab\":{\"a\":0},\"merges\":[],\"type\":\"BPE\"}", "null", "null", "null"), KOLM_E_UNIMPLEMENTED,
     "model is of a type"},
    {FILE_OF(WORDS, "{\"type\":\"ByteLevel\"}", "null", "null"), KOLM_E_UNIMPLEMENTED,
     "normalizer is of a type that the encoder recipe does not read: ByteLevel"},
    {FILE_OF(WORDS,
             "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a|b)\"},"
             "\"content\":\"\"}]}",
             "null", "null"),
     KOLM_E_UNIMPLEMENTED, "regular expression"},
    {FILE_OF(WORDS, "null", "{\"type\":\"UnicodeScripts\"}", "null"), KOLM_E_UNIMPLEMENTED,
     "pre_tokenizer is of a type"},
    {FILE_OF(WORDS, BERT, "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\"}", "null"),
     KOLM_E_UNIMPLEMENTED, "prepend_scheme first"},
    {FILE_OF(WORDS, "null", "{\"type\":\"Metaspace\",\"replacement\":\"__\"}", "null"), KOLM_E_DATA_LOSS,
     "not one character"},
    {FILE_OF(WORDS, "null", "null", "{\"type\":\"Sequence\",\"processors\":[" AROUND "," AROUND "]}"),
     KOLM_E_UNIMPLEMENTED, "twice"},
    {FILE_OF(WORDS, "null", "null", "{\"type\":\"TemplateProcessing\",\"single\":[],\"special_tokens\":{}}"),
     KOLM_E_UNIMPLEMENTED, "exactly once"},
    {FILE_OF("{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"a\":0}}", "null", "null", "null"),
     KOLM_E_UNIMPLEMENTED, "unknown token u"},
    {FILE_OF("{\"type\":\"Unigram\",\"unk_id\":null,\"vocab\":[[\"a\",-1.5]]}", "null", "null", "null"),
     KOLM_E_UNIMPLEMENTED, "no unk_id"},
    {FILE_OF("{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",-1.5]]}", "null", "null", "null"), KOLM_E_DATA_LOSS,
     "unk_id is 1"},
    {FILE_OF("{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",null]]}", "null", "null", "null"), KOLM_E_DATA_LOSS,
     "the score of a token"},
    {FILE_OF("{\"type\":\"WordLevel\",\"unk_token\":\"a\",\"vocab\":{\"a\":-1}}", "null", "null", "null"),
     KOLM_E_DATA_LOSS, "a whole number"},
    {FILE_OF("{\"type\":\"WordLevel\",\"unk_token\":\"a\",\"vocab\":{}}", "null", "null", "null"), KOLM_E_DATA_LOSS,
     "empty"},
    {FILE_OF(WORDS, "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}", "null", "null"), KOLM_E_DATA_LOSS,
     "precompiled_charsmap"},
    {"{\"version\":\"1.0\",\"model\":" WORDS, KOLM_E_DATA_LOSS, "or the end of the file"},
    {"{\"version\":\"2.0\",\"model\":" WORDS "}", KOLM_E_UNIMPLEMENTED, "version"},
    {"{\"version\":\"1.0\"}", KOLM_E_DATA_LOSS, "no model"},
    {"{\"version\":\"1.0\",\"model\":{\"vocab\":{\"\\ud800\":0}}}", KOLM_E_DATA_LOSS, "a token and its id"},
    {"{\"\xFF\":1}", KOLM_E_DATA_LOSS, "byte 3 is not UTF-8"},
    {"", KOLM_E_DATA_LOSS, "expected an object"},
};

START_TEST(others_are_refused) {
    const struct refusal *r = &refusals[_i];
    ck_assert_msg(open_json(r->text) == r->code, "%d: %s", err.code, err.text);
    ck_assert_ptr_null(t);
    ck_assert_msg(strstr(err.text, r->says) != NULL, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.remedy, r->code == KOLM_E_UNIMPLEMENTED ? "--recipe lora" : "again"));
}
END_TEST

START_TEST(a_vocabulary_alone_is_enough) {
    static const char words[] = "[PAD]\n[UNK]\r\n[CLS]\n[SEP]\n[MASK]\nrefund \nRefund";
    tokenizer_files files = {.vocab = words, .vocab_length = strlen(words)};
    tokenizer_close(t);
    ck_assert_msg(tokenizer_open(&files, &t, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(ids_of("Refund [MASK] x", 0, TOKENIZER_SPECIAL), "2 5 4 1 3");
    tokenizer_close(t);
    files.config = "{\"do_lower_case\": false}";
    files.config_length = strlen(files.config);
    ck_assert_msg(tokenizer_open(&files, &t, &err) == KOLM_OK, "%s", err.text);
    ck_assert_str_eq(ids_of("Refund refund", 0, TOKENIZER_SPECIAL), "2 6 5 3");
    tokenizer_close(t);
    files.config = "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}";
    files.config_length = strlen(files.config);
    ck_assert_int_eq(tokenizer_open(&files, &t, &err), KOLM_E_UNIMPLEMENTED);
    ck_assert_int_eq(tokenizer_open(&(tokenizer_files){0}, &t, &err), KOLM_E_FAILED_PRECONDITION);
}
END_TEST

#define THREADS 4
static void *encode_often(void *user) {
    tokenizer_work *mine;
    tokenizer_ids ids;
    bool *good = user;
    *good = tokenizer_work_new(&mine, NULL) == KOLM_OK;
    for (int i = 0; *good && i < 500; i++) {
        const char *text = i % 2 == 0 ? "refunds." : "re e\xCC\x81 x";
        *good = tokenizer_encode(t, mine, text, strlen(text), 0, 0, &ids, NULL) == KOLM_OK &&
                ids.count == (i % 2 == 0 ? 4u : 3u) && ids.ids[0] == 3;
    }
    tokenizer_work_free(mine);
    return NULL;
}

START_TEST(threads_share_a_tokenizer) {
    pthread_t threads[THREADS];
    bool good[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_often, &good[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert(good[i]);
    }
}
END_TEST

/* Words cached for one tokenizer must not be used for another. */
START_TEST(work_goes_from_one_tokenizer_to_another) {
    ck_assert_str_eq(ids_of("re e", 0, 0), "3 7");
    ck_assert_int_eq(open_json(FILE_OF("{\"type\":\"WordLevel\",\"unk_token\":\"u\",\"vocab\":{\"u\":0,\"re\":1}}",
                                       "null", "{\"type\":\"WhitespaceSplit\"}", "null")),
                     KOLM_OK);
    ck_assert_str_eq(ids_of("re e", 0, 0), "1 0");
}
END_TEST

START_TEST(a_megabyte_is_a_text) {
    const size_t length = 1u << 20;
    char *text = malloc(length);
    tokenizer_ids ids;
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < length; i++)
        text[i] = i % 3 == 2 ? ' ' : "re"[i % 3];
    ck_assert_int_eq(tokenizer_encode(t, work, text, length, 0, 0, &ids, &err), KOLM_OK);
    ck_assert_uint_eq(ids.count, (length + 2) / 3);
    memset(text, 'e', length);
    ck_assert_int_eq(tokenizer_encode(t, work, text, length, 0, 0, &ids, &err), KOLM_OK);
    ck_assert(ids.count == 1 && ids.ids[0] == 0);
    free(text);
}
END_TEST

/* A text beyond the size that is read at all is cut at the side that the limit drops. */
START_TEST(a_part_is_the_front_or_the_end) {
    static const char text[] = "a\xC3\xA9\xE2\x82\xAC"
                               "b\xF0\x9F\x98\x80"; /* lengths 1, 2, 3, 1 and 4 bytes */
    static const size_t fronts[] = {0, 1, 1, 3, 3, 3, 6, 7, 7, 7, 7, 11, 11};
    static const size_t ends[] = {0, 0, 0, 0, 4, 5, 5, 5, 8, 8, 10, 11, 11};
    const char *part;
    for (size_t most = 0; most < sizeof fronts / sizeof *fronts; most++) {
        ck_assert_uint_eq(sentences_part(text, 11, most, false, &part), fronts[most]);
        ck_assert_ptr_eq(part, text);
        ck_assert_uint_eq(sentences_part(text, 11, most, true, &part), ends[most]);
        ck_assert_ptr_eq(part, text + 11 - ends[most]);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("tokenizer");
    TCase *tcase = tcase_create("tokenizer");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, ids_are_given);
    tcase_add_test(tcase, limits_count_special_tokens);
    tcase_add_test(tcase, other_bytes_are_refused);
    tcase_add_loop_test(tcase, others_are_refused, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tcase, a_vocabulary_alone_is_enough);
    tcase_add_test(tcase, threads_share_a_tokenizer);
    tcase_add_test(tcase, work_goes_from_one_tokenizer_to_another);
    tcase_add_test(tcase, a_megabyte_is_a_text);
    tcase_add_test(tcase, a_part_is_the_front_or_the_end);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
