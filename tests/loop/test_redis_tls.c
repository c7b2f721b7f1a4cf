/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* rediss:// against a redis-server that speaks TLS, with certificates of the
 * test's own, and against what does not. */
#include "../unit/tls_files.h"
#include "fake_redis.h"
#include "real_redis.h"
#include "tls.h"
#include "transport_host.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct fixture {
  transport_host host;
  real_redis redis;
  char *dir; /* the certificates */
  int port;  /* where the server speaks TLS */
  char url[64];
  cp_redis_options options;
} fixture;

/* Nobody listens there, or did not when we looked. */
static int free_port(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t len = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
  close(fd);
  return ntohs(address.sin_port);
}

static void run_server(fixture *f, const char *command) {
  if (real_redis_run(&f->redis, command) < 0)
    fail_msg("redis-server refused: %s", command);
}

/* What a server that was just started is told over its Unix socket. False: it
 * knows no TLS, or the port is taken. */
static bool speak_tls(fixture *f) {
  char command[512];

  snprintf(command, sizeof command,
           "CONFIG SET tls-cert-file %s tls-key-file %s tls-ca-cert-file %s "
           "tls-auth-clients no tls-port %d",
           tls_file(f->dir, "server.pem"), tls_file(f->dir, "server.key"),
           tls_file(f->dir, "ca.pem"), f->port);
  return real_redis_run(&f->redis, command) == 0;
}

static void point_at(fixture *f, const char *host) {
  snprintf(f->url, sizeof f->url, "rediss://%s:%d", host, f->port);
}

static void init(fixture *f) {
  memset(f, 0, sizeof *f);
  if (!real_redis_start(&f->redis))
    skip();
  f->dir = tls_files_create();
  f->port = free_port();
  if (!speak_tls(f)) {
    tls_files_remove(f->dir);
    real_redis_stop(&f->redis);
    skip();
  }
  transport_host_init(&f->host);
  cp_redis_options_init(&f->options);
  f->options.backoff_min_ms = 1;
  f->options.backoff_max_ms = 20;
  f->options.tls_ca = tls_file(f->dir, "ca.pem");
  point_at(f, "localhost");
}

static void run_linked(fixture *f) {
  transport_host_link(&f->host, f->url, &f->options);
}

static void finish(fixture *f) {
  transport_host_finish(&f->host);
  real_redis_stop(&f->redis);
  tls_files_remove(f->dir);
}

static void subscribe(fixture *f, const char *channel) {
  assert_int_equal(transport_host_subscribe(&f->host, channel, channel), 0);
  transport_host_flush(&f->host);
  run_until(&f->host.loop, f->host.n_confirmed > 0);
  transport_host_forget(&f->host);
}

static void publish(fixture *f, const char *channel, const char *payload) {
  assert_int_equal(transport_host_publish(&f->host, channel, payload, payload),
                   0);
  transport_host_flush(&f->host);
}

static void run_until_heard(fixture *f, const char *words) {
  run_until(&f->host.loop, transport_host_heard(&f->host, words));
}

/* No link comes about, for this reason; it is tried again, and told about
 * once. */
static void expect_no_link(fixture *f, int err, const char *reason_part) {
  transport_host_start(&f->host, f->url, &f->options);
  run_until(&f->host.loop, f->host.n_unlinked == 3);
  assert_int_equal(f->host.n_linked, 0);
  if (strstr(f->host.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, f->host.reason);
  assert_int_equal(f->host.err, err);
  assert_int_equal(f->host.n_warnings, 1);
  finish(f);
}

/* All is well. ------------------------------------------------------------ */

static void test_publish_and_hear(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_linked(&f);
  subscribe(&f, "cp:u:{alice}");
  publish(&f, "cp:u:{alice}", "hello");
  publish(&f, "cp:u:{bob}", "lost");
  run_until_heard(&f, "lost=0 ");
  run_until_heard(&f, "<cp:u:{alice}|hello> ");
  assert_true(transport_host_heard(&f.host, "hello=1 "));
  finish(&f);
}

static void test_drained_close(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_linked(&f);
  assert_int_equal(transport_host_publish(&f.host, "c", "last", "last"), 0);
  transport_host_close(&f.host, RUN_DEADLINE_MS);
  assert_true(transport_host_heard(&f.host, "last=0 "));
  finish(&f);
}

/* More than the system takes at once, and than fits into a record. */
static void test_much_at_once(void **state) {
  enum { SIZE = 5000000 };
  fixture f;
  char *text;

  (void)state;
  init(&f);
  text = malloc(SIZE + 1);
  assert_non_null(text);
  memset(text, 'x', SIZE);
  text[SIZE] = '\0';
  f.host.messages_only_counted = true;
  run_linked(&f);
  subscribe(&f, "c");
  assert_int_equal(transport_host_publish(&f.host, "c", text, "a"), 0);
  transport_host_flush(&f.host);
  publish(&f, "c", "small");
  run_until_heard(&f, "a=1 small=1 ");
  run_until(&f.host.loop, f.host.n_messages == 2);
  free(text);
  finish(&f);
}

static void test_thousands(void **state) {
  enum { N = 5000 };
  fixture f;
  int i;

  (void)state;
  init(&f);
  f.host.messages_only_counted = true;
  run_linked(&f);
  subscribe(&f, "c");
  for (i = 0; i < N; i++) {
    assert_int_equal(transport_host_publish(&f.host, "c", "hello", NULL), 0);
    if (i % 7 == 0)
      transport_host_flush(&f.host);
  }
  publish(&f, "c", "last");
  run_until_heard(&f, "last=1 ");
  run_until(&f.host.loop, f.host.n_messages == N + 1);
  finish(&f);
}

static void test_killed_server(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_linked(&f);
  real_redis_kill(&f.redis);
  run_until(&f.host.loop, f.host.n_unlinked > 3);
  assert_true(real_redis_restart(&f.redis));
  assert_true(speak_tls(&f));
  run_until(&f.host.loop, f.host.n_linked == 2);
  publish(&f, "c", "again");
  run_until_heard(&f, "again=0 ");
  finish(&f);
}

/* It says close_notify, so this is no error of TLS's. */
static void test_links_that_the_server_closes(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_linked(&f);
  run_server(&f, "CLIENT KILL TYPE pubsub");
  run_until(&f.host.loop, f.host.n_linked == 2);
  assert_int_equal(f.host.n_unlinked, 1);
  assert_int_equal(f.host.err, UV_EOF);
  finish(&f);
}

/* Of what waits at a paused server, all that may have reached it is unknown,
 * and what did not is down. */
static void test_counts_what_was_written(void **state) {
  enum { SIZE = 6000000 };
  fixture f;
  char *text;

  (void)state;
  init(&f);
  text = malloc(SIZE + 1);
  assert_non_null(text);
  memset(text, 'x', SIZE);
  text[SIZE] = '\0';
  run_linked(&f);
  real_redis_pause(&f.redis);
  publish(&f, "c", "small");
  assert_int_equal(transport_host_publish(&f.host, "c", text, "large"), 0);
  transport_host_flush(&f.host);
  publish(&f, "c", "behind");
  real_redis_kill(&f.redis);
  run_until_heard(&f, "unlinked ");
  assert_true(transport_host_heard(&f.host, "small!CP_E_CLOSED "));
  assert_true(transport_host_heard(&f.host, "behind!CP_E_DOWN "));
  free(text);
  finish(&f);
}

/* Whom to trust. ---------------------------------------------------------- */

static void test_wrong_ca(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.tls_ca = tls_file(f.dir, "lone.pem");
  expect_no_link(&f, CP_E_PROTOCOL, "certificate verify failed");
}

/* The test's CA is none of the system's. */
static void test_system_store(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.tls_ca = NULL;
  expect_no_link(&f, CP_E_PROTOCOL, "certificate verify failed");
}

static void test_wrong_host(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.tls_server_name = "redis.example.org";
  expect_no_link(&f, CP_E_PROTOCOL, "hostname mismatch");
}

static void test_wrong_address(void **state) {
  fixture f;

  (void)state;
  init(&f);
  f.options.tls_server_name = "127.0.0.2";
  expect_no_link(&f, CP_E_PROTOCOL, "IP address mismatch");
}

static void test_names_that_are_right(void **state) {
  static const char *const names[] = {"redis.example.com", "127.0.0.1", ""};
  size_t i;

  (void)state;
  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    fixture f;
    init(&f);
    f.options.tls_server_name = names[i];
    run_linked(&f);
    finish(&f);
  }
}

static void test_address_in_the_url(void **state) {
  fixture f;

  (void)state;
  init(&f);
  point_at(&f, "127.0.0.1");
  run_linked(&f);
  finish(&f);
}

/* TLS 1.3 tells a client only after its handshake is done. */
static void test_missing_client_certificate(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_server(&f, "CONFIG SET tls-auth-clients yes");
  expect_no_link(&f, CP_E_PROTOCOL, "certificate required");
}

static void test_client_certificate(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_server(&f, "CONFIG SET tls-auth-clients yes");
  f.options.tls_cert = tls_file(f.dir, "client.pem");
  f.options.tls_key = tls_file(f.dir, "client.key");
  run_linked(&f);
  finish(&f);
}

static void test_old_protocol(void **state) {
  fixture f;

  (void)state;
  init(&f);
  run_server(&f, "CONFIG SET tls-protocols TLSv1.2");
  run_linked(&f);
  publish(&f, "c", "x");
  run_until_heard(&f, "x=0 ");
  finish(&f);
}

/* Who speaks no TLS. ------------------------------------------------------ */

static void init_fake(fixture *f, fake_redis *redis, const fake_step *script) {
  static const fake_step *scripts[1];

  init(f);
  scripts[0] = script;
  fake_redis_start_tcp(redis, &f->host.loop.loop, scripts, 1);
  f->port = redis->port;
  point_at(f, "127.0.0.1");
}

static void expect_no_link_to(fake_redis *redis, fixture *f, int err,
                              const char *reason_part) {
  transport_host_start(&f->host, f->url, &f->options);
  run_until(&f->host.loop, f->host.n_unlinked > 0);
  assert_int_equal(f->host.err, err);
  if (strstr(f->host.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, f->host.reason);
  transport_host_close(&f->host, 0);
  fake_redis_stop(redis);
  finish(f);
}

static void test_plain_answer(void **state) {
  static const fake_step script[] = {SEND("-ERR unknown command\r\n"), END};
  fake_redis redis;
  fixture f;

  (void)state;
  init_fake(&f, &redis, script);
  expect_no_link_to(&redis, &f, CP_E_PROTOCOL, "wrong version number");
}

static void test_no_answer(void **state) {
  static const fake_step script[] = {PAUSE, END};
  fake_redis redis;
  fixture f;

  (void)state;
  init_fake(&f, &redis, script);
  f.options.connect_timeout_ms = 20;
  expect_no_link_to(&redis, &f, CP_E_TIMEOUT, "no TLS handshake");
}

static void test_hangs_up(void **state) {
  static const fake_step script[] = {CLOSE, END};
  fake_redis redis;
  fixture f;

  (void)state;
  init_fake(&f, &redis, script);
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, f.host.n_unlinked > 0);
  assert_true(f.host.err == UV_EOF || f.host.err == UV_ECONNRESET ||
              f.host.err == UV_EPIPE);
  transport_host_close(&f.host, 0);
  fake_redis_stop(&redis);
  finish(&f);
}

/* A Redis without TLS waits for the end of a line, or finds one in our
 * greeting. */
static void test_plain_redis(void **state) {
  fixture f;
  char command[64];

  (void)state;
  init(&f);
  f.port = free_port();
  snprintf(command, sizeof command, "CONFIG SET port %d", f.port);
  run_server(&f, command);
  point_at(&f, "127.0.0.1");
  f.options.connect_timeout_ms = 100;
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, f.host.n_unlinked > 0);
  assert_true(f.host.err == CP_E_PROTOCOL || f.host.err == CP_E_TIMEOUT);
  assert_non_null(strstr(f.host.reason, "TLS"));
  finish(&f);
}

/* How it ends. ------------------------------------------------------------ */

/* A server that speaks TLS and nothing else, for one connection. */
typedef struct listener {
  uv_tcp_t tcp;
  uv_tcp_t conn;
  cp__tls_context *context;
  cp__tls *tls;
  cp__buf out;
  char in[65536];
  cp__tls_event event; /* the last one */
  bool ready;
  bool closed;
} listener;

static void on_listener_alloc(uv_handle_t *handle, size_t suggested,
                              uv_buf_t *buf) {
  listener *self = handle->data;

  (void)suggested;
  *buf = uv_buf_init(self->in, sizeof self->in);
}

static void on_listener_read(uv_stream_t *stream, ssize_t n,
                             const uv_buf_t *buf) {
  listener *self = stream->data;
  char plain[4096];
  uv_buf_t out;
  size_t len;

  if (n < 0) {
    self->closed = true;
    uv_close((uv_handle_t *)stream, NULL);
    return;
  }
  cp__tls_feed(self->tls, buf->base, (size_t)n);
  do {
    self->event =
        cp__tls_next(self->tls, plain, sizeof plain, &len, &self->out);
    self->ready |= self->event == CP__TLS_READY;
  } while (self->event == CP__TLS_READY || self->event == CP__TLS_DATA);
  out = uv_buf_init((char *)cp__buf_begin(&self->out),
                    (unsigned)cp__buf_len(&self->out));
  if (out.len > 0)
    assert_int_equal(uv_try_write(stream, &out, 1), (int)out.len);
  cp__buf_reset(&self->out, 0);
}

static void on_listener_connection(uv_stream_t *server, int status) {
  listener *self = server->data;

  assert_int_equal(status, 0);
  uv_tcp_init(server->loop, &self->conn);
  self->conn.data = self;
  assert_int_equal(uv_accept(server, (uv_stream_t *)&self->conn), 0);
  uv_read_start((uv_stream_t *)&self->conn, on_listener_alloc,
                on_listener_read);
  uv_close((uv_handle_t *)server, NULL); /* the next one is refused */
}

static void listener_start(listener *self, fixture *f) {
  const cp__tls_options options = {.server = true,
                                   .cert_file = tls_file(f->dir, "both.pem")};
  char text[CP__TLS_TEXT_SIZE];
  struct sockaddr_in address;
  int len = sizeof address;

  memset(self, 0, sizeof *self);
  self->tcp.data = self;
  assert_int_equal(cp__tls_context_create(&self->context, &options,
                                          &cp__default_allocator, text),
                   0);
  assert_int_equal(cp__tls_create(&self->tls, self->context, NULL), 0);
  cp__buf_init(&self->out, &cp__default_allocator);
  uv_ip4_addr("127.0.0.1", 0, &address);
  uv_tcp_init(&f->host.loop.loop, &self->tcp);
  uv_tcp_bind(&self->tcp, (struct sockaddr *)&address, 0);
  assert_int_equal(
      uv_listen((uv_stream_t *)&self->tcp, 1, on_listener_connection), 0);
  uv_tcp_getsockname(&self->tcp, (struct sockaddr *)&address, &len);
  f->port = ntohs(address.sin_port);
  point_at(f, "127.0.0.1");
  f->host.host.publish_only = 1;
}

static void listener_stop(listener *self) {
  cp__buf_finish(&self->out);
  cp__tls_destroy(self->tls);
  cp__tls_context_unref(self->context);
}

static void test_says_goodbye(void **state) {
  listener server;
  fixture f;

  (void)state;
  init(&f);
  listener_start(&server, &f);
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, server.ready);
  transport_host_close(&f.host, 0);
  run_until(&f.host.loop, server.closed);
  assert_int_equal(server.event, CP__TLS_END);
  listener_stop(&server);
  finish(&f);
}

static void test_says_what_is_wrong(void **state) {
  char text[CP__TLS_TEXT_SIZE];
  listener server;
  fixture f;

  (void)state;
  init(&f);
  listener_start(&server, &f);
  f.options.tls_ca = tls_file(f.dir, "lone.pem");
  transport_host_start(&f.host, f.url, &f.options);
  run_until(&f.host.loop, server.closed);
  assert_int_equal(server.event, CP__TLS_ERROR);
  assert_non_null(
      strstr(cp__tls_error_text(server.tls, text), "alert unknown ca"));
  listener_stop(&server);
  finish(&f);
}

/* Options. ---------------------------------------------------------------- */

static void expect_refused(fixture *f, const char *url, int err,
                           const char *log_part) {
  assert_int_equal(cp__transport_redis_create(&f->host.transport, url,
                                              &f->options, cp_str(NODE_CHANNEL),
                                              1, &f->host.log,
                                              &f->host.memory.alloc),
                   err);
  if (strstr(f->host.log_text, log_part) == NULL)
    fail_msg("'%s' is not in '%s'", log_part, f->host.log_text);
  assert_null(f->host.transport);
  f->host.log_text[0] = '\0';
}

static void test_what_create_refuses(void **state) {
  char long_name[300];
  fixture f;

  (void)state;
  init(&f);
  expect_refused(&f, "redis://localhost", CP_E_INVALID, "rediss://");
  f.options.tls_ca = tls_file(f.dir, "text.pem");
  expect_refused(&f, f.url, CP_E_INVALID, "text.pem");
  f.options.tls_ca = tls_file(f.dir, "missing.pem");
  expect_refused(&f, f.url, CP_E_INVALID, "missing.pem");
  f.options.tls_ca = NULL;
  f.options.tls_key = tls_file(f.dir, "client.key");
  expect_refused(&f, f.url, CP_E_INVALID, "no certificate file");
  f.options.tls_cert = tls_file(f.dir, "server.pem");
  expect_refused(&f, f.url, CP_E_INVALID, "client.key");
  f.options.tls_key = f.options.tls_cert = NULL;
  memset(long_name, 'a', sizeof long_name);
  long_name[sizeof long_name - 1] = '\0';
  f.options.tls_server_name = long_name;
  expect_refused(&f, f.url, CP_E_INVALID, "too long");
  f.options.tls_server_name = "";
  expect_refused(&f, "unix:///r", CP_E_INVALID, "rediss://");
  finish(&f);
}

/* Memory. ----------------------------------------------------------------- */

/* Whatever fails, it links in the end. */
static void run_with_failing(fixture *f, size_t fail_at) {
  transport_host *host = &f->host;
  int rc;

  transport_host_init(host);
  host->memory.fail_at = fail_at;
  rc = cp__transport_redis_create(&host->transport, f->url, &f->options,
                                  cp_str(NODE_CHANNEL), 1, &host->log,
                                  &host->memory.alloc);
  if (rc == 0) {
    assert_int_equal(host->transport->ops->start(host->transport, &host->host),
                     0);
    run_until(&host->loop, host->linked);
    if (transport_host_publish(host, "c", "p", "p") == 0) {
      transport_host_flush(host);
      run_until(&host->loop, host->n_published == 1);
    }
    if (host->n_unlinked > 0)
      assert_int_equal(host->err, CP_E_NOMEM);
  } else {
    assert_int_equal(rc, CP_E_NOMEM);
  }
  transport_host_finish(host);
}

static void test_every_allocation_failing(void **state) {
  size_t n = 0;
  bool failed;
  fixture f;

  (void)state;
  init(&f);
  transport_host_finish(&f.host);
  do {
    run_with_failing(&f, ++n);
    failed = f.host.memory.failed;
  } while (failed);
  assert_true(n > 15);
  real_redis_stop(&f.redis);
  tls_files_remove(f.dir);
}

static int ignore_sigpipe(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_publish_and_hear),
      cmocka_unit_test(test_drained_close),
      cmocka_unit_test(test_much_at_once),
      cmocka_unit_test(test_thousands),
      cmocka_unit_test(test_killed_server),
      cmocka_unit_test(test_links_that_the_server_closes),
      cmocka_unit_test(test_counts_what_was_written),
      cmocka_unit_test(test_wrong_ca),
      cmocka_unit_test(test_system_store),
      cmocka_unit_test(test_wrong_host),
      cmocka_unit_test(test_wrong_address),
      cmocka_unit_test(test_names_that_are_right),
      cmocka_unit_test(test_address_in_the_url),
      cmocka_unit_test(test_missing_client_certificate),
      cmocka_unit_test(test_client_certificate),
      cmocka_unit_test(test_old_protocol),
      cmocka_unit_test(test_plain_answer),
      cmocka_unit_test(test_no_answer),
      cmocka_unit_test(test_hangs_up),
      cmocka_unit_test(test_plain_redis),
      cmocka_unit_test(test_says_goodbye),
      cmocka_unit_test(test_says_what_is_wrong),
      cmocka_unit_test(test_what_create_refuses),
      cmocka_unit_test(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
