/* SPDX-License-Identifier: Apache-2.0 */
/* The child program of the process tests: answers one question about itself on standard output, or acts as the
 * trainer. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void descriptors(void) {
    struct stat info, null;
    if (stat("/dev/null", &null) != 0) return;
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0 || fstat(fd, &info) != 0) continue;
        const char *kind = S_ISFIFO(info.st_mode) ? "pipe" : info.st_rdev == null.st_rdev ? "null" : "other";
        printf("%d:%s ", fd, kind);
    }
}

static void signals(void) {
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    int bad = 0, ignored = 0;
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        bad += sigismember(&blocked, number) == 1;
        if (sigaction(number, NULL, &action) == 0) ignored += action.sa_handler == SIG_IGN;
    }
    printf("%s blocked, %s ignored", bad == 0 ? "none" : "some", ignored == 0 ? "none" : "some");
}

int main(int argc, char **argv) {
    const char *question = argc > 1 ? argv[1] : "";
    if (argc > 4 && strcmp(argv[4], "train") == 0) /* PYTHON -s -B TRAINER train ... */
        printf(
            "{\"event\":\"log\",\"text\":\"x\"}\n{\"event\":\"progress\",\"phase\":\"training\",\"step\":1}\nno event\n"
            "{\"event\":\"result\",\"result\":{\"device\":\"d\",\"toolchain\":\"t\"}}\n");
    if (strcmp(question, "descriptors") == 0) descriptors();
    if (strcmp(question, "signals") == 0) signals();
    if (strcmp(question, "group") == 0) printf("%s", getpgrp() == getpid() ? "leader" : "follower");
    if (strcmp(question, "environment") == 0)
        for (char **entry = environ; *entry != NULL; entry++)
            printf("%s ", *entry);
    if (strncmp(question, "read ", 5) == 0) {
        char byte = '?';
        if (read((int)strtol(question + 5, NULL, 10), &byte, 1) == 1) printf("%c", byte);
    }
    fflush(stdout);
    if (strcmp(question, "exit 7") == 0) return 7;
    if (strcmp(question, "die") == 0) raise(SIGKILL);
    return 0;
}
