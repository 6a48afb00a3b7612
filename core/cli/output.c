/* SPDX-License-Identifier: Apache-2.0 */
/* Prints results, errors and progress in a uniform format. */
#include "cli/output.h"
#include "cli/cli.h"
#include "cli/log.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING 16
#define PLAIN_PROGRESS_MS 5000 /* on a pipe an occasional line is enough */
#define LIVE_PROGRESS_MS 100   /* faster updates are not readable */
#define LABEL_WIDTH 14         /* the seed's column: "[trainer]     " */

static kit_buf ring[RING];
static size_t ring_at;
static bool ring_failed; /* out of memory: something was shown incompletely */

static kit_buf *next_buffer(void) {
    kit_buf *buf = &ring[ring_at++ % RING];
    kit_buf_clear(buf);
    return buf;
}

static void free_ring(void) {
    for (size_t i = 0; i < RING; i++)
        kit_buf_free(&ring[i]);
}

static const char *ring_text(const kit_buf *buf) {
    ring_failed = ring_failed || buf->failed;
    return kit_buf_text(buf);
}

const char *cli_safe(const char *text) {
    kit_buf *buf = next_buffer();
    if (text) kit_buf_escaped(buf, text, strlen(text));
    return ring_text(buf);
}

const char *cli_styled(const cli_context *context, cli_style style, const char *text) {
    static const char *const codes[] = {"1", "2", "32", "33", "31"};
    kit_buf *buf = next_buffer();
    if (context->colour) {
        kit_buf_fmt(buf, "\033[%sm%s\033[0m", codes[style], text);
    } else {
        kit_buf_str(buf, text);
    }
    return ring_text(buf);
}

/* The first error is the real one: later writes may fail for other reasons, or even succeed. */
static void note_failure(cli_context *context) {
    int none = 0;
    (void)atomic_compare_exchange_strong(&context->out_errno, &none, errno != 0 ? errno : EIO);
}

void cli_print(cli_context *context, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    errno = 0;
    if (vprintf(format, arguments) < 0) note_failure(context);
    va_end(arguments);
}

void cli_flush(cli_context *context) {
    errno = 0;
    if (fflush(stdout) != 0) note_failure(context);
}

void cli_add_json(kit_buf *buf, const char *text) {
    static const char odd[] = "\x7F\xC2\xE2";
    for (size_t length = strlen(text), step; length > 0; text += step, length -= step) {
        step = strcspn(text, odd);
        kit_buf_add(buf, text, step);
        if (text[step] == '\0') break;
        text += step;
        length -= step;
        uint32_t c = kit_utf8_next(text, length, &step);
        bool shown =
            c != 0x7F && !(c >= 0x80 && c < 0xA0) && !(c >= 0x2028 && c <= 0x202E) && !(c >= 0x2066 && c <= 0x2069);
        if (shown)
            kit_buf_add(buf, text, step);
        else
            kit_buf_fmt(buf, "\\u%04x", (unsigned)c);
    }
}

/* A path may contain any bytes, JSON only UTF-8: other bytes are escaped as in the text form. */
static void make_text(cJSON *value) {
    for (cJSON *item = value; item; item = item->next) {
        const char *text = cJSON_IsString(item) ? item->valuestring : NULL;
        if (text && kit_utf8_valid(text, strlen(text)) != strlen(text))
            (void)cJSON_SetValuestring(item, cli_safe(text));
        make_text(item->child);
    }
}

/* Not in a pick record, which is replayed and compared, nor in one of many lines. */
static void add_log(cli_context *context, cJSON *value) {
    const char *schema = "";
    if (context->json_lines || !cJSON_IsObject(value) || !kit_json_get_string(value, "schema", &schema) ||
        strncmp(schema, "kolm.compute.pick/", 18) == 0)
        return;
    cJSON *log = cli_log_take(context);
    if (log) (void)kit_json_put(value, "log", log);
}

cJSON *cli_whole(cJSON *value, bool good) {
    if (good) return value;
    cJSON_Delete(value);
    return NULL;
}

bool cli_append(cJSON *array, cJSON *item, bool good) {
    if (good && cJSON_AddItemToArray(array, item)) return true;
    cJSON_Delete(item);
    return false;
}

int cli_print_json(cli_context *context, cJSON *value, int exit_code) {
    kit_buf text = {0};
    add_log(context, value);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = KOLM_OK;
    make_text(value);
    if (!value) {
        status = kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory while building the JSON document");
    } else {
        status = context->json_lines ? kit_json_line(value, &text, &err) : kit_json_pretty(value, &text, &err);
    }
    if (status == KOLM_OK) {
        kit_buf shown = {0};
        cli_add_json(&shown, kit_buf_text(&text));
        status = kit_buf_ok(&shown, &err);
        if (status == KOLM_OK) cli_print(context, "%s\n", kit_buf_text(&shown));
        kit_buf_free(&shown);
    }
    if (status != KOLM_OK) {
        bool json = context->json;
        context->json = false; /* the error must not become a second document */
        exit_code = cli_error(context, CLI_EXIT_INTERNAL, &err);
        context->json = json; /* so that the verb does not print its text form */
    }
    kit_buf_free(&text);
    cJSON_Delete(value);
    return exit_code;
}

static void end_open_progress(cli_context *context) {
    if (!context->progress_open) return;
    fputc('\n', stderr);
    context->progress_open = false;
}

static void print_error_json(cli_context *context, int exit_code, const kolm_error_t *err) {
    cJSON *value = cJSON_CreateObject();
    kit_buf text = {0}, remedy = {0};
    kit_buf_escaped(&text, err->text, strlen(err->text));
    kit_buf_escaped(&remedy, err->remedy, strlen(err->remedy));
    bool good = value && kit_json_put_string(value, "schema", "kolm.error/1") &&
                kit_json_put_u64(value, "exit", (uint64_t)exit_code) &&
                kit_json_put_string(value, "code", kit_status_name(err->code)) &&
                kit_json_put_string(value, "text", kit_buf_text(&text)) &&
                kit_json_put_string(value, "remedy", kit_buf_text(&remedy));
    if ((value = cli_whole(value, good)) != NULL) (void)cli_print_json(context, value, exit_code);
    kit_buf_free(&text);
    kit_buf_free(&remedy);
}

int cli_error(cli_context *context, int exit_code, const kolm_error_t *err) {
    end_open_progress(context);
    cli_flush(context);
    fprintf(stderr, "kolm: %s\n", cli_safe(err->text[0] ? err->text : "failed without a reason"));
    if (err->remedy[0]) fprintf(stderr, "  -> %s\n", cli_safe(err->remedy));
    if (context->json) print_error_json(context, exit_code, err);
    return exit_code;
}

int cli_fail(cli_context *context, session_reason reason, const kolm_error_t *err) {
    if (reason == SESSION_REASON_NONE) reason = session_reason_of(err->code != KOLM_OK ? err->code : KOLM_E_UNKNOWN);
    return cli_error(context, cli_exit_of(reason), err);
}

int cli_fail_own(cli_context *context, const kolm_error_t *err) {
    return cli_fail(context, err->code == KOLM_E_PERMISSION_DENIED ? SESSION_REASON_USAGE : SESSION_REASON_NONE, err);
}

int cli_usage_error(cli_context *context, const char *command, const char *format, ...) {
    kolm_error_t err = KIT_ERROR_INIT;
    va_list arguments;
    err.code = KOLM_E_INVALID_ARGUMENT;
    va_start(arguments, format);
    vsnprintf(err.text, sizeof err.text, format, arguments);
    va_end(arguments);
    kit_format(err.remedy, sizeof err.remedy, "see `%s --help`", command);
    return cli_error(context, CLI_EXIT_USAGE, &err);
}

static void note(cli_context *context, const char *kind, const char *format, va_list arguments) KIT_PRINTF(3, 0);
static void note(cli_context *context, const char *kind, const char *format, va_list arguments) {
    end_open_progress(context);
    cli_flush(context);
    fprintf(stderr, "kolm: %s: ", kind);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void cli_note(cli_context *context, const char *kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    note(context, kind, format, arguments);
    va_end(arguments);
}

void cli_warn(cli_context *context, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    note(context, "warning", format, arguments);
    va_end(arguments);
}

static void add_eta(kit_buf *line, const cli_progress *progress, const kolm_progress_t *report, int64_t now) {
    char text[32];
    int64_t elapsed = now - progress->started_ms;
    if (elapsed < 1000 || report->step == 0 || report->step >= report->total) return;
    double left = (double)elapsed * (double)(report->total - report->step) / (double)report->step;
    kit_buf_fmt(line, ", %s left", session_duration(text, sizeof text, (uint64_t)left));
}

static void build_line(kit_buf *line, const cli_progress *progress, const kolm_progress_t *report, int64_t now) {
    kit_buf_fmt(line, "%-*s", LABEL_WIDTH, progress->label ? progress->label : "");
    kit_buf_escaped(line, report->phase, strlen(report->phase));
    const char *blank = report->phase[0] != '\0' ? " " : ""; /* a backend that names no phase */
    if (report->total != KOLM_UNKNOWN_COUNT && report->total > 0) {
        uint64_t step = report->step < report->total ? report->step : report->total;
        double percent = 100.0 * (double)step / (double)report->total;
        kit_buf_fmt(line, "%s%" PRIu64 "/%" PRIu64 " (%.0f%%)", blank, step, report->total, percent);
        if (report->loss == report->loss) kit_buf_fmt(line, ", loss %.4f", report->loss);
        add_eta(line, progress, report, now);
    } else if (report->step > 0) {
        kit_buf_fmt(line, "%s%" PRIu64, blank, report->step);
    }
}

/* On a pipe an early line is held back: it is printed when due, unless a newer one replaces it, or at the end, as the
 * last. */
static void show_plain(cli_progress *progress, const char *line, int64_t now) {
    bool early = progress->printed_ms != 0 && now - progress->printed_ms < PLAIN_PROGRESS_MS;
    kit_copy(progress->held, sizeof progress->held, early ? line : "");
    if (early) return;
    fprintf(stderr, "%s\n", line);
    progress->printed_ms = now > 0 ? now : 1;
}

/* Return to the first column, print the new text, and erase the rest of the old one. */
static void show_live(cli_context *context, cli_progress *progress, const char *line, int64_t now) {
    fprintf(stderr, "\r%s\033[K", line);
    context->progress_open = true;
    progress->printed_ms = now > 0 ? now : 1;
}

void cli_progress_at(cli_context *context, cli_progress *progress, const kolm_progress_t *report, int64_t now) {
    if (context->json) return;
    bool first = progress->started_ms == 0;
    bool new_phase = first || strncmp(progress->phase, report->phase, sizeof progress->phase - 1) != 0;
    bool complete = report->total != KOLM_UNKNOWN_COUNT && report->step >= report->total;
    if (new_phase) {
        progress->started_ms = now > 0 ? now : 1;
        kit_copy(progress->phase, sizeof progress->phase, report->phase);
    }
    /* A new phase is shown on a terminal even if it comes early. */
    if (context->err_tty && !new_phase && !complete && now - progress->printed_ms < LIVE_PROGRESS_MS) return;
    kit_buf line = {0};
    build_line(&line, progress, report, now);
    if (context->err_tty)
        show_live(context, progress, kit_buf_text(&line), now);
    else
        show_plain(progress, kit_buf_text(&line), now);
    kit_buf_free(&line);
}

void cli_progress_update(cli_context *context, cli_progress *progress, const kolm_progress_t *report) {
    cli_flush(context); /* earlier output must appear first */
    cli_progress_at(context, progress, report, kit_now_ms());
}

void cli_progress_end(cli_context *context, cli_progress *progress) {
    end_open_progress(context);
    if (progress->held[0] != '\0') fprintf(stderr, "%s\n", progress->held);
    progress->held[0] = '\0';
    progress->started_ms = 0;
    progress->phase[0] = '\0';
}

int cli_output_finish(cli_context *context, int exit_code) {
    end_open_progress(context);
    cli_flush(context);
    if (ferror(stdout)) note_failure(context);
    int reason = context->out_errno;
    free_ring();
    if (ring_failed && reason == 0) reason = ENOMEM;
    if (reason == 0 || reason == EPIPE)
        return exit_code; /* a reader such as `head` closing the pipe is not a
                                                             failure */
    fprintf(stderr, "kolm: standard output could not be written: %s\n  -> %s\n", strerror(reason),
            reason == EBADF    ? "it is closed: redirect it to a file or to /dev/null, then run the command again"
            : reason == ENOMEM ? "close other programs or raise the limit, then run the command again"
                               : "free disk space for it, then run the command again");
    return CLI_EXIT_INTERNAL;
}
