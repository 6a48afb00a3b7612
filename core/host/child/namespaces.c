/* SPDX-License-Identifier: Apache-2.0 */
/* Separate processes and mounts for calls other than detect and cost: the plugin runs in a child that sees only its own
 * processes. */
#include "host/child/child.h"

#if defined(__linux__)
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * kolm-host (the process that kolm started and waits for) creates the namespaces and two children in them: PID 1, which
 * reaps orphans, and whose exit kills everything in the namespace; and PID 2, whose child, the worker, continues and
 * loads the plugin. The worker is not PID 1, because PID 1 ignores signals with the default action, such as those of
 * abort and alarm. PID 2 and the original kolm-host forward stop requests, wait, and exit as the worker exited, so that
 * kolm sees no difference.
 *
 * If kolm has died, both exit at once. The worker is then reparented, by which plugins can tell that nobody listens any
 * more, and PID 1 waits for it until the end of the grace period.
 *
 * An unprivileged user gets all this through a user namespace that maps only that user. Files of other users appear
 * with an unmapped owner in there, so trust was decided before.
 *
 * The new mounts hide the directories in which programs of the user and of the system listen (/run, /tmp: D-Bus,
 * container engines, X11, agents), except paths in the call's list. Shared memory is private. Landlock alone cannot do
 * that: connecting to a socket by path opens no file. Nor does it cover chmod, chown, times and attributes, which could
 * make a file readable by others or set-uid: so everything that the call may not write is mounted read-only.
 */

static const char *const covered[] = {"/run", "/tmp"};
static const char *const keys[] = {HOST_KEY_READ, HOST_KEY_LOOK, HOST_KEY_WRITE, HOST_KEY_DEVICE};

#define PLACES_MOST 256
#define LINKS_MOST 32
/* The same on every architecture. */
#define SYS_CLOSE_RANGE 436
#define SYS_OPEN_TREE 428
#define SYS_MOVE_MOUNT 429
#define SYS_MOUNT_SETATTR 442
#define TREE_CLONE 1u
#define TREE_RECURSIVE 0x8000u
#define TREE_EMPTY_PATH 0x1000u
#define MOVE_FROM_EMPTY_PATH 4u
#define MOVE_TO_EMPTY_PATH 0x40u
#define MOUNT_READ_ONLY 1u

/* ---- Mounts */
static bool is_below(const char *path, const char *directory) {
    size_t n = strlen(directory);
    return strncmp(path, directory, n) == 0 && path[n] == '/';
}

/* Makes the directories above path, and path itself: a directory or an empty file. */
static bool make_point(const char *path, bool directory) {
    char copy[PATH_MAX];
    if (!kit_copy(copy, sizeof copy, path)) return false;
    for (char *at = copy + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST) return false;
        *at = '/';
    }
    if (directory) return mkdir(copy, 0755) == 0 || errno == EEXIST;
    int fd = open(copy, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0 || access(copy, F_OK) == 0; /* a socket, for example, that exists in its directory */
}

typedef struct place {
    const char *path;
    int fd;
    bool directory;
} place;

static size_t open_places(const child_request *request, const char *directory, place *out) {
    size_t count = 0;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, kit_json_get(request->fence, keys[i])) {
            struct stat st;
            if (count == PLACES_MOST || !cJSON_IsString(item) || !is_below(item->valuestring, directory)) continue;
            int fd = child_open_place(item->valuestring);
            if (fd >= 0 && fstat(fd, &st) == 0)
                out[count++] = (place){item->valuestring, fd, S_ISDIR(st.st_mode)};
            else if (fd >= 0)
                close(fd);
        }
    }
    return count;
}

typedef struct links {
    char names[LINKS_MOST][NAME_MAX + 1], targets[LINKS_MOST][PATH_MAX];
    size_t count;
} links;

/* Reads the symbolic links in the directory: some systems link to their programs from there. */
static void read_links(const char *directory, links *out) {
    DIR *dir = opendir(directory);
    const struct dirent *item;
    out->count = 0;
    while (dir && out->count < LINKS_MOST && (item = readdir(dir)) != NULL) {
        if (item->d_type != DT_LNK) continue;
        ssize_t n = readlinkat(dirfd(dir), item->d_name, out->targets[out->count], PATH_MAX - 1);
        if (n <= 0) continue;
        out->targets[out->count][n] = '\0';
        kit_copy(out->names[out->count++], NAME_MAX + 1, item->d_name);
    }
    if (dir) closedir(dir);
}

static bool bring_back(const place *p) {
    char from[48];
    kit_format(from, sizeof from, "/proc/self/fd/%d", p->fd);
    return make_point(p->path, p->directory) && mount(from, p->path, NULL, MS_BIND | MS_REC, NULL) == 0;
}

/* True if the call may use the whole directory, so that there is nothing to hide. */
static bool is_given(const child_request *request, const char *directory) {
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, kit_json_get(request->fence, keys[i])) {
            if (cJSON_IsString(item) && strcmp(item->valuestring, directory) == 0) return true;
        }
    }
    return false;
}

static bool cover(const child_request *request, const char *directory) {
    static place places[PLACES_MOST];
    static links kept;
    struct stat st;
    char path[PATH_MAX];
    if (lstat(directory, &st) != 0 || !S_ISDIR(st.st_mode)) return true; /* a link: its target is covered, too */
    if (is_given(request, directory)) return true;
    size_t count = open_places(request, directory, places);
    read_links(directory, &kept);
    const char *mode = st.st_mode & S_ISVTX ? "mode=1777" : "mode=0755";
    bool good = mount("kolm", directory, "tmpfs", MS_NOSUID | MS_NODEV, mode) == 0, mounted = good;
    for (size_t i = 0; i < count; i++) {
        good = good && bring_back(&places[i]);
        close(places[i].fd);
    }
    for (size_t i = 0; good && i < kept.count; i++)
        if (kit_format(path, sizeof path, "%s/%s", directory, kept.names[i])) (void)!symlink(kept.targets[i], path);
    if (mounted && !good) (void)umount2(directory, MNT_DETACH);
    return good;
}

/* Makes /dev/shm private, except paths in the call's list: kolm's home may be there. */
static bool cover_shared_memory(const child_request *request) {
    static place places[PLACES_MOST];
    struct stat st;
    if (lstat("/dev/shm", &st) != 0 || !S_ISDIR(st.st_mode)) return true;
    size_t count = open_places(request, "/dev/shm", places);
    bool good = mount("kolm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777") == 0;
    for (size_t i = 0; i < count; i++) {
        good = good && bring_back(&places[i]);
        close(places[i].fd);
    }
    return good;
}

static bool make_mounts(const child_request *request) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
    for (size_t i = 0; i < sizeof covered / sizeof *covered; i++)
        if (!cover(request, covered[i])) return false;
    return cover_shared_memory(request);
}

/* ---- What may be written */
typedef struct writable {
    int place, tree; /* its location, and a copy of its mounts */
} writable;

static void close_writable(const writable *all, size_t count) {
    for (size_t i = 0; i < count; i++) {
        close(all[i].place);
        close(all[i].tree);
    }
}

/* Makes a detached copy of the mounts below path. False if that fails; a missing path is skipped. */
static bool keep_writable(const char *path, writable *all, size_t *count) {
    int where = child_open_place(path);
    if (where < 0) return true;
    int tree = *count < PLACES_MOST ? (int)syscall(SYS_OPEN_TREE, where, "",
                                                   TREE_CLONE | TREE_RECURSIVE | TREE_EMPTY_PATH | (unsigned)O_CLOEXEC)
                                    : -1;
    if (tree < 0) {
        close(where);
        return false;
    }
    all[(*count)++] = (writable){where, tree};
    return true;
}

/* Makes everything read-only that the call may not write. *out_status: an error halfway. */
static bool make_read_only(const child_request *request, kolm_error_t *err, kit_status *out_status) {
    static writable all[PLACES_MOST];
    const struct { uint64_t set, clear, propagation, user; } attributes = {.set = MOUNT_READ_ONLY};
    size_t count = 0;
    const cJSON *item;
    /* As a whole, unless kolm's home is in it. */
    bool good = !is_given(request, "/dev/shm") || keep_writable("/dev/shm", all, &count);
    cJSON_ArrayForEach(item, kit_json_get(request->fence, HOST_KEY_WRITE)) {
        if (good && cJSON_IsString(item) && strcmp(item->valuestring, "/dev/shm") != 0)
            good = keep_writable(item->valuestring, all, &count);
    }
    good = good && syscall(SYS_MOUNT_SETATTR, AT_FDCWD, "/", TREE_RECURSIVE, &attributes, sizeof attributes) == 0;
    for (size_t i = 0; good && *out_status == KOLM_OK && i < count; i++)
        if (syscall(SYS_MOVE_MOUNT, all[i].tree, "", all[i].place, "", MOVE_FROM_EMPTY_PATH | MOVE_TO_EMPTY_PATH) != 0)
            *out_status = kit_fail_errno(err, errno, "cannot set up the fence around the backend: move_mount");
    close_writable(all, count);
    return good;
}

/* ---- Users */
static bool write_once(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) close(fd);
    return good;
}

/* In a process that is not dumpable, the map files are owned by root. */
static bool map_user(uid_t uid, gid_t gid) {
    char user[64], group[64];
    kit_format(user, sizeof user, "%lu %lu 1", (unsigned long)uid, (unsigned long)uid);
    kit_format(group, sizeof group, "%lu %lu 1", (unsigned long)gid, (unsigned long)gid);
    prctl(PR_SET_DUMPABLE, 1);
    bool good = write_once("/proc/self/setgroups", "deny") && write_once("/proc/self/uid_map", user) &&
                write_once("/proc/self/gid_map", group);
    prctl(PR_SET_DUMPABLE, 0);
    return good;
}

/* False: namespaces are unavailable. *out_status: they were created, but cannot be used. */
static bool enter(const child_request *request, bool *out_user, kolm_error_t *err, kit_status *out_status) {
    int wanted = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | (request->airgap ? CLONE_NEWNET : 0);
    uid_t uid = geteuid();
    gid_t gid = getegid();
    *out_user = false;
    if (uid == 0 && unshare(wanted) == 0) return true;
    if (unshare(wanted | CLONE_NEWUSER) != 0) return false;
    *out_user = true;
    if (!map_user(uid, gid))
        *out_status =
            kit_fail_errno(err, errno, "cannot set up the fence around the backend: the user cannot be mapped");
    return true;
}

/* ---- Processes */
#define WORKER 3 /* its PID in the namespace */

static pid_t caller, first, next; /* next: the process to wait for */

static void on(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void pass_on(int number) {
    (void)number;
    if (caller != 0 && getppid() != caller) _exit(0); /* nobody is waiting for the result */
    if (caller != 0) child_last_resort();
    kill(next, SIGRTMAX); /* plugins change the handler of SIGTERM */
}

static void end_all(int number) {
    (void)number;
    kill(first, SIGKILL);
    kill(0, SIGKILL);
}

/* Requests a signal for the death of the process that created the namespace. This process cannot detect that otherwise:
 * getppid() is 0 in here, whether the parent lives or not. The parent waits in start_first for the byte. */
static void await_death_signal(const int ready[2]) {
    prctl(PR_SET_PDEATHSIG, SIGRTMAX);
    close(ready[0]);
    if (write(ready[1], "", 1) != 1) _exit(0);
}

static bool is_alone(void) {
    return kill(-1, 0) != 0 && errno == ESRCH;
}

/* PID 1: reaps orphans. Exits when a worker without a parent has exited, or has exceeded the grace period. */
static _Noreturn void be_first(const int ready[2]) {
    static const struct timespec moment = {.tv_nsec = 50000000};
    sigset_t all;
    bool orphan = false;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* PID 1 ignores unblocked signals without a handler */
    await_death_signal(ready);
    if (child_cancelled()) child_last_resort(); /* a request that came before the signal was set up */
    if (syscall(SYS_CLOSE_RANGE, 0u, ~0u, 0u) != 0)
        for (int fd = 0; fd < 1024; fd++)
            close(fd);
    for (;;) {
        /* PID 2 is not our child: if it exits before there is a worker, no SIGCHLD arrives. */
        int number = orphan ? sigtimedwait(&all, NULL, &moment) : sigwaitinfo(&all, NULL);
        if (number == SIGRTMAX) {
            orphan = true;
            child_last_resort();
        }
        if (number == SIGALRM) _exit(0);
        for (pid_t ended; (ended = waitpid(-1, NULL, WNOHANG)) > 0;)
            if (ended == WORKER) _exit(0);
        if (orphan && is_alone()) _exit(0);
    }
}

/* Waits for `next`, and exits as it did. */
static _Noreturn void follow(const child_request *request) {
    siginfo_t how = {0};
    for (size_t i = 0; i < request->secret_count; i++)
        if (request->secrets[i].value) explicit_bzero(request->secrets[i].value, strlen(request->secrets[i].value));
    on(SIGTERM, pass_on);
    on(SIGRTMAX, pass_on);
    on(SIGALRM, caller != 0 ? end_all : SIG_IGN);
    if (child_cancelled()) pass_on(SIGTERM); /* requested before the handlers were installed */
    while (waitid(P_PID, (id_t)next, &how, WEXITED) != 0 && errno == EINTR) {
    }
    if (caller != 0) {
        kill(first, SIGKILL); /* kills everything left in the namespace */
        while (waitpid(first, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    if (how.si_code == CLD_EXITED) _exit(how.si_status);
    on(how.si_status, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    kill(getpid(), how.si_status);
    _exit(128 + how.si_status);
}

static kit_status no_process(kolm_error_t *err, int why) {
    if (first > 0) kill(first, SIGKILL);
    return kit_fail_errno(err, why, "cannot set up the fence around the backend: fork");
}

static kit_status start_first(kolm_error_t *err) {
    int ready[2];
    char byte;
    ssize_t got;
    if (pipe2(ready, O_CLOEXEC) != 0) return no_process(err, errno);
    first = fork();
    if (first == 0) be_first(ready);
    int why = first < 0 ? errno : ECHILD;
    close(ready[1]);
    do
        got = read(ready[0], &byte, 1);
    while (got < 0 && errno == EINTR);
    close(ready[0]);
    return got == 1 ? KOLM_OK : no_process(err, why);
}

/* Returns in the worker. */
static kit_status split(const child_request *request, kolm_error_t *err) {
    KIT_TRY(start_first(err));
    next = fork();
    if (next < 0) return no_process(err, errno);
    caller = (pid_t)request->parent;
    if (next > 0) follow(request);
    caller = 0;
    first = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (child_cancelled()) _exit(0);
    next = fork();
    if (next < 0) return no_process(err, errno);
    if (next > 0) follow(request);
    child_is_worker();
    return KOLM_OK;
}

kit_status child_separate(const child_request *request, child_proof *proof, kolm_error_t *err) {
    bool user = false;
    kit_status status = KOLM_OK;
    if (!enter(request, &user, err, &status)) {
        child_proof_add(&proof->lacks, "namespaces");
        return KOLM_OK;
    }
    KIT_TRY(status);
    bool mounts = make_mounts(request);
    bool read_only = mounts && make_read_only(request, err, &status);
    KIT_TRY(status);
    KIT_TRY(split(request, err));
    proof->separate = true;
    proof->user_namespace = user;
    /* Fails in a container that hides parts of /proc. The old one shows more processes, which Landlock protects. */
    bool own_proc = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
    if (user) child_proof_add(&proof->mechanisms, "user_namespace");
    child_proof_add(&proof->mechanisms, own_proc ? "pid_namespace" : "pid_namespace_old_proc");
    child_proof_add(&proof->mechanisms, "ipc_namespace");
    if (request->airgap) child_proof_add(&proof->mechanisms, "network_namespace");
    child_proof_add(mounts ? &proof->mechanisms : &proof->lacks, "mount_namespace");
    child_proof_add(read_only ? &proof->mechanisms : &proof->lacks, "read_only_mounts");
    proof->read_only = read_only;
    return KOLM_OK;
}
#else
kit_status child_separate(const child_request *request, child_proof *proof, kolm_error_t *err) {
    (void)request;
    (void)err;
    child_proof_add(&proof->lacks, "namespaces");
    return KOLM_OK;
}
#endif
