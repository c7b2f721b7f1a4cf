/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TLS_H
#define CP_TLS_H

/* TLS: ciphertext in, plaintext out, and the other way round; versions 1.2 and
 * 1.3. No I/O but the reading of the files that a context is made of, and no
 * clock but OpenSSL's own look at the date when it judges a certificate. tls.c
 * and tls_context.c are the only files that know libssl; a build without it has
 * tls_none.c instead, and no context can be created.
 *
 * One pump serves both sides, for whatever came from the network:
 *
 *   cp__tls_feed(tls, data, len);
 *   do {
 *     event = cp__tls_next(tls, plain, sizeof plain, &n, &out);
 *     ...
 *   } while (event == CP__TLS_READY || event == CP__TLS_DATA);
 *   send what is in `out`, whatever the event was;
 *
 * A client runs it once with nothing fed: that begins the handshake. `out` may
 * be one buf for many connections: nothing in it is looked at again. What a
 * peer can put into it by way of next is one handshake and one alert.
 *
 * Memory. The input is read where it lies and the output is written to the
 * caller's buf, so there are no BIO buffers, and OpenSSL's record buffers go
 * after every call unless a record is unfinished. What one connection takes, as
 * measured with OpenSSL 3.0 (of each number 7.6 KB is one struct of its own):
 *
 *   at rest, on a server         13.9 KB (TLS 1.3), 12.9 KB (TLS 1.2)
 *   at rest, on a client         18 KB, with the server's certificates
 *   a record is unfinished       17 KB more
 *   nothing was fed yet          9 KB
 *   its handshake is under way   44 to 73 KB; 130 KB if it sends rubbish up to
 *                                CP__TLS_MAX_HANDSHAKE
 *
 * A KeyUpdate or a session ticket that comes leaves 17 KB behind, once, which
 * go with the next write.
 *
 * OpenSSL's error queue of the calling thread is emptied by every function here
 * that can fail. */

#include "buf.h"

/* Bytes a peer may send before its handshake is done, but for the last feed. */
#define CP__TLS_MAX_HANDSHAKE 65536
#define CP__TLS_TEXT_SIZE     512

/* Context: certificates and rules, shared by all connections of one server, or
 * to one Redis. A reload creates another; the connections of the old one keep
 * it alive. Not thread-safe, as blobs aren't. */
typedef struct cp__tls_context cp__tls_context;

/* All strings are borrowed until the call returns; files are in PEM. */
typedef struct cp__tls_options {
  bool server;
  const char *cert_file;    /* own certificate, those between it and the CA's
                               behind it; a client may have none: NULL */
  const char *key_file;     /* its key, not encrypted; NULL: in cert_file */
  const char *ca_file;      /* whom to trust. NULL on a client: the system's
                               store; on a server: nobody is asked. With it a
                               server lets in only who has a certificate */
  const char *ciphers;      /* of TLS 1.2, in OpenSSL's form. NULL: ECDHE with
                               AES-GCM or ChaCha20 */
  const char *ciphersuites; /* of TLS 1.3; NULL: OpenSSL's default */
  const char *groups;       /* for the key exchange; NULL likewise */
} cp__tls_options;

/* Read the files, which takes the time it takes. Renegotiation and compression
 * are off; a server answers ALPN with http/1.1, or refuses an offer without it.
 * Returns 0, or with the reason for people in `text`: CP_E_INVALID (a file or
 * setting is of no use, or key and certificate don't belong together),
 * CP_E_NOMEM, CP_E_UNSUPPORTED (this build has no TLS). */
int cp__tls_context_create(cp__tls_context **context,
                           const cp__tls_options *options,
                           const cp_allocator *alloc,
                           char text[CP__TLS_TEXT_SIZE]);
cp__tls_context *cp__tls_context_ref(cp__tls_context *context);
/* NULL is accepted. */
void cp__tls_context_unref(cp__tls_context *context);

/* One connection. */
typedef struct cp__tls cp__tls;

typedef enum cp__tls_event {
  CP__TLS_NOTHING, /* all bytes are used up */
  CP__TLS_READY,   /* the handshake is done: once; from now on write */
  CP__TLS_DATA,    /* `*len` > 0 bytes of plaintext */
  CP__TLS_END,     /* close_notify: the peer sends nothing more. After READY */
  CP__TLS_ERROR    /* see cp__tls_error; nothing can follow */
} cp__tls_event;

/* The context is shared. `host` is whom a client means to talk to: a name (sent
 * as SNI; what the certificate must be for) or an address (must be among the
 * certificate's); NULL or "": anybody with a certificate of the CA's. A server
 * passes NULL. Returns 0, CP_E_NOMEM or CP_E_INVALID (host is too long). */
int cp__tls_create(cp__tls **tls, cp__tls_context *context, const char *host);
/* Says nothing to the peer. NULL is accepted. */
void cp__tls_destroy(cp__tls *tls);

/* Hand over the next bytes; they must live until cp__tls_next said NOTHING, END
 * or ERROR, and there is no other feed before. */
void cp__tls_feed(cp__tls *tls, const void *data, size_t len);

/* The next event in them. Up to `size` > 0 bytes of plaintext are written to
 * `data`: never more in all than came in as ciphertext. What is to be sent to
 * the peer (the handshake, an alert that says why it ends) is appended to
 * `out`. END and ERROR are said again at every further call. */
cp__tls_event cp__tls_next(cp__tls *tls, void *data, size_t size, size_t *len,
                           cp__buf *out);

/* The connection under it ended, all that came was fed and nothing is left.
 * Returns END if the peer had said so, else ERROR: somebody cut it off. */
cp__tls_event cp__tls_eof(cp__tls *tls);

/* Append the parts, encrypted, in as few records as possible, to `out`. Returns
 * 0, CP_E_STATE (before READY, or after close), or the error that ended it,
 * which it stays with: CP_E_NOMEM above all. */
int cp__tls_write(cp__tls *tls, const cp_bytes *parts, size_t n, cp__buf *out);

/* Append close_notify, unless it was said already or the handshake is not done.
 * Nothing can be written afterwards, but what the peer still sends can be read.
 * Returns 0 or the error that ended it. */
int cp__tls_close(cp__tls *tls, cp__buf *out);

/* READY was said, and no ERROR since. */
bool cp__tls_is_ready(const cp__tls *tls);

/* 0; CP_E_NOMEM; or CP_E_PROTOCOL: the peer sent what is no TLS, an alert, a
 * certificate that is not good enough, or ended without close_notify. */
int cp__tls_error(const cp__tls *tls);
/* The same for people, most of it in OpenSSL's words. Returns `text`. */
const char *cp__tls_error_text(const cp__tls *tls,
                               char text[CP__TLS_TEXT_SIZE]);
/* "TLSv1.3". Static. */
const char *cp__tls_version(const cp__tls *tls);

/* Within tls*.c. --------------------------------------------------------- */

struct cp__tls_context {
  const cp_allocator *alloc;
  size_t refs;
  bool server;
  struct ssl_ctx_st *ssl_ctx;
  struct bio_method_st *bio_method; /* of its connections' BIOs */
};

/* How the BIO of a connection reads and writes. NULL: no memory. */
struct bio_method_st *cp__tls_bio_method(void);
/* What an OpenSSL error code stands for. */
void cp__tls_reason(unsigned long code, char *text, size_t size);
/* CP_E_NOMEM if the code says so, else `otherwise`. */
int cp__tls_error_of(unsigned long code, int otherwise);

#endif
