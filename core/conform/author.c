/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the SDK's template under the author's name. */
#include "conform/author.h"

#include "kolm/kit/file.h"
#include "template.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TEMPLATE_NAME "example"
#define TEMPLATE_PREFIX "EXAMPLE_"

/* The template's own name becomes the author's: "example" as it is, "EXAMPLE_" in capitals with '_' for '-'. */
static void rename_all(kit_buf *out, const char *text, const char *name) {
    while (*text) {
        if (strncmp(text, TEMPLATE_PREFIX, strlen(TEMPLATE_PREFIX)) == 0) {
            for (const char *p = name; *p; p++)
                kit_buf_char(out, *p == '-' ? '_' : (char)toupper((unsigned char)*p));
            kit_buf_char(out, '_');
            text += strlen(TEMPLATE_PREFIX);
        } else if (strncmp(text, TEMPLATE_NAME, strlen(TEMPLATE_NAME)) == 0) {
            kit_buf_str(out, name);
            text += strlen(TEMPLATE_NAME);
        } else {
            kit_buf_char(out, *text++);
        }
    }
}

static kit_status write_one(const char *dir, const char *file, const char *text, const char *name, kolm_error_t *err) {
    kit_buf new_name = {0}, content = {0};
    char *path = NULL;
    rename_all(&new_name, file, name);
    rename_all(&content, text, name);
    kit_status status = kit_buf_ok(&new_name, err);
    if (status == KOLM_OK) status = kit_buf_ok(&content, err);
    if (status == KOLM_OK) status = kit_path_join(dir, kit_buf_text(&new_name), &path, err);
    if (status == KOLM_OK) status = kit_write_file(path, 0644, content.data, content.length, err);
    kit_buf_free(&new_name);
    kit_buf_free(&content);
    free(path);
    return status;
}

kit_status author_template_write(const char *dir, const char *name, kolm_error_t *err) {
    if (mkdir(dir, 0755) != 0) {
        if (errno == EEXIST)
            return kit_fail(err, KOLM_E_ALREADY_EXISTS, "choose another name or --dir, or remove it",
                            "%s exists already; nothing was written", dir);
        return kit_fail_errno(err, errno, "cannot make the directory %s", dir);
    }
    kit_status status = KOLM_OK;
    for (size_t i = 0; status == KOLM_OK && i < sizeof template_files / sizeof *template_files; i++)
        status = write_one(dir, template_files[i].name, template_files[i].text, name, err);
    if (status != KOLM_OK) { /* a partial backend would only make the next attempt fail */
        kit_status ignored = kit_remove_tree(dir, NULL);
        (void)ignored;
    }
    return status;
}
