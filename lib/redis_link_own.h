/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REDIS_LINK_OWN_H
#define CP_REDIS_LINK_OWN_H

/* Redis link, as its own files see it: see the essays in redis_link.c and
 * redis_link_write.c. Everybody else includes redis_link.h. */

#include "patience.h"
#include "redis_link.h"
#include "reply_ring.h"

#include <uv.h>

#define CP__LINK_READ_SIZE   65536
#define CP__LINK_REASON_SIZE 400

typedef enum cp__link_state {
  CP__LINK_DIALING,
  CP__LINK_SECURING, /* the TLS handshake */
  CP__LINK_GREETING,
  CP__LINK_READY,
  CP__LINK_BROKEN,
  CP__LINK_CLOSING,
  CP__LINK_CLOSED,
  CP__N_LINK_STATES
} cp__link_state;

struct cp__redis_link {
  cp__redis_link_options options;
  cp__link_state state;
  cp__dial dial;
  uv_timer_t timer; /* of handshake and greeting, then of patience */
  int n_closing;    /* of these two */
  bool was_ready;   /* the ring holds the owner's commands */

  bool is_reading;
  bool was_swamped;    /* a read was full: it had waited for us */
  uint64_t swamped_ms; /* the last time */
  uv_write_t write;
  bool is_writing;
  cp__buf out;
  cp__buf writing;
  size_t mark;    /* length of `out` without the command that is being built */
  cp__tls *tls;   /* NULL: none */
  cp__buf sealed; /* ciphertext */
  size_t n_plain; /* within a flush: bytes of commands yet to be handed on */
  size_t n_overhead; /* of the bytes in `writing`: those that TLS added */

  uint64_t n_ended;    /* bytes of all ended commands */
  uint64_t n_handed;   /* of these, given to libuv or the system */
  uint64_t n_answered; /* up to the end of the last command that was */
  cp__reply_ring ring;
  cp__patience patience;
  cp__buf kept;       /* commands that were written and, but for some at its
                         front, are not answered; with options.keep */
  uint64_t kept_from; /* where in the stream of all commands it begins */

  cp__resp *resp;
  cp__redis_info info;
  char reason[CP__LINK_REASON_SIZE];
  char in[CP__LINK_READ_SIZE];
};

/* Neither broken nor closed, which any callback may change. */
static inline bool cp__redis_link_is_live(const cp__redis_link *link) {
  return link->state < CP__LINK_BROKEN;
}

/* ... and there is somebody to talk to. */
static inline bool cp__redis_link_is_connected(const cp__redis_link *link) {
  return cp__redis_link_is_live(link) && link->state != CP__LINK_DIALING;
}

static inline uv_stream_t *cp__redis_link_stream(cp__redis_link *link) {
  return &link->dial.io.stream;
}

static inline uv_buf_t cp__redis_link_content(const cp__buf *buf) {
  uv_buf_t content;

  content.base = (char *)cp__buf_begin(buf);
  content.len = cp__buf_len(buf);
  return content;
}

/* The end: tell the owner, who closes. */
void cp__redis_link_break(cp__redis_link *link, int err, const char *format,
                          ...) __attribute__((format(printf, 3, 4)));

#endif
