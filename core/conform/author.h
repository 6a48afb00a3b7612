/* SPDX-License-Identifier: Apache-2.0 */
/* What the author of a backend begins with: the template of the SDK, which travels inside kolm. */
#ifndef KOLM_CONFORM_AUTHOR_H
#define KOLM_CONFORM_AUTHOR_H

#include "kolm/kit/status.h"

/* Makes the directory dir and writes the template there, called `name`, which is the name of a backend (host_name_ok). ALREADY_EXISTS
 * when there is something at dir; on any failure nothing stays. */
kit_status author_template_write(const char *dir, const char *name, kolm_error_t *err) KIT_MUST_USE;

#endif
