/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Who is here, which channels are wanted, whose a message is, and how the
 * cluster stands: a server on a fake transport. */

#include "observed_node.h"

#include "envelope.h"
#include "server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b, c;
} fixture;

static int setup(void **state) {
  return observed_setup(state, sizeof(fixture));
}

static void open_client(fixture *f, simple_client *client, const char *target) {
  simple_client_open(client, &f->node.loop.loop, f->node.port, target, NULL);
}

/* Wait until the transport was asked for exactly this. */
static void await_asked(fixture *f, const char *words) {
  node_await(&f->node, strcmp(f->node.fake.asked, words) == 0);
}

static uint32_t say(fixture *f, const char *channel, const char *payload) {
  return fake_transport_say(&f->node.fake, channel, cp_str(payload));
}

static const char *node_channel(const fixture *f) {
  static char name[64];

  snprintf(name, sizeof name, "cp:n:{%016llx}",
           (unsigned long long)cp_server_instance(f->node.server));
  return name;
}

/* An envelope for a serial (0: without). */
static cp_bytes envelope_of(cp__kind kind, uint64_t serial, const char *body) {
  static uint8_t bytes[512];
  cp__envelope envelope;
  size_t n;

  memset(&envelope, 0, sizeof envelope);
  envelope.kind = kind;
  if (serial != 0) {
    envelope.flags = CP__FIELD_SERIAL;
    envelope.serial = serial;
  }
  n = cp__envelope_write_head(bytes, &envelope);
  memcpy(bytes + n, body, strlen(body));
  return cp_bytes_of(bytes, n + strlen(body));
}

static cp_stats stats_of(const fixture *f) {
  return observed_stats(&f->node);
}

/* The cluster's state. */

static void test_comes_up(void **state) {
  fixture *f = *state;
  char first[128];

  observed_node_start(&f->node);
  assert_true(observed_node_heard(&f->node, ""));
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_DOWN);
  assert_string_equal(cp_server_cluster_reason(f->node.server), "");
  fake_transport_link(&f->node.fake, 0);
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "degraded "));
  snprintf(first, sizeof first, "+cp:all +%s ", node_channel(f));
  assert_string_equal(f->node.fake.asked, first);
  assert_true(fake_transport_confirm(&f->node.fake, 0));
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_DEGRADED);
  assert_true(fake_transport_confirm(&f->node.fake, 0));
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_UP);
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "degraded up "));
  assert_int_equal(stats_of(f).links, 1);
}

static void test_tells_each_reason_once(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  fake_transport_unlink(&f->node.fake, "refused");
  observed_node_poll(&f->node);
  assert_string_equal(cp_server_cluster_reason(f->node.server), "refused");
  fake_transport_unlink(&f->node.fake, "refused");
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "down "));
  fake_transport_unlink(&f->node.fake, "no password");
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "down down "));
}

static void test_goes_and_returns(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  fake_transport_unlink(&f->node.fake, "cable");
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_DOWN);
  assert_string_equal(cp_server_cluster_reason(f->node.server), "cable");
  observed_node_poll(&f->node);
  fake_transport_link(&f->node.fake, 0);
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "down degraded up "));
}

static void test_health(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  fake_transport_set_health(&f->node.fake, 1, "a probe is late");
  observed_node_poll(&f->node);
  assert_string_equal(cp_server_cluster_reason(f->node.server),
                      "a probe is late");
  fake_transport_set_health(&f->node.fake, 0, "heard again");
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "degraded up "));
  /* A new link starts in good health. */
  fake_transport_set_health(&f->node.fake, 1, "a probe is late");
  fake_transport_unlink(&f->node.fake, "and missing");
  fake_transport_link(&f->node.fake, 0);
  observed_node_poll(&f->node);
  fake_transport_confirm_all(&f->node.fake);
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_UP);
}

static void test_degraded_for_two_reasons(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  fake_transport_set_health(&f->node.fake, 1, "a probe is late");
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  fake_transport_confirm(&f->node.fake, CP_E_REDIS);
  assert_string_equal(cp_server_cluster_reason(f->node.server),
                      "not every channel is confirmed");
  fake_transport_set_health(&f->node.fake, 0, "");
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_DEGRADED);
}

static void test_confirmed_during_the_calls(void **state) {
  fixture *f = *state;

  f->node.fake.confirm_at_once = true;
  observed_node_start(&f->node);
  fake_transport_link(&f->node.fake, 0);
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "up "));
  observed_node_connect(&f->node, &f->a, "alice");
  assert_true(observed_node_heard(&f->node, "up open:alice "));
}

/* Open means reachable. */

static void test_101_waits_for_the_subscription(void **state) {
  fixture *f = *state;
  int i;

  f->node.options.subscribe_wait_ms = 3600000;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  for (i = 0; i < 20; i++)
    observed_node_poll(&f->node);
  assert_int_equal(f->a.status, 0);
  assert_true(observed_node_heard(&f->node, ""));
  fake_transport_confirm(&f->node.fake, 0);
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard(&f->node, "open:alice "));
  assert_int_equal(say(f, "cp:u:{alice}", "hello"), 1);
}

static void test_opens_unconfirmed_after_a_while(void **state) {
  fixture *f = *state;

  f->node.options.subscribe_wait_ms = 50;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard(&f->node, "open!alice "));
  /* What comes too late does no harm. */
  fake_transport_confirm(&f->node.fake, 0);
  observed_node_poll(&f->node);
  assert_true(observed_node_heard(&f->node, "open!alice "));
}

static void test_opens_at_once_while_unlinked(void **state) {
  fixture *f = *state;

  f->node.options.subscribe_wait_ms = 3600000;
  observed_node_start(&f->node);
  open_client(f, &f->a, "/?user=alice");
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard(&f->node, "open!alice "));
}

static void test_opens_when_the_link_breaks(void **state) {
  fixture *f = *state;

  f->node.options.subscribe_wait_ms = 3600000;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  fake_transport_unlink(&f->node.fake, "break");
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard(&f->node, "down open!alice "));
}

static void test_refused_subscription(void **state) {
  fixture *f = *state;

  f->node.options.subscribe_wait_ms = 50;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  fake_transport_confirm(&f->node.fake, CP_E_REDIS);
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_DEGRADED);
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard(&f->node, "degraded open!alice "));
}

static void test_refused_is_tried_again(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  f->node.server->registry.retrying.timeout_ms = 20; /* for 5,000 */
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  fake_transport_confirm(&f->node.fake, CP_E_REDIS);
  await_asked(f, "+cp:u:{alice} +cp:u:{alice} ");
  fake_transport_confirm(&f->node.fake, CP_E_REDIS);
  await_asked(f, "+cp:u:{alice} +cp:u:{alice} +cp:u:{alice} ");
  fake_transport_confirm(&f->node.fake, 0);
  node_await(&f->node, f->a.status == 101);
  assert_true(observed_node_heard_word(&f->node, "open:alice"));
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_UP);
}

static void test_second_connection_opens_at_once(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_forget(&f->node.fake);
  open_client(f, &f->b, "/?user=alice");
  node_await(&f->node, f->b.status == 101);
  assert_string_equal(f->node.fake.asked, "");
  assert_int_equal(say(f, "cp:u:{alice}", "hello"), 2);
  node_await(&f->node, f->a.n_messages == 1 && f->b.n_messages == 1);
  assert_int_equal(stats_of(f).users, 1);
  assert_int_equal(stats_of(f).conns, 2);
}

static void test_link_returns(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_unlink(&f->node.fake, "break");
  observed_node_connect(&f->node, &f->b, "bob");
  fake_transport_forget(&f->node.fake);
  fake_transport_link(&f->node.fake, 1);
  node_await(&f->node, fake_transport_n_unconfirmed(&f->node.fake) == 4);
  assert_non_null(strstr(f->node.fake.asked, "+cp:u:{alice} "));
  assert_non_null(strstr(f->node.fake.asked, "+cp:u:{bob} "));
  fake_transport_confirm_all(&f->node.fake);
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_UP);
  assert_int_equal(say(f, "cp:u:{alice}", "x"), 1);
}

/* Leaving. */

static void test_leaves_after_the_delay(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 30;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.conn == NULL);
  assert_int_equal(f->node.fake.n_unsubscribed, 0);
  assert_int_equal(say(f, "cp:u:{alice}", "hello"), 0);
  assert_int_equal(stats_of(f).users, 0);
  node_await(&f->node, f->node.fake.n_unsubscribed == 1);
  fake_transport_confirm_all(&f->node.fake);
  assert_int_equal(cp_server_cluster_state(f->node.server), CP_UP);
}

static void test_a_reload_costs_nothing(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 3600000;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.conn == NULL);
  fake_transport_forget(&f->node.fake);
  open_client(f, &f->b, "/?user=alice");
  node_await(&f->node, f->b.status == 101);
  assert_string_equal(f->node.fake.asked, "");
}

static void test_returns_before_unsubscribe_is_confirmed(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 0;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.fake.n_unsubscribed == 1);
  fake_transport_forget(&f->node.fake);
  open_client(f, &f->b, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  fake_transport_confirm(&f->node.fake, 0); /* the UNSUBSCRIBE */
  observed_node_poll(&f->node);
  assert_int_equal(f->b.status, 0);
  fake_transport_confirm(&f->node.fake, 0);
  node_await(&f->node, f->b.status == 101);
  assert_true(observed_node_heard_word(&f->node, "open:alice"));
}

static void test_leaves_while_unlinked(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 0;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_unlink(&f->node.fake, "break");
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.conn == NULL);
  observed_node_connect(&f->node, &f->b, "bob");
  simple_client_hang_up(&f->b);
  node_await(&f->node, f->node.conn == NULL);
  node_await(&f->node, f->node.server->registry.users.n_nodes == 0);
  fake_transport_forget(&f->node.fake);
  fake_transport_link(&f->node.fake, 0);
  node_await(&f->node, f->node.fake.len > 0);
  assert_null(strstr(f->node.fake.asked, "cp:u:"));
}

static void test_client_leaves_before_the_confirmation(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 0;
  f->node.options.subscribe_wait_ms = 50;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+cp:u:{alice} ");
  simple_client_hang_up(&f->a);
  node_await(&f->node, f->node.fake.n_unsubscribed == 1);
  fake_transport_confirm_all(&f->node.fake);
  assert_int_equal(stats_of(f).users, 0);
}

/* Too many connections of one user. */

static void test_oldest_is_closed(void **state) {
  fixture *f = *state;

  f->node.options.max_conns_per_user = 2;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "alice");
  observed_node_connect(&f->node, &f->c, "alice");
  node_await(&f->node, f->a.gone);
  assert_int_equal(f->a.close_code, CP_CLOSE_TOO_MANY);
  assert_int_equal(f->b.close_code, 0);
  assert_int_equal(say(f, "cp:u:{alice}", "x"), 2);
}

static void count_upgrades(observed_node *node, const char *hook,
                           cp_conn *conn) {
  int *n = node->data;

  (void)conn;
  *n += strcmp(hook, "upgrade") == 0;
}

/* None of them is open when they are accepted. */
static void test_oldest_of_a_crowd_are_closed(void **state) {
  fixture *f = *state;
  int n_asked = 0;
  int n_open;

  f->node.also = count_upgrades;
  f->node.data = &n_asked;
  f->node.options.max_conns_per_user = 1;
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  open_client(f, &f->b, "/?user=alice");
  open_client(f, &f->c, "/?user=alice");
  node_await(&f->node, n_asked == 3);
  fake_transport_confirm_all(&f->node.fake);
  node_await(&f->node, f->a.gone + f->b.gone + f->c.gone >= 2);
  f->node.also = NULL;
  n_open = !f->a.gone + !f->b.gone + !f->c.gone;
  assert_int_equal(n_open, 1);
  assert_int_equal(say(f, "cp:u:{alice}", "x"), 1);
}

static void test_no_limit_per_user(void **state) {
  fixture *f = *state;

  f->node.options.max_conns_per_user = 0;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "alice");
  observed_node_connect(&f->node, &f->c, "alice");
  assert_int_equal(say(f, "cp:u:{alice}", "x"), 3);
}

/* Messages. */

static void test_anybody_can_push(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "bob");
  assert_int_equal(say(f, "cp:u:{alice}", "text"), 1);
  assert_int_equal(say(f, "cp:u:{bob}", "for bob"), 1);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}",
                                      cp_bytes_of("\xc1\x00raw", 5)),
                   1);
  assert_int_equal(say(f, "cp:all", "everybody"), 2);
  assert_int_equal(say(f, "cp:u:{alice}", ""), 1);
  node_await(&f->node, f->a.n_messages == 4 && f->b.n_messages == 2);
  assert_string_equal(f->a.messages, "text|raw|everybody||");
  assert_string_equal(f->b.messages, "for bob|everybody|");
  assert_int_equal(stats_of(f).cluster_in, 5);
  assert_int_equal(stats_of(f).malformed, 0);
}

static void test_malformed_payloads_are_counted(void **state) {
  fixture *f = *state;
  char big[201];

  f->node.options.max_message = 200;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  memset(big, 'x', sizeof big);
  assert_int_equal(say(f, "cp:u:{alice}", "\xc1"), 0);
  assert_int_equal(say(f, "cp:u:{alice}", "\xc1\x01short"), 0);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}",
                                      envelope_of(CP__KIND_TEXT, 0, "\xff")),
                   0);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}",
                                      envelope_of(CP__KIND_PROBE, 0, "")),
                   0);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}",
                                      cp_bytes_of(big, sizeof big)),
                   0);
  assert_int_equal(stats_of(f).malformed, 5);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:u:{alice}",
                                      cp_bytes_of(big, sizeof big - 1)),
                   1);
}

static void test_foreign_channels_are_nobodys(void **state) {
  static const char *const channels[] = {
      "",        "cp",           "cp:",          "cp:u:",       "cp:u:{}",
      "cp:u:{x", "cp:u:{nope}",  "cx:u:{alice}", "cp:allsorts", "alice",
      "cp:n:",   "xcp:u:{alice}"};
  fixture *f = *state;
  size_t i;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  for (i = 0; i < sizeof channels / sizeof *channels; i++)
    assert_int_equal(say(f, channels[i], "x"), 0);
}

static void test_message_for_one_connection(void **state) {
  fixture *f = *state;
  cp_conn_id id;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  id = f->node.id;
  observed_node_connect(&f->node, &f->b, "alice");
  assert_int_equal(
      fake_transport_say(&f->node.fake, node_channel(f),
                         envelope_of(CP__KIND_TEXT, id.serial, "one")),
      1);
  /* A serial means something on the own channel alone. */
  assert_int_equal(
      fake_transport_say(&f->node.fake, "cp:n:{0000000000000001}",
                         envelope_of(CP__KIND_TEXT, id.serial, "wrong")),
      0);
  assert_int_equal(fake_transport_say(&f->node.fake, node_channel(f),
                                      envelope_of(CP__KIND_TEXT, 0, "none")),
                   0);
  node_await(&f->node, f->a.n_messages == 1);
  assert_string_equal(f->a.messages, "one|");
  simple_client_hang_up(&f->a);
  node_await(&f->node, stats_of(f).conns == 1);
  assert_int_equal(
      fake_transport_say(&f->node.fake, node_channel(f),
                         envelope_of(CP__KIND_TEXT, id.serial, "gone")),
      0);
  assert_int_equal(f->b.n_messages, 0);
}

static void test_users_of_any_bytes(void **state) {
  fixture *f = *state;
  char target[1024] = "/?user=";
  char channel[300] = "cp:u:{";
  size_t i;

  observed_node_start_linked(&f->node);
  for (i = 0; i < 255; i++)
    strcat(target, "%7B"); /* '{' */
  memset(channel + 6, '{', 255);
  strcpy(channel + 6 + 255, "}");
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, target, NULL);
  node_await(&f->node,
             (fake_transport_confirm_all(&f->node.fake), f->a.status == 101));
  assert_int_equal(say(f, channel, "x"), 1);
  open_client(f, &f->b, "/?user=a%00%0a%20");
  node_await(&f->node,
             (fake_transport_confirm_all(&f->node.fake), f->b.status == 101));
  fake_transport_forget(&f->node.fake);
  assert_int_equal(fake_transport_say(&f->node.fake, "cp:all", cp_str("x")), 2);
  assert_int_equal(stats_of(f).users, 2);
}

static void test_prefix(void **state) {
  fixture *f = *state;

  f->node.options.prefix = "app:7";
  observed_node_start_linked(&f->node);
  open_client(f, &f->a, "/?user=alice");
  await_asked(f, "+app:7:u:{alice} ");
  fake_transport_confirm_all(&f->node.fake);
  node_await(&f->node, f->a.status == 101);
  assert_int_equal(say(f, "app:7:u:{alice}", "x"), 1);
  assert_int_equal(say(f, "app:7:all", "x"), 1);
  assert_int_equal(say(f, "cp:u:{alice}", "x"), 0);
}

#define TEST(name) \
  cmocka_unit_test_setup_teardown(name, setup, observed_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_comes_up),
      TEST(test_tells_each_reason_once),
      TEST(test_goes_and_returns),
      TEST(test_health),
      TEST(test_degraded_for_two_reasons),
      TEST(test_confirmed_during_the_calls),
      TEST(test_101_waits_for_the_subscription),
      TEST(test_opens_unconfirmed_after_a_while),
      TEST(test_opens_at_once_while_unlinked),
      TEST(test_opens_when_the_link_breaks),
      TEST(test_refused_subscription),
      TEST(test_refused_is_tried_again),
      TEST(test_second_connection_opens_at_once),
      TEST(test_link_returns),
      TEST(test_leaves_after_the_delay),
      TEST(test_a_reload_costs_nothing),
      TEST(test_returns_before_unsubscribe_is_confirmed),
      TEST(test_leaves_while_unlinked),
      TEST(test_client_leaves_before_the_confirmation),
      TEST(test_oldest_is_closed),
      TEST(test_oldest_of_a_crowd_are_closed),
      TEST(test_no_limit_per_user),
      TEST(test_anybody_can_push),
      TEST(test_malformed_payloads_are_counted),
      TEST(test_foreign_channels_are_nobodys),
      TEST(test_message_for_one_connection),
      TEST(test_users_of_any_bytes),
      TEST(test_prefix),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
