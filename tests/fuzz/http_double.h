/* SPDX-License-Identifier: Apache-2.0 */
/* kolm/http with answers that a fuzz input brings, in place of a network; linked before libkolm-kit-http. */
#ifndef KOLM_TESTS_HTTP_DOUBLE_H
#define KOLM_TESTS_HTTP_DOUBLE_H

#include "fuzz.h"

#include "kolm/backend.h"

/* Each request takes the next part, "STATUS BODY"; after the last nobody answers. */
void http_double_answers(const fuzz_parts *parts);

/* The same for kit_grpc_send, where grpc_double.c is linked too. */
void grpc_double_answers(const fuzz_parts *parts);

extern const kolm_host_v1_t http_double_host;

#endif
