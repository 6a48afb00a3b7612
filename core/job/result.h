/* SPDX-License-Identifier: Apache-2.0 */
/* result.json: a backend's report on the model that it made. */
#ifndef KOLM_JOB_RESULT_H
#define KOLM_JOB_RESULT_H

#include "kolm/kit/json.h"

#define JOB_RESULT_MAX (64u << 20) /* bytes */

/* Parses strict JSON: an object with "format", which is 1, "toolchain", a text without control characters (it is shown,
 * and signed), and "report", an object. DATA_LOSS if something is missing. The caller frees *out_result with
 * cJSON_Delete. */
kit_status job_result_parse(const char *text, size_t length, cJSON **out_result, kolm_error_t *err) KIT_MUST_USE;
/* The same for DIR/result.json; another status if that cannot be read. */
kit_status job_result_read(const char *dir, cJSON **out_result, kolm_error_t *err) KIT_MUST_USE;

#endif
