/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a call may access: the list for kolm-host's fence, made from the call and its caller. */
#include "host/run.h"

#include "kolm/kit/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Always: the system's programs, libraries and settings to read, /proc and /sys, the usual devices and those of
 * accelerators, the plugin's directory and those of kolm's own programs and trainer, the Python of the backend, the
 * scratch directory to write. If the call has a job: its directory, and the files in job.json (model files, the base
 * model). Paths in PATH, LD_LIBRARY_PATH, CUDA_HOME and the like, and in settings that are paths. Places in the
 * manifest, if granted, and in config.json.
 *
 * A list can only allow, and an entry covers everything below it. So an entry that would cover KOLM_HOME (or, if only a
 * variable named it, the home directory) is split: into its contents except the path to it.
 */

#define ALLOW_MOST 1024 /* entries */
#define SPLIT_MOST 512  /* entries of one directory */
#define JOB_MAX (64u << 20)
#define BASE_DEPTH 3     /* directories of a base model */
#define SETTINGS_DEPTH 4 /* lists and maps of a section, in each other */

typedef enum kind { LOOK, READ, WRITE, DEVICE, KINDS } kind;
static const char *const kind_keys[KINDS] = {HOST_KEY_LOOK, HOST_KEY_READ, HOST_KEY_WRITE, HOST_KEY_DEVICE};

/* The origin of an entry decides how far it is trusted. */
typedef enum origin {
    OF_CALL,   /* needed by the call itself: it may be in KOLM_HOME, except for its secrets */
    OF_WORDS,  /* named by a manifest or the user: nothing in KOLM_HOME */
    OF_SYSTEM, /* a usual place, or a variable: not the whole home directory either */
} origin;

typedef struct entry {
    char *path; /* real */
    kind kind;
} entry;

typedef struct list {
    const host_run *run;
    entry *at;
    size_t count;
    bool failed;                            /* out of memory */
    char private[PATH_MAX], home[PATH_MAX]; /* real; "" when there is none */
} list;

/* ---- Paths */
/* True when path is directory, or lies below it. */
static bool is_in(const char *path, const char *directory) {
    size_t n = strlen(directory);
    if (n == 1) return true; /* "/" */
    return strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool covers(kind wide, kind narrow) {
    return wide == narrow || (wide == WRITE && narrow != DEVICE) || (wide == READ && narrow == LOOK);
}

static bool is_allowed(const list *l, const char *path, kind k) {
    for (size_t i = 0; i < l->count; i++)
        if (covers(l->at[i].kind, k) && is_in(path, l->at[i].path)) return true;
    return false;
}

/* True for a place with secrets, or a path below one. */
static bool is_secret(const list *l, const char *path) {
    const char *const *names = l->run->options->private_names;
    size_t n = strlen(l->private);
    for (; path[n] == '/' && names && *names; names++)
        if (is_in(path + n + 1, *names)) return true;
    return false;
}

static void put(list *l, kind k, const char *path) {
    if (l->failed || l->count >= ALLOW_MOST || is_allowed(l, path, k)) return;
    if (l->count % 64 == 0) {
        entry *grown = realloc(l->at, (l->count + 64) * sizeof *grown);
        if (!grown) {
            l->failed = true;
            return;
        }
        l->at = grown;
    }
    char *copy = strdup(path);
    l->failed = !copy;
    if (copy) l->at[l->count++] = (entry){copy, k};
}

static void report_hidden(const list *l, const char *path) {
    const host_events *events = l->run->options->events;
    char text[PATH_MAX + 120];
    if (!events || !events->log) return;
    kit_format(text, sizeof text, "%s is kept from the backend: it holds kolm's own state", path);
    events->log(events->user, l->run->backend->name, KOLM_LOG_INFO, text);
}

/* Adds everything in the directory except the two holes and their parents. */
static void split(list *l, kind k, const char *directory, const char *hole, const char *other) {
    DIR *dir = opendir(directory);
    const struct dirent *item;
    char path[PATH_MAX];
    for (int i = 0; dir && i < SPLIT_MOST && (item = readdir(dir)) != NULL; i++) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0 || item->d_type == DT_LNK) continue;
        if (!kit_format(path, sizeof path, "%s/%s", directory[1] ? directory : "", item->d_name)) continue;
        if ((*hole && strcmp(path, hole) == 0) || (*other && strcmp(path, other) == 0)) continue;
        if ((*hole && is_in(hole, path)) || (*other && is_in(other, path)))
            split(l, k, path, hole, other);
        else
            put(l, k, path);
    }
    if (dir) closedir(dir);
}

/* Adds a real path. */
static void add_real(list *l, kind k, const char *real, origin who) {
    if (strcmp(real, "/") == 0) return;
    const char *home = who == OF_SYSTEM ? l->home : "";
    bool inside = *l->private && is_in(real, l->private);
    if ((*home && strcmp(real, home) == 0) || (who == OF_WORDS && *l->home && strcmp(real, l->home) == 0)) return;
    if (inside && (who != OF_CALL || strcmp(real, l->private) == 0 || is_secret(l, real)))
        report_hidden(l, real);
    else if ((*l->private && !inside && is_in(l->private, real)) || (*home && is_in(home, real)))
        split(l, k, real, l->private, home);
    else
        put(l, k, real);
}

/* Adds a path with links resolved, if it exists. */
static void add(list *l, kind k, const char *path, origin who) {
    char real[PATH_MAX];
    if (path[0] == '/' && realpath(path, real)) add_real(l, k, real, who);
}

/* ---- The system */
static void add_devices(list *l) {
    static const char *const usual[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    static const char *const accelerators[] = {"nvidia", "dri",        "kfd",    "dxg",
                                               "accel",  "infiniband", "neuron", "davinci"};
    char path[300];
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        add(l, DEVICE, usual[i], OF_SYSTEM);
    add(l, DEVICE, "/tmp/nvidia-mps", OF_SYSTEM); /* if several share a card */
    DIR *dir = opendir("/dev");
    for (const struct dirent *item; dir && (item = readdir(dir)) != NULL;) {
        for (size_t i = 0; i < sizeof accelerators / sizeof *accelerators; i++) {
            if (strncmp(item->d_name, accelerators[i], strlen(accelerators[i])) != 0) continue;
            bool network = strcmp(accelerators[i], "infiniband") == 0; /* one without sockets */
            if (network && l->run->options->airgap_strict) continue;
            if (kit_format(path, sizeof path, "/dev/%s", item->d_name)) add(l, DEVICE, path, OF_SYSTEM);
        }
    }
    if (dir) closedir(dir);
}

static void add_system(list *l) {
    static const char *const places[] = {"/usr",
                                         "/lib",
                                         "/lib32",
                                         "/lib64",
                                         "/libx32",
                                         "/bin",
                                         "/sbin",
                                         "/etc",
                                         "/opt",
                                         "/nix/store",
                                         "/gnu/store",
                                         "/snap",
                                         "/etc/resolv.conf",
                                         "/etc/localtime",
                                         "/var/lib/ca-certificates",
                                         "/var/lib/sss/mc",
                                         "/var/lib/sss/pipes",
                                         "/run/nscd",
                                         "/run/systemd/resolve",
                                         "/run/avahi-daemon",
                                         "/run/nvidia-persistenced",
                                         "/run/nvidia-fabricmanager"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        add(l, READ, places[i], OF_SYSTEM);
    add(l, LOOK, "/proc", OF_SYSTEM);
    add(l, LOOK, "/sys", OF_SYSTEM);
    add_devices(l);
}

/* ---- Variables */
static void add_each(list *l, const char *text) {
    char path[PATH_MAX];
    for (const char *at = text; at && *at;) {
        size_t n = strcspn(at, ":");
        if (n < sizeof path && kit_format(path, sizeof path, "%.*s", (int)n, at)) add(l, READ, path, OF_SYSTEM);
        at += n + (at[n] == ':');
    }
}

static const char *const path_lists[] = {"PATH", "LD_LIBRARY_PATH"};
static const char *const single_paths[] = {"VIRTUAL_ENV", "CONDA_PREFIX",  "CUDA_HOME",    "CUDA_PATH",
                                           "ROCM_PATH",   "SSL_CERT_FILE", "SSL_CERT_DIR", "ASAN_SYMBOLIZER_PATH"};

static void add_variables(list *l) {
    const host_audit *audit = l->run->options->audit;
    if (host_elevated() || (audit && audit->bare)) return;
    for (size_t i = 0; i < sizeof path_lists / sizeof *path_lists; i++)
        add_each(l, secure_getenv(path_lists[i]));
    for (size_t i = 0; i < sizeof single_paths / sizeof *single_paths; i++) {
        const char *value = secure_getenv(single_paths[i]);
        if (value) add(l, READ, value, OF_SYSTEM);
    }
}

/* ---- What belongs to the backend */
/* The environment of an interpreter, and the installation that it was created from. */
static void add_python(list *l, const char *python) {
    char path[PATH_MAX];
    if (python[0] != '/') return;
    for (int i = 0; i < 2; i++) {
        if (i == 0 ? !kit_copy(path, sizeof path, python) : !realpath(python, path)) return;
        add(l, READ, path, OF_CALL); /* alone, if it is not in a bin directory of its own */
        char *slash = strrchr(path, '/');
        if (slash) *slash = '\0';
        char *bin = strrchr(path, '/');
        if (!bin || strcmp(bin, "/bin") != 0) continue;
        *bin = '\0';
        char real[PATH_MAX];
        if (path[0] == '\0' || !realpath(path, real)) continue;
        if (*l->home && is_in(l->home, real)) continue; /* ~/bin/python */
        add(l, READ, path, OF_CALL);
    }
}

/* kolm's own programs, and the directories of backends: the scan has resolved them. */
static void add_kolm(list *l) {
    const host_registry *registry = l->run->registry;
    char path[PATH_MAX];
    if (registry->program && kit_copy(path, sizeof path, registry->program)) {
        *strrchr(path, '/') = '\0';
        add_real(l, READ, path, OF_SYSTEM);
    }
    if (registry->trainer) add_real(l, READ, registry->trainer, OF_CALL);
    bool build = false;
    for (size_t i = 0; i < registry->searched_count; i++) {
        const host_searched *one = &registry->searched[i];
        if (!one->searched || !one->directory || (*l->home && strcmp(one->directory, l->home) == 0)) continue;
        /* In a build tree each has a directory of its own, all below one. */
        if (one->origin == HOST_ORIGIN_BUILD && !build && host_own_tree(path)) {
            char plugins[PATH_MAX];
            if (kit_format(plugins, sizeof plugins, "%s/plugins", path)) add(l, READ, plugins, OF_CALL);
            build = true;
        }
        add_real(l, READ, one->directory, OF_CALL);
    }
}

static void add_backend(list *l) {
    const host_run *run = l->run;
    const char *python = NULL;
    const host_manifest *manifest = run->backend->manifest;
    add_real(l, READ, run->backend->plugin_path, OF_CALL);
    if (kit_json_get_string(kit_json_get(run->options->config, "runtimes"), manifest->name, &python))
        add_python(l, python);
    for (size_t i = 0; i < manifest->require_count; i++) {
        const host_require *require = &manifest->requires[i];
        if (require->kind != HOST_REQUIRE_PATH) continue;
        bool device = strncmp(require->value, "/dev/", 5) == 0;
        if (run->backend->granted) add(l, device ? DEVICE : READ, require->value, OF_WORDS);
    }
}

/* ---- Paths from manifest and user */
/* Creates a missing path to write, because a rule needs an existing path. Skips it if that fails. */
static void make_place(const list *l, const char *path) {
    char parent[PATH_MAX];
    struct stat st;
    if (!kit_copy(parent, sizeof parent, path) || stat(path, &st) == 0) return;
    char *slash = strrchr(parent, '/');
    bool directory = slash[1] == '\0';
    *slash = '\0';
    if (parent[0] == '\0' || (*l->private && is_in(path, l->private))) return;
    if (kit_mkdirs(parent, 0700, NULL) != KOLM_OK || directory) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
}

static void add_path(list *l, kind k, const char *text, bool make) {
    kit_buf path = {0};
    if (host_path_expand(text, &path)) {
        if (make && k == WRITE) make_place(l, kit_buf_text(&path));
        add(l, k, kit_buf_text(&path), OF_WORDS);
    }
    l->failed = l->failed || path.failed;
    kit_buf_free(&path);
}

/* True if the key is declared as a path, at any depth. */
static bool is_path_key(const host_settings *settings, const char *key) {
    for (size_t i = 0; i < settings->count; i++) {
        const host_setting *one = &settings->at[i];
        bool path = (one->types & (1u << HOST_SETTING_PATH)) || (one->items & (1u << HOST_SETTING_PATH));
        if ((path && strcmp(one->key, key) == 0) || is_path_key(&one->fields, key)) return true;
    }
    return false;
}

/* Which paths of the section to collect: those of one key, or all. */
typedef struct wanted {
    const char *key; /* NULL: all, to be read */
    size_t key_length;
    kind kind;
    bool directory, make;
} wanted;

static bool is_wanted(const list *l, const wanted *w, const char *key, const char *text) {
    const host_manifest *manifest = l->run->backend->manifest;
    if (w->key) return strlen(key) == w->key_length && strncmp(key, w->key, w->key_length) == 0;
    return (text[0] == '/' || text[0] == '~' || text[0] == '$') &&
           (!manifest->declares_settings || is_path_key(&manifest->settings, key));
}

/* Adds the paths in the user's section of this backend, at any depth. */
static void add_settings(list *l, const wanted *w, const cJSON *value, const char *key, int depth) {
    const cJSON *item;
    if (cJSON_IsString(value) && is_wanted(l, w, key, value->valuestring)) {
        kit_buf text = {0};
        kit_buf_fmt(&text, "%s%s", value->valuestring, w->directory ? "/" : "");
        add_path(l, w->kind, kit_buf_text(&text), w->make);
        kit_buf_free(&text);
    }
    if (depth == 0 || (!cJSON_IsObject(value) && !cJSON_IsArray(value))) return;
    cJSON_ArrayForEach(item, value) {
        const char *name = item->string ? item->string : key;
        if (strcmp(name, HOST_FENCE_KEY) != 0) add_settings(l, w, item, name, depth - 1);
    }
}

static const cJSON *section_of(const list *l) {
    return kit_json_get(kit_json_get(l->run->options->config, "backends"), l->run->backend->name);
}

static void add_places(list *l, kind k, char *const *places, size_t count) {
    bool make = !host_call_is_light(l->run->slot);
    for (size_t i = 0; i < count; i++) {
        size_t n = strcspn(places[i], "/");
        const wanted one = {places[i] + 1, n - 1, k, places[i][n] == '/', make};
        if (places[i][0] == '@')
            add_settings(l, &one, section_of(l), "", SETTINGS_DEPTH);
        else
            add_path(l, k, places[i], make);
    }
}

static void add_words(list *l) {
    const host_backend *backend = l->run->backend;
    const host_manifest *m = backend->manifest;
    const wanted all = {.kind = READ};
    add_settings(l, &all, section_of(l), "", SETTINGS_DEPTH);
    if (backend->granted) {
        add_places(l, READ, m->files.read, m->files.read_count);
        add_places(l, WRITE, m->files.write, m->files.write_count);
    }
    add_places(l, READ, m->more_files.read, m->more_files.read_count);
    add_places(l, WRITE, m->more_files.write, m->more_files.write_count);
}

/* ---- The job */
/* A directory of the Hugging Face cache holds links to files in a sibling directory. */
static void add_base(list *l, const char *path, int depth) {
    char inner[PATH_MAX];
    if (depth == BASE_DEPTH) add(l, READ, path, OF_CALL);
    DIR *dir = opendir(path);
    for (const struct dirent *item; dir && (item = readdir(dir)) != NULL;) {
        if (item->d_name[0] == '.' || !kit_format(inner, sizeof inner, "%s/%s", path, item->d_name)) continue;
        if (item->d_type == DT_LNK) add(l, READ, inner, OF_CALL);
        if (item->d_type == DT_DIR && depth > 0) add_base(l, inner, depth - 1);
    }
    if (dir) closedir(dir);
}

/* A path that leaves the writable directory through a link did not come from the description of the job. */
static bool leads_out(const char *top, const char *path) {
    char part[PATH_MAX], real[PATH_MAX];
    bool inside = false;
    if (!realpath(path, real) || is_in(real, top)) return false;
    for (const char *at = path; !inside && (at = strchr(at + 1, '/')) != NULL;)
        inside =
            kit_format(part, sizeof part, "%.*s", (int)(at - path), path) && realpath(part, real) && is_in(real, top);
    return inside;
}

static void add_job(list *l) {
    const char *dir = l->run->job_dir, *path;
    char *file = NULL;
    cJSON *job = NULL;
    char top[PATH_MAX];
    if (!dir) return;
    add(l, WRITE, dir, OF_CALL);
    if (!realpath(dir, top)) return;
    char *name = strrchr(top, '/');
    if (strcmp(name, "/job") == 0 || strcmp(name, "/answers") == 0)
        *name = '\0'; /* the directory of the other step is
                                                                                     next to it */
    if (kit_path_join(dir, "job.json", &file, NULL) != KOLM_OK || kit_json_read(file, JOB_MAX, &job, NULL) != KOLM_OK)
        job = NULL; /* the plugin will report it */
    const cJSON *item;
    cJSON_ArrayForEach(item, kit_json_get(job, "model_files")) {
        if (!kit_json_get_string(item, "path", &path)) continue;
        /* A descriptor of kolm-host, which can be reopened there; here the number means another file. */
        if (strncmp(path, "/proc/", 6) != 0 && strncmp(path, "/dev/", 5) != 0 && path[0] == '/' &&
            !leads_out(top, path))
            add(l, READ, path, OF_CALL);
    }
    if (kit_json_get_string(kit_json_get(kit_json_get(job, "options"), "base"), "path", &path))
        add_base(l, path, BASE_DEPTH);
    cJSON_Delete(job);
    free(file);
}

/* ---- Paths that the self-test tries */
static bool add_text(cJSON *array, const char *text) {
    cJSON *item = cJSON_CreateString(text);
    return item && cJSON_AddItemToArray(array, item);
}

static bool put_tries(const list *l, cJSON *fence) {
    cJSON *read = cJSON_AddArrayToObject(fence, HOST_KEY_NO_READ);
    cJSON *write = cJSON_AddArrayToObject(fence, HOST_KEY_NO_WRITE);
    const char *const *names = l->run->options->private_names;
    char path[PATH_MAX];
    bool good = read && write;
    for (; good && *l->private && names && *names; names++)
        if (kit_format(path, sizeof path, "%s/%s", l->private, *names)) good = add_text(read, path);
    if (good && *l->private) good = add_text(write, l->private);
    if (good && *l->home && !is_allowed(l, l->home, WRITE)) good = add_text(write, l->home);
    if (good && l->run->job_dir && realpath(l->run->job_dir, path)) {
        *strrchr(path, '/') = '\0';
        if (*path && !is_allowed(l, path, WRITE)) good = add_text(write, path);
    }
    return good;
}

/* ---- All of it */
static void find_places(list *l) {
    const char *home = secure_getenv("HOME"), *private = l->run->options->private_dir;
    if (!private || !realpath(private, l->private)) l->private[0] = '\0';
    if (!home || home[0] != '/' || !realpath(home, l->home) || strcmp(l->home, "/") == 0) l->home[0] = '\0';
}

/* The common part of the list is cached for a short time: a job is four calls of the same backend. The call's own paths
 * are resolved each time. */
#define KEPT_MS 10000

struct host_common {
    list list;
    char *key; /* everything that it was made from */
    int64_t made_ms;
    unsigned users; /* with the one below */
};

static struct {
    pthread_mutex_t lock;
    struct host_common *last;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Under the lock. */
static void leave(struct host_common *common) {
    if (!common || --common->users > 0) return;
    for (size_t i = 0; i < common->list.count; i++)
        free(common->list.at[i].path);
    free(common->list.at);
    free(common->key);
    free(common);
}

void host_common_free(struct host_common *common) {
    pthread_mutex_lock(&kept.lock);
    leave(common);
    pthread_mutex_unlock(&kept.lock);
}

static char *key_of(const host_run *run) {
    kit_buf key = {0};
    const host_registry *registry = run->registry;
    const host_audit *audit = run->options->audit;
    const char *home = secure_getenv("HOME"), *private = run->options->private_dir;
    kit_buf_fmt(&key, "%d%d%p\n%s\n%s\n%s\n%s\n", run->options->airgap_strict, audit && audit->bare,
                (const void *)run->options->private_names, private ? private : "", home ? home : "",
                registry->program ? registry->program : "", registry->trainer ? registry->trainer : "");
    for (size_t i = 0; i < registry->searched_count; i++)
        kit_buf_fmt(&key, "%d%s\n", registry->searched[i].searched,
                    registry->searched[i].directory ? registry->searched[i].directory : "");
    for (size_t i = 0; i < sizeof path_lists / sizeof *path_lists; i++)
        kit_buf_fmt(&key, "%s\n", secure_getenv(path_lists[i]) ? secure_getenv(path_lists[i]) : "");
    for (size_t i = 0; i < sizeof single_paths / sizeof *single_paths; i++)
        kit_buf_fmt(&key, "%s\n", secure_getenv(single_paths[i]) ? secure_getenv(single_paths[i]) : "");
    return kit_buf_take(&key);
}

/* Takes ownership of the key. NULL: out of memory. */
static struct host_common *common_find(const host_run *run, char *key) {
    struct host_common *common = key ? calloc(1, sizeof *common) : NULL;
    if (!common) {
        free(key);
        return NULL;
    }
    *common = (struct host_common){.list.run = run, .key = key, .made_ms = kit_now_ms(), .users = 1};
    find_places(&common->list);
    add_system(&common->list);
    add_kolm(&common->list);
    add_variables(&common->list);
    common->list.run = NULL;
    return common;
}

static struct host_common *take_common(const host_run *run) {
    char *key = key_of(run);
    pthread_mutex_lock(&kept.lock);
    struct host_common *common = kept.last;
    if (common && key && strcmp(common->key, key) == 0 && kit_now_ms() - common->made_ms < KEPT_MS) {
        free(key);
    } else {
        common = common_find(run, key);
        leave(kept.last);
        kept.last = common && !common->list.failed ? common : NULL;
        if (common && !kept.last) common->users--; /* of this caller only */
    }
    if (common) common->users++;
    pthread_mutex_unlock(&kept.lock);
    return common;
}

static void begin(list *l) {
    host_scratch *batch = l->run->place;
    if (!batch->common) batch->common = take_common(l->run);
    if (!batch->common) {
        l->failed = true;
        return;
    }
    const list *from = &batch->common->list;
    kit_copy(l->private, sizeof l->private, from->private);
    kit_copy(l->home, sizeof l->home, from->home);
    l->failed = from->failed;
    for (size_t i = 0; i < from->count; i++)
        put(l, from->at[i].kind, from->at[i].path);
}

bool host_run_allow(const host_run *run, cJSON *request) {
    const host_audit *audit = run->options->audit;
    list l = {.run = run};
    if (run->backend->manifest->fence_off) return true;
    begin(&l);
    add(&l, WRITE, run->scratch, OF_CALL);
    if (audit && audit->home) add(&l, WRITE, audit->home, OF_CALL); /* checks watch whether it writes there */
    add_job(&l);
    /* Not files of others: if kolm's home is in it, there is no shared memory. */
    if (!host_call_is_light(run->slot) && !is_in(l.private, "/dev/shm") && !is_in(l.home, "/dev/shm"))
        add(&l, WRITE, "/dev/shm", OF_SYSTEM);
    add_backend(&l);
    add_words(&l);
    cJSON *fence = cJSON_AddObjectToObject(request, HOST_KEY_FENCE);
    cJSON *arrays[KINDS];
    bool good = fence && !l.failed;
    for (int k = 0; good && k < KINDS; k++)
        good = (arrays[k] = cJSON_AddArrayToObject(fence, kind_keys[k])) != NULL;
    for (size_t i = 0; good && i < l.count; i++)
        good = add_text(arrays[l.at[i].kind], l.at[i].path);
    good = good && put_tries(&l, fence);
    for (size_t i = 0; i < l.count; i++)
        free(l.at[i].path);
    free(l.at);
    return good;
}
