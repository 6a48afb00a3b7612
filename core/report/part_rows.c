/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the data: the worst mistakes with their nearest rows, duplicates and contradictions. */
#include "report/html.h"

#include <math.h>
#include <string.h>

static bool same(const char *a, const char *b) {
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

#define NEAR_ENOUGH 0.3 /* for a neighbour to be evidence */

/* True if the neighbours make the row's own label doubtful: none of them has it, enough have the label that was answered,
 * and the confidence was at least one half. Enough: two whose texts are near enough; by embeddings, which are alike for
 * any two texts in some encoders, all of them. */
static bool is_suspect(const report_mistake *m, size_t count, bool by_model) {
    const double least = by_model ? 0 : NEAR_ENOUGH;
    size_t given = 0;
    for (size_t i = 0; i < count; i++) {
        if (same(m->near[i].label, m->truth)) return false;
        given += same(m->near[i].label, m->given) && m->near[i].likeness >= least;
    }
    return given >= (by_model ? REPORT_NEAR_MAX : 2) && m->confidence >= 0.5;
}

static void put_near(const report_mistake *m, bool by_model, kit_buf *out) {
    const size_t count = m->near_count < REPORT_NEAR_MAX ? m->near_count : REPORT_NEAR_MAX;
    if (count == 0) return;
    html_raw(out, "<h3>Nearest training rows</h3>\n<ul class=\"near\">\n");
    for (size_t i = 0; i < count; i++) {
        const report_near *n = &m->near[i];
        kit_buf_fmt(out, "<li><span class=\"chip %s\">",
                    same(n->label, m->truth)   ? "truth"
                    : same(n->label, m->given) ? "given"
                                               : "plain");
        html_foreign(out, n->label, REPORT_LABEL_CHARS);
        html_raw(out, "</span> <span class=\"text\">");
        html_foreign(out, n->text, REPORT_TEXT_CHARS / 2);
        html_raw(out, "</span> <span class=\"quiet\">likeness ");
        html_share(out, n->likeness, 2);
        if (n->place != NULL) {
            html_raw(out, ", ");
            html_foreign(out, n->place, REPORT_LABEL_CHARS);
        }
        html_raw(out, "</span></li>\n");
    }
    html_raw(out, "</ul>\n");
    if (is_suspect(m, count, by_model))
        html_raw(out, "<p class=\"hint\">None of them has the row's label, and most have the one that was answered: "
                      "the row's label may be wrong.</p>\n");
}

static void put_mistake(const report_mistake *m, bool by_model, kit_buf *out) {
    html_raw(out, "<li class=\"mistake\">\n");
    if (m->text != NULL) {
        html_raw(out, "<blockquote class=\"text\">");
        html_foreign(out, m->text, REPORT_TEXT_CHARS);
        html_raw(out, "</blockquote>\n");
    }
    html_raw(out, "<p class=\"said\"><span class=\"pair\">true <span class=\"chip truth\">");
    html_foreign(out, m->truth, REPORT_LABEL_CHARS);
    html_raw(out, "</span></span> <span class=\"pair\">answered <span class=\"chip given\">");
    html_foreign(out, m->given, REPORT_LABEL_CHARS);
    html_raw(out, "</span></span> <span class=\"pair\">with ");
    html_percent(out, m->confidence);
    html_raw(out, "</span>");
    if (m->place != NULL) {
        html_raw(out, " <span class=\"quiet\">");
        html_foreign(out, m->place, REPORT_LABEL_CHARS);
        html_raw(out, "</span>");
    }
    html_raw(out, "</p>\n");
    put_near(m, by_model, out);
    html_raw(out, "</li>\n");
}

void part_mistakes(const report_facts *f, kit_buf *out) {
    const size_t shown = f->mistake_count < REPORT_MISTAKES_MAX ? f->mistake_count : REPORT_MISTAKES_MAX;
    if (shown == 0) return;
    html_raw(out, "<p class=\"quiet\">The");
    if (shown > 1) html_raw(out, " ");
    if (shown > 1) html_count(out, shown);
    kit_buf_str(out, shown > 1 ? " wrong answers that were" : " wrong answer that was");
    html_raw(out, " given with most confidence, of ");
    html_count(out, f->mistakes_in_all < shown ? shown : f->mistakes_in_all);
    html_raw(out, " in all. A confident mistake is often a row with a wrong label.");
    if (f->near_how != NULL) {
        html_raw(out, " ");
        html_text(out, f->near_how, REPORT_TEXT_CHARS);
    }
    html_raw(out, "</p>\n<ol class=\"mistakes\">\n");
    for (size_t i = 0; i < shown; i++)
        put_mistake(&f->mistakes[i], f->near_by_model, out);
    html_raw(out, "</ol>\n");
}

/* A list of names and values; title NULL: none. */
static void put_items(kit_buf *out, const char *title, report_items items) {
    const size_t shown = items.count < REPORT_ITEMS_MAX ? items.count : REPORT_ITEMS_MAX;
    if (shown == 0) return;
    if (title != NULL) kit_buf_fmt(out, "<h3>%s</h3>\n", title);
    html_raw(out, "<dl class=\"facts\">\n");
    for (size_t i = 0; i < shown; i++) {
        const report_item *item = &items.at[i];
        html_raw(out, "<div><dt>");
        html_foreign(out, item->name, REPORT_LABEL_CHARS);
        kit_buf_str(out, item->mono ? "</dt><dd class=\"mono\">" : "</dt><dd>");
        html_foreign(out, item->value, REPORT_TEXT_CHARS);
        if (item->note != NULL) {
            html_raw(out, "<small>");
            html_foreign(out, item->note, REPORT_TEXT_CHARS);
            html_raw(out, "</small>");
        }
        html_raw(out, "</dd></div>\n");
    }
    html_raw(out, "</dl>\n");
    if (items.count > shown) {
        html_raw(out, "<p class=\"quiet\">");
        html_count(out, items.count - shown);
        html_raw(out, " more are left out.</p>\n");
    }
}

static void put_pair(const report_pair *p, kit_buf *out) {
    html_raw(out, "<li class=\"mistake\">\n<blockquote class=\"text\">");
    html_foreign(out, p->text, REPORT_TEXT_CHARS);
    html_raw(out, "</blockquote>\n<p class=\"said\">");
    for (int i = 0; i < 2; i++) {
        html_raw(out, "<span class=\"pair\"><span class=\"chip plain\">");
        html_foreign(out, p->labels[i], REPORT_LABEL_CHARS);
        html_raw(out, "</span> <span class=\"quiet\">");
        html_foreign(out, p->places[i], REPORT_LABEL_CHARS);
        html_raw(out, "</span></span> ");
    }
    html_raw(out, "</p>\n</li>\n");
}

void part_data(const report_facts *f, kit_buf *out) {
    put_items(out, NULL, f->data);
    const size_t shown = f->pair_count < REPORT_PAIRS_MAX ? f->pair_count : REPORT_PAIRS_MAX;
    if (shown == 0) return;
    html_raw(out, "<h3>The same question with different outputs</h3>\n<p class=\"quiet\">As in the files, "
                  "in their order, "
                  "before anything was dropped.</p>\n<ol class=\"mistakes\">\n");
    for (size_t i = 0; i < shown; i++)
        put_pair(&f->pairs[i], out);
    html_raw(out, "</ol>\n");
    if (f->pairs_in_all > shown || f->pair_count > shown) {
        html_raw(out, "<p class=\"quiet\">");
        html_count(out, (f->pairs_in_all > f->pair_count ? f->pairs_in_all : f->pair_count) - shown);
        html_raw(out, " more are left out.</p>\n");
    }
}

void part_origin(const report_facts *f, kit_buf *out) {
    put_items(out, NULL, f->origin);
    put_items(out, "What the backend compared", f->candidates);
}

void part_receipts(const report_facts *f, kit_buf *out) {
    put_items(out, NULL, f->receipts);
}

void part_contents(const report_facts *f, kit_buf *out) {
    put_items(out, NULL, f->contents);
}
