/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* TLS contexts: certificates of both sides, bad files, reload, and the rules
 * that a peer made of OpenSSL alone tries to break. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "failing_alloc.h"
#include "tls_side.h"

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* The server's certificate. ------------------------------------------------ */

/* `why` NULL: the client is satisfied. */
typedef struct verify_case {
  const char *ca;
  const char *host;
  const char *why;
  tls_names server;
} verify_case;

#define SERVER \
  { "server.pem", "server.key", NULL }
#define NAMED \
  { "named.pem", "named.key", NULL }
#define LONE \
  { "lone.pem", "lone.key", NULL }
#define EXPIRED \
  { "expired.pem", "expired.key", NULL }
#define FUTURE \
  { "future.pem", "future.key", NULL }

static const verify_case verify_cases[] = {
    {"ca.pem", "localhost", NULL, SERVER},
    {"ca.pem", "LOCALHOST", NULL, SERVER},
    {"ca.pem", "localhost.", NULL, SERVER},
    {"ca.pem", "redis.example.com", NULL, SERVER},
    {"ca.pem", "127.0.0.1", NULL, SERVER},
    {"ca.pem", "::1", NULL, SERVER},
    {"ca.pem", NULL, NULL, SERVER},
    {"ca.pem", "", NULL, SERVER},
    {"ca.pem", "example.com", "hostname mismatch", SERVER},
    {"ca.pem", "a.redis.example.com", "hostname mismatch", SERVER},
    {"ca.pem", "localhost.localdomain", "hostname mismatch", SERVER},
    {"ca.pem", "localhos", "hostname mismatch", SERVER},
    {"ca.pem", ".", "hostname mismatch", SERVER},
    {"ca.pem", "..", "hostname mismatch", SERVER},
    {"ca.pem", "127.0.0.2", "IP address mismatch", SERVER},
    {"ca.pem", "::2", "IP address mismatch", SERVER},
    {"lone.pem", "localhost", "unable to get local issuer", SERVER},
    {NULL, "localhost", "certificate verify failed: ", SERVER},
    {"ca.pem", "localhost", NULL, NAMED},
    {"ca.pem", "127.0.0.1", "IP address mismatch", NAMED},
    {"lone.pem", "localhost", NULL, LONE},
    {"ca.pem", "localhost", "self-signed", LONE},
    {"ca.pem", "localhost", "has expired", EXPIRED},
    {"ca.pem", NULL, "has expired", EXPIRED},
    {"ca.pem", "localhost", "not yet valid", FUTURE},
};

static void check_verify(const verify_case *c, int version, size_t piece) {
  const tls_names trust = {NULL, NULL, c->ca};
  cp__tls_context *client = tls_context_of(false, &trust, version);
  cp__tls_context *server = tls_context_of(true, &c->server, 0);
  tls_pair p;

  tls_side_start(&p.client, client, c->host);
  tls_side_start(&p.server, server, NULL);
  p.client.greeting = "hello";
  tls_pair_run(&p, piece);
  if (c->why == NULL) {
    tls_assert_ready(&p);
    tls_assert_plain(&p.server, "hello");
  } else {
    tls_assert_failed(&p.client, "certificate verify failed: ");
    tls_assert_failed(&p.client, c->why);
    tls_assert_failed(&p.server, "alert");
    tls_assert_plain(&p.server, "");
  }
  tls_pair_end(&p);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
}

static void test_verify(void **ctx) {
  size_t i;

  (void)ctx;
  for (i = 0; i < ARRAY_LEN(verify_cases); i++) {
    check_verify(&verify_cases[i], TLS1_3_VERSION, TLS_ALL);
    check_verify(&verify_cases[i], TLS1_2_VERSION, 97);
  }
}

static int note_sni(SSL *ssl, int *alert, void *data) {
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

  (void)alert;
  snprintf(data, 64, "%s", name != NULL ? name : "none");
  return SSL_TLSEXT_ERR_OK;
}

static void check_sni(const char *host, const char *expected) {
  cp__tls_context *client = tls_context_of(false, &tls_client_names, 0);
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  char name[64] = "";
  tls_pair p;

  SSL_CTX_set_tlsext_servername_callback(server->ssl_ctx, note_sni);
  SSL_CTX_set_tlsext_servername_arg(server->ssl_ctx, name);
  tls_side_start(&p.client, client, host);
  tls_side_start(&p.server, server, NULL);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_ready(&p);
  assert_string_equal(name, expected);
  tls_pair_end(&p);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
}

/* A name is sent, an address never is (RFC 6066 section 3). */
static void test_sni(void **ctx) {
  (void)ctx;
  check_sni("localhost", "localhost");
  check_sni("redis.example.com.", "redis.example.com");
  check_sni("127.0.0.1", "none");
  check_sni("::1", "none");
  check_sni(NULL, "none");
}

static void test_host_too_long(void **ctx) {
  cp__tls_context *client = tls_context_of(false, &tls_client_names, 0);
  char host[257];
  cp__tls *tls;

  (void)ctx;
  memset(host, 'a', sizeof host);
  host[256] = '\0';
  assert_int_equal(cp__tls_create(&tls, client, host), CP_E_INVALID);
  host[255] = '\0';
  assert_int_equal(cp__tls_create(&tls, client, host), 0);
  cp__tls_destroy(tls);
  assert_int_equal(ERR_peek_error(), 0);
  cp__tls_context_unref(client);
}

/* The client's certificate. ------------------------------------------------ */

/* `why` NULL: the server is satisfied. With TLS 1.3 a client is done before the
 * server has seen its certificate. */
static void check_client(const tls_names *client_names,
                         const tls_names *server_names, int version,
                         const char *why) {
  cp__tls_context *client = tls_context_of(false, client_names, version);
  cp__tls_context *server = tls_context_of(true, server_names, 0);
  tls_pair p;

  tls_pair_start(&p, client, server);
  p.client.greeting = "hello";
  tls_pair_run(&p, TLS_ALL);
  if (why == NULL) {
    tls_assert_ready(&p);
    tls_assert_plain(&p.server, "hello");
  } else {
    tls_assert_failed(&p.server, why);
    tls_assert_failed(&p.client, "alert");
    tls_assert_plain(&p.server, "");
  }
  tls_pair_end(&p);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
}

static void test_client_certificate(void **ctx) {
  const tls_names asking = {"server.pem", "server.key", "ca.pem"};
  const tls_names good = {"client.pem", "client.key", "ca.pem"};
  const tls_names foreign = {"lone.pem", "lone.key", "ca.pem"};
  const tls_names old = {"expired.pem", "expired.key", "ca.pem"};
  size_t v;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++) {
    check_client(&good, &asking, versions[v], NULL);
    check_client(&good, &tls_server_names, versions[v], NULL);
    check_client(&tls_client_names, &asking, versions[v],
                 "peer did not return a certificate");
    check_client(&foreign, &asking, versions[v], "certificate verify failed: ");
    check_client(&old, &asking, versions[v], "has expired");
  }
}

/* Files and settings. ------------------------------------------------------ */

typedef struct bad_context {
  bool server;
  tls_names names;
  const char *part; /* of the text */
} bad_context;

static const bad_context bad_contexts[] = {
    {true, {NULL, NULL, NULL}, "there is no certificate file"},
    {true, {NULL, "server.key", NULL}, "there is no certificate file"},
    {false, {NULL, "client.key", "ca.pem"}, "there is no certificate file"},
    {true,
     {"no.pem", "server.key", NULL},
     "/no.pem: No such file or directory"},
    {true,
     {"server.pem", "no.key", NULL},
     "/no.key: No such file or directory"},
    {true,
     {"server.pem", "server.key", "no.pem"},
     "/no.pem: No such file or directory"},
    {false, {NULL, NULL, "no.pem"}, "/no.pem: No such file or directory"},
    {true, {"empty.pem", "server.key", NULL}, "/empty.pem: no start line"},
    {true, {"text.pem", "server.key", NULL}, "/text.pem: no start line"},
    {true, {"server.key", "server.key", NULL}, "/server.key: no start line"},
    {true, {"server.pem", "text.pem", NULL}, "/text.pem: "},
    {true, {"server.pem", NULL, NULL}, "/server.pem: "},
    {true, {"server.pem", "server.key", "text.pem"}, "/text.pem: "},
    {false, {NULL, NULL, "empty.pem"}, "/empty.pem: "},
    {true,
     {"server.pem", "client.key", NULL},
     "/client.key: key values mismatch"},
    {false,
     {"client.pem", "server.key", "ca.pem"},
     "/server.key: key values mismatch"},
    {true, {"server.pem", "ed.key", NULL}, "key type"},
    {true, {"both.pem", "locked.key", NULL}, "/locked.key: is encrypted"},
};

static void check_bad(const cp__tls_options *options, const char *part) {
  cp__tls_context *context = NULL;
  char text[CP__TLS_TEXT_SIZE] = "";
  int rc =
      cp__tls_context_create(&context, options, &cp__default_allocator, text);

  assert_int_equal(rc, CP_E_INVALID);
  assert_null(context);
  assert_int_equal(ERR_peek_error(), 0);
  if (strstr(text, part) == NULL)
    fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void test_bad_files(void **ctx) {
  size_t i;

  (void)ctx;
  for (i = 0; i < ARRAY_LEN(bad_contexts); i++) {
    const bad_context *c = &bad_contexts[i];
    cp__tls_options options = tls_options_of(c->server, &c->names);
    check_bad(&options, c->part);
  }
}

static void test_bad_algorithms(void **ctx) {
  cp__tls_options options = tls_options_of(true, &tls_server_names);

  (void)ctx;
  options.ciphers = "ROT13";
  check_bad(&options, "ciphers ROT13: no cipher match");
  options.ciphers = NULL;
  options.ciphersuites = "TLS_ROT13";
  check_bad(&options, "ciphersuites TLS_ROT13: no cipher match");
  options.ciphersuites = NULL;
  options.groups = "my-curve";
  check_bad(&options, "groups my-curve: ");
}

/* A long name doesn't push the reason out. */
static void test_long_file_name(void **ctx) {
  cp__tls_options options = tls_options_of(true, &tls_server_names);
  char name[2000];

  (void)ctx;
  memset(name, 'x', sizeof name);
  name[sizeof name - 1] = '\0';
  options.cert_file = name;
  check_bad(&options, "x: File name too long");
}

static void test_key_in_the_certificate_file(void **ctx) {
  const tls_names both = {"both.pem", NULL, NULL};

  (void)ctx;
  check_client(&tls_client_names, &both, 0, NULL);
}

static void test_chosen_algorithms(void **ctx) {
  cp__tls_options options = tls_options_of(true, &tls_server_names);
  cp__tls_context *client = tls_context_of(false, &tls_client_names, 0);
  cp__tls_context *server;
  char text[CP__TLS_TEXT_SIZE];
  tls_pair p;

  (void)ctx;
  options.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
  options.ciphersuites = "TLS_CHACHA20_POLY1305_SHA256";
  options.groups = "P-384";
  assert_int_equal(
      cp__tls_context_create(&server, &options, &cp__default_allocator, text),
      0);
  tls_pair_start(&p, client, server);
  tls_pair_run(&p, 50); /* with a second hello, for the group */
  tls_assert_ready(&p);
  tls_pair_end(&p);
  SSL_CTX_set_ciphersuites(client->ssl_ctx, "TLS_AES_128_GCM_SHA256");
  tls_pair_start(&p, client, server);
  tls_pair_run(&p, TLS_ALL);
  tls_assert_failed(&p.server, "no shared cipher");
  tls_pair_end(&p);
  cp__tls_context_unref(client);
  cp__tls_context_unref(server);
}

/* Matches. ----------------------------------------------------------------- */

/* A client of OpenSSL's with what is default there. */
static SSL_CTX *plain_client(int version) {
  SSL_CTX *client = SSL_CTX_new(TLS_client_method());

  assert_non_null(client);
  assert_int_equal(SSL_CTX_set_max_proto_version(client, version), 1);
  return client;
}

static void assert_common_name(const tls_match *match, const char *expected) {
  X509 *cert = SSL_get1_peer_certificate(match->client);
  char name[64];

  assert_non_null(cert);
  X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name,
                            sizeof name);
  assert_string_equal(name, expected);
  X509_free(cert);
}

/* A connection that is open, and one that has just begun, keep the old one. */
static void test_reload(void **ctx) {
  const tls_names renewed = {"renewed.pem", "renewed.key", NULL};
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  SSL_CTX *client = plain_client(0);
  tls_match old, begun, new;

  (void)ctx;
  tls_match_start(&old, client, server);
  tls_match_start(&begun, client, server);
  tls_match_run(&old);
  cp__tls_context_unref(server);
  server = tls_context_of(true, &renewed, 0);
  tls_match_start(&new, client, server);
  tls_match_run(&begun);
  tls_match_run(&new);
  assert_common_name(&old, "server");
  assert_common_name(&begun, "server");
  assert_common_name(&new, "renewed");
  assert_int_equal(SSL_write(old.client, "still here", 10), 10);
  tls_match_run(&old);
  tls_assert_plain(&old.server, "still here");
  tls_match_end(&old);
  tls_match_end(&begun);
  tls_match_end(&new);
  cp__tls_context_unref(server);
  SSL_CTX_free(client);
}

static void test_alpn(void **ctx) {
  static const unsigned char both[] = "\x02h2\x08http/1.1";
  static const unsigned char other[] = "\x02h2";
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  SSL_CTX *client = plain_client(0);
  const unsigned char *chosen;
  unsigned len;
  tls_match m;

  (void)ctx;
  SSL_CTX_set_alpn_protos(client, both, sizeof both - 1);
  tls_match_start(&m, client, server);
  tls_match_run(&m);
  SSL_get0_alpn_selected(m.client, &chosen, &len);
  assert_int_equal(len, 8);
  assert_memory_equal(chosen, "http/1.1", 8);
  tls_match_end(&m);
  SSL_CTX_set_alpn_protos(client, other, sizeof other - 1);
  tls_match_start(&m, client, server);
  tls_match_run(&m);
  tls_assert_failed(&m.server, "no application protocol");
  tls_match_end(&m);
  SSL_CTX_free(client);
  cp__tls_context_unref(server);
}

static void check_refused_version(int version) {
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  SSL_CTX *client = plain_client(version);
  tls_match m;

  SSL_CTX_set_min_proto_version(client, version);
  SSL_CTX_set_cipher_list(client, "ALL:@SECLEVEL=0");
  tls_match_start(&m, client, server);
  tls_match_run(&m);
  tls_assert_failed(&m.server, "unsupported protocol");
  tls_match_end(&m);
  SSL_CTX_free(client);
  cp__tls_context_unref(server);
}

static void test_old_versions_are_refused(void **ctx) {
  (void)ctx;
  check_refused_version(TLS1_VERSION);
  check_refused_version(TLS1_1_VERSION);
}

/* Of TLS 1.2 only forward secrecy with authenticated encryption is left. */
static void test_weak_ciphers_are_refused(void **ctx) {
  static const char *const weak[] = {"AES128-GCM-SHA256", "AES256-SHA",
                                     "ECDHE-ECDSA-AES128-SHA",
                                     "ECDHE-ECDSA-AES256-SHA384", "aNULL"};
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  size_t i;

  (void)ctx;
  for (i = 0; i < ARRAY_LEN(weak); i++) {
    SSL_CTX *client = plain_client(TLS1_2_VERSION);
    tls_match m;
    SSL_CTX_set_security_level(client, 0);
    assert_int_equal(SSL_CTX_set_cipher_list(client, weak[i]), 1);
    tls_match_start(&m, client, server);
    tls_match_run(&m);
    tls_assert_failed(&m.server, "no shared cipher");
    tls_match_end(&m);
    SSL_CTX_free(client);
  }
  cp__tls_context_unref(server);
}

static void test_renegotiation_ends_it(void **ctx) {
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  SSL_CTX *client = plain_client(TLS1_2_VERSION);
  tls_match m;

  (void)ctx;
  tls_match_start(&m, client, server);
  tls_match_run(&m);
  assert_int_equal(SSL_write(m.client, "before", 6), 6);
  assert_int_equal(SSL_renegotiate(m.client), 1);
  tls_match_run(&m);
  tls_assert_plain(&m.server, "before");
  tls_assert_failed(&m.server, "no renegotiation");
  assert_true(m.result <= 0);
  assert_int_equal(tls_side_write(&m.server, "x"), CP_E_PROTOCOL);
  tls_match_end(&m);
  SSL_CTX_free(client);
  cp__tls_context_unref(server);
}

/* A client that offers to be renegotiated with has nobody who does. */
static void test_client_refuses_renegotiation(void **ctx) {
  cp__tls_context *client = tls_context_of(false, &tls_client_names, 0);

  (void)ctx;
  assert_true(SSL_CTX_get_options(client->ssl_ctx) & SSL_OP_NO_RENEGOTIATION);
  cp__tls_context_unref(client);
}

static void test_key_update(void **ctx) {
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  SSL_CTX *client = plain_client(0);
  size_t i;
  tls_match m;

  (void)ctx;
  tls_match_start(&m, client, server);
  tls_match_run(&m);
  for (i = 0; i < 5; i++) {
    assert_int_equal(SSL_key_update(m.client, SSL_KEY_UPDATE_REQUESTED), 1);
    assert_int_equal(SSL_write(m.client, "new key", 7), 7);
    tls_match_run(&m);
    tls_assert_plain(&m.server, "new key");
    assert_int_equal(cp__buf_len(&m.server.out), 0);
    assert_int_equal(tls_side_write(&m.server, "mine too"), 0);
    tls_match_run(&m);
    assert_int_equal(SSL_get_error(m.client, m.result), SSL_ERROR_WANT_READ);
  }
  tls_match_end(&m);
  SSL_CTX_free(client);
  cp__tls_context_unref(server);
}

/* Resumption, by tickets: the server keeps nothing. */
static void check_resumption(const tls_names *server_names, SSL_CTX *client) {
  cp__tls_context *server = tls_context_of(true, server_names, 0);
  SSL_SESSION *session;
  tls_match m;

  tls_match_start(&m, client, server);
  tls_match_run(&m);
  session = SSL_get1_session(m.client);
  SSL_shutdown(m.client);
  tls_match_run(&m);
  assert_int_equal(m.server.event, CP__TLS_END);
  tls_match_end(&m);
  tls_match_start(&m, client, server);
  assert_int_equal(SSL_set_session(m.client, session), 1);
  tls_match_run(&m);
  assert_true(cp__tls_is_ready(m.server.tls));
  assert_true(SSL_session_reused(m.client));
  tls_match_end(&m);
  SSL_SESSION_free(session);
  cp__tls_context_unref(server);
}

static void test_resumption(void **ctx) {
  const tls_names asking = {"server.pem", "server.key", "ca.pem"};
  const tls_names able = {"client.pem", "client.key", "ca.pem"};
  size_t v;

  (void)ctx;
  for (v = 0; v < ARRAY_LEN(versions); v++) {
    SSL_CTX *client = plain_client(versions[v]);
    cp__tls_context *certified = tls_context_of(false, &able, versions[v]);
    check_resumption(&tls_server_names, client);
    check_resumption(&asking, certified->ssl_ctx);
    cp__tls_context_unref(certified);
    SSL_CTX_free(client);
  }
}

/* Without tickets there is no resumption, and no session is kept either. */
static void test_no_session_is_kept(void **ctx) {
  cp__tls_context *server = tls_context_of(true, &tls_server_names, 0);
  SSL_CTX *client = plain_client(TLS1_2_VERSION);
  tls_match m;

  (void)ctx;
  SSL_CTX_set_options(client, SSL_OP_NO_TICKET);
  tls_match_start(&m, client, server);
  tls_match_run(&m);
  assert_true(cp__tls_is_ready(m.server.tls));
  assert_int_equal(SSL_CTX_sess_number(server->ssl_ctx), 0);
  tls_match_end(&m);
  SSL_CTX_free(client);
  cp__tls_context_unref(server);
}

static void test_out_of_memory(void **ctx) {
  cp__tls_options options = tls_options_of(true, &tls_server_names);
  cp__tls_context *context = NULL;
  char text[CP__TLS_TEXT_SIZE];
  failing_alloc memory;

  (void)ctx;
  failing_alloc_init(&memory, 1);
  assert_int_equal(
      cp__tls_context_create(&context, &options, &memory.alloc, text),
      CP_E_NOMEM);
  assert_string_equal(text, "out of memory");
  assert_null(context);
  assert_int_equal(memory.n_live, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_verify),
      cmocka_unit_test(test_sni),
      cmocka_unit_test(test_host_too_long),
      cmocka_unit_test(test_client_certificate),
      cmocka_unit_test(test_bad_files),
      cmocka_unit_test(test_bad_algorithms),
      cmocka_unit_test(test_long_file_name),
      cmocka_unit_test(test_key_in_the_certificate_file),
      cmocka_unit_test(test_chosen_algorithms),
      cmocka_unit_test(test_reload),
      cmocka_unit_test(test_alpn),
      cmocka_unit_test(test_old_versions_are_refused),
      cmocka_unit_test(test_weak_ciphers_are_refused),
      cmocka_unit_test(test_renegotiation_ends_it),
      cmocka_unit_test(test_client_refuses_renegotiation),
      cmocka_unit_test(test_key_update),
      cmocka_unit_test(test_resumption),
      cmocka_unit_test(test_no_session_is_kept),
      cmocka_unit_test(test_out_of_memory),
  };

  return cmocka_run_group_tests(tests, tls_create_files, tls_remove_files);
}
