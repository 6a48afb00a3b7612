/* SPDX-License-Identifier: Apache-2.0 */
/* Verifies the host key: known_hosts, revoked keys, and StrictHostKeyChecking for unknown ones.
 */
#include "internal.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REVOKED_BYTES (16u << 20)

void ssh_say(kit_ssh *ssh, const char *text) {
    kit_buf_fmt(&ssh->notes, "%s\n", text);
    if (ssh->note != NULL) ssh->note(ssh->user, text);
}

static void say(kit_ssh *ssh, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(kit_ssh *ssh, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ssh_say(ssh, text);
}

/* ---- The files */

static kit_status add_all(kit_ssh_list *list, const char *const *files, size_t count, kolm_error_t *err) {
    for (size_t i = 0; i < count; i++)
        KIT_TRY(kit_ssh_list_add(list, files[i], strlen(files[i]), err));
    return KOLM_OK;
}

static kit_status add_usual(kit_ssh_list *list, kolm_error_t *err) {
    static const char *const usual[] = {".ssh/known_hosts", ".ssh/known_hosts2"};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        char *path = NULL;
        KIT_TRY(ssh_home_path(usual[i], &path, err));
        kit_status status = path != NULL ? kit_ssh_list_add(list, path, strlen(path), err) : KOLM_OK;
        free(path);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

static kit_status list_files(ssh_host_check *check, const kit_ssh_options *options, const kit_ssh_config *config,
                             kolm_error_t *err) {
    static const char *const global[] = {"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"};
    const kit_ssh_list *own = &config->known_hosts, *all = &config->global_known_hosts;
    if (options->known_hosts_count > 0)
        KIT_TRY(add_all(&check->files, options->known_hosts, options->known_hosts_count, err));
    else if (config->known_hosts_set)
        KIT_TRY(add_all(&check->files, (const char *const *)own->items, own->count, err));
    else
        KIT_TRY(add_usual(&check->files, err));
    check->own = check->files.count;
    if (config->global_known_hosts_set) return add_all(&check->files, (const char *const *)all->items, all->count, err);
    return add_all(&check->files, global, sizeof global / sizeof *global, err);
}

kit_status ssh_host_check_begin(ssh_host_check *check, const kit_ssh *ssh, const kit_ssh_options *options,
                                const kit_ssh_config *config, const char *host, uint16_t port, kolm_error_t *err) {
    *check = (ssh_host_check){.options = options, .config = config};
    const char *alias = config->host_key_alias;
    kit_copy(check->name, sizeof check->name, alias != NULL ? alias : ssh->label);
    KIT_TRY(list_files(check, options, config, err));
    for (size_t i = 0; i < check->files.count; i++) {
        KIT_TRY(ssh_known_read(&check->known, check->files.items[i], check->name, err));
        if (alias == NULL && port != 22) KIT_TRY(ssh_known_read(&check->bare, check->files.items[i], host, err));
    }
    return KOLM_OK;
}

bool ssh_host_check_has_type(const ssh_host_check *check, const char *type) {
    return ssh_known_has_type(&check->known, type) ||
           (check->known.count == 0 && ssh_known_has_type(&check->bare, type));
}

void ssh_host_check_free(ssh_host_check *check) {
    kit_ssh_list_free(&check->files);
    ssh_known_free(&check->known);
    ssh_known_free(&check->bare);
}

/* ---- RevokedHostKeys */

/* Keys, one per line; if the file cannot be read, all are refused, as in ssh. */
static kit_status check_revoked(const kit_ssh *ssh, const char *file, const uint8_t *key, size_t length,
                                kolm_error_t *err) {
    static const char list_magic[] = "SSHKRL\n";
    kit_buf text = {0};
    bool revoked = false;
    kit_status status = kit_read_file(file, MOST_REVOKED_BYTES, &text, err);
    if (status != KOLM_OK) {
        status = kit_fail_context(err, "RevokedHostKeys of the SSH configuration for %s", ssh->label);
    } else if (text.length >= sizeof list_magic && memcmp(text.data, list_magic, sizeof list_magic - 1) == 0) {
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "name a file of public keys there, one per line",
                          "%s, the RevokedHostKeys for %s, is a key revocation list, which kolm cannot read", file,
                          ssh->label);
    } else {
        status = ssh_keys_hold(kit_buf_text(&text), text.length, key, length, &revoked, err);
    }
    kit_buf_free(&text);
    if (status == KOLM_OK && revoked)
        status =
            kit_fail(err, KOLM_E_FAILED_PRECONDITION, "do not connect; ask the machine's administrator for its new key",
                     "the host key of %s (%s) is revoked by %s", ssh->label, ssh->fingerprint, file);
    return status;
}

/* ---- Refusals */

static kit_status refuse_key(const kit_ssh *ssh, const ssh_host_check *check, ssh_known_answer answer,
                             const ssh_known_entry *entry, const char *type, kolm_error_t *err) {
    char remedy[400];
    if (answer == SSH_KNOWN_REVOKED)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "do not connect; ask the machine's administrator for its new key",
                        "the %s key of %s (%s) is revoked by %s line %u", type, ssh->label, ssh->fingerprint,
                        entry->file, entry->line);
    if (answer == SSH_KNOWN_CHANGED) {
        kit_format(remedy, sizeof remedy,
                   "someone may be intercepting the connection. If the machine was really reinstalled, check the new "
                   "fingerprint there, then: ssh-keygen -R '%s'",
                   check->name);
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "the host key of %s has changed: it shows the %s key %s, and %s line %u has another one",
                        ssh->label, type, ssh->fingerprint, entry->file, entry->line);
    }
    kit_format(remedy, sizeof remedy, "check the fingerprint on the machine, then add its %s key to %s", type,
               entry->file);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                    "%s shows the %s key %s, but only its %s key is known (%s line %u), which libssh2 %s cannot check",
                    ssh->label, type, ssh->fingerprint, entry->type, entry->file, entry->line, libssh2_version(0));
}

static kit_status refuse_unknown(const kit_ssh *ssh, const ssh_known_entry *authority, const char *type,
                                 kolm_error_t *err) {
    char extra[240] = "";
    if (authority != NULL)
        kit_format(extra, sizeof extra,
                   " (the @cert-authority in %.80s line %u does not help: libssh2 checks no certificates of hosts, so "
                   "the plain key must be known)",
                   authority->file, authority->line);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "compare the fingerprint with the machine's (ssh-keygen -lf "
                    "/etc/ssh/ssh_host_ed25519_key.pub), then connect once with ssh",
                    "the host key of %s is not known: %s %s%s", ssh->label, type, ssh->fingerprint, extra);
}

/* ---- Unknown keys */

static kit_status store(kit_ssh *ssh, const ssh_host_check *check, const uint8_t *key, size_t length, const char *type,
                        kolm_error_t *err) {
    if (check->own == 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "name a file with UserKnownHostsFile, or with known_hosts",
                        "the user has no known_hosts file");
    if (check->files.items[0][0] != '/')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "start it with / or ~/", "%s is not an absolute path",
                        check->files.items[0]);
    KIT_TRY(ssh_known_append(check->files.items[0], check->name, check->config->hash_known_hosts, key, length, err));
    say(ssh, "the %s key %s of %s is now trusted, in %s", type, ssh->fingerprint, ssh->label, check->files.items[0]);
    return KOLM_OK;
}

/* A key that cannot be saved must not be trusted: the next key would be accepted as well. */
static kit_status store_or_refuse(kit_ssh *ssh, const ssh_host_check *check, const uint8_t *key, size_t length,
                                  const char *type, kolm_error_t *err) {
    kolm_error_t why = KIT_ERROR_INIT;
    kit_status status = store(ssh, check, key, length, type, &why);
    if (status == KOLM_OK || status == KOLM_E_RESOURCE_EXHAUSTED)
        return status == KOLM_OK ? status : kit_fail(err, status, why.remedy, "%s", why.text);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    why.remedy[0] != '\0' ? why.remedy : "set known_hosts to a writable file",
                    "the new key of %s (%s %s) cannot be saved, so it is not trusted: %s", ssh->label, type,
                    ssh->fingerprint, why.text);
}

/* StrictHostKeyChecking no: any key is accepted, with a note each time, because nothing was checked. */
static void take_unchecked(kit_ssh *ssh, const ssh_host_check *check, const uint8_t *key, size_t length,
                           const char *type) {
    kolm_error_t why = KIT_ERROR_INIT;
    say(ssh, "the %s key %s of %s was not known, and StrictHostKeyChecking no accepts any", type, ssh->fingerprint,
        ssh->label);
    if (store(ssh, check, key, length, type, &why) != KOLM_OK)
        say(ssh, "the key of %s was not saved: %s", ssh->label, why.text);
}

/* Asks whether to trust an unknown key, and saves it. */
static kit_status first_use(kit_ssh *ssh, const ssh_host_check *check, const uint8_t *key, size_t length,
                            const char *type, const ssh_known_entry *authority, kolm_error_t *err) {
    const kit_ssh_options *options = check->options;
    if (options->trust != NULL) {
        int64_t before = kit_now_ms();
        int yes = options->trust(options->user, check->name, type, ssh->fingerprint);
        ssh->deadline_ms += kit_now_ms() - before; /* the user's decision does not count as network time */
        if (yes != 0) return store_or_refuse(ssh, check, key, length, type, err);
    } else if (check->config->host_key_checking == KIT_SSH_CHECK_ACCEPT_NEW) {
        return store_or_refuse(ssh, check, key, length, type, err);
    } else if (check->config->host_key_checking == KIT_SSH_CHECK_OFF) {
        take_unchecked(ssh, check, key, length, type);
        return KOLM_OK;
    }
    return refuse_unknown(ssh, authority, type, err);
}

/* ---- The whole check */

/* Checks that the target's key is the one that the caller named. */
static kit_status check_named(const kit_ssh *ssh, const char *wanted, const char *from, kolm_error_t *err) {
    if (strcmp(wanted, ssh->fingerprint) == 0) return KOLM_OK;
    if (from != NULL)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "the connection may be intercepted: try again from another network, or later",
                        "the host key of %s is %s, and %s %s", ssh->label, ssh->fingerprint, from, wanted);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "if that is right, correct host_key in config.json; if not, the connection may be intercepted",
                    "the key of %s is %s, and the settings say %s", ssh->label, ssh->fingerprint, wanted);
}

static kit_status check_key(kit_ssh *ssh, const ssh_host_check *check, bool is_jump, const uint8_t *key, size_t length,
                            const char *type, kolm_error_t *err) {
    const ssh_known_entry *entry = NULL, *bare_entry = NULL;
    const char *named = is_jump ? NULL : check->options->host_key;
    ssh_known_answer answer = ssh_known_check(&check->known, key, length, &entry),
                     bare = ssh_known_check(&check->bare, key, length, &bare_entry);
    if (bare == SSH_KNOWN_REVOKED) return refuse_key(ssh, check, bare, bare_entry, type, err);
    if (answer == SSH_KNOWN_REVOKED) return refuse_key(ssh, check, answer, entry, type, err);
    if (check->config->revoked_host_keys != NULL)
        KIT_TRY(check_revoked(ssh, check->config->revoked_host_keys, key, length, err));
    if (named != NULL) KIT_TRY(check_named(ssh, named, check->options->host_key_from, err));
    if (answer == SSH_KNOWN_GOOD || (answer == SSH_KNOWN_NEW && (bare == SSH_KNOWN_GOOD || named != NULL)))
        return KOLM_OK;
    if (answer == SSH_KNOWN_NEW) return first_use(ssh, check, key, length, type, entry, err);
    /* ssh does not continue through a jump host with a changed key, even if checking is disabled. */
    if (check->options->trust != NULL || check->config->host_key_checking != KIT_SSH_CHECK_OFF || is_jump ||
        named != NULL)
        return refuse_key(ssh, check, answer, entry, type, err);
    say(ssh,
        "the host key of %s has CHANGED: it shows the %s key %s, and %s line %u has another one; StrictHostKeyChecking "
        "no continues nevertheless",
        ssh->label, type, ssh->fingerprint, entry->file, entry->line);
    return KOLM_OK;
}

kit_status ssh_host_check_key(kit_ssh *ssh, const ssh_host_check *check, bool is_jump, kolm_error_t *err) {
    size_t length = 0;
    int kind = 0;
    const uint8_t *key = (const uint8_t *)libssh2_session_hostkey(ssh->session, &length, &kind);
    if (key == NULL) return kit_fail(err, KOLM_E_DATA_LOSS, "try ssh manually", "%s sent no host key", ssh->label);
    char type[64];
    ssh_key_type(key, length, type);
    KIT_TRY(ssh_fingerprint(key, length, ssh->fingerprint, err));
    if (strcmp(type, "ssh-rsa") == 0 && ssh_rsa_bits(key, length) < check->config->least_rsa_bits)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "give the machine a longer host key",
                        "the RSA key of %s has %u bits, and RequiredRSASize of the SSH configuration requires %u",
                        ssh->label, ssh_rsa_bits(key, length), check->config->least_rsa_bits);
    return check_key(ssh, check, is_jump, key, length, type, err);
}
