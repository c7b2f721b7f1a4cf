/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_OBSERVED_NODE_H
#define CP_TEST_OBSERVED_NODE_H

/* Observed node: a server whose hooks write down what they hear, one word each:
 *
 *   open:USER  open!USER (unconfirmed)  close:USER:CODE  USER>TEXT (a message)
 *   up  degraded  down  http:PATH  closed (the close callback)
 *
 * Everybody is let in as the user that the query names, unless the test answers
 * itself. Its transport is fake unless the test says otherwise. */

#include "../unit/failing_alloc.h"
#include "fake_transport.h"
#include "run_until.h"
#include "simple_client.h"

#include <clusterpush/clusterpush.h>

typedef struct observed_node {
  test_loop loop;
  failing_alloc memory;
  fake_transport fake;
  cp_server_options options; /* the test's to change before start */
  cp_server *server;
  int port;

  char events[65536];
  size_t len;
  cp_conn *conn; /* the last that opened and is still open */
  cp_conn_id id; /* of the last that opened */
  bool hold;     /* requests stay unanswered: */
  cp_request *held[64];
  size_t n_held;
  /* Run first in on_upgrade, on_open, on_message, on_close, on_transport,
   * on_http, with the hook's name. */
  void (*also)(struct observed_node *node, const char *hook, cp_conn *conn);
  void *data;
  char log_text[8192];
  bool closed;
} observed_node;

/* What became of a send. */
typedef struct observed_send {
  cp_send_options options; /* hand it to the send */
  int n_calls;
  cp_result result;
  bool in_call; /* set it during the send */
} observed_send;

void observed_node_init(observed_node *node);
/* Create, and listen. */
void observed_node_start(observed_node *node);
/* ... and link, and confirm everything. */
void observed_node_start_linked(observed_node *node);
/* Close if that was not done; nothing may be left. */
void observed_node_finish(observed_node *node);

/* For cmocka: `*state` is a fixture of `size` bytes that begins with its
 * observed node. */
int observed_setup(void **state, size_t size);
int observed_teardown(void **state);

cp_stats observed_stats(const observed_node *node);

/* What was heard since the last forget is exactly this. */
bool observed_node_heard(const observed_node *node, const char *words);
bool observed_node_heard_word(const observed_node *node, const char *word);
void observed_node_forget(observed_node *node);

/* One turn of the loop that waits for nothing. */
void observed_node_poll(observed_node *node);

/* run_until, after a turn that does what the test itself has caused: that would
 * wake no poll. */
#define node_await(node, condition)        \
  do {                                     \
    observed_node_poll(node);              \
    run_until(&(node)->loop, (condition)); \
  } while (0)

/* Let `user` in, and wait until its client knows. */
void observed_node_connect(observed_node *node, simple_client *client,
                           const char *user);

/* A send that will be observed. */
void observed_send_init(observed_send *send);
int observed_send_to_user(observed_node *node, observed_send *send,
                          const char *user, const char *text);
int observed_send_to_conn(observed_node *node, observed_send *send,
                          cp_conn_id id, const char *text);
int observed_broadcast(observed_node *node, observed_send *send,
                       const char *text);

#endif
