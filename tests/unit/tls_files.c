/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "tls_files.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define DAY   86400
#define NAMES "DNS:localhost,DNS:*.example.com,IP:127.0.0.1,IP:::1"

static const char *const names[] = {
    "ca.pem",     "server.pem", "server.key",  "renewed.pem", "renewed.key",
    "named.pem",  "named.key",  "expired.pem", "expired.key", "future.pem",
    "future.key", "client.pem", "client.key",  "both.pem",    "lone.pem",
    "lone.key",   "ed.key",     "locked.key",  "empty.pem",   "text.pem"};

typedef struct identity {
  EVP_PKEY *key;
  X509 *cert;
} identity;

typedef struct wish {
  const char *name; /* of the files, and the common name if `common` is NULL */
  const char *common;
  const char *alternative; /* NULL: none */
  long from;               /* seconds from now */
  long until;
  bool ca;
} wish;

static void check(bool good, const char *what) {
  if (good)
    return;
  fprintf(stderr, "tls_files: %s failed\n", what);
  ERR_print_errors_fp(stderr);
  abort();
}

const char *tls_file(const char *dir, const char *name) {
  static char paths[8][128];
  static unsigned next;
  char *path = paths[next++ % 8];

  if (name == NULL)
    return NULL;
  snprintf(path, sizeof paths[0], "%s/%s", dir, name);
  return path;
}

/* Issue. ------------------------------------------------------------------- */

static void extend(X509 *cert, X509 *issuer, int nid, const char *value) {
  X509_EXTENSION *extension;
  X509V3_CTX ctx;

  if (value == NULL)
    return;
  X509V3_set_ctx_nodb(&ctx);
  X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
  extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
  check(extension != NULL, value);
  check(X509_add_ext(cert, extension, -1) == 1, "X509_add_ext");
  X509_EXTENSION_free(extension);
}

static void set_subject(X509 *cert, const char *common) {
  X509_NAME *name = X509_get_subject_name(cert);

  check(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                   (const unsigned char *)common, -1, -1,
                                   0) == 1,
        "X509_NAME_add_entry_by_txt");
}

/* `issuer` NULL: self-signed. */
static identity issue(const identity *issuer, const wish *wanted) {
  static long serial;
  identity new = {EVP_EC_gen("P-256"), X509_new()};
  X509 *issuer_cert = issuer != NULL ? issuer->cert : new.cert;

  check(new.key != NULL &&new.cert != NULL, "EVP_EC_gen");
  X509_set_version(new.cert, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(new.cert), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(new.cert), wanted->from);
  X509_gmtime_adj(X509_getm_notAfter(new.cert), wanted->until);
  X509_set_pubkey(new.cert, new.key);
  set_subject(new.cert, wanted->common != NULL ? wanted->common : wanted->name);
  X509_set_issuer_name(new.cert, X509_get_subject_name(issuer_cert));
  extend(new.cert, issuer_cert, NID_basic_constraints,
         wanted->ca ? "critical,CA:TRUE" : "CA:FALSE");
  extend(new.cert, issuer_cert, NID_subject_alt_name, wanted->alternative);
  check(X509_sign(new.cert, issuer != NULL ? issuer->key : new.key,
                  EVP_sha256()) > 0,
        "X509_sign");
  return new;
}

static void release(identity *id) {
  EVP_PKEY_free(id->key);
  X509_free(id->cert);
}

/* Write. ------------------------------------------------------------------- */

static FILE *open_file(const char *dir, const char *name, const char *suffix) {
  char path[128];
  FILE *file;

  snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
  file = fopen(path, "w");
  check(file != NULL, path);
  return file;
}

static void close_file(FILE *file) {
  check(fclose(file) == 0, "fclose");
}

static void write_key(FILE *file, EVP_PKEY *key, const char *password) {
  const EVP_CIPHER *cipher = password != NULL ? EVP_aes_128_cbc() : NULL;

  check(PEM_write_PrivateKey(file, key, cipher, NULL, 0, NULL,
                             (void *)password) == 1,
        "PEM_write_PrivateKey");
}

static void write_key_file(const char *dir, const char *name, EVP_PKEY *key,
                           const char *password) {
  FILE *file = open_file(dir, name, ".key");

  write_key(file, key, password);
  close_file(file);
}

/* With `middle` as the chain behind it, unless that is NULL. */
static void write_cert_file(const char *dir, const char *name, X509 *cert,
                            X509 *middle, EVP_PKEY *key) {
  FILE *file = open_file(dir, name, ".pem");

  check(PEM_write_X509(file, cert) == 1, "PEM_write_X509");
  if (middle != NULL)
    check(PEM_write_X509(file, middle) == 1, "PEM_write_X509");
  if (key != NULL)
    write_key(file, key, NULL);
  close_file(file);
}

static void write_text(const char *dir, const char *name, const char *text) {
  FILE *file = open_file(dir, name, ".pem");

  check(fputs(text, file) >= 0, "fputs");
  close_file(file);
}

static void write_leaf(const char *dir, const identity *middle,
                       const wish *wanted) {
  identity leaf = issue(middle, wanted);

  write_cert_file(dir, wanted->name, leaf.cert, middle->cert, NULL);
  write_key_file(dir, wanted->name, leaf.key, NULL);
  release(&leaf);
}

static void write_leaves(const char *dir, const identity *middle) {
  static const wish wishes[] = {
      {"server", NULL, NAMES, -DAY, DAY, false},
      {"renewed", NULL, NAMES, -DAY, DAY, false},
      {"named", "localhost", NULL, -DAY, DAY, false},
      {"expired", NULL, NAMES, -2 * DAY, -DAY, false},
      {"future", NULL, NAMES, DAY, 2 * DAY, false},
      {"client", NULL, NULL, -DAY, DAY, false},
  };
  size_t i;

  for (i = 0; i < sizeof wishes / sizeof wishes[0]; i++)
    write_leaf(dir, middle, &wishes[i]);
}

static void write_special(const char *dir, const identity *middle) {
  static const wish both_wish = {"both", NULL, NAMES, -DAY, DAY, false};
  static const wish lone_wish = {"lone", NULL, NAMES, -DAY, DAY, false};
  identity both = issue(middle, &both_wish);
  identity lone = issue(NULL, &lone_wish);
  EVP_PKEY *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

  check(ed != NULL, "EVP_PKEY_Q_keygen");
  write_cert_file(dir, "both", both.cert, middle->cert, both.key);
  write_cert_file(dir, "lone", lone.cert, NULL, NULL);
  write_key_file(dir, "lone", lone.key, NULL);
  write_key_file(dir, "locked", both.key, "secret");
  write_key_file(dir, "ed", ed, NULL);
  write_text(dir, "empty", "");
  write_text(dir, "text", "The quick brown fox\n");
  EVP_PKEY_free(ed);
  release(&both);
  release(&lone);
}

char *tls_files_create(void) {
  static const wish ca_wish = {"ca", NULL, NULL, -DAY, DAY, true};
  static const wish middle_wish = {"middle", NULL, NULL, -DAY, DAY, true};
  char *dir = strdup("/tmp/clusterpush-tls-XXXXXX");
  identity ca, middle;

  check(dir != NULL && mkdtemp(dir) != NULL, "mkdtemp");
  ca = issue(NULL, &ca_wish);
  middle = issue(&ca, &middle_wish);
  write_cert_file(dir, "ca", ca.cert, NULL, NULL);
  write_leaves(dir, &middle);
  write_special(dir, &middle);
  release(&middle);
  release(&ca);
  return dir;
}

void tls_files_remove(char *dir) {
  size_t i;

  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    check(unlink(tls_file(dir, names[i])) == 0, names[i]);
  check(rmdir(dir) == 0, "rmdir");
  free(dir);
}
