/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What is published while one master of a cluster is away: B, in these tests.
 */
#include "fake_cluster.h"

static const fake_step refuses[] = {EXPECT("CLIENT*"), CLOSE, END};

/* B's links break, and no other comes about until it is let back. */
static void init_lost(fixture *f) {
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT("SPUBLISH " ALICE "*"),
                                SEND(":1\r\n"), END};
  size_t i;

  init(f);
  f->a_scripts[A_COMMANDS] = a;
  f->host.host.wait_ms = LONG_MS;
  f->host.host.wait_bytes = 100000;
  f->options.backoff_max_ms = 20;
  for (i = B_COMMANDS + 1; i < LEN(f->b_scripts); i++)
    f->b_scripts[i] = refuses;
  run_linked(f);
  fake_redis_hang_up(&f->b, B_COMMANDS);
  run_until_heard(f, "late ");
  transport_host_forget(&f->host);
}

static void let_back(fixture *f) {
  size_t i;

  for (i = B_COMMANDS + 1; i < LEN(f->b_scripts); i++)
    f->b_scripts[i] = f->by_rules;
}

/* How B will answer, and how often it did. */
static void answer(fixture *f, int i, const char *command, const char *answer,
                   unsigned *n_used) {
  f->rules[FREE_RULE + i].command = command;
  f->rules[FREE_RULE + i].answer = answer;
  f->rules[FREE_RULE + i].n_used = n_used;
}

static void test_waits_for_its_master(void **state) {
  fixture f;

  (void)state;
  init_lost(&f);
  answer(&f, 0, "SPUBLISH " FOO, ":1\r\n", NULL);
  publish(&f, FOO, "one");
  publish(&f, FOO, "two");
  let_back(&f);
  run_until_heard(&f, "two=1 ");
  assert_true(transport_host_heard(&f.host, "one=1 two=1 "));
  finish(&f);
}

/* Others go at once, and so does what is no message. */
static void test_nobody_waits_behind(void **state) {
  fixture f;

  (void)state;
  init_lost(&f);
  publish(&f, FOO, "waits");
  subscribe(&f, FOO, "foo");
  unsubscribe(&f, FOO, "foo");
  assert_string_equal(f.host.heard, "-foo:CP_E_DOWN +foo ");
  publish(&f, ALICE, "alice");
  run_until_heard(&f, "alice=1 ");
  assert_false(transport_host_heard(&f.host, "waits"));
  finish(&f);
}

static void test_waits_for_so_long(void **state) {
  fixture f;

  (void)state;
  init_lost(&f);
  f.host.host.wait_ms = 50;
  publish(&f, FOO, "one");
  publish(&f, FOO, "two");
  run_until_heard(&f, "one!CP_E_TIMEOUT two!CP_E_TIMEOUT ");
  finish(&f);
}

static void test_so_much_waits(void **state) {
  fixture f;
  int n = 0;

  (void)state;
  init_lost(&f);
  f.host.host.wait_bytes = 2000;
  while (transport_host_publish(&f.host, FOO, "x", NULL) == 0)
    assert_true(++n < 100);
  assert_true(n > 1);
  assert_int_equal(transport_host_publish(&f.host, FOO, "x", NULL), CP_E_FULL);
  assert_int_equal(transport_host_publish(&f.host, ALICE, "x", NULL), 0);
  finish(&f);
}

/* Not for a host that wants nothing to wait. */
static void test_nothing_waits(void **state) {
  fixture f;

  (void)state;
  init_lost(&f);
  f.host.host.wait_bytes = 0;
  assert_int_equal(transport_host_publish(&f.host, FOO, "x", "x"), CP_E_DOWN);
  f.host.host.wait_bytes = 2000;
  f.host.host.wait_ms = 0;
  assert_int_equal(transport_host_publish(&f.host, FOO, "x", "x"), CP_E_DOWN);
  finish(&f);
}

/* What was not written when the link broke waits in front; what was may have
 * been heard. */
static void test_written_or_not(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.host.host.wait_ms = LONG_MS;
  f.host.host.wait_bytes = 100000;
  answer(&f, 0, "SPUBLISH " FOO, ":1\r\n", NULL);
  run_linked(&f);
  publish(&f, FOO, "written");
  turn(&f);
  publish(&f, FOO, "unwritten");
  fake_redis_hang_up(&f.b, B_COMMANDS);
  run_until(&f.host.loop, transport_host_heard(&f.host, "late "));
  assert_string_equal(f.host.heard, "written!CP_E_CLOSED late ");
  publish(&f, FOO, "newer");
  run_until_heard(&f, "newer=1 ");
  assert_true(transport_host_heard(&f.host, "unwritten=1 newer=1 "));
  finish(&f);
}

/* If no other master is left either, the host has it back. */
static void test_given_back(void **state) {
  fixture f;

  (void)state;
  init_lost(&f);
  f.host.host.on_unanswered = transport_host_on_unanswered;
  publish(&f, FOO, "one");
  publish(&f, FOO, "two");
  assert_int_equal(transport_host_publish(&f.host, FOO, "unheeded", NULL), 0);
  fake_redis_hang_up(&f.a, A_COMMANDS);
  run_until_heard(&f, "unlinked ");
  assert_string_equal(f.host.heard,
                      "changed one~<" FOO "|one> two~<" FOO "|two> unlinked ");
  finish(&f);
}

static void test_close_cancels(void **state) {
  fixture f;

  (void)state;
  init_lost(&f);
  publish(&f, FOO, "one");
  transport_host_close(&f.host, 20);
  assert_string_equal(f.host.heard, "one!CP_E_CANCELED ");
  finish(&f);
}

/* Subscribers that come back later than the master miss nothing, and nothing
 * overtakes. */
static void test_until_somebody_hears(void **state) {
  unsigned n_one = 0;
  unsigned n_two = 0;
  fixture f;

  (void)state;
  init_lost(&f);
  f.host.host.settle_ms = LONG_MS;
  answer(&f, 0, "SPUBLISH " FOO " one", ":0\r\n", &n_one);
  answer(&f, 1, "SPUBLISH " FOO " two", ":2\r\n", &n_two);
  publish(&f, FOO, "one");
  publish(&f, FOO, "two");
  let_back(&f);
  run_turns_until(&f, n_one == 2);
  assert_int_equal(n_two, 0);
  assert_false(transport_host_heard(&f.host, "one"));
  f.rules[FREE_RULE].answer = ":1\r\n";
  run_until_heard(&f, "two=2 ");
  assert_true(transport_host_heard(&f.host, "one=1 two=2 "));
  assert_int_equal(n_two, 1);
  finish(&f);
}

/* But not for ever: perhaps nobody is there. */
static void test_nobody_hears(void **state) {
  unsigned n = 0;
  fixture f;

  (void)state;
  init_lost(&f);
  f.host.host.settle_ms = 200;
  answer(&f, 0, "SPUBLISH " FOO, ":0\r\n", &n);
  publish(&f, FOO, "one");
  publish(&f, FOO, "two");
  let_back(&f);
  run_until_heard(&f, "two=0 ");
  assert_true(transport_host_heard(&f.host, "one=0 two=0 "));
  assert_true(n >= 2);
  finish(&f);
}

/* The node's own channel at A: the first name whose slot is A's. */
static void name_probe(char out[64]) {
  unsigned k = 0;

  do
    snprintf(out, 64, "cp:n:{0123456789abcdef.%u}", k++);
  while (cp__slot_of(cp_str(out)) >= CP__N_SLOTS / 2);
}

/* A has become a replica, but for what the scout was told: it goes on to take
 * what is published, and counts its own subscribers alone. */
static void test_owner_turns_replica(void **state) {
  static const fake_step commands[] = {
      COMMANDS_LINKED, EXPECT("SPUBLISH " ALICE " one"),
      SEND(":0\r\n"),  EXPECT("SPUBLISH " ALICE " one"),
      SEND(":1\r\n"),  END};
  char probe[64];
  char sunsubscribed[256];
  fixture f;

  (void)state;
  name_probe(probe);
  snprintf(sunsubscribed, sizeof sunsubscribed,
           SSUBSCRIBED "*3\r\n$12\r\nsunsubscribe\r\n$%u\r\n%s\r\n:0\r\n",
           (unsigned)strlen(probe), probe);
  {
    const fake_step subscriber[] = {SUBSCRIBER_LINKED,
                                    EXPECT("SSUBSCRIBE " ALICE),
                                    say(sunsubscribed), END};
    init(&f);
    f.host.host.settle_ms = LONG_MS;
    f.a_scripts[A_SUBSCRIBER] = subscriber;
    f.a_scripts[A_COMMANDS] = commands;
    run_linked(&f);
    subscribe(&f, ALICE, "alice");
    run_turns_until(&f, fake_redis_is_done(&f.a, A_SUBSCRIBER));
    run_until_heard(&f, "+alice ");
    publish(&f, ALICE, "one");
    run_until_heard(&f, "one=1 ");
    finish(&f);
  }
}

/* Two are under way when A is found to be no master: the first one must not
 * come behind the second. */
static void test_doubt_keeps_the_order(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED,
                                       EXPECT("SPUBLISH " ALICE " one"),
                                       EXPECT("SPUBLISH " ALICE " two"),
                                       EXPECT("SPUBLISH b go"),
                                       SEND(":0\r\n:1\r\n:1\r\n"),
                                       END};
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE " ALICE),
      SEND(SSUBSCRIBED SUNSUBSCRIBED("12", ALICE)), END};
  fixture f;

  (void)state;
  init(&f);
  f.host.host.settle_ms = LONG_MS;
  f.a_scripts[A_SUBSCRIBER] = subscriber;
  f.a_scripts[A_COMMANDS] = commands;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, ALICE, "two");
  subscribe(&f, ALICE, "alice");
  run_until_heard(&f, "+alice changed lost:alice ");
  publish(&f, "b", "go");
  run_until_heard(&f, "two=1 go=1 one=0 ");
  finish(&f);
}

/* The first was refused and the second was not: the first would come behind it,
 * and be taken for a duplicate. It fails, and its sender knows. */
static void test_refused_and_overtaken(void **state) {
  static const fake_step commands[] = {
      COMMANDS_LINKED, EXPECT("SPUBLISH " ALICE " one"),
      EXPECT("SPUBLISH " ALICE " two"),
      SEND("-CLUSTERDOWN The cluster is down\r\n:1\r\n"), END};
  fixture f;

  (void)state;
  init(&f);
  f.host.host.settle_ms = LONG_MS;
  f.a_scripts[A_COMMANDS] = commands;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, ALICE, "two");
  run_until_heard(&f, "two=1 one!CP_E_DOWN ");
  finish(&f);
}

/* What was refused is tried again one by one. */
static void test_refused_go_in_order(void **state) {
  static const fake_step commands[] = {
      COMMANDS_LINKED,
      EXPECT("SPUBLISH " ALICE " one"),
      EXPECT("SPUBLISH " ALICE " two"),
      SEND("-CLUSTERDOWN The cluster is down\r\n"
           "-CLUSTERDOWN The cluster is down\r\n"),
      EXPECT("SPUBLISH " ALICE " one"),
      SEND("-CLUSTERDOWN The cluster is down\r\n"),
      EXPECT("SPUBLISH " ALICE " one"),
      SEND(":1\r\n"),
      EXPECT("SPUBLISH " ALICE " two"),
      SEND(":1\r\n"),
      END};
  fixture f;

  (void)state;
  init(&f);
  f.host.host.settle_ms = LONG_MS;
  f.host.host.wait_ms = LONG_MS;
  f.host.host.wait_bytes = 100000;
  f.a_scripts[A_COMMANDS] = commands;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, ALICE, "two");
  run_until_heard(&f, "two=1 ");
  assert_true(transport_host_heard(&f.host, "one=1 changed two=1 "));
  finish(&f);
}

/* One reaches nobody, a newer one somebody. */
static void init_unheard(fixture *f) {
  static const fake_step commands[] = {
      COMMANDS_LINKED, EXPECT("SPUBLISH " ALICE " one"),
      EXPECT("SPUBLISH " ALICE " two"), SEND(":0\r\n:1\r\n"), END};

  init(f);
  f->a_scripts[A_COMMANDS] = commands;
  run_linked(f);
  publish(f, ALICE, "one");
  publish(f, ALICE, "two");
}

/* News of a master that isn't one any more comes by another link: it may be
 * read later than the answer that nobody was there, which waits for it. */
static void test_nobody_lingers(void **state) {
  fixture f;

  (void)state;
  init_unheard(&f);
  run_until_heard(&f, "two=1 one=0 ");
  finish(&f);
}

/* ... but not for ever. */
static void test_close_ends_lingering(void **state) {
  fixture f;

  (void)state;
  init_unheard(&f);
  run_until_heard(&f, "two=1 ");
  finish(&f);
  assert_true(transport_host_heard(&f.host, "two=1 one=0 "));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_waits_for_its_master),
      cmocka_unit_test(test_nobody_waits_behind),
      cmocka_unit_test(test_waits_for_so_long),
      cmocka_unit_test(test_so_much_waits),
      cmocka_unit_test(test_nothing_waits),
      cmocka_unit_test(test_written_or_not),
      cmocka_unit_test(test_given_back),
      cmocka_unit_test(test_close_cancels),
      cmocka_unit_test(test_until_somebody_hears),
      cmocka_unit_test(test_nobody_hears),
      cmocka_unit_test(test_owner_turns_replica),
      cmocka_unit_test(test_doubt_keeps_the_order),
      cmocka_unit_test(test_refused_and_overtaken),
      cmocka_unit_test(test_refused_go_in_order),
      cmocka_unit_test(test_nobody_lingers),
      cmocka_unit_test(test_close_ends_lingering),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
