/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_ADOPTING_HOST_H
#define CP_TEST_ADOPTING_HOST_H

/* Adopting host: a server of somebody else's, with a listener and a client of
 * its own, that hands its sockets over to an echo node in the same loop. */

#include "echo_node.h"

#define HOST_N_HEADERS 6

typedef struct host {
  echo_node node; /* the test's to start */
  ws_client client;
  int listener;
  int port;

  /* As a stream that the host reads; see host_open(). */
  uv_tcp_t tcp;
  size_t n_read;
  bool closed;
} host;

/* Host, key and whatever an upgrade needs. */
extern const cp_header host_headers[HOST_N_HEADERS];

/* For cmocka: `*state` is a host. */
int host_setup(void **state);
int host_teardown(void **state);
/* What is left when the server was closed and the client is to go. */
void host_end(host *h);

/* A client connects to the host, which accepts. Returns the socket. */
int host_accept(host *h);
/* The host reads `n` bytes, when they are there. */
void host_read(host *h, int fd, void *out, size_t n);
/* The host answers a socket that was not taken, and closes it: its client reads
 * that. */
void host_answer_503(host *h, int fd);

/* `tcp` has the socket, and the host reads from it. */
void host_open(host *h, int fd);
void host_close_tcp(host *h);

/* Hand over; return what cp_server_adopt does. */
int host_adopt(host *h, int fd, cp_bytes received);
int host_adopt_tcp(host *h, cp_bytes received);
/* Options for a request that the host parsed, with all of host_headers. */
void host_parsed(cp_adopt_options *options, int fd, const char *target);

/* A request's head, and a frame with "hi" behind it. Returns the head's
 * length. */
size_t host_put_request(char *out, size_t size, size_t *total);
/* The client got the 101 and its "hi" back, and the hooks heard of it. */
void host_await_echo(host *h);
/* Did the client get the 101, and the hooks its message? */
bool host_was_heard(const host *h);
/* The client leaves, and nothing of it stays. */
void host_see_off(host *h);

#endif
