/* SPDX-License-Identifier: Apache-2.0 */
/* Opens base models, remembers their digests, and reads the options of the trainer. */
#include "model/base.h"

#include "kolm/kit/text.h"

#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#define CACHE "bases"

/* A home that cannot be had only costs the time to hash. */
/* Where a base is looked for, and what is remembered of those that were found. */
typedef struct lookup {
    kolm_session *session;
    store_home *home; /* NULL: there is none, and nothing is kept */
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

static kit_status not_there(const char *name, const char *digest, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_NOT_FOUND, "say where it is with --base DIR",
                    "the base model of this artifact, %s (sha256 %.16s...), was not found on this machine", name,
                    digest);
}

/* With --base: that and nothing else. */
static kit_status open_asked(const char *asked, const char *digest, const lookup *l, job_base *out_base,
                             kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(job_base_find(asked, &path, err));
    kit_status status = open_at(asked, path, l, out_base, err);
    free(path);
    if (status == KOLM_OK && strcmp(out_base->digest, digest) != 0)
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "give the base that the artifact was trained on",
                          "%s is not the base model of this artifact: its digest is %.16s..., not %.16s...", asked,
                          out_base->digest, digest);
    return status;
}

/* True when the base at path has the digest; a failure is only not the right place. */
static bool try_path(const char *name, const char *path, const char *digest, const lookup *l, job_base *out_base) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (open_at(name, path, l, out_base, &ignored) == KOLM_OK && strcmp(out_base->digest, digest) == 0) return true;
    job_base_free(out_base);
    return false;
}

static bool try_cache(const char *name, const char *digest, const lookup *l, job_base *out_base) {
    kolm_error_t ignored = KIT_ERROR_INIT;
    char *path = NULL;
    bool good = name[0] != '/' && name[0] != '.' && job_base_find(name, &path, &ignored) == KOLM_OK &&
                try_path(name, path, digest, l, out_base);
    free(path);
    return good;
}

kit_status model_base_of(kolm_session *session, const cJSON *manifest, const char *asked, job_base *out_base,
                         bool *out_needed, kolm_error_t *err) {
    const cJSON *base = kit_json_get(manifest, "base");
    const char *name = NULL, *digest = NULL;
    *out_base = (job_base){0};
    bool embedded = false;
    *out_needed = cJSON_IsObject(base) && !(kit_json_get_bool(base, "embedded", &embedded) && embedded);
    if (!*out_needed) return KOLM_OK;
    if (!kit_json_get_string(base, "name", &name) || !kit_json_get_string(base, "digest", &digest))
        return kit_fail(err, KOLM_E_DATA_LOSS, "get the artifact again",
                        "its manifest does not say which base it needs");
    lookup l = lookup_begin(session);
    kit_status status = KOLM_OK;
    if (asked != NULL) {
        status = open_asked(asked, digest, &l, out_base, err);
    } else {
        const char *kept = job_base_remembered(l.memory, digest);
        char *path = kept != NULL ? strdup(kept) : NULL; /* opening may replace the entry */
        bool found = path != NULL && try_path(name, path, digest, &l, out_base);
        if (!found && !try_cache(name, digest, &l, out_base))
            status = session_stopped(session)
                         ? kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while the base was read")
                         : not_there(name, digest, err);
        free(path);
    }
    cJSON_Delete(l.memory);
    return status;
}

uint64_t model_read_bytes(uint64_t payload_bytes, uint64_t base_bytes, const cJSON *report) {
    uint64_t passes = 1000000, all = payload_bytes + base_bytes;
    (void)kit_json_get_u64(report, "passes_per_answer_micro", &passes);
    /* Far beyond what any machine reads for an answer the score is zero anyway. */
    if (all > (UINT64_C(1) << 43) || passes > UINT64_C(1000000) * 1000000) return UINT64_C(1) << 43;
    uint64_t whole = passes / 1000000, part = passes % 1000000;
    if (whole > 0 && all > (UINT64_C(1) << 43) / whole) return UINT64_C(1) << 43;
    return all * whole + all / 1000000 * part + all % 1000000 * part / 1000000;
}

kit_status model_options(const cJSON *manifest, bool allow_pickle, cJSON **out_options, kolm_error_t *err) {
    /* docs/trainer.md has what each means. One that is not here stays behind, whatever a later trainer calls it. */
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
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
}

static kit_status add_option(cJSON *options, const char *item, kolm_error_t *err) {
    const char *equals = strchr(item, '=');
    size_t length = equals != NULL ? (size_t)(equals - item) : 0;
    if (length == 0 || length > 64 || strspn(item, "abcdefghijklmnopqrstuvwxyz0123456789_") != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "write it as --set rank=16; `kolm compute info NAME` lists the names",
                        "--set '%s' is not NAME=VALUE", item);
    if (kit_utf8_valid(equals, strlen(equals)) != strlen(equals))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give UTF-8 text", "the value of --set %.*s is not UTF-8 text",
                        (int)length, item);
    char name[72];
    kit_format(name, sizeof name, "%.*s", (int)length, item);
    if (kit_json_get(options, name) != NULL)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "leave one of them out",
                        "--set %s is given twice, and only one can count", name);
    if (!kit_json_put_string(options, name, equals + 1))
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
    return KOLM_OK;
}

kit_status model_trainer_options(const session_words *set, cJSON **out_options, kolm_error_t *err) {
    *out_options = NULL;
    if (set->count == 0) return KOLM_OK;
    cJSON *options = cJSON_CreateObject();
    kit_status status = options != NULL ? KOLM_OK
                                        : kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED,
                                                   "close other programs or raise the limit", "out of memory");
    for (size_t i = 0; i < set->count && status == KOLM_OK; i++)
        status = add_option(options, set->items[i], err);
    if (status == KOLM_OK)
        *out_options = options;
    else
        cJSON_Delete(options);
    return status;
}
