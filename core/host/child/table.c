/* SPDX-License-Identifier: Apache-2.0 */
/* Validates a table step by step: version first, then size, then build, then identity. */
#include "host/child/child.h"

#include "kolm/kit/text.h"

#include <string.h>

#define FROZEN_WORDS (offsetof(kolm_backend_v1_t, required_features) + sizeof(uint64_t))

static const char *sanitizer_name(uint32_t kind) {
    static const char *const names[] = {"no sanitizer", "the address sanitizer", "the thread sanitizer",
                                        "the memory sanitizer"};
    return kind < 4 ? names[kind] : "an unknown sanitizer";
}

static kit_status check_fingerprint(uint32_t theirs, kolm_error_t *err) {
    const uint32_t ours = KOLM_FINGERPRINT;
    static const char remedy[] = "build the backend for this machine, with the flags that kolm was built with";
    if (theirs == ours) return KOLM_OK;
    uint32_t differ = theirs ^ ours;
    if (differ & 0xffu)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "it was built for pointers of %u bytes, this kolm has %u", theirs & 0xff, ours & 0xff);
    if (differ & 0xff00u)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "it was built with an off_t of %u bytes, this kolm has %u", theirs >> 8 & 0xff,
                        ours >> 8 & 0xff);
    if (differ & 0xff0000u)
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy,
                        "it was built for the other byte order (%u, this kolm has %u)", theirs >> 16 & 0xff,
                        ours >> 16 & 0xff);
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "it was built with %s, this kolm with %s",
                    sanitizer_name(theirs >> 24), sanitizer_name(ours >> 24));
}

static kit_status check_version(const kolm_backend_v1_t *table, unsigned minor, kolm_error_t *err) {
    if (table->struct_size < FROZEN_WORDS) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "build the backend with the SDK's backend.h",
                        "its table has %u bytes, too few for its version", table->struct_size);
    }
    if (table->abi_major != KOLM_ABI_MAJOR) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install the backend for this version of kolm",
                        "needs kolm ABI %u.%u, this is %u.%u", table->abi_major, table->abi_minor, KOLM_ABI_MAJOR,
                        minor);
    }
    if (table->struct_size < KOLM_BACKEND_SIZE_1_0) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "build the backend with the SDK's backend.h",
                        "its table has %u bytes, that of ABI 1.0 has %u", table->struct_size, KOLM_BACKEND_SIZE_1_0);
    }
    KIT_TRY(check_fingerprint(table->fingerprint, err));
    if (table->host_minor_needed > minor) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install a newer kolm", "needs kolm ABI %u.%u, this is %u.%u",
                        table->abi_major, table->host_minor_needed, KOLM_ABI_MAJOR, minor);
    }
    return KOLM_OK;
}

static kit_status check_identity(const kolm_backend_v1_t *table, const char *name, kolm_error_t *err) {
    static const char remedy[] = "report this to the author of the backend";
    const struct {
        const char *what, *value;
    } strings[] = {{"name", table->name},
                   {"version", table->version},
                   {"vendor", table->vendor},
                   {"licence", table->licence},
                   {"homepage", table->homepage}};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        if (!strings[i].value)
            return kit_fail(err, KOLM_E_FAILED_PRECONDITION, remedy, "its table has no %s", strings[i].what);
    }
    if (strcmp(table->name, name) != 0) {
        char said[64];
        kit_buf shown = {0};
        kit_buf_escaped(&shown, table->name, strnlen(table->name, 200));
        kit_copy(said, sizeof said, kit_buf_text(&shown));
        kit_buf_free(&shown);
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "give the files the plugin's own name",
                        "its name is '%s', but its file is named '%s'", said, name);
    }
    return KOLM_OK;
}

kit_status child_table_check(const kolm_backend_v1_t *table, const child_request *request, kolm_error_t *err) {
    KIT_TRY(check_version(table, request->first_minor ? 0 : KOLM_ABI_MINOR, err));
    uint64_t unknown = table->required_features & ~(uint64_t)KOLM_FEATURES_KNOWN;
    if (unknown != 0) {
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "install a newer kolm",
                        "needs features of kolm that this one does not have (bits 0x%llx)",
                        (unsigned long long)unknown);
    }
    return check_identity(table, request->name, err);
}

uint32_t child_table_slots(const kolm_backend_v1_t *table) {
    return (table->detect ? HOST_SLOT_DETECT : 0u) | (table->cost ? HOST_SLOT_COST : 0u) |
           (table->train ? HOST_SLOT_TRAIN : 0u) | (table->infer ? HOST_SLOT_INFER : 0u) |
           (table->test ? HOST_SLOT_TEST : 0u) |
           (KOLM_HAS(kolm_backend_v1_t, table, status) && table->status ? HOST_SLOT_STATUS : 0u) |
           (KOLM_HAS(kolm_backend_v1_t, table, reclaim) && table->reclaim ? HOST_SLOT_RECLAIM : 0u);
}

/* Fields of a newer plugin may have a meaning that this kolm does not know. */
void child_table_report(const kolm_backend_v1_t *table) {
    const uint64_t unknown = table->features & ~(uint64_t)KOLM_FEATURES_KNOWN;
    child_check_text("the version of its table", table->version, KOLM_VERSION_BYTES_MAX, 0);
    child_check_text("the vendor of its table", table->vendor, KOLM_VENDOR_BYTES_MAX, 0);
    child_check_text("the licence of its table", table->licence, KOLM_LICENCE_BYTES_MAX, 0);
    child_check_text("the homepage of its table", table->homepage, KOLM_HOMEPAGE_BYTES_MAX, CHILD_MAY_BE_EMPTY);
    if (table->abi_minor > KOLM_ABI_MINOR) return;
    child_check_reserved("the field reserved of its table", table->reserved);
    if (table->struct_size > sizeof *table)
        child_breach(HOST_BREACH_RECORD, "struct_size of its table", "set it to sizeof(kolm_backend_v1_t)",
                     "is %u, and that of ABI %u.%u at most %zu", table->struct_size, table->abi_major, table->abi_minor,
                     sizeof *table);
    if (unknown != 0)
        child_breach(HOST_BREACH_RECORD, "features of its table", "set those of kolm/backend.h and no others",
                     "has the bits 0x%llx, which ABI %u.%u does not have", (unsigned long long)unknown,
                     table->abi_major, table->abi_minor);
    if (table->host_minor_needed > table->abi_minor)
        child_breach(HOST_BREACH_RECORD, "host_minor_needed of its table", "require at most abi_minor",
                     "is %u, and abi_minor is %u", table->host_minor_needed, table->abi_minor);
}
