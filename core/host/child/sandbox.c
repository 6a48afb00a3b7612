/* SPDX-License-Identifier: Apache-2.0 */
/* The strict airgap: no socket of any kind, nor anything that could stand in for one, and a proof of it from inside. */
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
#include <sys/utsname.h>
#include <unistd.h>

/* Kernel numbers that the oldest headers we build with may lack; the numbers are the same on every architecture. */
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

/* Denied with EPERM. Names and not numbers: libseccomp knows them for the machine that this runs on, and those that a
 * machine or this libseccomp does not have are passed over (a system call that is unknown by name is caught by the
 * self-test, if it opens anything that the test tries). */
static const char *const denied[] = {
    /* every way to have or use a socket */
    "socket",
    "socketpair",
    "socketcall",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "shutdown",
    "getsockopt",
    "setsockopt",
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
typedef struct probes {
    uint32_t run, reached;
    char first[40]; /* the first that opened */
} probes;

static void probe(probes *all, const char *name, long family, bool opened) {
    all->run++;
    if (!opened) return;
    if (all->reached++ == 0) kit_format(all->first, sizeof all->first, "%s %ld", name, family);
}

static void probe_sockets(probes *all) {
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET};
    for (int family = 0; family <= 45; family++) { /* AF_UNSPEC to AF_MCTP: every family there is */
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
            int fd = socket(family, types[i], 0);
            probe(all, "socket", family, fd >= 0);
            if (fd >= 0) close(fd);
        }
    }
    int pair[2];
    bool opened = socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0;
    probe(all, "socketpair", AF_UNIX, opened);
    if (opened) close(pair[0]), close(pair[1]);
    /* On a descriptor that is no descriptor: EPERM is the filter's word, EBADF would be the kernel's own. */
    probe(all, "connect", 0, connect(-1, NULL, 0) != -1 || errno != EPERM);
    probe(all, "sendto", 0, sendto(-1, NULL, 0, 0, NULL, 0) != -1 || errno != EPERM);
    probe(all, "sendmsg", 0, sendmsg(-1, NULL, 0) != -1 || errno != EPERM);
}

static void probe_rest(probes *all) {
    char parameters[120] = {0}; /* struct io_uring_params */
    long ring = syscall(SYS_io_uring_setup, 1, parameters);
    probe(all, "io_uring", 0, ring >= 0);
    if (ring >= 0) close((int)ring);
#ifdef SYS_keyctl
    probe(all, "keyctl", 0, syscall(SYS_keyctl, 0, -3, 0) >= 0);
    probe(all, "request_key", 0, syscall(SYS_request_key, "dns_resolver", "kolm", NULL, 0) >= 0 || errno != EPERM);
#endif
    probe(all, "unshare", 0, unshare(0) == 0);
    probe(all, "ptrace", 0, ptrace(PTRACE_PEEKDATA, 0, NULL, NULL) != -1 || errno != EPERM);
#ifdef SYS_bpf
    probe(all, "bpf", 0, syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno != EPERM);
#endif
#ifdef SYS_userfaultfd
    long fault = syscall(SYS_userfaultfd, 0);
    probe(all, "userfaultfd", 0, fault >= 0);
    if (fault >= 0) close((int)fault);
#endif
}

static void report(const probes *all) {
    static const char mechanisms[] =
        ",\"mechanisms\":[\"no_new_privs\",\"seccomp\",\"no_inherited_sockets\",\"not_dumpable\",\"self_test\"]";
    struct utsname machine;
    char kernel[96] = "";
    kit_buf members = {0};
    if (uname(&machine) == 0) kit_format(kernel, sizeof kernel, "%s %s", machine.sysname, machine.release);
    child_put_text(&members, "profile", "strict");
    child_put_text(&members, "kernel", kernel);
    child_put_int(&members, "run", all->run);
    child_put_int(&members, "reached", all->reached);
    kit_buf_str(&members, mechanisms);
    child_reply_send("sandbox", &members);
    kit_buf_free(&members);
}

kit_status child_sandbox(const child_request *request, kolm_error_t *err) {
    probes all = {0};
    (void)request;
    KIT_TRY(check_descriptors(err));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return kit_fail_errno(err, errno, "the airgap cannot be had: no_new_privs");
    KIT_TRY(install_filter(err));
    probe_sockets(&all);
    probe_rest(&all);
    report(&all);
    if (all.reached == 0) return KOLM_OK;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "report this with the name of the system",
                    "the airgap does not hold on this machine: %u of %u channels opened, the first was %s", all.reached,
                    all.run, all.first);
}
#else
kit_status child_sandbox(const child_request *request, kolm_error_t *err) {
    (void)request;
    return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "use Linux, with a kolm that was built with libseccomp",
                    "the airgap cannot be had here: this kolm was built without a way to enforce it");
}
#endif
