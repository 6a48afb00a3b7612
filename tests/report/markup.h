/* SPDX-License-Identifier: Apache-2.0 */
/* A strict parser for the pages of core/report: they may contain only markup that the room itself writes. */
#ifndef KOLM_TESTS_REPORT_MARKUP_H
#define KOLM_TESTS_REPORT_MARKUP_H

#include "kolm/kit/text.h"

#include <ctype.h>
#include <string.h>

typedef struct markup {
    const char *p, *end;
    char open[64][16];
    size_t depth, tags;
    const char *fault;
} markup;

static inline bool markup_among(const char *word, const char *words) {
    char spaced[40];
    kit_format(spaced, sizeof spaced, " %s ", word);
    return strstr(words, spaced) != NULL;
}

static inline bool markup_fail(markup *m, const char *fault) {
    if (m->fault == NULL) m->fault = fault;
    return false;
}

/* Reads [a-z0-9-]+ in any case into word. */
static inline bool markup_word(markup *m, char *word, size_t capacity) {
    size_t length = 0;
    while (m->p < m->end && (isalnum((unsigned char)*m->p) || *m->p == '-') && length + 1 < capacity)
        word[length++] = *m->p++;
    word[length] = '\0';
    return length > 0 || markup_fail(m, "a '<' that begins no tag");
}

static inline bool markup_value(markup *m, const char *name) {
    const char *from = ++m->p;
    while (m->p < m->end && *m->p != '"' && *m->p != '<' && *m->p != '>')
        m->p++;
    if (m->p == m->end || *m->p != '"') return markup_fail(m, "an attribute that is not closed");
    if (strcmp(name, "href") == 0 && *from != '#') return markup_fail(m, "a link to elsewhere");
    m->p++;
    return true;
}

static inline bool markup_attributes(markup *m) {
    static const char known[] =
        " lang charset http-equiv content name class id href role aria-label aria-labelledby aria-hidden scope "
        "tabindex title focusable viewBox preserveAspectRatio x y x1 y1 x2 y2 cx cy r width height points "
        "text-anchor transform ";
    char name[24];
    while (m->p < m->end && *m->p == ' ') {
        m->p++;
        if (!markup_word(m, name, sizeof name)) return false;
        if (!markup_among(name, known)) return markup_fail(m, "an attribute that the page does not have");
        if (m->end - m->p < 2 || m->p[0] != '=' || m->p[1] != '"')
            return markup_fail(m, "an attribute without a value");
        m->p++;
        if (!markup_value(m, name)) return false;
    }
    return true;
}

static inline bool markup_tag(markup *m) {
    static const char known[] =
        " html head meta title style body a div header p h1 h2 h3 bdi span strong dl dt dd small nav ul ol li main "
        "section footer code table thead tbody tfoot tr th td abbr svg desc text details summary figure figcaption "
        "blockquote ",
                      single[] = " meta wbr ", drawn[] = " rect line circle polyline ";
    char name[16];
    const bool closing = m->p < m->end && *m->p == '/';
    if (closing) m->p++;
    if (!markup_word(m, name, sizeof name)) return false;
    m->tags += strcmp(name, "wbr") != 0; /* possible line breaks depend on the text */
    if (closing) {
        if (m->p == m->end || *m->p++ != '>') return markup_fail(m, "an end tag that does not end");
        return (m->depth > 0 && strcmp(m->open[--m->depth], name) == 0) ||
               markup_fail(m, "an end tag of another element");
    }
    if (!markup_attributes(m)) return false;
    if (markup_among(name, drawn)) {
        if (m->end - m->p < 2 || m->p[0] != '/' || m->p[1] != '>') return markup_fail(m, "a drawing that does not end");
        m->p += 2;
        return true;
    }
    if (m->p == m->end || *m->p++ != '>') return markup_fail(m, "a tag that does not end");
    if (markup_among(name, single)) return true;
    if (!markup_among(name, known)) return markup_fail(m, "an element that the page does not have");
    if (m->depth == 64) return markup_fail(m, "elements too deep");
    kit_copy(m->open[m->depth++], sizeof m->open[0], name);
    return true;
}

static inline bool markup_entity(markup *m) {
    static const char *const known[] = {"amp;", "lt;", "gt;", "quot;", "#39;"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strncmp(m->p, known[i], strlen(known[i])) == 0) return true;
    return markup_fail(m, "an '&' that begins no entity");
}

/* Returns NULL if the page is valid, otherwise what is wrong; *out_tags: the number of its tags, which no text may
 * change. */
static inline const char *markup_fault(const char *page, size_t length, size_t *out_tags) {
    static const char doctype[] = "<!DOCTYPE html>\n", style[] = "<style>", style_end[] = "</style>";
    markup m = {.p = page, .end = page + length};
    if (kit_utf8_valid(page, length) != length) return "not UTF-8";
    if (length < sizeof doctype || strncmp(page, doctype, sizeof doctype - 1) != 0) return "no doctype";
    m.p += sizeof doctype - 1;
    while (m.fault == NULL && m.p < m.end) {
        const unsigned char c = (unsigned char)*m.p++;
        if (c < 0x20 && c != '\n') return "a control character";
        if (c == '&') (void)markup_entity(&m);
        if (c == '>') return "a '>' in a text";
        if (c != '<') continue;
        if (strncmp(m.p - 1, style, sizeof style - 1) == 0) {
            m.p = strstr(m.p, style_end);
            if (m.p == NULL) return "a style that does not end";
            m.p += sizeof style_end - 1;
        } else {
            (void)markup_tag(&m);
        }
    }
    *out_tags = m.tags;
    return m.fault != NULL ? m.fault : m.depth != 0 ? "an element that is not closed" : NULL;
}

#endif
