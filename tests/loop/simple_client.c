/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "simple_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPGRADE                                   \
  "Connection: Upgrade\r\nUpgrade: websocket\r\n" \
  "Sec-WebSocket-Version: 13\r\n"                 \
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

enum { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8 };

static void on_closed(uv_handle_t *handle) {
  simple_client *client = handle->data;
  client->gone = true;
}

void simple_client_hang_up(simple_client *client) {
  client->eof = true;
  if (!uv_is_closing(&client->io.handle))
    uv_close(&client->io.handle, on_closed);
}

/* Writing. ---------------------------------------------------------------- */

typedef struct client_write {
  uv_write_t req;
  char bytes[];
} client_write;

static void on_written(uv_write_t *req, int status) {
  (void)status;
  free(req->data);
}

static void write_bytes(simple_client *client, const void *data, size_t len) {
  client_write *write = malloc(sizeof *write + len);
  uv_buf_t buf;

  if (write == NULL || uv_is_closing(&client->io.handle)) {
    free(write);
    return;
  }
  memcpy(write->bytes, data, len);
  write->req.data = write;
  buf = uv_buf_init(write->bytes, (unsigned)len);
  if (uv_write(&write->req, &client->io.stream, &buf, 1, on_written) != 0)
    free(write);
}

/* A masked frame, its mask being zero. */
static void send_frame(simple_client *client, int opcode, const void *data,
                       size_t len) {
  unsigned char frame[8 + 65536];
  size_t n = 0;

  if (len > 65535)
    abort();
  frame[n++] = (unsigned char)(0x80 | opcode);
  if (len < 126) {
    frame[n++] = (unsigned char)(0x80 | len);
  } else {
    frame[n++] = 0x80 | 126;
    frame[n++] = (unsigned char)(len >> 8);
    frame[n++] = (unsigned char)len;
  }
  memset(frame + n, 0, 4);
  if (len > 0)
    memcpy(frame + n + 4, data, len);
  write_bytes(client, frame, n + 4 + len);
}

void simple_client_send(simple_client *client, const char *text) {
  send_frame(client, OP_TEXT, text, strlen(text));
}

void simple_client_close(simple_client *client, uint16_t code) {
  unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
  send_frame(client, OP_CLOSE, payload, 2);
}

/* Reading. ---------------------------------------------------------------- */

static void consume(simple_client *client, size_t n) {
  client->in_len -= n;
  memmove(client->in, client->in + n, client->in_len);
  client->in[client->in_len] = '\0';
}

static bool take_head(simple_client *client) {
  char *end;

  end = strstr(client->in, "\r\n\r\n");
  if (end == NULL)
    return false;
  snprintf(client->head, sizeof client->head, "%.*s",
           (int)(end + 2 - client->in), client->in);
  client->status = atoi(client->head + sizeof "HTTP/1.1");
  consume(client, (size_t)(end + 4 - client->in));
  return true;
}

static void take_message(simple_client *client, const char *data, size_t len) {
  client->n_messages++;
  if (client->on_message != NULL) {
    client->on_message(client, data, len);
    return;
  }
  if (client->len + len + 2 > sizeof client->messages)
    return;
  memcpy(client->messages + client->len, data, len);
  client->len += len;
  client->messages[client->len++] = '|';
  client->messages[client->len] = '\0';
}

static void take_close(simple_client *client, const unsigned char *data,
                       size_t len) {
  client->close_code = len >= 2 ? data[0] << 8 | data[1] : 1005;
  send_frame(client, OP_CLOSE, data, len >= 2 ? 2 : 0);
}

/* Returns the length of the frame that begins there, or 0. */
static size_t take_frame(simple_client *client, const unsigned char *data,
                         size_t len) {
  size_t head = 2;
  size_t body;

  if (len < 2)
    return 0;
  body = data[1];
  if (body == 126)
    head = 4;
  else if (body == 127)
    head = 10;
  if (len < head)
    return 0;
  if (body == 126)
    body = (size_t)data[2] << 8 | data[3];
  else if (body == 127)
    body = (size_t)data[6] << 24 | (size_t)data[7] << 16 |
           (size_t)data[8] << 8 | data[9];
  if (len < head + body)
    return 0;
  if ((data[0] & 0x0f) == OP_TEXT || (data[0] & 0x0f) == OP_BINARY)
    take_message(client, (const char *)data + head, body);
  else if ((data[0] & 0x0f) == OP_CLOSE)
    take_close(client, data + head, body);
  return head + body;
}

static void take_frames(simple_client *client) {
  size_t used = 0;
  size_t n;

  while ((n = take_frame(client, (unsigned char *)client->in + used,
                         client->in_len - used)) > 0)
    used += n;
  consume(client, used);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  simple_client *client = handle->data;

  (void)suggested; /* one byte is left for a NUL */
  *buf = uv_buf_init(client->in + client->in_len,
                     (unsigned)(CLIENT_IN_SIZE - 1 - client->in_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  simple_client *client = stream->data;

  (void)buf;
  if (n < 0) {
    simple_client_hang_up(client);
    return;
  }
  client->in_len += (size_t)n;
  client->in[client->in_len] = '\0';
  if (client->status == 0 && !take_head(client))
    return;
  if (client->status == 101)
    take_frames(client);
}

/* Opening. ---------------------------------------------------------------- */

static void on_connect(uv_connect_t *req, int status) {
  simple_client *client = req->data;

  if (status != 0) {
    simple_client_hang_up(client);
    return;
  }
  if (client->request[0] != '\0')
    write_bytes(client, client->request, strlen(client->request));
  uv_read_start(&client->io.stream, on_alloc, on_read);
}

static void init(simple_client *client) {
  void (*on_message)(simple_client *, const char *, size_t) =
      client->on_message;
  void *data = client->data;

  memset(client, 0, sizeof *client);
  client->on_message = on_message;
  client->data = data;
  client->connect.data = client;
}

static void ask(simple_client *client, const char *target,
                const char *headers) {
  snprintf(client->request, sizeof client->request,
           "GET %s HTTP/1.1\r\nHost: test\r\n%s\r\n", target, headers);
}

static void connect_tcp(simple_client *client, uv_loop_t *loop, int port) {
  struct sockaddr_in address;

  uv_ip4_addr("127.0.0.1", port, &address);
  uv_tcp_init(loop, &client->io.tcp);
  uv_tcp_nodelay(&client->io.tcp, 1);
  client->io.handle.data = client;
  if (uv_tcp_connect(&client->connect, &client->io.tcp,
                     (struct sockaddr *)&address, on_connect) != 0)
    simple_client_hang_up(client);
}

void simple_client_open(simple_client *client, uv_loop_t *loop, int port,
                        const char *target, const char *headers) {
  char lines[4096];

  init(client);
  snprintf(lines, sizeof lines, UPGRADE "%s", headers != NULL ? headers : "");
  ask(client, target, lines);
  connect_tcp(client, loop, port);
}

void simple_client_open_unix(simple_client *client, uv_loop_t *loop,
                             const char *path, const char *target) {
  init(client);
  ask(client, target, UPGRADE);
  uv_pipe_init(loop, &client->io.pipe, 0);
  client->io.handle.data = client;
  uv_pipe_connect(&client->connect, &client->io.pipe, path, on_connect);
}

void simple_client_get(simple_client *client, uv_loop_t *loop, int port,
                       const char *target) {
  init(client);
  ask(client, target, "");
  connect_tcp(client, loop, port);
}

void simple_client_connect(simple_client *client, uv_loop_t *loop, int port) {
  init(client);
  connect_tcp(client, loop, port);
}
