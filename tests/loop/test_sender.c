/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* From a call of cp_send_* to its result, on a fake transport. Sends from many
 * threads at once: test_threads.c. */

#include "observed_node.h"

#include "envelope.h"
#include "gaps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_MANY 10000 /* more than a turn does */

typedef struct fixture {
  observed_node node;
  simple_client a, b;
  observed_send send, send2;
  size_t n_published; /* at the first result */
} fixture;

static int setup(void **state) {
  return observed_setup(state, sizeof(fixture));
}

static cp_stats stats_of(const fixture *f) {
  return observed_stats(&f->node);
}

static void assert_result(fixture *f, const observed_send *send, cp_state state,
                          int error, uint32_t subscribers) {
  node_await(&f->node, send->n_calls > 0);
  assert_int_equal(send->n_calls, 1);
  assert_int_equal(send->result.state, state);
  assert_int_equal(send->result.error, error);
  assert_int_equal(send->result.subscribers, subscribers);
}

static void send_to(fixture *f, const char *user, const char *text) {
  assert_int_equal(observed_send_to_user(&f->node, &f->send, user, text), 0);
}

static void answer(fixture *f, int status, uint32_t subscribers) {
  assert_true(fake_transport_answer(&f->node.fake, status, subscribers));
}

/* Let a client ask, and wait for the question to the transport. */
static void ask(fixture *f, simple_client *client, const char *user) {
  char target[64], word[64];

  snprintf(target, sizeof target, "/?user=%s", user);
  snprintf(word, sizeof word, "+cp:u:{%s} ", user);
  simple_client_open(client, &f->node.loop.loop, f->node.port, target, NULL);
  node_await(&f->node, strstr(f->node.fake.asked, word) != NULL);
}

/* What is refused. */

static const cp_conn_id someone = {1, 1};

static int send_user_bytes(fixture *f, const void *user, size_t len) {
  observed_send_init(&f->send);
  return cp_send_to_user(f->node.server, cp_bytes_of(user, len), CP_TEXT,
                         cp_str("x"), &f->send.options);
}

static void test_bad_users(void **state) {
  fixture *f = *state;
  char user[257];

  observed_node_start_linked(&f->node);
  memset(user, 'u', sizeof user);
  assert_int_equal(send_user_bytes(f, "", 0), CP_E_INVALID);
  assert_int_equal(send_user_bytes(f, NULL, 0), CP_E_INVALID);
  assert_int_equal(send_user_bytes(f, "}", 1), CP_E_INVALID);
  assert_int_equal(send_user_bytes(f, "}x", 2), CP_E_INVALID);
  assert_int_equal(send_user_bytes(f, user, 256), CP_E_INVALID);
  assert_int_equal(f->node.fake.n_published, 0);
  assert_int_equal(send_user_bytes(f, user, 255), 0);
  assert_int_equal(send_user_bytes(f, "x}", 2), 0);
  assert_int_equal(send_user_bytes(f, "\0", 1), 0);
  assert_int_equal(f->node.fake.n_published, 3);
}

static void refused_cb(void *data, const cp_result *result) {
  (void)data;
  (void)result;
  fail();
}

static void test_bad_types_and_texts(void **state) {
  fixture *f = *state;
  cp_server *server;
  cp_bytes alice = cp_str("alice");
  cp_bytes bad = cp_str("\xc3");

  observed_node_start_linked(&f->node);
  server = f->node.server;
  assert_int_equal(cp_broadcast(server, (cp_type)0, alice, NULL), CP_E_INVALID);
  assert_int_equal(cp_broadcast(server, (cp_type)3, alice, NULL), CP_E_INVALID);
  assert_int_equal(cp_broadcast(server, CP_TEXT, bad, NULL), CP_E_UTF8);
  assert_int_equal(cp_send_to_user(server, alice, CP_TEXT, bad, NULL),
                   CP_E_UTF8);
  assert_int_equal(cp_send_to_conn(server, someone, CP_TEXT, bad, NULL),
                   CP_E_UTF8);
  assert_int_equal(f->node.fake.n_published, 0);
  assert_int_equal(cp_broadcast(server, CP_BINARY, bad, NULL), 0);
  assert_int_equal(stats_of(f).sends, 1);
}

/* Whoever forgot to initialise them, or counts on what there is not. */
static void test_bad_options(void **state) {
  cp_bytes alice = cp_str("alice");
  cp_send_options options;
  fixture *f = *state;
  cp_server *server;

  observed_node_start_linked(&f->node);
  server = f->node.server;
  cp_send_options_init(&options);
  options.cb = refused_cb;
  options.size = 0;
  assert_int_equal(cp_send_to_user(server, alice, CP_TEXT, alice, &options),
                   CP_E_INVALID);
  options.size = SIZE_MAX;
  assert_int_equal(cp_send_to_user(server, alice, CP_TEXT, alice, &options),
                   CP_E_INVALID);
  options.size = sizeof options;
  options.flags = CP_RECEIPT;
  assert_int_equal(cp_publish(server, cp_str("news"), alice, &options),
                   CP_E_INVALID);
  options.flags = 0x80;
  assert_int_equal(cp_send_to_user(server, alice, CP_TEXT, alice, &options),
                   CP_E_INVALID);
  assert_int_equal(f->node.fake.n_published, 0);
}

static void test_lengths_without_bytes(void **state) {
  cp_bytes alice = cp_str("alice");
  cp_bytes nothing = cp_bytes_of(NULL, 5);
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  assert_int_equal(
      cp_send_to_user(f->node.server, nothing, CP_TEXT, alice, NULL),
      CP_E_INVALID);
  assert_int_equal(
      cp_send_to_user(f->node.server, alice, CP_BINARY, nothing, NULL),
      CP_E_INVALID);
}

static void test_no_connection(void **state) {
  fixture *f = *state;
  cp_conn_id none = {0, 0};

  observed_node_start_linked(&f->node);
  assert_int_equal(observed_send_to_conn(&f->node, &f->send, none, "x"),
                   CP_E_INVALID);
}

static void test_too_big(void **state) {
  fixture *f = *state;
  char body[101];

  f->node.options.max_message = 100;
  observed_node_start_linked(&f->node);
  memset(body, 'x', sizeof body);
  assert_int_equal(
      cp_broadcast(f->node.server, CP_TEXT, cp_bytes_of(body, 101), NULL),
      CP_E_TOOBIG);
  assert_int_equal(
      cp_broadcast(f->node.server, CP_TEXT, cp_bytes_of(body, 100), NULL), 0);
  assert_int_equal(
      cp_broadcast(f->node.server, CP_TEXT, cp_bytes_of(NULL, 0), NULL), 0);
}

static void test_an_error_calls_nobody_back(void **state) {
  fixture *f = *state;
  int i;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  f->node.fake.fail_publish = CP_E_FULL;
  assert_int_equal(observed_send_to_user(&f->node, &f->send, "alice", "x"),
                   CP_E_FULL);
  assert_int_equal(observed_broadcast(&f->node, &f->send2, "x"), CP_E_FULL);
  for (i = 0; i < 10; i++)
    observed_node_poll(&f->node);
  assert_int_equal(f->send.n_calls + f->send2.n_calls, 0);
  assert_int_equal(f->a.n_messages, 0);
  assert_int_equal(stats_of(f).sends, 0);
}

/* Results. */

static void test_reached(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, "alice", "hello");
  assert_string_equal(f->node.fake.asked, "cp:u:{alice}<hello ");
  observed_node_poll(&f->node);
  assert_int_equal(f->send.n_calls, 0);
  answer(f, 0, 3);
  assert_int_equal(f->send.n_calls, 0); /* from the end of the turn */
  assert_result(f, &f->send, CP_REACHED, 0, 3);
}

static void test_none(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, "alice", "hello");
  answer(f, 0, 0);
  assert_result(f, &f->send, CP_NONE, 0, 0);
}

/* A receiver's gap may have begun between the call and the publish. */
static void test_unsure_if_late(void **state) {
  fixture *f = *state;
  uint64_t began;

  observed_node_start_linked(&f->node);
  send_to(f, "alice", "one");
  began = uv_now(&f->node.loop.loop);
  node_await(&f->node, uv_now(&f->node.loop.loop) - began > CP__SURE_MS);
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_result(f, &f->send, CP_UNSURE, 0, 1);
  send_to(f, "alice", "two");
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_result(f, &f->send, CP_REACHED, 0, 1);
}

static void test_answered_during_the_call(void **state) {
  fixture *f = *state;

  f->node.fake.answer_at_once = true;
  f->node.fake.subscribers = 1;
  observed_node_start_linked(&f->node);
  send_to(f, "alice", "hello");
  assert_int_equal(f->send.n_calls, 0);
  assert_result(f, &f->send, CP_REACHED, 0, 1);
}

static void test_failures(void **state) {
  static const struct {
    int status;
    cp_state state;
  } rows[] = {{CP_E_CLOSED, CP_UNKNOWN},
              {CP_E_DOWN, CP_DROPPED},
              {CP_E_REDIS, CP_DROPPED},
              {CP_E_FULL, CP_DROPPED},
              {CP_E_CANCELED, CP_CANCELED}};
  fixture *f = *state;
  size_t i;

  observed_node_start_linked(&f->node);
  for (i = 0; i < sizeof rows / sizeof *rows; i++) {
    send_to(f, "alice", "hello");
    answer(f, rows[i].status, 0);
    assert_result(f, &f->send, rows[i].state, rows[i].status, 0);
  }
  assert_int_equal(stats_of(f).publish_errors, i);
  assert_int_equal(stats_of(f).published, i);
}

static void test_without_a_callback(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  assert_int_equal(cp_broadcast(f->node.server, CP_TEXT, cp_str("hello"), NULL),
                   0);
  answer(f, CP_E_CLOSED, 0);
  observed_node_poll(&f->node);
  assert_int_equal(stats_of(f).publish_errors, 1);
  assert_int_equal(stats_of(f).sends, 1);
}

static void test_link_breaks_under_a_send(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, "alice", "hello");
  fake_transport_unlink(&f->node.fake, "break");
  assert_result(f, &f->send, CP_UNKNOWN, CP_E_CLOSED, 0);
}

/* How sure a result is. */

static void test_unsure_while_settling(void **state) {
  fixture *f = *state;

  f->node.options.settle_ms = 50;
  observed_node_start(&f->node);
  fake_transport_link(&f->node.fake, 1);
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_UP);
  send_to(f, "alice", "early");
  answer(f, 0, 0);
  assert_result(f, &f->send, CP_UNSURE, 0, 0);
  f->node.fake.answer_at_once = true;
  do {
    send_to(f, "alice", "later");
    node_await(&f->node, f->send.n_calls > 0);
  } while (f->send.result.state == CP_UNSURE);
  assert_int_equal(f->send.result.state, CP_NONE);
}

/* It was published while others may still have been away. */
static void test_unsure_if_settled_meanwhile(void **state) {
  fixture *f = *state;

  f->node.options.settle_ms = 30;
  observed_node_start(&f->node);
  fake_transport_link(&f->node.fake, 1);
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  send_to(f, "alice", "early");
  uv_sleep(50); /* until it must have settled; the result is that of before */
  observed_node_poll(&f->node);
  answer(f, 0, 1);
  assert_result(f, &f->send, CP_UNSURE, 0, 1);
}

static void test_sure_if_nobody_was_away(void **state) {
  fixture *f = *state;

  f->node.options.settle_ms = 3600000;
  observed_node_start_linked(&f->node);
  send_to(f, "alice", "hello");
  answer(f, 0, 1);
  assert_result(f, &f->send, CP_REACHED, 0, 1);
}

/* Other servers carry some of the channels from now on. */
static void test_unsure_after_a_change(void **state) {
  fixture *f = *state;
  const cp_transport_host *host;

  f->node.options.settle_ms = 3600000;
  observed_node_start_linked(&f->node);
  host = f->node.fake.host;
  host->on_changed(host->ctx);
  send_to(f, "alice", "after");
  answer(f, 0, 1);
  assert_result(f, &f->send, CP_UNSURE, 0, 1);
}

static void test_unsure_while_degraded(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  fake_transport_link(&f->node.fake, 0);
  observed_node_poll(&f->node);
  send_to(f, "alice", "unconfirmed");
  answer(f, 0, 1);
  assert_result(f, &f->send, CP_UNSURE, 0, 1);
  fake_transport_confirm_all(&f->node.fake);
  fake_transport_set_health(&f->node.fake, 1, "late");
  send_to(f, "alice", "late");
  fake_transport_set_health(&f->node.fake, 0, "good");
  answer(f, 0, 1); /* good when answered, late when published */
  assert_result(f, &f->send, CP_UNSURE, 0, 1);
  send_to(f, "alice", "good");
  fake_transport_set_health(&f->node.fake, 1, "late");
  answer(f, 0, 0);
  assert_result(f, &f->send, CP_UNSURE, 0, 0);
}

/* Without a link, and nothing may wait for it: test_away.c has what may. */

static void test_alone(void **state) {
  fixture *f = *state;

  f->node.options.outbox_bytes = 0;
  observed_node_start(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, "alice", "one");
  assert_result(f, &f->send, CP_UNSURE, CP_E_DOWN, 1);
  send_to(f, "bob", "two");
  assert_result(f, &f->send, CP_UNSURE, CP_E_DOWN, 0);
  observed_broadcast(&f->node, &f->send, "three");
  assert_result(f, &f->send, CP_UNSURE, CP_E_DOWN, 1);
  observed_send_to_conn(&f->node, &f->send, someone, "four");
  assert_result(f, &f->send, CP_DROPPED, CP_E_DOWN, 0);
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "one|three|");
  assert_int_equal(stats_of(f).published, 0);
}

/* The transport knows before it tells. */
static void test_transport_says_down(void **state) {
  fixture *f = *state;

  f->node.options.outbox_age_ms = 0;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  f->node.fake.fail_publish = CP_E_DOWN;
  send_to(f, "alice", "one");
  assert_result(f, &f->send, CP_UNSURE, CP_E_DOWN, 1);
  node_await(&f->node, f->a.n_messages == 1);
}

/* To one connection. */

static void test_own_connection(void **state) {
  fixture *f = *state;
  cp_conn_id id;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  id = f->node.id;
  assert_int_equal(id.instance, cp_server_instance(f->node.server));
  fake_transport_forget(&f->node.fake);
  observed_send_to_conn(&f->node, &f->send, id, "mine");
  assert_result(f, &f->send, CP_REACHED, 0, 1);
  node_await(&f->node, f->a.n_messages == 1);
  assert_string_equal(f->node.fake.asked, "");
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.conn == NULL);
  observed_send_to_conn(&f->node, &f->send, id, "gone");
  assert_result(f, &f->send, CP_NONE, 0, 0);
  /* Its place is taken by another, its name is not. */
  observed_node_connect(&f->node, &f->b, "bob");
  assert_true(f->node.id.serial != id.serial);
  observed_send_to_conn(&f->node, &f->send, id, "gone");
  assert_result(f, &f->send, CP_NONE, 0, 0);
  assert_int_equal(f->b.n_messages, 0);
}

/* Open, but its client does not read. */
static void test_own_connection_without_room(void **state) {
  static char body[100001];
  fixture *f = *state;
  int i;

  f->node.options.max_send_queue = 1000;
  f->node.options.slow_policy = CP_SLOW_DROP_NEW;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  uv_read_stop(&f->a.io.stream);
  memset(body, 'x', sizeof body - 1);
  for (i = 0; i < 10000; i++) {
    observed_send_to_conn(&f->node, &f->send, f->node.id, body);
    node_await(&f->node, f->send.n_calls == 1);
    if (f->send.result.state != CP_REACHED)
      break;
  }
  assert_result(f, &f->send, CP_DROPPED, CP_E_FULL, 0);
  assert_non_null(f->node.conn);
  simple_client_hang_up(&f->a);
}

static void test_foreign_connection(void **state) {
  fixture *f = *state;
  cp_conn_id id = {0x0123456789abcdef, 77};
  cp__envelope envelope;

  observed_node_start_linked(&f->node);
  assert_int_equal(observed_send_to_conn(&f->node, &f->send, id, "yours"), 0);
  assert_string_equal(f->node.fake.asked, "cp:n:{0123456789abcdef}<yours ");
  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  assert_int_equal(envelope.serial, 77);
  assert_int_equal(envelope.instance, cp_server_instance(f->node.server));
  answer(f, 0, 1);
  assert_result(f, &f->send, CP_REACHED, 0, 1);
  observed_send_to_conn(&f->node, &f->send, id, "yours");
  answer(f, 0, 0);
  assert_result(f, &f->send, CP_NONE, 0, 0);
}

static void assert_identity(const fixture *f, uint32_t incarnation,
                            uint64_t sequence) {
  cp__envelope envelope;

  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  assert_int_equal(envelope.instance, cp_server_instance(f->node.server));
  assert_int_equal(envelope.incarnation, incarnation);
  assert_int_equal(envelope.sequence, sequence);
  assert_int_equal(envelope.flags, 0);
}

static void test_identity(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, "alice", "x");
  assert_identity(f, 1, 1);
  observed_broadcast(&f->node, &f->send, "x");
  assert_identity(f, 1, 2);
  fake_transport_unlink(&f->node.fake, "break");
  fake_transport_link(&f->node.fake, 0);
  send_to(f, "alice", "x");
  assert_identity(f, 2, 3);
}

/* Nobody else's connection is meant by an id of an earlier start. */
static void test_alone_in_the_world(void **state) {
  fixture *f = *state;
  cp_conn_id old;

  f->node.options.transport = NULL;
  observed_node_start(&f->node);
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     NULL);
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard_word(&f->node, "open:alice"));
  old = f->node.id;
  old.instance++;
  observed_send_to_conn(&f->node, &f->send, old, "old");
  assert_result(f, &f->send, CP_NONE, 0, 0);
  observed_send_to_conn(&f->node, &f->send, f->node.id, "new");
  assert_result(f, &f->send, CP_REACHED, 0, 1);
  send_to(f, "alice", "user");
  assert_result(f, &f->send, CP_REACHED, 0, 1);
  send_to(f, "bob", "nobody");
  assert_result(f, &f->send, CP_NONE, 0, 0);
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "new|user|");
}

/* Echoes. */

static void test_confirmed_is_delivered_by_the_echo(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, "alice", "hello");
  assert_int_equal(stats_of(f).messages_out, 0);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 1);
  node_await(&f->node, f->a.n_messages == 1);
}

/* The user's subscription is on the way again: the echo may come, or not. */
static void reopen_unconfirmed(fixture *f) {
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_unlink(&f->node.fake, "break");
  fake_transport_link(&f->node.fake, 0);
  node_await(&f->node, fake_transport_n_unconfirmed(&f->node.fake) == 3);
}

static void test_unconfirmed_is_delivered_at_once(void **state) {
  fixture *f = *state;

  reopen_unconfirmed(f);
  send_to(f, "alice", "one");
  assert_int_equal(stats_of(f).messages_out, 1);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 0);
  observed_broadcast(&f->node, &f->send, "two");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:all"), 0);
  fake_transport_confirm_all(&f->node.fake);
  send_to(f, "alice", "three");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 1);
  observed_broadcast(&f->node, &f->send, "four");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:all"), 1);
  node_await(&f->node, f->a.n_messages == 4);
  assert_string_equal(f->a.messages, "one|two|three|four|");
}

static void send_to_room(fixture *f, const char *text) {
  assert_int_equal(cp_send_to_group(f->node.server, cp_str("room"), CP_TEXT,
                                    cp_str(text), NULL),
                   0);
}

/* Alice leaves the group and comes back while a message to it is under way. */
static void test_delivered_at_once_overtakes_nothing(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  cp_group_join(f->node.conn, cp_str("room"));
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  send_to_room(f, "one");
  assert_int_equal(stats_of(f).messages_out, 0);
  cp_group_leave(f->node.conn, cp_str("room"));
  run_until(&f->node.loop, strstr(f->node.fake.asked, "-cp:g:{room}") != NULL);
  cp_group_join(f->node.conn, cp_str("room"));
  send_to_room(f, "two");
  assert_int_equal(stats_of(f).messages_out, 2);
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  send_to_room(f, "three");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:g:{room}"), 1);
  node_await(&f->node, f->a.n_messages == 3);
  assert_string_equal(f->a.messages, "one|two|three|");
}

/* The channel of broadcasts is confirmed, alice's isn't yet. */
static void test_a_broadcast_is_not_overtaken(void **state) {
  fixture *f = *state;

  reopen_unconfirmed(f);
  while (fake_transport_n_unconfirmed(&f->node.fake) > 1)
    fake_transport_confirm(&f->node.fake, 0);
  observed_broadcast(&f->node, &f->send, "one");
  assert_int_equal(stats_of(f).messages_out, 0);
  send_to(f, "alice", "two");
  assert_int_equal(stats_of(f).messages_out, 2);
  fake_transport_confirm_all(&f->node.fake);
  send_to(f, "alice", "three");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 1);
  node_await(&f->node, f->a.n_messages == 3);
  assert_string_equal(f->a.messages, "one|two|three|");
}

/* ... nor does it overtake what others are to hear before. */
static void test_a_broadcast_does_not_overtake(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->b, "bob");
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, "bob", "one");
  observed_broadcast(&f->node, &f->send, "two");
  send_to(f, "bob", "not yet");
  cp_group_join(f->node.conn, cp_str("room"));
  send_to_room(f, "three");
  node_await(&f->node, f->a.n_messages == 2 && f->b.n_messages == 2);
  assert_string_equal(f->a.messages, "two|three|");
  assert_string_equal(f->b.messages, "one|two|");
}

/* What is for a member's user alone is not overtaken by what is for a group
 * whose channel isn't confirmed yet; what is for other users stays. */
static void test_a_group_does_not_overtake_its_members(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->b, "bob");
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, "alice", "one");
  send_to(f, "bob", "not yet");
  assert_int_equal(stats_of(f).messages_out, 0);
  cp_group_join(f->node.conn, cp_str("room"));
  send_to_room(f, "two");
  assert_int_equal(stats_of(f).messages_out, 2);
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "one|two|");
}

static void test_echo_during_the_call(void **state) {
  fixture *f = *state;

  f->node.fake.echo_at_once = true;
  reopen_unconfirmed(f);
  send_to(f, "alice", "one");
  observed_broadcast(&f->node, &f->send, "two");
  fake_transport_confirm_all(&f->node.fake);
  send_to(f, "alice", "three");
  node_await(&f->node, f->a.n_messages == 3);
  assert_string_equal(f->a.messages, "one|two|three|");
}

static void test_failed_publish_delivers_nothing(void **state) {
  fixture *f = *state;

  reopen_unconfirmed(f);
  f->node.fake.fail_publish = CP_E_FULL;
  assert_int_equal(observed_send_to_user(&f->node, &f->send, "alice", "x"),
                   CP_E_FULL);
  assert_int_equal(stats_of(f).messages_out, 0);
}

/* Another node's message is no echo, whatever its number. */
static void test_foreign_message_is_no_echo(void **state) {
  fixture *f = *state;
  uint8_t bytes[64];
  cp__envelope envelope;
  size_t n;

  reopen_unconfirmed(f);
  send_to(f, "alice", "one");
  memset(&envelope, 0, sizeof envelope);
  envelope.kind = CP__KIND_TEXT;
  envelope.instance = cp_server_instance(f->node.server) + 1;
  envelope.sequence = 1;
  n = cp__envelope_write_head(bytes, &envelope);
  assert_int_equal(
      fake_transport_say(&f->node.fake, "cp:u:{alice}", cp_bytes_of(bytes, n)),
      1);
}

/* Who is not open yet gets the echo, if it comes when he is. */
static void test_sent_before_the_first_opens(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  ask(f, &f->a, "alice");
  send_to(f, "alice", "welcome");
  fake_transport_confirm_all(&f->node.fake);
  node_await(&f->node, f->a.status == 101);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 1);
}

/* Callbacks. */

typedef struct chain {
  fixture *f;
  int left;
  int n_calls;
} chain;

static void send_next(void *data, const cp_result *result) {
  chain *c = data;
  cp_send_options options;

  (void)result;
  c->n_calls++;
  if (c->left-- <= 0)
    return;
  cp_send_options_init(&options);
  options.cb = send_next;
  options.data = c;
  assert_int_equal(cp_send_to_user(c->f->node.server, cp_str("alice"), CP_TEXT,
                                   cp_str("next"), &options),
                   0);
}

/* A callback that sends, and whose result is there at once. */
static void test_sends_from_callbacks(void **state) {
  fixture *f = *state;
  chain c = {f, N_MANY, 0};
  cp_result none;

  f->node.fake.answer_at_once = true;
  observed_node_start_linked(&f->node);
  memset(&none, 0, sizeof none);
  send_next(&c, &none);
  while (c.n_calls <= N_MANY && c.left >= 0) {
    fake_transport_forget(&f->node.fake);
    test_loop_turn(&f->node.loop);
  }
  node_await(&f->node, c.n_calls == N_MANY + 1);
}

static void close_server(void *data, const cp_result *result) {
  fixture *f = data;

  (void)result;
  cp_server_close(f->node.server, 0, NULL);
  assert_int_equal(observed_broadcast(&f->node, &f->send2, "late"),
                   CP_E_CLOSED);
}

static void test_close_from_a_callback(void **state) {
  fixture *f = *state;
  cp_send_options options;

  observed_node_start_linked(&f->node);
  cp_send_options_init(&options);
  options.cb = close_server;
  options.data = f;
  cp_broadcast(f->node.server, CP_TEXT, cp_str("one"), &options);
  observed_broadcast(&f->node, &f->send, "two");
  answer(f, 0, 1);
  node_await(&f->node, f->send.n_calls == 1);
  f->node.server = NULL;
  assert_int_equal(f->send.result.state, CP_UNKNOWN);
  assert_int_equal(f->send2.n_calls, 0);
}

/* Posts. */

/* Before the first turn nobody knows which thread is the loop's. */
static void test_sent_before_the_loop_runs(void **state) {
  fixture *f = *state;
  int i;

  f->node.options.transport = NULL;
  assert_int_equal(
      cp_server_create(&f->node.server, &f->node.loop.loop, &f->node.options),
      0);
  for (i = 0; i < N_MANY; i++)
    assert_int_equal(cp_broadcast(f->node.server, CP_TEXT, cp_str("x"), NULL),
                     0);
  observed_broadcast(&f->node, &f->send, "last");
  assert_int_equal(f->send.n_calls, 0);
  assert_result(f, &f->send, CP_NONE, 0, 0);
  assert_int_equal(stats_of(f).sends, N_MANY + 1);
}

static void note_n_published(void *data, const cp_result *result) {
  fixture *f = data;

  (void)result;
  if (f->n_published == 0)
    f->n_published = f->node.fake.n_published;
}

/* What this thread sent before it was known comes before what it sends now. */
static void test_first_posts_come_first(void **state) {
  fixture *f = *state;
  cp_send_options options;
  int i;

  f->node.fake.answer_at_once = true;
  assert_int_equal(
      cp_server_create(&f->node.server, &f->node.loop.loop, &f->node.options),
      0);
  fake_transport_link(&f->node.fake, 0);
  cp_send_options_init(&options);
  options.cb = note_n_published;
  options.data = f;
  for (i = 0; i < N_MANY; i++)
    cp_broadcast(f->node.server, CP_TEXT, cp_str("x"), &options);
  node_await(&f->node, f->n_published > 0);
  assert_int_equal(f->n_published, N_MANY);
}

static void test_full_before_the_loop_runs(void **state) {
  fixture *f = *state;
  size_t n = 0;
  char body[100];

  f->node.options.transport = NULL;
  f->node.options.max_thread_queue = 1000;
  f->node.options.max_message = 100000;
  assert_int_equal(
      cp_server_create(&f->node.server, &f->node.loop.loop, &f->node.options),
      0);
  memset(body, 'x', sizeof body);
  while (cp_broadcast(f->node.server, CP_TEXT, cp_bytes_of(body, sizeof body),
                      NULL) == 0)
    n++;
  assert_true(n > 1 && n < 10);
  body[sizeof body - 1] = '\0';
  assert_int_equal(observed_broadcast(&f->node, &f->send, body), CP_E_FULL);
  assert_int_equal(f->send.n_calls, 0);
  observed_node_poll(&f->node);
  assert_int_equal(stats_of(f).sends, n);
}

/* Threads that stand for "another". */

typedef struct sender_thread {
  fixture *f;
  uv_thread_t thread;
  size_t n;    /* to send */
  size_t body; /* bytes */
  size_t n_sent;
  int rc; /* of the last */
  cp_send_options *options;
} sender_thread;

static void run_sender(void *arg) {
  sender_thread *self = arg;
  char *body = calloc(1, self->body);

  while (self->n_sent < self->n) {
    self->rc = cp_send_to_user(self->f->node.server, cp_str("alice"), CP_BINARY,
                               cp_bytes_of(body, self->body), self->options);
    if (self->rc != 0)
      break;
    self->n_sent++;
  }
  free(body);
}

static void run_thread(sender_thread *self) {
  uv_thread_create(&self->thread, run_sender, self);
  uv_thread_join(&self->thread);
}

static void test_thread_queue_has_a_limit(void **state) {
  fixture *f = *state;
  sender_thread t = {.f = f, .n = 1000, .body = 1000};
  size_t n_first;

  f->node.options.max_thread_queue = 100000;
  observed_node_start_linked(&f->node);
  run_thread(&t);
  assert_int_equal(t.rc, CP_E_FULL);
  assert_true(t.n_sent > 50 && t.n_sent < 100);
  n_first = t.n_sent;
  node_await(&f->node, stats_of(f).sends == n_first);
  t.n_sent = 0;
  run_thread(&t); /* there is room again, and just as much */
  assert_int_equal(t.n_sent, n_first);
}

static void test_one_message_always_fits(void **state) {
  fixture *f = *state;
  sender_thread t = {.f = f, .n = 2, .body = 1000};

  f->node.options.max_thread_queue = 1;
  observed_node_start_linked(&f->node);
  run_thread(&t);
  assert_int_equal(t.n_sent, 1);
  assert_int_equal(t.rc, CP_E_FULL);
  node_await(&f->node, stats_of(f).sends == 1);
}

/* What waits to be sent counts, wherever it waits. */
static void test_limit_counts_what_the_loop_took_over(void **state) {
  fixture *f = *state;
  sender_thread t = {.f = f, .n = SIZE_MAX, .body = 1};
  size_t n_first;

  f->node.options.max_thread_queue = 3000000;
  f->node.fake.answer_at_once = true;
  observed_node_start_linked(&f->node);
  run_thread(&t);
  n_first = t.n_sent;
  assert_true(n_first > 2 * N_MANY);
  while (stats_of(f).sends == 0)
    test_loop_turn(&f->node.loop);
  assert_true(stats_of(f).sends < n_first);
  run_thread(&t); /* as many as went out */
  assert_int_equal(t.n_sent - n_first, stats_of(f).sends);
}

static void test_error_of_a_post_is_its_result(void **state) {
  fixture *f = *state;
  sender_thread t = {.f = f, .n = 1, .body = 1, .options = &f->send.options};

  observed_node_start_linked(&f->node);
  observed_send_init(&f->send);
  f->node.fake.fail_publish = CP_E_FULL;
  run_thread(&t);
  assert_int_equal(t.rc, 0);
  assert_result(f, &f->send, CP_DROPPED, CP_E_FULL, 0);
}

static void test_posts_are_published_by_close(void **state) {
  fixture *f = *state;
  sender_thread t = {.f = f, .n = 3, .body = 1, .options = &f->send.options};

  observed_node_start_linked(&f->node);
  observed_send_init(&f->send);
  run_thread(&t);
  cp_server_close(f->node.server, 0, NULL);
  assert_int_equal(f->node.fake.n_published, 3);
  run_thread(&t);
  t.n = 4;
  run_thread(&t);
  assert_int_equal(t.rc, CP_E_CLOSED);
  f->node.server = NULL;
  node_await(&f->node, f->send.n_calls == 3);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_bad_users),
      TEST(test_bad_types_and_texts),
      TEST(test_bad_options),
      TEST(test_lengths_without_bytes),
      TEST(test_no_connection),
      TEST(test_too_big),
      TEST(test_an_error_calls_nobody_back),
      TEST(test_reached),
      TEST(test_none),
      TEST(test_unsure_if_late),
      TEST(test_answered_during_the_call),
      TEST(test_failures),
      TEST(test_without_a_callback),
      TEST(test_link_breaks_under_a_send),
      TEST(test_unsure_while_settling),
      TEST(test_unsure_if_settled_meanwhile),
      TEST(test_unsure_after_a_change),
      TEST(test_sure_if_nobody_was_away),
      TEST(test_unsure_while_degraded),
      TEST(test_alone),
      TEST(test_transport_says_down),
      TEST(test_own_connection),
      TEST(test_own_connection_without_room),
      TEST(test_foreign_connection),
      TEST(test_identity),
      TEST(test_alone_in_the_world),
      TEST(test_confirmed_is_delivered_by_the_echo),
      TEST(test_unconfirmed_is_delivered_at_once),
      TEST(test_delivered_at_once_overtakes_nothing),
      TEST(test_a_broadcast_is_not_overtaken),
      TEST(test_a_broadcast_does_not_overtake),
      TEST(test_a_group_does_not_overtake_its_members),
      TEST(test_echo_during_the_call),
      TEST(test_failed_publish_delivers_nothing),
      TEST(test_foreign_message_is_no_echo),
      TEST(test_sent_before_the_first_opens),
      TEST(test_sends_from_callbacks),
      TEST(test_close_from_a_callback),
      TEST(test_sent_before_the_loop_runs),
      TEST(test_first_posts_come_first),
      TEST(test_full_before_the_loop_runs),
      TEST(test_thread_queue_has_a_limit),
      TEST(test_one_message_always_fits),
      TEST(test_limit_counts_what_the_loop_took_over),
      TEST(test_error_of_a_post_is_its_result),
      TEST(test_posts_are_published_by_close),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
