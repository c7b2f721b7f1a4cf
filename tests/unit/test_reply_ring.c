/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "reply_ring.h"

#include "failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const cp_allocator *const alloc = &cp__default_allocator;

static void push(cp__reply_ring *ring, uint64_t number) {
  const cp__reply reply = {.end = number};

  assert_int_equal(cp__reply_ring_reserve(ring, 1, alloc), 0);
  cp__reply_ring_push(ring, &reply);
}

static void expect(cp__reply_ring *ring, uint64_t number) {
  cp__reply reply;

  assert_int_equal(cp__reply_ring_first(ring)->end, number);
  assert_true(cp__reply_ring_pop(ring, &reply));
  assert_int_equal(reply.end, number);
}

static void test_empty(void **state) {
  cp__reply_ring ring = {0};
  cp__reply reply;

  (void)state;
  assert_false(cp__reply_ring_pop(&ring, &reply));
  assert_null(cp__reply_ring_first(&ring));
  cp__reply_ring_finish(&ring, alloc);
}

/* For every place of the head: growing must not disturb the order. */
static void test_order_across_growth(void **state) {
  uint64_t n_taken;

  (void)state;
  for (n_taken = 0; n_taken < 40; n_taken++) {
    cp__reply_ring ring = {0};
    cp__reply reply;
    uint64_t i;

    for (i = 0; i < n_taken; i++) {
      push(&ring, i);
      expect(&ring, i);
    }
    for (i = 0; i < 100; i++)
      push(&ring, i);
    for (i = 0; i < 100; i++)
      expect(&ring, i);
    assert_false(cp__reply_ring_pop(&ring, &reply));
    cp__reply_ring_finish(&ring, alloc);
  }
}

static void test_no_memory(void **state) {
  cp__reply_ring ring = {0};
  failing_alloc memory;

  (void)state;
  push(&ring, 1);
  failing_alloc_init(&memory, 1);
  assert_int_equal(cp__reply_ring_reserve(&ring, 1000, &memory.alloc),
                   CP_E_NOMEM);
  push(&ring, 2);
  expect(&ring, 1);
  expect(&ring, 2);
  cp__reply_ring_finish(&ring, alloc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_order_across_growth),
      cmocka_unit_test(test_no_memory),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
