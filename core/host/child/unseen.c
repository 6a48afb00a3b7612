/* SPDX-License-Identifier: Apache-2.0 */
/* Denies what Landlock does not cover because it opens no file: modes, owners and times of files, keys, limits of other
 * processes, System V and POSIX IPC. */
#include "host/child/child.h"

#if defined(__linux__)
#include "host/child/filter.h"
#include "host/child/numbers.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <string.h>
#include <sys/socket.h>

/* For every call. A backend must not use the user's keys; a file handle bypasses paths. */
static const int never[] = {SYS_add_key, SYS_request_key, SYS_keyctl, SYS_open_by_handle_at};

/* For detect and cost, which have no mounts and shared memory of their own, because that takes too long. Other calls
 * need to set modes and times of files; if they lack their own mounts too, proof->lacks reports that. Calls that an
 * architecture lacks are omitted. */
static const int attributes[] = {
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchmodat2,
    SYS_fchown,
    SYS_fchownat,
    SYS_setxattr,
    SYS_lsetxattr,
    SYS_fsetxattr,
    SYS_setxattrat,
    SYS_removexattr,
    SYS_lremovexattr,
    SYS_fremovexattr,
    SYS_removexattrat,
    SYS_file_setattr,
    SYS_mq_open,
    SYS_mq_unlink,
#ifdef SYS_chmod
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
#endif
#ifdef SYS_chown32
    SYS_chown32,
    SYS_lchown32,
    SYS_fchown32,
#endif
#ifdef SYS_utimensat
    SYS_utimensat,
#endif
#ifdef SYS_utimensat_time64
    SYS_utimensat_time64,
#endif
#ifdef SYS_utime
    SYS_utime,
#endif
#ifdef SYS_utimes
    SYS_utimes,
#endif
#ifdef SYS_futimesat
    SYS_futimesat,
#endif
#ifdef SYS_shmget
    SYS_shmget,
    SYS_shmat,
    SYS_shmctl,
    SYS_semget,
    SYS_semctl,
    SYS_msgget,
    SYS_msgctl,
    SYS_msgrcv,
    SYS_msgsnd,
#endif
#ifdef SYS_semop
    SYS_semop,
#endif
#ifdef SYS_semtimedop
    SYS_semtimedop,
#endif
#ifdef SYS_semtimedop_time64
    SYS_semtimedop_time64,
#endif
#ifdef SYS_ipc
    SYS_ipc,
#endif
};

/* Also for detect and cost: filters do not see the operations of io_uring, which can set attributes such as access
 * control lists. Answered with ENOSYS, so that libraries fall back. */
static const int rings[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};

/* Denies setting the limits of another process, which could kill kolm. Reading limits (no new value), and setting those
 * of this process (0), is allowed. */
static void deny_limits(child_filter *filter) {
    static const child_when others[] = {{.argument = 0, .differs = true, .mask = UINT32_MAX, .value = 0},
                                        {.argument = 2, .wide = true}};
    child_filter_deny_when(filter, SYS_prlimit64, others, sizeof others / sizeof *others);
}

/* Denies ioctls of file systems that work on a descriptor open for reading: flags such as immutable, seals, keys,
 * subvolumes. Denied by ioctl type, because each file system has its own, except single ones whose type device drivers
 * may use too. */
static void deny_orders(child_filter *filter) {
    static const struct {
        uint32_t mask, value;
    } orders[] = {{0xff00, 'f' << 8 /* most */},
                  {0xff00, 'X' << 8 /* most, XFS */},
                  {0xff00, 0x94 << 8 /* Btrfs */},
                  {0xff00, 0xf5 << 8 /* F2FS */},
                  {UINT32_MAX, (uint32_t)FS_IOC_SETVERSION},
                  {UINT32_MAX, (uint32_t)FAT_IOCTL_SET_ATTRIBUTES}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        const child_when order = {.argument = 1, .mask = orders[i].mask, .value = orders[i].value};
        child_filter_deny_when(filter, SYS_ioctl, &order, 1);
    }
}

/* Landlock restricts only TCP, and only bind(2) and connect(2): not MPTCP, TCP Fast Open, datagrams and other
 * protocols. The remaining socket families cannot reach other machines. */
static void deny_network(child_filter *filter) {
    static const child_when others[] = {{.argument = 0, .differs = true, .mask = UINT32_MAX, .value = AF_UNIX},
                                        {.argument = 0, .differs = true, .mask = UINT32_MAX, .value = AF_NETLINK}};
    child_filter_deny_when(filter, SYS_socket, others, sizeof others / sizeof *others);
}

kit_status child_unseen(const child_request *request, child_proof *proof, kolm_error_t *err) {
    (void)err;
    bool light = host_call_is_light(request->slot);
    child_filter filter;
    filter.count = 0;
    child_filter_deny(&filter, never, sizeof never / sizeof *never, EPERM);
    deny_limits(&filter);
    if (light) child_filter_deny(&filter, attributes, sizeof attributes / sizeof *attributes, EPERM);
    if (light) child_filter_deny(&filter, rings, sizeof rings / sizeof *rings, ENOSYS);
    if (light) deny_orders(&filter);
    if (light && !request->network) deny_network(&filter);
    bool good = child_filter_load(&filter) == 0;
    child_proof_add(good ? &proof->mechanisms : &proof->lacks, "seccomp_unseen");
    proof->read_only = proof->read_only || (light && good);
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
