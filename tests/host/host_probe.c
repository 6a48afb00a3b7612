/* SPDX-License-Identifier: Apache-2.0 */
/* The host as a program, for tests of how it behaves when it is set-uid, installed elsewhere, or killed. */
#include "host/host.h"

#include <stdio.h>
#include <string.h>

static void print_log(void *user, const char *backend, uint32_t level, const char *text) {
    (void)user;
    (void)backend, (void)level;
    printf("log %s\n", text);
    fflush(stdout);
}

/* scan: prints what was found, loads nothing. call NAME: trains with NAME. */
int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry *registry = NULL;
    static host_result result;
    const host_events events = {.log = print_log};
    host_call_options options = {.events = &events, .grace_ms = 1};
    if (argc < 2 || host_scan(NULL, &registry, &err) != KOLM_OK) return 1;
    printf("program %s\n", registry->program ? registry->program : registry->program_error.text);
    for (size_t i = 0; i < registry->count; i++) {
        const host_backend *row = &registry->rows[i];
        printf("row %s %d %d %s\n", row->name, (int)row->state, (int)row->origin,
               row->state == HOST_ROW_OK ? row->plugin_path : row->why.text);
    }
    for (size_t i = 0; i < registry->note_count; i++)
        printf("note %s\n", registry->notes[i].text);
    fflush(stdout);
    int code = 0;
    const host_backend *row = argc > 2 ? host_find(registry, argv[2]) : NULL;
    if (strcmp(argv[1], "call") == 0) {
        if (!row || host_train(registry, row, "/tmp", 1, &options, &result, &err) != KOLM_OK) return 1;
        printf("verdict %s %s\n", host_verdict_name(result.verdict), result.error.text);
        code = result.verdict == HOST_OK ? 0 : 1;
    }
    host_registry_free(registry);
    return code;
}
