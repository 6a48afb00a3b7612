/* SPDX-License-Identifier: Apache-2.0 */
/* What reaches past Landlock without opening a file: modes, owners and times of files, keys, limits of other processes. */
#include "host/child/child.h"

#if defined(__linux__) && defined(HOST_HAVE_SECCOMP)
#include <errno.h>
#include <linux/fs.h>
#include <seccomp.h>
#include <string.h>

/* For every call. Keys of the user's are not the backend's; a handle names a file without a way to it. */
static const char *const never[] = {"add_key", "request_key", "keyctl", "open_by_handle_at"};

/* For a call without mounts and shared memory of its own, which detect and cost have no time for. Others write files that
 * are to have modes and times; where they have no mounts of their own either, proof->lacks says so. */
static const char *const attributes[] = {
    "chmod",        "fchmod",      "fchmodat",     "fchmodat2",    "chown",        "lchown",    "fchown",    "fchownat",
    "chown32",      "lchown32",    "fchown32",     "setxattr",     "lsetxattr",    "fsetxattr", "setxattrat",
    "removexattr",  "lremovexattr", "fremovexattr", "removexattrat", "utime",      "utimes",    "futimesat", "utimensat",
    "utimensat_time64", "shmat",   "shmget",       "semget",       "semop",        "semtimedop", "msgget",   "msgrcv",
    "msgsnd",       "mq_open",
};

static int deny(scmp_filter_ctx filter, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        int number = seccomp_syscall_resolve_name(names[i]);
        if (number == __NR_SCMP_ERROR) continue;
        int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
        if (result != 0) return result;
    }
    return 0;
}

/* Limits of another process: kolm could be ended by them. What sets none only looks, 0 is this process itself. */
static int deny_limits(scmp_filter_ctx filter) {
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 2, SCMP_CMP(0, SCMP_CMP_NE, 0),
                            SCMP_CMP(2, SCMP_CMP_NE, 0));
}

/* Flags of files, such as that nobody may change them. */
static int deny_flags(scmp_filter_ctx filter) {
    static const scmp_datum_t controls[] = {FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR};
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                      SCMP_CMP(1, SCMP_CMP_MASKED_EQ, 0xffffffffu, controls[i] & 0xffffffffu));
        if (result != 0) return result;
    }
    return 0;
}

kit_status child_unseen(const child_request *request, child_proof *proof, kolm_error_t *err) {
    (void)err;
    bool light = strcmp(request->slot, "detect") == 0 || strcmp(request->slot, "cost") == 0;
    int result = -ENOMEM;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter) {
        result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (result == 0) result = deny(filter, never, sizeof never / sizeof *never);
        if (result == 0) result = deny_limits(filter);
        if (result == 0 && light) result = deny(filter, attributes, sizeof attributes / sizeof *attributes);
        if (result == 0 && light) result = deny_flags(filter);
        if (result == 0) result = seccomp_load(filter);
        seccomp_release(filter);
    }
    child_proof_add(result == 0 ? &proof->mechanisms : &proof->lacks, "seccomp_unseen");
    proof->read_only = proof->read_only || (light && result == 0);
    return KOLM_OK;
}
#else
kit_status child_unseen(const child_request *request, child_proof *proof, kolm_error_t *err) {
    (void)request;
    (void)err;
    child_proof_add(&proof->lacks, "seccomp_unseen");
    return KOLM_OK;
}
#endif
