/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict: what the signatures, digests, chain and keyring together allow to be said about an artifact. */
#include "receipt/internal.h"
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

/* What the steps of a check share. */
typedef struct check {
    const receipt_question *q;
    receipt_report *r;
    receipt_public signer;
    receipt_line *lines; /* of the sidecar */
    bool *by_signer;     /* lines[i] is signed by signer, in kolm's own spelling */
    size_t line_count;
    int64_t made_at; /* as the receipt states */
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
    c->r->verdict = verdict;
    kit_format(c->r->text, sizeof c->r->text, "%s: %s", receipt_verdict_name(verdict), why);
    kit_copy(c->r->remedy, sizeof c->r->remedy, remedy);
}

static const char *const FETCH = "do not use it; get artifact and receipts again from where they were made";

/* ---- The signature inside the artifact. False when the verdict is there. */
static bool check_embedded(check *c) {
    kolm_error_t err = KIT_ERROR_INIT;
    char pem[RECEIPT_PEM_BYTES];
    receipt_envelope envelope = {0};
    kit_buf again = {0};
    bool good = false;
    if (receipt_public_parse(c->q->signer_pem, c->q->signer_pem_length, &c->signer, &err) != KOLM_OK) {
        say(c, RECEIPT_MALFORMED, FETCH, "the public key in it cannot be read (%s)", err.text);
        goto out;
    }
    kit_copy(c->r->keyid, sizeof c->r->keyid, c->signer.keyid);
    receipt_public_pem(&c->signer, pem);
    if (strlen(pem) != c->q->signer_pem_length || memcmp(pem, c->q->signer_pem, c->q->signer_pem_length) != 0) {
        say(c, RECEIPT_MALFORMED, FETCH, "the public key in it is not spelled as kolm spells it");
    } else if (receipt_envelope_parse(c->q->envelope, c->q->envelope_length, &envelope, &err) != KOLM_OK) {
        say(c, RECEIPT_MALFORMED, FETCH, "its signature cannot be read (%s)", err.text);
    } else if (strcmp(envelope.type, c->q->envelope_type) != 0) {
        say(c, RECEIPT_MALFORMED, FETCH, "its signature is over something else than a manifest");
    } else if (envelope.payload.length != c->q->manifest_length ||
               memcmp(kit_buf_text(&envelope.payload), c->q->manifest, c->q->manifest_length) != 0) {
        say(c, RECEIPT_TAMPERED, FETCH, "the manifest is not the one that was signed");
    } else if (!receipt_envelope_signed_by(&envelope, &c->signer)) {
        say(c, RECEIPT_TAMPERED, FETCH, "the signature does not belong to the manifest and the key %.16s",
            c->signer.keyid);
    } else {
        receipt_envelope_text(envelope.type, c->q->manifest, c->q->manifest_length, c->signer.keyid,
                              envelope.signatures[0].bytes, &again);
        good = again.length == c->q->envelope_length && memcmp(kit_buf_text(&again), c->q->envelope, again.length) == 0;
        if (!good) say(c, RECEIPT_MALFORMED, FETCH, "its signature is not spelled as kolm spells it");
    }
out:
    kit_buf_free(&again);
    receipt_envelope_free(&envelope);
    return good;
}

/* ---- The lines beside it */
/* True when text is in the one spelling that the signer writes. Anything else has another digest than the next line
 * names. */
static bool is_spelled(const check *c, const receipt_line *line, const char *text, size_t length) {
    kit_buf again = {0};
    receipt_envelope_text(line->envelope.type, kit_buf_text(&line->envelope.payload), line->envelope.payload.length,
                          c->signer.keyid, line->envelope.signatures[0].bytes, &again);
    bool same = again.length == length && memcmp(kit_buf_text(&again), text, length) == 0;
    kit_buf_free(&again);
    return same;
}

/* True when another key that is believed signed it: an attestation that somebody added. */
static bool is_friends(const check *c, const receipt_line *line) {
    for (size_t i = 0; i < receipt_keyring_count(c->q->ring); i++) {
        const receipt_trusted *item = receipt_keyring_at(c->q->ring, i);
        if (item->trusted && !item->revoked && strcmp(item->key.keyid, c->signer.keyid) != 0 &&
            receipt_envelope_signed_by(&line->envelope, &item->key)) {
            return true;
        }
    }
    return false;
}

/* The subject of a statement, or NULL when it is not exactly one with a SHA-256. */
static const char *subject_of(const cJSON *statement) {
    const cJSON *subjects = kit_json_get(statement, "subject");
    const char *digest = NULL;
    if (!cJSON_IsArray(subjects) || cJSON_GetArraySize(subjects) != 1) return NULL;
    if (!kit_json_get_string(kit_json_get(subjects->child, "digest"), "sha256", &digest) || !receipt_is_keyid(digest))
        return NULL;
    return digest;
}

/* One line of the sidecar; false when the verdict is there. */
static bool take_line(check *c, const char *text, size_t length, size_t number) {
    kolm_error_t err = KIT_ERROR_INIT;
    receipt_line *line = &c->lines[c->line_count];
    if (receipt_line_parse(text, length, line, &err) != KOLM_OK) {
        say(c, RECEIPT_MALFORMED, FETCH, "line %zu of its receipts is not a signed statement (%s)", number, err.text);
        return false;
    }
    bool signs = receipt_envelope_signed_by(&line->envelope, &c->signer);
    bool own = signs && is_spelled(c, line, text, length);
    c->by_signer[c->line_count++] = own;
    if (!own && is_friends(c, line)) return true;
    if (!own && (signs || memmem(text, length, c->signer.keyid, RECEIPT_KEYID_HEX) != NULL)) {
        say(c, RECEIPT_TAMPERED, FETCH, "line %zu of its receipts was changed after it was signed", number);
        return false;
    }
    if (!own) return true; /* a stranger's statement: no reason to believe it, none to mind it */
    const char *subject = subject_of(line->statement);
    if (subject == NULL) {
        say(c, RECEIPT_MALFORMED, FETCH, "line %zu of its receipts is not about one file", number);
        return false;
    }
    if (strcmp(subject, c->q->file_sha256) != 0) {
        say(c, RECEIPT_TAMPERED, FETCH, "line %zu of its receipts is about another file (sha256 %.16s...)", number,
            subject);
        return false;
    }
    c->r->receipts++;
    return true;
}

static size_t count_lines(const char *text, size_t length) {
    size_t count = 1;
    for (size_t i = 0; i < length; i++)
        count += text[i] == '\n';
    return count;
}

static bool take_lines(check *c, kit_status *status, kolm_error_t *err) {
    size_t most = count_lines(c->q->sidecar, c->q->sidecar_length);
    if (c->q->sidecar_length == 0 || c->q->sidecar[c->q->sidecar_length - 1] != '\n') {
        say(c, RECEIPT_MALFORMED, FETCH, "its receipts are cut off");
        return false;
    }
    c->lines = calloc(most, sizeof *c->lines);
    c->by_signer = calloc(most, sizeof *c->by_signer);
    if (c->lines == NULL || c->by_signer == NULL) {
        *status = receipt_no_memory(err);
        return false;
    }
    size_t number = 1;
    for (size_t at = 0; at < c->q->sidecar_length; number++) {
        const char *text = c->q->sidecar + at;
        size_t n = (size_t)((const char *)memchr(text, '\n', c->q->sidecar_length - at) - text);
        if (!take_line(c, text, n, number)) return false;
        at += n + 1;
    }
    return true;
}

/* Each receipt of kolm's names the line before it, which must be there; false when the verdict is there. */
static bool check_receipts(check *c) {
    const char *type = NULL, *manifest = NULL, *when = NULL;
    char digest[KIT_SHA256_HEX];
    for (size_t i = 0; i < c->line_count; i++) {
        const receipt_line *line = &c->lines[i];
        if (!c->by_signer[i] || !kit_json_get_string(line->statement, "predicateType", &type) ||
            strcmp(type, RECEIPT_PREDICATE) != 0)
            continue;
        const cJSON *predicate = kit_json_get(line->statement, "predicate");
        bool linked = false;
        for (size_t j = 0; j < c->line_count && line->placed && !linked; j++) {
            const receipt_line *before = &c->lines[j];
            linked = before->placed && strcmp(before->place.log_id, line->place.log_id) == 0 &&
                     before->place.seq + 1 == line->place.seq && strcmp(before->sha256, line->place.prev) == 0;
        }
        if (!linked) {
            say(c, RECEIPT_CHAIN_BROKEN, FETCH, "the line that its receipt follows is missing or was changed");
            return false;
        }
        kolm_error_t err = KIT_ERROR_INIT;
        bool same = kit_sha256_bytes(c->q->manifest, c->q->manifest_length, digest, &err) == KOLM_OK &&
                    kit_json_get_string(kit_json_get(predicate, "artifact"), "manifest_sha256", &manifest) &&
                    strcmp(manifest, digest) == 0;
        if (!same) {
            say(c, RECEIPT_TAMPERED, FETCH, "its receipt is about another manifest");
            return false;
        }
        cJSON_Delete(c->r->receipt);
        c->r->receipt = cJSON_Duplicate(predicate, true);
        c->r->place = line->place;
        kit_copy(c->r->line_sha256, sizeof c->r->line_sha256, line->sha256);
        c->dated = kit_json_get_string(predicate, "finished_at", &when) && receipt_time_parse(when, &c->made_at);
    }
    if (c->r->line_sha256[0] == '\0') {
        say(c, RECEIPT_CHAIN_BROKEN, FETCH, "the lines beside it hold no receipt by who signed it");
        return false;
    }
    return true;
}

/* ---- The log of this machine; false when the verdict is there. */
static bool check_local_chain(check *c, kit_status *status, kolm_error_t *err) {
    bool same_log = false, found = false;
    char why[256];
    if (c->q->chain_path == NULL) return true;
    *status = receipt_chain_find(c->q->chain_path, &c->r->place, c->r->line_sha256, &same_log, &found, why, err);
    if (*status != KOLM_OK) return false;
    c->r->in_local_chain = found;
    if (!same_log || found) return true;
    say(c, RECEIPT_CHAIN_BROKEN,
        "compare with the head that a compile printed; if the log was only damaged, put it back from a backup or move "
        "it "
        "away, and the next compile begins a new one",
        "%s", why);
    return false;
}

/* ---- The key */
static bool within(const receipt_trusted *item, int64_t when) {
    return when >= item->valid_from && when <= item->valid_to;
}

static void judge_key(check *c) {
    char date[RECEIPT_TIME_BYTES] = "";
    const receipt_trusted *item = receipt_keyring_find(c->q->ring, c->signer.keyid);
    if (item == NULL || !item->trusted) {
        say(c, RECEIPT_UNKNOWN_KEY,
            "ask its maker for the fingerprint by another way, compare, then: kolm keys trust FILE",
            "the bytes are those that key %s signed, but nobody here vouched for that key", c->signer.keyid);
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
    const char *content = c->q->sidecar != NULL
                              ? "signed with its receipts"
                              : "signed; no receipts lie beside it, so nothing is known about how it was made";
    say(c, RECEIPT_TRUSTED, "", "%s, by key %.16s%s%s%s", content, c->signer.keyid, item->label[0] != '\0' ? " (" : "",
        item->label, item->label[0] != '\0' ? ")" : "");
}

/* Revocation wins over everything but bytes that do not agree with the signature at all. */
static bool check_revoked(check *c) {
    char date[RECEIPT_TIME_BYTES] = "";
    const receipt_trusted *item = receipt_keyring_find(c->q->ring, c->signer.keyid);
    if (item == NULL || !item->revoked) return true;
    kit_copy(c->r->label, sizeof c->r->label, item->label);
    (void)receipt_time_text(item->revoked_at, date);
    say(c, RECEIPT_REVOKED, "do not use it; ask its maker to compile and sign it anew",
        "key %.16s was revoked on %s%s%s", c->signer.keyid, date, item->reason[0] != '\0' ? ": " : "", item->reason);
    return false;
}

kit_status receipt_check(const receipt_question *question, receipt_report *out_report, kolm_error_t *err) {
    check c = {.q = question, .r = out_report};
    kit_status status = KOLM_OK;
    *out_report = (receipt_report){.verdict = RECEIPT_MALFORMED};
    bool go_on = check_embedded(&c);
    if (go_on && question->sidecar != NULL) go_on = take_lines(&c, &status, err);
    if (go_on) go_on = check_revoked(&c);
    if (go_on && question->sidecar != NULL) go_on = check_receipts(&c) && check_local_chain(&c, &status, err);
    if (go_on) judge_key(&c);
    for (size_t i = 0; i < c.line_count; i++)
        receipt_line_free(&c.lines[i]);
    free(c.lines);
    free(c.by_signer);
    if (status != KOLM_OK) receipt_report_free(out_report);
    return status;
}

void receipt_report_free(receipt_report *report) {
    cJSON_Delete(report->receipt);
    *report = (receipt_report){.verdict = RECEIPT_MALFORMED};
}
