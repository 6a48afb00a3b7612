/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a key: key_tool FILE COMMENT; prints the public half. */
#include "kolm/kit/ssh_key.h"

#include <stdio.h>

int main(int argc, char **argv) {
    char line[KIT_SSH_PUBLIC_BYTES];
    kolm_error_t err = KIT_ERROR_INIT;
    if (argc != 3) return 2;
    if (kit_ssh_key_make(argv[1], argv[2], line, &err) != KOLM_OK) {
        fprintf(stderr, "%d %s\n", (int)err.code, err.text);
        return 1;
    }
    puts(line);
    return 0;
}
