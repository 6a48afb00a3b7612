/* SPDX-License-Identifier: Apache-2.0 */
/* [user@]host[:port], and the parts of ssh_config(5) that decide how a host is reached. */
#include "ssh_parts.h"

#include "kolm/kit/file.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_LEVELS 16
#define MOST_BYTES (1u << 20)
#define MOST_ITEMS 256
#define MOST_FILES 256

/* ---- Lists */

kit_status ssh_list_add(kit_ssh_list *list, const char *text, size_t length, kolm_error_t *err) {
    if (list->count >= MOST_ITEMS)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten the list", "more than %d values", MOST_ITEMS);
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items != NULL) list->items = items;
    char *copy = items != NULL ? strndup(text, length) : NULL;
    if (copy == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
    list->items[list->count++] = copy;
    return KOLM_OK;
}

void ssh_list_free(kit_ssh_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (kit_ssh_list){0};
}

char *ssh_home(void) {
    const char *home = secure_getenv("HOME");
    if (home != NULL && home[0] == '/') return strdup(home);
    struct passwd entry, *found = NULL;
    char room[16384];
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) != 0 || found == NULL || found->pw_dir == NULL)
        return NULL;
    return strdup(found->pw_dir);
}

kit_status ssh_home_path(const char *name, char **out, kolm_error_t *err) {
    *out = NULL;
    char *home = ssh_home();
    if (home == NULL) return KOLM_OK;
    kit_status status = kit_path_join(home, name, out, err);
    free(home);
    return status;
}

/* ---- Targets */

static bool good_host_byte(unsigned char c) {
    return c >= 0x80 || isalnum(c) || c == '.' || c == '_' || c == '-' || c == ':' || c == '%';
}

static bool good_user_byte(unsigned char c) {
    return c > 0x20 && c != 0x7F && strchr("'`\";&<>|(){}\\", c) == NULL;
}

static kit_status bad_target(kolm_error_t *err, const char *text, const char *why) {
    kit_buf shown = {0};
    kit_buf_escaped(&shown, text, strlen(text));
    kit_status status =
        kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it as [user@]host[:port], with IPv6 addresses in brackets",
                 "the target \"%s\" %s", kit_buf_text(&shown), why);
    kit_buf_free(&shown);
    return status;
}

/* Splits "host", "host:port", "[v6]" or "[v6]:port". Returns NULL or what is wrong. */
static const char *split_host(const char *from, const char **out_host, size_t *out_length, const char **out_port) {
    *out_port = NULL;
    if (*from == '[') {
        const char *end = strchr(from, ']');
        if (end == NULL) return "has a bracket that is not closed";
        *out_host = from + 1;
        *out_length = (size_t)(end - from - 1);
        if (end[1] == ':')
            *out_port = end + 2;
        else if (end[1] != '\0')
            return "has something behind the bracket that is no port";
        return NULL;
    }
    const char *colon = strchr(from, ':');
    *out_host = from;
    *out_length = strlen(from);
    if (colon == NULL || strchr(colon + 1, ':') != NULL) return NULL;
    *out_length = (size_t)(colon - from);
    *out_port = colon + 1;
    return NULL;
}

kit_status kit_ssh_target_parse(const char *text, kit_ssh_target *out, kolm_error_t *err) {
    *out = (kit_ssh_target){0};
    size_t length = strlen(text), host_length = 0;
    if (length == 0) return bad_target(err, text, "is empty");
    if (kit_utf8_valid(text, length) != length) return bad_target(err, text, "is not UTF-8");
    /* A user may hold an @ (mail addresses do), a host never. */
    const char *at = strrchr(text, '@'), *host = at != NULL ? at + 1 : text, *port = NULL;
    if (at != NULL) {
        if (at == text) return bad_target(err, text, "has an empty user");
        if ((size_t)(at - text) >= sizeof out->user) return bad_target(err, text, "has a user that is too long");
        memcpy(out->user, text, (size_t)(at - text));
        if (out->user[0] == '-') return bad_target(err, text, "has a user that begins with a dash");
        for (const char *p = out->user; *p != '\0'; p++)
            if (!good_user_byte((unsigned char)*p))
                return bad_target(err, text, "has a user with a character that no user has");
    }
    const char *wrong = split_host(host, &host, &host_length, &port);
    if (wrong != NULL) return bad_target(err, text, wrong);
    if (host_length == 0) return bad_target(err, text, "has an empty host");
    if (host_length >= sizeof out->host) return bad_target(err, text, "has a host that is too long");
    memcpy(out->host, host, host_length);
    if (out->host[0] == '-') return bad_target(err, text, "has a host that begins with a dash");
    for (const char *p = out->host; *p != '\0'; p++)
        if (!good_host_byte((unsigned char)*p))
            return bad_target(err, text, "has a host with a character that no host has");
    if (port != NULL) {
        uint64_t number = 0;
        if (!kit_parse_u64(port, &number) || number < 1 || number > 65535)
            return bad_target(err, text, "has a port that is not a number from 1 to 65535");
        out->port = (uint16_t)number;
    }
    return KOLM_OK;
}

/* ---- Patterns */

static bool match_pattern(const char *text, const char *pattern, size_t length) {
    /* Backtracks to the last star only, so that the work is at most text times pattern. */
    const char *end = pattern + length, *star = NULL, *kept = NULL;
    while (*text != '\0') {
        if (pattern < end && *pattern == '*') {
            star = ++pattern;
            kept = text;
        } else if (pattern < end &&
                   (*pattern == '?' || tolower((unsigned char)*pattern) == tolower((unsigned char)*text))) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star;
            text = ++kept;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*')
        pattern++;
    return pattern == end;
}

bool kit_ssh_match_list(const char *host, const char *patterns) {
    bool found = false;
    for (const char *p = patterns;; p++) {
        size_t length = strcspn(p, ",");
        bool negated = length > 0 && *p == '!';
        if (length > 0 && match_pattern(host, p + negated, length - negated)) {
            if (negated) return false;
            found = true;
        }
        p += length;
        if (*p == '\0') return found;
    }
}

/* ---- The file */

typedef struct reader {
    const char *host; /* as the person named it */
    kit_ssh_config *config;
    char *first_directory; /* where relative Includes are; NULL: Include is not followed */
    bool active;           /* the current Host block is about this host */
    unsigned files;
    bool identities_only_set;
    /* Raw values, expanded at the end, when user and port are known. */
    kit_ssh_list identity_files, certificate_files, known_hosts;
    char *host_name, *identity_agent;
    bool proxy_jump_set;
} reader;

typedef struct place {
    const char *file;
    unsigned line;
} place;

static kit_status bad_line(kolm_error_t *err, const place *at, const char *why) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct that line, or name another configuration", "%s line %u %s",
                    at->file, at->line, why);
}

static kit_status note(reader *r, const place *at, const char *what, kolm_error_t *err) {
    kit_buf text = {0};
    if (r->config->notes.count >= 32) return KOLM_OK;
    kit_buf_fmt(&text, "%s line %u: %s", at->file, at->line, what);
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = ssh_list_add(&r->config->notes, text.data, text.length, err);
    kit_buf_free(&text);
    return status;
}

/* Splits the values of a line: blanks, "quotes", backslash before a quote, a backslash or a blank; # opens a comment.
 */
static kit_status split_words(const char *p, const place *at, kit_ssh_list *out, kolm_error_t *err) {
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
        kit_status status =
            quote != '\0' ? bad_line(err, at, "has a quote that is not closed") : kit_buf_ok(&word, err);
        if (status == KOLM_OK) status = ssh_list_add(out, kit_buf_text(&word), word.length, err);
        kit_buf_free(&word);
        KIT_TRY(status);
    }
}

static bool host_matches(const char *host, const kit_ssh_list *patterns) {
    bool found = false;
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->items[i];
        bool negated = *pattern == '!';
        if (!match_pattern(host, pattern + negated, strlen(pattern) - negated)) continue;
        if (negated) return false;
        found = true;
    }
    return found;
}

static kit_status set_once(char **slot, const char *value, kolm_error_t *err) {
    return *slot != NULL ? KOLM_OK : kit_strdup(value, slot, err);
}

/* "30", "30s", "5m", "1h30m" in seconds, or "none". */
static bool parse_time(const char *text, uint32_t *out) {
    uint64_t total = 0, number = 0;
    bool digits = false;
    if (strcasecmp(text, "none") == 0) {
        *out = 0;
        return true;
    }
    for (const char *p = text; *p != '\0'; p++) {
        if (isdigit((unsigned char)*p)) {
            number = number * 10 + (uint64_t)(*p - '0');
            digits = true;
        } else {
            const char *units = "sSmMhHdDwW", *unit = strchr(units, *p);
            static const uint32_t seconds[] = {1, 60, 3600, 86400, 604800};
            if (unit == NULL || !digits) return false;
            total += number * seconds[(unit - units) / 2];
            number = 0;
            digits = false;
        }
        if (number > 100000000 || total > 100000000) return false;
    }
    *out = (uint32_t)(total + number);
    return *text != '\0' && (digits || total > 0 || number == 0);
}

/* ProxyJump's hops: the first value wins, "none" is one too. */
static kit_status set_jump(reader *r, const char *value, const place *at, kolm_error_t *err) {
    if (r->proxy_jump_set) return KOLM_OK;
    r->proxy_jump_set = true;
    if (strcasecmp(value, "none") == 0) return KOLM_OK;
    for (const char *p = value;; p++) {
        size_t length = strcspn(p, ",");
        if (length == 0) return bad_line(err, at, "has an empty hop in ProxyJump");
        KIT_TRY(ssh_list_add(&r->config->proxy_jump, p, length, err));
        p += length;
        if (*p == '\0') return KOLM_OK;
    }
}

static kit_status add_files(kit_ssh_list *list, const kit_ssh_list *values, size_t most, kolm_error_t *err) {
    for (size_t i = 0; i < values->count && i < most; i++)
        KIT_TRY(ssh_list_add(list, values->items[i], strlen(values->items[i]), err));
    return KOLM_OK;
}

static kit_status set_flag(reader *r, const char *value, const place *at, kolm_error_t *err) {
    bool yes = strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0;
    if (!yes && strcasecmp(value, "no") != 0 && strcasecmp(value, "false") != 0)
        return bad_line(err, at, "must say yes or no");
    if (!r->identities_only_set) r->config->identities_only = yes;
    r->identities_only_set = true;
    return KOLM_OK;
}

static kit_status set_number(reader *r, bool port, const char *value, const place *at, kolm_error_t *err) {
    uint64_t number = 0;
    if (port) {
        if (!kit_parse_u64(value, &number) || number < 1 || number > 65535)
            return bad_line(err, at, "has a Port that is not a number from 1 to 65535");
        if (r->config->port == 0) r->config->port = (uint16_t)number;
        return KOLM_OK;
    }
    uint32_t seconds = 0;
    if (!parse_time(value, &seconds)) return bad_line(err, at, "has a ConnectTimeout that is no time in seconds");
    if (r->config->connect_timeout_s == 0) r->config->connect_timeout_s = seconds;
    return KOLM_OK;
}

/* One key of an active block. */
static kit_status apply(reader *r, const char *key, const kit_ssh_list *values, const place *at, kolm_error_t *err) {
    const char *value = values->items[0];
    if (strcasecmp(key, "hostname") == 0) return set_once(&r->host_name, value, err);
    if (strcasecmp(key, "identityagent") == 0) return set_once(&r->identity_agent, value, err);
    if (strcasecmp(key, "user") == 0) return set_once(&r->config->user, value, err);
    if (strcasecmp(key, "port") == 0) return set_number(r, true, value, at, err);
    if (strcasecmp(key, "connecttimeout") == 0) return set_number(r, false, value, at, err);
    if (strcasecmp(key, "identitiesonly") == 0) return set_flag(r, value, at, err);
    if (strcasecmp(key, "identityfile") == 0) return add_files(&r->identity_files, values, 1, err);
    if (strcasecmp(key, "certificatefile") == 0) return add_files(&r->certificate_files, values, 1, err);
    if (strcasecmp(key, "proxyjump") == 0) return set_jump(r, value, at, err);
    if (strcasecmp(key, "userknownhostsfile") == 0)
        return r->known_hosts.count > 0 ? KOLM_OK : add_files(&r->known_hosts, values, MOST_ITEMS, err);
    if (strcasecmp(key, "proxycommand") == 0 && strcasecmp(value, "none") != 0)
        return note(r, at, "ProxyCommand is not followed: use ProxyJump", err);
    if (strcasecmp(key, "hostkeyalias") == 0) return note(r, at, "HostKeyAlias is not followed", err);
    return KOLM_OK;
}

static kit_status read_one(reader *r, const char *path, int level, bool must_exist, kolm_error_t *err);

static void expand_home(const char *value, kit_buf *out) {
    if (value[0] == '~' && (value[1] == '/' || value[1] == '\0')) {
        char *home = ssh_home();
        kit_buf_str(out, home != NULL ? home : "");
        free(home);
        value++;
    }
    kit_buf_str(out, value);
}

static kit_status include(reader *r, const kit_ssh_list *values, const place *at, int level, kolm_error_t *err) {
    if (r->first_directory == NULL) return note(r, at, "Include is not followed here", err);
    if (level >= MOST_LEVELS) return bad_line(err, at, "includes files too deep: does one include itself?");
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < values->count && status == KOLM_OK; i++) {
        kit_buf pattern = {0};
        const char *value = values->items[i];
        if (value[0] != '/' && value[0] != '~') {
            kit_buf_str(&pattern, r->first_directory);
            kit_buf_char(&pattern, '/');
        }
        expand_home(value, &pattern);
        glob_t found = {0};
        status = kit_buf_ok(&pattern, err);
        int rc = status == KOLM_OK ? glob(pattern.data, 0, NULL, &found) : GLOB_NOMATCH;
        if (rc == GLOB_NOSPACE) status = kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
        /* Blocks of an included file end with it; an Include inside a block counts only for its hosts. */
        bool active = r->active;
        for (size_t k = 0; rc == 0 && k < found.gl_pathc && status == KOLM_OK; k++) {
            status = read_one(r, found.gl_pathv[k], level + 1, true, err);
            r->active = active;
        }
        if (rc == 0) globfree(&found);
        kit_buf_free(&pattern);
    }
    return status;
}

static kit_status read_line(reader *r, char *line, const place *at, int level, kolm_error_t *err) {
    size_t length = strlen(line);
    while (length > 0 && strchr(" \t\r\f", line[length - 1]) != NULL)
        line[--length] = '\0';
    char *key = line + strspn(line, " \t\f");
    if (*key == '\0' || *key == '#') return KOLM_OK;
    char *end = key + strcspn(key, " \t=");
    char *value = end + strspn(end, " \t");
    if (*value == '=') value++;
    if (*end != '\0') *end = '\0';
    kit_ssh_list values = {0};
    kit_status status = split_words(value, at, &values, err);
    if (status == KOLM_OK && strcasecmp(key, "match") == 0) {
        r->active = false;
        status = note(r, at, "Match is skipped", err);
    } else if (status == KOLM_OK && values.count == 0) {
        /* ssh refuses a key without a value; which keys it knows is not for us to say, so only ours are refused. */
        static const char *const ours[] = {"host",         "hostname",           "user",           "port",
                                           "identityfile", "certificatefile",    "identitiesonly", "identityagent",
                                           "proxyjump",    "userknownhostsfile", "connecttimeout", "include"};
        for (size_t i = 0; i < sizeof ours / sizeof ours[0] && status == KOLM_OK; i++)
            if (strcasecmp(key, ours[i]) == 0) status = bad_line(err, at, "has a key without a value");
    } else if (status == KOLM_OK && strcasecmp(key, "host") == 0) {
        r->active = host_matches(r->host, &values);
    } else if (status == KOLM_OK && r->active) {
        if (strcasecmp(key, "include") == 0)
            status = include(r, &values, at, level, err);
        else
            status = apply(r, key, &values, at, err);
    }
    ssh_list_free(&values);
    return status;
}

static kit_status read_text(reader *r, const char *file, const char *text, size_t length, int level,
                            kolm_error_t *err) {
    place at = {.file = file, .line = 0};
    kit_status status = KOLM_OK;
    for (const char *p = text, *end = text + length; p < end && status == KOLM_OK;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((lf != NULL ? lf : end) - p);
        at.line++;
        if (memchr(p, '\0', n) != NULL) return bad_line(err, &at, "holds a NUL byte");
        char *line = strndup(p, n);
        if (line == NULL) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
        status = read_line(r, line, &at, level, err);
        free(line);
        p += n + (lf != NULL ? 1 : 0);
    }
    return status;
}

/* Whoever may write this file decides where a connection goes and with which key. */
static kit_status trusted(const char *path, kolm_error_t *err) {
    struct stat info;
    if (stat(path, &info) != 0) return kit_fail_errno(err, errno, "cannot read the SSH configuration %s", path);
    if ((info.st_uid != 0 && info.st_uid != getuid()) || (info.st_mode & 022) != 0)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "chown it to yourself and chmod go-w it",
                        "the SSH configuration %s may be written by others", path);
    return KOLM_OK;
}

static kit_status read_one(reader *r, const char *path, int level, bool must_exist, kolm_error_t *err) {
    if (!must_exist && access(path, F_OK) != 0) return KOLM_OK;
    if (++r->files > MOST_FILES)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten the Includes", "%s: more than %d SSH configuration files",
                        path, MOST_FILES);
    kit_buf text = {0};
    kit_status status = trusted(path, err);
    if (status == KOLM_OK) status = kit_read_file(path, MOST_BYTES, &text, err);
    if (status == KOLM_OK) status = read_text(r, path, kit_buf_text(&text), text.length, level, err);
    kit_buf_free(&text);
    return status;
}

/* ---- Tokens */

static void login_name(char *out, size_t capacity) {
    struct passwd entry, *found = NULL;
    char room[16384];
    if (getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found != NULL)
        kit_copy(out, capacity, found->pw_name);
    else
        kit_copy(out, capacity, "");
}

static kit_status expand(const reader *r, const char *value, bool host_name_only, char **out, kolm_error_t *err) {
    const kit_ssh_config *config = r->config;
    kit_buf text = {0}, tilde = {0};
    if (host_name_only)
        kit_buf_str(&tilde, value);
    else
        expand_home(value, &tilde);
    char login[KIT_SSH_USER_BYTES] = "";
    if (strstr(value, "%u") != NULL || (strstr(value, "%r") != NULL && config->user == NULL))
        login_name(login, sizeof login);
    kit_status status = kit_buf_ok(&tilde, err);
    for (const char *p = kit_buf_text(&tilde); status == KOLM_OK && *p != '\0'; p++) {
        char *home = NULL;
        if (*p != '%') {
            kit_buf_char(&text, *p);
            continue;
        }
        char token = *++p;
        if (token == '%')
            kit_buf_char(&text, '%');
        else if (token == 'h')
            kit_buf_str(&text, host_name_only ? r->host : config->host_name);
        else if (!host_name_only && token == 'n')
            kit_buf_str(&text, r->host);
        else if (!host_name_only && token == 'p')
            kit_buf_fmt(&text, "%u", config->port != 0 ? config->port : 22);
        else if (!host_name_only && token == 'r')
            kit_buf_str(&text, config->user != NULL ? config->user : login);
        else if (!host_name_only && token == 'u')
            kit_buf_str(&text, login);
        else if (!host_name_only && token == 'd')
            kit_buf_str(&text, (home = ssh_home()) != NULL ? home : "");
        else
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write the value without it",
                              "the SSH configuration for %s has \"%s\", whose token %%%c is not known", r->host, value,
                              token != '\0' ? token : ' ');
        free(home);
        if (token == '\0') break;
    }
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_strdup(kit_buf_text(&text), out, err);
    kit_buf_free(&text);
    kit_buf_free(&tilde);
    return status;
}

static kit_status expand_list(const reader *r, const kit_ssh_list *raw, kit_ssh_list *out, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < raw->count && status == KOLM_OK; i++) {
        char *text = NULL;
        if (strcasecmp(raw->items[i], "none") == 0) continue;
        status = expand(r, raw->items[i], false, &text, err);
        if (status == KOLM_OK) status = ssh_list_add(out, text, strlen(text), err);
        free(text);
    }
    return status;
}

/* A socket, "none", "SSH_AUTH_SOCK", or "$NAME" of the environment. */
static kit_status finish_agent(reader *r, kolm_error_t *err) {
    const char *value = r->identity_agent;
    if (value == NULL || strcmp(value, "SSH_AUTH_SOCK") == 0) return KOLM_OK;
    if (strcasecmp(value, "none") == 0) return kit_strdup("none", &r->config->identity_agent, err);
    if (value[0] != '$') return expand(r, value, false, &r->config->identity_agent, err);
    const char *set = secure_getenv(value + 1);
    return kit_strdup(set != NULL && *set != '\0' ? set : "none", &r->config->identity_agent, err);
}

static kit_status finish(reader *r, kolm_error_t *err) {
    kit_ssh_config *config = r->config;
    KIT_TRY(expand(r, r->host_name != NULL ? r->host_name : "%h", true, &config->host_name, err));
    KIT_TRY(finish_agent(r, err));
    KIT_TRY(expand_list(r, &r->identity_files, &config->identity_files, err));
    KIT_TRY(expand_list(r, &r->certificate_files, &config->certificate_files, err));
    return expand_list(r, &r->known_hosts, &config->known_hosts, err);
}

static kit_status end(reader *r, kit_status status, kolm_error_t *err) {
    if (status == KOLM_OK) status = finish(r, err);
    if (status != KOLM_OK) kit_ssh_config_free(r->config);
    ssh_list_free(&r->identity_files);
    ssh_list_free(&r->certificate_files);
    ssh_list_free(&r->known_hosts);
    free(r->host_name);
    free(r->identity_agent);
    free(r->first_directory);
    return status;
}

static kit_status set_directory(reader *r, const char *path, kolm_error_t *err) {
    free(r->first_directory);
    r->first_directory = NULL;
    const char *slash = strrchr(path, '/');
    r->first_directory = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return r->first_directory != NULL ? KOLM_OK : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
}

static kit_status read_named(reader *r, const char *path, bool must_exist, kolm_error_t *err) {
    KIT_TRY(set_directory(r, path, err));
    r->active = true;
    return read_one(r, path, 0, must_exist, err);
}

kit_status kit_ssh_config_read(const char *path, const char *host, kit_ssh_config *out, kolm_error_t *err) {
    *out = (kit_ssh_config){0};
    reader r = {.host = host, .config = out, .active = true};
    kit_status status = KOLM_OK;
    if (path == NULL) {
        char *own = NULL;
        status = ssh_home_path(".ssh/config", &own, err);
        if (status == KOLM_OK && own != NULL) status = read_named(&r, own, false, err);
        if (status == KOLM_OK) status = read_named(&r, "/etc/ssh/ssh_config", false, err);
        free(own);
    } else if (strcmp(path, "none") != 0) {
        status = read_named(&r, path, true, err);
    }
    return end(&r, status, err);
}

kit_status kit_ssh_config_parse(const char *text, size_t length, const char *host, kit_ssh_config *out,
                                kolm_error_t *err) {
    *out = (kit_ssh_config){0};
    reader r = {.host = host, .config = out, .active = true};
    return end(&r, read_text(&r, "configuration", text, length, 0, err), err);
}

void kit_ssh_config_free(kit_ssh_config *config) {
    if (config == NULL) return;
    free(config->host_name);
    free(config->user);
    free(config->identity_agent);
    ssh_list_free(&config->identity_files);
    ssh_list_free(&config->certificate_files);
    ssh_list_free(&config->proxy_jump);
    ssh_list_free(&config->known_hosts);
    ssh_list_free(&config->notes);
    *config = (kit_ssh_config){0};
}
