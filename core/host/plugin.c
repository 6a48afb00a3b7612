/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a plugin: read once, hashed at the same time, and kept in sealed memory. */
#include "host/run.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/text.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALED_MOST (64u << 20)      /* bytes; a larger plugin stays in its file */
#define PLUGIN_MOST ((off_t)4 << 30) /* bytes; larger files would take too long to read */
#define PIECE 131072u
#define OVERLAP 16u /* so that a word across two pieces is found */
#define TRIES 3

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif

struct host_plugin {
    pthread_mutex_t lock;
    unsigned users;
    bool kept;     /* until the registry is freed, even if unused */
    int file;      /* the file that was read; -1 if no longer needed */
    int sealed;    /* a sealed copy of it in memory; -1: none */
    bool searches; /* it uses $ORIGIN: its own libraries are next to it */
    host_file_identity identity;
    pthread_t reader;
    bool read_ahead;             /* reader is to be joined */
    char sha256[KIT_SHA256_HEX]; /* kept after the descriptors are closed: later reads must match */
};

kit_status host_plugin_new(host_plugin **out, kolm_error_t *err) {
    host_plugin *plugin = calloc(1, sizeof *plugin);
    if (!plugin) return kit_no_memory(err);
    pthread_mutex_init(&plugin->lock, NULL);
    plugin->file = plugin->sealed = -1;
    *out = plugin;
    return KOLM_OK;
}

static void close_both(host_plugin *plugin) {
    if (plugin->file >= 0) close(plugin->file);
    if (plugin->sealed >= 0) close(plugin->sealed);
    plugin->file = plugin->sealed = -1;
}

static void join_reader(host_plugin *plugin) {
    pthread_mutex_lock(&plugin->lock);
    const bool runs = plugin->read_ahead;
    plugin->read_ahead = false;
    pthread_mutex_unlock(&plugin->lock);
    if (runs) pthread_join(plugin->reader, NULL);
}

void host_plugin_free(host_plugin *plugin) {
    if (!plugin) return;
    join_reader(plugin);
    close_both(plugin);
    pthread_mutex_destroy(&plugin->lock);
    free(plugin);
}

/* ---- Reading */

/* Sealable, executable memory; -1 if unavailable, or if the loader has no path to it. */
static int open_memory(const char *name) {
#if defined(__linux__)
    /* The file itself need not be executable, which a system may forbid: only its mapping is. Older kernels lack this
     * flag. */
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
#else
    (void)name;
    return -1;
#endif
}

/* Returns fd, or closes it and returns -1 if it cannot be sealed. */
static int seal(int fd) {
#if defined(__linux__)
    bool good = fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0;
    void *page = good ? mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    good = page != MAP_FAILED && access("/proc/self/fd", X_OK) == 0;
    if (page != MAP_FAILED) munmap(page, 1);
    if (good) return fd;
#endif
    if (fd >= 0) close(fd);
    return -1;
}

static bool names_origin(const char *bytes, size_t length) {
    const char *end = bytes + length;
    for (const char *at = bytes; (at = memchr(at, '$', (size_t)(end - at))) != NULL; at++) {
        size_t left = (size_t)(end - at);
        if ((left >= 7 && memcmp(at, "$ORIGIN", 7) == 0) || (left >= 9 && memcmp(at, "${ORIGIN}", 9) == 0)) return true;
    }
    return false;
}

/* The copy failed: use the file. */
static void give_up(int *memory) {
    if (*memory >= 0) close(*memory);
    *memory = -1;
}

/* Reads the whole file: its digest, a copy of the same bytes to *memory (-1 on input: no copy; -1 on output: failed),
 * and whether it searches for libraries next to itself. */
static kit_status read_all(int file, const char *path, int *memory, char sha256[KIT_SHA256_HEX], bool *out_searches,
                           kolm_error_t *err) {
    kit_sha256 *state = NULL;
    uint8_t digest[KIT_SHA256_BYTES];
    char *room = malloc(OVERLAP + PIECE), *piece = room ? room + OVERLAP : NULL;
    kit_status status = room ? kit_sha256_new(&state, err) : kit_no_memory(err);
    struct stat info;
    if (status == KOLM_OK && fstat(file, &info) != 0) status = kit_fail_errno(err, errno, "cannot access %s", path);
    if (status == KOLM_OK && info.st_size > PLUGIN_MOST)
        status = kit_fail(err, KOLM_E_OUT_OF_RANGE, "install it again", "%s is larger than 4 GiB: no plugin is", path);
    size_t kept = 0; /* bytes of the previous piece, in front of this one */
    for (off_t at = 0; status == KOLM_OK;) {
        ssize_t n = pread(file, piece, PIECE, at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        at += n;
        status = kit_sha256_update(state, piece, (size_t)n, err);
        if (*memory >= 0 && kit_write_all(*memory, piece, (size_t)n, NULL) != KOLM_OK) give_up(memory);
        *out_searches = *out_searches || names_origin(piece - kept, kept + (size_t)n);
        size_t all = kept + (size_t)n;
        kept = all < OVERLAP ? all : OVERLAP;
        memmove(piece - kept, piece + n - kept, kept);
    }
    if (status == KOLM_OK) status = kit_sha256_final(state, digest, err);
    if (status == KOLM_OK) kit_hex(digest, sizeof digest, sha256);
    kit_sha256_free(state);
    free(room);
    return status;
}

/* True if the content must be the same: link count and permissions may differ. */
static bool same_content(const host_file_identity *a, const host_file_identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns;
}

static bool same_state(const host_file_identity *a, const host_file_identity *b) {
    return same_content(a, b) && a->changed_ns == b->changed_ns;
}

static kit_status replaced(const host_backend *row, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_ABORTED, "run the command again", "%s was replaced while kolm examined it",
                    row->plugin_path);
}

/* Opens the file behind the row and reads it; hold: leaves its descriptors open. */
static kit_status read_once(const host_backend *row, host_plugin *plugin, bool hold, bool *out_settled,
                            kolm_error_t *err) {
    char sha256[KIT_SHA256_HEX];
    struct stat st;
    host_file_identity now;
    int file = -1, memory = -1;
    plugin->searches = false;
    KIT_TRY(host_trust_file(row->plugin_path, NULL, &file, &plugin->identity, err));
    if (hold && plugin->identity.size <= SEALED_MOST) memory = open_memory(row->name);
    kit_status status = read_all(file, row->plugin_path, &memory, sha256, &plugin->searches, err);
    if (status == KOLM_OK && fstat(file, &st) != 0)
        status = kit_fail_errno(err, errno, "cannot access %s", row->plugin_path);
    if (status == KOLM_OK) host_identity_of(&st, &now);
    *out_settled = status == KOLM_OK && same_state(&now, &plugin->identity);
    if (status == KOLM_OK && *out_settled) {
        bool known = plugin->sha256[0] != '\0';
        if (known ? strcmp(plugin->sha256, sha256) != 0
                  : now.device != row->plugin.device || now.inode != row->plugin.inode)
            status = replaced(row, err);
    }
    if (status == KOLM_OK && *out_settled) {
        kit_copy(plugin->sha256, sizeof plugin->sha256, sha256);
        if (hold) plugin->sealed = seal(memory);
        memory = -1;
        if (hold && (plugin->sealed < 0 || plugin->searches)) {
            plugin->file = file;
            file = -1;
        }
    }
    give_up(&memory);
    if (file >= 0) close(file);
    return status;
}

/* Under the lock. */
static kit_status read_plugin(const host_backend *row, bool hold, kolm_error_t *err) {
    bool settled = false;
    for (int i = 0; i < TRIES && !settled; i++)
        KIT_TRY(read_once(row, row->bytes, hold, &settled, err));
    if (settled) return KOLM_OK;
    return kit_fail(err, KOLM_E_ABORTED, "run the command again when it is written",
                    "%s is changing while kolm reads it", row->plugin_path);
}

static void *read_for_call(void *user) {
    const host_backend *row = user;
    host_plugin *plugin = row->bytes;
    kolm_error_t ignored = KIT_ERROR_INIT;
    pthread_mutex_lock(&plugin->lock);
    const bool read = plugin->file >= 0 || plugin->sealed >= 0 || read_plugin(row, true, &ignored) == KOLM_OK;
    if (read) plugin->kept = true;
    pthread_mutex_unlock(&plugin->lock);
    return NULL;
}

void host_plugin_read_ahead(const host_backend *row) {
    host_plugin *plugin = row->bytes;
    pthread_mutex_lock(&plugin->lock);
    if (!plugin->read_ahead)
        plugin->read_ahead = kit_thread_start(&plugin->reader, 0, read_for_call, (void *)(uintptr_t)row) == 0;
    pthread_mutex_unlock(&plugin->lock);
}

kit_status host_plugin_digest(const host_backend *row, char out_sha256[KIT_SHA256_HEX], kolm_error_t *err) {
    host_plugin *plugin = row->bytes;
    pthread_mutex_lock(&plugin->lock);
    kit_status status = plugin->sha256[0] != '\0' ? KOLM_OK : read_plugin(row, false, err);
    if (status == KOLM_OK) kit_copy(out_sha256, KIT_SHA256_HEX, plugin->sha256);
    pthread_mutex_unlock(&plugin->lock);
    return status;
}

/* ---- Holding */

/* Checks the file that is now at the row's path; false if that is not possible, so that its fate is unknown. */
static bool check_file(const host_backend *row, host_file_identity *out_now, host_plugin_fate *out_fate) {
    struct stat st;
    *out_fate = HOST_PLUGIN_THERE;
    if (stat(row->plugin_path, &st) != 0) {
        bool gone = errno == ENOENT || errno == ENOTDIR;
        if (gone) *out_fate = HOST_PLUGIN_REMOVED;
        return gone;
    }
    host_identity_of(&st, out_now);
    if (!same_content(out_now, &row->bytes->identity)) *out_fate = HOST_PLUGIN_REPLACED;
    return true;
}

/* Checks that the file that was or will be loaded still has the bytes that were read. */
static kit_status file_is_whole(const host_backend *row, kolm_error_t *err) {
    const host_plugin *plugin = row->bytes;
    struct stat st;
    host_file_identity now;
    char sha256[KIT_SHA256_HEX];
    bool ignored = false;
    int none = -1;
    if (plugin->file < 0) return KOLM_OK; /* the sealed copy is loaded, or a debugger is used */
    if (fstat(plugin->file, &st) != 0) return kit_fail_errno(err, errno, "cannot access %s", row->plugin_path);
    host_identity_of(&st, &now);
    /* A mapped page that was dirty before it was read can be written again without updating any time. */
    if (kit_file_is_written(plugin->file))
        return kit_fail(err, KOLM_E_ABORTED,
                        "end the program that has it open, or put a new file in its place (install, mv)",
                        "%s is open for writing, and must be loaded in place", row->plugin_path);
    if (same_state(&now, &plugin->identity)) return KOLM_OK;
    KIT_TRY(read_all(plugin->file, row->plugin_path, &none, sha256, &ignored, err));
    if (strcmp(sha256, plugin->sha256) == 0) return KOLM_OK; /* its links or permissions changed */
    return kit_fail(err, KOLM_E_ABORTED, "put a new file in its place instead (install, mv), and run the command again",
                    "%s was written over while it was in use", row->plugin_path);
}

/* By path if necessary: libraries next to the plugin, a debugger, a system without sealed memory. If the file is gone,
 * from the open descriptor. */
static kit_status choose(const host_backend *row, bool by_path, host_plugin_hold *out, kolm_error_t *err) {
    const host_plugin *plugin = row->bytes;
    host_file_identity now = {0}; /* stays zero if the file is gone */
    *out = (host_plugin_hold){.row = row, .fd = plugin->sealed, .beside = plugin->searches, .named = by_path};
    kit_copy(out->sha256, sizeof out->sha256, plugin->sha256);
    if (plugin->sealed >= 0 && !plugin->searches && !by_path) return KOLM_OK;
    host_plugin_fate fate;
    bool there = check_file(row, &now, &fate) && fate == HOST_PLUGIN_THERE &&
                 (plugin->file >= 0 || same_state(&now, &plugin->identity));
    if (!there && plugin->sealed >= 0) return KOLM_OK;
    out->fd = there ? -1 : plugin->file;
    out->identity = now;
    out->from_file = true;
    return file_is_whole(row, err);
}

static void close_unused(host_plugin *plugin) {
    if (plugin->users == 0 && !plugin->kept) close_both(plugin);
}

kit_status host_plugin_take(const host_backend *row, bool keep, bool by_path, host_plugin_hold *out,
                            kolm_error_t *err) {
    host_plugin *plugin = row->bytes;
    join_reader(plugin);
    pthread_mutex_lock(&plugin->lock);
    kit_status status = plugin->file < 0 && plugin->sealed < 0 ? read_plugin(row, true, err) : KOLM_OK;
    if (status == KOLM_OK) status = choose(row, by_path, out, err);
    if (status == KOLM_OK) plugin->users++;
    if (status == KOLM_OK && keep) plugin->kept = true;
    close_unused(plugin);
    pthread_mutex_unlock(&plugin->lock);
    return status;
}

kit_status host_plugin_leave(host_plugin_hold *hold, host_plugin_fate *out_fate, kolm_error_t *err) {
    const host_backend *row = hold->row;
    host_file_identity now = {0};
    if (!row) return KOLM_OK;
    hold->row = NULL;
    pthread_mutex_lock(&row->bytes->lock);
    kit_status status = hold->from_file ? file_is_whole(row, err) : KOLM_OK;
    (void)check_file(row, &now, out_fate);
    row->bytes->users--;
    close_unused(row->bytes);
    pthread_mutex_unlock(&row->bytes->lock);
    return status;
}
