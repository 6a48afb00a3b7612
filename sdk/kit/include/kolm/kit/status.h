/* SPDX-License-Identifier: Apache-2.0 */
/* How functions of kolm report failure: a code that must be checked, and a record that says what happened, to what, and
 * what to do next. */
#ifndef KOLM_KIT_STATUS_H
#define KOLM_KIT_STATUS_H

#include "kolm/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KIT_MUST_USE __attribute__((warn_unused_result))
#define KIT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define KIT_MUST_USE
#define KIT_PRINTF(fmt, args)
#endif

/* A status is a KOLM_E_* code; 0 is success. */
typedef int32_t kit_status;

/* A kolm_error_t ready to be passed as out_error. */
#define KIT_ERROR_INIT                                                                                                 \
    { .struct_size = (uint32_t)sizeof(kolm_error_t) }

/* Fills err (which may be NULL) and returns code, for use as `return kit_fail(...)`. remedy may be "". The text is
 * formatted, and truncated at a UTF-8 boundary if it does not fit. */
kit_status kit_fail(kolm_error_t *err, int32_t code, const char *remedy, const char *text_format, ...) KIT_PRINTF(4, 5);

/* The same with ": " and the message of errno_value appended, and the code chosen from it (ENOENT -> NOT_FOUND,
 * EACCES/EPERM/EROFS -> PERMISSION_DENIED, ENOSPC/EDQUOT/ENOMEM/EMFILE -> RESOURCE_EXHAUSTED, EEXIST ->
 * ALREADY_EXISTS, EINTR -> CANCELLED, else UNKNOWN) and a remedy for the common ones. */
kit_status kit_fail_errno(kolm_error_t *err, int errno_value, const char *text_format, ...) KIT_PRINTF(3, 4);

/* RESOURCE_EXHAUSTED: "out of memory", with its remedy. */
kit_status kit_no_memory(kolm_error_t *err);

/* Prepends "context: " to err->text; returns err->code. */
kit_status kit_fail_context(kolm_error_t *err, const char *context_format, ...) KIT_PRINTF(2, 3);

/* "NOT_FOUND" for KOLM_E_NOT_FOUND; static. */
const char *kit_status_name(int32_t code);

#define KIT_TRY(expression)                                                                                            \
    do {                                                                                                               \
        kit_status kit_try_status = (expression);                                                                      \
        if (kit_try_status != KOLM_OK) return kit_try_status;                                                          \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
