/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The send queue: peers that read slowly or not at all, the policies, limits to
 * the byte, and what libuv holds. */

#include "conn.h"
#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define LONG_MS 600000
#define LIMIT   100000 /* max_send_queue */
#define FILLER  8192
#define SMALL   (CP__ENTRY_WEIGHT + 3) /* the smallest message there is */

static int no_uring; /* every test runs with batches and without */

typedef struct slow {
  echo_node node;
  ws_client client;
  cp_conn_id id;
  size_t n_sent; /* messages */
} slow;

static void start(slow *s, cp_slow_policy policy, size_t limit) {
  memset(s, 0, sizeof *s);
  echo_node_init(&s->node);
  s->node.silent = true;
  s->node.options.no_uring = no_uring;
  s->node.options.slow_policy = policy;
  s->node.options.max_send_queue = limit;
  s->node.options.max_message = 16 * 1024 * 1024;
  s->node.options.close_timeout_ms = LONG_MS;
  s->node.options.ping_interval_ms = LONG_MS;
  echo_node_start(&s->node);
  ws_client_connect_narrow(&s->client, &s->node.loop.loop, s->node.port);
  ws_client_upgrade(&s->client, "alice");
  run_until(&s->node.loop, s->node.conn != NULL && s->client.status == 101);
  s->id = cp_conn_get_id(s->node.conn);
  echo_node_forget(&s->node);
  ws_client_forget(&s->client);
}

static void finish(slow *s) {
  ws_client_leave(&s->client);
  run_until(&s->node.loop, echo_node_stats(&s->node).conns == 0 &&
                               echo_node_stats(&s->node).handshakes == 0);
  assert_int_equal(echo_node_stats(&s->node).queued_bytes, 0);
  echo_node_see_off(&s->node, &s->client);
  echo_node_finish(&s->node);
}

static void turn(slow *s) {
  uv_run(&s->node.loop.loop, UV_RUN_NOWAIT);
}

/* A message whose first byte is `mark`, and which weighs so much in the queue.
 */
static void send_marked(slow *s, char mark, size_t weight) {
  size_t frame_len = weight - CP__ENTRY_WEIGHT;
  size_t len = frame_len - (frame_len < 128 ? 2 : frame_len < 65540 ? 4 : 10);
  char *body = malloc(len + 1);

  memset(body, mark, len);
  assert_int_equal(cp_send_to_conn(s->node.server, s->id, CP_BINARY,
                                   cp_bytes_of(body, len), NULL),
                   0);
  s->n_sent++;
  free(body);
}

static size_t queued(slow *s) {
  size_t n = cp_conn_queued(s->node.conn);

  assert_int_equal(echo_node_stats(&s->node).queued_bytes, n);
  return n;
}

static cp_stats stats(const slow *s) {
  return echo_node_stats(&s->node);
}

/* Send until the socket is full. Then libuv holds one begun frame, and the
 * queue is empty but for that. */
static void fill_socket(slow *s) {
  ws_client_stop_reading(&s->client);
  while (queued(s) == 0) {
    send_marked(s, 'f', FILLER + CP__ENTRY_WEIGHT);
    turn(s);
  }
  assert_true(queued(s) <= FILLER);
}

/* ... and the queue with it, to the last byte. */
static void fill_queue(slow *s) {
  fill_socket(s);
  while (LIMIT - queued(s) > 2000)
    send_marked(s, 'q', 1000);
  send_marked(s, 'l', LIMIT - queued(s));
  assert_int_equal(queued(s), LIMIT);
  assert_int_equal(stats(s).queue_drops, 0);
  assert_int_equal(stats(s).messages_out, s->n_sent);
}

static bool all_came(slow *s, size_t n) {
  return s->client.n_messages == n;
}

/* What is in the client's log behind the fillers. */
static const char *log_of(const slow *s) {
  const char *p = s->client.log;

  while (strncmp(p, "binary(ffffff+8188) ", 20) == 0)
    p += 20;
  return p;
}

static size_t held(const slow *s) {
  return uv_stream_get_write_queue_size(&s->node.conn->uv.stream);
}

/* Let the client read until libuv has written all that it held. */
static void read_until_written(slow *s) {
  size_t left = queued(s) - held(s);

  ws_client_read_on(&s->client);
  run_until(&s->node.loop, queued(s) <= left);
  ws_client_stop_reading(&s->client);
}

/* Policies. --------------------------------------------------------------- */

static void test_close(void **state) {
  slow s;
  size_t begun;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_socket(&s);
  begun = queued(&s);
  fill_queue(&s);
  send_marked(&s, 'x', SMALL); /* the smallest there is */
  assert_int_equal(stats(&s).queue_drops, 1);
  assert_int_equal(stats(&s).slow_closes, 1);
  assert_int_equal(queued(&s),
                   begun + 4 + strlen("send queue full") + CP__ENTRY_WEIGHT);
  send_marked(&s, 'y', SMALL);
  assert_int_equal(stats(&s).slow_closes, 1);
  s.client.answers = true;
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, s.client.ended);
  assert_string_equal(log_of(&s), "close(1013 send queue full) eof ");
  assert_string_equal(s.node.events, "close:1013: ");
  finish(&s);
}

/* A client that never reads again doesn't even get that. */
static void test_close_unread(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_queue(&s);
  send_marked(&s, 'x', SMALL);
  turn(&s);
  assert_string_equal(s.node.events, "");
  ws_client_reset(&s.client);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_string_equal(s.node.events, "close:1006: ");
  finish(&s);
}

static void test_drop_new(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_DROP_NEW, LIMIT);
  fill_queue(&s);
  send_marked(&s, 'x', SMALL);
  send_marked(&s, 'y', 5000);
  assert_int_equal(queued(&s), LIMIT);
  assert_int_equal(stats(&s).queue_drops, 2);
  assert_int_equal(stats(&s).messages_out, s.n_sent - 2);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent - 2));
  assert_null(strstr(s.client.log, "x"));
  send_marked(&s, 'z', SMALL);
  run_until(&s.node.loop, all_came(&s, s.n_sent - 2));
  assert_non_null(strstr(s.client.log, "binary(z) "));
  assert_int_equal(stats(&s).slow_closes, 0);
  finish(&s);
}

/* Who sends is told for how many connections it was queued. */
static void test_send_says_whether(void **state) {
  cp__blob *frame;
  slow s;

  (void)state;
  start(&s, CP_SLOW_DROP_NEW, LIMIT);
  frame = cp__blob_copy(&s.node.memory.alloc, cp_bytes_of("\x82\x00", 2));
  assert_int_equal(cp__conn_send(s.node.conn, cp__slice_all(frame)), 1);
  s.n_sent++;
  turn(&s);
  fill_queue(&s);
  assert_int_equal(cp__conn_send(s.node.conn, cp__slice_all(frame)), 0);
  cp_conn_close(s.node.conn, 1000, cp_str(NULL));
  assert_int_equal(cp__conn_send(s.node.conn, cp__slice_all(frame)), 0);
  cp__blob_unref(frame);
  finish(&s);
}

static void test_drop_old(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_DROP_OLD, LIMIT);
  fill_socket(&s);
  send_marked(&s, 'a', 10000);
  send_marked(&s, 'b', 10000);
  send_marked(&s, 'c', 10000);
  send_marked(&s, 'd', LIMIT - queued(&s));
  assert_int_equal(queued(&s), LIMIT);
  send_marked(&s, 'e', 10000); /* a makes room for it */
  assert_int_equal(stats(&s).queue_drops, 1);
  assert_int_equal(queued(&s), LIMIT);
  send_marked(&s, 'f', SMALL); /* b */
  assert_int_equal(stats(&s).queue_drops, 2);
  assert_int_equal(queued(&s), LIMIT - 10000 + SMALL);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent - 2));
  assert_memory_equal(log_of(&s), "binary(cccccc+9932) binary(dddddd+", 33);
  assert_non_null(strstr(log_of(&s), ") binary(eeeeee+9932) binary(f) "));
  finish(&s);
}

static void test_drop_old_until_it_fits(void **state) {
  slow s;
  size_t begun;

  (void)state;
  start(&s, CP_SLOW_DROP_OLD, LIMIT);
  fill_socket(&s);
  begun = queued(&s);
  send_marked(&s, 'a', 30000);
  send_marked(&s, 'b', 30000);
  send_marked(&s, 'c', 20000);
  send_marked(&s, 'd', LIMIT - begun); /* exactly what libuv leaves */
  assert_int_equal(queued(&s), LIMIT);
  assert_int_equal(stats(&s).queue_drops, 3);
  /* What does not fit in beside that costs the others nothing. */
  send_marked(&s, 'e', LIMIT - begun + 1);
  assert_int_equal(queued(&s), LIMIT);
  assert_int_equal(stats(&s).queue_drops, 4);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent - 4));
  assert_memory_equal(log_of(&s), "binary(dddddd+", 14);
  finish(&s);
}

/* Pings are no messages: dropped, but not counted as such. */
static void test_drop_old_counts_messages(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_DROP_OLD, LIMIT);
  fill_socket(&s);
  ws_client_frame(&s.client, 0x89, "first", 5);
  ws_client_text(&s.client, "end");
  run_until(&s.node.loop, s.node.len > 0);
  send_marked(&s, 'a', LIMIT - queued(&s));
  send_marked(&s, 'b', CP__ENTRY_WEIGHT + 7); /* what the pong took */
  assert_int_equal(stats(&s).queue_drops, 0);
  assert_int_equal(queued(&s), LIMIT);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent));
  assert_null(strstr(s.client.log, "pong"));
  finish(&s);
}

/* Joined broadcasts. ------------------------------------------------------ */

/* A short one: two bytes are its head's. */
static void broadcast_marked(slow *s, char mark, size_t frame_len) {
  char body[1024];
  size_t len = frame_len - (frame_len < 128 ? 2 : 4);

  memset(body, mark, len);
  assert_int_equal(
      cp_broadcast(s->node.server, CP_BINARY, cp_bytes_of(body, len), NULL), 0);
  s->n_sent++;
}

static size_t n_entries(const slow *s) {
  const cp__qnode *last = s->node.conn->q_last;
  const cp__qnode *node = last;
  size_t n = 0;

  if (last == NULL)
    return 0;
  do {
    node = node->next;
    n++;
  } while (node != last);
  return n;
}

static void test_broadcasts_of_a_turn_are_one_entry(void **state) {
  const char *marks;
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  for (marks = "abc"; *marks != '\0'; marks++)
    broadcast_marked(&s, *marks, 12);
  assert_int_equal(n_entries(&s), 2); /* nobody knew how many would come */
  turn(&s);
  for (marks = "defgh"; *marks != '\0'; marks++)
    broadcast_marked(&s, *marks, 7);
  assert_int_equal(n_entries(&s), 1);
  assert_int_equal(queued(&s), 5 * 7 + CP__ENTRY_WEIGHT);
  turn(&s);
  turn(&s);
  broadcast_marked(&s, 'i', 7);
  broadcast_marked(&s, 'j', 1024); /* there is no room for it */
  broadcast_marked(&s, 'k', 7);
  run_until(&s.node.loop, all_came(&s, s.n_sent));
  assert_string_equal(
      s.client.log,
      "binary(aaaaaaaaaa) binary(bbbbbbbbbb) binary(cccccccccc) binary(ddddd) "
      "binary(eeeee) binary(fffff) binary(ggggg) binary(hhhhh) binary(iiiii) "
      "binary(jjjjjj+1020) binary(kkkkk) ");
  finish(&s);
}

/* What is meant for one connection keeps its place among them. */
static void test_joined_in_order(void **state) {
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  for (i = 0; i < 2; i++) {
    ws_client_forget(&s.client);
    broadcast_marked(&s, 'a', 5);
    broadcast_marked(&s, 'b', 5);
    send_marked(&s, 'x', CP__ENTRY_WEIGHT + 5);
    broadcast_marked(&s, 'c', 5);
    broadcast_marked(&s, 'd', 5);
    run_until(&s.node.loop, strstr(s.client.log, "ddd") != NULL);
    assert_string_equal(
        s.client.log,
        "binary(aaa) binary(bbb) binary(xxx) binary(ccc) binary(ddd) ");
  }
  finish(&s);
}

/* As many frames as must be, not all that were joined with the oldest. */
static void test_joined_are_dropped_one_by_one(void **state) {
  static const char end[] = "binary(yyyyyy+996) binary(zzzzzz+996) ";
  slow s;

  (void)state;
  start(&s, CP_SLOW_DROP_OLD, LIMIT);
  fill_socket(&s);
  while (queued(&s) + 1000 <= LIMIT)
    broadcast_marked(&s, 'q', 1000);
  assert_true(n_entries(&s) < 30);
  broadcast_marked(&s, 'y', 1000);
  assert_int_equal(stats(&s).queue_drops, 1);
  broadcast_marked(&s, 'z', 1000);
  assert_int_equal(stats(&s).queue_drops, 2);
  assert_true(queued(&s) > LIMIT - 1000);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent - 2));
  assert_string_equal(s.client.log + strlen(s.client.log) - strlen(end), end);
  finish(&s);
}

/* One message always fits into an empty queue. */
static void check_larger_than_the_queue(cp_slow_policy policy) {
  slow s;

  start(&s, policy, 1000);
  send_marked(&s, 'a', 1000);
  turn(&s);
  assert_int_equal(queued(&s), 0);
  ws_client_stop_reading(&s.client);
  send_marked(&s, 'b', 8 * 1024 * 1024);
  turn(&s);
  assert_true(queued(&s) > 1000);
  assert_int_equal(stats(&s).queue_drops, 0);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, 2) && queued(&s) == 0);
  assert_string_equal(s.client.log, "binary(aaaaaa+932) "
                                    "binary(bbbbbb+8388534) ");
  send_marked(&s, 'c', 1000);
  run_until(&s.node.loop, all_came(&s, 3));
  assert_int_equal(stats(&s).queue_drops, 0);
  finish(&s);
}

static void test_larger_than_the_queue(void **state) {
  (void)state;
  check_larger_than_the_queue(CP_SLOW_CLOSE);
  check_larger_than_the_queue(CP_SLOW_DROP_NEW);
  check_larger_than_the_queue(CP_SLOW_DROP_OLD);
}

static void open_big(echo_node *node, const char *hook, cp_conn *conn) {
  static const char body[5000];

  if (strcmp(hook, "open") == 0)
    cp_send_to_conn(node->server, cp_conn_get_id(conn), CP_BINARY,
                    cp_bytes_of(body, sizeof body), NULL);
}

/* Nor may what on_open sends cost the client its 101. */
static void check_large_in_on_open(cp_slow_policy policy) {
  ws_client client;
  echo_node node;

  echo_node_init(&node);
  node.options.slow_policy = policy;
  node.options.max_send_queue = 1000;
  node.also = open_big;
  echo_node_start(&node);
  ws_client_connect(&client, &node.loop.loop, node.port);
  ws_client_upgrade(&client, "alice");
  run_until(&node.loop, client.n_messages == 1);
  assert_string_equal(client.log, "101 binary(+5000) ");
  assert_int_equal(echo_node_stats(&node).queue_drops, 0);
  echo_node_see_off(&node, &client);
  echo_node_finish(&node);
}

static void test_large_in_on_open(void **state) {
  (void)state;
  check_large_in_on_open(CP_SLOW_CLOSE);
  check_large_in_on_open(CP_SLOW_DROP_NEW);
  check_large_in_on_open(CP_SLOW_DROP_OLD);
}

/* Slow is who doesn't read, not who gets much in one turn. */
static void test_burst_in_one_turn(void **state) {
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, 2000);
  for (i = 0; i < 30; i++)
    send_marked(&s, 'a', 500);
  assert_int_equal(stats(&s).slow_closes, 0);
  run_until(&s.node.loop, all_came(&s, 30));
  finish(&s);
}

/* on_writable. ------------------------------------------------------------ */

static void test_writable(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_DROP_NEW, LIMIT);
  fill_socket(&s);
  send_marked(&s, 'a', LIMIT / 2 - queued(&s));
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent) && queued(&s) == 0);
  assert_string_equal(s.node.events, ""); /* it was not above the half */
  fill_socket(&s);
  send_marked(&s, 'a', LIMIT / 2 - queued(&s) + 1);
  turn(&s);
  assert_string_equal(s.node.events, "");
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, s.node.len > 0);
  assert_string_equal(s.node.events, "writable ");
  assert_int_equal(queued(&s), 0);
  run_until(&s.node.loop, all_came(&s, s.n_sent));
  turn(&s);
  assert_string_equal(s.node.events, "writable ");
  finish(&s);
}

static void expect_empty(echo_node *node, const char *hook, cp_conn *conn) {
  (void)node;
  if (strcmp(hook, "writable") == 0)
    assert_int_equal(cp_conn_queued(conn), 0);
}

/* Also if a turn's budget did not do. */
static void test_writable_is_empty(void **state) {
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, 8 * 1024 * 1024);
  s.node.also = expect_empty;
  for (i = 0; i < 300; i++)
    send_marked(&s, 'a', 20000);
  run_until(&s.node.loop, s.node.len > 0);
  assert_string_equal(s.node.events, "writable ");
  run_until(&s.node.loop, all_came(&s, 300));
  finish(&s);
}

static void send_more(echo_node *node, const char *hook, cp_conn *conn) {
  slow *s = node->data;

  (void)conn;
  if (strcmp(hook, "writable") == 0 && s->n_sent < 40)
    send_marked(s, 'w', LIMIT);
}

/* A producer that goes by on_writable alone. */
static void test_sending_from_on_writable(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  s.node.data = &s;
  s.node.also = send_more;
  send_marked(&s, 'w', LIMIT);
  run_until(&s.node.loop, all_came(&s, 40));
  assert_int_equal(stats(&s).queue_drops, 0);
  finish(&s);
}

/* Order. ------------------------------------------------------------------ */

enum { N_NUMBERED = 4000 };

static void send_numbered(slow *s) {
  char text[16];
  int i;

  for (i = 0; i < N_NUMBERED; i++) {
    snprintf(text, sizeof text, "%06d", i);
    cp_send_to_user(s->node.server, cp_str("alice"), CP_TEXT, cp_str(text),
                    NULL);
  }
}

static void check_numbered(slow *s) {
  char text[32];
  const char *p = log_of(s);
  int i;

  for (i = 0; i < N_NUMBERED; i++) {
    snprintf(text, sizeof text, "text(%06d) ", i);
    assert_memory_equal(p, text, strlen(text));
    p += strlen(text);
  }
  assert_string_equal(p, "");
}

static void test_many_messages_in_one_turn(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  send_numbered(&s);
  run_until(&s.node.loop, all_came(&s, N_NUMBERED));
  check_numbered(&s);
  finish(&s);
}

/* Let the socket take little at a time, too. */
static void narrow_server(slow *s) {
  int size = 4096;

  assert_int_equal(uv_send_buffer_size(&s->node.conn->uv.handle, &size), 0);
}

/* In the portions that libuv is given. */
static void test_many_messages_behind_a_full_socket(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, 10 * LIMIT);
  narrow_server(&s);
  fill_socket(&s);
  send_numbered(&s);
  ws_client_forget(&s.client);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent + N_NUMBERED));
  check_numbered(&s);
  finish(&s);
}

/* libuv gets whole frames of up to 64 KiB, so that the rest can be dropped. */
static void test_portions(void **state) {
  enum { PORTION = 65536, FRAME = 10000 };
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, 3 * 1024 * 1024);
  narrow_server(&s);
  fill_socket(&s);
  for (i = 0; i < 200; i++)
    send_marked(&s, 'a', FRAME);
  read_until_written(&s); /* the first portion was only what fill_socket left */
  for (i = 0; i < 10; i++) {
    assert_true(held(&s) <= PORTION && held(&s) > PORTION - FRAME);
    read_until_written(&s);
  }
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, all_came(&s, s.n_sent));
  finish(&s);
}

/* What the server says at the end stands behind all that waits. */
static void test_closing_a_slow_client(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_queue(&s);
  assert_int_equal(cp_conn_close(s.node.conn, 4000, cp_str("bye")), 0);
  s.client.answers = true;
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, s.client.ended);
  assert_int_equal(s.client.n_messages, s.n_sent);
  assert_non_null(strstr(s.client.log, ") close(4000 bye) eof "));
  finish(&s);
}

/* The client's close frame is answered behind it, too. */
static void test_slow_client_closes(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_queue(&s);
  ws_client_close_frame(&s.client, 4000, "");
  ws_client_half_close(&s.client);
  run_until(&s.node.loop, s.node.conn == NULL);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, s.client.ended);
  assert_int_equal(s.client.n_messages, s.n_sent);
  assert_non_null(strstr(s.client.log, ") close(4000 ) eof "));
  run_until(&s.node.loop, stats(&s).handshakes == 0); /* no time-out */
  finish(&s);
}

static void test_reset_with_a_full_queue(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_queue(&s);
  ws_client_reset(&s.client);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_string_equal(s.node.events, "close:1006: ");
  finish(&s);
}

/* Before the loop knows of it. */
static void test_reset_noticed_by_a_send(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, 1000);
  ws_client_reset(&s.client);
  send_marked(&s, 'a', 600);
  assert_int_equal(queued(&s), 600);
  send_marked(&s, 'b', 600); /* which has to write */
  assert_int_equal(queued(&s), 0);
  send_marked(&s, 'c', 600);
  assert_int_equal(queued(&s), 0);
  assert_int_equal(stats(&s).queue_drops, 0);
  assert_int_equal(cp_conn_close(s.node.conn, 1000, cp_str(NULL)), CP_E_CLOSED);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_string_equal(s.node.events, "close:1006: ");
  finish(&s);
}

static void test_server_close_with_a_full_queue(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_queue(&s);
  echo_node_close(&s.node);
  echo_node_see_off(&s.node, &s.client);
  echo_node_finish(&s.node);
}

/* Time. ------------------------------------------------------------------- */

/* Let the client read until libuv has written more. */
static void read_a_little(slow *s) {
  size_t before = held(s);

  ws_client_read_on(&s->client);
  run_until(&s->node.loop, held(s) < before);
  ws_client_stop_reading(&s->client);
  turn(s);
}

/* The sweep would do the same, later. */
static void beat(slow *s) {
  cp_conn *conn = s->node.conn;

  cp__timed_stop(&conn->timed);
  cp__conn_on_alive_due(&cp__conn_peers(conn)->alive, &conn->timed);
}

/* Pings wait behind what waits: whoever reads that is alive. */
static void test_a_slow_reader_is_alive(void **state) {
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  ws_client_stop_reading(&s.client);
  send_marked(&s, 'a', 12 * 1024 * 1024);
  turn(&s);
  beat(&s); /* it was alive when it opened */
  for (i = 0; i < 5; i++) {
    size_t before = queued(&s);
    read_a_little(&s);
    beat(&s);
    assert_true(queued(&s) < before);
  }
  assert_int_equal(stats(&s).ping_timeouts, 0);
  assert_int_equal(s.client.n_messages, 0);
  beat(&s);
  beat(&s);
  assert_int_equal(stats(&s).ping_timeouts, 1);
  run_until(&s.node.loop, s.node.conn == NULL);
  finish(&s);
}

/* Also if all of it was read since. */
static void test_who_has_read_all_is_alive(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_socket(&s);
  beat(&s); /* it was alive when it opened */
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, queued(&s) == 0);
  assert_true(cp__list_empty(&cp__conn_peers(s.node.conn)->ending.items));
  beat(&s);
  assert_int_equal(s.node.conn->n_missed, 0);
  beat(&s);
  assert_int_equal(s.node.conn->n_missed, 1);
  finish(&s);
}

/* The end takes as long as somebody reads. */
static void test_a_slow_reader_gets_the_rest(void **state) {
  slow s;
  cp_conn *conn;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  conn = s.node.conn;
  ws_client_stop_reading(&s.client);
  send_marked(&s, 'a', 12 * 1024 * 1024);
  cp_conn_close(conn, 1000, cp_str(NULL));
  turn(&s);
  for (i = 0; i < 5; i++) {
    read_a_little(&s);
    cp__timed_stop(&conn->timed);
    cp__conn_on_ending_due(&cp__conn_peers(conn)->ending, &conn->timed);
    assert_int_equal(conn->state, CP__CONN_CLOSING);
    assert_false(cp__list_empty(&conn->timed.link));
  }
  cp__timed_stop(&conn->timed);
  cp__conn_on_ending_due(&cp__conn_peers(conn)->ending, &conn->timed);
  assert_int_equal(conn->state, CP__CONN_CLOSED);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_string_equal(s.node.events, "close:1006: ");
  finish(&s);
}

static void test_the_end_waits_from_the_last_write_on(void **state) {
  slow s;
  cp_conn *conn;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  conn = s.node.conn;
  fill_socket(&s);
  cp_conn_close(conn, 1000, cp_str(NULL));
  cp__timed_stop(&conn->timed);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, s.client.close_code != 0);
  assert_false(cp__list_empty(&conn->timed.link));
  finish(&s);
}

/* Memory. ----------------------------------------------------------------- */

/* A queue may be long, but what it was made of is not kept for ever. */
static void test_a_long_queue_is_given_back(void **state) {
  enum { N = 70000 };
  size_t n_live;
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, 16 * 1024 * 1024);
  fill_socket(&s);
  n_live = s.node.memory.n_live;
  for (i = 0; i < N; i++)
    send_marked(&s, 'a', SMALL);
  assert_true(s.node.memory.n_live >= n_live + 2 * N - 100);
  ws_client_reset(&s.client);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_true(s.node.memory.n_live < n_live + 66000);
  finish(&s);
}

/* Whatever is allocated next, fails. */
static void fail_next(slow *s) {
  s->node.memory.fail_at = s->node.memory.n_calls + 1;
}

static void test_no_memory_to_close(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fail_next(&s);
  assert_int_equal(cp_conn_close(s.node.conn, 4000, cp_str("x")), CP_E_NOMEM);
  assert_int_equal(cp_conn_close(s.node.conn, 4000, cp_str("x")), CP_E_CLOSED);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_string_equal(s.node.events, "close:1006: ");
  finish(&s);
}

static void test_no_memory_to_ping(void **state) {
  slow s;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  fill_queue(&s); /* which uses up the pool */
  fail_next(&s);
  beat(&s);
  assert_true(s.node.memory.failed);
  run_until(&s.node.loop, s.node.conn == NULL);
  assert_string_equal(s.node.events, "close:1006: ");
  finish(&s);
}

/* Nobody may miss a message without knowing, unless the policy says so. */
static void check_no_memory_to_queue(cp_slow_policy policy, bool killed) {
  slow s;

  start(&s, policy, LIMIT);
  fill_socket(&s);
  send_marked(&s, 'a', 1000);
  send_marked(&s, 'b', 1000);
  assert_int_equal(stats(&s).queue_drops, 0);
  fail_next(&s);
  s.node.memory.fail_at++; /* behind the frame, its place in the queue */
  send_marked(&s, 'c', 1000);
  assert_true(s.node.memory.failed);
  assert_int_equal(stats(&s).queue_drops, 1);
  assert_int_equal(cp_conn_close(s.node.conn, 1000, cp_str(NULL)),
                   killed ? CP_E_CLOSED : 0);
  finish(&s);
}

static void test_no_memory_to_queue(void **state) {
  (void)state;
  check_no_memory_to_queue(CP_SLOW_CLOSE, true);
  check_no_memory_to_queue(CP_SLOW_DROP_NEW, false);
  check_no_memory_to_queue(CP_SLOW_DROP_OLD, false);
}

/* Pings. ------------------------------------------------------------------ */

/* Many pings and no reading: the memory of the answers is bounded, and the last
 * ping has its answer. */
static void test_ping_flood(void **state) {
  enum { N = 200000 };
  uint8_t *bytes = malloc((size_t)N * 6);
  size_t n = 0;
  size_t n_live;
  slow s;
  int i;

  (void)state;
  for (i = 0; i < N; i++)
    n += ws_client_put_frame(bytes + n, 0x89, "", 0);
  start(&s, CP_SLOW_CLOSE, 1024 * 1024);
  fill_socket(&s);
  n_live = s.node.memory.n_live;
  ws_client_write(&s.client, bytes, n);
  ws_client_frame(&s.client, 0x89, "last", 4);
  ws_client_text(&s.client, "end");
  run_until(&s.node.loop, s.node.len > 0);
  assert_true(s.node.memory.n_live < n_live + 10000);
  assert_true(queued(&s) < 20000);
  ws_client_forget(&s.client);
  ws_client_read_on(&s.client);
  send_marked(&s, 'z', SMALL);
  run_until(&s.node.loop, all_came(&s, s.n_sent));
  assert_non_null(strstr(s.client.log, ") pong(last) binary(z) "));
  free(bytes);
  finish(&s);
}

/* Fast enough, and every ping has its own. */
static void test_every_ping_has_its_pong(void **state) {
  char body[8];
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_CLOSE, LIMIT);
  for (i = 0; i < 100; i++) {
    snprintf(body, sizeof body, "%d", i);
    ws_client_frame(&s.client, 0x89, body, strlen(body));
  }
  run_until(&s.node.loop, s.client.n_frames == 100);
  assert_non_null(strstr(s.client.log, "pong(97) pong(98) pong(99) "));
  finish(&s);
}

/* Above the limit the last ping has its pong, and only that. */
static void test_last_ping_above_the_limit(void **state) {
  size_t full;
  slow s;
  int i;

  (void)state;
  start(&s, CP_SLOW_DROP_NEW, 1000);
  ws_client_stop_reading(&s.client);
  send_marked(&s, 'a', 8 * 1024 * 1024);
  turn(&s);
  for (i = 0; i < 1000; i++)
    ws_client_frame(&s.client, 0x89, "not last", 8);
  ws_client_frame(&s.client, 0x89, "last", 4);
  full = queued(&s);
  ws_client_text(&s.client, "end");
  run_until(&s.node.loop, s.node.len > 0);
  assert_true(queued(&s) <= full + CP__ENTRY_WEIGHT + 10);
  ws_client_read_on(&s.client);
  run_until(&s.node.loop, s.client.n_frames == 2 && queued(&s) == 0);
  assert_non_null(strstr(s.client.log, ") pong(last) "));
  finish(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_close),
      cmocka_unit_test(test_close_unread),
      cmocka_unit_test(test_drop_new),
      cmocka_unit_test(test_send_says_whether),
      cmocka_unit_test(test_drop_old),
      cmocka_unit_test(test_drop_old_until_it_fits),
      cmocka_unit_test(test_drop_old_counts_messages),
      cmocka_unit_test(test_broadcasts_of_a_turn_are_one_entry),
      cmocka_unit_test(test_joined_in_order),
      cmocka_unit_test(test_joined_are_dropped_one_by_one),
      cmocka_unit_test(test_larger_than_the_queue),
      cmocka_unit_test(test_large_in_on_open),
      cmocka_unit_test(test_burst_in_one_turn),
      cmocka_unit_test(test_writable),
      cmocka_unit_test(test_writable_is_empty),
      cmocka_unit_test(test_sending_from_on_writable),
      cmocka_unit_test(test_many_messages_in_one_turn),
      cmocka_unit_test(test_many_messages_behind_a_full_socket),
      cmocka_unit_test(test_portions),
      cmocka_unit_test(test_closing_a_slow_client),
      cmocka_unit_test(test_slow_client_closes),
      cmocka_unit_test(test_reset_with_a_full_queue),
      cmocka_unit_test(test_reset_noticed_by_a_send),
      cmocka_unit_test(test_server_close_with_a_full_queue),
      cmocka_unit_test(test_a_slow_reader_is_alive),
      cmocka_unit_test(test_who_has_read_all_is_alive),
      cmocka_unit_test(test_a_slow_reader_gets_the_rest),
      cmocka_unit_test(test_the_end_waits_from_the_last_write_on),
      cmocka_unit_test(test_a_long_queue_is_given_back),
      cmocka_unit_test(test_no_memory_to_close),
      cmocka_unit_test(test_no_memory_to_ping),
      cmocka_unit_test(test_no_memory_to_queue),
      cmocka_unit_test(test_ping_flood),
      cmocka_unit_test(test_every_ping_has_its_pong),
      cmocka_unit_test(test_last_ping_above_the_limit),
  };

  int n_failed;

  n_failed = cmocka_run_group_tests(tests, NULL, NULL);
  no_uring = 1;
  return n_failed + cmocka_run_group_tests(tests, NULL, NULL);
}
