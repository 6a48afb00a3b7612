/* SPDX-License-Identifier: Apache-2.0 */
/* Builds, formats, reads and checks manifest.json. */
#include "artifact/manifest.h"

#include "artifact/artifact.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyz"
#define CAPITALS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static const char *const REMEDY = "docs/rooms/artifact.md lists the fields of a manifest";

bool artifact_is_own_name(const char *name) {
    return strcmp(name, ARTIFACT_MANIFEST_NAME) == 0 || strncmp(name, "META/", 5) == 0;
}

static kit_status wrong(const char *field, const char *should, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, REMEDY, "the manifest's \"%s\" must be %s", field, should);
}

static bool is_hex(const char *text) {
    return strlen(text) == KIT_SHA256_HEX - 1 && strspn(text, DIGITS "abcdef") == KIT_SHA256_HEX - 1;
}

static bool has_hex(const cJSON *object, const char *key) {
    const char *text = NULL;
    return kit_json_get_string(object, key, &text) && is_hex(text);
}

static bool has_text(const cJSON *object, const char *key) {
    const char *text = NULL;
    return kit_json_get_string(object, key, &text) && *text != '\0';
}

static bool is_word(const cJSON *object, const char *key, const char *first, const char *rest) {
    const char *text = NULL;
    if (!kit_json_get_string(object, key, &text) || *text == '\0' || strlen(text) > 64) return false;
    return strchr(first, *text) != NULL && strspn(text, rest) == strlen(text);
}

/* Decimals are cJSON raw items when built by kit_json_micro, and numbers when read back. */
static bool is_share(const cJSON *object, const char *key) {
    const cJSON *item = kit_json_get(object, key);
    uint64_t micro = 0;
    if (cJSON_IsRaw(item))
        return item->valuestring != NULL && kit_parse_micro(item->valuestring, &micro) && micro <= 1000000;
    return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= 1;
}

static bool is_rows(const cJSON *value) {
    uint64_t rows = 0;
    return cJSON_IsObject(value) && kit_json_get_u64(value, "rows", &rows) && has_hex(value, "sha256");
}

/* Missing if the digest covers all files of the base. */
static bool is_base_files(const cJSON *files) {
    uint64_t size;
    if (files == NULL) return true;
    if (!cJSON_IsArray(files) || files->child == NULL) return false;
    for (const cJSON *one = files->child; one != NULL; one = one->next)
        if (!has_text(one, "name") || !has_hex(one, "sha256") || !kit_json_get_u64(one, "bytes", &size)) return false;
    return true;
}

/* Both are missing in manifests of older kolms, and null if there is no baseline. */
static kit_status check_baseline(const cJSON *score, uint64_t answered, kolm_error_t *err) {
    const cJSON *baseline = kit_json_get(score, "baseline"), *balanced = kit_json_get(score, "balanced_accuracy");
    uint64_t correct = 0;
    if (balanced != NULL && !cJSON_IsNull(balanced) && !is_share(score, "balanced_accuracy"))
        return wrong("kscore.balanced_accuracy", "null or a number from 0 to 1", err);
    if (baseline == NULL || cJSON_IsNull(baseline)) return KOLM_OK;
    if (!cJSON_IsObject(baseline) || !is_share(baseline, "accuracy") ||
        !kit_json_get_u64(baseline, "correct", &correct) || correct > answered)
        return wrong("kscore.baseline", "null or {accuracy, correct} with correct <= answered", err);
    return KOLM_OK;
}

static kit_status check_score(const cJSON *score, kolm_error_t *err) {
    static const char *const terms[] = {"k", "accuracy", "size", "latency", "cost", "coverage"};
    uint64_t n = 0, correct = 0, answered = 0;
    if (!cJSON_IsObject(score)) return wrong("kscore", "an object", err);
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++) {
        if (!is_share(score, terms[i]))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, REMEDY,
                            "the manifest's kscore \"%s\" must be a number from 0 to 1", terms[i]);
    }
    bool counts = kit_json_get_u64(score, "n", &n) && kit_json_get_u64(score, "correct", &correct) &&
                  kit_json_get_u64(score, "answered", &answered) && correct <= answered && answered <= n;
    if (!counts) return wrong("kscore", "with counts correct <= answered <= n", err);
    if (!cJSON_IsObject(kit_json_get(score, "reference"))) return wrong("kscore.reference", "an object", err);
    return check_baseline(score, answered, err);
}

kit_status artifact_manifest_check(const cJSON *fields, kolm_error_t *err) {
    static const char *const texts[] = {"task", "recipe", "toolchain"};
    static const char *const objects[] = {"options", "report"};
    if (!cJSON_IsObject(fields)) return kit_fail(err, KOLM_E_INVALID_ARGUMENT, REMEDY, "a manifest must be an object");
    if (!is_word(fields, "name", LETTERS, LETTERS DIGITS "_-"))
        return wrong("name", "a word of a-z, 0-9, _ and -, at most 64 long", err);
    if (!is_word(fields, "version", DIGITS LETTERS CAPITALS, DIGITS LETTERS CAPITALS ".+-"))
        return wrong("version", "a version such as 1.0.0", err);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!has_text(fields, texts[i])) return wrong(texts[i], "a string that is not empty", err);
    }
    const cJSON *base = kit_json_get(fields, "base");
    if (!cJSON_IsNull(base) && !(has_text(base, "name") && has_hex(base, "digest")))
        return wrong("base", "null or {name, digest}", err);
    const cJSON *embedded = kit_json_get(base, "embedded");
    if (embedded != NULL && !cJSON_IsBool(embedded)) return wrong("base.embedded", "true or false", err);
    if (!is_base_files(kit_json_get(base, "files")))
        return wrong("base.files", "an array of {name, bytes, sha256}", err);
    const cJSON *data = kit_json_get(fields, "data");
    if (!is_rows(kit_json_get(data, "train"))) return wrong("data.train", "{rows, sha256}", err);
    if (!is_rows(kit_json_get(data, "eval"))) return wrong("data.eval", "{rows, sha256}", err);
    if (!has_hex(kit_json_get(fields, "evaluation"), "sha256"))
        return wrong("evaluation", "an object with a sha256", err);
    KIT_TRY(check_score(kit_json_get(fields, "kscore"), err));
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        if (!cJSON_IsObject(kit_json_get(fields, objects[i]))) return wrong(objects[i], "an object", err);
    }
    return KOLM_OK;
}

kit_status artifact_canonical(const cJSON *value, kit_buf *out, kolm_error_t *err) {
    cJSON *copy = cJSON_Duplicate(value, true);
    if (copy == NULL) return kit_no_memory(err);
    kit_status status = kit_json_exact(copy, err);
    if (status == KOLM_OK) status = kit_json_canonical(copy, out, err);
    cJSON_Delete(copy);
    return status;
}

static cJSON *entry_list(const artifact_zip *zip, const char (*digests)[KIT_SHA256_HEX]) {
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; list != NULL && i < zip->count; i++) {
        const artifact_zip_entry *entry = &zip->entries[i];
        if (artifact_is_own_name(entry->name)) continue;
        cJSON *item = cJSON_CreateObject();
        bool good = item != NULL && kit_json_put_string(item, "path", entry->name) &&
                    kit_json_put_u64(item, "size", entry->size) && kit_json_put_string(item, "sha256", digests[i]) &&
                    cJSON_AddItemToArray(list, item);
        if (good) continue;
        cJSON_Delete(item);
        cJSON_Delete(list);
        list = NULL;
    }
    return list;
}

kit_status artifact_manifest_build(const cJSON *fields, const artifact_zip *zip, const char (*digests)[KIT_SHA256_HEX],
                                   kit_buf *out, kolm_error_t *err) {
    cJSON *all = cJSON_Duplicate(fields, true);
    bool good = all != NULL;
    if (good) {
        cJSON_DeleteItemFromObjectCaseSensitive(all, "format");
        cJSON_DeleteItemFromObjectCaseSensitive(all, "entries");
        good = kit_json_put_string(all, "format", ARTIFACT_FORMAT) &&
               kit_json_put(all, "entries", entry_list(zip, digests));
    }
    kit_status status = good ? artifact_canonical(all, out, err) : kit_no_memory(err);
    cJSON_Delete(all);
    return status;
}

/* The entries of the manifest and of the zip are the same, in the same order. */
static kit_status match_entries(const cJSON *list, const artifact_zip *zip, char (*out_digests)[KIT_SHA256_HEX],
                                kolm_error_t *err) {
    if (!cJSON_IsArray(list)) return wrong("entries", "an array", err);
    const cJSON *item = list->child;
    for (size_t i = 0; i < zip->count; i++) {
        const artifact_zip_entry *entry = &zip->entries[i];
        const char *path = NULL, *digest = NULL;
        uint64_t size = 0;
        out_digests[i][0] = '\0';
        if (artifact_is_own_name(entry->name)) continue;
        if (item == NULL)
            return kit_fail(err, KOLM_E_DATA_LOSS, "", "the entry \"%s\" is not in the manifest", entry->name);
        if (!kit_json_get_string(item, "path", &path) || !kit_json_get_u64(item, "size", &size) ||
            !has_hex(item, "sha256") || cJSON_GetArraySize(item) != 3) {
            return wrong("entries", "a list of {path, size, sha256}", err);
        }
        if (strcmp(path, entry->name) != 0)
            return kit_fail(err, KOLM_E_DATA_LOSS, "",
                            "the manifest and the file do not list the same entries (\"%s\")", entry->name);
        if (size != entry->size)
            return kit_fail(err, KOLM_E_DATA_LOSS, "", "the entry \"%s\" does not have the size given in the manifest",
                            entry->name);
        (void)kit_json_get_string(item, "sha256", &digest);
        kit_copy(out_digests[i], KIT_SHA256_HEX, digest);
        item = item->next;
    }
    if (item != NULL)
        return kit_fail(err, KOLM_E_DATA_LOSS, "", "the manifest lists an entry that the file does not contain");
    return KOLM_OK;
}

kit_status artifact_manifest_read(const char *text, size_t length, const artifact_zip *zip, cJSON **out_manifest,
                                  char (*out_digests)[KIT_SHA256_HEX], kolm_error_t *err) {
    cJSON *manifest = NULL;
    kit_buf again = {0};
    const char *format = NULL;
    kit_status status = kit_json_parse(text, length, &manifest, err);
    if (status != KOLM_OK) goto out;
    if (!kit_json_get_string(manifest, "format", &format))
        status = wrong("format", "a string", err);
    else if (strcmp(format, ARTIFACT_FORMAT) != 0) {
        status = kit_fail(err, KOLM_E_DATA_LOSS, "use a kolm that knows this format",
                          "the manifest's format is not " ARTIFACT_FORMAT);
    }
    if (status == KOLM_OK) status = artifact_canonical(manifest, &again, err);
    if (status == KOLM_OK && (again.length != length || memcmp(again.data, text, length) != 0)) {
        status = kit_fail(err, KOLM_E_DATA_LOSS, "", "the manifest is not in the canonical form of RFC 8785");
    }
    if (status == KOLM_OK) status = artifact_manifest_check(manifest, err);
    if (status == KOLM_OK) status = match_entries(kit_json_get(manifest, "entries"), zip, out_digests, err);
    if (status == KOLM_OK) {
        *out_manifest = manifest;
        manifest = NULL;
    }
out:
    cJSON_Delete(manifest);
    kit_buf_free(&again);
    if (status == KOLM_E_INVALID_ARGUMENT) {
        if (err != NULL) err->code = KOLM_E_DATA_LOSS;
        status = KOLM_E_DATA_LOSS;
    }
    return status;
}
