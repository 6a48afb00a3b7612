/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration and coverage as curves, with tables below. */
#include "report/html.h"

#include <math.h>

/* The field of a chart in its own units: 40 to 310 from left to right, 10 to 200 from top to bottom. */
#define LEFT 42.0
#define RIGHT 310.0
#define TOP 12.0
#define BOTTOM 200.0

#define CURVE_MAX 256u

static void put_attribute(kit_buf *out, const char *name, double value) {
    kit_buf_fmt(out, " %s=\"", name);
    html_coordinate(out, value);
    html_raw(out, "\"");
}

static void put_line(kit_buf *out, const char *kind, double x1, double y1, double x2, double y2) {
    kit_buf_fmt(out, "<line class=\"%s\"", kind);
    put_attribute(out, "x1", x1);
    put_attribute(out, "y1", y1);
    put_attribute(out, "x2", x2);
    put_attribute(out, "y2", y2);
    html_raw(out, "/>");
}

static double across(double share) {
    return LEFT + share * (RIGHT - LEFT);
}

/* floor_at: the value at the bottom of the field. */
static double up(double share, double floor_at) {
    const double part = (share - floor_at) / (1 - floor_at);
    return BOTTOM - (part < 0 ? 0 : part > 1 ? 1 : part) * (BOTTOM - TOP);
}

/* Lines at every fifth of the field, with their values. floor_at: the value at the bottom. */
static void put_axes(kit_buf *out, double floor_at, const char *x_name, const char *y_name) {
    for (int i = 0; i <= 4; i++) {
        const double x = i / 4.0, y = floor_at + (1 - floor_at) * i / 4.0;
        put_line(out, "grid", LEFT, up(y, floor_at), RIGHT, up(y, floor_at));
        html_raw(out, "<text class=\"tick\" text-anchor=\"end\"");
        put_attribute(out, "x", LEFT - 6);
        put_attribute(out, "y", up(y, floor_at) + 4);
        kit_buf_fmt(out, ">%.0f</text><text class=\"tick\" text-anchor=\"middle\"", 100 * y);
        put_attribute(out, "x", across(x));
        put_attribute(out, "y", BOTTOM + 16);
        kit_buf_fmt(out, ">%.0f</text>", 100 * x);
    }
    html_raw(out, "<text class=\"axis\" text-anchor=\"middle\"");
    put_attribute(out, "x", across(0.5));
    put_attribute(out, "y", BOTTOM + 34);
    kit_buf_fmt(out, ">%s</text><text class=\"axis\" text-anchor=\"middle\" transform=\"rotate(-90)\"", x_name);
    put_attribute(out, "x", -(TOP + BOTTOM) / 2);
    put_attribute(out, "y", 11);
    kit_buf_fmt(out, ">%s</text>\n", y_name);
}

static bool is_bin(const report_bin *b) {
    return b->rows > 0 && b->correct <= b->rows && !isnan(html_as_share(b->confidence));
}

static void put_calibration(const report_facts *f, kit_buf *out) {
    uint64_t most = 1;
    for (size_t i = 0; i < f->bin_count && i < REPORT_ITEMS_MAX; i++)
        if (is_bin(&f->bins[i]) && f->bins[i].rows > most) most = f->bins[i].rows;
    html_raw(out,
             "<figure>\n<svg class=\"chart\" viewBox=\"0 0 320 240\" role=\"img\" aria-labelledby=\"cal-t cal-d\">"
             "<title id=\"cal-t\">Calibration</title><desc id=\"cal-d\">Accuracy of the answers by their confidence. "
             "Points on the diagonal are right as often as they say; the table below has the numbers.</desc>\n");
    put_axes(out, 0, "confidence, %", "accuracy, %");
    put_line(out, "ideal", across(0), up(0, 0), across(1), up(1, 0));
    html_raw(out, "\n");
    for (size_t i = 0; i < f->bin_count && i < REPORT_ITEMS_MAX; i++) {
        const report_bin *b = &f->bins[i];
        if (!is_bin(b)) continue;
        const double x = across(b->confidence);
        if (!isnan(html_as_share(b->accuracy.low)) && !isnan(html_as_share(b->accuracy.high)))
            put_line(out, "whisker", x, up(b->accuracy.low, 0), x, up(b->accuracy.high, 0));
        html_raw(out, "<circle class=\"dot\"");
        put_attribute(out, "cx", x);
        put_attribute(out, "cy", up(html_ratio(b->correct, b->rows), 0));
        put_attribute(out, "r", 2 + 5 * sqrt((double)b->rows / (double)most));
        html_raw(out, "/>\n");
    }
    html_raw(out, "</svg>\n<figcaption><strong>Calibration.</strong> Of answers given with 80 %, eight in ten should "
                  "be right: points "
                  "should lie on the line. A point's size is its share of the rows, its line the 95 % interval.");
    if (!isnan(html_as_share(f->score.ece))) {
        html_raw(out, " Mean distance (ECE): ");
        html_share(out, f->score.ece, 3);
        html_raw(out, ".");
    }
    html_raw(out, "</figcaption>\n</figure>\n");
}

static bool is_threshold(const report_facts *f, const report_threshold *t) {
    return t->answers > 0 && t->answers <= f->score.rows && t->correct <= t->answers;
}

/* A round share below every point of the curve, so that differences are visible. */
static double floor_of(const report_facts *f) {
    double least = 1;
    for (size_t i = 0; i < f->threshold_count && i < CURVE_MAX; i++)
        if (is_threshold(f, &f->thresholds[i])) {
            const double accuracy = html_ratio(f->thresholds[i].correct, f->thresholds[i].answers);
            if (accuracy < least) least = accuracy;
        }
    const double below = floor(least * 5 - 0.25) / 5;
    return below < 0 ? 0 : below > 0.8 ? 0.8 : below;
}

static void put_coverage(const report_facts *f, kit_buf *out) {
    const double bottom = floor_of(f);
    html_raw(out, "<figure>\n<svg class=\"chart\" viewBox=\"0 0 320 240\" role=\"img\" aria-labelledby=\"cov-t cov-d\">"
                  "<title id=\"cov-t\">Coverage</title><desc id=\"cov-d\">Accuracy of the answers that are left when "
                  "those below a "
                  "confidence are withheld; the table below has the numbers.</desc>\n");
    put_axes(out, bottom, "rows answered, %", "accuracy, %");
    html_raw(out, "<polyline class=\"curve\" points=\"");
    for (size_t i = 0; i < f->threshold_count && i < CURVE_MAX; i++) {
        const report_threshold *t = &f->thresholds[i];
        if (!is_threshold(f, t)) continue;
        html_coordinate(out, across(html_ratio(t->answers, f->score.rows)));
        html_raw(out, ",");
        html_coordinate(out, up(html_ratio(t->correct, t->answers), bottom));
        html_raw(out, " ");
    }
    html_raw(out, "\"/>\n</svg>\n<figcaption><strong>Coverage.</strong> How accurate the answers are when only the "
                  "most confident ones "
                  "are given. The left end is few answers, the right end all of them.");
    if (bottom > 0) {
        html_raw(out, " The axis begins at ");
        kit_buf_fmt(out, "%.0f %%.", 100 * bottom);
    }
    html_raw(out, "</figcaption>\n</figure>\n");
}

static void put_bins(const report_facts *f, kit_buf *out) {
    html_raw(out, "<h3>Calibration</h3>\n<div class=\"scroll\" role=\"region\" aria-label=\"Calibration as a table\" "
                  "tabindex=\"0\">\n<table>\n"
                  "<thead><tr><th scope=\"col\">Confidence</th><th scope=\"col\" class=\"n\">Answers</th>"
                  "<th scope=\"col\" class=\"n less\">Mean</th><th scope=\"col\" class=\"n\">Right</th>"
                  "<th scope=\"col\" class=\"n\">95 % interval</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < f->bin_count && i < REPORT_ITEMS_MAX; i++) {
        const report_bin *b = &f->bins[i];
        if (!is_bin(b)) continue;
        kit_buf_fmt(out, "<tr><th scope=\"row\">%.3g to %.3g %%", 100 * b->from, 100 * b->to);
        html_raw(out, "</th><td class=\"n\">");
        html_count(out, b->rows);
        html_raw(out, "</td><td class=\"n less\">");
        html_percent(out, b->confidence);
        html_raw(out, "</td><td class=\"n\">");
        html_percent(out, html_ratio(b->correct, b->rows));
        html_raw(out, "</td><td class=\"n wrap\">");
        html_interval(out, b->accuracy);
        html_raw(out, "</td></tr>\n");
    }
    html_raw(out, "</tbody>\n</table>\n</div>\n");
}

static bool is_round(double confidence) {
    static const double shown[] = {0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        if (fabs(confidence - shown[i]) < 1e-6) return true;
    return false;
}

static void put_thresholds(const report_facts *f, kit_buf *out) {
    html_raw(out, "<h3>Coverage</h3>\n<div class=\"scroll\" role=\"region\" aria-label=\"Coverage as a table\" "
                  "tabindex=\"0\">\n<table>\n"
                  "<thead><tr><th scope=\"col\">Confidence at least</th><th scope=\"col\" class=\"n\">Answers</th>"
                  "<th scope=\"col\" class=\"n\">Of all rows</th><th scope=\"col\" "
                  "class=\"n\">Right</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < f->threshold_count && i < CURVE_MAX; i++) {
        const report_threshold *t = &f->thresholds[i];
        if (!is_round(t->confidence)) continue;
        html_raw(out, "<tr><th scope=\"row\">");
        html_percent(out, t->confidence);
        html_raw(out, "</th><td class=\"n\">");
        html_count(out, t->answers);
        html_raw(out, "</td><td class=\"n\">");
        html_percent(out, html_ratio(t->answers, f->score.rows));
        html_raw(out, "</td><td class=\"n\">");
        html_percent(out, html_ratio(t->correct, t->answers));
        html_raw(out, "</td></tr>\n");
    }
    html_raw(out, "</tbody>\n</table>\n</div>\n");
}

/* Without single answers, this part says how to get them. */
void part_confidence(const report_facts *f, kit_buf *out) {
    const bool bins = f->bin_count > 0, thresholds = f->threshold_count > 0;
    if (f->answers_how != NULL) {
        html_raw(out, "<p class=\"quiet\">");
        html_text(out, f->answers_how, REPORT_TEXT_CHARS);
        html_raw(out, "</p>\n");
    }
    if (!bins && !thresholds) return;
    html_raw(out, "<div class=\"charts\">\n");
    if (bins) put_calibration(f, out);
    if (thresholds) put_coverage(f, out);
    html_raw(out, "</div>\n<details><summary>The curves as tables</summary>\n");
    if (bins) put_bins(f, out);
    if (thresholds) put_thresholds(f, out);
    html_raw(out, "</details>\n");
}
