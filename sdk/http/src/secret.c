/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets: created, split, wiped, and redacted in texts. */
#include "internal.h"

#include "kolm/kit/digest.h"

#include <stdlib.h>
#include <string.h>

struct kit_secret {
    size_t length;
    char text[]; /* NUL terminated */
};

/* Unlike memset, the compiler must not remove this if the memory is not read again. */
void http_wipe(void *bytes, size_t length) {
    volatile char *p = bytes;
    while (length-- > 0)
        *p++ = 0;
}

const char *http_secret_text(const kit_secret *secret) {
    return secret->text;
}

kit_status kit_secret_new(const char *what, const char *text, size_t length, kit_secret **out, kolm_error_t *err) {
    *out = NULL;
    bool good = length > 0 && length <= KIT_SECRET_BYTES_MAX;
    for (size_t i = 0; good && i < length; i++)
        good = text[i] > ' ' && text[i] <= '~';
    if (!good)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "copy it again, without spaces or line ends around it",
                        "%s is set, but cannot be sent: 1 to %u printable characters without spaces are expected", what,
                        KIT_SECRET_BYTES_MAX);
    kit_secret *secret = malloc(sizeof *secret + length + 1);
    if (secret == NULL) return kit_no_memory(err);
    secret->length = length;
    memcpy(secret->text, text, length);
    secret->text[length] = '\0';
    *out = secret;
    return KOLM_OK;
}

kit_status kit_secret_read(const kolm_host_v1_t *host, const char *variable, kit_secret **out, kolm_error_t *err) {
    uint64_t length = 0;
    const size_t capacity = KIT_SECRET_BYTES_MAX + 2;
    *out = NULL;
    char *text = malloc(capacity);
    if (text == NULL) return kit_no_memory(err);
    int32_t code = host->secret(host->user, variable, text, capacity, &length);
    kit_status status;
    if (code == KOLM_OK)
        status = kit_secret_new(variable, text, (size_t)length, out, err);
    else if (code == KOLM_E_NOT_FOUND)
        status = kit_fail(err, KOLM_E_UNAUTHENTICATED, "set it to a token of the provider", "%s is not set", variable);
    else if (code == KOLM_E_OUT_OF_RANGE)
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "copy it again from the provider's page",
                          "%s is longer than the %u characters that a token may have", variable, KIT_SECRET_BYTES_MAX);
    else
        status = kit_fail(err, code,
                          "list the variable under auth in the manifest; in detect its value comes with --refresh only",
                          "kolm does not give this backend the value of %s", variable);
    http_wipe(text, capacity);
    free(text);
    return status;
}

kit_status kit_secret_split(const kit_secret *secret, const char *what, char separator, kit_secret **out_left,
                            kit_secret **out_right, kolm_error_t *err) {
    const char *cut = strchr(secret->text, separator);
    *out_left = *out_right = NULL;
    if (cut == NULL || cut == secret->text || cut[1] == '\0')
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "set both halves, with the character between them",
                        "%s does not have the form ID%cSECRET", what, separator);
    KIT_TRY(kit_secret_new(what, secret->text, (size_t)(cut - secret->text), out_left, err));
    kit_status status = kit_secret_new(what, cut + 1, strlen(cut + 1), out_right, err);
    if (status != KOLM_OK) {
        kit_secret_free(*out_left);
        *out_left = NULL;
    }
    return status;
}

void kit_secret_free(kit_secret *secret) {
    if (secret == NULL) return;
    http_wipe(secret->text, secret->length);
    free(secret);
}

kit_status kit_secret_mark(const kit_secret *secret, char out[KIT_SECRET_MARK_BYTES]) {
    /* not the plain digest of the token, which others may publish */
    static const char salt[] = "kolm: which token is it?\n";
    uint8_t digest[KIT_SHA256_BYTES] = {0};
    kit_sha256 *state = NULL;
    kit_status status = kit_sha256_new(&state, NULL);
    if (status == KOLM_OK) status = kit_sha256_update(state, salt, sizeof salt - 1, NULL);
    if (status == KOLM_OK) status = kit_sha256_update(state, secret->text, secret->length, NULL);
    if (status == KOLM_OK) status = kit_sha256_final(state, digest, NULL);
    kit_sha256_free(state);
    out[0] = '\0';
    if (status == KOLM_OK)
        kit_format(out, KIT_SECRET_MARK_BYTES, "token %02x%02x%02x%02x", digest[0], digest[1], digest[2], digest[3]);
    return status;
}

/* Length of the longest prefix of text that occurs anywhere in the secret. */
static size_t longest_run(const kit_secret *secret, const char *text, size_t length) {
    size_t best = 0;
    for (size_t at = 0; at + best < secret->length; at++) {
        size_t n = 0, most = secret->length - at < length ? secret->length - at : length;
        while (n < most && secret->text[at + n] == text[n])
            n++;
        if (n > best) best = n;
    }
    size_t least = secret->length <= KIT_SECRET_SHOWN_MAX ? secret->length : KIT_SECRET_SHOWN_MAX + 1;
    return best >= least ? best : 0;
}

void kit_secret_redact(const kit_secret *const *secrets, size_t count, const char *text, size_t length, kit_buf *out) {
    size_t plain = 0; /* start of the text not yet appended */
    for (size_t at = 0; at < length;) {
        size_t hidden = 0;
        for (size_t i = 0; i < count; i++) {
            size_t run = secrets[i] != NULL ? longest_run(secrets[i], text + at, length - at) : 0;
            if (run > hidden) hidden = run;
        }
        if (hidden == 0) {
            at++;
            continue;
        }
        kit_buf_add(out, text + plain, at - plain);
        kit_buf_str(out, "[secret]");
        at += hidden;
        plain = at;
    }
    kit_buf_add(out, text + plain, length - plain);
}
