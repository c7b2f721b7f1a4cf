/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

#include "alloc.h"
#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_default_is_malloc(void **state) {
  const cp_allocator *alloc = &cp__default_allocator;
  uint8_t *block = cp__malloc(alloc, 3);

  (void)state;
  assert_non_null(block);
  memcpy(block, "abc", 3);
  block = cp__realloc(alloc, block, 5000);
  assert_non_null(block);
  assert_memory_equal(block, "abc", 3);
  cp__free(alloc, block);
}

/* Hands out a block that is full of rubbish. */
static void *allocate_dirty(void *ctx, size_t size) {
  return memset(ctx, 0xAA, size);
}

static void test_calloc_zeroes(void **state) {
  static const uint8_t zeroes[64];
  uint8_t memory[64];
  cp_allocator dirty = {allocate_dirty, NULL, NULL, NULL};

  (void)state;
  dirty.ctx = memory;
  assert_ptr_equal(cp__calloc(&dirty, sizeof memory), memory);
  assert_memory_equal(memory, zeroes, sizeof memory);
}

static void test_free_of_null_asks_nobody(void **state) {
  const cp_allocator none = {NULL, NULL, NULL, NULL};

  (void)state;
  cp__free(&none, NULL);
}

static void test_failed_realloc_keeps_the_block(void **state) {
  failing_alloc memory;
  char *block;

  (void)state;
  failing_alloc_init(&memory, 2);
  block = cp__malloc(&memory.alloc, 4);
  memcpy(block, "kept", 4);
  assert_null(cp__realloc(&memory.alloc, block, 4000));
  assert_memory_equal(block, "kept", 4);
  cp__free(&memory.alloc, block);
  assert_int_equal(memory.n_live, 0);
}

static void test_strndup(void **state) {
  failing_alloc memory;
  char *copy;

  (void)state;
  failing_alloc_init(&memory, 0);
  copy = cp__strndup(&memory.alloc, "a\0bc", 3);
  assert_memory_equal(copy, "a\0b", 4);
  cp__free(&memory.alloc, copy);
  copy = cp__strndup(&memory.alloc, NULL, 0);
  assert_string_equal(copy, "");
  cp__free(&memory.alloc, copy);
  assert_int_equal(memory.n_live, 0);
}

static void test_no_memory_is_null(void **state) {
  failing_alloc memory;

  (void)state;
  failing_alloc_init(&memory, 1);
  assert_null(cp__malloc(&memory.alloc, 1));
  failing_alloc_init(&memory, 1);
  assert_null(cp__calloc(&memory.alloc, 1));
  failing_alloc_init(&memory, 1);
  assert_null(cp__strndup(&memory.alloc, "x", 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_default_is_malloc),
      cmocka_unit_test(test_calloc_zeroes),
      cmocka_unit_test(test_free_of_null_asks_nobody),
      cmocka_unit_test(test_failed_realloc_keeps_the_block),
      cmocka_unit_test(test_strndup),
      cmocka_unit_test(test_no_memory_is_null),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
