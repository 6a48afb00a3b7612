/* SPDX-License-Identifier: Apache-2.0 */
/* kolm/http with answers from a fuzz input instead of a network; linked before libkolm-kit-http. */
#ifndef KOLM_TESTS_HTTP_DOUBLE_H
#define KOLM_TESTS_HTTP_DOUBLE_H

#include "fuzz.h"

#include "kolm/backend.h"

/* Each request takes the next part, "STATUS BODY"; after the last one requests fail as if no server were there. */
void http_double_answers(const fuzz_parts *parts);

/* The same for kit_grpc_send, if grpc_double.c is linked, too. */
void grpc_double_answers(const fuzz_parts *parts);

extern const kolm_host_v1_t http_double_host;

#endif
