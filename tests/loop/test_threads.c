/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Threads that send as fast as they can, to a user, to a connection and to
 * everybody, while the loop runs; that go on while the server closes; and that
 * keep its handle until they have noticed. Each client checks that what one
 * thread sent arrives once and in order; each send that was taken is called
 * back once. */

#include "observed_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define N_THREADS 4
#define N_ENOUGH  3000    /* of each kind from each thread, before the close */
#define N_MOST    1000000 /* never reached: the queue's limit holds them */

enum { TO_USER, TO_CONN, TO_ALL, N_KINDS };

typedef struct fixture fixture;

typedef struct worker {
  uv_thread_t thread;
  fixture *f;
  cp_server *server; /* a reference */
  int number;
  int last_error;
  unsigned n_taken; /* sends */
  struct worker_send {
    cp_send_options options;
    unsigned n_calls; /* on the loop's thread */
  } * sends;
} worker;

typedef struct listener {
  simple_client client;
  fixture *f;
  unsigned next[N_KINDS][N_THREADS]; /* the number that is due */
  unsigned n_wrong;
} listener;

struct fixture {
  observed_node node;
  cp_conn_id first_conn;
  listener listeners[3]; /* alice, alice, bob */
  worker workers[N_THREADS];
  uv_timer_t shaking;
  unsigned n_shaken;
};

/* A message is its kind, its sender and its number. */

static void on_message(simple_client *client, const char *data, size_t len) {
  listener *self = client->data;
  char text[64];
  unsigned kind, sender, number;

  snprintf(text, sizeof text, "%.*s", (int)len, data);
  if (sscanf(text, "%u %u %u", &kind, &sender, &number) != 3 ||
      kind >= N_KINDS || sender >= N_THREADS ||
      number != self->next[kind][sender]++)
    self->n_wrong++;
}

static void on_result(void *data, const cp_result *result) {
  struct worker_send *send = data;

  (void)result;
  send->n_calls++;
}

static int send_one(worker *w, int kind, unsigned number) {
  struct worker_send *send = &w->sends[w->n_taken];
  char text[64];
  cp_bytes body;

  snprintf(text, sizeof text, "%d %d %u", kind, w->number, number);
  body = cp_str(text);
  cp_send_options_init(&send->options);
  send->options.cb = on_result;
  send->options.data = send;
  if (kind == TO_USER)
    return cp_send_to_user(w->server, cp_str("alice"), CP_TEXT, body,
                           &send->options);
  if (kind == TO_CONN)
    return cp_send_to_conn(w->server, w->f->first_conn, CP_TEXT, body,
                           &send->options);
  return cp_broadcast(w->server, CP_TEXT, body, &send->options);
}

static void work(void *arg) {
  worker *w = arg;
  unsigned numbers[N_KINDS] = {0, 0, 0};
  int rc = 0;

  while ((rc == 0 || rc == CP_E_FULL) && w->n_taken < N_MOST) {
    int kind = (int)(w->n_taken % N_KINDS);
    rc = send_one(w, kind, numbers[kind]);
    if (rc == CP_E_FULL) {
      uv_sleep(1); /* the loop is behind */
    } else if (rc == 0) {
      numbers[kind]++;
      w->n_taken++;
    }
  }
  w->last_error = rc;
  cp_server_unref(w->server);
}

/* The loop's thread. */

static fixture *create(void) {
  fixture *f = calloc(1, sizeof *f);
  int i;

  observed_node_init(&f->node);
  f->node.options.allocator = NULL; /* the failing one is for one thread */
  f->node.options.max_send_queue = (size_t)1 << 30;
  f->node.options.max_thread_queue = 100000;
  f->first_conn.instance = f->first_conn.serial = 1; /* nobody, so far */
  for (i = 0; i < 3; i++) {
    f->listeners[i].f = f;
    f->listeners[i].client.on_message = on_message;
    f->listeners[i].client.data = &f->listeners[i];
  }
  return f;
}

static void connect_all(fixture *f) {
  static const char *const targets[] = {"/?user=alice", "/?user=alice",
                                        "/?user=bob"};
  int i;

  for (i = 0; i < 3; i++) {
    simple_client *client = &f->listeners[i].client;
    simple_client_open(client, &f->node.loop.loop, f->node.port, targets[i],
                       NULL);
    node_await(&f->node, client->status == 101);
    if (i == 0)
      f->first_conn = f->node.id;
  }
}

static void start_workers(fixture *f) {
  int i;

  for (i = 0; i < N_THREADS; i++) {
    worker *w = &f->workers[i];
    w->f = f;
    w->number = i;
    w->server = cp_server_ref(f->node.server);
    w->sends = calloc(N_MOST + 1, sizeof *w->sends);
    assert_int_equal(uv_thread_create(&w->thread, work, w), 0);
  }
}

static bool has_enough(const listener *l, int kind) {
  int i;

  for (i = 0; i < N_THREADS; i++)
    if (l->next[kind][i] < N_ENOUGH)
      return false;
  return true;
}

static bool all_have_enough(const fixture *f) {
  const listener *l = f->listeners;

  return has_enough(&l[0], TO_USER) && has_enough(&l[0], TO_CONN) &&
         has_enough(&l[0], TO_ALL) && has_enough(&l[1], TO_USER) &&
         has_enough(&l[1], TO_ALL) && has_enough(&l[2], TO_ALL);
}

static void check_workers(fixture *f) {
  unsigned i, n;

  for (i = 0; i < N_THREADS; i++) {
    worker *w = &f->workers[i];
    assert_int_equal(w->last_error, CP_E_CLOSED);
    for (n = 0; n < w->n_taken; n++)
      assert_int_equal(w->sends[n].n_calls, 1);
    assert_int_equal(w->sends[n].n_calls, 0);
    free(w->sends);
  }
}

static void check_listeners(const fixture *f) {
  int i;

  for (i = 0; i < 3; i++)
    assert_int_equal(f->listeners[i].n_wrong, 0);
  for (i = 0; i < N_THREADS; i++) {
    assert_int_equal(f->listeners[1].next[TO_CONN][i], 0);
    assert_int_equal(f->listeners[2].next[TO_CONN][i], 0);
    assert_int_equal(f->listeners[2].next[TO_USER][i], 0);
  }
}

/* Close under their hands, and see that everything comes to its end. */
static void close_and_check(fixture *f) {
  int i;

  observed_node_finish(&f->node);
  for (i = 0; i < N_THREADS; i++)
    uv_thread_join(&f->workers[i].thread);
  check_workers(f);
  check_listeners(f);
  free(f);
}

static void test_one_node(void **state) {
  fixture *f = create();

  (void)state;
  f->node.options.transport = NULL;
  observed_node_start(&f->node);
  connect_all(f);
  start_workers(f);
  node_await(&f->node, all_have_enough(f));
  close_and_check(f);
}

/* Link, confirm, unlink, and so on. Each change changes the way that a message
 * takes to this node's own connections. */
static void shake(uv_timer_t *timer) {
  fixture *f = timer->data;
  fake_transport *fake = &f->node.fake;

  fake_transport_forget(fake);
  switch (f->n_shaken++ % 3) {
  case 0:
    fake_transport_link(fake, 0);
    break;
  case 1:
    fake_transport_confirm_all(fake);
    break;
  default:
    fake_transport_unlink(fake, "shaken");
  }
}

static void test_links_come_and_go(void **state) {
  fixture *f = create();

  (void)state;
  f->node.fake.echo_at_once = true;
  f->node.fake.answer_at_once = true;
  observed_node_start(&f->node);
  connect_all(f);
  uv_timer_init(&f->node.loop.loop, &f->shaking);
  f->shaking.data = f;
  uv_timer_start(&f->shaking, shake, 0, 1);
  start_workers(f);
  node_await(&f->node, all_have_enough(f) && f->n_shaken >= 30);
  uv_close((uv_handle_t *)&f->shaking, NULL);
  close_and_check(f);
}

static uint64_t n_sends(const fixture *f) {
  cp_stats stats;

  stats.size = sizeof stats;
  cp_server_stats(f->node.server, &stats);
  return stats.sends;
}

/* From the first moment: the loop has not run yet, and this thread too is one
 * of many. */
static void test_before_the_loop_runs(void **state) {
  fixture *f = create();
  int rc;

  (void)state;
  f->node.options.transport = NULL;
  assert_int_equal(
      cp_server_create(&f->node.server, &f->node.loop.loop, &f->node.options),
      0);
  start_workers(f);
  rc = cp_broadcast(f->node.server, CP_TEXT, cp_str("x"), NULL);
  assert_true(rc == 0 || rc == CP_E_FULL);
  node_await(&f->node, n_sends(f) >= N_ENOUGH);
  close_and_check(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_node),
      cmocka_unit_test(test_links_come_and_go),
      cmocka_unit_test(test_before_the_loop_runs),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
