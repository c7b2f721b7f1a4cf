/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The cluster transport and two scripted masters. */
#include "fake_cluster.h"

/* Linking. ---------------------------------------------------------------- */

static void test_links_to_every_master(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_linked(&f);
  run_turns_until(&f, fake_redis_is_done(&f.a, A_COMMANDS) &&
                          fake_redis_is_done(&f.b, B_COMMANDS));
  assert_string_equal(f.host.heard, "");
  finish(&f);
}

static void expect_no_link(fixture *f, const fake_step *scout, int err,
                           const char *reason_part) {
  init(f);
  f->a_scripts[0] = f->a_scripts[1] = scout;
  transport_host_start(&f->host, f->url, &f->options);
  run_until(&f->host.loop, f->host.n_unlinked == 2);
  assert_int_equal(f->host.n_linked, 0);
  assert_int_equal(f->host.err, err);
  if (strstr(f->host.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, f->host.reason);
  assert_int_equal(f->host.n_warnings, 1); /* not two */
  finish(f);
}

static void test_no_cluster(void **state) {
  static const fake_step old[] = {
      EXPECT("CLIENT*"), SEND(FAKE_OK), EXPECT("INFO server"),
      SEND("$36\r\nredis_version:6.2.14\r\nrun_id:abcdefg\r\n"), END};
  static const fake_step alone[] = {
      SCOUT_GREETING, EXPECT("CLUSTER SLOTS"),
      SEND("-ERR This instance has cluster support disabled\r\n"), END};
  static const fake_step strange[] = {SCOUT_GREETING, EXPECT("CLUSTER SLOTS"),
                                      SEND(FAKE_OK), END};
  static const fake_step closes[] = {SCOUT_GREETING, EXPECT("CLUSTER SLOTS"),
                                     CLOSE, END};
  fixture f;

  (void)state;
  expect_no_link(&f, old, CP_E_UNSUPPORTED, "Redis 7 or later");
  expect_no_link(&f, alone, CP_E_REDIS, "cluster support disabled");
  expect_no_link(&f, strange, CP_E_PROTOCOL, "CLUSTER SLOTS");
  expect_no_link(&f, closes, UV_EOF, "closed");
}

static void test_scout_is_not_answered(void **state) {
  static const fake_step silent[] = {SCOUT_GREETING, EXPECT("CLUSTER SLOTS"),
                                     END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[0] = silent;
  f.options.probe_timeout_ms = 50;
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, f.host.n_unlinked > 0);
  assert_int_equal(f.host.err, CP_E_TIMEOUT);
  finish(&f);
}

/* One host after the other. */
static void test_next_host(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.b_scripts[0] = f.scout;
  f.b_scripts[1] = subscriber_links;
  f.b_scripts[2] = commands_link;
  f.a_scripts[0] = subscriber_links;
  f.a_scripts[1] = commands_link;
  snprintf(f.url, sizeof f.url, "redis+cluster://127.0.0.1:1,127.0.0.1:%d",
           f.b.port);
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, f.host.linked);
  finish(&f);
}

/* Half of the slots have nobody: the others work, and the host is told. */
static void test_missing_slots(void **state) {
  fixture f;

  (void)state;
  init(&f);
  snprintf(f.slots, sizeof f.slots,
           "*1\r\n*3\r\n:0\r\n:8191\r\n*2\r\n$0\r\n\r\n:%d\r\n", f.a.port);
  init_scout(&f);
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, f.host.linked);
  assert_string_equal(f.host.heard, "linked:1 late ");
  assert_int_equal(transport_host_publish(&f.host, FOO, "x", "x"), CP_E_DOWN);
  subscribe(&f, FOO, "foo");
  assert_true(transport_host_heard(&f.host, "-foo:CP_E_DOWN "));
  unsubscribe(&f, FOO, "foo");
  assert_true(transport_host_heard(&f.host, "+foo "));
  finish(&f);
}

static void test_publish_only(void **state) {
  static const fake_step commands[] = {GREETING,          EXPECT("ROLE"),
                                       SEND(FAKE_MASTER), EXPECT("SPUBLISH*"),
                                       SEND(":2\r\n"),    END};
  fixture f;

  (void)state;
  init(&f);
  f.host.host.publish_only = 1;
  f.a_scripts[1] = f.b_scripts[0] = commands;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, FOO, "two");
  run_turns_until(&f, f.host.n_published == 2);
  assert_true(transport_host_heard(&f.host, "one=2 "));
  assert_true(transport_host_heard(&f.host, "two=2 "));
  assert_int_equal(transport_host_subscribe(&f.host, ALICE, "s"), CP_E_STATE);
  finish(&f);
}

/* Commands. --------------------------------------------------------------- */

static void test_one_slot_a_command(void **state) {
  static const fake_step a[] = {
      SUBSCRIBER_LINKED,
      EXPECT("SSUBSCRIBE " ALICE " x{alice}"),
      EXPECT("SSUBSCRIBE b"),
      EXPECT("SUNSUBSCRIBE x{alice}"),
      SEND(SSUBSCRIBED SSUBSCRIBED SSUBSCRIBED SUNSUBSCRIBED("8", "x{alice}")),
      END};
  static const fake_step b[] = {SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE " FOO),
                                SEND(SSUBSCRIBED), END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[A_SUBSCRIBER] = a;
  f.b_scripts[B_SUBSCRIBER] = b;
  run_linked(&f);
  subscribe(&f, ALICE, "alice");
  subscribe(&f, FOO, "foo");
  subscribe(&f, "x{alice}", "x");
  subscribe(&f, "b", "b"); /* slot 3300 */
  unsubscribe(&f, "x{alice}", "x");
  run_turns_until(&f, f.host.n_confirmed == 5);
  assert_true(transport_host_heard(&f.host, "+alice +x +b +x "));
  finish(&f);
}

static void test_publish_at_the_owner(void **state) {
  static const fake_step a[] = {
      COMMANDS_LINKED, EXPECT("SPUBLISH " ALICE " hello"), SEND(":3\r\n"), END};
  static const fake_step b[] = {COMMANDS_LINKED,
                                EXPECT("SPUBLISH " FOO " there"),
                                SEND("-NOPERM no\r\n"), END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[A_COMMANDS] = a;
  f.b_scripts[B_COMMANDS] = b;
  run_linked(&f);
  publish(&f, ALICE, "hello");
  publish(&f, FOO, "there");
  assert_int_equal(transport_host_publish(&f.host, "b", "unheeded", NULL), 0);
  run_turns_until(&f, f.host.n_published == 2);
  assert_true(transport_host_heard(&f.host, "hello=3 "));
  assert_true(transport_host_heard(&f.host, "there!CP_E_REDIS "));
  assert_int_equal(f.host.n_warnings, 1);
  finish(&f);
}

static void test_messages(void **state) {
  static const fake_step b[] = {
      SUBSCRIBER_LINKED,
      SEND("*3\r\n$8\r\nsmessage\r\n$3\r\nfoo\r\n$2\r\nhi\r\n"), END};
  static const char more[] =
      "*3\r\n$8\r\nsmessage\r\n$3\r\nfoo\r\n$3\r\nyou\r\n";
  fixture f;

  (void)state;
  init(&f);
  f.b_scripts[B_SUBSCRIBER] = b;
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, f.host.linked);
  publish(&f, ALICE, "x");
  run_turns_until(&f, fake_redis_is_done(&f.b, B_SUBSCRIBER));
  fake_redis_send(&f.b, B_SUBSCRIBER, more, strlen(more));
  run_until_heard(&f, "<foo|you> ");
  finish(&f);
}

/* Redirects. -------------------------------------------------------------- */

/* One is answered by A, two and three come back, four was asked for while they
 * were out, five behind it: they reach B in this order. */
static void test_moved_publishes_keep_their_order(void **state) {
  fixture f;

  (void)state;
  init(&f);
  {
    const fake_step a[] = {COMMANDS_LINKED,
                           EXPECT("SPUBLISH " ALICE " one"),
                           EXPECT("SPUBLISH " ALICE " two"),
                           EXPECT("SPUBLISH " ALICE " three"),
                           SEND(":1\r\n"),
                           say(f.moved),
                           PAUSE,
                           say(f.moved),
                           END};
    static const fake_step b[] = {COMMANDS_LINKED,
                                  EXPECT("SPUBLISH " ALICE " two"),
                                  EXPECT("SPUBLISH " ALICE " three"),
                                  EXPECT("SPUBLISH " ALICE " four"),
                                  EXPECT("SPUBLISH " ALICE " five"),
                                  SEND(":4\r\n:4\r\n:4\r\n:4\r\n"),
                                  END};
    f.a_scripts[A_COMMANDS] = a;
    f.b_scripts[B_COMMANDS] = b;
    run_linked(&f);
    publish(&f, ALICE, "one");
    publish(&f, ALICE, "two");
    publish(&f, ALICE, "three");
    run_until_heard(&f, "one=1 changed ");
    publish(&f, ALICE, "four"); /* is for B, but A has three yet */
    turn(&f);
    assert_false(fake_redis_is_done(&f.b, B_COMMANDS));
    fake_redis_resume(&f.a, A_COMMANDS);
    publish(&f, ALICE, "five");
    run_until_heard(&f, "five=4 ");
    assert_string_equal(f.host.heard,
                        "one=1 changed two=4 changed three=4 four=4 "
                        "five=4 ");
    finish(&f);
  }
}

static void test_ask(void **state) {
  fixture f;

  (void)state;
  init(&f);
  {
    const fake_step a[] = {COMMANDS_LINKED,
                           EXPECT("SPUBLISH " ALICE " one"),
                           EXPECT("SPUBLISH " ALICE " two"),
                           say(f.ask),
                           say(f.ask),
                           END};
    static const fake_step b[] = {COMMANDS_LINKED,
                                  EXPECT("ASKING"),
                                  EXPECT("SPUBLISH " ALICE " one"),
                                  EXPECT("ASKING"),
                                  EXPECT("SPUBLISH " ALICE " two"),
                                  SEND(FAKE_OK ":1\r\n" FAKE_OK ":2\r\n"),
                                  END};
    const fake_step a_sub[] = {SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE " ALICE),
                               say(f.ask), END};
    static const fake_step b_sub[] = {SUBSCRIBER_LINKED, EXPECT("ASKING"),
                                      EXPECT("SSUBSCRIBE " ALICE),
                                      SEND(FAKE_OK SSUBSCRIBED), END};
    f.a_scripts[A_COMMANDS] = a;
    f.b_scripts[B_COMMANDS] = b;
    f.a_scripts[A_SUBSCRIBER] = a_sub;
    f.b_scripts[B_SUBSCRIBER] = b_sub;
    run_linked(&f);
    publish(&f, ALICE, "one");
    publish(&f, ALICE, "two");
    run_until_heard(&f, "two=2 ");
    assert_true(transport_host_heard(&f.host, "one=1 "));
    subscribe(&f, ALICE, "alice");
    run_until_heard(&f, "+alice ");
    finish(&f);
  }
}

static void test_later(void **state) {
  static const fake_step a[] = {
      COMMANDS_LINKED,
      EXPECT("SPUBLISH " ALICE " one"),
      EXPECT("SPUBLISH " ALICE " two"),
      SEND("-TRYAGAIN not now\r\n-CLUSTERDOWN The cluster is down\r\n"),
      EXPECT("SPUBLISH " ALICE " one"),
      EXPECT("SPUBLISH " ALICE " two"),
      SEND(":1\r\n:1\r\n"),
      END};
  static const fake_step sub[] = {
      SUBSCRIBER_LINKED,        EXPECT("SSUBSCRIBE " ALICE),
      SEND("-TRYAGAIN no\r\n"), EXPECT("SSUBSCRIBE " ALICE),
      SEND(SSUBSCRIBED),        END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[A_COMMANDS] = a;
  f.a_scripts[A_SUBSCRIBER] = sub;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, ALICE, "two");
  subscribe(&f, ALICE, "alice");
  run_turns_until(&f, f.host.n_published == 2 && f.host.n_confirmed == 1);
  assert_true(transport_host_heard(&f.host, "one=1 "));
  assert_true(transport_host_heard(&f.host, "+alice "));
  finish(&f);
}

/* Nobody can tell, for too long. */
static void test_patience_ends(void **state) {
  static const fake_step a[] = {COMMANDS_LINKED,
                                EXPECT("SPUBLISH*"),
                                SEND("-CLUSTERDOWN it is\r\n"),
                                EXPECT("SPUBLISH*"),
                                SEND("-CLUSTERDOWN it is\r\n"),
                                END};
  fixture f;

  (void)state;
  init(&f);
  f.options.probe_timeout_ms = 150;
  f.a_scripts[A_COMMANDS] = a;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, ALICE, "two");
  run_turns_until(&f, f.host.n_published == 2);
  finish(&f);
}

static void test_waiting_within_limits(void **state) {
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT("SPUBLISH*"),
                                SEND("-TRYAGAIN no\r\n"), END};
  fixture f;
  int n = 0;

  (void)state;
  init(&f);
  f.options.max_queue = 2000;
  f.a_scripts[A_COMMANDS] = a;
  run_linked(&f);
  publish(&f, ALICE, "one");
  run_turns_until(&f, fake_redis_is_done(&f.a, A_COMMANDS));
  turn(&f);
  while (transport_host_publish(&f.host, ALICE, "x", NULL) == 0)
    assert_true(++n < 100);
  assert_int_equal(transport_host_publish(&f.host, ALICE, "x", NULL),
                   CP_E_FULL);
  assert_true(n > 1);
  /* Other slots have nothing to do with it. */
  assert_int_equal(transport_host_publish(&f.host, FOO, "x", NULL), 0);
  finish(&f);
}

/* Subscriptions. ---------------------------------------------------------- */

static void test_moved_subscriptions(void **state) {
  fixture f;

  (void)state;
  init(&f);
  {
    const fake_step a[] = {SUBSCRIBER_LINKED,
                           EXPECT("SSUBSCRIBE " ALICE " y{alice}"),
                           EXPECT("SUNSUBSCRIBE y{alice}"),
                           say(f.moved),
                           say(f.moved),
                           END};
    static const fake_step b[] = {
        SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE " ALICE " y{alice}"),
        EXPECT("SUNSUBSCRIBE y{alice}"),
        SEND(SSUBSCRIBED SSUBSCRIBED SUNSUBSCRIBED("8", "y{alice}")), END};
    f.a_scripts[A_SUBSCRIBER] = a;
    f.b_scripts[B_SUBSCRIBER] = b;
    run_linked(&f);
    subscribe(&f, ALICE, "alice");
    subscribe(&f, "y{alice}", "y");
    unsubscribe(&f, "y{alice}", "left");
    run_until_heard(&f, "+alice +y +left ");
    finish(&f);
  }
}

/* Redis takes the slot away: the host hears of what it wants, not of what it
 * left, and of nothing twice. */
static void test_sunsubscribe(void **state) {
  static const fake_step a[] = {
      SUBSCRIBER_LINKED,
      EXPECT("SSUBSCRIBE " ALICE " y{alice} z{alice}"),
      EXPECT("SUNSUBSCRIBE z{alice}"),
      SEND(SSUBSCRIBED SSUBSCRIBED SSUBSCRIBED SUNSUBSCRIBED("8", "z{alice}")),
      EXPECT("SSUBSCRIBE " ALICE),
      SEND(SUNSUBSCRIBED("8", "y{alice}") SUNSUBSCRIBED("8", "z{alice}")),
      SEND(SUNSUBSCRIBED("8", "y{alice}") SSUBSCRIBED),
      END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[A_SUBSCRIBER] = a;
  run_linked(&f);
  subscribe(&f, ALICE, "alice");
  subscribe(&f, "y{alice}", "y");
  subscribe(&f, "z{alice}", "z");
  unsubscribe(&f, "z{alice}", "z");
  run_turns_until(&f, f.host.n_confirmed == 4);
  transport_host_forget(&f.host);
  subscribe(&f, ALICE, "again");
  run_until_heard(&f, "+again ");
  assert_string_equal(f.host.heard, "changed lost:y changed +again ");
  /* And the slots are asked for at once, not in seconds. */
  run_turns_until(&f, fake_redis_is_done(&f.a, SCOUT));
  finish(&f);
}

/* An owner that turns replica takes them away, too, but sends nobody elsewhere;
 * and whoever is asked may not have heard yet. */
static void test_news_travels_slowly(void **state) {
  static const fake_step b[] = {SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE " FOO),
                                SEND(SSUBSCRIBED SUNSUBSCRIBED("10", FOO)),
                                END};
  char slots[256];
  fixture f;

  (void)state;
  init(&f);
  snprintf(slots, sizeof slots,
           "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
           f.a.port);
  {
    const fake_step scout[] = {SCOUT_GREETING, EXPECT("CLUSTER SLOTS"),
                               say(f.slots),   EXPECT("CLUSTER SLOTS"),
                               say(f.slots),   EXPECT("CLUSTER SLOTS"),
                               say(f.slots),   EXPECT("CLUSTER SLOTS"),
                               say(slots),     END};
    f.a_scripts[SCOUT] = scout;
    f.b_scripts[B_SUBSCRIBER] = b;
    run_linked(&f);
    subscribe(&f, FOO, "foo");
    run_until_heard(&f, "+foo changed lost:foo ");
    run_turns_until(&f, f.b.conns[B_SUBSCRIBER]->closed);
    assert_int_equal(f.host.n_unlinked, 0);
    finish(&f);
  }
}

/* It passes for the answer to an UNSUBSCRIBE, whose own comes when another one
 * is awaited. */
static void test_sunsubscribe_crosses_unsubscribe(void **state) {
  fixture f;

  (void)state;
  init(&f);
  {
    const fake_step a[] = {SUBSCRIBER_LINKED,
                           EXPECT("SSUBSCRIBE " ALICE),
                           SEND(SSUBSCRIBED),
                           EXPECT("SUNSUBSCRIBE " ALICE),
                           EXPECT("SSUBSCRIBE b"),
                           SEND(SUNSUBSCRIBED("12", ALICE)),
                           say(f.moved),
                           SEND(SSUBSCRIBED),
                           EXPECT("SUNSUBSCRIBE b"),
                           SEND(SUNSUBSCRIBED("1", "b")),
                           say(f.moved),
                           END};
    f.a_scripts[A_SUBSCRIBER] = a;
    run_linked(&f);
    subscribe(&f, ALICE, "alice");
    run_until_heard(&f, "+alice ");
    unsubscribe(&f, ALICE, "left");
    subscribe(&f, "b", "b");
    run_until_heard(&f, "+left +b ");
    unsubscribe(&f, "b", "b");
    run_until_heard(&f, "+b +b ");
    run_turns_until(&f, fake_redis_is_done(&f.a, A_SUBSCRIBER));
    turn(&f);
    assert_int_equal(f.host.n_unlinked, 0);
    finish(&f);
  }
}

static void test_rights(void **state) {
  static const fake_step a[] = {SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE*"),
                                SEND("-NOPERM no\r\n"), END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[A_SUBSCRIBER] = a;
  run_linked(&f);
  subscribe(&f, ALICE, "alice");
  subscribe(&f, "y{alice}", "y");
  run_until_heard(&f, "-alice:CP_E_REDIS -y:CP_E_REDIS ");
  assert_int_equal(f.host.n_warnings, 1);
  finish(&f);
}

/* Masters that go. -------------------------------------------------------- */

static void test_one_master_is_lost(void **state) {
  static const fake_step b[] = {SUBSCRIBER_LINKED,
                                EXPECT("SSUBSCRIBE " FOO),
                                SEND(SSUBSCRIBED),
                                EXPECT("SSUBSCRIBE x{foo}"),
                                CLOSE,
                                END};
  static const fake_step refuses[] = {EXPECT("CLIENT*"), CLOSE, END};
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT("SPUBLISH " ALICE "*"),
                                SEND(":1\r\n"), END};
  fixture f;

  (void)state;
  init(&f);
  f.b_scripts[B_SUBSCRIBER] = b;
  f.b_scripts[2] = f.b_scripts[3] = refuses;
  f.a_scripts[A_COMMANDS] = a;
  run_linked(&f);
  subscribe(&f, FOO, "foo");
  run_until_heard(&f, "+foo ");
  transport_host_forget(&f.host);
  publish(&f, FOO, "unanswered");
  subscribe(&f, "x{foo}", "x");
  run_until_heard(&f, "late ");
  assert_string_equal(f.host.heard,
                      "-x:CP_E_DOWN unanswered!CP_E_CLOSED lost:foo late ");
  /* At once, without a look at the others. */
  assert_int_equal(transport_host_publish(&f.host, FOO, "x", "x"), CP_E_DOWN);
  subscribe(&f, FOO, "foo");
  assert_true(transport_host_heard(&f.host, "late -foo:CP_E_DOWN "));
  publish(&f, ALICE, "alice");
  run_until_heard(&f, "alice=1 ");
  run_until_heard(&f, "good ");
  assert_true(transport_host_heard(&f.host, "changed "));
  subscribe(&f, FOO, "again");
  assert_int_equal(f.host.n_unlinked, 0);
  finish(&f);
}

static void test_all_masters_are_lost(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.backoff_min_ms = f.options.backoff_max_ms = 1;
  run_linked(&f);
  subscribe(&f, FOO, "foo");
  publish(&f, ALICE, "alice");
  turn(&f);
  fake_redis_hang_up(&f.a, A_COMMANDS);
  fake_redis_hang_up(&f.b, B_COMMANDS);
  run_until_heard(&f, "unlinked ");
  assert_true(transport_host_heard(&f.host, "alice!CP_E_CLOSED "));
  assert_true(transport_host_heard(&f.host, "-foo:CP_E_DOWN "));
  run_until_heard(&f, "linked:1 ");
  finish(&f);
}

/* The slot of a probe's channel moves: another channel is chosen, and nothing
 * breaks. */
static void test_probe_moves(void **state) {
  static const fake_step a_sub[] = {
      SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE cp:n:{0123456789abcdef.*"),
      SEND(SSUBSCRIBED), END};
  char channel[64], moved[64];
  fixture f;
  int k = 0;

  (void)state;
  init(&f);
  do
    snprintf(channel, sizeof channel, "cp:n:{0123456789abcdef.%d}", k++);
  while (cp__slot_of(cp_str(channel)) >= 8192);
  snprintf(moved, sizeof moved, "-MOVED %d 127.0.0.1:%d\r\n",
           cp__slot_of(cp_str(channel)), f.b.port);
  {
    const fake_step a[] = {GREETING,          EXPECT("SPUBLISH cp:n:*"),
                           EXPECT("ROLE"),    say(moved),
                           SEND(FAKE_MASTER), END};
    f.a_scripts[A_COMMANDS] = a;
    f.a_scripts[A_SUBSCRIBER] = a_sub;
    run_linked(&f);
    run_turns_until(&f, fake_redis_is_done(&f.a, A_SUBSCRIBER));
    turn(&f);
    assert_int_equal(f.host.n_unlinked, 0);
    assert_false(f.host.late);
    finish(&f);
  }
}

/* The second answer to the scout gives all slots to A. */
static void test_master_without_slots(void **state) {
  static const fake_step b[] = {SUBSCRIBER_LINKED, EXPECT("SSUBSCRIBE " FOO),
                                SEND(SSUBSCRIBED), END};
  fixture f;
  char slots[256];

  (void)state;
  init(&f);
  snprintf(slots, sizeof slots,
           "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
           f.a.port);
  f.options.probe_interval_ms = 100;
  f.scout[SECOND_ANSWER] = say(slots);
  f.b_scripts[B_SUBSCRIBER] = b;
  run_linked(&f);
  subscribe(&f, FOO, "foo");
  run_until_heard(&f, "+foo ");
  run_until_heard(&f, "lost:foo ");
  run_turns_until(&f, f.b.conns[B_SUBSCRIBER]->closed);
  assert_int_equal(f.host.n_unlinked, 0);
  finish(&f);
}

/* Closing. ---------------------------------------------------------------- */

static int create(transport_host *host, const char *url) {
  return cp__transport_redis_create(&host->transport, url, NULL,
                                    cp_str(NODE_CHANNEL), 1, &host->log,
                                    &host->memory.alloc);
}

static void test_close_without_start(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  assert_int_equal(create(&host, "redis+cluster://host,other"), 0);
  transport_host_close(&host, 1000);
  assert_string_equal(host.heard, "");
  transport_host_finish(&host);
}

static void test_needs_a_node_channel(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  assert_int_equal(
      cp__transport_redis_create(&host.transport, "redis+cluster://host", NULL,
                                 cp_str(""), 1, &host.log, &host.memory.alloc),
      0);
  assert_int_equal(host.transport->ops->start(host.transport, &host.host),
                   CP_E_INVALID);
  transport_host_finish(&host);
}

static void test_create_without_memory(void **state) {
  transport_host host;
  size_t n = 0;

  (void)state;
  do {
    int rc;
    transport_host_init(&host);
    host.memory.fail_at = ++n;
    rc = create(&host, "redis+cluster://:pw@host,other");
    assert_int_equal(rc, host.memory.failed ? CP_E_NOMEM : 0);
    transport_host_finish(&host);
  } while (host.memory.failed);
}

/* After every number of turns, from the start through a lost master to its
 * second link. */
static void test_close_after_every_turn(void **state) {
  static const fake_step b[] = {COMMANDS_LINKED, CLOSE, END};
  bool good_again;
  int n_turns = 0;

  (void)state;
  do {
    fixture f;
    int i;

    init(&f);
    f.b_scripts[B_COMMANDS] = b;
    transport_host_start(&f.host, f.url, &f.options);
    for (i = 0; i < n_turns; i++)
      turn(&f);
    good_again = transport_host_heard(&f.host, "good ");
    transport_host_forget(&f.host);
    transport_host_close(&f.host, n_turns % 2 == 0 ? 0 : RUN_DEADLINE_MS);
    assert_string_equal(f.host.heard, "");
    stop_servers(&f);
    transport_host_finish(&f.host);
    n_turns++;
  } while (!good_again);
}

static void test_close_awaits_answers(void **state) {
  static const fake_step a[] = {COMMANDS_LINKED, EXPECT("SPUBLISH*"),
                                EXPECT("SPUBLISH*"), SEND("-TRYAGAIN no\r\n"),
                                END};
  fixture f;

  (void)state;
  init(&f);
  f.a_scripts[A_COMMANDS] = a;
  run_linked(&f);
  publish(&f, ALICE, "one");
  publish(&f, "b", "two");
  transport_host_begin_close(&f.host, RUN_DEADLINE_MS);
  assert_int_equal(transport_host_publish(&f.host, ALICE, "x", "p"), CP_E_DOWN);
  run_turns_until(&f, fake_redis_is_done(&f.a, A_COMMANDS));
  assert_false(f.host.closed);
  fake_redis_send(&f.a, A_COMMANDS, ":2\r\n", 4); /* two */
  run_until(&f.host.loop, transport_host_heard(&f.host, "two=2 "));
  /* one is sent again */
  run_turns_until(&f, f.a.conns[A_COMMANDS]->n_commands >= 8);
  fake_redis_send(&f.a, A_COMMANDS, ":1\r\n", 4);
  run_turns_until(&f, transport_host_heard(&f.host, "one=1 "));
  run_until(&f.host.loop, f.host.closed);
  assert_string_equal(f.host.heard, "two=2 one=1 ");
  finish(&f);
}

static void test_grace_ends(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_linked(&f);
  publish(&f, ALICE, "one");
  subscribe(&f, FOO, "foo");
  transport_host_close(&f.host, 30);
  assert_true(transport_host_heard(&f.host, "one!CP_E_CLOSED "));
  assert_true(transport_host_heard(&f.host, "-foo:CP_E_CANCELED "));
  finish(&f);
}

/* Whatever allocation fails, it is linked in the end, and nothing is left. */
static void test_no_memory(void **state) {
  bool failed;
  size_t n = 0;

  (void)state;
  do {
    fixture f;
    int rc;

    init(&f);
    f.options.probe_interval_ms = 20;
    transport_host_start(&f.host, f.url, &f.options);
    f.host.memory.fail_at = f.host.memory.n_calls + ++n;
    run_turns_until(&f, f.host.linked || f.host.n_unlinked > 0);
    rc = f.host.linked ? transport_host_subscribe(&f.host, FOO, "foo")
                       : CP_E_DOWN;
    assert_true(rc == 0 || rc == CP_E_NOMEM || rc == CP_E_DOWN);
    rc = transport_host_publish(&f.host, ALICE, "alice", "alice");
    assert_true(rc == 0 || rc == CP_E_NOMEM || rc == CP_E_DOWN);
    turn(&f);
    failed = f.host.memory.failed;
    transport_host_close(&f.host, 0);
    stop_servers(&f);
    transport_host_finish(&f.host);
  } while (failed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_links_to_every_master),
      cmocka_unit_test(test_no_cluster),
      cmocka_unit_test(test_scout_is_not_answered),
      cmocka_unit_test(test_next_host),
      cmocka_unit_test(test_missing_slots),
      cmocka_unit_test(test_publish_only),
      cmocka_unit_test(test_one_slot_a_command),
      cmocka_unit_test(test_publish_at_the_owner),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_moved_publishes_keep_their_order),
      cmocka_unit_test(test_ask),
      cmocka_unit_test(test_later),
      cmocka_unit_test(test_patience_ends),
      cmocka_unit_test(test_waiting_within_limits),
      cmocka_unit_test(test_moved_subscriptions),
      cmocka_unit_test(test_sunsubscribe),
      cmocka_unit_test(test_news_travels_slowly),
      cmocka_unit_test(test_sunsubscribe_crosses_unsubscribe),
      cmocka_unit_test(test_rights),
      cmocka_unit_test(test_one_master_is_lost),
      cmocka_unit_test(test_all_masters_are_lost),
      cmocka_unit_test(test_probe_moves),
      cmocka_unit_test(test_master_without_slots),
      cmocka_unit_test(test_close_without_start),
      cmocka_unit_test(test_needs_a_node_channel),
      cmocka_unit_test(test_create_without_memory),
      cmocka_unit_test(test_close_after_every_turn),
      cmocka_unit_test(test_close_awaits_answers),
      cmocka_unit_test(test_grace_ends),
      cmocka_unit_test(test_no_memory),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
