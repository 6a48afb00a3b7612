/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels for each vector width that the compiler supports on this architecture, and the choice among them. */
#include "kernels.h"
#include "numeric.h"

#include <string.h>

#define FUSED_SOFT 0   /* emulated in doubles */
#define FUSED_SCALAR 1 /* one lane at a time, in hardware */
#define FUSED_NEON 2
#define FUSED_AVX2 3
#define FUSED_AVX512 4

#define W(name) name##_plain
#define NAME "plain C"
#define LANES 4
#define ROWS 4
#define TARGET
#define FUSED FUSED_SOFT
#include "vector.h"

#include "kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define W(name) name##_8
#define NAME "avx2"
#define LANES 8
#define ROWS 6
#define TARGET __attribute__((target("avx2,fma")))
#define FUSED FUSED_AVX2
#include "vector.h"

#include "kernel.h"

#define W(name) name##_16
#define NAME "avx512"
#define LANES 16
#define ROWS 12
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define FUSED FUSED_AVX512
#include "vector.h"

#include "kernel.h"
#elif defined(__aarch64__)
#include <arm_neon.h>

#define W(name) name##_4
#define NAME "neon"
#define LANES 4
#define ROWS 8
#define TARGET
#define FUSED FUSED_NEON
#include "vector.h"

#include "kernel.h"
#elif defined(__FP_FAST_FMAF)
#define W(name) name##_4
#define NAME "fused"
#define LANES 4
#define ROWS 6
#define TARGET
#define FUSED FUSED_SCALAR
#include "vector.h"

#include "kernel.h"
#endif

const enc_kernels *enc_kernels_plain(void) {
    return &kernels_plain;
}

const enc_kernels *enc_kernels_find(uint32_t lanes) {
#if defined(__x86_64__)
    const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool widest = wide && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (widest && (lanes == 0 || lanes == 16)) return &kernels_16;
    if (wide && (lanes == 0 || lanes == 8)) return &kernels_8;
    return lanes == 0 || lanes == 4 ? &kernels_plain : NULL;
#elif defined(__aarch64__) || defined(__FP_FAST_FMAF)
    return lanes == 0 || lanes == 4 ? &kernels_4 : NULL;
#else
    return lanes == 0 || lanes == 4 ? &kernels_plain : NULL;
#endif
}

size_t enc_attention_scratch(const enc_kernels *kernels, uint32_t count, uint32_t size) {
    const size_t lanes = kernels->lanes, more = lanes > 8 ? lanes : 8;
    const size_t strip = (count + lanes - 1) / lanes * lanes + more;
    return 3 * strip * size + (size + 1) * lanes + ((size_t)count + 8) * lanes;
}
