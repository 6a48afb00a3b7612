/* SPDX-License-Identifier: Apache-2.0 */
/* Confusions: a table of the labels with most mistakes, and a list. */
#include "report/html.h"

#include <stdlib.h>
#include <string.h>

#define SIDES (REPORT_MATRIX_MAX + 1) /* the last stands for all others */
#define HEATS 5

typedef struct weighed {
    size_t label;
    uint64_t mistakes;
} weighed;

typedef struct matrix {
    size_t count; /* labels with a side of their own */
    bool others;  /* there are more */
    size_t labels[REPORT_MATRIX_MAX];
    uint64_t rows[SIDES][SIDES]; /* truth, given */
    uint64_t most;               /* outside the diagonal and the others */
} matrix;

static bool is_good(const report_facts *f, const report_confusion *c) {
    return c->truth < f->label_count && c->given < f->label_count && c->truth != c->given;
}

static int by_mistakes(const void *a, const void *b) {
    const weighed *x = a, *y = b;
    if (x->mistakes != y->mistakes) return x->mistakes > y->mistakes ? -1 : 1;
    return x->label < y->label ? -1 : 1;
}

static int by_number(const void *a, const void *b) {
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* place[label] becomes its side, the last one for the others. */
static void choose(const report_facts *f, weighed *all, size_t *place, matrix *m) {
    for (size_t i = 0; i < f->label_count; i++)
        all[i] = (weighed){.label = i};
    for (size_t i = 0; i < f->confusion_count; i++)
        if (is_good(f, &f->confusions[i])) {
            all[f->confusions[i].truth].mistakes += f->confusions[i].rows;
            all[f->confusions[i].given].mistakes += f->confusions[i].rows;
        }
    qsort(all, f->label_count, sizeof *all, by_mistakes);
    m->others = f->label_count > REPORT_MATRIX_MAX;
    m->count = m->others ? REPORT_MATRIX_MAX : f->label_count;
    for (size_t i = 0; i < m->count; i++)
        m->labels[i] = all[i].label;
    qsort(m->labels, m->count, sizeof *m->labels, by_number);
    for (size_t i = 0; i < f->label_count; i++)
        place[i] = m->count;
    for (size_t i = 0; i < m->count; i++)
        place[m->labels[i]] = i;
}

static void fill(const report_facts *f, const size_t *place, matrix *m) {
    for (size_t i = 0; i < f->label_count; i++)
        m->rows[place[i]][place[i]] += f->labels[i].correct;
    for (size_t i = 0; i < f->confusion_count; i++) {
        const report_confusion *c = &f->confusions[i];
        if (!is_good(f, c)) continue;
        const size_t truth = place[c->truth], given = place[c->given];
        m->rows[truth][given] += c->rows;
        if (truth < m->count && given < m->count && m->rows[truth][given] > m->most) m->most = m->rows[truth][given];
    }
}

static void put_cell(const matrix *m, size_t truth, size_t given, kit_buf *out) {
    const uint64_t rows = m->rows[truth][given];
    const bool folded = truth == m->count || given == m->count;
    if (rows == 0)
        html_raw(out, "<td class=\"n none\">·</td>");
    else if (truth == given && !folded) {
        html_raw(out, "<td class=\"n right\">");
        html_count(out, rows);
        html_raw(out, "</td>");
    } else {
        uint64_t heat = folded || m->most == 0 ? 0 : 1 + (rows * (HEATS - 1)) / m->most;
        kit_buf_fmt(out, "<td class=\"n h%u\">", (unsigned)(heat > HEATS ? HEATS : heat));
        html_count(out, rows);
        html_raw(out, "</td>");
    }
}

static void put_matrix(const report_facts *f, const matrix *m, kit_buf *out) {
    const size_t sides = m->count + m->others;
    html_raw(out, "<div class=\"scroll\" role=\"region\" aria-label=\"Confusion table\" tabindex=\"0\">\n<table "
                  "class=\"matrix\">\n<thead><tr>"
                  "<th scope=\"col\">Truth, by row</th>");
    for (size_t i = 0; i < m->count; i++) {
        html_raw(out, "<th scope=\"col\" class=\"n\"><abbr title=\"");
        html_text(out, f->labels[m->labels[i]].label, REPORT_LABEL_CHARS);
        kit_buf_fmt(out, "\">%zu</abbr></th>", i + 1);
    }
    if (m->others) html_raw(out, "<th scope=\"col\" class=\"n\">others</th>");
    html_raw(out, "</tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < sides; i++) {
        html_raw(out, "<tr><th scope=\"row\">");
        if (i < m->count) {
            kit_buf_fmt(out, "<span class=\"side\"><span class=\"index\">%zu</span> ", i + 1);
            html_foreign(out, f->labels[m->labels[i]].label, 60);
            html_raw(out, "</span>");
        } else {
            html_count(out, f->label_count - m->count);
            kit_buf_str(out, f->label_count - m->count == 1 ? " other" : " others");
        }
        html_raw(out, "</th>");
        for (size_t k = 0; k < sides; k++)
            put_cell(m, i, k, out);
        html_raw(out, "</tr>\n");
    }
    html_raw(out, "</tbody>\n</table>\n</div>\n");
    if (m->others) {
        html_raw(out, "<p class=\"quiet\">The ");
        html_count(out, m->count);
        html_raw(out, " labels that are in most mistakes; the others are one row and one column. Correct answers among "
                      "the others, and confusions between them, are in their corner.</p>\n");
    }
}

static int by_rows(const void *a, const void *b) {
    const report_confusion *x = a, *y = b;
    if (x->rows != y->rows) return x->rows > y->rows ? -1 : 1;
    if (x->truth != y->truth) return x->truth < y->truth ? -1 : 1;
    return x->given < y->given ? -1 : x->given > y->given;
}

static void put_list(const report_facts *f, const report_confusion *sorted, size_t count, kit_buf *out) {
    const size_t shown = count < REPORT_CONFUSIONS_MAX ? count : REPORT_CONFUSIONS_MAX;
    if (shown == 0) return;
    html_raw(out,
             "<details><summary>As a list, the commonest first</summary>\n<div class=\"scroll tall\" role=\"region\" "
             "aria-label=\"List of confusions\" tabindex=\"0\">\n<table class=\"sticky\">\n<thead><tr><th "
             "scope=\"col\" class=\"n\">Rows</th>"
             "<th scope=\"col\">Truth</th><th scope=\"col\">Answered</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < shown; i++) {
        html_raw(out, "<tr><td class=\"n\">");
        html_count(out, sorted[i].rows);
        html_raw(out, "</td><td>");
        html_foreign(out, f->labels[sorted[i].truth].label, REPORT_LABEL_CHARS);
        html_raw(out, "</td><td>");
        html_foreign(out, f->labels[sorted[i].given].label, REPORT_LABEL_CHARS);
        html_raw(out, "</td></tr>\n");
    }
    html_raw(out, "</tbody>\n</table>\n</div>\n");
    if (count > shown) {
        html_raw(out, "<p class=\"quiet\">");
        html_count(out, count - shown);
        html_raw(out, " rarer ones are left out.</p>\n");
    }
    html_raw(out, "</details>\n");
}

void part_confusions(const report_facts *f, kit_buf *out) {
    if (f->label_count == 0 || (f->confusion_count == 0 && !f->answers_known)) return;
    matrix *m = calloc(1, sizeof *m);
    weighed *all = calloc(f->label_count, sizeof *all);
    size_t *place = calloc(f->label_count, sizeof *place);
    report_confusion *sorted = calloc(f->confusion_count + 1, sizeof *sorted);
    if (m == NULL || all == NULL || place == NULL || sorted == NULL) {
        out->failed = true;
    } else {
        size_t count = 0;
        for (size_t i = 0; i < f->confusion_count; i++)
            if (is_good(f, &f->confusions[i])) sorted[count++] = f->confusions[i];
        qsort(sorted, count, sizeof *sorted, by_rows);
        choose(f, all, place, m);
        fill(f, place, m);
        if (count == 0) html_raw(out, "<p>No label was mistaken for another.</p>\n");
        if (count > 0) html_raw(out, "<p class=\"quiet\">A row is what is true, a column what was answered.</p>\n");
        if (f->confusions_how != NULL) {
            html_raw(out, "<p class=\"quiet\">");
            html_text(out, f->confusions_how, REPORT_TEXT_CHARS);
            html_raw(out, "</p>\n");
        }
        put_matrix(f, m, out);
        put_list(f, sorted, count, out);
    }
    free(m);
    free(all);
    free(place);
    free(sorted);
}
