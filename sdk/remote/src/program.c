/* SPDX-License-Identifier: Apache-2.0 */
/* Chooses the program that does the work on a remote machine: the engine, an installed kolm, or the trainer. */
#include "internal.h"

#include "kolm/kit/child.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ENGINE "kolm-linear"
#define LISTING_MAX 65536
#define LISTING_MS 5000

void ssh_job_program_free(ssh_job_program *program) {
    cJSON_Delete(program->command);
    cJSON_Delete(program->environment);
    ssh_job_files_free(&program->files);
    *program = (ssh_job_program){0};
}

/* ---- The program to send for the recipe linear */

static bool usable(const char *directory, const char *relative, char *out, size_t capacity) {
    return kit_format(out, capacity, "%s/%s", directory, relative) && access(out, X_OK) == 0;
}

/* In a build tree this program is two directories below the root, and the engine in the directory of a plugin. */
static bool find_built(const char *self, char *out, size_t capacity) {
    char plugins[4096], relative[300];
    if (!kit_format(plugins, sizeof plugins, "%s/../../plugins", self)) return false;
    DIR *directory = opendir(plugins);
    const struct dirent *entry;
    bool found = false;
    while (!found && directory != NULL && (entry = readdir(directory)) != NULL)
        found = entry->d_name[0] != '.' && kit_format(relative, sizeof relative, "%s/" ENGINE, entry->d_name) &&
                usable(plugins, relative, out, capacity);
    if (directory != NULL) closedir(directory);
    return found;
}

bool kit_ssh_job_engine(char *out_path, size_t capacity) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash != NULL) *slash = '\0';
    if (slash != NULL && (usable(self, ENGINE, out_path, capacity) || find_built(self, out_path, capacity)))
        return true;
    out_path[0] = '\0';
    return false;
}

/* ---- Words of a command: texts, {"job": name}, {"tree": id, "name": name} */

static bool add_word(cJSON *command, cJSON *word) {
    if (word != NULL && cJSON_AddItemToArray(command, word)) return true;
    cJSON_Delete(word);
    return false;
}

static bool add_text(cJSON *command, const char *text) {
    return add_word(command, cJSON_CreateString(text));
}

static bool add_job(cJSON *command, const char *name) {
    cJSON *word = cJSON_CreateObject();
    if (!kit_json_put_string(word, "job", name)) {
        cJSON_Delete(word);
        word = NULL;
    }
    return add_word(command, word);
}

static bool add_tree(cJSON *command, const char *tree, const char *name) {
    cJSON *word = cJSON_CreateObject();
    if (!kit_json_put_string(word, "tree", tree) || (name != NULL && !kit_json_put_string(word, "name", name))) {
        cJSON_Delete(word);
        word = NULL;
    }
    return add_word(command, word);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static const char *said(const char *setting) {
    return setting != NULL ? setting : "";
}

static const char *fact(const cJSON *facts, const char *key) {
    const char *text = "";
    return kit_json_get_string(facts, key, &text) ? text : "";
}

static void put_threads(const cJSON *facts, char out[24]) {
    uint64_t cores = 0;
    if (!kit_json_get_u64(facts, "cores", &cores) || cores < 1) cores = 1;
    kit_format(out, 24, "%u", cores > 1024 ? 1024u : (unsigned)cores);
}

/* ---- The engine */

typedef struct listening {
    kit_buf *out;
    const kolm_host_v1_t *host;
} listening;

static void take_listing(void *user, const char *bytes, size_t length) {
    const listening *l = user;
    if (l->out->length < LISTING_MAX) kit_buf_add(l->out, bytes, length);
}

static kit_child_stop may_go_on(void *user, bool out_ended) {
    const listening *l = user;
    (void)out_ended;
    return l->host->cancelled(l->host->user) != 0 ? KIT_CHILD_CANCELLED : KIT_CHILD_GOES_ON;
}

/* Runs `ENGINE --files`, which prints itself, its libraries and its loader. */
static kit_status list_engine(const kolm_host_v1_t *host, const char *engine, kit_buf *out, kolm_error_t *err) {
    const char *const argv[] = {ENGINE, "--files", NULL}, *const envp[] = {NULL};
    listening l = {.out = out, .host = host};
    const kit_child child = {.path = engine,
                             .argv = argv,
                             .envp = envp,
                             .user = &l,
                             .out = take_listing,
                             .stop = may_go_on,
                             .timeout_ms = LISTING_MS};
    kit_child_end end;
    KIT_TRY(kit_child_run(&child, &end, err));
    if (end.stop == KIT_CHILD_CANCELLED) return kit_fail(err, KOLM_E_CANCELLED, "", "stopped");
    if (end.exit_code != 0 || out->length == 0 || out->failed)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install kolm again",
                        "%s does not list the files that it consists of", engine);
    return KOLM_OK;
}

/* Recognises the loader by its name: ld-linux-x86-64.so.2, ld-linux-aarch64.so.1, ld-musl-x86_64.so.1. */
static bool is_loader(const char *name) {
    return strncmp(name, "ld-", 3) == 0 || strncmp(name, "ld.so", 5) == 0 || strncmp(name, "ld64.so", 7) == 0;
}

static kit_status use_engine(const kit_ssh_job_remote *remote, const cJSON *facts, ssh_job_program *out,
                             kolm_error_t *err) {
    kit_buf listing = {0};
    char threads[24], loader[128] = "";
    char *rest = NULL;
    kit_status status = list_engine(remote->host, remote->settings.engine, &listing, err);
    for (char *line = status == KOLM_OK ? strtok_r(listing.data, "\n", &rest) : NULL; line != NULL && status == KOLM_OK;
         line = strtok_r(NULL, "\n", &rest)) {
        if (is_loader(base_name(line))) kit_copy(loader, sizeof loader, base_name(line));
        status = ssh_job_files_add(&out->files, base_name(line), line, 0, UINT64_MAX, true, err);
    }
    kit_buf_free(&listing);
    if (status == KOLM_OK && loader[0] == '\0')
        status = kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install kolm again", "%s has no loader",
                          remote->settings.engine);
    if (status == KOLM_OK) status = ssh_job_files_digest(&out->files, "engine", out->tree, err);
    if (status != KOLM_OK) return status;
    put_threads(facts, threads);
    cJSON *c = out->command = cJSON_CreateArray();
    bool good = add_tree(c, out->tree, loader) && add_text(c, "--library-path") && add_tree(c, out->tree, NULL) &&
                add_tree(c, out->tree, base_name(remote->settings.engine)) && add_text(c, "--threads") &&
                add_text(c, threads) && add_job(c, "");
    kit_copy(out->identity, sizeof out->identity, out->tree);
    kit_copy(out->name, sizeof out->name, "kolm's engine");
    return good ? KOLM_OK : kit_no_memory(err);
}

static kit_status use_kolm(const cJSON *facts, const char *path, ssh_job_program *out, kolm_error_t *err) {
    char threads[24];
    put_threads(facts, threads);
    cJSON *c = out->command = cJSON_CreateArray();
    bool good = add_text(c, path) && add_text(c, "job") && add_text(c, "run") && add_text(c, "--threads") &&
                add_text(c, threads) && add_job(c, "");
    const char *version = fact(kit_json_get(facts, "kolm"), "version");
    kit_format(out->identity, sizeof out->identity, "kolm %s %s", version, path);
    kit_format(out->name, sizeof out->name, "kolm %s there", version);
    return good ? KOLM_OK : kit_no_memory(err);
}

static kit_status choose_linear(const kit_ssh_job_remote *remote, const cJSON *facts, ssh_job_program *out,
                                kolm_error_t *err) {
    struct utsname here;
    const char *wanted = said(remote->settings.kolm), *engine = said(remote->settings.engine);
    const char *system = fact(facts, "system"), *machine = fact(facts, "machine");
    const char *version = fact(kit_json_get(facts, "kolm"), "version");
    if (wanted[0] != '\0' && version[0] == '\0')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "correct its path in config.json, or omit it",
                        "%s has no kolm that runs at %s", remote->settings.name, wanted);
    if (wanted[0] != '\0') return use_kolm(facts, wanted, out, err);
    bool same = uname(&here) == 0 && strcmp(here.sysname, system) == 0 && strcmp(here.machine, machine) == 0;
    if (same && engine[0] != '\0' && access(engine, X_OK) == 0) return use_engine(remote, facts, out, err);
    if (strcmp(version, KOLM_VERSION) == 0) return use_kolm(facts, fact(kit_json_get(facts, "kolm"), "path"), out, err);
    if (same)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                        "install the package that has " ENGINE " here, or kolm " KOLM_VERSION " there",
                        ENGINE ", which would be sent to %s, is not installed here", remote->settings.name);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install kolm " KOLM_VERSION " there",
                    "%s is a %s %s machine, so the engine of this machine cannot run there, and it has %s%s",
                    remote->settings.name, system, machine, version[0] != '\0' ? "kolm " : "no kolm", version);
}

/* ---- The trainer */

const char *ssh_job_device(const cJSON *facts) {
    const cJSON *first = cJSON_GetArrayItem(kit_json_get(facts, "gpus"), 0);
    const char *kind = fact(first, "kind"), *decided = fact(facts, "device");
    if (decided[0] != '\0') return decided;
    if (kind[0] != '\0') return kind;
    return strcmp(fact(facts, "system"), "Darwin") == 0 && strcmp(fact(facts, "machine"), "arm64") == 0 ? "mps" : "cpu";
}

/* The same conditions as for a trainer on this machine: no downloads, no telemetry. */
static cJSON *trainer_environment(const char *threads) {
    static const char *const always[][2] = {
        {"LANG", "C.UTF-8"},          {"HF_HUB_DISABLE_TELEMETRY", "1"},
        {"HF_HUB_OFFLINE", "1"},      {"TRANSFORMERS_OFFLINE", "1"},
        {"HF_DATASETS_OFFLINE", "1"}, {"DO_NOT_TRACK", "1"},
        {"WANDB_DISABLED", "true"},   {"WANDB_MODE", "disabled"},
        {"PYTHONHASHSEED", "0"},      {"UNSLOTH_DISABLE_STATISTICS", "1"},
        {"PYTHONUNBUFFERED", "1"},    {"TOKENIZERS_PARALLELISM", "false"},
        {"PYTHONSAFEPATH", "1"},
    };
    cJSON *env = cJSON_CreateObject();
    bool good = env != NULL;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        good = good && kit_json_put_string(env, always[i][0], always[i][1]);
    good = good && kit_json_put_string(env, "OMP_NUM_THREADS", threads) &&
           kit_json_put_string(env, "MKL_NUM_THREADS", threads) &&
           kit_json_put_string(env, "OPENBLAS_NUM_THREADS", threads);
    if (good) return env;
    cJSON_Delete(env);
    return NULL;
}

kit_status kit_ssh_job_python(kit_ssh_job_remote *remote, cJSON *facts, kolm_error_t *err) {
    static const char *const needed[] = {"torch", "transformers", "peft"};
    const cJSON *python = kit_json_get(facts, "python"), *packages = kit_json_get(python, "packages");
    char missing[96] = "", text[512], remedy[256];
    bool gone = false;
    if (said(remote->settings.trainer)[0] == '\0')
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "reinstall kolm, which includes the trainer",
                        "kolm's trainer is not installed here");
    if (kit_json_get_bool(python, "missing", &gone) && gone)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "correct its path in config.json", "%s has no %s",
                        remote->settings.name, fact(python, "path"));
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        size_t used = strlen(missing);
        if (kit_json_get(packages, needed[i]) == NULL)
            kit_format(missing + used, sizeof missing - used, "%s%s", used > 0 ? ", " : "", needed[i]);
    }
    if (missing[0] == '\0') return KOLM_OK;
    kit_format(text, sizeof text, "%.200s of %.100s lacks %s, which the recipe lora needs", fact(python, "path"),
               remote->settings.name, missing);
    if (said(remote->settings.python)[0] == '\0') return ssh_job_runtime(remote, facts, text, err);
    kit_format(remedy, sizeof remedy, "install them there, or remove backends.%s.python from config.json",
               remote->settings.backend);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s", text);
}

static kit_status choose_lora(kit_ssh_job_remote *remote, const kit_job *job, cJSON *facts, ssh_job_program *out,
                              kolm_error_t *err) {
    bool trains = strcmp(job->kind, "train") == 0;
    char threads[24];
    KIT_TRY(kit_ssh_job_python(remote, facts, err));
    const cJSON *python = kit_json_get(facts, "python"), *packages = kit_json_get(python, "packages");
    KIT_TRY(ssh_job_files_add_tree(&out->files, "", remote->settings.trainer, 4, err));
    KIT_TRY(ssh_job_files_digest(&out->files, "trainer", out->tree, err));
    put_threads(facts, threads);
    out->environment = trainer_environment(threads);
    cJSON *c = out->command = cJSON_CreateArray();
    bool good = out->environment != NULL && add_text(c, fact(python, "path")) && add_text(c, "-s") &&
                add_text(c, "-B") && add_tree(c, out->tree, NULL) && add_text(c, trains ? "train" : "infer") &&
                add_text(c, "--job") && add_job(c, "") && add_text(c, "--device") &&
                add_text(c, ssh_job_device(facts)) && add_text(c, "--threads") && add_text(c, threads);
    if (!trains)
        good = good && add_text(c, "--input") && add_job(c, "eval.jsonl") && add_text(c, "--output") &&
               add_job(c, "predictions.jsonl");
    kit_format(out->identity, sizeof out->identity, "%s %s %s torch %s transformers %s peft %s", out->tree,
               fact(python, "path"), ssh_job_device(facts), fact(packages, "torch"), fact(packages, "transformers"),
               fact(packages, "peft"));
    kit_format(out->name, sizeof out->name, "torch %s on %s", fact(packages, "torch"), ssh_job_device(facts));
    return good ? KOLM_OK : kit_no_memory(err);
}

/* An infer job of a lora model names that recipe, or contains a file that the trainer writes. */
static bool is_lora(const kit_job *job) {
    const kit_job_model_file *file;
    return strcmp(job->recipe, "lora") == 0 || kit_job_model(job, "kolm_trainer.json", &file, NULL) == KOLM_OK;
}

kit_status ssh_job_program_choose(kit_ssh_job_remote *remote, const kit_job *job, cJSON *facts,
                                  ssh_job_program *out_program, kolm_error_t *err) {
    *out_program = (ssh_job_program){0};
    if (is_lora(job)) return choose_lora(remote, job, facts, out_program, err);
    if (strcmp(job->recipe, "linear") == 0) return choose_linear(remote, facts, out_program, err);
    return kit_fail(err, KOLM_E_UNIMPLEMENTED, "use --recipe linear or lora",
                    "%s supports the recipes linear and lora, not %s", remote->settings.backend, job->recipe);
}
