/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A publisher on a fake transport; the sends themselves: test_sender.c. */

#include "../unit/failing_alloc.h"
#include "fake_transport.h"
#include "run_until.h"

#include <clusterpush/clusterpush.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct fixture {
  test_loop loop;
  failing_alloc memory;
  fake_transport fake;
  cp_publisher_options options;
  cp_publisher *publisher;
  char events[1024]; /* up down:REASON closed */
  char log_text[1024];
  cp_send_options send;
  cp_result result;
  int n_calls;
  bool close_in_hook;
} fixture;

static void note(fixture *f, const char *word) {
  size_t len = strlen(f->events);
  snprintf(f->events + len, sizeof f->events - len, "%s ", word);
}

static void on_closed(void *data) {
  fixture *f = data;

  note(f, "closed");
  f->publisher = NULL;
}

static void on_link(void *data, int up, int err, const char *reason) {
  fixture *f = data;

  assert_int_equal(err, up ? 0 : CP_E_DOWN);
  note(f, up ? "up" : reason);
  if (f->close_in_hook)
    cp_publisher_close(f->publisher, 0, on_closed);
}

static void on_log(void *data, cp_log_level level, const char *text) {
  fixture *f = data;

  (void)level;
  snprintf(f->log_text, sizeof f->log_text, "%s", text);
}

static void on_result(void *data, const cp_result *result) {
  fixture *f = data;

  f->n_calls++;
  f->result = *result;
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);

  test_loop_init(&f->loop);
  failing_alloc_init(&f->memory, 0);
  fake_transport_init(&f->fake);
  cp_publisher_options_init(&f->options);
  f->options.data = f;
  f->options.transport = &f->fake.base;
  f->options.allocator = &f->memory.alloc;
  f->options.on_link = on_link;
  f->options.on_log = on_log;
  cp_send_options_init(&f->send);
  f->send.cb = on_result;
  f->send.data = f;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  cp_publisher_close(f->publisher, 0, on_closed);
  assert_int_equal(test_loop_finish(&f->loop), 0);
  assert_int_equal(f->memory.n_live, 0);
  free(f);
  return 0;
}

static int create(fixture *f) {
  return cp_publisher_create(&f->publisher, &f->loop.loop, &f->options);
}

static void poll(fixture *f) {
  uv_run(&f->loop.loop, UV_RUN_NOWAIT);
}

static void create_linked(fixture *f) {
  assert_int_equal(create(f), 0);
  poll(f);
  fake_transport_link(&f->fake, 0);
  poll(f);
  assert_string_equal(f->events, "up ");
}

static int send_to_user(fixture *f, const char *user) {
  return cp_publisher_send_to_user(f->publisher, cp_str(user), CP_TEXT,
                                   cp_str("hello"), &f->send);
}

static void assert_result(fixture *f, cp_state state, int error,
                          uint32_t subscribers) {
  poll(f);
  assert_int_equal(f->n_calls, 1);
  assert_int_equal(f->result.state, state);
  assert_int_equal(f->result.error, error);
  assert_int_equal(f->result.subscribers, subscribers);
  f->n_calls = 0;
}

static void test_defaults(void **state) {
  cp_publisher_options o;

  (void)state;
  memset(&o, 0xff, sizeof o);
  cp_publisher_options_init(&o);
  assert_int_equal(o.size, sizeof o);
  assert_null(o.redis);
  assert_null(o.transport);
  assert_string_equal(o.prefix, "cp");
  assert_int_equal(o.settle_ms, 3000);
  assert_int_equal(o.max_message, 1048576);
  assert_int_equal(o.max_thread_queue, 16777216);
  assert_int_equal(o.log_level, CP_LOG_INFO);
  assert_int_equal(o.outbox_bytes, 8388608);
  assert_int_equal(o.outbox_age_ms, 10000);
}

static void assert_refused(fixture *f, int err) {
  f->publisher = (cp_publisher *)f;
  assert_int_equal(create(f), err);
  assert_null(f->publisher);
  assert_int_equal(f->memory.n_live, 0);
}

#define REFUSED(field, value)                 \
  do {                                        \
    cp_publisher_options kept = f->options;   \
    f->options.field = value;                 \
    assert_refused(f, CP_E_INVALID);          \
    assert_string_not_equal(f->log_text, ""); \
    f->log_text[0] = '\0';                    \
    f->options = kept;                        \
  } while (0)

static void test_bad_options(void **state) {
  fixture *f = *state;

  REFUSED(prefix, NULL);
  REFUSED(prefix, "a{");
  REFUSED(max_message, 0);
  REFUSED(max_message, (size_t)1 << 40);
  REFUSED(max_thread_queue, 0);
  REFUSED(transport, NULL);            /* and no URL */
  REFUSED(redis, "redis://127.0.0.1"); /* and a transport */
  f->options.size = offsetof(cp_publisher_options, outbox_bytes) - 1;
  assert_refused(f, CP_E_INVALID);
  f->options.size = 0;
  assert_refused(f, CP_E_INVALID);
  f->options.size = sizeof f->options;
  f->options.transport = NULL;
  f->options.redis = "nonsense";
  assert_refused(f, CP_E_URL);
  assert_int_equal(cp_publisher_create(&f->publisher, &f->loop.loop, NULL),
                   CP_E_INVALID);
  assert_int_equal(cp_publisher_create(&f->publisher, NULL, &f->options),
                   CP_E_INVALID);
}

static void test_transport_that_does_not_start(void **state) {
  fixture *f = *state;

  f->fake.fail_start = UV_ENETDOWN;
  assert_int_equal(create(f), UV_ENETDOWN);
  assert_null(f->publisher);
  uv_run(&f->loop.loop, UV_RUN_DEFAULT);
  assert_int_equal(f->memory.n_live, 0);
  assert_string_equal(f->events, "");
  f->fake.fail_start = 0;
  create_linked(f);
}

static void test_tells_of_its_link(void **state) {
  fixture *f = *state;

  assert_int_equal(create(f), 0);
  poll(f);
  assert_string_equal(f->events, "");
  assert_int_equal(f->fake.host->publish_only, 1);
  fake_transport_unlink(&f->fake, "refused");
  poll(f);
  fake_transport_link(&f->fake, 0);
  poll(f);
  fake_transport_unlink(&f->fake, "break");
  poll(f);
  assert_string_equal(f->events, "refused up break ");
}

/* What concerns subscribers alone does no harm. */
static void test_host_of_a_transport(void **state) {
  fixture *f = *state;
  const cp_transport_host *host;

  create_linked(f);
  host = f->fake.host;
  host->log(host->ctx, CP_LOG_WARN, "beware");
  assert_string_equal(f->log_text, "beware");
  host->on_confirmed(host->ctx, NULL, 0);
  assert_int_equal(host->on_message(host->ctx, cp_str("cp:all"), cp_str("x")),
                   0);
}

static void test_sends(void **state) {
  fixture *f = *state;

  create_linked(f);
  assert_int_equal(send_to_user(f, "alice"), 0);
  assert_int_equal(
      cp_publisher_broadcast(f->publisher, CP_BINARY, cp_str("all"), NULL), 0);
  assert_string_equal(f->fake.asked, "cp:u:{alice}<hello cp:all<all ");
  fake_transport_answer(&f->fake, 0, 2);
  assert_result(f, CP_REACHED, 0, 2);
  assert_int_equal(f->fake.n_subscribed, 0);
}

static void test_bad_sends(void **state) {
  fixture *f = *state;
  char user[256];

  f->options.max_message = 5;
  create_linked(f);
  memset(user, 'u', sizeof user);
  assert_int_equal(send_to_user(f, ""), CP_E_INVALID);
  assert_int_equal(send_to_user(f, "}x"), CP_E_INVALID);
  assert_int_equal(cp_publisher_send_to_user(f->publisher,
                                             cp_bytes_of(user, 256), CP_TEXT,
                                             cp_str("x"), NULL),
                   CP_E_INVALID);
  assert_int_equal(
      cp_publisher_broadcast(f->publisher, (cp_type)7, cp_str("x"), NULL),
      CP_E_INVALID);
  assert_int_equal(
      cp_publisher_broadcast(f->publisher, CP_TEXT, cp_str("123456"), NULL),
      CP_E_TOOBIG);
  assert_int_equal(
      cp_publisher_broadcast(f->publisher, CP_TEXT, cp_str("\xff"), NULL),
      CP_E_UTF8);
  assert_string_equal(f->fake.asked, "");
}

static void test_waits_for_a_link(void **state) {
  fixture *f = *state;

  assert_int_equal(create(f), 0);
  poll(f);
  assert_int_equal(send_to_user(f, "alice"), 0);
  poll(f);
  assert_int_equal(f->n_calls, 0);
  fake_transport_link(&f->fake, 0);
  poll(f);
  assert_string_equal(f->fake.asked, "cp:u:{alice}<hello ");
  fake_transport_answer(&f->fake, 0, 2);
  assert_result(f, CP_REACHED, 0, 2);
}

/* After a break it waits for the nodes, whom it doesn't hear. */
static void test_waits_for_nodes_to_return(void **state) {
  fixture *f = *state;

  f->options.settle_ms = 30;
  create_linked(f);
  fake_transport_unlink(&f->fake, "break");
  fake_transport_link(&f->fake, 1);
  poll(f);
  assert_int_equal(send_to_user(f, "alice"), 0);
  assert_string_equal(f->fake.asked, "");
  run_until(&f->loop, f->fake.n_published == 1);
}

static void test_without_a_link(void **state) {
  fixture *f = *state;

  f->options.outbox_bytes = 0;
  assert_int_equal(create(f), 0);
  poll(f);
  assert_int_equal(send_to_user(f, "alice"), 0);
  assert_result(f, CP_DROPPED, CP_E_DOWN, 0);
}

/* It may be back before the nodes are: nobody there means nothing yet. */
static void test_unsure_after_a_link(void **state) {
  fixture *f = *state;

  f->options.settle_ms = 3600000;
  assert_int_equal(create(f), 0);
  poll(f);
  fake_transport_link(&f->fake, 1);
  assert_int_equal(send_to_user(f, "alice"), 0);
  fake_transport_answer(&f->fake, 0, 0);
  assert_result(f, CP_UNSURE, 0, 0);
}

static void test_unsure_while_late(void **state) {
  fixture *f = *state;

  create_linked(f);
  fake_transport_set_health(&f->fake, 1, "late");
  assert_int_equal(send_to_user(f, "alice"), 0);
  fake_transport_answer(&f->fake, 0, 0);
  assert_result(f, CP_UNSURE, 0, 0);
  fake_transport_set_health(&f->fake, 0, "good");
  assert_int_equal(send_to_user(f, "alice"), 0);
  fake_transport_answer(&f->fake, 0, 0);
  assert_result(f, CP_NONE, 0, 0);
}

static int publish(fixture *f, const char *channel) {
  return cp_publisher_publish(f->publisher, cp_str(channel), cp_str("hello"),
                              &f->send);
}

/* The application's own, with the body as it is. */
static void test_channels(void **state) {
  fixture *f = *state;

  create_linked(f);
  assert_int_equal(publish(f, "news"), 0);
  assert_string_equal(f->fake.asked, "news<hello ");
  fake_transport_answer(&f->fake, 0, 2);
  assert_result(f, CP_REACHED, 0, 2);
  assert_int_equal(publish(f, ""), CP_E_INVALID);
  assert_int_equal(publish(f, "cp:u:{alice}"), CP_E_INVALID);
  fake_transport_unlink(&f->fake, "over");
  assert_int_equal(publish(f, "news"), 0);
  assert_result(f, CP_DROPPED, CP_E_DOWN, 0);
  assert_string_equal(f->fake.asked, "news<hello ");
}

/* It has no channel on which the answers could come. */
static void test_hears_no_receipts(void **state) {
  fixture *f = *state;

  create_linked(f);
  f->send.flags = CP_RECEIPT;
  assert_int_equal(send_to_user(f, "alice"), CP_E_UNSUPPORTED);
  f->send.flags = 0;
  assert_string_equal(f->fake.asked, "");
}

static void test_close(void **state) {
  fixture *f = *state;
  cp_publisher *publisher;

  cp_publisher_close(NULL, 0, NULL);
  cp_publisher_unref(NULL);
  f->fake.hold_close = true;
  create_linked(f);
  publisher = cp_publisher_ref(f->publisher);
  assert_int_equal(send_to_user(f, "alice"), 0);
  cp_publisher_close(publisher, 7, on_closed);
  cp_publisher_close(publisher, 0, on_closed); /* does nothing */
  assert_string_equal(f->events, "up ");
  assert_int_equal(send_to_user(f, "bob"), CP_E_CLOSED);
  fake_transport_unlink(&f->fake, "over");
  poll(f);
  assert_result(f, CP_UNKNOWN, CP_E_CLOSED, 0);
  fake_transport_finish_close(&f->fake);
  run_until(&f->loop, f->publisher == NULL);
  assert_string_equal(f->events, "up closed ");
  assert_string_equal(f->fake.asked, "cp:u:{alice}<hello close:7 ");
  assert_int_equal(
      cp_publisher_broadcast(publisher, CP_TEXT, cp_str("x"), &f->send),
      CP_E_CLOSED);
  cp_publisher_unref(publisher);
  assert_int_equal(f->memory.n_live, 0);
}

/* A batch job sends as soon as it has a publisher, and closes. */
static void test_close_waits_for_the_link(void **state) {
  fixture *f = *state;

  f->fake.hold_close = true;
  assert_int_equal(create(f), 0);
  assert_int_equal(send_to_user(f, "alice"), 0);
  cp_publisher_close(f->publisher, 60000, on_closed);
  assert_int_equal(send_to_user(f, "bob"), CP_E_CLOSED);
  poll(f);
  fake_transport_link(&f->fake, 0);
  run_until(&f->loop, strstr(f->fake.asked, "close:") != NULL);
  assert_int_equal(f->fake.n_published, 1);
  fake_transport_answer(&f->fake, 0, 2);
  fake_transport_finish_close(&f->fake);
  run_until(&f->loop, f->publisher == NULL);
  assert_result(f, CP_REACHED, 0, 2);
  assert_string_equal(f->events, "closed ");
}

static void test_close_waits_for_so_long(void **state) {
  fixture *f = *state;

  assert_int_equal(create(f), 0);
  poll(f);
  assert_int_equal(send_to_user(f, "alice"), 0);
  cp_publisher_close(f->publisher, 20, on_closed);
  run_until(&f->loop, f->publisher == NULL);
  assert_result(f, CP_CANCELED, CP_E_CANCELED, 0);
  assert_string_equal(f->fake.asked, "close:0 ");
}

static void test_close_in_on_link(void **state) {
  fixture *f = *state;

  f->close_in_hook = true;
  assert_int_equal(create(f), 0);
  poll(f);
  fake_transport_link(&f->fake, 0);
  poll(f);
  run_until(&f->loop, f->publisher == NULL);
  assert_string_equal(f->events, "up closed ");
}

static void send_from_thread(void *arg) {
  fixture *f = arg;

  assert_int_equal(send_to_user(f, "alice"), 0);
}

static void test_sends_from_a_thread(void **state) {
  fixture *f = *state;
  uv_thread_t thread;

  create_linked(f);
  f->fake.answer_at_once = true;
  uv_thread_create(&thread, send_from_thread, f);
  uv_thread_join(&thread);
  run_until(&f->loop, f->n_calls == 1);
  assert_int_equal(f->result.state, CP_NONE);
}

static void test_every_allocation_failing(void **state) {
  fixture *f = *state;
  size_t n = 0;
  int rc;

  do {
    fake_transport_init(&f->fake);
    failing_alloc_init(&f->memory, ++n);
    rc = create(f);
    if (rc == 0) {
      poll(f);
      fake_transport_link(&f->fake, 0);
      rc = send_to_user(f, "alice");
      cp_publisher_close(f->publisher, 0, NULL);
      f->publisher = NULL;
    }
    uv_run(&f->loop.loop, UV_RUN_DEFAULT);
    assert_int_equal(rc, f->memory.failed ? CP_E_NOMEM : 0);
    assert_int_equal(f->n_calls, rc == 0);
    assert_int_equal(f->memory.n_live, 0);
  } while (f->memory.failed);
  assert_true(n > 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults),
      TEST(test_bad_options),
      TEST(test_transport_that_does_not_start),
      TEST(test_tells_of_its_link),
      TEST(test_host_of_a_transport),
      TEST(test_sends),
      TEST(test_bad_sends),
      TEST(test_waits_for_a_link),
      TEST(test_waits_for_nodes_to_return),
      TEST(test_without_a_link),
      TEST(test_unsure_after_a_link),
      TEST(test_unsure_while_late),
      TEST(test_channels),
      TEST(test_hears_no_receipts),
      TEST(test_close),
      TEST(test_close_waits_for_the_link),
      TEST(test_close_waits_for_so_long),
      TEST(test_close_in_on_link),
      TEST(test_sends_from_a_thread),
      TEST(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
