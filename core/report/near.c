/* SPDX-License-Identifier: Apache-2.0 */
/* Nearest training rows by words and character trigrams, and the candidates for a model. */
#include "report/near.h"

#include "kolm/kit/json.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"
#include "lazy/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64u << 20)
#define BINS 1000                           /* of likeness */
#define FEATURES_MAX (3u * NEAR_TEXT_BYTES) /* case folding may turn one character into three */

_Static_assert(REPORT_MISTAKES_MAX < 32, "a bit of asked for each text");

typedef struct finder {
    const lazy_table *lazy;
    uint32_t *rows;  /* rows with a feature in this bucket */
    uint32_t *asked; /* the texts that have it, one bit each */
    uint32_t *features;
    size_t feature_count;
    uint64_t row_count;
    kit_json_walk walk;
    kit_buf texts[2]; /* input and output of a row */
    double length[REPORT_MISTAKES_MAX];
    size_t count;
    const volatile sig_atomic_t *cancel;
    near_found (*found)[REPORT_NEAR_MAX];
    uint64_t row; /* the number of the current row */
    /* For candidates: the number of rows by bin of likeness, the bin above which all rows are taken, and the number to
     * take of that bin. */
    uint32_t (*bins)[BINS + 1];
    uint32_t from[REPORT_MISTAKES_MAX], left[REPORT_MISTAKES_MAX];
    FILE *out;
    kit_buf line;
} finder;

/* ---- Features */

static void put_feature(finder *f, uint64_t hash) {
    hash ^= hash >> 33; /* the finalizer of MurmurHash3 (A. Appleby), so that all bits count */
    hash *= 0xff51afd7ed558ccdull;
    hash ^= hash >> 33;
    if (f->feature_count < FEATURES_MAX) f->features[f->feature_count++] = (uint32_t)(hash % NEAR_BUCKETS);
}

static int by_value(const void *a, const void *b) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_letter(const finder *f, utf8proc_int32_t c) {
    switch (f->lazy->utf8_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

static void put_characters(finder *f, const utf8proc_int32_t *at, size_t count) {
    const uint64_t prime = 0x9E3779B97F4A7C15ull;
    uint64_t word = 0;
    uint64_t last[2] = {' ', ' '};
    for (size_t i = 0; i <= count; i++) {
        const bool inside = i < count && is_letter(f, at[i]);
        const uint64_t c = inside ? (uint64_t)at[i] : ' ';
        if (inside)
            word = (word ^ c) * prime + 1;
        else if (word != 0) {
            put_feature(f, word);
            word = 0;
        }
        /* One blank between words. */
        if (!inside && last[1] == ' ') continue;
        put_feature(f, ((last[0] * prime + last[1]) * prime + c) * prime + 2);
        last[0] = last[1];
        last[1] = c;
    }
}

/* The features of a text, each once. */
static kit_status take_features(finder *f, const char *text, kolm_error_t *err) {
    const utf8proc_option_t options =
        UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE | UTF8PROC_STABLE;
    size_t length = strnlen(text, NEAR_TEXT_BYTES);
    length = kit_utf8_valid(text, length); /* may have been cut inside a character */
    f->feature_count = 0;
    KIT_TRY(lazy_get(&f->lazy, err));
    utf8proc_ssize_t room =
        f->lazy->utf8_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, NULL, 0, options);
    if (room <= 0)
        return room == 0 ? KOLM_OK
                         : kit_fail(err, KOLM_E_INTERNAL, "", "cannot normalise a text: %s", f->lazy->utf8_error(room));
    utf8proc_int32_t *characters = malloc(((size_t)room + 1) * sizeof *characters);
    if (characters == NULL) return kit_no_memory(err);
    room = f->lazy->utf8_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, characters, room, options);
    if (room > 0) room = f->lazy->utf8_normalize(characters, room, options);
    if (room > 0) put_characters(f, characters, (size_t)room);
    free(characters);
    qsort(f->features, f->feature_count, sizeof *f->features, by_value);
    size_t kept = 0;
    for (size_t i = 0; i < f->feature_count; i++)
        if (i == 0 || f->features[i] != f->features[i - 1]) f->features[kept++] = f->features[i];
    f->feature_count = kept;
    return KOLM_OK;
}

/* The square of a bucket's weight. */
static double square_of(const finder *f, uint32_t bucket) {
    const double weight = log((1.0 + (double)f->row_count) / (1.0 + (double)f->rows[bucket]));
    return weight * weight;
}

/* ---- Rows */

typedef kit_status (*row_fn)(finder *f, kolm_error_t *err);

static kit_status each_row(finder *f, const char *path, row_fn take, kolm_error_t *err) {
    static const char *const keys[] = {"input", "output"};
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = kit_lines_open(fd, LINE_MAX_BYTES, &lines, err);
    if (status == KOLM_OK) kit_lines_stop_on(lines, f->cancel);
    for (f->row = 1; status == KOLM_OK; f->row++) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status != KOLM_OK || line == NULL) break;
        status = kit_json_row_texts(&f->walk, line, length, keys, 2, f->texts, err);
        if (status == KOLM_OK && f->features != NULL) status = take_features(f, kit_buf_text(&f->texts[0]), err);
        if (status == KOLM_OK) status = take(f, err);
    }
    kit_lines_close(lines);
    close(fd);
    return status;
}

static kit_status count_row(finder *f, kolm_error_t *err) {
    (void)err;
    f->row_count++;
    for (size_t i = 0; i < f->feature_count; i++)
        f->rows[f->features[i]]++;
    return KOLM_OK;
}

/* Inserts the row into the list of one text, if it is near enough. */
static kit_status place_row(finder *f, near_found places[REPORT_NEAR_MAX], double likeness, kolm_error_t *err) {
    size_t at = REPORT_NEAR_MAX;
    while (at > 0 && (places[at - 1].text == NULL || likeness > places[at - 1].likeness))
        at--;
    if (at == REPORT_NEAR_MAX) return KOLM_OK;
    near_found found = {.likeness = likeness, .row = f->row};
    KIT_TRY(kit_strdup(kit_buf_text(&f->texts[0]), &found.text, err));
    kit_status status = kit_strdup(kit_buf_text(&f->texts[1]), &found.label, err);
    if (status != KOLM_OK) {
        free(found.text);
        return status;
    }
    free(places[REPORT_NEAR_MAX - 1].text);
    free(places[REPORT_NEAR_MAX - 1].label);
    memmove(&places[at + 1], &places[at], (REPORT_NEAR_MAX - 1 - at) * sizeof *places);
    places[at] = found;
    return KOLM_OK;
}

/* Computes the likeness of the row to each text. */
static void measure_row(const finder *f, double likeness[REPORT_MISTAKES_MAX]) {
    double length = 0, common[REPORT_MISTAKES_MAX] = {0};
    for (size_t i = 0; i < f->feature_count; i++) {
        const uint32_t bucket = f->features[i], bits = f->asked[bucket];
        const double square = square_of(f, bucket);
        length += square;
        for (size_t k = 0; bits >> k != 0; k++)
            if ((bits >> k & 1) != 0) common[k] += square;
    }
    for (size_t k = 0; k < f->count; k++) {
        likeness[k] = common[k] > 0 ? common[k] / (sqrt(length) * sqrt(f->length[k])) : 0;
        if (likeness[k] > 1) likeness[k] = 1;
    }
}

static kit_status compare_row(finder *f, kolm_error_t *err) {
    double likeness[REPORT_MISTAKES_MAX];
    measure_row(f, likeness);
    for (size_t k = 0; k < f->count; k++)
        if (likeness[k] > 0) KIT_TRY(place_row(f, f->found[k], likeness[k], err));
    return KOLM_OK;
}

static kit_status ask(finder *f, const char *const *texts, kolm_error_t *err) {
    for (size_t k = 0; k < f->count; k++) {
        KIT_TRY(take_features(f, texts[k], err));
        for (size_t i = 0; i < f->feature_count; i++) {
            f->asked[f->features[i]] |= 1u << k;
            f->length[k] += square_of(f, f->features[i]);
        }
    }
    return KOLM_OK;
}

static kit_status finder_begin(finder *f, kolm_error_t *err) {
    f->rows = calloc(NEAR_BUCKETS, sizeof *f->rows);
    f->asked = calloc(NEAR_BUCKETS, sizeof *f->asked);
    f->features = malloc(FEATURES_MAX * sizeof *f->features);
    return f->rows != NULL && f->asked != NULL && f->features != NULL ? KOLM_OK : kit_no_memory(err);
}

static void finder_end(finder *f) {
    kit_json_walk_free(&f->walk);
    kit_buf_free(&f->texts[0]);
    kit_buf_free(&f->texts[1]);
    kit_buf_free(&f->line);
    free(f->rows);
    free(f->asked);
    free(f->features);
    free(f->bins);
}

kit_status near_find(const char *path, const char *const *texts, size_t count, const volatile sig_atomic_t *cancel,
                     near_found (*found)[REPORT_NEAR_MAX], kolm_error_t *err) {
    finder f = {.count = count < REPORT_MISTAKES_MAX ? count : REPORT_MISTAKES_MAX, .cancel = cancel, .found = found};
    kit_status status = finder_begin(&f, err);
    if (status == KOLM_OK) status = each_row(&f, path, count_row, err);
    if (status == KOLM_OK) status = ask(&f, texts, err);
    if (status == KOLM_OK) status = each_row(&f, path, compare_row, err);
    finder_end(&f);
    return status;
}

/* ---- For a model */

static kit_status bin_row(finder *f, kolm_error_t *err) {
    double likeness[REPORT_MISTAKES_MAX];
    (void)err;
    measure_row(f, likeness);
    for (size_t k = 0; k < f->count; k++)
        f->bins[k][(uint32_t)(likeness[k] * BINS)]++;
    return KOLM_OK;
}

/* For each text, selects the `share` most similar rows. */
static void choose_bins(finder *f, uint64_t share) {
    for (size_t k = 0; k < f->count; k++) {
        uint64_t above = 0;
        uint32_t bin = BINS;
        while (bin > 0 && above + f->bins[k][bin] < share)
            above += f->bins[k][bin--];
        f->from[k] = bin;
        f->left[k] = bin > 0 ? (uint32_t)(share - above) : 0; /* rows with nothing in common are not similar */
    }
}

static bool is_candidate(finder *f) {
    double likeness[REPORT_MISTAKES_MAX];
    bool taken = f->bins == NULL; /* all are taken */
    if (!taken) measure_row(f, likeness);
    for (size_t k = 0; f->bins != NULL && k < f->count; k++) {
        const uint32_t bin = (uint32_t)(likeness[k] * BINS);
        taken = taken || bin > f->from[k] || (bin == f->from[k] && f->left[k] > 0);
        if (bin == f->from[k] && f->left[k] > 0) f->left[k]--;
    }
    return taken;
}

static kit_status write_candidate(finder *f, kolm_error_t *err) {
    if (!is_candidate(f)) return KOLM_OK;
    kit_buf_clear(&f->line);
    kit_buf_fmt(&f->line, "{\"id\":\"%" PRIu64 "\",\"input\":", f->row);
    kit_json_string(&f->line, kit_buf_text(&f->texts[0]), f->texts[0].length);
    kit_buf_str(&f->line, "}\n");
    KIT_TRY(kit_buf_ok(&f->line, err));
    if (fwrite(f->line.data, 1, f->line.length, f->out) == f->line.length) return KOLM_OK;
    return kit_fail_errno(err, errno, "cannot write the rows to compare");
}

static kit_status find_bins(finder *f, const char *path, const char *const *texts, uint64_t most, kolm_error_t *err) {
    KIT_TRY(finder_begin(f, err));
    KIT_TRY(each_row(f, path, count_row, err));
    if (f->row_count <= most || f->count == 0) return KOLM_OK;
    f->bins = calloc(REPORT_MISTAKES_MAX, sizeof *f->bins);
    if (f->bins == NULL) return kit_no_memory(err);
    KIT_TRY(ask(f, texts, err));
    KIT_TRY(each_row(f, path, bin_row, err));
    choose_bins(f, most / f->count);
    return KOLM_OK;
}

kit_status near_candidates(const char *path, const char *const *texts, size_t count, uint64_t most,
                           const volatile sig_atomic_t *cancel, const char *out_path, kolm_error_t *err) {
    finder f = {.count = count < REPORT_MISTAKES_MAX ? count : REPORT_MISTAKES_MAX, .cancel = cancel};
    kit_status status = find_bins(&f, path, texts, most, err);
    int fd = status == KOLM_OK ? open(out_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    f.out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (status == KOLM_OK && f.out == NULL) status = kit_fail_errno(err, errno, "cannot create %s", out_path);
    if (fd >= 0 && f.out == NULL) close(fd);
    if (status == KOLM_OK) status = each_row(&f, path, write_candidate, err);
    if (f.out != NULL && fclose(f.out) != 0 && status == KOLM_OK)
        status = kit_fail_errno(err, errno, "cannot write %s", out_path);
    finder_end(&f);
    return status;
}

static kit_status take_texts(finder *f, kolm_error_t *err) {
    for (size_t k = 0; k < f->count; k++)
        for (size_t i = 0; i < REPORT_NEAR_MAX; i++) {
            near_found *place = &f->found[k][i];
            if (place->row != f->row || place->text != NULL) continue;
            KIT_TRY(kit_strdup(kit_buf_text(&f->texts[0]), &place->text, err));
            KIT_TRY(kit_strdup(kit_buf_text(&f->texts[1]), &place->label, err));
        }
    return KOLM_OK;
}

kit_status near_texts(const char *path, size_t count, const volatile sig_atomic_t *cancel,
                      near_found (*found)[REPORT_NEAR_MAX], kolm_error_t *err) {
    finder f = {.count = count < REPORT_MISTAKES_MAX ? count : REPORT_MISTAKES_MAX, .cancel = cancel, .found = found};
    kit_status status = each_row(&f, path, take_texts, err);
    finder_end(&f);
    return status;
}

void near_free(near_found (*found)[REPORT_NEAR_MAX], size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < REPORT_NEAR_MAX; k++) {
            free(found[i][k].text);
            free(found[i][k].label);
        }
}
