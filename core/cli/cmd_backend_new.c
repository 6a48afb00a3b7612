/* SPDX-License-Identifier: Apache-2.0 */
/* kolm backend new: writes the SDK's template under a name of the author's own. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "host/host.h"
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

static kit_status write_all(const char *dir, const char *name, kolm_error_t *err) {
    if (mkdir(dir, 0755) != 0) {
        if (errno == EEXIST)
            return kit_fail(err, KOLM_E_ALREADY_EXISTS, "choose another name or --dir, or remove it",
                            "%s exists already; nothing was written", dir);
        return kit_fail_errno(err, errno, "cannot make the directory %s", dir);
    }
    kit_status status = KOLM_OK;
    for (size_t i = 0; status == KOLM_OK && i < sizeof template_files / sizeof *template_files; i++)
        status = write_one(dir, template_files[i].name, template_files[i].text, name, err);
    if (status != KOLM_OK) { /* half of a backend would only be in the way of the next try */
        kit_status ignored = kit_remove_tree(dir, NULL);
        (void)ignored;
    }
    return status;
}

int cli_backend_new(cli_context *context, int argc, char **argv) {
    const char *dir = NULL;
    const cli_option options[] = {{"dir", 0, CLI_STRING, &dir, "DIR", "where to write it; by default ./NAME"}};
    const cli_syntax syntax = {.command = "kolm backend new",
                               .words = "NAME",
                               .summary = "Writes a backend that works, in one file, with its manifest and a "
                                          "meson.build that needs only the installed SDK.",
                               .options = options,
                               .option_count = 1,
                               .min_words = 1,
                               .max_words = 1,
                               .words_out = argv};
    kolm_error_t err = KIT_ERROR_INIT;
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    const char *name = argv[0];
    if (!host_name_ok(name))
        return cli_usage_error(
            context, "kolm backend new",
            "'%s' cannot be a backend's name: lower-case letters, digits and -, at most 32, a letter first",
            cli_safe(name));
    if (!dir) dir = name;
    kit_status status = write_all(dir, name, &err);
    if (status != KOLM_OK)
        return cli_error(context, status == KOLM_E_ALREADY_EXISTS ? SESSION_EXIT_USAGE : session_exit_of(status), &err);
    if (context->json) {
        cJSON *value = cJSON_CreateObject();
        bool good = kit_json_put_string(value, "schema", "kolm.backend.new/1") &&
                    kit_json_put_string(value, "backend", name) && kit_json_put_string(value, "directory", dir);
        if (good) return cli_print_json(context, value, SESSION_EXIT_OK);
        cJSON_Delete(value);
        return cli_print_json(context, NULL, SESSION_EXIT_OK);
    }
    cli_print(context,
              "wrote %s/%s.c, %s.json, %s.map and meson.build\n"
              "  -> cd %s && meson setup build && ninja -C build && kolm backend check build/%s.so\n",
              cli_safe(dir), name, name, name, cli_safe(dir), name);
    return SESSION_EXIT_OK;
}
