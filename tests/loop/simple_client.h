/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_SIMPLE_CLIENT_H
#define CP_TEST_SIMPLE_CLIENT_H

/* Simple client: a well-behaved WebSocket client in the test's own loop. It
 * asks, takes what comes, answers a close frame, and that is all. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define CLIENT_IN_SIZE 262144

typedef struct simple_client {
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } io;
  uv_connect_t connect;
  char request[8192];

  int status;      /* of the response; 0: none yet */
  bool eof;        /* the server ended the stream, or there never was one */
  bool gone;       /* and the handle is closed */
  char head[4096]; /* the response's, NUL-terminated */

  char messages[65536]; /* each with a '|' behind it */
  size_t len;
  size_t n_messages;
  int close_code; /* 0: none came; 1005: one without a code */
  /* Instead of `messages`, if set. */
  void (*on_message)(struct simple_client *client, const char *data,
                     size_t len);
  void *data;

  char in[CLIENT_IN_SIZE]; /* a plain response's body; NUL-terminated */
  size_t in_len;
} simple_client;

/* Connect to 127.0.0.1 and ask for `target` ("/?user=alice") with these more
 * header lines, each with its CR LF. */
void simple_client_open(simple_client *client, uv_loop_t *loop, int port,
                        const char *target, const char *headers);
void simple_client_open_unix(simple_client *client, uv_loop_t *loop,
                             const char *path, const char *target);
/* A plain GET. */
void simple_client_get(simple_client *client, uv_loop_t *loop, int port,
                       const char *target);
/* Connect, and say nothing. */
void simple_client_connect(simple_client *client, uv_loop_t *loop, int port);

void simple_client_send(simple_client *client, const char *text);
/* Send a close frame. */
void simple_client_close(simple_client *client, uint16_t code);
/* End without a word. */
void simple_client_hang_up(simple_client *client);

#endif
