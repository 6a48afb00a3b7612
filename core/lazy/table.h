/* SPDX-License-Identifier: Apache-2.0 */
/* The one symbol that kolm-lazy.so exports. */
#ifndef KOLM_LAZY_TABLE_H
#define KOLM_LAZY_TABLE_H

#include "lazy/lazy.h"

#define LAZY_SYMBOL "kolm_lazy_table"

__attribute__((visibility("default"))) extern const lazy_table kolm_lazy_table;

#endif
