/* SPDX-License-Identifier: Apache-2.0 */
/* Determines the runtime of a backend from names of files, without starting anything. */
#include "internal.h"

#include "kolm/kit/backend.h"
#include "kolm/kit/file.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION_MAX 24
#define PACKAGES_MAX 5

/* What a device needs; names are normalised as by PyPI, with underscores, as in dist-info directories. */
typedef struct needs {
    const char *device;
    const char *packages[PACKAGES_MAX];
    size_t needed; /* the first ones, required; the others are shown if present */
} needs;

static const needs table[] = {
    {"mlx", {"mlx", "mlx_lm", "mlx_cuda_12", "mlx_cuda_13"}, 2},
    {"directml", {"torch", "transformers", "peft", "torch_directml"}, 4},
    {"cuda", {"torch", "transformers", "peft", "unsloth"}, 3},
    {"", {"torch", "transformers", "peft"}, 3},
};

static const needs *needs_of(const char *device) {
    const needs *entry = table;
    while (entry->device[0] != '\0' && strcmp(entry->device, device) != 0)
        entry++;
    return entry;
}

void trainer_backend(const kit_trainer *trainer, char *out, size_t capacity) {
    if (trainer->backend != NULL)
        kit_copy(out, capacity, trainer->backend);
    else
        kit_format(out, capacity, "local-%s", trainer->device);
}

kit_status trainer_python(const kolm_host_v1_t *host, const kit_trainer *trainer, char out_path[TRAINER_PATH_MAX],
                          kolm_error_t *err) {
    char name[64], remedy[KIT_TRAINER_MISSING];
    struct stat about;
    trainer_backend(trainer, name, sizeof name);
    kit_format(remedy, sizeof remedy,
               "run `kolm compute setup %s`, or name your own interpreter in config.json: runtimes.%s", name, name);
    if (!kit_setting(host, "runtime.python", "", out_path, TRAINER_PATH_MAX))
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "the path of the Python of %s is too long", name);
    if (out_path[0] == '\0')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s has no Python runtime yet", name);
    if (out_path[0] != '/')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "the Python of %s, %.200s, is not an absolute path",
                        name, out_path);
    if (stat(out_path, &about) != 0 || !S_ISREG(about.st_mode) || access(out_path, X_OK) != 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "the Python of %s, %.200s, cannot be run", name,
                        out_path);
    return KOLM_OK;
}

kit_status trainer_directory(const kolm_host_v1_t *host, char out_path[TRAINER_PATH_MAX], kolm_error_t *err) {
    struct stat about;
    if (!kit_setting(host, "runtime.trainer", "", out_path, TRAINER_PATH_MAX) || out_path[0] != '/' ||
        stat(out_path, &about) != 0)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "reinstall kolm, which includes the trainer",
                        "kolm's trainer %.200s does not exist", out_path[0] == '/' ? out_path : "(runtime.trainer)");
    return KOLM_OK;
}

/* ---- Versions */

typedef struct found {
    const needs *needs;
    char versions[PACKAGES_MAX][VERSION_MAX];
    bool packages; /* a site-packages directory exists */
} found;

/* "Torch_DirectML-0.2.5.dist-info" against "torch_directml". */
static bool is_package(const char *entry, const char *package, size_t *out_length) {
    size_t n = strlen(package);
    for (size_t i = 0; i < n; i++) {
        char c = (char)tolower((unsigned char)entry[i]);
        if ((c == '-' || c == '.') && package[i] == '_') c = '_';
        if (c != package[i]) return false;
    }
    *out_length = n;
    return entry[n] == '-' && isdigit((unsigned char)entry[n + 1]);
}

static void note(found *f, const char *entry) {
    static const char suffix[] = ".dist-info";
    size_t length = strlen(entry), name = 0;
    if (length <= sizeof suffix || strcmp(entry + length - (sizeof suffix - 1), suffix) != 0) return;
    for (size_t i = 0; i < PACKAGES_MAX && f->needs->packages[i] != NULL; i++) {
        if (!is_package(entry, f->needs->packages[i], &name)) continue;
        kit_format(f->versions[i], VERSION_MAX, "%.*s", (int)(length - (sizeof suffix - 1) - name - 1),
                   entry + name + 1);
    }
}

static void look_into(found *f, const char *prefix, const char *lib, const char *python) {
    char path[TRAINER_PATH_MAX + 512];
    kit_format(path, sizeof path, "%s/%s/%s/site-packages", prefix, lib, python);
    DIR *dir = opendir(path);
    if (dir == NULL) return;
    f->packages = true;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        note(f, entry->d_name);
    closedir(dir);
}

static int is_python(const struct dirent *entry) {
    return strncmp(entry->d_name, "python3", 7) == 0;
}

static void look_below(found *f, const char *prefix, const char *lib) {
    char path[TRAINER_PATH_MAX + 16];
    struct dirent **names = NULL;
    kit_format(path, sizeof path, "%s/%s", prefix, lib);
    int count = scandir(path, &names, is_python, alphasort);
    for (int i = 0; i < count; i++) {
        look_into(f, prefix, lib, names[i]->d_name);
        free(names[i]);
    }
    free(names);
}

/* True for a virtual environment without system packages: what it does not contain is missing. */
static bool is_closed(const char *prefix) {
    char path[TRAINER_PATH_MAX + 16];
    kit_buf text = {0};
    kit_format(path, sizeof path, "%s/pyvenv.cfg", prefix);
    bool closed = kit_read_file(path, 65536, &text, NULL) == KOLM_OK &&
                  strstr(kit_buf_text(&text), "include-system-site-packages = true") == NULL;
    kit_buf_free(&text);
    return closed;
}

/* Returns what torch was built for if, by its version, it does not support the device; else NULL. Builds without such a
 * suffix are from PyPI (CUDA on Linux) or a distribution. */
static const char *wrong_build(const found *f, const char *device) {
    static const struct {
        const char *device, *suffix, *built_for;
    } wrong[] = {{"cuda", "+cpu", "processors only"},
                 {"cuda", "+rocm", "AMD's cards"},
                 {"rocm", "+cpu", "processors only"},
                 {"rocm", "+cu", "NVIDIA's cards"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (strcmp(device, wrong[i].device) == 0 && strstr(f->versions[0], wrong[i].suffix) != NULL)
            return wrong[i].built_for;
    return NULL;
}

static void put_found(const found *f, char *out, size_t capacity) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < PACKAGES_MAX && f->needs->packages[i] != NULL; i++) {
        if (f->versions[i][0] == '\0') continue;
        kit_format(out + used, capacity - used, "%s%s %s", used > 0 ? ", " : "", f->needs->packages[i], f->versions[i]);
        for (; out[used] != '\0'; used++)
            if (out[used] == '_') out[used] = '-';
    }
}

static size_t put_missing(const found *f, const char *prefix, char *out, size_t capacity) {
    size_t used = 0, missing = 0;
    kit_format(out, capacity, "the runtime %.120s lacks ", prefix);
    used = strlen(out);
    for (size_t i = 0; i < f->needs->needed; i++) {
        if (f->versions[i][0] != '\0') continue;
        kit_format(out + used, capacity - used, "%s%s", missing++ > 0 ? ", " : "", f->needs->packages[i]);
        for (; out[used] != '\0'; used++)
            if (out[used] == '_') out[used] = '-';
    }
    if (missing == 0) out[0] = '\0';
    return missing;
}

bool kit_trainer_runtime(const kolm_host_v1_t *host, const kit_trainer *trainer, char out_runtime[KIT_TRAINER_RUNTIME],
                         char out_missing[KIT_TRAINER_MISSING], char out_remedy[KIT_TRAINER_MISSING]) {
    char python[TRAINER_PATH_MAX] = "", prefix[TRAINER_PATH_MAX], name[64];
    found f = {.needs = needs_of(trainer->device)};
    kolm_error_t error = KIT_ERROR_INIT;
    out_runtime[0] = out_missing[0] = out_remedy[0] = '\0';
    if (trainer_python(host, trainer, python, &error) != KOLM_OK) {
        kit_copy(out_missing, KIT_TRAINER_MISSING, error.text);
        kit_copy(out_remedy, KIT_TRAINER_MISSING, error.remedy);
        return false;
    }
    /* Links are not resolved: a virtual environment is where its link is. */
    kit_copy(prefix, sizeof prefix, python);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(prefix, '/');
        if (slash != NULL) *slash = '\0';
    }
    look_below(&f, prefix, "lib");
    look_below(&f, prefix, "lib64");
    put_found(&f, out_runtime, KIT_TRAINER_RUNTIME);
    size_t missing = put_missing(&f, prefix, out_missing, KIT_TRAINER_MISSING);
    if (missing > 0 && f.packages && is_closed(prefix)) {
        trainer_backend(trainer, name, sizeof name);
        kit_format(out_remedy, KIT_TRAINER_MISSING, "run `kolm compute setup %s`, or install that into the runtime",
                   name);
        return false;
    }
    out_missing[0] = '\0';
    const char *built_for = wrong_build(&f, trainer->device);
    if (built_for != NULL) {
        trainer_backend(trainer, name, sizeof name);
        kit_format(out_missing, KIT_TRAINER_MISSING, "the torch of its runtime (%s) was built for %s", f.versions[0],
                   built_for);
        kit_format(out_remedy, KIT_TRAINER_MISSING,
                   "run `kolm compute setup %s`, or install the right build into %.120s", name, prefix);
        return false;
    }
    if (missing > 0 || out_runtime[0] == '\0')
        kit_format(out_runtime, KIT_TRAINER_RUNTIME, "%.100s, versions unknown", python);
    return true;
}

int32_t kit_trainer_detected(const kolm_host_v1_t *host, const kit_trainer *trainer, const char *reason,
                             kolm_detect_result_t *out_result) {
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING], text[512];
    if (kit_trainer_runtime(host, trainer, runtime, missing, remedy))
        return kit_detected(out_result, KOLM_DETECT_AVAILABLE, reason, "", runtime);
    kit_format(text, sizeof text, "%s; %s", reason, missing);
    return kit_detected(out_result, KOLM_DETECT_ABSENT, text, remedy, runtime);
}
