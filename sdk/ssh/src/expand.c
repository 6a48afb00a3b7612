/* SPDX-License-Identifier: Apache-2.0 */
/* Expands ~, ~user, %tokens and ${VARIABLES} as documented in ssh_config(5). */
#include "config.h"

#include "kolm/kit/text.h"

#include <ctype.h>
#include <nettle/sha1.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSWD_BYTES 16384

static kit_status copy_home(const char *home, char **out, kolm_error_t *err) {
    *out = NULL;
    return home != NULL ? kit_strdup(home, out, err) : KOLM_OK;
}

/* HOME, unless the process is set-uid, else the home of the passwd entry. *out is NULL if there is neither. */
static kit_status own_home(char **out, kolm_error_t *err) {
    const char *home = secure_getenv("HOME");
    if (home != NULL && home[0] == '/') return copy_home(home, out, err);
    struct passwd entry, *found = NULL;
    char room[PASSWD_BYTES];
    bool there = getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found != NULL;
    return copy_home(there ? found->pw_dir : NULL, out, err);
}

kit_status ssh_home_path(const char *name, char **out, kolm_error_t *err) {
    char *home = NULL;
    *out = NULL;
    KIT_TRY(own_home(&home, err));
    kit_status status = home != NULL ? kit_path_join(home, name, out, err) : KOLM_OK;
    free(home);
    return status;
}

void ssh_login_name(char out[KIT_SSH_USER_BYTES]) {
    struct passwd entry, *found = NULL;
    char room[PASSWD_BYTES];
    bool there = getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found != NULL;
    kit_copy(out, KIT_SSH_USER_BYTES, there ? found->pw_name : "");
}

/* ---- ~ */

/* The home of the user whose name is name[0, length); NULL: there is none. */
static kit_status home_of(const char *name, size_t length, char **out, kolm_error_t *err) {
    char user[KIT_SSH_USER_BYTES], room[PASSWD_BYTES];
    struct passwd entry, *found = NULL;
    *out = NULL;
    if (length >= sizeof user) return KOLM_OK;
    memcpy(user, name, length);
    user[length] = '\0';
    bool there = getpwnam_r(user, &entry, room, sizeof room, &found) == 0 && found != NULL;
    return copy_home(there ? found->pw_dir : NULL, out, err);
}

static kit_status expand_tilde(const char *value, kit_buf *out, kolm_error_t *err) {
    if (value[0] != '~') {
        kit_buf_str(out, value);
        return kit_buf_ok(out, err);
    }
    size_t length = strcspn(value + 1, "/");
    char *home = NULL;
    KIT_TRY(length == 0 ? own_home(&home, err) : home_of(value + 1, length, &home, err));
    if (home == NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write the full path",
                        length == 0 ? "there is no home directory for the ~ in \"%s\""
                                    : "\"%s\" begins with the home of a user that does not exist",
                        value);
    const char *rest = value + 1 + length;
    size_t n = strlen(home);
    kit_buf_add(out, home, n > 1 && home[n - 1] == '/' ? n - 1 : n);
    kit_buf_str(out, n == 1 && home[0] == '/' && rest[0] == '/' ? rest + 1 : rest);
    free(home);
    return kit_buf_ok(out, err);
}

/* ---- ${NAME} */

/* at: after "${". *out_end: after the brace. */
static kit_status expand_variable(const char *value, const char *at, kit_buf *out, const char **out_end,
                                  kolm_error_t *err) {
    size_t length = strcspn(at, "}");
    char name[256];
    if (at[length] == '\0' || length == 0 || length >= sizeof name)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write ${NAME}", "\"%s\" has a ${ that is not a variable", value);
    memcpy(name, at, length);
    name[length] = '\0';
    *out_end = at + length + 1;
    const char *set = secure_getenv(name);
    if (set == NULL)
        return kit_fail(
            err, KOLM_E_INVALID_ARGUMENT,
            "write the path without it: a backend gets HOME, USER, LOGNAME, XDG_* directories and few other variables",
            "the variable %s in \"%s\" is not set for this backend", name, value);
    kit_buf_str(out, set);
    return KOLM_OK;
}

/* ---- %tokens */

static void host_here(char out[256]) {
    if (gethostname(out, 255) != 0) out[0] = '\0';
    out[255] = '\0';
}

static const char *far_user(const ssh_names *names, char login[KIT_SSH_USER_BYTES]) {
    if (names->user != NULL) return names->user;
    ssh_login_name(login);
    return login;
}

static void add_connection_hash(const ssh_names *names, const char *here, kit_buf *out) {
    struct sha1_ctx context;
    uint8_t digest[SHA1_DIGEST_SIZE];
    char port[8], hex[2 * SHA1_DIGEST_SIZE + 1], login[KIT_SSH_USER_BYTES];
    kit_format(port, sizeof port, "%u", names->port);
    const char *const parts[] = {here, names->host, port, far_user(names, login)};
    sha1_init(&context);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        sha1_update(&context, strlen(parts[i]), (const uint8_t *)parts[i]);
    sha1_digest(&context, sizeof digest, digest);
    kit_hex(digest, sizeof digest, hex);
    kit_buf_str(out, hex);
}

static kit_status add_home(kit_buf *out, kolm_error_t *err) {
    char *home = NULL;
    KIT_TRY(own_home(&home, err));
    kit_buf_str(out, home != NULL ? home : "");
    free(home);
    return KOLM_OK;
}

static kit_status add_token(const ssh_names *names, char token, kit_buf *out, kolm_error_t *err) {
    char here[256], login[KIT_SSH_USER_BYTES];
    host_here(here);
    switch (token) {
    case '%':
        kit_buf_char(out, '%');
        break;
    case 'C':
        add_connection_hash(names, here, out);
        break;
    case 'd':
        return add_home(out, err);
    case 'h':
        kit_buf_str(out, names->host);
        break;
    case 'i':
        kit_buf_fmt(out, "%u", (unsigned)getuid());
        break;
    case 'k':
        kit_buf_str(out, names->alias != NULL ? names->alias : names->given);
        break;
    case 'L':
        kit_buf_add(out, here, strcspn(here, "."));
        break;
    case 'l':
        kit_buf_str(out, here);
        break;
    case 'n':
        kit_buf_str(out, names->given);
        break;
    case 'p':
        kit_buf_fmt(out, "%u", names->port);
        break;
    case 'r':
        kit_buf_str(out, far_user(names, login));
        break;
    default:
        ssh_login_name(login);
        kit_buf_str(out, login);
        break; /* u */
    }
    return KOLM_OK;
}

kit_status ssh_expand(const ssh_names *names, const char *value, const char *tokens, unsigned how, char **out,
                      kolm_error_t *err) {
    kit_buf start = {0}, text = {0};
    kit_status status = KOLM_OK;
    if (how & SSH_EXPAND_TILDE)
        status = expand_tilde(value, &start, err);
    else
        kit_buf_str(&start, value);
    if (status == KOLM_OK) status = kit_buf_ok(&start, err);
    const char *p = status == KOLM_OK ? kit_buf_text(&start) : "";
    while (status == KOLM_OK && *p != '\0') {
        if ((how & SSH_EXPAND_VARIABLES) && p[0] == '$' && p[1] == '{') {
            status = expand_variable(value, p + 2, &text, &p, err);
        } else if (*p == '%' && tokens != NULL) {
            if (p[1] == '\0' || (p[1] != '%' && strchr(tokens, p[1]) == NULL))
                status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write the value without it; %% stands for one %",
                                  "the SSH configuration for %s has \"%s\", whose token %%%.1s is not known there",
                                  names->given, value, p + 1);
            else
                status = add_token(names, p[1], &text, err);
            p += 2;
        } else {
            kit_buf_char(&text, *p++);
        }
    }
    if (status == KOLM_OK) status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_strdup(kit_buf_text(&text), out, err);
    kit_buf_free(&start);
    kit_buf_free(&text);
    return status;
}

kit_status kit_ssh_path(const char *text, char **out_path, kolm_error_t *err) {
    const ssh_names none = {.given = "", .host = "", .user = ""};
    *out_path = NULL;
    KIT_TRY(ssh_expand(&none, text, NULL, SSH_EXPAND_TILDE | SSH_EXPAND_VARIABLES, out_path, err));
    if ((*out_path)[0] == '/') return KOLM_OK;
    free(*out_path);
    *out_path = NULL;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "start it with / or ~/", "\"%s\" is not a whole path", text);
}
