/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Sockets that the host accepted: by descriptor and by stream, before and after
 * the host parsed the request, from every thread; what can't be taken, and
 * whose a socket is then. */

#include "../unit/tls_files.h"
#include "echo_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The host: a server of its own, whose sockets it hands over. */
typedef struct fixture {
  echo_node node;
  ws_client client;
  int listener;
  int port;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t len = sizeof address;

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  f->listener = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(f->listener, (struct sockaddr *)&address, len), 0);
  assert_int_equal(listen(f->listener, 8), 0);
  getsockname(f->listener, (struct sockaddr *)&address, &len);
  f->port = ntohs(address.sin_port);
  echo_node_init(&f->node);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;

  echo_node_finish(&f->node);
  close(f->listener);
  free(f);
  return 0;
}

/* A client connects to the host, which accepts. */
static int accept_client(fixture *f) {
  int fd;

  ws_client_connect(&f->client, &f->node.loop.loop, f->port);
  fd = accept(f->listener, NULL, NULL);
  assert_true(fd >= 0);
  return fd;
}

static int adopt_fd(fixture *f, int fd, cp_bytes received) {
  cp_adopt_options options;

  cp_adopt_options_init(&options);
  options.fd = fd;
  options.received = received;
  return cp_server_adopt(f->node.server, &options);
}

static int n_readable(int fd) {
  int n = 0;

  assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
  return n;
}

/* The host reads `n` bytes. */
static void read_exactly(fixture *f, int fd, char *out, size_t n) {
  run_until(&f->node.loop, (size_t)n_readable(fd) >= n);
  assert_int_equal(read(fd, out, n), n);
}

/* What the client wrote came to the application, and back. */
static void assert_echo(fixture *f) {
  run_until(&f->node.loop, ws_client_got(&f->client, "101 text(hi) "));
  assert_true(echo_node_heard(&f->node, "upgrade open!alice message:hi ") ||
              echo_node_heard(&f->node, "upgrade open:alice message:hi "));
}

/* A request's head, and a frame behind it. Returns the head's length. */
static size_t put_request(char *out, size_t size, size_t *total) {
  size_t head = ws_client_put_upgrade(out, size, "alice");

  *total = head + ws_client_put_frame((uint8_t *)out + head, 0x81, "hi", 2);
  return head;
}

static void see_off(fixture *f) {
  echo_node_see_off(&f->node, &f->client);
  run_until(&f->node.loop, echo_node_stats(&f->node).handshakes == 0 &&
                               echo_node_stats(&f->node).conns == 0);
  echo_node_forget(&f->node);
}

/* Before the host parsed. ------------------------------------------------- */

static void test_nothing_read(void **state) {
  fixture *f = *state;
  int fd;

  echo_node_start(&f->node);
  fd = accept_client(f);
  assert_int_equal(adopt_fd(f, fd, cp_str("")), 0);
  ws_client_upgrade(&f->client, "alice");
  ws_client_text(&f->client, "hi");
  assert_echo(f);
  assert_int_equal(echo_node_stats(&f->node).adopted, 1);
  see_off(f);
}

/* The host has read some of it, or all, the first frame included. */
static void test_every_cut(void **state) {
  fixture *f = *state;
  char sent[1024], received[1024];
  size_t total, n;

  echo_node_start(&f->node);
  put_request(sent, sizeof sent, &total);
  for (n = 0; n <= total; n++) {
    int fd = accept_client(f);
    ws_client_write(&f->client, sent, total);
    read_exactly(f, fd, received, n);
    assert_int_equal(adopt_fd(f, fd, cp_bytes_of(received, n)), 0);
    memset(received, 'x', n); /* it is copied */
    assert_echo(f);
    see_off(f);
  }
}

static void test_unix_socket(void **state) {
  fixture *f = *state;
  char sent[1024], answer[256] = "";
  size_t total;
  int pair[2];

  echo_node_start(&f->node);
  put_request(sent, sizeof sent, &total);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal(write(pair[1], sent, total), total);
  assert_int_equal(adopt_fd(f, pair[0], cp_str("")), 0);
  run_until(&f->node.loop, recv(pair[1], answer, sizeof answer - 1,
                                MSG_PEEK | MSG_DONTWAIT) > 0 &&
                               strstr(answer, "\r\n\r\n\x81\x02hi") != NULL);
  assert_memory_equal(answer, "HTTP/1.1 101", 12);
  close(pair[1]);
}

static void test_bad_head(void **state) {
  fixture *f = *state;
  int fd;

  echo_node_start(&f->node);
  fd = accept_client(f);
  assert_int_equal(adopt_fd(f, fd, cp_str("nonsense\r\n\r\n")), 0);
  run_until(&f->node.loop, f->client.status == 400 && f->client.ended);
  assert_true(echo_node_heard(&f->node, ""));
  see_off(f);
}

/* The limits are those of the server's own connections. */
static void test_limits_hold(void **state) {
  fixture *f = *state;
  char target[1024];

  f->node.options.max_request = 512;
  echo_node_start(&f->node);
  memset(target, 'a', sizeof target);
  memcpy(target, "GET /", 5);
  assert_int_equal(
      adopt_fd(f, accept_client(f), cp_bytes_of(target, sizeof target)), 0);
  run_until(&f->node.loop, f->client.status == 414);
  see_off(f);
}

/* After. ------------------------------------------------------------------ */

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

static const cp_header upgrade_headers[] = {
    {"Host", "test"},          {"upgrade", "websocket"},
    {"Connection", "Upgrade"}, {"Sec-WebSocket-Key", KEY},
    {"X-Empty", ""},           {"Sec-WebSocket-Version", "13"},
};
#define N_UPGRADE (sizeof upgrade_headers / sizeof *upgrade_headers)

static void parsed(cp_adopt_options *options, int fd, const char *target) {
  cp_adopt_options_init(options);
  options->fd = fd;
  options->target = target;
  options->headers = upgrade_headers;
  options->n_headers = N_UPGRADE;
}

static void test_parsed(void **state) {
  fixture *f = *state;
  cp_adopt_options options;
  uint8_t frame[16];

  echo_node_start(&f->node);
  parsed(&options, accept_client(f), "/?user=alice");
  options.received =
      cp_bytes_of(frame, ws_client_put_frame(frame, 0x81, "hi", 2));
  assert_int_equal(cp_server_adopt(f->node.server, &options), 0);
  assert_echo(f);
  see_off(f);
}

/* What the host lets pass is judged all the same. */
static void test_parsed_is_judged(void **state) {
  static const struct {
    const char *target;
    size_t left_out;
    int status;
  } cases[] = {
      {"/?user=alice", 0, 400},   /* no Host */
      {"/?user=alice", 3, 400},   /* no key */
      {"/?user=alice", 5, 400},   /* no version */
      {"/?user=alice", 1, 400},   /* half an upgrade */
      {"nonsense", 4, 400},       /* no target */
      {"/?nobody=alice", 4, 401}, /* on_upgrade's own */
  };
  fixture *f = *state;
  size_t i, j;

  echo_node_start(&f->node);
  for (i = 0; i < sizeof cases / sizeof *cases; i++) {
    cp_header headers[N_UPGRADE];
    cp_adopt_options options;
    size_t n = 0;
    for (j = 0; j < N_UPGRADE; j++)
      if (j != cases[i].left_out)
        headers[n++] = upgrade_headers[j];
    parsed(&options, accept_client(f), cases[i].target);
    options.headers = headers;
    options.n_headers = n;
    assert_int_equal(cp_server_adopt(f->node.server, &options), 0);
    run_until(&f->node.loop, f->client.status != 0 && f->client.ended);
    assert_int_equal(f->client.status, cases[i].status);
    see_off(f);
  }
}

static void test_parsed_plain_request(void **state) {
  fixture *f = *state;
  cp_adopt_options options;

  echo_node_start(&f->node);
  parsed(&options, accept_client(f), "/health");
  options.n_headers = 1;
  assert_int_equal(cp_server_adopt(f->node.server, &options), 0);
  run_until(&f->node.loop, f->client.status != 0 && f->client.ended);
  assert_int_equal(f->client.status, 200);
  assert_true(echo_node_heard(&f->node, "http "));
  see_off(f);
}

/* Streams. ---------------------------------------------------------------- */

static void on_host_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  static char bytes[16];

  (void)handle;
  (void)size;
  *buf = uv_buf_init(bytes, sizeof bytes);
}

/* Once it is handed over, the host hears nothing any more. */
static void on_host_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  assert_true(n == 0 || stream->data == NULL);
}

static void on_host_closed(uv_handle_t *handle) {
  bool *closed = handle->data;
  *closed = true;
}

static void close_host_handle(fixture *f, uv_handle_t *handle) {
  bool closed = false;

  handle->data = &closed;
  uv_close(handle, on_host_closed);
  run_until(&f->node.loop, closed);
}

static void adopt_stream(fixture *f, uv_stream_t *stream, cp_bytes received) {
  cp_adopt_options options;

  uv_read_start(stream, on_host_alloc, on_host_read);
  cp_adopt_options_init(&options);
  options.stream = stream;
  options.received = received;
  assert_int_equal(cp_server_adopt(f->node.server, &options), 0);
  stream->data = f; /* handed over */
}

static void run_with_tcp(fixture *f, bool closes_at_once) {
  char sent[1024], received[8];
  size_t total;
  uv_tcp_t tcp;
  int fd = accept_client(f);

  put_request(sent, sizeof sent, &total);
  ws_client_write(&f->client, sent, total);
  read_exactly(f, fd, received, sizeof received);
  uv_tcp_init(&f->node.loop.loop, &tcp);
  tcp.data = NULL;
  assert_int_equal(uv_tcp_open(&tcp, fd), 0);
  adopt_stream(f, (uv_stream_t *)&tcp, cp_bytes_of(received, sizeof received));
  if (closes_at_once)
    close_host_handle(f, (uv_handle_t *)&tcp);
  assert_echo(f);
  if (!closes_at_once)
    close_host_handle(f, (uv_handle_t *)&tcp);
  see_off(f);
}

static void test_tcp_stream(void **state) {
  fixture *f = *state;

  echo_node_start(&f->node);
  run_with_tcp(f, true);
  run_with_tcp(f, false);
}

static void test_pipe_stream(void **state) {
  fixture *f = *state;
  char sent[1024], answer[256] = "";
  size_t total;
  uv_pipe_t pipe;
  int pair[2];

  echo_node_start(&f->node);
  put_request(sent, sizeof sent, &total);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  uv_pipe_init(&f->node.loop.loop, &pipe, 0);
  pipe.data = NULL;
  assert_int_equal(uv_pipe_open(&pipe, pair[0]), 0);
  adopt_stream(f, (uv_stream_t *)&pipe, cp_bytes_of(sent, total));
  close_host_handle(f, (uv_handle_t *)&pipe);
  run_until(&f->node.loop, recv(pair[1], answer, sizeof answer - 1,
                                MSG_PEEK | MSG_DONTWAIT) > 0 &&
                               strstr(answer, "\x81\x02hi") != NULL);
  close(pair[1]);
}

static void test_stream_that_writes(void **state) {
  fixture *f = *state;
  static char much[1 << 22];
  uv_buf_t buf = uv_buf_init(much, sizeof much);
  cp_adopt_options options;
  uv_write_t writes[2];
  uv_tcp_t tcp;

  echo_node_start(&f->node);
  uv_tcp_init(&f->node.loop.loop, &tcp);
  assert_int_equal(uv_tcp_open(&tcp, accept_client(f)), 0);
  uv_write(&writes[0], (uv_stream_t *)&tcp, &buf, 1, NULL);
  uv_write(&writes[1], (uv_stream_t *)&tcp, &buf, 1, NULL);
  cp_adopt_options_init(&options);
  options.stream = (uv_stream_t *)&tcp;
  assert_int_equal(cp_server_adopt(f->node.server, &options), CP_E_STATE);
  close_host_handle(f, (uv_handle_t *)&tcp);
  see_off(f);
}

/* TLS. -------------------------------------------------------------------- */

static void test_tls(void **state) {
  fixture *f = *state;
  char *dir = tls_files_create();
  char text[CP__TLS_TEXT_SIZE], hello[4];
  cp_adopt_options options;
  cp__tls_context *context;
  cp__tls_options trust;

  memset(&trust, 0, sizeof trust);
  trust.ca_file = tls_file(dir, "ca.pem");
  assert_int_equal(
      cp__tls_context_create(&context, &trust, &cp__default_allocator, text),
      0);
  f->node.options.tls_cert = tls_file(dir, "server.pem");
  f->node.options.tls_key = tls_file(dir, "server.key");
  echo_node_start(&f->node);
  cp_adopt_options_init(&options);
  options.fd = accept_client(f);
  options.tls = 1;
  ws_client_start_tls(&f->client, context);
  read_exactly(f, options.fd, hello, sizeof hello);
  options.received = cp_bytes_of(hello, sizeof hello);
  assert_int_equal(cp_server_adopt(f->node.server, &options), 0);
  ws_client_upgrade(&f->client, "alice");
  ws_client_text(&f->client, "hi");
  assert_echo(f);
  see_off(f);
  /* Without the flag it is plain, whatever the listeners are. */
  assert_int_equal(adopt_fd(f, accept_client(f), cp_str("")), 0);
  ws_client_upgrade(&f->client, "alice");
  ws_client_text(&f->client, "hi");
  assert_echo(f);
  see_off(f);
  cp__tls_context_unref(context);
  tls_files_remove(dir);
}

/* Errors: the socket stays the caller's. ---------------------------------- */

static void assert_refused(fixture *f, const cp_adopt_options *options,
                           int err) {
  assert_int_equal(cp_server_adopt(f->node.server, options), err);
  assert_int_equal(cp_server_adopt(f->node.server, options), err);
}

static void test_bad_options(void **state) {
  static const cp_header bad_headers[][1] = {
      {{"X", "a\r\nX-Injected: 1"}}, {{"X y", "a"}}, {{"X:", "a"}}};
  static const char *const bad_targets[] = {"", "/a b", "/a\r\nX: 1", "/\x7f"};
  fixture *f = *state;
  cp_adopt_options options;
  static uv_timer_t timer;
  size_t i;
  int fd;

  echo_node_start(&f->node);
  fd = accept_client(f);
  cp_adopt_options_init(&options);
  assert_refused(f, &options, CP_E_INVALID); /* no socket */
  uv_timer_init(&f->node.loop.loop, &timer);
  options.stream = (uv_stream_t *)&timer;
  assert_refused(f, &options, CP_E_INVALID); /* no stream */
  options.fd = fd;
  assert_refused(f, &options, CP_E_INVALID); /* two */
  options.stream = NULL;
  options.size = 0;
  assert_refused(f, &options, CP_E_INVALID);
  for (i = 0; i < sizeof bad_targets / sizeof *bad_targets; i++) {
    parsed(&options, fd, bad_targets[i]);
    assert_refused(f, &options, CP_E_INVALID);
  }
  for (i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
    parsed(&options, fd, "/");
    options.headers = bad_headers[i];
    options.n_headers = 1;
    assert_refused(f, &options, CP_E_INVALID);
  }
  parsed(&options, fd, "/");
  options.tls = 1;
  assert_refused(f, &options, CP_E_INVALID);
  options.target = NULL;
  assert_refused(f, &options, CP_E_INVALID); /* headers without a target */
  options.n_headers = 0;
  assert_refused(f, &options, CP_E_STATE); /* TLS without a certificate */
  /* After all that it is as good as new. */
  assert_int_equal(adopt_fd(f, fd, cp_str("")), 0);
  ws_client_upgrade(&f->client, "alice");
  ws_client_text(&f->client, "hi");
  assert_echo(f);
  see_off(f);
  uv_close((uv_handle_t *)&timer, NULL);
}

static void test_bad_sockets(void **state) {
  fixture *f = *state;
  int pair[2];
  int fd;

  echo_node_start(&f->node);
  assert_int_equal(adopt_fd(f, 9999, cp_str("")), UV_EBADF);
  assert_int_equal(pipe(pair), 0);
  assert_int_equal(adopt_fd(f, pair[0], cp_str("")), UV_ENOTSOCK);
  close(pair[0]);
  close(pair[1]);
  assert_int_equal(adopt_fd(f, f->listener, cp_str("")), UV_ENOTCONN);
  assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
  assert_int_equal(adopt_fd(f, pair[0], cp_str("")), CP_E_UNSUPPORTED);
  assert_int_equal(close(pair[0]), 0);
  assert_int_equal(close(pair[1]), 0);
  fd = accept_client(f);
  echo_node_see_off(&f->node, &f->client);
  close(fd);
}

static void test_full(void **state) {
  fixture *f = *state;
  char sent[1024];
  size_t total;
  int fd;

  f->node.options.max_thread_queue = 1;
  echo_node_start(&f->node);
  put_request(sent, sizeof sent, &total);
  fd = accept_client(f);
  /* One always fits. */
  assert_int_equal(adopt_fd(f, fd, cp_bytes_of(sent, total)), 0);
  assert_int_equal(adopt_fd(f, f->client.tcp.io_watcher.fd, cp_str("")),
                   CP_E_FULL);
  assert_echo(f);
  see_off(f);
}

static void test_after_close(void **state) {
  fixture *f = *state;
  cp_server *server;
  cp_adopt_options options;

  echo_node_start(&f->node);
  server = cp_server_ref(f->node.server);
  cp_adopt_options_init(&options);
  options.fd = accept_client(f);
  cp_server_close(server, 0, echo_node_on_closed);
  assert_int_equal(cp_server_adopt(server, &options), CP_E_CLOSED);
  run_until(&f->node.loop, f->node.closed);
  assert_int_equal(cp_server_adopt(server, &options), CP_E_CLOSED);
  assert_int_equal(close(options.fd), 0);
  cp_server_unref(server);
  run_until(&f->node.loop, f->client.ended);
  ws_client_leave(&f->client);
  run_until(&f->node.loop, f->client.gone);
  ws_client_finish(&f->client);
}

/* What waits when the server closes is closed with it. */
static void test_close_drops(void **state) {
  fixture *f = *state;

  echo_node_start(&f->node);
  assert_int_equal(adopt_fd(f, accept_client(f), cp_str("")), 0);
  cp_server_close(f->node.server, 1000, echo_node_on_closed);
  run_until(&f->node.loop, f->node.closed && f->client.ended);
  assert_true(echo_node_heard(&f->node, "closed "));
  ws_client_leave(&f->client);
  run_until(&f->node.loop, f->client.gone);
  ws_client_finish(&f->client);
}

static void close_in_upgrade(echo_node *node, const char *hook, cp_conn *conn) {
  (void)conn;
  if (strcmp(hook, "upgrade") == 0)
    cp_server_close(node->server, 1000, echo_node_on_closed);
}

/* A hook closes the server while a batch is being taken. */
static void test_close_amid_a_batch(void **state) {
  fixture *f = *state;
  char sent[1024];
  size_t total;
  int pair[2];
  char byte;

  f->node.also = close_in_upgrade;
  echo_node_start(&f->node);
  put_request(sent, sizeof sent, &total);
  assert_int_equal(adopt_fd(f, accept_client(f), cp_bytes_of(sent, total)), 0);
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  assert_int_equal(adopt_fd(f, pair[0], cp_bytes_of(sent, total)), 0);
  run_until(&f->node.loop, f->node.closed && f->client.ended);
  assert_int_equal(read(pair[1], &byte, 1), 0); /* without a word */
  close(pair[1]);
  ws_client_leave(&f->client);
  run_until(&f->node.loop, f->client.gone);
  ws_client_finish(&f->client);
}

/* Threads and memory. ----------------------------------------------------- */

typedef struct afar {
  fixture *f;
  int fd;
  const char *sent;
  size_t len;
} afar;

static void adopt_from_afar(void *arg) {
  afar *a = arg;

  assert_int_equal(adopt_fd(a->f, a->fd, cp_bytes_of(a->sent, a->len)), 0);
}

static void test_other_thread(void **state) {
  fixture *f = *state;
  char sent[1024];
  uv_thread_t thread;
  afar a;

  echo_node_start(&f->node);
  put_request(sent, sizeof sent, &a.len);
  a.f = f;
  a.sent = sent;
  a.fd = accept_client(f);
  uv_thread_create(&thread, adopt_from_afar, &a);
  uv_thread_join(&thread);
  assert_echo(f);
  see_off(f);
}

/* Returns whether it was reached. */
static bool run_with_nth_failing(fixture *f, size_t n) {
  char sent[1024];
  size_t total;
  int fd = accept_client(f);
  int rc;

  put_request(sent, sizeof sent, &total);
  f->node.memory.failed = false;
  f->node.memory.n_calls = 0;
  f->node.memory.fail_at = n;
  rc = adopt_fd(f, fd, cp_bytes_of(sent, total));
  if (rc != 0) {
    assert_int_equal(rc, CP_E_NOMEM);
    assert_int_equal(close(fd), 0); /* still ours */
  }
  run_until(&f->node.loop,
            f->client.ended || ws_client_got(&f->client, "101 text(hi) "));
  f->node.memory.fail_at = 0;
  see_off(f);
  return f->node.memory.failed;
}

static void test_every_allocation_failing(void **state) {
  fixture *f = *state;
  size_t n = 0;

  echo_node_start(&f->node);
  while (run_with_nth_failing(f, ++n))
    continue;
  assert_true(n > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_nothing_read),
      TEST(test_every_cut),
      TEST(test_unix_socket),
      TEST(test_bad_head),
      TEST(test_limits_hold),
      TEST(test_parsed),
      TEST(test_parsed_is_judged),
      TEST(test_parsed_plain_request),
      TEST(test_tcp_stream),
      TEST(test_pipe_stream),
      TEST(test_stream_that_writes),
      TEST(test_tls),
      TEST(test_bad_options),
      TEST(test_bad_sockets),
      TEST(test_full),
      TEST(test_after_close),
      TEST(test_close_drops),
      TEST(test_close_amid_a_batch),
      TEST(test_other_thread),
      TEST(test_every_allocation_failing),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
