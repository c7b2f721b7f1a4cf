/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: look the name up, connect to its first address. An address
 * that refuses, or that keeps silent for its share of the time, is followed by
 * the next one, over a new socket. The last one's failure, or the end of the
 * time, is the failure of the whole. Closing waits for the handles, and for the
 * lookup: once it runs, the system doesn't let us cancel it. */
#include "dial.h"

#include <assert.h>
#include <stdio.h>
#include <sys/un.h>

#include "list.h"

#define KEEPALIVE_S 60
#define REASON_SIZE 400

enum { LOOKING_UP, CONNECTING, CONNECTED, FAILED, CLOSING, CLOSED, N_STATES };

#define BIT(state) (1u << (state))

static void move(cp__dial *dial, int next) {
  static const unsigned allowed[N_STATES] = {
      [LOOKING_UP] = BIT(CONNECTING) | BIT(FAILED) | BIT(CLOSING),
      [CONNECTING] = BIT(CONNECTED) | BIT(FAILED) | BIT(CLOSING),
      [CONNECTED] = BIT(CLOSING),
      [FAILED] = BIT(CLOSING),
      [CLOSING] = BIT(CLOSED),
  };

  assert(allowed[dial->state] & BIT(next));
  (void)allowed; /* without asserts */
  dial->state = next;
}

const char *cp__endpoint_name(const cp__endpoint *endpoint,
                              char out[CP__ENDPOINT_SIZE]) {
  if (endpoint->host == NULL)
    snprintf(out, CP__ENDPOINT_SIZE, "%s", endpoint->path);
  else
    snprintf(out, CP__ENDPOINT_SIZE, "%s:%d", endpoint->host, endpoint->port);
  return out;
}

uint64_t cp__dial_ms_left(const cp__dial *dial) {
  uint64_t now = uv_now(dial->loop);
  return dial->deadline > now ? dial->deadline - now : 0;
}

/* Endings. ---------------------------------------------------------------- */

static void fail(cp__dial *dial, int err, const char *doing) {
  char name[CP__ENDPOINT_SIZE];
  char reason[REASON_SIZE];

  snprintf(reason, sizeof reason, "can't %s %s: %s", doing,
           cp__endpoint_name(&dial->endpoint, name), cp_strerror(err));
  move(dial, FAILED);
  uv_timer_stop(&dial->timer);
  dial->events->on_done(dial, err, reason);
}

static void maybe_finish_close(cp__dial *dial) {
  if (dial->state != CLOSING || dial->n_handles > 0 || dial->is_looking_up)
    return;
  move(dial, CLOSED);
  uv_freeaddrinfo(dial->addresses);
  dial->events->on_closed(dial);
}

static void handle_closed(cp__dial *dial) {
  dial->n_handles--;
  maybe_finish_close(dial);
}

static void on_io_closed(uv_handle_t *handle) {
  handle_closed(cp__container_of(handle, cp__dial, io.handle));
}

static void on_timer_closed(uv_handle_t *handle) {
  handle_closed(handle->data);
}

static void close_io(cp__dial *dial, uv_close_cb cb) {
  if (!dial->io_open)
    return;
  dial->io_open = false;
  uv_close(&dial->io.handle, cb);
}

void cp__dial_close(cp__dial *dial) {
  move(dial, CLOSING);
  if (dial->is_looking_up)
    uv_cancel((uv_req_t *)&dial->lookup);
  close_io(dial, on_io_closed);
  uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
}

/* Connecting. ------------------------------------------------------------- */

static void on_address_failed(cp__dial *dial, int err);

static bool has_next(const cp__dial *dial) {
  return dial->address != NULL && dial->address->ai_next != NULL;
}

static void on_connected(uv_connect_t *req, int status) {
  cp__dial *dial = req->data;

  if (dial->state != CONNECTING || status == UV_ECANCELED)
    return; /* whoever closed the handle goes on */
  if (status < 0) {
    on_address_failed(dial, status);
    return;
  }
  if (dial->address != NULL) {
    uv_tcp_nodelay(&dial->io.tcp, 1);
    uv_tcp_keepalive(&dial->io.tcp, 1, KEEPALIVE_S);
  }
  move(dial, CONNECTED);
  uv_timer_stop(&dial->timer);
  dial->events->on_done(dial, 0, "");
}

static void io_opened(cp__dial *dial) {
  dial->io_open = true;
  dial->n_handles++;
}

static void on_timer(uv_timer_t *timer) {
  cp__dial *dial = timer->data;

  if (dial->state == CONNECTING && has_next(dial))
    on_address_failed(dial, CP_E_TIMEOUT);
  else
    fail(dial, CP_E_TIMEOUT,
         dial->state == CONNECTING ? "connect to" : "look up");
}

/* An address that keeps silent may not use up the time of the others. */
static uint64_t share_of_time(const cp__dial *dial) {
  const struct addrinfo *a;
  uint64_t n = 1;

  for (a = dial->address->ai_next; a != NULL; a = a->ai_next)
    n++;
  return cp__dial_ms_left(dial) / n;
}

static void connect_tcp(cp__dial *dial) {
  int rc;

  uv_timer_start(&dial->timer, on_timer, share_of_time(dial), 0);
  uv_tcp_init(dial->loop, &dial->io.tcp);
  io_opened(dial);
  rc = uv_tcp_connect(&dial->connect, &dial->io.tcp, dial->address->ai_addr,
                      on_connected);
  if (rc != 0)
    on_address_failed(dial, rc);
}

static void connect_unix(cp__dial *dial) {
  uv_pipe_init(dial->loop, &dial->io.pipe, 0);
  io_opened(dial);
  uv_pipe_connect(&dial->connect, &dial->io.pipe, dial->endpoint.path,
                  on_connected);
}

/* A socket whose connect failed can't be used for another one. */
static void on_failed_closed(uv_handle_t *handle) {
  cp__dial *dial = cp__container_of(handle, cp__dial, io.handle);

  handle_closed(dial);
  if (dial->state != CONNECTING)
    return;
  dial->address = dial->address->ai_next;
  connect_tcp(dial);
}

static void on_address_failed(cp__dial *dial, int err) {
  if (has_next(dial))
    close_io(dial, on_failed_closed);
  else
    fail(dial, err, "connect to");
}

/* Looking up. ------------------------------------------------------------- */

static void on_looked_up(uv_getaddrinfo_t *req, int status,
                         struct addrinfo *addresses) {
  cp__dial *dial = req->data;

  dial->is_looking_up = false;
  dial->addresses = addresses;
  if (dial->state != LOOKING_UP) {
    maybe_finish_close(dial);
    return;
  }
  if (status < 0) {
    fail(dial, status, "look up");
    return;
  }
  dial->address = addresses;
  move(dial, CONNECTING);
  connect_tcp(dial);
}

static int look_up(cp__dial *dial) {
  struct addrinfo hints;
  char port[16];
  int rc;

  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  snprintf(port, sizeof port, "%d", dial->endpoint.port);
  rc = uv_getaddrinfo(dial->loop, &dial->lookup, on_looked_up,
                      dial->endpoint.host, port, &hints);
  dial->is_looking_up = rc == 0;
  return rc;
}

int cp__dial_start(cp__dial *dial, uv_loop_t *loop,
                   const cp__endpoint *endpoint, uint64_t timeout_ms,
                   const cp__dial_events *events) {
  int rc = 0;

  assert(endpoint->host != NULL ||
         strlen(endpoint->path) < sizeof((struct sockaddr_un *)0)->sun_path);
  memset(dial, 0, sizeof *dial);
  dial->events = events;
  dial->loop = loop;
  dial->endpoint = *endpoint;
  dial->connect.data = dial->lookup.data = dial->timer.data = dial;
  dial->state = LOOKING_UP;
  /* What can fail comes first: a handle could not be freed at once. */
  if (endpoint->host != NULL)
    rc = look_up(dial);
  if (rc != 0)
    return rc;
  uv_update_time(loop); /* it may not have run for long */
  dial->deadline = uv_now(loop) + timeout_ms;
  uv_timer_init(loop, &dial->timer);
  dial->n_handles++;
  uv_timer_start(&dial->timer, on_timer, timeout_ms, 0);
  if (endpoint->host == NULL) {
    move(dial, CONNECTING);
    connect_unix(dial);
  }
  return 0;
}
