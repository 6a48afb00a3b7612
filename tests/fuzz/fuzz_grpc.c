/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: the messages of gRPC do not depend on how the bytes are split, and do not exceed their limit; error
 * texts can be shown. */
#include "fuzz.h"
#include "kolm/http/grpc.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct heard {
    kit_buf text;
    size_t most;
} heard;

static kit_status on_message(void *user, const void *bytes, size_t length, kolm_error_t *err) {
    heard *h = user;
    (void)err;
    must(length <= h->most);
    kit_buf_fmt(&h->text, "%zu ", length);
    kit_buf_add(&h->text, bytes, length);
    return KOLM_OK;
}

static kit_status read_all(const uint8_t *bytes, size_t size, size_t step, heard *h) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_grpc_frames frames = {.most = h->most, .on_message = on_message, .user = h};
    kit_status status = KOLM_OK;
    for (size_t at = 0; at < size && status == KOLM_OK; at += step) {
        status = kit_grpc_frames_take(&frames, bytes + at, size - at < step ? size - at : step, &err);
        must(frames.held.length <= h->most + 5);
    }
    must(status == KOLM_OK || ((status == KOLM_E_OUT_OF_RANGE || status == KOLM_E_DATA_LOSS) && err.text[0] != '\0'));
    kit_buf_free(&frames.held);
    return status;
}

static void read_words(const uint8_t *bytes, size_t size) {
    char *text = malloc(size + 1), out[64];
    must(text != NULL);
    memcpy(text, bytes, size);
    text[size] = '\0';
    kit_grpc_words(text, out, sizeof out);
    must(strlen(out) < sizeof out && kit_text_is_plain(out, strlen(out)));
    int status = kit_grpc_status_of(text);
    must(status >= -1 && status < 100);
    free(text);
}

/* The first byte is the limit, the second the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    heard whole = {.most = data[0]}, pieces = {.most = data[0]};
    kit_status at_once = read_all(data + 2, size - 2, size, &whole),
               in_pieces = read_all(data + 2, size - 2, data[1] % 16 + 1u, &pieces);
    must(at_once == in_pieces);
    must(whole.text.length == pieces.text.length &&
         (whole.text.length == 0 || memcmp(whole.text.data, pieces.text.data, whole.text.length) == 0));
    read_words(data + 2, size - 2);
    kit_buf_free(&whole.text);
    kit_buf_free(&pieces.text);
    return 0;
}
