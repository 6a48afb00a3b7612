/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that tries to access what it may not: the setting "targets" lists the attempts, the log which of them
 * succeeded. */
#include "kolm/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int open_it(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static int connect_abstract(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(address.sun_path + 1, name, n);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int good = fd >= 0 && connect(fd, (struct sockaddr *)&address,
                                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) == 0;
    int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return good;
}

/* Exchanges messages of one byte with a child through a socket pair, as worker processes do. */
static int talk(void) {
    int pair[2], status = 1;
    char byte = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 0;
    pid_t child = fork();
    if (child == 0) _exit(read(pair[1], &byte, 1) == 1 && send(pair[1], "b", 1, 0) == 1 ? 0 : 1);
    int good = send(pair[0], "a", 1, 0) == 1 && recv(pair[0], &byte, 1, 0) == 1 && byte == 'b';
    waitpid(child, &status, 0);
    close(pair[0]);
    close(pair[1]);
    return good && status == 0;
}

/* Sets the mode that the file already has, so that a success changes nothing; the same for the owner. */
static int set_mode(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && chmod(path, st.st_mode & 07777) == 0;
}

static int set_mode_of_open(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int good = fd >= 0 && fstat(fd, &st) == 0 && fchmod(fd, st.st_mode & 07777) == 0;
    int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return good;
}

static int set_times(const char *path) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    return utimensat(AT_FDCWD, path, times, 0) == 0;
}

/* The newer system calls for the same, by number, because the headers and the library may not have them. */
static int set_attribute_at(const char *path) {
    const struct {
        uint64_t value;
        uint32_t size, flags;
    } how = {(uint64_t)(uintptr_t) "x", 1, 0};
    return syscall(463 /* setxattrat */, AT_FDCWD, path, 0, "user.kolm-at", &how, sizeof how) == 0;
}

static int set_flags_at(const char *path) {
    struct {
        uint64_t flags;
        uint32_t extent_size, extents, project, copy_extent_size;
    } how = {0};
    return syscall(468 /* file_getattr */, AT_FDCWD, path, &how, sizeof how, 0) == 0 &&
           syscall(469 /* file_setattr */, AT_FDCWD, path, &how, sizeof how, 0) == 0;
}

/* An io_uring can perform operations, setxattr among them, that a filter of system calls does not see. */
static int open_ring(void) {
    char parameters[120] = {0}; /* struct io_uring_params */
    long ring = syscall(425 /* io_uring_setup */, 1, parameters);
    if (ring >= 0) close((int)ring);
    return ring >= 0;
}

/* Sends an ioctl to the file system of a file; most do not implement it. Returns true if it was not blocked. */
static int order(const char *path, unsigned long number) {
    char nothing[256] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int asked = fd >= 0 && (ioctl(fd, number, nothing) == 0 || errno != EPERM);
    int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return asked;
}

/* Queries or removes an object of System V IPC. */
static int control(const char *what, int number) {
    struct shmid_ds segment;
    if (strcmp(what, "segment") == 0) return shmctl(number, IPC_STAT, &segment) == 0;
    if (strcmp(what, "semaphore") == 0) return semctl(number, 0, GETVAL) >= 0;
    if (strcmp(what, "messages") == 0) return msgctl(number, IPC_RMID, NULL) == 0;
    return shmctl(number, IPC_RMID, NULL) == 0;
}

/* An internet socket, with a protocol that Landlock can restrict (0: TCP) or cannot (262: MPTCP). */
static int open_socket(int type, int protocol) {
    int fd = socket(AF_INET, type, protocol);
    int good = fd >= 0 || (errno != EPERM && errno != EACCES);
    int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return good;
}

static int set_limits(pid_t process) {
    struct rlimit now;
    return prlimit(process, RLIMIT_CORE, NULL, &now) == 0 && prlimit(process, RLIMIT_CORE, &now, NULL) == 0;
}

static int run_it(const char *program) {
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    waitpid(child, &status, 0);
    return status == 0;
}

static int reach(const char *what, const char *arg) {
    char path[4200], byte = 0;
    long number = strtol(arg, NULL, 10);
    struct iovec here = {&byte, 1}, there = {(void *)(uintptr_t)arg, 1};
    errno = 0;
    if (strcmp(what, "read") == 0) return open_it(arg, O_RDONLY);
    if (strcmp(what, "write") == 0) return open_it(arg, O_WRONLY | O_CREAT);
    if (strcmp(what, "append") == 0) return open_it(arg, O_WRONLY | O_APPEND);
    if (strcmp(what, "truncate") == 0) return truncate(arg, 0) == 0;
    if (strcmp(what, "unlink") == 0) return unlink(arg) == 0;
    if (strcmp(what, "mkdir") == 0) return mkdir(arg, 0700) == 0;
    if (strcmp(what, "mode") == 0) return set_mode(arg);
    if (strcmp(what, "fmode") == 0) return set_mode_of_open(arg);
    if (strcmp(what, "owner") == 0) return chown(arg, geteuid(), (gid_t)-1) == 0;
    if (strcmp(what, "times") == 0) return set_times(arg);
    if (strcmp(what, "attribute-at") == 0) return set_attribute_at(arg);
    if (strcmp(what, "flags-at") == 0) return set_flags_at(arg);
    if (strcmp(what, "attribute") == 0) return setxattr(arg, "user.kolm", "x", 1, 0) == 0;
    if (strcmp(what, "limits") == 0) return set_limits((pid_t)number);
    if (strcmp(what, "ring") == 0) return open_ring();
    if (strcmp(what, "stream") == 0) return open_socket(SOCK_STREAM, (int)number);
    if (strcmp(what, "datagram") == 0) return open_socket(SOCK_DGRAM, (int)number);
    if (strcmp(what, "verity") == 0) return order(arg, FS_IOC_ENABLE_VERITY);
    if (strcmp(what, "subvolume") == 0) return order(arg, 0x5000940e /* BTRFS_IOC_SUBVOL_CREATE */);
    if (strcmp(what, "segment") == 0 || strcmp(what, "semaphore") == 0 || strcmp(what, "messages") == 0 ||
        strcmp(what, "remove") == 0)
        return control(what, (int)number);
    if (strcmp(what, "queue") == 0) return syscall(SYS_mq_unlink, arg) == 0;
    if (strcmp(what, "list") == 0) return open_it(arg, O_RDONLY | O_DIRECTORY);
    if (strcmp(what, "run") == 0) return run_it(arg);
    if (strcmp(what, "pair") == 0) return talk();
    if (strcmp(what, "signal") == 0) return kill((pid_t)number, 0) == 0;
    if (strcmp(what, "trace") == 0) return ptrace(PTRACE_SEIZE, (pid_t)number, NULL, NULL) == 0;
    if (strcmp(what, "peek") == 0) return process_vm_readv((pid_t)number, &here, 1, &there, 1, 0) == 1;
    if (strcmp(what, "abstract") == 0) return connect_abstract(arg);
    snprintf(path, sizeof path, "/proc/%ld/%s", number, what);
    if (strcmp(what, "cwd") == 0) return open_it(path, O_RDONLY | O_DIRECTORY);
    return open_it(path, strcmp(what, "mem") == 0 ? O_RDWR : O_RDONLY);
}

static void reach_all(const kolm_host_v1_t *host) {
    static char targets[16384];
    char *at, *line, *rest = targets;
    if (host->setting(host->user, "targets", targets, sizeof targets, NULL) != KOLM_OK) return;
    while ((line = strtok_r(rest, ";", &rest)) != NULL) {
        char text[4400];
        if ((at = strchr(line, ' ')) == NULL) continue;
        *at = '\0';
        int got = reach(line, at + 1);
        snprintf(text, sizeof text, "%s %s %s (%s)", got ? "GOT" : "not", line, at + 1, got ? "open" : strerror(errno));
        host->log(host->user, KOLM_LOG_INFO, text);
    }
}

static int32_t detect(const kolm_host_v1_t *host, const kolm_detect_args_t *args, kolm_detect_result_t *out_result,
                      kolm_error_t *out_error) {
    (void)args;
    (void)out_error;
    reach_all(host);
    out_result->state = KOLM_DETECT_AVAILABLE;
    snprintf(out_result->reason, sizeof out_result->reason, "it reaches");
    return KOLM_OK;
}

static int32_t train(const kolm_host_v1_t *host, const kolm_train_args_t *args, kolm_train_result_t *out_result,
                     kolm_error_t *out_error) {
    (void)args;
    (void)out_error;
    reach_all(host);
    snprintf(out_result->device, sizeof out_result->device, "an arm");
    snprintf(out_result->toolchain, sizeof out_result->toolchain, "reaches 1");
    return KOLM_OK;
}

static int32_t infer(const kolm_host_v1_t *host, const kolm_infer_args_t *args, kolm_infer_result_t *out_result,
                     kolm_error_t *out_error) {
    (void)out_error;
    reach_all(host);
    char text[64] = "";
    int in = open(args->input_path, O_RDONLY), out = open(args->output_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ssize_t n = in >= 0 ? read(in, text, sizeof text) : -1;
    if (n > 0 && out >= 0 && write(out, text, (size_t)n) == n) out_result->answers = 1;
    return n > 0 && out >= 0 ? KOLM_OK : KOLM_E_PERMISSION_DENIED;
}

KOLM_BACKEND_EXPORT const kolm_backend_v1_t kolm_backend_v1 = {
    .struct_size = (uint32_t)sizeof(kolm_backend_v1_t),
    .abi_major = KOLM_ABI_MAJOR,
    .abi_minor = KOLM_ABI_MINOR,
    .fingerprint = KOLM_FINGERPRINT,
    .features = KOLM_FEATURE_MODEL_SLICES,
    .name = "reaches",
    .version = "1.0.0",
    .vendor = "the zoo",
    .licence = "Apache-2.0",
    .homepage = "https://example.com/zoo",
    .detect = detect,
    .train = train,
    .infer = infer,
};
