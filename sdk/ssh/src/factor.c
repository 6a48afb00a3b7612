/* SPDX-License-Identifier: Apache-2.0 */
/* Logins that require more than one key: handles those without interaction, reports the others. */
#include "auth.h"

#include "kolm/kit/process.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000 /* the user may have to confirm on a telephone */

kit_status ssh_ask_methods(ssh_attempt *a, char **out_methods, kolm_error_t *err) {
    kit_ssh *ssh = a->ssh;
    while (true) {
        char *methods = libssh2_userauth_list(ssh->session, ssh->login, (unsigned)strlen(ssh->login));
        if (methods != NULL) return kit_strdup(methods, out_methods, err);
        if (libssh2_userauth_authenticated(ssh->session) != 0) {
            a->authenticated = true;
            return kit_strdup("", out_methods, err);
        }
        int code = libssh2_session_last_errno(ssh->session);
        if (code != LIBSSH2_ERROR_EAGAIN) return ssh_fail(ssh, code, ssh->stage, err);
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    }
}

/* libssh2 does not report whether a refusal was a partial success. Querying the methods again does, because the server
 * then lists only the remaining ones. (If it requires two keys in a row, this looks like a refusal of the first.) */
kit_status ssh_factor_look(ssh_attempt *a, const char *name, kolm_error_t *err) {
    char *methods = NULL;
    KIT_TRY(ssh_ask_methods(a, &methods, err));
    kit_status status = KOLM_OK;
    if (a->authenticated || strcmp(methods, a->methods) == 0) {
        ssh_say_tried(a, name, "refused, although the key is known there");
        free(methods);
        return KOLM_OK;
    }
    if (a->first_factor == NULL) status = kit_strdup(name, &a->first_factor, err);
    ssh_say_tried(a, name, "accepted, but not sufficient");
    free(a->methods);
    a->methods = methods;
    return status;
}

static void keep_words(kit_ssh *ssh, const char *text, size_t length) {
    kit_buf shown = {0};
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    kit_buf_escaped(&shown, text, length);
    kit_format(ssh->question, sizeof ssh->question, "%.200s", kit_buf_text(&shown));
    kit_buf_free(&shown);
}

/* Keeps the prompts for the error. They are not answered: an empty answer would count as a wrong one, and might lock
 * the account. */
static LIBSSH2_USERAUTH_KBDINT_RESPONSE_FUNC(on_question) {
    kit_ssh *ssh = *abstract;
    (void)name, (void)name_len, (void)responses;
    if (num_prompts > 0) {
        keep_words(ssh, (const char *)prompts[0].text, prompts[0].length);
        ssh->spent = true; /* sends nothing any more */
    } else if (instruction_len > 0) {
        keep_words(ssh, instruction, (size_t)instruction_len);
        ssh_say(ssh, ssh->question);
    }
}

static kit_status try_without_answers(ssh_attempt *a, kolm_error_t *err) {
    kit_ssh *ssh = a->ssh;
    int rc;
    int64_t until = kit_now_ms() + PATIENCE_MS;
    if (ssh->deadline_ms < until) ssh->deadline_ms = until;
    while ((rc = libssh2_userauth_keyboard_interactive_ex(ssh->session, ssh->login, (unsigned)strlen(ssh->login),
                                                          on_question)) == LIBSSH2_ERROR_EAGAIN)
        KIT_TRY(ssh_wait(ssh, ssh->deadline_ms, kit_now_ms(), err));
    a->authenticated = rc == 0;
    return KOLM_OK;
}

kit_status ssh_factor_second(ssh_attempt *a, kolm_error_t *err) {
    const kit_ssh *ssh = a->ssh;
    char asks[260] = "";
    if (strstr(a->methods, "publickey") != NULL)
        return kit_fail(err, KOLM_E_UNAUTHENTICATED, "name the second key with IdentityFile, or ssh-add it",
                        "%s@%s accepted the key %s and requires a second one; tried: %s", ssh->login, ssh->label,
                        a->first_factor, kit_buf_text(&a->tried));
    if (strstr(a->methods, "keyboard-interactive") != NULL) KIT_TRY(try_without_answers(a, err));
    if (a->authenticated) return KOLM_OK;
    if (ssh->question[0] != '\0') kit_format(asks, sizeof asks, "; it says: \"%.200s\"", ssh->question);
    return kit_fail(err, KOLM_E_UNAUTHENTICATED,
                    "configure its sshd to accept only a key for this account (AuthenticationMethods publickey): kolm "
                    "answers no prompts",
                    "%s@%s accepted the key %s and requires an interactive second factor: %s%s", ssh->login, ssh->label,
                    a->first_factor, a->methods, asks);
}
