/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "adopting_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

const cp_header host_headers[HOST_N_HEADERS] = {
    {"Host", "test"},          {"upgrade", "websocket"},
    {"Connection", "Upgrade"}, {"Sec-WebSocket-Key", KEY},
    {"X-Empty", ""},           {"Sec-WebSocket-Version", "13"},
};

int host_setup(void **state) {
  host *h = calloc(1, sizeof *h);
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t len = sizeof address;

  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  h->listener = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(h->listener, (struct sockaddr *)&address, len), 0);
  assert_int_equal(listen(h->listener, 8), 0);
  getsockname(h->listener, (struct sockaddr *)&address, &len);
  h->port = ntohs(address.sin_port);
  echo_node_init(&h->node);
  *state = h;
  return 0;
}

int host_teardown(void **state) {
  host *h = *state;

  echo_node_finish(&h->node);
  close(h->listener);
  free(h);
  return 0;
}

void host_end(host *h) {
  run_until(&h->node.loop, h->node.closed && h->client.ended);
  echo_node_see_off(&h->node, &h->client);
}

int host_accept(host *h) {
  int fd;

  ws_client_connect(&h->client, &h->node.loop.loop, h->port);
  fd = accept(h->listener, NULL, NULL);
  assert_true(fd >= 0);
  return fd;
}

static int n_readable(int fd) {
  int n = 0;

  assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
  return n;
}

void host_read(host *h, int fd, void *out, size_t n) {
  run_until(&h->node.loop, (size_t)n_readable(fd) >= n);
  assert_int_equal(read(fd, out, n), n);
}

static void await_503(host *h) {
  run_until(&h->node.loop, h->client.status == 503 && h->client.ended);
}

void host_answer_503(host *h, int fd) {
  static const char answer[] = "HTTP/1.1 503 Busy\r\n\r\n";

  assert_int_equal(write(fd, answer, sizeof answer - 1), sizeof answer - 1);
  assert_int_equal(close(fd), 0);
  await_503(h);
}

/* Streams. ---------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  static char bytes[16];

  (void)handle;
  (void)size;
  *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  host *h = stream->data;

  (void)buf;
  if (n > 0)
    h->n_read += (size_t)n;
}

static void on_tcp_closed(uv_handle_t *handle) {
  host *h = handle->data;
  h->closed = true;
}

void host_open(host *h, int fd) {
  uv_tcp_init(&h->node.loop.loop, &h->tcp);
  h->tcp.data = h;
  h->n_read = 0;
  h->closed = false;
  assert_int_equal(uv_tcp_open(&h->tcp, fd), 0);
  uv_read_start((uv_stream_t *)&h->tcp, on_alloc, on_read);
}

void host_close_tcp(host *h) {
  uv_close((uv_handle_t *)&h->tcp, on_tcp_closed);
  run_until(&h->node.loop, h->closed);
}

/* Hand over. -------------------------------------------------------------- */

int host_adopt(host *h, int fd, cp_bytes received) {
  cp_adopt_options options;

  cp_adopt_options_init(&options);
  options.fd = fd;
  options.received = received;
  return cp_server_adopt(h->node.server, &options);
}

int host_adopt_tcp(host *h, cp_bytes received) {
  cp_adopt_options options;

  cp_adopt_options_init(&options);
  options.stream = (uv_stream_t *)&h->tcp;
  options.received = received;
  return cp_server_adopt(h->node.server, &options);
}

void host_parsed(cp_adopt_options *options, int fd, const char *target) {
  cp_adopt_options_init(options);
  options->fd = fd;
  options->target = target;
  options->headers = host_headers;
  options->n_headers = HOST_N_HEADERS;
}

size_t host_put_request(char *out, size_t size, size_t *total) {
  size_t head = ws_client_put_upgrade(out, size, "alice");

  *total = head + ws_client_put_frame((uint8_t *)out + head, 0x81, "hi", 2);
  return head;
}

bool host_was_heard(const host *h) {
  return h->client.status == 101 &&
         strstr(h->node.events, "message:hi ") != NULL;
}

void host_await_echo(host *h) {
  run_until(&h->node.loop, ws_client_got(&h->client, "101 text(hi) "));
  assert_true(echo_node_heard(&h->node, "upgrade open!alice message:hi ") ||
              echo_node_heard(&h->node, "upgrade open:alice message:hi "));
}

void host_see_off(host *h) {
  echo_node_see_off(&h->node, &h->client);
  run_until(&h->node.loop, echo_node_stats(&h->node).handshakes == 0 &&
                               echo_node_stats(&h->node).conns == 0);
  echo_node_forget(&h->node);
}
