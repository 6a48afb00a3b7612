/* SPDX-License-Identifier: Apache-2.0 */
/* Fills error records: what happened, to what, what to do next. */
#include "kolm/kit/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

kit_status kit_fail(kolm_error_t *err, int32_t code, const char *remedy, const char *text_format, ...) {
    if (err == NULL) return code;
    /* Formatted into a local buffer first: an argument may be the text that is being replaced. */
    char text[sizeof err->text * 2], advice[sizeof err->remedy];
    va_list args;
    va_start(args, text_format);
    vsnprintf(text, sizeof text, text_format, args);
    va_end(args);
    kit_copy(advice, sizeof advice, remedy);
    err->code = code;
    kit_copy(err->text, sizeof err->text, text);
    kit_copy(err->remedy, sizeof err->remedy, advice);
    return code;
}

typedef struct errno_fact {
    int value;
    int32_t code;
    const char *remedy;
} errno_fact;

static const errno_fact errno_facts[] = {
    {ENOENT, KOLM_E_NOT_FOUND, "check the spelling of the path"},
    {ENOTDIR, KOLM_E_NOT_FOUND, "a part of the path is a file, not a directory; check the path"},
    {EACCES, KOLM_E_PERMISSION_DENIED, "check owner and permissions, or choose another place"},
    {EPERM, KOLM_E_PERMISSION_DENIED, "check owner and permissions, or choose another place"},
    {EROFS, KOLM_E_PERMISSION_DENIED, "the file system is read-only; choose another place"},
    {ENOSPC, KOLM_E_RESOURCE_EXHAUSTED, "free some space on that file system, then run the command again"},
    {EDQUOT, KOLM_E_RESOURCE_EXHAUSTED, "the disk quota is used up; free some space, then run the command again"},
    {EFBIG, KOLM_E_RESOURCE_EXHAUSTED, "the file size limit is reached; raise it (ulimit -f) or choose another place"},
    {ENOMEM, KOLM_E_RESOURCE_EXHAUSTED, "no memory is left; close other programs or raise the limit"},
    {EMFILE, KOLM_E_RESOURCE_EXHAUSTED, "too many open files; raise the limit (ulimit -n)"},
    {ENFILE, KOLM_E_RESOURCE_EXHAUSTED, "too many open files on this machine; close other programs"},
    {EEXIST, KOLM_E_ALREADY_EXISTS, "remove it or choose another name"},
    {EISDIR, KOLM_E_INVALID_ARGUMENT, "name a file, not a directory"},
    {ELOOP, KOLM_E_INVALID_ARGUMENT, "a symbolic link is in the way; put a file or directory there instead"},
    {EAGAIN, KOLM_E_RESOURCE_EXHAUSTED,
     "too many processes or too little memory at the moment; try again, or raise the limit (ulimit -u)"},
    {EINTR, KOLM_E_CANCELLED, ""},
};

kit_status kit_no_memory(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
}

kit_status kit_fail_errno(kolm_error_t *err, int errno_value, const char *text_format, ...) {
    errno_fact fact = {errno_value, KOLM_E_UNKNOWN, ""};
    for (size_t i = 0; i < sizeof errno_facts / sizeof errno_facts[0]; i++)
        if (errno_facts[i].value == errno_value) fact = errno_facts[i];
    if (err == NULL) return fact.code;
    char words[128] = "", text[1024], shown[sizeof err->text];
    /* The GNU form returns the text, which may or may not be in the array. */
    const char *reason = strerror_r(errno_value, words, sizeof words);
    va_list args;
    va_start(args, text_format);
    vsnprintf(text, sizeof text, text_format, args);
    va_end(args);
    /* A path of thousands of bytes must not push the reason out of the record. */
    size_t tail = strlen(reason) + 2;
    kit_copy(shown, tail < sizeof shown ? sizeof shown - tail : 1, text);
    return kit_fail(err, fact.code, fact.remedy, "%s: %s", shown, reason);
}

kit_status kit_fail_context(kolm_error_t *err, const char *context_format, ...) {
    if (err == NULL) return KOLM_E_UNKNOWN;
    char formatted[1024], context[256], before[sizeof err->text];
    va_list args;
    va_start(args, context_format);
    vsnprintf(formatted, sizeof formatted, context_format, args);
    va_end(args);
    kit_copy(context, sizeof context, formatted);
    kit_copy(before, sizeof before, err->text);
    kit_format(err->text, sizeof err->text, "%s: %s", context, before);
    return err->code;
}

const char *kit_status_name(int32_t code) {
    static const char *const names[] = {
        "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED",
    };
    return code >= 0 && (size_t)code < sizeof names / sizeof names[0] ? names[code] : "INVALID_CODE";
}
