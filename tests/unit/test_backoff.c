/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const cp_redis_options options = {.backoff_min_ms = 50,
                                         .backoff_max_ms = 60000};

static void test_doubles(void **state) {
  cp__backoff backoff = {0};
  int i;

  (void)state;
  assert_int_equal(cp__backoff_next(&backoff, &options, 7), 50);
  assert_int_equal(cp__backoff_next(&backoff, &options, 57), 100);
  assert_int_equal(cp__backoff_next(&backoff, &options, 157), 200);
  for (i = 0; i < 100; i++)
    cp__backoff_next(&backoff, &options, 100000);
  assert_int_equal(cp__backoff_next(&backoff, &options, 100000), 60000);
}

static void test_early_pauses_are_short(void **state) {
  cp__backoff backoff = {0};
  int i;

  (void)state;
  for (i = 0; i < 100; i++)
    assert_true(cp__backoff_next(&backoff, &options, 1000) <= 1000);
  assert_int_equal(cp__backoff_next(&backoff, &options, 10999), 1000);
  assert_int_equal(cp__backoff_next(&backoff, &options, 11000), 60000);
  /* Another outage. */
  cp__backoff_lost(&backoff, 50000);
  assert_int_equal(cp__backoff_next(&backoff, &options, 50000), 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_doubles),
      cmocka_unit_test(test_early_pauses_are_short),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
