/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the request, and leaves no copy of a secret except the one that is served. */
#include "host/child/child.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kit_status bad(kolm_error_t *err, const char *what) {
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                    "kolm starts this program itself; kolm and kolm-host may be of different versions",
                    "kolm-host: not a valid request (%s)", what);
}

/* One line, without its LF. Doubling moves the text, so each old place is wiped. */
static kit_status read_line(int fd, char **out, size_t *out_length, kolm_error_t *err) {
    size_t capacity = 65536, length = 0;
    char *text = malloc(capacity);
    if (!text) return kit_no_memory(err);
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

static kit_status take_secrets(child_request *out, kolm_error_t *err) {
    const cJSON *list = kit_json_get(out->json, HOST_KEY_SECRETS);
    int count = cJSON_IsObject(list) ? cJSON_GetArraySize(list) : 0;
    out->secrets = calloc((size_t)count + 1, sizeof *out->secrets);
    if (!out->secrets) return kit_no_memory(err);
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
    host_plugin_source source;
    if (!host_read_plugin_source(json, &source)) return false;
    *out = (child_plugin){.held = source.held, .beside = source.beside, .named = source.named};
    out->file = (host_file_identity){.device = source.device,
                                     .inode = source.inode,
                                     .size = source.size,
                                     .modified_ns = (int64_t)source.modified_ns,
                                     .changed_ns = (int64_t)source.changed_ns};
    return true;
}

static bool read_audit(const cJSON *json, child_request *out) {
    host_audit_request audit;
    out->audited = json != NULL;
    if (!json) return true;
    bool good = host_read_audit_request(json, &audit) && audit.later_bytes <= CHILD_LATER_MAX;
    out->repeats = audit.repeats;
    out->minor = audit.minor;
    out->later_bytes = audit.later_bytes;
    out->lease_fault = audit.lease_fault;
    out->first_minor = audit.first_minor;
    out->halt_at_progress = audit.halt_at_progress;
    return good;
}

static void take_members(const host_request *from, child_request *out) {
    out->slot = from->slot;
    out->name = from->name;
    out->path = from->path;
    out->scratch = from->scratch;
    out->network = from->network;
    out->airgap = from->airgap;
    out->leases = from->leases;
    out->memory_limit_bytes = from->memory_limit_bytes;
    out->file_limit_bytes = from->file_limit_bytes;
    out->cpu_limit_seconds = from->cpu_limit_seconds;
    if (from->timeout_ms > 0) out->deadline_ms = kit_now_ms() + (int64_t)from->timeout_ms;
    out->timeout_ms = host_call_is_light(from->slot) ? (int64_t)from->timeout_ms : 0;
    out->grace_ms = (int64_t)from->grace_ms;
    out->parent = (int64_t)from->parent;
}

kit_status child_request_read(int fd, child_request *out, kolm_error_t *err) {
    char *text = NULL;
    size_t length = 0;
    host_request request;
    *out = (child_request){.deadline_ms = INT64_MAX};
    KIT_TRY(read_line(fd, &text, &length, err));
    kit_status status = kit_json_parse(text, length, &out->json, err);
    explicit_bzero(text, length);
    free(text);
    if (status != KOLM_OK) return bad(err, "not JSON");
    const cJSON *json = out->json;
    if (!host_read_request(json, &request) || !read_plugin(kit_json_get(json, HOST_KEY_PLUGIN), &out->plugin))
        return bad(err, "a key is missing");
    if (!read_audit(kit_json_get(json, HOST_KEY_AUDIT), out)) return bad(err, "invalid audit options");
    take_members(&request, out);
    out->settings = kit_json_get(json, HOST_KEY_SETTINGS);
    out->declared = kit_json_get(json, HOST_KEY_DECLARED);
    out->fence = kit_json_get(json, HOST_KEY_FENCE);
    out->unfenced = out->fence == NULL;
    out->leased = kit_json_get(json, HOST_KEY_LEASED);
    out->args = kit_json_get(json, HOST_KEY_ARGS);
    return take_secrets(out, err);
}
