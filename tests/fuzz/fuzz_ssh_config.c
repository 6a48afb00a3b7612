/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: untrusted ssh_config files and targets are accepted or rejected, and accepted ones are complete. */
#include "kolm/kit/ssh_config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds) abort();
}

static void check_list(const kit_ssh_list *list) {
    for (size_t i = 0; i < list->count; i++)
        must(list->items[i] != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_ssh_config config;
    kit_status status = kit_ssh_config_parse((const char *)data, size, "box.example", &config, &err);
    if (status == KOLM_OK) {
        must(config.host_name != NULL);
        check_list(&config.identity_files);
        check_list(&config.certificate_files);
        check_list(&config.proxy_jump);
        kit_ssh_target hop;
        for (size_t i = 0; i < config.proxy_jump.count; i++)
            must(kit_ssh_target_parse(config.proxy_jump.items[i], &hop, &err) == KOLM_OK);
        check_list(&config.known_hosts);
        check_list(&config.global_known_hosts);
        check_list(&config.notes);
    } else {
        must(status == err.code && err.text[0] != '\0' && config.host_name == NULL && config.identity_files.count == 0);
    }
    kit_ssh_config_free(&config);
    char *text = strndup((const char *)data, size);
    must(text != NULL);
    kit_ssh_target target;
    if (kit_ssh_target_parse(text, &target, &err) == KOLM_OK) {
        must(target.host[0] != '\0' && target.host[0] != '-' && target.user[0] != '-' &&
             strpbrk(target.host, " \t\n/;$`'\"") == NULL);
        /* A text used as a list of patterns never hangs, and matches itself if it has no special characters. */
        if (strpbrk(target.host, "*?!,") == NULL) must(kit_ssh_match_list(target.host, target.host));
    }
    (void)kit_ssh_match_list("box.example", text);
    free(text);
    return 0;
}
