/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_TLS_FILES_H
#define CP_TEST_TLS_FILES_H

/* TLS files: certificates and keys, made anew for each run in a directory of
 * its own. NAME.pem is a certificate, NAME.key its key. Whatever goes wrong
 * ends the program. */

/* Returns the directory, to be given to tls_files_remove. It holds
 *   ca          trusted; issued `middle`, which issued all that follow
 *   server      for localhost, *.example.com, 127.0.0.1 and ::1; with its chain
 *   renewed     the same again
 *   named       without alternative names, the common name is localhost
 *   expired     as server, until yesterday
 *   future      as server, from tomorrow on
 *   client      for a client
 *   both        as server, with the key in the certificate's file
 *   lone        self-signed, for localhost
 *   ed          an Ed25519 key without a certificate
 *   locked      the key of `both`, encrypted
 *   empty       a file without content
 *   text        no PEM */
char *tls_files_create(void);
void tls_files_remove(char *dir);

/* DIR/NAME in one of some static buffers: good until the eighth call from now.
 * NULL for NULL. */
const char *tls_file(const char *dir, const char *name);

#endif
