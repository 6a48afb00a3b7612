/* SPDX-License-Identifier: Apache-2.0 */
/* Tests the fence from inside: foreign files, foreign processes, abstract sockets. */
#include "host/child/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#endif

#define SCOPED 6 /* the version of Landlock that restricts signals and abstract sockets */

void child_proof_add(kit_buf *names, const char *name) {
    kit_buf_fmt(names, "\"%s\",", name);
}

void child_probe(child_proof *proof, bool opened, const char *name, long number) {
    proof->run++;
    if (!opened) return;
    if (proof->reached++ == 0) kit_format(proof->first, sizeof proof->first, "%s %ld", name, number);
}

static void put_list(kit_buf *members, const char *key, const kit_buf *names) {
    kit_buf_fmt(members, ",\"%s\":[%.*s]", key, (int)(names->length > 0 ? names->length - 1 : 0), kit_buf_text(names));
}

void child_proof_report(const child_proof *proof, const char *profile) {
    struct utsname machine;
    char kernel[96] = "";
    kit_buf members = {0};
    if (uname(&machine) == 0) kit_format(kernel, sizeof kernel, "%s %s", machine.sysname, machine.release);
    host_write_sandbox(&members, &(host_sandbox_line){profile, kernel, proof->run, proof->reached});
    put_list(&members, HOST_KEY_MECHANISMS, &proof->mechanisms);
    put_list(&members, HOST_KEY_LACKS, &proof->lacks);
    child_reply_send(HOST_EVENT_SANDBOX, &members);
    kit_buf_free(&members);
}

#if defined(__linux__)
/* A socket outside of the fence, created before it. -1 if sockets are unavailable. */
static int outside = -1;
static struct sockaddr_un outside_name;
static socklen_t outside_length;

void child_selftest_begin(void) {
    outside = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (outside < 0) return;
    outside_name = (struct sockaddr_un){.sun_family = AF_UNIX}; /* no name: the kernel chooses an abstract one */
    outside_length = sizeof outside_name;
    if (bind(outside, (struct sockaddr *)&outside_name, offsetof(struct sockaddr_un, sun_path)) == 0 &&
        listen(outside, 1) == 0 && getsockname(outside, (struct sockaddr *)&outside_name, &outside_length) == 0)
        return;
    close(outside);
    outside = -1;
}

static void probe_abstract(child_proof *proof) {
    if (outside < 0) return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    child_probe(proof, fd >= 0 && connect(fd, (struct sockaddr *)&outside_name, outside_length) == 0, "abstract socket",
                0);
    if (fd >= 0) close(fd);
    close(outside);
    outside = -1;
}

static void probe_reading(const child_request *request, child_proof *proof) {
    const cJSON *item;
    cJSON_ArrayForEach(item, kit_json_get(request->fence, HOST_KEY_NO_READ)) {
        if (!cJSON_IsString(item)) continue;
        int fd = open(item->valuestring, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        child_probe(proof, fd >= 0, item->valuestring, 0);
        if (fd >= 0) close(fd);
    }
}

/* Tries to create a file in directories where that must be denied. */
static void probe_writing(const child_request *request, child_proof *proof) {
    const cJSON *item;
    cJSON_ArrayForEach(item, kit_json_get(request->fence, HOST_KEY_NO_WRITE)) {
        char path[4200];
        if (!cJSON_IsString(item) ||
            !kit_format(path, sizeof path, "%s/.kolm-fence-%ld", item->valuestring, (long)getpid()))
            continue;
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        child_probe(proof, fd >= 0, path, 0);
        if (fd < 0) continue;
        close(fd);
        unlink(path);
    }
}

/* Tries to set the mode of such directories, to its current value in case that succeeds. */
static void probe_attributes(const child_request *request, child_proof *proof) {
    const cJSON *item;
    cJSON_ArrayForEach(item, kit_json_get(request->fence, HOST_KEY_NO_WRITE)) {
        struct stat st;
        if (!cJSON_IsString(item) || stat(item->valuestring, &st) != 0) continue;
        child_probe(proof, chmod(item->valuestring, st.st_mode & 07777) == 0, item->valuestring, 0);
    }
}

/* Tries to access the caller, a process of the same user outside the fence, or in a PID namespace its PID 1, which is
 * outside of Landlock. A process that has exited or is invisible counts as inaccessible. */
static void probe_caller(const child_request *request, child_proof *proof) {
    static const struct {
        const char *name;
        int flags;
    } files[] = {{"mem", O_RDWR}, {"mem", O_RDONLY}, {"environ", O_RDONLY}, {"maps", O_RDONLY}};
    static const char *const links[] = {"root", "cwd", "exe", "fd/0"};
    pid_t caller = proof->separate ? 1 : (pid_t)request->parent;
    char path[64], word = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        kit_format(path, sizeof path, "/proc/%ld/%s", (long)caller, files[i].name);
        int fd = open(path, files[i].flags | O_CLOEXEC);
        child_probe(proof, fd >= 0, path, 0);
        if (fd >= 0) close(fd);
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        kit_format(path, sizeof path, "/proc/%ld/%s", (long)caller, links[i]);
        child_probe(proof, readlink(path, &word, 1) >= 0, path, 0);
    }
    struct iovec here = {&word, 1}, there = {(void *)proof, 1};
    child_probe(proof, process_vm_readv(caller, &here, 1, &there, 1, 0) >= 0 || errno == EFAULT, "process_vm_readv",
                caller);
    child_probe(proof, ptrace(PTRACE_SEIZE, caller, NULL, NULL) == 0, "ptrace", caller);
    if (proof->landlock >= SCOPED) child_probe(proof, kill(caller, 0) == 0, "kill", caller);
}

kit_status child_selftest(const child_request *request, child_proof *proof, kolm_error_t *err) {
    if (proof->landlock > 0) {
        probe_reading(request, proof);
        probe_writing(request, proof);
        if (proof->read_only) probe_attributes(request, proof);
        probe_caller(request, proof);
    }
    if (proof->landlock >= SCOPED) probe_abstract(proof);
    if (outside >= 0) close(outside);
    outside = -1;
    if (proof->reached == 0) return KOLM_OK;
    return kit_fail(
        err, KOLM_E_FAILED_PRECONDITION, "report this with the name of the system",
        "the fence around the backend does not hold on this machine: %u of %u channels opened, the first was %s",
        proof->reached, proof->run, proof->first);
}
#else
void child_selftest_begin(void) {}

kit_status child_selftest(const child_request *request, child_proof *proof, kolm_error_t *err) {
    (void)request;
    (void)proof;
    (void)err;
    return KOLM_OK;
}
#endif
