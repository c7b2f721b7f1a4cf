/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* A send with CP_RECEIPT carries a number. Every node that gets the message
 * answers on the sender's node channel: so many connections. PUBLISH tells how
 * many nodes those are; so the send is done when as many have answered, whether
 * their answers came before PUBLISH's or after it. Its own node needs no
 * message: it answers itself when the echo comes.
 *
 * The answers of one turn are collected, since they arrive inside the
 * transport's parser, and published at its end: one publish for each sender,
 * whatever the number of its messages.
 *
 * An answer may never come: its node died, had no room, or is no node at all
 * but an observer of the channel, that PUBLISH counts too. So a send waits for
 * its deadline at most, which counts from PUBLISH's answer on; for that one the
 * transport stands. Nothing here is stored, to be sent again: what is lost
 * makes a result partial. */

#include "receipts.h"

#include "bytes.h"
#include "envelope.h"
#include "registry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* In the body of a receipt: request:8 connections:4, and the next. */
#define RECORD_LEN 12
/* Records in one publish. */
#define MAX_RECORDS 1024
/* Answers that may wait for the end of the turn, in bytes. */
#define MAX_ANSWERS (1024 * 1024)
/* What the buffer holds on to. */
#define KEEP 4096

typedef struct answer {
  uint64_t instance; /* whose question it was */
  uint64_t number;
  uint32_t connections;
} answer;

/* Sending. ---------------------------------------------------------------- */

static cp_bytes number_key(const cp__map_node *node) {
  const cp__receipt *receipt = cp__container_of(node, const cp__receipt, node);
  return cp_bytes_of(&receipt->number, sizeof receipt->number);
}

void cp__receipt_init(cp__receipt *receipt, unsigned deadline_ms) {
  memset(receipt, 0, sizeof *receipt);
  cp__timed_init(&receipt->timed);
  receipt->deadline_ms = deadline_ms > 0 ? deadline_ms : CP__RECEIPT_DEFAULT_MS;
}

int cp__receipts_ask(cp__receipts *receipts, cp__receipt *receipt) {
  int rc;

  if (receipts->asked.n_nodes >= receipts->max_asked)
    return CP_E_FULL;
  receipt->number = ++receipts->n_numbers;
  rc = cp__map_insert(&receipts->asked, &receipt->node);
  if (rc != 0)
    receipt->number = 0;
  return rc;
}

void cp__receipts_drop(cp__receipts *receipts, cp__receipt *receipt) {
  if (receipt->number == 0)
    return;
  cp__timed_stop(&receipt->timed);
  cp__map_remove(&receipts->asked, &receipt->node);
  receipt->number = 0;
}

bool cp__receipts_await(cp__receipts *receipts, cp__receipt *receipt,
                        uint32_t n_expected) {
  receipt->is_counted = true;
  receipt->n_expected = n_expected;
  if (receipt->n_answers >= n_expected) {
    cp__receipts_drop(receipts, receipt);
    return false;
  }
  cp__timed_start_for(&receipts->waiting, &receipt->timed,
                      receipt->deadline_ms);
  return true;
}

static void finish(cp__receipts *receipts, cp__receipt *receipt) {
  cp__receipts_drop(receipts, receipt);
  receipts->on_done(receipts->ctx, receipt);
}

static void on_deadline(cp__sweep_list *list, cp__timed *item) {
  finish(cp__container_of(list, cp__receipts, waiting),
         cp__container_of(item, cp__receipt, timed));
}

void cp__receipts_end(cp__receipts *receipts) {
  cp__list *first;

  while ((first = cp__list_first(&receipts->waiting.items)) != NULL) {
    cp__timed *item = cp__container_of(first, cp__timed, link);
    finish(receipts, cp__container_of(item, cp__receipt, timed));
  }
}

static void take_answer(cp__receipts *receipts, uint64_t number,
                        uint32_t connections) {
  cp__map_node *node =
      cp__map_find(&receipts->asked, cp_bytes_of(&number, sizeof number));
  cp__receipt *receipt;

  if (node == NULL) /* its deadline is over */
    return;
  receipt = cp__container_of(node, cp__receipt, node);
  receipt->n_answers++;
  receipt->connections += connections;
  if (receipt->is_counted && receipt->n_answers >= receipt->n_expected)
    finish(receipts, receipt);
}

bool cp__receipts_on_answers(cp__receipts *receipts, cp_bytes body) {
  const uint8_t *p = body.data;
  const uint8_t *end;

  if (body.len == 0 || body.len % RECORD_LEN != 0)
    return false;
  end = p + body.len;
  while (p < end) {
    uint64_t number = cp__take_number(&p, 8);
    take_answer(receipts, number, (uint32_t)cp__take_number(&p, 4));
  }
  return true;
}

/* Receiving. -------------------------------------------------------------- */

void cp__receipts_answer(cp__receipts *receipts, uint64_t instance,
                         uint64_t number, uint32_t connections) {
  const answer a = {instance, number, connections};

  if (instance == receipts->instance)
    take_answer(receipts, number, connections);
  else if (instance != 0 && cp__buf_len(&receipts->answers) < MAX_ANSWERS)
    cp__buf_append(&receipts->answers, &a, sizeof a);
}

static int by_instance(const void *left, const void *right) {
  uint64_t a = ((const answer *)left)->instance;
  uint64_t b = ((const answer *)right)->instance;

  return (a > b) - (a < b);
}

static void publish_answers(cp__receipts *receipts, cp_transport *transport,
                            uint64_t sequence, const answer *answers,
                            size_t n) {
  const cp__envelope envelope = {
      .kind = CP__KIND_RECEIPT,
      .instance = receipts->instance,
      .incarnation = transport->incarnation,
      .sequence = sequence,
  };
  uint8_t head[CP__ENVELOPE_HEAD_MAX];
  uint8_t records[MAX_RECORDS * RECORD_LEN];
  char channel[CP__CHANNEL_MAX];
  uint8_t *p = records;
  cp_bytes parts[2];
  size_t len;
  size_t i;

  for (i = 0; i < n; i++) {
    p = cp__put_number(p, answers[i].number, 8);
    p = cp__put_number(p, answers[i].connections, 4);
  }
  parts[0] = cp_bytes_of(head, cp__envelope_write_head(head, &envelope));
  parts[1] = cp_bytes_of(records, n * RECORD_LEN);
  len = cp__channel_of_node(receipts->prefix, answers->instance, channel);
  transport->ops->publish(transport, cp_bytes_of(channel, len), parts, 2, NULL);
}

void cp__receipts_turn(cp__receipts *receipts, cp_transport *transport,
                       uint64_t *sequence) {
  answer *first = (answer *)(void *)cp__buf_begin(&receipts->answers);
  size_t n_left = cp__buf_len(&receipts->answers) / sizeof *first;

  if (n_left == 0 && !receipts->answers.failed)
    return;
  if (transport != NULL && n_left > 1)
    qsort(first, n_left, sizeof *first, by_instance);
  while (transport != NULL && n_left > 0) {
    size_t n = 1;
    while (n < n_left && n < MAX_RECORDS &&
           first[n].instance == first->instance)
      n++;
    publish_answers(receipts, transport, ++*sequence, first, n);
    first += n;
    n_left -= n;
  }
  cp__buf_reset(&receipts->answers, KEEP);
}

/* Life. ------------------------------------------------------------------- */

void cp__receipts_init(cp__receipts *receipts, const cp_allocator *alloc,
                       cp__sweep *sweep, const char *prefix, uint64_t instance,
                       size_t max_asked) {
  /* The numbers are ours: nobody chooses them, so no secret is needed. */
  static const uint64_t seed[2] = {0, 0};

  memset(receipts, 0, sizeof *receipts);
  receipts->alloc = alloc;
  receipts->instance = instance;
  receipts->prefix = prefix;
  receipts->max_asked = max_asked;
  cp__map_init(&receipts->asked, alloc, number_key, seed);
  cp__sweep_add_list(sweep, &receipts->waiting, CP__RECEIPT_MAX_MS,
                     on_deadline);
  cp__buf_init(&receipts->answers, alloc);
}

void cp__receipts_finish(cp__receipts *receipts) {
  assert(receipts->asked.n_nodes == 0);
  cp__map_finish(&receipts->asked);
  cp__buf_finish(&receipts->answers);
}
