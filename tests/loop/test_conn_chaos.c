/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Connections under what nobody plans for: hundreds of clients that do anything
 * at any time, more of them than one turn has a budget for, and memory that
 * runs out at every single allocation. At the end nothing may be left: no
 * connection, no byte in a queue, no memory, no handle. */

#include "conn.h"
#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>

#include <cmocka.h>

#define LONG_MS 600000

/* Wild clients. ----------------------------------------------------------- */

enum { N_WILD = 500, SCRIPT_MAX = 4096, N_HELD = 64 };

typedef struct wild {
  ws_client client;
  bool connected;
  uint8_t script[SCRIPT_MAX]; /* what it will write, in whatever pieces */
  size_t len;
  size_t at;
} wild;

typedef struct zoo {
  echo_node node;
  uint32_t random;
  wild *all; /* N_WILD of them */
  size_t n_left;
  cp_request *held[N_HELD]; /* or NULL */
  cp_conn *open[N_WILD];    /* or NULL */
} zoo;

static uint32_t draw(zoo *z, uint32_t n) {
  z->random ^= z->random << 13;
  z->random ^= z->random >> 17;
  z->random ^= z->random << 5;
  return z->random % n;
}

static void answer_held(zoo *z, size_t i) {
  cp_request *request = z->held[i];
  char user[8];

  z->held[i] = NULL;
  if (request == NULL)
    return;
  snprintf(user, sizeof user, "u%u", draw(z, 20));
  switch (draw(z, 4)) {
  case 0:
    cp_request_refuse(request, 403, "no\n");
    break;
  case 1:
    cp_request_respond(request, 200, NULL, cp_str("yes\n"), NULL, 0);
    break;
  default: /* a 500 for a plain request */
    cp_request_accept(request, cp_str(user), NULL);
    break;
  }
}

/* Both for upgrades and plain requests: sometimes at once. */
static void hold_request(cp_server *server, cp_request *request) {
  zoo *z = ((echo_node *)cp_server_data(server))->data;
  size_t i = draw(z, N_HELD);

  answer_held(z, i);
  z->held[i] = request;
  if (draw(z, 2) == 0)
    answer_held(z, i);
}

static void keep_count(echo_node *node, const char *hook, cp_conn *conn) {
  zoo *z = node->data;
  size_t i;

  if (strcmp(hook, "open") == 0) {
    for (i = 0; z->open[i] != NULL; i++)
      ;
    z->open[i] = conn;
  } else if (strcmp(hook, "close") == 0) {
    for (i = 0; z->open[i] != conn; i++)
      ;
    z->open[i] = NULL;
  }
}

static size_t put_some_frame(zoo *z, uint8_t *out) {
  static const uint8_t heads[] = {0x81, 0x82, 0x01, 0x02, 0x00, 0x80,
                                  0x89, 0x8A, 0x88, 0x83, 0xF2};
  uint8_t body[300];
  size_t len = draw(z, 4) == 0 ? draw(z, sizeof body) : draw(z, 20);
  /* Mostly what is allowed. */
  uint8_t head = heads[draw(z, draw(z, 8) == 0 ? sizeof heads : 2)];

  memset(body, 'a', sizeof body);
  if (head >= 0x88)
    len = draw(z, 100);
  if (head == 0x88 && len >= 2)
    memcpy(body, "\x03\xe8", 2);
  return ws_client_put_frame(out, head, body, len);
}

static void write_script(zoo *z, wild *w) {
  size_t n_frames = draw(z, 12);

  if (draw(z, 8) == 0)
    w->len = (size_t)snprintf((char *)w->script, SCRIPT_MAX,
                              "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  else if (draw(z, 16) == 0)
    w->len = (size_t)snprintf((char *)w->script, SCRIPT_MAX, "nonsense\n");
  else
    w->len = ws_client_put_upgrade((char *)w->script, SCRIPT_MAX, "x");
  while (n_frames-- > 0 && w->len < SCRIPT_MAX - 400)
    w->len += put_some_frame(z, w->script + w->len);
}

static void write_on(zoo *z, wild *w) {
  size_t n = w->len - w->at;

  if (draw(z, 2) == 0 && n > 0)
    n = 1 + draw(z, (uint32_t)n);
  if (n > 0)
    ws_client_write(&w->client, w->script + w->at, n);
  w->at += n;
}

static void end_somehow(zoo *z, wild *w) {
  if (draw(z, 2) == 0)
    ws_client_reset(&w->client);
  else
    ws_client_leave(&w->client);
  z->n_left--;
}

static void do_something(zoo *z, wild *w) {
  if (w->client.gone || uv_is_closing((uv_handle_t *)&w->client.tcp))
    return;
  switch (draw(z, 16)) {
  case 0:
    end_somehow(z, w);
    break;
  case 1:
    if (uv_is_writable((uv_stream_t *)&w->client.tcp) &&
        w->client.shutdown.handle == NULL)
      ws_client_half_close(&w->client);
    break;
  case 2:
    ws_client_stop_reading(&w->client);
    break;
  case 3:
    if (uv_is_readable((uv_stream_t *)&w->client.tcp) && !w->client.ended)
      ws_client_read_on(&w->client);
    break;
  default:
    if (w->at < w->len && w->client.shutdown.handle == NULL)
      write_on(z, w);
    else if (w->at == w->len && draw(z, 8) == 0)
      end_somehow(z, w);
    break;
  }
}

static void connect_wild(zoo *z, wild *w) {
  uv_loop_t *loop = &z->node.loop.loop;

  if (draw(z, 3) == 0)
    ws_client_connect_narrow(&w->client, loop, z->node.port);
  else
    ws_client_connect(&w->client, loop, z->node.port);
  w->client.answers = draw(z, 2) == 0;
  w->connected = true;
  write_script(z, w);
}

static void serve_somehow(zoo *z) {
  static const char body[30000];
  cp_conn *conn = z->open[draw(z, N_WILD)];

  if (draw(z, 4) == 0)
    cp_broadcast(z->node.server, CP_BINARY,
                 cp_bytes_of(body, draw(z, sizeof body)), NULL);
  if (draw(z, 4) == 0)
    answer_held(z, draw(z, N_HELD));
  if (conn != NULL && draw(z, 4) == 0)
    cp_conn_close(conn, 4000, cp_str("enough"));
}

static void start_zoo(zoo *z, uint32_t seed) {
  memset(z, 0, sizeof *z);
  z->random = seed;
  z->n_left = N_WILD;
  z->all = calloc(N_WILD, sizeof *z->all);
  assert_non_null(z->all);
  echo_node_init(&z->node);
  z->node.data = z;
  z->node.also = keep_count;
  z->node.options.on_upgrade = hold_request;
  z->node.options.on_http = hold_request;
  z->node.options.max_send_queue = 40000;
  z->node.options.slow_policy = (cp_slow_policy)(seed % 3);
  z->node.options.ping_interval_ms = 10 + seed % 40;
  z->node.options.close_timeout_ms = 20 + seed % 100;
  z->node.options.handshake_timeout_ms = 200;
  z->node.options.max_conns_per_user = 20;
  echo_node_start(&z->node);
}

static void finish_zoo(zoo *z) {
  size_t i;

  for (i = 0; i < N_HELD; i++)
    answer_held(z, i);
  for (i = 0; i < N_WILD; i++) {
    if (z->all[i].connected)
      echo_node_see_off(&z->node, &z->all[i].client);
    assert_null(z->open[i]);
  }
  free(z->all);
  echo_node_finish(&z->node);
}

static void run_wild(zoo *z, size_t until_left) {
  while (z->n_left > until_left) {
    wild *w = &z->all[draw(z, N_WILD)];
    if (w->connected)
      do_something(z, w);
    else
      connect_wild(z, w);
    if (draw(z, 32) == 0)
      serve_somehow(z);
    if (draw(z, 16) == 0)
      uv_run(&z->node.loop.loop, UV_RUN_NOWAIT);
  }
}

/* All leave by themselves. */
static void test_wild_clients(void **state) {
  uint32_t seed;
  zoo z;

  (void)state;
  for (seed = 1; seed <= 6; seed++) {
    start_zoo(&z, seed);
    run_wild(&z, 0);
    run_until(&z.node.loop, echo_node_stats(&z.node).conns == 0 &&
                                echo_node_stats(&z.node).handshakes == 0);
    assert_int_equal(echo_node_stats(&z.node).queued_bytes, 0);
    assert_int_equal(echo_node_stats(&z.node).users, 0);
    finish_zoo(&z);
  }
}

/* The server closes in the middle of it. */
static void test_close_among_wild_clients(void **state) {
  uint32_t seed;
  zoo z;

  (void)state;
  for (seed = 7; seed <= 12; seed++) {
    start_zoo(&z, seed);
    run_wild(&z, N_WILD / 2);
    cp_server_close(z.node.server, seed % 2 ? 0 : 50, echo_node_on_closed);
    run_until(&z.node.loop, z.node.closed);
    finish_zoo(&z);
  }
}

/* More than a turn's budget. ---------------------------------------------- */

enum { N_CROWD = 1100 };

/* Both ends of every connection are here. */
static bool has_descriptors(void) {
  struct rlimit limit;

  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max > 2 * N_CROWD + 100;
}

static size_t count_ended(const ws_client *crowd) {
  size_t n = 0;
  int i;

  for (i = 0; i < N_CROWD; i++)
    n += crowd[i].ended;
  return n;
}

static bool all_have(const ws_client *crowd, size_t n_messages) {
  int i;

  for (i = 0; i < N_CROWD; i++)
    if (crowd[i].n_messages < n_messages)
      return false;
  return true;
}

static ws_client *gather_crowd(echo_node *node) {
  ws_client *crowd = calloc(N_CROWD, sizeof *crowd);
  int i;

  assert_non_null(crowd);
  echo_node_init(node);
  node->silent = true;
  node->options.max_conns_per_user = 0;
  node->options.ping_interval_ms = 100;
  node->options.max_missed_pings = 2;
  echo_node_start(node);
  for (i = 0; i < N_CROWD; i++) {
    ws_client_connect(&crowd[i], &node->loop.loop, node->port);
    ws_client_upgrade(&crowd[i], "alice");
    crowd[i].answers = true;
    if (i % 100 == 0)
      uv_run(&node->loop.loop, UV_RUN_NOWAIT);
  }
  run_until(&node->loop, echo_node_stats(node).conns == N_CROWD);
  return crowd;
}

static void dismiss_crowd(echo_node *node, ws_client *crowd) {
  int i;

  for (i = 0; i < N_CROWD; i++)
    echo_node_see_off(node, &crowd[i]);
  free(crowd);
  echo_node_finish(node);
}

static void test_a_crowd(void **state) {
  ws_client *crowd;
  echo_node node;
  int i;

  (void)state;
  if (!has_descriptors())
    skip();
  crowd = gather_crowd(&node);
  cp_broadcast(node.server, CP_TEXT, cp_str("all"), NULL);
  cp_send_to_user(node.server, cp_str("alice"), CP_TEXT, cp_str("alice"), NULL);
  run_until(&node.loop, all_have(crowd, 2));
  for (i = 0; i < N_CROWD; i++)
    crowd[i].answers = false;
  run_until(&node.loop, count_ended(crowd) == N_CROWD);
  assert_int_equal(echo_node_stats(&node).ping_timeouts, N_CROWD);
  dismiss_crowd(&node, crowd);
}

/* All get something to write, and the last of them, which this turn can't come
 * to, dies. */
static void broadcast_and_kill(echo_node *node, const char *hook,
                               cp_conn *conn) {
  cp_conn **last = node->data;

  (void)conn;
  if (strcmp(hook, "message") != 0)
    return;
  cp_broadcast(node->server, CP_TEXT, cp_str("all"), NULL);
  cp__conn_kill(*last);
}

static cp_conn *in_last_slot(const cp__peers *peers) {
  uint32_t i = peers->n_slots;

  while (cp__peers_at(peers, --i) == NULL)
    ;
  return cp__peers_at(peers, i);
}

static void test_death_behind_a_crowd(void **state) {
  ws_client *crowd;
  echo_node node;
  cp_conn *last;

  (void)state;
  if (!has_descriptors())
    skip();
  crowd = gather_crowd(&node);
  last = in_last_slot(cp__conn_peers(node.conn));
  node.data = &last;
  node.also = broadcast_and_kill;
  ws_client_text(&crowd[0], "now");
  run_until(&node.loop, echo_node_stats(&node).conns == N_CROWD - 1);
  run_until(&node.loop, count_ended(crowd) == 1);
  cp_broadcast(node.server, CP_TEXT, cp_str("again"), NULL);
  run_until(&node.loop, echo_node_stats(&node).queued_bytes == 0);
  dismiss_crowd(&node, crowd);
}

/* Serials. ---------------------------------------------------------------- */

/* A connection's name is never used again, though its slot is. */
static void test_serials_are_never_used_again(void **state) {
  uint64_t slot = (UINT64_C(1) << 24) - 1;
  cp_conn_id first, second;
  cp__peers *peers;
  ws_client client;
  echo_node node;

  (void)state;
  echo_node_init(&node);
  echo_node_start(&node);
  echo_node_welcome(&node, &client, "alice");
  peers = cp__conn_peers(node.conn);
  first = cp_conn_get_id(node.conn);
  echo_node_see_off(&node, &client);
  run_until(&node.loop, node.conn == NULL);
  assert_null(cp__peers_find(peers, first.serial));
  echo_node_welcome(&node, &client, "alice");
  second = cp_conn_get_id(node.conn);
  assert_int_equal(second.serial & slot, first.serial & slot);
  assert_int_not_equal(second.serial, first.serial);
  assert_ptr_equal(cp__peers_find(peers, second.serial), node.conn);
  assert_null(cp__peers_find(peers, first.serial));
  assert_null(cp__peers_find(peers, second.serial + slot + 1));
  assert_null(cp__peers_find(peers, second.serial + 1)); /* a free slot */
  assert_null(cp__peers_find(peers, UINT64_MAX));
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

/* Memory. ----------------------------------------------------------------- */

/* Like failing_alloc, for some allocations in a row. */
typedef struct scarcity {
  failing_alloc *memory;
  size_t first;
  size_t n;
  size_t n_calls;
  bool struck;
} scarcity;

static bool strikes(scarcity *self) {
  size_t call = ++self->n_calls;

  if (call < self->first || call - self->first >= self->n)
    return false;
  self->struck = true;
  return true;
}

static void *scarce_allocate(void *ctx, size_t size) {
  scarcity *self = ctx;
  return strikes(self) ? NULL : failing_alloc_allocate(self->memory, size);
}

static void *scarce_resize(void *ctx, void *ptr, size_t size) {
  scarcity *self = ctx;
  return strikes(self) ? NULL : failing_alloc_resize(self->memory, ptr, size);
}

static void scarce_release(void *ctx, void *ptr) {
  scarcity *self = ctx;
  failing_alloc_release(self->memory, ptr);
}

/* Connect, send, receive, be slow, be closed. Whatever does not go through must
 * end somehow. */
static void live_a_life(echo_node *node, ws_client *client) {
  static char body[60000];
  static char large[200000]; /* more than fits into the socket */
  int size = 4096;

  ws_client_connect_narrow(client, &node->loop.loop, node->port);
  ws_client_upgrade(client, "alice");
  ws_client_frame(client, 0x89, "early", 5);
  run_until(&node->loop, client->n_frames > 0 || client->ended);
  ws_client_stop_reading(client);
  ws_client_frame(client, 0x01, "he", 2);
  ws_client_frame(client, 0x80, "llo", 3);
  ws_client_frame(client, 0x82, body, sizeof body);
  if (node->conn != NULL) {
    uv_send_buffer_size(&node->conn->uv.handle, &size);
    cp_send_to_user(node->server, cp_str("alice"), CP_BINARY,
                    cp_bytes_of(large, sizeof large), NULL);
    cp_broadcast(node->server, CP_TEXT, cp_str("all"), NULL);
  }
  uv_run(&node->loop.loop, UV_RUN_NOWAIT);
  if (!client->ended)
    ws_client_read_on(client);
  ws_client_close_frame(client, 1000, "bye");
  run_until(&node->loop, client->ended);
  ws_client_leave(client);
}

static void ask_plainly(echo_node *node, ws_client *client) {
  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_write_str(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  run_until(&node->loop, client->ended);
  ws_client_leave(client);
}

/* With a frame before the answer. */
static void be_answered_late(echo_node *node, ws_client *client) {
  node->hold = true;
  ws_client_connect(client, &node->loop.loop, node->port);
  ws_client_upgrade(client, "bob");
  run_until(&node->loop, node->request != NULL || client->ended);
  ws_client_frame(client, 0x89, "early", 5);
  uv_run(&node->loop.loop, UV_RUN_NOWAIT);
  uv_run(&node->loop.loop, UV_RUN_NOWAIT);
  if (node->request != NULL)
    echo_node_accept_held(node, "bob");
  node->hold = false;
  run_until(&node->loop, client->n_frames == 1 || client->ended);
  ws_client_leave(client);
}

static bool survives(size_t first, size_t n, cp_slow_policy policy) {
  ws_client one, two, three, four;
  scarcity scarce = {NULL, first, n, 0, false};
  cp_allocator allocator = {scarce_allocate, scarce_resize, scarce_release,
                            &scarce};
  echo_node node;
  int rc;

  echo_node_init(&node);
  scarce.memory = &node.memory;
  node.options.allocator = &allocator;
  node.options.slow_policy = policy;
  node.options.max_send_queue = 100000;
  rc = cp_server_create(&node.server, &node.loop.loop, &node.options);
  if (rc == 0)
    rc = cp_server_listen(node.server, "127.0.0.1:0");
  assert_int_equal(rc == 0 ? 0 : CP_E_NOMEM, rc);
  if (rc == 0) {
    node.port = cp_server_port(node.server);
    live_a_life(&node, &one);
    be_answered_late(&node, &four);
    ask_plainly(&node, &two);
    live_a_life(&node, &three);
    run_until(&node.loop, echo_node_stats(&node).conns == 0 &&
                              echo_node_stats(&node).handshakes == 0);
    assert_int_equal(echo_node_stats(&node).queued_bytes, 0);
    assert_int_equal(echo_node_stats(&node).users, 0);
    echo_node_see_off(&node, &one);
    echo_node_see_off(&node, &two);
    echo_node_see_off(&node, &three);
    echo_node_see_off(&node, &four);
  }
  echo_node_finish(&node);
  return scarce.struck;
}

static void check_scarcity(size_t n, cp_slow_policy policy) {
  size_t first = 0;

  while (survives(++first, n, policy))
    ;
  assert_true(first > 30);
}

static void test_every_allocation_failing(void **state) {
  (void)state;
  check_scarcity(1, CP_SLOW_CLOSE);
  check_scarcity(1, CP_SLOW_DROP_NEW);
}

static void test_every_few_allocations_failing(void **state) {
  (void)state;
  check_scarcity(2, CP_SLOW_CLOSE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_wild_clients),
      cmocka_unit_test(test_close_among_wild_clients),
      cmocka_unit_test(test_a_crowd),
      cmocka_unit_test(test_death_behind_a_crowd),
      cmocka_unit_test(test_serials_are_never_used_again),
      cmocka_unit_test(test_every_allocation_failing),
      cmocka_unit_test(test_every_few_allocations_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
