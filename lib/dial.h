/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_DIAL_H
#define CP_DIAL_H

/* Dial: an outgoing connection, over TCP or a Unix socket, from a name to a
 * stream. Embedded: its owner's memory must stay until on_closed. */

#include "clusterpush/base.h"

#include <stdbool.h>
#include <uv.h>

#define CP__ENDPOINT_SIZE 300

/* Where to. Borrowed until on_closed. */
typedef struct cp__endpoint {
  const char *host; /* a name or an address; NULL: a Unix socket at `path` */
  int port;
  const char *path; /* must fit into a struct sockaddr_un */
} cp__endpoint;

typedef struct cp__dial cp__dial;

typedef struct cp__dial_events {
  /* The stream is open (`err` 0: its reading and writing is the owner's from
   * now on) or can't be had: CP_E_TIMEOUT or a libuv code, and `reason` for
   * people, borrowed until it returns. Once, never after close. */
  void (*on_done)(cp__dial *dial, int err, const char *reason);
  void (*on_closed)(cp__dial *dial);
} cp__dial_events;

struct cp__dial {
  const cp__dial_events *events;
  uv_loop_t *loop;
  cp__endpoint endpoint;
  int state;
  int n_handles; /* not yet closed: timer, stream */
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } io;         /* io.handle.data is the owner's once connected */
  bool io_open; /* `io` was opened and not yet told to close */
  uv_connect_t connect;
  uv_getaddrinfo_t lookup;
  bool is_looking_up;         /* the callback is still to come */
  struct addrinfo *addresses; /* what was found */
  struct addrinfo *address;   /* the one that is tried; NULL: a Unix socket */
  uv_timer_t timer;
  uint64_t deadline;
};

/* Begin. Returns 0 or a libuv code, and after that nothing is called and there
 * is nothing to close. on_done never comes before this returned. */
int cp__dial_start(cp__dial *dial, uv_loop_t *loop,
                   const cp__endpoint *endpoint, uint64_t timeout_ms,
                   const cp__dial_events *events);

/* Close the stream, or give up, in any state. A name that the system is looking
 * up delays on_closed until the system gives up. */
void cp__dial_close(cp__dial *dial);

/* What is left of the timeout. */
uint64_t cp__dial_ms_left(const cp__dial *dial);

/* "HOST:PORT" or the path. Returns `out`. */
const char *cp__endpoint_name(const cp__endpoint *endpoint,
                              char out[CP__ENDPOINT_SIZE]);

#endif
