/* SPDX-License-Identifier: Apache-2.0 */
/* The source of a request's body: memory, a part of a file, or a form of several. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool http_has_body(const kit_http_request *request) {
    return request->body != NULL || request->has_body_file || request->part_count > 0;
}

static size_t read_file(char *bytes, size_t size, size_t count, void *user) {
    http_reader *reader = user;
    uint64_t left = reader->size - reader->at;
    size_t want = size * count < left ? size * count : (size_t)left;
    ssize_t n = 0;
    if (want == 0) return 0;
    do
        n = pread(reader->file, bytes, want, (off_t)(reader->begin + reader->at));
    while (n < 0 && errno == EINTR);
    if (n <= 0) return CURL_READFUNC_ABORT; /* it is shorter than announced */
    reader->at += (uint64_t)n;
    return (size_t)n;
}

static int seek_file(void *user, curl_off_t offset, int origin) {
    http_reader *reader = user;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > reader->size) return CURL_SEEKFUNC_FAIL;
    reader->at = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static kit_status attach_file(http_flight *f, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    if (f->readers == NULL) f->readers = calloc(1, sizeof *f->readers);
    if (f->readers == NULL) return kit_no_memory(err);
    f->readers[0] = (http_reader){.file = r->body_file, .begin = r->body_offset, .size = r->body_size};
    bool good = curl_easy_setopt(f->easy, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
                curl_easy_setopt(f->easy, CURLOPT_READFUNCTION, read_file) == CURLE_OK &&
                curl_easy_setopt(f->easy, CURLOPT_READDATA, &f->readers[0]) == CURLE_OK &&
                curl_easy_setopt(f->easy, CURLOPT_SEEKFUNCTION, seek_file) == CURLE_OK &&
                curl_easy_setopt(f->easy, CURLOPT_SEEKDATA, &f->readers[0]) == CURLE_OK &&
                curl_easy_setopt(f->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body_size) == CURLE_OK;
    return good ? KOLM_OK : kit_no_memory(err);
}

static CURLcode attach_part(http_flight *f, const kit_http_part *given, http_reader *reader) {
    curl_mimepart *part = curl_mime_addpart(f->mime);
    if (part == NULL) return CURLE_OUT_OF_MEMORY;
    CURLcode code = curl_mime_name(part, given->name);
    if (code == CURLE_OK && given->filename != NULL) code = curl_mime_filename(part, given->filename);
    if (code == CURLE_OK && given->content_type != NULL) code = curl_mime_type(part, given->content_type);
    if (code != CURLE_OK) return code;
    if (given->bytes != NULL) return curl_mime_data(part, given->bytes, given->length);
    *reader = (http_reader){.file = given->file, .begin = given->offset, .size = given->size};
    return curl_mime_data_cb(part, (curl_off_t)given->size, read_file, seek_file, NULL, reader);
}

static kit_status attach_parts(http_flight *f, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    if (f->readers == NULL) f->readers = calloc(r->part_count, sizeof *f->readers);
    f->mime = f->readers != NULL ? curl_mime_init(f->easy) : NULL;
    CURLcode code = f->mime != NULL ? CURLE_OK : CURLE_OUT_OF_MEMORY;
    for (size_t i = 0; code == CURLE_OK && i < r->part_count; i++)
        code = attach_part(f, &r->parts[i], &f->readers[i]);
    if (code == CURLE_OK) code = curl_easy_setopt(f->easy, CURLOPT_MIMEPOST, f->mime);
    return code == CURLE_OK ? KOLM_OK : kit_no_memory(err);
}

kit_status http_source_attach(http_flight *f, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    const char *method = f->method;
    CURLcode code = CURLE_OK;
    if (r->part_count > 0) {
        KIT_TRY(attach_parts(f, err));
    } else if (r->has_body_file) {
        KIT_TRY(attach_file(f, err));
    } else if (r->body != NULL || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
               strcmp(method, "PATCH") == 0) {
        code = curl_easy_setopt(f->easy, CURLOPT_POST, 1L);
        if (code == CURLE_OK) code = curl_easy_setopt(f->easy, CURLOPT_POSTFIELDS, r->body != NULL ? r->body : "");
        if (code == CURLE_OK)
            code = curl_easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                    (curl_off_t)(r->body != NULL ? r->body_length : 0));
    } else if (strcmp(method, "HEAD") == 0) {
        code = curl_easy_setopt(f->easy, CURLOPT_NOBODY, 1L);
    } else {
        code = curl_easy_setopt(f->easy, CURLOPT_HTTPGET, 1L);
    }
    if (code == CURLE_OK && strcmp(method, "HEAD") != 0)
        code = curl_easy_setopt(f->easy, CURLOPT_CUSTOMREQUEST, method);
    return code == CURLE_OK ? KOLM_OK : kit_no_memory(err);
}

void http_source_detach(http_flight *f) {
    curl_mime_free(f->mime);
    f->mime = NULL;
}
