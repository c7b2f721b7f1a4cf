/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The application's channels on a cluster: they are at the owner of slot 0,
 * which is A. Their link is the one that comes after A's pair. */
#include "fake_cluster.h"

enum { A_BUS = A_COMMANDS + 1, B_BUS = B_COMMANDS + 1 };

#define BUS_SUBSCRIBED \
  GREETING, EXPECT("SUBSCRIBE news"), SEND(SUBSCRIBED("4", "news", "1"))

typedef struct channels_fixture {
  fixture f;
  transport_host bus;
} channels_fixture;

static void open_bus(channels_fixture *c) {
  cp_transport *transport = c->f.host.transport;

  transport_host_init(&c->bus);
  c->bus.host.loop = &c->f.host.loop.loop;
  c->bus.transport = transport->ops->channels(transport);
  assert_non_null(c->bus.transport);
  assert_int_equal(c->bus.transport->ops->start(c->bus.transport, &c->bus.host),
                   0);
}

static void close_bus(channels_fixture *c) {
  c->bus.transport->ops->close(c->bus.transport, &c->bus.host, 0);
}

static void finish_both(channels_fixture *c) {
  if (c->f.host.transport != NULL)
    transport_host_begin_close(&c->f.host, 0);
  if (c->bus.transport != NULL)
    close_bus(c);
  run_until(&c->f.host.loop, c->f.host.closed && c->bus.closed);
  transport_host_finish(&c->bus);
  finish(&c->f);
}

/* Subscribe to "news" as soon as there is a link. */
static void subscribe_when_linked(channels_fixture *c) {
  run_turns_until(&c->f, c->bus.linked);
  transport_host_forget(&c->bus);
  assert_int_equal(transport_host_subscribe(&c->bus, "cnews", "news"), 0);
  transport_host_flush(&c->bus);
  run_turns_until(&c->f, transport_host_heard(&c->bus, "+news "));
}

static int publish_plain(channels_fixture *c, const char *text) {
  cp_transport *transport = c->f.host.transport;
  const cp_bytes body = cp_str(text);

  return transport->ops->publish_plain(transport, cp_str("news"), &body, 1,
                                       (void *)text);
}

static void test_both_ways_at_one_master(void **state) {
  static const fake_step bus[] = {
      BUS_SUBSCRIBED, SEND(MESSAGE("4", "news", "5", "hello")), END};
  static const fake_step commands[] = {
      COMMANDS_LINKED, EXPECT("PUBLISH news one"), EXPECT("PUBLISH news two"),
      SEND(":3\r\n:0\r\n"), END};
  channels_fixture c;

  (void)state;
  init(&c.f);
  c.f.a_scripts[A_BUS] = bus;
  c.f.a_scripts[A_COMMANDS] = commands;
  run_linked(&c.f);
  open_bus(&c);
  subscribe_when_linked(&c);
  run_turns_until(&c.f, transport_host_heard(&c.bus, "<news|hello> "));
  assert_int_equal(publish_plain(&c, "one"), 0);
  assert_int_equal(publish_plain(&c, "two"), 0);
  run_until_heard(&c.f, "one=3 two=0 ");
  finish_both(&c);
}

/* The bus was opened before there was a master. */
static void test_opened_too_early(void **state) {
  static const fake_step bus[] = {BUS_SUBSCRIBED, END};
  channels_fixture c;

  (void)state;
  init(&c.f);
  c.f.a_scripts[A_BUS] = bus;
  transport_host_start(&c.f.host, c.f.url, &c.f.options);
  open_bus(&c);
  assert_int_equal(publish_plain(&c, "one"), CP_E_DOWN);
  subscribe_when_linked(&c);
  finish_both(&c);
}

/* All slots go from A to B, and the channels with them. */
static void test_follows_the_slot(void **state) {
  static const fake_step a[] = {BUS_SUBSCRIBED, END},
                         b[] = {BUS_SUBSCRIBED, END};
  static const fake_step b_commands[] = {
      COMMANDS_LINKED, EXPECT("PUBLISH news one"), SEND(":1\r\n"), END};
  channels_fixture c;
  char slots[256];

  (void)state;
  init(&c.f);
  snprintf(slots, sizeof slots,
           "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n",
           c.f.b.port);
  c.f.options.probe_interval_ms = 100;
  c.f.scout[SECOND_ANSWER] = say(slots);
  c.f.a_scripts[A_BUS] = a;
  c.f.b_scripts[B_COMMANDS] = b_commands;
  c.f.b_scripts[B_BUS] = b;
  run_linked(&c.f);
  open_bus(&c);
  subscribe_when_linked(&c);
  run_turns_until(&c.f, transport_host_heard(&c.bus, "unlinked "));
  subscribe_when_linked(&c);
  assert_true(c.f.a.conns[A_BUS]->closed);
  assert_int_equal(publish_plain(&c, "one"), 0);
  run_until_heard(&c.f, "one=1 ");
  finish_both(&c);
}

/* What was given to it and not answered may have been heard; nothing waits. */
static void test_its_master_is_lost(void **state) {
  static const fake_step bus[] = {BUS_SUBSCRIBED, END};
  static const fake_step refuses[] = {EXPECT("CLIENT*"), CLOSE, END};
  static const fake_step commands[] = {COMMANDS_LINKED,
                                       EXPECT("PUBLISH news one"), CLOSE, END};
  channels_fixture c;
  size_t i;

  (void)state;
  init(&c.f);
  c.f.host.host.wait_ms = LONG_MS;
  c.f.host.host.wait_bytes = 100000;
  c.f.a_scripts[A_COMMANDS] = commands;
  c.f.a_scripts[A_BUS] = bus;
  for (i = A_BUS + 1; i < LEN(c.f.a_scripts); i++)
    c.f.a_scripts[i] = refuses;
  run_linked(&c.f);
  open_bus(&c);
  subscribe_when_linked(&c);
  assert_int_equal(publish_plain(&c, "one"), 0);
  run_until_heard(&c.f, "one!CP_E_CLOSED ");
  run_turns_until(&c.f, transport_host_heard(&c.bus, "unlinked "));
  run_until_heard(&c.f, "late ");
  assert_int_equal(publish_plain(&c, "two"), CP_E_DOWN);
  finish_both(&c);
}

static void test_no_memory(void **state) {
  channels_fixture c;
  cp_transport *transport;

  (void)state;
  init(&c.f);
  run_linked(&c.f);
  transport = c.f.host.transport;
  c.f.host.memory.fail_at = c.f.host.memory.n_calls + 1;
  assert_null(transport->ops->channels(transport));
  c.f.host.memory.fail_at = c.f.host.memory.n_calls + 1;
  assert_int_equal(publish_plain(&c, "one"), CP_E_NOMEM);
  finish(&c.f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_ways_at_one_master),
      cmocka_unit_test(test_opened_too_early),
      cmocka_unit_test(test_follows_the_slot),
      cmocka_unit_test(test_its_master_is_lost),
      cmocka_unit_test(test_no_memory),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
