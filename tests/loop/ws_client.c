/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "ws_client.h"

#include "deflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NARROW 4096

static void note(ws_client *client, const char *format, ...) {
  size_t room = sizeof client->log - client->log_len;
  va_list args;
  int n;

  va_start(args, format);
  n = vsnprintf(client->log + client->log_len, room, format, args);
  va_end(args);
  if (n > 0 && (size_t)n < room)
    client->log_len += (size_t)n;
}

bool ws_client_got(const ws_client *client, const char *words) {
  return strcmp(client->log, words) == 0;
}

void ws_client_forget(ws_client *client) {
  client->log_len = 0;
  client->log[0] = '\0';
}

/* Leave. ------------------------------------------------------------------ */

static void on_closed(uv_handle_t *handle) {
  ws_client *client = handle->data;
  client->gone = true;
}

void ws_client_leave(ws_client *client) {
  client->ended = true;
  if (!uv_is_closing((uv_handle_t *)&client->tcp))
    uv_close((uv_handle_t *)&client->tcp, on_closed);
}

void ws_client_reset(ws_client *client) {
  client->ended = true;
  if (uv_is_closing((uv_handle_t *)&client->tcp))
    return;
  if (uv_tcp_close_reset(&client->tcp, on_closed) != 0)
    ws_client_leave(client);
}

void ws_client_half_close(ws_client *client) {
  assert_int_equal(
      uv_shutdown(&client->shutdown, (uv_stream_t *)&client->tcp, NULL), 0);
}

void ws_client_finish(ws_client *client) {
  assert_true(client->gone);
  free(client->in);
  if (client->tls == NULL)
    return;
  cp__buf_finish(&client->early);
  cp__buf_finish(&client->sealed);
  cp__tls_destroy(client->tls);
}

/* Write. ------------------------------------------------------------------ */

typedef struct client_write {
  uv_write_t req;
  uint8_t bytes[];
} client_write;

static void on_written(uv_write_t *req, int status) {
  (void)status;
  free(req->data);
}

static void write_raw(ws_client *client, const void *data, size_t len) {
  client_write *write;
  uv_buf_t buf;

  if (uv_is_closing((uv_handle_t *)&client->tcp))
    return;
  write = malloc(sizeof *write + len);
  assert_non_null(write);
  memcpy(write->bytes, data, len);
  write->req.data = write;
  buf = uv_buf_init((char *)write->bytes, (unsigned)len);
  if (uv_write(&write->req, (uv_stream_t *)&client->tcp, &buf, 1, on_written))
    free(write);
}

void ws_client_release(ws_client *client, size_t max) {
  size_t len = cp__buf_len(&client->sealed);

  len = len < max ? len : max;
  if (len > 0)
    write_raw(client, cp__buf_begin(&client->sealed), len);
  cp__buf_consume(&client->sealed, len);
}

static void release_unless_held(ws_client *client) {
  if (!client->holds)
    ws_client_release(client, SIZE_MAX);
}

static void seal(ws_client *client, const void *data, size_t len) {
  cp_bytes part = cp_bytes_of(data, len);

  if (!cp__tls_is_ready(client->tls)) {
    cp__buf_append_bytes(&client->early, part);
    return;
  }
  assert_int_equal(cp__tls_write(client->tls, &part, 1, &client->sealed), 0);
  release_unless_held(client);
}

void ws_client_notify(ws_client *client) {
  assert_int_equal(cp__tls_close(client->tls, &client->sealed), 0);
  release_unless_held(client);
}

void ws_client_write(ws_client *client, const void *data, size_t len) {
  if (client->tls != NULL)
    seal(client, data, len);
  else
    write_raw(client, data, len);
}

void ws_client_write_str(ws_client *client, const char *text) {
  ws_client_write(client, text, strlen(text));
}

void ws_client_drip(ws_client *client, const void *data, size_t len) {
  const uint8_t *p = data;

  for (; len > 0; len--, p++) {
    ws_client_write(client, p, 1);
    uv_run(client->tcp.loop, UV_RUN_NOWAIT);
  }
}

size_t ws_client_put_upgrade(char *out, size_t size, const char *user) {
  return (size_t)snprintf(out, size,
                          "GET /?user=%s HTTP/1.1\r\nHost: test\r\n"
                          "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                          "Sec-WebSocket-Version: 13\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                          user);
}

size_t ws_client_put_frame(uint8_t *out, uint8_t head, const void *body,
                           size_t len) {
  static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
  const uint8_t *p = body;
  size_t n_len = len < 126 ? 0 : len < 65536 ? 2 : 8;
  size_t n = 2;
  size_t i;

  out[0] = head;
  out[1] = (uint8_t)(0x80 | (n_len == 0 ? len : n_len == 2 ? 126 : 127));
  for (i = n_len; i > 0; i--)
    out[n++] = (uint8_t)((uint64_t)len >> (8 * (i - 1)));
  memcpy(out + n, mask, sizeof mask);
  n += sizeof mask;
  for (i = 0; i < len; i++)
    out[n++] = p[i] ^ mask[i % 4];
  return n;
}

void ws_client_upgrade(ws_client *client, const char *user) {
  char head[1024];

  ws_client_write(client, head, ws_client_put_upgrade(head, sizeof head, user));
}

void ws_client_upgrade_deflate(ws_client *client, const char *user,
                               const char *parameters) {
  char head[1024];
  size_t len = ws_client_put_upgrade(head, sizeof head, user) - 2;

  client->offers = true;
  ws_client_write(client, head, len);
  ws_client_write_str(client, "Sec-WebSocket-Extensions: permessage-deflate");
  ws_client_write_str(client, parameters);
  ws_client_write_str(client, "\r\n\r\n");
}

void ws_client_frame(ws_client *client, uint8_t head, const void *body,
                     size_t len) {
  uint8_t *frame = malloc(len + 14);

  assert_non_null(frame);
  ws_client_write(client, frame, ws_client_put_frame(frame, head, body, len));
  free(frame);
}

void ws_client_text(ws_client *client, const char *text) {
  ws_client_frame(client, 0x81, text, strlen(text));
}

void ws_client_deflated(ws_client *client, uint8_t opcode, const void *body,
                        size_t len, size_t max) {
  uint8_t head = 0x40 | opcode;
  cp__deflate_options options;
  cp__deflater *deflater;
  cp__deflated deflated;
  size_t at, n;

  cp__deflate_options_init(&options);
  options.min_len = 0;
  deflater = cp__deflater_create(&cp__default_allocator, &options);
  assert_true(cp__deflater_run(deflater, cp_bytes_of(body, len), &deflated));
  for (at = 0; at < deflated.payload.len; at += n, head = 0) {
    n = deflated.payload.len - at;
    if (n <= max)
      head |= 0x80;
    else
      n = max;
    ws_client_frame(client, head, (const uint8_t *)deflated.payload.data + at,
                    n);
  }
  cp__deflater_destroy(deflater);
}

void ws_client_close_frame(ws_client *client, uint16_t code,
                           const char *reason) {
  uint8_t payload[125] = {(uint8_t)(code >> 8), (uint8_t)code};
  size_t len = strlen(reason);

  memcpy(payload + 2, reason, len);
  ws_client_frame(client, 0x88, payload, 2 + len);
}

/* Read. ------------------------------------------------------------------- */

static void take_head(ws_client *client, size_t len) {
  assert_true(len < sizeof client->head);
  memcpy(client->head, client->in, len);
  client->status = atoi(client->head + strlen("HTTP/1.1 "));
  note(client, "%d ", client->status);
}

/* Returns the length of the head that begins the input, or 0. */
static size_t find_head(const ws_client *client) {
  size_t i;

  for (i = 4; i <= client->in_len; i++)
    if (memcmp(client->in + i - 4, "\r\n\r\n", 4) == 0)
      return i;
  return 0;
}

static void note_body(ws_client *client, const uint8_t *body, size_t len) {
  if (len > 32)
    note(client, "%.6s+%zu) ", (const char *)body, len);
  else
    note(client, "%.*s) ", (int)len, (const char *)body);
}

static void take_close(ws_client *client, const uint8_t *body, size_t len) {
  client->close_code = len >= 2 ? body[0] << 8 | body[1] : 1005;
  note(client, "close(%d ", client->close_code);
  note_body(client, body + 2, len > 2 ? len - 2 : 0);
  if (client->answers)
    ws_client_frame(client, 0x88, body, len >= 2 ? 2 : 0);
}

static void take_frame(ws_client *client, int opcode, const uint8_t *body,
                       size_t len) {
  static const char *const names[16] = {
      [1] = "text", [2] = "binary", [9] = "ping", [10] = "pong"};

  client->n_frames++;
  client->n_messages += opcode == 1 || opcode == 2;
  if (opcode == 8) {
    take_close(client, body, len);
    return;
  }
  assert_non_null(names[opcode]);
  note(client, "%s(", names[opcode]);
  note_body(client, body, len);
  if (opcode == 9 && client->answers)
    ws_client_frame(client, 0x8A, body, len);
}

static void take_deflated(ws_client *client, int opcode, const uint8_t *body,
                          size_t len) {
  cp__inflate_pool pool;
  cp__inflater *inflater;
  cp__buf out;

  assert_true(client->offers);
  assert_true(opcode == 1 || opcode == 2);
  cp__inflate_pool_init(&pool, &cp__default_allocator, 64 * 1024 * 1024);
  cp__buf_init(&out, &cp__default_allocator);
  inflater = cp__inflater_borrow(&pool);
  assert_int_equal(cp__inflater_feed(inflater, cp_bytes_of(body, len), &out),
                   0);
  assert_int_equal(cp__inflater_end(inflater, &out), 0);
  note(client, "z:");
  take_frame(client, opcode, cp__buf_begin(&out), cp__buf_len(&out));
  cp__buf_finish(&out);
  cp__inflater_return(inflater);
  cp__inflate_pool_finish(&pool);
}

/* Returns what it used, 0 if the frame is not whole. */
static size_t parse_frame(ws_client *client, const uint8_t *data, size_t len) {
  size_t head = 2;
  uint64_t body;

  if (len < 2)
    return 0;
  assert_int_equal(data[0] & 0xB0, 0x80); /* whole messages */
  assert_true(data[1] < 128);             /* unmasked */
  body = data[1];
  if (body > 125)
    head = body == 126 ? 4 : 10;
  if (len < head)
    return 0;
  if (head > 2) {
    size_t i;
    for (body = 0, i = 2; i < head; i++)
      body = body << 8 | data[i];
  }
  if (len - head < body)
    return 0;
  if (data[0] & 0x40)
    take_deflated(client, data[0] & 0x0F, data + head, (size_t)body);
  else
    take_frame(client, data[0] & 0x0F, data + head, (size_t)body);
  return head + (size_t)body;
}

static void parse(ws_client *client) {
  size_t used = 0;
  size_t n;

  if (client->status == 0) {
    used = find_head(client);
    if (used == 0)
      return;
    take_head(client, used);
  }
  if (client->status == 101)
    while ((n = parse_frame(client, client->in + used, client->in_len - used)) >
           0)
      used += n;
  client->in_len -= used;
  memmove(client->in, client->in + used, client->in_len);
}

static void take(ws_client *client, size_t len) {
  client->in_len += len;
  client->n_bytes += len;
  if (len > 0)
    parse(client);
}

static void make_room(ws_client *client, size_t len) {
  if (client->in_cap - client->in_len >= len)
    return;
  client->in_cap = 2 * client->in_cap + len;
  client->in = realloc(client->in, client->in_cap);
  assert_non_null(client->in);
}

/* The next event, with its data in the input's room. */
static cp__tls_event next_event(ws_client *client, size_t *len) {
  make_room(client, 16384);
  return cp__tls_next(client->tls, client->in + client->in_len, 16384, len,
                      &client->sealed);
}

static void pump(ws_client *client) {
  cp__tls_event event;
  size_t len;

  do {
    event = next_event(client, &len);
    take(client, len);
    if (event == CP__TLS_READY && cp__buf_len(&client->early) > 0) {
      cp_bytes early = cp__buf_bytes(&client->early);
      assert_int_equal(cp__tls_write(client->tls, &early, 1, &client->sealed),
                       0);
    }
  } while (event == CP__TLS_READY || event == CP__TLS_DATA);
  if (event == CP__TLS_END)
    client->notified = true;
  if (event == CP__TLS_ERROR)
    note(client, "tls-error ");
  release_unless_held(client);
}

static void take_sealed(ws_client *client, const void *data, size_t len) {
  void *copy = malloc(len); /* it lies where the plaintext will */

  assert_non_null(copy);
  memcpy(copy, data, len);
  cp__tls_feed(client->tls, copy, len);
  pump(client);
  free(copy);
}

void ws_client_start_tls(ws_client *client, cp__tls_context *context) {
  cp__buf_init(&client->early, &cp__default_allocator);
  cp__buf_init(&client->sealed, &cp__default_allocator);
  assert_int_equal(cp__tls_create(&client->tls, context, "localhost"), 0);
  pump(client);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  ws_client *client = handle->data;

  make_room(client, suggested);
  *buf = uv_buf_init((char *)client->in + client->in_len, (unsigned)suggested);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  ws_client *client = stream->data;

  if (n < 0) {
    client->ended = true;
    note(client, n == UV_EOF ? "eof " : "reset ");
    return;
  }
  if (client->tls == NULL)
    take(client, (size_t)n);
  else if (n > 0)
    take_sealed(client, buf->base, (size_t)n);
}

void ws_client_stop_reading(ws_client *client) {
  uv_read_stop((uv_stream_t *)&client->tcp);
}

void ws_client_read_on(ws_client *client) {
  uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read);
}

/* Connect. ---------------------------------------------------------------- */

static void on_connected(uv_connect_t *req, int status) {
  ws_client *client = req->data;

  if (status == 0 && !uv_is_closing((uv_handle_t *)&client->tcp))
    ws_client_read_on(client);
  else if (status != 0 && status != UV_ECANCELED)
    on_read((uv_stream_t *)&client->tcp, status, NULL);
}

static void begin(ws_client *client, int port) {
  struct sockaddr_in address;

  client->connect.data = client;
  uv_ip4_addr("127.0.0.1", port, &address);
  assert_int_equal(uv_tcp_connect(&client->connect, &client->tcp,
                                  (const struct sockaddr *)&address,
                                  on_connected),
                   0);
}

static void init(ws_client *client, uv_loop_t *loop) {
  memset(client, 0, sizeof *client);
  assert_int_equal(uv_tcp_init_ex(loop, &client->tcp, AF_INET), 0);
  uv_tcp_nodelay(&client->tcp, 1);
  client->tcp.data = client;
}

void ws_client_connect(ws_client *client, uv_loop_t *loop, int port) {
  init(client, loop);
  begin(client, port);
}

void ws_client_connect_narrow(ws_client *client, uv_loop_t *loop, int port) {
  int size = NARROW;

  init(client, loop);
  uv_recv_buffer_size((uv_handle_t *)&client->tcp, &size);
  begin(client, port);
}
