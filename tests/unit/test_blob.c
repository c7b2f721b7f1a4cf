/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "blob.h"
#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_last_unref_frees(void **state) {
  failing_alloc memory;
  cp__blob *blob;

  (void)state;
  failing_alloc_init(&memory, 0);
  blob = cp__blob_create(&memory.alloc, 5);
  assert_non_null(blob);
  assert_int_equal(blob->len, 5);
  memcpy(blob->data, "hello", 5);

  assert_ptr_equal(cp__blob_ref(blob), blob);
  assert_ptr_equal(cp__blob_ref(blob), blob);
  cp__blob_unref(blob);
  cp__blob_unref(blob);
  assert_int_equal(memory.n_live, 1);
  assert_memory_equal(blob->data, "hello", 5);
  cp__blob_unref(blob);
  assert_int_equal(memory.n_live, 0);
}

static void test_one_allocation(void **state) {
  failing_alloc memory;
  cp__blob *blob;

  (void)state;
  failing_alloc_init(&memory, 0);
  blob = cp__blob_create(&memory.alloc, 100000);
  assert_int_equal(memory.n_calls, 1);
  memset(blob->data, 'x', 100000);
  cp__blob_unref(blob);
}

static void test_empty(void **state) {
  failing_alloc memory;
  cp__blob *blob;

  (void)state;
  failing_alloc_init(&memory, 0);
  blob = cp__blob_create(&memory.alloc, 0);
  assert_non_null(blob);
  assert_int_equal(blob->len, 0);
  cp__blob_unref(blob);
  assert_int_equal(memory.n_live, 0);
}

static void test_no_memory_is_null(void **state) {
  failing_alloc memory;

  (void)state;
  failing_alloc_init(&memory, 1);
  assert_null(cp__blob_create(&memory.alloc, 5));
  cp__blob_unref(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_last_unref_frees),
      cmocka_unit_test(test_one_allocation),
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_no_memory_is_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
