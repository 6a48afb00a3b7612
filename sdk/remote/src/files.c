/* SPDX-License-Identifier: Apache-2.0 */
/* Files of remote jobs: identified by digest, sent if missing, fetched and checked. */
#include "internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK SSH_JOB_CHUNK
#define ASKED_AT_ONCE 2000
#define GETS_IN_FLIGHT 64
#define SENT_AT_ONCE (64u << 10) /* bytes of results that are sent without another request */
#define RESULT_MAX (1ull << 42)
#define TELL_MS 200

/* ---- Lists */

void ssh_job_files_free(ssh_job_files *files) {
    for (size_t i = 0; i < files->count; i++) {
        free(files->items[i].name);
        free(files->items[i].path);
    }
    free(files->items);
    *files = (ssh_job_files){0};
}

void ssh_job_files_drop_last(ssh_job_files *files) {
    if (files->count == 0) return;
    const ssh_job_file *last = &files->items[--files->count];
    free(last->name);
    free(last->path);
}

static kit_status read_at(int fd, char *chunk, size_t length, uint64_t offset, const char *path, kolm_error_t *err) {
    while (length > 0) {
        ssize_t n = pread(fd, chunk, length, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kit_fail_errno(err, errno, "cannot read %s", path);
        if (n == 0)
            return kit_fail(err, KOLM_E_DATA_LOSS, "run the command again when no process writes to it",
                            "%s became shorter while it was read", path);
        chunk += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return KOLM_OK;
}

static kit_status digest_slice(int fd, ssh_job_file *file, kolm_error_t *err) {
    kit_sha256 *sha = NULL;
    uint8_t bytes[KIT_SHA256_BYTES];
    char *chunk = malloc(CHUNK);
    kit_status status = chunk != NULL ? kit_sha256_new(&sha, err) : kit_no_memory(err);
    for (uint64_t at = 0; status == KOLM_OK && at < file->size; at += CHUNK) {
        size_t n = file->size - at < CHUNK ? (size_t)(file->size - at) : CHUNK;
        status = read_at(fd, chunk, n, file->offset + at, file->path, err);
        if (status == KOLM_OK) status = kit_sha256_update(sha, chunk, n, err);
    }
    if (status == KOLM_OK) status = kit_sha256_final(sha, bytes, err);
    if (status == KOLM_OK) kit_hex(bytes, sizeof bytes, file->sha256);
    kit_sha256_free(sha);
    free(chunk);
    return status;
}

static kit_status look_at(ssh_job_file *file, kolm_error_t *err) {
    struct stat about;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", file->path);
    kit_status status = fstat(fd, &about) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot access %s", file->path);
    if (status == KOLM_OK && !S_ISREG(about.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give a file", "%s is not a file", file->path);
    if (status == KOLM_OK && file->size == UINT64_MAX) file->size = (uint64_t)about.st_size - file->offset;
    if (status == KOLM_OK) status = digest_slice(fd, file, err);
    close(fd);
    return status;
}

kit_status ssh_job_files_add(ssh_job_files *files, const char *name, const char *path, uint64_t offset, uint64_t size,
                             bool executable, kolm_error_t *err) {
    ssh_job_file *grown = realloc(files->items, (files->count + 1) * sizeof *grown);
    if (grown == NULL) return kit_no_memory(err);
    files->items = grown;
    ssh_job_file *file = &grown[files->count++];
    *file = (ssh_job_file){.offset = offset, .size = size, .executable = executable};
    KIT_TRY(kit_strdup(name, &file->name, err));
    KIT_TRY(kit_strdup(path, &file->path, err));
    if (!kit_path_is_safe(name))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "rename it", "%s has a name that cannot be sent", path);
    return look_at(file, err);
}

static int wanted_entry(const struct dirent *entry) {
    return entry->d_name[0] != '.' && strcmp(entry->d_name, "__pycache__") != 0;
}

kit_status ssh_job_files_add_tree(ssh_job_files *files, const char *prefix, const char *directory, int depth,
                                  kolm_error_t *err) {
    struct dirent **names = NULL;
    int count = scandir(directory, &names, wanted_entry, alphasort);
    kit_status status = count >= 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot read %s", directory);
    for (int i = 0; i < count; i++) {
        struct stat about;
        char *path = NULL;
        kit_buf name = {0};
        if (status == KOLM_OK) status = kit_path_join(directory, names[i]->d_name, &path, err);
        kit_buf_fmt(&name, "%s%s", prefix, names[i]->d_name);
        if (status == KOLM_OK) status = kit_buf_ok(&name, err);
        if (status == KOLM_OK && stat(path, &about) != 0) status = kit_fail_errno(err, errno, "cannot access %s", path);
        if (status == KOLM_OK && S_ISDIR(about.st_mode) && depth > 0) {
            kit_buf_char(&name, '/');
            status = ssh_job_files_add_tree(files, kit_buf_text(&name), path, depth - 1, err);
        } else if (status == KOLM_OK && S_ISREG(about.st_mode)) {
            status = ssh_job_files_add(files, kit_buf_text(&name), path, 0, UINT64_MAX, false, err);
        }
        kit_buf_free(&name);
        free(path);
        free(names[i]);
    }
    free(names);
    return status;
}

kit_status ssh_job_files_digest(const ssh_job_files *files, const char *salt, char out_id[JOB_ID_DIGITS + 1],
                                kolm_error_t *err) {
    kit_buf sums = {0};
    char hex[KIT_SHA256_HEX];
    kit_buf_fmt(&sums, "%s\n", salt);
    for (size_t i = 0; i < files->count; i++)
        kit_buf_fmt(&sums, "%s %d %s\n", files->items[i].sha256, files->items[i].executable, files->items[i].name);
    kit_status status = kit_buf_ok(&sums, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(sums.data, sums.length, hex, err);
    if (status == KOLM_OK) (void)kit_format(out_id, JOB_ID_DIGITS + 1, "%.*s", JOB_ID_DIGITS, hex);
    kit_buf_free(&sums);
    return status;
}

static cJSON *range_json(const ssh_job_files *files, size_t from, size_t to, bool names) {
    cJSON *list = cJSON_CreateArray();
    for (size_t i = from; list != NULL && i < to; i++) {
        const ssh_job_file *file = &files->items[i];
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "sha256", file->sha256) || !kit_json_put_u64(item, "size", file->size) ||
            (names && (!kit_json_put_string(item, "name", file->name) ||
                       !kit_json_put_bool(item, "executable", file->executable))) ||
            !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

cJSON *ssh_job_files_json(const ssh_job_files *files) {
    return range_json(files, 0, files->count, true);
}

/* ---- Uploading */

typedef struct counter {
    uint64_t done, total;
    int64_t told_ms;
    const char *phase;
} counter;

/* Reports progress in kilobytes, so that the numbers are readable. */
static void tell(const kit_ssh_job_remote *remote, counter *c, uint64_t more) {
    int64_t now = kit_now_ms();
    c->done += more;
    if (now - c->told_ms < TELL_MS && c->done < c->total) return;
    c->told_ms = now;
    const kolm_progress_t p = {.struct_size = (uint32_t)sizeof p,
                               .step = c->done >> 10,
                               .total = c->total >> 10,
                               .loss = (double)NAN,
                               .tokens_per_second = (double)NAN,
                               .phase = c->phase};
    remote->host->progress(remote->host->user, &p);
}

static kit_status put_chunk(kit_ssh_job_remote *remote, const ssh_job_file *file, uint64_t at, const void *bytes,
                            size_t length, kolm_error_t *err) {
    cJSON *request = ssh_job_request("put");
    (void)(kit_json_put_string(request, "sha256", file->sha256) && kit_json_put_u64(request, "size", file->size) &&
           kit_json_put_u64(request, "offset", at));
    size_t packed_length = 0;
    const void *packed = remote->packs ? ssh_job_pack(remote->packer, bytes, length, &packed_length) : NULL;
    if (packed != NULL && kit_json_put_u64(request, "packed", length)) {
        bytes = packed;
        length = packed_length;
    }
    size_t stream = ssh_job_lanes_turn(remote);
    if (stream > 0 && !kit_json_put_u64(request, "stream", stream)) {
        cJSON_Delete(request);
        return kit_no_memory(err);
    }
    int64_t begun = ssh_job_now_ns();
    kit_status status = ssh_job_send_on(remote, stream, request, bytes, length, err);
    ssh_job_pack_sent(remote->packer, length, ssh_job_now_ns() - begun);
    return status;
}

/* Pieces are not answered: sync reports errors once all are sent. */
static kit_status put_file(kit_ssh_job_remote *remote, const ssh_job_file *file, uint64_t at, counter *c,
                           kolm_error_t *err) {
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", file->path);
    char *chunk = malloc(CHUNK);
    kit_status status = chunk != NULL ? KOLM_OK : kit_no_memory(err);
    ssh_job_pack_begin(remote->packer);
    do {
        size_t n = file->size - at < CHUNK ? (size_t)(file->size - at) : CHUNK;
        if (status == KOLM_OK) status = read_at(fd, chunk, n, file->offset + at, file->path, err);
        if (status == KOLM_OK) status = put_chunk(remote, file, at, chunk, n, err);
        at += n;
        tell(remote, c, n);
    } while (status == KOLM_OK && at < file->size);
    free(chunk);
    close(fd);
    return status;
}

uint64_t ssh_job_files_size(const ssh_job_files *files) {
    uint64_t total = 0;
    for (size_t i = 0; i < files->count; i++)
        total += files->items[i].size;
    return total;
}

kit_status ssh_job_send_all(kit_ssh_job_remote *remote, const ssh_job_files *files, kolm_error_t *err) {
    counter c = {.phase = "uploading", .total = ssh_job_files_size(files)};
    for (size_t i = 0; i < files->count; i++)
        KIT_TRY(put_file(remote, &files->items[i], 0, &c, err));
    return KOLM_OK;
}

/* missing: [{sha256, at}] in the order of the request. */
static kit_status put_missing(kit_ssh_job_remote *remote, const ssh_job_files *files, size_t from, size_t to,
                              const cJSON *missing, kolm_error_t *err) {
    counter c = {.phase = "uploading"};
    const cJSON *item;
    size_t i = from;
    kit_status status = KOLM_OK;
    for (int pass = 0; pass < 2; pass++) { /* first the total size, then the bytes */
        i = from;
        cJSON_ArrayForEach(item, missing) {
            const char *digest = "";
            uint64_t at = 0;
            if (!kit_json_get_string(item, "sha256", &digest) || !kit_json_get_u64(item, "at", &at)) digest = "";
            while (i < to && strcmp(files->items[i].sha256, digest) != 0)
                i++;
            if (i == to || at > files->items[i].size)
                return kit_fail(err, KOLM_E_DATA_LOSS, "report this", "%s requested a file that was not offered",
                                remote->settings.name);
            if (pass == 0) c.total += files->items[i].size - at;
            if (pass == 1 && status == KOLM_OK) status = put_file(remote, &files->items[i], at, &c, err);
            i++;
        }
    }
    return status;
}

kit_status ssh_job_upload(kit_ssh_job_remote *remote, const ssh_job_files *files, kolm_error_t *err) {
    ssh_job_frame answer = {0};
    kit_status status = KOLM_OK;
    for (size_t from = 0; status == KOLM_OK && from < files->count; from += ASKED_AT_ONCE) {
        size_t to = files->count - from < ASKED_AT_ONCE ? files->count : from + ASKED_AT_ONCE;
        cJSON *request = ssh_job_request("have");
        bool wide = remote->wire->lanes > 0 && remote->lane_cuts < SSH_JOB_LANE_CUTS;
        (void)(kit_json_put(request, "blobs", range_json(files, from, to, false)) &&
               kit_json_put_bool(request, "wide", wide));
        int64_t asked = ssh_job_now_ns();
        status = ssh_job_ask(remote, request, &answer, err);
        if (status == KOLM_OK && wide)
            status = ssh_job_lanes_begin(remote, answer.header, ssh_job_now_ns() - asked, err);
        const cJSON *missing = kit_json_get(answer.header, "missing");
        if (status == KOLM_OK && cJSON_GetArraySize(missing) > 0) {
            status = put_missing(remote, files, from, to, missing, err);
            ssh_job_frame_free(&answer);
            if (status == KOLM_OK) status = ssh_job_ask(remote, ssh_job_request("sync"), &answer, err);
            ssh_job_lanes_end(remote); /* the far end returns them at sync */
        }
        ssh_job_frame_free(&answer);
    }
    return status;
}

cJSON *ssh_job_tree_request(const ssh_job_files *files, const char *id) {
    cJSON *request = ssh_job_request("tree");
    if (kit_json_put_string(request, "tree", id) && kit_json_put(request, "files", ssh_job_files_json(files)))
        return request;
    cJSON_Delete(request);
    return NULL;
}

/* ---- Fetching */

typedef struct wanted {
    const char *name, *digest;
    uint64_t size;
    char *part, *target;
    kit_sha256 *sha; /* of the received bytes; NULL unless they began with the first byte */
} wanted;

static void wanted_free(wanted *w) {
    kit_sha256_free(w->sha);
    free(w->part);
    free(w->target);
}

/* The far end is not trusted: names must be below those that were requested. */
static kit_status read_offer(const kit_ssh_job_remote *remote, const cJSON *item, const char *const *names,
                             const char *directory, size_t number, wanted *out, kolm_error_t *err) {
    bool good = kit_json_get_string(item, "name", &out->name) && kit_json_get_string(item, "sha256", &out->digest) &&
                kit_json_get_u64(item, "size", &out->size) && kit_path_is_safe(out->name) &&
                strlen(out->digest) == KIT_SHA256_HEX - 1 &&
                strspn(out->digest, "0123456789abcdef") == KIT_SHA256_HEX - 1 && out->size <= RESULT_MAX;
    bool asked = false;
    for (size_t i = 0; good && names[i] != NULL; i++) {
        size_t n = strlen(names[i]);
        asked = asked || (strncmp(out->name, names[i], n) == 0 && (out->name[n] == '\0' || out->name[n] == '/'));
    }
    if (!asked)
        return kit_fail(err, KOLM_E_DATA_LOSS, "check that machine: it may not be the one that you expect",
                        "%s offers a result with a bad name, size or digest", remote->settings.name);
    char part[100];
    kit_format(part, sizeof part, ".part-%zu-%s", number, out->digest);
    KIT_TRY(kit_path_join(directory, part, &out->part, err));
    return kit_path_join(directory, out->name, &out->target, err);
}

static kit_status ask_for(kit_ssh_job_remote *remote, const char *job, const wanted *w, uint64_t offset,
                          kolm_error_t *err) {
    cJSON *request = ssh_job_request("get");
    (void)(kit_json_put_string(request, "job", job) && kit_json_put_string(request, "name", w->name) &&
           kit_json_put_u64(request, "offset", offset) && kit_json_put_bool(request, "packed", remote->packs));
    return ssh_job_send(remote, request, NULL, 0, err);
}

/* Returns the bytes of a piece, valid until the next one. */
static bool piece_of(const kit_ssh_job_remote *remote, const ssh_job_frame *frame, const char **out_bytes,
                     size_t *out_length) {
    uint64_t size = 0;
    *out_bytes = frame->raw;
    *out_length = frame->raw_length;
    if (kit_json_get(frame->header, "packed") == NULL) return true;
    bool good = kit_json_get_u64(frame->header, "packed", &size) &&
                ssh_job_unpack(remote->packer, frame->raw, frame->raw_length, size, out_bytes);
    *out_length = size;
    return good;
}

static kit_status take_file(kit_ssh_job_remote *remote, const wanted *w, int fd, uint64_t at, counter *c,
                            kolm_error_t *err) {
    bool more = true;
    kit_status status = KOLM_OK;
    while (more) { /* read to its end even if it cannot be written: the next bytes belong to another file */
        ssh_job_frame frame = {0};
        KIT_TRY(ssh_job_receive(remote, INT64_MAX / 4, &frame, err));
        const char *bytes = NULL;
        size_t length = 0;
        if (!kit_json_get_bool(frame.header, "more", &more) || !piece_of(remote, &frame, &bytes, &length) ||
            (more && length == 0) || at + length > w->size) {
            ssh_job_frame_free(&frame);
            return kit_fail(err, KOLM_E_DATA_LOSS, "check that machine",
                            "%s sent data that does not match the digest it gave", remote->settings.name);
        }
        if (status == KOLM_OK) status = kit_write_all(fd, bytes, length, err);
        if (status == KOLM_OK && w->sha != NULL) status = kit_sha256_update(w->sha, bytes, length, err);
        at += length;
        tell(remote, c, length);
        ssh_job_frame_free(&frame);
    }
    return status;
}

static kit_status digest_of(const wanted *w, char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    uint8_t digest[KIT_SHA256_BYTES];
    if (w->sha == NULL) return kit_sha256_file(w->part, out_hex, NULL, err);
    KIT_TRY(kit_sha256_final(w->sha, digest, err));
    kit_hex(digest, sizeof digest, out_hex);
    return KOLM_OK;
}

static kit_status finish_file(const kit_ssh_job_remote *remote, const wanted *w, kolm_error_t *err) {
    char hex[KIT_SHA256_HEX];
    KIT_TRY(digest_of(w, hex, err));
    if (strcmp(hex, w->digest) != 0) {
        (void)unlink(w->part);
        return kit_fail(err, KOLM_E_DATA_LOSS, "run the same command again",
                        "%s as received from %s does not match its digest", w->name, remote->settings.name);
    }
    char *parent = NULL;
    KIT_TRY(kit_strdup(w->target, &parent, err));
    *strrchr(parent, '/') = '\0';
    kit_status status = kit_mkdirs(parent, 0700, err);
    free(parent);
    if (status == KOLM_OK && rename(w->part, w->target) != 0)
        status = kit_fail_errno(err, errno, "cannot write %s", w->target);
    return status;
}

static uint64_t size_of(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? (uint64_t)about.st_size : 0;
}

/* Reads the pending answers, so that the next request gets its own: another kolm may just have fetched the results and
 * dropped the job, and then it is requested again over the same link. */
static void pass_over(kit_ssh_job_remote *remote, size_t answers) {
    for (size_t i = 0; i < answers && !remote->broken; i++) {
        bool more = true;
        while (more && !remote->broken) {
            ssh_job_frame frame = {0};
            kolm_error_t ignored = KIT_ERROR_INIT;
            if (ssh_job_receive(remote, INT64_MAX / 4, &frame, &ignored) != KOLM_OK ||
                !kit_json_get_bool(frame.header, "more", &more) || frame.raw_length == 0)
                more = false; /* a refusal is a complete answer */
            ssh_job_frame_free(&frame);
        }
    }
}

/* sent: the far end sends the files without further requests. */
static kit_status take_all(kit_ssh_job_remote *remote, const char *job, wanted *list, size_t count, bool sent,
                           kolm_error_t *err) {
    counter c = {.phase = "fetching"};
    size_t asked = sent ? count : 0;
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < count; i++) {
        c.total += list[i].size;
        if (sent) (void)unlink(list[i].part); /* it is sent from the first byte */
    }
    for (size_t i = 0; status == KOLM_OK && i < count; i++) {
        for (; status == KOLM_OK && asked < count && asked < i + GETS_IN_FLIGHT; asked++) {
            uint64_t have = size_of(list[asked].part);
            if (have > list[asked].size) (void)unlink(list[asked].part);
            status = ask_for(remote, job, &list[asked], have > list[asked].size ? 0 : have, err);
        }
        int fd =
            status == KOLM_OK ? open(list[i].part, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
        if (status == KOLM_OK && fd < 0) status = kit_fail_errno(err, errno, "cannot write %s", list[i].part);
        if (fd >= 0) {
            uint64_t at = size_of(list[i].part);
            tell(remote, &c, at);
            if (at == 0) status = kit_sha256_new(&list[i].sha, err);
            if (status == KOLM_OK) status = take_file(remote, &list[i], fd, at, &c, err);
            close(fd);
        }
        if (status == KOLM_OK) status = finish_file(remote, &list[i], err);
        if (status == KOLM_E_NOT_FOUND && !sent && asked > i + 1) pass_over(remote, asked - i - 1);
    }
    return status;
}

kit_status ssh_job_fetch(kit_ssh_job_remote *remote, const char *job, const char *const *names, const char *directory,
                         kolm_error_t *err) {
    ssh_job_frame answer = {0};
    bool sent = false;
    if (names[0] == NULL) return KOLM_OK;
    cJSON *request = ssh_job_request("results"), *asked = cJSON_CreateArray();
    for (size_t i = 0; names[i] != NULL; i++)
        (void)cJSON_AddItemToArray(asked, cJSON_CreateString(names[i]));
    (void)(kit_json_put_string(request, "job", job) && kit_json_put(request, "names", asked) &&
           kit_json_put_bool(request, "adopt", true) && kit_json_put_u64(request, "send", SENT_AT_ONCE) &&
           kit_json_put_bool(request, "packed", remote->packs));
    KIT_TRY(ssh_job_ask(remote, request, &answer, err));
    const cJSON *files = kit_json_get(answer.header, "files"), *item;
    int offered = cJSON_GetArraySize(files);
    size_t count = 0;
    wanted *list = calloc(offered > 0 ? (size_t)offered : 1, sizeof *list);
    kit_status status = list != NULL ? KOLM_OK : kit_no_memory(err);
    cJSON_ArrayForEach(item, files) {
        if (status == KOLM_OK) status = read_offer(remote, item, names, directory, count, &list[count], err);
        count++;
    }
    if (!kit_json_get_bool(answer.header, "sent", &sent)) sent = false;
    if (status == KOLM_OK) status = take_all(remote, job, list, count, sent, err);
    for (size_t i = 0; i < count; i++)
        wanted_free(&list[i]);
    free(list);
    ssh_job_frame_free(&answer);
    return status;
}
