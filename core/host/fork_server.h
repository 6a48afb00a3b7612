/* SPDX-License-Identifier: Apache-2.0 */
/* A process of kolm-host that is forked for each call of a batch, instead of starting a new one. */
#ifndef KOLM_HOST_FORK_SERVER_H
#define KOLM_HOST_FORK_SERVER_H

#include "host/run.h"
#include "kolm/kit/process.h"

#define HOST_FORK_SERVER_LEAST 4 /* minimum number of calls for which it is worthwhile */
#define HOST_FORK_SERVER_NAME 40 /* bytes of the process name of a copy */
#define HOST_FORK_SERVER_FDS 9
#define HOST_FORK_SERVER_TEXTS 98304

/* The request for a copy, sent together with its descriptors. The reply is the pid of the copy, an int32_t; 0: none. */
typedef struct host_fork_order {
    uint32_t count;                      /* descriptors */
    int32_t child[HOST_FORK_SERVER_FDS]; /* the number of each descriptor in the copy */
    uint32_t length;                     /* of the texts: the name and the environment, each with its NUL */
    char texts[HOST_FORK_SERVER_TEXTS];
} host_fork_order;

typedef struct host_fork_server {
    pid_t pid; /* 0: none */
    int fd;    /* -1: it accepts no more orders */
} host_fork_server;
#define HOST_FORK_SERVER_NONE ((host_fork_server){.fd = -1})

/* Starts one for these calls; none if it is not worthwhile or fails, which needs no report. */
void host_fork_server_open(host_fork_server *server, const char *program, const host_run *runs, size_t count);
/* Returns the process, a child of this one; 0: start it another way. */
pid_t host_fork_server_start(host_fork_server *server, const char *name, char *const *env, const kit_spawn_fd *fds,
                             size_t count);
/* Closes its socket: it accepts no more orders. */
void host_fork_server_close(host_fork_server *server);
/* Reaps it; its pid may be reused afterwards. */
void host_fork_server_reap(host_fork_server *server);

#endif
