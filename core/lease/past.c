/* SPDX-License-Identifier: Apache-2.0 */
/* Leases that are gone: one line each, in a file that is rotated. */
#include "kolm/kit/file.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"
#include "lease/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_MS 10000
#define DAY_MS 86400000u
#define PAST_BYTES_MAX (64u << 20)

/* ---- Lines */

static kit_status put_line(const lease_entry *e, kit_buf *out, kolm_error_t *err) {
    cJSON *line = cJSON_CreateObject();
    bool known = e->billed_micro_usd < KIT_JSON_MICRO_LIMIT;
    bool good = kit_json_put_string(line, "journal", e->journal) && kit_json_put_string(line, "backend", e->backend) &&
                kit_json_put_string(line, "job", e->job) && kit_json_put_string(line, "name", e->name) &&
                kit_json_put_string(line, "handle", e->handle) && kit_json_put_string(line, "kind", e->kind) &&
                kit_json_put_string(line, "place", e->place) && kit_json_put_string(line, "note", e->note) &&
                kit_json_put_u64(line, "begun", e->begun_ms) && kit_json_put_u64(line, "gone", e->gone_ms) &&
                (known ? kit_json_put_u64(line, "billed_micro_usd", e->billed_micro_usd)
                       : kit_json_put_null(line, "billed_micro_usd"));
    kit_status status = good ? kit_json_line(line, out, err) : kit_no_memory(err);
    kit_buf_char(out, '\n');
    cJSON_Delete(line);
    return status;
}

static void copy_text(const cJSON *line, const char *key, char *out, size_t capacity, bool *good) {
    const char *text = NULL;
    *good = *good && kit_json_get_string(line, key, &text) && kit_text_is_plain(text, strlen(text)) &&
            kit_copy(out, capacity, text);
}

/* False if it is not a line of this file. */
static bool take_line(const cJSON *line, lease_entry *e) {
    bool good = true;
    copy_text(line, "journal", e->journal, sizeof e->journal, &good);
    copy_text(line, "backend", e->backend, sizeof e->backend, &good);
    copy_text(line, "job", e->job, sizeof e->job, &good);
    copy_text(line, "name", e->name, sizeof e->name, &good);
    copy_text(line, "handle", e->handle, sizeof e->handle, &good);
    copy_text(line, "kind", e->kind, sizeof e->kind, &good);
    copy_text(line, "place", e->place, sizeof e->place, &good);
    copy_text(line, "note", e->note, sizeof e->note, &good);
    good = good && kit_json_get_u64(line, "begun", &e->begun_ms) && kit_json_get_u64(line, "gone", &e->gone_ms);
    if (!kit_json_get_u64(line, "billed_micro_usd", &e->billed_micro_usd)) e->billed_micro_usd = UINT64_MAX;
    e->state = LEASE_GONE;
    return good;
}

/* ---- Reading */

static kit_status read_lines(kit_lines *lines, const volatile sig_atomic_t *stop, lease_list *list,
                             uint64_t *out_unreadable, kolm_error_t *err) {
    const char *text = NULL;
    size_t length = 0;
    for (;;) {
        cJSON *line = NULL;
        kit_status status = kit_lines_next(lines, &text, &length, err);
        if (stop && *stop != 0) return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
        if (status == KOLM_E_OUT_OF_RANGE) {
            ++*out_unreadable;
            continue;
        }
        if (status != KOLM_OK || !text) return status;
        if (length == 0) continue;
        status = kit_json_parse(text, length, &line, err);
        if (status == KOLM_E_RESOURCE_EXHAUSTED) return status;
        lease_entry *entry = status == KOLM_OK ? lease_list_add(list) : NULL;
        if (status == KOLM_OK && !entry) {
            cJSON_Delete(line);
            return kit_no_memory(err);
        }
        if (!entry || !take_line(line, entry)) {
            if (entry) list->count--;
            ++*out_unreadable;
        }
        cJSON_Delete(line);
    }
}

static int by_identity(const void *a, const void *b) {
    const lease_entry *x = a, *y = b;
    int order = strcmp(x->journal, y->journal);
    return order != 0 ? order : strcmp(x->name, y->name);
}

/* A crash between writing the past and removing the journal leaves each lease twice. A damaged line that was struck off
 * has no name, so it is identified by its time. */
static void keep_each_once(lease_list *list) {
    size_t kept = 0;
    if (list->count > 1) qsort(list->at, list->count, sizeof *list->at, by_identity);
    for (size_t i = 0; i < list->count; i++) {
        const lease_entry *last = kept > 0 ? &list->at[kept - 1] : NULL;
        if (last && by_identity(last, &list->at[i]) == 0 && (last->name[0] || last->gone_ms == list->at[i].gone_ms))
            continue;
        if (kept != i) list->at[kept] = list->at[i];
        kept++;
    }
    list->count = kept;
}

kit_status lease_past_read(const store_home *home, const volatile sig_atomic_t *stop, lease_list *out_list,
                           uint64_t *out_unreadable, kolm_error_t *err) {
    char *path = NULL;
    kit_lines *lines = NULL;
    struct stat st;
    *out_list = (lease_list){0};
    *out_unreadable = 0;
    KIT_TRY(store_home_place(home, STORE_LEASES_PAST, &path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    kit_status status = KOLM_OK;
    if (fd < 0 && errno != ENOENT && errno != ENOTDIR) status = kit_fail_errno(err, errno, "cannot open %s", path);
    if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "move it away", "%s is not a regular file", path);
    if (fd >= 0 && status == KOLM_OK) status = kit_lines_open(fd, LEASE_LINE_MAX, &lines, err);
    if (lines) status = read_lines(lines, stop, out_list, out_unreadable, err);
    kit_lines_close(lines);
    if (fd >= 0) close(fd);
    free(path);
    keep_each_once(out_list);
    if (status != KOLM_OK) lease_list_free(out_list);
    return status;
}

/* ---- Writing, under the lock */

static uint64_t now_ms(void) {
    return (uint64_t)time(NULL) * 1000;
}

/* Rewrites the file without old lines. Unreadable lines are dropped: their leases are gone. */
static kit_status rotate(const store_home *home, const char *path, kolm_error_t *err) {
    lease_list list;
    uint64_t unreadable, oldest = now_ms() - LEASE_PAST_DAYS * (uint64_t)DAY_MS;
    kit_buf text = {0};
    kit_status status = lease_past_read(home, NULL, &list, &unreadable, err);
    for (size_t i = 0; status == KOLM_OK && i < list.count; i++)
        if (list.at[i].gone_ms >= oldest) status = put_line(&list.at[i], &text, err);
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(&text), text.length, err);
    if (status == KOLM_OK || list.at) lease_list_free(&list);
    kit_buf_free(&text);
    return status;
}

static kit_status append(const char *path, const kit_buf *text, off_t *out_size, kolm_error_t *err) {
    struct stat st;
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = kit_write_all(fd, text->data, text->length, err);
    if (status == KOLM_OK && (fsync(fd) != 0 || fstat(fd, &st) != 0)) status = kit_fail_errno(err, errno, "%s", path);
    if (status == KOLM_OK) *out_size = st.st_size;
    close(fd);
    return status == KOLM_OK ? status : kit_fail_context(err, "%s", path);
}

kit_status lease_past_add(const store_home *home, const lease_list *list, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    store_lock *lock = NULL;
    off_t size = 0;
    if (list->count == 0) return KOLM_OK;
    kit_status status = KOLM_OK;
    kit_buf_char(&text, '\n'); /* keep an incomplete last line separate */
    for (size_t i = 0; status == KOLM_OK && i < list->count; i++)
        status = put_line(&list->at[i], &text, err);
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_LEASES_PAST, &path, err);
    if (status == KOLM_OK)
        status = store_lock_take(home, store_place_name(STORE_LEASES_PAST), LOCK_WAIT_MS, &lock, err);
    if (status == KOLM_OK) status = append(path, &text, &size, err);
    /* Only when it has grown by that much: what is younger stays, and is not written again at each call. */
    if (status == KOLM_OK && size / LEASE_PAST_MOST != (size - (off_t)text.length) / LEASE_PAST_MOST)
        status = rotate(home, path, err);
    store_lock_release(lock);
    kit_buf_free(&text);
    free(path);
    return status;
}
