/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TEST_FAKE_TRANSPORT_H
#define CP_TEST_FAKE_TRANSPORT_H

/* Fake transport: one that does what a test says, when it says so. What it is
 * asked is written down, one word a call:
 *
 *   +CHANNEL -CHANNEL      subscribe, unsubscribe
 *   CHANNEL<BODY           publish; the body without its envelope
 *   CHANNEL?               count; one word each
 *   flush is not written down; close is: "close:GRACE"
 *
 * It checks what the library promises to a transport: no command while there is
 * no link or after close, no call from inside one of the host's functions. */

#include <clusterpush/transport.h>

#include <stdbool.h>
#include <uv.h>

#define FAKE_MAX_PENDING 4096

typedef struct fake_pending {
  char kind; /* '+', '-', or '<' for a publish */
  void *token;
  char *copy; /* with hands_back: channel, NUL, payload */
  size_t len;
} fake_pending;

typedef struct fake_transport {
  cp_transport base; /* first */
  const cp_transport_host *host;

  /* How it behaves. */
  bool confirm_at_once; /* subscriptions, during the call */
  bool answer_at_once;  /* publishes, during the call: `subscribers` */
  bool echo_at_once;    /* publishes come back during the call */
  bool hands_back;      /* unanswered publishes, when the link breaks */
  bool hold_close;      /* until fake_transport_finish_close() */
  int confirm_status;   /* of confirm_at_once */
  uint32_t subscribers;
  int fail_start;
  int fail_subscribe; /* what the next calls return, while not 0 */
  int fail_unsubscribe;
  int fail_publish;
  int fail_count;

  /* What it was asked. */
  char asked[65536];
  size_t len;
  size_t n_subscribed; /* calls that returned 0 */
  size_t n_unsubscribed;
  void *last_subscribed; /* the token */
  size_t n_published;
  size_t n_flushed;
  bool notes_hellos;     /* they are only counted otherwise */
  size_t n_hellos;       /* and welcomes */
  cp_bytes last_payload; /* the last publish, envelope included */
  char payload[4096];
  void *counting; /* the token of the count that is pending */
  size_t n_handed_back;

  bool started;
  bool linked;
  bool in_host; /* inside one of the host's functions */
  bool closing;
  bool closed;
  uv_async_t handle; /* keeps the loop alive, as a link would */
  fake_pending pending[FAKE_MAX_PENDING];
  size_t n_pending;
} fake_transport;

/* All zero: it holds everything. */
void fake_transport_init(fake_transport *fake);
/* One of before there was a count. */
void fake_transport_init_old(fake_transport *fake);
/* Answer the count that is pending. */
void fake_transport_count(fake_transport *fake, int status,
                          const uint32_t *subscribers, size_t n);

void fake_transport_link(fake_transport *fake, int settle);
/* Answers what is pending, first. */
void fake_transport_unlink(fake_transport *fake, const char *reason);
void fake_transport_set_health(fake_transport *fake, int degraded,
                               const char *reason);
/* Answer the oldest subscription, or the oldest publish, that is pending. False
 * if there is none. */
bool fake_transport_confirm(fake_transport *fake, int status);
bool fake_transport_answer(fake_transport *fake, int status,
                           uint32_t subscribers);
void fake_transport_confirm_all(fake_transport *fake);
/* A payload arrives. Returns what the host does. */
uint32_t fake_transport_say(fake_transport *fake, const char *channel,
                            cp_bytes payload);
/* The last publish comes back. */
uint32_t fake_transport_echo(fake_transport *fake, const char *channel);

size_t fake_transport_n_unconfirmed(const fake_transport *fake);
size_t fake_transport_n_unanswered(const fake_transport *fake);
void fake_transport_forget(fake_transport *fake);
void fake_transport_finish_close(fake_transport *fake);

#endif
