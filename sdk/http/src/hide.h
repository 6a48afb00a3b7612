/* SPDX-License-Identifier: Apache-2.0 */
/* Hides what a recording must not contain although it is not a secret of the request. */
#ifndef KOLM_HTTP_HIDE_H
#define KOLM_HTTP_HIDE_H

#include "kolm/kit/json.h"

bool http_is_private_header(const char *name);
/* Appends the URL with its signatures hidden. */
void http_hide_url(const char *url, size_t length, kit_buf *out);
/* Changes strings in place; false if out of memory. */
bool http_hide_json(cJSON *json);

#endif
