/* SPDX-License-Identifier: Apache-2.0 */
/* Normalises a text as a stream, and computes its one-permutation hash. */
#include "job/fingerprint.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"
#include "lazy/lazy.h"

#include <string.h>

#define SHINGLE_BYTES 5u
#define SHINGLE_MASK ((1ull << (8 * SHINGLE_BYTES)) - 1)
#define BIN_SHIFT 58u /* 64 bins by the highest bits */
#define EMPTY UINT64_MAX
#define CHUNK 1024u
#define WIDE_RUN 512u /* bytes that are decomposed at a time */
/* A code point of three bytes becomes at most 18, one of two or four bytes fewer for each byte. */
#define WIDE_POINTS (WIDE_RUN / 3 * 18 + 18)

/* ---- Sketches */

typedef struct sketcher {
    uint64_t window;
    uint64_t least[JOB_SKETCH_BYTES];
} sketcher;

/* The finalizer of splitmix64 (G. Steele, D. Lea, C. Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
static uint64_t mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

static void sketch_begin(sketcher *s) {
    s->window = 0;
    for (size_t i = 0; i < JOB_SKETCH_BYTES; i++)
        s->least[i] = EMPTY;
}

static void sketch_add(sketcher *s, const char *bytes, size_t length) {
    uint64_t window = s->window;
    for (size_t i = 0; i < length; i++) {
        window = ((window << 8) | (uint8_t)bytes[i]) & SHINGLE_MASK;
        uint64_t hash = mix(window + 0x9E3779B97F4A7C15ull), bin = hash >> BIN_SHIFT;
        if (hash < s->least[bin]) s->least[bin] = hash; /* within a bin the highest bits are the same */
    }
    s->window = window;
}

/* Two bins are one value of a band; an empty one borrows from the next, including the distance. */
static uint64_t band_value(const sketcher *s, size_t at) {
    for (size_t step = 0; step < JOB_SKETCH_BYTES / 2; step++) {
        size_t bin = (at + step) % (JOB_SKETCH_BYTES / 2);
        uint64_t a = s->least[2 * bin] << 6, b = s->least[2 * bin + 1] << 6, least;
        if (s->least[2 * bin] == EMPTY && s->least[2 * bin + 1] == EMPTY) continue;
        if (s->least[2 * bin] == EMPTY)
            least = b;
        else
            least = s->least[2 * bin + 1] == EMPTY || a < b ? a : b;
        return least + step;
    }
    return 0;
}

static void sketch_end(sketcher *s, job_fingerprint *out) {
    static const char zeros[SHINGLE_BYTES - 1] = {0};
    sketch_add(s, zeros, sizeof zeros);
    for (size_t i = 0; i < JOB_SKETCH_BYTES; i++)
        out->sketch[i] = s->least[i] == EMPTY ? 0 : (uint8_t)(1 + mix(s->least[i]) % 255);
    size_t values = JOB_SKETCH_BYTES / 2 / JOB_BANDS;
    for (size_t band = 0; band < JOB_BANDS; band++) {
        uint64_t hash = band + 1;
        for (size_t i = 0; i < values; i++)
            hash = mix(hash ^ band_value(s, band * values + i)) + band;
        out->bands[band] = hash;
    }
}

unsigned job_sketch_likeness(const uint8_t a[JOB_SKETCH_BYTES], const uint8_t b[JOB_SKETCH_BYTES]) {
    unsigned same = 0, empty = 0;
    for (size_t i = 0; i < JOB_SKETCH_BYTES; i++) {
        same += a[i] == b[i];
        empty += (a[i] | b[i]) == 0;
    }
    return empty == JOB_SKETCH_BYTES ? 0 : 100 * (same - empty) / (JOB_SKETCH_BYTES - empty);
}

/* ---- Normalising */

typedef enum kind { KEEP, BLANK, LEAVE_OUT } kind;

/* The kind of a character after folding and decomposition. */
static kind kind_of(uint32_t point, utf8proc_category_t category, bool punctuation) {
    if (point == '\'' || point == 0x2018 || point == 0x2019 || point == 0x02BC) return punctuation ? KEEP : LEAVE_OUT;
    switch (category) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
        return BLANK;
    case UTF8PROC_CATEGORY_CF:
        return LEAVE_OUT;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return punctuation ? KEEP : BLANK;
    case UTF8PROC_CATEGORY_SK:
        return punctuation ? KEEP : LEAVE_OUT;
    default:
        return KEEP;
    }
}

/* The mapping of ASCII: the character or its lower case, ' ' for a blank, 0 for nothing. */
static const char *ascii_table(bool punctuation) {
    static const char symbols[] = "$+<=>|~", left_out[] = "'^`";
    static char tables[2][128];
    static bool made; /* one thread prepares data */
    for (size_t which = 0; !made && which < 2; which++)
        for (int c = 0; c < 128; c++) {
            bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
            char becomes = ' ';
            if (letter || (c > 32 && c < 127 && (which == 1 || strchr(symbols, c) != NULL))) becomes = (char)c;
            if (c >= 'A' && c <= 'Z') becomes = (char)(c - 'A' + 'a');
            if (which == 0 && c != 0 && strchr(left_out, c) != NULL) becomes = 0;
            tables[which][c] = becomes;
        }
    made = true;
    return tables[punctuation];
}

typedef struct normaliser {
    const lazy_table *lazy; /* NULL before the first character that is not ASCII */
    kit_sha256 *sha;
    sketcher *sketch; /* NULL: not needed */
    kolm_error_t *err;
    bool punctuation;
    bool blank; /* emit one before the next character */
    uint64_t bytes;
    size_t used;
    char chunk[CHUNK];
} normaliser;

static kit_status flush(normaliser *n) {
    if (n->sketch != NULL) sketch_add(n->sketch, n->chunk, n->used);
    n->bytes += n->used;
    size_t used = n->used;
    n->used = 0;
    return kit_sha256_update(n->sha, n->chunk, used, n->err);
}

/* At most five bytes: a pending blank and a character. */
static kit_status emit(normaliser *n, const char *bytes, size_t length) {
    if (n->used + 1 + length > CHUNK) KIT_TRY(flush(n));
    if (n->blank && n->bytes + n->used > 0) n->chunk[n->used++] = ' ';
    n->blank = false;
    memcpy(n->chunk + n->used, bytes, length);
    n->used += length;
    return KOLM_OK;
}

static kit_status emit_point(normaliser *n, uint32_t point) {
    utf8proc_category_t category = n->lazy->utf8_category((utf8proc_int32_t)point);
    kind what = kind_of(point, category, n->punctuation);
    /* Decomposing a standalone accent gives a mark without a letter. */
    bool loose = (n->blank || n->bytes + n->used == 0) && category == UTF8PROC_CATEGORY_MN;
    if (what == BLANK) n->blank = true;
    if (what != KEEP || loose) return KOLM_OK;
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t length = n->lazy->utf8_encode((utf8proc_int32_t)point, bytes);
    return emit(n, (const char *)bytes, (size_t)length);
}

/* Length of the run of non-ASCII characters at text to decompose at once: up to the next ASCII character, which begins
 * a new unit. A longer run is cut to what fits, not between a letter and its marks if possible. */
static size_t wide_run(const lazy_table *lazy, const char *text, size_t length) {
    size_t end = 0, good = 0;
    while (end < length && (text[end] & 0x80) != 0) {
        size_t bytes = 1;
        uint32_t point = kit_utf8_next(text + end, length - end, &bytes);
        if (end + bytes > WIDE_RUN) return good > 0 ? good : end;
        if (lazy->utf8_property((utf8proc_int32_t)point)->combining_class == 0) good = end;
        end += bytes;
    }
    return end;
}

static kit_status normalise_wide(normaliser *n, const char *text, size_t length) {
    utf8proc_int32_t points[WIDE_POINTS];
    utf8proc_ssize_t count =
        n->lazy->utf8_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, points, WIDE_POINTS,
                                UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
    if (count < 0 || count > (utf8proc_ssize_t)WIDE_POINTS) /* cannot happen: the text is valid, and there is room */
        return kit_fail(n->err, KOLM_E_INTERNAL, "report this", "a text could not be normalised");
    for (utf8proc_ssize_t i = 0; i < count; i++)
        KIT_TRY(emit_point(n, (uint32_t)points[i]));
    return KOLM_OK;
}

static kit_status normalise(normaliser *n, const char *text, size_t length) {
    const char *table = ascii_table(n->punctuation);
    for (size_t i = 0; i < length;) {
        if ((text[i] & 0x80) != 0) {
            if (n->lazy == NULL) KIT_TRY(lazy_get(&n->lazy, n->err));
            size_t run = wide_run(n->lazy, text + i, length - i);
            KIT_TRY(normalise_wide(n, text + i, run));
            i += run;
            continue;
        }
        char c = table[(unsigned char)text[i++]];
        if (c == ' ')
            n->blank = true;
        else if (c != 0)
            KIT_TRY(emit(n, &c, 1));
    }
    return flush(n);
}

/* True if already normalised, like most prepared data. */
static bool is_normal(const char *text, size_t length, bool punctuation) {
    const char *table = ascii_table(punctuation);
    char before = ' ';
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if ((c & 0x80) != 0 || table[(unsigned char)c] != c || (c == ' ' && before == ' ')) return false;
        before = c;
    }
    return length > 0 && before != ' ';
}

static uint64_t eight(const uint8_t *bytes) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = (value << 8) | bytes[i];
    return value;
}

kit_status job_fingerprint_text(kit_sha256 *sha, const char *text, size_t length, const uint64_t text_key[2],
                                job_fingerprint *out, kolm_error_t *err) {
    sketcher sketch;
    out->key[0] = text_key[0];
    out->key[1] = text_key[1];
    if (is_normal(text, length, false)) {
        out->bytes = length;
        if (length < JOB_NEAR_MIN_BYTES) return KOLM_OK;
        sketch_begin(&sketch);
        sketch_add(&sketch, text, length);
        sketch_end(&sketch, out);
        return KOLM_OK;
    }
    normaliser n = {.sha = sha, .sketch = length < JOB_NEAR_MIN_BYTES / 4 ? NULL : &sketch, .err = err};
    if (n.sketch != NULL) sketch_begin(&sketch);
    uint8_t hash[KIT_SHA256_BYTES];
    KIT_TRY(normalise(&n, text, length));
    KIT_TRY(kit_sha256_final(sha, hash, err));
    out->bytes = n.bytes;
    if (n.bytes == 0) return KOLM_OK;
    out->key[0] = eight(hash);
    out->key[1] = eight(hash + 8);
    if (n.bytes >= JOB_NEAR_MIN_BYTES && n.sketch != NULL)
        sketch_end(&sketch, out);
    else if (n.bytes >= JOB_NEAR_MIN_BYTES)
        out->bytes = JOB_NEAR_MIN_BYTES - 1; /* few characters that became many: do not compare them */
    return KOLM_OK;
}

kit_status job_label_key(kit_sha256 *sha, const char *text, size_t length, const uint64_t text_key[2], uint64_t *out,
                         kolm_error_t *err) {
    *out = text_key[0];
    if (is_normal(text, length, true)) return KOLM_OK;
    normaliser n = {.sha = sha, .err = err, .punctuation = true};
    uint8_t hash[KIT_SHA256_BYTES];
    KIT_TRY(normalise(&n, text, length));
    KIT_TRY(kit_sha256_final(sha, hash, err));
    if (n.bytes > 0) *out = eight(hash);
    return KOLM_OK;
}

/* ---- Spaces around a label */

/* White space (the property White_Space of Unicode 15, which is the same in all versions since 6.3), and invisible
 * characters like it: a zero width space, a byte order mark. Other control characters are not blanks. */
static bool is_blank(uint32_t point) {
    return (point >= 9 && point <= 13) || point == ' ' || point == 0x85 || point == 0xA0 || point == 0x1680 ||
           (point >= 0x2000 && point <= 0x200B) || point == 0x2028 || point == 0x2029 || point == 0x202F ||
           point == 0x205F || point == 0x3000 || point == 0xFEFF;
}

void job_label_trim(const char **text, size_t *length) {
    const char *from = *text, *to = *text + *length;
    while (from < to) {
        size_t bytes = 1;
        if (!is_blank(kit_utf8_next(from, (size_t)(to - from), &bytes))) break;
        from += bytes;
    }
    while (from < to) {
        const char *last = to - 1;
        size_t bytes = 1;
        while (last > from && (*last & 0xC0) == 0x80)
            last--;
        if (!is_blank(kit_utf8_next(last, (size_t)(to - last), &bytes))) break;
        to = last;
    }
    *text = from;
    *length = (size_t)(to - from);
}
