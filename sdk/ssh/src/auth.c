/* SPDX-License-Identifier: Apache-2.0 */
/* Authentication in ssh's order: none, agent keys, key files with their certificates; and a list of what was tried. */
#include "auth.h"

#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AGENT_RSA_SHA2_512 4

void ssh_say_tried(ssh_attempt *a, const char *name, const char *outcome) {
    kit_buf_fmt(&a->tried, "%s%s (%s)", a->tried.length > 0 ? ", " : "", name, outcome);
}

/* ---- One key */

/* True if libssh2 timed out: it returns the same code for that as for a refused signature. */
static bool hung_up(kit_ssh *ssh, int rc) {
    char *words = NULL;
    if (rc != LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED) return false;
    libssh2_session_last_error(ssh->session, &words, NULL, 0);
    return words != NULL && strncmp(words, "Waiting for", 11) == 0;
}

/* Handles libssh2's result for one key: accepted, refused (KOLM_OK with authenticated false), or the connection
 * ended. */
static kit_status judge(ssh_attempt *a, int rc, const char *name, kolm_error_t *err) {
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
    /* The key signed, but the server still refused: it may have accepted the key and require more. */
    if (rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED) return ssh_factor_look(a, name, err);
    ssh_say_tried(a, name, "refused");
    return KOLM_OK;
}

typedef struct signer {
    ssh_attempt *attempt;
    const ssh_rsa *rsa;       /* signs itself; or */
    const ssh_agent_key *key; /* the agent signs; neither: only finds out whether the server would accept the key */
    bool wanted;              /* the server would accept it */
    bool mismatch;            /* the agent's signature algorithm differs from the one that libssh2 will state */
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
    /* libssh2 frees it with free(), because the session has no allocator of its own. */
    *sig = cursor.failed || s->mismatch ? NULL : malloc(n > 0 ? n : 1);
    if (*sig != NULL) {
        memcpy(*sig, inner, n);
        *sig_len = n;
    }
    kit_buf_free(&signature);
    return *sig != NULL ? 0 : -1;
}

/* Runs one exchange for blob; *out_rc is libssh2's result. */
static kit_status offer(ssh_attempt *a, signer *s, const uint8_t *blob, size_t length, int *out_rc, kolm_error_t *err) {
    void *abstract = s;
    kit_ssh *ssh = a->ssh;
    while ((*out_rc = libssh2_userauth_publickey(ssh->session, ssh->login, blob, length, sign_for, &abstract)) ==
           LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    return KOLM_OK;
}

/* True for a server that accepts renamed RSA keys: if it refuses one, do not try the old form, which would count
 * against the few attempts that it allows. */
static bool reads_renamed_rsa(kit_ssh *ssh) {
    const char *banner = libssh2_session_banner_get(ssh->session),
               *name = banner != NULL ? strstr(banner, "OpenSSH_") : NULL;
    return name != NULL && strtoul(name + strlen("OpenSSH_"), NULL, 10) >= 8;
}

/* libssh2 1.10 takes the signature algorithm from the first string of the key, which is "ssh-rsa" for an RSA key and
 * means SHA-1. OpenSSH, since 7.2, also accepts a key with "rsa-sha2-512" there; other servers refuse it, and get the
 * plain key next. */
static bool rename_rsa(const uint8_t *blob, size_t length, kit_buf *out) {
    ssh_cursor cursor = {.at = blob, .left = length};
    size_t n = 0;
    const uint8_t *type = ssh_get_string(&cursor, &n);
    if (cursor.failed || n != 7 || memcmp(type, "ssh-rsa", 7) != 0 || libssh2_version(SSH_LIBSSH2_1_11) != NULL)
        return false;
    ssh_put_string(out, "rsa-sha2-512", 12);
    kit_buf_add(out, cursor.at, cursor.left);
    return !out->failed;
}

static bool can_sign(const char *type) {
    if (libssh2_version(SSH_LIBSSH2_1_11) != NULL) return true;
    if (strncmp(type, "sk-", 3) == 0) return false;
    return strstr(type, SSH_CERTIFICATE_SUFFIX) == NULL || strncmp(type, "ecdsa-", 6) == 0;
}

/* RSA keys sign with rsa-sha2-512. */
static const char *algorithm_of(const char *type) {
    if (strcmp(type, "ssh-rsa") == 0) return "rsa-sha2-512";
    return strcmp(type, "ssh-rsa" SSH_CERTIFICATE_SUFFIX) == 0 ? "rsa-sha2-512" SSH_CERTIFICATE_SUFFIX : type;
}

const char *ssh_unusable(const ssh_attempt *a, const uint8_t *blob, size_t length, const char *type) {
    bool certificate = strstr(type, SSH_CERTIFICATE_SUFFIX) != NULL;
    if (!can_sign(type))
        return certificate ? "skipped: libssh2 1.10 uses certificates of ECDSA keys only"
                           : "skipped: libssh2 1.10 cannot use this type";
    if (!ssh_algorithm_allowed(a->config->pubkey_algorithms, algorithm_of(type)))
        return "skipped: PubkeyAcceptedAlgorithms does not allow it";
    if (strcmp(type, "ssh-rsa") == 0 && ssh_rsa_bits(blob, length) < a->config->least_rsa_bits)
        return "skipped: RequiredRSASize requires more bits";
    return NULL;
}

/* Runs one exchange in which the agent signs with key; blob is the key itself or a certificate for it. */
static kit_status offer_held(ssh_attempt *a, const ssh_agent_key *key, const uint8_t *blob, size_t length,
                             const char *name, kolm_error_t *err) {
    signer s = {.attempt = a, .key = key, .error = KIT_ERROR_INIT};
    kit_buf renamed = {0};
    int rc = LIBSSH2_ERROR_AUTHENTICATION_FAILED;
    kit_status status = KOLM_OK;
    bool again = true;
    if (rename_rsa(blob, length, &renamed)) {
        status = offer(a, &s, (const uint8_t *)renamed.data, renamed.length, &rc, err);
        again = !reads_renamed_rsa(a->ssh);
    }
    kit_buf_free(&renamed);
    if (status == KOLM_OK && rc != 0 && again && !s.wanted && !a->ssh->spent)
        status = offer(a, &s, blob, length, &rc, err);
    KIT_TRY(status);
    if (s.error.code == KOLM_E_CANCELLED || s.error.code == KOLM_E_DEADLINE_EXCEEDED)
        return kit_fail(err, s.error.code, s.error.remedy, "%s", s.error.text);
    if (s.error.code != 0 && !a->ssh->spent) {
        ssh_say_tried(a, name, s.error.text);
        return KOLM_OK;
    }
    return judge(a, rc, name, err);
}

static kit_status try_agent_key(ssh_attempt *a, const ssh_agent_key *key, kolm_error_t *err) {
    char type[64], name[256];
    ssh_key_type(key->blob, key->length, type);
    kit_format(name, sizeof name, "%s key %s of ssh-agent", type, key->comment != NULL ? key->comment : "");
    const char *unusable = ssh_unusable(a, key->blob, key->length, type);
    if (unusable == NULL) return offer_held(a, key, key->blob, key->length, name, err);
    ssh_say_tried(a, name, unusable);
    return KOLM_OK;
}

/* Tries a certificate file whose key is in the agent. */
static kit_status try_held_certificate(ssh_attempt *a, const ssh_agent_key *key, const char *file, kolm_error_t *err) {
    const ssh_public_key plain = {.blob = key->blob, .length = key->length};
    ssh_public_key certificate;
    uint64_t before = 0;
    KIT_TRY(ssh_public_read(file, &certificate, err));
    kit_status status = KOLM_OK;
    if (certificate.length > 0 && strstr(certificate.type, SSH_CERTIFICATE_SUFFIX) != NULL &&
        ssh_certifies(&certificate, &plain, &before)) {
        const char *unusable = ssh_unusable(a, certificate.blob, certificate.length, certificate.type);
        if (unusable != NULL)
            ssh_say_tried(a, file, unusable);
        else
            status = offer_held(a, key, certificate.blob, certificate.length, file, err);
    }
    free(certificate.blob);
    return status;
}

static const ssh_identity *named_identity(const ssh_attempt *a, const ssh_agent_key *key) {
    const ssh_public_key held = {.blob = key->blob, .length = key->length};
    uint64_t before = 0;
    for (size_t i = 0; i < a->identity_count; i++) {
        const ssh_public_key *plain = &a->identities[i].plain;
        if (plain->length > 0 && ((plain->length == key->length && memcmp(plain->blob, key->blob, key->length) == 0) ||
                                  ssh_certifies(&held, plain, &before)))
            return &a->identities[i];
    }
    return NULL;
}

static bool goes_on(const ssh_attempt *a) {
    return !a->authenticated && strstr(a->methods, "publickey") != NULL;
}

static kit_status try_agent_keys(ssh_attempt *a, kolm_error_t *err) {
    size_t count = 0;
    const ssh_agent_key *keys = ssh_agent_keys(a->agent, &count);
    for (int pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < count && goes_on(a); k++) {
            const ssh_identity *id = named_identity(a, &keys[k]);
            if ((id != NULL) != (pass == 0) || (pass == 1 && a->config->identities_only)) continue;
            for (size_t i = 0; id != NULL && !id->exists && i < id->certificates.count && goes_on(a); i++)
                KIT_TRY(try_held_certificate(a, &keys[k], id->certificates.items[i], err));
            if (goes_on(a)) KIT_TRY(try_agent_key(a, &keys[k], err));
        }
    return KOLM_OK;
}

/* Tries agent keys: first those also named as files, then, unless IdentitiesOnly, the others. */
static kit_status try_agent(ssh_attempt *a, kolm_error_t *err) {
    const char *path = a->options->agent_socket;
    if (path == NULL) path = a->config->identity_agent;
    if (path == NULL) path = secure_getenv("SSH_AUTH_SOCK");
    kolm_error_t why = KIT_ERROR_INIT;
    if (path == NULL || *path == '\0' || strcmp(path, "none") == 0) return KOLM_OK;
    kit_status status = ssh_agent_open(a->ssh, path, &a->agent, &why);
    if (status == KOLM_E_CANCELLED || status == KOLM_E_DEADLINE_EXCEEDED || status == KOLM_E_RESOURCE_EXHAUSTED)
        return kit_fail(err, status, why.remedy, "%s", why.text);
    if (a->agent != NULL) return try_agent_keys(a, err);
    ssh_say_tried(a, "ssh-agent", status == KOLM_OK ? "no agent listens on SSH_AUTH_SOCK" : why.text);
    return KOLM_OK;
}

static kit_status try_file(ssh_attempt *a, const ssh_identity *id, const char *public_file, const char *passphrase,
                           const char *name, kolm_error_t *err) {
    kit_ssh *ssh = a->ssh;
    int rc;
    while ((rc = libssh2_userauth_publickey_fromfile_ex(ssh->session, ssh->login, (unsigned)strlen(ssh->login),
                                                        public_file, id->path, passphrase)) == LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    if (rc == LIBSSH2_ERROR_FILE || rc == LIBSSH2_ERROR_KEYFILE_AUTH_FAILED || rc == LIBSSH2_ERROR_METHOD_NONE ||
        (rc == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED && passphrase != NULL && !ssh->spent && !hung_up(ssh, rc))) {
        ssh_say_tried(a, name,
                      id->encrypted ? "the passphrase is wrong, or the file is damaged"
                                    : "not a key that libssh2 reads");
        return KOLM_OK;
    }
    if (rc != 0 && strcmp(id->plain.type, "ssh-rsa") == 0 && libssh2_version(SSH_LIBSSH2_1_11) == NULL)
        a->old_rsa = true;
    return judge(a, rc, name, err);
}

static kit_status try_certificate(ssh_attempt *a, const ssh_identity *id, const char *file, const char *passphrase,
                                  kolm_error_t *err) {
    ssh_public_key certificate;
    uint64_t before = UINT64_MAX;
    const char *unusable = NULL;
    KIT_TRY(ssh_public_read(file, &certificate, err));
    kit_status status = KOLM_OK;
    if (certificate.length == 0 || strstr(certificate.type, SSH_CERTIFICATE_SUFFIX) == NULL) {
        ssh_say_tried(a, file, "no certificate");
    } else if (id->plain.length > 0 && !ssh_certifies(&certificate, &id->plain, &before)) {
        /* A CertificateFile for another key. */
    } else if ((unusable = ssh_unusable(a, certificate.blob, certificate.length, certificate.type)) != NULL) {
        ssh_say_tried(a, file, unusable);
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

/* Asks for the passphrase of id, unless the server is known to reject the key. *out_go_on false: do not try it. */
static kit_status unlock(ssh_attempt *a, const ssh_identity *id, char *passphrase, size_t capacity, bool *out_go_on,
                         kolm_error_t *err) {
    *out_go_on = false;
    if (strcmp(id->plain.type, "ssh-rsa") == 0 && libssh2_version(SSH_LIBSSH2_1_11) == NULL) {
        ssh_say_tried(a, id->path, "encrypted RSA: libssh2 1.10 cannot use it, add it to ssh-agent with ssh-add");
        return KOLM_OK;
    }
    if (id->plain.length > 0 && id->certificates.count == 0) {
        signer s = {.attempt = a, .error = KIT_ERROR_INIT};
        int rc = 0;
        KIT_TRY(offer(a, &s, id->plain.blob, id->plain.length, &rc, err));
        if (!s.wanted) return judge(a, rc, id->path, err);
    }
    if (a->options->passphrase == NULL) {
        ssh_say_tried(a, id->path, "encrypted: add it to ssh-agent with ssh-add");
        return KOLM_OK;
    }
    int64_t before = kit_now_ms();
    *out_go_on = a->options->passphrase(a->options->user, id->path, passphrase, capacity) != 0;
    passphrase[capacity - 1] = '\0';
    a->ssh->deadline_ms += kit_now_ms() - before; /* typing does not count as network time */
    if (!*out_go_on) ssh_say_tried(a, id->path, "encrypted, and no passphrase was given");
    return KOLM_OK;
}

/* Tries an RSA file, with which libssh2 1.10 would sign using SHA-1. *out_done: it was tried here, in either form. */
static kit_status try_rsa_file(ssh_attempt *a, const ssh_identity *id, bool *out_done, kolm_error_t *err) {
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
        /* Servers that reject the renamed key get the old form. */
        *out_done = status != KOLM_OK || rc == 0 || s.wanted || a->ssh->spent || reads_renamed_rsa(a->ssh);
        if (status == KOLM_OK && *out_done) status = judge(a, rc, id->path, err);
    }
    ssh_rsa_free(rsa);
    kit_buf_free(&renamed);
    return status;
}

static bool agent_has(const ssh_attempt *a, const ssh_identity *id) {
    size_t count = 0;
    const ssh_agent_key *keys = a->agent != NULL ? ssh_agent_keys(a->agent, &count) : NULL;
    for (size_t k = 0; k < count; k++)
        if (id->plain.length > 0 && id->plain.length == keys[k].length &&
            memcmp(id->plain.blob, keys[k].blob, keys[k].length) == 0)
            return true;
    return false;
}

/* True if the identity must not be tried; notes a remedy. */
static bool leave(ssh_attempt *a, const ssh_identity *id) {
    const char *unusable = NULL;
    if (id->public_only && !agent_has(a, id))
        ssh_say_tried(a, id->path, "a public key, and no ssh-agent holds the private one");
    if (!id->exists || (agent_has(a, id) && id->certificates.count == 0)) return true;
    if (id->exposed)
        unusable = "skipped: others can read it, chmod 600 it";
    else if (id->plain.length > 0 && id->certificates.count == 0)
        unusable = ssh_unusable(a, id->plain.blob, id->plain.length, id->plain.type);
    if (unusable != NULL) ssh_say_tried(a, id->path, unusable);
    return unusable != NULL;
}

static kit_status try_identity(ssh_attempt *a, const ssh_identity *id, kolm_error_t *err) {
    char passphrase[1024] = "";
    bool go_on = true;
    kit_status status = KOLM_OK;
    if (leave(a, id)) return KOLM_OK;
    if (id->encrypted) status = unlock(a, id, passphrase, sizeof passphrase, &go_on, err);
    const char *words = id->encrypted ? passphrase : NULL;
    for (size_t i = 0; i < id->certificates.count && status == KOLM_OK && go_on && goes_on(a); i++)
        status = try_certificate(a, id, id->certificates.items[i], words, err);
    bool done = !goes_on(a) || agent_has(a, id) || !go_on;
    const char *unusable =
        !done && id->plain.length > 0 ? ssh_unusable(a, id->plain.blob, id->plain.length, id->plain.type) : NULL;
    if (unusable != NULL) {
        ssh_say_tried(a, id->path, unusable);
        done = true;
    }
    if (status == KOLM_OK && !done && !id->encrypted) status = try_rsa_file(a, id, &done, err);
    if (status == KOLM_OK && !done) status = try_file(a, id, NULL, words, id->path, err);
    explicit_bzero(passphrase, sizeof passphrase);
    return status;
}

/* ---- The whole procedure */

static kit_status refused(const ssh_attempt *a, kolm_error_t *err) {
    const kit_ssh *ssh = a->ssh;
    const char *methods = a->methods;
    char remedy[320];
    if (strstr(methods, "publickey") == NULL)
        return kit_fail(err, KOLM_E_UNAUTHENTICATED, "configure its sshd to accept keys (PubkeyAuthentication yes)",
                        "%s does not accept keys, only: %s", ssh->label, *methods != '\0' ? methods : "nothing");
    kit_format(
        remedy, sizeof remedy,
        a->old_rsa
            ? "libssh2 %s cannot use every RSA file: if this is the right key, ssh-add it, or make an Ed25519 one"
            : "ssh-copy-id your key there, or name the right one with IdentityFile%.0s",
        libssh2_version(0));
    return kit_fail(err, KOLM_E_UNAUTHENTICATED, remedy, "%s@%s accepted no key; tried: %s", ssh->login, ssh->label,
                    a->tried.length > 0 ? kit_buf_text(&a->tried)
                                        : "none, because there is no key file in ~/.ssh and no ssh-agent");
}

static void free_attempt(ssh_attempt *a) {
    for (size_t i = 0; i < a->identity_count; i++) {
        free(a->identities[i].path);
        free(a->identities[i].plain.blob);
        kit_ssh_list_free(&a->identities[i].certificates);
    }
    free(a->identities);
    ssh_agent_close(a->agent);
    free(a->methods);
    free(a->first_factor);
    kit_buf_free(&a->tried);
}

kit_status ssh_authenticate(kit_ssh *ssh, const kit_ssh_options *options, const kit_ssh_config *config,
                            kolm_error_t *err) {
    ssh_attempt a = {.ssh = ssh, .options = options, .config = config};
    ssh->stage = "the authentication";
    kit_status status = ssh_ask_methods(&a, &a.methods, err);
    if (status == KOLM_OK && goes_on(&a)) {
        status = ssh_identities_find(&a, err);
        if (status == KOLM_OK) status = try_agent(&a, err);
        for (size_t i = 0; i < a.identity_count && status == KOLM_OK && goes_on(&a); i++)
            status = try_identity(&a, &a.identities[i], err);
    }
    if (status == KOLM_OK && !a.authenticated)
        status = a.first_factor != NULL ? ssh_factor_second(&a, err) : refused(&a, err);
    free_attempt(&a);
    return status;
}
