/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* OpenSSL reads and writes through a BIO of our own: it takes its input from
 * what was fed, where it lies, and appends its output to the buf of the call
 * that is running. So OpenSSL can want only one thing, more input, and a write
 * is never half done.
 *
 * An error is for ever: the first one is kept, as OpenSSL's code, and OpenSSL
 * is not called again. */

#include "tls.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define RECORD_MAX 16384 /* plaintext in one record */
#define HOST_MAX   255

struct cp__tls {
  cp__tls_context *context;
  SSL *ssl;
  const uint8_t *in; /* fed and not yet taken by OpenSSL */
  size_t in_len;
  size_t n_fed;        /* before the handshake is done */
  cp__buf *out;        /* of the call that is running */
  unsigned long cause; /* OpenSSL's code for `error`, 0 if it has none */
  int error;           /* CP_E_; the end of it */
  bool ready;
  bool ended;        /* the peer's close_notify came */
  bool closed;       /* ours was sent */
  bool renegotiated; /* or rather tried to */
};

/* BIO. -------------------------------------------------------------------- */

static int take_fed(BIO *bio, char *data, int len) {
  cp__tls *tls = BIO_get_data(bio);
  size_t n = (size_t)len < tls->in_len ? (size_t)len : tls->in_len;

  BIO_clear_retry_flags(bio);
  if (n == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  memcpy(data, tls->in, n);
  tls->in += n;
  tls->in_len -= n;
  return (int)n;
}

static int append_out(BIO *bio, const char *data, int len) {
  cp__tls *tls = BIO_get_data(bio);

  BIO_clear_retry_flags(bio);
  cp__buf_append(tls->out, data, (size_t)len);
  return tls->out->failed ? -1 : len;
}

static long control(BIO *bio, int command, long number, void *ptr) {
  (void)bio;
  (void)number;
  (void)ptr;
  return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *cp__tls_bio_method(void) {
  BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "clusterpush");

  if (method == NULL)
    return NULL;
  BIO_meth_set_read(method, take_fed);
  BIO_meth_set_write(method, append_out);
  BIO_meth_set_ctrl(method, control);
  return method;
}

/* Errors. ------------------------------------------------------------------ */

void cp__tls_reason(unsigned long code, char *text, size_t size) {
  const char *reason = ERR_reason_error_string(code);

  if (reason != NULL)
    snprintf(text, size, "%s", reason);
  else if (!ERR_SYSTEM_ERROR(code) ||
           strerror_r(ERR_GET_REASON(code), text, size) != 0)
    snprintf(text, size, "OpenSSL error %lX", code);
}

int cp__tls_error_of(unsigned long code, int otherwise) {
  return ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? CP_E_NOMEM : otherwise;
}

static int fail(cp__tls *tls, int error, unsigned long cause) {
  tls->error = error;
  tls->cause = cause;
  tls->in_len = 0;
  return error;
}

static int fail_by_reason(cp__tls *tls, int reason) {
  return fail(tls, CP_E_PROTOCOL, ERR_PACK(ERR_LIB_SSL, 0, reason));
}

static bool is_of_libssl(unsigned long code) {
  return ERR_GET_LIB(code) == ERR_LIB_SSL;
}

/* The first error in OpenSSL's queue is the cause of the others, but the first
 * of libssl's says more than what a cipher complains about. */
static int fail_by_queue(cp__tls *tls) {
  int error = tls->out->failed ? CP_E_NOMEM : CP_E_PROTOCOL;
  unsigned long cause = 0;
  unsigned long code;

  while ((code = ERR_get_error()) != 0) {
    error = cp__tls_error_of(code, error);
    if (cause == 0 || (is_of_libssl(code) && !is_of_libssl(cause)))
      cause = code;
  }
  return fail(tls, error, cause);
}

/* Before every call of OpenSSL's: what somebody else left in the queue would be
 * taken for ours. */
static void begin(cp__tls *tls, cp__buf *out) {
  tls->out = out;
  ERR_clear_error();
}

/* Create. ------------------------------------------------------------------ */

/* Ends the connection of who asks for another handshake: being told no, it
 * could ask for ever. */
static void on_info(const SSL *ssl, int where, int value) {
  cp__tls *tls = BIO_get_data(SSL_get_rbio(ssl));

  if (where == SSL_CB_WRITE_ALERT &&
      value == (SSL3_AL_WARNING << 8 | SSL_AD_NO_RENEGOTIATION))
    tls->renegotiated = true;
}

/* A name's last dot belongs to the DNS: no certificate has it. */
static int expect_host(SSL *ssl, const char *host) {
  size_t len = host != NULL ? strlen(host) : 0;
  char name[HOST_MAX + 1];

  if (len > HOST_MAX)
    return CP_E_INVALID;
  if (len == 0 || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1)
    return 0;
  memcpy(name, host, len);
  if (len > 1 && host[len - 1] == '.')
    len--;
  name[len] = '\0';
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (SSL_set1_host(ssl, name) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1)
    return CP_E_NOMEM;
  return 0;
}

/* Returns 0 or CP_E_NOMEM. */
static int open_ssl(cp__tls *tls, const cp__tls_context *context) {
  BIO *bio = BIO_new(context->bio_method);

  tls->ssl = SSL_new(context->ssl_ctx);
  if (bio == NULL || tls->ssl == NULL) {
    BIO_free(bio);
    return CP_E_NOMEM;
  }
  BIO_set_data(bio, tls);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls->ssl, bio, bio);
  SSL_set_info_callback(tls->ssl, on_info);
  if (context->server)
    SSL_set_accept_state(tls->ssl);
  else
    SSL_set_connect_state(tls->ssl);
  return 0;
}

int cp__tls_create(cp__tls **out, cp__tls_context *context, const char *host) {
  cp__tls *tls = cp__calloc(context->alloc, sizeof *tls);
  int rc;

  if (tls == NULL)
    return CP_E_NOMEM;
  tls->context = cp__tls_context_ref(context);
  rc = open_ssl(tls, context);
  if (rc == 0)
    rc = expect_host(tls->ssl, host);
  ERR_clear_error();
  if (rc != 0) {
    cp__tls_destroy(tls);
    return rc;
  }
  *out = tls;
  return 0;
}

void cp__tls_destroy(cp__tls *tls) {
  cp__tls_context *context;

  if (tls == NULL)
    return;
  context = tls->context;
  SSL_free(tls->ssl);
  cp__free(context->alloc, tls);
  cp__tls_context_unref(context);
}

/* Receive. ------------------------------------------------------------------
 */

void cp__tls_feed(cp__tls *tls, const void *data, size_t len) {
  assert(tls->in_len == 0);
  if (tls->error != 0 || tls->ended)
    return;
  if (!tls->ready && tls->n_fed > CP__TLS_MAX_HANDSHAKE) {
    fail_by_reason(tls, SSL_R_EXCESSIVE_MESSAGE_SIZE);
    return;
  }
  tls->in = data;
  tls->in_len = len;
  if (!tls->ready)
    tls->n_fed += len;
}

/* Before the handshake is done a close_notify proves nothing: anybody could
 * have put it there. */
static cp__tls_event end(cp__tls *tls) {
  if (!tls->ready) {
    fail_by_reason(tls, SSL_R_UNEXPECTED_EOF_WHILE_READING);
    return CP__TLS_ERROR;
  }
  tls->ended = true;
  tls->in_len = 0;
  return CP__TLS_END;
}

/* A call of OpenSSL's did not succeed. It can't have wanted to write. */
static cp__tls_event judge(cp__tls *tls, int rc) {
  switch (SSL_get_error(tls->ssl, rc)) {
  case SSL_ERROR_WANT_READ:
    if (!tls->renegotiated)
      return CP__TLS_NOTHING;
    fail_by_reason(tls, SSL_R_NO_RENEGOTIATION);
    return CP__TLS_ERROR;
  case SSL_ERROR_ZERO_RETURN:
    return end(tls);
  default:
    fail_by_queue(tls);
    return CP__TLS_ERROR;
  }
}

/* OpenSSL takes 47 KB to begin with: not for who says nothing. */
static cp__tls_event shake_hands(cp__tls *tls) {
  int rc;

  if (tls->context->server && tls->n_fed == 0)
    return CP__TLS_NOTHING;
  rc = SSL_do_handshake(tls->ssl);
  if (rc != 1)
    return judge(tls, rc);
  tls->ready = true;
  return CP__TLS_READY;
}

cp__tls_event cp__tls_next(cp__tls *tls, void *data, size_t size, size_t *len,
                           cp__buf *out) {
  int rc;

  *len = 0;
  if (tls->error != 0)
    return CP__TLS_ERROR;
  if (tls->ended)
    return CP__TLS_END;
  begin(tls, out);
  if (!tls->ready)
    return shake_hands(tls);
  rc = SSL_read_ex(tls->ssl, data, size, len);
  return rc == 1 ? CP__TLS_DATA : judge(tls, rc);
}

cp__tls_event cp__tls_eof(cp__tls *tls) {
  if (tls->error == 0 && tls->ended)
    return CP__TLS_END;
  if (tls->error == 0)
    fail_by_reason(tls, SSL_R_UNEXPECTED_EOF_WHILE_READING);
  return CP__TLS_ERROR;
}

/* Send. --------------------------------------------------------------------
 */

static int seal(cp__tls *tls, const void *data, size_t len) {
  size_t n;

  if (len == 0 || SSL_write_ex(tls->ssl, data, len, &n) == 1)
    return 0;
  return fail_by_queue(tls);
}

/* What is gathered for the next record. */
typedef struct record {
  size_t len;
  uint8_t data[RECORD_MAX];
} record;

static int seal_gathered(cp__tls *tls, record *gathered) {
  size_t len = gathered->len;

  gathered->len = 0;
  return seal(tls, gathered->data, len);
}

/* Small parts are put together until they fill a record. A long one is sealed
 * where it lies, but for what the record before it has room for. */
static int write_part(cp__tls *tls, record *gathered, cp_bytes part) {
  const uint8_t *data = part.data;
  size_t room = RECORD_MAX - gathered->len;
  size_t n = part.len < room ? part.len : room;
  int rc;

  if (gathered->len == 0 && part.len >= RECORD_MAX)
    return seal(tls, data, part.len);
  if (n == 0)
    return 0;
  memcpy(gathered->data + gathered->len, data, n);
  gathered->len += n;
  if (n < room)
    return 0;
  rc = seal_gathered(tls, gathered);
  if (rc != 0)
    return rc;
  return write_part(tls, gathered, cp_bytes_of(data + n, part.len - n));
}

int cp__tls_write(cp__tls *tls, const cp_bytes *parts, size_t n, cp__buf *out) {
  record gathered;
  int rc = tls->error;
  size_t i;

  if (rc == 0 && (!tls->ready || tls->closed))
    return CP_E_STATE;
  begin(tls, out);
  gathered.len = 0;
  for (i = 0; i < n && rc == 0; i++)
    rc = write_part(tls, &gathered, parts[i]);
  return rc == 0 ? seal_gathered(tls, &gathered) : rc;
}

int cp__tls_close(cp__tls *tls, cp__buf *out) {
  if (tls->error != 0 || !tls->ready || tls->closed)
    return tls->error;
  begin(tls, out);
  tls->closed = true;
  return SSL_shutdown(tls->ssl) < 0 ? fail_by_queue(tls) : 0;
}

/* Ask. ---------------------------------------------------------------------
 */

bool cp__tls_is_ready(const cp__tls *tls) {
  return tls->ready && tls->error == 0;
}

int cp__tls_error(const cp__tls *tls) {
  return tls->error;
}

static bool is_about_certificate(unsigned long cause) {
  return is_of_libssl(cause) &&
         ERR_GET_REASON(cause) == SSL_R_CERTIFICATE_VERIFY_FAILED;
}

const char *cp__tls_error_text(const cp__tls *tls,
                               char text[CP__TLS_TEXT_SIZE]) {
  size_t len;

  if (tls->error == 0 || tls->error == CP_E_NOMEM) {
    snprintf(text, CP__TLS_TEXT_SIZE, "%s", tls->error ? "out of memory" : "");
    return text;
  }
  cp__tls_reason(tls->cause, text, CP__TLS_TEXT_SIZE);
  len = strlen(text);
  if (is_about_certificate(tls->cause))
    snprintf(text + len, CP__TLS_TEXT_SIZE - len, ": %s",
             X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl)));
  return text;
}

const char *cp__tls_version(const cp__tls *tls) {
  return SSL_get_version(tls->ssl);
}
