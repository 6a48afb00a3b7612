/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: tokenizer.json (or vocab.txt with tokenizer_config.json), and texts tokenized with it. Parts: the file,
 * a text, and for vocab.txt a configuration. An accepted file yields ids below its id_end, the same ones on repetition
 * and with new buffers; the ids for a shorter limit are a prefix of those for a longer one. All other inputs are
 * rejected with a message. */
#include "encoder/tokenizer.h"

#include "fuzz.h"
#include "kolm/kit/text.h"

#include <string.h>

static tokenizer_work *work, *other;

static tokenizer_ids encode(const tokenizer *t, tokenizer_work *w, const char *text, size_t length, uint32_t most,
                            unsigned how) {
    kolm_error_t err = KIT_ERROR_INIT;
    tokenizer_ids ids;
    kit_status status = tokenizer_encode(t, w, text, length, most, how, &ids, &err);
    if (status == KOLM_OK) {
        for (size_t i = 0; i < ids.count; i++)
            must(ids.ids[i] < tokenizer_about(t)->id_end);
        return ids;
    }
    must(status == KOLM_E_INVALID_ARGUMENT && kit_utf8_valid(text, length) != length);
    fuzz_refused(status, &err);
    return (tokenizer_ids){0};
}

static void check_text(const tokenizer *t, const char *text, size_t length) {
    const tokenizer_facts *f = tokenizer_about(t);
    uint32_t around = f->before_count + f->after_count;
    tokenizer_ids all = encode(t, work, text, length, 0, 0), again = encode(t, other, text, length, 0, 0);
    must(!all.truncated && all.count == again.count &&
         (all.count == 0 || memcmp(all.ids, again.ids, all.count * 4) == 0));
    for (uint32_t most = 1; most < 6; most += 2) {
        tokenizer_ids cut = encode(t, other, text, length, most, 0);
        must(cut.count == (all.count < most ? all.count : most) && cut.truncated == (all.count > most));
        must(cut.count == 0 || memcmp(cut.ids, all.ids, cut.count * 4) == 0);
        tokenizer_ids end = encode(t, other, text, length, most, TOKENIZER_END);
        must(end.count == cut.count &&
             (end.count == 0 || memcmp(end.ids, all.ids + (all.count - end.count), end.count * 4) == 0));
        tokenizer_ids whole = encode(t, other, text, length, most + around, TOKENIZER_SPECIAL);
        must(kit_utf8_valid(text, length) != length || whole.count == around + cut.count);
        (void)encode(t, other, text, length, most, TOKENIZER_MODEL2VEC);
    }
}

static void check(const tokenizer *t, const char *text, size_t length) {
    static const char *const fixed[] = {
        "", "a  b.\u0301 \u00c5ngstr\u00f6m \u4f60\u597d 12 ing",
        "\u1100\u1161\u11a8 \u0915\u094d\u0915 \u212b\r\n\u200b \U0001f468\u200d\U0001f469 [CLS] <s>"};
    const tokenizer_facts *f = tokenizer_about(t);
    must(f->vocabulary > 0 && f->id_end > 0 && f->unknown < f->id_end);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        check_text(t, fixed[i], strlen(fixed[i]));
    check_text(t, text, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    fuzz_parts parts = {(const char *)data, size};
    tokenizer_files files = {0};
    tokenizer *t = NULL;
    size_t length, text_length;
    must(work != NULL || (tokenizer_work_new(&work, &err) == KOLM_OK && tokenizer_work_new(&other, &err) == KOLM_OK));
    char *file = fuzz_part(&parts, &length), *text = fuzz_part(&parts, &text_length);
    char *config = fuzz_part(&parts, &files.config_length);
    if (length > 0 && file[0] == '{')
        files.json = file, files.json_length = length;
    else
        files.vocab = file, files.vocab_length = length, files.config = files.config_length > 0 ? config : NULL;
    kit_status status = tokenizer_open(&files, &t, &err);
    if (status == KOLM_OK) {
        check(t, text, text_length);
    } else {
        must(t == NULL && (status == KOLM_E_DATA_LOSS || status == KOLM_E_UNIMPLEMENTED));
        fuzz_refused(status, &err);
    }
    tokenizer_close(t);
    free(file);
    free(text);
    free(config);
    return 0;
}
