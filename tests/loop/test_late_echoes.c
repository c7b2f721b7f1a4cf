/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What was delivered here at once waits for Redis, by several masters for its
 * own, and comes back when whoever it was for has left, and perhaps returned.
 * On a fake transport. */

#include "observed_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b;
  observed_send send, send2;
  bool loses; /* the group's channel, while she is there */
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  observed_node_init(&f->node);
  f->node.fake.base.unordered = 1;
  f->node.options.leave_delay_ms = 1;
  observed_send_init(&f->send);
  observed_send_init(&f->send2);
  *state = f;
  return 0;
}

static void alice_comes(fixture *f, simple_client *client) {
  observed_node_connect(&f->node, client, "alice");
}

static void alice_leaves(fixture *f) {
  simple_client_hang_up(&f->a);
  run_until(&f->node.loop, strstr(f->node.fake.asked, "-cp:u:{alice}") != NULL);
}

static void lose(fixture *f, void *token) {
  const cp_transport_host *host = f->node.fake.host;

  host->on_lost(host->ctx, token, uv_now(&f->node.loop.loop));
}

static void join(fixture *f) {
  assert_int_equal(cp_group_join(f->node.conn, cp_str("room")), 0);
  observed_node_poll(&f->node);
}

static int send_to_room(fixture *f, observed_send *send, const char *text) {
  return cp_send_to_group(f->node.server, cp_str("room"), CP_TEXT, cp_str(text),
                          &send->options);
}

/* The last message comes, which is new. */
static void echo_new(fixture *f, const char *channel, simple_client *client,
                     const char *messages) {
  fake_transport_echo(&f->node.fake, channel);
  run_until(&f->node.loop, client->n_messages > 0);
  assert_string_equal(client->messages, messages);
}

static void test_a_message(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  alice_comes(f, &f->a);
  lose(f, f->node.fake.last_subscribed);
  observed_send_to_user(&f->node, &f->send, "alice", "1");
  node_await(&f->node, f->a.n_messages == 1);
  alice_leaves(f);
  alice_comes(f, &f->b);
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  observed_send_to_user(&f->node, &f->send2, "alice", "2");
  echo_new(f, "cp:u:{alice}", &f->b, "2|");
}

/* Nor does an order that waits meet who came behind it. */
static void test_a_kick(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  alice_comes(f, &f->a);
  lose(f, f->node.fake.last_subscribed);
  assert_int_equal(cp_disconnect_user(f->node.server, cp_str("alice"), 4000,
                                      cp_str(""), NULL, 0, NULL),
                   0);
  node_await(&f->node, f->a.close_code == 4000);
  alice_leaves(f);
  alice_comes(f, &f->b);
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  observed_send_to_user(&f->node, &f->send, "alice", "1");
  echo_new(f, "cp:u:{alice}", &f->b, "1|");
  assert_int_equal(f->b.close_code, 0);
}

static void test_a_group(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  alice_comes(f, &f->a);
  join(f);
  lose(f, f->node.fake.last_subscribed);
  send_to_room(f, &f->send, "1");
  node_await(&f->node, f->a.n_messages == 1);
  simple_client_hang_up(&f->a);
  run_until(&f->node.loop, strstr(f->node.fake.asked, "-cp:g:{room}") != NULL);
  alice_comes(f, &f->b);
  join(f);
  fake_transport_echo(&f->node.fake, "cp:g:{room}");
  send_to_room(f, &f->send2, "2");
  echo_new(f, "cp:g:{room}", &f->b, "2|");
}

static void leave_room(fixture *f) {
  assert_int_equal(cp_group_leave(f->node.conn, cp_str("room")), 0);
}

/* By one Redis: it was delivered while that was away, and is published when
 * nobody is in the group. */
static void test_an_empty_group(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 0;
  f->node.options.leave_delay_ms = 3600000;
  f->node.options.settle_ms = 0;
  observed_node_start_linked(&f->node);
  alice_comes(f, &f->a);
  join(f);
  fake_transport_unlink(&f->node.fake, "break");
  send_to_room(f, &f->send, "1");
  node_await(&f->node, f->a.n_messages == 1);
  leave_room(f);
  fake_transport_forget(&f->node.fake);
  fake_transport_link(&f->node.fake, 0);
  node_await(&f->node, strstr(f->node.fake.asked, "cp:g:{room}<1") != NULL);
  join(f);
  fake_transport_echo(&f->node.fake, "cp:g:{room}");
  send_to_room(f, &f->send2, "2");
  fake_transport_echo(&f->node.fake, "cp:g:{room}");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "1|2|");
}

/* Likewise, sent before the channel of the group was confirmed, and its echo
 * comes when another group has its name. */
static void test_a_group_again(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 0;
  observed_node_start_linked(&f->node);
  alice_comes(f, &f->a);
  assert_int_equal(cp_group_join(f->node.conn, cp_str("room")), 0);
  send_to_room(f, &f->send, "1");
  node_await(&f->node, f->a.n_messages == 1);
  leave_room(f);
  run_until(&f->node.loop, strstr(f->node.fake.asked, "-cp:g:{room}") != NULL);
  fake_transport_confirm_all(&f->node.fake);
  join(f);
  fake_transport_confirm_all(&f->node.fake);
  fake_transport_echo(&f->node.fake, "cp:g:{room}");
  send_to_room(f, &f->send2, "2");
  fake_transport_echo(&f->node.fake, "cp:g:{room}");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "1|2|");
}

static void visit(fixture *f) {
  fake_transport_forget(&f->node.fake);
  alice_comes(f, &f->a);
  join(f);
  if (f->loses)
    lose(f, f->node.fake.last_subscribed);
  send_to_room(f, &f->send, "1");
  fake_transport_echo(&f->node.fake, "cp:g:{room}");
  run_until(&f->node.loop, f->a.n_messages > 0);
  fake_transport_answer(&f->node.fake, 0, 1);
  node_await(&f->node, f->send.n_calls > 0);
  alice_leaves(f);
}

/* As long as a message may wait, and no longer. */
static void test_who_never_returns(void **state) {
  fixture *f = *state;
  size_t n_live;

  f->node.options.outbox_age_ms = 20;
  observed_node_start_linked(&f->node);
  visit(f);
  n_live = f->node.memory.n_live;
  memset(&f->a, 0, sizeof f->a);
  observed_send_init(&f->send);
  f->loses = true;
  visit(f);
  run_until(&f->node.loop, f->node.memory.n_live == n_live);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_a_message),     TEST(test_a_kick),
      TEST(test_a_group),       TEST(test_an_empty_group),
      TEST(test_a_group_again), TEST(test_who_never_returns),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
