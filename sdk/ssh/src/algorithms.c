/* SPDX-License-Identifier: Apache-2.0 */
/* The algorithms offered: our list, as modified by the configuration, limited to what this libssh2 supports. */
#include "internal.h"

#include <string.h>

#define HOST_KEY_TYPES                                                                                                 \
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-rsa"
#define KEX                                                                                                            \
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"         \
    "diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,"                \
    "diffie-hellman-group14-sha256"
/* Not methods but extensions that this side supports; part of every list. */
#define MARKERS ",ext-info-c,kex-strict-c-v00@openssh.com"
#define CIPHERS                                                                                                        \
    "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,chacha20-poly1305@openssh.com"
#define MACS "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"

/* ---- Comma-separated lists */

/* Appends a name unless it is already there. */
static void add_name(kit_buf *list, const char *name, size_t length) {
    for (const char *p = kit_buf_text(list); *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n == length && memcmp(p, name, n) == 0) return;
        p += n + (p[n] == ',');
    }
    if (list->length > 0) kit_buf_char(list, ',');
    kit_buf_add(list, name, length);
}

static void add_names(kit_buf *list, const char *names) {
    for (const char *p = names; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n > 0) add_name(list, p, n);
        p += n + (p[n] == ',');
    }
}

/* Appends base as modified by said, see ssh_config(5): "+more", "-patterns", "^first", or a list that replaces it. */
static void add_said(kit_buf *out, const char *base, const char *said) {
    if (said == NULL || *said == '+') {
        add_names(out, base);
        if (said != NULL) add_names(out, said + 1);
    } else if (*said == '^') {
        add_names(out, said + 1);
        add_names(out, base);
    } else if (*said != '-') {
        add_names(out, said);
    } else {
        for (const char *p = base; *p != '\0';) {
            char name[80];
            size_t n = strcspn(p, ",");
            kit_format(name, sizeof name, "%.*s", (int)n, p);
            if (!ssh_match_patterns(name, said + 1, false)) add_name(out, p, n);
            p += n + (p[n] == ',');
        }
    }
}

bool ssh_algorithm_allowed(const char *said, const char *name) {
    if (said == NULL || *said == '+' || *said == '^') return true;
    if (*said == '-') return !ssh_match_patterns(name, said + 1, false);
    return ssh_match_patterns(name, said, false);
}

/* ---- What libssh2 supports */

/* Appends those of wanted, in order, that this libssh2 supports. (1.10 copies overlapping memory if passed a method
 * that it lacks.) */
static void keep_supported(kit_ssh *ssh, int method, const char *wanted, kit_buf *out) {
    const char **have = NULL;
    int count = libssh2_session_supported_algs(ssh->session, method, &have);
    for (const char *p = wanted; count > 0 && *p != '\0';) {
        size_t length = strcspn(p, ",");
        for (int i = 0; i < count; i++)
            if (strlen(have[i]) == length && memcmp(have[i], p, length) == 0) add_name(out, p, length);
        p += length + (p[length] == ',');
    }
    if (count > 0) libssh2_free(ssh->session, have);
}

/* said: the configured list, or NULL. If libssh2 supports none of it, offers the default ones, with a note: better than
 * locking out users who allow only newer algorithms. */
static kit_status prefer(kit_ssh *ssh, int method, const char *wanted, const char *base, const char *said,
                         const char *keyword, kolm_error_t *err) {
    kit_buf list = {0};
    char text[400];
    keep_supported(ssh, method, wanted, &list);
    if (list.length == 0 && said != NULL) {
        kit_format(text, sizeof text,
                   "%s of the SSH configuration for %s is ignored, because libssh2 %s has none of %.200s", keyword,
                   ssh->label, libssh2_version(0), said);
        ssh_say(ssh, text);
        keep_supported(ssh, method, base, &list);
    }
    kit_status status = kit_buf_ok(&list, err);
    if (status == KOLM_OK && list.length > 0) (void)libssh2_session_method_pref(ssh->session, method, list.data);
    kit_buf_free(&list);
    return status;
}

static kit_status prefer_said(kit_ssh *ssh, int method, const char *base, const char *said, const char *keyword,
                              kolm_error_t *err) {
    kit_buf wanted = {0};
    add_said(&wanted, base, said);
    kit_status status = kit_buf_ok(&wanted, err);
    if (status == KOLM_OK) status = prefer(ssh, method, kit_buf_text(&wanted), base, said, keyword, err);
    kit_buf_free(&wanted);
    return status;
}

/* Puts types for which a key of this host is known first: otherwise a host with several keys looks changed. */
static kit_status prefer_known(kit_ssh *ssh, const ssh_host_check *check, const char *said, kolm_error_t *err) {
    kit_buf wanted = {0}, order = {0};
    add_said(&wanted, HOST_KEY_TYPES, said);
    kit_status status = kit_buf_ok(&wanted, err);
    for (int pass = 0; pass < 2 && status == KOLM_OK; pass++)
        for (const char *p = kit_buf_text(&wanted); *p != '\0';) {
            char type[80];
            size_t length = strcspn(p, ",");
            kit_format(type, sizeof type, "%.*s", (int)length, p);
            bool has = ssh_host_check_has_type(check, strncmp(type, "rsa-sha2-", 9) == 0 ? "ssh-rsa" : type);
            if (has == (pass == 0)) add_name(&order, p, length);
            p += length + (p[length] == ',');
        }
    if (status == KOLM_OK) status = kit_buf_ok(&order, err);
    if (status == KOLM_OK)
        status =
            prefer(ssh, LIBSSH2_METHOD_HOSTKEY, kit_buf_text(&order), HOST_KEY_TYPES, said, "HostKeyAlgorithms", err);
    kit_buf_free(&wanted);
    kit_buf_free(&order);
    return status;
}

/* The markers of the base are not part of the configured list. */
static kit_status prefer_kex(kit_ssh *ssh, const char *said, kolm_error_t *err) {
    kit_buf marked = {0};
    if (said == NULL || strchr("+-^", *said) != NULL)
        return prefer_said(ssh, LIBSSH2_METHOD_KEX, KEX MARKERS, said, "KexAlgorithms", err);
    keep_supported(ssh, LIBSSH2_METHOD_KEX, said, &marked);
    if (marked.length > 0) kit_buf_str(&marked, MARKERS);
    kit_status status = kit_buf_ok(&marked, err);
    if (status == KOLM_OK)
        status = prefer(ssh, LIBSSH2_METHOD_KEX, kit_buf_text(&marked), KEX MARKERS, said, "KexAlgorithms", err);
    kit_buf_free(&marked);
    return status;
}

kit_status ssh_prefer_algorithms(kit_ssh *ssh, const kit_ssh_config *config, const ssh_host_check *check,
                                 kolm_error_t *err) {
    KIT_TRY(prefer_kex(ssh, config->kex_algorithms, err));
    KIT_TRY(prefer_said(ssh, LIBSSH2_METHOD_CRYPT_CS, CIPHERS, config->ciphers, "Ciphers", err));
    KIT_TRY(prefer_said(ssh, LIBSSH2_METHOD_CRYPT_SC, CIPHERS, config->ciphers, "Ciphers", err));
    KIT_TRY(prefer_said(ssh, LIBSSH2_METHOD_MAC_CS, MACS, config->macs, "MACs", err));
    KIT_TRY(prefer_said(ssh, LIBSSH2_METHOD_MAC_SC, MACS, config->macs, "MACs", err));
    return prefer_known(ssh, check, config->host_key_algorithms, err);
}
