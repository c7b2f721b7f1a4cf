/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Threads that hand over sockets as fast as they can while the loop runs; that
 * go on while the server closes; and that keep its handle until they have
 * noticed. Each socket that was taken is answered or closed, each that was not
 * is still the thread's. */

#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#define N_THREADS 4
#define N_ENOUGH  400 /* open connections, before the close */
#define N_AHEAD   8   /* sockets of a thread that are not looked after yet */

/* libuv closes by a system call that ThreadSanitizer doesn't see, so to it two
 * threads that were given the same number, one after the other, race. */
static uv_mutex_t creating;

typedef struct worker {
  uv_thread_t thread;
  cp_server *server; /* a reference */
  int last_error;
  unsigned n_full;
  unsigned n_opened;
  unsigned n_wrong;
} worker;

/* The client's side of a socket: its request is on the way. Returns the host's
 * side. */
static int connect_client(int *client) {
  char request[1024];
  size_t len = ws_client_put_upgrade(request, sizeof request, "alice");
  int pair[2];
  int rc;

  uv_mutex_lock(&creating);
  rc = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
  uv_mutex_unlock(&creating);
  if (rc != 0 || send(pair[1], request, len, 0) != (ssize_t)len)
    abort();
  *client = pair[1];
  return pair[0];
}

/* Wait for the 101, or for the end if the server closes. */
static void look_after(worker *w, int client) {
  char head[16] = "";
  ssize_t n = recv(client, head, sizeof head - 1, 0);

  if (n > 0 && strncmp(head, "HTTP/1.1 101", 12) == 0)
    w->n_opened++;
  else if (n > 0 && strncmp(head, "HTTP/1.1 503", 12) != 0)
    w->n_wrong++;
  close(client);
}

/* Returns what cp_server_adopt does; `*client` is -1 after an error. */
static int hand_over(worker *w, int *client) {
  cp_adopt_options options;
  int rc;

  cp_adopt_options_init(&options);
  options.fd = connect_client(client);
  rc = cp_server_adopt(w->server, &options);
  if (rc == 0)
    return 0;
  if (close(options.fd) != 0)
    w->n_wrong++;
  close(*client);
  *client = -1;
  return rc;
}

static void work(void *arg) {
  worker *w = arg;
  int clients[N_AHEAD];
  int rc = 0;
  int i, n;

  while (rc == 0 || rc == CP_E_FULL) {
    for (n = 0; n < N_AHEAD && (rc == 0 || rc == CP_E_FULL); n++) {
      rc = hand_over(w, &clients[n]);
      w->n_full += rc == CP_E_FULL;
    }
    for (i = 0; i < n; i++)
      if (clients[i] >= 0)
        look_after(w, clients[i]);
  }
  w->last_error = rc;
  cp_server_unref(w->server);
}

static void start(worker *w, cp_server *server) {
  memset(w, 0, sizeof *w);
  w->server = cp_server_ref(server);
  assert_int_equal(uv_thread_create(&w->thread, work, w), 0);
}

static void finish(worker *w) {
  uv_thread_join(&w->thread);
  assert_int_equal(w->last_error, CP_E_CLOSED);
  assert_int_equal(w->n_wrong, 0);
}

static void init(echo_node *node) {
  echo_node_init(node);
  node->options.allocator = NULL; /* the failing one is for one thread */
  node->options.max_conns_per_user = 0;
}

static void test_while_it_closes(void **state) {
  static echo_node node;
  worker workers[N_THREADS];
  unsigned n_opened = 0;
  int i;

  (void)state;
  init(&node);
  echo_node_start(&node);
  for (i = 0; i < N_THREADS; i++)
    start(&workers[i], node.server);
  run_until(&node.loop, echo_node_stats(&node).opened >= N_ENOUGH);
  echo_node_finish(&node);
  for (i = 0; i < N_THREADS; i++) {
    finish(&workers[i]);
    n_opened += workers[i].n_opened;
  }
  assert_true(n_opened > 0);
}

/* There is room for one at a time. */
static void test_full(void **state) {
  static echo_node node;
  worker workers[N_THREADS];
  unsigned n_full = 0;
  int i;

  (void)state;
  init(&node);
  node.options.max_thread_queue = 1;
  echo_node_start(&node);
  for (i = 0; i < N_THREADS; i++)
    start(&workers[i], node.server);
  run_until(&node.loop, echo_node_stats(&node).opened >= N_ENOUGH);
  echo_node_finish(&node);
  for (i = 0; i < N_THREADS; i++) {
    finish(&workers[i]);
    n_full += workers[i].n_full;
  }
  assert_true(n_full > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_while_it_closes),
      cmocka_unit_test(test_full),
  };

  uv_mutex_init(&creating); /* for good */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
