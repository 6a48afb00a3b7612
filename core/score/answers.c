/* SPDX-License-Identifier: Apache-2.0 */
/* The tallies: labels, confusions, confidences, and their queries. */
#include "score/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                    "out of memory while scoring");
}

/* Doubles an array when it is full. */
static bool make_room(void **array, size_t item, size_t count, size_t *capacity) {
    if (count < *capacity) return true;
    size_t wanted = *capacity == 0 ? 64 : *capacity * 2;
    void *grown = realloc(*array, wanted * item);
    if (grown == NULL) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

static size_t label_place(const score_answers *a, const char *text) {
    size_t i = kit_hash(&a->secret, text, strlen(text)) & (a->label_places_count - 1);
    while (a->label_places[i] != 0 && strcmp(a->labels[a->label_places[i] - 1].text, text) != 0)
        i = (i + 1) & (a->label_places_count - 1);
    return i;
}

static size_t pair_place(const score_answers *a, uint32_t truth, uint32_t given) {
    uint32_t key[2] = {truth, given};
    size_t i = kit_hash(&a->secret, key, sizeof key) & (a->pair_places_count - 1);
    for (; a->pair_places[i] != 0; i = (i + 1) & (a->pair_places_count - 1)) {
        const score_pair *p = &a->pairs[a->pair_places[i] - 1];
        if (p->truth == truth && p->given == given) break;
    }
    return i;
}

static bool grow_label_places(score_answers *a) {
    if (a->label_count * 2 < a->label_places_count) return true;
    size_t count = a->label_places_count == 0 ? 256 : a->label_places_count * 2;
    uint32_t *places = calloc(count, sizeof *places);
    if (places == NULL) return false;
    free(a->label_places);
    a->label_places = places;
    a->label_places_count = count;
    for (size_t i = 0; i < a->label_count; i++)
        a->label_places[label_place(a, a->labels[i].text)] = (uint32_t)i + 1;
    return true;
}

static bool grow_pair_places(score_answers *a) {
    if (a->pair_count * 2 < a->pair_places_count) return true;
    size_t count = a->pair_places_count == 0 ? 256 : a->pair_places_count * 2;
    uint32_t *places = calloc(count, sizeof *places);
    if (places == NULL) return false;
    free(a->pair_places);
    a->pair_places = places;
    a->pair_places_count = count;
    for (size_t i = 0; i < a->pair_count; i++)
        a->pair_places[pair_place(a, a->pairs[i].truth, a->pairs[i].given)] = (uint32_t)i + 1;
    return true;
}

static kit_status intern(score_answers *a, const char *text, uint32_t *out_index, kolm_error_t *err) {
    if (!grow_label_places(a) || !make_room((void **)&a->labels, sizeof *a->labels, a->label_count, &a->label_capacity))
        return no_memory(err);
    size_t place = label_place(a, text);
    if (a->label_places[place] == 0) {
        char *copy = NULL;
        KIT_TRY(kit_strdup(text, &copy, err));
        a->labels[a->label_count++] = (score_label){.text = copy};
        a->label_places[place] = (uint32_t)a->label_count;
    }
    *out_index = a->label_places[place] - 1;
    return KOLM_OK;
}

static kit_status add_confusion(score_answers *a, uint32_t truth, uint32_t given, kolm_error_t *err) {
    if (!grow_pair_places(a) || !make_room((void **)&a->pairs, sizeof *a->pairs, a->pair_count, &a->pair_capacity))
        return no_memory(err);
    size_t place = pair_place(a, truth, given);
    if (a->pair_places[place] == 0) {
        a->pairs[a->pair_count++] = (score_pair){truth, given, 0};
        a->pair_places[place] = (uint32_t)a->pair_count;
    }
    a->pairs[a->pair_places[place] - 1].count++;
    return KOLM_OK;
}

static void add_confidence(score_bin *bins, size_t count, double confidence, bool right) {
    size_t bin = (size_t)(confidence * (double)count);
    if (bin >= count) bin = count - 1;
    bins[bin].rows++;
    bins[bin].correct += right;
    bins[bin].confidence += confidence;
}

/* The largest whole per cent <= confidence. The product may have been rounded up beyond it. */
static size_t percent_below(double confidence) {
    size_t percent = (size_t)(confidence * SCORE_THRESHOLDS);
    if ((double)percent / SCORE_THRESHOLDS > confidence) return percent - 1;
    return (double)(percent + 1) / SCORE_THRESHOLDS <= confidence ? percent + 1 : percent;
}

kit_status score_answers_new(score_answers **out, kolm_error_t *err) {
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return no_memory(err);
    kit_status status = kit_hash_secret_draw(&(*out)->secret, err);
    if (status == KOLM_OK) return KOLM_OK;
    free(*out);
    *out = NULL;
    return status;
}

kit_status score_tally(score_answers *a, const char *truth, const char *given, double confidence, kolm_error_t *err) {
    uint32_t truth_index = 0, given_index = 0;
    KIT_TRY(intern(a, truth, &truth_index, err));
    a->rows++;
    a->labels[truth_index].rows++;
    if (given == NULL) return KOLM_OK;
    bool right = strcmp(truth, given) == 0;
    a->answered++;
    a->labels[truth_index].answered++;
    a->correct += right;
    KIT_TRY(intern(a, given, &given_index, err));
    a->labels[given_index].given++;
    if (right)
        a->labels[given_index].correct++;
    else
        KIT_TRY(add_confusion(a, truth_index, given_index, err));
    add_confidence(a->bins, SCORE_ECE_BINS, confidence, right);
    score_bin *above = &a->thresholds[percent_below(confidence)];
    above->rows++;
    above->correct += right;
    return KOLM_OK;
}

void score_answers_free(score_answers *answers) {
    if (answers == NULL) return;
    for (size_t i = 0; i < answers->label_count; i++)
        free(answers->labels[i].text);
    free(answers->labels);
    free(answers->label_places);
    free(answers->pairs);
    free(answers->pair_places);
    free(answers);
}

uint64_t score_rows(const score_answers *answers) {
    return answers->rows;
}

uint64_t score_answered(const score_answers *answers) {
    return answers->answered;
}

uint64_t score_correct(const score_answers *answers) {
    return answers->correct;
}

const char *score_predictions_sha256(const score_answers *answers) {
    return answers->predictions_sha256;
}

bool score_label_find(const score_answers *answers, const char *label, size_t *out_number) {
    uint32_t index = answers->label_count == 0 ? 0 : answers->label_places[label_place(answers, label)];
    if (index > 0) *out_number = index - 1;
    return index > 0;
}

uint64_t score_label_rows(const score_answers *answers, const char *label) {
    size_t number = 0;
    return score_label_find(answers, label, &number) ? answers->labels[number].rows : 0;
}

const char *score_label_at(const score_answers *answers, size_t number, uint64_t *out_rows) {
    *out_rows = number < answers->label_count ? answers->labels[number].rows : 0;
    return number < answers->label_count ? answers->labels[number].text : NULL;
}

void score_label_answers(const score_answers *answers, size_t number, uint64_t *out_answers, uint64_t *out_correct) {
    *out_answers = answers->labels[number].given;
    *out_correct = answers->labels[number].correct;
}

bool score_confusion_at(const score_answers *answers, size_t number, size_t *out_truth, size_t *out_given,
                        uint64_t *out_rows) {
    if (number >= answers->pair_count) return false;
    *out_truth = answers->pairs[number].truth;
    *out_given = answers->pairs[number].given;
    *out_rows = answers->pairs[number].count;
    return true;
}

uint32_t score_ece_micro(const score_answers *answers) {
    double sum = 0;
    for (int i = 0; i < SCORE_ECE_BINS; i++)
        sum += fabs((double)answers->bins[i].correct - answers->bins[i].confidence);
    return answers->answered == 0 ? 0 : (uint32_t)(sum / (double)answers->answered * SCORE_MICRO + 0.5);
}

/* A merge sort of indices, because qsort cannot pass an argument to its comparison. */
typedef int (*compare_fn)(const score_answers *a, uint32_t x, uint32_t y);

static void merge_sort(const score_answers *a, uint32_t *items, uint32_t *spare, size_t count, compare_fn compare) {
    if (count < 2) return;
    size_t half = count / 2, i = 0, j = half, n = 0;
    merge_sort(a, items, spare, half, compare);
    merge_sort(a, items + half, spare, count - half, compare);
    while (i < half || j < count) {
        bool left = j == count || (i < half && compare(a, items[i], items[j]) <= 0);
        spare[n++] = left ? items[i++] : items[j++];
    }
    memcpy(items, spare, count * sizeof *items);
}

static uint32_t *sorted(const score_answers *a, size_t count, compare_fn compare) {
    uint32_t *items = calloc(count + 1, sizeof *items), *spare = calloc(count + 1, sizeof *spare);
    if (items != NULL && spare != NULL) {
        for (size_t i = 0; i < count; i++)
            items[i] = (uint32_t)i;
        merge_sort(a, items, spare, count, compare);
    } else {
        free(items);
        items = NULL;
    }
    free(spare);
    return items;
}

static int by_text(const score_answers *a, uint32_t x, uint32_t y) {
    return strcmp(a->labels[x].text, a->labels[y].text);
}

static int by_count(const score_answers *a, uint32_t x, uint32_t y) {
    const score_pair *p = &a->pairs[x], *q = &a->pairs[y];
    if (p->count != q->count) return p->count > q->count ? -1 : 1;
    int order = by_text(a, p->truth, q->truth);
    return order != 0 ? order : by_text(a, p->given, q->given);
}

uint32_t *score_sorted_labels(const score_answers *answers) {
    return sorted(answers, answers->label_count, by_text);
}

uint32_t *score_sorted_pairs(const score_answers *answers) {
    return sorted(answers, answers->pair_count, by_count);
}
