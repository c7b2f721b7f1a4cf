/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* What is left to OpenSSL: the TLS 1.3 suites, the groups, the security level,
 * and with them the system's policy (openssl.cnf). TLS 1.2 has a list of our
 * own because OpenSSL's still holds CBC and key exchanges without forward
 * secrecy. */

#include "tls.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
/* Resumed sessions are taken only by servers of the same name. */
#define SESSION_ID_CONTEXT "clusterpush"

/* This setting is of no use: tell why, in the words of the first error, which
 * is the cause of the others. */
static int explain(char *text, const char *setting, const char *value) {
  unsigned long code = ERR_peek_error();
  size_t len;

  snprintf(text, CP__TLS_TEXT_SIZE, "%s %.300s: ", setting, value);
  len = strlen(text);
  cp__tls_reason(code, text + len, CP__TLS_TEXT_SIZE - len);
  ERR_clear_error();
  return cp__tls_error_of(code, CP_E_INVALID);
}

static int explain_no_memory(char *text) {
  snprintf(text, CP__TLS_TEXT_SIZE, "out of memory");
  ERR_clear_error();
  return CP_E_NOMEM;
}

/* Without this OpenSSL would ask for the password on the terminal. */
static int no_password(char *out, int size, int writing, void *was_asked) {
  (void)out;
  (void)size;
  (void)writing;
  *(bool *)was_asked = true;
  return -1;
}

static int choose_alpn(SSL *ssl, const unsigned char **out,
                       unsigned char *out_len, const unsigned char *offers,
                       unsigned len, void *ctx) {
  static const unsigned char ours[] = "\x08http/1.1";
  unsigned char *chosen;

  (void)ssl;
  (void)ctx;
  if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, offers,
                            len) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

static void set_rules(SSL_CTX *ctx, bool server) {
  if (SSL_CTX_get_min_proto_version(ctx) < TLS1_2_VERSION)
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
  /* Tickets need no cache here, and a cache would outlive the connections. */
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  if (server)
    SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
}

static int set_algorithms(SSL_CTX *ctx, const cp__tls_options *options,
                          char *text) {
  const char *ciphers = options->ciphers != NULL ? options->ciphers : CIPHERS;

  if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
    return explain(text, "ciphers", ciphers);
  if (options->ciphersuites != NULL &&
      SSL_CTX_set_ciphersuites(ctx, options->ciphersuites) != 1)
    return explain(text, "ciphersuites", options->ciphersuites);
  if (options->groups != NULL &&
      SSL_CTX_set1_groups_list(ctx, options->groups) != 1)
    return explain(text, "groups", options->groups);
  return 0;
}

/* A key of another type than the certificate's is loaded beside it without a
 * word, so the two are compared once more. */
static int load_key(SSL_CTX *ctx, const char *key_file, char *text) {
  X509 *cert = SSL_CTX_get0_certificate(ctx);

  if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) == 1 &&
      X509_check_private_key(cert, SSL_CTX_get0_privatekey(ctx)) == 1)
    return 0;
  return explain(text, "private key", key_file);
}

static int load_own(SSL_CTX *ctx, const char *cert_file, const char *key_file,
                    char *text) {
  bool is_encrypted = false;
  int rc;

  SSL_CTX_set_default_passwd_cb(ctx, no_password);
  SSL_CTX_set_default_passwd_cb_userdata(ctx, &is_encrypted);
  if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) == 1)
    rc = load_key(ctx, key_file, text);
  else
    rc = explain(text, "certificate", cert_file);
  SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
  if (rc != 0 && is_encrypted)
    snprintf(text, CP__TLS_TEXT_SIZE, "private key %.300s: is encrypted",
             key_file);
  return rc;
}

static int set_identity(SSL_CTX *ctx, const cp__tls_options *options,
                        char *text) {
  const char *cert_file = options->cert_file;
  const char *key_file = options->key_file;

  if (cert_file != NULL)
    return load_own(ctx, cert_file, key_file != NULL ? key_file : cert_file,
                    text);
  if (!options->server && key_file == NULL)
    return 0;
  snprintf(text, CP__TLS_TEXT_SIZE, "there is no certificate file");
  return CP_E_INVALID;
}

/* The names of the CAs whose certificates are welcome, for the client to choose
 * by. */
static bool announce_ca(SSL_CTX *ctx, const char *ca_file) {
  STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca_file);

  SSL_CTX_set_client_CA_list(ctx, names);
  return names != NULL;
}

static int set_trust(SSL_CTX *ctx, const cp__tls_options *options, char *text) {
  const char *ca_file = options->ca_file;
  int verify = SSL_VERIFY_PEER;

  if (options->server && ca_file == NULL)
    return 0;
  if (options->server)
    verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(ctx, verify, NULL);
  if (ca_file == NULL)
    return SSL_CTX_set_default_verify_paths(ctx) == 1
               ? 0
               : explain(text, "CA certificates", "of the system");
  if (SSL_CTX_load_verify_file(ctx, ca_file) != 1 ||
      (options->server && !announce_ca(ctx, ca_file)))
    return explain(text, "CA certificates", ca_file);
  return 0;
}

/* Returns 0, or an error with its reason in `text`. */
static int configure(SSL_CTX *ctx, const cp__tls_options *options, char *text) {
  static const unsigned char id[] = SESSION_ID_CONTEXT;
  int rc;

  set_rules(ctx, options->server);
  if (SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1) != 1)
    return explain(text, "session", "id");
  rc = set_algorithms(ctx, options, text);
  if (rc == 0)
    rc = set_identity(ctx, options, text);
  if (rc == 0)
    rc = set_trust(ctx, options, text);
  return rc;
}

int cp__tls_context_create(cp__tls_context **out,
                           const cp__tls_options *options,
                           const cp_allocator *alloc,
                           char text[CP__TLS_TEXT_SIZE]) {
  cp__tls_context *context = cp__calloc(alloc, sizeof *context);
  int rc;

  ERR_clear_error();
  if (context == NULL)
    return explain_no_memory(text);
  context->alloc = alloc;
  context->refs = 1;
  context->server = options->server;
  context->bio_method = cp__tls_bio_method();
  context->ssl_ctx =
      SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
  if (context->bio_method == NULL || context->ssl_ctx == NULL)
    rc = explain_no_memory(text);
  else
    rc = configure(context->ssl_ctx, options, text);
  if (rc != 0) {
    cp__tls_context_unref(context);
    return rc;
  }
  ERR_clear_error();
  *out = context;
  return 0;
}

cp__tls_context *cp__tls_context_ref(cp__tls_context *context) {
  context->refs++;
  return context;
}

void cp__tls_context_unref(cp__tls_context *context) {
  if (context == NULL || --context->refs > 0)
    return;
  SSL_CTX_free(context->ssl_ctx);
  BIO_meth_free(context->bio_method);
  cp__free(context->alloc, context);
}
