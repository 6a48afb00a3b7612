/* SPDX-License-Identifier: Apache-2.0 */
/* Keys for authentication: files, their public halves and certificates. */
#include "auth.h"

#include "kolm/kit/file.h"
#include "kolm/kit/text.h"
#include "kolm/kit/trust.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_KEY_BYTES (64u << 10)

/* Reads "type base64 remark". Not a public key if the type is not that of the key, as in a private file. */
kit_status ssh_public_read(const char *path, ssh_public_key *out, kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_buf text = {0}, blob = {0};
    *out = (ssh_public_key){0};
    kit_status status = KOLM_OK;
    if (kit_read_file(path, MOST_KEY_BYTES, &text, &ignored) == KOLM_OK) {
        const char *line = kit_buf_text(&text) + strspn(kit_buf_text(&text), " \t");
        size_t type = strcspn(line, " \t\r\n");
        const char *start = line + type + strspn(line + type, " \t");
        size_t length = strcspn(start, " \t\r\n");
        if (length > 0 && kit_base64_decode(&blob, start, length, &ignored) == KOLM_OK && blob.length > 0) {
            ssh_key_type((const uint8_t *)blob.data, blob.length, out->type);
            if (strlen(out->type) == type && strncmp(out->type, line, type) == 0) {
                out->length = blob.length;
                out->blob = (uint8_t *)kit_buf_take(&blob);
            }
        }
    }
    if (text.failed || blob.failed) status = kit_no_memory(err);
    kit_buf_free(&text);
    kit_buf_free(&blob);
    return status;
}

/* OpenSSH's own format has the public half in plain text: magic, cipher, kdf, its options, count, public key
 * (PROTOCOL.key). */
static void read_openssh_head(const char *body, size_t length, ssh_identity *id) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_buf bare = {0}, bytes = {0};
    static const char magic[] = "openssh-key-v1";
    for (size_t i = 0; i < length; i++)
        if (strchr("\r\n \t", body[i]) == NULL) kit_buf_char(&bare, body[i]);
    if (kit_base64_decode(&bytes, kit_buf_text(&bare), bare.length, &ignored) == KOLM_OK &&
        bytes.length > sizeof magic && memcmp(bytes.data, magic, sizeof magic) == 0) {
        ssh_cursor cursor = {.at = (const uint8_t *)bytes.data + sizeof magic, .left = bytes.length - sizeof magic};
        size_t n = 0, ignored_length = 0;
        const uint8_t *cipher = ssh_get_string(&cursor, &n);
        id->encrypted = !cursor.failed && !(n == 4 && memcmp(cipher, "none", 4) == 0);
        (void)ssh_get_string(&cursor, &ignored_length);
        (void)ssh_get_string(&cursor, &ignored_length);
        (void)ssh_get_u32(&cursor);
        const uint8_t *blob = ssh_get_string(&cursor, &n);
        if (!cursor.failed && n > 0 && id->plain.length == 0 && (id->plain.blob = malloc(n)) != NULL) {
            memcpy(id->plain.blob, blob, n);
            id->plain.length = n;
            ssh_key_type(blob, n, id->plain.type);
        }
    }
    if (bare.data != NULL) explicit_bzero(bare.data, bare.capacity);
    if (bytes.data != NULL) explicit_bzero(bytes.data, bytes.capacity);
    kit_buf_free(&bare);
    kit_buf_free(&bytes);
}

static void read_private_head(ssh_identity *id) {
    static const char begin[] = "-----BEGIN OPENSSH PRIVATE KEY-----", end[] = "-----END";
    struct stat info;
    int fd = open(id->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return;
    char *text = calloc(1, MOST_KEY_BYTES + 1);
    if (text != NULL && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        id->exists = true;
        id->exposed = kit_trust_stat(KIT_TRUST_MADE, &info) == KIT_TRUST_MODE;
        ssize_t got = read(fd, text, MOST_KEY_BYTES);
        const char *from = got > 0 ? strstr(text, begin) : NULL, *to = from != NULL ? strstr(from, end) : NULL;
        if (to != NULL)
            read_openssh_head(from + sizeof begin - 1, (size_t)(to - from) - (sizeof begin - 1), id);
        else if (got > 0)
            id->encrypted = strstr(text, "ENCRYPTED") != NULL;
        explicit_bzero(text, MOST_KEY_BYTES);
    }
    free(text);
    close(fd);
}

/* The key in a certificate, after type and nonce, has the same format as the plain key after its type
 * (PROTOCOL.certkeys). */
bool ssh_certifies(const ssh_public_key *certificate, const ssh_public_key *plain, uint64_t *out_before) {
    ssh_cursor cert = {.at = certificate->blob, .left = certificate->length},
               key = {.at = plain->blob, .left = plain->length};
    size_t n = 0;
    (void)ssh_get_string(&cert, &n);
    (void)ssh_get_string(&cert, &n);
    (void)ssh_get_string(&key, &n);
    if (cert.failed || key.failed || cert.left < key.left || memcmp(cert.at, key.at, key.left) != 0) return false;
    cert.at += key.left;
    cert.left -= key.left;
    (void)ssh_get_u64(&cert); /* serial */
    (void)ssh_get_u32(&cert); /* kind */
    (void)ssh_get_string(&cert, &n);
    (void)ssh_get_string(&cert, &n);
    (void)ssh_get_u64(&cert); /* valid after */
    *out_before = ssh_get_u64(&cert);
    if (cert.failed) *out_before = UINT64_MAX;
    return true;
}

/* Reads the public half: the file itself, or FILE.pub, or the plain part of a private file in OpenSSH's format. */
static kit_status read_identity(ssh_identity *id, kolm_error_t *err) {
    kit_buf name = {0};
    KIT_TRY(ssh_public_read(id->path, &id->plain, err));
    id->public_only = id->plain.length > 0;
    if (id->public_only) return KOLM_OK;
    kit_buf_fmt(&name, "%s.pub", id->path);
    kit_status status = kit_buf_ok(&name, err);
    if (status == KOLM_OK) status = ssh_public_read(name.data, &id->plain, err);
    if (status == KOLM_OK) read_private_head(id);
    kit_buf_free(&name);
    return status;
}

static kit_status find_certificates(const ssh_attempt *a, ssh_identity *id, kolm_error_t *err) {
    const kit_ssh_list *named = &a->config->certificate_files;
    for (size_t i = 0; i < named->count; i++)
        KIT_TRY(kit_ssh_list_add(&id->certificates, named->items[i], strlen(named->items[i]), err));
    if (a->config->certificate_files_set) return KOLM_OK;
    kit_buf name = {0};
    kit_buf_fmt(&name, "%s-cert.pub", id->path);
    kit_status status = kit_buf_ok(&name, err);
    if (status == KOLM_OK && access(name.data, R_OK) == 0)
        status = kit_ssh_list_add(&id->certificates, name.data, name.length, err);
    kit_buf_free(&name);
    return status;
}

static kit_status add_identity(ssh_attempt *a, const char *path, bool named, kolm_error_t *err) {
    for (size_t i = 0; i < a->identity_count; i++)
        if (strcmp(a->identities[i].path, path) == 0) return KOLM_OK;
    ssh_identity *grown = realloc(a->identities, (a->identity_count + 1) * sizeof *grown);
    if (grown == NULL) return kit_no_memory(err);
    a->identities = grown;
    ssh_identity *id = &grown[a->identity_count];
    *id = (ssh_identity){0};
    KIT_TRY(kit_strdup(path, &id->path, err));
    a->identity_count++;
    KIT_TRY(read_identity(id, err));
    KIT_TRY(find_certificates(a, id, err));
    /* A key that is only in the agent may be named by its public half alone. */
    if (named && !id->exists && id->plain.length == 0) ssh_say_tried(a, path, "there is no such file");
    return KOLM_OK;
}

kit_status ssh_identities_find(ssh_attempt *a, kolm_error_t *err) {
    static const char *const usual[] = {".ssh/id_rsa", ".ssh/id_ecdsa", ".ssh/id_ed25519"};
    for (size_t i = 0; i < a->options->identity_file_count; i++)
        KIT_TRY(add_identity(a, a->options->identity_files[i], true, err));
    for (size_t i = 0; i < a->config->identity_files.count; i++)
        KIT_TRY(add_identity(a, a->config->identity_files.items[i], true, err));
    if (a->options->identity_file_count > 0 || a->config->identity_files_set) return KOLM_OK;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        char *path = NULL;
        KIT_TRY(ssh_home_path(usual[i], &path, err));
        kit_status status = path != NULL ? add_identity(a, path, false, err) : KOLM_OK;
        free(path);
        KIT_TRY(status);
    }
    return KOLM_OK;
}
