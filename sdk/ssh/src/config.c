/* SPDX-License-Identifier: Apache-2.0 */
/* Parses ssh_config(5): files, lines, Host, Include, the second pass for Match final, and the result. */
#include "config.h"

#include "kolm/kit/file.h"
#include "kolm/kit/trust.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_LEVELS 16
#define MOST_BYTES (1u << 20)
#define MOST_FILES 1024
#define MOST_NOTES 32
#define SYSTEM_DIRECTORY "/etc/ssh"

kit_status ssh_bad_line(kolm_error_t *err, const ssh_place *at, const char *format, ...) {
    char why[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct that line, or name another configuration", "%s line %u %s",
                    at->file, at->line, why);
}

kit_status ssh_note(ssh_reader *r, const ssh_place *at, const char *what, kolm_error_t *err) {
    kit_buf text = {0};
    if (r->config->notes.count >= MOST_NOTES) return KOLM_OK;
    kit_buf_fmt(&text, "%s line %u: %s", at->file, at->line, what);
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK && !kit_ssh_list_has(&r->config->notes, text.data))
        status = kit_ssh_list_add(&r->config->notes, text.data, text.length, err);
    kit_buf_free(&text);
    return status;
}

/* ---- Lines */

/* Splits the values of a line: blanks, "quotes", backslash before a quote, a backslash or a blank; # opens a comment.
 */
static kit_status split_words(const char *p, const ssh_place *at, kit_ssh_list *out, kolm_error_t *err) {
    while (true) {
        while (*p == ' ' || *p == '\t')
            p++;
        if (*p == '\0' || *p == '#') return KOLM_OK;
        kit_buf word = {0};
        char quote = '\0';
        for (; *p != '\0' && (quote != '\0' || (*p != ' ' && *p != '\t')); p++) {
            if (*p == '\\' && p[1] != '\0' && strchr(quote != '\0' ? "\"'\\" : "\"'\\ ", p[1]) != NULL)
                kit_buf_char(&word, *++p);
            else if (quote == '\0' && (*p == '"' || *p == '\''))
                quote = *p;
            else if (quote != '\0' && *p == quote)
                quote = '\0';
            else
                kit_buf_char(&word, *p);
        }
        kit_status status = quote != '\0' ? ssh_bad_line(err, at, "has an unclosed quote") : kit_buf_ok(&word, err);
        if (status == KOLM_OK) status = kit_ssh_list_add(out, kit_buf_text(&word), word.length, err);
        kit_buf_free(&word);
        KIT_TRY(status);
    }
}

/* Host: case-sensitive, like ssh. */
static kit_status read_host(ssh_reader *r, const kit_ssh_list *patterns, const ssh_place *at, kolm_error_t *err) {
    r->active = false;
    bool found = false;
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->items[i];
        bool negated = *pattern == '!';
        if (*pattern == '\0') return ssh_bad_line(err, at, "has an empty value");
        if (!ssh_match_pattern(r->host, pattern + negated, strlen(pattern) - negated, false)) continue;
        if (negated) return KOLM_OK;
        found = true;
    }
    r->active = found && !r->never;
    return KOLM_OK;
}

static kit_status read_file(ssh_reader *r, const char *path, int level, bool included, kolm_error_t *err);

/* The pattern of an Include; relative ones are next to the default files, wherever this file is. */
static kit_status include_pattern(const ssh_reader *r, const char *value, const ssh_place *at, char **out,
                                  kolm_error_t *err) {
    const ssh_names none = {.given = r->given, .host = r->given, .user = ""};
    kit_buf pattern = {0};
    if (*value == '\0') return ssh_bad_line(err, at, "has an empty value");
    if (*value == '~' && !r->of_user)
        return ssh_bad_line(err, at, "includes \"%.200s\", but there is no home directory", value);
    if (*value != '/' && *value != '~') kit_buf_str(&pattern, r->of_user ? "~/.ssh/" : SYSTEM_DIRECTORY "/");
    kit_buf_str(&pattern, value);
    kit_status status = kit_buf_ok(&pattern, err);
    if (status == KOLM_OK) status = ssh_expand(&none, pattern.data, NULL, SSH_EXPAND_TILDE, out, err);
    kit_buf_free(&pattern);
    return status;
}

static kit_status include_one(ssh_reader *r, const char *value, const ssh_place *at, int level, kolm_error_t *err) {
    char *pattern = NULL;
    glob_t found = {0};
    KIT_TRY(include_pattern(r, value, at, &pattern, err));
    kit_status status = KOLM_OK;
    int rc = glob(pattern, 0, NULL, &found);
    if (rc == GLOB_NOSPACE) status = kit_no_memory(err);
    if (rc == GLOB_ABORTED) status = ssh_bad_line(err, at, "includes \"%.200s\", which cannot be read", value);
    if (rc == 0 && level >= MOST_LEVELS)
        status = ssh_bad_line(err, at, "nests includes too deeply: does a file include itself?");
    /* Blocks of an included file end with it; an Include inside a block applies only to the hosts of that block. */
    bool active = r->active, never = r->never;
    for (size_t k = 0; rc == 0 && k < found.gl_pathc && status == KOLM_OK; k++) {
        r->never = never || !active;
        status = read_file(r, found.gl_pathv[k], level + 1, true, err);
        r->active = active;
        r->never = never;
    }
    if (rc == 0) globfree(&found);
    free(pattern);
    return status;
}

static kit_status include(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, int level,
                          kolm_error_t *err) {
    if (r->no_files) return ssh_note(r, at, "Include is not supported here", err);
    for (size_t i = 0; i < values->count; i++)
        KIT_TRY(include_one(r, values->items[i], at, level, err));
    return KOLM_OK;
}

static kit_status read_words(ssh_reader *r, const char *key, const char *rest, const ssh_place *at, int level,
                             kolm_error_t *err) {
    kit_ssh_list values = {0};
    kit_status status = split_words(rest, at, &values, err);
    if (status == KOLM_OK && strcasecmp(key, "match") == 0)
        status = ssh_match(r, rest, at, &r->active, err);
    else if (status == KOLM_OK && values.count == 0)
        status = ssh_bad_line(err, at, "has the keyword \"%.40s\" without a value", key);
    else if (status == KOLM_OK && strcasecmp(key, "host") == 0)
        status = read_host(r, &values, at, err);
    else if (status == KOLM_OK && strcasecmp(key, "include") == 0)
        status = include(r, &values, at, level, err);
    else if (status == KOLM_OK)
        status = ssh_apply(r, key, &values, rest, at, err);
    kit_ssh_list_free(&values);
    return status;
}

static kit_status read_line(ssh_reader *r, char *line, const ssh_place *at, int level, kolm_error_t *err) {
    size_t length = strlen(line);
    while (length > 0 && strchr(" \t\r\f", line[length - 1]) != NULL)
        line[--length] = '\0';
    if (at->line == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0)
        return ssh_bad_line(err, at, "begins with a byte order mark, which ssh refuses too: save it as plain UTF-8");
    char *rest = line + strspn(line, " \t");
    if (*rest == '\0' || *rest == '#') return KOLM_OK;
    const char *key = ssh_next_word(&rest);
    if (key != NULL && *key == '\0') key = ssh_next_word(&rest); /* a line may begin with = */
    if (key == NULL && rest == NULL) return ssh_bad_line(err, at, "has an unclosed quote");
    if (key == NULL || *key == '\0' || *key == '#') return KOLM_OK;
    const char *values = rest != NULL ? rest + strspn(rest, " \t\r") : "";
    if (*values == '\0') return ssh_bad_line(err, at, "has the keyword \"%.40s\" without a value", key);
    return read_words(r, key, values, at, level, err);
}

/* ---- Files */

static kit_status read_text(ssh_reader *r, const char *file, const char *text, size_t length, int level,
                            kolm_error_t *err) {
    ssh_place at = {.file = file, .line = 0};
    kit_status status = KOLM_OK;
    for (const char *p = text, *end = text + length; p < end && status == KOLM_OK;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf != NULL ? lf : end) - p);
        at.line++;
        if (memchr(p, '\0', n) != NULL) return ssh_bad_line(err, &at, "contains a NUL byte");
        char *line = strndup(p, n);
        if (line == NULL) return kit_no_memory(err);
        status = read_line(r, line, &at, level, err);
        free(line);
        p += n + (lf != NULL ? 1 : 0);
    }
    return status;
}

/* True for a group with this user's name and no other members, as Debian and Fedora create for each user. */
static bool own_group(gid_t group) {
    char login[KIT_SSH_USER_BYTES], room[16384];
    struct group entry, *found = NULL;
    ssh_login_name(login);
    if (getgrgid_r(group, &entry, room, sizeof room, &found) != 0 || found == NULL || login[0] == '\0') return false;
    for (char **member = found->gr_mem; *member != NULL; member++)
        if (strcmp(*member, login) != 0) return false;
    return strcmp(found->gr_name, login) == 0;
}

/* A user who can write to this file controls where a connection goes and with which key. */
static kit_status trusted(const char *path, kolm_error_t *err) {
    struct stat info;
    if (stat(path, &info) != 0) return kit_fail_errno(err, errno, "cannot read the SSH configuration %s", path);
    bool good = kit_trust_stat(KIT_TRUST_SHARED, &info) == KIT_TRUST_GOOD;
    if (good && ((info.st_mode & S_IWGRP) == 0 || own_group(info.st_gid))) return KOLM_OK;
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, "chown it to yourself and chmod go-w it",
                    "the SSH configuration %s is writable by others", path);
}

static kit_status read_file(ssh_reader *r, const char *path, int level, bool included, kolm_error_t *err) {
    if (++r->files > MOST_FILES)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten the Includes", "%s: more than %d SSH configuration files",
                        path, MOST_FILES);
    kit_buf text = {0};
    /* The system's file is not checked, as in ssh: a user who can replace it can replace kolm, too. */
    kit_status status = included || r->of_user ? trusted(path, err) : KOLM_OK;
    if (status == KOLM_OK) status = kit_read_file(path, MOST_BYTES, &text, err);
    if (status == KOLM_OK) status = read_text(r, path, kit_buf_text(&text), text.length, level, err);
    kit_buf_free(&text);
    return status;
}

static kit_status read_first(ssh_reader *r, const char *path, bool of_user, bool must_exist, kolm_error_t *err) {
    if (!must_exist && access(path, F_OK) != 0) return KOLM_OK;
    r->of_user = of_user;
    r->active = true;
    return read_file(r, path, 0, false, err);
}

/* ---- The result */

static kit_status expand_list(const ssh_names *names, const kit_ssh_list *raw, const char *tokens, unsigned how,
                              kit_ssh_list *out, kolm_error_t *err) {
    for (size_t i = 0; i < raw->count; i++) {
        char *text = NULL;
        if (strcasecmp(raw->items[i], "none") == 0) continue;
        KIT_TRY(ssh_expand(names, raw->items[i], tokens, how, &text, err));
        kit_status status = kit_ssh_list_add(out, text, strlen(text), err);
        free(text);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

/* A socket, "none", "SSH_AUTH_SOCK", or "$NAME" of the environment. */
static kit_status finish_agent(ssh_reader *r, const ssh_names *names, kolm_error_t *err) {
    const char *value = r->identity_agent;
    char **out = &r->config->identity_agent;
    if (value == NULL || strcmp(value, "SSH_AUTH_SOCK") == 0) return KOLM_OK;
    if (strcasecmp(value, "none") == 0) return kit_strdup("none", out, err);
    if (value[0] != '$' || value[1] == '{')
        return ssh_expand(names, value, SSH_FILE_TOKENS, SSH_EXPAND_TILDE | SSH_EXPAND_VARIABLES, out, err);
    const char *set = secure_getenv(value + 1);
    if (set != NULL && *set != '\0') return kit_strdup(set, out, err);
    kit_buf text = {0};
    kit_buf_fmt(&text, "IdentityAgent %s for %s: that variable is not set for this backend, so no agent is used", value,
                r->given);
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_ssh_list_add(&r->config->notes, text.data, text.length, err);
    kit_buf_free(&text);
    return status == KOLM_OK ? kit_strdup("none", out, err) : status;
}

/* Tokens may have inserted invalid characters. */
static kit_status finish_jumps(const ssh_reader *r, const ssh_names *names, kolm_error_t *err) {
    for (size_t i = 0; i < r->jumps.count; i++) {
        char *text = NULL;
        kit_ssh_target hop;
        KIT_TRY(ssh_expand(names, r->jumps.items[i], SSH_JUMP_TOKENS, 0, &text, err));
        kit_status status = kit_ssh_target_parse(text, &hop, err);
        if (status != KOLM_OK) status = kit_fail_context(err, "ProxyJump");
        if (status == KOLM_OK) status = kit_ssh_list_add(&r->config->proxy_jump, text, strlen(text), err);
        free(text);
        KIT_TRY(status);
    }
    return KOLM_OK;
}

/* A truncated name would be a different name. */
static kit_status check_lengths(const ssh_reader *r, kolm_error_t *err) {
    const kit_ssh_config *c = r->config;
    const char *wrong = strlen(c->host_name) >= KIT_SSH_HOST_BYTES                                     ? "HostName"
                        : c->user != NULL && strlen(c->user) >= KIT_SSH_USER_BYTES                     ? "User"
                        : c->host_key_alias != NULL && strlen(c->host_key_alias) >= KIT_SSH_HOST_BYTES ? "HostKeyAlias"
                                                                                                       : NULL;
    if (wrong == NULL) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "%s of the SSH configuration for %s is too long", wrong,
                    r->given);
}

static kit_status finish(ssh_reader *r, kolm_error_t *err) {
    kit_ssh_config *c = r->config;
    KIT_TRY(check_lengths(r, err));
    const ssh_names names = {.given = r->given,
                             .host = c->host_name,
                             .user = c->user,
                             .alias = c->host_key_alias,
                             .port = c->port != 0 ? c->port : 22};
    const unsigned both = SSH_EXPAND_TILDE | SSH_EXPAND_VARIABLES;
    KIT_TRY(finish_agent(r, &names, err));
    KIT_TRY(finish_jumps(r, &names, err));
    if (r->revoked_host_keys != NULL && strcasecmp(r->revoked_host_keys, "none") != 0)
        KIT_TRY(ssh_expand(&names, r->revoked_host_keys, NULL, SSH_EXPAND_TILDE, &c->revoked_host_keys, err));
    KIT_TRY(expand_list(&names, &r->identity_files, SSH_FILE_TOKENS, both, &c->identity_files, err));
    KIT_TRY(expand_list(&names, &r->certificate_files, SSH_FILE_TOKENS, both, &c->certificate_files, err));
    KIT_TRY(expand_list(&names, &r->known_hosts, SSH_FILE_TOKENS, both, &c->known_hosts, err));
    return expand_list(&names, &r->global_known_hosts, NULL, SSH_EXPAND_TILDE, &c->global_known_hosts, err);
}

/* Sets HostName with its token replaced, in lower case; the given host if not set. */
static kit_status settle_host_name(ssh_reader *r, kolm_error_t *err) {
    const ssh_names names = {.given = r->given, .host = r->given, .user = ""};
    KIT_TRY(ssh_expand(&names, r->host_name != NULL ? r->host_name : "%h", "h", 0, &r->config->host_name, err));
    for (char *p = r->config->host_name; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return KOLM_OK;
}

/* ---- Passes */

typedef struct source {
    const char *path; /* of kit_ssh_config_resolve; or */
    const char *text; /* the text itself */
    size_t length;
} source;

static kit_status read_source(ssh_reader *r, const source *from, kolm_error_t *err) {
    if (from->text != NULL) {
        r->active = r->of_user = true;
        return read_text(r, "configuration", from->text, from->length, 0, err);
    }
    if (from->path != NULL)
        return strcmp(from->path, "none") != 0 ? read_first(r, from->path, true, true, err) : KOLM_OK;
    char *own = NULL;
    KIT_TRY(ssh_home_path(".ssh/config", &own, err));
    kit_status status = own != NULL ? read_first(r, own, true, false, err) : KOLM_OK;
    free(own);
    return status == KOLM_OK ? read_first(r, SYSTEM_DIRECTORY "/ssh_config", false, false, err) : status;
}

/* Match final requires another pass over everything, with the host name that resulted from HostName. */
static kit_status read_again(ssh_reader *r, const source *from, kolm_error_t *err) {
    free(r->host_name);
    r->host_name = NULL;
    KIT_TRY(kit_strdup(r->config->host_name, &r->host_name, err));
    r->host = r->config->host_name;
    r->final = true;
    return read_source(r, from, err);
}

static kit_status resolve(const source *from, const kit_ssh_target *target, kit_ssh_config *out, kolm_error_t *err) {
    *out = (kit_ssh_config){.port = target->port};
    ssh_reader r = {.given = target->host, .host = target->host, .config = out, .no_files = from->text != NULL};
    kit_status status = target->user[0] != '\0' ? kit_strdup(target->user, &out->user, err) : KOLM_OK;
    if (status == KOLM_OK) status = read_source(&r, from, err);
    if (status == KOLM_OK) status = settle_host_name(&r, err);
    if (status == KOLM_OK && r.want_final) status = read_again(&r, from, err);
    if (status == KOLM_OK) status = finish(&r, err);
    if (status != KOLM_OK) kit_ssh_config_free(out);
    kit_ssh_list *const lists[] = {&r.identity_files, &r.certificate_files, &r.known_hosts, &r.global_known_hosts,
                                   &r.jumps};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        kit_ssh_list_free(lists[i]);
    free(r.host_name);
    free(r.identity_agent);
    free(r.revoked_host_keys);
    free(r.ignored);
    return status;
}

/* Makes a target from a host, which may be any text. */
static kit_status host_only(const char *host, kit_ssh_target *out, kolm_error_t *err) {
    *out = (kit_ssh_target){0};
    if (kit_copy(out->host, sizeof out->host, host)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "the name of a host is too long");
}

kit_status kit_ssh_config_resolve(const char *path, const kit_ssh_target *target, kit_ssh_config *out,
                                  kolm_error_t *err) {
    const source from = {.path = path};
    return resolve(&from, target, out, err);
}

kit_status kit_ssh_config_read(const char *path, const char *host, kit_ssh_config *out, kolm_error_t *err) {
    kit_ssh_target target;
    *out = (kit_ssh_config){0};
    KIT_TRY(host_only(host, &target, err));
    return kit_ssh_config_resolve(path, &target, out, err);
}

kit_status kit_ssh_config_parse(const char *text, size_t length, const char *host, kit_ssh_config *out,
                                kolm_error_t *err) {
    const source from = {.text = text, .length = length};
    kit_ssh_target target;
    *out = (kit_ssh_config){0};
    KIT_TRY(host_only(host, &target, err));
    return resolve(&from, &target, out, err);
}

void kit_ssh_config_free(kit_ssh_config *config) {
    if (config == NULL) return;
    char *const texts[] = {config->host_name,
                           config->user,
                           config->identity_agent,
                           config->host_key_alias,
                           config->revoked_host_keys,
                           config->ciphers,
                           config->macs,
                           config->kex_algorithms,
                           config->host_key_algorithms,
                           config->pubkey_algorithms};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    kit_ssh_list_free(&config->identity_files);
    kit_ssh_list_free(&config->certificate_files);
    kit_ssh_list_free(&config->proxy_jump);
    kit_ssh_list_free(&config->known_hosts);
    kit_ssh_list_free(&config->global_known_hosts);
    kit_ssh_list_free(&config->notes);
    *config = (kit_ssh_config){0};
}
