/* SPDX-License-Identifier: Apache-2.0 */
/* Turns directories into rows: one per name found, valid or not. */
#include "host/scan.h"

#include "host/each.h"
#include "host/row.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kit_status note(host_registry *registry, kolm_error_t *err, const char *text, const char *path,
                       const char *more) KIT_MUST_USE;
static kit_status note(host_registry *registry, kolm_error_t *err, const char *text, const char *path,
                       const char *more) {
    kit_buf line = {0};
    kit_buf_escaped(&line, path, strlen(path));
    kit_buf_fmt(&line, " %s%s%s", text, *more ? ": " : "", more);
    host_note *grown = realloc(registry->notes, (registry->note_count + 1) * sizeof *grown);
    if (grown) registry->notes = grown;
    char *taken = grown ? kit_buf_take(&line) : NULL;
    kit_buf_free(&line);
    if (!taken) return kit_no_memory(err);
    registry->notes[registry->note_count++].text = taken;
    return KOLM_OK;
}

/* ---- One row */
static void row_free(host_backend *row) {
    host_plugin_free(row->bytes); /* first: a thread that reads the plugin in advance uses the row */
    free(row->name);
    free(row->stem);
    free(row->directory);
    free(row->plugin_path);
    free(row->manifest_path);
    host_libs_free(&row->libs);
    free(row->instead);
    host_manifest_free(row->manifest);
}

/* Inserts the row after all rows of a smaller or equal name. */
static kit_status insert_row(host_registry *registry, host_backend *row, kolm_error_t *err) {
    host_backend *grown = registry->rows;
    if ((registry->count & (registry->count - 1)) == 0) { /* 0 and every power of two: the room is doubled */
        grown = realloc(grown, (registry->count > 0 ? 2 * registry->count : 16) * sizeof *grown);
        if (!grown) return kit_no_memory(err);
        registry->rows = grown;
    }
    size_t at = registry->count;
    while (at > 0 && strcmp(grown[at - 1].name, row->name) > 0)
        at--;
    memmove(grown + at + 1, grown + at, (registry->count - at) * sizeof *grown);
    grown[at] = *row;
    registry->count++;
    return KOLM_OK;
}

/* Applies the row's section of config.json, or refuses the row. */
static void take_config(const host_scan_options *options, host_backend *row, kolm_error_t *why) {
    kit_status status = host_manifest_override(row->manifest, &options->config, why);
    if (status == KOLM_OK) status = host_manifest_check_settings(row->manifest, &options->config, why);
    if (status == KOLM_OK) return;
    row->spare = false;
    if (row->state != HOST_ROW_OK) return;
    row->state = HOST_ROW_REFUSED;
    row->rule = HOST_RULE_SETTINGS;
}

static void stands_before(const host_backend *first, host_backend *row) {
    (void)kit_fail(&row->why, KOLM_E_ALREADY_EXISTS, "remove the unwanted one",
                   "%s takes precedence: a file without a version is used first, then the newest version", first->stem);
}

/* Another file of this name came first; in the same directory only as another version. */
static void yield_to(host_backend *first, host_backend *row) {
    bool versions = (first->version || row->version) && strcmp(first->directory, row->directory) == 0;
    /* A row refused for itself, not for its section of config.json, does not take the name. */
    if (versions && first->state == HOST_ROW_REFUSED && first->rule < HOST_RULE_ORDER && row->state == HOST_ROW_OK) {
        first->passed_over = true;
        return;
    }
    if (versions && row->state == HOST_ROW_REFUSED) { /* its own error is more informative than its position */
        row->passed_over = true;
        return;
    }
    row->spare = versions && row->state == HOST_ROW_OK;
    row->state = HOST_ROW_SHADOWED;
    row->rule = HOST_RULE_ORDER;
    if (versions)
        stands_before(first, row);
    else
        (void)kit_fail(&row->why, KOLM_E_ALREADY_EXISTS,
                       "remove one of the two, or change the order of KOLM_BACKEND_PATH",
                       "hidden by %s in %s, which is searched first", first->name, first->directory);
}

/* "acme" and "1.2.0" of "acme-1.2.0"; a stem without a name is kept unsplit. */
static kit_status name_row(const char *stem, host_backend *row, kolm_error_t *err) {
    kit_buf shown = {0}, name = {0};
    if (host_name_ok(stem) && !host_stem_version(stem)) {
        KIT_TRY(kit_strdup(stem, &row->stem, err));
        return kit_strdup(stem, &row->name, err);
    }
    kit_buf_escaped(&shown, stem, strlen(stem));
    kit_buf_escaped(&name, stem, host_stem_name(stem));
    row->stem = kit_buf_take(&shown);
    row->name = kit_buf_take(&name);
    kit_buf_free(&shown);
    kit_buf_free(&name);
    if (!row->name || !row->stem) return kit_no_memory(err);
    row->version = host_stem_version(row->stem);
    return KOLM_OK;
}

static host_backend *in_front(host_registry *registry, const char *name) {
    const host_backend *found = host_find(registry, name);
    return found ? &registry->rows[found - registry->rows] : NULL;
}

/* Rows of several stems, read in parallel from their files, each with its status. */
typedef struct batch {
    const host_directory *dir;
    char *const *stems;
    struct read_row {
        host_backend row;
        kit_status made; /* not OK: out of memory, and there is no row */
        kit_status filled;
    } * rows;
} batch;

static void read_row(void *user, size_t i) {
    batch *b = user;
    struct read_row *one = &b->rows[i];
    one->row = (host_backend){.origin = b->dir->origin, .why = KIT_ERROR_INIT};
    one->made = name_row(b->stems[i], &one->row, NULL);
    if (one->made == KOLM_OK) one->made = kit_strdup(b->dir->path, &one->row.directory, NULL);
    if (one->made == KOLM_OK) one->made = host_plugin_new(&one->row.bytes, NULL);
    if (one->made == KOLM_OK) one->filled = host_row_fill(b->dir, b->stems[i], &one->row);
}

static kit_status admit_row(const host_scan_options *options, host_backend *row) {
    if (options->admit) KIT_TRY(options->admit(options->admit_user, row, &row->why));
    row->rule = HOST_RULE_NONE;
    return KOLM_OK;
}

/* Takes ownership of the row. */
static kit_status add_row(host_registry *registry, const host_directory *dir, const struct read_row *read,
                          kolm_error_t *err) {
    host_backend row = read->row;
    kit_status status = read->made == KOLM_OK ? KOLM_OK : kit_no_memory(err);
    if (status == KOLM_OK && (read->filled != KOLM_OK || admit_row(dir->options, &row) != KOLM_OK)) {
        row.state = HOST_ROW_REFUSED;
        if (row.why.code == KOLM_E_RESOURCE_EXHAUSTED) status = kit_no_memory(err);
        if (!row.why.remedy[0])
            kit_copy(row.why.remedy, sizeof row.why.remedy, "install it again, or remove what is left of it");
    }
    host_backend *first = status == KOLM_OK ? in_front(registry, row.name) : NULL;
    if (first) yield_to(first, &row);
    if (row.spare && !(row.instead = calloc(1, sizeof *row.instead))) status = kit_no_memory(err);
    if (row.instead) row.instead->struct_size = (uint32_t)sizeof *row.instead;
    row.spare = row.spare && row.instead;
    kolm_error_t *why = row.spare ? row.instead : &row.why;
    if (status == KOLM_OK && (row.state == HOST_ROW_OK || row.spare)) take_config(dir->options, &row, why);
    if (row.state == HOST_ROW_OK || row.spare)
        row.granted = !dir->options->grant || dir->options->grant(dir->options->grant_user, &row, why) == KOLM_OK;
    bool refused = row.state == HOST_ROW_REFUSED || ((row.state == HOST_ROW_OK || row.spare) && !row.granted);
    if (status == KOLM_OK && refused && why->code == KOLM_E_RESOURCE_EXHAUSTED) status = kit_no_memory(err);
    if (status == KOLM_OK) status = insert_row(registry, &row, err);
    if (status != KOLM_OK) row_free(&row);
    return status;
}

/* ---- One directory */
#define BATCH_MAX 512

static kit_status add_batch(host_registry *registry, const host_directory *dir, char *const *stems, size_t count,
                            kolm_error_t *err) {
    batch b = {.dir = dir, .stems = stems, .rows = calloc(count > 0 ? count : 1, sizeof *b.rows)};
    if (!b.rows) return kit_no_memory(err);
    host_each(count, read_row, &b);
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < count; i++) {
        if (status == KOLM_OK)
            status = add_row(registry, dir, &b.rows[i], err);
        else
            row_free(&b.rows[i].row);
    }
    free(b.rows);
    return status;
}

static kit_status add_rows(host_registry *registry, host_directory *dir, const host_names *names, kolm_error_t *err) {
    kit_status status = KOLM_OK;
    bool full = false;
    dir->names = names;
    for (size_t i = 0, count; status == KOLM_OK && i < names->count && !full; i += count) {
        const size_t room = HOST_ROWS_MAX - registry->count;
        count = dir->options->only ? 1 : names->count - i < BATCH_MAX ? names->count - i : BATCH_MAX;
        if (dir->options->only && strcmp(names->at[i], dir->options->only) != 0) continue;
        full = count > room;
        if (full) count = room;
        status = add_batch(registry, dir, names->at + i, count, err);
    }
    if (status == KOLM_OK && (full || names->cut))
        status = note(registry, err, "contains more files than kolm examines", dir->path, "");
    return status;
}

static kit_status add_searched(host_registry *registry, const host_place *place, kolm_error_t *err) {
    host_searched *grown = realloc(registry->searched, (registry->searched_count + 1) * sizeof *grown);
    if (!grown) return kit_no_memory(err);
    registry->searched = grown;
    host_searched *one = &grown[registry->searched_count];
    *one = (host_searched){.origin = place->origin, .why = KIT_ERROR_INIT};
    KIT_TRY(kit_strdup(place->path, &one->path, err));
    registry->searched_count++;
    return KOLM_OK;
}

static void searched_free(host_searched *one) {
    free(one->path);
    free(one->directory);
}

/* An earlier search entry for this directory, under any name; NULL: none. */
static const host_searched *searched_as(const host_registry *registry, const char *real) {
    for (size_t i = 0; i + 1 < registry->searched_count; i++) {
        const host_searched *one = &registry->searched[i];
        if (one->searched && one->directory && strcmp(one->directory, real) == 0) return one;
    }
    return NULL;
}

/* Missing or inaccessible is an answer; a disk error or lack of memory is not. */
static bool is_no_answer(kit_status status) {
    return status == KOLM_E_UNKNOWN || status == KOLM_E_RESOURCE_EXHAUSTED;
}

/* Continuing without this directory could use a backend that one in it hides. */
static kit_status unknown(const host_searched *seen, kolm_error_t *err) {
    return kit_fail(err, seen->why.code, "fix that, or remove the directory from KOLM_BACKEND_PATH",
                    "cannot list the backends: %s: %s", seen->path, seen->why.text);
}

/* Notes why a directory is not searched; a missing user directory is normal. */
static kit_status skip(host_registry *registry, const host_place *place, const char *path, kolm_error_t *err) {
    const host_searched *last = &registry->searched[registry->searched_count - 1];
    if (place->origin == HOST_ORIGIN_USER && last->why.code == KOLM_E_NOT_FOUND) return KOLM_OK;
    return note(registry, err, "is not searched", path, last->why.text);
}

static kit_status scan_directory(host_registry *registry, const host_place *place, const host_scan_options *options,
                                 kolm_error_t *err) {
    KIT_TRY(add_searched(registry, place, err));
    host_searched *seen = &registry->searched[registry->searched_count - 1];
    kit_status trusted = host_trust_directory(place->path, &seen->directory, &seen->why);
    if (is_no_answer(trusted)) return unknown(seen, err);
    if (trusted == KOLM_E_NOT_FOUND || trusted == KOLM_E_INVALID_ARGUMENT)
        return skip(registry, place, place->path, err);
    if (!seen->directory) seen->directory = realpath(place->path, NULL); /* not trusted: its rows are only shown */
    const host_searched *before = seen->directory ? searched_as(registry, seen->directory) : NULL;
    if (before) { /* it would hide itself */
        (void)kit_fail(&seen->why, KOLM_E_ALREADY_EXISTS, "", "it is the same directory as %s", before->path);
        return KOLM_OK;
    }
    host_directory dir = {
        .path = seen->directory ? seen->directory : place->path, .origin = place->origin, .options = options};
    if (trusted != KOLM_OK) dir.distrust = &seen->why;
    DIR *stream = opendir(dir.path);
    kit_status status;
    if (!stream) {
        status = kit_fail_errno(&seen->why, errno, "cannot read it");
        status = is_no_answer(status) ? unknown(seen, err) : skip(registry, place, dir.path, err);
    } else {
        dir.fd = dirfd(stream);
        seen->searched = true;
        host_names names = {0};
        status = host_names_read(stream, &names, &seen->why);
        status = status == KOLM_OK ? add_rows(registry, &dir, &names, err) : unknown(seen, err);
        host_names_free(&names);
        closedir(stream);
    }
    return status;
}

/* ---- All of them */
static kit_status add_environment(host_places *places, host_registry *registry, kolm_error_t *err) {
    const char *at = secure_getenv("KOLM_BACKEND_PATH");
    while (at && *at) {
        size_t n = strcspn(at, ":");
        char *one = n > 0 ? strndup(at, n) : NULL;
        if (n > 0 && !one) return kit_no_memory(err);
        kit_status status = KOLM_OK;
        if (one && one[0] == '/')
            status = host_places_add(places, one, HOST_ORIGIN_PATH, err);
        else if (one)
            status = note(registry, err, "is in KOLM_BACKEND_PATH and not absolute: it is not searched", one, "");
        free(one);
        if (status != KOLM_OK) return status;
        at += n + (at[n] == ':');
    }
    return KOLM_OK;
}

static kit_status collect_places(const host_scan_options *options, host_registry *registry, host_places *places,
                                 kolm_error_t *err) {
    if (options->dirs) {
        for (size_t i = 0; i < options->dir_count; i++)
            KIT_TRY(host_places_add(places, options->dirs[i], HOST_ORIGIN_PATH, err));
        return options->program ? kit_strdup(options->program, &places->program, err) : KOLM_OK;
    }
    KIT_TRY(add_environment(places, registry, err));
    if (options->user_dir && !host_elevated())
        KIT_TRY(host_places_add(places, options->user_dir, HOST_ORIGIN_USER, err));
    KIT_TRY(host_places_own(places, err));
    if (!options->program) return KOLM_OK;
    free(places->program);
    places->program = NULL;
    return kit_strdup(options->program, &places->program, err);
}

static void find_program(host_registry *registry, const char *path) {
    kolm_error_t *why = &registry->program_error;
    why->struct_size = (uint32_t)sizeof *why;
    if (!path) {
        (void)kit_fail(why, KOLM_E_NOT_FOUND, "", "no kolm-host was named");
    } else if (host_trust_file(path, &registry->program, NULL, NULL, why) != KOLM_OK) {
        if (why->code == KOLM_E_NOT_FOUND)
            kit_copy(why->remedy, sizeof why->remedy, "install kolm again: its helper program is missing");
    }
}

/* Backends run it as this user: do not pass on one that others can change. */
static void find_trainer(host_registry *registry, const char *path) {
    kolm_error_t why = KIT_ERROR_INIT;
    if (path && host_trust_directory(path, &registry->trainer, &why) != KOLM_OK) registry->trainer = NULL;
}

/* ---- Sections of config.json without a backend */

/* The row without a section of its own whose name is nearest to that of a section which no row has, and which declares
 * one of its keys as a setting: the section was probably meant for it. NULL: none. A price or a tier proves nothing:
 * any backend accepts those, and the section may be for one that is not installed here. */
static host_backend *meant_by(const host_registry *registry, const cJSON *section) {
    host_backend *best = NULL;
    const char *names[HOST_ROWS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < registry->count && count < HOST_ROWS_MAX; i++)
        if (registry->rows[i].state == HOST_ROW_OK) names[count++] = registry->rows[i].name;
    const char *near = kit_nearest(section->string, names, count);
    for (size_t i = 0; near && i < registry->count; i++)
        if (registry->rows[i].state == HOST_ROW_OK && registry->rows[i].name == near) best = &registry->rows[i];
    for (const cJSON *item = best && cJSON_IsObject(section) ? section->child : NULL; item; item = item->next)
        if (host_settings_find(&best->manifest->settings, item->string)) return best;
    return NULL;
}

/* A section under a mistyped name must not be ignored: it may pin a key. */
static void check_sections(host_registry *registry, const host_scan_options *options) {
    const cJSON *backends = kit_json_get(options->config.json, "backends");
    for (const cJSON *one = cJSON_IsObject(backends) ? backends->child : NULL; one; one = one->next) {
        if (strncmp(one->string, "x-", 2) == 0 || host_find(registry, one->string)) continue;
        host_backend *row = meant_by(registry, one);
        if (!row || kit_json_get(backends, row->name)) continue;
        kit_buf shown = {0};
        kit_buf_escaped(&shown, one->string, strnlen(one->string, 64));
        row->state = HOST_ROW_REFUSED;
        row->rule = HOST_RULE_SETTINGS;
        char remedy[256];
        kit_format(remedy, sizeof remedy, "correct the name; \"x-%s\" keeps a section that is for no backend",
                   kit_buf_text(&shown));
        (void)kit_fail(&row->why, KOLM_E_INVALID_ARGUMENT, remedy,
                       "%s: backends.%s: there is no such backend; did you mean \"%s\"?",
                       host_config_file(&options->config, "backends", one->string, NULL), kit_buf_text(&shown),
                       row->name);
        kit_buf_free(&shown);
    }
}

kit_status host_scan(const host_scan_options *options, host_registry **out_registry, kolm_error_t *err) {
    static const host_scan_options usual = {0};
    if (!options) options = &usual;
    host_places places = {0};
    host_registry *registry = calloc(1, sizeof *registry);
    if (!registry) return kit_no_memory(err);
    kit_status status = collect_places(options, registry, &places, err);
    if (status == KOLM_OK) find_program(registry, places.program);
    if (status == KOLM_OK) find_trainer(registry, places.trainer);
    for (size_t i = 0; status == KOLM_OK && i < places.count; i++) {
        bool again = false; /* do not report duplicates; scan_directory handles other names of a directory */
        for (size_t j = 0; j < i; j++)
            again = again || strcmp(places.at[i].path, places.at[j].path) == 0;
        if (!again) status = scan_directory(registry, &places.at[i], options, err);
    }
    host_places_free(&places);
    if (status == KOLM_OK) check_sections(registry, options);
    if (status == KOLM_OK)
        *out_registry = registry;
    else
        host_registry_free(registry);
    return status;
}

void host_registry_free(host_registry *registry) {
    if (!registry) return;
    for (size_t i = 0; i < registry->count; i++)
        row_free(&registry->rows[i]);
    for (size_t i = 0; i < registry->note_count; i++)
        free(registry->notes[i].text);
    for (size_t i = 0; i < registry->searched_count; i++)
        searched_free(&registry->searched[i]);
    free(registry->rows);
    free(registry->notes);
    free(registry->searched);
    free(registry->program);
    free(registry->trainer);
    free(registry);
}

const host_backend *host_find(const host_registry *registry, const char *name) {
    size_t first = 0, end = registry->count;
    while (first < end) { /* of rows in the order of their names */
        size_t middle = first + (end - first) / 2;
        if (strcmp(registry->rows[middle].name, name) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    for (; first < registry->count && strcmp(registry->rows[first].name, name) == 0; first++) {
        const host_backend *row = &registry->rows[first];
        if (row->state != HOST_ROW_SHADOWED && !row->passed_over) return row;
    }
    return NULL;
}

const host_backend *host_spare(const host_registry *registry, const host_backend *row) {
    const host_backend *end = registry->rows + registry->count;
    for (const host_backend *at = row + 1; at < end && strcmp(at->name, row->name) == 0; at++)
        if (at->spare && strcmp(at->directory, row->directory) == 0) return at;
    return NULL;
}

void host_registry_price(host_registry *registry, const host_backend *row, uint64_t micro_usd_per_hour) {
    registry->rows[row - registry->rows].manifest->offer.price_micro_usd_per_hour = micro_usd_per_hour;
}

void host_registry_pass_over(host_registry *registry, const host_backend *row, const kolm_error_t *why) {
    host_backend *passed = &registry->rows[row - registry->rows];
    host_backend *next = &registry->rows[host_spare(registry, row) - registry->rows];
    passed->state = HOST_ROW_REFUSED;
    passed->rule = HOST_RULE_LOADS;
    passed->why = *why;
    passed->passed_over = true;
    next->spare = false;
    next->state = HOST_ROW_OK;
    next->rule = HOST_RULE_NONE;
    next->why = *next->instead;
    /* Older versions are hidden by the one used now. */
    for (host_backend *at = next + 1; at < registry->rows + registry->count && strcmp(at->name, next->name) == 0; at++)
        if (at->spare && strcmp(at->directory, next->directory) == 0) stands_before(next, at);
}
