/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_TLS_SIDE_H
#define CP_TEST_TLS_SIDE_H

/* TLS side: one end of a connection in memory. Two of ours make a pair; one of
 * ours and one of OpenSSL's alone make a match, for what our client can't be
 * made to do. What passes between the two is handed on in pieces, each in a
 * block of exactly its length, so that a sanitizer sees what is read behind the
 * end. After every step OpenSSL's error queue must be empty. */

#include "tls.h"

#include <openssl/ssl.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof *(array))
#define TLS_ALL          SIZE_MAX /* in one piece */

/* The files of tls_files.h: set up and torn down with a group of tests. */
int tls_create_files(void **ctx);
int tls_remove_files(void **ctx);

/* Names of such files; NULL for none. */
typedef struct tls_names {
  const char *cert;
  const char *key;
  const char *ca;
} tls_names;

extern const tls_names tls_server_names; /* server */
extern const tls_names tls_client_names; /* none of its own; trusts ca */

/* Borrowed names: see tls_file. */
cp__tls_options tls_options_of(bool server, const tls_names *names);
/* It must succeed. `version` 0: any; else no later one. */
cp__tls_context *tls_context_on(const cp_allocator *alloc, bool server,
                                const tls_names *names, int version);
cp__tls_context *tls_context_of(bool server, const tls_names *names,
                                int version);

/* Ours. */
typedef struct tls_side {
  cp__tls *tls;
  cp__buf out;   /* for the other side */
  cp__buf plain; /* what came */
  size_t read_size;
  cp__tls_event event;  /* the last one */
  const char *greeting; /* written in the moment that it is ready */
} tls_side;

/* `out` is the context's allocator's. */
void tls_side_start(tls_side *side, cp__tls_context *context, const char *host);
void tls_side_end(tls_side *side);
int tls_side_write(tls_side *side, const char *text);
/* Take events until there are no more. */
void tls_side_pump(tls_side *side);
void tls_side_feed(tls_side *side, const void *data, size_t len);

/* `text` must be all that came since the last time. */
void tls_assert_plain(tls_side *side, const char *text);
/* It ended in an error of the peer's whose text has this in it. */
void tls_assert_failed(tls_side *side, const char *part);

typedef struct tls_pair {
  tls_side client;
  tls_side server;
} tls_pair;

/* With the contexts given, which stay the caller's; host "localhost". */
void tls_pair_start(tls_pair *pair, cp__tls_context *client,
                    cp__tls_context *server);
/* With contexts of its own, as usual. */
void tls_pair_open(tls_pair *pair, int version);
void tls_pair_end(tls_pair *pair);
/* Hand on what `from` has; false if that is nothing. */
bool tls_deliver(tls_side *from, tls_side *to, size_t piece);
/* Until neither has anything to say. */
void tls_pair_run(tls_pair *pair, size_t piece);
void tls_assert_ready(const tls_pair *pair);

/* OpenSSL's client and our server. */
typedef struct tls_match {
  SSL *client;
  BIO *to_client;
  BIO *from_client;
  int result; /* of the client's last call */
  tls_side server;
} tls_match;

/* The client verifies nothing, unless told otherwise. */
void tls_match_start(tls_match *match, SSL_CTX *client,
                     cp__tls_context *server);
void tls_match_end(tls_match *match);
void tls_match_run(tls_match *match);

#endif
