/* SPDX-License-Identifier: Apache-2.0 */
/* Blotting out of recordings what the request does not know as a secret. */
#ifndef KOLM_HTTP_HIDE_H
#define KOLM_HTTP_HIDE_H

#include "kolm/kit/json.h"

bool http_is_private_header(const char *name);
/* Appends the URL with the values hidden that sign it. */
void http_hide_url(const char *url, size_t length, kit_buf *out);
/* Changes the texts in place; false if memory is out. */
bool http_hide_json(cJSON *json);

#endif
