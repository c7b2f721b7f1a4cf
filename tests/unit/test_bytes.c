/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_decimal(void **state) {
  static const struct {
    const char *text;
    int64_t max;
    int64_t value;
  } cases[] = {
      {"0", 0, 0},
      {"0", 9, 0},
      {"9", 9, 9},
      {"10", 9, -1},
      {"007", 9, 7},
      {"000000000000000000000000000001", 1, 1},
      {"65535", 65535, 65535},
      {"65536", 65535, -1},
      {"99999", 65535, -1},
      {"1", 0, -1},
      {"9223372036854775807", INT64_MAX, INT64_MAX},
      {"9223372036854775808", INT64_MAX, -1},
      {"99999999999999999999999999999999", INT64_MAX, -1},
      {"", 9, -1},
      {"-1", 9, -1},
      {"+1", 9, -1},
      {" 1", 9, -1},
      {"1 ", 9, -1},
      {"1a", 99, -1},
      {"0x1", 99, -1},
  };
  size_t i;

  (void)state;
  for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int64_t value = cp__bytes_decimal(cp_str(cases[i].text), cases[i].max);

    if (value != cases[i].value)
      fail_msg("'%s' is %lld", cases[i].text, (long long)value);
  }
}

/* The text need not end where the number does. */
static void test_decimal_in_the_midst(void **state) {
  (void)state;
  assert_int_equal(cp__bytes_decimal(cp_bytes_of("1234", 2), 99), 12);
  assert_int_equal(cp__bytes_decimal(cp_bytes_of(NULL, 0), 99), -1);
}

static void test_cut(void **state) {
  cp_bytes rest = cp_str("a,,b,");

  (void)state;
  assert_true(cp__bytes_equal(cp__bytes_cut(&rest, ','), cp_str("a")));
  assert_true(cp__bytes_equal(cp__bytes_cut(&rest, ','), cp_str("")));
  assert_true(cp__bytes_equal(cp__bytes_cut(&rest, ','), cp_str("b")));
  assert_non_null(rest.data);
  assert_true(cp__bytes_equal(cp__bytes_cut(&rest, ','), cp_str("")));
  assert_null(rest.data);
}

static void test_trim(void **state) {
  (void)state;
  assert_true(
      cp__bytes_equal(cp__bytes_trim(cp_str(" \ta b\t ")), cp_str("a b")));
  assert_true(cp__bytes_equal(cp__bytes_trim(cp_str(" \t ")), cp_str("")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_decimal),
      cmocka_unit_test(test_decimal_in_the_midst),
      cmocka_unit_test(test_cut),
      cmocka_unit_test(test_trim),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
