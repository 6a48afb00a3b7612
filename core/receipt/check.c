/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict on an artifact, from signatures, digests, chain and keyring. */
#include "receipt/internal.h"

#include "kolm/kit/digest.h"
#include "receipt/receipt.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *receipt_verdict_name(receipt_verdict verdict) {
    switch (verdict) {
    case RECEIPT_TRUSTED:
        return "trusted";
    case RECEIPT_UNKNOWN_KEY:
        return "valid but unknown key";
    case RECEIPT_REVOKED:
        return "revoked";
    case RECEIPT_EXPIRED:
        return "expired";
    case RECEIPT_TAMPERED:
        return "tampered";
    case RECEIPT_MALFORMED:
        return "malformed";
    case RECEIPT_CHAIN_BROKEN:
        return "chain broken";
    }
    return "malformed";
}

kit_status receipt_sidecar_read(const char *path, kit_buf *out_lines, bool *out_found, kolm_error_t *err) {
    *out_found = false;
    kit_status status = kit_read_file(path, 4 * RECEIPT_MAX_LINE, out_lines, err);
    if (status == KOLM_E_NOT_FOUND) return KOLM_OK;
    *out_found = status == KOLM_OK;
    return status;
}

/* State of a check. A step ends the check with a verdict (say) or a status: a status means that the check itself
 * failed, and never becomes a verdict. */
typedef struct check {
    const receipt_question *q;
    receipt_report *r;
    kolm_error_t *err;
    receipt_public signer;
    bool judged;           /* the verdict is decided */
    receipt_line lines[2]; /* the signer's own */
    int64_t made_at;       /* as the receipt states */
    bool dated;
} check;

static void say(check *c, receipt_verdict verdict, const char *remedy, const char *format, ...) KIT_PRINTF(4, 5);

static void say(check *c, receipt_verdict verdict, const char *remedy, const char *format, ...) {
    char why[400];
    va_list arguments;
    va_start(arguments, format);
    int ignored = vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    (void)ignored;
    c->judged = true;
    c->r->verdict = verdict;
    kit_format(c->r->text, sizeof c->r->text, "%s: %s", receipt_verdict_name(verdict), why);
    kit_copy(c->r->remedy, sizeof c->r->remedy, remedy);
}

static const char *const FETCH = "do not use it; download artifact and receipts again";

/* True if status means that the bytes are wrong, as opposed to unreadable. */
static bool is_about_bytes(kit_status status) {
    return status == KOLM_E_INVALID_ARGUMENT || status == KOLM_E_OUT_OF_RANGE;
}

/* ---- The signature inside the artifact */
static kit_status read_signer(check *c) {
    char pem[RECEIPT_PEM_BYTES];
    kit_status status = receipt_public_parse(c->q->signer_pem, c->q->signer_pem_length, &c->signer, c->err);
    if (is_about_bytes(status)) {
        say(c, RECEIPT_MALFORMED, FETCH, "the public key in it cannot be read (%s)", c->err->text);
        return KOLM_OK;
    }
    KIT_TRY(status);
    kit_copy(c->r->keyid, sizeof c->r->keyid, c->signer.keyid);
    receipt_public_pem(&c->signer, pem);
    if (strlen(pem) != c->q->signer_pem_length || memcmp(pem, c->q->signer_pem, c->q->signer_pem_length) != 0)
        say(c, RECEIPT_MALFORMED, FETCH, "the public key in it is not in the form that kolm writes");
    return KOLM_OK;
}

static kit_status judge_envelope(check *c, const receipt_envelope *envelope) {
    bool spelled = false, signs = false;
    char keyid[KIT_SHA256_HEX];
    if (strcmp(envelope->type, c->q->envelope_type) != 0) {
        say(c, RECEIPT_MALFORMED, FETCH, "its signature does not cover a manifest");
        return KOLM_OK;
    }
    if (envelope->payload.length != c->q->manifest_length ||
        memcmp(kit_buf_text(&envelope->payload), c->q->manifest, c->q->manifest_length) != 0) {
        say(c, RECEIPT_TAMPERED, FETCH, "the manifest was changed after it was signed");
        return KOLM_OK;
    }
    KIT_TRY(receipt_envelope_signed_by(envelope, &c->signer, &signs, c->err));
    KIT_TRY(receipt_envelope_spelled(envelope, c->q->envelope, c->q->envelope_length, &spelled, keyid, c->err));
    if (!signs)
        say(c, RECEIPT_TAMPERED, FETCH, "the signature does not belong to the manifest and the key %.16s",
            c->signer.keyid);
    else if (!spelled || strcmp(keyid, c->signer.keyid) != 0)
        say(c, RECEIPT_MALFORMED, FETCH, "its signature is not in the form that kolm writes");
    return KOLM_OK;
}

static kit_status check_embedded(check *c) {
    receipt_envelope envelope = {0};
    KIT_TRY(read_signer(c));
    if (c->judged) return KOLM_OK;
    kit_status status = receipt_envelope_parse(c->q->envelope, c->q->envelope_length, &envelope, c->err);
    if (is_about_bytes(status)) {
        say(c, RECEIPT_MALFORMED, FETCH, "its signature cannot be read (%s)", c->err->text);
        return KOLM_OK;
    }
    if (status == KOLM_OK) status = judge_envelope(c, &envelope);
    receipt_envelope_free(&envelope);
    return status;
}

/* ---- The sidecar; the rule is in receipt.h */
/* The subject of a statement; NULL if there is not exactly one with a SHA-256. */
static const char *subject_of(const cJSON *statement) {
    const cJSON *subjects = kit_json_get(statement, "subject");
    const char *digest = NULL;
    if (!cJSON_IsArray(subjects) || cJSON_GetArraySize(subjects) != 1) return NULL;
    if (!kit_json_get_string(kit_json_get(subjects->child, "digest"), "sha256", &digest) || !receipt_is_keyid(digest))
        return NULL;
    return digest;
}

/* One of the first two lines, which must be signed by the signer and about this file. */
static kit_status take_own(check *c, const char *text, size_t length, size_t number) {
    receipt_line *line = &c->lines[number - 1];
    bool signs = false;
    kit_status status = receipt_line_parse(text, length, line, c->err);
    if (is_about_bytes(status)) {
        say(c, RECEIPT_MALFORMED, FETCH, "line %zu of its receipts is not a signed statement (%s)", number,
            c->err->text);
        return KOLM_OK;
    }
    KIT_TRY(status);
    KIT_TRY(receipt_envelope_signed_by(&line->envelope, &c->signer, &signs, c->err));
    const char *subject = subject_of(line->statement);
    if (!signs || strcmp(line->keyid, c->signer.keyid) != 0) {
        bool names = signs || memmem(text, length, c->signer.keyid, RECEIPT_KEYID_HEX) != NULL;
        if (names)
            say(c, RECEIPT_TAMPERED, FETCH, "line %zu of its receipts was changed after it was signed", number);
        else
            say(c, RECEIPT_CHAIN_BROKEN, FETCH, "line %zu of its receipts is not by the signer of the manifest",
                number);
    } else if (subject == NULL) {
        say(c, RECEIPT_MALFORMED, FETCH, "line %zu of its receipts is not about one file", number);
    } else if (strcmp(subject, c->q->file_sha256) != 0) {
        say(c, RECEIPT_TAMPERED, FETCH, "line %zu of its receipts is about another file (sha256 %.16s...)", number,
            subject);
    }
    return KOLM_OK;
}

/* A line after the first two: by others, in the same form; its contents are ignored. */
static kit_status pass_foreign(check *c, const char *text, size_t length, size_t number) {
    receipt_envelope envelope = {0};
    bool spelled = false;
    char keyid[KIT_SHA256_HEX] = "";
    kit_status status = receipt_envelope_parse(text, length, &envelope, c->err);
    if (status == KOLM_OK) status = receipt_envelope_spelled(&envelope, text, length, &spelled, keyid, c->err);
    receipt_envelope_free(&envelope);
    if (status != KOLM_OK && !is_about_bytes(status)) return status;
    if (!spelled)
        say(c, RECEIPT_MALFORMED, FETCH,
            "line %zu of its receipts is not a signed statement in the form that kolm writes", number);
    else if (strcmp(keyid, c->signer.keyid) == 0)
        say(c, RECEIPT_CHAIN_BROKEN, FETCH,
            "line %zu of its receipts names the signer, which only its first two lines may do", number);
    return KOLM_OK;
}

static bool begins(const check *c, const char *bytes, size_t length) {
    return c->q->sidecar_length >= length && memcmp(c->q->sidecar, bytes, length) == 0;
}

/* Detects changes by editors, shells and version control. The bytes differ, so they are not trusted; but it is not an
 * attack, and another copy helps. */
static void judge_transport(check *c) {
    static const char *const REMEDY =
        "copy it again from where it was made, byte for byte (git: `*.intoto.jsonl -text` in "
        ".gitattributes; FTP: binary)";
    const char *text = c->q->sidecar;
    size_t length = c->q->sidecar_length;
    if (begins(c, "\xFF\xFE", 2) || begins(c, "\xFE\xFF", 2))
        say(c, RECEIPT_MALFORMED, REMEDY, "its receipts were rewritten as UTF-16 after they were signed");
    else if (begins(c, "\xEF\xBB\xBF", 3))
        say(c, RECEIPT_MALFORMED, REMEDY, "a byte order mark was put before its receipts, after they were signed");
    else if (memmem(text, length, "\r\n", 2) != NULL)
        say(c, RECEIPT_MALFORMED, REMEDY,
            "the line ends of its receipts were changed from LF to CRLF, after they were signed");
    else if (begins(c, "\n", 1) || memmem(text, length, "\n\n", 2) != NULL)
        say(c, RECEIPT_MALFORMED, REMEDY, "empty lines were put among its receipts, after they were signed");
    else if (length > 0 && text[length - 1] == '}')
        say(c, RECEIPT_MALFORMED, REMEDY,
            "its receipts lack the end of the last line: they were truncated, or changed by an editor");
}

static kit_status take_lines(check *c) {
    size_t number = 1;
    judge_transport(c);
    if (c->judged) return KOLM_OK;
    if (c->q->sidecar_length == 0 || c->q->sidecar[c->q->sidecar_length - 1] != '\n') {
        say(c, RECEIPT_MALFORMED, FETCH, "its receipts are truncated");
        return KOLM_OK;
    }
    for (size_t at = 0; at < c->q->sidecar_length && !c->judged; number++) {
        const char *text = c->q->sidecar + at;
        size_t n = (size_t)((const char *)memchr(text, '\n', c->q->sidecar_length - at) - text);
        KIT_TRY(number <= 2 ? take_own(c, text, n, number) : pass_foreign(c, text, n, number));
        if (!c->judged && number <= 2) c->r->receipts++;
        at += n + 1;
    }
    if (!c->judged && c->r->receipts < 2)
        say(c, RECEIPT_CHAIN_BROKEN, FETCH, "one of the two lines that its signer wrote next to it is missing");
    return KOLM_OK;
}

static bool is_of_type(const receipt_line *line, const char *type) {
    const char *is = NULL;
    return kit_json_get_string(line->statement, "predicateType", &is) && strcmp(is, type) == 0;
}

/* The provenance, then the receipt that follows it in the log. */
static kit_status check_receipts(check *c) {
    const receipt_line *first = &c->lines[0], *second = &c->lines[1];
    const char *manifest = NULL, *when = NULL;
    char digest[KIT_SHA256_HEX];
    bool follows = first->placed && second->placed && is_of_type(first, RECEIPT_SLSA_PREDICATE) &&
                   is_of_type(second, RECEIPT_PREDICATE) && strcmp(first->place.log_id, second->place.log_id) == 0 &&
                   first->place.seq + 1 == second->place.seq && strcmp(first->sha256, second->place.prev) == 0;
    if (!follows) {
        say(c, RECEIPT_CHAIN_BROKEN, FETCH,
            "its receipts are not the two lines, one following the other, that its signer wrote");
        return KOLM_OK;
    }
    const cJSON *predicate = kit_json_get(second->statement, "predicate");
    KIT_TRY(kit_sha256_bytes(c->q->manifest, c->q->manifest_length, digest, c->err));
    if (!kit_json_get_string(kit_json_get(predicate, "artifact"), "manifest_sha256", &manifest) ||
        strcmp(manifest, digest) != 0) {
        say(c, RECEIPT_TAMPERED, FETCH, "its receipt is about another manifest");
        return KOLM_OK;
    }
    c->r->receipt = cJSON_Duplicate(predicate, true);
    if (c->r->receipt == NULL) return kit_no_memory(c->err);
    c->r->place = second->place;
    kit_copy(c->r->line_sha256, sizeof c->r->line_sha256, second->sha256);
    c->dated = kit_json_get_string(predicate, "finished_at", &when) && receipt_time_parse(when, &c->made_at);
    return KOLM_OK;
}

/* ---- The log of this machine */
static kit_status check_local_chain(check *c) {
    bool same_log = false, found = false;
    char why[256];
    if (c->q->chain_path == NULL) return KOLM_OK;
    KIT_TRY(receipt_chain_find(c->q->chain_path, &c->r->place, c->r->line_sha256, &c->signer, &same_log, &found, why,
                               c->err));
    c->r->in_local_chain = found;
    if (same_log && !found)
        say(c, RECEIPT_CHAIN_BROKEN,
            "compare with the head that a compile printed; restore the log from a backup, with the file .heads next to "
            "it",
            "%s", why);
    return KOLM_OK;
}

/* ---- The key */
static bool within(const receipt_trusted *item, int64_t when) {
    return when >= item->valid_from && when <= item->valid_to;
}

/* A replaced key counts for what it signed before that, as proved by the log, because dates can be forged. */
static bool was_retired(check *c, const receipt_trusted *item) {
    static const char *const REMEDY = "ask its maker to sign with the key that replaced it";
    char date[RECEIPT_TIME_BYTES] = "";
    if (!item->retired || item->own) return false;
    (void)receipt_time_text(item->retired_at, date);
    if (c->r->receipts == 0)
        say(c, RECEIPT_EXPIRED, "put the .intoto.jsonl that was made with it next to it",
            "key %.16s was replaced on %s, and no receipts next to it show that it signed before that", c->signer.keyid,
            date);
    else if (receipt_signed_after_retirement(item, &c->r->place))
        say(c, RECEIPT_EXPIRED, REMEDY, "key %.16s was replaced on %s, and signed this after that", c->signer.keyid,
            date);
    else if (!c->r->in_local_chain)
        say(c, RECEIPT_EXPIRED, "restore the log of that time from a backup, or ask its maker to sign it again",
            "key %.16s was replaced on %s, and its receipts are not in the log in which that was written",
            c->signer.keyid, date);
    else
        return false;
    return true;
}

static void judge_key(check *c) {
    char date[RECEIPT_TIME_BYTES] = "";
    const receipt_trusted *item = receipt_keyring_find(c->q->ring, c->signer.keyid);
    if (item == NULL || !item->trusted) {
        say(c, RECEIPT_UNKNOWN_KEY,
            "ask its maker for the fingerprint over another channel, compare, then: kolm keys trust FILE",
            "the bytes are those that key %s signed, but that key is not trusted here", c->signer.keyid);
        return;
    }
    kit_copy(c->r->label, sizeof c->r->label, item->label);
    if (!within(item, c->q->now) || (c->dated && !within(item, c->made_at))) {
        bool early = c->q->now < item->valid_from || (c->dated && c->made_at < item->valid_from);
        (void)receipt_time_text(early ? item->valid_from : item->valid_to, date);
        say(c, RECEIPT_EXPIRED,
            "ask its maker to sign with a key that is valid, or trust this one for longer: kolm keys trust",
            "key %.16s%s%s%s is trusted only %s %s", c->signer.keyid, item->label[0] != '\0' ? " (" : "", item->label,
            item->label[0] != '\0' ? ")" : "", early ? "from" : "until", date);
        return;
    }
    if (was_retired(c, item)) return;
    const char *content = c->q->sidecar != NULL
                              ? "signed with its receipts"
                              : "signed; there are no receipts next to it, so nothing is known about how it was made";
    say(c, RECEIPT_TRUSTED, "", "%s, by key %.16s%s%s%s", content, c->signer.keyid, item->label[0] != '\0' ? " (" : "",
        item->label, item->label[0] != '\0' ? ")" : "");
}

/* Revocation wins over everything except bytes that do not match the signature. */
static void check_revoked(check *c) {
    char date[RECEIPT_TIME_BYTES] = "";
    const receipt_trusted *item = receipt_keyring_find(c->q->ring, c->signer.keyid);
    if (item == NULL || !item->revoked) return;
    kit_copy(c->r->label, sizeof c->r->label, item->label);
    (void)receipt_time_text(item->revoked_at, date);
    say(c, RECEIPT_REVOKED, "do not use it; ask its maker to compile it again and sign it with another key",
        "key %.16s was revoked on %s%s%s", c->signer.keyid, date, item->reason[0] != '\0' ? ": " : "", item->reason);
}

kit_status receipt_check(const receipt_question *question, receipt_report *out_report, kolm_error_t *err) {
    kolm_error_t unasked = KIT_ERROR_INIT;
    check c = {.q = question, .r = out_report, .err = err != NULL ? err : &unasked};
    const bool beside = question->sidecar != NULL;
    *out_report = (receipt_report){.verdict = RECEIPT_MALFORMED};
    kit_status status = check_embedded(&c);
    if (status == KOLM_OK && !c.judged && beside) status = take_lines(&c);
    if (status == KOLM_OK && !c.judged) check_revoked(&c);
    if (status == KOLM_OK && !c.judged && beside) status = check_receipts(&c);
    if (status == KOLM_OK && !c.judged && beside) status = check_local_chain(&c);
    if (status == KOLM_OK && !c.judged) judge_key(&c);
    receipt_line_free(&c.lines[0]);
    receipt_line_free(&c.lines[1]);
    if (status != KOLM_OK) receipt_report_free(out_report);
    return status;
}

void receipt_report_free(receipt_report *report) {
    cJSON_Delete(report->receipt);
    *report = (receipt_report){.verdict = RECEIPT_MALFORMED};
}
