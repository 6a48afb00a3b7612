/* SPDX-License-Identifier: Apache-2.0 */
/* The whole page: head with its policy, the top, and the order of the parts. */
#include "report/html.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"
#include "style.h"

#include <math.h>
#include <string.h>

#define STYLE (style_files[0].text)

/* The policy allows exactly these bytes as a style, and nothing else of any kind. */
static kit_status put_head(const report_facts *f, kit_buf *out, kolm_error_t *err) {
    kit_sha256 *sha = NULL;
    uint8_t digest[KIT_SHA256_BYTES];
    KIT_TRY(kit_sha256_new(&sha, err));
    kit_status status = kit_sha256_update(sha, STYLE, strlen(STYLE), err);
    if (status == KOLM_OK) status = kit_sha256_final(sha, digest, err);
    kit_sha256_free(sha);
    if (status != KOLM_OK) return status;
    html_raw(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-");
    kit_base64(out, digest, sizeof digest);
    html_raw(out,
             "'; base-uri 'none'; form-action 'none'\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
             "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
             "<meta name=\"robots\" content=\"noindex\">\n<meta name=\"generator\" content=\"");
    html_text(out, f->maker, REPORT_LABEL_CHARS);
    html_raw(out, "\">\n<title>");
    html_text(out, f->name, REPORT_LABEL_CHARS);
    html_raw(out, " ");
    html_text(out, f->version, REPORT_LABEL_CHARS);
    html_raw(out, " – model report</title>\n<style>");
    kit_buf_str(out, STYLE);
    html_raw(out, "</style>\n</head>\n");
    return KOLM_OK;
}

static void put_tone(kit_buf *out, report_tone tone) {
    static const char *const names[] = {"plain", "good", "doubt", "bad"};
    kit_buf_str(out, names[(unsigned)tone < 4 ? (unsigned)tone : 0]);
}

static void put_notices(const report_facts *f, kit_buf *out) {
    for (size_t i = 0; i < f->notice_count && i < REPORT_ITEMS_MAX; i++) {
        const report_notice *n = &f->notices[i];
        html_raw(out, "<p class=\"notice ");
        put_tone(out, n->tone);
        html_raw(out, "\" role=\"note\"><strong>");
        html_text(out, n->title, REPORT_LABEL_CHARS);
        html_raw(out, "</strong> ");
        html_text(out, n->text, REPORT_TEXT_CHARS);
        html_raw(out, "</p>\n");
    }
}

static void tile_begin(kit_buf *out) {
    html_raw(out, "<div><dt>");
}

/* The four key figures. */
static void put_tiles(const report_facts *f, kit_buf *out) {
    const report_score *s = &f->score;
    html_raw(out, "<dl class=\"tiles\">\n");
    tile_begin(out);
    html_raw(out, "K-score</dt><dd>");
    html_share(out, s->k, 3);
    html_raw(out, "<small>");
    if (!isnan(html_as_share(s->k_interval.low)) && !isnan(html_as_share(s->k_interval.high)))
        kit_buf_fmt(out, "%.3f to %.3f", s->k_interval.low, s->k_interval.high);
    html_raw(out, "</small></dd></div>\n");
    tile_begin(out);
    html_raw(out, "Accuracy</dt><dd>");
    html_percent(out, s->accuracy);
    html_raw(out, "<small>");
    html_interval(out, s->accuracy_interval);
    html_raw(out, "</small></dd></div>\n");
    tile_begin(out);
    html_raw(out, "Always one answer</dt><dd>");
    html_percent(out, s->baseline);
    html_raw(out, "<small>");
    if (s->baseline_label != NULL) html_foreign(out, s->baseline_label, 60);
    html_raw(out, "</small></dd></div>\n");
    tile_begin(out);
    html_raw(out, "Held-out rows</dt><dd>");
    html_count(out, s->rows);
    html_raw(out, "<small>");
    html_count(out, s->correct);
    html_raw(out, " right of ");
    html_count(out, s->answered);
    html_raw(out, " answered</small></dd></div>\n</dl>\n");
}

static void put_top(const report_facts *f, kit_buf *out) {
    html_raw(out, "<header>\n<p class=\"kind\">Model report</p>\n<h1>");
    html_foreign(out, f->name, REPORT_LABEL_CHARS);
    html_raw(out, " <span class=\"version\">");
    html_foreign(out, f->version, REPORT_LABEL_CHARS);
    html_raw(out, "</span></h1>\n<p class=\"verdict ");
    put_tone(out, f->tone);
    html_raw(out, "\">");
    html_text(out, f->verdict, REPORT_LABEL_CHARS);
    html_raw(out, "</p>\n</header>\n");
    put_notices(f, out);
    put_tiles(f, out);
}

typedef struct part {
    const char *id, *title;
    void (*put)(const report_facts *f, kit_buf *out);
} part;

static const part parts[] = {{"score", "Score", part_score},
                             {"labels", "Labels", part_labels},
                             {"confusions", "Confusions", part_confusions},
                             {"confidence", "Confidence", part_confidence},
                             {"mistakes", "Worst mistakes", part_mistakes},
                             {"data", "Data", part_data},
                             {"origin", "Where it was made", part_origin},
                             {"receipts", "Receipts", part_receipts},
                             {"contents", "Contents", part_contents}};
#define PART_COUNT (sizeof parts / sizeof *parts)

static void put_links(const bool there[PART_COUNT], kit_buf *out) {
    html_raw(out, "<nav aria-label=\"Parts of this report\"><ul>\n");
    for (size_t i = 0; i < PART_COUNT; i++)
        if (there[i]) kit_buf_fmt(out, "<li><a href=\"#%s\">%s</a></li>\n", parts[i].id, parts[i].title);
    html_raw(out, "</ul></nav>\n");
}

static void put_foot(const report_facts *f, kit_buf *out) {
    html_raw(out, "<footer>\n<p>Made by ");
    html_text(out, f->maker, REPORT_LABEL_CHARS);
    html_raw(out, " from ");
    html_foreign(out, f->file, REPORT_LABEL_CHARS);
    html_raw(
        out,
        ". This page is not signed: <code>kolm verify</code> checks the model, not the page. It contains no scripts "
        "and loads nothing.</p>\n</footer>\n</div>\n</body>\n</html>\n");
}

kit_status report_page(const report_facts *f, kit_buf *out, kolm_error_t *err) {
    kit_buf bodies[PART_COUNT] = {{0}};
    bool there[PART_COUNT];
    bool failed = false;
    for (size_t i = 0; i < PART_COUNT; i++) {
        parts[i].put(f, &bodies[i]);
        there[i] = bodies[i].length > 0;
        failed = failed || bodies[i].failed;
    }
    kit_status status = put_head(f, out, err);
    if (status == KOLM_OK) {
        html_raw(out, "<body>\n<a class=\"skip\" href=\"#main\">Skip to the report</a>\n<div class=\"page\">\n");
        put_top(f, out);
        put_links(there, out);
        html_raw(out, "<main id=\"main\">\n");
    }
    for (size_t i = 0; i < PART_COUNT; i++) {
        if (status == KOLM_OK && there[i]) {
            kit_buf_fmt(out, "<section id=\"%s\" aria-labelledby=\"%s-h\">\n<h2 id=\"%s-h\">%s</h2>\n", parts[i].id,
                        parts[i].id, parts[i].id, parts[i].title);
            kit_buf_add(out, bodies[i].data, bodies[i].length);
            html_raw(out, "</section>\n");
        }
        kit_buf_free(&bodies[i]);
    }
    if (status != KOLM_OK) return status;
    html_raw(out, "</main>\n");
    put_foot(f, out);
    out->failed = out->failed || failed;
    return kit_buf_ok(out, err);
}
