/* SPDX-License-Identifier: Apache-2.0 */
/* Lists the files of an environment, and compares it with its list. */
#include "runtime/files.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/text.h"
#include "kolm/kit/trust.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "kolm runtime files 1 "
#define DEPTH_MOST 64
#define LIST_MAX ((size_t)256 << 20)
#define ENTRIES_MOST 2000000u

typedef struct entry {
    char kind;
    uint64_t size, modified, changed, inode;
    char what[KIT_SHA256_HEX]; /* "": not hashed */
    char *path;
} entry;

typedef struct list {
    const volatile sig_atomic_t *stop;
    const char *top;
    entry *at;
    size_t count;
} list;

static void list_free(list *l) {
    for (size_t i = 0; i < l->count; i++)
        free(l->at[i].path);
    free(l->at);
    *l = (list){0};
}

/* Takes ownership of path. */
static kit_status add(list *l, char *path, const struct stat *st, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    if (path == NULL) return kit_no_memory(err);
    if (strchr(path, '\n') != NULL || l->count >= ENTRIES_MOST)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                          "remove the runtime with `kolm compute setup NAME --remove`, and create it again",
                          "%s contains unexpected names", l->top);
    if (status == KOLM_OK && (l->count & (l->count - 1)) == 0) { /* 0 and every power of two: the room is doubled */
        entry *grown = realloc(l->at, (l->count > 0 ? 2 * l->count : 64) * sizeof *grown);
        if (grown == NULL)
            status = kit_no_memory(err);
        else
            l->at = grown;
    }
    if (status != KOLM_OK) {
        free(path);
        return status;
    }
    l->at[l->count++] = (entry){.kind = S_ISDIR(st->st_mode)   ? 'd'
                                        : S_ISLNK(st->st_mode) ? 'l'
                                        : S_ISREG(st->st_mode) ? 'f'
                                                               : 'o',
                                .size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
                                .modified = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
                                .changed = (uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec,
                                .inode = (uint64_t)st->st_ino,
                                .path = path};
    return KOLM_OK;
}

static kit_status walk(list *l, const char *below, int depth, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s%s%s", l->top, *below ? "/" : "", below);
    KIT_TRY(kit_buf_ok(&path, err));
    DIR *dir = opendir(path.data);
    const char *name = NULL;
    kit_status status = dir ? KOLM_OK : kit_fail_errno(err, errno, "cannot list %s", path.data);
    while (status == KOLM_OK && (status = kit_directory_next(dir, path.data, &name, err)) == KOLM_OK && name != NULL) {
        struct stat st;
        kit_buf inner = {0};
        kit_buf_fmt(&inner, "%s%s%s", below, *below ? "/" : "", name);
        char *taken = kit_buf_take(&inner);
        if (*l->stop != 0) status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
        if (status == KOLM_OK && fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            status = kit_fail_errno(err, errno, "cannot access %s/%s", path.data, name);
        bool directory = status == KOLM_OK && S_ISDIR(st.st_mode);
        if (status != KOLM_OK) {
            free(taken);
            break;
        }
        if (*below == '\0' && strcmp(name, "runtime.json") == 0 && S_ISREG(st.st_mode)) { /* used only by kolm */
            free(taken);
            continue;
        }
        status = add(l, taken, &st, err);
        if (status == KOLM_OK && directory && depth == 0)
            status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "%s is nested too deeply", path.data);
        if (status == KOLM_OK && directory) status = walk(l, l->at[l->count - 1].path, depth - 1, err);
    }
    if (dir) closedir(dir);
    kit_buf_free(&path);
    return status;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

/* Adds the target of bin/python, unless it is in the environment or owned by root. */
static kit_status add_interpreter(list *l, kolm_error_t *err) {
    char python[PATH_MAX], real[PATH_MAX];
    struct stat st;
    if (!kit_format(python, sizeof python, "%s/bin/python", l->top) || !realpath(python, real) || stat(real, &st) != 0)
        return errno == ENOENT ? KOLM_OK : kit_fail_errno(err, errno, "cannot access %s/bin/python", l->top);
    size_t n = strlen(l->top);
    if ((strncmp(real, l->top, n) == 0 && real[n] == '/') || kit_trust_owner_number(&st) == 0) return KOLM_OK;
    char *copy = strdup(real);
    return copy ? add(l, copy, &st, err) : kit_no_memory(err);
}

static kit_status look(const kolm_session *session, const char *top, list *out, kolm_error_t *err) {
    *out = (list){.stop = session->stop, .top = top};
    kit_status status = walk(out, "", DEPTH_MOST, err);
    if (status == KOLM_OK) status = add_interpreter(out, err);
    if (status == KOLM_OK && out->count > 0) qsort(out->at, out->count, sizeof *out->at, by_path);
    if (status != KOLM_OK) list_free(out);
    return status;
}

/* Sets e->what. */
static kit_status read_entry(const list *l, entry *e, kolm_error_t *err) {
    char path[PATH_MAX], target[PATH_MAX];
    bool good = e->path[0] == '/' ? kit_copy(path, sizeof path, e->path)
                                  : kit_format(path, sizeof path, "%s/%s", l->top, e->path);
    if (!good) return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "%s: the path is too long", e->path);
    if (*l->stop != 0) return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
    if (e->kind == 'f') return kit_sha256_file(path, e->what, NULL, err);
    if (e->kind != 'l') {
        kit_copy(e->what, sizeof e->what, "-");
        return KOLM_OK;
    }
    ssize_t n = readlink(path, target, sizeof target);
    if (n < 0) return kit_fail_errno(err, errno, "cannot read %s", path);
    return kit_sha256_bytes(target, (size_t)n, e->what, err);
}

static void put_state(const entry *e, kit_buf *out) {
    kit_buf_fmt(out, "%c %llu %llu %llu %llu ", e->kind, (unsigned long long)e->size, (unsigned long long)e->modified,
                (unsigned long long)e->changed, (unsigned long long)e->inode);
}

/* Digests everything except the contents. */
static kit_status state_of(const list *l, char out[KIT_SHA256_HEX], kolm_error_t *err) {
    kit_buf text = {0};
    for (size_t i = 0; i < l->count; i++) {
        put_state(&l->at[i], &text);
        kit_buf_fmt(&text, "%s\n", l->at[i].path);
    }
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(kit_buf_text(&text), text.length, out, err);
    kit_buf_free(&text);
    return status;
}

static kit_status list_path(const char *root, const char *name, char **out, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/.%s.files", root, name);
    KIT_TRY(kit_buf_ok(&path, err));
    *out = kit_buf_take(&path);
    return KOLM_OK;
}

static kit_status write_list(const char *path, const list *l, kolm_error_t *err) {
    kit_buf text = {0};
    char state[KIT_SHA256_HEX];
    KIT_TRY(state_of(l, state, err));
    kit_buf_fmt(&text, HEAD "%s\n", state);
    for (size_t i = 0; i < l->count; i++) {
        put_state(&l->at[i], &text);
        kit_buf_fmt(&text, "%s %s\n", l->at[i].what, l->at[i].path);
    }
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, kit_buf_text(&text), text.length, err);
    kit_buf_free(&text);
    return status;
}

kit_status runtime_files_keep(const kolm_session *session, const char *root, const char *name, kolm_error_t *err) {
    char *place = NULL, *path = NULL;
    list l = {0};
    kit_status status = kit_path_join(root, name, &place, err);
    if (status == KOLM_OK) status = list_path(root, name, &path, err);
    if (status == KOLM_OK) status = look(session, place, &l, err);
    for (size_t i = 0; status == KOLM_OK && i < l.count; i++)
        status = read_entry(&l, &l.at[i], err);
    if (status == KOLM_OK) status = write_list(path, &l, err);
    list_free(&l);
    free(place);
    free(path);
    return status;
}

/* ---- Comparing */
static bool take_number(char **at, uint64_t *out) {
    char *end = strchr(*at, ' ');
    if (end == NULL) return false;
    *end = '\0';
    bool good = kit_parse_u64(*at, out);
    *at = end + 1;
    return good;
}

/* Parses a line of the list in place; out->path points into it. */
static bool read_line(char *line, entry *out) {
    if (line[0] == '\0' || line[1] != ' ') return false;
    *out = (entry){.kind = line[0]};
    char *at = line + 2;
    if (!take_number(&at, &out->size) || !take_number(&at, &out->modified) || !take_number(&at, &out->changed) ||
        !take_number(&at, &out->inode))
        return false;
    char *end = strchr(at, ' ');
    if (end == NULL || (size_t)(end - at) >= sizeof out->what) return false;
    *end = '\0';
    kit_copy(out->what, sizeof out->what, at);
    out->path = end + 1;
    return true;
}

static kit_status differs(const list *l, const char *path, const char *how, kolm_error_t *err) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, path, strlen(path));
    const char *slash = strrchr(l->top, '/');
    char remedy[300];
    kit_format(remedy, sizeof remedy,
               "if you did that, or to be sure: `kolm compute setup %s` creates the runtime again",
               slash ? slash + 1 : l->top);
    kit_status status =
        kit_fail(err, KOLM_E_DATA_LOSS, remedy, "the Python runtime %s has changed since it was set up: %s %s", l->top,
                 kit_buf_text(&shown), how);
    kit_buf_free(&shown);
    return status;
}

static kit_status compare_one(const list *l, const entry *was, entry *now, kolm_error_t *err) {
    if (now->kind != was->kind || now->size != was->size) return differs(l, now->path, "is another file", err);
    bool untouched = now->modified == was->modified && now->changed == was->changed && now->inode == was->inode;
    if (untouched) {
        kit_copy(now->what, sizeof now->what, was->what);
        return KOLM_OK;
    }
    KIT_TRY(read_entry(l, now, err));
    return strcmp(now->what, was->what) == 0 ? KOLM_OK : differs(l, now->path, "has other contents", err);
}

/* text: the lines below the first. Both are sorted. */
static kit_status compare(list *l, char *text, kolm_error_t *err) {
    size_t i = 0;
    for (char *line = text, *next; *line; line = next) {
        entry was;
        char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        if (end) *end = '\0';
        if (!read_line(line, &was)) return differs(l, "its list of files", "cannot be read", err);
        int order = i < l->count ? strcmp(l->at[i].path, was.path) : 1;
        if (order < 0) return differs(l, l->at[i].path, "was added", err);
        if (order > 0) return differs(l, was.path, "is gone", err);
        KIT_TRY(compare_one(l, &was, &l->at[i], err));
        i++;
    }
    return i == l->count ? KOLM_OK : differs(l, l->at[i].path, "was added", err);
}

static kit_status compare_with(const char *path, list *l, kolm_error_t *err) {
    kit_buf text = {0};
    char state[KIT_SHA256_HEX];
    kit_status status = state_of(l, state, err);
    if (status == KOLM_OK) status = kit_read_file(path, LIST_MAX, &text, err);
    const size_t head = strlen(HEAD) + KIT_SHA256_HEX;
    if (status == KOLM_OK && (text.length < head || strncmp(text.data, HEAD, strlen(HEAD)) != 0))
        status = differs(l, path, "cannot be read", err);
    if (status == KOLM_OK && strncmp(text.data + strlen(HEAD), state, KIT_SHA256_HEX - 1) != 0) {
        status = compare(l, text.data + head, err);
        kit_status kept = status == KOLM_OK ? write_list(path, l, NULL) : status;
        (void)kept; /* best effort: otherwise contents are compared again next time */
    }
    kit_buf_free(&text);
    return status;
}

kit_status runtime_files_same(const kolm_session *session, const char *root, const char *name, kolm_error_t *err) {
    char *place = NULL, *path = NULL;
    struct stat st;
    list l = {0};
    kit_status status = kit_path_join(root, name, &place, err);
    if (status == KOLM_OK) status = list_path(root, name, &path, err);
    if (status == KOLM_OK && lstat(path, &st) != 0) {
        status = errno != ENOENT                                ? kit_fail_errno(err, errno, "cannot access %s", path)
                 : stat(place, &st) == 0 && S_ISDIR(st.st_mode) ? runtime_files_keep(session, root, name, err)
                                                                : KOLM_OK;
        if (status == KOLM_E_PERMISSION_DENIED) status = KOLM_OK; /* a read-only home: continue without a list */
    } else if (status == KOLM_OK) {
        status = look(session, place, &l, err);
        if (status == KOLM_OK) status = compare_with(path, &l, err);
    }
    list_free(&l);
    free(place);
    free(path);
    return status;
}

kit_status runtime_files_forget(const char *root, const char *name, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(list_path(root, name, &path, err));
    kit_status status = unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR
                            ? KOLM_OK
                            : kit_fail_errno(err, errno, "cannot remove %s", path);
    free(path);
    return status;
}

kit_status runtime_check(kolm_session *session, const char *name, const char *recipe, session_reason *out_reason,
                         kolm_error_t *err) {
    store_home *home = NULL;
    const cJSON *config = NULL;
    const char *python = NULL;
    char *root = NULL;
    if (recipe != NULL && strcmp(recipe, "linear") == 0) return KOLM_OK;
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(session_config(session, &config, err));
    const cJSON *runtimes = kit_json_get(config, "runtimes");
    if (runtimes == NULL || !kit_json_get_string(runtimes, name, &python)) return KOLM_OK;
    KIT_TRY(store_home_place(home, STORE_RUNTIMES, &root, err));
    kit_buf own = {0};
    kit_buf_fmt(&own, "%s/%s/", root, name);
    kit_status status = kit_buf_ok(&own, err);
    if (status == KOLM_OK && strncmp(python, own.data, own.length) == 0)
        status = runtime_files_same(session, root, name, err);
    if (status != KOLM_OK) *out_reason = status == KOLM_E_DATA_LOSS ? SESSION_REASON_VERIFY : session_reason_of(status);
    kit_buf_free(&own);
    free(root);
    return status;
}
