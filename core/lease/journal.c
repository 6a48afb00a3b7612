/* SPDX-License-Identifier: Apache-2.0 */
/* Journals: created, locked and synced before they get a name; read while others write; removed once all their leases
 * are gone. */
#include "host/protocol.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/text.h"
#include "lease/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NEW_PREFIX ".new-"
#define TRIES 20 /* to create it while others remove the empty directory */

struct lease_journal {
    const store_home *home;
    char id[LEASE_ID_BYTES];
    char *directory, *path;
    int fd;        /* O_APPEND, and the lock */
    int read_only; /* errno if it could not be opened for writing; else 0 */
};

static void journal_free(lease_journal *journal) {
    if (!journal) return;
    if (journal->fd >= 0) close(journal->fd);
    free(journal->directory);
    free(journal->path);
    free(journal);
}

static kit_status path_of(const char *directory, const char *prefix, const char *id, char **out, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/%s%s" LEASE_SUFFIX, directory, prefix, id);
    KIT_TRY(kit_buf_ok(&path, err));
    *out = kit_buf_take(&path);
    return KOLM_OK;
}

static kit_status journal_new(const store_home *home, const char *id, lease_journal **out, kolm_error_t *err) {
    lease_journal *journal = calloc(1, sizeof *journal);
    if (!journal) return kit_no_memory(err);
    journal->home = home;
    journal->fd = -1;
    kit_copy(journal->id, sizeof journal->id, id);
    kit_status status = store_home_place(home, STORE_LEASES, &journal->directory, err);
    if (status == KOLM_OK) status = path_of(journal->directory, "", id, &journal->path, err);
    if (status == KOLM_OK)
        *out = journal;
    else
        journal_free(journal);
    return status;
}

static kit_status sync_directory(const char *path, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    kit_status status = fd >= 0 && fsync(fd) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot sync %s", path);
    if (fd >= 0) close(fd);
    return status;
}

/* ---- Begin */

static kit_status write_head(int fd, const char *backend, const char *job, kolm_error_t *err) {
    cJSON *head = cJSON_CreateObject();
    kit_buf line = {0};
    char boot[LEASE_BOOT_BYTES];
    lease_boot_read(boot);
    bool good = kit_json_put_u64(head, "journal", 1) && kit_json_put_string(head, "backend", backend) &&
                kit_json_put_string(head, "job", job) && kit_json_put_string(head, "boot", boot);
    kit_status status = good ? kit_json_line(head, &line, err) : kit_no_memory(err);
    kit_buf_char(&line, '\n');
    if (status == KOLM_OK) status = kit_buf_ok(&line, err);
    if (status == KOLM_OK) status = kit_write_all(fd, line.data, line.length, err);
    kit_buf_free(&line);
    cJSON_Delete(head);
    return status;
}

/* Creates the file under a name that nobody reads, locks, writes and syncs it, and renames it. *out_again: another
 * process removed the directory or the file in between. */
static kit_status make(lease_journal *journal, const char *backend, const char *job, bool *out_again,
                       kolm_error_t *err) {
    char *temporary = NULL;
    *out_again = false;
    KIT_TRY(kit_mkdirs(journal->directory, 0700, err));
    KIT_TRY(path_of(journal->directory, NEW_PREFIX, journal->id, &temporary, err));
    journal->fd = open(temporary, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    kit_status status = KOLM_OK;
    if (journal->fd < 0) {
        *out_again = errno == ENOENT;
        status = kit_fail_errno(err, errno, "cannot make the journal %s", temporary);
    }
    if (status == KOLM_OK) {
        status = kit_lock_try(journal->fd, journal->path, err);
        *out_again = status == KOLM_E_UNAVAILABLE;
    }
    if (status == KOLM_OK) status = write_head(journal->fd, backend, job, err);
    if (status == KOLM_OK && fsync(journal->fd) != 0)
        status = kit_fail_errno(err, errno, "cannot sync the journal %s", temporary);
    if (status == KOLM_OK && rename(temporary, journal->path) != 0) {
        *out_again = errno == ENOENT;
        status = kit_fail_errno(err, errno, "cannot name the journal %s", journal->path);
    }
    if (status == KOLM_OK) status = sync_directory(journal->directory, err);
    if (status == KOLM_OK) status = sync_directory(store_home_path(journal->home), err);
    if (status != KOLM_OK && journal->fd >= 0) {
        (void)unlink(temporary);
        close(journal->fd);
        journal->fd = -1;
    }
    free(temporary);
    return status;
}

static kit_status begin(const store_home *home, const char *backend, const char *job, bool *out_again,
                        lease_journal **out_journal, kolm_error_t *err) {
    uint8_t random[8];
    char digits[2 * sizeof random + 1], id[LEASE_ID_BYTES];
    lease_journal *journal = NULL;
    *out_again = false;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kit_fail(err, KOLM_E_UNKNOWN, "try again", "cannot get random bytes");
    kit_hex(random, sizeof random, digits);
    kit_format(id, sizeof id, "%.32s-%s", backend, digits);
    KIT_TRY(journal_new(home, id, &journal, err));
    kit_status status = make(journal, backend, job, out_again, err);
    if (status == KOLM_OK)
        *out_journal = journal;
    else
        journal_free(journal);
    return status;
}

kit_status lease_journal_begin(const store_home *home, const char *backend, const char *job,
                               lease_journal **out_journal, kolm_error_t *err) {
    bool again = true;
    kit_status status = store_home_create(home, err);
    if (status == KOLM_OK)
        for (int i = 0; i < TRIES && again; i++)
            status = begin(home, backend, job, &again, out_journal, err);
    return status == KOLM_OK ? status : kit_fail_context(err, "nothing can be rented without a record");
}

/* ---- Read */

int lease_journal_fd(const lease_journal *journal) {
    return journal->fd;
}

const char *lease_journal_id(const lease_journal *journal) {
    return journal->id;
}

static kit_status read_file(const char *path, const char *id, lease_list *list, size_t *out_whole, size_t *out_length,
                            kolm_error_t *err) {
    kit_buf text = {0};
    kit_status status = kit_read_file(path, LEASE_JOURNAL_MAX, &text, err);
    if (status == KOLM_OK) status = lease_read(kit_buf_text(&text), text.length, id, list, out_whole, err);
    /* If it was not read to its end, its tail must not be truncated. */
    if (out_length) *out_length = status == KOLM_OK ? text.length : 0;
    kit_buf_free(&text);
    if (status == KOLM_OK || status == KOLM_E_NOT_FOUND || status == KOLM_E_RESOURCE_EXHAUSTED) return status;
    /* Show it as damaged: it may have leases, and must not hide other journals. */
    lease_entry *entry = lease_list_add(list);
    if (!entry) return kit_no_memory(err);
    entry->state = LEASE_DAMAGED;
    kit_copy(entry->journal, sizeof entry->journal, id);
    kit_format(entry->backend, sizeof entry->backend, "%.*s", (int)(strrchr(id, '-') - id), id);
    return KOLM_OK;
}

kit_status lease_journal_read(const lease_journal *journal, lease_list *out_list, kolm_error_t *err) {
    *out_list = (lease_list){0};
    kit_status status = read_file(journal->path, journal->id, out_list, NULL, NULL, err);
    for (size_t i = 0; status == KOLM_OK && i < out_list->count; i++)
        out_list->at[i].owned = true;
    if (status != KOLM_OK) lease_list_free(out_list);
    return status;
}

bool lease_any(const store_home *home) {
    char *path = NULL;
    struct stat st;
    bool any = store_home_place(home, STORE_LEASES, &path, NULL) != KOLM_OK ||
               (stat(path, &st) != 0 ? errno != ENOENT && errno != ENOTDIR : true);
    free(path);
    return any;
}

/* "acme-0123456789abcdef" of "acme-0123456789abcdef.jsonl"; false if it is not the name of a journal. */
static bool id_of(const char *name, char out[LEASE_ID_BYTES]) {
    size_t n = strlen(name), end = strlen(LEASE_SUFFIX);
    if (name[0] == '.' || n <= end + 17 || n - end >= LEASE_ID_BYTES || strcmp(name + n - end, LEASE_SUFFIX) != 0)
        return false;
    kit_format(out, LEASE_ID_BYTES, "%.*s", (int)(n - end), name);
    return out[n - end - 17] == '-' && strspn(out + n - end - 16, "0123456789abcdef") == 16;
}

static bool has_owner(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return false;
    kit_status status = kit_lock_try(fd, path, NULL);
    close(fd);
    return status != KOLM_OK;
}

/* Removes leftovers of a kolm that was killed in lease_journal_begin: it had not rented anything. */
static void sweep_new(const char *directory, const char *name) {
    char *path = NULL;
    if (strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) != 0) return;
    if (kit_path_join(directory, name, &path, NULL) == KOLM_OK && !has_owner(path)) (void)unlink(path);
    free(path);
}

static kit_status add_journal(const char *directory, const char *id, lease_list *list, kolm_error_t *err) {
    char *path = NULL;
    size_t from = list->count;
    KIT_TRY(path_of(directory, "", id, &path, err));
    bool owned = has_owner(path); /* checked before reading, in case the owner exits in between */
    kit_status status = read_file(path, id, list, NULL, NULL, err);
    if (status == KOLM_E_NOT_FOUND) status = KOLM_OK;
    for (size_t i = from; i < list->count; i++)
        list->at[i].owned = owned;
    free(path);
    return status;
}

static int by_journal(const void *a, const void *b) {
    const lease_entry *x = a, *y = b;
    int order = strcmp(x->journal, y->journal);
    if (order != 0) return order;
    if (x->begun_ms != y->begun_ms) return x->begun_ms < y->begun_ms ? -1 : 1;
    return strcmp(x->name, y->name);
}

kit_status lease_list_read(const store_home *home, lease_list *out_list, kolm_error_t *err) {
    char *directory = NULL, id[LEASE_ID_BYTES];
    const char *name = NULL;
    *out_list = (lease_list){0};
    KIT_TRY(store_home_place(home, STORE_LEASES, &directory, err));
    DIR *listing = opendir(directory);
    kit_status status = KOLM_OK;
    if (!listing && errno != ENOENT && errno != ENOTDIR)
        status = kit_fail_errno(err, errno, "cannot list what was rented: %s", directory);
    while (listing && status == KOLM_OK) {
        status = kit_directory_next(listing, directory, &name, err);
        if (status != KOLM_OK || !name) break;
        sweep_new(directory, name);
        if (id_of(name, id)) status = add_journal(directory, id, out_list, err);
    }
    if (listing) closedir(listing);
    free(directory);
    if (status == KOLM_OK && out_list->count > 1)
        qsort(out_list->at, out_list->count, sizeof *out_list->at, by_journal);
    if (status != KOLM_OK) lease_list_free(out_list);
    return status;
}

/* ---- Adopt, write, end */

/* Truncates an incomplete last line, which was never acknowledged, so that the next one is separate. */
static kit_status cut_tail(const lease_journal *journal, kolm_error_t *err) {
    lease_list ignored = {0};
    size_t whole = 0, length = 0;
    kit_status status = read_file(journal->path, journal->id, &ignored, &whole, &length, err);
    lease_list_free(&ignored);
    if (status == KOLM_OK && whole < length && ftruncate(journal->fd, (off_t)whole) != 0)
        status = kit_fail_errno(err, errno, "cannot cut %s", journal->path);
    return status;
}

kit_status lease_journal_adopt(const store_home *home, const char *id, lease_journal **out_journal, kolm_error_t *err) {
    lease_journal *journal = NULL;
    KIT_TRY(journal_new(home, id, &journal, err));
    kit_status status = KOLM_OK;
    journal->fd = open(journal->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (journal->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        journal->read_only = errno; /* its leases can still be ended */
        journal->fd = open(journal->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (journal->fd < 0) status = kit_fail_errno(err, errno, "cannot open the journal %s", journal->path);
    if (status == KOLM_OK) status = kit_lock_try(journal->fd, journal->path, err);
    if (status == KOLM_OK && !kit_lock_is_linked(journal->fd))
        status = kit_fail(err, KOLM_E_NOT_FOUND, "", "%s has just been settled", journal->path);
    if (status == KOLM_OK && !journal->read_only) status = cut_tail(journal, err);
    if (status == KOLM_OK)
        *out_journal = journal;
    else
        journal_free(journal);
    return status;
}

static kit_status check_writable(const lease_journal *journal, kolm_error_t *err) {
    if (!journal->read_only) return KOLM_OK;
    return kit_fail_errno(err, journal->read_only, "cannot write the journal %s", journal->path);
}

static kit_status write_event(lease_journal *journal, const char *event, const char *name, const char *handle,
                              uint64_t billed, kolm_error_t *err) {
    struct timespec now;
    kit_buf line = {0};
    KIT_TRY(check_writable(journal, err));
    clock_gettime(CLOCK_REALTIME, &now);
    const host_lease_line record = {.at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
                                    .event = event,
                                    .price_micro_usd_per_hour = UINT64_MAX,
                                    .billed_micro_usd = billed,
                                    .name = name,
                                    .handle = handle,
                                    .kind = "",
                                    .place = "",
                                    .note = ""};
    /* Keep a line that was left incomplete separate. */
    kit_buf_str(&line, "\n{");
    host_write_lease_line(&line, &record);
    kit_buf_str(&line, "}\n");
    kit_status status = kit_buf_ok(&line, err);
    if (status == KOLM_OK) status = kit_write_all(journal->fd, line.data, line.length, err);
    if (status == KOLM_OK && fsync(journal->fd) != 0) status = kit_fail_errno(err, errno, "it may not be on the disk");
    kit_buf_free(&line);
    return status == KOLM_OK ? status : kit_fail_context(err, "%s", journal->path);
}

kit_status lease_journal_gone(lease_journal *journal, const char *name, uint64_t billed_micro_usd, kolm_error_t *err) {
    return write_event(journal, "gone", name, "", billed_micro_usd, err);
}

kit_status lease_journal_forget(lease_journal *journal, uint64_t line, kolm_error_t *err) {
    char number[24];
    lease_list list;
    kit_format(number, sizeof number, "%llu", (unsigned long long)line);
    if (line > 0) return write_event(journal, "forget", "", number, UINT64_MAX, err);
    KIT_TRY(check_writable(journal, err));
    KIT_TRY(lease_journal_read(journal, &list, err));
    bool open = false;
    for (size_t i = 0; i < list.count; i++)
        open = open || list.at[i].state == LEASE_OPEN;
    lease_list_free(&list);
    if (open)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "end those first: `kolm compute reap --yes`",
                        "%s has leases that are open", journal->path);
    return ftruncate(journal->fd, 0) == 0 ? KOLM_OK : kit_fail_errno(err, errno, "cannot empty %s", journal->path);
}

kit_status lease_journal_end(lease_journal *journal, lease_list *out_list, kolm_error_t *err) {
    lease_list list = {0};
    if (out_list) *out_list = (lease_list){0};
    if (!journal) return KOLM_OK;
    kit_status status = lease_journal_read(journal, &list, err);
    if (status == KOLM_OK && !journal->read_only && lease_list_open(&list) == 0) {
        status = lease_past_add(journal->home, &list, err);
        if (status == KOLM_OK && unlink(journal->path) != 0 && errno != ENOENT)
            status = kit_fail_errno(err, errno, "cannot remove %s", journal->path);
        (void)rmdir(journal->directory); /* fails if there are other journals */
    }
    journal_free(journal);
    if (out_list)
        *out_list = list;
    else
        lease_list_free(&list);
    return status;
}

kit_status lease_settle(const store_home *home, kolm_error_t *err) {
    char *directory = NULL, id[LEASE_ID_BYTES];
    const char *name = NULL;
    KIT_TRY(store_home_place(home, STORE_LEASES, &directory, err));
    DIR *listing = opendir(directory);
    kit_status status = KOLM_OK;
    while (listing && status == KOLM_OK) {
        lease_journal *journal = NULL;
        status = kit_directory_next(listing, directory, &name, err);
        if (status != KOLM_OK || !name) break;
        if (id_of(name, id) && lease_journal_adopt(home, id, &journal, NULL) == KOLM_OK)
            status = lease_journal_end(journal, NULL, err);
    }
    if (listing) closedir(listing);
    free(directory);
    return status;
}
