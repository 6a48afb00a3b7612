/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the target machine, and how to reach it, from the variable and from config.json. */
#include "box.h"

#include "kolm/kit/address.h"
#include "kolm/kit/backend.h"
#include "kolm/kit/file.h"
#include "kolm/kit/text.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char name_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

/* ---- The target */

/* IPv6, or IPv6%zone. */
static bool is_address(const char *text, size_t length) {
    char address[64];
    struct in6_addr ignored;
    if (length >= sizeof address) return false;
    memcpy(address, text, length);
    address[length] = '\0';
    char *zone = strchr(address, '%');
    if (zone != NULL) {
        *zone++ = '\0';
        if (*zone == '\0' || zone[strspn(zone, name_letters)] != '\0') return false;
    }
    return inet_pton(AF_INET6, address, &ignored) == 1;
}

/* A name of these characters. A leading '-' could be mistaken for an option. */
static bool is_name(const char *text, size_t length) {
    return length > 0 && text[0] != '-' && strspn(text, name_letters) >= length;
}

const char *box_fault(const char *target) {
    static const char user[] = "the user before '@'", host[] = "the host name",
                      address[] = "the IPv6 address in brackets", port[] = "the port after ':'";
    kit_endpoint e;
    kit_endpoint_fault fault = kit_endpoint_split(target, &e);
    if (fault == KIT_ENDPOINT_USER || (e.user != NULL && !is_name(e.user, e.user_length))) return user;
    if (fault == KIT_ENDPOINT_BRACKET || (e.bracketed && !is_address(e.host, e.host_length))) return address;
    if (!e.bracketed && e.host_length > 0 && memchr(e.host, ':', e.host_length) != NULL) return port;
    if (!e.bracketed && (e.host_length > 253 || !is_name(e.host, e.host_length))) return host;
    return fault == KIT_ENDPOINT_PORT ? port : NULL;
}

/* ---- Settings */

typedef struct settings {
    const kolm_host_v1_t *host;
    const char *target;
    const cJSON *own; /* the entry of the box; NULL if it has none */
} settings;

typedef enum kind { TEXT, FLAG, SECONDS } kind;

/* All valid keys: those of a box, which are also valid next to "boxes" except for `host`. */
static const struct {
    const char *key;
    kind kind;
} keys[] = {
    {"host", TEXT},
    {"host_key", TEXT},
    {"identity_file", TEXT},
    {"known_hosts", TEXT},
    {"ssh_config", TEXT},
    {"dir", TEXT},
    {"python", TEXT},
    {"kolm", TEXT},
    {"engine", TEXT},
    {"trainer", TEXT},
    {"wheels", TEXT},
    {"wheels_there", TEXT},
    {"index_url", TEXT},
    {"setup", FLAG},
    {"keep", FLAG},
    {"patience_seconds", SECONDS},
    {"connect_timeout_seconds", SECONDS},
    {"idle_timeout_seconds", SECONDS},
};

#define KEY_COUNT (sizeof keys / sizeof *keys)

static bool is_kind(const cJSON *value, kind wanted) {
    return wanted == TEXT ? cJSON_IsString(value) : wanted == FLAG ? cJSON_IsBool(value) : cJSON_IsNumber(value);
}

/* Rejects misspelt keys and values of the wrong type: to ignore one could drop the protection that it should add. */
static kit_status check_value(const char *box_name, const cJSON *value, kolm_error_t *err) {
    static const char *const names[] = {"a text in quotes", "true or false", "a number of seconds"};
    char known[400] = "the settings of a box are:";
    size_t i = 0;
    if (strncmp(value->string, "x-", 2) == 0) return KOLM_OK; /* the user's own notes */
    while (i < KEY_COUNT && strcmp(keys[i].key, value->string) != 0)
        i++;
    if (i < KEY_COUNT && is_kind(value, keys[i].kind)) return KOLM_OK;
    if (i < KEY_COUNT)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "correct it in config.json",
                        "backends.remote-ssh.boxes.%.100s.%s is not %s", box_name, keys[i].key, names[keys[i].kind]);
    for (i = 0; i < KEY_COUNT; i++) {
        size_t length = strlen(known);
        kit_format(known + length, sizeof known - length, " %s", keys[i].key);
    }
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, known,
                    "backends.remote-ssh.boxes.%.100s has the unknown setting \"%.100s\"", box_name, value->string);
}

static kit_status check_box(const cJSON *one, kolm_error_t *err) {
    const cJSON *value;
    const char *host = "";
    if (!cJSON_IsObject(one))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write {\"NAME\": {\"host\": \"user@host\"}}",
                        "backends.remote-ssh.boxes.%.100s in config.json is not an object", one->string);
    cJSON_ArrayForEach(value, one) KIT_TRY(check_value(one->string, value, err));
    if (kit_json_get_string(one, "host", &host) && host[0] != '\0') return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "set one", "backends.remote-ssh.boxes.%.100s has no host",
                    one->string);
}

/* For messages: the place in config.json where key was set. */
static const char *place_of(const settings *s, const char *key) {
    return kit_json_get(s->own, key) != NULL ? s->target : "backends.remote-ssh";
}

static kit_status text_setting(const settings *s, const char *key, char *out, size_t capacity, kolm_error_t *err) {
    const char *own = NULL;
    bool fits = kit_json_get_string(s->own, key, &own) ? kit_copy(out, capacity, own)
                                                       : kit_setting(s->host, key, "", out, capacity);
    if (fits) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "%s of %.100s in config.json is too long", key,
                    place_of(s, key));
}

/* A local path: ~, ~user and ${VARIABLE} are replaced, and a relative path is refused, because it would depend on the
 * current directory. allow_none: "none" is accepted as it is. */
static kit_status path_setting(const settings *s, const char *key, bool allow_none, char *out, kolm_error_t *err) {
    char text[BOX_TEXT], *path = NULL;
    KIT_TRY(text_setting(s, key, text, sizeof text, err));
    kit_copy(out, BOX_TEXT, text);
    if (text[0] == '\0' || (allow_none && strcmp(text, "none") == 0)) return KOLM_OK;
    kit_status status = kit_ssh_path(text, &path, err);
    if (status != KOLM_OK) status = kit_fail_context(err, "%s of %.100s in config.json", key, place_of(s, key));
    if (status == KOLM_OK && !kit_copy(out, BOX_TEXT, path))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "%s of %.100s in config.json is too long", key,
                          place_of(s, key));
    free(path);
    return status;
}

static kit_status number_setting(const settings *s, const char *key, uint64_t most, uint64_t *out, kolm_error_t *err) {
    char text[32] = "";
    *out = 0;
    bool good = kit_json_get(s->own, key) != NULL
                    ? kit_json_get_u64(s->own, key, out)
                    : kit_setting(s->host, key, "", text, sizeof text) && (text[0] == '\0' || kit_parse_u64(text, out));
    if (good && *out <= most) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a number of seconds",
                    "%s of %.100s in config.json is not a number up to %llu", key, place_of(s, key),
                    (unsigned long long)most);
}

static kit_status flag_setting(const settings *s, const char *key, bool *out, kolm_error_t *err) {
    char text[16] = "";
    *out = false;
    if (kit_json_get_bool(s->own, key, out)) return KOLM_OK;
    bool fits = kit_setting(s->host, key, "", text, sizeof text);
    *out = strcmp(text, "true") == 0;
    if (fits && (*out || text[0] == '\0' || strcmp(text, "false") == 0)) return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write true or false",
                    "backends.remote-ssh.%s in config.json is neither true nor false", key);
}

/* ---- The whole configuration */

static kit_status read_variable(const kolm_host_v1_t *host, box *b, kolm_error_t *err) {
    int32_t code = host->secret(host->user, BOX_VARIABLE, b->target, sizeof b->target, NULL);
    if (code == KOLM_OK) return KOLM_OK;
    if (code == KOLM_E_NOT_FOUND)
        return kit_fail(err, code,
                        "set " BOX_VARIABLE " to [user@]host[:port] of a machine that you can reach with ssh",
                        BOX_VARIABLE " is not set");
    if (code == KOLM_E_OUT_OF_RANGE)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it like ana@gpu.example.org:22 or [2001:db8::1]:22",
                        BOX_VARIABLE " is not of the form [user@]host[:port]: check its length");
    return kit_fail(err, code, "list the variable under auth in the manifest", "the host does not provide %s",
                    BOX_VARIABLE);
}

/* *out_boxes is NULL if there are none; the caller must delete it, also after a failure. Checks all boxes, not only the
 * one in use. */
static kit_status read_boxes(const kolm_host_v1_t *host, cJSON **out_boxes, kolm_error_t *err) {
    char text[16384];
    const cJSON *one;
    *out_boxes = NULL;
    bool good = kit_setting(host, "boxes", "", text, sizeof text) &&
                (text[0] == '\0' || kit_json_parse(text, strlen(text), out_boxes, NULL) == KOLM_OK);
    if (!good || (*out_boxes != NULL && !cJSON_IsObject(*out_boxes)))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write {\"NAME\": {\"host\": \"user@host\"}}",
                        "backends.remote-ssh.boxes in config.json is not an object, or is too large");
    cJSON_ArrayForEach(one, *out_boxes) KIT_TRY(check_box(one, err));
    return KOLM_OK;
}

/* *out_boxes is all boxes, and s->own points into it; the caller must delete it, also after a failure. */
static kit_status find_own(const kolm_host_v1_t *host, box *b, cJSON **out_boxes, settings *s, kolm_error_t *err) {
    KIT_TRY(read_boxes(host, out_boxes, err));
    s->own = kit_json_get(*out_boxes, b->target);
    s->target = b->target;
    kit_copy(b->host, sizeof b->host, b->target);
    return s->own != NULL ? text_setting(s, "host", b->host, sizeof b->host, err) : KOLM_OK;
}

static kit_status read_texts(const settings *s, box *b, kolm_error_t *err) {
    KIT_TRY(text_setting(s, "host_key", b->host_key, sizeof b->host_key, err));
    KIT_TRY(path_setting(s, "identity_file", false, b->identity_file, err));
    KIT_TRY(path_setting(s, "known_hosts", false, b->known_hosts, err));
    KIT_TRY(path_setting(s, "ssh_config", true, b->ssh_config, err));
    KIT_TRY(text_setting(s, "dir", b->dir, sizeof b->dir, err));
    KIT_TRY(text_setting(s, "python", b->python, sizeof b->python, err));
    KIT_TRY(text_setting(s, "kolm", b->kolm, sizeof b->kolm, err));
    KIT_TRY(path_setting(s, "engine", false, b->engine, err));
    KIT_TRY(path_setting(s, "trainer", false, b->trainer, err));
    KIT_TRY(path_setting(s, "wheels", false, b->wheels, err));
    KIT_TRY(text_setting(s, "wheels_there", b->wheels_there, sizeof b->wheels_there, err));
    KIT_TRY(text_setting(s, "index_url", b->index_url, sizeof b->index_url, err));
    if (b->trainer[0] == '\0' && !kit_setting(s->host, "runtime.trainer", "", b->trainer, sizeof b->trainer))
        b->trainer[0] = '\0';
    if (b->host_key[0] == '\0' || strcmp(b->host_key, "accept-new") == 0 || strncmp(b->host_key, "SHA256:", 7) == 0)
        return KOLM_OK;
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write accept-new, or SHA256:... as ssh-keygen -l prints it",
                    "backends.remote-ssh.host_key in config.json is neither");
}

static kit_status fill_settings(const settings *s, box *b, kolm_error_t *err) {
    uint64_t connect = 0, idle = 0, patience = 0;
    bool setup = false, keep = false;
    kit_ssh_job_settings *out = &b->settings;
    KIT_TRY(number_setting(s, "connect_timeout_seconds", 3600, &connect, err));
    KIT_TRY(number_setting(s, "idle_timeout_seconds", 3600, &idle, err));
    KIT_TRY(number_setting(s, "patience_seconds", 30ull * 86400, &patience, err));
    KIT_TRY(flag_setting(s, "setup", &setup, err));
    KIT_TRY(flag_setting(s, "keep", &keep, err));
    b->identities[0] = b->identity_file;
    b->known[0] = b->known_hosts;
    *out = (kit_ssh_job_settings){.name = b->target,
                                  .backend = "remote-ssh",
                                  .host_key = b->host_key,
                                  .dir = b->dir,
                                  .python = b->python,
                                  .kolm = b->kolm,
                                  .engine = b->engine,
                                  .trainer = b->trainer,
                                  .wheels = b->wheels,
                                  .wheels_there = b->wheels_there,
                                  .index_url = b->index_url,
                                  .patience_seconds = patience,
                                  .setup = setup,
                                  .keep = keep};
    out->ssh = (kit_ssh_options){.config_path = b->ssh_config[0] != '\0' ? b->ssh_config : NULL,
                                 .known_hosts = b->known,
                                 .known_hosts_count = b->known_hosts[0] != '\0' ? 1 : 0,
                                 .identity_files = b->identities,
                                 .identity_file_count = b->identity_file[0] != '\0' ? 1 : 0,
                                 .connect_timeout_ms = (uint32_t)connect * 1000,
                                 .idle_timeout_ms = (uint32_t)idle * 1000,
                                 /* A link is dead after three missing replies: not later than configured. */
                                 .keepalive_seconds = idle > 0 && idle < 4 ? 1 : (uint32_t)idle / 4};
    return kit_ssh_target_parse(b->host, &out->ssh.target, err);
}

kit_status box_read(const kolm_host_v1_t *host, box *out_box, kolm_error_t *err) {
    box named = {.target = ""};
    *out_box = named;
    KIT_TRY(read_variable(host, &named, err));
    return box_read_target(host, named.target, out_box, err);
}

kit_status box_targets(const kolm_host_v1_t *host, cJSON **out_targets, kolm_error_t *err) {
    cJSON *boxes = NULL, *targets = cJSON_CreateArray();
    box named = {.target = ""};
    kolm_error_t unset = KIT_ERROR_INIT;
    kit_status status = read_variable(host, &named, &unset);
    bool set = status == KOLM_OK, good = targets != NULL;
    if (!set && status != KOLM_E_NOT_FOUND) *err = unset;
    if (set || status == KOLM_E_NOT_FOUND) status = read_boxes(host, &boxes, err);
    if (set && good) good = cJSON_AddItemToArray(targets, cJSON_CreateString(named.target));
    for (const cJSON *one = status == KOLM_OK && boxes != NULL ? boxes->child : NULL; good && one != NULL;
         one = one->next)
        if (strcmp(one->string, named.target) != 0)
            good = cJSON_AddItemToArray(targets, cJSON_CreateString(one->string));
    cJSON_Delete(boxes);
    if (status == KOLM_OK && !good) status = kit_no_memory(err);
    if (status != KOLM_OK) {
        cJSON_Delete(targets);
        targets = NULL;
    }
    *out_targets = targets;
    return status;
}

kit_status box_read_target(const kolm_host_v1_t *host, const char *target, box *out_box, kolm_error_t *err) {
    cJSON *boxes = NULL;
    settings s = {.host = host};
    *out_box = (box){.target = ""};
    if (!kit_copy(out_box->target, sizeof out_box->target, target))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "shorten it", "the name of a box in config.json is too long");
    kit_status status = find_own(host, out_box, &boxes, &s, err);
    const char *wrong = status == KOLM_OK ? box_fault(out_box->host) : NULL;
    if (wrong != NULL)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "write it like ana@gpu.example.org:22 or [2001:db8::1]:22",
                          "%s is not of the form [user@]host[:port]: check %s",
                          s.own != NULL ? "the host of this box" : BOX_VARIABLE, wrong);
    if (status == KOLM_OK) status = read_texts(&s, out_box, err);
    if (status == KOLM_OK && out_box->engine[0] == '\0')
        (void)kit_ssh_job_engine(out_box->engine, sizeof out_box->engine);
    if (status == KOLM_OK) status = fill_settings(&s, out_box, err);
    cJSON_Delete(boxes);
    return status;
}

/* ---- Under --airgap --allow-private-remote */

static bool is_private(const struct addrinfo *a) {
    const void *address = a->ai_addr;
    if (a->ai_family == AF_INET)
        return kit_address_is_private(AF_INET, &((const struct sockaddr_in *)address)->sin_addr);
    return a->ai_family == AF_INET6 &&
           kit_address_is_private(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr);
}

kit_status box_pin(const kolm_host_v1_t *host, box *b, kolm_error_t *err) {
    char only[8] = "";
    struct addrinfo *found = NULL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (!kit_setting(host, "network.private_only", "", only, sizeof only) || strcmp(only, "true") != 0) return KOLM_OK;
    b->settings.no_fetch = true; /* the machine must not download anything for us, either */
    /* The connection will go to the host name from ~/.ssh/config. */
    kit_ssh_config config = {0};
    KIT_TRY(kit_ssh_config_resolve(b->settings.ssh.config_path, &b->settings.ssh.target, &config, err));
    hints.ai_family = config.address_family;
    const char *name = config.host_name != NULL ? config.host_name : b->settings.ssh.target.host;
    int why = getaddrinfo(name, NULL, &hints, &found);
    kit_status status = KOLM_OK;
    if (why != 0)
        status = kit_fail(err, KOLM_E_NOT_FOUND, "correct " BOX_VARIABLE, "%s does not resolve: %s", name,
                          gai_strerror(why));
    for (const struct addrinfo *a = found; status == KOLM_OK && a != NULL; a = a->ai_next)
        if (!is_private(a))
            status =
                kit_fail(err, KOLM_E_PERMISSION_DENIED, "name a machine on your own network, or leave --airgap out",
                         "%s has other than loopback or private addresses, which --airgap does not allow", name);
    if (status == KOLM_OK &&
        getnameinfo(found->ai_addr, found->ai_addrlen, b->pinned, sizeof b->pinned, NULL, 0, NI_NUMERICHOST) != 0)
        status = kit_fail(err, KOLM_E_INTERNAL, "report this", "the address of %s cannot be written", name);
    if (found != NULL) freeaddrinfo(found);
    kit_ssh_config_free(&config);
    if (status == KOLM_OK) b->settings.ssh.pinned_addr = b->pinned;
    return status;
}
