/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A build without TLS says so. */

#include "tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_no_context(void **ctx) {
  const cp__tls_options options = {.server = false};
  cp__tls_context *context = NULL;
  char text[CP__TLS_TEXT_SIZE] = "";

  (void)ctx;
  assert_int_equal(
      cp__tls_context_create(&context, &options, &cp__default_allocator, text),
      CP_E_UNSUPPORTED);
  assert_null(context);
  assert_string_equal(text, "this build has no TLS");
  cp__tls_context_unref(NULL);
  cp__tls_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_context),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
