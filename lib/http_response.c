/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "handshake.h"

#include "bytes.h"

const char *cp__http_reason(int status) {
  static const struct {
    int status;
    const char *reason;
  } reasons[] = {
      {101, "Switching Protocols"},
      {200, "OK"},
      {201, "Created"},
      {202, "Accepted"},
      {204, "No Content"},
      {301, "Moved Permanently"},
      {302, "Found"},
      {303, "See Other"},
      {304, "Not Modified"},
      {307, "Temporary Redirect"},
      {308, "Permanent Redirect"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {402, "Payment Required"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {406, "Not Acceptable"},
      {408, "Request Timeout"},
      {409, "Conflict"},
      {410, "Gone"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {418, "I'm a teapot"},
      {421, "Misdirected Request"},
      {422, "Unprocessable Content"},
      {425, "Too Early"},
      {426, "Upgrade Required"},
      {428, "Precondition Required"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {451, "Unavailable For Legal Reasons"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {502, "Bad Gateway"},
      {503, "Service Unavailable"},
      {504, "Gateway Timeout"},
      {505, "HTTP Version Not Supported"},
      {511, "Network Authentication Required"},
  };
  size_t i;

  for (i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status)
      return reasons[i].reason;
  return "Status";
}

static void write_header(cp__buf *out, cp_bytes name, cp_bytes value) {
  cp__buf_append_bytes(out, name);
  cp__buf_append_str(out, ": ");
  cp__buf_append_bytes(out, value);
  cp__buf_append_str(out, "\r\n");
}

static void write_headers(cp__buf *out, const cp__header *headers, size_t n) {
  size_t i;

  for (i = 0; i < n; i++)
    write_header(out, headers[i].name, headers[i].value);
}

static void write_status_line(cp__buf *out, int status) {
  cp__buf_appendf(out, "HTTP/1.1 %d %s\r\n", status, cp__http_reason(status));
}

int cp__handshake_write_101(cp__buf *out, cp__hash *hash, cp_bytes key,
                            cp_bytes protocol, const cp__header *headers,
                            size_t n) {
  char accept[CP__ACCEPT_LEN + 1];
  int err = cp__handshake_accept(hash, key, accept);

  if (err != 0)
    return err;
  cp__buf_append_str(out, "HTTP/1.1 101 Switching Protocols\r\n"
                          "Upgrade: websocket\r\n"
                          "Connection: Upgrade\r\n");
  write_header(out, cp_str("Sec-WebSocket-Accept"), cp_str(accept));
  if (protocol.len > 0)
    write_header(out, cp_str("Sec-WebSocket-Protocol"), protocol);
  write_headers(out, headers, n);
  cp__buf_append_str(out, "\r\n");
  return out->failed ? CP_E_NOMEM : 0;
}

static bool is_given(const cp__header *headers, size_t n, const char *name) {
  size_t i;

  for (i = 0; i < n; i++)
    if (cp__bytes_equal_any_case(headers[i].name, cp_str(name)))
      return true;
  return false;
}

/* What a status owes its reader, unless `headers` say it. An Upgrade header
 * must be named in Connection (RFC 9110 section 7.8); a second Connection
 * header goes on with the list. */
static void write_status_headers(cp__buf *out, int status,
                                 const cp__header *headers, size_t n,
                                 unsigned retry_after_s) {
  if (status == 405 && !is_given(headers, n, "Allow"))
    cp__buf_append_str(out, "Allow: GET, HEAD\r\n");
  if (status == 426)
    cp__buf_append_str(out, "Sec-WebSocket-Version: 13\r\n"
                            "Upgrade: websocket\r\n"
                            "Connection: Upgrade\r\n");
  if (status == 503 && !is_given(headers, n, "Retry-After"))
    cp__buf_appendf(out, "Retry-After: %u\r\n", retry_after_s);
}

static bool has_content(int status) {
  return status != 204 && status != 304;
}

static void write_content_type(cp__buf *out, cp_bytes type) {
  if (type.len == 0)
    type = cp_str("text/plain; charset=utf-8");
  write_header(out, cp_str("Content-Type"), type);
}

void cp__http_write_response(cp__buf *out, int status, cp_bytes content_type,
                             const cp__header *headers, size_t n, cp_bytes body,
                             bool head_only, unsigned retry_after_s) {
  write_status_line(out, status);
  if (has_content(status)) {
    if (!is_given(headers, n, "Content-Type"))
      write_content_type(out, content_type);
    cp__buf_appendf(out, "Content-Length: %zu\r\n", body.len);
  }
  cp__buf_append_str(out, "Connection: close\r\n");
  write_status_headers(out, status, headers, n, retry_after_s);
  write_headers(out, headers, n);
  cp__buf_append_str(out, "\r\n");
  if (has_content(status) && !head_only)
    cp__buf_append_bytes(out, body);
}
