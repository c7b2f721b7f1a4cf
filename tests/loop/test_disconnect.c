/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Closing connections from afar. */

#include "observed_node.h"

#include "orders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b, c;
  cp_conn_id id_a, id_b;
  observed_send send;
} fixture;

static int setup(void **state) {
  return observed_setup(state, sizeof(fixture));
}

/* Alice twice, bob once. */
static void connect_all(fixture *f) {
  observed_node_connect(&f->node, &f->a, "alice");
  f->id_a = f->node.id;
  observed_node_connect(&f->node, &f->b, "alice");
  f->id_b = f->node.id;
  observed_node_connect(&f->node, &f->c, "bob");
  observed_node_poll(&f->node);
  fake_transport_forget(&f->node.fake);
}

static int disconnect(fixture *f, uint16_t code, const char *reason,
                      const cp_conn_id *except, size_t n_except) {
  observed_send_init(&f->send);
  f->send.options.flags = CP_RECEIPT;
  return cp_disconnect_user(f->node.server, cp_str("alice"), code,
                            cp_str(reason), except, n_except, &f->send.options);
}

static void assert_result(fixture *f, cp_state state, uint32_t connections) {
  node_await(&f->node, f->send.n_calls > 0);
  assert_int_equal(f->send.n_calls, 1);
  assert_int_equal(f->send.result.state, state);
  assert_int_equal(f->send.result.connections, connections);
}

static void assert_closed(fixture *f, simple_client *client, int code) {
  node_await(&f->node, client->gone);
  assert_int_equal(client->close_code, code);
}

static uint32_t say_close(fixture *f, const char *channel, uint64_t serial,
                          const void *body, size_t len) {
  cp__envelope envelope = {.kind = CP__KIND_CLOSE, .instance = 5};
  uint8_t payload[1024];
  size_t head;

  envelope.flags = serial != 0 ? CP__FIELD_SERIAL : 0;
  envelope.serial = serial;
  head = cp__envelope_write_head(payload, &envelope);
  memcpy(payload + head, body, len);
  return fake_transport_say(&f->node.fake, channel,
                            cp_bytes_of(payload, head + len));
}

static void test_bad_arguments(void **state) {
  static const uint16_t bad[] = {0,    999,  1002, 1005, 1006,
                                 1015, 2999, 5000, 65535};
  fixture *f = *state;
  cp_conn_id many[33] = {{0, 0}};
  char reason[125];
  size_t i;

  observed_node_start_linked(&f->node);
  for (i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(disconnect(f, bad[i], "", NULL, 0), CP_E_INVALID);
  memset(reason, 'r', sizeof reason);
  reason[124] = '\0';
  assert_int_equal(disconnect(f, 4001, reason, NULL, 0), CP_E_INVALID);
  assert_int_equal(disconnect(f, 4001, "\xff", NULL, 0), CP_E_INVALID);
  assert_int_equal(disconnect(f, 4001, "", many, 33), CP_E_INVALID);
  assert_int_equal(disconnect(f, 4001, "", NULL, 1), CP_E_INVALID);
  assert_int_equal(cp_disconnect_user(f->node.server, cp_str(""), 4001,
                                      cp_str(""), NULL, 0, NULL),
                   CP_E_INVALID);
  assert_int_equal(
      cp_disconnect_conn(f->node.server, many[0], 4001, cp_str(""), NULL),
      CP_E_INVALID);
  assert_int_equal(f->node.fake.n_published, 0);
  reason[123] = '\0';
  assert_int_equal(disconnect(f, 4001, reason, many, 32), 0);
  fake_transport_answer(&f->node.fake, 0, 0);
  assert_result(f, CP_NONE, 0);
}

/* By way of Redis, so that it keeps its place; what was sent before arrives. */
static void test_user(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  connect_all(f);
  cp_send_to_user(f->node.server, cp_str("alice"), CP_TEXT, cp_str("before"),
                  NULL);
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_int_equal(disconnect(f, 4001, "go", NULL, 0), 0);
  observed_node_poll(&f->node);
  assert_false(observed_node_heard_word(&f->node, "close:alice:4001"));
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 2);
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_result(f, CP_REACHED, 2);
  assert_closed(f, &f->a, 4001);
  assert_closed(f, &f->b, 4001);
  assert_string_equal(f->a.messages, "before|");
  assert_false(f->c.gone);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 0);
}

static void test_except(void **state) {
  fixture *f = *state;
  cp_conn_id except[2];

  observed_node_start_linked(&f->node);
  connect_all(f);
  f->node.fake.echo_at_once = true;
  except[0].instance = f->id_a.instance + 1; /* another node's */
  except[0].serial = f->id_a.serial;
  except[1] = f->id_b;
  disconnect(f, 4002, "elsewhere", except, 2);
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_result(f, CP_REACHED, 1);
  assert_closed(f, &f->a, 4002);
  assert_false(f->b.gone);
  assert_int_equal(
      fake_transport_say(&f->node.fake, "cp:u:{alice}", cp_str("still")), 1);
}

static void test_own_connection(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  connect_all(f);
  observed_send_init(&f->send);
  f->send.options.flags = CP_RECEIPT;
  assert_int_equal(cp_disconnect_conn(f->node.server, f->id_a, 4003,
                                      cp_str("bye"), &f->send.options),
                   0);
  assert_result(f, CP_REACHED, 1);
  assert_string_equal(f->node.fake.asked, "");
  assert_closed(f, &f->a, 4003);
  assert_false(f->b.gone);
  observed_send_init(&f->send);
  cp_disconnect_conn(f->node.server, f->id_a, 4003, cp_str("bye"),
                     &f->send.options);
  assert_result(f, CP_NONE, 0);
}

static void test_connection_of_another_node(void **state) {
  fixture *f = *state;
  const cp_conn_id id = {0x0123456789abcdef, 77};
  cp__envelope envelope;
  cp__order order;

  observed_node_start_linked(&f->node);
  assert_int_equal(
      cp_disconnect_conn(f->node.server, id, 4003, cp_str("bye"), NULL), 0);
  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  assert_int_equal(envelope.kind, CP__KIND_CLOSE);
  assert_int_equal(envelope.serial, 77);
  assert_true(cp__order_read(&order, envelope.kind, envelope.body));
  assert_int_equal(order.code, 4003);
  assert_int_equal(order.n_except, 0);
  assert_memory_equal(order.reason.data, "bye", 3);
  fake_transport_answer(&f->node.fake, 0, 1);
}

static void test_from_another_node(void **state) {
  fixture *f = *state;
  char channel[64];

  observed_node_start_linked(&f->node);
  connect_all(f);
  snprintf(channel, sizeof channel, "cp:n:{%016llx}",
           (unsigned long long)f->id_a.instance);
  assert_int_equal(say_close(f, channel, f->id_a.serial, "\x0f\xa1\0hey", 6),
                   1);
  assert_int_equal(say_close(f, channel, f->id_a.serial, "\x0f\xa1\0hey", 6),
                   0);
  assert_int_equal(say_close(f, "cp:u:{alice}", 0, "\x0f\xa2\0", 3), 1);
  assert_closed(f, &f->a, 4001);
  assert_closed(f, &f->b, 4002);
}

static void test_malformed(void **state) {
  fixture *f = *state;
  cp_stats stats = {.size = sizeof stats};

  observed_node_start_linked(&f->node);
  connect_all(f);
  say_close(f, "cp:u:{alice}", 0, "", 0);
  say_close(f, "cp:u:{alice}", 0, "\x0f\xa1", 2);
  say_close(f, "cp:u:{alice}", 0, "\x0f\xa1\1", 3);
  say_close(f, "cp:u:{alice}", 0, "\x0f\xa1\1 15 bytes of id ", 18);
  say_close(f, "cp:u:{alice}", 0, "\x03\xee\0", 3); /* 1006 */
  say_close(f, "cp:u:{alice}", 0, "\x0f\xa1\0\xff", 4);
  say_close(f, "cp:all", 0, "\x0f\xa1\0", 3);
  cp_server_stats(f->node.server, &stats);
  assert_int_equal(stats.malformed, 7);
  assert_int_equal(
      fake_transport_say(&f->node.fake, "cp:u:{alice}", cp_str("still")), 2);
}

static void test_alone(void **state) {
  fixture *f = *state;

  f->node.options.outbox_bytes = 0; /* nothing waits for a link */
  observed_node_start(&f->node);
  connect_all(f);
  disconnect(f, 4001, "go", NULL, 0);
  assert_result(f, CP_UNSURE, 2);
  assert_closed(f, &f->a, 4001);
}

static void test_no_memory_for_the_frame(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  f->node.memory.fail_at = f->node.memory.n_calls + 1;
  assert_int_equal(say_close(f, "cp:u:{alice}", 0, "\x0f\xa1\0", 3), 1);
  f->node.memory.fail_at = 0;
  node_await(&f->node, f->a.gone);
  assert_true(observed_node_heard_word(&f->node, "close:alice:1006"));
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_bad_arguments),
      TEST(test_user),
      TEST(test_except),
      TEST(test_own_connection),
      TEST(test_connection_of_another_node),
      TEST(test_from_another_node),
      TEST(test_malformed),
      TEST(test_alone),
      TEST(test_no_memory_for_the_frame),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
