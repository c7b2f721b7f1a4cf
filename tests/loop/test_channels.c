/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The application's channels: within one node; on a bus that does what a test
 * says; and over a link to a scripted Redis. */
#include "../unit/failing_alloc.h"
#include "fake_redis.h"
#include "fake_transport.h"
#include "list.h"
#include "run_until.h"
#include "transport_host.h"

#include <clusterpush/clusterpush.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture fixture;

typedef struct handler {
  fixture *f;
  const char *tag;
  cp_subscription *subscription;
  void (*act)(struct handler *self); /* NULL: only note */
  struct handler *other;
} handler;

struct fixture {
  test_loop loop;
  failing_alloc memory;
  fake_transport fake;
  cp_transport_ops ops; /* of `fake`, with channels */
  fake_transport bus;
  cp_server_options options;
  cp_server *server;
  bool closed;
  char heard[2048]; /* TAG<CHANNEL|PATTERN|BODY>, TAG:STATUS */
  handler handlers[8];
  cp_result result;
  int n_results;
};

static void note(fixture *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void note(fixture *f, const char *format, ...) {
  size_t len = strlen(f->heard);
  va_list args;

  va_start(args, format);
  vsnprintf(f->heard + len, sizeof f->heard - len, format, args);
  va_end(args);
}

static void on_message(void *data, cp_bytes channel, cp_bytes pattern,
                       cp_bytes body) {
  handler *self = data;

  note(self->f, "%s<%.*s|%.*s|%.*s> ", self->tag, (int)channel.len,
       (const char *)channel.data, (int)pattern.len, (const char *)pattern.data,
       (int)body.len, (const char *)body.data);
  if (self->act != NULL)
    self->act(self);
}

static void on_status(void *data, int status) {
  handler *self = data;
  note(self->f, "%s:%s ", self->tag, status == 0 ? "0" : cp_err_name(status));
}

static void on_result(void *data, const cp_result *result) {
  fixture *f = data;

  f->result = *result;
  f->n_results++;
}

static void on_closed(void *data) {
  fixture *f = data;

  f->closed = true;
  f->server = NULL;
}

static int setup(void **state) {
  static const char *const tags[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
  fixture *f = calloc(1, sizeof *f);
  size_t i;

  test_loop_init(&f->loop);
  failing_alloc_init(&f->memory, 0);
  cp_server_options_init(&f->options);
  f->options.data = f;
  f->options.allocator = &f->memory.alloc;
  for (i = 0; i < 8; i++) {
    f->handlers[i].f = f;
    f->handlers[i].tag = tags[i];
  }
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  cp_server_close(f->server, 0, on_closed);
  assert_int_equal(test_loop_finish(&f->loop), 0);
  assert_int_equal(f->memory.n_live, 0);
  free(f);
  return 0;
}

static void poll(fixture *f) {
  int i;

  for (i = 0; i < 4; i++)
    uv_run(&f->loop.loop, UV_RUN_NOWAIT);
}

static void create(fixture *f) {
  assert_int_equal(cp_server_create(&f->server, &f->loop.loop, &f->options), 0);
  poll(f);
}

static int try_subscribe(fixture *f, int i, const char *name) {
  cp_subscribe_options options;
  handler *h = &f->handlers[i];

  cp_subscribe_options_init(&options);
  options.on_status = on_status;
  return (strpbrk(name, "*?[") != NULL ? cp_psubscribe : cp_subscribe)(
      f->server, cp_str(name), on_message, h, &options, &h->subscription);
}

static void subscribe(fixture *f, int i, const char *name) {
  assert_int_equal(try_subscribe(f, i, name), 0);
}

static int publish(fixture *f, const char *channel, const char *body) {
  cp_send_options options;

  cp_send_options_init(&options);
  options.cb = on_result;
  options.data = f;
  return cp_publish(f->server, cp_str(channel), cp_str(body), &options);
}

static void expect(fixture *f, const char *heard) {
  poll(f);
  assert_string_equal(f->heard, heard);
  f->heard[0] = '\0';
}

/* Within one node. -------------------------------------------------------- */

static void create_alone(fixture *f) {
  create(f);
  subscribe(f, 0, "news");
  subscribe(f, 1, "news");
  subscribe(f, 2, "new?");
  assert_string_equal(f->heard, ""); /* never before the call returned */
  expect(f, "a:0 b:0 c:0 ");
}

static void test_alone(void **state) {
  fixture *f = *state;

  create_alone(f);
  assert_int_equal(publish(f, "news", "1"), 0);
  assert_int_equal(publish(f, "newt", ""), 0);
  assert_int_equal(publish(f, "other", "x"), 0);
  expect(f, "a<news||1> b<news||1> c<news|new?|1> c<newt|new?|> ");
  assert_int_equal(f->n_results, 3);
  assert_int_equal(f->result.state, CP_NONE);
  publish(f, "news", "2");
  poll(f);
  assert_int_equal(f->result.state, CP_REACHED);
  assert_int_equal(f->result.subscribers, 1);
}

static void unsubscribe_self(handler *self) {
  cp_unsubscribe(self->subscription);
}

static void unsubscribe_other(handler *self) {
  cp_unsubscribe(self->other->subscription);
}

static void test_unsubscribe_inside(void **state) {
  fixture *f = *state;

  create_alone(f);
  f->handlers[0].act = unsubscribe_self;
  publish(f, "news", "1");
  publish(f, "news", "2");
  expect(f, "a<news||1> b<news||1> c<news|new?|1> b<news||2> c<news|new?|2> ");
  f->handlers[1].act = unsubscribe_self;
  f->handlers[2].act = unsubscribe_self;
  publish(f, "news", "3");
  publish(f, "news", "4");
  expect(f, "b<news||3> c<news|new?|3> ");
  subscribe(f, 0, "news");
  publish(f, "news", "5");
  expect(f, "a:0 a<news||5> ");
}

static void test_unsubscribe_another_inside(void **state) {
  fixture *f = *state;

  create_alone(f);
  f->handlers[0].act = unsubscribe_other;
  f->handlers[0].other = &f->handlers[1]; /* the next one */
  publish(f, "news", "1");
  expect(f, "a<news||1> c<news|new?|1> ");
  f->handlers[0].other = &f->handlers[0];
  publish(f, "news", "2");
  publish(f, "news", "3");
  expect(f, "a<news||2> c<news|new?|2> c<news|new?|3> ");
}

static void subscribe_inside(handler *self) {
  if (self->f->handlers[3].subscription == NULL)
    subscribe(self->f, 3, "news");
}

static void test_subscribe_inside(void **state) {
  fixture *f = *state;

  create_alone(f);
  f->handlers[1].act = subscribe_inside;
  publish(f, "news", "1");
  expect(f, "a<news||1> b<news||1> c<news|new?|1> d:0 ");
  publish(f, "news", "2");
  expect(f, "a<news||2> b<news||2> d<news||2> c<news|new?|2> ");
}

static void close_inside(handler *self) {
  cp_server_close(self->f->server, 0, on_closed);
}

static void test_close_inside(void **state) {
  fixture *f = *state;

  create_alone(f);
  f->handlers[0].act = close_inside;
  publish(f, "news", "1");
  publish(f, "news", "2");
  expect(f, "a<news||1> ");
  if (f->server != NULL)
    assert_int_equal(try_subscribe(f, 3, "x"), CP_E_CLOSED);
}

static void test_names(void **state) {
  fixture *f = *state;
  char longest[257];

  create(f);
  memset(longest, 'x', 256);
  longest[256] = '\0';
  assert_int_equal(try_subscribe(f, 0, ""), CP_E_INVALID);
  assert_int_equal(try_subscribe(f, 0, longest), CP_E_INVALID);
  assert_int_equal(publish(f, longest, "x"), CP_E_INVALID);
  longest[255] = '\0';
  assert_int_equal(try_subscribe(f, 0, longest), 0);
  assert_int_equal(try_subscribe(f, 0, "cp:all"), CP_E_INVALID);
  assert_int_equal(try_subscribe(f, 0, "cp:"), CP_E_INVALID);
  assert_int_equal(try_subscribe(f, 0, "*"), CP_E_INVALID);
  assert_int_equal(try_subscribe(f, 0, "cp"), 0);
  assert_int_equal(publish(f, "cp:u:{alice}", "x"), CP_E_INVALID);
  assert_int_equal(publish(f, "", "x"), CP_E_INVALID);
  assert_int_equal(cp_subscribe(f->server, cp_str("x"), NULL, NULL, NULL, NULL),
                   CP_E_INVALID);
  cp_unsubscribe(NULL);
}

static void test_limits(void **state) {
  fixture *f = *state;
  char body[600];

  f->options.max_subscriptions = 2;
  f->options.max_thread_queue = 1000;
  create(f);
  subscribe(f, 0, "x");
  subscribe(f, 1, "y");
  assert_int_equal(try_subscribe(f, 2, "z"), CP_E_FULL);
  cp_unsubscribe(f->handlers[0].subscription);
  subscribe(f, 2, "y");
  poll(f);
  memset(body, 'b', sizeof body - 1);
  body[sizeof body - 1] = '\0';
  assert_int_equal(publish(f, "y", body), 0);
  assert_int_equal(publish(f, "y", body), CP_E_FULL);
  poll(f);
  assert_int_equal(publish(f, "y", body), 0);
}

/* One copy, however many patterns match: within the limit, and each time. */
static void test_many_patterns(void **state) {
  static const char *const patterns[] = {"n*",   "ne*",    "new*", "news*",
                                         "n?ws", "n[e]ws", "n??s"};
  fixture *f = *state;
  size_t n_live, n_blocks;
  int i;

  create(f);
  subscribe(f, 0, "news");
  expect(f, "a:0 ");
  n_live = f->memory.n_live;
  publish(f, "news", "1");
  n_blocks = f->memory.n_live - n_live;
  expect(f, "a<news||1> ");
  for (i = 0; i < 7; i++)
    subscribe(f, 1 + i, patterns[i]);
  expect(f, "b:0 c:0 d:0 e:0 f:0 g:0 h:0 ");
  n_live = f->memory.n_live;
  publish(f, "news", "2");
  assert_int_equal(f->memory.n_live - n_live, n_blocks);
  expect(f, "a<news||2> b<news|n*|2> c<news|ne*|2> d<news|new*|2> "
            "e<news|news*|2> f<news|n?ws|2> g<news|n[e]ws|2> h<news|n??s|2> ");
}

/* All get it, or the caller is told and nobody does. */
static void test_alone_without_memory(void **state) {
  static const char *const heard[] = {"", "a<news||1> b<news||1> "
                                          "c<news|new?|1> d<news|n*|1> "};
  fixture *f = *state;
  size_t n = 0;
  int rc;

  create_alone(f);
  subscribe(f, 3, "n*");
  expect(f, "d:0 ");
  do {
    f->memory.failed = false;
    f->memory.fail_at = f->memory.n_calls + ++n;
    rc = publish(f, "news", "1");
    f->memory.fail_at = 0;
    assert_int_equal(rc, f->memory.failed ? CP_E_NOMEM : 0);
    expect(f, heard[rc == 0]);
  } while (f->memory.failed);
  assert_in_range(n, 3, 10);
}

/* A bus. ------------------------------------------------------------------ */

static cp_transport *channels_of(cp_transport *transport) {
  fixture *f =
      cp__container_of((fake_transport *)(void *)transport, fixture, fake);
  return &f->bus.base;
}

static void create_bus(fixture *f) {
  fake_transport_init(&f->fake);
  fake_transport_init(&f->bus);
  f->ops = *f->fake.base.ops;
  f->ops.size = sizeof f->ops;
  f->ops.channels = channels_of;
  f->fake.base.ops = &f->ops;
  f->options.transport = &f->fake.base;
  create(f);
  fake_transport_link(&f->fake, 0);
  fake_transport_confirm_all(&f->fake);
  poll(f);
  assert_false(f->bus.started);
}

static void expect_asked(fixture *f, const char *asked) {
  poll(f);
  assert_string_equal(f->bus.asked, asked);
  fake_transport_forget(&f->bus);
}

static void test_bus(void **state) {
  fixture *f = *state;

  create_bus(f);
  subscribe(f, 0, "news");
  subscribe(f, 1, "news");
  subscribe(f, 2, "n*");
  assert_true(f->bus.started);
  expect_asked(f, "");
  fake_transport_link(&f->bus, 0);
  expect_asked(f, "+cnews +pn* ");
  expect(f, "");
  fake_transport_confirm_all(&f->bus);
  expect(f, "a:0 b:0 c:0 ");
  fake_transport_say(&f->bus, "news", cp_str("1"));
  f->bus.host->on_pattern_message(f->bus.host->ctx, cp_str("n*"),
                                  cp_str("news"), cp_str("1"));
  fake_transport_say(&f->bus, "unknown", cp_str("1"));
  assert_string_equal(f->heard, ""); /* not inside the transport */
  expect(f, "a<news||1> b<news||1> c<news|n*|1> ");
  cp_unsubscribe(f->handlers[0].subscription);
  expect_asked(f, "");
  cp_unsubscribe(f->handlers[1].subscription);
  expect_asked(f, "-cnews ");
  fake_transport_confirm_all(&f->bus);
}

/* On the bus, and confirmed. */
static void subscribe_to_news(fixture *f) {
  create_bus(f);
  subscribe(f, 0, "news");
  fake_transport_link(&f->bus, 0);
  poll(f);
  fake_transport_confirm_all(&f->bus);
  expect(f, "a:0 ");
}

static void test_bus_breaks(void **state) {
  fixture *f = *state;

  subscribe_to_news(f);
  fake_transport_unlink(&f->bus, "gone");
  expect(f, "a:CP_E_DOWN ");
  subscribe(f, 1, "more");
  fake_transport_forget(&f->bus);
  fake_transport_link(&f->bus, 0);
  poll(f);
  fake_transport_confirm_all(&f->bus);
  expect(f, "a:0 b:0 ");
}

static void test_bus_refuses(void **state) {
  fixture *f = *state;

  create_bus(f);
  subscribe(f, 0, "secret");
  subscribe(f, 1, "news");
  fake_transport_link(&f->bus, 0);
  poll(f);
  fake_transport_confirm(&f->bus, CP_E_REDIS);
  fake_transport_confirm(&f->bus, 0);
  expect(f, "a:CP_E_REDIS b:0 ");
  fake_transport_forget(&f->bus);
  fake_transport_set_health(&f->bus, 0, "heard");
  expect_asked(f, "+csecret ");
  fake_transport_confirm(&f->bus, 0);
  expect(f, "a:0 ");
}

/* Left, and wanted again before that is confirmed. */
static void test_bus_and_second_thoughts(void **state) {
  fixture *f = *state;

  subscribe_to_news(f);
  cp_unsubscribe(f->handlers[0].subscription);
  subscribe(f, 1, "news");
  expect_asked(f, "+cnews -cnews +cnews ");
  fake_transport_confirm_all(&f->bus);
  expect(f, "b:0 ");
}

static void say_without_memory(fixture *f, const char *body) {
  f->memory.fail_at = f->memory.n_calls + 1;
  fake_transport_say(&f->bus, "news", cp_str(body));
  assert_true(f->memory.failed);
  f->memory.failed = false;
}

/* Each time that something is lost, it is told. */
static void test_bus_without_memory(void **state) {
  fixture *f = *state;

  subscribe_to_news(f);
  say_without_memory(f, "1");
  expect(f, "a:CP_E_NOMEM ");
  say_without_memory(f, "2");
  say_without_memory(f, "3");
  expect(f, "a:CP_E_NOMEM ");
  fake_transport_say(&f->bus, "news", cp_str("4"));
  expect(f, "a<news||4> ");
  say_without_memory(f, "5");
  fake_transport_unlink(&f->bus, "gone");
  expect(f, "a:CP_E_NOMEM a:CP_E_DOWN ");
}

static void unsubscribe_by_status(void *data, int status) {
  handler *self = data;

  on_status(data, status);
  if (status == CP_E_NOMEM)
    cp_unsubscribe(self->subscription);
}

static void test_unsubscribe_when_lost(void **state) {
  fixture *f = *state;
  cp_subscribe_options options;
  handler *h = &f->handlers[0];

  create_bus(f);
  cp_subscribe_options_init(&options);
  options.on_status = unsubscribe_by_status;
  assert_int_equal(cp_subscribe(f->server, cp_str("news"), on_message, h,
                                &options, &h->subscription),
                   0);
  fake_transport_link(&f->bus, 0);
  poll(f);
  fake_transport_confirm_all(&f->bus);
  expect(f, "a:0 ");
  say_without_memory(f, "1");
  fake_transport_unlink(&f->bus, "gone");
  expect(f, "a:CP_E_NOMEM ");
}

static void test_own_transport_without(void **state) {
  fixture *f = *state;

  create_bus(f);
  f->ops.size = offsetof(cp_transport_ops, channels);
  assert_int_equal(try_subscribe(f, 0, "news"), CP_E_UNSUPPORTED);
  assert_int_equal(publish(f, "news", "1"), 0);
  poll(f);
  assert_true(fake_transport_answer(&f->fake, 0, 7));
  poll(f);
  assert_int_equal(f->result.subscribers, 7);
  fake_transport_unlink(&f->fake, "gone");
  assert_int_equal(publish(f, "news", "2"), 0);
  poll(f);
  assert_int_equal(f->result.state, CP_DROPPED);
  assert_int_equal(f->result.error, CP_E_DOWN);
}

static void test_out_of_memory(void **state) {
  size_t n = 0;
  bool failed;
  void *inner;

  (void)state;
  do {
    fixture *f;
    setup(&inner);
    f = inner;
    create_bus(f);
    f->memory.fail_at = f->memory.n_calls + ++n;
    try_subscribe(f, 0, "news");
    try_subscribe(f, 1, "n*");
    if (f->bus.started) {
      fake_transport_link(&f->bus, 0);
      poll(f);
      fake_transport_confirm_all(&f->bus);
      fake_transport_say(&f->bus, "news", cp_str("1"));
      poll(f);
    }
    failed = f->memory.failed;
    if (!failed)
      assert_string_equal(f->heard, "a:0 b:0 a<news||1> ");
    teardown(&inner);
  } while (failed);
  assert_in_range(n, 5, 20);
}

/* A link. ----------------------------------------------------------------- */

typedef struct linked {
  transport_host host;
  fake_redis redis;
  const fake_step *scripts[3];
  cp_redis_options options;
  transport_host bus; /* of it only the host half is used */
} linked;

static void on_pattern_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                               cp_bytes payload) {
  transport_host *self = ctx;

  snprintf(self->log_text, sizeof self->log_text, "%.*s|%.*s|%.*s",
           (int)pattern.len, (const char *)pattern.data, (int)channel.len,
           (const char *)channel.data, (int)payload.len,
           (const char *)payload.data);
}

static void init_link(linked *l, const fake_step *script) {
  static const fake_step subscriber[] = {
      GREETING, EXPECT("SUBSCRIBE " NODE_CHANNEL),
      SEND(SUBSCRIBED("23", NODE_CHANNEL, "1")), END};
  static const fake_step commands[] = {
      GREETING, EXPECT("PUBLISH " NODE_CHANNEL " *"), EXPECT("ROLE"),
      SEND(":1\r\n" FAKE_MASTER), END};

  transport_host_init(&l->host);
  transport_host_init(&l->bus);
  l->scripts[0] = subscriber;
  l->scripts[1] = commands;
  l->scripts[2] = script;
  fake_redis_start_unix(&l->redis, &l->host.loop.loop, l->scripts, 3);
  cp_redis_options_init(&l->options);
  l->options.backoff_min_ms = 1;
  l->options.probe_timeout_ms = 600000;
  transport_host_link(&l->host, l->redis.url, &l->options);
  l->bus.host.loop = &l->host.loop.loop;
  l->bus.host.on_pattern_message = on_pattern_message;
  l->bus.transport = l->host.transport->ops->channels(l->host.transport);
  assert_non_null(l->bus.transport);
  assert_int_equal(l->bus.transport->ops->start(l->bus.transport, &l->bus.host),
                   0);
}

static void finish_link(linked *l) {
  l->bus.transport->ops->close(l->bus.transport, &l->bus.host, 0);
  if (l->host.transport != NULL)
    transport_host_begin_close(&l->host, 0);
  run_until(&l->host.loop, l->bus.closed && l->host.closed);
  fake_redis_stop(&l->redis);
  assert_string_equal(l->redis.wrong, "");
  transport_host_finish(&l->bus);
  transport_host_finish(&l->host);
}

static void run_link_until_heard(linked *l, const char *words) {
  run_until(&l->host.loop, strcmp(l->bus.heard, words) == 0);
}

/* One channel a command, and one that is forbidden. */
static void test_link(void **state) {
  static const fake_step script[] = {
      GREETING,
      EXPECT("SUBSCRIBE news"),
      EXPECT("SUBSCRIBE secret"),
      EXPECT("PSUBSCRIBE n*"),
      SEND(SUBSCRIBED("4", "news", "1")),
      SEND("-NOPERM no\r\n"),
      SEND("*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n"),
      SEND(MESSAGE("4", "news", "1", "1")),
      SEND("*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\n1\r\n"),
      EXPECT("UNSUBSCRIBE news"),
      EXPECT("PUNSUBSCRIBE n*"),
      SEND(UNSUBSCRIBED("4", "news", "1")),
      SEND("*3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:0\r\n"),
      END};
  linked l;

  (void)state;
  init_link(&l, script);
  run_link_until_heard(&l, "linked:0 ");
  transport_host_forget(&l.bus);
  transport_host_subscribe(&l.bus, "cnews", "a");
  transport_host_subscribe(&l.bus, "csecret", "b");
  transport_host_subscribe(&l.bus, "pn*", "c");
  transport_host_flush(&l.bus);
  run_link_until_heard(&l, "+a -b:CP_E_REDIS +c <news|1> ");
  run_until(&l.host.loop, strcmp(l.bus.log_text, "n*|news|1") == 0);
  transport_host_unsubscribe(&l.bus, "cnews", "d");
  transport_host_unsubscribe(&l.bus, "pn*", "e");
  transport_host_flush(&l.bus);
  run_link_until_heard(&l, "+a -b:CP_E_REDIS +c <news|1> +d +e ");
  finish_link(&l);
}

static void test_link_breaks_alone(void **state) {
  static const fake_step script[] = {GREETING, EXPECT("PING"),
                                     SEND("+PONG\r\n"), EXPECT("PING"), END};
  linked l;

  (void)state;
  init_link(&l, script);
  /* The options are the transport's: so its own probe is patient, and this. */
  run_link_until_heard(&l, "linked:0 ");
  fake_redis_hang_up(&l.redis, 2);
  run_until(&l.host.loop, l.bus.n_unlinked == 1 && l.bus.n_linked == 2);
  assert_true(l.host.linked);
  finish_link(&l);
}

/* When the transport loses its links, this one goes, too. */
static void test_link_follows(void **state) {
  static const fake_step script[] = {GREETING, END};
  linked l;

  (void)state;
  init_link(&l, script);
  run_link_until_heard(&l, "linked:0 ");
  transport_host_subscribe(&l.bus, "cnews", "a");
  fake_redis_hang_up(&l.redis, 1);
  run_link_until_heard(&l, "linked:0 -a:CP_E_DOWN unlinked ");
  assert_int_equal(transport_host_subscribe(&l.bus, "cnews", "a"), CP_E_DOWN);
  finish_link(&l);
}

static void test_close_link_at_any_turn(void **state) {
  static const fake_step script[] = {GREETING, END};
  int n_turns, i;

  (void)state;
  for (n_turns = 0; n_turns < 20; n_turns++) {
    linked l;

    init_link(&l, script);
    for (i = 0; i < n_turns; i++)
      uv_run(&l.host.loop.loop, UV_RUN_NOWAIT);
    finish_link(&l);
  }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_alone),
      TEST(test_unsubscribe_inside),
      TEST(test_unsubscribe_another_inside),
      TEST(test_subscribe_inside),
      TEST(test_close_inside),
      TEST(test_names),
      TEST(test_limits),
      TEST(test_many_patterns),
      TEST(test_alone_without_memory),
      TEST(test_bus),
      TEST(test_bus_breaks),
      TEST(test_bus_refuses),
      TEST(test_bus_and_second_thoughts),
      TEST(test_bus_without_memory),
      TEST(test_unsubscribe_when_lost),
      TEST(test_own_transport_without),
      cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_link),
      cmocka_unit_test(test_link_breaks_alone),
      cmocka_unit_test(test_link_follows),
      cmocka_unit_test(test_close_link_at_any_turn),
  };

  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
