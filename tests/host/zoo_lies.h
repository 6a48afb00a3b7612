/* SPDX-License-Identifier: Apache-2.0 */
/* Part of zoo.c: forged replies in the name of kolm-host. */
#ifndef KOLM_TESTS_ZOO_LIES_H
#define KOLM_TESTS_ZOO_LIES_H

#include <string.h>
#include <unistd.h>

/* Writes to every possible descriptor, one of which is the reply. */
__attribute__((unused)) static void say_for_host(const char *line) {
    for (int fd = 3; fd < 1024; fd++)
        (void)!write(fd, line, strlen(line));
}
#define LIE_SANDBOX                                                                                                    \
    "{\"event\":\"sandbox\",\"profile\":\"strict\",\"kernel\":\"x\",\"run\":195,\"reached\":0,\"mechanisms\":["        \
    "\"seccomp\"]}\n"
#define LIE_LOADED                                                                                                     \
    "{\"event\":\"loaded\",\"slots\":63,\"abi_minor\":1,\"features\":\"0\",\"version\":\"9.9.9\",\"vendor\":"          \
    "\"somebody\",\"licence\":\"\",\"homepage\":\"\"}\n"
#define LIE_DEVICE                                                                                                     \
    "{\"event\":\"device\",\"memory_kind\":1,\"total\":\"1\",\"free\":\"1\",\"index\":0,\"units\":1,\"name\":\"a "     \
    "better one\",\"id\":\"\",\"driver\":\"\",\"runtime\":\"\"}\n"
#define LIE_DONE                                                                                                       \
    "{\"event\":\"done\",\"verdict\":0,\"peak\":\"4096\",\"state\":1,\"reason\":\"forged\",\"detect_remedy\":\"\","    \
    "\"runtime\":\"\"}\n"

#endif
