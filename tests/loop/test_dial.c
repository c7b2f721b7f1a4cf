/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Dialing names that stand for what each test likes: the system's lookup is
 * replaced by one of our own. */
#include "dial.h"

#include "list.h"
#include "run_until.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The lookup. ------------------------------------------------------------- */

#define MAX_ADDRESSES 3

/* What the next lookup finds, and in which order. */
typedef struct answer {
  int ports[MAX_ADDRESSES]; /* of 127.0.0.1, ended by 0 */
  bool held;                /* it waits for `release` */
  uv_sem_t asked;
  uv_sem_t release;
} answer;

static answer the_answer;

typedef struct found {
  struct addrinfo info;
  struct sockaddr_in address;
} found;

static struct addrinfo *find(int port, struct addrinfo *next) {
  found *one = calloc(1, sizeof *one);

  uv_ip4_addr("127.0.0.1", port, &one->address);
  one->info.ai_family = AF_INET;
  one->info.ai_socktype = SOCK_STREAM;
  one->info.ai_addr = (struct sockaddr *)&one->address;
  one->info.ai_addrlen = sizeof one->address;
  one->info.ai_next = next;
  return &one->info;
}

int getaddrinfo(const char *node, const char *service,
                const struct addrinfo *hints, struct addrinfo **result) {
  int i;

  (void)node, (void)service, (void)hints;
  *result = NULL;
  if (the_answer.held) {
    uv_sem_post(&the_answer.asked);
    uv_sem_wait(&the_answer.release);
  }
  for (i = MAX_ADDRESSES - 1; i >= 0; i--)
    if (the_answer.ports[i] != 0)
      *result = find(the_answer.ports[i], *result);
  return *result != NULL ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list) {
  while (list != NULL) {
    struct addrinfo *next = list->ai_next;
    free(list);
    list = next;
  }
}

/* Listeners. -------------------------------------------------------------- */

typedef struct listener {
  uv_tcp_t tcp;
  int port;
  int n_connections;
} listener;

static void on_connection(uv_stream_t *stream, int status) {
  listener *self = stream->data;

  assert_int_equal(status, 0);
  self->n_connections++;
}

static void bind_listener(listener *self, uv_loop_t *loop) {
  struct sockaddr_in address;
  int len = sizeof address;

  memset(self, 0, sizeof *self);
  uv_tcp_init(loop, &self->tcp);
  self->tcp.data = self;
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_bind(&self->tcp, (struct sockaddr *)&address, 0);
  uv_tcp_getsockname(&self->tcp, (struct sockaddr *)&address, &len);
  self->port = ntohs(address.sin_port);
}

static void start_listener(listener *self, uv_loop_t *loop) {
  bind_listener(self, loop);
  assert_int_equal(uv_listen((uv_stream_t *)&self->tcp, 4, on_connection), 0);
}

static void close_listener(listener *self) {
  uv_close((uv_handle_t *)&self->tcp, NULL);
}

/* A port that neither accepts nor refuses: its queue is full, of connections
 * that nobody accepts. */
typedef struct silent_port {
  int fds[8]; /* the first one listens */
  int port;
} silent_port;

static void open_silent_port(silent_port *self) {
  struct sockaddr_in address;
  socklen_t len = sizeof address;
  size_t i;

  uv_ip4_addr("127.0.0.1", 0, &address);
  self->fds[0] = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(self->fds[0], (struct sockaddr *)&address, len), 0);
  assert_int_equal(listen(self->fds[0], 0), 0);
  getsockname(self->fds[0], (struct sockaddr *)&address, &len);
  self->port = ntohs(address.sin_port);
  for (i = 1; i < 8; i++) {
    self->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(self->fds[i], (struct sockaddr *)&address, len);
  }
}

static void close_silent_port(silent_port *self) {
  size_t i;

  for (i = 0; i < 8; i++)
    close(self->fds[i]);
}

/* The owner. -------------------------------------------------------------- */

typedef struct owner {
  test_loop loop;
  cp__dial dial;
  int n_done;
  int err;
  char reason[512];
  bool closed;
} owner;

static void on_done(cp__dial *dial, int err, const char *reason) {
  owner *self = cp__container_of(dial, owner, dial);

  self->n_done++;
  self->err = err;
  snprintf(self->reason, sizeof self->reason, "%s", reason);
}

static void on_closed(cp__dial *dial) {
  cp__container_of(dial, owner, dial)->closed = true;
}

static void init(owner *self) {
  memset(self, 0, sizeof *self);
  memset(&the_answer, 0, sizeof the_answer);
  test_loop_init(&self->loop);
}

static void dial_name(owner *self, uint64_t timeout_ms) {
  static const cp__dial_events events = {on_done, on_closed};
  const cp__endpoint endpoint = {.host = "some.name", .port = 7};

  assert_int_equal(cp__dial_start(&self->dial, &self->loop.loop, &endpoint,
                                  timeout_ms, &events),
                   0);
  assert_int_equal(self->n_done, 0);
}

static void close_dial(owner *self) {
  cp__dial_close(&self->dial);
  assert_false(self->closed);
  run_until(&self->loop, self->closed);
}

static void finish(owner *self) {
  assert_int_equal(test_loop_finish(&self->loop), 0);
}

static void test_next_address_after_a_refusal(void **state) {
  listener nobody, somebody;
  owner self;

  (void)state;
  init(&self);
  bind_listener(&nobody, &self.loop.loop);
  start_listener(&somebody, &self.loop.loop);
  the_answer.ports[0] = the_answer.ports[1] = nobody.port;
  the_answer.ports[2] = somebody.port;
  dial_name(&self, RUN_DEADLINE_MS);
  run_until(&self.loop, self.n_done == 1);
  assert_int_equal(self.err, 0);
  run_until(&self.loop, somebody.n_connections == 1);
  assert_true(cp__dial_ms_left(&self.dial) > 0);
  close_dial(&self);
  close_listener(&nobody);
  close_listener(&somebody);
  finish(&self);
}

static void test_every_address_refuses(void **state) {
  listener nobody;
  owner self;

  (void)state;
  init(&self);
  bind_listener(&nobody, &self.loop.loop);
  the_answer.ports[0] = the_answer.ports[1] = nobody.port;
  dial_name(&self, RUN_DEADLINE_MS);
  run_until(&self.loop, self.n_done == 1);
  assert_int_equal(self.err, UV_ECONNREFUSED);
  assert_string_equal(self.reason,
                      "can't connect to some.name:7: connection refused");
  close_dial(&self);
  close_listener(&nobody);
  finish(&self);
}

/* It gets half of the time, not all of it. */
static void test_next_address_after_silence(void **state) {
  silent_port silent;
  listener somebody;
  owner self;

  (void)state;
  init(&self);
  open_silent_port(&silent);
  start_listener(&somebody, &self.loop.loop);
  the_answer.ports[0] = silent.port;
  the_answer.ports[1] = somebody.port;
  dial_name(&self, 1000);
  run_until(&self.loop, self.n_done == 1);
  assert_int_equal(self.err, 0);
  assert_true(cp__dial_ms_left(&self.dial) > 0);
  close_dial(&self);
  close_listener(&somebody);
  close_silent_port(&silent);
  finish(&self);
}

static void test_silence_to_the_end(void **state) {
  silent_port silent;
  owner self;

  (void)state;
  init(&self);
  open_silent_port(&silent);
  the_answer.ports[0] = the_answer.ports[1] = silent.port;
  dial_name(&self, 50);
  run_until(&self.loop, self.n_done == 1);
  assert_int_equal(self.err, CP_E_TIMEOUT);
  assert_non_null(strstr(self.reason, "connect to some.name:7"));
  close_dial(&self);
  close_silent_port(&silent);
  finish(&self);
}

static void test_close_while_connecting(void **state) {
  silent_port silent;
  owner self;

  (void)state;
  init(&self);
  open_silent_port(&silent);
  the_answer.ports[0] = silent.port;
  dial_name(&self, RUN_DEADLINE_MS);
  run_until(&self.loop, self.dial.io_open);
  close_dial(&self);
  assert_int_equal(self.n_done, 0);
  close_silent_port(&silent);
  finish(&self);
}

static void test_name_unknown(void **state) {
  owner self;

  (void)state;
  init(&self);
  dial_name(&self, RUN_DEADLINE_MS);
  run_until(&self.loop, self.n_done == 1);
  assert_int_equal(self.err, UV_EAI_NONAME);
  assert_non_null(strstr(self.reason, "look up some.name:7"));
  close_dial(&self);
  finish(&self);
}

static void hold_lookup(void) {
  the_answer.held = true;
  the_answer.ports[0] = 1;
  uv_sem_init(&the_answer.asked, 0);
  uv_sem_init(&the_answer.release, 0);
}

/* A lookup that has begun can't be called off: the end waits for it. */
static void test_close_while_looking_up(void **state) {
  owner self;

  (void)state;
  init(&self);
  hold_lookup();
  dial_name(&self, RUN_DEADLINE_MS);
  uv_sem_wait(&the_answer.asked);
  cp__dial_close(&self.dial);
  uv_run(&self.loop.loop, UV_RUN_NOWAIT);
  uv_run(&self.loop.loop, UV_RUN_NOWAIT);
  assert_false(self.closed);
  uv_sem_post(&the_answer.release);
  run_until(&self.loop, self.closed);
  assert_int_equal(self.n_done, 0);
  finish(&self);
}

static void test_lookup_beyond_the_timeout(void **state) {
  owner self;

  (void)state;
  init(&self);
  hold_lookup();
  dial_name(&self, 20);
  uv_sem_wait(&the_answer.asked);
  run_until(&self.loop, self.n_done == 1);
  assert_int_equal(self.err, CP_E_TIMEOUT);
  assert_non_null(strstr(self.reason, "look up some.name:7"));
  uv_sem_post(&the_answer.release);
  run_until(&self.loop, !self.dial.is_looking_up);
  close_dial(&self);
  assert_int_equal(self.n_done, 1);
  finish(&self);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_next_address_after_a_refusal),
      cmocka_unit_test(test_every_address_refuses),
      cmocka_unit_test(test_next_address_after_silence),
      cmocka_unit_test(test_silence_to_the_end),
      cmocka_unit_test(test_close_while_connecting),
      cmocka_unit_test(test_name_unknown),
      cmocka_unit_test(test_close_while_looking_up),
      cmocka_unit_test(test_lookup_beyond_the_timeout),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
