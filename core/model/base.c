/* SPDX-License-Identifier: Apache-2.0 */
/* Opens base models, remembers their digests, and reads the options of the trainer. */
#include "model/base.h"

#include "kolm/kit/text.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define CACHE "bases"

/* Where to look for a base, and the cache of digests. Without a home, bases are hashed each time. */
typedef struct lookup {
    kolm_session *session;
    store_home *home; /* NULL: none, so nothing is cached */
    cJSON *memory;
} lookup;

static lookup lookup_begin(kolm_session *session) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    lookup l = {.session = session};
    if (session_home(session, &l.home, &ignored) != KOLM_OK) l.home = NULL;
    if (l.home != NULL) l.memory = store_cache_read(l.home, CACHE);
    if (l.memory == NULL) l.memory = cJSON_CreateObject();
    return l;
}

static kit_status open_at(const char *asked, const char *path, const lookup *l, job_base *out_base, kolm_error_t *err) {
    kit_status status = job_base_open(asked, path, l->memory, l->session->stop, out_base, err);
    if (status == KOLM_OK && l->home != NULL) (void)store_cache_write(l->home, CACHE, l->memory);
    return status;
}

kit_status model_base_open(kolm_session *session, const char *asked, job_base *out_base, kolm_error_t *err) {
    char *path = NULL;
    *out_base = (job_base){0};
    KIT_TRY(job_base_find(asked, &path, err));
    lookup l = lookup_begin(session);
    kit_status status = open_at(asked, path, &l, out_base, err);
    cJSON_Delete(l.memory);
    free(path);
    return status;
}

/* ---- Found again */

/* The base that a manifest requires. */
typedef struct wanted {
    const char *name, *digest;
    kit_buf lines; /* of the files that count; empty: all, and only the digest is known */
    kit_buf seen;  /* where it was, and what is there now, for the error if it is not found */
} wanted;

static kit_status wanted_begin(const cJSON *base, wanted *w, kolm_error_t *err) {
    static const char remedy[] = "download the artifact again";
    const cJSON *files = kit_json_get(base, "files");
    char digest[KIT_SHA256_HEX];
    *w = (wanted){0};
    if (!kit_json_get_string(base, "name", &w->name) || !kit_json_get_string(base, "digest", &w->digest))
        return kit_fail(err, KOLM_E_DATA_LOSS, remedy, "its manifest does not say which base it needs");
    if (files == NULL) return KOLM_OK;
    KIT_TRY(job_base_lines_of(files, &w->lines, err));
    KIT_TRY(kit_sha256_bytes(w->lines.data, w->lines.length, digest, err));
    if (strcmp(digest, w->digest) == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, remedy,
                    "the digest of the base in its manifest is not that of the files that it lists");
}

static void wanted_end(wanted *w) {
    kit_buf_free(&w->lines);
    kit_buf_free(&w->seen);
}

/* True if base is the required one; it is then narrowed to the files that count. */
static bool is_wanted(const wanted *w, job_base *base) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (w->lines.length > 0) return job_base_narrow(base, kit_buf_text(&w->lines), &ignored) == KOLM_OK;
    return strcmp(base->digest, w->digest) == 0;
}

/* With --base: only that. */
static kit_status open_asked(const char *asked, const wanted *w, const lookup *l, job_base *out_base,
                             kolm_error_t *err) {
    char *path = NULL, what[512];
    KIT_TRY(job_base_find(asked, &path, err));
    kit_status status = open_at(asked, path, l, out_base, err);
    free(path);
    if (status != KOLM_OK || is_wanted(w, out_base)) return status;
    static const char remedy[] = "use the base that the artifact was trained on";
    if (w->lines.length == 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "%s is not the base model of this artifact: its digest is %.16s..., not %.16s...", asked,
                        out_base->digest, w->digest);
    job_base_difference(kit_buf_text(&w->lines), out_base->lines, false, what, sizeof what);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s is not the base model of this artifact: %s", asked,
                    what);
}

/* True if the required base is at path. what_then: describes a different one in the error. before: the lines of the one
 * that was there, or NULL. */
static bool try_path(wanted *w, const char *path, const char *what_then, const char *before, const lookup *l,
                     job_base *out_base) {
    kolm_error_t why = KIT_ERROR_INIT;
    char what[512] = "";
    bool opened = open_at(w->name, path, l, out_base, &why) == KOLM_OK;
    if (opened && is_wanted(w, out_base)) return true;
    const char *lines = w->lines.length > 0 ? kit_buf_text(&w->lines) : before;
    if (opened && lines != NULL) job_base_difference(lines, out_base->lines, w->lines.length == 0, what, sizeof what);
    /* One that cannot be opened was moved, or is no longer a base. */
    if (w->seen.length == 0 && (opened || why.code != KOLM_E_NOT_FOUND))
        kit_buf_fmt(&w->seen, "the one in %s %s%s%s%s", path, what_then, opened && what[0] == '\0' ? "" : " (",
                    opened ? what : why.text, opened && what[0] == '\0' ? "" : ")");
    job_base_free(out_base);
    return false;
}

/* Tries every path where it was last seen, then those where it was seen earlier. */
static kit_status try_seen(wanted *w, const lookup *l, job_base *out_base, bool *out_found, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    *out_found = false;
    for (int earlier = 0; earlier < 2 && status == KOLM_OK && !*out_found; earlier++) {
        cJSON *seen = NULL; /* a copy: opening replaces entries of the cache */
        status = job_base_seen(l->memory, w->digest, kit_buf_text(&w->lines), earlier == 1, &seen, err);
        for (const cJSON *e = seen != NULL ? seen->child : NULL; e != NULL && !*out_found; e = e->next) {
            const char *path = NULL, *lines = NULL;
            if (!kit_json_get_string(e, "path", &path) || session_stopped(l->session)) break;
            if (!kit_json_get_string(e, "lines", &lines)) lines = NULL;
            *out_found = try_path(w, path, "has changed", lines, l, out_base);
        }
        cJSON_Delete(seen);
    }
    return status;
}

static bool try_cache(wanted *w, const lookup *l, job_base *out_base) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    char *path = NULL;
    bool good = w->name[0] != '/' && w->name[0] != '.' && job_base_find(w->name, &path, &ignored) == KOLM_OK &&
                try_path(w, path, "is another one", NULL, l, out_base);
    free(path);
    return good;
}

static kit_status not_there(const wanted *w, kolm_error_t *err) {
    if (w->seen.length > 0)
        return kit_fail(err, KOLM_E_NOT_FOUND, "restore its files, or pass their directory with --base DIR",
                        "the base model of this artifact, %s (sha256 %.16s...), was not found on this machine: %s",
                        w->name, w->digest, kit_buf_text(&w->seen));
    return kit_fail(err, KOLM_E_NOT_FOUND, "pass its directory with --base DIR",
                    "the base model of this artifact, %s (sha256 %.16s...), was not found on this machine", w->name,
                    w->digest);
}

static kit_status find_again(wanted *w, const lookup *l, job_base *out_base, kolm_error_t *err) {
    bool found = false;
    KIT_TRY(try_seen(w, l, out_base, &found, err));
    if (found || try_cache(w, l, out_base)) return KOLM_OK;
    if (session_stopped(l->session)) return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while the base was read");
    return not_there(w, err);
}

kit_status model_base_of(kolm_session *session, const cJSON *manifest, const char *asked, job_base *out_base,
                         bool *out_needed, kolm_error_t *err) {
    const cJSON *base = kit_json_get(manifest, "base");
    wanted w;
    *out_base = (job_base){0};
    bool embedded = false;
    *out_needed = cJSON_IsObject(base) && !(kit_json_get_bool(base, "embedded", &embedded) && embedded);
    if (!*out_needed) return KOLM_OK;
    kit_status status = wanted_begin(base, &w, err);
    if (status == KOLM_OK) {
        lookup l = lookup_begin(session);
        status = asked != NULL ? open_asked(asked, &w, &l, out_base, err) : find_again(&w, &l, out_base, err);
        cJSON_Delete(l.memory);
    }
    wanted_end(&w);
    return status;
}

uint64_t model_read_bytes(uint64_t payload_bytes, uint64_t base_bytes, const cJSON *report) {
    uint64_t passes = 1000000, elsewhere = 0;
    (void)kit_json_get_u64(report, "passes_per_answer_micro", &passes);
    (void)kit_json_get_u64(report, "weights_elsewhere_bytes", &elsewhere);
    uint64_t all = payload_bytes + base_bytes + elsewhere;
    /* For sizes beyond any machine the score is zero anyway. */
    if (all > (UINT64_C(1) << 43) || passes > UINT64_C(1000000) * 1000000) return UINT64_C(1) << 43;
    uint64_t whole = passes / 1000000, part = passes % 1000000;
    if (whole > 0 && all > (UINT64_C(1) << 43) / whole) return UINT64_C(1) << 43;
    return all * whole + all / 1000000 * part + all % 1000000 * part / 1000000;
}

kit_status model_options(const cJSON *manifest, bool allow_pickle, cJSON **out_options, kolm_error_t *err) {
    /* The options that are kept, see docs/trainer.md. All others are dropped, including those of later trainers. */
    static const char *const travel[] = {"task",       "method",         "rank",          "alpha",
                                         "targets",    "dtype",          "template",      "system",
                                         "max_length", "max_new_tokens", "deterministic", "unsloth"};
    const cJSON *from = kit_json_get(kit_json_get(manifest, "options"), "trainer");
    const char *value = NULL;
    cJSON *options = cJSON_CreateObject();
    bool good = options != NULL && (!allow_pickle || kit_json_put_string(options, "allow_pickle", "true"));
    for (size_t i = 0; i < sizeof travel / sizeof *travel && good; i++)
        if (kit_json_get_string(from, travel[i], &value)) good = kit_json_put_string(options, travel[i], value);
    if (good) {
        *out_options = options;
        return KOLM_OK;
    }
    cJSON_Delete(options);
    return kit_no_memory(err);
}

static kit_status add_option(cJSON *options, const char *item, kolm_error_t *err) {
    const char *equals = strchr(item, '=');
    size_t length = equals != NULL ? (size_t)(equals - item) : 0;
    if (length == 0 || length > 64 || strspn(item, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "write it as --set rank=16; `kolm compute info NAME` lists the names",
                        "--set '%s' is not NAME=VALUE", item);
    if (kit_utf8_valid(equals, strlen(equals)) != strlen(equals))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use UTF-8 text", "the value of --set %.*s is not UTF-8 text",
                        (int)length, item);
    char name[72];
    kit_format(name, sizeof name, "%.*s", (int)length, item);
    if (kit_json_get(options, name) != NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave one of them out",
                        "--set %s is given twice, but can be used only once", name);
    if (!kit_json_put_string(options, name, equals + 1)) return kit_no_memory(err);
    return KOLM_OK;
}

kit_status model_trainer_options(const session_words *set, cJSON **out_options, kolm_error_t *err) {
    *out_options = NULL;
    if (set->count == 0) return KOLM_OK;
    cJSON *options = cJSON_CreateObject();
    kit_status status = options != NULL ? KOLM_OK : kit_no_memory(err);
    for (size_t i = 0; i < set->count && status == KOLM_OK; i++)
        status = add_option(options, set->items[i], err);
    if (status == KOLM_OK)
        *out_options = options;
    else
        cJSON_Delete(options);
    return status;
}
