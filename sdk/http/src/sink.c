/* SPDX-License-Identifier: Apache-2.0 */
/* The target of an answer's body: memory, a file with its digest, or a callback; with its size limit. */
#include "internal.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_MAX (1u << 20)

static kit_status hash_beginning(http_flight *f, uint64_t size, kolm_error_t *err) {
    char bytes[16384];
    for (uint64_t at = 0; at < size;) {
        size_t want = size - at < sizeof bytes ? (size_t)(size - at) : sizeof bytes;
        ssize_t n = pread(f->request->out_file, bytes, want, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return kit_fail_errno(err, n == 0 ? EIO : errno, "cannot read back the file that is being resumed");
        KIT_TRY(kit_sha256_update(f->digest, bytes, (size_t)n, err));
        at += (uint64_t)n;
    }
    return KOLM_OK;
}

/* Accepts a strong ETag that fits: only that guarantees that two answers have the same bytes. */
static bool take_etag(http_flight *f, const char *etag) {
    f->etag[0] = '\0';
    if (etag == NULL || etag[0] != '"' || strlen(etag) >= sizeof f->etag) return false;
    kit_copy(f->etag, sizeof f->etag, etag);
    return true;
}

kit_status http_sink_open(http_flight *f, kolm_error_t *err) {
    const kit_http_request *r = f->request;
    struct stat st;
    f->total = UINT64_MAX;
    if (!r->has_out_file) return KOLM_OK;
    if (fstat(r->out_file, &st) != 0) return kit_fail_errno(err, errno, "cannot access the file to be written");
    if (!S_ISREG(st.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name a regular file",
                        "the target of the download is not a regular file");
    KIT_TRY(kit_sha256_new(&f->digest, err));
    if (!r->resume || !take_etag(f, r->resume_etag)) return KOLM_OK;
    f->good = (uint64_t)st.st_size;
    return hash_beginning(f, f->good, err);
}

/* Without an ETag the rest may belong to another version, even of the same length: request all of it. */
void http_sink_range(http_flight *f) {
    bool known = f->request->has_out_file && f->request->resume && f->etag[0] != '\0';
    f->range_from = known ? f->good : 0;
}

/* Starts over at the first byte. */
static bool start_over(http_flight *f) {
    int fd = f->request->out_file;
    uint8_t unused[KIT_SHA256_BYTES];
    f->good = 0;
    f->etag[0] = '\0';
    if (kit_sha256_final(f->digest, unused, NULL) != KOLM_OK || ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
        int reason = errno;
        f->refused = kit_fail_errno(f->err, reason, "cannot empty the file to be written");
        return false;
    }
    return true;
}

static bool go_on(http_flight *f) {
    uint64_t first = 0, total = UINT64_MAX;
    const char *range = http_headers_find(&f->answer->headers, "content-range");
    const char *etag = http_headers_find(&f->answer->headers, "etag");
    /* RFC 9110 15.3.7: a partial answer has the ETag of the whole. */
    if (etag == NULL || strcmp(etag, f->etag) != 0)
        return http_refuse(f, KOLM_E_DATA_LOSS, "remove the unfinished file and download it again",
                           "the server sent the rest of the file without showing that it belongs to the same version");
    if (range == NULL || !http_content_range(range, &first, &total) || first != f->range_from)
        return http_refuse(f, KOLM_E_DATA_LOSS, "remove the unfinished file and download it again",
                           "the server did not send the part of the file from byte %llu on",
                           (unsigned long long)f->range_from);
    if (f->total != UINT64_MAX && total != UINT64_MAX && total != f->total)
        return http_refuse(f, KOLM_E_DATA_LOSS, "download the file again",
                           "the file changed during the download: from %llu to %llu bytes",
                           (unsigned long long)f->total, (unsigned long long)total);
    if (total != UINT64_MAX) f->total = total;
    if (f->most > 0 && total != UINT64_MAX && total > f->most)
        return http_refuse(f, KOLM_E_OUT_OF_RANGE, "", "the file has %llu bytes, and at most %llu are expected",
                           (unsigned long long)total, (unsigned long long)f->most);
    if (ftruncate(f->request->out_file, (off_t)f->good) == 0 &&
        lseek(f->request->out_file, (off_t)f->good, SEEK_SET) >= 0)
        return true;
    f->refused = kit_fail_errno(f->err, errno, "cannot resume the file");
    return false;
}

static bool begin_file(http_flight *f, long status) {
    const char *encoding = http_headers_find(&f->answer->headers, "content-encoding");
    if (encoding != NULL && strcasecmp(encoding, "identity") != 0)
        return http_refuse(f, KOLM_E_DATA_LOSS, "report it to the author of this backend",
                           "the file came with the encoding %.40s, which was not requested", encoding);
    if (status == 206 && f->range_from > 0) return go_on(f);
    if (status == 206)
        return http_refuse(f, KOLM_E_DATA_LOSS, "download the file again",
                           "the server sent a part of the file, but the whole file was requested");
    if (!start_over(f)) return false;
    (void)take_etag(f, http_headers_find(&f->answer->headers, "etag"));
    return true;
}

/* 416, and the server's file ends where ours does. Another version would have been a 200, because If-Range was sent. */
static bool has_all(http_flight *f) {
    uint64_t first = 0, total = 0;
    const char *range = http_headers_find(&f->answer->headers, "content-range");
    const char *etag = http_headers_find(&f->answer->headers, "etag");
    if (etag != NULL && strcmp(etag, f->etag) != 0) return false;
    return f->range_from > 0 && range != NULL && http_content_range(range, &first, &total) && first == UINT64_MAX &&
           total == f->good;
}

bool http_sink_begin(http_flight *f, long status) {
    const kit_http_request *r = f->request;
    const char *length = http_headers_find(&f->answer->headers, "content-length");
    uint64_t announced = UINT64_MAX;
    if (length == NULL || !kit_parse_u64(length, &announced)) announced = UINT64_MAX;
    f->sink = SINK_MEMORY;
    f->most = HTTP_ERROR_BODY_MAX;
    kit_buf_clear(&f->answer->body);
    f->answer->size = 0;
    f->answer->body_cut = false;
    if (status == 416) f->whole_already = has_all(f);
    if (status < 200 || status >= 300) return true;
    f->sink = r->has_out_file ? SINK_FILE : r->on_bytes != NULL ? SINK_CALL : SINK_MEMORY;
    f->most = r->body_max > 0 ? r->body_max : f->sink == SINK_MEMORY ? MEMORY_MAX : 0;
    if (f->most > 0 && announced != UINT64_MAX && announced > f->most && strcmp(f->method, "HEAD") != 0)
        return http_refuse(f, KOLM_E_OUT_OF_RANGE,
                           "check the address of the service; this is not what it is expected to send",
                           "the body has %llu bytes, and at most %llu are expected", (unsigned long long)announced,
                           (unsigned long long)f->most);
    if (f->sink != SINK_FILE) return true;
    if (status != 206) f->total = announced;
    return begin_file(f, status);
}

static bool take_file(http_flight *f, const char *bytes, size_t length) {
    kit_status status = kit_write_all(f->request->out_file, bytes, length, f->err);
    if (status == KOLM_OK) status = kit_sha256_update(f->digest, bytes, length, f->err);
    if (status != KOLM_OK) {
        f->refused = status;
        return false;
    }
    f->good += length;
    f->answer->size = f->good;
    return true;
}

bool http_sink_take(http_flight *f, const char *bytes, size_t length) {
    kit_http_answer *a = f->answer;
    uint64_t have = f->sink == SINK_FILE ? f->good : a->size;
    if (f->most > 0 && length > f->most - (have < f->most ? have : f->most)) {
        bool error_body = f->sink == SINK_MEMORY && (a->status < 200 || a->status >= 300);
        if (!error_body)
            return http_refuse(f, KOLM_E_OUT_OF_RANGE,
                               "check the address of the service; this is not what it is expected to send",
                               "the body is larger than the %llu bytes that are expected", (unsigned long long)f->most);
        a->body_cut = f->enough = true;
        length = (size_t)(f->most - have);
    }
    if (f->sink == SINK_FILE) return take_file(f, bytes, length);
    a->size += length;
    if (f->sink == SINK_MEMORY) {
        kit_buf_add(&a->body, bytes, length);
        f->refused = kit_buf_ok(&a->body, f->err);
    } else {
        f->delivered = true;
        f->refused = f->request->on_bytes(f->request->user, bytes, length, f->err);
    }
    return f->refused == KOLM_OK && !f->enough;
}

kit_status http_sink_close(http_flight *f, kolm_error_t *err) {
    uint8_t digest[KIT_SHA256_BYTES];
    if (f->sink != SINK_FILE && !f->whole_already) return KOLM_OK;
    KIT_TRY(kit_sha256_final(f->digest, digest, err));
    kit_hex(digest, sizeof digest, f->answer->sha256_hex);
    f->answer->size = f->good;
    return KOLM_OK;
}
