/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the files of rows that a command line names, and saying what was read in them. */
#include "compile/files.h"
#include "model/path.h"
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_stdin(const char *path) {
    return strcmp(path, "-") == 0;
}

bool cli_data_stdin_twice(const cli_list *a, const cli_list *b) {
    size_t found = 0;
    for (size_t i = 0; i < a->count; i++)
        found += is_stdin(a->items[i]);
    for (size_t i = 0; i < b->count; i++)
        found += is_stdin(b->items[i]);
    return found > 1;
}

kit_status cli_data_check(const cli_list *paths, const char *option, kolm_error_t *err) {
    for (size_t i = 0; i < paths->count; i++)
        KIT_TRY(cli_check_rows_path(paths->items[i], option, err));
    return KOLM_OK;
}

/* ---- Opening */

static kit_status interrupted(const char *path, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_CANCELLED, "", "interrupted while waiting for %s", path);
}

/* A FIFO that nobody has open for writing gives no rows, and no reason either: the wait is said. */
static kit_status wait_for_writer(cli_context *context, int fd, const char *path, kolm_error_t *err) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    for (int timeout = 1000;; timeout = -1) {
        int found = *cli_interrupt_flag() != 0 ? -1 : poll(&ready, 1, timeout);
        if (*cli_interrupt_flag() != 0) return interrupted(path, err);
        if (found > 0) break;
        if (found == 0)
            cli_warn(context, "%s is a FIFO: waiting for somebody to write rows to it (Ctrl-C ends that)",
                     cli_safe(path));
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return kit_fail_errno(err, errno, "cannot read %s", path);
    return KOLM_OK;
}

static kit_status open_file(cli_context *context, const char *path, int *out_fd, kolm_error_t *err) {
    struct stat info;
    bool fifo = stat(path, &info) == 0 && S_ISFIFO(info.st_mode);
    *out_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (fifo ? O_NONBLOCK : 0));
    if (*out_fd < 0 && errno == EINTR && *cli_interrupt_flag() != 0) return interrupted(path, err);
    if (*out_fd < 0) return kit_fail_errno(err, errno, "cannot open the data %s", path);
    if (fstat(*out_fd, &info) == 0 && S_ISDIR(info.st_mode))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "name the files in it; the option may be given once for each",
                        "cannot read the data %s: Is a directory", path);
    return fifo ? wait_for_writer(context, *out_fd, path, err) : KOLM_OK;
}

static int compare_sources(const void *a, const void *b) {
    return strcmp(((const job_source *)a)->path, ((const job_source *)b)->path);
}

kit_status cli_data_open(cli_context *context, const cli_list *paths, cli_data_files *out, kolm_error_t *err) {
    *out = (cli_data_files){.at = calloc(paths->count + 1, sizeof *out->at)};
    if (out->at == NULL)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
    kit_status status = KOLM_OK;
    for (size_t i = 0; i < paths->count && status == KOLM_OK; i++) {
        job_source *source = &out->at[out->count++];
        source->path = is_stdin(paths->items[i]) ? "standard input" : paths->items[i];
        source->fd = -1;
        if (!is_stdin(paths->items[i]))
            status = open_file(context, source->path, &source->fd, err);
        else if ((source->fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)) < 0)
            status = kit_fail_errno(err, errno, "cannot open the data %s", source->path);
    }
    if (status != KOLM_OK) cli_data_close(out);
    if (out->count > 1) qsort(out->at, out->count, sizeof *out->at, compare_sources);
    return status;
}

void cli_data_close(cli_data_files *files) {
    for (size_t i = 0; i < files->count; i++)
        if (files->at[i].fd >= 0) close(files->at[i].fd);
    free(files->at);
    *files = (cli_data_files){0};
}

/* ---- Saying */

static void print_notes(cli_context *context, const job_source *source) {
    const job_table_notes *notes = &source->table;
    if (notes->headers > 0)
        cli_print(context,
                  notes->headers == 1 ? "[data]        %s: %llu more header in the middle, left out\n"
                                      : "[data]        %s: %llu more headers in the middle, left out\n",
                  cli_safe(source->path), (unsigned long long)notes->headers);
    if (notes->suspects > 0)
        cli_print(context,
                  "[data]        %s: %llu quoted fields may hold rows, as in line %llu: was a quote forgotten there?\n",
                  cli_safe(source->path), (unsigned long long)notes->suspects, (unsigned long long)notes->suspect_line);
}

static void print_files(cli_context *context, const cli_data_files *files, bool each) {
    for (size_t i = 0; files != NULL && i < files->count; i++) {
        const job_source *source = &files->at[i];
        if (each)
            cli_print(context, "[data]        %s: %llu rows\n", cli_safe(source->path),
                      (unsigned long long)source->rows);
        print_notes(context, source);
    }
}

static void print_bad_rows(cli_context *context, const job_summary *summary) {
    cli_print(context,
              summary->bad_rows == 1 ? "[data]        %llu bad row left out\n"
                                     : "[data]        %llu bad rows left out\n",
              (unsigned long long)summary->bad_rows);
    for (size_t i = 0; i < summary->bad_rows && i < JOB_BAD_EXAMPLES; i++)
        cli_print(context, "[data]          %s\n", cli_safe(summary->bad_examples[i]));
    if (summary->bad_rows <= JOB_BAD_EXAMPLES) return;
    cli_print(context, "[data]        all of them, by kind:\n");
    for (size_t i = 0; i < summary->bad_kind_count; i++)
        cli_print(context, "[data]          %llu: %s\n", (unsigned long long)summary->bad_kinds[i].rows,
                  cli_safe(summary->bad_kinds[i].text));
}

/* Keys and columns that nobody reads, in the order in which they were met. */
static void print_unused(cli_context *context, const job_summary *summary) {
    const job_unused *unused = &summary->unused;
    kit_buf line = {0};
    for (size_t i = 0; i < unused->count; i++)
        kit_buf_fmt(&line, "%s\"%s\" (%llu)", i > 0 ? ", " : "", unused->keys[i].name,
                    (unsigned long long)unused->keys[i].rows);
    if (unused->more > 0) kit_buf_fmt(&line, ", and others (%llu)", (unsigned long long)unused->more);
    if (unused->count > 0) cli_print(context, "[data]        not used: %s\n", cli_safe(kit_buf_text(&line)));
    kit_buf_free(&line);
}

static void print_guess(cli_context *context, const job_guess *guess) {
    if (guess->input == NULL) return;
    cli_print(context,
              "[data]        the input is \"%s\", the output \"%s\", by their names; --input-col and --output-col name "
              "others\n",
              guess->input, guess->output);
}

void cli_data_print(cli_context *context, const cli_data_files *data, const cli_data_files *eval,
                    const job_summary *summary) {
    print_files(context, data, data != NULL && data->count > 1);
    print_files(context, eval, eval != NULL && eval->count > 1);
    if (summary->bad_rows > 0) print_bad_rows(context, summary);
    print_guess(context, &summary->guess);
    print_unused(context, summary);
}

static bool put_files(cJSON *array, const cli_data_files *files) {
    for (size_t i = 0; files != NULL && i < files->count; i++) {
        const job_source *source = &files->at[i];
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "path", source->path) || !kit_json_put_u64(item, "rows", source->rows) ||
            !kit_json_put_u64(item, "bad_rows", source->bad_rows) ||
            !kit_json_put_u64(item, "repeated_headers", source->table.headers) ||
            !kit_json_put_u64(item, "suspect_fields", source->table.suspects) || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

static bool put_kinds(cJSON *array, const job_summary *summary) {
    for (size_t i = 0; i < summary->bad_kind_count; i++) {
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "what", summary->bad_kinds[i].text) ||
            !kit_json_put_u64(item, "rows", summary->bad_kinds[i].rows) || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

static bool put_unused(cJSON *array, const job_unused *unused) {
    for (size_t i = 0; i < unused->count; i++) {
        cJSON *item = cJSON_CreateObject();
        if (!kit_json_put_string(item, "key", unused->keys[i].name) ||
            !kit_json_put_u64(item, "rows", unused->keys[i].rows) || !cJSON_AddItemToArray(array, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return true;
}

/* A member that is an array, filled by what was done to it. */
static bool put_array(cJSON *object, const char *key, cJSON *array, bool filled) {
    if (filled) return kit_json_put(object, key, array);
    cJSON_Delete(array);
    return false;
}

bool cli_data_put(cJSON *object, const cli_data_files *data, const cli_data_files *eval, const job_summary *summary) {
    cJSON *files = cJSON_CreateArray(), *kinds, *unused;
    if (!put_array(object, "files", files, put_files(files, data) && put_files(files, eval))) return false;
    kinds = cJSON_CreateArray();
    if (!put_array(object, "bad_kinds", kinds, put_kinds(kinds, summary))) return false;
    unused = cJSON_CreateArray();
    if (!put_array(object, "unused_keys", unused, put_unused(unused, &summary->unused))) return false;
    const job_guess *guess = &summary->guess;
    return guess->input == NULL || (kit_json_put_string(object, "guessed_input", guess->input) &&
                                    kit_json_put_string(object, "guessed_output", guess->output));
}
