/* SPDX-License-Identifier: Apache-2.0 */
/* SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions, many requests in flight. */
#include "ssh_parts.h"

#include "kolm/kit/file.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    INIT = 1,
    VERSION,
    OPEN,
    CLOSE,
    READ,
    WRITE,
    LSTAT,
    FSTAT,
    SETSTAT,
    OPENDIR = 11,
    READDIR,
    REMOVE,
    MKDIR,
    RMDIR,
    REALPATH,
    STAT,
    RENAME,
    STATUS = 101,
    HANDLE,
    DATA,
    NAME,
    ATTRS,
    EXTENDED = 200,
    EXTENDED_REPLY
};
enum { FX_OK, FX_EOF, FX_NO_SUCH_FILE, FX_PERMISSION_DENIED, FX_FAILURE, FX_BAD_MESSAGE, FX_OP_UNSUPPORTED = 8 };
enum { OPEN_READ = 1, OPEN_WRITE = 2, OPEN_CREATE = 8, OPEN_EMPTY = 16 };
enum { HAS_SIZE = 1, HAS_OWNER = 2, HAS_MODE = 4, HAS_TIMES = 8, HAS_EXTENDED = (int)0x80000000u };

#define MOST_MESSAGE (320u << 10) /* OpenSSH's own limit is 256 KiB */
#define IN_BYTES (1u << 20)
#define PIECE_SAFE 32768u       /* what every server must take */
#define PIECE_MOST (128u << 10) /* with limits@openssh.com; larger ones were not faster */
#define MOST_IN_FLIGHT 256
#define MOST_IN_FLIGHT_BYTES (16u << 20) /* a gigabit at 100 ms */
#define MOST_NOISE (64u << 10)
#define WINDOW (16u << 20)

typedef struct handle {
    uint8_t bytes[256];
    size_t length;
} handle;

struct kit_ssh_sftp {
    kit_ssh_channel *channel;
    kit_ssh *ssh;
    uint8_t *in; /* IN_BYTES */
    size_t in_head, in_length;
    uint8_t *out; /* one request, with room for PIECE_MOST */
    size_t out_head, out_length;
    uint32_t next_id;
    uint32_t read_piece, write_piece;
    bool posix_rename, statvfs, limits;
    bool lost; /* requests and answers no longer match */
};

typedef struct message {
    uint8_t type;
    uint32_t id;
    ssh_cursor body;
} message;

/* ---- Messages in */

static kit_status damaged(kit_ssh_sftp *s, const char *what, kolm_error_t *err) {
    s->lost = true;
    return kit_fail(err, KOLM_E_DATA_LOSS, "check the sftp subsystem in its sshd_config", "the SFTP server of %s %s",
                    s->ssh->label, what);
}

/* Takes bytes that are there; *out_moved when some were. */
static kit_status fill(kit_ssh_sftp *s, bool *out_moved, kolm_error_t *err) {
    if (s->in_head > 0 && (s->in_head == s->in_length || s->in_length > IN_BYTES / 2)) {
        memmove(s->in, s->in + s->in_head, s->in_length - s->in_head);
        s->in_length -= s->in_head;
        s->in_head = 0;
    }
    if (s->in_length == IN_BYTES) return KOLM_OK;
    size_t n = 0;
    bool ended = false;
    kit_status status =
        ssh_channel_try_read(s->channel, 0, s->in + s->in_length, IN_BYTES - s->in_length, &n, &ended, err);
    if (status != KOLM_OK) {
        s->lost = true;
        return status;
    }
    if (n == 0 && ended) {
        s->lost = true;
        kit_buf why = {0};
        const char *tail = ssh_channel_stderr_tail(s->channel);
        size_t length = strcspn(tail, "\r\n");
        kit_buf_escaped(&why, tail, length < 200 ? length : 200);
        status = kit_fail(
            err, KOLM_E_UNAVAILABLE, "look into the far machine's log, and check the sftp subsystem in its sshd_config",
            "the SFTP server of %s ended%s%s", s->ssh->label, why.length > 0 ? ": " : "", kit_buf_text(&why));
        kit_buf_free(&why);
        return status;
    }
    s->in_length += n;
    if (n > 0) *out_moved = true;
    return KOLM_OK;
}

/* The next whole message, if it is there. Its body is valid until the next fill. */
static kit_status next_message(kit_ssh_sftp *s, message *out, bool *out_found, kolm_error_t *err) {
    ssh_cursor cursor = {.at = s->in + s->in_head, .left = s->in_length - s->in_head};
    *out_found = false;
    if (cursor.left < 4) return KOLM_OK;
    uint32_t length = ssh_get_u32(&cursor);
    if (length < 5 || length > MOST_MESSAGE) return damaged(s, "sent a message of an impossible length", err);
    if (cursor.left < length) return KOLM_OK;
    cursor.left = length;
    out->type = ssh_get_u8(&cursor);
    out->id = ssh_get_u32(&cursor);
    out->body = cursor;
    s->in_head += 4 + length;
    *out_found = true;
    return KOLM_OK;
}

/* ---- Messages out */

static void put_bytes(kit_ssh_sftp *s, const void *bytes, size_t length) {
    if (length > 0) memcpy(s->out + s->out_length, bytes, length);
    s->out_length += length;
}

static void put_u32(kit_ssh_sftp *s, uint32_t value) {
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    put_bytes(s, bytes, sizeof bytes);
}

static void put_u64(kit_ssh_sftp *s, uint64_t value) {
    put_u32(s, (uint32_t)(value >> 32));
    put_u32(s, (uint32_t)value);
}

static void put_string(kit_ssh_sftp *s, const void *bytes, size_t length) {
    put_u32(s, (uint32_t)length);
    put_bytes(s, bytes, length);
}

/* Opens a request; the room is for at most 16 KiB of names, which check_path sees to, or one piece. */
static uint32_t begin(kit_ssh_sftp *s, uint8_t type) {
    s->out_head = s->out_length = 0;
    put_u32(s, 0);
    put_bytes(s, &type, 1);
    put_u32(s, s->next_id);
    return s->next_id++;
}

static void finish(kit_ssh_sftp *s) {
    size_t length = s->out_length;
    s->out_length = 0;
    put_u32(s, (uint32_t)(length - 4));
    s->out_length = length;
}

/* Sends what can be sent now of the request. */
static kit_status drain(kit_ssh_sftp *s, bool *out_moved, kolm_error_t *err) {
    while (s->out_head < s->out_length) {
        size_t n = 0;
        kit_status status =
            ssh_channel_try_write(s->channel, s->out + s->out_head, s->out_length - s->out_head, &n, err);
        if (status != KOLM_OK) {
            s->lost = true;
            return status;
        }
        if (n == 0) break;
        s->out_head += n;
        *out_moved = true;
    }
    return KOLM_OK;
}

static kit_status wait_more(kit_ssh_sftp *s, int64_t since, kolm_error_t *err) {
    kit_status status = ssh_wait(s->ssh, INT64_MAX, since, err);
    if (status != KOLM_OK) s->lost = true;
    return status;
}

static kit_status usable(const kit_ssh_sftp *s, kolm_error_t *err) {
    if (!s->lost) return KOLM_OK;
    return kit_fail(err, KOLM_E_UNAVAILABLE, "connect again", "the SFTP connection to %s failed before", s->ssh->label);
}

/* Sends the finished request and waits for its answer, the only one that is due. */
static kit_status call(kit_ssh_sftp *s, uint32_t id, message *out, kolm_error_t *err) {
    int64_t since = kit_now_ms();
    finish(s);
    while (true) {
        bool moved = false, found = false;
        KIT_TRY(drain(s, &moved, err));
        KIT_TRY(fill(s, &moved, err));
        KIT_TRY(next_message(s, out, &found, err));
        if (found && out->id != id) return damaged(s, "answered a request that was not made", err);
        if (found) return KOLM_OK;
        if (!moved) KIT_TRY(wait_more(s, since, err));
    }
}

/* ---- Answers */

static kit_status from_status(kit_ssh_sftp *s, uint32_t code, ssh_cursor *body, const char *doing, const char *path,
                              kolm_error_t *err) {
    size_t length = 0;
    const uint8_t *text = ssh_get_string(body, &length);
    kit_buf words = {0};
    if (text != NULL) kit_buf_escaped(&words, (const char *)text, length < 160 ? length : 160);
    const char *why = words.length > 0 ? words.data : "no reason given", *host = s->ssh->label;
    kit_status status;
    if (code == FX_NO_SUCH_FILE)
        status = kit_fail(err, KOLM_E_NOT_FOUND, "check the path", "cannot %s %s on %s: there is no such file", doing,
                          path, host);
    else if (code == FX_PERMISSION_DENIED)
        status = kit_fail(err, KOLM_E_PERMISSION_DENIED, "check who owns it, and its mode",
                          "cannot %s %s on %s: permission denied", doing, path, host);
    else if (code == FX_OP_UNSUPPORTED)
        status = kit_fail(err, KOLM_E_UNIMPLEMENTED, "", "cannot %s %s: the SFTP server of %s does not do this", doing,
                          path, host);
    else
        status = kit_fail(err, KOLM_E_UNKNOWN, "check its disk space, quota and file system", "cannot %s %s on %s: %s",
                          doing, path, host, why);
    kit_buf_free(&words);
    return status;
}

/* An answer that must be STATUS; *out_code is its code. */
static kit_status take_status(kit_ssh_sftp *s, message *answer, uint32_t *out_code, kolm_error_t *err) {
    if (answer->type != STATUS) return damaged(s, "gave an answer of another kind than asked for", err);
    *out_code = ssh_get_u32(&answer->body);
    return answer->body.failed ? damaged(s, "sent a message that is cut short", err) : KOLM_OK;
}

static kit_status expect_ok(kit_ssh_sftp *s, message *answer, const char *doing, const char *path, kolm_error_t *err) {
    uint32_t code = 0;
    KIT_TRY(take_status(s, answer, &code, err));
    return code == FX_OK ? KOLM_OK : from_status(s, code, &answer->body, doing, path, err);
}

/* An answer that must be of type, or STATUS with a failure. */
static kit_status expect(kit_ssh_sftp *s, message *answer, uint8_t type, const char *doing, const char *path,
                         kolm_error_t *err) {
    if (answer->type == type) return KOLM_OK;
    KIT_TRY(expect_ok(s, answer, doing, path, err));
    return damaged(s, "said yes and nothing more", err);
}

static bool read_attributes(ssh_cursor *body, kit_ssh_file *out) {
    uint32_t flags = ssh_get_u32(body), mode = 0;
    size_t n = 0;
    *out = (kit_ssh_file){0};
    if (flags & HAS_SIZE) out->size = ssh_get_u64(body);
    if (flags & HAS_OWNER) (void)ssh_get_u64(body);
    if (flags & HAS_MODE) mode = ssh_get_u32(body);
    if (flags & HAS_TIMES) {
        (void)ssh_get_u32(body);
        out->mtime = ssh_get_u32(body);
    }
    if (flags & (uint32_t)HAS_EXTENDED) {
        uint32_t count = ssh_get_u32(body);
        for (uint32_t i = 0; i < count && !body->failed; i++) {
            (void)ssh_get_string(body, &n);
            (void)ssh_get_string(body, &n);
        }
    }
    out->mode = mode & 07777;
    out->is_directory = S_ISDIR(mode);
    out->is_regular = S_ISREG(mode);
    out->is_link = S_ISLNK(mode);
    return !body->failed;
}

static kit_status check_path(const kit_ssh_sftp *s, const char *path, kolm_error_t *err) {
    KIT_TRY(usable(s, err));
    if (*path == '\0' || strlen(path) > 4096)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give a path of 1 to 4096 bytes", "a path on %s is %s",
                        s->ssh->label, *path == '\0' ? "empty" : "too long");
    return KOLM_OK;
}

/* ---- Opening */

/* Start-up files of the far shell may print before the server starts: what is before the VERSION message is skipped. */
static bool find_version(kit_ssh_sftp *s) {
    for (; s->in_length - s->in_head >= 9; s->in_head++) {
        ssh_cursor cursor = {.at = s->in + s->in_head, .left = 9};
        uint32_t length = ssh_get_u32(&cursor);
        if (length >= 5 && length <= MOST_MESSAGE && ssh_get_u8(&cursor) == VERSION && ssh_get_u32(&cursor) == 3)
            return true;
    }
    return false;
}

static bool is(const uint8_t *bytes, size_t length, const char *text) {
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

static kit_status say_hello(kit_ssh_sftp *s, kolm_error_t *err) {
    static const uint8_t hello[9] = {0, 0, 0, 5, INIT, 0, 0, 0, 3};
    int64_t since = kit_now_ms();
    size_t noise = 0;
    message answer;
    bool found = false;
    put_bytes(s, hello, sizeof hello);
    while (!found) {
        bool moved = false;
        KIT_TRY(drain(s, &moved, err));
        KIT_TRY(fill(s, &moved, err));
        size_t before = s->in_head;
        bool version = find_version(s);
        noise += s->in_head - before;
        if (noise > MOST_NOISE)
            return damaged(s, "prints text instead of speaking SFTP: do start-up files of the far shell print?", err);
        if (version) KIT_TRY(next_message(s, &answer, &found, err));
        if (!found && !moved) KIT_TRY(wait_more(s, since, err));
    }
    /* The version stood where other messages have their number. */
    while (answer.body.left > 0) {
        size_t name_length = 0, value_length = 0;
        const uint8_t *name = ssh_get_string(&answer.body, &name_length),
                      *value = ssh_get_string(&answer.body, &value_length);
        if (answer.body.failed) return damaged(s, "sent a greeting that is cut short", err);
        if (is(name, name_length, "posix-rename@openssh.com")) s->posix_rename = is(value, value_length, "1");
        if (is(name, name_length, "statvfs@openssh.com")) s->statvfs = is(value, value_length, "2");
        if (is(name, name_length, "limits@openssh.com")) s->limits = is(value, value_length, "1");
    }
    return KOLM_OK;
}

static uint32_t piece(uint64_t most) {
    return most >= PIECE_MOST ? PIECE_MOST : most > PIECE_SAFE ? (uint32_t)most : PIECE_SAFE;
}

static kit_status ask_limits(kit_ssh_sftp *s, kolm_error_t *err) {
    message answer;
    uint32_t id = begin(s, EXTENDED);
    put_string(s, "limits@openssh.com", 18);
    KIT_TRY(call(s, id, &answer, err));
    if (answer.type != EXTENDED_REPLY) return KOLM_OK;
    (void)ssh_get_u64(&answer.body); /* the longest message */
    uint64_t most_read = ssh_get_u64(&answer.body), most_write = ssh_get_u64(&answer.body);
    if (answer.body.failed) return damaged(s, "sent limits that are cut short", err);
    s->read_piece = piece(most_read);
    s->write_piece = piece(most_write);
    return KOLM_OK;
}

kit_status kit_ssh_sftp_open(kit_ssh *ssh, kit_ssh_sftp **out_sftp, kolm_error_t *err) {
    *out_sftp = NULL;
    kit_ssh_sftp *s = calloc(1, sizeof *s);
    kit_status status = KOLM_OK;
    if (s != NULL) {
        s->ssh = ssh;
        s->in = malloc(IN_BYTES);
        s->out = malloc(PIECE_MOST + 16384);
        s->read_piece = s->write_piece = PIECE_SAFE;
    }
    if (s == NULL || s->in == NULL || s->out == NULL)
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs", "out of memory");
    if (status == KOLM_OK) status = ssh_channel_start(ssh, "subsystem", "sftp", &s->channel, err);
    if (status == KOLM_OK) status = say_hello(s, err);
    if (status == KOLM_OK && s->limits) status = ask_limits(s, err);
    if (status == KOLM_OK)
        *out_sftp = s;
    else
        kit_ssh_sftp_close(s);
    return status;
}

void kit_ssh_sftp_close(kit_ssh_sftp *s) {
    if (s == NULL) return;
    kit_ssh_channel_close(s->channel);
    free(s->in);
    free(s->out);
    free(s);
}

/* ---- Short requests */

static kit_status simple(kit_ssh_sftp *s, uint32_t id, const char *doing, const char *path, kolm_error_t *err) {
    message answer;
    KIT_TRY(call(s, id, &answer, err));
    return expect_ok(s, &answer, doing, path, err);
}

static kit_status look(kit_ssh_sftp *s, uint8_t type, const char *path, kit_ssh_file *out, kolm_error_t *err) {
    message answer;
    *out = (kit_ssh_file){0};
    KIT_TRY(check_path(s, path, err));
    uint32_t id = begin(s, type);
    put_string(s, path, strlen(path));
    KIT_TRY(call(s, id, &answer, err));
    KIT_TRY(expect(s, &answer, ATTRS, "look at", path, err));
    return read_attributes(&answer.body, out) ? KOLM_OK : damaged(s, "sent a message that is cut short", err);
}

kit_status kit_ssh_stat(kit_ssh_sftp *s, const char *path, kit_ssh_file *out, kolm_error_t *err) {
    return look(s, STAT, path, out, err);
}

kit_status kit_ssh_lstat(kit_ssh_sftp *s, const char *path, kit_ssh_file *out, kolm_error_t *err) {
    return look(s, LSTAT, path, out, err);
}

/* Version 3 has one word for most failures. Where something is in the way, that is the reason. */
static kit_status name_obstacle(kit_ssh_sftp *s, kit_status status, const char *doing, const char *path,
                                kolm_error_t *err) {
    kit_ssh_file there;
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (status != KOLM_E_UNKNOWN || s->lost || look(s, LSTAT, path, &there, &ignored) != KOLM_OK) return status;
    return kit_fail(err, KOLM_E_ALREADY_EXISTS, "remove it or choose another name",
                    "cannot %s %s on %s: it is there already", doing, path, s->ssh->label);
}

kit_status kit_ssh_mkdir(kit_ssh_sftp *s, const char *path, unsigned mode, kolm_error_t *err) {
    KIT_TRY(check_path(s, path, err));
    uint32_t id = begin(s, MKDIR);
    put_string(s, path, strlen(path));
    put_u32(s, HAS_MODE);
    put_u32(s, mode & 07777);
    return name_obstacle(s, simple(s, id, "make the directory", path, err), "make the directory", path, err);
}

kit_status kit_ssh_rename(kit_ssh_sftp *s, const char *from, const char *to, kolm_error_t *err) {
    KIT_TRY(check_path(s, from, err));
    KIT_TRY(check_path(s, to, err));
    uint32_t id = begin(s, s->posix_rename ? EXTENDED : RENAME);
    if (s->posix_rename) put_string(s, "posix-rename@openssh.com", 24);
    put_string(s, from, strlen(from));
    put_string(s, to, strlen(to));
    kit_status status = simple(s, id, "rename", from, err);
    return s->posix_rename ? status : name_obstacle(s, status, "rename to", to, err);
}

static kit_status by_path(kit_ssh_sftp *s, uint8_t type, const char *doing, const char *path, kolm_error_t *err) {
    KIT_TRY(check_path(s, path, err));
    uint32_t id = begin(s, type);
    put_string(s, path, strlen(path));
    return simple(s, id, doing, path, err);
}

kit_status kit_ssh_unlink(kit_ssh_sftp *s, const char *path, kolm_error_t *err) {
    return by_path(s, REMOVE, "remove", path, err);
}

kit_status kit_ssh_rmdir(kit_ssh_sftp *s, const char *path, kolm_error_t *err) {
    return by_path(s, RMDIR, "remove the directory", path, err);
}

kit_status kit_ssh_chmod(kit_ssh_sftp *s, const char *path, unsigned mode, kolm_error_t *err) {
    KIT_TRY(check_path(s, path, err));
    uint32_t id = begin(s, SETSTAT);
    put_string(s, path, strlen(path));
    put_u32(s, HAS_MODE);
    put_u32(s, mode & 07777);
    return simple(s, id, "change the mode of", path, err);
}

kit_status kit_ssh_realpath(kit_ssh_sftp *s, const char *path, char *out, size_t capacity, kolm_error_t *err) {
    message answer;
    size_t length = 0;
    out[0] = '\0';
    KIT_TRY(check_path(s, path, err));
    uint32_t id = begin(s, REALPATH);
    put_string(s, path, strlen(path));
    KIT_TRY(call(s, id, &answer, err));
    KIT_TRY(expect(s, &answer, NAME, "resolve", path, err));
    uint32_t count = ssh_get_u32(&answer.body);
    const uint8_t *name = ssh_get_string(&answer.body, &length);
    if (answer.body.failed || count != 1 || length == 0 || name[0] != '/' || memchr(name, '\0', length) != NULL)
        return damaged(s, "gave no path where one was asked for", err);
    if (length >= capacity)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "", "the path of %s on %s is too long", path, s->ssh->label);
    memcpy(out, name, length);
    out[length] = '\0';
    return KOLM_OK;
}

kit_status kit_ssh_free_bytes(kit_ssh_sftp *s, const char *path, uint64_t *out, kolm_error_t *err) {
    message answer;
    *out = 0;
    KIT_TRY(check_path(s, path, err));
    if (!s->statvfs)
        return kit_fail(err, KOLM_E_UNIMPLEMENTED, "", "the SFTP server of %s does not tell the free space",
                        s->ssh->label);
    uint32_t id = begin(s, EXTENDED);
    put_string(s, "statvfs@openssh.com", 19);
    put_string(s, path, strlen(path));
    KIT_TRY(call(s, id, &answer, err));
    KIT_TRY(expect(s, &answer, EXTENDED_REPLY, "ask for the free space of", path, err));
    (void)ssh_get_u64(&answer.body); /* f_bsize */
    uint64_t unit = ssh_get_u64(&answer.body);
    (void)ssh_get_u64(&answer.body); /* f_blocks */
    (void)ssh_get_u64(&answer.body); /* f_bfree */
    uint64_t available = ssh_get_u64(&answer.body);
    if (answer.body.failed) return damaged(s, "sent a message that is cut short", err);
    *out = unit != 0 && available > UINT64_MAX / unit ? UINT64_MAX : available * unit;
    return KOLM_OK;
}

/* ---- Handles */

static kit_status take_handle(kit_ssh_sftp *s, message *answer, const char *doing, const char *path, handle *out,
                              kolm_error_t *err) {
    KIT_TRY(expect(s, answer, HANDLE, doing, path, err));
    const uint8_t *bytes = ssh_get_string(&answer->body, &out->length);
    if (answer->body.failed || out->length == 0 || out->length > sizeof out->bytes)
        return damaged(s, "gave a handle of an impossible length", err);
    memcpy(out->bytes, bytes, out->length);
    return KOLM_OK;
}

static kit_status open_file(kit_ssh_sftp *s, const char *path, uint32_t flags, unsigned mode, const char *doing,
                            handle *out, kolm_error_t *err) {
    message answer;
    uint32_t id = begin(s, OPEN);
    put_string(s, path, strlen(path));
    put_u32(s, flags);
    put_u32(s, HAS_MODE);
    put_u32(s, mode & 07777);
    KIT_TRY(call(s, id, &answer, err));
    return take_handle(s, &answer, doing, path, out, err);
}

static kit_status close_handle(kit_ssh_sftp *s, const handle *h, const char *doing, const char *path,
                               kolm_error_t *err) {
    uint32_t id = begin(s, CLOSE);
    put_string(s, h->bytes, h->length);
    return simple(s, id, doing, path, err);
}

static kit_status handle_size(kit_ssh_sftp *s, const handle *h, const char *path, kit_ssh_file *out,
                              kolm_error_t *err) {
    message answer;
    uint32_t id = begin(s, FSTAT);
    put_string(s, h->bytes, h->length);
    KIT_TRY(call(s, id, &answer, err));
    KIT_TRY(expect(s, &answer, ATTRS, "look at", path, err));
    return read_attributes(&answer.body, out) ? KOLM_OK : damaged(s, "sent a message that is cut short", err);
}

/* ---- Directories */

static kit_status read_names(kit_ssh_sftp *s, message *answer, const char *path,
                             int (*each)(void *, const char *, const kit_ssh_file *), void *user, bool *out_go_on,
                             kolm_error_t *err) {
    uint32_t count = ssh_get_u32(&answer->body);
    for (uint32_t i = 0; i < count && *out_go_on; i++) {
        size_t length = 0, ignored = 0;
        kit_ssh_file file;
        char name[256];
        const uint8_t *bytes = ssh_get_string(&answer->body, &length);
        (void)ssh_get_string(&answer->body, &ignored);
        if (!read_attributes(&answer->body, &file)) return damaged(s, "sent a message that is cut short", err);
        if (is(bytes, length, ".") || is(bytes, length, "..")) continue;
        bool good = length < sizeof name && memchr(bytes, '\0', length) == NULL && memchr(bytes, '/', length) == NULL;
        if (good) {
            memcpy(name, bytes, length);
            name[length] = '\0';
            good = kit_path_is_safe(name);
        }
        if (!good) {
            kit_buf shown = {0};
            kit_buf_escaped(&shown, (const char *)bytes, length < 100 ? length : 100);
            kit_status status = kit_fail(
                err, KOLM_E_DATA_LOSS, "look at that directory by hand, and at whose machine it is",
                "%s lists a name in %s that no file may have: \"%s\"", s->ssh->label, path, kit_buf_text(&shown));
            kit_buf_free(&shown);
            return status;
        }
        *out_go_on = each(user, name, &file) != 0;
    }
    return KOLM_OK;
}

kit_status kit_ssh_list_directory(kit_ssh_sftp *s, const char *path,
                                  int (*each)(void *, const char *, const kit_ssh_file *), void *user,
                                  kolm_error_t *err) {
    message answer;
    handle h;
    bool go_on = true;
    KIT_TRY(check_path(s, path, err));
    uint32_t id = begin(s, OPENDIR);
    put_string(s, path, strlen(path));
    KIT_TRY(call(s, id, &answer, err));
    KIT_TRY(take_handle(s, &answer, "list", path, &h, err));
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && go_on) {
        id = begin(s, READDIR);
        put_string(s, h.bytes, h.length);
        status = call(s, id, &answer, err);
        if (status != KOLM_OK) break;
        if (answer.type == STATUS) {
            uint32_t code = 0;
            status = take_status(s, &answer, &code, err);
            if (status == KOLM_OK && code == FX_EOF) break;
            if (status == KOLM_OK)
                status = code == FX_OK ? damaged(s, "said yes and nothing more", err)
                                       : from_status(s, code, &answer.body, "list", path, err);
        } else if (answer.type == NAME) {
            status = read_names(s, &answer, path, each, user, &go_on, err);
        } else {
            status = damaged(s, "gave an answer of another kind than asked for", err);
        }
    }
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (!s->lost && close_handle(s, &h, "list", path, &ignored) != KOLM_OK && status == KOLM_OK && s->lost)
        status = kit_fail(err, ignored.code, ignored.remedy, "%s", ignored.text);
    return status;
}

/* ---- Pieces in flight */

typedef struct in_flight {
    uint32_t id;
    uint32_t length; /* 0: a CLOSE */
    uint64_t offset;
    bool used;
} in_flight;

typedef struct transfer {
    kit_ssh_sftp *s;
    const handle *h;
    const char *path;
    int fd;
    uint64_t first, next, end; /* bytes asked for so far are [first, next) */
    uint64_t total;            /* for progress */
    uint64_t moved_bytes;      /* acknowledged */
    uint64_t flying_bytes;
    unsigned flying;
    bool stop;         /* nothing new is asked for */
    bool closing;      /* CLOSE has been sent */
    bool ended;        /* the far file ended at `end` */
    kit_status status; /* the first failure; answers to what is in flight are still taken */
    kolm_error_t *err;
    kit_ssh_progress progress;
    void *user;
    int64_t since;
    in_flight pieces[MOST_IN_FLIGHT];
} transfer;

static void fail_transfer(transfer *t, kit_status status) {
    if (t->status == KOLM_OK) t->status = status;
    t->stop = true;
}

static in_flight *free_piece(transfer *t) {
    for (size_t i = 0; i < MOST_IN_FLIGHT; i++)
        if (!t->pieces[i].used) return &t->pieces[i];
    return NULL;
}

static in_flight *find_piece(transfer *t, uint32_t id) {
    for (size_t i = 0; i < MOST_IN_FLIGHT; i++)
        if (t->pieces[i].used && t->pieces[i].id == id) return &t->pieces[i];
    return NULL;
}

static void launch(transfer *t, in_flight *p, uint32_t id, uint64_t offset, uint32_t length) {
    *p = (in_flight){.id = id, .length = length, .offset = offset, .used = true};
    if (t->flying == 0) t->since = kit_now_ms();
    t->flying++;
    t->flying_bytes += length;
    finish(t->s);
}

static void land(transfer *t, in_flight *p) {
    p->used = false;
    t->flying--;
    t->flying_bytes -= p->length;
    t->since = kit_now_ms();
}

/* Asks for the next thing, if there is one and room for it. */
typedef void (*ask_function)(transfer *t);
/* Takes the answer to p. Only damage to the protocol is returned. */
typedef kit_status (*answer_function)(transfer *t, in_flight *p, message *answer);

/* Keeps asking and taking answers until nothing is in flight and nothing is left to ask. */
static kit_status run_transfer(transfer *t, ask_function ask, answer_function answer) {
    kit_ssh_sftp *s = t->s;
    s->out_head = s->out_length = 0;
    while (true) {
        bool moved = false, found = true;
        unsigned before = t->flying;
        if (s->out_head == s->out_length && t->flying < MOST_IN_FLIGHT) ask(t);
        if (t->flying == 0) return KOLM_OK;
        KIT_TRY(drain(s, &moved, t->err));
        /* Answers are taken when no more can be sent, or many are out: each look costs a system call. */
        if (s->out_head == s->out_length && t->flying > before && t->flying % 8 != 0) continue;
        KIT_TRY(fill(s, &moved, t->err));
        while (found) {
            message m;
            KIT_TRY(next_message(s, &m, &found, t->err));
            if (!found) break;
            in_flight *p = find_piece(t, m.id);
            if (p == NULL) return damaged(s, "answered a request that was not made", t->err);
            KIT_TRY(answer(t, p, &m));
            moved = true;
        }
        if (!moved) KIT_TRY(wait_more(s, t->since, t->err));
    }
}

/* ---- Upload */

static void ask_write(transfer *t) {
    kit_ssh_sftp *s = t->s;
    in_flight *p = free_piece(t);
    if (p == NULL || t->closing || t->flying_bytes >= MOST_IN_FLIGHT_BYTES) return;
    if (t->stop || t->next == t->end) {
        /* The server works in order, so the file can be closed behind writes that are still unanswered. */
        t->closing = true;
        uint32_t id = begin(s, CLOSE);
        put_string(s, t->h->bytes, t->h->length);
        launch(t, p, id, t->next, 0);
        return;
    }
    uint64_t left = t->end - t->next;
    uint32_t length = left < s->write_piece ? (uint32_t)left : s->write_piece;
    uint32_t id = begin(s, WRITE);
    put_string(s, t->h->bytes, t->h->length);
    put_u64(s, t->next);
    put_u32(s, length);
    ssize_t got;
    do
        got = pread(t->fd, s->out + s->out_length, length, (off_t)t->next);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)length) {
        fail_transfer(t, got < 0 ? kit_fail_errno(t->err, errno, "cannot read what goes to %s", t->path)
                                 : kit_fail(t->err, KOLM_E_DATA_LOSS, "try again when nobody writes to it",
                                            "the file that goes to %s ended early: it became shorter", t->path));
        s->out_head = s->out_length = 0;
        ask_write(t); /* nothing is half sent: close the far file instead */
        return;
    }
    s->out_length += length;
    launch(t, p, id, t->next, length);
    t->next += length;
}

static kit_status answer_write(transfer *t, in_flight *p, message *m) {
    uint32_t code = 0, length = p->length;
    KIT_TRY(take_status(t->s, m, &code, t->err));
    land(t, p);
    if (code != FX_OK && t->status == KOLM_OK)
        fail_transfer(t, from_status(t->s, code, &m->body, "write", t->path, t->err));
    if (code == FX_OK && length > 0) {
        t->moved_bytes += length;
        if (t->progress != NULL && t->status == KOLM_OK) t->progress(t->user, t->moved_bytes, t->total);
    }
    return KOLM_OK;
}

/* Version 3 has no word for a full disk: whoever fails to write asks how much is left. */
static kit_status name_full_disk(kit_ssh_sftp *s, kit_status status, const char *path, kolm_error_t *err) {
    char directory[4097];
    uint64_t left = 0;
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (status != KOLM_E_UNKNOWN || s->lost) return status;
    kit_copy(directory, sizeof directory, path);
    char *slash = strrchr(directory, '/');
    if (slash == NULL)
        kit_copy(directory, sizeof directory, ".");
    else
        slash[slash == directory ? 1 : 0] = '\0';
    if (kit_ssh_free_bytes(s, directory, &left, &ignored) != KOLM_OK || left >= (1u << 20)) return status;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "free some space there",
                    "cannot write %s on %s: its disk is full (%llu bytes are left)", path, s->ssh->label,
                    (unsigned long long)left);
}

kit_status kit_ssh_put(kit_ssh_sftp *s, int fd, uint64_t offset, uint64_t length, const char *path, unsigned mode,
                       kit_ssh_progress progress, void *user, kolm_error_t *err) {
    handle h;
    KIT_TRY(check_path(s, path, err));
    if (length > (uint64_t)INT64_MAX || offset > (uint64_t)INT64_MAX - length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "no file has the bytes that should go to %s", path);
    KIT_TRY(
        open_file(s, path, offset == 0 ? OPEN_WRITE | OPEN_CREATE | OPEN_EMPTY : OPEN_WRITE, mode, "write", &h, err));
    if (offset > 0) {
        kit_ssh_file there;
        kolm_error_t ignored = KIT_ERROR_INIT;
        kit_status status = handle_size(s, &h, path, &there, err);
        if (status == KOLM_OK && there.size < offset)
            status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "begin anew",
                              "cannot go on with %s on %s at byte %llu: it has %llu", path, s->ssh->label,
                              (unsigned long long)offset, (unsigned long long)there.size);
        if (status != KOLM_OK) {
            if (!s->lost) (void)!close_handle(s, &h, "write", path, &ignored);
            return status;
        }
    }
    transfer *t = calloc(1, sizeof *t);
    if (t == NULL) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    *t = (transfer){.s = s,
                    .h = &h,
                    .path = path,
                    .fd = fd,
                    .first = offset,
                    .next = offset,
                    .end = offset + length,
                    .total = length,
                    .err = err,
                    .progress = progress,
                    .user = user,
                    .since = kit_now_ms()};
    kit_status status = run_transfer(t, ask_write, answer_write);
    if (status == KOLM_OK) status = name_full_disk(s, t->status, path, err);
    free(t);
    return status;
}

/* ---- Download */

static void ask_read(transfer *t) {
    kit_ssh_sftp *s = t->s;
    in_flight *p = free_piece(t);
    if (p == NULL || t->stop || t->next >= t->end || t->flying_bytes >= MOST_IN_FLIGHT_BYTES) return;
    /* Beyond what the file had at first, one look at a time finds the end. */
    if (t->next >= t->first + t->total && t->flying > 0) return;
    uint64_t left = t->end - t->next;
    uint32_t length = left < s->read_piece ? (uint32_t)left : s->read_piece;
    uint32_t id = begin(s, READ);
    put_string(s, t->h->bytes, t->h->length);
    put_u64(s, t->next);
    put_u32(s, length);
    launch(t, p, id, t->next, length);
    t->next += length;
}

static kit_status write_at(int fd, const uint8_t *bytes, size_t length, uint64_t offset, kolm_error_t *err) {
    while (length > 0) {
        ssize_t put = pwrite(fd, bytes, length, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return kit_fail_errno(err, errno, "cannot write what was fetched");
        bytes += put;
        offset += (uint64_t)put;
        length -= (size_t)put;
    }
    return KOLM_OK;
}

/* A piece that came short is asked for again, for what is missing, in the room it had. */
static kit_status ask_rest(transfer *t, uint64_t offset, uint32_t length) {
    kit_ssh_sftp *s = t->s;
    int64_t since = kit_now_ms();
    while (s->out_head < s->out_length) {
        bool moved = false;
        KIT_TRY(drain(s, &moved, t->err));
        if (!moved) KIT_TRY(wait_more(s, since, t->err));
    }
    in_flight *p = free_piece(t);
    if (p == NULL) return kit_fail(t->err, KOLM_E_INTERNAL, "", "no room for a request");
    uint32_t id = begin(s, READ);
    put_string(s, t->h->bytes, t->h->length);
    put_u64(s, offset);
    put_u32(s, length);
    launch(t, p, id, offset, length);
    return KOLM_OK;
}

static kit_status answer_read(transfer *t, in_flight *p, message *m) {
    kit_ssh_sftp *s = t->s;
    in_flight was = *p;
    if (m->type == STATUS) {
        uint32_t code = 0;
        KIT_TRY(take_status(s, m, &code, t->err));
        land(t, p);
        if (code == FX_OK) return damaged(s, "said yes and nothing more", t->err);
        if (code != FX_EOF && t->status == KOLM_OK)
            fail_transfer(t, from_status(s, code, &m->body, "read", t->path, t->err));
        if (code == FX_EOF && was.offset < t->end) {
            t->end = was.offset;
            t->ended = true;
        }
        /* The place is kept, so that what is whole can be told. */
        if (code != FX_EOF && was.offset < t->end) t->end = was.offset;
        return KOLM_OK;
    }
    if (m->type != DATA) return damaged(s, "gave an answer of another kind than asked for", t->err);
    size_t length = 0;
    const uint8_t *bytes = ssh_get_string(&m->body, &length);
    if (m->body.failed || length == 0 || length > was.length)
        return damaged(s, "sent another amount of data than asked for", t->err);
    if (was.offset < t->end && t->status == KOLM_OK) {
        kit_status status = write_at(t->fd, bytes, length, was.offset, t->err);
        if (status != KOLM_OK) {
            fail_transfer(t, status);
            t->end = was.offset;
        }
    }
    land(t, p);
    t->moved_bytes += length;
    if (t->progress != NULL && t->status == KOLM_OK)
        t->progress(t->user, t->moved_bytes, t->total > t->moved_bytes ? t->total : t->moved_bytes);
    if (length < was.length && was.offset + length < t->end && !t->stop)
        return ask_rest(t, was.offset + length, was.length - (uint32_t)length);
    return KOLM_OK;
}

/* Where the first gap begins. */
static uint64_t whole_until(const transfer *t) {
    uint64_t end = t->next < t->end ? t->next : t->end;
    for (size_t i = 0; i < MOST_IN_FLIGHT; i++)
        if (t->pieces[i].used && t->pieces[i].offset < end) end = t->pieces[i].offset;
    return end;
}

static kit_status fetch(transfer *t, uint64_t length, uint64_t *out_length) {
    kit_status status = run_transfer(t, ask_read, answer_read);
    *out_length = whole_until(t) - t->first;
    if (status == KOLM_OK) status = t->status;
    if (status == KOLM_OK && t->ended && length != UINT64_MAX && *out_length < length)
        status = kit_fail(t->err, KOLM_E_DATA_LOSS, "fetch it anew", "%s on %s ended %llu bytes early", t->path,
                          t->s->ssh->label, (unsigned long long)(length - *out_length));
    return status;
}

kit_status kit_ssh_get(kit_ssh_sftp *s, const char *path, uint64_t offset, uint64_t length, int fd,
                       kit_ssh_progress progress, void *user, uint64_t *out_length, kolm_error_t *err) {
    handle h;
    kit_ssh_file there = {0};
    *out_length = 0;
    KIT_TRY(check_path(s, path, err));
    if (offset > (uint64_t)INT64_MAX || (length != UINT64_MAX && length > (uint64_t)INT64_MAX - offset))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "no file has the bytes that are wanted of %s", path);
    KIT_TRY(open_file(s, path, OPEN_READ, 0600, "read", &h, err));
    kit_status status = length == UINT64_MAX ? handle_size(s, &h, path, &there, err) : KOLM_OK;
    transfer *t = status == KOLM_OK ? calloc(1, sizeof *t) : NULL;
    if (t != NULL) {
        uint64_t total = length != UINT64_MAX ? length : there.size > offset ? there.size - offset : 0;
        if (total > (uint64_t)INT64_MAX - offset) total = 0; /* a lie, and only a hint */
        *t = (transfer){.s = s,
                        .h = &h,
                        .path = path,
                        .fd = fd,
                        .first = offset,
                        .next = offset,
                        .total = total,
                        .err = err,
                        .progress = progress,
                        .user = user,
                        .since = kit_now_ms()};
        t->end = length != UINT64_MAX ? offset + length : (uint64_t)INT64_MAX;
        status = fetch(t, length, out_length);
        free(t);
    } else if (status == KOLM_OK) {
        status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    }
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (!s->lost && close_handle(s, &h, "read", path, status == KOLM_OK ? err : &ignored) != KOLM_OK &&
        status == KOLM_OK)
        status = err != NULL ? err->code : KOLM_E_UNKNOWN;
    return status;
}
