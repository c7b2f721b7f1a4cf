/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What the application is told of spans in which this node was deaf. On a fake
 * transport. */

#include "observed_node.h"

#include "gaps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct fixture {
  observed_node node;
  simple_client a, b, c, d;
  char told[1024]; /* one word a gap: REASON:USER,USER, */
  int n_conns;     /* named in the last one */
  uint64_t from_ms, to_ms;
  bool closes;       /* the server, from inside the hook */
  cp_conn *to_close; /* when alice is named */
  bool loses;        /* alice's channel, from inside the hook */
} fixture;

static void add(fixture *f, const char *text) {
  size_t len = strlen(f->told);
  snprintf(f->told + len, sizeof f->told - len, "%s", text);
}

static void add_user(void *data, cp_bytes user) {
  fixture *f = data;
  char text[300];

  snprintf(text, sizeof text, "%.*s,", (int)user.len, (const char *)user.data);
  add(f, text);
  if (f->to_close != NULL && strcmp(text, "alice,") == 0)
    assert_int_equal(cp_conn_close(f->to_close, 1000, cp_str(NULL)), 0);
}

static void count_conn(void *data, cp_conn *conn) {
  fixture *f = data;

  assert_non_null(conn);
  f->n_conns++;
}

static void *token_of_alice;

static void lose(fixture *f, void *token, uint64_t since_ms) {
  const cp_transport_host *host = f->node.fake.host;
  host->on_lost(host->ctx, token, since_ms);
}

static void on_gap(cp_server *server, const cp_gap *gap) {
  fixture *f = ((observed_node *)cp_server_data(server))->data;

  f->from_ms = cp_gap_from_ms(gap);
  f->to_ms = cp_gap_to_ms(gap);
  f->n_conns = 0;
  add(f, cp_gap_reason(gap));
  add(f, ":");
  cp_gap_each_user(gap, add_user, f);
  cp_gap_each_conn(gap, count_conn, f);
  add(f, " ");
  if (f->loses) {
    f->loses = false;
    lose(f, token_of_alice, uv_now(&f->node.loop.loop));
  }
  if (f->closes) {
    cp_server_close(server, 0, NULL);
    f->node.server = NULL;
  }
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  observed_node_init(&f->node);
  f->node.data = f;
  f->node.options.on_gap = on_gap;
  *state = f;
  return 0;
}

static uint64_t now_ms(const fixture *f) {
  return uv_now(&f->node.loop.loop);
}

static uint64_t wall_ms(void) {
  uv_timeval64_t now;

  assert_int_equal(uv_gettimeofday(&now), 0);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

static void poll_some(fixture *f) {
  int i;

  for (i = 0; i < 5; i++)
    observed_node_poll(&f->node);
}

static void assert_told(fixture *f, const char *told) {
  poll_some(f);
  assert_string_equal(f->told, told);
  f->told[0] = '\0';
}

static cp_stats stats_of(const fixture *f) {
  return observed_stats(&f->node);
}

static void wait_ms(fixture *f, uint64_t ms) {
  uint64_t until = uv_hrtime() + ms * 1000000;
  run_until(&f->node.loop, uv_hrtime() >= until);
}

/* What the last subscription was asked for with. */
static void *last_token(const fixture *f) {
  assert_true(f->node.fake.n_pending > 0);
  return f->node.fake.pending[f->node.fake.n_pending - 1].token;
}

/* Let somebody in; returns the token of the channel. */
static void *connect_and_catch(fixture *f, simple_client *client,
                               const char *target) {
  void *token;

  simple_client_open(client, &f->node.loop.loop, f->node.port, target, NULL);
  node_await(&f->node, fake_transport_n_unconfirmed(&f->node.fake) > 0);
  token = last_token(f);
  fake_transport_confirm(&f->node.fake, 0);
  node_await(&f->node, client->status == 101);
  return token;
}

/* From the last proof, not from the break, until all is confirmed again. */
static void test_a_broken_link(void **state) {
  fixture *f = *state;
  const cp_transport_host *host;
  uint64_t before, after, proven;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  observed_node_connect(&f->node, &f->b, "bob");
  observed_node_connect(&f->node, &f->c, "bob");
  host = f->node.fake.host;
  proven = now_ms(f);
  before = wall_ms();
  host->on_proven(host->ctx, proven);
  wait_ms(f, 30);
  fake_transport_unlink(&f->node.fake, "broken");
  poll_some(f);
  f->node.fake.confirm_at_once = false;
  fake_transport_link(&f->node.fake, 0);
  assert_told(f, "");
  fake_transport_confirm_all(&f->node.fake);
  after = wall_ms();
  assert_told(f, "broken:alice,bob, ");
  assert_int_equal(f->n_conns, 3);
  /* The clocks are read one after the other. */
  assert_in_range(f->from_ms + CP__SURE_MS, before - 20, before + 20);
  assert_true(f->to_ms >= after && f->to_ms - f->from_ms >= CP__SURE_MS + 30);
  assert_int_equal(stats_of(f).gaps, 1);
}

static void test_the_first_link_is_none(void **state) {
  fixture *f = *state;

  observed_node_start(&f->node);
  fake_transport_unlink(&f->node.fake, "not there yet");
  f->node.fake.confirm_at_once = true;
  fake_transport_link(&f->node.fake, 0);
  observed_node_connect(&f->node, &f->a, "alice");
  assert_told(f, "");
  assert_int_equal(stats_of(f).gaps, 0);
}

/* Nothing is confirmed between two breaks: it is one gap, from before the
 * first. */
static void test_two_breaks(void **state) {
  fixture *f = *state;
  uint64_t before = wall_ms();

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_unlink(&f->node.fake, "first");
  f->node.fake.confirm_at_once = false;
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  wait_ms(f, 30);
  fake_transport_unlink(&f->node.fake, "second");
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "first:alice, ");
  assert_true(f->from_ms + CP__SURE_MS >= before - 20 &&
              f->to_ms - f->from_ms >= CP__SURE_MS + 30);
}

/* Others may have gone by another server long before the last proof. */
static void test_a_proof_that_is_doubted(void **state) {
  fixture *f = *state;
  const cp_transport_host *host;
  uint64_t doubt;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  host = f->node.fake.host;
  doubt = now_ms(f);
  wait_ms(f, 30);
  host->on_proven(host->ctx, now_ms(f));
  host->on_doubt(host->ctx, doubt);
  fake_transport_unlink(&f->node.fake, "moved");
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "moved:alice, ");
  assert_true(f->to_ms - f->from_ms >= CP__SURE_MS + 30);
}

/* One refused channel holds up nobody, and is told of when it is allowed. */
static void test_a_refused_channel(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  fake_transport_unlink(&f->node.fake, "broken");
  f->node.fake.confirm_at_once = false;
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  while (fake_transport_n_unconfirmed(&f->node.fake) > 1)
    fake_transport_confirm(&f->node.fake, 0);
  fake_transport_confirm(&f->node.fake, CP_E_REDIS);
  assert_told(f, "broken:alice, ");
  f->node.fake.host->on_changed(f->node.fake.host->ctx);
  poll_some(f);
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "broken:alice, ");
  assert_int_equal(stats_of(f).gaps, 2);
}

static void start_with_alice_and_bob(fixture *f) {
  observed_node_start_linked(&f->node);
  token_of_alice = connect_and_catch(f, &f->a, "/?user=alice");
  connect_and_catch(f, &f->b, "/?user=bob");
  f->node.fake.confirm_at_once = true;
}

/* One server of several: those of its channels, and nobody else. */
static void test_one_channel_is_lost(void **state) {
  fixture *f = *state;

  start_with_alice_and_bob(f);
  lose(f, token_of_alice, now_ms(f));
  assert_told(f, "a part of the channels was lost:alice, ");
  assert_int_equal(f->n_conns, 1);
  assert_told(f, "");
  fake_transport_unlink(&f->node.fake, "broken");
  fake_transport_link(&f->node.fake, 0);
  assert_told(f, "broken:alice,bob, ");
}

/* It is refused at first, as where its server is away. */
static void test_a_lost_channel_comes_back_late(void **state) {
  fixture *f = *state;

  start_with_alice_and_bob(f);
  f->node.fake.confirm_status = CP_E_DOWN;
  lose(f, token_of_alice, now_ms(f));
  assert_told(f, "");
  wait_ms(f, 20);
  f->node.fake.confirm_status = 0;
  f->node.fake.host->on_changed(f->node.fake.host->ctx);
  assert_told(f, "a part of the channels was lost:alice, ");
  assert_true(f->to_ms - f->from_ms >= CP__SURE_MS + 20);
}

static void test_lost_from_inside_the_hook(void **state) {
  fixture *f = *state;

  start_with_alice_and_bob(f);
  f->loses = true;
  lose(f, token_of_alice, now_ms(f));
  assert_told(f, "a part of the channels was lost:alice, "
                 "a part of the channels was lost:alice, ");
}

/* The gap of a user who leaves is nobody's. */
static void test_a_lost_channel_is_left(void **state) {
  fixture *f = *state;

  f->node.options.leave_delay_ms = 1;
  start_with_alice_and_bob(f);
  f->node.fake.confirm_status = CP_E_DOWN;
  lose(f, token_of_alice, now_ms(f));
  poll_some(f);
  simple_client_hang_up(&f->a);
  run_until(&f->node.loop, stats_of(f).users == 1);
  wait_ms(f, 5);
  run_until(&f->node.loop, cp_server_cluster_state(f->node.server) == CP_UP);
  assert_told(f, "");
}

/* A group's channel: whoever is in it, each once; the channel of all: all. */
static void test_channels_of_many(void **state) {
  fixture *f = *state;
  void *room, *all;

  observed_node_start(&f->node);
  fake_transport_link(&f->node.fake, 0);
  poll_some(f);
  all = f->node.fake.pending[0].token;
  fake_transport_confirm_all(&f->node.fake);
  f->node.fake.confirm_at_once = true;
  observed_node_connect(&f->node, &f->b, "bob");
  observed_node_connect(&f->node, &f->a, "alice");
  f->node.fake.confirm_at_once = false;
  assert_int_equal(cp_group_join(f->node.conn, cp_str("room")), 0);
  node_await(&f->node, fake_transport_n_unconfirmed(&f->node.fake) > 0);
  room = last_token(f);
  fake_transport_confirm_all(&f->node.fake);
  f->node.fake.confirm_at_once = true;
  lose(f, room, now_ms(f));
  assert_told(f, "a part of the channels was lost:alice, ");
  lose(f, all, now_ms(f));
  lose(f, room, now_ms(f));
  assert_told(f, "a part of the channels was lost:bob,alice, ");
}

static cp_conn *connect_conn(fixture *f, simple_client *client,
                             const char *user) {
  observed_node_connect(&f->node, client, user);
  return f->node.conn;
}

static void break_link(fixture *f) {
  fake_transport_unlink(&f->node.fake, "broken");
  f->node.fake.confirm_at_once = true;
  fake_transport_link(&f->node.fake, 0);
}

/* When alice is named, bob's older connection is closed: he had been passed
 * over by the younger, which has a lower slot. */
static void test_first_conn_is_closed_ahead(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "carol");
  observed_node_connect(&f->node, &f->b, "alice");
  f->to_close = connect_conn(f, &f->c, "bob");
  simple_client_hang_up(&f->a);
  node_await(&f->node, stats_of(f).conns == 2);
  observed_node_connect(&f->node, &f->d, "bob");
  break_link(f);
  assert_told(f, "broken:alice,bob, ");
}

/* ... or he had been named by it. */
static void test_first_conn_is_closed_behind(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  f->to_close = connect_conn(f, &f->a, "bob");
  observed_node_connect(&f->node, &f->b, "alice");
  observed_node_connect(&f->node, &f->c, "bob");
  break_link(f);
  assert_told(f, "broken:bob,alice, ");
}

/* The user is let in before the channel is confirmed. */
static void test_open_before_the_channel(void **state) {
  fixture *f = *state;
  uint64_t before = wall_ms();

  f->node.options.subscribe_wait_ms = 20;
  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->b, "bob");
  f->node.fake.confirm_at_once = false;
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     NULL);
  node_await(&f->node, observed_node_heard_word(&f->node, "open!alice"));
  assert_told(f, "");
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "a channel was confirmed late:alice, ");
  assert_in_range(f->from_ms + CP__SURE_MS, before - 20, f->to_ms + 20);
}

/* Redis refuses it at first. */
static void test_a_new_channel_is_refused(void **state) {
  fixture *f = *state;

  f->node.options.subscribe_wait_ms = 20;
  observed_node_start_linked(&f->node);
  f->node.fake.confirm_at_once = true;
  f->node.fake.confirm_status = CP_E_DOWN;
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     NULL);
  node_await(&f->node, observed_node_heard_word(&f->node, "open!alice"));
  assert_told(f, "");
  f->node.fake.confirm_status = 0;
  f->node.fake.host->on_changed(f->node.fake.host->ctx);
  assert_told(f, "a channel was confirmed late:alice, ");
}

static void join(fixture *f, const char *group) {
  assert_int_equal(cp_group_join(f->node.conn, cp_str(group)), 0);
}

/* Nothing else need wake the loop. */
static void poll_for(fixture *f, uint64_t ms) {
  uint64_t until = uv_hrtime() + ms * 1000000;

  while (uv_hrtime() < until) {
    observed_node_poll(&f->node);
    uv_sleep(1);
  }
}

/* A group's channel may take some milliseconds, not a second. */
static void test_a_late_group(void **state) {
  fixture *f = *state;
  uint64_t before;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->b, "bob");
  observed_node_connect(&f->node, &f->a, "alice");
  f->node.fake.confirm_at_once = false;
  join(f, "soon");
  poll_some(f);
  fake_transport_confirm_all(&f->node.fake);
  before = wall_ms();
  join(f, "late");
  poll_for(f, CP__SURE_MS + 100);
  assert_told(f, "");
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "a channel was confirmed late:alice, ");
  assert_in_range(f->from_ms + CP__SURE_MS, before - 20, before + 100);
}

/* Who had a gap is gone before it ends: the next one's begins with himself. */
static void test_a_late_channel_is_left(void **state) {
  fixture *f = *state;
  uint64_t before;

  f->node.options.subscribe_wait_ms = 20;
  f->node.options.leave_delay_ms = 1;
  observed_node_start_linked(&f->node);
  simple_client_open(&f->a, &f->node.loop.loop, f->node.port, "/?user=alice",
                     NULL);
  node_await(&f->node, observed_node_heard_word(&f->node, "open!alice"));
  simple_client_hang_up(&f->a);
  run_until(&f->node.loop, strstr(f->node.fake.asked, "-cp:u:{alice}") != NULL);
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "");
  poll_for(f, 200);
  before = wall_ms();
  simple_client_open(&f->b, &f->node.loop.loop, f->node.port, "/?user=bob",
                     NULL);
  node_await(&f->node, observed_node_heard_word(&f->node, "open!bob"));
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "a channel was confirmed late:bob, ");
  assert_in_range(f->from_ms + CP__SURE_MS, before - 20, f->to_ms + 20);
}

/* Out of the group and in again, before its channel is confirmed. */
static void test_a_late_group_again(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  join(f, "late");
  poll_some(f);
  assert_int_equal(cp_group_leave(f->node.conn, cp_str("late")), 0);
  join(f, "late");
  poll_for(f, CP__SURE_MS + 100);
  assert_told(f, "");
  fake_transport_confirm_all(&f->node.fake);
  assert_told(f, "a channel was confirmed late:alice, ");
}

static void test_close_from_inside(void **state) {
  fixture *f = *state;

  observed_node_start_linked(&f->node);
  observed_node_connect(&f->node, &f->a, "alice");
  f->closes = true;
  break_link(f);
  assert_told(f, "broken:alice, ");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_a_broken_link, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_the_first_link_is_none, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_two_breaks, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_proof_that_is_doubted, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_refused_channel, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_one_channel_is_lost, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_lost_channel_comes_back_late,
                                      setup, observed_teardown),
      cmocka_unit_test_setup_teardown(test_lost_from_inside_the_hook, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_lost_channel_is_left, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_channels_of_many, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_first_conn_is_closed_ahead, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_first_conn_is_closed_behind, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_open_before_the_channel, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_new_channel_is_refused, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_late_group, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_late_channel_is_left, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_a_late_group_again, setup,
                                      observed_teardown),
      cmocka_unit_test_setup_teardown(test_close_from_inside, setup,
                                      observed_teardown),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
