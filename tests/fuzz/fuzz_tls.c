/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The first byte of the input chooses:
 *
 * - A stranger: the rest goes to a server, or to a client that has said hello.
 *   What comes of it must not depend on how the bytes were cut, and no data may
 *   come out.
 * - A wire: the rest is a script for two of ours with an evil wire between
 *   them, that cuts, delays, flips and inserts. What arrives must be the
 *   beginning of what was written, whatever the wire did, and all of it if the
 *   wire did no harm; only a close that was meant may look like one. */

#include "tls.h"

#include <assert.h>
#include <stdlib.h>

#include "../unit/tls_files.h"

#define MAX_INPUT 4096

static cp__tls_context *server_context;
static cp__tls_context *client_context;

static cp__tls_context *create_context(const char *dir, bool server) {
  cp__tls_options options;
  cp__tls_context *context;
  char text[CP__TLS_TEXT_SIZE];
  int rc;

  memset(&options, 0, sizeof options);
  options.server = server;
  options.cert_file = server ? tls_file(dir, "server.pem") : NULL;
  options.key_file = server ? tls_file(dir, "server.key") : NULL;
  options.ca_file = server ? NULL : tls_file(dir, "ca.pem");
  rc = cp__tls_context_create(&context, &options, &cp__default_allocator, text);
  assert(rc == 0);
  (void)rc;
  return context;
}

static cp__tls *create(bool server) {
  cp__tls *tls = NULL;

  if (server)
    cp__tls_create(&tls, server_context, NULL);
  else
    cp__tls_create(&tls, client_context, "localhost");
  assert(tls != NULL);
  return tls;
}

/* A stranger. -------------------------------------------------------------- */

typedef struct outcome {
  cp__tls_event event;
  char text[CP__TLS_TEXT_SIZE];
} outcome;

static cp__tls_event feed(cp__tls *tls, const uint8_t *data, size_t len) {
  uint8_t plain[64];
  cp__tls_event event;
  cp__buf out;
  size_t n;

  cp__buf_init(&out, &cp__default_allocator);
  cp__tls_feed(tls, data, len);
  event = cp__tls_next(tls, plain, sizeof plain, &n, &out);
  assert(event == CP__TLS_NOTHING || event == CP__TLS_ERROR);
  cp__buf_finish(&out);
  return event;
}

static void meet(outcome *result, bool server, const uint8_t *data, size_t len,
                 size_t piece) {
  cp__tls *tls = create(server);
  size_t i;

  result->event = feed(tls, NULL, 0);
  for (i = 0; i < len; i += piece)
    result->event = feed(tls, data + i, len - i < piece ? len - i : piece);
  cp__tls_eof(tls);
  assert(cp__tls_error(tls) == CP_E_PROTOCOL);
  cp__tls_error_text(tls, result->text);
  assert(result->text[0] != '\0');
  cp__tls_destroy(tls);
}

static void check_stranger(bool server, const uint8_t *data, size_t len) {
  static const size_t pieces[] = {1, 7, 61};
  outcome whole, cut;
  size_t i;

  meet(&whole, server, data, len, MAX_INPUT);
  for (i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    meet(&cut, server, data, len, pieces[i]);
    assert(cut.event == whole.event);
    assert(strcmp(cut.text, whole.text) == 0);
  }
}

/* A wire. ------------------------------------------------------------------ */

typedef struct side {
  cp__tls *tls;
  cp__buf out;
  cp__tls_event event;
  size_t n_written; /* bytes; the n-th is the low byte of n */
  size_t n_read;
  bool closed;
} side;

typedef struct wire {
  side sides[2]; /* client, server */
  bool harmful;  /* it changed something */
} wire;

static void pump(side *s) {
  uint8_t plain[500];
  size_t len, i;

  do {
    s->event = cp__tls_next(s->tls, plain, sizeof plain, &len, &s->out);
    for (i = 0; i < len; i++)
      assert(plain[i] == (uint8_t)s->n_read++);
  } while (s->event == CP__TLS_READY || s->event == CP__TLS_DATA);
}

static void write_some(side *s, size_t len) {
  uint8_t data[256 * 64];
  cp_bytes parts[3];
  int rc;
  size_t i;

  len *= 64;
  for (i = 0; i < len; i++)
    data[i] = (uint8_t)(s->n_written + i);
  parts[0] = cp_bytes_of(data, len / 3);
  parts[1] = cp_bytes_of(data + len / 3, 0);
  parts[2] = cp_bytes_of(data + len / 3, len - len / 3);
  rc = cp__tls_write(s->tls, parts, 3, &s->out);
  assert(rc == 0 || rc == CP_E_STATE || rc == cp__tls_error(s->tls));
  assert((rc == 0) == (cp__tls_is_ready(s->tls) && !s->closed));
  if (rc == 0)
    s->n_written += len;
}

static void close_side(side *s) {
  if (cp__tls_is_ready(s->tls))
    s->closed = true;
  cp__tls_close(s->tls, &s->out);
}

static void deliver(wire *w, side *from, side *to, size_t len) {
  cp__buf out = from->out;
  size_t n = cp__buf_len(&out) < len ? cp__buf_len(&out) : len;

  cp__buf_init(&from->out, &cp__default_allocator);
  cp__tls_feed(to->tls, cp__buf_begin(&out), n);
  pump(to);
  cp__buf_consume(&out, n);
  cp__buf_append_bytes(&from->out, cp__buf_bytes(&out));
  cp__buf_finish(&out);
  assert(to->n_read <= from->n_written);
  if (to->event == CP__TLS_END)
    assert(from->closed && to->n_read == from->n_written);
  if (to->event == CP__TLS_ERROR)
    assert(w->harmful && cp__tls_error(to->tls) == CP_E_PROTOCOL);
}

static void flip(wire *w, side *from, size_t at) {
  if (at >= cp__buf_len(&from->out))
    return;
  cp__buf_begin(&from->out)[at] ^= (uint8_t)(1 << at % 8);
  w->harmful = true;
}

static void insert(wire *w, side *from, const uint8_t *data, size_t len) {
  cp__buf_append(&from->out, data, len);
  w->harmful |= len > 0;
}

static void deliver_all(wire *w) {
  size_t i;

  pump(&w->sides[0]);
  do
    for (i = 0; i < 2; i++)
      deliver(w, &w->sides[i], &w->sides[1 - i], SIZE_MAX);
  while (cp__buf_len(&w->sides[0].out) > 0);
}

static size_t run_step(wire *w, const uint8_t *script, size_t len) {
  side *from = &w->sides[script[0] & 1];
  side *to = &w->sides[(script[0] & 1) ^ 1];
  size_t number = script[1];

  switch (script[0] >> 1 & 7) {
  case 0:
    write_some(from, number);
    break;
  case 1:
    close_side(from);
    break;
  case 2:
    flip(w, from, number);
    break;
  case 3:
    number = number < len - 2 ? number : len - 2;
    insert(w, from, script + 2, number);
    return 2 + number;
  case 4:
    deliver(w, from, to, SIZE_MAX);
    break;
  case 5:
    deliver_all(w);
    break;
  default:
    deliver(w, from, to, number);
  }
  return 2;
}

static void check_end(const side *from, const side *to) {
  assert(cp__tls_error(to->tls) == 0);
  assert(to->n_read == from->n_written);
  assert((to->event == CP__TLS_END) == from->closed);
}

static void check_wire(bool open, const uint8_t *script, size_t len) {
  wire w;
  size_t i;

  memset(&w, 0, sizeof w);
  for (i = 0; i < 2; i++) {
    w.sides[i].tls = create(i == 1);
    cp__buf_init(&w.sides[i].out, &cp__default_allocator);
  }
  if (open)
    deliver_all(&w);
  while (len >= 2) {
    size_t n = run_step(&w, script, len);
    script += n;
    len -= n;
  }
  deliver_all(&w);
  for (i = 0; i < 2 && !w.harmful; i++)
    check_end(&w.sides[i], &w.sides[1 - i]);
  for (i = 0; i < 2; i++) {
    cp__tls_destroy(w.sides[i].tls);
    cp__buf_finish(&w.sides[i].out);
  }
}

/* ------------------------------------------------------------------------- */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  char *dir = tls_files_create();

  (void)argc;
  (void)argv;
  server_context = create_context(dir, true);
  client_context = create_context(dir, false);
  tls_files_remove(dir);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len < 1 || len > MAX_INPUT)
    return 0;
  if (data[0] & 2)
    check_wire(data[0] & 1, data + 1, len - 1);
  else
    check_stranger(data[0] & 1, data + 1, len - 1);
  return 0;
}
