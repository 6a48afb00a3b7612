/* SPDX-License-Identifier: Apache-2.0 */
/* K and its terms, accuracy compared with the baseline, and the labels. */
#include "report/html.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const report_interval no_interval = {(double)NAN, (double)NAN};

static void put_term(kit_buf *out, const char *name, const char *meaning, double value, double weight) {
    kit_buf_fmt(out, "<tr><th scope=\"row\">%s<small>%s</small></th><td class=\"n\">", name, meaning);
    html_share(out, value, 4);
    html_raw(out, "</td><td class=\"wide\">");
    html_bar(out, value, no_interval, (double)NAN);
    kit_buf_fmt(out, "</td><td class=\"n\">× %.2f</td><td class=\"n\">", weight);
    html_share(out, html_as_share(value) * weight, 4);
    html_raw(out, "</td></tr>\n");
}

static void put_terms(const report_score *s, kit_buf *out) {
    html_raw(
        out,
        "<h3>K and its terms</h3>\n<div class=\"scroll\" role=\"region\" aria-label=\"K and its terms\" "
        "tabindex=\"0\">\n"
        "<table>\n<thead><tr><th scope=\"col\">Term</th><th scope=\"col\" class=\"n\">Value</th>"
        "<th scope=\"col\" class=\"wide\"><span class=\"sr\">Bar</span></th><th scope=\"col\" class=\"n\">Weight</th>"
        "<th scope=\"col\" class=\"n\">Adds</th></tr></thead>\n<tbody>\n");
    put_term(out, "Accuracy", "right answers of those given", s->accuracy, 0.40);
    put_term(out, "Size", "bytes, against 80 GB", s->size, 0.15);
    put_term(out, "Latency", "bytes read for an answer, against 1.24 s", s->latency, 0.15);
    put_term(out, "Cost", "of an answer, against $0.018", s->cost, 0.15);
    put_term(out, "Coverage", "rows that got an answer", s->coverage, 0.15);
    html_raw(out, "</tbody>\n<tfoot><tr><th scope=\"row\">K</th><td class=\"n\">");
    html_share(out, s->k, 4);
    html_raw(out, "</td><td class=\"wide\">");
    html_bar(out, s->k, s->k_interval, s->k_gate);
    html_raw(out, "</td><td></td><td class=\"n\">");
    html_share(out, s->k, 4);
    html_raw(out, "</td></tr></tfoot>\n</table>\n</div>\n");
}

static void put_measure(kit_buf *out, const char *name, double value, report_interval interval, double gate) {
    if (isnan(html_as_share(value))) return;
    kit_buf_fmt(out, "<tr><th scope=\"row\">%s</th><td class=\"n\">", name);
    html_percent(out, value);
    html_raw(out, "</td><td class=\"wide\">");
    html_bar(out, value, interval, gate);
    html_raw(out, "</td><td class=\"n\">");
    html_interval(out, interval);
    html_raw(out, "</td></tr>\n");
}

void part_score(const report_facts *f, kit_buf *out) {
    const report_score *s = &f->score;
    html_raw(
        out,
        "<h3>Against always giving one answer</h3>\n<div class=\"scroll\" role=\"region\" "
        "aria-label=\"Accuracy and baseline\" tabindex=\"0\">\n<table>\n<thead><tr><th scope=\"col\">Measure</th>"
        "<th scope=\"col\" class=\"n\">Value</th><th scope=\"col\" class=\"wide\"><span class=\"sr\">Bar</span></th>"
        "<th scope=\"col\" class=\"n\">95 % interval</th></tr></thead>\n<tbody>\n");
    put_measure(out, "Accuracy", s->accuracy, s->accuracy_interval, s->accuracy_gate);
    put_measure(out, "Balanced accuracy<small>mean over labels of the share found</small>", s->balanced,
                s->balanced_interval, (double)NAN);
    put_measure(out, "Baseline<small>always the commonest label</small>", s->baseline, no_interval, (double)NAN);
    html_raw(out, "</tbody>\n</table>\n</div>\n<p class=\"quiet\">");
    html_count(out, s->correct);
    html_raw(out, " right of ");
    html_count(out, s->answered);
    html_raw(out, " answered, ");
    html_count(out, s->rows);
    html_raw(out, " held-out rows that no training saw.");
    if (!isnan(html_as_share(s->accuracy_gate))) {
        html_raw(out, " The gates: ");
        html_percent(out, s->accuracy_gate);
        html_raw(out, " for accuracy, ");
        html_share(out, s->k_gate, 2);
        html_raw(out, " for K, a mark on their bars.");
    }
    html_raw(out, "<span class=\"less\"> The pale part of a bar is the interval: Wilson's, and for the mean over "
                  "labels that which Zou and Donner put together from theirs.</span></p>\n");
    put_terms(s, out);
}

/* ---- Labels: those that are found worst come first */

static int by_recall(const void *a, const void *b) {
    const report_label *x = *(const report_label *const *)a, *y = *(const report_label *const *)b;
    const double r = html_ratio(x->correct, x->rows), q = html_ratio(y->correct, y->rows);
    if (isnan(r) != isnan(q)) return isnan(r) ? 1 : -1;
    if (!isnan(r) && (r < q || r > q)) return r < q ? -1 : 1;
    if (x->rows != y->rows) return x->rows > y->rows ? -1 : 1;
    return strcmp(x->label != NULL ? x->label : "", y->label != NULL ? y->label : "");
}

static void put_label(const report_label *l, kit_buf *out) {
    html_raw(out, "<tr><th scope=\"row\">");
    html_foreign(out, l->label, REPORT_LABEL_CHARS);
    html_raw(out, "</th><td class=\"n\">");
    html_count(out, l->rows);
    html_raw(out, "</td><td class=\"n\">");
    html_percent(out, html_ratio(l->correct, l->rows));
    html_raw(out, "</td><td class=\"wide\">");
    if (l->rows > 0) html_bar(out, html_ratio(l->correct, l->rows), l->recall, (double)NAN);
    html_raw(out, "</td><td class=\"n less\">");
    html_count(out, l->answers);
    html_raw(out, "</td><td class=\"n\">");
    html_percent(out, html_ratio(l->correct, l->answers));
    html_raw(out, "</td></tr>\n");
}

/* tall: scrolls, for a table of any length; else at full length. */
static void put_label_table(const report_label *const *order, size_t count, const char *name, bool tall, kit_buf *out) {
    kit_buf_fmt(out, "<div class=\"scroll%s\" role=\"region\" aria-label=\"%s\" tabindex=\"0\">\n<table%s>\n",
                tall ? " tall" : "", name, tall ? " class=\"sticky\"" : "");
    html_raw(out, "<thead><tr><th scope=\"col\">Label</th><th scope=\"col\" class=\"n\">Rows</th><th scope=\"col\" "
                  "class=\"n\">Found</th>"
                  "<th scope=\"col\" class=\"wide\"><span class=\"sr\">Bar</span></th><th scope=\"col\" class=\"n "
                  "less\">Answers</th>"
                  "<th scope=\"col\" class=\"n\">Right</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < count; i++)
        put_label(order[i], out);
    html_raw(out, "</tbody>\n</table>\n</div>\n");
}

void part_labels(const report_facts *f, kit_buf *out) {
    if (f->label_count == 0) return;
    const report_label **order = calloc(f->label_count, sizeof *order);
    if (order == NULL) {
        out->failed = true;
        return;
    }
    for (size_t i = 0; i < f->label_count; i++)
        order[i] = &f->labels[i];
    qsort(order, f->label_count, sizeof *order, by_recall);
    const size_t shown = f->label_count < REPORT_LABELS_MAX ? f->label_count : REPORT_LABELS_MAX;
    const size_t open = shown <= REPORT_LABELS_OPEN + 2 ? shown : REPORT_LABELS_OPEN;
    html_raw(out, "<p class=\"quiet\">“Found” is the share of a label's rows that were answered with it (recall), "
                  "“right” the share "
                  "of its answers that were right (precision). The label that is found least comes first.</p>\n");
    put_label_table(order, open, "Labels that are found least", false, out);
    if (shown > open) {
        html_raw(out, "<details><summary>The other ");
        html_count(out, shown - open);
        html_raw(out, " labels</summary>\n");
        put_label_table(order + open, shown - open, "The other labels", true, out);
        html_raw(out, "</details>\n");
    }
    if (f->label_count > shown) {
        html_raw(out, "<p class=\"quiet\">");
        html_count(out, f->label_count - shown);
        html_raw(out, " more labels are left out.</p>\n");
    }
    free(order);
}
