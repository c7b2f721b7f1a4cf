/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors
 *
 * The scan looks at every byte once, as it arrives, and refuses what no later
 * byte can repair. The parse then sees whole lines; it relies on nothing that
 * the scan found, so it is safe on any bytes. Both refuse what a proxy in front
 * might read differently (bare LF, obs-fold, white space before a colon, two
 * lengths): a head that two parties cut differently is how requests get
 * smuggled.
 *
 * Where a head is wrong in several ways, the first of these decides: its
 * syntax, the HTTP version, Host and Origin, the method, the target, a body,
 * the upgrade. */
#include "handshake.h"

#include <openssl/evp.h>

#include "bytes.h"

#define KEY_LEN  24 /* base64 of 16 bytes: 22 digits and "==" */
#define KEY_PADS 2
#define GUID     "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define GUID_LEN (sizeof GUID - 1)
#define SHA1_LEN 20

static bool is_text(uint8_t c) {
  return (c >= ' ' && c != 0x7f) || c == '\t';
}

bool cp__is_token(cp_bytes bytes) {
  return cp__bytes_are_word(bytes, "!#$%&'*+-.^_`|~");
}

bool cp__is_header_value(cp_bytes bytes) {
  size_t i;

  for (i = 0; i < bytes.len; i++)
    if (!is_text(cp__bytes_at(bytes, i)))
      return false;
  return true;
}

/* Scan. ------------------------------------------------------------------- */

/* A byte that is not part of a line's end. */
static int scan_inner(cp__head_scan *scan, uint8_t c, size_t limit) {
  if (!is_text(c))
    return 400;
  if (scan->line_len == 0 && (c == ' ' || c == '\t'))
    return 400; /* obs-fold, or a request line behind white space */
  scan->line_len++;
  return scan->n_lines == 0 && scan->line_len > limit / 2 ? 414 : 0;
}

/* The LF behind a CR. One empty line before the request line is let pass (RFC
 * 9112 section 2.2). */
static int scan_line_end(cp__head_scan *scan, bool *done) {
  bool empty = scan->line_len == 0;

  scan->after_cr = false;
  scan->line_len = 0;
  if (empty && scan->n_lines == 0)
    return scan->pos == 1 ? 0 : 400;
  scan->n_lines++;
  *done = empty;
  return 0;
}

static int scan_byte(cp__head_scan *scan, uint8_t c, size_t limit, bool *done) {
  if (scan->after_cr)
    return c == '\n' ? scan_line_end(scan, done) : 400;
  if (c == '\r') {
    scan->after_cr = true;
    return 0;
  }
  return scan_inner(scan, c, limit);
}

/* Pass over text within a line, which most of a head is, up to where a limit
 * might be reached. */
static void skip_text(cp__head_scan *scan, const uint8_t *data, size_t len,
                      size_t limit) {
  size_t end = len < limit ? len : limit - 1;
  size_t at = scan->pos;

  if (scan->line_len == 0 || scan->after_cr)
    return;
  if (scan->n_lines == 0 && end > at + limit / 2 - scan->line_len)
    end = at + limit / 2 - scan->line_len;
  while (at < end && is_text(data[at]))
    at++;
  scan->line_len += at - scan->pos;
  scan->pos = at;
}

long cp__head_scan_feed(cp__head_scan *scan, const uint8_t *data, size_t len,
                        size_t limit) {
  bool done = false;
  int status;

  while (scan->pos < len) {
    status = scan_byte(scan, data[scan->pos], limit, &done);
    if (status != 0)
      return -status;
    scan->pos++;
    if (done)
      return (long)scan->pos;
    /* Not done with the last byte that may be part of it. */
    if (scan->pos >= limit)
      return -431;
    skip_text(scan, data, len, limit);
  }
  return 0;
}

/* Headers by name. -------------------------------------------------------- */

/* How many there are; `value` is that of the first. */
static size_t find_header(const cp__request_head *head, cp_bytes name,
                          cp_bytes *value) {
  size_t n = 0;
  size_t i;

  *value = cp_bytes_of(NULL, 0);
  for (i = 0; i < head->n_headers; i++) {
    if (!cp__bytes_equal_any_case(head->headers[i].name, name))
      continue;
    if (n++ == 0)
      *value = head->headers[i].value;
  }
  return n;
}

cp_bytes cp__request_head_header(const cp__request_head *head, cp_bytes name) {
  cp_bytes value;

  find_header(head, name, &value);
  return value;
}

static bool list_has(cp_bytes list, cp_bytes token,
                     bool (*equal)(cp_bytes, cp_bytes)) {
  while (list.data != NULL)
    if (equal(cp__bytes_trim(cp__bytes_cut(&list, ',')), token))
      return true;
  return false;
}

/* A list may go on in another header of the same name. */
static bool lists_have(const cp__request_head *head, cp_bytes name,
                       cp_bytes token, bool (*equal)(cp_bytes, cp_bytes)) {
  size_t i;

  for (i = 0; i < head->n_headers; i++)
    if (cp__bytes_equal_any_case(head->headers[i].name, name) &&
        list_has(head->headers[i].value, token, equal))
      return true;
  return false;
}

bool cp__request_head_has_token(const cp__request_head *head, cp_bytes name,
                                cp_bytes token) {
  return lists_have(head, name, token, cp__bytes_equal_any_case);
}

bool cp__request_head_offers(const cp__request_head *head, cp_bytes protocol) {
  return lists_have(head, cp_str("Sec-WebSocket-Protocol"), protocol,
                    cp__bytes_equal);
}

/* Syntax. ----------------------------------------------------------------- */

/* Take a line off `rest`; false if what is there doesn't end in CR LF. */
static bool take_line(cp_bytes *rest, cp_bytes *line) {
  *line = cp__bytes_cut(rest, '\n');
  if (rest->data == NULL || line->len == 0 ||
      cp__bytes_at(*line, line->len - 1) != '\r')
    return false;
  line->len--;
  return true;
}

static int parse_version(cp_bytes version, int *minor) {
  const uint8_t *p = version.data;

  if (version.len != strlen("HTTP/1.1") || memcmp(p, "HTTP/", 5) != 0 ||
      p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' || p[7] > '9')
    return 400;
  *minor = p[7] - '0';
  return p[5] == '1' && *minor <= 1 ? 0 : 505;
}

static int parse_request_line(cp__request_head *head, cp_bytes line,
                              int *minor) {
  head->method = cp__bytes_cut(&line, ' ');
  head->target = cp__bytes_cut(&line, ' ');
  head->head_only = cp__bytes_equal(head->method, cp_str("HEAD"));
  if (!cp__is_token(head->method) || !cp__uri_is_target(head->target))
    return 400;
  return parse_version(line, minor);
}

static int parse_header(cp__request_head *head, cp_bytes line) {
  cp_bytes name = cp__bytes_cut(&line, ':');
  cp__header *header;

  if (line.data == NULL || !cp__is_token(name) || !cp__is_header_value(line))
    return 400;
  if (head->n_headers == CP__MAX_HEADERS)
    return 431;
  header = &head->headers[head->n_headers++];
  header->name = name;
  header->value = cp__bytes_trim(line);
  return 0;
}

static int parse_lines(cp__request_head *head, cp_bytes rest, int *minor) {
  cp_bytes line;
  int status;

  if (!take_line(&rest, &line))
    return 400;
  if (line.len == 0 && !take_line(&rest, &line))
    return 400;
  status = parse_request_line(head, line, minor);
  while (status == 0) {
    if (!take_line(&rest, &line))
      return 400;
    if (line.len == 0)
      return rest.len == 0 ? 0 : 400;
    status = parse_header(head, line);
  }
  return status;
}

/* Meaning. ---------------------------------------------------------------- */

/* HTTP/1.1 needs a Host; two, or a bad one, never pass (RFC 9112 section
 * 3.2). */
static int judge_host(cp__request_head *head, int minor) {
  size_t n = find_header(head, cp_str("Host"), &head->host);

  if (n == 0 && minor == 0)
    return 0;
  return n == 1 && cp__uri_is_authority(head->host) ? 0 : 400;
}

static int judge_origin(cp__request_head *head) {
  return find_header(head, cp_str("Origin"), &head->origin) <= 1 ? 0 : 400;
}

static int judge_method(const cp__request_head *head) {
  bool get = cp__bytes_equal(head->method, cp_str("GET"));

  return get || head->head_only ? 0 : 405;
}

/* An absolute target brings its own host, which replaces that of the Host
 * header (RFC 9112 section 3.2.2). */
static int take_absolute(cp__request_head *head, cp_bytes rest) {
  head->host = cp__bytes_first(rest, cp__bytes_span_not(rest, "/?"));
  rest = cp__bytes_behind(rest, head->host.len);
  head->path = cp__bytes_cut(&rest, '?');
  head->query = rest;
  if (head->path.len == 0)
    head->path = cp_str("/");
  return cp__uri_is_authority(head->host) ? 0 : 400;
}

static int judge_target(cp__request_head *head) {
  cp_bytes rest = head->target;

  if (cp__bytes_starts_any_case(rest, cp_str("http://")))
    return take_absolute(head, cp__bytes_behind(rest, strlen("http://")));
  if (cp__bytes_starts_any_case(rest, cp_str("https://")))
    return take_absolute(head, cp__bytes_behind(rest, strlen("https://")));
  head->path = cp__bytes_cut(&rest, '?');
  head->query = rest;
  return cp__bytes_at(head->target, 0) == '/' ? 0 : 400;
}

static int judge_body(cp__request_head *head) {
  cp_bytes value;
  size_t n;

  if (find_header(head, cp_str("Transfer-Encoding"), &value) > 0)
    return 400;
  n = find_header(head, cp_str("Content-Length"), &value);
  return n == 0 || (n == 1 && cp__bytes_are(value, "0")) ? 0 : 400;
}

/* 0 to 255 without leading zeros: RFC 6455 section 4.3. */
static bool is_ws_version(cp_bytes value) {
  return cp__bytes_decimal(value, 255) >= 0 &&
         (value.len == 1 || cp__bytes_at(value, 0) != '0');
}

static int judge_ws_version(const cp__request_head *head) {
  cp_bytes value;

  if (find_header(head, cp_str("Sec-WebSocket-Version"), &value) != 1 ||
      !is_ws_version(value))
    return 400;
  return cp__bytes_equal(value, cp_str("13")) ? 0 : 426;
}

static bool is_key(cp_bytes key) {
  size_t n = KEY_LEN - KEY_PADS;

  return key.len == KEY_LEN &&
         cp__bytes_are_word(cp__bytes_first(key, n), "+/") &&
         cp__bytes_equal(cp__bytes_behind(key, n), cp_str("=="));
}

static bool names_websocket(const cp__request_head *head) {
  return cp__request_head_has_token(head, cp_str("Upgrade"),
                                    cp_str("websocket"));
}

/* The request means to be a handshake: is it a good one? */
static int judge_handshake(cp__request_head *head) {
  int status;

  if (!names_websocket(head) ||
      !cp__request_head_has_token(head, cp_str("Connection"),
                                  cp_str("upgrade")))
    return 400;
  /* Before the key, which another version may shape otherwise. */
  status = judge_ws_version(head);
  if (status != 0)
    return status;
  if (find_header(head, cp_str("Sec-WebSocket-Key"), &head->key) != 1 ||
      !is_key(head->key))
    return 400;
  head->upgrade = true;
  return 0;
}

/* A proxy that isn't told about WebSocket drops Upgrade and keeps the key: that
 * is a failed handshake, not a request for a page. */
static int judge_upgrade(cp__request_head *head, int minor) {
  cp_bytes key;

  if (!names_websocket(head) &&
      find_header(head, cp_str("Sec-WebSocket-Key"), &key) == 0)
    return 0;
  if (head->head_only)
    return 405;
  if (minor == 0)
    return 505;
  return judge_handshake(head);
}

static int judge(cp__request_head *head, int minor) {
  int status = judge_host(head, minor);

  if (status == 0)
    status = judge_origin(head);
  if (status == 0)
    status = judge_method(head);
  if (status == 0)
    status = judge_target(head);
  if (status == 0)
    status = judge_body(head);
  if (status == 0)
    status = judge_upgrade(head, minor);
  return status;
}

int cp__request_head_parse(cp__request_head *head, const uint8_t *data,
                           size_t len) {
  int minor = 0;
  int status;

  memset(head, 0, offsetof(cp__request_head, headers));
  status = parse_lines(head, cp_bytes_of(data, len), &minor);
  return status != 0 ? status : judge(head, minor);
}

/* Accept. ----------------------------------------------------------------- */

cp__hash *cp__hash_create(void) {
  EVP_MD_CTX *hash = EVP_MD_CTX_new();

  if (hash != NULL && EVP_DigestInit_ex(hash, EVP_sha1(), NULL) == 1)
    return hash;
  EVP_MD_CTX_free(hash);
  return NULL;
}

void cp__hash_destroy(cp__hash *hash) {
  EVP_MD_CTX_free(hash);
}

/* NULL in the place of the algorithm: the same again. */
static bool digest(cp__hash *hash, const void *data, size_t len,
                   uint8_t out[SHA1_LEN]) {
  return EVP_DigestInit_ex(hash, NULL, NULL) == 1 &&
         EVP_DigestUpdate(hash, data, len) == 1 &&
         EVP_DigestFinal_ex(hash, out, NULL) == 1;
}

int cp__handshake_accept(cp__hash *hash, cp_bytes key,
                         char out[CP__ACCEPT_LEN + 1]) {
  uint8_t text[KEY_LEN + GUID_LEN];
  uint8_t sum[SHA1_LEN];

  if (!is_key(key))
    return CP_E_INVALID;
  memcpy(text, key.data, KEY_LEN);
  memcpy(text + KEY_LEN, GUID, GUID_LEN);
  if (!digest(hash, text, sizeof text, sum))
    return CP_E_NOMEM;
  EVP_EncodeBlock((uint8_t *)out, sum, SHA1_LEN);
  return 0;
}
