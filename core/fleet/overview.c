/* SPDX-License-Identifier: Apache-2.0 */
/* kolm compute status: reads receipts, leases, jobs and the cache of this home. */
#include "fleet/overview.h"

#include "fleet/detections.h"
#include "kolm/kit/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static kit_status sum_receipts(kolm_session *session, const store_home *home, int64_t since, fleet_overview *s,
                               kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(store_home_place(home, STORE_RECEIPTS, &path, err));
    kit_status status = receipt_totals_read(path, since, session->stop, &s->sums, err);
    free(path);
    return status;
}

/* Reads the leases that are open, and those that ended since then. */
static kit_status read_leases(kolm_session *session, const store_home *home, int64_t since, fleet_overview *s,
                              kolm_error_t *err) {
    uint64_t since_ms = since > 0 ? (uint64_t)since * 1000 : 0;
    size_t open = 0;
    KIT_TRY(lease_list_read(home, &s->leases, err));
    for (size_t i = 0; i < s->leases.count; i++)
        if (s->leases.at[i].state != LEASE_GONE) s->leases.at[open++] = s->leases.at[i];
    s->leases.count = open;
    return lease_totals_read(home, since_ms, session->stop, &s->rented, err);
}

static kit_status count_jobs(const store_home *home, size_t *out_count, kolm_error_t *err) {
    char *path = NULL;
    const char *name = NULL;
    KIT_TRY(store_home_place(home, STORE_JOBS, &path, err));
    DIR *directory = opendir(path);
    kit_status status = KOLM_OK;
    if (!directory && errno != ENOENT && errno != ENOTDIR) status = kit_fail_errno(err, errno, "cannot list %s", path);
    while (directory && status == KOLM_OK) {
        status = kit_directory_next(directory, path, &name, err);
        if (status != KOLM_OK || !name) break;
        *out_count += name[0] != '.';
    }
    if (directory) closedir(directory);
    free(path);
    return status;
}

static kit_status age_of_cache(const store_home *home, int64_t now, int64_t *out_age, kolm_error_t *err) {
    char *path = NULL;
    struct stat st;
    *out_age = -1;
    KIT_TRY(store_cache_path(home, FLEET_DETECTION_CACHE, &path, err));
    kit_status status = KOLM_OK;
    if (stat(path, &st) == 0)
        *out_age = now > (int64_t)st.st_mtime ? now - (int64_t)st.st_mtime : 0;
    else if (errno != ENOENT && errno != ENOTDIR)
        status = kit_fail_errno(err, errno, "cannot access %s", path);
    free(path);
    return status;
}

/* ---- Days: what the receipts say of one, and what was rented on it. */

static int by_day(const void *a, const void *b) {
    const fleet_day *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : strcmp(x->backend, y->backend);
}

static kit_status list_days(fleet_overview *s, kolm_error_t *err) {
    size_t count = 0;
    fleet_day *days = calloc(s->sums.day_count + s->rented.count + 1, sizeof *days);
    if (!days) return kit_no_memory(err);
    for (size_t i = 0; i < s->sums.day_count; i++) {
        const receipt_day *d = &s->sums.days[i];
        days[count++] = (fleet_day){.jobs = d, .name = d->day, .backend = d->backend};
    }
    for (size_t i = 0; i < s->rented.count; i++) {
        const lease_total *t = &s->rented.at[i];
        fleet_day *found = days;
        while (found < days + count && (strcmp(found->name, t->day) != 0 || strcmp(found->backend, t->backend) != 0))
            found++;
        if (found == days + count) days[count++] = (fleet_day){.name = t->day, .backend = t->backend};
        found->leases = t;
    }
    qsort(days, count, sizeof *days, by_day);
    s->days = days;
    s->day_count = count;
    return KOLM_OK;
}

kit_status fleet_overview_get(kolm_session *session, int64_t since, fleet_overview *out, kolm_error_t *err) {
    static const char *const by_names[] = {"flag", "env", "config", "picker"};
    fleet_chosen_by by = FLEET_BY_PICKER;
    store_home *home = NULL;
    *out = (fleet_overview){.cache_age = -1};
    KIT_TRY(session_home(session, &home, err));
    KIT_TRY(fleet_default_backend(session, &out->backend, &by, err));
    out->by = by_names[by];
    KIT_TRY(sum_receipts(session, home, since, out, err));
    KIT_TRY(read_leases(session, home, since, out, err));
    KIT_TRY(count_jobs(home, &out->jobs, err));
    KIT_TRY(age_of_cache(home, (int64_t)time(NULL), &out->cache_age, err));
    return list_days(out, err);
}

void fleet_overview_free(fleet_overview *o) {
    receipt_totals_free(&o->sums);
    lease_list_free(&o->leases);
    lease_totals_free(&o->rented);
    free(o->days);
    *o = (fleet_overview){0};
}
