/* SPDX-License-Identifier: Apache-2.0 */
/* The fence around files: Landlock, which allows only what the request lists, before the plugin is loaded. */
#include "host/child/child.h"

#if defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Constants from the kernel's include/uapi/linux/landlock.h, which older headers lack in part: each right with the ABI
 * version that added it. The system calls have the same numbers on every architecture. */
#define LL_CREATE_RULESET 444
#define LL_ADD_RULE 445
#define LL_RESTRICT_SELF 446
#define LL_OPENAT2 437
#define LL_RULE_PATH_BENEATH 1
#define LL_FLAG_VERSION 1u

#define LL_EXECUTE (1ull << 0)
#define LL_WRITE_FILE (1ull << 1)
#define LL_READ_FILE (1ull << 2)
#define LL_READ_DIR (1ull << 3)
#define LL_REMOVE_DIR (1ull << 4)
#define LL_REMOVE_FILE (1ull << 5)
#define LL_MAKE_DIR (1ull << 7)
#define LL_MAKE_REG (1ull << 8)
#define LL_MAKE_SOCK (1ull << 9)
#define LL_MAKE_FIFO (1ull << 10)
#define LL_MAKE_SYM (1ull << 12)
#define LL_ALL_1 ((1ull << 13) - 1)
#define LL_REFER (1ull << 13)        /* 2 */
#define LL_TRUNCATE (1ull << 14)     /* 3 */
#define LL_IOCTL_DEV (1ull << 15)    /* 5 */
#define LL_RESOLVE_UNIX (1ull << 16) /* 9 */
#define LL_NET_BIND_TCP (1ull << 0)  /* 4 */
#define LL_NET_CONNECT_TCP (1ull << 1)
#define LL_SCOPE_ABSTRACT_UNIX (1ull << 0) /* 6 */
#define LL_SCOPE_SIGNAL (1ull << 1)

struct ruleset_attr {
    uint64_t files, net, scoped;
};
struct path_beneath_attr {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));
struct how { /* open_how of openat2(2) */
    uint64_t flags, mode, resolve;
};
#define HOW_NO_SYMLINKS 0x04

#define RIGHTS_LOOK (LL_READ_FILE | LL_READ_DIR)
#define RIGHTS_READ (RIGHTS_LOOK | LL_EXECUTE)
/* No device files: they are not needed, and root could create them. */
#define RIGHTS_WRITE                                                                                                   \
    (RIGHTS_READ | LL_WRITE_FILE | LL_REMOVE_DIR | LL_REMOVE_FILE | LL_MAKE_DIR | LL_MAKE_REG | LL_MAKE_SOCK |         \
     LL_MAKE_FIFO | LL_MAKE_SYM | LL_REFER | LL_TRUNCATE | LL_RESOLVE_UNIX)
#define RIGHTS_DEVICE (RIGHTS_LOOK | LL_WRITE_FILE | LL_TRUNCATE | LL_IOCTL_DEV)
#define RIGHTS_OF_FILES (LL_EXECUTE | LL_WRITE_FILE | LL_READ_FILE | LL_TRUNCATE | LL_IOCTL_DEV | LL_RESOLVE_UNIX)

static kit_status cannot(kolm_error_t *err, const char *what, const char *path) {
    return kit_fail_errno(err, errno, "cannot set up the fence around the backend: %s %s", what, path);
}

static kit_status add_fd(int rules, int fd, uint64_t rights, uint64_t known, const char *path, kolm_error_t *err) {
    struct stat st;
    struct path_beneath_attr rule = {.allowed = rights & known, .fd = fd};
    if (fstat(fd, &st) != 0) return cannot(err, "fstat", path);
    if (!S_ISDIR(st.st_mode)) rule.allowed &= RIGHTS_OF_FILES;
    if (rule.allowed == 0 || syscall(LL_ADD_RULE, rules, LL_RULE_PATH_BENEATH, &rule, 0) == 0) return KOLM_OK;
    if (errno == EBADFD) return KOLM_OK; /* a memory file: Landlock does not restrict those */
    return cannot(err, "landlock_add_rule", path);
}

/* The caller has resolved and checked the path. A link that has replaced it since is not followed. */
int child_open_place(const char *path) {
    const struct how how = {.flags = O_PATH | O_CLOEXEC, .resolve = HOW_NO_SYMLINKS};
    int fd = (int)syscall(LL_OPENAT2, AT_FDCWD, path, &how, sizeof how);
    return fd < 0 && (errno == ENOSYS || errno == EPERM) ? open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC) : fd;
}

static kit_status add_paths(const child_request *request, int rules, const char *key, uint64_t rights, uint64_t known,
                            kolm_error_t *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, kit_json_get(request->fence, key)) {
        if (!cJSON_IsString(item)) continue;
        int fd = child_open_place(item->valuestring);
        if (fd < 0) continue; /* gone, or inaccessible to the user: nothing to allow */
        kit_status status = add_fd(rules, fd, rights, known, item->valuestring, err);
        close(fd);
        if (status != KOLM_OK) return status;
    }
    return KOLM_OK;
}

/* Allows reopening a file that was passed as a descriptor, through /proc/self/fd. */
static kit_status add_descriptor(int rules, int number, uint64_t rights, uint64_t known, kolm_error_t *err) {
    struct stat st;
    char name[32];
    kit_format(name, sizeof name, "descriptor %d", number);
    if (fstat(number, &st) != 0 || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) return KOLM_OK;
    return add_fd(rules, number, rights, known, name, err);
}

static kit_status add_all(const child_request *request, int rules, uint64_t known, kolm_error_t *err) {
    KIT_TRY(add_paths(request, rules, HOST_KEY_READ, RIGHTS_READ, known, err));
    KIT_TRY(add_paths(request, rules, HOST_KEY_LOOK, RIGHTS_LOOK, known, err));
    KIT_TRY(add_paths(request, rules, HOST_KEY_WRITE, RIGHTS_WRITE, known, err));
    KIT_TRY(add_paths(request, rules, HOST_KEY_DEVICE, RIGHTS_DEVICE, known, err));
    if (request->plugin.held) KIT_TRY(add_descriptor(rules, HOST_FD_PLUGIN, RIGHTS_READ, known, err));
    if (strcmp(request->slot, HOST_CALL_INFER) != 0) return KOLM_OK;
    KIT_TRY(add_descriptor(rules, HOST_FD_INPUT, RIGHTS_READ, known, err));
    KIT_TRY(add_descriptor(rules, HOST_FD_MODEL, RIGHTS_READ, known, err));
    return add_descriptor(rules, HOST_FD_OUTPUT, LL_READ_FILE | LL_WRITE_FILE | LL_TRUNCATE, known, err);
}

static struct ruleset_attr attributes(const child_request *request, long abi) {
    struct ruleset_attr all = {.files = LL_ALL_1};
    if (abi >= 2) all.files |= LL_REFER;
    if (abi >= 3) all.files |= LL_TRUNCATE;
    /* Only for detect and cost: processes of a distributed training talk to each other over local TCP. */
    bool light = host_call_is_light(request->slot);
    if (abi >= 4 && light && !request->network) all.net = LL_NET_BIND_TCP | LL_NET_CONNECT_TCP;
    if (abi >= 5) all.files |= LL_IOCTL_DEV;
    if (abi >= 6) all.scoped = LL_SCOPE_ABSTRACT_UNIX | LL_SCOPE_SIGNAL;
    if (abi >= 9) all.files |= LL_RESOLVE_UNIX;
    return all;
}

/* Missing kernel features that a plugin could exploit, as named in the receipt. Versions 2 and 5 do not matter: before
 * 2, moving files between directories was always denied, and every device that may be opened may also be controlled. */
static void report_lacks(const child_request *request, long abi, child_proof *proof) {
    static const struct {
        long since;
        const char *name;
    } parts[] = {{1, "landlock"}, {3, "landlock_truncate"}, {6, "landlock_processes"}, {9, "landlock_unix_sockets"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (abi >= parts[i].since || (parts[i].since == 9 && request->airgap)) continue; /* sockets are denied */
        child_proof_add(&proof->lacks, parts[i].name);
        if (abi < 1) return;
    }
}

/* Drops the capabilities of root that bypass Landlock: reading another process's memory map and environment
 * (CAP_PERFMON), tracing, mounting, modules, raw devices and the rest. Those for files are kept: Landlock limits the
 * files they apply to. Other users have capabilities only in a user namespace, where none are needed. Numbers are those
 * of include/uapi/linux/capability.h. */
static kit_status drop_privileges(const child_proof *proof, kolm_error_t *err) {
    static const int kept[] = {0 /* chown */,  1 /* dac_override */,      2 /* dac_read_search */, 3 /* fowner */,
                               4 /* fsetid */, 10 /* net_bind_service */, 14 /* ipc_lock */,       23 /* sys_nice */};
    struct {
        uint32_t version;
        int pid;
    } header = {0x20080522, 0}; /* _LINUX_CAPABILITY_VERSION_3 */
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2] = {{0, 0, 0}, {0, 0, 0}};
    uint32_t mask = 0;
    if (syscall(SYS_capget, &header, sets) != 0) return cannot(err, "capget", "");
    for (size_t i = 0; i < sizeof kept / sizeof *kept && !proof->user_namespace; i++)
        mask |= 1u << kept[i];
    sets[0].permitted &= mask;
    sets[0].effective &= mask;
    sets[1].permitted = sets[1].effective = 0;
    sets[0].inheritable = sets[1].inheritable = 0;
    return syscall(SYS_capset, &header, sets) == 0 ? KOLM_OK : cannot(err, "capset", "");
}

kit_status child_landlock(const child_request *request, child_proof *proof, kolm_error_t *err) {
    long abi = syscall(LL_CREATE_RULESET, NULL, 0, LL_FLAG_VERSION);
    char name[32];
    proof->landlock = abi > 0 ? (int)abi : 0;
    report_lacks(request, proof->landlock, proof);
    if (abi < 1) return KOLM_OK;
    struct ruleset_attr all = attributes(request, abi);
    size_t size = abi >= 6 ? sizeof all : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    int rules = (int)syscall(LL_CREATE_RULESET, &all, size, 0);
    if (rules < 0) return cannot(err, "landlock_create_ruleset", "");
    kit_status status = add_all(request, rules, all.files, err);
    if (status == KOLM_OK && syscall(LL_RESTRICT_SELF, rules, 0) != 0)
        status = cannot(err, "landlock_restrict_self", "");
    close(rules);
    if (status == KOLM_OK) status = drop_privileges(proof, err);
    if (status != KOLM_OK) return status;
    kit_format(name, sizeof name, "landlock_%ld", abi);
    child_proof_add(&proof->mechanisms, name);
    if (all.scoped) child_proof_add(&proof->mechanisms, "landlock_processes");
    return KOLM_OK;
}
#else
kit_status child_landlock(const child_request *request, child_proof *proof, kolm_error_t *err) {
    (void)request;
    (void)err;
    child_proof_add(&proof->lacks, "landlock");
    return KOLM_OK;
}
#endif
