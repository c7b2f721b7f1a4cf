/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_WS_CLIENT_H
#define CP_TEST_WS_CLIENT_H

/* WebSocket client for rough treatment: it writes whatever it is told, in
 * whatever pieces, reads or doesn't, leaves in every way that TCP knows, and
 * answers nothing by itself unless it is asked to. What it gets it keeps as
 * text, a word each:
 *
 *   101  text(BODY)  binary(BODY)  ping(BODY)  pong(BODY)  close(CODE REASON)
 *   eof  reset
 *
 * and z: in front of a message that came compressed.
 *
 * Of a body above 32 bytes its first 6 and its length: "000017+1000". */

#include "run_until.h"
#include "tls.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ws_client {
  uv_tcp_t tcp;
  uv_connect_t connect;
  uv_shutdown_t shutdown;
  bool answers; /* pings and close frames */
  bool offers;  /* permessage-deflate: compressed messages may come */
  bool gone;    /* the handle is closed */
  bool ended;   /* nothing more will come */
  int status;   /* of the response; 0: none yet */
  char head[2048];
  int close_code; /* 0: none came; 1005: one without a code */
  size_t n_frames;
  size_t n_messages;
  uint64_t n_bytes; /* all that came */

  char log[65536];
  size_t log_len;
  uint8_t *in; /* what is not a whole frame yet */
  size_t in_len;
  size_t in_cap;

  cp__tls *tls;  /* NULL: plain */
  bool notified; /* its close_notify came */
  bool holds;    /* what is sealed stays in `sealed`, the test's to write */
  cp__buf early; /* written before the handshake was done */
  cp__buf sealed;
} ws_client;

/* Connect to 127.0.0.1, and read. Writes may follow at once. */
void ws_client_connect(ws_client *client, uv_loop_t *loop, int port);
/* ... with as little as possible between the ends: the server's writes block
 * soon if nobody reads. */
void ws_client_connect_narrow(ws_client *client, uv_loop_t *loop, int port);

/* TLS, with a context of the client's kind, that trusts the server. What is
 * written meanwhile goes out with the last bytes of the handshake. Call it
 * behind connect. */
void ws_client_start_tls(ws_client *client, cp__tls_context *context);
/* Write the first `max` bytes of what is held. */
void ws_client_release(ws_client *client, size_t max);
void ws_client_notify(ws_client *client); /* close_notify */

void ws_client_write(ws_client *client, const void *data, size_t len);
void ws_client_write_str(ws_client *client, const char *text);
/* Byte by byte, with a turn of the loop after each. */
void ws_client_drip(ws_client *client, const void *data, size_t len);

/* An upgrade's head for a user; returns its length. */
size_t ws_client_put_upgrade(char *out, size_t size, const char *user);
/* A masked frame; `head` is its first byte. `out` has room for 14 bytes more
 * than the body. Returns its length. */
size_t ws_client_put_frame(uint8_t *out, uint8_t head, const void *body,
                           size_t len);

void ws_client_upgrade(ws_client *client, const char *user);
/* ... with an offer of permessage-deflate and these parameters of it. */
void ws_client_upgrade_deflate(ws_client *client, const char *user,
                               const char *parameters);
void ws_client_frame(ws_client *client, uint8_t head, const void *body,
                     size_t len);
void ws_client_text(ws_client *client, const char *text);
/* A message compressed, in fragments of at most `max` bytes. */
void ws_client_deflated(ws_client *client, uint8_t opcode, const void *body,
                        size_t len, size_t max);
void ws_client_close_frame(ws_client *client, uint16_t code,
                           const char *reason);

void ws_client_stop_reading(ws_client *client);
void ws_client_read_on(ws_client *client);

/* Send FIN and go on reading. */
void ws_client_half_close(ws_client *client);
/* Close the socket, by RST or as ever. */
void ws_client_reset(ws_client *client);
void ws_client_leave(ws_client *client);

bool ws_client_got(const ws_client *client, const char *words);
void ws_client_forget(ws_client *client);
/* Give back its memory; it must be gone. */
void ws_client_finish(ws_client *client);

#endif
