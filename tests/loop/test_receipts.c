/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* CP_RECEIPT: what other nodes say about a message, and what this one says
 * about theirs. */

#include "observed_node.h"

#include "envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define OTHER UINT64_C(0x0123456789abcdef)

typedef struct fixture {
  observed_node node;
  simple_client a, b;
  observed_send send, send2;
} fixture;

static int setup(void **state) {
  return observed_setup(state, sizeof(fixture));
}

static int ask_with(fixture *f, observed_send *send, unsigned deadline_ms) {
  observed_send_init(send);
  send->options.flags = CP_RECEIPT;
  send->options.deadline_ms = deadline_ms;
  return cp_send_to_user(f->node.server, cp_str("alice"), CP_TEXT,
                         cp_str("hello"), &send->options);
}

/* Send to alice and ask; returns the number of the question. */
static uint64_t ask(fixture *f, observed_send *send) {
  cp__envelope envelope;

  assert_int_equal(ask_with(f, send, 0), 0);
  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  assert_int_equal(envelope.flags, CP__FIELD_REQUEST);
  assert_int_equal(envelope.instance, cp_server_instance(f->node.server));
  assert_true(envelope.request != 0);
  return envelope.request;
}

static uint8_t *put_record(uint8_t *p, uint64_t number, uint32_t connections) {
  int i;

  for (i = 7; i >= 0; i--)
    *p++ = (uint8_t)(number >> 8 * i);
  for (i = 3; i >= 0; i--)
    *p++ = (uint8_t)(connections >> 8 * i);
  return p;
}

/* A receipt of `len` bytes of records arrives. */
static void say_numbered(fixture *f, uint64_t sequence, const uint8_t *records,
                         size_t len) {
  const cp__envelope envelope = {
      .kind = CP__KIND_RECEIPT, .instance = OTHER, .sequence = sequence};
  uint8_t payload[256];
  char channel[64];
  size_t head = cp__envelope_write_head(payload, &envelope);

  memcpy(payload + head, records, len);
  snprintf(channel, sizeof channel, "cp:n:{%016llx}",
           (unsigned long long)cp_server_instance(f->node.server));
  fake_transport_say(&f->node.fake, channel, cp_bytes_of(payload, head + len));
}

static void say_receipt(fixture *f, const uint8_t *records, size_t len) {
  say_numbered(f, 0, records, len);
}

static void say_answer(fixture *f, uint64_t number, uint32_t connections) {
  uint8_t record[12];

  put_record(record, number, connections);
  say_receipt(f, record, sizeof record);
}

static void published(fixture *f, uint32_t subscribers) {
  assert_true(fake_transport_answer(&f->node.fake, 0, subscribers));
}

static void assert_receipt(fixture *f, observed_send *send, cp_state state,
                           uint32_t subscribers, uint32_t connections,
                           bool partial) {
  node_await(&f->node, send->n_calls > 0);
  assert_int_equal(send->n_calls, 1);
  assert_int_equal(send->result.state, state);
  assert_int_equal(send->result.subscribers, subscribers);
  assert_int_equal(send->result.connections, connections);
  assert_int_equal(send->result.partial != 0, partial);
}

static void poll_some(fixture *f) {
  int i;

  for (i = 0; i < 5; i++)
    observed_node_poll(&f->node);
}

/* Asking. */

static void test_bad_options(void **state) {
  fixture *f = *state;
  cp_server *server;

  observed_node_start_linked(&f->node);
  server = f->node.server;
  assert_int_equal(ask_with(f, &f->send, 60001), CP_E_INVALID);
  observed_send_init(&f->send);
  f->send.options.flags = 2;
  assert_int_equal(cp_broadcast(server, CP_TEXT, cp_str("x"), &f->send.options),
                   CP_E_INVALID);
  f->send.options.flags = CP_RECEIPT;
  f->send.options.cb = NULL;
  assert_int_equal(cp_broadcast(server, CP_TEXT, cp_str("x"), &f->send.options),
                   CP_E_INVALID);
  /* Of a caller who doesn't know of flags. */
  f->send.options.size = offsetof(cp_send_options, flags);
  assert_int_equal(cp_broadcast(server, CP_TEXT, cp_str("x"), &f->send.options),
                   0);
  assert_int_equal(f->node.fake.n_published, 1);
}

static void test_all_answer(void **state) {
  fixture *f = *state;
  uint64_t number;

  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  published(f, 2);
  say_answer(f, number, 3);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  say_answer(f, number, 2);
  assert_int_equal(f->send.n_calls, 0); /* from the end of the turn */
  assert_receipt(f, &f->send, CP_REACHED, 2, 5, false);
}

static void test_answers_overtake_redis(void **state) {
  fixture *f = *state;
  uint64_t number;

  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  say_answer(f, number, 3);
  say_answer(f, number, 2);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  published(f, 2);
  assert_receipt(f, &f->send, CP_REACHED, 2, 5, false);
}

static void test_several_in_one(void **state) {
  fixture *f = *state;
  uint8_t records[24];
  uint64_t first, second;

  observed_node_start_linked(&f->node);
  first = ask(f, &f->send);
  second = ask(f, &f->send2);
  assert_true(first != second);
  published(f, 1);
  published(f, 1);
  put_record(put_record(records, first, 1), second, 7);
  say_receipt(f, records, sizeof records);
  assert_receipt(f, &f->send, CP_REACHED, 1, 1, false);
  assert_receipt(f, &f->send2, CP_REACHED, 1, 7, false);
}

/* One of two nodes got it before the break and after: that may have been both
 * answers. */
static void test_published_again_is_partial(void **state) {
  fixture *f = *state;
  uint64_t number;

  f->node.fake.hands_back = true;
  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  say_answer(f, number, 1);
  fake_transport_unlink(&f->node.fake, "break");
  poll_some(f);
  f->node.fake.confirm_at_once = true;
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  say_answer(f, number, 0);
  published(f, 2);
  assert_receipt(f, &f->send, CP_UNSURE, 2, 1, true);
}

/* A master of a cluster may seem to have told nobody: it is told again. */
static void test_told_twice(void **state) {
  fixture *f = *state;
  uint8_t record[12];

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  put_record(record, ask(f, &f->send), 2);
  published(f, 2);
  say_numbered(f, 5, record, sizeof record);
  say_numbered(f, 5, record, sizeof record);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  say_numbered(f, 6, record, sizeof record); /* the other one's */
  assert_receipt(f, &f->send, CP_REACHED, 2, 4, false);
}

static void test_nobody(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  ask(f, &f->send);
  published(f, 0);
  assert_receipt(f, &f->send, CP_NONE, 0, 0, false);
}

/* An observer of the channel counts, but doesn't answer. */
static void test_deadline(void **state) {
  fixture *f = *state;
  cp__envelope envelope;

  observed_node_start_linked(&f->node);
  assert_int_equal(ask_with(f, &f->send, 30), 0);
  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  published(f, 2);
  say_answer(f, envelope.request, 3);
  assert_receipt(f, &f->send, CP_REACHED, 2, 3, true);
  /* Too late. */
  say_answer(f, envelope.request, 3);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 1);
}

static void test_deadlines_of_all_lengths(void **state) {
  fixture *f = *state;
  observed_send sends[3];

  observed_node_start_linked(&f->node);
  assert_int_equal(ask_with(f, &sends[0], 60000), 0);
  assert_int_equal(ask_with(f, &sends[1], 20), 0);
  assert_int_equal(ask_with(f, &sends[2], 40), 0);
  published(f, 1);
  published(f, 1);
  published(f, 1);
  assert_receipt(f, &sends[1], CP_REACHED, 1, 0, true);
  assert_receipt(f, &sends[2], CP_REACHED, 1, 0, true);
  assert_int_equal(sends[0].n_calls, 0);
  cp_server_close(f->node.server, 0, NULL);
  f->node.server = NULL;
  assert_receipt(f, &sends[0], CP_REACHED, 1, 0, true);
}

/* Only PUBLISH knows for how many to wait. */
static void test_redis_is_lost(void **state) {
  fixture *f = *state;
  uint64_t number;

  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  say_answer(f, number, 2);
  fake_transport_unlink(&f->node.fake, "break");
  assert_receipt(f, &f->send, CP_UNKNOWN, 0, 2, true);
  assert_int_equal(f->send.result.error, CP_E_CLOSED);
}

static void test_answered_over_the_next_link(void **state) {
  fixture *f = *state;
  uint64_t number;

  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  published(f, 1);
  fake_transport_unlink(&f->node.fake, "break");
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  fake_transport_link(&f->node.fake, 1);
  say_answer(f, number, 2);
  assert_receipt(f, &f->send, CP_REACHED, 1, 2, false);
}

static void test_limit(void **state) {
  fixture *f = *state;
  uint64_t number;

  f->node.options.max_receipts = 1;
  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  assert_int_equal(ask_with(f, &f->send2, 0), CP_E_FULL);
  assert_int_equal(f->node.fake.n_published, 1);
  published(f, 1);
  say_answer(f, number, 1);
  assert_receipt(f, &f->send, CP_REACHED, 1, 1, false);
  ask(f, &f->send2);
  published(f, 0);
  assert_receipt(f, &f->send2, CP_NONE, 0, 0, false);
  assert_int_equal(f->send2.n_calls, 1);
}

static void test_failed_publish_asks_nobody(void **state) {
  fixture *f = *state;

  f->node.options.max_receipts = 1;
  f->node.options.outbox_bytes = 0;
  observed_node_start_linked(&f->node);
  f->node.fake.fail_publish = CP_E_FULL;
  assert_int_equal(ask_with(f, &f->send, 0), CP_E_FULL);
  f->node.fake.fail_publish = CP_E_DOWN;
  assert_int_equal(ask_with(f, &f->send, 0), 0);
  assert_receipt(f, &f->send, CP_UNSURE, 0, 0, true);
  f->node.fake.fail_publish = 0;
  ask(f, &f->send); /* there is room */
  published(f, 0);
  assert_receipt(f, &f->send, CP_NONE, 0, 0, false);
}

static void test_out_of_memory(void **state) {
  fixture *f = *state;
  int rc = CP_E_NOMEM;
  long n;

  observed_node_start_linked(&f->node);
  for (n = 1; rc != 0; n++) {
    f->node.memory.fail_at = f->node.memory.n_calls + n;
    rc = ask_with(f, &f->send, 0);
    assert_true(rc == 0 || rc == CP_E_NOMEM);
  }
  f->node.memory.fail_at = 0;
  assert_true(n > 2);
  published(f, 0);
  assert_receipt(f, &f->send, CP_NONE, 0, 0, false);
}

static void test_close_while_waiting(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  f->node.fake.hold_close = true;
  ask(f, &f->send);
  ask(f, &f->send2);
  published(f, 1);
  cp_server_close(f->node.server, 1000, NULL);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0); /* the grace is for them */
  fake_transport_finish_close(&f->node.fake);
  f->node.server = NULL;
  assert_receipt(f, &f->send, CP_REACHED, 1, 0, true);
  assert_receipt(f, &f->send2, CP_UNKNOWN, 0, 0, true);
}

static void test_answer_during_the_close(void **state) {
  fixture *f = *state;
  uint64_t number;

  observed_node_start_linked(&f->node);
  f->node.fake.hold_close = true;
  number = ask(f, &f->send);
  published(f, 1);
  cp_server_close(f->node.server, 1000, NULL);
  say_answer(f, number, 4);
  assert_receipt(f, &f->send, CP_REACHED, 1, 4, false);
  fake_transport_finish_close(&f->node.fake);
  f->node.server = NULL;
}

static void test_strange_answers(void **state) {
  fixture *f = *state;
  uint8_t records[25] = {0};
  cp_stats stats = {.size = sizeof stats};
  uint64_t number;

  observed_node_start_linked(&f->node);
  number = ask(f, &f->send);
  published(f, 1);
  say_receipt(f, records, 0);
  say_receipt(f, records, 11);
  say_receipt(f, records, 25);
  cp_server_stats(f->node.server, &stats);
  assert_int_equal(stats.malformed, 3);
  say_answer(f, 0, 1);
  say_answer(f, number + 1, 1);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  cp_server_stats(f->node.server, &stats);
  assert_int_equal(stats.malformed, 3);
  say_answer(f, number, 1);
  assert_receipt(f, &f->send, CP_REACHED, 1, 1, false);
}

/* This node's own connections. */

static void test_own_echo_is_an_answer(void **state) {
  fixture *f = *state;
  size_t n_published;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "alice");
  f->node.fake.echo_at_once = true;
  ask(f, &f->send);
  n_published = f->node.fake.n_published;
  published(f, 1);
  assert_receipt(f, &f->send, CP_REACHED, 1, 2, false);
  poll_some(f);
  assert_int_equal(f->node.fake.n_published, n_published);
}

/* Of several servers one had seemed to tell nobody, and was told again. */
static void test_own_echo_twice(void **state) {
  fixture *f = *state;
  uint64_t number;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  number = ask(f, &f->send);
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  published(f, 2);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  say_answer(f, number, 3);
  assert_receipt(f, &f->send, CP_REACHED, 2, 4, false);
}

static void test_own_connection(void **state) {
  fixture *f = *state;
  cp_conn_id gone;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_send_init(&f->send);
  f->send.options.flags = CP_RECEIPT;
  assert_int_equal(cp_send_to_conn(f->node.server, f->node.id, CP_TEXT,
                                   cp_str("x"), &f->send.options),
                   0);
  assert_receipt(f, &f->send, CP_REACHED, 1, 1, false);
  gone = f->node.id;
  gone.serial++;
  observed_send_init(&f->send);
  f->send.options.flags = CP_RECEIPT;
  cp_send_to_conn(f->node.server, gone, CP_TEXT, cp_str("x"), &f->send.options);
  assert_receipt(f, &f->send, CP_NONE, 0, 0, false);
}

static void test_alone(void **state) {
  fixture *f = *state;

  f->node.options.outbox_bytes = 0; /* nothing waits for a link */
  observed_node_start(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  assert_int_equal(ask_with(f, &f->send, 0), 0);
  assert_receipt(f, &f->send, CP_UNSURE, 1, 1, true);
}

/* The channel isn't confirmed: it was delivered at once, and the echo, if it
 * comes, answers for no connection. */
static void test_delivered_before_the_echo(void **state) {
  fixture *f = *state;

  f->node.options.subscribe_wait_ms = 1;
  observed_node_start_linked(&f->node);
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     NULL);
  node_await(&f->node, f->a.status == 101);
  ask(f, &f->send);
  published(f, 2);
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  say_answer(f, 1, 3);
  assert_receipt(f, &f->send, CP_REACHED, 2, 4, false);
  assert_int_equal(f->a.n_messages, 1);
  /* Redis had not subscribed us yet. */
  ask(f, &f->send);
  published(f, 0);
  assert_receipt(f, &f->send, CP_REACHED, 1, 1, false);
}

/* Answering. */

static void say_numbered_question(fixture *f, uint64_t sequence,
                                  const char *channel, uint64_t instance,
                                  uint64_t request) {
  const cp__envelope envelope = {.kind = CP__KIND_TEXT,
                                 .flags = CP__FIELD_REQUEST,
                                 .instance = instance,
                                 .sequence = sequence,
                                 .request = request};
  uint8_t payload[64];
  size_t head = cp__envelope_write_head(payload, &envelope);

  payload[head] = 'x';
  fake_transport_say(&f->node.fake, channel, cp_bytes_of(payload, head + 1));
}

static void say_question(fixture *f, const char *channel, uint64_t instance,
                         uint64_t request) {
  say_numbered_question(f, 0, channel, instance, request);
}

static void assert_records(fixture *f, const uint8_t *records, size_t len) {
  cp__envelope envelope;

  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  assert_int_equal(envelope.kind, CP__KIND_RECEIPT);
  assert_int_equal(envelope.instance, cp_server_instance(f->node.server));
  assert_int_equal(envelope.body.len, len);
  assert_memory_equal(envelope.body.data, records, len);
}

static void test_answers_of_a_turn_share_a_publish(void **state) {
  fixture *f = *state;
  uint8_t records[24];

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_forget(&f->node.fake);
  say_question(f, "cp:u:{alice}", OTHER, 5);
  assert_int_equal(f->node.fake.n_published, 0);
  say_question(f, "cp:u:{bob}", OTHER, 5);
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 1);
  assert_int_equal(strncmp(f->node.fake.asked, "cp:n:{0123456789abcdef}<", 24),
                   0);
  put_record(put_record(records, 5, 1), 5, 0);
  assert_records(f, records, sizeof records);
}

/* Likewise what another node asks. */
static void test_answers_once(void **state) {
  fixture *f = *state;
  uint8_t record[12];

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_forget(&f->node.fake);
  say_numbered_question(f, 3, "cp:u:{alice}", OTHER, 5);
  say_numbered_question(f, 3, "cp:u:{alice}", OTHER, 5);
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 1);
  put_record(record, 5, 1);
  assert_records(f, record, sizeof record);
}

static void test_each_sender_has_its_answer(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_forget(&f->node.fake);
  say_question(f, "cp:u:{alice}", 7, 1);
  say_question(f, "cp:all", OTHER, 2);
  say_question(f, "cp:all", 7, 3);
  say_question(f, "cp:all", 0, 4); /* nobody to answer to */
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 2);
  assert_non_null(strstr(f->node.fake.asked, "cp:n:{0000000000000007}<"));
  assert_non_null(strstr(f->node.fake.asked, "cp:n:{0123456789abcdef}<"));
}

static void test_more_than_one_publish_holds(void **state) {
  fixture *f = *state;
  uint64_t i;

  observed_node_start_linked(&f->node);
  f->node.fake.payload[0] = 0;
  for (i = 0; i < 300; i++)
    say_question(f, "cp:all", OTHER, i + 1);
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 1);
  assert_int_equal(f->node.fake.last_payload.len, 24 + 300 * 12);
}

static void test_no_answer_without_a_link(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  say_question(f, "cp:all", OTHER, 1);
  fake_transport_unlink(&f->node.fake, "break");
  observed_node_poll(&f->node);
  fake_transport_link(&f->node.fake, 1);
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 0);
}

static void test_no_memory_for_an_answer(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  f->node.memory.fail_at = f->node.memory.n_calls + 1;
  say_question(f, "cp:u:{bob}", OTHER, 1);
  f->node.memory.fail_at = 0;
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 0);
  say_question(f, "cp:u:{bob}", OTHER, 2);
  observed_node_poll(&f->node);
  assert_int_equal(f->node.fake.n_published, 1);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_bad_options),
      TEST(test_all_answer),
      TEST(test_published_again_is_partial),
      TEST(test_answers_overtake_redis),
      TEST(test_several_in_one),
      TEST(test_told_twice),
      TEST(test_nobody),
      TEST(test_deadline),
      TEST(test_deadlines_of_all_lengths),
      TEST(test_redis_is_lost),
      TEST(test_answered_over_the_next_link),
      TEST(test_limit),
      TEST(test_failed_publish_asks_nobody),
      TEST(test_out_of_memory),
      TEST(test_close_while_waiting),
      TEST(test_answer_during_the_close),
      TEST(test_strange_answers),
      TEST(test_own_echo_is_an_answer),
      TEST(test_own_echo_twice),
      TEST(test_own_connection),
      TEST(test_alone),
      TEST(test_delivered_before_the_echo),
      TEST(test_answers_of_a_turn_share_a_publish),
      TEST(test_answers_once),
      TEST(test_each_sender_has_its_answer),
      TEST(test_more_than_one_publish_holds),
      TEST(test_no_answer_without_a_link),
      TEST(test_no_memory_for_an_answer),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
