/* SPDX-License-Identifier: Apache-2.0 */
/* The only functions that write to a page; private. */
#ifndef KOLM_REPORT_HTML_H
#define KOLM_REPORT_HTML_H

#include "report/report.h"

/* Appends markup: a string literal, never a text of the facts. */
#define html_raw(out, literal) kit_buf_str(out, "" literal "")

/* Appends the text of an element, or of an attribute in double quotes: at most max_chars characters, then "…" and the
 * number of further bytes. & < > " ' are escaped. Shown by number, as [U+202E]: control characters except line feed and
 * tab ("↵", "⇥"), format characters (Cf), line and paragraph separators, zero-width variants of blanks, a joiner after
 * ASCII (it is valid between other letters and emoji), private use, noncharacters, tags, the fourth combining mark in a
 * row, and bytes that are not UTF-8, as [0xFF]. NULL gives "–". */
void html_text(kit_buf *out, const char *text, size_t max_chars);
/* The same in an element that isolates its text direction, with line break opportunities: labels, names, texts of the
 * data. Never inside an attribute. */
void html_foreign(kit_buf *out, const char *text, size_t max_chars);

/* "91.0 %" with a no-break space; "–" if it is not a share. */
void html_percent(kit_buf *out, double share);
/* "0.963" with that many decimals; "–" unless it is from 0 to 1. */
void html_share(kit_buf *out, double share, int decimals);
/* "12,345" */
void html_count(kit_buf *out, uint64_t count);
/* "89.6 to 92.2 %"; nothing if unknown. */
void html_interval(kit_buf *out, report_interval interval);
/* A coordinate with two decimals, clamped to +-100000; 0 if not finite. */
void html_coordinate(kit_buf *out, double value);
/* NAN unless it is a number from 0 to 1. */
double html_as_share(double value);
/* part / whole; NAN for whole 0 or a part above it. */
double html_ratio(uint64_t part, uint64_t whole);

/* A bar from 0 to 1 with an interval and a mark, each omitted if unknown. */
void html_bar(kit_buf *out, double value, report_interval interval, double mark);

/* ---- The parts of the page, each a section or nothing */
void part_score(const report_facts *f, kit_buf *out);
void part_labels(const report_facts *f, kit_buf *out);
void part_confusions(const report_facts *f, kit_buf *out);
void part_confidence(const report_facts *f, kit_buf *out);
void part_mistakes(const report_facts *f, kit_buf *out);
void part_data(const report_facts *f, kit_buf *out);
void part_origin(const report_facts *f, kit_buf *out);
void part_receipts(const report_facts *f, kit_buf *out);
void part_contents(const report_facts *f, kit_buf *out);

#endif
