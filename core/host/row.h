/* SPDX-License-Identifier: Apache-2.0 */
/* One backend of a directory, as described by its files: shared by the files of scan. */
#ifndef HOST_ROW_H
#define HOST_ROW_H

#include "host/internal.h"
#include "host/scan.h"

typedef struct host_directory {
    const char *path; /* real when it is trusted */
    int fd;
    host_origin origin;
    const kolm_error_t *distrust; /* NULL when it is trusted */
    const host_names *names;
    const host_scan_options *options;
} host_directory;

/* Fills a row that has a name, a stem and a directory from NAME.so, NAME.json and the files next to them. If not OK,
 * row->why is the reason and row->rule the rule that it broke. Different rows may be filled by different threads: cJSON
 * is thread-safe except for cJSON_GetErrorPtr (its README, 1.7.15), which is not used. */
kit_status host_row_fill(const host_directory *dir, const char *stem, host_backend *row) KIT_MUST_USE;

#endif
