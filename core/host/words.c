/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin's output: its last lines, quoted if it ends without a proper error, with secrets redacted. */
#include "host/run.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUOTED_MOST 300u /* bytes of an error that quote the plugin */
#define SECRET_LEAST 6u  /* shorter values are words that occur by chance */

/* ---- Secrets */

/* An address that a manifest lists under auth is not a secret, and messages need it. */
static bool is_secret(const char *name) {
    static const char *const endings[] = {"TOKEN", "KEY",        "SECRET",      "PASSWORD",
                                          "PASS",  "CREDENTIAL", "CREDENTIALS", "AUTH"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t end = strlen(endings[i]);
        if (length >= end && strcasecmp(name + length - end, endings[i]) == 0) return true;
    }
    return false;
}

static void replace(kit_buf *text, const char *value, const char *name) {
    kit_buf out = {0};
    const char *at = kit_buf_text(text), *found;
    while ((found = strstr(at, value)) != NULL) {
        kit_buf_add(&out, at, (size_t)(found - at));
        kit_buf_fmt(&out, "[%s]", name);
        at = found + strlen(value);
    }
    kit_buf_str(&out, at);
    if (text->data) explicit_bzero(text->data, text->length);
    kit_buf_free(text);
    *text = out;
}

static void hide_piece(const char *value, size_t length, const char *name, kit_buf *text) {
    kit_buf shown = {0}; /* in escaped form, as in texts */
    if (length < SECRET_LEAST) return;
    kit_buf_escaped(&shown, value, length);
    if (kit_buf_ok(&shown, NULL) == KOLM_OK && strstr(kit_buf_text(text), shown.data)) replace(text, shown.data, name);
    if (shown.data) explicit_bzero(shown.data, shown.length);
    kit_buf_free(&shown);
}

static void hide(const host_run *run, const char *name, kit_buf *text) {
    const host_call_options *options = run->options;
    const char *value = is_secret(name) ? options->secret(options->secret_user, name) : NULL;
    if (!value) return;
    hide_piece(value, strlen(value), name, text);
    /* What is printed comes line by line, and so do the lines of a key. */
    for (size_t length; *value != '\0'; value += length + (value[length] == '\n')) {
        length = strcspn(value, "\n");
        hide_piece(value, length, name, text);
    }
}

void host_run_hide(const host_run *run, kit_buf *text) {
    const host_manifest *manifest = run->backend->manifest;
    if (!run->options->secret || run->options->show_secrets || !manifest) return;
    for (size_t i = 0; i < manifest->auth_count; i++)
        hide(run, manifest->auth[i], text);
    for (size_t i = 0; i < manifest->secret_count; i++)
        hide(run, manifest->secrets[i], text);
}

void host_run_hide_scratch(const host_run *run, char *text, size_t capacity) {
    kit_buf shown = {0};
    if (!run->scratch || !strstr(text, run->scratch)) return;
    kit_buf_str(&shown, text);
    replace(&shown, run->scratch, "scratch");
    kit_copy(text, capacity, kit_buf_text(&shown));
    kit_buf_free(&shown);
}

void host_run_hide_array(const host_run *run, char *text, size_t capacity) {
    kit_buf hidden = {0};
    kit_buf_str(&hidden, text);
    host_run_hide(run, &hidden);
    kit_copy(text, capacity, kit_buf_text(&hidden));
    kit_buf_free(&hidden);
}

/* ---- The last lines */

/* The line that names the fault comes long before the end of a report: a sanitizer prints a legend after it. */
static bool is_headline(const char *text) {
    return strstr(text, "Sanitizer: ") != NULL || strstr(text, ": runtime error: ") != NULL;
}

void host_tail_add(host_tail *tail, const char *text) {
    if (is_headline(text) && strstr(text, "SUMMARY") == NULL) kit_copy(tail->headline, sizeof tail->headline, text);
    kit_copy(tail->lines[tail->next], sizeof *tail->lines, text);
    tail->next = (tail->next + 1) % HOST_TAIL_LINES;
    if (tail->count < HOST_TAIL_LINES) tail->count++;
}

static const char *line_of(const host_tail *tail, size_t i) {
    return tail->lines[(tail->next + HOST_TAIL_LINES - tail->count + i) % HOST_TAIL_LINES];
}

void host_tail_quote(const host_tail *tail, kolm_error_t *error) {
    size_t first = tail->count, bytes = strlen(tail->headline);
    /* A report that has a headline ends in unreadable detail. */
    while (tail->headline[0] == '\0' && first > 0 && bytes + strlen(line_of(tail, first - 1)) <= QUOTED_MOST)
        bytes += strlen(line_of(tail, --first)) + 4;
    if (tail->headline[0] == '\0' && first == tail->count) return;
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s; its last output:", error->text);
    if (tail->headline[0] != '\0') kit_buf_fmt(&text, " \"%s\"", tail->headline);
    for (; tail->headline[0] == '\0' && first < tail->count; first++)
        kit_buf_fmt(&text, " \"%s\"", line_of(tail, first));
    kit_copy(error->text, sizeof error->text, kit_buf_text(&text));
    kit_buf_free(&text);
}
