/* SPDX-License-Identifier: Apache-2.0 */
/* Prints how kolm reads SSH configurations and known hosts, in the format of `ssh -G`, for comparison. */

/*
 * usage: config_tool config            reads "FILE<TAB>TARGET" lines; after the values of each, "== " and its status
 *        config_tool known FILE NAME   the numbers of the lines that match NAME, with their marks
 */
#include "../../sdk/ssh/src/internal.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void put_list(const char *key, const kit_ssh_list *list) {
    for (size_t i = 0; i < list->count; i++)
        printf("%s %s\n", key, list->items[i]);
}

static void put_joined(const char *key, const kit_ssh_list *list, bool set, const char *between) {
    if (!set) return;
    printf("%s ", key);
    for (size_t i = 0; i < list->count; i++)
        printf("%s%s", i > 0 ? between : "", list->items[i]);
    printf("%s\n", list->count == 0 ? "none" : "");
}

static void put_text(const char *key, const char *value) {
    if (value != NULL) printf("%s %s\n", key, value);
}

static void put_config(const kit_ssh_config *c) {
    static const char *const checkings[] = {"ask", "true", "accept-new", "false"};
    const struct passwd *self = getpwuid(getuid());
    put_text("hostname", c->host_name);
    put_text("user", c->user != NULL ? c->user : self != NULL ? self->pw_name : "");
    printf("port %u\n", c->port != 0 ? c->port : 22);
    put_list("identityfile", &c->identity_files);
    if (c->identity_files_set && c->identity_files.count == 0) printf("identityfile none\n");
    put_list("certificatefile", &c->certificate_files);
    put_joined("userknownhostsfile", &c->known_hosts, c->known_hosts_set, " ");
    put_joined("globalknownhostsfile", &c->global_known_hosts, c->global_known_hosts_set, " ");
    put_joined("proxyjump", &c->proxy_jump, c->proxy_jump.count > 0, ",");
    put_text("stricthostkeychecking", checkings[c->host_key_checking]);
    put_text("hostkeyalias", c->host_key_alias);
    put_text("identitiesonly", c->identities_only ? "yes" : "no");
    put_text("identityagent", c->identity_agent);
    put_text("hashknownhosts", c->hash_known_hosts ? "yes" : "no");
    put_text("addressfamily", c->address_family == AF_INET ? "inet" : c->address_family == AF_INET6 ? "inet6" : "any");
    if (c->connect_timeout_s != 0) printf("connecttimeout %u\n", c->connect_timeout_s);
    put_text("ciphers", c->ciphers);
    put_list("note", &c->notes);
}

static void tell_config(const char *file, const char *text) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_ssh_target target;
    kit_ssh_config config = {0};
    kit_status status = kit_ssh_target_parse(text, &target, &err);
    if (status == KOLM_OK) status = kit_ssh_config_resolve(file, &target, &config, &err);
    if (status == KOLM_OK) put_config(&config);
    printf("== %s %s\n", kit_status_name(status), err.text);
    kit_ssh_config_free(&config);
}

static int tell_known(const char *file, const char *name) {
    static const char *const marks[] = {"", " @revoked", " @cert-authority"};
    kolm_error_t err = KIT_ERROR_INIT;
    ssh_known known = {0};
    kit_status status = ssh_known_read(&known, file, name, &err);
    for (size_t i = 0; i < known.count; i++)
        printf("%u%s\n", known.entries[i].line, marks[known.entries[i].mark]);
    ssh_known_free(&known);
    if (status != KOLM_OK) fprintf(stderr, "%s\n", err.text);
    return status == KOLM_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    char line[8192];
    if (argc == 4 && strcmp(argv[1], "known") == 0) return tell_known(argv[2], argv[3]);
    if (argc != 2 || strcmp(argv[1], "config") != 0) return 2;
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *tab = strchr(line, '\t');
        if (tab == NULL) return 2;
        *tab = '\0';
        tell_config(line, tab + 1);
    }
    return 0;
}
