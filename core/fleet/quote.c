/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the rows of a job, and gets quotes for it. */
#include "fleet/quote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 65536
#define BYTES_PER_ROW 120 /* assumed if only rows are given: a short ticket */

/* Counts non-blank lines, and bytes. A quote does not need parsing. */
static kit_status measure(kolm_session *session, const char *path, uint64_t *out_rows, uint64_t *out_bytes,
                          kolm_error_t *err) {
    char *chunk = NULL;
    struct stat st;
    bool blank = true;
    int fd =
        strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    kit_status status = KOLM_OK;
    if (fd < 0) return kit_fail_errno(err, errno, "cannot open %s", path);
    if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a JSONL, CSV or TSV file", "%s is not a file", path);
        goto out;
    }
    chunk = malloc(CHUNK);
    if (!chunk) {
        status = kit_no_memory(err);
        goto out;
    }
    while (true) {
        ssize_t n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR && !session_stopped(session)) continue;
        if (n < 0) status = kit_fail_errno(err, errno, "cannot read %s", path);
        if (n <= 0) break;
        if (memchr(chunk, '\0', (size_t)n)) {
            status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "use a JSONL, CSV or TSV file",
                              "%s is not text: it contains binary data", path);
            break;
        }
        *out_bytes += (uint64_t)n;
        for (ssize_t i = 0; i < n; i++) {
            if (chunk[i] == '\n') {
                *out_rows += !blank;
                blank = true;
            } else if (chunk[i] != ' ' && chunk[i] != '\r' && chunk[i] != '\t') {
                blank = false;
            }
        }
    }
    *out_rows += !blank;
    if (status == KOLM_OK && *out_rows == 0)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "pass a file with rows, or --rows N", "%s is empty", path);
out:
    free(chunk);
    close(fd);
    return status;
}

static kit_status job_of(kolm_session *session, const fleet_quote_request *o, kolm_cost_args_t *job,
                         kolm_error_t *err) {
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    *job = (kolm_cost_args_t){.struct_size = (uint32_t)sizeof *job,
                              .epochs = (uint32_t)o->epochs.value,
                              .labels = o->labels.value,
                              .base_parameters = o->parameters.value,
                              .threads = threads > 0 ? (uint32_t)threads : 1,
                              .recipe = o->recipe           ? o->recipe
                                        : o->parameters.set ? "lora"
                                                            : "linear"};
    if (o->data) KIT_TRY(measure(session, o->data, &job->rows, &job->input_bytes, err));
    if (o->rows.set) job->rows = o->rows.value;
    if (o->bytes.set)
        job->input_bytes = o->bytes.value;
    else if (!o->data && job->rows < UINT64_MAX / BYTES_PER_ROW)
        job->input_bytes = job->rows * BYTES_PER_ROW;
    return KOLM_OK;
}

int64_t fleet_price_age(const fleet_registry *registry, const fleet_backend *b) {
    struct stat st;
    if (b->priced_live) return registry->now - b->priced_at;
    if (stat(b->manifest_path, &st) != 0 || (int64_t)st.st_mtime > registry->now) return -1;
    return registry->now - (int64_t)st.st_mtime;
}

kit_status fleet_quotes_get(kolm_session *session, const fleet_quote_request *request, fleet_quotes *out,
                            kolm_error_t *err) {
    const fleet_detect_options priced = {
        .prices = true, .priced = true, .airgap = request->airgap != SESSION_AIRGAP_OFF};
    *out = (fleet_quotes){0};
    KIT_TRY(job_of(session, request, &out->job, err));
    KIT_TRY(fleet_registry_open(session, &out->registry, err));
    KIT_TRY(fleet_registry_settle(session, out->registry, err));
    KIT_TRY(fleet_registry_detect(session, out->registry, &priced, err));
    out->at = calloc(out->registry->count ? out->registry->count : 1, sizeof *out->at);
    if (!out->at) return kit_no_memory(err);
    return fleet_call_costs(session, out->registry, &out->job, request->airgap, out->at, err);
}

void fleet_quotes_free(fleet_quotes *quotes) {
    free(quotes->at);
    fleet_registry_free(quotes->registry);
    *quotes = (fleet_quotes){0};
}
