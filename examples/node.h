/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef NODE_H
#define NODE_H

/* cp-node: what its files share. */

#include <clusterpush/clusterpush.h>
#include <stdbool.h>

#define NODE_MAX_ORIGINS 64

typedef struct node_options {
  const char *listen;
  const char *redis;    /* NULL: one node */
  const char *redis_ca; /* NULL: the system's */
  const char *sentinel_password;
  const char *name;
  const char *prefix;
  bool echo; /* else relay */
  bool receipts;
  bool compress;
  const char *tls_cert; /* NULL: ws */
  const char *tls_key;
  unsigned long max_message;
  unsigned long send_queue;
  unsigned long max_conns; /* of these, 0: no limit */
  unsigned long max_per_address;
  unsigned max_handshakes;
  unsigned max_messages;
  unsigned long max_bytes;
  cp_slow_policy slow;
  cp_log_level log_level;
  const char *origins[NODE_MAX_ORIGINS + 1];
  unsigned n_origins;
} node_options;

/* Read the command line. A wrong one ends the process with a message and 2,
 * --help with 0. */
void node_options_parse(node_options *options, int argc, char **argv);

/* The hook for plain GETs: the page, /healthz, /metrics. */
void node_on_http(cp_server *server, cp_request *request);

const char *node_state_name(cp_cluster_state state);
/* Write bytes as UTF-8 text with a NUL behind it, cut to what fits: what is no
 * UTF-8 becomes U+FFFD. With `json` as the inside of a JSON string. */
void node_print(char *out, size_t size, cp_bytes bytes, bool json);

/* examples/page.html, embedded by the build. */
extern const char node_page[];
extern const unsigned long node_page_len;

#endif
