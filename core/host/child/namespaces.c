/* SPDX-License-Identifier: Apache-2.0 */
/* Processes and mounts of its own for a call that works: the plugin runs in a child that sees no process but its
 * own. */
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
 * kolm-host (the process that kolm started and waits for) makes the namespaces and two children in them: number 1,
 * which ends everything in the namespace by ending, and buries orphans; and number 2, whose child, the worker, goes on
 * to load the plugin. The worker is not the first, because that one ignores signals with a default action: abort,
 * alarm. Number 2 and what remains of kolm-host pass on the wish to stop, wait, and end as the worker ended, so that
 * kolm sees no difference.
 *
 * When kolm has died both end at once: the worker has another parent then, by which plugins tell that nobody listens
 * any more, and number 1 waits for it, for as long as the grace allows.
 *
 * An unprivileged user gets all this through a user namespace that maps him and nobody else. Files of others show an
 * owner that is not mapped there: who is to be believed was decided before.
 *
 * The new mounts hide where programs of the user and of the system listen (/run, /tmp: D-Bus, container engines, X11,
 * agents), but for what the list of the call names. Shared memory is its own. Landlock alone cannot do that: connecting
 * to a socket with a path opens no file. Nor does it see chmod, chown, times and attributes, by which a file can be
 * opened to others, or be run as its owner: so all that the call may not write is mounted read-only.
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
    return fd >= 0 || access(copy, F_OK) == 0; /* a socket, say, that came with its directory */
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

/* Links that stand in the directory itself: some systems keep the way to their programs there. */
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

/* The call has all of it: there is nothing to hide. */
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
    if (lstat(directory, &st) != 0 || !S_ISDIR(st.st_mode)) return true; /* a link leads to one that is covered too */
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

/* Of its own, but for what the call is about: a home may lie there. */
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
    int place, tree; /* where it is, and its mounts as they were */
} writable;

static void close_writable(const writable *all, size_t count) {
    for (size_t i = 0; i < count; i++) {
        close(all[i].place);
        close(all[i].tree);
    }
}

/* A copy of the mounts of path, apart from all others. False when it cannot be made: what is not there needs none. */
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

/* Everything read-only but what the call may write. *out_status: it could be done by half only. */
static bool make_read_only(const child_request *request, kolm_error_t *err, kit_status *out_status) {
    static writable all[PLACES_MOST];
    const struct { uint64_t set, clear, propagation, user; } attributes = {.set = MOUNT_READ_ONLY};
    size_t count = 0;
    const cJSON *item;
    /* As a whole, but where kolm's home lies in it. */
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

/* The files that hold the map belong to root in a process that is not dumpable. */
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

/* *out_failed: there are namespaces, but nothing can be done in them. */
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
#define WORKER 3 /* its number in the namespace */

static pid_t caller, first, next; /* next: whom this process waits for */

static void on(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void pass_on(int number) {
    (void)number;
    if (caller != 0 && getppid() != caller) _exit(0); /* nobody is there to be told how it ends */
    if (caller != 0) child_last_resort();
    kill(next, SIGRTMAX); /* plugins change what SIGTERM does */
}

static void end_all(int number) {
    (void)number;
    kill(first, SIGKILL);
    kill(0, SIGKILL);
}

/* From here on a signal tells that the maker of the namespace has died, for which this process learns nothing else: its
 * parent has number 0 in here, dead or alive. It waits in start_first until it reads this, or has died before. */
static void await_death_signal(const int ready[2]) {
    prctl(PR_SET_PDEATHSIG, SIGRTMAX);
    close(ready[0]);
    if (write(ready[1], "", 1) != 1) _exit(0);
}

static bool is_alone(void) {
    return kill(-1, 0) != 0 && errno == ESRCH;
}

/* Ends when the worker does that nobody waits for any more, or takes longer than the grace; orphans are buried. */
static _Noreturn void be_first(const int ready[2]) {
    static const struct timespec moment = {.tv_nsec = 50000000};
    sigset_t all;
    bool orphan = false;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* what is not blocked would be ignored */
    await_death_signal(ready);
    if (child_cancelled()) child_last_resort(); /* it came too early to be heard */
    if (syscall(SYS_CLOSE_RANGE, 0u, ~0u, 0u) != 0)
        for (int fd = 0; fd < 1024; fd++)
            close(fd);
    for (;;) {
        /* The end of number 2 is not seen here, and when that was before there was a worker, no other will come. */
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

/* Waits for `next`, and ends as it did. */
static _Noreturn void follow(const child_request *request) {
    siginfo_t how = {0};
    for (size_t i = 0; i < request->secret_count; i++)
        if (request->secrets[i].value) explicit_bzero(request->secrets[i].value, strlen(request->secrets[i].value));
    on(SIGTERM, pass_on);
    on(SIGRTMAX, pass_on);
    on(SIGALRM, caller != 0 ? end_all : SIG_IGN);
    if (child_cancelled()) pass_on(SIGTERM); /* before the handlers were there */
    while (waitid(P_PID, (id_t)next, &how, WEXITED) != 0 && errno == EINTR) {
    }
    if (caller != 0) {
        kill(first, SIGKILL); /* and with it everything that is left */
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
    /* Refused in a container that hides parts of /proc; the old one shows more processes, and Landlock guards them. */
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
