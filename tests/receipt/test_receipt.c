/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, signatures and envelopes: known answers, roles, rotation, and invalid files. */
#include "receipt_fixture.h"

/* ---- Known answers */
START_TEST(ed25519_has_its_known_answers) {
    /* RFC 8032, section 7.1, tests 1 to 3. */
    static const struct {
        const char *seed, *public_key, *message, *signature;
    } cases[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bb"
         "e24655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302"
         "aeeb00d291612bb0c00"},
        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed"
         "28dc027beceea1ec40a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t seed[32], message[2], signature[64], expected[64], public_bytes[32];
        receipt_key *key = NULL;
        size_t length = strlen(cases[i].message) / 2;
        from_hex(cases[i].seed, seed, 32);
        from_hex(cases[i].public_key, public_bytes, 32);
        from_hex(cases[i].message, message, length);
        from_hex(cases[i].signature, expected, 64);
        ck_assert_int_eq(receipt_key_from_seed(seed, &key, &err), KOLM_OK);
        ck_assert_int_eq(memcmp(receipt_key_public(key)->bytes, public_bytes, 32), 0);
        ck_assert_int_eq(receipt_key_sign(key, message, length, signature, &err), KOLM_OK);
        ck_assert_int_eq(memcmp(signature, expected, 64), 0);
        receipt_key_free(key);
    }
}
END_TEST

START_TEST(the_encoding_before_signing_is_that_of_dsse) {
    kit_buf out = {0};
    receipt_pae("http://example.com/HelloWorld", "hello world", 11, &out); /* protocol.md, test vectors */
    ck_assert_str_eq(kit_buf_text(&out), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    kit_buf_clear(&out);
    receipt_pae("", "", 0, &out);
    ck_assert_str_eq(kit_buf_text(&out), "DSSEv1 0  0 ");
    kit_buf_clear(&out);
    receipt_pae("\xC3\xA9", "a", 1, &out); /* lengths count bytes */
    ck_assert_str_eq(kit_buf_text(&out), "DSSEv1 2 \xC3\xA9 1 a");
    kit_buf_free(&out);
}
END_TEST

START_TEST(public_keys_are_written_as_openssl_does) {
    /* `openssl pkey -pubout` and `openssl dgst -sha256` of the key of RFC 8032 test 1. */
    static const char pem[] =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC "
        "KEY-----\n";
    static const char windows[] =
        "-----BEGIN PUBLIC KEY-----\r\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\r\n-----END PUBLIC "
        "KEY-----";
    char again[RECEIPT_PEM_BYTES];
    receipt_public key;
    ck_assert_int_eq(receipt_public_parse(pem, strlen(pem), &key, &err), KOLM_OK);
    ck_assert_int_eq(key.bytes[0], 0xD7);
    receipt_public_pem(&key, again);
    ck_assert_str_eq(again, pem);
    ck_assert_int_eq(receipt_public_parse(windows, strlen(windows), &key, &err), KOLM_OK);
    for (size_t i = 0; i + 1 < sizeof pem; i++) {
        ck_assert_int_eq(receipt_public_parse(pem, i == sizeof pem - 2 ? 3 : i, &key, &err), KOLM_E_INVALID_ARGUMENT);
        ck_assert(err.text[0] != '\0' && err.remedy[0] != '\0');
    }
}
END_TEST

START_TEST(keys_under_which_strangers_verify_are_refused) {
    receipt_public key;
    uint8_t bytes[32] = {0}; /* a point of order 4 */
    ck_assert_int_eq(receipt_public_make(bytes, &key, &err), KOLM_E_INVALID_ARGUMENT);
    bytes[0] = 1; /* the neutral element */
    ck_assert_int_eq(receipt_public_make(bytes, &key, &err), KOLM_E_INVALID_ARGUMENT);
    memset(bytes, 0xFF, sizeof bytes); /* not a point */
    ck_assert_int_eq(receipt_public_make(bytes, &key, &err), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

START_TEST(other_kinds_of_keys_are_named) {
    static const char private_key[] =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END "
        "PRIVATE KEY-----\n";
    static const char rsa[] =
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----\n";
    receipt_public key;
    ck_assert_int_eq(receipt_public_parse(private_key, strlen(private_key), &key, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "private"));
    ck_assert_int_eq(receipt_public_parse(rsa, strlen(rsa), &key, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "Ed25519"));
    ck_assert_int_eq(receipt_public_parse("hello", 5, &key, &err), KOLM_E_INVALID_ARGUMENT);
    fixture_file("k.pem", "nothing", 7);
    ck_assert_int_eq(receipt_public_read(fixture_path("k.pem"), &key, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "k.pem"));
}
END_TEST

START_TEST(times) {
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {{"1970-01-01T00:00:00Z", 0},
                {"2026-01-01T00:00:00Z", 1767225600},
                {"2024-02-29T23:59:59Z", 1709251199},
                {"9999-12-31T23:59:59Z", 253402300799}};
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-1-01",
                                      "2026-02-29",
                                      "2026-04-31T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:00:60Z",
                                      "2026-01-01 00:00:00Z",
                                      "2026-01-01T00:00:00",
                                      "2026-01-01T00:00:00+00:00",
                                      "1969-12-31T23:59:59Z",
                                      "2026-13-01",
                                      "a026-01-01",
                                      "2026-01-01T00:00:00Zx"};
    char text[RECEIPT_TIME_BYTES];
    int64_t seconds = 0;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert(receipt_time_text(good[i].seconds, text));
        ck_assert_str_eq(text, good[i].text);
        ck_assert(receipt_time_parse(good[i].text, &seconds));
        ck_assert_int_eq(seconds, good[i].seconds);
    }
    ck_assert(receipt_time_parse("2026-01-01", &seconds));
    ck_assert_int_eq(seconds, 1767225600);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!receipt_time_parse(bad[i], &seconds), "%s", bad[i]);
    ck_assert(!receipt_time_text(-1, text) && !receipt_time_text(253402300800, text));
}
END_TEST

/* ---- Envelopes */
static bool signed_by(const receipt_envelope *envelope, const receipt_public *key) {
    bool signs = false;
    ck_assert_int_eq(receipt_envelope_signed_by(envelope, key, &signs, &err), KOLM_OK);
    return signs;
}

START_TEST(envelopes_come_back) {
    receipt_key *key = seeded(1), *other = seeded(2);
    kit_buf text = {0};
    receipt_envelope envelope;
    for (size_t length = 0; length < 5; length++) {
        kit_buf_clear(&text);
        ck_assert_int_eq(receipt_envelope_sign(key, "a/b+c", "four", length, &text, &err), KOLM_OK);
        ck_assert_uint_eq(text.length, receipt_envelope_length("a/b+c", length));
        ck_assert_msg(receipt_envelope_parse(text.data, text.length, &envelope, &err) == KOLM_OK, "%s", err.text);
        ck_assert_str_eq(envelope.type, "a/b+c");
        ck_assert_uint_eq(envelope.payload.length, length);
        ck_assert(signed_by(&envelope, receipt_key_public(key)));
        ck_assert(!signed_by(&envelope, receipt_key_public(other)));
        envelope.type[0] = 'x'; /* the type is signed, too */
        ck_assert(!signed_by(&envelope, receipt_key_public(key)));
        receipt_envelope_free(&envelope);
    }
    kit_buf_free(&text);
    receipt_key_free(key);
    receipt_key_free(other);
}
END_TEST

/* Signs PAE("t", bytes FB FF) and writes the signature as URL-safe or standard base64. */
static void sign_two_bytes(const receipt_key *key, bool url_safe, char *out, size_t capacity) {
    kit_buf message = {0}, encoded = {0};
    uint8_t signature[64];
    receipt_pae("t", "\xFB\xFF", 2, &message);
    ck_assert_int_eq(receipt_key_sign(key, message.data, message.length, signature, &err), KOLM_OK);
    kit_base64(&encoded, signature, 64);
    for (char *p = encoded.data; url_safe && *p != '\0'; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    kit_copy(out, capacity, kit_buf_text(&encoded));
    kit_buf_free(&message);
    kit_buf_free(&encoded);
}

START_TEST(any_of_several_signatures_counts) {
    receipt_key *one = seeded(1), *two = seeded(2), *three = seeded(3);
    char first[100], safe[100], second[100];
    kit_buf text = {0};
    receipt_envelope envelope;
    sign_two_bytes(one, false, first, sizeof first);
    sign_two_bytes(one, true, safe, sizeof safe);
    sign_two_bytes(two, true, second, sizeof second);
    /* The same key twice, both alphabets, a wrong hint, no hint, unknown fields: the protocol allows all of them. */
    kit_buf_fmt(&text,
                "{\"x\":[1],\"payloadType\":\"t\",\"payload\":\"-_8=\",\"signatures\":[{\"sig\":\"%s\",\"keyid\":"
                "\"wrong\"},{\"sig\":\"%s\",\"y\":{}}]}",
                first, safe);
    ck_assert_msg(receipt_envelope_parse(text.data, text.length, &envelope, &err) == KOLM_OK, "%s", err.text);
    ck_assert(signed_by(&envelope, receipt_key_public(one)) && !signed_by(&envelope, receipt_key_public(two)));
    receipt_envelope_free(&envelope);
    kit_buf_clear(&text);
    kit_buf_fmt(&text,
                "{\"payloadType\":\"t\",\"payload\":\"+/"
                "8=\",\"signatures\":[{\"sig\":\"AAAA\"},{\"sig\":\"%s\"},{\"sig\":\"%s\"}]}",
                first, second);
    ck_assert_int_eq(receipt_envelope_parse(text.data, text.length, &envelope, &err), KOLM_OK);
    ck_assert(signed_by(&envelope, receipt_key_public(one)) && signed_by(&envelope, receipt_key_public(two)));
    ck_assert(!signed_by(&envelope, receipt_key_public(three)));
    receipt_envelope_free(&envelope);
    kit_buf_free(&text);
    receipt_key_free(one);
    receipt_key_free(two);
    receipt_key_free(three);
}
END_TEST

START_TEST(bad_envelopes_are_refused) {
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "{\"payload\":\"\",\"payloadType\":\"t\"}",
        "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[]}",
        "{\"payload\":1,\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}]}",
        "{\"payload\":\"\",\"payloadType\":1,\"signatures\":[{\"sig\":\"\"}]}",
        "{\"payload\":\"*\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}]}",
        "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{}]}",
        "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"*\"}]}",
        "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\",\"keyid\":1}]}",
        "{\"payload\":\"\",\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}]}",
        "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}]} {}",
        "{\"Payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}]}",
    };
    receipt_envelope envelope;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_msg(receipt_envelope_parse(bad[i], strlen(bad[i]), &envelope, &err) == KOLM_E_INVALID_ARGUMENT, "%s",
                      bad[i]);
        ck_assert_ptr_null(envelope.type);
    }
    kit_buf many = {0};
    kit_buf_str(&many, "{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}");
    for (int i = 0; i < 16; i++)
        kit_buf_str(&many, ",{\"sig\":\"\"}");
    kit_buf_str(&many, "]}");
    ck_assert_int_eq(receipt_envelope_parse(many.data, many.length, &envelope, &err), KOLM_E_INVALID_ARGUMENT);
    kit_buf_free(&many);
}
END_TEST

/* ---- Keys */
START_TEST(the_first_use_makes_a_key_and_the_second_finds_it) {
    receipt_key *first = NULL, *second = NULL;
    bool created = false;
    struct stat info;
    ck_assert_int_eq(receipt_key_load(keys, &first, &err), KOLM_E_NOT_FOUND);
    ck_assert_msg(receipt_key_open(keys, &first, &created, &err) == KOLM_OK, "%s", err.text);
    ck_assert(created);
    ck_assert_int_eq(stat(keys, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0700);
    ck_assert_int_eq(stat(fixture_path("keys/signing.pem"), &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0600);
    ck_assert_int_eq(unlink(fixture_path("keys/signing.pub.pem")), 0);
    ck_assert_int_eq(receipt_key_open(keys, &second, &created, &err), KOLM_OK);
    ck_assert(!created);
    ck_assert_str_eq(receipt_key_public(first)->keyid, receipt_key_public(second)->keyid);
    ck_assert_int_eq(access(fixture_path("keys/signing.pub.pem"), F_OK), 0);
    /* A copy of another key, left by a kill during a rotation, is replaced. */
    receipt_public copy;
    receipt_key *other = seeded(9);
    fixture_file("keys/signing.pub.pem", receipt_key_pem(other), strlen(receipt_key_pem(other)));
    receipt_key_free(other);
    receipt_key_free(second);
    ck_assert_int_eq(receipt_key_open(keys, &second, &created, &err), KOLM_OK);
    ck_assert_int_eq(receipt_public_read(fixture_path("keys/signing.pub.pem"), &copy, &err), KOLM_OK);
    ck_assert_str_eq(copy.keyid, receipt_key_public(first)->keyid);
    receipt_key_free(first);
    receipt_key_free(second);
    receipt_key_free(NULL);
}
END_TEST

START_TEST(two_first_uses_end_with_one_key) {
    enum { CHILDREN = 6 };
    int gate[2], ids[2];
    char found[CHILDREN][64];
    ck_assert_int_eq(pipe(gate), 0);
    ck_assert_int_eq(pipe(ids), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            receipt_key *key = NULL;
            bool created = false;
            char byte;
            close(gate[1]);
            ssize_t got = read(gate[0], &byte, 1); /* all wait until the gate is closed */
            bool good = got == 0 && receipt_key_open(keys, &key, &created, &err) == KOLM_OK &&
                        write(ids[1], receipt_key_public(key)->keyid, 64) == 64;
            receipt_key_free(key);
            _exit(good ? 0 : 1);
        }
    }
    close(gate[0]);
    close(gate[1]);
    for (int i = 0; i < CHILDREN; i++) {
        int status = 1;
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(kit_read_exact(ids[0], found[i], 64, &err), KOLM_OK);
        ck_assert_int_eq(memcmp(found[i], found[0], 64), 0);
    }
    close(ids[0]);
    close(ids[1]);
}
END_TEST

START_TEST(loose_and_foreign_files_are_refused) {
    receipt_key *key = NULL;
    receipt_keyring *ring = NULL;
    bool created = false;
    static const unsigned loose[] = {0604, 0640, 0602, 0620, 0644};
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_OK);
    receipt_key_free(key);
    for (size_t i = 0; i < sizeof loose / sizeof *loose; i++) {
        ck_assert_int_eq(chmod(fixture_path("keys/signing.pem"), loose[i]), 0);
        ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_E_PERMISSION_DENIED);
        ck_assert_ptr_nonnull(strstr(err.text, "signing.pem"));
        ck_assert_ptr_nonnull(strstr(err.remedy, "chmod 600 "));
        ck_assert_ptr_null(key);
    }
    ck_assert_int_eq(chmod(fixture_path("keys/signing.pem"), 0600), 0);
    ck_assert_int_eq(chmod(keys, 0720), 0);
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_ptr_nonnull(strstr(err.remedy, "chmod go-w "));
    ck_assert_int_eq(receipt_keyring_load(keys, &ring, &err), KOLM_E_PERMISSION_DENIED);
    ck_assert_int_eq(chmod(keys, 0700), 0);
    if (geteuid() == 0) { /* only root can change the owner of files */
        ck_assert_int_eq(chown(fixture_path("keys/signing.pem"), 12345, 12345), 0);
        ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_E_PERMISSION_DENIED);
        ck_assert_ptr_nonnull(strstr(err.text, "another user"));
    }
}
END_TEST

START_TEST(invalid_key_files_are_kept_and_refused) {
    receipt_key *key = NULL;
    bool created = false;
    ck_assert_int_eq(mkdir(keys, 0700), 0);
    fixture_file("keys/signing.pem", "garbage", 7);
    ck_assert_int_eq(chmod(fixture_path("keys/signing.pem"), 0600), 0);
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_E_DATA_LOSS);
    ck_assert(!created && err.remedy[0] != '\0');
    ck_assert_int_eq(unlink(fixture_path("keys/signing.pem")), 0);
    fixture_file("elsewhere", "x", 1);
    ck_assert_int_eq(symlink(fixture_path("elsewhere"), fixture_path("keys/signing.pem")), 0);
    ck_assert_int_ne(receipt_key_open(keys, &key, &created, &err), KOLM_OK);
    ck_assert_int_eq(unlink(fixture_path("keys/signing.pem")), 0);
    ck_assert_int_eq(mkdir(fixture_path("keys/signing.pem"), 0700), 0);
    ck_assert_int_ne(receipt_key_open(keys, &key, &created, &err), KOLM_OK);
}
END_TEST

START_TEST(keys_are_trusted_with_dates_and_revoked_for_ever) {
    receipt_key *key = seeded(9);
    const receipt_public *public_key = receipt_key_public(key);
    char keyid[KIT_SHA256_HEX];
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "the build farm", 100, 200, FIXTURE_NOW, &err), KOLM_OK);
    receipt_keyring *ring = ring_now();
    ck_assert_uint_eq(receipt_keyring_count(ring), 1);
    const receipt_trusted *item = receipt_keyring_find(ring, public_key->keyid);
    ck_assert(item != NULL && item->trusted && !item->own && !item->revoked);
    ck_assert_str_eq(item->label, "the build farm");
    ck_assert_int_eq(item->valid_from, 100);
    ck_assert_int_eq(item->valid_to, 200);
    receipt_keyring_free(ring);
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "", RECEIPT_NO_START, RECEIPT_NO_END, FIXTURE_NOW, &err),
                     KOLM_OK);
    ring = ring_now();
    item = receipt_keyring_at(ring, 0);
    ck_assert_int_eq(item->valid_from, RECEIPT_NO_START);
    ck_assert_int_eq(item->valid_to, RECEIPT_NO_END);
    ck_assert_ptr_null(receipt_keyring_at(ring, 1));
    receipt_keyring_free(ring);
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "", 200, 100, FIXTURE_NOW, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_int_eq(receipt_keys_revoke(keys, "0123", "why", 5, keyid, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(receipt_keys_revoke(keys, "../../etc", "why", 5, keyid, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(receipt_keys_revoke(keys, "0123456789", "why", 5, keyid, &err), KOLM_E_NOT_FOUND);
    char beginning[9];
    kit_copy(beginning, sizeof beginning, public_key->keyid);
    ck_assert_int_eq(receipt_keys_revoke(keys, beginning, "laptop stolen", 86400, keyid, &err), KOLM_OK);
    ck_assert_str_eq(keyid, public_key->keyid);
    ck_assert_int_eq(receipt_keys_revoke(keys, keyid, "another reason", 1, keyid, &err), KOLM_OK);
    ring = ring_now();
    item = receipt_keyring_find(ring, keyid);
    ck_assert(item->revoked);
    ck_assert_str_eq(item->reason, "laptop stolen");
    ck_assert_int_eq(item->revoked_at, 86400);
    receipt_keyring_free(ring);
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "", RECEIPT_NO_START, RECEIPT_NO_END, FIXTURE_NOW, &err),
                     KOLM_E_FAILED_PRECONDITION);
    receipt_key_free(key);
}
END_TEST

/* {artifacts, backends} of a key. */
static void expect_roles(const char *keyid, bool artifacts, bool backends) {
    receipt_keyring *ring = ring_now();
    const receipt_trusted *item = receipt_keyring_find(ring, keyid);
    ck_assert(artifacts || backends ? item != NULL : item == NULL);
    if (item != NULL) ck_assert(item->trusted == artifacts && item->backends == backends);
    receipt_keyring_free(ring);
}

START_TEST(a_key_has_roles) {
    receipt_key *key = seeded(9);
    const receipt_public *public_key = receipt_key_public(key);
    const char *keyid = public_key->keyid;
    char name[128], whole[KIT_SHA256_HEX];
    ck_assert_int_eq(receipt_keys_trust_backends(keys, public_key, "ACME", 100, 200, FIXTURE_NOW, &err), KOLM_OK);
    expect_roles(keyid, false, true); /* its models are not trusted */
    ck_assert_int_eq(receipt_keys_trust(keys, public_key, "both", 300, 400, FIXTURE_NOW, &err), KOLM_OK);
    expect_roles(keyid, true, true);
    ck_assert_int_eq(receipt_keys_trust_backends(keys, public_key, "", 1, 1000, FIXTURE_NOW, &err), KOLM_OK);
    receipt_keyring *ring = ring_now();
    const receipt_trusted *item = receipt_keyring_find(ring, keyid);
    ck_assert_str_eq(item->label, "both");
    ck_assert(item->valid_from == 300 && item->valid_to == 400); /* this call does not extend them */
    receipt_keyring_free(ring);
    ck_assert_int_eq(receipt_keys_untrust_backends(keys, "01234567", FIXTURE_NOW, whole, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(receipt_keys_untrust_backends(keys, keyid, FIXTURE_NOW, whole, &err), KOLM_OK);
    expect_roles(keyid, true, false);
    ck_assert_int_eq(receipt_keys_untrust_backends(keys, keyid, FIXTURE_NOW, whole, &err), KOLM_E_NOT_FOUND);
    kit_format(name, sizeof name, "keys/trusted/%s.json", keyid);
    static const struct {
        const char *note;
        bool artifacts, backends;
    } notes[] = {
        {"{\"label\":\"\"}", true, false},
        {"{\"label\":\"\",\"roles\":[]}", false, false},
        {"{\"label\":\"\",\"roles\":[\"backends\",\"later\"]}", false, true},
    };
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        fixture_file(name, notes[i].note, strlen(notes[i].note));
        ring = ring_now();
        item = receipt_keyring_find(ring, keyid);
        ck_assert(item->trusted == notes[i].artifacts && item->backends == notes[i].backends);
        receipt_keyring_free(ring);
    }
    static const char no_list[] = "{\"label\":\"\",\"roles\":\"backends\"}",
                      one[] = "{\"label\":\"\",\"roles\":[\"backends\"]}";
    fixture_file(name, no_list, strlen(no_list));
    ck_assert_int_eq(receipt_keyring_load(keys, &ring, &err), KOLM_E_DATA_LOSS);
    fixture_file(name, one, strlen(one));
    char beginning[9];
    kit_copy(beginning, sizeof beginning, keyid);
    ck_assert_int_eq(receipt_keys_untrust_backends(keys, beginning, FIXTURE_NOW, whole, &err), KOLM_OK);
    ck_assert_str_eq(whole, keyid);
    expect_roles(keyid, false, false); /* removed with its last role */
    ck_assert_int_eq(receipt_keys_revoke(keys, keyid, "why", 5, whole, &err), KOLM_OK);
    ck_assert_int_eq(receipt_keys_trust_backends(keys, public_key, "", 1, 2, FIXTURE_NOW, &err),
                     KOLM_E_FAILED_PRECONDITION);
    receipt_key_free(key);
}
END_TEST

START_TEST(a_keyring_that_was_touched_is_refused) {
    receipt_key *key = seeded(9), *other = seeded(10);
    receipt_keyring *ring = NULL;
    char name[128], pem[RECEIPT_PEM_BYTES];
    ck_assert_int_eq(
        receipt_keys_trust(keys, receipt_key_public(key), "", RECEIPT_NO_START, RECEIPT_NO_END, FIXTURE_NOW, &err),
        KOLM_OK);
    kit_format(name, sizeof name, "keys/trusted/%s.pem", receipt_key_public(key)->keyid);
    receipt_public_pem(receipt_key_public(other), pem);
    fixture_file(name, pem, strlen(pem)); /* another key with this name */
    ck_assert_int_eq(receipt_keyring_load(keys, &ring, &err), KOLM_E_DATA_LOSS);
    ck_assert_ptr_null(ring);
    ck_assert_int_eq(chmod(fixture_path(name), 0666), 0);
    ck_assert_int_eq(receipt_keyring_load(keys, &ring, &err), KOLM_E_PERMISSION_DENIED);
    receipt_public_pem(receipt_key_public(key), pem);
    fixture_file(name, pem, strlen(pem));
    ck_assert_int_eq(chmod(fixture_path(name), 0600), 0);
    kit_format(name, sizeof name, "keys/trusted/%s.json", receipt_key_public(key)->keyid);
    fixture_file(name, "{\"label\":\"\",\"valid_to\":\"soon\"}", 30);
    ck_assert_int_eq(receipt_keyring_load(keys, &ring, &err), KOLM_E_DATA_LOSS);
    ck_assert_int_eq(unlink(fixture_path(name)), 0); /* a key without its dates is rejected */
    ck_assert_int_ne(receipt_keyring_load(keys, &ring, &err), KOLM_OK);
    receipt_key_free(key);
    receipt_key_free(other);
}
END_TEST

START_TEST(rotation_is_signed_by_the_old_key) {
    receipt_key *key = NULL;
    receipt_public old_key, new_key;
    receipt_envelope envelope;
    kit_buf line = {0};
    bool created = false;
    char keyid[KIT_SHA256_HEX];
    ck_assert_int_eq(receipt_key_rotate(keys, chain, FIXTURE_NOW, &old_key, &new_key, &line, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_OK);
    ck_assert_msg(receipt_key_rotate(keys, chain, FIXTURE_NOW, &old_key, &new_key, &line, &err) == KOLM_OK, "%s",
                  err.text);
    ck_assert_str_eq(old_key.keyid, receipt_key_public(key)->keyid);
    ck_assert_str_ne(old_key.keyid, new_key.keyid);
    ck_assert_int_eq(receipt_envelope_parse(line.data, line.length, &envelope, &err), KOLM_OK);
    ck_assert(signed_by(&envelope, &old_key));
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&envelope.payload), new_key.keyid));
    receipt_envelope_free(&envelope);
    receipt_key_free(key);
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_OK);
    ck_assert_str_eq(receipt_key_public(key)->keyid, new_key.keyid);
    receipt_key_free(key);
    receipt_keyring *ring = ring_now();
    ck_assert_uint_eq(receipt_keyring_count(ring), 2);
    ck_assert(receipt_keyring_at(ring, 0)->own && receipt_keyring_find(ring, old_key.keyid)->trusted);
    ck_assert_str_eq(receipt_keyring_find(ring, old_key.keyid)->label, "own, until 2026-01-01T00:00:00Z");
    receipt_keyring_free(ring);
    /* A revoked key signs nothing new, but a rotation still makes a new key. */
    ck_assert_int_eq(receipt_keys_revoke(keys, new_key.keyid, "test", FIXTURE_NOW, keyid, &err), KOLM_OK);
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_int_eq(receipt_key_rotate(keys, chain, FIXTURE_NOW, &old_key, &new_key, &line, &err), KOLM_OK);
    ck_assert_int_eq(receipt_key_open(keys, &key, &created, &err), KOLM_OK);
    receipt_key_free(key);
    kit_buf_free(&line);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("receipt");
    TCase *cases = tcase_create("receipt");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, ed25519_has_its_known_answers);
    tcase_add_test(cases, the_encoding_before_signing_is_that_of_dsse);
    tcase_add_test(cases, public_keys_are_written_as_openssl_does);
    tcase_add_test(cases, keys_under_which_strangers_verify_are_refused);
    tcase_add_test(cases, other_kinds_of_keys_are_named);
    tcase_add_test(cases, times);
    tcase_add_test(cases, envelopes_come_back);
    tcase_add_test(cases, any_of_several_signatures_counts);
    tcase_add_test(cases, bad_envelopes_are_refused);
    tcase_add_test(cases, the_first_use_makes_a_key_and_the_second_finds_it);
    tcase_add_test(cases, two_first_uses_end_with_one_key);
    tcase_add_test(cases, loose_and_foreign_files_are_refused);
    tcase_add_test(cases, invalid_key_files_are_kept_and_refused);
    tcase_add_test(cases, keys_are_trusted_with_dates_and_revoked_for_ever);
    tcase_add_test(cases, a_key_has_roles);
    tcase_add_test(cases, a_keyring_that_was_touched_is_refused);
    tcase_add_test(cases, rotation_is_signed_by_the_old_key);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
