/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic with the same bits on every machine: generator, hash, log, exp, small vectors. */
#ifndef LOCAL_CPU_NUMERIC_H
#define LOCAL_CPU_NUMERIC_H

/*
 * The engine guarantees the same model bytes for every compiler, optimisation level and thread count. So nothing here
 * calls libm (its last bits differ between versions), every sum has a fixed order, and the build forbids fused
 * multiply-add (-ffp-contract=off). IEEE 754 defines +, -, *, / and the conversions, and nothing else is used; square
 * roots use num_sqrt, which every compiler turns into the correctly rounded instruction.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0
#error "the engine needs IEEE arithmetic without excess precision (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif

/* Four numbers at a time, in the compiler's portable vectors. Lanes never mix, so the width does not affect results. */
typedef float num_v4 __attribute__((vector_size(16)));
typedef int32_t num_i4 __attribute__((vector_size(16)));

static inline num_v4 num_splat(float x) {
    return (num_v4){x, x, x, x};
}
static inline num_v4 num_select(num_i4 mask, num_v4 yes, num_v4 no) {
    return (num_v4)(((num_i4)yes & mask) | ((num_i4)no & ~mask));
}
static inline num_v4 num_abs(num_v4 a) {
    return (num_v4)((num_i4)a & 0x7FFFFFFF);
}
static inline num_v4 num_min(num_v4 a, num_v4 b) {
    return num_select(a < b, a, b);
}
static inline num_v4 num_max(num_v4 a, num_v4 b) {
    return num_select(a > b, a, b);
}

typedef double num_d4 __attribute__((vector_size(32)));

/* e^x for x in [-80, 80] (clamped), relative error about 2e-7: 2^n times a polynomial on [-ln2/2, ln2/2]. */
static inline num_v4 num_exp4(num_v4 x) {
    x = num_min(num_max(x, num_splat(-80.0f)), num_splat(80.0f));
    num_v4 scaled = x * num_splat(1.44269504f);
    num_i4 n = __builtin_convertvector(scaled + num_select(scaled < num_splat(0.0f), num_splat(-0.5f), num_splat(0.5f)),
                                       num_i4);
    num_v4 whole = __builtin_convertvector(n, num_v4);
    num_v4 r = x - whole * num_splat(0.693359375f);
    r = r - whole * num_splat(-2.12194440e-4f);
    num_v4 p = num_splat(1.3888889e-3f);
    p = p * r + num_splat(8.3333333e-3f);
    p = p * r + num_splat(4.1666667e-2f);
    p = p * r + num_splat(1.6666667e-1f);
    p = p * r + num_splat(0.5f);
    p = p * r + num_splat(1.0f);
    p = p * r + num_splat(1.0f);
    num_i4 power = (n + 127) << 23;
    return p * (num_v4)power;
}

/* ln(x) for x in [1, 2], absolute error below 1e-6: the atanh series. */
static inline num_v4 num_log4_near_one(num_v4 x) {
    num_v4 t = (x - num_splat(1.0f)) / (x + num_splat(1.0f)), t2 = t * t, p = num_splat(2.0f / 11.0f);
    p = p * t2 + num_splat(2.0f / 9.0f);
    p = p * t2 + num_splat(2.0f / 7.0f);
    p = p * t2 + num_splat(2.0f / 5.0f);
    p = p * t2 + num_splat(2.0f / 3.0f);
    p = p * t2 + num_splat(2.0f);
    return p * t;
}

/* e^x in double, for calibration and confidences: relative error about 1e-15, 0 below -700, clamped at 700. */
static inline double num_exp(double x) {
    if (x < -700.0) return 0.0;
    if (x > 700.0) x = 700.0;
    int32_t n = (int32_t)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
    double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
    static const double inverse[14] = {1.0,     1.0,     1.0 / 2, 1.0 / 3,  1.0 / 4,  1.0 / 5,  1.0 / 6,
                                       1.0 / 7, 1.0 / 8, 1.0 / 9, 1.0 / 10, 1.0 / 11, 1.0 / 12, 1.0 / 13};
    double p = 1.0;
    for (int i = 13; i >= 1; i--)
        p = 1.0 + p * r * inverse[i];
    uint64_t bits = (uint64_t)(int64_t)(n + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* Natural logarithm of a positive normal number: exponent plus atanh series on [sqrt(1/2), sqrt(2)]. */
static inline double num_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t exponent = (int32_t)((bits >> 52) & 2047) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFull) | (1023ull << 52);
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m = m * 0.5;
        exponent++;
    }
    double t = (m - 1.0) / (m + 1.0), t2 = t * t, sum = 0.0;
    for (int i = 23; i >= 1; i -= 2)
        sum = sum * t2 + 1.0 / i;
    return 2.0 * t * sum + exponent * 0.6931471805599453;
}

static inline double num_sqrt(double x) {
    return __builtin_sqrt(x);
}

/* splitmix64: a mixed counter; any seed will do. */
static inline uint64_t num_mix(uint64_t x) {
    x ^= x >> 30;
    x *= 0xBF58476D1CE4E5B9ull;
    x ^= x >> 27;
    x *= 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}
static inline uint64_t num_random(uint64_t *state) {
    *state += 0x9E3779B97F4A7C15ull;
    return num_mix(*state);
}
/* 0 .. limit - 1, limit below 2^32 */
static inline uint32_t num_below(uint64_t *state, uint32_t limit) {
    return (uint32_t)(((num_random(state) >> 32) * limit) >> 32);
}

#endif
