/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What many connections get in one turn, which leaves in batches: with io_uring
 * and without, where sockets are full or dead, and when the ring fails. */

#include "conn.h"
#include "echo_node.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define LONG_MS 600000
#define CROWD   300 /* clients: more than a batch */

static int no_uring;

typedef struct crowd {
  echo_node node;
  ws_client *clients[CROWD];
  size_t n;
  bool sent; /* on_writable has */
} crowd;

static void start(crowd *c) {
  memset(c, 0, sizeof *c);
  echo_node_init(&c->node);
  c->node.silent = true;
  c->node.options.no_uring = no_uring;
  c->node.options.close_timeout_ms = LONG_MS;
  c->node.options.ping_interval_ms = LONG_MS;
  c->node.options.handshake_timeout_ms = LONG_MS;
  c->node.options.max_send_queue = 1 << 20;
}

static void user_name(char out[24], size_t i) {
  snprintf(out, 24, "u%zu", i);
}

static ws_client *join(crowd *c, bool narrow) {
  ws_client *client = calloc(1, sizeof *client);
  char user[24];

  assert_non_null(client);
  user_name(user, c->n);
  c->clients[c->n++] = client;
  if (narrow)
    ws_client_connect_narrow(client, &c->node.loop.loop, c->node.port);
  else
    ws_client_connect(client, &c->node.loop.loop, c->node.port);
  ws_client_upgrade(client, user);
  run_until(&c->node.loop,
            echo_node_stats(&c->node).conns == c->n && client->status == 101);
  ws_client_forget(client);
  return client;
}

static void send_to(crowd *c, size_t i, const char *text) {
  char user[24];

  user_name(user, i);
  assert_int_equal(cp_send_to_user(c->node.server, cp_str(user), CP_TEXT,
                                   cp_str(text), NULL),
                   0);
}

static void finish(crowd *c) {
  size_t i;

  for (i = 0; i < c->n; i++)
    if (!c->clients[i]->gone)
      ws_client_leave(c->clients[i]);
  run_until(&c->node.loop, echo_node_stats(&c->node).conns == 0);
  assert_int_equal(echo_node_stats(&c->node).queued_bytes, 0);
  for (i = 0; i < c->n; i++) {
    run_until(&c->node.loop, c->clients[i]->gone);
    ws_client_finish(c->clients[i]);
    free(c->clients[i]);
  }
  echo_node_finish(&c->node);
}

/* More connections than a batch takes, and than are written to in one turn. */
static void test_everybody(void **state) {
  crowd c;
  size_t i;

  (void)state;
  start(&c);
  echo_node_start(&c.node);
  while (c.n < CROWD)
    join(&c, false);
  for (i = 0; i < CROWD; i++) {
    char text[24];

    user_name(text, i);
    send_to(&c, i, text);
  }
  cp_broadcast(c.node.server, CP_TEXT, cp_str("all"), NULL);
  for (i = 0; i < CROWD; i++) {
    char expected[64];

    run_until(&c.node.loop, c.clients[i]->n_messages == 2);
    snprintf(expected, sizeof expected, "text(u%zu) text(all) ", i);
    assert_string_equal(c.clients[i]->log, expected);
  }
  finish(&c);
}

/* More messages than one write takes, and than a batch has room for. */
static void test_many_for_each(void **state) {
  enum { N = 20, EACH = 3 * CP__BATCH_BUFS + 1 };
  char text[24];
  size_t i, k;
  crowd c;

  (void)state;
  start(&c);
  echo_node_start(&c.node);
  while (c.n < N)
    join(&c, false);
  for (k = 0; k < EACH; k++)
    for (i = 0; i < N; i++) {
      snprintf(text, sizeof text, "%zu", k);
      send_to(&c, i, text);
    }
  for (i = 0; i < N; i++) {
    const char *p = c.clients[i]->log;

    run_until(&c.node.loop, c.clients[i]->n_messages == EACH);
    for (k = 0; k < EACH; k++) {
      size_t len = (size_t)snprintf(text, sizeof text, "text(%zu) ", k);

      assert_memory_equal(p, text, len);
      p += len;
    }
    assert_string_equal(p, "");
  }
  finish(&c);
}

/* One doesn't read, one is gone: each has its own result. */
static void test_full_and_dead_ones_among_others(void **state) {
  enum { N = 5, FULL = 1, DEAD = 3, BODY = 8192 };
  static char body[BODY + 1];
  size_t n_sent = 0;
  crowd c;
  size_t i;

  (void)state;
  memset(body, 'x', BODY);
  start(&c);
  echo_node_start(&c.node);
  while (c.n < N)
    join(&c, c.n == FULL);
  ws_client_stop_reading(c.clients[FULL]);
  while (echo_node_stats(&c.node).queued_bytes < 4 * BODY) {
    for (i = 0; i < N; i++)
      send_to(&c, i, body);
    n_sent++;
    uv_run(&c.node.loop.loop, UV_RUN_NOWAIT);
  }
  /* Nobody but the one that doesn't read is kept waiting. */
  for (i = 0; i < N; i++)
    if (i != FULL)
      run_until(&c.node.loop, c.clients[i]->n_messages == n_sent);
  ws_client_reset(c.clients[DEAD]);
  for (i = 0; i < N; i++)
    send_to(&c, i, "last");
  ws_client_read_on(c.clients[FULL]);
  for (i = 0; i < N; i++) {
    if (i == DEAD)
      continue;
    run_until(&c.node.loop, c.clients[i]->n_messages == n_sent + 1);
    assert_non_null(strstr(c.clients[i]->log, "text(last) "));
  }
  run_until(&c.node.loop, echo_node_stats(&c.node).conns == N - 1);
  assert_int_equal(echo_node_stats(&c.node).queue_drops, 0);
  finish(&c);
}

static void on_writable(echo_node *node, const char *hook, cp_conn *conn) {
  crowd *c = node->data;
  size_t i;

  (void)conn;
  if (strcmp(hook, "writable") != 0 || c->sent)
    return;
  c->sent = true;
  for (i = 0; i < c->n; i++)
    send_to(c, i, "second");
}

/* User code that runs when the first of a batch has been written finds the
 * others written too: what it sends them comes behind, and nothing twice. */
static void test_sending_while_a_batch_is_applied(void **state) {
  enum { N = 4, BODY = 900 };
  static char body[BODY + 1];
  crowd c;
  size_t i;

  (void)state;
  memset(body, 'x', BODY);
  start(&c);
  c.node.options.max_send_queue = 1000;
  c.node.also = on_writable;
  c.node.data = &c;
  echo_node_start(&c.node);
  while (c.n < N)
    join(&c, false);
  for (i = 0; i < N; i++)
    send_to(&c, i, body);
  for (i = 0; i < N; i++) {
    run_until(&c.node.loop, c.clients[i]->n_messages == 2);
    assert_string_equal(c.clients[i]->log, "text(xxxxxx+900) text(second) ");
  }
  finish(&c);
}

/* The ring. --------------------------------------------------------------- */

static cp__batch **batch_of(crowd *c) {
  return &cp__conn_peers(c->node.conn)->batch;
}

/* The server's ring. libuv may have some too, but those came with the loop and
 * have lower numbers. -1: there is none. */
static int find_ring(void) {
  DIR *dir = opendir("/proc/self/fd");
  struct dirent *entry;
  int fd = -1;

  while (dir != NULL && (entry = readdir(dir)) != NULL) {
    char target[64] = "";
    char path[300];

    snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
    if (readlink(path, target, sizeof target - 1) > 0 &&
        strstr(target, "io_uring") != NULL && atoi(entry->d_name) > fd)
      fd = atoi(entry->d_name);
  }
  if (dir != NULL)
    closedir(dir);
  return fd;
}

/* Put something else in its place. */
static void break_ring(void) {
  int other = open("/dev/null", O_RDWR);
  int ring = find_ring();

  assert_true(other >= 0 && ring >= 0);
  assert_int_equal(dup2(other, ring), ring);
  close(other);
}

static int n_warnings;

static void count_warnings(void *data, cp_log_level level, const char *line) {
  (void)data;
  n_warnings += level == CP_LOG_WARN && strstr(line, "io_uring") != NULL;
}

static void test_a_ring_that_fails(void **state) {
  enum { N = 3 };
  crowd c;
  size_t i;

  (void)state;
  start(&c);
  c.node.options.on_log = count_warnings;
  n_warnings = 0;
  echo_node_start(&c.node);
  while (c.n < N)
    join(&c, false);
  if (*batch_of(&c) == NULL) {
    finish(&c);
    skip();
  }
  break_ring();
  for (i = 0; i < N; i++)
    send_to(&c, i, "first");
  for (i = 0; i < N; i++)
    run_until(&c.node.loop, c.clients[i]->n_messages == 1);
  assert_null(*batch_of(&c));
  assert_int_equal(n_warnings, 1);
  for (i = 0; i < N; i++)
    send_to(&c, i, "second");
  for (i = 0; i < N; i++) {
    run_until(&c.node.loop, c.clients[i]->n_messages == 2);
    assert_string_equal(c.clients[i]->log, "text(first) text(second) ");
  }
  finish(&c);
}

static void test_by_option(void **state) {
  crowd c;

  (void)state;
  start(&c);
  c.node.options.no_uring = 1;
  echo_node_start(&c.node);
  join(&c, false);
  assert_null(*batch_of(&c));
  finish(&c);
}

int main(void) {
  const struct CMUnitTest both[] = {
      cmocka_unit_test(test_everybody),
      cmocka_unit_test(test_many_for_each),
      cmocka_unit_test(test_full_and_dead_ones_among_others),
      cmocka_unit_test(test_sending_while_a_batch_is_applied),
  };
  const struct CMUnitTest ring[] = {
      cmocka_unit_test(test_a_ring_that_fails),
      cmocka_unit_test(test_by_option),
  };
  int n_failed = 0;

  for (no_uring = 0; no_uring <= 1; no_uring++)
    n_failed += cmocka_run_group_tests(both, NULL, NULL);
  no_uring = 0;
  return n_failed + cmocka_run_group_tests(ring, NULL, NULL);
}
