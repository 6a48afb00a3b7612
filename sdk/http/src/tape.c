/* SPDX-License-Identifier: Apache-2.0 */
/* Recordings: each try is written as a line, and a line can replace a try. */
#include "kolm/http/tape.h"
#include "hide.h"
#include "internal.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES (8u << 20)

struct kit_http_tape {
    char *path;
    kit_buf out;  /* recording */
    cJSON *lines; /* replaying; NULL: recording */
    int at;
    bool failed; /* a line could not be built: out of memory */
};

bool http_tape_records(const kit_http *http) {
    return http->tape != NULL && http->tape->lines == NULL;
}

bool http_tape_replays(const kit_http *http) {
    return http->tape != NULL && http->tape->lines != NULL;
}

static kit_status new_tape(const char *path, kit_http_tape **out, kolm_error_t *err) {
    *out = calloc(1, sizeof **out);
    if (*out == NULL) return kit_no_memory(err);
    kit_status status = kit_strdup(path, &(*out)->path, err);
    if (status != KOLM_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static void free_tape(kit_http_tape *tape) {
    free(tape->path);
    kit_buf_free(&tape->out);
    cJSON_Delete(tape->lines);
    free(tape);
}

kit_status kit_http_tape_record(const char *path, kit_http_tape **out, kolm_error_t *err) {
    return new_tape(path, out, err);
}

static kit_status read_lines(kit_http_tape *tape, int fd, kolm_error_t *err) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    tape->lines = cJSON_CreateArray();
    if (tape->lines == NULL) return kit_no_memory(err);
    KIT_TRY(kit_lines_open(fd, LINE_MAX_BYTES, &lines, err));
    kit_status status;
    while ((status = kit_lines_next(lines, &line, &length, err)) == KOLM_OK && line != NULL) {
        cJSON *json = NULL;
        if ((status = kit_json_parse(line, length, &json, err)) != KOLM_OK) {
            (void)kit_fail_context(err, "line %llu of the recording %s", (unsigned long long)kit_lines_number(lines),
                                   tape->path);
            break;
        }
        if (!cJSON_AddItemToArray(tape->lines, json)) {
            cJSON_Delete(json);
            status = kit_no_memory(err);
            break;
        }
    }
    kit_lines_close(lines);
    return status;
}

kit_status kit_http_tape_replay(const char *path, kit_http_tape **out, kolm_error_t *err) {
    KIT_TRY(new_tape(path, out, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    kit_status status =
        fd >= 0 ? read_lines(*out, fd, err) : kit_fail_errno(err, errno, "cannot open the recording %s", path);
    if (fd >= 0) close(fd);
    if (status != KOLM_OK) {
        free_tape(*out);
        *out = NULL;
    }
    return status;
}

kit_status kit_http_tape_close(kit_http_tape *tape, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    if (tape == NULL) return KOLM_OK;
    int left = cJSON_GetArraySize(tape->lines) - tape->at;
    if (tape->lines == NULL) {
        status = tape->failed ? kit_no_memory(err) : kit_buf_ok(&tape->out, err);
        if (status == KOLM_OK)
            status = kit_write_file(tape->path, 0600, kit_buf_text(&tape->out), tape->out.length, err);
    } else if (left > 0) {
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "record it again",
                          "%d lines of the recording %s were not used", left, tape->path);
    }
    free_tape(tape);
    return status;
}

/* ---- Texts as recorded */

static void add_url(const http_flight *f, const char *url, kit_buf *out) {
    kit_buf hidden = {0};
    http_hide_url(url, strlen(url), &hidden);
    kit_secret_redact(f->secrets, f->secret_count, kit_buf_text(&hidden), hidden.length, out);
    if (hidden.failed) out->failed = true;
    kit_buf_free(&hidden);
}

/* Appends a body as text; false if it is not text. */
static bool add_body(const http_flight *f, const char *bytes, size_t length, kit_buf *out) {
    kit_buf hidden = {0};
    cJSON *json = NULL;
    if (kit_utf8_valid(bytes, length) != length || memchr(bytes, '\0', length) != NULL) return false;
    if (length > 0 && kit_json_parse(bytes, length, &json, NULL) == KOLM_OK) {
        if (!http_hide_json(json) || kit_json_line(json, &hidden, NULL) != KOLM_OK) hidden.failed = true;
    } else {
        kit_buf_add(&hidden, bytes, length);
    }
    kit_secret_redact(f->secrets, f->secret_count, kit_buf_text(&hidden), hidden.length, out);
    if (hidden.failed) out->failed = true;
    kit_buf_free(&hidden);
    cJSON_Delete(json);
    return true;
}

static bool put_buf(cJSON *object, const char *key, kit_buf *text) {
    bool good = !text->failed && kit_json_put_string(object, key, kit_buf_text(text));
    kit_buf_free(text);
    return good;
}

/* size: of the whole body; length: of the bytes kept, fewer if it was too large. */
static bool put_body(const http_flight *f, cJSON *object, const char *bytes, size_t length, uint64_t size) {
    kit_buf text = {0};
    if (length == size && add_body(f, bytes, length, &text)) return put_buf(object, "body", &text);
    kit_buf_free(&text);
    return kit_json_put_u64(object, "body_size", size);
}

static bool put_header(const http_flight *f, cJSON *object, const char *name, const char *value) {
    kit_buf text = {0};
    if (http_is_private_header(name)) return kit_json_put_string(object, name, "[hidden]");
    if (kit_utf8_valid(value, strlen(value)) != strlen(value)) return true;
    add_url(f, value, &text);
    return put_buf(object, name, &text);
}

static cJSON *request_of(const http_flight *f) {
    const kit_http_request *r = f->request;
    cJSON *request = cJSON_CreateObject(), *headers = cJSON_CreateObject();
    kit_buf url = {0};
    bool good = kit_json_put_string(request, "method", f->method);
    add_url(f, f->place.url, &url);
    good = put_buf(request, "url", &url) && good;
    for (size_t i = 0; i < r->header_count; i++) {
        const kit_http_header *h = &r->headers[i];
        if (h->secret != NULL)
            good = kit_json_put_string(headers, h->name, "[secret]") && good;
        else
            good = put_header(f, headers, h->name, h->value != NULL ? h->value : "") && good;
    }
    good = kit_json_put(request, "headers", headers) && good;
    if (r->has_body_file) good = kit_json_put_u64(request, "body_size", r->body_size) && good;
    if (r->body != NULL) good = put_body(f, request, r->body, r->body_length, r->body_length) && good;
    if (r->part_count > 0) good = kit_json_put_u64(request, "parts", r->part_count) && good;
    if (good) return request;
    cJSON_Delete(request);
    return NULL;
}

static bool put_answer(const http_flight *f, cJSON *line) {
    cJSON *answer = cJSON_CreateObject(), *headers = cJSON_CreateObject();
    const kit_buf *all = &f->answer->headers;
    bool good = kit_json_put_u64(answer, "status", (uint64_t)f->answer->status);
    for (const char *at = kit_buf_text(all), *end = at + all->length; at < end;) {
        const char *value = at + strlen(at) + 1;
        /* the last of several counts, as in kit_http_header_of */
        cJSON_DeleteItemFromObjectCaseSensitive(headers, at);
        /* The body is kept decoded, as passed on. */
        if (strcmp(at, "content-encoding") != 0 && strcmp(at, "content-length") != 0 &&
            strcmp(at, "transfer-encoding") != 0)
            good = put_header(f, headers, at, value) && good;
        at = value + strlen(value) + 1;
    }
    good = kit_json_put(answer, "headers", headers) && good;
    good = put_body(f, answer, kit_buf_text(&f->heard), f->heard.length, f->heard_size) && good;
    return kit_json_put(line, "answer", answer) && good;
}

static bool put_failure(const http_flight *f, cJSON *line, CURLcode code) {
    cJSON *failure = cJSON_CreateObject();
    bool good = kit_json_put_u64(failure, "curl", (uint64_t)code) && kit_json_put_bool(failure, "sent", f->going_out) &&
                kit_json_put_u64(failure, "stage", http_stage_of(f)) &&
                kit_json_put_u64(failure, "status", f->headers_done ? (uint64_t)f->answer->status : 0);
    return kit_json_put(line, "failure", failure) && good;
}

void http_tape_note(http_flight *f, CURLcode code) {
    kit_http_tape *tape = f->http->tape;
    cJSON *line = cJSON_CreateObject();
    bool good = kit_json_put(line, "request", request_of(f));
    good = (code == CURLE_OK ? put_answer(f, line) : put_failure(f, line, code)) && good && !f->heard.failed;
    if (!good || kit_json_line(line, &tape->out, NULL) != KOLM_OK) tape->failed = true;
    kit_buf_char(&tape->out, '\n');
    cJSON_Delete(line);
}

void http_tape_hear(http_flight *f, const char *bytes, size_t length) {
    if (f->heard.length == f->heard_size && f->heard.length + length <= HTTP_TAPE_BODY_MAX)
        kit_buf_add(&f->heard, bytes, length);
    f->heard_size += length;
}

/* ---- Replay */

static bool same(const cJSON *wanted, const cJSON *asked, const char *key) {
    return cJSON_Compare(kit_json_get(wanted, key), kit_json_get(asked, key), 1) ||
           (kit_json_get(wanted, key) == NULL && kit_json_get(asked, key) == NULL);
}

static bool expect(http_flight *f, const cJSON *wanted) {
    cJSON *asked = request_of(f);
    bool good = asked != NULL;
    static const char *const keys[] = {"method", "url", "body", "body_size", "parts"};
    if (asked == NULL) f->refused = kit_no_memory(f->err);
    for (size_t i = 0; good && i < sizeof keys / sizeof keys[0]; i++) {
        if (same(wanted, asked, keys[i])) continue;
        good = http_refuse(f, KOLM_E_FAILED_PRECONDITION, "record it again, or correct the request",
                           "line %d of the recording expects another %s", f->http->tape->at, keys[i]);
    }
    cJSON_Delete(asked);
    return good;
}

static CURLcode play_answer(http_flight *f, const cJSON *answer) {
    uint64_t status = 0;
    const char *body = NULL;
    const cJSON *header = NULL;
    if (!kit_json_get_u64(answer, "status", &status) || status < 100 || status > 999 ||
        !kit_json_get_string(answer, "body", &body)) {
        (void)http_refuse(f, KOLM_E_FAILED_PRECONDITION, "record it again",
                          "line %d of the recording has no answer that can be replayed", f->http->tape->at);
        return CURLE_WRITE_ERROR;
    }
    cJSON_ArrayForEach(header, kit_json_get(answer, "headers")) {
        kit_buf line = {0};
        kit_buf_fmt(&line, "%s: %s", header->string, cJSON_IsString(header) ? header->valuestring : "");
        if (line.failed) f->answer->headers.failed = true;
        http_headers_take(&f->answer->headers, kit_buf_text(&line), line.length);
        kit_buf_free(&line);
    }
    f->answer->status = (int)status;
    f->headers_done = true;
    f->refused = kit_buf_ok(&f->answer->headers, f->err);
    bool good = f->refused == KOLM_OK && http_sink_begin(f, (long)status) &&
                (body[0] == '\0' || http_sink_take(f, body, strlen(body)));
    return good ? CURLE_OK : CURLE_WRITE_ERROR;
}

CURLcode http_tape_play(http_flight *f) {
    kit_http_tape *tape = f->http->tape;
    const cJSON *line = cJSON_GetArrayItem(tape->lines, tape->at), *failure = kit_json_get(line, "failure");
    uint64_t code = 0, status = 0, stage = 0;
    if (line == NULL) {
        (void)http_refuse(f, KOLM_E_FAILED_PRECONDITION, "record it again, or correct the request",
                          "the recording has no %dth line", tape->at + 1);
        return CURLE_WRITE_ERROR;
    }
    tape->at++;
    if (!expect(f, kit_json_get(line, "request"))) return CURLE_WRITE_ERROR;
    f->going_out = true;
    if (failure == NULL) return play_answer(f, kit_json_get(line, "answer"));
    (void)kit_json_get_bool(failure, "sent", &f->going_out);
    (void)kit_json_get_u64(failure, "status", &status);
    (void)kit_json_get_u64(failure, "curl", &code);
    f->played =
        kit_json_get_u64(failure, "stage", &stage) && stage <= HTTP_RECEIVING ? (http_stage)stage : HTTP_WAITING;
    f->headers_done = status >= 100 && status <= 999;
    f->answer->status = f->headers_done ? (int)status : 0;
    return code > 0 && code < CURL_LAST ? (CURLcode)code : CURLE_RECV_ERROR;
}
