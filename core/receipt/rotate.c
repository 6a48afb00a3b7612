/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation: a new signing key, signed by the old one. */
#include "receipt/internal.h"
#include "receipt/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static kit_status sign_rotation(const receipt_key *old_key, const receipt_key *new_key, const char *date,
                                const receipt_place *place, kit_buf *out_line, kolm_error_t *err) {
    kit_buf statement = {0};
    const char *new_id = receipt_key_public(new_key)->keyid;
    cJSON *predicate = cJSON_CreateObject();
    bool good = predicate != NULL && kit_json_put_string(predicate, "old_keyid", receipt_key_public(old_key)->keyid) &&
                kit_json_put_string(predicate, "new_keyid", new_id) &&
                kit_json_put_string(predicate, "new_public_key", receipt_key_pem(new_key)) &&
                kit_json_put_string(predicate, "rotated_at", date) && receipt_place_put(predicate, place);
    if (!good) {
        cJSON_Delete(predicate);
        return kit_no_memory(err);
    }
    /* The id of a key is the digest of its SPKI DER, so it can stand as the digest of the subject. */
    kit_status status =
        receipt_statement("signing key", new_id, RECEIPT_ROTATION_PREDICATE, predicate, &statement, err);
    if (status == KOLM_OK)
        status = receipt_envelope_sign(old_key, RECEIPT_PAYLOAD_TYPE, statement.data, statement.length, out_line, err);
    if (status == KOLM_OK) {
        kit_buf_char(out_line, '\n');
        status = kit_buf_ok(out_line, err);
    }
    kit_buf_free(&statement);
    return status;
}

static kit_status append_rotation(const char *keys_dir, const kit_buf *line, kolm_error_t *err) {
    char *path = NULL;
    KIT_TRY(receipt_path(keys_dir, NULL, RECEIPT_ROTATIONS, &path, err));
    kit_status status = KOLM_OK;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) status = kit_fail_errno(err, errno, "cannot open %s", path);
    if (status == KOLM_OK) status = kit_write_all(fd, line->data, line->length, err);
    if (status == KOLM_OK && fsync(fd) != 0) status = kit_fail_errno(err, errno, "cannot write %s", path);
    if (fd >= 0 && close(fd) != 0 && status == KOLM_OK) status = kit_fail_errno(err, errno, "cannot write %s", path);
    free(path);
    return status;
}

/* In this order a crash in between leaves the old key signing (an entry that retires the signing key does not count
 * yet), or both trusted up to the rotation. There is never an artifact without a trusted key. */
static kit_status replace_key(const char *keys_dir, receipt_chain *chain, const receipt_key *old_key,
                              const receipt_key *new_key, int64_t now, kit_buf *out_line, kolm_error_t *err) {
    char date[RECEIPT_TIME_BYTES];
    receipt_place place;
    receipt_trusted old = {.key = *receipt_key_public(old_key),
                           .valid_from = RECEIPT_NO_START,
                           .valid_to = RECEIPT_NO_END,
                           .trusted = true,
                           .retired = true,
                           .retired_at = now};
    receipt_head head;
    if (!receipt_time_text(now, date))
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "set the clock", "the date is out of range");
    kit_format(old.label, sizeof old.label, "own, until %s", date);
    receipt_chain_next(chain, &place);
    kit_copy(old.retired_log_id, sizeof old.retired_log_id, place.log_id);
    old.retired_seq = place.seq;
    KIT_TRY(sign_rotation(old_key, new_key, date, &place, out_line, err));
    KIT_TRY(receipt_trust_locked(keys_dir, &old, now, err));
    KIT_TRY(receipt_chain_append(chain, out_line->data, out_line->length, &head, err));
    KIT_TRY(append_rotation(keys_dir, out_line, err));
    return receipt_key_store(keys_dir, new_key, true, err);
}

kit_status receipt_key_rotate(const char *keys_dir, const char *chain_path, int64_t now, receipt_public *out_old,
                              receipt_public *out_new, kit_buf *out_line, kolm_error_t *err) {
    receipt_key *old_key = NULL, *new_key = NULL;
    receipt_chain *chain = NULL;
    kit_buf line = {0};
    int lock = -1;
    kit_status status = receipt_lock_keys(keys_dir, &lock, err);
    if (status == KOLM_OK) status = receipt_key_load(keys_dir, &old_key, err);
    if (status == KOLM_OK) status = receipt_key_random(&new_key, err);
    if (status == KOLM_OK) status = receipt_chain_open(chain_path, &chain, err);
    if (status == KOLM_OK) status = replace_key(keys_dir, chain, old_key, new_key, now, &line, err);
    if (status == KOLM_OK) {
        kit_buf_add(out_line, line.data, line.length);
        status = kit_buf_ok(out_line, err);
        *out_old = *receipt_key_public(old_key);
        *out_new = *receipt_key_public(new_key);
    }
    kit_buf_free(&line);
    receipt_chain_close(chain);
    receipt_key_free(old_key);
    receipt_key_free(new_key);
    if (lock >= 0) close(lock);
    return status;
}
