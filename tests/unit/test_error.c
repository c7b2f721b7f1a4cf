/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "clusterpush/base.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <uv.h>

#include <cmocka.h>

#define CODE(name) \
  { name, #name }

/* tests/structure holds this list to base.h. */
static const struct code {
  int err;
  const char *name;
} codes[] = {
    CODE(CP_E_AUTH),        CODE(CP_E_CANCELED), CODE(CP_E_CLOSED),
    CODE(CP_E_DOWN),        CODE(CP_E_FULL),     CODE(CP_E_INVALID),
    CODE(CP_E_NOMEM),       CODE(CP_E_NOTFOUND), CODE(CP_E_PROTOCOL),
    CODE(CP_E_LAGGED),      CODE(CP_E_REDIS),    CODE(CP_E_STATE),
    CODE(CP_E_TIMEOUT),     CODE(CP_E_TOOBIG),   CODE(CP_E_URL),
    CODE(CP_E_UNSUPPORTED), CODE(CP_E_UTF8),
};
#define N_CODES (sizeof codes / sizeof codes[0])

static void test_every_code_has_its_name(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < N_CODES; i++)
    assert_string_equal(cp_err_name(codes[i].err), codes[i].name);
}

static void test_every_code_has_a_text_of_its_own(void **state) {
  size_t i;
  size_t j;

  (void)state;
  for (i = 0; i < N_CODES; i++) {
    const char *text = cp_strerror(codes[i].err);
    assert_true(strlen(text) > 0);
    assert_string_not_equal(text, cp_strerror(INT_MIN));
    for (j = 0; j < i; j++)
      assert_string_not_equal(text, cp_strerror(codes[j].err));
  }
}

static void test_codes_stay_clear_of_libuv(void **state) {
  size_t i;

  (void)state;
  for (i = 0; i < N_CODES; i++)
    assert_true(codes[i].err <= -10001);
}

static void test_libuv_codes_pass_through(void **state) {
  (void)state;
  assert_string_equal(cp_err_name(UV_ECONNREFUSED), "ECONNREFUSED");
  assert_string_equal(cp_err_name(UV_EOF), "EOF");
  assert_string_equal(cp_err_name(UV_EAI_NONAME), "EAI_NONAME");
  assert_string_equal(cp_strerror(UV_ECONNREFUSED),
                      uv_strerror(UV_ECONNREFUSED));
}

static void test_zero_is_no_error(void **state) {
  (void)state;
  assert_string_equal(cp_strerror(0), "success");
  assert_string_equal(cp_err_name(0), "OK");
}

static void test_other_numbers(void **state) {
  static const int numbers[] = {1, -9999, -10000, -10999, INT_MAX, INT_MIN};
  size_t i;

  (void)state;
  for (i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    assert_string_equal(cp_err_name(numbers[i]), "CP_E_?");
    assert_string_equal(cp_strerror(numbers[i]), "unknown error");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_code_has_its_name),
      cmocka_unit_test(test_every_code_has_a_text_of_its_own),
      cmocka_unit_test(test_codes_stay_clear_of_libuv),
      cmocka_unit_test(test_libuv_codes_pass_through),
      cmocka_unit_test(test_zero_is_no_error),
      cmocka_unit_test(test_other_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
