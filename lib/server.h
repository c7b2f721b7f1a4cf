/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_SERVER_H
#define CP_SERVER_H

/* Server: the parts of one node, held together. */

#include "clusterpush/transport.h"
#include "counts.h"
#include "gaps.h"
#include "hello.h"
#include "log.h"
#include "mailbox.h"
#include "request.h"
#include "sender.h"
#include "turn.h"

#define CP__REASON_MAX 256

typedef enum cp__server_state {
  CP__SERVER_OPEN,
  CP__SERVER_CLOSING, /* until connections, transport, listeners are gone */
  CP__SERVER_ENDING,  /* until the last handles are */
  CP__SERVER_CLOSED
} cp__server_state;

struct cp_server {
  atomic_uint refs; /* the server itself until CLOSED, threads, requests */
  const cp_allocator *alloc;
  cp_allocator allocator; /* behind `alloc`, if it is the application's */
  cp_server_options options;
  cp__buf strings; /* behind the options' strings */
  cp__log log;
  cp__hash *hash; /* of handshakes */
  uv_loop_t *loop;
  cp__server_state state;
  uint64_t instance;
  cp_stats stats;

  cp__turn turn;
  cp__sweep sweep;
  cp__peers peers;
  cp__registry registry;
  cp__gaps gaps;
  cp__receipts receipts;
  cp__counts counts;
  cp__sender sender;
  cp__channels channels;
  cp__hello hello;
  cp_transport *transport; /* NULL: closed */
  cp_transport_host transport_host;
  cp__mailbox adoptions; /* struct cp__adoption.link: sockets on their way from
                            the host's threads */

  size_t n_joined;        /* accepted connections that have not left */
  cp__list listeners;     /* cp__listener.link, server_listen.c */
  cp__sweep_list stalled; /* listeners that could not accept */

  bool linked;
  bool synced;
  bool late;                        /* the transport's health */
  char link_reason[CP__REASON_MAX]; /* why it is late, or not linked */
  bool cluster_changed;             /* on_transport is due */
  cp_cluster_state cluster_state;
  char cluster_reason[CP__REASON_MAX];

  uv_timer_t grace;
  int n_handles;   /* of the last stage: turn, sweep, grace */
  bool has_sender; /* it was initialised */
  bool draining;   /* it closes, but something waits for the link */
  bool sender_closed;
  bool has_adopter; /* likewise */
  bool has_tls;     /* never changes once the server is created */
  bool adopter_closed;
  cp_server_close_cb close_cb;
};

/* Called from every completion while the server closes. */
void cp__server_maybe_end(cp_server *server);

/* server_listen.c */
void cp__server_init_listeners(cp_server *server);
void cp__server_close_listeners(cp_server *server);
/* Listen on the first of these addresses that this machine has. Returns 0; why
 * that one failed; or, if it has none of them, why the first did. */
int cp__server_listen_on(cp_server *server, const struct addrinfo *list);

/* server_accept.c */
void cp__server_on_request(void *ctx, cp_request *request);
void cp__server_on_ready(void *ctx, cp_conn *conn);
/* max_conns are here. */
bool cp__server_is_full(const cp_server *server);
/* Certificate and key for the connections to come. Returns 0, or an error that
 * was logged. */
int cp__server_load_tls(cp_server *server, const char *cert, const char *key);

/* server_adopt.c */

/* Returns 0 or a libuv code. */
int cp__server_start_adopter(cp_server *server);
/* Drop what waits, take nothing more; maybe_end follows. */
void cp__server_close_adopter(cp_server *server);
/* With the server's memory. */
void cp__server_finish_adopter(cp_server *server);

/* server_transport.c */

void cp__server_init_transport_host(cp_server *server);
/* The application's, or one that fits the options. Returns 0, CP_E_INVALID or
 * CP_E_NOMEM. */
int cp__server_create_transport(cp_server *server);
/* What cp__registry_init() wants to call. */
void cp__server_on_synced(void *ctx, bool synced);
/* Once a turn: call on_transport and on_gap, if they are due. */
void cp__server_tell_cluster(cp_server *server);
void cp__server_tell_gap(cp_server *server);

/* server_options.c: were they initialised? */
bool cp__server_options_have_size(const cp_server_options *options);
/* A checked copy of the caller's options, strings included.
 * Returns 0, CP_E_INVALID or CP_E_NOMEM; `*why` names the cause. */
int cp__server_take_options(cp_server *server, const cp_server_options *options,
                            const char **why);

#endif
