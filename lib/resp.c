/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* How a reply is built. hiredis calls one of the create functions below for
 * each element, in the order of the wire, which is depth first. Each pushes one
 * node, and copies the element's text behind the texts before it: hiredis'
 * buffer may have moved by the time the next element is there. Both stores are
 * reused, and may move while they grow, so the nodes get their pointers when
 * the reply is complete.
 *
 * Only the payload of a message is never copied. When the last element of a
 * reply arrives, the nodes so far tell whether they are the front of a message;
 * if so, it goes to on_message from where hiredis has it. Whatever only looks
 * like a message stays an ordinary reply.
 *
 * hiredis takes a NULL from a create function for "out of memory" and stops.
 * The true reason is then in `err`. */
#include "resp.h"

#include "bytes.h"

#include <hiredis/hiredis.h>

#define KEEP      65536 /* what each store holds on to between replies */
#define HEAD_MAX  24    /* mark, 20 digits, CR LF */
#define MAX_DEPTH 8     /* of arrays: hiredis 0.14's limit; 1.x may have none */

#define ABOVE_LIMIT "a reply above the limit"
#define NOT_RESP2   "a type that RESP2 doesn't have"

struct cp__resp {
  const cp_allocator *alloc;
  redisReader *reader;
  redisReplyObjectFunctions functions;
  cp__resp_message_cb on_message;
  void *ctx;
  size_t max_reply;
  size_t unread;  /* bytes fed that belong to no finished reply */
  cp__buf nodes;  /* cp__resp_node, of the reply that is being read */
  cp__buf text;   /* theirs, with nothing in between */
  bool delivered; /* the reply that is being read went to on_message */
  bool finished;  /* the stores hold a reply that is done with */
  int err;        /* sticky */
  const char *why;
};

static int fail(cp__resp *resp, int err, const char *why) {
  resp->err = err;
  resp->why = why;
  return err;
}

static void *refuse(cp__resp *resp, int err, const char *why) {
  fail(resp, err, why);
  return NULL;
}

static cp__resp_node *nodes_of(const cp__resp *resp) {
  return (void *)cp__buf_begin(&resp->nodes);
}

static size_t n_nodes(const cp__resp *resp) {
  return cp__buf_len(&resp->nodes) / sizeof(cp__resp_node);
}

/* Until the reply is complete, a node knows only the length of its text. */
static void *push(cp__resp *resp, cp__resp_type type, long long integer,
                  cp_bytes text) {
  cp__resp_node node = {type, integer, cp_bytes_of("", text.len)};

  cp__buf_append(&resp->nodes, &node, sizeof node);
  cp__buf_append_bytes(&resp->text, text);
  if (resp->nodes.failed || resp->text.failed)
    return refuse(resp, CP_E_NOMEM, "no memory for a reply");
  return resp;
}

static bool is(cp_bytes bytes, const char *s) {
  return cp__bytes_equal(bytes, cp_str(s));
}

/* Does a bulk string at this place complete a message? It does as the last of
 * three or four elements, if all that came before it is the array and other
 * bulk strings, so that nothing is nested, and the first one names a message of
 * that many elements. */
static bool completes_message(const cp__resp *resp, const redisReadTask *task) {
  const cp__resp_node *nodes = nodes_of(resp);
  size_t n = n_nodes(resp);
  cp_bytes kind;
  size_t i;

  if (resp->on_message == NULL || task->parent == NULL)
    return false;
  if ((n != 3 && n != 4) || (size_t)task->parent->elements != n)
    return false;
  for (i = 1; i < n; i++)
    if (nodes[i].type != CP__RESP_STRING)
      return false;
  kind = cp_bytes_of(cp__buf_begin(&resp->text), nodes[1].text.len);
  return n == 4 ? is(kind, "pmessage")
                : is(kind, "message") || is(kind, "smessage");
}

static void *deliver(cp__resp *resp, cp_bytes payload) {
  const cp__resp_node *nodes = nodes_of(resp);
  const uint8_t *at = cp__buf_begin(&resp->text) + nodes[1].text.len;
  size_t n = n_nodes(resp);
  cp_bytes pattern = cp_bytes_of(at, n == 4 ? nodes[2].text.len : 0);
  cp_bytes channel = cp_bytes_of(at + pattern.len, nodes[n - 1].text.len);

  resp->on_message(resp->ctx, pattern, channel, payload);
  resp->delivered = true;
  return resp;
}

/* The bytes that the reply takes up to this place in hiredis' buffer. */
static size_t len_until(const cp__resp *resp, const char *place) {
  const redisReader *reader = resp->reader;

  return resp->unread - (reader->len - (size_t)(place - reader->buf));
}

static void *create_string(const redisReadTask *task, char *data, size_t len) {
  cp__resp *resp = task->privdata;
  cp_bytes text = cp_bytes_of(data, len);

  /* hiredis skips these two without a look. Anything else there means that the
   * announced length was wrong, and what follows would be read as something
   * that it isn't. */
  if (data[len] != '\r' || data[len + 1] != '\n')
    return refuse(resp, CP_E_PROTOCOL, "a string of another length than told");
  /* Here and not only at the end of the reply: a message that is too long must
   * not be delivered, however it was cut. */
  if (len_until(resp, data + len + 2) > resp->max_reply)
    return refuse(resp, CP_E_TOOBIG, ABOVE_LIMIT);
  switch (task->type) {
  case REDIS_REPLY_STRING:
    if (completes_message(resp, task))
      return deliver(resp, text);
    return push(resp, CP__RESP_STRING, 0, text);
  case REDIS_REPLY_STATUS:
    return push(resp, CP__RESP_STATUS, 0, text);
  case REDIS_REPLY_ERROR:
    return push(resp, CP__RESP_ERROR, 0, text);
  default:
    return refuse(resp, CP_E_PROTOCOL, NOT_RESP2);
  }
}

static void *create_integer(const redisReadTask *task, long long value) {
  return push(task->privdata, CP__RESP_INTEGER, value, cp_bytes_of(NULL, 0));
}

/* RESP2 has nil strings and nil arrays; a nil of its own type is RESP3's. */
static void *create_nil(const redisReadTask *task) {
  cp__resp *resp = task->privdata;

  if (task->type != REDIS_REPLY_STRING && task->type != REDIS_REPLY_ARRAY)
    return refuse(resp, CP_E_PROTOCOL, NOT_RESP2);
  return push(resp, CP__RESP_NIL, 0, cp_bytes_of(NULL, 0));
}

#if HIREDIS_MAJOR >= 1
typedef size_t array_len;
#else
typedef int array_len;
#endif

static bool too_deep(const redisReadTask *task) {
  int depth = 0;

  for (; task != NULL; task = task->parent)
    depth++;
  return depth > MAX_DEPTH;
}

static void *create_array(const redisReadTask *task, array_len n) {
  cp__resp *resp = task->privdata;

  if (task->type != REDIS_REPLY_ARRAY)
    return refuse(resp, CP_E_PROTOCOL, NOT_RESP2);
  if (too_deep(task))
    return refuse(resp, CP_E_PROTOCOL, "arrays nested too deeply");
  return push(resp, CP__RESP_ARRAY, (long long)n, cp_bytes_of(NULL, 0));
}

#if HIREDIS_MAJOR >= 1
static void *create_double(const redisReadTask *task, double value, char *data,
                           size_t len) {
  (void)value, (void)data, (void)len;
  return refuse(task->privdata, CP_E_PROTOCOL, NOT_RESP2);
}

static void *create_bool(const redisReadTask *task, int value) {
  (void)value;
  return refuse(task->privdata, CP_E_PROTOCOL, NOT_RESP2);
}
#endif

static void init_functions(redisReplyObjectFunctions *functions) {
  memset(functions, 0, sizeof *functions);
  functions->createString = create_string;
  functions->createArray = create_array;
  functions->createInteger = create_integer;
  functions->createNil = create_nil;
#if HIREDIS_MAJOR >= 1
  functions->createDouble = create_double;
  functions->createBool = create_bool;
#endif
  /* No freeObject: an element is no object, the stores are reset as a whole. */
}

cp__resp *cp__resp_create(const cp_allocator *alloc, size_t max_reply,
                          cp__resp_message_cb on_message, void *ctx) {
  cp__resp *resp = cp__calloc(alloc, sizeof *resp);

  if (resp == NULL)
    return NULL;
  resp->alloc = alloc;
  init_functions(&resp->functions);
  resp->reader = redisReaderCreateWithFunctions(&resp->functions);
  if (resp->reader == NULL) {
    cp__free(alloc, resp);
    return NULL;
  }
  resp->reader->privdata = resp;
  resp->on_message = on_message;
  resp->ctx = ctx;
  resp->max_reply = max_reply;
  resp->why = "";
  cp__buf_init(&resp->nodes, alloc);
  cp__buf_init(&resp->text, alloc);
  return resp;
}

void cp__resp_destroy(cp__resp *resp) {
  if (resp == NULL)
    return;
  redisReaderFree(resp->reader);
  cp__buf_finish(&resp->nodes);
  cp__buf_finish(&resp->text);
  cp__free(resp->alloc, resp);
}

/* Our own reason first: hiredis only knows that a create function refused. */
static int fail_as_reader(cp__resp *resp) {
  const redisReader *reader = resp->reader;

  if (resp->err != 0)
    return resp->err;
  if (reader->err == REDIS_ERR_OOM)
    return fail(resp, CP_E_NOMEM, "no memory for hiredis");
  return fail(resp, CP_E_PROTOCOL, reader->errstr);
}

int cp__resp_feed(cp__resp *resp, const void *data, size_t len) {
  if (resp->err != 0)
    return resp->err;
  if (redisReaderFeed(resp->reader, data, len) != REDIS_OK)
    return fail_as_reader(resp);
  resp->unread += len;
  return 0;
}

static void forget_finished(cp__resp *resp) {
  if (!resp->finished)
    return;
  resp->finished = resp->delivered = false;
  cp__buf_reset(&resp->nodes, KEEP);
  cp__buf_reset(&resp->text, KEEP);
}

/* Let hiredis parse on. Returns 1 if a reply was finished, 0 if there is none,
 * or an error. */
static int parse(cp__resp *resp) {
  redisReader *reader = resp->reader;
  size_t behind = 0; /* bytes that belong to later replies */
  void *reply;

  if (redisReaderGetReply(reader, &reply) != REDIS_OK)
    return fail_as_reader(resp);
  resp->finished = reply != NULL;
  if (resp->finished)
    behind = reader->len - reader->pos;
  if (resp->unread - behind > resp->max_reply)
    return fail(resp, CP_E_TOOBIG, ABOVE_LIMIT);
  if (!resp->finished)
    return 0;
  resp->unread = behind;
  return 1;
}

static void resolve(cp__resp *resp, cp__resp_reply *reply) {
  cp__resp_node *nodes = nodes_of(resp);
  const uint8_t *at = cp__buf_begin(&resp->text);
  size_t n = n_nodes(resp);
  size_t i;

  for (i = 0; i < n; i++)
    if (nodes[i].text.len > 0) {
      nodes[i].text.data = at;
      at += nodes[i].text.len;
    }
  reply->nodes = nodes;
  reply->n_nodes = n;
}

int cp__resp_next(cp__resp *resp, cp__resp_reply *reply) {
  int rc;

  if (resp->err != 0)
    return resp->err;
  do {
    forget_finished(resp);
    rc = parse(resp);
  } while (rc == 1 && resp->delivered);
  if (rc == 1)
    resolve(resp, reply);
  return rc;
}

const char *cp__resp_error(const cp__resp *resp) {
  return resp->why;
}

/* "$5\r\n" and the like. Not cp__buf_appendf: three of these go into each
 * PUBLISH. */
static void append_head(cp__buf *out, char mark, size_t n) {
  char head[HEAD_MAX];
  char *p = head + sizeof head;

  *--p = '\n';
  *--p = '\r';
  do {
    *--p = (char)('0' + n % 10);
    n /= 10;
  } while (n > 0);
  *--p = mark;
  cp__buf_append(out, p, (size_t)(head + sizeof head - p));
}

void cp__resp_command_head(cp__buf *out, size_t n) {
  append_head(out, '*', n);
}

void cp__resp_word(cp__buf *out, const cp_bytes *parts, size_t n) {
  size_t len = 0;
  size_t i;

  for (i = 0; i < n; i++)
    len += parts[i].len;
  append_head(out, '$', len);
  for (i = 0; i < n; i++)
    cp__buf_append_bytes(out, parts[i]);
  cp__buf_append(out, "\r\n", 2);
}

void cp__resp_command(cp__buf *out, const cp_bytes *words, size_t n) {
  size_t i;

  cp__resp_command_head(out, n);
  for (i = 0; i < n; i++)
    cp__resp_word(out, &words[i], 1);
}

/* Take "<sign><number>\r\n" off the front. */
static bool read_head(cp_bytes *rest, char sign, size_t *number) {
  const char *p = rest->data;
  size_t i = 1;

  if (rest->len < 4 || p[0] != sign)
    return false;
  for (*number = 0; i < rest->len && p[i] >= '0' && p[i] <= '9'; i++)
    *number = *number * 10 + (size_t)(p[i] - '0');
  if (i == 1 || rest->len < i + 2 || p[i] != '\r' || p[i + 1] != '\n')
    return false;
  *rest = cp_bytes_of(p + i + 2, rest->len - i - 2);
  return true;
}

static bool read_word(cp_bytes *rest, cp_bytes *word) {
  size_t len;

  if (!read_head(rest, '$', &len) || rest->len < 2 || len > rest->len - 2)
    return false;
  *word = cp_bytes_of(rest->data, len);
  *rest = cp_bytes_of((const char *)rest->data + len + 2, rest->len - len - 2);
  return true;
}

bool cp__resp_read_command(cp_bytes command, cp_bytes *words, size_t n) {
  size_t n_words;
  size_t i;

  if (!read_head(&command, '*', &n_words) || n_words != n)
    return false;
  for (i = 0; i < n; i++)
    if (!read_word(&command, &words[i]))
      return false;
  return command.len == 0;
}
