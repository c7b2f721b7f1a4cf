/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_ECHO_NODE_H
#define CP_TEST_ECHO_NODE_H

/* Echo node: a server without a cluster, that lets everybody in as the user
 * named in the query, sends every message back, and keeps what its hooks hear
 * as text, a word each:
 *
 *   upgrade  http  open:USER  open!USER (unconfirmed)  message:BODY  writable
 *   close:CODE:REASON
 *   refused:ERR   (what an answer came to, if not 0)   closed
 *
 * Of a body above 32 bytes only its length: "#1000". */

#include "../unit/failing_alloc.h"
#include "run_until.h"
#include "ws_client.h"

#include <clusterpush/clusterpush.h>

typedef struct echo_node {
  test_loop loop;
  failing_alloc memory;
  cp_server_options options; /* the test's to change before start */
  cp_server *server;
  int port;
  bool closed;

  char events[65536];
  size_t len;
  cp_conn *conn; /* the last that opened, while it is open */
  bool silent;   /* no echo */
  bool hold;     /* requests stay unanswered, in `request` */
  cp_request *request;
  /* Called first in each hook, with its name. */
  void (*also)(struct echo_node *node, const char *hook, cp_conn *conn);
  void *data; /* the test's */
} echo_node;

void echo_node_init(echo_node *node);
/* Create, and listen. */
void echo_node_start(echo_node *node);
/* What a close callback of this node must be. */
void echo_node_on_closed(void *data);
/* Close the server if that was not done, and wait for it. */
void echo_node_close(echo_node *node);
/* ... and check that nothing is left: no handle, no memory. */
void echo_node_finish(echo_node *node);

bool echo_node_heard(const echo_node *node, const char *words);
void echo_node_forget(echo_node *node);
cp_stats echo_node_stats(const echo_node *node);

/* Connect as `user`, and wait for the 101 and on_open. */
void echo_node_welcome(echo_node *node, ws_client *client, const char *user);
/* Accept or refuse what was held. Returns as these do. */
int echo_node_accept_held(echo_node *node, const char *user);
/* Wait until the client is gone, and finish it. */
void echo_node_see_off(echo_node *node, ws_client *client);

#endif
