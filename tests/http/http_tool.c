/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests: sends the request that a JSON line on standard input describes, and prints the result as one JSON
 * line. */
#include "kolm/http/http.h"
#include "kolm/http/sse.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANY 16

typedef struct job {
    cJSON *json;
    kit_http_request request;
    kit_http_header headers[80];
    kit_http_part parts[8];
    kit_secret *secrets[80];
    size_t secret_count;
    kit_sse *sse;
    kit_buf events;
    uint64_t flowed;
    int fds[10];
    size_t fd_count;
} job;

static _Noreturn void give_up(const char *what, const kolm_error_t *err) {
    fprintf(stderr, "http_tool: %s: %s\n", what, err != NULL ? err->text : "");
    exit(2);
}

static const char *text_of(const cJSON *json, const char *key) {
    const char *text = NULL;
    return kit_json_get_string(json, key, &text) ? text : NULL;
}

static uint64_t number_of(const cJSON *json, const char *key) {
    uint64_t n = 0;
    return kit_json_get_u64(json, key, &n) ? n : 0;
}

static bool flag_of(const cJSON *json, const char *key) {
    bool on = false;
    return kit_json_get_bool(json, key, &on) && on;
}

static int open_for(job *j, const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) give_up(path, NULL);
    j->fds[j->fd_count++] = fd;
    return fd;
}

static uint64_t size_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static kit_status on_event(void *user, const kit_sse_event *event, kolm_error_t *err) {
    job *j = user;
    (void)err;
    kit_buf_fmt(&j->events, "%s|%s|%s\n", event->type, event->data, event->last_id);
    return KOLM_OK;
}

static kit_status on_bytes(void *user, const char *bytes, size_t length, kolm_error_t *err) {
    job *j = user;
    j->flowed += length;
    return j->sse != NULL ? kit_sse_feed(j->sse, bytes, length, err) : KOLM_OK;
}

static void take_headers(job *j) {
    kolm_error_t err = KIT_ERROR_INIT;
    const cJSON *list = kit_json_get(j->json, "headers"), *item = NULL;
    cJSON_ArrayForEach(item, list) {
        kit_http_header *h = &j->headers[j->request.header_count++];
        const char *secret = text_of(item, "secret");
        *h = (kit_http_header){.name = text_of(item, "name"), .value = text_of(item, "value")};
        if (secret == NULL) continue;
        if (kit_secret_new("KOLM_TEST_TOKEN", secret, strlen(secret), &j->secrets[j->secret_count], &err) != KOLM_OK)
            give_up("secret", &err);
        h->secret = j->secrets[j->secret_count++];
    }
    j->request.headers = j->headers;
}

static void take_parts(job *j) {
    const cJSON *list = kit_json_get(j->json, "parts"), *item = NULL;
    cJSON_ArrayForEach(item, list) {
        kit_http_part *p = &j->parts[j->request.part_count++];
        const char *path = text_of(item, "file");
        *p = (kit_http_part){.name = text_of(item, "name"),
                             .filename = text_of(item, "filename"),
                             .content_type = text_of(item, "content_type"),
                             .bytes = text_of(item, "text")};
        if (p->bytes != NULL) p->length = strlen(p->bytes);
        if (path == NULL) continue;
        p->file = open_for(j, path, O_RDONLY);
        p->size = size_of(p->file);
    }
    j->request.parts = j->parts;
}

static kit_http_repeat repeat_of(const char *word) {
    static const char *const words[] = {"read", "change", "keyed", "create"};
    for (unsigned i = 0; word != NULL && i < 4; i++)
        if (strcmp(word, words[i]) == 0) return (kit_http_repeat)i;
    return KIT_HTTP_READ;
}

static void take_request(job *j) {
    kit_http_request *r = &j->request;
    const cJSON *json = j->json;
    kolm_error_t err = KIT_ERROR_INIT;
    const char *path = text_of(json, "body_file");
    *r = (kit_http_request){.url = text_of(json, "url"),
                            .method = text_of(json, "method"),
                            .repeat = repeat_of(text_of(json, "repeat")),
                            .key = text_of(json, "key"),
                            .key_header = text_of(json, "key_header"),
                            .body = text_of(json, "body"),
                            .content_type = text_of(json, "content_type"),
                            .body_max = number_of(json, "body_max"),
                            .deadline_ms = number_of(json, "deadline_ms"),
                            .connect_ms = number_of(json, "connect_ms"),
                            .idle_ms = number_of(json, "idle_ms"),
                            .http2 = flag_of(json, "http2"),
                            .resume = flag_of(json, "resume"),
                            .resume_etag = text_of(json, "etag")};
    if (r->body != NULL) r->body_length = strlen(r->body);
    if (path != NULL) {
        r->has_body_file = true;
        r->body_file = open_for(j, path, O_RDONLY);
        r->body_offset = number_of(json, "offset");
        r->body_size = size_of(r->body_file) - r->body_offset;
    }
    path = text_of(json, "out_file");
    if (path != NULL) {
        r->has_out_file = true;
        r->out_file = open_for(j, path, O_RDWR | O_CREAT);
    }
    take_headers(j);
    take_parts(j);
    if (flag_of(json, "flow") || number_of(json, "sse") > 0) {
        r->on_bytes = on_bytes;
        r->user = j;
    }
    if (number_of(json, "sse") > 0 &&
        kit_sse_new((size_t)number_of(json, "sse"), on_event, j, &j->sse, &err) != KOLM_OK)
        give_up("sse", &err);
}

static void let_go(job *j) {
    for (size_t i = 0; i < j->secret_count; i++)
        kit_secret_free(j->secrets[i]);
    for (size_t i = 0; i < j->fd_count; i++)
        close(j->fds[i]);
    kit_sse_free(j->sse);
    kit_buf_free(&j->events);
    cJSON_Delete(j->json);
    *j = (job){0};
}

static unsigned entries(const char *path) {
    unsigned n = 0;
    DIR *dir = opendir(path);
    while (dir != NULL && readdir(dir) != NULL)
        n++;
    if (dir != NULL) closedir(dir);
    return n;
}

/* In KiB; getrusage would include the parent's peak from before it started this program. */
static uint64_t peak(void) {
    unsigned long kib = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && kib == 0 && fgets(line, sizeof line, file) != NULL)
        (void)sscanf(line, "VmHWM: %lu", &kib);
    if (file != NULL) fclose(file);
    return kib;
}

static void print(const job *j, const kit_http_call *call, kit_http_answer *answer) {
    static const char *const fates[] = {"not-sent", "lost", "cut", "answered"};
    kit_buf line = {0};
    cJSON *out = cJSON_CreateObject(), *parsed = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_json_put_string(out, "code", kit_status_name(call->status));
    kit_json_put_string(out, "text", call->error.text);
    kit_json_put_string(out, "remedy", call->error.remedy);
    kit_json_put_u64(out, "status", (uint64_t)answer->status);
    kit_json_put_string(out, "fate", fates[answer->fate]);
    kit_json_put_bool(out, "may", answer->may_have_happened);
    kit_json_put_u64(out, "tries", answer->tries);
    kit_json_put_u64(out, "size", answer->size);
    kit_json_put_bool(out, "cut", answer->body_cut);
    kit_json_put_string(out, "sha256", answer->sha256_hex);
    kit_json_put_number(out, "retry_after_ms", (double)answer->retry_after_ms);
    kit_json_put_string(out, "request_id", answer->request_id);
    if (kit_utf8_valid(kit_buf_text(&answer->body), answer->body.length) == answer->body.length)
        kit_json_put_string(out, "body", kit_buf_text(&answer->body));
    kit_json_put_string(out, "x-test", kit_http_header_of(answer, "X-Test"));
    kit_json_put_string(out, "events", kit_buf_text(&j->events));
    kit_json_put_u64(out, "flowed", j->flowed);
    kit_json_put_u64(out, "threads", entries("/proc/self/task") - 2);
    kit_json_put_u64(out, "peak_kib", peak());
    if (call->status == KOLM_OK && flag_of(j->json, "json") && kit_http_json(answer, &parsed, &err) != KOLM_OK)
        kit_json_put_string(out, "json_error", err.text);
    kit_json_put(out, "json", parsed != NULL ? parsed : cJSON_CreateNull());
    if (kit_json_line(out, &line, &err) != KOLM_OK) give_up("answer", &err);
    puts(kit_buf_text(&line));
    fflush(stdout);
    kit_buf_free(&line);
    cJSON_Delete(out);
}

/* One line of standard input: an object, or an array of objects whose requests are sent at once. */
static void do_line(kit_http *http, cJSON *json) {
    static job jobs[MANY];
    kit_http_answer answers[MANY] = {{0}};
    kit_http_call calls[MANY];
    size_t count = 0;
    while (cJSON_IsArray(json) ? cJSON_GetArraySize(json) > 0 : json != NULL) {
        jobs[count].json = cJSON_IsArray(json) ? cJSON_DetachItemFromArray(json, 0) : json;
        take_request(&jobs[count]);
        calls[count] =
            (kit_http_call){.request = &jobs[count].request, .answer = &answers[count], .error = KIT_ERROR_INIT};
        count++;
        if (!cJSON_IsArray(json)) json = NULL;
    }
    cJSON_Delete(json);
    if (count == 1)
        calls[0].status = kit_http_send(http, calls[0].request, calls[0].answer, &calls[0].error);
    else
        kit_http_send_all(http, calls, count);
    for (size_t i = 0; i < count; i++) {
        print(&jobs[i], &calls[i], &answers[i]);
        kit_http_answer_free(&answers[i]);
        let_go(&jobs[i]);
    }
}

static kit_http_tape *tape;
static unsigned private_only, looks, cancel_after;
static int64_t time_left = INT64_MAX;

/* ---- A host that behaves as the options say */

static void on_log(void *user, uint32_t level, const char *text) {
    (void)user;
    fprintf(stderr, "%u %s\n", level, text);
}

static int32_t on_cancelled(void *user) {
    (void)user;
    return cancel_after > 0 && ++looks >= cancel_after;
}

static int64_t on_time_left(void *user) {
    (void)user;
    return time_left;
}

static int32_t on_setting(void *user, const char *key, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    if (!private_only || strcmp(key, "network.private_only") != 0 || capacity < 5) return KOLM_E_NOT_FOUND;
    memcpy(buffer, "true", 5);
    if (out_length != NULL) *out_length = 4;
    return KOLM_OK;
}

static kolm_host_v1_t host = {.struct_size = (uint32_t)sizeof host,
                              .abi_major = KOLM_ABI_MAJOR,
                              .log = on_log,
                              .cancelled = on_cancelled,
                              .time_left_ms = on_time_left,
                              .setting = on_setting};

static kit_http *open_with(const cJSON *o) {
    kit_http *http = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_http_options options = {.ca_file = text_of(o, "ca_file"),
                                .allow_plain_loopback = flag_of(o, "plain"),
                                .proxy = text_of(o, "proxy"),
                                .no_proxy = text_of(o, "no_proxy"),
                                .tries = (uint32_t)number_of(o, "tries"),
                                .first_wait_ms = number_of(o, "first_wait_ms"),
                                .wait_most_ms = number_of(o, "wait_most_ms"),
                                .seed = 7};
    if (text_of(o, "record") != NULL && kit_http_tape_record(text_of(o, "record"), &tape, &err) != KOLM_OK)
        give_up("record", &err);
    if (text_of(o, "replay") != NULL && kit_http_tape_replay(text_of(o, "replay"), &tape, &err) != KOLM_OK)
        give_up("replay", &err);
    options.tape = tape;
    private_only = flag_of(o, "private");
    cancel_after = (unsigned)number_of(o, "cancel_after");
    if (number_of(o, "time_left_ms") > 0) time_left = (int64_t)number_of(o, "time_left_ms");
    host.features = flag_of(o, "offline") ? 0 : KOLM_FEATURE_NETWORK;
    if (flag_of(o, "host")) options.host = &host;
    if (kit_http_open(&options, &http, &err) != KOLM_OK) give_up("open", &err);
    return http;
}

/* The first line has the options. */
int main(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_lines *lines = NULL;
    kit_http *http = NULL;
    const char *line = NULL;
    size_t length = 0;
    if (kit_lines_open(0, 1 << 22, &lines, &err) != KOLM_OK) give_up("input", &err);
    while (kit_lines_next(lines, &line, &length, &err) == KOLM_OK && line != NULL) {
        cJSON *json = NULL;
        if (kit_json_parse(line, length, &json, &err) != KOLM_OK) give_up("input", &err);
        if (http != NULL) {
            do_line(http, json);
            continue;
        }
        http = open_with(json);
        cJSON_Delete(json);
    }
    kit_http_close(http);
    kit_lines_close(lines);
    if (kit_http_tape_close(tape, &err) != KOLM_OK) give_up("tape", &err);
    return 0;
}
