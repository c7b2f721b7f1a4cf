/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "tls_side.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "tls_files.h"

const tls_names tls_server_names = {"server.pem", "server.key", NULL};
const tls_names tls_client_names = {NULL, NULL, "ca.pem"};

static char *dir;

int tls_create_files(void **ctx) {
  (void)ctx;
  dir = tls_files_create();
  return 0;
}

int tls_remove_files(void **ctx) {
  (void)ctx;
  tls_files_remove(dir);
  return 0;
}

/* Contexts. ---------------------------------------------------------------- */

cp__tls_options tls_options_of(bool server, const tls_names *names) {
  cp__tls_options options;

  memset(&options, 0, sizeof options);
  options.server = server;
  options.cert_file = tls_file(dir, names->cert);
  options.key_file = tls_file(dir, names->key);
  options.ca_file = tls_file(dir, names->ca);
  return options;
}

cp__tls_context *tls_context_on(const cp_allocator *alloc, bool server,
                                const tls_names *names, int version) {
  cp__tls_options options = tls_options_of(server, names);
  cp__tls_context *context = NULL;
  char text[CP__TLS_TEXT_SIZE] = "";
  int rc = cp__tls_context_create(&context, &options, alloc, text);

  assert_string_equal(text, "");
  assert_int_equal(rc, 0);
  assert_int_equal(ERR_peek_error(), 0);
  assert_int_equal(SSL_CTX_set_max_proto_version(context->ssl_ctx, version), 1);
  return context;
}

cp__tls_context *tls_context_of(bool server, const tls_names *names,
                                int version) {
  return tls_context_on(&cp__default_allocator, server, names, version);
}

/* Sides. ------------------------------------------------------------------- */

void tls_side_start(tls_side *side, cp__tls_context *context,
                    const char *host) {
  memset(side, 0, sizeof *side);
  cp__buf_init(&side->out, context->alloc);
  cp__buf_init(&side->plain, &cp__default_allocator);
  side->read_size = 1000;
  assert_int_equal(cp__tls_create(&side->tls, context, host), 0);
}

void tls_side_end(tls_side *side) {
  cp__buf_finish(&side->out);
  cp__buf_finish(&side->plain);
  cp__tls_destroy(side->tls);
}

int tls_side_write(tls_side *side, const char *text) {
  cp_bytes part = cp_str(text);

  return cp__tls_write(side->tls, &part, 1, &side->out);
}

static void take_event(tls_side *side, uint8_t *plain) {
  size_t len;

  side->event =
      cp__tls_next(side->tls, plain, side->read_size, &len, &side->out);
  assert_true((len > 0) == (side->event == CP__TLS_DATA));
  cp__buf_append(&side->plain, plain, len);
  if (side->event == CP__TLS_READY && side->greeting != NULL)
    assert_int_equal(tls_side_write(side, side->greeting), 0);
}

void tls_side_pump(tls_side *side) {
  uint8_t *plain = malloc(side->read_size);

  assert_non_null(plain);
  do
    take_event(side, plain);
  while (side->event == CP__TLS_DATA || side->event == CP__TLS_READY);
  assert_int_equal(ERR_peek_error(), 0);
  free(plain);
}

void tls_side_feed(tls_side *side, const void *data, size_t len) {
  void *block = malloc(len > 0 ? len : 1);

  assert_non_null(block);
  if (data != NULL)
    memcpy(block, data, len);
  cp__tls_feed(side->tls, block, len);
  tls_side_pump(side);
  free(block);
}

void tls_assert_plain(tls_side *side, const char *text) {
  assert_int_equal(cp__buf_len(&side->plain), strlen(text));
  if (text[0] != '\0')
    assert_memory_equal(cp__buf_begin(&side->plain), text, strlen(text));
  cp__buf_reset(&side->plain, 0);
}

void tls_assert_failed(tls_side *side, const char *part) {
  char text[CP__TLS_TEXT_SIZE];

  assert_int_equal(side->event, CP__TLS_ERROR);
  assert_int_equal(cp__tls_error(side->tls), CP_E_PROTOCOL);
  assert_false(cp__tls_is_ready(side->tls));
  if (strstr(cp__tls_error_text(side->tls, text), part) == NULL)
    fail_msg("\"%s\" is not in \"%s\"", part, text);
}

/* Pairs. ------------------------------------------------------------------- */

void tls_pair_start(tls_pair *pair, cp__tls_context *client,
                    cp__tls_context *server) {
  tls_side_start(&pair->client, client, "localhost");
  tls_side_start(&pair->server, server, NULL);
}

void tls_pair_open(tls_pair *pair, int version) {
  cp__tls_context *client = tls_context_of(false, &tls_client_names, version);
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);

  tls_pair_start(pair, client, server);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
}

void tls_pair_end(tls_pair *pair) {
  tls_side_end(&pair->client);
  tls_side_end(&pair->server);
}

static void feed_pieces(tls_side *side, cp_bytes bytes, size_t piece) {
  const uint8_t *at = bytes.data;
  size_t left = bytes.len;

  for (; left > piece; at += piece, left -= piece)
    tls_side_feed(side, at, piece);
  tls_side_feed(side, at, left);
}

bool tls_deliver(tls_side *from, tls_side *to, size_t piece) {
  cp__buf wire = from->out;

  if (cp__buf_len(&wire) == 0)
    return false;
  cp__buf_init(&from->out, wire.alloc);
  feed_pieces(to, cp__buf_bytes(&wire), piece);
  cp__buf_finish(&wire);
  return true;
}

void tls_pair_run(tls_pair *pair, size_t piece) {
  bool moved;

  tls_side_pump(&pair->client);
  do {
    moved = tls_deliver(&pair->client, &pair->server, piece);
    moved |= tls_deliver(&pair->server, &pair->client, piece);
  } while (moved);
}

void tls_assert_ready(const tls_pair *pair) {
  assert_true(cp__tls_is_ready(pair->client.tls));
  assert_true(cp__tls_is_ready(pair->server.tls));
}

/* Matches. ----------------------------------------------------------------- */

void tls_match_start(tls_match *match, SSL_CTX *client,
                     cp__tls_context *server) {
  memset(match, 0, sizeof *match);
  match->client = SSL_new(client);
  match->to_client = BIO_new(BIO_s_mem());
  match->from_client = BIO_new(BIO_s_mem());
  assert_non_null(match->client);
  assert_non_null(match->to_client);
  assert_non_null(match->from_client);
  SSL_set_bio(match->client, match->to_client, match->from_client);
  SSL_set_connect_state(match->client);
  tls_side_start(&match->server, server, NULL);
}

void tls_match_end(tls_match *match) {
  SSL_free(match->client);
  tls_side_end(&match->server);
}

/* What is read is dropped. */
static void pump_client(tls_match *match) {
  char plain[1000];

  do {
    ERR_clear_error();
    match->result = SSL_read(match->client, plain, sizeof plain);
  } while (match->result > 0);
  ERR_clear_error();
}

static bool deliver_to_server(tls_match *match) {
  char *data;
  long len = BIO_get_mem_data(match->from_client, &data);

  if (len <= 0)
    return false;
  tls_side_feed(&match->server, data, (size_t)len);
  assert_int_equal(BIO_reset(match->from_client), 1);
  return true;
}

static bool deliver_to_client(tls_match *match) {
  cp__buf *out = &match->server.out;

  if (cp__buf_len(out) == 0)
    return false;
  BIO_write(match->to_client, cp__buf_begin(out), (int)cp__buf_len(out));
  cp__buf_reset(out, 0);
  pump_client(match);
  return true;
}

void tls_match_run(tls_match *match) {
  bool moved;

  pump_client(match);
  do {
    moved = deliver_to_server(match);
    moved |= deliver_to_client(match);
  } while (moved);
}
