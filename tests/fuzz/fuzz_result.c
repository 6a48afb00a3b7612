/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: an accepted result.json has all members that are read later, and is accepted again after it is
 * written. */
#include "fuzz.h"
#include "job/result.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kolm_error_t err = KIT_ERROR_INIT;
    cJSON *result = NULL, *again = NULL;
    kit_buf once = {0}, twice = {0};
    const char *toolchain = NULL;
    kit_status status = job_result_parse((const char *)data, size, &result, &err);
    if (status == KOLM_OK) {
        must(kit_json_get_string(result, "toolchain", &toolchain) && fuzz_plain(toolchain));
        must(cJSON_IsObject(kit_json_get(result, "report")));
        must(kit_json_line(result, &once, NULL) == KOLM_OK);
        must(job_result_parse(once.data, once.length, &again, NULL) == KOLM_OK);
        must(kit_json_line(again, &twice, NULL) == KOLM_OK && strcmp(once.data, twice.data) == 0);
    } else {
        must(status == KOLM_E_DATA_LOSS && result == NULL && err.remedy[0] != '\0');
        fuzz_refused(status, &err);
    }
    cJSON_Delete(result);
    cJSON_Delete(again);
    kit_buf_free(&once);
    kit_buf_free(&twice);
    return 0;
}
