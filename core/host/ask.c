/* SPDX-License-Identifier: Apache-2.0 */
/* Prepares the request, environment and scratch directory of a backend's process. */
#include "host/run.h"

#include "kolm/kit/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ENVIRONMENT_MAX 96
#define DEFAULT_MEMORY_LIMIT (4ull << 30) /* detect and cost need little */
#define DEFAULT_FILE_LIMIT (64ull << 20)
#define LIGHT_CPU_MORE 5   /* seconds of processor time above the deadline: several threads use more than one */
#define ASK_PLUGIN_MAX 256 /* bytes of what host_run_ask_plugin appends */

extern char **environ;

/* User, locale, libraries, caches and selected devices. */
static const char *const passed[] = {
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_PATH",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "ROCM_PATH",
    "HSA_OVERRIDE_GFX_VERSION",
    "GPU_DEVICE_ORDINAL",
    "HF_HOME",
    "HF_HUB_CACHE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OMP_NUM_THREADS",
#if KOLM_FP_SANITIZER != 0
    "ASAN_OPTIONS",
    "LSAN_OPTIONS",
    "UBSAN_OPTIONS",
    "TSAN_OPTIONS",
    "ASAN_SYMBOLIZER_PATH",
#endif
};

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcasecmp(name + n - m, end) == 0; /* http_proxy_password is a password too */
}

static bool passes_always(const char *name) {
    if (strncmp(name, "LC_", 3) == 0) return true;
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (strcmp(passed[i], name) == 0) return true;
    return false;
}

bool host_environment_own(const host_manifest *manifest, const char *name) {
    if (host_manifest_may_read(manifest, name)) return false; /* sent through the pipe, never in an environment */
    if (passes_always(name)) return false;
    if (ends_in(name, "TOKEN") || ends_in(name, "KEY") || ends_in(name, "SECRET") || ends_in(name, "PASSWORD"))
        return false;
    for (size_t i = 0; i < manifest->require_count; i++)
        if (manifest->requires[i].kind == HOST_REQUIRE_ENV && strcmp(manifest->requires[i].value, name) == 0)
            return true;
    return false;
}

static bool may_pass(const host_manifest *manifest, const char *name) {
    return host_environment_own(manifest, name) || (passes_always(name) && !host_manifest_may_read(manifest, name));
}

void host_environment_free(char **env) {
    for (char **at = env; at && *at; at++)
        free(*at);
    free(env);
}

/* Adds NAME=value. */
static kit_status add_variable(char **env, size_t *count, const char *name, const char *value, kolm_error_t *err) {
    kit_buf entry = {0};
    kit_buf_fmt(&entry, "%s=%s", name, value);
    env[*count] = kit_buf_take(&entry);
    return env[(*count)++] ? KOLM_OK : kit_no_memory(err);
}

kit_status host_environment(const host_manifest *manifest, const char *scratch, const host_audit *audit,
                            char ***out_env, kolm_error_t *err) {
    bool bare = host_elevated() || (audit && audit->bare);
    char **env = calloc(ENVIRONMENT_MAX + 2, sizeof *env);
    size_t count = 0;
    kit_status status = env ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK) status = add_variable(env, &count, "TMPDIR", scratch, err);
    if (status == KOLM_OK && bare && audit && audit->home) status = add_variable(env, &count, "HOME", audit->home, err);
    for (char **at = environ; status == KOLM_OK && at && *at && count < ENVIRONMENT_MAX && !bare; at++) {
        const char *equals = strchr(*at, '=');
        char name[80];
        if (!equals || (size_t)(equals - *at) >= sizeof name) continue;
        kit_format(name, sizeof name, "%.*s", (int)(equals - *at), *at);
        if (may_pass(manifest, name)) status = kit_strdup(*at, &env[count++], err);
    }
    if (status == KOLM_OK)
        *out_env = env;
    else
        host_environment_free(env);
    return status;
}

/* A text as passed to the plugin: expanded if the manifest declares it as a path. */
static void add_text_setting(const host_manifest *manifest, const cJSON *item, kit_buf *text) {
    const host_setting *setting = host_settings_find(&manifest->settings, item->string);
    if (setting && (setting->types & (1u << HOST_SETTING_PATH)))
        (void)host_path_expand(item->valuestring, text); /* what cannot be expanded is passed unchanged */
    else
        kit_buf_str(text, item->valuestring);
}

static bool put_job_settings(cJSON *settings, const host_call_options *options) {
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"job.budget_micro_usd", options->job_budget_micro_usd},
                   {"job.max_price_micro_usd", options->job_max_price_micro_usd},
                   {"job.min_vram_bytes", options->job_min_vram_bytes},
                   {"job.quote_micro_usd", options->job_quote_micro_usd}};
    bool good = true;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[24];
        kit_format(text, sizeof text, "%llu", (unsigned long long)numbers[i].value);
        cJSON_DeleteItemFromObjectCaseSensitive(settings, numbers[i].key);
        if (numbers[i].value > 0) good = good && kit_json_put_string(settings, numbers[i].key, text);
    }
    return good;
}

/* backends.NAME of config.json: strings as they are, other values as JSON text; and the Python runtime of the backend.
 */
static bool put_settings(cJSON *request, const host_run *run) {
    const cJSON *config = run->options->config;
    const char *name = run->backend->name, *python = NULL;
    cJSON *settings = cJSON_CreateObject();
    const cJSON *own = kit_json_get(kit_json_get(config, "backends"), name);
    const cJSON *item;
    bool good = settings != NULL;
    for (item = cJSON_IsObject(own) ? own->child : NULL; good && item; item = item->next) {
        if (strcmp(item->string, HOST_FENCE_KEY) == 0) continue;
        kit_buf text = {0};
        if (cJSON_IsString(item))
            add_text_setting(run->backend->manifest, item, &text);
        else
            good = kit_json_line(item, &text, NULL) == KOLM_OK;
        good = good && kit_buf_ok(&text, NULL) == KOLM_OK &&
               kit_json_put_string(settings, item->string, kit_buf_text(&text));
        kit_buf_free(&text);
    }
    const host_manifest *manifest = run->backend->manifest;
    cJSON *declared = manifest->declares_settings ? cJSON_AddArrayToObject(request, HOST_KEY_DECLARED) : NULL;
    good = good && (declared || !manifest->declares_settings);
    for (size_t i = 0; good && declared && i < manifest->settings.count; i++) {
        cJSON *key = cJSON_CreateString(manifest->settings.at[i].key);
        good = key && cJSON_AddItemToArray(declared, key);
    }
    /* Set by kolm, whatever the section contains. */
    good = put_job_settings(settings, run->options) && good;
    cJSON_DeleteItemFromObjectCaseSensitive(settings, "runtime.python");
    cJSON_DeleteItemFromObjectCaseSensitive(settings, "runtime.trainer");
    cJSON_DeleteItemFromObjectCaseSensitive(settings, "network.private_only");
    if (run->options->private_only) good = good && kit_json_put_string(settings, "network.private_only", "true");
    if (kit_json_get_string(kit_json_get(config, "runtimes"), name, &python))
        good = good && kit_json_put_string(settings, "runtime.python", python);
    if (run->trainer) good = good && kit_json_put_string(settings, "runtime.trainer", run->trainer);
    return kit_json_put(request, HOST_KEY_SETTINGS, settings) && good;
}

/* Reserves room first: a growing buffer would leave copies behind. */
static void reserve(kit_buf *text, size_t bytes) {
    static const char blank[1024];
    size_t length = text->length;
    for (size_t n = 0; n < bytes; n += sizeof blank)
        kit_buf_add(text, blank, sizeof blank);
    if (text->failed) return;
    text->length = length;
    text->data[length] = '\0';
}

static const char *secret_of(const host_call_options *options, const char *name) {
    return options->secret ? options->secret(options->secret_user, name) : NULL;
}

static const char *secret_name(const host_manifest *manifest, size_t i) {
    return i < manifest->auth_count ? manifest->auth[i] : manifest->secrets[i - manifest->auth_count];
}

/* An address is not a secret, and needed in error messages. */
static bool is_address(const char *name) {
    return ends_in(name, "_HOST") || ends_in(name, "_ADDRESS");
}

/* Appends "secrets":{...} to the text: not through cJSON, which would leave copies of the values in freed memory. */
static kit_status add_secrets(host_run *run, kolm_error_t *err) {
    const host_manifest *manifest = run->backend->manifest;
    const host_call_options *options = run->options;
    const size_t count = manifest->auth_count + manifest->secret_count;
    bool first = true;
    size_t room = 64 + ASK_PLUGIN_MAX;
    for (size_t i = 0; i < count; i++) {
        const char *value = secret_of(options, secret_name(manifest, i));
        if (value && (strlen(value) > HOST_SECRET_MAX || kit_utf8_valid(value, strlen(value)) != strlen(value)))
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "set it again", "the value of %s is too long, or not text",
                            secret_name(manifest, i));
        room += 128 + 6 * (value ? strlen(value) : 0);
    }
    reserve(&run->request, room);
    kit_buf_str(&run->request, ",\"" HOST_KEY_SECRETS "\":{");
    for (size_t i = 0; i < count; i++) {
        const char *name = secret_name(manifest, i);
        if (i >= manifest->auth_count) {
            bool again = false;
            for (size_t j = 0; j < manifest->auth_count; j++)
                again = again || strcmp(manifest->auth[j], name) == 0;
            if (again) continue;
        }
        const char *value = secret_of(options, name);
        kit_buf_fmt(&run->request, "%s\"%s\":", first ? "" : ",", name);
        if (value && options->secrets_withheld && !is_address(name))
            kit_buf_str(&run->request, "true");
        else if (value)
            kit_json_string(&run->request, value, strlen(value));
        else
            kit_buf_str(&run->request, "null");
        first = false;
    }
    kit_buf_char(&run->request, '}');
    return KOLM_OK;
}

static bool put_audit(cJSON *json, const host_audit *audit) {
    if (!audit) return true;
    return host_add_audit_request(cJSON_AddObjectToObject(json, HOST_KEY_AUDIT),
                                  &(host_audit_request){.repeats = audit->repeats,
                                                        .minor = audit->minor,
                                                        .later_bytes = audit->later_bytes,
                                                        .lease_fault = audit->lease_fault,
                                                        .first_minor = audit->first_minor,
                                                        .halt_at_progress = audit->halt_at_progress});
}

static bool put_leased(cJSON *json, const char *const *names) {
    cJSON *list = names ? cJSON_AddArrayToObject(json, HOST_KEY_LEASED) : NULL;
    bool good = !names || list;
    for (; good && names && *names; names++) {
        cJSON *name = cJSON_CreateString(*names);
        good = name && cJSON_AddItemToArray(list, name);
    }
    return good;
}

static bool has_network(const host_run *run) {
    const host_call_options *options = run->options;
    const host_manifest *manifest = run->backend->manifest;
    bool needed = options->network_if_needed && manifest && manifest->offer.airgap != PICK_AIRGAP_YES;
    return (options->network || needed) && !options->airgap_strict;
}

static bool put_basics(cJSON *json, host_run *run) {
    const host_backend *backend = run->backend;
    const host_call_options *options = run->options;
    bool light = host_call_is_light(run->slot);
    uint64_t memory = options->memory_limit_bytes ? options->memory_limit_bytes : light ? DEFAULT_MEMORY_LIMIT : 0;
    run->cpu_limit = light ? (uint64_t)run->timeout_ms / 1000 + LIGHT_CPU_MORE : 0;
    return host_add_request(json, &(host_request){.slot = run->slot,
                                                  .name = backend->name,
                                                  .path = backend->plugin_path,
                                                  .scratch = run->scratch,
                                                  .network = has_network(run),
                                                  .airgap = options->airgap_strict,
                                                  .leases = run->lease_fd > 0,
                                                  .timeout_ms = (uint64_t)run->timeout_ms,
                                                  .grace_ms = (uint64_t)run->grace_ms,
                                                  .memory_limit_bytes = memory,
                                                  .file_limit_bytes = light ? DEFAULT_FILE_LIMIT : 0,
                                                  .cpu_limit_seconds = run->cpu_limit,
                                                  .parent = (uint64_t)getpid()}) &&
           put_leased(json, options->leased) && put_audit(json, options->audit);
}

kit_status host_run_ask(host_run *run, kolm_error_t *err) {
    KIT_TRY(host_scratch_make(run->place, run->backend->name, &run->scratch, err));
    cJSON *json = cJSON_CreateObject();
    bool built = put_basics(json, run) && put_settings(json, run) && host_run_allow(run, json);
    cJSON *args = run->args;
    run->args = NULL;
    built = kit_json_put(json, HOST_KEY_ARGS, args) && built;
    kit_status status = built ? kit_json_line(json, &run->request, err) : kit_no_memory(err);
    cJSON_Delete(json);
    if (status != KOLM_OK) return status;
    run->request.data[--run->request.length] = '\0'; /* the closing brace, which comes after the secrets */
    KIT_TRY(add_secrets(run, err));
    KIT_TRY(kit_buf_ok(&run->request, err));
    if (run->request.length > HOST_REQUEST_MAX - ASK_PLUGIN_MAX)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "shorten backends.NAME in config.json",
                        "the settings of %s are too large", run->backend->name);
    return KOLM_OK;
}

kit_status host_run_ask_plugin(host_run *run, kolm_error_t *err) {
    const host_plugin_hold *hold = &run->plugin;
    const host_file_identity *file = &hold->identity;
    kit_buf_str(&run->request, ",\"" HOST_KEY_PLUGIN "\":{");
    host_write_plugin_source(&run->request, &(host_plugin_source){.held = hold->fd >= 0,
                                                                  .beside = hold->beside,
                                                                  .named = hold->named,
                                                                  .device = file->device,
                                                                  .inode = file->inode,
                                                                  .size = file->size,
                                                                  .modified_ns = (uint64_t)file->modified_ns,
                                                                  .changed_ns = (uint64_t)file->changed_ns});
    kit_buf_str(&run->request, "}}\n");
    return kit_buf_ok(&run->request, err);
}
