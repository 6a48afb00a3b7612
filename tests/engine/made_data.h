/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up labelled texts for the engine's tests: seeded, learnable, noisy. */
#ifndef TESTS_ENGINE_MADE_DATA_H
#define TESTS_ENGINE_MADE_DATA_H

#include "kolm/kit/buf.h"
#include "numeric.h"

/* A made-up word of three or four syllables, always the same for one number. */
static inline void made_word(kit_buf *out, uint64_t number) {
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    uint64_t h = num_mix(number + 77);
    for (unsigned i = 0; i < 3 + (h >> 60) % 2; i++, h >>= 9) {
        kit_buf_char(out, consonants[h % 14]);
        kit_buf_char(out, vowels[(h >> 4) % 5]);
    }
}

/* Makes one text of a label: some words of the label, many common words, some of another label. noise: per cent of
 * texts whose words are those of another label. */
static inline uint32_t made_row(kit_buf *text, uint64_t *state, uint32_t labels, uint32_t noise) {
    uint32_t label = num_below(state, labels), told = label, length = 6 + num_below(state, 8);
    if (num_below(state, 100) < noise) told = num_below(state, labels);
    for (uint32_t i = 0; i < length; i++) {
        uint32_t kind = num_below(state, 100);
        if (i > 0) kit_buf_char(text, ' ');
        if (kind < 28)
            made_word(text, 1000 + told * 40u + num_below(state, 40));
        else if (kind < 38)
            made_word(text, 1000 + num_below(state, labels) * 40u + num_below(state, 40));
        else
            made_word(text, num_below(state, 600));
    }
    return label;
}

/* count lines of {"id","input","output"}. */
static inline void made_rows(kit_buf *out, uint64_t seed, uint32_t count, uint32_t labels, uint32_t noise) {
    kit_buf text = {0};
    for (uint32_t i = 0; i < count; i++) {
        kit_buf_clear(&text);
        uint32_t label = made_row(&text, &seed, labels, noise);
        kit_buf_fmt(out, "{\"id\":\"%u\",\"input\":\"%s\",\"output\":\"queue %u\"}\n", (unsigned)i, kit_buf_text(&text),
                    (unsigned)label);
    }
    kit_buf_free(&text);
}

#endif
