/* SPDX-License-Identifier: Apache-2.0 */
/* Vectors of LANES floats and the few operations on them that C lacks. Included by kernels.c once for each width. */

/*
 * Requires W(name), LANES, TARGET (a function attribute or nothing) and FUSED, which selects the implementation of the
 * fused multiply-add. Lanes never interact. Every operation is defined by IEEE 754 or works on integers, so all widths
 * produce the same bits; maximum(a, b) is a > b ? a : b and minimum(a, b) is a < b ? a : b, like the instructions.
 */
typedef float W(vec) __attribute__((vector_size(4 * LANES)));
typedef float W(loose) __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t W(ints) __attribute__((vector_size(4 * LANES)));
typedef uint16_t W(halves) __attribute__((vector_size(2 * LANES)));
#define V W(vec)
#define I W(ints)
#define SPLAT(x) W(splat)(x)
#define SELECT(mask, yes, no) ((V)(((I)(yes) & (mask)) | ((I)(no) & ~(mask))))
#define INLINE TARGET static inline __attribute__((always_inline))

INLINE V W(load)(const float *p) {
    return *(const W(loose) *)(const void *)p;
}

INLINE void W(store)(float *p, V x) {
    *(W(loose) *)(void *)p = x;
}

#if FUSED == FUSED_AVX512
INLINE V W(splat)(float x) {
    return (V)_mm512_set1_ps(x);
}
INLINE V W(fma)(V a, V b, V c) {
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE V W(maximum)(V a, V b) {
    return (V)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE V W(minimum)(V a, V b) {
    return (V)_mm512_min_ps((__m512)a, (__m512)b);
}
INLINE V W(root)(V x) {
    return (V)_mm512_sqrt_ps((__m512)x);
}
#elif FUSED == FUSED_AVX2
INLINE V W(splat)(float x) {
    return (V)_mm256_set1_ps(x);
}
INLINE V W(fma)(V a, V b, V c) {
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE V W(maximum)(V a, V b) {
    return (V)_mm256_max_ps((__m256)a, (__m256)b);
}
INLINE V W(minimum)(V a, V b) {
    return (V)_mm256_min_ps((__m256)a, (__m256)b);
}
INLINE V W(root)(V x) {
    return (V)_mm256_sqrt_ps((__m256)x);
}
#else
INLINE V W(splat)(float x) {
    return (V){x, x, x, x};
}
#if FUSED == FUSED_NEON
INLINE V W(fma)(V a, V b, V c) {
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
INLINE V W(maximum)(V a, V b) {
    return SELECT(a > b, a, b);
}
INLINE V W(minimum)(V a, V b) {
    return SELECT(a < b, a, b);
}
INLINE V W(root)(V x) {
    return (V)vsqrtq_f32((float32x4_t)x);
}
#else
#if FUSED == FUSED_SCALAR
INLINE V W(fma)(V a, V b, V c) {
    V r = {0};
    for (int i = 0; i < LANES; i++)
        r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
}
#else
/* The product is exact in double. Its sum with c is rounded to odd (Boldo and Melquiond, "Emulation of a FMA and
 * correctly rounded sums", IEEE Transactions on Computers, 2008): if it is not exact, its last bit is set to 1 in the
 * direction of the error, so that the second rounding, to float, is correct. */
typedef double W(doubles) __attribute__((vector_size(8 * LANES)));
typedef int64_t W(longs) __attribute__((vector_size(8 * LANES)));
INLINE V W(fma)(V a, V b, V c) {
    typedef W(doubles) D;
    typedef W(longs) L;
    const D x = __builtin_convertvector(a, D), y = __builtin_convertvector(b, D), z = __builtin_convertvector(c, D);
    const D product = x * y, sum = product + z, part = sum - product;
    const D error = (product - (sum - part)) + (z - part);
    const L even = ((L)sum & 1) - 1, wrong = (L)(error != 0.0) & even;
    /* Away from zero if the error has the sign of the sum. */
    const L away = (L)((error > 0.0) == (sum > 0.0));
    const L step = (wrong & away & 1) | (wrong & ~away);
    return __builtin_convertvector((D)((L)sum + step), V);
}
#endif
INLINE V W(maximum)(V a, V b) {
    return SELECT(a > b, a, b);
}
INLINE V W(minimum)(V a, V b) {
    return SELECT(a < b, a, b);
}
/* The root in double, rounded to float, is correctly rounded: 53 bits are at least 2 * 24 + 2. */
INLINE V W(root)(V x) {
    V r = {0};
    for (int i = 0; i < LANES; i++)
        r[i] = (float)num_sqrt((double)x[i]);
    return r;
}
#endif
#endif

/* ---- Functions: minimax polynomials (Lawson's iteration), with coefficients rounded to floats */

/* 2^n p, for an integer n in -126 .. 127 and p near 1; shifted: n + 1.5 * 2^23. */
INLINE V W(scale)(V p, V shifted) {
    return (V)((I)p + ((I)shifted << 23));
}
#define SHIFTER 12582912.0f

/* e^x, relative error below 1.3e-7; at least e^-87, and meaningless for x above 88. */
INLINE V W(exponential)(V x) {
    x = W(maximum)(SPLAT(-87.0f), x);
    const V shifted = W(fma)(x, SPLAT(1.44269502f), SPLAT(SHIFTER)), n = shifted - SPLAT(SHIFTER);
    V r = W(fma)(n, SPLAT(-0.693359375f), x);
    r = W(fma)(n, SPLAT(2.12194440e-4f), r);
    V p = SPLAT(1.3836846e-3f);
    p = W(fma)(p, r, SPLAT(8.3748150e-3f));
    p = W(fma)(p, r, SPLAT(4.16682256e-2f));
    p = W(fma)(p, r, SPLAT(1.66664202e-1f));
    p = W(fma)(p, r, SPLAT(4.99999921e-1f));
    p = W(fma)(p, r, SPLAT(1.0f));
    p = W(fma)(p, r, SPLAT(1.0f));
    return W(scale)(p, shifted);
}

/* x times the standard normal distribution function of x, absolute error below 1e-7: max(x, 0) minus |x| times the tail
 * beyond |x|, whose base-2 logarithm is nearly a parabola; beyond 6 the tail is negligible. */
INLINE V W(gelu)(V x) {
    const V size = (V)((I)x & 0x7FFFFFFF), t = W(minimum)(size, SPLAT(6.0f));
    V q = SPLAT(-3.00632088e-8f);
    q = W(fma)(q, t, SPLAT(8.82390225e-7f));
    q = W(fma)(q, t, SPLAT(-1.11136760e-5f));
    q = W(fma)(q, t, SPLAT(7.65815566e-5f));
    q = W(fma)(q, t, SPLAT(-2.77315296e-4f));
    q = W(fma)(q, t, SPLAT(-1.08325421e-5f));
    q = W(fma)(q, t, SPLAT(6.96717994e-3f));
    q = W(fma)(q, t, SPLAT(-5.24593480e-2f));
    q = W(fma)(q, t, SPLAT(-4.59213614e-1f));
    q = W(fma)(q, t, SPLAT(-1.15110517f));
    q = W(fma)(q, t, SPLAT(-1.0f));
    const V shifted = q + SPLAT(SHIFTER), r = q - (shifted - SPLAT(SHIFTER));
    V p = SPLAT(1.53458122e-4f);
    p = W(fma)(p, r, SPLAT(1.33999315e-3f));
    p = W(fma)(p, r, SPLAT(9.61848896e-3f));
    p = W(fma)(p, r, SPLAT(5.55032878e-2f));
    p = W(fma)(p, r, SPLAT(2.40226469e-1f));
    p = W(fma)(p, r, SPLAT(6.93147206e-1f));
    p = W(fma)(p, r, SPLAT(1.0f));
    const V tail = W(scale)(p, shifted);
    return W(fma)(-size, tail, W(maximum)(x, SPLAT(0.0f)));
}

/* 0.5 x (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
INLINE V W(gelu_tanh)(V x) {
    const V inner = W(fma)(x * x, SPLAT(0.044715f), SPLAT(1.0f));
    V u = x * inner * SPLAT(-1.59576912f);
    u = W(minimum)(u, SPLAT(87.0f));
    return x / (SPLAT(1.0f) + W(exponential)(u));
}

INLINE V W(after)(enc_activation activation, V x) {
    if (activation == ENC_GELU) return W(gelu)(x);
    if (activation == ENC_GELU_TANH) return W(gelu_tanh)(x);
    return W(maximum)(x, SPLAT(0.0f));
}

/* ---- Halves */

INLINE V W(widen_half)(W(halves) from) {
    const I h = __builtin_convertvector(from, I), size = h & 0x7FFF;
    const I whole = (size << 13) + (112 << 23);
    const I special = whole + (I)((size >= 0x7C00) & (112 << 23));
    const I small = (I)(__builtin_convertvector(size, V) * SPLAT(5.96046448e-8f)), is_small = size < 0x400;
    return (V)(((small & is_small) | (special & ~is_small)) | ((h & 0x8000) << 16));
}

INLINE V W(widen_bfloat)(W(halves) from) {
    return (V)(__builtin_convertvector(from, I) << 16);
}
