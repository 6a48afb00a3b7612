/* SPDX-License-Identifier: Apache-2.0 */
/* Which offers a provider's offers() keeps if there are more than fit. */
#include "../suite.h"
#include "kolm/rent/account.h"

#include <string.h>

static kit_rent_offer offer_at(uint64_t price) {
    return (kit_rent_offer){.id = "x", .micro_usd_per_hour = price};
}

static size_t keep_all(const uint64_t *prices, size_t length, kit_rent_offer *out, size_t capacity) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        const kit_rent_offer offer = offer_at(prices[i]);
        kit_rent_offer_keep(&offer, out, capacity, &count);
    }
    return count;
}

START_TEST(test_the_cheapest_are_kept) {
    static const uint64_t prices[] = {5, 3, 9, 20, 4, 30, 1};
    kit_rent_offer out[3];
    ck_assert_uint_eq(keep_all(prices, 7, out, 3), 3);
    uint64_t sum = 0;
    for (size_t i = 0; i < 3; i++)
        sum += out[i].micro_usd_per_hour;
    ck_assert_uint_eq(sum, 1 + 3 + 4);
}
END_TEST

/* The last one is the most expensive, and the next is even more so. */
START_TEST(test_a_dearer_one_replaces_nothing) {
    static const uint64_t prices[] = {1, 2, 9, 20};
    kit_rent_offer out[3];
    ck_assert_uint_eq(keep_all(prices, 4, out, 3), 3);
    ck_assert_uint_eq(out[2].micro_usd_per_hour, 9);
    ck_assert_uint_eq(keep_all(prices, 4, out, 0), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("offers");
    TCase *keep = tcase_create("keep");
    tcase_add_test(keep, test_the_cheapest_are_kept);
    tcase_add_test(keep, test_a_dearer_one_replaces_nothing);
    suite_add_tcase(suite, keep);
    return run_suite(suite);
}
