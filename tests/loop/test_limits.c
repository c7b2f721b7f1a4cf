/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What one stranger may have of a server: sockets of an address, handshakes and
 * messages a second, inflaters; and that all of it is counted. */

#include "conn.h"
#include "echo_node.h"
#include "guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Rates. ------------------------------------------------------------------ */

static void test_rate(void **state) {
  cp__rate rate = {0};
  unsigned i;

  (void)state;
  /* A second's worth at once, and no more. */
  for (i = 0; i < 10; i++)
    assert_true(cp__rate_take(&rate, 10, 1, 5000));
  assert_false(cp__rate_take(&rate, 10, 1, 5000));
  assert_false(cp__rate_take(&rate, 10, 1, 5099));
  /* Each comes back in its time, not all of them with the next second. */
  assert_true(cp__rate_take(&rate, 10, 1, 5100));
  assert_false(cp__rate_take(&rate, 10, 1, 5100));
  assert_false(cp__rate_take(&rate, 10, 3, 5300));
  assert_true(cp__rate_take(&rate, 10, 2, 5300));
  /* Whoever rests has no more than a second's worth. */
  assert_false(cp__rate_take(&rate, 10, 11, 1000000));
  assert_true(cp__rate_take(&rate, 10, 10, 1000000));
  assert_false(cp__rate_take(&rate, 10, 1, 1000000));
}

static void test_rate_of_large_numbers(void **state) {
  const uint64_t late = UINT64_C(0xFFFFFFFFFF); /* 34 years in ms */
  cp__rate rate = {0};

  (void)state;
  assert_true(cp__rate_take(&rate, UINT32_MAX, UINT32_MAX, late / 100));
  assert_false(cp__rate_take(&rate, UINT32_MAX, UINT32_MAX, late / 100));
  memset(&rate, 0, sizeof rate);
  assert_false(cp__rate_take(&rate, 1, UINT64_MAX, 1));
  assert_true(cp__rate_take(&rate, 1, 1, 1));
  assert_false(cp__rate_take(&rate, 1, 1, 1000));
  assert_true(cp__rate_take(&rate, 1, 1, 1001));
}

/* Addresses. -------------------------------------------------------------- */

static bool admit(cp__guard *guard, cp__guarded *guarded, const char *ip) {
  struct sockaddr_storage peer;

  memset(guarded, 0, sizeof *guarded);
  if (uv_ip4_addr(ip, 1, (struct sockaddr_in *)&peer) != 0)
    assert_int_equal(uv_ip6_addr(ip, 1, (struct sockaddr_in6 *)&peer), 0);
  return cp__guard_admit(guard, guarded, (struct sockaddr *)&peer);
}

static void init_guard(cp__guard *guard, failing_alloc *memory, size_t n) {
  cp_server_options options;

  cp_server_options_init(&options);
  options.max_conns_per_address = n;
  failing_alloc_init(memory, 0);
  memset(guard, 0, sizeof *guard);
  assert_int_equal(cp__guard_init(guard, &memory->alloc, &options), 0);
}

static void test_what_an_address_is(void **state) {
  static const struct {
    const char *one, *other;
    bool same;
  } cases[] = {
      {"192.0.2.1", "192.0.2.1", true},
      {"192.0.2.1", "192.0.2.2", false},
      {"192.0.2.1", "::ffff:192.0.2.1", true},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
      {"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
      {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
      {"::1", "127.0.0.1", false},
  };
  cp__guarded one, other;
  failing_alloc memory;
  cp__guard guard;
  size_t i;

  (void)state;
  init_guard(&guard, &memory, 1);
  for (i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_true(admit(&guard, &one, cases[i].one));
    assert_int_equal(admit(&guard, &other, cases[i].other), !cases[i].same);
    cp__guard_release(&guard, &other);
    cp__guard_release(&guard, &one);
    assert_int_equal(guard.addresses.n_nodes, 0);
  }
  cp__guard_finish(&guard);
  assert_int_equal(memory.n_live, 0);
}

static void test_address_without_memory(void **state) {
  cp__guarded guarded;
  failing_alloc memory;
  cp__guard guard;
  bool admitted;
  size_t n = 0;

  (void)state;
  do {
    init_guard(&guard, &memory, 1);
    memory.fail_at = ++n;
    admitted = admit(&guard, &guarded, "192.0.2.1");
    assert_int_equal(admitted, !memory.failed);
    cp__guard_release(&guard, &guarded);
    cp__guard_finish(&guard);
    assert_int_equal(memory.n_live, 0);
  } while (memory.failed);
  assert_true(n > 2);
}

/* A server. --------------------------------------------------------------- */

typedef struct fixture {
  echo_node node;
  ws_client a, b, c;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  echo_node_init(&f->node);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  echo_node_finish(&f->node);
  free(f);
  return 0;
}

static void see_off(fixture *f, ws_client *client) {
  echo_node_see_off(&f->node, client);
}

/* It is closed by the server without a word. */
static void assert_closed_unanswered(fixture *f, ws_client *client) {
  run_until(&f->node.loop, client->ended);
  assert_int_equal(client->status, 0);
  see_off(f, client);
}

static void test_sockets_of_an_address(void **state) {
  fixture *f = *state;
  int i;

  f->node.options.max_conns_per_address = 2;
  echo_node_start(&f->node);
  for (i = 1; i <= 3; i++) { /* places become free again */
    echo_node_welcome(&f->node, &f->a, "alice");
    ws_client_connect(&f->b, &f->node.loop.loop, f->node.port); /* silent */
    run_until(&f->node.loop, echo_node_stats(&f->node).handshakes == 1);
    ws_client_connect(&f->c, &f->node.loop.loop, f->node.port);
    assert_closed_unanswered(f, &f->c);
    assert_int_equal(echo_node_stats(&f->node).address_refusals, i);
    see_off(f, &f->a);
    see_off(f, &f->b);
    run_until(&f->node.loop, echo_node_stats(&f->node).conns == 0 &&
                                 echo_node_stats(&f->node).handshakes == 0);
  }
}

/* Until one is too many, for which the machine must make two in a second. */
static void test_handshakes_a_second(void **state) {
  fixture *f = *state;
  unsigned n = 0;

  f->node.options.max_handshakes_per_second = 1;
  f->node.options.retry_after_s = 17;
  echo_node_start(&f->node);
  do {
    ws_client_connect(&f->a, &f->node.loop.loop, f->node.port);
    ws_client_upgrade(&f->a, "alice");
    run_until(&f->node.loop, f->a.status != 0);
    if (f->a.status == 503)
      assert_non_null(strstr(f->a.head, "\r\nRetry-After: 17\r\n"));
    assert_int_equal(echo_node_stats(&f->node).rate_refusals,
                     f->a.status == 503);
    see_off(f, &f->a);
    n++;
  } while (echo_node_stats(&f->node).rate_refusals == 0);
  assert_true(n >= 2);
  assert_int_equal(echo_node_stats(&f->node).refused, 1);
}

static void test_full(void **state) {
  fixture *f = *state;

  f->node.options.max_conns = 1;
  echo_node_start(&f->node);
  echo_node_welcome(&f->node, &f->a, "alice");
  ws_client_connect(&f->b, &f->node.loop.loop, f->node.port);
  ws_client_upgrade(&f->b, "bob");
  run_until(&f->node.loop, f->b.status == 503);
  assert_non_null(strstr(f->b.head, "\r\nRetry-After: 5\r\n"));
  assert_int_equal(echo_node_stats(&f->node).full_refusals, 1);
  see_off(f, &f->a);
  see_off(f, &f->b);
}

/* All in one write: they come in one turn, however slow the machine is. */
static void write_frames(ws_client *client, uint8_t head, const char *body,
                         size_t n) {
  static uint8_t bytes[65536];
  size_t len = 0;
  size_t i;

  for (i = 0; i < n; i++)
    len += ws_client_put_frame(bytes + len, head, body, strlen(body));
  ws_client_write(client, bytes, len);
}

static void assert_closed_by_rate(fixture *f, uint64_t n) {
  run_until(&f->node.loop, f->a.ended);
  assert_int_equal(f->a.close_code, 1008);
  assert_int_equal(echo_node_stats(&f->node).rate_closes, n);
  see_off(f, &f->a);
}

static void test_frames_a_second(void **state) {
  static const struct {
    uint8_t head;
    const char *body;
  } floods[] = {
      {0x81, "hi"}, {0x89, ""}, {0x8A, "pong"}, {0x00, "f"}, {0x00, ""}};
  fixture *f = *state;
  size_t i;

  f->node.options.max_messages_per_second = 100;
  f->node.silent = true;
  echo_node_start(&f->node);
  for (i = 0; i < sizeof floods / sizeof *floods; i++) {
    echo_node_welcome(&f->node, &f->a, "alice");
    if (floods[i].head == 0x00) /* fragments need a first one */
      write_frames(&f->a, 0x01, "first", 1);
    write_frames(&f->a, floods[i].head, floods[i].body, 5000);
    assert_closed_by_rate(f, i + 1);
  }
}

/* What is allowed goes through, what is beyond it does not. */
static void test_the_hundredth_message(void **state) {
  fixture *f = *state;

  f->node.options.max_messages_per_second = 100;
  f->node.silent = true;
  echo_node_start(&f->node);
  echo_node_welcome(&f->node, &f->a, "alice");
  write_frames(&f->a, 0x81, "hi", 100);
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 100);
  write_frames(&f->a, 0x81, "hi", 5000);
  assert_closed_by_rate(f, 1);
  assert_true(echo_node_stats(&f->node).messages_in < 5000);
}

static void test_bytes_a_second(void **state) {
  fixture *f = *state;
  char text[1001];

  memset(text, 'x', 1000);
  text[1000] = '\0';
  f->node.options.max_bytes_per_second = 10000;
  f->node.silent = true;
  echo_node_start(&f->node);
  echo_node_welcome(&f->node, &f->a, "alice");
  write_frames(&f->a, 0x82, text, 9);
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 9);
  write_frames(&f->a, 0x82, text, 60);
  assert_closed_by_rate(f, 1);
}

/* What it had begun goes at once, not when it is closed at last. */
static void test_no_receiver_after_the_limit(void **state) {
  static uint8_t frame[50014];
  static char body[50000];
  fixture *f = *state;
  cp__peers *peers;

  f->node.options.max_bytes_per_second = 60000;
  f->node.options.close_timeout_ms = 600000;
  echo_node_start(&f->node);
  echo_node_welcome(&f->node, &f->a, "alice");
  peers = cp__conn_peers(f->node.conn);
  ws_client_put_frame(frame, 0x82, body, sizeof body);
  ws_client_write(&f->a, frame, 40000);
  run_until(&f->node.loop, peers->ws_pool.n_held > 0);
  ws_client_write(&f->a, body, 30000);
  run_until(&f->node.loop, echo_node_stats(&f->node).rate_closes == 1);
  assert_int_equal(peers->ws_pool.n_held, 0);
  assert_int_equal(peers->ws_pool.n_borrowed, 0);
  see_off(f, &f->a);
}

/* Inflaters. -------------------------------------------------------------- */

static void welcome_deflate(fixture *f, ws_client *client, const char *user) {
  uint64_t opened = echo_node_stats(&f->node).opened;

  ws_client_connect(client, &f->node.loop.loop, f->node.port);
  ws_client_upgrade_deflate(client, user, "");
  run_until(&f->node.loop,
            client->status == 101 && echo_node_stats(&f->node).opened > opened);
}

#define LONG "a text that is long, long, long enough to be made shorter"

static void send_deflated(ws_client *client) {
  ws_client_deflated(client, CP_TEXT, LONG, strlen(LONG), 100);
}

static void begin_deflated(ws_client *client) {
  static const uint8_t begun[] = {0x41, 0x81, 0, 0, 0, 0, 0x00};
  ws_client_write(client, begun, sizeof begun); /* and never ended */
}

static size_t n_inflaters(fixture *f) {
  return cp__conn_peers(f->node.conn)->ws_pool.inflaters.n_borrowed;
}

/* One place is always free: who takes the last one drives out who has had one
 * for longest. */
static void test_inflaters(void **state) {
  fixture *f = *state;

  f->node.options.compress = 1;
  f->node.options.max_inflate_memory = 3 * CP__INFLATER_SIZE;
  f->node.silent = true;
  echo_node_start(&f->node);
  welcome_deflate(f, &f->a, "alice");
  welcome_deflate(f, &f->b, "bob");
  welcome_deflate(f, &f->c, "carol");
  begin_deflated(&f->a);
  run_until(&f->node.loop, n_inflaters(f) == 1);
  begin_deflated(&f->b);
  run_until(&f->node.loop, n_inflaters(f) == 2);
  send_deflated(&f->c); /* whole ones go through */
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 1);
  assert_int_equal(f->a.close_code, 0);
  begin_deflated(&f->c);
  run_until(&f->node.loop, f->a.close_code != 0);
  assert_int_equal(f->a.close_code, 1013);
  assert_int_equal(echo_node_stats(&f->node).memory_closes, 1);
  assert_int_equal(n_inflaters(f), 2);
  see_off(f, &f->a);
  see_off(f, &f->b);
  see_off(f, &f->c);
}

/* With a single place there is none to keep free. */
static void test_one_inflater(void **state) {
  fixture *f = *state;

  f->node.options.compress = 1;
  f->node.options.max_inflate_memory = 1; /* one always may arrive */
  f->node.silent = true;
  echo_node_start(&f->node);
  welcome_deflate(f, &f->a, "alice");
  welcome_deflate(f, &f->b, "bob");
  begin_deflated(&f->a);
  run_until(&f->node.loop, n_inflaters(f) == 1);
  send_deflated(&f->b);
  run_until(&f->node.loop, f->b.close_code != 0);
  assert_int_equal(f->b.close_code, 1013);
  see_off(f, &f->b);
  see_off(f, &f->a);
  run_until(&f->node.loop, echo_node_stats(&f->node).conns == 0);
  welcome_deflate(f, &f->c, "carol");
  send_deflated(&f->c);
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 1);
  see_off(f, &f->c);
}

/* All clients together may have so much that is unfinished. Who began first
 * goes; who ends what it begins may begin again. */
static void test_receive_memory(void **state) {
  static char body[15000];
  fixture *f = *state;

  f->node.options.max_receive_memory = 30000;
  f->node.silent = true;
  echo_node_start(&f->node);
  welcome_deflate(f, &f->a, "alice");
  welcome_deflate(f, &f->b, "bob");
  welcome_deflate(f, &f->c, "carol");
  ws_client_frame(&f->b, 0x02, body, 10);
  ws_client_frame(&f->b, 0x89, "", 0);
  run_until(&f->node.loop, strstr(f->b.log, "pong") != NULL);
  ws_client_frame(&f->a, 0x02, body, sizeof body); /* with 5 KB each */
  ws_client_frame(&f->a, 0x89, "", 0);
  run_until(&f->node.loop, strstr(f->a.log, "pong") != NULL);
  ws_client_frame(&f->b, 0x80, body, 10); /* younger now than that of a */
  ws_client_frame(&f->b, 0x02, body, 10);
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 1);
  assert_int_equal(echo_node_stats(&f->node).memory_closes, 0);
  ws_client_frame(&f->c, 0x02, body, 10);
  run_until(&f->node.loop, f->a.close_code != 0);
  assert_int_equal(f->a.close_code, 1013);
  assert_int_equal(echo_node_stats(&f->node).memory_closes, 1);
  ws_client_frame(&f->b, 0x80, body, 10);
  ws_client_frame(&f->c, 0x80, body, 10);
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 3);
  see_off(f, &f->a);
  see_off(f, &f->b);
  see_off(f, &f->c);
}

/* Who is alone may have more. */
static void test_receive_memory_of_one(void **state) {
  static char body[15000];
  fixture *f = *state;

  f->node.options.max_receive_memory = 1000;
  f->node.silent = true;
  echo_node_start(&f->node);
  welcome_deflate(f, &f->a, "alice");
  ws_client_frame(&f->a, 0x02, body, sizeof body);
  ws_client_frame(&f->a, 0x80, body, 10);
  run_until(&f->node.loop, echo_node_stats(&f->node).messages_in == 1);
  see_off(f, &f->a);
}

/* Counters. --------------------------------------------------------------- */

static void test_closes_are_counted(void **state) {
  static const struct {
    uint8_t head;
    const char *body;
    uint16_t code;
  } cases[] = {{0x83, "reserved", 1002},
               {0x81, "\xFF", 1007},
               {0x82, "longer than allowed", 1009}};
  fixture *f = *state;
  cp_stats stats;
  size_t i;

  f->node.options.max_message = 16;
  f->node.options.max_conns_per_user = 1;
  echo_node_start(&f->node);
  for (i = 0; i < sizeof cases / sizeof *cases; i++) {
    echo_node_welcome(&f->node, &f->a, "alice");
    write_frames(&f->a, cases[i].head, cases[i].body, 1);
    run_until(&f->node.loop, f->a.ended);
    assert_int_equal(f->a.close_code, cases[i].code);
    see_off(f, &f->a);
    run_until(&f->node.loop, echo_node_stats(&f->node).conns == 0);
  }
  echo_node_welcome(&f->node, &f->a, "alice");
  echo_node_welcome(&f->node, &f->b, "alice");
  run_until(&f->node.loop, f->a.close_code == CP_CLOSE_TOO_MANY);
  stats = echo_node_stats(&f->node);
  assert_int_equal(stats.protocol_closes, 2);
  assert_int_equal(stats.size_closes, 1);
  assert_int_equal(stats.user_closes, 1);
  see_off(f, &f->a);
  see_off(f, &f->b);
}

static void test_handshake_timeouts_are_counted(void **state) {
  fixture *f = *state;

  f->node.options.handshake_timeout_ms = 20;
  echo_node_start(&f->node);
  ws_client_connect(&f->a, &f->node.loop.loop, f->node.port);
  run_until(&f->node.loop, f->a.status == 408);
  assert_int_equal(echo_node_stats(&f->node).handshake_timeouts, 1);
  see_off(f, &f->a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rate),
      cmocka_unit_test(test_rate_of_large_numbers),
      cmocka_unit_test(test_what_an_address_is),
      cmocka_unit_test(test_address_without_memory),
      TEST(test_sockets_of_an_address),
      TEST(test_handshakes_a_second),
      TEST(test_full),
      TEST(test_frames_a_second),
      TEST(test_the_hundredth_message),
      TEST(test_bytes_a_second),
      TEST(test_no_receiver_after_the_limit),
      TEST(test_inflaters),
      TEST(test_one_inflater),
      TEST(test_receive_memory),
      TEST(test_receive_memory_of_one),
      TEST(test_closes_are_counted),
      TEST(test_handshake_timeouts_are_counted),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
