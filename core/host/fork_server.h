/* SPDX-License-Identifier: Apache-2.0 */
/* A process of kolm-host that is copied for each call of a batch, instead of being started anew. */
#ifndef KOLM_HOST_FORK_SERVER_H
#define KOLM_HOST_FORK_SERVER_H

#include "host/run.h"
#include "kolm/kit/process.h"

#define HOST_FORK_SERVER_LEAST 4 /* calls for which it pays */
#define HOST_FORK_SERVER_NAME 40 /* bytes of the name that a copy shows */
#define HOST_FORK_SERVER_FDS 9
#define HOST_FORK_SERVER_TEXTS 98304

/* What is sent to it for a copy, with the descriptors beside it. The answer is the number of the process, an int32_t; 0: none. */
typedef struct host_fork_order {
    uint32_t count;                      /* descriptors */
    int32_t child[HOST_FORK_SERVER_FDS]; /* the number that each is to have */
    uint32_t length;                     /* of the texts: the name and the environment, each with its NUL */
    char texts[HOST_FORK_SERVER_TEXTS];
} host_fork_order;

typedef struct host_fork_server {
    pid_t pid; /* 0: none */
    int fd;    /* -1: it takes no more orders */
} host_fork_server;
#define HOST_FORK_SERVER_NONE ((host_fork_server){.fd = -1})

/* For these calls; none where it does not pay or cannot be had, which nobody needs to be told. */
void host_fork_server_open(host_fork_server *server, const char *program, const host_run *runs, size_t count);
/* Gives the process, a child of this one; 0: start it another way. */
pid_t host_fork_server_start(host_fork_server *server, const char *name, char *const *env, const kit_spawn_fd *fds,
                             size_t count);
/* No more orders. */
void host_fork_server_close(host_fork_server *server);
/* Its end: the number is free afterwards. */
void host_fork_server_reap(host_fork_server *server);

#endif
