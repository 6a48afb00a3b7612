/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: server-sent events do not depend on how the bytes are split, and do not exceed their limit. */
#include "fuzz.h"
#include "kolm/http/sse.h"

#include <string.h>

typedef struct heard {
    kit_buf text;
    size_t most;
} heard;

static kit_status on_event(void *user, const kit_sse_event *event, kolm_error_t *err) {
    heard *h = user;
    (void)err;
    must(event->length <= h->most && event->data[event->length] == '\0' && event->retry_ms >= -1);
    must(strlen(event->type) <= h->most && event->type[0] != '\0' && strlen(event->last_id) <= h->most);
    kit_buf_fmt(&h->text, "%s %s %zu ", event->type, event->last_id, event->length);
    kit_buf_add(&h->text, event->data, event->length);
    return KOLM_OK;
}

static kit_status read_all(const char *bytes, size_t size, size_t step, heard *h) {
    kolm_error_t err = KIT_ERROR_INIT;
    kit_sse *sse = NULL;
    kit_status status = KOLM_OK;
    must(kit_sse_new(h->most, on_event, h, &sse, &err) == KOLM_OK);
    for (size_t at = 0; at < size && status == KOLM_OK; at += step)
        status = kit_sse_feed(sse, bytes + at, size - at < step ? size - at : step, &err);
    must(status == KOLM_OK || (status == KOLM_E_OUT_OF_RANGE && err.text[0] != '\0'));
    kit_sse_free(sse);
    return status;
}

/* The first byte is the limit, the second the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    heard whole = {.most = data[0]}, pieces = {.most = data[0]};
    const char *bytes = (const char *)data + 2;
    kit_status at_once = read_all(bytes, size - 2, size, &whole),
               in_pieces = read_all(bytes, size - 2, data[1] % 16 + 1u, &pieces);
    must(at_once == in_pieces);
    must(whole.text.length == pieces.text.length &&
         (whole.text.length == 0 || memcmp(whole.text.data, pieces.text.data, whole.text.length) == 0));
    kit_buf_free(&whole.text);
    kit_buf_free(&pieces.text);
    return 0;
}
