/* SPDX-License-Identifier: Apache-2.0 */
/* The members of each record of the private protocol, and the one codec for all of them. */
#include "host/protocol.h"

#include "host/internal.h"
#include "kolm/kit/text.h"

#include <math.h>
#include <string.h>

/* The kind follows from the type of the field; a type that is not listed does not compile. */
#define KIND_OF(field)                                                                                                 \
    _Generic((field),                                                                                                  \
        uint32_t: HOST_KIND_U32,                                                                                       \
        uint64_t: HOST_KIND_U64,                                                                                       \
        double: HOST_KIND_DOUBLE,                                                                                      \
        bool: HOST_KIND_BOOL,                                                                                          \
        const char *: HOST_KIND_TEXT,                                                                                  \
        char *: HOST_KIND_ARRAY)
#define CUT(name, field, most)                                                                                         \
    { name, KIND_OF(((T *)0)->field), offsetof(T, field), sizeof(((T *)0)->field), most }
#define MEMBER(name, field) CUT(name, field, 0)
#define RECORD(lower)                                                                                                  \
    const host_record host_record_##lower = {lower##_members, sizeof lower##_members / sizeof *lower##_members}

/* ---- Request */
#define T host_request
static const host_member request_members[] = {
    MEMBER("slot", slot),
    MEMBER("name", name),
    MEMBER("path", path),
    MEMBER("scratch", scratch),
    MEMBER("network", network),
    MEMBER("airgap", airgap),
    MEMBER("leases", leases),
    MEMBER("timeout_ms", timeout_ms),
    MEMBER("grace_ms", grace_ms),
    MEMBER("memory_limit", memory_limit_bytes),
    MEMBER("file_limit", file_limit_bytes),
    MEMBER("cpu_limit", cpu_limit_seconds),
    MEMBER("parent", parent),
};
RECORD(request);
#undef T

#define T host_audit_request
static const host_member audit_request_members[] = {
    MEMBER("repeats", repeats),         MEMBER("minor", minor),
    MEMBER("later_bytes", later_bytes), MEMBER("lease_fault", lease_fault),
    MEMBER("first_minor", first_minor), MEMBER("halt_at_progress", halt_at_progress),
};
RECORD(audit_request);
#undef T

#define T host_plugin_source
static const host_member plugin_source_members[] = {
    MEMBER("held", held),   MEMBER("beside", beside), MEMBER("named", named),          MEMBER("device", device),
    MEMBER("inode", inode), MEMBER("size", size),     MEMBER("modified", modified_ns), MEMBER("changed", changed_ns),
};
RECORD(plugin_source);
#undef T

/* ---- The journal */
#define T host_lease_line
static const host_member lease_line_members[] = {
    MEMBER("at", at_ms),
    MEMBER("event", event),
    MEMBER("price", price_micro_usd_per_hour),
    MEMBER("billed", billed_micro_usd),
    MEMBER("name", name),
    MEMBER("handle", handle),
    MEMBER("kind", kind),
    MEMBER("place", place),
    MEMBER("note", note),
};
RECORD(lease_line);
#undef T

/* ---- Arguments */
#define T kolm_cost_args_t
static const host_member cost_args_members[] = {
    MEMBER("epochs", epochs),
    MEMBER("rows", rows),
    MEMBER("input_bytes", input_bytes),
    MEMBER("labels", labels),
    MEMBER("base_parameters", base_parameters),
    MEMBER("price", price_micro_usd_per_hour),
    MEMBER("cold_start_seconds", cold_start_seconds),
    MEMBER("threads", threads),
    MEMBER("recipe", recipe),
};
RECORD(cost_args);
#undef T

#define T kolm_train_args_t
static const host_member train_args_members[] = {
    MEMBER("threads", threads),
    MEMBER("job_dir", job_dir),
};
RECORD(train_args);
#undef T

#define T kolm_infer_args_t
static const host_member infer_args_members[] = {
    MEMBER("threads", threads),
    MEMBER("job_dir", job_dir),
    MEMBER("input_path", input_path),
    MEMBER("output_path", output_path),
};
RECORD(infer_args);
#undef T

#define T kolm_test_args_t
static const host_member test_args_members[] = {
    MEMBER("threads", threads),
};
RECORD(test_args);
#undef T

#define T kolm_status_args_t
static const host_member status_args_members[] = {
    MEMBER("prune", prune),
    MEMBER("older_seconds", older_seconds),
};
RECORD(status_args);
#undef T

#define T kolm_reclaim_args_t
static const host_member reclaim_args_members[] = {
    MEMBER("age", age_seconds), MEMBER("name", name),   MEMBER("handle", handle),
    MEMBER("kind", kind),       MEMBER("place", place),
};
RECORD(reclaim_args);
#undef T

/* ---- Events. Texts of a plugin are cut to what kolm/backend.h allows. */
#define T host_sandbox_line
static const host_member sandbox_members[] = {
    MEMBER("profile", profile),
    MEMBER("kernel", kernel),
    MEMBER("run", probes_run),
    MEMBER("reached", probes_reached),
};
RECORD(sandbox);
#undef T

#define T host_loaded
static const host_member loaded_members[] = {
    MEMBER("slots", slots),   MEMBER("abi_minor", abi_minor), MEMBER("features", features), MEMBER("version", version),
    MEMBER("vendor", vendor), MEMBER("licence", licence),     MEMBER("homepage", homepage),
};
RECORD(loaded);
#undef T

#define T host_log
static const host_member log_members[] = {
    MEMBER("level", level),
    CUT("text", text, HOST_LOG_MAX),
};
RECORD(log);
#undef T

#define T kolm_progress_t
static const host_member progress_members[] = {
    MEMBER("step", step),
    MEMBER("total", total),
    MEMBER("loss", loss),
    MEMBER("tokens_per_second", tokens_per_second),
    CUT("phase", phase, KOLM_PHASE_BYTES_MAX),
};
RECORD(progress);
#undef T

#define T host_metric
static const host_member metric_members[] = {
    MEMBER("name", name),
    MEMBER("value", value),
};
RECORD(metric);
#undef T

#define T kolm_device_t
static const host_member device_members[] = {
    MEMBER("memory_kind", memory_kind),
    MEMBER("total", total_memory_bytes),
    MEMBER("free", free_memory_bytes),
    MEMBER("index", index),
    MEMBER("units", units),
    CUT("name", name, KOLM_DEVICE_TEXT_BYTES_MAX),
    CUT("id", id, KOLM_DEVICE_ID_BYTES_MAX),
    CUT("driver", driver, KOLM_DEVICE_TEXT_BYTES_MAX),
    CUT("runtime", runtime, KOLM_DEVICE_TEXT_BYTES_MAX),
};
RECORD(device);
#undef T

#define T kolm_test_step_t
static const host_member step_members[] = {
    MEMBER("outcome", outcome),
    MEMBER("number", number),
    MEMBER("total", total),
    MEMBER("duration_us", duration_us),
    CUT("title", title, KOLM_STEP_TITLE_BYTES_MAX),
    CUT("note", note, KOLM_STEP_NOTE_BYTES_MAX),
};
RECORD(step);
#undef T

#define T kolm_holding_t
static const host_member holding_members[] = {
    MEMBER("state", state),
    MEMBER("bytes", bytes),
    MEMBER("age", age_seconds),
    MEMBER("price", price_micro_usd_per_hour),
    CUT("place", place, KOLM_HOLDING_PLACE_BYTES_MAX),
    CUT("kind", kind, KOLM_HOLDING_KIND_BYTES_MAX),
    CUT("name", name, KOLM_HOLDING_NAME_BYTES_MAX),
    CUT("note", note, KOLM_HOLDING_NOTE_BYTES_MAX),
};
RECORD(holding);
#undef T

#define T host_breach_line
static const host_member breach_members[] = {
    MEMBER("kind", kind),
    MEMBER("mild", mild),
    MEMBER("text", text),
    MEMBER("remedy", remedy),
};
RECORD(breach);
#undef T

#define T host_undeclared
static const host_member undeclared_members[] = {
    CUT("key", key, 64),
};
RECORD(undeclared);
#undef T

#define T host_withheld
static const host_member withheld_members[] = {
    CUT("name", name, 64),
};
RECORD(withheld);
#undef T

#define T host_done
static const host_member done_members[] = {
    MEMBER("verdict", verdict),
    MEMBER("code", code),
    MEMBER("text", text),
    MEMBER("remedy", remedy),
    MEMBER("mute", mute),
    MEMBER("peak", peak_memory_bytes),
    MEMBER("left_descriptors", left_descriptors),
    MEMBER("left_threads", left_threads),
    MEMBER("bytes_per_round", bytes_per_round),
};
RECORD(done);
#undef T

/* ---- Results: members of the line "done", beside its own. */
#define T kolm_detect_result_t
static const host_member detect_result_members[] = {
    MEMBER("state", state),
    MEMBER("reason", reason),
    MEMBER("detect_remedy", remedy), /* "remedy" is taken by errors */
    MEMBER("runtime", runtime),
};
RECORD(detect_result);
#undef T

#define T kolm_cost_result_t
static const host_member cost_result_members[] = {
    MEMBER("billing", billing),     MEMBER("duration_ms", duration_ms),
    MEMBER("cost", cost_micro_usd), MEMBER("confidence", confidence),
    MEMBER("basis", basis),
};
RECORD(cost_result);
#undef T

#define T kolm_train_result_t
static const host_member train_result_members[] = {
    MEMBER("billed", billed_micro_usd),
    MEMBER("device", device),
    MEMBER("toolchain", toolchain),
};
RECORD(train_result);
#undef T

#define T kolm_infer_result_t
static const host_member infer_result_members[] = {
    MEMBER("answers", answers),
    MEMBER("billed", billed_micro_usd),
    MEMBER("device", device),
};
RECORD(infer_result);
#undef T

#define T kolm_test_result_t
static const host_member test_result_members[] = {
    MEMBER("passed", passed),
    MEMBER("summary", summary),
};
RECORD(test_result);
#undef T

#define T kolm_status_result_t
static const host_member status_result_members[] = {
    MEMBER("summary", summary),
};
RECORD(status_result);
#undef T

#define T kolm_reclaim_result_t
static const host_member reclaim_result_members[] = {
    MEMBER("outcome", outcome),
    MEMBER("billed", billed_micro_usd),
    MEMBER("summary", summary),
};
RECORD(reclaim_result);
#undef T

/* ---- Names */
bool host_call_is_light(const char *slot) {
    return strcmp(slot, HOST_CALL_DETECT) == 0 || strcmp(slot, HOST_CALL_COST) == 0;
}

static const char *const event_names[] = {
#define X(upper, lower, type) #lower,
    HOST_EVENTS(X)
#undef X
};

const char *host_event_name(host_event event) {
    return event_names[event];
}

host_event host_event_of(const char *name) {
    int event = 0;
    while (event < HOST_EVENT_COUNT && strcmp(event_names[event], name) != 0)
        event++;
    return (host_event)event;
}

/* ---- The codec */
static const void *field_of(const host_member *member, const void *record) {
    return (const char *)record + member->offset;
}

#define VALUE(type, member, record) (*(type const *)field_of(member, record))

/* Returns a text; a plugin may have left a pointer NULL, or an array without its NUL. */
static const char *text_of(const host_member *member, const void *record, size_t *length) {
    const bool is_array = member->kind == HOST_KIND_ARRAY;
    const char *text = is_array ? field_of(member, record) : VALUE(char *, member, record);
    if (!text) text = "";
    *length = is_array ? strnlen(text, member->size - 1) : strlen(text);
    return text;
}

static void write_text(kit_buf *out, const host_member *member, const void *record) {
    kit_buf shown = {0};
    char cut[HOST_LOG_MAX + 1];
    size_t length;
    if (member->most > 0) { /* do not read beyond this limit */
        const char *whole = VALUE(char *, member, record);
        kit_copy(cut, member->most + 1, whole ? whole : "");
        kit_buf_escaped(&shown, cut, strlen(cut));
    } else {
        const char *text = text_of(member, record, &length);
        kit_buf_escaped(&shown, text, length);
    }
    kit_json_string(out, kit_buf_text(&shown), shown.length);
    if (shown.failed) out->failed = true;
    kit_buf_free(&shown);
}

static void write_double(kit_buf *out, double value) {
    if (isfinite(value) && fabs(value) < 1e300)
        kit_buf_fmt(out, "%.17g", value);
    else
        kit_buf_str(out, "null");
}

void host_record_write(kit_buf *out, const host_record *record, const void *from) {
    for (size_t i = 0; i < record->count; i++) {
        const host_member *member = &record->members[i];
        const bool first = out->length > 0 && out->data[out->length - 1] == '{';
        kit_buf_fmt(out, "%s\"%s\":", first ? "" : ",", member->name);
        switch (member->kind) {
        case HOST_KIND_U32:
            kit_buf_fmt(out, "%lu", (unsigned long)VALUE(uint32_t, member, from));
            break;
        case HOST_KIND_U64:
            kit_buf_fmt(out, "\"%llu\"", (unsigned long long)VALUE(uint64_t, member, from));
            break;
        case HOST_KIND_DOUBLE:
            write_double(out, VALUE(double, member, from));
            break;
        case HOST_KIND_BOOL:
            kit_buf_str(out, VALUE(bool, member, from) ? "true" : "false");
            break;
        case HOST_KIND_TEXT:
        case HOST_KIND_ARRAY:
            write_text(out, member, from);
            break;
        }
    }
}

bool host_record_add(cJSON *object, const host_record *record, const void *from) {
    bool good = object != NULL;
    for (size_t i = 0; good && i < record->count; i++) {
        const host_member *member = &record->members[i];
        char number[24];
        size_t length;
        switch (member->kind) {
        case HOST_KIND_U32:
            good = kit_json_put_u64(object, member->name, VALUE(uint32_t, member, from));
            break;
        case HOST_KIND_U64:
            kit_format(number, sizeof number, "%llu", (unsigned long long)VALUE(uint64_t, member, from));
            good = kit_json_put_string(object, member->name, number);
            break;
        case HOST_KIND_DOUBLE:
            good = cJSON_AddNumberToObject(object, member->name, VALUE(double, member, from));
            break;
        case HOST_KIND_BOOL:
            good = kit_json_put_bool(object, member->name, VALUE(bool, member, from));
            break;
        case HOST_KIND_TEXT:
        case HOST_KIND_ARRAY:
            good = kit_json_put_string(object, member->name, text_of(member, from, &length));
            break;
        }
    }
    return good;
}

static bool read_u32(const cJSON *object, const char *name, uint32_t *out) {
    uint64_t value = 0;
    bool good = kit_json_get_u64(object, name, &value) && value <= UINT32_MAX;
    *out = good ? (uint32_t)value : 0;
    return good;
}

static bool read_u64(const cJSON *object, const char *name, uint64_t *out) {
    const char *text;
    bool good = kit_json_get_string(object, name, &text) && kit_parse_u64(text, out);
    if (!good) *out = 0;
    return good;
}

static bool read_double(const cJSON *object, const char *name, double *out) {
    if (kit_json_get_number(object, name, out)) return true;
    *out = NAN;
    return cJSON_IsNull(kit_json_get(object, name));
}

bool host_record_read(const cJSON *object, const host_record *record, void *to) {
    bool all = true;
    for (size_t i = 0; i < record->count; i++) {
        const host_member *member = &record->members[i];
        const char *text = "";
        bool *flag;
        bool good = false;
        void *field = (char *)to + member->offset;
        switch (member->kind) {
        case HOST_KIND_U32:
            good = read_u32(object, member->name, field);
            break;
        case HOST_KIND_U64:
            good = read_u64(object, member->name, field);
            break;
        case HOST_KIND_DOUBLE:
            good = read_double(object, member->name, field);
            break;
        case HOST_KIND_BOOL:
            flag = field;
            *flag = false;
            good = kit_json_get_bool(object, member->name, flag);
            break;
        case HOST_KIND_TEXT:
            good = kit_json_get_string(object, member->name, &text);
            *(const char **)field = good ? text : "";
            break;
        case HOST_KIND_ARRAY:
            good = kit_json_get_string(object, member->name, &text);
            (void)kit_copy(field, member->size, good ? text : "");
            break;
        }
        all = all && good;
    }
    return all;
}
