/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Redis goes away, and comes back: what a node sends meanwhile, and what it had
 * sent when the link broke. On a fake transport. */

#include "observed_node.h"

#include "dedup.h"
#include "envelope.h"
#include "hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b;
  observed_send send, send2, send3;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  observed_node_init(&f->node);
  f->node.fake.hands_back = true;
  *state = f;
  return 0;
}

static cp_stats stats_of(const fixture *f) {
  return observed_stats(&f->node);
}

static void poll_some(fixture *f) {
  int i;

  for (i = 0; i < 5; i++)
    observed_node_poll(&f->node);
}

static void send_to(fixture *f, observed_send *send, const char *user,
                    const char *text) {
  assert_int_equal(observed_send_to_user(&f->node, send, user, text), 0);
}

static void assert_result(fixture *f, const observed_send *send, cp_state state,
                          int error, uint32_t subscribers) {
  node_await(&f->node, send->n_calls > 0);
  assert_int_equal(send->n_calls, 1);
  assert_int_equal(send->result.state, state);
  assert_int_equal(send->result.error, error);
  assert_int_equal(send->result.subscribers, subscribers);
}

static void unlink_now(fixture *f) {
  fake_transport_unlink(&f->node.fake, "break");
  poll_some(f);
  fake_transport_forget(&f->node.fake);
}

/* ... where everything else is nobody's. */
static void link_again(fixture *f) {
  f->node.fake.confirm_at_once = true;
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
}

static cp__envelope last_envelope(const fixture *f) {
  cp__envelope envelope;

  assert_int_equal(cp__envelope_read(&envelope, f->node.fake.last_payload), 0);
  return envelope;
}

/* What waits. */

static void test_waits_and_goes_out_in_order(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  observed_broadcast(&f->node, &f->send2, "two");
  send_to(f, &f->send3, "bob", "three");
  poll_some(f);
  assert_int_equal(f->send.n_calls + f->send2.n_calls + f->send3.n_calls, 0);
  assert_int_equal(stats_of(f).outbox_messages, 3);
  assert_true(stats_of(f).outbox_bytes > 11);
  link_again(f);
  assert_non_null(strstr(f->node.fake.asked,
                         "cp:u:{bob}<one cp:all<two cp:u:{bob}<three "));
  assert_int_equal(last_envelope(f).incarnation, 2);
  assert_int_equal(stats_of(f).outbox_messages, 0);
  assert_int_equal(stats_of(f).outbox_bytes, 0);
  fake_transport_answer(&f->node.fake, 0, 1);
  fake_transport_answer(&f->node.fake, 0, 2);
  fake_transport_answer(&f->node.fake, 0, 0);
  assert_result(f, &f->send, CP_REACHED, 0, 1);
  assert_result(f, &f->send2, CP_REACHED, 0, 2);
  assert_result(f, &f->send3, CP_NONE, 0, 0);
}

/* The connections here have it at once, and not again by its echo. */
static void test_own_connections_get_it_at_once(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  unlink_now(f);
  send_to(f, &f->send, "alice", "one");
  node_await(&f->node, f->a.n_messages == 1);
  link_again(f);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 0);
  fake_transport_answer(&f->node.fake, 0, 0);
  assert_result(f, &f->send, CP_REACHED, 0, 1);
  send_to(f, &f->send, "alice", "two");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 1);
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "one|two|");
}

/* What is sent before the outbox is empty goes behind it. */
static void test_newer_goes_behind(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  f->node.fake.fail_publish = CP_E_FULL;
  link_again(f);
  send_to(f, &f->send2, "bob", "two");
  assert_int_equal(stats_of(f).outbox_messages, 2);
  f->node.fake.fail_publish = 0;
  poll_some(f);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<one cp:u:{bob}<two "));
}

static void test_too_many_bytes(void **state) {
  fixture *f = *state;

  f->node.options.outbox_bytes = 200;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  assert_int_equal(stats_of(f).outbox_messages, 1);
  send_to(f, &f->send2, "bob", "two");
  send_to(f, &f->send3, "alice", "three");
  assert_result(f, &f->send2, CP_DROPPED, CP_E_FULL, 0);
  assert_result(f, &f->send3, CP_DROPPED, CP_E_FULL, 1);
  node_await(&f->node, f->a.n_messages == 1);
  assert_int_equal(f->send.n_calls, 0);
  assert_int_equal(stats_of(f).outbox_dropped, 2);
}

static void test_too_old(void **state) {
  fixture *f = *state;

  f->node.options.outbox_age_ms = 20;
  observed_node_start_linked(&f->node);
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  run_until(&f->node.loop, f->send.n_calls == 1); /* the timer wakes the loop */
  assert_result(f, &f->send, CP_DROPPED, CP_E_TIMEOUT, 0);
  assert_int_equal(stats_of(f).outbox_dropped, 1);
  assert_int_equal(stats_of(f).outbox_messages, 0);
}

static void test_refused_at_last(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  f->node.fake.fail_publish = CP_E_TOOBIG;
  link_again(f);
  assert_result(f, &f->send, CP_DROPPED, CP_E_TOOBIG, 0);
}

static void test_close_cancels_what_waits(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, &f->send2, "bob", "written");
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  cp_server_close(f->node.server, 0, NULL);
  f->node.server = NULL;
  assert_result(f, &f->send, CP_CANCELED, CP_E_CANCELED, 0);
  assert_result(f, &f->send2, CP_UNKNOWN, CP_E_CLOSED, 0);
}

/* ... until the grace is over, or made shorter. */
static void test_close_waits_for_the_link(void **state) {
  fixture *f = *state;

  f->node.fake.hold_close = true;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  cp_server_close(f->node.server, 3600000, NULL);
  node_await(&f->node, f->a.close_code == 1001);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  link_again(f);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<one close:"));
  fake_transport_answer(&f->node.fake, 0, 1);
  fake_transport_finish_close(&f->node.fake);
  node_await(&f->node, f->send.n_calls == 1);
  assert_int_equal(f->send.result.subscribers, 1);
  f->node.server = NULL;
}

static void test_close_waits_for_so_long(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  unlink_now(f);
  send_to(f, &f->send, "bob", "one");
  cp_server_close(f->node.server, 3600000, NULL);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  cp_server_close(f->node.server, 20, NULL);
  assert_result(f, &f->send, CP_CANCELED, CP_E_CANCELED, 0);
  f->node.server = NULL;
}

/* What was unanswered. */

/* It goes out again first, byte by byte the same. */
static void test_unanswered_is_published_again(void **state) {
  fixture *f = *state;
  char before[4096];
  cp_bytes payload;

  observed_node_start_linked(&f->node);
  send_to(f, &f->send, "bob", "one");
  payload = f->node.fake.last_payload;
  memcpy(before, payload.data, payload.len);
  unlink_now(f);
  assert_int_equal(f->node.fake.n_handed_back, 1);
  poll_some(f);
  assert_int_equal(f->send.n_calls, 0);
  link_again(f);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<one "));
  assert_int_equal(f->node.fake.last_payload.len, payload.len);
  assert_memory_equal(f->node.fake.last_payload.data, before, payload.len);
  assert_int_equal(last_envelope(f).incarnation, 1);
  assert_int_equal(stats_of(f).republished, 1);
  fake_transport_answer(&f->node.fake, 0, 1);
  assert_result(f, &f->send, CP_UNSURE, 0, 1);
}

/* The second link breaks while there is still something to be published. */
static void test_order_through_two_breaks(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, &f->send, "bob", "1");
  send_to(f, &f->send, "bob", "2");
  unlink_now(f);
  send_to(f, &f->send, "bob", "3");
  link_again(f); /* all three are out; the first is answered */
  fake_transport_answer(&f->node.fake, 0, 1);
  send_to(f, &f->send, "bob", "4");
  unlink_now(f);
  send_to(f, &f->send, "bob", "5");
  f->node.fake.fail_publish = CP_E_FULL;
  link_again(f);
  unlink_now(f);
  f->node.fake.fail_publish = 0;
  link_again(f);
  assert_non_null(strstr(f->node.fake.asked,
                         "cp:u:{bob}<2 cp:u:{bob}<3 cp:u:{bob}<4 "
                         "cp:u:{bob}<5 "));
  assert_null(strstr(f->node.fake.asked, "<1 "));
  assert_int_equal(stats_of(f).republished, 2 + 3);
}

static void test_unanswered_without_room(void **state) {
  fixture *f = *state;

  f->node.options.outbox_bytes = 300;
  observed_node_start_linked(&f->node);
  send_to(f, &f->send, "bob", "one");
  send_to(f, &f->send2, "bob", "two");
  unlink_now(f);
  assert_result(f, &f->send2, CP_UNKNOWN, CP_E_CLOSED, 0);
  assert_int_equal(f->send.n_calls, 0);
}

static void test_unanswered_too_old(void **state) {
  fixture *f = *state;

  f->node.options.outbox_age_ms = 20;
  observed_node_start_linked(&f->node);
  send_to(f, &f->send, "bob", "one");
  unlink_now(f);
  assert_result(f, &f->send, CP_UNKNOWN, CP_E_CLOSED, 0);
}

/* A publish that Redis answered by an error is the sender's to repeat, as a
 * message of its own. */
static void test_answered_by_an_error(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  send_to(f, &f->send, "bob", "one");
  assert_int_equal(last_envelope(f).sequence, 1);
  fake_transport_answer(&f->node.fake, CP_E_REDIS, 0);
  assert_result(f, &f->send, CP_DROPPED, CP_E_REDIS, 0);
  unlink_now(f);
  assert_int_equal(f->node.fake.n_handed_back, 0);
  link_again(f);
  send_to(f, &f->send, "bob", "one");
  assert_int_equal(last_envelope(f).sequence, 2);
}

/* No n-th malloc that fails loses a message without a word. */
static void test_without_memory(void **state) {
  fixture *f = *state;
  bool failed;
  size_t n = 0;

  observed_node_start_linked(&f->node);
  unlink_now(f);
  do {
    int rc;

    observed_send_init(&f->send);
    f->node.memory.failed = false;
    f->node.memory.fail_at = f->node.memory.n_calls + ++n;
    rc = observed_send_to_user(&f->node, &f->send, "bob", "x");
    failed = f->node.memory.failed;
    f->node.memory.fail_at = 0;
    assert_int_equal(rc, failed ? CP_E_NOMEM : 0);
  } while (failed);
  assert_true(n > 2);
  assert_int_equal(stats_of(f).outbox_messages, 1);
}

/* What comes back. */

static void say_to(fixture *f, const char *channel, uint64_t instance,
                   uint32_t incarnation, uint64_t sequence, const char *body) {
  uint8_t payload[128];
  cp__envelope envelope;
  size_t len;

  memset(&envelope, 0, sizeof envelope);
  envelope.kind = CP__KIND_TEXT;
  envelope.instance = instance;
  envelope.incarnation = incarnation;
  envelope.sequence = sequence;
  len = cp__envelope_write_head(payload, &envelope);
  memcpy(payload + len, body, strlen(body));
  fake_transport_say(&f->node.fake, channel,
                     cp_bytes_of(payload, len + strlen(body)));
}

static void say(fixture *f, uint64_t instance, uint32_t incarnation,
                uint64_t sequence, const char *body) {
  say_to(f, "cp:u:{alice}", instance, incarnation, sequence, body);
}

/* Another node, whose link broke, publishes again what it got no answer for. */
static void test_duplicates_are_dropped(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  say(f, 7, 1, 1, "1");
  say(f, 7, 1, 2, "2");
  say(f, 7, 1, 2, "2"); /* its link is new; this one had come */
  say(f, 7, 1, 3, "3"); /* ... this one had not */
  say(f, 7, 2, 4, "4");
  say(f, 7, 2, 4, "4");
  say(f, 0, 0, 0, "5"); /* who doesn't de-duplicate */
  say(f, 0, 0, 0, "5");
  node_await(&f->node, f->a.n_messages == 6);
  assert_string_equal(f->a.messages, "1|2|3|4|5|5|");
  assert_int_equal(stats_of(f).duplicates, 2);
}

/* A later number that comes first, by another server, says nothing; of the same
 * slot it tells that an older one is too late. */
static void test_unordered_duplicates(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "bob");
  say_to(f, "cp:u:{alice}", 7, 1, 3, "3");
  say_to(f, "cp:u:{bob}", 7, 1, 2, "2");
  say_to(f, "cp:u:{alice}", 7, 1, 3, "3");
  say_to(f, "cp:u:{bob}", 7, 1, 1, "1");
  say_to(f, "cp:u:{alice}", 7, 2, 4, "4");
  say_to(f, "cp:u:{alice}", 7, 1, 2, "2");
  say_to(f, "cp:u:{bob}", 8, 1, 1, "8");
  say_to(f, "cp:all", 7, 2, 1, "all");
  node_await(&f->node, f->a.n_messages == 3 && f->b.n_messages == 3);
  assert_string_equal(f->a.messages, "3|4|all|");
  assert_string_equal(f->b.messages, "2|8|all|");
  assert_int_equal(stats_of(f).duplicates, 3);
}

/* Published a second time since it had seemed to reach nobody. */
static void test_unordered_echoes_twice(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "one");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  fake_transport_answer(&f->node.fake, 0, 1);
  send_to(f, &f->send2, "alice", "two");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "one|two|");
  assert_int_equal(stats_of(f).duplicates, 1);
}

/* What one of several servers can't take is not waited for. */
static void test_unordered_does_not_wait_while_linked(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  f->node.fake.fail_publish = CP_E_DOWN;
  send_to(f, &f->send, "bob", "lost");
  node_await(&f->node, f->send.n_calls == 1);
  assert_int_equal(f->send.result.state, CP_UNSURE);
  assert_int_equal(f->send.result.error, CP_E_DOWN);
  f->node.fake.fail_publish = 0;
  send_to(f, &f->send2, "carol", "goes out");
  assert_int_equal(stats_of(f).outbox_messages, 0);
  fake_transport_answer(&f->node.fake, 0, 1);
  node_await(&f->node, f->send2.n_calls == 1);
}

/* One of several servers went, and took with it what it had not echoed. */
static void test_unordered_loses_one_server(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "one");
  f->node.fake.host->on_lost(f->node.fake.host->ctx,
                             f->node.fake.last_subscribed,
                             uv_now(&f->node.loop.loop));
  send_to(f, &f->send2, "alice", "two");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "one|two|");
  fake_transport_answer(&f->node.fake, CP_E_TIMEOUT, 0);
  assert_result(f, &f->send, CP_DROPPED, CP_E_TIMEOUT, 0);
  assert_int_equal(stats_of(f).outbox_dropped, 1);
}

static void lose(fixture *f, void *token) {
  const cp_transport_host *host = f->node.fake.host;
  host->on_lost(host->ctx, token, uv_now(&f->node.loop.loop));
}

/* Alice's server goes. Bob's is another one, so that his echo came says nothing
 * of hers. */
static void test_unordered_break_before_the_echo(void **state) {
  fixture *f = *state;
  void *alices;
  cp_bytes echo;
  char copy[256];

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  alices = f->node.fake.last_subscribed;
  observed_node_connect(&f->node, &f->b, "bob");
  send_to(f, &f->send, "alice", "1");
  fake_transport_answer(&f->node.fake, 0, 1);
  echo = f->node.fake.last_payload;
  memcpy(copy, echo.data, echo.len);
  send_to(f, &f->send2, "bob", "2");
  fake_transport_echo(&f->node.fake, "cp:u:{bob}");
  node_await(&f->node, f->b.n_messages == 1);
  assert_int_equal(f->a.n_messages, 0);
  lose(f, alices);
  node_await(&f->node, f->a.n_messages == 1);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}",
                                      cp_bytes_of(copy, echo.len)),
                   0);
  send_to(f, &f->send3, "alice", "3");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  unlink_now(f);
  assert_string_equal(f->a.messages, "1|3|");
  assert_string_equal(f->b.messages, "2|");
}

/* Of one target's messages, what comes tells that no older one will. */
static void test_unordered_break_keeps_the_order(void **state) {
  fixture *f = *state;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "1");
  send_to(f, &f->send2, "alice", "2");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  send_to(f, &f->send3, "alice", "3");
  lose(f, f->node.fake.last_subscribed);
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "2|3|");
}

/* So many others spoke since that it isn't remembered what was heard of our
 * own: still nobody gets it again. */
static void test_unordered_break_among_many(void **state) {
  fixture *f = *state;
  void *alices;
  uint64_t i;

  f->node.fake.base.unordered = 1;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  alices = f->node.fake.last_subscribed;
  observed_node_connect(&f->node, &f->b, "bob");
  send_to(f, &f->send, "alice", "unheard");
  send_to(f, &f->send2, "bob", "heard");
  fake_transport_echo(&f->node.fake, "cp:u:{bob}");
  for (i = 1; i <= CP__DEDUP_MAX_UNORDERED + 1; i++)
    say_to(f, "cp:u:{carol}", i, 1, 1, "for nobody here");
  lose(f, alices);
  node_await(&f->node, f->a.n_messages == 1 && f->b.n_messages == 1);
  poll_some(f);
  assert_string_equal(f->b.messages, "heard|");
}

/* It may wait for its server behind a probe, but not for ever. */
static void test_unordered_break_after_a_probe(void **state) {
  fixture *f = *state;
  const cp_transport_host *host;

  f->node.fake.base.unordered = 1;
  f->node.options.outbox_age_ms = 500;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  host = f->node.fake.host;
  send_to(f, &f->send, "alice", "1");
  host->on_proven(host->ctx, uv_now(&f->node.loop.loop) + 500);
  lose(f, f->node.fake.last_subscribed);
  node_await(&f->node, f->a.n_messages == 1);
  poll_some(f); /* and she is subscribed again */
  fake_transport_confirm_all(&f->node.fake);
  send_to(f, &f->send2, "alice", "2");
  host->on_proven(host->ctx, uv_now(&f->node.loop.loop) + 501);
  unlink_now(f);
  assert_string_equal(f->a.messages, "1|");
}

/* Through a break of our own link, too. */
static void test_duplicates_after_our_own_break(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  say(f, 7, 1, 1, "1");
  unlink_now(f);
  link_again(f);
  say(f, 7, 1, 1, "1");
  say(f, 7, 2, 2, "2");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "1|2|");
}

/* The link breaks between a publish and its echo: answered or not, the
 * connections here have it, once, in order. */
static void test_break_before_the_echo(void **state) {
  fixture *f = *state;
  cp_bytes one;
  char copy[256];

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "answered");
  fake_transport_answer(&f->node.fake, 0, 1);
  send_to(f, &f->send2, "alice", "unanswered");
  one = f->node.fake.last_payload;
  memcpy(copy, one.data, one.len);
  one.data = copy;
  observed_broadcast(&f->node, &f->send3, "everybody");
  assert_int_equal(f->a.n_messages, 0);
  unlink_now(f);
  node_await(&f->node, f->a.n_messages == 3);
  send_to(f, &f->send, "alice", "away");
  link_again(f);
  fake_transport_say(&f->node.fake, "cp:u:{alice}", one); /* again */
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");     /* "away" */
  send_to(f, &f->send, "alice", "back");
  fake_transport_echo(&f->node.fake, "cp:u:{alice}");
  node_await(&f->node, f->a.n_messages == 5);
  assert_string_equal(f->a.messages,
                      "answered|unanswered|everybody|away|back|");
}

/* Redis has closed the subscriber, the break is on its way here: nobody was
 * subscribed, but somebody is connected. */
static void test_answered_before_the_break(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "one");
  fake_transport_answer(&f->node.fake, 0, 0);
  assert_result(f, &f->send, CP_UNSURE, 0, 0);
  assert_int_equal(f->a.n_messages, 0);
  unlink_now(f);
  node_await(&f->node, f->a.n_messages == 1);
  send_to(f, &f->send2, "bob", "nobody here");
  link_again(f);
  fake_transport_answer(&f->node.fake, 0, 0);
  assert_result(f, &f->send2, CP_NONE, 0, 0);
}

/* What was heard is not delivered again by the break. */
static void test_break_after_the_echo(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "1");
  send_to(f, &f->send, "alice", "2");
  fake_transport_echo(&f->node.fake,
                      "cp:u:{alice}"); /* of 2, so 1's was lost */
  unlink_now(f);
  send_to(f, &f->send, "alice", "3");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "2|3|");
}

/* A probe that was heard tells the same of what lies before it. */
static void test_break_after_a_probe(void **state) {
  fixture *f = *state;
  cp_transport_host const *host;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  host = f->node.fake.host;
  send_to(f, &f->send, "alice", "1");
  host->on_proven(host->ctx, uv_now(&f->node.loop.loop) + 1);
  unlink_now(f);
  poll_some(f);
  assert_int_equal(f->a.n_messages, 0);
}

/* Too many bytes that were not heard: as at a break, they are delivered now,
 * and their echoes dropped. */
static void test_too_many_unheard(void **state) {
  fixture *f = *state;
  cp_bytes echo;
  char copy[256];

  f->node.options.echo_bytes = 80;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "1");
  echo = f->node.fake.last_payload;
  memcpy(copy, echo.data, echo.len);
  echo.data = copy;
  send_to(f, &f->send, "alice", "2");
  poll_some(f);
  assert_int_equal(f->a.n_messages, 0);
  send_to(f, &f->send, "alice", "3");
  node_await(&f->node, f->a.n_messages == 3);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}", echo), 0);
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 0);
  send_to(f, &f->send, "alice", "4");
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 1);
  node_await(&f->node, f->a.n_messages == 4);
  assert_string_equal(f->a.messages, "1|2|3|4|");
}

/* The transport knows of the break before it tells. */
static void test_nothing_overtakes_the_unheard(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "1");
  f->node.fake.fail_publish = CP_E_DOWN;
  send_to(f, &f->send2, "alice", "2");
  node_await(&f->node, f->a.n_messages == 2);
  assert_string_equal(f->a.messages, "1|2|");
}

/* Nor does anything else that is unheard come early: all of a user's devices
 * see the order of Redis. */
static void test_new_groups_leave_the_order(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "bob");
  send_to(f, &f->send, "alice", "1");
  assert_int_equal(cp_group_join(f->node.conn, cp_str("room")), 0);
  cp_send_to_group(f->node.server, cp_str("room"), CP_TEXT, cp_str("hello"),
                   NULL);
  node_await(&f->node, f->b.n_messages == 1);
  say_to(f, "cp:u:{alice}", 7, 1, 1, "2");
  node_await(&f->node, f->a.n_messages == 1);
  assert_string_equal(f->a.messages, "2|");
  unlink_now(f);
  node_await(&f->node, f->a.n_messages == 2);
}

/* Who comes after an order is not meant by it, however late it is obeyed. */
static void test_break_kicks_who_was_there(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  assert_int_equal(cp_disconnect_user(f->node.server, cp_str("alice"), 4000,
                                      cp_str(""), NULL, 0, NULL),
                   0);
  observed_node_connect(&f->node, &f->b, "alice");
  unlink_now(f);
  node_await(&f->node, f->a.close_code == 4000);
  send_to(f, &f->send, "alice", "1");
  node_await(&f->node, f->b.n_messages == 1);
  assert_int_equal(f->b.close_code, 0);
}

/* What a node sends to its own, and then closes, is there before the end. */
static void test_close_before_the_echo(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_broadcast(&f->node, &f->send, "farewell");
  send_to(f, &f->send2, "alice", "alice");
  cp_server_close(f->node.server, 1000, NULL);
  fake_transport_answer(&f->node.fake, 0, 1);
  fake_transport_answer(&f->node.fake, 0, 1);
  node_await(&f->node, f->a.close_code == 1001);
  assert_string_equal(f->a.messages, "farewell|alice|");
}

/* Coming back together. */

static void hear(fixture *f, cp__kind kind, uint64_t instance) {
  uint8_t payload[CP__ENVELOPE_HEAD_MAX];
  char node[64];
  cp__envelope envelope;
  size_t len;

  memset(&envelope, 0, sizeof envelope);
  envelope.kind = kind;
  envelope.instance = instance;
  len = cp__envelope_write_head(payload, &envelope);
  snprintf(node, sizeof node, "cp:n:{%016llx}",
           (unsigned long long)cp_server_instance(f->node.server));
  fake_transport_say(&f->node.fake, kind == CP__KIND_HELLO ? "cp:all" : node,
                     cp_bytes_of(payload, len));
  poll_some(f);
}

/* Two others are known; then Redis is away and back. */
static void start_among_three(fixture *f) {
  f->node.options.settle_ms = 3600000;
  f->node.options.outbox_age_ms = 3600000;
  observed_node_start_linked(&f->node);
  f->node.fake.notes_hellos = true;
  hear(f, CP__KIND_HELLO, 7);
  hear(f, CP__KIND_WELCOME, 8);
  unlink_now(f);
}

static void test_says_hello_when_up(void **state) {
  fixture *f = *state;

  f->node.fake.notes_hellos = true;
  observed_node_start(&f->node);
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  assert_int_equal(f->node.fake.n_hellos, 0); /* nothing is confirmed yet */
  hear(f, CP__KIND_HELLO, 7);
  assert_int_equal(f->node.fake.n_hellos, 0); /* nor is this answered */
  fake_transport_confirm_all(&f->node.fake);
  poll_some(f);
  assert_non_null(strstr(f->node.fake.asked, "cp:all< "));
  assert_int_equal(f->node.fake.n_hellos, 1);
  fake_transport_forget(&f->node.fake);
  hear(f, CP__KIND_HELLO, 8);
  assert_string_equal(f->node.fake.asked, "cp:n:{0000000000000008}< ");
  fake_transport_forget(&f->node.fake);
  hear(f, CP__KIND_WELCOME, 9);                                /* no answer */
  hear(f, CP__KIND_HELLO, cp_server_instance(f->node.server)); /* our own */
  assert_string_equal(f->node.fake.asked, "");
  assert_int_equal(stats_of(f).malformed, 0);
}

static void test_waits_until_all_spoke(void **state) {
  fixture *f = *state;

  start_among_three(f);
  send_to(f, &f->send, "bob", "one");
  link_again(f);
  assert_non_null(strstr(f->node.fake.asked, "cp:all< "));
  hear(f, CP__KIND_WELCOME, 7);
  hear(f, CP__KIND_WELCOME, 7);
  hear(f, CP__KIND_HELLO, 9); /* a new one */
  send_to(f, &f->send2, "bob", "two");
  assert_null(strstr(f->node.fake.asked, "bob"));
  hear(f, CP__KIND_HELLO, 8);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<one cp:u:{bob}<two "));
  send_to(f, &f->send3, "bob", "three");
  assert_non_null(strstr(f->node.fake.asked, "<three "));
}

/* Also with an empty outbox; and the connections here don't wait. */
static void test_new_sends_wait_too(void **state) {
  fixture *f = *state;

  start_among_three(f);
  link_again(f);
  observed_node_connect(&f->node, &f->a, "alice");
  send_to(f, &f->send, "alice", "one");
  node_await(&f->node, f->a.n_messages == 1);
  assert_null(strstr(f->node.fake.asked, "<one "));
  hear(f, CP__KIND_HELLO, 7);
  hear(f, CP__KIND_HELLO, 8);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{alice}<one "));
  assert_int_equal(fake_transport_echo(&f->node.fake, "cp:u:{alice}"), 0);
}

/* The link breaks while one of them is awaited. */
static void test_break_while_waiting(void **state) {
  fixture *f = *state;

  start_among_three(f);
  send_to(f, &f->send, "bob", "one");
  link_again(f);
  hear(f, CP__KIND_HELLO, 7);
  unlink_now(f);
  link_again(f);
  hear(f, CP__KIND_HELLO, 8);
  assert_null(strstr(f->node.fake.asked, "bob"));
  hear(f, CP__KIND_HELLO, 7);
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<one "));
}

/* One that never speaks is waited for once. */
static void test_does_not_wait_for_ever(void **state) {
  fixture *f = *state;

  f->node.options.settle_ms = 30;
  observed_node_start_linked(&f->node);
  hear(f, CP__KIND_HELLO, 7);
  unlink_now(f);
  link_again(f);
  send_to(f, &f->send, "bob", "one");
  assert_null(strstr(f->node.fake.asked, "bob"));
  /* The timer of the wait wakes the loop, nothing else. */
  run_until(&f->node.loop, strstr(f->node.fake.asked, "cp:u:{bob}<one "));
  unlink_now(f);
  link_again(f);
  send_to(f, &f->send, "bob", "two");
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<two "));
}

static void test_many_peers(void **state) {
  fixture *f = *state;
  uint64_t i;

  observed_node_start_linked(&f->node);
  for (i = 1; i <= CP__HELLO_MAX_PEERS + 10; i++)
    hear(f, CP__KIND_WELCOME, i);
  unlink_now(f);
  link_again(f);
  send_to(f, &f->send, "bob", "one");
  for (i = 1; i <= CP__HELLO_MAX_PEERS; i++) {
    assert_null(strstr(f->node.fake.asked, "bob"));
    hear(f, CP__KIND_WELCOME, i);
  }
  assert_non_null(strstr(f->node.fake.asked, "cp:u:{bob}<one "));
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_waits_and_goes_out_in_order),
      TEST(test_own_connections_get_it_at_once),
      TEST(test_newer_goes_behind),
      TEST(test_too_many_bytes),
      TEST(test_too_old),
      TEST(test_refused_at_last),
      TEST(test_close_cancels_what_waits),
      TEST(test_close_waits_for_the_link),
      TEST(test_close_waits_for_so_long),
      TEST(test_unanswered_is_published_again),
      TEST(test_order_through_two_breaks),
      TEST(test_unanswered_without_room),
      TEST(test_unanswered_too_old),
      TEST(test_answered_by_an_error),
      TEST(test_without_memory),
      TEST(test_duplicates_are_dropped),
      TEST(test_unordered_duplicates),
      TEST(test_unordered_echoes_twice),
      TEST(test_unordered_does_not_wait_while_linked),
      TEST(test_unordered_loses_one_server),
      TEST(test_unordered_break_before_the_echo),
      TEST(test_unordered_break_keeps_the_order),
      TEST(test_unordered_break_among_many),
      TEST(test_unordered_break_after_a_probe),
      TEST(test_duplicates_after_our_own_break),
      TEST(test_break_before_the_echo),
      TEST(test_answered_before_the_break),
      TEST(test_break_after_the_echo),
      TEST(test_break_after_a_probe),
      TEST(test_too_many_unheard),
      TEST(test_nothing_overtakes_the_unheard),
      TEST(test_new_groups_leave_the_order),
      TEST(test_break_kicks_who_was_there),
      TEST(test_close_before_the_echo),
      TEST(test_says_hello_when_up),
      TEST(test_waits_until_all_spoke),
      TEST(test_new_sends_wait_too),
      TEST(test_break_while_waiting),
      TEST(test_does_not_wait_for_ever),
      TEST(test_many_peers),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
