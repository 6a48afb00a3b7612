/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers for the tests of core/job: bytes as descriptors, directories and rows. */
#include "fixture.h"

#include "kolm/kit/lines.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int job_test_fd(const void *bytes, size_t length) {
    int fd = memfd_create("data", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kit_write_all(fd, bytes, length, NULL), KOLM_OK);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

void job_test_open(job_test_place *place) {
    kit_copy(place->base, sizeof place->base, "/tmp/kolm-job-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place->base));
    kit_format(place->job, sizeof place->job, "%s/job", place->base);
    kit_format(place->private_dir, sizeof place->private_dir, "%s/private", place->base);
    ck_assert_int_eq(mkdir(place->job, 0700), 0);
    ck_assert_int_eq(mkdir(place->private_dir, 0700), 0);
}

void job_test_close(job_test_place *place) {
    ck_assert_int_eq(kit_remove_tree(place->base, NULL), KOLM_OK);
}

static void read_rows(int fd, const char *name, job_test_rows *out_rows) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_lines *lines = NULL;
    *out_rows = (job_test_rows){0};
    ck_assert_int_eq(kit_lines_open(fd, 64u << 20, &lines, &err), KOLM_OK);
    for (;;) {
        const char *line = NULL;
        size_t length = 0;
        ck_assert_int_eq(kit_lines_next(lines, &line, &length, &err), KOLM_OK);
        if (line == NULL) break;
        if (out_rows->count == out_rows->capacity) {
            out_rows->capacity = out_rows->capacity == 0 ? 256 : out_rows->capacity * 2;
            out_rows->items = realloc(out_rows->items, out_rows->capacity * sizeof(cJSON *));
            ck_assert_ptr_nonnull(out_rows->items);
        }
        ck_assert_msg(kit_json_parse(line, length, &out_rows->items[out_rows->count], &err) == KOLM_OK, "%s: %s", name,
                      err.text);
        out_rows->count++;
    }
    kit_lines_close(lines);
}

void job_test_read(const char *directory, const char *name, job_test_rows *out_rows) {
    char *path = NULL;
    ck_assert_int_eq(kit_path_join(directory, name, &path, NULL), KOLM_OK);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s is there", path);
    read_rows(fd, name, out_rows);
    close(fd);
    free(path);
}

void job_test_read_held(const job_summary *summary, job_test_rows *out_rows) {
    ck_assert_int_eq(lseek(summary->heldout_fd, 0, SEEK_SET), 0);
    read_rows(summary->heldout_fd, "the held-out rows", out_rows);
}

/* An unused summary is all zeros, so descriptors up to 2 are not closed. */
void job_test_forget_held(job_summary *summary) {
    if (summary->heldout_fd > STDERR_FILENO) close(summary->heldout_fd);
    summary->heldout_fd = -1;
}

void job_test_rows_free(job_test_rows *rows) {
    for (size_t i = 0; i < rows->count; i++)
        cJSON_Delete(rows->items[i]);
    free(rows->items);
    *rows = (job_test_rows){0};
}

const char *job_test_text(const cJSON *row, const char *key) {
    const char *text = NULL;
    ck_assert_msg(kit_json_get_string(row, key, &text), "a row has the text \"%s\"", key);
    return text;
}
