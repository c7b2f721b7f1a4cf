/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef BENCH_SWARM_H
#define BENCH_SWARM_H

/* Swarm: many WebSocket clients on one epoll. What is sent is collected and
 * leaves, one write per client, when the swarm is polled next. Running out of
 * memory or of sockets ends the program. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct swarm swarm;

typedef enum client_state {
  CLIENT_CLOSED,
  CLIENT_CONNECTING,
  CLIENT_ASKING, /* for the upgrade */
  CLIENT_OPEN
} client_state;

typedef struct swarm_buf {
  uint8_t *data;
  size_t len;
  size_t cap;
} swarm_buf;

typedef struct client {
  swarm *swarm;
  int fd;
  uint16_t port;
  bool narrow; /* the system holds little for it, here and at the server */
  char kind;
  uint32_t number;
  client_state state;
  bool paused;
  bool wants_write; /* the socket was full */
  bool dirty;       /* in swarm.dirty */
  swarm_buf in;     /* an unfinished frame */
  swarm_buf out;
} client;

typedef struct swarm_events {
  /* A data frame's payload, borrowed. Clients may send meanwhile. */
  void (*on_message)(void *ctx, client *client, const uint8_t *data,
                     size_t len);
  void (*on_pong)(void *ctx, client *client);
} swarm_events;

struct swarm {
  client *clients; /* the caller sets port, kind and number before opening */
  uint32_t n;
  uint32_t first; /* number 17 of kind u is user u17, but for this summand */
  const swarm_events *events;
  void *ctx;
  int epoll_fd;
  uint8_t *read_buf;
  client **dirty; /* they have something to write */
  uint32_t n_dirty;
  uint32_t mask; /* changes with each frame */

  uint32_t n_opening;
  uint32_t n_open;
  uint32_t n_refused;   /* did not open */
  uint32_t n_broken;    /* was open, and is not by our will */
  uint64_t n_malformed; /* frames that make no sense */
};

/* With `n` closed clients. Raises the limit of open files. */
void swarm_init(swarm *swarm, uint32_t n, const swarm_events *events,
                void *ctx);
void swarm_finish(swarm *swarm);

/* Open all closed clients, `concurrency` at a time, without a pause. False:
 * some were refused, or it took longer than `seconds`. */
bool swarm_open(swarm *swarm, unsigned concurrency, double seconds);

/* Write what was sent, wait for events until `deadline` (see now_ns()) at most,
 * and handle them. */
void swarm_poll(swarm *swarm, uint64_t deadline);
/* Nothing but that, for so long. */
void swarm_idle(swarm *swarm, double seconds);

/* Send a frame, its payload in `n` parts. */
void client_send(client *client, uint8_t opcode, const struct iovec *parts,
                 size_t n);
/* Read no more. */
void client_pause(client *client);
/* Reset the connection. */
void client_close(client *client);

enum { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

#endif
