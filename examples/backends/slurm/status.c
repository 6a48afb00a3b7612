/* SPDX-License-Identifier: Apache-2.0 */
/* The slot status: lists what is kept in the shared directory, and removes it. */
#include "slurm.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 16
#define NAME_DIGITS 32

typedef struct looking {
    const kolm_host_v1_t *host;
    const kolm_status_args_t *args;
    slurm_settings settings;
    uint64_t count;
} looking;

/* The disk usage of a tree, and its latest modification time. Symbolic links are not followed. */
static void measure(const char *path, int depth, uint64_t *bytes, time_t *newest) {
    struct stat info;
    if (lstat(path, &info) != 0) return;
    *bytes += (uint64_t)info.st_blocks * 512;
    if (info.st_mtime > *newest) *newest = info.st_mtime;
    DIR *dir = S_ISDIR(info.st_mode) && depth > 0 ? opendir(path) : NULL;
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char *inner = NULL;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            kit_path_join(path, entry->d_name, &inner, NULL) == KOLM_OK)
            measure(inner, depth - 1, bytes, newest);
        free(inner);
    }
    if (dir) closedir(dir);
}

/* The state of a place's job: true if the place is no longer needed. */
static bool is_idle(const looking *l, const slurm_place *place, char *note, size_t capacity) {
    slurm_job job = {.exit_code = 0};
    slurm_view view = SLURM_VIEW_AWAY;
    char said[100];
    const char *number = place->id.number;
    if (!number[0] && !place->name[0]) {
        (void)kit_copy(note, capacity,
                       slurm_place_has(place, "job.json") ? "kept of a job that has ended"
                                                          : "the checkpoint of a job that failed");
        return true;
    }
    if (!number[0]) {
        (void)kit_format(note, capacity, "called %s in Slurm, if it was submitted", place->name);
        return false;
    }
    if (l->args->allow_network && slurm_ask(&l->settings, &place->id, &job, &view, said, sizeof said, NULL) != KOLM_OK)
        view = SLURM_VIEW_AWAY;
    if (view == SLURM_VIEW_AWAY) {
        (void)kit_format(note, capacity, "Slurm job %s", number);
        return false;
    }
    (void)kit_format(note, capacity, "Slurm job %s: %s", number,
                     view == SLURM_VIEW_JOB ? job.state.name : "no longer known to Slurm");
    return view == SLURM_VIEW_FORGOTTEN || job.state.phase == SLURM_ENDED;
}

static void tell(looking *l, const char *name, const char *kind, uint32_t state, uint64_t bytes, uint64_t age,
                 const char *note) {
    const kolm_holding_t holding = {.struct_size = (uint32_t)sizeof holding,
                                    .state = state,
                                    .bytes = bytes,
                                    .age_seconds = age,
                                    .price_micro_usd_per_hour = 0,
                                    .place = l->settings.shared_dir,
                                    .kind = kind,
                                    .name = name,
                                    .note = note};
    l->host->holding(l->host->user, &holding);
    l->count++;
}

static void look_at(looking *l, const char *name) {
    slurm_place place = SLURM_NO_PLACE;
    uint64_t bytes = 0;
    time_t newest = 0, now = time(NULL);
    char note[200] = "a kolm follows its job";
    if (kit_path_join(l->settings.shared_dir, name, &place.dir, NULL) != KOLM_OK) return;
    bool mine = slurm_place_try(&place);
    bool idle = mine && is_idle(l, &place, note, sizeof note);
    const char *kind = !mine || place.id.number[0] || place.name[0] ? "job" : "files";
    measure(place.dir, DEPTH, &bytes, &newest);
    uint64_t age = now > newest ? (uint64_t)(now - newest) : 0;
    uint32_t state = idle ? KOLM_HOLDING_IDLE : KOLM_HOLDING_IN_USE;
    if (idle && l->args->prune && age >= l->args->older_seconds) {
        slurm_place_done(&place, false);
        if (access(place.dir, F_OK) != 0) state = KOLM_HOLDING_REMOVED;
    }
    tell(l, name, kind, state, bytes, age, note);
    slurm_place_free(&place);
}

static bool is_place(const char *name) {
    return strlen(name) == NAME_DIGITS && strspn(name, "0123456789abcdef") == NAME_DIGITS;
}

int32_t slurm_status(const kolm_host_v1_t *host, const kolm_status_args_t *args, kolm_status_result_t *out_result,
                     kolm_error_t *out_error) {
    looking l = {.host = host, .args = args};
    KIT_TRY(slurm_settings_read(host, &l.settings, out_error));
    DIR *dir = opendir(l.settings.shared_dir); /* none: nothing was ever submitted */
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        if (is_place(entry->d_name)) look_at(&l, entry->d_name);
    if (dir) closedir(dir);
    (void)kit_format(out_result->summary, sizeof out_result->summary, "%.200s", l.settings.shared_dir);
    slurm_settings_free(&l.settings);
    return KOLM_OK;
}
