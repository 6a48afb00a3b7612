/* SPDX-License-Identifier: Apache-2.0 */
/* Drives the SSH transport from the command line, for the tests against real and hostile servers. */

/*
 * usage: ssh_tool [OPTION VALUE]... TARGET VERB [ARGUMENT]...
 * options: --config --host-key --known --identity (several) --agent --trust yes|no --passphrase --pin --connect-ms
 * --idle-ms
 * --keepalive-s
 *          --cancel-ms (cancelled() returns 1 after that many milliseconds)
 * verbs: facts; run true|false|cat|noise|sleep|kill|stdin-closed
 * Prints the result, or "CODE: text (remedy)" on standard error and exits with 1.
 */
#include "kolm/kit/buf.h"
#include "kolm/kit/process.h"
#include "kolm/kit/ssh.h"
#include "kolm/kit/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libssh2 1.10 leaks a few bytes per ECDSA key and per interrupted handshake; our tests do not look for that. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libssh2\nleak:libcrypto\n";
}
const char *__lsan_default_options(void);
const char *__lsan_default_options(void) {
    return "print_suppressions=0";
}

static const char *passphrase_text;
static int trust_answer = -1;
static int64_t cancel_at_ms;

static int on_trust(void *user, const char *host, const char *type, const char *fingerprint) {
    (void)user;
    printf("trust? %s %s %s\n", host, type, fingerprint);
    return trust_answer;
}

static int on_passphrase(void *user, const char *key, char *out, size_t capacity) {
    (void)user;
    printf("passphrase? %s\n", key);
    return kit_copy(out, capacity, passphrase_text) ? 1 : 0;
}

static int on_cancelled(void *user) {
    (void)user;
    return cancel_at_ms != 0 && kit_now_ms() >= cancel_at_ms;
}

static void on_note(void *user, const char *text) {
    (void)user;
    fprintf(stderr, "note: %s\n", text);
}

static uint64_t number(const char *text) {
    uint64_t value = 0;
    if (text == NULL) return 0;
    if (!kit_parse_u64(text, &value)) {
        fprintf(stderr, "not a number: %s\n", text);
        exit(2);
    }
    return value;
}

static int set_option(kit_ssh_options *o, const char *name, const char *value) {
    static const char *known[8], *identities[8];
    o->known_hosts = known;
    o->identity_files = identities;
    if (strcmp(name, "--config") == 0)
        o->config_path = value;
    else if (strcmp(name, "--host-key") == 0)
        o->host_key = value;
    else if (strcmp(name, "--known") == 0 && o->known_hosts_count < 8)
        known[o->known_hosts_count++] = value;
    else if (strcmp(name, "--identity") == 0 && o->identity_file_count < 8)
        identities[o->identity_file_count++] = value;
    else if (strcmp(name, "--agent") == 0)
        o->agent_socket = strcmp(value, "default") == 0 ? NULL : value;
    else if (strcmp(name, "--trust") == 0)
        trust_answer = strcmp(value, "yes") == 0;
    else if (strcmp(name, "--passphrase") == 0)
        passphrase_text = value;
    else if (strcmp(name, "--pin") == 0)
        o->pinned_addr = value;
    else if (strcmp(name, "--connect-ms") == 0)
        o->connect_timeout_ms = (uint32_t)number(value);
    else if (strcmp(name, "--idle-ms") == 0)
        o->idle_timeout_ms = (uint32_t)number(value);
    else if (strcmp(name, "--keepalive-s") == 0)
        o->keepalive_seconds = (uint32_t)number(value);
    else if (strcmp(name, "--cancel-ms") == 0)
        cancel_at_ms = kit_now_ms() + (int64_t)number(value);
    else
        return 0;
    return 1;
}

/* Copies standard input to the program and its output to standard output. */
static kit_status pump(kit_ssh_channel *channel, kolm_error_t *err) {
    char chunk[65536];
    size_t n = 0;
    for (ssize_t got; (got = read(STDIN_FILENO, chunk, sizeof chunk)) > 0;) {
        KIT_TRY(kit_ssh_channel_write_all(channel, chunk, (size_t)got, err));
        while (kit_ssh_channel_read(channel, chunk, sizeof chunk, 0, &n, err) == KOLM_OK && n > 0)
            fwrite(chunk, 1, n, stdout);
    }
    KIT_TRY(kit_ssh_channel_send_eof(channel, err));
    do {
        KIT_TRY(kit_ssh_channel_read(channel, chunk, sizeof chunk, -1, &n, err));
        fwrite(chunk, 1, n, stdout);
    } while (n > 0);
    fflush(stdout);
    do {
        KIT_TRY(kit_ssh_channel_read_stderr(channel, chunk, sizeof chunk, -1, &n, err));
        fwrite(chunk, 1, n, stderr);
    } while (n > 0);
    return KOLM_OK;
}

static kit_status run(kit_ssh *ssh, const char *name, kolm_error_t *err) {
    static const char *const commands[][2] = {
        {"true", "exit 0"},
        {"false", "exit 3"},
        {"cat", "exec cat"},
        {"noise", "dd if=/dev/zero bs=1000 count=4000 >&2 2>/dev/null; dd if=/dev/zero bs=65536 count=100 2>/dev/null; "
                  "echo last words >&2"},
        {"sleep", "exec sleep 1000"},
        {"kill", "kill -9 $$"},
        {"stdin-closed", "exec <&-; exit 7"},
    };
    const char *command = NULL;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i][0], name) == 0) command = commands[i][1];
    if (command == NULL) exit(2);
    kit_ssh_channel *channel = NULL;
    int code = -1;
    KIT_TRY(kit_ssh_exec(ssh, command, &channel, err));
    kit_status status = pump(channel, err);
    if (status == KOLM_OK) status = kit_ssh_channel_wait_exit(channel, 10000, &code, err);
    if (status == KOLM_OK) fprintf(stderr, "status %d\n", code);
    kit_ssh_channel_close(channel);
    return status;
}

static kit_status work(const kit_ssh_options *options, char **argv, kolm_error_t *err) {
    kit_ssh *ssh = NULL;
    KIT_TRY(kit_ssh_open(options, &ssh, err));
    kit_status status = KOLM_OK;
    if (strcmp(argv[0], "facts") == 0)
        printf("%s\n%s\n", kit_ssh_host_key_sha256(ssh), kit_ssh_peer_address(ssh));
    else if (strcmp(argv[0], "run") == 0)
        status = run(ssh, argv[1], err);
    else
        exit(2);
    kit_ssh_close(ssh);
    return status;
}

int main(int argc, char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_ssh_options options = {
        .config_path = "none", .agent_socket = "none", .cancelled = on_cancelled, .note = on_note};
    int i = 1;
    for (; i + 1 < argc && set_option(&options, argv[i], argv[i + 1]); i += 2)
        continue;
    if (i + 1 >= argc) return 2;
    if (trust_answer >= 0) options.trust = on_trust;
    if (passphrase_text != NULL) options.passphrase = on_passphrase;
    kit_status status = kit_ssh_target_parse(argv[i], &options.target, &err);
    if (status == KOLM_OK) status = work(&options, argv + i + 1, &err);
    if (status != KOLM_OK) fprintf(stderr, "%s: %s (%s)\n", kit_status_name(status), err.text, err.remedy);
    if (status != KOLM_OK && status != err.code) fprintf(stderr, "the record says %s\n", kit_status_name(err.code));
    fflush(stdout);
    return status == KOLM_OK ? 0 : 1;
}
