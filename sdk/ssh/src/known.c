/* SPDX-License-Identifier: Apache-2.0 */
/* known_hosts as sshd(8) describes it: plain, wildcard and hashed names, @revoked and @cert-authority. */
#include "internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/file.h"
#include "kolm/kit/lock.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES (16u << 20)

void ssh_key_type(const uint8_t *key, size_t length, char out_type[64]) {
    ssh_cursor cursor = {.at = key, .left = length};
    size_t n = 0;
    const uint8_t *type = ssh_get_string(&cursor, &n);
    out_type[0] = '\0';
    if (cursor.failed || n >= 64) return;
    for (size_t i = 0; i < n; i++)
        if (type[i] <= 0x20 || type[i] >= 0x7F) return;
    memcpy(out_type, type, n);
    out_type[n] = '\0';
}

kit_status ssh_fingerprint(const uint8_t *key, size_t length, char out[SSH_FINGERPRINT_BYTES], kolm_error_t *err) {
    kit_sha256 *state = NULL;
    uint8_t digest[KIT_SHA256_BYTES] = {0};
    KIT_TRY(kit_sha256_new(&state, err));
    kit_status status = kit_sha256_update(state, key, length, err);
    if (status == KOLM_OK) status = kit_sha256_final(state, digest, err);
    kit_sha256_free(state);
    kit_buf text = {0};
    kit_buf_str(&text, "SHA256:");
    kit_base64(&text, digest, sizeof digest);
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) {
        while (text.length > 0 && text.data[text.length - 1] == '=')
            text.data[--text.length] = '\0';
        kit_copy(out, SSH_FINGERPRINT_BYTES, text.data);
    }
    kit_buf_free(&text);
    return status;
}

/* Decodes base64; *out_good is false if text is invalid. Lack of memory is an error: a line mistaken for a damaged one
 * might be the one that revokes a key. */
static kit_status decode(const char *text, size_t length, kit_buf *out, bool *out_good, kolm_error_t *err) {
    kolm_error_t why = KIT_ERROR_INIT;
    kit_status status = kit_base64_decode(out, text, length, &why);
    *out_good = status == KOLM_OK;
    return status == KOLM_E_RESOURCE_EXHAUSTED ? kit_fail(err, status, why.remedy, "%s", why.text) : KOLM_OK;
}

/* "|1|SALT|HASH": HASH is the HMAC-SHA1 of the name under SALT, both in base64. */
static kit_status match_hashed(const char *text, const char *name, bool *out_same, kolm_error_t *err) {
    *out_same = false;
    if (strncmp(text, "|1|", 3) != 0) return KOLM_OK;
    const char *salt = text + 3, *bar = strchr(salt, '|');
    if (bar == NULL) return KOLM_OK;
    kit_buf key = {0}, hash = {0};
    bool good = false, whole = false;
    kit_status status = decode(salt, (size_t)(bar - salt), &key, &good, err);
    if (status == KOLM_OK) status = decode(bar + 1, strlen(bar + 1), &hash, &whole, err);
    if (status == KOLM_OK && good && whole && hash.length == SHA1_DIGEST_SIZE) {
        struct hmac_sha1_ctx context;
        uint8_t digest[SHA1_DIGEST_SIZE];
        hmac_sha1_set_key(&context, key.length, (const uint8_t *)kit_buf_text(&key));
        hmac_sha1_update(&context, strlen(name), (const uint8_t *)name);
        hmac_sha1_digest(&context, sizeof digest, digest);
        *out_same = memcmp(digest, hash.data, sizeof digest) == 0;
    }
    kit_buf_free(&key);
    kit_buf_free(&hash);
    return status;
}

/* Extracts the next blank-separated word from *p; NULL at the end. */
static char *next_word(char **p) {
    char *word = *p + strspn(*p, " \t");
    if (*word == '\0') return NULL;
    char *end = word + strcspn(word, " \t");
    *p = end;
    if (*end != '\0') {
        *end = '\0';
        *p = end + 1;
    }
    return word;
}

static kit_status add_entry(ssh_known *known, const char *file, unsigned number, const char *type, int mark,
                            kit_buf *key, kolm_error_t *err) {
    ssh_known_entry *entries = realloc(known->entries, (known->count + 1) * sizeof *entries);
    if (entries == NULL) return kit_no_memory(err);
    known->entries = entries;
    ssh_known_entry *entry = &entries[known->count];
    *entry = (ssh_known_entry){.line = number, .key_length = key->length};
    entry->mark = mark == 'r' ? SSH_MARK_REVOKED : mark == 'c' ? SSH_MARK_AUTHORITY : SSH_MARK_NONE;
    kit_copy(entry->type, sizeof entry->type, type);
    KIT_TRY(kit_strdup(file, &entry->file, err));
    entry->key = (uint8_t *)kit_buf_take(key);
    known->count++;
    return KOLM_OK;
}

static kit_status read_known_line(ssh_known *known, const char *file, unsigned number, char *line, const char *name,
                                  kolm_error_t *err) {
    char *p = line, *hosts = next_word(&p);
    int mark = 0;
    if (hosts == NULL || *hosts == '#') return KOLM_OK;
    if (*hosts == '@') {
        if (strcmp(hosts, "@revoked") == 0)
            mark = 'r';
        else if (strcmp(hosts, "@cert-authority") == 0)
            mark = 'c';
        else
            return KOLM_OK;
        hosts = next_word(&p);
    }
    char *type = next_word(&p), *text = next_word(&p);
    if (hosts == NULL || type == NULL || text == NULL) return KOLM_OK;
    bool ours = false, good = false;
    if (*hosts == '|')
        KIT_TRY(match_hashed(hosts, name, &ours, err));
    else
        ours = kit_ssh_match_list(name, hosts);
    if (!ours) return KOLM_OK;
    kit_buf key = {0};
    char inner[64] = "";
    kit_status status = decode(text, strlen(text), &key, &good, err);
    if (status == KOLM_OK && good && key.length > 0) {
        ssh_key_type((const uint8_t *)key.data, key.length, inner);
        /* A line whose type does not match its key is damaged: ignore it. */
        if (strcmp(inner, type) == 0) status = add_entry(known, file, number, type, mark, &key, err);
    }
    kit_buf_free(&key);
    return status;
}

/* Decodes the key of a line "type base64"; *out_good: there is one. */
static kit_status decode_line(char *line, kit_buf *out, bool *out_good, kolm_error_t *err) {
    char *p = line, *type = next_word(&p), *text = next_word(&p), inner[64] = "";
    *out_good = false;
    if (type == NULL || *type == '#' || text == NULL) return KOLM_OK;
    KIT_TRY(decode(text, strlen(text), out, out_good, err));
    if (*out_good) ssh_key_type((const uint8_t *)kit_buf_text(out), out->length, inner);
    *out_good = *out_good && strcmp(inner, type) == 0;
    return KOLM_OK;
}

kit_status ssh_keys_hold(const char *text, size_t length, const uint8_t *key, size_t key_length, bool *out_held,
                         kolm_error_t *err) {
    kit_status status = KOLM_OK;
    *out_held = false;
    for (const char *p = text, *end = text + length; p < end && status == KOLM_OK && !*out_held;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf != NULL ? lf : end) - p);
        char *line = strndup(p, n);
        kit_buf held = {0};
        bool good = false;
        if (line == NULL) return kit_no_memory(err);
        line[strcspn(line, "\r")] = '\0';
        status = decode_line(line, &held, &good, err);
        *out_held = good && held.length == key_length && memcmp(held.data, key, key_length) == 0;
        kit_buf_free(&held);
        free(line);
        p += n + (lf != NULL ? 1 : 0);
    }
    return status;
}

uint32_t ssh_rsa_bits(const uint8_t *key, size_t length) {
    ssh_cursor cursor = {.at = key, .left = length};
    size_t n = 0;
    (void)ssh_get_string(&cursor, &n);
    (void)ssh_get_string(&cursor, &n);
    const uint8_t *modulus = ssh_get_string(&cursor, &n);
    while (modulus != NULL && n > 0 && *modulus == 0) {
        modulus++;
        n--;
    }
    if (cursor.failed || n == 0 || n > UINT32_MAX / 8) return 0;
    uint32_t bits = (uint32_t)n * 8;
    for (uint8_t top = *modulus; (top & 0x80) == 0; top = (uint8_t)(top << 1))
        bits--;
    return bits;
}

kit_status ssh_known_parse(ssh_known *known, const char *file, const char *text, size_t length, const char *name,
                           kolm_error_t *err) {
    kit_status status = KOLM_OK;
    unsigned number = 0;
    for (const char *p = text, *end = text + length; p < end && status == KOLM_OK;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf != NULL ? lf : end) - p);
        number++;
        char *line = strndup(p, n);
        if (line == NULL) return kit_no_memory(err);
        for (size_t k = strlen(line); k > 0 && line[k - 1] == '\r'; k--)
            line[k - 1] = '\0';
        status = read_known_line(known, file, number, line, name, err);
        free(line);
        p += n + (lf != NULL ? 1 : 0);
    }
    return status;
}

kit_status ssh_known_read(ssh_known *known, const char *file, const char *name, kolm_error_t *err) {
    kit_buf text = {0};
    if (access(file, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) return KOLM_OK;
    struct stat info;
    /* Users who want no file name /dev/null. */
    if (stat(file, &info) == 0 && S_ISCHR(info.st_mode)) return KOLM_OK;
    kit_status status = kit_read_file(file, MOST_BYTES, &text, err);
    if (status == KOLM_OK)
        status = ssh_known_parse(known, file, kit_buf_text(&text), text.length, name, err);
    else
        status = kit_fail_context(err, "the known hosts");
    kit_buf_free(&text);
    return status;
}

ssh_known_answer ssh_known_check(const ssh_known *known, const uint8_t *key, size_t length,
                                 const ssh_known_entry **out_entry) {
    const ssh_known_entry *same = NULL, *changed = NULL, *other = NULL, *authority = NULL, *revoked = NULL;
    char type[64];
    ssh_key_type(key, length, type);
    for (size_t i = known->count; i-- > 0;) {
        const ssh_known_entry *entry = &known->entries[i];
        bool equal = entry->key_length == length && memcmp(entry->key, key, length) == 0;
        if (entry->mark == SSH_MARK_REVOKED)
            revoked = equal ? entry : revoked;
        else if (entry->mark == SSH_MARK_AUTHORITY)
            authority = entry;
        else if (equal)
            same = entry;
        else if (strcmp(entry->type, type) == 0)
            changed = entry;
        else
            other = entry;
    }
    const ssh_known_entry *entry = revoked != NULL   ? revoked
                                   : same != NULL    ? same
                                   : changed != NULL ? changed
                                   : other != NULL   ? other
                                                     : authority;
    if (out_entry != NULL) *out_entry = entry;
    if (revoked != NULL) return SSH_KNOWN_REVOKED;
    if (same != NULL) return SSH_KNOWN_GOOD;
    if (changed != NULL) return SSH_KNOWN_CHANGED;
    return other != NULL ? SSH_KNOWN_OTHER_TYPE : SSH_KNOWN_NEW;
}

bool ssh_known_has_type(const ssh_known *known, const char *type) {
    for (size_t i = 0; i < known->count; i++)
        if (known->entries[i].mark == SSH_MARK_NONE && strcmp(known->entries[i].type, type) == 0) return true;
    return false;
}

void ssh_known_free(ssh_known *known) {
    for (size_t i = 0; i < known->count; i++) {
        free(known->entries[i].file);
        free(known->entries[i].key);
    }
    free(known->entries);
    *known = (ssh_known){0};
}

/* Appends a line, all or nothing; starts a new line first if the last one is incomplete. */
static kit_status append_line(int fd, const char *file, const kit_buf *line, kolm_error_t *err) {
    struct stat info;
    if (fstat(fd, &info) == 0 && !S_ISREG(info.st_mode))
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "set known_hosts to a file of its own",
                        "%s is not a regular file, so no host key can be saved", file);
    KIT_TRY(kit_lock_hold(fd, file, err));
    if (fstat(fd, &info) != 0) return kit_fail_errno(err, errno, "cannot access %s", file);
    char last = '\n';
    if (info.st_size > 0 && pread(fd, &last, 1, info.st_size - 1) != 1)
        return kit_fail_errno(err, errno, "cannot read %s", file);
    kit_buf text = {0};
    if (last != '\n') kit_buf_char(&text, '\n');
    kit_buf_add(&text, line->data, line->length);
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) {
        ssize_t put = write(fd, text.data, text.length);
        if (put != (ssize_t)text.length) {
            int saved = put < 0 ? errno : ENOSPC;
            if (ftruncate(fd, info.st_size) != 0) saved = errno;
            status = kit_fail_errno(err, saved, "cannot add a host to %s", file);
        } else if (fsync(fd) != 0 && errno != EINVAL) {
            status = kit_fail_errno(err, errno, "cannot add a host to %s", file);
        }
    }
    kit_buf_free(&text);
    return status;
}

/* The format is as in match_hashed; the salt is as long as the hash, like ssh's. */
static kit_status hash_name(const char *name, kit_buf *out, kolm_error_t *err) {
    uint8_t salt[SHA1_DIGEST_SIZE], digest[SHA1_DIGEST_SIZE];
    struct hmac_sha1_ctx context;
    if (getrandom(salt, sizeof salt, 0) != (ssize_t)sizeof salt)
        return kit_fail(err, KOLM_E_INTERNAL, "run the command again", "cannot get random bytes");
    hmac_sha1_set_key(&context, sizeof salt, salt);
    hmac_sha1_update(&context, strlen(name), (const uint8_t *)name);
    hmac_sha1_digest(&context, sizeof digest, digest);
    kit_buf_str(out, "|1|");
    kit_base64(out, salt, sizeof salt);
    kit_buf_char(out, '|');
    kit_base64(out, digest, sizeof digest);
    return kit_buf_ok(out, err);
}

static kit_status known_line(const char *name, bool hash, const uint8_t *key, size_t length, kit_buf *out,
                             kolm_error_t *err) {
    char type[64];
    ssh_key_type(key, length, type);
    if (hash)
        KIT_TRY(hash_name(name, out, err));
    else
        kit_buf_str(out, name);
    kit_buf_fmt(out, " %s ", type);
    kit_base64(out, key, length);
    kit_buf_char(out, '\n');
    return kit_buf_ok(out, err);
}

kit_status ssh_known_append(const char *file, const char *name, bool hash, const uint8_t *key, size_t length,
                            kolm_error_t *err) {
    kit_buf line = {0};
    char *directory = NULL;
    int fd = -1;
    kit_status status = known_line(name, hash, key, length, &line, err);
    const char *slash = strrchr(file, '/');
    if (status == KOLM_OK && slash != NULL && slash != file) {
        directory = strndup(file, (size_t)(slash - file));
        status = directory == NULL ? kit_no_memory(err) : kit_mkdirs(directory, 0700, err);
    }
    if (status != KOLM_OK) goto out;
    fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    status =
        fd < 0 ? kit_fail_errno(err, errno, "cannot open %s to add a host", file) : append_line(fd, file, &line, err);
out:
    if (fd >= 0) close(fd);
    free(directory);
    kit_buf_free(&line);
    return status;
}
