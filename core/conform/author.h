/* SPDX-License-Identifier: Apache-2.0 */
/* The template for authors of backends, from the SDK, embedded in kolm. */
#ifndef KOLM_CONFORM_AUTHOR_H
#define KOLM_CONFORM_AUTHOR_H

#include "kolm/kit/status.h"

/* Makes the directory dir and writes the template there, called `name`, which is the name of a backend (host_name_ok).
 * ALREADY_EXISTS if dir exists; on any failure nothing is left. */
kit_status author_template_write(const char *dir, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
