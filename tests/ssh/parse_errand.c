/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a target, a configuration and known hosts once, for failmalloc: any failed allocation is reported, and
 * nothing leaks. */
#include "../../sdk/ssh/src/internal.h"

#include "kolm/kit/text.h"

#include <stdio.h>
#include <string.h>

static const char config_text[] =
    "User a\nHost b*\n HostName %h.example\n IdentityFile ~/k-%h-%r\n CertificateFile \"/a b\"\n ProxyJump one,two:22\n"
    " UserKnownHostsFile /x /${HOME}\nMatch exec x\nMatch final host b*\n HostKeyAlias z\n ProxyJump ssh://b:2,%r@a\n";
static const char key_text[] = "AAAAC3NzaC1lZDI1NTE5AAAAIEFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";

static kit_status errand(kolm_error_t *err) {
    kit_ssh_target target;
    kit_ssh_config config;
    ssh_known known = {0};
    kit_buf lines = {0}, key = {0};
    char fingerprint[SSH_FINGERPRINT_BYTES];
    KIT_TRY(kit_ssh_target_parse("me@box:22", &target, err));
    KIT_TRY(kit_ssh_config_parse(config_text, sizeof config_text - 1, target.host, &config, err));
    if (config.proxy_jump.count != 2 || config.identity_files.count != 1) return KOLM_E_INTERNAL;
    kit_ssh_config_free(&config);
    kit_buf_fmt(&lines, "box ssh-ed25519 %s\n@revoked * ssh-ed25519 %s\n|1|AAAA|AAAA ssh-rsa AAAA\n", key_text,
                key_text);
    kit_status status = kit_buf_ok(&lines, err);
    if (status == KOLM_OK) status = ssh_known_parse(&known, "file", lines.data, lines.length, target.host, err);
    if (status == KOLM_OK) status = kit_base64_decode(&key, key_text, strlen(key_text), err);
    if (status == KOLM_OK) status = ssh_fingerprint((const uint8_t *)key.data, key.length, fingerprint, err);
    /* A line that was not parsed for lack of memory must not make a revoked key valid. */
    if (status == KOLM_OK && ssh_known_check(&known, (const uint8_t *)key.data, key.length, NULL) != SSH_KNOWN_REVOKED)
        status = KOLM_E_INTERNAL;
    ssh_known_free(&known);
    kit_buf_free(&lines);
    kit_buf_free(&key);
    return status;
}

int main(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = errand(&err);
    if (status == KOLM_OK) return 0;
    fprintf(stderr, "%s: %s\n", kit_status_name(status), err.text);
    return status == KOLM_E_RESOURCE_EXHAUSTED && err.text[0] != '\0' ? 5 : 1;
}
