/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The cluster transport counts subscribers: A of alice and "b", B of foo. */
#include "fake_cluster.h"

#define COUNT_BOTH   "PUBSUB SHARDNUMSUB " ALICE " b"
#define COUNTS(a, b) "*4\r\n$1\r\nx\r\n:" a "\r\n$1\r\nx\r\n:" b "\r\n"

/* "b" is A's as well. */
static int count(fixture *f, const char *token) {
  const cp_bytes channels[] = {cp_str(ALICE), cp_str(FOO), cp_str("b")};
  const cp_transport_ops *ops = f->host.transport->ops;

  return ops->count(f->host.transport, channels, 3, (void *)token);
}

static void init_counting(fixture *f, const fake_step *a, const fake_step *b) {
  init(f);
  f->a_scripts[A_COMMANDS] = a;
  f->b_scripts[B_COMMANDS] = b;
  run_linked(f);
}

static void test_counts_of_two_masters(void **state) {
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT(COUNT_BOTH),
                                SEND(COUNTS("2", "0")), END};
  static const fake_step b[] = {COMMANDS_LINKED,
                                EXPECT("PUBSUB SHARDNUMSUB " FOO),
                                SEND("*2\r\n$1\r\nx\r\n:7\r\n"), END};
  fixture f;

  (void)state;
  init_counting(&f, a, b);
  assert_int_equal(count(&f, "q"), 0);
  run_until_heard(&f, "q#2,7,0 ");
  finish(&f);
}

/* One of the two fails: once all have answered, the whole count has. */
static void expect_count_fails(const char *answer, size_t len,
                               const char *heard) {
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT(COUNT_BOTH),
                                SEND(COUNTS("2", "0")), END};
  const fake_step b[] = {
      COMMANDS_LINKED, EXPECT("PUBSUB*"), {FAKE_SEND, answer, len}, END};
  fixture f;

  init_counting(&f, a, b);
  assert_int_equal(count(&f, "q"), 0);
  run_until_heard(&f, heard);
  finish(&f);
}

static void test_one_master_does_not_count(void **state) {
  static const char refused[] = "-NOPERM no\r\n", strange[] = "+OK\r\n",
                    more[] = COUNTS("1", "1"), none[] = "*0\r\n";

  (void)state;
  expect_count_fails(refused, sizeof refused - 1, "q#CP_E_REDIS ");
  expect_count_fails(strange, sizeof strange - 1, "q#CP_E_DOWN ");
  expect_count_fails(more, sizeof more - 1, "q#CP_E_PROTOCOL ");
  expect_count_fails(none, sizeof none - 1, "q#CP_E_PROTOCOL ");
}

static void test_master_is_lost_while_it_counts(void **state) {
  static const char answer[] = "*2\r\n$1\r\nx\r\n:7\r\n";
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT(COUNT_BOTH), CLOSE,
                                END};
  static const fake_step b[] = {COMMANDS_LINKED, EXPECT("PUBSUB*"), END};
  fixture f;

  (void)state;
  init_counting(&f, a, b);
  assert_int_equal(count(&f, "q"), 0);
  run_turns_until(&f, f.host.late);
  assert_false(transport_host_heard(&f.host, "q#"));
  assert_int_equal(count(&f, "r"), CP_E_DOWN); /* nobody knows */
  fake_redis_send(&f.b, B_COMMANDS, answer, strlen(answer));
  run_until_heard(&f, "q#CP_E_DOWN ");
  finish(&f);
}

static void test_close_while_masters_count(void **state) {
  static const fake_step silent[] = {COMMANDS_LINKED, EXPECT("PUBSUB*"), END};
  fixture f;

  (void)state;
  init_counting(&f, silent, silent);
  assert_int_equal(count(&f, "q"), 0);
  turn(&f);
  transport_host_close(&f.host, 0);
  assert_true(transport_host_heard(&f.host, "q#CP_E_CANCELED "));
  finish(&f);
}

static void test_no_memory(void **state) {
  static const fake_step silent[] = {COMMANDS_LINKED, EXPECT("PUBSUB*"), END};
  fixture f;

  (void)state;
  init_counting(&f, silent, silent);
  f.host.memory.fail_at = f.host.memory.n_calls + 1;
  assert_int_equal(count(&f, "q"), CP_E_NOMEM);
  assert_string_equal(f.host.heard, "");
  assert_int_equal(count(&f, "q"), 0);
  finish(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_counts_of_two_masters),
      cmocka_unit_test(test_one_master_does_not_count),
      cmocka_unit_test(test_master_is_lost_while_it_counts),
      cmocka_unit_test(test_close_while_masters_count),
      cmocka_unit_test(test_no_memory),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
