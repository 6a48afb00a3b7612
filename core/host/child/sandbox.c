/* SPDX-License-Identifier: Apache-2.0 */
/* The strict airgap: no sockets except pairs, no equivalents, and a self-test from inside. */
#include "host/child/child.h"

#if defined(__linux__)
#include "host/child/filter.h"
#include "host/child/numbers.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Denied with EPERM. Calls that an architecture lacks are left out. */
static const int denied[] = {
    /* every way to get a connected socket; not the calls that socket pairs need */
    SYS_socket,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept4,
#ifdef SYS_socketcall
    SYS_socketcall,
#endif
#ifdef SYS_accept
    SYS_accept,
#endif
    /* other processes: their memory, their descriptors, their sockets */
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_process_madvise,
    SYS_pidfd_getfd,
    SYS_kcmp,
    /* keys: request_key may start a DNS query by the kernel */
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    /* BPF programs, and page faults handled in user space */
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    /* other namespaces and other roots */
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_open_tree,
    SYS_open_tree_attr,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_open_by_handle_at,
#ifdef SYS_umount
    SYS_umount,
#endif
    /* the machine itself */
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_quotactl_fd,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_vhangup,
    SYS_kexec_load,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
    SYS_iopl,
    SYS_ioperm,
#endif
#ifdef SYS_clock_settime64
    SYS_clock_settime64,
#endif
#ifdef SYS_nfsservctl
    SYS_nfsservctl,
#endif
#ifdef SYS_lookup_dcookie
    SYS_lookup_dcookie,
#endif
};

/* Answered with ENOSYS, so that libraries fall back. */
static const int absent[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_clone3};

/* Stream socket pairs connect only this process and its children: Python's worker processes use them. Datagram socket
 * pairs are denied, because they can send to any named socket. */
static void deny_pairs(child_filter *filter) {
    const child_when other = {.argument = 0, .differs = true, .mask = UINT32_MAX, .value = AF_UNIX};
    child_filter_deny_when(filter, SYS_socketpair, &other, 1);
    const child_when types[] = {
        {.argument = 1, .differs = true, .mask = 15 /* SOCK_TYPE_MASK of linux/net.h */, .value = SOCK_STREAM},
        {.argument = 1, .differs = true, .mask = 15, .value = SOCK_SEQPACKET}};
    child_filter_deny_when(filter, SYS_socketpair, types, 2);
}

/* Threads and processes are fine, new namespaces are not; nor are injecting terminal input and creating a network
 * interface. */
static void deny_by_argument(child_filter *filter) {
    static const uint32_t controls[] = {TIOCSTI, TIOCLINUX, TUNSETIFF};
#if defined(__s390x__)
    const unsigned flags_at = 1;
#else
    const unsigned flags_at = 0;
#endif
    const child_when any_namespace = {.argument = flags_at,
                                      .differs = true,
                                      .mask = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC |
                                              CLONE_NEWUTS | CLONE_NEWCGROUP,
                                      .value = 0};
    child_filter_deny_when(filter, SYS_clone, &any_namespace, 1);
    for (size_t i = 0; i < sizeof controls / sizeof *controls; i++) {
        const child_when control = {.argument = 1, .mask = UINT32_MAX, .value = controls[i]};
        child_filter_deny_when(filter, SYS_ioctl, &control, 1);
    }
}

static kit_status install_filter(kolm_error_t *err) {
    child_filter filter;
    filter.count = 0;
    child_filter_deny(&filter, denied, sizeof denied / sizeof *denied, EPERM);
    child_filter_deny(&filter, absent, sizeof absent / sizeof *absent, ENOSYS);
    deny_pairs(&filter);
    deny_by_argument(&filter);
    int result = child_filter_load(&filter);
    if (result == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION,
                    "use a kernel with CONFIG_SECCOMP_FILTER and a container that allows seccomp(2)",
                    "cannot enforce the airgap: the kernel has no system call filters: %s", strerror(result));
}

/* ---- Before: a socket that is open already would not have to be opened. */
static kit_status check_descriptors(kolm_error_t *err) {
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = 0; fd < most && fd < 65536; fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) continue;
        if (fd == HOST_FD_INPUT || fd == HOST_FD_OUTPUT)
            return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "use a file or a pipe",
                            "cannot enforce the airgap: the %s of this call is a socket",
                            fd == HOST_FD_INPUT ? "input" : "output");
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "report this",
                        "cannot enforce the airgap: descriptor %d is a socket", fd);
    }
    return KOLM_OK;
}

/* ---- After: every channel is tried */
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
    /* With an invalid descriptor, the filter returns EPERM, the kernel itself EBADF. */
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
    child_probe(proof, syscall(SYS_request_key, "dns_resolver", "kolm", NULL, 0) >= 0 || errno != EPERM, "request_key",
                0);
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
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "use Linux",
                    "cannot enforce the airgap: system call filters exist on Linux only");
}
#endif
