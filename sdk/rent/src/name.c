/* SPDX-License-Identifier: Apache-2.0 */
/* Names of jobs at a provider, which tell what they are and how old. */
#include "vm.h"

#include "kolm/kit/buf.h"
#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define DIGITS 8

kit_status vm_name_make(const char *digest, char out[VM_NAME_BYTES], kolm_error_t *err) {
    uint8_t random[DIGITS / 2];
    char digits[DIGITS + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kit_fail(err, KOLM_E_INTERNAL, "try again", "cannot get random numbers");
    kit_hex(random, sizeof random, digits);
    kit_format(out, VM_NAME_BYTES, KIT_VM_PREFIX "%.8s-%08llx-%s", digest, (unsigned long long)time(NULL), digits);
    return KOLM_OK;
}

uint64_t vm_name_age(const char *name) {
    static const char hex[] = "0123456789abcdef";
    const char *at = name + strlen(KIT_VM_PREFIX) + DIGITS;
    if (strncmp(name, KIT_VM_PREFIX, strlen(KIT_VM_PREFIX)) != 0 || strlen(name) < VM_NAME_BYTES - 10 || *at != '-' ||
        strspn(at + 1, hex) != DIGITS || at[1 + DIGITS] != '-')
        return KOLM_UNKNOWN_COUNT;
    uint64_t then = strtoull(at + 1, NULL, 16), now = (uint64_t)time(NULL);
    return now > then ? now - then : 0;
}
