/* SPDX-License-Identifier: Apache-2.0 */
/* The pre_tokenizers of tokenizer.json: they split a text into pieces, each of which the model tokenizes separately. */
#include "tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

static bool run_from(split_run *run, size_t step, const glyph *g, size_t count);

/* ---- Cutting at matches */

/* Iterates over a piece in stretches: matches, and the text between them. */
typedef struct stretches {
    const split_step *step;
    const glyph *g;
    size_t count, at, start, end; /* start, end: of the next match */
    unsigned what;                /* matches are single points with one of these properties; 0: the step's pattern */
    bool known;
} stretches;

static bool find(stretches *s) {
    if (s->what == 0) return pattern_find(&s->step->pattern, s->g, s->count, s->at, &s->start, &s->end);
    for (size_t i = s->at; i < s->count; i++) {
        if ((point_what(s->g[i].point) & s->what) == 0) continue;
        s->start = i;
        s->end = i + 1;
        return true;
    }
    return false;
}

static bool next(stretches *s, size_t *out_start, size_t *out_end, bool *out_match) {
    if (s->at == s->count) return false;
    if (!s->known && !find(s)) s->start = s->end = s->count;
    s->known = true;
    bool match = s->start == s->at && s->end > s->at;
    *out_start = s->at;
    s->at = *out_end = match ? s->end : s->start;
    if (match) s->known = false;
    *out_match = match != s->step->inverted;
    return true;
}

/* Returns true if a stretch is merged with the previous one. */
static bool joins(split_keep keep, bool match, bool before) {
    switch (keep) {
    case KEEP_CONTIGUOUS:
        return match == before;
    case KEEP_WITH_PREVIOUS:
        return match && !before;
    case KEEP_WITH_NEXT:
        return before && !match;
    case KEEP_REMOVED:
    case KEEP_ISOLATED:
        break;
    }
    return false;
}

static bool cut(split_run *run, size_t step, unsigned what, const glyph *g, size_t count) {
    const split_step *s = &run->splitter->steps[step];
    stretches over = {.step = s, .g = g, .count = count, .what = what};
    size_t start, end, held_start = 0, held_end = 0;
    bool match, before = false;
    while (next(&over, &start, &end, &match)) {
        bool join = held_end > held_start && joins(s->keep, match, before);
        if (!join && held_end > held_start && !run_from(run, step + 1, g + held_start, held_end - held_start))
            return false;
        if (!join) held_start = start;
        held_end = s->keep == KEEP_REMOVED && match ? held_start : end;
        before = match;
    }
    return held_end == held_start || run_from(run, step + 1, g + held_start, held_end - held_start);
}

/* ---- The steps */

/* Words between white space; each punctuation mark is a piece. */
static bool cut_bert(split_run *run, size_t step, const glyph *g, size_t count) {
    for (size_t i = 0; i < count;) {
        unsigned what = point_what(g[i].point);
        size_t end = i + 1;
        if ((what & (POINT_WHITE | POINT_PUNCTUATION)) == 0)
            while (end < count && (point_what(g[end].point) & (POINT_WHITE | POINT_PUNCTUATION)) == 0)
                end++;
        if ((what & POINT_WHITE) == 0 && !run_from(run, step + 1, g + i, end - i)) return false;
        i = end;
    }
    return true;
}

/* "\w+|[^\w\s]+". No white space is a word character. */
static bool cut_words(split_run *run, size_t step, const glyph *g, size_t count) {
    for (size_t i = 0; i < count;) {
        unsigned what = point_what(g[i].point) & (POINT_WHITE | POINT_WORD);
        size_t end = i + 1;
        while (end < count && (point_what(g[end].point) & (POINT_WHITE | POINT_WORD)) == what)
            end++;
        if ((what & POINT_WHITE) == 0 && !run_from(run, step + 1, g + i, end - i)) return false;
        i = end;
    }
    return true;
}

/* Replaces spaces by marks, prepends one if required, and begins a piece at each. */
static bool cut_metaspace(split_run *run, size_t step, const glyph *g, size_t count) {
    const split_step *s = &run->splitter->steps[step];
    glyphs *marked = &run->meta[step];
    marked->count = 0;
    if (!glyphs_reserve(marked, count + 1)) {
        run->failed = true;
        return false;
    }
    bool begins = g[0].point == s->mark || g[0].point == ' ';
    if (!begins && (s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && g[0].origin == 0)))
        marked->at[marked->count++] = (glyph){s->mark, g[0].origin};
    for (size_t i = 0; i < count; i++)
        marked->at[marked->count++] = (glyph){g[i].point == ' ' ? s->mark : g[i].point, g[i].origin};
    if (!s->cut) return run_from(run, step + 1, marked->at, marked->count);
    for (size_t i = 0; i < marked->count;) {
        size_t end = i + 1;
        while (end < marked->count && marked->at[end].point != s->mark)
            end++;
        if (!run_from(run, step + 1, marked->at + i, end - i)) return false;
        i = end;
    }
    return true;
}

static bool run_from(split_run *run, size_t step, const glyph *g, size_t count) {
    if (count == 0) return true;
    if (step == run->splitter->count) return run->take(run->user, g, count);
    switch (run->splitter->steps[step].kind) {
    case SPLIT_BERT:
        return cut_bert(run, step, g, count);
    case SPLIT_WORDS:
        return cut_words(run, step, g, count);
    case SPLIT_METASPACE:
        return cut_metaspace(run, step, g, count);
    case SPLIT_WHITE:
        return cut(run, step, POINT_WHITE, g, count);
    case SPLIT_PUNCTUATION:
        return cut(run, step, POINT_PUNCTUATION, g, count);
    case SPLIT_DIGITS:
        return cut(run, step, POINT_NUMERIC, g, count);
    case SPLIT_PATTERN:
        return cut(run, step, 0, g, count);
    }
    return false;
}

bool splitter_run(split_run *run, const glyph *text, size_t count) {
    return run_from(run, 0, text, count);
}

bool splitter_asks_origins(const splitter *s) {
    for (size_t i = 0; i < s->count; i++)
        if (s->steps[i].kind == SPLIT_METASPACE && s->steps[i].prepend == PREPEND_FIRST) return true;
    return false;
}

void splitter_free(splitter *s) {
    for (size_t i = 0; i < s->count; i++)
        pattern_free(&s->steps[i].pattern);
    *s = (splitter){0};
}
