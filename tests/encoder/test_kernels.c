/* SPDX-License-Identifier: Apache-2.0 */
/* The arithmetic of the encoder: one rounding per multiply-add, its own functions compared with libm, and the same
 * bits at every width. */
#include "../suite.h"
#include "encoder/kernels.h"
#include "kolm/kit/buf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const enc_kernels *all[4];
static size_t count;

/* The kernels that this processor can run; plain C is last, as the reference for the others. */
static void find_all(void) {
    static const uint32_t lanes[] = {16, 8, 4};
    for (size_t i = 0; i < 3; i++) {
        const enc_kernels *k = enc_kernels_find(lanes[i]);
        if (k != NULL && k != enc_kernels_plain()) all[count++] = k;
    }
    all[count++] = enc_kernels_plain();
}

static uint64_t state = 1;

static uint64_t draw(void) {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* Uniform in -scale .. scale. */
static float number(float scale) {
    return ((float)(int64_t)(draw() >> 40) / 8388608.0f - 1.0f) * scale;
}

static float *floats(size_t n) {
    float *p = aligned_alloc(64, (n * sizeof *p + 127) & ~(size_t)63);
    ck_assert_ptr_nonnull(p);
    memset(p, 0, (n * sizeof *p + 127) & ~(size_t)63);
    return p;
}

/* ---- A product in scalar arithmetic: y[token][row] */

typedef struct made {
    uint32_t rows, columns, tokens;
    const uint8_t *w;
    enc_dtype dtype;
    const float *x, *bias, *more; /* [tokens][columns], [rows], [tokens][rows] or NULL */
    bool activate;
} made;

static float *multiply(const enc_kernels *k, const made *m, uint32_t split) {
    const uint32_t panel = k->panel, panels = (m->tokens + panel - 1) / panel;
    const enc_matrix w = {m->w, m->dtype, m->rows, m->columns};
    enc_panels x = {floats((size_t)panels * panel * m->columns), m->columns};
    enc_panels y = {floats((size_t)panels * panel * m->rows), m->rows},
               more = {floats((size_t)panels * panel * m->rows), m->rows};
    float *scratch = floats((size_t)k->block * m->columns), *out = floats((size_t)m->tokens * m->rows);
    for (uint32_t t = 0; t < m->tokens; t++) {
        for (uint32_t c = 0; c < m->columns; c++)
            x.at[(size_t)(t / panel) * panel * m->columns + (size_t)c * panel + t % panel] =
                m->x[(size_t)t * m->columns + c];
        for (uint32_t r = 0; r < m->rows && m->more != NULL; r++)
            more.at[(size_t)(t / panel) * panel * m->rows + (size_t)r * panel + t % panel] =
                m->more[(size_t)t * m->rows + r];
    }
    const enc_extent extent = {panels, (m->tokens - (panels - 1) * panel + k->lanes - 1) / k->lanes};
    for (uint32_t first = 0; first < m->columns; first += split) {
        const uint32_t columns = m->columns - first < split ? m->columns - first : split;
        const bool last = first + columns == m->columns;
        const enc_product p = {.w = &w,
                               .rows = m->rows,
                               .first_column = first,
                               .columns = columns,
                               .x = x,
                               .x_row = first,
                               .y = y,
                               .more = more,
                               .bias = first == 0 ? m->bias : NULL,
                               .add = last && m->more != NULL,
                               .activate = last && m->activate,
                               .activation = ENC_GELU,
                               .scratch = scratch};
        k->multiply(&p, extent);
    }
    for (uint32_t t = 0; t < m->tokens; t++)
        for (uint32_t r = 0; r < m->rows; r++)
            out[(size_t)t * m->rows + r] = y.at[(size_t)(t / panel) * panel * m->rows + (size_t)r * panel + t % panel];
    free(x.at);
    free(y.at);
    free(more.at);
    free(scratch);
    return out;
}

/* ---- Multiply-add */

/* Numbers that are hard to round: close to halfway points, with large or small exponents, subnormals, zeros of both
 * signs. */
static float hard(void) {
    const uint64_t r = draw();
    const uint32_t sign = (uint32_t)(r & 1) << 31, fraction = (uint32_t)(r >> 1) & 0x7FFFFF;
    switch (r >> 32 & 7) {
    case 0:
        return from_bits(sign | fraction); /* subnormal */
    case 1:
        return from_bits(sign);
    case 2:
        return from_bits(sign | ((uint32_t)(127 + (r >> 40 & 31) - 16) << 23) | (fraction & 0x700000));
    case 3:
        return from_bits(sign | ((uint32_t)(1 + (r >> 40 & 31)) << 23) | fraction);
    case 4:
        return from_bits(sign | ((uint32_t)(127 + (r >> 40 & 31) - 16) << 23) | (0x7FFFFF ^ (fraction & 3)));
    default:
        return from_bits(sign | ((uint32_t)(127 + (r >> 40 & 63) - 32) << 23) | fraction);
    }
}

START_TEST(one_rounding_a_multiply_add) {
    const enc_kernels *k = all[_i];
    const size_t rounds = test_draws(40000, 1);
    for (size_t round = 0; round < rounds; round++) {
        float x[8], w = hard(), bias = hard();
        for (int t = 0; t < 8; t++) {
            x[t] = hard();
            /* Every other sum nearly cancels. */
            if (t % 2 == 1) x[t] = w != 0.0f && isfinite(-bias / w) ? -bias / w : x[t];
        }
        const made m = {.rows = 1, .columns = 1, .tokens = 8, .w = (const uint8_t *)&w, .x = x, .bias = &bias};
        float *y = multiply(k, &m, 1);
        for (int t = 0; t < 8; t++) {
            const float expected = fmaf(w, x[t], bias);
            if (!isfinite(expected)) continue;
            ck_assert_msg(to_bits(y[t]) == to_bits(expected), "%s: %a * %a + %a is %a, not %a", k->name, (double)w,
                          (double)x[t], (double)bias, (double)expected, (double)y[t]);
        }
        free(y);
    }
}
END_TEST

/* ---- Products */

START_TEST(products_are_chains) {
    static const struct {
        uint32_t rows, columns, tokens, split;
    } sizes[] = {{1, 1, 1, 1}, {13, 5, 3, 2}, {24, 33, 16, 33}, {12, 64, 33, 48}, {7, 19, 70, 7}, {37, 8, 31, 3}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const uint32_t rows = sizes[s].rows, columns = sizes[s].columns, tokens = sizes[s].tokens;
        float *w = floats(rows * columns), *x = floats(tokens * columns), *bias = floats(rows),
              *more = floats(tokens * rows);
        for (uint32_t i = 0; i < rows * columns; i++)
            w[i] = number(1.0f);
        for (uint32_t i = 0; i < tokens * columns; i++)
            x[i] = number(4.0f);
        for (uint32_t i = 0; i < tokens * rows; i++)
            more[i] = number(2.0f);
        for (uint32_t i = 0; i < rows; i++)
            bias[i] = number(1.0f);
        made m = {.rows = rows,
                  .columns = columns,
                  .tokens = tokens,
                  .w = (const uint8_t *)w,
                  .x = x,
                  .bias = bias,
                  .more = more};
        for (size_t k = 0; k < count; k++) {
            float *y = multiply(all[k], &m, sizes[s].split);
            for (uint32_t t = 0; t < tokens; t++)
                for (uint32_t r = 0; r < rows; r++) {
                    float sum = bias[r];
                    for (uint32_t c = 0; c < columns; c++)
                        sum = fmaf(w[r * columns + c], x[t * columns + c], sum);
                    sum += more[t * rows + r];
                    ck_assert_msg(to_bits(sum) == to_bits(y[t * rows + r]), "%s, size %zu, token %u, row %u",
                                  all[k]->name, s, t, r);
                }
            free(y);
        }
        free(w);
        free(x);
        free(bias);
        free(more);
    }
}
END_TEST

static float half_value(uint32_t h) {
    const uint32_t exponent = h >> 10 & 31, fraction = h & 1023;
    const double size = exponent == 31  ? fraction == 0 ? INFINITY : NAN
                        : exponent == 0 ? ldexp(fraction, -24)
                                        : ldexp(1024 + fraction, (int)exponent - 25);
    return (float)(h >> 15 ? -size : size);
}

START_TEST(halves_are_widened) {
    const enc_kernels *k = all[_i];
    uint16_t *from = malloc(65539 * sizeof *from);
    float *to = floats(65539);
    ck_assert_ptr_nonnull(from);
    for (uint32_t i = 0; i < 65539; i++)
        from[i] = (uint16_t)i;
    k->widen((const uint8_t *)from, ENC_F16, 65539, to);
    for (uint32_t i = 0; i < 65539; i++) {
        const float expected = half_value(i & 0xFFFF);
        /* Without ck_assert, which is slow even if the assertion holds. */
        if (isnan(expected) ? !isnan(to[i]) : to_bits(to[i]) != to_bits(expected)) ck_abort_msg("%s: %x", k->name, i);
    }
    k->widen((const uint8_t *)from, ENC_BF16, 65539, to);
    for (uint32_t i = 0; i < 65539; i++)
        if (to_bits(to[i]) != (i & 0xFFFF) << 16) ck_abort_msg("%s: %x", k->name, i);
    free(from);
    free(to);
}
END_TEST

START_TEST(halves_are_multiplied) {
    uint16_t w[13 * 9];
    float wide[13 * 9], x[5 * 9], bias[13] = {0};
    for (int i = 0; i < 13 * 9; i++) {
        w[i] = (uint16_t)(0x3000 + draw() % 0x0C00 + (draw() % 2) * 0x8000);
        wide[i] = half_value(w[i]);
    }
    for (int i = 0; i < 5 * 9; i++)
        x[i] = number(1.0f);
    const made narrow = {
        .rows = 13, .columns = 9, .tokens = 5, .w = (const uint8_t *)w, .dtype = ENC_F16, .x = x, .bias = bias};
    made full = narrow;
    full.w = (const uint8_t *)wide;
    full.dtype = ENC_F32;
    for (size_t k = 0; k < count; k++) {
        float *a = multiply(all[k], &narrow, 4), *b = multiply(all[k], &full, 9);
        ck_assert_int_eq(memcmp(a, b, 13 * 5 * sizeof *a), 0);
        free(a);
        free(b);
    }
}
END_TEST

/* ---- Functions */

#define POINTS 400000

/* Returns a multiple of 16. */
static size_t points(void) {
    return test_draws(POINTS / 16, 1) * 16;
}

static double gelu(double x) {
    return x * 0.5 * erfc(-x / sqrt(2.0));
}
static double gelu_tanh(double x) {
    return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

START_TEST(functions_are_exact_enough) {
    const enc_kernels *k = all[_i];
    const size_t many = points();
    float *x = floats(many), *y = floats(many);
    double worst = 0;
    for (size_t i = 0; i < many; i++)
        x[i] = -87.0f + 174.0f * (float)i / (float)many;
    k->exponential(x, many, y);
    for (size_t i = 0; i < many; i++)
        worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1.0));
    ck_assert_msg(worst < 1.3e-7, "%s: exp is off by %g", k->name, worst);
    static double (*const exact[])(double) = {[ENC_GELU] = gelu, [ENC_GELU_TANH] = gelu_tanh};
    for (int a = ENC_GELU; a <= ENC_GELU_TANH; a++) {
        /* The error is relative for numbers beyond 1, because these are rounded anyway. */
        worst = 0;
        for (size_t i = 0; i < many; i++)
            x[i] = y[i] = -20.0f + 40.0f * (float)i / (float)many;
        k->activate((enc_activation)a, y, many);
        for (size_t i = 0; i < many; i++)
            worst = fmax(worst, fabs((double)y[i] - exact[a]((double)x[i])) / fmax(1.0, fabs((double)x[i])));
        ck_assert_msg(worst < 1.2e-7, "%s: activation %d is off by %g", k->name, a, worst);
    }
    x[0] = -1e30f, x[1] = 1e30f, x[2] = -0.0f, x[3] = 0.0f;
    memcpy(y, x, 16 * sizeof *x);
    k->activate(ENC_GELU, y, 16);
    ck_assert(fabsf(y[0]) < 1e21f && y[1] == 1e30f && y[2] == 0.0f && y[3] == 0.0f);
    memcpy(y, x, 16 * sizeof *x);
    k->activate(ENC_RELU, y, 16);
    ck_assert(y[0] == 0.0f && y[1] == 1e30f);
    k->exponential(x, 16, y);
    ck_assert(y[0] > 0.0f && y[0] < 2e-38f && y[3] == 1.0f);
    free(x);
    free(y);
}
END_TEST

START_TEST(functions_are_the_same_at_every_width) {
    const size_t many = points();
    float *x = floats(many), *y = floats(many), *z = floats(many);
    for (size_t i = 0; i < many; i++)
        x[i] = i % 2 == 0 ? number(30.0f) : number(2.0f);
    for (size_t k = 0; k + 1 < count; k++) {
        all[k]->exponential(x, many, y);
        all[count - 1]->exponential(x, many, z);
        ck_assert_int_eq(memcmp(y, z, many * sizeof *y), 0);
        for (int a = ENC_GELU; a <= ENC_RELU; a++) {
            memcpy(y, x, many * sizeof *x);
            memcpy(z, x, many * sizeof *x);
            all[k]->activate((enc_activation)a, y, many);
            all[count - 1]->activate((enc_activation)a, z, many);
            ck_assert_int_eq(memcmp(y, z, many * sizeof *y), 0);
        }
    }
    free(x);
    free(y);
    free(z);
}
END_TEST

int main(void) {
    find_all();
    Suite *suite = suite_create("encoder kernels");
    TCase *tcase = tcase_create("kernels");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, one_rounding_a_multiply_add, 0, (int)count);
    tcase_add_test(tcase, products_are_chains);
    tcase_add_loop_test(tcase, halves_are_widened, 0, (int)count);
    tcase_add_test(tcase, halves_are_multiplied);
    tcase_add_loop_test(tcase, functions_are_exact_enough, 0, (int)count);
    tcase_add_test(tcase, functions_are_the_same_at_every_width);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
