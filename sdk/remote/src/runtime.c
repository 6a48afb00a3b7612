/* SPDX-License-Identifier: Apache-2.0 */
/* The Python environment of the trainer on a remote machine: chooses its lock, checks whether it exists, creates it. */
#include "internal.h"

#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include "kolm_runtime.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCK_MAX (4u << 20)
#define MARK "# kolm: "
#define REASON 200

/* ---- Locks: those of `kolm compute setup`, which docs/runtimes.md describes */

typedef struct lock {
    char *path;
    kit_buf text;
    char sha256[KIT_SHA256_HEX];
} lock;

static void lock_free(lock *l) {
    free(l->path);
    kit_buf_free(&l->text);
    *l = (lock){0};
}

/* The value of the first line "# kolm: KEY VALUE"; "" if there is none. */
static const char *field(const lock *l, const char *key, char out[REASON]) {
    size_t n = strlen(key);
    out[0] = '\0';
    for (const char *at = kit_buf_text(&l->text); at != NULL && *at != '\0'; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, MARK, strlen(MARK)) != 0) continue;
        const char *word = at + strlen(MARK);
        if (strncmp(word, key, n) != 0 || word[n] != ' ') continue;
        kit_format(out, REASON, "%.*s", (int)strcspn(word + n + 1, "\r\n"), word + n + 1);
        break;
    }
    return out;
}

static uint64_t number(const lock *l, const char *key) {
    char text[REASON];
    uint64_t value = 0;
    return kit_parse_u64(field(l, key, text), &value) ? value : 0;
}

/* True if word is among the words of the field, ignoring case, or the lock has no such field. */
static bool allows(const lock *l, const char *key, const char *word) {
    char list[REASON], *rest = NULL;
    if (field(l, key, list)[0] == '\0') return true;
    for (const char *one = strtok_r(list, " ,", &rest); one != NULL; one = strtok_r(NULL, " ,", &rest))
        if (strcasecmp(one, word) == 0) return true;
    return false;
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = "";
    return kit_json_get_string(object, key, &text) ? text : "";
}

/* "NVIDIA 550.54.14": 550. */
static uint64_t driver_of(const cJSON *card) {
    const char *text = text_of(card, "driver");
    text += strcspn(text, "0123456789");
    return strtoull(text, NULL, 10);
}

/* The trainer has a lock for each kind of device that its torch supports. */
static kit_status read_lock(const kit_ssh_job_remote *remote, const char *device, lock *out, kolm_error_t *err) {
    kit_buf path = {0};
    kit_buf_fmt(&path, "%s/locks/local-%s.txt", remote->settings.trainer, device);
    kit_status status = kit_buf_ok(&path, err);
    out->path = kit_buf_take(&path);
    if (status == KOLM_OK) status = kit_read_file(out->path, LOCK_MAX, &out->text, err);
    if (status == KOLM_OK) status = kit_sha256_bytes(kit_buf_text(&out->text), out->text.length, out->sha256, err);
    return status;
}

/* Stores in out why this lock does not fit that machine; "" if it fits. */
static void why_not(const lock *l, const cJSON *facts, const cJSON *card, char out[REASON]) {
    char text[REASON];
    uint64_t driver = number(l, "nvidia-driver");
    out[0] = '\0';
    if (field(l, "unavailable", text)[0] != '\0')
        kit_copy(out, REASON, text);
    else if (!allows(l, "system", text_of(facts, "system")) || !allows(l, "machine", text_of(facts, "machine")))
        kit_format(out, REASON, "there is none for %.60s on %.60s", text_of(facts, "system"),
                   text_of(facts, "machine"));
    else if (driver > driver_of(card))
        kit_format(out, REASON, "it needs the NVIDIA driver %u or newer, and that machine has %.60s", (unsigned)driver,
                   text_of(card, "driver"));
}

/* Chooses the lock for the first accelerator of the machine; else the one for CPUs, which then do the training. */
static kit_status choose_lock(const kit_ssh_job_remote *remote, cJSON *facts, lock *out, kolm_error_t *err) {
    static const char *const with_lock[] = {"cuda", "rocm", "mps"};
    const char *device = ssh_job_device(facts);
    const cJSON *card = cJSON_GetArrayItem(kit_json_get(facts, "gpus"), 0);
    char reason[REASON];
    for (size_t i = 0; i < sizeof with_lock / sizeof *with_lock; i++) {
        if (strcmp(device, with_lock[i]) != 0) continue;
        KIT_TRY(read_lock(remote, device, out, err));
        why_not(out, facts, card, reason);
        if (reason[0] == '\0') return KOLM_OK;
        ssh_job_say(remote, KOLM_LOG_WARNING,
                    "trains on its processors, because kolm has no Python environment for its GPU: ", reason);
        lock_free(out);
    }
    KIT_TRY(read_lock(remote, "cpu", out, err));
    if (strcmp(device, "cpu") != 0 && !kit_json_put_string(facts, "device", "cpu")) return kit_no_memory(err);
    why_not(out, facts, NULL, reason);
    if (reason[0] == '\0') return KOLM_OK;
    char remedy[200];
    kit_format(remedy, sizeof remedy,
               "name an interpreter there that has torch, transformers and peft: backends.%s.python",
               remote->settings.backend);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "kolm has no Python environment for %s: %s",
                    remote->settings.name, reason);
}

/* ---- Checking whether it exists */

/* Stores it as the python of facts if it is complete; *out_whole tells whether it is. */
static kit_status look_once(kit_ssh_job_remote *remote, const char *id, cJSON *facts, bool *out_whole,
                            kolm_error_t *err) {
    ssh_job_frame answer;
    cJSON *request = ssh_job_request("runtime");
    *out_whole = false;
    (void)kit_json_put_string(request, "runtime", id);
    KIT_TRY(ssh_job_ask(remote, request, &answer, err));
    kit_status status = KOLM_OK;
    cJSON *python = cJSON_DetachItemFromObjectCaseSensitive(answer.header, "python");
    if (kit_json_get_bool(answer.header, "whole", out_whole) && *out_whole && cJSON_IsObject(python)) {
        cJSON_DeleteItemFromObjectCaseSensitive(facts, "python");
        if (!kit_json_put(facts, "python", python)) status = kit_no_memory(err);
        python = NULL;
    }
    cJSON_Delete(python);
    ssh_job_frame_free(&answer);
    return status;
}

static kit_status look(kit_ssh_job_remote *remote, const char *id, cJSON *facts, bool *out_whole, kolm_error_t *err) {
    kit_status status = look_once(remote, id, facts, out_whole, err);
    while (status != KOLM_OK && status != KOLM_E_CANCELLED && remote->broken) {
        *err = (kolm_error_t)KIT_ERROR_INIT;
        KIT_TRY(ssh_job_connect(remote, true, err));
        status = look_once(remote, id, facts, out_whole, err);
    }
    return status;
}

/* ---- Creating it */

static kit_status add_text_file(const kit_ssh_job_remote *remote, ssh_job_files *files, const char *name,
                                const void *bytes, size_t length, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(kit_path_join(remote->host->scratch_dir, name, &path, err));
    kit_status status = kit_write_file(path, 0600, bytes, length, err);
    if (status == KOLM_OK) status = ssh_job_files_add(files, name, path, 0, UINT64_MAX, false, err);
    free(path);
    return status;
}

static int is_wheel(const struct dirent *entry) {
    size_t n = strlen(entry->d_name);
    return entry->d_name[0] != '.' && n > 4 && strcmp(entry->d_name + n - 4, ".whl") == 0;
}

/* Adds the wheels of a local directory that the lock pins; the names of the others go to `others`. Like programs, they
 * are linked there, not copied. */
static kit_status add_wheels(const kit_ssh_job_remote *remote, const lock *l, ssh_job_files *files, kit_buf *others,
                             kolm_error_t *err) {
    struct dirent **names = NULL;
    const char *directory = remote->settings.wheels;
    int count = scandir(directory, &names, is_wheel, alphasort);
    kit_status status = KOLM_OK;
    if (count < 0) status = kit_fail_errno(err, errno, "cannot read the directory of wheels %s", directory);
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        kit_buf name = {0};
        kit_buf_fmt(&name, "wheels/%s", names[i]->d_name);
        if (status == KOLM_OK) status = kit_buf_ok(&name, err);
        if (status == KOLM_OK) status = kit_path_join(directory, names[i]->d_name, &path, err);
        if (status == KOLM_OK) status = ssh_job_files_add(files, name.data, path, 0, UINT64_MAX, true, err);
        if (status == KOLM_OK && strstr(kit_buf_text(&l->text), files->items[files->count - 1].sha256) == NULL) {
            ssh_job_files_drop_last(files);
            kit_buf_fmt(others, "%s\n", names[i]->d_name);
        }
        kit_buf_free(&name);
        free(path);
        free(names[i]);
    }
    free(names);
    return status == KOLM_OK ? kit_buf_ok(others, err) : status;
}

static const char *said(const char *setting) {
    return setting != NULL ? setting : "";
}

static bool stays_offline(const kit_ssh_job_settings *s) {
    return s->no_fetch || said(s->wheels)[0] != '\0' || said(s->wheels_there)[0] != '\0';
}

static bool add_word(cJSON *command, cJSON *word, const char *key, const char *value) {
    bool good = key == NULL ? word != NULL : kit_json_put_string(word, key, value);
    if (good && cJSON_AddItemToArray(command, word)) return true;
    cJSON_Delete(word);
    return false;
}

static kit_status put_command(const kit_ssh_job_remote *remote, const lock *l, const cJSON *facts, ssh_job_program *out,
                              kolm_error_t *err) {
    const kit_ssh_job_settings *s = &remote->settings;
    const char *mode = stays_offline(s) ? "keep" : "fetch", *there = said(s->wheels_there);
    uint64_t disk = number(l, "disk-bytes"), download = number(l, "download-bytes");
    cJSON *c = out->command = cJSON_CreateArray(), *program = cJSON_CreateObject();
    bool good = program != NULL && kit_json_put_string(program, "name", "kolm_runtime.py") &&
                add_word(c, cJSON_CreateString(text_of(kit_json_get(facts, "python"), "path")), NULL, NULL) &&
                add_word(c, cJSON_CreateString("-I"), NULL, NULL) && add_word(c, cJSON_CreateString("-B"), NULL, NULL);
    if (good)
        good = add_word(c, program, "tree", out->tree);
    else
        cJSON_Delete(program);
    good = good && add_word(c, cJSON_CreateObject(), "runtime", l->sha256) &&
           add_word(c, cJSON_CreateObject(), "tree", out->tree) && add_word(c, cJSON_CreateString(mode), NULL, NULL) &&
           add_word(c, cJSON_CreateString(there), NULL, NULL);
    out->environment = cJSON_CreateObject();
    good = good && kit_json_put_string(out->environment, "KOLM_LOCK_FILE", l->path) &&
           kit_json_put_string(out->environment, "KOLM_BACKEND", s->backend) &&
           (said(s->index_url)[0] == '\0' || kit_json_put_string(out->environment, "KOLM_INDEX_URL", s->index_url));
    out->room = (disk > 0 ? disk : 4 * download) + (stays_offline(s) ? 0 : download);
    kit_format(out->identity, sizeof out->identity, "%s %s %s %.300s", out->tree, l->sha256, mode, there);
    kit_copy(out->name, sizeof out->name, "pip, for a Python environment");
    return good ? KOLM_OK : kit_no_memory(err);
}

static kit_status make(kit_ssh_job_remote *remote, const lock *l, const cJSON *facts, kolm_error_t *err) {
    ssh_job_program program = {0};
    kit_buf others = {0};
    kit_status status = add_text_file(remote, &program.files, "kolm_runtime.py", kolm_runtime_program,
                                      sizeof kolm_runtime_program, err);
    if (status == KOLM_OK) status = ssh_job_files_add(&program.files, "lock.txt", l->path, 0, UINT64_MAX, false, err);
    if (status == KOLM_OK && said(remote->settings.wheels)[0] != '\0')
        status = add_wheels(remote, l, &program.files, &others, err);
    if (status == KOLM_OK)
        status = add_text_file(remote, &program.files, "others.txt", kit_buf_text(&others), others.length, err);
    if (status == KOLM_OK) status = ssh_job_files_digest(&program.files, "runtime", program.tree, err);
    if (status == KOLM_OK) status = put_command(remote, l, facts, &program, err);
    if (status == KOLM_OK) status = ssh_job_errand(remote, "a Python environment", &program, err);
    kit_buf_free(&others);
    ssh_job_program_free(&program);
    return status;
}

/* ---- The whole procedure */

static void put_size(const lock *l, char *out, size_t capacity) {
    kit_format(out, capacity, "about %.0f MB to download and %.1f GB of disk",
               (double)number(l, "download-bytes") / 1e6, (double)number(l, "disk-bytes") / 1e9);
}

/* Nothing is installed on a machine without permission. */
static kit_status refuse(const kit_ssh_job_remote *remote, const lock *l, const char *missing, kolm_error_t *err) {
    char remedy[512], size[96];
    put_size(l, size, sizeof size);
    kit_format(remedy, sizeof remedy,
               "let kolm make an environment there, with \"setup\": true in config.json (backends.%s; %s), then `kolm "
               "compute test %s` makes it; or name a python there that has them: backends.%s.python",
               remote->settings.backend, size, remote->settings.backend, remote->settings.backend);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "%s", missing);
}

kit_status ssh_job_runtime(kit_ssh_job_remote *remote, cJSON *facts, const char *missing, kolm_error_t *err) {
    lock l = {0};
    bool whole = false;
    kit_status status = choose_lock(remote, facts, &l, err);
    if (status == KOLM_OK) status = look(remote, l.sha256, facts, &whole, err);
    if (status == KOLM_OK && !whole && !remote->settings.setup) status = refuse(remote, &l, missing, err);
    if (status == KOLM_OK && !whole) {
        status = make(remote, &l, facts, err);
        if (status == KOLM_OK) status = look(remote, l.sha256, facts, &whole, err);
        if (status == KOLM_OK && !whole)
            status = kit_fail(err, KOLM_E_ABORTED, "run the same command again",
                              "the Python environment of %s disappeared immediately", remote->settings.name);
    }
    lock_free(&l);
    return status;
}
