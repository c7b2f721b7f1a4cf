/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Groups: who is in, what reaches them, and when the channel is subscribed. */

#include "observed_node.h"

#include "envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b, c;
  cp_conn *conn_a, *conn_b;
  observed_send send;
  int rc; /* of what a hook tried */
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  observed_node_init(&f->node);
  f->node.options.leave_delay_ms = 20;
  f->node.data = f;
  *state = f;
  return 0;
}

static void connect_two(fixture *f) {
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  f->conn_a = f->node.conn;
  observed_node_connect(&f->node, &f->b, "bob");
  f->conn_b = f->node.conn;
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  fake_transport_forget(&f->node.fake);
}

static bool asked(const fixture *f, const char *words) {
  return strcmp(f->node.fake.asked, words) == 0;
}

static int join(cp_conn *conn, const char *group) {
  return cp_group_join(conn, cp_str(group));
}

static int leave(cp_conn *conn, const char *group) {
  return cp_group_leave(conn, cp_str(group));
}

static int send_to_group(fixture *f, const char *group, const char *text) {
  observed_send_init(&f->send);
  return cp_send_to_group(f->node.server, cp_str(group), CP_TEXT, cp_str(text),
                          &f->send.options);
}

static void assert_result(fixture *f, cp_state state, uint32_t subscribers) {
  node_await(&f->node, f->send.n_calls > 0);
  assert_int_equal(f->send.n_calls, 1);
  assert_int_equal(f->send.result.state, state);
  assert_int_equal(f->send.result.subscribers, subscribers);
}

static uint32_t say(fixture *f, const char *channel, const char *text) {
  return fake_transport_say(&f->node.fake, channel, cp_str(text));
}

/* Another node puts a user into a group, or takes it out. */
static uint32_t say_order(fixture *f, const char *channel, cp__kind kind,
                          const char *group) {
  const cp__envelope envelope = {.kind = kind, .instance = 5, .sequence = 0};
  uint8_t payload[512];
  size_t head = cp__envelope_write_head(payload, &envelope);

  memcpy(payload + head, group, strlen(group));
  return fake_transport_say(&f->node.fake, channel,
                            cp_bytes_of(payload, head + strlen(group)));
}

static cp_stats stats_of(const fixture *f) {
  cp_stats stats = {.size = sizeof stats};

  cp_server_stats(f->node.server, &stats);
  return stats;
}

static void await_asked(fixture *f, const char *words) {
  node_await(&f->node, asked(f, words));
}

/* Joining and leaving. */

static void test_names(void **state) {
  fixture *f = *state;
  char name[257];

  connect_two(f);
  memset(name, 'g', sizeof name);
  assert_int_equal(join(f->conn_a, ""), CP_E_INVALID);
  assert_int_equal(join(f->conn_a, "}x"), CP_E_INVALID);
  assert_int_equal(leave(f->conn_a, ""), CP_E_INVALID);
  assert_int_equal(cp_group_join(f->conn_a, cp_bytes_of(name, 256)),
                   CP_E_INVALID);
  assert_int_equal(send_to_group(f, "", "x"), CP_E_INVALID);
  assert_int_equal(send_to_group(f, "}", "x"), CP_E_INVALID);
  assert_int_equal(cp_group_join(f->conn_a, cp_bytes_of(name, 255)), 0);
  assert_int_equal(cp_group_leave(f->conn_a, cp_bytes_of(name, 255)), 0);
}

static void test_channel_comes_and_goes(void **state) {
  fixture *f = *state;

  connect_two(f);
  assert_int_equal(join(f->conn_a, "room"), 0);
  assert_int_equal(join(f->conn_a, "room"), 0);
  assert_int_equal(join(f->conn_b, "room"), 0);
  await_asked(f, "+cp:g:{room} ");
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 2);
  assert_int_equal(leave(f->conn_a, "room"), 0);
  assert_int_equal(leave(f->conn_a, "room"), CP_E_NOTFOUND);
  assert_int_equal(leave(f->conn_a, "other"), CP_E_NOTFOUND);
  assert_int_equal(say(f, "cp:g:{room}", "you"), 1);
  assert_int_equal(leave(f->conn_b, "room"), 0);
  assert_int_equal(say(f, "cp:g:{room}", "gone"), 0);
  await_asked(f, "+cp:g:{room} -cp:g:{room} ");
  fake_transport_confirm_all(&f->node.fake);
  node_await(&f->node, f->b.n_messages == 2);
  assert_string_equal(f->a.messages, "hi|");
  assert_string_equal(f->b.messages, "hi|you|");
}

static void test_back_within_the_delay(void **state) {
  fixture *f = *state;
  int i;

  f->node.options.leave_delay_ms = 3600000;
  connect_two(f);
  join(f->conn_a, "room");
  await_asked(f, "+cp:g:{room} ");
  for (i = 0; i < 3; i++) {
    leave(f->conn_a, "room");
    observed_node_poll(&f->node);
    join(f->conn_a, "room");
    observed_node_poll(&f->node);
  }
  assert_true(asked(f, "+cp:g:{room} "));
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 1);
}

/* Back while the unsubscribe is on its way. */
static void test_back_after_the_delay(void **state) {
  fixture *f = *state;

  connect_two(f);
  join(f->conn_a, "room");
  await_asked(f, "+cp:g:{room} ");
  fake_transport_confirm_all(&f->node.fake);
  leave(f->conn_a, "room");
  await_asked(f, "+cp:g:{room} -cp:g:{room} ");
  join(f->conn_b, "room"); /* asked for in the turn; till then it must stay */
  fake_transport_confirm_all(&f->node.fake);
  await_asked(f, "+cp:g:{room} -cp:g:{room} +cp:g:{room} ");
  fake_transport_confirm_all(&f->node.fake);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 1);
}

static void test_in_and_out_in_one_turn(void **state) {
  fixture *f = *state;

  connect_two(f);
  join(f->conn_a, "room");
  leave(f->conn_a, "room");
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 0);
  join(f->conn_b, "end");
  await_asked(f, "+cp:g:{end} ");
}

static void test_closing_leaves_all(void **state) {
  fixture *f = *state;

  connect_two(f);
  join(f->conn_a, "one");
  join(f->conn_a, "two");
  join(f->conn_b, "two");
  await_asked(f, "+cp:g:{one} +cp:g:{two} ");
  simple_client_hang_up(&f->a);
  node_await(&f->node, observed_node_heard_word(&f->node, "close:alice:1006"));
  assert_int_equal(say(f, "cp:g:{one}", "x"), 0);
  assert_int_equal(say(f, "cp:g:{two}", "x"), 1);
  node_await(&f->node, strstr(f->node.fake.asked, "-cp:g:{one} ") != NULL);
  assert_null(strstr(f->node.fake.asked, "-cp:g:{two} "));
}

static void test_limit(void **state) {
  fixture *f = *state;

  f->node.options.max_groups_per_conn = 2;
  connect_two(f);
  assert_int_equal(join(f->conn_a, "one"), 0);
  assert_int_equal(join(f->conn_a, "two"), 0);
  assert_int_equal(join(f->conn_a, "three"), CP_E_FULL);
  assert_int_equal(join(f->conn_a, "two"), 0);
  assert_int_equal(join(f->conn_b, "three"), 0);
  assert_int_equal(leave(f->conn_a, "one"), 0);
  assert_int_equal(join(f->conn_a, "three"), 0);
  assert_int_equal(say(f, "cp:g:{three}", "x"), 2);
}

static void test_no_limit(void **state) {
  fixture *f = *state;
  char name[16];
  int i;

  f->node.options.max_groups_per_conn = 0;
  connect_two(f);
  for (i = 0; i < 1000; i++) {
    snprintf(name, sizeof name, "g%d", i);
    assert_int_equal(join(f->conn_a, name), 0);
  }
  assert_int_equal(say(f, "cp:g:{g500}", "x"), 1);
}

static void join_in_hook(observed_node *node, const char *hook, cp_conn *conn) {
  fixture *f = node->data;

  if (strcmp(hook, "open") == 0)
    f->rc = cp_group_join(conn, cp_str("room"));
  else if (strcmp(hook, "close") == 0)
    f->rc = cp_group_join(conn, cp_str("late"));
}

/* The hook runs behind the part of the turn that subscribes. */
static void test_join_in_hooks(void **state) {
  fixture *f = *state;

  f->node.also = join_in_hook;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  assert_int_equal(f->rc, 0);
  node_await(&f->node, strstr(f->node.fake.asked, "+cp:g:{room} ") != NULL);
  assert_int_equal(say(f, "cp:g:{room}", "x"), 1);
  simple_client_hang_up(&f->a);
  node_await(&f->node, observed_node_heard_word(&f->node, "close:alice:1006"));
  assert_int_equal(f->rc, CP_E_CLOSED);
}

static void test_again_after_the_next_link(void **state) {
  fixture *f = *state;

  connect_two(f);
  join(f->conn_a, "room");
  await_asked(f, "+cp:g:{room} ");
  fake_transport_confirm_all(&f->node.fake);
  fake_transport_unlink(&f->node.fake, "break");
  fake_transport_forget(&f->node.fake);
  fake_transport_link(&f->node.fake, 0);
  node_await(&f->node, strstr(f->node.fake.asked, "+cp:g:{room} ") != NULL);
}

static void test_out_of_memory(void **state) {
  fixture *f = *state;
  size_t n_live, n;
  int rc;

  connect_two(f);
  n = 0;
  do {
    n_live = f->node.memory.n_live;
    f->node.memory.failed = false;
    f->node.memory.fail_at = f->node.memory.n_calls + ++n;
    rc = join(f->conn_a, "room");
    assert_true(rc == 0 || rc == CP_E_NOMEM);
    if (rc != 0) /* but for the tables */
      assert_true(f->node.memory.n_live <= n_live + 1);
  } while (rc != 0);
  f->node.memory.fail_at = 0;
  assert_true(n > 3);
  assert_int_equal(say(f, "cp:g:{room}", "x"), 1);
}

/* Sending. */

static void test_send(void **state) {
  fixture *f = *state;

  connect_two(f);
  assert_int_equal(send_to_group(f, "room", "hi"), 0);
  assert_true(asked(f, "cp:g:{room}<hi "));
  fake_transport_answer(&f->node.fake, 0, 3);
  assert_result(f, CP_REACHED, 3);
  send_to_group(f, "room", "hi");
  fake_transport_answer(&f->node.fake, 0, 0);
  assert_result(f, CP_NONE, 0);
}

/* A member hears this node's sends from its join on, and each once. */
static void test_unconfirmed_is_delivered_at_once(void **state) {
  fixture *f = *state;

  connect_two(f);
  join(f->conn_a, "room");
  send_to_group(f, "room", "one");
  fake_transport_answer(&f->node.fake, 0, 0); /* before our SUBSCRIBE */
  assert_result(f, CP_REACHED, 1);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:g:{room}"), 0);
  node_await(&f->node, fake_transport_n_unconfirmed(&f->node.fake) == 1);
  fake_transport_confirm_all(&f->node.fake);
  send_to_group(f, "room", "two");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:g:{room}"), 1);
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "one|two|");
}

static void test_alone(void **state) {
  fixture *f = *state;

  f->node.options.outbox_bytes = 0; /* nothing waits for a link */
  observed_node_start(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  join(f->node.conn, "room");
  send_to_group(f, "room", "hi");
  assert_result(f, CP_UNSURE, 1);
  send_to_group(f, "empty", "hi");
  assert_result(f, CP_UNSURE, 0);
  node_await(&f->node, f->a.n_messages == 1);
}

/* One encoding, whatever the number of recipients: no memory per recipient but
 * what their queues hold on to. */
static void test_fan_out_encodes_once(void **state) {
  fixture *f = *state;
  size_t n_calls;

  connect_two(f);
  join(f->conn_a, "room");
  join(f->conn_b, "room");
  say(f, "cp:g:{room}", "warm up"); /* the pool of queue entries */
  node_await(&f->node, f->a.n_messages + f->b.n_messages == 2);
  n_calls = f->node.memory.n_calls;
  say(f, "cp:g:{room}", "x");
  assert_int_equal(f->node.memory.n_calls, n_calls + 1);
  say(f, "cp:g:{nobody}", "x");
  assert_int_equal(f->node.memory.n_calls, n_calls + 1);
}

/* Users, from afar. */

static void test_order_a_user_in_and_out(void **state) {
  fixture *f = *state;

  connect_two(f);
  observed_node_connect(&f->node, &f->c, "alice");
  observed_node_poll(&f->node);
  fake_transport_forget(&f->node.fake);
  assert_int_equal(say_order(f, "cp:u:{alice}", CP__KIND_JOIN, "room"), 2);
  await_asked(f, "+cp:g:{room} ");
  assert_int_equal(say_order(f, "cp:u:{alice}", CP__KIND_JOIN, "room"), 2);
  assert_int_equal(say_order(f, "cp:u:{carol}", CP__KIND_JOIN, "room"), 0);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 2);
  assert_int_equal(say_order(f, "cp:u:{alice}", CP__KIND_LEAVE, "room"), 2);
  assert_int_equal(say_order(f, "cp:u:{alice}", CP__KIND_LEAVE, "room"), 0);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 0);
  assert_int_equal(stats_of(f).malformed, 0);
}

static void test_bad_orders(void **state) {
  fixture *f = *state;

  connect_two(f);
  assert_int_equal(say_order(f, "cp:u:{alice}", CP__KIND_JOIN, ""), 0);
  assert_int_equal(say_order(f, "cp:u:{alice}", CP__KIND_JOIN, "}"), 0);
  assert_int_equal(say_order(f, "cp:all", CP__KIND_JOIN, "room"), 0);
  assert_int_equal(say_order(f, "cp:g:{room}", CP__KIND_LEAVE, "room"), 0);
  assert_int_equal(stats_of(f).malformed, 4);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 0);
}

static int add(fixture *f, const char *group, const char *user) {
  observed_send_init(&f->send);
  f->send.options.flags = CP_RECEIPT;
  return cp_group_add_user(f->node.server, cp_str(group), cp_str(user),
                           &f->send.options);
}

static void test_add_and_remove(void **state) {
  fixture *f = *state;
  cp__envelope envelope;

  connect_two(f);
  assert_int_equal(add(f, "", "alice"), CP_E_INVALID);
  assert_int_equal(add(f, "room", ""), CP_E_INVALID);
  f->node.fake.echo_at_once = true;
  assert_int_equal(add(f, "room", "alice"), 0);
  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  assert_int_equal(envelope.kind, CP__KIND_JOIN);
  assert_int_equal(strncmp(f->node.fake.asked, "cp:u:{alice}<room ", 18), 0);
  fake_transport_answer(&f->node.fake, 0, 1);
  node_await(&f->node, strstr(f->node.fake.asked, "+cp:g:{room} ") != NULL);
  observed_node_poll(&f->node);
  assert_int_equal(f->send.n_calls, 0); /* others' messages don't come yet */
  fake_transport_confirm_all(&f->node.fake);
  assert_result(f, CP_REACHED, 1);
  assert_int_equal(f->send.result.connections, 1);
  assert_int_equal(f->send.result.partial, 0);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 1);
  /* Now it is confirmed. */
  assert_int_equal(add(f, "room", "bob"), 0);
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_result(f, CP_REACHED, 1);
  assert_int_equal(f->send.result.connections, 1);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 2);
  cp_group_remove_user(f->node.server, cp_str("room"), cp_str("alice"), NULL);
  assert_int_equal(say(f, "cp:g:{room}", "hi"), 1);
}

/* Nobody stays in the group for so long. */
static void test_add_and_close(void **state) {
  fixture *f = *state;

  connect_two(f);
  f->node.fake.echo_at_once = true;
  assert_int_equal(add(f, "room", "alice"), 0);
  fake_transport_answer(&f->node.fake, 0, 1);
  node_await(&f->node, strstr(f->node.fake.asked, "+cp:g:{room} ") != NULL);
  simple_client_hang_up(&f->a);
  node_await(&f->node, strstr(f->node.fake.asked, "-cp:g:{room} ") != NULL);
  fake_transport_confirm_all(&f->node.fake);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_names),
      TEST(test_channel_comes_and_goes),
      TEST(test_back_within_the_delay),
      TEST(test_back_after_the_delay),
      TEST(test_in_and_out_in_one_turn),
      TEST(test_closing_leaves_all),
      TEST(test_limit),
      TEST(test_no_limit),
      TEST(test_join_in_hooks),
      TEST(test_again_after_the_next_link),
      TEST(test_out_of_memory),
      TEST(test_send),
      TEST(test_unconfirmed_is_delivered_at_once),
      TEST(test_alone),
      TEST(test_fan_out_encodes_once),
      TEST(test_order_a_user_in_and_out),
      TEST(test_bad_orders),
      TEST(test_add_and_remove),
      TEST(test_add_and_close),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
