/* SPDX-License-Identifier: Apache-2.0 */
/* Denies what Landlock does not cover, because it opens no file: modes, owners and times of files, keys, limits of
 * other processes, what System V and POSIX keep without a file. */
#include "host/child/child.h"

#if defined(__linux__)
#include "host/child/filter.h"
#include "host/child/numbers.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <string.h>
#include <sys/socket.h>

/* For every call. Keys of the user's are not the backend's; a handle names a file without a way to it. */
static const int never[] = {SYS_add_key, SYS_request_key, SYS_keyctl, SYS_open_by_handle_at};

/* For a call without mounts and shared memory of its own, which detect and cost have no time for. Others write files
 * that are to have modes and times; where they have no mounts of their own either, proof->lacks says so. What a
 * processor does not have is left out. */
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

/* For the same: a ring is given orders that no filter sees, and setting attributes (with them, who may read) is one.
 * Answered with ENOSYS, so that libraries take their older road. */
static const int rings[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};

/* Limits of another process: kolm could be ended by them. What sets none only looks, 0 is this process itself. */
static void deny_limits(child_filter *filter) {
    static const child_when others[] = {{.argument = 0, .differs = true, .mask = UINT32_MAX, .value = 0},
                                        {.argument = 2, .wide = true}};
    child_filter_deny_when(filter, SYS_prlimit64, others, sizeof others / sizeof *others);
}

/* Orders to a file system, for which a file that is open to be read is enough: flags, such as that nobody may change
 * it, seals, keys, volumes in a directory. By the letter of who takes them and not one by one, as each file system has
 * its own; but one by one where drivers of devices might have chosen the same letter. */
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

/* Landlock knows TCP alone, and that only by connect(2): MPTCP, a connection with the first words, datagrams and
 * machines beside this one are none to it. What is left names no other machine. */
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
