/* SPDX-License-Identifier: Apache-2.0 */
/* The strict airgap: no socket but pairs, nor anything that could stand in for one, and a proof of it from inside. */
#include "host/child/child.h"

#if defined(__linux__) && defined(HOST_HAVE_SECCOMP)
#include <errno.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Kernel numbers that the oldest headers we build with may lack; the numbers are the same on every architecture. */
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

/* Denied with EPERM. Names and not numbers: libseccomp knows them for the machine that this runs on, and those that a
 * machine or this libseccomp does not have are passed over (a system call that is unknown by name is caught by the
 * self-test, if it opens anything that the test tries). */
static const char *const denied[] = {
    /* every way to have a socket that leads anywhere; what pairs are used with is not among them */
    "socket",
    "socketcall",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    /* other processes: their memory, their descriptors, their sockets */
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    /* keys: request_key may start a DNS query in the kernel's name */
    "add_key",
    "request_key",
    "keyctl",
    /* programs in the kernel, and faults that a program serves */
    "bpf",
    "perf_event_open",
    "userfaultfd",
    /* other namespaces and other roots */
    "unshare",
    "setns",
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    /* the machine itself */
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "iopl",
    "ioperm",
    "settimeofday",
    "clock_settime",
    "sethostname",
    "setdomainname",
    "nfsservctl",
    "vhangup",
    "lookup_dcookie",
};

/* Answered with ENOSYS, so that libraries take their older road. */
static const char *const absent[] = {"io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"};

static int deny_all(scmp_filter_ctx filter) {
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
        int number = seccomp_syscall_resolve_name(denied[i]);
        if (number == __NR_SCMP_ERROR) continue;
        int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
        if (result != 0) return result;
    }
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        int number = seccomp_syscall_resolve_name(absent[i]);
        if (number == __NR_SCMP_ERROR) continue;
        int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
        if (result != 0) return result;
    }
    return 0;
}

/* A pair of stream sockets leads from this process and its children to themselves: worker processes of Python's talk through
 * them. A pair of datagram sockets can be sent from to any socket that has a name, so there are none. */
static int deny_pairs(scmp_filter_ctx filter) {
    int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socketpair), 1, SCMP_CMP(0, SCMP_CMP_NE, AF_UNIX));
    for (scmp_datum_t type = 0; type < 16 && result == 0; type++) { /* SOCK_TYPE_MASK of linux/net.h */
        if (type == SOCK_STREAM || type == SOCK_SEQPACKET) continue;
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socketpair), 1,
                                  SCMP_CMP(1, SCMP_CMP_MASKED_EQ, 15, type));
    }
    return result;
}

/* Threads and processes are fine, new namespaces are not; nor are typing into somebody's terminal and making
 * a network interface. */
static int deny_by_argument(scmp_filter_ctx filter) {
    static const scmp_datum_t namespaces[] = {CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS,    CLONE_NEWPID,
                                              CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
    static const scmp_datum_t controls[] = {TIOCSTI, TIOCLINUX, TUNSETIFF};
#if defined(__s390x__)
    const unsigned flags_at = 1;
#else
    const unsigned flags_at = 0;
#endif
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
        int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                      SCMP_CMP(flags_at, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
        if (result != 0) return result;
    }
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                      SCMP_CMP(1, SCMP_CMP_MASKED_EQ, 0xffffffffu, controls[i]));
        if (result != 0) return result;
    }
    return 0;
}

static kit_status install_filter(kolm_error_t *err) {
    int result = -ENOMEM;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter) {
        /* 32-bit and x32 calls have other numbers for the same things. */
        result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1);
        if (result == 0) result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (result == 0) result = deny_all(filter);
        if (result == 0) result = deny_pairs(filter);
        if (result == 0) result = deny_by_argument(filter);
        if (result == 0) result = seccomp_load(filter);
        seccomp_release(filter);
    }
    if (result == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "use a kernel with CONFIG_SECCOMP_FILTER and a container that allows seccomp(2)",
                    "the airgap cannot be had here: the kernel takes no system call filter: %s", strerror(-result));
}

/* ---- Before: a socket that is open already would not have to be opened. */
static kit_status check_descriptors(kolm_error_t *err) {
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = 0; fd < most && fd < 65536; fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) continue;
        if (fd == HOST_FD_INPUT || fd == HOST_FD_OUTPUT)
            return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "use a file or a pipe",
                            "the airgap cannot be had: the %s of this call is a socket",
                            fd == HOST_FD_INPUT ? "input" : "output");
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "report this",
                        "the airgap cannot be had: descriptor %d is a socket", fd);
    }
    return KOLM_OK;
}

/* ---- After: every door, tried */
static void probe_sockets(child_proof *proof) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    for (int family = 0; family <= 45; family++) { /* AF_UNSPEC to AF_MCTP: every family there is */
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            int fd = socket(family, types[i], 0);
            child_probe(proof, fd >= 0, "socket", family);
            if (fd >= 0) close(fd);
        }
    }
    static const int datagrams[] = {SOCK_DGRAM, SOCK_RAW};
    for (size_t i = 0; i < sizeof datagrams / sizeof *datagrams; i++) {
        int pair[2];
        bool opened = socketpair(AF_UNIX, datagrams[i], 0, pair) == 0;
        child_probe(proof, opened, "socketpair", datagrams[i]);
        if (opened) close(pair[0]), close(pair[1]);
    }
    /* On a descriptor that is no descriptor: EPERM is the filter's word, EBADF would be the kernel's own. */
    child_probe(proof, connect(-1, NULL, 0) != -1 || errno != EPERM, "connect", 0);
    child_probe(proof, bind(-1, NULL, 0) != -1 || errno != EPERM, "bind", 0);
    child_probe(proof, accept(-1, NULL, NULL) != -1 || errno != EPERM, "accept", 0);
}

static void probe_rest(child_proof *proof) {
    char parameters[120] = {0}; /* struct io_uring_params */
    long ring = syscall(SYS_io_uring_setup, 1, parameters);
    child_probe(proof, ring >= 0, "io_uring", 0);
    if (ring >= 0) close((int)ring);
#ifdef SYS_keyctl
    child_probe(proof, syscall(SYS_keyctl, 0, -3, 0) >= 0, "keyctl", 0);
    child_probe(proof, syscall(SYS_request_key, "dns_resolver", "kolm", NULL, 0) >= 0 || errno != EPERM, "request_key", 0);
#endif
    child_probe(proof, unshare(0) == 0, "unshare", 0);
    child_probe(proof, ptrace(PTRACE_PEEKDATA, 0, NULL, NULL) != -1 || errno != EPERM, "ptrace", 0);
#ifdef SYS_bpf
    child_probe(proof, syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno != EPERM, "bpf", 0);
#endif
#ifdef SYS_userfaultfd
    long fault = syscall(SYS_userfaultfd, 0);
    child_probe(proof, fault >= 0, "userfaultfd", 0);
    if (fault >= 0) close((int)fault);
#endif
}

kit_status child_sandbox(child_proof *proof, kolm_error_t *err) {
    KIT_TRY(check_descriptors(err));
    KIT_TRY(install_filter(err));
    probe_sockets(proof);
    probe_rest(proof);
    child_proof_add(&proof->mechanisms, "seccomp");
    child_proof_add(&proof->mechanisms, "no_inherited_sockets");
    if (proof->reached == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "report this with the name of the system",
                    "the airgap does not hold on this machine: %u of %u channels opened, the first was %s",
                    proof->reached, proof->run, proof->first);
}
#else
kit_status child_sandbox(child_proof *proof, kolm_error_t *err) {
    (void)proof;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "use Linux, with a kolm that was built with libseccomp",
                    "the airgap cannot be had here: this kolm was built without a way to enforce it");
}
#endif
