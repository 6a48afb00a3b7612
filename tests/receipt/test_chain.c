/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of receipts with any modification, and verdicts on files with receipts. */
#include "receipt_fixture.h"

/* ---- The chain */
static void forget_heads(void) {
    ck_assert(unlink(fixture_path("receipts.jsonl.heads")) == 0 || errno == ENOENT);
}

static void check_chain(uint64_t lines, uint64_t broken_at, bool torn) {
    receipt_chain_report report;
    receipt_keyring *ring = ring_now();
    ck_assert_msg(receipt_chain_check(chain, ring, &report, &err) == KOLM_OK, "%s", err.text);
    ck_assert_msg(report.broken_at == broken_at, "%s", report.text);
    ck_assert_uint_eq(report.lines, lines);
    ck_assert_int_eq(report.torn, torn);
    receipt_keyring_free(ring);
}

START_TEST(the_chain_grows_and_says_its_head) {
    receipt_key *key = seeded(1);
    receipt_head head, again;
    bool found = true;
    ck_assert_int_eq(receipt_chain_head(chain, &again, &found, &err), KOLM_OK);
    ck_assert(!found);
    for (uint64_t i = 0; i < 5; i++) {
        fixture_signed("x.kolm", key, &head);
        ck_assert_uint_eq(head.seq, 2 * i + 1);
        ck_assert_int_eq(receipt_chain_head(chain, &again, &found, &err), KOLM_OK);
        ck_assert(found && again.seq == head.seq);
        ck_assert_str_eq(again.sha256, head.sha256);
        ck_assert_str_eq(again.log_id, head.log_id);
    }
    check_chain(10, 0, false);
    receipt_key_free(key);
}
END_TEST

START_TEST(a_torn_last_line_is_passed_over_and_cut_off) {
    receipt_key *key = seeded(1);
    receipt_head head;
    fixture_signed("x.kolm", key, &head);
    kit_buf text = {0};
    fixture_text("receipts.jsonl", &text);
    for (size_t cut = 1; cut < text.length; cut += 211) {
        ck_assert_int_eq(truncate(chain, (off_t)(text.length - cut)), 0);
        forget_heads(); /* the part cut off here was never acknowledged */
        receipt_head now;
        bool found = false;
        ck_assert_int_eq(receipt_chain_head(chain, &now, &found, &err), KOLM_OK);
        const char *lf = memchr(text.data, '\n', text.length - cut);
        ck_assert_int_eq(found, lf != NULL);
        check_chain(lf != NULL ? 1 : 0, 0, true);
        fixture_signed("x.kolm", key, &now);
        ck_assert_uint_eq(now.seq, lf != NULL ? 2 : 1);
        check_chain(now.seq + 1, 0, false);
        fixture_file("receipts.jsonl", text.data, text.length);
    }
    kit_buf_free(&text);
    receipt_key_free(key);
}
END_TEST

START_TEST(a_truncated_log_is_reported) {
    receipt_key *key = seeded(1);
    receipt_head head;
    receipt_chain *open = NULL;
    receipt_chain_report report;
    kit_buf text = {0};
    for (int i = 0; i < 2; i++)
        fixture_signed("x.kolm", key, &head);
    fixture_text("receipts.jsonl", &text);
    receipt_keyring *ring = ring_now();
    for (size_t at = 0; at < text.length; at++) {
        if (at > 0 && text.data[at - 1] != '\n') continue;
        ck_assert_int_eq(truncate(chain, (off_t)at), 0);
        ck_assert_int_eq(receipt_chain_check(chain, ring, &report, &err), KOLM_OK);
        ck_assert(report.broken_at == report.lines + 1);
        ck_assert_ptr_nonnull(strstr(report.text, at == 0 ? "was emptied: it had 4 lines" : "lines and had 4"));
        ck_assert_int_eq(receipt_chain_ready(chain, &err), KOLM_E_DATA_LOSS);
        ck_assert_int_eq(receipt_chain_open(chain, &open, &err), KOLM_E_DATA_LOSS);
        ck_assert_ptr_nonnull(strstr(err.remedy, "restore it from a backup"));
        fixture_file("receipts.jsonl", text.data, text.length);
    }
    ck_assert_int_eq(unlink(chain), 0);
    ck_assert_int_eq(receipt_chain_check(chain, ring, &report, &err), KOLM_OK);
    ck_assert(report.broken_at == 1);
    /* Moved away on purpose: the next chain begins, and is compared with its own head. */
    ck_assert_int_eq(receipt_chain_ready(chain, &err), KOLM_OK);
    fixture_signed("x.kolm", key, &head);
    ck_assert_uint_eq(head.seq, 1);
    check_chain(2, 0, false);
    fixture_file("receipts.jsonl.heads", "{}", 2);
    ck_assert_int_eq(receipt_chain_check(chain, ring, &report, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(err.text, "is not in the format that kolm writes"));
    receipt_keyring_free(ring);
    kit_buf_free(&text);
    receipt_key_free(key);
}
END_TEST

START_TEST(changed_removed_and_moved_lines_break_the_chain) {
    receipt_key *key = seeded(1);
    receipt_head head;
    kit_buf text = {0}, changed = {0};
    for (int i = 0; i < 2; i++)
        fixture_signed("x.kolm", key, &head);
    fixture_text("receipts.jsonl", &text);
    size_t last = 0;
    for (size_t i = 0; i + 1 < text.length; i++) {
        if (text.data[i] == '\n') last = i + 1;
    }
    /* The last line is protected by its signature and by the printed head, not by the chain. */
    const size_t step = last / test_draws(last / 23, 1);
    for (size_t at = 0; at < last; at += step) {
        receipt_chain_report report;
        receipt_keyring *ring = ring_now();
        kit_buf_clear(&changed);
        kit_buf_add(&changed, text.data, text.length);
        changed.data[at] = (char)(changed.data[at] ^ 1);
        fixture_file("receipts.jsonl", changed.data, changed.length);
        ck_assert_int_eq(receipt_chain_check(chain, ring, &report, &err), KOLM_OK);
        ck_assert_msg(report.broken_at > 0, "byte %zu", at);
        ck_assert_int_eq(strncmp(report.text, "chain broken: line ", 19), 0);
        receipt_keyring_free(ring);
    }
    const char *second = memchr(text.data, '\n', text.length);
    size_t first_length = (size_t)(second + 1 - text.data);
    fixture_file("receipts.jsonl", second + 1, text.length - first_length);
    check_chain(1, 1, false);
    const char *third = memchr(second + 1, '\n', text.length - first_length);
    kit_buf_clear(&changed);
    kit_buf_add(&changed, text.data, first_length);
    kit_buf_add(&changed, third + 1, text.length - (size_t)(third + 1 - text.data));
    fixture_file("receipts.jsonl", changed.data, changed.length);
    check_chain(2, 2, false);
    kit_buf_clear(&changed);
    kit_buf_add(&changed, text.data, first_length - 1);
    kit_buf_str(&changed, "\r\n");
    kit_buf_add(&changed, text.data + first_length, text.length - first_length);
    fixture_file("receipts.jsonl", changed.data, changed.length);
    check_chain(4, 4, false);
    kit_buf_free(&text);
    kit_buf_free(&changed);
    receipt_key_free(key);
}
END_TEST

START_TEST(nothing_is_appended_after_garbage) {
    receipt_chain *open_chain = NULL;
    fixture_file("receipts.jsonl", "garbage\n", 8);
    ck_assert_int_eq(receipt_chain_open(chain, &open_chain, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_null(open_chain);
    ck_assert(strstr(err.text, "receipts.jsonl") != NULL && err.remedy[0] != '\0');
    kit_buf text = {0};
    fixture_text("receipts.jsonl", &text);
    ck_assert_str_eq(kit_buf_text(&text), "garbage\n");
    kit_buf_free(&text);
    check_chain(1, 1, false);
    ck_assert_int_eq(unlink(chain), 0);
    ck_assert_int_eq(receipt_chain_open(chain, &open_chain, &err), KOLM_OK);
    receipt_head head;
    ck_assert_int_eq(receipt_chain_append(open_chain, "x", 1, &head, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(receipt_chain_append(open_chain, "x\n", 2, &head, &err), KOLM_E_INVALID_ARGUMENT);
    receipt_chain_close(open_chain);
    struct stat info;
    ck_assert_int_eq(stat(chain, &info), 0);
    ck_assert_int_eq(info.st_size, 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0600);
}
END_TEST

START_TEST(many_writers_make_one_chain) {
    enum { WRITERS = 4, EACH = 5 };
    receipt_key *key = seeded(1);
    char digest[KIT_SHA256_HEX];
    cJSON *manifest = fixture_manifest();
    ck_assert_int_eq(kit_sha256_bytes("x", 1, digest, &err), KOLM_OK);
    for (int i = 0; i < WRITERS; i++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child > 0) continue;
        bool good = true;
        for (int j = 0; j < EACH && good; j++) {
            receipt_head head;
            receipt_compile compile = fixture_compile(digest, digest, 1, manifest);
            good = receipt_write(&compile, key, chain, NULL, &head, &err) == KOLM_OK;
        }
        cJSON_Delete(manifest); /* valgrind also checks child processes */
        receipt_key_free(key);
        _exit(good ? 0 : 1);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = 1;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    check_chain(2 * WRITERS * EACH, 0, false);
    cJSON_Delete(manifest);
    receipt_key_free(key);
}
END_TEST

/* Writes receipts until the process is killed, and the head of each acknowledged one to fd. */
static void write_for_ever(const receipt_key *key, int fd) {
    cJSON *manifest = fixture_manifest();
    char digest[KIT_SHA256_HEX];
    receipt_head head;
    bool good = kit_sha256_bytes("x", 1, digest, &err) == KOLM_OK;
    while (good) {
        receipt_compile compile = fixture_compile(digest, digest, 1, manifest);
        good = receipt_write(&compile, key, chain, NULL, &head, &err) == KOLM_OK &&
               write(fd, &head.seq, sizeof head.seq) == (ssize_t)sizeof head.seq;
    }
    _exit(1);
}

START_TEST(killed_writers_lose_nothing_that_was_acknowledged) {
    receipt_key *key = seeded(1);
    uint64_t seq = 0;
    const int rounds = (int)test_draws(25, 2);
    for (int round = 0; round < rounds; round++) {
        int acknowledged[2];
        receipt_head head;
        bool found = false;
        ck_assert_int_eq(pipe(acknowledged), 0);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) write_for_ever(key, acknowledged[1]);
        close(acknowledged[1]);
        for (int i = 0; i <= round % 5; i++) {
            ck_assert_int_eq(kit_read_exact(acknowledged[0], &seq, sizeof seq, &err), KOLM_OK);
        }
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        while (read(acknowledged[0], &seq, sizeof seq) == (ssize_t)sizeof seq)
            continue;
        close(acknowledged[0]);
        ck_assert_int_eq(receipt_chain_head(chain, &head, &found, &err), KOLM_OK);
        ck_assert(found && head.seq >= seq);
    }
    receipt_chain_report report;
    receipt_keyring *ring = ring_now();
    ck_assert_int_eq(receipt_chain_check(chain, ring, &report, &err), KOLM_OK);
    ck_assert_msg(report.broken_at == 0, "%s", report.text);
    receipt_keyring_free(ring);
    receipt_key_free(key);
}
END_TEST

START_TEST(a_full_disk_leaves_the_chain_as_it_was) {
    receipt_key *key = seeded(1);
    receipt_head head, after;
    kit_buf before = {0}, now = {0};
    bool found = false;
    struct rlimit kept, limit;
    char digest[KIT_SHA256_HEX];
    cJSON *manifest = fixture_manifest();
    ck_assert_int_eq(kit_sha256_bytes("x", 1, digest, &err), KOLM_OK);
    receipt_compile compile = fixture_compile(digest, digest, 1, manifest);
    ck_assert_int_eq(receipt_write(&compile, key, chain, NULL, &head, &err), KOLM_OK);
    fixture_text("receipts.jsonl", &before);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &kept), 0);
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    limit = kept;
    limit.rlim_cur = (rlim_t)before.length + 100; /* this much of the next line fits */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_ne(receipt_write(&compile, key, chain, NULL, &after, &err), KOLM_OK);
    ck_assert_ptr_nonnull(strstr(err.text, "receipts.jsonl"));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &kept), 0);
    fixture_text("receipts.jsonl", &now);
    ck_assert_str_eq(kit_buf_text(&now), kit_buf_text(&before));
    ck_assert_int_eq(receipt_chain_head(chain, &after, &found, &err), KOLM_OK);
    ck_assert_str_eq(after.sha256, head.sha256);
    ck_assert_int_eq(receipt_write(&compile, key, chain, NULL, &after, &err), KOLM_OK);
    ck_assert_uint_eq(after.seq, 3);
    kit_buf_free(&before);
    kit_buf_free(&now);
    cJSON_Delete(manifest);
    receipt_key_free(key);
}
END_TEST

START_TEST(incomplete_receipts_are_not_made) {
    receipt_key *key = seeded(1);
    receipt_head head;
    char digest[KIT_SHA256_HEX];
    cJSON *manifest = fixture_manifest();
    ck_assert_int_eq(kit_sha256_bytes("x", 1, digest, &err), KOLM_OK);
    for (int i = 0; i < 6; i++) {
        receipt_compile compile = fixture_compile(digest, digest, 1, manifest);
        if (i == 0) compile.file_sha256 = "abc";
        if (i == 1) compile.backend = NULL;
        if (i == 2) compile.kscore = NULL;
        if (i == 3) compile.finished_at = -1;
        if (i == 4) compile.plugin_sha256 = "";
        if (i == 5) compile.manifest_sha256 = NULL;
        ck_assert_int_eq(receipt_write(&compile, key, chain, NULL, &head, &err), KOLM_E_INVALID_ARGUMENT);
    }
    ck_assert_int_eq(access(chain, F_OK), -1);
    cJSON_Delete(manifest);
    receipt_key_free(key);
}
END_TEST

/* ---- Verdicts */
static void expect(const char *name, receipt_verdict verdict, const char *words) {
    char text[512];
    receipt_keyring *ring = ring_now();
    int found = fixture_verify(name, ring, chain, FIXTURE_NOW + 1, text);
    ck_assert_msg(found == (int)verdict && strstr(text, words) != NULL, "%d: %s", found, text);
    receipt_keyring_free(ring);
}

START_TEST(verdicts_about_the_key) {
    receipt_key *key = seeded(5);
    const receipt_public *public_key = receipt_key_public(key);
    receipt_head head;
    char keyid[KIT_SHA256_HEX];
    fixture_signed("x.kolm", key, &head);
    expect("x.kolm", RECEIPT_UNKNOWN_KEY, public_key->keyid);
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "me", RECEIPT_NO_START, RECEIPT_NO_END, FIXTURE_NOW, &err),
                     KOLM_OK);
    expect("x.kolm", RECEIPT_TRUSTED, "signed with its receipts, by key ");
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "me", RECEIPT_NO_START, FIXTURE_NOW, FIXTURE_NOW, &err),
                     KOLM_OK);
    expect("x.kolm", RECEIPT_EXPIRED, "trusted only until 2026-01-01T00:00:00Z");
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "me", FIXTURE_NOW + 1, RECEIPT_NO_END, FIXTURE_NOW, &err),
                     KOLM_OK);
    expect("x.kolm", RECEIPT_EXPIRED, "trusted only from"); /* it states an earlier date */
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "me", FIXTURE_NOW, FIXTURE_NOW + 1, FIXTURE_NOW, &err),
                     KOLM_OK);
    expect("x.kolm", RECEIPT_TRUSTED, "(me)");
    ck_assert_int_eq(receipt_keys_revoke(keys, public_key->keyid, "lost laptop", FIXTURE_NOW, keyid, &err), KOLM_OK);
    expect("x.kolm", RECEIPT_REVOKED, "lost laptop");
    receipt_key_free(key);
}
END_TEST

START_TEST(a_revoked_key_that_was_never_trusted_is_revoked) {
    receipt_key *key = seeded(5);
    receipt_head head;
    char keyid[KIT_SHA256_HEX];
    fixture_signed("x.kolm", key, &head);
    ck_assert_int_eq(
        receipt_keys_revoke(keys, receipt_key_public(key)->keyid, "seen in a leak", FIXTURE_NOW, keyid, &err), KOLM_OK);
    expect("x.kolm", RECEIPT_REVOKED, "seen in a leak");
    ck_assert_int_eq(unlink(fixture_path("x.kolm.intoto.jsonl")), 0);
    expect("x.kolm", RECEIPT_REVOKED, "seen in a leak");
    receipt_key_free(key);
}
END_TEST

static void trust_five(receipt_key **out_key) {
    *out_key = seeded(5);
    ck_assert_int_eq(receipt_keys_trust(keys, receipt_key_public(*out_key), "me", RECEIPT_NO_START, RECEIPT_NO_END,
                                        FIXTURE_NOW, &err),
                     KOLM_OK);
}

/* Line ends, encodings and empty lines changed in transit: rejected, with the exact reason. */
START_TEST(receipts_that_were_changed_on_the_way) {
    static const struct {
        const char *before, *line_end, *after, *words;
    } ways[] = {
        {"", "\r\n", "", "from LF to CRLF, after they were signed"},
        {"\xEF\xBB\xBF", "\n", "", "byte order mark was put before"},
        {"\xEF\xBB\xBF", "\r\n", "", "byte order mark was put before"},
        {"\xFF\xFE", "\n", "", "as UTF-16"},
        {"", "\n\n", "", "empty lines"},
        {"", "\n", "\n", "empty lines"},
        {"\n", "\n", "", "empty lines"},
        {"", "\n", "\r\n", "CRLF"},
    };
    receipt_key *key = NULL;
    receipt_head head;
    kit_buf text = {0};
    trust_five(&key);
    fixture_signed("x.kolm", key, &head);
    fixture_text("x.kolm.intoto.jsonl", &text);
    expect("x.kolm", RECEIPT_TRUSTED, "with its receipts");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        kit_buf changed = {0};
        kit_buf_str(&changed, ways[i].before);
        for (size_t n = 0; n < text.length; n++) {
            if (text.data[n] == '\n')
                kit_buf_str(&changed, ways[i].line_end);
            else
                kit_buf_char(&changed, text.data[n]);
        }
        kit_buf_str(&changed, ways[i].after);
        fixture_file("x.kolm.intoto.jsonl", changed.data, changed.length);
        expect("x.kolm", RECEIPT_MALFORMED, ways[i].words);
        kit_buf_free(&changed);
    }
    kit_buf_free(&text);
    receipt_key_free(key);
}
END_TEST

START_TEST(verdicts_about_the_receipts) {
    receipt_key *key = NULL, *friend_key = seeded(6), *stranger = seeded(7);
    receipt_head head;
    kit_buf text = {0}, changed = {0};
    const char *sidecar = "x.kolm.intoto.jsonl";
    trust_five(&key);
    fixture_signed("x.kolm", key, &head);
    fixture_text(sidecar, &text);
    const char *second = (const char *)memchr(text.data, '\n', text.length) + 1;
    fixture_file(sidecar, second, text.length - (size_t)(second - text.data));
    expect("x.kolm", RECEIPT_CHAIN_BROKEN, "one of the two lines");
    fixture_file(sidecar, text.data, (size_t)(second - text.data));
    expect("x.kolm", RECEIPT_CHAIN_BROKEN, "one of the two lines");
    fixture_file(sidecar, text.data, text.length - 1);
    expect("x.kolm", RECEIPT_MALFORMED, "truncated");
    fixture_file(sidecar, "{}\n", 3);
    expect("x.kolm", RECEIPT_MALFORMED, "line 1");
    fixture_file(sidecar, "", 0);
    expect("x.kolm", RECEIPT_MALFORMED, "truncated");
    /* Lines that others append, trusted or not, do no harm; a line of another in place of a receipt is not a
     * receipt. */
    const char statement[] = "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[],\"predicateType\":\"https:/"
                             "/example.org/x\",\"predicate\":{}}";
    kit_buf_add(&changed, text.data, text.length);
    ck_assert_int_eq(receipt_keys_trust(keys, receipt_key_public(friend_key), "", RECEIPT_NO_START, RECEIPT_NO_END,
                                        FIXTURE_NOW, &err),
                     KOLM_OK);
    ck_assert_int_eq(
        receipt_envelope_sign(friend_key, RECEIPT_PAYLOAD_TYPE, statement, strlen(statement), &changed, &err), KOLM_OK);
    kit_buf_char(&changed, '\n');
    ck_assert_int_eq(
        receipt_envelope_sign(stranger, RECEIPT_PAYLOAD_TYPE, statement, strlen(statement), &changed, &err), KOLM_OK);
    kit_buf_char(&changed, '\n');
    fixture_file(sidecar, changed.data, changed.length);
    expect("x.kolm", RECEIPT_TRUSTED, "signed with its receipts");
    fixture_file(sidecar, changed.data + text.length, changed.length - text.length);
    expect("x.kolm", RECEIPT_CHAIN_BROKEN, "line 1 of its receipts is not by the signer of the manifest");
    ck_assert_int_eq(unlink(fixture_path(sidecar)), 0);
    expect("x.kolm", RECEIPT_TRUSTED, "there are no receipts next to it");
    kit_buf_free(&text);
    kit_buf_free(&changed);
    receipt_key_free(key);
    receipt_key_free(friend_key);
    receipt_key_free(stranger);
}
END_TEST

START_TEST(verdicts_about_the_log_of_this_machine) {
    receipt_key *key = NULL;
    receipt_head head;
    kit_buf text = {0};
    trust_five(&key);
    fixture_signed("x.kolm", key, &head);
    fixture_text("receipts.jsonl", &text);
    fixture_signed("y.kolm", key, &head);
    expect("x.kolm", RECEIPT_TRUSTED, "trusted");
    expect("y.kolm", RECEIPT_TRUSTED, "trusted");
    fixture_file("receipts.jsonl", text.data, text.length); /* the log as before y */
    expect("x.kolm", RECEIPT_CHAIN_BROKEN, "was truncated: it has 2 lines and had 4");
    expect("y.kolm", RECEIPT_CHAIN_BROKEN, "was truncated: it has 2 lines and had 4");
    forget_heads(); /* like a machine without these records */
    expect("x.kolm", RECEIPT_TRUSTED, "trusted");
    expect("y.kolm", RECEIPT_CHAIN_BROKEN, "ends before line 4");
    receipt_key *other = seeded(6); /* the same key would write the same line again */
    fixture_signed("z.kolm", other, &head);
    receipt_key_free(other);
    expect("y.kolm", RECEIPT_CHAIN_BROKEN, "line 4 of this machine's log differs");
    ck_assert_int_eq(unlink(chain), 0);
    expect("y.kolm", RECEIPT_CHAIN_BROKEN, "was emptied");
    fixture_signed("z.kolm", key, &head);
    expect("y.kolm", RECEIPT_CHAIN_BROKEN, "that held line 4 of it is gone");
    forget_heads();
    expect("y.kolm", RECEIPT_TRUSTED, "trusted"); /* the log of another machine */
    ck_assert_int_eq(unlink(chain), 0);
    expect("y.kolm", RECEIPT_TRUSTED, "trusted"); /* no log to compare with */
    kit_buf_free(&text);
    receipt_key_free(key);
}
END_TEST

/* The position in the log counts, not the stated date. */
START_TEST(what_a_replaced_key_signs_later_is_not_trusted) {
    receipt_key *old = NULL, *new = NULL;
    receipt_public old_key, new_key;
    receipt_head head;
    kit_buf line = {0}, log = {0};
    bool created = false;
    ck_assert_int_eq(receipt_key_open(keys, &old, &created, &err), KOLM_OK);
    fixture_signed("x.kolm", old, &head);
    ck_assert_int_eq(receipt_key_rotate(keys, chain, FIXTURE_NOW, &old_key, &new_key, &line, &err), KOLM_OK);
    ck_assert_int_eq(receipt_key_open(keys, &new, &created, &err), KOLM_OK);
    fixture_signed("y.kolm", old, &head);
    fixture_signed("z.kolm", new, &head);
    check_chain(7, 0, false);
    expect("x.kolm", RECEIPT_TRUSTED, "own, until 2026-01-01T00:00:00Z");
    expect("y.kolm", RECEIPT_EXPIRED, "signed this after that");
    expect("z.kolm", RECEIPT_TRUSTED, "(own)");
    fixture_text("receipts.jsonl", &log);
    ck_assert_int_eq(unlink(chain), 0);
    forget_heads();
    expect("x.kolm", RECEIPT_EXPIRED, "not in the log");
    fixture_file("receipts.jsonl", log.data, log.length);
    ck_assert_int_eq(unlink(fixture_path("x.kolm.intoto.jsonl")), 0);
    expect("x.kolm", RECEIPT_EXPIRED, "no receipts next to it");
    kit_buf_free(&line);
    kit_buf_free(&log);
    receipt_key_free(old);
    receipt_key_free(new);
}
END_TEST

START_TEST(a_report_holds_the_receipt) {
    receipt_key *key = NULL;
    receipt_head head;
    artifact *a = NULL;
    receipt_report report;
    kit_buf sidecar = {0};
    char sha256[KIT_SHA256_HEX];
    trust_five(&key);
    fixture_signed("x.kolm", key, &head);
    receipt_keyring *ring = ring_now();
    ck_assert_int_eq(artifact_open(fixture_path("x.kolm"), &a, &err), KOLM_OK);
    ck_assert_int_eq(artifact_hash(a, ARTIFACT_HASH_FILE, NULL, NULL, sha256, &err), KOLM_OK);
    fixture_text("x.kolm.intoto.jsonl", &sidecar);
    receipt_question q = {.ring = ring,
                          .now = FIXTURE_NOW,
                          .envelope_type = ARTIFACT_MANIFEST_TYPE,
                          .file_sha256 = sha256,
                          .chain_path = chain,
                          .sidecar = sidecar.data,
                          .sidecar_length = sidecar.length};
    q.manifest = artifact_manifest_text(a, &q.manifest_length);
    q.envelope = artifact_envelope(a, &q.envelope_length);
    q.signer_pem = artifact_signer_pem(a, &q.signer_pem_length);
    ck_assert_int_eq(receipt_check(&q, &report, &err), KOLM_OK);
    ck_assert_int_eq(report.verdict, RECEIPT_TRUSTED);
    ck_assert_uint_eq(report.receipts, 2);
    ck_assert(report.in_local_chain);
    ck_assert_str_eq(report.label, "me");
    ck_assert_uint_eq(report.place.seq, 1);
    ck_assert_str_eq(report.line_sha256, head.sha256);
    const cJSON *compute = kit_json_get(kit_json_get(report.receipt, "metrics"), "compute");
    double cost = 0;
    const char *device = NULL;
    ck_assert(kit_json_get_number(compute, "cost_usd", &cost) && cost == 1.25);
    ck_assert(kit_json_get_string(compute, "device", &device));
    ck_assert_str_eq(device, "a \"device\"");
    kit_buf stated = {0};
    ck_assert_int_eq(
        kit_json_line(kit_json_get(kit_json_get(compute, "provenance"), "stated_by_plugin"), &stated, NULL), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&stated), "[\"compute.device\",\"compute.provenance.plugin_version\","
                                            "\"compute.provenance.quoted_cost_usd\",\"compute.provenance.toolchain\"]");
    kit_buf_free(&stated);
    ck_assert(cJSON_IsNull(kit_json_get(kit_json_get(compute, "provenance"), "billed_cost_usd")));
    receipt_report_free(&report);
    q.envelope_type = "something else";
    ck_assert_int_eq(receipt_check(&q, &report, &err), KOLM_OK);
    ck_assert_int_eq(report.verdict, RECEIPT_MALFORMED);
    receipt_report_free(&report);
    receipt_keyring_free(ring);
    kit_buf_free(&sidecar);
    artifact_close(a);
    receipt_key_free(key);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("receipt chain");
    TCase *cases = tcase_create("receipt");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, the_chain_grows_and_says_its_head);
    tcase_add_test(cases, a_torn_last_line_is_passed_over_and_cut_off);
    tcase_add_test(cases, a_truncated_log_is_reported);
    tcase_add_test(cases, what_a_replaced_key_signs_later_is_not_trusted);
    tcase_add_test(cases, changed_removed_and_moved_lines_break_the_chain);
    tcase_add_test(cases, nothing_is_appended_after_garbage);
    tcase_add_test(cases, many_writers_make_one_chain);
    tcase_add_test(cases, killed_writers_lose_nothing_that_was_acknowledged);
    tcase_add_test(cases, a_full_disk_leaves_the_chain_as_it_was);
    tcase_add_test(cases, incomplete_receipts_are_not_made);
    tcase_add_test(cases, verdicts_about_the_key);
    tcase_add_test(cases, a_revoked_key_that_was_never_trusted_is_revoked);
    tcase_add_test(cases, receipts_that_were_changed_on_the_way);
    tcase_add_test(cases, verdicts_about_the_receipts);
    tcase_add_test(cases, verdicts_about_the_log_of_this_machine);
    tcase_add_test(cases, a_report_holds_the_receipt);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
