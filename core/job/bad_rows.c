/* SPDX-License-Identifier: Apache-2.0 */
/* Bad rows that were left out: the first ones in full, all of them by kind. */
#include "job/internal.h"

#include <ctype.h>
#include <string.h>

#define OTHER_KINDS "other kinds"

/* The sentence behind "FILE, line N, column C: "; a file's name may hold anything, also ", line 7, ". */
static const char *without_place(const char *text) {
    const char *found = text;
    for (const char *at = text; (at = strstr(at, ", line ")) != NULL; at++) {
        const char *end = at + strlen(", line ");
        size_t digits = strspn(end, "0123456789");
        if (digits == 0) continue;
        end += digits;
        if (strncmp(end, ", column ", 9) == 0) end += 9 + strspn(end + 9, "0123456789");
        if (strncmp(end, ": ", 2) == 0) found = end + 2;
    }
    return found;
}

/* The end of what stands at `text` (`before`: the character in front of it) and differs from row to row, and what to
 * write for it; NULL: nothing of that sort. Names in quotes do so behind "found" only: what was expected is the kind.
 */
static const char *particular(const char *text, char before, bool found, const char **out_general) {
    const char *close = found && (*text == '"' || *text == '\'') ? strchr(text + 1, *text) : NULL;
    if (close != NULL) {
        *out_general = *text == '"' ? "\"...\"" : "'...'";
        /* A list of names is as good as one. */
        while (close[1] == ',' && close[2] == ' ' && close[3] == *text && strchr(close + 4, *text) != NULL)
            close = strchr(close + 4, *text);
        return close + 1;
    }
    if (strncmp(text, "\\x", 2) == 0 && isxdigit((unsigned char)text[2]) && isxdigit((unsigned char)text[3])) {
        *out_general = "\\x..";
        return text + 4;
    }
    *out_general = "N";
    bool number = isdigit((unsigned char)*text) && before == ' '; /* "UTF-8" is none */
    return number ? text + strspn(text, "0123456789") : NULL;
}

static void generalize(const char *text, char *out, size_t capacity) {
    const char *found = strstr(text, ", found "), *end, *stands;
    kit_buf general = {0};
    for (char before = ' '; *text != '\0'; before = end[-1], text = end) {
        end = particular(text, before, found != NULL && text > found, &stands);
        if (end != NULL)
            kit_buf_str(&general, stands);
        else
            kit_buf_add(&general, text, 1);
        if (end == NULL) end = text + 1;
    }
    kit_copy(out, capacity, general.failed ? OTHER_KINDS : kit_buf_text(&general));
    kit_buf_free(&general);
}

void job_count_bad(job_summary *summary, const char *text) {
    char general[sizeof summary->bad_kinds[0].text];
    if (summary->bad_rows < JOB_BAD_EXAMPLES)
        kit_copy(summary->bad_examples[summary->bad_rows], sizeof summary->bad_examples[0], text);
    summary->bad_rows++;
    generalize(without_place(text), general, sizeof general);
    size_t i = 0;
    while (i < summary->bad_kind_count && strcmp(summary->bad_kinds[i].text, general) != 0)
        i++;
    if (i == summary->bad_kind_count && i < JOB_BAD_KINDS) {
        kit_copy(summary->bad_kinds[i].text, sizeof general, i + 1 < JOB_BAD_KINDS ? general : OTHER_KINDS);
        summary->bad_kind_count++;
    }
    summary->bad_kinds[i < JOB_BAD_KINDS ? i : JOB_BAD_KINDS - 1].rows++;
}
