/* SPDX-License-Identifier: Apache-2.0 */
/* Reads "files" of a manifest and "fence" of config.json, and expands their paths. */
#include "host/files.h"

#include "kolm/kit/text.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX 1024 /* bytes */

static const char what[] =
    "an object of \"read\" and \"write\", each an array of at most 16 places such as \"/srv/data\", "
    "\"~/.ssh\", \"${NAME}/x\" or \"@setting\", without ..";

static kit_status expected(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "expected %s", what);
}

static bool has_dots(const char *path) {
    for (const char *at = path; (at = strstr(at, "..")) != NULL; at += 2)
        if ((at == path || at[-1] == '/' || at[-1] == '}') && (at[2] == '/' || at[2] == '\0')) return true;
    return false;
}

/* True unless the path is / or the home directory. */
static bool good_path(const char *s) {
    if (s[0] == '/' || (s[0] == '~' && s[1] == '/')) {
        const char *rest = s + (s[0] == '~');
        return rest[strspn(rest, "/.")] != '\0';
    }
    if (s[0] != '$' || s[1] != '{' || !(isalpha((unsigned char)s[2]) || s[2] == '_')) return false;
    size_t n = strspn(s + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    const char *end = s + 2 + n;
    return n <= 64 && end[0] == '}' && (end[1] == '\0' || end[1] == '/') && !strchr(end, '$');
}

static bool good_place(const cJSON *item) {
    if (!cJSON_IsString(item)) return false;
    const char *s = item->valuestring;
    for (const unsigned char *at = (const unsigned char *)s; *at; at++)
        if (*at < 0x20 || *at == 0x7f) return false;
    if (strlen(s) > PLACE_MAX || has_dots(s)) return false;
    if (s[0] != '@') return good_path(s);
    size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return n > 0 && n <= 64 && (s[1 + n] == '\0' || (s[1 + n] == '/' && s[2 + n] == '\0'));
}

static kit_status read_places(const cJSON *array, char ***out, size_t *out_count, kolm_error_t *err) {
    if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) > HOST_FILES_MAX) return expected(err);
    *out = calloc(HOST_FILES_MAX, sizeof **out);
    if (!*out) return kit_no_memory(err);
    const cJSON *item;
    cJSON_ArrayForEach(item, array) {
        if (!good_place(item)) return expected(err);
        KIT_TRY(kit_strdup(item->valuestring, &(*out)[*out_count], err));
        ++*out_count;
    }
    return KOLM_OK;
}

kit_status host_files_read(const cJSON *object, kit_buf *unread, host_files *out, kolm_error_t *err) {
    *out = (host_files){0};
    kit_status status = cJSON_IsObject(object) ? KOLM_OK : expected(err);
    for (const cJSON *item = status == KOLM_OK ? object->child : NULL; status == KOLM_OK && item; item = item->next) {
        if (strcmp(item->string, "read") == 0)
            status = read_places(item, &out->read, &out->read_count, err);
        else if (strcmp(item->string, "write") == 0)
            status = read_places(item, &out->write, &out->write_count, err);
        else if (unread) {
            kit_buf_str(unread, ", files.");
            kit_buf_escaped(unread, item->string, strlen(item->string));
        } else
            status = expected(err);
    }
    if (status != KOLM_OK) host_files_free(out);
    return status;
}

void host_files_free(host_files *files) {
    for (size_t i = 0; i < files->read_count; i++)
        free(files->read[i]);
    for (size_t i = 0; i < files->write_count; i++)
        free(files->write[i]);
    free(files->read);
    free(files->write);
    *files = (host_files){0};
}

/* Expands ~ or ~user at text; returns the length consumed, 0 if there is no such user. */
static size_t add_home(const char *text, kit_buf *out) {
    size_t length = strcspn(text, "/");
    char user[64], room[4096];
    struct passwd entry, *found = NULL;
    const char *home = secure_getenv("HOME");
    if (length == 1) {
        if (!home || home[0] != '/') return 0;
        kit_buf_str(out, home);
        return length;
    }
    if (!kit_format(user, sizeof user, "%.*s", (int)length - 1, text + 1)) return 0;
    if (getpwnam_r(user, &entry, room, sizeof room, &found) != 0 || !found) return 0;
    kit_buf_str(out, entry.pw_dir);
    return length;
}

/* Appends the value of ${NAME} at text; returns the length of ${NAME}, 0 if it is not set. */
static size_t add_value_of(const char *text, kit_buf *out) {
    char name[80];
    size_t length = strcspn(text, "}");
    if (text[length] != '}' || !kit_format(name, sizeof name, "%.*s", (int)length - 2, text + 2)) return 0;
    const char *value = secure_getenv(name);
    if (!value || !*value) return 0;
    kit_buf_str(out, value);
    return length + 1;
}

bool host_path_expand(const char *text, kit_buf *out) {
    const char *at = text;
    bool whole = true;
    if (*at == '~') {
        size_t used = add_home(at, out);
        whole = used > 0;
        at += used;
    }
    while (*at) {
        size_t plain = strcspn(at, "$");
        kit_buf_add(out, at, plain);
        at += plain;
        size_t used = at[0] == '$' && at[1] == '{' ? add_value_of(at, out) : 0;
        if (used == 0 && *at) {
            whole = whole && at[1] != '{';
            kit_buf_char(out, *at);
        }
        at += used > 0 ? used : *at != '\0';
    }
    return whole && kit_buf_text(out)[0] == '/';
}
