/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The Redis transport against a scripted server: what a real one doesn't do on
 * demand. Connection 0 of a pair is the subscriber, 1 takes commands. */
#include "fake_redis.h"
#include "transport_host.h"
#include "transport_redis.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

#define SUBSCRIBER_LINKED                      \
  GREETING, EXPECT("SUBSCRIBE " NODE_CHANNEL), \
      SEND(SUBSCRIBED("23", NODE_CHANNEL, "1"))
#define COMMANDS_LINKED                                           \
  GREETING, EXPECT("PUBLISH " NODE_CHANNEL " *"), EXPECT("ROLE"), \
      SEND(":1\r\n" FAKE_MASTER)

static const fake_step greets[] = {GREETING, END};
static const fake_step subscriber_links[] = {SUBSCRIBER_LINKED, END};
static const fake_step commands_link[] = {COMMANDS_LINKED, END};

typedef struct fixture {
  transport_host host;
  fake_redis redis;
  const fake_step *scripts[4];
  cp_redis_options options;
} fixture;

static void init(fixture *f, const fake_step *subscriber,
                 const fake_step *commands) {
  transport_host_init(&f->host);
  f->scripts[0] = f->scripts[2] = subscriber;
  f->scripts[1] = f->scripts[3] = commands;
  fake_redis_start_unix(&f->redis, &f->host.loop.loop, f->scripts, 4);
  cp_redis_options_init(&f->options);
  f->options.backoff_min_ms = 1;
}

static void start(fixture *f) {
  transport_host_start(&f->host, f->redis.url, &f->options);
}

static void run_linked(fixture *f) {
  transport_host_link(&f->host, f->redis.url, &f->options);
}

static void init_linked(fixture *f, const fake_step *subscriber,
                        const fake_step *commands) {
  init(f, subscriber, commands);
  run_linked(f);
}

static void finish(fixture *f) {
  if (f->host.transport != NULL && !f->host.closed)
    transport_host_close(&f->host, 0);
  fake_redis_stop(&f->redis);
  assert_string_equal(f->redis.wrong, "");
  transport_host_finish(&f->host);
}

static void subscribe(fixture *f, const char *channel) {
  assert_int_equal(transport_host_subscribe(&f->host, channel, channel), 0);
}

static void unsubscribe(fixture *f, const char *channel) {
  assert_int_equal(transport_host_unsubscribe(&f->host, channel, channel), 0);
}

static void publish(fixture *f, const char *channel, const char *payload) {
  assert_int_equal(transport_host_publish(&f->host, channel, payload, payload),
                   0);
}

static void flush(fixture *f) {
  transport_host_flush(&f->host);
}

static void run_until_heard(fixture *f, const char *words) {
  run_until(&f->host.loop, transport_host_heard(&f->host, words));
}

static void run_until_unlinked(fixture *f) {
  run_until(&f->host.loop, f->host.n_unlinked > 0);
}

/* Linking never comes about, for this reason; and is tried again. */
static void expect_no_link(const fake_step *subscriber,
                           const fake_step *commands, int err,
                           const char *reason_part) {
  fixture f;

  init(&f, subscriber, commands);
  start(&f);
  run_until(&f.host.loop, f.host.n_unlinked == 2);
  assert_int_equal(f.host.n_linked, 0);
  assert_int_equal(f.host.err, err);
  if (strstr(f.host.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, f.host.reason);
  assert_int_equal(f.host.n_warnings, 1); /* not two */
  assert_string_equal(f.host.heard, "unlinked unlinked ");
  finish(&f);
}

/* A link that stands breaks, for this reason. */
static void expect_break(fixture *f, int err, const char *reason_part) {
  run_until_unlinked(f);
  assert_int_equal(f->host.err, err);
  if (strstr(f->host.reason, reason_part) == NULL)
    fail_msg("'%s' is not in '%s'", reason_part, f->host.reason);
  finish(f);
}

/* Creation. --------------------------------------------------------------- */

static int create(transport_host *host, const char *url,
                  const cp_redis_options *options) {
  return cp__transport_redis_create(&host->transport, url, options,
                                    cp_str(NODE_CHANNEL), 1, &host->log,
                                    &host->memory.alloc);
}

static void expect_refused(const char *url, const cp_redis_options *options,
                           int err, const char *log_part) {
  transport_host host;

  transport_host_init(&host);
  assert_int_equal(create(&host, url, options), err);
  assert_null(host.transport);
  assert_int_equal(host.n_warnings, 1);
  assert_non_null(strstr(host.log_text, log_part));
  assert_null(strstr(host.log_text, "s3cret"));
  transport_host_finish(&host);
}

static void test_what_create_refuses(void **state) {
  cp_redis_options options;

  (void)state;
  expect_refused("http://:s3cret@host", NULL, CP_E_URL, "");
  expect_refused("redis://:s3cret@host:port", NULL, CP_E_URL, "");
  expect_refused("redis+cluster://:s3cret@host/1", NULL, CP_E_URL, "");
  memset(&options, 0, sizeof options);
  expect_refused("redis://host", &options, CP_E_INVALID,
                 "cp_redis_options_init()");
  cp_redis_options_init(&options);
  options.client_name = "two words";
  expect_refused("redis://host", &options, CP_E_INVALID, "client_name");
  cp_redis_options_init(&options);
  options.user = "jo";
  expect_refused("redis://host", &options, CP_E_INVALID, "password");
}

static void test_options_override_the_url(void **state) {
  static const fake_step script[] = {EXPECT("AUTH jo s3cret"),
                                     SEND("-WRONGPASS no\r\n"), END};
  static const fake_step commands[] = {END};
  fixture f;
  char url[128];

  (void)state;
  init(&f, script, commands);
  f.options.password = "s3cret";
  snprintf(url, sizeof url, "unix://jo:other@%s", f.redis.path);
  transport_host_start(&f.host, url, &f.options);
  run_until_unlinked(&f);
  assert_int_equal(f.host.err, CP_E_AUTH);
  assert_null(strstr(f.host.log_text, "s3cret"));
  assert_null(strstr(f.host.log_text, "other"));
  finish(&f);
}

/* Those of an older version of the library, with fewer fields: what stands
 * behind them is not read. */
static void test_options_of_another_size(void **state) {
#define MY_GREETING                                                  \
  EXPECT("CLIENT SETNAME me"), SEND(FAKE_OK), EXPECT("INFO server"), \
      SEND(FAKE_INFO(FAKE_RUN_ID, "99")), EXPECT("ROLE"), SEND(FAKE_MASTER)
  static const fake_step subscriber[] = {
      MY_GREETING, EXPECT("SUBSCRIBE*"),
      SEND(SUBSCRIBED("23", NODE_CHANNEL, "1")), END};
  static const fake_step commands[] = {MY_GREETING, END};
  fixture f;

  (void)state;
  init(&f, subscriber, commands);
  f.options.client_name = "me";
  f.options.max_queue = 1;
  f.options.size = offsetof(cp_redis_options, connect_timeout_ms);
  run_linked(&f);
  publish(&f, "c", "x");
  finish(&f);
}

static void test_needs_a_node_channel(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  assert_int_equal(cp__transport_redis_create(&host.transport, "redis://host",
                                              NULL, cp_str(""), 1, &host.log,
                                              &host.memory.alloc),
                   0);
  assert_int_equal(host.transport->ops->start(host.transport, &host.host),
                   CP_E_INVALID);
  transport_host_finish(&host);
}

/* Linking. ---------------------------------------------------------------- */

static void test_links(void **state) {
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands_link);
  start(&f);
  run_until(&f.host.loop, f.host.linked);
  assert_string_equal(f.host.heard, "linked:0 ");
  run_until(&f.host.loop, fake_redis_is_done(&f.redis, 1)); /* the probe */
  finish(&f);
}

static void test_young_server(void **state) {
  static const fake_step subscriber[] = {
      GREETING_OF(FAKE_RUN_ID, "09"), EXPECT("SUBSCRIBE*"),
      SEND(SUBSCRIBED("23", NODE_CHANNEL, "1")), END};
  static const fake_step commands[] = {GREETING_OF(FAKE_RUN_ID, "09"), END};
  fixture f;

  (void)state;
  init(&f, subscriber, commands);
  start(&f);
  run_until(&f.host.loop, f.host.linked);
  assert_string_equal(f.host.heard, "linked:1 ");
  finish(&f);
}

static void test_different_servers(void **state) {
  static const fake_step other[] = {GREETING_OF("fedcba9876543210", "99"), END};

  (void)state;
  expect_no_link(greets, other, CP_E_REDIS, "different servers");
}

static void test_node_channel_refused(void **state) {
  static const fake_step subscriber[] = {GREETING, EXPECT("SUBSCRIBE*"),
                                         SEND("-NOPERM this channel\r\n"), END};

  (void)state;
  expect_no_link(subscriber, greets, CP_E_REDIS, "NOPERM this channel");
}

static void test_node_channel_answered_wrongly(void **state) {
  static const fake_step subscriber[] = {GREETING, EXPECT("SUBSCRIBE*"),
                                         SEND(FAKE_OK), END};

  (void)state;
  expect_no_link(subscriber, greets, CP_E_PROTOCOL, "SUBSCRIBE");
}

static void test_node_channel_not_answered(void **state) {
  fixture f;

  (void)state;
  init(&f, greets, greets);
  f.options.connect_timeout_ms = 300;
  start(&f);
  expect_break(&f, CP_E_TIMEOUT, "SUBSCRIBE");
}

static void test_one_of_two_links_is_refused(void **state) {
  static const fake_step hangs_up[] = {EXPECT("CLIENT*"), CLOSE, END};

  (void)state;
  expect_no_link(greets, hangs_up, UV_EOF, "closed the connection");
  expect_no_link(hangs_up, greets, UV_EOF, "closed the connection");
}

static void test_links_again(void **state) {
  fixture f;

  (void)state;
  init_linked(&f, subscriber_links, commands_link);
  fake_redis_hang_up(&f.redis, 1);
  run_until(&f.host.loop, f.host.n_linked == 2);
  assert_string_equal(f.host.heard, "unlinked linked:1 ");
  assert_true(f.redis.conns[0]->closed); /* the other link too */
  finish(&f);
}

/* However long the pauses may be later. */
static void test_links_again_soon(void **state) {
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands_link);
  f.options.backoff_min_ms = f.options.backoff_max_ms = 3600000;
  run_linked(&f);
  fake_redis_hang_up(&f.redis, 1);
  run_until(&f.host.loop, f.host.n_linked == 2);
  finish(&f);
}

/* Subscriptions. ---------------------------------------------------------- */

static void test_one_command_a_turn(void **state) {
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED,
      EXPECT("SUBSCRIBE a b c"),
      EXPECT("UNSUBSCRIBE a"),
      EXPECT("SUBSCRIBE a"),
      SEND(SUBSCRIBED("1", "a", "2") SUBSCRIBED("1", "b", "3") SUBSCRIBED(
          "1", "c", "4") UNSUBSCRIBED("1", "a", "3") SUBSCRIBED("1", "a", "4")),
      EXPECT("UNSUBSCRIBE a b"),
      END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber, commands_link);
  subscribe(&f, "a");
  subscribe(&f, "b");
  subscribe(&f, "c");
  unsubscribe(&f, "a");
  subscribe(&f, "a");
  flush(&f);
  run_until(&f.host.loop, f.host.n_confirmed == 5);
  assert_string_equal(f.host.heard, "+a +b +c +a +a ");
  unsubscribe(&f, "a");
  unsubscribe(&f, "b");
  flush(&f);
  run_until(&f.host.loop, fake_redis_is_done(&f.redis, 0));
  finish(&f);
}

static void test_at_most_512_channels_a_command(void **state) {
  static char first[2 * 512 + 16] = "SUBSCRIBE";
  static const fake_step good[] = {SUBSCRIBER_LINKED};
  fake_step subscriber[LEN(good) + 3];
  fixture f;
  int i;

  (void)state;
  for (i = 0; i < 512; i++)
    strcat(first, " x");
  memcpy(subscriber, good, sizeof good);
  subscriber[LEN(good)] = (fake_step){FAKE_EXPECT, first, strlen(first)};
  subscriber[LEN(good) + 1] = (fake_step)EXPECT("SUBSCRIBE x x");
  subscriber[LEN(good) + 2] = (fake_step)END;
  init_linked(&f, subscriber, commands_link);
  for (i = 0; i < 514; i++)
    subscribe(&f, "x");
  flush(&f);
  run_until(&f.host.loop, fake_redis_is_done(&f.redis, 0));
  finish(&f);
}

static void test_refused_channel_fails_its_command(void **state) {
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED, EXPECT("SUBSCRIBE a b"), EXPECT("UNSUBSCRIBE z"),
      SEND("-NOPERM no such channel\r\n" UNSUBSCRIBED("1", "z", "1")), END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber, commands_link);
  subscribe(&f, "a");
  subscribe(&f, "b");
  unsubscribe(&f, "z");
  flush(&f);
  run_until(&f.host.loop, f.host.n_confirmed == 3);
  assert_string_equal(f.host.heard, "-a:CP_E_REDIS -b:CP_E_REDIS +z ");
  assert_int_equal(f.host.n_warnings, 1);
  assert_non_null(strstr(f.host.log_text, "NOPERM no such channel"));
  finish(&f);
}

static void test_confirmation_of_another_kind(void **state) {
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED, EXPECT("SUBSCRIBE a b"),
      SEND(UNSUBSCRIBED("1", "a", "1") SUBSCRIBED("1", "b", "2")), END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber, commands_link);
  subscribe(&f, "a");
  subscribe(&f, "b");
  flush(&f);
  run_until_unlinked(&f);
  assert_string_equal(f.host.heard, "-a:CP_E_DOWN -b:CP_E_DOWN unlinked ");
  expect_break(&f, CP_E_PROTOCOL, "SUBSCRIBE");
}

static void test_confirmation_nobody_asked_for(void **state) {
  static const fake_step subscriber[] = {SUBSCRIBER_LINKED,
                                         SEND(SUBSCRIBED("1", "a", "2")), END};
  fixture f;

  (void)state;
  init(&f, subscriber, commands_link);
  start(&f);
  expect_break(&f, CP_E_PROTOCOL, "not asked");
}

static void test_subscribe_within_limits(void **state) {
  fixture f;
  int n = 0;

  (void)state;
  init(&f, subscriber_links, commands_link);
  f.options.max_queue = 100;
  run_linked(&f);
  while (transport_host_subscribe(&f.host, "channel", "s") == 0)
    assert_true(++n < 10);
  assert_int_equal(transport_host_subscribe(&f.host, "channel", "s"),
                   CP_E_FULL);
  flush(&f);
  assert_int_equal(transport_host_unsubscribe(&f.host, "channel", "s"),
                   CP_E_FULL);
  finish(&f);
}

/* Publishes. -------------------------------------------------------------- */

static void test_publish_answers(void **state) {
  static const fake_step commands[] = {
      COMMANDS_LINKED,
      EXPECT("PUBLISH c one"),
      EXPECT("PUBLISH c two"),
      EXPECT("PUBLISH c three"),
      EXPECT("PUBLISH c four"),
      SEND(":2\r\n:0\r\n-NOPERM no\r\n:99999999999\r\n"),
      END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber_links, commands);
  publish(&f, "c", "one");
  assert_int_equal(transport_host_publish(&f.host, "c", "two", NULL), 0);
  publish(&f, "c", "three");
  publish(&f, "c", "four");
  flush(&f);
  run_until(&f.host.loop, f.host.n_published == 3);
  assert_string_equal(f.host.heard, "one=2 three!CP_E_REDIS four=4294967295 ");
  assert_non_null(strstr(f.host.log_text, "NOPERM no"));
  finish(&f);
}

static void test_publish_answered_wrongly(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED, EXPECT("PUBLISH c one"),
                                       SEND("*1\r\n*1\r\n:1\r\n"), END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber_links, commands);
  publish(&f, "c", "one");
  publish(&f, "c", "two");
  flush(&f);
  run_until_unlinked(&f);
  assert_string_equal(f.host.heard,
                      "one!CP_E_CLOSED two!CP_E_CLOSED unlinked ");
  expect_break(&f, CP_E_PROTOCOL, "PUBLISH");
}

static void test_publish_within_limits(void **state) {
  static const fake_step commands[] = {
      COMMANDS_LINKED, EXPECT("PUBLISH c 12345"), SEND(":0\r\n"), END};
  char large[151] = "";
  fixture f;

  (void)state;
  memset(large, 'x', sizeof large - 1);
  init(&f, subscriber_links, commands);
  f.options.max_queue = 150;
  run_linked(&f);
  /* The first probe takes room until it is answered. */
  run_until(&f.host.loop,
            transport_host_publish(&f.host, "c", "12345", "p") == 0);
  while (transport_host_publish(&f.host, "c", "12345", NULL) == 0)
    continue;
  assert_int_equal(transport_host_publish(&f.host, "c", "12345", "q"),
                   CP_E_FULL);
  flush(&f);
  assert_int_equal(transport_host_publish(&f.host, "c", "12345", "q"),
                   CP_E_FULL); /* written is not answered */
  run_until_heard(&f, "p=0");
  assert_int_equal(transport_host_publish(&f.host, "c", large, "q"), CP_E_FULL);
  assert_int_equal(transport_host_publish(&f.host, "c", "12345", "q"), 0);
  finish(&f);
}

static void test_nothing_without_a_link(void **state) {
  fixture f;

  (void)state;
  init(&f, greets, greets);
  start(&f);
  assert_int_equal(transport_host_publish(&f.host, "c", "x", "p"), CP_E_DOWN);
  assert_int_equal(transport_host_subscribe(&f.host, "c", "s"), CP_E_DOWN);
  assert_int_equal(transport_host_unsubscribe(&f.host, "c", "s"), CP_E_DOWN);
  flush(&f);
  assert_string_equal(f.host.heard, "");
  finish(&f);
}

static void test_publish_only(void **state) {
  static const fake_step commands[] = {GREETING,          EXPECT("ROLE"),
                                       SEND(FAKE_MASTER), EXPECT("PUBLISH c x"),
                                       SEND(":1\r\n"),    END};
  fixture f;

  (void)state;
  init(&f, commands, commands);
  f.host.host.publish_only = 1;
  run_linked(&f);
  assert_int_equal(transport_host_subscribe(&f.host, "c", "s"), CP_E_STATE);
  publish(&f, "c", "x");
  flush(&f);
  run_until_heard(&f, "x=1");
  assert_int_equal(f.redis.n_conns, 1);
  finish(&f);
}

/* A broken link. ---------------------------------------------------------- */

static void test_what_waits_is_answered_oldest_first(void **state) {
  static const fake_step subscriber[] = {SUBSCRIBER_LINKED,
                                         EXPECT("SUBSCRIBE a b"), END};
  static const fake_step commands[] = {COMMANDS_LINKED, EXPECT("PUBLISH c one"),
                                       EXPECT("PUBLISH c two"), CLOSE, END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber, commands);
  subscribe(&f, "a");
  subscribe(&f, "b");
  publish(&f, "c", "one");
  publish(&f, "c", "two");
  flush(&f);
  publish(&f, "c", "three");
  unsubscribe(&f, "c");
  run_until_unlinked(&f);
  assert_string_equal(f.host.heard,
                      "-a:CP_E_DOWN -b:CP_E_DOWN -c:CP_E_DOWN one!CP_E_CLOSED "
                      "two!CP_E_CLOSED three!CP_E_DOWN unlinked ");
  assert_int_equal(transport_host_publish(&f.host, "c", "x", "p"), CP_E_DOWN);
  finish(&f);
}

/* Messages. --------------------------------------------------------------- */

static void test_messages(void **state) {
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED,
      TRICKLE(MESSAGE("1", "a", "5", "hello") MESSAGE(
          "23", NODE_CHANNEL, "3", "for") MESSAGE("1", "b", "0", "")),
      END};
  fixture f;

  (void)state;
  init(&f, subscriber, commands_link);
  start(&f);
  run_until(&f.host.loop, f.host.n_messages == 3);
  assert_string_equal(f.host.heard,
                      "linked:0 <a|hello> <" NODE_CHANNEL "|for> <b|> ");
  finish(&f);
}

/* The host doesn't know yet that there is a link. */
static void test_message_before_it_is_linked(void **state) {
  static const fake_step subscriber[] = {
      GREETING, EXPECT("SUBSCRIBE " NODE_CHANNEL),
      SEND(MESSAGE("1", "a", "5", "early") SUBSCRIBED("23", NODE_CHANNEL, "1")),
      END};
  fixture f;

  (void)state;
  init(&f, subscriber, commands_link);
  start(&f);
  run_until(&f.host.loop, f.host.linked);
  assert_string_equal(f.host.heard, "linked:0 ");
  finish(&f);
}

static void test_message_above_the_limit(void **state) {
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED, SEND("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$9999\r\n"),
      END};
  static char rest[9999];
  fixture f;

  (void)state;
  init(&f, subscriber, commands_link);
  f.options.max_reply = 4096;
  run_linked(&f);
  run_until(&f.host.loop, fake_redis_is_done(&f.redis, 0));
  fake_redis_send(&f.redis, 0, rest, sizeof rest);
  expect_break(&f, CP_E_TOOBIG, "");
}

/* The probe. -------------------------------------------------------------- */

static void test_unheard_probe_breaks(void **state) {
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands_link);
  f.options.probe_interval_ms = 20;
  f.options.probe_timeout_ms = 60;
  run_linked(&f);
  run_until_unlinked(&f);
  expect_break(&f, CP_E_TIMEOUT, "doesn't hear itself");
}

static void test_timeout_before_the_interval(void **state) {
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands_link);
  f.options.probe_interval_ms = RUN_DEADLINE_MS * 2;
  f.options.probe_timeout_ms = 50;
  run_linked(&f);
  run_until_unlinked(&f);
  assert_string_equal(f.host.heard, "unlinked ");
  finish(&f);
}

static void test_demoted_master_breaks(void **state) {
  static const fake_step commands[] = {GREETING, EXPECT("PUBLISH*"),
                                       EXPECT("ROLE"),
                                       SEND(":1\r\n" FAKE_SLAVE), END};
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands);
  start(&f);
  expect_break(&f, CP_E_REDIS, "a replica of 10.1.2.34");
}

static void test_refused_probe_breaks(void **state) {
  static const fake_step commands[] = {GREETING, EXPECT("PUBLISH*"),
                                       SEND("-NOPERM no\r\n"), END};
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands);
  start(&f);
  expect_break(&f, CP_E_REDIS, "the probe: NOPERM no");
}

#define PROBE(instance, nonce)                  \
  "*3\r\n$7\r\nmessage\r\n$23\r\n" NODE_CHANNEL \
  "\r\n$32\r\n\xc1\x01\x02\0" instance "\0\0\0\1\0\0\0\0\0\0\0\0" nonce "\r\n"

/* A probe of another instance, or an old one, proves nothing, and is nobody's
 * message either. (The first nonce is 1, in the order of the machine.) */
static void test_foreign_probe(void **state) {
  static const fake_step subscriber[] = {
      SUBSCRIBER_LINKED,
      SEND(PROBE("\x01\x23\x45\x67\x89\xab\xcd\xef", "\2\0\0\0\0\0\0\0")),
      SEND(PROBE("\x01\x23\x45\x67\x89\xab\xcd\xee", "\1\0\0\0\0\0\0\0")),
      SEND(MESSAGE("1", "a", "1", "x")), END};
  fixture f;

  (void)state;
  init(&f, subscriber, commands_link);
  f.options.probe_interval_ms = RUN_DEADLINE_MS * 2;
  f.options.probe_timeout_ms = 60;
  start(&f);
  run_until_unlinked(&f);
  assert_string_equal(f.host.heard, "linked:0 <a|x> unlinked ");
  expect_break(&f, CP_E_TIMEOUT, "doesn't hear itself");
}

/* Closing. ---------------------------------------------------------------- */

static void test_close_without_start(void **state) {
  transport_host host;

  (void)state;
  transport_host_init(&host);
  assert_int_equal(create(&host, "redis://host", NULL), 0);
  transport_host_close(&host, 1000);
  assert_string_equal(host.heard, "");
  transport_host_finish(&host);
}

/* After every number of turns, from the start through a broken link and the
 * pause to the second link. */
static void test_close_after_every_turn(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED, CLOSE, END};
  bool relinked;
  int n_turns = 0;

  (void)state;
  do {
    fixture f;
    int i;

    init(&f, subscriber_links, commands);
    start(&f);
    for (i = 0; i < n_turns; i++)
      test_loop_turn(&f.host.loop);
    relinked = f.host.n_linked == 2;
    transport_host_forget(&f.host);
    transport_host_close(&f.host, n_turns % 2 == 0 ? 0 : RUN_DEADLINE_MS);
    assert_string_equal(f.host.heard, "");
    fake_redis_stop(&f.redis);
    transport_host_finish(&f.host);
    n_turns++;
  } while (!relinked);
}

static void test_close_awaits_answers(void **state) {
  static const fake_step subscriber[] = {SUBSCRIBER_LINKED,
                                         EXPECT("SUBSCRIBE a"), END};
  static const fake_step commands[] = {COMMANDS_LINKED, EXPECT("PUBLISH c one"),
                                       EXPECT("PUBLISH c two"), SEND(":1\r\n"),
                                       END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber, commands);
  subscribe(&f, "a");
  publish(&f, "c", "one");
  publish(&f, "c", "two");
  transport_host_begin_close(&f.host, RUN_DEADLINE_MS);
  assert_int_equal(transport_host_publish(&f.host, "c", "x", "p"), CP_E_DOWN);
  run_until_heard(&f, "one=1");
  assert_false(f.host.closed);
  fake_redis_send(&f.redis, 1, ":1\r\n", 4);
  run_until(&f.host.loop, f.host.closed);
  assert_string_equal(f.host.heard, "one=1 two=1 -a:CP_E_CANCELED ");
  finish(&f);
}

static void test_grace_ends(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED, EXPECT("PUBLISH c one"),
                                       END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber_links, commands);
  publish(&f, "c", "one");
  transport_host_close(&f.host, 30);
  assert_string_equal(f.host.heard, "one!CP_E_CLOSED ");
  finish(&f);
}

static void test_close_without_grace(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED, EXPECT("PUBLISH c one"),
                                       END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber_links, commands);
  publish(&f, "c", "one");
  flush(&f);
  publish(&f, "c", "two");
  subscribe(&f, "a");
  transport_host_close(&f.host, 0);
  assert_string_equal(f.host.heard,
                      "-a:CP_E_CANCELED one!CP_E_CLOSED two!CP_E_CANCELED ");
  finish(&f);
}

/* Publishes that were not answered come back as they were, the oldest first;
 * those that were, don't. */
static void test_unanswered_publishes_come_back(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED,
                                       EXPECT("PUBLISH c one"),
                                       EXPECT("PUBLISH c two"),
                                       SEND(":1\r\n"),
                                       EXPECT("PUBLISH d three"),
                                       CLOSE,
                                       END};
  fixture f;

  (void)state;
  init(&f, subscriber_links, commands);
  f.host.host.on_unanswered = transport_host_on_unanswered;
  f.scripts[3] = commands_link;
  run_linked(&f);
  publish(&f, "c", "one");
  publish(&f, "c", "two");
  flush(&f);
  run_until_heard(&f, "one=1 ");
  publish(&f, "d", "three");
  flush(&f);
  run_until_unlinked(&f);
  assert_string_equal(f.host.heard,
                      "one=1 two?<c|two> three?<d|three> unlinked ");
  run_until(&f.host.loop, f.host.n_linked == 2);
  publish(&f, "c", "four");
  cp__transport_redis_break((cp__transport_redis *)(void *)f.host.transport,
                            CP_E_REDIS, "a test");
  assert_true(transport_host_heard(&f.host, "four~<c|four> unlinked "));
  finish(&f);
}

/* Many of them, so that copies go while others stay. */
static void test_many_unanswered_publishes_come_back(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED, END};
  char word[64], token[16];
  fixture f;
  int before, i;

  (void)state;
  init(&f, subscriber_links, commands);
  f.host.host.on_unanswered = transport_host_on_unanswered;
  run_linked(&f);
  run_until(&f.host.loop, fake_redis_is_done(&f.redis, 1));
  before = (int)f.redis.conns[1]->n_commands;
  for (i = 0; i < 300; i++) {
    snprintf(token, sizeof token, "%d", i);
    assert_int_equal(transport_host_publish(&f.host, "c", token, "t"), 0);
    flush(&f);
    if (i >= 288 || i % 3 < 2)
      continue;
    run_until(&f.host.loop,
              f.redis.conns[1]->n_commands == (size_t)(before + i + 1));
    fake_redis_send(&f.redis, 1, ":1\r\n:1\r\n:1\r\n", 12);
    run_until(&f.host.loop, (int)f.host.n_published == i + 1);
  }
  transport_host_forget(&f.host);
  fake_redis_hang_up(&f.redis, 1);
  run_until_unlinked(&f);
  for (i = 288; i < 300; i++) {
    snprintf(word, sizeof word, "t?<c|%d> ", i);
    assert_true(transport_host_heard(&f.host, word));
  }
  assert_true(strncmp(f.host.heard, "t?<c|288> ", 10) == 0);
  finish(&f);
}

static void test_link_breaks_within_the_grace(void **state) {
  static const fake_step commands[] = {COMMANDS_LINKED, EXPECT("PUBLISH c one"),
                                       CLOSE, END};
  fixture f;

  (void)state;
  init_linked(&f, subscriber_links, commands);
  publish(&f, "c", "one");
  transport_host_close(&f.host, RUN_DEADLINE_MS);
  assert_string_equal(f.host.heard, "one!CP_E_CLOSED ");
  finish(&f);
}

static int ignore_sigpipe(void **state) {
  (void)state;
  signal(SIGPIPE, SIG_IGN);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_create_refuses),
      cmocka_unit_test(test_options_override_the_url),
      cmocka_unit_test(test_options_of_another_size),
      cmocka_unit_test(test_needs_a_node_channel),
      cmocka_unit_test(test_links),
      cmocka_unit_test(test_young_server),
      cmocka_unit_test(test_different_servers),
      cmocka_unit_test(test_node_channel_refused),
      cmocka_unit_test(test_node_channel_answered_wrongly),
      cmocka_unit_test(test_node_channel_not_answered),
      cmocka_unit_test(test_one_of_two_links_is_refused),
      cmocka_unit_test(test_links_again),
      cmocka_unit_test(test_links_again_soon),
      cmocka_unit_test(test_one_command_a_turn),
      cmocka_unit_test(test_at_most_512_channels_a_command),
      cmocka_unit_test(test_refused_channel_fails_its_command),
      cmocka_unit_test(test_confirmation_of_another_kind),
      cmocka_unit_test(test_confirmation_nobody_asked_for),
      cmocka_unit_test(test_subscribe_within_limits),
      cmocka_unit_test(test_publish_answers),
      cmocka_unit_test(test_publish_answered_wrongly),
      cmocka_unit_test(test_publish_within_limits),
      cmocka_unit_test(test_nothing_without_a_link),
      cmocka_unit_test(test_publish_only),
      cmocka_unit_test(test_what_waits_is_answered_oldest_first),
      cmocka_unit_test(test_messages),
      cmocka_unit_test(test_message_before_it_is_linked),
      cmocka_unit_test(test_message_above_the_limit),
      cmocka_unit_test(test_unheard_probe_breaks),
      cmocka_unit_test(test_timeout_before_the_interval),
      cmocka_unit_test(test_demoted_master_breaks),
      cmocka_unit_test(test_refused_probe_breaks),
      cmocka_unit_test(test_foreign_probe),
      cmocka_unit_test(test_close_without_start),
      cmocka_unit_test(test_close_after_every_turn),
      cmocka_unit_test(test_close_awaits_answers),
      cmocka_unit_test(test_grace_ends),
      cmocka_unit_test(test_close_without_grace),
      cmocka_unit_test(test_unanswered_publishes_come_back),
      cmocka_unit_test(test_many_unanswered_publishes_come_back),
      cmocka_unit_test(test_link_breaks_within_the_grace),
  };

  return cmocka_run_group_tests(tests, ignore_sigpipe, NULL);
}
