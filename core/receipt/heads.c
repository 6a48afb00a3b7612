/* SPDX-License-Identifier: Apache-2.0 */
/* The heads: the last line of each log as kolm wrote it, to detect truncation. */
#include "receipt/internal.h"

#include <stdlib.h>
#include <string.h>

#define HEADS_SUFFIX ".heads"
#define MAX_HEADS_BYTES (1u << 20)
#define MAX_HEADS 4096u

static kit_status heads_path(const char *chain_path, char **out, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s%s", chain_path, HEADS_SUFFIX);
    kit_status status = kit_buf_ok(&path, err);
    if (status == KOLM_OK) *out = kit_buf_take(&path);
    kit_buf_free(&path);
    return status;
}

static bool read_head(const cJSON *item, receipt_head *out) {
    const char *log_id = NULL, *sha256 = NULL;
    if (!kit_json_get_string(item, "log_id", &log_id) || !receipt_is_log_id(log_id)) return false;
    if (!kit_json_get_string(item, "sha256", &sha256) || !receipt_is_keyid(sha256)) return false;
    if (!kit_json_get_u64(item, "seq", &out->seq)) return false;
    kit_copy(out->log_id, sizeof out->log_id, log_id);
    kit_copy(out->sha256, sizeof out->sha256, sha256);
    return true;
}

static kit_status take_heads(const cJSON *note, receipt_heads *out, bool *out_good, kolm_error_t *err) {
    const cJSON *list = kit_json_get(note, "heads"), *item = NULL;
    const char *current = NULL;
    *out_good = false;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > (int)MAX_HEADS) return KOLM_OK;
    if (!kit_json_get_string(note, "current", &current) || (current[0] != '\0' && !receipt_is_log_id(current)))
        return KOLM_OK;
    /* One more, so that there is always room for the next head. */
    out->items = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *out->items);
    if (out->items == NULL) return kit_no_memory(err);
    kit_copy(out->current, sizeof out->current, current);
    cJSON_ArrayForEach(item, list) {
        if (!read_head(item, &out->items[out->count])) return KOLM_OK;
        out->count++;
    }
    *out_good = true;
    return KOLM_OK;
}

kit_status receipt_heads_read(const char *chain_path, receipt_heads *out_heads, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    cJSON *note = NULL;
    bool good = false;
    *out_heads = (receipt_heads){0};
    KIT_TRY(heads_path(chain_path, &path, err));
    kit_status status = receipt_read_guarded(path, MAX_HEADS_BYTES, &text, err);
    if (status == KOLM_E_NOT_FOUND) {
        free(path);
        return KOLM_OK;
    }
    if (status == KOLM_OK) {
        status = kit_json_parse(kit_buf_text(&text), text.length, &note, err);
        if (status == KOLM_OK) status = take_heads(note, out_heads, &good, err);
        if (status == KOLM_E_INVALID_ARGUMENT || (status == KOLM_OK && !good))
            status =
                kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                         "restore it from a backup; without it, nothing shows whether the log next to it was truncated",
                         "%s is not in the format that kolm writes", path);
    }
    if (status != KOLM_OK) receipt_heads_free(out_heads);
    cJSON_Delete(note);
    kit_buf_free(&text);
    free(path);
    return status;
}

void receipt_heads_free(receipt_heads *heads) {
    free(heads->items);
    *heads = (receipt_heads){0};
}

const receipt_head *receipt_heads_find(const receipt_heads *heads, const char *log_id) {
    for (size_t i = 0; i < heads->count; i++)
        if (strcmp(heads->items[i].log_id, log_id) == 0) return &heads->items[i];
    return NULL;
}

static bool put_head(cJSON *list, const receipt_head *head) {
    cJSON *item = cJSON_CreateObject();
    if (item != NULL && kit_json_put_string(item, "log_id", head->log_id) && kit_json_put_u64(item, "seq", head->seq) &&
        kit_json_put_string(item, "sha256", head->sha256) && cJSON_AddItemToArray(list, item))
        return true;
    cJSON_Delete(item);
    return false;
}

kit_status receipt_heads_write(const char *chain_path, const receipt_heads *heads, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    cJSON *note = cJSON_CreateObject(), *list = cJSON_CreateArray();
    bool good = list != NULL;
    for (size_t i = heads->count > MAX_HEADS ? heads->count - MAX_HEADS : 0; i < heads->count && good; i++)
        good = put_head(list, &heads->items[i]);
    good = kit_json_put(note, "heads", list) && good;
    good = good && kit_json_put_u64(note, "format", 1) && kit_json_put_string(note, "current", heads->current);
    kit_status status = good ? kit_json_canonical(note, &text, err) : kit_no_memory(err);
    if (status == KOLM_OK) {
        kit_buf_char(&text, '\n');
        status = kit_buf_ok(&text, err);
    }
    if (status == KOLM_OK) status = heads_path(chain_path, &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0600, text.data, text.length, err);
    cJSON_Delete(note);
    kit_buf_free(&text);
    free(path);
    return status;
}

kit_status receipt_heads_note(const char *chain_path, const receipt_head *head, kolm_error_t *err) {
    receipt_heads heads;
    KIT_TRY(receipt_heads_read(chain_path, &heads, err));
    if (heads.items == NULL) heads.items = calloc(1, sizeof *heads.items);
    kit_status status = heads.items != NULL ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) {
        receipt_head *found = (receipt_head *)(uintptr_t)receipt_heads_find(&heads, head->log_id);
        if (found == NULL) found = &heads.items[heads.count++];
        *found = *head;
        kit_copy(heads.current, sizeof heads.current, head->log_id);
        status = receipt_heads_write(chain_path, &heads, err);
    }
    receipt_heads_free(&heads);
    return status;
}

const char *receipt_heads_cut(const receipt_heads *heads, const receipt_head *head, char *text, size_t capacity) {
    const receipt_head *last = receipt_heads_find(heads, head != NULL ? head->log_id : heads->current);
    if (last == NULL || (head != NULL && head->seq > last->seq)) return NULL;
    if (head == NULL)
        kit_format(text, capacity, "was emptied: it had %llu lines", (unsigned long long)last->seq + 1);
    else if (head->seq < last->seq)
        kit_format(text, capacity, "was truncated: it has %llu lines and had %llu", (unsigned long long)head->seq + 1,
                   (unsigned long long)last->seq + 1);
    else if (strcmp(head->sha256, last->sha256) != 0)
        kit_format(text, capacity, "was changed: line %llu differs from what was written",
                   (unsigned long long)head->seq + 1);
    else
        return NULL;
    return text;
}
