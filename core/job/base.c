/* SPDX-License-Identifier: Apache-2.0 */
/* Finds base models in directories and in the cache of the hub's client, and digests their files. */
#include "job/base.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 4096
#define PIECE (1u << 20)
#define MODULES "modules.json"
#define MODULES_BYTES_MAX (1u << 20)
#define MODULES_MAX 16
#define EARLIER_MAX 4

/* ---- Finding */

static bool is_directory(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* The hub client's cache directory; "" if unknown. */
static void hub_cache(kit_buf *out) {
    const char *value = secure_getenv("HF_HUB_CACHE");
    if (value != NULL && value[0] == '/') {
        kit_buf_str(out, value);
    } else if ((value = secure_getenv("HF_HOME")) != NULL && value[0] == '/') {
        kit_buf_fmt(out, "%s/hub", value);
    } else if ((value = secure_getenv("XDG_CACHE_HOME")) != NULL && value[0] == '/') {
        kit_buf_fmt(out, "%s/huggingface/hub", value);
    } else if ((value = secure_getenv("HOME")) != NULL && value[0] == '/') {
        kit_buf_fmt(out, "%s/.cache/huggingface/hub", value);
    }
}

/* ORG/MODEL or MODEL, of the characters that the hub allows. */
static bool is_hub_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./";
    size_t slashes = 0;
    for (const char *p = name; *p != '\0'; p++)
        slashes += *p == '/';
    return name[0] != '\0' && strspn(name, allowed) == strlen(name) && slashes <= 1 && name[0] != '/' &&
           strstr(name, "..") == NULL && strlen(name) <= 96;
}

static kit_status snapshot_of(const char *model_dir, char **out_path, kolm_error_t *err) {
    kit_buf reference = {0}, revision = {0}, path = {0};
    kit_buf_fmt(&reference, "%s/refs/main", model_dir);
    kit_status status = kit_buf_ok(&reference, err);
    if (status == KOLM_OK) status = kit_read_file(reference.data, 256, &revision, err);
    if (status == KOLM_OK) {
        size_t length = strcspn(kit_buf_text(&revision), " \r\n");
        kit_buf_fmt(&path, "%s/snapshots/%.*s", model_dir, (int)length, kit_buf_text(&revision));
        status = kit_buf_ok(&path, err);
    }
    if (status == KOLM_OK && (strchr(kit_buf_text(&revision), '/') != NULL || !is_directory(path.data)))
        status = kit_fail(err, KOLM_E_NOT_FOUND, "download the model again with `hf download`",
                          "the cache names a snapshot that is not there, in %s", model_dir);
    if (status == KOLM_OK) *out_path = kit_buf_take(&path);
    kit_buf_free(&reference);
    kit_buf_free(&revision);
    kit_buf_free(&path);
    return status;
}

kit_status job_base_find(const char *asked, char **out_path, kolm_error_t *err) {
    *out_path = NULL;
    if (is_directory(asked)) {
        *out_path = realpath(asked, NULL);
        return *out_path != NULL ? KOLM_OK : kit_fail_errno(err, errno, "cannot resolve %s", asked);
    }
    struct stat info;
    if (stat(asked, &info) == 0)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                        "pass the directory that contains config.json and model.safetensors",
                        "the base model %s is a file, and a base is a directory", asked);
    kit_buf model_dir = {0};
    if (is_hub_name(asked)) {
        hub_cache(&model_dir);
        kit_buf_str(&model_dir, "/models--");
        for (const char *p = asked; *p != '\0'; p++)
            *p == '/' ? kit_buf_str(&model_dir, "--") : kit_buf_char(&model_dir, *p);
    }
    kit_status status = kit_buf_ok(&model_dir, err);
    if (status == KOLM_OK && model_dir.length > 0 && is_directory(model_dir.data))
        status = snapshot_of(model_dir.data, out_path, err);
    else if (status == KOLM_OK)
        status = kit_fail(err, KOLM_E_NOT_FOUND,
                          "pass a directory with config.json and model.safetensors, or download the model into the "
                          "local cache first (`hf download NAME`); kolm downloads nothing by itself",
                          "there is no base model %s: no such directory%s%s", asked,
                          model_dir.length > 0 ? ", and nothing at " : "", kit_buf_text(&model_dir));
    kit_buf_free(&model_dir);
    return status;
}

/* ---- Its files */

typedef struct file {
    char *name;
    kit_file_mark mark;
    bool weights;
} file;

typedef struct listing {
    kit_file_mark directory; /* the directory itself only, not its other contents */
    file *at;
    size_t count;
    bool safe;    /* there are .safetensors */
    bool adapter; /* there is a PEFT adapter, which is not one of the files */
} listing;

static bool ends_with(const char *name, const char *suffix) {
    size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}

static bool is_pickle(const char *name) {
    return ends_with(name, ".bin") || ends_with(name, ".pt") || ends_with(name, ".pth");
}

/* PEFT's files in the directory of a base are not part of it, and not loaded with it. */
static bool is_adapter(const char *name) {
    return strcmp(name, "adapter_config.json") == 0 || strcmp(name, "adapter_model.safetensors") == 0 ||
           strcmp(name, "adapter_model.bin") == 0;
}

bool job_base_is_weights(const char *name) {
    return ends_with(name, ".safetensors") || is_pickle(name);
}

static bool is_of_model(const char *name) {
    static const char *const suffixes[] = {".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(name, suffixes[i])) return name[0] != '.';
    return name[0] != '.' && is_pickle(name);
}

static void listing_free(listing *l) {
    for (size_t i = 0; i < l->count; i++)
        free(l->at[i].name);
    free(l->at);
    *l = (listing){0};
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const file *)a)->name, ((const file *)b)->name);
}

/* False for anything but a regular file, or a link to one. */
static bool mark_of(int dir, const char *name, kit_file_mark *out) {
    struct stat info;
    if (fstatat(dir, name, &info, 0) != 0 || !S_ISREG(info.st_mode)) return false;
    kit_file_mark_of(&info, out);
    return true;
}

/* below: the module directory of the file, "" at the top. */
static kit_status add_file(listing *l, int dir, const char *below, const char *name, kolm_error_t *err) {
    kit_file_mark mark;
    if (below[0] == '\0' && is_adapter(name)) {
        l->adapter = true;
        return KOLM_OK;
    }
    if (!is_of_model(name) || !mark_of(dir, name, &mark)) return KOLM_OK;
    if (l->count == FILES_MAX)
        return kit_fail(err, KOLM_E_OUT_OF_RANGE, "pass a directory with a single model",
                        "the base model has more than %d files", FILES_MAX);
    file *grown = realloc(l->at, (l->count + 1) * sizeof *grown);
    if (grown == NULL) return kit_no_memory(err);
    l->at = grown;
    grown[l->count] = (file){.mark = mark, .weights = job_base_is_weights(name)};
    l->safe = l->safe || ends_with(name, ".safetensors");
    kit_status status = below[0] == '\0' ? kit_strdup(name, &grown[l->count].name, err)
                                         : kit_path_join(below, name, &grown[l->count].name, err);
    if (status == KOLM_OK) l->count++;
    return status;
}

/* If there are .safetensors, the model is loaded from them, and pickles next to them are not part of it. */
static void drop_pickles(listing *l) {
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (is_pickle(l->at[i].name))
            free(l->at[i].name);
        else
            l->at[kept++] = l->at[i];
    }
    l->count = kept;
}

/* If the files of a base are listed, only those count. */
static void drop_others(listing *l, const char *lines) {
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (!job_base_has(lines, l->at[i].name))
            free(l->at[i].name);
        else
            l->at[kept++] = l->at[i];
    }
    l->count = kept;
}

static kit_status add_directory(listing *l, DIR *stream, const char *path, const char *below, kolm_error_t *err) {
    const char *name = NULL;
    kit_status status = kit_directory_next(stream, path, &name, err);
    while (status == KOLM_OK && name != NULL) {
        status = add_file(l, dirfd(stream), below, name, err);
        if (status == KOLM_OK) status = kit_directory_next(stream, path, &name, err);
    }
    return status;
}

static bool is_listed(const listing *l, const char *name) {
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->at[i].name, name) == 0) return true;
    return false;
}

/* A missing module, or one that leads elsewhere, is reported when the model is loaded. */
static kit_status add_module(listing *l, const char *path, const char *below, kolm_error_t *err) {
    char *inner = NULL;
    if (!kit_path_is_safe(below)) return KOLM_OK;
    KIT_TRY(kit_path_join(path, below, &inner, err));
    DIR *stream = opendir(inner);
    kit_status status = stream != NULL ? add_directory(l, stream, inner, below, err) : KOLM_OK;
    if (stream != NULL) closedir(stream);
    free(inner);
    return status;
}

/* The directories that modules.json names, each once. */
static kit_status add_modules(listing *l, const char *path, kolm_error_t *err) {
    const char *seen[MODULES_MAX], *below;
    size_t count = 0;
    char *list = NULL;
    cJSON *modules = NULL;
    kolm_error_t ignored = KIT_ERROR_INIT;
    if (!is_listed(l, MODULES)) return KOLM_OK;
    KIT_TRY(kit_path_join(path, MODULES, &list, err));
    if (kit_json_read(list, MODULES_BYTES_MAX, &modules, &ignored) != KOLM_OK) modules = NULL;
    free(list);
    kit_status status = KOLM_OK;
    for (const cJSON *one = cJSON_IsArray(modules) ? modules->child : NULL; status == KOLM_OK && one; one = one->next) {
        bool known = count == MODULES_MAX || !kit_json_get_string(one, "path", &below);
        for (size_t i = 0; i < count && !known; i++)
            known = strcmp(seen[i], below) == 0;
        if (known) continue;
        seen[count++] = below;
        status = add_module(l, path, below, err);
    }
    cJSON_Delete(modules);
    return status;
}

static kit_status list_files(const char *path, listing *out, kolm_error_t *err) {
    bool config = false, weights = false;
    DIR *stream = opendir(path);
    if (stream == NULL) return kit_fail_errno(err, errno, "cannot list the base model %s", path);
    kit_status status = kit_file_mark_fd(dirfd(stream), &out->directory, err);
    if (status == KOLM_OK) status = add_directory(out, stream, path, "", err);
    closedir(stream);
    if (status == KOLM_OK) status = add_modules(out, path, err);
    if (out->safe) drop_pickles(out);
    if (out->count > 0) qsort(out->at, out->count, sizeof *out->at, by_name);
    for (size_t i = 0; i < out->count; i++) {
        /* Static embeddings of sentence-transformers have no config.json. */
        config = config || strcmp(out->at[i].name, "config.json") == 0 || strcmp(out->at[i].name, MODULES) == 0;
        weights = weights || out->at[i].weights;
    }
    if (status == KOLM_OK && (!config || !weights) && out->adapter)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                          "pass with --base the model that it was trained on (adapter_config.json names it), or a "
                          "directory written by `kolm export --merge`",
                          "%s contains an adapter and no base model: it has no %s", path,
                          config ? "weights" : "config.json");
    else if (status == KOLM_OK && (!config || !weights))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT,
                          "pass with --base a directory in Hugging Face layout: config.json, tokenizer.json, "
                          "model.safetensors or its parts",
                          "%s is not a base model: it has no %s", path, config ? "weights" : "config.json");
    return status;
}

/* ---- Digest */

static kit_status check_unwritten(int fd, kolm_error_t *err) {
    if (!kit_file_is_written(fd)) return KOLM_OK;
    return kit_fail(err, KOLM_E_DATA_LOSS, "wait until no process writes to the base, and run the command again",
                    "another program has it open for writing");
}

/* Digests exactly the file that was listed: it may have been replaced since, or be modified now. */
static kit_status hash_open_file(int fd, const file *f, char *piece, const volatile sig_atomic_t *stop,
                                 char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    uint8_t digest[KIT_SHA256_BYTES];
    kit_file_mark after;
    kit_sha256 *state = NULL;
    kit_status status = kit_sha256_new(&state, err);
    kit_file_mark_settle(&f->mark);
    if (status == KOLM_OK) status = check_unwritten(fd, err);
    for (ssize_t n = 1; status == KOLM_OK && n > 0;) {
        n = read(fd, piece, PIECE);
        if (n < 0 && errno == EINTR && !(stop != NULL && *stop != 0)) {
            n = 1;
            continue;
        }
        if (stop != NULL && *stop != 0)
            status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while the base model was read");
        else if (n < 0)
            status = kit_fail_errno(err, errno, "cannot read it");
        else if (n > 0)
            status = kit_sha256_update(state, piece, (size_t)n, err);
    }
    if (status == KOLM_OK) status = kit_sha256_final(state, digest, err);
    if (status == KOLM_OK) kit_hex(digest, sizeof digest, out_hex);
    if (status == KOLM_OK) status = kit_file_mark_fd(fd, &after, err);
    if (status == KOLM_OK) status = check_unwritten(fd, err);
    if (status == KOLM_OK && !kit_file_mark_same(&after, &f->mark))
        status = kit_fail(err, KOLM_E_DATA_LOSS, "wait until no process writes to the base, and run the command again",
                          "it was changed while it was read");
    kit_sha256_free(state);
    return status;
}

static kit_status hash_file(const char *dir, const file *f, const volatile sig_atomic_t *stop,
                            char out_hex[KIT_SHA256_HEX], kolm_error_t *err) {
    char *path = NULL, *piece = malloc(PIECE);
    kit_status status = kit_path_join(dir, f->name, &path, err);
    if (status == KOLM_OK && piece == NULL) status = kit_no_memory(err);
    int fd = status == KOLM_OK ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (status == KOLM_OK && fd < 0)
        status = kit_fail_errno(err, errno, "cannot open %s", path);
    else if (status == KOLM_OK && (status = hash_open_file(fd, f, piece, stop, out_hex, err)) != KOLM_OK)
        status = kit_fail_context(err, "the base model, %s", path);
    if (fd >= 0) close(fd);
    free(piece);
    free(path);
    return status;
}

static kit_status digest_files(const char *path, const listing *l, const volatile sig_atomic_t *stop, job_base *base,
                               kolm_error_t *err) {
    kit_buf lines = {0};
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < l->count && status == KOLM_OK; i++) {
        char hex[KIT_SHA256_HEX];
        status = hash_file(path, &l->at[i], stop, hex, err);
        if (status == KOLM_OK) kit_buf_fmt(&lines, "%s  %" PRIu64 "  %s\n", hex, l->at[i].mark.size, l->at[i].name);
    }
    if (status == KOLM_OK) status = kit_buf_ok(&lines, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(lines.data, lines.length, base->digest, err);
    if (status == KOLM_OK) base->lines = kit_buf_take(&lines);
    kit_buf_free(&lines);
    return status;
}

/* ---- Memory: base_part.c has its form */

static kit_status identity_of(const listing *l, kit_buf *out, kolm_error_t *err) {
    for (size_t i = 0; i < l->count; i++) {
        kit_buf_fmt(out, "%s ", l->at[i].name);
        kit_file_mark_put(&l->at[i].mark, out);
        kit_buf_char(out, '\n');
    }
    return kit_buf_ok(out, err);
}

/* Not remembered between runs, because a directory may be moved: the directory itself, as ".". */
static kit_status marks_of(const listing *l, kit_buf *out, kolm_error_t *err) {
    kit_buf_fmt(out, ". %" PRIu64 " %" PRIu64 "\n", l->directory.device, l->directory.inode);
    return identity_of(l, out, err);
}

static bool recall(const cJSON *memory, const char *path, const char *identity, job_base *base) {
    const cJSON *entry = kit_json_get(memory, path);
    const char *files = NULL, *digest = NULL, *lines = NULL;
    if (!kit_json_get_string(entry, "files", &files) || strcmp(files, identity) != 0 ||
        !kit_json_get_string(entry, "digest", &digest) || strlen(digest) != KIT_SHA256_HEX - 1 ||
        !kit_json_get_string(entry, "lines", &lines) || (base->lines = strdup(lines)) == NULL)
        return false;
    return kit_copy(base->digest, sizeof base->digest, digest);
}

/* Earlier bases at this path, the latest first, so that a run can explain what happened to one. */
static cJSON *earlier_of(const cJSON *before, const char *digest) {
    cJSON *list = cJSON_CreateArray(), *one = cJSON_CreateObject();
    const char *old = NULL, *lines = NULL;
    if (kit_json_get_string(before, "digest", &old) && kit_json_get_string(before, "lines", &lines) &&
        strcmp(old, digest) != 0 && kit_json_put_string(one, "digest", old) && kit_json_put_string(one, "lines", lines))
        cJSON_AddItemToArray(list, one);
    else
        cJSON_Delete(one);
    const cJSON *e = kit_json_get(before, "earlier");
    for (e = cJSON_IsArray(e) ? e->child : NULL; e != NULL && cJSON_GetArraySize(list) < EARLIER_MAX; e = e->next)
        if (kit_json_get_string(e, "digest", &old) && strcmp(old, digest) != 0)
            cJSON_AddItemToArray(list, cJSON_Duplicate(e, 1));
    return list;
}

/* Errors are ignored: the base is digested again next time. */
static void remember(cJSON *memory, const char *path, const char *identity, const job_base *base) {
    cJSON *entry = cJSON_CreateObject();
    if (kit_json_put_string(entry, "files", identity) && kit_json_put_string(entry, "digest", base->digest) &&
        kit_json_put_string(entry, "lines", base->lines) &&
        kit_json_put(entry, "earlier", earlier_of(kit_json_get(memory, path), base->digest))) {
        cJSON_DeleteItemFromObjectCaseSensitive(memory, path);
        (void)kit_json_put(memory, path, entry);
    } else {
        cJSON_Delete(entry);
    }
}

/* A remembered digest is valid only if the file cannot be modified without a trace. */
static kit_status check_files(const char *dir, const listing *l, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < l->count && status == KOLM_OK; i++) {
        char *path = NULL;
        status = kit_path_join(dir, l->at[i].name, &path, err);
        int fd = status == KOLM_OK ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
        if (fd >= 0 && (status = check_unwritten(fd, err)) != KOLM_OK)
            status = kit_fail_context(err, "the base model, %s", path);
        if (fd >= 0) close(fd); /* a file that cannot be opened is reported by its reader */
        free(path);
    }
    return status;
}

kit_status job_base_open(const char *asked, const char *path, cJSON *memory, const volatile sig_atomic_t *stop,
                         job_base *out_base, kolm_error_t *err) {
    *out_base = (job_base){0};
    listing files = {0};
    kit_buf identity = {0};
    const char *last = strrchr(path, '/');
    kit_status status = kit_strdup(path, &out_base->path, err);
    if (status == KOLM_OK)
        status = kit_strdup(is_directory(asked) ? (last != NULL ? last + 1 : path) : asked, &out_base->name, err);
    if (status == KOLM_OK) status = list_files(path, &files, err);
    if (status == KOLM_OK) status = identity_of(&files, &identity, err);
    if (status == KOLM_OK && !recall(memory, path, kit_buf_text(&identity), out_base)) {
        status = digest_files(path, &files, stop, out_base, err);
        if (status == KOLM_OK && memory != NULL) remember(memory, path, kit_buf_text(&identity), out_base);
    }
    if (status == KOLM_OK) status = check_files(path, &files, err);
    for (size_t i = 0; i < files.count; i++)
        if (files.at[i].weights) out_base->weight_bytes += files.at[i].mark.size;
    kit_buf_clear(&identity);
    if (status == KOLM_OK) status = marks_of(&files, &identity, err);
    if (status == KOLM_OK) out_base->marks = kit_buf_take(&identity);
    kit_buf_free(&identity);
    listing_free(&files);
    return status;
}

/* Names the file of the first line that only one of now and before has. */
static void name_difference(const char *before, const char *now, char *out, size_t capacity) {
    while (*before != '\0' || *now != '\0') {
        size_t n = strcspn(before, "\n"), m = strcspn(now, "\n");
        const char *line = *before != '\0' ? before : now;
        /* Both are in the same order: the smaller line is missing in the other. */
        if (n != m || memcmp(before, now, n) != 0) {
            if (*before != '\0' && *now != '\0' && strcmp(now, before) < 0) line = now;
            kit_format(out, capacity, "%.*s", (int)strcspn(line, " \n"), line);
            return;
        }
        before += n + (before[n] == '\n');
        now += m + (now[m] == '\n');
    }
}

kit_status job_base_unchanged(const job_base *base, kolm_error_t *err) {
    listing files = {0};
    kit_buf now = {0};
    char what[256] = "";
    kit_status status = list_files(base->path, &files, err);
    if (status == KOLM_OK && base->part) drop_others(&files, base->lines);
    if (status == KOLM_OK) status = marks_of(&files, &now, err);
    if (status == KOLM_OK) status = check_files(base->path, &files, err);
    if (status == KOLM_OK && strcmp(kit_buf_text(&now), base->marks) != 0) {
        name_difference(base->marks, kit_buf_text(&now), what, sizeof what);
        status = kit_fail(err, KOLM_E_DATA_LOSS, "leave the base alone while it is used, and run the command again",
                          "the base model %s was changed while it was used: %s", base->path,
                          what[0] == '.' ? "another directory is there" : what);
    }
    kit_buf_free(&now);
    listing_free(&files);
    return status;
}

void job_base_free(job_base *base) {
    free(base->path);
    free(base->name);
    free(base->lines);
    free(base->marks);
    *base = (job_base){0};
}
