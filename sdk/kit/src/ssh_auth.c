/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication in ssh's order: none, keys of the agent, key files with their certificates; and a list of what was
 * tried. */
#include "ssh_parts.h"

#include "kolm/kit/file.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST_KEY_BYTES (64u << 10)
#define AGENT_RSA_SHA2_512 4
#define CERTIFICATE_SUFFIX "-cert-v01@openssh.com"
#define LIBSSH2_1_11 0x010b00 /* signs with rsa-sha2, and knows more certificates */

/* Public halves: a plain key, or a certificate. */
typedef struct public_key {
    uint8_t *blob;
    size_t length;
    char type[64];
} public_key;

typedef struct identity {
    char *path;
    public_key plain;          /* length 0 when there is no public half to read */
    kit_ssh_list certificates; /* files */
    bool exists, encrypted, exposed;
} identity;

typedef struct attempt {
    kit_ssh *ssh;
    const kit_ssh_options *options;
    const kit_ssh_config *config;
    identity *identities;
    size_t identity_count;
    ssh_agent *agent;
    kit_buf tried; /* "FILE (refused), ..." */
    unsigned offers;
    bool authenticated;
    bool old_rsa; /* an RSA key was refused that this libssh2 can only sign for by SHA-1 */
} attempt;

static void say_tried(attempt *a, const char *name, const char *outcome) {
    kit_buf_fmt(&a->tried, "%s%s (%s)", a->tried.length > 0 ? ", " : "", name, outcome);
}

/* ---- Reading keys */

static kit_status read_public(const char *path, public_key *out, kolm_error_t *err) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    kit_buf text = {0}, blob = {0};
    *out = (public_key){0};
    kit_status status = KOLM_OK;
    if (kit_read_file(path, MOST_KEY_BYTES, &text, &ignored) == KOLM_OK) {
        const char *line = kit_buf_text(&text), *space = strpbrk(line, " \t");
        const char *start = space != NULL ? space + strspn(space, " \t") : "";
        size_t length = strcspn(start, " \t\r\n");
        if (length > 0 && kit_base64_decode(&blob, start, length, &ignored) == KOLM_OK && blob.length > 0) {
            out->length = blob.length;
            out->blob = (uint8_t *)kit_buf_take(&blob);
            ssh_key_type(out->blob, out->length, out->type);
        }
    }
    if (text.failed || blob.failed) status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    kit_buf_free(&text);
    kit_buf_free(&blob);
    return status;
}

/* OpenSSH's own format keeps the public half in clear: magic, cipher, kdf, its options, count, public key
 * (PROTOCOL.key). */
static void read_openssh_head(const char *body, size_t length, identity *id) {
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

static void read_private_head(identity *id) {
    static const char begin[] = "-----BEGIN OPENSSH PRIVATE KEY-----", end[] = "-----END";
    struct stat info;
    int fd = open(id->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return;
    char *text = calloc(1, MOST_KEY_BYTES + 1);
    if (text != NULL && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        id->exists = true;
        id->exposed = info.st_uid == getuid() && (info.st_mode & 077) != 0;
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

/* The certificate's own key, behind type and nonce, is written as in the plain key behind its type (PROTOCOL.certkeys).
 */
static bool certifies(const public_key *certificate, const public_key *plain, uint64_t *out_before) {
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

static kit_status add_identity(attempt *a, const char *path, bool named, kolm_error_t *err) {
    for (size_t i = 0; i < a->identity_count; i++)
        if (strcmp(a->identities[i].path, path) == 0) return KOLM_OK;
    identity *grown = realloc(a->identities, (a->identity_count + 1) * sizeof *grown);
    if (grown == NULL) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
    a->identities = grown;
    identity *id = &grown[a->identity_count];
    *id = (identity){0};
    KIT_TRY(kit_strdup(path, &id->path, err));
    a->identity_count++;
    kit_buf name = {0};
    kit_buf_fmt(&name, "%s.pub", path);
    kit_status status = kit_buf_ok(&name, err);
    if (status == KOLM_OK) status = read_public(name.data, &id->plain, err);
    if (status == KOLM_OK) read_private_head(id);
    kit_buf_clear(&name);
    kit_buf_fmt(&name, "%s-cert.pub", path);
    if (status == KOLM_OK) status = kit_buf_ok(&name, err);
    if (status == KOLM_OK && access(name.data, R_OK) == 0)
        status = ssh_list_add(&id->certificates, name.data, name.length, err);
    kit_buf_free(&name);
    /* A key that only the agent holds may be named by its public half alone. */
    if (named && !id->exists && id->plain.length == 0) say_tried(a, path, "there is no such file");
    return status;
}

static kit_status find_identities(attempt *a, kolm_error_t *err) {
    static const char *const usual[] = {".ssh/id_rsa", ".ssh/id_ecdsa", ".ssh/id_ed25519"};
    for (size_t i = 0; i < a->options->identity_file_count; i++)
        KIT_TRY(add_identity(a, a->options->identity_files[i], true, err));
    for (size_t i = 0; i < a->config->identity_files.count; i++)
        KIT_TRY(add_identity(a, a->config->identity_files.items[i], true, err));
    for (size_t i = 0; a->options->identity_file_count == 0 && a->config->identity_files.count == 0 && i < 3; i++) {
        char *path = NULL;
        KIT_TRY(ssh_home_path(usual[i], &path, err));
        kit_status status = path != NULL ? add_identity(a, path, false, err) : KOLM_OK;
        free(path);
        KIT_TRY(status);
    }
    for (size_t i = 0; i < a->identity_count; i++)
        for (size_t k = 0; k < a->config->certificate_files.count; k++) {
            const char *file = a->config->certificate_files.items[k];
            KIT_TRY(ssh_list_add(&a->identities[i].certificates, file, strlen(file), err));
        }
    return KOLM_OK;
}

/* ---- One key */

/* True when libssh2 waited for an answer in vain: it gives the same code for that as for a refused signature. */
static bool hung_up(kit_ssh *ssh, int rc) {
    char *words = NULL;
    if (rc != LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED) return false;
    libssh2_session_last_error(ssh->session, &words, NULL, 0);
    return words != NULL && strncmp(words, "Waiting for", 11) == 0;
}

/* libssh2's answer about one key: taken, refused (KOLM_OK with authenticated false), or the end of the connection. */
static kit_status judge(attempt *a, int rc, const char *name, kolm_error_t *err) {
    kit_ssh *ssh = a->ssh;
    a->offers++;
    if (rc == 0) {
        a->authenticated = true;
        return KOLM_OK;
    }
    if (hung_up(ssh, rc)) rc = LIBSSH2_ERROR_SOCKET_DISCONNECT;
    if (ssh->spent || rc == LIBSSH2_ERROR_SOCKET_SEND || rc == LIBSSH2_ERROR_SOCKET_RECV ||
        rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_ALLOC) {
        kit_status status = ssh_fail(ssh, rc, ssh->stage, err);
        if (status == KOLM_E_UNAVAILABLE && a->offers > 3)
            return kit_fail(err, KOLM_E_UNAUTHENTICATED,
                            "name the one key with IdentityFile and IdentitiesOnly yes in ~/.ssh/config",
                            "%s hung up after %u keys; tried: %s", ssh->label, a->offers, kit_buf_text(&a->tried));
        return status;
    }
    if (rc == LIBSSH2_ERROR_PROTO) return ssh_fail(ssh, rc, ssh->stage, err);
    say_tried(a, name, "refused");
    return KOLM_OK;
}

typedef struct signer {
    attempt *attempt;
    const ssh_rsa *rsa;       /* signs itself; or */
    const ssh_agent_key *key; /* the agent signs; neither: only finds out whether the server would take the key */
    bool wanted;              /* the server would take it */
    bool mismatch;            /* the agent signs in another way than libssh2 will say */
    kolm_error_t error;
} signer;

/* data: string session, byte 50, string user, string service, string "publickey", byte 1, string algorithm, ... (RFC
 * 4252 section 7) */
static bool signs_by_sha512(const uint8_t *data, size_t length) {
    ssh_cursor cursor = {.at = data, .left = length};
    size_t n = 0;
    (void)ssh_get_string(&cursor, &n);
    (void)ssh_get_u8(&cursor);
    for (int i = 0; i < 3; i++)
        (void)ssh_get_string(&cursor, &n);
    (void)ssh_get_u8(&cursor);
    const uint8_t *algorithm = ssh_get_string(&cursor, &n);
    return !cursor.failed && n >= 12 && memcmp(algorithm, "rsa-sha2-512", 12) == 0;
}

static LIBSSH2_USERAUTH_PUBLICKEY_SIGN_FUNC(sign_for) {
    (void)session;
    signer *s = *abstract;
    s->wanted = true;
    kit_buf signature = {0};
    if (s->rsa != NULL) {
        bool good = signs_by_sha512(data, data_len) && ssh_rsa_sign(s->rsa, data, data_len, &signature);
        *sig_len = signature.length;
        *sig = good ? (unsigned char *)kit_buf_take(&signature) : NULL;
        kit_buf_free(&signature);
        return good ? 0 : -1;
    }
    if (s->key == NULL) return -1;
    uint32_t flags = signs_by_sha512(data, data_len) ? AGENT_RSA_SHA2_512 : 0;
    if (ssh_agent_sign(s->attempt->agent, s->key, data, data_len, flags, &signature, &s->error) != KOLM_OK) {
        kit_buf_free(&signature);
        return -1;
    }
    ssh_cursor cursor = {.at = (const uint8_t *)kit_buf_text(&signature), .left = signature.length};
    size_t n = 0;
    const uint8_t *algorithm = ssh_get_string(&cursor, &n);
    s->mismatch = flags != 0 && (cursor.failed || n != 12 || memcmp(algorithm, "rsa-sha2-512", 12) != 0);
    const uint8_t *inner = ssh_get_string(&cursor, &n);
    /* libssh2 frees it with free(), as the session was made without an allocator of its own. */
    *sig = cursor.failed || s->mismatch ? NULL : malloc(n > 0 ? n : 1);
    if (*sig != NULL) {
        memcpy(*sig, inner, n);
        *sig_len = n;
    }
    kit_buf_free(&signature);
    return *sig != NULL ? 0 : -1;
}

/* Runs one exchange over blob; *out_rc is libssh2's answer. */
static kit_status offer(attempt *a, signer *s, const uint8_t *blob, size_t length, int *out_rc, kolm_error_t *err) {
    void *abstract = s;
    kit_ssh *ssh = a->ssh;
    while ((*out_rc = libssh2_userauth_publickey(ssh->session, ssh->login, blob, length, sign_for, &abstract)) ==
           LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    return KOLM_OK;
}

/* A server that reads renamed RSA keys: one that refuses such a key need not be asked again in the old way, which would
 * count against the few attempts that it allows. */
static bool reads_renamed_rsa(kit_ssh *ssh) {
    const char *banner = libssh2_session_banner_get(ssh->session),
               *name = banner != NULL ? strstr(banner, "OpenSSH_") : NULL;
    return name != NULL && strtoul(name + strlen("OpenSSH_"), NULL, 10) >= 8;
}

/* libssh2 1.10 takes the algorithm of a signature from the key's own first string, where an RSA key says "ssh-rsa",
 * which means SHA-1. OpenSSH, since 7.2, also reads a key that says "rsa-sha2-512" there; other servers refuse it, and
 * get the plain key next. */
static bool rename_rsa(const uint8_t *blob, size_t length, kit_buf *out) {
    ssh_cursor cursor = {.at = blob, .left = length};
    size_t n = 0;
    const uint8_t *type = ssh_get_string(&cursor, &n);
    if (cursor.failed || n != 7 || memcmp(type, "ssh-rsa", 7) != 0 || libssh2_version(LIBSSH2_1_11) != NULL)
        return false;
    ssh_put_string(out, "rsa-sha2-512", 12);
    kit_buf_add(out, cursor.at, cursor.left);
    return !out->failed;
}

static bool can_sign(const char *type) {
    if (libssh2_version(LIBSSH2_1_11) != NULL) return true;
    if (strncmp(type, "sk-", 3) == 0) return false;
    return strstr(type, CERTIFICATE_SUFFIX) == NULL || strncmp(type, "ecdsa-", 6) == 0;
}

static kit_status try_agent_key(attempt *a, const ssh_agent_key *key, kolm_error_t *err) {
    char type[64], name[256];
    ssh_key_type(key->blob, key->length, type);
    kit_format(name, sizeof name, "%s key %s of ssh-agent", type, key->comment != NULL ? key->comment : "");
    if (!can_sign(type)) {
        say_tried(a, name, "skipped: libssh2 1.10 cannot use this type");
        return KOLM_OK;
    }
    signer s = {.attempt = a, .key = key, .error = KIT_ERROR_INIT};
    kit_buf renamed = {0};
    int rc = LIBSSH2_ERROR_AUTHENTICATION_FAILED;
    kit_status status = KOLM_OK;
    bool again = true;
    if (rename_rsa(key->blob, key->length, &renamed)) {
        status = offer(a, &s, (const uint8_t *)renamed.data, renamed.length, &rc, err);
        again = !reads_renamed_rsa(a->ssh);
    }
    kit_buf_free(&renamed);
    if (status == KOLM_OK && rc != 0 && again && !s.wanted && !a->ssh->spent)
        status = offer(a, &s, key->blob, key->length, &rc, err);
    KIT_TRY(status);
    if (s.error.code == KOLM_E_CANCELLED || s.error.code == KOLM_E_DEADLINE_EXCEEDED)
        return kit_fail(err, s.error.code, s.error.remedy, "%s", s.error.text);
    if (s.error.code != 0 && !a->ssh->spent) {
        say_tried(a, name, s.error.text);
        return KOLM_OK;
    }
    return judge(a, rc, name, err);
}

/* Keys of the agent: those that are named as files first, then, unless IdentitiesOnly, the others. */
static kit_status try_agent(attempt *a, kolm_error_t *err) {
    const char *path = a->options->agent_socket;
    if (path == NULL) path = a->config->identity_agent;
    if (path == NULL) path = secure_getenv("SSH_AUTH_SOCK");
    kolm_error_t why = KIT_ERROR_INIT;
    if (path == NULL || *path == '\0' || strcmp(path, "none") == 0) return KOLM_OK;
    kit_status status = ssh_agent_open(a->ssh, path, &a->agent, &why);
    if (status == KOLM_E_CANCELLED || status == KOLM_E_DEADLINE_EXCEEDED || status == KOLM_E_RESOURCE_EXHAUSTED)
        return kit_fail(err, status, why.remedy, "%s", why.text);
    if (a->agent == NULL) {
        say_tried(a, "ssh-agent", status == KOLM_OK ? "nobody listens at SSH_AUTH_SOCK" : why.text);
        return KOLM_OK;
    }
    size_t count = 0;
    const ssh_agent_key *keys = ssh_agent_keys(a->agent, &count);
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < count && !a->authenticated; k++) {
            bool named = false;
            for (size_t i = 0; i < a->identity_count && !named; i++) {
                const public_key *plain = &a->identities[i].plain;
                const public_key held = {.blob = keys[k].blob, .length = keys[k].length};
                uint64_t before = 0;
                named = plain->length > 0 &&
                        ((plain->length == keys[k].length && memcmp(plain->blob, keys[k].blob, plain->length) == 0) ||
                         certifies(&held, plain, &before));
            }
            if (named != (pass == 0) || (pass == 1 && a->config->identities_only)) continue;
            KIT_TRY(try_agent_key(a, &keys[k], err));
        }
    return KOLM_OK;
}

static kit_status try_file(attempt *a, const identity *id, const char *public_file, const char *passphrase,
                           const char *name, kolm_error_t *err) {
    kit_ssh *ssh = a->ssh;
    int rc;
    while ((rc = libssh2_userauth_publickey_fromfile_ex(ssh->session, ssh->login, (unsigned)strlen(ssh->login),
                                                        public_file, id->path, passphrase)) == LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    if (rc == LIBSSH2_ERROR_FILE || rc == LIBSSH2_ERROR_KEYFILE_AUTH_FAILED || rc == LIBSSH2_ERROR_METHOD_NONE ||
        (rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED && passphrase != NULL && !ssh->spent && !hung_up(ssh, rc))) {
        say_tried(a, name,
                  id->encrypted ? "the passphrase is wrong, or the file is damaged" : "not a key that libssh2 reads");
        return KOLM_OK;
    }
    if (rc != 0 && strcmp(id->plain.type, "ssh-rsa") == 0 && libssh2_version(LIBSSH2_1_11) == NULL) a->old_rsa = true;
    return judge(a, rc, name, err);
}

static kit_status try_certificate(attempt *a, const identity *id, const char *file, const char *passphrase,
                                  kolm_error_t *err) {
    public_key certificate;
    uint64_t before = UINT64_MAX;
    KIT_TRY(read_public(file, &certificate, err));
    kit_status status = KOLM_OK;
    if (certificate.length == 0 || strstr(certificate.type, CERTIFICATE_SUFFIX) == NULL) {
        say_tried(a, file, "no certificate");
    } else if (id->plain.length > 0 && !certifies(&certificate, &id->plain, &before)) {
        /* One of CertificateFile's, for another key. */
    } else if (!can_sign(certificate.type)) {
        say_tried(a, file, "skipped: libssh2 1.10 uses certificates of ECDSA keys only");
    } else {
        char name[512];
        kit_copy(name, sizeof name, file);
        if (before <= (uint64_t)time(NULL)) {
            struct tm when;
            time_t seconds = (time_t)before;
            char date[32] = "";
            if (gmtime_r(&seconds, &when) != NULL) strftime(date, sizeof date, "%Y-%m-%d %H:%M", &when);
            kit_format(name, sizeof name, "%.400s, which expired on %s UTC", file, date);
        }
        status = try_file(a, id, file, passphrase, name, err);
    }
    free(certificate.blob);
    return status;
}

/* Asks for the passphrase of id, if the server would take the key or that cannot be known. False: it is not to be
 * tried. */
static kit_status unlock(attempt *a, const identity *id, char *passphrase, size_t capacity, bool *out_go_on,
                         kolm_error_t *err) {
    *out_go_on = false;
    if (strcmp(id->plain.type, "ssh-rsa") == 0 && libssh2_version(LIBSSH2_1_11) == NULL) {
        say_tried(a, id->path, "encrypted RSA: libssh2 1.10 cannot use it, add it to ssh-agent with ssh-add");
        return KOLM_OK;
    }
    if (id->plain.length > 0 && id->certificates.count == 0) {
        signer s = {.attempt = a, .error = KIT_ERROR_INIT};
        int rc = 0;
        KIT_TRY(offer(a, &s, id->plain.blob, id->plain.length, &rc, err));
        if (!s.wanted) return judge(a, rc, id->path, err);
    }
    if (a->options->passphrase == NULL) {
        say_tried(a, id->path, "encrypted: add it to ssh-agent with ssh-add");
        return KOLM_OK;
    }
    int64_t before = kit_now_ms();
    *out_go_on = a->options->passphrase(a->options->user, id->path, passphrase, capacity) != 0;
    passphrase[capacity - 1] = '\0';
    a->ssh->deadline_ms += kit_now_ms() - before; /* a person's typing is not the network's time */
    if (!*out_go_on) say_tried(a, id->path, "encrypted, and no passphrase was given");
    return KOLM_OK;
}

/* An RSA file, which libssh2 1.10 would sign with by SHA-1. *out_done: it was tried here, one way or the other. */
static kit_status try_rsa_file(attempt *a, const identity *id, bool *out_done, kolm_error_t *err) {
    *out_done = false;
    kit_buf renamed = {0};
    ssh_rsa *rsa = NULL;
    kit_status status = KOLM_OK;
    if (id->plain.length > 0 && rename_rsa(id->plain.blob, id->plain.length, &renamed))
        status = ssh_rsa_read(id->path, &rsa, err);
    if (status == KOLM_OK && rsa != NULL) {
        signer s = {.attempt = a, .rsa = rsa, .error = KIT_ERROR_INIT};
        int rc = 0;
        status = offer(a, &s, (const uint8_t *)renamed.data, renamed.length, &rc, err);
        /* Whoever does not know the renamed key is asked again in the old way. */
        *out_done = status != KOLM_OK || rc == 0 || s.wanted || a->ssh->spent || reads_renamed_rsa(a->ssh);
        if (status == KOLM_OK && *out_done) status = judge(a, rc, id->path, err);
    }
    ssh_rsa_free(rsa);
    kit_buf_free(&renamed);
    return status;
}

static bool agent_has(const attempt *a, const identity *id) {
    size_t count = 0;
    const ssh_agent_key *keys = a->agent != NULL ? ssh_agent_keys(a->agent, &count) : NULL;
    for (size_t k = 0; k < count; k++)
        if (id->plain.length > 0 && id->plain.length == keys[k].length &&
            memcmp(id->plain.blob, keys[k].blob, keys[k].length) == 0)
            return true;
    return false;
}

static kit_status try_identity(attempt *a, const identity *id, kolm_error_t *err) {
    char passphrase[1024] = "";
    bool go_on = true;
    kit_status status = KOLM_OK;
    if (!id->exists || (agent_has(a, id) && id->certificates.count == 0)) return KOLM_OK;
    if (id->exposed) {
        say_tried(a, id->path, "skipped: others may read it, chmod 600 it");
        return KOLM_OK;
    }
    if (id->encrypted) status = unlock(a, id, passphrase, sizeof passphrase, &go_on, err);
    const char *words = id->encrypted ? passphrase : NULL;
    for (size_t i = 0; i < id->certificates.count && status == KOLM_OK && go_on && !a->authenticated; i++)
        status = try_certificate(a, id, id->certificates.items[i], words, err);
    bool done = a->authenticated || agent_has(a, id) || !go_on;
    if (status == KOLM_OK && !done && !id->encrypted) status = try_rsa_file(a, id, &done, err);
    if (status == KOLM_OK && !done) status = try_file(a, id, NULL, words, id->path, err);
    explicit_bzero(passphrase, sizeof passphrase);
    return status;
}

/* ---- All of it */

static kit_status ask_methods(attempt *a, char **out_methods, kolm_error_t *err) {
    kit_ssh *ssh = a->ssh;
    while (true) {
        char *methods = libssh2_userauth_list(ssh->session, ssh->login, (unsigned)strlen(ssh->login));
        if (methods != NULL) return kit_strdup(methods, out_methods, err);
        if (libssh2_userauth_authenticated(ssh->session) != 0) {
            a->authenticated = true;
            return KOLM_OK;
        }
        int code = libssh2_session_last_errno(ssh->session);
        if (code != LIBSSH2_ERROR_EAGAIN) return ssh_fail(ssh, code, ssh->stage, err);
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    }
}

static kit_status refused(const attempt *a, const char *methods, kolm_error_t *err) {
    const kit_ssh *ssh = a->ssh;
    char remedy[320];
    if (strstr(methods, "publickey") == NULL)
        return kit_fail(err, KOLM_E_UNAUTHENTICATED, "let its sshd accept keys (PubkeyAuthentication yes)",
                        "%s takes no keys, only: %s", ssh->label, *methods != '\0' ? methods : "nothing");
    kit_format(
        remedy, sizeof remedy,
        a->old_rsa
            ? "libssh2 %s cannot use every RSA file: if this is the right key, ssh-add it, or make an Ed25519 one"
            : "ssh-copy-id your key there, or name the right one with IdentityFile%.0s",
        libssh2_version(0));
    return kit_fail(err, KOLM_E_UNAUTHENTICATED, remedy, "%s@%s accepted no key; tried: %s", ssh->login, ssh->label,
                    a->tried.length > 0 ? kit_buf_text(&a->tried)
                                        : "none, as there is no key file in ~/.ssh and no ssh-agent");
}

static void free_attempt(attempt *a) {
    for (size_t i = 0; i < a->identity_count; i++) {
        free(a->identities[i].path);
        free(a->identities[i].plain.blob);
        ssh_list_free(&a->identities[i].certificates);
    }
    free(a->identities);
    ssh_agent_close(a->agent);
    kit_buf_free(&a->tried);
}

kit_status ssh_authenticate(kit_ssh *ssh, const kit_ssh_options *options, const kit_ssh_config *config,
                            kolm_error_t *err) {
    attempt a = {.ssh = ssh, .options = options, .config = config};
    char *methods = NULL;
    ssh->stage = "the authentication";
    kit_status status = ask_methods(&a, &methods, err);
    if (status == KOLM_OK && !a.authenticated && strstr(methods, "publickey") != NULL) {
        status = find_identities(&a, err);
        if (status == KOLM_OK) status = try_agent(&a, err);
        for (size_t i = 0; i < a.identity_count && status == KOLM_OK && !a.authenticated; i++)
            status = try_identity(&a, &a.identities[i], err);
    }
    if (status == KOLM_OK && !a.authenticated) status = refused(&a, methods, err);
    free(methods);
    free_attempt(&a);
    return status;
}
