/* SPDX-License-Identifier: Apache-2.0 */
/* Reads result.json. */
#include "job/result.h"

#include "kolm/kit/file.h"
#include "kolm/kit/job.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static kit_status wrong(kolm_error_t *err, const char *why) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author", "result.json %s",
                    why);
}

static kit_status check(const cJSON *result, kolm_error_t *err) {
    const char *toolchain = NULL;
    uint64_t format = 0;
    if (!cJSON_IsObject(result)) return wrong(err, "is not an object");
    if (!kit_json_get_u64(result, "format", &format)) return wrong(err, "lacks \"format\":1");
    if (format != KIT_JOB_FORMAT)
        return kit_fail(err, KOLM_E_DATA_LOSS, "look for a newer kolm, or an older version of the backend",
                        "result.json is of format %llu, and this kolm reads format %d", (unsigned long long)format,
                        KIT_JOB_FORMAT);
    if (!kit_json_get_string(result, "toolchain", &toolchain) || !cJSON_IsObject(kit_json_get(result, "report")))
        return wrong(err, "lacks toolchain or report");
    if (!kit_text_is_plain(toolchain, strlen(toolchain))) return wrong(err, "has control characters in its toolchain");
    return KOLM_OK;
}

kit_status job_result_parse(const char *text, size_t length, cJSON **out_result, kolm_error_t *err) {
    kolm_error_t why = KIT_ERROR_INIT;
    cJSON *result = NULL;
    *out_result = NULL;
    kit_status status = kit_json_parse(text, length, &result, &why);
    if (status == KOLM_E_INVALID_ARGUMENT)
        return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                        "result.json is not valid JSON: %s", why.text);
    if (status != KOLM_OK) return kit_fail(err, status, why.remedy, "%s", why.text);
    status = check(result, err);
    if (status == KOLM_OK)
        *out_result = result;
    else
        cJSON_Delete(result);
    return status;
}

kit_status job_result_read(const char *dir, cJSON **out_result, kolm_error_t *err) {
    char *path = NULL;
    kit_buf text = {0};
    *out_result = NULL;
    struct stat info;
    KIT_TRY(kit_path_join(dir, "result.json", &path, err));
    /* The backend, which has ended, could have left a link to a file that it may not read itself. */
    bool link = lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
    kit_status status = link ? wrong(err, "is a link") : kit_read_file(path, JOB_RESULT_MAX, &text, err);
    if (status == KOLM_OK) status = job_result_parse(kit_buf_text(&text), text.length, out_result, err);
    kit_buf_free(&text);
    free(path);
    return status;
}
