/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What is remembered of messages that came, and of own ones that have yet to.
 */

#include "../unit/failing_alloc.h"
#include "dedup.h"
#include "echoes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const uint64_t seed[2] = {1, 2};

static bool comes_in(cp__dedup *dedup, uint64_t instance, uint32_t incarnation,
                     uint16_t slot, uint64_t sequence) {
  cp__envelope envelope;

  memset(&envelope, 0, sizeof envelope);
  envelope.instance = instance;
  envelope.incarnation = incarnation;
  envelope.sequence = sequence;
  return cp__dedup_is_new(dedup, &envelope, slot);
}

static bool comes(cp__dedup *dedup, uint64_t instance, uint32_t incarnation,
                  uint64_t sequence) {
  return comes_in(dedup, instance, incarnation, 0, sequence);
}

static void test_high_water_marks(void **state) {
  cp__dedup dedup;

  (void)state;
  cp__dedup_init(&dedup, &cp__default_allocator, seed, false);
  assert_true(comes(&dedup, 7, 1, 5));
  assert_false(comes(&dedup, 7, 1, 5));
  assert_false(comes(&dedup, 7, 1, 4));
  assert_true(comes(&dedup, 7, 1, 9)); /* others got 6 to 8 */
  /* Another link of the same sender, another sender. */
  assert_true(comes(&dedup, 7, 2, 6));
  assert_true(comes(&dedup, 8, 1, 5));
  assert_false(comes(&dedup, 7, 1, 9));
  assert_false(comes(&dedup, 7, 2, 6));
  /* Who doesn't de-duplicate. */
  assert_true(comes(&dedup, 7, 1, 0));
  assert_true(comes(&dedup, 0, 0, 0));
  assert_true(comes(&dedup, 0, 0, 0));
  cp__dedup_finish(&dedup);
}

/* By several masters: each slot has an order, through all incarnations. */
static void test_slots(void **state) {
  cp__dedup dedup;
  uint16_t slot;

  (void)state;
  cp__dedup_init(&dedup, &cp__default_allocator, seed, true);
  assert_int_equal(cp__dedup_highest(&dedup, 7, 1), 0);
  assert_true(comes_in(&dedup, 7, 1, 1, 9));
  assert_true(comes_in(&dedup, 7, 1, 2, 5));
  assert_false(comes_in(&dedup, 7, 1, 1, 9));
  assert_false(comes_in(&dedup, 7, 1, 2, 5));
  assert_false(comes_in(&dedup, 7, 1, 1, 8)); /* too late */
  assert_true(comes_in(&dedup, 7, 1, 2, 8));
  assert_false(comes_in(&dedup, 7, 2, 2, 8));
  assert_true(comes_in(&dedup, 7, 2, 1, 10));
  assert_false(comes_in(&dedup, 7, 1, 1, 9));
  assert_true(comes_in(&dedup, 8, 1, 1, 6));
  assert_true(comes_in(&dedup, 7, 1, 1, 0));
  assert_true(comes_in(&dedup, 7, 1, 1, 0));
  assert_int_equal(cp__dedup_highest(&dedup, 7, 1), 10);
  assert_int_equal(cp__dedup_highest(&dedup, 7, 2), 8);
  assert_int_equal(cp__dedup_highest(&dedup, 7, 3), 0);
  assert_int_equal(cp__dedup_highest(&dedup, 7, 3000), 0);
  assert_int_equal(cp__dedup_highest(&dedup, 9, 1), 0);
  for (slot = 0; slot <= CP__DEDUP_RECEIPTS; slot++)
    assert_true(comes_in(&dedup, 7, 2, slot, 11 + slot));
  for (slot = 0; slot <= CP__DEDUP_RECEIPTS; slot++)
    assert_int_equal(cp__dedup_highest(&dedup, 7, slot), 11 + slot);
  cp__dedup_finish(&dedup);
}

static void assert_bounded(bool unordered, uint64_t max) {
  failing_alloc memory;
  cp__dedup dedup;
  uint64_t i;

  failing_alloc_init(&memory, 0);
  cp__dedup_init(&dedup, &memory.alloc, seed, unordered);
  for (i = 1; i <= max; i++)
    assert_true(comes(&dedup, i, 1, 10));
  assert_false(comes(&dedup, 1, 1, 10)); /* it speaks: 2 is the silent one */
  for (i = 1; i <= 10; i++)
    assert_true(comes(&dedup, max + i, 1, 10));
  assert_int_equal(dedup.map.n_nodes, max);
  assert_false(comes(&dedup, 1, 1, 10));
  assert_false(comes(&dedup, 12, 1, 10));
  assert_true(comes(&dedup, 2, 1, 10)); /* forgotten */
  cp__dedup_finish(&dedup);
  assert_int_equal(memory.n_live, 0);
}

static void test_table_is_bounded(void **state) {
  (void)state;
  assert_bounded(false, CP__DEDUP_MAX);
  assert_bounded(true, CP__DEDUP_MAX_UNORDERED);
}

/* Rather twice than never. */
static void assert_new_without_memory(bool unordered) {
  failing_alloc memory;
  cp__dedup dedup;
  bool is_new;
  size_t n = 0;

  do {
    failing_alloc_init(&memory, ++n);
    cp__dedup_init(&dedup, &memory.alloc, seed, unordered);
    assert_true(comes(&dedup, 1, 1, 1));
    is_new = comes(&dedup, 1, 1, 1);
    assert_int_equal(is_new, memory.failed);
    cp__dedup_finish(&dedup);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n > 2);
}

static void test_without_memory_all_is_new(void **state) {
  (void)state;
  assert_new_without_memory(false);
  assert_new_without_memory(true);
}

static bool put(cp__echoes *echoes, uint64_t sequence, const char *user,
                const char *body) {
  const cp__echo echo = {
      .sequence = sequence,
      .sent_ms = sequence * 10,
      .type = CP_TEXT,
      .user = cp_str(user),
      .body = cp_str(body),
  };
  return cp__echoes_put(echoes, &echo);
}

static void assert_next(cp__echoes *echoes, const char *words) {
  cp__echo echo;
  char text[64] = "";

  if (cp__echoes_take(echoes, &echo))
    snprintf(text, sizeof text, "%u %.*s %.*s", (unsigned)echo.sequence,
             (int)echo.user.len, (const char *)echo.user.data,
             (int)echo.body.len, (const char *)echo.body.data);
  assert_string_equal(text, words);
}

static void test_echoes(void **state) {
  cp__echoes echoes;

  (void)state;
  cp__echoes_init(&echoes, &cp__default_allocator, 1000);
  assert_next(&echoes, "");
  put(&echoes, 1, "alice", "one");
  put(&echoes, 3, "", "three");
  put(&echoes, 4, "bob", "");
  put(&echoes, 6, "bob", "six");
  put(&echoes, 7, "bob", "seven");
  cp__echoes_undo(&echoes, 7);
  cp__echoes_undo(&echoes, 2); /* there is none */
  cp__echoes_undo(&echoes, 6); /* only the last put may be taken back */
  cp__echoes_heard(&echoes, 2);
  cp__echoes_heard_until(&echoes, 30);
  assert_next(&echoes, "3  three");
  assert_next(&echoes, "4 bob ");
  cp__echoes_heard_until(&echoes, 61);
  assert_next(&echoes, "");
  assert_true(cp__echoes_is_empty(&echoes));
  cp__echoes_finish(&echoes);
}

static void test_echoes_are_bounded(void **state) {
  static char body[200];
  failing_alloc memory;
  cp__echoes echoes;
  int n = 0;

  (void)state;
  failing_alloc_init(&memory, 0);
  cp__echoes_init(&echoes, &memory.alloc, 1000);
  memset(body, 'x', sizeof body - 1);
  while (put(&echoes, (uint64_t)n + 1, "u", body))
    n++;
  assert_int_equal(n, 4);
  cp__echoes_heard(&echoes, 1);
  assert_true(put(&echoes, 9, "u", body));
  cp__echoes_finish(&echoes);
  failing_alloc_init(&memory, 1);
  cp__echoes_init(&echoes, &memory.alloc, 1000);
  assert_false(put(&echoes, 1, "u", "no memory"));
  assert_true(put(&echoes, 1, "u", "again"));
  cp__echoes_finish(&echoes);
  assert_int_equal(memory.n_live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_high_water_marks),
      cmocka_unit_test(test_slots),
      cmocka_unit_test(test_table_is_bounded),
      cmocka_unit_test(test_without_memory_all_is_new),
      cmocka_unit_test(test_echoes),
      cmocka_unit_test(test_echoes_are_bounded),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
