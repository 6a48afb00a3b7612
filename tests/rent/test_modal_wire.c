/* SPDX-License-Identifier: Apache-2.0 */
/* What modal's connection to a sandbox keeps of what was read, and how it handles a broken stream; without network. */
#include "wire.c"

#include "../suite.h"

#define PIECE_BYTES 4096u
#define PIECES 200u

static void hear(modal_wire *w, uint64_t *sent) {
    static uint8_t bytes[PIECE_BYTES];
    Modal__ExecData data = MODAL__EXEC_DATA__INIT;
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)((*sent)++ % 251);
    data.data = (ProtobufCBinaryData){.len = sizeof bytes, .data = bytes};
    ck_assert_int_eq(take_data(w, &data.base, &err), KOLM_OK);
}

static size_t read_some(modal_wire *w, size_t most, uint64_t *heard) {
    static uint8_t bytes[PIECE_BYTES];
    kolm_error_t err = KIT_ERROR_INIT;
    size_t n = 0;
    ck_assert_int_eq(read_wire(w, bytes, most, 0, &n, &err), KOLM_OK);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != (uint8_t)((*heard)++ % 251)) ck_abort_msg("byte %llu is another", (unsigned long long)*heard);
    return n;
}

START_TEST(test_a_reader_that_never_catches_up) {
    modal_wire w = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
    uint64_t sent = 0, heard = 0;
    hear(&w, &sent);
    for (size_t i = 0; i < PIECES; i++) {
        hear(&w, &sent);
        ck_assert_uint_eq(read_some(&w, PIECE_BYTES, &heard), PIECE_BYTES);
    }
    ck_assert_uint_le(w.held.capacity, 8 * PIECE_BYTES);
    while (heard < sent)
        ck_assert_uint_gt(read_some(&w, 1000, &heard), 0);
    ck_assert_uint_eq(w.heard, sent);
    kit_buf_free(&w.held);
}
END_TEST

/* Modal ends a quiet stream with DEADLINE_EXCEEDED. After too many failed attempts to open it again the connection
 * counts as broken, not as one without data, for which the caller would retry at once. */
START_TEST(test_a_stream_whose_time_was_over) {
    modal_wire w = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER, .err = KIT_ERROR_INIT};
    kolm_error_t err = KIT_ERROR_INIT;
    char bytes[8];
    size_t n = 0;
    w.broke = kit_fail(&w.err, KOLM_E_DEADLINE_EXCEEDED, "", "the stream was ended");
    ck_assert_int_eq(read_wire(&w, bytes, sizeof bytes, 0, &n, &err), KOLM_E_UNAVAILABLE);
    ck_assert_int_eq(err.code, KOLM_E_UNAVAILABLE);
    ck_assert_str_eq(err.text, "the stream was ended");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("modal-wire");
    TCase *wire = tcase_create("wire");
    tcase_add_test(wire, test_a_reader_that_never_catches_up);
    tcase_add_test(wire, test_a_stream_whose_time_was_over);
    suite_add_tcase(suite, wire);
    return run_suite(suite);
}
