/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what is asked for, and leaves no copy of a secret behind but the one that is served. */
#include "host/child/child.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kit_status no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "", "out of memory");
}

static kit_status bad(kolm_error_t *err, const char *what) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                    "kolm starts this program itself; kolm and kolm-host may be of different versions",
                    "kolm-host: no request that it understands (%s)", what);
}

/* One line, without its LF. Doubling moves the text, so each old place is wiped. */
static kit_status read_line(int fd, char **out, size_t *out_length, kolm_error_t *err) {
    size_t capacity = 65536, length = 0;
    char *text = malloc(capacity);
    if (!text) return no_memory(err);
    for (;;) {
        ssize_t n = read(fd, text + length, capacity - 1 - length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        length += (size_t)n;
        if (text[length - 1] == '\n') {
            text[length - 1] = '\0';
            *out = text;
            *out_length = length - 1;
            return KOLM_OK;
        }
        if (length < capacity - 1) continue;
        char *grown = capacity < HOST_REQUEST_MAX ? malloc(capacity * 2) : NULL;
        if (!grown) break;
        memcpy(grown, text, length);
        explicit_bzero(text, length);
        free(text);
        text = grown;
        capacity *= 2;
    }
    explicit_bzero(text, length);
    free(text);
    return bad(err, "no line");
}

static bool get_u64(const cJSON *object, const char *key, uint64_t *out) {
    const char *text;
    return kit_json_get_string(object, key, &text) && kit_parse_u64(text, out);
}

uint64_t child_arg_u64(const child_request *request, const char *key) {
    uint64_t value = 0;
    return get_u64(request->args, key, &value) ? value : 0;
}

const char *child_arg_text(const child_request *request, const char *key) {
    const char *text;
    return kit_json_get_string(request->args, key, &text) ? text : "";
}

static kit_status take_secrets(child_request *out, kolm_error_t *err) {
    const cJSON *list = kit_json_get(out->json, "secrets");
    int count = cJSON_IsObject(list) ? cJSON_GetArraySize(list) : 0;
    out->secrets = calloc((size_t)count + 1, sizeof *out->secrets);
    if (!out->secrets) return no_memory(err);
    const cJSON *one;
    cJSON_ArrayForEach(one, list) {
        child_value *secret = &out->secrets[out->secret_count++];
        KIT_TRY(kit_strdup(one->string, &secret->name, err));
        secret->withheld = cJSON_IsTrue(one);
        if (!cJSON_IsString(one)) continue;
        KIT_TRY(kit_strdup(one->valuestring, &secret->value, err));
        explicit_bzero(one->valuestring, strlen(one->valuestring));
    }
    return KOLM_OK;
}

static bool read_plugin(const cJSON *json, child_plugin *out) {
    uint64_t modified = 0, changed = 0;
    host_file_identity *file = &out->file;
    bool good = kit_json_get_bool(json, "held", &out->held) && kit_json_get_bool(json, "beside", &out->beside) &&
                kit_json_get_bool(json, "named", &out->named) &&
                get_u64(json, "device", &file->device) && get_u64(json, "inode", &file->inode) &&
                get_u64(json, "size", &file->size) && get_u64(json, "modified", &modified) &&
                get_u64(json, "changed", &changed);
    file->modified_ns = (int64_t)modified;
    file->changed_ns = (int64_t)changed;
    return good;
}

kit_status child_request_read(int fd, child_request *out, kolm_error_t *err) {
    char *text = NULL;
    size_t length = 0;
    uint64_t timeout = 0, grace = 0, parent = 0;
    *out = (child_request){.deadline_ms = INT64_MAX};
    KIT_TRY(read_line(fd, &text, &length, err));
    kit_status status = kit_json_parse(text, length, &out->json, err);
    explicit_bzero(text, length);
    free(text);
    if (status != KOLM_OK) return bad(err, "not JSON");
    const cJSON *json = out->json;
    if (!kit_json_get_string(json, "slot", &out->slot) || !kit_json_get_string(json, "name", &out->name) ||
        !kit_json_get_string(json, "path", &out->path) || !kit_json_get_string(json, "scratch", &out->scratch) ||
        !read_plugin(kit_json_get(json, "plugin"), &out->plugin) ||
        !kit_json_get_bool(json, "network", &out->network) || !kit_json_get_bool(json, "airgap", &out->airgap) ||
        !get_u64(json, "timeout_ms", &timeout) || !get_u64(json, "grace_ms", &grace) ||
        !get_u64(json, "memory_limit", &out->memory_limit_bytes) ||
        !get_u64(json, "file_limit", &out->file_limit_bytes) || !get_u64(json, "cpu_limit", &out->cpu_limit_seconds) ||
        !get_u64(json, "parent", &parent))
        return bad(err, "a key is missing");
    const cJSON *audit = kit_json_get(json, "audit");
    out->audited = audit != NULL;
    if (audit && (!get_u64(audit, "repeats", &out->repeats) || !get_u64(audit, "minor", &out->minor) ||
                  !get_u64(audit, "later_bytes", &out->later_bytes) || out->later_bytes > CHILD_LATER_MAX ||
                  !kit_json_get_bool(audit, "first_minor", &out->first_minor)))
        return bad(err, "what is to be examined is not clear");
    out->settings = kit_json_get(json, "settings");
    out->declared = kit_json_get(json, "declared");
    out->fence = kit_json_get(json, "fence");
    out->unfenced = out->fence == NULL;
    out->args = kit_json_get(json, "args");
    if (timeout > 0) out->deadline_ms = kit_now_ms() + (int64_t)timeout;
    bool light = strcmp(out->slot, "detect") == 0 || strcmp(out->slot, "cost") == 0;
    out->timeout_ms = light ? (int64_t)timeout : 0;
    out->grace_ms = (int64_t)grace;
    out->parent = (int64_t)parent;
    return take_secrets(out, err);
}
