/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What comes out of the RESP reader must not depend on how the bytes were cut.
 * The first byte of the input chooses the limit, and whether messages go to
 * their own callback. */

#include "resp.h"

#include <assert.h>

#define MAX_INPUT 4096 /* byte by byte, hiredis looks at each line anew */

typedef struct run {
  cp__resp *resp;
  cp__buf log; /* all that came out, in a form that can be compared */
  bool failed;
} run;

/* Also touches every byte, for the sanitizer. */
static void log_bytes(cp__buf *log, cp_bytes bytes) {
  cp__buf_append(log, &bytes.len, sizeof bytes.len);
  cp__buf_append_bytes(log, bytes);
}

static void on_message(void *ctx, cp_bytes pattern, cp_bytes channel,
                       cp_bytes payload) {
  run *r = ctx;

  cp__buf_append_str(&r->log, "<");
  log_bytes(&r->log, pattern);
  log_bytes(&r->log, channel);
  log_bytes(&r->log, payload);
}

/* Returns the node behind this one and all its elements. */
static const cp__resp_node *check_node(const cp__resp_node *node,
                                       const cp__resp_node *end) {
  long long n = node->type == CP__RESP_ARRAY ? node->integer : 0;

  assert(node < end);
  assert(n >= 0);
  for (node++; n > 0; n--)
    node = check_node(node, end);
  return node;
}

static void log_reply(cp__buf *log, const cp__resp_reply *reply) {
  const cp__resp_node *end = reply->nodes + reply->n_nodes;
  size_t i;

  assert(check_node(reply->nodes, end) == end);
  for (i = 0; i < reply->n_nodes; i++) {
    const cp__resp_node *node = &reply->nodes[i];
    cp__buf_append(log, &node->type, sizeof node->type);
    cp__buf_append(log, &node->integer, sizeof node->integer);
    log_bytes(log, node->text);
  }
}

static void feed(run *r, const uint8_t *data, size_t len) {
  cp__resp_reply reply;
  int rc;

  if (r->failed)
    return;
  rc = cp__resp_feed(r->resp, data, len);
  assert(rc == 0);
  while ((rc = cp__resp_next(r->resp, &reply)) == 1)
    log_reply(&r->log, &reply);
  assert(rc == 0 || rc == CP_E_PROTOCOL || rc == CP_E_TOOBIG);
  r->failed = rc != 0;
  assert(r->failed == (cp__resp_error(r->resp)[0] != '\0'));
}

static void run_pieces(run *r, uint8_t choice, const uint8_t *data, size_t len,
                       size_t piece) {
  size_t limit = choice & 2 ? 64 : MAX_INPUT + 1;
  size_t i;

  r->failed = false;
  cp__buf_init(&r->log, &cp__default_allocator);
  r->resp = cp__resp_create(&cp__default_allocator, limit,
                            choice & 1 ? on_message : NULL, r);
  assert(r->resp != NULL);
  for (i = 0; i < len; i += piece)
    feed(r, data + i, len - i < piece ? len - i : piece);
  assert(!r->log.failed);
}

static void run_end(run *r) {
  cp__resp_destroy(r->resp);
  cp__buf_finish(&r->log);
}

static void assert_same(const run *a, const run *b) {
  size_t len = cp__buf_len(&a->log);

  assert(a->failed == b->failed);
  assert(len == cp__buf_len(&b->log));
  assert(len == 0 ||
         memcmp(cp__buf_begin(&a->log), cp__buf_begin(&b->log), len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static const size_t pieces[] = {1, 2, 7, 61};
  run whole, cut;
  uint8_t choice;
  size_t i;

  if (len < 1 || len > MAX_INPUT)
    return 0;
  choice = *data++;
  len--;
  run_pieces(&whole, choice, data, len, MAX_INPUT);
  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    run_pieces(&cut, choice, data, len, pieces[i]);
    assert_same(&whole, &cut);
    run_end(&cut);
  }
  run_end(&whole);
  return 0;
}
