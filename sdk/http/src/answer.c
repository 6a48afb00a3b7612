/* SPDX-License-Identifier: Apache-2.0 */
/* The answer record, and its body as JSON. */
#include "internal.h"
#include "kolm/kit/text.h"

#include <string.h>

void kit_http_answer_free(kit_http_answer *answer) {
    if (answer == NULL) return;
    kit_buf_free(&answer->body);
    kit_buf_free(&answer->headers);
    *answer = (kit_http_answer){0};
}

kit_status kit_http_json(const kit_http_answer *answer, cJSON **out, kolm_error_t *err) {
    kolm_error_t inner = KIT_ERROR_INIT;
    const char *type = kit_http_header_of(answer, "content-type");
    kit_status status = kit_json_parse(kit_buf_text(&answer->body), answer->body.length, out, &inner);
    if (status == KOLM_OK) return KOLM_OK;
    *out = NULL;
    if (status == KOLM_E_RESOURCE_EXHAUSTED) return kit_fail(err, status, inner.remedy, "%s", inner.text);
    return kit_fail(
        err, KOLM_E_DATA_LOSS,
        "check the address of the service in the settings of this backend; the provider may have changed its answers",
        "status %d came with a body of %zu bytes (%.60s) that is not JSON: %.200s", answer->status, answer->body.length,
        type != NULL && kit_text_is_plain(type, strlen(type)) ? type : "no content type", inner.text);
}
