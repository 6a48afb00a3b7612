/* SPDX-License-Identifier: Apache-2.0 */
/* Finds secrets: in the environment first, then in a private file. */
#include "kolm/kit/file.h"
#include "kolm/kit/trust.h"
#include "store/store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL 4
#define TAIL_MINIMUM 12 /* of a shorter secret four characters would give away too much */

struct store_credentials {
    char *text; /* the file, cut into NUL terminated names and values in place */
    size_t size;
    const char **names;
    const char **values;
    size_t count;
};

static kit_status refuse(kolm_error_t *err, const char *path, const char *why) {
    char remedy[512];
    kit_format(remedy, sizeof remedy, "chmod 600 '%s', and make sure that it is yours", path);
    return kit_fail(err, KOLM_E_PERMISSION_DENIED, remedy, "%s is not used: %s", path, why);
}

static kit_status check_file(int fd, const char *path, size_t *out_size, kolm_error_t *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return kit_fail_errno(err, errno, "cannot access %s", path);
    if (!S_ISREG(st.st_mode)) return refuse(err, path, "it is not a regular file");
    kit_trust_fault fault = kit_trust_stat(KIT_TRUST_PRIVATE, &st);
    if (fault == KIT_TRUST_OWNER) return refuse(err, path, "it belongs to another user");
    if (fault == KIT_TRUST_MODE) return refuse(err, path, "other users have permissions on it");
    if (st.st_size > STORE_CREDENTIALS_MAX) {
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "keep only NAME=value lines in it", "%s is larger than %u bytes",
                        path, STORE_CREDENTIALS_MAX);
    }
    *out_size = (size_t)st.st_size;
    return KOLM_OK;
}

static kit_status load(const char *path, store_credentials *set, kolm_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return KOLM_OK;
    if (fd < 0 && errno == ELOOP) return refuse(err, path, "it is a symbolic link");
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    kit_status status = check_file(fd, path, &set->size, err);
    if (status == KOLM_OK) {
        set->text = calloc(1, set->size + 1);
        if (!set->text) status = kit_no_memory(err);
    }
    if (status == KOLM_OK) status = kit_read_exact(fd, set->text, set->size, err);
    close(fd);
    return status;
}

static char *trim(char *start, char *end) {
    while (start < end && isspace((unsigned char)*start))
        start++;
    while (end > start && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return start;
}

static bool good_name(const char *name) {
    if (!isalpha((unsigned char)*name) && *name != '_') return false;
    for (; *name; name++) {
        if (!isalnum((unsigned char)*name) && *name != '_') return false;
    }
    return true;
}

static kit_status add(store_credentials *set, const char *name, const char *value, kolm_error_t *err) {
    const char **names = realloc(set->names, (set->count + 1) * sizeof *names);
    if (names) set->names = names;
    const char **values = realloc(set->values, (set->count + 1) * sizeof *values);
    if (values) set->values = values;
    if (!names || !values) return kit_no_memory(err);
    set->names[set->count] = name;
    set->values[set->count++] = value;
    return KOLM_OK;
}

static kit_status parse(const char *path, store_credentials *set, kolm_error_t *err) {
    char *at = set->text;
    char *end = at ? at + set->size : NULL;
    for (unsigned line = 1; at && at < end; line++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        char *equals = memchr(at, '=', (size_t)(stop - at));
        bool has_nul = memchr(at, '\0', (size_t)(stop - at)) != NULL;
        char *value = equals && !has_nul ? trim(equals + 1, stop) : NULL;
        char *name = trim(at, equals && !has_nul ? equals : stop);
        at = stop + 1;
        if (!has_nul && (*name == '\0' || *name == '#') && !(equals && *name == '\0')) continue;
        if (!value || !good_name(name)) {
            /* The line itself is not quoted: it may hold a token. */
            return kit_fail(err, KOLM_E_DATA_LOSS, "write each token as NAME=value on a line of its own",
                            "%s, line %u: expected NAME=value", path, line);
        }
        KIT_TRY(add(set, name, value, err));
    }
    return KOLM_OK;
}

kit_status store_credentials_read(const store_home *home, store_credentials **out_credentials, kolm_error_t *err) {
    char *path = NULL;
    store_credentials *set = calloc(1, sizeof *set);
    kit_status status = set ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = store_home_place(home, STORE_CREDENTIALS, &path, err);
    if (status == KOLM_OK) status = load(path, set, err);
    if (status == KOLM_OK) status = parse(path, set, err);
    free(path);
    if (status == KOLM_OK)
        *out_credentials = set;
    else
        store_credentials_free(set);
    return status;
}

void store_credentials_free(store_credentials *credentials) {
    if (!credentials) return;
    if (credentials->text) explicit_bzero(credentials->text, credentials->size);
    free(credentials->text);
    free(credentials->names);
    free(credentials->values);
    free(credentials);
}

const char *store_secret(const store_credentials *credentials, const char *name, store_secret_source *out_source) {
    const char *value = secure_getenv(name);
    store_secret_source source = STORE_SECRET_ENVIRONMENT;
    if (!value || !*value) {
        value = NULL;
        source = STORE_SECRET_NONE;
        /* The last line of a name wins, as in a shell. */
        for (size_t i = credentials ? credentials->count : 0; i > 0 && !value; i--) {
            if (strcmp(credentials->names[i - 1], name) == 0 && credentials->values[i - 1][0]) {
                value = credentials->values[i - 1];
                source = STORE_SECRET_FILE;
            }
        }
    }
    if (out_source) *out_source = source;
    return value;
}

const char *store_secret_source_name(store_secret_source source) {
    switch (source) {
    case STORE_SECRET_ENVIRONMENT:
        return "environment";
    case STORE_SECRET_FILE:
        return "credentials file";
    default:
        return "";
    }
}

const char *store_secret_tail(const char *secret) {
    size_t length = strlen(secret);
    return length >= TAIL_MINIMUM ? secret + length - TAIL : "";
}
