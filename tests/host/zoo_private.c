/* SPDX-License-Identifier: Apache-2.0 */
/* The private library of a plugin. */
const char *zoo_private_word(void);

const char *zoo_private_word(void) {
    return "from its own library";
}
